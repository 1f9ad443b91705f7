# SPDX-License-Identifier: GPL-2.0-or-later
"""What is known of a capture and is not in its packets: where, with which options, how it ended.

Kept as JSON in the hidden file .capture.json of a trace directory::

    schema 1 · tool · session · options (object) · command (list or null) · directory (null if removed) · host (object)
    begin, end (ISO 8601, UTC; end is null if the recorder was killed) · ended_by · status (of the command)
    totals, cpus (the kernel's counters at the end: an object, and one for each CPU) · failures (list of texts)
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltt_relay import __version__

__all__ = ("Note", "host")


def _first(path: str, pattern: str = r".*") -> str | None:
    try:
        match = re.search(pattern, Path(path).read_text(errors="replace"))
    except OSError:
        return None
    return match[match.lastindex or 0].strip() if match else None


def host() -> dict[str, Any]:
    """Return what this machine is: names, kernel, processor, memory, clock. A fact that is hidden here is None."""
    name = os.uname()
    return {
        "hostname": name.nodename,
        "kernel": name.release,
        "kernel_version": name.version,
        "machine": name.machine,
        "kernel_command_line": _first("/proc/cmdline"),
        "boot_id": _first("/proc/sys/kernel/random/boot_id"),
        "processor": _first("/proc/cpuinfo", r"(?m)^model name\s*: (.*)"),
        "cpus_online": _first("/sys/devices/system/cpu/online"),
        "cpus_possible": _first("/sys/devices/system/cpu/possible"),
        "memory_kib": int(_first("/proc/meminfo", r"MemTotal:\s*(\d+)") or 0) or None,
        "clocksource": _first("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "uptime_s": float((_first("/proc/uptime") or "0").split()[0]),
    }


def _directory() -> str | None:
    try:
        return str(Path.cwd())
    except FileNotFoundError:
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


class Note:
    """The facts, as they become known."""

    def __init__(self, session: str, options: dict[str, Any], command: list[str] | None) -> None:
        """Begin; nothing is known yet of the end."""
        self.facts: dict[str, Any] = {
            "schema": 1,
            "tool": f"ltt-relay {__version__}",
            "session": session,
            "options": options,
            "command": command,
            "directory": _directory(),
            "host": host(),
            "begin": _now(),
            "end": None,
            "ended_by": None,
            "status": None,
            "totals": {},
            "cpus": [],
            "failures": [],
        }

    def ended(
        self, by: str, status: int | None, cpus: list[dict[str, int]], totals: dict[str, int], failures: list[str]
    ) -> None:
        """Write down the end."""
        self.facts.update(end=_now(), ended_by=by, status=status, cpus=cpus, totals=totals, failures=list(failures))

    def encode(self) -> bytes:
        """Return the JSON text."""
        return json.dumps(self.facts, indent=1).encode() + b"\n"
