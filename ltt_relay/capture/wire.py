# SPDX-License-Identifier: GPL-2.0-or-later
"""The protocol between ``record --to`` and ``collect``: one TCP connection for each trace, frames both ways.

All integers are little endian. A frame is its body's length (u32), its kind (u8) and the body; NAME is a u8 length and
that many bytes of ASCII.

==========  ====  =====================================  ==========================================================
frame       kind  body                                   meaning
==========  ====  =====================================  ==========================================================
to the collector
-------------------------------------------------------------------------------------------------------------------
HELLO       1     "LTTRELAY", version u8 = 1,            the first: the trace's directory, and a number drawn for
                  id 16 bytes, directory (the rest)      this transfer, by which it is known again
DATA        2     offset u64, NAME, bytes                what follows in a stream file from that offset on
PUT         3     NAME, bytes                            a whole small file, in place of what it was
END         4     nothing                                the trace is complete
to the sender
-------------------------------------------------------------------------------------------------------------------
WELCOME     65    for each file: size u64, NAME          answers HELLO: what is there already; go on from there
ACK         66    size u64, NAME                         answers DATA: so much of the file is written
DONE        67    nothing                                answers END: all is on the disk
REFUSED     68    text in UTF-8                          why; the connection ends, and trying again is no use
==========  ====  =====================================  ==========================================================

A sender keeps what is not acknowledged. When a connection breaks it comes again with the same HELLO, and goes on at the
sizes of WELCOME; bytes that come twice are skipped, an offset beyond a file's end is refused. Nothing is encrypted or
authenticated: let it through ssh (``ssh -R 4711:localhost:4711 target``) where others share the network.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = (
    *("ACK", "DATA", "DEFAULT_PORT", "DONE", "END", "HELLO", "MAX_BODY", "PUT", "REFUSED", "VERSION", "WELCOME"),
    *("FrameParser", "WireError", "parse_address", "frame", "named", "sized", "split_hello", "split_named"),
    *("split_sized", "hello", "split_welcome"),
)

HELLO, DATA, PUT, END = 1, 2, 3, 4
WELCOME, ACK, DONE, REFUSED = 65, 66, 67, 68
VERSION: Final = 1
MAX_BODY: Final = 16 << 20
DEFAULT_PORT: Final = 4711

_MAGIC: Final = b"LTTRELAY"
_HEAD: Final = struct.Struct("<IB")
_SIZE: Final = struct.Struct("<Q")
_ID_END: Final = len(_MAGIC) + 1 + 16


class WireError(UserError):
    """What came over the connection is not the protocol."""


def parse_address(text: str, *, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """Return host and port of [tcp://]HOST[:PORT], [tcp://][ADDRESS]:PORT for IPv6.

    Raises:
        UserError: it is none.

    """
    match = re.fullmatch(
        r"(?:tcp://)?(?:\[(?P<six>[0-9a-fA-F:.%\w]+)\]|(?P<host>[^\s:/\[\]]+))(?::(?P<port>\d{1,5}))?", text
    )
    port = int(match["port"] or default_port) if match else 0
    if match is None or not 0 <= port < 1 << 16 or (port == 0 and not match["port"]):
        raise UserError(f"{text}: an address such as tcp://192.0.2.1:{default_port} was expected")
    return match["six"] or match["host"], port


def frame(kind: int, *parts: bytes | memoryview) -> bytes:
    """Return a frame."""
    return b"".join((_HEAD.pack(sum(map(len, parts)), kind), *parts))


def named(name: str) -> bytes:
    """Return a NAME."""
    raw = name.encode("ascii")
    return bytes((len(raw),)) + raw


def sized(size: int, name: str) -> bytes:
    """Return a size or offset, and a NAME."""
    return _SIZE.pack(size) + named(name)


def hello(transfer: bytes, directory: str) -> bytes:
    """Return the first frame."""
    return frame(HELLO, _MAGIC, bytes((VERSION,)), transfer, directory.encode())


def split_hello(body: bytes) -> tuple[bytes, str]:
    """Return the transfer's id and the directory.

    Raises:
        WireError: it is another protocol or version.

    """
    if not body.startswith(_MAGIC) or len(body) < _ID_END:
        raise WireError("this is no sender of traces: the first frame does not begin with LTTRELAY")
    version = body[len(_MAGIC)]
    if version != VERSION:
        raise WireError(f"the sender speaks version {version} of the protocol, the collector {VERSION}")
    return body[len(_MAGIC) + 1 : _ID_END], body[_ID_END:].decode("utf-8", "replace")


def split_named(body: memoryview) -> tuple[str, memoryview]:
    """Return a NAME and what follows.

    Raises:
        WireError: the frame is too short for it, or it is not ASCII.

    """
    end = 1 + body[0] if len(body) else 1
    if len(body) < end:
        raise WireError(f"a frame of {len(body)} bytes ends within a name")
    try:
        return str(body[1:end], "ascii"), body[end:]
    except UnicodeDecodeError:
        raise WireError(f"a file's name is not ASCII: {bytes(body[1:end])!r}") from None


def split_sized(body: memoryview) -> tuple[int, str, memoryview]:
    """Return a size or offset, a NAME and what follows; raises as `split_named`."""
    if len(body) < _SIZE.size:
        raise WireError(f"a frame of {len(body)} bytes ends within a size")
    return (_SIZE.unpack_from(body)[0], *split_named(body[_SIZE.size :]))


def split_welcome(body: memoryview) -> dict[str, int]:
    """Return file names and sizes; raises as `split_named`."""
    sizes = {}
    while len(body):
        size, name, body = split_sized(body)
        sizes[name] = size
    return sizes


class FrameParser:
    """Makes frames of what comes, however it is cut.

    Attributes:
        max_body: a longer body is refused, before it is waited for.

    """

    def __init__(self, max_body: int = MAX_BODY) -> None:
        """Begin at a frame's begin."""
        self.max_body = max_body
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[int, bytes]]:
        """Yield (kind, body) of each frame that is complete.

        Raises:
            WireError: a body is longer than allowed.

        """
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= _HEAD.size:
                length, kind = _HEAD.unpack_from(self._buffer, at)
                if length > self.max_body:
                    raise WireError(f"a frame of {length:,} bytes, at most {self.max_body:,} were expected")
                end = at + _HEAD.size + length
                if len(self._buffer) < end:
                    break
                body = bytes(memoryview(self._buffer)[at + _HEAD.size : end])
                at = end
                yield kind, body
        finally:
            del self._buffer[:at]
