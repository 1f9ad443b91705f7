# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay report``: what happened, in words and tables."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("report", short_help=COMMANDS["report"])
@click.argument("trace", type=click.Path(path_type=Path))
def command(trace: Path) -> None:
    """Tell what happened in TRACE: CPU time, wake-up latency, system calls, interrupts, page faults, losses."""
    import ltt_relay
    from ltt_relay.analysis.report import text

    click.echo(text(ltt_relay.open(trace)))
