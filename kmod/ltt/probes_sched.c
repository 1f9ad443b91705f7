// SPDX-License-Identifier: GPL-2.0-only
/* Events of tasks: groups sched, task, signal, and the names that state_0 keeps. */
#include <linux/binfmts.h>
#include <linux/pid.h>
#include <linux/sched/signal.h>

#include <trace/events/sched.h>
#include <trace/events/signal.h>
#include <trace/events/task.h>

#include "probes.h"

/* As ftrace reports it: one bit for why the task leaves, 0 if it stays runnable, 0x100 if it was preempted. */
static u16 state_bit(bool preempt, unsigned int index)
{
	return preempt ? 0x100 : index ? 1U << (index - 1) : 0;
}

static __always_inline void fill_switch(struct ltt3_sched_switch *p, const struct task_struct *prev,
					const struct task_struct *next, u16 state)
{
	p->prev_pid = prev->pid;
	p->next_pid = next->pid;
	p->prev_prio = prev->prio;
	p->next_prio = next->prio;
	p->prev_state = state;
}

/* Since 5.18, and since 5.14 where it was backported, the state is given, as the task may already be woken again. */
LTT_PROBE_FUNC(SCHED_SWITCH, sched_switch, probe_switch_state, next,
	       TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next, unsigned int prev_state),
	       TP_ARGS(preempt, prev, next, prev_state))
{
	fill_switch(p, prev, next, state_bit(preempt, compat_state_index(prev_state, prev->exit_state)));
}

LTT_PROBE_FUNC(SCHED_SWITCH, sched_switch, probe_switch, next,
	       TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next),
	       TP_ARGS(preempt, prev, next))
{
	fill_switch(p, prev, next, state_bit(preempt, task_state_index(prev)));
}

LTT_OFFER(sched_switch, sched_switch, probe_switch_state, probe_switch)

LTT_PROBE(SCHED_WAKING, sched_waking, task, TP_PROTO(struct task_struct *task), TP_ARGS(task))
{
	p->pid = task->pid;
	p->prio = task->prio;
	p->target_cpu = task_cpu(task);
}

LTT_PROBE(SCHED_WAKEUP, sched_wakeup, task, TP_PROTO(struct task_struct *task), TP_ARGS(task))
{
	p->pid = task->pid;
	p->prio = task->prio;
	p->target_cpu = task_cpu(task);
}

LTT_PROBE(SCHED_WAKEUP_NEW, sched_wakeup_new, task, TP_PROTO(struct task_struct *task), TP_ARGS(task))
{
	p->pid = task->pid;
	p->prio = task->prio;
	p->target_cpu = task_cpu(task);
}

LTT_PROBE(SCHED_MIGRATE_TASK, sched_migrate_task, task, TP_PROTO(struct task_struct *task, int dest_cpu),
	  TP_ARGS(task, dest_cpu))
{
	p->pid = task->pid;
	p->prio = task->prio;
	p->orig_cpu = task_cpu(task);
	p->dest_cpu = dest_cpu;
}

LTT_PROBE(SCHED_PROCESS_FORK, sched_process_fork, child,
	  TP_PROTO(struct task_struct *parent, struct task_struct *child), TP_ARGS(parent, child))
{
	p->parent_pid = parent->pid;
	p->child_pid = child->pid;
	p->child_tgid = child->tgid;
}

static void probe_exec(void *data, struct task_struct *task, pid_t old_pid, struct linux_binprm *bprm)
{
	size_t len = strnlen(bprm->filename, PATH_MAX);
	struct relayfs_slot slot;
	struct ltt3_sched_process_exec *p = ltt_begin(&slot, data, SCHED_PROCESS_EXEC, task, len + 1);

	if (!p)
		return;
	p->pid = task->pid;
	p->old_pid = old_pid;
	ltt_put_text(p->filename, bprm->filename, len);
	ltt_end(&slot, data);
}
LTT_OFFER(sched_process_exec, sched_process_exec, probe_exec)

/* The second argument came in 6.16. */
LTT_PROBE_FUNC(SCHED_PROCESS_EXIT, sched_process_exit, probe_exit_group, task,
	       TP_PROTO(struct task_struct *task, bool group_dead), TP_ARGS(task, group_dead))
{
	p->pid = task->pid;
	p->prio = task->prio;
}

LTT_PROBE_FUNC(SCHED_PROCESS_EXIT, sched_process_exit, probe_exit, task,
	       TP_PROTO(struct task_struct *task), TP_ARGS(task))
{
	p->pid = task->pid;
	p->prio = task->prio;
}

LTT_OFFER(sched_process_exit, sched_process_exit, probe_exit_group, probe_exit)

LTT_PROBE(SCHED_PROCESS_FREE, sched_process_free, task, TP_PROTO(struct task_struct *task), TP_ARGS(task))
{
	p->pid = task->pid;
	p->prio = task->prio;
}

LTT_PROBE(SCHED_PROCESS_WAIT, sched_process_wait, NULL, TP_PROTO(struct pid *pid), TP_ARGS(pid))
{
	p->tid = current->pid;
	p->pid = pid_nr(pid);
	p->prio = current->prio;
}

LTT_PROBE(SCHED_PI_SETPRIO, sched_pi_setprio, task, TP_PROTO(struct task_struct *task, struct task_struct *waiter),
	  TP_ARGS(task, waiter))
{
	p->pid = task->pid;
	p->oldprio = task->prio;
	p->newprio = waiter ? min(task->normal_prio, waiter->prio) : task->normal_prio;
}

/* The third argument went in 6.8. */
LTT_PROBE_FUNC(SCHED_STAT_RUNTIME, sched_stat_runtime, probe_runtime, task,
	       TP_PROTO(struct task_struct *task, u64 runtime), TP_ARGS(task, runtime))
{
	p->pid = task->pid;
	p->reserved = 0;
	p->runtime = runtime;
}

LTT_PROBE_FUNC(SCHED_STAT_RUNTIME, sched_stat_runtime, probe_runtime_virtual, task,
	       TP_PROTO(struct task_struct *task, u64 runtime, u64 vruntime), TP_ARGS(task, runtime, vruntime))
{
	p->pid = task->pid;
	p->reserved = 0;
	p->runtime = runtime;
}

LTT_OFFER(sched_stat_runtime, sched_stat_runtime, probe_runtime, probe_runtime_virtual)

static __always_inline void fill_newtask(struct ltt3_task_newtask *p, const struct task_struct *task, u64 clone_flags)
{
	p->tid = current->pid;
	p->pid = task->pid;
	p->clone_flags = clone_flags;
	p->oom_score_adj = task->signal->oom_score_adj;
}

/* The flags are 64 bits wide since 6.18, whatever long is. */
LTT_PROBE_FUNC(TASK_NEWTASK, task_newtask, probe_newtask, task,
	       TP_PROTO(struct task_struct *task, unsigned long clone_flags), TP_ARGS(task, clone_flags))
{
	fill_newtask(p, task, clone_flags);
}

LTT_PROBE_FUNC(TASK_NEWTASK, task_newtask, probe_newtask_u64, task,
	       TP_PROTO(struct task_struct *task, u64 clone_flags), TP_ARGS(task, clone_flags))
{
	fill_newtask(p, task, clone_flags);
}

LTT_OFFER(task_newtask, task_newtask, probe_newtask, probe_newtask_u64)

LTT_PROBE(TASK_RENAME, task_rename, task, TP_PROTO(struct task_struct *task, const char *comm), TP_ARGS(task, comm))
{
	p->pid = task->pid;
	memcpy(p->oldcomm, task->comm, LTT3_COMM_LEN);
	memset(p->newcomm, 0, LTT3_COMM_LEN);
	memcpy(p->newcomm, comm, strnlen(comm, LTT3_COMM_LEN - 1));	/* the rest of a longer one is cut off */
	p->oom_score_adj = task->signal->oom_score_adj;
}

/* What is told of a signal's origin; @info may be one of two numbers instead of an address. */
#define FILL_SIGNAL(p, number, info)									\
do {													\
	bool told__ = (info) != SEND_SIG_NOINFO && (info) != SEND_SIG_PRIV;				\
													\
	(p)->tid = current->pid;									\
	(p)->sig = number;										\
	(p)->errno = told__ ? (info)->si_errno : 0;							\
	(p)->code = told__ ? (info)->si_code : (info) == SEND_SIG_PRIV ? SI_KERNEL : SI_USER;		\
} while (0)

LTT_PROBE(SIGNAL_GENERATE, signal_generate, task,
	  TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result),
	  TP_ARGS(sig, info, task, group, result))
{
	FILL_SIGNAL(p, sig, info);
	p->pid = task->pid;
	p->group = group;
	p->result = result;
}

LTT_PROBE(SIGNAL_DELIVER, signal_deliver, NULL,
	  TP_PROTO(int sig, struct kernel_siginfo *info, struct k_sigaction *action), TP_ARGS(sig, info, action))
{
	FILL_SIGNAL(p, sig, info);
	p->sa_handler = (unsigned long)action->sa.sa_handler;
	p->sa_flags = action->sa.sa_flags;
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

static void state_exit(void *data, struct task_struct *task)
{
	struct ltt_session *s = data;

	ltt_state_task(&s->state, task, LTT3_CAUSE_EXIT, task->comm);
}

static void state_exit_group(void *data, struct task_struct *task, bool group_dead)
{
	state_exit(data, task);
}

static_assert(COMPAT_TRACE_CALLS(sched_process_fork, state_fork));
static_assert(COMPAT_TRACE_CALLS(sched_process_exec, state_exec));
static_assert(COMPAT_TRACE_CALLS(sched_process_exit, state_exit) ||
	      COMPAT_TRACE_CALLS(sched_process_exit, state_exit_group));
static_assert(COMPAT_TRACE_CALLS(task_rename, state_rename));

static const struct {
	enum ltt_event_index event;
	void *probe;
} state_probes[] = {
	{ LTT_EVENT_SCHED_PROCESS_FORK, state_fork },
	{ LTT_EVENT_SCHED_PROCESS_EXEC, state_exec },
	{ LTT_EVENT_SCHED_PROCESS_EXIT,
	  COMPAT_TRACE_CALLS(sched_process_exit, state_exit) ? (void *)state_exit : (void *)state_exit_group },
	{ LTT_EVENT_TASK_RENAME, state_rename },
};

/* Keeps state_0 up to date, whatever events are enabled. */
int ltt_register_state_probes(struct ltt_session *s)
{
	int i, err;

	for (i = 0; i < ARRAY_SIZE(state_probes); i++) {
		err = tracepoint_probe_register(ltt_events[state_probes[i].event].tp, state_probes[i].probe, s);
		if (err) {
			while (i--)
				tracepoint_probe_unregister(ltt_events[state_probes[i].event].tp,
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
		tracepoint_probe_unregister(ltt_events[state_probes[i].event].tp, state_probes[i].probe, s);
	s->state_on = false;
}
