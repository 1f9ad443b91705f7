# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Walking records behind a word of 5 bits of id and 27 of time (`formats.lttng2_layout.CompactFraming`).

Most records do not say how long they are: that follows from the payload's members, of which texts have to be looked
at. So each kind of record is a row of steps: bytes of fixed size on a boundary, or a text.
"""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.memory import at, integer, put
from ltt_relay.decode.parts import nul
from ltt_relay.decode.plan import Plan
from ltt_relay.decode.records import Records, RecordWalker
from ltt_relay.decode.trouble import report
from ltt_relay.formats.fields import BIG
from ltt_relay.formats.layout import Alignment, CString, Scalar, UnsupportedFieldError, members
from ltt_relay.formats.lttng2_layout import CompactFraming

__all__ = ("CompactWalker",)


@inner
def _end(buf8: np.ndarray, begin: int, limit: int, steps: np.ndarray, first: int, last: int) -> int:
    """Return where a payload that begins at `begin` ends, limit + 1 if beyond the limit."""
    p = begin
    for s in range(first, last):
        size = steps[s, 0]
        if size > 0:
            p += ((begin - p) & (steps[s, 1] - 1)) + size
            if p > limit:
                return limit + 1
        else:
            p = nul(buf8, p, limit)
            if p >= limit:
                return limit + 1
            p += 1
    return p


@compiled
def _find(
    buf8: np.ndarray, begin: np.ndarray, first: np.ndarray, end: np.ndarray, ticks0: np.ndarray, stream: np.ndarray,
    id_first: np.ndarray, ids: np.ndarray, boundary: np.ndarray, step_first: np.ndarray, steps: np.ndarray, big: bool,
    word_align: int, time_align: int, need: np.ndarray, bounds: np.ndarray, kind: np.ndarray, ticks: np.ndarray,
    at_: np.ndarray, stop_: np.ndarray, trouble: np.ndarray,
) -> int:  # fmt: skip
    """Find the records of each packet; returns how many rows of trouble there were."""
    n = 0
    bad = 0
    for p in range(begin.size):
        base = begin[p]
        limit = end[p]
        a = base + first[p]
        time = ticks0[p]
        row = id_first[stream[p]]
        row_size = id_first[stream[p] + 1] - row
        while True:
            a += (base - a) & (word_align - 1)
            if a + 4 > limit:
                break
            start = a
            word = integer(buf8, a, 4, False, big)
            id_ = word >> 27
            low = word & 0x7FFFFFF
            a += 4
            size = np.int64(-1)
            if low < (time & 0x7FFFFFF):
                time += 1 << 27
            time = (time & ~np.int64(0x7FFFFFF)) | low
            code = 0
            if id_ >= 29:
                how = id_
                id_ = np.int64(-1)
                if a + 2 <= limit:
                    id_ = integer(buf8, a, 2, False, big)
                    a += 2
                else:
                    code = 1
                if how != 31 and code == 0:
                    if a + 2 <= limit:
                        size = integer(buf8, a, 2, False, big)
                        a += 2
                        if size == 0xFFFF:
                            if a + 4 <= limit:
                                size = integer(buf8, a, 4, False, big)
                                a += 4
                            else:
                                code = 1
                    else:
                        code = 1
                if how == 29 and code == 0:
                    a += (base - a) & (time_align - 1)
                    if a + 8 <= limit:
                        time = integer(buf8, a, 8, False, big)
                        a += 8
                    else:
                        code = 1
            k = np.int64(-1)
            if 0 <= id_ < row_size:
                k = np.int64(at(ids, row + id_))
            value = id_
            if code == 0:
                if k >= 0:
                    a += (base - a) & (at(boundary, k) - 1)
                if size >= 0:
                    last = a + size
                elif k >= 0:
                    last = _end(buf8, a, limit, steps, step_first[k], step_first[k + 1])
                else:
                    # Neither its size nor what it is: nothing tells where the next record is.
                    code = 5
                    last = a
                if code == 0 and (last > limit or last < a):
                    code = 1
                    value = last - start
            if code:
                bad = report(trouble, bad, p, start, code, value)
                break
            if k >= 0 and last - a < at(need, k):
                bad = report(trouble, bad, p, start, 2, last - a)
                k = np.int64(-1)
            elif k < 0:
                bad = report(trouble, bad, p, start, 3, id_)
            put(kind, n, np.int32(k))
            put(ticks, n, time)
            put(at_, n, np.uint32(a))
            put(stop_, n, np.uint32(last))
            n += 1
            a = last
        bounds[p + 1] = n
    return bad


def _steps(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Return the first step of each kind (and the end), and the steps: (size, boundary), size 0 for a text."""
    first = [0]
    steps: list[tuple[int, int]] = []
    for event in plan.events:
        boundary = 1
        for member in members(event.event.payload):
            match member.kind:
                case Alignment(modulus):
                    boundary = modulus
                case Scalar(size=size):
                    steps.append((size, boundary))
                    boundary = 1
                case CString():
                    steps.append((0, 1))
                case kind:
                    path = f"{event.event.name}.{member.name}"
                    raise UnsupportedFieldError(f"{path}: {type(kind).__name__} is not what markers have")
        first.append(len(steps))
    return np.array(first, np.int64), np.array(steps, np.int64).reshape(-1, 2)


class CompactWalker(RecordWalker):
    """Finds records behind compact headers."""

    #: Bytes of the word that each begins with.
    shortest = 4

    def __init__(self, plan: Plan) -> None:
        """Turn the framing into arrays."""
        super().__init__(plan)
        framing = plan.format.framing
        assert isinstance(framing, CompactFraming)
        kinds = {event.event.id: kind for kind, event in enumerate(plan.events)}
        rows = [[kinds.get(id_, -1) for id_ in row] for row in framing.ids]
        id_first = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        ids = np.array([kind for row in rows for kind in row] or [-1], np.int64)
        boundaries = np.array([framing.payload_alignments[e.event.id] for e in plan.events] or [1], np.int64)
        alignments = (framing.order == BIG, framing.alignment, framing.time_alignment)
        self._rules = (id_first, ids, boundaries, *_steps(plan), *alignments, self.need)

    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets."""
        room = self.room(packets.size, int(((packets["content"] - packets["first"]) // 4 + 1).sum()))
        inputs = (buffer.view(np.uint8), starts, packets["first"], starts + packets["content"], packets["ticks"])
        return room, _find(*inputs, packets["stream"], *self._rules, *room[:-1], trouble)
