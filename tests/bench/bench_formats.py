# SPDX-License-Identifier: GPL-2.0-or-later
"""Old formats to frames: one row a format, all events and columns, ordered, with tid and comm; warm, on one CPU.

python -m tests.bench.bench_formats [--records N] [--rounds N] [NAME ...]

The traces are made by the writers of `ltt_relay.testing`: a mix of switches, system calls, interrupts and wake-ups, and
for the rows "with text" a tenth of records with a name. What is written once is repeated with its clocks moved on.
Seconds are of CPU, so that other work on the machine counts for less; LTT 3.0 in the same run is what the others are
measured by.
"""

from __future__ import annotations

import argparse
import os
import random
import struct
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import ltt_relay
from ltt_relay.formats.classic import Dialect
from ltt_relay.formats.classic_walk import ClassicFraming
from ltt_relay.formats.lttng0_layout import Layout, header_of
from ltt_relay.testing import write_trace
from ltt_relay.testing.classic import Record, Writer
from ltt_relay.testing.legacy import write_k42, write_poly
from ltt_relay.testing.lttng0 import LttngWriter

_BEGIN = 1_090_000_000_000_000_000
_BASE = 20_000
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


def _records(text: bool, begin: int = _BEGIN) -> Iterable[Record]:
    random_ = random.Random(1)
    at, running = begin, 1
    for i in range(_BASE):
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
    write_trace(path / "t", times * _BASE, cpus=1)


_FORMATS: dict[str, Callable[[Path, int], None]] = {
    "LTT 3.0": _ltt3,
    "LTT 1.14, us": _classic("1.14", "<", cycles=False, text=False),
    "LTT 2.2, cycles": _classic("2.2b", "<", cycles=True, text=False),
    "LTT 2.2, cycles, with text": _classic("2.2b", "<", cycles=True, text=True),
    "LTT 2.2c, big endian, us": _classic("2.2c", ">", cycles=False, text=False),
    "LTT K42, with text": _k42,
    "LTTV 2003, with text": _poly,
    "LTTng 0.7": _lttng((0, 7), text=False),
    "LTTng 1.0": _lttng((1, 0), text=False),
    "LTTng 1.0, with text": _lttng((1, 0), text=True),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{'format':<30}{'records':>12}{'MB':>8}{'median s':>10}{'spread s':>10}{'M records/s':>13}{'of 3.0':>8}")
    first = 0.0
    for name, make in _FORMATS.items():
        if options.names and name not in options.names and name != "LTT 3.0":
            continue
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory)
            make(path, max(options.records // _BASE, 1))
            size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            where = path / "t" if (path / "t").is_dir() else path
            seconds = []
            records = 0
            for _ in range(options.rounds + 1):
                begun = time.process_time()
                with ltt_relay.open(where) as trace:
                    frames = trace.frames()
                seconds.append(time.process_time() - begun)
                records = sum(len(frame) for frame in frames.values())
                assert trace.problems.empty
                del frames
            seconds = seconds[1:]
            middle, spread = median(seconds), max(seconds) - min(seconds)
            first = first or records / middle
            print(
                f"{name:<30}{records:>12,}{size / 1e6:>8.1f}{middle:>10.3f}{spread:>10.3f}"
                f"{records / middle / 1e6:>13.1f}{records / middle / first:>8.2f}", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    main()
