# SPDX-License-Identifier: GPL-2.0-or-later
"""Recording work whose truth is known in a guest, and reading what it says of itself, for the tests of the analyses."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ltt_relay
from ltt_relay import analysis
from ltt_relay.capture.kbuild import compiler_for
from ltt_relay.sandbox import Guest
from ltt_relay.sandbox.kernels import find_kernel
from tests.vm.guest import run_again

__all__ = (
    "ONE_CPU", "ROOT", "TWO_CPUS", "Work", "counters", "during", "of", "perf_records", "read_works", "record",
    "timehist",
)  # fmt: skip

ROOT = Path(__file__).resolve().parents[2]
_KERNEL = "6.1"
#: Works for `record`; those joined by + run at once.
ONE_CPU = ["sleeps", "calls", "polls", "forks", "touches", "spin1+spin2", "moves", "ping+pong", "waits", "reads"]
TWO_CPUS = ["sleeps", "spin1+spin2+spin3", "spin4+spin5+spin6", "moves", "ping+pang", "waits"]


@dataclass(frozen=True)
class Work:
    """A line that a workload printed, and the window, from one switch to the task to another, of the kernel's sums."""

    tid: int
    begin: int
    end: int
    says: dict[str, int]
    low: int
    high: int


def record(out: Path, works: list[str], **more: Any) -> None:
    """Record workloads.c and delays.c in a guest, alone and beside perf, into out/alone and out/beside."""
    command = ["gcc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-static", "-o", str(out / "program")]
    subprocess.run([*command, str(ROOT / "ltt_relay/testing/workloads.c")], check=True)
    build = find_kernel(_KERNEL).build
    module = out / "module"
    module.mkdir()
    shutil.copy(ROOT / "tests/vm/delays.c", module)
    (module / "Kbuild").write_text("obj-m := delays.o\n")
    subprocess.run(
        ["make", "-s", "-C", str(build), f"M={module}", f"CC={compiler_for(build)}", "CONFIG_DEBUG_INFO_BTF_MODULES="],
        check=True,
    )
    shutil.copy(module / "delays.ko", out)
    script = ["sh", str(ROOT / "tests/vm/workloads.sh"), str(out), sys.executable, str(ROOT), *works]
    done = run_again(Guest(kernel=_KERNEL, rw=[out], **more), script, out, timeout=600)
    assert done.returncode == 0, done.stderr.decode()


def read_works(directory: Path) -> dict[str, Work]:
    """Return what the workloads said of themselves, by name."""
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


def of(frame: pd.DataFrame, work: Work, time: str) -> pd.DataFrame:
    """Return the rows of a task in the window of the kernel's sums."""
    return frame[(frame["tid"] == work.tid) & (frame[time] >= work.low) & (frame[time] < work.high)]


def during(frame: pd.DataFrame, work: Work, time: str) -> pd.DataFrame:
    """Return the rows of a task from what it calls its begin to its end."""
    return frame[(frame["tid"] == work.tid) & (frame[time] >= work.begin) & (frame[time] < work.end)]


def counters(path: Path) -> dict[str, list[int]]:
    """Return what a file such as /proc/interrupts counts, by CPU."""
    lines = path.read_text().splitlines()
    cpus = len(lines[0].split())
    rows = (line.split() for line in lines[1:])
    return {row[0].rstrip(":"): [int(cell) for cell in row[1 : cpus + 1] if cell.isdigit()] for row in rows}


def timehist(path: Path) -> pd.DataFrame:
    """Return runs as perf sees them: cpu, tid, wait, delay, run (ms)."""
    command = ["perf", "sched", "timehist", "-i", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(
        r"^\s*[\d.]+ \[(\d+)\]\s+.*?\[(\d+)(?:/\d+)?\]\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)\s*$", said, re.MULTILINE
    )
    table = pd.DataFrame(rows, columns=["cpu", "tid", "wait", "delay", "run"]).astype(float)
    return table.astype({"cpu": int, "tid": int})


def perf_records(path: Path, event: str) -> list[tuple[int, int, int, dict[str, str]]]:
    """Return an event's records as perf prints them: time (ns), CPU, tid, fields."""
    command = ["perf", "script", "--ns", "-i", str(path), "-F", "tid,cpu,time,event,trace"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = []
    for line in said.splitlines():
        if f" {event}: " not in line:
            continue
        match = re.match(rf"\s*(-?\d+) \[(\d+)\]\s+(\d+)\.(\d{{9}}):\s+{event}:\s+(.*)", line)
        assert match, line
        tid, cpu, whole, part, text = match.groups()
        fields = dict(re.findall(r"(\w+)[=:] ?(\w+)", text)) | {"text": text}
        found.append((int(whole) * 10**9 + int(part), int(cpu), int(tid), fields))
    return found
