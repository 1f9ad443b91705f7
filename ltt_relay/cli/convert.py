# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay convert``: traces to CSV, Parquet, JSON lines or CTF."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, exit_status, fail_on_option

__all__ = ("command",)


@click.command("convert", short_help=COMMANDS["convert"])
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--to", type=click.Choice(["csv", "parquet", "jsonl", "ctf"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Processes.")
@click.option("--merge", is_flag=True, help="One time-ordered file per trace instead of one per event.")
@click.option("--event", "events", multiple=True, metavar="NAME", help="Only this event. Repeatable.")
@click.option("--since", metavar="TIME", help="From then on: ISO 8601, +1.5s from the begin, -2s from the end.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--time", type=click.Choice(["utc", "ns"]), default="utc", show_default=True, help="ns: monotonic.")
@click.option("--resume", is_flag=True, help="Go on after an interruption: what the manifest has as done is skipped.")
@fail_on_option
def command(
    traces: tuple[Path, ...],
    to: str,
    output: Path,
    jobs: int,
    merge: bool,
    events: tuple[str, ...],
    since: str | None,
    until: str | None,
    time: str,
    resume: bool,
    fail_on: frozenset[str],
) -> None:
    """Convert each trace at or below TRACES into DIR/<its path>/<event>.csv, with gaps, problems and a manifest.

    A trace that cannot be read is a line in the manifest and on stderr, and the others go on; the exit status is 1 if
    one gave no output.
    """
    from ltt_relay.export.convert import Options, convert

    options = Options(to, merge, events, since, until, time)
    failed = lost = problems = records = n = 0
    for result in convert(traces, output, options, jobs, resume):
        n += 1
        records, lost, problems = records + result.records, lost + result.lost, problems + result.problems
        if result.status == "failed":
            failed += 1
            click.echo(f"ltt-relay convert: {result.trace}: {result.error}", err=True)
        elif sys.stderr.isatty():
            click.echo(f"\r{n} traces, {records:,} records", err=True, nl=False)
    if sys.stderr.isatty():
        click.echo(err=True)
    click.echo(
        f"{output}: {n} traces, {records:,} records, lost {lost:,}, problems {problems:,}, failed {failed}", err=True
    )
    sys.exit(1 if failed else exit_status(fail_on, lost, problems))
