# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay plot``: a picture of a trace."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, format_option

__all__ = ("KINDS", "command")

#: What can be drawn, and what it shows; `ltt_relay.plot.KINDS` has the functions.
KINDS = {
    "timeline": "who ran on which CPU when, with the interrupts",
    "cpu": "CPU use over time by task name",
    "latency": "from being woken to running: distribution and percentiles",
    "latency-heatmap": "the same over time",
    "runqueue": "how many tasks waited for a CPU",
    "preemptions": "who gave way to whom",
    "migrations": "between which CPUs tasks moved",
    "offcpu": "where tasks waited, in which call, and what ended it",
    "wakeups": "who woke whom",
    "critical-path": "what decided how long the recorded command took",
    "syscalls": "how long the system calls took",
    "interrupts": "time in interrupts and soft interrupts",
    "faults": "page faults over time by task name",
    "io": "block I/O: latency and requests under way",
    "timers": "how late kernel timers expired",
    "locks": "waits for futexes and for locks of the kernel",
    "rates": "events over time, losses hatched",
}

_EXAMPLES = examples(
    """
    ltt-relay plot trace timeline -o timeline.png
    ltt-relay plot trace latency -o latency.svg
    """
)


class _Command(click.Command):
    """A command whose help lists the kinds."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Kinds"):
            formatter.write_dl(list(KINDS.items()))
        super().format_epilog(ctx, formatter)


@click.command("plot", short_help=COMMANDS["plot"], cls=_Command, epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path))
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
@click.option("--dpi", type=click.IntRange(30, 600), default=120, show_default=True)
@click.option("--since", metavar="TIME", help="From this time on: ISO 8601, +1.5s from the begin, -2s from the end.")
@click.option("--until", metavar="TIME", help="Before this time.")
@format_option
def command(
    trace: Path, format_name: str | None, kind: str, output: Path, dpi: int, since: str | None, until: str | None
) -> None:
    """Draw KIND of TRACE into FILE; its suffix says how: .png, .svg or .pdf."""
    import ltt_relay
    from ltt_relay import plot
    from ltt_relay.analysis import Window

    if output.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise click.BadParameter(f"{output.name}: .png, .svg or .pdf was expected", param_hint="--output")
    opened: ltt_relay.Trace | Window = ltt_relay.open(trace, format_name)
    if since or until:
        try:
            opened = Window(opened, since, until)  # type: ignore[arg-type]
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    plot.KINDS[kind](opened).savefig(output, dpi=dpi)
