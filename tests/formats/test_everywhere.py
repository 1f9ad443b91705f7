# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of every format through every analysis, picture and conversion: what a format lacks is no reason to fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

import ltt_relay
from ltt_relay import plot
from ltt_relay.analysis.report import as_object
from ltt_relay.errors import UserError
from ltt_relay.export.convert import FORMATS, Options, convert_trace
from ltt_relay.formats import classic, k42, poly
from ltt_relay.formats.lttng0_layout import Layout
from ltt_relay.testing.classic import Writer, write_classic
from ltt_relay.testing.legacy import write_k42, write_poly
from ltt_relay.testing.lttng0 import LttngWriter as Lttng0Writer
from ltt_relay.testing.lttng2 import LttngTrace, LttngWriter
from tests.formats import test_classic, test_legacy, test_lttng0

#: As LTTng 2.5's kernel has them.
_MARKERS: Final = {
    ("kernel", "sched_schedule"): "prev_pid %d next_pid %d prev_state #2d%ld",
    ("kernel", "sched_try_wakeup"): "pid %d state #2d%ld cpu_id %u",
    ("kernel", "process_fork"): "parent_pid %d child_pid %d child_tgid %d",
    ("kernel", "process_exit"): "pid %d",
    ("kernel", "syscall_entry"): "ip #p%ld syscall_id #2u%u",
    ("kernel", "syscall_exit"): "ret %ld",
    ("kernel", "irq_entry"): "ip %lu handler %p irq_id #2u%u kernel_mode #1u%u",
    ("kernel", "irq_exit"): "handled #1u%u",
    ("kernel", "softirq_entry"): "softirq_id #1u%lu",
    ("kernel", "softirq_exit"): "softirq_id #1u%lu",
    ("fs", "exec"): "filename %s",
    ("task_state", "process_state"): "pid %d parent_pid %d name %s type %d mode %d submode %d status %d tgid %d",
    ("irq_state", "interrupt"): "name %s handler %s irq_id #2u%u",
    ("module_state", "list_module"): "name %s state %d refcount %lu",
}  # fmt: skip


def _lttng2(path: Path) -> Path:
    records: list[tuple[str, int, int, str, dict[str, Any]]] = []
    for i in range(40):
        for step, (channel, name) in enumerate(_MARKERS):
            words = _MARKERS[channel, name].split()
            values = {word: f"n{i % 3}" if form == "%s" else 1 + (i + step) % 4 for word, form in zip(
                [w for w in words if not w.startswith(("%", "#"))], [w for w in words if w.startswith(("%", "#"))],
                strict=True)}  # fmt: skip
            records.append((channel, i % 2, 1_000 + i * 10_000 + step * 100, name, values))
    return LttngWriter(LttngTrace(_MARKERS, records, 5)).write(path)


def _classic(path: Path) -> Path:
    path.mkdir()
    writer = Writer(classic.Dialect("2.2b", "<"), customs=test_classic.CUSTOMS)
    write_classic(path, writer, test_classic._mixed(writer, 400))
    return path


def _k42(path: Path) -> Path:
    path.mkdir()
    write_k42(path, test_legacy._mixed(k42.format_of(), 400))
    return path


def _poly(path: Path) -> Path:
    return write_poly(path, test_legacy._mixed(poly.format_of("<"), 400), "<")


def _lttng0(path: Path) -> Path:
    writer = Lttng0Writer(Layout((0, 7), "<", 4), facilities=test_lttng0.FACILITIES)
    writer.write(path, test_lttng0._mixed(writer, 400))
    return path


def _lttng1(path: Path) -> Path:
    writer = Lttng0Writer(Layout((1, 0), "<", 8), markers=test_lttng0.MARKERS)
    writer.write(path, test_lttng0._mixed(writer, 400))
    return path


WRITE: Final[dict[str, Callable[[Path], Path]]] = {
    "classic": _classic, "k42": _k42, "poly": _poly, "lttng0": _lttng0, "lttng1": _lttng1, "lttng2": _lttng2,
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRITE))
def test_what_a_format_lacks_is_no_reason_to_fail(name: str, tmp_path: Path) -> None:
    """The report ended with KeyError: 'pid' for each LTTng trace with an exec, --to perfetto with KeyError: 'uid'."""
    path = WRITE[name](tmp_path / "t")
    trace = ltt_relay.open(path)
    records = int(trace.catalog["count"].sum())
    assert records
    as_object(trace)
    for function in plot.KINDS.values():
        try:
            function(trace)
        except UserError:
            continue
    for event in ("state_task", "state_irq", "state_module"):
        if event in trace:
            assert len({"state_task": trace.tasks, "state_irq": trace.irqs}.get(event, trace.modules))
    for to in FORMATS:
        result = convert_trace(path, tmp_path / to, Options(to))
        assert (result.status, result.error, result.records) == ("done", "", records)


def test_numbers_that_are_too_large_for_perfetto_are_no_reason_to_fail(tmp_path: Path) -> None:
    """An irq or a task beyond 31 bits, as damage makes them, and the whole trace was not converted: ValueError."""
    markers = {
        ("kernel", "irq_entry"): "ip %lu irq_id %u kernel_mode %u", ("kernel", "softirq_entry"): "softirq_id #8u%llu",
        ("task_state", "process_state"): "pid #8d%lld parent_pid #8d%lld name %s tgid #8d%lld",
    }  # fmt: skip
    large = (1 << 35) + 7
    task = {"pid": large, "parent_pid": large, "name": "n", "tgid": large}
    records: list[tuple[str, int, int, str, dict[str, Any]]] = [
        ("kernel", 0, 1000, "irq_entry", {"ip": 1, "irq_id": (1 << 32) - 1, "kernel_mode": 1}),
        ("kernel", 0, 2000, "softirq_entry", {"softirq_id": large}),
        ("task_state", 0, 3000, "process_state", task),
    ]
    path = LttngWriter(LttngTrace(markers, records, 5)).write(tmp_path / "t")
    result = convert_trace(path, tmp_path / "out", Options("perfetto"))
    assert (result.status, result.error) == ("done", "")
    protos = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    parsed = protos.Trace()
    parsed.ParseFromString((tmp_path / "out/trace.perfetto-trace").read_bytes())
    events = [event for packet in parsed.packet for event in packet.ftrace_events.event]
    assert [e.irq_handler_entry.irq for e in events if e.HasField("irq_handler_entry")] == [-1]
    assert [e.softirq_entry.vec for e in events if e.HasField("softirq_entry")] == [7]
    assert [process.pid for packet in parsed.packet for process in packet.process_tree.processes] == [7]
