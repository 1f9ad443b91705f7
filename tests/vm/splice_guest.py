# SPDX-License-Identifier: GPL-2.0-or-later
"""splice(2) from streams, in one boot: runs in the guest as root; fills the directory argv[1] for test_splice.py."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OUT = Path(sys.argv[1])
LTT = Path("/sys/kernel/relay/ltt")
FOUND: dict[str, Any] = {}
PAGE = 4096
_PACKET_SIZE = 40  # offsets in a packet's header
_SEQUENCE = 72
_TEXT = 184 + 12  # where the text of a packet's first marker is


class Session:
    """A session that records markers alone, on CPU 0; `mark` makes packets of less than a page, a marker each."""

    def __init__(self, name: str, **files: object) -> None:
        self.path = LTT / name
        self.path.mkdir()
        for file, value in ({"events": "none +marker", "subbuf_size": PAGE, "n_subbufs": 4} | files).items():
            (self.path / file).write_text(str(value))
        self.number = 0

    def control(self, word: str) -> None:
        (self.path / "control").write_text(word)

    def mark(self, n: int = 1) -> None:
        for _ in range(n):
            (self.path / "marker").write_text(f"{self.number:3000}")
            self.control("flush")
            self.number += 1

    def open(self) -> int:
        return os.open(self.path / "events_0", os.O_RDONLY)

    def stats(self) -> dict[str, int]:
        header, *rows = (self.path / "stats").read_text().splitlines()
        columns = zip(*(map(int, row.split()) for row in rows), strict=True)
        return dict(zip(header.split(), map(sum, columns), strict=True))

    def room(self) -> int:
        """How many more packets there is room for, found out by filling it; the last one is lost."""
        before = self.stats()
        while self.stats()["lost"] == before["lost"]:
            self.mark()
        now = self.stats()
        return now["produced"] - before["produced"] - 1

    def balanced(self) -> bool:
        now = self.stats()
        return now["produced"] == now["read"] + now["pending"] + now["overwritten"] + now["lost"]


class Pipe:
    def __init__(self, size: int = 16 * PAGE) -> None:
        self.read_end, self.write_end = os.pipe()
        os.set_blocking(self.read_end, False)
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, size)

    def fill(self, file: int, size: int, flags: int = 0) -> int:
        return os.splice(file, self.write_end, size, flags=flags)

    def drain(self) -> bytes:
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(self.read_end, 1 << 20)
            except BlockingIOError:
                return b"".join(parts)
            parts.append(part)

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def texts(data: bytes) -> list[int]:
    """The markers in packets that lie behind one another and have one each."""
    found, at = [], 0
    while at < len(data):
        (bits,) = struct.unpack_from("<Q", data, at + _PACKET_SIZE)
        if bits // 8 > _TEXT + 3000:
            found.append(int(data[at + _TEXT : at + _TEXT + 3000]))
        at += bits // 8
    return found


def attempt(call: Callable[[], object]) -> object:
    """What it returns, 0 for nothing, or its errno's name."""
    try:
        return call() or 0
    except OSError as err:
        return errno.errorcode[err.errno or 0]


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return true


def sh(command: str) -> int:
    return subprocess.run(command, shell=True, capture_output=True, check=False).returncode


def equal() -> None:
    """Calls of every size, among them read(2): together they give what the ring's memory has."""
    session = Session("equal", subbuf_size=4 * PAGE, n_subbufs=16)
    session.control("start")
    for number in range(150):
        (session.path / "marker").write_text("x" * (number * 37 % 2000 + 1))
    session.control("stop")
    with (session.path / "ring_0").open("rb") as ring:
        memory = mmap.mmap(ring.fileno(), 0, prot=mmap.PROT_READ)
        packets = []
        for at in range(0, len(memory), 4 * PAGE):
            (bits,) = struct.unpack_from("<Q", memory, at + _PACKET_SIZE)
            if bits:
                (sequence,) = struct.unpack_from("<Q", memory, at + _SEQUENCE)
                packets.append((sequence, memory[at : at + bits // 8]))
        memory.close()
    draw = random.Random(1)
    got = b""
    pipe = Pipe()
    file = session.open()
    while True:
        size = draw.choice((1, 7, 100, PAGE - 1, PAGE, 5000, 3 * PAGE, 20 * PAGE))
        if draw.random() < 0.3:
            part = os.read(file, size)
        else:
            n = pipe.fill(file, size)
            part = pipe.drain()
            FOUND.setdefault("short", n == len(part))
        got += part
        if not part:
            break
    FOUND["equal"] = got == b"".join(data for _, data in sorted(packets)), len(packets)
    FOUND["equal stats"] = session.stats()
    os.close(file)
    pipe.close()
    session.path.rmdir()


def wrap() -> None:
    """The writer goes round while pages are in pipes; they come back in disorder, by tee, by socket."""
    session = Session("wrap")
    session.control("start")
    session.mark(4)
    file = session.open()
    one, two = Pipe(), Pipe()
    one.fill(file, 1 << 20)
    FOUND["wrap held"] = session.room(), session.balanced()
    FOUND["wrap kept"] = texts(one.drain())
    FOUND["wrap given"] = session.room()

    first = session.number - 5
    size = os.splice(file, one.write_end, 100) + os.splice(file, one.write_end, PAGE)
    rest = attempt(lambda: os.splice(file, two.write_end, 1 << 20))
    FOUND["order sizes"] = size, rest
    later = two.drain()
    FOUND["order held"] = session.room()
    FOUND["order kept"] = texts(one.drain() + later) == list(range(first, first + 4))
    FOUND["order given"] = session.room()

    first = session.number - 5
    one.fill(file, 1 << 20)
    FOUND["tee"] = ctypes.CDLL(None).tee(one.read_end, two.write_end, 1 << 20, 0) > 0
    original = one.drain()
    FOUND["tee held"] = session.room()
    FOUND["tee kept"] = original == two.drain() and texts(original) == list(range(first, first + 4))
    FOUND["tee given"] = session.room()

    first = session.number - 5
    here, there = socket.socketpair()
    size = one.fill(file, 1 << 20)
    left = size
    while left:
        left -= os.splice(one.read_end, here.fileno(), left)
    time.sleep(0.1)
    FOUND["socket held"] = session.room()  # 4 where the socket copies
    got = b""
    while len(got) < size:
        got += there.recv(1 << 20)
    FOUND["socket kept"] = texts(got) == list(range(first, first + 4))
    FOUND["socket given"] = until(lambda: session.room() > 0) or FOUND["socket held"] == 4
    os.close(file)
    one.close()
    two.close()
    session.control("stop")
    session.path.rmdir()


def closed() -> None:
    """A part of a packet is in a pipe as its reader goes; the next gets the packet whole."""
    session = Session("closed")
    session.control("start")
    session.mark(4)
    file = session.open()
    pipe = Pipe()
    pipe.fill(file, 1000)
    os.close(file)
    file = session.open()
    whole = os.read(file, 1 << 20)
    FOUND["closed whole"] = texts(whole)
    FOUND["closed held"] = session.room()
    FOUND["closed kept"] = pipe.drain() == whole[:1000]
    FOUND["closed given"] = session.room()
    pipe.fill(file, 1 << 20)
    os.close(file)
    pipe.close()
    FOUND["closed unread"] = session.room(), session.balanced()
    session.control("stop")
    session.path.rmdir()


def changes() -> None:
    """Reset, resize, snapshot, stop and start while pages are in a pipe."""
    session = Session("changes")
    session.control("start")
    file = session.open()
    pipe = Pipe()
    session.mark(3)
    pipe.fill(file, PAGE // 2)  # the reader is in the middle of a packet, which therefore stays
    session.control("reset")
    session.mark(4)
    half = pipe.drain()
    (bits,) = struct.unpack_from("<Q", half, _PACKET_SIZE)
    FOUND["reset"] = texts(half + os.read(file, bits // 8 - len(half))), session.stats()["reset"]
    FOUND["reset after"] = texts(os.read(file, 1 << 20)), session.balanced()

    session.mark(4)
    pipe.fill(file, 3 * PAGE)
    (session.path / "n_subbufs").write_text("8")
    FOUND["resized"] = session.room()
    FOUND["resized kept"] = texts(pipe.drain() + os.read(file, 1 << 20)) == list(range(7, 7 + 4 + 8))

    session.mark(2)
    session.control("stop")
    pipe.fill(file, 1 << 20)
    session.control("start")
    FOUND["restarted"] = session.room()
    FOUND["restarted kept"] = len(texts(pipe.drain())), session.room() >= 2
    os.close(file)
    session.control("stop")
    session.path.rmdir()

    session = Session("flown", mode="flight")
    session.control("start")
    file = session.open()
    session.mark(10)
    session.control("snapshot")
    pipe.fill(file, 1 << 20)
    session.mark(10)
    FOUND["second snapshot"] = attempt(lambda: session.control("snapshot"))
    session.mark(10)
    FOUND["snapshot kept"] = texts(pipe.drain())
    pipe.fill(file, 1 << 20)
    FOUND["snapshot ends"] = texts(pipe.drain()), pipe.fill(file, PAGE)
    FOUND["snapshot next"] = attempt(lambda: pipe.fill(file, PAGE, os.SPLICE_F_NONBLOCK))
    session.control("stop")
    pipe.fill(file, 1 << 20)
    FOUND["flight restart held"] = attempt(lambda: session.control("start"))
    FOUND["flight stopped"] = texts(pipe.drain())
    for other in range(1, os.cpu_count() or 1):
        (session.path / f"events_{other}").read_bytes()
    FOUND["flight restart"] = attempt(lambda: session.control("start"))
    session.control("stop")
    FOUND["flight balanced"] = session.balanced()
    os.close(file)
    pipe.close()
    session.path.rmdir()


def waits() -> None:
    """Ends of file, waiting, and what is refused."""
    session = Session("waits")
    session.control("start")
    file = session.open()
    pipe = Pipe()
    FOUND["nonblock"] = attempt(lambda: pipe.fill(file, PAGE, os.SPLICE_F_NONBLOCK))
    null = os.open("/dev/null", os.O_WRONLY)
    FOUND["sendfile"] = attempt(lambda: os.sendfile(null, file, None, PAGE))
    got: list[int] = []
    waiter = threading.Thread(target=lambda: got.append(pipe.fill(file, 1 << 20)))
    waiter.start()
    time.sleep(0.3)
    # The other end is not kept from the pipe meanwhile.
    FOUND["pipe free"] = attempt(lambda: len(os.read(pipe.read_end, 1))), not got
    session.mark()
    waiter.join(60)
    FOUND["woken"] = got, texts(pipe.drain())
    full = Pipe(PAGE)
    session.mark(3)
    FOUND["one page"] = full.fill(file, 1 << 20)
    FOUND["full"] = attempt(lambda: full.fill(file, 1 << 20, os.SPLICE_F_NONBLOCK))
    full.close()
    deaf = Pipe()
    os.close(deaf.read_end)
    before = session.stats()
    FOUND["no reader"] = attempt(lambda: deaf.fill(file, 1 << 20)), session.stats() == before
    os.close(deaf.write_end)
    session.room()
    pipe.fill(file, 1 << 20)
    pipe.drain()
    FOUND["woken balanced"] = session.balanced()
    session.mark(4)
    session.mark(3)  # lost, and no packet is left to say so
    session.control("stop")
    parts = []
    while pipe.fill(file, 100):
        parts.append(pipe.drain())
    data = b"".join(parts)
    (OUT / "final").write_bytes(data)
    FOUND["final"] = len(texts(data)), len(data), session.stats()
    os.close(file)
    os.close(null)
    pipe.close()
    session.path.rmdir()


def outlives() -> None:
    """The session goes, and its modules would, while a pipe has its pages."""
    session = Session("outlives")
    session.control("start")
    session.mark(4)
    file = session.open()
    pipe = Pipe()
    pipe.fill(file, 1 << 20)
    os.close(file)
    session.control("stop")
    session.path.rmdir()
    FOUND["unload in a pipe"] = sh("rmmod ltt") != 0, sh("rmmod relayfs") != 0
    FOUND["outlives"] = texts(pipe.drain())
    pipe.close()


def load() -> None:
    """Both CPUs busy, calls of any size, a ring that changes: no packet is lost or comes twice."""
    session = Session("load", events="none +syscall", subbuf_size=4 * PAGE, n_subbufs=16)
    cpus = range(os.cpu_count() or 1)
    os.sched_setaffinity(0, cpus)
    said: list[str] = []

    def copy(cpu: int) -> None:
        draw = random.Random(cpu)
        pipe = Pipe(64 * PAGE)
        file = os.open(session.path / f"events_{cpu}", os.O_RDONLY)
        out = os.open(OUT / f"load_{cpu}", os.O_WRONLY | os.O_CREAT)
        try:
            while n := pipe.fill(file, draw.choice((777, 5 * PAGE, 1 << 20))):
                while n:
                    n -= os.splice(pipe.read_end, out, n)
        except OSError as err:
            said.append(str(err))
        os.close(file)
        pipe.close()

    session.control("start")
    readers = [threading.Thread(target=copy, args=(cpu,)) for cpu in cpus]
    for reader in readers:
        reader.start()
    workers = [
        subprocess.Popen(["taskset", "-c", str(cpu), "dd", "if=/dev/zero", "of=/dev/null", "bs=1"],
                         stderr=subprocess.DEVNULL)
        for cpu in cpus
    ]  # fmt: skip
    size = 16
    resized = 0

    def enough() -> bool:
        outs = [OUT / f"load_{cpu}" for cpu in cpus]
        return resized > 2 and all(out.exists() and out.stat().st_size > 64 * 4 * PAGE for out in outs)

    end = time.monotonic() + 60
    while not enough() and time.monotonic() < end:
        time.sleep(0.2)
        try:
            (session.path / "n_subbufs").write_text(str(80 - size))
            size = 80 - size
            resized += 1
        except OSError as err:
            # What was recorded before the last time has not been read yet.
            said += [str(err)] if err.errno != errno.EBUSY else []
    FOUND["load resized"] = resized
    for worker in workers:
        worker.kill()
        worker.wait()
    session.control("stop")
    for reader in readers:
        reader.join(60)
    FOUND["load ended"] = not any(reader.is_alive() for reader in readers), said
    FOUND["load stats"] = session.stats()
    session.path.rmdir()
    os.sched_setaffinity(0, {0})


def main() -> None:
    os.sched_setaffinity(0, {0})
    for step in (equal, wrap, closed, changes, waits, load, outlives):
        print(f"== {step.__name__}", flush=True)
        step()
    # A ring is closed by a worker, and relayfs stays until that has returned.
    FOUND["unload"] = (
        until(lambda: sh("rmmod ltt") == 0)
        and sh("umount /sys/kernel/relay") == 0
        and until(lambda: sh("rmmod relayfs") == 0)
    )
    (OUT / "dmesg").write_bytes(subprocess.run(["dmesg"], capture_output=True, check=True).stdout)
    (OUT / "found.json").write_text(json.dumps(FOUND, indent=1))


main()
