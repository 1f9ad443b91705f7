# SPDX-License-Identifier: GPL-2.0-or-later
"""Analyses against the truth: workloads with known behaviour, the kernel's own accounting, and perf.

One boot, in a guest that counts instructions: a nanosecond is an instruction, so that neither this machine's speed nor
its load is in the figures. workloads.sh records workloads.c
and delays.c alone and then beside perf. tests/vm/test_analysis_smp.py does the same on two CPUs.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

import ltt_relay
from ltt_relay import analysis
from ltt_relay.analysis.base import span
from tests.vm import deviations
from tests.vm.truth import ONE_CPU, Work, counters, during, of, perf_records, read_works, record, timehist

pytestmark = [pytest.mark.vm, pytest.mark.slow]

#: The scheduler reads its clock before it comes to the tracepoint: the path between them, and from sched_waking to the
#: run queue, in instructions; and how long a task may have run, to a tick, since its last switch.
SWITCH, WAKE, SINCE = 8_000, 15_000, 200_000


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth")
    record(out, ONE_CPU, icount=True)
    return out


@pytest.fixture(scope="session")
def trace(left: Path) -> ltt_relay.Trace:
    return ltt_relay.open(left / "alone/trace", strict=True)


@pytest.fixture(scope="session")
def beside(left: Path) -> ltt_relay.Trace:
    return ltt_relay.open(left / "beside/trace", strict=True)


@pytest.fixture(scope="session")
def window(left: Path, beside: ltt_relay.Trace) -> analysis.Window:
    """The time of the works: before and after, not all that perf sees is recorded."""
    works, offset = read_works(left / "beside"), beside.info["wall_offset"]
    return analysis.Window(beside, works["sleeps"].begin + offset, works["rwsems"].end + offset)


@pytest.fixture(scope="session")
def works(left: Path) -> dict[str, Work]:
    found = read_works(left / "alone")
    assert len(found) == 17
    return found


NAMES = ("sleeps", "calls", "forks", "touches", "spin1", "spin2", "moves", "ping", "pong", "waits", "reads")


def test_nothing_was_lost(trace: ltt_relay.Trace) -> None:
    assert trace.info["lost"] == 0
    assert trace.problems.empty


def test_time_on_the_cpu_is_the_schedulers(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    runs = analysis.run_intervals(trace)
    for name in NAMES:
        some = of(runs, works[name], "begin")
        ours, kernel = int((some["end"] - some["begin"]).sum()), works[name].says["run"]
        assert abs(ours - kernel) <= SWITCH * (len(some) + 1) + SINCE, name
    for name in ("spin1", "spin2"):
        some = of(runs, works[name], "begin")
        assert (some["end"] - some["begin"]).sum() == pytest.approx(works[name].says["run"], rel=1e-3)


def test_waiting_for_a_cpu_is_the_schedulers(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    waits = analysis.runqueue_waits(trace)
    for name in NAMES:
        work = works[name]
        some = waits[(waits["tid"] == work.tid) & (waits["end"] > work.low) & (waits["end"] <= work.high)]
        ours, kernel = int(some["wait_ns"].sum()), work.says["delay"]
        assert abs(ours - kernel) <= WAKE * (len(some) + 1), name
    spin = works["spin1"]
    some = waits[(waits["tid"] == spin.tid) & (waits["end"] > spin.low) & (waits["end"] <= spin.high)]
    assert some["wait_ns"].sum() == pytest.approx(spin.says["delay"], rel=1e-3)


def test_switches_are_counted_as_the_kernel_counts_them(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    off, gave_way = analysis.off_cpu(trace), analysis.preemptions(trace)
    for name in NAMES:
        work = works[name]
        counts = (len(of(off, work, "begin")), len(of(gave_way, work, "time")))
        assert counts == (work.says["nvcsw"], work.says["nivcsw"]), name


def test_a_hundred_sleeps_of_ten_milliseconds(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    work = works["sleeps"]
    off = during(analysis.off_cpu(trace), work, "begin")
    naps = off[(off["syscall"] == "clock_nanosleep") & (off["sleep_ns"] > 9_000_000)]
    assert len(naps) == work.says["sleeps"] == 100
    assert naps["sleep_ns"].median() == pytest.approx(10_000_000, rel=0.01)
    calls = during(analysis.syscall_durations(trace), work, "begin")
    inside = calls.loc[(calls["name"] == "clock_nanosleep") & (calls["duration_ns"] > 9_000_000), "duration_ns"]
    assert inside.sum() == pytest.approx(work.says["elapsed"], rel=0.01)


def test_system_calls_are_all_there(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    calls = analysis.syscall_durations(trace)
    some = during(calls, works["calls"], "begin")
    assert (some["name"] == "getppid").sum() == works["calls"].says["getppid"] == 1000
    failed = some[(some["name"] == "close") & (some["ret"] == -9)]
    assert len(failed) == works["calls"].says["ebadf"] == 50
    some = during(calls, works["forks"], "begin")
    made = some["name"].isin(["clone", "clone3", "fork"])
    assert made.sum() == (some["name"] == "wait4").sum() == works["forks"].says["forks"] == 30
    born = trace.frames(["sched_process_fork"], time="ns")["sched_process_fork"]
    assert (born["parent_pid"] == works["forks"].tid).sum() == 30


def test_page_faults_are_those_that_the_kernel_counts(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    frames = trace.frames(["page_fault_user", "page_fault_kernel"], time="ns")
    for name in ("forks", "touches", "spin1", "ping", "waits"):
        ours = sum(len(during(frame, works[name], "timestamp")) for frame in frames.values())
        assert ours == works[name].says["faults"], name
    assert works["touches"].says["faults"] >= works["touches"].says["pages"] == 512
    table = analysis.page_faults(trace).set_index("tid")
    total = sum((frame["tid"] == works["touches"].tid).sum() for frame in frames.values())
    assert table.loc[works["touches"].tid, ["user", "kernel"]].to_numpy().sum() == total


@pytest.mark.parametrize("kind", ["interrupts", "softirqs"])
def test_interrupts_are_those_of_proc(kind: str, left: Path, trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    before, after = (counters(left / f"alone/{kind}-{i}") for i in (0, 1))
    each = analysis.handler_intervals(trace) if kind == "interrupts" else analysis.soft_intervals(trace)
    # The counters were read somewhere between two times: one more or less may have come meanwhile.
    first, last = works["counters0"], works["counters1"]
    key = "irq" if kind == "interrupts" else "vec"
    sure = each[(each["begin"] >= first.end) & (each["begin"] < last.begin)].groupby(key, observed=False).size()
    most = each[(each["begin"] >= first.begin) & (each["begin"] < last.end)].groupby(key, observed=False).size()
    compared = 0
    for name in sure.index[sure > 0]:
        counted = sum(after[str(name)]) - sum(before[str(name)])
        assert sure[name] <= counted <= most[name], name
        compared += counted
    assert compared > 20


def test_pong_is_woken_by_ping(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    off = during(analysis.off_cpu(trace), works["pong"], "begin")
    asleep = off[(off["syscall"] == "read") & (off["context"] == "task")]
    assert len(asleep) >= 100
    assert set(asleep["waker_tid"]) == {works["ping"].tid}
    pairs = analysis.wakeup_pairs(trace)
    pair = pairs[(pairs["waker_comm"] == "t-ping") & (pairs["comm"] == "t-pong")]
    assert pair["count"].sum() >= len(asleep)


def test_a_futex_is_waited_for_as_long_as_the_program_says(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    work = works["waits"]
    waits = during(analysis.futex_waits(trace), work, "begin")
    lock = waits[waits["futex"] == work.says["address"]]
    assert len(lock) == work.says["locks"] == 20
    assert lock["wait_ns"].sum() == pytest.approx(work.says["waited"], rel=0.01)


def test_the_critical_path_of_who_waits_is_who_holds_the_lock(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    path = analysis.critical_path(trace, works["waits"].tid)
    # The holder sleeps 20 times 5 ms; all but little of the wait is that.
    held = path[(path["comm"] == "t-holder") & (path["state"] == "sleeping")]
    assert held["duration_ns"].sum() == pytest.approx(20 * 5_000_000, rel=0.02)
    assert path["duration_ns"].sum() == pytest.approx(path["end"].max() - path["begin"].min(), rel=0.02)


def test_a_device_takes_the_millisecond_that_was_set(
    left: Path, trace: ltt_relay.Trace, works: dict[str, Work]
) -> None:
    requests = analysis.block_requests(trace)
    work = works["reads"]
    some = requests[(requests["issue"] >= work.begin) & (requests["issue"] < work.end) & (requests["op"] == "read")]
    assert len(some) == work.says["reads"] == 64
    assert set(some["bytes"]) == {4096}
    assert some["latency_ns"].median() == pytest.approx(1_000_000, rel=0.01)
    assert set(some["tid"]) <= {work.tid}
    # reads completed, merged, sectors read, ms reading: as the kernel counts them for the device.
    before, after = ([int(n) for n in (left / f"alone/disk-{i}").read_text().split()] for i in (0, 1))
    table = analysis.block_io(trace).groupby("op", observed=True)[["count", "bytes"]].sum().loc["read"]
    assert table.tolist() == [after[0] - before[0], 512 * (after[2] - before[2])]
    assert analysis.queue_depth(trace)["depth"].max() == 1


def test_a_timer_ends_each_sleep_and_is_not_early(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    naps = during(analysis.off_cpu(trace), works["sleeps"], "begin")
    naps = naps[naps["sleep_ns"] > 9_000_000]
    assert set(naps["context"]) == {"timer"}
    expiries = analysis.timer_expiries(trace)
    work = works["sleeps"]
    some = expiries[(expiries["kind"] == "hrtimer") & (expiries["begin"] >= work.begin) & (expiries["end"] < work.end)]
    by_function = some[some["late_ns"].notna()].groupby("function", observed=True)["late_ns"].agg(["count", "median"])
    assert by_function["count"].max() >= 100
    assert (by_function["median"] < 100_000).all()


def test_a_call_that_takes_fifty_times_as_long_is_found(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    work = works["polls"]
    outliers = during(analysis.syscall_outliers(trace), work, "begin")
    (row,) = outliers[outliers["name"] == "ppoll"].to_dict("records")
    assert row["duration_ns"] == pytest.approx(work.says["longest"], rel=0.01)
    assert row["times"] == pytest.approx(50, rel=0.1)
    table = analysis.syscalls(trace, ["tid", "name"]).set_index(["tid", "name"])
    assert table.loc[(work.tid, "ppoll"), "count"] == work.says["polls"] == 40


def test_all_switches_and_forks_are_those_of_proc_stat(
    left: Path, trace: ltt_relay.Trace, works: dict[str, Work]
) -> None:
    before, after = (
        {line.split()[0]: int(line.split()[1]) for line in (left / f"alone/stat-{i}").read_text().splitlines()}
        for i in (0, 1)
    )
    first, last = works["counters0"], works["counters1"]
    offset = trace.info["wall_offset"]
    rates = analysis.event_rates(analysis.Window(trace, first.end + offset, last.begin + offset))
    counts = rates.groupby("event")["count"].sum()
    for event, key in (("sched_switch", "ctxt"), ("sched_process_fork", "processes")):
        at = trace.frames([event], columns=["timestamp"], time="ns")[event]["timestamp"]
        sure = ((at >= first.end) & (at < last.begin)).sum()
        most = ((at >= first.begin) & (at < last.end)).sum()
        assert 0 < sure <= after[key] - before[key] <= most, event
        assert counts[event] == sure


def test_use_of_the_cpu_and_the_run_queue_over_time(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    # While both spin, one runs and the other waits.
    begin = max(works[name].begin for name in ("spin1", "spin2")) + trace.info["wall_offset"]
    window = analysis.Window(trace, begin + 100_000_000, begin + 600_000_000)
    usage = analysis.cpu_usage(window, bins=20)
    spinning = usage[usage["comm"].isin(["t-spin1", "t-spin2"])].groupby("begin")["cpus"].sum()
    assert spinning.iloc[1:-1].min() > 0.97
    queue = analysis.run_queue(window)
    lengths = queue["time"].diff().shift(-1).fillna(0)
    assert (queue["waiting"] * lengths).sum() / lengths.sum() == pytest.approx(1, abs=0.05)


def test_a_soft_interrupt_that_was_kept_back_is_as_late_as_the_kernel_says(
    trace: ltt_relay.Trace, works: dict[str, Work]
) -> None:
    work = works["softirqs"]
    each = analysis.soft_interrupt_latency(trace)
    some = each[(each["raised"] >= work.begin) & (each["raised"] < work.end) & (each["vec"] == "TASKLET")]
    assert len(some) == work.says["times"] == 20
    assert some["latency_ns"].sum() == pytest.approx(work.says["late"], rel=0.01)


@pytest.mark.parametrize(("name", "kind"), [("mutexes", "mutex"), ("rwsems", "rwsem")])
def test_a_lock_of_the_kernel_is_waited_for_as_long_as_the_kernel_says(
    name: str, kind: str, trace: ltt_relay.Trace, works: dict[str, Work]
) -> None:
    work = works[name]
    each = analysis.contentions(trace)
    some = each[each["lock"] == work.says["address"]]
    assert set(some["kind"]) == {kind}
    assert set(some["tid"]) == {work.tid}
    assert len(some) == work.says["times"] == 20
    assert some["wait_ns"].sum() == pytest.approx(work.says["waited"], rel=0.01)
    table = analysis.contention(trace).set_index("lock")
    assert table.loc[work.says["address"], "total_ns"] == some["wait_ns"].sum()


def test_the_table_of_the_docs_can_be_made(left: Path) -> None:
    assert {row[0] for row in deviations.one_cpu(left)} >= {"run_intervals", "contentions", "soft_interrupt_latency"}


def test_perf_sees_the_same(left: Path, beside: ltt_relay.Trace) -> None:
    works = read_works(left / "beside")
    theirs = timehist(left / "beside/perf.data").groupby("tid")
    runs = analysis.run_intervals(beside)
    waits = analysis.wakeup_latencies(beside)
    for name in ("sleeps", "spin1", "spin2", "ping", "pong", "reads"):
        tid = works[name].tid
        mine = runs[runs["tid"] == tid]
        run = (mine["end"] - mine["begin"]).sum() / 1e6
        # perf has the run in which it was started as well, and rounds each to a microsecond; its probe and ours each
        # take some thousand instructions, not the same at both ends of a run.
        assert run == pytest.approx(theirs["run"].sum()[tid], rel=0.02, abs=0.3 + 0.004 * len(mine)), name
        if name.startswith("spin"):
            continue
        # perf starts with sched_wakeup where this starts with sched_waking.
        delay = waits.loc[waits["tid"] == tid, "latency_ns"].sum() / 1e6
        assert delay == pytest.approx(theirs["delay"].sum()[tid], rel=0.1, abs=0.5), name


def test_perf_sees_the_same_soft_interrupts(left: Path, window: analysis.Window) -> None:
    first, last = span(window)
    path = left / "beside/perf.data"
    records = [
        (time, cpu, event, fields["action"])
        for event in ("softirq_raise", "softirq_entry", "softirq_exit")
        for time, cpu, _, fields in perf_records(path, f"irq:{event}")
        if first <= time <= last
    ]
    raised: dict[tuple[int, str], int] = {}
    entered: dict[tuple[int, str], int] = {}
    late, took = defaultdict(list), defaultdict(list)
    for time, cpu, event, name in sorted(records):
        if event == "softirq_raise":
            raised.setdefault((cpu, name), time)
        elif event == "softirq_entry":
            entered[cpu, name] = time
            if (cpu, name) in raised:
                late[name].append(time - raised.pop((cpu, name)))
        elif (cpu, name) in entered:
            took[name].append(time - entered.pop((cpu, name)))
    for table, theirs in (
        (analysis.soft_interrupt_delay(window), late), (analysis.soft_interrupts(window), took)
    ):  # fmt: skip
        ours = table.set_index("vec")
        assert len(ours) >= 3
        for name, values in theirs.items():
            # At the edges perf has one more or less; its probe and ours each take about a thousand instructions.
            assert abs(ours.loc[name, "count"] - len(values)) <= 1, name
            assert ours.loc[name, "total_ns"] == pytest.approx(sum(values), rel=0.05, abs=4_000 * len(values)), name


def test_perf_sees_the_same_interrupts(left: Path, window: analysis.Window) -> None:
    first, last = span(window)
    path = left / "beside/perf.data"
    entered: dict[tuple[int, int], int] = {}
    took = defaultdict(list)
    records = [
        (time, cpu, event, int(fields["irq"]))
        for event in ("irq_handler_entry", "irq_handler_exit")
        for time, cpu, _, fields in perf_records(path, f"irq:{event}")
        if first <= time <= last
    ]
    for time, cpu, event, irq in sorted(records):
        if event == "irq_handler_entry":
            entered[cpu, irq] = time
        elif (cpu, irq) in entered:
            took[irq].append(time - entered.pop((cpu, irq)))
    ours = analysis.interrupts(window).set_index("irq")
    assert sum(map(len, took.values())) > 100
    for irq, values in took.items():
        assert abs(ours.loc[irq, "count"] - len(values)) <= 1, irq
        assert ours.loc[irq, "total_ns"] == pytest.approx(sum(values), rel=0.05, abs=4_000 * len(values)), irq


def test_perf_sees_the_same_waits_for_locks(left: Path, beside: ltt_relay.Trace) -> None:
    works = read_works(left / "beside")
    path = left / "beside/perf.data"
    begins = perf_records(path, "lock:contention_begin")
    ends = perf_records(path, "lock:contention_end")
    mine = analysis.contentions(beside).groupby("lock")["wait_ns"].agg(["count", "sum"])
    for name in ("mutexes", "rwsems"):
        address = works[name].says["address"]
        # A mutex says twice that it waits: spinning, then asleep.
        theirs, since = [], None
        of_lock = sorted(r for r in begins + ends if int(r[3]["text"].split()[0], 16) == address)
        for time, _, _, fields in of_lock:
            if "flags" in fields:
                since = since or time
            elif since:
                theirs.append(time - since)
                since = None
        assert len(theirs) == mine.loc[address, "count"] == 20
        assert mine.loc[address, "sum"] == pytest.approx(sum(theirs), rel=0.01)
