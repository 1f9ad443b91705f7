# SPDX-License-Identifier: GPL-2.0-or-later
"""Sessions of the kernel's tracer, as directories of the relayfs file system. Light: runs on targets."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ltt_relay.capture.rights import MOUNT_POINT, mount_options, refusal
from ltt_relay.errors import UserError

__all__ = (
    *("CaptureError", "EventName", "Log", "NoSessionError", "Session"),
    *("available_events", "choose", "require_tracer", "select_words", "sessions"),
)

#: How a file of a session that has been removed is not opened, or not read.
_GONE: Final = {errno.ENOENT, errno.ENODEV}


class CaptureError(UserError):
    """The kernel half is missing, or refuses."""


class NoSessionError(CaptureError):
    """There is no session of that name, or no more."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no session {name}")


def require_tracer() -> Path:
    """Return the tracer's directory, mounting relayfs if only that is missing.

    Raises:
        CaptureError: no module, not mountable, or not for this user; the message says which.

    """
    directory = MOUNT_POINT / "ltt"
    # Not listed: that is more than who may only write markers has.
    if os.access(directory, os.X_OK):
        return directory
    load = "ltt-relay module load" if os.geteuid() == 0 else "sudo ltt-relay module load"
    if not MOUNT_POINT.exists():
        raise CaptureError(
            f"{MOUNT_POINT} does not exist: the module relayfs is not loaded; {load} does it, or try in a guest: "
            "ltt-relay sandbox -- CMD"
        )
    if mount_options() is None:
        if os.geteuid() != 0:
            raise CaptureError(
                f"relayfs is not mounted at {MOUNT_POINT}: {load} does it, and with --group GROUP lets a group record"
            )
        if status := os.system(f"mount -t relayfs relayfs {MOUNT_POINT}"):
            raise CaptureError(
                f"relayfs cannot be mounted at {MOUNT_POINT} (mount ended with {os.waitstatus_to_exitcode(status)})"
            )
    if os.access(MOUNT_POINT, os.X_OK) and not os.access(directory, os.F_OK):
        raise CaptureError(f"{directory} does not exist: the module ltt is not loaded: {load}")
    if not os.access(directory, os.X_OK):
        raise CaptureError(refusal(directory))
    return directory


@dataclass(frozen=True, slots=True)
class EventName:
    """An event that the tracer knows; `available` is False where this kernel has no such tracepoint."""

    group: str
    name: str
    ltt_class: str
    available: bool

    @property
    def names(self) -> tuple[str, str, str]:
        """What a glob may match."""
        return self.name, self.group, f"{self.group}:{self.name}"


def _explain(path: Path, error: OSError) -> str:
    """Return what is said of a file that the kernel refused."""
    return refusal(path) if error.errno == errno.EACCES else f"{path}: {error.strerror}"


def available_events() -> list[EventName]:
    """Return all events in the tracer's order."""
    found = []
    path = require_tracer() / "available_events"
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise CaptureError(_explain(path, error)) from error
    for line in lines:
        full, ltt_class, state = line.split()
        group, _, name = full.partition(":")
        found.append(EventName(group, name, ltt_class, state == "available"))
    return found


def _matching(glob: str, events: list[EventName]) -> list[EventName]:
    """Return the events that a word of `record -e` means, without its sign.

    Raises:
        CaptureError: none; near names are listed.

    """
    from difflib import get_close_matches
    from fnmatch import fnmatchcase

    if glob == "all":
        return events
    ltt_class = glob.removeprefix("class:")
    if ltt_class != glob:
        found = [event for event in events if event.ltt_class == ltt_class]
        if not found:
            known = ", ".join(sorted({event.ltt_class for event in events}))
            raise CaptureError(f"{glob}: there is no class {ltt_class}; known are {known}")
        return found
    found = [event for event in events if any(fnmatchcase(name, glob) for name in event.names)]
    if not found:
        near = get_close_matches(glob, sorted({name for event in events for name in event.names}), n=3)
        raise CaptureError(
            f"no event is called {glob or repr(glob)}; "
            + (f"near: {', '.join(near)}; " if near else "")
            + "ltt-relay list has them all"
        )
    return found


def select_words(globs: tuple[str, ...]) -> list[str]:
    """Return the words for a session's file `events`: those given, class:NAME replaced by the events of that LTT class.

    Raises:
        CaptureError: no event has such a name or class; near names are listed. Or none is left.

    """
    events = available_events()
    words = []
    for glob in globs:
        sign, body = (glob[0], glob[1:]) if glob[:1] in {"+", "-"} else ("+", glob)
        if body.startswith("kprobe:"):
            words.append(sign + body)
        elif body == "all":
            words.append(f"{sign}*")
        elif body.startswith("class:"):
            words += [f"{sign}{event.group}:{event.name}" for event in _matching(body, events) if event.available]
        else:
            _matching(body, events)
            words.append(sign + body)
    kept = tuple(glob for glob in globs if "kprobe:" not in glob)
    if len(kept) == len(globs) and not choose(kept, events):
        raise CaptureError(
            f"-e {' -e '.join(globs)}: no event is left; -NAME takes one away from those named before it"
        )
    return words


def choose(globs: tuple[str, ...], events: list[EventName]) -> list[EventName]:
    """Return those of the events that the words of `record -e` choose; raises as `select_words`."""
    chosen: set[EventName] = set()
    for glob in globs:
        if glob.startswith("-"):
            chosen -= set(_matching(glob[1:], events))
        else:
            chosen |= set(_matching(glob.removeprefix("+"), events))
    return [event for event in events if event in chosen]


class Session:
    """A session, by name."""

    #: What its packet files are called, up to the number.
    stream_name = "events"

    def __init__(self, name: str) -> None:
        """Name it; nothing is touched.

        Raises:
            CaptureError: no session can have that name.

        """
        if "/" in name or name in {"", ".", ".."}:
            raise CaptureError(f"session {name!r}: a name without / was expected")
        self.name = name
        self.path = MOUNT_POINT / "ltt" / name

    def create(self) -> None:
        """Make it.

        Raises:
            CaptureError: there is one of that name, or the kernel refuses.

        """
        require_tracer()
        try:
            self.path.mkdir()
        except FileExistsError:
            raise CaptureError(
                f"there is a session {self.name} already: ltt-relay status shows it, ltt-relay status --remove "
                f"{self.name} ends it"
            ) from None
        except OSError as error:
            raise CaptureError(_explain(self.path, error)) from error

    def write(self, file: str, text: str) -> None:
        """Write to one of its files.

        Raises:
            CaptureError: refused; the message is the kernel's reason.

        """
        try:
            descriptor = os.open(self.path / file, os.O_WRONLY)
        except OSError as error:
            if error.errno in _GONE:
                raise NoSessionError(self.name) from None
            raise CaptureError(_explain(self.path / file, error)) from error
        try:
            os.write(descriptor, os.fsencode(text))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise NoSessionError(self.name) from None
            reason = self.read("error") if (self.path / "error").exists() else ""
            raise CaptureError(f"{self.name}, {file}: {reason or error.strerror}") from error
        finally:
            os.close(descriptor)

    def read(self, file: str) -> str:
        """Return one of its files, without the end of line."""
        try:
            return (self.path / file).read_text(errors="replace").rstrip("\n")
        except OSError as error:
            if error.errno in _GONE:
                raise NoSessionError(self.name) from None
            raise CaptureError(_explain(self.path / file, error)) from error

    def control(self, word: str) -> None:
        """Write start, stop, snapshot, snapshot!, flush or reset."""
        self.write("control", word)

    @property
    def state(self) -> str:
        """Return idle, running or stopped."""
        return self.read("control")

    @property
    def uuid(self) -> str:
        """Return what identifies it in its packets, 8-4-4-4-12 hexadecimal digits."""
        match = re.search(r'uuid = "([0-9a-f-]{36})"', self.read("metadata"))
        if match is None:
            raise CaptureError(f"{self.path}/metadata: no uuid in it")
        return match[1]

    def stats(self) -> list[dict[str, int]]:
        """Return the counters, a dict for each CPU; the keys are the kernel's names."""
        header, *lines = self.read("stats").splitlines()
        names = header.split()
        return [dict(zip(names, map(int, line.split()), strict=True)) for line in lines]

    def totals(self) -> dict[str, int]:
        """Return the sums of `stats` over all CPUs."""
        rows = self.stats()
        return {name: sum(row[name] for row in rows) for name in rows[0] if name != "cpu"} if rows else {}

    def fill_levels(self, stats: list[dict[str, int]]) -> list[float | None]:
        """Return how full the buffers are, in percent, for each row of `stats`; None if nothing can be said.

        An estimate from the mean size of the records read so far: the kernel counts what is pending in records.
        """
        if self.read("mode") == "flight":
            return [None] * len(stats)
        room = int(self.read("subbuf_size")) * int(self.read("n_subbufs"))
        read, size = sum(row["read"] for row in stats), sum(row["bytes"] for row in stats)
        mean = size / read if read else 0.0
        return [min(100.0, 100 * row["pending"] * mean / room) if mean else None for row in stats]

    def streams(self) -> list[Path]:
        """Return its packet files."""
        return sorted(self.path.glob(f"{self.stream_name}_*"), key=lambda path: int(path.name.partition("_")[2]))

    def require_unread(self) -> None:
        """Look whether somebody reads its packets.

        Raises:
            CaptureError: so it is.

        """
        for path in self.streams():
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError as error:
                if error.errno == errno.EBUSY:
                    raise CaptureError(f"session {self.name} is being recorded: end its recorder first") from None
                raise CaptureError(_explain(path, error)) from error

    def hold(self) -> None:
        """Record it, and nobody else, from now on until this process ends.

        Raises:
            CaptureError: somebody does. A reader of its packets need not be there yet: a flight recorder's comes late.

        """
        import fcntl

        try:
            fcntl.flock(os.open(self.path, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CaptureError(f"session {self.name} is being recorded: end its recorder first") from None
        except FileNotFoundError:
            raise NoSessionError(self.name) from None
        except OSError as error:
            raise CaptureError(_explain(self.path, error)) from error

    def records_markers(self) -> bool:
        """Return whether the event `marker` is enabled; as far as this user may know."""
        if self.path.exists() and not os.access(self.path / "events", os.R_OK):
            return True
        return "marker" in {word.rpartition(":")[2] for word in self.read("events").split()}

    def remove(self) -> None:
        """End it; what was not read is gone."""
        try:
            self.path.rmdir()
        except FileNotFoundError:
            raise NoSessionError(self.name) from None
        except OSError as error:
            raise CaptureError(_explain(self.path, error)) from error


class Log(Session):
    """The kernel's log (klog) or the event log (evlog): one channel, with the files of a session."""

    def __init__(self, name: str) -> None:
        """Name it.

        Raises:
            CaptureError: its module is not loaded.

        """
        super().__init__(name)
        self.path = MOUNT_POINT / name
        self.stream_name = name
        if not self.path.exists():
            raise CaptureError(f"{self.path} does not exist: the module {name} is not loaded: ltt-relay module load")

    def join(self, session: Session) -> None:
        """Begin to log as a part of that session's trace.

        Raises:
            CaptureError: it runs, for somebody else.

        """
        if self.state == "running":
            raise CaptureError(
                f"{self.name} runs already: only one can record it; echo stop >{self.path}/control ends that"
            )
        if self.state == "stopped":
            # What the last one left unread belongs to no trace any more.
            self.control("reset")
        self.write("uuid", session.uuid)
        self.control("start")


def sessions() -> list[Session]:
    """Return all sessions by name."""
    directory = require_tracer()
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        raise CaptureError(_explain(directory, error)) from error
    return [Session(path.name) for path in paths if path.is_dir()]
