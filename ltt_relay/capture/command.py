# SPDX-License-Identifier: GPL-2.0-or-later
"""A command that waits until it is recorded before its first instruction."""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import shutil
import signal
import sys
from typing import TYPE_CHECKING

from ltt_relay.capture.session import CaptureError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Command", "CommandNotFoundError")

_PATIENCE = 5.0


class CommandNotFoundError(CaptureError):
    """There is no such program."""


class Command:
    """A child process that becomes the command at `go`.

    Attributes:
        pid: of the child, and of the command.
        status: its exit status, 128 + N if signal N ended it; None while it runs.

    """

    def __init__(self, words: Sequence[str], user: str | None = None) -> None:
        """Fork; the child waits.

        Args:
            words: program and arguments; the program is looked up in PATH.
            user: whom to run it as; the caller by default.

        Raises:
            CommandNotFoundError: no such program.
            CaptureError: no such user, or another one, and the caller is not root.

        """
        program = shutil.which(words[0])
        if program is None:
            raise CommandNotFoundError(f"{words[0]}: no such command, or it cannot be executed")
        account = None
        if user is not None:
            try:
                account = pwd.getpwnam(user)
            except KeyError:
                raise CaptureError(f"--user {user}: there is no such user") from None
            if os.geteuid() not in {0, account.pw_uid}:
                raise CaptureError(f"--user {user}: only root may run a command as another user")
        # Ignored, as a caller may leave it: the kernel would forget how the child ended.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self.status: int | None = None
        waiting, self._go = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(waiting, self._go, program, words, account)
        os.close(waiting)
        self.descriptor = os.pidfd_open(self.pid)  # readable when it has ended

    def go(self) -> None:
        """Let it start."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._go, b"g")
        os.close(self._go)
        self._go = -1

    def ended(self) -> bool:
        """Look whether it has ended, and take its status if so."""
        if self.status is None:
            pid, raw = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(raw)
                self.status = code if code >= 0 else 128 - code
        return self.status is not None

    def end(self) -> None:
        """End it if it runs: asked first, then killed."""
        if self._go >= 0:
            # It never began: it sees that, and ends by itself.
            os.close(self._go)
            self._go = -1
            select.select([self.descriptor], [], [], _PATIENCE)
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                return
            os.kill(self.pid, number)
            select.select([self.descriptor], [], [], _PATIENCE)
        self.ended()


def _become(waiting: int, go: int, program: str, words: Sequence[str], account: pwd.struct_passwd | None) -> None:
    """In the child: never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            # As Python found them, or nearly: it ignores the last two itself, and ignored ones stay so over exec.
            if number != signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        os.close(go)
        if not os.read(waiting, 1):
            os._exit(0)
        environment = dict(os.environ)
        if account is not None and os.geteuid() == 0:
            os.initgroups(account.pw_name, account.pw_gid)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            environment |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        os.execve(program, list(words), environment)
    except OSError as error:
        os.write(2, f"ltt-relay record: {words[0]}: {error.strerror}\n".encode())
    except BaseException:
        # Whatever it is, this process must not return into the parent's program.
        os.write(2, b"ltt-relay record: the command could not be started\n")
    os._exit(126)
