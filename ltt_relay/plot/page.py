# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as one self-contained HTML page: tables and pictures, nothing fetched, no script."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from html import escape
from typing import Final

import pandas as pd
from matplotlib.figure import Figure

from ltt_relay import __version__
from ltt_relay.analysis.base import MissingEventError, Source
from ltt_relay.analysis.report import ROWS, WORDS, Section, absences, sections
from ltt_relay.plot import KINDS

__all__ = ("page",)

_DPI: Final = 130

_STYLE: Final = """
:root { color-scheme: light; --ink: #1d2733; --soft: #5b6875; --line: #d9dfe5; --fill: #f5f7f9; --link: #0b5f97; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: white; font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
nav { position: fixed; inset: 0 auto 0 0; width: 15rem; overflow-y: auto; padding: 1.2rem 1rem; background: var(--fill);
  border-right: 1px solid var(--line); font-size: 14px; }
nav b { display: block; margin-bottom: .6rem; }
nav a { display: block; padding: .16rem .4rem; color: var(--link); text-decoration: none; border-radius: 4px; }
nav a:hover { background: white; }
nav a.absent { color: var(--soft); }
main { margin-left: 15rem; padding: 1.4rem 2.2rem 4rem; max-width: 82rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; padding-top: .9rem; border-top: 1px solid var(--line); }
dt { margin-top: .6rem; } dd { margin: 0; color: var(--soft); max-width: 62rem; overflow-wrap: anywhere; }
p { margin: .2rem 0 .8rem; color: var(--soft); max-width: 62rem; overflow-wrap: anywhere; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th { font-weight: 600; white-space: nowrap; border-bottom: 2px solid var(--line); }
th, td { text-align: right; padding: .2rem .55rem; white-space: nowrap; }
.l { text-align: left; }
tbody tr:nth-child(even) { background: var(--fill); }
figure { margin: 1rem 0 0; }
img { max-width: 100%; height: auto; display: block; }
.more { font-size: 13px; margin-top: .3rem; }
@media (max-width: 60rem) { nav { position: static; width: auto; columns: 2; border-right: 0; } main { margin-left: 0;
  padding: 1rem; } }
@media print { nav { display: none; } main { margin: 0; } h2 { break-after: avoid; } }
"""


def _table(table: pd.DataFrame) -> Iterator[str]:
    columns = list(table.columns)
    kind = [' class="l"' if column in WORDS else "" for column in columns]
    yield '<div class="table"><table><thead><tr>'
    yield from (f"<th{k}>{escape(c.replace('_', ' '))}</th>" for c, k in zip(columns, kind, strict=True))
    yield "</tr></thead><tbody>\n"
    for row in table.itertuples(index=False, name=None):
        yield "<tr>" + "".join(f"<td{k}>{escape(cell)}</td>" for cell, k in zip(row, kind, strict=True)) + "</tr>\n"
    yield "</tbody></table></div>\n"


def _picture(made: Figure, kind: str) -> str:
    buffer = io.BytesIO()
    made.savefig(buffer, format="png", dpi=_DPI)
    data = base64.b64encode(buffer.getvalue()).decode()
    width = int(made.get_size_inches()[0] * 96)
    return f'<figure><img alt="{escape(kind)}" width="{width}" src="data:image/png;base64,{data}"></figure>\n'


def _section(trace: Source, section: Section, drawn: set[str]) -> Iterator[str]:
    yield f'<h2 id="{section.name}">{escape(section.title)}</h2>\n<p>{escape(section.sentence)}</p>\n'
    if section.table is None:
        return
    yield from _table(section.readable())
    if len(section.table) > ROWS:
        yield f'<p class="more">… and {len(section.table) - ROWS:,} more rows</p>\n'
    for kind in section.plots:
        if kind in drawn:
            continue
        drawn.add(kind)
        try:
            yield _picture(KINDS[kind](trace), kind)
        except MissingEventError as error:
            yield f"<p>Not drawn: {escape(str(error))}.</p>\n"


def page(trace: Source) -> str:
    """Return the report with its pictures as one HTML page."""
    title = f"Trace {trace.path.name}"
    links: list[str] = []
    body: list[str] = []
    drawn: set[str] = set()
    all_ = list(sections(trace))
    for section in all_:
        there = "absent" if section.absent else section.name
        shade = "" if section.table is not None else ' class="absent"'
        links.append(f'<a{shade} href="#{there}">{escape(section.title)}</a>\n')
        if not section.absent:
            body += _section(trace, section, drawn)
    missing = absences(all_)
    if missing:
        body.append('<h2 id="absent">Not in this trace</h2>\n<dl>\n')
        body += [f"<dt>{escape(titles)}</dt><dd>{escape(reason)}.</dd>\n" for titles, reason in missing]
        body.append("</dl>\n")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="generator" content="ltt-relay {__version__}">\n<style>{_STYLE}</style></head>\n<body>'
        f"<nav><b>{escape(title)}</b>\n{''.join(links)}</nav>\n<main><h1>{escape(title)}</h1>\n{''.join(body)}"
        "</main></body></html>\n"
    )
