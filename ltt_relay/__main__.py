# SPDX-License-Identifier: GPL-2.0-or-later
"""The command's entry, as a script and as ``python -m ltt_relay``.

Until a command has something to tidy up (`ltt_relay.cli.interrupt`), Ctrl-C ends it at once and without a word, as it
does a program that knows nothing of signals. As an exception it would be a traceback out of whatever is being imported
or compiled, or be swallowed there. So this comes before anything else is imported.
"""

from __future__ import annotations

try:
    import signal

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
except KeyboardInterrupt:
    raise SystemExit(130) from None

from ltt_relay.cli import main

__all__ = ("main",)

if __name__ == "__main__":
    main(prog_name="ltt-relay")
