// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels: their life, from open to close.
 *
 * Locks, outermost first: the channel's mutex, cpus_read_lock, a stream's mutex. mkdir and rmdir hold inode locks around
 * them; nothing here takes one.
 */
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "internal.h"

#define MAX_SUBBUF_SIZE	(64UL << 20)

/* ------------------------------------------------------------------------------------------------- small helpers --- */

/* Notes why a request is refused, for relayfs_channel_error(). */
int relayfs_refuse(struct relayfs_channel *chan, int err, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	vsnprintf(chan->error, sizeof(chan->error), why, args);
	va_end(args);
	return err;
}

struct writer_call {
	struct relayfs_writer *writer;
	void (*fn)(void *info);
	void *info;
};

/* To a record that comes in between, in an NMI or by a tracepoint in what @fn calls, this looks like a record. */
static void run_guarded(void *info)
{
	const struct writer_call *call = info;

	call->writer->limit = 0;
	barrier();
	call->fn(call->info);
	barrier();
	call->writer->limit = call->writer->packet_limit;
}

/* Runs @fn as the only one that touches the writer: on its CPU, or for it while it is offline. cpus_read_lock held. */
void relayfs_on_writer(struct relayfs_stream *s, void (*fn)(void *info), void *info)
{
	bool global = s->chan->attr.flags & RELAYFS_GLOBAL;
	struct relayfs_writer *w = s->writer;
	struct writer_call call = { w, fn, info };
	unsigned long flags;

	if (!global && cpu_online(s->cpu) && !smp_call_function_single(s->cpu, run_guarded, &call, 1))
		return;
	raw_spin_lock_irqsave(&w->lock, flags);
	w->owner = raw_smp_processor_id() + 1;
	run_guarded(&call);
	w->owner = 0;
	raw_spin_unlock_irqrestore(&w->lock, flags);
}

/* The clock's offset can be read exactly only where the timekeeper may be asked: not in a probe. */
void relayfs_note_clock(struct relayfs_channel *chan)
{
	atomic64_set(&chan->wall_offset, ktime_to_ns(ktime_mono_to_real(0)));
}

/* Tells waiters to look again; from any context. */
void relayfs_news(struct relayfs_stream *s)
{
	atomic_inc(&s->news);
	smp_mb__after_atomic();	/* pairs with that of the wait: a reader sees the news, or is seen waiting */
	if (waitqueue_active(&s->wait))
		irq_work_queue(&s->wake);
}

static void wake_readers(struct irq_work *work)
{
	struct relayfs_stream *s = container_of(work, struct relayfs_stream, wake);

	wake_up_interruptible(&s->wait);
}

/* -------------------------------------------------------------------------------------------------------- flush --- */

/* Not once it has stopped: then the last words are the reader's, see make_final(). */
static void close_for_flush(void *writer)
{
	struct relayfs_writer *w = writer;

	if (w->running)
		relayfs_close_packet(w, true);
}

void relayfs_flush_stream(struct relayfs_stream *s)
{
	struct relayfs_writer *w = s->writer;

	relayfs_note_clock(s->chan);
	if (relayfs_records(w) || relayfs_discarded(w) + READ_ONCE(w->overwritten) != READ_ONCE(w->reported)) {
		cpus_read_lock();
		relayfs_on_writer(s, close_for_flush, w);
		cpus_read_unlock();
	}
	relayfs_news(s);
}

/* Armed by whoever begins to wait; goes on while somebody waits. */
static void flush_for_waiter(struct work_struct *work)
{
	struct relayfs_stream *s = container_of(to_delayed_work(work), struct relayfs_stream, flush);

	if (!wq_has_sleeper(&s->wait))
		return;
	if (READ_ONCE(s->chan->state) == RELAYFS_RUNNING && !(s->chan->attr.flags & RELAYFS_FLIGHT)) {
		mutex_lock(&s->lock);
		s->due = relayfs_worth_reading(s);
		mutex_unlock(&s->lock);
		if (s->due)
			relayfs_news(s);
		else
			relayfs_flush_stream(s);
	}
	queue_delayed_work(relayfs_wq, &s->flush, msecs_to_jiffies(s->chan->attr.latency_ms));
}

/**
 * relayfs_channel_flush() - close the packets that have records, or news of losses
 * @chan: the channel; nothing happens if it is not running
 */
void relayfs_channel_flush(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;

	mutex_lock(&chan->lock);
	if (chan->state == RELAYFS_RUNNING)
		relayfs_for_each_stream(s, i, chan)
			relayfs_flush_stream(s);
	mutex_unlock(&chan->lock);
}
EXPORT_SYMBOL_GPL(relayfs_channel_flush);

/* ---------------------------------------------------------------------------------------------- start and stop --- */

static void let_run(void *writer)
{
	struct relayfs_writer *w = writer;

	w->ring = w->stream->live;
	w->buf = relayfs_ring_buf(w->ring, w->stream->cpu);
	w->running = true;
}

static void let_stop(void *writer)
{
	struct relayfs_writer *w = writer;

	w->running = false;
	relayfs_close_packet(w, false);
}

/**
 * relayfs_channel_start() - let records in
 * @chan: the channel
 *
 * Return: 0; -EBUSY if it is running, or if a flight recorder's last recording has not been read; -ENOMEM, with the
 * reason in relayfs_channel_error().
 */
int relayfs_channel_start(struct relayfs_channel *chan)
{
	bool flight = chan->attr.flags & RELAYFS_FLIGHT;
	struct relayfs_stream *s;
	unsigned int i;
	int err = 0;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	relayfs_claim_rings(chan);
	if (chan->state == RELAYFS_RUNNING) {
		err = relayfs_refuse(chan, -EBUSY, "it is running already");
		goto unlock;
	}
	relayfs_note_clock(chan);
	if (flight && chan->ring && chan->state == RELAYFS_STOPPED) {
		relayfs_for_each_stream(s, i, chan) {
			struct rchan_buf *buf = relayfs_ring_buf(s->live, s->cpu);

			if (s->drain || (buf && relayfs_ring_oldest(s->live, buf) != buf->subbufs_produced))
				err = relayfs_refuse(chan, -EBUSY, "the last recording has not been read: read it, or reset");
		}
		if (err)
			goto unlock;
	}
	if (!chan->ring) {
		struct relayfs_ring *ring = relayfs_ring_open(chan, chan->attr.n_subbufs, flight ? 2 : 1);

		if (IS_ERR(ring)) {
			err = PTR_ERR(ring);
			goto unlock;
		}
		chan->ring = ring;
	}
	err = flight ? relayfs_make_spare(chan) : 0;
	if (err) {
		if (chan->state == RELAYFS_IDLE) {	/* it still is, and may be configured */
			relayfs_ring_put(chan->ring);
			chan->ring = NULL;
		}
		goto unlock;
	}
	WRITE_ONCE(chan->state, RELAYFS_RUNNING);
	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		s->live = chan->ring;
		relayfs_on_writer(s, let_run, s->writer);
		mutex_unlock(&s->lock);
		relayfs_news(s);
	}
	if (chan->attr.n_subbufs_max && !flight)
		queue_delayed_work(relayfs_wq, &chan->resize, HZ);
unlock:
	relayfs_release_rings(chan);
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_start);

/**
 * relayfs_channel_stop() - let no more records in
 * @chan: the channel; nothing happens if it is not running
 *
 * When it returns no record is being written, the last packets are closed, and readers get what is left and then
 * end-of-file. A later start goes on in the same streams.
 */
void relayfs_channel_stop(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;

	mutex_lock(&chan->lock);
	if (chan->state == RELAYFS_RUNNING) {
		cpus_read_lock();
		relayfs_claim_rings(chan);
		relayfs_note_clock(chan);
		relayfs_for_each_stream(s, i, chan)
			relayfs_on_writer(s, let_stop, s->writer);
		WRITE_ONCE(chan->state, RELAYFS_STOPPED);
		relayfs_release_rings(chan);
		cpus_read_unlock();
		relayfs_for_each_stream(s, i, chan)
			relayfs_news(s);
	}
	mutex_unlock(&chan->lock);
	cancel_delayed_work_sync(&chan->resize);
}
EXPORT_SYMBOL_GPL(relayfs_channel_stop);

/**
 * relayfs_channel_freeze() - stop writing at once, from any context, without locks
 * @chan: the channel
 *
 * For a panic or a trigger: two stores a CPU. What a CPU is writing at this moment it still writes, and no more. Use
 * relayfs_channel_stop() afterwards where that is possible.
 */
void relayfs_channel_freeze(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;

	relayfs_for_each_stream(s, i, chan)
		WRITE_ONCE(s->writer->running, false);
	smp_mb();	/* pairs with the one in open_packet() */
	relayfs_for_each_stream(s, i, chan)
		WRITE_ONCE(s->writer->end, NULL);
}
EXPORT_SYMBOL_GPL(relayfs_channel_freeze);

/**
 * relayfs_channel_seal() - make the open packets readable where they are, without locks
 * @chan: the channel, frozen, on a machine that will not go on
 *
 * For a panic, whose other CPUs are stopped or about to be: a record that one of them was in the middle of is left out.
 */
void relayfs_channel_seal(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;

	relayfs_for_each_stream(s, i, chan)
		relayfs_seal_packet(s->writer);
}
EXPORT_SYMBOL_GPL(relayfs_channel_seal);

/* ----------------------------------------------------------------------------------------------- open and close --- */

static void free_channel(struct relayfs_object *obj)
{
	struct relayfs_channel *chan = container_of(obj, struct relayfs_channel, obj);
	unsigned int i;

	for (i = 0; i < chan->n_streams; i++) {
		struct relayfs_stream *s = chan->streams[i];

		if (!s)
			continue;
		/* The last close has done so; relayfs_channel_set_wakeup() may have queued it again just then. */
		cancel_delayed_work_sync(&s->flush);
		irq_work_sync(&s->wake);
		kfree(s);
	}
	free_percpu(chan->head.writers);
	kfree(chan->head.global);
	kvfree(chan);
}

static void init_writer(struct relayfs_writer *w, struct relayfs_stream *s)
{
	raw_spin_lock_init(&w->lock);
	w->limit = U64_MAX;
	w->packet_limit = U64_MAX;
	w->stream = s;
}

static struct relayfs_stream *make_stream(struct relayfs_channel *chan, int cpu)
{
	struct relayfs_stream *s = kzalloc_node(sizeof(*s), GFP_KERNEL, cpu_to_node(cpu));

	if (!s)
		return NULL;
	s->chan = chan;
	s->cpu = cpu;
	s->writer = chan->head.global ?: per_cpu_ptr(chan->head.writers, cpu);
	mutex_init(&s->lock);
	init_waitqueue_head(&s->wait);
	INIT_LIST_HEAD(&s->loans);
	init_irq_work(&s->wake, wake_readers);
	INIT_DELAYED_WORK(&s->flush, flush_for_waiter);
	init_writer(s->writer, s);
	return s;
}

int relayfs_check_sizes(struct relayfs_channel *chan, size_t subbuf_size, size_t n_subbufs, size_t n_subbufs_max)
{
	if (subbuf_size < PAGE_SIZE || subbuf_size % PAGE_SIZE || subbuf_size > MAX_SUBBUF_SIZE)
		return relayfs_refuse(chan, -EINVAL, "subbuf_size is %zu, and should be a multiple of %lu up to %lu",
			      subbuf_size, PAGE_SIZE, MAX_SUBBUF_SIZE);
	if (n_subbufs < 2 || n_subbufs > RELAYFS_MAX_SUBBUFS)
		return relayfs_refuse(chan, -EINVAL, "n_subbufs is %zu, and should be 2 to %lu", n_subbufs, RELAYFS_MAX_SUBBUFS);
	if (n_subbufs_max > RELAYFS_MAX_SUBBUFS)
		return relayfs_refuse(chan, -EINVAL, "n_subbufs_max is %zu, and should be at most %lu", n_subbufs_max,
			      RELAYFS_MAX_SUBBUFS);
	if ((u64)subbuf_size * max(n_subbufs, n_subbufs_max) > UINT_MAX)
		return relayfs_refuse(chan, -EINVAL, "subbuf_size times n_subbufs is %llu, and should be below 4 GiB",
			      (u64)subbuf_size * max(n_subbufs, n_subbufs_max));
	return 0;
}

/**
 * relayfs_channel_open() - make a channel; its memory is allocated at the first start
 * @attr: what it is like; copied
 *
 * Return: the channel, or -EINVAL, -ENOMEM, -ENODEV (the owner is being unloaded) as ERR_PTR.
 */
struct relayfs_channel *relayfs_channel_open(const struct relayfs_channel_attr *attr)
{
	unsigned int n = attr->flags & RELAYFS_GLOBAL ? 1 : nr_cpu_ids;
	struct relayfs_channel *chan = kvzalloc(struct_size(chan, streams, n), GFP_KERNEL);
	unsigned int i;
	int err;

	if (!chan)
		return ERR_PTR(-ENOMEM);
	chan->attr = *attr;
	chan->attr.latency_ms = attr->latency_ms ?: 100;
	chan->attr.watermark = attr->watermark ?: 1;
	chan->n_subbufs_min = attr->n_subbufs;
	chan->n_streams = n;
	mutex_init(&chan->lock);
	INIT_DELAYED_WORK(&chan->resize, relayfs_resize_to_need);
	init_irq_work(&chan->pressure, relayfs_feel_pressure);
	chan->template.stream_id = attr->stream_id;
	chan->template.magic = LTT3_MAGIC;
	chan->template.major = LTT3_MAJOR;
	chan->template.minor = LTT3_MINOR;
	chan->template.header_size = LTT3_HEADER_SIZE;
	memcpy(chan->template.uuid, &attr->uuid, sizeof(chan->template.uuid));
	if (!relayfs_object_init(&chan->obj, attr->flags & RELAYFS_STATIC ? NULL : attr->owner, free_channel)) {
		kvfree(chan);
		return ERR_PTR(-ENODEV);
	}
	err = relayfs_check_sizes(chan, attr->subbuf_size, attr->n_subbufs, attr->n_subbufs_max);
	if (err)
		goto put;
	err = -ENOMEM;
	if (attr->flags & RELAYFS_GLOBAL)
		chan->head.global = kzalloc(sizeof(*chan->head.global), GFP_KERNEL);
	else
		chan->head.writers = alloc_percpu(struct relayfs_writer);
	if (!chan->head.global && !chan->head.writers)
		goto put;
	for (i = 0; i < n; i++) {
		if (!(attr->flags & RELAYFS_GLOBAL) && !cpu_possible(i))
			continue;
		chan->streams[i] = make_stream(chan, i);
		if (!chan->streams[i])
			goto put;
	}
	relayfs_note_clock(chan);
	return chan;
put:
	relayfs_object_put(&chan->obj);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_GPL(relayfs_channel_open);

/**
 * relayfs_channel_configure() - change what a channel is like, before its first start
 * @chan: the channel
 * @flags: RELAYFS_FLIGHT or 0
 * @subbuf_size: as in struct relayfs_channel_attr
 * @n_subbufs: as there
 *
 * Return: 0, -EINVAL, or -EBUSY after the first start, with the reason in relayfs_channel_error().
 */
int relayfs_channel_configure(struct relayfs_channel *chan, unsigned int flags, size_t subbuf_size, size_t n_subbufs)
{
	unsigned int fixed = chan->attr.flags & ~RELAYFS_FLIGHT;
	int err;

	mutex_lock(&chan->lock);
	err = relayfs_check_sizes(chan, subbuf_size, n_subbufs, chan->attr.n_subbufs_max);
	if (err)
		goto unlock;
	if (chan->ring && ((flags | fixed) != chan->attr.flags || subbuf_size != chan->attr.subbuf_size ||
			   n_subbufs != chan->attr.n_subbufs)) {
		err = relayfs_refuse(chan, -EBUSY, "it has been started: mode and subbuf_size are fixed");
		goto unlock;
	}
	chan->attr.flags = flags | fixed;
	chan->attr.subbuf_size = subbuf_size;
	chan->attr.n_subbufs = n_subbufs;
	if (!chan->ring)
		chan->n_subbufs_min = n_subbufs;
unlock:
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_configure);

/**
 * relayfs_channel_set_max() - how far the channel may grow by itself, at any time
 * @chan: the channel
 * @n_subbufs_max: as in struct relayfs_channel_attr; what has grown beyond it does not shrink at once
 *
 * Return: 0 or -EINVAL, with the reason in relayfs_channel_error().
 */
int relayfs_channel_set_max(struct relayfs_channel *chan, size_t n_subbufs_max)
{
	int err;

	mutex_lock(&chan->lock);
	err = relayfs_check_sizes(chan, chan->attr.subbuf_size, chan->attr.n_subbufs, n_subbufs_max);
	if (!err) {
		chan->attr.n_subbufs_max = n_subbufs_max;
		if (chan->state == RELAYFS_RUNNING && n_subbufs_max && !(chan->attr.flags & RELAYFS_FLIGHT))
			queue_delayed_work(relayfs_wq, &chan->resize, HZ);
	}
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_set_max);

/**
 * relayfs_channel_set_wakeup() - when those who wait for packets are told, at any time
 * @chan: the channel
 * @watermark: as in struct relayfs_channel_attr
 * @latency_ms: as there
 */
void relayfs_channel_set_wakeup(struct relayfs_channel *chan, unsigned int watermark, unsigned int latency_ms)
{
	struct relayfs_stream *s;
	unsigned int i;

	WRITE_ONCE(chan->attr.watermark, watermark ?: 1);
	WRITE_ONCE(chan->attr.latency_ms, latency_ms ?: 100);
	/* For those who wait already as well. */
	relayfs_for_each_stream(s, i, chan)
		if (delayed_work_pending(&s->flush))
			mod_delayed_work(relayfs_wq, &s->flush, msecs_to_jiffies(chan->attr.latency_ms));
}
EXPORT_SYMBOL_GPL(relayfs_channel_set_wakeup);

static void detach_writer(void *writer)
{
	struct relayfs_writer *w = writer;

	w->ring = NULL;
	w->buf = NULL;
}

/**
 * relayfs_channel_close() - end a channel
 * @chan: the channel; nobody writes to it any more
 *
 * Files that are open get end-of-file. relayfs_channel_put() frees it, once the last inode of its files is gone too.
 */
void relayfs_channel_close(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;

	relayfs_channel_stop(chan);
	mutex_lock(&chan->lock);
	WRITE_ONCE(chan->state, RELAYFS_DEAD);
	cpus_read_lock();
	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		relayfs_on_writer(s, detach_writer, s->writer);
		while (s->drain)
			relayfs_end_drain(s);
		s->live = NULL;
		mutex_unlock(&s->lock);
		relayfs_news(s);
	}
	cpus_read_unlock();
	relayfs_ring_put(chan->ring);
	chan->ring = NULL;
	relayfs_ring_put(chan->spare);
	chan->spare = NULL;
	mutex_unlock(&chan->lock);
	irq_work_sync(&chan->pressure);
	cancel_delayed_work_sync(&chan->resize);
	relayfs_for_each_stream(s, i, chan)
		wake_up_interruptible(&s->wait);
}
EXPORT_SYMBOL_GPL(relayfs_channel_close);

/**
 * relayfs_channel_put() - give the client's reference back
 * @chan: the channel, closed
 *
 * Apart from relayfs_channel_close() because a client's own files may still ask a closed channel for its state.
 */
void relayfs_channel_put(struct relayfs_channel *chan)
{
	relayfs_object_put(&chan->obj);
}
EXPORT_SYMBOL_GPL(relayfs_channel_put);
