# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of large traces, kept between runs: by path, size and time of last change of every file, and our version.

A file is a line of JSON, its end filled up with spaces, then the counts (u32, in the machine's byte order), which are
mapped: of a trace of many kinds and packets they are too many to be held. It is replaced, never written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np

from ltt_relay import __version__
from ltt_relay.decode.caches import user_cache
from ltt_relay.decode.errors import Problem
from ltt_relay.decode.identity import identity

__all__ = ("WORTH_KEEPING", "key", "load", "save")

#: Bytes of packets that are counted sooner than a file is looked for.
WORTH_KEEPING: Final = 16 << 20
_MOST_FILES: Final = 256
_ALIGN: Final = 64
#: ns: no file system's times are coarser.
_TICK: Final = 2_000_000_000


def _place(path: Path) -> Path:
    return user_cache() / "counts" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]


def key(path: Path, events: list[str], packets: np.ndarray) -> str:
    """Return what must be the same for counts to be the same: files, kinds in their order, index, and who counts."""
    return json.dumps([identity(path), events, __version__, hashlib.sha256(packets.tobytes()).hexdigest()])


def _settled(wanted: str, began: int) -> bool:
    """Whether a change since counting `began` would show: not if it came within the same tick as the one before."""
    return bool(began - max((changed for _, changed in json.loads(wanted)[0].values()), default=0) > _TICK)


def load(
    path: Path, wanted: str, shape: tuple[int, ...], began: int | None = None
) -> tuple[np.ndarray, list[Problem]] | None:
    """Return counts (uint32) and the problems found in counting; None if there are none of this very trace.

    began: when the caller counted what it has saved itself.
    """
    try:
        with _place(path).open("rb") as file:
            head = json.loads(file.readline())
            if head["key"] != wanted or head["shape"] != list(shape) or head["byte_order"] != sys.byteorder:
                return None
            if head["began"] != began and not _settled(wanted, head["began"]):
                return None
            problems = [Problem(*row) for row in head["problems"]]
            return np.memmap(file, np.uint32, "c", file.tell(), shape), problems
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(path: Path, wanted: str, counts: np.ndarray, problems: list[Problem], began: int) -> None:
    """Keep counts, made from the time `began` on (ns), if there is a place for them; the oldest are thrown away."""
    place = _place(path)
    part = place.with_suffix(f".{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        told = [astuple(problem) for problem in problems]
        head = {"key": wanted, "shape": counts.shape, "byte_order": sys.byteorder, "problems": told, "began": began}
        text = json.dumps(head).encode()
        with part.open("wb") as file:
            file.write(text.ljust((len(text) + _ALIGN) // _ALIGN * _ALIGN - 1) + b"\n")
            file.write(counts.data)
        part.replace(place)
        others = sorted(place.parent.iterdir(), key=lambda other: other.stat().st_mtime)
        for other in others[:-_MOST_FILES]:
            other.unlink(missing_ok=True)
    except OSError:
        part.unlink(missing_ok=True)
