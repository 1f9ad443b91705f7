# SPDX-License-Identifier: GPL-2.0-or-later
"""The records of kmod/samples/relayfs_sample.c: a client's own event in packets of LTT 3.0."""

from __future__ import annotations

from ltt_relay.formats.base import Event, Format, HeaderFraming, PacketClock, Packets, Stream
from ltt_relay.formats.fields import field, pad, struct, u32, u64
from ltt_relay.formats.ltt3 import MAGIC, PACKET, RECORD

SQUARE = struct(field("number", u32, "n"), pad(4), field("square", u64, "n * n"))

FORMAT = Format(
    "squares", (1, 0), PACKET,
    HeaderFraming(RECORD, id="id", length="length", time="timestamp", align=8),
    PacketClock(bits=32),
    (Stream(0, "squares", "the numbers of one CPU"),),
    (Event(1, "square", "sample", "custom", "a number and its square", SQUARE),),
    packets=Packets(
        size="packet_size", content="content_size", unit=1, begin="timestamp_begin", end="timestamp_end",
        cpu="cpu_id", lost="events_discarded", magic=("magic", MAGIC),
    ),
)  # fmt: skip
