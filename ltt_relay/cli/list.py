# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay list``: the events that can be recorded."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("list", short_help=COMMANDS["list"])
@click.option("--json", "as_json", is_flag=True, help="Print JSON: group, name, ltt_class, available.")
def command(as_json: bool) -> None:
    """List the events that this kernel's tracer can record, with their LTT classes."""
    from ltt_relay.capture.session import available_events

    events = available_events()
    if as_json:
        click.echo(json.dumps([asdict(event) for event in events], indent=2))
        return
    for event in events:
        note = "" if event.available else "  (not in this kernel)"
        click.echo(f"{event.group}:{event.name}".ljust(34) + event.ltt_class + note)
