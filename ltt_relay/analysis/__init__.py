# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers from a trace: each analysis is a function from a Trace to a frame; it says which events it needs."""

from __future__ import annotations

from ltt_relay.analysis.base import MissingEventError
from ltt_relay.analysis.kernel import interrupts, page_faults, soft_interrupts, syscall_durations, syscalls
from ltt_relay.analysis.sched import cpu_time, run_intervals, wakeup_latencies, wakeup_latency

__all__ = (
    "MissingEventError", "cpu_time", "interrupts", "page_faults", "run_intervals", "soft_interrupts",
    "syscall_durations", "syscalls", "wakeup_latencies", "wakeup_latency",
)  # fmt: skip
