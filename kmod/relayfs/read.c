// SPDX-License-Identifier: GPL-2.0-only
/*
 * The read side: a stream's file hands out complete packets, in order, each byte once.
 *
 * First what is left of an old ring (the drain: a snapshot, or what was recorded before a resize), then, unless it is a
 * running flight recorder, the live ring, and after a stop one packet without records if records were lost after the
 * last. A sub-buffer is free for the writer, and its records count as read, when its last byte has been copied.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "internal.h"

/* The oldest sub-buffer that has not been handed out whole. */
static size_t unread(struct relayfs_stream *s, struct relayfs_ring *ring, struct rchan_buf *buf)
{
	return relayfs_ring_oldest(ring, buf) + relayfs_lent(s, ring);
}

/* Sub-buffers of the drain that nobody has read. */
size_t relayfs_drain_left(struct relayfs_stream *s)
{
	struct rchan_buf *buf = relayfs_ring_buf(s->drain, s->cpu);

	return buf ? s->drain_limit - min(s->drain_limit, unread(s, s->drain, buf)) : 0;
}

/* Goes on to the next drain, if there is one. */
void relayfs_end_drain(struct relayfs_stream *s)
{
	relayfs_ring_put(s->drain);
	s->drain = NULL;
	if (s->n_later) {
		s->drain = s->later[0].ring;
		s->drain_limit = s->later[0].limit;
		s->n_later--;
		memmove(s->later, s->later + 1, s->n_later * sizeof(s->later[0]));
	}
	if (!s->final_due)	/* else it is of that */
		s->offset = 0;
}

static u64 count_records(struct relayfs_stream *s, struct relayfs_ring *ring, size_t from, size_t limit)
{
	struct rchan_buf *buf = relayfs_ring_buf(ring, s->cpu);
	u64 records = 0;

	for (; from < limit; from++)
		records += relayfs_ring_packet(ring, buf, from)->records;
	return records;
}

/* Throws away what is left of all drains, but for the packet that a reader is in the middle of. Returns its records. */
u64 relayfs_cut_drain(struct relayfs_stream *s)
{
	struct rchan_buf *buf = relayfs_ring_buf(s->drain, s->cpu);
	u64 records = 0;
	size_t keep;

	if (!buf)
		return 0;
	while (s->n_later) {
		struct relayfs_ring *ring = s->later[--s->n_later].ring;
		size_t oldest = relayfs_ring_oldest(ring, relayfs_ring_buf(ring, s->cpu));

		records += count_records(s, ring, oldest, s->later[s->n_later].limit);
		relayfs_ring_put(ring);
	}
	keep = unread(s, s->drain, buf) + (s->offset && !s->final_due && atomic_read(&s->open) ? 1 : 0);
	records += count_records(s, s->drain, keep, s->drain_limit);
	s->drain_limit = min(keep, s->drain_limit);
	if (!relayfs_drain_left(s))
		relayfs_end_drain(s);
	return records;
}

/* Counters moved after the last packet was closed: say so in a packet without records. */
static void make_final(struct relayfs_stream *s)
{
	struct relayfs_writer *w = s->writer;
	struct ltt3_packet_header *h = &s->final;

	w->last = max(w->last, ktime_get_mono_fast_ns());
	relayfs_fill_header(w, h, w->last);
	h->tid = -1;
	h->tgid = -1;
	h->flags = LTT3_PACKET_FINAL;
	h->timestamp_end = w->last;
	h->content_size = LTT3_HEADER_SIZE * 8;
	h->packet_size = LTT3_HEADER_SIZE * 8;
	relayfs_finish_header(w, h);
	w->packets++;
	s->final_due = true;
}

static bool ring_front(struct relayfs_stream *s, struct relayfs_ring *ring, size_t limit, struct relayfs_packet *p)
{
	struct rchan_buf *buf = relayfs_ring_buf(ring, s->cpu);
	size_t oldest, next;

	if (!buf)
		return false;
	oldest = relayfs_ring_oldest(ring, buf);
	next = oldest + relayfs_lent(s, ring);
	if (next >= limit || next == READ_ONCE(buf->subbufs_produced))
		return false;
	smp_rmb();	/* pairs with the barrier before the writer counts the sub-buffer as produced */
	buf->subbufs_consumed = oldest;
	p->ring = ring;
	p->buf = buf;
	p->header = relayfs_ring_packet(ring, buf, next);
	return true;
}

enum relayfs_front relayfs_front(struct relayfs_stream *s, struct relayfs_packet *p)
{
	struct relayfs_channel *chan = s->chan;
	enum relayfs_state state = READ_ONCE(chan->state);
	struct relayfs_writer *w = s->writer;

	p->ring = NULL;
	p->header = &s->final;
	if (state == RELAYFS_DEAD)
		return RELAYFS_FRONT_END;
	/* Made when all had been read: whatever there is now was written after it. */
	if (s->final_due)
		return RELAYFS_FRONT_PACKET;
	while (s->drain) {
		if (ring_front(s, s->drain, s->drain_limit, p))
			return RELAYFS_FRONT_PACKET;
		relayfs_end_drain(s);
	}
	if (s->snapshot_end)
		return RELAYFS_FRONT_END;
	if (!(chan->attr.flags & RELAYFS_FLIGHT) || state == RELAYFS_STOPPED) {
		if (s->live && ring_front(s, s->live, SIZE_MAX, p))
			return RELAYFS_FRONT_PACKET;
	}
	if (state != RELAYFS_STOPPED)
		return RELAYFS_FRONT_NOTHING_YET;
	if (!READ_ONCE(w->running) && relayfs_discarded(w) + w->overwritten != s->told) {
		make_final(s);
		return RELAYFS_FRONT_PACKET;
	}
	return RELAYFS_FRONT_END;
}

/* A part of the packet at the front, perhaps its last. */
void relayfs_handed_out(struct relayfs_stream *s, const struct relayfs_packet *p, size_t n)
{
	s->offset += n;
	s->bytes += n;
	if (s->offset != p->header->packet_size / 8)
		return;
	s->read += p->header->records;
	s->told = p->header->events_discarded + p->header->overwritten;
	s->offset = 0;
	if (p->ring)
		relayfs_hand_back(s, p->ring, p->buf);
	else
		s->final_due = false;
}

/* A request got @done bytes, and what it found then at the front was @front. */
void relayfs_read_ends(struct relayfs_stream *s, ssize_t done, enum relayfs_front front)
{
	if (!done && front == RELAYFS_FRONT_END)
		s->snapshot_end = false;
	if (front == RELAYFS_FRONT_NOTHING_YET)
		s->due = false;
}

/* Is a packet complete? Under the stream's lock. */
bool relayfs_worth_reading(struct relayfs_stream *s)
{
	struct relayfs_packet p;

	return relayfs_front(s, &p) == RELAYFS_FRONT_PACKET;
}

/* Does what is there reach the watermark? Nothing more comes of a drain or a stopped channel, so that always does. */
static bool enough(struct relayfs_stream *s, const struct relayfs_packet *p)
{
	return s->due || !p->ring || p->ring != s->live || READ_ONCE(s->chan->state) != RELAYFS_RUNNING ||
	       READ_ONCE(p->buf->subbufs_produced) - unread(s, p->ring, p->buf) >= READ_ONCE(s->chan->attr.watermark);
}

static void arm_flush(struct relayfs_stream *s)
{
	queue_delayed_work(relayfs_wq, &s->flush, msecs_to_jiffies(s->chan->attr.latency_ms));
}

/* Until there is more news than @news. Returns 0, -EAGAIN for who does not wait, or -ERESTARTSYS. */
int relayfs_wait(struct relayfs_stream *s, int news, bool nonblock)
{
	arm_flush(s);
	if (nonblock)
		return -EAGAIN;
	return wait_event_interruptible(s->wait, atomic_read(&s->news) != news);
}

/*
 * Copies as many packets, and of the last as much, as there are and fit. Does not wait for a page of the reader's memory:
 * who provides it may take his time, and what starts, stops and counts would wait for the lock meanwhile.
 */
static size_t copy_packets(struct relayfs_stream *s, char __user *to, size_t count, enum relayfs_front *front)
{
	size_t done = 0;

	while (done < count) {
		struct relayfs_packet p;
		size_t size, n, left;

		*front = relayfs_front(s, &p);
		if (*front != RELAYFS_FRONT_PACKET)
			break;
		size = p.header->packet_size / 8;
		n = min(count - done, size - s->offset);
		pagefault_disable();
		left = copy_to_user(to + done, (char *)p.header + s->offset, n);
		pagefault_enable();
		n -= left;
		done += n;
		relayfs_handed_out(s, &p, n);
		if (left)
			*front = RELAYFS_FRONT_FAULT;
		if (left || fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return done;
}

static ssize_t stream_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	struct relayfs_stream *s = file->private_data;
	size_t done = 0;

	if (!count)
		return 0;
	relayfs_note_clock(s->chan);
	for (;;) {
		int news = atomic_read(&s->news);
		enum relayfs_front front = RELAYFS_FRONT_PACKET;
		int err;

		if (mutex_lock_interruptible(&s->lock))
			return done ?: -ERESTARTSYS;
		done += copy_packets(s, to + done, count - done, &front);
		relayfs_read_ends(s, done, front);
		mutex_unlock(&s->lock);
		if (front == RELAYFS_FRONT_FAULT) {
			if (put_user(0, to + done))
				return done ?: -EFAULT;
			continue;
		}
		if (done || front == RELAYFS_FRONT_END)
			return done;
		err = relayfs_wait(s, news, file->f_flags & O_NONBLOCK);
		if (err)
			return err;
	}
}

static __poll_t stream_poll(struct file *file, poll_table *table)
{
	struct relayfs_stream *s = file->private_data;
	struct relayfs_packet p;
	enum relayfs_front front;
	bool ready;

	poll_wait(file, &s->wait, table);
	mutex_lock(&s->lock);
	front = relayfs_front(s, &p);
	ready = front == RELAYFS_FRONT_PACKET && enough(s, &p);
	mutex_unlock(&s->lock);
	if (ready)
		return EPOLLIN | EPOLLRDNORM;
	if (front == RELAYFS_FRONT_END)
		return EPOLLIN | EPOLLRDNORM | (s->snapshot_end ? 0 : EPOLLHUP);
	arm_flush(s);
	return 0;
}

static int stream_open_file(struct inode *inode, struct file *file)
{
	struct relayfs_stream *s = (struct relayfs_stream *)relayfs_file_data(inode);

	if (!relayfs_pin_owner(inode))
		return -ENODEV;
	if (atomic_cmpxchg(&s->open, 0, 1)) {
		relayfs_unpin_owner(inode);
		return -EBUSY;
	}
	mutex_lock(&s->lock);
	s->offset = 0;	/* a packet that the last reader left half-read comes again, whole */
	mutex_unlock(&s->lock);
	file->private_data = s;
	return stream_open(inode, file);
}

static int stream_release(struct inode *inode, struct file *file)
{
	struct relayfs_stream *s = file->private_data;

	cancel_delayed_work_sync(&s->flush);
	atomic_set(&s->open, 0);
	relayfs_unpin_owner(inode);
	return 0;
}

const struct file_operations relayfs_stream_fops = {
	.owner = THIS_MODULE,
	.open = stream_open_file,
	.release = stream_release,
	.read = stream_read,
	.splice_read = relayfs_splice_read,
	.poll = stream_poll,
};
