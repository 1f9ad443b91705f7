// SPDX-License-Identifier: GPL-2.0-only
/*
 * Changes of ring: what resize, snapshot and reset come down to.
 *
 * A change ("flip") is made for each stream on its own CPU: the packet is closed, the writer gets the new ring, and the
 * reader finds the old one as the stream's drain, to be read out first. At most one flip waits for readers, unless a ring
 * grows: then each half as large one is read before the next.
 */
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/module.h>

#include "internal.h"

static unsigned int quiet_seconds = 10;
module_param(quiet_seconds, uint, 0644);
MODULE_PARM_DESC(quiet_seconds, "a ring that has grown becomes smaller when it was nearly empty for so long (default 10)");

struct flip {
	struct relayfs_writer *writer;
	struct relayfs_ring *ring;
};

static void flip_writer(void *info)
{
	struct flip *flip = info;

	relayfs_give_ring(flip->writer, flip->ring);
}

/*
 * Gives all writers @ring (one reference is used up); what they wrote to becomes the drain of each stream.
 * Caller holds the channel's mutex and cpus_read_lock, has claimed the rings of a flight recorder, and has seen to it that
 * there is room for a drain.
 */
static void flip_all(struct relayfs_channel *chan, struct relayfs_ring *ring, bool snapshot)
{
	struct relayfs_ring *old = chan->ring;
	struct relayfs_stream *s;
	unsigned int i;

	chan->ring = ring;
	relayfs_for_each_stream(s, i, chan) {
		struct flip flip = { s->writer, ring };
		struct rchan_buf *buf;

		mutex_lock(&s->lock);
		relayfs_on_writer(s, flip_writer, &flip);
		s->live = ring;
		buf = relayfs_ring_buf(old, s->cpu);
		if (buf) {
			relayfs_ring_get(old);
			if (s->drain) {
				s->later[s->n_later].ring = old;
				s->later[s->n_later++].limit = buf->subbufs_produced;
			} else {
				s->drain = old;
				s->drain_limit = buf->subbufs_produced;
			}
		}
		s->snapshot_end = snapshot;
		mutex_unlock(&s->lock);
		relayfs_news(s);
	}
	relayfs_ring_put(old);
}

/* Is a drain of an earlier flip still to be read? Empty ones are dropped. */
static bool drain_pending(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	bool pending = false;
	unsigned int i;

	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		while (s->drain && !relayfs_drain_left(s))
			relayfs_end_drain(s);
		pending |= !!s->drain;
		mutex_unlock(&s->lock);
	}
	return pending;
}

static bool room_for_drain(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	bool room = true;
	unsigned int i;

	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		room &= s->n_later < RELAYFS_MAX_DRAINS;
		mutex_unlock(&s->lock);
	}
	return room;
}

/* ------------------------------------------------------------------------------------------- turned by a trigger --- */

/**
 * relayfs_channel_turn() - let the writers of a flight recorder go on in the spare ring, at once and from any context
 * @chan: the channel
 *
 * For a trigger: two stores a CPU. Each writer turns at its next record; what it has written until then is a snapshot, which
 * readers get once relayfs_channel_finish_turn() was called, from where one may sleep.
 *
 * Return: false if that cannot be: it is no running flight recorder, an earlier snapshot has not been read, there was no
 * memory for a spare ring, or the rings are just being changed.
 */
bool relayfs_channel_turn(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i;
	bool able;

	if (atomic_cmpxchg(&chan->turn, RELAYFS_FREE, RELAYFS_TURNING) != RELAYFS_FREE)
		return false;
	able = chan->state == RELAYFS_RUNNING && (chan->attr.flags & RELAYFS_FLIGHT) && chan->spare;
	relayfs_for_each_stream(s, i, chan)
		able &= !READ_ONCE(s->drain);
	if (able) {
		relayfs_for_each_stream(s, i, chan)
			WRITE_ONCE(s->writer->next, chan->spare);
		smp_mb();	/* pairs with the one in open_packet() */
		relayfs_for_each_stream(s, i, chan)
			WRITE_ONCE(s->writer->end, NULL);
	}
	atomic_set_release(&chan->turn, able ? RELAYFS_TURNED : RELAYFS_FREE);
	return able;
}
EXPORT_SYMBOL_GPL(relayfs_channel_turn);

/*
 * The rings of a flight recorder are the caller's to change; what a trigger has begun is finished first. Caller holds the
 * channel's mutex and cpus_read_lock. A trigger turns with irqs off, so it is not waited for long.
 */
void relayfs_claim_rings(struct relayfs_channel *chan)
{
	struct relayfs_ring *ring;
	int was;

	while ((was = atomic_cmpxchg(&chan->turn, RELAYFS_FREE, RELAYFS_CLAIMED)) == RELAYFS_TURNING)
		cpu_relax();
	if (was == RELAYFS_TURNED) {
		ring = chan->spare;
		chan->spare = NULL;
		flip_all(chan, ring, true);
		atomic_set(&chan->turn, RELAYFS_CLAIMED);
	}
}

void relayfs_release_rings(struct relayfs_channel *chan)
{
	atomic_set_release(&chan->turn, RELAYFS_FREE);
}

/* ------------------------------------------------------------------------------------ snapshot, resize and reset --- */

/* What the next snapshot flips to; 0 or -ENOMEM. */
int relayfs_make_spare(struct relayfs_channel *chan)
{
	struct relayfs_ring *ring;

	if (chan->spare)
		return 0;
	ring = relayfs_ring_open(chan, chan->attr.n_subbufs, 1);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	chan->spare = ring;
	return 0;
}

/**
 * relayfs_channel_snapshot() - freeze what a flight recorder holds, and go on recording
 * @chan: a running channel in flight mode
 * @discard: throw away what has not been read of the last snapshot; its records count as overwritten
 *
 * Return: 0; -EINVAL if it is not a running flight recorder; -EBUSY if the last snapshot has not been read; -ENOMEM.
 */
int relayfs_channel_snapshot(struct relayfs_channel *chan, bool discard)
{
	struct relayfs_ring *ring;
	struct relayfs_stream *s;
	unsigned int i;
	int err = 0;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	relayfs_claim_rings(chan);
	if (!(chan->attr.flags & RELAYFS_FLIGHT) || chan->state != RELAYFS_RUNNING) {
		err = relayfs_refuse(chan, -EINVAL, "a snapshot is of a running session in flight mode");
		goto unlock;
	}
	if (discard) {
		relayfs_for_each_stream(s, i, chan) {
			mutex_lock(&s->lock);
			if (s->drain) {
				relayfs_add(s, &s->writer->overwritten, relayfs_cut_drain(s));
				s->snapshot_end = s->drain;
			}
			mutex_unlock(&s->lock);
		}
	}
	if (drain_pending(chan)) {
		err = relayfs_refuse(chan, -EBUSY, "the last snapshot has not been read: read it, or write snapshot!");
		goto unlock;
	}
	err = relayfs_make_spare(chan);
	if (err)
		goto unlock;
	ring = chan->spare;
	chan->spare = NULL;
	flip_all(chan, ring, true);
	/* The next one is made ready now, when nobody waits for it; if there is no memory, the next snapshot says so. */
	relayfs_make_spare(chan);
unlock:
	relayfs_release_rings(chan);
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_snapshot);

/**
 * relayfs_channel_finish_turn() - give readers the snapshot that relayfs_channel_turn() has begun
 * @chan: the channel; nothing is left to be done if it was stopped or reset meanwhile
 */
void relayfs_channel_finish_turn(struct relayfs_channel *chan)
{
	mutex_lock(&chan->lock);
	cpus_read_lock();
	relayfs_claim_rings(chan);
	if (chan->state == RELAYFS_RUNNING)
		relayfs_make_spare(chan);
	relayfs_release_rings(chan);
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
}
EXPORT_SYMBOL_GPL(relayfs_channel_finish_turn);

static int resize_rings(struct relayfs_channel *chan, size_t n_subbufs, bool grow)
{
	int err = relayfs_check_sizes(chan, chan->attr.subbuf_size, n_subbufs, 0);
	struct relayfs_ring *ring;

	if (err)
		return err;
	if (n_subbufs == chan->attr.n_subbufs && chan->ring)
		return 0;
	if (!chan->ring) {
		chan->attr.n_subbufs = n_subbufs;
		return 0;
	}
	if (chan->attr.flags & RELAYFS_FLIGHT)
		return relayfs_refuse(chan, -EBUSY, "a flight recorder is resized before its first start");
	if (drain_pending(chan) && !(grow && room_for_drain(chan)))
		return relayfs_refuse(chan, -EBUSY, "what was recorded before the last resize has not been read yet");
	ring = relayfs_ring_open(chan, n_subbufs, 1);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	chan->attr.n_subbufs = n_subbufs;
	flip_all(chan, ring, false);
	return 0;
}

/**
 * relayfs_channel_resize() - change the number of sub-buffers, while it runs
 * @chan: a channel in stream mode
 * @n_subbufs: sub-buffers of each stream
 *
 * What is in the old sub-buffers is read first; until then there are both, and no other resize.
 *
 * Return: 0, -EINVAL, -EBUSY or -ENOMEM, with the reason in relayfs_channel_error().
 */
int relayfs_channel_resize(struct relayfs_channel *chan, size_t n_subbufs)
{
	int err;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	err = resize_rings(chan, n_subbufs, false);
	if (!err)
		chan->n_subbufs_min = n_subbufs;	/* what was asked for is not taken away in quiet times */
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_resize);

/* The part of the sub-buffers of the fullest stream that is unread, in percent. */
static unsigned int fill_level(struct relayfs_channel *chan)
{
	struct relayfs_stream *s;
	unsigned int i, level = 0;

	relayfs_for_each_stream(s, i, chan) {
		struct rchan_buf *buf = relayfs_ring_buf(s->live, s->cpu);

		if (buf) {
			size_t consumed = READ_ONCE(buf->subbufs_consumed);

			smp_rmb();	/* in this order, lest what is consumed meanwhile make the difference negative */
			level = max_t(unsigned int, level, 100 * (READ_ONCE(buf->subbufs_produced) - consumed) /
							   chan->attr.n_subbufs);
		}
	}
	return level;
}

/*
 * Makes the ring twice as large at half full, four times if the worker comes so late that it is three quarters full, and
 * half as large after quiet_seconds at less than an eighth.
 *
 * It grows step by step, whether or not the old ring has been read: to allocate the largest at once takes so long that a
 * burst fills what is left of the smallest meanwhile.
 */
void relayfs_resize_to_need(struct work_struct *work)
{
	struct relayfs_channel *chan = container_of(to_delayed_work(work), struct relayfs_channel, resize);
	unsigned int level;
	size_t n, max;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	n = chan->attr.n_subbufs;
	max = chan->attr.n_subbufs_max;
	if (chan->state == RELAYFS_RUNNING) {
		level = fill_level(chan);
		if (level >= 50 && n < max)
			resize_rings(chan, min((level >= 75 ? 4 : 2) * n, max), true);
		chan->quiet = level < 12 && !drain_pending(chan) ? chan->quiet + 1 : 0;
		if (chan->quiet >= quiet_seconds && n / 2 >= chan->n_subbufs_min) {
			resize_rings(chan, n / 2, false);
			chan->quiet = 0;
		}
	}
	if (chan->state == RELAYFS_RUNNING)
		queue_delayed_work(relayfs_wq, &chan->resize, HZ);
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
}

void relayfs_feel_pressure(struct irq_work *work)
{
	struct relayfs_channel *chan = container_of(work, struct relayfs_channel, pressure);

	mod_delayed_work(relayfs_wq, &chan->resize, 0);
}

/**
 * relayfs_channel_reset() - throw away what has not been read
 * @chan: the channel; if it is running it goes on with empty buffers
 *
 * The records count as lost by reset; a packet that a reader is in the middle of stays.
 *
 * Return: 0 or -ENOMEM.
 */
int relayfs_channel_reset(struct relayfs_channel *chan)
{
	struct relayfs_ring *ring = NULL;
	struct relayfs_stream *s;
	unsigned int i;
	int err = 0;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	relayfs_claim_rings(chan);
	if (!chan->ring)
		goto unlock;
	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		if (s->drain)
			relayfs_add(s, &s->writer->lost[LTT3_LOST_RESET], relayfs_cut_drain(s));
		mutex_unlock(&s->lock);
	}
	if (drain_pending(chan)) {
		err = relayfs_refuse(chan, -EBUSY, "a reader is in the middle of a packet of an earlier reset or resize");
		goto unlock;
	}
	ring = relayfs_ring_open(chan, chan->attr.n_subbufs, 1);
	if (IS_ERR(ring)) {
		err = PTR_ERR(ring);
		goto unlock;
	}
	flip_all(chan, ring, false);
	relayfs_for_each_stream(s, i, chan) {
		mutex_lock(&s->lock);
		if (s->drain)
			relayfs_add(s, &s->writer->lost[LTT3_LOST_RESET], relayfs_cut_drain(s));
		mutex_unlock(&s->lock);
	}
unlock:
	relayfs_release_rings(chan);
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_channel_reset);
