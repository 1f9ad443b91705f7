# SPDX-License-Identifier: GPL-2.0-or-later
"""Counts of large traces, kept between runs: by path, and by size and time of last change of every file."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import astuple
from pathlib import Path
from typing import Final

import numpy as np

from ltt_relay.decode.errors import Problem
from ltt_relay.decode.identity import identity

__all__ = ("WORTH_KEEPING", "key", "load", "save")

#: Bytes of packets that are counted sooner than a file is looked for.
WORTH_KEEPING: Final = 16 << 20
_MOST_FILES: Final = 256


def _place(path: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    return base / "ltt-relay" / "counts" / f"{name}.npz"


def key(path: Path, events: list[str]) -> str:
    """Return what must be the same for counts to be the same: files, and the kinds in their order."""
    return json.dumps([identity(path), events])


def load(path: Path, wanted: str, shape: tuple[int, ...]) -> tuple[np.ndarray, list[Problem]] | None:
    """Return counts and the problems found in counting; None if there are none of this very trace."""
    try:
        with _place(path).open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["key"]) != wanted or kept["counts"].shape != shape:
                return None
            problems = [Problem(*row) for row in json.loads(str(kept["problems"]))]
            return kept["counts"].astype(np.int64), problems
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def save(path: Path, wanted: str, counts: np.ndarray, problems: list[Problem]) -> None:
    """Keep counts, if there is a place for them; the oldest are thrown away when there are many."""
    place = _place(path)
    part = place.with_suffix(f".{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps([astuple(problem) for problem in problems])
        with part.open("wb") as file:
            np.savez(file, key=np.array(wanted), counts=counts.astype(np.uint32), problems=np.array(text))
        part.replace(place)
        others = sorted(place.parent.glob("*.npz"), key=lambda other: other.stat().st_mtime)
        for other in others[:-_MOST_FILES]:
            other.unlink(missing_ok=True)
    except OSError:
        part.unlink(missing_ok=True)
