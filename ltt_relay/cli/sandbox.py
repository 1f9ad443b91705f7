# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay sandbox``: a command in a throwaway guest, as if it ran here."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, completing, examples
from ltt_relay.cli.interrupt import tidied

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay sandbox -- uname -a
    ltt-relay sandbox --rw . -- ltt-relay record -a -o trace -- make     record a build there, keep the trace here
    ltt-relay sandbox --kernel 6.12-rt --cpus 4 -- sh
    ltt-relay sandbox --icount -- ./benchmark                            instructions instead of time
    """
)


@click.command(
    "sandbox",
    short_help=COMMANDS["sandbox"],
    epilog=_EXAMPLES,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--kernel",
    default="6.1",
    show_default=True,
    metavar="VERSION",
    help="A version (6.1.0-50-amd64), a series (5.10, 6.1, 6.12, 7), 'newest', any of these with -rt, 6.1-debug (built "
    "here with KASAN, lockdep and more), or the path of a built kernel tree.",
)
@click.option("--cpus", type=click.IntRange(1, 255), metavar="N", help="CPUs. [default: 2, with --icount 1]")
@click.option("--memory", default="1G", show_default=True, metavar="SIZE", help="Memory, such as 512M or 2G.")
@click.option("--icount", is_flag=True, help="Count instructions: one nanosecond each, repeatable, one CPU.")
@click.option(
    "--rw",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="A directory that is really written to; all else is thrown away. With kernels after 6.1 its files cannot be "
    "mapped shared and writable. Repeatable.",
)
@click.option(
    "--modules",
    metavar="NAMES",
    help="Modules to load, separated by commas; NAME:OPTION=VALUE passes an option. [default: relayfs and its clients]",
)
@click.option("--no-modules", is_flag=True, help="Load and build none.")
@click.option("--append", multiple=True, metavar="WORDS", help="Words for the kernel's command line. Repeatable.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End CMD after this.")
@click.option(
    "--console",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Keep the kernel's console log there.",
)
@click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), help="How to run the guest. [default: auto]")
@click.argument(
    "cmd", nargs=-1, required=True, type=click.UNPROCESSED, shell_complete=completing.programs, metavar="-- CMD..."
)
def command(
    kernel: str,
    cpus: int | None,
    memory: str,
    icount: bool,
    rw: tuple[Path, ...],
    modules: str | None,
    no_modules: bool,
    append: tuple[str, ...],
    timeout: float | None,
    console: Path | None,
    accel: str | None,
    cmd: tuple[str, ...],
) -> None:
    """Run CMD as root in a throwaway QEMU guest on this machine's files, the kernel modules loaded.

    The guest sees all files of this machine, but what it writes is gone afterwards, except in each --rw DIR. Standard
    streams, current directory, environment and exit status are CMD's. relayfs is mounted at /sys/kernel/relay. The
    kernel is downloaded and the modules are built on first use; both stay in the user's cache.

    The exit status is 1, with the end of the console log on stderr, if the guest's kernel dies, hangs, or CMD takes
    longer than --timeout.
    """
    from ltt_relay.capture.kbuild import BuildError
    from ltt_relay.sandbox import Guest, SandboxError

    if no_modules and modules is not None:
        raise click.UsageError("--modules and --no-modules exclude each other")
    if icount and cpus not in {None, 1}:
        raise click.UsageError(f"--icount counts the instructions of one CPU; --cpus {cpus} cannot go with it")
    logging.basicConfig(level=logging.INFO, format="ltt-relay sandbox: %(message)s", stream=sys.stderr)
    guest = Guest(
        kernel=kernel,
        cpus=cpus,
        memory=memory,
        rw=rw,
        icount=icount,
        modules=() if no_modules else modules.split(",") if modules is not None else None,
        append=append,
        accel=accel,
    )
    try:
        # A standard input that was closed is an empty one.
        stdin = sys.stdin.fileno() if sys.stdin is not None else None
        with tidied(signal.SIGTERM, signal.SIGHUP):
            done = guest.run(cmd, stdin=stdin, stdout=1, stderr=2, timeout=timeout, console=console)
    except (SandboxError, BuildError) as error:
        click.echo(f"ltt-relay sandbox: {error}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # As a command that writes into a closed pipe: silent, by signal 13.
        sys.exit(128 + 13)
    sys.exit(done.returncode)
