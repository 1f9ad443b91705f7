# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking for every framing but LTT 3.0's: a subclass of `RecordWalker` finds records, this tells time and task."""

from __future__ import annotations

import abc
import threading
from typing import NamedTuple

import numpy as np

from ltt_relay.decode import parts
from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.memory import at, integer, on_stack, put
from ltt_relay.decode.packets import END_UNKNOWN, TASK_UNKNOWN, packet_key
from ltt_relay.decode.parts import PLACES, holds
from ltt_relay.decode.plan import EventPlan, Place, Plan
from ltt_relay.decode.timeline import Switches, Timeline, fill_tasks
from ltt_relay.decode.trouble import report

__all__ = ("RecordWalker", "Records")


_LATEST = 1 << 61


class Records(NamedTuple):
    """Records in the order of the packets and of their places, in room that the walker lends until it finds others.

    bounds: those of packet p are bounds[p] to bounds[p + 1]; kind: index in plan.events, -1 for one that is to be
    skipped; ticks: its time, as `formats.loaded.Packet.scale` wants it; at, stop: begin and end of its payload, bytes
    in the buffer; time: its time in ns, made in common.
    """

    bounds: np.ndarray
    kind: np.ndarray
    ticks: np.ndarray
    at: np.ndarray
    stop: np.ndarray
    time: np.ndarray

    @classmethod
    def empty(cls, packets: int, records: int) -> Records:
        """Return room for so many."""
        return cls(
            np.zeros(packets + 1, np.int64), *(np.empty(records, dtype) for dtype in ("i4", "i8", "u4", "u4", "i8"))
        )


@inner
def _scaled(passed: int, num: int, den: int) -> tuple[int, int]:
    """Return passed * num // den and the rest, -1 if that is not known.

    The product may need more than 64 bits, so whole and broken parts are scaled apart.
    """
    whole = passed // den
    rest = passed - whole * den
    if num < 1 << 31 or den == 1:
        part = rest * num // den
        return whole * num + part, rest * num - part * den if den < 1 << 32 else -1
    high = num // den
    low = num - high * den
    part = rest * high
    # rest < den and low < den: where their product is too long for an integer, a float is near enough to 1 ns.
    if den < 1 << 31:
        part += rest * low // den
    else:
        part += np.int64(np.float64(rest) * np.float64(low) / np.float64(den))
    return whole * num + part, -1


@compiled
def _settle(
    buf8: np.ndarray, bounds: np.ndarray, kind: np.ndarray, ticks: np.ndarray, place: np.ndarray, stop: np.ndarray,
    time: np.ndarray, pk_base: np.ndarray, pk_origin: np.ndarray, pk_num: np.ndarray, pk_den: np.ndarray,
    pk_begin: np.ndarray, choices: np.ndarray, program: np.ndarray, parts_of: np.ndarray, trouble: np.ndarray,
    found: int,
) -> int:  # fmt: skip
    """Turn ticks into ns; give kind -1 and a row of trouble to what cannot be, and a row to a time that steps back.

    What cannot be is a payload too short for its members of variable place, and a time that no clock can have: it would
    end the merge, and with it all that follow.
    """
    starts = on_stack(PLACES)
    sizes = on_stack(PLACES)
    for p in range(bounds.size - 1):
        if bounds[p] == bounds[p + 1]:
            continue
        a, b = np.int64(pk_num[p]), np.int64(pk_den[p])
        while b:
            a, b = b, a % b
        num, den = pk_num[p] // a, pk_den[p] // a
        base, origin = pk_base[p], pk_origin[p]
        pivot = np.int64(ticks[bounds[p]])
        whole, rest = _scaled(pivot - origin, num, den)
        near = ((np.int64(1) << 62) - rest) // num if rest >= 0 else np.int64(0)
        inverse = 1.0 / den
        before = max(np.int64(0), np.int64(pk_begin[p]))
        latest = np.int64(0)
        for i in range(bounds[p], bounds[p + 1]):
            k = np.int64(at(kind, i))
            if k >= 0 and at(parts_of, k) != at(parts_of, k + 1):
                begin, end = np.int64(at(place, i)), np.int64(at(stop, i))
                where, size, signs, mask, value, least, more = choices[k]
                if least >= 0:
                    told = integer(buf8, begin + where, size, (signs & 1) != 0, (signs & 2) != 0)
                    good = end - begin >= least + (more if told & mask == value else 0)
                else:
                    good = holds(buf8, begin, end, program, parts_of[k], parts_of[k + 1], starts, sizes)
                if not good:
                    found = report(trouble, found, p, begin, 2, end - begin)
                    kind[i] = k = np.int64(-1)
            passed = at(ticks, i) - pivot
            if den == 1 and num == 1:
                now = base + whole + passed
            elif 0 <= passed < near:
                product = rest + passed * num
                if den < 8192:
                    quotient = product // den
                else:
                    # A division takes five times as long; what is lost in the float is at most one.
                    quotient = np.int64(np.float64(product) * inverse)
                    left = product - quotient * den
                    quotient += np.int64(left >= den) - np.int64(left < 0)
                now = base + whole + quotient
            else:
                now = base + _scaled(at(ticks, i) - origin, num, den)[0]
            if now < 0 or now >= 1 << 61:
                if k >= 0:
                    found = report(trouble, found, p, np.int64(at(place, i)), 7, now)
                    kind[i] = -1
                now = before
            elif now < latest and k >= 0:
                # One row a packet: where a clock was set back, all records behind may be told from there on.
                found = report(trouble, found, p, np.int64(at(place, i)), 9, now)
                latest = -(np.int64(1) << 62)
            elif latest >= 0:
                latest = now
            before = now
            put(time, i, now)
    return found


@compiled
def _tally(
    buf8: np.ndarray, bounds: np.ndarray, kind: np.ndarray, place: np.ndarray, time: np.ndarray, pk_cpu: np.ndarray,
    switch: int, switch_next: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray, last: np.ndarray,
    told_cpu: np.ndarray, told_time: np.ndarray, told_next: np.ndarray,
) -> int:  # fmt: skip
    """Count records by packet and kind, those to be skipped in the last column.

    low, high: the first and last time of each packet with records; last: the task that its last switch went to. All
    switches are told as far as there is room; returns how many were.
    """
    skipped = counts.shape[1] - 1
    where, size, signed, big = switch_next
    told = 0
    for p in range(bounds.size - 1):
        if bounds[p] < bounds[p + 1]:
            low[p] = high[p] = time[bounds[p]]
        for i in range(bounds[p], bounds[p + 1]):
            k = np.int64(at(kind, i))
            counts[p, k if k >= 0 else skipped] += 1
            now = at(time, i)
            low[p] = min(low[p], now)
            high[p] = max(high[p], now)
            if k == switch and k >= 0:
                last[p] = integer(buf8, at(place, i) + where, size, signed != 0, big != 0)
                if told < told_cpu.size:
                    told_cpu[told] = pk_cpu[p]
                    told_time[told] = now
                    told_next[told] = last[p]
                    told += 1
    return told


@compiled
def _enter(
    buf8: np.ndarray, bounds: np.ndarray, kind: np.ndarray, place: np.ndarray, stop: np.ndarray, time: np.ndarray,
    pk_tid: np.ndarray, pk_cpu: np.ndarray, own: np.ndarray, switch: int, switch_next: np.ndarray, wanted: np.ndarray,
    since: int, until: int, first: np.ndarray, last: np.ndarray, out_time: np.ndarray, out_place: np.ndarray,
    out_stop: np.ndarray, out_tid: np.ndarray, out_kind: np.ndarray,
) -> bool:  # fmt: skip
    """Write the entries that are wanted, from first[packet] up to last[packet]; returns whether time goes back.

    Which task ran is what the record says of itself, or what the last switch in the packet said, or pk_tid.
    """
    back = False
    where, size, signed, big = switch_next
    for p in range(bounds.size - 1):
        n = first[p]
        running = np.int64(pk_tid[p])
        cpu = np.uint32(pk_cpu[p]) << np.uint32(16)
        before = -(np.int64(1) << 62)
        for i in range(bounds[p], bounds[p + 1]):
            k = np.int64(at(kind, i))
            if k < 0:
                continue
            begin = np.int64(at(place, i))
            now = at(time, i)
            if wanted[k] and since <= now < until:
                tid = running
                if own[k, 1]:
                    tid = integer(buf8, begin + own[k, 0], own[k, 1], own[k, 2] != 0, own[k, 3] != 0)
                if now < before:
                    back = True
                before = now
                put(out_time, n, now)
                put(out_place, n, np.uint32(begin))
                put(out_stop, n, at(stop, i))
                put(out_tid, n, np.int32(tid))
                put(out_kind, n, np.uint32(k) | cpu)
                n += 1
            if k == switch:
                running = integer(buf8, begin + where, size, signed != 0, big != 0)
        last[p] = n
    return back


def _choice(event: EventPlan) -> tuple[int, ...]:
    """Return how long a payload has to be whose only condition is that of one member of fixed size.

    That is (where the integer is that decides, its size, signs, mask and value; bytes without the member; its own),
    as in a program of `parts.py`; -1 bytes for payloads that are not like that.
    """
    program = event.program
    conditional = program[program[:, 8] != parts.ALWAYS]
    if len(program) == 1 and program[0, 0] == parts.REST and not len(conditional):
        return 0, 1, 0, 0, 1, event.need, 0
    one = len(conditional) == 1 and conditional[0, 8] == parts.IF_EQUAL and conditional[0, 9] == 0
    if not one or (program[:, 0] != parts.FIXED).any():
        return 0, 0, 0, 0, 0, -1, 0
    row = conditional[0]
    sizes = int(program[:, 1].sum() - row[1])
    return *(int(number) for number in row[10:15]), event.need + sizes, int(row[1])


def _place(place: Place | None) -> tuple[int, int, int, int]:
    return (place.offset, place.size, place.signed, place.big) if place else (0, 0, 0, 0)


class RecordWalker(abc.ABC):
    """A walker whose framing only finds records; `shortest` is a lower bound of a record's size in bytes."""

    shortest = 1

    def __init__(self, plan: Plan) -> None:
        """Take what the kernels need from the plan."""
        self.plan = plan
        self.need = np.array([event.need for event in plan.events], np.int64)
        self._own = np.array([_place(event.tid) for event in plan.events], np.int64).reshape(-1, 4)
        self._next = np.array(_place(plan.switch_next), np.int64)
        self._choices = np.array([_choice(event) for event in plan.events], np.int64).reshape(-1, 7)
        self._lent = threading.local()
        #: By (file, offset, CPU) of a packet, filled by `count`: the task that its last switch went to, and, where the
        #: index does not have them, the times of its first and last record.
        self.last: dict[tuple[int, int, int], int] = {}
        self.spans: dict[tuple[int, int, int], tuple[int, int]] = {}
        #: The same where those are not within what the index says.
        self.outside: dict[tuple[int, int, int], tuple[int, int]] = {}
        #: What `count` adds all switches to, where a CPU's are not in the same file as its other records, and what is
        #: made of them.
        self.switches: list[Switches] | None = None
        self.timeline: Timeline | None = None

    @abc.abstractmethod
    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets, each payload at least `need[kind]` bytes and within its packet.

        What payloads need beyond that is checked by the caller, who also fills in their time.

        Records that cannot be read are left out or get kind -1, and a row of trouble: (packet, byte in the buffer,
        code, value), see `trouble.TROUBLE`. Also returns how many of those there were.
        """

    def room(self, packets: int, records: int) -> Records:
        """Return room for so many, the same whenever this thread asks."""
        had: Records | None = getattr(self._lent, "room", None)
        if had is None or had.kind.size < records or had.bounds.size <= packets:
            had = self._lent.room = Records.empty(packets + packets // 2, records + records // 2)
        return had._replace(bounds=had.bounds[: packets + 1])

    def _records(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        records, found = self.find(buffer, starts, packets, trouble)
        clocks = (packets[name] for name in ("base", "origin", "num", "den", "begin"))
        found = _settle(
            buffer.view(np.uint8), *records, *clocks, self._choices, self.plan.program, self.plan.first, trouble, found
        )  # type: ignore[call-arg]
        return records, int(found)

    def count(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> int:
        """Count as `batch.Walker` has it, and remember the last switch of each packet."""
        records, found = self._records(buffer, starts, packets, trouble)
        last = np.full(packets.size, TASK_UNKNOWN, np.int64)
        low, high = packets["begin"].copy(), packets["begin"].copy()
        told = Switches.empty(0 if self.switches is None else int(records.bounds[-1]))
        bounds, kind, _, place, _, time = records
        number = _tally(
            buffer.view(np.uint8), bounds, kind, place, time, packets["cpu"], self.plan.switch, self._next, counts, low,
            high, last, *told,
        )  # fmt: skip
        if self.switches is not None:
            self.switches.append(Switches(*(array[:number].copy() for array in told)))
        for i in np.flatnonzero(last != TASK_UNKNOWN):
            self.last[packet_key(packets[i])] = int(last[i])
        for i in np.flatnonzero(packets["end"] == END_UNKNOWN):
            self.spans[packet_key(packets[i])] = int(low[i]), int(high[i])
        outside = (low < packets["begin"]) | (high > packets["end"])
        for i in np.flatnonzero(outside & (packets["end"] != END_UNKNOWN) & (bounds[:-1] < bounds[1:])):
            self.outside[packet_key(packets[i])] = int(low[i]), int(high[i])
        return found

    def enter(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, wanted: Wanted, first: np.ndarray,
        entries: Entries,
    ) -> np.ndarray:  # fmt: skip
        """Write the entries of loaded packets as `batch.Walker` has it."""
        records, _ = self._records(buffer, starts, packets, np.zeros((0, 4), np.int64))
        last = np.zeros(len(packets), np.int64)
        bounds, kind, _, place, stop, time = records
        back = _enter(
            buffer.view(np.uint8), bounds, kind, place, stop, time, packets["tid"], packets["cpu"], self._own,
            self.plan.switch, self._next, wanted.kinds, wanted.since, wanted.until, first, last, *entries,
        )  # fmt: skip
        if self.timeline is not None:
            fill_tasks(self.timeline, packets["cpu"], first, last, entries.time, entries.tid)
        if back:
            entries.sort(first, last)
        return last
