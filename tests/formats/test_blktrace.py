# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltt_relay
from ltt_relay.formats import blktrace, oracle
from ltt_relay.formats.fields import BIG, LITTLE
from ltt_relay.testing.blktrace import write_blktrace
from tests.formats.blkparse import blkparse_rows, our_rows

SAMPLES = Path(os.environ.get("LTT_RELAY_SAMPLES", Path(__file__).resolve().parents[3] / "shared" / "samples"))
needs_samples = pytest.mark.skipif(not (SAMPLES / "blktrace").is_dir(), reason=f"no sample traces at {SAMPLES}")


@needs_samples
def test_the_samples_have_the_records_of_their_manifest() -> None:
    trace = ltt_relay.open(SAMPLES / "blktrace/takeoverjp/sample.blktrace.0", strict=True)
    counts = dict(zip(trace.catalog["event"], trace.catalog["count"], strict=True))
    actions = ("queue", "getrq", "rq_issue", "rq_complete", "plug", "unplug", "bio_remap")
    assert counts.pop("blk_process") == 2
    assert set(counts.values()) == {963}
    assert len(counts) == len(actions)
    times = trace.merged(time="ns")["timestamp"]
    assert (times.iloc[0], times.iloc[-1]) == (175669815001344, 175670160543197)
    assert set(trace["block_rq_issue"]["dev"]) == {259 << 20}
    assert set(trace["block_bio_remap"]["cpu"]) == {1}

    trace = ltt_relay.open(SAMPLES / "blktrace/isotopp", strict=True)
    per_cpu = trace.merged().groupby("cpu").size()
    assert per_cpu.tolist() == [107, 164, 93, 1548, 212, 162, 149, 154]
    assert dict(trace["block_rq_complete"].groupby("cpu").size()) == {3: 1206}
    assert set(trace["block_rq_issue"]["dev"]) == {8 << 20 | 52}
    (note,) = trace["blk_timestamp"].to_dict("records")
    assert note["cpu"] == 6
    assert note["timestamp"].value == note["seconds"] * 10**9 + note["nanoseconds"]


@needs_samples
@pytest.mark.parametrize(("name", "cpus"), [("takeoverjp/sample", (1,)), ("isotopp/keks", range(8))])
def test_every_field_equals_blkparses(name: str, cpus: list[int], tmp_path: Path) -> None:
    if shutil.which("blkparse") is None:
        pytest.skip("blkparse is not installed (Debian package blktrace)")
    source = SAMPLES / "blktrace" / name
    for cpu in range(max(cpus) + 1):
        # blkparse insists that a file's number is the CPU of its records; the first sample was renamed by somebody.
        original = Path(f"{source}.blktrace.{cpu if len(cpus) > 1 else 0}")
        (tmp_path / f"t.blktrace.{cpu}").write_bytes(original.read_bytes() if cpu in cpus else b"")
    theirs = blkparse_rows(tmp_path, "t")
    ours = our_rows(ltt_relay.open(tmp_path, strict=True))
    missing, invented = theirs - ours, ours - theirs
    assert len(ours) > 2000
    assert not missing
    assert not invented


RECORDS: list[dict[str, Any]] = [
    {"event": "blk_process", "pid": 7, "time": 5, "name": "writer"},
    {"event": "block_bio_queue", "pid": 7, "time": 10, "sector": 1 << 40, "bytes": 4096, "dev": 8 << 20 | 1,
     "categories": blktrace.CATEGORIES["write"] | blktrace.CATEGORIES["sync"], "sequence": 1},
    {"event": "block_bio_remap", "pid": 7, "time": 11, "to_dev": 8 << 20, "from_dev": 8 << 20 | 1,
     "from_sector": 77, "cpu": 1},
    {"event": "block_unplug", "pid": 7, "time": 12, "depth": 3},
    {"event": "block_split", "pid": 7, "time": 12, "split_sector": 99, "cpu": 1},
    {"event": "block_rq_complete", "pid": 0, "time": 20, "sector": 1 << 40, "bytes": 4096, "error": 5, "cpu": 1},
]  # fmt: skip


@pytest.mark.parametrize("order", [LITTLE, BIG])
def test_a_cgroups_id_does_not_shift_what_is_behind_it(order: str, tmp_path: Path) -> None:
    cgroup = blktrace.CATEGORIES["cgroup"]
    records = [
        {"event": "block_bio_remap", "time": 1, "to_dev": 1, "from_dev": 2, "from_sector": 77},
        {"event": "block_bio_remap", "time": 2, "to_dev": 3, "from_dev": 4, "from_sector": 78, "categories": cgroup,
         "cgroup": 1 << 40},
        {"event": "blk_message", "time": 3, "text": "hello", "categories": cgroup, "cgroup": 5},
        {"event": "blk_message", "time": 4, "text": "again"},
    ]  # fmt: skip
    frames = ltt_relay.open(write_blktrace(tmp_path / "t", records, 7, order), strict=True).frames()
    remaps, messages = frames["block_bio_remap"], frames["blk_message"]
    assert remaps["from_sector"].tolist() == [77, 78]
    assert str(remaps["cgroup"].dtype) == "UInt64"
    assert remaps["cgroup"].isna().tolist() == [True, False]
    assert remaps["cgroup"][1] == 1 << 40
    assert messages["text"].tolist() == ["hello", "again"]


@pytest.mark.parametrize("order", [LITTLE, BIG])
@pytest.mark.parametrize("version", [7, 8])
def test_both_versions_and_byte_orders_are_read(version: int, order: str, tmp_path: Path) -> None:
    file = write_blktrace(tmp_path / "t", RECORDS, version, order)
    trace = ltt_relay.open(file, strict=True)
    assert trace.info["format"] == f"blktrace {version}.0"
    frames = trace.frames(time="ns")
    assert {name: len(frame) for name, frame in frames.items()} == dict.fromkeys([r["event"] for r in RECORDS], 1)
    for values in RECORDS:
        (row,) = frames[values["event"]].to_dict("records")
        for field, value in values.items():
            if field in row and field not in {"cpu", "name"}:
                assert row[field] == value, field
        assert row["cpu"] == values.get("cpu", 0)
        assert row["timestamp"] == values["time"]
        assert row["tid"] == values["pid"]
    assert frames["block_bio_queue"]["comm"].tolist() == ["writer"]
    assert frames["block_bio_queue"]["action"][0] & blktrace.CATEGORIES["write"]


def test_a_file_of_several_pieces_has_every_record_once(tmp_path: Path) -> None:
    many = [
        {"event": "block_rq_issue", "pid": i % 9, "time": 100 * i, "sector": i, "bytes": 512, "sequence": i}
        for i in range(60_000)
    ]
    trace = ltt_relay.open(write_blktrace(tmp_path / "t", many), strict=True)
    assert trace.info["packets"] == 2
    frame = trace["block_rq_issue"]
    assert frame["sector"].tolist() == list(range(60_000))
    some = trace.frames(["block_rq_issue"], since="+1ms", until="+2ms")["block_rq_issue"]
    assert some["sector"].tolist() == list(range(10_000, 20_000))


def test_two_traces_in_one_directory_are_not_mixed(tmp_path: Path) -> None:
    write_blktrace(tmp_path / "a", RECORDS)
    write_blktrace(tmp_path / "b", RECORDS[:2])
    with pytest.raises(ltt_relay.TraceError, match=r"several traces: a\.blktrace, b\.blktrace"):
        ltt_relay.open(tmp_path)
    assert len(ltt_relay.open(tmp_path / "b.blktrace.0").merged()) == 2


@pytest.mark.parametrize("seed", range(25))
def test_damage_costs_rows_of_problems_and_nothing_else(seed: int, tmp_path: Path) -> None:
    many = [{**RECORDS[i % 6], "time": 10 * i} for i in range(600)]
    file = write_blktrace(tmp_path / "t", many)
    generator = np.random.default_rng(seed)
    for path in sorted(tmp_path.iterdir()):
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        places = generator.integers(4, data.size, generator.integers(1, 8))
        data[places] = generator.integers(0, 256, places.size)
        path.write_bytes(data.tobytes()[: data.size - int(generator.choice([0, 0, data.size // 3 + 5]))])
    trace = ltt_relay.open(file)
    counted = {name: len(frame) for name, frame in trace.frames().items()}
    expected: dict[str, int] = {}
    for parsed in oracle.records(file, blktrace):
        if parsed.event not in {"packet", "damage", "unknown"} and (parsed.time or 0) < 1 << 61:
            expected[parsed.event] = expected.get(parsed.event, 0) + 1
    assert counted == expected
    if sum(counted.values()) < len(many):
        assert not trace.problems.empty
