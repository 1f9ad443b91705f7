# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernels to boot: which one is meant, and how it gets into the user's cache.

A kernel is asked for by ABI version (``6.1.0-50-amd64``), by series (``6.1``, ``7``), as ``newest``, with ``-rt`` for
the real-time flavour, ``-debug`` for one that is built here to find faults, or as the path of a build tree. Debian's
packages are unpacked, never installed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ltt_relay.sandbox import image
from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.debug import debug_kernel
from ltt_relay.sandbox.errors import SandboxError, UnreachableError
from ltt_relay.sandbox.packages import RELEASES, PackageIndex, host_release, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("DEFAULT_KERNEL", "Kernel", "Request", "available", "choose", "find_kernel", "parse_request", "version_key")

logger = logging.getLogger(__name__)

DEFAULT_KERNEL = "6.1"

# The release that each series is the own kernel of; it is looked in before the backports of others.
_HOME: dict[tuple[int, ...], str] = {(5, 10): "bullseye", (6, 1): "bookworm", (6, 12): "trixie"}
_IMAGE_NAME = re.compile(
    r"linux-image-(?P<version>(?P<number>\d+\.\d+[^-]*(?:-\d[^-]*)?)(?:-(?P<flavour>[a-z]+))?-amd64)"
)
_PART_NAME = re.compile(r"linux-(?:image|binary|modules|base|headers|kbuild)-\d\S*")


@dataclass(frozen=True)
class Request:
    """What was asked for: an exact version, or the newest of a series and flavour."""

    series: tuple[int, ...] = ()  # a prefix of the version; empty for the newest of all
    flavour: str = ""  # "", "rt", "cloud", "debug"
    exact: str | None = None

    def __str__(self) -> str:
        if self.exact:
            return self.exact
        series = ".".join(map(str, self.series)) or "newest"
        return f"{series}-{self.flavour}" if self.flavour else series


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted and built for.

    Attributes:
        version: its release, as ``uname -r`` says.
        identity: differs between two kernels of the same version (the package version; a hash for a build tree).
        boot: what QEMU loads: the unpacked vmlinux where the kernel has a PVH entry, else the bzImage.
        modules: directory with the modules (``lib/modules/VERSION``, or the build tree).
        build: the directory that external modules are built against.
        packaged: False for a build tree of the user's.
        words: for the command line of this kernel.

    """

    version: str
    identity: str
    boot: Path
    modules: Path
    build: Path
    packaged: bool = True
    words: tuple[str, ...] = ()


def version_key(version: str) -> tuple[int, ...]:
    """Return a sort key: ``6.12.90+deb12.1-amd64`` comes after ``6.12.90+deb12-amd64``."""
    return tuple(int(number) for number in re.findall(r"\d+", version.removesuffix("-amd64")))


def parse_request(text: str) -> Request:
    """Parse the value of ``--kernel``, unless it is a path.

    Raises:
        SandboxError: it is none of the accepted forms.

    """
    text = text.strip()
    if match := _IMAGE_NAME.fullmatch(f"linux-image-{text}"):
        return Request(version_key(match["number"])[:2], match["flavour"] or "", text)
    if match := re.fullmatch(r"(?P<series>newest|\d+(?:\.\d+){0,2})(?:-(?P<flavour>rt|cloud|debug))?", text):
        series = () if match["series"] == "newest" else tuple(map(int, match["series"].split(".")))
        return Request(series, match["flavour"] or "")
    raise SandboxError(
        f"--kernel {text!r}: expected a version such as 6.1.0-50-amd64, a series such as 6.1, 6.1-rt, 6.1-debug or 7, "
        "'newest', or the path of a kernel build tree (with a slash in it)"
    )


def available(names: Iterable[str]) -> dict[str, str]:
    """Pick the bootable kernels from package names: version to flavour."""
    matches = (_IMAGE_NAME.fullmatch(name) for name in names)
    return {match["version"]: match["flavour"] or "" for match in matches if match}


def choose(request: Request, names: Iterable[str]) -> str | None:
    """Return the newest version among the package names that answers the request, or None."""
    kernels = available(names)
    if request.exact:
        return request.exact if request.exact in kernels else None
    depth = len(request.series)
    fitting = [
        version
        for version, flavour in kernels.items()
        if flavour == request.flavour and version_key(version)[:depth] == request.series
    ]
    return max(fitting, key=version_key, default=None)


def releases_for(request: Request) -> list[str]:
    """Return Debian's releases in the order to look in.

    The machine's own first (its compiler and C library fit its headers), then the one that the series is at home
    in, then the others from the newest.
    """
    if not request.series:
        return [RELEASES[-1]]
    home = _HOME.get(request.series[:2])
    order = [host_release(), home, *reversed(RELEASES)]
    return list(dict.fromkeys(release for release in order if release))


def find_kernel(wanted: str | os.PathLike[str] = DEFAULT_KERNEL) -> Kernel:
    """Return the kernel asked for, downloaded into the cache if it is not there.

    Raises:
        SandboxError: there is no such kernel; UnreachableError if the index cannot be asked and the cache has none.

    """
    text = os.fspath(wanted)
    if "/" in text or text in {".", ".."}:
        return _from_tree(Path(text).resolve())
    request = parse_request(text)
    if request.flavour == "debug":
        return _from_tree(debug_kernel(request.series))
    if request.exact and (kernel := _cached(request.exact)):
        return kernel
    try:
        return _from_index(request)
    except UnreachableError as error:
        version = choose(request, (f"linux-image-{path.name}" for path in cache_dir("kernels").glob("[0-9]*")))
        if version is None or (kernel := _cached(version)) is None:
            raise
        logger.warning("the package index cannot be asked (%s); using %s from the cache", _first_line(error), version)
        return kernel


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:160]


def _from_index(request: Request) -> Kernel:
    seen: set[str] = set()
    for release in releases_for(request):
        index = PackageIndex(release)
        names = index.names()
        version = choose(request, names)
        if version is not None:
            return _cached(version) or _fetch(version, index)
        seen.update(available(names))
    known = ", ".join(sorted(seen, key=version_key)) or "none"
    raise SandboxError(f"no kernel {request} in the package index; it has: {known}")


def _cached(version: str) -> Kernel | None:
    root = cache_dir("kernels") / version
    try:
        facts = json.loads((root / "kernel.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return Kernel(
        version=version,
        identity=facts["identity"],
        boot=root / facts["boot"],
        modules=root / facts["modules"],
        build=root / "usr/src" / f"linux-headers-{version}",
    )


def _fetch(version: str, index: PackageIndex) -> Kernel:
    with locked(f"kernel-{version}"):
        if kernel := _cached(version):
            return kernel
        parts, package_version = _parts(version, index)
        logger.info("downloading %s", ", ".join(parts))
        final = cache_dir("kernels") / version
        with staging(final) as root:
            for deb in index.download(parts, root / "debs"):
                unpack(deb, root)
                deb.unlink()
            _finish(root, final, version, f"{package_version}-{index.release}")
    kernel = _cached(version)
    if kernel is None:
        raise SandboxError(f"{final} vanished while it was made; run the command again")
    return kernel


def _parts(version: str, index: PackageIndex) -> tuple[list[str], str]:
    # The image and the headers, and of what they depend on whatever else is built from the kernel's source.
    parts: dict[str, str] = {}
    queue = [f"linux-image-{version}", f"linux-headers-{version}"]
    while queue:
        found = index.show([name for name in queue if name not in parts])
        queue = []
        for name, fields in found.items():
            parts[name] = fields.get("Version", "")
            for alternative in fields.get("Depends", "").split(","):
                first = alternative.split("|")[0].split("(")[0].strip()
                if _PART_NAME.fullmatch(first) and first not in parts:
                    queue.append(first)
    image_name = f"linux-image-{version}"
    if image_name not in parts or f"linux-headers-{version}" not in parts:
        raise UnreachableError(f"{image_name} or its headers are no longer in the index of Debian {index.release}")
    return sorted(parts), parts[image_name]


def _finish(root: Path, final: Path, version: str, identity: str) -> None:
    # Make the unpacked tree usable where it will be: absolute paths in it mean the machine's own /usr/src.
    modules = next((root / top for top in ("usr/lib/modules", "lib/modules") if (root / top / version).is_dir()), None)
    if modules is None:
        raise SandboxError(f"the packages of {version} hold no lib/modules/{version}")
    modules /= version
    vmlinuz = next((path for path in (root / f"boot/vmlinuz-{version}", modules / "vmlinuz") if path.exists()), None)
    if vmlinuz is None:
        raise SandboxError(f"the packages of {version} hold no vmlinuz")
    for makefile in root.glob("usr/src/linux-headers-*/Makefile"):
        text = makefile.read_text()
        makefile.write_text(re.sub(r"(?m)(^include |=)/usr/src/", rf"\g<1>{final}/usr/src/", text))
    for name in ("build", "source"):
        link = modules / name
        if link.is_symlink() and (target := str(link.readlink())).startswith("/usr/src/"):
            target = f"{final}{target}"
            link.unlink()
            link.symlink_to(target)
    shutil.rmtree(root / "debs")
    shutil.rmtree(root / "usr/share", ignore_errors=True)
    _depmod(modules, version)
    boot = root / "vmlinux"
    if not image.extract_vmlinux(vmlinuz, boot):
        boot = vmlinuz
    facts = {
        "identity": identity,
        "boot": str(boot.relative_to(root)),
        "modules": str(modules.relative_to(root)),
    }
    (root / "kernel.json").write_text(json.dumps(facts, indent=1) + "\n")


def _depmod(modules: Path, version: str) -> None:
    # Only for those who call modprobe in the guest: what the guest itself needs is resolved by image.ModuleTree.
    program = shutil.which("depmod", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        logger.info("depmod not found (Debian package kmod): modprobe will not work in the guest")
        return
    base = modules.parents[2]
    subprocess.run([program, "-b", str(base), version], check=False, capture_output=True)


def _from_tree(tree: Path) -> Kernel:
    release = tree / "include/config/kernel.release"
    bzimage = tree / "arch/x86/boot/bzImage"
    for path in (release, bzimage):
        if not path.exists():
            raise SandboxError(
                f"{tree} is no built kernel tree: {path.relative_to(tree)} is missing; expected a tree in which "
                "'make bzImage modules' ran for x86-64"
            )
    status = bzimage.stat()
    identity = f"tree-{status.st_mtime_ns:x}-{status.st_size:x}"
    version = release.read_text().strip()
    config = (tree / ".config").read_text().splitlines() if (tree / ".config").exists() else []
    with locked(f"tree-{version}"):
        boot = cache_dir("trees", version) / f"vmlinux-{identity}"
        if not boot.exists():
            for old in boot.parent.iterdir():
                old.unlink()
            # The PVH entry of a kernel with KASAN touches shadow memory that is not there yet (as of 6.1).
            if "CONFIG_KASAN=y" in config or not image.extract_vmlinux(bzimage, boot):
                boot = bzimage
    # Consoles take a lock that sleeps on PREEMPT_RT, wherever printk is called: this check would find nothing else.
    words = ("loglevel=1",) if "CONFIG_PROVE_RAW_LOCK_NESTING=y" in config else ()
    return Kernel(version, identity, boot, tree, tree, packaged=False, words=words)
