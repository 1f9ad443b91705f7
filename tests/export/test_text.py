# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltt_relay.export.files import file_name
from ltt_relay.export.text import TextSink

NASTY = ["", " ", ",", '"', "a,b", 'say "hi"', '""', "two\nlines", "\r", "\r\n", "tab\t", "ünï", "日本", "\x00\x01",
         "\\", "'", "=1+1", "#", ";", "x" * 5000, '"' * 3000]  # fmt: skip


def _written(directory: Path, tables: dict[str, pa.Table], to: str = "csv", merge: bool = False) -> dict[str, str]:
    sink = TextSink(directory, to, merge)
    try:
        sink.write(tables)
        return {name.rpartition(".")[0]: (directory / name).read_bytes().decode() for name in sink.finish()}
    finally:
        sink.close()


def _rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_times_are_rendered_as_pandas_does(tmp_path: Path) -> None:
    times = [0, 1, -1, 951_782_400_123_456_789, 1_709_164_799_999_999_999, 4_102_444_800_000_000_001, -(1 << 62)]
    times += np.random.default_rng(1).integers(-(1 << 62), 1 << 62, 2000).tolist()
    expected = [f"{pd.Timestamp(t, tz='UTC').tz_localize(None).isoformat(timespec='nanoseconds')}Z" for t in times]
    table = pa.table({"t": pa.array(times, pa.timestamp("ns", "UTC"))})
    assert _written(tmp_path, {"x": table})["x"].splitlines()[1:] == expected
    rows = map(json.loads, _written(tmp_path, {"y": table}, "jsonl")["y"].splitlines())
    assert [row["t"] for row in rows] == expected


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_integers_of_every_width(tmp_path: Path, kind: str) -> None:
    limits = np.iinfo(kind)
    around = {limits.min, limits.max, 0, 1, limits.min + 1, limits.max - 1}
    around |= {10**i + d for i in range(20) for d in (-1, 0, 1) if limits.min <= 10**i + d <= limits.max}
    around |= {-(10**i) + d for i in range(20) for d in (-1, 0, 1) if limits.min <= -(10**i) + d <= limits.max}
    values = [None, *sorted(around), None]
    table = pa.table({"v": pa.array(values, kind)}).slice(1)
    assert _written(tmp_path, {"x": table})["x"].splitlines()[1:] == ["" if v is None else str(v) for v in values[1:]]
    lines = _written(tmp_path, {"y": table}, "jsonl")["y"].splitlines()
    assert [json.loads(line)["v"] for line in lines] == values[1:]


def test_quoting_by_rfc_4180(tmp_path: Path) -> None:
    table = pa.table({"a,\n": NASTY, "b": pa.array(NASTY).dictionary_encode(), "c": pa.array(NASTY, pa.large_string())})
    text = _written(tmp_path, {"x": table})["x"]
    assert _rows(text) == [["a,\n", "b", "c"]] + [[value] * 3 for value in NASTY]
    assert '\n"","",""\n' in text  # text without characters is not the same as none at all
    read = pd.read_csv(io.StringIO(text, newline=""), keep_default_na=False, lineterminator=None)
    assert read["b"].tolist()[2:] == NASTY[2:]
    rows = [json.loads(line) for line in _written(tmp_path, {"y": table}, "jsonl")["y"].splitlines()]
    assert [list(row.values()) for row in rows] == [[value] * 3 for value in NASTY]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.lists(st.integers(0, (1 << 64) - 1)))))
def test_any_text_and_list(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    texts = [None if text is None else text.encode("utf-8", "replace").decode() for text, _ in rows]
    lists = [items for _, items in rows]
    table = pa.table({"t": pa.array(texts, pa.large_string()), "l": pa.array(lists, pa.list_(pa.uint64()))})
    directory = tmp_path_factory.mktemp("any")
    found = _rows(_written(directory, {"x": table})["x"])[1:]
    assert found == [[text or "", " ".join(map(str, items or []))] for text, items in zip(texts, lists, strict=True)]
    lines = _written(directory, {"y": table}, "jsonl")["y"].split("\n")[:-1]
    assert [json.loads(line) for line in lines] == table.to_pylist()


def test_other_types_become_text_or_numbers(tmp_path: Path) -> None:
    table = pa.table({
        "float": pa.array([1.5, None, float("nan"), 1e300]), "truth": [True, False, None, True],
        "bytes": pa.array([b"", b"\x00\xff", None, b"a"], pa.large_binary()),
        "list": pa.array([[], [-1], None, [1, 2]], pa.list_(pa.int32())),
    })  # fmt: skip
    assert _rows(_written(tmp_path, {"x": table})["x"])[1:] == [
        ["1.5", "true", "", ""], ["", "false", "00ff", "-1"], ["", "", "", ""], ["1e+300", "true", "61", "1 2"],
    ]  # fmt: skip
    assert [json.loads(line) for line in _written(tmp_path, {"y": table}, "jsonl")["y"].splitlines()] == [
        {"float": 1.5, "truth": True, "bytes": "", "list": []},
        {"float": None, "truth": False, "bytes": "00ff", "list": [-1]},
        {"float": None, "truth": None, "bytes": None, "list": None},
        {"float": 1e300, "truth": True, "bytes": "61", "list": [1, 2]},
    ]


def test_merged_payload_is_one_field_whatever_is_in_it(tmp_path: Path) -> None:
    def table(times: list[int], **payload: Any) -> pa.Table:
        n = len(times)
        base = {"timestamp": pa.array(times, pa.int64()), "cpu": pa.array([0] * n, pa.uint16())}
        base |= {"tid": pa.array([None] * n, pa.int32()), "comm": pa.array(["a,b"] * n).dictionary_encode()}
        return pa.table(base | payload)

    tables = {
        "mark,er": table([5, 7], text=pa.array(['say "x", y', "plain"]), n=pa.array([1, None], pa.int32())),
        "empty": table([6]),
        "odd": table([1], **{"q,": pa.array([[1, 2]], pa.list_(pa.uint64()))}),
    }
    text = _written(tmp_path, tables, merge=True)["merged"]
    assert _rows(text)[1:] == [
        ["1", "0", "odd", "", "a,b", "q,=[1 2]"],
        ["5", "0", "mark,er", "", "a,b", 'text=say "x", y n=1'],
        ["6", "0", "empty", "", "a,b", ""],
        ["7", "0", "mark,er", "", "a,b", "text=plain n=?"],
    ]
    rows = [json.loads(line) for line in _written(tmp_path, tables, "jsonl", merge=True)["merged"].splitlines()]
    assert [row["payload"] for row in rows] == [
        {"q,": [1, 2]}, {"text": 'say "x", y', "n": 1}, {}, {"text": "plain", "n": None},
    ]  # fmt: skip


def test_a_row_longer_than_the_buffer(tmp_path: Path) -> None:
    table = pa.table(
        {"t": ["x", "y" * (9 << 20), "z"], "l": pa.array([[], list(range(10)), []], pa.list_(pa.uint64()))}
    )
    assert [len(row[0]) for row in _rows(_written(tmp_path, {"x": table})["x"].replace("y" * 1000, "Y"))] == [
        1,
        1,
        9621,
        1,
    ]


def test_names_from_data_stay_in_the_directory() -> None:
    assert file_name("../../etc/passwd", "csv") == "%2E.%2F..%2Fetc%2Fpasswd.csv"
    assert file_name("gaps", "csv") == "%67aps.csv"
    assert file_name("a" * 300, "csv") != file_name("a" * 301, "csv")
    assert len(file_name("é" * 300, "csv")) < 255
