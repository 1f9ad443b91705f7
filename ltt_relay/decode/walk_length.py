# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking records that say their own length, as LTT 3.0 has them."""

from __future__ import annotations

from typing import Final

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.memory import SLACK, at, load32, load64, on_stack, put
from ltt_relay.decode.parts import ALWAYS, COUNTED, CSTRING, PLACES, holds
from ltt_relay.decode.plan import EventPlan, Plan
from ltt_relay.formats.base import LengthFraming
from ltt_relay.formats.layout import UnsupportedFieldError

__all__ = ("LengthWalker",)


# What `_find` and `_count` know of a kind, 8 integers: the bytes of its shortest record; where a count of items lies in
# the payload, the mask that cuts it out of 8 bytes, and the bytes of an item; the mask of what must be 0 in the last
# byte; where its own task id lies, if it has one, and -1 then; -1 if it is a switch. A record with what the first five
# ask for is sound; of one without, `holds` tells.
#: No record is as long as this.
_NEVER: Final = 1 << 40


@inner
def _is_sound(buf8: np.ndarray, a: int, length: int, header: int, k: int, facts: np.ndarray) -> bool:
    """Whether the record of kind k at `a` has what `facts` ask for, without a branch."""
    items = np.int64(load64(buf8, a + header + at(facts, k * 8 + 1))) & at(facts, k * 8 + 2)
    short = length < at(facts, k * 8) + items * at(facts, k * 8 + 3)
    return not (short | ((np.int64(at(buf8, a + length - 1)) & at(facts, k * 8 + 4)) != 0))


@inner
def _is_whole(
    buf8: np.ndarray, a: int, length: int, header: int, k: int, need: np.ndarray, program: np.ndarray,
    part_first: np.ndarray, starts: np.ndarray, sizes: np.ndarray,
) -> bool:  # fmt: skip
    """Whether the record of kind k at `a` has all its members."""
    if k >= need.size or length < need[k] + header:
        return False
    if part_first[k] == part_first[k + 1]:
        return True
    return bool(holds(buf8, a + header, a + length, program, part_first[k], part_first[k + 1], starts, sizes))


@compiled
def _count(
    buf8: np.ndarray, begin: np.ndarray, end: np.ndarray, header: int, kind_of_id: np.ndarray, facts: np.ndarray,
    need: np.ndarray, program: np.ndarray, first: np.ndarray, pk_time: np.ndarray, pk_end: np.ndarray,
    pk_ids: np.ndarray, counts: np.ndarray, problems: np.ndarray,
) -> int:  # fmt: skip
    """Count the records of each kind in each packet; positions are bytes from the buffer's begin.

    problems: rows (packet, offset, code, value); returns how many were found, of which at most len(problems) are kept.
    Of records whose time is before that of the one before, only the first of a packet is told.
    """
    found = 0
    unknown = counts.shape[1] - 1
    starts = on_stack(PLACES)
    sizes = on_stack(PLACES)
    for packet in range(begin.size):
        a = begin[packet]
        stop = end[packet]
        span = pk_end[packet] - pk_time[packet]
        before = np.int64(0)
        while a + header <= stop:
            head = load64(buf8, a)
            now = (np.int64(head & np.uint64(0xFFFFFFFF)) - pk_time[packet]) & 0xFFFFFFFF
            length = np.int64(head >> np.uint64(48))
            id_ = np.int64((head >> np.uint64(32)) & np.uint64(0xFFFF))
            k = np.int64(at(kind_of_id, id_))
            code = 0
            if length < header or length > stop - a:
                code = 1
            elif not _is_sound(buf8, a, length, header, k, facts) and not _is_whole(
                buf8, a, length, header, k, need, program, first, starts, sizes
            ):
                code = 3 if k >= need.size else 2
                k = unknown
            elif now > span:
                code = 8
                k = unknown
            elif not (pk_ids[packet] >> (id_ & 63)) & 1:
                code = 10
                k = unknown
            elif now < before:
                code = 9
                before = -1
            elif before >= 0:
                before = now
            if code:
                if found < problems.shape[0]:
                    problems[found, 0] = packet
                    problems[found, 1] = a
                    problems[found, 2] = code
                    problems[found, 3] = (
                        id_ if code == 3 or code == 10
                        else pk_time[packet] + now if code == 9
                        else head & np.uint64(0xFFFFFFFF) if code == 8
                        else length
                    )  # fmt: skip
                found += 1
                if code == 1:
                    break
            counts[packet, k] += 1
            a += (length + 7) & ~7
    return found


@compiled
def _find(
    buf8: np.ndarray, begin: np.ndarray, end: np.ndarray, pk_time: np.ndarray, pk_end: np.ndarray, pk_tid: np.ndarray,
    pk_cpu: np.ndarray, pk_ids: np.ndarray, kinds: np.ndarray, asked: np.ndarray, bits: np.ndarray, since: int,
    until: int, header: int, kind_of_id: np.ndarray, facts: np.ndarray, need: np.ndarray, program: np.ndarray,
    part_first: np.ndarray, switch_next: int, first: np.ndarray, last: np.ndarray, time: np.ndarray, place: np.ndarray,
    stop: np.ndarray, tid: np.ndarray, kind: np.ndarray,
) -> bool:  # fmt: skip
    """Write entries of packet p from first[p] on, up to last[p], which is set; returns whether time steps back.

    bits: of each kind that of its id in pk_ids, the ids that the packet's header lists: a range of events finds packets
    by those, so what is not among them is damage; asked: room for what is left of `kinds`. pk_tid is the task running
    at the packet's begin, -2 if the packet does not tell every switch. The next task's id is looked for in each
    payload, so the buffer has SLACK bytes behind its last packet.
    """
    starts = on_stack(PLACES)
    sizes = on_stack(PLACES)
    back = False
    for p in range(begin.size):
        a = begin[p]
        limit = end[p]
        base = pk_time[p]
        before = base
        for k in range(kinds.size):
            asked[k] = kinds[k] & (((pk_ids[p] >> bits[k]) & 1) != 0)
        # What is later than the packet is damage: a range of time finds packets by their begin and end.
        high = min(until, pk_end[p] + 1)
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
            if _is_sound(buf8, a, length, header, k, facts) or _is_whole(
                buf8, a, length, header, k, need, program, part_first, starts, sizes
            ):
                # Selected by masks: which kind comes next cannot be predicted, and a wrong guess costs more.
                payload = a + header
                mask = at(facts, 8 * k + 6)
                mine = np.int64(np.int32(load32(buf8, payload + at(facts, 8 * k + 5))))
                t = base + ((np.int64(head & np.uint64(0xFFFFFFFF)) - base) & 0xFFFFFFFF)
                put(time, n, t)
                put(place, n, np.uint32(payload))
                put(stop, n, np.uint32(a + length))
                put(tid, n, np.int32((mine & mask) | (run & ~mask)))
                put(kind, n, np.uint32(k | cpu))
                n += np.int64(at(asked, k)) & np.int64(t >= since) & np.int64(t < high)
                back |= t < before
                before = t
                mask = at(facts, 8 * k + 7) & told
                following = np.int64(np.int32(load32(buf8, payload + switch_next)))
                run = (following & mask) | (run & ~mask)
            a += (length + 7) & ~7
        last[p] = n
    return back


def _facts(event: EventPlan, header: int, is_switch: bool) -> list[int]:
    """Return what the kernels know of a kind."""
    need, count_at, count_mask, item, nul_mask = event.need + header, 0, 0, 0, 0
    if event.variable:
        op, size, signed, big, part, offset, width, _, condition = event.program[0][:9].tolist()
        if len(event.program) > 1 or condition != ALWAYS:
            need = _NEVER
        elif op == CSTRING:
            need, nul_mask = need + 1, 0xFF
        elif op == COUNTED and not signed and not big and part == 0 and width <= 4 and offset <= SLACK - 16:
            count_at, count_mask, item = offset, (1 << 8 * width) - 1, size
        else:
            need = _NEVER
    tid = event.tid.offset if event.tid else 0
    return [need, count_at, count_mask, item, nul_mask, tid, -(event.tid is not None), -is_switch]


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
        known = [_facts(event, self._header, event.kind == plan.switch) for event in plan.events]
        # One more row for ids that no event has.
        self._facts = np.array([*known, [_NEVER, *[0] * 7]], np.int64).reshape(-1)
        self._bits = np.array([*(event.event.id % 64 for event in plan.events), 0], np.int64)
        self._kind_of_id = np.where(plan.kind_of_id < 0, len(plan.events), plan.kind_of_id).astype(np.int32)
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

        trouble: filled with rows (packet, byte in the buffer, code, value), see `trouble.TROUBLE`; returns how many
        there were, of which at most len(trouble) are kept.
        """
        return int(
            _count(  # type: ignore[call-arg]
                buffer.view(np.uint8), starts + packets["first"], starts + packets["content"], self._header,
                self._kind_of_id, self._facts, self._need, self._plan.program, self._plan.first,
                *(packets[name].astype(np.int64) for name in ("begin", "end", "ids")), counts, trouble,
            )
        )  # fmt: skip

    def enter(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, wanted: Wanted, first: np.ndarray,
        entries: Entries,
    ) -> np.ndarray:  # fmt: skip
        """Write the entries of loaded packets as `batch.Walker` has it."""
        last = np.empty_like(first)
        kinds = np.append(wanted.kinds, False)
        back = _find(  # type: ignore[call-arg]
            buffer.view(np.uint8), starts + packets["first"], starts + packets["content"],
            # Numba tells the column of one packet from that of many, unless it is copied, and would compile twice.
            *(packets[name].astype(np.int64) for name in ("begin", "end", "tid", "cpu", "ids")), kinds,
            np.empty_like(kinds), self._bits, wanted.since, wanted.until, self._header, self._kind_of_id, self._facts,
            self._need, self._plan.program, self._plan.first, self._next, first, last, *entries,
        )  # fmt: skip
        if back:
            entries.sort(first, last)
        return last
