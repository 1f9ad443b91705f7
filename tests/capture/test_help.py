# SPDX-License-Identifier: GPL-2.0-or-later
"""What users read: examples, manual pages, completion. All of it is derived from the commands, and is held to them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from ltt_relay.cli import COMMANDS, main
from ltt_relay.cli.man import pages, write

ROOT = Path(__file__).resolve().parents[2]


def _commands(
    command: click.Command = main, path: tuple[str, ...] = ("ltt-relay",), parent: click.Context | None = None
) -> Iterator[tuple[tuple[str, ...], click.Command, click.Context]]:
    ctx = click.Context(command, info_name=path[-1], parent=parent)
    yield path, command, ctx
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            child = command.get_command(ctx, name)
            assert child is not None
            yield from _commands(child, (*path, name), ctx)


ALL = list(_commands())


@pytest.mark.parametrize(("path", "command", "ctx"), ALL, ids=[" ".join(path) for path, _, _ in ALL])
def test_help_teaches_by_examples_that_the_command_accepts(
    path: tuple[str, ...], command: click.Command, ctx: click.Context
) -> None:
    text = command.get_help(ctx)
    assert "Examples:" in text
    lines = [line.strip() for line in text.partition("Examples:\n")[2].splitlines()]
    shown = [line for line in lines if re.match(r"(sudo |eval .*)?ltt-relay |.* ltt-relay ", line)]
    assert shown
    for line in shown:
        # What comes after two blanks, a pipe or a redirection is not the command's.
        text = re.split(r"  +| \| | > ?| >~| &$|;", line)[0].removeprefix("sudo ").removeprefix('eval "$(').rstrip(')"')
        words = shlex.split(text[text.index("ltt-relay") :])[1:]
        group: click.Command = main
        parent = click.Context(main, info_name="ltt-relay")
        while isinstance(group, click.Group):
            child = group.get_command(parent, words.pop(0))
            assert child is not None, line
            group, parent = child, click.Context(child, parent=parent)
        group.make_parser(click.Context(group, resilient_parsing=True)).parse_args(words)


def test_short_helps_are_those_of_the_commands() -> None:
    for name, text in COMMANDS.items():
        command = main.get_command(click.Context(main), name)
        assert command is not None
        assert command.short_help == text
        assert command.name == name


def test_there_is_a_manual_page_for_every_command() -> None:
    names = [name for name, _ in pages()]
    assert ".Nd convert traces to CSV and other formats" in dict(pages())["ltt-relay-convert.1"]
    assert names == ["-".join(path) + ".1" for path, _, _ in ALL]


def test_manual_pages_pass_mandocs_lint(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    written = write(tmp_path)
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "style", *written], capture_output=True, text=True, check=False
    )
    complaints = [
        line
        for line in done.stdout.splitlines()
        # Other pages of the set are not in the system's manual path, and example lines are as long as they are.
        if not re.search(r"referenced manual not found|input text line longer than|operating system explicitly", line)
    ]
    assert complaints == []


def test_a_manual_page_says_what_the_help_says(tmp_path: Path) -> None:
    if shutil.which("mandoc") is None:
        pytest.skip("mandoc is not installed")
    write(tmp_path)
    command = ["mandoc", "-T", "utf8", str(tmp_path / "ltt-relay-record.1")]
    rendered = re.sub(r".\x08", "", subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for word in ("SYNOPSIS", "--n-subbufs-max", "EXAMPLES", "ltt-relay record -- make -j2", "EXIT STATUS"):
        assert word in rendered


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A PATH with ltt-relay in it, as it is in this tree."""
    directory = tmp_path_factory.mktemp("bin")
    script = directory / "ltt-relay"
    script.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m ltt_relay.cli "$@"\n')
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_the_shells(shell: str, environment: dict[str, str], tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    run = ["ltt-relay", "completion", shell]
    script = subprocess.run(run, env=environment, capture_output=True, text=True, check=True).stdout
    (tmp_path / "script").write_text(script)
    subprocess.run([shell, "-n", tmp_path / "script"], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ltt-relay", "sn"], {"snapshot"}),
        (["ltt-relay", "record", "-e", "sched_sw"], {"sched_switch"}),
        (["ltt-relay", "list", "class:sys"], {"class:syscall"}),
        (["ltt-relay", "record", "--n-subbufs-"], {"--n-subbufs-max"}),
        (["ltt-relay", "module", "un"], {"unload"}),
        (["ltt-relay", "record", "-u", "nobod"], {"nobody"}),
        (["ltt-relay", "record", "--filter", "fol"], {"follow=1"}),
        (["ltt-relay", "record", "--", "unam"], {"uname"}),
    ],
)
def test_bash_completes(words: list[str], offered: set[str], environment: dict[str, str]) -> None:
    script = f"""
eval "$(ltt-relay completion bash)"
COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
_ltt_relay_completion ltt-relay
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == offered
