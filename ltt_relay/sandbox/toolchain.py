# SPDX-License-Identifier: GPL-2.0-or-later
"""Compilers of a newer Debian release than this machine's: unpacked into the cache, entered like another root.

A kernel's headers come with programs of their own (modpost, objtool), which need the C library of the release that they
were built on, and name a compiler that an older release does not have. Both are in a directory tree of that release's
packages. It is entered with a user and mount namespace of its own, so no root is needed, and nothing is installed.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.errors import SandboxError
from ltt_relay.sandbox.packages import RELEASES, PackageIndex, host_release, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ltt_relay.sandbox.kernels import Kernel

__all__ = ("prefix_for",)

logger = logging.getLogger(__name__)

# What building a kernel module calls, besides the compiler; what they depend on comes with them.
_PACKAGES: Final = (
    *("base-files", "bash", "binutils", "coreutils", "dash", "diffutils", "findutils", "grep", "kmod", "libc6-dev"),
    *("libelf1t64", "make", "mawk", "sed", "tar", "xz-utils", "zlib1g"),
)
# Binds the directories named up to "--" to the same places below the root that is named first, and enters that.
_ENTER: Final = """
root=$1; shift
while [ "$1" != -- ]; do
	mkdir -p "$root$1" && mount --rbind "$1" "$root$1" || exit 1
	shift
done
shift
exec chroot "$root" "$@"
"""


def prefix_for(kernel: Kernel, out: Path, sources: Path) -> Sequence[str]:
    """Return the command to put before make to build in `out` for that kernel: empty if this machine's tools will do.

    Raises:
        SandboxError: the tools cannot be had, or this machine lets nobody enter another root directory.

    """
    release = kernel.identity.rpartition("-")[2]
    host = host_release()
    if not kernel.packaged or release not in RELEASES or (host and RELEASES.index(host) >= RELEASES.index(release)):
        return ()
    root = _tools(release, _compiler(kernel.build))
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", _ENTER, "enter", str(root)]
    places = {Path("/proc"), Path("/dev"), cache_dir(), out.resolve(), sources.resolve()}
    command += [*sorted(str(place) for place in places), "--"]
    done = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(
            f"the headers of {kernel.version} need the tools of Debian {release}, in {root}, but that cannot be "
            f"entered: {done.stderr.strip() or 'no reason given'}; unshare (Debian package util-linux) must be allowed "
            "to make user namespaces"
        )
    return command


def _compiler(kdir: Path) -> str:
    variables = kdir / ".kernelvariables"
    match = re.search(r"(?m)^CC = .*?\b(gcc-\d+)\s*$", variables.read_text()) if variables.exists() else None
    return match[1] if match else "gcc"


def _tools(release: str, compiler: str) -> Path:
    final = cache_dir("tools") / f"{release}-{compiler}"
    with locked(f"tools-{release}-{compiler}"):
        if not final.exists():
            index = PackageIndex(release)
            names = index.closure([compiler, *_PACKAGES])
            logger.info("downloading %s and what building needs besides, from Debian %s", compiler, release)
            with staging(final) as root:
                for deb in index.download(names, root / "debs"):
                    unpack(deb, root)
                    deb.unlink()
                shutil.rmtree(root / "debs")
                shutil.rmtree(root / "usr/share/doc", ignore_errors=True)
                # What a package's own script would do on installation.
                (root / "usr/bin/awk").symlink_to("mawk")
    return final
