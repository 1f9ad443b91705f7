# SPDX-License-Identifier: GPL-2.0-or-later
"""A recording among signals, sessions that go away, and other recorders. A directory of files stands for a session."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from ltt_relay.capture import run
from ltt_relay.capture.command import Command
from ltt_relay.capture.live import LineDisplay, TableDisplay
from ltt_relay.capture.run import Outcome, Recording, Request
from ltt_relay.capture.session import CaptureError, NoSessionError, Session
from ltt_relay.capture.sink import DirectorySink, Sink, TakenError
from ltt_relay.cli import marker, record, status

_STATS = "cpu produced read pending overwritten lost bytes\n0 1 1 0 0 0 264\n"
_FILES = {"control": "running\n", "metadata": "/* CTF 1.8 */", "stats": _STATS, "n_subbufs": "16\n", "trigger": ""}
_SIZES = {"subbuf_size": "4096\n", "events": "marker\n", "filter": "", "marker": " " * 8, "error": ""}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Leave signals as they were: a recording takes them for itself."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXFSZ, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def session(tmp_path: Path, packet: Callable[..., bytes], session_of: Callable[[Path], Session]) -> Session:
    """A stream that runs and has a packet."""
    path = tmp_path / "session"
    path.mkdir()
    for name, text in {**_FILES, **_SIZES, "mode": "stream\n"}.items():
        (path / name).write_text(text)
    for name in ("events_0", "state_0"):
        (path / name).write_bytes(packet(80))
    return session_of(path)


class _Watching:
    """A display that does something when it is asked to draw."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = [*steps]

    def update(self, session: Session) -> None:
        if self.steps:
            self.steps.pop(0)()
        session.totals()

    def close(self) -> None:
        pass


def _record(
    session: Session, tmp_path: Path, *steps: Callable[[], object], command: Command | None = None
) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    recording = Recording(
        session,
        Request(attach=True, duration=None if command else 60),
        lambda suffix, note: DirectorySink(tmp_path / f"trace{suffix}", note),
        said.append,
        command=command,
        display=_Watching(*steps),
    )
    return recording.run(), said


def _signal(number: int) -> Callable[[], object]:
    return lambda: os.kill(os.getpid(), number)


def test_a_session_that_is_removed_at_any_moment_leaves_the_command_alone(session: Session, tmp_path: Path) -> None:
    """The command was ended; and if the session went between two looks at it, nothing was finished either."""
    child = Command(["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"])
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        (tmp_path / "go").touch()

    recording = Recording(
        session,
        Request(attach=True),
        lambda suffix, note: DirectorySink(tmp_path / "trace", note),
        say,
        command=child,
        display=_Watching(lambda: shutil.rmtree(session.path)),
    )
    outcome = recording.run()
    assert (child.status, outcome.by) == (3, "command")
    assert said == ["session written was removed: no longer recording; the command goes on"]
    assert "was removed while it was recorded; what had been read is kept" in outcome.failures[-1]
    assert len(outcome.failures) == len(set(outcome.failures))
    assert '"ended_by": "command"' in (tmp_path / "trace/.capture.json").read_text()


def test_a_session_that_is_removed_as_the_recording_ends_is_told(session: Session, tmp_path: Path) -> None:
    """The note had no end, and what a collector was still to have it did not get."""

    def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        control = session.control

        def stop(word: str) -> None:
            shutil.rmtree(session.path)
            control(word)

        session.control = stop  # type: ignore[method-assign]

    outcome, _ = _record(session, tmp_path, end)
    assert outcome.by == "SIGTERM"
    assert "was removed" in outcome.failures[-1]
    assert '"ended_by": "SIGTERM"' in (tmp_path / "trace/.capture.json").read_text()


def test_nohup_is_heeded(session: Session, tmp_path: Path) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    outcome, _ = _record(session, tmp_path, _signal(signal.SIGHUP), _signal(signal.SIGTERM))
    assert outcome.by == "SIGTERM"


def test_a_flight_recorder_that_is_taken_over_has_the_names_of_its_end(
    session: Session, tmp_path: Path, packet: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a stream: names came from before its end, when the kernel writes them anew."""
    monkeypatch.setattr(run, "_NAMES_EVERY", 0)
    (session.path / "mode").write_text("flight\n")

    def end() -> None:
        (session.path / "state_0").write_bytes(packet(160))
        os.kill(os.getpid(), signal.SIGTERM)

    outcome, _ = _record(session, tmp_path, lambda: None, end)
    assert outcome.failures == []
    assert (tmp_path / "trace/state_0").read_bytes() == packet(160)
    assert (tmp_path / "trace/events_0").read_bytes() == packet(80)


def test_a_session_has_one_recorder(session: Session, tmp_path: Path) -> None:
    """A flight recorder is not read until its end: --attach took it from its recorder, and ended it."""
    session.hold()
    with pytest.raises(CaptureError, match="session written is being recorded: end its recorder first"):
        _record(session, tmp_path)
    assert not (tmp_path / "trace").exists()
    assert (session.path / "control").read_text() == "running\n"


@pytest.mark.parametrize("taken", [True, False])
def test_a_snapshot_that_cannot_be_saved_is_not_in_the_way_of_the_next(
    taken: bool, session: Session, tmp_path: Path
) -> None:
    """It stayed unread, and the kernel made no other; a name of an earlier recording's was tried again and again."""
    (session.path / "events_0").unlink()
    os.mkfifo(session.path / "events_0")
    frozen = os.open(session.path / "events_0", os.O_RDWR | os.O_NONBLOCK)
    os.write(frozen, b"frozen")
    tried = []

    def make_sink(suffix: str, note: bytes) -> Sink:
        tried.append(suffix)
        if taken and len(tried) == 1:
            raise TakenError("not empty")
        raise CaptureError("no room")

    said: list[str] = []
    recording = Recording(session, Request(attach=True, mode="flight"), make_sink, said.append)
    recording._snapshot(frozen=True)
    assert said == ["no room"]
    assert tried == ["-1", "-2"][: 1 + taken]
    with pytest.raises(BlockingIOError):
        os.read(frozen, 1)
    os.close(frozen)


@pytest.mark.parametrize("kind", [LineDisplay, TableDisplay])
def test_a_terminal_that_is_gone_ends_no_recording_by_an_error(
    kind: Callable[..., LineDisplay | TableDisplay], session: Session
) -> None:
    """What was in the buffers was lost when the terminal was closed."""
    master, slave = pty.openpty()
    stream = os.fdopen(slave, "w")
    display = kind(stream)
    display.update(session)
    os.close(master)
    display._next = 0.0
    display.update(session)
    display.close()
    with contextlib.suppress(OSError):
        stream.close()


def test_nobody_listening_does_not_change_how_a_recording_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(click, "echo", broken)
    record._say("trace: 3 events")


def _status_of(script: str) -> int | None:
    command = Command(["sh", "-c", script])
    command.go()
    os.waitid(os.P_PIDFD, command.descriptor, os.WEXITED | os.WNOWAIT)
    assert command.ended()
    return command.status


def test_a_command_is_waited_for_though_the_caller_ignores_the_ends_of_children() -> None:
    """Its status was gone, and the recording with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    assert _status_of("exit 3") == 3


def test_a_command_in_the_background_still_ignores_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert _status_of("kill -INT $$; exit 3") == 3


# ---------------------------------------------------------------------------------------- sessions seen from outside


def test_sessions_that_end_meanwhile_are_left_out(
    session: Session,
    tmp_path: Path,
    session_of: Callable[[Path], Session],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`status` and `marker` failed because of any session that ended between the list and the look."""
    session.name = "\x1b[2Jhere"
    monkeypatch.setattr("ltt_relay.capture.session.require_tracer", lambda: tmp_path)
    monkeypatch.setattr("ltt_relay.capture.session.sessions", lambda: [session_of(tmp_path / "gone"), session])
    assert status.command.callback is not None
    status.command.callback(None, False, None)
    # Names are whoever's may make sessions.
    assert r"\x1b[2Jhere" in capsys.readouterr().out
    assert marker.command.callback is not None
    marker.command.callback("a word", None)
    assert (session.path / "marker").read_text() == "a word  "


def test_text_that_is_not_utf_8_is_written_as_it_is(session: Session) -> None:
    """A marker from a shell of another encoding was a traceback."""
    session.write("marker", os.fsdecode(b"caf\xe9"))
    assert (session.path / "marker").read_bytes() == b"caf\xe9    "
    (session.path / "filter").write_bytes(b"comm=\xff")
    assert session.read("filter") == "comm=\ufffd"


def test_a_session_that_is_not_there_is_no_other_error(tmp_path: Path, session_of: Callable[[Path], Session]) -> None:
    gone = session_of(tmp_path / "gone")
    for look in (lambda: gone.read("control"), lambda: gone.control("stop"), gone.hold, gone.remove):
        with pytest.raises(NoSessionError, match="there is no session written"):
            look()


@pytest.mark.parametrize(("output", "beside"), [(".", "here-1"), ("..", "here-1"), ("/", "/-1"), ("a/", "a-1")])
def test_snapshots_lie_beside_the_trace_wherever_that_is(
    output: str, beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """-o / was a traceback, and snapshots of -o .. came into the current directory."""
    (tmp_path / "here/below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / ("here/below" if output == ".." else "here"))
    made: list[Path] = []
    monkeypatch.setattr("ltt_relay.capture.sink.DirectorySink", lambda path, note: made.append(path))
    record._destination(Path(output), None)[1]("-1", b"")
    assert made == [{"/-1": Path("/-1"), "a-1": Path("a-1")}.get(beside, tmp_path / beside)]


def test_the_directory_that_one_is_in_may_be_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was `output: No such file or directory`, whatever the output."""
    from ltt_relay.capture.note import Note

    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert Note("box", {}, None).facts["directory"] is None
