# SPDX-License-Identifier: GPL-2.0-or-later
"""Many traces, one in ten of them damaged, in one run that is killed and resumed.

LTT_RELAY_MANY says how many traces there are: 1000 takes minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ltt_relay
from ltt_relay.export.convert import Options, convert_trace
from ltt_relay.export.files import UNFINISHED
from ltt_relay.export.manifest import read
from ltt_relay.formats.ltt3 import HEADER_SIZE
from ltt_relay.testing import write_trace

MANY = int(os.environ.get("LTT_RELAY_MANY", "120"))
PACKET = 8192


def _patch(file: str, at: int, data: bytes) -> Callable[[Path], None]:
    def damage(trace: Path) -> None:
        with (trace / file).open("r+b") as stream:
            stream.seek(at)
            stream.write(data)

    return damage


def _cut(file: str, size: int) -> Callable[[Path], None]:
    return lambda trace: os.truncate(trace / file, size)


def _replace(file: str, data: bytes) -> Callable[[Path], None]:
    def damage(trace: Path) -> None:
        (trace / file).write_bytes(data)

    return damage


def _without_middle(trace: Path) -> None:
    """A packet is missing, and no counter tells of it."""
    whole = (trace / "events_0").read_bytes()
    first = int.from_bytes(whole[40:48], "little") // 8
    second = first + int.from_bytes(whole[first + 40 : first + 48], "little") // 8
    (trace / "events_0").write_bytes(whole[:first] + whole[second:])


def _only_garbage(trace: Path) -> None:
    (trace / "events_0").write_bytes(b"not a trace" * 100)
    (trace / "state_0").unlink()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut in a record": _cut("events_0", PACKET + 1001),
    "cut in a header": _cut("events_0", HEADER_SIZE - 5),
    "magic": _patch("events_0", 24, b"\xff\xff\xff\xff"),
    "uuid": _patch("events_0", 0, bytes(16)),
    "size of a packet": _patch("events_0", 40, b"\xff" * 8),
    "length of a record": _patch("events_0", HEADER_SIZE + 6, b"\x01\x00"),
    "id of a record": _patch("events_0", HEADER_SIZE + 4, b"\xfe\xff"),
    "a packet missing": _without_middle,
    "no metadata": lambda trace: (trace / "metadata").unlink(),
    "a foreign file": _replace("events_1", b"\x00\x01garbage" * 500),
    "state is garbage": _replace("state_0", os.urandom(5000)),
    "nothing but garbage": _only_garbage,
}


def _manifest_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.slow
def test_every_readable_record_once_and_every_damage_told(tmp_path: Path) -> None:
    root, output = tmp_path / "in", tmp_path / "out"
    damaged: dict[Path, str] = {}
    for number in range(MANY):
        trace = write_trace(root / f"{number // 50}" / f"t{number}", 1200, cpus=1, seed=number, packet_size=PACKET)
        if number % 10 == 7:
            kind = list(DAMAGES)[number // 10 % len(DAMAGES)]
            DAMAGES[kind](trace)
            damaged[trace] = kind

    command = [sys.executable, "-m", "ltt_relay.cli", "convert", str(root), "-o", str(output), "-j", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while _manifest_lines(output / "manifest.jsonl") < MANY // 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = _manifest_lines(output / "manifest.jsonl")
    assert MANY // 3 <= before < MANY

    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert resumed.returncode == (1 if "nothing but garbage" in damaged.values() else 0), resumed.stderr
    rows = {row["trace"]: row for row in read(output / "manifest.jsonl")[1].values()}
    assert len(rows) == MANY
    assert not list(output.rglob(f"*{UNFINISHED}"))
    assert _manifest_lines(output / "manifest.jsonl") - before < MANY  # what was done is not done again

    for path, row in rows.items():
        kind = damaged.get(Path(path), "")
        if not kind:
            assert (row["status"], row["records"], row["problems"]) == ("done", 1412, {})
        elif kind == "nothing but garbage":
            assert (row["status"], "no stream files" in row["error"]) == ("failed", True)
            continue
        else:
            assert row["status"] == "done"
            assert row["problems"], kind
        opened = ltt_relay.open(path)
        assert row["records"] == int(opened.catalog["count"].sum())
        assert sum(row["problems"].values()) == len(opened.problems)
        for name, entry in row["files"].items():
            written = Path(row["output"], name).read_bytes()
            assert (len(written), written.count(b"\n")) == (entry["bytes"], entry["rows"] + 1)
    for trace in [*damaged][:: max(1, len(damaged) // 12)]:
        row = rows[str(trace)]
        alone = convert_trace(trace, tmp_path / "alone", Options())
        assert (alone.status, alone.files) == (row["status"], row["files"])  # the sums are those of a run of its own
        shutil.rmtree(tmp_path / "alone", ignore_errors=True)
    assert json.loads((output / "manifest.jsonl").read_text().splitlines()[0])["options"]["to"] == "csv"
