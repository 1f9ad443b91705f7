# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading a format that is nothing but a definition: what `Format.packets` and `Format.framing` say is all there is.

For formats of one's own; see docs/formats/own.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import construct

from ltt_relay.formats.base import Format, HeaderFraming
from ltt_relay.formats.loaded import MAX_CPU, MAX_TIME, Loaded, LoadError, Packet, Problem

__all__ = ("check", "load_plain")

_CPU = re.compile(r"(\d+)$")
_PIECE = 1 << 20


def load_plain(path: Path, format: Format) -> Loaded:  # noqa: A002
    """Return the packets of a file, or of all files in a directory but hidden ones.

    The CPU is what the packet's header says, else the number at the end of the file's name, else 0.

    Raises:
        LoadError: there is no file, or none of them has a packet.

    """
    check(format)
    files = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.is_file() and p.name[0] != ".")
    if not files:
        raise LoadError(f"{path}: no file to read; a file of {format.name}, or a directory of such files, was expected")
    loaded = Loaded(format, files, [])
    for number, file in enumerate(files):
        with file.open("rb") as stream:
            loaded.packets += _packets(format, stream, file, number, loaded.problems)
    if not loaded.packets and loaded.problems:
        first = loaded.problems[0]
        raise LoadError(
            f"{path}: no packet of {format.name}: {first.file}, offset {first.offset}: {first.expected} expected, "
            f"{first.found} found"
        )
    return loaded


def _packets(
    format: Format, stream: BinaryIO, file: Path, number: int, problems: list[Problem]  # noqa: A002
) -> Iterator[Packet]:  # fmt: skip
    size = stream.seek(0, 2)
    name = _CPU.search(file.name)
    cpu = int(name[1]) & 0xFFFF if name else 0
    rule = format.packets
    header = format.packet.sizeof() if format.packet else 0
    if format.packet is None and rule.size is None:
        yield from _pieces(format, size, number, cpu)
        return
    at = count = 0
    while at < size:
        stream.seek(at)
        data = stream.read(header)
        wrong = "" if len(data) == header else f"{len(data)} bytes"
        fields: Any = {}
        if not wrong and format.packet:
            try:
                fields = format.packet.parse(data)
            except construct.ConstructError as error:
                wrong = str(error).splitlines()[-1]
        if not wrong and rule.magic and fields[rule.magic[0]] != rule.magic[1]:
            wrong = f"{rule.magic[0]} 0x{fields[rule.magic[0]]:X}"
        length, content = size - at, size - at
        if not wrong:
            length = _bytes(rule.size, fields, rule.unit, size - at)
            content = min(_bytes(rule.content, fields, rule.unit, length), length, size - at)
            if length < max(header, 1) or content < header:
                wrong = f"a packet of {length} bytes with {content} in use"
        wrong = wrong or _impossible(format, fields)
        if wrong:
            expected = f"a packet header of {header} bytes"
            problems.append(Problem(file.name, cpu, count, at, "packet_header", expected, wrong))
            return
        if length > size - at:
            expected = f"{length} bytes of packet"
            problems.append(Problem(file.name, cpu, count, at, "truncated", expected, f"{size - at} bytes"))
        yield _packet(format, fields, number, at, header, content, fields.get(rule.cpu, cpu) if rule.cpu else cpu)
        at += length
        count += 1


def _impossible(format: Format, fields: Any) -> str:  # noqa: A002
    """Return what is told of the packet and cannot be, "" if nothing."""
    rule, ticks = format.packets, MAX_TIME * format.clock.hz // 1_000_000_000
    most = {rule.cpu: MAX_CPU, rule.begin: ticks, rule.end: ticks, rule.lost: MAX_TIME}
    return next((f"{n} {fields[n]}" for n, limit in most.items() if n and not 0 <= fields[n] <= limit), "")


def _bytes(rule: int | str | None, fields: Any, unit: int, otherwise: int) -> int:
    if rule is None:
        return otherwise
    return rule if isinstance(rule, int) else int(fields[rule]) * unit // 8


def _packet(
    format: Format, fields: Any, number: int, at: int, header: int, content: int, cpu: int  # noqa: A002
) -> Packet:  # fmt: skip
    rule, hz = format.packets, format.clock.hz
    ticks = int(fields[rule.begin]) if rule.begin else 0
    last = int(fields[rule.end]) * 1_000_000_000 // hz if rule.end else None
    ns = 1_000_000_000
    return Packet(
        number, at, header, content, cpu, ticks * ns // hz, last, ticks=ticks,
        scale=(1, 1) if hz == ns else (ns, hz), lost={"lost": int(fields[rule.lost])} if rule.lost else {},
    )  # fmt: skip


def _pieces(format: Format, size: int, number: int, cpu: int) -> Iterator[Packet]:  # noqa: A002
    """A file without packets: cut at a record's end where all records have one size, else whole."""
    framing = format.framing
    piece = size
    if isinstance(framing, HeaderFraming) and not framing.length and len(format.events) == 1 and framing.align == 1:
        try:
            skip = framing.header.sizeof() if framing.skip is None else framing.skip
            record = skip + format.events[0].payload.sizeof()
            piece = max(_PIECE // record, 1) * record
        except construct.SizeofError:
            piece = size
    for at in range(0, size, max(piece, 1)):
        yield _packet(format, {}, number, at, 0, min(piece, size - at), cpu)


def check(format: Format) -> None:  # noqa: A002
    """Refuse a definition that this reader cannot follow.

    Raises:
        LoadError: its framing needs a reader of its own.

    """
    if not isinstance(format.framing, HeaderFraming):
        raise LoadError(f"{format.name}: framing {type(format.framing).__name__}; HeaderFraming was expected")
