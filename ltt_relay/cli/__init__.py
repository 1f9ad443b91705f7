# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``ltt-relay`` command: one module a sub-command, imported when it is called.

``ltt-relay --help`` must stay light (no pandas, no NumPy): the short help of every sub-command stands in
`COMMANDS`, so listing them imports none; a test compares it with the commands' own.
"""

from __future__ import annotations

from importlib import import_module

import click

from ltt_relay import __version__

__all__ = ("COMMANDS", "main")

# name -> short help; the command is `command` in ltt_relay.cli.<name>
COMMANDS: dict[str, str] = {
    "sandbox": "Run a command in a throwaway guest with the modules loaded.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of `COMMANDS`: the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"ltt_relay.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ltt-relay")
def main() -> None:
    """Record, decode and analyse Linux Trace Toolkit traces."""
