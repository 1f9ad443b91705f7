# SPDX-License-Identifier: GPL-2.0-or-later
"""What users are told without a traceback. Light: imports nothing."""

from __future__ import annotations

__all__ = ("UserError",)


class UserError(Exception):
    """Something that the user can mend; the message says what was found, where, what was expected, what to do."""
