# SPDX-License-Identifier: GPL-2.0-or-later
"""``record --to`` and ``collect``: what is sent arrives, over connections that break, from senders that lie."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ltt_relay.capture import sender, wire
from ltt_relay.capture.collector import TRANSFER, Collector, Reception, Store
from ltt_relay.capture.recorder import Recorder
from ltt_relay.capture.sender import RemoteSink
from ltt_relay.capture.session import CaptureError, Session
from ltt_relay.capture.sink import NOTE
from ltt_relay.cli import main
from ltt_relay.errors import UserError

ID = bytes(range(16))


class _Receiving:
    """A collector on a free port."""

    def __init__(self, path: Path) -> None:
        self.said: list[str] = []
        self.complete: list[Path] = []
        self.path = path
        self.collector: Collector | None = None
        self.address = ("127.0.0.1", 0)
        self.start()

    def start(self) -> None:
        for _ in range(100):
            with contextlib.suppress(CaptureError):
                self.collector = Collector(
                    Store(self.path), self.address, say=self.said.append, on_trace=self.complete.append
                )
                break
            time.sleep(0.05)
        assert self.collector
        self.address = self.collector.address
        threading.Thread(target=self.collector.serve, daemon=True).start()

    def stop(self) -> None:
        assert self.collector
        self.collector.close()


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[_Receiving]:
    collector = _Receiving(tmp_path / "received")
    yield collector
    collector.stop()


@pytest.fixture
def trace(tmp_path: Path, packet: Callable[..., bytes]) -> Path:
    """Bytes in whole packets stand for a session's files."""
    path = tmp_path / "session"
    path.mkdir()
    for cpu in (0, 1):
        content = b"".join(packet(8 * (1000 + 37 * n + cpu)) for n in range(120))
        (path / f"events_{cpu}").write_bytes(content)
    (path / "metadata").write_bytes(b"/* CTF 1.8 */")
    (path / "state_0").write_bytes(packet(800))
    return path


def _equal(received: Path, trace: Path) -> None:
    for path in trace.iterdir():
        assert (received / path.name).read_bytes() == path.read_bytes(), path.name


def _send(trace: Path, sink: RemoteSink) -> list[str]:
    session = Session("written")
    session.path = trace
    recorder = Recorder(session, sink)
    recorder.start()
    failures = recorder.finish()
    sink.close(b'{"schema": 1}\n')
    return failures


def test_what_is_sent_is_there(receiving: _Receiving, trace: Path) -> None:
    sink = RemoteSink(receiving.address, "target-1", print)
    assert _send(trace, sink) == []
    _equal(receiving.path / "target-1", trace)
    assert (receiving.path / "target-1" / NOTE).read_bytes() == b'{"schema": 1}\n'
    _until(lambda: receiving.complete == [receiving.path / "target-1"])
    assert sink.records == 240


def test_several_senders_at_once(receiving: _Receiving, trace: Path) -> None:
    sinks = [RemoteSink(receiving.address, f"target-{n}", print) for n in range(5)]
    threads = [threading.Thread(target=_send, args=(trace, sink)) for sink in sinks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(5):
        _equal(receiving.path / f"target-{n}", trace)
    _until(lambda: len(receiving.complete) == 5)  # told after the last acknowledgement


class _BreakingProxy:
    """Passes bytes on, and cuts each connection after so many of them, in the middle of whatever it is."""

    def __init__(self, to: tuple[str, int], after: list[int]) -> None:
        self.to = to
        self.after = list(after)
        self.connections = 0
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = self.server.getsockname()[:2]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self.server.accept()[0]
                self.connections += 1
                budget = self.after.pop(0) if self.after else 1 << 40
                upstream = socket.create_connection(self.to)
                threading.Thread(target=self._pass, args=(upstream, client, 1 << 40), daemon=True).start()
                self._pass(client, upstream, budget)

    def _pass(self, source: socket.socket, target: socket.socket, budget: int) -> None:
        with contextlib.suppress(OSError):
            while budget and (data := source.recv(min(budget, 65536))):
                target.sendall(data)
                budget -= len(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_connection_that_breaks_again_and_again_loses_nothing(receiving: _Receiving, trace: Path) -> None:
    cuts = [10, 45, 60, 5_000, 70_001, 33, 300_000, 1_000_003]
    proxy = _BreakingProxy(receiving.address, [1 << 40])
    said: list[str] = []
    proxy.after = cuts.copy()
    sink = RemoteSink(proxy.address, "target", said.append, limit=64 << 10)
    assert _send(trace, sink) == []
    proxy.server.close()
    _equal(receiving.path / "target", trace)
    assert proxy.connections == len(cuts) + 1
    _until(lambda: len(receiving.complete) == 1)  # told after the last acknowledgement
    assert any("trying again" in text for text in said)


def test_a_collector_that_is_gone_and_back_goes_on_where_it_was(
    receiving: _Receiving, trace: Path, packet: Callable[..., bytes]
) -> None:
    sink = RemoteSink(receiving.address, "target", print, limit=1 << 20)
    data = memoryview((trace / "events_0").read_bytes())
    half = len(packet(8 * 1000))
    sink.append("events_0", data[:half])
    _until(lambda: (receiving.path / "target/events_0").exists())
    receiving.stop()
    sink.append("events_0", data[half:])
    time.sleep(0.3)
    receiving.start()
    sink.close(b"{}\n")
    assert (receiving.path / "target/events_0").read_bytes() == bytes(data)


def test_a_sender_that_comes_as_the_collector_is_closed_is_dropped(tmp_path: Path) -> None:
    # It stayed connected, and was answered.
    collector = Collector(Store(tmp_path / "received"), ("127.0.0.1", 0), say=print, on_trace=print)
    listening = collector._socket

    class Closing:
        """Closed by another thread between accept(2) and whatever is done with the connection."""

        def accept(self) -> tuple[socket.socket, object]:
            accepted = listening.accept()
            collector._socket = listening
            collector.close()
            return accepted

    with socket.create_connection(collector.address) as connection:
        connection.settimeout(60)
        connection.sendall(wire.hello(bytes(16), "target"))
        collector._socket = Closing()  # type: ignore[assignment]
        collector.serve()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(1) == b""


def test_a_collector_out_of_file_descriptors_takes_senders_again_when_it_has_some(
    receiving: _Receiving, trace: Path
) -> None:
    """It took nobody any more, and said nothing."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    clients = [socket.socket() for _ in range(8)]
    os.close(free := os.dup(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limit[1]))
    try:
        for client in clients:
            client.connect(receiving.address)
        _until(lambda: any("has to wait: Too many open files" in text for text in receiving.said))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        for client in clients:
            client.close()
    assert _send(trace, RemoteSink(receiving.address, "target", print)) == []


def test_a_trace_is_told_once_though_its_sender_ends_it_twice(receiving: _Receiving, tmp_path: Path) -> None:
    """The connection broke before DONE was heard: `collect --count 2` ended after one trace."""
    for _ in range(2):
        with socket.create_connection(receiving.address) as connection:
            connection.settimeout(60)
            connection.sendall(wire.hello(ID, "target") + wire.frame(wire.END))
            while connection.recv(4096):
                pass
    _until(lambda: sum("complete" in text for text in receiving.said) == 2)
    # Another of that name is another trace.
    shutil.rmtree(receiving.path / "target")
    with socket.create_connection(receiving.address) as connection:
        connection.sendall(wire.hello(bytes(16), "target") + wire.frame(wire.END))
        _until(lambda: len(receiving.complete) == 2)
    assert receiving.complete == [receiving.path / "target"] * 2


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_memory_is_bounded_while_the_collector_is_away(receiving: _Receiving, packet: Callable[..., bytes]) -> None:
    sink = RemoteSink(receiving.address, "target", print, limit=100_000, patience=0.5)
    receiving.stop()
    chunk = memoryview(packet(8 * 1000))
    blocked = threading.Event()
    failed: list[str] = []

    def write() -> None:
        try:
            for _ in range(100):
                sink.append("events_0", chunk)
        except CaptureError as error:
            failed.append(str(error))
        blocked.set()

    threading.Thread(target=write, daemon=True).start()
    assert not blocked.wait(0.5)
    assert sink._kept <= 100_000
    with pytest.raises(CaptureError, match=r"given up after 0 s; [\d,]+ bytes were not delivered"):
        sink.close(b"{}\n")
    assert blocked.wait(60)
    assert "given up" in failed[0]


def test_nobody_listening_is_told_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()[:2]
    with pytest.raises(CaptureError, match="does ltt-relay collect run there"):
        RemoteSink(address, "target", print)


def test_a_trace_of_that_name_is_not_overwritten(receiving: _Receiving, trace: Path) -> None:
    _send(trace, RemoteSink(receiving.address, "target", print))
    # Before anything is begun: a command was run to its end, and not recorded.
    with pytest.raises(CaptureError, match="there is a trace target already"):
        RemoteSink(receiving.address, "target", print)
    _equal(receiving.path / "target", trace)


@contextlib.contextmanager
def _collector_that_says(*answers: bytes) -> Iterator[tuple[str, int]]:
    """Listens, says that to each sender, and hears what it is told."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client = server.accept()[0]
                    client.sendall(b"".join(answers))
                    while answers and client.recv(65536):
                        pass
                    client.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def test_an_end_that_nobody_asked_for_is_no_delivery(packet: Callable[..., bytes]) -> None:
    """What came later was kept for ever, and its end a success."""

    def send(address: tuple[str, int]) -> None:
        sink = RemoteSink(address, "target", print)
        sink.append("events_0", memoryview(packet(80)))
        sink.close(b"{}\n")

    with (
        _collector_that_says(wire.frame(wire.WELCOME), wire.frame(wire.DONE)) as address,
        pytest.raises(CaptureError, match="frame of kind 67 from the collector"),
    ):
        send(address)


def test_what_a_collector_says_does_not_reach_the_terminal_as_it_is() -> None:
    text = "\x1b]0;x\x07" + "y" * 5000
    with (
        _collector_that_says(wire.frame(wire.REFUSED, text.encode())) as address,
        pytest.raises(CaptureError) as refused,
    ):
        RemoteSink(address, "target", print)
    assert r"\x1b]0;x\x07yyy" in str(refused.value)
    assert len(str(refused.value)) < 2000


def test_a_port_behind_which_there_is_no_collector_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `ssh -R` has it: it was recorded, and given up at the end."""
    monkeypatch.setattr("ltt_relay.capture.sender._CONNECT_TIMEOUT", 0.5)
    with (
        _collector_that_says() as address,
        pytest.raises(CaptureError, match=r"no answer: does ltt-relay collect run there"),
    ):
        RemoteSink(address, "target", lambda text: None)


def test_a_slow_connection_is_no_broken_one() -> None:
    """Below 35 KB/s, a piece took longer than the silence allowed: it was begun again and again, and never there."""
    stream = sender._Stream()
    stream.chunks.append(bytes(1 << 20))
    piece = stream.next_piece()
    assert piece
    assert len(piece) < 5000 * sender._SILENCE


def test_a_file_that_shrank_at_the_collector_is_told(receiving: _Receiving, packet: Callable[..., bytes]) -> None:
    sink = RemoteSink(receiving.address, "target", print)
    sink.append("events_0", memoryview(packet(80)))
    _until(lambda: sink._kept == 0)
    receiving.stop()
    (receiving.path / "target/events_0").unlink()
    receiving.start()
    with pytest.raises(CaptureError, match="was its file changed"):
        sink.close(b"{}\n")


# ------------------------------------------------------------------------------------------------- senders that lie


def _talk(store: Store, *frames: bytes) -> list[bytes]:
    reception = Reception(store)
    try:
        return [answer for data in frames for answer in reception.feed(data)]
    finally:
        reception.close()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc", "..", ".", "", ".hidden", "a/b", "a\0b", "x" * 200, "a\nb", "é", "-rf"]
)
def test_directories_that_leave_the_collectors_are_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "received")
    with pytest.raises(UserError, match="no name for a trace"):
        _talk(store, wire.hello(ID, name))
    assert [path.name for path in tmp_path.iterdir()] == ["received"]
    assert list((tmp_path / "received").iterdir()) == []


@pytest.mark.parametrize("name", ["../events_0", "/tmp/events_0", "events", ".transfer", "metadata", "events_0/x", ""])
def test_file_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "received")
    data = wire.frame(wire.DATA, wire.sized(0, name), b"x")
    put = wire.frame(wire.PUT, wire.named(name if name != "metadata" else TRANSFER), b"x")
    for frame in (data, put):
        with pytest.raises(wire.WireError, match=r"were expected|was expected"):
            _talk(store, wire.hello(ID, "target"), frame)
    assert [path.name for path in (tmp_path / "received/target").iterdir()] == [TRANSFER]
    assert [path.name for path in tmp_path.iterdir()] == ["received"]


def test_a_name_is_not_taken_by_a_sender_for_whom_there_was_no_room(tmp_path: Path) -> None:
    """The disk was full: later, the same name was said to be another sender's trace."""
    store = Store(tmp_path)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            _talk(store, wire.hello(ID, "target"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert _talk(store, wire.hello(bytes(16), "target")) == [wire.frame(wire.WELCOME)]


def test_a_collector_that_may_have_no_more_threads_turns_senders_away_and_stays(
    receiving: _Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It took nobody any more."""

    def refuse(*words: object, **options: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("ltt_relay.capture.collector.threading.Thread.start", refuse)
    for _ in range(2):
        with socket.create_connection(receiving.address) as connection:
            connection.settimeout(60)
            assert connection.recv(1) == b""
    _until(lambda: sum("turned away: can't start" in text for text in receiving.said) == 2)


def test_links_are_not_followed(tmp_path: Path) -> None:
    store = Store(tmp_path / "received")
    (tmp_path / "outside").mkdir()
    (tmp_path / "received/link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        _talk(store, wire.hello(ID, "link"))
    (tmp_path / "received/target").mkdir()
    (tmp_path / "received/target" / TRANSFER).write_text(ID.hex() + "\n")
    (tmp_path / "received/target/events_0").symlink_to(tmp_path / "outside/file")
    with pytest.raises(OSError, match="symbolic links"):
        _talk(store, wire.hello(ID, "target"))
    assert list((tmp_path / "outside").iterdir()) == []


def test_offsets_beyond_the_end_are_refused_and_bytes_that_come_twice_skipped(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def data(offset: int, content: bytes) -> bytes:
        return wire.frame(wire.DATA, wire.sized(offset, "events_0"), content)

    answers = _talk(store, wire.hello(ID, "t"), data(0, b"abc"), data(1, b"bcd"), data(0, b"a"), data(4, b"e"))
    assert answers == [
        wire.frame(wire.WELCOME),
        *(wire.frame(wire.ACK, wire.sized(size, "events_0")) for size in (3, 4, 4, 5)),
    ]
    assert (tmp_path / "t/events_0").read_bytes() == b"abcde"
    with pytest.raises(wire.WireError, match="has 5 bytes, and what comes begins at 6"):
        _talk(store, wire.hello(ID, "t"), data(6, b"x"))


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], "a frame of 542,393,671 bytes, at most 512"),
        ([wire.frame(wire.DATA, wire.sized(0, "events_0"))], "HELLO was expected"),
        ([wire.frame(wire.HELLO, b"LTTRELAY\x02" + ID + b"t")], "version 2 of the protocol, the collector 1"),
        ([wire.frame(wire.HELLO, b"x" * 40)], "does not begin with LTTRELAY"),
        ([wire.hello(ID, "t"), wire.frame(99)], "kind 99"),
        ([wire.hello(ID, "t"), (17 << 20).to_bytes(4, "little") + b"\x02"], "at most 16,777,216"),
        ([wire.hello(ID, "t"), wire.frame(wire.DATA, b"abc")], "ends within a size"),
        ([wire.hello(ID, "t"), wire.frame(wire.DATA, bytes(8) + b"\x30abc")], "ends within a name"),
        ([wire.hello(ID, "t"), wire.frame(wire.PUT, b"\x02\xff\xff")], "not ASCII"),
    ],
)
def test_what_is_not_the_protocol_is_told(tmp_path: Path, frames: list[bytes], said: str) -> None:
    with pytest.raises(wire.WireError, match=said):
        _talk(Store(tmp_path), *frames)


_GOOD = [
    wire.frame(wire.DATA, wire.sized(0, "events_0"), b"abcdefgh"),
    wire.frame(wire.PUT, wire.named("metadata"), b"text"),
    wire.frame(wire.DATA, wire.sized(8, "events_0"), b"ijkl"),
    wire.frame(wire.END),
]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(st.sampled_from(_GOOD), st.binary(max_size=80)), max_size=6),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
    st.integers(1, 64),
)
def test_whatever_comes_ends_in_answers_or_a_refusal(
    tmp_path_factory: pytest.TempPathFactory, frames: list[bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    root = tmp_path_factory.mktemp("fuzz")
    store = Store(root / "received")
    stream = bytearray(wire.hello(ID, "target") + b"".join(frames))
    for at, value in changes:
        stream[at % len(stream)] = value
    reception = Reception(store)
    try:
        for at in range(0, len(stream), cut):
            for answer in reception.feed(bytes(stream[at : at + cut])):
                assert answer[4] in {wire.WELCOME, wire.ACK, wire.DONE}
    except UserError:
        pass
    finally:
        reception.close()
    assert [path.name for path in root.iterdir()] == ["received"]
    for path in (root / "received").rglob("*"):
        assert path.is_dir() or path.stat().st_size <= max(len(stream), 33)
    os.close(store._root)
    shutil.rmtree(root)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40))), st.integers(1, 50))
def test_frames_come_out_as_they_went_in(frames: list[tuple[int, bytes]], cut: int) -> None:
    stream = b"".join(wire.frame(kind, body) for kind, body in frames)
    parser = wire.FrameParser()
    found = [frame for at in range(0, len(stream), cut) for frame in parser.feed(stream[at : at + cut])]
    assert found == frames


def test_a_stranger_is_answered_and_hung_up_on(receiving: _Receiving) -> None:
    with socket.create_connection(receiving.address) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.settimeout(60)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer[4] == wire.REFUSED
    assert any("refused" in text for text in receiving.said)


# ----------------------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp://host", ("host", 4711)),
        ("host:1", ("host", 1)),
        ("tcp://127.0.0.1:65535", ("127.0.0.1", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert wire.parse_address(text) == address


@pytest.mark.parametrize("text", ["", "tcp://", "host:99999", "udp://host", "a:b", "host:1:2", "tcp://host/x"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UserError, match="an address such as"):
        wire.parse_address(text)


def test_collect_prints_the_path_of_each_trace_and_ends_after_as_many_as_asked(tmp_path: Path, trace: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "ltt_relay.cli", "collect", "-o", str(tmp_path / "in"), "--count", "1"]
    with subprocess.Popen(
        [*command, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stderr
        assert process.stdout
        port = int(process.stderr.readline().rpartition("port ")[2])
        _send(trace, RemoteSink(("localhost", port), "target", print))
        assert process.stdout.read() == f"{tmp_path}/in/target\n"
        assert process.wait(60) == 0
    _equal(tmp_path / "in/target", trace)


@contextlib.contextmanager
def _collecting(path: bytes, stdout: int = subprocess.PIPE) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    root = Path(__file__).resolve().parents[2]
    command: list[str | bytes] = [sys.executable, "-m", "ltt_relay.cli", "collect", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [*command, "-o", path],
        cwd=root,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        assert process.stderr
        try:
            yield process, int(process.stderr.readline().rpartition(b"port ")[2])
        finally:
            process.kill()


def test_collect_goes_on_when_its_terminal_is_gone_and_under_nohup(tmp_path: Path, trace: Path) -> None:
    """It ended at SIGHUP though that was ignored; nobody reading its words, it took no trace."""
    with _collecting(os.fsencode(tmp_path) + b"/in\xff") as (process, port):
        assert process.stderr
        assert process.stdout
        process.send_signal(signal.SIGHUP)
        process.stderr.close()
        assert _send(trace, RemoteSink(("127.0.0.1", port), "target", print)) == []
        # A path as it is, UTF-8 or not: it was an error.
        assert process.stdout.readline() == os.fsencode(tmp_path) + b"/in\xff/target\n"
        process.terminate()
        assert process.wait(60) == 0


def test_collect_ends_when_nobody_reads_the_paths(tmp_path: Path, trace: Path) -> None:
    """It went on, and said of a trace that was complete that its sender might come back."""
    reading, writing = os.pipe()
    os.close(reading)
    with _collecting(os.fsencode(tmp_path / "in"), stdout=writing) as (process, port):
        os.close(writing)
        assert _send(trace, RemoteSink(("127.0.0.1", port), "target", print)) == []
        assert process.wait(60) == 1


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_name_that_no_machine_can_have_is_told(tmp_path: Path, host: str) -> None:
    """It was a traceback."""
    result = CliRunner().invoke(main, ["collect", "-o", str(tmp_path), "--listen", host])
    assert result.exit_code == 1
    assert f"{host}: no name of a machine" in result.output
    with pytest.raises(CaptureError, match="no name of a machine"):
        RemoteSink((host, 1), "target", print)


def test_collect_says_why_it_cannot_listen(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = CliRunner().invoke(main, ["collect", "-o", str(tmp_path), "--listen", f"127.0.0.1:{port}"])
    assert result.exit_code == 1
    assert "Address already in use" in result.output
