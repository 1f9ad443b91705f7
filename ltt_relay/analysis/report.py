# SPDX-License-Identifier: GPL-2.0-or-later
"""The report: what happened, in words and tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd

from ltt_relay import analysis
from ltt_relay.decode import Trace

__all__ = ("Section", "sections", "text")

_ROWS = 15


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, a sentence, and a table (None if an event is missing, and the sentence says which)."""

    title: str
    sentence: str
    table: pd.DataFrame | None


_ANALYSES: tuple[tuple[str, str, Callable[[Trace], pd.DataFrame]], ...] = (
    ("CPU time by task", "How long each task ran; share is of one CPU.", analysis.cpu_time),
    ("Wake-up latency by task", "From being woken to running, worst first.", analysis.wakeup_latency),
    ("System calls", "Calls that returned, most time first; the time includes waiting.", analysis.syscalls),
    ("Interrupts", "Handlers, most time first.", analysis.interrupts),
    ("Soft interrupts", "Handlers, most time first.", analysis.soft_interrupts),
    ("Page faults by task", "Faults in user mode and in kernel mode.", analysis.page_faults),
)


def _duration(ns: float) -> str:
    for limit, unit, name in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if abs(ns) < limit:
            return f"{ns / unit:.4g} {name}"
    return f"{ns / 1e9:.4g} s"


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    shown = table.head(_ROWS).copy()
    for column in shown.columns:
        if column.endswith("_ns"):
            shown[column] = [_duration(value) for value in shown[column]]
            shown = shown.rename(columns={column: column[:-3]})
        elif column == "share":
            shown[column] = [f"{100 * value:.1f} %" for value in shown[column]]
    return shown


def sections(trace: Trace) -> Iterator[Section]:
    """Yield the sections in order; durations are rendered with units, tables cut to their first rows."""
    info = trace.info
    env = info["env"]
    seconds = ((info["end"] or 0) - (info["begin"] or 0)) / 1e9
    loss = f"{info['lost']:,} records were lost ({info['lost_by_reason']})" if info["lost"] else "nothing was lost"
    yield Section(
        "Trace",
        f"{info['records']:,} records of {seconds:.3f} s on {info['cpus']} CPUs of {env.get('hostname', 'a host')}"
        f" ({env.get('sysname', '')} {env.get('release', '')}); {loss}; {len(trace.problems)} problems.",
        trace.catalog.sort_values("count", ascending=False, ignore_index=True),
    )
    if len(trace.gaps):
        yield Section("Gaps", "What is said below is incomplete within these intervals.", trace.gaps.head(_ROWS))
    for title, sentence, function in _ANALYSES:
        try:
            table = _readable(function(trace))
        except analysis.MissingEventError as error:
            yield Section(title, f"Not available: {error}.", None)
            continue
        yield Section(title, sentence, table)


def text(trace: Trace) -> str:
    """Return the report as text."""
    lines = []
    for section in sections(trace):
        lines += [section.title, "=" * len(section.title), section.sentence, ""]
        if section.table is not None:
            lines += [section.table.to_string(index=False), ""]
    return "\n".join(lines)
