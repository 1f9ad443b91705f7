# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces made to order, for tests of your own and of ours."""

from __future__ import annotations

from ltt_relay.testing.synthetic import write_trace

__all__ = ("write_trace",)
