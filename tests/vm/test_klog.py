# SPDX-License-Identifier: GPL-2.0-or-later
"""The logs, klog and evlog, in a guest: one boot runs klog.sh, the tests look at what it left."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.analysis import log_attributes, query_log
from tests.vm.guest import complaints, counters, kernel, run_script

pytestmark = pytest.mark.vm

# Emulated, with every memory access checked, a line takes ten times as long; the kernel's log is as small.
LINES = 10_000 if kernel().endswith("-debug") else 100_000
_RAW = re.compile(r"^<(\d+)>(?:\[ *\d+\.\d{6}\])?(?:\[ *[TC]\d+\])? ?(.*)$")


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the script filled."""
    out = tmp_path_factory.mktemp("klog")
    run_script("klog.sh", out, str(LINES), timeout=400)
    return out


def _burst(lines: pd.DataFrame, total: int) -> list[int]:
    """The numbers of the lines that klog_burst printed when it was to print so many."""
    found = lines["text"].str.extract(rf"^klog_burst: line (\d+) of {total}, neither short nor long$")[0].dropna()
    return [int(number) for number in found]


def _missing(lines: pd.DataFrame) -> int:
    seq = lines["seq"].to_numpy().astype(np.int64)
    assert (np.diff(seq) > 0).all()
    return int((np.diff(seq) - 1).sum())


def _whole(path: Path, *, cleared: bool = False) -> tuple[pd.DataFrame, dict[str, int]]:
    """Lines of a capture and its counters, which agree; if it began with no line, some may be lost before the first."""
    trace = ltt_relay.open(path, strict=True)
    lines, stats = trace["printk"], counters(path / ".stats")
    assert trace.problems.empty
    assert stats["produced"] == stats["read"] + stats["lost"]
    assert stats["pending"] == 0
    assert stats["read"] == len(lines)
    assert stats["lost"] == stats["full"] == trace.info["lost"] == trace.gaps["count"].sum()
    assert stats["lost"] == _missing(lines) or (cleared and stats["lost"] > _missing(lines))
    return lines, stats


def test_the_kernel_said_nothing_and_the_modules_went(left: Path) -> None:
    # The backtraces of sysrq-l are asked for, and take their time; whatever else has one says so first.
    asked = re.compile("Call Trace|NMI handler .* took too long")
    said = (left / "cleared").read_text() + (left / "dmesg").read_text()
    assert [line for line in complaints(said) if not asked.search(line)] == []
    assert (left / "unload").read_text() == "0\n"


def test_the_directories_have_the_files_of_a_session(left: Path) -> None:
    files = {"control", "error", "metadata", "n_subbufs", "n_subbufs_max", "stats", "subbuf_size", "uuid"}
    assert set((left / "klog-files").read_text().split()) == files | {"klog_0", "sequence"}
    assert set((left / "evlog-files").read_text().split()) == files | {
        *("evlog_0", "evlog_1", "log", "rate_limit", "refused", "threshold")
    }


def _dmesg(path: Path) -> list[tuple[int, str]]:
    """Level with facility, and text of each line that dmesg -r shows."""
    found = [_RAW.match(line) for line in path.read_text(errors="backslashreplace").splitlines()]
    return [(int(match[1]), match[2]) for match in found if match]


def test_the_boot_log_is_what_dmesg_shows(left: Path) -> None:
    assert (left / "along-status").read_text() == "0\n"
    trace = ltt_relay.open(left / "along", strict=True)
    lines = trace["printk"]
    assert lines["seq"].tolist() == list(range(len(lines)))
    assert "Linux version" in lines["text"][0]
    codes = lines["facility"].cat.codes.astype(int) * 8 + lines["level"].cat.codes.astype(int)
    ours = [
        (code, part)
        for code, text in zip(codes, lines["text"], strict=True)
        for part in text.split("\n")
    ]  # fmt: skip
    theirs = [line for line in _dmesg(left / "along-dmesg") if line[1] or line in ours]
    assert theirs[: len(ours)] == ours
    assert lines["log_time"].iloc[-1] > lines["log_time"].iloc[0]
    assert re.search(r"klog: [\d,]+ records, lost 0\nevlog: 1 records, lost 0", (left / "along-said").read_text())


def test_what_user_space_logs_has_its_facility_level_and_all_its_lines(left: Path) -> None:
    trace = ltt_relay.open(left / "along")
    row = trace["printk"].set_index("text").loc["from user space"]
    assert (row["facility"], row["level"]) == ("local4", "notice")
    assert "two\nlines" in set(trace["printk"]["text"])
    (record,) = trace["evlog"].itertuples()
    assert (record.facility, record.severity, record.event_type) == ("local5", "alert", 99)
    assert (record.origin, record.process, record.text) == ("user", "sh", "taken along")


def test_a_caller_is_told_where_the_kernel_knows_it(left: Path) -> None:
    lines = ltt_relay.open(left / "slow")["printk"]
    burst = lines[lines["text"].str.startswith("klog_burst: line")]
    if kernel().endswith("-debug"):
        assert burst["tid"].notna().all()
        assert burst["tid"].nunique() == 1
        assert (burst["caller_cpu"] == -1).all()
        assert (lines["caller_cpu"] >= 0).any() or (lines["tid"].nunique() > 1)
    else:
        assert burst["tid"].isna().all()


def test_babeltrace_reads_the_session_and_its_logs_as_one_trace(left: Path) -> None:
    if shutil.which("babeltrace2") is None:
        pytest.skip("babeltrace2 is not installed")
    done = subprocess.run(["babeltrace2", left / "along"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    trace = ltt_relay.open(left / "along")
    assert done.stdout.count(" printk: ") == len(trace["printk"])
    assert done.stdout.count(" evlog: ") == 1


def test_no_line_of_a_burst_is_lost_though_the_reader_is_slow_and_dmesg_has_lost_most(left: Path) -> None:
    lines, stats = _whole(left / "slow")
    assert _burst(lines, LINES) == list(range(LINES))
    assert stats["lost"] == 0
    assert (left / "slow/.dmesg").read_text().count("klog_burst: line") < LINES // 2
    during = counters(left / "slow/.stats-burst")
    assert during["pending"] > LINES // 2
    assert int((left / "slow/.grown").read_text()) > 4


def test_what_a_burst_with_interrupts_off_loses_is_counted_exactly(left: Path) -> None:
    lines, stats = _whole(left / "irqs-off")
    got = _burst(lines, 5000)
    assert got[-1] == 4999
    assert stats["lost"] == 5000 - len(got) > 0


def test_what_is_overwritten_before_the_first_line_was_taken_is_counted_too(left: Path) -> None:
    lines, stats = _whole(left / "first", cleared=True)
    got = _burst(lines, 5000)
    assert got[-1] == 4999
    assert stats["lost"] == 5000 - len(got) > 0


def test_a_full_channel_uses_the_kernels_log_as_slack_and_counts_what_that_loses(left: Path) -> None:
    during, drained = counters(left / "full/.stats-burst"), counters(left / "full/.stats-drained")
    lines, stats = _whole(left / "full", cleared=True)
    assert during["pending"] < 200
    assert drained["read"] == drained["produced"] - drained["lost"] > during["pending"] + 500
    got = _burst(lines, 4000)
    assert got[-1] == 3999
    assert got == sorted(set(got))
    assert stats["lost"] == 4000 - len(got) > 1000
    assert len(lines) < 4000


def test_without_the_doorbell_and_from_an_nmi_lines_come_all_the_same(left: Path) -> None:
    assert (left / "started").read_text() == "running\n"
    lines, stats = _whole(left / "timer")
    assert stats["lost"] == 0
    text = set(lines["text"])
    assert {f"writer {w} line {n}" for w in range(1, 5) for n in range(1, 11)} <= text
    assert any("NMI backtrace for cpu" in line for line in text)
    codes = lines["facility"].cat.codes.astype(int) * 8 + lines["level"].cat.codes.astype(int)
    last = [(code, t) for code, t in zip(codes, lines["text"], strict=True) if "\n" not in t and t][-60:]
    theirs = [line for line in _dmesg(left / "timer/.dmesg") if line[1]]
    assert [line for line in theirs if line in last][-60:] == last


def test_klog_refuses_with_reasons(left: Path) -> None:
    control, uuid, running = (left / "klog-refusals").read_text().splitlines()
    assert "nonsense is not one of start, stop, flush, reset" in control
    assert "12345 is not 8-4-4-4-12" in uuid
    assert "it is running" in running


# ---------------------------------------------------------------------------------------------------- the event log


def test_records_say_who_when_and_what(left: Path) -> None:
    trace = ltt_relay.open(left / "evlog", strict=True)
    records, stats = trace["evlog"], counters(left / "evlog/.stats")
    assert stats["read"] == stats["produced"] == len(records)
    before, after = (int(word) for word in (left / "before").read_text().split())
    times = records["timestamp"].astype("int64")
    assert ((times >= before - 10_000_000) & (times <= after + 10_000_000)).all()
    first = records.iloc[0]
    assert (first["facility"], first["severity"], first["event_type"]) == ("daemon", "err", 0x17)
    assert (first["origin"], first["process"], first["uid"], first["text"]) == ("user", "sh", 0, "no room")
    assert first["tid"] == first["pid"]
    assert log_attributes(records.iloc[:1]).iloc[0].to_dict() == {
        "disk": 'sd "a" 1', "free": 0, "delta": -3, "big": 2**64 - 1, "ro": True, "what": "x",
    }  # fmt: skip
    assert records["text"][2] == "näher\\xff"
    assert records["event_type"][2] == 2**32 - 1


def test_the_kernel_logs_from_tasks_and_interrupts(left: Path) -> None:
    records = query_log(ltt_relay.open(left / "evlog"), origin="kernel")
    assert records["text"].tolist() == ["evlog_sample loaded", "write error", "in an interrupt: 1"]
    assert records["facility"].tolist() == ["kern", "daemon", "local0"]
    assert log_attributes(records).iloc[1].to_dict() == {
        "disk": 'sd"a', "sector": 2**64 - 1, "error": -5, "retry": True,
    }  # fmt: skip


def test_malformed_records_are_refused_with_the_word_at_fault(left: Path) -> None:
    said = (left / "evlog-refusals").read_text().splitlines()
    assert len(said) == 11
    for line, word in zip(
        said,
        [
            "the kernel's own", '"bogus"', 'severity at "bad"', 'facility at "nobody.info"', '"x"', '"@=1 y"',
            "without an end", '"@1a=b c"', r'"\e[2J"', "threshold: rubbish", "rate_limit: x",
        ],
        strict=True,
    ):  # fmt: skip
        assert word in line


def test_a_write_is_a_record_or_none(left: Path) -> None:
    too_long = "Message too long"
    assert (left / "evlog-sizes").read_text().splitlines() == ["1036", too_long, too_long, too_long, "Invalid argument"]
    long = query_log(ltt_relay.open(left / "evlog"), event_type=7)
    assert long["text"].tolist() == ["a" * 1023]


def test_users_write_as_far_as_mount_options_and_the_limit_let_them(left: Path) -> None:
    modes = dict(re.findall(r"^(\S+) .* (\w+)$", (left / "evlog-modes").read_text(), re.MULTILINE))
    assert "--w--w--w-" in modes
    assert [mode for mode in modes if "w" in mode[4:]] == ["--w--w--w-"]
    counted, control = (left / "evlog-limit").read_text().splitlines()
    assert control == "control is not for users"
    taken, seconds = int(counted.split()[0]), float(counted.split()[1])
    # A second's worth at once, and then as time passes.
    assert 20 <= taken <= 20 + 20 * seconds
    assert taken < 200
    records = query_log(ltt_relay.open(left / "evlog"), event_type=8)
    assert len(records) == taken
    assert set(records["uid"]) == {1000}


def test_the_limit_holds_for_a_user_who_writes_from_several_processes(left: Path) -> None:
    # Two writers at once: the clock of one was read before the other's refill, and seemed to be a second or more later.
    seconds = float((left / "evlog-limit-together").read_text())
    assert 20 <= len(query_log(ltt_relay.open(left / "evlog"), event_type=10)) <= 20 + 20 * seconds


def test_what_is_below_the_threshold_is_not_let_in_but_counted(left: Path) -> None:
    levels = dict(line.split("=") for line in (left / "evlog-threshold").read_text().split())
    assert (levels["user"], levels["auth"]) == ("warning", "debug")
    assert query_log(ltt_relay.open(left / "evlog"), event_type=9)["text"].tolist() == ["not below"]
    refused = {name: int(count) for name, count in map(str.split, (left / "evlog-refused").read_text().splitlines())}
    assert refused["below_threshold"] == 1
    assert refused["rate_limited"] == 200 - int((left / "evlog-limit").read_text().split()[0])
    assert refused["malformed"] == 10
    assert refused["too_long"] == 2
    assert "temporarily unavailable" in (left / "evlog-stopped").read_text()
    assert (left / "evlog-why").read_text().splitlines() == [
        "log: uid 1000 is over rate_limit, 20 records a second",
        "log: it is not running",
    ]
