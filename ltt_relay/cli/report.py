# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay report``: what happened, in words, tables and pictures."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, format_option

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay report trace
    """
)


@click.command("report", short_help=COMMANDS["report"], epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path))
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page with pictures to FILE.",
)
@click.option("--since", metavar="TIME", help="From this time on: ISO 8601, +1.5s from the begin, -2s from the end.")
@click.option("--until", metavar="TIME", help="Before this time.")
@format_option
def command(trace: Path, format_name: str | None, html: Path | None, since: str | None, until: str | None) -> None:
    """Tell what happened in TRACE: scheduling, system calls, interrupts, faults, I/O, timers, locks, losses."""
    import ltt_relay
    from ltt_relay.analysis import Window
    from ltt_relay.analysis.report import text

    opened: ltt_relay.Trace | Window = ltt_relay.open(trace, format_name)
    if since or until:
        try:
            opened = Window(opened, since, until)  # type: ignore[arg-type]
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if html is None:
        click.echo(text(opened))
        return
    from ltt_relay.plot.page import page

    html.write_text(page(opened), encoding="utf-8")
