# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a guest, and what the guest left behind when it did."""

from __future__ import annotations

__all__ = ("GuestError", "GuestHangError", "GuestPanicError", "GuestTimeoutError", "SandboxError", "UnreachableError")

_TAIL_LINES = 40


class SandboxError(RuntimeError):
    """The guest cannot be prepared or started; the text says what is missing and what to do."""


class UnreachableError(SandboxError):
    """The package index did not answer, so no kernel can be looked up or downloaded."""


class GuestError(SandboxError):
    """The guest ended before the command did.

    Attributes:
        console: the kernel's console log, as far as it got.
        stdout: what the command had written until then (empty where it went straight to a file).
        stderr: likewise.

    """

    def __init__(self, message: str, *, console: str = "", stdout: bytes = b"", stderr: bytes = b"") -> None:
        super().__init__(message)
        self.console = console
        self.stdout = stdout
        self.stderr = stderr

    def __str__(self) -> str:
        message = super().__str__()
        lines = self.console.rstrip().splitlines()
        if not lines:
            return message
        shown = lines[-_TAIL_LINES:]
        left_out = len(lines) - len(shown)
        head = f"the console's last {len(shown)} lines ({left_out} more before them)" if left_out else "the console"
        return "\n".join([message, f"--- {head}:", *shown, "---"])


class GuestPanicError(GuestError):
    """The guest's kernel panicked (an oops is a panic there), or QEMU ended by itself."""


class GuestHangError(GuestError):
    """The guest did not come up, or stopped answering."""


class GuestTimeoutError(GuestError):
    """The command did not end within the time it was given."""
