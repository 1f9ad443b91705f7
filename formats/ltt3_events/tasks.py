# SPDX-License-Identifier: GPL-2.0-or-later
"""Tasks: scheduling, birth and death, signals, control groups, waiting for locks."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import chars, cstring, enum, field, flags, i16, i32, u8, u16, u32, u64
from ltt_relay.formats.ltt3_events.common import TASK_COMM_LEN, TID, address, pid, tracepoint

__all__ = ("EVENTS", "SIGNAL_RESULTS", "TASK_STATES")

#: As the kernel reports it to its own tracers: one bit for why the task left the CPU, 0 if it is still runnable.
TASK_STATES: Final = {
    "S": 0x1, "D": 0x2, "T": 0x4, "t": 0x8, "X": 0x10, "Z": 0x20, "P": 0x40, "I": 0x80, "preempted": 0x100,
}  # fmt: skip

SIGNAL_RESULTS: Final = {"delivered": 0, "ignored": 1, "already_pending": 2, "overflow_fail": 3, "lose_info": 4}

#: What a lock is; as include/trace/events/lock.h has it.
LOCK_FLAGS: Final = {"spin": 1, "read": 2, "write": 4, "rt": 8, "percpu": 16, "mutex": 32}

_PRIO = field("prio", i16, "its priority: below 100 real time, lower is more urgent")
_WAKEUP = (
    pid("pid", "thread id of the task woken", "event_comm"),
    _PRIO,
    field("target_cpu", u16, "CPU it is to run on"),
)
_SIGNAL = (
    field("sig", i32, "signal number"),
    field("errno", i32, "error that caused it, 0 for none"),
    field("code", i32, "where it comes from: si_code"),
)
_CGROUP = (
    field("cgroup", u64, "its id: the inode of its directory"),
    field("root", i32, "which hierarchy, 0 for that of cgroup v2"),
    field("level", i32, "how deep it lies, the root of the hierarchy being 0"),
)

EVENTS: Final = (
    tracepoint(
        1, "sched:sched_switch", "schedchange", "a CPU goes from one task to the next",
        pid("prev_pid", "thread id of the task that leaves the CPU", "prev_comm"),
        pid("next_pid", "thread id of the task that gets the CPU", "next_comm"),
        field("prev_prio", i16, "priority of the task that leaves"),
        field("next_prio", i16, "priority of the task that comes"),
        field("prev_state", flags(u16, TASK_STATES), "why it leaves: 0 if it stays runnable", hint="hex"),
        tid="prev_pid",
    ),
    tracepoint(
        2, "sched:sched_waking", "process", "a task is about to be woken; in the waker's context", *_WAKEUP
    ),
    tracepoint(3, "sched:sched_wakeup", "process", "a task became runnable", *_WAKEUP),
    tracepoint(17, "sched:sched_wakeup_new", "process", "a new task became runnable for the first time", *_WAKEUP),
    tracepoint(
        18, "sched:sched_migrate_task", "process", "a task goes to the run queue of another CPU",
        pid("pid", "its thread id", "event_comm"),
        _PRIO,
        field("orig_cpu", u16, "CPU it comes from"),
        field("dest_cpu", u16, "CPU it goes to"),
    ),
    tracepoint(
        12, "sched:sched_process_fork", "process", "a task is made",
        pid("parent_pid", "thread id of the maker", "parent_comm"),
        pid("child_pid", "thread id of the new task", "child_comm"),
        field("child_tgid", i32, "its thread group id: another than child_pid for a thread"),
        tid="parent_pid",
    ),
    tracepoint(
        13, "sched:sched_process_exec", "process", "a task starts another program",
        pid("pid", "thread id, after the call", "event_comm"),
        field("old_pid", i32, "thread id before the call"),
        field("filename", cstring(), "the program"),
        tid="pid",
    ),
    tracepoint(
        14, "sched:sched_process_exit", "process", "a task ends",
        pid("pid", "its thread id", "event_comm"), field("prio", i32, "its priority"),
        tid="pid",
    ),
    tracepoint(
        19, "sched:sched_process_free", "process", "nothing refers to an ended task any more",
        pid("pid", "its thread id", "event_comm"), field("prio", i32, "its priority"),
    ),
    tracepoint(
        20, "sched:sched_process_wait", "process", "a task begins to wait for the end of a child",
        TID,
        pid("pid", "thread id of the child waited for; 0 for any", "event_comm"),
        field("prio", i32, "priority of the task that waits"),
    ),
    tracepoint(
        21, "sched:sched_pi_setprio", "process", "a task inherits the priority of one that waits for it",
        pid("pid", "its thread id", "event_comm"),
        field("oldprio", i16, "its priority until now"),
        field("newprio", i16, "its priority from now on"),
    ),
    tracepoint(
        22, "sched:sched_stat_runtime", "process", "a task ran for a while: at every tick and switch",
        pid("pid", "its thread id", "event_comm"),
        field("reserved", u32, "0"),
        field("runtime", u64, "how long since this was last told", unit="ns"),
    ),
    tracepoint(
        23, "task:task_newtask", "process", "a task is made, and how",
        TID,
        field("pid", i32, "thread id of the new task", names=("task", "event_comm")),
        field("clone_flags", u64, "what it shares with its maker: CLONE_ bits", hint="hex"),
        field("oom_score_adj", i16, "its adjustment of the out-of-memory score"),
    ),
    tracepoint(
        15, "task:task_rename", "process", "a task gets another name",
        field("pid", i32, "its thread id"),
        field("oldcomm", chars(TASK_COMM_LEN), "name before"),
        field("newcomm", chars(TASK_COMM_LEN), "name from now on"),
        field("oom_score_adj", i16, "its adjustment of the out-of-memory score"),
    ),
    tracepoint(
        24, "signal:signal_generate", "process", "a signal is sent",
        TID,
        *_SIGNAL,
        pid("pid", "thread id of the task it is sent to", "event_comm"),
        field("group", u8, "1 if it is for the whole thread group"),
        field("result", enum(u8, SIGNAL_RESULTS), "what becomes of it"),
    ),
    tracepoint(
        25, "signal:signal_deliver", "process", "a signal reaches the running task",
        TID,
        *_SIGNAL,
        address("sa_handler", "its handler in user space; 0 default, 1 ignore"),
        field("sa_flags", u64, "how it is handled: SA_ bits", hint="hex"),
    ),
    tracepoint(170, "cgroup:cgroup_mkdir", "none", "a control group is made", *_CGROUP,
               field("path", cstring(), "its path in the hierarchy")),
    tracepoint(171, "cgroup:cgroup_rmdir", "none", "a control group is removed", *_CGROUP,
               field("path", cstring(), "its path in the hierarchy")),
    tracepoint(
        172, "cgroup:cgroup_attach_task", "none", "a task goes to another control group",
        field("dst_cgroup", u64, "id of the group it goes to"),
        field("dst_root", i32, "which hierarchy, 0 for that of cgroup v2"),
        field("dst_level", i32, "how deep the group lies"),
        pid("pid", "its thread id", "event_comm"),
        field("dst_path", cstring(), "the group's path in the hierarchy"),
    ),
    tracepoint(
        167, "lock:contention_begin", "none", "a task begins to wait for a lock",
        TID,
        field("flags", flags(u32, LOCK_FLAGS), "what lock it is", hint="hex"),
        address("lock_addr", "which lock"),
    ),
    tracepoint(
        168, "lock:contention_end", "none", "the wait for a lock is over",
        TID,
        field("ret", i32, "0 if it got the lock, else -errno"),
        address("lock_addr", "which lock"),
    ),
)  # fmt: skip
