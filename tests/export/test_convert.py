# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay.cli import main
from ltt_relay.export.convert import ConvertError, Options, convert
from ltt_relay.export.render import render_utc
from ltt_relay.testing import write_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 5000, cpus=2, packet_size=16384, lost_every=2)


def test_times_are_rendered_as_pandas_does(trace: Path) -> None:
    times = np.array([0, 1, 951_782_400_123_456_789, 1_709_164_799_999_999_999, 4_102_444_800_000_000_001], np.int64)
    expected = [f"{pd.Timestamp(t, tz='UTC').tz_localize(None).isoformat(timespec='nanoseconds')}Z" for t in times]
    assert render_utc(times).to_pylist() == expected


def test_csv_read_back_equals_the_frames(trace: Path, tmp_path: Path) -> None:
    (result,) = convert([trace], tmp_path / "out", Options("csv"))
    assert (result.status, result.records) == ("done", 5000 + 212)
    for name, frame in ltt_relay.open(trace).frames().items():
        read = pd.read_csv(tmp_path / "out" / f"{name}.csv", keep_default_na=False, na_values={"tid": [""]})
        assert len(read) == len(frame)
        assert pd.to_datetime(read["timestamp"]).astype("int64").tolist() == frame["timestamp"].astype("int64").tolist()
        for column in frame.columns.difference(["timestamp"]):
            expected = frame[column]
            if column == "args":
                assert read[column].tolist() == [" ".join(map(str, items)) for items in expected]
            elif expected.dtype == "category" or str(expected.dtype) == "str":
                assert read[column].astype(str).tolist() == expected.astype("str").fillna("").tolist()
            else:
                assert read[column].astype("Int64").tolist() == expected.astype("Int64").tolist()


def test_parquet_read_back_equals_the_frames(trace: Path, tmp_path: Path) -> None:
    list(convert([trace], tmp_path / "out", Options("parquet")))
    tables = ltt_relay.open(trace).arrow()
    for name, table in tables.items():
        read = pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet")
        assert read.to_pylist() == table.to_pylist()


def test_a_broken_trace_is_a_failure_of_its_own_and_resume_does_the_rest(trace: Path, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for number in range(4):
        write_trace(root / f"t{number}", 300, cpus=1, seed=number)
    (root / "t2" / "events_0").write_bytes(b"not a trace" * 100)
    (root / "t2" / "state_0").unlink()
    output = tmp_path / "out"
    next(convert([root], output, Options("csv")))  # the rest never comes, as after a kill
    with pytest.raises(ConvertError, match="--resume"):
        list(convert([root], output, Options("csv")))
    with pytest.raises(ConvertError, match="other options"):
        list(convert([root], output, Options("jsonl"), resume=True))
    rest = list(convert([root], output, Options("csv"), jobs=2, resume=True))
    assert len(rest) == 3
    rows = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()[1:]]
    assert sorted((Path(row["trace"]).name, row["status"]) for row in rows) == [
        ("t0", "done"), ("t1", "done"), ("t2", "failed"), ("t3", "done"),
    ]  # fmt: skip
    assert not list(output.rglob("*.part"))


def test_the_command_ends_with_1_if_a_trace_fails_and_by_request_on_losses(trace: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(main, ["convert", str(trace), "-o", str(tmp_path / "a"), "--merge"]).exit_code == 0
    lines = (tmp_path / "a" / "merged.csv").read_text().splitlines()
    assert len(lines) == 5001
    assert runner.invoke(main, ["convert", str(trace), "-o", str(tmp_path / "b"), "--fail-on", "lost"]).exit_code == 1
    assert runner.invoke(main, ["convert", str(tmp_path / "no"), "-o", str(tmp_path / "c")]).exit_code == 1


def test_info_and_dump_agree(trace: Path) -> None:
    runner = CliRunner()
    facts = json.loads(runner.invoke(main, ["info", str(trace), "--json"]).stdout)
    assert sum(facts["events"].values()) == facts["records"] == 5212
    assert facts["lost"] > 0
    dumped = runner.invoke(main, ["dump", str(trace)]).stdout
    assert dumped.count(" sched_switch: ") == facts["events"]["sched_switch"]
    wrong = runner.invoke(main, ["info", "/nonexistent"])
    assert (wrong.exit_code, "no such directory" in wrong.stderr) == (1, True)
