# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking records that say their own length, as LTT 3.0 has them: count, and walk all CPUs at once in time order."""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.parts import MAX_PARTS, fits
from ltt_relay.decode.plan import Plan
from ltt_relay.decode.sink import Sink
from ltt_relay.formats.base import LengthFraming
from ltt_relay.formats.layout import UnsupportedFieldError

__all__ = ("LengthWalker",)


@compiled
def _count(
    buf8: np.ndarray, buf16: np.ndarray, begin: np.ndarray, end: np.ndarray, header: int, kind_of_id: np.ndarray,
    need: np.ndarray, program: np.ndarray, first: np.ndarray, counts: np.ndarray, problems: np.ndarray,
) -> int:  # fmt: skip
    """Count the records of each kind in each packet; positions are bytes from the buffer's begin.

    problems: rows (packet, offset, code, value); returns how many were found, of which at most len(problems) are kept.
    """
    found = 0
    unknown = counts.shape[1] - 1
    starts = np.empty(MAX_PARTS + 1, np.int64)
    sizes = np.empty(MAX_PARTS + 1, np.int64)
    for packet in range(begin.size):
        at = begin[packet]
        stop = end[packet]
        while at + header <= stop:
            id_ = np.int64(buf16[(at >> 1) + 2])
            length = np.int64(buf16[(at >> 1) + 3])
            if length < header or at + length > stop:
                if found < problems.shape[0]:
                    problems[found, 0] = packet
                    problems[found, 1] = at
                    problems[found, 2] = 1
                    problems[found, 3] = length
                found += 1
                break
            kind = np.int64(kind_of_id[id_])
            good = kind >= 0 and length >= need[kind] + header
            if good and first[kind] < first[kind + 1]:
                good = fits(buf8, at + header, at + length, program, first[kind], first[kind + 1], starts, sizes)
            if not good:
                if found < problems.shape[0]:
                    problems[found, 0] = packet
                    problems[found, 1] = at
                    problems[found, 2] = 3 if kind < 0 else 2
                    problems[found, 3] = id_ if kind < 0 else length
                found += 1
                counts[packet, unknown] += 1
            else:
                counts[packet, kind] += 1
            at += (length + 7) & ~7
    return found


@compiled
def _walk(
    buf8: np.ndarray, buf16: np.ndarray, buf32: np.ndarray,
    cpu_first: np.ndarray, cpu_last: np.ndarray, cpu_number: np.ndarray,
    pk_at: np.ndarray, pk_end: np.ndarray, pk_time: np.ndarray, pk_tid: np.ndarray,
    since: int, until: int, header: int, kind_of_id: np.ndarray, need: np.ndarray,
    program: np.ndarray, part_first: np.ndarray, tid_offset: np.ndarray, switch: int, switch_next: int, sink: Sink,
) -> None:  # fmt: skip
    """Walk the packets of all CPUs at once, in time order.

    Packets of one CPU are consecutive in pk_*; pk_tid is the task running at the packet's begin, -2 if the packet does
    not tell every switch.
    """
    wanted, rows, limits = sink.wanted, sink.rows, sink.limit
    time_at, cpu_at, tid_at, at_at, variable = sink.time, sink.cpu, sink.tid, sink.at, sink.variable
    out16, out32, out64, places, stops = sink.out16, sink.out32, sink.out64, sink.places, sink.stops
    n = cpu_first.size
    packet = cpu_first.copy()
    at = np.empty(n, np.int64)
    now = np.empty(n, np.int64)
    running = np.full(n, -2, np.int64)
    told = np.zeros(n, np.bool_)
    end_of_time = np.int64(1 << 62)
    part_starts = np.empty(MAX_PARTS + 1, np.int64)
    part_sizes = np.empty(MAX_PARTS + 1, np.int64)

    for c in range(n):
        # As below, "advance": find the first whole record.
        now[c] = end_of_time
        while packet[c] < cpu_last[c]:
            p = packet[c]
            a = pk_at[p]
            if a + header <= pk_end[p]:
                length = np.int64(buf16[(a >> 1) + 3])
                if length >= header and a + length <= pk_end[p]:
                    at[c] = a
                    now[c] = pk_time[p] + ((np.int64(buf32[a >> 2]) - pk_time[p]) & 0xFFFFFFFF)
                    running[c] = pk_tid[p]
                    told[c] = pk_tid[p] != -2
                    break
            packet[c] += 1

    while True:
        # The CPU whose record is first, and how far it may go before another's turn.
        c = -1
        first = end_of_time
        second = end_of_time
        second_cpu = n
        for i in range(n):
            if now[i] < first:
                second = first
                second_cpu = c
                first = now[i]
                c = i
            elif now[i] < second:
                second = now[i]
                second_cpu = i
        if c < 0 or first >= until:
            return
        limit = second if c < second_cpu else second - 1
        if limit >= until:
            limit = until - 1

        a = at[c]
        t = first
        p = packet[c]
        stop = pk_end[p]
        p_time = pk_time[p]
        run = running[c]
        while True:
            id_ = np.int64(buf16[(a >> 1) + 2])
            length = np.int64(buf16[(a >> 1) + 3])
            k = np.int64(kind_of_id[id_])
            good = k >= 0 and length >= need[k] + header
            if good and variable[k]:
                good = fits(
                    buf8, a + header, a + length, program, part_first[k], part_first[k + 1], part_starts, part_sizes
                )
            if good:
                if wanted[k] and t >= since:
                    row = rows[k]
                    if row < limits[k]:
                        rows[k] = row + 1
                        if time_at[k] >= 0:
                            out64[time_at[k] + row] = np.uint64(t)
                        if cpu_at[k] >= 0:
                            out16[cpu_at[k] + row] = np.uint16(cpu_number[c])
                        if tid_at[k] >= 0:
                            if tid_offset[k] >= 0:
                                out32[tid_at[k] + row] = buf32[(a + header + tid_offset[k]) >> 2]
                            else:
                                out32[tid_at[k] + row] = np.uint32(run)
                        places[at_at[k] + row] = a + header
                        if variable[k]:
                            stops[at_at[k] + row] = a + length
                if k == switch and told[c]:
                    run = np.int64(np.int32(buf32[(a + header + switch_next) >> 2]))
            a += (length + 7) & ~7
            # Advance: the next whole record of this CPU.
            there = False
            while True:
                if a + header <= stop:
                    length = np.int64(buf16[(a >> 1) + 3])
                    if length >= header and a + length <= stop:
                        t = p_time + ((np.int64(buf32[a >> 2]) - p_time) & 0xFFFFFFFF)
                        there = True
                        break
                p += 1
                if p >= cpu_last[c]:
                    break
                a = pk_at[p]
                stop = pk_end[p]
                p_time = pk_time[p]
                run = pk_tid[p]
                told[c] = run != -2
            if not there:
                t = end_of_time
                break
            if t > limit:
                break
        at[c] = a
        now[c] = t
        packet[c] = p
        running[c] = run


class LengthWalker:
    """Records of `formats.base.LengthFraming`: time u32, id u16, length u16, little endian, on multiples of 8 bytes."""

    def __init__(self, plan: Plan) -> None:
        """Take what the kernels need from the plan."""
        framing = plan.format.framing
        assert isinstance(framing, LengthFraming)
        self._plan = plan
        self._header = framing.header.sizeof()
        self._need = np.array([event.need for event in plan.events], np.int64)
        self._tid = np.array([event.tid.offset if event.tid else -1 for event in plan.events], np.int64)
        for place in [event.tid for event in plan.events] + [plan.switch_next]:
            if place and (place.size != 4 or place.big or place.offset % 4):
                raise UnsupportedFieldError(f"format {plan.format.name}: thread ids of 4 aligned bytes were expected")
        self._switch = plan.switch
        self._next = plan.switch_next.offset if plan.switch_next else -1

    def count(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> int:
        """Count the records of loaded packets into counts[packet, kind], the last column for those that are skipped.

        trouble: filled with rows (packet, byte in the buffer, code, value), see `source.TROUBLE`; returns how many
        there were, of which at most len(trouble) are kept.
        """
        return int(
            _count(
                buffer.view(np.uint8), buffer.view(np.uint16), starts + packets["first"],
                starts + packets["content"], self._header, self._plan.kind_of_id, self._need, self._plan.program,
                self._plan.first, counts, trouble,
            )
        )  # fmt: skip

    def walk(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, since: int, until: int, sink: Sink
    ) -> None:
        """Give the records of loaded packets (sorted by CPU, then time) from `since` up to `until` to the sink."""
        cpus, first = np.unique(packets["cpu"], return_index=True)
        _walk(
            buffer.view(np.uint8), buffer.view(np.uint16), buffer.view(np.uint32), first.astype(np.int64),
            np.r_[first[1:], len(packets)].astype(np.int64), cpus.astype(np.int64),
            starts + packets["first"], starts + packets["content"], packets["begin"], packets["tid"].astype(np.int64),
            since, until, self._header, self._plan.kind_of_id, self._need, self._plan.program, self._plan.first,
            self._tid, self._switch, self._next, sink,
        )  # fmt: skip
