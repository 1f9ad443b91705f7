# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing traces of blktrace: what no sample has, such as version 8 and big-endian machines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ltt_relay.formats import blktrace
from ltt_relay.formats.base import HeaderFraming
from ltt_relay.formats.fields import LITTLE, integer

__all__ = ("action_of", "record", "write_blktrace")


def action_of(event: str, categories: int = 0) -> int:
    """Return the action of an event by its name in frames, with category bits such as `CATEGORIES["write"]`."""
    for what, (_, name, _) in blktrace.ACTIONS.items():
        if name == event:
            return what | categories
    for what, (_, name, _) in blktrace.NOTES.items():
        if name == event:
            return what | blktrace.NOTIFY | categories
    raise ValueError(f"blktrace has no event {event!r}")


def record(values: Mapping[str, Any], version: int = 7, order: str = LITTLE, pdu: bytes | None = None) -> bytes:
    """Return one record: `values` has "event" (its name) and fields by name; `pdu`: other bytes behind the header."""
    format_ = blktrace.format_of(version, order)
    framing = format_.framing
    assert isinstance(framing, HeaderFraming)
    event = format_.event(str(values["event"]))
    header = framing.header
    categories = int(values.get("categories", 0))
    fields: dict[str, Any] = {member.name: values.get(member.name, 0) for member in header.subcons if member.name}
    fields |= {"magic": blktrace.MAGIC | version, "action": action_of(event.name, categories)}
    behind = pdu if pdu is not None else b""
    for member in event.payload.subcons[len(header.subcons) :] if pdu is None else ():
        if member.name == "cgroup" and not categories & blktrace.CATEGORIES["cgroup"]:
            continue
        kind = integer(64, signed=False, order=order) if member.name == "cgroup" else member
        behind += kind.build(values.get(member.name, "" if member.name in {"name", "text"} else 0))
    return bytes(header.build({**fields, "pdu_len": len(behind)})) + behind


def write_blktrace(
    path: str | Path, records: Iterable[Mapping[str, Any]], version: int = 7, order: str = LITTLE
) -> Path:  # fmt: skip
    """Write `path`.blktrace.N for each CPU N that the records name ("cpu", 0 if not); returns the first file."""
    files: dict[int, bytearray] = {0: bytearray()}
    for values in records:
        files.setdefault(int(values.get("cpu", 0)), bytearray()).extend(record(values, version, order))
    for cpu, data in files.items():
        Path(f"{path}.blktrace.{cpu}").write_bytes(data)
    return Path(f"{path}.blktrace.0")
