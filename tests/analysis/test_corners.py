# SPDX-License-Identifier: GPL-2.0-or-later
"""Every analysis and every picture of traces that are odd but valid: next to nothing, very long, very wide."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

import ltt_relay
from ltt_relay import analysis, plot
from ltt_relay.analysis.base import span
from ltt_relay.analysis.catalog import ANALYSES
from ltt_relay.analysis.report import sections, text
from ltt_relay.errors import UserError
from ltt_relay.formats.classic import Dialect
from ltt_relay.plot.page import page
from ltt_relay.testing import write_trace
from ltt_relay.testing.classic import Record, Writer, write_classic
from tests.analysis.handmade import Row, switch, write

_HOUR: Final = 3_600_000_000_000
_NAMES: Final = {0: "swapper/0", 7: "$dollars$_${x}$", 8: 'x" <b>&\t\x01', 9: "ümläut-15-lang"}


def _life(begin: int, task: int, step: int, cpu: int = 0) -> list[Row]:
    """A task is woken by an interrupt, runs, faults, waits in a call for a disk and a lock, and leaves."""
    at = iter(range(begin, begin + 40 * step, step))
    disk = {"dev": 8 << 20, "sector": 64, "nr_sector": 8, "bytes": 4096, "cmd_flags": 0}
    timer = {"hrtimer": 0xFFFF0000, "function": 0xFFFF1234}
    return [
        (next(at), "hrtimer_start", timer | {"expires": begin + step}),
        (next(at), "irq_handler_entry", {"irq": 5}),
        (next(at), "hrtimer_expire_entry", timer | {"now": begin + 3 * step}),
        (next(at), "sched_waking", {"pid": task, "prio": 120, "target_cpu": cpu}),
        (next(at), "hrtimer_expire_exit", {"hrtimer": 0xFFFF0000}),
        (next(at), "softirq_raise", {"vec": 1}),
        (next(at), "irq_handler_exit", {"irq": 5, "ret": 1}),
        (next(at), "softirq_entry", {"vec": 1}),
        (next(at), "softirq_exit", {"vec": 1}),
        switch(next(at), 0, task),
        (next(at), "page_fault_user", {"tid": task, "address": 64, "ip": 65}),
        (next(at), "sys_enter", {"tid": task, "id": 202, "nargs": 2, "args": [0x7F00_1234_5678, 0x80]}),
        (next(at), "block_rq_issue", disk | {"tid": task}),
        (next(at), "contention_begin", {"tid": task, "lock_addr": 0xFFFF_8881_0345_6789, "flags": 32}),
        switch(next(at), task, 9, 2),
        (next(at), "block_rq_complete", disk),
        (next(at), "sched_waking", {"pid": task, "prio": 120, "target_cpu": cpu}),
        switch(next(at), 9, task, 0x100),
        (next(at), "contention_end", {"tid": task, "lock_addr": 0xFFFF_8881_0345_6789}),
        (next(at), "sys_exit", {"tid": task, "id": 202, "ret": -11}),
        switch(next(at), task, 9),
        switch(next(at), 9, 0),
    ]


def _one_event(path: Path) -> ltt_relay.Trace:
    return write(path, {0: [switch(1000, 0, 7)]}, _NAMES, {})


def _nothing(path: Path) -> ltt_relay.Trace:
    return write(path, {}, _NAMES, {})


def _microseconds(path: Path) -> ltt_relay.Trace:
    return write(path, {0: _life(1000, 7, 50) + _life(4000, 8, 10)}, _NAMES, {5: "disk"})


def _hours(path: Path) -> ltt_relay.Trace:
    rows = [row for hour in range(13) for row in _life(hour * _HOUR + 1000, 7 + hour % 2, 1_000_000)]
    return write(path, {0: rows}, _NAMES, {5: "disk"})


def _many_cpus(path: Path) -> ltt_relay.Trace:
    cpus = {cpu: _life(1000 + cpu, 7 + cpu % 2, 100_000, cpu) for cpu in range(64)}
    return write(path, cpus, _NAMES, {5: "disk"})


def _gaps(path: Path) -> ltt_relay.Trace:
    return ltt_relay.open(write_trace(path, 20_000, 2, packet_size=32 << 10, lost_every=2))


def _ltt(path: Path) -> ltt_relay.Trace:
    """LTT 2.2 of 2002: tasks without names, system calls without results, soft interrupts without ends."""
    rows = []
    for i in range(200):
        at, task = 10**18 + 1_000_000 * i, 7 + i % 2
        rows += [
            Record("sched_wakeup", at, {"pid": task}, 0),
            Record("sched_switch", at + 10_000, {"prev_pid": 15 - task, "next_pid": task, "prev_state": 1}, 0),
            Record("sys_enter", at + 20_000, {"id": 3}, 0),
            Record("sys_exit", at + 90_000, {}, 0),
        ]
    directory = path / "ltt"
    directory.mkdir(parents=True)
    write_classic(directory, Writer(Dialect("2.2c", "<")), rows)
    return ltt_relay.open(directory)


MADE: Final[dict[str, Callable[[Path], ltt_relay.Trace]]] = {
    "nothing": _nothing, "one-event": _one_event, "microseconds": _microseconds, "hours": _hours,
    "many-cpus": _many_cpus, "gaps": _gaps, "ltt": _ltt,
}  # fmt: skip


@pytest.fixture(params=list(MADE))
def odd(request: pytest.FixtureRequest, tmp_path: Path) -> ltt_relay.Trace:
    return MADE[request.param](tmp_path / "odd")


def test_the_report_is_written(odd: ltt_relay.Trace) -> None:
    said = text(odd)
    assert "nan" not in said.lower().replace("nanosleep", "")
    if odd.path.name != "gaps":
        assert "inf" not in said


def test_pictures_are_drawn(odd: ltt_relay.Trace, tmp_path: Path) -> None:
    for kind, function in plot.KINDS.items():
        try:
            made = function(odd)
        except UserError:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made.savefig(tmp_path / f"{kind}.svg")
        assert (tmp_path / f"{kind}.svg").stat().st_size < 500_000, kind


def test_every_analysis_has_something_to_say_of_a_short_life(tmp_path: Path) -> None:
    trace = _microseconds(tmp_path / "t")
    for entry in ANALYSES:
        # The trace is too short for a call to be out of the ordinary, and all of it is on one CPU.
        assert len(entry.function(trace)) or entry.title in {"Outlying system calls", "Migrations"}, entry.title
    html = page(trace)
    assert "&lt;b&gt;&amp;" in html
    assert "<b>&" not in html
    assert html.count("<img") >= len(plot.KINDS) - 2


def test_a_trace_of_2002_tells_of_scheduling_and_calls(tmp_path: Path) -> None:
    trace = _ltt(tmp_path)
    assert analysis.wakeup_latency(trace)["p50_ns"].tolist() == [10_000, 10_000]
    assert analysis.cpu_time(trace)["tid"].tolist() == [8, 7] or analysis.cpu_time(trace)["tid"].tolist() == [7, 8]
    (call,) = analysis.syscalls(trace).to_dict("records")
    assert (call["name"], call["count"], call["p50_ns"]) == ("read", 200, 70_000)
    assert "task 7" in set(analysis.wakeup_pairs(trace)["comm"])


def test_times_of_hours_are_hours(tmp_path: Path) -> None:
    trace = _hours(tmp_path / "t")
    assert plot.rates(trace).axes[0].get_xlabel() == "time since the trace began (h)"
    assert analysis.timer_expiries(trace)["late_ns"].dropna().max() == 2_000_000


def test_a_part_of_a_trace_in_which_hardly_anything_happened(tmp_path: Path) -> None:
    """Some failed where a part had none of an event that the trace has: no wake-up, call, lock or kind of timer."""
    wheel = {"timer": 0xFFFF0000, "function": 0xFFFF1234}
    rows = [
        *_life(1000, 7, 10),
        (1240, "timer_expire_entry", wheel),
        (1250, "timer_expire_exit", {"timer": 0xFFFF0000}),
    ]
    trace = write(tmp_path / "t", {0: rows}, _NAMES, {5: "disk"})
    begin, end = trace.info["begin"], trace.info["end"]
    for since in range(begin, end, 20):
        for until in (since + 10, since + 50):
            part = analysis.Window(trace, since, until)
            for entry in ANALYSES:
                with contextlib.suppress(UserError):
                    entry.function(part)


def test_times_of_a_part_count_from_the_begin_of_the_trace(tmp_path: Path) -> None:
    """As --since counts; they counted from the part's begin, and still said that it was the trace's."""
    trace = _hours(tmp_path / "t")
    axes = plot.rates(analysis.Window(trace, "+5h", "+6h")).axes[0]
    assert axes.get_xlabel() == "time since the trace began (min)"
    shown = [label.get_text() for label in axes.get_xticklabels()]
    assert {"300", "360"} <= set(shown)
    (section,) = sections(analysis.Window(trace, "+5h"), ["cpu"])
    assert section.since == span(trace)[0]


def test_who_ran_at_the_ends_of_a_part_is_in_it(tmp_path: Path) -> None:
    """They were left out: the picture showed a CPU as idle that was busy, and so did the tables."""
    rows = [switch(1000, 0, 7), switch(5000, 7, 8, 0), switch(9000, 8, 0), switch(11000, 0, 7), switch(12000, 7, 0)]
    trace = write(tmp_path / "t", {0: rows, 1: [switch(1000, 0, 9), switch(12000, 9, 0)]}, {7: "A", 8: "B"}, {})
    offset = trace.info["wall_offset"]

    def part(since: int, until: int) -> list[tuple[int, int, int]]:
        runs = analysis.run_intervals(analysis.Window(trace, since + offset, until + offset))
        return list(runs[["begin", "end", "tid"]].itertuples(index=False, name=None))

    assert part(4000, 6000) == [(4000, 5000, 7), (5000, 6000, 8)]
    assert part(6000, 10000) == [(6000, 9000, 8), (9000, 10000, 0)]
    # Who ran before the trace began, and after its end, is not known; of a CPU without a switch neither.
    assert part(0, 6000) == [(1000, 5000, 7), (5000, 6000, 8), (1000, 6000, 9)]
    assert part(10000, 99999) == [(10000, 11000, 0), (11000, 12000, 7), (10000, 12000, 9)]
    window = analysis.Window(trace, 4000 + offset, 6000 + offset)
    assert analysis.cpu_time(window)[["comm", "run_ns", "share"]].to_numpy().tolist() == [
        ["A", 1000, 0.5],
        ["B", 1000, 0.5],
    ]
    assert analysis.preemptions(window)["time"].tolist() == [5000]
    said = [plot.timeline(window).get_suptitle(), plot.cpu(window).axes[0].get_title(loc="left")]
    assert all(title.endswith("; 1 CPU without a switch left out") for title in said)
    assert "left out" not in plot.timeline(trace).get_suptitle()


def test_what_is_said_to_be_lost_in_a_part_was_lost_there(tmp_path: Path) -> None:
    """The report of a part told of the losses of the whole trace."""
    trace = _gaps(tmp_path / "t")
    first = trace.gaps["begin"].min()
    before, after = analysis.Window(trace, until=first), analysis.Window(trace, since=first)
    assert trace.info["lost"] == after.info["lost"] == sum(after.info["lost_by_reason"].values()) > 0
    assert (before.info["lost"], before.info["lost_by_reason"]) == (0, {})
    assert "nothing was lost" in text(before, ["trace"])
