# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo behind ``make demo``: a workload recorded in a guest, and everything that can be made of it.

python -m ltt_relay.testing.demo OUTPUT-DIRECTORY
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

__all__ = ("record_in_guest", "run")

#: Several processes on two CPUs: pipes, file systems, forks, sleeps, and markers around each part.
WORKLOAD: Final = """
mark() { for file in /sys/kernel/relay/ltt/*/marker; do echo "$1" >"$file"; done; }
mark 'find and sort'
for i in 1 2 3; do find /usr/share/doc 2>/dev/null | head -n 6000 | sort | tail -n 1 >/dev/null; done
mark 'many processes'
for i in $(seq 40); do /bin/true; done
mark 'two at once'
(for i in $(seq 20); do cat /usr/bin/[a-c]* | gzip -1 | wc -c; done) >/dev/null 2>&1 & busy=$!
for i in $(seq 20); do sleep 0.02; done
ls -lR /usr/lib/python3 2>/dev/null | head -n 12000 | wc -l >/dev/null
kill $busy 2>/dev/null
mark 'done'
true
"""


def record_in_guest(output: Path, workload: str = WORKLOAD, options: tuple[str, ...] = ("-a",)) -> str:
    """Record a shell workload in a guest with two CPUs into `output`; returns what record said.

    Raises:
        RuntimeError: the capture failed; the text has the guest's words.

    """
    from ltt_relay.sandbox import EmulatorError, Guest, GuestHangError

    output.parent.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    command = [
        sys.executable, "-m", "ltt_relay.cli", "record", "-o", str(output), *options, "--", "sh", "-c", workload,
    ]  # fmt: skip
    guest = Guest(cpus=2, rw=[output.parent])
    try:
        done = guest.run(command, cwd=root, timeout=300)
    except (EmulatorError, GuestHangError) as error:
        print(f"once more, with one thread for all emulated CPUs: {error}", file=sys.stderr)
        shutil.rmtree(output, ignore_errors=True)
        done = replace(guest, accel="tcg-single").run(command, cwd=root, timeout=300)
    if done.returncode:
        raise RuntimeError(f"record ended with {done.returncode} in the guest:\n{done.stderr.decode(errors='replace')}")
    return done.stderr.decode(errors="replace")


def run(output: Path) -> None:
    """Leave trace/, csv/, timeline.png and report.txt in `output`, and print the report."""
    import ltt_relay
    from ltt_relay.analysis.report import text
    from ltt_relay.export.batch import convert
    from ltt_relay.export.convert import Options
    from ltt_relay.plot import timeline

    for name in ("trace", "csv"):
        shutil.rmtree(output / name, ignore_errors=True)
    print("recording in a guest …", file=sys.stderr)
    print(record_in_guest(output.resolve() / "trace"), end="", file=sys.stderr)
    trace = ltt_relay.open(output / "trace")
    for result in convert([output / "trace"], output / "csv", Options("csv")):
        if result.status != "done":
            raise RuntimeError(result.error)
    timeline(trace).savefig(output / "timeline.png", dpi=120)
    report = text(trace)
    (output / "report.txt").write_text(report + "\n")
    print(report)
    print(f"{output}/ has trace/, csv/, timeline.png and report.txt", file=sys.stderr)


if __name__ == "__main__":
    run(Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output"))
