# SPDX-License-Identifier: GPL-2.0-or-later
"""What archives hold beside whole traces: renamed, cut, missing and foreign files, all CPUs in one, one of many."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay.cli import main as cli
from ltt_relay.formats import blktrace, oracle
from ltt_relay.formats.classic import Dialect
from ltt_relay.testing.blktrace import record, write_blktrace
from ltt_relay.testing.classic import Record, Writer, write_classic
from ltt_relay.testing.legacy import write_k42
from ltt_relay.testing.lttng2 import LttngTrace, LttngWriter

BEGIN = 1_090_000_000_000_000_000


def _blk(count: int, cpus: int) -> list[dict[str, Any]]:
    steps = ("block_bio_queue", "block_getrq", "block_rq_insert", "block_rq_issue", "block_rq_complete")
    found: list[dict[str, Any]] = [{"event": "blk_process", "pid": 7, "time": 5, "name": "writer"}]
    for i in range(count):
        cgroup = blktrace.CATEGORIES["cgroup"] * (i % 3 == 0)
        found.append(
            {"event": steps[i % 5], "time": 100 + 10 * i, "pid": 7, "cpu": i % cpus, "sector": 8 * i, "bytes": 4096,
             "dev": (8 << 20) + i % 3, "sequence": i, "categories": cgroup, "cgroup": 70 + i}
        )  # fmt: skip
        if i % 50 == 0:
            found.append({"event": "blk_message", "time": 101 + 10 * i, "cpu": i % cpus, "text": f"note {i}"})
    return found


def _sched(count: int, cpus: int) -> list[Record]:
    fields = [{"prev_pid": i % 5, "next_pid": (i + 1) % 5} for i in range(count)]
    return [Record("sched_switch", BEGIN + 7000 * i, fields[i], i % cpus) for i in range(count)]


def _commands(path: Path, out: Path) -> dict[str, int]:
    """Exit codes of what is done with traces; an exception that is no error message fails the test."""
    found = {}
    for command in (["info", "--json"], ["dump"], ["report"], ["convert", "-o", str(out)]):
        done = CliRunner().invoke(cli, [command[0], str(path), *command[1:]])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        found[command[0]] = done.exit_code
    return found


def _counts(trace: ltt_relay.Trace) -> dict[str, int]:
    return {name: len(frame) for name, frame in trace.frames().items() if len(frame)}


@pytest.mark.parametrize("version", [7, 8])
def test_all_cpus_in_one_file_as_blktrace_writes_to_a_pipe(version: int, tmp_path: Path) -> None:
    """`blktrace -o -`: a run of each CPU's records, so that time goes back between them."""
    records = _blk(600, cpus=4)
    runs = sorted(records, key=lambda values: (values.get("time", 0) // 2000, values.get("cpu", 0)))
    file = tmp_path / "saved"
    file.write_bytes(b"".join(record(values, version) for values in runs))
    trace = ltt_relay.open(file, strict=True)
    assert trace.info["cpus"] == 4
    write_blktrace(tmp_path / "apart", records, version)
    apart = ltt_relay.open(tmp_path / "apart.blktrace.0", strict=True).frames()
    for name, frame in trace.frames().items():
        assert frame.equals(apart[name]), name
    frame = trace.frames(["block_rq_issue"], time="ns")["block_rq_issue"]
    mine = [values for values in records if values["event"] == "block_rq_issue"]
    for column, name in (("timestamp", "time"), ("cpu", "cpu"), ("sector", "sector"), ("event_cpu", "cpu")):
        assert frame[column].tolist() == [values[name] for values in mine]
    assert set(frame["comm"]) == {"writer"}


@pytest.mark.parametrize("damage", [40, 48 * 100 + 5, 48 * 300 + 41])
def test_damage_in_a_file_of_all_cpus_is_told_once(damage: int, tmp_path: Path) -> None:
    file = tmp_path / "saved"
    data = bytearray(b"".join(record(values) for values in _blk(600, cpus=4)))
    data[damage] ^= 0x5A
    file.write_bytes(data)
    trace = ltt_relay.open(file)
    expected: dict[tuple[str, int], int] = {}
    for found in oracle.records(file, blktrace):
        if found.event not in {"packet", "damage", "unknown"}:
            expected[found.event, found.cpu] = expected.get((found.event, found.cpu), 0) + 1
    counted = {
        (name, int(cpu)): int(n)
        for name, frame in trace.frames().items() for cpu, n in frame["cpu"].value_counts().items()
    }  # fmt: skip
    assert counted == expected
    assert len(trace.problems) <= 2


def test_blktrace_with_files_that_are_missing_empty_cut_or_foreign(tmp_path: Path) -> None:
    records = _blk(900, cpus=6)
    write_blktrace(tmp_path / "sdb", records)
    (tmp_path / "sdb.blktrace.2").unlink()
    (tmp_path / "sdb.blktrace.3").write_bytes(b"")
    cut = tmp_path / "sdb.blktrace.5"
    cut.write_bytes(cut.read_bytes()[:-30])
    (tmp_path / "blkparse.txt").write_text("8,0 1 1 0.0 1 Q R\n")
    (tmp_path / "sdb.notes").write_bytes(bytes(100))
    trace = ltt_relay.open(tmp_path)
    left = [values for values in records if values.get("cpu", 0) not in {2, 3}]
    assert sum(_counts(trace).values()) == len(left) - 1
    assert trace.problems["code"].tolist() == ["truncated"]
    issued = trace["block_rq_issue"]
    assert set(issued["dev"]) == {8 << 20, 8 << 20 | 1, 8 << 20 | 2}
    with_group = [v for v in left if v["event"] == "block_rq_issue" and v["categories"]]
    assert issued["cgroup"].dropna().tolist() == [v["cgroup"] for v in with_group]
    assert trace["blk_message"]["text"].tolist() == [v["text"] for v in left if v["event"] == "blk_message"]
    assert set(_commands(tmp_path, tmp_path / "out").values()) == {0}


def test_names_of_files_do_not_matter(tmp_path: Path) -> None:
    write_blktrace(tmp_path / "a", _blk(100, 1))
    write_classic(tmp_path / "b", Writer(Dialect("2.2b", "<"), buffer_size=16384), _sched(500, 1))
    write_k42(tmp_path / "c", _sched(500, 1))
    found = {}
    for i, source in enumerate(path for path in sorted(tmp_path.rglob("*")) if path.is_file()):
        file = tmp_path / f"x{i}" / "no name at all.gz"
        file.parent.mkdir()
        shutil.copy(source, file)
        for path in (file, file.parent):
            trace = ltt_relay.open(path, strict=True)
            found[trace.info["format"]] = sum(_counts(trace).values())
    assert set(found) == {"blktrace 7.0", "LTT 2.2", "LTT K42 2.3"}
    assert all(count >= 100 for count in found.values())


def test_a_cpu_whose_first_sub_buffer_is_gone_is_read_all_the_same(tmp_path: Path) -> None:
    size = 16384
    write_classic(tmp_path, Writer(Dialect("2.2b", "<"), cycles=True, buffer_size=size), _sched(9000, 3))
    whole = ltt_relay.open(tmp_path)
    before = len(whole["sched_switch"])
    second = sorted(tmp_path.iterdir())[1]
    lost = ltt_relay.open(second)
    gone = sum(_counts(lost).values()) - 9000 // 3
    second.write_bytes(second.read_bytes()[size:])
    trace = ltt_relay.open(tmp_path)
    assert gone > 0
    assert before > len(trace["sched_switch"]) > 9000 // 3 * 2
    assert set(trace["sched_switch"]["cpu"]) == {0, 1, 2}
    (problem,) = trace.problems.to_dict("records")
    assert (problem["file"], problem["code"]) == (second.name, "packet_header")
    assert "START" in problem["expected"]
    assert set(_commands(tmp_path, tmp_path / "out").values()) == {0}


def _lttng(minor: int, cpus: int, alignment: int, records: int = 4000) -> LttngTrace:
    markers = {("kernel", "sched_schedule"): "prev_pid %d next_pid %d prev_state #2d%hd",
               ("fs", "write"): "fd %u count %zu", ("fs", "exec"): "filename %s"}  # fmt: skip
    found: list[tuple[str, int, int, str, dict[str, Any]]] = []
    for i in range(records):
        time, cpu = 1_000_000 + 900 * i, i % cpus
        if i % 3 == 0:
            found.append(("kernel", cpu, time, "sched_schedule", {"prev_pid": i, "next_pid": i + 1, "prev_state": 1}))
        elif i % 3 == 1:
            found.append(("fs", cpu, time, "write", {"fd": i % 9, "count": i}))
        else:
            found.append(("fs", cpu, time, "exec", {"filename": "/bin/" + "x" * (i % 300)}))
    lost = {("fs", cpu): 10 + cpu for cpu in range(cpus)}
    return LttngTrace(markers, found, minor, alignment=alignment, lost=lost, sub_buffer=8192)


@pytest.mark.parametrize(("minor", "alignment"), [(5, 4), (6, 4), (6, 8), (3, 0)])
def test_eight_cpus_variable_sub_buffers_and_losses(minor: int, alignment: int, tmp_path: Path) -> None:
    made = _lttng(minor, 8, alignment)
    path = LttngWriter(made).write(tmp_path / "some name")
    trace = ltt_relay.open(path)
    assert trace.problems.empty
    assert trace.info["cpus"] == 8
    assert trace.info["lost"] == sum(10 + cpu for cpu in range(8))
    switches = trace.frames(["sched_switch"], time="ns")["sched_switch"]
    mine = [r for r in made.records if r[3] == "sched_schedule"]
    assert switches["timestamp"].tolist() == [r[2] for r in mine]
    assert switches["next_pid"].tolist() == [r[4]["next_pid"] for r in mine]
    assert switches["cpu"].tolist() == [r[1] for r in mine]
    assert sum(_counts(trace).values()) == len(made.records) + 2 * len(made.markers)
    assert set(_commands(path, tmp_path / "out").values()) == {0}


def test_lttng_with_files_of_other_kinds_beside_it(tmp_path: Path) -> None:
    path = LttngWriter(_lttng(6, 2, 4)).write(tmp_path / "t")
    before = _counts(ltt_relay.open(path))
    for name in ("info", "eventdefs"):
        (path / name).mkdir()
        (path / name / "system.xml").write_text("<system/>")
    (path / "README").write_text("from the lab's old disk\n")
    (path / "core_7").write_bytes(bytes(5000))
    (path / "fs_9").write_bytes(b"")
    (path / ".fs_0").write_bytes((path / "fs_0").read_bytes())
    for file in path.glob("kernel_*"):
        file.rename(file.with_name("flight-" + file.name))
    for given in (path, path / "fs_1", path / "metadata_0"):
        assert _counts(ltt_relay.open(given)) == before


def test_lttng_of_two_machines_in_one_directory_is_refused(tmp_path: Path) -> None:
    path = LttngWriter(_lttng(6, 1, 4)).write(tmp_path / "t")
    other = LttngWriter(_lttng(5, 1, 0)).write(tmp_path / "u")
    shutil.copy(other / "fs_0", path / "fs_1")
    with pytest.raises(ltt_relay.TraceError, match="fs_1: of another version, machine or clock"):
        ltt_relay.open(path)


def test_nothing_but_empty_files_is_an_error_in_words(tmp_path: Path) -> None:
    for name in ("x.blktrace.0", "t000.trace", "kernel_0"):
        (tmp_path / name).write_bytes(b"")
    codes = _commands(tmp_path, tmp_path / "out")
    assert set(codes.values()) == {1}
