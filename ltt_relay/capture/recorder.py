# SPDX-License-Identifier: GPL-2.0-or-later
"""From a session's files to a sink: a reader for each CPU, whole packets, nothing decoded.

There is a file for every CPU that may ever come online, and a reader waits at each: CPUs may come and go.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Final

from ltt_relay.capture.session import CaptureError
from ltt_relay.capture.sink import CHUNK
from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ltt_relay.capture.session import Session
    from ltt_relay.capture.sink import Sink

__all__ = ("Recorder",)

#: Seconds between two looks at the metadata, which the kernel prints anew for each: only declarations add to it.
_METADATA_EVERY: Final = 10.0


class Recorder:
    """Copies a session's streams into a sink until their end, which comes after a stop or a snapshot.

    Attributes:
        failures: what went wrong, in words; complete after `finish`.

    """

    def __init__(self, session: Session, sink: Sink, on_failure: Callable[[], None] = lambda: None) -> None:
        """Prepare; `on_failure` is called from a reader's thread at its first failure."""
        self._session = session
        self._sink = sink
        self._on_failure = on_failure
        self._threads: list[threading.Thread] = []
        self._state = -1
        self._metadata = b""
        self._described = -_METADATA_EVERY
        self.failures: list[str] = []

    def start(self, *logs: Session) -> None:
        """Begin to read, also the logs taken along; may be called before the session starts."""
        for source in [path for session in (self._session, *logs) for path in session.streams()]:
            thread = threading.Thread(target=self._copy, args=(source,), name=source.name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _fail(self, text: str) -> None:
        if text not in self.failures:
            self.failures.append(text)
        self._on_failure()

    def _copy(self, source: Path) -> None:
        try:
            reader = os.open(source, os.O_RDONLY)
        except OSError as error:
            busy = " (another reader has it open)" if error.errno == errno.EBUSY else ""
            self._fail(f"{source}: {error.strerror}{busy}")
            return
        try:
            self._sink.drain(source.name, reader)
        except OSError as error:
            self._fail(f"{source}: {error.strerror}")
        except CaptureError as error:
            self._fail(str(error))
        except UserError as error:  # of packets, which do not know their file
            self._fail(f"{source}: {error}")
        finally:
            os.close(reader)

    def follow_names(self, *, last: bool = False) -> None:
        """Copy what names things, as far as it has come: a recorder that is killed leaves a trace that can be read.

        For a session in stream mode, whose state_0 only grows; `last` when nothing more comes.
        """
        try:
            now = time.monotonic()
            if last or now - self._described >= _METADATA_EVERY:
                self._described = now
                metadata = (self._session.path / "metadata").read_bytes()
                if metadata != self._metadata:
                    self._sink.replace("metadata", metadata)
                    self._metadata = metadata
            if self._state < 0:
                self._state = os.open(self._session.path / "state_0", os.O_RDONLY)
            while data := os.read(self._state, CHUNK):
                self._sink.append("state_0", memoryview(data))
        except FileNotFoundError:
            self._fail(f"session {self._session.name} was removed while it was recorded; what had been read is kept")
        except OSError as error:
            self._fail(f"{self._session.path}: {error.strerror}")
        except UserError as error:
            self._fail(str(error))

    def finish(self) -> list[str]:
        """Wait for the end of all streams and copy what names them; returns what went wrong."""
        for thread in self._threads:
            thread.join()
        self.follow_names(last=True)
        if self._state >= 0:
            os.close(self._state)
            self._state = -1
        return self.failures
