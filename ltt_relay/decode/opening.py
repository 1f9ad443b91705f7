# SPDX-License-Identifier: GPL-2.0-or-later
"""From a path to a source: which format it is, and who reads it."""

from __future__ import annotations

from pathlib import Path

from ltt_relay.decode.errors import TraceError
from ltt_relay.decode.ltt3 import Ltt3Source
from ltt_relay.decode.source import Source
from ltt_relay.formats import registry
from ltt_relay.formats.loaded import LoadError

__all__ = ("open_source",)


def open_source(path: Path) -> Source:
    """Return the source of a trace.

    Raises:
        TraceError: no format claims the path, or the one that does can read nothing.

    """
    module = registry.detect(path)
    if module is None or not hasattr(module, "load"):
        return Ltt3Source(path)
    try:
        return Source(path, module.load(path))
    except LoadError as error:
        raise TraceError(str(error)) from error
    except OSError as error:
        raise TraceError(f"{error.filename or path}: {error.strerror}") from error
