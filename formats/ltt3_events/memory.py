# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory: pages and objects, reclaim, the page cache and its way back to disks."""

from __future__ import annotations

from typing import Final

from ltt_relay.formats.fields import field, flags, i32, i64, u32, u64
from ltt_relay.formats.ltt3_events.common import TID, address, device, pid, tracepoint

__all__ = ("EVENTS",)

#: Why an inode is dirty, or what is being done to it; as include/linux/fs.h has it where it has not changed.
INODE_STATES: Final = {"sync": 1, "datasync": 2, "pages": 4}

_PFN = field("pfn", u64, "page frame number of the first page; all ones for none")
_ORDER = field("order", u32, "2**order pages")
_GFP = field("gfp_flags", u32, "how memory was asked for: this kernel's GFP bits", hint="hex")
_OBJECT = (address("call_site", "who asked"), address("ptr", "the object; 0 if there was no memory"))
_ALLOC = (
    *_OBJECT,
    field("bytes_req", u64, "size asked for", unit="B"),
    field("bytes_alloc", u64, "size given; 0 where this kernel does not tell", unit="B"),
    _GFP,
    field("node", i32, "node asked for; -1 for any"),
)
_PAGE_CACHE = (
    device("s_dev", "the file system's device: major number times 2**20, plus minor number"),
    field("reserved", u32, "0"),
    field("i_ino", u64, "inode of the file"),
    field("index", u64, "which page of the file"),
    _PFN,
)
_INODE = (
    device("s_dev", "the file system's device: major number times 2**20, plus minor number"),
    field("flags", flags(u32, INODE_STATES), "what is dirty", hint="hex"),
    field("i_ino", u64, "the inode"),
)
_RECLAIM = (TID, _ORDER, _GFP)
_RECLAIMED = (TID, field("reserved", u32, "0"), field("nr_reclaimed", u64, "pages that became free"))

EVENTS: Final = (
    tracepoint(
        120, "mm:mm_page_alloc", "memory", "pages are given",
        field("pfn", u64, "page frame number of the first page; all ones if there was no memory"),
        _ORDER, _GFP, field("migratetype", i32, "kind of page block it is from"),
    ),
    tracepoint(121, "mm:mm_page_free", "memory", "pages are given back", _PFN, _ORDER),
    tracepoint(122, "mm:kmalloc", "memory", "memory is given", *_ALLOC),
    tracepoint(123, "mm:kfree", "memory", "memory is given back", *_OBJECT),
    tracepoint(124, "mm:kmem_cache_alloc", "memory", "an object of a cache is given", *_ALLOC),
    tracepoint(125, "mm:kmem_cache_free", "memory", "an object of a cache is given back", *_OBJECT),
    tracepoint(
        128, "mm:mm_vmscan_kswapd_wake", "memory", "the page reclaimer of a node wakes",
        field("nid", i32, "the node"), field("zid", i32, "highest zone to look at"),
        field("order", i32, "2**order pages are wanted"),
    ),
    tracepoint(129, "mm:mm_vmscan_kswapd_sleep", "memory", "the page reclaimer of a node goes to sleep",
               field("nid", i32, "the node")),
    tracepoint(130, "mm:mm_vmscan_direct_reclaim_begin", "memory", "a task has to free pages itself", *_RECLAIM),
    tracepoint(131, "mm:mm_vmscan_direct_reclaim_end", "memory", "a task has freed pages", *_RECLAIMED),
    tracepoint(132, "mm:mm_vmscan_memcg_reclaim_begin", "memory",
               "a task has to free pages, as its control group is at its limit", *_RECLAIM),
    tracepoint(133, "mm:mm_vmscan_memcg_reclaim_end", "memory", "a task has freed pages of its control group",
               *_RECLAIMED),
    tracepoint(134, "mm:mm_vmscan_write_folio", "memory", "a page is written out to be freed: swapped out", _PFN),
    tracepoint(135, "mm:mark_victim", "memory", "a task is to die, as there is no memory left",
               pid("pid", "its thread group id", "event_comm")),
    tracepoint(112, "mm:mm_filemap_add_to_page_cache", "file_system", "a page of a file enters memory",
               *_PAGE_CACHE),
    tracepoint(113, "mm:mm_filemap_delete_from_page_cache", "file_system", "a page of a file leaves memory",
               *_PAGE_CACHE),
    tracepoint(114, "writeback:writeback_dirty_inode", "file_system", "a file is changed in memory", *_INODE),
    tracepoint(
        115, "writeback:writeback_single_inode", "file_system", "a changed file was written out",
        *_INODE,
        field("nr_to_write", i64, "pages that might have been written"),
        field("wrote", i64, "pages that were"),
    ),
    tracepoint(116, "writeback:writeback_pages_written", "file_system", "a round of writing out is done",
               field("pages", i64, "pages written")),
    tracepoint(
        117, "writeback:folio_wait_writeback", "file_system", "the running task waits until a page is written out",
        TID,
        device("s_dev", "the file system's device: major number times 2**20, plus minor number"),
        field("i_ino", u64, "inode of the file"),
        field("index", u64, "which page of the file"),
    ),
)  # fmt: skip
