// SPDX-License-Identifier: GPL-2.0-only
/* Events of memory and of the page cache: groups kmem, vmscan, oom, filemap, writeback. */
#include <linux/backing-dev.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/writeback.h>

#include <trace/events/filemap.h>
#include <trace/events/kmem.h>
#include <trace/events/oom.h>
#include <trace/events/vmscan.h>
#include <trace/events/writeback.h>

#include "probes.h"

/* -------------------------------------------------------------------------------------------------------- kmem --- */

LTT_PROBE(MM_PAGE_ALLOC, mm_page_alloc, NULL,
	  TP_PROTO(struct page *page, unsigned int order, gfp_t gfp_flags, int migratetype),
	  TP_ARGS(page, order, gfp_flags, migratetype))
{
	p->pfn = page ? page_to_pfn(page) : -1UL;
	p->order = order;
	p->gfp_flags = (__force u32)gfp_flags;
	p->migratetype = migratetype;
}

LTT_PROBE(MM_PAGE_FREE, mm_page_free, NULL, TP_PROTO(struct page *page, unsigned int order), TP_ARGS(page, order))
{
	p->pfn = page_to_pfn(page);
	p->order = order;
}

#define FILL_ALLOC(p, site, object, req, alloc, gfp, where)						\
do {													\
	(p)->call_site = site;										\
	(p)->ptr = (unsigned long)(object);								\
	(p)->bytes_req = req;										\
	(p)->bytes_alloc = alloc;									\
	(p)->gfp_flags = (__force u32)(gfp);								\
	(p)->node = where;										\
} while (0)

/* Until 6.0 a tracepoint of its own told the node. */
LTT_PROBE_FUNC(KMALLOC, kmalloc, probe_kmalloc, NULL,
	       TP_PROTO(unsigned long site, const void *ptr, size_t req, size_t alloc, gfp_t gfp),
	       TP_ARGS(site, ptr, req, alloc, gfp))
{
	FILL_ALLOC(p, site, ptr, req, alloc, gfp, NUMA_NO_NODE);
}

LTT_PROBE_FUNC(KMALLOC, kmalloc, probe_kmalloc_node, NULL,
	       TP_PROTO(unsigned long site, const void *ptr, size_t req, size_t alloc, gfp_t gfp, int node),
	       TP_ARGS(site, ptr, req, alloc, gfp, node))
{
	FILL_ALLOC(p, site, ptr, req, alloc, gfp, node);
}

LTT_OFFER(kmalloc, kmalloc, probe_kmalloc_node, probe_kmalloc)

LTT_PROBE_FUNC(KMEM_CACHE_ALLOC, kmem_cache_alloc, probe_cache_alloc, NULL,
	       TP_PROTO(unsigned long site, const void *ptr, size_t req, size_t alloc, gfp_t gfp),
	       TP_ARGS(site, ptr, req, alloc, gfp))
{
	FILL_ALLOC(p, site, ptr, req, alloc, gfp, NUMA_NO_NODE);
}

/* What a cache gives for what is asked of it, only the allocator knows. */
LTT_PROBE_FUNC(KMEM_CACHE_ALLOC, kmem_cache_alloc, probe_cache_alloc_node, NULL,
	       TP_PROTO(unsigned long site, const void *ptr, struct kmem_cache *cache, gfp_t gfp, int node),
	       TP_ARGS(site, ptr, cache, gfp, node))
{
	FILL_ALLOC(p, site, ptr, kmem_cache_size(cache), 0, gfp, node);
}

LTT_OFFER(kmem_cache_alloc, kmem_cache_alloc, probe_cache_alloc_node, probe_cache_alloc)

LTT_PROBE(KFREE, kfree, NULL, TP_PROTO(unsigned long site, const void *ptr), TP_ARGS(site, ptr))
{
	p->call_site = site;
	p->ptr = (unsigned long)ptr;
}

LTT_PROBE_FUNC(KMEM_CACHE_FREE, kmem_cache_free, probe_cache_free, NULL,
	       TP_PROTO(unsigned long site, const void *ptr), TP_ARGS(site, ptr))
{
	p->call_site = site;
	p->ptr = (unsigned long)ptr;
}

LTT_PROBE_FUNC(KMEM_CACHE_FREE, kmem_cache_free, probe_cache_free_of, NULL,
	       TP_PROTO(unsigned long site, const void *ptr, const struct kmem_cache *cache), TP_ARGS(site, ptr, cache))
{
	p->call_site = site;
	p->ptr = (unsigned long)ptr;
}

LTT_OFFER(kmem_cache_free, kmem_cache_free, probe_cache_free_of, probe_cache_free)

/* ------------------------------------------------------------------------------------------------ vmscan and oom --- */

LTT_PROBE(MM_VMSCAN_KSWAPD_WAKE, mm_vmscan_kswapd_wake, NULL, TP_PROTO(int nid, int zid, int order),
	  TP_ARGS(nid, zid, order))
{
	p->nid = nid;
	p->zid = zid;
	p->order = order;
}

LTT_PROBE(MM_VMSCAN_KSWAPD_SLEEP, mm_vmscan_kswapd_sleep, NULL, TP_PROTO(int nid), TP_ARGS(nid))
{
	p->nid = nid;
}

/* Since 7.1 the control group is told, too, and the order of the others has changed. */
#define LTT_RECLAIM(NAME, name)										\
LTT_PROBE_FUNC(NAME##_BEGIN, name##_begin, probe_##name##_begin, NULL, TP_PROTO(int order, gfp_t gfp),	\
	       TP_ARGS(order, gfp))									\
{													\
	p->tid = current->pid;										\
	p->order = order;										\
	p->gfp_flags = (__force u32)gfp;								\
}													\
LTT_PROBE_FUNC(NAME##_BEGIN, name##_begin, probe_##name##_begin_memcg, NULL,				\
	       TP_PROTO(gfp_t gfp, int order, struct mem_cgroup *memcg), TP_ARGS(gfp, order, memcg))	\
{													\
	p->tid = current->pid;										\
	p->order = order;										\
	p->gfp_flags = (__force u32)gfp;								\
}													\
LTT_OFFER(name##_begin, name##_begin, probe_##name##_begin, probe_##name##_begin_memcg)		\
LTT_PROBE_FUNC(NAME##_END, name##_end, probe_##name##_end, NULL, TP_PROTO(unsigned long n), TP_ARGS(n)) \
{													\
	p->tid = current->pid;										\
	p->reserved = 0;										\
	p->nr_reclaimed = n;										\
}													\
LTT_PROBE_FUNC(NAME##_END, name##_end, probe_##name##_end_memcg, NULL,					\
	       TP_PROTO(unsigned long n, struct mem_cgroup *memcg), TP_ARGS(n, memcg))			\
{													\
	p->tid = current->pid;										\
	p->reserved = 0;										\
	p->nr_reclaimed = n;										\
}													\
LTT_OFFER(name##_end, name##_end, probe_##name##_end, probe_##name##_end_memcg)

LTT_RECLAIM(MM_VMSCAN_DIRECT_RECLAIM, mm_vmscan_direct_reclaim)
LTT_RECLAIM(MM_VMSCAN_MEMCG_RECLAIM, mm_vmscan_memcg_reclaim)

LTT_PROBE(MM_VMSCAN_WRITE_FOLIO, mm_vmscan_write_folio, NULL, TP_PROTO(struct compat_folio *folio), TP_ARGS(folio))
{
	p->pfn = compat_folio_pfn(folio);
}

LTT_PROBE_FUNC(MARK_VICTIM, mark_victim, probe_victim, NULL, TP_PROTO(int pid), TP_ARGS(pid))
{
	p->pid = pid;
}

LTT_PROBE_FUNC(MARK_VICTIM, mark_victim, probe_victim_uid, task, TP_PROTO(struct task_struct *task, uid_t uid),
	       TP_ARGS(task, uid))
{
	p->pid = task->pid;
}

LTT_OFFER(mark_victim, mark_victim, probe_victim_uid, probe_victim)

/* -------------------------------------------------------------------------------------- filemap and writeback --- */

static __always_inline dev_t device_of(const struct inode *inode)
{
	return inode->i_sb ? inode->i_sb->s_dev : inode->i_rdev;
}

#define FILL_PAGE_CACHE(p, folio)									\
do {													\
	const struct inode *inode__ = compat_folio_mapping(folio)->host;				\
													\
	(p)->s_dev = device_of(inode__);								\
	(p)->reserved = 0;										\
	(p)->i_ino = inode__->i_ino;									\
	(p)->index = compat_folio_index(folio);								\
	(p)->pfn = compat_folio_pfn(folio);								\
} while (0)

LTT_PROBE(MM_FILEMAP_ADD_TO_PAGE_CACHE, mm_filemap_add_to_page_cache, NULL, TP_PROTO(struct compat_folio *folio),
	  TP_ARGS(folio))
{
	FILL_PAGE_CACHE(p, folio);
}

LTT_PROBE(MM_FILEMAP_DELETE_FROM_PAGE_CACHE, mm_filemap_delete_from_page_cache, NULL,
	  TP_PROTO(struct compat_folio *folio), TP_ARGS(folio))
{
	FILL_PAGE_CACHE(p, folio);
}

LTT_PROBE(WRITEBACK_DIRTY_INODE, writeback_dirty_inode, NULL, TP_PROTO(struct inode *inode, int flags),
	  TP_ARGS(inode, flags))
{
	p->s_dev = device_of(inode);
	p->flags = flags;
	p->i_ino = inode->i_ino;
}

LTT_PROBE(WRITEBACK_SINGLE_INODE, writeback_single_inode, NULL,
	  TP_PROTO(struct inode *inode, struct writeback_control *wbc, unsigned long nr_to_write),
	  TP_ARGS(inode, wbc, nr_to_write))
{
	p->s_dev = device_of(inode);
	p->flags = compat_inode_state(inode);
	p->i_ino = inode->i_ino;
	p->nr_to_write = nr_to_write;
	p->wrote = nr_to_write - wbc->nr_to_write;
}

LTT_PROBE(WRITEBACK_PAGES_WRITTEN, writeback_pages_written, NULL, TP_PROTO(long pages), TP_ARGS(pages))
{
	p->pages = pages;
}

LTT_PROBE(FOLIO_WAIT_WRITEBACK, folio_wait_writeback, NULL,
	  TP_PROTO(struct compat_folio *folio, struct address_space *mapping), TP_ARGS(folio, mapping))
{
	const struct inode *inode = mapping ? mapping->host : NULL;

	p->tid = current->pid;
	p->s_dev = inode ? device_of(inode) : 0;
	p->i_ino = inode ? inode->i_ino : 0;
	p->index = compat_folio_index(folio);
}
