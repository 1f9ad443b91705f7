# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces written record by record, so that their truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import ltt_relay
from ltt_relay.formats import ctf
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, MAGIC, PACKET, RECORD

UUID_ = UUID(int=1)
#: time, event, fields
Row: TypeAlias = "tuple[int, str, dict[str, Any]]"


def packet(stream: int, cpu: int, rows: list[Row], number: int = 0, **fields: int) -> bytes:
    body, content = b"", HEADER_SIZE
    ids = 0
    for time, name, values in rows:
        event = FORMAT.event(name)
        zero: dict[str, Any] = dict.fromkeys((member.name for member in event.payload.subcons), 0)
        payload = event.payload.build(zero | values)
        head = RECORD.build({"timestamp": time & 0xFFFFFFFF, "id": event.id, "length": 8 + len(payload)})
        content = HEADER_SIZE + len(body) + 8 + len(payload)
        body += (head + payload).ljust((8 + len(payload) + 7) & ~7, b"\0")
        ids |= 1 << event.id % 64
    zero = dict.fromkeys((member.name for member in PACKET.subcons), 0)
    header = zero | {
        "uuid": UUID_.bytes, "stream_id": stream, "stream_instance_id": cpu, "cpu_id": cpu, "magic": MAGIC, "major": 3,
        "header_size": HEADER_SIZE, "content_size": 8 * content, "packet_size": 8 * (HEADER_SIZE + len(body)),
        "timestamp_begin": rows[0][0], "timestamp_end": rows[-1][0], "flags": 1, "event_ids": ids, "records": len(rows),
        "packet_seq_num": number,
    }  # fmt: skip
    return bytes(PACKET.build(header | fields)) + body


def switch(time: int, before: int, after: int, state: int = 1) -> Row:
    fields = {"prev_pid": before, "next_pid": after, "prev_prio": 120, "next_prio": 120, "prev_state": state}
    return time, "sched_switch", fields


def write(path: Path, cpus: dict[int, list[Row]], names: dict[int, str], irqs: dict[int, str]) -> ltt_relay.Trace:
    """Write a trace of the rows of each CPU, sorted by time, with tasks and interrupts named; return it opened."""
    state: list[Row] = [
        (1, "state_task", {"pid": tid, "tgid": tid, "ppid": 1, "comm": comm}) for tid, comm in names.items()
    ]
    state += [(1, "state_irq", {"irq": irq, "name": name}) for irq, name in irqs.items()]
    state.append((2, "state_end", {"tasks": len(names)}))
    path.mkdir()
    (path / "metadata").write_text(ctf.metadata(FORMAT, UUID_, {"hostname": "h"}, 10**18))
    (path / "state_0").write_bytes(packet(1, 0, state))
    for cpu, rows in cpus.items():
        packets: list[list[Row]] = []
        for row in sorted(rows, key=lambda row: row[0]):
            # A packet is shorter than 32 bits of ns.
            if not packets or row[0] - packets[-1][0][0] >= 1 << 32:
                packets.append([])
            packets[-1].append(row)
        (path / f"events_{cpu}").write_bytes(b"".join(packet(0, cpu, some, i) for i, some in enumerate(packets)))
    return ltt_relay.open(path, strict=True)
