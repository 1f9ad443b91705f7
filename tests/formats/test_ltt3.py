# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from ltt_relay.formats.base import Event, UnknownEventError
from ltt_relay.formats.layout import Blob, Chars, CString, resolve
from ltt_relay.formats.ltt3 import EVENTS, FORMAT, HEADER_SIZE, PACKET, RECORD


def test_the_packet_header_is_184_bytes_and_its_first_24_are_ctfs_packet_header() -> None:
    assert HEADER_SIZE == 184
    assert sum(member.sizeof() for member in PACKET.subcons[:3]) == 24
    assert RECORD.sizeof() == 8


def test_event_ids_and_names_are_unique() -> None:
    assert len({event.id for event in EVENTS}) == len(EVENTS)
    assert len({event.name for event in EVENTS}) == len(EVENTS)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_a_record_that_construct_builds_is_parsed_back(event: Event) -> None:
    record = FORMAT.record(event)
    values: dict[str, object] = {}
    for member in event.payload.subcons:
        if member.name == "args":
            values["args"] = [7] * 2
        elif isinstance(resolve(member), Chars | CString):
            values[member.name] = "näme"
        elif isinstance(resolve(member), Blob):
            values[member.name] = bytes(range(16))
        else:
            values[member.name] = 2 if member.name == "nargs" else 1
    payload = event.payload.build(values)
    header = {"timestamp": 5, "id": event.id, "length": RECORD.sizeof() + len(payload)}
    parsed = record.parse(RECORD.build(header) + payload)
    assert event.payload.build(parsed.payload) == payload


def test_an_unknown_event_is_answered_with_near_names() -> None:
    with pytest.raises(UnknownEventError, match="sched_switch"):
        FORMAT.event("sched_swich")
