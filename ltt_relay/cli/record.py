# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay record``: capture what the kernel does into a trace directory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS

__all__ = ("command",)

_DEFAULT_EVENTS = ("sched", "irq", "sys", "exceptions", "task", "user")


@click.command(
    "record",
    short_help=COMMANDS["record"],
    context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False},
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("trace"), show_default=True, metavar="DIR"
)
@click.option(
    "-e",
    "--event",
    "events",
    multiple=True,
    metavar="GLOB",
    help="Event, group or glob over group:name; -GLOB leaves out. Repeatable. [default: all]",
)
@click.option(
    "--mode",
    type=click.Choice(["stream", "flight"]),
    default="stream",
    show_default=True,
    help="flight: keep only the newest, save them at the end.",
)
@click.option(
    "-d", "--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Stop after this."
)
@click.option("-p", "--pid", "pids", multiple=True, type=int, metavar="PID", help="Only this process. Repeatable.")
@click.option(
    "--filter", "filters", multiple=True, metavar="KEY=VALUE", help="Also tid=, comm=, uid=, cgroup=, cpu=, follow=1."
)
@click.option(
    "-a", "--all", "everything", is_flag=True, help="With CMD: trace the whole system, not only CMD and its children."
)
@click.option(
    "--subbuf-size", type=int, default=262144, show_default=True, metavar="BYTES", help="Size of a sub-buffer."
)
@click.option("--n-subbufs", type=int, default=16, show_default=True, metavar="N", help="Sub-buffers of each CPU.")
@click.option("--n-subbufs-max", type=int, default=0, metavar="N", help="Let the buffers grow up to this under load.")
@click.option("--session", "name", metavar="NAME", help="Name of the session. [default: record-PID]")
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
def command(
    output: Path,
    events: tuple[str, ...],
    mode: str,
    duration: float | None,
    pids: tuple[int, ...],
    filters: tuple[str, ...],
    everything: bool,
    subbuf_size: int,
    n_subbufs: int,
    n_subbufs_max: int,
    name: str | None,
    cmd: tuple[str, ...],
) -> None:
    """Record the kernel's events into DIR until CMD ends, the duration is over, or Ctrl-C.

    \b
    ltt-relay record -- make -j2               a command and its children, from its first instruction
    ltt-relay record -a -d 10                  the whole system for ten seconds
    ltt-relay record -e 'sched:*' -e sys -- ls these groups only
    ltt-relay record --mode flight -a          a flight recorder: Ctrl-C saves what just happened

    The exit status is CMD's; 1 if the capture failed.
    """
    from ltt_relay.capture.recorder import Recorder, prepare_directory
    from ltt_relay.capture.session import Session

    session = Session(name or f"record-{os.getpid()}")
    prepare_directory(output)
    session.create()
    status = 0
    child = -1
    try:
        words = [word if word[0] in "+-" or word == "none" else f"+{word}" for word in events or _DEFAULT_EVENTS]
        session.write("events", "none " + " ".join(words))
        session.write("subbuf_size", str(subbuf_size))
        session.write("n_subbufs", str(n_subbufs))
        if n_subbufs_max:
            session.write("n_subbufs_max", str(n_subbufs_max))
        session.write("mode", mode)
        go = -1
        if cmd:
            child, go = _spawn(cmd)
        terms = list(filters)
        if pids:
            terms.append(f"tgid={','.join(map(str, pids))}")
        elif cmd and not everything and not filters:
            terms += [f"tid={child}", "follow=1"]
        if terms:
            session.write("filter", " ".join(terms))
        recorder = Recorder(session, output)
        recorder.start()
        begin = time.monotonic()
        session.control("start")
        if go >= 0:
            os.write(go, b"g")
            os.close(go)
        status = _wait(child, duration)
        session.control("stop")
        failures = recorder.finish()
        _tell(session, output, recorder.bytes, time.monotonic() - begin, n_subbufs)
        for failure in failures:
            click.echo(f"ltt-relay record: {failure}", err=True)
        if failures:
            status = status or 1
    finally:
        with contextlib.suppress(Exception):
            session.remove()
    sys.exit(status)


def _spawn(cmd: tuple[str, ...]) -> tuple[int, int]:
    """Fork a child that waits for a byte before it becomes the command, so that its exec is in the trace."""
    wait, go = os.pipe()
    child = os.fork()
    if child:
        os.close(wait)
        return child, go
    try:
        os.close(go)
        if os.read(wait, 1):
            os.execvp(cmd[0], cmd)
    except OSError as error:
        print(f"ltt-relay record: {cmd[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127)


class _StopError(Exception):
    """A signal asked for the end."""


def _wait(child: int, duration: float | None) -> int:
    """Wait for the command, the time or a signal; returns the command's status."""

    def stop(number: int, frame: object) -> None:
        raise _StopError

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    deadline = time.monotonic() + duration if duration else None
    try:
        while deadline is None or time.monotonic() < deadline:
            if child > 0:
                pid, raw = os.waitpid(child, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(raw)
                    return code if code >= 0 else 128 - code
            time.sleep(0.02 if child > 0 else 0.1)
    except _StopError:
        pass
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
    if child > 0:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    return 0


def _tell(session: object, output: Path, size: int, seconds: float, n_subbufs: int) -> None:
    from ltt_relay.capture.session import Session

    assert isinstance(session, Session)
    totals = session.totals()
    produced, lost, overwritten = totals["produced"], totals["lost"], totals["overwritten"]
    kept = produced - lost - overwritten
    rate = kept / seconds if seconds else 0
    click.echo(
        f"{output}: {kept:,} events, {size / 1e6:,.1f} MB in {seconds:.1f} s ({rate:,.0f} events/s), lost {lost:,}"
        + (f" ({100 * lost / produced:.2f} %)" if lost else "")
        + (f", overwritten {overwritten:,}" if overwritten else ""),
        err=True,
    )
    if totals.get("full"):
        click.echo(
            f"{totals['full']:,} were lost because the buffers were full: try --n-subbufs {4 * n_subbufs}, "
            f"--n-subbufs-max {16 * n_subbufs}, or fewer events with -e",
            err=True,
        )
