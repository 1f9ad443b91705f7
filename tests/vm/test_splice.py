# SPDX-License-Identifier: GPL-2.0-or-later
"""splice(2) from relayfs, in a guest: one boot runs splice_guest.py, the tests look at what it found.

What is in a pipe must stay as it was, and what is not must not come twice or never.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ltt_relay.formats import ltt3
from tests.vm.guest import complaints, run_script

pytestmark = [pytest.mark.vm, pytest.mark.slow]


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("splice")
    run_script("python.sh", out, "splice_guest.py", timeout=400, modules=["relayfs", "ltt"])
    return out


@pytest.fixture(scope="module")
def found(left: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((left / "found.json").read_text())
    return data


def test_the_kernel_said_nothing_and_the_modules_unload(left: Path, found: dict[str, Any]) -> None:
    assert found["unload"]
    assert complaints((left / "dmesg").read_text()) == []


def test_calls_of_every_size_give_what_the_ring_has(found: dict[str, Any]) -> None:
    same, packets = found["equal"]
    assert same
    assert packets == 10
    stats = found["equal stats"]
    assert (stats["produced"], stats["read"], stats["lost"], stats["pending"]) == (150, 150, 0, 0)


def test_the_writer_waits_for_pages_that_are_in_a_pipe(found: dict[str, Any]) -> None:
    assert found["wrap held"] == [0, True]
    assert found["wrap kept"] == [0, 1, 2, 3]
    assert found["wrap given"] == 4


def test_pages_come_back_in_any_order_and_go_to_the_writer_in_theirs(found: dict[str, Any]) -> None:
    first, rest = found["order sizes"]
    assert first == 100 + 4096
    assert rest > 0
    assert found["order held"] == 0
    assert found["order kept"]
    assert found["order given"] == 4


def test_pages_in_two_pipes_are_kept_until_both_have_done_with_them(found: dict[str, Any]) -> None:
    assert found["tee"]
    assert found["tee held"] == 0
    assert found["tee kept"]
    assert found["tee given"] == 4


def test_pages_in_a_socket_are_kept(found: dict[str, Any]) -> None:
    assert found["socket held"] in {0, 4}
    assert found["socket kept"]
    assert found["socket given"]


def test_a_packet_whose_reader_went_comes_again_and_is_kept(found: dict[str, Any]) -> None:
    assert found["closed whole"] == [0, 1, 2, 3]
    assert found["closed held"] == 0
    assert found["closed kept"]
    assert found["closed given"] == 4
    assert found["closed unread"] == [4, True]


def test_a_ring_may_change_while_its_pages_are_in_a_pipe(found: dict[str, Any]) -> None:
    assert found["reset"] == [[0], 2]
    assert found["reset after"] == [[3, 4, 5, 6], True]
    assert found["resized"] == 8
    assert found["resized kept"]
    assert found["restarted"] == 6
    assert found["restarted kept"] == [2, True]


def test_a_snapshot_in_a_pipe_does_not_hold_up_the_next(found: dict[str, Any]) -> None:
    assert found["second snapshot"] == 0
    assert found["snapshot kept"] == [6, 7, 8, 9]
    assert found["snapshot ends"] == [[16, 17, 18, 19], 0]
    assert found["snapshot next"] == "EAGAIN"
    assert found["flight restart held"] == "EBUSY"
    assert found["flight stopped"] == [26, 27, 28, 29]
    assert found["flight restart"] == 0
    assert found["flight balanced"]


def test_waiting_and_ends_are_those_of_read(left: Path, found: dict[str, Any]) -> None:
    assert found["nonblock"] == "EAGAIN"
    assert found["sendfile"] == "EINVAL"
    assert found["pipe free"] == ["EAGAIN", True]
    (size,), texts = found["woken"]
    assert texts == [0]
    assert found["one page"] == size
    assert found["full"] == "EAGAIN"
    assert found["no reader"] == ["EPIPE", True]
    assert found["woken balanced"]
    packets, length, stats = found["final"]
    assert (packets, length) == (4, 4 * size + ltt3.HEADER_SIZE)
    last = ltt3.PACKET.parse((left / "final").read_bytes()[-ltt3.HEADER_SIZE :])
    assert last.records == 0
    assert last.events_discarded == stats["lost"] > 3


def test_under_load_no_packet_is_missing_or_comes_twice(left: Path, found: dict[str, Any]) -> None:
    assert found["load ended"] == [True, []]
    assert found["load resized"] > 2
    records = 0
    for path in left.glob("load_*"):
        data, at, numbers = memoryview(path.read_bytes()), 0, []
        while at < len(data):
            header = ltt3.PACKET.parse(data[at : at + ltt3.HEADER_SIZE])
            assert header.magic == ltt3.MAGIC, (path.name, at)
            numbers.append(header.packet_seq_num)
            records += header.records
            at += header.packet_size // 8
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 50
    stats = found["load stats"]
    assert records == stats["read"]
    assert stats["produced"] == stats["read"] + stats["lost"]
    assert stats["pending"] == stats["overwritten"] == 0


def test_pages_in_a_pipe_outlive_their_session_and_keep_the_modules(found: dict[str, Any]) -> None:
    assert found["unload in a pipe"] == [True, True]
    assert found["outlives"] == [0, 1, 2, 3]
