# SPDX-License-Identifier: GPL-2.0-or-later
"""From a path to a source: which format it is, and who reads it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from ltt_relay.decode import image
from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.ltt3 import Ltt3Source
from ltt_relay.decode.source import Source
from ltt_relay.formats import registry, strangers
from ltt_relay.formats.base import Format
from ltt_relay.formats.layout import UnsupportedFieldError
from ltt_relay.formats.loaded import LoadError

__all__ = ("open_source",)


def open_source(path: Path, format: str | Path | Format | None = None) -> Source:  # noqa: A002
    """Return the source of a trace; `format` is a name, a Python file or a definition, None: what the bytes tell.

    Raises:
        TraceError: there is nothing at the path, no format claims it, or the one that does can read nothing.

    """
    if not path.exists():
        raise TraceError(f"{path}: no such directory or file")
    if not (path.is_file() or path.is_dir()):
        # A pipe would be waited for.
        raise TraceError(f"{path}: neither a directory nor a file, but a pipe or a device: write it to a file first")
    found: Format | ModuleType | None
    try:
        if isinstance(format, Format):
            found = format
        else:
            found = registry.detect(path) if format is None else registry.named(str(format))
        if found is None and image.is_image(path):
            return Ltt3Source(image.unpacked(path))
        if found is None:
            what = strangers.told(path)
            raise TraceError(f"{path}: no format that is known here{what or '; name one with format= or --format'}")
        if isinstance(found, ModuleType) and not hasattr(found, "load"):
            return Ltt3Source(path)
        return Source(path, registry.load(path, found))
    except (LoadError, UnsupportedFieldError) as error:
        raise TraceError(str(error)) from error
    except OSError as error:
        raise TraceError(f"{error.filename or path}: {error.strerror}") from error
