# SPDX-License-Identifier: GPL-2.0-or-later
"""One trace to files: decoded window by window, written by the sink of the format, and what came of it as a row."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import pandas as pd
import pyarrow as pa

import ltt_relay
from ltt_relay.analysis.base import Window
from ltt_relay.decode import Trace
from ltt_relay.decode.identity import identity
from ltt_relay.errors import UserError
from ltt_relay.export.files import MERGED, UNFINISHED
from ltt_relay.export.text import TextSink
from ltt_relay.formats.base import UnknownEventError

__all__ = (
    *("FORMATS", "PARTS", "WINDOW", "Options", "Result", "begin", "clear", "convert_trace", "explain", "finish"),
    "write",
)

#: What --to takes.
FORMATS: Final = ("csv", "parquet", "jsonl", "ctf", "perfetto")
#: Decoded bytes in memory at once.
WINDOW: Final = 32 << 20
#: Where parts of a trace are kept until they are put together.
PARTS: Final = ".parts"

Tell = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to write; part of the manifest, so that --resume can tell whether it still means the same.

    to: one of FORMATS; merge: one file in time order instead of one per event; events: only those, as `Trace.matching`
    has it (all if empty); since, until: as in `Trace.frames`; time: "utc", or "ns" of the trace's own clock; format: of
    the traces, as in `ltt_relay.open`, None for what their bytes tell.
    """

    to: str = "csv"
    merge: bool = False
    events: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    time: Literal["utc", "ns"] = "utc"
    format: str | None = None


@dataclass(slots=True)
class Result:
    """What came of one trace; a row of the manifest.

    status: "done" or "failed" (then `error` says why); identity: of the input; records: written; lost: known to be lost
    when it was recorded, by reason; problems: how many rows of `problems`, by code; missing: events asked for that this
    trace does not know; files: by name, their event, rows, bytes and SHA-256; columns: by event ("merged" if they are),
    Arrow type, unit and meaning.
    """

    trace: str
    output: str
    status: str = "done"
    records: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    columns: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0
    identity: dict[str, list[int]] = field(default_factory=dict)


class Tables(Protocol):
    """Where tables go."""

    def write(self, tables: dict[str, pa.Table]) -> None:
        """Append a window's tables."""


class Sink(Tables, Protocol):
    """Where a trace goes."""

    def write_table(self, name: str, table: pa.Table) -> None:
        """Append one table to a file of its own, whatever is merged."""

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete all files; returns their entries in the manifest."""

    def close(self) -> None:
        """End what runs."""


def _sink(trace: Trace, directory: Path, options: Options) -> Sink:
    if options.to == "parquet":
        from ltt_relay.export.parquet import ParquetSink

        return ParquetSink(directory, options.merge, directory / PARTS)
    if options.to == "ctf":
        from ltt_relay.export.ctf import CtfSink

        return CtfSink(directory, trace, _gaps(trace, options))
    if options.to == "perfetto":
        from ltt_relay.export.perfetto import PerfettoSink

        return PerfettoSink(directory, trace, _gaps(trace, options))
    return TextSink(directory, options.to, options.merge)


def chosen_events(trace: Trace, options: Options) -> tuple[list[str], list[str]]:
    """Return the events to convert, and those asked for that the trace does not know.

    Raises:
        UnknownEventError: it knows none of them.

    """
    if not options.events:
        catalog = trace.catalog
        return list(catalog["event"][catalog["group"] != "state"] if _is_merged(options) else catalog["event"]), []
    known: list[str] = []
    missing: list[str] = []
    error: UnknownEventError | None = None
    for name in options.events:
        try:
            known += [event for event in trace.matching(name) if event not in known]
        except UnknownEventError as unknown:
            missing.append(name)
            error = unknown
    if error and not known:
        raise error
    return known, missing


def explain(error: Exception) -> str:
    """Return an error in words: of what nobody foresaw, its kind too."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) if isinstance(error, UserError | UnknownEventError) else f"{type(error).__name__}: {error}"


def _time(options: Options) -> Literal["utc", "ns"]:
    """The kind of time that is decoded: the viewers' formats have a clock of their own, whatever is asked for."""
    return "ns" if options.to in {"ctf", "perfetto"} else options.time


def _is_merged(options: Options) -> bool:
    return options.merge and options.to in {"csv", "jsonl", "parquet"}


def _tables(trace: Trace, events: list[str], options: Options, since: Any, until: Any) -> Iterator[dict[str, pa.Table]]:
    kind = _time(options)
    if options.merge and options.to == "parquet":
        for frame in trace.iter_merged(events, since, until, None, kind, WINDOW):
            yield {MERGED: pa.Table.from_pandas(frame, preserve_index=False)}
    elif options.merge or options.to in {"ctf", "perfetto"}:
        yield from trace.iter_ranked(events, since, until, kind, WINDOW)
    else:
        yield from trace.iter_arrow(events, since, until, None, None, kind, WINDOW)


def _columns(trace: Trace, events: list[str], options: Options) -> dict[str, dict[str, dict[str, str]]]:
    """Types, units and meanings for the manifest."""
    if _is_merged(options):
        return {MERGED: _merged_columns(options.time)}
    described = {}
    for name, table in trace.arrow(events, 0, 0, time=_time(options)).items():
        schema = {row.column: row for row in trace.schema(name).itertuples()}
        described[name] = {
            column.name: {
                "type": str(column.type) if not pa.types.is_dictionary(column.type) else "dictionary<string>",
                "unit": str(getattr(schema.get(column.name), "unit", "")),
                "meaning": str(getattr(schema.get(column.name), "meaning", "")),
            }
            for column in table.schema
        }
    return described


def _merged_columns(time: str) -> dict[str, dict[str, str]]:
    types = {
        "timestamp": "timestamp[ns, tz=UTC]" if time == "utc" else "int64",
        "cpu": "uint16", "event": "dictionary<string>", "tid": "int32", "comm": "dictionary<string>",
        "payload": "large_string",
    }  # fmt: skip
    return {name: {"type": type_, "unit": "", "meaning": ""} for name, type_ in types.items()}


def _gaps(trace: Trace, options: Options) -> pd.DataFrame:
    """Return the gaps that touch the time that is converted."""
    whole = options.since is None and options.until is None
    return trace.gaps if whole else Window(trace, options.since, options.until).gaps


def finish(trace: Trace, result: Result, sink: Sink, options: Options) -> None:
    """Add what every trace has, gaps and problems, as files and in the row; and complete the files."""
    gaps, problems = _gaps(trace, options), trace.problems
    for name, frame in (("gaps", gaps), ("problems", problems)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        sink.write_table(name, table)
    # What a flight recorder has overwritten is no loss, as in `Trace.info`.
    lost = gaps[gaps["reason"] != "overwritten"].groupby("reason", observed=True)["count"].sum()
    result.lost = {str(reason): int(n) for reason, n in lost.items()}
    result.problems = {str(code): int(n) for code, n in problems["code"].value_counts().items()}
    result.files = sink.finish()


def begin(path: Path, output: Path, options: Options) -> tuple[Result, Trace, list[str]]:
    """Open a trace and make room for its output; returns the row to fill, the trace and the events to convert."""
    result = Result(str(path), str(output))
    result.identity = identity(path)
    trace = ltt_relay.open(path, options.format)
    events, result.missing = chosen_events(trace, options)
    result.columns = _columns(trace, events, options)
    output.mkdir(parents=True, exist_ok=True)
    clear(output)
    return result, trace, events


def convert_trace(path: Path, output: Path, options: Options, tell: Tell | None = None) -> Result:
    """Convert one trace; errors become the result's, never an exception. `tell` hears of records as they come."""
    begun = time.monotonic()
    try:
        result = _convert(path, output, options, tell or (lambda _: None))
    except Exception as error:
        # One trace must not end the others, whatever is wrong with it.
        result = Result(str(path), str(output), "failed", error=explain(error))
        clear(output)
    result.seconds = round(time.monotonic() - begun, 3)
    return result


def _convert(path: Path, output: Path, options: Options, tell: Tell) -> Result:
    result, trace, events = begin(path, output, options)
    sink = _sink(trace, output, options)
    try:
        result.records = write(trace, events, sink, options, options.since, options.until, tell)
        finish(trace, result, sink, options)
    finally:
        sink.close()
    return result


def write(
    trace: Trace, events: list[str], sink: Tables, options: Options, since: Any, until: Any, tell: Tell
) -> int:  # fmt: skip
    """Write a range of time to the sink; returns how many records there were."""
    records = 0
    for tables in _tables(trace, events, options, since, until):
        sink.write(tables)
        rows = sum(table.num_rows for table in tables.values())
        records += rows
        tell(rows)
    return records


def clear(output: Path) -> None:
    """Remove what an earlier attempt left unfinished; what cannot be removed is told if its name is needed."""
    for leftover in [*output.glob(f"*{UNFINISHED}"), *output.glob(f"ctf/*{UNFINISHED}")]:
        with suppress(OSError):
            leftover.unlink()
    shutil.rmtree(output / PARTS, ignore_errors=True)
