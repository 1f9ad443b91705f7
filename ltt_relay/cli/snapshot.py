# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay snapshot``: save what a flight recorder holds."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, completing, examples

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay record --mode flight --session black-box &
    ltt-relay snapshot black-box -o incident-1
    """
)


@click.command("snapshot", short_help=COMMANDS["snapshot"], epilog=_EXAMPLES)
@click.argument("session", shell_complete=completing.sessions)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path),
    default=Path("snapshot"),
    show_default=True,
    metavar="DIR",
    help="Empty or new directory for the trace.",
)
@click.option("--force", is_flag=True, help="Throw away an earlier snapshot that was not read.")
def command(session: str, output: Path, force: bool) -> None:
    """Save what the flight recorder SESSION holds into DIR; it goes on recording."""
    from ltt_relay.capture.note import Note
    from ltt_relay.capture.recorder import Recorder
    from ltt_relay.capture.session import CaptureError, Session, require_tracer
    from ltt_relay.capture.sink import DirectorySink

    require_tracer()
    source = Session(session)
    if source.read("mode") != "flight":
        raise CaptureError(
            f"session {session} is no flight recorder: a stream is saved while it runs, by ltt-relay record"
        )
    note = Note(session, {}, None)
    sink = DirectorySink(output, note.encode())
    try:
        source.control("snapshot!" if force else "snapshot")
    except BaseException:
        sink.discard()
        raise
    recorder = Recorder(source, sink)
    recorder.start()
    failures = recorder.finish()
    note.ended("snapshot", None, source.stats(), source.totals(), failures)
    sink.close(note.encode())
    click.echo(f"{output}: {sink.size / 1e6:,.1f} MB", err=True)
    for failure in failures:
        click.echo(f"ltt-relay snapshot: {failure}", err=True)
    if failures:
        raise SystemExit(1)
