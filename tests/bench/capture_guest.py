# SPDX-License-Identifier: GPL-2.0-or-later
"""In the guest: record a workload with one tool, and print as JSON what it cost and what came of it.

python capture_guest.py TOOL LOOP ROUNDS DIRECTORY [LTTNG-MODULES]

TOOL is none, nowhere (a flight recorder of ours that nobody reads), ltt-relay, lttng or trace-cmd. The workload is LOOP
getppid ROUNDS, one on every CPU. All record the enters and exits of every system call of the whole system, with 4 MiB
of buffers a CPU, into a file system in memory.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltt_relay.capture.session import Session, select_words

CPUS = sorted(os.sched_getaffinity(0))
_SETTLE = 2.0  # seconds
_DRAINED = 1.0
_QUIET = 100_000  # bytes; this program's own system calls are recorded, too


def _until(condition: Any) -> None:
    while not condition():
        time.sleep(0.05)


def _on_cpu(pid: int) -> float:
    """Seconds that a process's threads have run, to the nanosecond; its own clock, so exited ones count, too."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        return 0.0


def _family(pid: int) -> list[int]:
    """A process and its children."""
    children = Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(int(child) for file in children for child in file.read_text().split())]


def _work(loop: str, rounds: int) -> float:
    """Seconds that the slowest of the loops took."""
    begin = time.monotonic()
    loops = [
        subprocess.Popen(["taskset", "-c", str(cpu), loop, "getppid", str(rounds)], stdout=subprocess.DEVNULL)
        for cpu in CPUS
    ]
    for process in loops:
        process.wait()
    return time.monotonic() - begin


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _run(loop: str, rounds: int, out: Path, pids: Callable[[], list[int]]) -> dict[str, float]:
    """Run the workload beside a recorder that runs already; its processes' CPU time, from before to after.

    What it did at its start is over by then, and its end is yet to come. It has read all that the workload filled when
    its files hardly grow; what it runs for without any load is told apart.
    """
    time.sleep(_SETTLE)
    idle = sum(map(_on_cpu, pids()))
    time.sleep(_SETTLE)
    cpu, size = sum(map(_on_cpu, pids())), _size(out)
    idle = (cpu - idle) / _SETTLE
    seconds = _work(loop, rounds)
    before, now = -_QUIET, _size(out)
    while now - before >= _QUIET:
        time.sleep(_DRAINED)
        before, now = now, _size(out)
    return {
        "seconds": seconds,
        "idle": idle,
        "cpu": sum(map(_on_cpu, pids())) - cpu,
        "drained": now - size,
    }


def _record(command: list[str], running: Callable[[], bool], loop: str, rounds: int, out: Path) -> dict[str, float]:
    """Record with a process of ours, which ends on SIGINT; as `_run`, and all the CPU time that it took."""
    with (out / "said").open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file) as process:
        _until(running)
        found = _run(loop, rounds, out, lambda: _family(process.pid))
        process.send_signal(signal.SIGINT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = status
    if status:
        raise RuntimeError(f"the recorder ended with {status}: {(out / 'said').read_text()}")
    return found | {"whole": usage.ru_utime + usage.ru_stime}


def ltt_relay(loop: str, rounds: int, out: Path) -> dict[str, Any]:
    trace, name = out / "trace", "bench"
    command = [*(sys.executable, "-m", "ltt_relay.cli"), "record", "-e", "syscall", "-o", str(trace), "--session", name]
    control = Path(f"/sys/kernel/relay/ltt/{name}/control")
    found = _record(command, lambda: control.exists() and control.read_text() == "running\n", loop, rounds, out)
    totals = json.loads((trace / ".capture.json").read_text())["totals"]
    return found | {"bytes": _size(trace), "events": totals["read"], "lost": totals["lost"]}


def nowhere(loop: str, rounds: int) -> dict[str, Any]:
    """Write the events and throw them away: what the workload can make with them, whoever reads."""
    session = Session("bench")
    session.create()
    session.write("events", "none " + " ".join(select_words(("syscall",))))
    session.write("mode", "flight")
    session.control("start")
    seconds = _work(loop, rounds)
    session.control("stop")
    totals = session.totals()
    session.remove()
    return {"seconds": seconds, "events": totals["produced"], "lost": totals["lost"], "bytes": 0}


def trace_cmd(loop: str, rounds: int, out: Path) -> dict[str, Any]:
    trace = out / "trace.dat"
    command = ["trace-cmd", "record", "-e", "raw_syscalls", "-b", "4096", "-o", str(trace)]
    enabled = Path("/sys/kernel/tracing/events/raw_syscalls/sys_exit/enable")
    found = _record(command, lambda: enabled.exists() and enabled.read_text() == "1\n", loop, rounds, out)
    report = ["trace-cmd", "report", "--stat", "-i", str(trace)]
    said = subprocess.run(report, capture_output=True, text=True, check=True).stdout
    lost = sum(map(int, re.findall(r"(?:overrun|dropped events): (\d+)", said)))
    # As counted at the stop; the entries of then are flushed into the file after.
    events = sum(map(int, re.findall(r"(?:read events|entries): (\d+)", said)))
    return found | {"bytes": _size(trace), "events": events, "lost": lost}


def _load(directory: Path) -> None:
    """Load LTTng's modules, in whichever order their symbols allow; system calls need none of the probes."""
    left = sorted(path for path in directory.glob("lttng-*.ko") if not re.search(r"test|probe-", path.name))
    while left:
        failed = [
            path for path in left if subprocess.run(["insmod", path], capture_output=True, check=False).returncode
        ]
        if len(failed) == len(left):
            return
        left = failed


def lttng(loop: str, rounds: int, out: Path, modules: Path) -> dict[str, Any]:
    _load(modules)
    environment = os.environ | {"LTTNG_HOME": str(out), "HOME": str(out)}
    subprocess.run(
        ["lttng-sessiond", "--daemonize", "--kmod-probes=sched"], check=True, env=environment, capture_output=True
    )

    def tell(*words: str) -> str:
        done = subprocess.run(["lttng", *words], env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"lttng {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    tell("create", "bench", f"--output={out / 'trace'}")
    tell("enable-channel", "-k", "c", "--subbuf-size=256k", "--num-subbuf=16")
    tell("enable-event", "-k", "-c", "c", "--syscall", "--all")

    def daemons() -> list[int]:
        said = subprocess.run(["pgrep", "lttng"], capture_output=True, text=True, check=False).stdout
        return [int(pid) for pid in said.split()]

    tell("start")
    found = _run(loop, rounds, out, daemons)
    said = tell("stop")
    whole = sum(map(_on_cpu, daemons()))
    tell("destroy")
    for pid in daemons():
        os.kill(pid, signal.SIGTERM)
    _until(lambda: not daemons())
    lost = sum(int(n.replace(",", "")) for n in re.findall(r"(\d[\d,]*) events? (?:was|were)? ?discarded", said))
    return found | {"whole": whole, "bytes": _size(out / "trace"), "events": None, "lost": lost, "said": said}


def main() -> None:
    tool, loop, rounds, directory, *rest = sys.argv[1:]
    out = Path(directory)
    if tool == "none":
        result: dict[str, Any] = {"seconds": _work(loop, int(rounds)), "events": 2 * int(rounds) * len(CPUS)}
    elif tool == "nowhere":
        result = nowhere(loop, int(rounds))
    elif tool == "lttng":
        result = lttng(loop, int(rounds), out, Path(rest[0]))
    else:
        result = {"ltt-relay": ltt_relay, "trace-cmd": trace_cmd}[tool](loop, int(rounds), out)
    print(json.dumps(result))


main()
