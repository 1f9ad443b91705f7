# SPDX-License-Identifier: GPL-2.0-or-later
"""Events as LTTng names them, which is what the kernel views of Trace Compass look for.

By names of events and columns alone, whatever format they come from. The names are those of lttng-modules 2.9 and
later; Trace Compass has them in its class Lttng29EventLayout and those that it extends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ltt_relay.analysis.syscall_names import native_names
from ltt_relay.export.order import HEAD

__all__ = ("ENVIRONMENT", "Translated", "softirq_numbers", "translate")

#: What makes Trace Compass take a CTF trace for one of a kernel, with the newest names.
ENVIRONMENT: Final[dict[str, str | int]] = {
    "domain": "kernel", "tracer_name": "lttng-modules", "tracer_major": 2, "tracer_minor": 13, "tracer_patchlevel": 0,
}  # fmt: skip

_TASK: Final = {"pid": "tid", "event_comm": "comm", "old_pid": "old_tid"}
_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "sched_switch": {"prev_pid": "prev_tid", "next_pid": "next_tid"},
    "sched_process_fork": {
        "parent_pid": "parent_tid", "parent_tgid": "parent_pid", "child_pid": "child_tid", "child_tgid": "child_pid",
    },
}  # fmt: skip
_PREFIXED: Final = {
    "softirq_": "irq_softirq_", "tasklet_": "irq_tasklet_", "hrtimer_": "timer_hrtimer_", "itimer_": "timer_itimer_",
    "page_fault_": "x86_exceptions_page_fault_", "mm_page_": "kmem_mm_page_", "kmalloc": "kmem_kmalloc",
    "kfree": "kmem_kfree", "cpu_idle": "power_cpu_idle", "cpu_frequency": "power_cpu_frequency",
    "state_end": "lttng_statedump_end",
}  # fmt: skip
_SOFTIRQS: Final = ("HI", "TIMER", "NET_TX", "NET_RX", "BLOCK", "IRQ_POLL", "TASKLET", "SCHED", "HRTIMER", "RCU")
#: Bits of a task's state that LTTng reports; above them the kernel tells its tracers of a preemption.
_STATES: Final = 0xFF
_STATUS_WAIT: Final = 5


@dataclass(frozen=True, slots=True)
class Translated:
    """Rows of one event as they are to be written.

    names: of the CTF events; variant: which of them each row is (all the first one if None); fields: name and column.
    """

    table: pa.Table
    names: list[str]
    variant: np.ndarray | None
    fields: list[tuple[str, Any]]


def _payload(table: pa.Table, renamed: dict[str, str]) -> list[tuple[str, Any]]:
    return [(renamed.get(name, name), table[name]) for name in table.column_names if name not in HEAD]


def _system_calls(table: pa.Table, entry: bool, arch: str) -> Translated:
    number = table["id"].to_numpy().astype(np.int64)
    native = np.ones(number.size, np.bool_)
    if "abi" in table.column_names:
        native = pc.equal(table["abi"].cast(pa.string()), "native").fill_null(False).to_numpy()
    distinct, variant = np.unique(number + (1 << 32) * ~native, return_inverse=True)
    kind = "syscall_entry_" if entry else "syscall_exit_"
    known = native_names(arch)
    names = [
        f"compat_{kind}{key - (1 << 32)}" if key >= 1 << 31 else kind + known.get(key, str(key))
        for key in distinct.tolist()
    ]
    return Translated(table, names, variant, _payload(table, {}))


def _dumped_tasks(table: pa.Table) -> Translated:
    constant = [("type", 0), ("mode", 0), ("submode", 0), ("status", _STATUS_WAIT)]
    fields = [("tid", "pid"), ("pid", "tgid"), ("ppid", "ppid"), ("uid", "uid"), ("name", "event_comm")]
    numbers = [(name, pa.chunked_array([np.full(table.num_rows, value, np.int32)])) for name, value in constant]
    there = [(name, table[column]) for name, column in fields if column in table.column_names]
    return Translated(table, ["lttng_statedump_process_state"], None, there + numbers)


def softirq_numbers(column: pa.ChunkedArray) -> Any:
    """Names to numbers."""
    if not pa.types.is_dictionary(column.type):
        return column
    numbers = pc.index_in(column.cast(pa.string()), pa.array(_SOFTIRQS))
    return numbers.cast(pa.uint32())


def translate(name: str, table: pa.Table, arch: str) -> Iterator[Translated]:
    """Yield the rows of an event's table under LTTng's names, or under its own if LTTng has none for it.

    arch: the machine, as `uname -m` says, by which system calls are named.
    """
    columns = set(table.column_names)
    if name in {"sys_enter", "sys_exit"} and "id" in columns:
        yield _system_calls(table, name == "sys_enter", arch)
        return
    if name == "state_task" and {"cause", "pid", "event_comm"} <= columns:
        dumped = pc.equal(table["cause"].cast(pa.string()), "dump").fill_null(False)
        yield _dumped_tasks(table.filter(dumped))
        rest = table.filter(pc.invert(dumped))
        yield Translated(rest, [name], None, _payload(rest, {}))
        return
    renamed = _COLUMNS.get(name, _TASK if name.startswith("sched_") else {})
    fields = _payload(table, renamed)
    if name == "sched_switch":
        fields = [
            (field, pc.bit_wise_and(column, pa.scalar(_STATES, column.type)) if field == "prev_state" else column)
            for field, column in fields
        ]
    if name.startswith("softirq_"):
        fields = [(field, softirq_numbers(column) if field == "vec" else column) for field, column in fields]
    for prefix, longer in _PREFIXED.items():
        if name.startswith(prefix):
            name = longer + name[len(prefix) :]
            break
    yield Translated(table, [name], None, fields)
