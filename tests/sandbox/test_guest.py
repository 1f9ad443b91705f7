# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from ltt_relay.sandbox import Guest, GuestPanicError, GuestTimeoutError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.vm


def test_streams_and_exit_status_are_the_commands_own() -> None:
    done = Guest(modules=()).run(["sh", "-c", "wc -c; echo talk >&2; exit 3"], stdin=b"x" * 1_000_000)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"1000000\n", b"talk\n")
    assert done.kernel.startswith("6.1.")


def test_only_directories_named_by_rw_are_written_to(tmp_path: Path) -> None:
    kept, dropped = tmp_path / "kept", tmp_path / "dropped"
    kept.mkdir()
    dropped.mkdir()
    done = Guest(modules=(), rw=[kept]).run(
        ["sh", "-c", f"echo a >{kept}/file; echo b >{dropped}/file; cat {dropped}/file"]
    )
    assert (done.returncode, done.stdout) == (0, b"b\n")
    assert (kept / "file").read_text() == "a\n"
    assert list(dropped.iterdir()) == []


_WRITE = """
import os, sys, threading, time
written = threading.Event()
with open(sys.argv[1], "wb", buffering=0) as file:
    def look():
        while not written.is_set():
            os.stat(sys.argv[1])
            time.sleep(0.001)
    looker = threading.Thread(target=look)
    looker.start()
    for _ in range(1000):
        file.write(b"x" * 7777)
    written.set()
    looker.join()
"""


def test_a_file_may_be_looked_at_while_it_is_written(tmp_path: Path) -> None:
    """Parts of it were zeros afterwards, as the guest's cache of the file was cut to the size that it had had."""
    done = Guest(kernel="6.12", modules=(), rw=[tmp_path]).run([sys.executable, "-c", _WRITE, str(tmp_path / "file")])
    assert done.returncode == 0, done.stderr
    data = (tmp_path / "file").read_bytes()
    assert len(data) == data.count(b"x") == 7_777_000


def test_a_background_process_does_not_keep_the_guest_alive() -> None:
    assert Guest(modules=()).run(["sh", "-c", "sleep 1000 & exit 7"], timeout=60).returncode == 7


def test_a_panic_is_told_with_the_consoles_last_words() -> None:
    with pytest.raises(GuestPanicError, match="sysrq"):
        Guest(modules=()).run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout=60)


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(GuestTimeoutError):
        Guest(modules=()).run(["sleep", "1000"], timeout=2)
