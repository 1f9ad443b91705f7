# SPDX-License-Identifier: GPL-2.0-or-later
"""The index: packet headers of all stream files as one array, without touching a record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from ltt_relay.decode.errors import Problem
from ltt_relay.formats.layout import Blob, Scalar, members
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
assert HEADER.itemsize == HEADER_SIZE


def _read(file: BinaryIO, at: int, size: int) -> bytes:
    file.seek(at)
    return file.read(size)


def _plausible(header: np.ndarray, uuid: bytes | None) -> str:
    """Return what is wrong with a header, "" if nothing is."""
    h = header[0]
    if h["magic"] != MAGIC:
        return f"magic 0x{int(h['magic']):08X}"
    if h["major"] != 3:
        return f"version {int(h['major'])}.{int(h['minor'])}"
    if uuid is not None and h["uuid"].tobytes() != uuid:
        return f"uuid {h['uuid'].tobytes().hex()}"
    if h["header_size"] < HEADER_SIZE or h["header_size"] % 8:
        return f"header_size {int(h['header_size'])}"
    content, size = int(h["content_size"]), int(h["packet_size"])
    if content % 8 or size % 64 or content > size or content < 8 * int(h["header_size"]) or size > 1 << 40:
        return f"content_size {content}, packet_size {size}"
    if h["timestamp_end"] < h["timestamp_begin"] or h["timestamp_end"] >= 1 << 62:
        return f"timestamps {int(h['timestamp_begin'])} to {int(h['timestamp_end'])}"
    return ""


def _find_next(file: BinaryIO, start: int, size: int, uuid: bytes | None) -> int:
    """Return where the next header may begin: at its UUID, or before its magic; `size` if nowhere."""
    needle, before = (uuid, 0) if uuid is not None else (MAGIC.to_bytes(4, "little"), 24)
    at = start + before
    while at < size:
        chunk = _read(file, at, _SEARCH_CHUNK + len(needle) - 1)
        position = chunk.find(needle)
        while position >= 0:
            if (at + position - before) % 8 == 0:
                return at + position - before
            position = chunk.find(needle, position + 1)
        at += _SEARCH_CHUNK
    return size


def index_file(path: Path, number: int, uuid: bytes | None, problems: list[Problem]) -> np.ndarray:
    """Return the packets of a file, dtype `INDEX`; what is not a packet becomes a problem.

    Raises:
        OSError: the file cannot be read.

    """
    rows: list[np.ndarray] = []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = 0
        while at < size:
            data = _read(file, at, HEADER_SIZE)
            if len(data) < HEADER_SIZE:
                expected = f"a header of {HEADER_SIZE} bytes"
                problems.append(Problem(path.name, -1, len(rows), at, "truncated", expected, f"{len(data)} bytes"))
                break
            header = np.frombuffer(data, HEADER)
            wrong = _plausible(header, uuid)
            if wrong:
                expected = f"a packet header (magic 0x{MAGIC:08X})"
                problems.append(Problem(path.name, -1, len(rows), at, "packet_header", expected, wrong))
                at = _find_next(file, at + 8, size, uuid)
                continue
            row = np.zeros(1, INDEX)
            for name in HEADER.names or ():
                row[name] = header[name]
            packet = int(header["packet_size"][0]) // 8
            content = int(header["content_size"][0]) // 8
            there = min(packet, size - at)
            if there < content:
                cpu = int(header["cpu_id"][0])
                problems.append(
                    Problem(path.name, cpu, len(rows), at, "truncated", f"{packet} bytes of packet", f"{there} bytes")
                )
            row["file"], row["offset"], row["there"], row["content"] = number, at, there, min(content, there)
            rows.append(row)
            at += packet
    return np.concatenate(rows) if rows else np.zeros(0, INDEX)
