# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay marker``: write a user event."""

from __future__ import annotations

import os

import click

from ltt_relay.cli import COMMANDS, completing, examples

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay marker 'second phase begins'
    ltt-relay marker --session black-box 'it happened here'
    """
)


@click.command("marker", short_help=COMMANDS["marker"], epilog=_EXAMPLES)
@click.argument("text")
@click.option(
    "--session",
    "name",
    metavar="NAME",
    shell_complete=completing.sessions,
    help="Only to that session. [default: all that run]",
)
def command(text: str, name: str | None) -> None:
    """Write TEXT as an event `marker` into the running sessions."""
    from ltt_relay.capture.session import CaptureError, NoSessionError, Session, require_tracer, sessions

    directory = require_tracer()
    if name is None and not os.access(directory, os.R_OK):
        raise CaptureError(f"{directory} cannot be listed by this user: name the session, with --session")
    running = records = False
    for session in [Session(name)] if name else sessions():
        try:
            if not name and session.state != "running":
                continue
            running = True
            if session.records_markers():
                session.write("marker", text)
                records = True
        except NoSessionError:
            if name:
                raise
            # It has ended since it was listed; the others have not.
    if not running:
        raise CaptureError("no session is running: start one with ltt-relay record")
    if not records:
        which = f"session {name} records no markers" if name else "none of the running sessions records markers"
        raise CaptureError(f"{which}: ltt-relay record -e marker does, and so does record without -e")
