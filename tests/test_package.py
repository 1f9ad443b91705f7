# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("pandas", "pyarrow", "numpy", "numba", "construct", "matplotlib", "rich", "dask")


@pytest.mark.parametrize(
    "code", ["import ltt_relay", "from ltt_relay.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_nothing_heavy_is_imported_before_it_is_used(code: str) -> None:
    check = f"{code}\nimport sys; print('\\n'.join(set(sys.modules) & {set(HEAVY)!r}), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


def test_formats_are_one_directory_in_the_checkout_and_in_the_package() -> None:
    root = Path(__file__).resolve().parents[1]
    link = root / "ltt_relay" / "formats"
    assert link.is_symlink()
    assert link.resolve() == root / "formats"


def test_output_that_cannot_be_written_is_one_line() -> None:
    """It was a traceback."""
    command = [sys.executable, "-m", "ltt_relay", "completion", "bash"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "ltt-relay: output: No space left on device\n")
