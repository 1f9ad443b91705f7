# SPDX-License-Identifier: GPL-2.0-or-later
"""What a file is that no format here claims: words for the error, told by its first bytes.

The magic numbers are those of the tools' own documents: gzip (RFC 1952), xz, zstd (RFC 8878), bzip2, zip, tar (POSIX),
perf.data and trace.dat (their formats' pages in the kernel's and trace-cmd's documentation), CTF 1.8 and 2 packets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ltt_relay.formats.ltt3 import MAGIC

__all__ = ("told",)

_UNPACK: Final = "unpack it and name the directory"
_CTF: Final = "CTF of another tracer, which babeltrace2 reads"
#: What begins so, and what to do with it.
_BEGINS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"\x1f\x8b", f"it is packed with gzip: {_UNPACK}"),
    (b"\xfd7zXZ\0", f"it is packed with xz: {_UNPACK}"),
    (b"\x28\xb5\x2f\xfd", f"it is packed with zstd: {_UNPACK}"),
    (b"BZh", f"it is packed with bzip2: {_UNPACK}"),
    (b"PK\x03\x04", f"it is a zip archive: {_UNPACK}"),
    (b"PERFILE2", "it is a file of perf record, which perf script reads"),
    (b"\x17\x08\x44tracing", "it is a file of trace-cmd, which trace-cmd report reads"),
    (b"\xc1\x1f\xfc\xc1", f"it is a stream of {_CTF}"),
    (b"\xc1\xfc\x1f\xc1", f"it is a stream of {_CTF}"),
    (b"/* CTF 1.8 */", "it is the metadata of a trace: name its directory"),
)
_TAR_AT: Final = 257
#: Where a packet of LTT 3.0 has its magic number, behind a UUID.
_LTT3_AT: Final = 24
#: Metadata of CTF 1.8 in packets, in either byte order.
_PACKED_METADATA: Final = (b"\x57\x1d\xd1\x75", b"\x75\xd1\x1d\x57")


def told(path: Path) -> str:
    """Return "; " and what a file is, as far as its bytes tell; of a directory, what is in or below it; or ""."""
    if path.is_dir():
        return _told_of_directory(path)
    begin = _begin(path)
    if not begin:
        return "; it is empty"
    if begin[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return f"; it is a tar archive: {_UNPACK}"
    if begin[_LTT3_AT : _LTT3_AT + 4] == MAGIC.to_bytes(4, "little"):
        return "; it is a stream of a trace of LTT 3.0: name its directory"
    return next((f"; {what}" for magic, what in _BEGINS if begin.startswith(magic)), "")


def _told_of_directory(path: Path) -> str:
    metadata = path / "metadata"
    if metadata.is_file():
        begin = _begin(metadata)
        return f"; its metadata is that of {_CTF}" if begin[:4] in _PACKED_METADATA or b"CTF" in begin else ""
    below = sorted(each.name for each in path.iterdir() if (each / "metadata").is_file())
    more = f" and {len(below) - 3} more" if len(below) > 3 else ""
    return f"; below it, {', '.join(below[:3])}{more} may be traces" if below else ""


def _begin(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(512)
