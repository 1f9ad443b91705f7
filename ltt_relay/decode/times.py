# SPDX-License-Identifier: GPL-2.0-or-later
"""Points in time as users give them: since= and until=.

int                     wall-clock ns since 1970
datetime, Timestamp     naive ones mean UTC; so does numpy.datetime64
"2026-11-24 13:00"      ISO 8601 text, UTC unless it says otherwise, or as `info` prints it: "… 13:00:00.5 UTC"
"+1.5s"                 from the trace's begin          "-2s"   from its end          units: ns us ms s min h
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, TypeAlias

import numpy as np

__all__ = ("Moment", "resolve")

Moment: TypeAlias = "int | str | datetime | np.datetime64"

_FORMS: Final = "wall-clock ns, ISO 8601 such as 2026-11-24T13:00:00.5Z, +1.5s or -2s"

_UNITS: Final = {
    "ns": 1,
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_RELATIVE = re.compile(r"([+-])(\d+(?:\.\d*)?)(ns|us|ms|s|min|h)?")
#: Of a second.
_FRACTION = re.compile(r"(?:(?<=:\d\d:\d\d)|(?<=T\d{6}))[.,](\d+)")


def _nanoseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    whole = (delta.days * 86400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1000
    return whole + int(getattr(moment, "nanosecond", 0))


def resolve(moment: Moment, begin: int, end: int) -> int:
    """Return wall-clock ns; `begin` and `end` are the trace's.

    Raises:
        ValueError: the text is none of the forms above, or the moment is no time (NaT).
        TypeError: it is none of the types above.

    """
    if isinstance(moment, (datetime, np.datetime64)) and moment != moment:
        raise ValueError(f"{moment!r} is no time: {_FORMS} were expected")
    if isinstance(moment, datetime):
        return _nanoseconds(moment)
    if isinstance(moment, np.datetime64):
        whole = moment.astype("datetime64[s]")  # ns from 1678 to 2262 are all that NumPy has
        rest = (moment - whole).astype("timedelta64[ns]")
        return int(whole.astype(np.int64)) * 1_000_000_000 + int(rest.astype(np.int64))
    if isinstance(moment, (int, np.integer)):
        return int(moment)
    if not isinstance(moment, str):
        raise TypeError(f"{moment!r} is of type {type(moment).__name__}: int, datetime or text was expected, {_FORMS}")
    text = moment.strip()
    if found := _RELATIVE.fullmatch(text):
        whole, _, fraction = found[2].partition(".")
        unit = _UNITS[found[3] or "s"]
        delta = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        return begin + delta if found[1] == "+" else end - delta
    if text.isdecimal():
        return int(text)
    # datetime knows microseconds; the digits behind them are added by hand.
    text = text.removesuffix(" UTC")
    fraction_found = _FRACTION.search(text)
    digits = fraction_found[1] if fraction_found else ""
    whole_seconds = _FRACTION.sub("", text)
    try:
        if "." in whole_seconds or "," in whole_seconds:
            raise ValueError  # datetime takes that of a minute for one of a second
        parsed = datetime.fromisoformat(whole_seconds)
    except ValueError:
        raise ValueError(f"{moment!r} is no time: {_FORMS} were expected") from None
    return _nanoseconds(parsed) + (int(digits[:9].ljust(9, "0")) if digits else 0)
