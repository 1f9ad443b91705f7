# SPDX-License-Identifier: GPL-2.0-or-later
"""One life of a guest: QEMU is started, watched, fed, drained and ended.

The guest talks by lines on its port "control" (`guest_init.sh` says which). Whatever goes wrong ends in an exception
within a bounded time: QEMU exiting, a guest that does not come up, one that stops answering, a command that takes too
long, output that does not arrive.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ltt_relay.sandbox.errors import (
    EmulatorError,
    GuestError,
    GuestHangError,
    GuestPanicError,
    GuestTimeoutError,
    stale_breakpoint,
    stuck_at_breakpoint,
)
from ltt_relay.sandbox.qemu import Machine

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("End", "Limits", "Session", "Streams")

_CHUNK = 1 << 18
_PING_SECONDS = 5.0
# After the command ended: its output has left the guest, only this process has to take it.
_DRAIN_SECONDS = 60.0
_ONE_THREAD = (
    "QEMU may execute a breakpoint that another CPU has taken away, when each CPU is emulated by a thread of its own; "
    "with LTT_RELAY_ACCEL=tcg-single it does not"
)
# What an NMI may take to make a stuck guest panic and say where it is.
_NMI_SECONDS = 15.0


class Streams(NamedTuple):
    """What the command's standard streams are connected to; None collects (or, for stdin, is empty)."""

    stdin: bytes | int | None
    stdout: int | None
    stderr: int | None


class Limits(NamedTuple):
    """Seconds until the guest is given up: to come up, to answer, and for the command to end (None: no limit)."""

    boot: float
    hang: float
    command: float | None


class End(NamedTuple):
    """How it ended: the command's exit status, what was collected, and the times from QEMU's start in seconds."""

    status: int
    stdout: bytes
    stderr: bytes
    console: str
    boot_seconds: float
    seconds: float


class _Phase(Enum):
    BOOT = auto()  # until the guest says "ready"
    RUN = auto()  # until it tells the command's status
    DRAIN = auto()  # until the output it announced has arrived


class _Output:
    # One direction of bytes out of the guest: counted, and passed on or kept.

    def __init__(self, target: int | None) -> None:
        self.count = 0
        self.kept = bytearray()
        self._target = target

    def take(self, data: bytes) -> None:
        self.count += len(data)
        if self._target is None:
            self.kept += data
            return
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._target, view) :]
            except BlockingIOError:
                select.select([], [self._target], [])


class Session:
    """A machine, run once for one command."""

    def __init__(self, machine: Machine, streams: Streams, limits: Limits, console: Path, what: str) -> None:
        """Prepare; `console` is the file that gets the console log, `what` names the command in errors."""
        self._machine = machine
        self._streams = streams
        self._limits = limits
        self._console = console
        self._what = what
        self._ours: dict[str, socket.socket] = {}
        self._outputs = {"stdout": _Output(streams.stdout), "stderr": _Output(streams.stderr)}
        self._lines = bytearray()
        # What is on its way to the command's standard input, and whether more may follow.
        self._pending = bytearray()
        self._more = streams.stdin is not None
        self._started = self._ready = self._ended = self._last_ping = self._last_answer = 0.0
        self._phase = _Phase.BOOT
        self._status = 0
        self._announced: dict[str, int] = {}

    def run(self) -> End:
        """Start QEMU, stay with it to the end, and leave no process behind.

        Raises:
            GuestPanicError, GuestHangError, GuestTimeoutError: as `Guest.run` says.
            BrokenPipeError: likewise.

        """
        names = ["control", "stdout", "stderr", "monitor", *(["stdin"] if self._more else [])]
        with contextlib.ExitStack() as stack:
            theirs: dict[str, socket.socket] = {}
            for name in names:
                self._ours[name], theirs[name] = (stack.enter_context(end) for end in socket.socketpair())
                self._ours[name].setblocking(False)
            self._selector = stack.enter_context(selectors.PollSelector())
            self._qemu_log = stack.enter_context(tempfile.TemporaryFile())
            self._start(theirs)
            try:
                for end in theirs.values():
                    end.close()
                self._converse()
            finally:
                self._process.kill()
                self._process.wait()
            return End(
                self._status,
                bytes(self._outputs["stdout"].kept),
                bytes(self._outputs["stderr"].kept),
                self._console_text(),
                self._ready - self._started,
                time.monotonic() - self._started,
            )

    def _start(self, theirs: dict[str, socket.socket]) -> None:
        self._console.write_bytes(b"")
        ports = {name: end.fileno() for name, end in theirs.items() if name != "monitor"}
        command = self._machine.command(self._console, ports, theirs["monitor"].fileno())
        if setpriv := shutil.which("setpriv"):
            # However this process ends, QEMU does not outlive it.
            command = [setpriv, "--pdeathsig", "KILL", *command]
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._qemu_log,
            stderr=self._qemu_log,
            pass_fds=[end.fileno() for end in theirs.values()],
            # An interrupt from the keyboard is for this process to handle.
            start_new_session=True,
        )

    def _converse(self) -> None:
        # The loop: events from the guest, then the clock. Ends when all is said, or by raising.
        for name in ("control", "stdout", "stderr"):
            self._selector.register(self._ours[name], selectors.EVENT_READ, name)
        while not self._all_received():
            events = self._selector.select(1.0)
            for key, _ in events:
                self._handle(key)
            self._watch(time.monotonic())
            if not events and self._process.poll() is not None:
                self._died()

    def _watch(self, now: float) -> None:
        # Raise if the guest is late with what the phase asks of it.
        limits = self._limits
        if self._phase is _Phase.BOOT:
            if now - self._started > limits.boot:
                self._give_up(f"the guest did not come up within {limits.boot:g} s")
            if self._machine.accelerator == "kvm" and "KVM internal error" in self._qemu_words():
                self._fail(GuestHangError, "KVM cannot run this guest")
        elif self._phase is _Phase.RUN:
            if limits.command is not None and now - self._ready > limits.command:
                self._fail(GuestTimeoutError, f"`{self._what}` did not end within {limits.command:g} s")
            if now - self._last_answer > limits.hang:
                self._give_up(f"the guest has not answered for {limits.hang:g} s while `{self._what}` ran")
            if now - self._last_ping > _PING_SECONDS:
                self._last_ping = now
                with contextlib.suppress(OSError):
                    self._ours["control"].send(b"ping\n")
        elif now - self._ended > _DRAIN_SECONDS:
            self._fail(GuestHangError, f"`{self._what}` ended, but not all of its output arrived")

    def _all_received(self) -> bool:
        return self._phase is _Phase.DRAIN and all(
            self._outputs[name].count >= count for name, count in self._announced.items()
        )

    def _handle(self, key: selectors.SelectorKey) -> None:
        name = key.data
        if name in self._outputs:
            data = self._receive(name)
            if data:
                self._outputs[name].take(data)
        elif name == "control":
            self._lines += self._receive(name)
            while b"\n" in self._lines:
                line, _, rest = self._lines.partition(b"\n")
                self._lines = bytearray(rest)
                self._told(line.decode(errors="replace").split())
        elif name == "source":
            self._read_source(key.fd)
        elif name == "stdin":
            self._feed()

    def _receive(self, name: str) -> bytes:
        try:
            data = self._ours[name].recv(_CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(self._ours[name])
            if name == "control" and self._phase is not _Phase.DRAIN:
                self._died()
        return data

    def _told(self, words: list[str]) -> None:
        now = time.monotonic()
        match words:
            case ["ready"]:
                self._phase = _Phase.RUN
                self._ready = self._last_answer = self._last_ping = now
                self._begin_input()
            case ["pong"]:
                self._last_answer = now
            case ["exit", status, out, err] if all(word.isdecimal() for word in (status, out, err)):
                self._phase = _Phase.DRAIN
                self._status, self._ended = int(status), now
                self._announced = {"stdout": int(out), "stderr": int(err)}
            case ["failed", *reason]:
                self._fail(GuestError, f"the guest cannot start: {' '.join(reason)}")
            case _:
                self._fail(GuestError, f"the guest said {' '.join(words)!r}, which is not understood")

    def _begin_input(self) -> None:
        if not self._more:
            return
        if isinstance(self._streams.stdin, int):
            self._selector.register(self._streams.stdin, selectors.EVENT_READ, "source")
            return
        self._pending += self._streams.stdin or b""
        self._more = False
        self._selector.register(self._ours["stdin"], selectors.EVENT_WRITE, "stdin")

    def _read_source(self, descriptor: int) -> None:
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        # One chunk at a time: what the command does not read is not taken from the caller either.
        self._selector.unregister(descriptor)
        self._more = bool(data)
        self._pending += data
        self._selector.register(self._ours["stdin"], selectors.EVENT_WRITE, "stdin")

    def _feed(self) -> None:
        try:
            sent = self._ours["stdin"].send(self._pending) if self._pending else 0
        except BlockingIOError:
            return
        except OSError:
            self._selector.unregister(self._ours["stdin"])
            return
        del self._pending[:sent]
        if self._pending:
            return
        self._selector.unregister(self._ours["stdin"])
        if self._more and isinstance(self._streams.stdin, int):
            self._selector.register(self._streams.stdin, selectors.EVENT_READ, "source")
        else:
            # Half a close: QEMU first passes on what it holds, then the guest sees the end.
            self._ours["stdin"].shutdown(socket.SHUT_WR)

    def _died(self) -> NoReturn:
        # QEMU is gone or going. Take what it still had to say.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        for name, output in self._outputs.items():
            with contextlib.suppress(OSError):
                while data := self._ours[name].recv(_CHUNK):
                    output.take(data)
        console = self._console_text()
        words = self._qemu_words()
        if self._phase is _Phase.BOOT and not console:
            raise GuestError(f"QEMU ended before the guest started: {words or self._process.returncode}")
        when = "while it started" if self._phase is _Phase.BOOT else f"while `{self._what}` ran"
        panic = next((line for line in console.splitlines() if "Kernel panic" in line), "")
        message = f"the guest's kernel died {when}"
        if panic:
            message += f": {panic.partition('] ')[2] or panic}"
        if words:
            message += f"\nQEMU: {words}"
        if self._threads() and stale_breakpoint(console):
            self._fail(EmulatorError, f"{message}\nIt trapped where there was no breakpoint: {_ONE_THREAD}")
        if self._threads() and ("softlockup" in panic or "RCU Stall" in panic) and stuck_at_breakpoint(console):
            self._fail(EmulatorError, f"{message}\nA CPU is stuck at a breakpoint: {_ONE_THREAD}")
        self._fail(GuestPanicError, message)

    def _threads(self) -> bool:
        return self._machine.accelerator == "tcg" and self._machine.cpus > 1

    def _give_up(self, message: str) -> NoReturn:
        # Before it goes, an interrupt that cannot be masked makes the kernel say where it is stuck.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._ours["monitor"].send(b"nmi\n")
            self._process.wait(_NMI_SECONDS if self._machine.accelerator == "tcg" else 1.0)
        if self._threads() and stuck_at_breakpoint(self._console_text()):
            self._fail(EmulatorError, f"{message}\nA CPU is stuck at a breakpoint: {_ONE_THREAD}")
        self._fail(GuestHangError, message)

    def _fail(self, kind: type[GuestError], message: str) -> NoReturn:
        raise kind(
            message,
            console=self._console_text(),
            stdout=bytes(self._outputs["stdout"].kept),
            stderr=bytes(self._outputs["stderr"].kept),
        )

    def _console_text(self) -> str:
        with contextlib.suppress(OSError):
            return self._console.read_text(errors="replace").replace("\r\n", "\n").replace("\r", "\n")
        return ""

    def _qemu_words(self) -> str:
        self._qemu_log.seek(0)
        return self._qemu_log.read().decode(errors="replace").strip()
