/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * relayfs: data channels from the kernel to files.
 *
 * A channel is a named data flow. Each possible CPU has a stream (a global channel has one stream), each stream is one
 * file of the relayfs file system, and what is read from the file are packets of the LTT 3.0 format: a header
 * (struct ltt3_packet_header) and records. Records are written into the sub-buffers of a ring, which is a channel of
 * the kernel's relay API; a sub-buffer becomes a packet when it is closed.
 *
 * Life of a channel in a client:
 *
 *	chan = relayfs_channel_open(&attr);
 *	relayfs_create_streams(dir, chan, "events");
 *	relayfs_channel_start(chan);
 *	...  p = relayfs_reserve(chan, &slot, id, size); fill in p; relayfs_commit(&slot);
 *	relayfs_channel_stop(chan);		readers get what is left, then end-of-file
 *	relayfs_channel_close(chan);		open files get end-of-file
 *	relayfs_channel_put(chan);		the memory goes when the last of them is closed
 */
#ifndef RELAYFS_H
#define RELAYFS_H

#include <asm/byteorder.h>
#include <linux/cache.h>
#include <linux/irqflags.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/types.h>
#include <linux/uuid.h>

#include "ltt3_gen.h"

#ifdef __BIG_ENDIAN
#error "LTT 3.0 is little endian, and records are written as the machine has them"
#endif

struct dentry;
struct file_operations;
struct inode;
struct module;
struct rchan_buf;
struct relayfs_channel;
struct relayfs_dir;
struct relayfs_ring;
struct relayfs_stream;

/* ------------------------------------------------------------------------------------------------ the write side --- */

/**
 * struct relayfs_writer - what writing a record touches: one per stream, changed only by the stream's CPU, irqs off
 * @cursor: where the next record goes; NULL while no packet is open
 * @end: end of the sub-buffer; NULL while no packet is open, and once the channel is frozen or turned
 * @limit: the latest time that 32 bits can tell from the packet's begin; 0 while somebody is writing, so that one test
 *	finds a packet that is too old, and a writer that interrupts another
 * @last: time of the last record; time never goes back in a stream
 * @produced: records asked for, written or lost, but for those lost in an NMI or nested in another
 * @event_ids: bit id mod 64 is set if the packet has a record of that id
 * @record: the last record
 * @packet_limit: what @limit is when nobody is writing; U64_MAX while no packet is open
 */
struct relayfs_writer {
	char *cursor;
	char *end;
	u64 limit;
	u64 last;
	u64 produced;
	u64 event_ids;
	struct ltt3_record_header *record;
	u64 packet_limit;

	/* private: touched when a packet begins or ends, or a record is lost */
	u64 before;			/* @produced when the packet began, and what was lost since: the rest is in the packet */
	size_t asked;			/* length of the record that began the packet */
	struct rchan_buf *buf;
	struct relayfs_ring *ring;
	struct relayfs_ring *next;	/* where to go on from the next record, by relayfs_channel_turn() */
	struct relayfs_stream *stream;
	bool running;
	bool packet;			/* a packet is open */
	u64 seq;
	u64 published;			/* records in closed packets */
	u64 packets;
	u64 overwritten;
	u64 lost[LTT3_LOST_REASONS];
	u64 reported;			/* lost + overwritten as told by the last closed packet */
	raw_spinlock_t lock;		/* a global channel's writers */
	int owner;			/* the CPU that holds it, plus one */
} ____cacheline_aligned;

/* A reserved record: from relayfs_reserve() to relayfs_commit(), irqs off. */
struct relayfs_slot {
	struct relayfs_writer *writer;
	unsigned long flags;
};

/* The part of a channel that writers read; struct relayfs_channel begins with it. */
struct relayfs_channel_head {
	struct relayfs_writer __percpu *writers;
	struct relayfs_writer *global;	/* NULL for a channel with a stream per CPU */
};

static inline struct relayfs_writer __percpu *relayfs_writers(struct relayfs_channel *chan)
{
	return ((struct relayfs_channel_head *)chan)->writers;
}

char *relayfs_next_packet(struct relayfs_writer *w, size_t len, u64 limit);

/*
 * The way of every record, counted in instructions: nothing is kept across the call but @w and what the caller keeps.
 * To be called with irqs off, @now having been read there.
 */
static __always_inline void *__relayfs_reserve(struct relayfs_writer *w, struct relayfs_slot *slot, u64 now, u16 id,
					       size_t len)
{
	u64 limit = w->limit;
	char *at, *payload;

	w->limit = 0;
	barrier();
	/* The fast clock may step back a little; taken as it is, that would read as 4.29 s forward. */
	now = max(now, w->last);
	w->last = now;
	at = w->cursor;
	if (unlikely(at + ALIGN(len, 8) > w->end || now > limit || len > LTT3_MAX_RECORD)) {
		at = relayfs_next_packet(w, len, limit);
		if (!at)
			return NULL;
		now = w->last;
		if (!__builtin_constant_p(len))
			len = w->asked;
	}
	w->produced++;
	w->event_ids |= 1ULL << (id % 64);
	w->record = (struct ltt3_record_header *)at;
	w->cursor = at + ALIGN(len, 8);
	/* The padding behind the record is zero, whatever the sub-buffer held before. */
	if (!__builtin_constant_p(len % 8) || len % 8)
		*(u64 *)(at + ALIGN(len, 8) - 8) = 0;
	*(u64 *)at = (u32)now | (u64)id << 32 | (u64)len << 48;
	slot->writer = w;
	payload = at + LTT3_RECORD_HEADER_SIZE;
	if (!payload)
		__builtin_unreachable();	/* spares the test that the compiler cannot know to be needless */
	return payload;
}

/**
 * relayfs_reserve() - begin a record of a channel with a stream per CPU
 * @chan: the channel
 * @slot: filled in, for relayfs_commit()
 * @id: the event's id
 * @size: bytes of payload, without padding behind it
 *
 * Return: where the payload is to be written, with irqs off until relayfs_commit(); NULL if the record is lost, which
 * has been counted then, and irqs are as they were. May be called in any context; where it interrupts another record of
 * the channel on the same CPU (an NMI, a probe on what the writer calls) it loses. Between this and relayfs_commit()
 * nothing may be called that can fault, sleep or be traced.
 */
static __always_inline void *relayfs_reserve(struct relayfs_channel *chan, struct relayfs_slot *slot, u16 id,
					     size_t size)
{
	void *payload;
	u64 now;

	local_irq_save(slot->flags);
	now = ktime_get_mono_fast_ns();
	payload = __relayfs_reserve(this_cpu_ptr(relayfs_writers(chan)), slot, now, id, LTT3_RECORD_HEADER_SIZE + size);
	if (unlikely(!payload))
		local_irq_restore(slot->flags);
	return payload;
}

static __always_inline void __relayfs_commit(struct relayfs_slot *slot)
{
	barrier();
	slot->writer->limit = slot->writer->packet_limit;
}

/**
 * relayfs_commit() - end a record
 * @slot: as relayfs_reserve() filled it in
 */
static __always_inline void relayfs_commit(struct relayfs_slot *slot)
{
	__relayfs_commit(slot);
	local_irq_restore(slot->flags);
}

void *relayfs_reserve_global(struct relayfs_channel *chan, struct relayfs_slot *slot, u16 id, u32 size);
void relayfs_commit_global(struct relayfs_slot *slot);
void relayfs_count_lost_global(struct relayfs_channel *chan, enum ltt3_lost reason, u64 n);
bool relayfs_write(struct relayfs_channel *chan, u16 id, const void *payload, u32 size);

/* ---------------------------------------------------------------------------------------------------- channels --- */

#define RELAYFS_FLIGHT	1	/* overwrite the oldest packets; files hand out snapshots */
#define RELAYFS_GLOBAL	2	/* one stream, written under a lock */
#define RELAYFS_PATIENT	4	/* who finds it full keeps the record and comes again: it is not counted as lost */
#define RELAYFS_STATIC	8	/* there from its module's init to its exit; only open files keep the module loaded */

#define RELAYFS_ERROR_LEN 160

/**
 * struct relayfs_channel_ops - what a client adds to its packets; called irqs off, on the writing CPU
 * @packet_begin: fills in what holds when a packet begins; the common fields are set
 * @packet_end: fills in what is known when it ends
 */
struct relayfs_channel_ops {
	void (*packet_begin)(void *priv, struct ltt3_packet_header *header);
	void (*packet_end)(void *priv, struct ltt3_packet_header *header);
};

/**
 * struct relayfs_channel_attr - how to make a channel
 * @owner: the client's module
 * @flags: RELAYFS_FLIGHT, RELAYFS_GLOBAL, RELAYFS_PATIENT, RELAYFS_STATIC
 * @stream_id: into the packet headers
 * @uuid: into the packet headers
 * @subbuf_size: bytes, a multiple of the page size
 * @n_subbufs: sub-buffers of each stream, at least 2
 * @n_subbufs_max: if larger, the ring grows up to this while readers are behind, and shrinks again
 * @latency_ms: a waiting reader gets a packet that is not full after this time; 0 for 100 ms
 * @watermark: pollers are told when this many packets are complete, or after @latency_ms; 0 for 1
 * @ops: may be NULL
 * @priv: first argument of the operations
 */
struct relayfs_channel_attr {
	struct module *owner;
	unsigned int flags;
	u32 stream_id;
	uuid_t uuid;
	size_t subbuf_size;
	size_t n_subbufs;
	size_t n_subbufs_max;
	unsigned int latency_ms;
	unsigned int watermark;
	const struct relayfs_channel_ops *ops;
	void *priv;
};

/* Records of one stream: produced = read + pending + overwritten + all of lost. */
struct relayfs_stream_stats {
	u64 produced;
	u64 read;
	u64 pending;
	u64 overwritten;
	u64 lost[LTT3_LOST_REASONS];
	u64 bytes;			/* handed to readers */
	u64 packets;			/* closed */
};

enum relayfs_state { RELAYFS_IDLE, RELAYFS_RUNNING, RELAYFS_STOPPED, RELAYFS_DEAD };

struct relayfs_channel *relayfs_channel_open(const struct relayfs_channel_attr *attr);
void relayfs_channel_close(struct relayfs_channel *chan);
void relayfs_channel_put(struct relayfs_channel *chan);
int relayfs_channel_configure(struct relayfs_channel *chan, unsigned int flags, size_t subbuf_size, size_t n_subbufs);
int relayfs_channel_set_max(struct relayfs_channel *chan, size_t n_subbufs_max);
void relayfs_channel_set_wakeup(struct relayfs_channel *chan, unsigned int watermark, unsigned int latency_ms);
int relayfs_channel_start(struct relayfs_channel *chan);
void relayfs_channel_stop(struct relayfs_channel *chan);
void relayfs_channel_flush(struct relayfs_channel *chan);
int relayfs_channel_reset(struct relayfs_channel *chan);
int relayfs_channel_snapshot(struct relayfs_channel *chan, bool discard);
bool relayfs_channel_turn(struct relayfs_channel *chan);
void relayfs_channel_finish_turn(struct relayfs_channel *chan);
void relayfs_channel_freeze(struct relayfs_channel *chan);
void relayfs_channel_seal(struct relayfs_channel *chan);
int relayfs_channel_resize(struct relayfs_channel *chan, size_t n_subbufs);
void *relayfs_writer_priv(const struct relayfs_writer *w);
void relayfs_channel_count_missed(struct relayfs_channel *chan, u64 n);
size_t relayfs_channel_n_subbufs(struct relayfs_channel *chan);
enum relayfs_state relayfs_channel_state(struct relayfs_channel *chan);
const char *relayfs_state_name(enum relayfs_state state);
const char *relayfs_channel_error(struct relayfs_channel *chan);
bool relayfs_channel_stats(struct relayfs_channel *chan, int cpu, struct relayfs_stream_stats *stats);
void relayfs_channel_show_stats(struct relayfs_channel *chan, struct seq_file *m);

/* ------------------------------------------------------------------------------------------------------- files --- */

/**
 * struct relayfs_object - what files stand for: counted, as an open file outlives its name
 * @ref: one for the owner, one for every inode
 * @release: frees it; the owner's module stays loaded until this has returned
 * @refused: told why a write to one of its attributes never came to the client's store; may be NULL
 * @owner: its module
 */
struct relayfs_object {
	struct kref ref;
	void (*release)(struct relayfs_object *obj);
	void (*refused)(struct relayfs_object *obj, const char *why);
	struct module *owner;
};

bool relayfs_object_init(struct relayfs_object *obj, struct module *owner, void (*release)(struct relayfs_object *obj));
void relayfs_object_get(struct relayfs_object *obj);
void relayfs_object_put(struct relayfs_object *obj);

/**
 * struct relayfs_attribute - a small file of text
 * @name: the file's name
 * @mode: 0400, 0200 or 0600; the mount options widen it
 * @show: prints the content
 * @store: one write(2) of at most @max bytes, ended by NUL; returns 0 or a negative errno
 * @max: longest write, RELAYFS_STORE_MAX if 0
 */
struct relayfs_attribute {
	const char *name;
	umode_t mode;
	int (*show)(struct relayfs_object *obj, struct seq_file *m);
	int (*store)(struct relayfs_object *obj, char *text, size_t len);
	size_t max;
};

#define RELAYFS_STORE_MAX 65536

/**
 * struct relayfs_client - a directory of its own below the mount point
 * @name: of the directory
 * @owner: the client's module
 * @populate: makes the files of the directory itself; may be NULL
 * @mkdir: makes the object behind a new directory, or returns an ERR_PTR; NULL if users make no directories here
 * @fill: makes the files of that directory
 * @rmdir: ends the object's work, as its directory goes; returns a negative errno to refuse
 */
struct relayfs_client {
	const char *name;
	struct module *owner;
	int (*populate)(struct relayfs_dir *dir);
	struct relayfs_object *(*mkdir)(const char *name);
	int (*fill)(struct relayfs_dir *dir, struct relayfs_object *obj);
	int (*rmdir)(struct relayfs_object *obj);

	/* private: */
	struct relayfs_dir *dir;
};

void relayfs_show_metadata(struct seq_file *m, const char *session, const uuid_t *uuid, s64 wall_offset);
int relayfs_register_client(struct relayfs_client *client);
void relayfs_unregister_client(struct relayfs_client *client);
int relayfs_make_directory(struct relayfs_client *client, const char *name);
int relayfs_create_attributes(struct relayfs_dir *dir, const struct relayfs_attribute *attrs, size_t n,
			      struct relayfs_object *obj);
int relayfs_create_file(struct relayfs_dir *dir, const char *name, umode_t mode, const struct file_operations *fops,
			struct relayfs_object *obj, const void *data);
const void *relayfs_file_data(const struct inode *inode);
int relayfs_create_streams(struct relayfs_dir *dir, struct relayfs_channel *chan, const char *name);
int relayfs_create_rings(struct relayfs_dir *dir, struct relayfs_channel *chan, const char *name);

/* -------------------------------------------------------------------------------------------------------- logs --- */

/**
 * struct relayfs_log_ops - what a client does as its log starts and stops; one request at a time, each may be NULL
 * @start: the channel runs; returns 0 or a negative errno
 * @stop: the channel still runs; when it returns nothing more may be written
 * @renew: what is written from now on belongs to another trace; the channel does not run
 */
struct relayfs_log_ops {
	int (*start)(void);
	void (*stop)(void);
	void (*renew)(void);
};

/**
 * struct relayfs_log_attr - a client with one channel, in a directory that is there while its module is loaded
 * @name: of the directory, and of the stream files up to the CPU
 * @owner: the client's module
 * @flags: of the channel: RELAYFS_GLOBAL, RELAYFS_PATIENT
 * @stream_id: of the channel
 * @subbuf_size: of the channel
 * @n_subbufs: of the channel
 * @n_subbufs_max: of the channel
 * @files: what is in the directory besides control, stats, error, uuid, metadata, the sizes and the streams
 * @n_files: how many
 * @ops: may be NULL
 * @channel_ops: may be NULL; called with NULL
 */
struct relayfs_log_attr {
	const char *name;
	struct module *owner;
	unsigned int flags;
	u32 stream_id;
	size_t subbuf_size;
	size_t n_subbufs;
	size_t n_subbufs_max;
	const struct relayfs_attribute *files;
	size_t n_files;
	const struct relayfs_log_ops *ops;
	const struct relayfs_channel_ops *channel_ops;
};

struct relayfs_log;

struct relayfs_log *relayfs_log_open(const struct relayfs_log_attr *attr);
int relayfs_log_publish(struct relayfs_log *log);
void relayfs_log_close(struct relayfs_log *log);
int relayfs_log_start(struct relayfs_log *log);
struct relayfs_channel *relayfs_log_channel(struct relayfs_log *log);
__printf(3, 4) int relayfs_log_refuse(struct relayfs_log *log, int err, const char *why, ...);

#endif
