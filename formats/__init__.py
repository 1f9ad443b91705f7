# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace formats as construct definitions, one module a format.

What lives here describes bytes and nothing else: it imports construct and the standard library. The decoder derives
its plan from these definitions, the kernel modules their C structs, CTF readers their metadata, and docs/ its tables::

    fields.py     the closed vocabulary of field types, each with unit, display hint and C type
    base.py       what a format is: packet and record headers, framing, clock, events
    loaded.py     what reading a trace's headers gives: packets, clock, names
    registry.py   which format is it?
    ltt3.py       LTT 3.0, the format that kmod/ writes
    ctf.py        CTF 1.8 metadata of a format        cheader.py   its C header        reference.py   its field tables
"""

from __future__ import annotations
