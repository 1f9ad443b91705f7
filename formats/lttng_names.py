# SPDX-License-Identifier: GPL-2.0-or-later
"""What the markers of LTTng before CTF are in LTT 3.0: event and field names, the class of the old LTT."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from ltt_relay.formats import ltt3
from ltt_relay.formats.base import Event, Naming, Switch, unused
from ltt_relay.formats.layout import Alignment, Chars, CString, Repeat, Scalar, members

__all__ = ("EVENTS", "NAMED", "NAMINGS", "SWITCH", "Known", "lookup", "told_by")


@dataclass(frozen=True, slots=True)
class Known:
    """event: the LTT 3.0 name, "" if there is none; fields: old names to new; tid: a field with the running task."""

    event: str
    ltt_class: str
    doc: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    tid: str | None = None


_WAKEUP: Final = {"cpu_id": "target_cpu"}
_VEC: Final = {"softirq_id": "vec"}
_IRQ: Final = {"irq_id": "irq", "action": "handler"}
_TASK: Final = {"parent_pid": "ppid", "name": "comm"}

_KNOWN: Final = {
    "sched_schedule": Known("sched_switch", "schedchange", "a CPU goes from one task to the next", tid="prev_pid"),
    "sched_try_wakeup": Known("sched_waking", "process", "a task is about to be woken", _WAKEUP),
    "sched_wakeup": Known("sched_wakeup", "process", "a task became runnable", _WAKEUP),
    "sched_wakeup_new_task": Known("sched_wakeup_new", "process", "a new task became runnable", _WAKEUP),
    "sched_migrate_task": Known("sched_migrate_task", "process", "a task goes to another CPU"),
    "syscall_entry": Known("sys_enter", "syscall", "a system call begins", {"syscall_id": "id"}),
    "syscall_exit": Known("sys_exit", "syscall", "a system call ends"),
    "irq_entry": Known("irq_handler_entry", "irq_entry", "an interrupt handler begins", {"irq_id": "irq"}),
    "irq_exit": Known("irq_handler_exit", "irq_exit", "an interrupt handler ends", {"handled": "ret"}),
    "softirq_raise": Known("softirq_raise", "soft_irq", "a soft interrupt is asked for", _VEC),
    "softirq_entry": Known("softirq_entry", "soft_irq", "a soft interrupt handler begins", _VEC),
    "softirq_exit": Known("softirq_exit", "soft_irq", "a soft interrupt handler ends", _VEC),
    "tasklet_low_entry": Known("tasklet_entry", "soft_irq", "a tasklet begins"),
    "tasklet_low_exit": Known("tasklet_exit", "soft_irq", "a tasklet ends"),
    "process_fork": Known("sched_process_fork", "process", "a task is made", tid="parent_pid"),
    "kthread_create": Known("", "process", "a kernel thread is made"),
    "process_exit": Known("sched_process_exit", "process", "a task ends", tid="pid"),
    "process_wait": Known("sched_process_wait", "process", "a task waits for another"),
    "process_free": Known("sched_process_free", "process", "a task is freed"),
    "send_signal": Known("signal_generate", "process", "a signal is sent", {"signal": "sig"}),
    "exec": Known("sched_process_exec", "process", "a task starts another program"),
    "timer_set": Known("timer_start", "timer", "a timer is set"),
    "timer_timeout": Known("timer_expire_entry", "timer", "a timer expired"),
    "process_state": Known("state_task", "process", "a task, as it is when the trace begins", _TASK),
    "list_module": Known("state_module", "memory", "a kernel module that was loaded"),
    "interrupt": Known("state_irq", "irq_entry", "the name of an interrupt's handler", _IRQ),
    "page_fault_entry": Known("", "trap_entry", "a page fault begins"),
    "page_fault_exit": Known("", "trap_exit", "a page fault ends"),
    "trap_entry": Known("", "trap_entry", "a trap begins"),
    "trap_exit": Known("", "trap_exit", "a trap ends"),
}  # fmt: skip

#: Names that only markers known here get.
EVENTS: Final = frozenset(known.event for known in _KNOWN.values() if known.event)

#: Which numbers in which events the trace's own names go with, as in LTT 3.0.
NAMED: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "sched_switch": {"prev_pid": ("task", "prev_comm"), "next_pid": ("task", "next_comm")},
    "irq_handler_entry": {"irq": ("irq", "name")},
    **{event: {"pid": ("task", "event_comm")} for event in ("sched_waking", "sched_wakeup", "sched_wakeup_new")},
}  # fmt: skip

#: Without these, an event is not what its name in LTT 3.0 says.
_NEEDED: Final[dict[str, frozenset[str]]] = {
    **{event: frozenset(numbers) for event, numbers in NAMED.items()},
    "state_task": frozenset({"pid", "comm"}), "state_irq": frozenset({"irq", "handler"}),
    "sched_process_exec": frozenset({"filename"}),
}  # fmt: skip

_CLASS_OF_CHANNEL: Final = {
    "fs": "file_system", "block": "file_system", "fd_state": "file_system", "mm": "memory", "vm_state": "memory",
    "swap_state": "memory", "net": "network", "netif_state": "network", "ipc": "ipc", "irq_state": "irq_entry",
    "task_state": "process", "softirq_state": "soft_irq", "syscall_state": "syscall", "module_state": "memory",
}  # fmt: skip

SWITCH: Final = Switch("sched_switch", "prev_pid", "next_pid")
NAMINGS: Final = (
    Naming("task", "state_task", "pid", "comm"),
    Naming("task", "sched_process_exec", "tid", "filename", program=True),
    Naming("irq", "state_irq", "irq", "handler"),
)


def _kinds(event: Event) -> dict[str, str]:
    """Return what an event's fields are: "number", "integer" (one that no text is before), "text" or "other"."""
    found = {}
    fixed = True
    for member in members(event.payload):
        match member.kind:
            case Scalar(names=None, flags=None):
                found[member.name] = "integer" if fixed else "number"
            case Scalar():
                found[member.name] = "number"
            case CString() | Chars():
                found[member.name] = "text"
                fixed = False
            case Alignment() | Repeat(int()):
                found[member.name] = "other"
            case _:
                found[member.name] = "other"
                fixed = False
    return found


@functools.cache
def _texts(event: str) -> dict[str, bool]:
    """Return the fields of an event of LTT 3.0, and whether they are texts."""
    kinds = next((_kinds(each) for each in ltt3.EVENTS if each.name == event), {})
    return {name: kind == "text" for name, kind in kinds.items()}


def _fits(event: Event) -> bool:
    """Whether an event has the fields by which those of its name are told apart, and numbers where those have some."""
    kinds = _kinds(event)
    like = _texts(event.name)
    return _NEEDED.get(event.name, frozenset()) <= kinds.keys() and all(
        (kinds[name] == "text") == like[name] for name in like.keys() & kinds.keys()
    )


def told_by(
    events: Iterable[Event], namings: Iterable[Naming]
) -> tuple[tuple[Event, ...], Switch | None, tuple[Naming, ...]]:  # fmt: skip
    """Return the events, `SWITCH` if they can tell of it, and those of `namings` that they can tell of.

    What a trace says of an event may lack the fields of these, or have others of their names: then the event has its
    own name again.
    """
    found = []
    taken = set(EVENTS)
    kinds = {}
    for event in events:
        if event.name in EVENTS and not _fits(event):
            own = (event.provider or event.name).replace(".", "_")
            event = replace(event, name=unused(own, event.id, taken), tid=None)
        kinds[event.name] = _kinds(event)
        taken.add(event.name)
        fixed = event.tid is None or kinds[event.name].get(event.tid) == "integer"
        found.append(event if fixed else replace(event, tid=None))
    switch = kinds.get(SWITCH.event, {})
    tells = switch.get(SWITCH.previous) == switch.get(SWITCH.next) == "integer"
    usable = tuple(naming for naming in namings if naming.event in kinds)
    return tuple(found), SWITCH if tells else None, usable


def lookup(channel: str, marker: str) -> Known:
    """Return what is known of a marker."""
    known = _KNOWN.get(marker)
    if known is not None:
        return known
    return Known("", _CLASS_OF_CHANNEL.get(channel, "custom"))
