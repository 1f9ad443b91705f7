# SPDX-License-Identifier: GPL-2.0-or-later
"""relayfs.ko as a facility, in a guest: one boot runs facility_guest.py, the tests look at what it found."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

import construct
import pytest

from ltt_relay.formats import fields, ltt3
from tests.vm.guest import complaints, run_script

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("facility")
    modules = ["relayfs", "ltt", "relayfs_sample", "klog"]
    run_script("python.sh", out, "facility_guest.py", timeout=400, modules=modules)
    return out


@pytest.fixture(scope="module")
def found(left: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((left / "found.json").read_text())
    return data


def _packets(data: bytes) -> list[tuple[construct.Container, bytes]]:
    """Headers and records of the packets that lie behind one another, as construct sees them."""
    at, packets = 0, []
    while at < len(data):
        header = ltt3.PACKET.parse(data[at:])
        packets.append((header, data[at + header.header_size : at + header.content_size // 8]))
        at += header.packet_size // 8
    return packets


def test_the_kernel_said_nothing_and_the_modules_unload(left: Path, found: dict[str, Any]) -> None:
    assert found["left"] == ["available_events"]
    assert found["unload"]
    assert complaints((left / "dmesg").read_text()) == []


def test_mount_options_give_the_files_owner_and_mode(found: dict[str, Any]) -> None:
    assert found["modes"] == ["700 0 0", "700 0 0", "700 0 0", "600 0 0", "400 0 0", "200 0 0"]
    assert found["remount"] == 0
    assert found["modes given"] == ["750 12 34", "750 12 34", "750 12 34", "640 12 34", "440 12 34", "200 12 34"]
    assert all(f",{option}" in found["mounts"] for option in ("uid=12", "gid=34", "mode=750"))
    assert found["bad options"] == [True] * 4


def test_a_frozen_ring_can_be_mapped_and_its_memory_outlives_its_session(left: Path, found: dict[str, Any]) -> None:
    assert found["ring before"] == "ENODATA"
    assert found["ring running"] == found["ring read"] == "EBUSY"
    assert found["ring to write"] == "EACCES"
    assert found["ring too long"]
    assert found["ring stopped"] == ""
    assert found["unload while mapped"]
    assert found["ring outlives"]
    ring = (left / "ring").read_bytes()
    assert len(ring) == 4 * 4096
    packets = []
    for at in range(0, len(ring), 4096):
        header = ltt3.PACKET.parse(ring[at:])
        packets.append((header.packet_seq_num, ring[at : at + header.packet_size // 8]))
    assert b"".join(data for _, data in sorted(packets)) == (left / "snapshot").read_bytes()
    texts = [struct.unpack_from("<3000s", records, 12)[0] for _, records in _packets((left / "snapshot").read_bytes())]
    assert [int(text) for text in texts] == [16, 17, 18, 19]


def test_poll_tells_when_the_watermark_is_reached_or_the_latency_is_over(found: dict[str, Any]) -> None:
    # One marker fills a packet, the next closes it.
    assert found["ready"] == [False, False, False, True, True]
    assert found["read"] == 4 * (ltt3.HEADER_SIZE + 8 + 4 + 3004)
    assert found["ready late"]
    assert found["latency"] >= 0.3
    assert found["read late"] == ltt3.HEADER_SIZE + 8 + 4 + 3004
    assert found["bad watermark"][0] == found["bad latency"][0] == "EINVAL"
    assert "below n_subbufs" in found["bad watermark"][1]
    assert "1 to 60000" in found["bad latency"][1]


def test_a_waiting_reader_burns_no_empty_packets(found: dict[str, Any]) -> None:
    assert not found["ready idle"]
    assert found["packets made idle"] == 0


def test_more_memory_than_is_allowed_is_refused_in_words(found: dict[str, Any]) -> None:
    for name in ("too large", "resize too large"):
        errno, why = found[name]
        assert errno == "ENOMEM"
        assert re.search(r"\d+ KiB of buffers asked for .* \d+ KiB allowed \(max_memory=1 %", why)
    assert found["allowed"] == ""


def test_a_ring_grows_under_pressure_and_shrinks_when_quiet(left: Path, found: dict[str, Any]) -> None:
    assert found["grown"] in {4, 8, 16, 32}  # doubled as often as it was half full
    assert found["shrunk"]
    assert found["asked for"] == 8  # which quiet times once took away
    stats = found["grown stats"]
    packets = _packets((left / "grown").read_bytes())
    assert sum(header.records for header, _ in packets) == stats["read"]
    assert [header.packet_seq_num for header, _ in packets] == list(range(len(packets)))
    assert stats["produced"] == 25 == stats["read"] + stats["lost"]
    # At most one between the ring's being full and the worker's growing it, to 4, 8, 16 and 32.
    assert found["grows when full"]
    assert stats["lost"] <= 4


def test_what_is_mounted_on_a_file_goes_with_it(found: dict[str, Any]) -> None:
    # It once stayed, out of anybody's reach, and kept the module from being unloaded.
    assert found["mounted"]
    assert not found["mounted on what is gone"]


def test_a_reader_whose_memory_is_slow_holds_nobody_up(found: dict[str, Any]) -> None:
    # It once held the stream's lock meanwhile, and who counts waited for that with CPU hotplug held off.
    assert found["slow reader waits"]
    assert not found["slow reader holds up"]
    assert found["slow reader gets"] == ltt3.HEADER_SIZE + 24


def test_every_refusal_leaves_words(found: dict[str, Any]) -> None:
    assert {"control", "events", "filter", "marker", "custom", "trigger"} <= set(found["too long"])
    for name, (errno, why) in found["too long"].items():
        assert errno == "EMSGSIZE"
        assert re.fullmatch(rf"{name}: 70000 bytes in one write, \d+ are allowed", why)
    assert found["idle marker"] == ["EAGAIN", "marker: the session is not running"]
    assert found["below watermark"][0] == found["4 GiB"][0] == "EINVAL"
    assert "above watermark, which is 3" in found["below watermark"][1]
    assert "below 4 GiB" in found["4 GiB"][1]
    assert found["others"] == 0


def test_reading_state_often_uses_nothing_up(left: Path, found: dict[str, Any]) -> None:
    # Each read once took 64 KiB of the 32 MiB that there are, for good.
    assert found["names"] == 0
    assert found["names again"]
    packets = _packets((left / "names").read_bytes())
    assert len(packets) > 600
    assert packets[-1][0].events_discarded == 0
    assert [header.packet_seq_num for header, _ in packets] == list(range(len(packets)))


def test_last_words_half_read_come_before_what_is_written_after_them(left: Path, found: dict[str, Any]) -> None:
    # After a restart and a resize they once came behind newer packets, whose first bytes were missing instead.
    packets = [header for header, _ in _packets((left / "last").read_bytes())]
    assert [header.packet_seq_num for header in packets] == list(range(len(packets)))
    assert [header.records for header in packets] == [1, 1, 0, 1, 1]
    assert packets[2].lost_full == 2
    assert sorted(packets, key=lambda header: header.timestamp_begin) == packets
    stats = found["last stats"]
    assert (stats["produced"], stats["read"], stats["pending"], stats["full"]) == (6, 4, 0, 2)


def test_a_file_is_complete_before_it_has_a_name(left: Path, found: dict[str, Any]) -> None:
    # Opened in mid-mkdir a small file once had no operations yet, which the kernel fell over.
    assert found["early"][0]
    assert complaints((left / "dmesg").read_text()) == []


def test_a_module_that_does_not_load_has_had_no_files(found: dict[str, Any]) -> None:
    # Who opened one in time once called what was gone.
    assert found["klog unloads"] == 0
    assert found["refused load"] == 0
    assert found["opened of what did not load"] == ""


def test_a_directory_that_is_gone_takes_no_more_sessions(found: dict[str, Any]) -> None:
    # mkdir once went to the unloaded module's code.
    assert found["unload with a working directory"] == 0
    assert found["mkdir in a directory that is gone"] == "ENOENT"


def test_the_sample_client_is_complete(left: Path, found: dict[str, Any]) -> None:
    square = fields.struct(
        fields.field("number", fields.u32, "n"), fields.pad(4), fields.field("square", fields.u64, "n * n")
    )
    record = construct.Struct("header" / ltt3.RECORD, "payload" / square)
    seen = []
    for header, records in _packets((left / "squares").read_bytes()):
        assert header.event_ids == 1 << 1
        parsed = construct.Array(header.records, record).parse(records)
        assert {(one.header.id, one.header.length) for one in parsed} == {(1, 24)}
        seen += [(one.payload.number, one.payload.square) for one in parsed]
    assert seen == [(n, n * n) for n in range(5000)]
    stats = found["squares stats"]
    assert (stats["produced"], stats["read"], stats["lost"], stats["pending"]) == (5000, 5000, 0, 0)
    assert found["sample in use"]
    assert found["sample unloads"] == [0, False]
    assert found["mounted on a client"] == 0
    assert not found["mounted on a client that is gone"]
    assert found["sample loads again"] == [0, True]
    assert found["sample ends"] == 0
