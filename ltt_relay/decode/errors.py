# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a trace, and the codes of `Trace.problems`."""

from __future__ import annotations

from typing import Final

from ltt_relay.errors import UserError
from ltt_relay.formats.loaded import Problem

__all__ = ("CODES", "Problem", "TraceError")

#: Stable codes of problems, and what each means.
CODES: Final = {
    "no_metadata": "the directory has no metadata, or it does not tell all: names of host and session are unknown, the "
    "clock's offset is taken from the packets",
    "packet_header": "what should be a packet's header is not; the next one that is was looked for",
    "truncated": "the file ends, or another packet begins, within a packet",
    "packet_trailer": "what should say where a packet ends does not; its end was walked to",
    "record_length": "a record's length is impossible; the rest of the packet is skipped",
    "unfinished": "a sub-buffer was never closed: its writer died; what can be told from its records is read",
    "metadata": "the metadata channel cannot be read further: events that it would describe are unknown",
    "record_time": "a record's time is impossible; it is skipped",
    "record_magic": "a record does not begin with the format's magic number; the rest of the packet is skipped",
    "short_record": "a record is shorter than its event's fields; it is skipped",
    "unknown_event": "no event has this id; the record is skipped",
    "record_count": "the packet's header announces another number of records than were found",
    "event_ids": "the packet's header does not list the id of an event that is in it; its records are skipped, as a "
    "packet is looked into for an event only if it does",
    "time_backward": "a packet begins before the one before it ended, or a record has a time before that of the one "
    "before it; both are read, in the order of time",
    "sequence": "packets are missing that no counter tells of",
    "no_clock": "the rate of the trace's clock, or the wall clock, is not told or impossible: cycles are taken for ns, "
    "or times count from the clock's own begin",
    "bad_event": "an event that the session got at run time is described in a way that cannot be read; it is skipped",
    "not_a_stream": "the file holds no packets of this trace",
}


class TraceError(UserError, ValueError):
    """A file or directory that cannot be read as a trace, or, with `strict=True`, the first problem in one."""
