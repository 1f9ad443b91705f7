# SPDX-License-Identifier: GPL-2.0-or-later
"""The debug kernel: built once from Debian's kernel source with everything that finds faults (`debug.config`).

Asked for as ``--kernel 6.1-debug``. It takes 10 to 20 minutes on two CPUs and stays in the user's cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

from ltt_relay.sandbox.cache import cache_dir, locked
from ltt_relay.sandbox.errors import SandboxError, UnreachableError
from ltt_relay.sandbox.packages import RELEASES, PackageIndex, host_release, unpack

__all__ = ("debug_kernel", "kernel_source")

logger = logging.getLogger(__name__)

_CONFIG = Path(__file__).with_name("debug.config")
_TOOLS = {"make": "make", "gcc": "gcc", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils", "tar": "tar"}
# What modules are not built from; the rest is what Debian's headers packages hold.
_UNNEEDED = ("Documentation", "block", "crypto", "drivers", "fs", "io_uring", "ipc", "mm", "net", "samples", "sound")


def debug_kernel(series: tuple[int, ...]) -> Path:
    """Return the built tree of that series' debug kernel, building it if it is not in the cache.

    Raises:
        SandboxError: there is no source of it, a tool is missing, or it does not build.

    """
    config = _config_id()
    name = ".".join(map(str, series))
    trees = cache_dir("debug")
    try:
        index, package, version = kernel_source(name)
    except UnreachableError:
        finished = sorted(trees.glob(f"{name}.*-{config}/done"), key=lambda path: path.stat().st_mtime)
        if not finished:
            raise
        return finished[-1].parent
    tree = trees / f"{re.sub(r'[^0-9A-Za-z.]', '-', version)}-{config}"
    with locked(f"debug-{name}"):
        if not (tree / "done").exists():
            for old in trees.glob(f"{name}.*"):
                shutil.rmtree(old)
            _build(index, package, tree)
            (tree / "done").touch()
    return tree


def _config_id() -> str:
    return hashlib.sha256(_CONFIG.read_bytes()).hexdigest()[:12]


def kernel_source(series: str) -> tuple[PackageIndex, str, str]:
    """Return where the source of that series is, its package and the version.

    Raises:
        SandboxError: Debian has none; UnreachableError if the index cannot be asked.

    """
    package = f"linux-source-{series}"
    for release in dict.fromkeys([host_release() or RELEASES[-2], *RELEASES]):
        index = PackageIndex(release)
        if package in index.names():
            return index, package, index.show([package])[package]["Version"]
    raise SandboxError(f"no package {package} in Debian {', '.join(RELEASES)}: a debug kernel is of 5.10, 6.1 or 6.12")


def _build(index: PackageIndex, package: str, tree: Path) -> None:
    missing = [debian for tool, debian in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise SandboxError(f"the debug kernel is built here: install the Debian packages {' '.join(missing)}")
    logger.info("building the debug kernel from %s: 10 to 20 minutes, once", package)
    tree.mkdir()
    packages = tree / "packages"
    for deb in index.download([package], packages):
        unpack(deb, packages)
    (archive,) = packages.glob("usr/src/*.tar.xz")
    _run(["tar", "-xf", str(archive), "-C", str(tree), "--strip-components=1"], tree)
    shutil.rmtree(packages)
    _run(["make", f"KCONFIG_ALLCONFIG={_CONFIG}", "allnoconfig"], tree)
    refused = set(re.findall(r"(?m)^CONFIG_.*$", _CONFIG.read_text())) - set((tree / ".config").read_text().split("\n"))
    # Some are of other versions only; what it is for must be there.
    if lacking := [line for line in refused if re.match(r"CONFIG_(KASAN|PROVE|DEBUG_(ATOMIC|KMEM|PRE)|PREEMPT)", line)]:
        raise SandboxError(f"{package} cannot be configured with {', '.join(sorted(lacking))}")
    jobs = len(os.sched_getaffinity(0))
    _run(["nice", "make", f"-j{jobs}", "bzImage", "modules"], tree)
    for directory in _UNNEEDED:
        shutil.rmtree(tree / directory)
    for path in tree.rglob("*.[oa]"):
        path.unlink()


def _run(command: list[str], tree: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    with (tree / "build.log").open("ab") as log:
        log.write(f"$ {' '.join(command)}\n".encode())
        log.flush()
        done = subprocess.run(
            command, cwd=tree, env=environment | {"LC_ALL": "C"}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            check=False,
        )  # fmt: skip
    if done.returncode:
        text = (tree / "build.log").read_text(errors="replace")
        raise SandboxError(
            "\n".join([f"the debug kernel does not build ({tree}/build.log):", *text.splitlines()[-20:]])
        )
