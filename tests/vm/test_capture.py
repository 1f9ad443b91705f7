# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing as a user does it, failures included: one boot runs capture.sh, the tests look at what it left.

What the user sees of each failure is the table in docs/capture.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from tests.vm.guest import complaints, run_script

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the scenario filled."""
    out = tmp_path_factory.mktemp("capture")
    run_script("capture.sh", out, timeout=900, modules=())
    return out


def _said(left: Path, name: str) -> str:
    return (left / f"{name}.err").read_text()


def _status(left: Path, name: str) -> int:
    return int((left / f"{name}.status").read_text())


def _note(path: Path) -> dict[str, Any]:
    note: dict[str, Any] = json.loads((path / ".capture.json").read_text())
    return note


def _events(path: Path) -> int:
    frames = ltt_relay.open(path).frames(columns=["cpu"])
    streams = ("state_", "printk", "evlog")
    return sum(len(frame) for name, frame in frames.items() if not name.startswith(streams))


def _whole(path: Path) -> ltt_relay.Trace:
    """The trace, which must have nothing broken in it."""
    trace = ltt_relay.open(path)
    assert trace.problems.empty, trace.problems.to_string()
    return trace


def test_the_kernel_said_nothing(left: Path) -> None:
    assert complaints((left / "dmesg").read_text()) == []


def test_without_the_module_the_command_that_loads_it_is_named(left: Path) -> None:
    assert _status(left, "no-module") == 1
    assert "ltt-relay module load" in _said(left, "no-module")
    assert _status(left, "load") == 0
    assert _said(left, "load").startswith("loaded: relayfs, ltt")
    events = json.loads((left / "list.out").read_text())
    assert {"group": "sched", "name": "sched_switch", "ltt_class": "schedchange", "available": True} in events


def _toured(left: Path, tour: str) -> dict[str, tuple[int, str]]:
    """Status and stderr of each command of a tour by a user who is not root."""
    found: dict[str, int] = json.loads((left / "tour" / f"{tour}.json").read_text())
    return {name: (status, _said(left / "tour", name)) for name, status in found.items()}


def test_who_is_not_root_is_told_what_it_takes(left: Path) -> None:
    toured = _toured(left, "shut_out")
    refused = (
        "/sys/kernel/relay/ltt: permission denied: relayfs is mounted with gid=0, mode=700, and this is user 65534 of "
        "group 65534: run as root, or let a group record: sudo ltt-relay module load --group GROUP\n"
    )
    for name in ("record", "list", "status", "marker", "snapshot"):
        assert toured.pop(f"out-{name}") == (1, f"ltt-relay: {refused}")
    for name in ("load", "unload"):
        assert toured.pop(f"out-{name}") == (1, f"ltt-relay: {name}ing modules needs root: run as root or with sudo\n")
    assert not toured
    assert not (left / "tour/never").exists()


def test_the_members_of_a_group_may_record(left: Path) -> None:
    assert _status(left, "group") == 0
    assert _said(left, "group") == "all loaded already\nthe members of group 4711 may record\n"
    toured = _toured(left, "let_in")
    for name, said in (
        ("user", "ltt-relay: --user root: only root may run a command as another user\n"),
        ("place", "ltt-relay: /usr/never: Permission denied: choose another directory with -o\n"),
        ("none", "ltt-relay: there is no session nobody\n"),
        ("unload", "ltt-relay: unloading modules needs root: run as root or with sudo\n"),
    ):
        assert toured.pop(f"in-{name}") == (1, said)
    assert {name: status for name, (status, _) in toured.items() if status} == {}
    facts = json.loads((left / "tour/in-module.out").read_text())
    assert facts["may_record"]
    assert facts["mount_options"] == {"uid": "0", "gid": "4711", "mode": "770", "log_mode": "0"}
    trace = _whole(left / "tour/recorded")
    assert len(trace["sys_enter"]) > 10
    assert set(trace["sched_process_exec"]["filename"].astype(str)) == {"/usr/bin/ls"}
    assert list(ltt_relay.open(left / "tour/snapshot")["marker"]["text"]) == ["a word of the group"]
    assert _events(left / "tour/flight") > 0


def test_everybody_may_be_let_write_markers_and_nothing_else(left: Path) -> None:
    toured = _toured(left, "writes_markers")
    assert toured.pop("open-marker") == (0, "")
    assert b"a word of the public" in (left / "open.events").read_bytes()
    assert toured.pop("open-all")[1].endswith("cannot be listed by this user: name the session, with --session\n")
    assert toured.pop("open-none") == (1, "ltt-relay: there is no session nobody\n")
    for status, said in toured.values():
        assert status == 1
        assert "/sys/kernel/relay/ltt" in said
        assert "mode=711, and this is user 65534" in said


def test_ctrl_c_flushes_everything_across_a_cpu_that_went_and_came(left: Path) -> None:
    assert _status(left, "sigint") == 0
    assert "produced" in _said(left, "sigint")
    trace = _whole(left / "sigint")
    note = _note(left / "sigint")
    assert note["ended_by"] == "SIGINT"
    totals = note["totals"]
    assert totals["pending"] == totals["lost"] == 0
    assert totals["produced"] == totals["read"] == _events(left / "sigint")
    assert re.search(rf"{totals['read']:,} events, .* lost 0", _said(left, "sigint"))
    assert set(trace["sys_enter"]["cpu"]) == {0, 1}
    assert not (left / "symbols").read_text()


def test_who_meddles_with_a_recording_is_told_and_does_it_no_harm(left: Path) -> None:
    # --attach to a session that was being recorded stopped and removed it.
    for name, said in (
        ("attach-busy", "session sigint is being recorded: end its recorder first"),
        ("no-marker", "session sigint records no markers: ltt-relay record -e marker does"),
        ("no-flight", "session sigint is no flight recorder"),
        ("no-session", "there is no session nobody"),
    ):
        assert _status(left, name) == 1
        assert said in _said(left, name)
    assert not (left / "attach-busy").exists()
    assert not (left / "no-flight").exists()
    assert _status(left, "sigint") == 0


def test_a_session_that_is_removed_ends_its_recording_and_what_was_read_is_kept(left: Path) -> None:
    # The recorder went on to wait for Ctrl-C, or, with its counters on a terminal, removed what it had saved.
    assert _status(left, "remove") == 0
    assert _status(left, "removed") == 1
    assert "session removed was removed while it was recorded; what had been read is kept" in _said(left, "removed")
    _whole(left / "removed")
    assert _events(left / "removed") > 100
    assert _note(left / "removed")["ended_by"] == "removal"


def test_a_full_disk_ends_the_recording_and_what_was_read_is_kept_in_whole_packets(left: Path) -> None:
    assert _status(left, "full") == 1
    said = _said(left, "full")
    assert "No space left on device" in said
    _whole(left / "full")
    note = _note(left / "full")
    assert note["ended_by"] == "failure"
    assert "No space left on device" in note["failures"][0]
    kept = _events(left / "full")
    assert f"{kept:,} events" in said
    unsaved = re.search(r"([\d,]+) were read and could not be saved", said)
    assert kept + int(unsaved[1].replace(",", "") if unsaved else 0) == note["totals"]["read"]


def test_a_full_disk_leaves_the_command_alone(left: Path) -> None:
    assert _status(left, "full-command") == 5
    assert "no longer recording; the command goes on" in _said(left, "full-command")


def test_losses_of_a_slow_reader_are_told_with_what_to_change(left: Path) -> None:
    assert _status(left, "slow") == 0
    said = _said(left, "slow")
    lost = _note(left / "slow")["totals"]["lost"]
    assert lost > 0
    assert re.search(rf"lost {lost:,} \(\d+\.\d\d %\)", said)
    assert "--n-subbufs 8" in said
    assert _whole(left / "slow").info["lost"] == lost


def test_a_killed_recorder_leaves_a_trace_and_a_session_to_be_taken_over(left: Path) -> None:
    killed = _whole(left / "killed")
    assert _note(left / "killed")["end"] is None
    assert killed["sys_enter"]["comm"].notna().mean() > 0.9
    (session,) = json.loads((left / "killed-status.out").read_text())
    assert (session["name"], session["state"]) == ("killed", "running")
    assert session["pending"] > 0
    assert session["fill"] > 0
    assert _status(left, "attach") == 0
    _whole(left / "attached")
    # The packet that the dead recorder had read and not yet written is all that may be missing.
    read = _note(left / "attached")["totals"]["read"]
    assert 0 <= read - _events(left / "killed") - _events(left / "attached") < read / 2


def test_a_collector_that_is_killed_and_comes_back_loses_nothing(left: Path) -> None:
    assert _status(left, "nobody") == 1
    assert "does ltt-relay collect run there" in _said(left, "nobody")
    assert _status(left, "remote") == 0
    assert "trying again; the buffers hold what comes" in _said(left, "remote")
    target = left / "collected/target"
    assert (left / "collect.out").read_text() == f"{target}\n"
    totals = _note(target)["totals"]
    assert totals["lost"] == totals["pending"] == 0
    assert _whole(target).info["lost"] == 0
    assert totals["produced"] == _events(target)


def test_flight_recorders_are_saved_by_signal_command_and_at_the_end(left: Path) -> None:
    assert _status(left, "flight") == _status(left, "snapshot") == 0
    traces = [ltt_relay.open(left / name) for name in ("flight-1", "snapshot", "flight")]
    for trace in traces:
        assert set(trace.problems["code"]) <= {"time_backward"}
        assert trace.info["records"] > 100
    assert traces[0].info["end"] < traces[1].info["end"] < traces[2].info["end"]
    assert _note(left / "flight-1")["ended_by"] == "snapshot"


def test_a_flight_recorder_may_be_kept_only_if_the_command_failed(left: Path) -> None:
    assert _status(left, "kept") == 1
    assert _events(left / "kept") > 0
    assert _status(left, "dropped") == 0
    assert not (left / "dropped").exists()
    assert "nothing saved" in _said(left, "dropped")


def test_the_kernels_log_is_part_of_the_trace(left: Path) -> None:
    assert _status(left, "logs") == 0
    lines = ltt_relay.open(left / "logs")["printk"]["text"].astype(str)
    assert lines.str.contains("Linux version").any()
    assert lines.str.contains("a line of the user").any()


def test_a_function_that_the_kernel_does_not_have_is_told(left: Path) -> None:
    """It said that there was no session."""
    assert _status(left, "no-function") == 1
    assert "no_such_function" in _said(left, "no-function")
    assert "there is no session" not in _said(left, "no-function")


def test_the_current_directory_and_a_closed_stderr_are_fine(left: Path) -> None:
    """The first ended in a traceback, the second with status 1."""
    for name in ("here", "closed"):
        assert _status(left, name) == 0
        assert len(ltt_relay.open(left / name)["sched_process_exec"]) >= 1


def test_a_trigger_saves_a_flight_recorder(left: Path) -> None:
    assert _status(left, "trigger") == 0
    assert "snapshot" in _said(left, "trigger")
    assert len(ltt_relay.open(left / "trigger-1")["sched_process_exec"]) >= 1


def test_modules_are_not_unloaded_under_a_session(left: Path) -> None:
    assert _status(left, "busy") == 1
    assert "session holding" in _said(left, "busy")
    assert _status(left, "unload") == 0


def test_lockdown_is_explained(left: Path) -> None:
    if json.loads((left / "machine.out").read_text())["lockdown"] is None:
        pytest.skip("this kernel is built without lockdown")
    assert _status(left, "locked-record") == 0
    assert len(ltt_relay.open(left / "locked")["sched_switch"]) > 0
    assert _status(left, "lockdown") == 1
    assert "locked down (integrity)" in _said(left, "lockdown")
    assert json.loads((left / "locked-machine.out").read_text())["lockdown"] == "integrity"
