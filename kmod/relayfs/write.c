// SPDX-License-Identifier: GPL-2.0-only
/*
 * The write side behind the inline path of relayfs.h: packets begin and end, records are lost and counted.
 *
 * Everything here runs on the writer's CPU with irqs off, or on behalf of a CPU that is offline, or, for a global channel,
 * under the writer's lock. Nothing here may print, allocate, sleep or fault.
 */
#include <linux/export.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"

/* As relay marks a buffer that has no sub-buffer to write to. */
static bool buf_is_full(const struct relayfs_ring *ring, const struct rchan_buf *buf)
{
	return buf->offset == ring->subbuf_size + 1;
}

/* Records lost, for CTF's events_discarded. */
u64 relayfs_discarded(const struct relayfs_writer *w)
{
	u64 sum = 0;
	int i;

	for (i = 0; i < LTT3_LOST_REASONS; i++)
		sum += READ_ONCE(w->lost[i]);
	return sum;
}

/* Each reason is counted in one context only (NMI, nested in a record, or the writer itself), so needs no atomics. */
static void lose(struct relayfs_writer *w, enum ltt3_lost reason)
{
	WRITE_ONCE(w->lost[reason], w->lost[reason] + 1);
}

/* A record that was asked for, by the writer itself. */
static void lose_asked(struct relayfs_writer *w, enum ltt3_lost reason)
{
	w->produced++;
	w->before++;
	lose(w, reason);
}

/* For a global channel, whose lock was not to be had: other CPUs may be here as well. */
static void lose_anywhere(struct relayfs_writer *w, enum ltt3_lost reason)
{
	atomic64_inc((atomic64_t *)&w->lost[reason]);
}

/* What is known when a packet begins. */
void relayfs_fill_header(struct relayfs_writer *w, struct ltt3_packet_header *h, u64 now)
{
	struct relayfs_channel *chan = w->stream->chan;

	*h = chan->template;
	h->stream_instance_id = w->stream->cpu;
	h->cpu_id = chan->attr.flags & RELAYFS_GLOBAL ? raw_smp_processor_id() : w->stream->cpu;
	h->timestamp_begin = now;
	h->tid = current->pid;
	h->tgid = current->tgid;
	h->wall_offset = atomic64_read(&chan->wall_offset);
	if (chan->attr.ops && chan->attr.ops->packet_begin)
		chan->attr.ops->packet_begin(chan->attr.priv, h);
}

/* What is known when it ends: counters, and its number in the stream. */
void relayfs_finish_header(struct relayfs_writer *w, struct ltt3_packet_header *h)
{
	int i;

	h->packet_seq_num = w->seq++;
	h->overwritten = w->overwritten;
	for (i = 0; i < LTT3_LOST_REASONS; i++)
		(&h->lost_full)[i] = READ_ONCE(w->lost[i]);
	h->events_discarded = relayfs_discarded(w);
	w->reported = h->events_discarded + h->overwritten;
}

static void open_packet(struct relayfs_writer *w, u64 now)
{
	struct rchan_buf *buf = w->buf;
	struct relayfs_ring *ring = w->ring;
	struct ltt3_packet_header *h = buf->data;

	/* In flight mode the sub-buffer may hold a packet that nobody has read: it goes now, not when it was entered. */
	if (buf->subbufs_produced - buf->subbufs_consumed >= ring->n_subbufs)
		w->overwritten += h->records;
	relayfs_fill_header(w, h, now);
	w->cursor = (char *)h + LTT3_HEADER_SIZE;
	w->record = NULL;
	w->packet_limit = now + U32_MAX;
	w->event_ids = 0;
	w->before = w->produced;
	w->packet = true;
	WRITE_ONCE(w->end, (char *)h + ring->subbuf_size);
	/* pairs with relayfs_channel_freeze() and relayfs_channel_turn(): one of the two sees what the other did */
	smp_mb();
	if (unlikely(!READ_ONCE(w->running) || READ_ONCE(w->next)))
		WRITE_ONCE(w->end, NULL);
}

/* What the packet holds now, into its header. */
void relayfs_seal_header(struct relayfs_writer *w, struct ltt3_packet_header *h)
{
	size_t content = LTT3_HEADER_SIZE;

	if (w->record)
		content = (char *)w->record - (char *)h + w->record->length;
	h->content_size = content * 8;
	h->packet_size = ALIGN(content, 8) * 8;
	h->timestamp_end = w->last;
	h->event_ids = w->event_ids;
	h->records = relayfs_records(w);
}

/* In place, for whoever finds it in an image of the memory; the writer is at its end, perhaps in a record. */
void relayfs_seal_packet(struct relayfs_writer *w)
{
	struct ltt3_packet_header *h;

	if (!w->buf || !w->packet)
		return;
	h = w->buf->data;
	relayfs_seal_header(w, h);
	if (!READ_ONCE(w->limit) && w->record) {
		h->content_size = 8 * ((char *)w->record - (char *)h);
		h->packet_size = h->content_size;
		h->records--;
	}
	relayfs_finish_header(w, h);
}

static void close_packet(struct relayfs_writer *w)
{
	struct relayfs_channel *chan = w->stream->chan;
	struct rchan_buf *buf = w->buf;
	struct ltt3_packet_header *h = buf->data;
	size_t unread;

	relayfs_seal_header(w, h);
	relayfs_finish_header(w, h);
	if (chan->attr.ops && chan->attr.ops->packet_end)
		chan->attr.ops->packet_end(chan->attr.priv, h);
	w->published += h->records;
	w->packets++;
	w->packet = false;
	w->cursor = NULL;
	w->packet_limit = U64_MAX;
	WRITE_ONCE(w->end, NULL);

	/* relay counts the sub-buffer as produced before its own barrier: all of it must be there before. */
	smp_wmb();
	buf->offset = h->packet_size / 8;
	relay_switch_subbuf(buf, LTT3_HEADER_SIZE);

	unread = buf->subbufs_produced - buf->subbufs_consumed;
	if (chan->attr.n_subbufs_max && unread > w->ring->n_subbufs / 2 && !w->ring->flight)
		irq_work_queue(&chan->pressure);
	if (unread >= chan->attr.watermark && !w->ring->flight)
		relayfs_news(w->stream);
}

/**
 * relayfs_close_packet() - end the writer's packet, if it has one
 * @w: the writer
 * @even_empty: make a packet without records if counters have changed since the last packet and there is room
 */
void relayfs_close_packet(struct relayfs_writer *w, bool even_empty)
{
	if (!w->buf)
		return;
	if (!w->packet && even_empty && relayfs_discarded(w) + w->overwritten != w->reported) {
		if (buf_is_full(w->ring, w->buf) && !relay_switch_subbuf(w->buf, LTT3_HEADER_SIZE))
			return;
		w->last = max(w->last, ktime_get_mono_fast_ns());
		open_packet(w, w->last);
	}
	if (w->packet)
		close_packet(w);
}

/* What is written from now on goes to @ring; nothing happens if it does already. */
void relayfs_give_ring(struct relayfs_writer *w, struct relayfs_ring *ring)
{
	w->next = NULL;
	if (w->ring == ring)
		return;
	relayfs_close_packet(w, false);
	w->ring = ring;
	w->buf = relayfs_ring_buf(ring, w->stream->cpu);
}

/* Opens the next packet; false if the record is lost, counted. */
static bool make_room(struct relayfs_writer *w, size_t len)
{
	struct relayfs_ring *ring = READ_ONCE(w->next);

	if (unlikely(ring))
		relayfs_give_ring(w, ring);
	ring = w->ring;
	if (unlikely(!w->buf)) {
		/* The CPU came online after the ring was opened. */
		w->buf = relayfs_ring_buf(ring, w->stream->cpu);
		if (!w->buf) {
			lose_asked(w, LTT3_LOST_NO_BUFFER);
			return false;
		}
	}
	if (unlikely(len > LTT3_MAX_RECORD || len > ring->subbuf_size - LTT3_HEADER_SIZE)) {
		lose_asked(w, LTT3_LOST_TOO_BIG);
		return false;
	}
	if (w->packet)
		close_packet(w);
	if (buf_is_full(ring, w->buf)) {
		/* Cheap while it lasts: two loads and a compare, then relay's own slow path. */
		if (w->buf->subbufs_produced - READ_ONCE(w->buf->subbufs_consumed) >= ring->n_subbufs ||
		    !relay_switch_subbuf(w->buf, LTT3_HEADER_SIZE)) {
			if (!(w->stream->chan->attr.flags & RELAYFS_PATIENT))
				lose_asked(w, LTT3_LOST_FULL);	/* else it will be asked for again */
			return false;
		}
	}
	smp_rmb();	/* the reader's last look at the sub-buffer is before its count of it as consumed */
	open_packet(w, w->last);
	return true;
}

/**
 * relayfs_next_packet() - make room for a record that does not fit into the packet
 * @w: the writer
 * @len: its length, header included; its time is the writer's last
 * @limit: what the writer's limit was; 0 if this interrupts another record
 *
 * Return: where it goes, or NULL if it is lost, which has been counted.
 */
char *relayfs_next_packet(struct relayfs_writer *w, size_t len, u64 limit)
{
	if (unlikely(!limit)) {
		lose(w, in_nmi() ? LTT3_LOST_NMI : LTT3_LOST_NESTED);
		return NULL;
	}
	w->asked = len;
	if (likely(READ_ONCE(w->running) && w->ring) && make_room(w, len))
		return w->cursor;
	barrier();
	w->limit = w->packet_limit;
	return NULL;
}
EXPORT_SYMBOL_GPL(relayfs_next_packet);

/**
 * relayfs_writer_priv() - whose channel a record is written to
 * @w: the writer in a slot
 *
 * Return: priv of the channel's attributes.
 */
void *relayfs_writer_priv(const struct relayfs_writer *w)
{
	return w->stream->chan->attr.priv;
}
EXPORT_SYMBOL_GPL(relayfs_writer_priv);

/**
 * relayfs_reserve_global() - begin a record of a global channel
 * @chan: a channel with RELAYFS_GLOBAL
 * @slot: filled in, for relayfs_commit_global()
 * @id: the event's id
 * @size: bytes of payload
 *
 * Return: as relayfs_reserve(); between this and relayfs_commit_global() a raw spinlock is held.
 */
void *relayfs_reserve_global(struct relayfs_channel *chan, struct relayfs_slot *slot, u16 id, u32 size)
{
	struct relayfs_writer *w = chan->head.global;
	void *payload;

	local_irq_save(slot->flags);
	if (in_nmi()) {
		lose_anywhere(w, LTT3_LOST_NMI);
	} else if (READ_ONCE(w->owner) == raw_smp_processor_id() + 1) {
		lose_anywhere(w, LTT3_LOST_NESTED);
	} else {
		raw_spin_lock(&w->lock);
		w->owner = raw_smp_processor_id() + 1;
		payload = __relayfs_reserve(w, slot, ktime_get_mono_fast_ns(), id, LTT3_RECORD_HEADER_SIZE + size);
		if (payload)
			return payload;
		w->owner = 0;
		raw_spin_unlock(&w->lock);
	}
	local_irq_restore(slot->flags);
	return NULL;
}
EXPORT_SYMBOL_GPL(relayfs_reserve_global);

/**
 * relayfs_commit_global() - end a record of a global channel
 * @slot: as relayfs_reserve_global() filled it in
 */
void relayfs_commit_global(struct relayfs_slot *slot)
{
	barrier();
	slot->writer->limit = slot->writer->packet_limit;
	slot->writer->owner = 0;
	raw_spin_unlock(&slot->writer->lock);
	local_irq_restore(slot->flags);
}
EXPORT_SYMBOL_GPL(relayfs_commit_global);

/**
 * relayfs_count_lost_global() - count records that were lost before they could be asked for
 * @chan: a channel with RELAYFS_GLOBAL
 * @reason: why
 * @n: how many
 */
void relayfs_count_lost_global(struct relayfs_channel *chan, enum ltt3_lost reason, u64 n)
{
	struct relayfs_writer *w = chan->head.global;
	unsigned long flags;

	raw_spin_lock_irqsave(&w->lock, flags);
	w->produced += n;
	w->before += n;
	WRITE_ONCE(w->lost[reason], w->lost[reason] + n);
	raw_spin_unlock_irqrestore(&w->lock, flags);
}
EXPORT_SYMBOL_GPL(relayfs_count_lost_global);

/**
 * relayfs_write() - write a record whose payload is ready
 * @chan: any channel
 * @id: the event's id
 * @payload: to be copied; must not fault
 * @size: its bytes
 *
 * Return: false if the record is lost, which has been counted.
 */
bool relayfs_write(struct relayfs_channel *chan, u16 id, const void *payload, u32 size)
{
	struct relayfs_slot slot;
	void *to;

	if (chan->head.global) {
		to = relayfs_reserve_global(chan, &slot, id, size);
		if (!to)
			return false;
		memcpy(to, payload, size);
		relayfs_commit_global(&slot);
		return true;
	}
	to = relayfs_reserve(chan, &slot, id, size);
	if (!to)
		return false;
	memcpy(to, payload, size);
	relayfs_commit(&slot);
	return true;
}
EXPORT_SYMBOL_GPL(relayfs_write);
