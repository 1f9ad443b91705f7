# SPDX-License-Identifier: GPL-2.0-or-later
"""Rewrite what is derived from the definitions and checked in: ``python -m ltt_relay.formats.generate``."""

from __future__ import annotations

from pathlib import Path

from ltt_relay.formats import cheader, ltt3, reference

__all__ = ("products",)


def products() -> dict[str, str]:
    """Return path in the project and text of each file."""
    intro = (ltt3.__doc__ or "").partition("A stream file is")
    return {
        "kmod/include/ltt3_gen.h": cheader.header(),
        "docs/format-ltt3.md": reference.page(ltt3.FORMAT, intro[1] + intro[2].replace("::\n", ":\n")),
    }


if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    for name, text in products().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(name)
