# SPDX-License-Identifier: GPL-2.0-or-later
"""``ltt-relay info``: what a trace is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ltt_relay.cli import COMMANDS, examples, exit_status, fail_on_option, format_option
from ltt_relay.printable import printable

__all__ = ("command",)

_EXAMPLES = examples(
    """
    ltt-relay info trace
    ltt-relay info trace --quick              from packet headers alone, at once
    ltt-relay info trace --json | jq .lost
    ltt-relay info trace --fail-on lost,problems
    """
)


@click.command("info", short_help=COMMANDS["info"], epilog=_EXAMPLES)
@click.argument("trace", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON (schema 1).")
@click.option("--quick", is_flag=True, help="Read headers only: no counts by event, no problems.")
@format_option
@fail_on_option
def command(trace: Path, format_name: str | None, as_json: bool, quick: bool, fail_on: frozenset[str]) -> None:
    """Show format, host, clock, CPUs, time range, events by kind, gaps and problems of TRACE."""
    if quick and "problems" in fail_on:
        raise click.UsageError("--quick does not look for problems: --fail-on problems needs all of the trace")
    import ltt_relay

    opened = ltt_relay.open(trace, format_name)
    facts: dict[str, Any] = {"schema": 1, **opened.info}
    if not quick:
        facts["events"] = dict(zip(opened.catalog["event"], map(int, opened.catalog["count"]), strict=True))
    problems = opened.problems if not quick else None
    facts["problems"] = None if problems is None else len(problems)
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        _print(facts)
        if problems is not None and len(problems):
            click.echo("\nproblems")
            for line in problems.head(20).to_string(index=False).split("\n"):
                click.echo(printable(line))
    raise SystemExit(exit_status(fail_on, facts["lost"], facts["problems"] or 0))


def _host(env: dict[str, Any]) -> str:
    system = " ".join(str(env[name]) for name in ("sysname", "release", "arch") if env.get(name))
    return ", ".join(filter(None, [str(env.get("hostname", "")), system]))


def _print(facts: dict[str, Any]) -> None:
    from datetime import UTC, datetime

    def moment(ns: int | None) -> str:
        if ns is None:
            return "-"
        return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%d %H:%M:%S}.{ns % 10**9:09d} UTC"

    env = facts["env"]
    lines = [
        ("format", facts["format"]),
        *([("host", _host(env))] if env.get("hostname") or env.get("release") else []),
        ("CPUs", facts["cpus"]),
        ("begin", moment(facts["begin"])),
        ("end", moment(facts["end"])),
        ("packets", f"{facts['packets']:,} ({facts['bytes'] / 1e6:,.1f} MB)"),
        ("records", f"{facts['records']:,}"),
        ("lost", f"{facts['lost']:,} {facts['lost_by_reason'] or ''}".rstrip()),
        *([("overwritten", f"{facts['overwritten']:,}")] if "overwritten" in facts else []),
        ("problems", "not looked for" if facts["problems"] is None else facts["problems"]),
    ]
    for name, value in lines:
        click.echo(printable(f"{name:<12} {value}"))
    for name, count in sorted(facts.get("events", {}).items(), key=lambda item: -item[1]):
        click.echo(printable(f"{count:>14,}  {name}"))
