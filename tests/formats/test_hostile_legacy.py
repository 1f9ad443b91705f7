# SPDX-License-Identifier: GPL-2.0-or-later
"""Old and foreign traces read with ill will: each test names what was wrong once."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pytest

import ltt_relay
from ltt_relay.analysis.report import as_object
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.formats import lttng2, lttng2_ctf, oracle, registry
from ltt_relay.formats.base import unused
from ltt_relay.formats.classic import Custom, Dialect
from ltt_relay.formats.genevent import read_facility
from ltt_relay.formats.lttng0_layout import Layout
from ltt_relay.formats.marker_format import Sizes, parse
from ltt_relay.testing.blktrace import record, write_blktrace
from ltt_relay.testing.classic import Record, Writer, write_classic
from ltt_relay.testing.lttng0 import LttngWriter as Lttng0Writer
from ltt_relay.testing.lttng2 import LttngTrace, LttngWriter
from tests.formats import test_lttng0
from tests.formats.test_blktrace import SAMPLES, needs_samples

BEGIN: Final = 1_090_000_000_000_000_000
KERNEL: Final = {
    ("kernel", "sched_schedule"): "prev_pid %d next_pid %d prev_state #2d%hd",
    ("kernel", "process_fork"): "parent_pid %d child_pid %d child_tgid %d",
    ("kernel", "process_exit"): "pid %d",
    ("kernel", "irq_entry"): "ip %lu irq_id #2u%u",
    ("kernel", "irq_exit"): "handled #1u%u",
    ("kernel", "syscall_entry"): "ip #p%ld syscall_id #2u%u",
    ("kernel", "sched_try_wakeup"): "pid %d state #2d%hd cpu_id %u",
    ("fs", "exec"): "filename %s",
    ("task_state", "process_state"): "pid %d parent_pid %d name %s type %d mode %d submode %d status %d tgid %d",
    ("irq_state", "interrupt"): "name %s handler %s irq_id #2u%u",
}  # fmt: skip


def _lttng2(path: Path, markers: dict[tuple[str, str], str], minor: int = 5, rounds: int = 3) -> Path:
    """Write records of each marker: numbers count from 7 on, texts are "s"."""
    records: list[tuple[str, int, int, str, dict[str, Any]]] = []
    for i in range(rounds):
        for step, ((channel, name), text) in enumerate(markers.items()):
            values = {item.name: 7 + n if item.size else "s" for n, item in enumerate(parse(text, Sizes()))}
            records.append((channel, 0, (1 << 28) + 100_000 * i + 1000 * step, name, values))
    return LttngWriter(LttngTrace(markers, records, minor)).write(path)


def _counts(trace: ltt_relay.Trace) -> dict[str, int]:
    return {name: len(frame) for name, frame in trace.frames().items() if len(frame)}


def _change(file: Path, at: int, data: bytes) -> None:
    whole = bytearray(file.read_bytes())
    whole[at : at + len(data)] = data
    file.write_bytes(whole)


# ---------------------------------------------------------------------------------------------------------- blktrace


@needs_samples
def test_a_remap_is_from_the_device_that_the_kernel_says(tmp_path: Path) -> None:
    """The two devices were swapped: `259,0 A ... <- (259,3)` had from_dev 259,0 and to_dev 259,3."""
    if shutil.which("blkparse") is None:
        pytest.skip("blkparse is not installed (Debian package blktrace)")
    (tmp_path / "t.blktrace.0").write_bytes(b"")
    shutil.copy(SAMPLES / "blktrace" / "takeoverjp" / "sample.blktrace.0", tmp_path / "t.blktrace.1")
    command = ["blkparse", "-q", "-i", "t"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    theirs = {tuple(line.split()[i] for i in (0, 7, 11, 12)) for line in done.stdout.splitlines() if " A " in line}
    frame = ltt_relay.open(tmp_path)["block_bio_remap"]

    def device(number: int) -> str:
        return f"{number >> 20},{number & 0xFFFFF}"

    ours = {
        (device(row["to_dev"]), str(row["sector"]), f"({device(row['from_dev'])})", str(row["from_sector"]))
        for row in frame.to_dict("records")
    }
    assert len(ours) > 900
    assert ours == theirs


def test_a_file_of_blktrace_whose_first_byte_is_damaged_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    """The CPU was missing, without a row of problems."""
    records = [{"event": "block_bio_queue", "time": 10 * i, "cpu": i % 2, "sequence": i} for i in range(40)]
    write_blktrace(tmp_path / "sda", records)
    _change(tmp_path / "sda.blktrace.1", 0, b"\xff")
    for path in (tmp_path, tmp_path / "sda.blktrace.0"):
        trace = ltt_relay.open(path)
        assert _counts(trace) == {"block_bio_queue": 20}
        assert trace.problems[["file", "offset", "code"]].values.tolist() == [["sda.blktrace.1", 0, "record_magic"]]


def test_a_note_of_the_wall_clock_across_the_first_mebibyte_counts(tmp_path: Path) -> None:
    """It lay across the two reads, of which the second began behind it: times showed as 1970."""
    plain = record({"event": "block_bio_queue", "time": 1})
    count = (1 << 20) // len(plain)
    padding = (1 << 20) - count * len(plain) - 20 + len(plain)
    note = record({"event": "blk_timestamp", "time": 2, "seconds": 1_700_000_000, "nanoseconds": 5})
    message = record({"event": "blk_message", "time": 1}, pdu=b"x" * (padding - len(plain)))
    data = plain * (count - 1) + message
    assert (1 << 20) - len(note) < len(data) < 1 << 20
    file = tmp_path / "t.blktrace.0"
    file.write_bytes(data + note + record({"event": "block_bio_queue", "time": 3}))
    assert ltt_relay.open(file, strict=True)["blk_timestamp"]["timestamp"][0].value == 1_700_000_000_000_000_005


def test_hidden_files_of_blktrace_may_be_named(tmp_path: Path) -> None:
    """KeyError: '.sda.blktrace'."""
    write_blktrace(tmp_path / "sda", [{"event": "block_bio_queue", "time": 1}])
    (tmp_path / "sda.blktrace.0").rename(tmp_path / ".sda.blktrace.0")
    (tmp_path / ".sdb.blktrace.1").write_bytes(b"")
    assert _counts(ltt_relay.open(tmp_path / ".sda.blktrace.0")) == {"block_bio_queue": 1}
    with pytest.raises(ltt_relay.TraceError, match="it is empty"):
        ltt_relay.open(tmp_path / ".sdb.blktrace.1")


@pytest.mark.parametrize("format_", registry.READERS)
@pytest.mark.parametrize("data", [b"", b"\x11" * 4095])
@pytest.mark.parametrize("name", ["foo", "foo.1", "foo_1", "."])
def test_a_format_that_is_named_wrongly_is_an_error_message(
    format_: str, data: bytes, name: str, tmp_path: Path
) -> None:
    """StopIteration and KeyError of blktrace, IndexError of K42."""
    (tmp_path / ("foo" if name == "." else name)).write_bytes(data)
    with pytest.raises(ltt_relay.TraceError):
        ltt_relay.open(tmp_path / name, format=format_)


# --------------------------------------------------------------------------------------------------------------- LTT


def _switches(count: int, cpus: int = 2) -> list[Record]:
    fields = [{"prev_pid": i, "next_pid": i + 1} for i in range(count)]
    return [Record("sched_switch", BEGIN + 7000 * i, each, i % cpus) for i, each in enumerate(fields)]


@pytest.mark.parametrize("size", [0, 1, 30])
@pytest.mark.parametrize("cpu", [0, 1])
def test_an_impossible_size_of_sub_buffers_in_one_file_is_that_of_the_others(
    size: int, cpu: int, tmp_path: Path
) -> None:
    """ValueError: range() arg 3 must not be zero; or a row of problems for each byte, or no CPU at all."""
    files = write_classic(tmp_path, Writer(Dialect("2.2b", "<"), buffer_size=1400), _switches(80))
    whole = _counts(ltt_relay.open(tmp_path, strict=True))
    _change(files[cpu], 28 + 18, struct.pack("<I", size))
    trace = ltt_relay.open(tmp_path)
    assert _counts(trace) == whole
    assert trace.problems[["file", "code"]].values.tolist() == [[files[cpu].name, "packet_header"]]


@pytest.mark.parametrize("number", [70_000, 99_999_999_999])
def test_the_number_in_a_files_name_is_cut_to_a_cpus(number: int, tmp_path: Path) -> None:
    """OverflowError: Python integer 99999999999 out of bounds for int32."""
    (file,) = write_classic(tmp_path / "ltt", Writer(Dialect("2.2b", "<")), _switches(8, 1))
    file.rename(file.with_name(f"cpu{number}"))
    assert ltt_relay.open(tmp_path / "ltt", strict=True)["sched_switch"]["cpu"].tolist() == [number & 0xFFFF] * 8
    path = _lttng2(tmp_path / "lttng", {("fs", "open"): "fd %d"})
    (path / "fs_0").rename(path / f"fs_{number}")
    assert ltt_relay.open(path, strict=True)["fs_open"]["cpu"].tolist() == [number & 0xFFFF] * 3


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_name_is_behind_the_record_whatever_its_sub_number(order: str, tmp_path: Path) -> None:
    """From 32 on DEFINE_NAME's text was not looked for, and the records behind it were lost."""
    writer = Writer(Dialect("2.2c", order))
    made = [Record("sys_exit", BEGIN), Record("define_name", BEGIN + 1000, {"sub_id": 40, "name": "hello"}),
            Record("sys_exit", BEGIN + 2000)]  # fmt: skip
    write_classic(tmp_path, writer, made)
    trace = ltt_relay.open(tmp_path, strict=True)
    assert trace["define_name"]["name"].tolist() == ["hello"]
    assert len(trace["sys_exit"]) == 2


def test_three_custom_events_of_which_one_has_the_name_that_another_would_get(tmp_path: Path) -> None:
    """ValueError: Categorical categories must be unique."""
    names = {23: "foo_25", 24: "foo", 25: "foo"}
    writer = Writer(Dialect("2.2c", "<"), customs=tuple(Custom(n, f"own{n}", "", 1) for n in names))
    made = [
        Record("new_event", BEGIN + n, {"event_id": n, "event_type": name, "description": "", "format_type": 1,
                                        "form": ""})
        for n, name in names.items()
    ]  # fmt: skip
    write_classic(tmp_path, writer, made + [Record(f"own{n}", BEGIN + 100 + n, {"text": f"t{n}"}) for n in names])
    trace = ltt_relay.open(tmp_path, strict=True)
    told = {name: trace[name]["text"].tolist() for name in ("foo_25", "foo", "foo_25_25")}
    assert told == {"foo_25": ["t23"], "foo": ["t24"], "foo_25_25": ["t25"]}
    assert len(trace.merged()) == sum(_counts(trace).values())


@pytest.mark.parametrize("number", ["99999999999999999999", "9" * 5000])
def test_a_number_in_the_daemons_list_that_no_task_has(number: str, tmp_path: Path) -> None:
    """OverflowError: Python int too large to convert to C long, and ValueError of a number of 5000 digits."""
    write_classic(tmp_path, Writer(Dialect("2.2b", "<")), _switches(8, 1))
    (tmp_path / "t.proc").write_text(f"PID: {number}; PPID: 1; NAME: x\nPID: 3; PPID: 1; NAME: init\n")
    assert set(ltt_relay.open(tmp_path, strict=True)["sched_switch"]["prev_comm"].dropna()) == {"init"}


# ------------------------------------------------------------------------------------------------------------- LTTng


def test_a_tag_that_is_never_closed_takes_no_time() -> None:
    """Each attribute was tried both as what it is and as one without quotation marks: 2**40 ways."""
    assert read_facility("<facility" + ' a="b"' * 40 + " ~") is None
    assert read_facility("<facility name='x' sum=7a><event name=e/></facility>") is not None


def test_channels_that_do_not_begin_as_such_are_told(tmp_path: Path) -> None:
    """They were left out without a row of problems; other files in a directory are nobody's business."""
    path = _lttng2(tmp_path / "two", KERNEL)
    _change(path / "fs_0", 16, b"\xff")
    writer = Lttng0Writer(Layout((0, 7), "<", 4), facilities=test_lttng0.FACILITIES)
    old = writer.write(tmp_path / "old", test_lttng0._mixed(writer, 40))
    _change(old / "cpu_1", 40, b"\xff")
    for directory, file in ((path, "fs_0"), (old, "cpu_1")):
        (directory / "README").write_text("notes")
        (directory / "nothing_1").write_bytes(b"")
        trace = ltt_relay.open(directory)
        assert trace.problems[["file", "code"]].values.tolist() == [[file, "not_a_stream"]]


def test_a_digit_that_is_no_number_in_a_files_name(tmp_path: Path) -> None:
    """ValueError: invalid literal for int() with base 10: '²'."""
    path = _lttng2(tmp_path / "t", KERNEL)
    shutil.copy(path / "fs_0", path / "fs_²")
    assert _counts(ltt_relay.open(path))["sched_process_exec"] == 3


@pytest.mark.parametrize("at", [31, 39])
def test_an_impossible_wall_clock_is_a_problem(at: int, tmp_path: Path) -> None:
    """OverflowError: Python int too large to convert to C long."""
    path = _lttng2(tmp_path / "t", KERNEL)
    for file in path.glob("*_0"):
        _change(file, at, b"\x7f")
    trace = ltt_relay.open(path)
    assert trace.problems["code"].tolist() == ["no_clock"]
    assert trace["sched_switch"]["timestamp"][0].value == 1 << 28


@pytest.mark.parametrize("sized", [False, True])
def test_zeros_behind_the_records_of_a_sub_buffer_that_was_not_closed_are_no_records(
    sized: bool, tmp_path: Path
) -> None:
    """They were read as hundreds of records of marker 0, and a sub-buffer behind it as more of its records."""
    path = _lttng2(tmp_path / "t", {("fs", "open"): "fd %d", ("fs", "exec"): "filename %s"})
    whole = _counts(ltt_relay.open(path, strict=True))
    data = (path / "fs_0").read_bytes()
    _change(path / "fs_0", 52, struct.pack("<II", 0xFFFF_FFFF, len(data) if sized else 0xFFFF_FFFF))
    if sized:
        (path / "fs_0").write_bytes((path / "fs_0").read_bytes() + data)
        whole |= {"fs_open": 6, "sched_process_exec": 6}
    trace = ltt_relay.open(path)
    assert _counts(trace) == whole
    assert trace.problems["code"].tolist() == ["unfinished"]


def test_the_last_record_of_a_sub_buffer_that_was_not_closed_may_end_in_zeros(tmp_path: Path) -> None:
    """The NUL of its text was taken for what is behind the records, and the record was lost."""
    writer = Lttng0Writer(Layout((1, 0), "<", 4), markers=test_lttng0.MARKERS)
    made = [Record("fs_open", BEGIN + 1000 * i, {"fd": i, "filename": "abc"}) for i in range(3)]
    path = writer.write(tmp_path / "t", made)
    data = (path / "cpu_0").read_bytes()
    (path / "cpu_0").write_bytes(data.replace(b"\xaa", b"\0"))
    _change(path / "cpu_0", 32, b"\xff" * 4)
    trace = ltt_relay.open(path)
    assert trace["fs_open"]["filename"].tolist() == ["abc"] * 3
    assert trace.problems["code"].tolist() == ["unfinished"]


def test_dump_has_the_record_before_damage_once(tmp_path: Path) -> None:
    """It had it twice where the header of the next one was cut."""
    path = _lttng2(tmp_path / "t", {("fs", "open"): "fd %d"})
    (used,) = struct.unpack_from("<I", (path / "fs_0").read_bytes(), 52)
    _change(path / "fs_0", 52, struct.pack("<I", used + 5))
    _change(path / "fs_0", used, struct.pack("<I", 31 << 27))
    found = [each for each in oracle.records(path, lttng2) if each.file == "fs_0"]
    assert [each.event for each in found] == ["packet", "fs_open", "fs_open", "fs_open", "damage"]


@pytest.mark.parametrize("version", [(0, 7), (0, 8), (1, 0)])
def test_files_of_user_space_have_whole_times_beside_a_kernels_with_halves(
    version: tuple[int, int], tmp_path: Path
) -> None:
    """They were read with 32 bits of time, as the kernel's are: no record of theirs, or others."""
    known: dict[str, Any] = (
        {"markers": test_lttng0.MARKERS} if version >= (1, 0) else {"facilities": test_lttng0.FACILITIES}
    )
    kernel = Lttng0Writer(Layout(version, "<", 4), **known)
    made = test_lttng0._mixed(kernel, 40)
    path = kernel.write(tmp_path / "t", made)
    before = _counts(ltt_relay.open(path, strict=True))
    user = Lttng0Writer(Layout(version, "<", 4), heartbeat=False, **known)
    mine = [each for each in made if each.cpu == 1]
    file = path / "processes-12.12.99"
    user.file(file, mine)
    size = user.head.sizeof()
    for at in range(0, file.stat().st_size, 4096):
        # Neither an architecture nor a clock.
        _change(file, at + 44, bytes(4))
        _change(file, at + size - 44, bytes(44))
    trace = ltt_relay.open(path, strict=True)
    for each in mine:
        before[each.event] = before.get(each.event, 0) + 1
    assert _counts(trace) == before
    for name, frame in trace.frames(time="ns").items():
        times = sorted([each.time for each in made if each.event == name] + [e.time for e in mine if e.event == name])
        assert frame["timestamp"].tolist() == times or name.startswith("core_"), name


def test_a_marker_whose_format_is_lost_is_not_taken_for_one_without_fields(tmp_path: Path) -> None:
    """The fields of its records were read as records."""
    path = _lttng2(tmp_path / "t", {("fs", "open"): "fd %d name %s", ("net", "send"): "size %d"})
    data = (path / "metadata_0").read_bytes()
    place = data.rindex(b"open\0")
    _change(path / "metadata_0", place, b"opeo")
    trace = ltt_relay.open(path)
    assert _counts(trace) == {"core_marker_format": 2, "core_marker_id": 2, "net_send": 3}
    assert set(trace.problems["code"]) == {"metadata", "unknown_event"}


@pytest.mark.parametrize("marker", list(KERNEL))
@pytest.mark.parametrize("what", ["another", "texts", "text first"])
def test_a_marker_that_is_not_what_its_name_says_does_not_hide_the_trace(
    marker: tuple[str, str], what: str, tmp_path: Path
) -> None:
    """Opening was refused, or frames and analyses ended with KeyError or ValueError, Perfetto with TypeError."""
    text = KERNEL[marker]
    texts = " ".join(word if word[0].isalpha() else "%s" for word in text.split())
    instead = {"another": "other %d", "texts": texts, "text first": f"first %s {text}"}[what]
    path = _lttng2(tmp_path / "t", KERNEL | {marker: instead})
    trace = ltt_relay.open(path, strict=True)
    counts = _counts(trace)
    assert sum(counts.values()) == len(trace.merged()) == 5 * len(KERNEL)
    as_object(trace)
    for to in ("ctf", "perfetto"):
        result = convert_trace(path, tmp_path / to, Options(to))
        assert (result.status, result.error) == ("done", "")


def test_two_markers_never_have_one_name(tmp_path: Path) -> None:
    """ValueError: Categorical categories must be unique; no switches beside a channel sched with a marker switch."""
    markers = {("a_b", "c"): "x %d", ("a", "b_c"): "y %d", ("kernel", "sched_schedule"): "prev_pid %d next_pid %d",
               ("sched", "switch"): "z %d", ("irq", "handler_entry"): "w %d",
               ("kernel", "irq_entry"): "ip %lu irq_id #2u%u"}  # fmt: skip
    trace = ltt_relay.open(_lttng2(tmp_path / "t", markers), strict=True)
    assert sum(_counts(trace).values()) == len(trace.merged()) == 5 * len(markers)
    assert trace["sched_switch"]["next_pid"].tolist() == [8] * 3
    assert trace["irq_handler_entry"]["irq"].tolist() == [8] * 3
    assert {"x", "y", "z", "w"} <= {column for name in trace for column in trace[name].columns}


def test_two_fields_never_have_one_name(tmp_path: Path) -> None:
    """The third field of `a_2 %d a %d a %d` was called a_2 too, and `dump` had one of the two."""
    path = _lttng2(tmp_path / "t", {("x", "y"): "a_2 %d a %d a %d", ("kernel", "irq_entry"): "irq %d irq_id %d"})
    trace = ltt_relay.open(path, strict=True)
    assert trace["x_y"][["a_2", "a", "a_2_2"]].values.tolist() == [[7, 8, 9]] * 3
    assert trace["irq_handler_entry"][["irq", "irq_1"]].values.tolist() == [[7, 8]] * 3
    assert unused("a", 2, {"a", "a_2"}) == "a_2_2"


def test_ctf_in_place_of_names_that_are_no_identifiers(tmp_path: Path) -> None:
    """A quotation mark in a marker's name or a letter beyond ASCII in a field's broke the metadata."""
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    markers = {("x", 'q"u\\o'): "a %d", ("x", "u"): "aé %d", ('c"h', "v"): "int %d struct %d"}
    path = _lttng2(tmp_path / "t", markers)
    lttng2_ctf.describe(path, tmp_path / "ctf")
    done = subprocess.run(["babeltrace2", tmp_path / "ctf"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == sum(_counts(ltt_relay.open(path)).values()) == 5 * len(markers)


@pytest.mark.parametrize("to", ["csv", "jsonl", "ctf"])
@pytest.mark.parametrize("kind", ["ltt", "lttng"])
def test_what_is_at_one_time_is_converted_in_the_order_in_which_it_was_recorded(
    kind: str, to: str, tmp_path: Path
) -> None:
    """Where a clock counts us many records have one time: they were put in the order of their kinds."""
    names = ["sched_switch", "trap_entry", "irq_handler_exit", "sched_wakeup", "trap_exit"]
    if kind == "ltt":
        path = tmp_path / "t"
        made = [Record(names[i * i % 5], BEGIN + i // 6 * 1000, {}, i % 7 % 2) for i in range(90)]
        write_classic(path, Writer(Dialect("2.2b", "<")), made)
    else:
        markers = {("z", "first"): "a %d", ("b", "other"): "b %d", ("z", "second"): "c %d"}
        records = [
            (channel, 0, (1 << 28) + 1000 * (i // 8), name, {"abc"[list(markers).index((channel, name))]: i})
            for i in range(60) for channel, name in [list(markers)[i * i % 3]]
        ]  # fmt: skip
        path = LttngWriter(LttngTrace(markers, records, 5)).write(tmp_path / "t")
    trace = ltt_relay.open(path, strict=True)
    told = trace.merged()["event"].tolist()
    if kind == "ltt":
        by_cpu = sorted(made, key=lambda each: (each.time, each.cpu))
        assert [event for event in told if event in names] == [each.event for each in by_cpu]
    out = tmp_path / "out"
    assert convert_trace(path, out, Options(to, merge=to != "ctf")).status == "done"
    if to == "ctf":
        if shutil.which("babeltrace2") is None:
            pytest.skip("babeltrace2 is not installed")
        done = subprocess.run(["babeltrace2", out], capture_output=True, text=True, check=True)
        found = [line.partition(") ")[2].partition(":")[0] for line in done.stdout.splitlines()]
    elif to == "csv":
        found = pd.read_csv(out / "merged.csv")["event"].tolist()
    else:
        found = pd.read_json(out / "merged.jsonl", lines=True)["event"].tolist()
    assert found == told
