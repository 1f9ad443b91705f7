# SPDX-License-Identifier: GPL-2.0-or-later
"""LTTng for a guest: Debian's lttng-modules, unpacked and built for the guest's kernel; nothing of it is installed.

The tools (lttng-tools, trace-cmd) are the machine's own, which guests see; `make bench` installs them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ltt_relay.capture.kbuild import compiler_for
from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.kernels import Kernel
from ltt_relay.sandbox.packages import PackageIndex, host_release, unpack

_MAX_LEFT_OUT = 8


def missing_tools() -> list[str]:
    """Which of the peers' programs this machine does not have."""
    return [name for name in ("lttng", "lttng-sessiond", "trace-cmd") if shutil.which(name) is None]


def lttng_modules(kernel: Kernel) -> tuple[Path, list[str]]:
    """Return the directory with LTTng's modules for that kernel, and which of its probes do not compile for it.

    Those are left out: a kernel's stable updates change tracepoints that a probe redefines, and Debian's package then
    builds no module at all.

    Raises:
        RuntimeError: it does not build even so.

    """
    final = cache_dir("peers", "lttng") / f"{kernel.version}-{kernel.identity}"
    with locked(f"peers-lttng-{kernel.version}"):
        if not final.exists():
            print(f"building lttng-modules for {kernel.version} (some minutes) …", file=sys.stderr)
            with staging(final) as out:
                index = PackageIndex(host_release() or "bookworm")
                index.names()
                for deb in index.download(["lttng-modules-dkms"], out / "debs"):
                    unpack(deb, out)
                _build(kernel, out)
    return final, (final / "left-out").read_text().split()


def _build(kernel: Kernel, out: Path) -> None:
    (source,) = (out / "usr/src").glob("lttng-modules-*")
    probes = source / "src/probes/Kbuild"
    left_out: list[str] = []
    command = ["make", "-C", str(kernel.build), f"M={source}", f"-j{os.cpu_count()}", "modules", "CONFIG_LTTNG=m"]
    command += ["CONFIG_DEBUG_INFO_BTF_MODULES=", f"CC={compiler_for(kernel.build) or 'gcc'}"]
    while True:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            break
        failed = re.search(r"/(lttng-probe-[\w-]+)\.o\] Error", done.stderr)
        if failed is None or len(left_out) == _MAX_LEFT_OUT:
            raise RuntimeError(f"lttng-modules do not build for {kernel.version}:\n{done.stderr[-3000:]}")
        left_out.append(failed[1])
        lines = probes.read_text().splitlines(keepends=True)
        probes.write_text("".join(line for line in lines if f"{failed[1]}.o" not in line))
    for path in source.rglob("*.ko"):
        shutil.copy(path, out)
    (out / "left-out").write_text(" ".join(left_out))
    shutil.rmtree(out / "usr")
    shutil.rmtree(out / "debs")
