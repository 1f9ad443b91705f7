# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

import ltt_relay
from ltt_relay.testing import write_trace


def _tar() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("events_0"))
    return made.getvalue()


def _zip() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("events_0", "")
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"x"), "gzip: unpack it"),
        (lzma.compress(b"x"), "xz: unpack it"),
        (bz2.compress(b"x"), "bzip2: unpack it"),
        (_tar(), "tar archive: unpack it"),
        (_zip(), "zip archive: unpack it"),
        (b"PERFILE2" + bytes(96), "perf script reads"),
        (b"\x17\x08Dtracing6\0", "trace-cmd report reads"),
        (b"/* CTF 1.8 */\n", "name its directory"),
        (b"", "it is empty"),
        (b"something else", "name one with format="),
    ],
)
def test_the_error_tells_what_a_file_is(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ltt_relay.TraceError, match=what):
        ltt_relay.open(path)


def test_the_error_tells_of_traces_below(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        write_trace(tmp_path / name, 100, cpus=1)
    with pytest.raises(ltt_relay.TraceError, match="below it, a, b, c and 1 more may be traces"):
        ltt_relay.open(tmp_path)


@pytest.mark.parametrize("metadata", [b"/* CTF 1.8 */\ntrace {", b"\x57\x1d\xd1\x75" + bytes(33)])
def test_the_error_tells_that_a_trace_is_anothers(tmp_path: Path, metadata: bytes) -> None:
    (tmp_path / "metadata").write_bytes(metadata)
    (tmp_path / "channel0_0").write_bytes(b"\xc1\x1f\xfc\xc1" + bytes(4092))
    with pytest.raises(ltt_relay.TraceError, match="CTF of another tracer, which babeltrace2 reads"):
        ltt_relay.open(tmp_path)


def test_metadata_of_its_own_are_not_said_to_be_anothers(tmp_path: Path) -> None:
    write_trace(tmp_path / "t", 100, cpus=1)
    for stream in (tmp_path / "t").glob("*_0"):
        stream.unlink()
    with pytest.raises(ltt_relay.TraceError, match=r"no stream files in it.*its metadata is that of LTT 3\.0"):
        ltt_relay.open(tmp_path / "t")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ltt_relay.TraceError, match="a pipe or a device"):
        ltt_relay.open(tmp_path / "pipe")
