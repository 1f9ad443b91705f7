# SPDX-License-Identifier: GPL-2.0-or-later
"""Spectral scans of Atheros wireless drivers (ath9k, ath10k, ath11k), through relay: `spectral_scan0` in debugfs.

Records behind a type and a length, big endian all through; layout: drivers/net/wireless/ath/spectral_common.h of Linux.
ath11k got one more byte, `is_primary`, which no version tells of: the length does, as the number of bins is a power
of two. Times are the card's own (tsf), in us; of ath11k their low 32 bits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import construct

from ltt_relay.formats import plain
from ltt_relay.formats.base import Event, Format, HeaderFraming, PacketClock, Stream
from ltt_relay.formats.fields import BIG, Field, blob, field, i8, integer, rest, struct, u8
from ltt_relay.formats.loaded import Loaded, LoadError

__all__ = ("claims", "format_of", "load")

_U16, _U32, _U64 = (integer(bits, signed=False, order=BIG) for bits in (16, 32, 64))
_HEADER: Final = struct(field("type", u8, "of sample"), field("length", _U16, "of what follows", unit="B"))

_HT20, _HT20_40, _ATH10K, _ATH11K = 1, 2, 3, 4
#: Bytes behind type and length before the bins, by type; of ath11k without is_primary.
_FIXED: Final = {_HT20: 17, _HT20_40: 24, _ATH10K: 26, _ATH11K: 19}
_BINS: Final = {_HT20: {56}, _HT20_40: {128}}
_MAX_BINS: Final = 512
#: Samples at the begin that have to make sense.
_CHECKED: Final = 4


def _tsf(kind: construct.FormatField = _U64) -> Field:
    return field("tsf", kind, "the card's clock", unit="us")


def _bins(kind: construct.Construct) -> Field:
    return field("data", kind, "magnitude of each bin")


_HT20_SAMPLE: Final = struct(
    field("max_exp", u8, "shift of the bins' magnitudes"),
    field("freq", _U16, "centre", unit="MHz"),
    field("rssi", i8, "signal", unit="dB"),
    field("noise", i8, "noise floor", unit="dBm"),
    field("max_magnitude", _U16, "of the strongest bin"),
    field("max_index", u8, "which that is"),
    field("bitmap_weight", u8, "bins above the average"),
    _tsf(),
    _bins(blob(56)),
)
_HT20_40_SAMPLE: Final = struct(
    field("channel_type", u8, "where the second channel is"),
    field("freq", _U16, "centre of the first", unit="MHz"),
    field("lower_rssi", i8, "signal", unit="dB"),
    field("upper_rssi", i8, "signal", unit="dB"),
    _tsf(),
    field("lower_noise", i8, "noise floor", unit="dBm"),
    field("upper_noise", i8, "noise floor", unit="dBm"),
    field("lower_max_magnitude", _U16, "of the strongest bin"),
    field("upper_max_magnitude", _U16, "of the strongest bin"),
    field("lower_max_index", u8, "which that is"),
    field("upper_max_index", u8, "which that is"),
    field("lower_bitmap_weight", u8, "bins above the average"),
    field("upper_bitmap_weight", u8, "bins above the average"),
    field("max_exp", u8, "shift of the bins' magnitudes"),
    _bins(blob(128)),
)
_ATH10K_SAMPLE: Final = struct(
    field("chan_width_mhz", u8, "width", unit="MHz"),
    field("freq1", _U16, "centre", unit="MHz"),
    field("freq2", _U16, "centre of the second half, of 80+80", unit="MHz"),
    field("noise", _U16, "noise floor", unit="dBm"),
    field("max_magnitude", _U16, "of the strongest bin"),
    field("total_gain_db", _U16, "gain", unit="dB"),
    field("base_pwr_db", _U16, "base power", unit="dB"),
    _tsf(),
    field("max_index", i8, "the strongest bin"),
    field("rssi", u8, "signal", unit="dB"),
    field("relpwr_db", u8, "power, relative", unit="dB"),
    field("avgpwr_db", u8, "power, on average", unit="dB"),
    field("max_exp", u8, "shift of the bins' magnitudes"),
    _bins(rest()),
)


def _ath11k_sample(primary: bool) -> construct.Struct:
    return struct(
        field("chan_width_mhz", u8, "width", unit="MHz"),
        field("max_index", i8, "the strongest bin"),
        field("max_exp", u8, "shift of the bins' magnitudes"),
        *([field("is_primary", u8, "1 for the primary segment")] if primary else []),
        field("freq1", _U16, "centre", unit="MHz"),
        field("freq2", _U16, "centre of the second half, of 80+80", unit="MHz"),
        field("max_magnitude", _U16, "of the strongest bin"),
        field("rssi", _U16, "signal", unit="dB"),
        _tsf(_U32),
        field("noise", _U32, "noise floor", unit="dBm"),
        _bins(rest()),
    )


def format_of(bits: int = 64, primary: bool = False) -> Format:
    """Return the format; bits: of a sample's time, 32 for ath11k; primary: ath11k samples have is_primary."""
    samples = (
        (_HT20, "fft_ht20", "a sample of 20 MHz of ath9k", _HT20_SAMPLE),
        (_HT20_40, "fft_ht20_40", "a sample of 40 MHz of ath9k", _HT20_40_SAMPLE),
        (_ATH10K, "fft_ath10k", "a sample of ath10k", _ATH10K_SAMPLE),
        (_ATH11K, "fft_ath11k", "a sample of ath11k", _ath11k_sample(primary)),
    )
    return Format(
        "ath spectral", (1, 0), None, HeaderFraming(_HEADER, id="type", length="length", extra=_HEADER.sizeof()),
        PacketClock(bits, hz=1_000_000), (Stream(0, "spectral_scan", "samples of one card"),),
        tuple(Event(i, name, "wireless", "network", doc, sample, time="tsf") for i, name, doc, sample in samples),
    )  # fmt: skip


def _power_of_two(number: int) -> bool:
    return 0 < number <= _MAX_BINS and number & number - 1 == 0


def _shape(type_: int, length: int) -> bool | None:
    """Return whether a sample of that length has is_primary, None if there is no such sample."""
    bins = length - _FIXED.get(type_, length)
    if bins in _BINS.get(type_, set()) or (type_ in {_ATH10K, _ATH11K} and _power_of_two(bins)):
        return False
    return True if type_ == _ATH11K and _power_of_two(bins - 1) else None


def _look(path: Path) -> list[tuple[int, bool]]:
    """Return type and is_primary of the first samples, none if it is another kind of file."""
    try:
        with path.open("rb") as file:
            data = file.read(_CHECKED * (_MAX_BINS + 64))
    except OSError:
        return []
    found: list[tuple[int, bool]] = []
    at = 0
    while len(found) < _CHECKED and at + 3 <= len(data):
        type_, length = data[at], int.from_bytes(data[at + 1 : at + 3], "big")
        shape = _shape(type_, length)
        if shape is None:
            return []
        found.append((type_, shape))
        at += 3 + length
    return found


def claims(path: Path) -> bool:
    """Return whether it is a file of samples: the first ones have a known type and its length."""
    return path.is_file() and len(_look(path)) >= 2


def load(path: Path) -> Loaded:
    """Return the file as one packet.

    Raises:
        LoadError: its first sample is none.

    """
    found = _look(path)
    if not found:
        raise LoadError(f"{path}: no spectral sample at its begin: types 1 to 4 with their lengths were expected")
    type_, primary = found[0]
    return plain.load_plain(path, format_of(32 if type_ == _ATH11K else 64, primary))
