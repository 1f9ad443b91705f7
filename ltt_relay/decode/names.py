# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of tasks and irqs by time, from the state stream."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import pandas as pd

__all__ = ("EMPTY", "NameTable", "Names", "Told", "build_table", "code_dtype")


def code_dtype(names: int) -> np.dtype:
    """Return the dtype of the codes of so many categories, as pandas chooses it."""
    return np.dtype("i1" if names < 128 else "i2" if names < 32768 else "i4")


_ALWAYS: Final = -(1 << 62)
#: Task ids are below this (PID_MAX_LIMIT); a larger one is damage.
_MAX_KEY: Final = 1 << 22


@dataclass(frozen=True)
class NameTable:
    """For each key where its names begin in `times` and `codes`; `names` are the codes' meanings."""

    starts: np.ndarray
    times: np.ndarray
    codes: np.ndarray
    names: list[str]

    @property
    def dtype(self) -> np.dtype:
        """Of codes, as pandas chooses it for that many categories."""
        return code_dtype(len(self.names))

    @functools.cached_property
    def categories(self) -> pd.CategoricalDtype:
        """Of columns of such names; making it costs more than a short frame."""
        return pd.CategoricalDtype(pd.Index(self.names, dtype="str"))

    def always(self) -> np.ndarray:
        """Return for each key its code if it never has another, -1 if it has none, else -2; one more entry of -1."""
        found = np.full(self.starts.size, -1, np.int64)
        counts = np.diff(self.starts)
        found[:-1][counts > 0] = -2
        one = np.flatnonzero(counts == 1)
        one = one[self.times[self.starts[one]] == _ALWAYS]
        found[one] = self.codes[self.starts[one]]
        return found


EMPTY: Final = NameTable(np.zeros(1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), [])


class Told(NamedTuple):
    """names[i] is the name of keys[i] from times[i] on; where `before`, the first of its key held before as well."""

    keys: np.ndarray
    times: np.ndarray
    names: np.ndarray
    before: np.ndarray


def build_table(parts: Sequence[Told]) -> NameTable:
    """Return the table of all that was told."""
    keys, times, names, dumped = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    usable = (keys >= 0) & (keys < _MAX_KEY)
    keys, times, names, dumped = keys[usable], times[usable], names[usable], dumped[usable]
    if not keys.size:
        return EMPTY
    # As objects: an array of text would take the longest name's room for each.
    codes, distinct = pd.factorize(names, sort=True)
    order = np.lexsort((np.arange(keys.size), times, keys))
    keys, times, codes, dumped = keys[order], times[order].astype(np.int64), codes[order], dumped[order]
    first = np.r_[True, keys[1:] != keys[:-1]]
    times[first & dumped] = _ALWAYS
    starts = np.searchsorted(keys, np.arange(int(keys.max()) + 2)).astype(np.int64)
    return NameTable(starts, times, codes.astype(np.int64), [str(name) for name in distinct])


@dataclass(frozen=True, slots=True)
class Names:
    """The tables in the order of `plan.NAME_TABLES`, and as the kernels want them."""

    tables: tuple[NameTable, ...] = (EMPTY, EMPTY)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (first, size) in starts of each table, starts, what a key is always called, times, codes.

        A key is always called the code that is not below 0, nothing if it is -1; -2: its name depends on the time.
        """
        places, starts, always, first, offset = [], [], [], 0, 0
        for table in self.tables:
            places.append((first, table.starts.size))
            starts.append(table.starts + offset)
            always.append(table.always())
            first += table.starts.size
            offset += table.times.size
        return (
            np.array(places, np.int64),
            np.concatenate(starts),
            np.concatenate(always),
            np.concatenate([table.times for table in self.tables]),
            np.concatenate([table.codes for table in self.tables]),
        )
