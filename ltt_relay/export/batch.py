# SPDX-License-Identifier: GPL-2.0-or-later
"""Many traces, by this process, by several, or by a Dask cluster; each is in the manifest when it is done."""

from __future__ import annotations

import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any, Final

from ltt_relay.decode.identity import identity
from ltt_relay.export.convert import Options, Result, Tell, convert_trace, explain
from ltt_relay.export.frugal import SMALL_PAGES, frugal
from ltt_relay.export.manifest import Manifest
from ltt_relay.export.parts import Assembly, convert_part, worth_parts
from ltt_relay.export.traces import find_traces

__all__ = ("convert",)

#: How often a task is tried whose process ends without a word.
_ATTEMPTS: Final = 3

MakeExecutor = Callable[[], Executor]


@dataclass(slots=True)
class _Task:
    """A whole trace, or a part of one."""

    path: Path
    output: Path
    assembly: Assembly | None = None
    number: int = 0
    attempts: int = 0
    told: int = 0

    def submit(self, executor: Executor, options: Options, token: int | None) -> Future[Any]:
        self.attempts += 1
        if self.assembly is None:
            telling = () if token is None else (_Telling(token),)
            return executor.submit(convert_trace, self.path, self.output, options, *telling)
        since, until = self.assembly.windows[self.number]
        return executor.submit(convert_part, self.path, self.output, options, self.assembly.events, since, until)


#: From the processes that convert to the first one: a task's token, and the records that it has written so far. So few
#: bytes go into a pipe at once, and there is no lock that a process could take with it when it is killed.
_TOLD: Final = struct.Struct("<qq")
#: Seconds between two looks into the pipe.
_LOOK: Final = 0.2
_pipe: Connection | None = None


@dataclass(slots=True)
class _Telling:
    """What tells of the records that a task has written, in the process that has it in hand."""

    token: int
    records: int = 0

    def __call__(self, records: int) -> None:
        self.records += records
        if _pipe is not None:
            _pipe.send_bytes(_TOLD.pack(self.token, self.records))


def _failed(path: Path, output: Path, error: str) -> Result:
    return Result(str(path), str(output), "failed", error=error)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold interrupts back: a process that is started meanwhile has none before it knows what to do then.

    It inherits the mask. In this process another thread may take the interrupt, so there is a handler, too.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # which lets interrupts through when it is started
    interrupted = False

    def later(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True

    handled = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, later) if handled else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if handled:
            signal.signal(signal.SIGINT, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if interrupted:
            signal.raise_signal(signal.SIGINT)


class _Crowd:
    """Tasks in the hands of an executor, at most `width` at once; `pipe` is where they tell how far they are."""

    def __init__(
        self,
        todo: list[tuple[Path, Path]],
        options: Options,
        make: MakeExecutor,
        width: int,
        tell: Tell,
        pipe: Connection | None = None,
    ) -> None:
        self._options, self._make, self._width, self._tell, self._pipe = options, make, width, tell, pipe
        self._traces = iter(todo)
        self._queue: deque[_Task] = deque()
        self._suspects: deque[_Task] = deque()
        self._futures: dict[Future[Any], _Task] = {}
        self._given_up: set[Path] = set()
        self._executor = make()

    def results(self) -> Iterator[Result]:
        """Yield what comes of each trace, as it comes."""
        try:
            while True:
                yield from self._fill()
                if not self._futures:
                    return
                done, _ = wait(self._futures, _LOOK if self._pipe else None, FIRST_COMPLETED)
                self._listen()
                for future in done:
                    yield from self._take(future, self._futures.pop(future))
        finally:
            for future in self._futures:
                future.cancel()
            if self._pipe:
                self._pipe.close()  # nobody listens any more: who tells must not wait for room in it
            self._executor.shutdown(wait=True)

    def _listen(self) -> None:
        running = {id(task): task for task in self._futures.values()}
        while self._pipe and self._pipe.poll():
            token, records = _TOLD.unpack(self._pipe.recv_bytes())
            if token in running:  # and not of a process that was ended with another
                self._hear(running[token], records)

    def _hear(self, task: _Task, records: int) -> None:
        """Learn how many records a task has written: fewer than before if it was begun anew, or failed."""
        self._tell(records - task.told)
        task.told = records

    def _fill(self) -> Iterator[Result]:
        # After a process died without a word, those that could be to blame run one at a time.
        width = 1 if self._suspects else self._width
        while len(self._futures) < width:
            if self._suspects:
                if self._futures:
                    return
                task = self._suspects.popleft()
            elif self._queue:
                task = self._queue.popleft()
            else:
                try:
                    path, output = next(self._traces)
                except StopIteration:
                    return
                try:
                    self._queue += self._tasks(path, output)
                except Exception as error:
                    # As in convert_trace: one trace must not end the others.
                    yield _failed(path, output, explain(error))
                continue
            if task.path not in self._given_up:
                self._submit(task)

    def _submit(self, task: _Task) -> None:
        try:
            with _uninterrupted():  # a pool starts its processes when there is something to do
                self._futures[task.submit(self._executor, self._options, id(task) if self._pipe else None)] = task
        except BrokenExecutor:
            self._executor = self._make()
            task.attempts -= 1
            self._submit(task)

    def _tasks(self, path: Path, output: Path) -> list[_Task]:
        if not worth_parts(path, self._options):
            return [_Task(path, output)]
        assembly = Assembly(path, output, self._options)
        if not assembly.windows:
            return [_Task(path, output)]
        return [_Task(path, output, assembly, number) for number in range(len(assembly.windows))]

    def _take(self, future: Future[Any], task: _Task) -> Iterator[Result]:
        try:
            made = future.result()
        except BrokenExecutor:
            if task.attempts < _ATTEMPTS:
                self._suspects.append(task)
                return
            yield from self._give_up(task, "the process that converted it ended without a word (out of memory?)")
        except Exception as error:
            yield from self._give_up(task, explain(error))
        else:
            if task.path in self._given_up:
                return
            if task.assembly is None:
                self._hear(task, made.records)
                yield made
                return
            try:
                self._tell(task.assembly.add(task.number, made))
                if task.assembly.complete:
                    yield task.assembly.finish()
            except Exception as error:
                yield from self._give_up(task, explain(error))

    def _give_up(self, task: _Task, error: str) -> Iterator[Result]:
        if task.path not in self._given_up:
            self._given_up.add(task.path)
            self._hear(task, 0)
            if task.assembly:
                task.assembly.abandon()
            yield _failed(task.path, task.output, error)


def _pool(jobs: int, pipe: Connection) -> MakeExecutor:
    os.environ.setdefault(*SMALL_PAGES)
    context = get_context("spawn")
    return lambda: ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(pipe,))


def _end_with_the_first() -> None:
    """End this process when the first one has ended: nobody puts its work together, or has more for it.

    It would wait for that forever, and write among the files of a conversion that goes on with --resume.
    """
    if first := parent_process():
        first.join()
        os._exit(1)


def _prepare(pipe: Connection) -> None:
    """Prepare one of several processes."""
    global _pipe
    _pipe = pipe
    threading.Thread(target=_end_with_the_first, daemon=True).start()
    # An interrupt from the terminal goes to all processes: this one ends, the first one tells of it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    frugal()
    # The others have the CPUs already; and each thread has a window in memory.
    os.environ.setdefault("LTT_RELAY_THREADS", "1")


def convert(
    roots: Iterable[Path],
    output: Path,
    options: Options,
    jobs: int = 1,
    resume: bool = False,
    dask: str | None = None,
    tell: Tell | None = None,
    begin: Callable[[int], None] | None = None,
) -> Iterator[Result]:
    """Convert all traces below the roots; yields results as they come, each of which is in the manifest by then.

    jobs: processes; resume: go on with the conversion that `output` holds; dask: the address of a scheduler whose
    workers see the same files at the same paths; tell: called with numbers of records as they are written; begin:
    called once, with the number of traces.

    Raises:
        ConvertError: no traces, or the output is of another conversion.

    """
    traces = find_traces(roots, output, whole=options.format is not None)
    with Manifest(output, asdict(options), resume) as manifest:
        todo = []
        for path, target in traces:
            before = manifest.done.get(_place(target, output))
            if before and _is_done(before, path):
                continue
            if before:
                _forget(target, before)
            todo.append((path, target))
        if begin:
            begin(len(todo))
        for result in _results(todo, options, jobs, dask, tell or (lambda _: None)):
            places = {"source": os.path.realpath(result.trace), "target": _place(Path(result.output), output)}
            manifest.add(asdict(result) | places)
            yield result


def _place(target: Path, output: Path) -> str:
    """Return what a trace's directory is called in the manifest, however the output is written."""
    return target.relative_to(output).as_posix()


def _is_done(before: dict[str, Any], path: Path) -> bool:
    """Tell whether that line of the manifest is of this trace, however it is written, and of what it is now."""
    same = before["status"] == "done" and before.get("source") == os.path.realpath(path)
    return same and before["identity"] == identity(path)


def _forget(target: Path, before: dict[str, Any]) -> None:
    """Remove the files of a trace that has changed since: it may have other events now."""
    for name in before["files"]:
        (target / name).unlink(missing_ok=True)


def _results(
    todo: list[tuple[Path, Path]], options: Options, jobs: int, dask: str | None, tell: Tell
) -> Iterator[Result]:
    if dask:
        from ltt_relay.export.cluster import connected

        with connected(dask) as (make, width):
            yield from _Crowd(todo, options, make, width, tell).results()
    elif jobs <= 1:
        for path, target in todo:
            yield convert_trace(path, target, options, tell)
    else:
        here, there = get_context("spawn").Pipe(duplex=False)
        with here, there:
            yield from _Crowd(todo, options, _pool(jobs, there), jobs, tell, here).results()
