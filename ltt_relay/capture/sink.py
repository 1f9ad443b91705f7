# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a capture goes: a directory here (`sender` has the one that is elsewhere)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, Protocol

from ltt_relay.capture.packets import PacketTracker
from ltt_relay.capture.session import CaptureError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("NOTE", "DirectorySink", "Sink", "prepare_directory")

#: What is known of the capture itself, as JSON; hidden, as every visible file of a CTF trace is a stream.
NOTE: Final = ".capture.json"
_NOTE_ROOM: Final = 1 << 16


def prepare_directory(path: Path) -> None:
    """Make an empty directory for a trace.

    Raises:
        CaptureError: there is something in it, or it cannot be made.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise CaptureError(f"{path} is not empty: choose another directory with -o, or remove it")
        if not os.access(path, os.W_OK | os.X_OK):
            raise CaptureError(f"{path} cannot be written to: choose another directory with -o")
    except (FileExistsError, NotADirectoryError):
        raise CaptureError(f"{path} is not a directory") from None
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error


class Sink(Protocol):
    """Takes a capture's files; every method may be called from several threads, for different files."""

    where: str

    @property
    def size(self) -> int:
        """Bytes that it holds."""

    @property
    def records(self) -> int:
        """Records of events that it holds."""

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


class DirectorySink:
    """A trace directory on this machine."""

    def __init__(self, path: Path, note: bytes = b"{}\n") -> None:
        """Begin in an empty directory; `note` stands there until `close`."""
        prepare_directory(path)
        self.path = path
        self.where = str(path)
        self._trackers: dict[str, PacketTracker] = {}
        self._files: dict[str, int] = {}
        self._replaced: dict[str, int] = {}
        try:
            self._note = os.open(path / NOTE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            # Room for the last words, which matter most when the disk is full.
            os.write(self._note, note.ljust(_NOTE_ROOM))
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}") from error

    def append(self, name: str, chunk: memoryview) -> None:
        """See `Sink`."""
        tracker = self._trackers.setdefault(name, PacketTracker())
        done = 0
        file = self._files.get(name, -1)
        try:
            if file < 0:
                file = os.open(self.path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                self._files[name] = file
            while done < len(chunk):
                done += os.write(file, chunk[done:])
        except OSError as error:
            if file >= 0:
                tracker.feed(chunk[:done])
                os.ftruncate(file, tracker.whole)
            raise CaptureError(f"{self.path / name}: {error.strerror}") from error
        tracker.feed(chunk)

    def replace(self, name: str, content: bytes) -> None:
        """See `Sink`."""
        part = self.path / f".{name}.part"
        try:
            part.write_bytes(content)
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
        try:
            for file in self._files.values():
                os.close(file)
            self._files.clear()
            os.pwrite(self._note, note, 0)
            os.ftruncate(self._note, len(note))
            os.close(self._note)
        except OSError as error:
            raise CaptureError(f"{self.path}: {error.strerror}") from error

    def discard(self) -> None:
        """See `Sink`."""
        self.close(b"")
        for path in self.path.iterdir():
            path.unlink()
        self.path.rmdir()
