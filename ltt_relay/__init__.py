# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux Trace Toolkit traces as pandas frames.

The data's way, and the order in which the packages may import one another::

    capture -> decode -> analysis -> plot, export -> cli

>>> import ltt_relay
>>> trace = ltt_relay.open("demo-output/trace")      # doctest: +SKIP
>>> trace["sched_switch"].head()                     # doctest: +SKIP

Importing this package imports nothing heavy: the decoder is loaded when it is first asked for.
"""

from __future__ import annotations

__all__ = ("Trace", "TraceError", "__version__", "concatenate", "iterate", "open")

__version__ = "0.1.0"

TYPE_CHECKING = False  # as typing's, which takes longer to import than all that the command does before it can be ended
if TYPE_CHECKING:
    from typing import Any

    from ltt_relay.decode import Trace, TraceError, concatenate, iterate, open  # noqa: A004

_DECODE = frozenset({"Trace", "TraceError", "concatenate", "iterate", "open"})


def __getattr__(name: str) -> Any:
    if name in _DECODE:
        from ltt_relay import decode

        return getattr(decode, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
