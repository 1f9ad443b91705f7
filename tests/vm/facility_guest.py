# SPDX-License-Identifier: GPL-2.0-or-later
"""What relayfs.ko must do, in one boot: runs in the guest as root; fills the directory argv[1] for test_facility.py."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path(sys.argv[1])
RELAY = Path("/sys/kernel/relay")
LTT = RELAY / "ltt"
FOUND: dict[str, Any] = {}


def sh(command: str) -> int:
    return subprocess.run(command, shell=True, capture_output=True, check=False).returncode


def refused(path: Path, text: str) -> str:
    """Write; return the errno's name, "" if it was not refused."""
    try:
        path.write_text(text)
    except OSError as err:
        return errno.errorcode[err.errno or 0]
    return ""


def stats(session: Path) -> dict[str, int]:
    header, *rows = (session / "stats").read_text().splitlines()
    columns = zip(*(map(int, row.split()) for row in rows), strict=True)
    return dict(zip(header.split(), map(sum, columns), strict=True))


class Session:
    """A session that records markers alone, on the CPU that this script runs on."""

    def __init__(self, name: str, **files: object) -> None:
        self.path = LTT / name
        self.path.mkdir()
        (self.path / "events").write_text("none +marker")
        for file, value in files.items():
            (self.path / file).write_text(str(value))

    def control(self, word: str) -> None:
        (self.path / "control").write_text(word)

    def mark(self, text: str) -> None:
        (self.path / "marker").write_text(text)

    def drain(self) -> bytes:
        return b"".join((self.path / f"events_{cpu}").read_bytes() for cpu in range(os.cpu_count() or 1))

    def remove(self) -> None:
        self.path.rmdir()


def options() -> None:
    def modes() -> list[str]:
        names = (RELAY, LTT, LTT / "options", LTT / "options/control", LTT / "options/stats", LTT / "options/marker")
        return [f"{path.stat().st_mode & 0o777:o} {path.stat().st_uid} {path.stat().st_gid}" for path in names]

    session = Session("options")
    FOUND["modes"] = modes()
    FOUND["remount"] = sh(f"mount -o remount,uid=12,gid=34,mode=750 {RELAY}")
    FOUND["modes given"] = modes()
    FOUND["mounts"] = next(line for line in Path("/proc/mounts").read_text().splitlines() if " relayfs " in line)
    FOUND["bad options"] = [
        sh(f"mount -o remount,{option} {RELAY}") != 0 for option in ("mode=8", "uid=x", "mode=1777", "nonsense=1")
    ]
    sh(f"mount -o remount,uid=0,gid=0,mode=700 {RELAY}")
    session.remove()


def opened(path: Path, flags: int = os.O_RDONLY) -> str:
    try:
        os.close(os.open(path, flags))
    except OSError as err:
        return errno.errorcode[err.errno or 0]
    return ""


def mapping() -> None:
    session = Session("mapped", subbuf_size=4096, n_subbufs=4, mode="flight")
    ring = session.path / "ring_0"
    FOUND["ring before"] = opened(ring)
    session.control("start")
    for number in range(20):
        session.mark(f"{number:3000}")
    FOUND["ring running"] = opened(ring)
    session.control("snapshot")
    FOUND["ring to write"] = opened(ring, os.O_RDWR)
    with ring.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        try:
            mmap.mmap(file.fileno(), len(memory) + 4096, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            FOUND["ring too long"] = True
    session.mark("after")
    before = bytes(memory)
    (OUT / "snapshot").write_bytes((session.path / "events_0").read_bytes())
    FOUND["ring read"] = opened(ring)
    session.control("stop")
    FOUND["ring stopped"] = opened(ring)
    session.remove()
    FOUND["unload while mapped"] = sh("rmmod ltt") != 0
    time.sleep(0.5)
    FOUND["ring outlives"] = bytes(memory) == before
    (OUT / "ring").write_bytes(before)
    memory.close()


def wakeups() -> None:
    session = Session("woken", subbuf_size=4096, n_subbufs=8, watermark=3, latency=60000)
    session.control("start")
    file = os.open(session.path / "events_0", os.O_RDONLY | os.O_NONBLOCK)
    poll = select.poll()
    poll.register(file, select.POLLIN)
    ready = []
    for number in range(5):
        session.mark(f"{number:3000}")
        ready.append(bool(poll.poll(300)))
    FOUND["ready"] = ready
    FOUND["read"] = len(os.read(file, 1 << 20))
    begin = time.monotonic()
    (session.path / "latency").write_text("400")
    FOUND["ready late"] = bool(poll.poll(10000))
    FOUND["latency"] = time.monotonic() - begin
    FOUND["read late"] = len(os.read(file, 1 << 20))
    packets = stats(session.path)["packets"]
    FOUND["ready idle"] = bool(poll.poll(1500))
    FOUND["packets made idle"] = stats(session.path)["packets"] - packets
    os.close(file)
    FOUND["bad watermark"] = refused(session.path / "watermark", "8"), (session.path / "error").read_text()
    FOUND["bad latency"] = refused(session.path / "latency", "0"), (session.path / "error").read_text()
    session.control("stop")
    session.remove()


def memory() -> None:
    parameter = Path("/sys/module/relayfs/parameters/max_memory")
    parameter.write_text("1")
    session = Session("large", subbuf_size=1 << 20, n_subbufs=16)
    FOUND["too large"] = refused(session.path / "control", "start"), (session.path / "error").read_text()
    parameter.write_text("50")
    FOUND["allowed"] = refused(session.path / "control", "start")
    parameter.write_text("1")
    FOUND["resize too large"] = refused(session.path / "n_subbufs", "512"), (session.path / "error").read_text()
    parameter.write_text("50")
    session.control("stop")
    session.remove()


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return true


def sizes() -> None:
    Path("/sys/module/relayfs/parameters/quiet_seconds").write_text("1")
    session = Session("grown", subbuf_size=4096, n_subbufs=2, n_subbufs_max=32)

    def size() -> int:
        return int((session.path / "n_subbufs").read_text())

    def grows(before: int) -> bool:
        return until(lambda: size() > before)

    session.control("start")
    # A record a packet, and each ring on the way to 32 sub-buffers may be full before a worker has made it larger.
    FOUND["grows when full"] = True
    for number in range(24):
        before, lost = size(), stats(session.path)["lost"]
        session.mark(f"{number:3000}")
        if stats(session.path)["lost"] > lost:
            FOUND["grows when full"] &= grows(before)
        time.sleep(0.05)
    FOUND["grown"] = size()
    reader = subprocess.Popen(["cat", session.path / "events_0"], stdout=(OUT / "grown").open("wb"))
    FOUND["shrunk"] = until(lambda: size() == 2)
    (session.path / "n_subbufs").write_text("8")
    time.sleep(4)
    FOUND["asked for"] = size()
    session.mark("last")
    session.control("stop")
    reader.wait()
    FOUND["grown stats"] = stats(session.path)
    session.remove()


def slow_reader() -> None:
    """Read into memory whose page somebody else has to provide, userfaultfd(2), and does not."""
    session = Session("slow", subbuf_size=4096)
    session.control("start")
    session.mark("first")
    session.control("flush")
    libc = ctypes.CDLL(None, use_errno=True)
    memory = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    provider = libc.syscall(323, os.O_CLOEXEC | os.O_NONBLOCK)  # userfaultfd of x86-64
    fcntl.ioctl(provider, 0xC018AA3F, bytearray(struct.pack("QQQ", 0xAA, 0, 0)))  # UFFDIO_API
    fcntl.ioctl(provider, 0xC020AA00, bytearray(struct.pack("QQQQ", address, mmap.PAGESIZE, 1, 0)))  # UFFDIO_REGISTER
    file = os.open(session.path / "events_0", os.O_RDONLY)
    got = []
    reader = threading.Thread(target=lambda: got.append(libc.read(file, ctypes.c_void_p(address), mmap.PAGESIZE)))
    reader.start()
    poll = select.poll()
    poll.register(provider, select.POLLIN)
    FOUND["slow reader waits"] = bool(poll.poll(10000))
    others = [
        subprocess.Popen(["cat", session.path / "stats"], stdout=subprocess.DEVNULL),
        subprocess.Popen(["sh", "-c", "echo 0 >/sys/devices/system/cpu/cpu1/online"]),
        subprocess.Popen(["sh", "-c", f"echo stop >{session.path}/control"]),
    ]
    FOUND["slow reader holds up"] = not until(lambda: all(other.poll() == 0 for other in others))
    os.close(provider)  # who waited gets pages as usual now
    reader.join()
    FOUND["slow reader gets"] = got[0]
    os.close(file)
    sh("echo 1 >/sys/devices/system/cpu/cpu1/online")
    session.remove()


def refusals() -> None:
    """What each file that can be written answers to what is too long, and what nobody but the owner may do."""
    session = Session("refusals", watermark=3)
    words = {}
    for path in sorted(session.path.iterdir()):
        if path.stat().st_mode & 0o200:
            session.control("flush")  # which forgets the last refusal
            words[path.name] = refused(path, "x" * 70000), (session.path / "error").read_text().strip()
    FOUND["too long"] = words
    FOUND["idle marker"] = refused(session.path / "marker", "early"), (session.path / "error").read_text().strip()
    FOUND["below watermark"] = refused(session.path / "n_subbufs", "3"), (session.path / "error").read_text().strip()
    session.control("start")
    FOUND["4 GiB"] = refused(session.path / "n_subbufs", "65536"), (session.path / "error").read_text().strip()
    session.control("stop")
    sh(f"mount -o remount,mode=711 {RELAY}")  # others may look for names, and no more
    FOUND["others"] = sh(
        f"cd {session.path} && setpriv --reuid 1234 --regid 1234 --clear-groups sh -c '"
        "for file in control events stats error marker metadata state_0 events_0 ring_0; do "
        "cat $file && exit 1; echo x >$file && exit 2; done; "
        "rmdir ../refusals && exit 3; mkdir ../more && exit 4; true'"
    )
    sh(f"mount -o remount,mode=700 {RELAY}")
    session.remove()


def mounts() -> None:
    """Something is mounted on a session's file when the session goes."""
    session = Session("mounted")
    file = session.path / "error"
    FOUND["mounted"] = sh(f"mount --bind /proc/version {file}") == 0 and "Linux" in file.read_text()
    session.remove()
    FOUND["mounted on what is gone"] = "/mounted/error" in Path("/proc/self/mountinfo").read_text()


def names() -> None:
    """A reader that catches up with state_0 again and again, a task that is renamed meanwhile."""
    session = Session("names")
    session.control("start")
    with (session.path / "state_0").open("rb", buffering=0) as state:
        got = state.read(1 << 20)
        for number in range(600):
            Path("/proc/self/comm").write_text(f"name {number}.")
            got += state.read(1 << 20)
    FOUND["names"] = [f"name {number}.".encode() in got for number in range(600)].count(False)
    FOUND["names again"] = (session.path / "state_0").read_bytes().startswith(got)
    (OUT / "names").write_bytes(got)
    session.control("stop")
    session.remove()


def last_words() -> None:
    """A reader has got a part of what a stream that lost records says at its end, when it goes on and is resized."""
    session = Session("last", subbuf_size=4096, n_subbufs=2)
    session.control("start")
    for number in range(4):
        session.mark(f"{number:3000}")
    session.control("stop")
    file = os.open(session.path / "events_0", os.O_RDONLY)
    got = os.read(file, 2 * (184 + 8 + 4 + 3004) + 10)
    session.control("start")
    session.mark("again")
    (session.path / "n_subbufs").write_text("4")
    session.mark("and again")
    session.control("stop")
    while more := os.read(file, 1 << 20):
        got += more
    os.close(file)
    (OUT / "last").write_bytes(got)
    FOUND["last stats"] = stats(session.path)
    session.remove()


def early() -> None:
    """Open files of sessions that are being made, by probes with stack traces where a name has just been added."""
    tracing = Path("/sys/kernel/tracing")
    adds = "d_make_persistent" if " T d_make_persistent\n" in Path("/proc/kallsyms").read_text() else "d_add"
    if (tracing / "kprobe_events").exists():
        (tracing / "kprobe_events").write_text("".join(f"r:slow{n} {adds}\n" for n in range(50)))
        (tracing / "options/stacktrace").write_text("1")
        (tracing / "events/kprobes/enable").write_text("1")
    path = LTT / "early"
    path.mkdir()
    files = [file.name for file in path.iterdir()]
    path.rmdir()
    begin = time.monotonic()
    path.mkdir()
    duration = time.monotonic() - begin
    path.rmdir()
    made = threading.Event()
    seen = []

    def look(begin: float) -> None:
        os.sched_setaffinity(0, {1})
        time.sleep(max(begin + duration * random.random() - time.monotonic(), 0))
        error = opened(path / random.choice(files))
        seen.append(error != "ENOENT" and not made.is_set())

    ended = []
    for _ in range(60):
        made.clear()
        begin = time.monotonic() + 0.02
        lookers = [threading.Thread(target=look, args=[begin], daemon=True) for _ in range(16)]
        for looker in lookers:
            looker.start()
        time.sleep(max(begin - time.monotonic(), 0))
        path.mkdir()
        made.set()
        for looker in lookers:
            looker.join(10)
            ended.append(not looker.is_alive())
        path.rmdir()
    if (tracing / "kprobe_events").exists():
        (tracing / "events/kprobes/enable").write_text("0")
        (tracing / "kprobe_events").write_text("")
        (tracing / "options/stacktrace").write_text("0")
    FOUND["early"] = all(ended), sum(seen), duration


def refused_load() -> None:
    """Somebody waits for the files of a module that does not load."""
    FOUND["klog unloads"] = sh("rmmod klog")
    parameter = Path("/sys/module/relayfs/parameters/max_memory")
    parameter.write_text("0")
    wait = f"""
import os, time
os.sched_setaffinity(0, {{1}})
while True:
    try:
        file = os.open("{RELAY}/klog/sequence", os.O_RDONLY)
    except FileNotFoundError:
        continue
    print("opened", flush=True)
    time.sleep(0.5)
    os.read(file, 100)
"""
    waiting = subprocess.Popen([sys.executable, "-c", wait], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    FOUND["refused load"] = [sh("insmod /run/ltt-relay/modules/klog.ko start=1") for _ in range(50)].count(0)
    time.sleep(1)
    waiting.kill()
    FOUND["opened of what did not load"] = waiting.communicate()[0].decode()
    parameter.write_text("50")


def gone() -> None:
    """A working directory outlives the module whose it is."""
    os.chdir(LTT)
    FOUND["unload with a working directory"] = sh("rmmod ltt")
    try:
        Path("late").mkdir()
    except OSError as err:
        FOUND["mkdir in a directory that is gone"] = errno.errorcode[err.errno or 0]
    os.chdir("/")


def sample() -> None:
    module = "/run/ltt-relay/modules/relayfs_sample.ko"
    squares = RELAY / "squares"
    (squares / "count").write_text("5000")
    with (squares / "squares_0").open("rb"):
        FOUND["sample in use"] = sh("rmmod relayfs_sample") != 0
    (squares / "count").write_text("0")
    (OUT / "squares").write_bytes((squares / "squares_0").read_bytes())
    FOUND["squares stats"] = stats(squares)
    FOUND["mounted on a client"] = sh(f"mount -t tmpfs none {squares}")
    FOUND["sample unloads"] = sh("rmmod relayfs_sample"), squares.exists()
    FOUND["mounted on a client that is gone"] = f" {squares} " in Path("/proc/self/mountinfo").read_text()
    FOUND["sample loads again"] = sh(f"insmod {module}"), squares.exists()
    FOUND["sample ends"] = sh("rmmod relayfs_sample")


def main() -> None:
    os.sched_setaffinity(0, {0})
    for step in (
        refused_load,
        options,
        mapping,
        wakeups,
        memory,
        sizes,
        slow_reader,
        refusals,
        mounts,
        names,
        last_words,
        early,
        sample,
    ):
        print(f"== {step.__name__}", flush=True)
        step()
    FOUND["left"] = sorted(path.name for path in LTT.iterdir())
    gone()
    # A ring is closed by a worker, and relayfs stays until that has returned.
    FOUND["unload"] = not sh(f"umount {RELAY}") and until(lambda: not sh("rmmod relayfs"))
    (OUT / "dmesg").write_bytes(subprocess.run(["dmesg"], capture_output=True, check=True).stdout)
    (OUT / "found.json").write_text(json.dumps(FOUND, indent=1))


main()
