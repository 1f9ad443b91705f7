# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay plot``: a picture of a trace."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, format_option
from ltt_relay.cli.opening import open_part, part_options, writing

__all__ = ("KINDS", "command")

#: What can be drawn, and what it shows; `ltt_relay.plot.KINDS` has the functions.
KINDS = {
    "timeline": "who ran on which CPU when, with the interrupts",
    "tasks": "what each task did: ran, waited for a CPU, slept",
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
    ltt-relay plot trace latency -o latency.svg --since +2s --until +5s
    ltt-relay plot trace critical-path --tid 4711 -o path.png
    """
)


class _Command(click.Command):
    """A command whose help lists the kinds."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Kinds"):
            formatter.write_dl(list(KINDS.items()))
        super().format_epilog(ctx, formatter)


@click.command("plot", short_help=COMMANDS["plot"], cls=_Command, epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path, readable=False))
@click.argument("kind", type=click.Choice(list(KINDS)), metavar="KIND")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to; the suffix says how.",
)
@click.option("--dpi", type=click.IntRange(30, 600), default=120, show_default=True, help="Pixels per inch.")
@click.option("--tid", type=int, help="The task whose critical path is drawn. [default: the recorded command's]")
@part_options
@format_option
def command(
    trace: Path, format_name: str | None, kind: str, output: Path, dpi: int, tid: int | None, since: str | None,
    until: str | None,
) -> None:  # fmt: skip
    """Draw KIND of TRACE into FILE; its suffix says how: .png, .svg or .pdf."""
    if output.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise click.BadParameter(f"{output.name}: .png, .svg or .pdf was expected", param_hint="--output")
    if tid is not None and kind != "critical-path":
        raise click.BadParameter(f"goes with critical-path, not with {kind}", param_hint="--tid")
    from ltt_relay import plot

    opened = open_part(trace, format_name, since, until)
    made = plot.KINDS[kind](opened) if tid is None else plot.critical(opened, tid)
    with writing(output):
        made.savefig(output, dpi=dpi)
