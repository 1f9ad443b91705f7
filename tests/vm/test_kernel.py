# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel half in a guest: one boot runs scenario.sh, the tests look at what it left."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay import analysis
from ltt_relay.capture.packets import PacketTracker
from tests.vm.guest import complaints, counters, kernel, run_script

pytestmark = pytest.mark.vm

READERS = ("cp", "cat", "bcp", "bcat", "dd", "head", "python")


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the scenario filled, on the kernel that LTT_RELAY_KERNEL names (6.1)."""
    out = tmp_path_factory.mktemp("scenario")
    run_script("scenario.sh", out, timeout=400)
    return out


def _events(trace: ltt_relay.Trace) -> int:
    return sum(len(frame) for name, frame in trace.frames(columns=["cpu"]).items() if not name.startswith("state_"))


def test_the_kernel_said_nothing(left: Path) -> None:
    text = (left / "dmesg").read_text()
    assert "relayfs: loading out-of-tree module" in text
    assert complaints(text) == []


def test_modules_are_refused_while_in_use_and_unload_clean(left: Path) -> None:
    assert "unloaded" not in (left / "refusals").read_text()
    assert (left / "left").read_text().split() == ["available_events"]
    assert (left / "unload").read_text() == "0\n"


def test_refusals_say_why(left: Path) -> None:
    control, size, event = (left / "refusals").read_text().splitlines()
    assert "nonsense is not one of start, stop" in control
    assert "subbuf_size is 1000" in size
    assert "available_events lists them" in event
    assert "busy" in (left / "second-reader").read_text().lower()
    assert "has not been read" in (left / "flight-refusal").read_text()


def _whole_packets(path: Path) -> int:
    """The records of packets that are whole in a file that ends anywhere."""
    tracker = PacketTracker()
    tracker.feed(memoryview(path.read_bytes()))
    return tracker.records


@pytest.mark.parametrize("name", ["shell", *READERS])
def test_without_loss_all_that_was_produced_is_in_the_files(left: Path, name: str) -> None:
    trace = ltt_relay.open(left / name, strict=True)
    stats = counters(left / name / ".stats")
    assert stats["lost"] == stats["overwritten"] == stats["pending"] == 0
    # head took its part first; packets that it took whole do not come again.
    taken = sum(_whole_packets(cut) for cut in (left / "heads").iterdir()) if name == "head" else 0
    assert stats["produced"] == stats["read"] == _events(trace) + taken > 1000
    assert trace.problems.empty
    assert trace.gaps.empty


def test_an_unfinished_packet_is_read_again_from_its_begin(left: Path) -> None:
    for head in (left / "heads").iterdir():
        whole = (left / "head" / head.name.removesuffix(".head")).read_bytes()
        cut = head.read_bytes()
        assert len(cut) == 10000
        assert cut == whole[:10000] or cut.find(whole[: 10000 // 4]) >= 0


def test_losses_are_counted_to_the_record_the_last_ones_too(left: Path) -> None:
    trace = ltt_relay.open(left / "losing")
    before, stats = counters(left / "losing/.stats-before"), counters(left / "losing/.stats")
    assert before["produced"] == before["read"] + before["pending"] + before["lost"]
    assert stats["pending"] == 0
    assert stats["lost"] > 1000
    assert stats["produced"] == _events(trace) + stats["lost"]
    assert trace.info["lost"] == trace.gaps["count"].sum() == analysis.losses(trace)["count"].sum() == stats["lost"]
    said = subprocess.run(["babeltrace2", left / "losing"], capture_output=True, text=True, check=True).stderr
    assert sum(int(n) for n in re.findall(r"discarded (\d+) event", said)) == stats["lost"]


def test_a_flight_recorder_keeps_the_newest_without_stopping(left: Path) -> None:
    first, second = ltt_relay.open(left / "flight"), ltt_relay.open(left / "flight2")
    assert second.info["end"] > first.info["end"]
    assert set(first.problems["code"]) <= {"time_backward"}
    for trace in (first, second):
        assert _events(trace) > 500
        assert trace.info["overwritten"] > 0
    stats = counters(left / "flight2/.stats")
    assert stats["produced"] == stats["read"] + stats["overwritten"] + stats["lost"] + stats["pending"]
    assert stats["read"] == _events(first) + _events(second)


def test_resize_hotplug_filter_and_selection_under_load_lose_no_count(left: Path) -> None:
    trace = ltt_relay.open(left / "busy")
    stats = counters(left / "busy/.stats")
    assert stats["pending"] == 0
    assert stats["produced"] == stats["read"] + stats["lost"]
    assert stats["read"] == _events(trace)
    assert trace.info["lost"] == stats["lost"]
    assert trace.problems.empty
    live = [line.split() for line in (left / "busy/.stats-live").read_text().splitlines() if line[0] != "c"]
    for _, produced, read, pending, overwritten, lost, *_ in live:
        assert int(produced) == int(read) + int(pending) + int(overwritten) + int(lost)
    other = counters(left / "other-stats")
    assert other["produced"] == other["read"] + other["pending"] + other["overwritten"] + other["lost"]


def test_a_killed_recorder_leaves_files_and_a_session_that_can_be_removed(left: Path) -> None:
    (session,) = json.loads((left / "status.json").read_text())
    assert session["name"] == "doomed"
    assert session["state"] == "running"
    assert not (left / "remove-failed").exists()
    assert _events(ltt_relay.open(left / "killed")) > 1000


def test_a_command_is_recorded_from_its_first_instruction(left: Path) -> None:
    assert (left / "command-status").read_text() == "3\n"
    trace = ltt_relay.open(left / "command")
    programs = [name.rpartition("/")[2] for name in trace["sched_process_exec"]["filename"]]
    assert programs[:2] == ["sh", "true"]
    first = trace["sys_enter"].iloc[:40]["comm"].astype(str)
    assert len(set(first)) >= 1
    assert "events" in (left / "command-said").read_text()


def test_names_of_all_tasks_are_known(left: Path) -> None:
    trace = ltt_relay.open(left / "shell")
    calls = trace["sys_enter"]
    assert calls["comm"].notna().all()
    assert {"ls", "sort", "head"} <= set(calls["comm"].astype(str))
    assert list(trace["marker"]["text"]) == ["hello from a shell"]


# ------------------------------------------------------------------------------------- witnesses other than ourselves


_FIELD = re.compile(
    r'(\w+) = (\( "[^"]*" : container = \d+ \)|"(?:[^"\\]|\\.)*"|\[ (?:\[\d+\] = \w+(?:, | ))*\]|[^,]+)'
)


def _babeltrace(path: Path) -> dict[str, list[dict[str, Any]]]:
    command = ["babeltrace2", path, "--clock-seconds", "--no-delta"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    found: dict[str, list[dict[str, Any]]] = {}
    pattern = re.compile(r"^\[(\d+)\.(\d{9})\] (?:\S+ )?(\w+): (.*)$")
    for line in done.stdout.splitlines():
        match = pattern.match(line)
        assert match, line
        blocks = re.findall(r"\{ (.*?) \}(?:, |$)", match[4])
        cpu = re.search(r"cpu_id = (\d+)", match[4])
        fields: dict[str, Any] = {"time": int(match[1]) * 10**9 + int(match[2]), "cpu": int(cpu[1]) if cpu else -1}
        for name, value in _FIELD.findall(blocks[-1]):
            fields[name] = value.strip()
        found.setdefault(match[3], []).append(fields)
    return found


def _plain(value: str) -> Any:
    if value.startswith("("):
        return value.split('"')[1]
    if value.startswith('"'):
        return value[1:-1]
    if value.startswith("["):
        return [int(item, 0) for item in re.findall(r"\[\d+\] = (\w+)", value)]
    return int(value, 0)


def test_every_field_of_every_record_equals_babeltraces(left: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    theirs = _babeltrace(left / "shell")
    ours = ltt_relay.open(left / "shell").frames()
    assert Counter({name: len(rows) for name, rows in theirs.items()}) == {name: len(f) for name, f in ours.items()}
    for name, rows in theirs.items():
        frame = ours[name]
        rows.sort(key=lambda row: (row["time"], row["cpu"]))
        assert frame["timestamp"].astype("int64").tolist() == [row["time"] for row in rows]
        for field in set(rows[0]) - {"time", "cpu"}:
            column = f"event_{field}" if f"event_{field}" in frame and field == "comm" else field
            values = [list(v) if hasattr(v, "tolist") else v for v in frame[column].tolist()]
            assert values == [_plain(row[field]) for row in rows], f"{name}.{field}"


_STATES = {"R": 0, "R+": 0x100, "S": 1, "D": 2, "T": 4, "t": 8, "X": 0x10, "Z": 0x20, "P": 0x40, "I": 0x80}


def _ftrace(path: Path) -> dict[tuple[str, int], list[tuple[Any, ...]]]:
    """What ftrace printed: (event, cpu) to the values of each record."""
    found: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    line_pattern = re.compile(r"\s+\[(\d+)\] \S+\s+[\d.]+: (\w+): (.*)$")
    for line in path.read_text(errors="replace").splitlines():
        match = line_pattern.search(line)
        if line.startswith("#") or not match:
            continue
        cpu, event, text = int(match[1]), match[2], match[3]
        numbers = dict(re.findall(r"(\w+)=(\S+)", text))
        if event == "sched_switch":
            state = _STATES[numbers["prev_state"]]
            values: tuple[Any, ...] = tuple(int(numbers[k]) for k in ("prev_pid", "next_pid", "prev_prio", "next_prio"))
            values = (*values, state)
        elif event == "sched_wakeup":
            values = (int(numbers["pid"]), int(numbers["prio"]), int(numbers["target_cpu"]))
        elif event == "irq_handler_entry":
            values = (int(numbers["irq"]), numbers["name"])
        elif event == "softirq_entry":
            values = (numbers["action"].rstrip("]"),)
        elif event == "page_fault_user":
            values = tuple(int(numbers[k], 0) for k in ("address", "ip", "error_code"))
        elif event == "sys_enter":
            event, call = "sys_enter", re.match(r"NR (-?\d+) \((.*)\)", text)
            assert call
            values = (int(call[1]), *(int(argument, 16) for argument in call[2].split(", ")))
        elif event == "sys_exit":
            call = re.match(r"NR (-?\d+) = (-?\d+)", text)
            assert call
            values = (int(call[1]), int(call[2]))
        else:
            continue
        found.setdefault((event, cpu), []).append(values)
    return found


_COLUMNS = {
    "sched_switch": ["prev_pid", "next_pid", "prev_prio", "next_prio", "prev_state"],
    "sched_wakeup": ["pid", "prio", "target_cpu"],
    "irq_handler_entry": ["irq", "name"],
    "softirq_entry": ["vec"],
    "page_fault_user": ["address", "ip", "error_code"],
    "sys_exit": ["id", "ret"],
}


def _same_state(ours: int, theirs: int) -> bool:
    # The state of a task that exits is read by each tracer itself, and its parent may reap it in between: Z, then X.
    if {ours, theirs} == {_STATES["Z"], _STATES["X"]}:
        return True
    # Until 5.18 any state is, and a wakeup may come in between: then ftrace saw R.
    return ours == theirs or (theirs == 0 and kernel().startswith("5.10"))


def _equal(event: str, ours: list[tuple[Any, ...]], theirs: list[tuple[Any, ...]]) -> bool:
    if event != "sched_switch":
        return ours == theirs
    return [row[:4] for row in ours] == [row[:4] for row in theirs] and all(
        _same_state(row[4], other[4]) for row, other in zip(ours, theirs, strict=True)
    )


def test_field_values_equal_ftraces_of_the_same_events(left: Path) -> None:
    frames = ltt_relay.open(left / "shell").frames(time="ns")
    compared: Counter[str] = Counter()
    for (event, cpu), theirs in _ftrace(left / "ftrace.txt").items():
        frame = frames[event][frames[event]["cpu"] == cpu]
        if event == "sys_enter":
            ours = [(row.id, *row.args) for row in frame[["id", "args"]].itertuples(index=False)]
            lengths = {row[0]: len(row) for row in ours}
            theirs = [row[: lengths.get(row[0], 1)] for row in theirs]
        else:
            ours = list(frame[_COLUMNS[event]].itertuples(index=False, name=None))
        if len(theirs) < 5:
            continue
        parts = (ours[i : i + len(theirs)] for i in range(len(ours) - len(theirs) + 1))
        # The first two tell most places apart at once.
        found = any(_equal(event, part[:2], theirs[:2]) and _equal(event, part, theirs) for part in parts)
        assert found, f"{event} on CPU {cpu}: not what ftrace saw"
        compared[event] += len(theirs)
    assert set(compared) == {*_COLUMNS, "sys_enter"}
