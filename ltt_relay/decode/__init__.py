# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to pandas frames.

opening     which format a path is                                       opening.py
source      packets, counts, names and losses of a trace                 source.py, ltt3.py, index.py, metadata.py
plan        which bytes of a record become which column                  plan.py, parts.py
walk        packets to entries, a record each                            walk_*.py, records.py, reader.py
gather      entries to columns, in order of time                         drain.py, entries.py, gather.py, variable.py
            for ranges of time, each in a thread                         batch.py
frames      columns as frames and tables                                 frames.py, merge.py, gaps.py, names.py
trace       `Trace`, which is all of this, when it is asked for          trace.py
"""

from __future__ import annotations

from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.trace import Trace, concatenate, iterate, open  # noqa: A004

__all__ = ("Trace", "TraceError", "concatenate", "iterate", "open")
