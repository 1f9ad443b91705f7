# SPDX-License-Identifier: GPL-2.0-or-later
"""From a path to a source: which format it is, and who reads it."""

from __future__ import annotations

from importlib import util
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.ltt3 import Ltt3Source
from ltt_relay.decode.source import Source
from ltt_relay.formats import plain, registry
from ltt_relay.formats.base import Format
from ltt_relay.formats.layout import UnsupportedFieldError
from ltt_relay.formats.loaded import Loaded, LoadError

__all__ = ("ENTRY_POINTS", "open_source")

#: Packages bring formats as entry points of this group: a module like those of `ltt_relay.formats`, or a `Format`.
ENTRY_POINTS = "ltt_relay.formats"


def _from_file(path: Path) -> Format | ModuleType:
    """Run a file that defines FORMAT. Only ever called for a file that the user named."""
    spec = util.spec_from_file_location(f"ltt_relay_format_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise TraceError(f"{path}: no such file; a Python file that defines FORMAT was expected")
    module = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise TraceError(f"{path}: {type(error).__name__}: {error}") from error
    found = module if hasattr(module, "load") else getattr(module, "FORMAT", None)
    if not isinstance(found, Format | ModuleType):
        raise TraceError(f"{path}: it defines no FORMAT (an ltt_relay.formats.base.Format)")
    return found


def _named(name: str) -> Format | ModuleType:
    """Return what --format or format= names: a Python file, a format of this package, or an entry point."""
    if name.endswith(".py"):
        return _from_file(Path(name))
    if name in registry.READERS:
        return registry.reader(name)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in installed:
        found: Format | ModuleType = installed[name].load()
        return found
    known = ", ".join([*registry.READERS, *installed])
    raise TraceError(f"no format {name!r}; {known}, or a Python file that defines FORMAT, was expected")


def _load(path: Path, found: Format | ModuleType) -> Loaded:
    if isinstance(found, Format):
        return plain.load_plain(path, found)
    loaded: Loaded = found.load(path)
    return loaded


def open_source(path: Path, format: str | Path | Format | None = None) -> Source:  # noqa: A002
    """Return the source of a trace; `format` is a name, a Python file or a definition, None: what the bytes tell.

    Raises:
        TraceError: there is nothing at the path, no format claims it, or the one that does can read nothing.

    """
    found: Format | ModuleType | None
    if isinstance(format, Format):
        found = format
    elif format is not None:
        found = _named(str(format))
    else:
        found = registry.detect(path)
    if found is None:
        what = "no format that is known here" if path.exists() else "no such directory or file"
        raise TraceError(f"{path}: {what}")
    if isinstance(found, ModuleType) and not hasattr(found, "load"):
        return Ltt3Source(path)
    try:
        return Source(path, _load(path, found))
    except (LoadError, UnsupportedFieldError) as error:
        raise TraceError(str(error)) from error
    except OSError as error:
        raise TraceError(f"{error.filename or path}: {error.strerror}") from error
