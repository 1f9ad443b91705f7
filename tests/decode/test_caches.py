# SPDX-License-Identifier: GPL-2.0-or-later
"""Caches hold what can be made again: whatever is the matter with them, a trace is read."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ltt_relay.decode import caches, compiled, kept

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and owners are those of Unix")

_CODE = """
from ltt_relay.decode.compiled import compiled

@compiled
def add(one: int, other: int) -> int:
    return one + other
"""
_USE = "import code_to_keep; print(code_to_keep.add(2, 3))"
_ON_A_FULL_DISK = (
    "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))\n" + _USE
)


def test_compiled_code_that_is_cut_short_or_cannot_be_kept_is_compiled_again(tmp_path: Path) -> None:
    """After a crash of the machine every start ended with an EOFError, and on a full disk with an OSError."""
    cache = tmp_path / "cache"
    (tmp_path / "code_to_keep.py").write_text(_CODE)
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])

    def use(code: str) -> list[Path]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
        return [file for kind in ("*.nbi", "*.nbc") for file in cache.rglob(kind) if file.stat().st_size > 512]

    assert use(_ON_A_FULL_DISK) == []
    whole = use(_USE)
    assert len(whole) == 2
    for kind in ("*.nbi", "*.nbc"):
        for size in (0, 40):
            (file,) = cache.rglob(kind)
            file.write_bytes(file.read_bytes()[:size])
            assert use(_USE) == whole


def test_one_without_a_home_has_a_temporary_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container or a service: `import` ended with a RuntimeError."""

    def nobody(user: int) -> Any:
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = tmp_path / f"ltt-relay-{os.getuid()}"
    assert caches.user_cache() == own
    assert kept._place(tmp_path).parent == own / "counts"
    found = compiled._cache_directory()
    assert found is not None
    assert found.parent == own / "numba"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_compiled_code_that_another_user_left_among_temporary_files_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of root nobody asked whose it was."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/no such place")
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert compiled._cache_directory() is not None
    os.chown(tmp_path / "ltt-relay-0", 12345, -1)
    assert compiled._cache_directory() is None
