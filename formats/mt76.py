# SPDX-License-Identifier: GPL-2.0-or-later
"""Firmware logs of MediaTek's wireless drivers (mt7915, mt7996), through relay: `fwlog_data` in debugfs.

A length in the host's byte order, here little endian, then that many bytes: a header, little endian, and data that
only the firmware's makers understand. Layout: drivers/net/wireless/mediatek/mt76/mt7915/debugfs.c and
mt7996/debugfs.c of Linux. The header's time is a counter of the card; its unit is not documented and taken for us.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ltt_relay.formats import plain
from ltt_relay.formats.base import Event, Format, HeaderFraming, PacketClock, Stream
from ltt_relay.formats.fields import Field, field, rest, struct, u8, u16, u32
from ltt_relay.formats.loaded import Loaded, LoadError

__all__ = ("MAGICS", "claims", "format_of", "load")

#: Chip to the magic number of its records.
MAGICS: Final = {"mt7915": 0x44E98CAF, "mt7996": 0x44D9C99A}


def format_of(chip: str) -> Format:
    """Return the format of a chip's log, one of MAGICS."""
    numbered: tuple[Field, ...] = ()
    if chip == "mt7996":
        numbered = (field("version", u8, "of the header"), field("reserved", u8, ""), field("serial_id", u16, "counts"))
    payload = struct(
        *numbered,
        field("time", u32, "the card's counter"),
        field("msg_type", u16, "kind of message"),
        field("len", u16, "of its data", unit="B"),
        field("data", rest(), "what the firmware says"),
    )
    header = struct(field("length", u32, "of what follows", unit="B"), field("magic", u32, "of the chip", hint="hex"))
    framing = HeaderFraming(header, length="length", extra=4, magic=("magic", 0xFFFF_FFFF, MAGICS[chip]))
    doc = "a message of the firmware"
    return Format(
        f"{chip} log", (1, 0), None, framing, PacketClock(32, hz=1_000_000), (Stream(0, "fwlog_data", "messages"),),
        (Event(0, "fw_log", "wireless", "network", doc, payload, time="time"),),
    )  # fmt: skip


def _chip(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            begin = file.read(8)
    except OSError:
        return None
    return next((chip for chip, magic in MAGICS.items() if begin[4:] == magic.to_bytes(4, "little")), None)


def claims(path: Path) -> bool:
    """Return whether it is a file of such a log."""
    return path.is_file() and _chip(path) is not None


def load(path: Path) -> Loaded:
    """Return the file as one packet.

    Raises:
        LoadError: it does not begin with a record of a chip that is known here.

    """
    chip = _chip(path)
    if chip is None:
        raise LoadError(f"{path}: no firmware log of {', '.join(MAGICS)}: another magic number at byte 4")
    return plain.load_plain(path, format_of(chip))
