# SPDX-License-Identifier: GPL-2.0-or-later
"""What lies beside a trace of LTT: the files of its other CPUs, and the list of names that its daemon wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ltt_relay.formats.loaded import MAX_CPU, LoadError, Name, Problem

__all__ = ("group_files", "read_proc", "strangers", "unread")

#: TraceDaemon puts three digits before the extension (or at the end); the kernel's own files are cpuN.
_OF_CPU: Final = re.compile(r"(?P<stem>.*?)(?P<cpu>\d{3}|(?<=^cpu)\d+)(?P<ext>\.[^.]*)?")
_PID: Final = re.compile(rb"PID: (\d{1,10}); PPID: (-?\d+); NAME: (.*)")
_IRQ: Final = re.compile(rb"IRQ: (\d{1,10}); NAME: (.*)")
#: LTTng's channels are files called CHANNEL_CPU.
_CHANNEL: Final = re.compile(r"[^.].*_(?P<cpu>\d+)")
_MOST: Final = 1 << 24


def group_files(path: Path, mine: Callable[[Path], bool]) -> list[tuple[int, Path]]:
    """Return CPU and file of the trace that `path` is, is a file of, or has in it; CPU 0 if the name has none.

    mine: is a file one of the format?

    Raises:
        LoadError: a directory has several traces.

    """
    directory = path if path.is_dir() else path.parent
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for file in sorted(directory.iterdir()):
        if not file.is_file() or file.name[0] == "." or not mine(file):
            continue
        name = _OF_CPU.fullmatch(file.name)
        key, cpu = ((name["stem"], name["ext"] or ""), int(name["cpu"]) & MAX_CPU) if name else ((file.name, ""), 0)
        groups.setdefault(key, []).append((cpu, file))
    if path.is_file():
        groups = {key: files for key, files in groups.items() if any(path.samefile(file) for _, file in files)}
    if len(groups) > 1:
        shown = ", ".join(sorted(stem + ext for stem, ext in groups))
        raise LoadError(f"{path}: several traces: {shown}; name a file of the one that is meant")
    return [found for files in groups.values() for found in sorted(files)]


def strangers(grouped: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """Return CPU and file of what has the name of another CPU of a trace, but is not told to be one of the format.

    That is what lost its first sub-buffer. Files without a byte are of CPUs on which nothing happened.
    """
    names = {_OF_CPU.fullmatch(file.name) for _, file in grouped}
    kinds = {(name["stem"], name["ext"]) for name in names if name}
    known = {file for _, file in grouped}
    found = []
    for file in sorted(grouped[0][1].parent.iterdir()) if kinds else []:
        name = _OF_CPU.fullmatch(file.name)
        alike = name and (name["stem"], name["ext"]) in kinds and file not in known
        if name and alike and file.is_file() and file.stat().st_size:
            found.append((int(name["cpu"]) & MAX_CPU, file))
    return found


def unread(files: Iterable[Path], read: Iterable[Path]) -> list[Problem]:
    """Return a row for each file with the name of an LTTng channel that has bytes, but was not told to be one."""
    known = set(read)
    rows = []
    for file in files:
        name = _CHANNEL.fullmatch(file.name)
        if name and file not in known and file.is_file() and file.stat().st_size:
            cpu, expected = int(name["cpu"]) & MAX_CPU, "sub-buffers of this trace, with the magic number 0x00D6B7ED"
            rows.append(Problem(file.name, cpu, -1, 0, "not_a_stream", expected, "something else at its begin"))
    return rows


def read_proc(files: Iterable[Path]) -> list[Name]:
    """Return names of tasks and irqs from the list beside a trace: `proc`, a *.proc of its name, or the only *.proc."""
    first = next(iter(files))
    name = _OF_CPU.fullmatch(first.name)
    stem = name["stem"] if name else first.stem
    candidates = [file for file in sorted(first.parent.iterdir()) if file.suffix == ".proc" or file.name == "proc"]
    named = [file for file in candidates if file.stem in {stem, first.stem} or file.name == "proc"]
    chosen = named or (candidates if len(candidates) == 1 else [])
    names: list[Name] = []
    for file in chosen:
        with file.open("rb") as stream:
            lines = stream.read(_MOST).replace(b"\0", b"").splitlines()
        for line in lines:
            for table, pattern, group in (("task", _PID, 3), ("irq", _IRQ, 2)):
                if found := pattern.fullmatch(line.strip()):
                    text = found[group].decode("utf-8", "backslashreplace").strip()
                    names.append(Name(table, int(found[1]), text))
    return names
