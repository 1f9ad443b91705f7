# SPDX-License-Identifier: GPL-2.0-or-later
"""What this machine allows: kernel headers, lockdown, secure boot, signed modules; and a refusal put into words."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ("Machine", "allow_open_files", "explain_refusal", "look")

# In the order in which they are tried: the ID or a word of ID_LIKE in os-release, and the package of headers.
_HEADERS: Final = {
    "raspbian": "raspberrypi-kernel-headers",
    "debian": "linux-headers-{release}",
    "ubuntu": "linux-headers-{release}",
    "fedora": "kernel-devel-{release}",
    "rhel": "kernel-devel-{release}",
    "suse": "kernel-default-devel",
    "arch": "linux-headers",
    "alpine": "linux-lts-dev",
}
_INSTALL: Final = {
    "debian": "apt install",
    "ubuntu": "apt install",
    "raspbian": "apt install",
    "fedora": "dnf install",
    "rhel": "dnf install",
    "suse": "zypper install",
    "arch": "pacman -S",
    "alpine": "apk add",
}
_SECURE_BOOT: Final = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found.

    Attributes:
        release: of the running kernel.
        build: the directory that modules are built against, None if it is not installed.
        install: the command that installs it, where the distribution is known.
        lockdown: none, integrity or confidentiality; None where the kernel has no lockdown.
        secure_boot: on or off; None without UEFI.
        signatures: the kernel takes only modules signed with a key it trusts.
        loading: False after modules_disabled was set, until the next boot.

    """

    release: str
    build: Path | None
    install: str | None
    lockdown: str | None
    secure_boot: bool | None
    signatures: bool
    loading: bool


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _distribution(root: Path) -> list[str]:
    found = dict(re.findall(r'(?m)^(ID|ID_LIKE)="?([^"\n]*)"?', _text(root / "etc/os-release")))
    return [*found.get("ID", "").split(), *found.get("ID_LIKE", "").split()]


def look(root: Path = Path("/"), release: str | None = None) -> Machine:
    """Look at the running kernel's restrictions; `root` and `release` stand for another machine's."""
    release = release or os.uname().release
    build = root / "lib/modules" / release / "build"
    known = [name for name in _distribution(root) if name in _HEADERS]
    lockdown = re.search(r"\[(\w+)\]", _text(root / "sys/kernel/security/lockdown"))
    try:
        # Four bytes of attributes, then the value.
        secure: bool | None = (root / _SECURE_BOOT).read_bytes()[4:5] == b"\1"
    except OSError:
        secure = None
    return Machine(
        release=release,
        build=build if (build / "Makefile").exists() else None,
        install=f"{_INSTALL[known[0]]} {_HEADERS[known[0]].format(release=release)}" if known else None,
        lockdown=lockdown[1] if lockdown else None,
        secure_boot=secure,
        signatures=_text(root / "sys/module/module/parameters/sig_enforce") == "Y",
        loading=_text(root / "proc/sys/kernel/modules_disabled") != "1",
    )


def allow_open_files() -> None:
    """Let this process have as many files open as it may: a reader for each CPU takes four, a sender's trace many."""
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


_SIGN: Final = (
    "Sign the modules with a key that the machine trusts (DKMS does: ltt-relay module install, then mokutil --import "
    "/var/lib/dkms/mok.pub, reboot, confirm), or {off}; or try in a guest: ltt-relay sandbox -- CMD"
)


def explain_refusal(said: str, machine: Machine) -> str:
    """Return why a module was not let in, and what to do: `said` is the loader's message."""
    by_boot = " because secure boot is on" if machine.secure_boot else ""
    off = "turn secure boot off in the firmware" if machine.secure_boot else "boot without lockdown= and sig_enforce"
    if "Function not implemented" in said:
        return (
            f"kernel {machine.release} takes no modules (it was built without CONFIG_MODULES): run another, "
            "or try in a guest: ltt-relay sandbox -- CMD"
        )
    if not machine.loading:
        return "loading modules is switched off until the next boot (kernel.modules_disabled = 1)"
    locked = machine.lockdown not in {None, "none"}
    refused = any(text in said for text in ("Operation not permitted", "Key was rejected", "Required key"))
    if refused and locked:
        return (
            f"the kernel is locked down ({machine.lockdown}){by_boot}: it takes only modules signed with a key it "
            f"trusts. {_SIGN.format(off=off)}"
        )
    if refused and machine.signatures:
        return (
            f"the kernel takes only signed modules (module.sig_enforce){by_boot}. "
            f"{_SIGN.format(off='boot without module.sig_enforce')}"
        )
    if "Operation not permitted" in said:
        return "not allowed: run as root, and not in a container, which shares its host's kernel"
    if "Invalid module format" in said or "Exec format" in said:
        return f"built for another kernel than {machine.release}: ltt-relay module build --force (dmesg tells more)"
    if "Unknown symbol" in said:
        return "it needs what this kernel does not have, or relayfs is of another build: dmesg names the symbol"
    return said
