# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace larger than memory, converted in a control group of 1 GiB, page cache included; needs root.

python -m tests.bench.bench_memory [--gib N] [--limit MIB] [--directory DIR] [--only NAME ...]

64 CPUs, one of them idle after its first packet, 300 kinds of events; csv, csv --merge and parquet, each with
-j 2. What was used is the group's own count.
"""

from __future__ import annotations

import argparse
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ltt_relay.testing import write_trace
from ltt_relay.testing.synthetic import MIX

_CASES = {"csv": [], "csv --merge": ["--merge"], "parquet": ["--to", "parquet"]}
_BYTES_A_RECORD = 22.9
_DECLARED = 300 - len(MIX)


class Group:
    """A memory control group, of version 2 or 1."""

    def __init__(self, limit: int) -> None:
        root = Path("/sys/fs/cgroup")
        self.new = (root / "cgroup.controllers").exists()
        if self.new:
            (root / "cgroup.subtree_control").write_text("+memory")
        self.path = (root if self.new else root / "memory") / f"ltt-relay-bench-{os.getpid()}"
        self.path.mkdir()
        (self.path / ("memory.max" if self.new else "memory.limit_in_bytes")).write_text(str(limit))
        swap = self.path / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")

    def enter(self) -> None:
        """Put the calling process into it."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def peak(self) -> int:
        """Return the most bytes used at once, page cache included."""
        return int((self.path / ("memory.peak" if self.new else "memory.max_usage_in_bytes")).read_text())

    def kills(self) -> int:
        """Return how many processes were killed for want of memory."""
        text = (self.path / ("memory.events" if self.new else "memory.oom_control")).read_text()
        return {key: int(value) for key, value in map(str.split, text.splitlines())}.get("oom_kill", 0)

    def remove(self) -> None:
        """Remove it."""
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


def _trace(path: Path, gib: float) -> Path:
    """Write it; CPU 63 is idle after its first packet."""
    write_trace(path, int(gib * (1 << 30) / _BYTES_A_RECORD), cpus=64, declared=_DECLARED)
    idle = path / "events_63"
    with idle.open("r+b") as file:
        header = file.read(64)
        file.truncate(struct.unpack_from("<Q", header, 40)[0] // 8)
    return path


def _anonymous(pid: int) -> int:
    """The resident memory of a process and of its children that is not files, in bytes."""
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                if int(entry.name) == pid or int(status["PPid"]) == pid:
                    total += int(status["RssAnon"].split()[0]) << 10
            except (OSError, KeyError, ValueError):
                continue
    return total


def _convert(trace: Path, output: Path, options: list[str], group: Group | None) -> tuple[int, float, int, str]:
    command = [sys.executable, "-m", "ltt_relay.cli", "convert", str(trace), "-j", "2", "-o", str(output), *options]
    begun, most = time.monotonic(), 0
    with subprocess.Popen(
        command, preexec_fn=group.enter if group else None, stderr=subprocess.PIPE, text=True
    ) as process:
        while process.poll() is None:
            most = max(most, _anonymous(process.pid))
            time.sleep(0.5)
        assert process.stderr is not None
        return process.returncode, time.monotonic() - begun, most, process.stderr.read().strip()


def run(gib: float, limit: int, base: Path | None, only: list[str]) -> int:
    """Print the table; returns 1 if a conversion failed, or something was killed."""
    if os.geteuid():
        print("a control group needs root: nothing measured")
        return 0
    failed = 0
    with tempfile.TemporaryDirectory(dir=base) as scratch:
        trace = _trace(Path(scratch) / "trace", gib)
        size = sum(file.stat().st_size for file in trace.iterdir())
        print(f"{size / (1 << 30):.1f} GiB, 64 CPUs, 300 kinds, in a group of {limit >> 20} MiB, -j 2\n")
        # The first run of all compiles, which takes more than decoding does; what is compiled is kept.
        _convert(write_trace(Path(scratch) / "tiny", 1000), Path(scratch) / "warm", [], None)
        print(f"{'':12} {'status':>6} {'s':>7} {'peak MiB':>9} {'of that not files':>18} {'killed':>6}  result")
        for name, options in _CASES.items():
            if only and name not in only:
                continue
            os.sync()
            group = Group(limit)
            output = Path(scratch) / "out"
            try:
                status, seconds, most, said = _convert(trace, output, options, group)
                kills = group.kills()
                print(
                    f"{name:12} {status:6} {seconds:7.0f} {group.peak() >> 20:9} {most >> 20:18} {kills:6}  "
                    f"{said.splitlines()[-1].replace(str(scratch), '…') if said else ''}",
                    flush=True,
                )
                failed |= bool(status or kills)
            finally:
                shutil.rmtree(output, ignore_errors=True)
                group.remove()
    return int(failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--limit", type=int, default=1024, help="MiB")
    parser.add_argument("--directory", type=Path, default=None, help="for the trace and the output: a disk, not memory")
    parser.add_argument("--only", nargs="*", default=[], choices=list(_CASES))
    arguments = parser.parse_args()
    sys.exit(run(arguments.gib, arguments.limit << 20, arguments.directory, arguments.only))
