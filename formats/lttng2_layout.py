# SPDX-License-Identifier: GPL-2.0-or-later
"""Layout of LTTng 2.0 to 2.6 before CTF: sub-buffers and the slow way through their records; see `lttng2.py`."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import construct

from ltt_relay.formats.base import Framing
from ltt_relay.formats.fields import LITTLE, field, integer, struct
from ltt_relay.formats.layout import unpacker
from ltt_relay.formats.loaded import Problem
from ltt_relay.formats.lttng0_layout import empty

__all__ = (
    "ALIGNMENTS",
    "MAGIC",
    "CompactFraming",
    "Record",
    "SubBuffer",
    "alignments",
    "header_of",
    "machine",
    "sub_buffers",
    "walk",
)

MAGIC: Final = 0x00D6B7ED
TIME_BITS: Final = 27
#: What the 5 bits of id say beyond 28: id, size and full time follow; id and size; id.
FULL, SIZED, WIDE = 29, 30, 31
UNFINISHED: Final = 0xFFFF_FFFF
ALIGNMENTS: Final = {0, 1, 2, 4, 8, 16}


@dataclass(frozen=True, slots=True)
class CompactFraming(Framing):
    """Records behind a word of 5 bits of id and 27 of time.

    ids: for each stream (channel) the `Event.id` of each marker id, -1 for one that is not described; order: of bytes;
    alignment: of the word, 1 if packed; time_alignment: of the full time in a header of kind 29.
    """

    ids: tuple[tuple[int, ...], ...]
    payload_alignments: tuple[int, ...]
    order: str
    alignment: int
    time_alignment: int


@functools.cache
def header_of(minor: int, order: str) -> construct.Struct:
    """Return the header of a sub-buffer of version 2.`minor`."""
    u8, u32, u64 = (integer(bits, signed=False, order=order) for bits in (8, 32, 64))
    sized = minor >= 5
    members = [
        field("cycle_count_begin", u64, "time of the begin", unit="cycles"),
        field("cycle_count_end", u64, "time of the end", unit="cycles"),
        field("magic", u32, "0x00D6B7ED", hint="hex"),
        field("major", u8, "2"),
        field("minor", u8, "0 to 6"),
        field("arch_size", u8, "size of a pointer", unit="B"),
        field("alignment", u8, "largest alignment of a field; 0: fields are packed", unit="B"),
        field("start_time_sec", u64, "wall clock at the trace's begin", unit="s"),
        field("start_time_usec", u64, "and", unit="us"),
        field("start_freq", u64, "of the time stamp counter", unit="Hz"),
        field("freq_scale", u32, "that is to be divided by this"),
        field("data_size" if sized else "lost_size", u32, "bytes in use" if sized else "bytes not in use", unit="B"),
        field("sb_size" if sized else "buf_size", u32, "to the next sub-buffer", unit="B"),
    ]
    if minor >= 2:
        members.append(field("events_lost", u32, "records of this channel and CPU lost so far"))
        members.append(field("subbuf_corrupt", u32, "sub-buffers of it that were corrupt so far"))
    elif minor == 0:
        members.append(field("reserved", u32, "what the compiler added"))
    return struct(*members)


@functools.cache
def header_size(minor: int) -> int:
    """Return the bytes of such a header."""
    return int(header_of(minor, LITTLE).sizeof())


@functools.cache
def _reader(minor: int, order: str) -> Callable[..., Any]:
    return unpacker(header_of(minor, order))


def machine(header: Any) -> tuple[int, ...]:
    """Return what all headers of a trace have in common: without it, other records cannot be found either."""
    return header.minor, header.alignment, header.arch_size, header.start_freq, header.freq_scale


@dataclass(frozen=True, slots=True)
class SubBuffer:
    """A sub-buffer of a file: where, its header, and the bytes to its end and to the end of its records."""

    offset: int
    header: Any
    size: int
    content: int


class Record(NamedTuple):
    """A record as the slow reader finds it: offset in the file, marker id, full time, offset of the payload."""

    offset: int
    id: int
    time: int
    payload: int
    size: int | None


def sub_buffers(file: Path, order: str, cpu: int, problems: list[Problem]) -> Iterator[SubBuffer]:
    """Yield the sub-buffers of a file; what is not one ends it, as a problem."""
    with file.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        at = count = 0
        same: tuple[int, ...] | None = None
        while at < size:
            stream.seek(at)
            data = stream.read(72)
            wrong, header = "", None
            if len(data) < 60:
                wrong = f"{len(data)} bytes"
            else:
                minor = data[21]
                header = _reader(minor, order)(data.ljust(72, b"\0"))
                if header.magic != MAGIC or header.major != 2 or minor > 6:
                    wrong = f"magic 0x{header.magic:08X}, version {header.major}.{minor}"
                elif not header.start_freq:
                    wrong = "start_freq 0"
                elif header.alignment not in ALIGNMENTS or header.arch_size not in {4, 8}:
                    wrong = f"alignment {header.alignment}, pointers of {header.arch_size} bytes"
                elif same not in {None, machine(header)}:
                    wrong = f"version, alignment, pointer, clock {machine(header)}, not {same} as before"
                else:
                    same = machine(header)
            if wrong or header is None:
                expected = "a sub-buffer header (magic 0x00D6B7ED at byte 16), of the same machine as those before"
                code = "truncated" if len(data) < 60 else "packet_header"
                problems.append(Problem(file.name, cpu, count, at, code, expected, wrong))
                return
            sized = header.minor >= 5
            length = header.sb_size if sized else header.buf_size
            content = header.data_size if sized else length - header.lost_size
            first = header_size(header.minor)
            if length == UNFINISHED or content == UNFINISHED or (not sized and header.lost_size == UNFINISHED):
                expected = "a sub-buffer that was closed"
                problems.append(Problem(file.name, cpu, count, at, "unfinished", expected, "one that was not"))
                length = size - at if length == UNFINISHED else length
                stream.seek(at)
                content = empty(stream.read(min(length, size - at)), first)
            if length < first or not first <= content <= length:
                expected = f"a size of at least {first} bytes and no more in use"
                found = f"{length} bytes, {content} in use"
                problems.append(Problem(file.name, cpu, count, at, "packet_header", expected, found))
                return
            if length > size - at:
                expected, found = f"{length} bytes of sub-buffer", f"{size - at} bytes"
                problems.append(Problem(file.name, cpu, count, at, "truncated", expected, found))
                content = min(content, size - at)
            yield SubBuffer(at, header, length, content)
            at += length
            count += 1


def alignments(header: Any) -> tuple[int, int]:
    """Return the alignment of a record's word, and of a full time in its header."""
    if not header.alignment:
        return 1, 1
    if header.minor <= 3:
        cap = header.arch_size
    elif header.minor <= 5:
        cap = 8
    else:
        cap = header.alignment
    return 4, min(8, cap)


def walk(data: bytes, piece: SubBuffer, order: str, parse: Callable[[Record], int]) -> Iterator[Record]:
    """Yield the records of a sub-buffer the slow way; parse(record) returns where its payload ends.

    Raises:
        ValueError: a record goes beyond the sub-buffer's end.

    """
    header, begin, content = piece.header, piece.offset, piece.content
    first = header_size(header.minor)
    name: Literal["little", "big"] = "little" if order == LITTLE else "big"
    words, times = alignments(header)

    def up(at: int, alignment: int) -> int:
        return begin + -(-(at - begin) // alignment) * alignment

    def number(at: int, size: int) -> int:
        if at + size > begin + content:
            raise ValueError(f"a record at {at} goes beyond its sub-buffer's end at {begin + content}")
        return int.from_bytes(data[at : at + size], name)

    time = header.cycle_count_begin
    mask = (1 << TIME_BITS) - 1
    at = begin + first
    while up(at, words) + 4 <= begin + content:
        start = at = up(at, words)
        word = number(at, 4)
        id_, low = word >> TIME_BITS, word & mask
        at += 4
        size = None
        time = time - (time & mask) + low + ((mask + 1) if low < time & mask else 0)
        if id_ >= FULL:
            kind, id_ = id_, number(at, 2)
            at += 2
            if kind != WIDE:
                size = number(at, 2)
                at += 2
                if size == 0xFFFF:
                    size = number(at, 4)
                    at += 4
            if kind == FULL:
                at = up(at, times)
                time = number(at, 8)
                at += 8
        record = Record(start, id_, time, at, size)
        yield record
        at = parse(record)
