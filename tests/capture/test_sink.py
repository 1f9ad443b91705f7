# SPDX-License-Identifier: GPL-2.0-or-later
"""From a session's files to a directory: whole packets, whatever happens. A written trace stands for a session."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ltt_relay
from ltt_relay.capture import packets
from ltt_relay.capture.note import Note
from ltt_relay.capture.packets import PacketTracker
from ltt_relay.capture.recorder import Recorder
from ltt_relay.capture.session import CaptureError, Session
from ltt_relay.capture.sink import NOTE, DirectorySink
from ltt_relay.errors import UserError
from ltt_relay.formats.ltt3 import HEADER_SIZE, PACKET
from ltt_relay.testing import write_trace


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("written") / "trace"
    write_trace(path, events=60_000, cpus=2, seed=1)
    return path


def test_offsets_are_the_formats() -> None:
    offsets, at = {}, 0
    for field in PACKET.subcons:
        offsets[field.name] = at
        at += field.sizeof()
    assert at == packets.HEADER_SIZE
    assert offsets["packet_size"] == packets.PACKET_SIZE_OFFSET
    assert offsets["records"] == packets.RECORDS_OFFSET


@settings(deadline=None)
@given(st.lists(st.integers(0, 60).map(lambda n: 8 * n), max_size=8), st.lists(st.integers(1, 700), min_size=1))
def test_packets_are_followed_however_the_stream_is_cut(
    packet: Callable[..., bytes], payloads: list[int], cuts: list[int]
) -> None:
    stream = b"".join(map(packet, payloads))
    ends = [sum(HEADER_SIZE + p for p in payloads[:n]) for n in range(len(payloads) + 1)]
    tracker, of_file, mixed = PacketTracker(), PacketTracker(), PacketTracker()
    at = 0
    with tempfile.TemporaryFile(buffering=0) as file:
        for number, cut in enumerate(itertools.cycle(cuts)):
            n = min(cut, len(stream) - at)
            if not n:
                break
            chunk = memoryview(stream)[at : at + n]
            file.write(chunk)
            at += n
            tracker.feed(chunk)
            of_file.feed_file(file.fileno(), n)
            if number % 2:
                mixed.feed(chunk)
            else:
                mixed.feed_file(file.fileno(), n)
            for one in (tracker, of_file, mixed):
                assert one.size == at
                assert one.whole == max(end for end in ends if end <= at)
    for one in (tracker, of_file, mixed):
        assert one.packets == one.records == len(payloads)


@given(st.binary(max_size=600))
def test_bytes_that_are_no_packets_are_refused_or_waited_for(stream: bytes) -> None:
    tracker = PacketTracker()
    with contextlib.suppress(UserError):
        tracker.feed(memoryview(stream))
    assert tracker.whole <= len(stream)


def test_a_recording_is_the_sessions_bytes(trace: Path, tmp_path: Path, session_of: Callable[[Path], Session]) -> None:
    sink = DirectorySink(tmp_path / "copy")
    recorder = Recorder(session_of(trace), sink)
    recorder.start()
    assert recorder.finish() == []
    sink.close(b'{"schema": 1}\n')
    for path in trace.iterdir():
        if path.name[0] != ".":
            assert (tmp_path / "copy" / path.name).read_bytes() == path.read_bytes()
    assert json.loads((tmp_path / "copy" / NOTE).read_text()) == {"schema": 1}
    assert sink.size == sum(p.stat().st_size for p in (tmp_path / "copy").iterdir() if p.name != NOTE)
    frames = ltt_relay.open(trace).frames(columns=["cpu"])
    assert sink.records == sum(len(frame) for name, frame in frames.items() if not name.startswith("state_"))


@pytest.mark.parametrize("works", [0, 1])
def test_where_there_is_no_splice_the_recording_is_the_same(
    trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: int
) -> None:
    # works 0: the module has none; 1: the file system has none, and what is in the pipe by then must not be lost.
    calls = itertools.count()
    splice = os.splice

    def refuse(source: int, target: int, n: int) -> int:
        if next(calls) < works:
            return splice(source, target, n)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    monkeypatch.setattr(os, "splice", refuse)
    sink = DirectorySink(tmp_path / "copy")
    with (trace / "events_0").open("rb") as file:
        sink.drain("events_0", file.fileno())
    sink.close(b"{}")
    assert next(calls) == works + 1
    assert (tmp_path / "copy/events_0").read_bytes() == (trace / "events_0").read_bytes()
    assert sink.size == (trace / "events_0").stat().st_size


def test_what_a_full_disk_took_ends_with_a_whole_packet_and_the_note_says_why(trace: Path, tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the same refusal by write(2), without root.
    limit = (trace / "events_0").stat().st_size * 2 // 3
    code = f"""
import resource, signal, sys
from pathlib import Path
from ltt_relay.capture.recorder import Recorder
from ltt_relay.capture.session import Session
from ltt_relay.capture.sink import DirectorySink
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
sink = DirectorySink(Path({str(tmp_path / "full")!r}))
woken = []
session = Session("written")
session.path = Path({str(trace)!r})
recorder = Recorder(session, sink, lambda: woken.append(1))
recorder.start()
failures = recorder.finish()
sink.close(b'{{"failures": "' + failures[0].encode() + b'"}}')
print(len(woken), sink.records, *failures)
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    woken, records, *failures = done.stdout.split()
    assert int(woken) >= 1
    assert "too large" in " ".join(failures)
    tracker = PacketTracker()
    kept = (tmp_path / "full/events_0").read_bytes()
    tracker.feed(memoryview(kept))
    assert tracker.whole == len(kept) > 0
    assert (trace / "events_0").read_bytes().startswith(kept)
    assert "too large" in json.loads((tmp_path / "full" / NOTE).read_text())["failures"]
    copy = ltt_relay.open(tmp_path / "full")
    assert copy.problems.empty
    assert int(records) > 0


@contextlib.contextmanager
def _no_larger_than(size: int) -> Iterator[None]:
    """Refuse to write more into any file: as a full disk does, but without root."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_was_cut_takes_no_more_when_there_is_room_again(
    tmp_path: Path, packet: Callable[..., bytes]
) -> None:
    # The disk was full for the names of tasks, then cut streams made room: a hole of zeros came before the next names.
    sink = DirectorySink(tmp_path / "full")
    whole = memoryview(packet(1000))
    sink.append("state_0", whole)
    with _no_larger_than(1800), pytest.raises(CaptureError, match="state_0: File too large"):
        sink.append("state_0", whole)
    with pytest.raises(CaptureError, match="state_0: File too large"):
        sink.append("state_0", whole)
    sink.close(b"{}")
    assert (tmp_path / "full/state_0").read_bytes() == bytes(whole)


@pytest.mark.parametrize("room", [0, 100])
def test_a_disk_that_is_full_at_the_begin_is_told_and_nothing_is_left(room: int, tmp_path: Path) -> None:
    """An empty note was left, and the next try found the directory in use; a part of a note was taken for one."""
    with _no_larger_than(room), pytest.raises(CaptureError, match=r"File too large|No space left"):
        DirectorySink(tmp_path / "full")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("removed", ["all", "events_0"])
def test_what_was_removed_while_it_was_recorded_is_not_said_to_be_there(
    removed: str, tmp_path: Path, packet: Callable[..., bytes]
) -> None:
    """A recording into a directory that was removed ended as a success."""
    sink = DirectorySink(tmp_path / "gone")
    sink.append("events_0", memoryview(packet(80)))
    if removed == "all":
        shutil.rmtree(tmp_path / "gone")
    else:
        (tmp_path / "gone" / removed).unlink()
    sink.append("events_0", memoryview(packet(80)))
    with pytest.raises(CaptureError, match="gone: files were removed while they were recorded into"):
        sink.close(b"{}")


def test_a_file_is_not_replaced_through_a_link(tmp_path: Path) -> None:
    """In a directory of another user's, .metadata.part could be a link to any file of root's."""
    sink = DirectorySink(tmp_path / "trace")
    (tmp_path / "other").write_text("another's")
    (tmp_path / "trace/.metadata.part").symlink_to(tmp_path / "other")
    with pytest.raises(CaptureError, match="metadata: File exists"):
        sink.replace("metadata", b"text")
    assert (tmp_path / "other").read_text() == "another's"


def test_a_file_that_is_no_stream_is_told_by_name(tmp_path: Path, session_of: Callable[[Path], Session]) -> None:
    """It was `byte 0: packet_size …`, of whichever CPU."""
    (tmp_path / "session").mkdir()
    for name in ("events_0", "state_0", "metadata"):
        (tmp_path / "session" / name).write_bytes(bytes(1000) if name == "events_0" else b"")
    recorder = Recorder(session_of(tmp_path / "session"), DirectorySink(tmp_path / "copy"))
    recorder.start()
    (failure,) = recorder.finish()
    assert failure.startswith(f"{tmp_path}/session/events_0: byte 0: packet_size 0 bit")


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/events_0").write_bytes(b"")
    with pytest.raises(CaptureError, match="not empty: choose another directory with -o"):
        DirectorySink(tmp_path / "old")
    with pytest.raises(CaptureError, match="is not a directory"):
        DirectorySink(tmp_path / "old/events_0")
    with pytest.raises(CaptureError, match="is not a directory"):
        DirectorySink(tmp_path / "old/events_0/below")


def test_a_discarded_capture_leaves_nothing(tmp_path: Path) -> None:
    sink = DirectorySink(tmp_path / "flight")
    sink.discard()
    assert list(tmp_path.iterdir()) == []


def test_discarding_a_capture_spares_what_is_not_of_it(tmp_path: Path, packet: Callable[..., bytes]) -> None:
    # `record --mode flight --save failure -o . -- CMD` removed what CMD had written, and the current directory.
    (tmp_path / "mine").mkdir()
    for name, left in (("mine", []), ("written", ["result", "sub"])):
        sink = DirectorySink(tmp_path / name)
        sink.append("events_0", memoryview(packet(80)))
        sink.replace("metadata", b"text")
        if left:
            (tmp_path / name / "result").touch()
            (tmp_path / name / "sub").mkdir()
        sink.discard()
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == left


def test_the_note_of_a_recorder_that_was_killed_is_json_without_an_end(tmp_path: Path) -> None:
    note = Note("box", {"mode": "stream"}, ["make", "-j2"])
    DirectorySink(tmp_path / "killed", note.encode())
    facts = json.loads((tmp_path / "killed" / NOTE).read_text())
    assert facts["end"] is None
    assert facts["command"] == ["make", "-j2"]
    assert facts["host"]["kernel"]
    note.ended("SIGINT", None, [], {"lost": 3}, ["x"])
    assert json.loads(note.encode())["totals"] == {"lost": 3}
