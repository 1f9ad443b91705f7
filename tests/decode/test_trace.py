# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pickle
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.decode import batch
from ltt_relay.decode.index import HEADER
from ltt_relay.decode.names import Names
from ltt_relay.decode.source import FOREVER
from ltt_relay.decode.times import resolve
from ltt_relay.formats.base import UnknownEventError
from ltt_relay.formats.ltt3 import HEADER_SIZE, PACKET, records
from ltt_relay.testing import write_trace

EVENTS = 20_000


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", EVENTS, cpus=3, packet_size=32768, lost_every=2)


@pytest.fixture
def trace(pristine: Path, tmp_path: Path) -> Path:
    shutil.copytree(pristine, tmp_path / "t")
    return tmp_path / "t"


def _oracle(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All records by event as construct sees them, with full time and CPU, in time order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in records(path):
        if row.file.startswith("events_") and row.event != "packet":
            place = {"time": row.time, "cpu": row.cpu, "offset": row.offset}
            found.setdefault(row.event, []).append(place | row.fields)
    for rows in found.values():
        rows.sort(key=lambda row: (row["time"], row["cpu"], row["offset"]))
    return found


def _values(frame: pd.DataFrame, column: str) -> list[Any]:
    return [list(value) if isinstance(value, np.ndarray) else value for value in frame[column].tolist()]


def test_every_field_of_every_record_equals_what_construct_reads(pristine: Path) -> None:
    frames = ltt_relay.open(pristine).frames(time="ns")
    oracle = _oracle(pristine)
    assert {name for name in frames if not name.startswith("state_")} == set(oracle)
    for name, rows in oracle.items():
        frame = frames[name]
        assert frame["timestamp"].tolist() == [row["time"] for row in rows]
        assert frame["cpu"].tolist() == [row["cpu"] for row in rows]
        for field in set(rows[0]) - {"time", "cpu", "offset"}:
            expected = [row[field] for row in rows]
            if field == "prev_state":
                continue  # flags: numbers in frames, names in construct; compared below
            column = field if field in frame else f"event_{field}"
            assert _values(frame, column) == expected, f"{name}.{field}"


def test_tid_and_comm_follow_the_switches(pristine: Path) -> None:
    frames = ltt_relay.open(pristine).frames(["sched_switch", "sys_enter", "irq_handler_entry"], time="ns")
    for cpu in range(3):
        switches = frames["sched_switch"][frames["sched_switch"]["cpu"] == cpu]
        assert (switches["prev_pid"].to_numpy()[1:] == switches["next_pid"].to_numpy()[:-1]).all()
        irqs = frames["irq_handler_entry"][frames["irq_handler_entry"]["cpu"] == cpu]
        place = np.searchsorted(switches["timestamp"], irqs["timestamp"], "right")
        after = place > 0
        expected = switches["next_pid"].to_numpy()[place[after] - 1]
        assert (irqs["tid"].to_numpy(dtype=np.int64)[after] == expected).all()
    tids = frames["sys_enter"]["tid"]
    assert [f"task-{tid % 50}" for tid in tids] == frames["sys_enter"]["comm"].tolist()


def test_counts_equal_babeltraces(pristine: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    done = subprocess.run(["babeltrace2", pristine], capture_output=True, text=True, check=True)
    assert "ERROR" not in done.stderr
    counted: dict[str, int] = {}
    for name in re.findall(r" (\w+): \{ magic", done.stdout):
        counted[name] = counted.get(name, 0) + 1
    catalog = ltt_relay.open(pristine).catalog
    assert dict(zip(catalog["event"], catalog["count"], strict=True)) == counted
    discarded = sum(int(n) for n in re.findall(r"discarded (\d+) event", done.stderr))
    assert discarded == ltt_relay.open(pristine).info["lost"] > 0


def test_kinds_declared_at_run_time_are_read_by_both(tmp_path: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    path = write_trace(tmp_path / "t", 5000, cpus=2, declared=286)
    trace = ltt_relay.open(path)
    declared = [name for name in trace if name.startswith("declared_")]
    assert len(declared) > 200
    done = subprocess.run(["babeltrace2", path], capture_output=True, text=True, check=True)
    theirs = re.findall(r" (declared_\d+): .*tid = (-?\d+), count = (\d+), size = (\d+) ", done.stdout)
    ours = [
        (name, *map(str, row[1:])) for name in declared for row in trace[name][["tid", "count", "size"]].itertuples()
    ]
    assert sorted(theirs) == sorted(ours)


def test_gaps_have_the_losses_between_packets(pristine: Path) -> None:
    trace = ltt_relay.open(pristine)
    assert trace.gaps["count"].sum() == trace.info["lost"]
    assert set(trace.gaps["reason"]) == {"full"}
    assert (trace.gaps["end"] > trace.gaps["begin"]).all()
    assert trace.problems.empty


def test_windows_of_time_give_the_same_records_as_all_at_once(pristine: Path) -> None:
    trace = ltt_relay.open(pristine)
    whole = trace.frames(["sched_switch", "marker"])
    parts = list(trace.iter_frames(["sched_switch", "marker"], max_bytes="200 KB"))
    assert len(parts) > 3
    for name, frame in whole.items():
        together = pd.concat([part[name] for part in parts], ignore_index=True)
        pd.testing.assert_frame_equal(together, frame)
    begin = trace.info["begin"]
    some = trace.frames(["sched_switch"], since="+1ms", until="+2ms")["sched_switch"]
    times = whole["sched_switch"]["timestamp"].astype("int64")
    assert len(some) == ((times >= begin + 1_000_000) & (times < begin + 2_000_000)).sum() > 0


def test_windows_of_packets_do_not_show_in_variable_columns(pristine: Path) -> None:
    """The ends of payloads were lost from the second window of packets on, when an event had had rows before."""
    opened = ltt_relay.open(pristine)
    source = opened._source
    kinds = tuple(source.plan.names[name] for name in ("sys_enter", "marker"))
    columns = {kind: source.plan.events[kind].columns for kind in kinds}
    selection = batch.Selection(kinds, dict.fromkeys(kinds, ("timestamp",)), columns)
    rows = source.select(kinds, 0, FOREVER, None)
    job = batch.Job(
        source.plan, source.walker, selection, Names(), source.files, source.packets[rows], 0, FOREVER, window=40_000
    )
    found = batch.run(job, [(0, FOREVER)], [source.counts()[rows, :-1].sum(axis=0, dtype=np.int64)])
    whole = opened.arrow(["sys_enter", "marker"])
    for kind, (event, column) in zip(kinds, (("sys_enter", "args"), ("marker", "text")), strict=True):
        assert found[kind].variable[column].to_pylist() == whole[event][column].to_pylist()


def test_an_absent_event_is_an_empty_frame_with_its_dtypes_and_an_unknown_one_an_error(pristine: Path) -> None:
    trace = ltt_relay.open(pristine)
    empty = trace["sched_process_fork"]
    assert len(empty) == 0
    assert str(empty["timestamp"].dtype) == "datetime64[ns, UTC]"
    assert empty["child_pid"].dtype == np.int32
    with pytest.raises(UnknownEventError, match="sched_switch"):
        trace["sched_swich"]


def test_events_are_meant_by_name_group_or_glob(pristine: Path) -> None:
    trace = ltt_relay.open(pristine)
    assert trace.matching(["irq:*_entry", "sched_switch"]) == ["irq_handler_entry", "softirq_entry", "sched_switch"]
    assert trace.matching("sched") == [
        name for name in trace if trace.catalog.set_index("event")["group"][name] == "sched"
    ]
    assert set(trace.frames("page_fault_*")) == {"page_fault_user", "page_fault_kernel"}
    with pytest.raises(UnknownEventError, match=r"sched_swich.*near: sched_switch"):
        trace.frames(["irq", "sched_swich*"])


def test_an_iterator_of_events_lasts_for_all_windows_of_iter_frames(pristine: Path) -> None:
    """The first window used it up; those behind were empty."""
    trace = ltt_relay.open(pristine)
    windows = list(trace.iter_frames(iter(["sched_switch"]), cpus=iter([0, 1]), max_bytes="100 KB"))
    assert len(windows) > 2
    assert sum(len(frames["sched_switch"]) for frames in windows) == len(
        trace.frames("sched_switch", cpus=[0, 1])["sched_switch"]
    )


def test_tasks_have_one_comm_their_own(pristine: Path) -> None:
    """The name of the task that ran while the state was dumped was a second column of the same name."""
    tasks = ltt_relay.open(pristine).tasks
    assert list(tasks.columns) == ["timestamp", "pid", "tgid", "ppid", "uid", "cause", "comm"]
    assert tasks.set_index("pid")["comm"][0] == "swapper"


def test_merged_has_every_record_once_in_order(pristine: Path) -> None:
    trace = ltt_relay.open(pristine)
    merged = trace.merged()
    assert len(merged) == EVENTS
    assert merged["timestamp"].is_monotonic_increasing
    assert list(merged.columns) == ["timestamp", "cpu", "event", "tid", "comm", "payload"]


@pytest.mark.parametrize("threads", ["1", "2"])
def test_equal_times_are_merged_by_cpu_then_place(trace: Path, monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    """They came in the order of kinds."""
    monkeypatch.setattr("ltt_relay.decode.source._WORTH_THREADS", 0)
    monkeypatch.setenv("LTT_RELAY_THREADS", threads)
    for file in trace.glob("events_*"):
        data = bytearray(file.read_bytes())
        start = 0
        while start < len(data):
            packet = PACKET.parse(bytes(data[start : start + HEADER_SIZE]))
            at = start + HEADER_SIZE
            while at < start + packet.content_size // 8:
                time, _, length = struct.unpack_from("<IHH", data, at)
                struct.pack_into("<I", data, at, time | 0xFFFF)
                at += (length + 7) & ~7
            end = start + dict(HEADER.fields or {})["timestamp_end"][1]
            struct.pack_into("<Q", data, end, packet.timestamp_end | 0xFFFF)
            start += packet.packet_size // 8
        file.write_bytes(data)
    merged = ltt_relay.open(trace).merged(time="ns")
    rows = [row | {"event": name} for name, found in _oracle(trace).items() for row in found]
    rows.sort(key=lambda row: (row["time"], row["cpu"], row["offset"]))
    assert len({row["time"] for row in rows}) < len(rows) / 2
    assert merged["timestamp"].tolist() == [row["time"] for row in rows]
    assert merged["cpu"].tolist() == [row["cpu"] for row in rows]
    assert merged["event"].tolist() == [row["event"] for row in rows]
    for row, payload in zip(rows, merged["payload"], strict=True):
        if row["event"] == "irq_handler_exit":
            assert f"irq={row['irq']} " in payload


def test_frames_are_writable_and_outlive_the_trace(pristine: Path) -> None:
    with ltt_relay.open(pristine) as trace:
        frame = trace["sys_exit"]
    frame["ret"] += 1
    assert pickle.loads(pickle.dumps(trace)).info == trace.info


@pytest.mark.parametrize(("text", "expected"), [("+1.5s", 1_500_000_100), ("-2s", -1_999_999_000), (5, 5), ("7", 7),
                                                ("1970-01-01T00:00:00.000000123Z", 123),
                                                ("1970-01-01 00:00:00.000000123 UTC", 123),  # as info prints it
                                                ("1970-01-01T01:00:00,000000123+01:00", 123),
                                                ("19700101T000000.000000123", 123)])  # fmt: skip
def test_moments(text: str | int, expected: int) -> None:
    assert resolve(text, 100, 1000) == expected


@pytest.mark.parametrize("text", ["3000-01-01", "1000-01-01", "1969-12-31T23:59:59.999999999", "2026-11-28T21:39"])
def test_moments_of_numpy_are_those_of_the_text(text: str) -> None:
    """Those before 1678 and after 2262 wrapped: records since the year 3000 were all there are."""
    assert resolve(np.datetime64(text), 0, 0) == resolve(text, 0, 0)


# A fraction of a minute was taken for one of a second.
@pytest.mark.parametrize("text", ["yesterday", "1970-01-01T00:30.5", "1970-01-01T12.5", "1970-01-01 UTC+1"])
def test_a_wrong_moment_says_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        resolve(text, 0, 1)


# ---------------------------------------------------------------------------------------------------------- damage


def _codes(path: Path) -> list[str]:
    return list(ltt_relay.open(path).problems["code"])


def test_a_truncated_file_gives_what_is_there(trace: Path) -> None:
    file = trace / "events_1"
    file.write_bytes(file.read_bytes()[:-5000])
    opened = ltt_relay.open(trace)
    assert _codes(trace) == ["truncated"]
    assert EVENTS - 500 < opened.catalog.query("not event.str.startswith('state_')")["count"].sum() < EVENTS
    with pytest.raises(ltt_relay.TraceError, match="truncated"):
        ltt_relay.open(trace, strict=True)


def test_after_a_broken_header_decoding_goes_on_at_the_next_packet(trace: Path) -> None:
    file = trace / "events_0"
    data = bytearray(file.read_bytes())
    first = PACKET.parse(bytes(data[:HEADER_SIZE]))
    data[first.packet_size // 8 + 24] ^= 0xFF
    file.write_bytes(data)
    opened = ltt_relay.open(trace)
    assert "packet_header" in _codes(trace)
    assert len(opened.merged()) > EVENTS * 0.8


def test_a_broken_record_costs_its_packet_only(trace: Path) -> None:
    file = trace / "events_2"
    data = bytearray(file.read_bytes())
    data[HEADER_SIZE + 6 : HEADER_SIZE + 8] = b"\x03\x00"
    file.write_bytes(data)
    assert {"record_length", "record_count"} <= set(_codes(trace))
    with pytest.raises(ltt_relay.TraceError, match="record_length"):
        ltt_relay.open(trace, strict=True).frames()


def test_an_unknown_event_is_skipped_and_told(trace: Path) -> None:
    file = trace / "events_2"
    data = bytearray(file.read_bytes())
    data[HEADER_SIZE + 4 : HEADER_SIZE + 6] = b"\xee\x00"
    file.write_bytes(data)
    assert _codes(trace) == ["unknown_event"]
    assert len(ltt_relay.open(trace).merged()) == EVENTS - 1


def test_no_metadata_is_a_problem_and_no_more(trace: Path) -> None:
    (trace / "metadata").unlink()
    assert _codes(trace) == ["no_metadata"]
    assert len(ltt_relay.open(trace).merged()) == EVENTS


def test_a_directory_of_other_files_is_a_clear_error(tmp_path: Path) -> None:
    """A file of none of a trace's names that cannot be read, as /etc/mtab, was told of instead."""
    (tmp_path / "empty").touch()
    (tmp_path / "notes").write_text("not a trace\n")
    (tmp_path / "mounts").symlink_to("/proc/self/mounts")
    with pytest.raises(ltt_relay.TraceError, match="no stream files"):
        ltt_relay.open(tmp_path)


def test_an_empty_directory_and_a_missing_one_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ltt_relay.TraceError, match="no stream files"):
        ltt_relay.open(tmp_path)
    with pytest.raises(ltt_relay.TraceError, match="no such directory"):
        ltt_relay.open(tmp_path / "nothing")


@pytest.mark.parametrize("seed", range(40))
def test_mutated_traces_never_crash_and_lose_nothing_silently(seed: int, tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t", 2000, cpus=2, packet_size=8192)
    generator = np.random.default_rng(seed)
    for name in ("events_0", "events_1", "state_0"):
        data = np.frombuffer((path / name).read_bytes(), np.uint8).copy()
        places = generator.integers(0, data.size, generator.integers(1, 12))
        data[places] = generator.integers(0, 256, places.size)
        (path / name).write_bytes(data.tobytes()[: int(data.size * generator.choice([1, 1, 1, 0.7]))])
    opened = ltt_relay.open(path)
    frames = opened.frames()
    rows = sum(len(frame) for frame in frames.values())
    assert rows <= 2213
    if rows < 2213:
        assert not opened.problems.empty
    opened.merged()
    assert opened.gaps is not None


def test_what_moves_a_cursor_is_escaped_by_dump(trace: Path) -> None:
    """A task's name went to the terminal as it was."""
    state = trace / "state_0"
    state.write_bytes(state.read_bytes().replace(b"device-9", b"\x1b[2J\xff\n!!"))
    done = subprocess.run([sys.executable, "-m", "ltt_relay.cli", "dump", str(trace)], capture_output=True, check=True)
    assert rb"\x1b[2J" in done.stdout
    assert b"\x1b" not in done.stdout
