# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay status``: sessions and their counters."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from ltt_relay.cli import COMMANDS, completing, examples
from ltt_relay.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltt_relay.capture.session import Session

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay status                     all sessions, a line for each
    ltt-relay status black-box           one of them, a line for each CPU
    ltt-relay status --json | jq '.[] | {name, lost}'
    ltt-relay status --remove record-4711
    """
)
_COLUMNS = ("name", "state", "mode", "produced", "read", "pending", "buffers", "overwritten", "lost", "percent")
_CPU_COLUMNS = ("cpu", "produced", "read", "pending", "buffers", "overwritten", "lost", "percent")
#: What a narrow terminal does without, first what goes first: nothing is cut, and losses are always told.
_DISPENSABLE = ("mode", "read", "overwritten", "pending", "percent", "buffers", "produced", "state")


@click.command("status", short_help=COMMANDS["status"], epilog=_EXAMPLES)
@click.argument("session", required=False, shell_complete=completing.sessions)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of sessions with their counters and CPUs.")
@click.option(
    "--remove",
    metavar="NAME",
    shell_complete=completing.sessions,
    help="End that session; what was not read of it is gone.",
)
def command(session: str | None, as_json: bool, remove: str | None) -> None:
    """Show the tracer's sessions, or SESSION: records produced, read, pending and lost, and how full the buffers are.

    At any time produced = read + pending + overwritten + lost. How full the buffers are is an estimate. A
    narrow terminal gets fewer columns; --json has all.
    """
    from ltt_relay.capture.session import NoSessionError, Session, require_tracer, sessions

    require_tracer()
    if remove is not None:
        Session(remove).remove()
        return
    found = [_facts(Session(session))] if session else []
    for each in sessions() if session is None else ():
        with contextlib.suppress(NoSessionError):  # it has ended since
            found.append(_facts(each))
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif session:
        _table(_CPU_COLUMNS, found[0]["cpus"])
    elif found:
        _table(_COLUMNS, found)
    else:
        click.echo("no sessions", err=True)


def _facts(session: Session) -> dict[str, Any]:
    stats = session.stats()
    cpus = [
        {**row, "fill": None if fill is None else round(fill, 1)}
        for row, fill in zip(stats, session.fill_levels(stats), strict=True)
    ]
    return {
        "name": session.name,
        "state": session.state,
        "mode": session.read("mode"),
        "events": session.read("events").split(),
        "filter": session.read("filter"),
        "subbuf_size": int(session.read("subbuf_size")),
        "n_subbufs": int(session.read("n_subbufs")),
        **session.totals(),
        "fill": max((row["fill"] for row in cpus if row["fill"] is not None), default=None),
        "cpus": cpus,
    }


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    from ltt_relay.capture.live import terminal_size

    def cell(row: dict[str, Any], column: str) -> str:
        if column == "buffers":
            return "-" if row["fill"] is None else f"{row['fill']:.0f} %"
        if column == "percent":
            return f"{100 * row['lost'] / row['produced']:.2f} %" if row["lost"] else ""
        return printable(str(row[column]))

    lines = [tuple(columns), *(tuple(cell(row, column) for column in columns) for row in rows)]
    widths = {column: max(map(len, texts)) for column, *texts in zip(columns, *lines, strict=True)}
    if sys.stdout.isatty():
        room = terminal_size(sys.stdout).columns
        for column in _DISPENSABLE:
            if sum(widths.values()) + 2 * (len(widths) - 1) > room:
                widths.pop(column, None)
    for line in lines:
        cells = dict(zip(columns, line, strict=True))
        click.echo("  ".join(cells[column].ljust(width) for column, width in widths.items()).rstrip())
