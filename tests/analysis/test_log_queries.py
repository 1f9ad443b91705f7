# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import ltt_relay
from ltt_relay.analysis import MissingEventError, log_attributes, query_log
from ltt_relay.decode import metadata
from ltt_relay.errors import UserError
from ltt_relay.testing import write_trace
from tests.decode.test_logs import RECORDS, packet


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> ltt_relay.Trace:
    path: Path = write_trace(tmp_path_factory.mktemp("logs") / "t", 100, cpus=1)
    uuid = metadata.parse((path / "metadata").read_text()).uuid
    assert uuid is not None
    big = {**RECORDS[0], "facility": "auth", "attributes": '{"free":18446744073709551615,"mixed":1}'}
    last = {**RECORDS[1], "uid": 0, "attributes": '{"mixed":"x","free":null}'}
    (path / "evlog_0").write_bytes(packet(uuid.bytes, 3, 0, "evlog", [*RECORDS, big, last]))
    return ltt_relay.open(path)


def test_severity_means_that_severe_or_worse(trace: ltt_relay.Trace) -> None:
    assert query_log(trace, severity="notice")["severity"].tolist() == ["crit", "notice", "crit", "notice"]
    assert query_log(trace, severity="alert").empty
    assert len(query_log(trace, severity="debug")) == 5


def test_facility_time_text_and_columns_narrow_it_down(trace: ltt_relay.Trace) -> None:
    assert query_log(trace, facility="auth")["text"].tolist() == ["disk full"]
    assert len(query_log(trace, facility=["auth", "local3"])) == 5
    stamps = trace["evlog"]["timestamp"]
    assert len(query_log(trace, since=stamps[1], until=stamps[3])) == 2
    assert query_log(trace, text="^disk")["origin"].tolist() == ["user", "user"]
    assert len(query_log(trace, uid=0)) == 1
    assert len(query_log(trace, uid=[0, 1000], severity="crit")) == 2


def test_attributes_become_columns_of_their_types(trace: ltt_relay.Trace) -> None:
    frame = log_attributes(trace["evlog"])
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "disk": "str", "free": "UInt64", "ok": "boolean", "mixed": "object",
    }  # fmt: skip
    assert frame["free"].astype(object).where(frame["free"].notna(), None).tolist() == [0, None, None, 2**64 - 1, None]
    assert frame["ok"][2]
    assert pd.isna(frame["disk"][1])
    assert log_attributes(trace["evlog"].iloc[1:2]).shape == (1, 0)


def test_what_does_not_exist_is_told_with_what_does(trace: ltt_relay.Trace, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="near: err"):
        query_log(trace, severity="error")
    with pytest.raises(UserError, match="no facility 'daemn'; near: daemon"):
        query_log(trace, facility="daemn")
    with pytest.raises(UserError, match="no column 'user'"):
        query_log(trace, user=0)
    with pytest.raises(MissingEventError, match="--klog"):
        query_log(ltt_relay.open(write_trace(tmp_path / "t", 10, cpus=1)), "printk")
