# SPDX-License-Identifier: GPL-2.0-or-later
"""However a trace is cut into batches, threads and samples, the frames are the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.decode import batch, kept, source
from ltt_relay.decode.errors import CODES
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, records
from ltt_relay.testing import write_trace

EVENTS = 20_000


@pytest.fixture(autouse=True)
def in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short traces are decoded at once elsewhere; here as long ones are."""
    monkeypatch.setattr(batch, "AT_ONCE", 0)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", EVENTS, cpus=3, packet_size=8192)


def _equal(one: dict[str, pd.DataFrame], other: dict[str, pd.DataFrame]) -> None:
    assert list(one) == list(other)
    for name, frame in one.items():
        pd.testing.assert_frame_equal(frame, other[name])


@pytest.mark.parametrize("selection", [{}, {"since": "+1ms", "until": "+5ms"}, {"cpus": [1]}, {"events": "marker"}])
def test_threads_give_what_one_gives(trace: Path, selection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTT_RELAY_THREADS", "1")
    one = ltt_relay.open(trace).frames(**selection)
    monkeypatch.setattr(source, "_WORTH_THREADS", 0)
    monkeypatch.setenv("LTT_RELAY_THREADS", "3")
    used: list[int] = []
    run = batch.run

    def spy(job: batch.Job, spans: list[tuple[int, int]], room: list[np.ndarray]) -> dict[int, batch.Output]:
        used.append(len(spans))
        return run(job, spans, room)

    monkeypatch.setattr(batch, "run", spy)
    _equal(one, ltt_relay.open(trace).frames(**selection))
    assert 3 in used
    monkeypatch.setenv("LTT_RELAY_THREADS", "many")
    with pytest.raises(ltt_relay.TraceError, match="LTT_RELAY_THREADS=many"):
        ltt_relay.open(trace).frames()


def test_what_is_decoded_at_once_is_what_windows_give(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTT_RELAY_THREADS", "1")
    for selection in ({}, {"since": "+1ms", "until": "+5ms"}, {"cpus": [1]}, {"events": ["marker", "sched_switch"]}):
        whole = ltt_relay.open(trace).frames(**selection)
        monkeypatch.setattr(batch, "AT_ONCE", 1 << 30)
        _equal(whole, ltt_relay.open(trace).frames(**selection))
        monkeypatch.setattr(batch, "AT_ONCE", 0)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_what_is_merged_in_spans_of_time_is_what_is_merged_at_once(
    threads: str, trace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ltt_relay.open(trace)
    calls: list[dict[str, Any]] = [
        {}, {"time": "ns", "since": "+1ms", "until": "+5ms"}, {"cpus": [1]}, {"events": ["marker", "state_task"]},
        {"since": "+1h"},
    ]  # fmt: skip
    whole = [opened.merged(**call) for call in calls]
    monkeypatch.setattr(source, "_SPAN", 0)
    monkeypatch.setattr(source, "_WORTH_THREADS", 0)
    monkeypatch.setenv("LTT_RELAY_THREADS", threads)
    assert len(opened._source.spans(opened._source.possible(), -source.FOREVER, source.FOREVER, None)[0]) > 3
    for call, frame in zip(calls, whole, strict=True):
        pd.testing.assert_frame_equal(opened.merged(**call), frame)


def test_a_sample_that_misleads_costs_time_but_no_records(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ltt_relay.open(trace).frames()
    room = source.Source._room

    def half(self: source.Source, rows: np.ndarray) -> tuple[np.ndarray, bool]:
        told = self._counted[rows].all()
        found, sure = room(self, rows)
        return (found, sure) if told else (found // 2, False)

    monkeypatch.setattr(source.Source, "_room", half)
    _equal(whole, ltt_relay.open(trace).frames())


def test_counts_are_kept_until_a_file_changes(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0)
    _age(trace)
    first = ltt_relay.open(trace).catalog
    monkeypatch.setattr(source.Source, "_count_apart", lambda self, rows: pytest.fail("counted again"))
    pd.testing.assert_frame_equal(ltt_relay.open(trace).catalog, first)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0)
    (file,) = (tmp_path / "ltt-relay" / "counts").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    pd.testing.assert_frame_equal(ltt_relay.open(trace).catalog, first)
    last = trace / "events_2"
    data = last.read_bytes()
    last.write_bytes(data[:-5000])
    assert ltt_relay.open(trace).catalog["count"].sum() < first["count"].sum()
    last.write_bytes(data)


def _age(trace: Path) -> None:
    for file in trace.iterdir():
        os.utime(file, (0, 0))


def test_a_change_within_the_tick_of_the_one_before_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0)
    path = write_trace(tmp_path / "trace", events=1000, cpus=1)
    before = ltt_relay.open(path).catalog.set_index("event")["count"]
    file = path / "events_0"
    status = file.stat()
    data = bytearray(file.read_bytes())
    waking, wakeup = (FORMAT.event(name).id for name in ("sched_waking", "sched_wakeup"))
    at = HEADER_SIZE
    while int.from_bytes(data[at + 4 : at + 6], "little") != waking:
        at += int.from_bytes(data[at + 6 : at + 8], "little") + 7 & ~7
    data[at + 4 : at + 6] = wakeup.to_bytes(2, "little")
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = ltt_relay.open(path).catalog.set_index("event")["count"]
    assert (after["sched_waking"], after["sched_wakeup"]) == (before["sched_waking"] - 1, before["sched_wakeup"] + 1)


def test_counts_of_another_version_are_not_used(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have counted otherwise: catalog and problems were its own, frames ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0)
    _age(trace)
    with monkeypatch.context() as before:
        before.setattr(kept, "__version__", "0.0.9")
        assert len(ltt_relay.open(trace).catalog)
    monkeypatch.setattr(kept, "save", lambda *given: pytest.fail("saved"))
    with pytest.raises(pytest.fail.Exception, match="saved"):
        ltt_relay.open(trace).catalog  # noqa: B018


def test_a_link_to_nothing_beside_the_streams_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "WORTH_KEEPING", 0)
    path = write_trace(tmp_path / "trace", events=100, cpus=1)
    (path / "latest").symlink_to("nowhere")
    assert len(ltt_relay.open(path).catalog)


def test_a_trace_that_goes_while_it_is_open_is_told(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "trace", events=100, cpus=1)
    trace = ltt_relay.open(path)
    shutil.rmtree(path)
    with pytest.raises(ltt_relay.TraceError, match=r"state_0: .*when the trace was opened"):
        trace.frames()


def test_opening_counts_nothing_and_a_range_only_its_packets(trace: Path) -> None:
    opened = ltt_relay.open(trace)
    assert opened.info["records"] > EVENTS
    opened.frames(since="+1ms", until="+1.2ms")
    counted = opened._source._counted
    assert 0 < counted.sum() < counted.size // 4


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return sorted((int(row.timestamp), int(row.cpu)) for row in frame.itertuples())


@pytest.mark.parametrize("seed", range(30))
def test_mutated_traces_give_what_construct_gives_or_say_why_not(seed: int, tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t", 1500, cpus=2, packet_size=8192)
    generator = np.random.default_rng(1000 + seed)
    for name in ("events_0", "events_1"):
        data = np.frombuffer((path / name).read_bytes(), np.uint8).copy()
        places = generator.integers(0, data.size, generator.integers(1, 20))
        data[places] = generator.integers(0, 256, places.size)
        (path / name).write_bytes(data.tobytes())
    opened = ltt_relay.open(path)
    frames = opened.frames(time="ns")
    oracle: dict[str, list[tuple[Any, ...]]] = {}
    for row in records(path):
        if row.event not in {"packet", "damage", "unknown"} and row.time is not None:
            oracle.setdefault(row.event, []).append((row.time, row.cpu & 0xFFFF))
    told = not opened.problems.empty
    for name in set(frames) | set(oracle):
        if name.startswith("state_"):
            continue
        ours = _rows(frames[name]) if name in frames else []
        assert ours == sorted(oracle.get(name, [])) or told, name


@pytest.mark.slow
def test_no_kernel_reads_out_of_bounds(tmp_path: Path) -> None:
    """The fuzz again, with Numba's checks compiled in."""
    here = Path(__file__).parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "construct or mutated"]
    checked = {"NUMBA_BOUNDSCHECK": "1", "XDG_CACHE_HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path)}
    files = [str(here / name) for name in ("test_plan.py", "test_batches.py")]
    done = subprocess.run([*command, *files], env=os.environ | checked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_every_code_of_a_problem_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "problems.md").read_text()
    for code, meaning in CODES.items():
        assert f"| `{code}` | {meaning} |" in page, "docs/problems.md lacks it"


def test_many_traces_in_one_frame_keep_their_categories(trace: Path, tmp_path: Path) -> None:
    """Names that only one of the traces has made the column one of objects."""
    other = write_trace(tmp_path / "other", 2000, cpus=1, seed=2)
    state = other / "state_0"
    state.write_bytes(state.read_bytes().replace(b"task-7\0", b"tusk-7\0"))
    frames = ltt_relay.concatenate([trace, other])
    comm = frames["sched_switch"]["comm"]
    assert {"task-7", "tusk-7"} <= set(comm.cat.categories)
    assert len(comm) == sum(len(ltt_relay.open(path)["sched_switch"]) for path in (trace, other))
    assert list(frames["sched_switch"]["trace"].unique()) == [str(trace), str(other)]


def test_a_window_of_long_texts_is_bounded_by_their_bytes(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t", 4000, cpus=2, packet_size=16384)
    windows = list(ltt_relay.open(path).iter_frames(max_bytes=64_000))
    assert len(windows) > 4
    sizes = [sum(frame.memory_usage(index=False).sum() for frame in frames.values()) for frames in windows]
    assert max(sizes) < 2 * 64_000
    assert sum(len(frame) for frames in windows for name, frame in frames.items() if name[:5] != "state") == 4000


def test_windows_are_about_as_long_as_asked_though_all_cpus_begin_their_packets_at_once(tmp_path: Path) -> None:
    """Cut at packets' begins alone, every other window had next to nothing and the others twice as much."""
    trace = ltt_relay.open(write_trace(tmp_path / "t", 60_000, cpus=16, packet_size=16384))
    windows = list(trace.windows(80 * 6000))
    held = [len(trace.frames(["sched_switch"], *window)["sched_switch"]) for window in windows]
    assert sum(held) == len(trace["sched_switch"])
    assert 9 <= len(windows) <= 12
    assert max(held[:-1]) < 1.4 * min(held[:-1])
