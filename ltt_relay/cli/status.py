# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay status``: sessions and their counters."""

from __future__ import annotations

import json

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("status", short_help=COMMANDS["status"])
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of sessions with their counters.")
@click.option("--remove", metavar="NAME", help="End that session; what was not read of it is gone.")
def command(as_json: bool, remove: str | None) -> None:
    """Show the tracer's sessions: state, records produced, read, pending and lost."""
    from ltt_relay.capture.session import Session, sessions

    if remove is not None:
        Session(remove).remove()
        return
    found = [
        {"name": s.name, "state": s.state, "mode": s.read("mode"), "events": s.read("events").split(), **s.totals()}
        for s in sessions()
    ]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    if not found:
        click.echo("no sessions", err=True)
        return
    columns = ("name", "state", "mode", "produced", "read", "pending", "overwritten", "lost")
    rows = [columns, *[tuple(str(row[column]) for column in columns) for row in found]]
    widths = [max(len(row[i]) for row in rows) for i in range(len(columns))]
    for row in rows:
        click.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
