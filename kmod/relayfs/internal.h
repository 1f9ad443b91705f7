/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of relayfs.ko know of one another. */
#ifndef RELAYFS_INTERNAL_H
#define RELAYFS_INTERNAL_H

#include <linux/irq_work.h>
#include <linux/mutex.h>
#include <linux/relay.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "relayfs.h"

struct pipe_inode_info;

/**
 * struct relayfs_ring - one channel of the kernel's relay API: sub-buffers for every CPU
 * @rchan: the relay channel, opened without files
 * @ref: its channel, and every stream that still reads from it
 * @work: closes it, as that sleeps
 * @flight: the oldest packet is overwritten
 * @global: one buffer for all CPUs
 * @stream_id: of the channel
 * @uuid: of the channel
 * @maps: where its pages are, for whoever finds it in an image of the memory
 * @n_subbufs: of each CPU
 * @subbuf_size: in bytes
 */
struct relayfs_ring {
	struct rchan *rchan;
	struct kref ref;
	struct work_struct work;
	bool flight;
	bool global;
	u32 stream_id;
	u8 uuid[sizeof(uuid_t)];
	struct list_head maps;
	size_t n_subbufs;
	size_t subbuf_size;
};

/* As often as a ring can double before it has the largest number of sub-buffers. */
#define RELAYFS_MAX_DRAINS 16

/**
 * struct relayfs_stream - one file's worth of a channel; outlives rings
 * @chan: the channel, which embeds or owns all its streams
 * @cpu: whose, 0 for a global channel
 * @writer: the write side
 * @lock: the read side: everything below
 * @wait: readers and pollers
 * @wake: wakes them from where that is not allowed
 * @flush: gives them what is not full yet
 * @news: counts what a waiter may wait for
 * @open: somebody has the file open
 * @due: somebody has waited for the latency bound; what is complete is not waited for longer
 * @live: ring that the writer writes to, NULL before the first start
 * @drain: ring to be read out first: a snapshot, or what was before a resize
 * @drain_limit: sub-buffer of @drain to stop at
 * @later: rings to be read out after that, of a channel that grew faster than it was read
 * @n_later: how many
 * @loans: packets of which pipes have pages; see splice.c
 * @snapshot_end: an end-of-file is due behind @drain
 * @offset: bytes of the first packet already handed out
 * @read: records handed out whole
 * @bytes: bytes handed out
 * @told: loss counters of the last packet handed out
 * @final_due: @final is the next packet
 * @final: the last words of a stream that lost records after its last packet
 */
struct relayfs_stream {
	struct relayfs_channel *chan;
	int cpu;
	struct relayfs_writer *writer;
	struct mutex lock;
	wait_queue_head_t wait;
	struct irq_work wake;
	struct delayed_work flush;
	atomic_t news;
	atomic_t open;
	bool due;

	struct relayfs_ring *live;
	struct relayfs_ring *drain;
	size_t drain_limit;
	struct {
		struct relayfs_ring *ring;
		size_t limit;
	} later[RELAYFS_MAX_DRAINS];
	unsigned int n_later;
	struct list_head loans;
	bool snapshot_end;
	size_t offset;
	u64 read;
	u64 bytes;
	u64 told;
	bool final_due;
	struct ltt3_packet_header final;
};

/* Of a channel: nobody's; of who holds its mutex; a trigger is just turning the writers; it has, and that is unfinished. */
enum relayfs_turn { RELAYFS_FREE, RELAYFS_CLAIMED, RELAYFS_TURNING, RELAYFS_TURNED };

/**
 * struct relayfs_channel - a data flow
 * @head: what writers need
 * @obj: referenced by its files
 * @attr: as asked for
 * @lock: start, stop, flips; taken before cpus_read_lock and the streams' locks
 * @state: from open to close; changed under the lock
 * @ring: what writers write to
 * @spare: what a snapshot flips to
 * @turn: an enum relayfs_turn: who may change the two
 * @template: the constant part of packet headers
 * @wall_offset: wall clock minus monotonic, as last seen from where one may look
 * @resize: makes the ring as large as it needs to be
 * @n_subbufs_min: from this on, up to attr.n_subbufs_max
 * @pressure: runs that from a writer
 * @quiet: seconds that the ring was nearly empty
 * @error: why the last request was refused
 * @n_streams: one, or as many as there can be CPUs
 * @streams: by CPU; NULL where there can be none
 */
struct relayfs_channel {
	struct relayfs_channel_head head;
	struct relayfs_object obj;
	struct relayfs_channel_attr attr;
	struct mutex lock;
	enum relayfs_state state;
	struct relayfs_ring *ring;
	struct relayfs_ring *spare;
	atomic_t turn;
	struct ltt3_packet_header template;
	atomic64_t wall_offset;
	struct delayed_work resize;
	struct irq_work pressure;
	size_t n_subbufs_min;
	unsigned int quiet;
	char error[RELAYFS_ERROR_LEN];
	unsigned int n_streams;
	struct relayfs_stream *streams[];
};

/* What an inode stands for: inode->i_private, freed with the inode. */
struct relayfs_node {
	struct list_head link;
	struct dentry *dentry;
	struct module *owner;		/* whose code serves it */
	bool gone;			/* unlinked: that code may be gone as well */
	struct relayfs_object *obj;
	const struct relayfs_attribute *attr;
	const void *data;
	struct relayfs_dir *dir;	/* of a directory */
	umode_t mode;			/* before the mount options */
};

/* A directory: whose it is (NULL for the root and for what users made), whose code serves it, and what is in it. */
struct relayfs_dir {
	struct dentry *dentry;
	struct relayfs_client *client;
	struct module *owner;
	struct list_head children;	/* under the inode's lock */
};

#define RELAYFS_MAX_SUBBUFS	65536UL

/* Sets @s to each stream in turn; a hole is where no CPU can be. */
#define relayfs_for_each_stream(s, i, chan)							\
	for ((i) = 0; ((s) = relayfs_next_stream(chan, &(i))); (i)++)

static inline struct relayfs_stream *relayfs_next_stream(struct relayfs_channel *chan, unsigned int *i)
{
	while (*i < chan->n_streams && !chan->streams[*i])
		++*i;
	return *i < chan->n_streams ? chan->streams[*i] : NULL;
}

extern struct workqueue_struct *relayfs_wq;

/* ring.c */
struct relayfs_ring *relayfs_ring_open(struct relayfs_channel *chan, size_t n_subbufs, unsigned int copies);
void relayfs_ring_get(struct relayfs_ring *ring);
void relayfs_ring_put(struct relayfs_ring *ring);
struct rchan_buf *relayfs_ring_buf(struct relayfs_ring *ring, int cpu);
size_t relayfs_ring_oldest(struct relayfs_ring *ring, struct rchan_buf *buf);
struct ltt3_packet_header *relayfs_ring_packet(struct relayfs_ring *ring, struct rchan_buf *buf, size_t index);

/* write.c */

/* Records in the packet that is being written. */
static inline u64 relayfs_records(const struct relayfs_writer *w)
{
	return READ_ONCE(w->packet) ? READ_ONCE(w->produced) - READ_ONCE(w->before) : 0;
}

void relayfs_close_packet(struct relayfs_writer *w, bool even_empty);
void relayfs_give_ring(struct relayfs_writer *w, struct relayfs_ring *ring);
void relayfs_seal_packet(struct relayfs_writer *w);
void relayfs_seal_header(struct relayfs_writer *w, struct ltt3_packet_header *h);
u64 relayfs_discarded(const struct relayfs_writer *w);
void relayfs_fill_header(struct relayfs_writer *w, struct ltt3_packet_header *h, u64 now);
void relayfs_finish_header(struct relayfs_writer *w, struct ltt3_packet_header *h);

/* channel.c */
__printf(3, 4) int relayfs_refuse(struct relayfs_channel *chan, int err, const char *why, ...);
int relayfs_check_sizes(struct relayfs_channel *chan, size_t subbuf_size, size_t n_subbufs, size_t n_subbufs_max);
void relayfs_on_writer(struct relayfs_stream *s, void (*fn)(void *info), void *info);
void relayfs_flush_stream(struct relayfs_stream *s);
void relayfs_note_clock(struct relayfs_channel *chan);
void relayfs_news(struct relayfs_stream *s);

/* stats.c */
void relayfs_add(struct relayfs_stream *s, u64 *counter, u64 n);

/* flip.c */
void relayfs_claim_rings(struct relayfs_channel *chan);
void relayfs_release_rings(struct relayfs_channel *chan);
int relayfs_make_spare(struct relayfs_channel *chan);
void relayfs_resize_to_need(struct work_struct *work);
void relayfs_feel_pressure(struct irq_work *work);

/* read.c */
enum relayfs_front {
	RELAYFS_FRONT_PACKET, RELAYFS_FRONT_NOTHING_YET, RELAYFS_FRONT_END, RELAYFS_FRONT_FAULT
};

/* The packet at the front of the stream, and the ring that it is in (NULL: the final packet). */
struct relayfs_packet {
	struct ltt3_packet_header *header;
	struct relayfs_ring *ring;
	struct rchan_buf *buf;
};

extern const struct file_operations relayfs_stream_fops;
enum relayfs_front relayfs_front(struct relayfs_stream *s, struct relayfs_packet *p);
void relayfs_handed_out(struct relayfs_stream *s, const struct relayfs_packet *p, size_t n);
void relayfs_read_ends(struct relayfs_stream *s, ssize_t done, enum relayfs_front front);
int relayfs_wait(struct relayfs_stream *s, int news, bool nonblock);
bool relayfs_worth_reading(struct relayfs_stream *s);
size_t relayfs_drain_left(struct relayfs_stream *s);
void relayfs_end_drain(struct relayfs_stream *s);
u64 relayfs_cut_drain(struct relayfs_stream *s);

/* splice.c */
size_t relayfs_lent(struct relayfs_stream *s, struct relayfs_ring *ring);
void relayfs_hand_back(struct relayfs_stream *s, struct relayfs_ring *ring, struct rchan_buf *buf);
ssize_t relayfs_splice_read(struct file *file, loff_t *pos, struct pipe_inode_info *pipe, size_t count,
			    unsigned int flags);

/* map.c */
extern const struct file_operations relayfs_ring_fops;
void relayfs_map_buffer(struct relayfs_ring *ring, const struct rchan_buf *buf);
void relayfs_rename_maps(struct relayfs_ring *ring, const uuid_t *uuid);
void relayfs_unmap_buffers(struct relayfs_ring *ring);

/* fs.c */
struct inode *relayfs_make_inode(struct super_block *sb, umode_t type, struct relayfs_node *node);
bool relayfs_pin_owner(const struct inode *inode);
void relayfs_unpin_owner(const struct inode *inode);
int relayfs_fs_init(void);
void relayfs_fs_exit(void);

#endif
