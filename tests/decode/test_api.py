# SPDX-License-Identifier: GPL-2.0-or-later
"""What a user may pass to a Trace, and what each form of it means; wrong ones are told so."""

from __future__ import annotations

import pickle
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.decode.trace import _joined
from ltt_relay.formats.base import UnknownColumnError, UnknownEventError
from ltt_relay.testing import write_trace


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("api") / "trace", events=2000, cpus=2, seed=4, packet_size=16 << 10)


@pytest.fixture(scope="module")
def trace(path: Path) -> ltt_relay.Trace:
    return ltt_relay.open(path)


def _rows(frames: dict[str, pd.DataFrame]) -> int:
    return sum(map(len, frames.values()))


@pytest.mark.parametrize("name", ["sched", "irq_*", "nonsense", "", 0])
def test_a_group_or_glob_is_no_key(trace: ltt_relay.Trace, name: Any) -> None:
    for call in (trace.__getitem__, trace.schema, trace.to_dask):
        with pytest.raises(UnknownEventError):
            call(name)
    assert trace.get(name) is None
    assert name not in trace


def test_state_records_are_merged_if_they_are_asked_for(trace: ltt_relay.Trace) -> None:
    merged = trace.merged(["state_task", "sched_switch"])
    assert dict(merged["event"].value_counts()[:2]) == {
        name: len(trace[name]) for name in ("state_task", "sched_switch")
    }
    windows = pd.concat(trace.iter_merged(["state_task", "sched_switch"], max_bytes=1), ignore_index=True)
    pd.testing.assert_frame_equal(windows, merged)
    assert not trace.merged()["event"].str.startswith("state").any()


@pytest.mark.parametrize(
    "far", [10**30, 1 << 63, "9999-12-31T23:59:59.999999999", datetime.max, "+9" + "0" * 40, pd.Timestamp.max]
)
def test_a_time_beyond_64_bits_is_just_late(trace: ltt_relay.Trace, far: Any) -> None:
    assert trace.frames(since=far) == {}
    assert _rows(trace.frames(until=far)) == _rows(trace.frames())


@pytest.mark.parametrize("far", [-(10**30), datetime.min, "0001-01-01"])
def test_a_time_before_64_bits_is_just_early(trace: ltt_relay.Trace, far: Any) -> None:
    assert trace.frames(until=far) == {}
    assert _rows(trace.frames(since=far)) == _rows(trace.frames())


def test_every_form_of_one_moment(trace: ltt_relay.Trace) -> None:
    begin = trace.info["begin"]
    ns = begin + 700_001
    stamp = pd.Timestamp(ns, tz="UTC")
    forms = [
        ns, np.int64(ns), str(ns), stamp, stamp.tz_convert("Asia/Tokyo"), stamp.tz_localize(None), stamp.isoformat(),
        np.datetime64(ns, "ns"), "+700001ns", "+700.001us",
    ]  # fmt: skip
    counts = {repr(form): _rows(trace.frames(since=form)) for form in forms}
    assert len(set(counts.values())) == 1, counts
    exact = datetime.fromtimestamp(ns // 10**9, UTC)
    assert _rows(trace.frames(since=exact)) == _rows(trace.frames(since=np.datetime64(exact.replace(tzinfo=None))))
    for value in (date(2026, 1, 1), 1.5e18, [1]):
        with pytest.raises(TypeError, match=r"expected"):
            trace.frames(since=value)  # type: ignore[arg-type]
    for nothing in (pd.NaT, np.datetime64("NaT"), "soon", ""):
        with pytest.raises(ValueError, match="is no time"):
            trace.frames(since=nothing)
    assert trace.frames(since="+2ms", until="+1ms") == {}


def test_times_are_utc_or_ns(trace: ltt_relay.Trace) -> None:
    for call in (trace.frames, trace.arrow, trace.merged):
        with pytest.raises(ValueError, match="'utc' or 'ns' was expected"):
            call(time="local")  # type: ignore[arg-type]


def test_columns_of_every_kind_of_subset(trace: ltt_relay.Trace) -> None:
    whole = trace.frames()
    for columns in ([], ["cpu"], ["timestamp", "comm"], ["prev_pid"], ["cpu", "prev_pid", "text"]):
        some = trace.frames(columns=columns)
        assert {name: len(frame) for name, frame in some.items()} == {name: len(frame) for name, frame in whole.items()}
        for name, frame in some.items():
            expected = whole[name][[c for c in whole[name] if c in columns]]
            pd.testing.assert_frame_equal(frame, expected, check_column_type=bool(len(expected.columns)))
    assert list(trace.frames("sched_switch", columns="cpu")["sched_switch"]) == ["cpu"]
    with pytest.raises(UnknownColumnError, match=r"no column 'prev_pdi'.*near: prev_pid"):
        trace.frames(columns=["prev_pdi"])
    with pytest.raises(UnknownColumnError):
        trace.to_dask("sched_switch", columns=["prev_pdi"])


def test_iterators_are_used_up_once_and_mean_all_windows_and_streams(trace: ltt_relay.Trace) -> None:
    assert set(trace.frames(cpus=iter([0]))) == set(trace.frames(cpus=[0])) >= {"state_task", "sched_switch"}
    windows = list(trace.iter_frames(iter(["sched_switch"]), columns=iter(["cpu"]), cpus=iter([0, 1]), max_bytes=1))
    assert len(windows) > 1
    assert all(list(window["sched_switch"]) == ["cpu"] for window in windows)
    assert sum(map(_rows, windows)) == len(trace["sched_switch"])
    assert trace.frames(cpus=[-1, 99, 1 << 70]) == {}


@pytest.mark.parametrize("kind", [pd.Series, pd.Index, np.array, set, tuple])
def test_events_columns_and_cpus_may_come_out_of_a_frame(kind: Any, trace: ltt_relay.Trace) -> None:
    """Whether there were any was asked of the Series or array itself, which has no truth value: a ValueError."""
    events, columns, cpus = kind(["marker", "irq_handler_entry"]), kind(["timestamp", "irq"]), kind([0, 1])
    expected = {"marker": ["timestamp"], "irq_handler_entry": ["timestamp", "irq"]}
    assert {name: list(frame) for name, frame in trace.frames(events, cpus=cpus, columns=columns).items()} == expected
    assert set(trace.merged(events, cpus=cpus)["event"]) == set(events)
    assert trace.frames(kind([])) == {}


@pytest.mark.parametrize("size", [0, -1, "0", 1.5, np.int64(1), "1 B"])
def test_windows_are_never_smaller_than_a_packet(trace: ltt_relay.Trace, size: Any) -> None:
    assert sum(_rows(window) for window in trace.iter_frames(max_bytes=size)) == _rows(trace.frames())
    for wrong in ("inf MB", "many", "5 parsecs"):
        with pytest.raises(ValueError, match="is no size"):
            next(trace.iter_frames(max_bytes=wrong))


def test_a_trace_is_equal_to_itself_only_and_a_key(path: Path, trace: ltt_relay.Trace) -> None:
    assert trace == trace
    assert trace != ltt_relay.open(path)
    assert {trace: 1}[trace] == 1


def test_a_pickle_finds_its_trace_from_elsewhere(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    kept = pickle.dumps(ltt_relay.open(path.name))
    monkeypatch.chdir(tmp_path)
    assert len(pickle.loads(kept)) == len(ltt_relay.open(path))


def test_tables_have_their_dtypes_when_there_is_nothing_to_tell(path: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "metadata").write_bytes((path / "metadata").read_bytes())
    (empty / "events_0").touch()
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "events_0").write_bytes((path / "events_0").read_bytes()[:5000])
    nothing, something = ltt_relay.open(empty), ltt_relay.open(damaged)
    assert len(nothing.catalog) == len(nothing.problems) == len(nothing.gaps) == 0
    assert len(something.catalog)
    assert len(something.problems)
    for name in ("catalog", "problems", "gaps"):
        assert getattr(nothing, name).dtypes.equals(getattr(something, name).dtypes), name


def test_a_path_is_text_in_a_notebook(path: Path, tmp_path: Path) -> None:
    odd = tmp_path / "<b>&"
    odd.symlink_to(path)
    assert "<b>" not in ltt_relay.open(odd)._repr_html_()


def test_a_trace_may_be_joined_to_itself_and_to_one_of_another_format(path: Path) -> None:
    twice = ltt_relay.concatenate([path, path])["sched_switch"]
    assert len(twice) == 2 * len(ltt_relay.open(path)["sched_switch"])
    frames = [
        pd.DataFrame({"comm": pd.Categorical(["a"]), "only": pd.Categorical(["x"])}),
        pd.DataFrame({"comm": ["b"]}),
    ]
    assert _joined(frames)["comm"].tolist() == ["a", "b"]
