# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions of ltt.ko in a guest: one boot runs session_guest.py, the tests look at what it found and left."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ltt_relay
from ltt_relay.formats.ltt3 import EVENTS
from tests.vm.guest import complaints, run_script

pytestmark = [pytest.mark.vm, pytest.mark.slow]

#: Loaded by the initramfs: the session `boot` is there and running before the root file system is.
AT_LOAD = "ltt:events=+sched,+sys_enter:mode=flight:subbuf_size=262144:n_subbufs=16"


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("session")
    run_script("python.sh", out, "session_guest.py", timeout=400, modules=["relayfs", AT_LOAD], early=True)
    return out


@pytest.fixture(scope="module")
def found(left: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((left / "found.json").read_text())
    return data


def _records(trace: ltt_relay.Trace) -> int:
    return sum(len(frame) for name, frame in trace.frames(columns=["cpu"]).items() if not name.startswith("state_"))


def test_the_kernel_said_nothing_and_the_modules_unload(left: Path, found: dict[str, Any]) -> None:
    assert found["unload"] == 0
    assert found["unload relayfs"]
    assert complaints((left / "dmesg").read_text()) == []


def test_every_session_accounts_for_every_record(left: Path, found: dict[str, Any]) -> None:
    for name, stats in found.items():
        if not name.endswith(" stats"):
            continue
        assert stats["produced"] == stats["read"] + stats["pending"] + stats["overwritten"] + stats["lost"], name
        trace = ltt_relay.open(left / name.removesuffix(" stats"), strict=True)
        assert _records(trace) == stats["read"] > 0, name


def test_a_session_starts_with_the_module(left: Path, found: dict[str, Any]) -> None:
    state, mode, events = found["boot"]
    assert (state, mode) == ("running", "flight")
    assert {"sched:sched_switch", "syscall:sys_enter"} <= set(events)
    trace = ltt_relay.open(left / "boot")
    assert len(trace["sys_enter"]) > 100
    assert 'session = "boot"' in (left / "boot/metadata").read_text()
    assert trace.info["overwritten"] == trace.info["lost"] == 0
    # From the initramfs on: busybox mounts the root and changes to it, and later another copy of it is run from there.
    programs = trace["sched_process_exec"]["filename"].tolist()
    assert programs[0] == "/bin/busybox"
    there = programs.index("/run/ltt-relay/busybox")
    moved = trace["sched_process_exec"]["timestamp"].iloc[there]
    calls = trace["sys_enter"]
    before = set(calls[calls["timestamp"] < moved]["id"])
    assert {165, 161} <= before  # mount and chroot of x86-64


# ------------------------------------------------------------------------------------------------------ custom events


def test_declared_events_are_frames_with_their_fields(left: Path, found: dict[str, Any]) -> None:
    trace = ltt_relay.open(left / "custom", strict=True)
    requests = trace["request"]
    assert list(requests.columns[4:]) == ["id", "code", "flags", "verb", "size", "url"]
    assert set(requests["tid"]) == {found["pid"]}
    rows = list(requests[["id", "code", "flags", "verb", "size", "url"]].itertuples(index=False, name=None))
    assert rows[:200] == [(n, -n % 128 - 64, n, "G E T", n * 1000, f"/a b/{n}") for n in range(200)]
    assert rows[200:] == [(2**64 - 1, -128, 65535, "POST", 0, "the rest of the line")]
    assert str(requests["code"].dtype) == "int8"
    assert len(trace["tick"]) == 1  # none while it was disabled
    (wide,) = trace["wide"][["a", "b", "c", "d", "e", "f"]].itertuples(index=False, name=None)
    assert wide == (255, -(2**63), 1, -2, 3, 0xDEADBEEF)
    assert list(trace["late"]["text"]) == ["ü"]
    catalog = trace.catalog.set_index("event")
    assert catalog.loc["request", "group"] == "user"
    assert catalog.loc["request", "ltt_class"] == "custom"


def test_babeltrace_reads_the_same_of_declared_events(left: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    done = subprocess.run(["babeltrace2", left / "custom"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    lines = [line for line in done.stdout.splitlines() if " request: " in line]
    assert len(lines) == 201
    assert re.search(r'id = 7, code = 57, flags = 0x7, verb = "G E T", size = 7000, url = "/a b/7" \}', lines[7]), (
        lines[7]
    )
    assert re.search(r"a = 255, b = -9223372036854775808, c = 1, d = -2, e = 3, f = 0xDEADBEEF", done.stdout)


def test_what_is_wrong_with_a_custom_event_is_said(found: dict[str, Any]) -> None:
    assert found["custom early"] == "tick: the session is not running"
    assert found["custom enabled"] == ["user:request", "user:wide", "user:late"]
    assert found["custom listed"][0] == "256 request id:u64 code:s8 flags:x16 verb:char[8] size:u32 url:string"
    assert [errno for errno, _ in found["custom refused"]] == [
        *("ENOENT", "EINVAL", "ERANGE", "EINVAL", "EEXIST", "EEXIST", "EINVAL", "EINVAL", "EINVAL", "EINVAL"),
        *("EEXIST", "ENOSPC", "EINVAL", "EINVAL"),
        # No type at all was looked for behind the end of what was written; a debug kernel sees that.
        "EINVAL",
        # As events of the other files are called: a reader did not know the declared ones from them.
        *["EEXIST" for event in EVENTS if event.stream],
        "EINVAL",
    ]
    assert all(why for _, why in found["custom refused"])


def test_a_task_is_renamed_to_what_it_is_then_called(left: Path, found: dict[str, Any]) -> None:
    # The tracepoint tells the program's name, which may be longer than a task's: it had a sixteenth letter.
    theirs = re.findall(r"task_rename: .*?oldcomm=(.*?) newcomm=(.*?) oom_score", found["names of ftrace"])
    renamed = ltt_relay.open(left / "names", strict=True)["task_rename"]
    ours = list(renamed[["oldcomm", "newcomm"]].astype(str).itertuples(index=False, name=None))
    assert "longer_than_fif" in set(renamed["newcomm"])
    assert set(ours) <= set(theirs)


def test_names_that_are_not_kept_are_told_as_lost(left: Path, found: dict[str, Any]) -> None:
    # Any task can rename itself without end. What was lost after the last block was full stood in no packet.
    trace = ltt_relay.open(left / "renames", strict=True)
    kept = int((trace["state_task"]["cause"] == "rename").sum())
    lost = trace.info["lost"]
    assert 600_000 < kept < 760_000 <= kept + lost < 770_000
    assert trace.gaps["count"].sum() == lost
    assert set(trace.gaps["reason"]) == {"full"}
    assert found["renames again"] == ["ENOMEM", "no memory for the list of tasks, of which a session keeps 32 MiB"]


# ------------------------------------------------------------------------------------------------ kprobes and triggers


def test_kprobes_by_function_name(left: Path, found: dict[str, Any]) -> None:
    trace = ltt_relay.open(left / "kprobes", strict=True)
    assert len(trace["kprobe_do_sys_openat2"]) >= 4
    assert len(trace["kprobe_vfs_rename"]) == 1
    assert len(trace["kprobe_vfs_unlink"]) == 1
    opens = trace["kprobe_do_sys_openat2"]
    assert opens["ip"].nunique() == 1
    assert 2**32 - 100 in {value & 0xFFFFFFFF for value in opens["arg0"]}  # AT_FDCWD
    assert trace.catalog.set_index("event").loc["kprobe_vfs_unlink", "group"] == "kprobe"
    assert found["kprobe enabled"] == ["kprobe:do_sys_openat2"]
    (clock, ours, filters, none, trap) = found["kprobe refused"]
    assert clock == ["EPERM", "kprobe:ktime_get_mono_fast_ns: each record calls it"]
    assert ours[0] == filters[0] == "EPERM"
    assert none[0] == "ENOENT"
    assert trap[0] == "EINVAL"


def test_a_trigger_stops_a_session_at_its_record(left: Path, found: dict[str, Any]) -> None:
    state, (text, what) = found["trigger state"]
    assert state == "stopped"
    assert text.endswith("stop")
    assert re.fullmatch(r"fired at \d+, done", what)
    trace = ltt_relay.open(left / "stopped")
    assert list(trace["marker"]["text"]) == ["before", "stop here not", "stop here"]
    assert [errno for errno, _ in found["trigger refused"]] == ["EINVAL"] * 8
    assert len({why for _, why in found["trigger refused"]}) == 8


def test_a_trigger_takes_a_snapshot_with_its_record(left: Path, found: dict[str, Any]) -> None:
    assert re.fullmatch(r"fired at \d+, done", found["trigger fired"][1])
    assert found["trigger goes on"] == "running"
    assert found["trigger gone"] == ""
    assert re.fullmatch(r"fired at \d+, refused with error 16", found["trigger while unread"][1])  # EBUSY
    frames = ltt_relay.open(left / "triggered").frames(["sys_enter", "sys_exit"])
    exits = frames["sys_exit"]
    last = exits[(exits["ret"] == -2) & (exits["id"] == 87)]
    assert len(last) == 1
    assert (exits["id"] == 110).sum() > 500  # the calls before it
    # It was taken at that record: on its CPU nothing follows, elsewhere at most what was just being written.
    cpu, when = last["cpu"].iloc[0], last["timestamp"].iloc[0]
    after = pd.concat(frame[frame["timestamp"] > when][["cpu"]] for frame in frames.values())
    assert not (after["cpu"] == cpu).any()
    assert len(after) <= 1


# --------------------------------------------------------------------------------------------------- filters, selection


def _called(left: Path, name: str) -> Any:
    calls = ltt_relay.open(left / f"filter-{name}")["sys_enter"]
    assert len(calls) > 0
    return calls


def test_filters_by_task(left: Path, found: dict[str, Any]) -> None:
    assert set(_called(left, "tid")["tid"]) == {found["thread"]}
    switches = ltt_relay.open(left / "filter-tid")["sched_switch"]
    assert len(switches) > 0
    assert ((switches["prev_pid"] == found["thread"]) | (switches["next_pid"] == found["thread"])).all()
    assert set(_called(left, "tgid")["tid"]) == {found["me"], found["thread"]}


def test_filters_by_name_owner_group_and_cpu(left: Path) -> None:
    assert set(_called(left, "comm")["comm"].astype(str)) == {"alpha"}
    assert _called(left, "comm")["tid"].nunique() == 3
    owned, grouped = _called(left, "uid"), _called(left, "cgroup")
    assert owned["tid"].nunique() == grouped["tid"].nunique() == 1
    assert set(owned["comm"].astype(str)) <= {"setpriv", "true"}
    assert set(grouped["comm"].astype(str)) == {"sh", "alpha"}
    assert set(_called(left, "cpu")["cpu"]) == {1}
    both = _called(left, "both")
    assert set(both["comm"].astype(str)) == {"beta"}
    assert set(both["cpu"]) == {1}


def test_follow_takes_the_children_along(left: Path, found: dict[str, Any]) -> None:
    calls = _called(left, "follow")
    assert {found["me"], found["thread"]} < set(calls["tid"])
    assert {"alpha", "beta", "cp", "sh", "true"} <= set(calls["comm"].astype(str))
    for name in ("comm", "uid", "cgroup"):
        assert set(_called(left, name)["tid"]) <= set(calls["tid"])


def test_filters_are_shown_and_refused_in_words(found: dict[str, Any]) -> None:
    assert found["filter shown"][4:7] == ["cgroup=/filtered", "cpu=1", "comm=beta cpu=1"]
    assert [errno for errno, _ in found["filter refused"]] == [
        "EINVAL",
        "EINVAL",
        "EINVAL",
        "ENOENT",
        "EINVAL",
        "EINVAL",
    ]


def test_events_by_class_name_and_glob_while_running(left: Path, found: dict[str, Any]) -> None:
    assert found["classes"] == ["sched:sched_switch", "syscall:sys_enter", "syscall:sys_exit"]
    assert found["classes later"] == ["sched:sched_switch"]
    assert "sched:sched_wakeup" in found["globs"]
    assert "sched:sched_waking" not in found["globs"]
    assert {event.partition(":")[0] for event in found["globs"]} == {"sched", "irq"}
    first, second = (ltt_relay.open(left / name).catalog.set_index("event")["count"] for name in ("classes", "globs"))
    assert {name for name, count in first.items() if count and not name.startswith("state_")} == {
        "sched_switch", "sys_enter", "sys_exit",
    }  # fmt: skip
    assert second["sched_wakeup"] > 0
    assert second["softirq_entry"] > 0
    assert "sys_enter" not in second
