# SPDX-License-Identifier: GPL-2.0-or-later
"""What a session's `metadata` (CTF 1.8 TSDL, as our kernel modules print it) tells besides the format."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from uuid import UUID

from ltt_relay.formats import tsdl
from ltt_relay.formats.base import Event
from ltt_relay.formats.ltt3 import FIRST_DYNAMIC_ID

__all__ = ("Metadata", "is_offset", "parse")

_ENV = re.compile(r"\benv\s*\{")
_ENTRY = re.compile(r'^[ \t]*(\w+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|(-?\d{1,19}));', re.MULTILINE)
_UUID = re.compile(r'uuid\s*=\s*"([0-9a-fA-F-]{36})"')
_CLOCK = re.compile(r"^clock\s*\{", re.MULTILINE)
_OFFSET_S = re.compile(r"offset_s\s*=\s*(-?\d{1,19})")
_OFFSET = re.compile(r"offset\s*=\s*(-?\d{1,19})")
#: ns: with the largest time of a trace, this still fits into 64 bits.
_MAX_OFFSET = 1 << 62


@dataclass(frozen=True, slots=True)
class Metadata:
    """uuid of the session; wall clock minus monotonic clock in ns at its begin; the environment.

    events: those that it got at run time; wrong: what is the matter with those that cannot be read.
    """

    uuid: UUID | None = None
    wall_offset: int | None = None
    env: dict[str, str | int] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def _text(escaped: str) -> str:
    return re.sub(
        r"\\([0-7]{3}|.)", lambda m: chr(int(m[1], 8)) if len(m[1]) == 3 else m[1].replace("n", "\n"), escaped
    )


def parse(text: str) -> Metadata:
    """Return what is found; what is not there stays None or empty."""
    env: dict[str, str | int] = {}
    if begin := _ENV.search(text):
        for name, quoted, number in _ENTRY.findall(text[begin.end() : text.find("\n};", begin.end())]):
            env[name] = int(number) if number else _text(quoted)
    clock = text[found.end() :] if (found := _CLOCK.search(text)) else text  # a session may be called anything
    seconds, rest = _OFFSET_S.search(clock), _OFFSET.search(clock)
    offset = int(seconds[1]) * 1_000_000_000 + (int(rest[1]) if rest else 0) if seconds else None
    events, wrong = tsdl.events(text, FIRST_DYNAMIC_ID)
    return Metadata(_uuid(text), offset if offset is None or is_offset(offset) else None, env, events, wrong)


def is_offset(offset: int) -> bool:
    """Whether wall clock and monotonic clock can be so many ns apart."""
    return abs(offset) < _MAX_OFFSET


def _uuid(text: str) -> UUID | None:
    found = _UUID.search(text)
    try:
        return UUID(found[1]) if found else None
    except ValueError:
        return None
