# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format is it? The readers of this package, those of other packages, and formats of one's own.

>>> READERS[-1]
'ltt3'
"""

from __future__ import annotations

import functools
import sys
from importlib import import_module, util
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Final

from ltt_relay.formats import plain
from ltt_relay.formats.base import Format
from ltt_relay.formats.loaded import Loaded, LoadError

__all__ = ("ENTRY_POINTS", "READERS", "detect", "load", "named", "reader")

#: Modules of this package that have `claims` and `load` (see `loaded.py`); LTT 3.0 is what a
#: directory is if it is nothing else, so it comes last.
READERS: Final = ("classic", "k42", "poly", "lttng0", "blktrace", "lttng2", "mt76", "spectral", "ltt3")
#: Packages bring formats as entry points of this group: a module like those of this package, or a `Format`.
ENTRY_POINTS: Final = "ltt_relay.formats"


def reader(name: str) -> ModuleType:
    """Return the module of a format."""
    return import_module(f"ltt_relay.formats.{name}")


@functools.cache
def _installed(places: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Return the formats of other packages in `places`, which is sys.path: every package there has to be looked at."""
    return tuple(entry_points(group=ENTRY_POINTS))


def detect(path: Path) -> ModuleType | None:
    """Return the module of the first format that claims `path`, None if none does.

    Modules of other packages are asked before LTT 3.0, unless there is a packet of it, which spares importing them all;
    a bare `Format` claims nothing: it has to be named.
    """
    last = reader(READERS[-1])
    if last.begins(path):
        return last
    for name in READERS[:-1]:
        module = reader(name)
        if module.claims(path):
            return module
    for point in _installed(tuple(sys.path)):
        found = point.load()
        if isinstance(found, ModuleType) and found.claims(path):
            return found
    return last if last.claims(path) else None


def named(name: str) -> Format | ModuleType:
    """Return what --format or format= names: a Python file (it is run), a format of this package, or an entry point.

    Raises:
        LoadError: there is no such format, or the file defines none.

    """
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name in READERS:
        return reader(name)
    installed = {point.name: point for point in _installed(tuple(sys.path))}
    if name in installed:
        found: Format | ModuleType = installed[name].load()
        return found
    known = ", ".join([*READERS, *installed])
    raise LoadError(f"no format {name!r}; {known}, or a Python file that defines FORMAT, was expected")


def _from_file(path: Path) -> Format | ModuleType:
    """Run a file that defines FORMAT. Only ever called for a file that the user named."""
    spec = util.spec_from_file_location(f"ltt_relay_format_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise LoadError(f"{path}: no such file; a Python file that defines FORMAT was expected")
    module = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise LoadError(f"{path}: {type(error).__name__}: {error}") from error
    if hasattr(module, "load"):
        return module
    found = getattr(module, "FORMAT", None)
    if not isinstance(found, Format):
        raise LoadError(f"{path}: it defines no FORMAT (an ltt_relay.formats.base.Format)")
    return found


def load(path: Path, found: Format | ModuleType) -> Loaded:
    """Return the packets of a trace through a format or its module.

    Raises:
        LoadError: nothing at the path can be read.

    """
    if isinstance(found, Format):
        return plain.load_plain(path, found)
    loaded: Loaded = found.load(path)
    return loaded
