# SPDX-License-Identifier: GPL-2.0-or-later
"""What blkparse (Debian package blktrace) says of a trace, and the same of ours, as sets of rows of text."""

from __future__ import annotations

import subprocess
from pathlib import Path

import ltt_relay
from ltt_relay.formats import blktrace

__all__ = ("blkparse_rows", "our_rows")

_ACTIONS = {name: letter for letter, name, _ in blktrace.ACTIONS.values()}
#: Device, CPU, sequence number, time, process, action, kind of request, sector, bytes, error, name.
_FIELDS = ("M", "m", "c", "s", "T", "t", "p", "a", "d", "S", "N", "e", "C")


def blkparse_rows(directory: Path, name: str) -> set[tuple[str, ...]]:
    """Return the rows that blkparse prints of `name`.blktrace.N in a directory."""
    command = ["blkparse", "-q", "-i", name, "-f", "|".join(f"%{letter}" for letter in _FIELDS) + "\n"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=directory, check=True)
    return {tuple(line.split("|")) for line in done.stdout.splitlines() if line.count("|") == len(_FIELDS) - 1}


def _rwbs(action: int, size: int) -> str:
    """What blkparse prints for the kind of request; after its fill_rwbs()."""
    has = {name: bool(action & bit) for name, bit in blktrace.CATEGORIES.items()}
    text = "F" * has["flush"]
    text += "D" if has["discard"] else "W" if has["write"] else "R" if size else "N"
    return text + "F" * has["fua"] + "A" * has["ahead"] + "S" * has["sync"] + "M" * has["meta"]


def our_rows(trace: ltt_relay.Trace) -> set[tuple[str, ...]]:
    """Return the same rows out of frames; times count from the first record that is no note, as there."""
    frames = {name: frame for name, frame in trace.frames(time="ns").items() if name in _ACTIONS and len(frame)}
    first = min(int(frame["timestamp"].iloc[0]) for frame in frames.values())
    ours: set[tuple[str, ...]] = set()
    for event, frame in frames.items():
        for row in frame.to_dict("records"):
            second, nanosecond = divmod(row["timestamp"] - first, 10**9)
            name = row["comm"] if isinstance(row["comm"], str) else "(null)"
            ours.add(
                (
                    str(row["dev"] >> 20), str(row["dev"] & 0xFFFFF), str(row["cpu"]), str(row["sequence"]),
                    str(second), f"{nanosecond:09d}", str(row["tid"]), _ACTIONS[event],
                    _rwbs(row["action"], row["bytes"]), str(row["sector"]), str(row["bytes"]), str(row["error"]), name,
                )
            )  # fmt: skip
    return ours
