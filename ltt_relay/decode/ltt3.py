# SPDX-License-Identifier: GPL-2.0-or-later
"""LTT 3.0 traces as a source: packet headers, metadata, the state stream, counters by reason."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import numpy as np

from ltt_relay.decode import gaps, metadata
from ltt_relay.decode.errors import Problem, TraceError
from ltt_relay.decode.index import INDEX, index_file
from ltt_relay.decode.packets import PACKETS, TASK_UNKNOWN
from ltt_relay.decode.plan import Plan, compile_plan
from ltt_relay.decode.source import Source
from ltt_relay.formats import strangers
from ltt_relay.formats.base import Event
from ltt_relay.formats.loaded import MAX_TIME, Loaded
from ltt_relay.formats.ltt3 import FORMAT, LOST_REASONS, PACKET_FLAGS

__all__ = ("Ltt3Source",)


@functools.cache
def _plan() -> Plan:
    return compile_plan(FORMAT)


#: More records than a machine can lose; the sum over all reasons and CPUs still fits into 64 bits.
_MAX_LOST: Final = 1 << 44
#: What stream files are called; whatever else has packets of the trace in it is read too.
_STREAM: Final = re.compile(rf"({'|'.join(stream.name for stream in FORMAT.streams)})_\d+")
_FROM_HEADER: Final = {
    "file": "file", "stream": "stream_id", "cpu": "cpu_id", "offset": "offset", "first": "header_size",
    "content": "content", "begin": "timestamp_begin", "base": "timestamp_begin", "end": "timestamp_end",
    "sequence": "packet_seq_num", "ids": "event_ids",
}  # fmt: skip


class Ltt3Source(Source):
    """A session's directory."""

    def __init__(self, path: Path) -> None:
        """Read the packet headers of all its files.

        Raises:
            TraceError: there is nothing to read.

        """
        if not path.is_dir():
            what = "no such directory" if not path.exists() else "not a directory"
            raise TraceError(f"{path}: {what}; a trace is a directory with metadata, state_0 and events_N")
        problems: list[Problem] = []
        found = self._read_metadata(path, problems)
        uuid = found.uuid.bytes if found.uuid else None
        files: list[Path] = []
        parts = []
        why = ""
        for file in sorted(path.iterdir()):
            if file.name.startswith(".") or file.name == "metadata" or not file.is_file():
                continue
            trouble: list[Problem] = []
            try:
                rows = index_file(file, len(files), uuid, trouble)
            except OSError as error:
                if not _STREAM.fullmatch(file.name):
                    problems.append(Problem(file.name, -1, -1, 0, "not_a_stream", "a file", str(error.strerror)))
                    continue
                raise TraceError(f"{file}: {error.strerror}") from error
            if trouble and not rows.size:
                nothing = "no packet header of this trace"
                problems.append(Problem(file.name, -1, -1, 0, "not_a_stream", "packets of LTT 3.0", nothing))
                if _STREAM.fullmatch(file.name) and not why:
                    why = f"; {file.name}: {trouble[0].expected} expected, {trouble[0].found} found"
                continue
            if uuid is None and rows.size:
                uuid = rows["uuid"][0].tobytes()  # without metadata, the first file tells which session it is
            files.append(file)
            problems += trouble
            parts.append(rows)
        if not any(rows.size for rows in parts) and not any(_STREAM.fullmatch(file.name) for file in files):
            what = "; its metadata is that of LTT 3.0" if found.env.get("tracer_name") == "ltt-relay" else ""
            raise TraceError(
                f"{path}: no stream files in it, of any format that is known here; of LTT 3.0, metadata, state_0, "
                f"events_0, events_1 … were expected{why or what or strangers.told(path)}"
            )
        headers = np.concatenate(parts) if parts else np.zeros(0, INDEX)
        offset = found.wall_offset
        if offset is None:
            told = (int(offset) for offset in headers["wall_offset"])
            offset = next(filter(metadata.is_offset, told), 0)
        made = self._made_events(found, problems)
        format = replace(FORMAT, events=(*FORMAT.events, *made)) if made else FORMAT  # noqa: A001
        session = UUID(bytes=uuid) if uuid else None
        loaded = Loaded(format, files, [], offset, session, dict(found.env), problems=problems)
        super().__init__(path, loaded, None if made else _plan())
        self.headers = headers.take(self.set_packets(_packets(headers)))
        self._check_order()

    @staticmethod
    def _made_events(found: metadata.Metadata, problems: list[Problem]) -> list[Event]:
        """Return the events that the session got at run time, and tell of those that cannot be."""
        known = {event.name for event in FORMAT.events}
        streams = {stream.id for stream in FORMAT.streams}
        wrong = [
            *found.wrong,
            *(f"event {event.name!r} twice" for event in found.events if event.name in known),
            *(
                f"event {event.name!r} in stream {event.stream}"
                for event in found.events
                if event.stream not in streams
            ),
        ]
        expected = "an event as the kernel describes it"
        problems += [Problem("metadata", -1, -1, 0, "bad_event", expected, why) for why in wrong]
        return [event for event in found.events if event.name not in known and event.stream in streams]

    @staticmethod
    def _read_metadata(path: Path, problems: list[Problem]) -> metadata.Metadata:
        file = path / "metadata"
        found, why = metadata.Metadata(), "no such file"
        try:
            if file.exists() and not file.is_file():
                raise TraceError(f"{file}: not a file; the session's metadata, a text, was expected")
            found = metadata.parse(file.read_text(errors="replace"))
            why = ", ".join(
                f"no {what}"
                for what, told in (("uuid", found.uuid), ("offset of the clock", found.wall_offset))
                if told is None
            )
        except FileNotFoundError:
            pass
        except OSError as error:
            raise TraceError(f"{file}: {error.strerror}") from error
        if why:
            problems.append(Problem("metadata", -1, -1, 0, "no_metadata", "the session's file metadata", why))
        return found

    def _check_order(self) -> None:
        packets, headers = self.packets, self.headers
        same = (np.diff(packets["cpu"]) == 0) & (np.diff(packets["stream"]) == 0)
        back = same & (packets["begin"][1:] < packets["end"][:-1])
        missing = same & (np.diff(packets["sequence"]) != 1)
        for name in ("overwritten", "lost_reset"):
            missing &= headers[name][1:] <= headers[name][:-1]
        for i in np.flatnonzero(back | missing):
            before, row = packets[i], packets[i + 1]
            where = int(row["offset"])
            if back[i]:
                expected, found = f"begin at {int(before['end'])} ns or later", str(int(row["begin"]))
                self.problems.append(self._problem(row, where, "time_backward", expected, found))
            if missing[i]:
                expected, found = f"packet {int(before['sequence']) + 1}", f"packet {int(row['sequence'])}"
                self.problems.append(self._problem(row, where, "sequence", expected, found))

    # -------------------------------------------------------------------------------------------------- the losses

    @property
    def reasons(self) -> tuple[str, ...]:
        """Those of the format, and records overwritten by a flight recorder."""
        return (*LOST_REASONS, "overwritten")

    def lost_counters(self, reason: str) -> np.ndarray:
        """Return the counters of the packet headers."""
        name = reason if reason == "overwritten" else f"lost_{reason}"
        counters: np.ndarray = np.minimum(self.headers[name], _MAX_LOST).astype(np.int64)
        return counters

    def details(self) -> dict[str, Any]:
        """Return the records overwritten, and how the wall clock was set meanwhile."""
        offsets = self.headers["wall_offset"][self.packets["stream"] == 0]
        return {
            "overwritten": gaps.total_lost(self)["overwritten"],
            "wall_offset_changes": sorted({*np.unique(offsets).tolist()} - {self.wall_offset}),
        }


def _packets(headers: np.ndarray) -> np.ndarray:
    """Return packet headers as rows of the index."""
    packets = np.zeros(headers.size, PACKETS)
    for name, header in _FROM_HEADER.items():
        packets[name] = headers[header]
    # A packet that is cut has fewer records than its header says, and a row of problems already.
    whole = 8 * headers["there"] >= headers["content_size"].astype(np.int64)
    packets["records"] = np.where(whole, np.minimum(headers["records"], MAX_TIME).astype(np.int64), -1)
    told = headers["flags"] & PACKET_FLAGS["switches_complete"]
    packets["tid"] = np.where(told, headers["tid"], TASK_UNKNOWN)
    packets["num"] = packets["den"] = 1
    return packets
