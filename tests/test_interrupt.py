# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C, whenever it comes: the command ends, quietly, and nothing of it is left running."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ltt_relay.testing import write_trace

# As the script is that an installer makes.
SCRIPT = "import sys\nfrom ltt_relay.__main__ import main\nsys.exit(main(prog_name='ltt-relay'))"


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("interrupt") / "trace", 50_000, cpus=2)


def _interrupted(words: list[str], delay: float, environment: dict[str, str]) -> tuple[int, str]:
    """Status as a shell has it, and stderr, of a command that gets Ctrl-C after some seconds."""
    command = [sys.executable, "-c", SCRIPT, *words]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        time.sleep(delay)
        # It is still there, if only as what it has left to its parent.
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate()
    status = process.returncode
    return status if status >= 0 else 128 - status, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_what_ends_a_command_lets_it_tidy_up(number: signal.Signals, tmp_path: Path) -> None:
    """A sandbox that was ended by timeout(1) left its initial file system in /tmp."""
    code = f"""
import signal, sys, tempfile, time
from ltt_relay.cli.interrupt import tidied
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # who runs the tests may ignore one, as nohup does
with tidied(signal.SIGTERM, signal.SIGHUP), tempfile.TemporaryDirectory(dir={str(tmp_path)!r}):
    print(flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(number)
        try:
            assert process.wait(60) == 128 + number
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "last", "compiled"),
    [
        ("list", 0.1, True),
        ("info TRACE", 1.0, True),
        ("report TRACE", 1.0, True),
        ("convert TRACE -o OUT", 1.0, True),
        ("convert TRACE -o OUT -j 2", 2.0, True),
        ("convert TRACE -o OUT", 3.0, False),
    ],
)
def test_ctrl_c_is_quiet_whenever_it_comes(
    words: str, last: float, compiled: bool, trace: Path, tmp_path: Path
) -> None:
    """It was a traceback out of what was being imported, and `Aborted!` with status 1 later."""

    def run(delay: float) -> tuple[int, str]:
        own = tmp_path / f"{delay:.3f}"
        environment = dict(os.environ)
        if not compiled:
            environment |= {"XDG_CACHE_HOME": str(own), "NUMBA_CACHE_DIR": str(own)}
        places = {"TRACE": str(trace), "OUT": str(own / "out")}
        return _interrupted([places.get(word, word) for word in words.split()], delay, environment)

    with ThreadPoolExecutor(2) as pool:
        for status, said in pool.map(run, [0.02 + last * 0.5**i for i in range(6)]):
            assert not re.search(r'File ".*/ltt_relay/', said), said
            assert "Aborted" not in said
            if "Traceback" not in said:  # Python's own, before our first line
                assert status in {130, 1 if words == "list" else 0}, said
