# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures: each is a function from a Trace to a matplotlib Figure, free of pyplot and of any display."""

from __future__ import annotations

from ltt_relay.plot.latency import latency
from ltt_relay.plot.timeline import timeline

__all__ = ("KINDS", "latency", "timeline")

#: What `ltt-relay plot` draws.
KINDS = {"timeline": timeline, "latency": latency}
