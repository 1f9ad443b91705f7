# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import shutil
import subprocess
from itertools import groupby, islice
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay import analysis, plot
from ltt_relay.cli import main as cli
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


@needs_sample
def test_analyses_and_plots_run_on_it() -> None:
    """Of a trace whose calls have no result, and whose exits do not say what they end."""
    trace = ltt_relay.open(SAMPLE)
    calls = analysis.syscalls(trace).set_index("name")
    assert calls["count"]["nanosleep"] == 9
    assert 1_990_000_000 < calls["p50_ns"]["nanosleep"] < 2_010_000_000
    assert calls["errors"].isna().all()
    irqs = analysis.interrupts(trace).set_index("irq")
    assert irqs["count"].sum() == 20213
    assert irqs["count"][0] == 19996
    assert len(analysis.wakeup_latencies(trace)) > 400
    with pytest.raises(analysis.MissingEventError, match="results"):
        analysis.syscall_errors(trace)
    assert "task 1409" in {text.get_text() for text in plot.timeline(trace).legends[0].get_texts()}


def test_an_interrupt_that_interrupts_another_is_within_it(tmp_path: Path) -> None:
    made = [
        Record(f"irq_handler_{what}", BEGIN + 1000 * at, {"irq": irq} if what == "entry" else {})
        for at, what, irq in ((0, "entry", 3), (10, "entry", 5), (12, "exit", 5), (20, "exit", 3), (30, "entry", 5),
                              (31, "exit", 5))
    ]  # fmt: skip
    write_classic(tmp_path, Writer(classic.Dialect("2.2b", "<")), made)
    found = analysis.handler_intervals(ltt_relay.open(tmp_path))
    assert found[["irq", "duration_ns"]].values.tolist() == [[3, 20_000], [5, 2_000], [5, 1_000]]


def test_a_program_names_its_task(tmp_path: Path) -> None:
    made = [
        Record("sched_switch", BEGIN, {"prev_pid": 1, "next_pid": 7}),
        Record("sched_process_exec", BEGIN + 1000, {"filename": "/bin/ls"}),
        Record("sys_enter", BEGIN + 2000, {"id": 4}),
    ]
    write_classic(tmp_path, Writer(classic.Dialect("2.2b", "<")), made)
    assert ltt_relay.open(tmp_path)["sys_enter"][["tid", "comm"]].values.tolist() == [[7, "ls"]]


@pytest.mark.skipif(shutil.which("babeltrace2") is None, reason="babeltrace2 is not installed")
def test_todays_viewers_open_it_as_ctf(tmp_path: Path) -> None:
    form = classic.format_of(classic.Dialect("2.2b", ">"))
    made = _mixed(form, 400)
    write_classic(tmp_path / "old", Writer(classic.Dialect("2.2b", ">")), made)
    done = CliRunner().invoke(cli, ["convert", str(tmp_path / "old"), "--to", "ctf", "-o", str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    where = next((tmp_path / "new").rglob("metadata")).parent
    read = subprocess.run(["babeltrace2", where], capture_output=True, text=True, check=True)
    assert "ERROR" not in read.stderr
    assert read.stdout.count(" sched_switch: ") == sum(record.event == "sched_switch" for record in made)
    assert len(read.stdout.splitlines()) == len(ltt_relay.open(tmp_path / "old").merged())


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
