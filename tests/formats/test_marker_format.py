# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest

from ltt_relay.formats.marker_format import Sizes, parse

WIDE = Sizes(4, 8, 8, 8)


@pytest.mark.parametrize(
    ("text", "sizes", "expected"),
    [
        ("pid %d start %lu", Sizes(), [("pid", 4, True, False), ("start", 4, False, False)]),
        ("pid %d start %lu", WIDE, [("pid", 4, True, False), ("start", 8, False, False)]),
        ("fd %u count %zu pos %llu", WIDE, [("fd", 4, False, False), ("count", 8, False, False),
                                            ("pos", 8, False, False)]),
        ("address #p%lu write_access #1u%u", WIDE, [("address", 8, False, False), ("write_access", 1, False, False)]),
        ("protocol #n2u%hu", Sizes(), [("protocol", 2, False, True)]),
        ("state #2d%ld", Sizes(), [("state", 2, True, False)]),
        ("ip 0x%lX", Sizes(), [("ip", 4, False, False)]),
        ("jiffies #8u%lu", Sizes(), [("jiffies", 4, False, False)]),
        ("a15 #1x%c", Sizes(), [("a15", 1, False, False)]),
        ("rw(META,SYNC) %lX", Sizes(), [("rw", 4, False, False)]),
        ("%d %s", Sizes(), [("field_0", 4, True, False), ("field_1", 0, False, False)]),
        ("x %d x %d", Sizes(), [("x", 4, True, False), ("x_1", 4, True, False)]),
        ("100%% of ##1 %c", Sizes(), [("of", 1, False, False)]),
        ("last %d #4u", Sizes(), [("last", 4, True, False)]),
        ("", Sizes(), []),
        ("%", Sizes(), []),
    ],
)  # fmt: skip
def test_fields(text: str, sizes: Sizes, expected: list[tuple[str, int, bool, bool]]) -> None:
    assert [(item.name, item.size, item.signed, item.big) for item in parse(text, sizes)] == expected
