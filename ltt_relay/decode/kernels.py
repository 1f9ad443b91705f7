# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""The compiled part: everything that runs once per record.

A fixed set of functions that follow a plan given as arrays, so that they are compiled once and cached on disk. All of
them release the GIL, and check every offset against the packet's end before they read: a corrupt trace costs rows of
`problems`, never a read out of bounds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

_F = TypeVar("_F", bound=Callable[..., Any])


def _cache_directory() -> str | None:
    """Return a directory that compiled code can be kept in: the user's cache, or a temporary one, or None."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    user = os.getuid() if hasattr(os, "getuid") else 0
    for path in (Path(base, "ltt-relay", "numba"), Path(tempfile.gettempdir(), f"ltt-relay-{user}", "numba")):
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return str(path)
    return None


if "NUMBA_CACHE_DIR" not in os.environ and "numba" not in sys.modules:
    _directory = _cache_directory()
    if _directory:
        os.environ["NUMBA_CACHE_DIR"] = _directory

import numba  # noqa: E402


def compiled(function: _F) -> _F:
    """Compile with Numba: without the GIL, and kept on disk if there is a place for it."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        print("ltt-relay: no directory to keep compiled code in: every start compiles anew", file=sys.stderr)
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]


PROBLEM_LENGTH, PROBLEM_SHORT, PROBLEM_UNKNOWN = 1, 2, 3


@compiled
def count(
    buf16: np.ndarray,
    begin: np.ndarray,
    end: np.ndarray,
    header: int,
    kind_of_id: np.ndarray,
    need: np.ndarray,
    counts: np.ndarray,
    problems: np.ndarray,
) -> int:
    """Count the records of each kind in each packet; positions are bytes from the buffer's begin.

    problems: rows (packet, offset, code, value); returns how many were found, of which at most len(problems) are kept.
    """
    found = 0
    unknown = counts.shape[1] - 1
    for packet in range(begin.size):
        at = begin[packet]
        stop = end[packet]
        while at + header <= stop:
            id_ = np.int64(buf16[(at >> 1) + 2])
            length = np.int64(buf16[(at >> 1) + 3])
            if length < header or at + length > stop:
                if found < problems.shape[0]:
                    problems[found, 0] = packet
                    problems[found, 1] = at
                    problems[found, 2] = 1
                    problems[found, 3] = length
                found += 1
                break
            kind = np.int64(kind_of_id[id_])
            if kind < 0 or length < need[kind]:
                if found < problems.shape[0]:
                    problems[found, 0] = packet
                    problems[found, 1] = at
                    problems[found, 2] = 3 if kind < 0 else 2
                    problems[found, 3] = id_ if kind < 0 else length
                found += 1
                counts[packet, unknown] += 1
            else:
                counts[packet, kind] += 1
            at += (length + 7) & ~7
    return found


@compiled
def lookup(
    tables: np.ndarray, starts: np.ndarray, times: np.ndarray, codes: np.ndarray, table: int, key: int, time: int
) -> int:
    """Return the code of the name that `key` has at `time`, -1 if none is known.

    tables: (first, size) in `starts` of each table; starts: for each key where its names begin in `times` and `codes`.
    """
    if key < 0 or key >= tables[table, 1] - 1:
        return -1
    first = starts[tables[table, 0] + key]
    last = starts[tables[table, 0] + key + 1] - 1
    while last >= first:
        if times[last] <= time:
            return np.int64(codes[last])
        last -= 1
    return -1


@compiled
def merge(
    buf8: np.ndarray, buf16: np.ndarray, buf32: np.ndarray, buf64: np.ndarray,
    cpu_first: np.ndarray, cpu_last: np.ndarray, cpu_number: np.ndarray,
    pk_at: np.ndarray, pk_end: np.ndarray, pk_time: np.ndarray, pk_tid: np.ndarray,
    since: int, until: int, header: int, kind_of_id: np.ndarray, need: np.ndarray,
    tid_offset: np.ndarray, switch: int, switch_next: int,
    wanted: np.ndarray, base: np.ndarray, rows: np.ndarray, capacity: np.ndarray,
    col_first: np.ndarray, col_op: np.ndarray, col_offset: np.ndarray, col_base: np.ndarray, col_table: np.ndarray,
    name_width: np.ndarray, tables: np.ndarray, starts: np.ndarray, times: np.ndarray, codes: np.ndarray,
    out8: np.ndarray, out16: np.ndarray, out32: np.ndarray, out64: np.ndarray,
) -> None:  # fmt: skip
    """Walk the packets of all CPUs at once, in time order, and write every wanted record's columns in place.

    Packets of one CPU are consecutive in pk_*; pk_tid is the task running at the packet's begin, -2 if the packet does
    not tell every switch. base[kind] has the places of timestamp, cpu, tid and comm in the output, in units of their
    size (-1: not wanted), col_base the same for the payload's columns. rows[kind] is where the next row goes.
    """
    n = cpu_first.size
    packet = cpu_first.copy()
    at = np.empty(n, np.int64)
    now = np.empty(n, np.int64)
    running = np.full(n, -2, np.int64)
    told = np.zeros(n, np.bool_)
    cached_tid = np.full(n, -3, np.int64)
    cached_code = np.full(n, -1, np.int64)
    end_of_time = np.int64(1 << 62)

    for c in range(n):
        # As below, "advance": find the first whole record.
        now[c] = end_of_time
        while packet[c] < cpu_last[c]:
            p = packet[c]
            a = pk_at[p]
            if a + header <= pk_end[p]:
                length = np.int64(buf16[(a >> 1) + 3])
                if length >= header and a + length <= pk_end[p]:
                    at[c] = a
                    now[c] = pk_time[p] + ((np.int64(buf32[a >> 2]) - pk_time[p]) & 0xFFFFFFFF)
                    running[c] = pk_tid[p]
                    told[c] = pk_tid[p] != -2
                    break
            packet[c] += 1

    while True:
        # The CPU whose record is first, and how far it may go before another's turn.
        c = -1
        first = end_of_time
        second = end_of_time
        second_cpu = n
        for i in range(n):
            if now[i] < first:
                second = first
                second_cpu = c
                first = now[i]
                c = i
            elif now[i] < second:
                second = now[i]
                second_cpu = i
        if c < 0 or first >= until:
            return
        limit = second if c < second_cpu else second - 1
        if limit >= until:
            limit = until - 1

        a = at[c]
        t = first
        p = packet[c]
        stop = pk_end[p]
        p_time = pk_time[p]
        run = running[c]
        while True:
            id_ = np.int64(buf16[(a >> 1) + 2])
            length = np.int64(buf16[(a >> 1) + 3])
            k = np.int64(kind_of_id[id_])
            if k >= 0 and length >= need[k]:
                if wanted[k] and t >= since:
                    row = rows[k]
                    if row < capacity[k]:
                        rows[k] = row + 1
                        tid = run
                        if tid_offset[k] >= 0:
                            tid = np.int64(np.int32(buf32[(a + tid_offset[k]) >> 2]))
                        if base[k, 0] >= 0:
                            out64[base[k, 0] + row] = np.uint64(t)
                        if base[k, 1] >= 0:
                            out16[base[k, 1] + row] = np.uint16(cpu_number[c])
                        if base[k, 2] >= 0:
                            out32[base[k, 2] + row] = np.uint32(tid)
                        if base[k, 3] >= 0:
                            if tid == cached_tid[c]:
                                code = cached_code[c]
                            else:
                                code = lookup(tables, starts, times, codes, 0, tid, t)
                                # Only what cannot change any more may be remembered: the one name of a task.
                                if code >= 0 and starts[tid + 1] - starts[tid] == 1:
                                    cached_tid[c] = tid
                                    cached_code[c] = code
                            if name_width[0] == 1:
                                out8[base[k, 3] + row] = np.uint8(code)
                            elif name_width[0] == 2:
                                out16[base[k, 3] + row] = np.uint16(code)
                            else:
                                out32[base[k, 3] + row] = np.uint32(code)
                        for j in range(col_first[k], col_first[k + 1]):
                            source = a + col_offset[j]
                            to = col_base[j] + row
                            op = col_op[j]
                            if op == 2:
                                out32[to] = buf32[source >> 2]
                            elif op == 3:
                                out64[to] = buf64[source >> 3]
                            elif op == 1:
                                out16[to] = buf16[source >> 1]
                            elif op == 0:
                                out8[to] = buf8[source]
                            elif op == 4:
                                out64[to] = np.uint64(a)
                            else:
                                key = np.int64(np.int32(buf32[source >> 2]))
                                code = lookup(tables, starts, times, codes, col_table[j], key, t)
                                width = name_width[col_table[j]]
                                if width == 1:
                                    out8[to] = np.uint8(code)
                                elif width == 2:
                                    out16[to] = np.uint16(code)
                                else:
                                    out32[to] = np.uint32(code)
                if k == switch and told[c]:
                    run = np.int64(np.int32(buf32[(a + switch_next) >> 2]))
            a += (length + 7) & ~7
            # Advance: the next whole record of this CPU.
            there = False
            while True:
                if a + header <= stop:
                    length = np.int64(buf16[(a >> 1) + 3])
                    if length >= header and a + length <= stop:
                        t = p_time + ((np.int64(buf32[a >> 2]) - p_time) & 0xFFFFFFFF)
                        there = True
                        break
                p += 1
                if p >= cpu_last[c]:
                    break
                a = pk_at[p]
                stop = pk_end[p]
                p_time = pk_time[p]
                run = pk_tid[p]
                told[c] = run != -2
            if not there:
                t = end_of_time
                break
            if t > limit:
                break
        at[c] = a
        now[c] = t
        packet[c] = p
        running[c] = run


@compiled
def text_sizes(buf8: np.ndarray, buf16: np.ndarray, at: np.ndarray, offset: int, size: int, sizes: np.ndarray) -> int:
    """Measure text: from `offset` of each record to a NUL, at most `size` bytes (0: to the record's end)."""
    total = 0
    for i in range(at.size):
        first = at[i] + offset
        stop = first + size if size else at[i] + np.int64(buf16[(at[i] >> 1) + 3])
        p = first
        while p < stop and buf8[p] != 0:
            p += 1
        sizes[i] = p - first
        total += p - first
    return total


@compiled
def text_copy(buf8: np.ndarray, at: np.ndarray, offset: int, sizes: np.ndarray, to: np.ndarray) -> None:
    """Copy what text_sizes measured, one behind the other."""
    n = 0
    for i in range(at.size):
        first = at[i] + offset
        for p in range(first, first + sizes[i]):
            to[n] = buf8[p]
            n += 1


@compiled
def list_sizes(
    buf8: np.ndarray, buf16: np.ndarray, at: np.ndarray, offset: int, item: int, count_at: int, fixed: int,
    sizes: np.ndarray,
) -> int:  # fmt: skip
    """Count the items of each list: as the byte at `count_at` says (-1: `fixed`), as far as the record goes."""
    total = 0
    for i in range(at.size):
        n = np.int64(buf8[at[i] + count_at]) if count_at >= 0 else fixed
        room = (np.int64(buf16[(at[i] >> 1) + 3]) - offset) // item
        n = min(n, room)
        sizes[i] = n
        total += n
    return total


@compiled
def list_copy(buf64: np.ndarray, at: np.ndarray, offset: int, sizes: np.ndarray, to: np.ndarray) -> None:
    """Copy the items, integers of 64 bits, of all records one behind the other."""
    n = 0
    for i in range(at.size):
        first = (at[i] + offset) >> 3
        for j in range(sizes[i]):
            to[n] = buf64[first + j]
            n += 1
