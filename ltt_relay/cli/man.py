# SPDX-License-Identifier: GPL-2.0-or-later
"""Manual pages, made of the commands themselves: ``python -m ltt_relay.cli.man DIRECTORY``.

One page in mdoc(7) for ltt-relay, and one for each command and sub-command, as in ltt-relay-record.1.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ltt_relay.cli import main

__all__ = ("pages", "write")


def _text(text: str) -> str:
    """Escape for roff; a dot or quote at a line's begin would be a request."""
    text = text.replace("\\", "\\e").replace("--", "\\-\\-").replace("\N{HORIZONTAL ELLIPSIS}", "...")
    return re.sub(r"(?m)^([.'])", r"\\&\1", text)


def _macro_words(text: str) -> str:
    """Escape words that stand as a macro's argument: none of them is a macro or a delimiter."""
    return " ".join(f"\\&{_text(word)}\\&" for word in text.split())


def _sentences(text: str) -> Iterator[str]:
    """Each on a line of its own, as roff wants them."""
    yield from map(_text, re.sub(r"([.!?…]) +(?=[A-Z\[])", r"\1\n", text).splitlines())


def _paragraphs(text: str) -> Iterator[str]:
    """Help text to mdoc: paragraphs filled, those after \\b as they are."""
    for number, paragraph in enumerate(re.split(r"\n\s*\n", text.strip())):
        literal = paragraph.startswith("\b")
        lines = [line.rstrip() for line in paragraph.lstrip("\b\n").splitlines()]
        if literal:
            yield from (".Bd -literal -offset indent", *map(_text, lines), ".Ed")
        else:
            if number:
                yield ".Pp"
            yield from _sentences(" ".join(line.strip() for line in lines))


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    records = [param.get_help_record(ctx) for param in command.get_params(ctx)]
    records = [record for record in records if record is not None]
    if not records:
        return
    yield from (".Sh OPTIONS", ".Bl -tag -width indent")
    for names, text in (record for record in records if record is not None):
        yield ".It Xo"
        yield _text(names)
        yield ".Xc"
        yield from _sentences(text or "No description.")
    yield ".El"


def _page(command: click.Command, ctx: click.Context, path: list[str]) -> str:
    name = "-".join(path)
    seconds = int(os.environ.get("SOURCE_DATE_EPOCH", Path(__file__).stat().st_mtime))
    date = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    help_ = command.get_short_help_str(200).rstrip(".")
    lines = [
        f".Dd {date:%B} {date.day}, {date.year}",
        f".Dt {name.upper()} 1",
        ".Os",
        ".Sh NAME",
        f".Nm {name}",
        f".Nd {_text(help_[:1].lower() + help_[1:])}",
        ".Sh SYNOPSIS",
        f".Nm {' '.join(path)}",
        *(f".Ar {_macro_words(piece)}" for piece in command.collect_usage_pieces(ctx)),
        ".Sh DESCRIPTION",
        *_paragraphs(command.help or ""),
    ]
    children = _children(command, ctx)
    if children:
        lines += [".Sh COMMANDS", ".Bl -tag -width indent"]
        for child in children:
            lines += [f".It {child.name}", _text(child.get_short_help_str(200))]
        lines += [".El"]
    lines += _options(command, ctx)
    lines += [".Sh EXIT STATUS", "0 if done, 1 if it failed, 2 if it was used wrongly, 130 if Ctrl-C ended it."]
    if command.epilog:
        examples = re.sub(r"(?m)^Examples:\n", "", command.epilog.strip().lstrip("\b\n"))
        indent = min(len(line) - len(line.lstrip()) for line in examples.splitlines() if line.strip())
        shown = [_text(line[indent:]) for line in examples.splitlines()]
        lines += [".Sh EXAMPLES", ".Bd -literal", *shown, ".Ed"]
    others = [["ltt-relay"]] if len(path) > 1 else []
    others += [[*path, child.name or ""] for child in children]
    if others:
        names = [f".Xr {'-'.join(other)} 1" for other in sorted(others)]
        lines += [".Sh SEE ALSO", *(f"{name} ," for name in names[:-1]), names[-1]]
    return "\n".join(lines) + "\n"


def _children(command: click.Command, ctx: click.Context) -> list[click.Command]:
    if not isinstance(command, click.Group):
        return []
    found = [command.get_command(ctx, name) for name in command.list_commands(ctx)]
    return [child for child in found if child is not None]


def pages(
    command: click.Command = main, path: tuple[str, ...] = ("ltt-relay",), parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield file name and content of the manual page of a command and of each below it."""
    ctx = click.Context(command, info_name=path[-1], parent=parent)
    yield f"{'-'.join(path)}.1", _page(command, ctx, list(path))
    for child in _children(command, ctx):
        yield from pages(child, (*path, child.name or ""), ctx)


def write(directory: Path) -> list[Path]:
    """Write all pages; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in pages():
        (directory / name).write_text(content)
        written.append(directory / name)
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ltt_relay.cli.man DIRECTORY")
    for path in write(Path(sys.argv[1])):
        print(path)
