# SPDX-License-Identifier: GPL-2.0-or-later
"""Images of memory, made here: pages scattered as a kernel scatters them, and what damage does."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import pytest

import ltt_relay
from ltt_relay.decode import image
from ltt_relay.decode.errors import TraceError
from ltt_relay.formats.ltt3 import MAP_MAGIC, PACKET, RING_MAP
from ltt_relay.testing import write_trace

PAGE = 4096


def _packets(file: Path) -> list[bytes]:
    data, at, packets = file.read_bytes(), 0, []
    while at < len(data):
        size = PACKET.parse(data[at:]).packet_size // 8
        packets.append(data[at : at + size])
        at += size
    return packets


def _image(trace: Path, path: Path, seed: int = 1) -> None:
    """All streams of a trace in one memory, each packet in a sub-buffer of pages in random order."""
    rng = random.Random(seed)
    pages = [bytes(PAGE)] * 16384
    free = list(range(1, len(pages)))
    rng.shuffle(free)
    for number, file in enumerate(sorted(trace.glob("events_*"))):
        packets = _packets(file)
        size = -(-max(map(len, packets)) // PAGE) * PAGE
        frames = []
        for packet in packets:
            padded = packet.ljust(size, b"\0")
            for at in range(0, size, PAGE):
                frames.append(free.pop())
                pages[frames[-1]] = padded[at : at + PAGE]
        for first in range(0, len(frames), 500):
            part = frames[first : first + 500]
            values = {
                "magic": MAP_MAGIC, "uuid": packets[0][:16], "stream_id": 0, "buffer": number, "page_size": PAGE,
                "subbuf_size": size, "n_subbufs": len(packets), "first": first, "count": len(part), "reserved": 0,
                "frames": part,
            }  # fmt: skip
            pages[free.pop()] = RING_MAP.build(values).ljust(PAGE, b"\0")
    path.write_bytes(b"".join(pages))


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "trace"
    write_trace(path, events=20000, cpus=2, seed=4)
    return path


def test_every_packet_comes_out_of_scattered_pages(trace: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    _image(trace, memory)
    assert image.is_image(memory)
    (out,) = image.extract(memory, tmp_path / "out")
    assert UUID(out.name)
    for file in sorted(trace.glob("events_*")):
        assert (out / file.name).read_bytes() == file.read_bytes()
    assert ltt_relay.open(out).info["records"] > 0


def test_damaged_images_are_read_as_far_as_they_go(trace: Path, tmp_path: Path) -> None:
    memory = tmp_path / "memory"
    _image(trace, memory)
    good = memory.read_bytes()
    rng = random.Random(7)
    for round_ in range(8):
        bad = bytearray(good)
        for _ in range(2000):
            bad[rng.randrange(len(bad))] = rng.randrange(256)
        memory.write_bytes(bad[: rng.randrange(len(bad) // 2, len(bad)) // PAGE * PAGE])
        try:
            outs = image.extract(memory, tmp_path / f"out{round_}")
        except TraceError:  # no map was left whole
            continue
        for out in outs:
            ltt_relay.open(out).frames(columns=["cpu"])


def test_what_is_no_image_is_said(tmp_path: Path) -> None:
    file = tmp_path / "zeros"
    file.write_bytes(bytes(1 << 20))
    with pytest.raises(TraceError, match="holds no packets"):
        image.extract(file, tmp_path / "out")
    assert not image.is_image(tmp_path)
    (tmp_path / "small").write_bytes(b"x")
    assert not image.is_image(tmp_path / "small")
