# SPDX-License-Identifier: GPL-2.0-or-later
"""Building the kernel modules: from the project's kmod/ sources, for any kernel whose headers are at hand.

The sources are copied and built elsewhere, so that they may lie in a read-only place and serve several kernels.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("PRODUCTS", "BuildError", "build", "compiler_for", "source_dir", "source_hash")

#: What a build in the source tree itself leaves there; it is neither copied nor hashed.
PRODUCTS = shutil.ignore_patterns(
    *("*.o", "*.ko", "*.mod", "*.mod.c", "*.cmd", "*.a", "*.d", "*.symvers", "modules.order", ".tmp_*", ".git", "*~"),
    *("*.i", "syscalls.h", "tracepoints.h"),
)
_ERROR_LINE = re.compile(r"error:|undefined!|undefined reference|\*\*\*|^make.*Error|No such file")
_MAX_ERROR_LINES = 40


class BuildError(UserError):
    """The modules do not compile for that kernel; the text holds the compiler's errors."""


def source_dir() -> Path:
    """Return the directory of the modules' sources: of the checkout, or as installed with the package.

    Raises:
        BuildError: this installation carries none.

    """
    package = Path(__file__).resolve().parents[1]
    for path in (package.parent / "kmod", package / "kmod"):
        if (path / "Makefile").exists() or (path / "Kbuild").exists():
            return path
    raise BuildError(
        f"no kernel module sources: neither {package.parent / 'kmod'} nor {package / 'kmod'} has a Makefile"
    )


def _files(sources: Path) -> Iterator[Path]:
    for directory, subdirectories, names in os.walk(sources):
        left_out = PRODUCTS(directory, [*subdirectories, *names])
        subdirectories[:] = sorted(set(subdirectories) - left_out)
        yield from (Path(directory, name) for name in sorted(set(names) - left_out))


def source_hash(sources: Path) -> str:
    """Return a hash over the names and contents of all source files, as 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in _files(sources):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources)}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _accepts(compiler: str, flags: Sequence[str]) -> bool:
    command = [compiler, *flags, "-x", "c", "-c", os.devnull, "-o", os.devnull]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def compiler_for(kdir: Path) -> str | None:
    """Return a compiler of this machine that can build for the kernel, or None.

    The one that the headers name is best; any other will do that knows the flags the kernel was configured with.
    """
    named = None
    variables = kdir / ".kernelvariables"
    if variables.exists() and (match := re.search(r"(?m)^CC = .*?\b(gcc-\d+)\s*$", variables.read_text())):
        named = match[1]
    config = (kdir / "include/config/auto.conf") if (kdir / "include/config/auto.conf").exists() else kdir / ".config"
    flags = []
    if config.exists() and re.search(r"(?m)^CONFIG_CC_HAS_MIN_FUNCTION_ALIGNMENT=y", config.read_text()):
        flags.append("-fmin-function-alignment=16")
    candidates = [named, "gcc", *(f"gcc-{number}" for number in range(16, 11, -1))]
    return next((name for name in candidates if name and shutil.which(name) and _accepts(name, flags)), None)


def build(
    kdir: Path, out: Path, *, sources: Path | None = None, prefix: Sequence[str] = (), compiler: str | None = None
) -> dict[str, Path]:
    """Build all modules for one kernel.

    Args:
        kdir: the kernel's build directory (headers package, or a configured and built tree).
        out: an empty or missing directory; the sources are copied there, and the modules end up in it.
        sources: the modules' sources; `source_dir()` by default.
        prefix: a command to put before make, such as one that enters another root directory.
        compiler: the C compiler's name; by default what `compiler_for` finds.

    Returns:
        Module name (with underscores) to the path of its .ko file. The compiler's whole output is in out/build.log.

    Raises:
        BuildError: a tool is missing or the build failed.

    """
    sources = sources or source_dir()
    if not (kdir / "Makefile").exists():
        raise BuildError(f"{kdir} has no Makefile: install the headers of that kernel (Debian package linux-headers-…)")
    for path in (kdir, out):
        if re.search(r"[\s:]", str(path)):
            raise BuildError(f"{path}: make cannot build below a directory with a blank or colon in its name")
    if not prefix:
        if shutil.which("make") is None:
            raise BuildError("make not found: install the Debian package build-essential")
        compiler = compiler or compiler_for(kdir)
        if compiler is None:
            raise BuildError(
                f"no C compiler here knows the flags of {kdir}: install a newer gcc (Debian packages gcc-N)"
            )
    shutil.copytree(sources, out, ignore=PRODUCTS, dirs_exist_ok=True)
    command = [*prefix, "make", "-C", str(out), f"KDIR={kdir}", f"-j{len(os.sched_getaffinity(0))}"]
    if compiler:
        command.append(f"CC={compiler}")
    # Type information for BPF in the modules would need pahole and the kernel's own; nothing here uses it.
    command.append("CONFIG_DEBUG_INFO_BTF_MODULES=")
    # What an outer make says to its children (jobs, overrides) is not meant for this one.
    environment = {key: value for key, value in os.environ.items() if key not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        env=environment | {"LC_ALL": "C"},
        text=True,
        errors="replace",
        check=False,
    )
    (out / "build.log").write_text(f"$ {' '.join(command)}\n{done.stdout}")
    if done.returncode:
        lines = done.stdout.splitlines()
        telling = [line for line in lines if _ERROR_LINE.search(line)][:_MAX_ERROR_LINES] or lines[-_MAX_ERROR_LINES:]
        raise BuildError(
            "\n".join([f"the modules do not build for {kdir} (make ended with {done.returncode}):", *telling])
        )
    modules = {path.stem.replace("-", "_"): path for path in sorted(out.rglob("*.ko"))}
    if not modules:
        raise BuildError(f"make in {sources} left no .ko file for {kdir}")
    return modules
