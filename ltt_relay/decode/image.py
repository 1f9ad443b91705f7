# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions in an image of a dead machine's memory: found by magic and UUID, written out as captures.

An image is a raw copy of physical memory from address 0, or an ELF core as QEMU and kdump write it. What was recorded
lies in rings whose pages are scattered; each ring has maps of them (`formats.ltt3.RING_MAP`). On a panic the kernel
seals the packets that were open. The state's packets lie in one piece where the kernel had such memory, and are looked
for one by one.
"""

from __future__ import annotations

import hashlib
import mmap
import shutil
import struct
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from uuid import UUID

import construct
import numpy as np

from ltt_relay.decode.caches import user_cache
from ltt_relay.decode.errors import TraceError
from ltt_relay.formats import ctf
from ltt_relay.formats.ltt3 import FORMAT, HEADER_SIZE, MAGIC, MAP_MAGIC, MAX_RECORD, PACKET, RING_MAP

__all__ = ("extract", "is_image", "unpacked")

_PAGE: Final = 4096
_MAX_SUBBUF: Final = 64 << 20
#: magic, version and size of a packet header, behind UUID, kind and number of the stream.
_HEADER: Final = struct.pack("<IBBH", MAGIC, *FORMAT.version, HEADER_SIZE)
_HEADER_AT: Final = 24
_STATE: Final = 1
_STATE_BLOCK: Final = 65536
_MIN_SIZE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Segment:
    """`size` bytes of physical memory from `address`, at `offset` in the file."""

    address: int
    offset: int
    size: int


def _segments(memory: mmap.mmap) -> list[_Segment]:
    if memory[:5] != b"\x7fELF\x02":
        return [_Segment(0, 0, len(memory))]
    (at,) = struct.unpack_from("<Q", memory, 32)
    size, count = struct.unpack_from("<HH", memory, 54)
    found = []
    for number in range(count):
        where = at + number * size
        if where + 56 > len(memory):
            break
        kind, _, offset, _, address, length = struct.unpack_from("<IIQQQQ", memory, where)
        if kind == 1 and offset < len(memory):
            found.append(_Segment(address, offset, min(length, len(memory) - offset)))
    return found


class _Memory:
    """Physical memory by address; what the image does not have reads as nothing."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.bytes = memory
        self.segments = _segments(memory)

    def read(self, address: int, size: int) -> bytes:
        for segment in self.segments:
            if segment.address <= address and address + size <= segment.address + segment.size:
                at = segment.offset + address - segment.address
                return self.bytes[at : at + size]
        return b""

    def maps(self) -> list[construct.Container]:
        """All maps of rings: pages that begin with their magic number."""
        found = []
        for segment in self.segments:
            begin = segment.offset + -segment.address % _PAGE
            count = (segment.offset + segment.size - begin) // _PAGE
            if count <= 0 or begin % 8:
                continue
            words = np.frombuffer(self.bytes, "<u8", count * (_PAGE // 8), begin)
            for page in np.flatnonzero(words[:: _PAGE // 8] == MAP_MAGIC):
                data = bytes(words[page * (_PAGE // 8) : (page + 1) * (_PAGE // 8)])
                try:
                    found.append(RING_MAP.parse(data))
                except construct.ConstructError:
                    continue
        return found


def _events(memory: _Memory, maps: list[construct.Container]) -> dict[tuple[int, int], bytes]:
    """Packets of one buffer by CPU and sequence number."""
    first = maps[0]
    size, page = first.subbuf_size, first.page_size
    if page != _PAGE or not page <= size <= _MAX_SUBBUF or size % page:
        return {}
    frames = {part.first + i: frame for part in maps for i, frame in enumerate(part.frames)}
    packets = {}
    per = size // page
    for number in range(min(first.n_subbufs, len(frames) // per)):
        pieces = [memory.read(frames.get(number * per + i, 1 << 60) * page, page) for i in range(per)]
        data = b"".join(pieces)
        if len(data) < size or data[_HEADER_AT : _HEADER_AT + 8] != _HEADER or data[:16] != bytes(first.uuid):
            continue
        header = PACKET.parse(data)
        if HEADER_SIZE < header.packet_size // 8 <= size and header.content_size <= header.packet_size:
            packets[header.stream_instance_id, header.packet_seq_num] = data[: header.packet_size // 8]
    return packets


def _states(memory: _Memory, sessions: set[bytes]) -> dict[bytes, dict[int, bytes]]:
    """Packets of state by session and sequence number."""
    found: dict[bytes, dict[int, bytes]] = defaultdict(dict)
    at = memory.bytes.find(_HEADER)
    while at >= 0:
        begin = at - _HEADER_AT
        uuid = memory.bytes[begin : begin + 16] if begin >= 0 else b""
        if uuid in sessions and begin + HEADER_SIZE <= len(memory.bytes):
            header = PACKET.parse(memory.bytes[begin : begin + HEADER_SIZE])
            size = header.packet_size // 8
            if header.stream_id == _STATE and HEADER_SIZE < size <= _STATE_BLOCK + MAX_RECORD:
                found[uuid][header.packet_seq_num] = memory.bytes[begin : begin + size]
        at = memory.bytes.find(_HEADER, at + 8)
    return found


def is_image(path: Path) -> bool:
    """Tell whether a file may be an image: large, of whole pages, or an ELF core."""
    try:
        size = path.stat().st_size
        if not path.is_file() or size < _MIN_SIZE:
            return False
        with path.open("rb") as file:
            begin = file.read(18)
    except OSError:
        return False
    return begin[:5] == b"\x7fELF\x02" and begin[16:18] == b"\x04\0" if begin[:4] == b"\x7fELF" else size % _PAGE == 0


def extract(path: Path, into: Path) -> list[Path]:
    """Write each session in an image as a capture below `into`, named by its UUID; returns the directories.

    Raises:
        TraceError: the file cannot be read, or no session is in it.

    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            memory = _Memory(mapped)
            buffers: dict[tuple[bytes, int, int], list[construct.Container]] = defaultdict(list)
            for part in memory.maps():
                buffers[bytes(part.uuid), part.stream_id, part.buffer].append(part)
            streams: dict[tuple[bytes, int, int], dict[int, bytes]] = defaultdict(dict)
            for (uuid, stream, _), maps in buffers.items():
                for (cpu, number), packet in _events(memory, sorted(maps, key=lambda part: part.first)).items():
                    streams[uuid, stream, cpu][number] = packet
            uuids = {uuid for (uuid, _, _), packets in streams.items() if packets}
            states = _states(memory, uuids)
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: {error}") from error
    if not uuids:
        raise TraceError(f"{path}: an image of memory was expected, but it holds no packets of LTT 3.0")
    return [_write(into / str(UUID(bytes=uuid)), uuid, streams, states.get(uuid, {}), path) for uuid in sorted(uuids)]


def _write(
    out: Path,
    uuid: bytes,
    streams: dict[tuple[bytes, int, int], dict[int, bytes]],
    state: dict[int, bytes],
    image: Path,
) -> Path:
    out.mkdir(parents=True)
    names = {stream.id: stream.name for stream in FORMAT.streams}
    offset = 0
    for (owner, stream, cpu), packets in streams.items():
        if owner == uuid and packets:
            data = [packets[number] for number in sorted(packets)]
            offset = offset or PACKET.parse(data[0]).wall_offset
            (out / f"{names.get(stream, f'stream{stream}')}_{cpu}").write_bytes(b"".join(data))
    if state:
        (out / "state_0").write_bytes(b"".join(state[number] for number in sorted(state)))
    env = {"tracer_name": "ltt-relay", "session": "", "image": image.name}
    (out / "metadata").write_text(ctf.metadata(FORMAT, UUID(bytes=uuid), env, offset))
    return out


def unpacked(path: Path) -> Path:
    """Return the capture of the one session in an image, written out for as long as the image is the same.

    Raises:
        TraceError: there is none, or there are several; they are written out then all the same, and named.

    """
    about = path.stat()
    key = hashlib.sha256(f"{path.resolve()} {about.st_size} {about.st_mtime_ns}".encode()).hexdigest()[:16]
    base = user_cache() / "images"
    final = base / key
    if not final.exists():
        base.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=base))
        try:
            extract(path, staging)
            staging.rename(final)
        except OSError:
            if not final.exists():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    found = sorted(final.iterdir())
    if len(found) > 1:
        listed = "\n".join(map(str, found))
        raise TraceError(f"{path}: {len(found)} sessions are in this image; open one of these:\n{listed}")
    return found[0]


if __name__ == "__main__":
    for directory in extract(Path(sys.argv[1]), Path(sys.argv[2])):
        print(directory)
