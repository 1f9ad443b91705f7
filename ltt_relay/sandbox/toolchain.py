# SPDX-License-Identifier: GPL-2.0-or-later
"""A compiler for kernels that are newer than this machine's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltt_relay.sandbox.kernels import Kernel


def build_prefix(kernel: Kernel) -> list[str]:
    return []
