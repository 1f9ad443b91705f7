# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking for every framing but LTT 3.0's: a subclass of `RecordWalker` finds records, this tells time and task."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

import numpy as np

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.memory import integer
from ltt_relay.decode.packets import END_UNKNOWN, TASK_UNKNOWN, packet_key
from ltt_relay.decode.parts import MAX_PARTS, holds
from ltt_relay.decode.plan import Place, Plan
from ltt_relay.decode.timeline import Timeline, fill_tasks

__all__ = ("RecordWalker", "Records")


_LATEST = 1 << 61


@dataclass(slots=True)
class Records:
    """Records in the order of the packets and of their places: arrays of one length.

    packet: row of the loaded packets; kind: index in plan.events, -1 for one that is to be skipped; ticks: its time,
    as `formats.loaded.Packet.scale` wants it; at, stop: begin and end of its payload, bytes in the buffer; time: its
    time in ns, made in common.
    """

    packet: np.ndarray
    kind: np.ndarray
    ticks: np.ndarray
    at: np.ndarray
    stop: np.ndarray
    time: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@compiled
def _check(
    buf8: np.ndarray, records_packet: np.ndarray, kind: np.ndarray, at: np.ndarray, stop: np.ndarray,
    program: np.ndarray, first: np.ndarray, trouble: np.ndarray, found: int,
) -> int:  # fmt: skip
    """Give kind -1 and a row of trouble to payloads too short for their members of variable place."""
    starts = np.empty(MAX_PARTS + 1, np.int64)
    sizes = np.empty(MAX_PARTS + 1, np.int64)
    for i in range(kind.size):
        k = kind[i]
        if k < 0 or first[k] == first[k + 1]:
            continue
        if not holds(buf8, at[i], stop[i], program, first[k], first[k + 1], starts, sizes):
            kind[i] = -1
            if found < trouble.shape[0]:
                trouble[found, 0] = records_packet[i]
                trouble[found, 1] = at[i]
                trouble[found, 2] = 2
                trouble[found, 3] = stop[i] - at[i]
            found += 1
    return found


@compiled
def _times(
    packet: np.ndarray, ticks: np.ndarray, pk_base: np.ndarray, pk_origin: np.ndarray, pk_num: np.ndarray,
    pk_den: np.ndarray, time: np.ndarray,
) -> None:  # fmt: skip
    """Turn ticks into ns. The product may need more than 64 bits, so whole and broken parts are scaled apart."""
    for i in range(packet.size):
        p = packet[i]
        passed = ticks[i] - pk_origin[p]
        num, den = pk_num[p], pk_den[p]
        if num == 1 and den == 1:
            time[i] = pk_base[p] + passed
        elif num < 1 << 31 or den == 1:
            whole = passed // den
            time[i] = pk_base[p] + whole * num + (passed - whole * den) * num // den
        else:
            whole = passed // den
            rest = passed - whole * den
            high = num // den
            low = num - high * den
            part = rest * high
            # rest < den and low < den: where their product is too long for an integer, a float is near enough to 1 ns.
            if den < 1 << 31:
                part += rest * low // den
            else:
                part += np.int64(np.float64(rest) * np.float64(low) / np.float64(den))
            time[i] = pk_base[p] + whole * num + part


@compiled
def _tasks(
    buf8: np.ndarray, packet: np.ndarray, kind: np.ndarray, at: np.ndarray, pk_tid: np.ndarray, own: np.ndarray,
    switch: int, switch_next: np.ndarray, tid: np.ndarray, last: np.ndarray,
) -> None:  # fmt: skip
    """Say which task ran: what the record says of itself, or what the last switch in the packet said, or pk_tid.

    last[packet]: the task that the packet's last switch went to; untouched where there is none.
    """
    current = -1
    running = np.int64(-2)
    for i in range(packet.size):
        if packet[i] != current:
            current = packet[i]
            running = pk_tid[current]
        k = kind[i]
        if k < 0:
            continue
        tid[i] = integer(buf8, at[i] + own[k, 0], own[k, 1], own[k, 2] != 0, own[k, 3] != 0) if own[k, 1] else running
        if k == switch:
            where, size, signed, big = switch_next
            running = integer(buf8, at[i] + where, size, signed != 0, big != 0)
            last[current] = running


@compiled
def _enter(
    packet: np.ndarray, kind: np.ndarray, time: np.ndarray, tid: np.ndarray, at: np.ndarray, stop: np.ndarray,
    pk_cpu: np.ndarray, wanted: np.ndarray, since: int, until: int, first: np.ndarray, out_time: np.ndarray,
    out_place: np.ndarray, out_stop: np.ndarray, out_tid: np.ndarray, out_kind: np.ndarray, last: np.ndarray,
) -> bool:  # fmt: skip
    """Write the entries that are wanted, from first[packet] up to last[packet]; returns whether time goes back."""
    last[:] = first
    back = False
    for i in range(packet.size):
        k = kind[i]
        if k < 0 or not wanted[k] or time[i] < since or time[i] >= until:
            continue
        p = packet[i]
        n = last[p]
        if n > first[p] and time[i] < out_time[n - 1]:
            back = True
        out_time[n] = time[i]
        out_place[n] = at[i]
        out_stop[n] = stop[i]
        out_tid[n] = tid[i]
        out_kind[n] = np.uint32(k) | np.uint32(pk_cpu[p]) << np.uint32(16)
        last[p] = n + 1
    return back


@compiled
def _tally(packet: np.ndarray, kind: np.ndarray, counts: np.ndarray) -> None:
    """Count records by packet and kind, those to be skipped in the last column."""
    skipped = counts.shape[1] - 1
    for i in range(packet.size):
        counts[packet[i], kind[i] if kind[i] >= 0 else skipped] += 1


def _place(place: Place | None) -> tuple[int, int, int, int]:
    return (place.offset, place.size, place.signed, place.big) if place else (0, 0, 0, 0)


def _time(packets: np.ndarray, records: Records) -> np.ndarray:
    time = np.empty(records.at.size, np.int64)
    _times(records.packet, records.ticks, packets["base"], packets["origin"], packets["num"], packets["den"], time)
    return time


def _check_times(records: Records, packets: np.ndarray, trouble: np.ndarray, found: int) -> int:
    """Leave out records whose time no clock can have: it would end the merge, and with it all that follow."""
    for i in np.flatnonzero((records.time < 0) | (records.time >= _LATEST)):
        if records.kind[i] >= 0:
            if found < len(trouble):
                trouble[found] = (records.packet[i], records.at[i], 7, records.time[i])
            found += 1
            records.kind[i] = -1
        same = i > 0 and records.packet[i - 1] == records.packet[i]
        records.time[i] = records.time[i - 1] if same else max(0, packets["begin"][records.packet[i]])
    return found


class RecordWalker(abc.ABC):
    """A walker whose framing only finds records; `shortest` is a lower bound of a record's size in bytes."""

    shortest = 1

    def __init__(self, plan: Plan) -> None:
        """Take what the kernels need from the plan."""
        self.plan = plan
        self.need = np.array([event.need for event in plan.events], np.int64)
        self._own = np.array([_place(event.tid) for event in plan.events], np.int64).reshape(-1, 4)
        self._next = np.array(_place(plan.switch_next), np.int64)
        #: By (file, offset, CPU) of a packet, filled by `count`: the task that its last switch went to, and, where the
        #: index does not have them, the times of its first and last record.
        self.last: dict[tuple[int, int, int], int] = {}
        self.spans: dict[tuple[int, int, int], tuple[int, int]] = {}
        #: Who ran when, where a CPU's switches are not in the same file as its other records.
        self.timeline: Timeline | None = None

    @abc.abstractmethod
    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets, each payload at least `need[kind]` bytes and within its packet.

        What payloads need beyond that is checked by the caller.

        Records that cannot be read are left out or get kind -1, and a row of trouble: (packet, byte in the buffer,
        code, value), see `source.TROUBLE`. Also returns how many of those there were.
        """

    def _records(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        records, found = self.find(buffer, starts, packets, trouble)
        found = _check(
            buffer.view(np.uint8), records.packet, records.kind, records.at, records.stop, self.plan.program,
            self.plan.first, trouble, found,
        )  # fmt: skip
        records.time = _time(packets, records)
        return records, _check_times(records, packets, trouble, int(found))

    def _tids(self, buffer: np.ndarray, packets: np.ndarray, records: Records) -> tuple[np.ndarray, np.ndarray]:
        tid = np.full(records.at.size, TASK_UNKNOWN, np.int64)
        last = np.full(packets.size, TASK_UNKNOWN, np.int64)
        _tasks(
            buffer.view(np.uint8), records.packet, records.kind, records.at, packets["tid"].astype(np.int64),
            self._own, self.plan.switch, self._next, tid, last,
        )  # fmt: skip
        return tid, last

    def count(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> int:
        """Count as `batch.Walker` has it, and remember the last switch of each packet."""
        records, found = self._records(buffer, starts, packets, trouble)
        _tally(records.packet, records.kind, counts)
        if self.plan.switch >= 0:
            _, last = self._tids(buffer, packets, records)
            for i in np.flatnonzero(last != TASK_UNKNOWN):
                self.last[packet_key(packets[i])] = int(last[i])
        if (packets["end"] == END_UNKNOWN).any():
            for i in np.flatnonzero(packets["end"] == END_UNKNOWN):
                mine = records.time[np.searchsorted(records.packet, i) : np.searchsorted(records.packet, i, "right")]
                span = (int(mine.min()), int(mine.max())) if mine.size else (int(packets["begin"][i]),) * 2
                self.spans[packet_key(packets[i])] = span
        return found

    def enter(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, wanted: Wanted, first: np.ndarray,
        entries: Entries,
    ) -> np.ndarray:  # fmt: skip
        """Write the entries of loaded packets as `batch.Walker` has it."""
        records, _ = self._records(buffer, starts, packets, np.zeros((0, 4), np.int64))
        time = records.time
        tid, _ = self._tids(buffer, packets, records)
        if self.timeline is not None:
            fill_tasks(self.timeline, packets["cpu"][records.packet], time, tid)
        last = np.zeros(len(packets), np.int64)
        back = _enter(
            records.packet, records.kind, time, tid, records.at, records.stop, packets["cpu"].astype(np.int64),
            wanted.kinds, wanted.since, wanted.until, first.astype(np.int64), *entries, last,
        )  # fmt: skip
        if back:
            # A clock that was set back, or damage.
            for a, b in zip(first, last, strict=True):
                order = np.argsort(entries.time[a:b], kind="stable")
                for array in entries:
                    array[a:b] = array[a:b][order]
        return last
