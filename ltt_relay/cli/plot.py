# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay plot``: a picture of a trace."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)


@click.command("plot", short_help=COMMANDS["plot"])
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("kind", type=click.Choice(["timeline", "latency"]))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option("--dpi", type=click.IntRange(30, 600), default=120, show_default=True)
def command(trace: Path, kind: str, output: Path, dpi: int) -> None:
    """Draw KIND of TRACE into FILE; its suffix says how: .png, .svg or .pdf.

    timeline: who ran on which CPU when, with the interrupts. latency: from being woken to running.
    """
    import ltt_relay
    from ltt_relay.plot import KINDS

    if output.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise click.BadParameter(f"{output.name}: .png, .svg or .pdf was expected", param_hint="--output")
    KINDS[kind](ltt_relay.open(trace)).savefig(output, dpi=dpi)
