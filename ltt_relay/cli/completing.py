# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell offers for words of a command: events and sessions. Never an error; what is not known is not offered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

__all__ = ("events", "sessions")


def events(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer events, groups, group:name, class:NAME, all.

    Those of the running kernel's tracer, or those of the format where it cannot be asked.
    """
    from click.shell_completion import CompletionItem

    words = {"all": "all events"}
    for group, name, ltt_class, doc in _known_events():
        words[group] = "all of the group"
        words[f"{group}:{name}"] = words[name] = doc
        words[f"class:{ltt_class}"] = "all of LTT's class"
    return [CompletionItem(word, help=text) for word, text in words.items() if word.startswith(incomplete)]


def _known_events() -> list[tuple[str, str, str, str]]:
    from ltt_relay.capture.session import MOUNT_POINT, available_events

    try:
        if (MOUNT_POINT / "ltt").exists():
            return [(e.group, e.name, e.ltt_class, "") for e in available_events() if e.available]
    except (OSError, UserError):
        pass
    # Most of the time it is not root who presses Tab before sudo's command.
    from ltt_relay.formats.ltt3 import EVENTS

    return [(event.group, event.name, event.ltt_class, event.doc) for event in EVENTS if event.stream == 0]


def sessions(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the sessions that there are."""
    from click.shell_completion import CompletionItem

    from ltt_relay.capture.session import MOUNT_POINT

    try:
        names = [path.name for path in (MOUNT_POINT / "ltt").iterdir() if path.is_dir()]
    except OSError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]
