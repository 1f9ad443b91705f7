# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay dump``: records as construct sees them; independent of the fast decoder, and its oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command", "records")


@click.command("dump", short_help=COMMANDS["dump"])
@click.argument("trace", type=click.Path(path_type=Path, exists=True))
@click.option("--packet", type=click.IntRange(min=0), metavar="N", help="Only the N-th packet of each file.")
def command(trace: Path, packet: int | None) -> None:
    """Print every record of TRACE (a directory or one stream file) with its offset, field by field.

    Slow on purpose: each record goes through the format's construct definition.
    """
    files = [trace] if trace.is_file() else sorted(p for p in trace.iterdir() if p.is_file() and p.name != "metadata")
    for path in files:
        if path.name.startswith("."):
            continue
        for number, offset, kind, fields in records(path.read_bytes()):
            if packet is not None and number != packet:
                continue
            text = " ".join(f"{name}={value}" for name, value in fields.items())
            click.echo(f"{path.name} packet {number} offset {offset} {kind}: {text}")


def _plain(container: Any) -> dict[str, Any]:
    plain = {}
    for name, value in container.items():
        if name.startswith("_"):
            continue
        if isinstance(value, bytes):
            value = value.hex()
        elif isinstance(value, dict):
            value = "|".join(flag for flag, on in value.items() if on is True and flag[0] != "_") or 0
        plain[name] = value
    return plain


def records(data: bytes) -> Any:
    """Yield (packet, offset, event name or "packet", fields) of a stream file's bytes.

    What cannot be parsed is yielded as kind "damage", with what construct says.
    """
    import construct

    from ltt_relay.formats.ltt3 import EVENTS, FORMAT, HEADER_SIZE, MAGIC, PACKET, RECORD

    by_id = {event.id: (event, FORMAT.record(event)) for event in EVENTS}
    at = number = 0
    while at + HEADER_SIZE <= len(data):
        header = PACKET.parse(data[at : at + HEADER_SIZE])
        size, content = header.packet_size // 8, header.content_size // 8
        if header.magic != MAGIC or size < HEADER_SIZE or content > size:
            yield number, at, "damage", {"found": f"magic 0x{header.magic:08X}, packet_size {header.packet_size}"}
            return
        yield number, at, "packet", _plain(header)
        place, end = at + header.header_size, min(at + content, len(data))
        while place + RECORD.sizeof() <= end:
            head = RECORD.parse(data[place : place + RECORD.sizeof()])
            if head.length < RECORD.sizeof() or place + head.length > end:
                yield number, place, "damage", {"found": f"record length {head.length}"}
                break
            if head.id in by_id:
                event, record = by_id[head.id]
                try:
                    parsed = record.parse(data[place : place + head.length])
                    yield number, place, event.name, {"timestamp": head.timestamp, **_plain(parsed.payload)}
                except construct.ConstructError as error:
                    yield number, place, "damage", {"event": event.name, "found": str(error).splitlines()[-1]}
            else:
                yield number, place, "unknown", {"id": head.id, "length": head.length}
            place += (head.length + 7) & ~7
        at += size
        number += 1
