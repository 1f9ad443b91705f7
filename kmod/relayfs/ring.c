// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings: channels of the kernel's relay API, opened without files, counted, closed when nobody reads them any more.
 *
 * Of relay we use the allocation (now and as CPUs come), the sub-buffer switch and the counts of sub-buffers produced and
 * consumed. What it would do with files, readers and wake-ups is done here.
 */
#include <linux/cpu.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "compat.h"
#include "internal.h"

static unsigned int max_memory = 50;
module_param(max_memory, uint, 0644);
MODULE_PARM_DESC(max_memory, "largest part of the available memory that one request may take, in percent (default 50)");

static struct dentry placeholder;

/* Must not fail: it is also called as a CPU comes online, and would stop it. A dentry that is not NULL says "go on". */
static struct dentry *create_buf_file(const char *name, struct dentry *parent, umode_t mode, struct rchan_buf *buf,
				      int *is_global)
{
	struct relayfs_ring *ring = buf->chan->private_data;

	*is_global = ring->global;
	relayfs_map_buffer(ring, buf);
	return &placeholder;
}

static int remove_buf_file(struct dentry *dentry)
{
	return 0;
}

/* May the writer go on into the next sub-buffer? The reader of a ring in flight mode comes when it is frozen. */
static int subbuf_start(struct rchan_buf *buf)
{
	const struct relayfs_ring *ring = buf->chan->private_data;

	return ring->flight || buf->subbufs_produced - buf->subbufs_consumed < ring->n_subbufs;
}
COMPAT_DEFINE_SUBBUF_START(subbuf_start)

/* Not const: until 5.10 relay fills in what is left out. */
static struct rchan_callbacks ring_callbacks = {
	.subbuf_start = COMPAT_SUBBUF_START(subbuf_start),
	.create_buf_file = create_buf_file,
	.remove_buf_file = remove_buf_file,
};

static void ring_close(struct work_struct *work)
{
	struct relayfs_ring *ring = container_of(work, struct relayfs_ring, work);

	cpus_read_lock();	/* else a CPU that comes online between the two gets a buffer with a map */
	relayfs_unmap_buffers(ring);
	relay_close(ring->rchan);
	cpus_read_unlock();
	kfree(ring);
	module_put(THIS_MODULE);
}

/**
 * relayfs_ring_open() - allocate a ring
 * @chan: for its flags, its sub-buffers' size and its error text
 * @n_subbufs: sub-buffers of each CPU
 * @copies: how many such rings the caller is about to need: memory is asked for all of them, now
 *
 * Relay allocates page by page and would wake the out-of-memory killer; so look first.
 * Caller holds cpus_read_lock().
 */
struct relayfs_ring *relayfs_ring_open(struct relayfs_channel *chan, size_t n_subbufs, unsigned int copies)
{
	unsigned int cpus = chan->attr.flags & RELAYFS_GLOBAL ? 1 : num_online_cpus();
	u64 need = (u64)chan->attr.subbuf_size * n_subbufs * cpus * copies;
	u64 available = (u64)max(si_mem_available(), 0L) << PAGE_SHIFT;
	u64 allowed = div_u64(available, 100) * min(max_memory, 100U);
	struct relayfs_ring *ring;

	if (need > allowed) {
		relayfs_refuse(chan, -ENOMEM,
			       "%llu KiB of buffers asked for (%zu B x %zu x %u CPUs x %u), %llu KiB allowed (max_memory=%u %% of what is available)",
			       need >> 10, chan->attr.subbuf_size, n_subbufs, cpus, copies, allowed >> 10, max_memory);
		return ERR_PTR(-ENOMEM);
	}
	ring = kzalloc(sizeof(*ring), GFP_KERNEL);
	if (!ring)
		return ERR_PTR(relayfs_refuse(chan, -ENOMEM, "the kernel could not allocate a ring"));
	kref_init(&ring->ref);
	INIT_WORK(&ring->work, ring_close);
	ring->flight = chan->attr.flags & RELAYFS_FLIGHT;
	ring->global = chan->attr.flags & RELAYFS_GLOBAL;
	ring->stream_id = chan->attr.stream_id;
	memcpy(ring->uuid, &chan->attr.uuid, sizeof(ring->uuid));
	INIT_LIST_HEAD(&ring->maps);
	ring->n_subbufs = n_subbufs;
	ring->subbuf_size = chan->attr.subbuf_size;
	ring->rchan = relay_open(NULL, NULL, ring->subbuf_size, n_subbufs, &ring_callbacks, ring);
	if (!ring->rchan) {
		relayfs_refuse(chan, -ENOMEM, "the kernel could not allocate %llu KiB of buffers", need >> 10);
		relayfs_unmap_buffers(ring);	/* of the CPUs before the one that failed */
		kfree(ring);
		return ERR_PTR(-ENOMEM);
	}
	__module_get(THIS_MODULE);
	return ring;
}

void relayfs_ring_get(struct relayfs_ring *ring)
{
	kref_get(&ring->ref);
}

static void ring_release(struct kref *ref)
{
	struct relayfs_ring *ring = container_of(ref, struct relayfs_ring, ref);

	queue_work(relayfs_wq, &ring->work);
}

/* The last put closes it, later: relay_close() sleeps on a mutex that CPU hotplug holds. */
void relayfs_ring_put(struct relayfs_ring *ring)
{
	if (ring)
		kref_put(&ring->ref, ring_release);
}

/* The buffer of a CPU, NULL if it has not been online since the ring was opened. */
struct rchan_buf *relayfs_ring_buf(struct relayfs_ring *ring, int cpu)
{
	return ring ? READ_ONCE(*per_cpu_ptr(ring->rchan->buf, ring->global ? 0 : cpu)) : NULL;
}

/* The oldest sub-buffer that still holds a packet nobody has read; subbufs_produced if there is none. */
size_t relayfs_ring_oldest(struct relayfs_ring *ring, struct rchan_buf *buf)
{
	size_t produced = READ_ONCE(buf->subbufs_produced);

	if (produced - buf->subbufs_consumed > ring->n_subbufs)
		return produced - ring->n_subbufs;
	return buf->subbufs_consumed;
}

struct ltt3_packet_header *relayfs_ring_packet(struct relayfs_ring *ring, struct rchan_buf *buf, size_t index)
{
	return buf->start + index % ring->n_subbufs * ring->subbuf_size;
}
