# SPDX-License-Identifier: GPL-2.0-or-later
"""One recording: a session made, started, read, watched, stopped and removed; and what is said of it at the end."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from ltt_relay.capture.machine import allow_open_files
from ltt_relay.capture.note import Note
from ltt_relay.capture.recorder import Recorder
from ltt_relay.capture.session import CaptureError, Log, NoSessionError, Session, select_words
from ltt_relay.capture.sink import TakenError, read_all
from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from ltt_relay.capture.command import Command
    from ltt_relay.capture.live import Display
    from ltt_relay.capture.sink import Sink

__all__ = ("Outcome", "Recording", "Request")

_NAMES_EVERY: Final = 1.0  # seconds
_DISPLAY_EVERY: Final = 0.5
_TRIGGER_EVERY: Final = 0.2
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be recorded, in the words of the session's files.

    Attributes:
        events: words for the file `events`; also class:NAME for all of an LTT class.
        mode: "stream" or "flight".
        filters: words for the file `filter`.
        subbuf_size, n_subbufs, n_subbufs_max: as in the files of these names; n_subbufs_max 0 leaves the size fixed.
        duration: seconds until the end, or None.
        save: in flight mode, when the last window is saved: "always", "failure" (of the command) or "never".
        trigger: for the file `trigger`, or None.
        logs: what else is recorded into the same trace: "klog", "evlog"; in stream mode.
        attach: take over a session that is there, instead of making one.

    """

    events: tuple[str, ...] = ()
    mode: str = "stream"
    filters: tuple[str, ...] = ()
    subbuf_size: int = 262144
    n_subbufs: int = 16
    n_subbufs_max: int = 0
    duration: float | None = None
    save: str = "always"
    trigger: str | None = None
    logs: tuple[str, ...] = ()
    attach: bool = False


@dataclass
class Outcome:
    """How it ended.

    Attributes:
        by: what ended it: "command", "duration", "trigger", a signal's name, "removal" (of the session) or "failure".
        totals: the kernel's counters, all CPUs together.
        logs: those of the logs taken along.
        seconds: that it ran.
        before: events that a session had produced when it was taken over.
        n_subbufs: of each CPU, at the end.
        snapshots: where snapshots were saved, the last window not among them.
        saved: whether the sink has something.
        size: bytes in it and in the snapshots.
        records: of events in it and in the snapshots; less than the kernel's count of those read if it failed.
        failures: what went wrong, in words.

    """

    by: str = ""
    totals: dict[str, int] = field(default_factory=dict)
    logs: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: float = 0.0
    before: int = 0
    n_subbufs: int = 0
    snapshots: list[str] = field(default_factory=list)
    saved: bool = True
    size: int = 0
    records: int = 0
    failures: list[str] = field(default_factory=list)


class Recording:
    """A recording from its configuration to its last words."""

    def __init__(
        self,
        session: Session,
        request: Request,
        make_sink: Callable[[str, bytes], Sink],
        say: Callable[[str], None],
        *,
        command: Command | None = None,
        words: tuple[str, ...] = (),
        display: Display | None = None,
    ) -> None:
        """Prepare.

        Args:
            session: not made yet, unless the request attaches to it.
            request: what to record.
            make_sink: makes the sink; its arguments are a suffix to the name ("" or "-1", "-2" for snapshots) and the
                note to begin with.
            say: told what happens meanwhile.
            command: ends the recording when it ends.
            words: the command's, for the note.
            display: shown counters twice a second.

        """
        self.session = session
        self.request = request
        self.outcome = Outcome()
        self._make_sink = make_sink
        self._command = command
        self._display = display
        self._say = say
        self._note = Note(session.name, asdict(request), list(words) or None)
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._logs: list[Log] = []
        self._streams = True
        self._gone = False  # the session; what has its name is another by now
        self._tried = 0  # numbers of snapshots

    def run(self) -> Outcome:
        """Record.

        Raises:
            CaptureError: it could not begin; nothing is left behind.

        """
        request, session = self.request, self.session
        made = False
        sink: Sink | None = None
        self._install_handlers()
        allow_open_files()
        try:
            if request.attach:
                session.read("control")
                session.hold()
                session.require_unread()
                self.outcome.before = session.totals()["produced"]
            else:
                session.create()
                made = True
                session.hold()
                self._configure()
            self._streams = session.read("mode") == "stream"
            if request.logs and not self._streams:
                raise CaptureError(f"session {session.name} is a flight recorder: no log can be taken along")
            sink = self._make_sink("", self._note.encode())
            recorder = Recorder(session, sink, self._wake)
            for name in request.logs:
                log = Log(name)
                log.join(session)
                self._logs.append(log)
            if self._streams:
                recorder.start(*self._logs)
            begin = time.monotonic()
            if session.state != "running":
                session.control("start")
            if self._streams:
                recorder.follow_names()
            if self._command:
                self._command.go()
            self.outcome.by = "failure"  # whatever happens from here on, what was recorded is kept
            self.outcome.by = self._watch(recorder, begin)
            self._finish(recorder, sink, begin)
        except UserError:
            if sink is not None and not self.outcome.by:
                sink.discard()
            raise
        finally:
            if self._command:
                self._command.end()
            for log in self._logs:
                with contextlib.suppress(UserError):
                    log.control("stop")
            if (made or self.outcome.by) and not self._gone:
                with contextlib.suppress(UserError):
                    session.remove()
        return self.outcome

    def _configure(self) -> None:
        request, session = self.request, self.session
        session.write("events", "none " + " ".join(select_words(request.events)))
        session.write("subbuf_size", str(request.subbuf_size))
        session.write("n_subbufs", str(request.n_subbufs))
        if request.n_subbufs_max:
            session.write("n_subbufs_max", str(request.n_subbufs_max))
        session.write("mode", request.mode)
        if request.filters:
            session.write("filter", " ".join(request.filters))
        if request.trigger:
            session.write("trigger", request.trigger)

    # ------------------------------------------------------------------------------------------------ while it runs

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    def _install_handlers(self) -> None:
        def nothing(number: int, frame: FrameType | None) -> None:
            pass

        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (*_STOP_SIGNALS, signal.SIGUSR1):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                signal.signal(number, nothing)
        # A reader's bytes count for it, not for the limit on file sizes: an error, not a death.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def _watch(self, recorder: Recorder, begin: float) -> str:
        """Wait for the end; returns what it was."""
        request = self.request
        deadline = begin + request.duration if request.duration else None
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if self._command:
            poll.register(self._command.descriptor, select.POLLIN)
        step = _DISPLAY_EVERY if self._display else _TRIGGER_EVERY if request.trigger else _NAMES_EVERY
        named = time.monotonic()
        told = asked = False
        while True:
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                return "duration"
            wait = step if deadline is None else min(step, deadline - now)
            for descriptor, _ in poll.poll(max(1, round(wait * 1000))):
                if descriptor != self._wake_read:
                    return "command"
                for number in os.read(self._wake_read, 64):
                    if number in _STOP_SIGNALS:
                        return signal.Signals(number).name
                    if number == signal.SIGUSR1 and not told:
                        asked = True
            if told:
                continue
            self._gone = not self.session.path.exists()
            if recorder.failures or self._gone:
                told = True
                if self._command is None:
                    return "removal" if self._gone else "failure"
                # What is recorded must not harm what is observed: the command goes on.
                what = f"session {self.session.name} was removed" if self._gone else recorder.failures[0]
                self._say(f"{what}: no longer recording; the command goes on")
                self._stop()
                continue
            with contextlib.suppress(NoSessionError):  # the next round finds that it is gone
                if asked:
                    asked = False
                    self._on_request()
                if self._display:
                    self._display.update(self.session)
                if request.trigger and self._look_at_trigger():
                    return "trigger"
                if self._streams and time.monotonic() - named >= _NAMES_EVERY:
                    recorder.follow_names()
                    named = time.monotonic()

    def _on_request(self) -> None:
        """SIGUSR1: a flight recorder is saved, a stream tells its counters."""
        if not self._streams:
            self._snapshot(frozen=False)
        else:
            totals = self.session.totals()
            self._say(", ".join(f"{name} {totals[name]:,}" for name in ("produced", "read", "pending", "lost")))

    def _look_at_trigger(self) -> bool:
        """Save what a trigger froze, and arm it again; returns whether it stopped the session."""
        assert self.request.trigger
        state = self.session.read("trigger").splitlines()[-1:]
        if not state or not state[0].startswith("fired"):
            return False
        if "refused" in state[0]:
            self._say(f"trigger {state[0]}: is the last snapshot still unread?")
        elif not state[0].endswith("done"):
            return False
        elif self.request.trigger.split()[-1] == "stop":
            return True
        else:
            self._snapshot(frozen=True)
        self.session.write("trigger", self.request.trigger)
        return False

    def _snapshot(self, *, frozen: bool) -> None:
        """Save what the flight recorder holds into a sink of its own."""
        try:
            sink = self._next_sink()
            if not frozen:
                try:
                    self.session.control("snapshot")
                except CaptureError:
                    sink.discard()
                    raise
                frozen = True
            failures = self._copy_frozen(sink, "snapshot")
            self.outcome.snapshots.append(sink.where)
            self.outcome.records += sink.records
            self.outcome.size += sink.size
            self._say(f"{sink.where}: snapshot, {sink.size / 1e6:,.1f} MB")
            self.outcome.failures += failures
            frozen = bool(failures)
        except UserError as error:
            # The recorder goes on: the next may do better.
            self._say(str(error))
        if frozen:
            self._drop_frozen()

    def _next_sink(self) -> Sink:
        """Make one for a snapshot; names that an earlier recording's snapshots have are passed over."""
        while True:
            self._tried += 1
            with contextlib.suppress(TakenError):
                return self._make_sink(f"-{self._tried}", self._note.encode())

    def _drop_frozen(self) -> None:
        """Read what could not be saved, to nowhere: as long as it is unread, no other snapshot can be made."""
        for path in self.session.streams():
            with contextlib.suppress(OSError):  # nothing to be read, for one
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                try:
                    read_all(reader, len)
                finally:
                    os.close(reader)

    def _copy_frozen(self, sink: Sink, by: str) -> list[str]:
        recorder = Recorder(self.session, sink)
        recorder.start()
        failures = recorder.finish()
        self._end_note(by, failures)
        sink.close(self._note.encode())
        return failures

    def _end_note(self, by: str, failures: list[str]) -> None:
        status = self._command.status if self._command else None
        self._note.ended(by, status, self.session.stats(), self.session.totals(), failures)

    # --------------------------------------------------------------------------------------------------- at the end

    def _offer_to_give_up(self, sink: Sink) -> None:
        """From now on Ctrl-C says what is waited for, and a second one ends all."""
        pressed = 0

        def give_up(number: int, frame: FrameType | None) -> None:
            nonlocal pressed
            pressed += 1
            if pressed > 1:
                raise KeyboardInterrupt
            self._say(f"{sink.where}: still being saved; Ctrl-C again gives it up")

        for number in _STOP_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, give_up)

    def _finish(self, recorder: Recorder, sink: Sink, begin: float) -> None:
        self._stop()
        sink.stopping()
        self._offer_to_give_up(sink)
        self.outcome.seconds = time.monotonic() - begin
        if self._display:
            self._display.close()
        if self._command and not self._command.ended():
            self._command.end()
        try:
            if not self._gone:
                self._finish_with_session(recorder, sink)
        except NoSessionError:
            self._gone = True
        if self._gone:
            self._finish_without_session(recorder, sink)

    def _stop(self) -> None:
        for source in self._logs if self._gone else (self.session, *self._logs):
            with contextlib.suppress(NoSessionError):
                source.control("stop")

    def _finish_with_session(self, recorder: Recorder, sink: Sink) -> None:
        outcome, session = self.outcome, self.session
        outcome.n_subbufs = int(session.read("n_subbufs"))
        if not self._streams:
            failed = self._command is not None and bool(self._command.status)
            outcome.saved = self.request.save == "always" or (self.request.save == "failure" and failed)
            if not outcome.saved:
                outcome.totals = session.totals()
                try:
                    sink.discard()
                except CaptureError as error:
                    outcome.failures.append(str(error))
                return
            recorder.start()
        failures = recorder.finish()
        outcome.totals = session.totals()
        outcome.logs = {log.name: log.totals() for log in self._logs}
        self._end_note(outcome.by, [*outcome.failures, *failures])
        outcome.failures += failures
        self._close(sink)

    def _finish_without_session(self, recorder: Recorder, sink: Sink) -> None:
        """Somebody has removed it: its counters are gone, and what was not read."""
        outcome = self.outcome
        outcome.failures += recorder.finish()
        outcome.totals = {"produced": sink.records, "read": sink.records, "lost": 0, "overwritten": 0}
        status = self._command.status if self._command else None
        self._note.ended(outcome.by, status, [], outcome.totals, outcome.failures)
        self._close(sink)

    def _close(self, sink: Sink) -> None:
        outcome = self.outcome
        outcome.size += sink.size
        outcome.records += sink.records
        try:
            sink.close(self._note.encode())
        except CaptureError as error:
            outcome.failures.append(str(error))
