# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

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


def test_a_background_process_does_not_keep_the_guest_alive() -> None:
    assert Guest(modules=()).run(["sh", "-c", "sleep 1000 & exit 7"], timeout=60).returncode == 7


def test_a_panic_is_told_with_the_consoles_last_words() -> None:
    with pytest.raises(GuestPanicError, match="sysrq"):
        Guest(modules=()).run(["sh", "-c", "echo c >/proc/sysrq-trigger"], timeout=60)


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(GuestTimeoutError):
        Guest(modules=()).run(["sleep", "1000"], timeout=2)
