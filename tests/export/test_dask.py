# SPDX-License-Identifier: GPL-2.0-or-later
"""A real scheduler and two real worker processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import ltt_relay
from ltt_relay.cli import main
from ltt_relay.export import parts
from ltt_relay.export.batch import convert
from ltt_relay.export.convert import Options
from ltt_relay.export.manifest import ConvertError
from ltt_relay.testing import write_trace

pytestmark = pytest.mark.slow


class Cluster:
    def __init__(self, directory: Path) -> None:
        self._file = directory / "scheduler.json"
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
        while not self._file.exists():
            time.sleep(0.1)
        self.workers = [self.start_worker() for _ in range(2)]
        self.address = str(json.loads(self._file.read_text())["address"])

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", kind, "--scheduler-file", str(self._file), *options]
        with (self._directory / f"{kind}-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._directory)
        self._processes.append(process)
        return process

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("dask"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trace(tmp_path_factory.mktemp("trace") / "t", 200_000, cpus=3, packet_size=16384, lost_every=9)


def _bytes(directory: Path) -> dict[str, bytes]:
    files = [file for file in directory.rglob("*") if file.is_file() and file.name != "manifest.jsonl"]
    return {str(file.relative_to(directory)): file.read_bytes() for file in files}


def test_to_dask_is_the_frame_in_partitions(trace: Path, cluster: Cluster) -> None:
    from distributed import Client

    opened = ltt_relay.open(trace)
    with Client(cluster.address, set_as_default=False) as client:
        for name in ("sched_switch", "sys_enter", "marker", "state_task"):
            whole = opened[name].set_index("timestamp")
            lazy = opened.to_dask(name, partition_bytes="2 MB")
            assert lazy.npartitions > 5
            assert lazy.known_divisions
            assert lazy._meta.dtypes.equals(whole.dtypes)
            computed = client.compute(lazy).result()
            pd.testing.assert_frame_equal(computed, whole)
        part = opened.to_dask("sched_switch", since="+5ms", until="-5ms", columns=["next_pid"], time="ns")
        frame = opened.frames("sched_switch", "+5ms", "-5ms", None, ["timestamp", "next_pid"], "ns")["sched_switch"]
        pd.testing.assert_frame_equal(client.compute(part).result(), frame.set_index("timestamp"))
        # Divisions are true: what they say of a partition holds of its rows.
        lazy = opened.to_dask("sched_switch", partition_bytes="4 MB")
        for number in range(lazy.npartitions):
            index = client.compute(lazy.partitions[number]).result().index
            assert lazy.divisions[number] <= index[0]
            assert index[-1] < lazy.divisions[number + 1] or number == lazy.npartitions - 1


@pytest.mark.parametrize("options", [Options(), Options(merge=True)], ids=["csv", "merged"])
def test_a_killed_worker_costs_time_and_no_data(
    trace: Path, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options
) -> None:
    (local,) = convert([trace], tmp_path / "local", options)
    monkeypatch.setattr(parts, "_WORTH", 0)
    monkeypatch.setattr(parts, "WINDOW", 400_000)
    victim = cluster.workers.pop(0)
    heard = 0

    def kill(records: int) -> None:
        nonlocal heard
        heard += 1
        if heard == 3:
            os.kill(victim.pid, signal.SIGKILL)

    (remote,) = convert([trace], tmp_path / "remote", options, dask=cluster.address, tell=kill)
    cluster.workers.append(cluster.start_worker())
    assert (remote.status, remote.error) == ("done", "")
    assert victim.wait(10) == -signal.SIGKILL
    assert heard > 10
    assert _bytes(tmp_path / "remote") == _bytes(tmp_path / "local")
    assert (remote.records, remote.files, remote.columns) == (local.records, local.files, local.columns)


def test_many_traces_on_a_cluster_by_the_command(cluster: Cluster, tmp_path: Path) -> None:
    for number in range(6):
        write_trace(tmp_path / "in" / f"t{number}", 500, cpus=1, seed=number)
    (tmp_path / "in" / "t3" / "events_0").write_bytes(b"\x01" * 5000)
    runner = CliRunner()
    command = ["convert", str(tmp_path / "in"), "--to", "jsonl", "-o"]
    here = runner.invoke(main, [*command, str(tmp_path / "local")])
    there = runner.invoke(main, [*command, str(tmp_path / "remote"), "--dask", cluster.address])
    assert (there.exit_code, here.exit_code) == (0, 0), there.output
    assert _bytes(tmp_path / "remote") == _bytes(tmp_path / "local")
    assert (tmp_path / "remote" / "t3" / "problems.jsonl").read_text()


def test_no_scheduler_is_said(tmp_path: Path, trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltt_relay.export.cluster._PATIENCE", 1)
    with pytest.raises(ConvertError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:1:"):
        list(convert([trace], tmp_path / "out", Options(), dask="tcp://127.0.0.1:1"))
