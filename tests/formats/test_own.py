# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay.formats import oracle, registry
from ltt_relay.formats.base import Event, Format, HeaderFraming, PacketClock, Stream
from ltt_relay.formats.fields import BIG, field, integer, struct, u8, u32, u64

PAGE = Path(__file__).resolve().parents[2] / "docs/formats/own.md"


@pytest.fixture
def definition(tmp_path: Path) -> Path:
    """The file of the how-to."""
    text = re.search(r"```python\n(# sensor\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert text
    path = tmp_path / "sensor.py"
    path.write_text(text[1])
    return path


def _packet(module: Any, begin: int, records: list[tuple[int, int, bytes]], lost: int, size: int = 256) -> bytes:
    body = b""
    for time, id_, payload in records:
        body += module.HEADER.build({"time": time & 0xFFFFFFFF, "id": id_, "length": len(payload)}) + payload
    used = module.PACKET.sizeof() + len(body)
    header = {"magic": 0x53454E53, "size": size, "used": used, "lost": lost, "begin": begin}
    return bytes(module.PACKET.build(header) + body).ljust(size, b"\xee")


@pytest.fixture
def sensor(definition: Path, tmp_path: Path) -> Path:
    """Two CPUs, three packets, a wrap of the 32 bits of time, losses."""
    module = sys.modules.setdefault("own_sensor", type(sys)("own_sensor"))
    exec(definition.read_text(), module.__dict__)
    wrap = (5 << 32) - 20
    sample = module.SAMPLE.build
    packets = {
        0: [(wrap, [(wrap, 1, sample({"channel": "left", "value": 7})),
                    (wrap + 30, 1, sample({"channel": "right", "value": 9})),
                    (wrap + 31, 2, module.NOTE.build({"text": "two"}))], 0),
            (wrap + 100, [(wrap + 100, 1, sample({"channel": 3, "value": 65535}))], 4)],
        1: [(wrap + 10, [(wrap + 10, 2, module.NOTE.build({"text": "twelve bytes"}))], 0)],
    }  # fmt: skip
    directory = tmp_path / "capture"
    directory.mkdir()
    for cpu, found in packets.items():
        (directory / f"sensor{cpu}").write_bytes(b"".join(_packet(module, *packet) for packet in found))
    return directory


def test_the_how_tos_format_gives_frames(sensor: Path, definition: Path) -> None:
    trace = ltt_relay.open(sensor, format=definition, strict=True)
    frames = trace.frames(time="ns")
    base = ((5 << 32) - 20) * 1000
    assert frames["sample"]["timestamp"].tolist() == [base, base + 30_000, base + 100_000]
    assert frames["sample"]["channel"].tolist()[:2] == ["left", "right"]
    assert frames["sample"]["channel"].isna().tolist() == [False, False, True]
    assert frames["sample"]["value"].tolist() == [7, 9, 65535]
    assert frames["note"]["text"].tolist() == ["twelve bytes", "two"]
    assert frames["note"]["cpu"].tolist() == [1, 0]
    assert frames["sample"]["tid"].isna().all()
    assert trace.info["lost"] == trace.gaps["count"].sum() == 4
    parsed = [found for found in oracle.records(sensor, registry.named(str(definition))) if found.event == "sample"]
    assert [found.fields["value"] for found in parsed] == [7, 9, 65535]


def test_the_commands_take_it(sensor: Path, definition: Path, tmp_path: Path) -> None:
    def run(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ltt_relay.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run("convert", "--format", definition, sensor, "-o", tmp_path / "csv")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "csv/sample.csv").read_text().splitlines()
    assert len(rows) == 4
    assert run("info", "--format", definition, "--json", sensor).returncode == 0
    assert "value=65535" in run("dump", "--format", definition, sensor).stdout
    unknown = run("info", "--format", "sensr", sensor)
    assert unknown.returncode == 1
    assert "no format 'sensr'" in unknown.stderr


def test_damage_is_told(sensor: Path, definition: Path) -> None:
    file = sensor / "sensor0"
    data = bytearray(file.read_bytes())
    data[256] ^= 0xFF
    data[24 + 5] = 200
    file.write_bytes(data)
    problems = ltt_relay.open(sensor, format=definition).problems
    assert set(problems["code"]) == {"packet_header", "record_length"}
    assert ltt_relay.open(sensor / "sensor1", format=definition)["note"]["text"].tolist() == ["twelve bytes"]


def test_records_without_packets_ids_or_lengths(tmp_path: Path) -> None:
    payload = struct(
        field("value", integer(16, signed=True, order=BIG), ""), field("time", integer(64, False, BIG), "")
    )
    format_ = Format(
        "plain", (1, 0), None, HeaderFraming(struct(), skip=0), PacketClock(64, hz=1000), (Stream(0, "plain", ""),),
        (Event(0, "value", "plain", "custom", "", payload, time="time"),),
    )  # fmt: skip
    rows = [{"value": i % 1000 - 500, "time": 10 * i} for i in range(300_000)]
    (tmp_path / "log.3").write_bytes(b"".join(payload.build(row) for row in rows))
    trace = ltt_relay.open(tmp_path / "log.3", format=format_, strict=True)
    assert trace.info["packets"] > 1
    frame = trace.frames(time="ns")["value"]
    assert frame["value"].tolist() == [row["value"] for row in rows]
    assert frame["timestamp"].tolist() == [10_000_000 * i for i in range(300_000)]
    assert set(frame["cpu"]) == {3}


def test_damage_of_records_that_have_a_magic_number_and_a_time(tmp_path: Path) -> None:
    """Times that step back were put in order, but not told."""
    header = struct(field("magic", u8, ""), field("time", u64, ""))
    format_ = Format(
        "marked", (1, 0), None, HeaderFraming(header, time="time", magic=("magic", 0xF0, 0xA0)), PacketClock(64),
        (Stream(0, "marked", ""),), (Event(0, "value", "marked", "custom", "", struct(field("value", u8, ""))),),
    )  # fmt: skip

    def record(time: int, value: int, magic: int = 0xA5) -> bytes:
        return bytes(header.build({"magic": magic, "time": time})) + bytes([value])

    def read(*records: bytes) -> tuple[list[int], list[tuple[str, int]]]:
        file = tmp_path / "file"
        file.write_bytes(b"".join(records))
        trace = ltt_relay.open(file, format=format_)
        assert trace.frames(time="ns")["value"]["timestamp"].is_monotonic_increasing
        assert trace.merged()["timestamp"].is_monotonic_increasing
        problems = trace.problems
        return trace["value"]["value"].tolist(), list(zip(problems["code"], problems["offset"], strict=True))

    good = [record(1000 * i, i) for i in range(4)]
    assert read(*good) == ([0, 1, 2, 3], [])
    assert read(*good[:2], record(2000, 2, magic=0x15), good[3]) == ([0, 1], [("record_magic", 20)])
    assert read(good[0], record(1 << 63, 9), *good[1:]) == ([0, 1, 2, 3], [("record_time", 19)])
    assert read(good[1], good[3], good[2], good[0]) == ([0, 1, 2, 3], [("time_backward", 29)])


def test_files_that_are_no_format_are_refused_by_name(tmp_path: Path, sensor: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "empty.py").write_text("")
    for name, message in (("broken.py", "ZeroDivisionError"), ("empty.py", "defines no FORMAT"), ("no.py", "no such")):
        with pytest.raises(ltt_relay.TraceError, match=message):
            ltt_relay.open(sensor, format=tmp_path / name)


def test_packages_bring_formats(sensor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    payload = struct(field("length", u8, ""), field("value", u32, ""))
    found = Format(
        "brought", (1, 0), None, HeaderFraming(struct(), skip=0), PacketClock(64), (Stream(0, "x", ""),),
        (Event(0, "thing", "x", "custom", "", payload),),
    )  # fmt: skip
    module = type(sys)("brought_formats")
    module.FORMAT = found  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "brought_formats", module)
    point = metadata.EntryPoint("brought", "brought_formats:FORMAT", registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "_installed", lambda places: (point,))
    assert registry.named("brought") is found
    assert ltt_relay.open(sensor / "sensor1", format="brought").info["format"] == "brought 1.0"
