# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-C while there is something to tidy up; elsewhere it ends the command at once (`ltt_relay.__main__`)."""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sys import UnraisableHookArgs
    from types import FrameType

__all__ = ("tidied",)

_SOON: Final = 0.1  # seconds


@contextmanager
def tidied(*others: signal.Signals) -> Iterator[None]:
    """Make an exception of Ctrl-C meanwhile, so that what was begun is tidied up; then the command ends with 130.

    Likewise of other signals that end a command, with 128 and their number. Not around what Numba compiles: half the
    time Ctrl-C would come in a callback of the compiler's, and be lost there.
    """
    with contextlib.ExitStack() as stack:
        for number in others:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit)
                stack.callback(signal.signal, number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # else it is ignored, or another's business
            stack.enter_context(_interruptible())
        yield


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


@contextmanager
def _interruptible() -> Iterator[None]:
    before = sys.unraisablehook
    sys.unraisablehook = _once_more
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        sys.unraisablehook = before


def _once_more(args: UnraisableHookArgs) -> None:
    """Make the exception anew that was lost in a destructor or a callback, when that has returned."""
    if not issubclass(args.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(args)
        return
    from threading import Timer

    Timer(_SOON, _thread.interrupt_main).start()
