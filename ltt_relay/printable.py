# SPDX-License-Identifier: GPL-2.0-or-later
"""Text out of a trace, for a terminal. Light: imports nothing."""

from __future__ import annotations

__all__ = ("printable",)


def printable(text: str) -> str:
    """Return text with escapes for what a terminal would act on: a task can call itself anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
