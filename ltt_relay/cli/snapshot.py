# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay snapshot``: save what a flight recorder holds."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("snapshot", short_help=COMMANDS["snapshot"])
@click.argument("session")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("snapshot"), show_default=True, metavar="DIR"
)
@click.option("--force", is_flag=True, help="Throw away an earlier snapshot that was not read.")
def command(session: str, output: Path, force: bool) -> None:
    """Save what the flight recorder SESSION holds into DIR; it goes on recording."""
    from ltt_relay.capture.recorder import Recorder, prepare_directory
    from ltt_relay.capture.session import Session, require_tracer

    require_tracer()
    prepare_directory(output)
    source = Session(session)
    source.control("snapshot!" if force else "snapshot")
    recorder = Recorder(source, output)
    recorder.start()
    failures = recorder.finish()
    click.echo(f"{output}: {recorder.bytes / 1e6:,.1f} MB", err=True)
    for failure in failures:
        click.echo(f"ltt-relay snapshot: {failure}", err=True)
    if failures:
        raise SystemExit(1)
