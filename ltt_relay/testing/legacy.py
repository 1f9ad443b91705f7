# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of K42's LTT and of LTTV's first container, made to order from records that a test gives."""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from ltt_relay.formats import k42, poly
from ltt_relay.formats.base import Event, Format
from ltt_relay.formats.classic_events import MAGIC
from ltt_relay.testing.classic import Record

__all__ = ("payload", "write_k42", "write_poly")

_NS: Final = 1_000_000_000
_TEXTS: Final = ("filename", "facility")


def payload(event: Event, fields: dict[str, Any]) -> bytes:
    """Return a payload's bytes; fields that are not given are 0, or empty, and lengths what they should be."""
    names = [member.name for member in event.payload.subcons if member.name]
    values: dict[str, Any] = dict.fromkeys(names, 0) | dict.fromkeys({*_TEXTS} & {*names}, "")
    values |= {"data": b""} if "data" in names else {}
    values |= fields
    if "length" in names:
        values["length"] = len(values["filename"].encode())
    if "data" in names:
        values["data_size"] = len(values["data"])
    return bytes(event.payload.build(values))


def _cpus(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for record in records:
        found.setdefault(record.cpu, []).append(record)
    return dict(sorted(found.items()))


def write_k42(
    directory: Path, records: Iterable[Record], clock: int = 4, buffer_size: int = 4096, details: int = (1 << 64) - 1
) -> list[Path]:
    """Write a file for each CPU: t000.trace …; clock, details: as `formats.k42.format_of` has them."""
    directory.mkdir(parents=True, exist_ok=True)
    form = k42.format_of(clock, details)
    files = []
    for cpu, found in _cpus(records).items():
        files.append(directory / f"t{cpu:03}.trace")
        files[-1].write_bytes(b"".join(_k42_buffers(form, found, cpu, buffer_size, details)))
    return files


def _k42_buffers(form: Format, records: list[Record], cpu: int, buffer_size: int, details: int) -> list[bytes]:
    by_name = {event.name: event for event in form.events}
    reserve = 8 + by_name["buffer_end"].payload.sizeof() + 12
    done: list[bytes] = []
    data = b""

    def piece(name: str, time: int, fields: dict[str, Any]) -> bytes:
        body = payload(by_name[name], fields)
        head = {"time": time // 1000 & 0xFFFF_FFFF, "event": by_name[name].id, "size": 8 + len(body)}
        return (bytes(k42.HEADER.build(head)) + body).ljust(8 + len(body) + -len(body) % 8, b"\0")

    def wall(time: int) -> dict[str, int]:
        return {"sec": time // _NS, "usec": time % _NS // 1000}

    def begin(time: int) -> bytes:
        data = piece("buffer_start", time, {**wall(time), "buffer_id": len(done)})
        if not done:
            start = {"magic": MAGIC, "arch_type": 7, "arch_variant": 5, "system_type": 1, "buffer_size": buffer_size,
                     "major": 2, "minor": 3, "cpu_id": cpu, "event_mask": (1 << 64) - 1,
                     "details_mask": details}  # fmt: skip
            data += piece("trace_start", time, start)
        return data

    def close(time: int) -> None:
        end = piece("buffer_end", time, wall(time))
        done.append((data + end).ljust(buffer_size - 4, b"\0") + _struct.pack(">I", buffer_size - len(data)))

    for record in records:
        data = data or begin(record.time)
        more = piece(record.event, record.time, record.fields)
        if len(data) + len(more) + reserve > buffer_size:
            close(record.time)
            data = begin(record.time)
        data += more
    close(records[-1].time)
    return done


def write_poly(
    directory: Path, records: Iterable[Record], order: str = "<", block: int = 4096, hz: int = 1_000_000_000,
    nsec: bool = False,
) -> Path:  # fmt: skip
    """Write a directory of LTTV's; hz: of the cycle counter; nsec: wall clocks have ns instead of us. Returns it."""
    form = poly.format_of(order)
    by_name = {event.name: event for event in form.events}
    for name in ("info", "eventdefs", "cpu"):
        (directory / name).mkdir(parents=True)
    endian = "BIG_ENDIAN" if order == ">" else "LITTLE_ENDIAN"
    (directory / "info" / "system.xml").write_text(
        f'<system \nnode_name="test" \nendian="{endian}" \nltt_block_size="{block}" \n>\n</system>\n'
    )
    (directory / "eventdefs" / "core.xml").write_text("<facility name=core>\n</facility>\n")

    def piece(name: str, time: int, fields: dict[str, Any]) -> bytes:
        event = by_name[name]
        body = payload(event, fields)
        if event.id >> 8:
            body = bytes([event.id >> 8]) + body[1:]
        if event.id & 0xFF == 11 and "filename" not in [member.name for member in event.payload.subcons]:
            body += b"\0"
        return _struct.pack(f"{order}HI", event.id & 0xFF, time * hz // _NS & 0xFFFF_FFFF) + body

    def wall(time: int, number: int) -> dict[str, int]:
        part = time % _NS
        return {"sec": time // _NS, "nsec": part if nsec else part // 1000, "cycle_count": time * hz // _NS % (1 << 64),
                "block_id": number}  # fmt: skip

    for cpu, found in _cpus(records).items():
        done: list[bytes] = []
        data = b""
        for record in found:
            data = data or piece("buffer_start", record.time, wall(record.time, len(done)))
            more = piece(record.event, record.time, record.fields)
            if len(data) + len(more) + 30 > block:
                end = piece("buffer_end", record.time, wall(record.time, len(done)))
                done.append((data + end).ljust(block - 4, b"\0") + _struct.pack(f"{order}I", block - len(data)))
                data = piece("buffer_start", record.time, wall(record.time, len(done)))
            data += more
        last = found[-1].time
        end = piece("buffer_end", last, wall(last, len(done)))
        done.append((data + end).ljust(block - 4, b"\0") + _struct.pack(f"{order}I", block - len(data)))
        (directory / "cpu" / str(cpu)).write_bytes(b"".join(done))
    return directory
