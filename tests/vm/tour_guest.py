# SPDX-License-Identifier: GPL-2.0-or-later
"""A tour of the commands by a user who is not root, in the guest; $1 is one of the tours below.

Results go to the current directory: NAME.out, NAME.err, and status.json. Commands are forks of this process, as to
start Python takes an emulated machine a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

from ltt_relay.cli import main

STATUS: dict[str, int] = {}
LTT = Path("/sys/kernel/relay/ltt")


def _become(name: str, words: tuple[str, ...]) -> NoReturn:
    status = 70
    try:
        for number, suffix in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{name}.{suffix}", os.O_WRONLY | os.O_CREAT, 0o644), number)
        main([*words], prog_name="ltt-relay")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def begin(name: str, *words: str) -> int:
    """Start a command; returns its process."""
    pid = os.fork()
    if pid == 0:
        _become(name, words)
    return pid


def end(name: str, pid: int) -> None:
    """Wait for a command and note its status."""
    STATUS[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(name: str, *words: str) -> None:
    """Run a command."""
    end(name, begin(name, *words))


def shut_out() -> None:
    """Nobody but root may."""
    run("out-record", "record", "-o", "never", "--", "true")
    run("out-list", "list")
    run("out-status", "status")
    run("out-marker", "marker", "text")
    run("out-snapshot", "snapshot", "nobody")
    run("out-load", "module", "load")
    run("out-unload", "module", "unload")


def let_in() -> None:
    """The group may."""
    run("in-module", "module", "status", "--json")
    run("in-record", "record", "-o", "recorded", "--", "ls", "/")
    run("in-user", "record", "-o", "never", "--user", "root", "--", "true")
    run("in-place", "record", "-o", "/usr/never", "--", "true")
    run("in-none", "snapshot", "nobody")
    recorder = begin("in-flight", "record", "--mode", "flight", "--session", "mine", "-o", "flight", "--n-subbufs", "4")
    while not (LTT / "mine/control").exists() or "running" not in (LTT / "mine/control").read_text():
        time.sleep(0.1)
    run("in-status", "status", "mine")
    run("in-marker", "marker", "a word of the group")
    run("in-snapshot", "snapshot", "mine", "-o", "snapshot")
    run("in-unload", "module", "unload")
    os.kill(recorder, signal.SIGINT)
    end("in-flight", recorder)
    (LTT / "left").mkdir()
    run("in-remove", "status", "--remove", "left")


def writes_markers() -> None:
    """Everybody may write markers, and nothing else."""
    run("open-marker", "marker", "--session", "open", "a word of the public")
    run("open-all", "marker", "a word to all")
    run("open-none", "marker", "--session", "nobody", "a word")
    run("open-status", "status")
    run("open-record", "record", "-o", "never", "--", "true")


globals()[sys.argv[1]]()
Path(f"{sys.argv[1]}.json").write_text(json.dumps(STATUS))
