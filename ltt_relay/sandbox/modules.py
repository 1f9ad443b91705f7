# SPDX-License-Identifier: GPL-2.0-or-later
"""The project's modules for a guest's kernel: built once for each state of the sources, kept in the cache."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING

from ltt_relay.capture import kbuild
from ltt_relay.capture.modules import MODULES
from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.toolchain import prefix_for

if TYPE_CHECKING:
    from pathlib import Path

    from ltt_relay.sandbox.kernels import Kernel

__all__ = ("build_modules", "default_modules")

logger = logging.getLogger(__name__)

# Older builds of a kernel than these many are removed.
_BUILDS_KEPT = 6


def build_modules(kernel: Kernel, sources: Path | None = None) -> Path:
    """Return the directory with the project's modules for that kernel, building them if the sources changed.

    Raises:
        BuildError: they do not build; the text holds the compiler's errors.

    """
    sources = sources or kbuild.source_dir()
    builds = cache_dir("modules", kernel.version)
    final = builds / f"{kernel.identity}-{kbuild.source_hash(sources)}"
    if not final.exists():
        with locked(f"modules-{kernel.version}"):
            if not final.exists():
                logger.info("building the modules for %s", kernel.version)
                with staging(final) as out:
                    prefix = prefix_for(kernel, out, sources)
                    kbuild.build(kernel.build, out, sources=sources, prefix=prefix)
                _prune(builds)
    os.utime(final)
    return final


def _prune(builds: Path) -> None:
    finished = [path for path in builds.iterdir() if not path.name.startswith(".")]
    for path in sorted(finished, key=lambda path: path.stat().st_mtime, reverse=True)[_BUILDS_KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def default_modules(build: Path) -> list[str]:
    """Return which modules are loaded unless others are named: relayfs, then every client that was built."""
    built = {path.stem.replace("-", "_") for path in build.rglob("*.ko")}
    return [name for name in MODULES if name in built]
