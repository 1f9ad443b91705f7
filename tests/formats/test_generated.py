# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ltt_relay.formats import ltt3
from ltt_relay.formats.generate import products
from ltt_relay.formats.layout import members

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", products())
def test_what_is_checked_in_is_what_would_be_generated(name: str) -> None:
    assert (ROOT / name).read_text() == products()[name], "run make generate"


def _construct_offsets() -> dict[str, int]:
    """Offsets as construct finds them: a member begins where the members before it, built, end."""
    found = {}
    structs = {"packet_header": ltt3.PACKET, "record_header": ltt3.RECORD}
    structs |= {event.name: event.payload for event in ltt3.EVENTS}
    for name, struct in structs.items():
        at = 0
        for member, con in zip(members(struct), struct.subcons, strict=True):
            found[f"{name}.{member.name}"] = at
            try:
                at += con.sizeof()
            except Exception:
                break
    return found


def test_c_offsets_equal_construct_offsets(tmp_path: Path) -> None:
    expected = _construct_offsets()
    lines = "".join(f'printf("{key} %zu\\n", offsetof(struct ltt3_{key.replace(".", ", ")}));' for key in expected)
    source = tmp_path / "offsets.c"
    source.write_text(f'#include <stdio.h>\n#include "ltt3_gen.h"\nint main(void) {{ {lines} return 0; }}\n')
    command = [
        "gcc",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{ROOT / 'kmod/include'}",
        str(source),
        "-o",
        str(tmp_path / "a"),
    ]
    subprocess.run(command, check=True)
    printed = subprocess.run([tmp_path / "a"], capture_output=True, text=True, check=True).stdout
    assert {key: int(value) for key, value in map(str.split, printed.splitlines())} == expected
