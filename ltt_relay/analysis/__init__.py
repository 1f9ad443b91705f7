# SPDX-License-Identifier: GPL-2.0-or-later
"""Answers from a trace: each analysis is a function from a Trace to a frame; it says which events it needs.

`catalog.ANALYSES` lists them with their question, their plot and the events they need; docs/analysis.md is that list,
with how far each was found from the truth.
"""

from __future__ import annotations

from ltt_relay.analysis.base import MissingEventError, Window, utc
from ltt_relay.analysis.block import block_io, block_requests, queue_depth
from ltt_relay.analysis.critical import critical_path, critical_path_time, main_task
from ltt_relay.analysis.interrupts import (
    handler_intervals,
    interrupts,
    soft_interrupt_delay,
    soft_interrupt_latency,
    soft_interrupts,
    soft_intervals,
)
from ltt_relay.analysis.locks import contention, contentions, futex_waits, futexes
from ltt_relay.analysis.logs import log_attributes, query_log
from ltt_relay.analysis.offcpu import off_cpu, off_cpu_time, wakeup_pairs
from ltt_relay.analysis.sched import (
    cpu_time,
    migration_counts,
    migrations,
    preemption_counts,
    preemptions,
    run_intervals,
    run_queue,
    runqueue_wait,
    runqueue_waits,
    task_states,
    wakeup_latencies,
    wakeup_latency,
)
from ltt_relay.analysis.syscalls import syscall_durations, syscall_errors, syscall_outliers, syscalls
from ltt_relay.analysis.timers import timer_expiries, timers
from ltt_relay.analysis.usage import cpu_usage, event_rates, losses, page_faults

__all__ = (
    "MissingEventError", "Window", "block_io", "block_requests", "contention", "contentions", "cpu_time", "cpu_usage",
    "critical_path", "critical_path_time", "event_rates", "futex_waits", "futexes", "handler_intervals", "interrupts",
    "log_attributes", "losses", "main_task", "migration_counts", "migrations", "off_cpu", "off_cpu_time", "page_faults",
    "preemption_counts", "preemptions", "query_log", "queue_depth", "run_intervals", "run_queue", "runqueue_wait",
    "runqueue_waits", "soft_interrupt_delay", "soft_interrupt_latency", "soft_interrupts", "soft_intervals",
    "syscall_durations", "syscall_errors", "syscall_outliers", "syscalls", "task_states", "timer_expiries", "timers",
    "utc", "wakeup_latencies", "wakeup_latency", "wakeup_pairs",
)  # fmt: skip
