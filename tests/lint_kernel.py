# SPDX-License-Identifier: GPL-2.0-or-later
"""checkpatch, kernel-doc and sparse on the kernel half: ``python -m tests.lint_kernel [--kernel VERSION]``.

checkpatch.pl comes from Debian's source of that kernel: 130 MB, downloaded once, of which three files are kept. sparse
is a Debian package. What is ignored is named here, with the reason. Ends with 1 if anything else is found.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ltt_relay.capture import kbuild
from ltt_relay.sandbox.cache import cache_dir, locked, staging
from ltt_relay.sandbox.debug import kernel_source
from ltt_relay.sandbox.errors import SandboxError
from ltt_relay.sandbox.kernels import DEFAULT_KERNEL, find_kernel
from ltt_relay.sandbox.packages import unpack

ROOT = Path(__file__).resolve().parents[1]
_SCRIPTS = ("checkpatch.pl", "const_structs.checkpatch", "spelling.txt")

#: Kinds of checkpatch that do not fit here.
IGNORED = {
    "COMPLEX_MACRO": "macros that define probes or an initialiser cannot stand in parentheses",
    "TRAILING_SEMICOLON": "a list of events calls a macro for each, with nothing in between",
    "LINUX_VERSION_CODE": "modules outside of the tree are for many versions; only compat.h compares them",
    "CONSTANT_COMPARISON": "it takes KERNEL_VERSION(…) on the right for a variable",
    "CONST_STRUCT": "it means a declaration, and the type of a member that is asked for",
}

#: Findings of sparse that are wrong, or of which nothing follows: a pattern, and why.
ALLOWED = {
    r"context imbalance in 'relayfs_(reserve|commit)_global'": "a lock that is taken by one and let go by the other",
    r"trying to concatenate \d+-character string": "the metadata; its limit is sparse's own",
}


def _checkpatch(series: str) -> Path:
    """Return the path of that series' checkpatch.pl, its word lists beside it."""
    index, package, version = kernel_source(series)
    final = cache_dir("checkpatch") / re.sub(r"[^0-9A-Za-z.]", "-", version)
    with locked("checkpatch"):
        if not final.exists():
            print(f"downloading {package}, for checkpatch …", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="ltt-relay-source-") as temporary, staging(final) as out:
                for deb in index.download([package], Path(temporary)):
                    unpack(deb, Path(temporary))
                (archive,) = Path(temporary).glob("usr/src/*.tar.xz")
                members = [f"*/scripts/{name}" for name in _SCRIPTS]
                command = ["tar", "-xf", str(archive), "-C", str(out), "--strip-components=2", "--wildcards", *members]
                subprocess.run(command, check=True)
    return final / "checkpatch.pl"


def checkpatch(program: Path) -> list[str]:
    """Return what checkpatch finds in the sources that are written by hand."""
    sources = [*(ROOT / "kmod").rglob("*.[ch]"), *(ROOT / "tests/bench/kernel").glob("empty.c")]
    files = sorted(str(path.relative_to(ROOT)) for path in sources if path.name != "ltt3_gen.h")
    command = ["perl", str(program), "--no-tree", "--emacs", "--show-types", "--max-line-length=132", "--file"]
    command += ["--ignore", ",".join(IGNORED), *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if re.match(r"\S+:\d+: ", line)]
    # It must have looked at all of them: it tells a total for each.
    looked = len(re.findall(r"(?m)^total: ", done.stdout))
    if looked != len(files):
        found += [f"checkpatch looked at {looked} of {len(files)} files", done.stderr]
    return found


def kernel_doc(kernel_version: str) -> list[str]:
    """Return what is not, or wrongly, described in comments that begin with two stars."""
    program = find_kernel(kernel_version).build / "scripts/kernel-doc"
    found = []
    for path in sorted((ROOT / "kmod").rglob("*.[ch]")):
        command = ["perl", str(program), "-none", str(path.relative_to(ROOT))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        found += [line for line in done.stderr.splitlines() if "no structured comments found" not in line]
        if done.returncode and not done.stderr:
            found.append(f"{path}: kernel-doc ended with {done.returncode}")
    return found


def sparse(kernel_version: str) -> list[str]:
    """Return what sparse finds in all files, built for that kernel."""
    if shutil.which("sparse") is None:
        return ["sparse not found: install the Debian package sparse"]
    kernel = find_kernel(kernel_version)
    with tempfile.TemporaryDirectory(prefix="ltt-relay-sparse-") as temporary:
        sources = Path(temporary, "kmod")
        shutil.copytree(ROOT / "kmod", sources, ignore=kbuild.PRODUCTS)
        command = ["make", "-C", str(kernel.build), f"M={sources}", f"-j{len(os.sched_getaffinity(0))}", "modules"]
        command += ["C=2", "CHECK=sparse", "CONFIG_DEBUG_INFO_BTF_MODULES=", f"CC={kbuild.compiler_for(kernel.build)}"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"}, check=False)
        said = (done.stdout + done.stderr).replace(f"{sources}/", "kmod/").splitlines()
    if done.returncode:
        return said[-20:]
    checked = sum(" CHECK " in line for line in said)
    written = len([path for path in (ROOT / "kmod").rglob("*.c") if path.name != "trace_headers.c"])
    found = [line for line in said if line.startswith("kmod/")]
    found = [line for line in found if not any(re.search(pattern, line) for pattern in ALLOWED)]
    return found if checked >= written else [*found, f"sparse looked at {checked} of {written} files"]


def main() -> int:
    """Run all; print what they find."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--kernel", default=DEFAULT_KERNEL)
    arguments = parser.parse_args()
    try:
        found = {
            "checkpatch": checkpatch(_checkpatch(arguments.kernel)),
            "kernel-doc": kernel_doc(arguments.kernel),
            "sparse": sparse(arguments.kernel),
        }
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    for tool, lines in found.items():
        print("\n".join([*lines, f"{tool}: {len(lines)} findings" if lines else f"{tool}: clean"]))
    return int(any(found.values()))


if __name__ == "__main__":
    sys.exit(main())
