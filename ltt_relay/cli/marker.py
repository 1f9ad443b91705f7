# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay marker``: write a user event."""

from __future__ import annotations

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("marker", short_help=COMMANDS["marker"])
@click.argument("text")
@click.option("--session", "name", metavar="NAME", help="Only to that session. [default: all that run]")
def command(text: str, name: str | None) -> None:
    """Write TEXT as an event `marker` into the running sessions."""
    from ltt_relay.capture.session import CaptureError, Session, require_tracer, sessions

    require_tracer()
    targets = [Session(name)] if name else [session for session in sessions() if session.state == "running"]
    if not targets:
        raise CaptureError("no session is running: start one with ltt-relay record")
    for session in targets:
        session.write("marker", text)
