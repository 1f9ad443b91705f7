# SPDX-License-Identifier: GPL-2.0-or-later
"""A throwaway guest on this machine's files, to load kernel modules into and to run commands in.

    >>> from ltt_relay.sandbox import Guest
    >>> done = Guest(modules=()).run(["uname", "-r"])  # doctest: +SKIP
    >>> done.returncode, done.stdout  # doctest: +SKIP
    (0, b'6.1.0-50-amd64\\n')

From the question to the answer: `kernels` (which kernel, out of `packages`), `modules` (ours, built for it), `image`
(what is loaded into memory), `qemu` (the machine), `session` (its life), `guest_init.sh` (its first process), and
`guest`, which puts them together.

Why not virtme-ng, which does much of this: tried as 1.42 with Debian's kernel 6.1 on a machine without udev, its guest
found no ports for the streams, so both went to the console, which is silent by default: the command's output was
lost and its exit status 3 became 255. A panic looks the same. It starts the packed kernel image and systemd-tmpfiles:
8 s until a command has run, emulated; here 2.6 s. It has no deadline for a guest that hangs.
"""

from __future__ import annotations

from ltt_relay.sandbox.errors import (
    EmulatorError,
    GuestError,
    GuestHangError,
    GuestPanicError,
    GuestTimeoutError,
    SandboxError,
    UnreachableError,
)
from ltt_relay.sandbox.guest import Completed, Guest, run

__all__ = (
    "Completed",
    "EmulatorError",
    "Guest",
    "GuestError",
    "GuestHangError",
    "GuestPanicError",
    "GuestTimeoutError",
    "SandboxError",
    "UnreachableError",
    "run",
)
