# SPDX-License-Identifier: GPL-2.0-or-later
"""The list of analyses: what each answers, needs, and is drawn as. The report and docs/analysis.md follow it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from ltt_relay import analysis
from ltt_relay.analysis.base import Source

__all__ = ("ANALYSES", "Analysis")


@dataclass(frozen=True, slots=True)
class Analysis:
    """One entry of the list.

    `name` is what the command calls it; `plots` are kinds of `ltt_relay.plot.KINDS`; `needs` are the events, "|"
    between alternatives.
    """

    name: str
    title: str
    sentence: str
    function: Callable[[Source], pd.DataFrame]
    needs: str
    plots: tuple[str, ...] = ()


ANALYSES: Final = (
    Analysis(
        "cpu", "CPU time by task",
        "How long each task ran; share is of one CPU. The idle task is left out.",
        analysis.cpu_time, "sched_switch", ("timeline", "tasks", "cpu"),
    ),
    Analysis(
        "wakeup-latency", "Wake-up latency by task",
        "From being woken to running, worst first.",
        analysis.wakeup_latency, "sched_switch, sched_waking | sched_wakeup", ("latency", "latency-heatmap"),
    ),
    Analysis(
        "run-queue", "Run queue",
        "How long tasks waited for a CPU, after they were woken and after they were preempted.",
        analysis.runqueue_wait, "sched_switch, sched_waking | sched_wakeup", ("runqueue",),
    ),
    Analysis(
        "preemptions", "Preemptions",
        "Which task gave way to which although it could run, and how long it had run before.",
        analysis.preemption_counts, "sched_switch", ("preemptions",),
    ),
    Analysis(
        "migrations", "Migrations",
        "Tasks that moved between CPUs, and how often they ran at all.",
        analysis.migration_counts, "sched_switch", ("migrations",),
    ),
    Analysis(
        "off-cpu", "Time off the CPU",
        "What tasks waited for: the system call, the kind of sleep, and what woke them.",
        analysis.off_cpu_time, "sched_switch, sched_waking | sched_wakeup", ("offcpu",),
    ),
    Analysis(
        "wakeups", "Who woke whom",
        "Wake-ups by the task or interrupt that did it; how long the woken slept and then waited.",
        analysis.wakeup_pairs, "sched_switch, sched_waking | sched_wakeup", ("wakeups",),
    ),
    Analysis(
        "critical-path", "Critical path",
        "What decided how long the recorded command took: itself, or the tasks that it waited for.",
        analysis.critical_path_time, "sched_switch, sched_waking | sched_wakeup", ("critical-path",),
    ),
    Analysis(
        "syscalls", "System calls",
        "Calls that returned, most time first; the time includes waiting.",
        analysis.syscalls, "sys_enter, sys_exit", ("syscalls",),
    ),
    Analysis(
        "syscalls-by-task", "System calls by task",
        "The same by task.",
        lambda trace: analysis.syscalls(trace, ["tid", "comm"]), "sys_enter, sys_exit",
    ),
    Analysis(
        "syscall-errors", "Failed system calls",
        "Which calls failed with what, most first.",
        analysis.syscall_errors, "sys_enter, sys_exit",
    ),
    Analysis(
        "syscall-outliers", "Outlying system calls",
        "Single calls that took far longer than the median of their kind.",
        analysis.syscall_outliers, "sys_enter, sys_exit",
    ),
    Analysis(
        "interrupts", "Interrupts",
        "Handlers, most time first; share is of one CPU.",
        analysis.interrupts, "irq_handler_entry, irq_handler_exit", ("interrupts",),
    ),
    Analysis(
        "softirqs", "Soft interrupts",
        "Handlers, most time first; share is of one CPU.",
        analysis.soft_interrupts, "softirq_entry, softirq_exit",
    ),
    Analysis(
        "softirq-latency", "Soft interrupt latency",
        "From being raised to the handler, by kind.",
        analysis.soft_interrupt_delay, "softirq_raise, softirq_entry",
    ),
    Analysis(
        "faults", "Page faults by task",
        "Faults in user mode and in kernel mode.",
        analysis.page_faults, "page_fault_user | page_fault_kernel", ("faults",),
    ),
    Analysis(
        "io", "Block I/O",
        "Requests by device and operation; latency is from the driver to completion.",
        analysis.block_io, "block_rq_issue, block_rq_complete", ("io",),
    ),
    Analysis(
        "timers", "Timers",
        "Handlers of kernel timers, most time first, and how late they were.",
        analysis.timers, "hrtimer_expire_entry, hrtimer_expire_exit | timer_expire_entry, timer_expire_exit",
        ("timers",),
    ),
    Analysis(
        "futexes", "Futexes",
        "Waits for locks of programs, by task name and address.",
        analysis.futexes, "sys_enter, sys_exit", ("locks",),
    ),
    Analysis(
        "locks", "Locks of the kernel",
        "Waits for contended locks, by address and task name.",
        analysis.contention, "contention_begin, contention_end", ("locks",),
    ),
)  # fmt: skip
