# SPDX-License-Identifier: GPL-2.0-or-later
"""Where packets end in a stream of bytes: all that capturing needs to know of the format."""

from __future__ import annotations

import os
import struct
from typing import Final

from ltt_relay.errors import UserError

__all__ = ("HEADER_SIZE", "PACKET_SIZE_OFFSET", "RECORDS_OFFSET", "PacketTracker")

#: Of the packet header in formats/ltt3.py (a test compares them; construct is not imported on targets).
HEADER_SIZE: Final = 184
PACKET_SIZE_OFFSET: Final = 40
RECORDS_OFFSET: Final = 112
_U64: Final = struct.Struct("<Q")


class PacketTracker:
    """Follows a stream through its chunks, however they are cut.

    Attributes:
        size: bytes seen.
        whole: bytes up to the end of the last packet that was seen whole.
        packets: packets seen whole.
        records: records in them.

    """

    __slots__ = ("_end", "_head", "packets", "records", "size", "whole")

    def __init__(self, size: int = 0) -> None:
        """Begin `size` bytes into the stream, at the begin of a packet."""
        self.size = self.whole = size
        self.packets = self.records = 0
        self._end = -1  # of the packet at `whole`, once its header is known
        self._head = b""

    def feed(self, chunk: memoryview) -> None:
        """Go on by a chunk.

        Raises:
            UserError: what should be a packet's header is none.

        """
        start, end = self.size, self.size + len(chunk)
        while True:
            if self._end < 0:
                at = self.whole + len(self._head) - start
                self._head += bytes(chunk[at : at + HEADER_SIZE - len(self._head)])
                if len(self._head) < HEADER_SIZE:
                    break
                self._begin()
            if self._end > end:
                break
            self._finish()
        self.size = end

    def feed_file(self, file: int, n: int) -> None:
        """Go on by the next `n` bytes of the stream, all of which is in an open file: only headers are read.

        Raises:
            UserError: what should be a packet's header is none.

        """
        self.size += n
        while self.whole < self.size:
            if self._end < 0:
                if self.whole + HEADER_SIZE > self.size:
                    self._head = os.pread(file, self.size - self.whole, self.whole)
                    break
                self._head = os.pread(file, HEADER_SIZE, self.whole)
                self._begin()
            if self._end > self.size:
                break
            self._finish()

    def _begin(self) -> None:
        (bits,) = _U64.unpack_from(self._head, PACKET_SIZE_OFFSET)
        if bits % 64 or bits < HEADER_SIZE * 8:
            raise UserError(
                f"byte {self.whole}: packet_size {bits} bit, expected a multiple of 64 from {HEADER_SIZE * 8}: "
                "this is no LTT 3.0 stream"
            )
        self._end = self.whole + bits // 8

    def _finish(self) -> None:
        self.records += _U64.unpack_from(self._head, RECORDS_OFFSET)[0]
        self.whole, self._end, self._head = self._end, -1, b""
        self.packets += 1
