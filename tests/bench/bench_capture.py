# SPDX-License-Identifier: GPL-2.0-or-later
"""Capturing beside LTTng and trace-cmd, on the same workload in the same guests: what is lost, and what reading costs.

python -m tests.bench.bench_capture [ROUNDS]

Twice a guest is booted. With two CPUs, both of them busy with system calls, each tool in turn records every enter and
exit: events a second, losses, bytes. What the machine can make at most, the loop tells when nothing is recorded, and
when the events are written over and over in memory, which nobody reads.

With one CPU and counted instructions: what the tool's own processes execute from before the load until all that it
filled is in files, for each MiB of these. Their start and their end are in the last column but one only: Python's start
of ours, the compression of the file of trace-cmd.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ltt_relay.sandbox import Guest
from ltt_relay.sandbox.kernels import Kernel, find_kernel

from .peers import lttng_modules, missing_tools

HERE = Path(__file__).parent
KERNEL = "6.1"
TOOLS = ("ltt-relay", "lttng", "trace-cmd")
REPEATS = 3


def _script(runs: list[tuple[str, int]], out: Path, loop: Path, modules: Path) -> str:
    """Shell commands: every run in a directory in memory; its result and, of LTTng, the trace stay in `out`."""
    lines = [f"export PYTHONPATH={HERE.parents[1]}"]
    for number, (tool, rounds) in enumerate(runs):
        memory = f"/run/bench-{number}"
        command = f"{sys.executable} {HERE}/capture_guest.py {tool} {loop} {rounds} {memory} {modules}"
        lines += [f"mkdir {memory}", f"{command} >{out}/{number}.json 2>{out}/{number}.err"]
        if tool == "lttng":
            lines += [f"cp -r {memory}/trace {out}/{number}.trace"]
        lines += [f"rm -rf {memory}"]
    return "\n".join(lines)


def _measure(guest: Guest, runs: list[tuple[str, int]], work: Path, loop: Path, modules: Path) -> list[dict[str, Any]]:
    out = Path(tempfile.mkdtemp(dir=work))
    guest = Guest(guest.kernel, guest.cpus, "2G", [work], guest.icount)
    done = guest.run(["sh", "-c", _script(runs, out, loop, modules)], timeout=3000)
    results = []
    for number, (tool, rounds) in enumerate(runs):
        text = (out / f"{number}.json").read_text()
        if not text:
            raise RuntimeError(f"{tool}: {(out / f'{number}.err').read_text()}{done.stderr.decode()[-2000:]}")
        result = json.loads(text)
        if tool == "lttng":
            result["events"] = _count(out / f"{number}.trace")
        results.append({"tool": tool, "rounds": rounds, **result})
    return results


def _count(trace: Path) -> int:
    """Events of a CTF trace, counted by Babeltrace."""
    command = ["babeltrace2", str(trace), "--component=sink.utils.counter", "--params=hide-zero=yes"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    counts = [int(line.split()[0].replace(",", "")) for line in said.splitlines() if " Event message" in line]
    return counts[-1]  # it also tells how far it has come


def throughput(kernel: Kernel, work: Path, loop: Path, modules: Path, rounds: int) -> None:
    """Print the first table."""
    names = {"none": "nothing recorded", "nowhere": "written, never read"} | {tool: tool for tool in TOOLS}
    runs = [(tool, rounds) for _ in range(REPEATS) for tool in names]
    results = _measure(Guest(kernel=KERNEL, cpus=2), runs, work, loop, modules)
    print(f"\n{REPEATS} alternating runs, medians; {rounds:,} system calls on each of 2 CPUs, {kernel.version}\n")
    print("| tool | workload, s | events | events/s | lost | lost, % | MB | bytes/event |")
    print("|---|---|---|---|---|---|---|---|")
    for tool, name in names.items():
        mine = [result for result in results if result["tool"] == tool]
        seconds = statistics.median(result["seconds"] for result in mine)
        events = int(statistics.median(result["events"] for result in mine))
        start = f"| {name} | {seconds:.2f} | {events:,} | {events / seconds:,.0f} |"
        if tool == "none":
            print(f"{start} | | | |")  # as many as the loops make
            continue
        lost, size = (int(statistics.median(result[key] for result in mine)) for key in ("lost", "bytes"))
        share, end = 100 * lost / (events + lost), f"{size / 1e6:.1f} | {size / events:.1f}" if size else " | "
        print(f"{start} {lost:,} | {share:.2f} | {end} |")


def cost(kernel: Kernel, work: Path, loop: Path, modules: Path, rounds: int) -> None:
    """Print the second table."""
    results = _measure(Guest(kernel=KERNEL, icount=True), [(tool, rounds) for tool in TOOLS], work, loop, modules)
    print(f"\nInstructions of the recorder's own processes (1 CPU, --icount), {rounds:,} system calls\n")
    print("| tool | running, M | MiB read | M a MiB | an event | idle, M a second | start to end, M | lost |")
    print("|---|---|---|---|---|---|---|---|")
    for result in results:
        # One nanosecond of CPU time is one instruction there.
        million, size = {key: result[key] * 1e3 for key in ("cpu", "idle", "whole")}, result["drained"] / 2**20
        print(
            f"| {result['tool']} | {million['cpu']:,.1f} | {size:.2f} | {million['cpu'] / size:.2f} | "
            f"{1e6 * million['cpu'] / result['events']:.0f} | {million['idle']:.2f} | {million['whole']:,.0f} | "
            f"{result['lost']:,} |"
        )


def run(rounds: int = 400_000) -> int:
    """Run both; returns an exit status."""
    if missing_tools() or shutil.which("babeltrace2") is None:
        print(f"not installed: {', '.join(missing_tools()) or 'babeltrace2'}", file=sys.stderr)
        return 1
    kernel = find_kernel(KERNEL)
    modules, left_out = lttng_modules(kernel)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        loop = work / "loop"
        source = HERE / "kernel/loop.c"
        subprocess.run(["gcc", "-O2", "-static", "-o", str(loop), str(source)], check=True)
        for words in (["lttng", "--version"], ["trace-cmd", "-v"]):
            said = subprocess.run(words, capture_output=True, text=True, check=False)
            print(next(line.strip() for line in (said.stdout + said.stderr).splitlines() if line.strip()))
        if left_out:
            print(f"left out of lttng-modules, as they do not compile for this kernel: {', '.join(left_out)}")
        throughput(kernel, work, loop, modules, rounds)
        cost(kernel, work, loop, modules, rounds)
    return 0


if __name__ == "__main__":
    sys.exit(run(*map(int, sys.argv[1:])))
