# SPDX-License-Identifier: GPL-2.0-or-later
"""What a conversion leaves is whole and true, or told: what went wrong meanwhile, and who else is there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import ltt_relay
from ltt_relay.export import convert as module
from ltt_relay.export import parquet
from ltt_relay.export.batch import convert
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.export.files import UNFINISHED
from ltt_relay.export.manifest import ConvertError, Manifest
from ltt_relay.formats.ltt3 import HEADER_SIZE, PACKET
from ltt_relay.testing import write_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 20_000, cpus=2, packet_size=16384, lost_every=2)


@pytest.mark.parametrize("to", ["csv", "parquet", "ctf", "perfetto"])
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_is_removed_meanwhile_is_told(
    to: str, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It began anew in the middle, got its name, and was in the manifest with bytes it did not have."""
    monkeypatch.setattr(module, "WINDOW", 400_000)
    monkeypatch.setattr(parquet, "_GROUP", 100_000)

    def remove(records: int) -> None:
        for file in tmp_path.rglob(f"*{UNFINISHED}"):
            file.unlink()

    result = convert_trace(trace, tmp_path, Options(to), remove)
    assert (result.status, "something else changed or removed it" in result.error) == ("failed", True)
    # Parquet's writers wrote once more when they were deleted.
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_directory_called_like_an_unfinished_file_is_left_alone(trace: Path, tmp_path: Path) -> None:
    """It was a traceback, and the end of all other traces' conversion."""
    (tmp_path / f"mine{UNFINISHED}").mkdir()
    assert convert_trace(trace, tmp_path, Options()).status == "done"
    (tmp_path / f"gaps.csv{UNFINISHED}").mkdir()
    result = convert_trace(trace, tmp_path, Options())
    assert (result.status, f"gaps.csv{UNFINISHED}" in result.error) == ("failed", True)


def _is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_the_processes_of_a_killed_conversion_end(tmp_path: Path) -> None:
    """They waited for more to do for ever, and what they had in hand they wrote among the files of --resume."""
    for number in range(2):
        write_trace(tmp_path / "in" / f"t{number}", 1_500_000, cpus=2, seed=number)
    command = [sys.executable, "-m", "ltt_relay.cli", "convert", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    process = subprocess.Popen([*command, "-j", "2"], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not list(tmp_path.rglob(f"*{UNFINISHED}")):
            assert process.poll() is None
            time.sleep(0.02)
        process.kill()
        process.wait()
        deadline = time.monotonic() + 60
        while _is_alive(process.pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not _is_alive(process.pid)
    finally:
        if _is_alive(process.pid):
            os.killpg(process.pid, signal.SIGKILL)


def test_merged_parquet_of_a_trace_without_names(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than one window it failed: ArrowNotImplementedError, unification of null dictionaries."""
    monkeypatch.setattr(module, "WINDOW", 400_000)
    path = write_trace(tmp_path / "t", 10_000, cpus=2, packet_size=16384)
    (path / "state_0").unlink()
    result = convert_trace(path, tmp_path / "out", Options("parquet", merge=True))
    assert (result.status, result.error, result.records) == ("done", "", 10_000)
    schema = pyarrow.parquet.read_schema(tmp_path / "out/merged.parquet")
    assert schema.field("comm").type.value_type == pa.string()
    assert pyarrow.parquet.read_schema(tmp_path / "out/gaps.parquet").field("reason").type.value_type == pa.string()


def test_rows_that_a_full_disk_cut_off_are_told(trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for its row group was written without a look at how much of it was."""
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(parquet, "_HELD", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        result = convert_trace(trace, tmp_path, Options("parquet", events=("sched_switch",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (result.status, "File too large" in result.error) == ("failed", True)


@pytest.mark.parametrize("to", ["csv", "ctf"])
def test_what_was_lost_at_another_time_is_not_told_of_a_part(to: str, trace: Path, tmp_path: Path) -> None:
    """All of the trace's losses were, and --fail-on lost failed for them."""
    gaps = ltt_relay.open(trace).gaps
    first, last = gaps["begin"].min(), gaps["end"].max()
    part = convert_trace(trace, tmp_path / "before", Options(to, until=str(first.value)))
    assert (part.status, part.lost) == ("done", {})
    assert part.records > 0
    assert pd.read_csv(tmp_path / "before/gaps.csv").empty
    middle = (first.value + last.value) // 2
    part = convert_trace(trace, tmp_path / "after", Options(to, since=str(middle)))
    there = gaps[gaps["end"] >= pd.Timestamp(middle, tz="UTC")]
    assert part.lost == {"full": there["count"].sum()}
    assert 0 < part.lost["full"] < gaps["count"].sum()
    assert len(pd.read_csv(tmp_path / "after/gaps.csv")) == len(there)


def test_what_a_flight_recorder_has_overwritten_is_no_loss(tmp_path: Path) -> None:
    """The command `info` said that nothing was lost, and `convert` named a number."""
    path = write_trace(tmp_path / "t", 1000, cpus=1, packet_size=16384)
    data = bytearray((path / "events_0").read_bytes())
    at = 0
    while at < len(data):
        header = PACKET.parse(bytes(data[at : at + HEADER_SIZE]))
        data[at : at + HEADER_SIZE] = PACKET.build({**header, "overwritten": 77})
        at += header["packet_size"] // 8
    (path / "events_0").write_bytes(data)
    opened = ltt_relay.open(path)
    assert (opened.info["lost"], opened.gaps["count"].tolist()) == (0, [77])
    assert convert_trace(path, tmp_path / "csv", Options()).lost == {}
    assert pd.read_csv(tmp_path / "csv/gaps.csv")["reason"].tolist() == ["overwritten"]


@pytest.mark.parametrize("text", ['{"mine": 1}\n', '{"mine": 1}', "mine\n", "\n"])
def test_a_file_of_the_users_called_like_the_manifest_is_kept(text: str, trace: Path, tmp_path: Path) -> None:
    """If it had one line, it was emptied."""
    (file := tmp_path / "manifest.jsonl").write_text(text)
    for resume in (False, True):
        with pytest.raises(ConvertError, match="a manifest expected: choose another directory"):
            list(convert([trace], tmp_path, Options(), resume=resume))
    assert file.read_text() == text


def test_a_line_of_the_manifest_that_is_no_object_is_told(trace: Path, tmp_path: Path) -> None:
    """It was an AttributeError."""
    list(convert([trace], tmp_path, Options()))
    with (tmp_path / "manifest.jsonl").open("a") as manifest:
        manifest.write("[1]\n")
    with pytest.raises(ConvertError, match=r"line 3: b'\[1\]' found"):
        list(convert([trace], tmp_path, Options(), resume=True))


def test_two_conversions_at_once_do_not_share_a_directory(trace: Path, tmp_path: Path) -> None:
    """The second one emptied the first one's manifest, and wrote into its files."""
    if not hasattr(os, "lockf"):
        pytest.skip("no file locks here")
    script = """if True:
        import sys
        from pathlib import Path
        from ltt_relay.export.manifest import Manifest
        with Manifest(Path(sys.argv[1]), {}, False):
            print("there", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "there\n"
        before = (tmp_path / "manifest.jsonl").read_bytes()
        for resume in (False, True):
            with pytest.raises(ConvertError, match="being written by another conversion"):
                Manifest(tmp_path, {}, resume)
        assert (tmp_path / "manifest.jsonl").read_bytes() == before
        other.communicate("")
    (result,) = convert([trace], tmp_path, Options())
    assert result.status == "done"
    assert len([json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]) == 2
