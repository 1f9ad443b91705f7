# SPDX-License-Identifier: GPL-2.0-or-later
"""Logs beside a session's events: streams of their own kinds in one directory, with one UUID."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay.decode import metadata
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, MAGIC, PACKET, RECORD
from ltt_relay.testing import write_trace

BEGIN = 1_000_000_500


def packet(uuid: bytes, stream: int, cpu: int, event: str, payloads: list[dict[str, Any]]) -> bytes:
    """Build a packet with a record every 10 ns."""
    kind = FORMAT.event(event)
    records = b""
    content = 0
    for i, payload in enumerate(payloads):
        body = kind.payload.build(payload)
        head = RECORD.build({"timestamp": BEGIN + 10 * i, "id": kind.id, "length": RECORD.sizeof() + len(body)})
        content = HEADER_SIZE + len(records) + len(head + body)
        records += (head + body).ljust((len(head) + len(body) + 7) & ~7, b"\0")
    fields: dict[str, Any] = {member.name: 0 for member in PACKET.subcons}
    fields |= {
        "uuid": uuid, "stream_id": stream, "stream_instance_id": cpu, "magic": MAGIC, "major": 3,
        "header_size": HEADER_SIZE, "content_size": 8 * content, "packet_size": 8 * (HEADER_SIZE + len(records)),
        "timestamp_begin": BEGIN, "timestamp_end": BEGIN + 10 * (len(payloads) - 1), "cpu_id": cpu, "flags": {},
        "tid": -1, "tgid": -1, "event_ids": 1 << kind.id % 64, "records": len(payloads),
    }  # fmt: skip
    return bytes(PACKET.build(fields)) + records


LINES = [
    {
        "seq": 7 + i, "log_time": 5_000 * i, "tid": tid, "caller_cpu": cpu, "level": level, "facility": "kern",
        "text": text,
    }
    for i, (tid, cpu, level, text) in enumerate(
        [(1, -1, "info", "Linux version"), (-1, 3, "err", ""), (-1, -1, "debug", "two\nlines")]
    )
]  # fmt: skip
RECORDS = [
    {
        "tid": 42, "pid": 41, "uid": 1000, "event_type": 0x10, "severity": severity, "facility": "local3",
        "origin": origin, "process": "backup", "text": text, "attributes": attributes,
    }
    for severity, origin, text, attributes in [
        ("crit", "user", "disk full", '{"disk":"sda","free":0}'),
        ("notice", "kernel", "", ""),
        ("info", "kernel", "näher", '{"ok":true}'),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = write_trace(tmp_path_factory.mktemp("logs") / "t", 2_000, cpus=2, packet_size=8192)
    uuid = metadata.parse((path / "metadata").read_text()).uuid
    assert uuid is not None
    (path / "klog_0").write_bytes(packet(uuid.bytes, 2, 0, "printk", LINES))
    (path / "evlog_1").write_bytes(packet(uuid.bytes, 3, 1, "evlog", RECORDS))
    return path


def test_lines_and_records_come_as_frames_beside_the_events(directory: Path) -> None:
    trace = ltt_relay.open(directory, strict=True)
    lines, records = trace["printk"], trace["evlog"]
    assert trace.problems.empty
    assert trace.gaps.empty
    assert list(lines.columns[:4]) == list(records.columns[:4]) == ["timestamp", "cpu", "tid", "comm"]
    for column in ("seq", "log_time", "caller_cpu", "level", "facility", "text"):
        assert lines[column].tolist() == [line[column] for line in LINES]
    assert [None if tid is None else int(tid) for tid in lines["tid"].astype(object).where(lines["tid"].notna(), None)
            ] == [1, None, None]  # fmt: skip
    for column in (
        "tid",
        "pid",
        "uid",
        "event_type",
        "severity",
        "facility",
        "origin",
        "process",
        "text",
        "attributes",
    ):
        assert records[column].tolist() == [record[column] for record in RECORDS]
    assert set(records["cpu"]) == {1}
    merged = trace.merged(["printk", "evlog", "sched_switch"], time="ns")
    assert merged["event"].isin(["printk", "evlog"]).sum() == 6
    assert merged["timestamp"].is_monotonic_increasing


def test_babeltrace_reads_the_same_directory(directory: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    done = subprocess.run(["babeltrace2", directory], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    said = done.stdout
    assert said.count("printk: ") == said.count("evlog: ") == 3
    assert 'text = "Linux version"' in said
    assert '( "crit" : container = 2 )' in said
    assert len(said.splitlines()) == 2_000 + 6 + len(ltt_relay.open(directory)["state_task"]) + 11
