# SPDX-License-Identifier: GPL-2.0-or-later
"""Analyses on traces whose truth is known, since each record was put there by hand."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from IPython.core.formatters import DisplayFormatter

import ltt_relay
from ltt_relay import analysis, plot
from ltt_relay.analysis.catalog import ANALYSES
from ltt_relay.analysis.report import as_object, names, sections, text
from ltt_relay.cli import main
from ltt_relay.cli.plot import KINDS
from ltt_relay.cli.report import SECTIONS
from ltt_relay.cli.report import command as report
from ltt_relay.plot.page import page
from ltt_relay.testing import write_trace
from tests.analysis.handmade import Row, switch, write


@pytest.fixture
def trace(tmp_path: Path) -> ltt_relay.Trace:
    """Task 7 (sleeper) runs three times 100 ns on CPU 0, woken 30 ns before each; it calls nanosleep each time."""
    rows: list[Row] = []
    for begin in (1000, 2000, 3000):
        rows += [
            (begin - 30, "sched_wakeup", {"pid": 7, "prio": 120, "target_cpu": 0}),
            switch(begin, 0, 7),
            (begin + 10, "sys_exit", {"tid": 7, "id": 35, "ret": -4}),
            (begin + 20, "irq_handler_entry", {"irq": 5}),
            (begin + 35, "irq_handler_exit", {"irq": 5, "ret": 1}),
            (begin + 50, "page_fault_user", {"tid": 7, "error_code": 4, "address": 64, "ip": 65}),
            (begin + 90, "sys_enter", {"tid": 7, "id": 35, "nargs": 2, "args": [1, 2]}),
            switch(begin + 100, 7, 0),
        ]
    return write(tmp_path / "t", {0: rows}, {0: "swapper", 7: "sleeper"}, {5: "disk"})


@pytest.fixture
def three(tmp_path: Path) -> ltt_relay.Trace:
    """A waits for a futex until B wakes it, and goes on on CPU 1; B gives way to C for a while."""
    first: list[Row] = [
        switch(1000, 0, 10),
        (1500, "sys_enter", {"tid": 10, "id": 202, "nargs": 6, "args": [0x7000, 0x80 | 9, 1, 0, 0, 0xFFFFFFFF]}),
        switch(1600, 10, 20, 1),
        (2000, "sched_waking", {"pid": 10, "prio": 120, "target_cpu": 1}),
        (2010, "sched_wakeup", {"pid": 10, "prio": 120, "target_cpu": 1}),
        (2100, "sched_waking", {"pid": 30, "prio": 100, "target_cpu": 0}),
        switch(2300, 20, 30, 0x100),
        switch(2500, 30, 20, 2),
        switch(3000, 20, 0, 0x20),
    ]
    second: list[Row] = [
        switch(2200, 0, 10),
        (2250, "sys_exit", {"tid": 10, "id": 202, "ret": 0}),
        switch(2800, 10, 0, 1),
    ]
    names = {0: "swapper", 10: "A", 20: "B", 30: "C"}
    return write(tmp_path / "three", {0: first, 1: second}, names, {})


def test_cpu_time(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.cpu_time(trace).to_dict("records")
    assert (row["comm"], row["run_ns"], row["intervals"], row["longest_ns"]) == ("sleeper", 300, 3, 100)
    assert row["share"] == pytest.approx(300 / 2100)


def test_cpu_time_of_tasks_that_move(three: ltt_relay.Trace) -> None:
    table = analysis.cpu_time(three).set_index("comm")
    assert table["run_ns"].to_dict() == {"A": 1200, "B": 1200, "C": 200}
    usage = analysis.cpu_usage(three, bins=7)
    assert usage.groupby("comm", observed=True)["run_ns"].sum().to_dict() == {"A": 1200, "B": 1200, "C": 200}
    assert usage["cpus"].max() <= 2


def test_wakeup_latency(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.wakeup_latency(trace).to_dict("records")
    assert (row["tid"], row["count"], row["mean_ns"], row["max_ns"]) == (7, 3, 30, 30)


def test_waiting_for_a_cpu(three: ltt_relay.Trace) -> None:
    waits = analysis.runqueue_waits(three)
    found = list(zip(waits["comm"], waits["state"], waits["begin"], waits["wait_ns"], strict=True))
    assert found == [("A", "woken", 2000, 200), ("C", "woken", 2100, 200), ("B", "preempted", 2300, 200)]
    queue = analysis.run_queue(three)
    assert (queue["waiting"].max(), queue["waiting"].iloc[-1]) == (2, 0)


def test_a_wait_that_ended_with_the_last_record_is_one(tmp_path: Path) -> None:
    """It was left out: how long the task ran then is not known, but how long it waited is."""
    rows: list[Row] = [switch(1000, 7, 0, 1), (1500, "sched_waking", {"pid": 7, "prio": 120}), switch(1700, 0, 7)]
    trace = write(tmp_path / "t", {0: rows}, {0: "swapper", 7: "sleeper"}, {})
    assert analysis.runqueue_waits(trace)[["begin", "wait_ns"]].to_numpy().tolist() == [[1500, 200]]
    assert analysis.wakeup_latencies(trace)["latency_ns"].tolist() == [200]
    assert analysis.off_cpu(trace)[["begin", "woken", "end"]].to_numpy().tolist() == [[1000, 1500, 1700]]


def test_preemptions_and_migrations(three: ltt_relay.Trace) -> None:
    (row,) = analysis.preemptions(three).to_dict("records")
    assert (row["time"], row["comm"], row["by_comm"], row["in_kernel"], row["ran_ns"]) == (2300, "B", "C", True, 700)
    (move,) = analysis.migrations(three).to_dict("records")
    assert (move["time"], move["comm"], move["from_cpu"], move["to_cpu"], move["away_ns"]) == (2200, "A", 0, 1, 600)
    (count,) = analysis.migration_counts(three).to_dict("records")
    assert (count["comm"], count["migrations"], count["runs"]) == ("A", 1, 2)


def test_time_off_the_cpu_knows_the_call_and_the_waker(three: ltt_relay.Trace) -> None:
    (row,) = analysis.off_cpu(three).to_dict("records")
    assert (row["begin"], row["woken"], row["end"]) == (1600, 2000, 2200)
    assert (row["sleep_ns"], row["wait_ns"], row["off_ns"]) == (400, 200, 600)
    assert (row["comm"], row["state"], row["syscall"], row["context"]) == ("A", "sleeping", "futex", "task")
    assert (row["waker_tid"], row["waker_comm"]) == (20, "B")


def test_an_interrupt_is_what_woke_a_task(tmp_path: Path) -> None:
    rows = [
        switch(1000, 7, 0), (1400, "irq_handler_entry", {"irq": 5}),
        (1500, "sched_waking", {"pid": 7, "prio": 120, "target_cpu": 0}),
        (1600, "irq_handler_exit", {"irq": 5, "ret": 1}), switch(1700, 0, 7), switch(1800, 7, 0),
    ]  # fmt: skip
    trace = write(tmp_path / "t", {0: rows}, {0: "swapper", 7: "reader"}, {5: "disk"})
    assert list(analysis.off_cpu(trace)["context"]) == ["irq disk"]
    (sleep, *_) = analysis.critical_path(trace, 7).to_dict("records")
    assert (sleep["state"], sleep["cause"], sleep["duration_ns"]) == ("sleeping", "irq disk", 500)


def test_the_critical_path_goes_through_the_task_that_was_waited_for(three: ltt_relay.Trace) -> None:
    path = analysis.critical_path(three, 10)
    found = list(zip(path["comm"], path["state"], path["begin"], path["end"], path["depth"], strict=True))
    assert found == [
        ("A", "running", 1000, 1600, 0),
        ("B", "running", 1600, 2000, 1),
        ("A", "woken", 2000, 2200, 0),
        ("A", "running", 2200, 2800, 0),
    ]
    assert analysis.critical_path_time(three, 10)["total_ns"].sum() == 1800
    with pytest.raises(ltt_relay.errors.UserError, match="task 99 was not seen"):
        analysis.critical_path(three, 99)


def test_system_calls(trace: ltt_relay.Trace) -> None:
    (row,) = analysis.syscalls(trace).to_dict("records")
    assert (row["name"], row["count"], row["errors"], row["total_ns"]) == ("nanosleep", 2, 2, 2 * 920)
    (error,) = analysis.syscall_errors(trace).to_dict("records")
    assert (error["name"], error["error"], error["count"], error["tasks"]) == ("nanosleep", "EINTR", 2, 1)


def test_a_call_that_took_far_longer_than_its_kind(tmp_path: Path) -> None:
    rows: list[Row] = []
    for i in range(40):
        begin = 1000 * (i + 1)
        rows += [
            (begin, "sys_enter", {"tid": 7, "id": 0, "nargs": 0, "args": []}),
            (begin + (900 if i == 33 else 100 + i % 3), "sys_exit", {"tid": 7, "id": 0, "ret": 0}),
        ]
    trace = write(tmp_path / "t", {0: rows}, {7: "reader"}, {})
    (row,) = analysis.syscall_outliers(trace).to_dict("records")
    assert (row["name"], row["begin"], row["duration_ns"], row["median_ns"]) == ("read", 34000, 900, 101)


def test_calls_of_32_bit_programs_have_their_own_names(tmp_path: Path) -> None:
    rows: list[Row] = [
        (10, "sys_enter", {"tid": 7, "id": 4, "abi": 1, "nargs": 0, "args": []}),
        (20, "sys_exit", {"tid": 7, "id": 4, "abi": 1, "ret": 1}),
        (30, "sys_enter", {"tid": 7, "id": 1, "abi": 0, "nargs": 0, "args": []}),
        (40, "sys_exit", {"tid": 7, "id": 1, "abi": 0, "ret": 1}),
    ]
    trace = write(tmp_path / "t", {0: rows}, {7: "writer"}, {})
    assert list(analysis.syscall_durations(trace)["name"]) == ["write", "write"]


def test_futexes(three: ltt_relay.Trace) -> None:
    (row,) = analysis.futexes(three).to_dict("records")
    assert (row["comm"], row["futex"], row["tasks"], row["count"], row["total_ns"]) == ("A", 0x7000, 1, 1, 750)


def _contends(begin: bool, time: int, tid: int, lock: int, flags: int = 0) -> Row:
    if begin:
        return time, "contention_begin", {"tid": tid, "lock_addr": lock, "flags": flags}
    return time, "contention_end", {"tid": tid, "lock_addr": lock}


def test_a_mutex_that_is_spun_for_and_then_slept_for_is_one_wait(tmp_path: Path) -> None:
    first = [
        _contends(True, 1000, 7, 0xA0, 33), _contends(True, 1200, 7, 0xA0, 32), _contends(False, 1500, 7, 0xA0),
        # A spinlock's wait of which the end is missing, then one that is whole.
        _contends(True, 2000, 7, 0xB0, 1), _contends(True, 2500, 7, 0xB0, 1), _contends(False, 2600, 7, 0xB0),
    ]  # fmt: skip
    # It slept on one CPU and got the lock on the other; what was asked for first did not wait longest.
    second = [_contends(True, 1100, 8, 0xA0, 33), _contends(False, 1150, 8, 0xA0), switch(3000, 0, 8)]
    trace = write(tmp_path / "t", {0: first, 1: second}, {7: "sleeper", 8: "spinner"}, {})
    waits = analysis.contentions(trace)
    found = list(zip(waits["tid"], waits["kind"], waits["flags"], waits["begin"], waits["wait_ns"], strict=True))
    assert found == [(7, "mutex", 32, 1000, 500), (8, "mutex", 33, 1100, 50), (7, "spinlock", 1, 2500, 100)]
    table = analysis.contention(trace)
    assert list(zip(table["lock"], table["kind"], table["comm"], table["total_ns"], strict=True)) == [
        (0xA0, "mutex", "sleeper", 500), (0xB0, "spinlock", "sleeper", 100), (0xA0, "mutex", "spinner", 50),
    ]  # fmt: skip


def test_the_idle_tasks_of_two_cpus_spin_each_for_itself(tmp_path: Path) -> None:
    first = [_contends(True, 1000, 0, 0xA0, 1), _contends(False, 1500, 0, 0xA0)]
    second = [_contends(True, 1100, 0, 0xA0, 1), _contends(False, 1300, 0, 0xA0)]
    waits = analysis.contentions(write(tmp_path / "t", {0: first, 1: second}, {0: "swapper"}, {}))
    assert list(zip(waits["cpu"], waits["wait_ns"], strict=True)) == [(0, 500), (1, 200)]


def test_a_soft_interrupt_is_late_from_its_first_raise(tmp_path: Path) -> None:
    rows: list[Row] = [
        (1000, "softirq_raise", {"vec": 6}), (1100, "softirq_raise", {"vec": 6}), (1200, "softirq_raise", {"vec": 1}),
        (1300, "softirq_entry", {"vec": 1}), (1400, "softirq_exit", {"vec": 1}),
        # Raised again while its handler runs, it runs once more.
        (1500, "softirq_entry", {"vec": 6}), (1600, "softirq_raise", {"vec": 6}), (1700, "softirq_exit", {"vec": 6}),
        (1800, "softirq_entry", {"vec": 6}), (1900, "softirq_exit", {"vec": 6}),
    ]  # fmt: skip
    each = analysis.soft_interrupt_latency(write(tmp_path / "t", {0: rows}, {}, {}))
    found = list(zip(each["vec"], each["raised"], each["latency_ns"], strict=True))
    assert found == [("TIMER", 1200, 100), ("TASKLET", 1000, 500), ("TASKLET", 1600, 200)]


def test_interrupts_and_faults(trace: ltt_relay.Trace) -> None:
    (irq,) = analysis.interrupts(trace).to_dict("records")
    assert (irq["irq"], irq["name"], irq["count"], irq["total_ns"]) == (5, "disk", 3, 45)
    (fault,) = analysis.page_faults(trace).to_dict("records")
    assert (fault["comm"], fault["user"], fault["kernel"]) == ("sleeper", 3, 0)
    with pytest.raises(analysis.MissingEventError, match="softirq_entry"):
        analysis.soft_interrupts(trace)


def test_intervals_that_touch_a_gap_are_marked(tmp_path: Path) -> None:
    trace = ltt_relay.open(write_trace(tmp_path / "t", 20_000, 2, packet_size=32 << 10, lost_every=3))
    runs = analysis.run_intervals(trace)
    gaps = trace.gaps
    for column in ("begin", "end"):
        gaps[column] = gaps[column].astype("int64") - trace.info["wall_offset"]
    expected = [
        any(gap.cpu == run.cpu and gap.begin <= run.end and gap.end >= run.begin for gap in gaps.itertuples())
        for run in runs.itertuples()
    ]
    assert 0 < sum(expected) < 100
    assert list(runs["in_gap"]) == expected
    assert analysis.syscall_durations(trace)["in_gap"].any()
    assert analysis.losses(trace)["count"].sum() == trace.info["lost"] > 0
    assert "Losses" in text(trace)


def test_a_window_is_what_happened_in_it(trace: ltt_relay.Trace) -> None:
    begin = trace.info["begin"]
    window = analysis.Window(trace, begin + 1000, "-10ns")
    assert (window.info["begin"], window.info["end"]) == (begin + 1000, trace.info["end"] - 10)
    assert analysis.interrupts(window)["count"].sum() == 2
    assert analysis.page_faults(window)["user"].sum() == 2
    assert "irq_handler_entry" in text(window)


def test_the_report_says_what_is_missing_and_the_rest(trace: ltt_relay.Trace) -> None:
    report = text(trace)
    assert "Soft interrupts: this needs softirq_entry and softirq_exit" in report
    assert "nanosleep" in report
    assert [section.title for section in sections(trace)][1:] == [entry.title for entry in ANALYSES]


def test_the_report_as_json_has_the_tables_whole(three: ltt_relay.Trace) -> None:
    said = json.loads(json.dumps(as_object(three, ["run-queue", "softirqs", "losses"])))
    assert (said["schema"], said["trace"], said["lost"]) == (1, str(three.path), 0)
    queue, soft = said["sections"]
    row = dict(zip(queue["columns"], queue["rows"][0], strict=True))
    assert (row["comm"], row["state"], row["count"], row["total_ns"]) == ("A", "woken", 1, 200)
    assert soft["absent"]
    assert "rows" not in soft


def test_the_command_takes_sections_and_says_which_there_are(three: ltt_relay.Trace) -> None:
    run = CliRunner().invoke
    said = run(report, [str(three.path), "--only", "cpu", "--only", "futexes", "--rows", "1"]).output
    assert [line for line in said.splitlines() if line.startswith("===")] == ["=" * 16, "=" * 7]
    assert "… and 2 more rows" in said
    assert json.loads(run(report, [str(three.path), "--json", "--only", "cpu"]).output)["sections"][0]["name"] == "cpu"
    assert run(report, [str(three.path), "--only", "all"]).exit_code == 2
    assert run(report, [str(three.path), "--json", "--html", "x"]).exit_code == 2
    assert list(SECTIONS) == names()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--since", "+1s"], "there is nothing from +1s: it lasts 2 µs"),
        (["--since", "+500ns", "--until", "+400ns"], "there is nothing from +500ns until +400ns"),
        (["-o", "/proc/none/a.png"], "/proc/none/a.png: cannot be written: No such file or directory"),
        (["--since", "soon"], "'soon' is no time"),
        (["--tid", "10"], "goes with critical-path"),
        (["-o", "a.jpeg"], ".png, .svg or .pdf was expected"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(words: list[str], said: str, three: ltt_relay.Trace) -> None:
    done = CliRunner().invoke(main, ["plot", str(three.path), "rates", "-o", "/dev/null/a.png", *words])
    assert done.exit_code in {1, 2}
    assert said in done.output


def test_the_critical_path_of_a_task_that_is_named(three: ltt_relay.Trace, tmp_path: Path) -> None:
    words = ["plot", str(three.path), "critical-path", "--tid", "20", "-o", str(tmp_path / "a.svg")]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert (tmp_path / "a.svg").exists()


def test_tasks_without_names_are_told_apart_by_number(tmp_path: Path) -> None:
    rows = [switch(1000, 0, 7), switch(2000, 7, 8, 0), switch(3000, 8, 7, 0), switch(4000, 7, 0)]
    trace = write(tmp_path / "t", {0: rows}, {8: "known"}, {})
    table = analysis.preemption_counts(trace)
    assert set(zip(table["comm"], table["by_comm"], strict=True)) == {("task 7", "known"), ("known", "task 7")}
    assert set(analysis.cpu_usage(trace)["comm"]) == {"task 7", "known"}


def test_the_page_stands_alone(three: ltt_relay.Trace) -> None:
    html = page(three)
    assert html.count("<img") >= 10
    assert "http" not in html
    assert "<script" not in html
    assert '<td class="l">futex</td>' in html


def test_the_kinds_of_plots_are_known_by_the_command_and_drawn_by_an_analysis() -> None:
    assert list(KINDS) == list(plot.KINDS)
    drawn = {kind for entry in ANALYSES for kind in entry.plots} | {"rates"}
    assert drawn == set(KINDS)


def test_a_notebook_shows_pictures(three: ltt_relay.Trace) -> None:
    """Without pyplot IPython had only their text to show."""
    data, _ = DisplayFormatter().format(plot.timeline(three))  # type: ignore[no-untyped-call]
    assert data["image/png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", plot.KINDS)
@pytest.mark.parametrize("name", ["trace", "three"])
def test_pictures_are_drawn(kind: str, name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    trace = request.getfixturevalue(name)
    with contextlib.suppress(analysis.MissingEventError):
        made = plot.KINDS[kind](trace)
        made.savefig(tmp_path / "a.png")
        made.savefig(tmp_path / "a.svg")
        assert (tmp_path / "a.png").stat().st_size > 2000
