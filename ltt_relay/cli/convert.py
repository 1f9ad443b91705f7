# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay convert``: traces to CSV, Parquet, JSON lines, CTF or Perfetto."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import click

from ltt_relay.cli import COMMANDS, exit_status, fail_on_option, format_option
from ltt_relay.cli.interrupt import tidied
from ltt_relay.printable import printable

if TYPE_CHECKING:
    from ltt_relay.export.convert import Options

__all__ = ("command",)

_FORMATS = ("csv", "parquet", "jsonl", "ctf", "perfetto")
_EXAMPLES = """
\b
Examples:
  ltt-relay convert trace/ -o out/                           a CSV file per event: out/sched_switch.csv …
  ltt-relay convert trace/ -o out/ --merge                   all events in time order: out/merged.csv
  ltt-relay convert trace/ -o out/ --to parquet --event sched_switch --event sched_wakeup
  ltt-relay convert trace/ -o out/ --since +1.5s --until -2s
  ltt-relay convert /traces -o out/ -j 8                     every trace below, out/<its path>/…
  ltt-relay convert /traces -o out/ -j 8 --resume            go on after a kill
  ltt-relay convert /traces -o out/ --dask tcp://host:8786   on a cluster
  ltt-relay convert dump.bin -o out/ --format mine.py        a format of one's own
  ltt-relay convert trace/ -o out/ --to perfetto             open out/trace.perfetto-trace in ui.perfetto.dev
  ltt-relay convert trace/ -o out/ --to ctf                  open out/ctf in Trace Compass, as a kernel trace
"""


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int], None], Callable[[int], None], Callable[[], None]]]:
    """Give what is told: the number of traces, records written, a trace done; shown on a tty only."""
    if not sys.stderr.isatty():
        yield (lambda _: None), (lambda _: None), (lambda: None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("traces"), TimeElapsedColumn(),
        TextColumn("{task.fields[records]:,} records"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.console.show_cursor(True)  # Ctrl-C may end this at once
        bar = progress.add_task("convert", total=None, records=0)
        records = 0

        def wrote(more: int) -> None:
            nonlocal records
            records += more
            progress.update(bar, records=records)

        yield (lambda total: progress.update(bar, total=total)), wrote, (lambda: progress.advance(bar))


def _describe(traces: tuple[Path, ...], output: Path) -> NoReturn:
    from ltt_relay.formats.loaded import LoadError
    from ltt_relay.formats.lttng2_ctf import describe

    failed = False
    for trace in traces:
        where = output / trace.resolve().name
        try:
            click.echo(f"{where}: {len(describe(trace, where))} channels", err=True)
        except (LoadError, OSError) as error:
            click.echo(f"ltt-relay convert: {error}", err=True)
            failed = True
    sys.exit(int(failed))


def _asked(options: Options) -> str:
    """Say what was selected."""
    asked = [f"--event {event}" for event in options.events]
    asked += [f"--{name} {moment}" for name in ("since", "until") if (moment := getattr(options, name))]
    return " ".join(asked) or "it is empty"


@click.command("convert", short_help=COMMANDS["convert"], epilog=_EXAMPLES)
@click.argument("traces", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False))
@click.option(
    "--to", type=click.Choice(["csv", "parquet", "jsonl", "ctf", "perfetto"]), default="csv", show_default=True
)
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="DIR")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 4096), default=1, show_default=True, metavar="N", help="Processes."
)
@click.option("--merge", is_flag=True, help="One time-ordered file per trace instead of one per event.")
@click.option("--event", "events", multiple=True, metavar="NAME",
              help="Only this event, group or glob, as in sched, irq:*_entry or 'sys_*'. Repeatable.")  # fmt: skip
@click.option("--since", metavar="TIME", help="From then on: ISO 8601, +1.5s from the begin, -2s from the end.")
@click.option("--until", metavar="TIME", help="Before then.")
@click.option("--time", type=click.Choice(["utc", "ns"]), default="utc", show_default=True, help="ns: monotonic.")
@click.option("--in-place", is_flag=True, help="With --to ctf, of LTTng 2.5 and 2.6: links to the streams and metadata "
              "that describe them, instead of new streams.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on after an interruption: what the manifest has as done is skipped.")
@click.option(
    "--dask", metavar="ADDRESS", help="Let the workers of this Dask scheduler do it; they see the same files."
)
@format_option
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
    time: Literal["utc", "ns"],
    in_place: bool,
    resume: bool,
    dask: str | None,
    format_name: str | None,
    fail_on: frozenset[str],
) -> None:
    """Convert each trace at or below TRACES into DIR/<its path>/<event>.csv, with gaps, problems and a manifest.

    A trace that cannot be read is a line in the manifest and on stderr, and the others go on; the exit status is 1 if
    one gave no output. Columns, types and readers are described in docs/convert.md.
    """
    if merge and to in {"ctf", "perfetto"}:
        raise click.UsageError(f"--merge has no meaning with --to {to}, which is one trace in time order anyway")
    if in_place:
        if to != "ctf" or events or since or until or format_name:
            raise click.UsageError("--in-place is for --to ctf, and for whole traces of LTTng 2")
        _describe(traces, output)
    if dask and jobs > 1:
        raise click.UsageError("-j and --dask exclude each other: the cluster has its own number of workers")
    os.environ.setdefault("LTT_RELAY_THREADS", "1")  # -j says how many CPUs, and with them how much memory, it takes
    from ltt_relay.export.frugal import frugal

    frugal()
    from ltt_relay.decode import times
    from ltt_relay.export.batch import convert
    from ltt_relay.export.convert import Options

    for option, moment in (("since", since), ("until", until)):
        try:
            times.resolve(0 if moment is None else moment, 0, 0)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint=f"--{option}") from None
    if format_name and format_name.endswith(".py"):
        format_name = os.path.realpath(format_name)  # --resume may come from elsewhere
    options = Options(to, merge, events, since, until, time, format_name)
    failed = lost = problems = records = n = 0
    # By itself this process has nothing that would be left over; other processes are.
    with tidied() if jobs > 1 or dask else nullcontext(), _progress() as (begin, wrote, done):
        for result in convert(traces, output, options, jobs, resume, dask, wrote, begin):
            n += 1
            done()
            records += result.records
            lost, problems = lost + sum(result.lost.values()), problems + sum(result.problems.values())
            if result.status == "failed":
                failed += 1
                where = "" if result.error.startswith(result.trace) else f"{result.trace}: "
                click.echo(printable(f"ltt-relay convert: {where}{result.error}"), err=True)
            elif not result.records:
                click.echo(printable(f"ltt-relay convert: {result.trace}: no records: {_asked(options)}"), err=True)
            if result.missing:
                click.echo(f"ltt-relay convert: {result.trace}: knows no {', '.join(result.missing)}", err=True)
    click.echo(
        f"{output}: {n} trace{'s' * (n != 1)}, {records:,} records, lost {lost:,}, problems {problems:,}, "
        f"failed {failed}",
        err=True,
    )
    sys.exit(1 if failed else exit_status(fail_on, lost, problems))
