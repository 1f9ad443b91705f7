# SPDX-License-Identifier: GPL-2.0-or-later
"""The rest of the system: workqueues, power, the console, modules."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import cstring, field, i32, u32
from ltt_relay.formats.ltt3_events.common import TID, address, tracepoint

__all__ = ("EVENTS",)

_WORK = address("work", "which work")
_FUNCTION = address("function", "what it does")
_CPU = field("cpu_id", u32, "which CPU")

EVENTS: Final = (
    tracepoint(
        85, "workqueue:workqueue_queue_work", "soft_irq", "work is put off to a worker",
        _WORK, _FUNCTION, field("req_cpu", i32, "CPU it was put off to; the number of CPUs there can be, for any"),
    ),
    tracepoint(86, "workqueue:workqueue_activate_work", "soft_irq", "work is ready for a worker", _WORK),
    tracepoint(87, "workqueue:workqueue_execute_start", "soft_irq", "a worker begins", _WORK, _FUNCTION),
    tracepoint(88, "workqueue:workqueue_execute_end", "soft_irq", "a worker is done", _WORK, _FUNCTION),
    tracepoint(160, "power:cpu_idle", "dpm", "a CPU goes to rest, or comes back",
               field("state", u32, "how deep; 4294967295 when it comes back"), _CPU),
    tracepoint(161, "power:cpu_frequency", "dpm", "a CPU's frequency changes",
               field("state", u32, "the new one", unit="kHz"), _CPU),
    tracepoint(
        162, "power:suspend_resume", "dpm", "a step of going to sleep or of waking up",
        field("val", i32, "what it is about: a state, a CPU"), field("start", u32, "1 at its begin, 0 at its end"),
        field("action", cstring(), "the step"),
    ),
    tracepoint(163, "printk:console", "custom", "a line is printed", TID, field("msg", cstring(), "the line")),
    tracepoint(164, "module:module_load", "memory", "a kernel module is loaded",
               TID, field("taints", u32, "how it taints the kernel, in bits", hint="hex"),
               field("name", cstring(), "the module")),
    tracepoint(165, "module:module_free", "memory", "a kernel module is gone", TID,
               field("name", cstring(), "the module")),
    tracepoint(
        166, "module:module_request", "memory", "a kernel module is asked for",
        address("ip", "by whom"), TID, field("wait", u32, "1 if the asker waits for it"),
        field("name", cstring(), "the module, or what it is to do"),
    ),
)  # fmt: skip
