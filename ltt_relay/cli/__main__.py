# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ltt_relay.cli``: the command without an installed script (guests start it so)."""

from __future__ import annotations

from ltt_relay.cli import main

main(prog_name="ltt-relay")
