# SPDX-License-Identifier: GPL-2.0-or-later
"""The index: packet headers of all stream files as one array, without touching a record."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from ltt_relay.decode.errors import Problem
from ltt_relay.formats.layout import Blob, Scalar, members
from ltt_relay.formats.loaded import MAX_CPU, MAX_TIME
from ltt_relay.formats.ltt3 import HEADER_SIZE, MAGIC, PACKET

__all__ = ("HEADER", "INDEX", "index_file")


def _header_dtype() -> np.dtype:
    fields = []
    for member in members(PACKET):
        match member.kind:
            case Scalar(size=size, signed=signed):
                fields.append((member.name, f"<{'i' if signed else 'u'}{size}"))
            case Blob(size):
                fields.append((member.name, f"V{size}"))
    return np.dtype(fields)


#: The packet header as NumPy sees it: `formats.ltt3.PACKET`.
HEADER: Final = _header_dtype()
#: A row of the index: the header, the file's number, where the packet begins in it, and how many bytes of it are there.
INDEX: Final = np.dtype([*HEADER.descr, ("file", "<i4"), ("offset", "<i8"), ("there", "<i8"), ("content", "<i8")])

_SEARCH_CHUNK: Final = 1 << 20
#: Bits of the largest packet: 1 GiB, 16 times the largest sub-buffer.
_MAX_PACKET: Final = 1 << 33
_PACKET_SIZE: Final = struct.Struct("<Q")
_PACKET_SIZE_AT: Final = int(dict(HEADER.fields or {})["packet_size"][1])
assert HEADER.itemsize == HEADER_SIZE


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _sound(headers: np.ndarray, uuid: bytes | None) -> np.ndarray:
    """Return which of the headers can be ones."""
    h = headers
    content, size = h["content_size"], h["packet_size"]
    good = (h["magic"] == MAGIC) & (h["major"] == 3)
    if uuid is not None:
        good &= h["uuid"] == np.void(uuid)
    good &= (h["header_size"] >= HEADER_SIZE) & (h["header_size"] % 8 == 0)
    good &= (content % 8 == 0) & (size % 64 == 0) & (content <= size) & (size <= _MAX_PACKET)
    good &= (h["cpu_id"] <= MAX_CPU) & (content >= 8 * h["header_size"].astype(np.uint64))
    sound: np.ndarray = good & (h["timestamp_end"] >= h["timestamp_begin"]) & (h["timestamp_end"] <= MAX_TIME)
    return sound


def _wrong(header: np.ndarray, uuid: bytes | None) -> str:
    """Return what is wrong with a header, "" if nothing is."""
    if _sound(header, uuid)[0]:
        return ""
    h = header[0]
    if h["magic"] != MAGIC:
        return f"magic 0x{int(h['magic']):08X}"
    if h["major"] != 3:
        return f"version {int(h['major'])}.{int(h['minor'])}"
    if uuid is not None and h["uuid"].tobytes() != uuid:
        return f"uuid {h['uuid'].tobytes().hex()}"
    if h["timestamp_end"] < h["timestamp_begin"] or h["timestamp_end"] > MAX_TIME:
        return f"timestamps {int(h['timestamp_begin'])} to {int(h['timestamp_end'])}"
    return ", ".join(f"{name} {int(h[name])}" for name in ("header_size", "content_size", "packet_size", "cpu_id"))


def _find_next(file: BinaryIO, start: int, size: int, uuid: bytes | None) -> int:
    """Return where the next header may begin: at its UUID, or before its magic; `size` if nowhere."""
    needle, before = (uuid, 0) if uuid is not None else (MAGIC.to_bytes(4, "little"), 24)
    at, step = start + before, HEADER_SIZE
    while at < size:
        position = _read(file, at, step + len(needle) - 1).find(needle)
        if position >= 0:
            return at + position - before
        at += step
        step = min(2 * step, _SEARCH_CHUNK)  # the next may be near, however often it is asked for
    return size


def _regular(file: BinaryIO, size: int, number: int, uuid: bytes | None) -> np.ndarray | None:
    """Return the index of a file of whole packets, one behind the other; None if there is anything else in it."""
    begins, headers = [], []
    at = 0
    number_of = file.fileno()
    while at < size:
        header = os.pread(number_of, HEADER_SIZE, at)
        if len(header) < HEADER_SIZE:
            return None
        begins.append(at)
        headers.append(header)
        (bits,) = _PACKET_SIZE.unpack_from(header, _PACKET_SIZE_AT)
        if bits < 8 * HEADER_SIZE:
            return None
        at += bits // 8
    found = np.frombuffer(b"".join(headers), HEADER)
    if at != size or not _sound(found, uuid).all():
        return None
    rows = np.zeros(found.size, INDEX)
    for name in HEADER.names or ():
        rows[name] = found[name]
    rows["file"], rows["offset"] = number, begins
    rows["there"], rows["content"] = found["packet_size"] // 8, found["content_size"] // 8
    return rows


def index_file(path: Path, number: int, uuid: bytes | None, problems: list[Problem]) -> np.ndarray:
    """Return the packets of a file, dtype `INDEX`; what is not a packet becomes a problem.

    Raises:
        OSError: the file cannot be read.

    """
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        rows = _regular(file, size, number, uuid)
        return _damaged(file, path.name, size, number, uuid, problems) if rows is None else rows


def _damaged(
    file: BinaryIO, name: str, size: int, number: int, uuid: bytes | None, problems: list[Problem]
) -> np.ndarray:
    """Return the packets that can be found, and tell of all else.

    Where the next should begin and does not, the one before may be cut short, so it is looked for from there on.
    """
    rows: list[np.ndarray] = []
    at, behind = 0, 1
    while at < size:
        data = _read(file, at, HEADER_SIZE)
        header = np.frombuffer(data, HEADER) if len(data) == HEADER_SIZE else None
        if header is None:
            expected = f"a header of {HEADER_SIZE} bytes"
            problems.append(Problem(name, -1, len(rows), at, "truncated", expected, f"{len(data)} bytes"))
        elif wrong := _wrong(header, uuid):
            expected = f"a packet header (magic 0x{MAGIC:08X})"
            problems.append(Problem(name, -1, len(rows), at, "packet_header", expected, wrong))
        else:
            row = np.zeros(1, INDEX)
            for field in HEADER.names or ():
                row[field] = header[field]
            row["file"], row["offset"] = number, at
            rows.append(row)
            behind = at + 1
            at += int(header["packet_size"][0]) // 8
            if at <= size:
                continue
        at = _find_next(file, behind, size, uuid)
        behind = at + 1
    if not rows:
        return np.zeros(0, INDEX)
    found = np.concatenate(rows)
    sizes, contents = found["packet_size"].astype(np.int64) // 8, found["content_size"].astype(np.int64) // 8
    found["there"] = np.minimum(sizes, np.diff(found["offset"], append=size))
    found["content"] = np.minimum(contents, found["there"])
    # The padding of the last may be missing.
    for i in np.flatnonzero(found["there"] < np.r_[sizes[:-1], contents[-1]]):
        where, expected = int(found["offset"][i]), f"{sizes[i]} bytes of packet"
        cpu, there = int(found["cpu_id"][i]), f"{found['there'][i]} bytes"
        problems.append(Problem(name, cpu, int(i), where, "truncated", expected, there))
    whole: np.ndarray = found[found["there"] >= HEADER_SIZE]  # else its header is partly that of the next
    return whole
