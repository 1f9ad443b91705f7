# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once, in the guest: stress.py OUT SECONDS SEED MODULES.

Rounds of about twenty seconds. In each, sessions with all events and buffers tiny or large are made, resized,
snapshotted, reset, flushed, filtered, stopped and removed while readers are slow, killed or not there, CPUs go and
come, and both logs run; between rounds the modules are unloaded. What is done is drawn from SEED; how it interleaves
is not.

Whenever counters are looked at, produced = read + pending + overwritten + lost has to hold for each stream, and lost is
the sum of its reasons; and what readers got is counted. What does not hold is written to OUT/violations.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ltt_relay.capture.packets import PacketTracker
from ltt_relay.capture.rights import MOUNT_POINT
from ltt_relay.capture.session import Log, Session
from ltt_relay.errors import UserError

ROUND_SECONDS = 20.0
# A life that has begun goes on to its end, which takes long where all is checked and the machine is busy.
GRACE_SECONDS = 400.0
MODULES = ("relayfs", "ltt", "klog", "evlog")
REASONS = ("full", "nmi", "nested", "too_big", "no_buffer", "fault", "reset")
# What the kernel may answer to a request that comes at a bad moment; all else is a fault.
ALLOWED = {errno.EBUSY, errno.ENOMEM, errno.EINVAL, errno.EAGAIN, errno.ENODEV, errno.ENOENT}


class Book:
    """What was done, and what should not have been."""

    def __init__(self, out: Path) -> None:
        """Begin an empty book in `out`."""
        self._lock = threading.Lock()
        self._violations = (out / "violations").open("w", buffering=1)
        self.done: Counter[str] = Counter()

    def note(self, what: str, n: int = 1) -> None:
        """Count something that was done."""
        with self._lock:
            self.done[what] += n

    def violation(self, text: str) -> None:
        """Write down a fault."""
        with self._lock:
            self._violations.write(text + "\n")


def check(book: Book, session: Session) -> list[dict[str, int]]:
    """Compare a session's counters with each other, stream by stream; returns them."""
    rows = session.stats()
    for row in rows:
        lost = sum(row[reason] for reason in REASONS)
        told = row["read"] + row["pending"] + row["overwritten"] + row["lost"]
        if row["produced"] != told or row["lost"] != lost or min(row.values()) < 0 or max(row.values()) > 1 << 62:
            book.violation(f"{session.name}: counters do not add up: {row}")
    book.note("checks", len(rows))
    return rows


class Reader(threading.Thread):
    """Reads a stream slowly or fast until told to end, and counts the records of whole packets."""

    def __init__(self, book: Book, path: Path, chunk: int, pause: float) -> None:
        """Prepare; `chunk` bytes at once, `pause` seconds between."""
        super().__init__(name=path.name, daemon=True)
        self._book = book
        self._path = path
        self._chunk = chunk
        self._pause = pause
        self.ending = threading.Event()
        self.tracker = PacketTracker()
        self.opened = False

    def run(self) -> None:
        """Read."""
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno not in ALLOWED:
                self._book.violation(f"open {self._path}: {error}")
            return
        self.opened = True
        poll = select.poll()
        poll.register(file, select.POLLIN)
        try:
            while not self.ending.is_set():
                poll.poll(50)
                with contextlib.suppress(BlockingIOError):
                    self.tracker.feed(memoryview(os.read(file, self._chunk)))
                self.ending.wait(self._pause)
        except (OSError, UserError) as error:
            self._book.violation(f"read {self._path}: {error}")
        finally:
            os.close(file)
        self._book.note("packets read", self.tracker.packets)


def drain(book: Book, path: Path) -> int:
    """Read what is left of a stopped stream; returns the records in it."""
    tracker = PacketTracker()
    for _ in range(100):
        try:
            file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.EBUSY:
                book.violation(f"open {path}: {error}")
                return 0
            time.sleep(0.02)
    else:
        book.violation(f"{path} stays busy though nobody reads it")
        return 0
    ends = 0
    # A frozen snapshot and what was recorded after it have an end-of-file each.
    while ends < 2:
        try:
            data = os.read(file, 1 << 20)
        except BlockingIOError:
            book.violation(f"{path}: stopped, and would block")
            break
        tracker.feed(memoryview(data))
        ends = 0 if data else ends + 1
    os.close(file)
    if tracker.size != tracker.whole:
        book.violation(f"{path}: ends {tracker.size - tracker.whole} bytes into a packet")
    return tracker.records


class Life:
    """A session's life, again and again: made, used, ended."""

    def __init__(self, book: Book, seed: str, session: Session, deadline: float) -> None:
        """Prepare; choices are drawn from `seed`."""
        self.book = book
        self.random = random.Random(seed)
        self.session = session
        self.deadline = deadline
        self.kind = seed.rpartition(".")[2]
        self.readers: dict[Path, Reader] = {}
        self.victims: list[subprocess.Popen[bytes]] = []
        self.got: Counter[Path] = Counter()
        self.uncounted: set[Path] = set()
        self.lives = 0

    def ask(self, file: str, text: str) -> bool:
        """Write to one of the session's files; the kernel may refuse for a reason that is allowed."""
        try:
            descriptor = os.open(self.session.path / file, os.O_WRONLY)
        except OSError as error:
            if error.errno not in ALLOWED:
                self.book.violation(f"{self.session.name}/{file}: {error}")
            return False
        try:
            os.write(descriptor, text.encode())
        except OSError as error:
            if error.errno not in ALLOWED:
                self.book.violation(f"{self.session.name}/{file} <- {text}: {error}")
            self.book.note(f"{file} refused")
            return False
        finally:
            os.close(descriptor)
        self.book.note(f"{file} {text}" if file == "control" else file)
        return True

    def configure(self) -> None:
        """Choose sizes, mode and events."""
        choice = self.random.choice
        tiny, flight = self.kind == "1", self.kind == "0"
        self.ask("subbuf_size", str(4096 if tiny else choice([4096, 8192, 65536, *([] if flight else [1 << 20])])))
        self.ask("n_subbufs", str(2 if tiny else choice([2, 3, 8, *([] if flight else [32])])))
        if choice([True, False]) and not tiny:
            self.ask("n_subbufs_max", str(choice([4, 64, 200])))
        if flight:
            self.ask("mode", "flight")
        self.ask("events", choice(["+*", "+*", "+* -syscall:*", "+syscall:* +user:*", "+sched:* +irq:*"]))

    def begin_readers(self) -> None:
        """Let some streams be read, by threads of ours and by processes that will be killed."""
        for path in self.session.streams():
            kind = self.random.choice(["slow", "fast", "killed", "none"])
            if kind in {"slow", "fast"}:
                chunk, pause = (self.random.choice([100, 512, 4096]), 0.01) if kind == "slow" else (1 << 20, 0.0)
                self.readers[path] = Reader(self.book, path, chunk, pause)
                self.readers[path].start()
            elif kind == "killed":
                self.uncounted.add(path)
                words = ["dd", f"if={path}", "of=/dev/null", f"bs={self.random.choice([300, 5000])}"]
                self.victims.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))

    def end_readers(self) -> None:
        """Stop ours, kill the others."""
        for victim in self.victims:
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            self.book.note("readers killed")
        self.victims.clear()
        for path, reader in self.readers.items():
            reader.ending.set()
            reader.join()
            self.got[path] += reader.tracker.records
        self.readers.clear()

    def second_readers(self) -> None:
        """Try to open what is being read."""
        for path, reader in self.readers.items():
            if not (reader.opened and reader.is_alive()):
                continue
            try:
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                if reader.is_alive():
                    self.book.violation(f"{path}: let a second reader in")
            except OSError as error:
                self.book.note("second readers refused")
                if error.errno != errno.EBUSY:
                    self.book.violation(f"{path}, second reader: {error}")

    def restart(self) -> None:
        """Stop and start; a flight recorder that nobody reads does not start before its last recording is gone."""
        self.ask("control", "stop")
        if not self.ask("control", "start"):
            self.ask("control", "reset")
            self.ask("control", "start")

    def change_readers(self) -> None:
        """Let others read."""
        self.end_readers()
        self.begin_readers()

    def steps(self) -> list[Callable[[], object]]:
        """Return what is done to a running session, once each."""
        draw, ask = self.random.choice, self.ask
        return [
            lambda: ask("n_subbufs", draw(["2", "4", "16", "50"])),
            lambda: ask("control", "snapshot"),
            lambda: ask("control", "snapshot!"),
            lambda: ask("control", "reset"),
            self.restart,
            lambda: ask("control", "flush"),
            lambda: ask("filter", draw(["cpu=0", "uid=0", "tid=1", "comm=sh,ls", "cgroup=/"])),
            lambda: ask("filter", ""),
            lambda: ask("events", draw(["-irq:*", "-*", "+syscall:*"])),
            lambda: ask("events", "+*"),
            lambda: ask("marker", "m" * draw([1, 100, 4000])),
            lambda: ask("trigger", draw(["sys_exit ret < 0 snapshot", "sched_switch snapshot", "sys_exit stop"])),
            lambda: ask("trigger", draw(["sched_switch prev_prio == 120 snapshot", "none"])),
            lambda: check(self.book, self.session),
            self.second_readers,
            self.change_readers,
        ]

    def settle(self) -> None:
        """Stop, read all that is left, and compare what came with what the counters say."""
        self.ask("control", "stop")
        self.end_readers()
        if self.session.state == "idle":
            return
        for path in self.session.streams():
            self.got[path] += drain(self.book, path)
        for path, row in zip(self.session.streams(), check(self.book, self.session), strict=True):
            if row["pending"]:
                self.book.violation(f"{path}: {row['pending']} pending after all was read: {row}")
            if path not in self.uncounted and self.got[path] != row["read"]:
                self.book.violation(f"{path}: {self.got[path]} records came, {row['read']} were counted: {row}")
            self.book.note("records", row["produced"])
            self.book.note("records lost", row["lost"])
            self.book.note("records overwritten", row["overwritten"])
        self.book.note("sessions settled")

    def make(self) -> None:
        """Begin a life."""
        self.got.clear()
        self.uncounted.clear()
        self.session.path.mkdir()

    def remove(self) -> None:
        """End it."""
        self.session.path.rmdir()

    def run(self) -> None:
        """Live until the deadline; every life ends."""
        while time.monotonic() < self.deadline:
            self.make()
            self.configure()
            self.ask("control", "start")
            self.begin_readers()
            steps = self.steps()
            self.random.shuffle(steps)
            for step in steps:
                step()
                time.sleep(self.random.choice([0.0, 0.02, 0.1]))
            if self.random.randrange(4) or self.lives == 0:
                self.settle()
            self.remove()
            self.end_readers()
            self.lives += 1


class LogLife(Life):
    """The same for a log, whose directory stays; a new UUID is a new life."""

    def make(self) -> None:
        """Begin with counters at 0."""
        self.settle()
        self.got.clear()
        self.uncounted.clear()
        if not self.ask("uuid", Path("/proc/sys/kernel/random/uuid").read_text()):
            self.book.violation(f"{self.session.name}: no new trace though all was read: {self.session.read('error')}")

    def configure(self) -> None:
        """Choose how far it may grow."""
        self.ask("n_subbufs_max", str(self.random.choice([0, 8, 100])))

    def log(self) -> None:
        """Write to both logs."""
        for n in range(50):
            with contextlib.suppress(OSError):
                Path("/dev/kmsg").write_text(f"<{self.random.randrange(192)}>stress {n}\n")
            with contextlib.suppress(OSError):
                (MOUNT_POINT / "evlog/log").write_text(f"user.info @n={self.random.randrange(1000)} stress {n}")

    def steps(self) -> list[Callable[[], object]]:
        """Return what is done to a log."""
        ask = self.ask
        return [
            *[self.log] * 5,
            *[lambda: check(self.book, self.session)] * 2,
            lambda: ask("n_subbufs", self.random.choice(["2", "5", "40"])),
            lambda: ask("control", "reset"),
            lambda: ask("control", "flush"),
            lambda: ask("control", "stop"),
            lambda: ask("control", "start"),
            self.second_readers,
            self.change_readers,
        ]

    def remove(self) -> None:
        """Leave it stopped."""
        self.ask("control", "stop")


def unplug(book: Book, seed: str, deadline: float) -> None:
    """Let CPUs go and come."""
    draw = random.Random(seed)
    switches = sorted(Path("/sys/devices/system/cpu").glob("cpu[1-9]*/online"))
    while time.monotonic() < deadline:
        switch = draw.choice(switches)
        for value in ("0", "1"):
            with contextlib.suppress(OSError):
                switch.write_text(value)
                book.note("CPUs switched")
            time.sleep(draw.choice([0.05, 0.3]))


def meddle(book: Book, deadline: float) -> None:
    """Try what has to be refused while sessions are there."""
    while time.monotonic() < deadline:
        time.sleep(0.7)
        if any(path.is_dir() for path in (MOUNT_POINT / "ltt").iterdir()):
            done = subprocess.run(["rmmod", "relayfs"], capture_output=True, check=False)
            book.note("unloads refused")
            if not done.returncode:
                book.violation("relayfs was unloaded under its clients")
        with contextlib.suppress(OSError):
            (MOUNT_POINT / "ltt/available_events").read_text()


LOAD = """
while :; do
	ls -lR /usr/share/doc 2>/dev/null | head -n 300 | sort >/tmp/stress.$$
	rm /tmp/stress.$$
	for i in 1 2 3; do /bin/true; done
	sleep 0.05
done
"""


def one_round(book: Book, seed: str) -> None:
    """Run all workers for a round."""
    deadline = time.monotonic() + ROUND_SECONDS
    lives = [Life(book, f"{seed}.{i}", Session(f"stress{i}"), deadline) for i in range(3)]
    lives += [LogLife(book, f"{seed}.{name}", Log(name), deadline) for name in ("klog", "evlog")]
    workers = [threading.Thread(target=guarded, args=(book, life.run), daemon=True) for life in lives]
    workers.append(threading.Thread(target=guarded, args=(book, unplug, book, f"{seed}.cpu", deadline), daemon=True))
    workers.append(threading.Thread(target=guarded, args=(book, meddle, book, deadline), daemon=True))
    loads = [subprocess.Popen(["sh", "-c", LOAD], start_new_session=True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(ROUND_SECONDS + GRACE_SECONDS)
        if worker.is_alive():
            book.violation(f"a worker hangs: {worker.name}")
    for load in loads:
        os.killpg(load.pid, signal.SIGKILL)
        load.wait()
    book.note("rounds")


def guarded(book: Book, work: Callable[..., None], *words: object) -> None:
    """Run a worker; an exception is a fault."""
    try:
        work(*words)
    except Exception:
        book.violation(traceback.format_exc())


def reload_modules(book: Book, build: Path) -> None:
    """Unload all, at once and without a word, and load them again."""
    subprocess.run(["umount", str(MOUNT_POINT)], check=True)
    for name in reversed(MODULES):
        for _ in range(1000):
            done = subprocess.run(["rmmod", name], capture_output=True, text=True, check=False)
            if not done.returncode:
                break
            # A ring is closed by a worker; the module goes when that has returned.
            time.sleep(0.05)
        else:
            book.violation(f"{name} does not unload: {done.stderr}")
            return
    for name in MODULES:
        subprocess.run(["insmod", str(build / f"{name}.ko")], check=True)
    subprocess.run(["mount", "-t", "relayfs", "relayfs", str(MOUNT_POINT)], check=True)
    book.note("reloads")


def main() -> None:
    """Run."""
    out, seconds, seed, build = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    book = Book(out)
    for number in range(max(1, round(seconds / ROUND_SECONDS))):
        one_round(book, f"{seed}.{number}")
        reload_modules(book, build)
    lines = [f"{count} {what}\n" for what, count in sorted(book.done.items())]
    (out / "done").write_text("".join(lines))


main()
