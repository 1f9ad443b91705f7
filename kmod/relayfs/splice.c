// SPDX-License-Identifier: GPL-2.0-only
/*
 * splice(2) from a stream into a pipe: the pages of the packets themselves, not copies of them.
 *
 * What is in a pipe must stay as it is, for as long as the pipe pleases, and be it that the stream's file is closed, its
 * channel ended or its ring given up meanwhile. What one call puts of one packet into a pipe is therefore a loan, which
 * holds the ring and the channel. A sub-buffer goes to the writer when its last byte was handed out and the loans of it
 * and of those before it in the ring are back: relay counts sub-buffers in order.
 *
 * Who takes a page out of the pipe by reference (a socket does, until the other side has confirmed) says so by the page's
 * own count; such a loan is looked at again later.
 *
 * Locks: the pipe's mutex, then the stream's.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pipe_fs_i.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/splice.h>

#include "internal.h"

/**
 * struct loan - pages of a packet that are in pipes
 * @link: in the stream's list, oldest first
 * @ref: buffers of pipes, and the one who makes it
 * @back: no pipe has them any more
 * @n_subbufs: that were handed out whole since, and go to the writer with it
 * @stream: whose
 * @ring: where; held
 * @buf: of the ring
 * @page: number of the first
 * @n_pages: how many
 * @again: looks for those who still have them
 */
struct loan {
	struct list_head link;
	refcount_t ref;
	bool back;
	size_t n_subbufs;
	struct relayfs_stream *stream;
	struct relayfs_ring *ring;
	struct rchan_buf *buf;
	size_t page;
	size_t n_pages;
	struct delayed_work again;
};

/* Sub-buffers of a ring that were handed out and that the writer must not have yet. Under the stream's lock, as all here. */
size_t relayfs_lent(struct relayfs_stream *s, struct relayfs_ring *ring)
{
	struct loan *loan;
	size_t n = 0;

	list_for_each_entry(loan, &s->loans, link)
		if (loan->ring == ring)
			n += loan->n_subbufs;
	return n;
}

/* The ring's next sub-buffer was handed out whole: it is the writer's, now or with the last loan of the ring. */
void relayfs_hand_back(struct relayfs_stream *s, struct relayfs_ring *ring, struct rchan_buf *buf)
{
	struct loan *loan;

	list_for_each_entry_reverse(loan, &s->loans, link) {
		if (loan->ring == ring) {
			loan->n_subbufs++;
			return;
		}
	}
	smp_mb();	/* all of it was copied before the writer may have it */
	relay_subbufs_consumed(ring->rchan, buf->cpu, 1);
}

static void free_loan(struct loan *loan)
{
	relayfs_object_put(&loan->stream->chan->obj);
	relayfs_ring_put(loan->ring);
	kfree(loan);
}

/* Gives the writer what no loan holds any more. */
static void settle(struct relayfs_stream *s, struct relayfs_ring *ring, struct list_head *done)
{
	struct loan *loan, *next;

	smp_mb();	/* who had the pages has done with them */
	list_for_each_entry_safe(loan, next, &s->loans, link) {
		if (loan->ring != ring)
			continue;
		if (!loan->back)
			break;
		if (loan->n_subbufs)
			relay_subbufs_consumed(ring->rchan, loan->buf->cpu, loan->n_subbufs);
		list_move_tail(&loan->link, done);
	}
}

static void loan_is_back(struct loan *loan)
{
	struct relayfs_stream *s = loan->stream;
	struct relayfs_ring *ring = loan->ring;
	struct loan *next;
	LIST_HEAD(done);
	size_t i;

	for (i = 0; i < loan->n_pages; i++) {
		if (page_ref_count(loan->buf->page_array[loan->page + i]) > 1) {
			queue_delayed_work(relayfs_wq, &loan->again, HZ / 50 + 1);
			return;
		}
	}
	/* Once it is back others may free it, and with it the last hold on the stream. */
	relayfs_ring_get(ring);
	relayfs_object_get(&s->chan->obj);
	mutex_lock(&s->lock);
	loan->back = true;
	settle(s, ring, &done);
	mutex_unlock(&s->lock);
	list_for_each_entry_safe(loan, next, &done, link)
		free_loan(loan);
	relayfs_object_put(&s->chan->obj);
	relayfs_ring_put(ring);	/* last, as it keeps this module; relayfs_exit() waits for the return */
}

static void look_again(struct work_struct *work)
{
	loan_is_back(container_of(to_delayed_work(work), struct loan, again));
}

/* ------------------------------------------------------------------------------------------- what is in the pipe --- */

static void loan_release(struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
{
	struct loan *loan = (struct loan *)buffer->private;

	if (refcount_dec_and_test(&loan->ref))
		loan_is_back(loan);
}

/* tee(2), and a buffer of which a part goes to another pipe. */
static bool loan_get(struct pipe_inode_info *pipe, struct pipe_buffer *buffer)
{
	struct loan *loan = (struct loan *)buffer->private;

	if (refcount_read(&loan->ref) > INT_MAX / 2)
		return false;
	refcount_inc(&loan->ref);
	return true;
}

/* Without try_steal: nobody gets a page for his own. */
static const struct pipe_buf_operations loan_ops = {
	.release = loan_release,
	.get = loan_get,
};

static bool has_room(const struct pipe_inode_info *pipe)
{
	return !pipe_full(pipe->head, pipe->tail, pipe->max_usage);
}

/* Of the packet at the front, from the stream's offset on, as many pages as fit. Returns bytes, or a negative errno. */
static ssize_t lend(struct relayfs_stream *s, const struct relayfs_packet *p, struct pipe_inode_info *pipe, size_t count)
{
	size_t size = p->header->packet_size / 8 - s->offset;
	size_t at = (char *)p->header - (char *)p->buf->start + s->offset;
	struct loan *loan = kzalloc(sizeof(*loan), GFP_KERNEL);
	size_t done = 0;
	ssize_t err = 0;

	if (!loan)
		return -ENOMEM;
	refcount_set(&loan->ref, 1);
	loan->stream = s;
	loan->ring = p->ring;
	loan->buf = p->buf;
	loan->page = at / PAGE_SIZE;
	INIT_DELAYED_WORK(&loan->again, look_again);
	relayfs_ring_get(p->ring);
	relayfs_object_get(&s->chan->obj);
	size = min(size, count);
	while (done < size && has_room(pipe)) {
		struct pipe_buffer buffer = {
			.page = p->buf->page_array[(at + done) / PAGE_SIZE],
			.offset = (at + done) % PAGE_SIZE,
			.ops = &loan_ops,
			.private = (unsigned long)loan,
		};

		buffer.len = min_t(size_t, size - done, PAGE_SIZE - buffer.offset);
		refcount_inc(&loan->ref);
		err = add_to_pipe(pipe, &buffer);	/* which releases it if it fails */
		if (err < 0)
			break;
		done += buffer.len;
		loan->n_pages++;
	}
	/* The pipe is locked, so nothing has come out of it yet: only if nothing went into it is this the last one. */
	if (refcount_dec_and_test(&loan->ref)) {
		free_loan(loan);
		return err;
	}
	list_add_tail(&loan->link, &s->loans);
	return done;
}

/* The last words are no ring's: a copy. */
static ssize_t copy_final(struct relayfs_stream *s, struct pipe_inode_info *pipe, size_t count)
{
	struct pipe_buffer buffer = {
		.page = alloc_page(GFP_KERNEL | __GFP_ZERO),
		.len = min_t(size_t, count, sizeof(s->final) - s->offset),
		.ops = &nosteal_pipe_buf_ops,
	};

	if (!buffer.page)
		return -ENOMEM;
	memcpy(page_address(buffer.page), (char *)&s->final + s->offset, buffer.len);
	return add_to_pipe(pipe, &buffer);
}

/* As many packets, and of the last as much, as there are and the pipe has room for. Returns bytes, or a negative errno. */
static ssize_t lend_packets(struct relayfs_stream *s, struct pipe_inode_info *pipe, size_t count,
			    enum relayfs_front *front)
{
	size_t done = 0;

	while (done < count && has_room(pipe)) {
		struct relayfs_packet p;
		ssize_t n;

		*front = relayfs_front(s, &p);
		if (*front != RELAYFS_FRONT_PACKET)
			break;
		n = p.ring ? lend(s, &p, pipe, count - done) : copy_final(s, pipe, count - done);
		if (n < 0)
			return done ?: n;
		done += n;
		relayfs_handed_out(s, &p, n);
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	return done;
}

/**
 * relayfs_splice_read() - hand out packets to a pipe, as read(2) would
 * @file: of a stream
 * @pos: of no meaning
 * @pipe: locked by the caller
 * @count: bytes at most
 * @flags: SPLICE_F_NONBLOCK
 *
 * sendfile(2) is refused, as it always was: what it cannot write it throws away, and the end-of-file between two snapshots
 * would be lost in it. cp and cat go on with read(2) then.
 *
 * Return: bytes; 0 at an end as read(2) has it; a negative errno.
 */
ssize_t relayfs_splice_read(struct file *file, loff_t *pos, struct pipe_inode_info *pipe, size_t count,
			    unsigned int flags)
{
	struct relayfs_stream *s = file->private_data;

	if (pipe == current->splice_pipe)
		return -EINVAL;
	if (!count)
		return 0;
	relayfs_note_clock(s->chan);
	for (;;) {
		enum relayfs_front front = RELAYFS_FRONT_PACKET;
		int news = atomic_read(&s->news);
		ssize_t done;
		int err;

		if (mutex_lock_interruptible(&s->lock))
			return -ERESTARTSYS;
		done = has_room(pipe) ? lend_packets(s, pipe, count, &front) : -EAGAIN;
		relayfs_read_ends(s, done, front);
		mutex_unlock(&s->lock);
		if (done || front == RELAYFS_FRONT_END)
			return done;
		/* Those at the other end need not wait for the pipe until there is something. */
		pipe_unlock(pipe);
		err = relayfs_wait(s, news, (flags & SPLICE_F_NONBLOCK) || (file->f_flags & O_NONBLOCK));
		pipe_lock(pipe);
		if (err)
			return err;
	}
}
