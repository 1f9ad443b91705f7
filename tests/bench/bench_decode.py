# SPDX-License-Identifier: GPL-2.0-or-later
"""The decoder beside its peers on one trace in one run: each case in a process of its own, on one CPU, in turns.

python -m tests.bench.bench_decode [--records N] [--runs N] [--trace DIR]

Ours are timed inside the process, from open() to frames that are alive, after a short trace was decoded; theirs as
whole commands, whose start is some hundredths of a second. Page cache warm on both sides.

Either side runs twice in each turn: as the machine is, and right behind a process that used 1 GiB and gave it back
("memory touched"), as a virtual machine may have to ask its host for memory first (`decode_case.touch_memory`). What is
asked for in parts, and the stages, are measured with memory touched.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import ltt_relay
from ltt_relay.decode.ltt3 import Ltt3Source
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, PACKET, records
from ltt_relay.testing import write_trace
from tests.bench.decode_case import touch_memory

_BT2 = """
import sys, bt2
n = 0
for message in bt2.TraceCollectionMessageIterator(sys.argv[1]):
    if type(message) is bt2._EventMessageConst:
        for name in message.event.payload_field:
            str(message.event.payload_field[name])
        n += 1
print(n)
"""
_SMALL = 200_000
_FEW = 20_000
_MEMORY = {False: "memory as it is", True: "memory touched"}


class _Bench:
    def __init__(self, work: Path, runs: int) -> None:
        self.runs = runs
        self.cpus = sorted(os.sched_getaffinity(0))
        self.small = write_trace(work / "small", _SMALL)
        self._cache = work / "cache"
        self.ours("frames", self.small)  # compiles

    def ours(self, case: str, trace: Path, threads: int = 1, touched: bool = True) -> dict[str, Any]:
        """Run one case once."""
        command = [sys.executable, "-m", "tests.bench.decode_case", case, str(trace), str(self.small)]
        command += ["touched"] if touched else []
        shutil.rmtree(self._cache / "ltt-relay" / "counts", ignore_errors=True)
        found = self._run(command, threads, {"LTT_RELAY_THREADS": str(threads), "XDG_CACHE_HOME": str(self._cache)})
        result: dict[str, Any] = json.loads(found)
        return result

    def theirs(self, *command: str, touched: bool = False) -> tuple[float, float]:
        """Seconds of wall clock and of CPU that a command takes."""
        if touched:
            touch_memory()
        begun, before = time.perf_counter(), os.times()
        self._run(list(command), 1, {})
        after = os.times()
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        return time.perf_counter() - begun, cpu

    def _run(self, command: list[str], cpus: int, env: dict[str, str]) -> str:
        chosen = set(self.cpus[:cpus])
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, text=True, env=os.environ | env,
            preexec_fn=lambda: os.sched_setaffinity(0, chosen),
        )  # fmt: skip
        return done.stdout


def _spread(values: list[float]) -> str:
    return f"{median(values):8.3f} s  ({min(values):.3f} to {max(values):.3f})"


def _line(name: str, seconds: list[float], count: int, size: int, more: str = "") -> None:
    speed = count / median(seconds) / 1e6
    print(
        f"{name:34s} {_spread(seconds)}  {speed:8.2f} M/s  {size / median(seconds) / 1e6:7.0f} MB/s  {more}", flush=True
    )


def _make_rare(trace: Path, every: int) -> int:
    """Turn a sched_wakeup of every so many packets into a sched_process_exit, which is as long; returns how many."""
    source = Ltt3Source(trace)
    made = 0
    ids_at = sum(member.sizeof() for member in PACKET.subcons[: [m.name for m in PACKET.subcons].index("event_ids")])
    for row in source.events[::every]:
        with source.files[int(row["file"])].open("r+b") as file:
            file.seek(int(row["offset"]))
            packet = bytearray(file.read(int(row["content"])))
            at = HEADER_SIZE
            while struct.unpack_from("<H", packet, at + 4)[0] != FORMAT.event("sched_wakeup").id:
                at += (struct.unpack_from("<H", packet, at + 6)[0] + 7) & ~7
            rare = FORMAT.event("sched_process_exit").id
            struct.pack_into("<H", packet, at + 4, rare)
            struct.pack_into("<Q", packet, ids_at, struct.unpack_from("<Q", packet, ids_at)[0] | 1 << rare)
            file.seek(int(row["offset"]))
            file.write(packet)
            made += 1
    return made


def _beside_peers(bench: _Bench, trace: Path, count: int, size: int) -> None:
    """All frames beside babeltrace2 to nothing, in turns; then each once: text, bt2 in Python, construct."""
    frames: dict[bool, list[dict[str, Any]]] = {touched: [] for touched in _MEMORY}
    dummy: dict[bool, list[tuple[float, float]]] = {touched: [] for touched in _MEMORY}
    for _ in range(bench.runs):
        for touched in (False, True):
            frames[touched].append(bench.ours("frames", trace, touched=touched))
            dummy[touched].append(bench.theirs("babeltrace2", str(trace), "-o", "dummy", touched=touched))
    out, peak = frames[False][0]["bytes"], max(run["peak"] for run in frames[False])
    assert frames[False][0]["records"] >= count
    print(f"frames: {out / 1e6:.0f} MB, peak of the process {peak / 1e6:.0f} MB")
    for touched, name in _MEMORY.items():
        seconds = [run["seconds"] for run in frames[touched]]
        cpu = [run["cpu"] for run in frames[touched]]
        wall, theirs = ([run[i] for run in dummy[touched]] for i in range(2))
        copies = [bench.ours(f"memcpy {out} 1", trace, touched=touched)["seconds"] for _ in range(bench.runs)]
        limit = f"frames take {median(seconds) / median(copies):.1f} times"
        print(name)
        _line("  all frames, 1 thread", seconds, count, size)
        _line("    the same, CPU time", cpu, count, size)
        _line("  babeltrace2 to nothing", wall, count, size, f"ratio {median(wall) / median(seconds):.1f}")
        _line("    the same, CPU time", theirs, count, size, f"ratio {median(theirs) / median(cpu):.1f}")
        _line("  memcpy of the frames' bytes", copies, count, out, limit)
    whole = median(run["seconds"] for run in frames[False])
    text, _ = bench.theirs("babeltrace2", str(trace), "-o", "text", "-w", "/dev/null")
    _line("babeltrace2 to text", [text], count, size, f"ratio {text / whole:.1f}")
    small = sum(file.stat().st_size for file in bench.small.iterdir())
    if Path("/usr/bin/python3").exists():
        bt2, _ = bench.theirs("/usr/bin/python3", "-c", _BT2, str(bench.small))
        _line(f"bt2 in Python ({_SMALL} records)", [bt2], _SMALL, small)
    begun = time.perf_counter()
    some = sum(found.event != "packet" for found in itertools.islice(records(bench.small), _FEW))
    _line(f"construct ({some} records)", [time.perf_counter() - begun], some, small * some // _SMALL)


def _parts(bench: _Bench, trace: Path, count: int, size: int) -> float:
    """What is asked for in parts must cost in parts; returns the time of all."""
    whole: float = median(bench.ours("frames", trace)["seconds"] for _ in range(3))
    for case in ("index", "count", "one event", "rare event", "1 % range", "iter_frames", "merged"):
        runs = [bench.ours(case, trace) for _ in range(3 if case != "merged" else 1)]
        seconds = [run["seconds"] for run in runs]
        share = f"{100 * median(seconds) / whole:6.2f} % of all frames, peak {runs[0]['peak'] / 1e6:.0f} MB"
        _line(case, seconds, count, size, share)
    return whole


def _larger(bench: _Bench, work: Path, count: int) -> None:
    """A range has a fixed price, so what it costs of all is asked of a trace five times as long, too."""
    trace = write_trace(work / "larger", 5 * count)
    whole = [bench.ours("frames", trace) for _ in range(3)]
    part = [bench.ours("1 % range", trace) for _ in range(3)]
    shares = [
        100 * median(run[what] for run in part) / median(run[what] for run in whole) for what in ("seconds", "cpu")
    ]
    print(
        f"1 % of {5 * count} records: {median(run['seconds'] for run in part):.3f} s, {shares[0]:.2f} % of all frames "
        f"({median(run['seconds'] for run in whole):.2f} s); of their CPU time {shares[1]:.2f} %"
    )
    shutil.rmtree(trace)


def _threads(bench: _Bench, trace: Path, count: int, size: int) -> None:
    if len(bench.cpus) < 2:
        print("threads: this process has one CPU")
        return
    out = bench.ours("frames", trace)["bytes"]
    for touched, name in _MEMORY.items():
        taken: dict[tuple[str, int], list[float]] = {}
        for _ in range(bench.runs):
            for threads in (1, 2):
                for case in ("frames", f"memcpy {out} {threads}"):
                    seconds = bench.ours(case, trace, threads, touched)["seconds"]
                    taken.setdefault((case.split()[0], threads), []).append(seconds)
        gain, limit = (median(taken[case, 1]) / median(taken[case, 2]) for case in ("frames", "memcpy"))
        told = f"{name}: gain {gain:.2f}, memcpy's {limit:.2f}: {gain / limit:.2f} of it"
        _line("all frames, 2 threads", taken["frames", 2], count, size, told)


def _same(bench: _Bench, trace: Path) -> None:
    """Every column must be the same, whatever the number of threads."""
    sums = [bench.ours("frames sums", trace, n)["sums"] for n in (1, 2)]
    assert sums[0] == sums[1], {name for name in sums[0] if sums[0][name] != sums[1].get(name)}
    total = sum(int(value, 16) for value in sums[0].values()) % (1 << 64)
    print(f"checksums of {len(sums[0])} columns are the same with 1 and 2 threads; together {total:016x}")


def _start() -> None:
    """What a process pays before its first frame."""
    times = {}
    with tempfile.TemporaryDirectory() as cache:
        trace = write_trace(Path(cache) / "t", 20_000)
        ours = f"import ltt_relay; ltt_relay.open({str(trace)!r}).frames()"
        for name, code in (("first", ours), ("later", ours), ("imports", "import pandas, pyarrow, numba")):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"XDG_CACHE_HOME": cache})
            times[name] = time.perf_counter() - begun
    print(
        f"start: first use, compilation included {times['first']:.1f} s; later {times['later']:.2f} s, of which "
        f"{times['imports']:.2f} s is import pandas, pyarrow, numba: {times['later'] - times['imports']:.2f} s beyond"
    )


def _versions() -> None:
    names = ("construct", "numba", "numpy", "pandas", "pyarrow")
    print(", ".join(f"{name} {version(name)}" for name in names))
    told = subprocess.run(["babeltrace2", "--version"], capture_output=True, text=True, check=True).stdout
    print(f"Python {platform.python_version()}, {told.splitlines()[0]}, {len(os.sched_getaffinity(0))} CPUs, "
          f"load {os.getloadavg()[0]:.1f}")  # fmt: skip


def run(count: int = 20_000_000, runs: int = 5, captured: Path | None = None) -> None:
    """Print the tables."""
    if shutil.which("babeltrace2") is None:
        raise SystemExit("bench_decode needs babeltrace2: make setup")
    _versions()
    _start()
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as work:
        bench = _Bench(Path(work), runs)
        trace = write_trace(Path(work) / "t", count)
        rare = _make_rare(trace, 100)
        size = sum(file.stat().st_size for file in trace.iterdir())
        print(f"\n{count} records, {size / 1e6:.0f} MB, 4 CPUs, 14 kinds and {rare} records of a rare one\n")
        _same(bench, trace)
        _beside_peers(bench, trace, count, size)
        _parts(bench, trace, count, size)
        stages = bench.ours("stages", trace)
        print("CPU ns a record: " + ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items()))
        _threads(bench, trace, count, size)
        _larger(bench, Path(work), count)
        tenth = write_trace(Path(work) / "tenth", count // 10)
        for case in ("iter_frames", "iter_merged"):
            short, long = (bench.ours(case, path) for path in (tenth, trace))
            print(
                f"{case}, {count // 10} and {count} records: {short['seconds']:.3f} and {long['seconds']:.3f} s, "
                f"peak {short['peak'] / 1e6:.0f} and {long['peak'] / 1e6:.0f} MB"
            )
        if captured is not None:
            n = ltt_relay.open(captured).info["records"]
            size = sum(file.stat().st_size for file in captured.iterdir() if file.is_file())
            print(f"\nA capture, {captured.name}: {n} records, {size / 1e6:.1f} MB\n")
            _beside_peers(bench, captured, n, size)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_decode")
    root = Path(__file__).resolve().parents[2]
    known = [root / "demo-output" / "trace", root / "notebooks" / "captures" / "getting-started"]
    parser.add_argument("--records", type=int, default=20_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trace", type=Path, default=next((path for path in known if path.is_dir()), None))
    asked = parser.parse_args()
    run(asked.records, asked.runs, asked.trace)


if __name__ == "__main__":
    main()
