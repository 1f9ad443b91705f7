# SPDX-License-Identifier: GPL-2.0-or-later
"""What all analyses share: asking for an event, and saying so when it was not recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ltt_relay.decode import Trace
from ltt_relay.errors import UserError

__all__ = ("MissingEventError", "pair", "require")


class MissingEventError(UserError):
    """An analysis needs an event that the trace does not have."""


def require(trace: Trace, event: str, columns: list[str]) -> pd.DataFrame:
    """Return the frame of an event with int64 monotonic ns; raises MissingEventError if there are no such records."""
    if event not in trace:
        raise MissingEventError(f"this needs {event}, which {trace.path} does not have: record it with -e {event}")
    return trace.frames([event], columns=columns, time="ns")[event]


def pair(
    entry_time: np.ndarray, entry_key: np.ndarray, exit_time: np.ndarray, exit_key: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return indexes (into entries, into exits) of each exit that directly follows an entry of the same key."""
    times = np.concatenate([entry_time, exit_time])
    keys = np.concatenate([entry_key, exit_key])
    is_exit = np.r_[np.zeros(entry_time.size, np.int8), np.ones(exit_time.size, np.int8)]
    order = np.lexsort((is_exit, times, keys))
    k, x = keys[order], is_exit[order]
    ends = np.flatnonzero((x[1:] == 1) & (x[:-1] == 0) & (k[1:] == k[:-1])) + 1
    return order[ends - 1], order[ends] - entry_time.size
