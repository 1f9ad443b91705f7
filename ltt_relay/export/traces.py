# SPDX-License-Identifier: GPL-2.0-or-later
"""Which traces are to be converted, and where to."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ltt_relay.export.manifest import ConvertError
from ltt_relay.formats import ltt3, registry

__all__ = ("find_traces",)


def _is_trace(path: Path) -> bool:
    """Whether it has the files of LTT 3.0, or another format claims it: LTT 3.0 claims every directory."""
    if (path / "metadata").is_file() or any(path.glob("events_*")) or any(path.glob("state_*")):
        return True
    module = registry.detect(path)
    return module is not None and module.__name__ != ltt3.__name__


def _below(root: Path, output: Path) -> Iterator[Path]:
    """Yield the traces at or below a directory, relative to it; what was converted is none."""
    if _is_trace(root):
        yield Path()
        return
    for directory, subdirectories, _ in os.walk(root):
        path = Path(directory)
        if path.resolve() == output:
            subdirectories.clear()
        elif path != root and _is_trace(path):
            subdirectories.clear()
            yield path.relative_to(root)
        subdirectories.sort()


def find_traces(roots: Iterable[Path], output: Path, whole: bool = False) -> list[tuple[Path, Path]]:
    """Return the traces at or below the roots, each with its directory in the output; whole: each root is a trace.

    That is the trace's path relative to its root; if there are several roots, the root's name comes before it.

    Raises:
        ConvertError: a root does not exist, there is no trace at all, or two have the same directory.

    """
    roots = list(roots)
    taken: dict[Path, Path] = {}
    for root in roots:
        if not root.exists():
            raise ConvertError(f"{root}: no such file or directory")
        above = Path(root.resolve().name) if len(roots) > 1 else Path()
        for part in _below(root, output.resolve()) if root.is_dir() and not whole else [Path()]:
            target = output / above / part
            if target in taken:
                raise ConvertError(f"{taken[target]} and {root / part} would both go to {target}: convert them apart")
            taken[target] = root / part
    if not taken:
        raise ConvertError("no traces found: a trace is a directory with metadata and events_0, events_1 …")
    return [(path, target) for target, path in taken.items()]
