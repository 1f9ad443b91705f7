# SPDX-License-Identifier: GPL-2.0-or-later
"""What all tests need of the process that runs them."""

from __future__ import annotations

import signal

# A shell starts what it runs in the background with Ctrl-C ignored, and whatever that starts inherits it: then nothing
# that is interrupted here would end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
