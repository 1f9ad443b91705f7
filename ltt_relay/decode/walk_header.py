# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking records behind a header of any layout (`formats.base.HeaderFraming`): blktrace, and formats of one's own."""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.memory import at, integer, put
from ltt_relay.decode.plan import Place, Plan, member_place
from ltt_relay.decode.records import Records, RecordWalker
from ltt_relay.decode.trouble import report
from ltt_relay.formats.base import HeaderFraming

__all__ = ("HeaderWalker",)


@inner
def _read(buf8: np.ndarray, at: int, place: np.ndarray) -> int:
    """Read an integer; place: offset, size, signed, big."""
    return integer(buf8, at + place[0], place[1], place[2] != 0, place[3] != 0)


@compiled
def _find(
    buf8: np.ndarray, begin: np.ndarray, first: np.ndarray, end: np.ndarray, ticks0: np.ndarray,
    fields: np.ndarray, times: np.ndarray, header: int, skip: int, extra: int, align: int, id_mask: int,
    flag_mask: int, flag_value: int, magic_mask: int, magic_value: int, bits: int, cpus: np.ndarray,
    sharers: np.ndarray, kind_of_id: np.ndarray, need: np.ndarray, bounds: np.ndarray, kind: np.ndarray,
    ticks: np.ndarray, at_: np.ndarray, stop_: np.ndarray, trouble: np.ndarray,
) -> int:  # fmt: skip
    """Find the records of each packet; returns how many rows of trouble there were.

    fields: places of id, length, time, magic and CPU in the header, size 0 for what it has not; times: the same of the
    time in the payload of each kind; cpus: by packet; sharers: those that share files, none if they do not: each has
    packets of the same bytes, and the first has what belongs to none of them.
    """
    n = 0
    bad = 0
    # In variables, as the compiler does not know that nothing here writes to the table.
    id_at, id_size, id_signed, id_big = fields[0]
    length_at, length_size, length_signed, length_big = fields[1]
    time_at, time_size, time_signed, time_big = fields[2]
    magic_at, magic_size, magic_signed, magic_big = fields[3]
    cpu_at, cpu_size, cpu_signed, cpu_big = fields[4]
    for p in range(begin.size):
        a = begin[p] + first[p]
        limit = end[p]
        now = ticks0[p]
        broken = False
        leads = sharers.size == 0 or cpus[p] == sharers[0]
        while a < limit and a + header <= limit:
            code = 0
            value = np.int64(0)
            if magic_size:
                value = integer(buf8, a + magic_at, magic_size, magic_signed != 0, magic_big != 0)
                if value & magic_mask != magic_value:
                    code = 4
            id_ = np.int64(0)
            if id_size:
                raw = integer(buf8, a + id_at, id_size, id_signed != 0, id_big != 0)
                id_ = raw & id_mask
                if raw & flag_mask:
                    id_ += flag_value
            k = np.int64(at(kind_of_id, id_)) if 0 <= id_ < kind_of_id.size else np.int64(-1)
            length = np.int64(0)
            if length_size:
                length = integer(buf8, a + length_at, length_size, length_signed != 0, length_big != 0) + extra
            elif k >= 0:
                length = skip + at(need, k)
            if code == 0 and (length < header or length <= 0 or length > limit - a):
                code = 1
                value = length
            if code:
                # Nothing tells where the next record is.
                if leads:
                    bad = report(trouble, bad, p, a, code, value)
                broken = True
                break
            if sharers.size:
                owner = integer(buf8, a + cpu_at, cpu_size, cpu_signed != 0, cpu_big != 0)
                if owner != cpus[p]:
                    strange = leads
                    for sharer in sharers:
                        strange = strange and sharer != owner
                    if not strange:
                        a += length
                        continue
            if k < 0 or length < skip + at(need, k):
                bad = report(trouble, bad, p, a, 3 if k < 0 else 2, id_ if k < 0 else length)
                k = np.int64(-1)
            time = now
            known = False
            if time_size:
                time = integer(buf8, a + time_at, time_size, time_signed != 0, time_big != 0)
                known = True
            elif k >= 0 and times[k, 1]:
                time = _read(buf8, a + skip, times[k])
                known = True
            if known:
                if bits < 64:
                    time = now + ((time - now) & ((np.int64(1) << bits) - 1))
                now = time
            put(kind, n, np.int32(k))
            put(ticks, n, time)
            put(at_, n, np.uint32(a + skip))
            put(stop_, n, np.uint32(a + length))
            n += 1
            a += length
            if align > 1:
                a = begin[p] + (a - begin[p] + align - 1) // align * align
        if a < limit and not broken and leads:
            bad = report(trouble, bad, p, a, 6, limit - a)
        bounds[p + 1] = n
    return bad


def _row(place: Place | None) -> tuple[int, int, int, int]:
    return (place.offset, place.size, place.signed, place.big) if place else (0, 0, 0, 0)


class HeaderWalker(RecordWalker):
    """Finds records behind a header."""

    def __init__(self, plan: Plan) -> None:
        """Turn the framing into arrays."""
        super().__init__(plan)
        framing = plan.format.framing
        assert isinstance(framing, HeaderFraming)
        header = framing.header
        magic, mask, value = framing.magic or (None, 0, 0)
        names = (framing.id, framing.length, framing.time, magic, framing.cpu)
        self._fields = np.array([_row(member_place(header, name) if name else None) for name in names], np.int64)
        self._times = np.array(
            [_row(member_place(e.event.payload, e.event.time) if e.event.time else None) for e in plan.events], np.int64
        ).reshape(-1, 4)
        size = header.sizeof()
        skip = size if framing.skip is None else framing.skip
        flag = framing.id_flag or (0, 0)
        # With a payload that has the header in it, the shortest record is the header all the same.
        self._numbers = (size, skip, framing.extra, framing.align, framing.id_mask, *flag, mask, value)
        self._bits = plan.format.clock.bits
        self._sharers = np.array(framing.cpus if framing.cpu else (), np.int64)
        self.shortest = max(size if framing.length else min((skip + int(n) for n in self.need), default=size), 1)

    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets."""
        most = int(((packets["content"] - packets["first"]) // self.shortest + 1).sum())
        room = self.room(packets.size, most)
        inputs = (buffer.view(np.uint8), starts, packets["first"], starts + packets["content"], packets["ticks"])
        rules = (
            self._fields,
            self._times,
            *self._numbers,
            self._bits,
            packets["cpu"],
            self._sharers,
            self.plan.kind_of_id,
            self.need,
        )
        return room, _find(*inputs, *rules, *room[:-1], trouble)
