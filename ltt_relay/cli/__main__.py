# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ltt_relay.cli``: as ``python -m ltt_relay``."""

from __future__ import annotations

from ltt_relay.__main__ import main

main(prog_name="ltt-relay")
