# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay dump``: records as construct sees them; independent of the fast decoder, and its oracle."""

from __future__ import annotations

from pathlib import Path

import click

from ltt_relay.cli import COMMANDS, examples, format_option
from ltt_relay.errors import UserError
from ltt_relay.printable import printable

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay dump trace | head
    ltt-relay dump trace --packet 0
    """
)


@click.command("dump", short_help=COMMANDS["dump"], epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path, exists=True, readable=False))
@click.option("--packet", type=click.IntRange(min=0), metavar="N", help="Only the N-th packet of each file.")
@format_option
def command(trace: Path, packet: int | None, format_name: str | None) -> None:
    """Print every record of TRACE with its offset, field by field.

    Slow on purpose: each record goes through the format's construct definition. Of LTT 3.0, TRACE can be one stream
    file.
    """
    from ltt_relay.formats import oracle, registry
    from ltt_relay.formats.loaded import LoadError

    try:
        format_ = registry.named(format_name) if format_name else registry.detect(trace)
        last, shown = -1, False
        for found in oracle.records(trace, format_ or registry.reader(registry.READERS[-1])):
            if found.event != "damage":
                last = max(last, found.packet)
            if packet is None or found.packet == packet:
                shown |= found.event != "damage"
                fields = {"time": found.time, **found.fields} if found.time is not None else found.fields
                text = " ".join(f"{name}={value}" for name, value in fields.items())
                line = f"{found.file} packet {found.packet} offset {found.offset} {found.event}: {text}"
                click.echo(printable(line))
        if not shown:
            there = f"no packet {packet} in it: the last is packet {last}" if last >= 0 else "no packets in it"
            raise UserError(f"{trace}: {there}")
    except PermissionError as error:
        raise UserError(f"{error.filename}: {error.strerror}") from error
    except LoadError as error:
        raise UserError(str(error)) from error
