# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest panics while it records; its memory is all that is left."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ltt_relay
from ltt_relay.decode.image import unpacked
from ltt_relay.sandbox import Guest
from ltt_relay.sandbox.errors import GuestPanicError
from tests.vm.guest import kernel, patience, run_again

pytestmark = [pytest.mark.vm, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
session=/sys/kernel/relay/ltt/blackbox
klog=/sys/kernel/relay/klog
mkdir $session && cd $session || exit 1
echo flight >mode && echo 65536 >subbuf_size && echo 8 >n_subbufs && echo "none +sched +syscall +marker" >events
echo start >control
echo 4096 >$klog/subbuf_size && echo 64 >$klog/n_subbufs
sed -n 's/.*uuid = "\\([^"]*\\)".*/\\1/p' metadata | head -n 1 >$klog/uuid
echo start >$klog/control
for i in 1 2 3 4 5 6; do ls -lR /usr/share/doc 2>/dev/null | head -n 300 >/dev/null; done
sleep 1000 &
until grep -q "(sleep) S" /proc/$!/stat; do sleep 0.1; done
echo "the last words" >marker
echo c >/proc/sysrq-trigger
"""


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    image = tmp_path_factory.mktemp("panic") / "memory"
    slow = kernel().endswith("-debug")
    guest = Guest(
        kernel=kernel(), cpus=2, memory="1G" if slow else "512M", modules=["relayfs", "ltt", "klog"], memory_file=image
    )
    with pytest.raises(GuestPanicError, match="sysrq"):
        run_again(guest, ["sh", "-c", SCRIPT], image.parent, patience(120))
    yield image
    shutil.rmtree(unpacked(image).parent)


def test_a_flight_recorder_is_read_from_the_memory_of_a_machine_that_died(memory: Path) -> None:
    trace = ltt_relay.open(memory)
    frames = trace.frames()
    assert list(frames["marker"]["text"]) == ["the last words"]
    assert len(frames["sys_enter"]) > 1000
    assert len(frames["sched_switch"]) > 50
    assert {"sh", "sleep"} <= set(frames["sys_enter"]["comm"].dropna().astype(str))
    # What was open when it died is sealed: the call that killed the machine has begun, and never ends. (The other CPU
    # may have gone on until it was stopped.)
    (marker,) = frames["marker"].itertuples()
    calls, ends = (frame[frame["tid"] == marker.tid] for frame in (frames["sys_enter"], frames["sys_exit"]))
    last = calls.iloc[-1]
    assert last["timestamp"] > marker.timestamp
    assert last["id"] == 1  # write of x86-64
    assert not (ends["timestamp"] > last["timestamp"]).any()
    assert set(trace.problems["code"]) <= {"time_backward"}
    for cpu in range(trace.info["cpus"]):
        times = frames["sys_enter"][frames["sys_enter"]["cpu"] == cpu]["timestamp"]
        assert times.is_monotonic_increasing


def test_the_kernels_log_is_in_the_image_with_the_session_that_it_was_given(memory: Path) -> None:
    # The maps of its rings once kept the UUID that it had before.
    lines = ltt_relay.open(memory)["printk"]
    assert len(lines) > 50
    assert lines["text"].str.contains("Linux version").any()


def test_info_opens_the_image_raw_or_as_an_elf_core(memory: Path, tmp_path: Path) -> None:
    core = tmp_path / "core"
    size = memory.stat().st_size
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 0, 4096, 0, 0, size, size, 4096)
    core.write_bytes(header.ljust(4096, b"\0"))
    subprocess.run(["dd", f"if={memory}", f"of={core}", "bs=1M", "oflag=append", "conv=notrunc"], check=True)
    told = []
    for path in (memory, core):
        command = [sys.executable, "-m", "ltt_relay.cli", "info", path, "--json"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=True)
        told.append(json.loads(done.stdout))
    shutil.rmtree(unpacked(core).parent)
    assert told[0]["events"] == told[1]["events"]
    assert told[0]["events"]["marker"] == 1
    assert told[0]["format"].startswith("LTT 3.0")
