# SPDX-License-Identifier: GPL-2.0-or-later
"""Analyses on traces whose truth is known, since each record was put there by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import ltt_relay
from ltt_relay import analysis, plot
from ltt_relay.analysis.report import text
from ltt_relay.formats import ctf
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, MAGIC, PACKET, RECORD

_UUID = UUID(int=1)


def _packet(stream: int, cpu: int, rows: list[tuple[int, str, dict[str, Any]]]) -> bytes:
    body, content = b"", HEADER_SIZE
    for time, name, fields in rows:
        event = FORMAT.event(name)
        payload = event.payload.build(fields)
        head = RECORD.build({"timestamp": time, "id": event.id, "length": 8 + len(payload)})
        content = HEADER_SIZE + len(body) + 8 + len(payload)
        body += (head + payload).ljust((8 + len(payload) + 7) & ~7, b"\0")
    ids = 0
    for _, name, _ in rows:
        ids |= 1 << FORMAT.event(name).id
    zero: dict[str, Any] = dict.fromkeys((member.name for member in PACKET.subcons), 0)
    header = zero | {
        "uuid": _UUID.bytes, "stream_id": stream, "stream_instance_id": cpu, "cpu_id": cpu, "magic": MAGIC, "major": 3,
        "header_size": HEADER_SIZE, "content_size": 8 * content, "packet_size": 8 * (HEADER_SIZE + len(body)),
        "timestamp_begin": rows[0][0], "timestamp_end": rows[-1][0], "flags": 1, "event_ids": ids, "records": len(rows),
    }  # fmt: skip
    return bytes(PACKET.build(header)) + body


def _switch(time: int, before: int, after: int, state: int = 1) -> tuple[int, str, dict[str, Any]]:
    fields = {"prev_pid": before, "next_pid": after, "prev_prio": 120, "next_prio": 120, "prev_state": state}
    return time, "sched_switch", fields


@pytest.fixture
def trace(tmp_path: Path) -> ltt_relay.Trace:
    """Task 7 (sleeper) runs three times 100 ns on CPU 0, woken 30 ns before each; it calls nanosleep each time."""
    rows: list[tuple[int, str, dict[str, Any]]] = []
    for begin in (1000, 2000, 3000):
        rows += [
            (begin - 30, "sched_wakeup", {"pid": 7, "prio": 120, "target_cpu": 0}),
            _switch(begin, 0, 7),
            (begin + 10, "sys_exit", {"tid": 7, "id": 35, "abi": 0, "reserved": 0, "ret": -4}),
            (begin + 20, "irq_handler_entry", {"irq": 5}),
            (begin + 35, "irq_handler_exit", {"irq": 5, "ret": 1}),
            (begin + 50, "page_fault_user", {"tid": 7, "error_code": 4, "address": 64, "ip": 65}),
            (begin + 90, "sys_enter", {"tid": 7, "id": 35, "abi": 0, "nargs": 2, "args": [1, 2]}),
            _switch(begin + 100, 7, 0),
        ]
    state: list[tuple[int, str, dict[str, Any]]] = [
        (1, "state_task", {"pid": 0, "tgid": 0, "ppid": 0, "uid": 0, "cause": 0, "comm": "swapper"}),
        (1, "state_task", {"pid": 7, "tgid": 7, "ppid": 1, "uid": 0, "cause": 0, "comm": "sleeper"}),
        (1, "state_irq", {"irq": 5, "name": "disk"}),
        (2, "state_end", {"tasks": 2}),
    ]
    path = tmp_path / "t"
    path.mkdir()
    (path / "metadata").write_text(ctf.metadata(FORMAT, _UUID, {"hostname": "h"}, 10**18))
    (path / "state_0").write_bytes(_packet(1, 0, state))
    (path / "events_0").write_bytes(_packet(0, 0, rows))
    return ltt_relay.open(path, strict=True)


def test_cpu_time(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.cpu_time(trace).to_dict("records")
    assert (row["comm"], row["run_ns"], row["intervals"], row["longest_ns"]) == ("sleeper", 300, 3, 100)
    assert row["share"] == pytest.approx(300 / 2100)


def test_wakeup_latency(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.wakeup_latency(trace).to_dict("records")
    assert (row["tid"], row["count"], row["mean_ns"], row["max_ns"]) == (7, 3, 30, 30)


def test_system_calls(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.syscalls(trace).to_dict("records")
    assert (row["name"], row["count"], row["errors"], row["total_ns"]) == ("nanosleep", 2, 2, 2 * 920)


def test_interrupts_and_faults(trace: ltt_relay.Trace) -> None:
    (irq,) = analysis.interrupts(trace).to_dict("records")
    assert (irq["irq"], irq["name"], irq["count"], irq["total_ns"]) == (5, "disk", 3, 45)
    (fault,) = analysis.page_faults(trace).to_dict("records")
    assert (fault["comm"], fault["user"]) == ("sleeper", 3)
    with pytest.raises(analysis.MissingEventError, match="softirq_entry"):
        analysis.soft_interrupts(trace)


def test_the_report_says_what_is_missing_and_the_rest(trace: ltt_relay.Trace) -> None:
    report = text(trace)
    assert "Not available: this needs softirq_entry" in report
    assert "nanosleep" in report


@pytest.mark.parametrize("kind", plot.KINDS)
def test_pictures_are_drawn(kind: str, trace: ltt_relay.Trace, tmp_path: Path) -> None:
    plot.KINDS[kind](trace).savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 5000
