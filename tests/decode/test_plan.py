# SPDX-License-Identifier: GPL-2.0-or-later
"""The fast path against construct, over random formats made of the whole vocabulary."""

from __future__ import annotations

import itertools
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import construct
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltt_relay.decode import batch, frames
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import BASE, compile_plan
from ltt_relay.decode.source import FOREVER, Source
from ltt_relay.formats import fields as f
from ltt_relay.formats.base import Event, Format, LengthFraming, PacketClock, Stream
from ltt_relay.formats.layout import UnsupportedFieldError
from ltt_relay.formats.loaded import Loaded, Packet
from ltt_relay.formats.ltt3 import PACKET, RECORD

Draw = Callable[[st.SearchStrategy[Any]], Any]
Value = Callable[[Draw, dict[str, Any]], Any]
_INTEGERS = list(itertools.product((8, 16, 32, 64), (False, True), (f.LITTLE, f.BIG)))
_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


def _format(payload: construct.Struct) -> Format:
    event = Event(1, "event", "group", "custom", "", payload)
    framing = LengthFraming(RECORD, "timestamp", "id", "length", 8)
    return Format("test", (1, 0), PACKET, framing, PacketClock(32), (Stream(0, "events", ""),), (event,))


class _Struct:
    """Draws the members of a struct: constructs, and functions that draw their values."""

    def __init__(self, draw: Draw, depth: int = 0) -> None:
        self.draw = draw
        self.depth = depth
        self.members: list[f.Field | construct.Construct] = []
        self.values: dict[str, Value] = {}
        self.counters: list[str] = []
        self.flags: list[str] = []

    def add(self, kind: construct.Construct, value: Value) -> str:
        name = f"{string.ascii_lowercase[len(self.values)]}"
        self.members.append(f.field(name, kind, ""))
        self.values[name] = value
        return name

    def integer(self) -> tuple[construct.FormatField, st.SearchStrategy[int]]:
        bits, signed, order = self.draw(st.sampled_from(_INTEGERS))
        low = -(1 << bits - 1) if signed else 0
        return f.integer(bits, signed, order), st.integers(low, low + (1 << bits) - 1)

    def fixed(self) -> tuple[construct.Construct, Value]:
        base, values = self.integer()
        match self.draw(st.sampled_from(["int", "enum", "flags", "chars", "blob", "array"])):
            case "int":
                return base, lambda draw, _: draw(values)
            case "enum":
                top = 127 if self.draw(st.booleans()) else (1 << 8 * base.sizeof() - 1) - 1
                names = {"one": 1, "two": 2, "top": top}
                return f.enum(base, names), lambda draw, _: draw(st.sampled_from([*names, 3]))
            case "flags":
                bits = {"read": 1, "write": 4, "high": 0x40}
                return f.flags(base, bits), lambda draw, _: {bit: draw(st.booleans()) for bit in bits}
            case "chars":
                size = self.draw(st.integers(1, 20))
                return f.chars(size), lambda draw, _: _cut(draw(_TEXT), size)
            case "blob":
                size = self.draw(st.integers(1, 20))
                return f.blob(size), lambda draw, _: draw(st.binary(min_size=size, max_size=size))
        size = self.draw(st.integers(1, 4))
        return f.array(size, base), lambda draw, _: draw(st.lists(values, min_size=size, max_size=size))

    def variable(self) -> tuple[construct.Construct, Value]:
        base, values = self.integer()
        kinds = ["cstring", "pstring", *["sized_text", "sized", "sequence"] * bool(self.counters)]
        counter = self.draw(st.sampled_from(self.counters)) if self.counters else ""
        match self.draw(st.sampled_from(kinds)):
            case "cstring":
                return f.cstring(), lambda draw, _: draw(_TEXT)
            case "pstring":
                return f.pstring(base), lambda draw, _: draw(_TEXT)
            case "sized_text":
                return f.sized_text(counter), lambda draw, sofar: _cut(draw(_TEXT), sofar[counter])
            case "sized":
                return f.sized(counter), lambda draw, sofar: draw(
                    st.binary(min_size=sofar[counter], max_size=sofar[counter])
                )
        return f.sequence(counter, base), lambda draw, sofar: draw(
            st.lists(values, min_size=sofar[counter], max_size=sofar[counter])
        )

    def member(self) -> None:
        kinds = ["fixed", "variable", "counter", "pad", "align", "nested", "flags", "when", "when_flag"]
        kind = self.draw(st.sampled_from(kinds))
        if kind == "counter":
            self.counters.append(self.add(self.integer()[0], lambda draw, _: draw(st.integers(0, 5))))
        elif kind == "pad":
            self.members.append(f.pad(self.draw(st.integers(1, 7))))
        elif kind == "align":
            self.members.append(f.align(self.draw(st.sampled_from([2, 4, 8]))))
        elif kind == "nested" and not self.depth:
            inner = _Struct(self.draw, 1).fill(3)
            self.add(f.nested(*inner.members), lambda draw, _: inner.value(draw))
        elif kind == "when" and self.counters:
            con, value = self.draw(st.sampled_from([self.fixed, self.variable]))()
            by = self.draw(st.sampled_from(self.counters))
            equal = self.draw(st.integers(0, 2))
            self.add(f.when(by, equal, con), lambda draw, s: value(draw, s) if s[by] == equal else None)
        elif kind == "flags":
            bits = {"read": 1, "write": 4, "high": 0x40}
            self.flags.append(
                self.add(f.flags(self.integer()[0], bits), lambda draw, _: {bit: draw(st.booleans()) for bit in bits})
            )
        elif kind == "when_flag" and self.flags:
            con, value = self.draw(st.sampled_from([self.fixed, self.variable]))()
            by = self.draw(st.sampled_from(self.flags))
            self.add(f.when_flag(by, "write", con), lambda draw, s: value(draw, s) if s[by]["write"] else None)
        elif kind == "variable":
            self.add(*self.variable())
        else:
            self.add(*self.fixed())

    def fill(self, most: int) -> _Struct:
        for _ in range(self.draw(st.integers(1, most))):
            self.member()
        return self

    def end(self) -> _Struct:
        match self.draw(st.sampled_from(["", "rest", "rest_text", "optional"])):
            case "rest":
                self.add(f.rest(), lambda draw, _: draw(st.binary(max_size=10)))
            case "rest_text":
                self.add(f.rest_text(), lambda draw, _: draw(_TEXT))
            case "optional":
                for _ in range(self.draw(st.integers(1, 3))):
                    con, value = self.draw(st.sampled_from([self.fixed, self.variable]))()
                    self.add(f.optional(con), value)
        return self

    def value(self, draw: Draw) -> dict[str, Any]:
        sofar: dict[str, Any] = {}
        for name, value in self.values.items():
            sofar[name] = value(draw, sofar)
        return sofar


def _cut(text: str, size: int) -> str:
    return text.encode()[:size].decode("utf-8", "ignore")


@st.composite
def _cases(draw: Draw) -> tuple[construct.Struct, list[bytes]]:
    """A payload's definition, and payloads: built, built and cut, or of random bytes."""
    struct = _Struct(draw).fill(6).end()
    payload = f.struct(*struct.members)
    payloads = []
    for _ in range(draw(st.integers(1, 8))):
        data = payload.build(struct.value(draw))
        match draw(st.sampled_from(["whole", "whole", "cut", "noise"])):
            case "cut":
                data = data[: draw(st.integers(0, len(data)))]
            case "noise":
                data = draw(st.binary(max_size=60))
        payloads.append(data)
    return payload, payloads


def _decode(payload: construct.Struct, payloads: list[bytes], path: Path) -> tuple[pd.DataFrame, list[str]]:
    data = b""
    for number, body in enumerate(payloads):
        head = RECORD.build({"timestamp": number, "id": 1, "length": RECORD.sizeof() + len(body)})
        data += (head + body).ljust((len(head) + len(body) + 7) & ~7, b"\0")
    file = path / "stream"
    file.write_bytes(data)
    source = Source(path, Loaded(_format(payload), [file], [Packet(0, 0, 0, len(data), 0, 0, len(payloads))]))
    columns = source.plan.events[0].columns
    selection = batch.Selection((0,), {0: BASE}, {0: columns})
    found = source.outputs(selection, 0, FOREVER, None, Names())[0]
    table = frames.arrow_table(found, selection, Names(), False)
    frame = frames.event_frame(found, selection, Names(), False)
    for column in columns:
        assert frame[column.name].isna().to_numpy().tolist() == [x is None for x in table[column.name].to_pylist()]
        assert str(frame[column.name].dtype).replace("object", "str") == frames.dtype_text(column)
        assert not str(frame[column.name].dtype).startswith("float")
    source.counts()
    return table.to_pandas(types_mapper=lambda kind: pd.ArrowDtype(kind)), [p.code for p in source.problems]


def _expected(values: Any, prefix: str = "") -> dict[str, Any]:
    """What construct parsed, as columns have it."""
    columns: dict[str, Any] = {}
    for name, value in values.items():
        if name.startswith("_"):
            continue
        if isinstance(value, construct.EnumInteger):
            value = None
        elif isinstance(value, construct.Container):
            if "read" in value:
                value = sum(bit for flag, bit in (("read", 1), ("write", 4), ("high", 0x40)) if value[flag])
            else:
                columns |= _expected(value, f"{prefix}{name}_")
                continue
        columns[prefix + name] = value if not isinstance(value, construct.ListContainer) else list(value)
    return columns


_NAMED = 1 | 4 | 0x40


@settings(max_examples=200, deadline=None)
@given(_cases())
def test_columns_equal_what_construct_parses(case: tuple[construct.Struct, list[bytes]]) -> None:
    payload, payloads = case
    oracle, short = [], 0
    for number, data in enumerate(payloads):
        try:
            oracle.append((number, _expected(construct.FixedSized(len(data), payload).parse(data))))
        except construct.ConstructError:
            short += 1
    with tempfile.TemporaryDirectory() as path:
        frame, problems = _decode(payload, payloads, Path(path))
    assert problems == ["short_record"] * short
    assert frame["timestamp"].tolist() == [number for number, _ in oracle]
    flags = {c.name for c in compile_plan(_format(payload)).events[0].columns if c.kind == "flags"}
    for name in frame.columns:
        if name in BASE:
            continue
        found = frame[name].tolist()
        for got, (_, values) in zip(found, oracle, strict=True):
            want = values[name]
            if want is None or got is None or got is pd.NA:
                assert want is None, name
                assert got is None or got is pd.NA, name
            elif name in flags:
                assert int(got) & _NAMED == want, name
            else:
                assert (list(got) if isinstance(got, np.ndarray) else got) == want, name


_SEQUENCE = f.field("s", f.sequence("n", f.u8), "")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([f.field("x", construct.Float32l, "")], "event.x: '<f' is not an integer"),
        ([f.field("x", construct.VarInt, "")], "VarInt"),
        ([_SEQUENCE], "event.s: no earlier integer called n"),
        ([f.field("r", f.rest(), ""), f.field("x", f.u8, "")], "event.x: event.r before it"),
        ([f.field("o", f.optional(f.u8), ""), f.field("x", f.u8, "")], "event.x: it must be there, but event.o"),
        ([f.field("o", f.optional(f.optional(f.u8)), "")], "Maybe under a condition"),
        ([f.field("n", f.enum(f.u8, {"a": 1}), ""), _SEQUENCE], "event.s: its length is an enum"),
        ([f.field("n", f.u8, ""), f.field("w", f.when("n", "a", f.u8), "")], "event.w: n has no 'a'"),
        ([f.field("n", f.u8, ""), f.field("w", f.when_flag("n", "a", f.u8), "")], "event.w: n has no 'a'"),
        ([f.field("n", f.optional(f.u8), ""), f.field("s", f.optional(f.sized("n")), "")], "event.s: n need not be"),
        ([f.field("x", f.chars(0), "")], "event.x: it has no bytes"),
        ([f.field("o", f.optional(f.nested(f.field("t", f.cstring(), ""))), "")], "event.o: a struct that may be"),
    ],
)  # fmt: skip
def test_what_cannot_be_derived_is_refused_by_its_path(members: list[construct.Construct], message: str) -> None:
    with pytest.raises(UnsupportedFieldError, match=message):
        compile_plan(_format(f.struct(*members)))


def test_members_of_nested_structs_and_those_called_as_base_columns_get_names_of_their_own() -> None:
    payload = f.struct(f.field("cpu", f.u8, ""), f.field("a", f.nested(f.field("b", f.u8, "")), ""))
    columns = compile_plan(_format(payload)).events[0].columns
    assert [column.name for column in columns] == ["event_cpu", "a_b"]


def test_bytes_that_are_not_utf_8_are_shown_as_construct_shows_them(tmp_path: Path) -> None:
    payload = f.struct(f.field("text", f.cstring(), ""))
    frame, problems = _decode(payload, [b"caf\xe9\0", "né".encode() + b"\0", b"x\0"], tmp_path)
    assert frame["text"].tolist() == ["caf\\xe9", "né", "x"]
    assert not problems
