# SPDX-License-Identifier: GPL-2.0-or-later
"""A Dask cluster as an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Final

from ltt_relay.export.manifest import ConvertError

__all__ = ("connected",)

#: Seconds to wait for a scheduler's answer.
_PATIENCE: Final = 10


@contextmanager
def connected(address: str) -> Iterator[tuple[Callable[[], Executor], int]]:
    """Give what makes executors at the scheduler's workers, and how many tasks to have there at once.

    A task whose worker dies is run again by another one: Dask's own doing.

    Raises:
        ConvertError: no Dask here, no scheduler there, or no workers.

    """
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_host_port
    except ImportError as error:
        raise ConvertError(f"--dask needs Dask ({error}): pip install 'ltt-relay[dask]'") from error
    try:
        parse_host_port(address.rpartition("://")[2])
    except ValueError:
        raise ConvertError(f"--dask {address}: an address such as tcp://192.0.2.1:8786 was expected") from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConvertError(f"no Dask scheduler at {address}: {error}") from error
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise ConvertError(
                f"the Dask scheduler at {address} has no workers: start some with `dask worker {address}`"
            )
        yield lambda: client.get_executor(pure=False, retries=2), 2 * threads
