# SPDX-License-Identifier: GPL-2.0-or-later
"""What a trace format is: headers, framing, clock and events, as data.

>>> from ltt_relay.formats.ltt3 import FORMAT
>>> FORMAT.event("sched_switch").ltt_class
'schedchange'
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

import construct

__all__ = (
    "Event", "Format", "Framing", "HeaderFraming", "LengthFraming", "Naming", "PacketClock", "Packets", "Stream",
    "Switch", "UnknownColumnError", "UnknownEventError", "unused",
)  # fmt: skip


def unused(name: str, suffix: int, taken: set[str]) -> str:
    """Return `name` with _`suffix` behind it as often as it takes to be none of `taken`, to which it is added."""
    while name in taken:
        name = f"{name}_{suffix}"
    taken.add(name)
    return name


class UnknownNameError(KeyError):
    """A name that there is not; the message lists near ones."""

    what: ClassVar = "name"

    def __init__(self, name: str, known: list[str], where: str) -> None:
        near = get_close_matches(str(name), known, n=3, cutoff=0.5)
        hint = f"; near: {', '.join(near)}" if near else ""
        super().__init__(name, known, where)
        self.message = f"no {self.what} {name!r} in {where}{hint}"

    def __str__(self) -> str:
        return self.message


class UnknownEventError(UnknownNameError):
    """An event name that the format (or the trace) does not have."""

    what = "event"


class UnknownColumnError(UnknownNameError):
    """A column that no event has."""

    what = "column"


@dataclass(frozen=True, slots=True)
class Stream:
    """A kind of stream file: `name` is the file name up to the CPU (`events` for events_0), `doc` what it carries.

    names: it carries what names need, no events.
    """

    id: int
    name: str
    doc: str
    names: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of record.

    group: what it is about (sched, irq, syscall, mm …), the same in all formats; ltt_class: the class that the old LTT
    would have put it in; tid: the payload field that holds the thread id of the task running when it was written, if
    there is one; provider: the kernel's tracepoint, None for records that a module writes by itself; time: the payload
    field that holds its time, where the record's header has none.
    """

    id: int
    name: str
    group: str
    ltt_class: str
    doc: str
    payload: construct.Struct
    stream: int = 0
    tid: str | None = None
    provider: str | None = None
    time: str | None = None


class Framing:
    """How the next record is found; the decoder has a walker for each subclass."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class LengthFraming(Framing):
    """Records that say their own length: `length` counts from the record's first byte, header included, padding not.

    The next record begins at the next multiple of `align` bytes from the packet's begin.
    """

    header: construct.Struct
    time: str
    id: str
    length: str
    align: int


@dataclass(frozen=True, slots=True)
class HeaderFraming(Framing):
    """Records behind a header of any layout, one behind the other.

    id, length, time: fields of the header. Without an id there is one kind of record; without a length a record is as
    long as its event's payload; without a time it is that of `Event.time`, or the packet's begin.
    extra: bytes of a record that its length does not count; skip: where the payload begins, from the record's begin
    (None: behind the header; 0: the payload's struct has the header in it); align: the next record begins at a multiple
    of this many bytes from the packet's begin; id_mask: the bits of the id that count; id_flag: (mask, value) adds
    value to the id if the bits of the mask are set; magic: (field, mask, value) that every header has.
    """

    header: construct.Struct
    id: str | None = None
    length: str | None = None
    time: str | None = None
    extra: int = 0
    skip: int | None = None
    align: int = 1
    id_mask: int = 0xFFFF
    id_flag: tuple[int, int] | None = None
    magic: tuple[str, int, int] | None = None
    cpu: str | None = None
    cpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PacketClock:
    """Record times are the low `bits` bits of a counter of `hz`; packet headers have its full value at their begin."""

    bits: int
    hz: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Packets:
    """How a file is cut into packets, for formats without a reader of their own: fields of the packet's header.

    size: bytes of every packet, or the field that says so; None: the whole file is one. content: bytes to the last
    record's end; begin, end: ticks of the clock; cpu: number; lost: records lost since the begin; unit: bytes are
    counted in this many bits. magic: (field, value) that every header has.
    """

    size: int | str | None = None
    content: str | None = None
    begin: str | None = None
    end: str | None = None
    cpu: str | None = None
    lost: str | None = None
    unit: int = 8
    magic: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Naming:
    """Records that tell a name: from its time on, `key` of `event` is called `name`; in `table`, "task" or "irq".

    before: (field, value): where the field has this value, the name held before as well; None: always so.
    without: (field, value): where the field has this value, the record tells of no name. key may be "tid": the running
    task; program: the name is a program's path, and its last part what the kernel calls the task, from then on.
    """

    table: str
    event: str
    key: str
    name: str
    before: tuple[str, int] | None = None
    without: tuple[str, int] | None = None
    program: bool = False


@dataclass(frozen=True, slots=True)
class Switch:
    """The event that says which task runs from now on: `previous` and `next` are its fields with thread ids."""

    event: str
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Format:
    """A trace format; `packet` is the construct Struct of a packet's header, None if packets have none."""

    name: str
    version: tuple[int, int]
    packet: construct.Struct | None
    framing: Framing
    clock: PacketClock
    streams: tuple[Stream, ...]
    events: tuple[Event, ...]
    switch: Switch | None = None
    namings: tuple[Naming, ...] = ()
    packets: Packets = Packets()

    def event(self, name: str) -> Event:
        """The event called `name`; raises `UnknownEventError`."""
        for event in self.events:
            if event.name == name:
                return event
        raise UnknownEventError(name, [event.name for event in self.events], f"format {self.name}")

    @property
    def event_streams(self) -> tuple[int, ...]:
        """The numbers of the kinds of stream that carry events."""
        return tuple(stream.id for stream in self.streams if not stream.names)

    def record(self, event: Event) -> construct.Struct:
        """Header and payload of `event` as one construct: the oracle's view of a record that says its own length."""
        framing = self.framing
        if not isinstance(framing, LengthFraming):
            raise TypeError(f"{self.name}: records are not made of a header with a length and a payload")
        size = framing.header.sizeof()

        def rest(context: construct.Container) -> int:
            length = context.header[framing.length]
            rest_size: int = length - size
            return rest_size

        return construct.Struct("header" / framing.header, "payload" / construct.FixedSized(rest, event.payload))
