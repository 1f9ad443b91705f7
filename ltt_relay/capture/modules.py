# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel half on the running kernel: built, installed by DKMS, loaded and unloaded."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from ltt_relay import __version__
from ltt_relay.capture import kbuild
from ltt_relay.capture.machine import Machine, explain_refusal
from ltt_relay.capture.rights import MOUNT_POINT
from ltt_relay.capture.session import CaptureError

__all__ = ("MODULES", "build", "install", "installed", "load", "loaded", "unload")

#: In the order in which they are loaded.
MODULES: Final = ("relayfs", "ltt", "klog", "evlog")
#: relayfs closes the rings of a session that has gone by a worker of its own, and stays until that has returned.
_LEAVING_SECONDS: Final = 2.0
_PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def _run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which(str(command[0]), path=_PATH)
    if program is None:
        raise CaptureError(
            f"{command[0]} not found: install the Debian package {'dkms' if 'dkms' in command else 'kmod'}"
        )
    words = [program, *map(str, command[1:])]
    return subprocess.run(
        words, capture_output=True, text=True, errors="replace", check=False, env=os.environ | {"LC_ALL": "C"}
    )


def loaded() -> list[str]:
    """Return which of `MODULES` are in the running kernel."""
    return [name for name in MODULES if Path("/sys/module", name).exists()]


def installed(machine: Machine, root: Path = Path("/")) -> Path | None:
    """Return where modprobe finds relayfs for the running kernel (by DKMS or by hand), or None."""
    directory = root / "lib/modules" / machine.release
    try:
        index = (directory / "modules.dep").read_text(errors="replace")
    except OSError:
        return None
    found = re.search(r"(?m)^(?:\S*/)?relayfs\.ko[^:/]*(?=:)", index)
    return directory / found[0] if found else None


def build(machine: Machine, *, kdir: Path | None = None, output: Path | None = None, force: bool = False) -> Path:
    """Build the modules, or find them built from the same sources; returns their directory.

    Args:
        machine: for whose kernel.
        kdir: another build directory than the running kernel's.
        output: where to; the user's cache by default.
        force: build anew.

    Raises:
        CaptureError: headers are missing, or something else is in `output`.
        BuildError: the build failed.

    """
    from ltt_relay.sandbox.cache import cache_dir, locked, staging

    if kdir is None and machine.build is None:
        raise CaptureError(
            f"the headers of kernel {machine.release} are not installed (no /lib/modules/{machine.release}/build): "
            + (f"{machine.install}; if there is no such package, " if machine.install else "install them; ")
            + "give a build directory with --kdir, or try in a guest: ltt-relay sandbox -- CMD"
        )
    target = kdir or machine.build
    assert target is not None
    if output is not None:
        if output.exists() and any(output.iterdir()) and not (output / "build.log").exists():
            raise CaptureError(f"{output} is not empty, nor an earlier build: choose another directory with -o")
        kbuild.build(target.resolve(), output.resolve())
        return output
    name = machine.release if kdir is None else kdir.resolve().as_posix().strip("/").replace("/", "-")
    final = cache_dir("modules", name) / f"running-{kbuild.source_hash(kbuild.source_dir())}"
    with locked(f"running-{name}"):
        if force or not final.exists():
            with staging(final) as out:
                kbuild.build(target.resolve(), out)
    return final


def install() -> str:
    """Hand the sources to DKMS, which builds and installs them now and for each later kernel; returns what it said.

    Raises:
        CaptureError: not root, no DKMS, or it failed.

    """
    if os.geteuid() != 0:
        raise CaptureError("installing modules needs root: run as root or with sudo")
    _run("dkms", "--version")  # before anything is put there for it
    sources = Path("/usr/src", f"ltt-relay-{__version__}")
    shutil.rmtree(sources, ignore_errors=True)
    shutil.copytree(kbuild.source_dir(), sources, ignore=kbuild.PRODUCTS)
    package = f"ltt-relay/{__version__}"
    said = ""
    _run("dkms", "remove", package, "--all")  # of an earlier try; fails if there was none
    for step in ("add", "build", "install"):
        done = _run("dkms", step, package)
        said += done.stdout + done.stderr
        if done.returncode:
            raise CaptureError(f"dkms {step} {package} ended with {done.returncode}:\n{said.strip()}")
    return said


def load(machine: Machine, directory: Path | None = None, group: int | None = None) -> list[str]:
    """Load what is not loaded yet, and mount relayfs; returns the names of those loaded.

    Args:
        machine: explains refusals.
        directory: where the .ko files are; by default those installed, else those of `build`.
        group: whose members may record from now on.

    Raises:
        CaptureError: not root, or refused; the message says why.
        BuildError: they had to be built first, and that failed.

    """
    if os.geteuid() != 0:
        raise CaptureError("loading modules needs root: run as root or with sudo")
    there = loaded()
    if directory is None and there == list(MODULES):
        return _mount([], group)
    by_name = directory is None and installed(machine) is not None
    if directory is None and not by_name:
        if {"relayfs", "ltt"} <= set(there):
            return _mount([], group)
        directory = build(machine)
    files = {path.stem.replace("-", "_"): path for path in directory.rglob("*.ko")} if directory else {}
    if directory and "relayfs" not in files:
        raise CaptureError(f"{directory}: no relayfs.ko there; ltt-relay module build makes it")
    new = []
    for name in MODULES:
        if name in there or not (by_name or name in files):
            continue
        done = _run("modprobe", name) if by_name else _run("insmod", files[name])
        if done.returncode and name in loaded():
            continue  # another was quicker
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise CaptureError(f"module {name} was not loaded: {explain_refusal(''.join(said), machine)}")
        new.append(name)
    return _mount(new, group)


def _mount(new: list[str], group: int | None) -> list[str]:
    words = []
    mounted = os.path.ismount(MOUNT_POINT)
    if group is not None:
        words = ["-o", f"{'remount,' * mounted}gid={group},mode=770"]
    if words or not mounted:
        done = _run("mount", "-t", "relayfs", *words, "relayfs", MOUNT_POINT)
        if done.returncode and (words or not os.path.ismount(MOUNT_POINT)):
            raise CaptureError(f"relayfs cannot be mounted at {MOUNT_POINT}: {done.stderr.strip()}")
    return new


def unload() -> list[str]:
    """Unmount relayfs and remove the modules; returns their names.

    Raises:
        CaptureError: not root, or sessions are there, which are named.

    """
    if os.geteuid() != 0:
        raise CaptureError("unloading modules needs root: run as root or with sudo")
    there = loaded()
    clients = Path(MOUNT_POINT, "ltt")
    sessions = sorted(path.name for path in clients.iterdir() if path.is_dir()) if clients.exists() else []
    if sessions:
        raise CaptureError(
            f"the tracer is in use, by session{'s' * (len(sessions) > 1)} {', '.join(sessions)}: end what records, or "
            f"ltt-relay status --remove {sessions[0]}"
        )
    mounted = os.path.ismount(MOUNT_POINT)
    if mounted and (done := _run("umount", MOUNT_POINT)).returncode:
        raise CaptureError(f"{MOUNT_POINT} cannot be unmounted: {done.stderr.strip()}")
    deadline = time.monotonic() + _LEAVING_SECONDS
    for name in reversed(there):
        while (done := _run("rmmod", name)).returncode and time.monotonic() < deadline:
            time.sleep(0.05)
        if done.returncode:
            if mounted:
                _run("mount", "-t", "relayfs", "relayfs", MOUNT_POINT)
            raise CaptureError(f"module {name} stays: {done.stderr.strip()}")
    return there
