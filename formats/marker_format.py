# SPDX-License-Identifier: GPL-2.0-or-later
"""Format strings of LTTng's markers: the text from which 1.0 to 2.6 and UST 0.x know what a record holds.

>>> [(item.name, item.size, item.big) for item in parse("skb %p protocol #n2u%hu name %s", Sizes())]
[('skb', 4, False), ('protocol', 2, True), ('name', 0, False)]

Literal text names the field behind it, by its first word. A field is an optional trace type (`#`, what is in the
file) and a C type (`%`, how it was printed, and what is in the file if there is no trace type).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ltt_relay.formats.base import unused

__all__ = ("Item", "Sizes", "parse")

_TYPE: Final = re.compile(
    r"(?:#(n?)(hh|h|ll|l|L|z|Z|t|[1248])?([dicuoxXps]))?%[-+ #0]*(hh|h|ll|l|L|z|Z|t)?([dicuoxXps])"
)
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SIGNED: Final = "di"
_HEX: Final = "xXp"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes of the traced machine's C types."""

    int_: int = 4
    long: int = 4
    pointer: int = 4
    size_t: int = 4


@dataclass(frozen=True, slots=True)
class Item:
    """A field: `size` bytes, 0 for text ended by NUL; big: in network byte order; hint: "dec" or "hex"."""

    name: str
    size: int
    signed: bool
    big: bool
    hint: str


def _size(modifier: str, conversion: str, sizes: Sizes) -> int:
    if conversion == "s":
        return 0
    if modifier in {"hh", "1"} or (conversion == "c" and not modifier):
        return 1
    if modifier in {"h", "2"}:
        return 2
    if modifier == "4":
        return 4
    if modifier in {"ll", "L", "8"}:
        return 8
    if modifier == "l":
        return sizes.long
    if modifier in {"z", "Z"}:
        return sizes.size_t
    if modifier == "t" or conversion == "p":
        return sizes.pointer
    return sizes.int_


def _pieces(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yield each type with the literal text before it."""
    literal, at = "", 0
    while at < len(text):
        if text[at : at + 2] in {"##", "%%"}:
            literal += text[at]
            at += 2
        elif found := _TYPE.match(text, at):
            yield literal, found
            literal, at = "", found.end()
        else:
            literal += text[at]
            at += 1


def parse(text: str, sizes: Sizes) -> tuple[Item, ...]:
    """Return the fields of a format string; names are made unique, and fields without one are called field_N.

    A trace type of 8 bytes counts for nothing, as the kernel's writer compared its size with the number 8 instead of
    the digit: the C type's size is in the file. A trace type without a C type behind it is text.
    """
    items: list[Item] = []
    taken: set[str] = set()
    for literal, found in _pieces(text):
        network, modifier, conversion, c_modifier, c_conversion = (group or "" for group in found.groups())
        word = _NAME.search(literal)
        name = unused(word[0] if word else f"field_{len(items)}", len(items), taken)
        if not conversion or modifier == "8":
            size = _size(c_modifier, c_conversion, sizes)
        else:
            size = _size(modifier, conversion, sizes)
        shape = conversion or c_conversion
        hint = "hex" if c_conversion in _HEX or shape == "p" else "dec"
        items.append(Item(name, size, shape in _SIGNED, bool(network), hint))
    return tuple(items)
