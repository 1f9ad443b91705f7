# SPDX-License-Identifier: GPL-2.0-or-later
"""Every field of every kind of event, with values of every size, as Babeltrace's library reads them."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.formats import ctf
from ltt_relay.formats.layout import Blob, Chars, CString, Kind, Repeat, Scalar, members
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, MAGIC, PACKET, RECORD

_UUID = UUID(int=0x1234, version=4)
_WALL = 1_795_000_000_000_000_000
_EACH = 8
# bt2 is Debian's, for Debian's Python only.
_PYTHON = Path("/usr/bin/python3")
_READ = """
import bt2, json, sys

def plain(value):
    if isinstance(value, bt2._StringFieldConst):
        return str(value)
    if isinstance(value, bt2._ArrayFieldConst):
        return [plain(item) for item in value]
    return int(value)

for message in bt2.TraceCollectionMessageIterator(sys.argv[1]):
    if type(message) is bt2._EventMessageConst:
        event = message.event
        fields = {name: plain(value) for name, value in event.payload_field.items()}
        time = message.default_clock_snapshot.ns_from_origin
        print(json.dumps([event.name, time, int(event.packet.context_field["cpu_id"]), fields]))
"""


def _value(kind: Kind, sofar: dict[str, Any], random: np.random.Generator) -> Any:
    match kind:
        case Scalar(size=size, signed=signed, names=names, flags=flags):
            if flags is not None:
                return int(np.bitwise_or.reduce(random.choice([0, *flags], 3).astype(np.int64)))
            if names is not None and random.random() < 0.8:
                return int(random.choice(list(names)))
            bits = 8 * int(random.integers(1, size + 1))  # short values and long ones
            value = int.from_bytes(random.bytes(size), "little") & (1 << bits) - 1
            return value - (1 << 8 * size) if signed and value >> 8 * size - 1 else value
        case Chars(size) | Blob(size):
            if isinstance(kind, Blob):
                return random.bytes(size)
            # Text is never empty: Babeltrace 2.0 then shows what the field had before.
            return "".join(random.choice(list("abcé"), int(random.integers(1, size // 2 + 1))))
        case CString():
            return "".join(random.choice(list('xyz "ü,'), int(random.integers(1, 40))))
        case Repeat(str() as count, item):
            return [_value(item, sofar, random) for _ in range(sofar[count])]
    raise AssertionError(kind)


def _records(cpu: int, stream: int, random: np.random.Generator) -> tuple[bytes, int, int]:
    """Records of all kinds of a stream, mixed; returns them, how many they are, and the end of the last."""
    events = [event for event in FORMAT.events if event.stream == stream] * _EACH
    data, end = b"", 0
    for number, place in enumerate(random.permutation(len(events))):
        event = events[place]
        values: dict[str, Any] = {}
        for member in members(event.payload, event.name):
            values[member.name] = int(random.integers(0, 6)) if member.name == "nargs" else _value(
                member.kind, values, random
            )  # fmt: skip
        body = event.payload.build(values)
        time = 1000 + 10 * number + 3 * cpu
        data += RECORD.build({"timestamp": time, "id": event.id, "length": RECORD.sizeof() + len(body)}) + body
        end = len(data)
        data = data.ljust((end + 7) & ~7, b"\0")
    return data, len(events), end


def _write(path: Path) -> Path:
    path.mkdir()
    (path / "metadata").write_text(ctf.metadata(FORMAT, _UUID, {"domain": "kernel"}, _WALL))
    zero = dict.fromkeys((member.name for member in PACKET.subcons), 0)
    others = sorted({event.stream for event in FORMAT.events} - {0})
    for name, cpu, stream in (("events_0", 0, 0), ("events_1", 1, 0), *((f"other_{n}", 0, n) for n in others)):
        records, count, end = _records(cpu, stream, np.random.default_rng(cpu + 2 * stream))
        whole = (len(records) + HEADER_SIZE + 7) & ~7
        head = zero | {
            "uuid": _UUID.bytes, "stream_id": stream, "stream_instance_id": cpu, "cpu_id": cpu, "magic": MAGIC,
            "major": 3, "header_size": HEADER_SIZE, "content_size": 8 * (HEADER_SIZE + end), "packet_size": 8 * whole,
            "timestamp_begin": 1000, "timestamp_end": 1000 + 10 * count, "tid": -1, "tgid": -1, "wall_offset": _WALL,
            "event_ids": (1 << 64) - 1, "records": count,
        }  # fmt: skip
        (path / name).write_bytes(PACKET.build(head) + records)
    return path


def _expected(value: Any, kind: Kind) -> Any:
    if isinstance(kind, Scalar) and kind.names is not None:
        return kind.names.get(value)
    return bytes(value) if isinstance(kind, Blob) else value


def _ours(frame: pd.DataFrame, column: str) -> list[Any]:
    values = [list(v) if isinstance(v, np.ndarray) else v for v in frame[column].tolist()]
    return [None if not isinstance(v, list) and pd.isna(v) else v for v in values]


def test_every_field_of_every_kind_equals_what_babeltrace_reads(tmp_path: Path) -> None:
    if shutil.which("babeltrace2") is None or subprocess.run([_PYTHON, "-c", "import bt2"], check=False).returncode:
        pytest.skip("bt2 is not installed")
    path = _write(tmp_path / "t")
    done = subprocess.run([_PYTHON, "-c", _READ, path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    theirs: dict[str, list[tuple[int, int, dict[str, Any]]]] = {}
    for line in done.stdout.splitlines():
        name, time, cpu, fields = json.loads(line)
        theirs.setdefault(name, []).append((time, cpu, fields))
    opened = ltt_relay.open(path)
    frames = opened.frames()
    assert opened.problems.empty
    assert set(frames) == set(theirs) == {event.name for event in FORMAT.events}
    for event in FORMAT.events:
        frame = frames[event.name]
        rows = sorted(theirs[event.name], key=lambda row: row[:2])
        assert len(rows) == _EACH * (2 if event.stream == 0 else 1)
        assert frame["timestamp"].astype("int64").tolist() == [row[0] for row in rows]
        assert frame["cpu"].tolist() == [row[1] for row in rows]
        for member in members(event.payload, event.name):
            column = f"event_{member.name}" if f"event_{member.name}" in frame else member.name
            told = [_expected(row[2][member.name], member.kind) for row in rows]
            if column == "tid":
                told = [tid if tid >= 0 else None for tid in told]  # no task has such an id: it is not known
            assert _ours(frame, column) == told, f"{event.name}.{member.name}"
