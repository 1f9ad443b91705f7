# SPDX-License-Identifier: GPL-2.0-or-later
"""A synthetic LTT 3.0 trace of any size, with the mix of events of the demo's capture.

Records are written by a compiled kernel straight into packets; headers, names and metadata come from the definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np

from ltt_relay.decode.compiled import compiled
from ltt_relay.formats import ctf
from ltt_relay.formats.base import Event
from ltt_relay.formats.fields import field, i32, struct, u32, u64
from ltt_relay.formats.ltt3 import (
    EVENTS,
    FIRST_DYNAMIC_ID,
    FORMAT,
    HEADER_SIZE,
    MAGIC,
    PACKET,
    PACKET_FLAGS,
    RECORD,
    TASK_CAUSES,
)  # fmt: skip

__all__ = ("MIX", "WIDE_MIX", "write_trace")

#: Events of a capture of the demo, in parts of 10,000; frozen, so that benchmarks can be compared.
MIX: Final = {
    "sched_switch": 2000, "sched_waking": 1010, "sched_wakeup": 1010, "sys_enter": 1250, "sys_exit": 1250,
    "irq_handler_entry": 870, "irq_handler_exit": 870, "softirq_entry": 480, "softirq_exit": 480,
    "page_fault_user": 230, "page_fault_kernel": 50, "sched_process_exec": 200, "task_rename": 150, "marker": 150,
}  # fmt: skip

#: The same, and what else the analyses ask for.
WIDE_MIX: Final = MIX | {
    "softirq_raise": 480, "hrtimer_start": 300, "hrtimer_expire_entry": 300, "hrtimer_expire_exit": 300,
    "contention_begin": 200, "contention_end": 200, "block_rq_issue": 200, "block_rq_complete": 200,
}  # fmt: skip

_WALL_OFFSET: Final = 1_795_000_000_000_000_000
_TASKS: Final = 200
_ID: Final = {event.name: event.id for event in EVENTS}


def _fill(
    out8: np.ndarray, out16: np.ndarray, out32: np.ndarray, out64: np.ndarray, start: int, room: int, count: int,
    draw: np.ndarray, ids: np.ndarray, random: np.ndarray, state: np.ndarray,
) -> int:  # fmt: skip
    """Write up to `count` records at `start` (bytes) while they fit into `room`; returns how many.

    state: time, running tid, event bitmap, end of content, position in `random`.
    """
    at = start
    n = 0
    time, tid, bitmap, r = state[0], state[1], np.uint64(0), state[4]
    end = start
    while n < count:
        x = random[r & (random.size - 1)]
        r += 1
        event = ids[draw[x % draw.size]]
        y = x >> 20
        if event == 4:
            nargs = y % 5
            length = 16 + 8 * nargs
        elif event == 1:
            length = 22
        elif event in (2, 3):
            length = 16
        elif event == 5:
            length = 24
        elif event == 6:
            length = 12
        elif event == 7:
            length = 16
        elif event in (8, 9):
            length = 12
        elif event in (10, 11):
            length = 32
        elif event >= 256:
            length = 24
        elif event == 13:
            length = 8 + 8 + 9 + y % 24
        elif event == 15:
            length = 8 + 4 + 32 + 2
        elif event == 26:
            length = 12
        elif event in (167, 168):
            length = 24
        elif event == 78:
            length = 44
        elif event == 80:
            length = 32
        elif event == 81:
            length = 16
        elif event == 104:
            length = 26
        elif event == 107:
            length = 32
        else:
            length = 8 + 4 + 6 + y % 40
        padded = (length + 7) & ~7
        if at + padded > start + room:
            break
        time += 200 + y % 3000
        out64[(at + padded - 8) >> 3] = 0
        out32[at >> 2] = np.uint32(time & 0xFFFFFFFF)
        out16[(at >> 1) + 2] = np.uint16(event)
        out16[(at >> 1) + 3] = np.uint16(length)
        p = at + 8
        other = 1 + y % 200
        if event == 1:
            out32[p >> 2] = np.uint32(tid)
            out32[(p >> 2) + 1] = np.uint32(other)
            out16[(p >> 1) + 4] = np.uint16(120)
            out16[(p >> 1) + 5] = np.uint16(100 + y % 40)
            out16[(p >> 1) + 6] = np.uint16(y % 3)
            tid = other
        elif event in (2, 3):
            out32[p >> 2] = np.uint32(other)
            out16[(p >> 1) + 2] = np.uint16(120)
            out16[(p >> 1) + 3] = np.uint16(y % 4)
        elif event == 4 or event == 5:
            out32[p >> 2] = np.uint32(tid)
            out16[(p >> 1) + 2] = np.uint16(y % 330)
            out8[p + 6] = 0
            if event == 4:
                out8[p + 7] = np.uint8(nargs)
                for i in range(nargs):
                    out64[(p >> 3) + 1 + i] = np.uint64(x * (i + 3))
            else:
                out8[p + 7] = 0
                out64[(p >> 3) + 1] = np.uint64(y % 4096)
        elif event in (6, 7, 8, 9, 26):
            out32[p >> 2] = np.uint32(y % 10)
            if event == 7:
                out32[(p >> 2) + 1] = np.uint32(1)
        elif event in (10, 11):
            out32[p >> 2] = np.uint32(tid)
            out32[(p >> 2) + 1] = np.uint32(y % 8)
            out64[(p >> 3) + 1] = np.uint64(x << 12)
            out64[(p >> 3) + 2] = np.uint64(x)
        elif event in (167, 168):
            out32[p >> 2] = np.uint32(1 + y % 20)
            out32[(p >> 2) + 1] = np.uint32(32 if event == 167 else 0)
            out64[(p >> 3) + 1] = np.uint64(0xFFFF888000000000) | np.uint64(64 * (1 + y % 20))
        elif event in (78, 80, 81):
            out64[p >> 3] = np.uint64(0xFFFF888000000000) | np.uint64(64 * (y % 16))
            if event != 81:
                out64[(p >> 3) + 1] = np.uint64(0xFFFFFFFF81000000) | np.uint64(16 * (y % 4))
                out64[(p >> 3) + 2] = np.uint64(time)
            if event == 78:
                out64[(p >> 3) + 3] = np.uint64(time)
        elif event in (104, 107):
            out32[p >> 2] = np.uint32(8 << 20)
            out32[(p >> 2) + 1] = np.uint32(8)
            out64[(p >> 3) + 1] = np.uint64(8 * (y % 64))
            if event == 107:
                out64[(p >> 3) + 2] = 0
            out8[p + 16] = np.uint8(y & 1)
        elif event >= 256:
            out32[p >> 2] = np.uint32(tid)
            out32[(p >> 2) + 1] = np.uint32(y)
            out64[(p >> 3) + 1] = np.uint64(x)
        else:
            first = p
            if event == 13:
                out32[p >> 2] = np.uint32(tid)
                out32[(p >> 2) + 1] = np.uint32(tid)
                first = p + 8
            else:
                out32[p >> 2] = np.uint32(tid)
                first = p + 4
            last = at + length - 1
            for i in range(first, last):
                out8[i] = np.uint8(97 + (x + i - first) % 26)
            out8[last] = 0
            if event == 15:
                for i in range(p + 4 + 12, p + 20):
                    out8[i] = 0
                for i in range(p + 20 + 12, p + 36):
                    out8[i] = 0
                out16[(p + 36) >> 1] = 0
        bitmap |= np.uint64(1) << np.uint64(event & 63)
        end = at + length
        at += padded
        n += 1
    state[0], state[1], state[2], state[3], state[4] = time, tid, np.int64(bitmap), end, r
    return n


_fill_compiled: Any = compiled(_fill)


def _declared(number: int) -> Event:
    """An event as a session gets it at run time."""
    payload = struct(field("tid", i32, "", names=("task", "comm")), field("count", u32, ""), field("size", u64, ""))
    name = f"declared_{number}"
    return Event(FIRST_DYNAMIC_ID + number, name, "user", "custom", "declared from user space", payload, tid="tid")


def _header(values: dict[str, Any]) -> bytes:
    zero: dict[str, Any] = dict.fromkeys((member.name for member in PACKET.subcons), 0)
    return bytes(PACKET.build(zero | {"magic": MAGIC, "major": 3, "header_size": HEADER_SIZE} | values))


def _state_packet(uuid: UUID, time: int, tasks: int) -> bytes:
    records = b""
    bitmap = 0

    def add(name: str, payload: dict[str, Any]) -> None:
        nonlocal records, bitmap
        event = FORMAT.event(name)
        body = event.payload.build(payload)
        head = RECORD.build({"timestamp": time & 0xFFFFFFFF, "id": event.id, "length": RECORD.sizeof() + len(body)})
        records += (head + body).ljust((len(head) + len(body) + 7) & ~7, b"\0")
        bitmap |= 1 << event.id % 64

    for tid in range(tasks + 1):
        comm = "swapper" if tid == 0 else f"task-{tid % 50}"
        cause = TASK_CAUSES["dump"]
        add("state_task", {"pid": tid, "tgid": tid, "ppid": 1, "uid": 0, "cause": cause, "comm": comm})
    for irq in range(10):
        add("state_irq", {"irq": irq, "name": f"device-{irq}"})
    add("state_end", {"tasks": tasks + 1})
    # The content ends with the last record, before its padding: a CTF reader would look for another record there.
    last = RECORD.sizeof() + FORMAT.event("state_end").payload.sizeof()
    content = 8 * (HEADER_SIZE + len(records) - ((last + 7) & ~7) + last)
    size = 8 * (HEADER_SIZE + len(records))
    head = {
        "uuid": uuid.bytes, "stream_id": 1, "content_size": content, "packet_size": size, "timestamp_begin": time,
        "timestamp_end": time, "tid": -1, "tgid": -1, "wall_offset": _WALL_OFFSET, "event_ids": bitmap,
        "records": tasks + 12,
    }  # fmt: skip
    return _header(head) + records


def write_trace(
    path: str | Path, events: int = 100_000, cpus: int = 4, seed: int = 1, *, packet_size: int = 256 << 10,
    lost_every: int = 0, declared: int = 0, mix: Mapping[str, int] = MIX,
) -> Path:  # fmt: skip
    """Write a valid trace directory: metadata, state_0, events_0 …; returns its path.

    events: records in all event streams together; seed: the same seed gives the same bytes; packet_size: bytes of a
    full packet; lost_every: every so many packets of a CPU 10 records are lost (counted as `full`) before it;
    declared: how many more kinds there are, made at run time, each of them one record in 1000; mix: events
    in parts of the whole, MIX or WIDE_MIX.

    Raises:
        FileExistsError: there is something at `path` already.

    """
    path = Path(path)
    path.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    uuid = UUID(bytes=generator.bytes(16), version=4)
    env = {"domain": "kernel", "tracer_name": "ltt-relay", "hostname": "synthetic", "sysname": "Linux", "release": "0"}
    env["arch"] = "x86_64"
    more = tuple(map(_declared, range(declared)))
    (path / "metadata").write_text(ctf.metadata(replace(FORMAT, events=EVENTS + more), uuid, env, _WALL_OFFSET))
    begin = 1_000_000_000
    (path / "state_0").write_bytes(_state_packet(uuid, begin - 1, _TASKS))
    parts = [*mix.values(), *[10] * declared]
    draw = np.repeat(np.arange(len(parts)), parts).astype(np.int64)
    ids = np.array([*(_ID[name] for name in mix), *(event.id for event in more)], np.int64)
    random = generator.integers(0, 1 << 40, 1 << 16, dtype=np.int64)
    buffer = np.zeros(packet_size // 8, np.uint64)
    views = tuple(buffer.view(f"u{width}") for width in (1, 2, 4, 8))
    for cpu in range(cpus):
        left = events // cpus + (cpu < events % cpus)
        state = np.array([begin + 137 * cpu, 1 + cpu, 0, 0, cpu * 1013], np.int64)
        sequence = lost = 0
        with (path / f"events_{cpu}").open("wb") as file:
            while left:
                if lost_every and sequence and sequence % lost_every == 0:
                    lost += 10
                    state[0] += 1_000_000
                tid, room = int(state[1]), packet_size - HEADER_SIZE
                before = int(state[0])
                n = int(_fill_compiled(*views, HEADER_SIZE, room, left, draw, ids, random, state))
                content = int(state[3])
                first = int(views[2][HEADER_SIZE // 4])
                head = {
                    "uuid": uuid.bytes, "stream_instance_id": cpu, "content_size": 8 * content,
                    "packet_size": 8 * ((content + 7) & ~7),
                    "timestamp_begin": before + ((first - before) & 0xFFFFFFFF),
                    "timestamp_end": int(state[0]), "events_discarded": lost, "packet_seq_num": sequence, "cpu_id": cpu,
                    "flags": PACKET_FLAGS["switches_complete"], "tid": tid, "tgid": tid, "wall_offset": _WALL_OFFSET,
                    "event_ids": int(state[2]) & (1 << 64) - 1, "records": n, "lost_full": lost,
                }  # fmt: skip
                views[0][:HEADER_SIZE] = np.frombuffer(_header(head), np.uint8)
                file.write(views[0][: (content + 7) & ~7].data)
                left -= n
                sequence += 1
    return path
