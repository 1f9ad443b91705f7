# SPDX-License-Identifier: GPL-2.0-or-later
"""Who may record, in words; tests/vm/test_capture.py has the users who try."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ltt_relay.capture.rights import MOUNT_POINT, group_number, mount_options, refusal
from ltt_relay.capture.session import CaptureError, require_tracer
from ltt_relay.errors import UserError

OTHERS = "sysfs /sys sysfs rw,nosuid 0 0\nrelayfs /elsewhere relayfs rw,gid=7 0 0\n"


def test_mount_options_are_those_of_the_last_mount_and_of_the_kernel_where_it_says_none(tmp_path: Path) -> None:
    table = tmp_path / "mounts"
    assert mount_options(table) is None
    table.write_text(OTHERS)
    assert mount_options(table) is None
    table.write_text(f"{OTHERS}relayfs {MOUNT_POINT} relayfs rw,relatime 0 0\n")
    assert mount_options(table) == {"uid": "0", "gid": "0", "mode": "700", "log_mode": "0"}
    table.write_text(f"{table.read_text()}none {MOUNT_POINT} relayfs rw,gid=4711,mode=770,log_mode=222 0 0\n")
    assert mount_options(table) == {"uid": "0", "gid": "4711", "mode": "770", "log_mode": "222"}


def test_a_refusal_says_who_is_refused_what_and_who_would_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"uid": "0", "gid": "4711", "mode": "750", "log_mode": "0"}
    monkeypatch.setattr("ltt_relay.capture.rights.mount_options", lambda: options)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("os.getegid", lambda: 1000)
    monkeypatch.setattr("os.getgroups", lambda: [27, 4711])
    assert refusal(Path("/x")) == (
        "/x: permission denied: relayfs is mounted with gid=4711, mode=750, and this is user 1000 of groups 27, 1000, "
        "4711: run as root, or let a group record: sudo ltt-relay module load --group GROUP"
    )


def test_groups_are_names_or_numbers() -> None:
    assert group_number("root") == 0
    assert group_number("4711") == 4711
    with pytest.raises(UserError, match="--group nogrp: there is no such group; sudo groupadd --system nogrp makes it"):
        group_number("nogrp")


def test_who_is_not_root_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever it was, the message was that of a file that cannot be read."""
    for module in ("rights", "session"):
        monkeypatch.setattr(f"ltt_relay.capture.{module}.MOUNT_POINT", tmp_path / "relay")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(CaptureError, match="the module relayfs is not loaded; sudo ltt-relay module load does it"):
        require_tracer()
    (tmp_path / "relay").mkdir()
    with pytest.raises(CaptureError, match=r"relayfs is not mounted at .*: sudo ltt-relay module load does it"):
        require_tracer()
    monkeypatch.setattr("ltt_relay.capture.session.mount_options", lambda: {"gid": "0", "mode": "700"})
    with pytest.raises(CaptureError, match="the module ltt is not loaded: sudo ltt-relay module load"):
        require_tracer()
    (tmp_path / "relay/ltt").mkdir()
    assert require_tracer() == tmp_path / "relay/ltt"
    monkeypatch.setattr("os.access", lambda path, mode: mode == os.F_OK)
    with pytest.raises(CaptureError, match=r"relay/ltt: permission denied: .*this is user 1000"):
        require_tracer()
