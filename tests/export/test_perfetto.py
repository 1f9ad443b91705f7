# SPDX-License-Identifier: GPL-2.0-or-later
"""Exported Perfetto traces, parsed with the published definitions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay.export import perfetto
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.testing import write_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 20_000, cpus=3, packet_size=16384, lost_every=2)


@pytest.fixture(scope="module")
def theirs(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2

    output = tmp_path_factory.mktemp("out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perfetto, "_BUNDLE", 700)
        result = convert_trace(trace, output, Options("perfetto"))
    assert (result.status, result.error) == ("done", "")
    parsed = perfetto_trace_pb2.Trace()
    parsed.ParseFromString((output / "trace.perfetto-trace").read_bytes())
    return parsed


def _switches(theirs: Any) -> list[tuple[int, int, int, int, str]]:
    """Undo the compact form: (time, cpu, previous state, next pid, next name)."""
    found = []
    for packet in theirs.packet:
        compact = packet.ftrace_events.compact_sched
        time = 0
        columns = (compact.switch_timestamp, compact.switch_prev_state, compact.switch_next_pid)
        for delta, state, pid, name in zip(*columns, compact.switch_next_comm_index, strict=True):
            time += delta
            found.append((time, packet.ftrace_events.cpu, state, pid, compact.intern_table[name]))
    return sorted(found)


def test_switches_are_those_of_the_frame(trace: Path, theirs: Any) -> None:
    frame = ltt_relay.open(trace).frames("sched_switch", time="ns")["sched_switch"]
    columns = [frame[name].tolist() for name in ("timestamp", "cpu", "prev_state", "next_pid", "next_comm")]
    assert _switches(theirs) == sorted(zip(*columns, strict=True))


def test_counts_are_equal_for_every_event(trace: Path, theirs: Any) -> None:
    counts: Counter[str] = Counter()
    for packet in theirs.packet:
        bundle = packet.ftrace_events
        counts["sched_switch"] += len(bundle.compact_sched.switch_timestamp)
        counts["sched_waking"] += len(bundle.compact_sched.waking_timestamp)
        counts.update(event.WhichOneof("event") for event in bundle.event)
        if packet.HasField("track_event") and packet.track_event.type == packet.track_event.TYPE_INSTANT:
            counts[packet.track_event.name] += 1
    catalog = ltt_relay.open(trace).catalog
    expected = {row.event: row.count for row in catalog.itertuples(index=False) if row.group != "state"}
    assert {event: int(count) for event, count in expected.items()} == +counts


def test_fields_are_equal(trace: Path, theirs: Any) -> None:
    opened = ltt_relay.open(trace)
    events = [(e, p.ftrace_events.cpu) for p in theirs.packet for e in p.ftrace_events.event]
    entries = sorted((e.timestamp, c, e.pid, e.sys_enter.id, tuple(e.sys_enter.args)) for e, c in events
                     if e.HasField("sys_enter"))  # fmt: skip
    table = opened.arrow("sys_enter", time="ns")["sys_enter"].to_pylist()
    assert entries == sorted((r["timestamp"], r["cpu"], r["tid"], r["id"], tuple(r["args"])) for r in table)
    irqs = sorted((e.timestamp, e.irq_handler_entry.irq, e.irq_handler_entry.name) for e, _ in events
                  if e.HasField("irq_handler_entry"))  # fmt: skip
    table = opened.arrow("irq_handler_entry", time="ns")["irq_handler_entry"].to_pylist()
    assert irqs == sorted((r["timestamp"], r["irq"], r["name"]) for r in table)
    vectors = Counter(e.softirq_entry.vec for e, _ in events if e.HasField("softirq_entry"))
    assert sum(vectors.values()) == len(opened["softirq_entry"])
    assert set(vectors) <= set(range(10))


def test_losses_are_slices_and_flags(trace: Path, theirs: Any) -> None:
    gaps = ltt_relay.open(trace).gaps
    begins = [p.track_event for p in theirs.packet
              if p.HasField("track_event") and p.track_event.type == p.track_event.TYPE_SLICE_BEGIN]  # fmt: skip
    assert [event.name for event in begins] == [f"lost {n} (full)" for n in gaps["count"]]
    flagged = Counter(p.ftrace_events.cpu for p in theirs.packet if p.ftrace_events.lost_events)
    assert flagged == Counter(gaps["cpu"].tolist())
    tracks = {p.track_descriptor.name for p in theirs.packet if p.HasField("track_descriptor")}
    assert {"CPU 0 losses", "CPU 1 losses", "CPU 2 losses"} <= tracks


def test_processes_have_names_and_the_clock_is_known(trace: Path, theirs: Any) -> None:
    processes = {p.pid: p.cmdline[0] for packet in theirs.packet for p in packet.process_tree.processes}
    tasks = ltt_relay.open(trace)["state_task"]
    assert processes == dict(zip(tasks["pid"].tolist(), tasks["event_comm"].tolist(), strict=True))
    clocks = {clock.clock_id: clock.timestamp for p in theirs.packet for clock in p.clock_snapshot.clocks}
    assert clocks[1] - clocks[6] == ltt_relay.open(trace).info["wall_offset"]
