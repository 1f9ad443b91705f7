# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""What walkers find wrong: rows (packet, byte in the buffer, code, value), which become rows of `problems`."""

from __future__ import annotations

from typing import Final

import numpy as np

from ltt_relay.decode.compiled import inner

__all__ = ("TROUBLE", "report")

#: By code: the code of the problem, and what was expected.
TROUBLE: Final = {
    1: ("record_length", "a length of at least the header's that ends in the packet"),
    2: ("short_record", "a length that holds the event's fields"),
    3: ("unknown_event", "the id of an event of the format"),
    4: ("record_magic", "the magic number that every record has"),
    6: ("truncated", "a whole record"),
    7: ("record_time", "a time of the last hundred years"),
    8: ("record_time", "the low 32 bits of a time up to the packet's end"),
    9: ("time_backward", "a time not before that of the record before it"),
    10: ("event_ids", "the id of an event that the packet's header lists"),
    5: ("unknown_event", "the id of an event that is described; its length is unknown, so the rest is skipped"),
}


@inner
def report(trouble: np.ndarray, found: int, packet: int, at: int, code: int, value: int) -> int:
    """Write a row if there is room for it; returns how many were found so far."""
    if found < trouble.shape[0]:
        trouble[found, 0] = packet
        trouble[found, 1] = at
        trouble[found, 2] = code
        trouble[found, 3] = value
    return found + 1
