# SPDX-License-Identifier: GPL-2.0-or-later
"""Event descriptions of LTTng 0.3 to 0.8: what genevent made code of, and a trace carries in eventdefs/.

The files are XML but for attributes without quotes in the older ones, so they are read by their tags alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Final

import construct

from ltt_relay.formats.fields import align, array, cstring, enum, field, integer, rest, sequence, struct
from ltt_relay.formats.marker_format import Sizes

__all__ = ("Described", "Facility", "payload", "read_facility")

# What begins with a quotation mark is no value without them: a tag that is never closed would take for ever.
_TAG: Final = re.compile(r"<(/?)([A-Za-z_]\w*)((?:\s+\w+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s/>\"'][^\s/>]*))*)\s*(/?)>")
_ATTRIBUTE: Final = re.compile(r"(\w+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s/>\"'][^\s/>]*))")
_MOST_DEPTH: Final = 32
_LETTERS: Final = {
    "char": (1, True), "uchar": (1, False), "short": (2, True), "ushort": (2, False),
}  # fmt: skip


@dataclass(slots=True)
class _Node:
    tag: str
    attributes: dict[str, str] = attribute(default_factory=dict)
    inner: list[_Node] = attribute(default_factory=list)
    text: str = ""

    def named(self, tag: str) -> Iterator[_Node]:
        """Yield the nodes of that tag directly inside."""
        return (node for node in self.inner if node.tag == tag)


@dataclass(frozen=True, slots=True)
class Described:
    """An event as its facility describes it; fields: name, meaning and type."""

    name: str
    doc: str
    fields: tuple[tuple[str, str, _Node], ...]


@dataclass(frozen=True, slots=True)
class Facility:
    """A set of events; their ids are their places."""

    name: str
    events: tuple[Described, ...]
    types: dict[str, _Node]


def _tree(text: str) -> _Node:
    root = _Node("")
    stack = [root]
    last = 0
    for tag in _TAG.finditer(text):
        stack[-1].text += text[last : tag.start()]
        last = tag.end()
        closing, name, attributes, empty = tag.groups()
        if closing:
            while len(stack) > 1 and stack.pop().tag != name:
                pass
            continue
        found = {a[0]: a[1] or a[2] or a[3] for a in _ATTRIBUTE.findall(attributes)}
        node = _Node(name, found)
        stack[-1].inner.append(node)
        if not empty and len(stack) < _MOST_DEPTH:
            stack.append(node)
    return root


def _type_of(node: _Node) -> _Node | None:
    return next((inner for inner in node.inner if inner.tag != "description"), None)


def _doc(node: _Node) -> str:
    text = next((" ".join(inner.text.split()) for inner in node.named("description")), "")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _fields(node: _Node) -> tuple[tuple[str, str, _Node], ...]:
    """Return the fields of an event or struct; the oldest files have those of an event in a struct."""
    holder = node
    found = list(holder.named("field"))
    if not found:
        holder = next(node.named("struct"), node)
        found = list(holder.named("field"))
    typed = [(f.attributes.get("name", f"field_{i}"), _doc(f), _type_of(f)) for i, f in enumerate(found)]
    return tuple((name, doc, kind) for name, doc, kind in typed if kind is not None)


def read_facility(text: str) -> Facility | None:
    """Return the facility that a file describes, None if it has none."""
    root = next(_tree(text).named("facility"), None)
    if root is None:
        return None
    events = tuple(
        Described(event.attributes.get("name", f"event_{i}"), _doc(event), _fields(event))
        for i, event in enumerate(root.named("event"))
    )
    types = {
        node.attributes["name"]: kind
        for node in root.named("type")
        if "name" in node.attributes and (kind := _type_of(node))
    }
    return Facility(root.attributes.get("name", ""), events, types)


class _UnknownTypeError(Exception):
    """A type that has no place in a struct of ours: what is left of a payload is bytes."""


def _scalar(node: _Node, sizes: Sizes, order: str) -> tuple[construct.FormatField, int, str]:
    """Return an integer, its size, and how it is shown."""
    told = node.attributes.get("size", "")
    size = int(told) if told in {"1", "2", "4", "8"} else 0
    tag, signed, hint = node.tag, False, "dec"
    if tag in {"int", "uint", "bitfield"}:
        size, signed = size or sizes.int_, tag == "int"
    elif tag in {"long", "ulong"}:
        size, signed = sizes.long, tag == "long"
    elif tag == "pointer":
        size, hint = sizes.pointer, "hex"
    elif tag in {"size_t", "ssize_t", "off_t"}:
        size, signed = sizes.size_t, tag != "size_t"
    elif tag in _LETTERS:
        size, signed = _LETTERS[tag]
        size = int(told) if told in {"1", "2", "4", "8"} else size
    elif tag == "enum":
        size, signed = size or sizes.int_, True
    else:
        raise _UnknownTypeError(tag)
    return integer(8 * size, signed, order), size, hint


def _labels(node: _Node) -> dict[str, int]:
    names: dict[str, int] = {}
    value = 0
    for label in node.named("label"):
        told = label.attributes.get("value", "")
        if re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)", told):
            value = int(told, 0)
        names[label.attributes.get("name", str(value))] = value
        value += 1
    return names


def _members(
    fields: tuple[tuple[str, str, _Node], ...], types: dict[str, _Node], sizes: Sizes, order: str, cap: int,
    rename: dict[str, str], prefix: str = "", depth: int = 0,
) -> Iterator[construct.Construct]:  # fmt: skip
    def aligned(size: int) -> Iterator[construct.Construct]:
        if min(size, cap) > 1:
            yield align(min(size, cap))

    for own, doc, node in fields:
        name = f"{prefix}{rename.get(own, own)}"
        if node.tag == "typeref":
            node = types.get(node.attributes.get("name", ""), node)
        if node.tag in {"string", "text"}:
            yield field(name, cstring(), doc)
        elif node.tag == "struct" and depth < 4:
            yield from _members(_fields(node), types, sizes, order, cap, {}, f"{name}_", depth + 1)
        elif node.tag in {"array", "sequence"}:
            kinds = [inner for inner in node.inner if inner.tag != "description"]
            if not kinds:
                raise _UnknownTypeError(node.tag)
            item, size, hint = _scalar(kinds[-1], sizes, order)
            if node.tag == "array":
                told = node.attributes.get("size", "")
                count = int(told) if told.isdecimal() and int(told) <= 4096 else 0
                if not count:
                    raise _UnknownTypeError("array")
                yield from aligned(size)
                yield field(name, array(count, item), doc, hint=hint)
            else:
                length, bytes_, _ = (
                    _scalar(kinds[0], sizes, order)
                    if len(kinds) > 1
                    else (integer(8 * sizes.size_t, signed=False, order=order), sizes.size_t, "dec")
                )
                yield from aligned(bytes_)
                yield field(f"{name}_length", length, f"items of {name}")
                yield from aligned(size)
                yield field(name, sequence(f"{name}_length", item), doc, hint=hint)
        else:
            kind, size, hint = _scalar(node, sizes, order)
            names = _labels(node) if node.tag == "enum" else {}
            yield from aligned(size)
            yield field(name, enum(kind, names) if names else kind, doc, hint=hint)


def payload(
    event: Described, types: dict[str, _Node], sizes: Sizes, order: str, cap: int, rename: dict[str, str]
) -> construct.Struct:
    """Return an event's payload. What stands behind a type that is not known (a union) is one field of bytes.

    cap: the largest alignment, 1 if fields are packed; rename: other names for some fields.
    """
    members: list[construct.Construct] = []
    for i in range(len(event.fields)):
        try:
            members += _members(event.fields[i : i + 1], types, sizes, order, cap, rename)
        except _UnknownTypeError:
            members.append(field("rest", rest(), "what could not be told apart"))
            break
    return struct(*members)
