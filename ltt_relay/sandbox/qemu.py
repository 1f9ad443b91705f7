# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's command line, and whether KVM can be used under it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ltt_relay.sandbox.cache import cache_dir, locked
from ltt_relay.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ("ACCELERATORS", "Machine", "choose_accelerator", "kvm_usable", "qemu_program")

# tcg-single: one thread emulates all CPUs in turns. With a thread each, a CPU can go on executing a breakpoint that
# another has patched away already, for ever: a kernel whose tracepoints are switched often then hangs (QEMU 7.2).
_TCG = {"tcg": "tcg", "tcg-single": "tcg,thread=single"}
ACCELERATORS = ("auto", "kvm", *_TCG)

# How long a verdict on KVM holds, in seconds.
_VERDICT_AGE = 7 * 24 * 3600

_KERNEL_WORDS = (
    "console=ttyS0",
    # A fault ends the guest (QEMU runs with -no-reboot), and so does a CPU that is stuck for minutes: nobody waits.
    "panic=-1",
    "oops=panic",
    "softlockup_panic=1",
    "sysctl.kernel.watchdog_thresh=60",
    "sysctl.kernel.panic_on_rcu_stall=1",
    "rcupdate.rcu_cpu_stall_timeout=120",
    # What the caller sends when the guest stopped answering; the panic then says where it was.
    "unknown_nmi_panic",
    # Emulated, each character on the serial console costs thousands of instructions. An oops prints regardless.
    "loglevel=5",
    # 0.4 s of 2.5 s, emulated.
    "cryptomgr.notests",
)


@dataclass(frozen=True)
class Machine:
    """A virtual machine to be started.

    Attributes:
        kernel: the ELF kernel or bzImage.
        initrd: the initial file system.
        memory: a size in QEMU's notation, such as "1G".
        accelerator: "kvm", "tcg" or "tcg-single".
        rw: directories of this machine that the guest may write to, by 9p tags rw0, rw1, ...
        append: further words for the kernel's command line; a later word wins.
        memory_file: a file that is the guest's memory, and stays when it is gone.

    """

    kernel: Path
    initrd: Path
    cpus: int
    memory: str
    icount: bool
    accelerator: str
    rw: Sequence[Path]
    append: Sequence[str] = ()
    memory_file: Path | None = None

    def command(self, console: Path, ports: dict[str, int], monitor: int) -> list[str]:
        """Return the command line that starts it.

        Args:
            console: the file that the serial console is written to.
            ports: name to file descriptor (a connected socket) of each virtio-serial port.
            monitor: file descriptor of a connected socket for QEMU's monitor.

        """
        if self.accelerator == "kvm":
            accelerator, cpu = "kvm", "host"
        else:
            # Five-level page tables cost a memory access at each miss of the emulated TLB.
            accelerator, cpu = _TCG[self.accelerator], "max,la57=off"
        command = [qemu_program(), "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
        command += ["-name", "ltt-relay", "-machine", "q35", "-accel", accelerator, "-cpu", cpu]
        command += ["-smp", str(self.cpus), "-m", self.memory]
        if self.memory_file is not None:
            backend = f"memory-backend-file,id=memory,size={self.memory},share=on,mem-path={_escape(self.memory_file)}"
            command += ["-object", backend, "-machine", "memory-backend=memory"]
        if self.icount:
            # One nanosecond an instruction; an idle guest skips to its next timer instead of sleeping.
            command += ["-icount", "shift=0,sleep=off", "-rtc", "base=utc,clock=vm"]
        command += ["-kernel", str(self.kernel), "-initrd", str(self.initrd)]
        command += ["-append", " ".join([*_KERNEL_WORDS, *self.append])]
        command += ["-chardev", f"file,id=console,path={_escape(console)}", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=readline"]
        command += _share("root", Path("/"), "readonly=on,multidevs=remap")
        for number, directory in enumerate(self.rw):
            command += _share(f"rw{number}", directory, "multidevs=remap")
        command += ["-device", "virtio-serial-pci"]
        for name, descriptor in ports.items():
            command += ["-chardev", f"socket,id=port-{name},fd={descriptor}"]
            command += ["-device", f"virtserialport,chardev=port-{name},name={name}"]
        return command


def _escape(path: Path) -> str:
    # In QEMU's options a comma is doubled.
    return str(path).replace(",", ",,")


def _share(tag: str, directory: Path, options: str) -> list[str]:
    # "none": the files appear with the owners they have; a change of owner that the caller may not make is ignored.
    share = f"local,id={tag},path={_escape(directory)},security_model=none,{options}"
    return ["-fsdev", share, "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]


@lru_cache(maxsize=1)
def qemu_program() -> str:
    """Return QEMU's path.

    Raises:
        SandboxError: it is not installed, or this machine's programs would not run in the guest.

    """
    if platform.machine() != "x86_64":
        raise SandboxError(f"the guest runs this machine's programs on an x86-64 kernel; this is {platform.machine()}")
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise SandboxError("qemu-system-x86_64 not found: install the Debian package qemu-system-x86")
    return program


@lru_cache(maxsize=1)
def _qemu_version() -> str:
    done = subprocess.run([qemu_program(), "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\S+)", done.stdout)
    return match[1] if match else "unknown"


def choose_accelerator(wanted: str | None, *, icount: bool, kernel: str, probe: Callable[[], bool]) -> str:
    """Return "kvm", "tcg" or "tcg-single".

    Args:
        wanted: "kvm", "tcg" or "tcg-single" forces it; None or "auto" asks ``LTT_RELAY_ACCEL`` and then `kvm_usable`.
        icount: counting instructions excludes KVM.
        kernel: what the verdict is remembered by, besides this machine's kernel and QEMU.
        probe: boots that kernel under KVM and tells whether it came up.

    Raises:
        SandboxError: the name is unknown, or KVM is forced together with icount.

    """
    chosen = wanted if wanted not in {None, "auto"} else os.environ.get("LTT_RELAY_ACCEL", "auto")
    if chosen not in ACCELERATORS:
        raise SandboxError(f"accelerator {chosen!r}: expected one of {', '.join(ACCELERATORS)}")
    if icount:
        if chosen == "kvm":
            raise SandboxError("instructions can only be counted under emulation: leave out --icount or use tcg")
        return "tcg"
    if chosen != "auto":
        return str(chosen)
    return "kvm" if kvm_usable(kernel, probe) else "tcg"


def kvm_usable(kernel: str, probe: Callable[[], bool]) -> bool:
    """Tell whether that kernel boots under KVM here, by trying it once; the verdict is kept for a week.

    That /dev/kvm exists says little: under nested virtualisation guests may stop or hang at once.
    """
    device = Path("/dev/kvm")
    if not device.exists() or not os.access(device, os.R_OK | os.W_OK):
        return False
    key = f"{platform.release()} {_qemu_version()} {kernel}"
    file = cache_dir() / "kvm.json"
    with locked("kvm"):
        verdicts: dict[str, list[int]] = {}
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            verdicts = json.loads(file.read_text())
        if key in verdicts:
            usable, when = verdicts[key]
            if 0 <= time.time() - when < _VERDICT_AGE:
                return bool(usable)
        verdicts[key] = [int(probe()), int(time.time())]
        file.write_text(json.dumps(verdicts, indent=1) + "\n")
        return bool(verdicts[key][0])
