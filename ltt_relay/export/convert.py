# SPDX-License-Identifier: GPL-2.0-or-later
"""Batch conversion: trees of traces to trees of files, each trace on its own, with a manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

import ltt_relay
from ltt_relay.decode.errors import TraceError
from ltt_relay.errors import UserError
from ltt_relay.export.sinks import FORMATS, Sink

__all__ = ("MANIFEST", "ConvertError", "Options", "Result", "convert", "find_traces")

MANIFEST = "manifest.jsonl"
_SCHEMA = 1


class ConvertError(UserError):
    """The conversion as a whole cannot go on."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to write; part of the manifest, so that --resume can tell whether it still means the same."""

    to: str
    merge: bool = False
    events: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None
    time: str = "utc"
    max_bytes: str = "64 MB"


@dataclass(slots=True)
class Result:
    """A row of the manifest: one trace, what came of it."""

    trace: str
    output: str
    status: str
    records: int = 0
    lost: int = 0
    problems: int = 0
    files: dict[str, int] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    error: str = ""
    identity: str = ""


def find_traces(roots: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Yield trace directories below the roots and their paths relative to the root that they were found below."""
    for root in roots:
        if not root.exists():
            raise ConvertError(f"{root}: no such file or directory")
        if _is_trace(root):
            yield root, Path()
            continue
        for directory, subdirectories, _ in os.walk(root):
            subdirectories.sort()
            path = Path(directory)
            if path != root and _is_trace(path):
                subdirectories.clear()
                yield path, path.relative_to(root)


def _is_trace(path: Path) -> bool:
    return path.is_dir() and ((path / "metadata").is_file() or any(path.glob("events_*")))


def _identity(path: Path) -> str:
    return ";".join(
        f"{entry.name}:{entry.stat().st_size}:{entry.stat().st_mtime_ns}"
        for entry in sorted(path.iterdir())
        if entry.is_file()
    )


def _tables(trace: ltt_relay.Trace, options: Options) -> Iterator[tuple[str, pa.Table]]:
    events = list(options.events) or None
    if options.merge:
        for frame in trace.iter_merged(events, options.since, options.until, None, _time(options), options.max_bytes):
            yield "merged", pa.Table.from_pandas(frame, preserve_index=False)
        return
    windows = trace.iter_arrow(events, options.since, options.until, None, None, _time(options), options.max_bytes)
    for tables in windows:
        yield from tables.items()


def _time(options: Options) -> Any:
    return options.time


def convert_one(path: Path, output: Path, options: Options) -> Result:
    """Convert one trace; errors become the result's, never an exception."""
    result = Result(str(path), str(output), "done")
    try:
        result.identity = _identity(path)
        trace = ltt_relay.open(path)
        output.mkdir(parents=True, exist_ok=True)
        if options.to == "ctf":
            _copy(path, output, result)
        else:
            _write(trace, output, options, result)
        result.lost = int(trace.info["lost"])
        result.problems = len(trace.problems)
    except (UserError, OSError, KeyError, ValueError, pa.ArrowException) as error:
        result.status, result.error = "failed", f"{type(error).__name__}: {error}"
    return result


def _copy(path: Path, output: Path, result: Result) -> None:
    """LTT 3.0 is CTF already: the same bytes."""
    if path.resolve() == output.resolve():
        raise TraceError(f"{output} is the trace itself")
    for entry in sorted(path.iterdir()):
        if entry.is_file() and not entry.name.startswith("."):
            shutil.copyfile(entry, output / entry.name)
            result.files[entry.name] = entry.stat().st_size


def _write(trace: ltt_relay.Trace, output: Path, options: Options, result: Result) -> None:
    sinks: dict[str, Sink] = {}
    utc = options.time == "utc"
    for name, table in _tables(trace, options):
        if name not in sinks:
            sinks[name] = Sink(output, name, options.to)
            result.columns[name] = {column: str(table.schema.field(column).type) for column in table.column_names}
        sinks[name].write(table, utc)
    for name, frame in (("gaps", trace.gaps), ("problems", trace.problems)):
        sinks[name] = Sink(output, name, options.to)
        sinks[name].write(pa.Table.from_pandas(frame, preserve_index=False), True)
    for name, sink in sinks.items():
        result.files[sink.path.name] = sink.finish()
        if name not in {"gaps", "problems"}:
            result.records += sink.rows


def convert(
    roots: Iterable[Path], output: Path, options: Options, jobs: int = 1, resume: bool = False
) -> Iterator[Result]:
    """Convert all traces below the roots; yields results as they come, each of which is in the manifest by then.

    Raises:
        ConvertError: no traces, or the output is of another conversion.

    """
    traces = list(find_traces(roots))
    if not traces:
        raise ConvertError("no traces found: a trace is a directory with metadata and events_0, events_1 …")
    output.mkdir(parents=True, exist_ok=True)
    manifest = output / MANIFEST
    head = {"schema": _SCHEMA, "tool": f"ltt-relay {ltt_relay.__version__}", "options": asdict(options)}
    done = _read_manifest(manifest, head) if resume else {}
    if manifest.exists() and not resume:
        raise ConvertError(f"{manifest} exists: choose another directory, or go on with --resume")
    todo = [(path, output / part) for path, part in traces if done.get(str(path)) != _identity(path)]
    with manifest.open("a", encoding="utf-8") as log:
        if not manifest.stat().st_size:
            log.write(json.dumps(head) + "\n")
        for result in _run(todo, options, jobs):
            log.write(json.dumps(asdict(result)) + "\n")
            log.flush()
            yield result


def _read_manifest(path: Path, head: dict[str, Any]) -> dict[str, str]:
    if not path.exists():
        return {}
    first, *lines = path.read_text(encoding="utf-8").splitlines() or ["{}"]
    before = json.loads(first)
    wanted = json.loads(json.dumps(head))
    if before.get("options") != wanted["options"]:
        raise ConvertError(
            f"{path} is of a conversion with other options ({before.get('options')}): --resume needs the same"
        )
    done = {}
    for line in lines:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue  # the line that a kill cut off
        if row["status"] == "done":
            done[row["trace"]] = row["identity"]
    return done


def _run(todo: list[tuple[Path, Path]], options: Options, jobs: int) -> Iterator[Result]:
    if jobs <= 1 or len(todo) <= 1:
        for path, target in todo:
            yield convert_one(path, target, options)
        return
    with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(convert_one, path, target, options) for path, target in todo]):
            yield future.result()


def known_formats() -> list[str]:
    """Return what --to takes."""
    return [*FORMATS, "ctf"]
