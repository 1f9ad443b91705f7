# SPDX-License-Identifier: GPL-2.0-or-later
"""Each analysis on ten million records, beside the time that Babeltrace takes to read the same trace.

python -m tests.bench.bench_analysis [MILLIONS]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

import ltt_relay
from ltt_relay.analysis.base import MissingEventError
from ltt_relay.analysis.catalog import ANALYSES
from ltt_relay.plot import KINDS
from ltt_relay.testing.synthetic import WIDE_MIX, write_trace

__all__ = ("run",)


def _used() -> float:
    """Processor seconds of this process and of those it waited for: other work on the machine does not add to them."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _seconds(call: Callable[[], object]) -> float | None:
    begin = _used()
    try:
        call()
    except MissingEventError:
        return None
    return _used() - begin


def _babeltrace(path: Path) -> float | None:
    """Read the trace and throw it away, the fastest that Babeltrace has."""
    if shutil.which("babeltrace2") is None:
        return None
    command = ["babeltrace2", str(path), "-o", "dummy"]
    return _seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def _draw(function: Callable[[ltt_relay.Trace], Figure], trace: ltt_relay.Trace, path: Path) -> None:
    function(trace).savefig(path)


def run(millions: float = 10.0) -> None:
    """Print a table: processor seconds of each analysis and each picture, reading included; Babeltrace's; the ratio."""
    with tempfile.TemporaryDirectory() as directory:
        path = write_trace(Path(directory, "trace"), int(millions * 1e6), 4, mix=WIDE_MIX)
        small = ltt_relay.open(write_trace(Path(directory, "small"), 20_000, 4, mix=WIDE_MIX))
        trace = ltt_relay.open(path)
        # Counted and compiled beforehand, as on a second look at a trace.
        len(trace)
        for entry in ANALYSES:
            _seconds(partial(entry.function, small))
        theirs = _babeltrace(path)
        print(f"{trace.info['records']:,} records on {trace.info['cpus']} CPUs; processor seconds, reading included")
        print(f"{'Babeltrace 2 reads it to nothing':44} {theirs if theirs is None else round(theirs, 1)}")
        print(f"{'':44} {'seconds':>8} {'Babeltrace / ours':>18}")
        for entry in ANALYSES:
            _line(entry.title, _seconds(partial(entry.function, trace)), theirs)
        for kind, function in KINDS.items():
            seconds = _seconds(partial(_draw, function, trace, Path(directory, "picture.png")))
            _line(f"plot {kind}", seconds, theirs)


def _line(name: str, ours: float | None, theirs: float | None) -> None:
    if ours is None:
        print(f"{name:44} {'-':>8}   the trace has no such events")
        return
    ratio = f"{theirs / ours:18.1f}" if theirs else ""
    print(f"{name:44} {ours:8.2f} {ratio}", flush=True)


if __name__ == "__main__":
    run(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0)
