# SPDX-License-Identifier: GPL-2.0-or-later
"""What is put into the guest's memory before it starts: the unpacked kernel and the initial file system."""

from __future__ import annotations

import ctypes
import lzma
import os
import re
import stat
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from ltt_relay.sandbox.errors import SandboxError

__all__ = ("Cpio", "ModuleTree", "decompress", "extract_vmlinux", "has_pvh_entry", "is_static")

_MODULE_FILE = re.compile(r"(?P<name>.+)\.ko(?:\.(?:xz|gz|zst))?")
_XEN_ELFNOTE_PHYS32_ENTRY = 18
_ELF_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")
_PT_INTERP = 3
_PT_NOTE = 4
# No kernel unpacks to more; the size is read from the file, so it is checked before memory is taken.
_MAX_KERNEL = 1 << 30


def decompress(data: bytes, size: int) -> bytes | None:
    """Undo the compression of a kernel or module file; None if its kind is not known here.

    Args:
        data: a gzip, xz or zstd frame; what follows the frame is ignored.
        size: upper bound of the unpacked size in bytes.

    """
    if data.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, size)
    if data.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(data, size)
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return _zstd(data, size)
    return data if data.startswith(b"\x7fELF") else None


def _zstd(data: bytes, size: int) -> bytes | None:
    # Python has no zstd before 3.14; Debian's dpkg depends on the library, so it is always there.
    try:
        library = ctypes.CDLL("libzstd.so.1")
    except OSError:
        return None
    library.ZSTD_findFrameCompressedSize.restype = ctypes.c_size_t
    library.ZSTD_findFrameCompressedSize.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
    buffer = ctypes.create_string_buffer(size)
    frame = library.ZSTD_findFrameCompressedSize(data, len(data))
    if frame > len(data):
        return None
    length: int = library.ZSTD_decompress(buffer, size, data, frame)
    # Error codes are the negative numbers of an unsigned type.
    return buffer.raw[:length] if length <= size else None


def extract_vmlinux(bzimage: Path, into: Path) -> bool:
    """Write the ELF kernel inside a bzImage to a file; False if it has to be booted as it is.

    Emulated, a kernel takes longer to unpack itself than to boot: 3.1 s of 5.5 s (Debian 6.1, TCG). QEMU starts the
    ELF file directly by its PVH entry. Without KASLR then, so addresses repeat from run to run.
    """
    data = bzimage.read_bytes()
    if len(data) < 0x250 or data[0x202:0x206] != b"HdrS":
        raise SandboxError(f"{bzimage} is no x86 kernel image: no boot header at 0x202")
    setup_sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = data[start : start + length]
    # The build appends the unpacked size.
    size = struct.unpack("<I", payload[-4:])[0] if len(payload) >= 4 else 0
    elf = decompress(payload, size) if 0 < size <= _MAX_KERNEL else None
    if elf is None or not has_pvh_entry(elf):
        return False
    partial = into.with_name(f".{into.name}.{os.getpid()}")
    partial.write_bytes(elf)
    partial.rename(into)
    return True


def _program_headers(elf: bytes) -> list[tuple[int, int, int]]:
    # (type, offset, size in the file) of each segment of a 64-bit little-endian ELF file
    if len(elf) < _ELF_HEADER.size or elf[:6] != b"\x7fELF\x02\x01":
        return []
    header = _ELF_HEADER.unpack_from(elf)
    offset, entry_size, count = header[5], header[9], header[10]
    if entry_size < _PROGRAM_HEADER.size or offset + entry_size * count > len(elf):
        return []
    entries = (_PROGRAM_HEADER.unpack_from(elf, offset + entry_size * n) for n in range(count))
    return [(entry[0], entry[2], entry[5]) for entry in entries]


def has_pvh_entry(elf: bytes) -> bool:
    """Tell whether an ELF kernel says where QEMU is to start it (CONFIG_PVH)."""
    for kind, offset, size in _program_headers(elf):
        if kind != _PT_NOTE:
            continue
        notes = elf[offset : offset + size]
        at = 0
        while at + 12 <= len(notes):
            name_size, data_size, note = struct.unpack_from("<III", notes, at)
            name = notes[at + 12 : at + 12 + name_size]
            if name == b"Xen\0" and note == _XEN_ELFNOTE_PHYS32_ENTRY:
                return True
            at += 12 + (name_size + 3 & ~3) + (data_size + 3 & ~3)
    return False


def is_static(program: Path) -> bool:
    """Tell whether a program runs without a dynamic loader."""
    data = program.read_bytes()
    headers = _program_headers(data)
    return bool(headers) and all(kind != _PT_INTERP for kind, _, _ in headers)


class ModuleTree:
    """The modules of a kernel, found by name with what they depend on.

    Needs no modules.dep, which Debian's packages get only when they are installed: a module names its dependencies.
    """

    def __init__(self, *roots: Path) -> None:
        """Read the names of the modules below the directories; later ones win."""
        self._files: dict[str, Path] = {}
        self._builtin: set[str] = set()
        for root in roots:
            for directory, _, names in os.walk(root):
                for name in names:
                    if match := _MODULE_FILE.fullmatch(name):
                        self._files[match["name"].replace("-", "_")] = Path(directory, name)
            if (listing := root / "modules.builtin").exists():
                paths = (Path(line) for line in listing.read_text().split())
                self._builtin.update(path.stem.replace("-", "_") for path in paths)

    def read(self, name: str) -> bytes:
        """Return a module's contents, unpacked.

        Raises:
            SandboxError: there is no such module, or it cannot be unpacked.

        """
        try:
            path = self._files[name]
        except KeyError:
            raise SandboxError(f"the kernel has no module {name}, neither as a file nor built in") from None
        data = decompress(path.read_bytes(), 1 << 28)
        if data is None:
            raise SandboxError(f"{path}: neither an ELF file nor one that gzip, xz or zstd packed")
        return data

    def closure(self, names: list[str]) -> dict[str, bytes]:
        """Return the modules and all they depend on, in an order to load them; built-in ones are left out."""
        loaded: dict[str, bytes] = {}

        def visit(name: str, path: tuple[str, ...]) -> None:
            name = name.replace("-", "_")
            if name in loaded or name in path or (name in self._builtin and name not in self._files):
                return
            data = self.read(name)
            found = re.search(rb"(?:^|\0)depends=([^\0]*)\0", data)
            for dependency in found[1].decode().split(",") if found and found[1] else []:
                visit(dependency, (*path, name))
            loaded[name] = data

        for name in names:
            visit(name, ())
        return loaded


@dataclass
class Cpio:
    """An initial file system in the form the kernel unpacks (cpio, "newc"); all files belong to root."""

    _data: bytearray = field(default_factory=bytearray)
    _count: int = 0

    def directory(self, name: str) -> None:
        """Add a directory; parents first."""
        self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a regular file."""
        self._add(name, stat.S_IFREG | mode, data)

    def device(self, name: str, major: int, minor: int) -> None:
        """Add a character device."""
        self._add(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def finish(self) -> bytes:
        """Return the archive."""
        self._add("TRAILER!!!", 0)
        return bytes(self._data)

    def _add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        encoded = os.fsencode(name) + b"\0"
        self._count += 1
        fields = (self._count, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
        self._data += b"070701" + b"".join(b"%08X" % value for value in fields) + encoded
        self._pad()
        self._data += data
        self._pad()

    def _pad(self) -> None:
        self._data += bytes(-len(self._data) % 4)
