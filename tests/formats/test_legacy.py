# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType

import pytest

import ltt_relay
from ltt_relay.formats import classic, k42, oracle, poly
from ltt_relay.formats.base import Format
from ltt_relay.testing.classic import Record, Writer, write_classic
from ltt_relay.testing.compare import assert_same
from ltt_relay.testing.legacy import write_k42, write_poly

BEGIN = 1_090_000_000_000_000_000
SAMPLE = Path(__file__).parents[3] / "shared" / "samples" / "ltt-2.2-poly" / "smp_example"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"the samples are not at {SAMPLE}")


def _mixed(form: Format, count: int, seed: int = 1, cpus: int = 2, step: int = 300_000) -> list[Record]:
    random_ = random.Random(seed)
    control = {"buffer_start", "buffer_end", "trace_start", "new_event"}
    names = [event.name for event in form.events if event.name not in control]
    found = []
    time = BEGIN
    for i in range(count):
        time += random_.randrange(0, step) // 1000 * 1000
        name = names[i % len(names)] if i < 2 * len(names) else random_.choice(names)
        fields: dict[str, object] = {}
        if name in {"fs_open", "sched_process_exec"}:
            fields = {"filename": "/etc/" + "y" * random_.randrange(20)}
        elif name == "sched_switch":
            fields = {"prev_pid": i, "next_pid": i + 1, "prev_state": i % 3}
        elif name == "sys_enter":
            fields = {"id": i % 250, "ip": i << 8}
        elif name == "custom":
            fields = {"event_id": 30, "data": random_.randbytes(i % 30)}
        found.append(Record(name, time, fields, random_.randrange(cpus)))
    return found


@pytest.mark.parametrize("clock", [4, 8])
def test_k42_is_told_and_read_to_the_field(clock: int, tmp_path: Path) -> None:
    made = _mixed(k42.format_of(clock), 700)
    write_k42(tmp_path, made, clock)
    trace = assert_same(tmp_path, oracle.records(tmp_path, k42))
    assert trace.info["format"] == "LTT K42 2.3"
    assert trace.problems.empty
    assert trace.info["cpus"] == 2
    frames = trace.frames(time="ns")
    for name in {record.event for record in made}:
        mine = sorted((r for r in made if r.event == name), key=lambda r: (r.time, r.cpu))
        assert frames[name]["timestamp"].tolist() == [r.time for r in mine]
        for field in mine[0].fields:
            column = field if field in frames[name] else f"event_{field}"
            assert frames[name][column].tolist() == [r.fields[field] for r in mine]


def test_k42_microseconds_wrap(tmp_path: Path) -> None:
    made = [Record("heartbeat", BEGIN + 4_000_000_000_000 * i) for i in range(5)]
    write_k42(tmp_path, made)
    trace = assert_same(tmp_path, oracle.records(tmp_path, k42))
    assert trace.frames(["heartbeat"], time="ns")["heartbeat"]["timestamp"].tolist() == [r.time for r in made]


@needs_sample
def test_the_sample_has_the_counts_and_times_of_its_manifest() -> None:
    trace = ltt_relay.open(SAMPLE)
    assert trace.problems.empty
    assert (trace.info["begin"], trace.info["end"]) == (1467637903312859000, 1467637923309363000)
    start, end = trace["buffer_start"], trace["buffer_end"]
    assert start[start["cpu"] == 0]["cycle_count"].tolist() == [152895982]
    assert end[end["cpu"] == 0]["cycle_count"].tolist() == [7167575867]
    expected = {
        0: {1: 1001, 2: 1001, 3: 20, 4: 20, 5: 10175, 6: 10175, 7: 417, 8: 19997, 9: 40021, 10: 221, 11: 2183, 12: 81,
            13: 562, 14: 16, 16: 24, 17: 1, 18: 1, 19: 1},
        1: {1: 1028, 2: 1027, 5: 10038, 6: 10038, 7: 545, 8: 19997, 9: 40009, 10: 366, 11: 3425, 12: 186, 13: 437,
            14: 128, 16: 13, 17: 1, 18: 1, 19: 1},
    }  # fmt: skip
    numbers = {event.name: event.id & 0xFF for event in poly.format_of("<").events}
    for cpu, by_number in expected.items():
        counted: dict[int, int] = {}
        for name, frame in trace.frames(cpus=[cpu]).items():
            if len(frame):
                counted[numbers[name]] = counted.get(numbers[name], 0) + len(frame)
        assert counted == by_number
        assert sum(counted.values()) == {0: 85917, 1: 87240}[cpu]


@needs_sample
def test_the_sample_as_raw_ltt_2_2_says_the_same(tmp_path: Path) -> None:
    """Its events were LTT 2.2's before they were converted: written as those again, the frames are the same."""
    form = classic.format_of(classic.Dialect("2.2a", "<"))
    known = {event.name: {member.name for member in event.payload.subcons} for event in form.events}
    own = {"buffer_start", "buffer_end"}
    made = [
        Record(row.event, row.time or 0, {k: v for k, v in row.fields.items() if k in known[row.event]}, row.cpu)
        for _, rows in groupby(poly.records(SAMPLE), lambda row: row.cpu) for row in islice(rows, 5000)
        if row.event not in own
    ]  # fmt: skip
    writer = Writer(classic.Dialect("2.2a", "<"), cycles=True, hz=350_795_000, buffer_size=50_000)
    write_classic(tmp_path, writer, made)
    trace, original = ltt_relay.open(tmp_path), ltt_relay.open(SAMPLE)
    assert trace.problems.empty
    assert trace.info["dialect"] == "2.2a"
    compared = 0
    for name, frame in original.frames(time="ns").items():
        raw = trace.frames([name], time="ns")[name]
        for cpu in (0, 1) if name not in own else ():
            left = raw[raw["cpu"] == cpu].reset_index(drop=True)
            right = frame[frame["cpu"] == cpu].reset_index(drop=True).iloc[: len(left)]
            shared = [c for c in right.columns if c in left and c not in {"tid", "comm", "timestamp"}]
            assert left[shared].equals(right[shared]), name
            # A cycle is 3 ns here, and the two ends of a sub-buffer are whole us.
            assert ((left["timestamp"] - right["timestamp"]).abs() <= 1000).all()
            compared += len(left)
    assert compared == len(made)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nsec", [False, True])
def test_poly_is_read_to_the_field(order: str, nsec: bool, tmp_path: Path) -> None:
    made = _mixed(poly.format_of(order), 600, step=3_000_000)
    path = write_poly(tmp_path / "t", made, order, hz=3_000_000_000, nsec=nsec)
    trace = assert_same(path, poly.records(path))
    assert trace.problems.empty
    assert trace.info["nsec"] == ("nanoseconds" if nsec else "microseconds")
    times = sorted(row.time or 0 for row in poly.records(path) if not row.event.startswith("buffer"))
    assert max(abs(a - r.time) for a, r in zip(times, sorted(made, key=lambda r: r.time), strict=True)) <= 1000


@pytest.mark.parametrize("seed", range(16))
def test_mutated_traces_never_crash_and_are_read_as_the_oracle_does(seed: int, tmp_path: Path) -> None:
    random_ = random.Random(seed)
    module: ModuleType
    if seed % 2:
        write_k42(tmp_path / "t", _mixed(k42.format_of(), 300))
        files, module = sorted((tmp_path / "t").iterdir()), k42
    else:
        write_poly(tmp_path / "t", _mixed(poly.format_of("<"), 300), "<")
        files, module = sorted((tmp_path / "t" / "cpu").iterdir()), poly
    for file in files:
        data = bytearray(file.read_bytes())
        for _ in range(random_.randrange(1, 12)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        file.write_bytes(data[: random_.choice([len(data), len(data) - 700])])
    try:
        ltt_relay.open(tmp_path / "t")
    except ltt_relay.TraceError:
        return
    assert_same(tmp_path / "t", oracle.records(tmp_path / "t", module))
