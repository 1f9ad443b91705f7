# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``ltt-relay`` command: one module a sub-command, imported when it is called.

``ltt-relay --help`` must stay light (no pandas, no NumPy): the short help of every sub-command stands in
`COMMANDS`, so listing them imports none; a test compares it with the commands' own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from textwrap import dedent, indent
from typing import Any

import click

from ltt_relay import __version__
from ltt_relay.errors import UserError
from ltt_relay.printable import printable

__all__ = (
    *("COMMANDS", "examples", "exit_status", "fail_on_option", "format_option", "main"),
    "parse_address_option",
)

# name -> short help; the command is `command` in ltt_relay.cli.<name>
COMMANDS: dict[str, str] = {
    "record": "Capture what the kernel does.",
    "list": "List the events that can be recorded.",
    "status": "Show sessions and their counters.",
    "snapshot": "Save what a flight recorder holds.",
    "marker": "Write a user event.",
    "collect": "Receive traces from other machines.",
    "module": "Build, load and unload the kernel modules.",
    "info": "Show what a trace is.",
    "dump": "Print records as construct sees them.",
    "convert": "Convert traces to CSV and other formats.",
    "report": "Tell what happened, in words and tables.",
    "plot": "Draw a picture.",
    "sandbox": "Run a command in a throwaway guest with the modules loaded.",
    "completion": "Print the completion script for a shell.",
}


def examples(text: str) -> str:
    """Return lines of examples as a command's epilog; a line is a command, and after two blanks what it does."""
    return "\b\nExamples:\n" + indent(dedent(text).strip(), "  ")


def _drop_output() -> None:
    """Let whatever Python would flush at exit go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class LazyGroup(click.Group):
    """A group whose commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`: the order in which one meets them."""
        # Not list(…): once the command `list` has been imported, that is its module here.
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ltt_relay.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; near names are listed if there is none."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=2)
            hint = f"; near: {', '.join(near)}" if near else ""
            raise click.UsageError(f"no command {args[0]!r}{hint}", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run; what the user can mend, a full disk for one, is one line on stderr, and a closed pipe is silence."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            for line in f"ltt-relay: {error}".split("\n"):
                click.echo(printable(line), err=True)  # names of files are anybody's
            ctx.exit(1)
        except BrokenPipeError:
            _drop_output()
            ctx.exit(1)
        except OSError as error:
            _drop_output()
            click.echo(f"ltt-relay: {error.filename or 'output'}: {error.strerror or error}", err=True)
            ctx.exit(1)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        """
        ltt-relay sandbox -- ltt-relay record -a -- ls     try it, in a guest
        ltt-relay record -o trace -- make                  record a command
        ltt-relay report trace                             what happened
        ltt-relay convert trace -o csv                     a CSV file for each kind of event
        """
    ),
)
@click.version_option(__version__, prog_name="ltt-relay")
def main() -> None:
    """Record, decode and analyse Linux Trace Toolkit traces."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # Closed: the next file to be opened would take its number, and what is said by others would go into that.
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _parse_fail_on(ctx: click.Context, option: click.Parameter, value: str) -> frozenset[str]:
    words = frozenset(filter(None, value.split(",")))
    if words - {"lost", "problems"}:
        raise click.BadParameter("lost, problems or both, with a comma between, were expected")
    return words


def parse_address_option(ctx: click.Context, option: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Make host and port of an option's value."""
    from ltt_relay.capture.wire import parse_address

    try:
        return None if value is None else parse_address(value)
    except UserError as error:
        raise click.BadParameter(str(error)) from None


def fail_on_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --fail-on."""
    return click.option(
        "--fail-on",
        default="",
        metavar="lost,problems",
        callback=_parse_fail_on,
        help="Exit with 1 if records were lost, or if there are problems.",
    )(function)


def format_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --format: how to read the trace, if its bytes do not tell."""
    return click.option(
        "--format",
        "format_name",
        metavar="NAME|FILE.py",
        help="Format of the trace, or a Python file that defines one and is run. [default: what its bytes tell]",
    )(function)


def exit_status(fail_on: frozenset[str], lost: int, problems: int) -> int:
    """Return 1 if something happened that --fail-on names, else 0."""
    return int(("lost" in fail_on and lost > 0) or ("problems" in fail_on and problems > 0))
