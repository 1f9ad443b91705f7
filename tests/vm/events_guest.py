# SPDX-License-Identifier: GPL-2.0-or-later
"""Provokes events of every class in a guest, recorded by us and by ftrace at once: ``python events_guest.py OUT``."""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

LTT = Path("/sys/kernel/relay/ltt")
TRACING = Path("/sys/kernel/tracing")
GROUPS = Path("/run/cgroup")
#: What ftrace records beside us, so that values can be compared.
FTRACE = [
    "sched/sched_migrate_task",
    "sched/sched_process_fork",
    "sched/sched_process_wait",
    "sched/sched_process_exit",
    "sched/sched_stat_runtime",
    "task/task_newtask",
    "signal/signal_generate",
    "signal/signal_deliver",
    "irq/softirq_raise",
    "irq_vectors/local_timer_entry",
    "power/cpu_idle",
    "kmem/mm_page_alloc",
    "kmem/mm_page_free",
    "kmem/kmalloc",
    "filemap/mm_filemap_add_to_page_cache",
    "block/block_bio_queue",
    "block/block_rq_issue",
    "block/block_rq_complete",
    "net/net_dev_queue",
    "net/net_dev_xmit",
    "net/netif_receive_skb",
    "net/netif_rx",
    "sock/inet_sock_set_state",
    "timer/timer_start",
    "timer/timer_expire_entry",
    "timer/hrtimer_start",
    "timer/hrtimer_expire_entry",
    "timer/itimer_state",
    "timer/itimer_expire",
    "workqueue/workqueue_queue_work",
    "module/module_load",
    "module/module_free",
    "cgroup/cgroup_mkdir",
    "cgroup/cgroup_rmdir",
    "writeback/writeback_pages_written",
    "skb/skb_copy_datagram_iovec",
    "lock/contention_end",
]


def run(*command: str) -> None:
    subprocess.run(command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def busybox(*command: str) -> None:
    run("busybox", *command)


def processes() -> None:
    for _ in range(5):
        run("/bin/true")
    child = os.fork()
    if not child:
        signal.pause()
        os._exit(0)
    os.sched_setaffinity(child, {0})
    os.sched_setaffinity(child, {1})
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)


def signals_and_timers() -> None:
    seen: list[int] = []
    signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    deadline = time.monotonic() + 2
    while len(seen) < 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    os.kill(os.getpid(), signal.SIGUSR1)


def blocks(scratch: Path) -> None:
    """A file system and swap space on loop devices: real requests, and a way back from memory."""
    run("modprobe", "loop")
    for number, size in ((6, 16 << 20), (7, 64 << 20)):
        image = scratch / f"disk{number}"
        with image.open("wb") as file:
            file.truncate(size)
        if not Path(f"/dev/loop{number}").exists():
            run("mknod", f"/dev/loop{number}", "b", "7", str(number))
        busybox("losetup", f"/dev/loop{number}", str(image))
    busybox("mke2fs", "/dev/loop6")
    run("modprobe", "ext4")
    (scratch / "mnt").mkdir()
    run("mount", "/dev/loop6", str(scratch / "mnt"))
    for i in range(4):
        with (scratch / "mnt" / f"file{i}").open("wb") as file:
            file.write(os.urandom(300_000))
            file.flush()
            os.fsync(file.fileno())
    (scratch / "mnt/file0").unlink()
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    (scratch / "mnt/file1").read_bytes()
    run("umount", str(scratch / "mnt"))
    busybox("mkswap", "/dev/loop7")
    busybox("swapon", "/dev/loop7")


def memory(out: Path) -> None:
    """A control group too small for what runs in it: reclaim, swap, and in the end no way out."""
    GROUPS.mkdir(exist_ok=True)
    run("mount", "-t", "cgroup2", "none", str(GROUPS))
    (GROUPS / "cgroup.subtree_control").write_text("+memory")
    for name, swap in (("swapping", "max"), ("dying", "0")):
        group = GROUPS / name
        group.mkdir()
        (group / "memory.max").write_text("12M")
        (group / "memory.swap.max").write_text(swap)
        child = os.fork()
        if not child:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            area = mmap.mmap(-1, 24 << 20)
            for at in range(0, len(area), 4096):
                area[at] = 1
            os._exit(0)
        (out / name).write_text(str(os.waitpid(child, 0)[1]))
        (GROUPS / "cgroup.procs").write_text(str(os.getpid()))
        group.rmdir()
    busybox("swapoff", "/dev/loop7")


def network() -> None:
    busybox("ifconfig", "lo", "up")
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with contextlib.suppress(OSError), socket.create_server((address, 5555), family=family) as server:
            for linger in (False, True):
                client = socket.create_connection((address, 5555))
                peer, _ = server.accept()
                client.sendall(b"x" * 3000)
                peer.recv(4096)
                if linger:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                time.sleep(0.05)
                peer.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.0.1", 5556))
        datagrams.sendto(b"here", ("127.0.0.1", 5556))
        datagrams.recv(10)
        datagrams.sendto(b"nobody", ("127.0.0.1", 5557))
    # A protocol that nobody has loaded.
    with contextlib.suppress(OSError):
        socket.socket(9, socket.SOCK_STREAM).close()


def ipc() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.msgget(0, 0o600 | 0o1000)
    message = struct.pack("l8s", 1, b"a letter")
    libc.msgsnd(queue, message, 8, 0)
    libc.msgrcv(queue, ctypes.create_string_buffer(16), 8, 0, 0)
    libc.msgctl(queue, 0, None)
    semaphore = libc.semget(0, 1, 0o600 | 0o1000)
    libc.semctl(semaphore, 0, 0)
    memory_id = libc.shmget(0, 4096, 0o600 | 0o1000)
    libc.shmctl(memory_id, 0, None)


def modules() -> None:
    run("rmmod", "relayfs_sample")
    run("insmod", "/run/ltt-relay/modules/relayfs_sample.ko")
    run("rmmod", "relayfs_sample")


def traps(scratch: Path) -> None:
    area = mmap.mmap(-1, 1 << 20)
    for at in range(0, len(area), 4096):
        area[at] = 1
    missing = scratch / "no such file"
    with contextlib.suppress(OSError):
        missing.open().close()
    Path("/dev/kmsg").write_text("a line for the console\n")
    # A fault of the kernel itself: it reads a page that is not there yet.
    fresh = mmap.mmap(-1, 8 << 10)
    with Path("/dev/zero").open("rb", buffering=0) as zero:
        zero.readinto(memoryview(fresh)[:4096])


def main() -> None:
    out = Path(sys.argv[1])
    scratch = Path("/run/scratch")
    scratch.mkdir()
    session = LTT / "events"
    session.mkdir()
    (out / "available_events").write_text((LTT / "available_events").read_text())
    (session / "n_subbufs").write_text("64")
    (session / "events").write_text("+*")
    trace = out / "trace"
    trace.mkdir()
    readers = [
        subprocess.Popen(["cat", session / f"events_{cpu}"], stdout=(trace / f"events_{cpu}").open("wb"))
        for cpu in range(2)
    ]
    (TRACING / "tracing_on").write_text("0")
    (TRACING / "trace_clock").write_text("mono")
    (TRACING / "buffer_size_kb").write_text("24576")
    for event in FTRACE:
        if (TRACING / "events" / event).exists():
            (TRACING / "events" / event / "enable").write_text("1")
    (session / "control").write_text("start")
    (TRACING / "tracing_on").write_text("1")
    steps: dict[str, Callable[[], None]] = {
        "processes": processes, "signals_and_timers": signals_and_timers, "network": network, "ipc": ipc,
        "modules": modules, "traps": lambda: traps(scratch), "blocks": lambda: blocks(scratch),
        "memory": lambda: memory(out),
    }  # fmt: skip
    took = {}
    for name, step in steps.items():
        begin = time.monotonic()
        try:
            step()
            took[name] = f"{time.monotonic() - begin:.1f} s"
        except OSError as error:
            took[name] = f"failed: {error}"
    (TRACING / "tracing_on").write_text("0")
    (session / "marker").write_text("the end is near\n")
    (session / "events").write_text("-mm:k*")
    (session / "control").write_text("stop")
    for reader in readers:
        reader.wait()
    for name in ("metadata", "state_0"):
        (trace / name).write_bytes((session / name).read_bytes())
    (out / "stats").write_text((session / "stats").read_text())
    (out / "took.json").write_text(json.dumps(took))
    (TRACING / "events/enable").write_text("0")
    session.rmdir()
    for cpu in range(2):
        with (out / f"ftrace_{cpu}").open("wb") as file:
            file.write((TRACING / f"per_cpu/cpu{cpu}/trace").read_bytes())
    (out / "dmesg").write_bytes(subprocess.run(["dmesg"], capture_output=True, check=True).stdout)


main()
