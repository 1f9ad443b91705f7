# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest

from ltt_relay.errors import UserError
from ltt_relay.sandbox import debug
from ltt_relay.sandbox.cache import cache_dir
from ltt_relay.sandbox.errors import SandboxError, UnreachableError, stale_breakpoint, stuck_at_breakpoint
from ltt_relay.sandbox.kernels import Request, parse_request


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("6.1", Request((6, 1))),
        ("7", Request((7,))),
        ("newest", Request()),
        ("6.1-rt", Request((6, 1), "rt")),
        ("6.1-debug", Request((6, 1), "debug")),
        ("6.12.90+deb12.1-amd64", Request((6, 12), "", "6.12.90+deb12.1-amd64")),
    ],
)
def test_a_kernel_is_asked_for_by_version_series_or_flavour(text: str, request_: Request) -> None:
    assert parse_request(text) == request_


@pytest.mark.parametrize("text", ["", "six", "6.1-bug", "debug", "6.1-debug-rt"])
def test_what_is_no_kernel_is_told_what_is(text: str) -> None:
    with pytest.raises(SandboxError, match=r"6\.1-debug"):
        parse_request(text)


class _Index:
    """An index that cannot be asked, or has no source of kernels."""

    reachable = True

    def __init__(self, release: str) -> None:
        pass

    def names(self) -> list[str]:
        if not self.reachable:
            raise UnreachableError("no network")
        return ["linux-image-6.1.0-1-amd64"]


def test_a_debug_kernel_needs_its_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debug, "PackageIndex", _Index)
    with pytest.raises(SandboxError, match=r"no package linux-source-9\.9"):
        debug.debug_kernel((9, 9))


def test_without_a_network_one_that_was_built_serves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(debug, "PackageIndex", _Index)
    monkeypatch.setattr(_Index, "reachable", False)
    with pytest.raises(UnreachableError):
        debug.debug_kernel((6, 1))
    tree = tmp_path / f"ltt-relay/debug/6.1.7-2-{debug._config_id()}"
    tree.mkdir(parents=True)
    with pytest.raises(UnreachableError):
        debug.debug_kernel((6, 1))
    (tree / "done").touch()
    assert debug.debug_kernel((6, 1)) == tree


_TRAP = """[   19.937437] Oops: int3: 0000 [#2] SMP NOPTI
[   19.937603] CPU: 1 UID: 0 PID: 375 Comm: sh Tainted: G      D    OE       7.3.4
[   19.937652] RIP: 0010:exc_page_fault+0xc7/0x1a0
[   19.937675] Code: 1f 00 48 89 c5 41 5e c3 cc cc cc cc {} <05> e9 73 ff ff ff 65 8b 05
[   19.937681] RSP: 0000:ffffc9000280bf18 EFLAGS: 00000006
"""


def test_a_breakpoint_that_is_not_in_memory_is_the_emulators() -> None:
    assert stale_breakpoint(_TRAP.format("eb"))
    # One that is there is somebody's: the guest's own fault.
    assert not stale_breakpoint(_TRAP.format("cc"))
    assert not stale_breakpoint(_TRAP.format("eb").replace("int3", "general protection fault"))
    assert not stale_breakpoint("")


def test_a_cpu_that_waits_for_one_at_such_a_breakpoint_tells_as_well() -> None:
    # Which of two CPUs said where it is was chance, and the guest was run again for one of them only.
    assert stuck_at_breakpoint("RIP: 0010:asm_exc_int3+0x0/0x40")
    assert stuck_at_breakpoint(" text_poke_bp_batch+0x8c/0x1a0\n arch_jump_label_transform_apply+0x17/0x30")
    assert stuck_at_breakpoint(" smp_text_poke_batch_finish+0x12c/0x3c0")
    assert not stuck_at_breakpoint("RIP: 0010:native_queued_spin_lock_slowpath+0x6e/0x1c0\n ltt_stop+0x20/0x90 [ltt]")


def test_a_cpu_that_stands_at_a_switched_branch_tells_as_well() -> None:
    # It tried a nop of syscall_trace_enter for two minutes, and the stall was taken for the kernel's own.
    where = "[  158.5] RIP: 0010:syscall_trace_enter.constprop.0+0xe9/0x1a0\n[  158.5] Code: 85 c0 e9 64 ff ff ff "
    for switched in ("<66> 90 e9 3f", "<0f> 1f 44 00 00 48", "<eb> 2a 48", "<e9> 10 01 00 00 c3"):
        assert stuck_at_breakpoint(where + switched)
    # Back to where it waits goes a lock's loop, and user space has no such branches.
    for other in ("<eb> f6 48", "<f3> 90 eb f6", "<e9> f0 ff ff ff"):
        assert not stuck_at_breakpoint(where + other)
    assert not stuck_at_breakpoint("RIP: 0033:0x47b3ba\nCode: 0f 05 <66> 90")


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container whose user has no name; it was a traceback."""

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(UserError, match="no home directory for the cache: XDG_CACHE_HOME=DIR"):
        cache_dir()


def test_a_cache_that_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was a traceback."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/ltt-relay/kernels: Not a directory: .* XDG_CACHE_HOME=DIR"):
        cache_dir("kernels")
