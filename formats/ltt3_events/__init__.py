# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel does, as events of LTT 3.0: one module for the files of probes that write them.

    common.py    what they share
    tasks.py     sched, task, signal, cgroup, lock               kmod/ltt/probes_sched.c, probes_system.c
    traps.py     irq, irq_vectors, exceptions, ipi, timer        kmod/ltt/probes_irq.c, probes_timer.c
    calls.py     sys, syscalls; what sessions write themselves   kmod/ltt/probes_sys.c
    memory.py    kmem, vmscan, oom, filemap, writeback           kmod/ltt/probes_mm.c
    block.py     block                                           kmod/ltt/probes_block.c
    net.py       net, napi, skb, sock, tcp                       kmod/ltt/probes_net.c
    system.py    workqueue, power, printk, module                kmod/ltt/probes_system.c

Events and fields are named as the kernel names them. Ids are never given twice. docs/events.md says which events
continue which of the old LTT's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ltt_relay.formats.ltt3_events import block, calls, memory, net, system, tasks, traps

if TYPE_CHECKING:
    from ltt_relay.formats.base import Event

__all__ = ("KERNEL_EVENTS",)

KERNEL_EVENTS: Final[tuple[Event, ...]] = (
    *tasks.EVENTS,
    *calls.EVENTS,
    *traps.EVENTS,
    *memory.EVENTS,
    *block.EVENTS,
    *net.EVENTS,
    *system.EVENTS,
)
