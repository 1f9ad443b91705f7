# SPDX-License-Identifier: GPL-2.0-or-later
"""What a session of ltt.ko must do, in one boot: runs in the guest as root; fills the directory argv[1]."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltt_relay.formats.ltt3 import EVENTS

OUT = Path(sys.argv[1])
LTT = Path("/sys/kernel/relay/ltt")
CPUS = range(2)
FOUND: dict[str, Any] = {}


class Session:
    """A session by its files; `keep` leaves a capture of it in OUT."""

    def __init__(self, name: str, events: str = "", **files: object) -> None:
        self.name = name
        self.path = LTT / name
        if not self.path.exists():
            self.path.mkdir()
        for file, value in files.items():
            self.write(file, str(value))
        if events:
            self.write("events", events)

    def write(self, file: str, text: str) -> None:
        """One write(2)."""
        try:
            with (self.path / file).open("wb", buffering=0) as stream:
                stream.write(text.encode())
        except OSError as err:
            err.add_note(f"{file} <- {text}: {self.read('error')}")
            raise

    def refused(self, file: str, text: str) -> list[str]:
        """Write what must be refused; returns the errno's name and the reason."""
        try:
            self.write(file, text)
        except OSError as err:
            return [errno.errorcode[err.errno or 0], self.read("error").strip()]
        return ["", ""]

    def read(self, file: str) -> str:
        return (self.path / file).read_text()

    def state(self) -> str:
        return self.read("control").strip()

    def stats(self) -> dict[str, int]:
        header, *rows = self.read("stats").splitlines()
        columns = zip(*(map(int, row.split()) for row in rows), strict=True)
        return dict(zip(header.split(), map(sum, columns), strict=True))

    def keep(self, name: str = "", *, remove: bool = True) -> None:
        """Read what is left: of a stopped session, or of a snapshot."""
        out = OUT / (name or self.name)
        out.mkdir()
        for cpu in CPUS:
            (out / f"events_{cpu}").write_bytes((self.path / f"events_{cpu}").read_bytes())
        for file in ("metadata", "state_0"):
            (out / file).write_bytes((self.path / file).read_bytes())
        FOUND[f"{name or self.name} stats"] = self.stats()
        if remove:
            self.path.rmdir()

    def stop_and_keep(self) -> None:
        self.write("control", "stop")
        self.keep()


def sh(command: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, shell=True, capture_output=True, check=False)


def until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return true


def boot() -> None:
    session = Session("boot")
    FOUND["boot"] = [session.state(), session.read("mode").strip(), session.read("events").split()]
    session.stop_and_keep()


def custom() -> None:
    session = Session("custom", "none")
    for text in (
        "declare request id:u64 code:s8 flags:x16 verb:char[8] size:u32 url:string",
        "declare tick",
        "declare wide a:u8 b:s64 c:u8 d:s16 e:u8 f:x32",
    ):
        session.write("custom", text)
    file = os.open(session.path / "custom", os.O_WRONLY)
    try:
        os.write(file, b"tick")
    except BlockingIOError:
        FOUND["custom early"] = session.read("error").strip()
    os.close(file)
    session.write("control", "start")
    for number in range(200):
        session.write(
            "custom", f'request {number} {-number % 128 - 64} 0x{number:x} "G E T" {number * 1000} "/a b/{number}"'
        )
    session.write("custom", "request 18446744073709551615 -128 65535 POST 0 the rest of the line \n")
    session.write("custom", "tick")
    session.write("custom", "wide 255 -9223372036854775808 1 -2 3 0xdeadbeef")
    session.write("custom", "declare late text:string")
    session.write("custom", "late ü")
    session.write("events", "-tick")
    session.write("custom", "tick")
    FOUND["custom enabled"] = session.read("events").split()
    FOUND["custom listed"] = session.read("custom").splitlines()
    FOUND["custom refused"] = [
        session.refused("custom", text)
        for text in (
            "nobody 1",
            "request 1 2",
            "request 1 300 0 GET 0 /",
            "tick 1",
            "declare sched_switch a:u8",
            "declare request a:u8",
            "declare 1x a:u8",
            "declare bad a:u7",
            "declare bad _event:u8",
            "declare bad a:string b:u8",
            "declare bad a:u8 a:u8",
            "declare bad " + " ".join(f"f{n}:u8" for n in range(20)),
            "declare kprobe_x a:u8",
            "declare bad a:char[0]",
            "declare bad a:",
            *(f"declare {event.name} a:u8" for event in EVENTS if event.stream),
            "",
        )
    ]
    FOUND["pid"] = os.getpid()
    session.stop_and_keep()


def names() -> None:
    """A program whose name is longer than a task's can be, ftrace beside us."""
    session = Session("names", "none +task_rename")
    tracing = Path("/sys/kernel/tracing")
    (tracing / "events/task/task_rename/enable").write_text("1")
    session.write("control", "start")
    sh("cp /bin/true /tmp/longer_than_fifteen; /tmp/longer_than_fifteen")
    session.stop_and_keep()
    (tracing / "events/task/task_rename/enable").write_text("0")
    FOUND["names of ftrace"] = (tracing / "trace").read_text()
    (tracing / "trace").write_text("")


def renames() -> None:
    """More changes of tasks' names than a session keeps."""
    session = Session("renames", "none +marker")
    session.write("control", "start")
    session.write("marker", "of a session")
    prctl = ctypes.CDLL(None).prctl
    children = []
    for _ in CPUS:
        child = os.fork()
        if not child:
            for _ in range(380_000):
                prctl(15, b"renamed", 0, 0, 0)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    session.write("control", "stop")
    FOUND["renames again"] = session.refused("control", "start")
    session.keep()


def kprobes() -> None:
    session = Session("kprobes", "none +kprobe:do_sys_openat2 +kprobe:vfs_unlink")
    FOUND["kprobe refused"] = [
        session.refused("events", f"+kprobe:{name}")
        for name in ("ktime_get_mono_fast_ns", "relayfs_next_packet", "ltt_filter_pass", "no_such_function", "do_int3")
    ]
    session.write("control", "start")
    session.write("events", "+kprobe:vfs_rename")
    file = OUT / "probed"
    file.write_text("x")
    file.rename(OUT / "renamed")
    (OUT / "renamed").unlink()
    session.write("events", "-kprobe:vfs_*")
    file.write_text("x")
    file.unlink()
    FOUND["kprobe enabled"] = session.read("events").split()
    session.stop_and_keep()


def triggers() -> None:
    stopped = Session("stopped", "none +sys_exit +marker", subbuf_size=65536)
    FOUND["trigger refused"] = [
        stopped.refused("trigger", text)
        for text in (
            "nothing stop",
            "sys_exit ret == x stop",
            "sys_exit ret ~ 1 stop",
            "sys_exit ret == 1",
            "sys_exit nope == 1 stop",
            "sys_exit stop now",
            "marker text < a stop",
            "sys_exit snapshot",
        )
    ]
    stopped.write("trigger", "marker text == stop?here tid == " + str(os.getpid()) + " stop")
    stopped.write("control", "start")
    for text in ("before", "stop here not", "stop here"):
        stopped.write("marker", text)
    try:
        stopped.write("marker", "after")
    except OSError as err:
        FOUND["trigger marker"] = errno.errorcode[err.errno or 0]
    until(lambda: stopped.state() != "running")
    FOUND["trigger state"] = [stopped.state(), stopped.read("trigger").splitlines()]
    stopped.keep()

    flight = Session("triggered", "none +sys_enter +sys_exit", subbuf_size=16384, n_subbufs=4, mode="flight")
    flight.write("trigger", "sys_exit ret == -2 id == 87 snapshot")
    flight.write("control", "start")
    for _ in range(3000):
        os.getppid()
    (OUT / "missing").unlink(missing_ok=True)
    until(lambda: "done" in flight.read("trigger"))
    FOUND["trigger fired"] = flight.read("trigger").splitlines()
    FOUND["trigger goes on"] = flight.state()
    if "done" not in FOUND["trigger fired"][1]:
        flight.write("control", "stop")  # else there is nothing to be read, for ever
    flight.keep("triggered", remove=False)
    if flight.state() == "running":
        flight.write("control", "snapshot")
        flight.write("trigger", "sys_exit ret == -2 id == 87 snapshot")
        (OUT / "missing").unlink(missing_ok=True)
        until(lambda: "refused" in flight.read("trigger"))
        FOUND["trigger while unread"] = flight.read("trigger").splitlines()
    flight.write("trigger", "none")
    FOUND["trigger gone"] = flight.read("trigger")
    flight.path.rmdir()


def work() -> None:
    """Processes and threads to be told apart: by name, owner, group and CPU."""
    os.getppid()
    sh("cp /bin/true /tmp/alpha; cp /bin/true /tmp/beta; /tmp/alpha; /tmp/beta; taskset -c 1 /tmp/beta")
    sh("setpriv --reuid 1234 --clear-groups /bin/true")
    sh("sh -c 'echo $$ >/sys/fs/cgroup/filtered/cgroup.procs; exec /tmp/alpha'")
    sh("sh -c '/tmp/alpha; sh -c /tmp/beta'")


def filters() -> None:
    Path("/sys/fs/cgroup/filtered").mkdir(exist_ok=True)
    me = os.getpid()
    thread = []
    started, done = threading.Event(), threading.Event()

    def other() -> None:
        thread.append(threading.get_native_id())
        started.set()
        done.wait()
        os.getppid()

    another = threading.Thread(target=other)
    another.start()
    started.wait()
    wanted = {
        "tid": f"tid={thread[0]}",
        "tgid": f"tgid={me}",
        "comm": "comm=alph*",
        "uid": "uid=1234",
        "cgroup": "cgroup=/filtered",
        "cpu": "cpu=1",
        "both": "comm=beta cpu=1",
        "follow": f"tgid={me} follow=1",
    }
    sessions = {
        name: Session(f"filter-{name}", "none +syscall +sched_switch", filter=text) for name, text in wanted.items()
    }
    FOUND["filter shown"] = [session.read("filter").strip() for session in sessions.values()]
    FOUND["filter refused"] = [
        sessions["tid"].refused("filter", text)
        for text in ("tid=x", "colour=red", "cpu=x", "cgroup=/none", "follow=2", "tid")
    ]
    for session in sessions.values():
        session.write("control", "start")
    work()
    done.set()
    another.join()
    for session in sessions.values():
        session.write("control", "stop")
    for session in sessions.values():
        session.keep()
    FOUND["me"], FOUND["thread"] = me, thread[0]


def classes() -> None:
    first = Session("classes", "none +class:syscall +class:schedchange")
    second = Session("globs", "none +sched:sched_w* -sched_waking irq", mode="flight")
    FOUND["classes"] = first.read("events").split()
    FOUND["globs"] = second.read("events").split()
    for session in (first, second):
        session.write("control", "start")
    work()
    first.write("events", "-class:syscall")
    FOUND["classes later"] = first.read("events").split()
    for session in (first, second):
        session.stop_and_keep()


def main() -> None:
    steps = boot, custom, names, kprobes, triggers, filters, classes, renames
    for step in [globals()[n] for n in sys.argv[2:]] or steps:
        print(f"== {step.__name__}", flush=True)
        step()
    FOUND["unload"] = sh("umount /sys/kernel/relay && rmmod ltt").returncode
    # A ring is closed by a worker, and relayfs stays until that has returned.
    FOUND["unload relayfs"] = until(lambda: not sh("rmmod relayfs").returncode)
    (OUT / "dmesg").write_bytes(sh("dmesg").stdout)
    (OUT / "found.json").write_text(json.dumps(FOUND, indent=1))


main()
