# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: what happened, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from ltt_relay.analysis import losses
from ltt_relay.analysis.base import MissingEventError, Source, duration_text
from ltt_relay.analysis.catalog import ANALYSES
from ltt_relay.errors import UserError

__all__ = ("ROWS", "Section", "sections", "text")

#: Rows of a table that are shown.
ROWS = 15


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, a table (None if an event is missing, and the sentence says which), and kinds of plots."""

    title: str
    sentence: str
    table: pd.DataFrame | None
    plots: tuple[str, ...] = ()
    rows: int = 0


def _bytes_text(count: float) -> str:
    for limit, unit, name in ((1e3, 1, "B"), (1e6, 1e3, "kB"), (1e9, 1e6, "MB")):
        if count < limit:
            return f"{count / unit:.4g} {name}"
    return f"{count / 1e9:.4g} GB"


def _cell(column: str, value: object) -> str:
    if value is None or value is pd.NA or value != value:
        return "-"
    if column.endswith("_ns") and isinstance(value, (int, float)):
        return duration_text(value)
    if column == "share" and isinstance(value, float):
        return f"{100 * value:.1f} %"
    if column == "rate_hz" and isinstance(value, float):
        return f"{value:,.4g} /s"
    if column == "bytes" and isinstance(value, int):
        return _bytes_text(value)
    if column in {"futex", "lock"} and isinstance(value, int):
        return f"0x{value:x}"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        name = str(value)
        # A task can call itself anything, what moves the cursor included.
        return name if name.isprintable() else name.encode("unicode_escape").decode()
    if column in {"tid", "irq", "cpu"} or column.endswith("_tid"):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _readable(table: pd.DataFrame, first: int) -> pd.DataFrame:
    """The first rows as text: durations with units; no column that says nothing; times since the trace's begin."""
    if "in_gap" in table and not table["in_gap"].any():
        table = table.drop(columns="in_gap")
    shown = {}
    for column in table.columns:
        values = table[column].head(ROWS)
        if column in {"begin", "end"} and pd.api.types.is_integer_dtype(values):
            shown[column] = [f"+{duration_text(value - first)}" for value in values.tolist()]
            continue
        shown[column.removesuffix("_ns").removesuffix("_hz")] = [_cell(column, value) for value in values.tolist()]
    return pd.DataFrame(shown, dtype=str)


def _summary(trace: Source) -> Section:
    info, problems = trace.info, len(trace.problems)
    env = info["env"]
    catalog = trace.catalog.sort_values("count", ascending=False, ignore_index=True)
    records = int(catalog["count"].sum())
    seconds = ((info["end"] or 0) - (info["begin"] or 0)) / 1e9
    lost = f"{info['lost']:,} records were lost ({info['lost_by_reason']})" if info["lost"] else "nothing was lost"
    sentence = (
        f"{records:,} records of {seconds:.3f} s on {info['cpus']} CPUs of {env.get('hostname', 'a host')}"
        f" ({env.get('sysname', '')} {env.get('release', '')}); {lost}; {problems} problems."
    )
    return Section("Trace", sentence, _readable(catalog, 0), ("rates",), len(catalog))


def sections(trace: Source) -> Iterator[Section]:
    """Yield the sections in order; tables are text with units, cut to their first rows."""
    yield _summary(trace)
    offset = int(trace.info.get("wall_offset") or 0)
    first = (trace.info["begin"] or offset) - offset
    lost = losses(trace)
    if len(lost):
        sentence = "Within these gaps what is said below is incomplete: in_gap counts the intervals that touch one."
        yield Section("Losses", sentence, _readable(lost, first), (), len(lost))
    for entry in ANALYSES:
        try:
            table = entry.function(trace)
        except MissingEventError as error:
            yield Section(entry.title, f"Not available: {error}.", None)
            continue
        except UserError as error:
            yield Section(entry.title, f"Nothing to say: {error}.", None)
            continue
        if not len(table):
            yield Section(entry.title, f"{entry.sentence} There were none.", None)
            continue
        yield Section(entry.title, entry.sentence, _readable(table, first), entry.plots, len(table))


def text(trace: Source) -> str:
    """Return the report as text."""
    lines = []
    for section in sections(trace):
        lines += [section.title, "=" * len(section.title), section.sentence, ""]
        if section.table is not None:
            lines += [section.table.to_string(index=False)]
            if section.rows > ROWS:
                lines += [f"… and {section.rows - ROWS:,} more rows"]
            lines += [""]
    return "\n".join(lines)
