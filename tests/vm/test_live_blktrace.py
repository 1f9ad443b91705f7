# SPDX-License-Identifier: GPL-2.0-or-later
"""blktrace itself in a guest: what it recorded of known requests, read by us and by blkparse."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import ltt_relay
from ltt_relay.formats import blktrace
from ltt_relay.sandbox import Guest
from tests.formats.blkparse import blkparse_rows, our_rows
from tests.vm.guest import ROOT, patience, run_again

pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(shutil.which("blkparse") is None, reason="no blktrace (Debian package blktrace)"),
]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("blktrace")
    guest = Guest(kernel=os.environ.get("LTT_RELAY_KERNEL", "6.12"), cpus=2, rw=[out], modules=())
    done = run_again(guest, ["sh", str(ROOT / "tests/vm/blktrace.sh"), str(out)], out, patience(200))
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return out


@pytest.mark.parametrize("device", ["loop6", "loop7"])
def test_every_field_of_every_record_equals_blkparses(device: str, left: Path) -> None:
    trace = ltt_relay.open(left / f"plain/{device}.blktrace.0", strict=True)
    ours, theirs = our_rows(trace), blkparse_rows(left / "plain", device)
    assert len(ours) >= 25
    assert ours == theirs


def test_the_requests_are_those_that_were_made(left: Path) -> None:
    frames = ltt_relay.open(left / "plain/loop6.blktrace.0", strict=True).frames()
    for event in ("block_bio_queue", "block_rq_issue", "block_rq_complete"):
        frame = frames[event]
        written = frame[(frame["action"] & blktrace.CATEGORIES["write"] > 0) & (frame["bytes"] > 0)]
        assert written["sector"].tolist() == [7 * 8 * i for i in range(1, 9)], event
        assert set(written["bytes"]) == {4096}
        assert set(written["dev"]) == {7 << 20 | 6}
    assert set(frames["block_bio_queue"]["comm"]) >= {"dd"}
    assert "half of it" in frames["blk_message"]["text"].str.strip().tolist()
    other = ltt_relay.open(left / "plain/loop7.blktrace.0", strict=True)
    queued = other["block_bio_queue"]
    assert queued[queued["action"] & blktrace.CATEGORIES["read"] > 0]["bytes"].sum() >= 4 << 16
    assert queued[queued["action"] & blktrace.CATEGORIES["write"] > 0]["bytes"].sum() == 8 << 16


def test_the_wall_clock_is_that_of_the_capture(left: Path) -> None:
    for device in ("loop6", "loop7"):
        file = left / f"plain/{device}.blktrace.0"
        info = ltt_relay.open(file).info
        assert abs(info["end"] / 1e9 - file.stat().st_mtime) < 600


def test_records_name_their_control_group(left: Path) -> None:
    frames = ltt_relay.open(left / "groups/loop6.blktrace.0", strict=True).frames()
    group = int((left / "group").read_text())
    queued = frames["block_bio_queue"]
    assert queued[queued["comm"] == "dd"]["cgroup"].tolist() == [group] * 5
    assert queued["sector"].tolist() == [8 * i for i in range(5)]
    # blkparse calls those records "Bad fs action", and prints the others.
    trace = ltt_relay.open(left / "groups/loop6.blktrace.0", strict=True)
    assert our_rows(trace) > blkparse_rows(left / "groups", "loop6")
    assert "from a group" in frames["blk_message"]["text"].str.strip().tolist()


def test_two_devices_in_one_directory_are_two_traces(left: Path) -> None:
    with pytest.raises(ltt_relay.TraceError, match=r"several traces: loop6\.blktrace, loop7\.blktrace"):
        ltt_relay.open(left / "plain")
