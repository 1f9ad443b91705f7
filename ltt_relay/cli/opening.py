# SPDX-License-Identifier: GPL-2.0-or-later
"""What `report` and `plot` share: a trace or a part of it is opened, a file is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from ltt_relay.analysis.base import Source

__all__ = ("open_part", "part_options", "writing")


def part_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --since and --until."""
    since = click.option(
        "--since", metavar="TIME", help="From this time on: ISO 8601, +1.5s from the begin, -2s from the end."
    )
    return since(click.option("--until", metavar="TIME", help="Before this time.")(function))


def open_part(trace: Path, format_name: str | None, since: str | None, until: str | None) -> Source:
    """Return the trace, or the part of it between two times.

    Raises:
        UsageError: a text that is no time.
        UserError: the trace cannot be read, or has nothing between these times.

    """
    import ltt_relay
    from ltt_relay.analysis import Window
    from ltt_relay.analysis.base import duration_text

    opened = ltt_relay.open(trace, format_name)
    if since is None and until is None:
        return opened
    try:
        window = Window(opened, since, until)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    begin, end = opened.info["begin"] or 0, opened.info["end"] or 0
    if window.since > end or window.until <= begin or window.since >= window.until:
        between = f"{f'from {since} ' if since else ''}{f'until {until}' if until else ''}".strip()
        raise UserError(f"{trace}: there is nothing {between}: it lasts {duration_text(end - begin)}")
    return window


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make one sentence of a file that cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
