# SPDX-License-Identifier: GPL-2.0-or-later
"""Queries of the logs in a trace: the event log (evlog) and the kernel's own (printk)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from ltt_relay.analysis.base import MissingEventError
from ltt_relay.errors import UserError
from ltt_relay.formats.ltt3 import FACILITIES, LEVELS

if TYPE_CHECKING:
    from ltt_relay.decode import Trace

__all__ = ("log_attributes", "query_log")

_SEVERITY: Final = {"evlog": "severity", "printk": "level"}


def _named(what: str, names: Iterable[str], known: Iterable[str]) -> list[str]:
    known = list(known)
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; near: {near[0]}" if near else ""
            raise UserError(f"there is no {what} {name!r}{hint}; known are {', '.join(known)}")
    return list(names)


def query_log(
    trace: Trace,
    event: str = "evlog",
    *,
    severity: str | None = None,
    facility: str | Iterable[str] | None = None,
    since: Any = None,
    until: Any = None,
    text: str | None = None,
    **equal: Any,
) -> pd.DataFrame:
    """Return the records of a log that match all that is given, with the columns of the event's frame.

    Args:
        trace: with the frame `event`: "evlog", or "printk" for the kernel's log.
        event: which of the two.
        severity: the least severe that is wanted, as in syslog: "err" is err, crit, alert and emerg.
        facility: one of them or several.
        since: from then on, as in `Trace.frames`.
        until: up to then, as in `Trace.frames`.
        text: a regular expression that is found in the text.
        equal: column=value, or column=[values], such as uid=1000, event_type=[1, 2].

    Raises:
        MissingEventError: the trace has no such records.
        UserError: a severity or facility that does not exist, with near names.

    >>> query_log(trace, severity="warning", facility=["daemon", "auth"], since="-1h")  # doctest: +SKIP

    """
    if event not in trace:
        raise MissingEventError(f"{trace.path} has no {event}: record --klog and --evlog take the logs along")
    frame = trace.frames([event], since=since, until=until)[event]
    wanted = pd.Series(data=True, index=frame.index)
    if severity is not None:
        _named("severity", [severity], LEVELS)
        wanted &= frame[_SEVERITY[event]].isin([name for name, number in LEVELS.items() if number <= LEVELS[severity]])
    if facility is not None:
        wanted &= frame["facility"].isin(
            _named("facility", [facility] if isinstance(facility, str) else facility, FACILITIES)
        )
    if text is not None:
        wanted &= frame["text"].str.contains(text, regex=True)
    for column, value in equal.items():
        if column not in frame:
            raise UserError(f"{event} has no column {column!r}; it has {', '.join(frame.columns)}")
        wanted &= frame[column].isin([value] if isinstance(value, str) or not isinstance(value, Iterable) else value)
    return frame[wanted].reset_index(drop=True)


def _column(values: list[Any]) -> pd.Series:
    """Return values of one attribute with the narrowest type that holds all: a missing one is missing."""
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present):
        return pd.Series(values, dtype="boolean")
    if all(isinstance(value, int) and not isinstance(value, bool) for value in present):
        return pd.Series(values, dtype="UInt64" if max(present) > 2**63 - 1 else "Int64")
    if all(isinstance(value, str) for value in present):
        return pd.Series(values, dtype="str")
    return pd.Series(values, dtype=object)


def log_attributes(records: pd.DataFrame) -> pd.DataFrame:
    """Return the attributes of evlog records as columns, one for each name; rows as in `records`.

    Dtypes: boolean, Int64, UInt64 (if one is beyond int64) or str; object for a name whose values differ in kind.
    A record that does not have the attribute has it missing.
    """
    parsed = [json.loads(text) if text else {} for text in records["attributes"]]
    names = dict.fromkeys(name for row in parsed for name in row)
    columns = {name: _column([row.get(name) for row in parsed]) for name in names}
    frame = pd.DataFrame(columns, index=range(len(parsed)))
    frame.index = records.index
    return frame
