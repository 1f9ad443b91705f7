// SPDX-License-Identifier: GPL-2.0-only
/*
 * klog.ko: the kernel's log as a relayfs channel, from its first line on.
 *
 * The lines come from one place, the kernel's own ring, by kmsg_dump_get_line(): what was printed before the module came
 * and what is printed now, in one order, none twice. The tracepoint console, or a kprobe where that does not tell of each
 * line, is only a doorbell. It may ring in any context, under any lock, in an NMI; so it does nothing but queue a hard
 * irq_work on its CPU, which runs when that CPU lets interrupts in again, with the line complete.
 *
 * When the channel is full the drain stops: the kernel's ring is the slack, and a timer tries again. A line that is
 * overwritten there shows as a jump of the sequence numbers, which is the exact number lost.
 */
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kmsg_dump.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timer.h>
#include <linux/tracepoint.h>

#include <trace/events/printk.h>

#include "compat.h"
#include "relayfs.h"

static bool doorbell = true;
module_param(doorbell, bool, 0444);
MODULE_PARM_DESC(doorbell, "be told of each line (default); 0: look every 10 ms");

static bool start;
module_param(start, bool, 0444);
MODULE_PARM_DESC(start, "start as the module is loaded");

#define PERIOD		msecs_to_jiffies(10)
#define LINES_AT_ONCE	64		/* with interrupts off */
#define PIECES_AT_ONCE	64		/* of so many lines, in the timer */
#define MAX_TEXT	3072		/* fits the smallest sub-buffer; the kernel's own limit is 1024 */
#define BUFFER_SIZE	(64 << 10)	/* such a line whose every byte is a line end, with a prefix on each */

/**
 * struct klog - all there is of it
 * @log: its directory
 * @chan: its channel
 * @lock: the drain; only ever tried, but by who starts and stops
 * @iter: where the kernel's ring is read
 * @next: sequence number of the line that comes next
 * @rung: somebody wanted to drain while another did
 * @running: from start to stop
 * @probing: the kprobe is the doorbell
 * @period: look so often, in jiffies, whether or not the bell rings; 0: never
 * @timer: looks again
 * @console: the tracepoint
 * @buffer: the line at hand, as the kernel prints it
 */
static struct klog {
	struct relayfs_log *log;
	struct relayfs_channel *chan;
	raw_spinlock_t lock;
	struct compat_kmsg_iter iter;
	u64 next;
	atomic_t rung;
	bool running;
	bool probing;
	unsigned long period;
	struct timer_list timer;
	struct tracepoint *console;
	char *buffer;
} klog;

static DEFINE_PER_CPU(struct irq_work, bell);

/* -------------------------------------------------------------------------------------------------------- a line --- */

/* What the kernel puts before a line: <level and facility>[seconds.microseconds][ caller] */
struct prefix {
	size_t len;
	u64 time;
	s32 tid;
	s16 cpu;
	u8 level;
	u8 facility;
};

static const char *parse_number(const char *at, u64 *value)
{
	for (*value = 0; *at >= '0' && *at <= '9'; at++)
		*value = *value * 10 + *at - '0';
	return at;
}

/* "[   12.345678]"; returns what follows, NULL if it is not that: printk.time is off. */
static const char *parse_time(const char *at, u64 *time)
{
	u64 seconds, micro;
	const char *dot;

	if (*at != '[')
		return NULL;
	dot = parse_number(skip_spaces(at + 1), &seconds);
	if (*dot != '.')
		return NULL;
	at = parse_number(dot + 1, &micro);
	if (at != dot + 7 || *at != ']')
		return NULL;
	*time = seconds * NSEC_PER_SEC + micro * NSEC_PER_USEC;
	return at + 1;
}

/* "[  T123]" or "[    C1]", and more behind the number in later kernels. */
static const char *parse_caller(const char *at, struct prefix *p)
{
	const char *letter;
	u64 id;

	if (*at != '[')
		return NULL;
	letter = skip_spaces(at + 1);
	if (*letter != 'T' && *letter != 'C')
		return NULL;
	at = parse_number(letter + 1, &id);
	if (at == letter + 1)
		return NULL;
	at = strchr(at, ']');
	if (!at)
		return NULL;
	if (*letter == 'T')
		p->tid = id;
	else
		p->cpu = id;
	return at + 1;
}

static void parse_prefix(const char *line, struct prefix *p)
{
	const char *at = line, *behind;
	u64 syslog = 0;

	*p = (struct prefix){ .tid = -1, .cpu = -1 };
	if (*at == '<') {
		at = parse_number(at + 1, &syslog);
		at += *at == '>';
	}
	p->level = syslog & 7;
	p->facility = syslog >> 3;
	behind = parse_time(at, &p->time);
	if (behind)
		at = behind;
	if (IS_ENABLED(CONFIG_PRINTK_CALLER)) {
		const char *caller = parse_caller(at, p);

		if (caller)
			at = behind = caller;
	}
	if (behind && *at == ' ')
		at++;
	p->len = at - line;
}

/* Takes the prefix off each line of the message, and the last line end; returns the length of what is left. */
static size_t strip(char *line, size_t len, const struct prefix *p)
{
	char first[64];
	size_t known = min(p->len, sizeof(first));
	char *from = line, *to = line, *end = line + len;

	memcpy(first, line, known);
	while (from < end) {
		char *stop = memchr(from, '\n', end - from) ?: end;

		if ((size_t)(stop - from) >= p->len && !memcmp(from, first, known))
			from += p->len;
		if (to != line)
			*to++ = '\n';
		memmove(to, from, stop - from);
		to += stop - from;
		from = stop + 1;
	}
	len = min_t(size_t, to - line, MAX_TEXT);
	for (to = line; to < line + len; to++)
		if (!*to)
			*to = '?';
	return len;
}

/* -------------------------------------------------------------------------------------------------------- drain --- */

enum drained { DRAINED_ALL, DRAINED_SOME, DRAINED_FULL };

/* Moves the next line to the channel, if there is one and there is room. Called under the lock. */
static enum drained take_line(void)
{
	struct relayfs_channel *chan = klog.chan;
	struct compat_kmsg_iter before = klog.iter;
	struct relayfs_slot slot;
	struct ltt3_printk *record;
	struct prefix prefix;
	size_t len;
	u64 seq;

	if (!kmsg_dump_get_line(&klog.iter, true, klog.buffer, BUFFER_SIZE - 1, &len))
		return DRAINED_ALL;
	seq = klog.iter.cur_seq - 1;
	if (seq > klog.next) {
		/* Of what was overwritten before the trace began its first sequence number tells. */
		if (klog.next)
			relayfs_count_lost_global(chan, LTT3_LOST_FULL, seq - klog.next);
		klog.next = seq;
	}
	klog.buffer[len] = 0;
	parse_prefix(klog.buffer, &prefix);
	len = strip(klog.buffer, len, &prefix);
	record = relayfs_reserve_global(chan, &slot, LTT3_ID_PRINTK, LTT3_PRINTK_SIZE + len + 1);
	if (!record) {
		klog.iter = before;
		return DRAINED_FULL;
	}
	record->seq = seq;
	record->log_time = prefix.time;
	record->tid = prefix.tid;
	record->caller_cpu = prefix.cpu;
	record->level = prefix.level;
	record->facility = prefix.facility;
	memcpy(record->text, klog.buffer, len);
	record->text[len] = 0;
	relayfs_commit_global(&slot);
	klog.next = seq + 1;
	return DRAINED_SOME;
}

/* Moves some lines, unless another does that; who comes meanwhile leaves it a note. */
static enum drained drain(void)
{
	enum drained drained = DRAINED_ALL;
	unsigned long flags;
	int left = LINES_AT_ONCE;	/* also of what another CPU goes on printing */

	atomic_xchg(&klog.rung, 1);
	while (atomic_read(&klog.rung) && raw_spin_trylock_irqsave(&klog.lock, flags)) {
		atomic_xchg(&klog.rung, 0);
		do
			drained = take_line();
		while (drained == DRAINED_SOME && --left);
		raw_spin_unlock_irqrestore(&klog.lock, flags);
		if (drained != DRAINED_ALL)
			break;
		smp_mb();	/* the note of who came before the unlock is seen now, or it sees the lock free */
	}
	return drained;
}

static void look_again(unsigned long delay)
{
	if (READ_ONCE(klog.running))
		mod_timer(&klog.timer, jiffies + delay);
}

static void answer_bell(struct irq_work *work)
{
	switch (drain()) {
	case DRAINED_SOME:
		if (READ_ONCE(klog.running))
			irq_work_queue(work);	/* the rest after other interrupts have had their turn */
		break;
	case DRAINED_FULL:
		look_again(PERIOD);
		break;
	case DRAINED_ALL:
		break;
	}
}

static void on_timer(struct timer_list *timer)
{
	enum drained drained;
	int left = PIECES_AT_ONCE;

	do
		drained = drain();
	while (drained == DRAINED_SOME && --left);
	if (drained == DRAINED_SOME)
		look_again(1);
	else if (drained == DRAINED_FULL)
		look_again(PERIOD);
	else if (klog.period)
		look_again(klog.period);
}

/* The tracepoint: preemption is off, and the line is not complete before interrupts are on again. */
static void ring_bell(void *unused, const char *text, size_t len)
{
	irq_work_queue(this_cpu_ptr(&bell));
}
static_assert(COMPAT_TRACE_CALLS(console, ring_bell));

/* The same where that is silent about what goes to no console: a line is about to be stored, with interrupts off. */
static int ring_bell_store(struct kprobe *kp, struct pt_regs *regs)
{
	irq_work_queue(this_cpu_ptr(&bell));
	return 0;
}

static struct kprobe store;

static int hang_bell(void)
{
	klog.period = PERIOD;
	if (!doorbell)
		return 0;
	if (COMPAT_CONSOLE_IS_SELECTIVE) {
		/* A probe within another's handler is missed, and from 5.15 it may ring too early: so the timer looks, too. */
		store = (struct kprobe){ .symbol_name = "vprintk_store", .pre_handler = ring_bell_store };
		klog.probing = !register_kprobe(&store);
		if (klog.probing)
			klog.period = HZ;
		return 0;
	}
	if (!klog.console)
		return 0;
	klog.period = 0;
	return tracepoint_probe_register(klog.console, ring_bell, NULL);
}

static void take_bell(void)
{
	if (klog.probing)
		unregister_kprobe(&store);
	klog.probing = false;
	if (doorbell && klog.console && !COMPAT_CONSOLE_IS_SELECTIVE) {
		tracepoint_probe_unregister(klog.console, ring_bell, NULL);
		tracepoint_synchronize_unregister();
		synchronize_rcu();
	}
}

/* ----------------------------------------------------------------------------------------------- start and stop --- */

static void drain_all(void)
{
	while (drain() == DRAINED_SOME)
		cond_resched();
}

static int start_klog(void)
{
	unsigned long flags;
	int err;

	WRITE_ONCE(klog.running, true);
	/* Here, not when the trace is made: of what has been cleared since, 5.10 would still hand out the lines. */
	if (!klog.next)
		compat_kmsg_rewind(&klog.iter);
	err = hang_bell();
	if (err) {
		WRITE_ONCE(klog.running, false);
		return err;
	}
	/* From here on lines ring, or the timer looks; what was there before is taken now. */
	drain_all();
	/* What is overwritten from here on is lost, even if that is before the first line could be taken. */
	raw_spin_lock_irqsave(&klog.lock, flags);
	if (!klog.next)
		klog.next = klog.iter.cur_seq;
	raw_spin_unlock_irqrestore(&klog.lock, flags);
	look_again(PERIOD);
	return 0;
}

static void stop_klog(void)
{
	int cpu;

	take_bell();
	WRITE_ONCE(klog.running, false);
	for_each_possible_cpu(cpu)
		irq_work_sync(per_cpu_ptr(&bell, cpu));
	compat_timer_delete_sync(&klog.timer);
	drain_all();
}

/* Another trace begins with all that the kernel has when it is started. */
static void rewind_klog(void)
{
	klog.next = 0;
}

static const struct relayfs_log_ops ops = {
	.start = start_klog,
	.stop = stop_klog,
	.renew = rewind_klog,
};

/* -------------------------------------------------------------------------------------------------------- files --- */

static int sequence_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%llu\n", READ_ONCE(klog.next));
	return 0;
}

static const struct relayfs_attribute files[] = {
	{ .name = "sequence", .mode = 0400, .show = sequence_show },
};

/* No task is meant by a packet: its records say whose they are. */
static void packet_begin(void *priv, struct ltt3_packet_header *header)
{
	header->cpu_id = 0;
	header->tid = -1;
	header->tgid = -1;
}

static const struct relayfs_channel_ops channel_ops = {
	.packet_begin = packet_begin,
};

static void find_console(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "console"))
		klog.console = tp;
}

static int __init klog_init(void)
{
	const struct relayfs_log_attr attr = {
		.name = "klog",
		.owner = THIS_MODULE,
		.flags = RELAYFS_GLOBAL | RELAYFS_PATIENT,
		.stream_id = LTT3_STREAM_KLOG,
		.subbuf_size = 64 << 10,
		.n_subbufs = 4,
		.n_subbufs_max = 256,
		.files = files,
		.n_files = ARRAY_SIZE(files),
		.ops = &ops,
		.channel_ops = &channel_ops,
	};
	int cpu, err;

	klog.buffer = kmalloc(BUFFER_SIZE, GFP_KERNEL);
	if (!klog.buffer)
		return -ENOMEM;
	raw_spin_lock_init(&klog.lock);
	timer_setup(&klog.timer, on_timer, 0);
	for_each_possible_cpu(cpu)
		*per_cpu_ptr(&bell, cpu) = COMPAT_HARD_IRQ_WORK(answer_bell);
	for_each_kernel_tracepoint(find_console, NULL);
	klog.log = relayfs_log_open(&attr);
	if (IS_ERR(klog.log)) {
		err = PTR_ERR(klog.log);
		goto free;
	}
	klog.chan = relayfs_log_channel(klog.log);
	/* First this, as it may fail: who has opened a file by then would be left with it when the module goes. */
	err = start ? relayfs_log_start(klog.log) : 0;
	if (!err)
		err = relayfs_log_publish(klog.log);
	if (!err)
		return 0;
	relayfs_log_close(klog.log);
free:
	kfree(klog.buffer);
	return err;
}

static void __exit klog_exit(void)
{
	relayfs_log_close(klog.log);
	kfree(klog.buffer);
}

module_init(klog_init);
module_exit(klog_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("The kernel's log as a relayfs channel");
