// SPDX-License-Identifier: GPL-2.0-only
/* Events of the rest of the system: groups workqueue, power, printk, module, lock, cgroup. */
#include <linux/cgroup.h>
#include <linux/module.h>
#include <linux/workqueue.h>

#include <trace/events/cgroup.h>
#include <trace/events/lock.h>
#include <trace/events/module.h>
#include <trace/events/power.h>
#include <trace/events/printk.h>
#include <trace/events/workqueue.h>

#include "probes.h"

#define MAX_TEXT 1024	/* of a line, a path or a name */

/* --------------------------------------------------------------------------------------------------- workqueues --- */

struct pool_workqueue;

LTT_PROBE_FUNC(WORKQUEUE_QUEUE_WORK, workqueue_queue_work, probe_queue_work, NULL,
	       TP_PROTO(int cpu, struct pool_workqueue *pool, struct work_struct *work), TP_ARGS(cpu, pool, work))
{
	p->work = (unsigned long)work;
	p->function = (unsigned long)work->func;
	p->req_cpu = cpu;
}

/* The CPU has a sign since 5.19. */
static void __maybe_unused probe_queue_work_unsigned(void *data, unsigned int cpu, struct pool_workqueue *pool,
						     struct work_struct *work)
{
	probe_queue_work(data, cpu, pool, work);
}
LTT_OFFER(workqueue_queue_work, workqueue_queue_work, probe_queue_work, probe_queue_work_unsigned)

LTT_PROBE(WORKQUEUE_ACTIVATE_WORK, workqueue_activate_work, NULL, TP_PROTO(struct work_struct *work), TP_ARGS(work))
{
	p->work = (unsigned long)work;
}

LTT_PROBE(WORKQUEUE_EXECUTE_START, workqueue_execute_start, NULL, TP_PROTO(struct work_struct *work), TP_ARGS(work))
{
	p->work = (unsigned long)work;
	p->function = (unsigned long)work->func;
}

/* The work may be gone: only its address is looked at. */
LTT_PROBE(WORKQUEUE_EXECUTE_END, workqueue_execute_end, NULL, TP_PROTO(struct work_struct *work, work_func_t function),
	  TP_ARGS(work, function))
{
	p->work = (unsigned long)work;
	p->function = (unsigned long)function;
}

/* -------------------------------------------------------------------------------------------------------- power --- */

LTT_PROBE(CPU_IDLE, cpu_idle, NULL, TP_PROTO(unsigned int state, unsigned int cpu), TP_ARGS(state, cpu))
{
	p->state = state;
	p->cpu_id = cpu;
}

LTT_PROBE(CPU_FREQUENCY, cpu_frequency, NULL, TP_PROTO(unsigned int frequency, unsigned int cpu),
	  TP_ARGS(frequency, cpu))
{
	p->state = frequency;
	p->cpu_id = cpu;
}

static void probe_suspend(void *data, const char *action, int val, bool start)
{
	size_t len = strnlen(action, MAX_TEXT);
	struct relayfs_slot slot;
	struct ltt3_suspend_resume *p = ltt_begin(&slot, data, SUSPEND_RESUME, NULL, len + 1);

	if (!p)
		return;
	p->val = val;
	p->start = start;
	ltt_put_text(p->action, action, len);
	ltt_end(&slot, data);
}
LTT_OFFER(suspend_resume, suspend_resume, probe_suspend)

/* ---------------------------------------------------------------------------------------- the console, modules --- */

static void probe_console(void *data, const char *text, size_t len)
{
	struct relayfs_slot slot;
	struct ltt3_console *p;

	if (len && text[len - 1] == '\n')
		len--;
	len = strnlen(text, min_t(size_t, len, MAX_TEXT));
	p = ltt_begin(&slot, data, CONSOLE, NULL, len + 1);
	if (!p)
		return;
	p->tid = current->pid;
	ltt_put_text(p->msg, text, len);
	ltt_end(&slot, data);
}
LTT_OFFER(console, console, probe_console)

static void probe_module_load(void *data, struct module *mod)
{
	size_t len = strnlen(mod->name, MAX_TEXT);
	struct relayfs_slot slot;
	struct ltt3_module_load *p = ltt_begin(&slot, data, MODULE_LOAD, NULL, len + 1);

	if (!p)
		return;
	p->tid = current->pid;
	p->taints = mod->taints;
	ltt_put_text(p->name, mod->name, len);
	ltt_end(&slot, data);
}
LTT_OFFER(module_load, module_load, probe_module_load)

static void probe_module_free(void *data, struct module *mod)
{
	size_t len = strnlen(mod->name, MAX_TEXT);
	struct relayfs_slot slot;
	struct ltt3_module_free *p = ltt_begin(&slot, data, MODULE_FREE, NULL, len + 1);

	if (!p)
		return;
	p->tid = current->pid;
	ltt_put_text(p->name, mod->name, len);
	ltt_end(&slot, data);
}
LTT_OFFER(module_free, module_free, probe_module_free)

static void probe_module_request(void *data, char *name, bool wait, unsigned long ip)
{
	size_t len = strnlen(name, MAX_TEXT);
	struct relayfs_slot slot;
	struct ltt3_module_request *p = ltt_begin(&slot, data, MODULE_REQUEST, NULL, len + 1);

	if (!p)
		return;
	p->ip = ip;
	p->tid = current->pid;
	p->wait = wait;
	ltt_put_text(p->name, name, len);
	ltt_end(&slot, data);
}
LTT_OFFER(module_request, module_request, probe_module_request)

/* --------------------------------------------------------------------------------------------------------- lock --- */

LTT_PROBE(CONTENTION_BEGIN, contention_begin, NULL, TP_PROTO(void *lock, unsigned int flags), TP_ARGS(lock, flags))
{
	p->tid = current->pid;
	p->flags = flags;
	p->lock_addr = (unsigned long)lock;
}

LTT_PROBE(CONTENTION_END, contention_end, NULL, TP_PROTO(void *lock, int ret), TP_ARGS(lock, ret))
{
	p->tid = current->pid;
	p->ret = ret;
	p->lock_addr = (unsigned long)lock;
}

/* ------------------------------------------------------------------------------------------------------- cgroup --- */

#define LTT_CGROUP(NAME, ev)										\
static void probe_##ev(void *data, struct cgroup *group, const char *path)				\
{													\
	size_t len = strnlen(path, MAX_TEXT);								\
	struct relayfs_slot slot;									\
	struct ltt3_##ev *p = ltt_begin(&slot, data, NAME, NULL, len + 1);				\
													\
	if (!p)												\
		return;											\
	p->cgroup = cgroup_id(group);									\
	p->root = group->root->hierarchy_id;								\
	p->level = group->level;									\
	ltt_put_text(p->path, path, len);								\
	ltt_end(&slot, data);										\
}													\
LTT_OFFER(ev, ev, probe_##ev)

LTT_CGROUP(CGROUP_MKDIR, cgroup_mkdir)
LTT_CGROUP(CGROUP_RMDIR, cgroup_rmdir)

static void probe_attach(void *data, struct cgroup *group, const char *path, struct task_struct *task, bool threadgroup)
{
	size_t len = strnlen(path, MAX_TEXT);
	struct relayfs_slot slot;
	struct ltt3_cgroup_attach_task *p = ltt_begin(&slot, data, CGROUP_ATTACH_TASK, task, len + 1);

	if (!p)
		return;
	p->dst_cgroup = cgroup_id(group);
	p->dst_root = group->root->hierarchy_id;
	p->dst_level = group->level;
	p->pid = task->pid;
	ltt_put_text(p->dst_path, path, len);
	ltt_end(&slot, data);
}
LTT_OFFER(cgroup_attach_task, cgroup_attach_task, probe_attach)
