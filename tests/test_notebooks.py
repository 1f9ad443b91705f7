# SPDX-License-Identifier: GPL-2.0-or-later
"""Every notebook runs from the checkout, is committed without outputs, and has a small capture of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltt_relay.testing.captures import CAPTURES

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_notebook_has_no_outputs(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert all(not cell.get("outputs") and not cell.get("execution_count") for cell in cells)


@pytest.mark.parametrize("name", CAPTURES)
def test_the_capture_is_small_and_told_of(name: str) -> None:
    files = list((NOTEBOOKS / "captures" / name).iterdir())
    assert sum(path.stat().st_size for path in files) < 250_000
    # What ran where it was recorded: programs of every Debian, and the guest's own /run.
    paths = {path for file in files for path in re.findall(rb"(?<![\w/.])/[a-z]+/", file.read_bytes())}
    assert paths <= {b"/usr/", b"/bin/", b"/run/", b"/sys/"}
    assert any(f"captures/{name}" in path.read_text() for path in PATHS)


@pytest.mark.slow
def test_the_notebooks_run() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--nbmake", "--nbmake-timeout=240", "-W", "default"]
    environment = os.environ | {"PYTHONPATH": str(NOTEBOOKS.parent)}
    done = subprocess.run(
        [*command, *map(str, PATHS)], cwd=NOTEBOOKS, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
