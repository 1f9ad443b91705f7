# SPDX-License-Identifier: GPL-2.0-or-later
"""The snippets of docs/convert.md: what they read equals the frames."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ltt_relay
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.export.manifest import Manifest
from ltt_relay.testing import write_trace

DOCS = Path(__file__).parents[2] / "docs" / "convert.md"


@pytest.fixture(scope="module")
def snippets() -> dict[str, Any]:
    found: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(DOCS), "exec"), found)
    return found


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from dataclasses import asdict

    trace = write_trace(tmp_path_factory.mktemp("trace") / "t", 8000, cpus=3, packet_size=16384)
    outputs = {"trace": trace}
    for to in ("csv", "parquet", "jsonl"):
        outputs[to] = tmp_path_factory.mktemp(to)
        with Manifest(outputs[to], asdict(Options(to)), resume=False) as manifest:
            manifest.add(asdict(convert_trace(trace, outputs[to], Options(to))))
    return outputs


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values: ns, int, str, list, None."""
    columns = {}
    for name in frame:
        values = frame[name]
        if isinstance(values.dtype, pd.DatetimeTZDtype):
            assert (values.dtype.unit, str(values.dtype.tz)) == ("ns", "UTC")
            columns[name] = values.astype("int64").tolist()
        else:
            plain = values.astype("object")
            columns[name] = [list(map(int, v)) if hasattr(v, "__len__") and not isinstance(v, str) else
                             None if pd.isna(v) else v for v in plain]  # fmt: skip
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _duck(relation: Any) -> list[dict[str, Any]]:
    times = [name for name, kind in zip(relation.columns, relation.types, strict=True) if "TIMESTAMP" in str(kind)]
    for name in times:
        relation = relation.project(f'* REPLACE (epoch_ns("{name}") AS "{name}")')
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def _polars(frame: Any) -> list[dict[str, Any]]:
    import polars as pl

    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    assert all(frame.schema[name] == pl.Datetime("ns", "UTC") for name in times)
    rows: list[dict[str, Any]] = frame.with_columns(pl.col(name).to_physical() for name in times).to_dicts()
    return rows


@pytest.mark.parametrize("to", ["csv", "parquet"])
@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb"])
def test_what_is_read_equals_the_frames(
    snippets: dict[str, Any], converted: dict[str, Path], to: str, reader: str
) -> None:
    plain = {"pandas": _rows, "polars": _polars, "duckdb": _duck}[reader]
    frames = ltt_relay.open(converted["trace"]).frames()
    assert len(frames) == 17
    for name, frame in frames.items():
        read = plain(snippets[f"{reader}_{to}"](str(converted[to]), name))
        assert read == _rows(frame), name


def test_pandas_gets_the_very_types(snippets: dict[str, Any], converted: dict[str, Path]) -> None:
    frame = ltt_relay.open(converted["trace"])["sched_switch"]
    read = snippets["pandas_parquet"](str(converted["parquet"]), "sched_switch")
    assert read["timestamp"].dtype == frame["timestamp"].dtype
    assert snippets["pandas_csv"](str(converted["csv"]), "sched_switch")["timestamp"].dtype == frame["timestamp"].dtype


def test_json_lines_equal_the_frames(converted: dict[str, Path]) -> None:
    for name, frame in ltt_relay.open(converted["trace"]).frames().items():
        lines = (converted["jsonl"] / f"{name}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row["timestamp"] = pd.Timestamp(row["timestamp"]).value
        assert rows == _rows(frame), name
