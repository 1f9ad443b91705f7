// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings seen as memory: by mmap of the files ring_N, and by whoever looks for them in an image of a dead machine's memory.
 *
 * A file ring_N is the memory of one stream while nothing is written to it: of a snapshot, or of a stopped channel. An
 * open file holds the ring, a mapping holds the file, so the memory stays valid whatever happens to the channel.
 *
 * A ring is scattered over pages. Each of its buffers therefore has a map: pages that begin with a magic number of their
 * own and list the buffer's page frames in order.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

/* --------------------------------------------------------------------------------------------------------- mmap --- */

static int ring_open(struct inode *inode, struct file *file)
{
	struct relayfs_stream *s = (struct relayfs_stream *)relayfs_file_data(inode);
	enum relayfs_state state = relayfs_channel_state(s->chan);
	struct relayfs_ring *ring;
	int err = 0;

	if (file->f_mode & FMODE_WRITE)
		return -EACCES;
	if (!relayfs_pin_owner(inode))
		return -ENODEV;
	mutex_lock(&s->lock);
	ring = s->drain ?: state == RELAYFS_STOPPED ? s->live : NULL;
	if (relayfs_ring_buf(ring, s->cpu)) {
		relayfs_ring_get(ring);
		file->private_data = ring;
		/* Of a mapping's length some libraries first ask the file. */
		i_size_write(inode, ring->n_subbufs * ring->subbuf_size);
	} else {
		err = state == RELAYFS_RUNNING ? -EBUSY : -ENODATA;
	}
	mutex_unlock(&s->lock);
	if (err)
		relayfs_unpin_owner(inode);
	return err;
}

static int ring_release(struct inode *inode, struct file *file)
{
	relayfs_ring_put(file->private_data);
	relayfs_unpin_owner(inode);
	return 0;
}

static vm_fault_t ring_fault(struct vm_fault *vmf)
{
	struct rchan_buf *buf = vmf->vma->vm_private_data;

	if (vmf->pgoff >= buf->page_count)
		return VM_FAULT_SIGBUS;
	vmf->page = buf->page_array[vmf->pgoff];
	get_page(vmf->page);
	return 0;
}

static const struct vm_operations_struct ring_vm_ops = {
	.fault = ring_fault,
};

static int ring_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct relayfs_stream *s = (struct relayfs_stream *)relayfs_file_data(file_inode(file));
	struct rchan_buf *buf = relayfs_ring_buf(file->private_data, s->cpu);

	if (vma->vm_pgoff > buf->page_count || vma_pages(vma) > buf->page_count - vma->vm_pgoff)
		return -EINVAL;
	vma->vm_private_data = buf;
	vma->vm_ops = &ring_vm_ops;
	return 0;
}

const struct file_operations relayfs_ring_fops = {
	.owner = THIS_MODULE,
	.open = ring_open,
	.release = ring_release,
	.mmap = ring_mmap,
	.llseek = noop_llseek,
};

/* -------------------------------------------------------------------------------------------------------- images --- */

struct map_page {
	struct list_head link;
	struct ltt3_ring_map *map;
};

#define PER_PAGE ((PAGE_SIZE - sizeof(struct ltt3_ring_map)) / sizeof(u64))

/**
 * relayfs_map_buffer() - list the page frames of a ring's buffer
 * @ring: the ring
 * @buf: one of its buffers, new
 *
 * Of which CPU it is nobody has said yet; its packets will. Without memory there is no map; a buffer that cannot be found in an image is still a buffer. Called as relay makes the
 * buffer, under relay's own mutex.
 */
void relayfs_map_buffer(struct relayfs_ring *ring, const struct rchan_buf *buf)
{
	static atomic_t made;
	unsigned int number = atomic_inc_return(&made);
	unsigned int first, i;

	for (first = 0; first < buf->page_count; first += PER_PAGE) {
		struct map_page *page = kzalloc(sizeof(*page), GFP_KERNEL);
		struct ltt3_ring_map *map = page ? (void *)get_zeroed_page(GFP_KERNEL) : NULL;

		if (!map) {
			kfree(page);
			return;
		}
		memcpy(map->uuid, ring->uuid, sizeof(map->uuid));
		map->stream_id = ring->stream_id;
		map->buffer = number;
		map->page_size = PAGE_SIZE;
		map->subbuf_size = ring->subbuf_size;
		map->n_subbufs = ring->n_subbufs;
		map->first = first;
		map->count = min_t(unsigned int, PER_PAGE, buf->page_count - first);
		for (i = 0; i < map->count; i++)
			map->frames[i] = page_to_pfn(buf->page_array[first + i]);
		smp_wmb();	/* a map that is found in an image by its magic is complete */
		map->magic = LTT3_MAP_MAGIC;
		page->map = map;
		list_add_tail(&page->link, &ring->maps);
	}
}

/* What is written from now on belongs to another trace. Caller holds cpus_read_lock(), so no map is added meanwhile. */
void relayfs_rename_maps(struct relayfs_ring *ring, const uuid_t *uuid)
{
	struct map_page *page;

	memcpy(ring->uuid, uuid, sizeof(ring->uuid));
	list_for_each_entry(page, &ring->maps, link)
		memcpy(page->map->uuid, uuid, sizeof(page->map->uuid));
}

/* The pages are wiped: a map of memory that serves others now must not be found. */
void relayfs_unmap_buffers(struct relayfs_ring *ring)
{
	struct map_page *page, *next;

	list_for_each_entry_safe(page, next, &ring->maps, link) {
		WRITE_ONCE(page->map->magic, 0);
		free_page((unsigned long)page->map);
		kfree(page);
	}
}
