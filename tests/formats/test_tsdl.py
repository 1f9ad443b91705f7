# SPDX-License-Identifier: GPL-2.0-or-later
"""Events read from metadata: what the kernel appends, and what a damaged text may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltt_relay.formats import ctf, ltt3, tsdl
from ltt_relay.formats.fields import chars, cstring, field, i32, i64, pad, struct, u8, u16, u64


def _block(body: str, name: str = "made", number: int = 256) -> str:
    return (
        f'event {{\n\tname = "{name}";\n\tid = {number};\n\tstream_id = 0;\n\tfields := struct {{\n{body}\n\t}};\n}};\n'
    )


def test_a_text_of_our_own_writer_comes_back() -> None:
    payload = struct(
        field("tid", i32, ""), field("id", u16, ""), field("what", chars(5), ""), field("b", u8, ""),
        pad(4), field("c", i64, ""), field("d", u64, "", hint="hex"), field("text", cstring(), ""),
    )  # fmt: skip
    static = ctf.body(ltt3.FORMAT)
    body = "int32_t tid; uint16_t _id; utf8_t what[5]; uint8_t b; int64_t c; uint64_hex_t d; string text;"
    (event,), wrong = tsdl.events(static + _block(body), 256)
    assert not wrong
    assert (event.name, event.group, event.tid) == ("made", "user", "tid")
    values = {"tid": 1, "id": 2, "what": "ab", "b": 3, "c": -4, "d": 5, "text": "x"}
    assert event.payload.build(values) == payload.build(values)
    assert tsdl.events(static, 256) == ([], [])


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("int32_t", "TYPE NAME"),
        ("float x;", "not a type"),
        ("uint7_t x;", "not a type"),
        ("string a; uint8_t b;", "behind a string"),
        ("uint8_t a; uint8_t a;", "second field"),
        ("uint8_t a[3];", "an array"),
        ("utf8_t a[99999];", "not a type"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_is_read(body: str, why: str) -> None:
    good = _block("uint8_t a;", "good", 257)
    (event,), wrong = tsdl.events(_block(body) + good + good, 256)
    assert event.name == "good"
    assert why in wrong[0]
    assert "another of that name or id" in wrong[1]


@given(st.text(alphabet='event{}fields:=struct;"\n\tname id=25670 uint8_t[]', max_size=400))
def test_no_text_is_too_odd(text: str) -> None:
    tsdl.events(text, 256)
    tsdl.events(_block(text), 256)
