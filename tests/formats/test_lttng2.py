# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import gzip
import os
import re
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay import analysis
from ltt_relay.analysis.syscalls import call_names
from ltt_relay.cli import main as cli
from ltt_relay.formats import lttng2, oracle
from ltt_relay.formats.fields import BIG, LITTLE
from ltt_relay.formats.lttng2_layout import FULL, SIZED, WIDE
from ltt_relay.testing.lttng2 import LttngTrace, LttngWriter

SAMPLES = Path(os.environ.get("LTT_RELAY_SAMPLES", Path(__file__).resolve().parents[3] / "shared" / "samples"))
needs_samples = pytest.mark.skipif(not (SAMPLES / "lttng-2x").is_dir(), reason=f"no sample traces at {SAMPLES}")
needs_babeltrace = pytest.mark.skipif(shutil.which("babeltrace2") is None, reason="no babeltrace2")
BIGGER = "trace-15316events_nolost_newformat"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lttng")
    for archive in (SAMPLES / "lttng-2x").glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(out, filter="data")
    return out


@needs_samples
def test_the_samples_have_the_counts_and_times_of_their_manifest(samples: Path) -> None:
    small = ltt_relay.open(samples / "trace-1021events-nolost-1cpu", strict=True)
    times = small.merged(time="ns")["timestamp"]
    assert (len(times), times.iloc[0], times.iloc[-1]) == (1021, 23904353368790, 23906403922652)
    assert small.info["format"] == "LTTng 2.3"

    trace = ltt_relay.open(samples / BIGGER, strict=True)
    merged = trace.merged(time="ns")
    times = merged["timestamp"]
    assert (len(times), times.iloc[0], times.iloc[-1]) == (15316, 13589759412128, 13589906758692)
    assert times.iloc[1:3].tolist() == [13589759419903, 13589759422785]
    assert trace.info["format"] == "LTTng 2.5"
    assert trace.info["lost"] == 0
    kernel = merged[merged["event"].isin([e.name for e in trace._plan.format.events if e.group == "kernel"])]
    assert kernel["timestamp"].iloc[:3].tolist() == [13589760262237, 13589762149621, 13589762917527]
    assert "string=LTT state dump begin" in kernel["payload"].iloc[1]
    assert times[times > 13589807108560].iloc[0] == 13589807116344
    assert times.iloc[7497] == 13589826657302
    start = 1262715366_408819000
    assert trace.info["begin"] == start + 13589759412128 - 27013712723835 * 10**9 // 1987809000


_LINE = re.compile(r"^(\w+)\.(\w+): (\d+)\.(\d{9}) \((\S+)\), (\d+), (\d+), ([^,]*), .*? (?:\{ ?(.*?) ?\}|[A-Z]+)$")
_VALUE = re.compile(r'(\w+)(?:\([\w,]+\))? = ("(?:[^"]*)"|[^,]*?)(?: \[[^\]]*\])?(?:, |$)')


def _number(text: str) -> int:
    return int(text, 0) if not re.fullmatch(r"0\d+", text) else int(text)


@needs_samples
def test_every_value_equals_lttvs_text(samples: Path) -> None:
    """All but the names of files, of which the golden text's author edited 23."""
    with gzip.open(SAMPLES / "lttng-2x" / f"{BIGGER}.txt.gz", "rt") as file:
        lines = [line for line in file.read().splitlines() if _LINE.match(line)]
    assert len(lines) == 15316
    golden: dict[str, list[tuple[int, dict[str, str]]]] = {}
    for line in lines:
        found = _LINE.match(line)
        assert found
        fields = dict(_VALUE.findall(found[9] or ""))
        golden.setdefault(f"{found[1]}.{found[2]}", []).append((int(found[3]) * 10**9 + int(found[4]), fields))
    trace = ltt_relay.open(samples / BIGGER)
    events = {event.provider: event for event in trace._plan.format.events}
    edited = compared = 0
    for provider, rows in golden.items():
        event = events[provider]
        frame = trace.frames([event.name], time="ns")[event.name]
        assert len(frame) == len(rows), provider
        # The text's times are the sum of two that were cut to whole ns.
        assert np.abs(frame["timestamp"].to_numpy() - np.array([row[0] for row in rows])).max() <= 1
        known = [member.name for member in event.payload.subcons if member.name]
        for position, name in enumerate(known):
            theirs = [list(row[1].values())[position] for row in rows]
            column = f"event_{name}" if f"event_{name}" in frame else name
            for ours, other in zip(frame[column].tolist(), theirs, strict=True):
                compared += 1
                if other.startswith('"'):
                    edited += ours != other[1:-1]
                else:
                    assert ours == _number(other), (provider, name)
    assert edited == 23
    assert compared > 60_000


@needs_samples
def test_the_running_task_is_known_in_every_channel_after_the_first_switch(samples: Path) -> None:
    trace = ltt_relay.open(samples / BIGGER)
    with gzip.open(SAMPLES / "lttng-2x" / f"{BIGGER}.txt.gz", "rt") as file:
        found = [_LINE.match(line) for line in file.read().splitlines()]
    theirs = [int(match[6]) for match in found if match and f"{match[1]}.{match[2]}" == "fs.read"]
    reads = trace["fs_read"]
    switches = trace["sched_switch"]["timestamp"].iloc[0]
    known = (reads["timestamp"] > switches).to_numpy()
    assert reads["tid"][known].tolist() == np.array(theirs)[known].tolist()
    assert known.sum() > 100
    assert {"Xorg", "konsole", "lttctl"} <= set(reads["comm"].dropna().astype(str))


@needs_samples
def test_analyses_have_the_names_that_the_trace_knows(samples: Path) -> None:
    """They were missing in every table, as the events of LTTng named numbers only."""
    trace = ltt_relay.open(samples / BIGGER)
    ran = dict(zip(*(analysis.cpu_time(trace)[column] for column in ("tid", "comm")), strict=True))
    assert (ran[1852], ran[2241]) == ("Xorg", "konsole")
    assert "Xorg" in set(analysis.wakeup_latency(trace)["comm"].astype(str))
    assert "i8042" in set(analysis.interrupts(trace)["name"].astype(str))


@needs_samples
def test_system_calls_of_a_32_bit_machine_are_named_as_its_own_table_does(samples: Path) -> None:
    """They were named as on x86-64: poll was swapoff, read was close."""
    trace = ltt_relay.open(samples / BIGGER)
    table = trace["syscall_state_sys_call_table"]
    own = {
        i: text.split("+")[0].removeprefix("sys_").removeprefix("ptregs_")
        for i, text in zip(table["id"], table["symbol"], strict=True)
    }
    enter = trace["sys_enter"]
    said = call_names(trace, enter)
    pairs = {(name, own[i]) for i, name in zip(enter["id"], said, strict=True)}
    assert {name for name, theirs in pairs if name != theirs} == {"_newselect", "_llseek"}
    assert {("poll", "poll"), ("read", "read"), ("futex", "futex")} <= pairs


MARKERS = {
    ("kernel", "sched_schedule"): "prev_pid %d next_pid %d prev_state #2d%ld",
    ("kernel", "syscall_entry"): "ip #p%ld syscall_id #2u%u",
    ("fs", "open"): "fd %d filename %s",
    ("fs", "odd"): "a #1u%u b %llu name %s c #n2u%hu d %ld other %s e #1d%hd",
    **{("many", f"m{i}"): "x %u" for i in range(35)},
}


def _records(count: int) -> list[tuple[str, int, int, str, dict[str, Any]]]:
    made: list[tuple[str, int, int, str, dict[str, Any]]] = []
    for i in range(count):
        cpu, time = i % 2, 1_000 + i * 1000 + (i // 50) * (1 << 26)
        made += [
            ("kernel", cpu, time, "sched_schedule", {"prev_pid": i, "next_pid": i + 1, "prev_state": -1}),
            ("kernel", cpu, time + 1, "syscall_entry", {"ip": 0x1234, "syscall_id": i}),
            ("fs", cpu, time + 2, "open", {"fd": -i, "filename": "x" * (i % 40)}),
            ("fs", cpu, time + 3, "odd", {"a": i % 256, "b": i << 40, "name": "n" * (i % 5), "c": i, "d": -i,
                                          "other": "", "e": -5}),
            ("many", cpu, time + 4, f"m{i % 35}", {"x": i}),
        ]  # fmt: skip
    return made


def _same_as_the_oracle(path: Path) -> dict[str, int]:
    trace = ltt_relay.open(path)
    expected: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    for parsed in oracle.records(path, lttng2):
        if parsed.event not in {"packet", "damage", "unknown"}:
            assert parsed.time is not None
            expected.setdefault(parsed.event, []).append((parsed.time, parsed.cpu, parsed.fields))
    frames = trace.frames(time="ns")
    assert {name: len(frame) for name, frame in frames.items()} == {name: len(rows) for name, rows in expected.items()}
    for name, rows in expected.items():
        rows.sort(key=lambda row: (row[0], row[1]))
        frame = frames[name]
        assert frame["timestamp"].tolist() == [row[0] for row in rows]
        assert frame["cpu"].tolist() == [row[1] for row in rows]
        for field in rows[0][2]:
            column = f"event_{field}" if f"event_{field}" in frame else field
            assert frame[column].tolist() == [row[2][field] for row in rows], f"{name}.{field}"
    return {name: len(rows) for name, rows in expected.items()}


@pytest.mark.parametrize("minor", range(7))
@pytest.mark.parametrize(("order", "bits", "alignment"), [(LITTLE, 32, 0), (BIG, 64, 8), (LITTLE, 64, 8), (BIG, 32, 4)])
def test_every_version_word_size_order_and_alignment(
    minor: int, order: str, bits: int, alignment: int, tmp_path: Path
) -> None:
    written = LttngTrace(
        MARKERS, _records(120), minor, order, bits, alignment, freq=2_000_000_000, scale=3,
        kinds=(0, WIDE, SIZED, FULL, 0), lost={("fs", 1): 17},
    )  # fmt: skip
    path = LttngWriter(written).write(tmp_path / "t")
    counts = _same_as_the_oracle(path)
    fs = "fs_" if minor >= 3 else ""
    assert counts["sched_switch"] == counts[f"{fs}open"] == counts[f"{fs}odd"] == 120
    trace = ltt_relay.open(path, strict=True)
    assert trace[f"{fs}odd"]["b"].tolist() == [i << 40 for i in range(120)]
    assert trace[f"{fs}open"]["filename"].tolist() == ["x" * (i % 40) for i in range(120)]
    assert trace[f"{fs}open"]["tid"].tolist() == [i + 1 for i in range(120)]
    times = trace.frames(["sys_enter"], time="ns")["sys_enter"]["timestamp"].tolist()
    cycles = [time for _, _, time, name, _ in written.records if name == "syscall_entry"]
    assert times == [cycle * 3 * 10**9 // 2_000_000_000 for cycle in cycles]
    assert trace.info["lost"] == (17 if minor >= 2 else 0)


def test_the_27_bits_of_time_may_wrap_without_a_full_time(tmp_path: Path) -> None:
    step = 1 << 26
    records = [("fs", 0, i * step, "open", {"fd": i, "filename": ""}) for i in range(1, 40)]
    path = LttngWriter(LttngTrace(MARKERS, records)).write(tmp_path / "t")
    frame = ltt_relay.open(path, strict=True).frames(["fs_open"], time="ns")["fs_open"]
    assert frame["timestamp"].tolist() == [i * step for i in range(1, 40)]


def test_a_trace_without_metadata_says_so(tmp_path: Path) -> None:
    path = LttngWriter(LttngTrace(MARKERS, _records(3))).write(tmp_path / "t")
    (path / "metadata_0").unlink()
    with pytest.raises(ltt_relay.TraceError, match="no metadata_N"):
        ltt_relay.open(path)


@pytest.mark.parametrize("behind", [6, -4])
def test_metadata_that_cannot_be_read_is_a_problem_and_costs_what_it_described(behind: int, tmp_path: Path) -> None:
    """It was passed over in silence: the size of an int, and a size that goes beyond the sub-buffer."""
    path = LttngWriter(LttngTrace(MARKERS, _records(60))).write(tmp_path / "t")
    whole = ltt_relay.open(path).catalog["count"].sum()
    file = path / "metadata_0"
    data = bytearray(file.read_bytes())
    data[data.index(b"odd\0") + behind] ^= 0xFF
    file.write_bytes(data)
    trace = ltt_relay.open(path)
    assert trace.problems["code"].tolist().count("metadata") == 1
    assert 0 < trace.catalog["count"].sum() < whole


@pytest.mark.parametrize("seed", range(30))
def test_damaged_traces_give_what_the_oracle_finds(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    alignment = int(generator.choice([0, 4]))
    path = LttngWriter(LttngTrace(MARKERS, _records(60), 6, alignment=alignment)).write(tmp_path / "t")
    for file in sorted(path.glob("*_?")):
        if file.name.startswith("metadata") and seed % 3:
            continue
        data = np.frombuffer(file.read_bytes(), np.uint8).copy()
        places = generator.integers(0, data.size, generator.integers(1, 6))
        data[places] = generator.integers(0, 256, places.size)
        file.write_bytes(data.tobytes()[: int(data.size * generator.choice([1, 1, 0.8]))])
    try:
        trace = ltt_relay.open(path)
        counted = {name: len(frame) for name, frame in trace.frames().items()}
    except ltt_relay.TraceError:
        return
    expected: dict[str, int] = {}
    for parsed in oracle.records(path, lttng2):
        if parsed.event not in {"packet", "damage", "unknown"}:
            expected[parsed.event] = expected.get(parsed.event, 0) + 1
    assert counted == expected


def _babeltrace(path: Path) -> list[str]:
    """The lines of babeltrace2: time in ns, event and payload, which may end in fields of the record's context."""
    command = ["babeltrace2", "--clock-seconds", "--clock-gmt", "--no-delta", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ERROR" not in done.stderr
    return done.stdout.splitlines()


def _convert(path: Path, out: Path, *more: str) -> Path:
    done = CliRunner().invoke(cli, ["convert", str(path), "--to", "ctf", "-o", str(out), *more])
    assert done.exit_code == 0, done.output
    return out


_BT = re.compile(r"^\[(\d+)\.(\d{9})\] (\S+): \{.*?\}(?:, \{ ?(.*?) ?\})?$")


@needs_samples
@needs_babeltrace
def test_ctf_in_place_has_every_record_and_value(samples: Path, tmp_path: Path) -> None:
    """New metadata for the same bytes: babeltrace2 finds the times and the values that we do."""
    out = _convert(samples / BIGGER, tmp_path / "out", "--in-place")
    assert all(file.is_symlink() for file in out.rglob("*.stream"))
    _same_as_babeltrace(samples / BIGGER, out)


@needs_babeltrace
@pytest.mark.parametrize(
    ("minor", "order", "bits", "alignment"),
    [(5, LITTLE, 32, 0), (5, BIG, 32, 0), (6, LITTLE, 64, 0), (6, BIG, 64, 0), (6, LITTLE, 32, 4), (6, BIG, 32, 4)],
)
def test_ctf_in_place_of_what_no_sample_has(minor: int, order: str, bits: int, alignment: int, tmp_path: Path) -> None:
    written = LttngTrace(MARKERS, _records(120), minor, order, bits, alignment, kinds=(0, WIDE, SIZED, FULL, 0))
    path = LttngWriter(written).write(tmp_path / "t")
    _same_as_babeltrace(path, _convert(path, tmp_path / "out", "--in-place"))


@pytest.mark.parametrize(
    ("minor", "bits", "alignment", "why"),
    [(4, 32, 0, "tells the bytes not used"), (5, 64, 8, "full times on multiples of 8")],
)
def test_what_ctf_cannot_describe_is_refused(minor: int, bits: int, alignment: int, why: str, tmp_path: Path) -> None:
    path = LttngWriter(LttngTrace(MARKERS, _records(9), minor, bits=bits, alignment=alignment)).write(tmp_path / "t")
    done = CliRunner().invoke(cli, ["convert", str(path), "--to", "ctf", "--in-place", "-o", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert why in done.output


@needs_babeltrace
@pytest.mark.parametrize("minor", [2, 5])
def test_rewritten_ctf_has_every_record(minor: int, tmp_path: Path) -> None:
    path = LttngWriter(LttngTrace(MARKERS, _records(120), minor)).write(tmp_path / "t")
    lines = _babeltrace(next(_convert(path, tmp_path / "out").rglob("metadata")).parent)
    merged = ltt_relay.open(path).merged()
    assert len(lines) == len(merged)
    found = re.findall(r"^\[(\d+)\.(\d{9})\]", "\n".join(lines), re.MULTILINE)
    times = sorted(int(seconds) * 10**9 + int(ns) for seconds, ns in found)
    assert times == merged["timestamp"].astype("int64").tolist()


def _same_as_babeltrace(path: Path, out: Path) -> None:
    trace = ltt_relay.open(path, strict=True)
    theirs: dict[str, list[tuple[int, str]]] = {}
    for line in _babeltrace(out):
        found = _BT.match(line)
        assert found, line
        theirs.setdefault(found[3], []).append((int(found[1]) * 10**9 + int(found[2]), found[4] or ""))
    frames = {name: frame for name, frame in trace.frames().items() if len(frame)}
    assert {name: len(rows) for name, rows in theirs.items()} == {name: len(frame) for name, frame in frames.items()}
    for name, frame in frames.items():
        rows = sorted(theirs[name])
        times = frame["timestamp"].astype("int64").tolist()
        # The wall clock's offset is whole ns here and whole cycles there.
        assert max(abs(a - b) for a, (b, _) in zip(times, rows, strict=True)) <= 2, name
        members = [member.name for member in trace._plan.format.event(name).payload.subcons if member.name]
        columns = [f"event_{name}" if f"event_{name}" in frame else name for name in members]
        ours = [tuple(map(str, row)) for row in frame[columns].itertuples(index=False)] if columns else []
        values = [tuple(value.strip('"') for value in re.findall(r' = ("[^"]*"|[^ ,]+)', text)) for _, text in rows]
        # babeltrace2 2.0 prints for an empty text the one that its memory held before.
        told = Counter(row for row in ours if "" not in row)
        assert not told - Counter(values), name
        assert len(values) == len(frame)


def test_a_name_that_a_marker_records_itself_keeps_its_column(tmp_path: Path) -> None:
    markers = {("kernel", "irq_entry"): "irq_id #2u%u name %s"}
    records = [("kernel", 0, 1000 + i, "irq_entry", {"irq_id": i, "name": f"n{i}"}) for i in range(3)]
    trace = ltt_relay.open(LttngWriter(LttngTrace(markers, records, 5)).write(tmp_path / "t"))
    assert trace["irq_handler_entry"]["name"].tolist() == ["n0", "n1", "n2"]
