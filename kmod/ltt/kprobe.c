// SPDX-License-Identifier: GPL-2.0-only
/*
 * Kprobes: "+kprobe:FUNC" in the file events records when the kernel's function FUNC is entered, with its first arguments.
 *
 * A probe in what writes records would be hit by each record: it is refused. What the kernel itself could not deliver
 * (nmissed: a probe hit while another was handled) counts as lost, nested.
 */
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/ptrace.h>
#include <linux/string.h>

#include "record.h"

/* What is called on the way of a record, filters and the end of a packet included. */
static const char * const writers[] = {
	"ktime_get_mono_fast_ns", "read_tsc", "read_hpet", "acpi_pm_read", "kvm_clock_get_cycles", "kvm_clock_read",
	"pvclock_clocksource_read", "pvclock_clocksource_read_nowd", "arch_counter_read", "relay_switch_subbuf",
	"irq_work_queue", "irq_work_single", "arch_irq_work_raise", "memcpy", "memset", "memmove", "strlen", "strnlen",
	"strcmp", "glob_match", "from_kuid_munged", "cgroup_is_descendant", "__rcu_read_lock", "__rcu_read_unlock",
	"_raw_spin_lock", "_raw_spin_unlock", "_raw_spin_lock_irqsave", "_raw_spin_unlock_irqrestore",
};

static const char * const our_modules[] = { "[relayfs]", "[ltt]", "[klog]", "[evlog]" };

#ifdef CONFIG_HAVE_FUNCTION_ARG_ACCESS_API
#define N_ARGS 4
#else
#define N_ARGS 0
#endif

struct record {
	s32 tid;
	u32 reserved;
	u64 ip;
	u64 args[N_ARGS];
};

static int hit(struct kprobe *kp, struct pt_regs *regs)
{
	struct ltt_dynamic *d = container_of(kp, struct ltt_dynamic, kp);
	struct relayfs_slot slot;
	struct record *p = ltt_begin_id(&slot, &d->se, d->id, NULL, sizeof(*p));
	int i;

	if (!p)
		return 0;
	p->tid = current->pid;
	p->reserved = 0;
	p->ip = (unsigned long)kp->addr;
#if N_ARGS
	for (i = 0; i < N_ARGS; i++)
		p->args[i] = regs_get_kernel_argument(regs, i);
#endif
	ltt_end(&slot, &d->se);
	return 0;
}

static bool is_ours(const void *address)
{
	char symbol[KSYM_SYMBOL_LEN];
	unsigned int i;

	sprint_symbol(symbol, (unsigned long)address);
	for (i = 0; i < ARRAY_SIZE(our_modules); i++)
		if (strstr(symbol, our_modules[i]))
			return true;
	return false;
}

/* Registers @kp without arming it, and refuses what must not be probed. */
static int prepare(struct ltt_session *s, struct kprobe *kp)
{
	int err = register_kprobe(kp);

	if (err == -ENOENT)
		return ltt_refuse(s, err, "kprobe:%s: the kernel has no such function", kp->symbol_name);
	if (err)
		return ltt_refuse(s, err, "kprobe:%s: the kernel allows no probe there (error %d)", kp->symbol_name, -err);
	if (is_ours(kp->addr)) {
		unregister_kprobe(kp);
		return ltt_refuse(s, -EPERM, "kprobe:%s: that is part of the tracer itself", kp->symbol_name);
	}
	return 0;
}

int ltt_kprobe_register(struct ltt_dynamic *d)
{
	int err;

	if (d->se.registered)
		return 0;
	memset(&d->kp, 0, sizeof(d->kp));
	d->kp.symbol_name = d->name;
	d->kp.pre_handler = hit;
	d->kp.flags = KPROBE_FLAG_DISABLED;
	d->missed = 0;
	err = prepare(d->session, &d->kp);
	if (err)
		return err;
	err = enable_kprobe(&d->kp);
	if (err) {
		unregister_kprobe(&d->kp);
		return ltt_refuse(d->session, err, "kprobe:%s cannot be armed (error %d)", d->name, -err);
	}
	d->se.registered = true;
	return 0;
}

/* Adds what the kernel missed since the last time. */
static void count_missed(struct ltt_dynamic *d)
{
	unsigned long missed = READ_ONCE(d->kp.nmissed);

	relayfs_channel_count_missed(d->session->chan, missed - d->missed);
	d->missed = missed;
}

int ltt_kprobe_unregister(struct ltt_dynamic *d)
{
	if (!d->se.registered)
		return 0;
	d->se.registered = false;
	unregister_kprobe(&d->kp);
	count_missed(d);
	return 0;
}

void ltt_kprobe_count_missed(struct ltt_session *s)
{
	struct ltt_dynamic *d;

	list_for_each_entry(d, &s->dynamic, link)
		if (d->kprobe && d->se.registered)
			count_missed(d);
}

/* Makes the event of a function that has none yet, and tries whether it can be probed. */
int ltt_kprobe_make(struct ltt_session *s, const char *func)
{
	struct kprobe trial = { .symbol_name = func, .flags = KPROBE_FLAG_DISABLED, .pre_handler = hit };
	struct ltt_dynamic *d;
	int err;

	if (match_string(writers, ARRAY_SIZE(writers), func) >= 0)
		return ltt_refuse(s, -EPERM, "kprobe:%s: each record calls it", func);
	err = prepare(s, &trial);
	if (err)
		return err;
	unregister_kprobe(&trial);
	d = ltt_dynamic_make(s, func, true);
	if (IS_ERR(d))
		return PTR_ERR(d);
	ltt_dynamic_field(d, "ip", LTT_HEX, 8);
#if N_ARGS
	ltt_dynamic_field(d, "arg0", LTT_HEX, 8);
	ltt_dynamic_field(d, "arg1", LTT_HEX, 8);
	ltt_dynamic_field(d, "arg2", LTT_HEX, 8);
	ltt_dynamic_field(d, "arg3", LTT_HEX, 8);
#endif
	ltt_dynamic_add(s, d);
	return 0;
}
