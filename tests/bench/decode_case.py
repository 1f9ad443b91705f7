# SPDX-License-Identifier: GPL-2.0-or-later
"""One case of bench_decode, in a process of its own: prints JSON.

python -m tests.bench.decode_case NAME TRACE SMALL [touched]: SMALL is a short trace of the same kinds, decoded first so
that nothing is compiled while the clock runs. `seconds` is from open() to frames that are alive; `cpu` the process's
time; see `touch_memory` for `touched`.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pandas as pd

import ltt_relay
from ltt_relay.decode import batch, packets, source, variable, walk_length
from ltt_relay.decode import frames as frames_module
from ltt_relay.decode import trace as trace_module

Frames = dict[str, pd.DataFrame]


def touch_memory() -> None:
    """Use 1 GiB and give it back, so that what is used next is memory that the machine has.

    A virtual machine may hand free memory to its host after some seconds, and wait for it when it is used again: that
    costs any program more than all it does itself.
    """
    # By NumPy, which asks for huge pages: they are what columns are made of.
    subprocess.run([sys.executable, "-c", "import numpy; numpy.ones(1 << 30, numpy.uint8)"], check=True)


def _all(path: str) -> Frames:
    return ltt_relay.open(path).frames()


def _iterated(path: str) -> int:
    return sum(len(frame) for part in ltt_relay.open(path).iter_frames(max_bytes="64 MB") for frame in part.values())


def _iter_merged(path: str) -> int:
    return sum(map(len, ltt_relay.open(path).iter_merged(max_bytes="64 MB")))


def _range(path: str) -> Frames:
    trace = ltt_relay.open(path)
    begin, end = trace.info["begin"], trace.info["end"]
    middle, part = (begin + end) // 2, (end - begin) // 100
    return trace.frames(since=middle, until=middle + part)


def _rare(path: str) -> Frames:
    """The event that bench_decode put into one packet of a hundred."""
    return ltt_relay.open(path).frames("sched_process_exit")


def _stages(path: str) -> dict[str, float]:
    """CPU ns a record of each stage, the best of five; what is left is Python between them."""
    places: dict[str, tuple[Any, str]] = {
        "index": (trace_module, "open_source"), "sample": (source.Source, "_room"),
        "read": (packets.Files, "read_into"), "walk": (walk_length, "_find"), "order and gather": (batch, "drain"),
        "text and lists": (variable.VariableColumn, "append"), "frame": (frames_module, "event_frame"),
    }  # fmt: skip
    spent: dict[str, float] = {}

    def timed(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            before = time.process_time()
            try:
                return function(*given, **named)
            finally:
                spent[stage] += time.process_time() - before

        return call

    for stage, (holder, name) in places.items():
        setattr(holder, name, timed(stage, getattr(holder, name)))
    best: dict[str, float] = {}
    for _ in range(5):
        touch_memory()
        spent |= dict.fromkeys(places, 0.0)
        before = time.process_time()
        found = _all(path)
        records = sum(map(len, found.values()))
        spent["all"] = time.process_time() - before
        del found
        best = {stage: min(value / records * 1e9, best.get(stage, 1e9)) for stage, value in spent.items()}
    return best


CASES: dict[str, Callable[[str], Any]] = {
    "index": lambda path: ltt_relay.open(path).info["records"],
    "count": lambda path: ltt_relay.open(path).catalog["count"].sum(),
    "frames": _all,
    "one event": lambda path: ltt_relay.open(path).frames("sched_switch"),
    "rare event": _rare,
    "1 % range": _range,
    "iter_frames": _iterated,
    "iter_merged": _iter_merged,
    "merged": lambda path: ltt_relay.open(path).merged(),
}


def _hashes(column: pd.Series) -> np.ndarray:
    found: np.ndarray
    if str(column.dtype).startswith(("list", "large", "object")):
        found = pd.util.hash_array(column.astype(str).to_numpy(object))
    else:
        found = pd.util.hash_pandas_object(column, index=False).to_numpy()
    return found


def checksums(frames: Frames) -> dict[str, str]:
    """Return a number for every column that depends on every value in it and on its place."""
    sums = {}
    for name, frame in sorted(frames.items()):
        for column in frame:
            hashes = _hashes(frame[column])
            place = np.arange(1, len(hashes) + 1, dtype=np.uint64)
            sums[f"{name}.{column}"] = f"{int((hashes * place).sum(dtype=np.uint64)):016x}"
    return sums


def _memcpy(size: int, threads: int) -> float:
    """Seconds to copy so many bytes into memory that was not touched before."""
    source = np.ones(size, np.uint8)
    begun = time.perf_counter()
    target = np.empty(size, np.uint8)
    edges = [size * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda a, b: np.copyto(target[a:b], source[a:b]), edges, edges[1:]))
    return time.perf_counter() - begun


def main(name: str, path: str, small: str, memory: str = "") -> None:
    if memory and name.startswith("memcpy"):
        touch_memory()
    if name.startswith("memcpy"):
        _, size, threads = name.split()
        print(json.dumps({"seconds": _memcpy(int(size), int(threads))}))
        return
    if name == "stages":
        _all(small)
        _ = ltt_relay.open(small).catalog
        print(json.dumps(_stages(path)))
        return
    case = CASES[name.removesuffix(" sums")]
    case(small)
    _ = ltt_relay.open(small).catalog  # counts: so does what a longer trace begins with
    if memory:
        touch_memory()
    before, begun = time.process_time(), time.perf_counter()
    found = case(path)
    result: dict[str, Any] = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - before}
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if isinstance(found, dict):
        result["records"] = sum(map(len, found.values()))
        result["bytes"] = int(sum(frame.memory_usage(index=False).sum() for frame in found.values()))
        if name.endswith(" sums"):
            result["sums"] = checksums(found)
    else:
        result["records"] = len(found) if isinstance(found, pd.DataFrame) else int(found)
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
