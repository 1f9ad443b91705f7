# SPDX-License-Identifier: GPL-2.0-or-later
"""Run one command in a throwaway guest: prepare it, boot it, pass the streams, tell how it ended."""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ltt_relay.sandbox import image
from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.errors import GuestError, SandboxError
from ltt_relay.sandbox.kernels import DEFAULT_KERNEL, Kernel, find_kernel
from ltt_relay.sandbox.modules import build_modules, default_modules
from ltt_relay.sandbox.packages import PackageIndex, host_release, unpack
from ltt_relay.sandbox.qemu import Machine, choose_accelerator
from ltt_relay.sandbox.session import Limits, Session, Streams

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ("Completed", "Guest", "run")

# What the guest's first process needs, whichever of it the kernel has as modules.
_BASE_MODULES = ["virtio_pci", "virtio_console", "9p", "9pnet_virtio", "overlay"]
_P9_OPTIONS = "trans=virtio,version=9p2000.L,msize=512000"
_INIT = Path(__file__).with_name("guest_init.sh")

# Variables that mean something outside the guest only: sockets that are not in there, and this machine's processor,
# which it does not have.
_LEFT_OUT = {
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_L2_SIZE",
    "SSH_AUTH_SOCK",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
}


class Completed(NamedTuple):
    """How the command ended.

    Attributes:
        returncode: its exit status; 128 + N if signal N ended it, 127 if it was not found.
        stdout: what it wrote there; empty if that went to a file descriptor.
        stderr: likewise.
        console: the kernel's console log.
        kernel: the version that ran.
        boot_seconds: from starting QEMU to starting the command.
        seconds: from starting QEMU to the end.

    """

    returncode: int
    stdout: bytes
    stderr: bytes
    console: str
    kernel: str
    boot_seconds: float
    seconds: float


@dataclass(frozen=True)
class Guest:
    """A kind of guest; each `run` boots a fresh one.

    Attributes:
        kernel: a version, a series, "newest", or the path of a kernel build tree (see `kernels.find_kernel`).
        cpus: how many; by default 2, or 1 with `icount`.
        memory: a size such as "1G"; taken from this machine as the guest uses it.
        rw: directories whose changes are kept, at the same path in the guest.
        icount: count instructions: one CPU, one nanosecond of the guest's time an instruction, repeatable.
        modules: which modules to load, in that order, dependencies included; "name:option=value" passes an option.
            None loads what `modules.default_modules` says; empty loads none, and then nothing is built.
        early: load them first of all, in the initial file system, before this machine's files are there.
        append: further words for the kernel's command line.
        memory_file: a file that becomes the guest's memory, and stays: the image of a guest that died.
        accel: "kvm" or "tcg"; None uses KVM where it works.
        boot_timeout: seconds until the guest counts as hung if it has not come up.
        hang_timeout: seconds without an answer until it counts as hung.

    """

    kernel: str | os.PathLike[str] = DEFAULT_KERNEL
    cpus: int | None = None
    memory: str = "1G"
    rw: Sequence[str | os.PathLike[str]] = ()
    icount: bool = False
    modules: Sequence[str] | None = None
    early: bool = False
    append: Sequence[str] = ()
    memory_file: str | os.PathLike[str] | None = None
    accel: str | None = None
    boot_timeout: float = 180.0
    hang_timeout: float = 60.0

    def run(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        stdin: bytes | int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        console: str | os.PathLike[str] | None = None,
    ) -> Completed:
        """Boot, run the command as root, end the guest.

        Args:
            command: program and arguments; the program is looked up in PATH, in the guest.
            stdin: bytes to be read, a file descriptor to read from, or None for an empty input.
            stdout: a file descriptor to write to; None collects it.
            stderr: likewise.
            cwd: directory to run in; the current one by default.
            env: environment; the caller's by default (`guest_environment`).
            timeout: seconds the command may take, the boot not counted.
            console: file to keep the console log in.

        Raises:
            SandboxError: the guest cannot be prepared.
            BuildError: the modules do not compile for that kernel.
            GuestPanicError, GuestHangError, GuestTimeoutError: it ended before the command did; `console` tells more.
            BrokenPipeError: nobody reads the file descriptor given as stdout or stderr any more.

        """
        if not command:
            raise SandboxError("no command to run")
        words = [os.fspath(word) for word in command]
        cpus = self._check()
        rw = _writable(self.rw)
        kernel = find_kernel(self.kernel)
        accelerator = choose_accelerator(
            self.accel,
            icount=self.icount,
            kernel=f"{kernel.version} {kernel.identity}",
            probe=lambda: self._boots_under_kvm(kernel),
        )
        directory = os.fspath(cwd) if cwd is not None else os.getcwd()  # noqa: PTH109 - kept as it is, links included
        variables = guest_environment(os.environ if env is None else env, kernel.version)
        with tempfile.TemporaryDirectory(prefix="ltt-relay-guest-") as temporary:
            initrd = Path(temporary, "initrd")
            initrd.write_bytes(
                self._initrd(kernel, rw, _command_script(words, directory, variables), has_stdin=stdin is not None)
            )
            append = (*kernel.words, *self.append)
            kept = Path(self.memory_file) if self.memory_file is not None else None
            machine = Machine(kernel.boot, initrd, cpus, self.memory, self.icount, accelerator, rw, append, kept)
            session = Session(
                machine,
                Streams(stdin, stdout, stderr),
                Limits(self.boot_timeout, self.hang_timeout, timeout),
                Path(console) if console is not None else Path(temporary, "console"),
                shlex.join(words),
            )
            end = session.run()
        return Completed(end.status, end.stdout, end.stderr, end.console, kernel.version, end.boot_seconds, end.seconds)

    def _check(self) -> int:
        if not re.fullmatch(r"[1-9]\d*[KMGTkmgt]?", self.memory):
            raise SandboxError(f"memory {self.memory!r}: expected a size such as 512M or 2G")
        cpus = self.cpus if self.cpus is not None else 1 if self.icount else 2
        if cpus < 1 or cpus > 255:
            raise SandboxError(f"{cpus} CPUs: expected 1 to 255")
        if self.icount and cpus > 1:
            raise SandboxError(f"instructions can only be counted with one CPU, not with {cpus}")
        return cpus

    def _boots_under_kvm(self, kernel: Kernel) -> bool:
        probe = replace(self, accel="kvm", modules=(), rw=(), append=(), boot_timeout=15.0, hang_timeout=10.0, cpus=1)
        # The kernel in hand, not another look-up: the index may have moved on meanwhile.
        probe = replace(probe, kernel=kernel.version if kernel.packaged else kernel.build)
        try:
            return probe.run(["true"], cwd="/", env={}, timeout=15.0).returncode == 0
        except GuestError:
            return False

    def _initrd(self, kernel: Kernel, rw: Sequence[Path], command: bytes, *, has_stdin: bool) -> bytes:
        roots = [kernel.modules]
        wanted = list(self.modules) if self.modules is not None else None
        if wanted is None or wanted:
            build = build_modules(kernel)
            roots.append(build)
            if wanted is None:
                wanted = default_modules(build)
        tree = image.ModuleTree(*roots)
        base = tree.closure(_BASE_MODULES)
        options = {name.replace("-", "_"): rest for name, _, rest in (item.partition(":") for item in wanted)}
        chosen = {name: data for name, data in tree.closure(list(options)).items() if name not in base}
        config = {
            "base_modules": " ".join(base),
            "modules": " ".join(f"{name}:{options[name]}" if options.get(name) else name for name in chosen),
            "early": "yes" if self.early else "no",
            "rw_directories": "".join(f"{path}\n" for path in rw),
            "has_stdin": "yes" if has_stdin else "no",
            "hostname": "ltt-relay",
            "p9_options": _P9_OPTIONS,
            "stock_modules": str(kernel.modules) if kernel.packaged else "",
        }
        cpio = image.Cpio()
        for name in ("bin", "boot", "dev", "lower", "modules", "proc", "root", "sys", "upper", "run", "run/ltt-relay"):
            cpio.directory(name)
        # The kernel opens it for the first process before anything is mounted.
        cpio.device("dev/console", 5, 1)
        cpio.file("bin/busybox", _busybox().read_bytes(), 0o755)
        cpio.file("init", _INIT.read_bytes(), 0o755)
        cpio.file("config", b"".join(b"%s=%s\n" % (key.encode(), _quote(text)) for key, text in config.items()))
        cpio.file("command", command, 0o600)
        for name, data in base.items():
            cpio.file(f"boot/{name}.ko", data)
        for name, data in chosen.items():
            cpio.file(f"modules/{name}.ko", data)
        return cpio.finish()


def run(
    command: Sequence[str | os.PathLike[str]],
    *,
    stdin: bytes | int | None = None,
    timeout: float | None = None,
    kernel: str | os.PathLike[str] = DEFAULT_KERNEL,
    cpus: int | None = None,
    memory: str = "1G",
    rw: Sequence[str | os.PathLike[str]] = (),
    icount: bool = False,
    modules: Sequence[str] | None = None,
    append: Sequence[str] = (),
) -> Completed:
    """Run a command in a guest and collect what it writes; see `Guest` and `Guest.run`."""
    guest = Guest(kernel, cpus, memory, rw, icount, modules, append=append)
    return guest.run(command, stdin=stdin, timeout=timeout)


def guest_environment(env: Mapping[str, str], version: str) -> dict[str, str]:
    """Return the environment of the command: the caller's, less what means nothing in the guest.

    ``LTT_RELAY_SANDBOX`` is the kernel version there, and ``LTT_RELAY_MODULES`` the directory with the .ko files.
    """
    kept = {key: value for key, value in env.items() if key not in _LEFT_OUT}
    path = kept.get("PATH", "/usr/local/bin:/usr/bin:/bin").split(":")
    # Unprivileged users lack these; the command runs as root.
    path += [directory for directory in ("/usr/local/sbin", "/usr/sbin", "/sbin") if directory not in path]
    return kept | {
        "PATH": ":".join(path),
        "USER": "root",
        "LOGNAME": "root",
        "LTT_RELAY_SANDBOX": version,
        "LTT_RELAY_MODULES": "/run/ltt-relay/modules",
    }


def _quote(text: str) -> bytes:
    return os.fsencode(shlex.quote(text))


def _command_script(command: Sequence[str], directory: str, env: Mapping[str, str]) -> bytes:
    busybox = "/run/ltt-relay/busybox"
    words = [busybox, "env", "-i", *(f"{key}={value}" for key, value in env.items()), *command]
    lines = [f"cd {shlex.quote(directory)} || exit 125", f"exec {shlex.join(words)}", ""]
    return os.fsencode("\n".join(lines))


def _writable(directories: Sequence[str | os.PathLike[str]]) -> list[Path]:
    # Parents first, so that a directory below another is mounted over it and not hidden by it.
    paths = sorted({Path(directory).resolve() for directory in directories})
    for path in paths:
        if not path.is_dir():
            raise SandboxError(f"--rw {path}: no such directory; make it first")
        if path == Path("/") or "\n" in str(path):
            raise SandboxError(f"--rw {str(path)!r}: expected a directory of your own, not all of this machine")
    return paths


def _busybox() -> Path:
    # The machine's own if it needs no libraries (Debian's busybox-static), else Debian's package, unpacked.
    installed = Path("/usr/bin/busybox"), Path("/bin/busybox")
    for path in installed:
        if path.exists() and image.is_static(path):
            return path
    return _fetched_busybox()


def _fetched_busybox() -> Path:
    final = cache_dir() / "busybox"
    with locked("busybox"):
        if not final.exists():
            with staging(final) as root:
                index = PackageIndex(host_release() or "bookworm")
                index.names()
                for deb in index.download(["busybox-static"], root / "debs"):
                    unpack(deb, root)
    found = next((path for path in final.rglob("busybox") if path.is_file() and image.is_static(path)), None)
    if found is None:
        raise SandboxError("no busybox that needs no libraries: install the Debian package busybox-static")
    return found
