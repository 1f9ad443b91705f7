# SPDX-License-Identifier: GPL-2.0-or-later
"""Interrupts and soft interrupts: how many, how often, how long, how late. Times are int64 ns, monotonic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import Source, last_before, load, pair, span, summarise, touches_gap

__all__ = (
    "handler_intervals", "interrupts", "soft_interrupt_delay", "soft_interrupt_latency", "soft_interrupts",
    "soft_intervals", "vector_intervals",
)  # fmt: skip


def _key(frame: pd.DataFrame, column: str) -> np.ndarray:
    """CPU and number in one integer."""
    values: Any = frame[column]
    number = values.cat.codes if isinstance(values.dtype, pd.CategoricalDtype) else values
    key: np.ndarray = frame["cpu"].to_numpy(np.int64) << 32 | (number.to_numpy(np.int64) & 0xFFFFFFFF)
    return key


def _depths(begins: pd.DataFrame, ends: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """CPU and depth of nesting in one integer, where exits do not tell what they end: the last that began."""
    time = np.concatenate([begins["timestamp"].to_numpy(), ends["timestamp"].to_numpy()])
    cpu = np.concatenate([frame["cpu"].to_numpy(np.int64) for frame in (begins, ends)])
    step = np.r_[np.ones(len(begins), np.int64), np.full(len(ends), -1)]
    order = np.lexsort((time, cpu))
    depth = np.empty(time.size, np.int64)
    # All CPUs in one sum: what one has too many of moves the depths of the next ones alike.
    depth[order] = np.cumsum(step[order]) + (step[order] < 0)
    keys = cpu << 32 | depth & 0xFFFFFFFF
    return keys[: len(begins)], keys[len(begins) :]


def _intervals(trace: Source, entry: str, leave: str, key: str, columns: list[str]) -> pd.DataFrame:
    begins, ends = load(trace, {entry: ["timestamp", "cpu", *columns], leave: ["timestamp", "cpu", key]})
    first, last = (_key(begins, key), _key(ends, key)) if key in ends else _depths(begins, ends)
    i, j = pair(begins["timestamp"].to_numpy(), first, ends["timestamp"].to_numpy(), last)
    begin, end, cpu = begins["timestamp"].to_numpy()[i], ends["timestamp"].to_numpy()[j], begins["cpu"].to_numpy()[i]
    table = {"begin": begin, "end": end, "duration_ns": end - begin, "cpu": cpu}
    table |= {column: begins[column].array[i] for column in columns if column in begins}
    frame = pd.DataFrame(table | {"in_gap": touches_gap(trace, begin, end, cpu)})
    return frame.sort_values("begin", ignore_index=True, kind="stable")


def handler_intervals(trace: Source) -> pd.DataFrame:
    """Return each run of an interrupt handler: begin, end, duration_ns (int64), cpu, irq, name, in_gap.

    A handler that another interrupts has that one's time as well. Needs irq_handler_entry and irq_handler_exit.
    """
    table = _intervals(trace, "irq_handler_entry", "irq_handler_exit", "irq", ["irq", "name"])
    if "name" not in table:
        table.insert(5, "name", pd.Categorical("irq " + table["irq"].astype(str)))
    return table


def soft_intervals(trace: Source) -> pd.DataFrame:
    """Return each run of a soft interrupt handler: begin, end, duration_ns (int64), cpu, vec, in_gap.

    The time includes interrupts meanwhile. Needs softirq_entry and softirq_exit.
    """
    return _intervals(trace, "softirq_entry", "softirq_exit", "vec", ["vec"])


def vector_intervals(trace: Source, name: str) -> pd.DataFrame:
    """Return each run of the handler of a processor's own vector: begin, end, duration_ns (int64), cpu, vector, in_gap.

    Needs NAME_entry and NAME_exit, such as local_timer_entry and local_timer_exit.
    """
    return _intervals(trace, f"{name}_entry", f"{name}_exit", "vector", ["vector"])


def _with_rate(trace: Source, table: pd.DataFrame, place: int) -> pd.DataFrame:
    first, last = span(trace)
    seconds = (last - first) / 1e9
    table.insert(place, "rate_hz", table["count"] / seconds if seconds else 0.0)
    table.insert(place + 1, "share", table["total_ns"] / (last - first) if last > first else 0.0)
    return table


def interrupts(trace: Source) -> pd.DataFrame:
    """Return per interrupt, most time first: irq, name, count, rate_hz, share (of one CPU's time), then as `summarise`.

    Needs irq_handler_entry and irq_handler_exit.
    """
    return _with_rate(trace, summarise(handler_intervals(trace), ["irq", "name"], "duration_ns"), 3)


def soft_interrupts(trace: Source) -> pd.DataFrame:
    """Return per soft interrupt, most time first: vec, count, rate_hz, share (of one CPU's time), then as `summarise`.

    Needs softirq_entry and softirq_exit.
    """
    return _with_rate(trace, summarise(soft_intervals(trace), "vec", "duration_ns"), 2)


def soft_interrupt_latency(trace: Source) -> pd.DataFrame:
    """Return each time from softirq_raise to its handler: raised, begin, latency_ns (int64), cpu, vec, in_gap.

    A soft interrupt raised again before its handler ran counts once, from the first. Needs softirq_raise and
    softirq_entry.
    """
    raises, entries = load(trace, {name: ["timestamp", "cpu", "vec"] for name in ("softirq_raise", "softirq_entry")})
    raised_at, entered_at = raises["timestamp"].to_numpy(), entries["timestamp"].to_numpy()
    raise_key, entry_key = _key(raises, "vec"), _key(entries, "vec")
    # The first raise after the handler's last run: pairs are (entry, raise), turned round.
    before = last_before(raised_at, raise_key, entered_at, entry_key)
    new = np.ones(raised_at.size, np.bool_)
    order = np.lexsort((raised_at, raise_key))
    k, b = raise_key[order], before[order]
    new[order[1:]] = (k[1:] != k[:-1]) | (b[1:] != b[:-1])
    i, j = pair(raised_at[new], raise_key[new], entered_at, entry_key)
    raised, begin, cpu = raised_at[new][i], entered_at[j], entries["cpu"].to_numpy()[j]
    table = pd.DataFrame(
        {
            "raised": raised,
            "begin": begin,
            "latency_ns": begin - raised,
            "cpu": cpu,
            "vec": entries["vec"].array[j],
            "in_gap": touches_gap(trace, raised, begin, cpu),
        }
    )
    return table.sort_values("begin", ignore_index=True, kind="stable")


def soft_interrupt_delay(trace: Source) -> pd.DataFrame:
    """Return per soft interrupt, most time first: vec, then as `summarise`; see `soft_interrupt_latency`."""
    return summarise(soft_interrupt_latency(trace), "vec", "latency_ns")
