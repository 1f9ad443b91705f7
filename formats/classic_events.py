# SPDX-License-Identifier: GPL-2.0-or-later
"""The events of LTT before LTTng (1999 to 2005), with the names that the kernel gives the same things today.

An event of LTT has a number and, for nine of them, a sub-number in its first byte: "process" with 2 is a fork. Each
pair is an event of its own here, with `event_id` as its id: number | sub-number << 8. Where today's kernel has a
tracepoint for it, the event has its name and its fields' names; what LTT did not record has no column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import construct

from ltt_relay.formats.base import Event, Naming
from ltt_relay.formats.fields import Field, chars, cstring, field, integer, pad, struct

__all__ = (
    "BUFFER_END", "BUFFER_START", "CUSTOM", "CUSTOM_IDS", "KINDS", "MAGIC", "NEW_EVENT", "PROGRAMS",
    "START", "Kind", "Slot",
    "event_id", "events", "layout", "size",
)  # fmt: skip

MAGIC: Final = 0x00D6B7ED
START, BUFFER_START, BUFFER_END, NEW_EVENT, CUSTOM = 0, 17, 18, 19, 20
#: The id of a custom event's own kind is this plus its number.
CUSTOM_IDS: Final = 0x8000


class Slot(NamedTuple):
    """A member of an event's struct in the file: its name, bytes, and whether it is a pointer without use."""

    name: str
    size: int
    pointer: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """An event as frames show it.

    columns: (slot, column, how, meaning) of the slots that become columns; how: "i" signed, "x" hexadecimal, "pid",
    "irq". text: name and meaning of the text behind the struct.
    """

    id: int
    sub: int
    name: str
    group: str
    ltt_class: str
    doc: str
    columns: tuple[tuple[str, str, str, str], ...] = ()
    text: tuple[str, str] | None = None


def event_id(number: int, sub: int = 0) -> int:
    """Return the id of an event here."""
    return number | sub << 8


def _k(
    number: int, sub: int, name: str, group: str, ltt_class: str, doc: str, *columns: tuple[str, str],
    text: tuple[str, str] | None = None,
) -> Kind:  # fmt: skip
    """Each column is a rule, `slot=column:how` (`slot` alone if they have one name), and a meaning."""
    split = []
    for rule, meaning in columns:
        names, _, how = rule.partition(":")
        slot, _, column = names.partition("=")
        split.append((slot, column or slot, how, meaning))
    return Kind(number, sub, name, group, ltt_class, doc, tuple(split), text)


_DATA: Final = (("sub_id", "which of its kinds"), ("data1:x", "depends on it"), ("data2:x", "depends on it"))
_ONE: Final = (("sub_id", "which of its kinds"), ("data1:x", "depends on it"))
_FD: Final = ("data1=fd", "file descriptor")

#: Whoever starts a program has its name from then on.
PROGRAMS: Final = Naming("task", "sched_process_exec", "tid", "filename", program=True)

#: In the order of numbers; sub-number 0 is for those without, and for sub-numbers that no source names.
KINDS: Final = (
    _k(0, 0, "trace_start", "ltt", "custom", "a trace begins: what wrote it, and what it records",
       ("magic:x", "0x00D6B7ED"), ("arch_type", "architecture"), ("arch_variant", "variant of it"),
       ("system_type:x", "kernel"), ("major", "version"), ("minor", "version"),
       ("buffer_size", "bytes of a sub-buffer"), ("event_mask:x", "bit n: event n is recorded"),
       ("details_mask:x", "bit n: event n has its struct"), ("log_cpuid", "1 if records have a CPU"),
       ("use_tsc", "1 if times are cycles"), ("cpu_id", "CPU"),
       ("flight_recorder", "1 if old sub-buffers are overwritten")),
    _k(1, 0, "sys_enter", "syscall", "syscall", "a system call begins",
       ("syscall_id=id", "its number"), ("address=ip:x", "instruction that made it")),
    _k(2, 0, "sys_exit", "syscall", "syscall", "a system call ends"),
    _k(3, 0, "trap_entry", "exceptions", "trap_entry", "the processor traps; a page fault is 14 on i386",
       ("trap_id=trap", "its number"), ("address=ip:x", "instruction that trapped")),
    _k(4, 0, "trap_exit", "exceptions", "trap_exit", "a trap is dealt with"),
    _k(5, 0, "irq_handler_entry", "irq", "irq_entry", "an interrupt begins",
       ("irq_id=irq:irq", "interrupt number"), ("kernel=in_kernel", "1 if it interrupted the kernel")),
    _k(6, 0, "irq_handler_exit", "irq", "irq_exit", "an interrupt ends"),
    _k(7, 0, "sched_switch", "sched", "schedchange", "a CPU goes from one task to the next",
       ("out=prev_pid:pid", "thread id of the task that leaves the CPU"),
       ("in=next_pid:pid", "thread id of the task that gets the CPU"),
       ("out_state=prev_state", "why it leaves: 0 runnable, 1 and 2 asleep, above as its kernel has it")),
    _k(8, 0, "kernel_timer", "timer", "kernel_timer", "the timer interrupt's own work"),
    _k(9, 0, "soft_irq", "irq", "soft_irq", "work put off by an interrupt begins", *_ONE),
    _k(9, 1, "bottom_half_entry", "irq", "soft_irq", "a bottom half begins", ("data1=vec", "which")),
    _k(9, 2, "softirq_entry", "irq", "soft_irq", "a soft interrupt handler begins",
       ("data1=vec", "which, as its kernel numbers them")),
    _k(9, 3, "tasklet_entry", "irq", "soft_irq", "a tasklet begins", ("data1=func:x", "its function")),
    _k(9, 4, "tasklet_hi_entry", "irq", "soft_irq", "a tasklet of high priority begins",
       ("data1=func:x", "its function")),
    _k(10, 0, "process", "sched", "process", "something with a task", *_DATA),
    _k(10, 1, "sched_kthread", "sched", "process", "a kernel thread is made",
       ("data1=child_pid:pid", "its thread id"), ("data2=func:x", "its function")),
    _k(10, 2, "sched_process_fork", "sched", "process", "a task is made",
       ("data1=child_pid:pid", "thread id of the new task")),
    _k(10, 3, "sched_process_exit", "sched", "process", "the running task ends"),
    _k(10, 4, "sched_process_wait", "sched", "process", "the running task waits for a child",
       ("data1=pid:pid", "which; -1 any")),
    _k(10, 5, "signal_generate", "signal", "process", "a signal is sent",
       ("data1=sig", "its number"), ("data2=pid:pid", "thread id of the task it is for")),
    _k(10, 6, "sched_wakeup", "sched", "process", "a task is woken",
       ("data1=pid:pid", "its thread id"), ("data2=state", "why it slept")),
    _k(10, 7, "sched_process_free", "sched", "process", "what is left of a task is freed",
       ("data1=pid:pid", "its thread id")),
    _k(11, 0, "file_system", "fs", "file_system", "something with a file", *_DATA),
    _k(11, 1, "fs_buf_wait_start", "fs", "file_system", "the running task begins to wait for a buffer"),
    _k(11, 2, "fs_buf_wait_end", "fs", "file_system", "the wait for a buffer ends"),
    _k(11, 3, "sched_process_exec", "sched", "file_system", "the running task starts another program",
       ("data2=length", "of its name"), text=("filename", "the program")),
    _k(11, 4, "fs_open", "fs", "file_system", "a file is opened", _FD, ("data2=length", "of its name"),
       text=("filename", "its name")),
    _k(11, 5, "fs_close", "fs", "file_system", "a file is closed", _FD),
    _k(11, 6, "fs_read", "fs", "file_system", "a file is read", _FD, ("data2=count", "bytes asked for")),
    _k(11, 7, "fs_write", "fs", "file_system", "a file is written", _FD, ("data2=count", "bytes given")),
    _k(11, 8, "fs_seek", "fs", "file_system", "a place in a file is gone to", _FD, ("data2=offset:i", "where")),
    _k(11, 9, "fs_ioctl", "fs", "file_system", "a device is told something", _FD, ("data2=cmd:x", "what")),
    _k(11, 10, "fs_select", "fs", "file_system", "select waits on a file", _FD, ("data2=timeout:i", "jiffies")),
    _k(11, 11, "fs_poll", "fs", "file_system", "poll waits on a file", _FD, ("data2=timeout:i", "jiffies")),
    _k(12, 0, "timer", "timer", "timer", "something with a timer", ("sub_id", "which of its kinds"),
       ("sdata", "depends on it"), ("data1:x", "depends on it"), ("data2:x", "depends on it")),
    _k(12, 1, "itimer_expire", "timer", "timer", "an interval timer expires"),
    _k(12, 2, "itimer_state", "timer", "timer", "an interval timer is set", ("sdata=which", "which timer"),
       ("data1=interval", "jiffies"), ("data2=value", "jiffies to the first time")),
    _k(12, 3, "schedule_timeout", "timer", "timer", "the running task will sleep for a time",
       ("data1=timeout", "jiffies")),
    _k(13, 0, "memory", "mm", "memory", "something with memory", *_ONE),
    _k(13, 1, "mm_page_alloc", "mm", "memory", "pages are allocated", ("data1=order", "2**order pages")),
    _k(13, 2, "mm_page_free", "mm", "memory", "pages are freed", ("data1=order", "2**order pages")),
    _k(13, 3, "mm_swap_in", "mm", "memory", "a page comes in from swap", ("data1=page:x", "which")),
    _k(13, 4, "mm_swap_out", "mm", "memory", "a page goes out to swap", ("data1=page:x", "which")),
    _k(13, 5, "mm_page_wait_start", "mm", "memory", "the running task begins to wait for a page"),
    _k(13, 6, "mm_page_wait_end", "mm", "memory", "the wait for a page ends"),
    _k(14, 0, "socket", "net", "socket", "something with a socket", *_DATA),
    _k(14, 1, "socket_call", "net", "socket", "a socket call", ("data1=call", "its number"),
       ("data2=first:x", "first argument")),
    _k(14, 2, "socket_create", "net", "socket", "a socket is made", _FD, ("data2=type", "its type")),
    _k(14, 3, "socket_send", "net", "socket", "data are sent", ("data1=type", "of the socket"),
       ("data2=size", "bytes")),
    _k(14, 4, "socket_receive", "net", "socket", "data are received", ("data1=type", "of the socket"),
       ("data2=size", "bytes")),
    _k(15, 0, "ipc", "ipc", "ipc", "something with System V IPC", *_DATA),
    _k(15, 1, "ipc_call", "ipc", "ipc", "a call", ("data1=call", "its number"), ("data2=first:x", "first argument")),
    _k(15, 2, "ipc_msg_create", "ipc", "ipc", "a message queue is made", ("data1=id", "its number"),
       ("data2=flags:x", "how")),
    _k(15, 3, "ipc_sem_create", "ipc", "ipc", "a set of semaphores is made", ("data1=id", "its number"),
       ("data2=flags:x", "how")),
    _k(15, 4, "ipc_shm_create", "ipc", "ipc", "a shared memory segment is made", ("data1=id", "its number"),
       ("data2=flags:x", "how")),
    _k(16, 0, "network", "net", "network", "something with a packet", *_ONE),
    _k(16, 1, "netif_receive_skb", "net", "network", "a packet comes in", ("data1=protocol:x", "its protocol")),
    _k(16, 2, "net_dev_queue", "net", "network", "a packet goes out", ("data1=protocol:x", "its protocol")),
    _k(17, 0, "buffer_start", "ltt", "custom", "a sub-buffer begins", ("sec", "wall clock, s"),
       ("usec", "and us"), ("tsc", "low half of the cycle counter then"), ("buffer_id", "number of the sub-buffer")),
    _k(18, 0, "buffer_end", "ltt", "custom", "a sub-buffer ends", ("sec", "wall clock, s"), ("usec", "and us"),
       ("tsc", "low half of the cycle counter then")),
    _k(19, 0, "new_event", "ltt", "custom", "a custom event is declared", ("event_id", "its number"),
       ("event_type", "its name"), ("description", "what it is"),
       ("format_type", "0 none, 1 printf, 2 hex, 3 xml, 4 ibm"), ("form", "its format")),
    _k(20, 0, "custom", "user", "custom", "a custom event that is not declared", ("event_id", "its number"),
       ("data_size", "bytes of its data")),
    _k(21, 0, "change_mask", "ltt", "custom", "what is recorded changes", ("mask:x", "bit n: event n is recorded")),
    _k(22, 0, "heartbeat", "ltt", "custom", "time goes on"),
    _k(62, 0, "define_name", "ltt", "custom", "a name for something", ("sub_id", "what"), ("data1", "depends on it"),
       ("data2", "depends on it"), ("name_len", "bytes of the name"), text=("name", "the name")),
    _k(63, 0, "dpm", "power", "custom", "dynamic power management"),
)  # fmt: skip


def layout(word: int = 4, syscall: int = 1, pointer: int = 4, trap: int = 2) -> dict[int, tuple[Slot, ...]]:
    """Return the structs of events 1 to 16, 19 to 22, 62 and 63 by number.

    word: bytes of what the kernel had as unsigned long; syscall: of a system call's and an interrupt's number; pointer:
    of an address that was written along with the record; trap: of a trap's number.
    """
    sub, d1, d2, p = Slot("sub_id", 1), Slot("data1", 4), Slot("data2", 4), Slot("", pointer, True)
    w1, w2 = Slot("data1", word), Slot("data2", word)
    return {
        1: (Slot("syscall_id", syscall), Slot("address", word)),
        2: (),
        3: (Slot("trap_id", trap), Slot("address", 4 if trap == 8 else word)),
        4: (),
        5: (Slot("irq_id", syscall), Slot("kernel", 1)),
        6: (),
        7: (Slot("out", 4), Slot("in", word), Slot("out_state", 4)),
        8: (),
        9: (sub, w1),
        10: (sub, d1, w2),
        11: (sub, d1, d2, p),
        12: (sub, Slot("sdata", 1), w1, w2),
        13: (sub, w1),
        14: (sub, d1, w2),
        15: (sub, d1, d2),
        16: (sub, d1),
        19: (Slot("event_id", 4), Slot("event_type", 20), Slot("description", 100), Slot("format_type", 4),
             Slot("form", 256)),
        20: (Slot("event_id", 4), Slot("data_size", 4), p),
        21: (Slot("mask", 8),),
        22: (),
        62: (sub, d1, d2, Slot("name_len", 4), p),
        63: (),
    }  # fmt: skip


def size(slots: Iterable[Slot]) -> int:
    """Return the bytes of a struct."""
    return sum(slot.size for slot in slots)


#: Masks are bitmaps of bytes: little endian whatever the machine was. Texts have a size that no integer has.
_MASKS: Final = frozenset({"mask", "event_mask", "details_mask"})


def _members(kind: Kind, slots: Iterable[Slot], order: str) -> Iterator[construct.Construct]:
    rules = {slot: rule for slot, *rule in kind.columns}
    for slot in slots:
        if slot.pointer or slot.name not in rules:
            yield pad(slot.size)
            continue
        name, how, doc = rules[slot.name]
        if slot.size not in {1, 2, 4, 8}:
            yield field(name, chars(slot.size), doc)
            continue
        signed = how in {"i", "pid"}
        number = integer(8 * slot.size, signed, "<" if slot.name in _MASKS else order)
        yield _named(name, number, doc, how)


def _named(name: str, number: construct.FormatField, doc: str, how: str) -> Field:
    comm = f"{name.removesuffix('_pid')}_comm" if name != "pid" else "event_comm"
    names = {"pid": ("task", comm), "irq": ("irq", "name")}.get(how)
    return field(name, number, doc, hint="hex" if how == "x" else "dec", names=names)


def events(
    kinds: Iterable[Kind], layouts: Mapping[int, tuple[Slot, ...]], order: str, details: int = -1,
    text: Callable[[], construct.Construct] = cstring,
) -> Iterator[Event]:  # fmt: skip
    """Yield the events of a trace: those of `kinds` that are in `layouts`.

    Where `details` has no bit for a number its records have no struct, and one event stands for all sub-numbers. text:
    what is behind the structs of those that have a text.
    """
    for kind in kinds:
        if kind.id not in layouts:
            continue
        told = details >> kind.id & 1 or kind.id in {START, BUFFER_START, BUFFER_END}
        if not told and kind.sub:
            continue
        slots = layouts[kind.id] if told else ()
        members = list(_members(kind, slots, order))
        if kind.text and told:
            members.append(field(kind.text[0], text(), kind.text[1]))
        tid = "prev_pid" if kind.id == 7 and told else None
        yield Event(event_id(kind.id, kind.sub), kind.name, kind.group, kind.ltt_class, kind.doc, struct(*members),
                    tid=tid)  # fmt: skip
