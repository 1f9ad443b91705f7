# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading packets in the order of their begin, each once, and handing out their records in the order of time.

A packet stays in memory until the last of its records is decoded, so there are about two packets of each CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np

from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.memory import SLACK
from ltt_relay.decode.packets import Files

if TYPE_CHECKING:
    from ltt_relay.decode.batch import Walker

__all__ = ("Reader",)

_MOST = 1 << 32


@dataclass(slots=True)
class _Active:
    """A packet in memory: its row of the index, where it is, how many bytes are taken, and its entries to come."""

    row: int
    at: int
    size: int
    cursor: int
    last: int


class Reader:
    """Gives windows of records: after `advance`, the entries in `pending` before the time `high` are next."""

    def __init__(self, walker: Walker, files: Sequence[Path], packets: np.ndarray, wanted: Wanted) -> None:
        """Prepare to read packets (rows of the index, sorted by CPU, then time)."""
        self._walker = walker
        self._packets = packets
        self._wanted = wanted
        self._files = Files(files)
        self._order = np.argsort(packets["begin"], kind="stable")
        self._next = 0
        self._active: list[_Active] = []
        self._free: list[tuple[int, int]] = []
        self.buffer = np.empty(0, np.uint8)
        self.entries = Entries.empty(0)
        self.high = 0

    def advance(self, size: int) -> bool:
        """Read packets of about `size` bytes; False at the end."""
        if self._next == self._order.size and not self._active:
            return False
        taken = 0
        first = self._next
        content = self._packets["content"]
        while self._next < self._order.size and taken < size:
            taken += int(content[self._order[self._next]])
            self._next += 1
        if self._next > first:
            self._load(np.sort(self._order[first : self._next]))
        ended = self._next == self._order.size
        self.high = self._wanted.until if ended else int(self._packets["begin"][self._order[self._next]])
        return True

    def pending(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the ranges of entries to come, by packet, in the order of CPUs, then time."""
        ranges = np.array([(active.cursor, active.last) for active in self._active], np.int64).reshape(-1, 2)
        return ranges[:, 0].copy(), ranges[:, 1].copy()

    def kinds(self, many: int) -> np.ndarray:
        """Return how many entries of each kind are to come."""
        of = self.entries.kind
        found = np.zeros(many, np.int64)
        for active in self._active:
            found += np.bincount(of[active.cursor : active.last] & 0xFFFF, minlength=many)
        return found

    def settle(self, cursor: np.ndarray) -> None:
        """Take what is left of the ranges; packets of which nothing is are no longer needed."""
        for active, now in zip(self._active, cursor.tolist(), strict=True):
            active.cursor = now
            if now == active.last:
                self._release(active.at, active.size)
        self._active = [active for active in self._active if active.cursor < active.last]

    def _load(self, rows: np.ndarray) -> None:
        packets = self._packets[rows]
        sizes = (packets["content"] + 7) & ~7
        if not self.buffer.size:
            self._grow(int(sizes.sum()))
        starts = np.array([self._place(int(size)) for size in sizes], np.int64)
        view = self.buffer.data
        for row, at in zip(packets, starts.tolist(), strict=True):
            self._files.read_into(int(row["file"]), int(row["offset"]), view[at : at + int(row["content"])])
        first = starts // self._walker.shortest
        buffer = self.buffer.view(np.uint64)
        last = self._walker.enter(buffer, starts, packets, self._wanted, first, self.entries)
        for values in zip(rows.tolist(), starts.tolist(), sizes.tolist(), first.tolist(), last.tolist(), strict=True):
            self._active.append(_Active(*values))
        self._active.sort(key=lambda active: active.row)

    def _place(self, size: int) -> int:
        """Return where there are `size` free bytes, a multiple of 8."""
        for i, (at, free) in enumerate(self._free):
            if free >= size:
                self._free[i : i + 1] = [(at + size, free - size)] if free > size else []
                return at
        before = max(self.buffer.size - SLACK, 0)
        self._grow(max(2 * before, before + size))
        return self._place(size)

    def _grow(self, now: int) -> None:
        """Make room for `now` bytes in all."""
        before = max(self.buffer.size - SLACK, 0)
        if now > _MOST:
            raise MemoryError(f"packets of {now} bytes would have to be in memory at once: at most {_MOST} can be")
        buffer = np.empty(now + SLACK, np.uint8)
        buffer[:before] = self.buffer[:before]
        buffer[now:] = 0
        entries = Entries.empty(now // self._walker.shortest + 1)
        for old, new in zip(self.entries, entries, strict=True):
            for active in self._active:
                new[active.cursor : active.last] = old[active.cursor : active.last]
        self.buffer, self.entries = buffer, entries
        self._release(before, now - before)

    def _release(self, at: int, size: int) -> None:
        """Give back bytes, and join what is free."""
        joined: list[tuple[int, int]] = []
        for begin, free in sorted([*self._free, (at, size)]):
            if joined and sum(joined[-1]) == begin:
                joined[-1] = (joined[-1][0], joined[-1][1] + free)
            else:
                joined.append((begin, free))
        self._free = joined

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._files.close()
