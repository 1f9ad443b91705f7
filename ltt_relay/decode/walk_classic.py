# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,no-any-return,return-value"
"""Walking records whose length only their id tells (`formats.classic_walk.ClassicFraming`): LTT before LTTng."""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.memory import at, integer, put
from ltt_relay.decode.packets import END_UNKNOWN
from ltt_relay.decode.plan import Plan
from ltt_relay.decode.records import Records, RecordWalker
from ltt_relay.decode.trouble import report
from ltt_relay.formats.classic_walk import ClassicFraming

__all__ = ("ClassicWalker",)

# Columns of `shapes`, a row for each id: bytes of the struct (-1: no such id), whether it begins with a sub-number,
# where a length is in it, what is added to that, the sub-numbers that have it, whether a text follows, and bytes
# behind that.
_COLUMNS = 7


@inner
def _length(buf8: np.ndarray, body: int, content: int, shape: np.ndarray, big: bool) -> int:
    """Return the bytes of struct and what is behind it; more than there is room for if that is damaged."""
    size = shape[0]
    if shape[5] != 0:
        p = body + size
        while p < content and buf8[p] != 0:
            p += 1
        return p + 1 - body + shape[6]
    if shape[2] < 0 or body + size > content:
        return size
    if shape[1] != 0 and shape[4] >= 0 and not (buf8[body] < 32 and (shape[4] >> np.int64(buf8[body])) & 1):
        return size
    return size + integer(buf8, body + shape[2], 4, False, big) + shape[3]


@inner
def _is_start(buf8: np.ndarray, a: int, content: int, big: bool) -> bool:
    return a + 9 <= content and buf8[a] == 0 and integer(buf8, a + 5, 4, False, big) == 0x00D6B7ED


@inner
def _borders(buf8: np.ndarray, first: int, last: int, least: int, big: bool, borders: np.ndarray) -> int:
    """Fill in where records begin, from the last one back as far as their sizes lead; returns how many."""
    borders[0] = last
    n = 1
    a = last
    while a - 2 >= first:
        size = integer(buf8, a - 2, 2, False, big)
        if size < least or a - size < first:
            break
        a -= size
        borders[n] = a
        n += 1
    return n


@inner
def _interpolate(elapsed: int, total: int, span: int) -> int:
    """As `formats.classic_walk.interpolate`."""
    if total <= 0:
        return 0
    high, low = span >> 20, span & 0xFFFFF
    part = elapsed * high
    whole = part // total
    return (whole << 20) + ((part - whole * total << 20) + elapsed * low) // total


@inner
def _to_ns(ticks: np.ndarray, first: int, last: int, span: int) -> None:
    """Turn cycles into ns: the last record is `span` from the first."""
    total = ticks[last - 1]
    shift = 0
    most = ((np.int64(1) << 62) - 1) // ((span >> 20) + 1)
    while total >> shift >= 1 << 42 or total >> shift > most:
        shift += 1
    for i in range(first, last):
        ticks[i] = _interpolate(ticks[i] >> shift, total >> shift, span)


@compiled
def _find(
    buf8: np.ndarray, begin: np.ndarray, end: np.ndarray, cpus: np.ndarray, spans: np.ndarray, shapes: np.ndarray,
    sizes_of: np.ndarray, subs_of: np.ndarray, big: bool, id_size: int, has_cpu: bool, sizes: bool, end_size: bool,
    cycles: bool, lead: int,
    kind_of_id: np.ndarray, bounds: np.ndarray, kind: np.ndarray, ticks: np.ndarray, at_: np.ndarray, stop_: np.ndarray,
    borders: np.ndarray, trouble: np.ndarray,
) -> int:  # fmt: skip
    """Find the records of each packet; returns how many rows of trouble there were.

    lead: of CPUs that share a file, the one that has what belongs to none of them; -1 if they do not.
    """
    n = 0
    bad = 0
    head = id_size + 4
    start_length = head + shapes[17, 0] + 2 * sizes
    end_length = head + shapes[18, 0] + 2 * (sizes and end_size) + has_cpu
    for p in range(begin.size):
        base = begin[p]
        content = end[p]
        a = base
        first = n
        passed = np.int64(0)
        # Even of a BUFFER_START whose size is wrong the time is what others count from.
        previous = integer(buf8, a + id_size, 4, False, big) if a + head <= content else np.int64(0)
        span = spans[p]
        known = np.int64(-1)
        while a + head <= content:
            skip = 0
            if has_cpu and a > base and not (a == base + start_length and _is_start(buf8, a, content, big)):
                skip = 1
            body = a + skip + head
            code = 0
            value = np.int64(0)
            number = np.int64(0)
            delta = np.int64(0)
            stop = a
            behind = a
            if body > content:
                code = 1
            else:
                number = np.int64(at(buf8, a + skip)) if id_size == 1 else integer(buf8, a + skip, id_size, False, big)
                delta = integer(buf8, a + skip + id_size, 4, False, big)
                fixed = at(sizes_of, number) if number < sizes_of.size else np.int64(-1)
                if fixed == -1:
                    code = 3
                    value = number
                else:
                    stop = body + (fixed if fixed >= 0 else _length(buf8, body, content, shapes[number], big))
                    tail = 2 if sizes and (number != 18 or end_size) else 0
                    behind = stop + tail
                    if behind > content or (number == 18 and behind != content):
                        code = 1
                        value = behind - a
                    elif tail and number != 18 and integer(buf8, stop, 2, False, big) != behind - a:
                        code = 1
                        value = integer(buf8, stop, 2, False, big)
            mine = lead < 0 or (np.int64(buf8[a]) == cpus[p] if skip else cpus[p] == lead)
            if code:
                if lead < 0 or cpus[p] == lead:
                    bad = report(trouble, bad, p, a, code, value)
                    kind[n] = -1
                    ticks[n] = passed if cycles else passed * 1000
                    at_[n] = a
                    stop_[n] = a
                    n += 1
                if known < 0:
                    last = content - end_length
                    known = 0
                    if sizes and last >= base + start_length and buf8[last + has_cpu] == 18:
                        known = _borders(buf8, base + start_length, last, head + 2, big, borders)
                # They go back in place: the last one that is beyond this one is the next.
                while known > 0 and borders[known - 1] <= a:
                    known -= 1
                if known == 0:
                    break
                a = borders[known - 1]
                continue
            if cycles:
                if number == 17 and a == base:
                    previous = delta
                elif (number != 18 or span >= 0) and not (number == 0 and sizes):
                    passed += (delta - previous) & 0xFFFFFFFF
                    previous = delta
            elif number == 18:
                if span >= 0:
                    passed = max(passed, span // 1000)
            elif number != 17 and number != 0:
                step = delta - (passed & 0xFFFFFFFF)
                if step < 0 and span >= 0 and behind == content - end_length:
                    passed = max(passed, span // 1000)
                elif step >= 0 or step < -2147483648:
                    passed += step & 0xFFFFFFFF
            if mine:
                which = number
                if stop > body:
                    if at(subs_of, number):
                        which = number | np.int64(buf8[body]) << 8
                    elif number == 20:
                        custom = integer(buf8, body, 4, False, big)
                        which = 0x8000 | custom if custom < 0x8000 else number
                k = at(kind_of_id, which)
                if k < 0:
                    k = at(kind_of_id, number)
                put(kind, n, k)
                put(ticks, n, passed if cycles else passed * 1000)
                put(at_, n, np.uint32(body))
                put(stop_, n, np.uint32(stop))
                n += 1
            a = behind
            if number == 18:
                break
        if cycles and span >= 0 and n > first:
            _to_ns(ticks, first, n, span)
        bounds[p + 1] = n
    return bad


class ClassicWalker(RecordWalker):
    """Finds the records of LTT."""

    def __init__(self, plan: Plan) -> None:
        """Turn the framing into arrays."""
        super().__init__(plan)
        framing = plan.format.framing
        assert isinstance(framing, ClassicFraming)
        shapes = np.full((256, _COLUMNS), -1, np.int64)
        for number, s in framing.shapes.items():
            shapes[number] = (s.size, s.sub, s.length_at, s.extra, s.subs, s.text, s.tail)
        # What most records are: of one size, told by their id alone; -2 for those that are not.
        varied = (shapes[:, 2] >= 0) | (shapes[:, 5] > 0)
        sizes = np.where(varied & (shapes[:, 0] >= 0), -2, shapes[:, 0])
        self._rules = (
            shapes, sizes, (shapes[:, 1] > 0).astype(np.int64), framing.order == ">", framing.id_size,
            int(framing.cpu), int(framing.sizes),
            int(framing.end_size), framing.cycles, framing.cpus[0] if framing.cpus else -1, plan.kind_of_id,
        )  # fmt: skip
        self.shortest = framing.head + 2 * framing.sizes + framing.cpu

    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets."""
        most = packets["content"] // self.shortest + 2
        room = self.room(packets.size, int(most.sum()))
        borders = np.empty(int(most.max(initial=1)) + 1, np.int64)
        # A scale is for what does not tell its end, even when the records have told it meanwhile.
        untold = (packets["end"] == END_UNKNOWN) | (packets["den"] != 1)
        spans = np.where(untold, -1, packets["end"] - packets["base"])
        inputs = (buffer.view(np.uint8), starts, starts + packets["content"], packets["cpu"].astype(np.int64), spans)
        return room, _find(*inputs, *self._rules, *room[:-1], borders, trouble)
