# SPDX-License-Identifier: GPL-2.0-or-later
"""Exported CTF against the trace it was made of, read by Babeltrace."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import ltt_relay
from ltt_relay.analysis.syscall_names import X86_64
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.export.ctf import CtfSink
from ltt_relay.testing import write_trace

# Debian's own Python has Babeltrace's bindings, and no other.
READER = """
import bt2, json, sys
def plain(value):
    if isinstance(value, bt2._StructureFieldConst): return {k: plain(v) for k, v in value.items()}
    if isinstance(value, bt2._ArrayFieldConst): return [plain(v) for v in value]
    return str(value) if isinstance(value, bt2._StringFieldConst) else int(value)
for m in bt2.TraceCollectionMessageIterator(sys.argv[1]):
    if type(m) is bt2._EventMessageConst:
        e = m.event
        print(json.dumps([e.name, m.default_clock_snapshot.value, m.default_clock_snapshot.ns_from_origin,
            int(e.packet.context_field["cpu_id"]), plain(e.common_context_field), plain(e.payload_field)]))
    elif type(m) is bt2._DiscardedEventsMessageConst:
        print(json.dumps([None, m.count]))
    elif type(m) is bt2._StreamBeginningMessageConst:
        print(json.dumps([None, dict((k, str(v)) for k, v in m.stream.trace.environment.items())]))
"""


def _read(directory: Path) -> tuple[list[list[Any]], int, dict[str, str]]:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    done = subprocess.run(["/usr/bin/python3", "-c", READER, directory], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    events = [line for line in lines if line[0] is not None]
    lost = sum(line[1] for line in lines if line[0] is None and isinstance(line[1], int))
    return events, lost, next(line[1] for line in lines if line[0] is None and isinstance(line[1], dict))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 6000, cpus=2, packet_size=16384, lost_every=2)


@pytest.fixture(scope="module")
def theirs(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[list[Any]], int, dict[str, str]]:
    output = tmp_path_factory.mktemp("out")
    result = convert_trace(trace, output, Options("ctf"))
    assert (result.status, result.error, result.records) == ("done", "", 6212)
    assert {"ctf/metadata", "ctf/stream_0", "ctf/stream_1", "gaps.csv", "problems.csv"} == set(result.files)
    return _read(output / "ctf")


def _names(event: str, row: Any) -> tuple[str, dict[str, Any]]:
    """What LTTng would call it: written down here once more, row by row."""
    fields = {key: value for key, value in row.items() if key not in {"timestamp", "cpu", "tid", "comm"}}
    match event:
        case "sys_enter" | "sys_exit":
            kind = "entry" if event == "sys_enter" else "exit"
            return f"syscall_{kind}_{X86_64.get(row['id'], row['id'])}", fields
        case "sched_switch":
            fields["prev_tid"], fields["next_tid"] = fields.pop("prev_pid"), fields.pop("next_pid")
        case "sched_waking" | "sched_wakeup" | "sched_process_exec":
            fields["tid"], fields["comm"] = fields.pop("pid"), fields.pop("event_comm")
            if "old_pid" in fields:
                fields["old_tid"] = fields.pop("old_pid")
        case "softirq_entry" | "softirq_exit":
            numbers = ["HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU"]
            return f"irq_{event}", {"vec": numbers.index(fields["vec"])}
        case "page_fault_user" | "page_fault_kernel":
            event = f"x86_exceptions_{event}"
        case "state_task":
            event = "lttng_statedump_process_state"
            fields = {"tid": row["pid"], "pid": row["tgid"], "ppid": row["ppid"], "uid": row["uid"]} | {
                "name": row["event_comm"], "type": 0, "mode": 0, "submode": 0, "status": 5,
            }  # fmt: skip
        case "state_end":
            event = "lttng_statedump_end"
    return event, fields


def test_every_record_is_there_with_equal_fields(trace: Path, theirs: Any) -> None:
    ours = []
    opened = ltt_relay.open(trace)
    offset = opened.info["wall_offset"]
    for name, table in opened.arrow(time="ns").items():
        for row in table.to_pylist():
            event, fields = _names(name, row)
            fields = {k: "" if v is None and isinstance(fields[k], str | None) else v for k, v in fields.items()}
            context = {"tid": -1 if row["tid"] is None else row["tid"], "procname": row["comm"] or ""}
            ours.append([event, row["timestamp"], row["timestamp"] + offset, row["cpu"], context, fields])

    def without_lengths(record: list[Any]) -> list[Any]:
        return [*record[:5], {key: value for key, value in record[5].items() if key != "_args_length"}]

    def key(record: list[Any]) -> str:
        return json.dumps(record, sort_keys=True)

    assert sorted(map(key, ours)) == sorted(key(without_lengths(record)) for record in theirs[0])


def test_losses_are_babeltraces_discarded_events(trace: Path, theirs: Any) -> None:
    assert theirs[1] == ltt_relay.open(trace).info["lost"] > 0


def test_trace_compass_takes_it_for_a_kernels(theirs: Any) -> None:
    environment = theirs[2]
    assert (environment["domain"], environment["tracer_name"]) == ("kernel", "lttng-modules")
    assert (environment["tracer_major"], int(environment["tracer_minor"]) >= 9) == ("2", True)
    assert environment["hostname"] == "synthetic"
    switch = next(event for event in theirs[0] if event[0] == "sched_switch")
    needed = {"prev_comm", "prev_tid", "prev_prio", "prev_state", "next_comm", "next_tid", "next_prio"}
    assert needed <= set(switch[5])
    assert any(event[0].startswith("syscall_entry_") for event in theirs[0])


def test_any_column_of_any_event_has_a_field(trace: Path, tmp_path: Path) -> None:
    opened = ltt_relay.open(trace)
    sink = CtfSink(tmp_path, opened, opened.gaps)
    table = pa.table({
        "timestamp": pa.array([5, 7], pa.int64()), "cpu": pa.array([3, 3], pa.uint16()),
        "tid": pa.array([None, 1], pa.int32()), "comm": pa.array([None, "x"]).dictionary_encode(),
        "u64": pa.array([(1 << 64) - 1, None], pa.uint64()), "event": pa.array([-128, 127], pa.int8()),
        "a-b": pa.array(["nul\0in\0it", None]), "a.b": pa.array([[-1, 2], []], pa.list_(pa.int64())),
        "blob": pa.array([b"\x00\xff", b""], pa.large_binary()), "when": pa.array([1, 2], pa.timestamp("ns", "UTC")),
    })  # fmt: skip
    try:
        sink.write({'odd "name"': table, "empty": table.slice(0, 0)})
        sink.finish()
    finally:
        sink.close()
    events, _, _ = _read(tmp_path / "ctf")
    assert [event[:2] + event[3:] for event in events] == [
        ['odd "name"', 5, 3, {"tid": -1, "procname": ""}, {
            "u64": (1 << 64) - 1, "event": -128, "a_b": "nul\\x00in\\x00it", "_a_b_3_length": 2, "a_b_3": [-1, 2],
            "blob": "00ff", "when": 1,
        }],
        ['odd "name"', 7, 3, {"tid": 1, "procname": "x"}, {
            "u64": (1 << 64) - 1, "event": 127, "a_b": "", "_a_b_3_length": 0, "a_b_3": [], "blob": "", "when": 2,
        }],
    ]  # fmt: skip


def test_names_and_text_with_control_characters_can_be_read(tmp_path: Path) -> None:
    """One such character, in a damaged marker's name for one, and Babeltrace refused the whole trace."""
    path = write_trace(tmp_path / "t", 10, cpus=1)
    metadata = (path / "metadata").read_text()
    (path / "metadata").write_text(metadata.replace("env {\n", 'env {\n\t1st = "a\\000b";\n\tbell = "\\007";\n'))
    opened = ltt_relay.open(path)
    assert opened.info["env"]["1st"] == "a\0b"
    sink = CtfSink(tmp_path, opened, opened.gaps)
    table = opened.arrow("marker", time="ns")["marker"] if "marker" in opened else opened.arrow(time="ns")["sys_enter"]
    names = ["bell\x07", "\x1b[31mred", "nul\0", "tab\t", "two\nlines"]
    try:
        sink.write(dict.fromkeys(names, table.slice(0, 1)))
        sink.finish()
    finally:
        sink.close()
    events, _, environment = _read(tmp_path / "ctf")
    assert [event[0] for event in events] == ["bell\\x07", "\\x1b[31mred", "nul\\x00", "tab\t", "two\nlines"]
    assert (environment["_1st"], environment["bell"]) == ("a\\x00b", "\\x07")


def test_what_was_preempted_is_runnable_for_trace_compass(trace: Path) -> None:
    from ltt_relay.export.lttng import translate

    table = ltt_relay.open(trace).arrow("sched_switch")["sched_switch"].slice(0, 3)
    state = pa.chunked_array([pa.array([0x100, 0x1, 0], pa.uint16())])
    position = table.column_names.index("prev_state")
    (made,) = translate("sched_switch", table.set_column(position, "prev_state", state), "x86_64")
    assert dict(made.fields)["prev_state"].to_pylist() == [0, 1, 0]


def test_a_task_that_changes_is_no_dump(trace: Path) -> None:
    from ltt_relay.export.lttng import translate

    table = ltt_relay.open(trace).arrow("state_task")["state_task"].slice(0, 3)
    cause = pa.chunked_array([pa.array(["dump", "fork", None])])
    position = table.column_names.index("cause")
    made = list(translate("state_task", table.set_column(position, "cause", cause), "x86_64"))
    assert [(part.names, part.table.num_rows) for part in made] == [
        (["lttng_statedump_process_state"], 1), (["state_task"], 2),
    ]  # fmt: skip
    assert Counter(name for part in made for name, _ in part.fields)["status"] == 1
