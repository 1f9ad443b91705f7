# SPDX-License-Identifier: GPL-2.0-or-later
"""Everything at once in a guest: stress.py does it, and its book says whether it held.

LTT_RELAY_STRESS_SECONDS (40) and LTT_RELAY_STRESS_SEED (1) choose how long, and what is drawn.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.vm.guest import complaints, run_script

pytestmark = [pytest.mark.vm, pytest.mark.slow]

SECONDS = float(os.environ.get("LTT_RELAY_STRESS_SECONDS", "40"))
SEED = os.environ.get("LTT_RELAY_STRESS_SEED", "1")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory with the book."""
    out = tmp_path_factory.mktemp("stress")
    run_script("stress.sh", out, str(SECONDS), SEED, timeout=300 + 3 * SECONDS, cpus=3, accel="tcg-single")
    return out


def test_every_record_is_accounted_for(left: Path) -> None:
    assert (left / "violations").read_text() == ""


def test_all_of_it_happened(left: Path) -> None:
    done = {what: int(n) for n, _, what in (line.partition(" ") for line in (left / "done").read_text().splitlines())}
    for what in (
        "rounds", "reloads", "sessions settled", "checks", "records", "records lost", "records overwritten",
        "packets read", "readers killed", "second readers refused", "CPUs switched", "unloads refused",
        "control start", "control stop", "control snapshot!", "control reset", "control flush",
        "n_subbufs", "filter", "events", "marker", "trigger", "uuid",
    ):  # fmt: skip
        assert done.get(what, 0) > 0, what
    assert done["records"] > 10_000


def test_the_kernel_said_nothing_and_the_modules_went(left: Path) -> None:
    assert complaints((left / "dmesg").read_text()) == []
    assert (left / "unload").read_text() == "0\n"
