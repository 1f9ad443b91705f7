# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay record``: capture what the kernel does into a trace directory."""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltt_relay.cli import COMMANDS, completing, examples, parse_address_option
from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltt_relay.capture.run import Outcome, Request
    from ltt_relay.capture.sink import Sink

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay record -- make -j2                  a command and its children, from its first instruction
    ltt-relay record -d 10                        the whole system for ten seconds
    ltt-relay record -e 'sched:*' -e sys -- ls    these groups only
    ltt-relay record -e all -e -sys -d 1          all events but system calls
    ltt-relay record -p 4711 -e class:syscall     system calls of a process, until Ctrl-C
    ltt-relay record --filter cpu=0,2 --filter uid=1000 -d 5
    ltt-relay record --mode flight                a flight recorder: Ctrl-C saves what just happened;
                                                  kill -USR1, or snapshot, save it meanwhile
    ltt-relay record --mode flight --save failure -a -- ./test    what the system did before it failed, if it fails
    ltt-relay record --mode flight --trigger 'sched_process_exit prio < 100 snapshot'
    ltt-relay record --klog -d 60                 with the kernel's log, from the boot on
    ltt-relay record --to tcp://192.0.2.1 -d 60   to another machine, where ltt-relay collect runs
    ltt-relay record --attach record-4711 -d 1    what the session of a killed recorder still holds
    """
)

DEFAULT_EVENTS = (
    "sched",
    "-sched_stat_runtime",
    "irq",
    "-softirq_raise",
    "syscall",
    "exceptions",
    "task",
    "user",
    "ltt",
)
#: Reason that records were lost -> what may help; {n} is the number of sub-buffers.
_REMEDIES = {
    "full": "the buffers were full: try --n-subbufs {n4}, --n-subbufs-max {n16}, or fewer events with -e",
    "nmi": "they happened in a non-maskable interrupt: nothing to change",
    "nested": "they happened while a record was being written on the same CPU: nothing to change",
    "too_big": "they were longer than a sub-buffer: try a larger --subbuf-size",
    "no_buffer": "the CPU came online while buffers were made: nothing to change",
    "fault": "user memory could not be read: nothing to change",
    "reset": "the session was reset while it ran",
}


def _parse_seconds(ctx: click.Context, option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"{value} found, a number of seconds above 0 expected")
    return seconds


@click.command(
    "record",
    short_help=COMMANDS["record"],
    epilog=_EXAMPLES,
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path),
    default=Path("trace"),
    show_default=True,
    metavar="DIR",
    help="Empty or new directory for the trace. With --to, its name there. [with --to: HOST-TIME]",
)
@click.option(
    "--to",
    "remote",
    callback=parse_address_option,
    metavar="tcp://HOST[:PORT]",
    help="Send the trace to ltt-relay collect there; nothing is written here.",
)
@click.option(
    *("-e", "--event", "events"),
    multiple=True,
    shell_complete=completing.events,
    metavar="GLOB",
    help="Event, group or glob over group:name; class:NAME for an LTT class; all; -GLOB leaves out. Repeatable. "
    f"[default: {' '.join(DEFAULT_EVENTS)}]",
)
@click.option(
    "--mode",
    type=click.Choice(["stream", "flight"]),
    default="stream",
    show_default=True,
    help="flight: a flight recorder, which keeps only the newest in memory.",
)
@click.option(
    "--save",
    type=click.Choice(["always", "failure", "never"]),
    help="With --mode flight, whether what it holds at the end is saved: failure: if CMD failed. [default: always]",
)
@click.option(
    "--trigger",
    metavar="TEXT",
    help="'EVENT [FIELD OP VALUE]... snapshot' saves a flight recorder, '… stop' ends the recording, when a record of "
    "the event meets the conditions; OP is == != < <= > >= or &.",
)
@click.option("-d", "--duration", callback=_parse_seconds, metavar="SECONDS", help="End after this.")
@click.option(
    *("-p", "--pid", "pids"),
    multiple=True,
    type=int,
    shell_complete=completing.pids,
    metavar="PID",
    help="Only this process. Repeatable.",
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    shell_complete=completing.filters,
    metavar="KEY=VALUE",
    help="Only what passes: tid= tgid= comm= uid= cgroup= cpu=, commas between values; follow=1: children, too. "
    "Repeatable, all must hold. [default with CMD: CMD and its children]",
)
@click.option("-a", "--all", "everything", is_flag=True, help="With CMD: the whole system, not only CMD.")
@click.option(
    "--subbuf-size", type=int, default=262144, show_default=True, metavar="BYTES", help="Size of a sub-buffer."
)
@click.option("--n-subbufs", type=int, default=16, show_default=True, metavar="N", help="Sub-buffers of each CPU.")
@click.option("--n-subbufs-max", type=int, default=0, metavar="N", help="Let the buffers grow up to this under load.")
@click.option("--session", "name", metavar="NAME", help="Name of the session. [default: record-PID]")
@click.option(
    "--attach",
    metavar="NAME",
    shell_complete=completing.sessions,
    help="Take over that session (of a recorder that died, or from boot).",
)
@click.option("--klog", is_flag=True, help="Take along the kernel's log, from the boot on.")
@click.option("--evlog", is_flag=True, help="Take along the event log.")
@click.option("-u", "--user", shell_complete=completing.users, metavar="NAME", help="Run CMD as that user.")
@click.option("--live/--no-live", default=None, help="Show counters. [default: on a terminal without CMD]")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED, shell_complete=completing.programs, metavar="[-- CMD...]")
def command(output: Path, cmd: tuple[str, ...], **options: Any) -> None:
    """Record the kernel's events into DIR until CMD ends, the duration is over, or Ctrl-C.

    At the end, losses are told with what to change. DIR is an LTT 3.0 trace and a CTF trace; .capture.json in it says
    how it came to be. The exit status is CMD's (127: not found); 1 if the capture failed or is not complete.
    """
    from ltt_relay.capture.command import Command, CommandNotFoundError
    from ltt_relay.capture.live import make_display
    from ltt_relay.capture.run import Recording
    from ltt_relay.capture.session import Session, require_tracer

    _check(cmd, options)
    where, make_sink = _destination(output, options["remote"])
    require_tracer()
    try:
        child = Command(cmd, options["user"]) if cmd else None
    except CommandNotFoundError as error:
        _say(str(error))
        sys.exit(127)
    display = None
    try:
        request = _request(options, child.pid if child else None)
        live = options["live"]
        if live or (live is None and not cmd and sys.stderr.isatty()):
            display = make_display()
        outcome = Recording(
            Session(options["attach"] or options["name"] or f"record-{os.getpid()}"),
            request,
            make_sink,
            _say,
            command=child,
            words=cmd,
            display=display,
        ).run()
    finally:
        if display:
            display.close()
        if child:
            child.end()
    for line in summary(where, outcome):
        _tell(line)
    for failure in outcome.failures:
        _say(failure)
    sys.exit((child.status if child else 0) or (1 if outcome.failures else 0))


def _say(text: str) -> None:
    _tell(f"ltt-relay record: {text}")


def _tell(line: str) -> None:
    # Whether anybody listens or not (a terminal may be gone): what is recorded is kept, and CMD's status passed on.
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def _destination(output: Path, address: tuple[str, int] | None) -> tuple[str, Callable[[str, bytes], Sink]]:
    """Return what the destination is called, and what makes its sinks."""
    from ltt_relay.capture.sink import DirectorySink

    if address is None:
        # Of the directory that one is in, and the one above, the path has no name.
        named = output if output.name not in {"", ".."} else output.resolve()
        return str(output), lambda suffix, note: DirectorySink(Path(f"{named}{suffix}"), note)
    from ltt_relay.capture.sender import RemoteSink
    from ltt_relay.capture.sink import NOTE

    name = str(output)
    if not _given("output"):
        host = re.sub(r"[^A-Za-z0-9_-]", "-", os.uname().nodename).lstrip("-")
        name = f"{host or 'trace'}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    elif "/" in name:
        raise click.UsageError(f"-o {name}: with --to it is the trace's name there, without /")
    where = f"tcp://{address[0]}:{address[1]}/{name}"

    def make_sink(suffix: str, note: bytes) -> Sink:
        sink = RemoteSink(address, name + suffix, _say)
        sink.replace(NOTE, note)
        return sink

    return where, make_sink


def _given(name: str) -> bool:
    source = click.get_current_context().get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check(cmd: tuple[str, ...], options: dict[str, Any]) -> None:
    if options["save"] and options["mode"] != "flight":
        raise click.UsageError("--save is for --mode flight: a stream is saved while it runs")
    action = (options["trigger"] or "stop").split()[-1:]
    if action not in (["stop"], ["snapshot"]):
        raise click.UsageError("--trigger ends with what is done: stop or snapshot")
    if action == ["snapshot"] and options["mode"] != "flight":
        raise click.UsageError("--trigger '… snapshot' is for --mode flight")
    if options["save"] == "failure" and not cmd:
        raise click.UsageError("--save failure needs a command to fail: -- CMD")
    if options["mode"] == "flight" and (options["klog"] or options["evlog"]):
        raise click.UsageError("--klog and --evlog are for --mode stream")
    if options["user"] and not cmd:
        raise click.UsageError("--user needs a command: -- CMD")
    if options["everything"] and (options["pids"] or options["filters"]):
        raise click.UsageError("--all records the whole system: it excludes --pid and --filter")
    if options["attach"]:
        excluded = {
            "mode": "--mode",
            "name": "--session",
            "subbuf_size": "--subbuf-size",
            "n_subbufs": "--n-subbufs",
            "n_subbufs_max": "--n-subbufs-max",
            "events": "--event",
            "pids": "--pid",
            "filters": "--filter",
            "trigger": "--trigger",
        }
        given = [option for name, option in excluded.items() if _given(name)]
        if given:
            raise click.UsageError(f"--attach takes a session as it is: it excludes {', '.join(given)}")


def _request(options: dict[str, Any], child: int | None) -> Request:
    from ltt_relay.capture.run import Request

    terms = list(options["filters"])
    keys = {term.partition("=")[0] for term in terms}
    if options["pids"]:
        gone = [pid for pid in options["pids"] if not Path(f"/proc/{pid}").exists()]
        if gone:
            raise UserError(f"--pid {gone[0]}: there is no such process")
        terms.append(f"tgid={','.join(map(str, options['pids']))}")
    elif child is not None and not options["everything"] and keys <= {"cpu", "follow"}:
        terms += [f"tid={child}", "follow=1"]
    return Request(
        events=options["events"] or DEFAULT_EVENTS,
        mode=options["mode"],
        filters=tuple(terms),
        subbuf_size=options["subbuf_size"],
        n_subbufs=options["n_subbufs"],
        n_subbufs_max=options["n_subbufs_max"],
        duration=options["duration"],
        trigger=options["trigger"],
        save=options["save"] or "always",
        logs=tuple(name for name in ("klog", "evlog") if options[name]),
        attach=bool(options["attach"]),
    )


def summary(where: str, outcome: Outcome) -> list[str]:
    """Return what is said at the end: a line of counts, and one for each reason that records were lost."""
    totals = outcome.totals
    produced, lost, overwritten = totals["produced"], totals["lost"], totals["overwritten"]
    rate = (produced - outcome.before) / outcome.seconds if outcome.seconds else 0
    if outcome.saved:
        if outcome.snapshots:
            where += f" and {len(outcome.snapshots)} snapshot{'s' * (len(outcome.snapshots) > 1)}"
        text = f"{where}: {outcome.records:,} events, {outcome.size / 1e6:,.1f} MB in {outcome.seconds:.1f} s"
    else:
        text = f"nothing saved: {produced:,} events in {outcome.seconds:.1f} s"
    text += f" ({rate:,.0f} events/s), lost {lost:,}" + (f" ({100 * lost / produced:.2f} %)" if lost else "")
    lines = [text + (f", overwritten {overwritten:,}" if overwritten else "")]
    if outcome.failures and outcome.records < totals["read"]:
        lines.append(f"{totals['read'] - outcome.records:,} were read and could not be saved")
    for name, counters in outcome.logs.items():
        lines.append(f"{name}: {counters['read']:,} records, lost {counters['lost']:,}")
    for reason, remedy in _REMEDIES.items():
        if totals.get(reason):
            n = outcome.n_subbufs
            lines.append(f"{totals[reason]:,} were lost because {remedy.format(n4=4 * n, n16=16 * n)}")
    return lines
