# SPDX-License-Identifier: GPL-2.0-or-later
"""Receives traces from ``record --to`` into directories below one; `wire` has the protocol."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Final

from ltt_relay.capture import wire
from ltt_relay.capture.session import CaptureError
from ltt_relay.capture.sink import NOTE
from ltt_relay.capture.wire import WireError
from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ("Collector", "Reception", "Store")

#: Hidden file of a received trace: the transfer's number, by which a sender that comes back is known.
TRANSFER: Final = ".transfer"
_DIRECTORY: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:+@-]{0,127}")
_STREAM: Final = re.compile(r"[a-z][a-z0-9]{0,15}_[0-9]{1,5}")
_SMALL: Final = {"metadata", NOTE}
_MAX_FILES: Final = 65536
_MAX_SENDERS: Final = 256
_MAX_HELLO: Final = 512
_HELLO_SECONDS: Final = 10.0
_PAUSE: Final = 0.2  # after a connection could not be taken, for want of file descriptors for one


class Reception:
    """One sender's trace, from HELLO to DONE; knows nothing of sockets."""

    def __init__(self, store: Store) -> None:
        """Wait for HELLO."""
        self._store = store
        self._parser = wire.FrameParser(_MAX_HELLO)
        self._directory = -1
        self._files: dict[str, tuple[int, int]] = {}  # descriptor and size
        self.name = ""
        self.transfer = b""
        self.bytes = 0
        self.done = False
        self.superseded = False

    def feed(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Take bytes of the sender's; yield frames for it.

        Raises:
            WireError: they are not the protocol; the trace is as it was before.
            UserError: refused: a name, a directory, or the disk.

        """
        if self.superseded:
            raise ConnectionResetError("its sender is back on another connection")
        for kind, body in self._parser.feed(data):
            if self._directory < 0:
                if kind != wire.HELLO:
                    raise WireError(f"the first frame is of kind {kind}, HELLO was expected")
                self.transfer, name = wire.split_hello(body)
                self._directory = self._store.enter(name, self.transfer, self)
                self.name = name
                self._parser.max_body = wire.MAX_BODY
                yield wire.frame(wire.WELCOME, *(wire.sized(size, name) for name, size in self._open_files()))
            else:
                yield from self._handle(kind, memoryview(body))

    def _open_files(self) -> Iterator[tuple[str, int]]:
        for name in sorted(os.listdir(self._directory)):  # noqa: PTH208 - by descriptor
            if _STREAM.fullmatch(name):
                yield name, self._open(name)[1]

    def _open(self, name: str) -> tuple[int, int]:
        if name not in self._files:
            if len(self._files) >= _MAX_FILES:
                raise UserError(f"more than {_MAX_FILES} files in a trace")
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(name, flags, 0o644, dir_fd=self._directory)
            self._files[name] = file, os.lseek(file, 0, os.SEEK_END)
        return self._files[name]

    def _handle(self, kind: int, body: memoryview) -> Iterator[bytes]:
        if kind == wire.DATA:
            offset, name, data = wire.split_sized(body)
            if not _STREAM.fullmatch(name):
                raise WireError(f"a stream file is called {name!r}; names such as events_0 were expected")
            yield wire.frame(wire.ACK, wire.sized(self._append(name, offset, data), name))
        elif kind == wire.PUT:
            name, data = wire.split_named(body)
            if name not in _SMALL:
                raise WireError(f"a small file is called {name!r}; one of {', '.join(sorted(_SMALL))} was expected")
            self._replace(name, data)
        elif kind == wire.END:
            for file, _ in self._files.values():
                os.fsync(file)
            os.fsync(self._directory)
            self.done = True
            yield wire.frame(wire.DONE)
        else:
            raise WireError(f"frame of kind {kind}, HELLO, DATA, PUT or END were expected")

    def _append(self, name: str, offset: int, data: memoryview) -> int:
        file, size = self._open(name)
        if offset > size:
            raise WireError(f"{name}: the file has {size:,} bytes, and what comes begins at {offset:,}")
        data = data[size - offset :]
        while data:
            n = os.pwrite(file, data, size)
            size += n
            self.bytes += n
            self._files[name] = file, size
            data = data[n:]
        return size

    def _replace(self, name: str, data: memoryview) -> None:
        part = f".{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(part, flags, 0o644, dir_fd=self._directory)
        try:
            while data:
                data = data[os.write(file, data) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(part, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def close(self) -> None:
        """Let go of the files."""
        for file, _ in self._files.values():
            os.close(file)
        self._files.clear()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
        self._store.leave(self)


class Store:
    """The directory that traces are received into."""

    def __init__(self, path: Path) -> None:
        """Make it if it is missing.

        Raises:
            CaptureError: it cannot be made or written to.

        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}: choose another directory with -o") from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise CaptureError(f"{path} cannot be written to: choose another directory with -o")
        self.path = path
        self._lock = threading.Lock()
        self._busy: dict[str, Reception] = {}

    def enter(self, name: str, transfer: bytes, reception: Reception) -> int:
        """Return a descriptor of the trace's directory, new or known by its transfer's number.

        Raises:
            UserError: the name is none, or is another trace's.

        """
        if not _DIRECTORY.fullmatch(name):
            raise UserError(
                f"{name[:80]!r} is no name for a trace: letters, digits and _.,:+@- were expected, no dot first"
            )
        with self._lock:
            other = self._busy.get(name)
            new = False
            try:
                os.mkdir(name, 0o755, dir_fd=self._root)
                new = True
            except FileExistsError:
                pass
            # Not through a link: what is received stays below the root.
            directory = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
            try:
                self._recognise(directory, transfer, name, new)
            except BaseException:
                os.close(directory)
                if new:  # else the name was taken, by nothing
                    with contextlib.suppress(OSError):
                        os.unlink(f"{name}/{TRANSFER}", dir_fd=self._root)
                        os.rmdir(name, dir_fd=self._root)
                raise
            if other is not None:
                # Its sender is back before its old connection was known to be broken.
                other.superseded = True
            self._busy[name] = reception
        return directory

    def _recognise(self, directory: int, transfer: bytes, name: str, new: bool) -> None:
        line = transfer.hex().encode() + b"\n"
        flags = os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_WRONLY | os.O_CREAT | os.O_EXCL if new else os.O_RDONLY)
        try:
            file = os.open(TRANSFER, flags, 0o644, dir_fd=directory)
        except FileNotFoundError:
            file = -1
        known = b""
        if file >= 0:
            try:
                if new:
                    os.write(file, line)
                    return
                known = os.read(file, 64)
            finally:
                os.close(file)
        if known != line:
            raise UserError(f"there is a trace {name} already, of another sender or time: choose another name with -o")

    def leave(self, reception: Reception) -> None:
        """Forget a reception."""
        with self._lock:
            for name, other in list(self._busy.items()):
                if other is reception:
                    del self._busy[name]


class Collector:
    """Listens, with a thread for each sender."""

    def __init__(
        self,
        store: Store,
        address: tuple[str, int],
        *,
        say: Callable[[str], None],
        on_trace: Callable[[Path], None],
    ) -> None:
        """Bind.

        Args:
            store: where to.
            address: host and port to listen on; port 0 takes a free one.
            say: told of senders that come, go and are refused.
            on_trace: told of each trace that is complete, once; from its sender's thread.

        Raises:
            CaptureError: the address cannot be listened on.

        """
        self._store = store
        self._say = say
        self._on_trace = on_trace
        try:
            family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server(address, family=family, backlog=64)
        except UnicodeError:
            raise CaptureError(f"{address[0]}: no name of a machine") from None
        except OSError as error:
            # create_server adds the address to the text; errors of name resolution have numbers of their own.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            raise CaptureError(f"{address[0]}, port {address[1]}: {reason}") from error
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._complete: set[bytes] = set()
        self._connections: set[socket.socket] = set()
        self._closed = False
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Accept senders until `close`."""
        told = False
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError as error:
                if self._closed:
                    return
                if not told:
                    self._say(f"a sender cannot be let in, and has to wait: {error.strerror or error}")
                told = True
                time.sleep(_PAUSE)
                continue
            told = False
            with self._lock:
                closed, full = self._closed, len(self._connections) >= _MAX_SENDERS
                if not (closed or full):
                    self._connections.add(connection)
            if closed:
                connection.close()
                return
            if full:
                connection.close()
                self._say(f"{peer[0]}: turned away: {_MAX_SENDERS} senders are connected")
                continue
            try:
                threading.Thread(target=self._receive, args=(connection, str(peer[0])), daemon=True).start()
            except RuntimeError as error:
                with self._lock:
                    self._connections.discard(connection)
                connection.close()
                self._say(f"{peer[0]}: turned away: {error}")

    def _receive(self, connection: socket.socket, peer: str) -> None:
        reception = Reception(self._store)
        try:
            connection.settimeout(_HELLO_SECONDS)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            buffer = memoryview(bytearray(1 << 20))
            while not reception.done and (n := connection.recv_into(buffer)):
                first = not reception.name
                for answer in reception.feed(buffer[:n]):
                    connection.sendall(answer)
                if first and reception.name:
                    connection.settimeout(None)
                    self._say(f"{peer}: {reception.name}: receiving")
            if reception.done:
                self._say(f"{peer}: {reception.name}: complete, {reception.bytes / 1e6:,.1f} MB over this connection")
                with self._lock:
                    # A sender that did not hear of it comes back, and ends once more.
                    new = reception.transfer not in self._complete
                    self._complete.add(reception.transfer)
                if new:
                    self._on_trace(self._store.path / reception.name)
            elif reception.name:
                self._say(f"{peer}: {reception.name}: connection closed; its sender may come back")
        except UserError as error:
            self._refuse(connection, peer, reception, str(error))
        except TimeoutError:
            self._say(f"{peer}: turned away: said nothing for {_HELLO_SECONDS:.0f} s")
        except ConnectionError as error:
            self._say(f"{peer}: {reception.name}: {error.strerror or error}; its sender may come back")
        except OSError as error:
            self._refuse(connection, peer, reception, f"{reception.name}: {error.strerror or error}")
        finally:
            reception.close()
            with self._lock:
                self._connections.discard(connection)
            connection.close()

    def _refuse(self, connection: socket.socket, peer: str, reception: Reception, text: str) -> None:
        self._say(f"{peer}: refused: {text}")
        with contextlib.suppress(OSError):
            connection.settimeout(_HELLO_SECONDS)
            connection.sendall(wire.frame(wire.REFUSED, text.encode()))
            # Closing with bytes unread would throw the answer away with them.
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass

    def close(self) -> None:
        """Stop listening, and drop who is connected: they may come back to the next collector."""
        with self._lock:
            self._closed = True
            connections = list(self._connections)
        # accept() in another thread notices a shutdown, not a close.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
