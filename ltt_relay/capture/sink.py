# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a capture goes: a directory here (`sender` has the one that is elsewhere)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from ltt_relay.capture.packets import PacketTracker
from ltt_relay.capture.session import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ("CHUNK", "NOTE", "DirectorySink", "Sink", "TakenError", "prepare_directory", "read_all")

#: Bytes asked for at once. The kernel hands out as many packets as there are and fit.
CHUNK: Final = 1 << 20

#: What is known of the capture itself, as JSON; hidden, as every visible file of a CTF trace is a stream.
NOTE: Final = ".capture.json"
_NOTE_ROOM: Final = 1 << 16


class TakenError(CaptureError):
    """There is something of that name already."""


def prepare_directory(path: Path) -> bool:
    """Make an empty directory for a trace; returns whether there was none.

    Raises:
        CaptureError: there is something in it, or it cannot be made.

    """
    try:
        new = not path.is_dir()
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise TakenError(f"{path} is not empty: choose another directory with -o, or remove it")
        if not os.access(path, os.W_OK | os.X_OK):
            raise CaptureError(f"{path} cannot be written to: choose another directory with -o")
    except (FileExistsError, NotADirectoryError):
        raise CaptureError(f"{path} is not a directory") from None
    except PermissionError as error:
        raise CaptureError(f"{path}: {error.strerror}: choose another directory with -o") from error
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error
    return new


class _CannotSpliceError(Exception):
    """There is no splice(2) in the module or in the file system."""


def _splice(source: int, target: int, n: int) -> int:
    try:
        return os.splice(source, target, n)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise _CannotSpliceError from error
        raise


class Sink(Protocol):
    """Takes a capture's files; every method may be called from several threads, for different files."""

    where: str

    @property
    def size(self) -> int:
        """Bytes that it holds."""

    @property
    def records(self) -> int:
        """Records of events that it holds."""

    def drain(self, name: str, reader: int) -> None:
        """Add to a file all that can be read from a descriptor, until its end.

        Raises:
            CaptureError: as `append`.
            OSError: it cannot be read.

        """

    def append(self, name: str, chunk: memoryview) -> None:
        """Add to a file.

        Raises:
            CaptureError: it cannot; of what it took before, whole packets are kept.

        """

    def replace(self, name: str, content: bytes) -> None:
        """Put a whole file in place of what it was."""

    def stopping(self) -> None:
        """Learn that the recording has ended, and only what is still in the buffers is to come."""

    def close(self, note: bytes) -> None:
        """Finish, with the last words on the capture."""

    def discard(self) -> None:
        """Leave nothing of it."""


def read_all(reader: int, take: Callable[[memoryview], object]) -> None:
    """Give away what can be read from a descriptor, until its end; a chunk is valid until `take` returns."""
    buffer = memoryview(bytearray(CHUNK))
    while n := os.readv(reader, [buffer]):
        take(buffer[:n])


class DirectorySink:
    """A trace directory on this machine."""

    def __init__(self, path: Path, note: bytes = b"{}\n") -> None:
        """Begin in an empty directory; `note` stands there until `close`."""
        self._made = prepare_directory(path)
        self.path = path
        self.where = str(path)
        self._trackers: dict[str, PacketTracker] = {}
        self._files: dict[str, int] = {}
        self._replaced: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._note = -1
        # Room for the last words, which matter most when the disk is full.
        room = note.ljust(_NOTE_ROOM)
        try:
            self._note = os.open(path / NOTE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            if os.write(self._note, room) < len(room):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if error.errno != errno.EEXIST:  # another recorder's
                self.discard()
            raise CaptureError(f"{path}: {error.strerror}") from error

    def drain(self, name: str, reader: int) -> None:
        """See `Sink`; by splice(2) where it works, which spares one of two copies."""
        out, into = os.pipe2(os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # more than this user may have: it stays as small as it is
                fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, CHUNK)
            with contextlib.suppress(_CannotSpliceError):
                while n := _splice(reader, into, CHUNK):
                    self._take(name, out, n)
                return
        finally:
            os.close(out)
            os.close(into)
        read_all(reader, partial(self.append, name))

    def _take(self, name: str, pipe: int, n: int) -> None:
        """Add to a file `n` bytes from a pipe, which holds them."""
        file, tracker = self._open(name)
        try:
            while n:
                taken = _splice(pipe, file, n)
                tracker.feed_file(file, taken)
                n -= taken
        except OSError as error:
            raise self._cut(name, error) from error
        except _CannotSpliceError:
            while n:
                chunk = os.read(pipe, n)
                self.append(name, memoryview(chunk))
                n -= len(chunk)
            raise

    def append(self, name: str, chunk: memoryview) -> None:
        """See `Sink`."""
        file, tracker = self._open(name)
        done = 0
        try:
            while done < len(chunk):
                done += os.write(file, chunk[done:])
        except OSError as error:
            tracker.feed(chunk[:done])
            raise self._cut(name, error) from error
        tracker.feed(chunk)

    def _open(self, name: str) -> tuple[int, PacketTracker]:
        if name in self._refused:
            raise CaptureError(self._refused[name])
        if name not in self._files:
            try:
                self._files[name] = os.open(self.path / name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
            except OSError as error:
                raise CaptureError(f"{self.path / name}: {error.strerror}") from error
            self._trackers[name] = PacketTracker()
        return self._files[name], self._trackers[name]

    def _cut(self, name: str, error: OSError) -> CaptureError:
        """Leave whole packets in a file that takes no more, nor later: a part would be missing; return what is said."""
        self._refused[name] = f"{self.path / name}: {error.strerror}"
        with contextlib.suppress(OSError):
            os.ftruncate(self._files[name], self._trackers[name].whole)
        return CaptureError(self._refused[name])

    def replace(self, name: str, content: bytes) -> None:
        """See `Sink`."""
        part = self.path / f".{name}.part"
        try:
            with part.open("xb") as file:  # not through a link that somebody put there
                file.write(content)
            part.replace(self.path / name)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise CaptureError(f"{self.path / name}: {error.strerror}") from error
        self._replaced[name] = len(content)

    @property
    def size(self) -> int:
        """See `Sink`."""
        return sum(tracker.whole for tracker in self._trackers.values()) + sum(self._replaced.values())

    @property
    def records(self) -> int:
        """See `Sink`."""
        return sum(tracker.records for name, tracker in self._trackers.items() if name.startswith("events_"))

    def stopping(self) -> None:
        """See `Sink`."""

    def close(self, note: bytes) -> None:
        """See `Sink`."""
        files = (*self._files.values(), self._note)
        try:
            os.pwrite(self._note, note, 0)
            os.ftruncate(self._note, len(note))
            there = all(os.fstat(file).st_nlink for file in files)
            for file in files:
                os.close(file)
            self._files.clear()
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror}") from error
        if not there:
            raise CaptureError(f"{self.path}: files were removed while they were recorded into")

    def discard(self) -> None:
        """See `Sink`; what was there before, or others put there, stays."""
        with contextlib.suppress(CaptureError):
            self.close(b"")
        with contextlib.suppress(OSError):
            for name in (NOTE, *self._trackers, *self._replaced):
                (self.path / name).unlink(missing_ok=True)
            if self._made:
                self.path.rmdir()
