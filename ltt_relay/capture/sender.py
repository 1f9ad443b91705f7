# SPDX-License-Identifier: GPL-2.0-or-later
"""A sink on another machine: what was read is kept until the collector has it; `wire` has the protocol."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final

from ltt_relay.capture import wire
from ltt_relay.capture.packets import PacketTracker
from ltt_relay.capture.session import CaptureError
from ltt_relay.capture.sink import NOTE, read_all
from ltt_relay.errors import UserError
from ltt_relay.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("RemoteSink",)

_CONNECT_TIMEOUT: Final = 10.0  # seconds, and likewise until the collector has answered
_SILENCE: Final = 30.0  # seconds without an acknowledgement that is due until the connection counts as broken
_FIRST_PAUSE: Final = 0.1  # before connecting again
#: Bytes sent at once, each acknowledged: in `_SILENCE` they pass a slow network, too.
_PIECE: Final = 1 << 17
_MAX_SAID: Final = 1000  # characters of what a collector says


class _Stream:
    """What is kept of one file: `chunks` from `acked` on; `sent` is how far this connection has come."""

    __slots__ = ("acked", "chunks", "end", "sent", "tracker")

    def __init__(self) -> None:
        self.acked = self.sent = self.end = 0
        self.chunks: deque[bytes] = deque()
        self.tracker = PacketTracker()

    def next_piece(self) -> memoryview | None:
        at = self.acked
        for chunk in self.chunks:
            if self.sent < at + len(chunk):
                return memoryview(chunk)[self.sent - at :][:_PIECE]
            at += len(chunk)
        return None

    def acknowledge(self, size: int) -> int:
        """Forget what is written there; returns how much is forgotten."""
        freed = 0
        while self.chunks and self.acked + len(self.chunks[0]) <= size:
            n = len(self.chunks.popleft())
            self.acked += n
            freed += n
        return freed


class RemoteSink:
    """A trace directory at a collector.

    Bounded memory: when `limit` bytes are not acknowledged, readers wait, and the kernel's buffers hold what comes.
    """

    def __init__(
        self,
        address: tuple[str, int],
        name: str,
        say: Callable[[str], None],
        *,
        limit: int = 16 << 20,
        patience: float = 60.0,
    ) -> None:
        """Connect.

        Args:
            address: host and port of the collector.
            name: directory below the collector's.
            say: told when the connection breaks and when it is back.
            limit: bytes kept.
            patience: seconds to go on trying to deliver after the recording has ended.

        Raises:
            CaptureError: nobody answers there, or it refuses: such a name, or a trace of another time under it.

        """
        self.where = f"tcp://{address[0]}:{address[1]}/{name}"
        self._address = address
        self._say = say
        self._limit = limit
        self._patience = patience
        self._hello = wire.hello(os.urandom(16), name)
        self._news = threading.Condition()
        # Under the condition's lock:
        self._streams: dict[str, _Stream] = {}
        self._small: dict[str, bytes] = {}
        self._small_sent: dict[str, bytes] = {}
        self._kept = 0
        self._ending = False
        self._end_sent = False
        self._deadline: float | None = None
        self._error: str | None = None
        self._welcome = False
        self._done = False
        self._pause = _FIRST_PAUSE
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            connection = self._connect()
        except UnicodeError:
            raise CaptureError(f"{address[0]}: no name of a machine") from None
        except OSError as error:
            raise CaptureError(
                f"{self.where}: {error.strerror or error}: does ltt-relay collect run there, on that address?"
            ) from error
        self._thread = threading.Thread(target=self._run, args=(connection,), name="sender", daemon=True)
        self._thread.start()
        with self._news:
            if not self._news.wait_for(lambda: self._welcome or self._error, _CONNECT_TIMEOUT):
                self._error = f"{self.where}: no answer: does ltt-relay collect run there, on that address?"
            if self._error:
                raise CaptureError(self._error)

    # --------------------------------------------------------------------------------------------- called by readers

    def drain(self, name: str, reader: int) -> None:
        """See `Sink`."""
        read_all(reader, partial(self.append, name))

    def append(self, name: str, chunk: memoryview) -> None:
        """See `Sink`; waits while too much is not acknowledged."""
        with self._news:
            while self._kept and self._kept + len(chunk) > self._limit and not self._error:
                self._news.wait()
            if self._error:
                raise CaptureError(self._error)
            stream = self._streams.setdefault(name, _Stream())
            stream.tracker.feed(chunk)
            stream.chunks.append(bytes(chunk))
            stream.end += len(chunk)
            self._kept += len(chunk)
        self._wake()

    def replace(self, name: str, content: bytes) -> None:
        """See `Sink`."""
        with self._news:
            if self._error:
                raise CaptureError(self._error)
            self._small[name] = content
        self._wake()

    @property
    def size(self) -> int:
        """See `Sink`."""
        return sum(s.tracker.whole for s in self._streams.values()) + sum(map(len, self._small.values()))

    @property
    def records(self) -> int:
        """See `Sink`."""
        return sum(s.tracker.records for name, s in self._streams.items() if name.startswith("events_"))

    def stopping(self) -> None:
        """See `Sink`."""
        with self._news:
            self._deadline = time.monotonic() + self._patience
        self._wake()

    def close(self, note: bytes) -> None:
        """See `Sink`; returns when the collector has everything.

        Raises:
            CaptureError: it could not be delivered; the message says how much.

        """
        with contextlib.suppress(CaptureError):
            self.replace(NOTE, note)
        self.stopping()
        with self._news:
            self._ending = True
        self._wake()
        while self._thread.is_alive():
            self._thread.join(0.5)
        os.close(self._wake_read)
        os.close(self._wake_write)
        if self._error:
            kept = f"; {self._kept:,} bytes were not delivered" if self._kept else ""
            raise CaptureError(self._error + kept)

    def discard(self) -> None:
        """See `Sink`: what was sent stays there, with a note that nothing was saved."""
        self.close(b"{}\n")

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"\0")

    # -------------------------------------------------------------------------------------------- the sender's thread

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setblocking(False)
        return connection

    def _run(self, connection: socket.socket | None) -> None:
        broken = False
        while not self._done and not self._error:
            try:
                if connection is None:
                    connection = self._connect()
                self._talk(connection)
            except UserError as error:
                self._fail(f"{self.where}: {printable(str(error)[:_MAX_SAID])}")
            except OSError as error:
                if not broken:
                    self._say(f"{self.where}: {error.strerror or error}: trying again; the buffers hold what comes")
                broken = True
                if self._deadline is not None and time.monotonic() > self._deadline:
                    self._fail(f"{self.where}: {error.strerror or error}: given up after {self._patience:.0f} s")
                time.sleep(self._pause)
                self._pause = min(2 * self._pause, 2.0)
            finally:
                if connection is not None:
                    connection.close()
                    connection = None

    def _fail(self, text: str) -> None:
        with self._news:
            self._error = text
            self._news.notify_all()

    def _talk(self, connection: socket.socket) -> None:
        """Speak the protocol until the end is acknowledged.

        Raises:
            OSError: the connection broke.
            UserError: refused.

        """
        parser = wire.FrameParser()
        out: deque[memoryview] = deque((memoryview(self._hello),))
        welcome = False
        heard = time.monotonic()
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        poll.register(connection)
        while not self._done:
            if welcome and not out:
                self._next_frames(out)
            poll.modify(connection, select.POLLIN | (select.POLLOUT if out else 0))
            ready = dict(poll.poll(1000))
            now = time.monotonic()
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
            events = ready.get(connection.fileno(), 0)
            if events & select.POLLOUT:
                n = connection.send(out[0])
                out[0] = out[0][n:]
                if not out[0]:
                    out.popleft()
            if events & ~select.POLLOUT:
                data = connection.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("the collector closed the connection")
                heard = now
                for kind, body in parser.feed(data):
                    welcome = self._handle(kind, memoryview(body)) or welcome
            if not self._awaited() and welcome:
                heard = now
            elif now - heard > _SILENCE:
                raise TimeoutError(f"the collector has been silent for {_SILENCE:.0f} s")

    def _awaited(self) -> bool:
        with self._news:
            return self._kept > 0 or self._ending

    def _next_frames(self, out: deque[memoryview]) -> None:
        """Queue what is to be sent next: small files that changed, then a piece of each stream, then the end."""
        with self._news:
            for name, content in self._small.items():
                if self._small_sent.get(name) is not content:
                    self._small_sent[name] = content
                    out.append(memoryview(wire.frame(wire.PUT, wire.named(name), content)))
            for name, stream in self._streams.items():
                piece = stream.next_piece()
                if piece is not None:
                    out.append(memoryview(wire.frame(wire.DATA, wire.sized(stream.sent, name), piece)))
                    stream.sent += len(piece)
            if self._ending and not self._end_sent and not out and not self._kept:
                out.append(memoryview(wire.frame(wire.END)))
                self._end_sent = True

    def _handle(self, kind: int, body: memoryview) -> bool:
        """Take a frame of the collector's; returns whether it was WELCOME."""
        if kind == wire.REFUSED:
            raise UserError(str(body, "utf-8", "replace"))
        with self._news:
            if kind == wire.DONE and self._end_sent:
                self._done = True
            elif kind == wire.ACK:
                size, name, _ = wire.split_sized(body)
                self._acknowledge(name, size)
            elif kind == wire.WELCOME:
                sizes = wire.split_welcome(body)
                # What was on its way when the last connection broke may have arrived, or not.
                for name, stream in self._streams.items():
                    self._acknowledge(name, sizes.get(name, 0))
                    stream.sent = max(sizes.get(name, 0), stream.acked)
                self._small_sent.clear()
                self._end_sent = False
                self._pause = _FIRST_PAUSE
                self._welcome = True
                self._news.notify_all()
                return True
            else:
                raise wire.WireError(f"frame of kind {kind} from the collector")
        return False

    def _acknowledge(self, name: str, size: int) -> None:
        stream = self._streams.get(name)
        if stream is None or not stream.acked <= size <= stream.end:
            raise UserError(
                f"the collector has {size:,} bytes of {name}, and {stream.acked if stream else 0:,} to "
                f"{stream.end if stream else 0:,} were expected: was its file changed?"
            )
        self._kept -= stream.acknowledge(size)
        self._news.notify_all()
