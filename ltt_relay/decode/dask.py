# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace as a Dask frame: each partition a window of time, decoded by whoever works on it.

Tasks carry the path and a range of time, not data: workers must see the same files at the same path.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ltt_relay.decode.identity import identity, reopen
from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from ltt_relay.decode.trace import TimeKind, Trace

__all__ = ("MissingDaskError", "to_dask")


class MissingDaskError(UserError, ImportError):
    """Dask is not installed."""


def _partition(
    window: tuple[Any, Any], path: str, format_name: Any, event: str, cpus: Any, time: TimeKind, state: str,
    columns: Any = None,
) -> pd.DataFrame:  # fmt: skip
    """One window's frame, by time, with the columns that Dask found are needed.

    `state` makes the task another one when the trace has changed.
    """
    wanted = None if columns is None else ["timestamp", *columns]
    frame = reopen(Path(path), format_name).frames(event, *window, cpus, wanted, time)[event].set_index("timestamp")
    return frame if columns is None else frame[list(columns)]


def to_dask(
    trace: Trace,
    event: str,
    since: Any,
    until: Any,
    cpus: Iterable[int] | None,
    columns: Iterable[str] | None,
    time: TimeKind,
    partition_bytes: int | str,
) -> Any:
    """See `Trace.to_dask`."""
    try:
        import dask
        from dask.dataframe import from_map
    except ImportError as error:
        raise MissingDaskError(f"to_dask needs Dask ({error}): pip install 'ltt-relay[dask]'") from error
    among = None if cpus is None else sorted(set(cpus))
    meta = trace.frames(event, 0, 0, among, None, time)[event].set_index("timestamp")
    windows = list(trace.windows(partition_bytes, since, until))
    edges: list[Any] = trace.edges(windows, time)
    # Text is pandas' own str already; Dask would make another dtype of it.
    with dask.config.set({"dataframe.convert-string": False}):
        lazy = from_map(
            _partition,
            windows,
            args=(str(trace.path.absolute()), trace.format_name, event, among, time, str(identity(trace.path))),
            meta=meta,
            divisions=[pd.Timestamp(edge, unit="ns", tz="UTC") for edge in edges] if time == "utc" else edges,
            label=f"ltt-{event}",
            enforce_metadata=False,
        )
    return lazy if columns is None else lazy[[column for column in meta if column in set(columns)]]
