# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to pandas frames.

index     packet headers of all files                              index.py
plan      which bytes of a record become which column              plan.py
kernels   count; walk, merge and write columns in one pass         kernels.py (compiled)
batch     windows of packets through the kernels                   batch.py
names     tasks and irqs by time                                   names.py
frames    raw columns as frames and tables                         frames.py, merge.py, gaps.py
trace     `Trace`, which is all of this, when it is asked for      trace.py
"""

from __future__ import annotations

from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.trace import Trace, concatenate, iterate, open  # noqa: A004

__all__ = ("Trace", "TraceError", "concatenate", "iterate", "open")
