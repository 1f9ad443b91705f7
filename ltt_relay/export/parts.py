# SPDX-License-Identifier: GPL-2.0-or-later
"""A large trace in parts: windows of time converted by whoever is free, then put together; the bytes are the same."""

from __future__ import annotations

import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ltt_relay.decode import Trace
from ltt_relay.decode.identity import identity, reopen
from ltt_relay.export.convert import PARTS, WINDOW, Options, Result, begin, clear, finish, write
from ltt_relay.export.files import MERGED
from ltt_relay.export.text import PartSink, TextSink

__all__ = ("Assembly", "Part", "convert_part", "worth_parts")

#: Formats whose files can be put together by copying.
_FORMATS: Final = frozenset({"csv", "jsonl"})
#: Traces from this size on; below it the parts cost more than they gain.
_WORTH: Final = 8 * WINDOW


def worth_parts(path: Path, options: Options) -> bool:
    """Tell whether a trace should be converted in parts."""
    return options.to in _FORMATS and sum(bytes_ for bytes_, _ in identity(path).values()) >= _WORTH


@dataclass(frozen=True, slots=True)
class Part:
    """What was made of one window: records, and the file with what a `PartSink` says is in it."""

    path: Path
    records: int
    segments: list[tuple[str, int, int]]


def convert_part(path: Path, output: Path, options: Options, events: list[str], since: Any, until: Any) -> Part:
    """Convert one window of a trace into a file below the output's directory."""
    trace = reopen(path, options.format)
    # Another attempt at the same part may still be running, by a worker that was believed to be dead.
    part = output / PARTS / uuid.uuid4().hex
    sink = PartSink(part, options.to, options.merge)
    try:
        records = write(trace, events, sink, options, since, until, lambda _: None)
    finally:
        sink.close()
    return Part(part, records, sink.segments)


class Assembly:
    """A trace whose parts are converted elsewhere: its windows, and its files as they grow."""

    def __init__(self, path: Path, output: Path, options: Options) -> None:
        """Open the trace; raises what opening it raises."""
        self._begun = time.monotonic()
        self.path, self.output, self.options = path, output, options
        self.result, self._trace, self.events = begin(path, output, options)
        self.windows = list(self._trace.windows(WINDOW, options.since, options.until))
        self._sink = TextSink(output, options.to, options.merge)
        (output / PARTS).mkdir()
        self._next = 0
        self._waiting: dict[int, Part] = {}

    def add(self, number: int, part: Part) -> int:
        """Take the part of window `number`; returns the records that were put at the end by that."""
        before = self.result.records
        self._waiting[number] = part
        while self._next in self._waiting:
            ready = self._waiting.pop(self._next)
            self.result.records += ready.records
            with ready.path.open("rb", buffering=0) as file:
                for event, size, rows in ready.segments:
                    self._sink.append_part(event, self.result.columns[event or MERGED], file, size, rows)
            ready.path.unlink()
            self._next += 1
        return self.result.records - before

    @property
    def complete(self) -> bool:
        """Whether all parts are there."""
        return self._next == len(self.windows)

    def finish(self) -> Result:
        """Complete the files."""
        try:
            # Others read the records: what is wrong with files that are shorter by now, a trace opened anew tells.
            trace = Trace(self.path, self.options.format) if self._shrunk() else self._trace
            finish(trace, self.result, self._sink, self.options)
        finally:
            self._sink.close()
        shutil.rmtree(self.output / PARTS)  # with what a killed worker left there
        self.result.seconds = round(time.monotonic() - self._begun, 3)
        return self.result

    def _shrunk(self) -> bool:
        now = identity(self.path)
        return any(now.get(name, [0])[0] < size for name, (size, _) in self.result.identity.items())

    def abandon(self) -> None:
        """End what runs, and remove what there is."""
        self._sink.close()
        clear(self.output)
