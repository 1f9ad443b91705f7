# SPDX-License-Identifier: GPL-2.0-or-later
"""LTTV's first container (2003 to 2005): LTT's events, converted, in a directory with their descriptions.

    info/system.xml     attributes of the machine and the trace      eventdefs/core.xml   what the events hold
    cpu/N               blocks of one size, a CPU's records          control/             the same, often empty

A record is id u16, time u32 (the low half of a cycle counter), and the event's struct; nothing says its length. A block
begins with event 17 and ends with event 18, both with the wall clock and the whole counter.
"""

from __future__ import annotations

import re
import struct as _struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from ltt_relay.formats.base import Event, Format, PacketClock, Stream, Switch
from ltt_relay.formats.classic_events import KINDS, PROGRAMS, Slot, events, layout, size
from ltt_relay.formats.classic_walk import ClassicFraming, Shape, classic_records, find_end
from ltt_relay.formats.fields import cstring, field, integer, struct
from ltt_relay.formats.layout import unpacker
from ltt_relay.formats.loaded import Loaded, LoadError, Packet, Problem
from ltt_relay.formats.oracle import Parsed, parse

__all__ = ("claims", "format_of", "load", "records")

BLOCK_START: Final = 17
BLOCK_END: Final = 18

_ATTRIBUTE: Final = re.compile(rb'(\w+)\s*=\s*"([^"]*)"')
_MOST: Final = 1 << 16
_ENVIRONMENT: Final = {
    "node_name": "hostname", "kernel_name": "sysname", "kernel_release": "release", "kernel_version": "version",
    "machine": "arch",
}  # fmt: skip


def _own_events(order: str) -> Iterator[Event]:
    """Yield the events that LTT itself does not have."""
    u32, u64 = (integer(bits, signed=False, order=order) for bits in (32, 64))
    pid = integer(32, signed=True, order=order)
    clock = (
        field("sec", u32, "wall clock", unit="s"),
        field("nsec", u32, "and ns; us from the oldest converter"),
        field("cycle_count", u64, "cycle counter then"),
    )
    block = field("block_id", u32, "number of the block")
    yield Event(
        0, "facility_load", "ltt", "custom", "a set of events is used",
        struct(field("facility", cstring(), "its name"), field("checksum", u32, "of its description", hint="hex"),
               field("base_code", u32, "id of its first event")),
    )  # fmt: skip
    yield Event(17, "buffer_start", "ltt", "custom", "a block begins", struct(*clock, block))
    yield Event(18, "buffer_end", "ltt", "custom", "a block ends", struct(*clock, block))
    yield Event(19, "heartbeat", "ltt", "custom", "time goes on", struct(*clock))
    yield Event(
        20, "process_fork", "sched", "process", "a task is made, as the converter tells it",
        struct(field("child_pid", pid, "thread id of the new task", names=("task", "child_comm")),
               field("child_tgid", pid, "its thread group id")),
    )  # fmt: skip
    yield Event(
        21, "process_exit", "sched", "process", "a task ends, as the converter tells it",
        struct(field("pid", pid, "its thread id", names=("task", "event_comm")), field("tgid", pid, "its group's")),
    )  # fmt: skip


def format_of(order: str) -> Format:
    """Return the format in a byte order."""
    layouts = {number: slots for number, slots in layout().items() if 1 <= number <= 16}
    # The pointer is gone, and every record of a file has its name, empty if LTT told none.
    layouts[11] = tuple(slot for slot in layouts[11] if not slot.pointer)
    own = {0: 0, 17: 20, 18: 20, 19: 16, 20: 8, 21: 8}
    shapes = {number: Shape(length) for number, length in own.items()}
    shapes[0] = Shape(0, text=True, tail=8)
    for number, slots in layouts.items():
        sub = bool(slots) and slots[0] == Slot("sub_id", 1)
        shapes[number] = Shape(size(slots), sub, text=number == 11)
    framing = ClassicFraming(order, shapes, id_size=2, sizes=False, cycles=True)
    found = (*events(KINDS, layouts, order), *_own_events(order))
    stream = Stream(0, "cpu", "what happened on one CPU")
    switch = Switch("sched_switch", "prev_pid", "next_pid")
    return Format("LTTV", (2, 2), None, framing, PacketClock(32), (stream,), found, switch=switch, namings=(PROGRAMS,))


def _attributes(path: Path) -> dict[str, str]:
    """Return the attributes of info/system.xml, which is not quite XML."""
    with (path / "info" / "system.xml").open("rb") as file:
        found = _ATTRIBUTE.findall(file.read(_MOST))
    return {key.decode(): value.decode("utf-8", "backslashreplace") for key, value in found}


def _root(path: Path) -> Path | None:
    """Return the directory of a trace that `path` is or is a file of."""
    for root in (path, path.parent.parent) if path.is_file() else (path,):
        if (
            all((root / name).is_file() for name in ("info/system.xml", "eventdefs/core.xml"))
            and (root / "cpu").is_dir()
        ):
            return root
    return None


def claims(path: Path) -> bool:
    """Return whether it is such a directory, with a block at a file's begin, or one of its files."""
    root = _root(path)
    if root is None:
        return False
    for file in (root / "cpu").iterdir():
        if file.is_file():
            with file.open("rb") as stream:
                if stream.read(2) in {b"\x11\0", b"\0\x11"}:
                    return True
    return False


def load(path: Path) -> Loaded:
    """Return the blocks of all CPUs.

    Raises:
        LoadError: the size of a block is not told, or cannot be.

    """
    root = _root(path) or path
    told = _attributes(root)
    order = ">" if told.get("endian") == "BIG_ENDIAN" else "<"
    try:
        block = int(told["ltt_block_size"])
    except (KeyError, ValueError):
        raise LoadError(f"{root}/info/system.xml: no ltt_block_size; the bytes of a block were expected") from None
    if not 64 <= block <= 1 << 31:
        raise LoadError(f"{root}/info/system.xml: ltt_block_size is {block}; 64 bytes or more were expected")
    files = sorted((file for file in (root / "cpu").iterdir() if file.is_file()), key=lambda f: (len(f.name), f.name))
    loaded = Loaded(format_of(order), files, [])
    loaded.env = {new: told[old] for old, new in _ENVIRONMENT.items() if old in told}
    loaded.details = {"byte_order": "little" if order == "<" else "big", "clock": "cycles"}
    ends: list[tuple[Packet, Any, Any]] = []
    clock = unpacker(loaded.format.event("buffer_start").payload)
    for number, file in enumerate(files):
        cpu = int(file.name) & 0xFFFF if file.name.isdecimal() else 0
        with file.open("rb") as stream:
            for at in range(0, file.stat().st_size, block):
                found = _packet(stream, at, min(block, file.stat().st_size - at), block, loaded, number, cpu, clock)
                if found:
                    ends.append(found)
    # Its first version wrote us where ns belong; ns below a million everywhere do not happen.
    unit = 1000 if all(clock.nsec < 1_000_000 for _, *both in ends for clock in both if clock) else 1
    loaded.details["nsec"] = "microseconds" if unit == 1000 else "nanoseconds"
    for packet, start, end in ends:
        packet.begin = start.sec * 1_000_000_000 + start.nsec * unit
        packet.end = end.sec * 1_000_000_000 + end.nsec * unit if end else None
        if packet.end is not None and packet.end < packet.begin:
            expected = f"an end at {packet.begin} ns or later"
            loaded.problems.append(
                Problem(files[packet.file].name, packet.cpu, packet.sequence, packet.offset, "time_backward", expected,
                        str(packet.end))
            )  # fmt: skip
            packet.end = None
        loaded.packets.append(packet)
    _give_rates(ends)
    return loaded


def _packet(
    stream: BinaryIO,
    at: int,
    room: int,
    block: int,
    loaded: Loaded,
    number: int,
    cpu: int,
    read_clock: Callable[..., Any],
) -> tuple[Packet, Any, Any] | None:
    """Return a block, and what its first and last record say; None for the last if there is none."""
    framing = loaded.format.framing
    assert isinstance(framing, ClassicFraming)
    order, name = framing.order, loaded.files[number].name
    length = framing.length(BLOCK_START)
    sequence = at // block

    def problem(code: str, expected: str, found: str) -> None:
        loaded.problems.append(Problem(name, cpu, sequence, at, code, expected, found))

    def clock(place: int, number: int) -> Any:
        stream.seek(at + place)
        data = stream.read(length)
        whole = len(data) == length and _struct.unpack_from(f"{order}H", data)[0] == number
        return read_clock(data, framing.head) if whole else None

    start = clock(0, BLOCK_START)
    if start is None:
        problem("packet_header", "event 17, a block's begin", "something else")
        return None
    if room == block:
        stream.seek(at + block - 4)
        lost = _struct.unpack(f"{order}I", stream.read(4))[0]
        if length + 4 <= lost <= block - length and (end := clock(block - lost, BLOCK_END)):
            return Packet(number, at, 0, block - lost + length, cpu, 0, None, sequence=start.block_id), start, end
        problem("packet_trailer", "the distance to the block's end", str(lost))
    else:
        problem("truncated", f"{block} bytes of block", f"{room} bytes")
    stream.seek(at)
    data = stream.read(room if room < block else block - 4)
    content = find_end(framing, data)
    last = clock(content - length, BLOCK_END) if content else None
    return Packet(number, at, 0, content or len(data), cpu, 0, None, sequence=start.block_id), start, last


def _give_rates(ends: list[tuple[Packet, Any, Any]]) -> None:
    """A block without an end takes the rate of the clock from any that has one."""
    rates = [
        ((packet.end - packet.begin << 24) // (end.cycle_count - start.cycle_count), 1 << 24)
        for packet, start, end in ends
        if packet.end is not None and end.cycle_count > start.cycle_count
    ]
    for packet, _, _ in ends:
        if packet.end is None:
            packet.scale = next((rate for rate in rates if 0 < rate[0] < 1 << 31), (1000 * (1 << 24) // 400, 1 << 24))


def records(path: Path) -> Iterator[Parsed]:
    """Yield the records as `formats.oracle` has it."""
    return parse(load(path), classic_records)
