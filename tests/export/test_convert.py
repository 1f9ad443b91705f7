# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay.cli import main
from ltt_relay.export import parquet, parts
from ltt_relay.export.batch import _uninterrupted, convert
from ltt_relay.export.convert import FORMATS, Options, Result, convert_trace
from ltt_relay.export.files import UNFINISHED
from ltt_relay.export.manifest import ConvertError, Manifest
from ltt_relay.export.traces import find_traces
from ltt_relay.testing import write_trace
from ltt_relay.testing.blktrace import write_blktrace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 5000, cpus=2, packet_size=16384, lost_every=2)


def _bytes(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.name != "manifest.jsonl"}


def test_the_manifest_tells_what_is_in_the_files(trace: Path, tmp_path: Path) -> None:
    (result,) = convert([trace], tmp_path, Options())
    head, row = (json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines())
    assert (head["schema"], head["options"]["to"]) == (1, "csv")
    assert (row["status"], row["records"]) == ("done", 5212)
    assert sum(row["lost"].values()) == ltt_relay.open(trace).info["lost"] == result.lost["full"]
    assert sum(entry["rows"] for entry in row["files"].values() if entry["event"]) == 5212
    assert set(row["files"]) == set(_bytes(tmp_path))
    for name, entry in row["files"].items():
        data = (tmp_path / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        assert data.count(b"\n") == entry["rows"] + 1
    assert row["columns"]["sched_switch"]["prev_prio"]["type"] == "int16"
    assert row["columns"]["sys_enter"]["args"] == {
        "type": "list<item: uint64>", "unit": "", "meaning": "its arguments",
    }  # fmt: skip


def test_merged_csv_is_what_merged_gives(trace: Path, tmp_path: Path) -> None:
    for clock in ("utc", "ns"):
        list(convert([trace], tmp_path / clock, Options(merge=True, time=clock)))
        read = pd.read_csv(tmp_path / clock / "merged.csv", keep_default_na=False, dtype={"tid": "Int32"})
        frame = ltt_relay.open(trace).merged(time=clock)
        if clock == "utc":
            read["timestamp"] = pd.to_datetime(read["timestamp"])
        assert read["timestamp"].tolist() == frame["timestamp"].tolist()
        for column in ("cpu", "event", "tid", "comm", "payload"):
            assert read[column].tolist() == frame[column].tolist(), column


def test_globs_and_state_records_are_merged_too(trace: Path, tmp_path: Path) -> None:
    states = ltt_relay.open(trace).frames(["state_task", "state_irq", "state_end"])
    for to in ("csv", "parquet", "jsonl"):
        (result,) = convert([trace], tmp_path / to, Options(to, merge=True, events=("state_*", "nine")))
        assert (result.error, result.missing) == ("", ["nine"])
        assert result.records == sum(map(len, states.values())) > 200
    frame = pd.read_parquet(tmp_path / "parquet/merged.parquet")
    assert set(frame["event"]) == set(states)
    assert pd.read_csv(tmp_path / "csv/merged.csv")["payload"].tolist() == frame["payload"].tolist()
    (result,) = convert([trace], tmp_path / "none", Options(events=("shed_switch",)))
    assert result.error.startswith(f"no event 'shed_switch' in trace {trace}; near: sched_switch")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("convert TRACE -o TRACE/metadata", 1, "metadata is not a directory: choose another with -o"),
        ("convert TRACE -o /proc/none", 1, "/proc/none cannot be written to"),
        ("convert TRACE -o OUT --since noon", 2, "Invalid value for --since: 'noon' is no time"),
        ("convert TRACE -o OUT --since=", 2, "Invalid value for --since: '' is no time"),
        ("convert TRACE -o OUT --since +9", 0, "TRACE: no records: --since +9"),
        ("convert TRACE/events_0 -o OUT", 1, "it is a stream of a trace of LTT 3.0: name its directory"),
        ("convert TRACE -o OUT --event sched_swich", 1, "no event 'sched_swich' in trace"),
        ("dump TRACE --packet 999", 1, "no packet 999 in it: the last is packet 3"),
        ("dump OTHER", 1, "no packets in it"),
        ("cnvert TRACE", 2, "no command 'cnvert'; near: convert"),
    ],
)
def test_wrong_usage_says_what_to_do(trace: Path, tmp_path: Path, words: str, status: int, said: str) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").write_bytes(bytes(1000))
    places = {"TRACE": str(trace), "OUT": str(tmp_path / "out"), "OTHER": str(tmp_path / "other")}
    for name, path in places.items():
        words, said = words.replace(name, path), said.replace(name, path)
    done = CliRunner().invoke(main, words.split())
    assert (done.exit_code, isinstance(done.exception, SystemExit)) == (status, status > 0)
    assert said in done.stderr


def test_a_conversion_that_came_to_nothing_is_begun_anew(trace: Path, tmp_path: Path) -> None:
    Manifest(tmp_path, {}, resume=False).__exit__(None, None, None)
    (result,) = convert([trace], tmp_path, Options())
    assert (result.status, len((tmp_path / "manifest.jsonl").read_text().splitlines())) == ("done", 2)


def test_merged_json_lines_have_the_payload_as_an_object(trace: Path, tmp_path: Path) -> None:
    list(convert([trace], tmp_path, Options("jsonl", merge=True, events=("sys_enter", "marker"))))
    rows = [json.loads(line) for line in (tmp_path / "merged.jsonl").read_text().splitlines()]
    frames = ltt_relay.open(trace).frames(["sys_enter", "marker"])
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)
    assert [row["payload"]["args"] for row in rows if row["event"] == "sys_enter"] == [
        list(args) for args in frames["sys_enter"]["args"]
    ]
    assert [row["payload"] for row in rows if row["event"] == "marker"] == [
        {"text": text} for text in frames["marker"]["text"]
    ]


def test_merged_parquet_is_what_merged_gives(trace: Path, tmp_path: Path) -> None:
    list(convert([trace], tmp_path, Options("parquet", merge=True)))
    read = pd.read_parquet(tmp_path / "merged.parquet")
    assert read.astype(str).equals(ltt_relay.open(trace).merged().astype(str))


def test_parquet_read_back_equals_the_tables(trace: Path, tmp_path: Path) -> None:
    list(convert([trace], tmp_path / "out", Options("parquet")))
    for name, table in ltt_relay.open(trace).arrow().items():
        assert pyarrow.parquet.read_table(tmp_path / "out" / f"{name}.parquet").to_pylist() == table.to_pylist()


def test_parquet_of_many_windows_and_kinds_has_few_row_groups(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What describes a row group is in memory until its file ends: 300 kinds came to 6000 of them a GiB."""
    whole = ltt_relay.open(trace).arrow()
    monkeypatch.setattr("ltt_relay.export.convert.WINDOW", 20_000)
    monkeypatch.setattr(parquet, "_HELD", 20_000)
    monkeypatch.setattr(parquet, "_GROUP", 30_000)
    (result,) = convert([trace], tmp_path, Options("parquet"))
    assert (result.error, (tmp_path / ".parts").exists()) == ("", False)
    groups = 0
    for name, table in whole.items():
        with pyarrow.parquet.ParquetFile(tmp_path / f"{name}.parquet") as file:
            assert file.read().to_pylist() == table.to_pylist()
            groups += file.num_row_groups
            assert file.num_row_groups <= table.nbytes // 30_000 + 2
    assert groups > len(whole)


def test_parquet_of_many_kinds_holds_no_more_after_their_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writer kept a buffer as long as its row group: of 300 kinds, a GiB, and the process was killed."""
    monkeypatch.setattr(parquet, "_HELD", 1 << 20)
    monkeypatch.setattr(parquet, "_GROUP", 4 << 20)
    table = pa.table({name: pa.array(range(1000), kind) for name, kind in (("a", pa.uint16()), ("b", pa.int64()))})
    before = pa.total_allocated_bytes()
    sink = parquet.ParquetSink(tmp_path, False, tmp_path / ".parts")
    for _ in range(2 * (4 << 20) // table.nbytes):
        sink.write({f"kind{n}": table for n in range(10)})
    assert pa.total_allocated_bytes() - before < 8 << 20
    files = sink.finish()
    sink.close()
    assert pa.total_allocated_bytes() - before < 4 << 20
    assert len(files) == 10
    assert pyarrow.parquet.read_metadata(tmp_path / "kind0.parquet").num_row_groups in {2, 3}


def test_events_and_times_are_selected_as_frames_does(trace: Path, tmp_path: Path) -> None:
    options = Options(events=("marker", "sched_wakeup_nwe"), since="+200us", until="-300us")
    (result,) = convert([trace], tmp_path / "a", options)
    frame = ltt_relay.open(trace).frames("marker", "+200us", "-300us")["marker"]
    assert 0 < len(frame) < len(ltt_relay.open(trace)["marker"])
    assert (result.records, result.missing) == (len(frame), ["sched_wakeup_nwe"])
    assert pd.read_csv(tmp_path / "a" / "marker.csv")["text"].tolist() == frame["text"].tolist()
    (nothing,) = convert([trace], tmp_path / "b", Options(events=("sched_swich",)))
    assert (nothing.status, "near: sched_switch" in nothing.error) == ("failed", True)


@pytest.mark.parametrize("options", [Options(), Options("jsonl"), Options(merge=True)], ids=["csv", "jsonl", "merged"])
def test_a_trace_in_parts_gives_the_same_bytes(
    trace: Path, tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = convert([trace], tmp_path / "whole", options)
    monkeypatch.setattr(parts, "_WORTH", 0)
    monkeypatch.setattr(parts, "WINDOW", 100_000)
    assembly = parts.Assembly(trace, tmp_path / "again", options)
    assert len(assembly.windows) > 3
    numbers = list(range(len(assembly.windows)))
    for number in reversed(numbers):
        part = parts.convert_part(trace, tmp_path / "again", options, assembly.events, *assembly.windows[number])
        assembly.add(number, part)
    again = assembly.finish()
    assert _bytes(tmp_path / "whole") == _bytes(tmp_path / "again")
    assert (again.files, again.records, again.columns) == (whole.files, whole.records, whole.columns)


def _many(root: Path, n: int) -> None:
    for number in range(n):
        write_trace(root / f"t{number}", 300, cpus=1, seed=number)


def test_a_broken_trace_is_a_failure_of_its_own_and_resume_does_the_rest(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    _many(root, 4)
    (root / "t2" / "events_0").write_bytes(b"not a trace" * 100)
    (root / "t2" / "state_0").unlink()
    next(convert([root], output, Options()))  # the rest never comes, as after a kill
    with pytest.raises(ConvertError, match="--resume"):
        list(convert([root], output, Options()))
    with pytest.raises(ConvertError, match="another conversion: to 'csv', now 'jsonl'"):
        list(convert([root], output, Options("jsonl"), resume=True))
    with (output / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"trace": "cut off by a ki')
    rest = list(convert([root], output, Options(), jobs=2, resume=True))
    assert len(rest) == 3
    rows = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()[1:]]
    assert sorted((Path(row["trace"]).name, row["status"]) for row in rows) == [
        ("t0", "done"), ("t1", "done"), ("t2", "failed"), ("t3", "done"),
    ]  # fmt: skip
    assert not list(output.rglob(f"*{UNFINISHED}"))


def test_a_trace_that_changed_is_converted_again_and_leaves_nothing_of_before(tmp_path: Path) -> None:
    _many(tmp_path / "in", 2)
    list(convert([tmp_path / "in"], tmp_path / "out", Options()))
    (tmp_path / "in" / "t0" / "events_0").unlink()
    (again,) = convert([tmp_path / "in"], tmp_path / "out", Options(), resume=True)
    assert (Path(again.trace).name, again.status, again.records) == ("t0", "done", 212)
    assert not (tmp_path / "out" / "t0" / "sched_switch.csv").exists()
    assert (tmp_path / "out" / "t1" / "sched_switch.csv").exists()


@pytest.mark.parametrize("n", [1, 2])
def test_resume_knows_a_trace_by_another_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    """Relative or absolute, through a link or not: it was converted again."""
    root, output = tmp_path / "in", tmp_path / "out"
    _many(root, n)
    (tmp_path / "link").symlink_to(root)
    monkeypatch.chdir(tmp_path)
    assert len(list(convert([Path("in")], Path("out"), Options()))) == n
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    spellings = [root, tmp_path / "link", Path("../in"), Path("../elsewhere/../link/")]
    for spelling in spellings:
        assert list(convert([spelling], output, Options(), resume=True)) == []
    (root / "t0" / "events_0").write_bytes(b"not a trace" * 100)
    for spelling in spellings:
        (again,) = convert([spelling], Path("../out"), Options(), resume=True)
        (root / "t0" / "events_0").touch()
        assert again.trace == str(spelling / "t0")
    lines = [json.loads(line) for line in (output / "manifest.jsonl").read_text().splitlines()[1:]]
    assert {line["source"] for line in lines} == {str(root / f"t{i}") for i in range(n)}
    assert {line["target"] for line in lines} == {f"t{i}" for i in range(n)}


def test_another_trace_in_the_same_place_is_another(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_trace(tmp_path / name, 300, cpus=1)
    list(convert([tmp_path / "a"], tmp_path / "out", Options()))
    assert len(list(convert([tmp_path / "b"], tmp_path / "out", Options(), resume=True))) == 1


@pytest.mark.slow
def test_several_processes_tell_how_far_they_are_within_a_trace(tmp_path: Path) -> None:
    """Nothing was heard before a trace was complete."""
    write_trace(tmp_path / "in" / "t", 1_500_000, cpus=2)
    write_trace(tmp_path / "in" / "wrong", 10, cpus=1)
    (tmp_path / "in" / "wrong" / "events_0").write_bytes(b"not a trace" * 100)
    heard: list[int] = []
    results = list(convert([tmp_path / "in"], tmp_path / "out", Options("parquet"), jobs=2, tell=heard.append))
    assert sum(heard) == sum(result.records for result in results)
    assert sum(records > 0 for records in heard) > 2


def _die(path: Path, output: Path, options: Options, *telling: Callable[[int], None]) -> Result:
    if path.name == "t1":
        os._exit(9)  # as after SIGKILL by the kernel

    return convert_trace(path, output, options, *telling)


def test_a_process_that_dies_costs_its_own_trace_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _many(tmp_path / "in", 4)
    monkeypatch.setattr("ltt_relay.export.batch.convert_trace", _die)
    results = list(convert([tmp_path / "in"], tmp_path / "out", Options(), jobs=2))
    assert sorted((Path(result.trace).name, result.status) for result in results) == [
        ("t0", "done"), ("t1", "failed"), ("t2", "done"), ("t3", "done"),
    ]  # fmt: skip
    assert "ended without a word" in next(result.error for result in results if result.status == "failed")


def test_where_traces_go(trace: Path, tmp_path: Path) -> None:
    _many(tmp_path / "a", 2)
    _many(tmp_path / "b", 1)
    output = tmp_path / "a" / "out"
    write_trace(output / "converted", 10, cpus=1)
    assert [str(target.relative_to(output)) for _, target in find_traces([tmp_path / "a"], output)] == ["t0", "t1"]
    both = find_traces([tmp_path / "a", tmp_path / "b"], output)
    assert [str(target.relative_to(output)) for _, target in both] == ["a/t0", "a/t1", "b/t0"]
    assert find_traces([trace], output) == [(trace, output)]
    with pytest.raises(ConvertError, match="would both go to"):
        find_traces([trace, trace], output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConvertError, match="no traces found"):
        find_traces([tmp_path / "empty"], output)


def test_a_directory_of_several_old_traces_is_converted_one_by_one(tmp_path: Path) -> None:
    root = tmp_path / "in" / "lab"
    root.mkdir(parents=True)
    event = {"event": "block_getrq", "time": 1_000_000, "sector": 8, "bytes": 512}
    for name in ("sda", "sdb"):
        write_blktrace(root / name, [event | {"cpu": cpu, "sequence": 1 + cpu} for cpu in (0, 1)])
    found = find_traces([tmp_path / "in"], tmp_path / "out")
    assert [path.name for path, _ in found] == ["sda.blktrace.0", "sdb.blktrace.0"]
    results = list(convert([tmp_path / "in"], tmp_path / "out", Options("jsonl", merge=True)))
    assert [(result.status, result.error, result.records) for result in results] == [("done", "", 2)] * 2
    lines = (tmp_path / "out" / "lab" / "sdb.blktrace.0" / "merged.jsonl").read_text().splitlines()
    assert [json.loads(line)["cpu"] for line in lines] == [0, 1]
    assert not list(convert([tmp_path / "in"], tmp_path / "out", Options("jsonl", merge=True), resume=True))


@pytest.mark.parametrize("to", FORMATS)
def test_other_formats_go_to_every_format(tmp_path: Path, to: str) -> None:
    times = {"block_getrq": 1000, "block_rq_issue": 2000, "block_rq_complete": 3000}
    events = [
        {"event": event, "time": time, "sequence": 1, "sector": 8, "bytes": 512, "cpu": cpu}
        for event, time in times.items()
        for cpu in (0, 1)
    ]
    result = convert_trace(write_blktrace(tmp_path / "sda", events), tmp_path / "out", Options(to))
    assert (result.status, result.error, result.records) == ("done", "", 6)
    if to == "ctf" and shutil.which("babeltrace2"):
        done = subprocess.run(["babeltrace2", tmp_path / "out" / "ctf"], capture_output=True, text=True, check=True)
        assert [line.split()[2].rstrip(":") for line in done.stdout.splitlines()] == [e["event"] for e in events]


def test_the_command_ends_with_1_if_a_trace_fails_and_by_request_on_losses(trace: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(main, ["convert", str(trace), "-o", str(tmp_path / "a"), "--merge"]).exit_code == 0
    assert len((tmp_path / "a" / "merged.csv").read_text().splitlines()) == 5001
    assert runner.invoke(main, ["convert", str(trace), "-o", str(tmp_path / "b"), "--fail-on", "lost"]).exit_code == 1
    assert runner.invoke(main, ["convert", str(tmp_path / "no"), "-o", str(tmp_path / "c")]).exit_code == 1
    wrong = runner.invoke(main, ["convert", str(trace), "-o", str(tmp_path / "d"), "--to", "ctf", "--merge"])
    assert (wrong.exit_code, "--merge has no meaning" in wrong.output) == (2, True)
    assert "out/sched_switch.csv" in runner.invoke(main, ["convert", "--help"]).output


def test_info_and_dump_agree(trace: Path) -> None:
    runner = CliRunner()
    facts = json.loads(runner.invoke(main, ["info", str(trace), "--json"]).stdout)
    assert sum(facts["events"].values()) == facts["records"] == 5212
    assert facts["lost"] > 0
    dumped = runner.invoke(main, ["dump", str(trace)]).stdout
    assert dumped.count(" sched_switch: ") == facts["events"]["sched_switch"]
    wrong = runner.invoke(main, ["info", "/nonexistent"])
    assert (wrong.exit_code, "no such directory" in wrong.stderr) == (1, True)


def test_an_output_inside_the_trace_does_not_change_what_the_trace_is(tmp_path: Path) -> None:
    trace = write_trace(tmp_path / "t", 300, cpus=1)
    list(convert([trace], trace / "csv", Options()))
    assert list(convert([trace], trace / "csv", Options(), resume=True)) == []


@pytest.mark.slow
def test_an_interrupt_ends_cleanly_and_resume_goes_on(tmp_path: Path) -> None:
    _many(tmp_path / "in", 40)
    command = [sys.executable, "-m", "ltt_relay.cli", "convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*command, "-j", "2"], stderr=subprocess.PIPE, text=True, start_new_session=True)
    manifest = tmp_path / "out" / "manifest.jsonl"
    while process.poll() is None and not (manifest.exists() and manifest.read_bytes().count(b"\n") > 3):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "Traceback" not in said  # of a process that was about to start
    subprocess.run([*command, "--resume"], check=True, capture_output=True)
    assert len({json.loads(line)["trace"] for line in manifest.read_text().splitlines()[1:]}) == 40
    assert not list((tmp_path / "out").rglob(f"*{UNFINISHED}"))


def _take_an_interrupt() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


def _start(started: list[str]) -> None:
    with _uninterrupted():
        taking = threading.Thread(target=_take_an_interrupt)
        taking.start()
        taking.join()
        started.append("a process")
    started.append("another")


def test_an_interrupt_that_another_thread_takes_waits_until_a_process_is_started() -> None:
    """The mask is of one thread: the new process was left without what it is to do, and said so in a traceback."""
    started: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        _start(started)
    assert started == ["a process"]


def test_only_what_it_left_itself_is_removed_from_an_output_directory(trace: Path, tmp_path: Path) -> None:
    # Every *.part in it went, the user's downloads as well.
    (output := tmp_path / "out").mkdir()
    (output / "film.mkv.part").write_bytes(b"half")
    (output / f"old.csv{UNFINISHED}").write_bytes(b"half")
    assert convert_trace(trace, output, Options()).status == "done"
    assert (output / "film.mkv.part").read_bytes() == b"half"
    assert not list(output.rglob(f"*{UNFINISHED}"))


@pytest.mark.parametrize("root", [".", "one"])
def test_files_are_not_written_among_those_of_the_trace(root: str, tmp_path: Path) -> None:
    write_trace(tmp_path / "one", events=100)
    before = sorted((tmp_path / "one").iterdir())
    with pytest.raises(ConvertError, match="is a trace itself"):
        list(convert([tmp_path / root], tmp_path / root, Options()))
    assert sorted((tmp_path / "one").iterdir()) == before


def test_memory_that_was_freed_goes_back_to_the_machine() -> None:
    """glibc and NumPy's huge pages kept 300 MiB of it in each process."""
    script = """if True:
        from ltt_relay.export.frugal import frugal
        frugal()
        import numpy as np

        def used():
            return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) >> 10

        def spread():
            arrays = [np.ones(n << 17) for n in (24, 16, 8, 4, 2, 1)]
            return [arrays[-1], np.ones(1000)]

        before = used()
        kept = [spread() for _ in range(4)]
        grown = used() - before
        sparse = np.empty(64 << 20, np.uint8)
        sparse[:: 4 << 20] = 1
        print(grown, used() - before - grown)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    freed, sparse = map(int, done.stdout.split())
    assert freed < 32
    assert sparse < 8


@contextmanager
def _nobody() -> Iterator[None]:
    """Without root's right to read everything."""
    if os.geteuid():
        yield
        return
    os.setegid(65534)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_directories_that_cannot_be_read_are_failures_that_are_told(tmp_path: Path) -> None:
    """They were passed over in silence, with status 0."""
    _many(tmp_path / "in", 2)
    list(convert([tmp_path / "in"], tmp_path / "first", Options()))  # so that all compiled code is at hand
    output = tmp_path / "out"
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    output.mkdir()
    output.chmod(0o777)
    closed, listed = tmp_path / "in" / "closed", tmp_path / "in" / "listed"
    for directory, mode in ((closed, 0o000), (listed, 0o444)):
        write_trace(directory / "trace", 100, cpus=1)
        directory.chmod(mode)
    try:
        with _nobody():
            results = {result.trace: result for result in convert([tmp_path / "in"], output, Options())}
            with pytest.raises(ConvertError, match="Permission denied"):
                find_traces([closed / "trace"], output)
            (alone,) = convert([closed], output / "alone", Options())
    finally:
        closed.chmod(0o755)
        listed.chmod(0o755)
    assert sum(result.status == "done" for result in results.values()) == 2
    assert results[str(closed)].error == f"{closed}: Permission denied"
    assert "Permission denied" in results[str(listed)].error
    assert (len(results), alone.status) == (4, "failed")


def test_what_a_conversion_wrote_is_no_trace(tmp_path: Path) -> None:
    """Its state_task.csv was taken for the states of one."""
    _many(tmp_path, 2)
    list(convert([tmp_path], tmp_path / "out", Options()))
    assert [path.name for path, _ in find_traces([tmp_path], tmp_path / "again")] == ["t0", "t1"]


def test_a_full_disk_is_told_and_later_gone_on_with(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that could not be written was a traceback."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ConvertError, match=r"manifest\.jsonl cannot be written to: No space left"):
            list(convert([trace], tmp_path, Options()))
        patched.setattr(Manifest, "add", lambda self, row: None)
        (result,) = convert([trace], tmp_path, Options())
        assert (result.status, result.error) == ("failed", "No space left on device")
    (result,) = convert([trace], tmp_path, Options(), resume=True)
    assert (result.status, result.records) == ("done", 5212)
    assert not [file for file in tmp_path.iterdir() if file.name.endswith(UNFINISHED)]


@pytest.mark.parametrize("words", [["info"], ["info", "--quick"], ["report", "--only", "cpu"], ["dump"]], ids=" ".join)
@pytest.mark.parametrize("mode", [0o000, 0o755])
def test_what_cannot_be_read_is_told_in_a_line(words: list[str], mode: int, tmp_path: Path) -> None:
    """It was wrong usage if it was the directory, and dump's traceback if it was a file in it."""
    path = write_trace(tmp_path / "t", 100, cpus=1)
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(0o755)
    (path / "events_0").chmod(0o000)
    path.chmod(mode)
    culprit = path / "events_0" if mode else path
    try:
        with _nobody():
            result = CliRunner().invoke(main, [*words, str(path)])
    finally:
        path.chmod(0o755)
    assert (result.exit_code, result.stderr) == (1, f"ltt-relay: {culprit}: Permission denied\n")


def test_a_file_that_shrinks_while_others_read_it_is_told(tmp_path: Path) -> None:
    """The one who puts the parts together had counted it when it was whole."""
    path = write_trace(tmp_path / "t", 5000, cpus=2, packet_size=16384)
    assembly = parts.Assembly(path, tmp_path / "out", Options())
    with (path / "events_1").open("r+b") as file:
        file.truncate(20_000)
    for number, window in enumerate(assembly.windows):
        assembly.add(number, parts.convert_part(path, tmp_path / "out", Options(), assembly.events, *window))
    result = assembly.finish()
    assert result.records < 5000
    assert result.problems["truncated"] == 1


def test_a_misspelt_event_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    """The same command with the event spelt right was refused, with --resume as well."""
    trace = write_trace(tmp_path / "t", 500, cpus=1)
    (result,) = convert([trace], tmp_path / "out", Options(events=("sched_swich",)))
    assert "near: sched_switch" in result.error
    (result,) = convert([trace], tmp_path / "out", Options(events=("sched_switch",)))
    assert result.status == "done"
    assert len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ConvertError, match="--resume"):
        list(convert([trace], tmp_path / "out", Options()))


def test_a_number_of_processes_that_is_none(tmp_path: Path) -> None:
    """It was an OverflowError."""
    words = ["convert", str(tmp_path), "-o", str(tmp_path / "out"), "-j", "99999999999"]
    result = CliRunner().invoke(main, words)
    assert (result.exit_code, "not in the range" in result.output) == (2, True)


def test_a_quick_look_says_that_it_did_not_look_for_problems(tmp_path: Path) -> None:
    """It said that there were none, of a trace that was cut off."""
    path = write_trace(tmp_path / "t", 1000, cpus=1)
    with (path / "events_0").open("r+b") as file:
        file.truncate(20_000)
    runner = CliRunner()
    assert "problems     not looked for" in runner.invoke(main, ["info", str(path), "--quick"]).stdout
    assert json.loads(runner.invoke(main, ["info", str(path), "--quick", "--json"]).stdout)["problems"] is None
    assert runner.invoke(main, ["info", str(path), "--quick", "--fail-on", "lost"]).exit_code == 0
    assert runner.invoke(main, ["info", str(path), "--quick", "--fail-on", "problems"]).exit_code == 2
    assert runner.invoke(main, ["info", str(path), "--fail-on", "problems"]).exit_code == 1


def test_names_of_files_do_not_act_on_the_terminal(tmp_path: Path) -> None:
    """What an archive from elsewhere calls its directories was printed as it was."""
    trace = write_trace(tmp_path / "in" / "\x1b[31mred\nline", 100, cpus=1)
    (trace / "events_0").write_bytes(b"nothing" * 100)
    (trace / "state_0").unlink()
    for words in (
        ["info", str(trace)],
        ["info", str(trace.parent)],
        ["convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")],
    ):
        said = CliRunner().invoke(main, words).stderr
        assert r"\x1b[31mred" in said
        assert "\x1b" not in said
