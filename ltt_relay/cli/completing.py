# SPDX-License-Identifier: GPL-2.0-or-later
"""What a shell offers for the words of a command line. Never an error; what is not known is not offered."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    import click
    from click.shell_completion import CompletionItem

__all__ = ("events", "filters", "pids", "programs", "sessions", "users")


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
    from ltt_relay.capture.rights import MOUNT_POINT
    from ltt_relay.capture.session import available_events

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

    from ltt_relay.capture.rights import MOUNT_POINT

    try:
        names = [path.name for path in (MOUNT_POINT / "ltt").iterdir() if path.is_dir()]
    except OSError:
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def programs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer programs for the first word of a command, files for the others."""
    from click.shell_completion import CompletionItem

    if not incomplete or "/" in incomplete or ctx.params.get(param.name or ""):
        return [CompletionItem(incomplete, type="file")]
    names = set()
    for directory in os.get_exec_path():
        try:
            names |= {entry.name for entry in os.scandir(directory) if entry.name.startswith(incomplete)}
        except OSError:
            continue
    return [CompletionItem(name) for name in sorted(names)]


def users(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the users of this machine."""
    import pwd

    from click.shell_completion import CompletionItem

    names = sorted({account.pw_name for account in pwd.getpwall()})
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def pids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the processes that run, with their names."""
    from click.shell_completion import CompletionItem

    found = []
    for path in sorted(Path("/proc").glob("[0-9]*")):
        try:
            if path.name.startswith(incomplete):
                found.append(CompletionItem(path.name, help=(path / "comm").read_text().strip()))
        except OSError:
            continue  # it has just ended
    return found


def filters(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the keys of filters."""
    from click.shell_completion import CompletionItem

    keys = {
        "tid=": "threads",
        "tgid=": "processes",
        "comm=": "names of tasks",
        "uid=": "users, as numbers",
        "cgroup=": "control groups",
        "cpu=": "CPUs, as 0,2-3",
        "follow=1": "children, too",
    }
    return [CompletionItem(key, help=text) for key, text in keys.items() if key.startswith(incomplete)]
