# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ltt_relay
from ltt_relay.formats.classic import Custom, Dialect, records, start_of
from ltt_relay.formats.classic_events import size
from ltt_relay.testing.classic import Record, Writer, snapshot, write_classic
from ltt_relay.testing.compare import assert_same

BEGIN = 1_035_000_000_000_000_000
NAMES = ("1.14", "2.1", "2.2a", "2.2b", "2.2c", "2.3")
DIALECTS = [
    *(Dialect(name, order) for name in NAMES for order in "<>"),
    Dialect("2.2c", ">", arch=8), Dialect("2.2c", "<", arch=9), Dialect("2.2a", ">", arch=4),
    *(Dialect(name, ">", long=8) for name in ("1.14", "2.1", "2.2a", "2.2b", "2.3")),
]  # fmt: skip
CUSTOMS = (Custom(23, "queue", "length of a queue", 1), Custom(24, "raw", "", 2))


def _named(dialect: Dialect) -> str:
    return f"{dialect.name}{'be' if dialect.order == '>' else 'le'}{dialect.arch}-{dialect.long}"


def _mixed(writer: Writer, count: int, seed: int = 1, cpus: int = 2, step: int = 300_000) -> list[Record]:
    """Records of every event, with the CPUs' switches in step."""
    random_ = random.Random(seed)
    beat = step > 100_000_000
    control = {"buffer_start", "buffer_end", "trace_start", "new_event"}
    names = [event.name for event in writer.format.events if event.name not in control]
    running = dict.fromkeys(range(cpus), 0)
    found = []
    time = BEGIN
    for custom in writer.customs:
        declaration = {"event_id": custom.number, "event_type": custom.name, "description": custom.doc,
                       "format_type": custom.form, "form": "%d"}  # fmt: skip
        found += [Record("new_event", time, declaration, cpu) for cpu in range(cpus)]
    for i in range(count):
        time += random_.randrange(0, step) // 1000 * 1000
        cpu = random_.randrange(cpus)
        name = names[i % len(names)] if i < 3 * len(names) else random_.choice(names)
        values: dict[str, object] = {}
        if name == "sched_switch":
            values = {"prev_pid": running[cpu], "next_pid": random_.randrange(1, 20), "prev_state": i % 3}
            running[cpu] = int(str(values["next_pid"]))
        elif name in {"fs_open", "sched_process_exec"}:
            values = {"filename": "/bin/" + "x" * random_.randrange(30)}
        elif name == "queue":
            values = {"text": f"{i} waiting"}
        elif name in {"raw", "custom"}:
            values = {"data": random_.randbytes(random_.randrange(40)), "event_id": 77 if name == "custom" else 24}
        elif name == "define_name":
            values = {"name": "n" * random_.randrange(9)}
        elif name == "irq_handler_entry":
            values = {"irq": i % 16, "in_kernel": i % 2}
        found.append(Record(name, time, values, cpu))
        if beat:
            found += [Record("heartbeat", time, {}, other) for other in range(cpus) if other != cpu]
    return found


@pytest.mark.parametrize("dialect", DIALECTS, ids=_named)
def test_every_dialect_is_told_and_read_to_the_field(dialect: Dialect, tmp_path: Path) -> None:
    writer = Writer(dialect, customs=CUSTOMS, buffer_size=2000)
    made = _mixed(writer, 400)
    write_classic(tmp_path, writer, made)
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.info["dialect"] == dialect.name
    assert trace.problems.empty
    events = {"buffer_start", "buffer_end", "trace_start"}
    frames = {name: frame for name, frame in trace.frames(time="ns").items() if name not in events}
    assert sum(map(len, frames.values())) == len(made)
    for name, frame in frames.items():
        mine = sorted((r for r in made if r.event == name), key=lambda r: (r.time, 0 if dialect.old else r.cpu))
        assert frame["timestamp"].tolist() == [r.time for r in mine]
        for field in mine[0].fields if mine else ():
            column = field if field in frame else f"event_{field}"
            assert frame[column].tolist() == [r.fields[field] for r in mine]


def test_structs_have_the_sizes_of_the_table() -> None:
    old = {1: 5, 2: 0, 3: 6, 5: 2, 7: 12, 9: 5, 10: 9, 11: 13, 12: 10, 13: 5, 14: 9, 15: 9, 16: 5, 17: 16, 18: 12,
           19: 384, 20: 12, 21: 8, 22: 0}  # fmt: skip
    assert {n: size(Dialect("2.2b", "<").layouts()[n]) for n in old} == old
    wide = {1: 10, 3: 10, 5: 3, 7: 16, 9: 9, 10: 13, 11: 17, 12: 18, 13: 9, 14: 13, 15: 9, 16: 5, 17: 16, 18: 12,
            20: 16, 62: 21, 63: 0}  # fmt: skip
    assert {n: size(Dialect("2.2c", ">", 8).layouts()[n]) for n in wide} == wide
    assert [start_of(Dialect(name, "<")).sizeof() for name in NAMES] == [39, 40, 40, 41, 41, 41]
    assert size(Dialect("1.14", "<").layouts()[17]) == 12
    assert size(Dialect("1.14", "<").layouts()[18]) == 0


def test_the_worked_example_of_a_sub_buffer(tmp_path: Path) -> None:
    """128 bytes as MontaVista's kernel would write them: BUFFER_START, START, a system call, BUFFER_END."""
    (tmp_path / "cpu1").write_bytes(
        bytes.fromhex(
            "1100100000 00ab9041 90d00300 00100000 00000000 1700"
            "0000100000 edb7d600 01000000 00000000 4d564c00 0202 80000000 ffff7f00000000c0 ffff7f00000000c0 000100 3000"
            "0100200000 0500 cdab0408 0d00"
            "1200300000 00ab9041 98d00300 00300000 1300"
        ).ljust(124, b"\0")
        + b"\x2c\0\0\0"
    )
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.info["dialect"] == "2.2c"
    call = trace.frames(["sys_enter"], time="ns")["sys_enter"]
    assert call.drop(columns=["tid", "comm"]).values.tolist() == [[1_100_000_000_250_004_000, 1, 5, 0x0804ABCD]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("cpu", [False, True])
def test_cycles_wrap_and_have_a_rate_for_each_sub_buffer(order: str, cpu: bool, tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", order), cycles=True, cpu=cpu, hz=3_999_999_999)
    made = _mixed(writer, 300, step=400_000_000)
    write_classic(tmp_path, writer, made)
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.problems.empty
    assert trace.info["end"] - trace.info["begin"] > 10 * (1 << 32)
    read = sorted(
        (row.cpu, row.time or 0) for row in records(tmp_path) if not row.event.startswith(("buffer", "trace"))
    )
    written = sorted((record.cpu, record.time) for record in made)
    # Between the two of a sub-buffer the clock is a straight line: off by no more than their own us.
    assert max(abs(a[1] - b[1]) for a, b in zip(read, written, strict=True)) <= 1000
    assert [a[0] for a in read] == [b[0] for b in written]


def test_1_14_has_one_file_for_all_cpus(tmp_path: Path) -> None:
    writer = Writer(Dialect("1.14", "<"), cpu=True, buffer_size=1000)
    made = _mixed(writer, 500, cpus=3)
    write_classic(tmp_path, writer, made)
    trace = assert_same(tmp_path / "t.trace", records(tmp_path))
    assert trace.problems.empty
    assert trace.info["cpus"] == 3
    switches = trace["sched_switch"]
    assert sorted(switches["cpu"].unique()) == [0, 1, 2]
    for cpu, rows in switches.groupby("cpu"):
        assert rows["next_pid"].tolist() == [r.fields["next_pid"] for r in made if r.event == "sched_switch" and
                                             r.cpu == cpu]  # fmt: skip
        calls = trace.frames(["sys_enter"], cpus=[cpu])["sys_enter"]
        before = rows["timestamp"].searchsorted(calls["timestamp"]) - 1
        assert [t for t, b in zip(calls["tid"], before, strict=True) if b >= 0] == [
            rows["next_pid"].iloc[b] for b in before if b >= 0
        ]


def test_events_without_details_are_bare(tmp_path: Path) -> None:
    details = (1 << 64) - 1 & ~(1 << 7 | 1 << 10 | 1 << 1)
    writer = Writer(Dialect("2.2b", "<"), details=details)
    write_classic(tmp_path, writer, _mixed(writer, 300))
    trace = assert_same(tmp_path, records(tmp_path))
    assert list(trace["sched_switch"].columns) == ["timestamp", "cpu", "tid", "comm"]
    assert "process" in trace
    assert "sched_process_fork" not in trace
    assert trace["sys_enter"]["tid"].isna().all()


def test_custom_events_have_their_names_and_data(tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", "<"), customs=CUSTOMS)
    made = _mixed(writer, 200)
    write_classic(tmp_path, writer, made)
    trace = ltt_relay.open(tmp_path)
    assert trace["queue"]["text"].tolist() == [r.fields["text"] for r in made if r.event == "queue"]
    assert trace["raw"]["data"].tolist() == [r.fields["data"] for r in made if r.event == "raw"]
    assert set(trace["new_event"]["description"]) == {"length of a queue", ""}
    assert trace["custom"]["event_id"].unique().tolist() == [77]


@pytest.mark.parametrize("cycles", [False, True])
def test_a_record_that_just_fits_has_the_time_of_the_end(cycles: bool, tmp_path: Path) -> None:
    """Without locks it stays in its sub-buffer, stamped relative to the next one: in us it shows 0."""
    writer = Writer(Dialect("2.2b", "<"), cycles=cycles, lockless=True, buffer_size=4096)
    room = writer.buffer_size - writer.reserve - writer.framing.length(17) - writer.framing.length(0)
    calls, rest = divmod(room, writer.framing.length(1))
    name = "x" * (rest - 21 + 2 * writer.framing.length(1))
    made = [Record("sys_enter", BEGIN + 5000 * i) for i in range(calls - 2)]
    made.append(Record("fs_open", BEGIN + 5000 * calls, {"filename": name}))
    made += [Record("sys_exit", BEGIN + 5000 * (calls + 1 + i)) for i in range(5)]
    file = write_classic(tmp_path, writer, made)[0]
    data = file.read_bytes()
    assert struct.unpack_from("<I", data, 4092)[0] == 24
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.problems.empty
    assert trace.frames(["fs_open"], time="ns")["fs_open"]["timestamp"].tolist() == [BEGIN + 5000 * calls]


@pytest.mark.parametrize("lost", [0, 1, 23, 0xFFFF_FFFF])
def test_a_trailer_that_is_wrong_costs_a_walk_and_a_problem(lost: int, tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", "<"), buffer_size=1000)
    file = write_classic(tmp_path, writer, _mixed(writer, 200, cpus=1))[0]
    whole = len(ltt_relay.open(tmp_path).merged())
    data = bytearray(file.read_bytes())
    data[1996:2000] = struct.pack("<I", lost)
    file.write_bytes(data)
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.problems["code"].tolist() == ["packet_trailer"]
    assert len(trace.merged()) == whole


@pytest.mark.parametrize("cycles", [False, True])
def test_a_snapshot_of_a_flight_recorder(cycles: bool, tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2c", "<"), cycles=cycles, flight=True, buffer_size=2048, hz=2_000_000_000)
    made = _mixed(writer, 300, cpus=1)
    buffers = snapshot(writer, writer.buffers(made)[1:])
    (tmp_path / "snap.trace").write_bytes(b"".join(buffers))
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.problems.empty
    assert trace.info["flight_recorder"] == 1
    times = sorted(row.time or 0 for row in records(tmp_path) if not row.event.startswith(("buffer", "trace")))
    written = [record.time for record in made][-len(times) :]
    assert max(abs(a - b) for a, b in zip(times, written, strict=True)) <= 2000


def test_the_daemons_list_names_tasks_and_irqs(tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", "<"))
    write_classic(tmp_path, writer, _mixed(writer, 300))
    names = "".join(f"PID: {pid}; PPID: 1; NAME: task {pid}\n" for pid in range(1, 20))
    (tmp_path / "t.proc").write_text(names + "IRQ: 0; NAME:        XT-PIC  timer\n")
    trace = ltt_relay.open(tmp_path / "t001.trace")
    assert trace.info["cpus"] == 2
    switches = trace["sched_switch"]
    assert switches["next_comm"].tolist() == [f"task {pid}" for pid in switches["next_pid"]]
    assert set(trace["irq_handler_entry"].query("irq == 0")["name"]) == {"XT-PIC  timer"}


def test_several_traces_in_a_directory_have_to_be_told_apart(tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", "<"))
    write_classic(tmp_path, writer, _mixed(writer, 30), "a.trace")
    write_classic(tmp_path, writer, _mixed(writer, 30), "b.trace")
    with pytest.raises(ltt_relay.TraceError, match=r"several traces: a\.trace, b\.trace"):
        ltt_relay.open(tmp_path)
    assert ltt_relay.open(tmp_path / "b000.trace").info["cpus"] == 2


def test_what_is_broken_is_passed_over_by_the_sizes_behind_it(tmp_path: Path) -> None:
    writer = Writer(Dialect("2.2b", "<"), buffer_size=4000)
    made = [Record("sys_enter", BEGIN + 1000 * i, {"id": 1}) for i in range(900)]
    file = write_classic(tmp_path, writer, made)[0]
    data = bytearray(file.read_bytes())
    data[71 + 12 * 10] = 200  # an id that no event has, in the first sub-buffer
    data[4000 + 23 + 12 * 20 + 10] = 99  # a size that is wrong, in the second
    file.write_bytes(data)
    trace = assert_same(tmp_path, records(tmp_path))
    assert trace.problems["code"].tolist() == ["unknown_event", "record_length"]
    assert len(trace["sys_enter"]) == 898


DRAWN = st.tuples(
    st.sampled_from(["sys_enter", "sys_exit", "sched_switch", "fs_open", "sched_wakeup", "itimer_state", "ipc_call"]),
    st.integers(0, 3_000_000),
    st.integers(0, 255),
    st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF, exclude_categories=["Cs"]), max_size=20),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dialect=st.sampled_from(DIALECTS), drawn=st.lists(DRAWN, min_size=1, max_size=80), cycles=st.booleans(),
    cpu=st.booleans(), lockless=st.booleans(), buffer_size=st.integers(300, 900),
)  # fmt: skip
def test_round_trips(
    dialect: Dialect, drawn: list[tuple[str, int, int, str]], cycles: bool, cpu: bool, lockless: bool,
    buffer_size: int, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("classic")
    writer = Writer(
        dialect, cycles=cycles and not dialect.old, cpu=cpu and not dialect.montavista, buffer_size=buffer_size,
        lockless=lockless and not dialect.old,
    )  # fmt: skip
    made = []
    time = BEGIN
    for name, step, value, text in drawn:
        time += step * 1000
        values: dict[str, dict[str, object]] = {
            "sys_enter": {"id": value, "ip": value << 16}, "fs_open": {"fd": value, "filename": text},
            "sched_switch": {"prev_pid": value, "next_pid": value + 1}, "sched_wakeup": {"pid": value},
        }  # fmt: skip
        made.append(Record(name, time, values.get(name, {}), 0))
    write_classic(path, writer, made)
    trace = assert_same(path, records(path))
    assert trace.problems.empty
    for name, frame in trace.frames(time="ns").items():
        mine = [r for r in made if r.event == name]
        for field in mine[0].fields if mine else ():
            column = field if field in frame else f"event_{field}"
            assert frame[column].tolist() == [r.fields[field] for r in mine]


@pytest.mark.parametrize("seed", range(20))
def test_mutated_traces_never_crash_and_are_read_as_the_oracle_does(seed: int, tmp_path: Path) -> None:
    random_ = random.Random(seed)
    dialect = DIALECTS[seed % len(DIALECTS)]
    writer = Writer(
        dialect, cycles=bool(seed & 1) and not dialect.old, cpu=bool(seed & 2) and not dialect.montavista,
        buffer_size=1500, customs=CUSTOMS,
    )  # fmt: skip
    made = _mixed(writer, 300)
    files = write_classic(tmp_path, writer, made)
    whole = sum(1 for _ in records(tmp_path))
    for file in files:
        data = bytearray(file.read_bytes())
        for _ in range(random_.randrange(1, 12)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        # Not at a sub-buffer's end, where nothing tells that there was more.
        file.write_bytes(data[: random_.choice([len(data), len(data), len(data) * 2 // 3 // 1500 * 1500 + 700])])
    try:
        ltt_relay.open(tmp_path)
    except ltt_relay.TraceError:
        return
    trace = assert_same(tmp_path, records(tmp_path))
    if len(trace.merged()) < whole:
        assert not trace.problems.empty
