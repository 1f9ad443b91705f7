# SPDX-License-Identifier: GPL-2.0-or-later
"""Running a script of this directory in a guest, and judging what the kernel said meanwhile."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ltt_relay.sandbox import Completed, EmulatorError, Guest
from ltt_relay.sandbox.kernels import find_kernel
from ltt_relay.sandbox.modules import build_modules

__all__ = ("ROOT", "complaints", "counters", "kernel", "patience", "run_again", "run_script")

ROOT = Path(__file__).resolve().parents[2]

# How a kernel, lockdep, KASAN, kmemleak and their like begin when something is wrong.
_COMPLAINTS = re.compile(
    r".*(?:WARNING|BUG|Oops|Call Trace|general protection|KASAN:|ODEBUG|INFO: |unreferenced object|refcount_t|"
    r"possible (?:recursive|circular|irq)|inconsistent lock state|suspicious RCU|sleeping function|"
    r"scheduling while atomic|DEBUG_LOCKS_WARN|MAX_LOCK\w* too low|kmemleak: .* suspected).*"
)


def kernel(default: str = "6.1") -> str:
    """Return which kernel the tests are to run on: LTT_RELAY_KERNEL, or the default."""
    return os.environ.get("LTT_RELAY_KERNEL", default)


def patience(seconds: float) -> float:
    """Return how long to wait for what takes a guest at most so long: six times, if its kernel is a debug kernel."""
    return seconds * (6 if kernel().endswith("-debug") else 1)


def complaints(log: str) -> list[str]:
    """Return the lines of a kernel's log that begin a complaint."""
    return _COMPLAINTS.findall(log)


def run_script(
    script: str, out: Path, *words: str, timeout: float, cpus: int = 2, default: str = "6.1", **more: Any
) -> Completed:
    """Run a script in a guest: $1 is `out`, $2 Python, $3 the project, $4 the modules' build, then `words`.

    A debug kernel is given more time and memory. What the script said is left in `out`/said.
    """
    name = kernel(default)
    slow = name.endswith("-debug")
    build = build_modules(find_kernel(name))
    guest = Guest(kernel=name, cpus=cpus, memory="2G" if slow else "1G", rw=[out], **more)
    command = ["sh", str(ROOT / "tests/vm" / script), str(out), sys.executable, str(ROOT), str(build), *words]
    done = run_again(guest, command, out, patience(timeout))
    (out / "said").write_bytes(done.stdout + done.stderr)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done


def run_again(guest: Guest, command: Sequence[str], out: Path, timeout: float) -> Completed:
    """Run a command in a guest; if the emulator was at fault, remove what it left in `out`, and again on one thread."""
    before = set(out.iterdir())
    try:
        return guest.run(command, timeout=timeout)
    except EmulatorError as error:
        print(f"once more, emulated by one thread:\n{error}", file=sys.stderr)
        for path in set(out.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return replace(guest, accel="tcg-single").run(command, timeout=2 * timeout)


def counters(path: Path) -> dict[str, int]:
    """Return a file of counters summed over its CPUs."""
    header, *rows = path.read_text().splitlines()
    names = header.split()
    values = [list(map(int, row.split())) for row in rows]
    return {name: sum(row[i] for row in values) for i, name in enumerate(names) if name != "cpu"}
