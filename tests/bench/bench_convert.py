# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay convert`` beside babeltrace2's text: the same trace, in turns, on one CPU, to files in memory.

python -m tests.bench.bench_convert [--records N] [--rounds N]

Both are whole commands, start included; every field, UTC to the nanosecond, tid and comm are in either's output.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from ltt_relay.testing import write_trace

_OURS = {
    "ltt-relay, CSV a file per event": [],
    "ltt-relay, CSV merged": ["--merge"],
    "ltt-relay, Parquet": ["--to", "parquet"],
    "ltt-relay, JSON lines": ["--to", "jsonl"],
    "ltt-relay, CTF": ["--to", "ctf"],
}
_THEIRS = "babeltrace2, text"


def _one_cpu() -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def _timed(command: list[str], output: Path | None) -> tuple[float, float]:
    """Seconds of wall clock and of CPU."""
    before, begun = os.times(), time.monotonic()
    with (output or Path(os.devnull)).open("wb") as file:
        subprocess.run(command, stdout=file, stderr=subprocess.PIPE, check=True, preexec_fn=_one_cpu)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.monotonic() - begun, cpu


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def _records(directory: Path) -> int:
    files = [file for file in directory.glob("*.csv") if file.stem not in {"gaps", "problems"}]
    return sum(_lines(file) - 1 for file in files)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def run(records: int, rounds: int) -> int:
    """Print the table; returns 0 unless a peer is missing or counts differ."""
    if not shutil.which("babeltrace2"):
        print("babeltrace2 is not installed: nothing to compare with")
        return 1
    base = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        directory = Path(scratch)
        trace = write_trace(directory / "trace", records, cpus=4)
        tiny = write_trace(directory / "tiny", 1000, cpus=4)
        output = directory / "out"
        python = [sys.executable, "-m", "ltt_relay.cli", "convert", "-j", "1", "-o", str(output)]
        commands = {_THEIRS: ["babeltrace2"], **{name: [*python, *options] for name, options in _OURS.items()}}
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        starts: dict[str, list[float]] = {name: [] for name in commands}
        sizes: dict[str, int] = {}
        lines: dict[str, int] = {}
        for number in range(rounds + 1):
            for name, command in commands.items():
                text = output if name == _THEIRS else None
                for path in (tiny, trace) if number else (tiny,):  # the first compiles
                    seconds = _timed([*command, str(path)], text)
                    if path == trace:
                        found[name].append(seconds)
                        sizes[name] = _size(output)
                        lines[name] = _lines(output) if text else _records(output)
                    elif number:
                        starts[name].append(seconds[1])
                    output.unlink() if text else shutil.rmtree(output)
        told = subprocess.run(["babeltrace2", "--version"], capture_output=True, text=True, check=True).stdout
        print(f"{records:,} records, {_size(trace) / 1e6:.0f} MB; one CPU each, {rounds} rounds in turns, medians")
        print(f"{told.splitlines()[0]}; Python {sys.version.split()[0]}; load {os.getloadavg()[0]:.1f}\n")
        heads = f"{'start':>6} {'ns/record':>9} {'MB':>6} {'ratio':>6} {'whole':>6}"
        print(f"{'':32} {'wall s':>7} {'spread':>15} {'CPU s':>7} {heads}")
        whole = median(cpu for _, cpu in found[_THEIRS])
        reference = whole - median(starts[_THEIRS])
        for name, times in found.items():
            wall, cpu, start = median(w for w, _ in times), median(c for _, c in times), median(starts[name])
            spread = f"{min(w for w, _ in times):.2f}..{max(w for w, _ in times):.2f}"
            print(
                f"{name:32} {wall:7.2f} {spread:>15} {cpu:7.2f} {start:6.2f} {1e9 * (cpu - start) / records:9.0f} "
                f"{sizes[name] / 1e6:6.0f} {reference / (cpu - start):6.1f} {whole / cpu:6.1f}"
            )
        csv = lines[next(iter(_OURS))]
        print("\nstart: CPU time of the command on a trace of 1000 records; ns/record and ratio are without it")
        print(f"Records in the output: babeltrace2 {lines[_THEIRS]:,}, CSV {csv:,}")
        return int(lines[_THEIRS] != csv)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=8_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.exit(run(arguments.records, arguments.rounds))
