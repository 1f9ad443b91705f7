# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel half's way to a machine: what machines allow, DKMS, the wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ltt_relay import __version__
from ltt_relay.capture import kbuild, modules
from ltt_relay.capture.machine import Machine, explain_refusal, look
from ltt_relay.capture.session import CaptureError

ROOT = Path(__file__).resolve().parents[2]
OPEN = Machine("6.1.0-1-amd64", Path("/b"), None, "none", False, False, True)


def _machine(root: Path, files: dict[str, bytes]) -> Machine:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return look(root, "6.1.0-1-amd64")


def test_a_plain_machine(tmp_path: Path) -> None:
    found = _machine(
        tmp_path,
        {
            "lib/modules/6.1.0-1-amd64/build/Makefile": b"",
            "sys/kernel/security/lockdown": b"[none] integrity confidentiality\n",
            "sys/module/module/parameters/sig_enforce": b"N\n",
            "proc/sys/kernel/modules_disabled": b"0\n",
        },
    )
    assert found.build == tmp_path / "lib/modules/6.1.0-1-amd64/build"
    assert (found.lockdown, found.secure_boot, found.signatures, found.loading) == ("none", None, False, True)


def test_lockdown_by_secure_boot_is_explained(tmp_path: Path) -> None:
    found = _machine(
        tmp_path,
        {
            "sys/kernel/security/lockdown": b"none [integrity] confidentiality\n",
            "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\x06\0\0\0\1",
        },
    )
    said = explain_refusal("insmod: ERROR: could not insert module ltt.ko: Operation not permitted", found)
    assert "locked down (integrity) because secure boot is on" in said
    assert "mokutil --import" in said
    assert "sandbox" in said


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("updates/dkms/relayfs.ko.xz:", "updates/dkms/relayfs.ko.xz"),
        ("/lib/modules/6.1.0-1-amd64/extra/relayfs.ko:", "extra/relayfs.ko"),
        ("updates/dkms/ltt.ko: updates/dkms/relayfs.ko", None),
        ("kernel/fs/norelayfs.ko:", None),
    ],
)
def test_modules_are_installed_if_modprobe_finds_them(line: str, path: str | None, tmp_path: Path) -> None:
    assert modules.installed(OPEN, tmp_path) is None
    directory = tmp_path / "lib/modules" / OPEN.release
    directory.mkdir(parents=True)
    (directory / "modules.dep").write_text(f"kernel/fs/fuse/fuse.ko:\n{line}\n".replace("/lib", f"{tmp_path}/lib"))
    assert modules.installed(OPEN, tmp_path) == (path and directory / path)


@pytest.mark.parametrize(
    ("said", "machine", "explained"),
    [
        ("Key was rejected by service", {"signatures": True}, "module.sig_enforce"),
        ("Operation not permitted", {"lockdown": "confidentiality"}, "boot without lockdown="),
        ("Operation not permitted", {"loading": False}, "switched off until the next boot"),
        ("Operation not permitted", {}, "run as root, and not in a container"),
        ("Invalid module format", {}, "built for another kernel than 6.1.0-1-amd64"),
        ("Function not implemented", {}, "built without CONFIG_MODULES"),
        ("Unknown symbol in module", {}, "dmesg names the symbol"),
        ("No space left", {}, "No space left"),
    ],
)
def test_refusals_are_explained(said: str, machine: dict[str, object], explained: str) -> None:
    facts = {name: getattr(OPEN, name) for name in Machine.__slots__} | machine
    assert explained in explain_refusal(said, Machine(**facts))


@pytest.mark.parametrize(
    ("release", "command"),
    [
        (b"ID=debian\n", "apt install linux-headers-6.1.0-1-amd64"),
        (b'ID=rocky\nID_LIKE="rhel centos fedora"\n', "dnf install kernel-devel-6.1.0-1-amd64"),
        (b"ID=manjaro\nID_LIKE=arch\n", "pacman -S linux-headers"),
        (b"ID=unheard-of\n", None),
    ],
)
def test_missing_headers_are_told_with_the_package(tmp_path: Path, release: bytes, command: str | None) -> None:
    assert _machine(tmp_path, {"etc/os-release": release}).install == command


def test_dkms_knows_this_version_all_modules_and_no_running_kernel() -> None:
    text = (ROOT / "kmod/dkms.conf").read_text()
    assert f'PACKAGE_VERSION="{__version__}"' in text
    built = set(re.findall(r'BUILT_MODULE_NAME\[\d\]="(\w+)"', text))
    assert built == set(re.findall(r"(?m)^obj-m \+= (\w+)\.o", (ROOT / "kmod/Kbuild").read_text()))
    assert "uname" not in text
    assert "KDIR=${kernel_source_dir}" in text


@pytest.mark.vm
@pytest.mark.slow
def test_dkms_builds_and_installs_for_a_kernel_that_does_not_run(tmp_path: Path) -> None:
    from ltt_relay.sandbox.kernels import find_kernel

    if shutil.which("dkms") is None:
        pytest.skip("dkms is not installed")
    kernel = find_kernel("6.1")
    sources = tmp_path / "src" / f"ltt-relay-{__version__}"
    shutil.copytree(kbuild.source_dir(), sources, ignore=kbuild.PRODUCTS)
    (tmp_path / "tree").mkdir()
    (tmp_path / "installed" / kernel.version).mkdir(parents=True)
    for step in ("add", "build", "install"):
        options = (
            f"--dkmstree {tmp_path}/tree --sourcetree {tmp_path}/src --installtree {tmp_path}/installed --no-depmod"
        )
        where = f"-m ltt-relay -v {__version__} -k {kernel.version} --kernelsourcedir {kernel.build}"
        done = subprocess.run(
            ["dkms", step, *where.split(), *options.split()], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"dkms {step}: {done.stdout}{done.stderr}"
    names = {path.name.partition(".")[0] for path in (tmp_path / "installed").rglob("*.ko*")}
    assert {"relayfs", "ltt"} <= names


@pytest.mark.vm
@pytest.mark.slow
def test_a_tree_built_for_one_kernel_is_built_anew_for_another(tmp_path: Path) -> None:
    # The table of system calls stayed that of the first kernel, and calls unknown there were told with six arguments.
    from ltt_relay.sandbox.kernels import find_kernel

    tables = []
    for tree, name in (("one", "5.10"), ("one", "6.12"), ("other", "6.12")):
        kernel = find_kernel(name)
        shutil.copytree(kbuild.source_dir(), tmp_path / tree, ignore=kbuild.PRODUCTS, dirs_exist_ok=True)
        command = ["make", "-C", str(kernel.build), f"M={tmp_path / tree}", "ltt/probes_sys.o"]
        command += ["CONFIG_DEBUG_INFO_BTF_MODULES=", f"CC={kbuild.compiler_for(kernel.build)}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        tables.append((tmp_path / tree / "ltt/syscalls.h").read_text())
    assert tables[0] != tables[1] == tables[2]
    # Nor is such a table taken along from the sources.
    shutil.copytree(tmp_path / "one", tmp_path / "copy", ignore=kbuild.PRODUCTS)
    assert not (tmp_path / "copy/ltt/syscalls.h").exists()
    assert kbuild.source_hash(tmp_path / "one") == kbuild.source_hash(kbuild.source_dir())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel in it; dependencies come from the one that runs the tests."""
    base = tmp_path_factory.mktemp("wheel")
    tree = base / "tree"
    tree.mkdir()
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name, follow_symlinks=False)
    # What a build in the tree leaves must not get into the wheel.
    (tree / "kmod/relayfs/main.o").write_bytes(b"")
    run = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(base), str(tree)]
    subprocess.run(run, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
    (wheel,) = base.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(base / "venv/bin/python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = (base / "venv/lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(tree)
    return base / "venv"


def _python(installed: Path, code: str) -> str:
    command = [str(installed / "bin/python"), "-P", "-c", code]
    return subprocess.run(command, cwd=installed, env={}, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.slow
def test_the_wheel_has_formats_and_module_sources_as_real_files(installed: Path) -> None:
    package = Path(_python(installed, "import ltt_relay; print(ltt_relay.__path__[0])"))
    assert package.is_relative_to(installed)
    for path in (package / "formats", package / "kmod", package / "sandbox/guest_init.sh", package / "py.typed"):
        assert path.exists()
        assert not path.is_symlink()
    assert not list((package / "kmod").rglob("*.o"))
    ours = {
        p.relative_to(ROOT / "kmod") for p in (ROOT / "kmod").rglob("*") if p.suffix in {".c", ".h", ".awk", ".conf"}
    }
    theirs = {p.relative_to(package / "kmod") for p in (package / "kmod").rglob("*")}
    generated = {Path("ltt/syscalls.h"), Path("ltt/tracepoints.h"), Path("ltt/trace_headers.i")}
    assert {p for p in ours if not p.name.endswith(".mod.c")} - generated <= theirs
    code = "from ltt_relay.capture import kbuild as k; print(k.source_dir(), k.source_hash(k.source_dir()))"
    assert _python(installed, code).split() == [str(package / "kmod"), kbuild.source_hash(ROOT / "kmod")]
    assert _python(installed, "from ltt_relay.formats.ltt3 import FORMAT; print(FORMAT.name)") == "LTT"


@pytest.mark.slow
def test_the_installed_command_runs_outside_the_tree(installed: Path) -> None:
    done = subprocess.run(
        [installed / "bin/ltt-relay", "--help"], cwd=installed, capture_output=True, text=True, env={}
    )
    assert done.returncode == 0
    assert "record" in done.stdout


def test_a_build_does_not_overwrite_what_is_there(tmp_path: Path) -> None:
    """`module build -o .` replaced a project's own Makefile."""
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/Makefile").write_text("modules:\n\tfalse\n")
    (tmp_path / "project").mkdir()
    (tmp_path / "project/Makefile").write_text("mine")
    with pytest.raises(CaptureError, match="project is not empty, nor an earlier build"):
        modules.build(OPEN, kdir=tmp_path / "kernel", output=tmp_path / "project")
    assert [path.read_text() for path in (tmp_path / "project").iterdir()] == ["mine"]


def test_two_who_load_at_once_both_have_the_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one was told that a file exists."""
    there: list[str] = []
    for name in modules.MODULES:
        (tmp_path / f"{name}.ko").touch()

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        # Whatever is to be done, the other has just done it.
        if command[0] == "insmod":
            there.append(Path(command[1]).stem)
        return subprocess.CompletedProcess([], 1, "", f"{command[0]}: File exists")

    monkeypatch.setattr(modules, "_run", run)
    monkeypatch.setattr(modules, "loaded", lambda: list(there))
    monkeypatch.setattr("os.path.ismount", lambda path: bool(there))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert modules.load(OPEN, tmp_path) == []
    assert there == list(modules.MODULES)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_module_that_is_still_closing_rings_is_waited_for(leaves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    # Unloading just after the last session had gone was refused now and then.
    asked: list[str] = []

    def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
        asked.append(str(command[-1]))
        busy = command[-1] == "relayfs" and (asked.count("relayfs") < 3 or not leaves)
        said = "rmmod: ERROR: Module relayfs is in use\n" if busy else ""
        return subprocess.CompletedProcess([], int(busy), "", said)

    monkeypatch.setattr(modules, "_run", run)
    monkeypatch.setattr(modules, "loaded", lambda: ["relayfs", "ltt"])
    monkeypatch.setattr(modules, "_LEAVING_SECONDS", 60.0 if leaves else 0.1)
    monkeypatch.setattr(modules, "MOUNT_POINT", "/nonexistent")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    if leaves:
        assert modules.unload() == ["relayfs", "ltt"]
        assert asked == ["ltt", "relayfs", "relayfs", "relayfs"]
    else:
        with pytest.raises(CaptureError, match=r"relayfs stays: .* in use"):
            modules.unload()
