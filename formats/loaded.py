# SPDX-License-Identifier: GPL-2.0-or-later
"""What reading a trace's surroundings gives: its files, their packets, clock and names, before any record is touched.

A module of this package that reads a format has two functions, and its name stands in `ltt_relay.formats.registry`::

    def claims(path: Path) -> bool       is this file or directory a trace of mine? looks at a few bytes, never raises
    def load(path: Path) -> Loaded       its packets; damage becomes problems; raises LoadError if nothing can be read

The decoder (`ltt_relay.decode`) does the rest: it walks the packets as `Format.framing` says, orders the records of all
CPUs, and gathers the members of `Event.payload` into columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from uuid import UUID

from ltt_relay.formats.base import Format

__all__ = ("MAX_CPU", "MAX_TIME", "LoadError", "Loaded", "Name", "Packet", "Problem", "sum_losses")

#: The largest number of a CPU, and of ns, of ticks and of records lost, that a `Packet` may have.
MAX_CPU: Final = 0xFFFF
MAX_TIME: Final = (1 << 62) - 1


class LoadError(ValueError):
    """Nothing at the path can be read; the message says what was found, where, and what was expected."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row of `Trace.problems`: where, what was expected, what was found. `packet` is -1 for a whole file."""

    file: str
    cpu: int
    packet: int
    offset: int
    code: str
    expected: str
    found: str


@dataclass(slots=True)
class Packet:
    """A piece of a file whose records can be found from its begin alone; one sub-buffer, where the format has those.

    file: index in `Loaded.files`; offset: in the file; first, content: offsets from there of the first record and of
    the last record's end; cpu, stream: as in `Format.streams`; begin, end: ns of the trace's own clock, of the first
    and the last record as far as the header tells; end None: only the records tell; sequence: -1 if packets are not
    numbered; records: -1 if the header does not count them.

    ticks, scale: how a record's time becomes ns: begin + (time - ticks) * scale[0] // scale[1], where time is what the
    walker makes of the record (a full-width counter), and ticks the same counter at `begin`. origin: (ticks, ns) to
    count from instead, where the rounding at `begin` would show.
    lost: records of this stream lost before this packet's end, since the begin, by reason.
    """

    file: int
    offset: int
    first: int
    content: int
    cpu: int
    begin: int
    end: int | None
    stream: int = 0
    sequence: int = -1
    records: int = -1
    ticks: int = 0
    scale: tuple[int, int] = (1, 1)
    lost: dict[str, int] = field(default_factory=dict)
    origin: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Name:
    """From `time` on (ns of the trace's clock; None: always) `key` is called `name` in `table`, "task" or "irq"."""

    table: str
    key: int
    name: str
    time: int | None = None


@dataclass(slots=True)
class Loaded:
    """A trace as far as its headers and companions tell.

    wall_offset: wall clock minus the trace's own clock, ns; env: the host and the session, as text or int;
    names: of tasks and interrupts, from companions (.proc) or a state dump; details: what else `Trace.info` shows.
    """

    format: Format
    files: list[Path]
    packets: list[Packet]
    wall_offset: int = 0
    uuid: UUID | None = None
    env: dict[str, str | int] = field(default_factory=dict)
    names: list[Name] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    details: dict[str, str | int] = field(default_factory=dict)


def sum_losses(packets: Iterable[Packet]) -> None:
    """Make counters that each file has of its own those of its CPU: where all channels are one stream, they add up."""
    last: dict[tuple[int, str], int] = {}
    total: dict[tuple[int, str], int] = {}
    for packet in sorted(packets, key=lambda packet: packet.begin):
        for reason, count in packet.lost.items():
            grown = count - last.get((packet.file, reason), 0)
            last[packet.file, reason] = count
            total[packet.cpu, reason] = total.get((packet.cpu, reason), 0) + grown
        packet.lost = {reason: n for (cpu, reason), n in total.items() if cpu == packet.cpu}
