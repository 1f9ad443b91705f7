# SPDX-License-Identifier: GPL-2.0-or-later
"""Analyses against the truth: workloads with known behaviour, the kernel's own accounting, and perf.

One boot, in a guest that counts instructions: a nanosecond is an instruction, so that neither this machine's speed nor
its load is in the figures. workloads.sh records workloads.c alone and then beside perf.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay import analysis
from ltt_relay.sandbox import Guest

pytestmark = [pytest.mark.vm, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
#: The scheduler reads its clock before it comes to the tracepoint: the path between them, and from sched_waking to the
#: run queue, in instructions; and how long a task may have run, to a tick, since its last switch.
SWITCH, WAKE, SINCE = 8_000, 15_000, 200_000


@dataclass(frozen=True)
class Work:
    """A line that a workload printed, and the window, from one switch to the task to another, of the kernel's sums."""

    tid: int
    begin: int
    end: int
    says: dict[str, int]
    low: int
    high: int


@pytest.fixture(scope="session")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth")
    program = out / "program"
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", "-o", str(program)]
    subprocess.run([*command, str(ROOT / "ltt_relay/testing/workloads.c")], check=True)
    script = ["sh", str(ROOT / "tests/vm/workloads.sh"), str(out), str(program), sys.executable, str(ROOT)]
    done = Guest(kernel="6.1", icount=True, rw=[out]).run(script, timeout=600)
    assert done.returncode == 0, done.stderr.decode()
    return out


@pytest.fixture(scope="session")
def trace(left: Path) -> ltt_relay.Trace:
    return ltt_relay.open(left / "alone/trace", strict=True)


def _works(directory: Path) -> dict[str, Work]:
    runs = analysis.run_intervals(ltt_relay.open(directory / "trace"))
    found = {}
    for line in (directory / "truth").read_text().splitlines():
        name, tid, begin, end, *says = line.split()
        starts = np.sort(runs.loc[runs["tid"] == int(tid), "begin"].to_numpy())
        low, high = (
            int(starts[np.searchsorted(starts, int(at), "right") - 1]) if starts.size and int(tid) else int(at)
            for at in (begin, end)
        )
        pairs = (text.split("=") for text in says)
        found[name] = Work(int(tid), int(begin), int(end), {key: int(value) for key, value in pairs}, low, high)
    return found


@pytest.fixture(scope="session")
def works(left: Path, trace: ltt_relay.Trace) -> dict[str, Work]:
    found = _works(left / "alone")
    assert len(found) == 13
    return found


def _of(frame: pd.DataFrame, work: Work, time: str) -> pd.DataFrame:
    return frame[(frame["tid"] == work.tid) & (frame[time] >= work.low) & (frame[time] < work.high)]


def _during(frame: pd.DataFrame, work: Work, time: str) -> pd.DataFrame:
    return frame[(frame["tid"] == work.tid) & (frame[time] >= work.begin) & (frame[time] < work.end)]


NAMES = ("sleeps", "calls", "forks", "touches", "spin1", "spin2", "moves", "ping", "pong", "waits", "reads")


def test_nothing_was_lost(trace: ltt_relay.Trace) -> None:
    assert trace.info["lost"] == 0
    assert trace.problems.empty


def test_time_on_the_cpu_is_the_schedulers(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    runs = analysis.run_intervals(trace)
    for name in NAMES:
        some = _of(runs, works[name], "begin")
        ours, kernel = int((some["end"] - some["begin"]).sum()), works[name].says["run"]
        assert abs(ours - kernel) <= SWITCH * (len(some) + 1) + SINCE, name
    for name in ("spin1", "spin2"):
        some = _of(runs, works[name], "begin")
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
        counts = (len(_of(off, work, "begin")), len(_of(gave_way, work, "time")))
        assert counts == (work.says["nvcsw"], work.says["nivcsw"]), name


def test_a_hundred_sleeps_of_ten_milliseconds(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    work = works["sleeps"]
    off = _during(analysis.off_cpu(trace), work, "begin")
    naps = off[(off["syscall"] == "clock_nanosleep") & (off["sleep_ns"] > 9_000_000)]
    assert len(naps) == work.says["sleeps"] == 100
    assert naps["sleep_ns"].median() == pytest.approx(10_000_000, rel=0.01)
    calls = _during(analysis.syscall_durations(trace), work, "begin")
    inside = calls.loc[(calls["name"] == "clock_nanosleep") & (calls["duration_ns"] > 9_000_000), "duration_ns"]
    assert inside.sum() == pytest.approx(work.says["elapsed"], rel=0.01)


def test_system_calls_are_all_there(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    calls = analysis.syscall_durations(trace)
    some = _during(calls, works["calls"], "begin")
    assert (some["name"] == "getppid").sum() == works["calls"].says["getppid"] == 1000
    failed = some[(some["name"] == "close") & (some["ret"] == -9)]
    assert len(failed) == works["calls"].says["ebadf"] == 50
    some = _during(calls, works["forks"], "begin")
    made = some["name"].isin(["clone", "clone3", "fork"])
    assert made.sum() == (some["name"] == "wait4").sum() == works["forks"].says["forks"] == 30
    born = trace.frames(["sched_process_fork"], time="ns")["sched_process_fork"]
    assert (born["parent_pid"] == works["forks"].tid).sum() == 30


def test_page_faults_are_those_that_the_kernel_counts(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    frames = trace.frames(["page_fault_user", "page_fault_kernel"], time="ns")
    for name in ("forks", "touches", "spin1", "ping", "waits"):
        ours = sum(len(_during(frame, works[name], "timestamp")) for frame in frames.values())
        assert ours == works[name].says["faults"], name
    assert works["touches"].says["faults"] >= works["touches"].says["pages"] == 512
    table = analysis.page_faults(trace).set_index("tid")
    total = sum((frame["tid"] == works["touches"].tid).sum() for frame in frames.values())
    assert table.loc[works["touches"].tid, ["user", "kernel"]].to_numpy().sum() == total


def _counters(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text().splitlines()[1:])
    return {row[0].rstrip(":"): sum(int(cell) for cell in row[1:2] if cell.isdigit()) for row in rows}


@pytest.mark.parametrize("kind", ["interrupts", "softirqs"])
def test_interrupts_are_those_of_proc(kind: str, left: Path, trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    before, after = (_counters(left / f"alone/{kind}-{i}") for i in (0, 1))
    each = analysis.handler_intervals(trace) if kind == "interrupts" else analysis.soft_intervals(trace)
    # The counters were read somewhere between two times: one more or less may have come meanwhile.
    first, last = works["counters0"], works["counters1"]
    key = "irq" if kind == "interrupts" else "vec"
    sure = each[(each["begin"] >= first.end) & (each["begin"] < last.begin)].groupby(key, observed=False).size()
    most = each[(each["begin"] >= first.begin) & (each["begin"] < last.end)].groupby(key, observed=False).size()
    compared = 0
    for name in sure.index[sure > 0]:
        counted = after[str(name)] - before[str(name)]
        assert sure[name] <= counted <= most[name], name
        compared += counted
    assert compared > 20


def test_pong_is_woken_by_ping(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    off = _during(analysis.off_cpu(trace), works["pong"], "begin")
    asleep = off[(off["syscall"] == "read") & (off["context"] == "task")]
    assert len(asleep) >= 100
    assert set(asleep["waker_tid"]) == {works["ping"].tid}
    pairs = analysis.wakeup_pairs(trace)
    pair = pairs[(pairs["waker_comm"] == "t-ping") & (pairs["comm"] == "t-pong")]
    assert pair["count"].sum() >= len(asleep)


def test_a_futex_is_waited_for_as_long_as_the_program_says(trace: ltt_relay.Trace, works: dict[str, Work]) -> None:
    work = works["waits"]
    waits = _during(analysis.futex_waits(trace), work, "begin")
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
    naps = _during(analysis.off_cpu(trace), works["sleeps"], "begin")
    naps = naps[naps["sleep_ns"] > 9_000_000]
    assert set(naps["context"]) == {"timer"}
    expiries = analysis.timer_expiries(trace)
    work = works["sleeps"]
    some = expiries[(expiries["kind"] == "hrtimer") & (expiries["begin"] >= work.begin) & (expiries["end"] < work.end)]
    by_function = some[some["late_ns"].notna()].groupby("function", observed=True)["late_ns"].agg(["count", "median"])
    assert by_function["count"].max() >= 100
    assert (by_function["median"] < 100_000).all()


def _timehist(path: Path) -> pd.DataFrame:
    """Runs as perf sees them: tid, delay, run (ms)."""
    command = ["perf", "sched", "timehist", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(
        r"^\s*[\d.]+ \[\d+\]\s+.*?\[(\d+)(?:/\d+)?\]\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s*$", said, re.MULTILINE
    )
    table = pd.DataFrame(rows, columns=["tid", "wait", "delay", "run"]).astype(float)
    return table.astype({"tid": int})


def test_perf_sees_the_same(left: Path) -> None:
    assert shutil.which("perf") is not None
    beside = ltt_relay.open(left / "beside/trace", strict=True)
    works = _works(left / "beside")
    theirs = _timehist(left / "beside/perf.data").groupby("tid")
    runs = analysis.run_intervals(beside)
    waits = analysis.wakeup_latencies(beside)
    for name in ("sleeps", "spin1", "spin2", "ping", "pong", "reads"):
        tid = works[name].tid
        mine = runs[runs["tid"] == tid]
        run = (mine["end"] - mine["begin"]).sum() / 1e6
        # perf has the run in which it was started as well, and rounds each to a microsecond.
        assert run == pytest.approx(theirs["run"].sum()[tid], rel=0.02, abs=0.3), name
        if name.startswith("spin"):
            continue
        # perf starts with sched_wakeup where this starts with sched_waking.
        delay = waits.loc[waits["tid"] == tid, "latency_ns"].sum() / 1e6
        assert delay == pytest.approx(theirs["delay"].sum()[tid], rel=0.1, abs=0.5), name
