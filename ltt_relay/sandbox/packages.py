# SPDX-License-Identifier: GPL-2.0-or-later
"""Debian packages without installing them: a private state for the apt client, in the user's cache.

The mirror is the one that the machine's own sources name; only the release is ours to choose. Nothing of the
system's package state is read for decisions or written, so no root is needed and two releases do not mix.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ltt_relay.sandbox.cache import cache_dir, locked
from ltt_relay.sandbox.errors import SandboxError, UnreachableError

__all__ = ("RELEASES", "Archive", "PackageIndex", "host_release", "parse_targets", "unpack")

logger = logging.getLogger(__name__)

# Debian's releases that kernels are taken from, oldest first.
RELEASES = ("bullseye", "bookworm", "trixie")

_KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
_INDEX_AGE = 24 * 3600
# After a failed refresh the old lists serve for this long before the network is tried again.
_RETRY_AGE = 900


@dataclass(frozen=True)
class Archive:
    """Where this machine gets its Debian packages from: base URIs of the main and the security archive."""

    main: str
    security: str | None

    def sources(self, release: str) -> str:
        """Return a sources.list of that release with its security updates and backports."""
        keyring = next((path for path in _KEYRINGS if Path(path).exists()), None)
        options = ["arch=amd64"]
        if keyring:
            options.append(f"signed-by={keyring}")
        if release in RELEASES[:-2]:
            # A release past its support keeps its last index, whose validity has run out.
            options.append("check-valid-until=no")
        entries = [(self.main, release), (self.main, f"{release}-backports")]
        if self.security:
            entries.append((self.security, f"{release}-security"))
        return "".join(f"deb [{' '.join(options)}] {uri} {suite} main\n" for uri, suite in entries)


def parse_targets(text: str) -> Archive:
    """Derive the archive from ``apt-get indextargets`` lines of ``REPO_URI|RELEASE|COMPONENT``.

    Raises:
        SandboxError: no source of this machine is a Debian release.

    """
    main = security = None
    for line in text.splitlines():
        uri, _, rest = line.partition("|")
        release, _, component = rest.partition("|")
        if component != "main" or uri.startswith("cdrom:"):
            continue
        suite = release.replace("/", "-")
        if re.fullmatch(r"[a-z]+-(security|updates-security)", suite):
            security = security or uri
        elif suite in {*RELEASES, "stable", "oldstable", "oldoldstable", "testing", "unstable", "forky", "sid"}:
            main = main or uri
    if main is None:
        raise SandboxError(
            "no Debian release among this machine's package sources, so no kernel can be downloaded: add a source for "
            "one (main), or give --kernel the path of a kernel build tree"
        )
    if security is None and main.rstrip("/").endswith("/debian"):
        # Mirrors carry the security archive beside the main one; apt says so if this one does not.
        security = f"{main.rstrip('/')}-security/"
    return Archive(main, security)


def _apt(program: str, *arguments: str, timeout: float = 600) -> str:
    # The apt client's words are for its user; only its standard output is ours to parse, hence LC_ALL=C.
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
            check=False,
        )
    except FileNotFoundError:
        raise SandboxError(
            f"{program} not found: kernels are downloaded by Debian's apt client; elsewhere give --kernel the path of "
            "a kernel build tree"
        ) from None
    except subprocess.TimeoutExpired:
        raise UnreachableError(f"{program} did not end within {timeout:.0f} s") from None
    if done.returncode:
        raise UnreachableError(
            f"{program} {arguments[-1]} failed: {done.stderr.strip()[-800:] or done.stdout.strip()[-800:]}"
        )
    return done.stdout


@lru_cache(maxsize=1)
def host_release() -> str | None:
    """Return the code name of the Debian release this machine runs, or None."""
    try:
        text = Path("/etc/os-release").read_text()
    except OSError:
        return None
    fields = dict(line.partition("=")[::2] for line in text.splitlines())
    name = fields.get("VERSION_CODENAME", "").strip('"')
    return name if fields.get("ID", "").strip('"') == "debian" and name in RELEASES else None


@lru_cache(maxsize=1)
def _host_archive() -> Archive:
    return parse_targets(
        _apt(
            "apt-get",
            "indextargets",
            # With it, nothing is listed on a fresh machine, which has sources but no lists yet.
            "--no-release-info",
            *("--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"),
        )
    )


class PackageIndex:
    """The package index of one Debian release, security updates and backports included."""

    def __init__(self, release: str, archive: Archive | None = None) -> None:
        self.release = release
        self.root = cache_dir("apt", release)
        self._archive = archive
        self._stamp = self.root / "updated"
        self._names = self.root / "names"

    def names(self) -> list[str]:
        """Return the names of all packages of the release; asks the network once a day.

        Raises:
            UnreachableError: the index cannot be had and there is no older copy of it.

        """
        with locked(f"apt-{self.release}"):
            if self._stale():
                self._refresh()
            return self._names.read_text().split()

    def show(self, names: list[str]) -> dict[str, dict[str, str]]:
        """Return the fields of the newest version of each package; unknown names are left out."""
        text = _apt("apt-cache", *self._options(), "show", "--no-all-versions", *names) if names else ""
        found: dict[str, dict[str, str]] = {}
        for stanza in text.split("\n\n"):
            lines = (line.partition(":") for line in stanza.splitlines())
            fields = {key: value.strip() for key, sep, value in lines if sep}
            if "Package" in fields:
                found.setdefault(fields["Package"], fields)
        return found

    def closure(self, names: list[str]) -> list[str]:
        """Return the names of these packages and of all that they depend on, recommendations left out.

        Raises:
            UnreachableError: the index has not all of them.

        """
        text = _apt("apt-get", *self._options(), "-s", "--no-install-recommends", "install", *names)
        return [line.split()[1] for line in text.splitlines() if line.startswith("Inst ")]

    def download(self, names: list[str], into: Path) -> list[Path]:
        """Download the newest version of each package; one retry with a fresh index, since old files vanish.

        Raises:
            UnreachableError: the archive does not answer, or no longer has them.

        """
        into.mkdir(parents=True, exist_ok=True)
        try:
            self._fetch(names, into)
        except UnreachableError:
            with locked(f"apt-{self.release}"):
                self._refresh()
            self._fetch(names, into)
        return sorted(into.glob("*.deb"))

    def _fetch(self, names: list[str], into: Path) -> None:
        # `apt-get download` writes to the current directory and knows no other.
        command = ["apt-get", *self._options(), "-qq", "download", *names]
        try:
            done = subprocess.run(
                command, cwd=into, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=1800, check=False
            )
        except subprocess.TimeoutExpired:
            raise UnreachableError(f"downloading {' '.join(names)} did not end within 30 minutes") from None
        if done.returncode:
            raise UnreachableError(f"downloading {' '.join(names)} failed: {done.stderr.strip()[-800:]}")

    def _stale(self) -> bool:
        try:
            age = time.time() - self._stamp.stat().st_mtime
        except FileNotFoundError:
            return True
        return not self._names.exists() or not 0 <= age < _INDEX_AGE

    def _refresh(self) -> None:
        archive = self._archive or _host_archive()
        for part in ("state/lists/partial", "cache/archives/partial"):
            (self.root / part).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        (self.root / "sources.list").write_text(archive.sources(self.release))
        try:
            _apt("apt-get", *self._options(), "-qq", "update", timeout=300)
        except UnreachableError as error:
            # One suite of several missing is no reason to do without the others.
            if not self._dump():
                raise UnreachableError(f"the package index of Debian {self.release} cannot be had: {error}") from error
            logger.info("the package index of Debian %s could not be refreshed, an older copy serves", self.release)
            self._touch(time.time() - _INDEX_AGE + _RETRY_AGE)
            return
        if not self._dump():
            raise UnreachableError(f"the package index of Debian {self.release} is empty")
        self._touch(time.time())

    def _touch(self, when: float) -> None:
        self._stamp.touch()
        os.utime(self._stamp, (when, when))

    def _dump(self) -> bool:
        names = _apt("apt-cache", *self._options(), "pkgnames", "linux-")
        if names:
            self._names.write_text(names)
        return bool(names)

    def _options(self) -> list[str]:
        root = self.root
        settings = {
            "Dir::State": root / "state",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            # As root, apt would hand the download to a user who cannot enter the cache directory.
            "APT::Sandbox::User": "",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Default-Release": "",
            "Acquire::Languages": "none",
            "Acquire::Retries": "1",
            "Acquire::http::Timeout": "20",
            "Acquire::https::Timeout": "20",
        }
        return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def unpack(deb: Path, into: Path) -> None:
    """Unpack a package's files below a directory, without installing it.

    Raises:
        SandboxError: dpkg-deb is missing or refuses the file.

    """
    if shutil.which("dpkg-deb") is None:
        raise SandboxError("dpkg-deb not found: install the Debian package dpkg")
    done = subprocess.run(["dpkg-deb", "-x", str(deb), str(into)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SandboxError(f"cannot unpack {deb.name}: {done.stderr.strip()[-400:]}")
