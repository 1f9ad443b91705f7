# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of every format for bench_formats: what its writer makes once, repeated with its clocks moved on.

A mix of switches, system calls, interrupts and wake-ups on one CPU; in those "with text" a tenth are records with a
name. Of blktrace what a queue sees; of the wireless drivers and of a format of one's own what they have.
"""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ltt_relay.formats import blktrace, mt76, spectral
from ltt_relay.formats.base import HeaderFraming
from ltt_relay.formats.classic import Dialect
from ltt_relay.formats.classic_walk import ClassicFraming
from ltt_relay.formats.lttng0_layout import Layout, header_of
from ltt_relay.formats.lttng2_layout import SIZED
from ltt_relay.testing import write_trace
from ltt_relay.testing.blktrace import record
from ltt_relay.testing.classic import Record, Writer
from ltt_relay.testing.legacy import write_k42, write_poly
from ltt_relay.testing.lttng0 import LttngWriter
from ltt_relay.testing.lttng2 import LttngTrace
from ltt_relay.testing.lttng2 import LttngWriter as CompactWriter

__all__ = ("BASE", "FORMATS", "Kind")

_BEGIN = 1_090_000_000_000_000_000
BASE = 20_000
_NAMES = ("sched_switch", "sys_enter", "sys_exit", "irq_handler_entry", "irq_handler_exit", "sched_wakeup")
_MARKERS = (
    (8, "kernel_sched_schedule", "prev_pid %d next_pid %d prev_state #2d%ld"),
    (9, "kernel_syscall_entry", "syscall_id #2u%u ip #p%ld"),
    (10, "kernel_syscall_exit", "ret %ld"),
    (11, "kernel_irq_entry", "ip %lu irq_id #2u%u kernel_mode #1u%u"),
    (12, "kernel_irq_exit", "handled #1u%u"),
    (13, "kernel_sched_wakeup", "pid %d state %ld"),
    (14, "fs_open", "fd %d filename %s"),
)
_PROCESS = """<facility name="process"><event name="schedchange"><field name="out"><int size="4"/></field>
<field name="in"><int size="4"/></field><field name="out_state"><int size="4"/></field></event>
<event name="wakeup"><field name="pid"><int size="4"/></field><field name="state"><int size="4"/></field></event>
</facility>"""
_KERNEL = """<facility name="kernel"><event name="syscall_entry"><field name="syscall_id"><uint size="1"/></field>
<field name="address"><pointer/></field></event><event name="syscall_exit"/><event name="irq_entry">
<field name="irq_id"><uint size="4"/></field></event><event name="irq_exit"/></facility>"""
_FS = """<facility name="fs"><event name="open"><field name="fd"><int size="4"/></field>
<field name="filename"><string/></field></event></facility>"""


@dataclass(frozen=True)
class Kind:
    """make(directory, times) writes BASE records so many times; aim: million records a second to reach.

    share: of the records of others, where they are large; file: what to open in the directory; format: a file there
    that `open` is to be told; peer: what reads it too, "" for nothing that is at hand.
    """

    make: Callable[[Path, int], None]
    aim: int
    share: float = 1.0
    file: str = ""
    format: str = ""
    peer: str = "babeltrace2"


def _records(text: bool, begin: int = _BEGIN) -> Iterable[Record]:
    random_ = random.Random(1)
    at, running = begin, 1
    for i in range(BASE):
        at += random_.randrange(1, 20) * 1000
        name = "fs_open" if text and i % 10 == 0 else random_.choice(_NAMES)
        fields: dict[str, object] = {}
        if name == "sched_switch":
            fields = {"prev_pid": running, "next_pid": running % 50 + 1}
            running = running % 50 + 1
        elif name == "sys_enter":
            fields = {"id": i % 250}
        elif name == "irq_handler_entry":
            fields = {"irq": i % 16}
        elif name == "sched_wakeup":
            fields = {"pid": i % 50}
        elif name == "fs_open":
            fields = {"fd": i % 20, "filename": f"/usr/lib/file-{i % 97}"}
        yield Record(name, at, fields)


def _repeat(file: Path, data: bytes, size: int, times: int, move: Callable[[bytearray, int], None]) -> None:
    """Write `data`, sub-buffers of `size`, so many times; move(sub-buffer, k) moves its clocks on."""
    with file.open("wb") as stream:
        for k in range(times):
            for at in range(0, len(data), size):
                piece = bytearray(data[at : at + size])
                move(piece, k)
                stream.write(piece)


def _classic(name: str, order: str, cycles: bool, text: bool) -> Callable[[Path, int], None]:
    def make(path: Path, times: int) -> None:
        writer = Writer(Dialect(name, order), cycles=cycles, buffer_size=1 << 16, hz=2_000_000_000)
        framing = writer.framing
        assert isinstance(framing, ClassicFraming)
        length = framing.length(18)

        def move(piece: bytearray, k: int) -> None:
            lost = struct.unpack_from(f"{order}I", piece, len(piece) - 4)[0]
            for at in (5, len(piece) - lost + 5) if length > 5 else (5,):
                second = struct.unpack_from(f"{order}I", piece, at)[0]
                struct.pack_into(f"{order}I", piece, at, second + 4 * k)

        data = b"".join(writer.buffers(_records(text)))
        _repeat(path / "t.trace", data, writer.buffer_size, times, move)

    return make


def _k42(path: Path, times: int) -> None:
    file = write_k42(path, _records(text=True), buffer_size=1 << 16)[0]

    def move(piece: bytearray, k: int) -> None:
        lost = struct.unpack_from(">I", piece, len(piece) - 4)[0]
        for at in (8, len(piece) - lost + 8):
            struct.pack_into(">I", piece, at, struct.unpack_from(">I", piece, at)[0] + 4 * k)

    _repeat(file, file.read_bytes(), 1 << 16, times, move)


def _poly(path: Path, times: int) -> None:
    write_poly(path / "t", _records(text=True), block=1 << 16, hz=2_000_000_000)
    file = path / "t" / "cpu" / "0"

    def move(piece: bytearray, k: int) -> None:
        lost = struct.unpack_from("<I", piece, len(piece) - 4)[0]
        for at in (6, len(piece) - lost + 6):
            struct.pack_into("<I", piece, at, struct.unpack_from("<I", piece, at)[0] + 4 * k)

    _repeat(file, file.read_bytes(), 1 << 16, times, move)


def _lttng(version: tuple[int, int], text: bool) -> Callable[[Path, int], None]:
    def make(path: Path, times: int) -> None:
        layout = Layout(version, "<", 8)
        names = ("process", _PROCESS), ("kernel", _KERNEL), ("fs", _FS)
        markers = _MARKERS if version >= (1, 0) else ()
        writer = LttngWriter(layout, facilities=() if markers else names, markers=markers, buffer_size=1 << 16)
        writer.write(path, _records(text, 1_000_000_000))
        head = header_of(layout)

        def move(piece: bytearray, k: int) -> None:
            # By as much as the 32 bits of a record wrap: those stay as they are.
            fields = head.parse(bytes(piece))
            for name in ("begin_cycle_count", "end_cycle_count"):
                fields[name] += k << 32
            piece[: head.sizeof()] = head.build(fields)

        _repeat(path / "cpu_0", (path / "cpu_0").read_bytes(), 1 << 16, times, move)

    return make


def _ltt3(path: Path, times: int) -> None:
    write_trace(path / "t", times * BASE, cpus=1)


def _lttng2(minor: int, bits: int, alignment: int, text: bool, kinds: Sequence[int] = (0,), channel: str = "kernel"
            ) -> Callable[[Path, int], None]:  # fmt: skip
    """LTTng 2; the first record of each file has its full time, which is moved on, too."""

    def make(path: Path, times: int) -> None:
        names = {
            "sched_switch": "sched_schedule",
            "sys_enter": "syscall_entry",
            "sys_exit": "syscall_exit",
            "irq_handler_entry": "irq_entry",
            "irq_handler_exit": "irq_exit",
            "sched_wakeup": "sched_try_wakeup",
        }
        formats = {"sched_schedule": "prev_pid %d next_pid %d prev_state #2d%hd",
                   "syscall_entry": "ip #p%lu syscall_id #2u%u", "syscall_exit": "ret %ld",
                   "irq_entry": "ip %lu handler %p irq_id #2u%u kernel_mode #1u%u",
                   "irq_exit": "handled #1u%u", "sched_try_wakeup": "pid %d state #2d%hd"}  # fmt: skip
        markers = {(channel, name): text_ for name, text_ in formats.items()}
        if text:
            markers["fs", "open"] = "fd %d filename %s"
        found = []
        for r in _records(text, 1_000_000_000):
            where = ("fs", "open") if r.event == "fs_open" else (channel, names[r.event])
            values: dict[str, Any] = dict.fromkeys(re.findall(r"(\w+) [#%]", markers[where]), 0)
            values |= {k: v for k, v in r.fields.items() if k in values}
            found.append((where[0], 0, r.time, where[1], values))
        trace = LttngTrace(markers, found, minor, bits=bits, alignment=alignment, sub_buffer=1 << 16, kinds=kinds)
        CompactWriter(trace).write(path / "t")
        for file in path.glob("t/[!mc]*_0"):
            _move_lttng2(file, alignment, times, sized=minor >= 5)

    return make


def _move_lttng2(file: Path, alignment: int, times: int, sized: bool) -> None:
    data = bytearray(file.read_bytes())
    full = 76 + (-76 % min(8, alignment) if alignment else 0)
    places = [0, 8, full]
    at = 0
    while (at := at + struct.unpack_from("<I", data, at + 56)[0]) < len(data):
        places += [at, at + 8]
    _stamped(file, data, np.array(places), 8, times, 1 << 32)


def _stamped(file: Path, data: bytes | bytearray, places: np.ndarray, size: int, times: int, step: int) -> None:
    """Write `data` so many times; the little-endian integers of `size` bytes at `places` are moved on by `step`."""
    dtype = f"<u{size}"
    array = np.frombuffer(bytes(data), np.uint8).copy()
    where = places[:, None] + np.arange(size)
    first = array[where].copy().view(dtype).ravel()
    with file.open("wb") as stream:
        for k in range(times):
            array[where] = (first + np.array(k * step).astype(dtype)).astype(dtype).view(np.uint8).reshape(-1, size)
            stream.write(array.tobytes())


def _blktrace(version: int, cgroup: bool) -> Callable[[Path, int], None]:
    def make(path: Path, times: int) -> None:
        random_ = random.Random(1)
        steps = ("block_bio_queue", "block_getrq", "block_rq_insert", "block_rq_issue", "block_rq_complete")
        categories = blktrace.CATEGORIES["write"] | blktrace.CATEGORIES["sync"]
        categories |= blktrace.CATEGORIES["cgroup"] * cgroup
        notes = [{"event": "blk_process", "pid": pid, "time": 5, "name": f"task-{pid}"} for pid in range(50)]
        notes.append({"event": "blk_timestamp", "time": 6, "seconds": 1_700_000_000, "nanoseconds": 5})
        out: list[bytes] = []
        places: list[int] = []
        at, size = 1_000_000, 0
        for i in range(BASE):
            at += random_.randrange(1, 20) * 1000
            remap = i % 20 == 19
            event = "block_bio_remap" if remap else steps[i % 5]
            values = {"event": event, "time": at, "pid": i // 5 % 50, "sector": 8 * (i // 5), "bytes": 4096,
                      "dev": 8 << 20 | 1, "sequence": i, "categories": categories, "cgroup": 77}  # fmt: skip
            places.append(size)
            out.append(record(values, version))
            size += len(out[-1])
        file = path / "t.blktrace.0"
        _stamped(file, b"".join(out), np.array(places) + 8, 8, times, 1 << 28)
        head = b"".join(record(note, version) for note in notes)
        file.write_bytes(head + file.read_bytes())

    return make


def _wireless(event: str, bins: int) -> Callable[[Path, int], None]:
    def make(path: Path, times: int) -> None:
        kind = spectral.format_of().event(event)
        fields: dict[str, Any] = {member.name: 3 for member in kind.payload.subcons}
        payload = bytes(kind.payload.build(fields | {"tsf": 0, "data": bytes(bins)}))
        one = bytes([kind.id]) + len(payload).to_bytes(2, "big") + payload
        at = 3 + sum(m.sizeof() for m in kind.payload.subcons[: [m.name for m in kind.payload.subcons].index("tsf")])
        array = np.frombuffer(one * BASE, np.uint8).reshape(BASE, -1).copy()
        with (path / "spectral_scan0").open("wb") as stream:
            for k in range(times):
                stamps = (np.arange(BASE) + k * BASE).astype(">u8")
                array[:, at : at + 8] = stamps.view(np.uint8).reshape(-1, 8)
                stream.write(array.tobytes())

    return make


def _mt76(path: Path, times: int) -> None:
    form = mt76.format_of("mt7915")
    framing = form.framing
    assert isinstance(framing, HeaderFraming)
    data, places, at = [], [], 0
    for i in range(BASE):
        body = b"x" * (16 + i % 3 * 4)
        payload = form.events[0].payload.build({"time": 10 * i, "msg_type": i % 9, "len": len(body), "data": body})
        data.append(framing.header.build({"length": 4 + len(payload), "magic": mt76.MAGICS["mt7915"]}) + payload)
        places.append(at + 8)
        at += len(data[-1])
    _stamped(path / "fwlog_data0", b"".join(data), np.array(places), 4, times, 10 * BASE)


_PAGE = Path(__file__).resolve().parents[2] / "docs/formats/own.md"


def _own(path: Path, times: int) -> None:
    """The definition of the how-to, docs/formats/own.md."""
    text = re.search(r"```python\n(# sensor\.py\n.*?)```", _PAGE.read_text(), re.DOTALL)
    assert text
    (path / "sensor.py").write_text(text[1])
    own: dict[str, Any] = {}
    exec(text[1], own)
    (path / "t").mkdir()
    packets, at = [], 0
    for begin in range(0, BASE, 5000):
        body = b""
        for i in range(begin, begin + 5000):
            payload = own["SAMPLE"].build({"channel": i % 2, "value": i % 5000})
            body += own["HEADER"].build({"time": i, "id": 1, "length": len(payload)}) + payload
        used = own["PACKET"].sizeof() + len(body)
        told = {"magic": 0x53454E53, "size": used, "used": used, "lost": 0, "begin": begin}
        packets.append((at + 16, own["PACKET"].build(told) + body))
        at += used
    # By as much as the 32 bits of a record wrap: those stay as they are.
    _stamped(
        path / "t/sensor0", b"".join(data for _, data in packets), np.array([p for p, _ in packets]), 8, times, 1 << 32
    )


FORMATS: dict[str, Kind] = {
    "LTT 3.0": Kind(_ltt3, 5, file="t"),
    "LTT 1.14, us": Kind(_classic("1.14", "<", cycles=False, text=False), 10),
    "LTT 2.1, cycles": Kind(_classic("2.1", "<", cycles=True, text=False), 10),
    "LTT 2.2a, cycles": Kind(_classic("2.2a", "<", cycles=True, text=False), 10),
    "LTT 2.2b, cycles": Kind(_classic("2.2b", "<", cycles=True, text=False), 10),
    "LTT 2.2b, with text": Kind(_classic("2.2b", "<", cycles=True, text=True), 5),
    "LTT 2.2c, big endian, us": Kind(_classic("2.2c", ">", cycles=False, text=False), 10),
    "LTT 2.3, cycles": Kind(_classic("2.3", "<", cycles=True, text=False), 10),
    "LTT K42, with text": Kind(_k42, 5),
    "LTTV 2003, with text": Kind(_poly, 5, file="t"),
    "LTTng 0.3": Kind(_lttng((0, 3), text=False), 10),
    "LTTng 0.7": Kind(_lttng((0, 7), text=False), 10),
    "LTTng 1.0": Kind(_lttng((1, 0), text=False), 10),
    "LTTng 1.0, with text": Kind(_lttng((1, 0), text=True), 5),
    "LTTng 2.3, packed": Kind(_lttng2(3, 32, 0, text=False), 10, file="t"),
    "LTTng 2.6, aligned": Kind(_lttng2(6, 64, 8, text=False), 10, file="t"),
    "LTTng 2.6, sizes told": Kind(_lttng2(6, 32, 4, text=False, kinds=(SIZED,)), 10, file="t"),
    "LTTng 2.5, with text": Kind(_lttng2(5, 32, 0, text=True), 5, file="t"),
    "UST 0.x": Kind(_lttng2(6, 64, 0, text=False, channel="ust"), 10, file="t"),
    "blktrace 7": Kind(_blktrace(7, cgroup=False), 10, peer="blkparse"),
    "blktrace 7, with cgroups": Kind(_blktrace(7, cgroup=True), 10, peer="blkparse"),
    "blktrace 8": Kind(_blktrace(8, cgroup=False), 10, peer=""),
    "mt76 log": Kind(_mt76, 5, share=0.5, file="fwlog_data0"),
    "ath9k spectral": Kind(_wireless("fft_ht20", 56), 5, share=0.25, file="spectral_scan0"),
    "ath10k spectral": Kind(_wireless("fft_ath10k", 64), 5, share=0.25, file="spectral_scan0"),
    "one's own": Kind(_own, 10, file="t", format="sensor.py"),
}
