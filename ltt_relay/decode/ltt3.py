# SPDX-License-Identifier: GPL-2.0-or-later
"""LTT 3.0 traces as a source: packet headers, metadata, the state stream, counters by reason."""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from ltt_relay.decode import gaps, metadata
from ltt_relay.decode.errors import Problem, TraceError
from ltt_relay.decode.index import INDEX, index_file
from ltt_relay.decode.packets import PACKETS, TASK_UNKNOWN
from ltt_relay.decode.plan import Plan, compile_plan
from ltt_relay.decode.source import Source
from ltt_relay.formats.loaded import Loaded
from ltt_relay.formats.ltt3 import FORMAT, LOST_REASONS, PACKET_FLAGS

__all__ = ("Ltt3Source",)


@functools.cache
def _plan() -> Plan:
    return compile_plan(FORMAT)


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
        files: list[Path] = []
        parts = []
        for file in sorted(path.iterdir()):
            if file.name.startswith(".") or file.name == "metadata" or not file.is_file():
                continue
            trouble: list[Problem] = []
            try:
                rows = index_file(file, len(files), found.uuid.bytes if found.uuid else None, trouble)
            except OSError as error:
                if not _STREAM.fullmatch(file.name):
                    problems.append(Problem(file.name, -1, -1, 0, "not_a_stream", "a file", str(error.strerror)))
                    continue
                raise TraceError(f"{file}: {error.strerror}") from error
            if not rows.size and file.stat().st_size:
                nothing = "no packet header of this trace"
                problems.append(Problem(file.name, -1, -1, 0, "not_a_stream", "packets of LTT 3.0", nothing))
                continue
            files.append(file)
            problems += trouble
            parts.append(rows)
        if not any(rows.size for rows in parts) and not any(_STREAM.fullmatch(file.name) for file in files):
            raise TraceError(
                f"{path}: no stream files in it, of any format that is known here; of LTT 3.0, metadata, state_0, "
                "events_0, events_1 … were expected"
            )
        headers = np.concatenate(parts) if parts else np.zeros(0, INDEX)
        offset = found.wall_offset
        if offset is None:
            offset = int(headers["wall_offset"][0]) if headers.size else 0
        known = {event.name for event in FORMAT.events}
        made = [event for event in found.events if event.name not in known]
        for why in [
            *found.wrong,
            *(f"event {name!r} twice" for name in known & {event.name for event in found.events}),
        ]:
            problems.append(Problem("metadata", -1, -1, 0, "bad_event", "an event as the kernel describes it", why))
        format = replace(FORMAT, events=(*FORMAT.events, *made)) if made else FORMAT  # noqa: A001
        loaded = Loaded(format, files, [], offset, found.uuid, dict(found.env), problems=problems)
        super().__init__(path, loaded, None if made else _plan())
        self.headers = headers[self.set_packets(_packets(headers))]
        self._check_order()

    @staticmethod
    def _read_metadata(path: Path, problems: list[Problem]) -> metadata.Metadata:
        file = path / "metadata"
        try:
            return metadata.parse(file.read_text(errors="replace"))
        except FileNotFoundError:
            expected = "the session's file metadata"
            problems.append(Problem("metadata", -1, -1, 0, "no_metadata", expected, "no such file"))
            return metadata.Metadata()
        except OSError as error:
            raise TraceError(f"{file}: {error.strerror}") from error

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
        counters: np.ndarray = self.headers[name].astype(np.int64)
        return counters

    def details(self) -> dict[str, Any]:
        """Return the records overwritten, and how the wall clock was set meanwhile."""
        offsets = self.headers["wall_offset"][self.packets["stream"] == 0]
        return {
            "overwritten": gaps.total_lost(self)["overwritten"],
            "wall_offset_changes": sorted({int(x) for x in offsets} - {self.wall_offset}),
        }


def _packets(headers: np.ndarray) -> np.ndarray:
    """Return packet headers as rows of the index."""
    packets = np.zeros(headers.size, PACKETS)
    for name, header in _FROM_HEADER.items():
        packets[name] = headers[header]
    # A packet that is cut has fewer records than its header says, and a row of problems already.
    whole = 8 * headers["there"] >= headers["content_size"].astype(np.int64)
    packets["records"] = np.where(whole, headers["records"].astype(np.int64), -1)
    told = headers["flags"] & PACKET_FLAGS["switches_complete"]
    packets["tid"] = np.where(told, headers["tid"], TASK_UNKNOWN)
    packets["num"] = packets["den"] = 1
    return packets
