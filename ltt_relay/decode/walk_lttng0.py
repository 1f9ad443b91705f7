# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,no-any-return,return-value"
"""Walking the records of LTTng 0.3 to 1.0 (`formats.lttng0_layout.LttngFraming`)."""

from __future__ import annotations

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.memory import integer, on_stack, put
from ltt_relay.decode.parts import PLACES, fits
from ltt_relay.decode.plan import Plan
from ltt_relay.decode.records import Records, RecordWalker
from ltt_relay.decode.trouble import report
from ltt_relay.formats.lttng0_layout import LttngFraming

__all__ = ("LttngWalker",)


@inner
def _aligned(at: int, base: int, cap: int, size: int) -> int:
    """Return the first place from `at` on, counted from `base`, where something of that size can be."""
    unit = min(cap, size)
    return at + ((base - at) & (unit - 1))


@inner
def _measure(
    buf8: np.ndarray, body: int, content: int, k: int, need: np.ndarray, program: np.ndarray, parts_of: np.ndarray,
    starts: np.ndarray, sizes: np.ndarray,
) -> int:  # fmt: skip
    """Return where the payload of a kind ends, -1 if it does not fit."""
    if body + need[k] > content:
        return -1
    first, last = parts_of[k], parts_of[k + 1]
    if first == last:
        return body + need[k]
    if not fits(buf8, body, content, program, first, last, starts, sizes):
        return -1
    n = last - first
    # The size of a text leaves out its NUL.
    return starts[n] + max(sizes[n], 0) + (1 if program[last - 1, 0] == 1 else 0)


@compiled
def _find(
    buf8: np.ndarray, begin: np.ndarray, first: np.ndarray, end: np.ndarray, ticks0: np.ndarray, compact: np.ndarray,
    wides: np.ndarray, big: bool, pointer: int, cap: int, us: bool, bits: int, truncated: int, id_bits: int,
    compact_base: int, markers: bool, kind_of_id: np.ndarray, need: np.ndarray, program: np.ndarray,
    parts_of: np.ndarray, bounds: np.ndarray, kind: np.ndarray, ticks: np.ndarray, at_: np.ndarray, stop_: np.ndarray,
    trouble: np.ndarray,
) -> int:  # fmt: skip
    """Find the records of each packet; returns how many rows of trouble there were."""
    starts = on_stack(PLACES)
    sizes = on_stack(PLACES)
    n = 0
    bad = 0
    for p in range(begin.size):
        base = begin[p]
        content = end[p]
        at = base + first[p]
        now = ticks0[p]
        small, wide = compact[p], wides[p]
        size = 4 if small else 12 if wide else 8
        mask = (np.int64(1) << (bits + truncated if small else 32)) - 1
        low = (np.int64(1) << truncated) - 1 if small else np.int64(0)
        while True:
            at = _aligned(at, base, cap, size)
            if at + size > content:
                break
            length = np.int64(-1)
            body = at + size
            if small:
                word = integer(buf8, at, 4, False, big)
                number = (word >> bits) & ((np.int64(1) << id_bits) - 1)
                number += compact_base
                time = (word & ((np.int64(1) << bits) - 1)) << truncated
            else:
                time = integer(buf8, at, 8 if wide else 4, False, big)
                place = at + size - 4
                # Facility and event are a byte each, whatever the machine's order; a marker's id is one number.
                number = integer(buf8, place, 2, False, big or not markers)
                length = integer(buf8, place + 2, 2, False, big)
                body = _aligned(body, base, cap, pointer)
                if length == 0xFFFF:
                    length = np.int64(-1)
            k = np.int64(kind_of_id[number]) if 0 <= number < kind_of_id.size else np.int64(-1)
            code = 0
            value = number
            stop = body + length
            if length < 0:
                stop = _measure(buf8, body, content, k, need, program, parts_of, starts, sizes) if k >= 0 else -1
                if stop < 0:
                    code = 3
            elif stop > content:
                code = 1
                value = length
            if code:
                # Nothing tells where the next record is.
                bad = report(trouble, bad, p, at, code, value)
                break
            if us or (wide and not small):
                now = time if time >= 0 else now
            else:
                now += (time - (now & ~low)) & mask
            if k < 0 or stop - body < need[k]:
                bad = report(trouble, bad, p, at, 3 if k < 0 else 2, number if k < 0 else stop - body)
                k = np.int64(-1)
            put(kind, n, np.int32(k))
            put(ticks, n, now)
            put(at_, n, np.uint32(body))
            put(stop_, n, np.uint32(stop))
            n += 1
            at = stop
        bounds[p + 1] = n
    return bad


class LttngWalker(RecordWalker):
    """Finds the records of LTTng before 2.0."""

    #: Bytes of a compact record's header.
    shortest = 4

    def __init__(self, plan: Plan) -> None:
        """Turn the framing into numbers."""
        super().__init__(plan)
        framing = plan.format.framing
        assert isinstance(framing, LttngFraming)
        self._compact, self._wide = framing.compact, framing.wide
        self._rules = (
            framing.order == ">", framing.pointer, framing.cap, framing.us, framing.bits,
            framing.truncated, framing.id_bits, framing.compact_base, framing.markers, plan.kind_of_id, self.need,
            plan.program, plan.first,
        )  # fmt: skip

    def find(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, trouble: np.ndarray
    ) -> tuple[Records, int]:
        """Return the records of loaded packets."""
        compact = np.isin(packets["file"], np.array(sorted(self._compact), np.int64))
        shortest = np.where(compact, 4, 8)
        most = int(((packets["content"] - packets["first"]) // shortest + 1).clip(0).sum())
        room = self.room(packets.size, most)
        inputs = (
            buffer.view(np.uint8),
            starts,
            packets["first"],
            starts + packets["content"],
            packets["ticks"],
            compact,
            np.isin(packets["file"], np.array(sorted(self._wide), np.int64)),
        )
        return room, _find(*inputs, *self._rules, *room[:-1], trouble)
