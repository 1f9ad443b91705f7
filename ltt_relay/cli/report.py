# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay report``: what happened, in words, tables and pictures."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, format_option
from ltt_relay.cli.opening import open_part, part_options, writing

__all__ = ("SECTIONS", "command")

#: Parts of the report, and what they answer; `ltt_relay.analysis.catalog` has the functions.
SECTIONS = {
    "trace": "events by kind",
    "losses": "what was lost, by CPU and reason",
    "cpu": "how long each task ran",
    "wakeup-latency": "from being woken to running",
    "run-queue": "how long tasks waited for a CPU",
    "preemptions": "who gave way to whom",
    "migrations": "tasks that moved between CPUs",
    "off-cpu": "what tasks waited for, and what ended it",
    "wakeups": "who woke whom",
    "critical-path": "what decided how long the recorded command took",
    "syscalls": "how many of which, how long, how many failed",
    "syscalls-by-task": "the same by task",
    "syscall-errors": "which failed with what",
    "syscall-outliers": "single calls far longer than their kind",
    "interrupts": "how many, how often, how long",
    "softirqs": "soft interrupts: the same",
    "softirq-latency": "from being raised to the handler",
    "faults": "page faults by task",
    "io": "block I/O: how many, how large, how long",
    "timers": "handlers of kernel timers, and how late they were",
    "futexes": "waits for locks of programs",
    "locks": "waits for locks of the kernel",
}

_EXAMPLES = examples(
    """
    ltt-relay report trace
    ltt-relay report trace --only off-cpu --only syscalls --rows 40
    ltt-relay report trace --html report.html
    ltt-relay report trace --json --only wakeup-latency
    """
)


class _Command(click.Command):
    """A command whose help lists the sections."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Sections"):
            formatter.write_dl(list(SECTIONS.items()))
        super().format_epilog(ctx, formatter)


@click.command("report", short_help=COMMANDS["report"], cls=_Command, epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path, readable=False))
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write one page with pictures to FILE.",
)
@click.option("--json", "as_json", is_flag=True, help="Print whole tables as JSON, durations in ns.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(SECTIONS)), metavar="SECTION", help="Only this section; repeatable."
)
@click.option("--rows", type=click.IntRange(1), default=15, show_default=True, help="Rows of each table, as text.")
@part_options
@format_option
def command(
    trace: Path, format_name: str | None, html: Path | None, as_json: bool, only: tuple[str, ...], rows: int,
    since: str | None, until: str | None,
) -> None:  # fmt: skip
    """Tell what happened in TRACE: scheduling, system calls, interrupts, faults, I/O, timers, locks, losses."""
    if html is not None and (as_json or only):
        raise click.UsageError("--html writes the whole report: it goes with neither --json nor --only")
    from ltt_relay.analysis.report import as_object, text

    opened = open_part(trace, format_name, since, until)
    if as_json:
        click.echo(json.dumps(as_object(opened, only)))
    elif html is None:
        click.echo(text(opened, only, rows))
    else:
        from ltt_relay.plot.page import page

        with writing(html):
            html.write_text(page(opened), encoding="utf-8")
