# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: what happened, in words and tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from ltt_relay.analysis import losses
from ltt_relay.analysis.base import MissingEventError, Source, duration_text, origin
from ltt_relay.analysis.catalog import ANALYSES
from ltt_relay.errors import UserError
from ltt_relay.printable import printable

__all__ = ("ROWS", "WORDS", "Section", "absences", "as_object", "names", "sections", "text")

#: Rows of a table that are shown.
ROWS = 15


#: Columns of words, which stand at the left.
WORDS: Final = frozenset(
    ("event", "group", "ltt_class", "comm", "by_comm", "waker_comm", "name", "error", "state", "syscall", "context",
     "cause", "device", "op", "vec", "kind", "function", "reason", "futex", "lock")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, a table (None if there is nothing to show), and kinds of plots.

    `absent`: an event is missing; the sentence says which. `since`: the trace's begin on the clock of the table.
    """

    name: str
    title: str
    sentence: str
    table: pd.DataFrame | None = None
    plots: tuple[str, ...] = ()
    absent: bool = False
    since: int = 0

    def readable(self, rows: int = ROWS) -> pd.DataFrame:
        """Return the first rows as text: durations with units, times since the trace's begin, no empty column."""
        table = pd.DataFrame() if self.table is None else self.table
        if "in_gap" in table and not table["in_gap"].any():
            table = table.drop(columns="in_gap")
        shown = {}
        for column in table.columns:
            values = table[column].head(rows)
            if column in {"begin", "end"} and pd.api.types.is_integer_dtype(values):
                shown[column] = [f"+{duration_text(value - self.since)}" for value in values.tolist()]
                continue
            shown[column.removesuffix("_ns").removesuffix("_hz")] = [_cell(column, value) for value in values.tolist()]
        return pd.DataFrame(shown, dtype=str)


def _bytes_text(count: float) -> str:
    for limit, unit, name in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if count < limit:
            return f"{count / unit:.4g} {name}"
    return f"{count / 1e9:.4g} GB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _cell(column: str, value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "-"
    if column.endswith("_ns") and isinstance(value, (int, float)):
        return duration_text(value)
    if column == "share" and isinstance(value, float):
        return f"{100 * value:.1f} %"
    if column == "rate_hz" and isinstance(value, float):
        return f"{_number(value)} /s"
    if column == "bytes" and isinstance(value, int):
        return _bytes_text(value)
    if column in {"futex", "lock"} and isinstance(value, int):
        return f"0x{value:x}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return printable(str(value))
    if column in {"tid", "irq", "cpu"} or column.endswith("_tid"):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else _number(value)


def _summary(trace: Source) -> Section:
    info, problems = trace.info, len(trace.problems)
    env = info["env"]
    catalog = trace.catalog.sort_values("count", ascending=False, ignore_index=True)
    records = int(catalog["count"].sum())
    ns = (info["end"] or 0) - (info["begin"] or 0)
    reasons = ", ".join(f"{name} {count:,}" for name, count in info["lost_by_reason"].items() if count)
    lost = f"{info['lost']:,} records were lost ({reasons})" if info["lost"] else "nothing was lost"
    cpus = f"{info['cpus']} CPU{'' if info['cpus'] == 1 else 's'}"
    system = " ".join(str(env[name]) for name in ("sysname", "release") if env.get(name))
    sentence = (
        f"{records:,} records of {duration_text(ns)} on {cpus} of {env.get('hostname') or 'a host without a name'}"
        f"{f' ({system})' if system else ''}; {lost}; {problems} problem{'' if problems == 1 else 's'}."
    )
    return Section("trace", "Trace", sentence, catalog, ("rates",))


def names() -> list[str]:
    """Return the names of all sections."""
    return ["trace", "losses", *(entry.name for entry in ANALYSES)]


def sections(trace: Source, only: Collection[str] = ()) -> Iterator[Section]:
    """Yield the sections in order, or those of some `names`."""
    wanted = only or names()
    if "trace" in wanted:
        yield _summary(trace)
    first = origin(trace)
    lost = losses(trace)
    if "losses" in wanted and len(lost):
        sentence = "Within these gaps what is said below is incomplete: in_gap counts the intervals that touch one."
        yield Section("losses", "Losses", sentence, lost, since=first)
    for entry in ANALYSES:
        if entry.name not in wanted:
            continue
        try:
            table = entry.function(trace)
        except MissingEventError as error:
            yield Section(entry.name, entry.title, str(error), absent=True)
            continue
        except UserError as error:
            yield Section(entry.name, entry.title, f"Nothing to say: {error}.")
            continue
        if len(table):
            yield Section(entry.name, entry.title, entry.sentence, table, entry.plots, since=first)
        else:
            yield Section(entry.name, entry.title, f"{entry.sentence} There were none.")


def absences(some: Iterable[Section]) -> list[tuple[str, str]]:
    """Return what sections are absent for the same reason: (titles, reason)."""
    by_reason: dict[str, list[str]] = {}
    for section in some:
        if section.absent:
            by_reason.setdefault(section.sentence, []).append(section.title)
    return [(", ".join(titles), reason) for reason, titles in by_reason.items()]


def _lines(table: pd.DataFrame) -> Iterator[str]:
    """A table in columns, words at the left and numbers at the right."""
    columns = []
    for name in table.columns:
        cells = [name, *table[name].tolist()]
        width = max(map(len, cells))
        columns.append([cell.ljust(width) if name in WORDS else cell.rjust(width) for cell in cells])
    yield from ("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def text(trace: Source, only: Collection[str] = (), rows: int = ROWS) -> str:
    """Return the report as text, or some sections of it, with so many rows of each table."""
    lines: list[str] = []
    all_ = list(sections(trace, only))
    for section in all_:
        if section.absent:
            continue
        lines += [section.title, "=" * len(section.title), section.sentence, ""]
        if section.table is not None:
            lines += _lines(section.readable(rows))
            if len(section.table) > rows:
                lines += [f"… and {len(section.table) - rows:,} more rows"]
            lines += [""]
    missing = absences(all_)
    if missing:
        lines += ["Not in this trace", "================="]
        lines += [f"{titles}: {reason}." for titles, reason in missing]
    return "\n".join(lines)


def as_object(trace: Source, only: Collection[str] = ()) -> dict[str, Any]:
    """Return the report as what JSON can hold: whole tables, values as the analyses have them.

    Keys: `schema` 1; `trace`, `begin`, `end` (ns, wall clock), `wall_offset` (ns, from the tables' clock to the wall
    clock); `sections`, each with `name`, `title`, `sentence`, `absent` and, if there are rows, `columns` and `rows`.
    """
    info = trace.info
    found = []
    for section in sections(trace, only):
        item: dict[str, Any] = {"name": section.name, "title": section.title, "sentence": section.sentence}
        item["absent"] = section.absent
        if section.table is not None:
            columns = [section.table[name].astype(object) for name in section.table.columns]
            item["columns"] = list(section.table.columns)
            item["rows"] = [list(row) for row in zip(*(c.where(c.notna(), None) for c in columns), strict=True)]
        found.append(item)
    facts = {key: info.get(key) for key in ("begin", "end", "wall_offset", "lost")}
    return {"schema": 1, "trace": str(trace.path), **facts, "sections": found}
