# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel matrix: build for, boot and test each kernel: ``python -m tests.kernels [KERNEL ...]``.

Prints a table at its end: kernel, warnings of the build with W=1, seconds of the boot, guest tests passed. Ends with 1
if anything failed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from ltt_relay.capture import kbuild
from ltt_relay.sandbox import Guest, SandboxError
from ltt_relay.sandbox.kernels import find_kernel
from ltt_relay.sandbox.toolchain import prefix_for

KERNELS = ("5.10", "6.1", "6.1-rt", "6.12", "7")
ROOT = Path(__file__).resolve().parents[1]


def _build(kernel: str) -> tuple[str, str]:
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
    return found.version, f"{len(warnings)} warnings" if warnings else "clean"


def _test(kernel: str, report: Path) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", "tests/vm"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"LTT_RELAY_KERNEL": kernel}, check=False)
    suite = next(ET.parse(report).getroot().iter("testsuite"))
    tests = int(suite.attrib["tests"])
    skipped = int(suite.attrib["skipped"])
    passed = tests - int(suite.attrib["failures"]) - int(suite.attrib["errors"]) - skipped
    return f"{passed} of {tests - skipped}"


def main(kernels: list[str]) -> int:
    rows = []
    for kernel in kernels:
        version, build, boot, tests = kernel, "failed", "-", "-"
        try:
            version, build = _build(kernel)
            boot = f"{Guest(kernel=kernel).run(['true']).boot_seconds:.1f} s"
            with tempfile.TemporaryDirectory() as directory:
                tests = _test(kernel, Path(directory, "report.xml"))
        except (SandboxError, kbuild.BuildError) as error:
            print(f"{kernel}: {error}", file=sys.stderr)
        rows.append((version, build, boot, tests))
    widths = [max(len(row[i]) for row in [*rows, ("kernel", "build, W=1", "boot", "guest tests")]) for i in range(4)]
    for row in [("kernel", "build, W=1", "boot", "guest tests"), *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    good = all(build == "clean" and re.fullmatch(r"(\d+) of \1", tests) for _, build, _, tests in rows)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(KERNELS)))
