# SPDX-License-Identifier: GPL-2.0-or-later
"""What the definitions of events share: fields that many have, and a short way to write an event down."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.base import Event
from ltt_relay.formats.fields import Field, field, i32, struct, u32, u64

__all__ = ("TASK_COMM_LEN", "TID", "address", "device", "pid", "tracepoint")

TASK_COMM_LEN: Final = 16

#: Records whose subject is the running task carry it, so that no other record is needed to know it.
TID: Final = field("tid", i32, "the running task", names=("task", "comm"))


def pid(name: str, doc: str, comm: str) -> Field:
    """A task that the event is about; the decoder adds its name as column `comm`."""
    return field(name, i32, doc, names=("task", comm))


def address(name: str, doc: str) -> Field:
    """A kernel address: it tells two objects apart, or is a function's, as /proc/kallsyms has it."""
    return field(name, u64, doc, hint="hex")


def device(name: str = "dev", doc: str = "block device: major number times 2**20, plus minor number") -> Field:
    """A device number as the kernel keeps it."""
    return field(name, u32, doc, hint="hex")


def tracepoint(
    id: int,  # noqa: A002
    name: str,
    ltt_class: str,
    doc: str,
    *fields: Field,
    tid: str | None = None,
) -> Event:
    """An event of a tracepoint, `name` as ``group:name``; `tid` is the field of the running task, if not `TID`."""
    group, _, event = name.partition(":")
    if tid is None and any(member is TID for member in fields):
        tid = "tid"
    return Event(id, event, group, ltt_class, doc, struct(*fields), tid=tid, provider=event)
