# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay collect``: receive traces from other machines."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, parse_address_option

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay collect -o traces                        on this machine
    ssh -R 4711:localhost:4711 target ltt-relay record --to tcp://localhost -d 10
                                                       from a target, through ssh
    ltt-relay collect --listen 192.0.2.1 --count 1     in a trusted network
    """
)


@click.command("collect", short_help=COMMANDS["collect"], epilog=_EXAMPLES)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Traces become directories below it. [default: the current directory]",
)
@click.option(
    "--listen",
    default="127.0.0.1",
    show_default=True,
    callback=parse_address_option,
    metavar="HOST[:PORT]",
    help="Address to listen on; 0.0.0.0 lets every machine of the network in. [port: 4711, or 0 for a free one]",
)
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after N complete traces.")
def command(output: Path, listen: tuple[str, int], count: int | None) -> None:
    """Receive traces that ltt-relay record --to sends, each into a directory of its own, until Ctrl-C.

    The path of each trace is printed when it is complete. A sender whose connection broke goes on where it was. Nothing
    is encrypted or authenticated: who reaches the port may write traces below DIR, and nothing else.
    """
    from ltt_relay.capture.collector import Collector, Store
    from ltt_relay.capture.machine import allow_open_files

    done = threading.Event()
    lock = threading.Lock()
    complete = 0
    failure: OSError | None = None

    def on_trace(path: Path) -> None:
        nonlocal complete, failure
        with lock:
            try:
                click.echo(bytes(path))
            except OSError as error:
                failure = error
                done.set()
            complete += 1
            if complete == count:
                done.set()

    def say(text: str) -> None:
        # Whether anybody listens or not, traces are received.
        with contextlib.suppress(OSError):
            click.echo(f"ltt-relay collect: {text}", err=True)

    allow_open_files()
    collector = Collector(
        Store(output),
        listen,
        say=say,
        on_trace=on_trace,
    )
    host, port = collector.address
    say(f"listening on {host}, port {port}")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # nohup
            signal.signal(number, lambda *_: done.set())
    threading.Thread(target=collector.serve, daemon=True).start()
    done.wait()
    collector.close()
    if failure is not None:
        raise failure
