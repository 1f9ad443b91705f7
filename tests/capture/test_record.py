# SPDX-License-Identifier: GPL-2.0-or-later
"""What needs no kernel half: commands to be recorded, words at the end, wrong usage."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ltt_relay.capture.command import Command
from ltt_relay.capture.live import LineDisplay, Rates, TableDisplay, make_display
from ltt_relay.capture.run import Outcome
from ltt_relay.capture.session import CaptureError, EventName, Session, select_words
from ltt_relay.cli import main
from ltt_relay.cli.record import summary
from ltt_relay.cli.status import command as status


def _wait(command: Command) -> int | None:
    os.waitid(os.P_PIDFD, command.descriptor, os.WEXITED | os.WNOWAIT)
    assert command.ended()
    return command.status


def test_a_command_waits_until_it_is_let_go(tmp_path: Path) -> None:
    command = Command(["sh", "-c", f"touch {tmp_path}/ran; exit 3"])
    assert not command.ended()
    assert not (tmp_path / "ran").exists()
    command.go()
    assert _wait(command) == 3
    assert (tmp_path / "ran").exists()


def test_a_command_that_was_never_let_go_does_nothing(tmp_path: Path) -> None:
    command = Command(["touch", f"{tmp_path}/ran"])
    command.end()
    assert command.status == 0
    assert not (tmp_path / "ran").exists()


def test_a_command_ended_by_a_signal_has_the_shells_status() -> None:
    command = Command(["sleep", "100"])
    command.go()
    command.end()
    assert command.status == 128 + 15


def test_a_command_meets_a_closed_pipe_as_from_a_shell() -> None:
    # Python ignores SIGPIPE, which a command would inherit: yes(1) would complain instead of ending.
    code = """
import sys
from ltt_relay.capture.command import Command
command = Command(["sh", "-c", "yes | head -n 1"])
command.go()
while not command.ended(): pass
"""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert (done.stdout, done.stderr) == ("y\n", "")


def test_commands_and_users_that_are_not_there_are_refused_before_anything_is_recorded() -> None:
    with pytest.raises(CaptureError, match="no such command"):
        Command(["no-such-command"])
    with pytest.raises(CaptureError, match="no such user"):
        Command(["true"], user="no-such-user")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_command_runs_as_another_user() -> None:
    command = Command(["sh", "-c", "test $(id -un) = nobody && test $USER = nobody"], user="nobody")
    command.go()
    assert _wait(command) == 0


# ---------------------------------------------------------------------------------------------------- what is said


def _outcome(**totals: int) -> Outcome:
    counters = {"produced": 1000, "read": 900, "overwritten": 0, "lost": 100, "full": 90, "too_big": 10}
    return Outcome(
        by="command", totals=counters | totals, seconds=2.0, n_subbufs=16, size=25_000_000, records=900
    )  # fmt: skip


def test_losses_come_with_a_percentage_and_what_to_change() -> None:
    first, *more = summary("trace", _outcome())
    assert first == "trace: 900 events, 25.0 MB in 2.0 s (500 events/s), lost 100 (10.00 %)"
    assert any("--n-subbufs 64" in line and line.startswith("90 ") for line in more)
    assert any("--subbuf-size" in line and line.startswith("10 ") for line in more)


def test_snapshots_are_told_and_counted() -> None:
    # Their events were, their bytes were not.
    outcome = _outcome(lost=0)
    outcome.snapshots = ["trace-1", "trace-2"]
    assert summary("trace", outcome)[0].startswith("trace and 2 snapshots: 900 events, 25.0 MB")


def test_a_session_that_was_taken_over_has_the_rate_since_then() -> None:
    """An hour's events in a second were told as so many a second."""
    outcome = _outcome(lost=0)
    outcome.before = 980
    assert "(10 events/s)" in summary("trace", outcome)[0]
    rows = Rates().look(_Counting())
    assert rows[-1]["rate"] == 0


def test_without_losses_nothing_is_to_be_changed() -> None:
    assert len(summary("trace", _outcome(lost=0, full=0, too_big=0, read=1000))) == 1


EVENTS = [
    EventName("sched", "sched_switch", "schedchange", True),
    EventName("sched", "sched_waking", "process", True),
    EventName("syscall", "sys_enter", "syscall", True),
    EventName("syscall", "sys_exit", "syscall", True),
]


def test_events_are_chosen_by_name_group_glob_and_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltt_relay.capture.session.available_events", lambda: EVENTS)
    assert select_words(("sched", "-sched_wak*", "class:syscall", "all", "-class:process", "kprobe:do_exit")) == [
        *(
            "+sched",
            "-sched_wak*",
            "+syscall:sys_enter",
            "+syscall:sys_exit",
            "+*",
            "-sched:sched_waking",
            "+kprobe:do_exit",
        )
    ]
    with pytest.raises(CaptureError, match="sched_swich; near: sched_switch"):
        select_words(("sched_swich",))
    with pytest.raises(CaptureError, match="no class foo; known are process, schedchange, syscall"):
        select_words(("class:foo",))
    assert select_words(("-sched", "kprobe:do_exit")) == ["-sched", "+kprobe:do_exit"]
    for none in (("-sched",), ("sched_waking", "-sched")):
        with pytest.raises(CaptureError, match="no event is left"):
            select_words(none)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/"])
def test_names_that_leave_the_tracers_directory_are_refused(name: str) -> None:
    """`status --remove ..` tried to remove the tracer."""
    with pytest.raises(CaptureError, match="a name without / was expected"):
        Session(name)


class _Counting(Session):
    def __init__(self) -> None:
        super().__init__("counting")
        self.rows = [
            {"cpu": 0, "produced": 100, "read": 50, "pending": 40, "overwritten": 0, "lost": 10, "bytes": 1000},
            {"cpu": 1, "produced": 0, "read": 0, "pending": 0, "overwritten": 0, "lost": 0, "bytes": 0},
        ]

    def stats(self) -> list[dict[str, int]]:
        return self.rows

    def read(self, file: str) -> str:
        sizes = {"subbuf_size": "4096", "n_subbufs": "2"}
        return {"mode": "stream", "control": "running", "events": "sched:sched_switch", "filter": "", **sizes}[file]


@pytest.mark.parametrize("kind", [LineDisplay, TableDisplay])
def test_counters_are_shown_with_rate_fill_level_and_losses(kind: Any) -> None:
    stream = io.StringIO()
    display = kind(stream)
    display.update(_Counting())
    display.close()
    text = stream.getvalue()
    # 40 pending records of 20 bytes in 8 KiB
    for part in ("100", "/s", "10 %", "10 (10.0 %)"):
        assert part in text


@pytest.mark.parametrize("kind", [LineDisplay, TableDisplay])
@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_a_narrow_terminal_gets_fewer_counters_and_none_is_cut(
    kind: Any, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # At 40 columns, "2,802" once was shown as "2,8…".
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = io.StringIO()
    display = kind(stream)
    display.update(_Counting())
    display.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "10 (10.0 %)" in text
    assert "…" not in text
    assert max(map(len, re.split(r"[\r\n]", text))) <= columns
    fill = "10 %" in text.replace("10.0 %", "")
    assert fill if columns == 80 else not fill if columns == 20 else True


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("session", [None, "counting"])
@pytest.mark.parametrize(("columns", "there"), [(15, 2), (20, 2), (30, 3), (40, 4), (60, 6), (100, 8)])
def test_status_has_fewer_columns_on_a_narrow_terminal_and_all_in_a_pipe(
    session: str | None, columns: int, there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 40 columns its lines were broken in two."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("ltt_relay.capture.session.require_tracer", lambda: None)
    monkeypatch.setattr("ltt_relay.capture.session.sessions", lambda: [_Counting()])
    monkeypatch.setattr("ltt_relay.capture.session.Session", lambda name: _Counting())
    shown = {}
    for kind in (_Terminal, io.StringIO):
        monkeypatch.setattr(sys, "stdout", stream := kind())
        assert status.callback is not None
        status.callback(session, False, None)
        shown[kind] = [re.split(r"  +", line) for line in stream.getvalue().splitlines()]
        if kind is _Terminal:
            assert max(map(len, stream.getvalue().splitlines())) <= columns
    head = shown[_Terminal][0]
    assert there <= len(head)
    assert {"cpu" if session else "name", "lost"} <= set(head)
    assert len(shown[io.StringIO][0]) == (8 if session else 10)


def test_without_rich_there_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert isinstance(make_display(io.StringIO()), LineDisplay)


@pytest.mark.parametrize(
    "words",
    [
        ["record", "-d", "1"],
        ["status"],
        ["list"],
        ["snapshot", "x"],
        ["marker", "x"],
        ["collect", "--listen", "256.256.256.256"],
    ],
)
def test_what_runs_on_targets_imports_nothing_heavy(words: list[str]) -> None:
    code = f"""
import sys
from ltt_relay.cli import main
from ltt_relay.errors import UserError
try:
    main({words!r}, standalone_mode=False)
except (UserError, SystemExit):
    pass
import ltt_relay.capture.run, ltt_relay.capture.sender, ltt_relay.capture.collector, ltt_relay.capture.command
heavy = {{"pandas", "pyarrow", "numpy", "numba", "construct", "matplotlib", "rich", "dask"}}
print(*sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split() == []


# ----------------------------------------------------------------------------------------------------- wrong usage


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save", "failure"], "--save is for --mode flight"),
        (["--mode", "flight", "--save", "failure"], "needs a command to fail"),
        (["--user", "nobody"], "needs a command"),
        (["-a", "-p", "1"], "excludes --pid"),
        (["--attach", "x", "-e", "syscall", "--session", "y"], "excludes --session, --event\n"),
        (["--trigger", "sys_exit ret < 0"], "stop or snapshot"),
        (["--trigger", "sys_exit ret < 0 snapshot"], "is for --mode flight"),
        (["--mode", "flight", "--klog"], "are for --mode stream"),
        (["--to", "udp://host"], "an address such as"),
        (["-d", "0"], "0 found, a number of seconds above 0 expected"),
        (["-d", "soon"], "soon found, a number"),
        (["--mode", "fast"], "stream"),
        (["--bogus"], "No such option"),
    ],
)
def test_wrong_usage_is_told_with_status_2(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["record", *words])
    assert result.exit_code == 2
    assert said in result.output
