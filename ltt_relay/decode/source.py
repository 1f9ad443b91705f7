# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace below its frames: packets, counts, names and losses of any format, on the way index, walk, gather."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from ltt_relay.decode import batch, kept, names
from ltt_relay.decode.errors import Problem, TraceError
from ltt_relay.decode.packets import END_UNKNOWN, TASK_UNKNOWN, load, packet_array, packet_key
from ltt_relay.decode.plan import NAME_TABLES, Plan, compile_plan
from ltt_relay.decode.records import RecordWalker
from ltt_relay.decode.timeline import make_timeline
from ltt_relay.decode.trouble import TROUBLE
from ltt_relay.decode.walk_classic import ClassicWalker
from ltt_relay.decode.walk_compact import CompactWalker
from ltt_relay.decode.walk_header import HeaderWalker
from ltt_relay.decode.walk_length import LengthWalker
from ltt_relay.decode.walk_lttng0 import LttngWalker
from ltt_relay.formats.base import HeaderFraming, LengthFraming, Naming
from ltt_relay.formats.classic_walk import ClassicFraming
from ltt_relay.formats.loaded import MAX_CPU, Loaded
from ltt_relay.formats.lttng0_layout import LttngFraming
from ltt_relay.formats.lttng2_layout import CompactFraming

__all__ = ("FOREVER", "WALKERS", "Source", "threads")

FOREVER: Final = 1 << 62
#: Which walker finds the records of a framing.
WALKERS: Final[dict[type, type[Any]]] = {
    LengthFraming: LengthWalker,
    HeaderFraming: HeaderWalker,
    ClassicFraming: ClassicWalker,
    LttngFraming: LttngWalker,
    CompactFraming: CompactWalker,
}

_MAX_PROBLEMS_A_LOAD: Final = 4096
_COUNT_WINDOW: Final = 1 << 20
#: Packets that are counted to tell how many records there are of each kind: one of so many, within these limits.
_SAMPLE: Final = 64
_FEWEST, _MOST = 8, 64
_TRIES: Final = 3
_BYTES_A_RECORD: Final = 80
#: A window may be longer or shorter by one of so many parts for its edge to be a packet's begin.
_NEAR: Final = 4
#: Bytes of packets below which threads take longer to start than they save.
_WORTH_THREADS: Final = 16 << 20
#: Bytes of packets that are merged at once, at least.
_SPAN: Final = 12 << 20
#: Characters that the kernel keeps of a program's name.
_COMM: Final = 15


def threads() -> int:
    """Return how many threads decode: LTT_RELAY_THREADS, or as many as there are CPUs for this process."""
    asked = os.environ.get("LTT_RELAY_THREADS", "")
    if asked:
        if not asked.isdecimal() or not int(asked):
            raise TraceError(f"LTT_RELAY_THREADS={asked}: a number of 1 or more was expected")
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cuts(begin: np.ndarray, end: np.ndarray, held_by: np.ndarray, most: int, since: int, until: int) -> list[int]:
    """Return the times between since and until at which `most` records more have been, as far as packets tell.

    Records are taken to be spread evenly over their packet. The packets of many CPUs begin at about the same time, so
    that cuts at their begins alone would have few records between them, or a packet of each CPU.
    """
    if not begin.size:
        return []
    low = int(begin.min())
    starts, stops = begin - low, np.maximum(end, begin + 1) - low
    rate = held_by / (stops - starts)
    at = np.concatenate([starts, stops])
    order = np.argsort(at, kind="stable")
    at = at[order]
    running = np.cumsum(np.concatenate([rate, -rate])[order])
    passed = np.concatenate([[0.0], np.cumsum(np.maximum(running[:-1], 0) * np.diff(at))])
    first, last = np.interp([max(since - low, 0), min(until - low, int(at[-1]))], at, passed)
    places = np.arange(first + most, last, most)
    exact = np.interp(places, passed, at)
    near = np.sort(starts)
    nearest = near[np.searchsorted(near, exact).clip(max=near.size - 1)]
    snapped = np.abs(np.interp(nearest, at, passed) - places) <= most / _NEAR
    cuts = np.where(snapped, nearest, exact.astype(np.int64)) + low
    return [int(cut) for cut in np.unique(cuts) if since < cut < until]


class Source:
    """One trace through its format.

    packets (dtype `packets.PACKETS`) are sorted by stream, CPU, then time; `reach` is the same, but begins and ends
    are those of the records, where these are not within. `wall_offset` is wall clock minus the trace's clock in ns,
    `problems` what is wrong so far.
    """

    def __init__(self, path: Path, loaded: Loaded, plan: Plan | None = None) -> None:
        """Take over what a format's reader found."""
        self.path = path
        self.format = loaded.format
        self.plan = plan or compile_plan(loaded.format)
        self.files = loaded.files
        self.env = loaded.env
        self.uuid = loaded.uuid
        self.wall_offset = loaded.wall_offset
        self.problems: list[Problem] = loaded.problems
        self.walker: batch.Walker = WALKERS[type(loaded.format.framing)](self.plan)
        self._loaded = loaded
        self._lock = threading.RLock()
        self._names: names.Names | None = None
        self.set_packets(packet_array(loaded.packets))
        if isinstance(self.walker, RecordWalker) and self._scattered:
            self.walker.switches = []

    def set_packets(self, packets: np.ndarray) -> np.ndarray:
        """Take the index; returns the order in which its rows were sorted."""
        order = np.lexsort((packets["sequence"], packets["begin"], packets["cpu"], packets["stream"]))
        self.packets = self.reach = packets.take(order)
        self.order = order
        self._counts = np.zeros((packets.size, len(self.plan.events) + 1), np.uint32)
        self._counted = np.zeros(packets.size, np.bool_)
        return order

    @property
    def streams(self) -> list[int]:
        """The numbers of the format's kinds of stream."""
        return sorted({event.stream for event in self.format.events})

    @property
    def events(self) -> np.ndarray:
        """The packets of events, without those that carry names."""
        self._tell_times()
        found: np.ndarray = self.packets.compress(self._of_events())
        return found

    def _of_events(self) -> np.ndarray:
        return np.isin(self.packets["stream"], self.format.event_streams)

    def _tell_times(self) -> None:
        """Where only records tell when a packet begins and ends, they have to be walked once."""
        if (self.packets["end"] == END_UNKNOWN).any():
            self.counts()

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last time of the packets of events, ns of the trace's clock; None if there are none."""
        found = self.events
        if (found["content"] > found["first"]).any():
            found = found[found["content"] > found["first"]]
        return (int(found["begin"].min()), int(found["end"].max())) if found.size else None

    # ------------------------------------------------------------------------------------------------- the counts

    def counts(self) -> np.ndarray:
        """Records of each kind in each packet, the last column those that are skipped; one walk, the first time."""
        rows = np.arange(self.packets.size)
        with self._lock:
            left = self.packets["content"][~self._counted].sum()
            if left < kept.WORTH_KEEPING or isinstance(self.walker, RecordWalker):
                self._count_in_threads(rows, threads())
                return self._counts
            began = time.time_ns()
            wanted = kept.key(self.path, [event.name for event in self.format.events], self.packets)
            if found := kept.load(self.path, wanted, self._counts.shape):
                self._counts, problems = found
                self._counted[:] = True
                self.problems += [problem for problem in problems if problem not in self.problems]
                return self._counts
            told = len(self.problems)
            self._counted[:] = False
            self._count_in_threads(rows, threads())
            kept.save(self.path, wanted, self._counts, self.problems[told:], began)
            if found := kept.load(self.path, wanted, self._counts.shape, began):
                self._counts = found[0]  # which the kernel can drop where memory is short
            return self._counts

    def _count(self, rows: np.ndarray) -> None:
        """Count the packets of these rows."""
        self.problems += self._count_apart(rows)

    def _count_apart(self, rows: np.ndarray) -> list[Problem]:
        """Count the packets of these rows, and return what is wrong in them."""
        problems: list[Problem] = []
        if not rows.size:
            return problems
        filled = np.cumsum(self.packets["content"][rows]) // _COUNT_WINDOW
        buffer: np.ndarray | None = None
        for some in np.split(rows, np.flatnonzero(np.diff(filled)) + 1):
            packets = self.packets[some]
            buffer, starts = load(self.files, packets, buffer)
            trouble = np.zeros((_MAX_PROBLEMS_A_LOAD, 4), np.int64)
            counts = np.zeros((some.size, self._counts.shape[1]), np.int64)
            found = self.walker.count(buffer, starts, packets, counts, trouble)
            problems += self._trouble(packets, starts, counts, trouble[: min(found, _MAX_PROBLEMS_A_LOAD)])
            problems += self._skip_strangers(packets, counts)
            self._counts[some] = counts
        self._counted[rows] = True
        return problems

    def _room(self, rows: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return room for the records of each kind in packets; and whether it is enough for sure.

        Counting all packets takes a third of the time that decoding takes; a sample of them tells as much for kinds
        that are spread evenly.
        """
        with self._lock:
            few = rows[:: max(min(_SAMPLE, rows.size // _FEWEST), rows.size // _MOST, 1)]
            missing = few[~self._counted[few]]
            sampled = rows.size > 2 * few.size and not self._counted[rows].all()
            self._count(missing if sampled else rows[~self._counted[rows]])
            if not sampled:
                return self._counts[rows, :-1].sum(axis=0, dtype=np.int64), True
            content = self.packets["content"]
            share = int(content[few].sum()) / int(content[rows].sum())
            found = self._counts[few, :-1].sum(axis=0, dtype=np.int64)
            return ((found + 8 * np.sqrt(found) + 16) * 1.2 / share).astype(np.int64) + 4096, False

    def _learn(self, walker: RecordWalker) -> None:
        """Tell each packet its times, and which task ran at its begin: the one that the CPU's last switch went to."""
        running, cpu = TASK_UNKNOWN, -1
        for row in self.packets:
            key = packet_key(row)
            if key in walker.spans:
                row["begin"], row["end"] = walker.spans[key]
            if self._scattered:
                continue
            if row["cpu"] != cpu:
                running, cpu = TASK_UNKNOWN, int(row["cpu"])
            row["tid"] = running
            running = walker.last.get(key, running)
        self.reach = self.packets.copy() if walker.outside else self.packets
        for row in self.reach if walker.outside else ():
            low, high = walker.outside.get(packet_key(row), (row["begin"], row["end"]))
            row["begin"], row["end"] = min(row["begin"], low), max(row["end"], high)

    def _trouble(
        self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> list[Problem]:  # fmt: skip
        problems: list[Problem] = []
        seen: set[tuple[int, int, int]] = set()
        for packet, at, code, value in trouble.tolist():
            if code in {3, 10} and (packet, code, value) in seen:
                continue
            seen.add((packet, code, value))
            row = rows[packet]
            name, expected = TROUBLE[code]
            offset = int(row["offset"]) + at - int(starts[packet])
            problems.append(self._problem(row, offset, name, expected, str(value)))
        told = rows["records"]
        for packet in np.flatnonzero((told >= 0) & (told != counts.sum(axis=1))):
            row = rows[packet]
            found = str(int(counts[packet].sum()))
            problems.append(self._problem(row, int(row["offset"]), "record_count", str(int(told[packet])), found))
        return problems

    def _skip_strangers(self, rows: np.ndarray, counts: np.ndarray) -> list[Problem]:
        """A record whose event belongs to another kind of stream is damage: nothing reads it here."""
        problems: list[Problem] = []
        homes = np.array([event.event.stream for event in self.plan.events], np.int64)
        for packet, kind in np.argwhere((counts[:, :-1] > 0) & (homes != rows["stream"][:, None])):
            row, event = rows[packet], self.plan.events[kind].event
            code, expected = TROUBLE[3][0], "an event of this kind of stream"
            problems.append(self._problem(row, int(row["offset"]), code, expected, event.name))
            counts[packet, -1] += counts[packet, kind]
            counts[packet, kind] = 0
        return problems

    def _problem(self, row: np.ndarray, offset: int, code: str, expected: str, found: str) -> Problem:
        name = self.files[int(row["file"])].name
        return Problem(name, int(row["cpu"]), int(row["sequence"]), offset, code, expected, found)

    # --------------------------------------------------------------------------------------------------- decoding

    def select(self, kinds: Sequence[int], since: int, until: int, cpus: Iterable[int] | None) -> np.ndarray:
        """Return the rows of packets that can hold such records: by stream, time, CPU and the bitmap of ids."""
        if isinstance(self.walker, RecordWalker):
            self.counts()
        packets = self.reach
        chosen = (packets["begin"] < until) & (packets["end"] >= since)
        chosen &= np.isin(packets["stream"], sorted({self.plan.events[k].event.stream for k in kinds}))
        mask = np.uint64(0)
        for k in kinds:
            mask |= np.uint64(1) << np.uint64(self.plan.events[k].event.id % 64)
        chosen &= (packets["ids"] & mask) != 0
        if cpus is not None:
            chosen &= np.isin(packets["cpu"], [cpu for cpu in set(cpus) if 0 <= cpu <= MAX_CPU])
        return np.flatnonzero(chosen)

    def outputs(
        self, selection: batch.Selection, since: int, until: int, cpus: Iterable[int] | None, tables: names.Names,
        offset: int = 0,
    ) -> dict[int, batch.Output]:  # fmt: skip
        """Decode what is selected from `since` up to `until`, ns of the trace's clock; `offset` is added to times."""
        if isinstance(self.walker, RecordWalker):
            self.counts()  # which tells the task that runs at the begin of each packet
        if self._scattered and any({"tid", "comm"} & set(base) for base in selection.base.values()):
            self._make_timeline()
        outputs: dict[int, batch.Output] = {}
        for stream in self.streams:
            kinds = tuple(k for k in selection.kinds if self.plan.events[k].event.stream == stream)
            if not kinds:
                continue
            part = batch.Selection(
                kinds, {k: selection.base[k] for k in kinds}, {k: selection.columns[k] for k in kinds}
            )
            rows = self.select(kinds, since, until, cpus)
            if isinstance(self.walker, RecordWalker):
                # Without a bitmap of ids in their headers, the counts tell which packets have such records.
                rows = rows[self.counts()[rows][:, list(kinds)].any(axis=1)]
            outputs |= self._run(
                batch.Job(
                    self.plan, self.walker, part, tables, self.files, self.reach[rows], since, until, offset
                ), rows,
            )  # fmt: skip
        return outputs

    @functools.cached_property
    def _scattered(self) -> bool:
        """Whether the records of a CPU are in several files, so that its switches are not beside them."""
        cpus = self.packets["cpu"]
        files: dict[int, int] = {}
        return (
            self.plan.switch >= 0
            and isinstance(self.walker, RecordWalker)
            and any(
                files.setdefault(int(cpu), int(file)) != file
                for cpu, file in zip(cpus, self.packets["file"], strict=True)
            )
        )

    def _make_timeline(self) -> None:
        with self._lock:
            if isinstance(self.walker, RecordWalker) and self.walker.timeline is None:
                self.walker.timeline = make_timeline(self.walker.switches or [])

    def windows(self, records: int, since: int, until: int) -> Iterator[tuple[int, int]]:
        """Cut a range of time into windows of about so many records, at a packet's begin where one is near."""
        found = self.events
        held_by = found["records"].copy()
        if (held_by < 0).any():
            held_by = self.counts()[self._of_events()].sum(axis=1, dtype=np.int64)
        # Text is about as long in a frame as in its packet, however few the records are.
        # More than its bytes can hold are damage, and would be cut into as many windows.
        held_by = np.minimum(held_by, found["content"] // self.walker.shortest)
        held_by = np.maximum(held_by, found["content"] // _BYTES_A_RECORD)
        yield from pairwise([since, *_cuts(found["begin"], found["end"], held_by, records, since, until), until])

    def spans(
        self, kinds: Sequence[int], since: int, until: int, cpus: Iterable[int] | None
    ) -> tuple[list[tuple[int, int]], int]:
        """Cut a range of time into spans of some megabytes of packets with such records; and in how many threads."""
        packets = self.reach.take(self.select(kinds, since, until, cpus))
        if not packets.size:
            return [(since, until)], 1
        # Packets that reach beyond a span are read again for the next: most should not.
        streams, of = np.unique(packets["stream"] * np.int64(1 << 32) + packets["cpu"], return_inverse=True)
        largest = np.zeros(streams.size, np.int64)
        np.maximum.at(largest, of, packets["content"])
        order = np.argsort(packets["begin"], kind="stable")
        filled = np.cumsum(packets["content"][order]) // max(_SPAN, 4 * int(largest.sum()))
        edges = {int(edge) for edge in packets["begin"][order[1:]][np.diff(filled) > 0] if since < edge < until}
        many = threads() if int(packets["content"].sum()) >= _WORTH_THREADS else 1
        return list(pairwise([since, *sorted(edges), until])), many

    def _run(self, job: batch.Job, rows: np.ndarray) -> dict[int, batch.Output]:
        if not rows.size:
            return batch.run(job, [(job.since, job.until)], [np.zeros(len(self.plan.events), np.int64)])
        size = int(job.packets["content"].sum())
        many = threads() if size >= _WORTH_THREADS else 1
        if many == 1 and size <= batch.AT_ONCE:
            found = batch.run_at_once(job)
            self._check_sizes(rows)
            return found
        spans = batch.cut(job, many)
        of_spans = [rows[(job.packets["begin"] < until) & (job.packets["end"] >= since)] for since, until in spans]
        for _ in range(_TRIES):
            room, sure = zip(*map(self._room, of_spans), strict=True)
            try:
                found = batch.run(job, spans, room)
                self._check_sizes(rows)
                return found
            except batch.FullError:
                self._recount(rows, all(sure))
        raise TraceError(f"{self.path}: it changes faster than it can be read")

    def _check_sizes(self, rows: np.ndarray) -> None:
        """Tell of packets that their files no longer have, and were read as zeros, and count those anew."""
        packets = self.packets[rows]
        ends = packets["offset"] + packets["content"]
        sizes = np.zeros(len(self.files), np.int64)
        for number in np.unique(packets["file"]).tolist():
            with suppress(OSError):  # it has gone: it has no bytes
                sizes[number] = self.files[number].stat().st_size
        cut = np.flatnonzero(ends > sizes[packets["file"]])
        if not cut.size:
            return
        with self._lock:
            for row, there in zip(packets[cut], sizes[packets["file"][cut]].tolist(), strict=True):
                offset, content = int(row["offset"]), int(row["content"])
                expected = f"{content} bytes of packet, as when the trace was opened"
                self._tell(self._problem(row, offset, "truncated", expected, f"{max(there - offset, 0)} bytes"))
            self._counted[rows[cut]] = False

    def _tell(self, problem: Problem) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _count_in_threads(self, rows: np.ndarray, many: int) -> None:
        with self._lock:
            left = rows[~self._counted[rows]]
            if not left.size:
                return
            if many > 1 and int(self.packets["content"][left].sum()) >= _WORTH_THREADS:
                with ThreadPoolExecutor(many) as pool:
                    for problems in pool.map(self._count_apart, np.array_split(left, many)):
                        self.problems += problems
            else:
                self._count(left)
            if isinstance(self.walker, RecordWalker) and self._counted.all():
                self._learn(self.walker)

    def _recount(self, rows: np.ndarray, changed: bool) -> None:
        """Count the packets that are not yet; all anew if they have changed since."""
        with self._lock:
            if changed:
                self._counted[rows] = False
        self._count_in_threads(rows, threads())

    def possible(self) -> list[int]:
        """Return the kinds that may occur, as far as packet headers tell."""
        ids = {stream: np.bitwise_or.reduce(self.packets["ids"][self.packets["stream"] == stream], initial=0)
               for stream in self.streams}  # fmt: skip
        events = [plan.event for plan in self.plan.events]
        return [kind for kind, event in enumerate(events) if int(ids[event.stream]) >> event.id % 64 & 1]

    # ------------------------------------------------------------------------------------- what formats differ in

    def name_tables(self) -> names.Names:
        """Return the names of tasks and irqs by time."""
        with self._lock:
            if self._names is None:
                self._names = self.read_names()
            return self._names

    def read_names(self) -> names.Names:
        """Make the tables out of what the format's reader found, and of the records that tell names."""
        parts: dict[str, list[names.Told]] = {table: [] for table in NAME_TABLES}
        for table in NAME_TABLES:
            found = [name for name in self._loaded.names if name.table == table]
            parts[table].append(
                names.Told(
                    np.array([name.key for name in found], np.int64),
                    np.array([name.time or 0 for name in found], np.int64),
                    np.array([name.name for name in found], object),
                    np.array([name.time is None for name in found], np.bool_),
                )
            )
        for naming in self.format.namings:
            if naming.event in self.plan.names:
                parts[naming.table].append(self._told(naming))
        return names.Names(tuple(names.build_table(parts[table]) for table in NAME_TABLES))

    def _told(self, naming: Naming) -> names.Told:
        kind = self.plan.names[naming.event]
        columns = self.plan.events[kind].columns
        by_member = {column.member.name: column for column in columns if column.kind != "name"}
        base = ("timestamp", "tid") if naming.key == "tid" else ("timestamp",)
        selection = batch.Selection((kind,), {kind: base}, {kind: columns})
        output = self.outputs(selection, -FOREVER, FOREVER, None, names.Names())[kind]
        text = output.variable[by_member[naming.name].name].to_numpy()

        def equals(condition: tuple[str, int] | None, otherwise: bool) -> np.ndarray:
            if condition is None:
                return np.full(output.rows, otherwise)
            column, value = by_member[condition[0]], condition[1]
            if column.kind == "enum":
                value = [known for known, _ in column.enum].index(value)
            found: np.ndarray = output.arrays[column.name] == value
            return found

        use = ~equals(naming.without, otherwise=False)
        key = output.arrays["tid" if naming.key == "tid" else by_member[naming.key].name].astype(np.int64)
        before = equals(naming.before, otherwise=not naming.program)
        if naming.program:
            text = np.array([path.rpartition("/")[2][:_COMM] for path in text], object)
        return names.Told(key[use], output.arrays["timestamp"][use], text[use], before[use])

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why records can be lost, in the format's words."""
        found = dict.fromkeys(reason for packet in self._loaded.packets for reason in packet.lost)
        return tuple(found)

    def lost_counters(self, reason: str) -> np.ndarray:
        """Return the records lost for `reason` before each packet's end, since its stream's begin."""
        values = [packet.lost.get(reason, 0) for packet in self._loaded.packets]
        counters: np.ndarray = np.array(values, np.int64)[self.order]
        return counters

    def details(self) -> dict[str, Any]:
        """Return what else `Trace.info` shows."""
        return dict(self._loaded.details)
