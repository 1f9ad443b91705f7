# SPDX-License-Identifier: GPL-2.0-or-later
"""Records the captures that the notebooks tell their stories on: python -m ltt_relay.testing.captures [NAME ...].

Each is recorded by `ltt-relay record` in a guest of its own, and replaces notebooks/captures/NAME. They are small, so
that they can be committed: a second or two of a chosen part of the events.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ("CAPTURES", "Capture", "record")

_ROOT: Final = Path(__file__).resolve().parents[2]

_MARK: Final = 'mark() { for file in /sys/kernel/relay/ltt/*/marker; do echo "$1" >"$file"; done; }\n'


@dataclass(frozen=True, slots=True)
class Capture:
    """What is run, as shell; `record`'s options; what is done before; whether it is to fail; what the guest is like.

    In the shell, $work is the program of workloads.c and a directory for it. A guest of one CPU counts instructions:
    its time does not depend on the machine. With a module of its own, the shell makes the files itself, in the current
    directory.
    """

    shell: str
    options: tuple[str, ...] = ()
    prepare: str = ":"
    fails: bool = False
    cpus: int = 1
    module: str | None = None


def _events(*globs: str) -> tuple[str, ...]:
    return tuple(word for glob in globs for word in ("-e", glob))


#: Scheduling and names, without what is known from them.
_SCHED: Final = ("sched", "-sched_stat*", "-sched_migrate_task", "task", "user")

CAPTURES: Final = {
    # A little of everything.
    "getting-started": Capture(
        _MARK
        + """
mark 'list and sort'
ls /etc | sort -r | tail -n 1 >/dev/null
mark 'two at once'
gzip -9 </bin/busybox >/dev/null & gzip -2 </bin/busybox >/dev/null; wait
mark 'sleeping'
sleep 0.02; sleep 0.02
mark 'done'
""",
        ("-a", *_events(*_SCHED, "irq", "-softirq_raise", "syscall", "exceptions")),
        "for i in 1 2; do gzip -1 </bin/busybox; ls /etc | sort | tail -n 1; sleep 0; done",
    ),
    # A task that sleeps 10 ms again and again: on an idle machine, and where others want the CPU as well.
    "scheduling": Capture(
        _MARK
        + """
mark idle
$work sleeps >/dev/null
mark busy
$work spin1+spin2+sleeps >/dev/null
mark 'ping pong'
$work ping+pong >/dev/null
mark done
""",
        ("-a", *_events(*_SCHED, "irq", "-softirq_raise")),
    ),
    "syscalls": Capture(
        """
find /etc -maxdepth 1 -name '*.conf' | head -n 20 | xargs cat >/dev/null 2>&1
cat /nonexistent /root/none 2>/dev/null
$work calls waits forks >/dev/null
""",
        _events(*_SCHED, "syscall"),
    ),
    "interrupts": Capture(
        """
dd if=/usr/bin/python3.11 of=/dev/null bs=64k 2>/dev/null
$work sleeps >/dev/null
""",
        ("-a", *_events(*_SCHED, "irq", "timer")),
    ),
    "io": Capture(
        _MARK
        + """
mark 'one reader'
$work reads >/dev/null
mark 'four readers'
$work reads+reads+reads+reads >/dev/null
mark 'write and flush'
dd if=/dev/zero of=/dev/nullb0 bs=64k count=64 conv=fsync 2>/dev/null
mark done
""",
        ("-a", *_events(*_SCHED, "block_rq_*", "irq", "-softirq_*")),
        "modprobe null_blk irqmode=2 completion_nsec=1000000 queue_mode=2 submit_queues=1",
    ),
    # A service misses its deadline, because something with a higher priority took the CPU.
    "flight-recorder": Capture(
        "$work serves+hogs >/dev/null\n",
        (
            "--mode", "flight", "--save", "failure", "--subbuf-size", "8192", "--n-subbufs", "4", "-a",
            *_events(*_SCHED, "irq", "-softirq_raise", "syscall"),
        ),
        fails=True,
    ),
    "own-format": Capture(
        """
cat /sys/kernel/relay/squares/squares_0 >squares_0 &
cat /sys/kernel/relay/squares/squares_1 >squares_1 &
taskset -c 0 sh -c "echo 1000 >/sys/kernel/relay/squares/count"
taskset -c 1 sh -c "echo 500 >/sys/kernel/relay/squares/count"
taskset -c 0 sh -c "echo 1000 >/sys/kernel/relay/squares/count"
echo 0 >/sys/kernel/relay/squares/count
wait
""",
        cpus=2,
        module="relayfs_sample",
    ),
}  # fmt: skip


def _script(directory: Path, names: list[str]) -> str:
    """What the guest runs: each workload recorded into directory/NAME/trace."""
    # The guest's /run: paths get into records, and those of this machine are nobody's business.
    lines = ["set -u", f"export PYTHONPATH='{_ROOT}'", f"cp '{directory}/workloads' /run/workloads"]
    for name in names:
        capture, here = CAPTURES[name], directory / name
        here.mkdir()
        (here / "workload.sh").write_text(f"work='/run/workloads /run'\n{capture.shell}")
        (here / "prepare.sh").write_text(f"{capture.prepare}\n")
        run = f"mkdir trace && cd trace && sh /run/{name}.sh"
        if capture.module is None:
            command = [sys.executable, "-m", "ltt_relay.cli", "record", "-o", "trace"]
            run = " ".join(f"'{word}'" for word in [*command, *capture.options, "--", "sh", f"/run/{name}.sh"])
        lines += [
            f"cp '{here}/workload.sh' /run/{name}.sh",
            f"cd '{here}'",
            f"sh '{here}/prepare.sh' >/dev/null",
            f"echo '{name}:' >&2",
            run,
            f"[ $? -{'ne' if capture.fails else 'eq'} 0 ] || exit 1",
        ]
    return "\n".join(lines) + "\n"


def record(names: list[str], output: Path) -> str:
    """Record captures, those of like guests in one, into output/NAME, replacing what is there.

    Returns what record said.

    Raises:
        KeyError: no such capture.
        RuntimeError: a recording failed; the text has the guest's words.

    """
    from ltt_relay.sandbox import Guest

    said = ""
    for cpus, module in dict.fromkeys((CAPTURES[name].cpus, CAPTURES[name].module) for name in names):
        some = [name for name in names if (CAPTURES[name].cpus, CAPTURES[name].module) == (cpus, module)]
        with tempfile.TemporaryDirectory(dir=output) as text:
            directory = Path(text)
            source = Path(__file__).with_name("workloads.c")
            compiled = str(directory / "workloads")
            subprocess.run(["gcc", "-O1", "-pthread", "-static", "-o", compiled, str(source)], check=True)
            script = directory / "script.sh"
            script.write_text(_script(directory, some))
            modules = None if module is None else ["relayfs", module]
            guest = Guest(cpus=cpus, icount=cpus == 1, rw=[output], modules=modules)
            done = guest.run(["sh", str(script)], cwd=_ROOT, timeout=590)
            if done.returncode:
                words = done.stderr.decode(errors="replace")
                raise RuntimeError(f"a recording ended with {done.returncode} in the guest:\n{words}")
            said += done.stderr.decode(errors="replace")
            for name in some:
                # How it came to be (paths of this machine) is told above.
                (directory / name / "trace" / ".capture.json").unlink(missing_ok=True)
                shutil.rmtree(output / name, ignore_errors=True)
                shutil.move(directory / name / "trace", output / name)
    return said


def main(names: list[str]) -> None:
    """Replace the captures of these names, or all of them."""
    unknown = set(names) - set(CAPTURES)
    if unknown:
        sys.exit(f"no capture {', '.join(sorted(unknown))}; there are {', '.join(CAPTURES)}")
    print(record(names or list(CAPTURES), _ROOT / "notebooks" / "captures"), end="", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
