# SPDX-License-Identifier: GPL-2.0-or-later
"""Counters while a recording runs, on a terminal: a table where rich is installed, else a line.

The terminal may go away: that ends the showing, by no error, and the recording by a signal.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

if TYPE_CHECKING:
    from ltt_relay.capture.session import Session

__all__ = ("Display", "LineDisplay", "Rates", "TableDisplay", "make_display", "terminal_size")

_EVERY: Final = 0.5


class Display(Protocol):
    """Shows a session's counters."""

    def update(self, session: Session) -> None:
        """Show them as they are now; called often, draws twice a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class Rates:
    """Counters of all CPUs against those of the last look: a row (dict) for each CPU and one for all, "all"."""

    def __init__(self) -> None:
        """Begin the clock."""
        self.begin = self._last_time = time.monotonic()
        self._last: dict[int, int] = {}

    def look(self, session: Session) -> list[dict[str, Any]]:
        """Return rows: cpu, events, rate (1/s, between two looks), bytes, fill (percent or None), lost, overwritten.

        All CPUs together are the last row.
        """
        now = time.monotonic()
        passed = max(now - self._last_time, 1e-3)
        self._last_time = now
        rows = []
        for counters, fill in zip(stats := session.stats(), session.fill_levels(stats), strict=True):
            cpu, events = counters["cpu"], counters["produced"]
            rows.append(
                {
                    "cpu": cpu,
                    "events": events,
                    "rate": (events - self._last.get(cpu, events)) / passed,
                    "bytes": counters["bytes"],
                    "fill": fill,
                    "lost": counters["lost"],
                    "overwritten": counters["overwritten"],
                }
            )
            self._last[cpu] = events
        total: dict[str, Any] = {"cpu": "all"}
        for key in ("events", "rate", "bytes", "lost", "overwritten"):
            total[key] = sum(row[key] for row in rows)
        total["fill"] = max((row["fill"] for row in rows if row["fill"] is not None), default=None)
        return [*rows, total]


def _cells(row: dict[str, Any]) -> dict[str, str]:
    lost = f"{row['lost']:,}"
    if row["lost"]:
        lost += f" ({100 * row['lost'] / row['events']:.1f} %)"
    return {
        "CPU": str(row["cpu"]),
        "events": f"{row['events']:,}",
        "rate": f"{row['rate']:,.0f}/s",
        "read": f"{row['bytes'] / 1e6:,.1f} MB",
        "buffers": "-" if row["fill"] is None else f"{row['fill']:.0f} %",
        "lost": lost,
    }


#: What a narrow terminal does without, first what goes first: a number is never cut, and losses are always told.
_DISPENSABLE: Final = ("read", "buffers", "events", "rate")


def terminal_size(stream: TextIO) -> os.terminal_size:
    """Columns and lines of the terminal that is written to, whatever the other streams are."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        size = os.terminal_size((80, 24))
    columns, lines = (os.environ.get(name, "") for name in ("COLUMNS", "LINES"))
    return os.terminal_size(
        (int(columns) if columns.isdigit() else size.columns or 80, int(lines) if lines.isdigit() else size.lines or 24)
    )


class LineDisplay:
    """One line, written over and over."""

    def __init__(self, stream: TextIO) -> None:
        """Write to that terminal."""
        self._stream = stream
        self._rates = Rates()
        self._next = 0.0

    def update(self, session: Session) -> None:
        """See `Display`."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        cells = _cells(self._rates.look(session)[-1])
        seconds = time.monotonic() - self._rates.begin
        parts = {
            "seconds": f"{seconds:6.1f} s",
            "events": f"{cells['events']} events",
            "rate": cells["rate"],
            "read": cells["read"],
            "buffers": f"buffers {cells['buffers']}",
            "lost": f"lost {cells['lost']}",
        }
        room = terminal_size(self._stream).columns - 1
        for name in (*_DISPENSABLE, "seconds"):
            if len("  ".join(parts.values())) > room:
                del parts[name]
        with contextlib.suppress(OSError):
            self._stream.write(f"\r\x1b[K{'  '.join(parts.values())[:room]}")
            self._stream.flush()

    def close(self) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError):
            self._stream.write("\r\x1b[K")
            self._stream.flush()


class TableDisplay:
    """A table with a row for each CPU, as many as the terminal has room for, and one for all."""

    def __init__(self, stream: TextIO) -> None:
        """Draw on that terminal.

        Raises:
            ImportError: rich is not installed.

        """
        from rich.console import Console
        from rich.live import Live

        self._rates = Rates()
        self._next = 0.0
        self._stream = stream
        self._live = Live(console=Console(file=stream, force_terminal=True), auto_refresh=False, transient=True)

    def update(self, session: Session) -> None:
        """See `Display`."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY
        table = self._table(self._rates.look(session))
        with contextlib.suppress(OSError):
            self._live.start()  # not before: it hides the cursor; who interrupts the start gets no chance to show it
            self._live.update(table, refresh=True)

    def _table(self, rows: list[dict[str, Any]]) -> Any:
        from rich.table import Table

        table = Table(
            title=f"{time.monotonic() - self._rates.begin:.1f} s, Ctrl-C ends", title_justify="left", box=None
        )
        size = terminal_size(self._stream)
        cpus = [row for row in rows[:-1] if row["events"]]
        # The busiest, if not all fit.
        busiest = sorted(cpus, key=lambda row: -row["rate"])[: max(1, size.lines - 6)]
        shown = [*sorted(busiest, key=lambda row: int(row["cpu"])), rows[-1]]
        cells = [_cells(row) for row in shown]
        widths = {name: max(len(name), *(len(row[name]) for row in cells)) + 2 for name in cells[0]}
        for name in _DISPENSABLE:
            if sum(widths.values()) > size.columns:
                del widths[name]
        for name in widths:
            table.add_column(name, justify="right", no_wrap=True)
        for row, texts in zip(shown[:-1], cells[:-1], strict=True):
            style = "bold red" if row["lost"] else "yellow" if (row["fill"] or 0) > 50 else None
            table.add_row(*(texts[name] for name in widths), style=style)
        if len(cpus) > len(busiest):
            table.add_row("…", f"{len(cpus) - len(busiest)} more")
        table.add_row(*(cells[-1][name] for name in widths), style="bold")
        return table

    def close(self) -> None:
        """See `Display`."""
        with contextlib.suppress(OSError):
            self._live.stop()


def make_display(stream: TextIO = sys.stderr) -> Display:
    """Return the table, or the line where rich is not installed."""
    try:
        return TableDisplay(stream)
    except ImportError:
        return LineDisplay(stream)
