# SPDX-License-Identifier: GPL-2.0-or-later
"""What recording costs in the kernel, beside ftrace and LTTng, all in one boot of a guest that counts instructions.

python -m tests.bench.bench_kernel [--kernel VERSION] [--without-lttng]

The guest counts one nanosecond for each instruction, so that the figures depend on no machine. Recorded are one system
call (getppid, enter and exit) and one round of a pipe between two processes (two sched_switch); nobody reads meanwhile.
Then sched_switch and sched_waking of that pipe go to files, uncompressed, in two lengths: the difference of sizes by
the difference of the events is bytes an event, without what a file has once.

LTTng's modules are built from Debian's sources, once, if they can be had and build for that kernel.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ltt_relay.capture import kbuild
from ltt_relay.sandbox import Guest
from ltt_relay.sandbox.kernels import DEFAULT_KERNEL, Kernel, find_kernel

from .peers import lttng_modules, missing_tools

_SOURCES = Path(__file__).with_name("kernel")
_NAMES = {
    "empty": "empty probes",
    "ours": "ltt-relay, one session",
    "ours-two": "ltt-relay, two sessions",
    "ours-filter-in": "ltt-relay, comm= that passes",
    "ours-filter-out": "ltt-relay, tid= that does not",
    "ftrace": "ftrace",
    "lttng": "LTTng",
}
_EVENTS_A_ROUND = {"getppid": ("system call, enter and exit", 1), "pipe": ("sched_switch", 2)}


def _make(directory: Path, kernel: Kernel, *words: str) -> str:
    """Run the kernel's make; returns what it said if it failed."""
    compiler = kbuild.compiler_for(kernel.build)
    command = ["make", "-s", "-j2", "-C", str(directory), "CONFIG_DEBUG_INFO_BTF_MODULES=", *words]
    done = subprocess.run(
        command + ([f"CC={compiler}"] if compiler else []), capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr if done.returncode else ""


def _prepare(work: Path, kernel: Kernel) -> None:
    subprocess.run(["gcc", "-O2", "-o", work / "loop", _SOURCES / "loop.c"], check=True)
    shutil.copy(_SOURCES / "empty.c", work)
    (work / "Kbuild").write_text("obj-m := empty.o\n")
    said = _make(kernel.build, kernel, f"M={work}", "modules")
    if said:
        raise SystemExit(f"the empty probes do not build for {kernel.version}:\n{said}")


def _prepare_lttng(work: Path, kernel: Kernel) -> str:
    """Put LTTng's modules into work/modules; returns why that is not possible."""
    if missing := [*missing_tools(), *(["depmod"] if shutil.which("depmod") is None else [])]:
        return f"{', '.join(missing)} not found (Debian packages lttng-tools, trace-cmd, kmod)"
    try:
        built, _ = lttng_modules(kernel)
    except (OSError, ValueError, RuntimeError) as error:
        return f"Debian's lttng-modules-dkms: {error}"
    modules = work / "tree/lib/modules" / kernel.version
    modules.mkdir(parents=True)
    for path in built.glob("*.ko"):
        shutil.copy(path, modules)
    for name in ("modules.order", "modules.builtin"):
        (modules / name).write_text("")
    subprocess.run(["depmod", "-b", work / "tree", kernel.version], check=True, capture_output=True)
    modules.rename(work / "modules")
    return ""


def _instructions(said: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in said.splitlines():
        words = line.split()
        if len(words) == 4 and words[0] in _EVENTS_A_ROUND:
            found.setdefault(words[0], {})[words[1]] = min(float(words[2]), float(words[3]))
    return found


def _show_instructions(found: dict[str, dict[str, float]]) -> None:
    print(f"{'instructions added to one':34}" + "".join(f"{what:>30}" for what, _ in _EVENTS_A_ROUND.values()))
    for key, name in _NAMES.items():
        cells = []
        for workload, (_, events) in _EVENTS_A_ROUND.items():
            measured = found.get(workload, {})
            if key in measured:
                added = (measured[key] - measured["nothing"]) / events
                ours = (measured["ours"] - measured["nothing"]) / events
                cells.append(f"{added:.0f} ({added / ours:.2f} x ours)")
            else:
                cells.append("-")
        print(f"{name:34}" + "".join(f"{cell:>30}" for cell in cells))
    print(f"{'(the same with nothing attached)':34}", end="")
    print("".join(f"{found[workload]['nothing']:>30.0f}" for workload in _EVENTS_A_ROUND if workload in found))


def _count_ours(file: Path) -> int:
    from ltt_relay.formats.ltt3 import PACKET

    data, at, records = file.read_bytes(), 0, 0
    while at < len(data):
        header = PACKET.parse(data[at:])
        records += header.records
        at += header.packet_size // 8
    return records


def _count_lines(*command: str | Path) -> int:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return sum("sched_switch" in line or "sched_waking" in line for line in done.stdout.splitlines())


def _show_sizes(said: str, work: Path) -> None:
    sizes: dict[str, list[tuple[int, int]]] = {}
    for line in said.splitlines():
        if match := re.fullmatch(r"size (\S+) (\d+) (\d+)", line):
            tool, rounds, size = match[1], match[2], int(match[3])
            file = work / f"{tool}-{rounds}"
            if tool == "ours":
                events = _count_ours(file)
            elif tool == "trace-cmd":
                events = _count_lines("trace-cmd", "report", "-i", file)
            elif shutil.which("babeltrace2"):
                events = _count_lines("babeltrace2", file)
            else:
                continue
            sizes.setdefault(tool, []).append((events, size))
    print("\nbytes on disk an event, sched_switch + sched_waking of a pipe, uncompressed")
    for tool, ((few, small), (many, large)) in sizes.items():
        print(f"{tool:34}{(large - small) / (many - few):>30.1f}    ({many - few} events)")


def run(kernel_version: str = DEFAULT_KERNEL, lttng: bool = True) -> None:
    """Measure and print."""
    kernel = find_kernel(kernel_version)
    with tempfile.TemporaryDirectory(prefix="ltt-relay-bench-") as temporary:
        work = Path(temporary)
        _prepare(work, kernel)
        why_not = _prepare_lttng(work, kernel) if lttng else "left out"
        guest = Guest(kernel=kernel_version, icount=True, memory="2G", rw=[work], modules=["relayfs", "ltt"])
        done = guest.run(["sh", _SOURCES / "guest.sh", "no" if why_not else "yes"], cwd=work, timeout=1500)
        said = done.stdout.decode()
        if done.returncode:
            raise SystemExit(f"the guest's script failed:\n{said}{done.stderr.decode()}")
        print(f"Linux {done.kernel}, one CPU, emulated, one instruction a nanosecond\n")
        found = _instructions(said)
        _show_instructions(found)
        _show_sizes(said, work)
        if why_not or "lttng" not in found.get("getppid", {}):
            print(f"\nLTTng was not measured: {why_not or done.stderr.decode()[-300:]}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    parser.add_argument("--without-lttng", action="store_true")
    arguments = parser.parse_args()
    run(arguments.kernel, not arguments.without_lttng)


if __name__ == "__main__":
    main()
