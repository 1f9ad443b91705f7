# SPDX-License-Identifier: GPL-2.0-or-later
"""What interrupts a CPU: interrupts, soft interrupts, traps, and timers."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import enum, field, flags, i32, i64, u32, u64
from ltt_relay.formats.ltt3_events.common import TID, address, pid, tracepoint

__all__ = ("EVENTS", "SOFTIRQS")

SOFTIRQS: Final = {
    name: number
    for number, name in enumerate(
        ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
    )
}

ITIMERS: Final = {"real": 0, "virtual": 1, "prof": 2}

#: How a high resolution timer is armed; no bit: absolute time.
HRTIMER_MODES: Final = {"rel": 1, "pinned": 2, "soft": 4, "hard": 8}

_IRQ = field("irq", i32, "interrupt number", names=("irq", "name"))
_SOFTIRQ = field("vec", enum(u32, SOFTIRQS), "soft interrupt")
_FAULT = (
    TID,
    field("error_code", u32, "processor's error code", hint="hex"),
    field("address", u64, "address that faulted", hint="hex"),
    field("ip", u64, "instruction that faulted", hint="hex"),
)
_TASKLET = (address("tasklet", "which tasklet"), address("func", "its function"))
_TIMER = address("timer", "which timer")
_HRTIMER = address("hrtimer", "which timer")
_FUNCTION = address("function", "what is called when it expires")

# An interrupt between the CPUs or from the local timer has a vector, and no number.
_VECTORS = (
    (64, "local_timer", "kernel_timer", "the CPU's own timer"),
    (66, "reschedule", "irq", "another CPU asks for a look at the run queue"),
    (68, "call_function", "irq", "another CPU asks for a call on many CPUs"),
    (70, "call_function_single", "irq", "another CPU asks for a call on this one"),
    (72, "irq_work", "irq", "work that was put off to an interrupt"),
)

EVENTS: Final = (
    tracepoint(6, "irq:irq_handler_entry", "irq_entry", "an interrupt handler begins", _IRQ),
    tracepoint(
        7, "irq:irq_handler_exit", "irq_exit", "an interrupt handler ends",
        _IRQ, field("ret", i32, "0 not mine, 1 handled, 2 wake the handler's thread"),
    ),
    tracepoint(8, "irq:softirq_entry", "soft_irq", "a soft interrupt handler begins", _SOFTIRQ),
    tracepoint(9, "irq:softirq_exit", "soft_irq", "a soft interrupt handler ends", _SOFTIRQ),
    tracepoint(26, "irq:softirq_raise", "soft_irq", "a soft interrupt is asked for", _SOFTIRQ),
    tracepoint(27, "irq:tasklet_entry", "soft_irq", "a tasklet begins", *_TASKLET),
    tracepoint(28, "irq:tasklet_exit", "soft_irq", "a tasklet ends", *_TASKLET),
    *(
        tracepoint(
            first + (side == "exit"), f"irq_vectors:{name}_{side}",
            ltt_class if ltt_class == "kernel_timer" else f"irq_{side}", f"{doc}: its handler {verb}",
            field("vector", i32, "its vector"),
        )
        for first, name, ltt_class, doc in _VECTORS
        for side, verb in (("entry", "begins"), ("exit", "ends"))
    ),
    tracepoint(
        169, "ipi:ipi_send_cpu", "none", "a CPU interrupts another",
        field("target_cpu", u32, "which"),
        field("reserved", u32, "0"),
        address("callsite", "who asked for it"),
        address("callback", "what is to be called there; 0 for none"),
    ),
    tracepoint(10, "exceptions:page_fault_user", "trap_entry", "a page fault in user mode", *_FAULT),
    tracepoint(11, "exceptions:page_fault_kernel", "trap_entry", "a page fault in kernel mode", *_FAULT),
    tracepoint(
        74, "timer:timer_start", "timer", "a timer is armed",
        _TIMER, _FUNCTION,
        field("expires", u64, "when it is to expire", unit="jiffies"),
        field("flags", u32, "CPU and kind: TIMER_ bits", hint="hex"),
    ),
    tracepoint(75, "timer:timer_cancel", "timer", "a timer is disarmed", _TIMER),
    tracepoint(
        76, "timer:timer_expire_entry", "timer", "a timer expired: its function begins",
        _TIMER, _FUNCTION, field("now", u64, "the time", unit="jiffies"),
    ),
    tracepoint(77, "timer:timer_expire_exit", "timer", "a timer's function ends", _TIMER),
    tracepoint(
        78, "timer:hrtimer_start", "timer", "a high resolution timer is armed",
        _HRTIMER, _FUNCTION,
        field("expires", i64, "when it is to expire, by its clock", unit="ns"),
        field("softexpires", i64, "when it may expire at the earliest", unit="ns"),
        field("mode", flags(u32, HRTIMER_MODES), "how the time is meant", hint="hex"),
    ),
    tracepoint(79, "timer:hrtimer_cancel", "timer", "a high resolution timer is disarmed", _HRTIMER),
    tracepoint(
        80, "timer:hrtimer_expire_entry", "timer", "a high resolution timer expired: its function begins",
        _HRTIMER, _FUNCTION, field("now", i64, "the time, by its clock", unit="ns"),
    ),
    tracepoint(81, "timer:hrtimer_expire_exit", "timer", "a high resolution timer's function ends", _HRTIMER),
    tracepoint(
        82, "timer:itimer_state", "timer", "a task arms or disarms an interval timer",
        TID,
        field("which", enum(u32, ITIMERS), "which of its timers"),
        field("expires", u64, "when it is to expire, 0 for never; by the timer's clock", unit="ns"),
        field("value", u64, "until it expires", unit="ns"),
        field("interval", u64, "from one time to the next, 0 for once", unit="ns"),
    ),
    tracepoint(
        83, "timer:itimer_expire", "timer", "an interval timer expired",
        field("which", enum(u32, ITIMERS), "which of the task's timers"),
        pid("pid", "thread group id of the task", "event_comm"),
        field("now", u64, "the time, by the timer's clock", unit="ns"),
    ),
    tracepoint(
        84, "timer:tick_stop", "kernel_timer", "the tick is to stop, as there is nothing to do",
        field("success", u32, "1 if it does"),
        field("dependency", u32, "what keeps it, in bits", hint="hex"),
    ),
)  # fmt: skip
