# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking records that say their own length, as LTT 3.0 has them."""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.memory import SLACK, at, load32, load64, put
from ltt_relay.decode.parts import MAX_PARTS, holds
from ltt_relay.decode.plan import Plan
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
                good = holds(buf8, at + header, at + length, program, first[kind], first[kind + 1], starts, sizes)
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
def _find(
    buf8: np.ndarray, begin: np.ndarray, end: np.ndarray, pk_time: np.ndarray, pk_tid: np.ndarray, pk_cpu: np.ndarray,
    kinds: np.ndarray, since: int, until: int, header: int, kind_of_id: np.ndarray, need: np.ndarray,
    program: np.ndarray, part_first: np.ndarray, tid_offset: np.ndarray, tid_mask: np.ndarray, switch_mask: np.ndarray,
    switch_next: int, first: np.ndarray, last: np.ndarray, time: np.ndarray, place: np.ndarray, stop: np.ndarray,
    tid: np.ndarray, kind: np.ndarray,
) -> None:  # fmt: skip
    """Write entries of packet p from first[p] on, up to last[p], which is set.

    pk_tid is the task running at the packet's begin, -2 if the packet does not tell every switch. The next task's id is
    looked for in each payload, so the buffer has SLACK bytes behind its last packet.
    """
    starts = np.empty(MAX_PARTS + 1, np.int64)
    sizes = np.empty(MAX_PARTS + 1, np.int64)
    for p in range(begin.size):
        a = begin[p]
        limit = end[p]
        base = pk_time[p]
        run = pk_tid[p]
        told = np.int64(-1) if run != -2 else np.int64(0)
        cpu = pk_cpu[p] << 16
        n = first[p]
        while a + header <= limit:
            head = load64(buf8, a)
            length = np.int64(head >> np.uint64(48))
            if length < header or length > limit - a:
                break
            k = np.int64(at(kind_of_id, np.int64((head >> np.uint64(32)) & np.uint64(0xFFFF))))
            payload = a + header
            if k >= 0 and length >= at(need, k) + header:
                good = True
                if at(part_first, k) < at(part_first, k + 1):
                    good = holds(
                        buf8, payload, a + length, program, part_first[k], part_first[k + 1], starts, sizes
                    )  # fmt: skip
                if good:
                    # Selected by masks: which kind comes next cannot be predicted, and a wrong guess costs more.
                    mask = at(tid_mask, k)
                    mine = np.int64(np.int32(load32(buf8, payload + at(tid_offset, k))))
                    t = base + ((np.int64(head & np.uint64(0xFFFFFFFF)) - base) & 0xFFFFFFFF)
                    put(time, n, t)
                    put(place, n, np.uint32(payload))
                    put(stop, n, np.uint32(a + length))
                    put(tid, n, np.int32((mine & mask) | (run & ~mask)))
                    put(kind, n, np.uint32(k | cpu))
                    n += np.int64(at(kinds, k)) & np.int64(t >= since) & np.int64(t < until)
                    mask = at(switch_mask, k) & told
                    following = np.int64(np.int32(load32(buf8, payload + switch_next)))
                    run = (following & mask) | (run & ~mask)
            a += (length + 7) & ~7
        last[p] = n


class LengthWalker:
    """Records of `formats.base.LengthFraming`: time u32, id u16, length u16, little endian, on multiples of 8 bytes."""

    #: Bytes of the shortest record.
    shortest = 8

    def __init__(self, plan: Plan) -> None:
        """Take what the kernels need from the plan."""
        framing = plan.format.framing
        assert isinstance(framing, LengthFraming)
        self._plan = plan
        self._header = framing.header.sizeof()
        self._need = np.array([event.need for event in plan.events], np.int64)
        self._tid = np.array([event.tid.offset if event.tid else 0 for event in plan.events], np.int64)
        self._tid_mask = np.array([-1 if event.tid else 0 for event in plan.events], np.int64)
        self._switch_mask = np.array([-(kind == plan.switch) for kind in range(len(plan.events))], np.int64)
        for place in [event.tid for event in plan.events] + [plan.switch_next]:
            if place and (place.size != 4 or place.big or place.signed is False):
                raise UnsupportedFieldError(f"format {plan.format.name}: thread ids of 4 bytes, signed, were expected")
        self._next = plan.switch_next.offset if plan.switch_next else 0
        if self._next > SLACK - 4:
            raise UnsupportedFieldError(f"format {plan.format.name}: {self._next} bytes before the next task's id")

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

    def enter(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, wanted: Wanted, first: np.ndarray,
        entries: Entries,
    ) -> np.ndarray:  # fmt: skip
        """Write the entries of loaded packets as `batch.Walker` has it."""
        last = np.empty_like(first)
        _find(
            buffer.view(np.uint8), starts + packets["first"], starts + packets["content"], packets["begin"],
            packets["tid"].astype(np.int64), packets["cpu"].astype(np.int64), *wanted, self._header,
            self._plan.kind_of_id, self._need, self._plan.program, self._plan.first, self._tid, self._tid_mask,
            self._switch_mask, self._next, first, last, *entries,
        )  # fmt: skip
        return last
