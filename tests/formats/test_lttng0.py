# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ltt_relay
from ltt_relay.formats.genevent import read_facility
from ltt_relay.formats.lttng0 import records
from ltt_relay.formats.lttng0_layout import Layout, header_of
from ltt_relay.testing.classic import Record
from ltt_relay.testing.compare import assert_same
from ltt_relay.testing.lttng0 import LttngWriter

VERSIONS = ((0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (1, 0))
BEGIN = 40_000_000_000_000

PROCESS = """<?xml version="1.0"?>
<facility name="process"><description>Tasks</description>
<event name="schedchange"><description>Scheduling change</description>
  <field name="out"><description>Outgoing process</description><int size="4"/></field>
  <field name="in"><int size="4"/></field>
  <field name="out_state"><int size="4"/></field></event>
<event name="fork"><field name="parent_pid"><int size="4"/></field><field name="child_pid"><int size="4"/></field>
</event>
</facility>"""
KERNEL_ARCH = """<facility name="kernel_arch"><description/>
<event name="syscall_entry"><field name="syscall_id"><uint size="1"/></field><field name="ip"><pointer/></field></event>
<event name="syscall_exit"/>
</facility>"""
# Without quotes, and with a struct around the fields, as the first of them were.
DEMO = """<facility name=demo><description>All kinds</description>
<type name=kind><enum size=1><label name=FIRST value=1/><label name=SECOND/></enum></type>
<event name=mixed><struct>
  <field name="kind"><typeref name=kind/></field>
  <field name="address"><pointer/></field>
  <field name="path"><string/></field>
  <field name="length"><long/></field>
  <field name="name"><string></string></field>
</struct></event>
<event name=lists><field name="values"><sequence><uint size=2/><uint size=8/></sequence></field>
  <field name="last"><ushort/></field></event>
<event name=inner><field name="point"><struct><field name="x"><short/></field><field name="y"><int size=8/></field>
</struct></field><field name="four"><array size=4><uint size=4/></array></field></event>
<event name=either><field name="first"><char/></field><field name="other"><union><field name="a"><int/></field></union>
</field></event>
</facility>"""
FACILITIES = (("process", PROCESS), ("kernel_arch", KERNEL_ARCH), ("demo", DEMO))
MARKERS = (
    (8, "kernel_sched_schedule", "prev_pid %d next_pid %d prev_state #2d%ld"),
    (9, "kernel_syscall_entry", "syscall_id #2u%u ip #p%ld"),
    (128, "fs_open", "fd %d filename %s"),
    (129, "net_packet", "skb %p protocol #n2u%hu name %s size %llu"),
    (300, "kernel_timer_set", "expires %lu function %p"),
)


def _fields(name: str, i: int, random_: random.Random) -> dict[str, Any]:
    text = "/tmp/" + "z" * random_.randrange(12)
    known: dict[str, dict[str, Any]] = {
        "sched_switch": {"prev_pid": i, "next_pid": i + 1, "prev_state": i % 3},
        "sched_process_fork": {"parent_pid": i, "child_pid": i + 1000},
        "sys_enter": {"id": i % 250, "ip": 0x0804_0000 + i},
        "demo_mixed": {"kind": 1 + i % 2, "address": i << 4, "path": text, "length": -i, "name": "n" * (i % 5)},
        "demo_lists": {"values": [i << k for k in range(i % 6)], "last": i % 65536},
        "demo_inner": {"point_x": -3, "point_y": -i, "four": [i, 2, 3, 4]},
        "demo_either": {"first": 7, "rest": b"abcd"},
        "fs_open": {"fd": i % 9, "filename": text},
        "net_packet": {"skb": i, "protocol": 0x0800, "name": text, "size": i << 33},
        "timer_start": {"expires": i, "function": i << 3},
    }
    return known.get(name, {})


def _mixed(writer: LttngWriter, count: int, seed: int = 1, step: int = 300_000) -> list[Record]:
    random_ = random.Random(seed)
    skipped = {"core_facility_load", "core_state_dump_facility_load", "core_set_marker_id", "core_set_marker_format"}
    names = [event.name for event in writer.format.events if event.name not in skipped]
    if writer.large:
        names.remove("demo_either")
    found = []
    time = BEGIN
    for i in range(count):
        time += random_.randrange(1000, step) // 1000 * 1000
        name = random_.choice(names)
        found.append(Record(name, time, _fields(name, i, random_), random_.randrange(2)))
    return found


def _check(path: Path, made: list[Record]) -> ltt_relay.Trace:
    trace = assert_same(path, records(path))
    frames = trace.frames(time="ns")
    for name in {record.event for record in made}:
        mine = sorted((r for r in made if r.event == name), key=lambda r: (r.time, r.cpu))
        frame = frames[name]
        assert len(frame) == len(mine), name
        assert max(abs(a - r.time) for a, r in zip(frame["timestamp"], mine, strict=True)) <= 1001, name
        for field in mine[0].fields:
            column = field if field in frame else f"event_{field}"
            values = [list(v) if isinstance(v, (list, tuple)) or hasattr(v, "tolist") else v for v in frame[column]]
            told = {"FIRST": 1, "SECOND": 2}
            assert [told.get(v, v) if isinstance(v, str) else v for v in values] == [r.fields[field] for r in mine], (
                field
            )
    return trace


def _writer(version: tuple[int, int], order: str, long: int, **options: Any) -> LttngWriter:
    if version >= (1, 0):
        return LttngWriter(Layout(version, order, long), markers=MARKERS, **options)
    return LttngWriter(Layout(version, order, long), facilities=FACILITIES, **options)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("order", "long"), [("<", 4), ("<", 8), (">", 4), (">", 8)])
def test_every_version_is_told_and_read_to_the_field(
    version: tuple[int, int], order: str, long: int, tmp_path: Path
) -> None:
    for aligned, heartbeat in ((True, True), (False, True), (True, False)):
        writer = _writer(version, order, long, aligned=aligned, heartbeat=heartbeat)
        made = _mixed(writer, 250)
        path = writer.write(tmp_path / f"{aligned}{heartbeat}", made)
        trace = _check(path, made)
        assert trace.info["format"] == f"LTTng {version[0]}.{version[1]}"
        assert trace.problems.empty
        assert trace.info["cpus"] == 2


def test_headers_have_the_sizes_of_the_table() -> None:
    sizes = {(0, 3): (63, 79), (0, 4): (111, 135), (0, 5): (135, 135), (0, 6): (135, 135), (0, 7): (106, 106),
             (0, 8): (108, 108), (1, 0): (109, 109)}  # fmt: skip
    assert {v: tuple(header_of(Layout(v, "<", n)).sizeof() for n in (4, 8)) for v in VERSIONS} == sizes


def test_cycles_wrap(tmp_path: Path) -> None:
    writer = _writer((0, 7), "<", 4, hz=3_000_000_000, buffer_size=2000)
    made = [Record("sys_enter", BEGIN + 1_300_000_000 * i, {"id": i}) for i in range(100)]
    trace = _check(writer.write(tmp_path, made), made)
    assert trace.problems.empty


def test_times_in_microseconds(tmp_path: Path) -> None:
    writer = _writer((0, 4), "<", 4, us=True)
    made = _mixed(writer, 200)
    assert _check(writer.write(tmp_path, made), made).problems.empty


@pytest.mark.parametrize("version", [(0, 8), (1, 0)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_compact_channels(version: tuple[int, int], order: str, tmp_path: Path) -> None:
    """The id's width is told by the header in 1.0, and by the number of compact events in 0.8."""
    if version == (0, 8):
        xml = (
            '<facility name="compact"><event name="a"/><event name="b"><field name="v"><uint size="4"/></field></event>'
            '<event name="c"><field name="s"><string/></field></event></facility>'
        )
        names = ("compact_a", "compact_b", "compact_c")
        fields: tuple[dict[str, Any], ...] = ({}, {"v": 7}, {"s": "text"})
        options: dict[str, Any] = {"facilities": (*FACILITIES, ("compact", xml)), "id_bits": 2}
    else:
        markers = ((8, "tiny", "v #4u%u"), (9, "note", "s %s"), (10, "bare", ""))
        names = ("tiny", "note", "bare")
        fields = ({"v": 7}, {"s": "text"}, {})
        options = {"markers": (*MARKERS[2:], *markers), "id_bits": 7}
    writer = LttngWriter(
        Layout(version, order, 4), compact=frozenset(names), bits=22, truncated=3, hz=100_000_000, **options
    )
    made = [Record(names[i % 3], BEGIN + 90_000_000 * i, dict(fields[i % 3]), i & 1) for i in range(600)]
    trace = assert_same(writer.write(tmp_path, made), records(tmp_path))
    assert trace.problems.empty
    for k, name in enumerate(names):
        frame = trace.frames([name], time="ns")[name]
        mine = [r for r in made if r.event == name]
        assert max(abs(a - r.time) for a, r in zip(frame["timestamp"], mine, strict=True)) <= 80
        for field, value in fields[k].items():
            assert set(frame[field]) == {value}


@pytest.mark.parametrize("aligned", [False, True])
def test_sizes_that_do_not_fit_are_computed(aligned: bool, tmp_path: Path) -> None:
    writer = _writer((0, 8), "<", 8, large=True, aligned=aligned)
    made = _mixed(writer, 300)
    assert _check(writer.write(tmp_path, made), made).problems.empty


def test_losses_are_told_from_0_8_on(tmp_path: Path) -> None:
    writer = _writer((0, 8), "<", 4, lost_events=10, buffer_size=1000)
    made = _mixed(writer, 400)
    trace = _check(writer.write(tmp_path, made), made)
    assert trace.info["lost_by_reason"]["full"] == trace.gaps["count"].sum() > 20


def test_a_sub_buffer_that_was_not_closed_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    writer = _writer((0, 7), "<", 4)
    made = [Record("sys_enter", BEGIN + 1000 * i, {"id": 1 + i % 200, "ip": 1}) for i in range(100)]
    writer.write(tmp_path, made)
    file = tmp_path / "cpu_0"
    data = bytearray(file.read_bytes().rstrip(b"\xaa")).ljust(4096, b"\0")
    data[32:36] = struct.pack("<I", 0xFFFF_FFFF)
    file.write_bytes(data)
    trace = assert_same(tmp_path, records(tmp_path))
    # Three of the zeros are the end of its last record; more could not be told from what was not written.
    assert trace.problems["code"].tolist() == ["unfinished"]
    assert len(trace["sys_enter"]) == 100


def test_a_facility_without_description_is_counted_and_passed_over(tmp_path: Path) -> None:
    writer = _writer((0, 7), "<", 4)
    made = _mixed(writer, 200)
    writer.write(tmp_path, made)
    (tmp_path / "eventdefs" / "demo_80.xml").unlink()
    trace = assert_same(tmp_path, records(tmp_path))
    assert set(trace.problems["code"]) == {"unknown_event"}
    assert len(trace["sys_enter"]) == sum(r.event == "sys_enter" for r in made)


def test_descriptions_without_quotes_are_read() -> None:
    facility = read_facility(DEMO)
    assert facility is not None
    assert [event.name for event in facility.events] == ["mixed", "lists", "inner", "either"]
    assert [name for name, _, _ in facility.events[0].fields] == ["kind", "address", "path", "length", "name"]
    assert read_facility("<facility name=x><event") is not None
    assert read_facility("no tags") is None


@settings(
    max_examples=15, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    version=st.sampled_from(VERSIONS), order=st.sampled_from("<>"), long=st.sampled_from([4, 8]), aligned=st.booleans(),
    heartbeat=st.booleans(), seed=st.integers(0, 1000), count=st.integers(40, 120), size=st.integers(400, 3000),
)  # fmt: skip
def test_round_trips(
    version: tuple[int, int], order: str, long: int, aligned: bool, heartbeat: bool, seed: int, count: int, size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("lttng")
    writer = _writer(version, order, long, aligned=aligned, heartbeat=heartbeat, buffer_size=size)
    made = _mixed(writer, count, seed)
    assert _check(writer.write(path, made), made).problems.empty


@pytest.mark.parametrize("seed", range(20))
def test_mutated_traces_never_crash_and_are_read_as_the_oracle_does(seed: int, tmp_path: Path) -> None:
    random_ = random.Random(seed)
    writer = _writer(VERSIONS[seed % 7], "<>"[seed & 1], 4 + 4 * (seed >> 1 & 1), aligned=bool(seed & 4),
                     large=seed % 5 == 0 and seed % 7 != 6)  # fmt: skip
    writer.write(tmp_path, _mixed(writer, 200))
    for file in sorted(file for file in tmp_path.rglob("*") if file.is_file()):
        data = bytearray(file.read_bytes())
        for _ in range(random_.randrange(1, 10)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        file.write_bytes(data[: random_.choice([len(data), len(data), len(data) - 900])])
    try:
        ltt_relay.open(tmp_path)
    except ltt_relay.TraceError:
        return
    assert_same(tmp_path, records(tmp_path))
