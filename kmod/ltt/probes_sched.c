// SPDX-License-Identifier: GPL-2.0-only
/* Events of tasks: groups sched and task. */
#include <linux/binfmts.h>

#include <trace/events/sched.h>
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
	fill_switch(p, prev, next, state_bit(preempt, __task_state_index(prev_state, prev->exit_state)));
}

LTT_PROBE_FUNC(SCHED_SWITCH, sched_switch, probe_switch, next,
	       TP_PROTO(bool preempt, struct task_struct *prev, struct task_struct *next),
	       TP_ARGS(preempt, prev, next))
{
	fill_switch(p, prev, next, state_bit(preempt, task_state_index(prev)));
}

LTT_OFFER_ONE_OF(sched_switch, sched_switch, probe_switch_state, probe_switch)

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
	memcpy(p->filename, bprm->filename, len);
	p->filename[len] = 0;
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

LTT_OFFER_ONE_OF(sched_process_exit, sched_process_exit, probe_exit_group, probe_exit)

LTT_PROBE(TASK_RENAME, task_rename, task, TP_PROTO(struct task_struct *task, const char *comm), TP_ARGS(task, comm))
{
	p->pid = task->pid;
	memcpy(p->oldcomm, task->comm, LTT3_COMM_LEN);
	memset(p->newcomm, 0, LTT3_COMM_LEN);
	memcpy(p->newcomm, comm, strnlen(comm, LTT3_COMM_LEN));
	p->oom_score_adj = task->signal->oom_score_adj;
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
