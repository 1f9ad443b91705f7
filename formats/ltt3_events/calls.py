# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls; what of them names a file, or is about a socket or System V and POSIX IPC; what sessions write."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.base import Event
from ltt_relay.formats.fields import Field, cstring, enum, field, i16, i64, sequence, struct, u8, u64
from ltt_relay.formats.ltt3_events.common import TID, tracepoint

__all__ = ("ABIS", "EVENTS")

ABIS: Final = {"native": 0, "ia32": 1, "x32": 2}

_CALL = (
    TID,
    field("id", i16, "its number; -32768 for one that 16 bits cannot hold"),
    field("abi", enum(u8, ABIS), "calling convention"),
)


def _derived(id: int, name: str, group: str, ltt_class: str, doc: str, *more: Field) -> Event:  # noqa: A002
    fields = (*_CALL, field("reserved", u8, "0"), field("ret", i64, "its result: -errno on failure"), *more)
    return Event(id, name, group, ltt_class, doc, struct(*fields), tid="tid", provider="sys_exit")


_ARGUMENTS = tuple(
    field(f"arg{i}", u64, f"its {which} argument", hint="hex") for i, which in enumerate(("first", "second", "third"))
)

EVENTS: Final = (
    tracepoint(
        4, "syscall:sys_enter", "syscall", "a system call begins",
        *_CALL,
        field("nargs", u8, "number of arguments that follow"),
        field("args", sequence("nargs", u64), "its arguments", hint="hex"),
    ),
    tracepoint(
        5, "syscall:sys_exit", "syscall", "a system call ends",
        *_CALL, field("reserved", u8, "0"), field("ret", i64, "its result: -errno on failure"),
    ),
    _derived(
        29, "sys_path", "fs", "file_system",
        "a system call that names a file ends: open, stat, exec that failed, unlink ...",
        field("path", cstring(), "the first path among its arguments, as given"),
    ),
    _derived(30, "sys_socket", "net", "socket", "a system call on sockets ends", *_ARGUMENTS),
    _derived(31, "sys_ipc", "ipc", "ipc", "a system call on message queues, semaphores or shared memory ends",
             *_ARGUMENTS),
    Event(16, "marker", "user", "custom", "text written to the session's marker file",
          struct(TID, field("text", cstring(), "what was written")), tid="tid"),
    Event(32, "change_mask", "ltt", "change_mask", "which events the running session records was changed",
          struct(TID, field("events", cstring(), "what was written to the session's file events")), tid="tid"),
)  # fmt: skip
