# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets of all files as one array, and reading some of them into memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from ltt_relay.formats.loaded import Packet

__all__ = ("ALL_IDS", "END_UNKNOWN", "PACKETS", "TASK_UNKNOWN", "load", "packet_array", "packet_key")

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


def load(files: Sequence[Path], packets: np.ndarray, buffer: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read packets (rows of the index) into one buffer.

    Returns the buffer (uint64) and where in it each packet begins, in bytes (a multiple of 8); what a file no longer
    has is zero. Behind the last packet are at least 8 bytes.
    """
    sizes = (packets["content"] + 7) & ~7
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = int(ends[-1]) if sizes.size else 0
    if buffer is None or buffer.nbytes < total + 8:
        buffer = np.empty(total // 8 + 2, np.uint64)
    view = buffer.view(np.uint8).data
    order = np.lexsort((packets["offset"], packets["file"]))
    current, handle = -1, None
    try:
        for i in order:
            number = int(packets["file"][i])
            if number != current:
                if handle:
                    handle.close()
                handle, current = files[number].open("rb", buffering=0), number
            assert handle is not None
            begin, want = int(starts[i]), int(packets["content"][i])
            handle.seek(int(packets["offset"][i]))
            done = 0
            while done < want:
                n = handle.readinto(view[begin + done : begin + want])
                if not n:
                    view[begin + done : begin + want] = bytes(want - done)
                    break
                done += n
    finally:
        if handle:
            handle.close()
    return buffer, starts
