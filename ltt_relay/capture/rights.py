# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may record: the mount options of relayfs say it; and a refusal put into words. Light: runs on targets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from ltt_relay.errors import UserError

__all__ = ("MOUNT_POINT", "group_number", "mount_options", "refusal")

MOUNT_POINT: Final = Path("/sys/kernel/relay")
#: What the kernel leaves out of the mount table.
_DEFAULTS: Final = {"uid": "0", "gid": "0", "mode": "700", "log_mode": "0"}


def mount_options(mounts: Path = Path("/proc/self/mounts")) -> dict[str, str] | None:
    """Return uid, gid, mode and log_mode of the relayfs that is mounted at `MOUNT_POINT`; None if none is."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    # The last one lies over the others.
    for words in (line.split() for line in reversed(lines)):
        if words[1] == str(MOUNT_POINT):
            given = dict(re.findall(r"(?:^|,)(\w+)=(\w+)", words[3]))
            return (
                {name: given.get(name, value) for name, value in _DEFAULTS.items()} if words[2] == "relayfs" else None
            )
    return None


def refusal(path: Path) -> str:
    """Return what is said of a file of relayfs that this user may not have."""
    options = mount_options()
    groups = ", ".join(str(number) for number in sorted({os.getegid(), *os.getgroups()}))
    mounted = f"relayfs is mounted with gid={options['gid']}, mode={options['mode']}, and " if options else ""
    return (
        f"{path}: permission denied: {mounted}this is user {os.geteuid()} of group{'s' * (', ' in groups)} {groups}: "
        "run as root, or let a group record: sudo ltt-relay module load --group GROUP"
    )


def group_number(name: str) -> int:
    """Return the number of a group, given by name or number.

    Raises:
        UserError: there is none.

    """
    import grp

    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise UserError(f"--group {name}: there is no such group; sudo groupadd --system {name} makes it") from None
