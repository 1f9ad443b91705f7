# SPDX-License-Identifier: GPL-2.0-or-later
"""From a session's files to a trace directory: a reader for each CPU, whole packets, nothing decoded."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from ltt_relay.capture.session import CaptureError, Session

__all__ = ("Recorder", "prepare_directory")

_CHUNK: Final = 1 << 20


def prepare_directory(path: Path) -> None:
    """Make an empty directory for a trace.

    Raises:
        CaptureError: there is something in it.

    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise CaptureError(f"{path} is not empty: choose another directory with -o, or remove it")
    except (FileExistsError, NotADirectoryError):
        raise CaptureError(f"{path} is not a directory") from None
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from error


class Recorder:
    """Copies a session's streams to files until their end."""

    def __init__(self, session: Session, output: Path) -> None:
        """Prepare; `output` is an empty directory."""
        self._session = session
        self._output = output
        self._threads: list[threading.Thread] = []
        self._failures: list[str] = []
        self.bytes = 0

    def start(self) -> None:
        """Begin to read; may be called before the session starts."""
        for source in self._session.streams():
            thread = threading.Thread(target=self._copy, args=(source,), name=source.name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _copy(self, source: Path) -> None:
        target = self._output / source.name
        try:
            reader = os.open(source, os.O_RDONLY)
        except OSError as error:
            self._failures.append(f"{source}: {error.strerror}")
            return
        writer = -1
        try:
            buffer = memoryview(bytearray(_CHUNK))
            while n := os.readv(reader, [buffer]):
                if writer < 0:
                    writer = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
                done = 0
                while done < n:
                    done += os.write(writer, buffer[done:n])
                self.bytes += n
        except OSError as error:
            # What was written stays: whole packets, but for the last, which the decoder takes as cut.
            self._failures.append(f"{target}: {error.strerror}")
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)

    def finish(self) -> list[str]:
        """Wait for the end of all streams and copy what names them; returns what went wrong."""
        for thread in self._threads:
            while thread.is_alive():
                thread.join(0.5)
        for name in ("metadata", "state_0"):
            try:
                data = (self._session.path / name).read_bytes()
                (self._output / name).write_bytes(data)
            except OSError as error:
                self._failures.append(f"{self._output / name}: {error.strerror}")
        self.bytes += sum(
            (self._output / n).stat().st_size for n in ("metadata", "state_0") if (self._output / n).exists()
        )
        return self._failures
