# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong with a guest, and what the guest left behind when it did."""

from __future__ import annotations

import re

__all__ = (
    "EmulatorError",
    "GuestError",
    "GuestHangError",
    "GuestPanicError",
    "GuestTimeoutError",
    "SandboxError",
    "UnreachableError",
    "stale_breakpoint",
    "stuck_at_breakpoint",
)

_TAIL_LINES = 80


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


class EmulatorError(GuestPanicError):
    """The guest's kernel died of a breakpoint that was not in its memory (`stale_breakpoint`), or is stuck at one.

    The first is the emulator's fault for sure, the second most likely.
    """


class GuestTimeoutError(GuestError):
    """The command did not end within the time it was given."""


def stale_breakpoint(console: str) -> bool:
    """Tell whether the kernel trapped at a breakpoint although its memory has none there.

    A kernel that switches a tracepoint puts a breakpoint (cc) over the jump, and takes it away when every CPU knows.
    QEMU (as of 7.2), with a thread for each CPU, can translate the breakpoint while another CPU takes it away, and
    then goes on executing it: the kernel finds nobody whose it is. The byte in front of the marked one tells.
    """
    traps = re.finditer(r"int3: 0000 .*?\bCode: (?:[0-9a-f]{2} )*?([0-9a-f]{2}) <[0-9a-f]{2}>", console, re.DOTALL)
    return any(trap[1] != "cc" for trap in traps)


def stuck_at_breakpoint(console: str) -> bool:
    """Tell whether a kernel that hangs shows a CPU in the handler of breakpoints, or one that waits for another's.

    Older kernels try an instruction whose breakpoint has been taken away again, and QEMU executes the breakpoint for
    ever. Of the CPUs that are asked where they are one answers: it may be the one that changes the code and waits until
    all others have seen it; and the one that tries may just stand at the instruction, a branch that is switched on and
    off by rewriting it: a nop of two or five bytes, or a jump forward, which no waiting loop ends with.
    """
    handler = r"\b(?:asm_exc_int3|(?:smp_)?text_poke\w*)\+0x"
    switched = r"<66> 90|<0f> 1f 44 00 00|<e9> \w\w \w\w 00 00|<eb> [0-7]"
    stands = rf"RIP: 0010:[^\n]*\n[^\n]*\bCode: (?:[0-9a-f]{{2}} )*(?:{switched})"
    return re.search(f"{handler}|{stands}", console) is not None
