# SPDX-License-Identifier: GPL-2.0-or-later
"""Which traces are to be converted, and where to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from ltt_relay.export.manifest import MANIFEST, ConvertError
from ltt_relay.formats import ltt3, registry
from ltt_relay.formats.loaded import LoadError

__all__ = ("find_traces",)


def _traces(path: Path) -> list[Path]:
    """Return the traces that a directory is: itself, or files of it if there are several; none if no format claims it.

    LTT 3.0 claims every directory, so that one has to look like it.
    """
    if (path / "metadata").is_file() or any(path.glob("events_*")) or any(path.glob("state_*")):
        return [path]
    module = registry.detect(path)
    if module is None or module.__name__ == ltt3.__name__ or not hasattr(module, "load"):
        return []
    try:
        module.load(path)
    except LoadError:
        return _files(module, path) or [path]
    except OSError:
        return [path]
    return [path]


def _files(module: ModuleType, directory: Path) -> list[Path]:
    """One file of each trace in a directory: the others of the same trace, its other CPUs', go with it."""
    found: list[Path] = []
    known: set[Path] = set()
    for file in sorted(directory.iterdir()):
        if file.is_file() and file not in known and module.claims(file):
            found.append(file)
            try:
                known |= set(module.load(file).files)
            except (LoadError, OSError):
                continue  # which is told when it is converted
    return found


def _below(root: Path, output: Path) -> Iterator[Path]:
    """Yield the traces at or below a directory, relative to it; what a conversion wrote is none.

    What cannot be read may be one: it is told when it is converted.
    """
    unreadable: list[OSError] = []
    for directory, subdirectories, names in os.walk(root, onerror=unreadable.append):
        path = Path(directory)
        if path != root and (MANIFEST in names or path.resolve() == output):
            subdirectories.clear()
            continue
        try:
            traces = _traces(path)
        except OSError:
            traces = [path]
        yield from (trace.relative_to(root) for trace in traces)
        if traces:
            subdirectories.clear()
        subdirectories.sort()
    yield from (Path(error.filename).relative_to(root) for error in unreadable)


def find_traces(roots: Iterable[Path], output: Path, whole: bool = False) -> list[tuple[Path, Path]]:
    """Return the traces at or below the roots, each with its directory in the output; whole: each root is a trace.

    That is the trace's path relative to its root; if there are several roots, the root's name comes before it.

    Raises:
        ConvertError: a root does not exist, there is no trace at all, two have the same directory, or one is its own.

    """
    roots = list(roots)
    taken: dict[Path, Path] = {}
    for root in roots:
        try:
            root.stat()
        except OSError as error:
            raise ConvertError(f"{root}: {error.strerror}") from error
        above = Path(root.resolve().name) if len(roots) > 1 else Path()
        for part in _below(root, output.resolve()) if root.is_dir() and not whole else [Path()]:
            target = output / above / part
            if target.resolve() == (root / part).resolve():
                raise ConvertError(f"{target} is a trace itself, and no place for other files: choose another output")
            if target in taken:
                raise ConvertError(f"{taken[target]} and {root / part} would both go to {target}: convert them apart")
            taken[target] = root / part
    if not taken:
        raise ConvertError(
            f"no traces found: a directory with metadata and events_0, events_1 …, or with files of "
            f"{', '.join(registry.READERS)}, was expected"
        )
    return [(path, target) for target, path in taken.items()]
