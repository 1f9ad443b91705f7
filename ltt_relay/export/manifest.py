# SPDX-License-Identifier: GPL-2.0-or-later
"""The manifest of a conversion: JSON lines, append-only; the first says what is converted how, each other one trace."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import ltt_relay
from ltt_relay.errors import UserError

__all__ = ("MANIFEST", "SCHEMA", "ConvertError", "Manifest", "read")

MANIFEST: Final = "manifest.jsonl"
#: The version of what is in the lines, and of the files' columns.
SCHEMA: Final = 1
#: Of every manifest, whatever its version.
_BEGIN: Final = b'{"schema": '


class ConvertError(UserError):
    """The conversion as a whole cannot go on."""


def read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the first line, and by `target` the last one of each trace; a line that a kill cut off is left out.

    Raises:
        ConvertError: a line is no JSON, and not the last, or the file is another's.

    """
    data = path.read_bytes()
    if not data.startswith(_BEGIN[: len(data)]):
        raise ConvertError(f"{path}: {data[:40]!r} found, a manifest expected: choose another directory")
    lines = data.split(b"\n")
    head: dict[str, Any] = {}
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(lines[:-1], 1):  # behind the last newline is nothing, or a line that was cut off
        try:
            row = json.loads(line)
            if number == 1:
                head = dict(row)
            else:
                rows[row.get("target", row["trace"])] = row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConvertError(f"{path}, line {number}: {line[:40]!r} found, a line of a manifest expected") from error
    return head, rows


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what is another in first lines; of the options, which."""
    before, now = ({**line, **line.get("options", {})} for line in (before, now))
    return [
        f"{key} {before.get(key)!r}, now {now.get(key)!r}"
        for key in dict.fromkeys([*before, *now])
        if key != "options" and before.get(key) != now.get(key)
    ]


class Manifest:
    """The manifest in a directory, to be written; `done` has what it says already, by `target`."""

    def __init__(self, directory: Path, options: dict[str, Any], resume: bool) -> None:
        """Begin one, or with `resume` go on with the one that is there.

        Raises:
            ConvertError: there is one, and not to be resumed, or it is of a conversion with other options.

        """
        self.path = directory / MANIFEST
        self.done: dict[str, dict[str, Any]] = {}
        head = {"schema": SCHEMA, "tool": f"ltt-relay {ltt_relay.__version__}", "options": options}
        head = json.loads(json.dumps(head))
        before: dict[str, Any] = {}
        try:
            before, self.done = read(self.path)
        except (FileNotFoundError, NotADirectoryError):
            pass  # the first, or told below
        except OSError as error:
            raise ConvertError(f"{self.path} cannot be read: {error.strerror}") from error
        if before:
            if not resume and any(row.get("status") == "done" for row in self.done.values()):
                raise ConvertError(f"{self.path} exists: choose another directory, or go on with --resume")
            self.done = self.done if resume else {}
            before = before if self.done else {}  # nothing came of it, or errors: it is begun anew
        if before and before != head:
            changed = _changes(before, head)
            raise ConvertError(f"{self.path} is of another conversion: {'; '.join(changed)}; --resume needs the same")
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
        except (FileExistsError, NotADirectoryError):
            raise ConvertError(f"{directory} is not a directory: choose another with -o") from None
        except OSError as error:
            raise ConvertError(f"{directory} cannot be written to: {error.strerror}") from error
        # What a kill cut off goes, so that the next line begins on one of its own.
        whole = self.path.read_bytes().rfind(b"\n") + 1 if before else 0
        self._lock()
        self._file.truncate(whole)
        if not before:
            try:
                self.add(head)
            except ConvertError:
                self._file.close()
                raise

    def _lock(self) -> None:
        """Keep other conversions out of the directory, until this one or its process ends.

        To open the manifest anew and close it would unlock it.
        """
        if not hasattr(os, "lockf"):
            return
        try:
            os.lockf(self._file.fileno(), os.F_TLOCK, 0)
        except (BlockingIOError, PermissionError):
            self._file.close()
            raise ConvertError(f"{self.path} is being written by another conversion: wait for its end") from None
        except OSError:
            return  # there are file systems without locks

    def add(self, row: dict[str, Any]) -> None:
        """Append a line, and see it on disk.

        Raises:
            ConvertError: it cannot be written, for want of space maybe.

        """
        line = memoryview((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace"))
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            raise ConvertError(f"{self.path} cannot be written to: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
