# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel matrix: build for, boot and test each kernel: ``python -m tests.kernels [KERNEL ...] [--only FILE ...]``.

Ends with a table: kernel, warnings of the build with W=1, seconds of the boot, guest tests passed, and below it what
was skipped and why. With ``--results FILE`` what is done is kept there, and not done again while kmod/ is the same, so
that the table can be made in pieces; ``--table`` only prints it. Ends with 1 if anything failed or is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from ltt_relay.capture import kbuild
from ltt_relay.sandbox import Guest, SandboxError
from ltt_relay.sandbox.kernels import find_kernel
from ltt_relay.sandbox.toolchain import prefix_for

KERNELS = ("5.10", "6.1", "6.1-rt", "6.12", "7")
ROOT = Path(__file__).resolve().parents[1]

#: Guest tests that are about something else than the kernel half, and name their kernel themselves.
FIXED = {"analysis_smp", "analysis_truth"}
FILES = sorted({path.stem.removeprefix("test_") for path in (ROOT / "tests/vm").glob("test_*.py")} - FIXED)

Row = dict[str, Any]


def _build(kernel: str) -> Row:
    """Return the release, and what came of the build."""
    found = find_kernel(kernel)
    with tempfile.TemporaryDirectory(prefix="ltt-relay-build-") as out:
        path = Path(out, "modules")
        os.environ["KBUILD_EXTRA_WARN"] = "1"
        sources = kbuild.source_dir()
        path.mkdir()
        kbuild.build(found.build, path, sources=sources, prefix=prefix_for(found, path, sources))
        log = (path / "build.log").read_text()
    # That another pahole made the kernel's own type information is no matter of ours, nor that gcc is another.
    warnings = [line for line in log.splitlines() if re.search(r"warning:|WARNING", line) and "differs" not in line]
    for line in warnings:
        print(f"{kernel}: {line}", file=sys.stderr)
    return {"version": found.version, "build": f"{len(warnings)} warnings" if warnings else "clean"}


def _test(kernel: str, name: str) -> Row:
    """Run one file of guest tests; returns how many passed, which failed, and which were skipped for what reason."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ltt-relay-matrix-") as directory:
        report = Path(directory, "report.xml")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}"]
        command += ["--basetemp", str(Path(directory, "tmp")), f"tests/vm/test_{name}.py"]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"LTT_RELAY_KERNEL": kernel}, check=False)
        suite = next(ET.parse(report).getroot().iter("testsuite"))
    failed, skipped, passed = [], {}, 0
    for case in suite.iter("testcase"):
        test = case.attrib["name"]
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(test)
        elif (reason := case.find("skipped")) is not None:
            skipped[test] = reason.attrib["message"]
        else:
            passed += 1
    return {"passed": passed, "failed": failed, "skipped": skipped, "seconds": round(time.monotonic() - began)}


def _run(kernel: str, names: list[str], row: Row, keep: Path | None, rows: dict[str, Row]) -> None:
    def done() -> None:
        if keep:
            keep.write_text(json.dumps(rows, indent=1) + "\n")

    try:
        if row.get("build") != "clean":
            row |= _build(kernel)
            done()
        if "boot" not in row:
            row["boot"] = round(Guest(kernel=kernel).run(["true"]).boot_seconds, 1)
            done()
    except (SandboxError, kbuild.BuildError) as error:
        print(f"{kernel}: {error}", file=sys.stderr)
        row.setdefault("build", "failed")
        return
    tests = row.setdefault("tests", {})
    for name in names:
        if name not in tests or tests[name]["failed"] or not tests[name]["passed"]:
            print(f"# {kernel}: {name}", file=sys.stderr, flush=True)
            tests[name] = _test(kernel, name)
            done()


def _line(kernel: str, row: Row) -> tuple[list[str], bool]:
    tests = row.get("tests", {})
    passed, failed = (sum(t["passed"] for t in tests.values()), sum(len(t["failed"]) for t in tests.values()))
    skipped = sum(len(test["skipped"]) for test in tests.values())
    seconds = sum(test["seconds"] for test in tests.values())
    missing = [name for name in FILES if name not in tests]
    said = f"{passed} of {passed + failed}" + (f", {skipped} skipped" if skipped else "")
    if missing:
        said += f", not run: {' '.join(missing)}"
    boot = f"{row['boot']} s" if "boot" in row else "failed"
    good = row.get("build") == "clean" and "boot" in row and not failed and not missing
    return [row.get("version", kernel), row.get("build", "-"), boot, said, f"{seconds / 60:.0f} min"], good


def _show(rows: dict[str, Row], kernels: list[str]) -> bool:
    """Print the table, as Markdown, what failed and what was skipped; return whether all is well."""
    head = ["kernel", "build, W=1", "boot", "guest tests passed", "took"]
    lines = [_line(kernel, rows.get(kernel, {})) for kernel in kernels]
    table = [head, *(cells for cells, _ in lines)]
    widths = [max(len(cells[i]) for cells in table) for i in range(len(head))]
    table.insert(1, ["-" * width for width in widths])
    for cells in table:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |")
    for kernel in kernels:
        for name, test in rows.get(kernel, {}).get("tests", {}).items():
            for failed in test["failed"]:
                print(f"{kernel}: {name}: {failed} failed")
            for skipped, reason in test["skipped"].items():
                print(f"{kernel}: {name}: {skipped} skipped: {reason}")
    return all(good for _, good in lines)


def main() -> int:
    """Parse the command line, run what is to be run, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("kernels", nargs="*", default=list(KERNELS))
    parser.add_argument("--only", nargs="+", choices=FILES, default=FILES, metavar="FILE", help=f"of {' '.join(FILES)}")
    parser.add_argument("--results", type=Path, help="keep what is done in this file, and go on from there")
    parser.add_argument("--table", action="store_true", help="only print what is in the file")
    arguments = parser.parse_args()
    rows: dict[str, Row] = {}
    if arguments.results and arguments.results.exists():
        rows = json.loads(arguments.results.read_text())
    sources = kbuild.source_hash(kbuild.source_dir())
    for kernel in [] if arguments.table else arguments.kernels:
        if rows.get(kernel, {}).get("sources") != sources:
            rows[kernel] = {"sources": sources}
        _run(kernel, arguments.only, rows[kernel], arguments.results, rows)
    return int(not _show(rows, arguments.kernels))


if __name__ == "__main__":
    sys.exit(main())
