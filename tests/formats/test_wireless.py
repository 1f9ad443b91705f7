# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ltt_relay
from ltt_relay.formats import mt76, oracle, spectral
from ltt_relay.formats.base import HeaderFraming


def _sample(name: str, number: int, bins: int, primary: bool = False) -> bytes:
    """A spectral sample with telling values."""
    event = spectral.format_of(primary=primary).event(name)
    fields: dict[str, Any] = {m.name: 3 + i for i, m in enumerate(event.payload.subcons)}
    fields |= {"tsf": 1000 * number, "data": bytes((number + i) % 256 for i in range(bins))}
    payload = bytes(event.payload.build(fields))
    return bytes([event.id]) + len(payload).to_bytes(2, "big") + payload


@pytest.mark.parametrize(
    ("name", "bins", "size", "primary"),
    [("fft_ht20", 56, 76, False), ("fft_ht20_40", 128, 155, False), ("fft_ath10k", 64, 29 + 64, False),
     ("fft_ath10k", 256, 29 + 256, False), ("fft_ath11k", 512, 22 + 512, False), ("fft_ath11k", 128, 23 + 128, True)],
)  # fmt: skip
def test_spectral_samples_of_every_driver(name: str, bins: int, size: int, primary: bool, tmp_path: Path) -> None:
    samples = [_sample(name, i, bins, primary) for i in range(5)]
    assert {len(sample) for sample in samples} == {size}
    file = tmp_path / "anything"
    file.write_bytes(b"".join(samples))
    trace = ltt_relay.open(file, strict=True)
    frame = trace.frames(time="ns")[name]
    assert frame["timestamp"].tolist() == [1_000_000 * i for i in range(5)]
    assert [len(data) for data in frame["data"]] == [bins] * 5
    assert ("is_primary" in frame) == primary
    for parsed, row in zip(oracle.records(file, spectral), frame.to_dict("records"), strict=True):
        for field, value in parsed.fields.items():
            assert (row[field].hex() if field == "data" else row[field]) == value, field


def _log(chip: str, number: int) -> bytes:
    format_ = mt76.format_of(chip)
    framing, event = format_.framing, format_.events[0]
    assert isinstance(framing, HeaderFraming)
    data = b"x" * (number % 7)
    fields = {"version": 1, "reserved": 0, "serial_id": number, "time": 50 * number, "msg_type": 12, "len": len(data)}
    payload = event.payload.build({**fields, "data": data})
    return bytes(framing.header.build({"length": 4 + len(payload), "magic": mt76.MAGICS[chip]}) + payload)


@pytest.mark.parametrize("chip", mt76.MAGICS)
def test_firmware_logs(chip: str, tmp_path: Path) -> None:
    file = tmp_path / "fwlog_data0"
    file.write_bytes(b"".join(_log(chip, i) for i in range(20)))
    trace = ltt_relay.open(file, strict=True)
    assert trace.info["format"] == f"{chip} log 1.0"
    frame = trace.frames(time="ns")["fw_log"]
    assert [bytes(data) for data in frame["data"]] == [b"x" * (i % 7) for i in range(20)]
    assert frame["timestamp"].tolist() == [50_000 * i for i in range(20)]


@pytest.mark.parametrize("seed", range(20))
def test_damaged_files_give_what_the_oracle_finds(seed: int, tmp_path: Path) -> None:
    generator = np.random.default_rng(seed)
    parts = [_sample("fft_ath10k", i, 64) for i in range(30)] if seed % 2 else [_log("mt7996", i) for i in range(60)]
    data = np.frombuffer(b"".join(parts), np.uint8).copy()
    places = generator.integers(200, data.size, 4)
    data[places] = generator.integers(0, 256, 4)
    file = tmp_path / "log"
    file.write_bytes(data.tobytes()[: data.size - int(generator.integers(0, 40))])
    module = spectral if seed % 2 else mt76
    trace = ltt_relay.open(file)
    ours = sum(len(frame) for frame in trace.frames().values())
    expected = [found for found in oracle.records(file, module) if found.event not in {"damage", "unknown"}]
    assert ours == sum((found.time or 0) < 1 << 61 for found in expected)
    if ours < len(parts):
        assert not trace.problems.empty
