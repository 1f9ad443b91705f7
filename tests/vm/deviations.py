# SPDX-License-Identifier: GPL-2.0-or-later
"""How far each analysis is from the truth, as docs/analysis.md has it: python -m tests.vm.deviations

Records the works of both tests of the analyses in guests, and prints a row for each: analysis, truth, what was found.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

import ltt_relay
from ltt_relay import analysis
from tests.vm.truth import ONE_CPU, TWO_CPUS, Work, during, of, read_works, record, timehist

#: analysis, truth, found
Row = tuple[str, str, str]


def _off(ours: float, truth: float) -> str:
    return f"{100 * (ours / truth - 1):+.3f} %"


def _scheduling(trace: ltt_relay.Trace, works: dict[str, Work], spinning: Iterable[str]) -> Iterator[Row]:
    runs, waits = analysis.run_intervals(trace), analysis.runqueue_waits(trace)
    for name in spinning:
        work = works[name]
        some = of(runs, work, "begin")
        yield "run_intervals", f"schedstat of {name}", _off((some["end"] - some["begin"]).sum(), work.says["run"])
        some = waits[(waits["tid"] == work.tid) & (waits["end"] > work.low) & (waits["end"] <= work.high)]
        yield "runqueue_waits", f"run delay of {name}", _off(some["wait_ns"].sum(), work.says["delay"])
    off, gave_way, moves = analysis.off_cpu(trace), analysis.preemptions(trace), analysis.migrations(trace)
    # With the run that begins the window it came there.
    moves["time"] -= 1
    timed = [work for work in works.values() if "nvcsw" in work.says]
    for what, key, counts in (
        ("off_cpu", "nvcsw", [len(of(off, work, "begin")) for work in timed]),
        ("preemptions", "nivcsw", [len(of(gave_way, work, "time")) for work in timed]),
        ("migrations", "migrations", [len(of(moves, work, "time")) for work in timed]),
    ):
        truth = [work.says[key] for work in timed]
        same = sum(a == b for a, b in zip(counts, truth, strict=True))
        yield what, f"{key} of {len(timed)} works, {sum(truth):,} in all", f"{same} equal, {sum(counts):,} in all"


def _perf(left: Path, names: Iterable[str]) -> Iterator[Row]:
    trace, works = ltt_relay.open(left / "beside/trace"), read_works(left / "beside")
    theirs = timehist(left / "beside/perf.data").groupby("tid")
    runs, waits = analysis.run_intervals(trace), analysis.wakeup_latencies(trace)
    for name in names:
        tid = works[name].tid
        mine = runs[runs["tid"] == tid]
        run, delay = theirs["run"].sum()[tid], theirs["delay"].sum()[tid]
        count = f"{len(mine)} runs, perf {len(theirs.get_group(tid))}"
        yield (
            "run_intervals",
            f"perf sched of {name}",
            f"{_off((mine['end'] - mine['begin']).sum() / 1e6, run)}; {count}",
        )
        latency = waits.loc[waits["tid"] == tid, "latency_ns"].sum() / 1e6
        yield "wakeup_latencies", f"perf sched of {name}", _off(latency, delay)


def _kernel(trace: ltt_relay.Trace, works: dict[str, Work]) -> Iterator[Row]:
    """What the module measured itself."""
    each, work = analysis.soft_interrupt_latency(trace), works["softirqs"]
    some = each[(each["raised"] >= work.begin) & (each["raised"] < work.end) & (each["vec"] == "TASKLET")]
    found = f"{len(some)}, {_off(some['latency_ns'].sum(), work.says['late'])}"
    yield "soft_interrupt_latency", f"{work.says['times']} tasklets kept back 1 ms", found
    waits = analysis.contentions(trace)
    for name in ("mutexes", "rwsems", "rwlocks"):
        if name in works:
            work = works[name]
            some = waits[waits["lock"] == work.says["address"]]
            found = f"{len(some)}, {_off(some['wait_ns'].sum(), work.says['waited'])}"
            yield "contentions", f"{work.says['times']} waits: {name}", found


def _programs(trace: ltt_relay.Trace, works: dict[str, Work]) -> Iterator[Row]:
    """What the programs measured themselves."""
    work = works["waits"]
    waits = analysis.futex_waits(trace)
    some = waits[(waits["futex"] == work.says["address"]) & (waits["tid"] == work.tid)]
    found = f"{len(some)}, {_off(some['wait_ns'].sum(), work.says['waited'])}"
    yield "futex_waits", f"{work.says['locks']} waits", found
    path = analysis.critical_path(trace, work.tid)
    held = path.loc[path["comm"] == "t-holder", "duration_ns"].sum()
    yield "critical_path", "waits for the holder of a lock", _off(held, work.says["waited"])
    work = works["sleeps"]
    calls = during(analysis.syscall_durations(trace), work, "begin")
    slept = calls.loc[(calls["name"] == "clock_nanosleep") & (calls["duration_ns"] > 9_000_000), "duration_ns"]
    yield "syscall_durations", f"{len(slept)} sleeps", _off(slept.sum(), work.says["elapsed"])


def _devices(trace: ltt_relay.Trace, works: dict[str, Work]) -> Iterator[Row]:
    requests = analysis.block_requests(trace)
    latency = requests["latency_ns"].median()
    yield "block_requests", "a device of 1 ms", f"{len(requests)} requests, median {_off(latency, 1_000_000)}"
    (outlier,) = analysis.syscall_outliers(trace).query("name == 'ppoll'").to_dict("records")
    found = f"{outlier['times']:.1f} times the median; {_off(outlier['duration_ns'], works['polls'].says['longest'])}"
    yield "syscall_outliers", "one ppoll of 50 ms among 39 of 1 ms", found
    late = analysis.timer_expiries(trace)["late_ns"].dropna()
    yield (
        "timer_expiries",
        "set to the nanosecond",
        f"{len(late)}, late by {late.median():.0f} ns, at most {late.max()}",
    )


def one_cpu(left: Path) -> list[Row]:
    """Return the rows of a guest that counts instructions."""
    trace, works = ltt_relay.open(left / "alone/trace"), read_works(left / "alone")
    return [
        *_scheduling(trace, works, ("spin1", "spin2")),
        *_programs(trace, works),
        *_kernel(trace, works),
        *_devices(trace, works),
        *_perf(left, ("sleeps", "spin1", "ping", "pong", "reads")),
    ]


def two_cpus(left: Path) -> list[Row]:
    """Return the rows of a guest with two CPUs and this machine's time."""
    trace, works = ltt_relay.open(left / "alone/trace"), read_works(left / "alone")
    return [
        *_scheduling(trace, works, [f"spin{i}" for i in range(1, 7)]),
        *_programs(trace, works),
        *_kernel(trace, works),
        *_perf(left, ("sleeps", "spin1", "spin3", "spin5", "ping", "pang")),
    ]


def main() -> None:
    """Record and print both."""
    for title, works, options, rows in (
        ("one CPU that counts instructions", ONE_CPU, {"icount": True}, one_cpu),
        ("two CPUs", TWO_CPUS, {"cpus": 2}, two_cpus),
    ):
        with tempfile.TemporaryDirectory() as directory:
            record(Path(directory), works, **options)
            table = pd.DataFrame(rows(Path(directory)), columns=["analysis", "truth", "found"])
        print(f"\n{title}\n{table.to_string(index=False, justify='left')}")


if __name__ == "__main__":
    main()
