# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay list``: the events that can be recorded."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import click

from ltt_relay.cli import COMMANDS, completing, examples

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay list                                 all events of this kernel's tracer
    ltt-relay list 'sched:*' class:syscall         some of them, chosen as by record -e
    ltt-relay list --groups                        the groups, with the number of events in each
    ltt-relay list --json | jq -r '.[] | select(.available) | .name'
    """
)


@click.command("list", short_help=COMMANDS["list"], epilog=_EXAMPLES)
@click.argument("globs", nargs=-1, metavar="[GLOB]...", shell_complete=completing.events)
@click.option("--groups", is_flag=True, help="The groups, and how many events of each are available.")
@click.option("--classes", is_flag=True, help="LTT's classes, likewise.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: group, name, ltt_class, available.")
def command(globs: tuple[str, ...], groups: bool, classes: bool, as_json: bool) -> None:
    """List the events that this kernel's tracer can record, with their LTT classes.

    An event whose tracepoint this kernel lacks is listed as missing.
    """
    from ltt_relay.capture.session import EventName, available_events, choose

    if groups and classes:
        raise click.UsageError("--groups and --classes exclude each other")
    events: list[EventName] = choose(globs, available_events()) if globs else available_events()
    if as_json:
        click.echo(json.dumps([asdict(event) for event in events], indent=2))
        return
    if groups or classes:
        names = [event.ltt_class if classes else event.group for event in events]
        there = Counter(name for name, event in zip(names, events, strict=True) if event.available)
        for name, n in sorted(Counter(names).items()):
            click.echo(f"{name:<16} {there[name]:>4} of {n}")
        return
    for event in events:
        line = f"{event.group}:{event.name}".ljust(40) + event.ltt_class.ljust(14)
        click.echo((line + ("" if event.available else "missing")).rstrip())
