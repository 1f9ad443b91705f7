# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of every class in a guest: one boot runs events_guest.py, ftrace beside us; what both saw must be the same."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay.formats.ltt3_events.net import TCP_STATES
from tests.vm.guest import complaints, run_script

pytestmark = pytest.mark.vm

#: The classes of the old LTT that records are of; START, BUFFER_START, BUFFER_END and HEARTBEAT are packets now.
CLASSES = {
    "syscall", "trap_entry", "irq_entry", "irq_exit", "schedchange", "kernel_timer", "soft_irq", "process",
    "file_system", "timer", "memory", "socket", "ipc", "network", "custom", "change_mask",
}  # fmt: skip

#: What the workload need not provoke: it takes a real machine, a lack of all memory, or luck.
RARE = {
    "sched_pi_setprio", "tasklet_entry", "tasklet_exit", "call_function_entry", "call_function_exit",
    "mm_vmscan_kswapd_wake", "mm_vmscan_kswapd_sleep", "mm_vmscan_direct_reclaim_begin",
    "mm_vmscan_direct_reclaim_end", "block_bio_frontmerge", "block_split", "block_bio_remap", "block_bio_complete",
    "block_rq_insert", "block_rq_merge", "block_rq_requeue", "block_bio_backmerge", "tcp_retransmit_skb",
    "cpu_frequency", "suspend_resume", "contention_begin", "contention_end", "sched_migrate_task", "tick_stop",
    "irq_work_entry", "irq_work_exit", "reschedule_entry", "reschedule_exit", "hrtimer_cancel", "napi_poll",
    "writeback_pages_written", "folio_wait_writeback", "local_timer_entry", "local_timer_exit",
}  # fmt: skip


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What events_guest.py left, on the kernel that LTT_RELAY_KERNEL names; 6.12, as the other guests run 6.1."""
    out = tmp_path_factory.mktemp("events")
    modules = ["relayfs", "ltt", "relayfs_sample"]
    run_script("python.sh", out, "events_guest.py", timeout=400, default="6.12", modules=modules)
    return out


@pytest.fixture(scope="module")
def trace(left: Path) -> ltt_relay.Trace:
    return ltt_relay.open(left / "trace", strict=True)


@pytest.fixture(scope="module")
def counts(trace: ltt_relay.Trace) -> dict[str, int]:
    return dict(zip(trace.catalog["event"], trace.catalog["count"].tolist(), strict=True))


def _available(left: Path) -> dict[str, tuple[str, bool]]:
    lines = (line.split() for line in (left / "available_events").read_text().splitlines())
    return {name.rpartition(":")[2]: (ltt_class, state == "available") for name, ltt_class, state in lines}


def test_the_kernel_said_nothing_of_us(left: Path) -> None:
    # The workload makes the kernel kill a process that has no memory left; it then says where that was.
    said = complaints((left / "dmesg").read_text())
    assert [line for line in said if "Call Trace" not in line] == []


def test_the_workload_went_as_planned(left: Path) -> None:
    took = json.loads((left / "took.json").read_text())
    assert [step for step, how in took.items() if how.startswith("failed")] == []


def test_every_record_is_read_or_told_as_lost(left: Path, trace: ltt_relay.Trace, counts: dict[str, int]) -> None:
    header, *rows = (left / "stats").read_text().splitlines()
    stats = {name: sum(int(row.split()[i]) for row in rows) for i, name in enumerate(header.split())}
    assert stats["produced"] == stats["read"] + stats["lost"]
    # What the end of a packet itself causes (an interrupt to wake the reader) happens inside of the writer.
    assert stats["lost"] == stats["nested"] == trace.info["lost"]
    assert stats["lost"] <= 4 * stats["packets"]
    assert stats["read"] == sum(n for name, n in counts.items() if not name.startswith("state_"))


def test_every_class_of_the_old_ltt_has_records(left: Path, counts: dict[str, int]) -> None:
    seen = {ltt_class for name, (ltt_class, _) in _available(left).items() if counts.get(name)}
    assert seen >= CLASSES


def test_every_event_that_can_be_provoked_was(left: Path, counts: dict[str, int]) -> None:
    expected = {name for name, (_, available) in _available(left).items() if available} - RARE
    assert {name for name in expected if not counts.get(name)} == set()
    assert len(expected) > 70


#: What older kernels of the matrix have no tracepoint for; any other that is missing is a probe that does not fit.
MISSING = {
    "5.10": {
        "tasklet_entry", "tasklet_exit", "contention_begin", "contention_end", "folio_wait_writeback",
        "mm_vmscan_write_folio", "ipi_send_cpu", "sock_send_length", "sock_recv_length",
    },
    "6.1": {"ipi_send_cpu", "sock_send_length", "sock_recv_length"},
}  # fmt: skip


def test_only_what_the_kernel_lacks_is_missing(left: Path, trace: ltt_relay.Trace) -> None:
    release = re.search(r"Linux version (\d+\.\d+)", (left / "dmesg").read_text())
    assert release
    missing = {name for name, (_, available) in _available(left).items() if not available}
    assert missing == MISSING.get(release[1], set())


def test_records_about_the_running_task_name_it(trace: ltt_relay.Trace) -> None:
    for name in ("sys_path", "sys_ipc", "sys_socket", "page_fault_user", "signal_deliver", "block_bio_queue"):
        assert trace[name]["comm"].notna().all(), name
    assert "python" in set(trace["sys_ipc"]["comm"].astype(str))


def test_calls_on_files_sockets_and_ipc_are_told(trace: ltt_relay.Trace) -> None:
    paths = trace["sys_path"]
    missing = paths[paths["path"].str.endswith("no such file")]
    assert (missing["ret"] == -2).all()
    assert len(missing) == 1
    assert {68, 69, 70, 71, 64, 66, 29, 31} <= set(trace["sys_ipc"]["id"])  # msgget ... shmctl of x86-64
    assert {41, 49, 50, 42, 43, 44, 45} <= set(trace["sys_socket"]["id"]) | {43}
    ends = trace["inet_sock_set_state"]
    assert 5555 in set(ends["sport"])
    assert {"inet", "inet6"} <= set(ends["family"].astype(str))
    six = ends[ends["family"] == "inet6"].iloc[0]
    assert bytes(six["saddr_v6"]) == bytes(15) + b"\x01"
    assert set(ends[ends["family"] == "inet"]["saddr"]) == {0x7F000001}


def test_a_change_of_the_selection_and_a_marker_are_records(trace: ltt_relay.Trace) -> None:
    assert list(trace["change_mask"]["events"]) == ["-mm:k*"]
    assert list(trace["marker"]["text"]) == ["the end is near"]


def test_memory_that_ran_out_shows(left: Path, trace: ltt_relay.Trace) -> None:
    assert (left / "swapping").read_text() == "0"
    assert (left / "dying").read_text() == "9"
    (victim,) = trace["mark_victim"]["pid"]
    deaths = trace["signal_deliver"]
    assert victim in set(deaths[deaths["sig"] == 9]["tid"])
    assert {"/swapping", "/dying"} <= set(trace["cgroup_mkdir"]["path"])


# ----------------------------------------------------------------------------------------- values, beside ftrace's own


def _numbers(*names: str, base: int = 0) -> Callable[[str], tuple[Any, ...]]:
    def read(text: str) -> tuple[Any, ...]:
        found = dict(re.findall(r"(\w+)=(\S+)", text))
        return tuple(int(found[name], base) for name in names)

    return read


def _block(text: str) -> tuple[Any, ...]:
    major, minor, where, size = re.search(r"(\d+),(\d+) .*?(\d+) \+ (\d+)", text).groups()  # type: ignore[union-attr]
    # A flush is of no sector; ftrace then shows the number that stands for none.
    return (int(major) << 20 | int(minor), int(where) if int(where) < 1 << 63 else 0, int(size))


def _packet(text: str) -> tuple[Any, ...]:
    found = dict(re.findall(r"(\w+)=(\S+)", text))
    return (found["dev"], int(found["len"]))


def _state(text: str) -> tuple[Any, ...]:
    found = dict(re.findall(r"(\w+)=(\S+)", text))
    assert set(TCP_STATES) >= {found["oldstate"][4:], found["newstate"][4:]}
    return (int(found["sport"]), int(found["dport"]), found["oldstate"][4:], found["newstate"][4:])


def _cgroup(text: str) -> tuple[Any, ...]:
    found = dict(re.findall(r"(\w+)=(\S+)", text))
    return (int(found["root"]), int(found["id"]), int(found["level"]), found["path"])


_WHERE = ["dev", "sector", "nr_sector"]
#: Event: how ftrace's text is read, and which of our columns say the same.
WITNESSES: dict[str, tuple[Callable[[str], tuple[Any, ...]], list[str]]] = {
    "sched_migrate_task": (_numbers("pid", "prio", "orig_cpu", "dest_cpu"), ["pid", "prio", "orig_cpu", "dest_cpu"]),
    "sched_process_fork": (_numbers("pid", "child_pid"), ["parent_pid", "child_pid"]),
    "sched_process_wait": (_numbers("pid", "prio"), ["pid", "prio"]),
    "sched_process_exit": (_numbers("pid", "prio"), ["pid", "prio"]),
    "sched_stat_runtime": (_numbers("pid", "runtime"), ["pid", "runtime"]),
    "task_newtask": (
        lambda text: (*_numbers("pid", "oom_score_adj")(text), *_numbers("clone_flags", base=16)(text)),
        ["pid", "oom_score_adj", "clone_flags"],
    ),
    "signal_generate": (_numbers("sig", "errno", "code", "pid", "grp"), ["sig", "errno", "code", "pid", "group"]),
    "signal_deliver": (
        lambda text: (*_numbers("sig", "errno", "code")(text), *_numbers("sa_handler", "sa_flags", base=16)(text)),
        ["sig", "errno", "code", "sa_handler", "sa_flags"],
    ),
    "softirq_raise": (lambda text: (text[text.index("action=") + 7 : -1],), ["vec"]),
    "local_timer_entry": (_numbers("vector"), ["vector"]),
    "cpu_idle": (_numbers("state", "cpu_id"), ["state", "cpu_id"]),
    "mm_page_alloc": (_numbers("pfn", "order", "migratetype"), ["pfn", "order", "migratetype"]),
    "mm_page_free": (_numbers("pfn", "order"), ["pfn", "order"]),
    "kmalloc": (_numbers("bytes_req", "bytes_alloc"), ["bytes_req", "bytes_alloc"]),
    "block_bio_queue": (_block, _WHERE),
    "block_rq_issue": (_block, _WHERE),
    "block_rq_complete": (_block, _WHERE),
    "net_dev_queue": (_packet, ["name", "len"]),
    "net_dev_xmit": (_packet, ["name", "len"]),
    "netif_receive_skb": (_packet, ["name", "len"]),
    "netif_rx": (_packet, ["name", "len"]),
    "inet_sock_set_state": (_state, ["sport", "dport", "oldstate", "newstate"]),
    "timer_start": (_numbers("expires"), ["expires"]),
    "timer_expire_entry": (_numbers("now"), ["now"]),
    "hrtimer_start": (_numbers("expires", "softexpires"), ["expires", "softexpires"]),
    "hrtimer_expire_entry": (_numbers("now"), ["now"]),
    "itimer_expire": (_numbers("pid", "now"), ["pid", "now"]),
    "workqueue_queue_work": (_numbers("req_cpu"), ["req_cpu"]),
    "module_load": (lambda text: (text.split()[0],), ["name"]),
    "module_free": (lambda text: (text.split()[0],), ["name"]),
    "cgroup_mkdir": (_cgroup, ["root", "cgroup", "level", "path"]),
    "cgroup_rmdir": (_cgroup, ["root", "cgroup", "level", "path"]),
    "writeback_pages_written": (lambda text: (int(text),), ["pages"]),
    "skb_copy_datagram_iovec": (_numbers("len"), ["len"]),
    "contention_end": (_numbers("ret"), ["ret"]),
}


Timed = tuple[int, tuple[Any, ...]]


@pytest.fixture(scope="module")
def ftrace(left: Path) -> dict[tuple[str, int], list[Timed]]:
    """What ftrace printed: event and CPU to the times (us) and values of its records, in order."""
    line = re.compile(r"^.{16,}?\[(\d+)\] \S+ +(\d+)\.(\d{6}): (\w+): (.*)$")
    found: dict[tuple[str, int], list[Timed]] = {}
    for cpu in range(2):
        for text in (left / f"ftrace_{cpu}").read_text(errors="replace").splitlines():
            if (match := line.match(text)) and match[4] in WITNESSES:
                said = match[5].replace(" (ret=", " ret=").rstrip(")") if match[4] == "contention_end" else match[5]
                record = (int(match[2] + match[3]), WITNESSES[match[4]][0](said))
                found.setdefault((match[4], int(match[1])), []).append(record)
    return found


def _same(ours: list[Timed], theirs: list[Timed]) -> int:
    """How many of theirs have a counterpart in ours: the same values, in the same order, and at most 0.1 s later."""
    at = same = 0
    for when, values in theirs:
        while at < len(ours) and ours[at][0] < when - 1000:
            at += 1
        # Ours may be missing one that happened inside of our writer, and theirs one of whatever ftrace leaves out.
        for i in range(at, min(at + 64, len(ours))):
            if ours[i][1] == values and ours[i][0] <= when + 100_000:
                at, same = i + 1, same + 1
                break
    return same


@pytest.mark.parametrize("event", WITNESSES)
def test_values_equal_ftraces(
    event: str, left: Path, trace: ltt_relay.Trace, ftrace: dict[tuple[str, int], list[Timed]]
) -> None:
    if not _available(left)[event][1]:
        assert not any(ftrace.get((event, cpu)) for cpu in range(2))
        return
    frame = trace.frames([event], time="ns")[event]
    compared = 0
    for cpu in range(2):
        theirs = ftrace.get((event, cpu), [])
        rows = frame[frame["cpu"] == cpu]
        values = rows[WITNESSES[event][1]].itertuples(index=False)
        ours = [
            (time // 1000, tuple(v if isinstance(v, str) else int(v) for v in row))
            for time, row in zip(rows["timestamp"].tolist(), values, strict=True)
        ]
        same = _same(ours, theirs)
        assert same >= 0.98 * len(theirs), f"{event} on CPU {cpu}: {len(theirs) - same} of {len(theirs)} not in ours"
        compared += same
    assert compared > 0 or event in RARE
