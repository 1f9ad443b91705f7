# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux Trace Toolkit traces as pandas frames.

The data's way, and the order in which the packages may import one another::

    capture -> decode -> analysis -> plot, export -> cli

Importing this package imports nothing heavy.
"""

from __future__ import annotations

__all__ = ("__version__",)

__version__ = "0.1.0"
