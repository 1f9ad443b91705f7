# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures: each is a function from a Trace to a matplotlib Figure, free of pyplot and of any display.

All of them count and sum before they draw, so that a million events make no larger picture than a thousand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from matplotlib.figure import Figure

from ltt_relay.analysis.base import Source
from ltt_relay.plot.bars import locks, migration, preemption, syscalls, timers
from ltt_relay.plot.latency import latency, latency_heatmap
from ltt_relay.plot.overtime import cpu, faults, interrupts, io, rates, runqueue
from ltt_relay.plot.timeline import timeline
from ltt_relay.plot.waiting import critical, offcpu, tasks, wakeups

__all__ = (
    "KINDS", "cpu", "critical", "faults", "interrupts", "io", "latency", "latency_heatmap", "locks", "migration",
    "offcpu", "preemption", "rates", "runqueue", "syscalls", "tasks", "timeline", "timers", "wakeups",
)  # fmt: skip

#: What `ltt-relay plot` draws.
KINDS: Final[dict[str, Callable[[Source], Figure]]] = {
    "timeline": timeline, "tasks": tasks, "cpu": cpu, "latency": latency, "latency-heatmap": latency_heatmap,
    "runqueue": runqueue, "preemptions": preemption, "migrations": migration, "offcpu": offcpu, "wakeups": wakeups,
    "critical-path": critical, "syscalls": syscalls, "interrupts": interrupts, "faults": faults, "io": io,
    "timers": timers, "locks": locks, "rates": rates,
}  # fmt: skip
