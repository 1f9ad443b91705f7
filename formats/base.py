# SPDX-License-Identifier: GPL-2.0-or-later
"""What a trace format is: headers, framing, clock and events, as data.

>>> from ltt_relay.formats.ltt3 import FORMAT
>>> FORMAT.event("sched_switch").ltt_class
'schedchange'
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import construct

__all__ = ("Event", "Format", "LengthFraming", "PacketClock", "Stream", "Switch", "UnknownEventError")


class UnknownEventError(KeyError):
    """An event name that the format (or the trace) does not have; the message lists near names."""

    def __init__(self, name: str, known: list[str], where: str) -> None:
        near = get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; near: {', '.join(near)}" if near else ""
        super().__init__(name)
        self.message = f"no event {name!r} in {where}{hint}"

    def __str__(self) -> str:
        return self.message


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

    group: the kernel's own grouping (sched, irq …); ltt_class: the class that the old LTT would have put it in;
    tid: the payload field that holds the thread id of the task running when it was written, if there is one;
    provider: the kernel's tracepoint, None for records that a module writes by itself.
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


@dataclass(frozen=True, slots=True)
class LengthFraming:
    """Records that say their own length: `length` counts from the record's first byte, header included, padding not.

    The next record begins at the next multiple of `align` bytes from the packet's begin.
    """

    header: construct.Struct
    time: str
    id: str
    length: str
    align: int


@dataclass(frozen=True, slots=True)
class PacketClock:
    """Record times are the low `bits` bits of a ns counter whose full value at the packet's begin is in its header."""

    bits: int


@dataclass(frozen=True, slots=True)
class Switch:
    """The event that says which task runs from now on: `previous` and `next` are its fields with thread ids."""

    event: str
    previous: str
    next: str


@dataclass(frozen=True, slots=True)
class Format:
    """A trace format; `packet` is the construct Struct of a packet's header."""

    name: str
    version: tuple[int, int]
    packet: construct.Struct
    framing: LengthFraming
    clock: PacketClock
    streams: tuple[Stream, ...]
    events: tuple[Event, ...]
    switch: Switch | None = None

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
        """Header and payload of `event` as one construct: the oracle's view of a record."""
        return construct.Struct(
            "header" / self.framing.header, "payload" / construct.FixedSized(self._rest, event.payload)
        )

    def _rest(self, context: construct.Container) -> int:
        size: int = context.header[self.framing.length] - self.framing.header.sizeof()
        return size
