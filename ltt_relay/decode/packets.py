# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of all files as one array, and reading some of them into memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.memory import SLACK
from ltt_relay.formats.loaded import Packet

__all__ = (
    "ALL_IDS", "END_UNKNOWN", "PACKETS", "TASK_UNKNOWN", "Files", "load", "packet_array", "packet_key",
)  # fmt: skip

#: A row of the index. ids: bit i is set if the packet may hold a record with id mod 64 = i; tid: the task that runs
#: at its begin, or TASK_UNKNOWN; origin, base: ticks from which times are counted, and the ns there; the rest as in
#: `formats.loaded.Packet`, scale as num and den.
PACKETS: Final = np.dtype(
    [
        ("file", "<i4"), ("stream", "<i4"), ("cpu", "<i4"), ("tid", "<i4"), ("offset", "<i8"), ("first", "<i8"),
        ("content", "<i8"), ("begin", "<i8"), ("end", "<i8"), ("sequence", "<i8"), ("records", "<i8"), ("ids", "<u8"),
        ("base", "<i8"), ("origin", "<i8"), ("ticks", "<i8"), ("num", "<i8"), ("den", "<i8"),
    ]
)  # fmt: skip

ALL_IDS: Final = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
TASK_UNKNOWN: Final = -2
_MOST_OPEN: Final = 64
#: The end of a packet whose times only its records tell.
END_UNKNOWN: Final = -(1 << 63)


def _origin(packet: Packet) -> tuple[int, int]:
    ticks, ns = packet.origin or (packet.ticks, packet.begin)
    return ns, ticks


def packet_array(packets: Iterable[Packet]) -> np.ndarray:
    """Return packets as an array of dtype PACKETS, in their order."""
    rows = [
        (p.file, p.stream, p.cpu, TASK_UNKNOWN, p.offset, p.first, p.content, p.begin,
         END_UNKNOWN if p.end is None else p.end, p.sequence, p.records, ALL_IDS,
         *_origin(p), p.ticks, *p.scale)
        for p in packets
    ]  # fmt: skip
    return np.array(rows, PACKETS)


def packet_key(row: np.ndarray) -> tuple[int, int, int]:
    """Return what tells a packet from all others: file, offset, and CPU, as those that share a file share packets."""
    return int(row["file"]), int(row["offset"]), int(row["cpu"])


class Files:
    """Files that are open while something is read from them, a few dozen at most at a time."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open none yet."""
        self._paths = paths
        self._open: dict[int, BinaryIO] = {}

    def read_into(self, number: int, offset: int, view: memoryview) -> None:
        """Fill a view with bytes of file `number` from `offset` on; with zeros what the file no longer has.

        Raises:
            TraceError: it cannot be read any more.

        """
        try:
            self._read_into(number, offset, view)
        except OSError as error:
            path = self._paths[number]
            raise TraceError(f"{path}: {error.strerror}; it could be read when the trace was opened") from error

    def _read_into(self, number: int, offset: int, view: memoryview) -> None:
        handle = self._open.get(number)
        if handle is None:
            if len(self._open) == _MOST_OPEN:
                self.close()
            handle = self._open[number] = self._paths[number].open("rb", buffering=0)
        handle.seek(offset)
        done = 0
        while done < len(view):
            n = handle.readinto(view[done:])  # type: ignore[attr-defined]
            if not n:
                view[done:] = bytes(len(view) - done)
                return
            done += n

    def close(self) -> None:
        """Close all that are open."""
        while self._open:
            self._open.popitem()[1].close()


def load(files: Sequence[Path], packets: np.ndarray, buffer: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read packets (rows of the index) into one buffer.

    Returns the buffer (uint64) and where in it each packet begins, in bytes (a multiple of 8); what a file no longer
    has is zero. Behind the last packet are SLACK bytes.
    """
    sizes = (packets["content"] + 7) & ~7
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = int(ends[-1]) if sizes.size else 0
    if buffer is None or buffer.nbytes < total + SLACK:
        buffer = np.empty((total + SLACK) // 8, np.uint64)
    view = buffer.view(np.uint8).data
    opened = Files(files)
    try:
        for row, at in zip(packets, starts.tolist(), strict=True):
            opened.read_into(int(row["file"]), int(row["offset"]), view[at : at + int(row["content"])])
    finally:
        opened.close()
    return buffer, starts
