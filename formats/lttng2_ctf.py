# SPDX-License-Identifier: GPL-2.0-or-later
"""LTTng 2.5 and 2.6 described as CTF 1.8 where they lie: new metadata for the same bytes.

Their sub-buffers tell sizes in bytes, CTF wants bits. CTF's integers may begin at any bit, so a size is read together
with the three bits next to it, which are zero below 512 MiB: that is eight times the number. Until 2.4 they tell the
bytes that are *not* used, and CTF does not subtract. Channels number their events each from 0 and no header names the
channel, so each channel is a CTF trace of its own, in a directory; viewers open the directory above.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from ltt_relay.formats.base import Event, unused
from ltt_relay.formats.fields import LITTLE
from ltt_relay.formats.layout import Alignment, Scalar, members
from ltt_relay.formats.loaded import Loaded, LoadError
from ltt_relay.formats.lttng2 import load
from ltt_relay.formats.lttng2_layout import CompactFraming, sub_buffers

__all__ = ("describe",)

_SMALL: Final = 1 << 29
_NO_NAME: Final = re.compile(r"\W+", re.ASCII)


def describe(path: Path, out: Path) -> list[Path]:
    """Write, for each channel with records, out/channel_NAME with links to its files and their metadata; returns those.

    Raises:
        LoadError: it is no trace of LTTng 2, or one that CTF cannot describe; the message says why.

    """
    loaded = load(path)
    framing = loaded.format.framing
    assert isinstance(framing, CompactFraming)
    if loaded.problems:
        first = loaded.problems[0]
        raise LoadError(f"{path}: damaged ({first.file}: {first.code}): it can be rewritten only")
    made = []
    for number, stream in enumerate(loaded.format.streams):
        rows = sorted({packet.file for packet in loaded.packets if packet.stream == number})
        if not rows:
            continue
        files = [loaded.files[row] for row in rows]
        text = _metadata(loaded, framing, number, files)
        directory = out / f"channel_{stream.name}"  # a directory called metadata would be taken for a trace's
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            link = directory / f"{file.name}.stream"
            link.unlink(missing_ok=True)
            link.symlink_to(file.resolve())
        (directory / "metadata").write_text(text)
        made.append(directory)
    return made


def _check(files: list[Path], framing: CompactFraming) -> Any:
    """Return the header of the first sub-buffer, after a look at all.

    Raises:
        LoadError: what they hold does not fit into CTF's integers.

    """
    first: Any = None
    for file in files:
        for piece in sub_buffers(file, framing.order, 0, []):
            header = piece.header
            first = first or header
            if header.minor < 5:
                raise LoadError(f"{file}: version 2.{header.minor} tells the bytes not used; CTF wants those used")
            if max(header.data_size, header.sb_size, header.freq_scale, header.events_lost) >= _SMALL:
                raise LoadError(f"{file}: a number at {piece.offset} that is too large for 29 bits")
    if framing.time_alignment > 4:
        raise LoadError(f"{files[0]}: full times on multiples of 8 behind ids that are not: CTF would align both")
    if first.start_freq % max(first.freq_scale, 1):
        raise LoadError(f"{files[0]}: a clock of {first.start_freq} / {first.freq_scale} Hz; CTF wants a whole number")
    return first


def _integer(bits: int, align: int = 1, signed: bool = False, more: str = "") -> str:
    return f"integer {{ size = {bits}; align = {align}; signed = {str(signed).lower()}; {more}}}"


_CLOCK: Final = "map = clock.cycles.value; "


def _packet_context(order: str) -> list[str]:
    """Sizes with the zero bits beside them: those below in little endian, those behind in big endian."""
    sizes = (
        [(29, "freq_scale"), (32, "content_size"), (32, "packet_size"), (3, "_zero"), (32, "events_discarded")]
        if order == LITTLE else
        [(32, "freq_scale"), (3, "_zero"), (32, "content_size"), (32, "packet_size"), (29, "events_discarded")]
    )  # fmt: skip
    rows = [
        (32, "magic"), (8, "major"), (8, "minor"), (8, "arch_size"), (8, "alignment"), (64, "start_time_sec"),
        (64, "start_time_usec"), (64, "start_freq"), *sizes, (32, "subbuf_corrupt"),
    ]  # fmt: skip
    times = [f"{_integer(64, more=_CLOCK)} timestamp_{end};" for end in ("begin", "end")]
    return times + [f"{_integer(bits)} {name};" for bits, name in rows]


def _metadata(loaded: Loaded, framing: CompactFraming, stream: int, files: list[Path]) -> str:
    header = _check(files, framing)
    hz = header.start_freq // max(header.freq_scale, 1)
    # The wall clock at cycle 0: seconds, and cycles beyond them.
    seconds, ns = divmod(loaded.wall_offset, 1_000_000_000)
    cycles = ns * hz // 1_000_000_000
    id_ = _integer(16, 8) + " id;"
    size = (
        f"enum : {_integer(16, 8)} {{ fits = 0 ... 65534, large = 65535 }} size; "
        f"variant <size> {{ struct {{ }} fits; struct {{ {_integer(32, 8)} bytes; }} large; }} told;"
    )
    full = f"{_integer(64, 8 * framing.time_alignment, more=_CLOCK)} timestamp;"
    word = [
        f"{_integer(27, more=_CLOCK)} timestamp;",
        f"enum : {_integer(5)} {{ small = 0 ... 28, full = 29, sized = 30, wide = 31 }} id;",
    ]
    little = framing.order == LITTLE
    lines = [
        "/* CTF 1.8 */",
        f"trace {{ major = 1; minor = 8; byte_order = {'le' if little else 'be'}; }};",
        f"clock {{ name = cycles; absolute = TRUE; freq = {hz}; offset_s = {seconds}; offset = {cycles}; }};",
        f"stream {{ packet.context := struct {{ {' '.join(_packet_context(framing.order))} }};",
        f"event.header := struct {{ {' '.join(word if little else word[::-1])}",
        f"variant <id> {{ struct {{ }} small; struct {{ {id_} {size} {full} }} full; struct {{ {id_} {size} }} sized;",
        f"struct {{ {id_} }} wide; }} v; }} align({8 * framing.alignment}); }};",
    ]
    for marker, kind in enumerate(framing.ids[stream]):
        if kind >= 0:
            lines.append(_event(marker, loaded.format.events[kind]))
    return "\n".join(lines) + "\n"


def _event(marker: int, event: Event) -> str:
    fields: list[str] = []
    taken: set[str] = set()
    boundary = 1
    for member in members(event.payload):
        if isinstance(member.kind, Alignment):
            boundary = member.kind.modulus
            continue
        name = unused("_" + _NO_NAME.sub("_", member.name), len(taken), taken)
        kind = "string"
        if isinstance(member.kind, Scalar):
            own = "be" if member.kind.big else "le"
            kind = _integer(8 * member.kind.size, 8 * boundary, member.kind.signed, f"byte_order = {own}; ")
        fields.append(f"{kind} {name};")
        boundary = 1
    called = event.name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'event {{ name = "{called}"; id = {marker}; fields := struct {{ {" ".join(fields)} }}; }};'
