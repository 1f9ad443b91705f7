# SPDX-License-Identifier: GPL-2.0-or-later
"""Output files: `NAME.ltt-relay-part` until complete and synced, then renamed; written and summed up by a thread.

Writing and SHA-256 (1.5 ns a byte) run beside the compiled code that renders the next buffer.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import quote

import numpy as np

from ltt_relay.errors import UserError

__all__ = ("MERGED", "UNFINISHED", "OutputFile", "PartFile", "Writer", "file_name", "finish_files")

#: The name of the file of all events in time order.
MERGED: Final = "merged"
#: What a file is called behind its name until it is complete: no user's file is.
UNFINISHED: Final = ".ltt-relay-part"
_RESERVED: Final = frozenset({MERGED, "gaps", "problems", "manifest"})
_LONGEST: Final = 200
_BUFFER: Final = 4 << 20
_BUFFERS: Final = 3
_SYNCS: Final = 8
#: Bytes of a file that may wait to be written to disk.
_UNWRITTEN: Final = 512 << 10
_SYNC_FILE_RANGE_WRITE: Final = 2


def file_name(name: str, extension: str) -> str:
    """Return the file's name for an event, whose name comes from data: percent-escaped where it could mean another."""
    escaped = quote(name, safe="-_. +@=,")
    if escaped.startswith(".") or name in _RESERVED:
        escaped = f"%{ord(escaped[0]):02X}{escaped[1:]}"
    if len(escaped) > _LONGEST:
        escaped = f"{escaped[:_LONGEST]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    return f"{escaped}.{extension}"


def _library_call(name: str) -> Any:
    """Return a function of the C library that Python has no name for, if there is one."""
    if os.name != "posix":
        return None
    import ctypes

    call: Any = getattr(ctypes.CDLL(None), name, None)
    if call:
        call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return call


_sync_file_range: Final = _library_call("sync_file_range")


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _start_writing(descriptor: int, begin: int, size: int) -> None:
    """Have the kernel begin to write to disk, where it has a call for that.

    Memory that files wait in counts as that of their control group, and is taken back quickly only if it is on disk.
    """
    if _sync_file_range is not None:
        _sync_file_range(descriptor, begin, size, _SYNC_FILE_RANGE_WRITE)


class OutputFile:
    """One file. It is opened for each write: there may be more kinds of events than descriptors."""

    def __init__(self, path: Path, event: str) -> None:
        """Begin it; `event` is "" for what is no event's alone."""
        self.path = path
        self.event = event
        self.rows = 0
        self.size = 0
        self._started = 0
        self._sum = hashlib.sha256()
        self._part = path.with_name(path.name + UNFINISHED)
        self._part.unlink(missing_ok=True)
        self._part.touch()

    def append(self, data: Any) -> None:
        """Write at the end.

        Raises:
            UserError: what was written is not there any more, or another conversion writes to the file.

        """
        with self._part.open("ab", buffering=0) as file:
            if (found := file.tell()) != self.size:
                raise UserError(
                    f"{self._part}: {found} bytes found, {self.size} were written: something else changed or removed it"
                )
            view = memoryview(data).cast("B")
            while view:
                view = view[file.write(view) :]
            self.size += memoryview(data).nbytes
            if self.size - self._started >= _UNWRITTEN:
                _start_writing(file.fileno(), self._started, self.size - self._started)
                self._started = self.size
        self._sum.update(data)

    def append_part(self, part: BinaryIO, size: int) -> None:
        """Write the next bytes of another file.

        Raises:
            EOFError: it has fewer.

        """
        while size:
            data = part.read(min(size, _BUFFER))
            if not data:
                raise EOFError(f"{part.name} ends {size} bytes too soon")
            self.append(data)
            size -= len(data)

    def sync(self) -> None:
        """See it on disk."""
        _sync(self._part, os.O_RDWR)

    def finish(self) -> dict[str, Any]:
        """Give it its name; returns its entry in the manifest."""
        self._part.replace(self.path)
        return {
            "event": self.event,
            "rows": self.rows,
            "bytes": self.size,
            "sha256": self._sum.hexdigest(),
        }


def finish_files(files: Sequence[OutputFile], directory: Path) -> dict[str, dict[str, Any]]:
    """Sync and rename files; returns their entries in the manifest by name, relative to the directory.

    Several are synced at once, as file systems commit them together.
    """
    with ThreadPoolExecutor(_SYNCS, "ltt-relay-sync") as pool:
        list(pool.map(OutputFile.sync, files))
    entries = {str(file.path.relative_to(directory)): file.finish() for file in files}
    if files and hasattr(os, "O_DIRECTORY"):
        for folder in {file.path.parent for file in files}:
            _sync(folder, os.O_RDONLY | os.O_DIRECTORY)
    return entries


class PartFile:
    """Rows of many kinds of events that are to be put behind others: neither summed up nor synced."""

    def __init__(self, path: Path) -> None:
        """Begin it."""
        self._file = path.open("xb", buffering=0)
        #: To be filled and written.
        self.buffer = np.empty(_BUFFER, np.uint8)

    def enlarge(self) -> None:
        """Make the buffer twice as large."""
        self.buffer = np.empty(2 * self.buffer.size, np.uint8)

    def write(self, size: int) -> None:
        """Append the buffer's first `size` bytes."""
        view = self.buffer[:size].data
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        """End it."""
        self._file.close()


class Writer:
    """The thread, and the buffers that go to it and come back."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "ltt-relay-write")
        self._free = [np.empty(_BUFFER, np.uint8) for _ in range(_BUFFERS)]
        self._busy: deque[tuple[Future[None], np.ndarray]] = deque()

    def buffer(self) -> np.ndarray:
        """Return a free buffer, waiting for one if need be; raises what went wrong with an earlier write."""
        if not self._free:
            self._collect()
        return self._free.pop()

    def give_back(self, buffer: np.ndarray) -> None:
        """Return a buffer that was not written."""
        self._free.append(buffer)

    def larger(self, buffer: np.ndarray) -> np.ndarray:
        """Return one twice as large in place of a free buffer."""
        return np.empty(2 * buffer.size, np.uint8)

    def write(self, file: OutputFile, buffer: np.ndarray, size: int) -> None:
        """Append the buffer's first `size` bytes to the file; the buffer comes back by itself."""
        self._busy.append((self._thread.submit(file.append, buffer[:size].data), buffer))

    def _collect(self) -> None:
        future, buffer = self._busy.popleft()
        self._free.append(buffer)
        future.result()

    def drain(self) -> None:
        """Wait until all is written."""
        while self._busy:
            self._collect()

    def close(self) -> None:
        """End the thread; what was not written yet may be left out."""
        self._thread.shutdown(wait=True, cancel_futures=True)
