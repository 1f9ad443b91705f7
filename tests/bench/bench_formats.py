# SPDX-License-Identifier: GPL-2.0-or-later
"""Every format to frames: one row a format, all events and columns, ordered, with tid and comm; warm, on one CPU.

python -m tests.bench.bench_formats [--records N] [--rounds N] [NAME ...]

Seconds are of CPU, so that other work on the machine counts for less; from open() to frames that are alive. The peer is
blkparse for blktrace (Debian's knows version 7), writing its text to /dev/null; for all others, which no living tool
reads, babeltrace2 reading to nothing what `convert --to ctf` made of the first records. "aim" is what was set out to
reach, in million records a second.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import ltt_relay
from tests.bench.format_traces import BASE, FORMATS, Kind

_PEER_RECORDS = 400_000


def _child_seconds(command: list[str], directory: Path) -> float:
    """CPU seconds of a command, the best of three."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def _format(directory: Path, kind: Kind) -> str | None:
    return str(directory / kind.format) if kind.format else None


def _peer(kind: Kind, directory: Path) -> tuple[str, float] | None:
    """The peer's name and records a second; None if there is none, or it is not installed."""
    tool = kind.peer
    if not tool or shutil.which(tool) is None:
        return None
    kind.make(directory, _PEER_RECORDS // BASE)
    where, form = directory / kind.file, _format(directory, kind)
    with ltt_relay.open(where, format=form) as trace:
        records = int(trace.catalog["count"].sum())
    if tool == "blkparse":
        return tool, records / _child_seconds([tool, "-q", "-i", "t", "-o", "/dev/null"], directory)
    more = ["--format", form] if form else []
    command = [
        sys.executable,
        "-m",
        "ltt_relay.cli",
        "convert",
        str(where),
        "--to",
        "ctf",
        "-o",
        str(directory / "ctf"),
    ]
    subprocess.run([*command, *more], check=True, capture_output=True)
    (made,) = (file.parent for file in (directory / "ctf").rglob("metadata"))
    return tool, records / _child_seconds([tool, str(made), "--component=sink.utils.dummy"], directory)


def _measure(where: Path, form: str | None, rounds: int) -> tuple[int, list[float]]:
    seconds = []
    records = 0
    for _ in range(rounds + 1):
        begun = time.process_time()
        with ltt_relay.open(where, format=form) as trace:
            frames = trace.frames()
        seconds.append(time.process_time() - begun)
        records = sum(len(frame) for frame in frames.values())
        assert trace.problems.empty
        del frames
    return records, seconds[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{'format':<26}{'records':>11}{'MB':>7}{'median s':>10}{'spread s':>10}{'M/s':>7}{'aim':>5}"
          f"{'peer':>13}{'M/s':>7}{'ratio':>7}")  # fmt: skip
    for name, kind in FORMATS.items():
        if options.names and name not in options.names:
            continue
        peer = None
        if not options.no_peers:
            with tempfile.TemporaryDirectory() as directory:
                peer = _peer(kind, Path(directory))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory)
            kind.make(path, max(int(options.records * kind.share) // BASE, 1))
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            records, seconds = _measure(path / kind.file, _format(path, kind), options.rounds)
        middle, spread = median(seconds), max(seconds) - min(seconds)
        rate = records / middle
        other = f"{peer[0]:>13}{peer[1] / 1e6:>7.2f}{rate / peer[1]:>7.1f}" if peer else f"{'-':>13}"
        print(
            f"{name:<26}{records:>11,}{size / 1e6:>7.0f}{middle:>10.3f}{spread:>10.3f}{rate / 1e6:>7.1f}"
            f"{kind.aim:>5}{other}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
