# SPDX-License-Identifier: GPL-2.0-or-later
"""Which format is it? The readers of this package, asked in order.

>>> READERS[-1]
'ltt3'
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

__all__ = ("READERS", "detect", "reader")

#: Modules of this package that have `claims` and `load` (see `loaded.py`); LTT 3.0 is what a
#: directory is if it is nothing else, so it comes last.
READERS: Final = ("classic", "k42", "poly", "blktrace", "lttng2", "ltt3")


def reader(name: str) -> ModuleType:
    """Return the module of a format."""
    return import_module(f"ltt_relay.formats.{name}")


def detect(path: Path) -> ModuleType | None:
    """Return the module of the first format that claims `path`, None if none does."""
    for name in READERS:
        module = reader(name)
        if module.claims(path):
            return module
    return None
