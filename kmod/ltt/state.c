// SPDX-License-Identifier: GPL-2.0-only
/*
 * state_0: tasks, irqs and modules, so that names need not be in every record.
 *
 * Kept in memory of its own, not in a ring: it is read whole, as often as one likes, and nothing in it is overwritten.
 * Probes write into blocks that were allocated before; when few are left a worker makes more, up to a limit.
 */
#include <linux/cred.h>
#include <linux/fs.h>
#include <linux/interrupt.h>
#include <linux/irq.h>
#include <linux/irqdesc.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "internal.h"

#define STATE_BLOCK	(65536UL - sizeof(struct ltt_block))
#define MAX_BLOCKS	512		/* 32 MiB, some 700,000 changes */
#define KEEP_SPARE	4
#define MAX_IRQ		8192

/* Packets one behind the other, of which the last may be open: a reader ends it, and another begins in what is left. */
struct ltt_block {
	struct list_head link;
	size_t complete;		/* bytes of packets that have ended */
	size_t used;			/* with those of the open one, if it has records */
	u64 event_ids;
	u64 records;
	char data[];
};

/* In one piece if that can be had, so that a packet can be found in an image of the memory. */
static struct ltt_block *make_block(void)
{
	struct ltt_block *block = kvmalloc(sizeof(*block) + STATE_BLOCK, GFP_KERNEL);

	if (block) {
		INIT_LIST_HEAD(&block->link);
		block->complete = block->used = 0;
		block->event_ids = block->records = 0;
	}
	return block;
}

/* Wiped: packets that are no longer the session's must not be found there either. */
static void free_block(struct ltt_block *block)
{
	memset(block->data, 0, block->used);
	kvfree(block);
}

/* May sleep. Returns false if the limit or the memory's end was reached before there were @n spare blocks. */
static bool provide(struct ltt_state *state, unsigned int n)
{
	while (READ_ONCE(state->n_spare) < n) {
		struct ltt_block *block;
		unsigned long flags;
		bool full;

		if (READ_ONCE(state->n_blocks) >= MAX_BLOCKS)
			return false;
		block = make_block();
		if (!block)
			return false;
		raw_spin_lock_irqsave(&state->lock, flags);
		full = state->n_blocks >= MAX_BLOCKS;
		if (!full) {
			list_add_tail(&block->link, &state->spare);
			state->n_spare++;
			state->n_blocks++;
		}
		raw_spin_unlock_irqrestore(&state->lock, flags);
		if (full) {
			free_block(block);
			return false;
		}
	}
	return true;
}

static void grow(struct work_struct *work)
{
	provide(container_of(work, struct ltt_state, grow), KEEP_SPARE);
}

static void queue_grow(struct irq_work *work)
{
	schedule_work(&container_of(work, struct ltt_state, need)->grow);
}

/* Of the open packet. */
static struct ltt3_packet_header *open_header(struct ltt_block *block)
{
	return (struct ltt3_packet_header *)(block->data + block->complete);
}

static void open_block(struct ltt_state *state)
{
	struct ltt_block *block = list_first_entry_or_null(&state->spare, struct ltt_block, link);

	if (!block)
		return;
	list_del_init(&block->link);
	state->n_spare--;
	state->open = block;
}

static void begin_header(struct ltt_state *state, struct ltt3_packet_header *h, u64 now)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->uuid, &state->uuid, sizeof(h->uuid));
	h->stream_id = LTT3_STREAM_STATE;
	h->magic = LTT3_MAGIC;
	h->major = LTT3_MAJOR;
	h->minor = LTT3_MINOR;
	h->header_size = LTT3_HEADER_SIZE;
	h->timestamp_begin = now;
	h->tid = -1;
	h->tgid = -1;
	h->wall_offset = state->wall_offset;
}

static void open_packet(struct ltt_state *state, u64 now)
{
	struct ltt_block *block = state->open;

	block->used = block->complete + LTT3_HEADER_SIZE;
	begin_header(state, open_header(block), now);
}

/* What is known when a packet of @size bytes ends. */
static void end_header(struct ltt_state *state, struct ltt3_packet_header *h, size_t size)
{
	h->content_size = size * 8;
	h->packet_size = ALIGN(size, 8) * 8;
	h->timestamp_end = state->last;
	h->packet_seq_num = state->seq++;
	h->events_discarded = state->lost;
	h->lost_full = state->lost;
	state->told = state->lost;
}

/* Nothing happens if no packet is open. */
static void close_packet(struct ltt_state *state)
{
	struct ltt_block *block = state->open;
	struct ltt3_packet_header *h = open_header(block);
	size_t size = block->used - block->complete;

	if (!block->records)
		return;
	end_header(state, h, size);
	h->event_ids = block->event_ids;
	h->records = block->records;
	block->used = ALIGN(block->used, 8);
	block->complete = block->used;
	block->event_ids = 0;
	block->records = 0;
}

static void close_block(struct ltt_state *state)
{
	close_packet(state);
	list_add_tail(&state->open->link, &state->closed);
	state->open = NULL;
}

/* Behind the last record there stays room for one more header; see ltt_state_stop(). */
static bool has_room(const struct ltt_block *block, size_t len)
{
	return ALIGN(block->used, 8) + (block->records ? 0 : LTT3_HEADER_SIZE) + ALIGN(len, 8) <=
	       STATE_BLOCK - LTT3_HEADER_SIZE;
}

/* Reserves a record of @size bytes of payload, with the lock held; NULL if there is no block for it, counted. */
static void *reserve(struct ltt_state *state, u16 id, size_t size)
{
	size_t len = LTT3_RECORD_HEADER_SIZE + size;
	u64 now = max(ktime_get_mono_fast_ns(), state->last);
	struct ltt3_record_header *record;
	size_t at;

	if (state->open && state->open->records && now - open_header(state->open)->timestamp_begin > U32_MAX)
		close_packet(state);
	if (state->open && !has_room(state->open, len))
		close_block(state);
	if (!state->open)
		open_block(state);
	if (state->n_spare < KEEP_SPARE && state->n_blocks < MAX_BLOCKS)
		irq_work_queue(&state->need);
	if (!state->open) {
		state->lost++;
		return NULL;
	}
	if (!state->open->records)
		open_packet(state, now);
	at = ALIGN(state->open->used, 8);
	record = (struct ltt3_record_header *)(state->open->data + at);
	*(u64 *)(state->open->data + at + ALIGN(len, 8) - 8) = 0;
	record->timestamp = now;
	record->id = id;
	record->length = len;
	memset(state->open->data + state->open->used, 0, at - state->open->used);
	state->open->used = at + len;
	state->open->event_ids |= 1ULL << (id % 64);
	state->open->records++;
	state->last = now;
	return record + 1;
}

/**
 * ltt_state_task() - write what a task is
 * @state: of the session
 * @task: the task
 * @cause: LTT3_CAUSE_...
 * @comm: its name, which @task may not have yet
 */
void ltt_state_task(struct ltt_state *state, struct task_struct *task, u32 cause, const char *comm)
{
	struct ltt3_state_task *p;
	unsigned long flags;
	pid_t ppid;
	uid_t uid;

	if (!state->live && cause != LTT3_CAUSE_DUMP)
		return;
	rcu_read_lock();
	ppid = rcu_dereference(task->real_parent)->tgid;
	uid = from_kuid_munged(&init_user_ns, __task_cred(task)->uid);
	rcu_read_unlock();
	if (in_nmi())
		return;
	raw_spin_lock_irqsave(&state->lock, flags);
	p = reserve(state, LTT3_ID_STATE_TASK, LTT3_STATE_TASK_SIZE);
	if (p) {
		p->pid = task->pid;
		p->tgid = task->tgid;
		p->ppid = ppid;
		p->uid = uid;
		p->cause = cause;
		memset(p->comm, 0, LTT3_COMM_LEN);
		memcpy(p->comm, comm, strnlen(comm, LTT3_COMM_LEN - 1));
	}
	raw_spin_unlock_irqrestore(&state->lock, flags);
}

/* A record of a number and a text. */
static void write_named(struct ltt_state *state, u16 id, u32 number, const char *name)
{
	size_t len = strnlen(name, 512);
	unsigned long flags;
	char *p;

	raw_spin_lock_irqsave(&state->lock, flags);
	p = reserve(state, id, sizeof(u32) + len + 1);
	if (p) {
		*(u32 *)p = number;
		memcpy(p + sizeof(u32), name, len);
		p[sizeof(u32) + len] = 0;
	}
	raw_spin_unlock_irqrestore(&state->lock, flags);
}

static u32 dump_tasks(struct ltt_state *state)
{
	struct task_struct *process, *thread;
	u32 n = 0;

	ltt_state_task(state, &init_task, LTT3_CAUSE_DUMP, "swapper");
	rcu_read_lock();
	for_each_process_thread(process, thread) {
		char comm[LTT3_COMM_LEN];

		memcpy(comm, thread->comm, sizeof(comm));
		comm[sizeof(comm) - 1] = 0;
		ltt_state_task(state, thread, LTT3_CAUSE_DUMP, comm);
		n++;
	}
	rcu_read_unlock();
	return n + 1;
}

static void dump_irqs(struct ltt_state *state)
{
	char names[128];
	unsigned int irq;

	for (irq = 0; irq < MAX_IRQ; irq++) {
		struct irqaction *action;
		struct irq_data *data;
		struct irq_desc *desc;
		unsigned long flags;
		int n = 0;

		rcu_read_lock();	/* which a descriptor is freed behind */
		data = irq_get_irq_data(irq);
		if (data) {
			desc = irq_data_to_desc(data);
			raw_spin_lock_irqsave(&desc->lock, flags);
			for (action = desc->action; action; action = action->next)
				n += scnprintf(names + n, sizeof(names) - n, "%s%s", n ? "," : "", action->name ?: "?");
			raw_spin_unlock_irqrestore(&desc->lock, flags);
		}
		rcu_read_unlock();
		if (n)
			write_named(state, LTT3_ID_STATE_IRQ, irq, names);
	}
}

static void dump_modules(struct ltt_state *state)
{
	struct kset *set = THIS_MODULE->mkobj.kobj.kset;
	struct kobject *kobj;

	if (!set)
		return;
	spin_lock(&set->list_lock);
	list_for_each_entry(kobj, &set->list, entry) {
		struct module *module = container_of(kobj, struct module_kobject, kobj)->mod;

		if (module)	/* else it is built in, and has parameters only */
			write_named(state, LTT3_ID_STATE_MODULE, module->taints, module->name);
	}
	spin_unlock(&set->list_lock);
}

static void drop_blocks(struct ltt_state *state)
{
	struct ltt_block *block, *next;
	unsigned long flags;
	LIST_HEAD(old);

	mutex_lock(&state->reading);
	raw_spin_lock_irqsave(&state->lock, flags);
	list_splice_init(&state->closed, &old);
	if (state->open)
		list_add_tail(&state->open->link, &old);
	state->open = NULL;
	state->seq = 0;
	list_for_each_entry(block, &old, link)
		state->n_blocks--;
	raw_spin_unlock_irqrestore(&state->lock, flags);
	mutex_unlock(&state->reading);
	list_for_each_entry_safe(block, next, &old, link)
		free_block(block);
}

/* Makes blocks for the changes that come before the dump does. Returns 0 or -ENOMEM. */
int ltt_state_prepare(struct ltt_state *state)
{
	return provide(state, KEEP_SPARE) ? 0 : -ENOMEM;
}

/**
 * ltt_state_dump() - write what is: all tasks, irqs and modules, then state_end
 * @state: of the session; the probes that write changes are registered, so that nothing falls between
 * @afresh: throw away what was written before
 *
 * Return: 0 or -ENOMEM.
 */
int ltt_state_dump(struct ltt_state *state, bool afresh)
{
	struct task_struct *process, *thread;
	struct ltt3_state_end *end;
	unsigned long flags;
	size_t need = 512;	/* forked meanwhile, irqs, modules */
	u32 n;

	if (afresh)
		drop_blocks(state);
	rcu_read_lock();
	for_each_process_thread(process, thread)
		need++;
	rcu_read_unlock();
	need = DIV_ROUND_UP(need * ALIGN(LTT3_RECORD_HEADER_SIZE + LTT3_STATE_TASK_SIZE, 8), STATE_BLOCK / 2);
	if (!provide(state, need + KEEP_SPARE))
		return -ENOMEM;
	n = dump_tasks(state);
	dump_irqs(state);
	dump_modules(state);
	raw_spin_lock_irqsave(&state->lock, flags);
	end = reserve(state, LTT3_ID_STATE_END, LTT3_STATE_END_SIZE);
	if (end)
		end->tasks = n;
	raw_spin_unlock_irqrestore(&state->lock, flags);
	return 0;
}

/**
 * ltt_state_stop() - tell what was lost after the last packet, in one without records
 * @state: of the session, which has stopped
 *
 * Where there is still a block to be written to, nothing was lost after its last record.
 */
void ltt_state_stop(struct ltt_state *state)
{
	struct ltt_block *block;
	unsigned long flags;

	raw_spin_lock_irqsave(&state->lock, flags);
	block = state->open || list_empty(&state->closed) ? NULL : list_last_entry(&state->closed, struct ltt_block, link);
	if (block && state->lost != state->told && block->complete + LTT3_HEADER_SIZE <= STATE_BLOCK) {
		struct ltt3_packet_header *h = open_header(block);

		state->last = max(ktime_get_mono_fast_ns(), state->last);
		begin_header(state, h, state->last);
		h->flags = LTT3_PACKET_FINAL;
		end_header(state, h, LTT3_HEADER_SIZE);
		block->complete += LTT3_HEADER_SIZE;
		block->used = block->complete;
	}
	raw_spin_unlock_irqrestore(&state->lock, flags);
}

/* On a panic: writes what the tasks are by then, as far as spare blocks go, unless somebody was stopped in here. */
void ltt_state_seal(struct ltt_state *state)
{
	unsigned long flags;

	if (!raw_spin_trylock_irqsave(&state->lock, flags))
		return;
	raw_spin_unlock_irqrestore(&state->lock, flags);
	dump_tasks(state);
	if (state->open)
		close_packet(state);
}

void ltt_state_init(struct ltt_state *state, const uuid_t *uuid, s64 wall_offset)
{
	raw_spin_lock_init(&state->lock);
	mutex_init(&state->reading);
	INIT_LIST_HEAD(&state->closed);
	INIT_LIST_HEAD(&state->spare);
	INIT_WORK(&state->grow, grow);
	init_irq_work(&state->need, queue_grow);
	state->uuid = *uuid;
	state->wall_offset = wall_offset;
}

void ltt_state_free(struct ltt_state *state)
{
	struct ltt_block *block, *next;

	irq_work_sync(&state->need);
	cancel_work_sync(&state->grow);
	drop_blocks(state);
	list_for_each_entry_safe(block, next, &state->spare, link)
		free_block(block);
}

/* The open packet ends where a reader catches up with it, so that what is read is always whole packets. */
static bool close_for_reader(struct ltt_state *state)
{
	unsigned long flags;
	bool closed;

	raw_spin_lock_irqsave(&state->lock, flags);
	closed = state->open && state->open->records;
	if (closed)
		close_packet(state);
	raw_spin_unlock_irqrestore(&state->lock, flags);
	return closed;
}

/* The byte at @pos of all packets that have ended, and how many there are from it in one piece: NULL and 0 at their end. */
static const char *find(struct ltt_state *state, loff_t pos, size_t *left)
{
	struct ltt_block *block, *found = NULL;
	unsigned long flags;

	*left = 0;
	raw_spin_lock_irqsave(&state->lock, flags);
	list_for_each_entry(block, &state->closed, link) {
		if (pos < block->complete) {
			found = block;
			break;
		}
		pos -= block->complete;
	}
	if (!found && state->open && pos < state->open->complete)
		found = state->open;
	if (found)
		*left = found->complete - pos;
	raw_spin_unlock_irqrestore(&state->lock, flags);
	return found ? found->data + pos : NULL;
}

static ssize_t state_read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	struct ltt_state *state = (struct ltt_state *)relayfs_file_data(file_inode(file));
	bool more = true;
	size_t done = 0;

	while (more && done < count) {
		size_t n, left = 0;
		const char *from;

		mutex_lock(&state->reading);
		from = find(state, *pos, &n);
		if (from) {
			n = min(count - done, n);
			pagefault_disable();
			left = copy_to_user(to + done, from, n);
			pagefault_enable();
			done += n - left;
			*pos += n - left;
		} else {
			more = close_for_reader(state);
		}
		mutex_unlock(&state->reading);
		/* A page is not waited for with the lock held, which the session needs to go on. */
		if (left && put_user(0, to + done))
			return done ?: -EFAULT;
	}
	return done;
}

const struct file_operations ltt_state_fops = {
	.owner = THIS_MODULE,
	.read = state_read,
	.llseek = no_seek_end_llseek,
};
