# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of LTT 3.0 that no kernel would write: each is read as far as it goes, and what is wrong is told."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import pandas as pd
import pytest

import ltt_relay
from ltt_relay.decode import batch, ltt3, metadata, source
from ltt_relay.decode.index import index_file
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.formats import ctf
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, LOST_REASONS, MAGIC, PACKET, RECORD, records

_UUID = UUID(int=0x1234567890)
_OFFSET = 1_795_000_000_000_000_000
_T = 10**12
_TEXT = ctf.metadata(FORMAT, _UUID, {"hostname": "h"}, _OFFSET)
Record = tuple[int, int, bytes]


def _record(event: str | int, payload: Any, at: int) -> Record:
    number, body = event, payload
    if isinstance(event, str):
        number, body = FORMAT.event(event).id, FORMAT.event(event).payload.build(payload)
    return int(number), at, RECORD.build({"timestamp": at & 0xFFFFFFFF, "id": number, "length": 8 + len(body)}) + body


def _packet(entries: list[Record], **header: Any) -> bytes:
    data, bitmap = b"", 0
    for number, _, record in entries:
        data = data.ljust(len(data) + -len(data) % 8, b"\0") + record
        bitmap |= 1 << number % 64
    size = HEADER_SIZE + len(data) + -len(data) % 8
    values = dict.fromkeys((member.name for member in PACKET.subcons), 0) | {
        "uuid": _UUID.bytes, "magic": MAGIC, "major": 3, "header_size": HEADER_SIZE, "packet_size": 8 * size,
        "content_size": 8 * (HEADER_SIZE + len(data)), "timestamp_begin": _T, "timestamp_end": entries[-1][1],
        "tid": -1, "tgid": -1, "wall_offset": _OFFSET, "event_ids": bitmap, "records": len(entries),
    }  # fmt: skip
    return bytes(PACKET.build(values | header)).ljust(HEADER_SIZE) + data.ljust(size - HEADER_SIZE, b"\0")


def _switch(at: int, to: int = 5) -> Record:
    fields = {"prev_pid": 0, "next_pid": to, "prev_prio": 120, "next_prio": 120, "prev_state": 0}
    return _record("sched_switch", fields, at)


_THREE = [_switch(_T), _switch(_T + 10), _switch(_T + 20)]


def _write(path: Path, text: str | None = _TEXT, **files: bytes) -> Path:
    path.mkdir()
    if text is not None:
        (path / "metadata").write_text(text)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def _codes(trace: ltt_relay.Trace) -> list[str]:
    return sorted(set(trace.problems["code"]))


@pytest.mark.parametrize(
    "text",
    ["event{" * 20_000, "event{fields:=struct{" * 2000, "env{" * 20_000, "\n" * 50_000 + "x", 'env {\na = "\\' * 9000],
    ids=range(5),
)
def test_a_long_text_of_metadata_takes_no_time_to_speak_of(text: str) -> None:
    begun = time.process_time()
    metadata.parse(text)
    assert time.process_time() - begun < 5  # what grew with the square or the cube of it took minutes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (str(_UUID), "-" * 36),
        ("offset_s = 1795000000", "offset_s = 99999999999999999999"),
        ("offset_s = 1795000000", "offset_s = " + "9" * 5000),
        (_TEXT, "\0{{{"),
    ],
    ids=range(4),
)
def test_metadata_that_does_not_tell_is_a_problem(before: str, after: str, tmp_path: Path) -> None:
    trace = ltt_relay.open(_write(tmp_path / "t", _TEXT.replace(before, after), events_0=_packet(_THREE)))
    assert _codes(trace) == ["no_metadata"]
    assert trace["sched_switch"]["timestamp"].astype("int64").tolist() == [_OFFSET + _T + n for n in (0, 10, 20)]


def test_metadata_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    path = _write(tmp_path / "t", None, events_0=_packet(_THREE))
    os.mkfifo(path / "metadata")
    with pytest.raises(ltt_relay.TraceError, match="not a file"):
        ltt_relay.open(path)


@pytest.mark.parametrize("offset", [-(1 << 63), (1 << 63) - 1])
def test_an_impossible_offset_in_the_packets_is_not_used(offset: int, tmp_path: Path) -> None:
    trace = ltt_relay.open(_write(tmp_path / "t", None, events_0=_packet(_THREE, wall_offset=offset)))
    assert trace.frames()["sched_switch"]["timestamp"].astype("int64").tolist()[0] == trace.info["begin"] == _T


def test_two_sessions_in_one_directory_are_not_mixed_without_metadata(tmp_path: Path) -> None:
    other = _packet(_THREE, uuid=bytes(16), cpu_id=1)
    trace = ltt_relay.open(_write(tmp_path / "t", None, events_0=_packet(_THREE), events_1=other))
    assert len(trace["sched_switch"]) == 3
    assert trace.info["uuid"] == str(_UUID)
    assert _codes(trace) == ["no_metadata", "not_a_stream"]


@pytest.mark.parametrize(
    "header", [{"cpu_id": 70_000}, {"cpu_id": (1 << 31) + 1}, {"packet_size": 1 << 36, "content_size": 1 << 36}]
)
def test_an_impossible_header_is_damage(header: dict[str, int], tmp_path: Path) -> None:
    bad = _packet(_THREE, **header, lost_full=5)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(_THREE) + bad))
    assert _codes(trace) == ["packet_header"]
    assert (len(trace["sched_switch"]), len(trace.gaps)) == (3, 0)
    with pytest.raises(ltt_relay.TraceError, match=r"packet header .* expected"):
        ltt_relay.open(_write(tmp_path / "u", events_0=bad))


def test_counters_that_fill_64_bits_stay_positive(tmp_path: Path) -> None:
    most = (1 << 64) - 1
    packet = _packet(_THREE, **{f"lost_{reason}": most for reason in LOST_REASONS}, overwritten=most, records=most)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=packet))
    assert trace.info["records"] == 3
    assert trace.info["lost"] + trace.info["overwritten"] == trace.gaps["count"].sum() > 1 << 40
    assert _codes(trace) == ["record_count"]
    for to in ("ctf", "perfetto"):
        assert convert_trace(trace.path, tmp_path / to, Options(to)).error == ""


def _event(body: str, name: str = "cust", stream: str = "0", number: str = "256") -> str:
    head = f'name = "{name}"; id = {number}; stream_id = {stream};'
    return f"event {{ {head} fields := struct {{ {body} }}; }};\n"


@pytest.mark.parametrize("tid", ["uint64_t tid;", "int16_t tid;", "utf8_t tid[4];", "string tid;"])
def test_a_field_called_tid_that_is_none_does_not_hide_the_trace(tid: str, tmp_path: Path) -> None:
    packet = _packet([*_THREE, _record(256, bytes(16), _T + 30)])
    trace = ltt_relay.open(_write(tmp_path / "t", _TEXT + _event(tid), events_0=packet))
    assert list(trace["cust"]) == ["timestamp", "cpu", "tid", "comm", "event_tid"]
    assert (len(trace["cust"]), len(trace["sched_switch"])) == (1, 3)


def test_fields_called_as_base_columns_and_as_what_those_become(tmp_path: Path) -> None:
    body = "int32_t tid; int32_t cpu; int32_t event_cpu; int32_t event; int32_t timestamp; int32_t comm;"
    packet = _packet([_record(256, b"".join(bytes([n, 0, 0, 0]) for n in range(1, 7)), _T)])
    trace = ltt_relay.open(_write(tmp_path / "t", _TEXT + _event(body), events_0=packet))
    payload = {"event_cpu": 2, "event_event_cpu": 3, "event": 4, "event_timestamp": 5, "event_comm": 6}
    row = trace["cust"].iloc[0]
    assert row["tid"] == 1
    assert {name: row[name] for name in payload} == payload
    assert trace.merged()["payload"][0] == " ".join(f"{name}={value}" for name, value in payload.items())


@pytest.mark.parametrize(("stream", "number"), [("7", "256"), ("9" * 30, "256"), ("0", "9" * 5000)], ids=range(3))
def test_an_event_of_no_stream_or_id_is_told(stream: str, number: str, tmp_path: Path) -> None:
    text = _TEXT + _event("int32_t tid;", stream=stream, number=number)
    trace = ltt_relay.open(_write(tmp_path / "t", text, events_0=_packet(_THREE)))
    assert _codes(trace) == ["bad_event"]
    assert len(trace["sched_switch"]) == 3


def test_one_long_name_does_not_make_all_names_long(tmp_path: Path) -> None:
    names = [_record("state_irq", {"irq": 1, "name": "x" * 60_000}, _T)]
    names += [_record("state_irq", {"irq": number % 4000, "name": f"y{number}"}, _T) for number in range(20_000)]
    before = resource.getrlimit(resource.RLIMIT_AS)
    path = _write(tmp_path / "t", state_0=_packet(names, stream_id=1), events_0=_packet(_THREE))
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + (1 << 30), before[1]))
    try:
        assert len(ltt_relay.open(path)["sched_switch"]) == 3
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_uid_above_31_bits_goes_to_perfetto(tmp_path: Path) -> None:
    fields = {"pid": 5, "tgid": 5, "ppid": 1, "uid": (1 << 32) - 2, "cause": 0, "comm": "x"}
    task = _packet([_record("state_task", fields, _T)], stream_id=1)
    path = _write(tmp_path / "t", state_0=task, events_0=_packet(_THREE))
    assert convert_trace(path, tmp_path / "out", Options("perfetto")).error == ""


@pytest.mark.parametrize("late", [{"timestamp_end": _T + 15}, {"timestamp_begin": _T + 5}])
def test_a_record_beyond_its_packet_is_damage_in_the_whole_and_in_windows(late: dict[str, int], tmp_path: Path) -> None:
    later = _packet([_switch(_T + 100)], timestamp_begin=_T + 100, packet_seq_num=1)
    path = _write(tmp_path / "t", events_0=_packet(_THREE, **late) + later)
    trace = ltt_relay.open(path)
    whole = trace["sched_switch"]
    assert len(whole) == trace.catalog["count"].sum() == 3
    assert _codes(trace) == ["record_time"]
    assert [found.event for found in records(path)].count("sched_switch") == 3
    windows = [window["sched_switch"] for window in trace.iter_frames(max_bytes=1) if window]
    pd.testing.assert_frame_equal(pd.concat(windows, ignore_index=True), whole)


def _payload(frames: list[pd.DataFrame]) -> list[tuple[int, int]]:
    return [(int(row.timestamp), int(row.next_pid)) for frame in frames for row in frame.itertuples()]


def test_time_that_steps_back_within_a_packet_is_told_and_put_in_order(tmp_path: Path) -> None:
    """Such records were left behind the later ones: neither frames nor merged were in order."""
    times = [0, 30, 10, 20, 40, 40]
    steps = [_switch(_T + at, to=n) for n, at in enumerate(times)]
    other = _packet([_switch(_T + 15, to=9)], timestamp_begin=_T + 15, cpu_id=1)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(steps), events_1=other))
    expected = [(_T, 0), (_T + 10, 2), (_T + 15, 9), (_T + 20, 3), (_T + 30, 1), (_T + 40, 4), (_T + 40, 5)]
    assert _payload([trace.frames(time="ns")["sched_switch"]]) == expected
    merged = trace.merged(time="ns")
    assert merged["timestamp"].tolist() == [at for at, _ in expected]
    assert [f"next_pid={to} " in text for (_, to), text in zip(expected, merged["payload"], strict=True)] == [True] * 7
    halves = [trace.frames(since=_OFFSET + low, until=_OFFSET + low + 20, time="ns") for low in (_T, _T + 20, _T + 40)]
    assert _payload([half["sched_switch"] for half in halves]) == expected
    (problem,) = trace.problems.itertuples()
    assert (problem.code, problem.file, problem.found) == ("time_backward", "events_0", str(_T + 10))
    assert len(trace["sched_switch"]) == trace.catalog["count"].sum() == 7


def test_a_packet_that_begins_before_the_one_before_it_ended_is_told_and_put_in_order(tmp_path: Path) -> None:
    second = _packet([_switch(_T + 10, to=7), _switch(_T + 30)], timestamp_begin=_T + 10, packet_seq_num=1)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(_THREE) + second))
    assert _codes(trace) == ["time_backward"]
    expected = [(_T, 5), (_T + 10, 5), (_T + 10, 7), (_T + 20, 5), (_T + 30, 5)]
    assert _payload([trace.frames(time="ns")["sched_switch"]]) == expected
    assert trace.merged(time="ns")["timestamp"].tolist() == [at for at, _ in expected]


def test_packets_that_are_missing_are_told_unless_a_counter_does(tmp_path: Path) -> None:
    later = {"timestamp_begin": _T + 100, "packet_seq_num": 4}
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(_THREE) + _packet([_switch(_T + 100)], **later)))
    (problem,) = trace.problems.itertuples()
    assert (problem.code, problem.expected, problem.found) == ("sequence", "packet 1", "packet 4")
    assert len(trace["sched_switch"]) == 4
    told = _packet([_switch(_T + 100)], **later, overwritten=9)
    trace = ltt_relay.open(_write(tmp_path / "u", events_0=_packet(_THREE) + told))
    assert trace.problems.empty
    assert trace.gaps["count"].tolist() == [9]


@pytest.mark.parametrize("alone", [True, False])
def test_an_id_that_its_packets_header_does_not_list_is_missing_however_it_is_asked_for(
    alone: bool, tmp_path: Path
) -> None:
    """It was in the catalog, and in frames of all events if another packet listed it, but not in its own frame."""
    fields = {"pid": 5, "comm": "x", "prio": 120}
    ends = [_record("sched_process_exit", fields, _T + at) for at in (5, 105)]
    switch = FORMAT.event("sched_switch").id
    lying = _packet([_switch(_T), ends[0], _switch(_T + 10)], event_ids=1 << switch % 64)
    after = {"timestamp_begin": _T + 100, "packet_seq_num": 1}
    honest = _packet([_switch(_T + 100), *ends[1:] * (not alone)], **after)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=lying + honest))
    rows = int(not alone)
    assert len(trace["sched_process_exit"]) == rows
    assert len(trace.frames().get("sched_process_exit", [])) == rows
    assert (trace.merged()["event"] == "sched_process_exit").sum() == rows
    assert ("sched_process_exit" in trace) == (rows > 0)
    assert len(trace["sched_switch"]) == 3
    assert trace.catalog["count"].sum() == 3 + rows
    (problem,) = trace.problems.itertuples()
    assert (problem.code, problem.found, problem.packet) == ("event_ids", str(ends[0][0]), 0)


@pytest.mark.parametrize("counted", [True, False])
def test_a_file_that_shrinks_while_its_trace_is_open_is_told(counted: bool, tmp_path: Path) -> None:
    """Where it had been counted before, there were fewer rows and no problem."""
    second = _packet([_switch(_T + 100 + n) for n in range(9)], timestamp_begin=_T + 100, packet_seq_num=1)
    path = _write(tmp_path / "t", events_0=_packet(_THREE) + second)
    trace, strict = ltt_relay.open(path), ltt_relay.open(path, strict=True)
    if counted:
        assert trace.catalog["count"].sum() == len(strict["sched_switch"]) == 12
    with (path / "events_0").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 80)
    rows = len(trace["sched_switch"])
    assert 3 < rows < 12
    assert "truncated" in _codes(trace)
    assert trace.catalog["count"].sum() == rows
    with pytest.raises(ltt_relay.TraceError, match=r"truncated|record_length"):
        strict.frames()


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_field_called_rank_is_a_field(threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a record among all was taken from it: merged() wrote where it pointed, and threads added to it."""
    monkeypatch.setenv("LTT_RELAY_THREADS", threads)
    monkeypatch.setattr(batch, "AT_ONCE", 0)
    monkeypatch.setattr(source, "_WORTH_THREADS", 0)
    packets = b"".join(
        _packet(
            [_record(256, bytes([7, 0, 0, 0, rank, 0, 0, 0]), _T + 100 * n + rank) for rank in (3, 9)],
            timestamp_begin=_T + 100 * n,
            packet_seq_num=n,
        )
        for n in range(4)
    )
    path = _write(tmp_path / "t", _TEXT + _event("int32_t tid; uint32_t rank;"), events_0=packets)
    trace = ltt_relay.open(path)
    assert trace["cust"]["rank"].tolist() == [3, 9] * 4
    merged = trace.merged(time="ns")
    assert merged["payload"].tolist() == ["rank=3", "rank=9"] * 4
    assert merged["timestamp"].tolist() == trace.frames(time="ns")["cust"]["timestamp"].tolist()


def test_a_field_called_trace_is_beside_that_of_many_traces(tmp_path: Path) -> None:
    packet = _packet([_record(256, bytes([7, 0, 0, 0]), _T)])
    path = _write(tmp_path / "t", _TEXT + _event("int32_t _trace;"), events_0=packet)
    (row,) = ltt_relay.concatenate([path])["cust"].itertuples()
    assert (row.trace, row.event_trace) == (str(path), 7)


def test_what_a_counter_that_goes_back_had_told_is_not_lost_again(tmp_path: Path) -> None:
    """The gaps came to more than info said was lost."""
    packets = [
        _packet([_switch(_T + n)], timestamp_begin=_T + n, packet_seq_num=n, lost_full=lost)
        for n, lost in enumerate((5, 3, 5, 9))
    ]
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=b"".join(packets)))
    assert trace.gaps["count"].tolist() == [5, 4]
    assert trace.info["lost"] == 9


def test_a_stream_that_grows_from_nothing_while_it_is_indexed_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no packets, but bytes when asked again: an IndexError."""
    path = _write(tmp_path / "t", events_0=_packet(_THREE), events_1=b"")

    def index(file: Path, *given: Any) -> Any:
        rows = index_file(file, *given)
        if file.name == "events_1":
            file.write_bytes(_packet(_THREE, cpu_id=1))
        return rows

    monkeypatch.setattr(ltt3, "index_file", index)
    trace = ltt_relay.open(path)
    assert (len(trace["sched_switch"]), _codes(trace)) == (3, [])


def test_equal_times_of_two_kinds_of_stream_are_merged_alike_in_windows(tmp_path: Path) -> None:
    """Which came first depended on how many records the window had before."""
    log: dict[str, Any] = {"pid": 5, "uid": 0, "event_type": 1, "severity": 1, "facility": 1, "origin": 0}
    log |= {"process": "p", "text": "t", "attributes": "", "tid": 5}
    logged = _packet([_record("evlog", log, _T + 20)], stream_id=3, timestamp_begin=_T + 20)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(_THREE), evlog_0=logged))
    whole = trace.merged()
    assert whole["event"].tolist() == ["sched_switch"] * 3 + ["evlog"]
    assert trace.merged(since=_OFFSET + _T + 20)["event"].tolist() == ["sched_switch", "evlog"]


def _four() -> list[bytes]:
    times = [[_T + 1000 * n + at for at in range(20)] for n in range(4)]
    return [_packet([_switch(at) for at in some], timestamp_begin=some[0], packet_seq_num=n)
            for n, some in enumerate(times)]  # fmt: skip


@pytest.mark.parametrize("text", [_TEXT, None], ids=["metadata", "no metadata"])
@pytest.mark.parametrize(
    ("damage", "rows"),
    [
        (lambda a, b, c, d: a[:-100] + b + c + d, 75),  # what was cut short, and then gone on with
        (lambda a, b, c, d: a + b[:300] + b[303:] + c + d, 65),
        (lambda a, b, c, d: a + b + b"abc" + c + d, 80),
        (lambda a, b, c, d: a + b + c[:250] + d, 62),
        (lambda a, b, c, d: a[190:] + b + c + d, 60),
        (lambda a, b, c, d: _packet([_switch(_T)], packet_size=8 << 20) + b + c + d, 61),
        (lambda a, b, c, d: a + b[:160] + c + d, 60),  # cut short in its header
    ],
    ids=range(7),
)
def test_what_is_behind_a_packet_that_is_cut_short_is_found(
    damage: Any, rows: int, text: str | None, tmp_path: Path
) -> None:
    """It was taken for the rest of that packet, and looked for behind it, at multiples of 8 bytes only."""
    path = _write(tmp_path / "t", text, events_0=damage(*_four()))
    trace = ltt_relay.open(path)
    found = trace.frames(time="ns")["sched_switch"]["timestamp"]
    assert (len(found), found.iloc[-1]) == (rows, _T + 3019)
    assert trace.catalog["count"].sum() == rows
    assert {"truncated", "packet_header"} & set(_codes(trace))


def test_a_session_may_be_called_as_what_metadata_tells(tmp_path: Path) -> None:
    """Its name was taken for the clock's offset: all times were wrong."""
    text = ctf.metadata(FORMAT, _UUID, {"session": "offset_s = 5; offset = 7"}, _OFFSET)
    trace = ltt_relay.open(_write(tmp_path / "t", text, events_0=_packet(_THREE)))
    assert trace.info["begin"] == _OFFSET + _T


def test_a_stream_full_of_what_looks_like_headers_is_gone_through_once(tmp_path: Path) -> None:
    """For each of them a MiB was read: 20 MB took hours."""
    later = _packet([_switch(_T + 50)], timestamp_begin=_T + 50, packet_seq_num=1)
    trace = ltt_relay.open(_write(tmp_path / "t", events_0=_packet(_THREE) + _UUID.bytes * 70_000 + later))
    assert len(trace["sched_switch"]) == 4
    assert set(_codes(trace)) == {"packet_header"}
