# SPDX-License-Identifier: GPL-2.0-or-later
"""Packets and sessions that need no kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ltt_relay.capture.session import Session
from ltt_relay.formats.ltt3 import HEADER_SIZE


def _packet(payload: int, records: int = 1) -> bytes:
    header = bytearray(HEADER_SIZE)
    header[40:48] = (8 * (HEADER_SIZE + payload)).to_bytes(8, "little")
    header[112:120] = records.to_bytes(8, "little")
    return bytes(header) + bytes(payload)


class _SessionOf(Session):
    def __init__(self, path: Path) -> None:
        super().__init__("written")
        self.path = path


@pytest.fixture(scope="session")
def packet() -> Callable[..., bytes]:
    """Makes a packet with so many bytes after its header, and a number of records."""
    return _packet


@pytest.fixture(scope="session")
def session_of() -> Callable[[Path], Session]:
    """Makes a session of a directory of files, which end where they end."""
    return _SessionOf
