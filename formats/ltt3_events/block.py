# SPDX-License-Identifier: GPL-2.0-or-later
"""Block devices: what is asked of them (bio), what is sent to them (request), and when it is done."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import enum, field, flags, i32, u8, u16, u32, u64
from ltt_relay.formats.ltt3_events.common import TID, device, tracepoint

__all__ = ("BLOCK_FLAGS", "BLOCK_OPS", "EVENTS")

#: Numbers of our own, as the kernel's change.
BLOCK_OPS: Final = {
    "read": 0, "write": 1, "flush": 2, "discard": 3, "secure_erase": 4, "write_zeroes": 5, "driver_in": 6,
    "driver_out": 7, "other": 255,
}  # fmt: skip
BLOCK_FLAGS: Final = {"preflush": 1, "fua": 2, "ahead": 4, "sync": 8, "meta": 16}

_WHERE = (
    device(),
    field("nr_sector", u32, "how many sectors of 512 bytes"),
    field("sector", u64, "the first of them"),
    field("op", enum(u8, BLOCK_OPS), "what is to be done"),
    field("flags", flags(u8, BLOCK_FLAGS), "how", hint="hex"),
)
_BIO = (*_WHERE, field("reserved", u16, "0"), TID)

EVENTS: Final = (
    tracepoint(96, "block:block_bio_queue", "file_system", "a transfer is asked of a block device", *_BIO),
    tracepoint(97, "block:block_bio_backmerge", "file_system", "a transfer is joined behind one that waits", *_BIO),
    tracepoint(98, "block:block_bio_frontmerge", "file_system", "a transfer is joined before one that waits", *_BIO),
    tracepoint(99, "block:block_getrq", "file_system", "a transfer gets a request of its own", *_BIO),
    tracepoint(100, "block:block_split", "file_system", "a transfer is too large and split", *_BIO,
               field("new_sector", u64, "where the second part begins")),
    tracepoint(
        101, "block:block_bio_remap", "file_system", "a transfer goes on to the device below: a partition's disk",
        *_BIO,
        device("old_dev", "device it was asked of"),
        field("reserved2", u32, "0"),
        field("old_sector", u64, "its first sector there"),
    ),
    tracepoint(
        102, "block:block_bio_complete", "file_system", "a transfer is done",
        *_WHERE, field("reserved", u16, "0"), field("error", i32, "0, or -errno"),
    ),
    tracepoint(103, "block:block_rq_insert", "file_system", "a request waits in the device's queue", *_WHERE),
    tracepoint(104, "block:block_rq_issue", "file_system", "a request goes to the device", *_WHERE),
    tracepoint(105, "block:block_rq_merge", "file_system", "two requests become one", *_WHERE),
    tracepoint(106, "block:block_rq_requeue", "file_system", "a request has to wait again", *_WHERE),
    tracepoint(
        107, "block:block_rq_complete", "file_system", "the device has done a request, or part of it",
        *_WHERE, field("reserved", u16, "0"), field("error", i32, "0, or -errno"),
    ),
    tracepoint(108, "block:block_plug", "file_system", "a task gathers requests before it sends them", TID),
    tracepoint(
        109, "block:block_unplug", "file_system", "a task sends the requests it has gathered",
        TID, field("nr_rq", u32, "how many"), field("explicit", u32, "0 if it goes to sleep with them unsent"),
    ),
    tracepoint(110, "block:block_touch_buffer", "file_system", "a block in memory is used",
               device(), field("size", u32, "its size", unit="B"), field("sector", u64, "which block")),
    tracepoint(111, "block:block_dirty_buffer", "file_system", "a block in memory is changed",
               device(), field("size", u32, "its size", unit="B"), field("sector", u64, "which block")),
)  # fmt: skip
