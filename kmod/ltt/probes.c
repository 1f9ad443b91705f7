// SPDX-License-Identifier: GPL-2.0-only
/*
 * The probes: from a tracepoint's arguments to a record, in place.
 *
 * Nothing here allocates, sleeps, faults or prints. From 6.13 on some tracepoints call their probes preemptible; irqs are
 * off from relayfs_reserve() to relayfs_commit(), and nothing per-CPU is touched outside of that.
 */
#include <linux/binfmts.h>
#include <linux/compat.h>
#include <linux/interrupt.h>
#include <linux/string.h>
#include <asm/syscall.h>

#include <trace/events/irq.h>
#include <trace/events/sched.h>
#include <trace/events/syscalls.h>
#include <trace/events/task.h>
#if __has_include(<trace/events/exceptions.h>)
#include <trace/events/exceptions.h>
#elif __has_include(<asm/trace/exceptions.h>)
#include <asm/trace/exceptions.h>
#endif

#include "compat.h"
#include "internal.h"
#include "syscall_nargs.h"	/* made at build time from this kernel's headers */

/*
 * A record is begun by ltt_begin() and ended by ltt_end(), both with the probe's @data; between them nothing may be called
 * that can fault, sleep or be traced.
 */

static __always_inline void *ltt_reserve(struct relayfs_slot *slot, struct ltt_session_event *se, u16 id, size_t size)
{
	void *payload;
	u64 now;

	local_irq_save(slot->flags);
	now = ktime_get_mono_fast_ns();
	payload = __relayfs_reserve(this_cpu_ptr(se->writers), slot, now, id, LTT3_RECORD_HEADER_SIZE + size);
	if (unlikely(!payload))
		local_irq_restore(slot->flags);
	return payload;
}

/* Begins a record of event @NAME with @more bytes behind the fixed part; @other is a task besides the current one. */
#define ltt_begin(slot, data, NAME, other, more)							\
({													\
	struct ltt_session_event *se__ = (data);							\
	void *p__ = NULL;										\
													\
	if (likely(!se__->filtered) || ltt_filter_pass(&se__->filter, other))				\
		p__ = ltt_reserve(slot, se__, LTT3_ID_##NAME, LTT3_##NAME##_SIZE + (more));		\
	p__;												\
})

static __always_inline void ltt_end(struct relayfs_slot *slot, void *data)
{
	relayfs_commit(slot);
}

/* ------------------------------------------------------------------------------------------------------- sched --- */

/* As ftrace reports it: one bit for why the task leaves, 0 if it stays runnable, 0x100 if it was preempted. */
static u16 state_bit(bool preempt, unsigned int index)
{
	return preempt ? 0x100 : index ? 1U << (index - 1) : 0;
}

static __always_inline void record_switch(void *data, const struct task_struct *prev, const struct task_struct *next,
					  u16 state)
{
	struct relayfs_slot slot;
	struct ltt3_sched_switch *p = ltt_begin(&slot, data, SCHED_SWITCH, next, 0);

	if (!p)
		return;
	p->prev_pid = prev->pid;
	p->next_pid = next->pid;
	p->prev_prio = prev->prio;
	p->next_prio = next->prio;
	p->prev_state = state;
	ltt_end(&slot, data);
}

#ifdef LTT_SWITCH_HAS_STATE
static void ltt_probe_sched_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next,
				   unsigned int prev_state)
{
	record_switch(data, prev, next, state_bit(preempt, __task_state_index(prev_state, prev->exit_state)));
}
COMPAT_CHECK_TRACEPOINT(sched_switch, bool, struct task_struct *, struct task_struct *, unsigned int);
#else
static void ltt_probe_sched_switch(void *data, bool preempt, struct task_struct *prev, struct task_struct *next)
{
	record_switch(data, prev, next, state_bit(preempt, task_state_index(prev)));
}
COMPAT_CHECK_TRACEPOINT(sched_switch, bool, struct task_struct *, struct task_struct *);
#endif

static void ltt_probe_sched_waking(void *data, struct task_struct *task)
{
	struct relayfs_slot slot;
	struct ltt3_sched_waking *p = ltt_begin(&slot, data, SCHED_WAKING, task, 0);

	if (!p)
		return;
	p->pid = task->pid;
	p->prio = task->prio;
	p->target_cpu = task_cpu(task);
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sched_waking, struct task_struct *);

static void ltt_probe_sched_wakeup(void *data, struct task_struct *task)
{
	struct relayfs_slot slot;
	struct ltt3_sched_wakeup *p = ltt_begin(&slot, data, SCHED_WAKEUP, task, 0);

	if (!p)
		return;
	p->pid = task->pid;
	p->prio = task->prio;
	p->target_cpu = task_cpu(task);
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sched_wakeup, struct task_struct *);

static void ltt_probe_sched_process_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	struct relayfs_slot slot;
	struct ltt3_sched_process_fork *p = ltt_begin(&slot, data, SCHED_PROCESS_FORK, child, 0);

	if (!p)
		return;
	p->parent_pid = parent->pid;
	p->child_pid = child->pid;
	p->child_tgid = child->tgid;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sched_process_fork, struct task_struct *, struct task_struct *);

static void ltt_probe_sched_process_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	size_t len = strnlen(bprm->filename, PATH_MAX);
	struct relayfs_slot slot;
	struct ltt3_sched_process_exec *p = ltt_begin(&slot, data, SCHED_PROCESS_EXEC, task, len + 1);

	if (!p)
		return;
	p->pid = task->pid;
	p->old_pid = old_pid;
	memcpy(p->filename, bprm->filename, len);
	p->filename[len] = 0;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sched_process_exec, struct task_struct *, pid_t, struct linux_binprm *);

static __always_inline void record_exit(void *data, struct task_struct *task)
{
	struct relayfs_slot slot;
	struct ltt3_sched_process_exit *p = ltt_begin(&slot, data, SCHED_PROCESS_EXIT, task, 0);

	if (!p)
		return;
	p->pid = task->pid;
	p->prio = task->prio;
	ltt_end(&slot, data);
}

#ifdef LTT_EXIT_HAS_GROUP_DEAD
static void ltt_probe_sched_process_exit(void *data, struct task_struct *task, bool group_dead)
{
	record_exit(data, task);
}
COMPAT_CHECK_TRACEPOINT(sched_process_exit, struct task_struct *, bool);
#else
static void ltt_probe_sched_process_exit(void *data, struct task_struct *task)
{
	record_exit(data, task);
}
COMPAT_CHECK_TRACEPOINT(sched_process_exit, struct task_struct *);
#endif

static void ltt_probe_task_rename(void *data, struct task_struct *task, const char *comm)
{
	struct relayfs_slot slot;
	struct ltt3_task_rename *p = ltt_begin(&slot, data, TASK_RENAME, task, 0);

	if (!p)
		return;
	p->pid = task->pid;
	memcpy(p->oldcomm, task->comm, LTT3_COMM_LEN);
	memset(p->newcomm, 0, LTT3_COMM_LEN);
	memcpy(p->newcomm, comm, strnlen(comm, LTT3_COMM_LEN));
	p->oom_score_adj = task->signal->oom_score_adj;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(task_rename, struct task_struct *, const char *);

/* --------------------------------------------------------------------------------------------------------- sys --- */

#ifdef CONFIG_X86_X32_ABI
#define X32_BIT __X32_SYSCALL_BIT
#else
#define X32_BIT 0
#endif

static u8 syscall_abi(long id)
{
#ifdef CONFIG_X86_64
	return in_ia32_syscall() ? LTT3_ABI_IA32 : id > 0 && (id & X32_BIT) ? LTT3_ABI_X32 : LTT3_ABI_NATIVE;
#else
	return in_compat_syscall() ? LTT3_ABI_IA32 : LTT3_ABI_NATIVE;
#endif
}

static s16 syscall_id(long id, u8 abi)
{
	if (abi == LTT3_ABI_X32)
		id &= ~(long)X32_BIT;
	return id == (s16)id ? id : S16_MIN;
}

/* Is it a call of the native kind with a number that there is? Of the others little is asked but that they be right. */
static __always_inline bool syscall_common(unsigned long id)
{
#ifdef CONFIG_X86_64
	return id < ARRAY_SIZE(syscall_nargs) && !in_ia32_syscall();
#else
	return id < ARRAY_SIZE(syscall_nargs) && !in_compat_syscall();
#endif
}

/* A call that the table does not know gets all six arguments. */
static noinline void record_other_enter(void *data, struct pt_regs *regs, long id)
{
	unsigned long args[6];
	struct relayfs_slot slot;
	struct ltt3_sys_enter *p = ltt_begin(&slot, data, SYS_ENTER, NULL, sizeof(p->args[0]) * ARRAY_SIZE(args));
	int i;

	if (!p)
		return;
	p->tid = current->pid;
	p->abi = syscall_abi(id);
	p->id = syscall_id(id, p->abi);
	p->nargs = ARRAY_SIZE(args);
	syscall_get_arguments(current, regs, args);
	for (i = 0; i < ARRAY_SIZE(args); i++)
		p->args[i] = args[i];
	ltt_end(&slot, data);
}

static __always_inline void copy_arguments(u64 *to, struct pt_regs *regs, size_t n)
{
#ifdef CONFIG_X86_64
	if (!n)
		return;
	to[0] = regs->di;
	if (n == 1)
		return;
	to[1] = regs->si;
	if (n == 2)
		return;
	to[2] = regs->dx;
	if (n == 3)
		return;
	to[3] = regs->r10;
	if (n == 4)
		return;
	to[4] = regs->r8;
	if (n == 5)
		return;
	to[5] = regs->r9;
#else
	unsigned long args[6];
	size_t i;

	syscall_get_arguments(current, regs, args);
	for (i = 0; i < n; i++)
		to[i] = args[i];
#endif
}

static void ltt_probe_sys_enter(void *data, struct pt_regs *regs, long id)
{
	struct relayfs_slot slot;
	struct ltt3_sys_enter *p;
	size_t nargs;

	if (unlikely(!syscall_common(id))) {
		record_other_enter(data, regs, id);
		return;
	}
	nargs = syscall_nargs[id];
	p = ltt_begin(&slot, data, SYS_ENTER, NULL, nargs * sizeof(u64));
	if (!p)
		return;
	p->tid = current->pid;
	p->id = id;
	p->abi = LTT3_ABI_NATIVE;
	p->nargs = nargs;
	copy_arguments(p->args, regs, nargs);
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sys_enter, struct pt_regs *, long);

static void ltt_probe_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	struct relayfs_slot slot;
	struct ltt3_sys_exit *p = ltt_begin(&slot, data, SYS_EXIT, NULL, 0);
	int id;

	if (!p)
		return;
	id = syscall_get_nr(current, regs);
	p->tid = current->pid;
	if (likely(syscall_common((unsigned int)id))) {
		*(u32 *)&p->id = id;	/* and the two bytes behind it, which are 0 for a native call */
	} else {
		p->abi = syscall_abi(id);
		p->id = syscall_id(id, p->abi);
		p->reserved = 0;
	}
	p->ret = ret;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(sys_exit, struct pt_regs *, long);

/* --------------------------------------------------------------------------------------------------------- irq --- */

static void ltt_probe_irq_handler_entry(void *data, int irq, struct irqaction *action)
{
	struct relayfs_slot slot;
	struct ltt3_irq_handler_entry *p = ltt_begin(&slot, data, IRQ_HANDLER_ENTRY, NULL, 0);

	if (!p)
		return;
	p->irq = irq;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(irq_handler_entry, int, struct irqaction *);

static void ltt_probe_irq_handler_exit(void *data, int irq, struct irqaction *action, int ret)
{
	struct relayfs_slot slot;
	struct ltt3_irq_handler_exit *p = ltt_begin(&slot, data, IRQ_HANDLER_EXIT, NULL, 0);

	if (!p)
		return;
	p->irq = irq;
	p->ret = ret;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(irq_handler_exit, int, struct irqaction *, int);

static void ltt_probe_softirq_entry(void *data, unsigned int vec)
{
	struct relayfs_slot slot;
	struct ltt3_softirq_entry *p = ltt_begin(&slot, data, SOFTIRQ_ENTRY, NULL, 0);

	if (!p)
		return;
	p->vec = vec;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(softirq_entry, unsigned int);

static void ltt_probe_softirq_exit(void *data, unsigned int vec)
{
	struct relayfs_slot slot;
	struct ltt3_softirq_exit *p = ltt_begin(&slot, data, SOFTIRQ_EXIT, NULL, 0);

	if (!p)
		return;
	p->vec = vec;
	ltt_end(&slot, data);
}
COMPAT_CHECK_TRACEPOINT(softirq_exit, unsigned int);

/* -------------------------------------------------------------------------------------------------- exceptions --- */

static void ltt_probe_page_fault_user(void *data, unsigned long address, struct pt_regs *regs, unsigned long error_code)
{
	struct relayfs_slot slot;
	struct ltt3_page_fault_user *p = ltt_begin(&slot, data, PAGE_FAULT_USER, NULL, 0);

	if (!p)
		return;
	p->tid = current->pid;
	p->error_code = error_code;
	p->address = address;
	p->ip = instruction_pointer(regs);
	ltt_end(&slot, data);
}

static void ltt_probe_page_fault_kernel(void *data, unsigned long address, struct pt_regs *regs,
					unsigned long error_code)
{
	struct relayfs_slot slot;
	struct ltt3_page_fault_kernel *p = ltt_begin(&slot, data, PAGE_FAULT_KERNEL, NULL, 0);

	if (!p)
		return;
	p->tid = current->pid;
	p->error_code = error_code;
	p->address = address;
	p->ip = instruction_pointer(regs);
	ltt_end(&slot, data);
}
#if __has_include(<trace/events/exceptions.h>) || __has_include(<asm/trace/exceptions.h>)
COMPAT_CHECK_TRACEPOINT(page_fault_user, unsigned long, struct pt_regs *, unsigned long);
COMPAT_CHECK_TRACEPOINT(page_fault_kernel, unsigned long, struct pt_regs *, unsigned long);
#endif

/* ------------------------------------------------------------------------------------------------------ markers --- */

#define ltt_probe_marker NULL	/* written by write(2), not by a tracepoint */

/* @text is not ended by NUL and has no NUL in it. False if the record was lost. */
bool ltt_write_marker(struct ltt_session *s, const char *text, size_t len)
{
	struct ltt_session_event *se = &s->events[LTT_EVENT_MARKER];
	struct relayfs_slot slot;
	struct ltt3_marker *p = ltt_begin(&slot, se, MARKER, NULL, len + 1);

	if (!p)
		return false;
	p->tid = current->pid;
	memcpy(p->text, text, len);
	p->text[len] = 0;
	ltt_end(&slot, se);
	return true;
}

/* -------------------------------------------------------------------------------------------------- what state is --- */

static void state_fork(void *data, struct task_struct *parent, struct task_struct *child)
{
	struct ltt_session *s = data;

	ltt_filter_fork(&s->filter, parent, child);
	ltt_state_task(&s->state, child, LTT3_CAUSE_FORK, child->comm);
}

static void state_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	struct ltt_session *s = data;

	ltt_state_task(&s->state, task, LTT3_CAUSE_EXEC, task->comm);
}

static void state_rename(void *data, struct task_struct *task, const char *comm)
{
	struct ltt_session *s = data;

	ltt_state_task(&s->state, task, LTT3_CAUSE_RENAME, comm);
}

#ifdef LTT_EXIT_HAS_GROUP_DEAD
static void state_exit(void *data, struct task_struct *task, bool group_dead)
#else
static void state_exit(void *data, struct task_struct *task)
#endif
{
	struct ltt_session *s = data;

	ltt_state_task(&s->state, task, LTT3_CAUSE_EXIT, task->comm);
}

static const struct {
	const char *name;
	void *probe;
} state_probes[] = {
	{ "sched_process_fork", state_fork },
	{ "sched_process_exec", state_exec },
	{ "sched_process_exit", state_exit },
	{ "task_rename", state_rename },
};

/* Keeps state_0 up to date, whatever events are enabled. */
int ltt_register_state_probes(struct ltt_session *s)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(state_probes); i++) {
		err = tracepoint_probe_register(ltt_tracepoint(state_probes[i].name), state_probes[i].probe, s);
		if (err) {
			while (i--)
				tracepoint_probe_unregister(ltt_tracepoint(state_probes[i].name),
							    state_probes[i].probe, s);
			return err;
		}
	}
	s->state_on = true;
	return 0;
}

void ltt_unregister_state_probes(struct ltt_session *s)
{
	int i;

	if (!s->state_on)
		return;
	for (i = 0; i < ARRAY_SIZE(state_probes); i++)
		tracepoint_probe_unregister(ltt_tracepoint(state_probes[i].name), state_probes[i].probe, s);
	s->state_on = false;
}

#define LTT_EVENT(NAME, name_, group_, class_)								\
	[LTT_EVENT_##NAME] = {										\
		.name = #name_, .group = #group_, .class = #class_, .id = LTT3_ID_##NAME,		\
		.probe = ltt_probe_##name_,								\
	},
struct ltt_event ltt_events[LTT_N_EVENTS] = { LTT3_EVENTS(LTT_EVENT) };
