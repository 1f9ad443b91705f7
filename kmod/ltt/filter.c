// SPDX-License-Identifier: GPL-2.0-only
/*
 * Filters, checked before a record is reserved: tid= tgid= (or pid=) comm= uid= cgroup= cpu= follow=1.
 *
 * Within a key values are alternatives, keys must all hold. They may hold for the current task or for another that the
 * event is about (the next task of a switch, the one woken, the child). With follow=1 children of tasks that pass, pass.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/glob.h>
#include <linux/mm.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/threads.h>
#include <linux/vmalloc.h>

#include "internal.h"

#define MAX_VALUES 32

struct ltt_filter {
	bool follow;
	unsigned int n_tid, n_tgid, n_uid, n_comm;
	pid_t tid[MAX_VALUES];
	pid_t tgid[MAX_VALUES];
	uid_t uid[MAX_VALUES];
	char comm[MAX_VALUES][TASK_COMM_LEN];
	struct cgroup *cgroup;
	bool has_cpus;
	cpumask_t cpus;
	unsigned long *followed;	/* a bit for each possible thread id */
};

static bool among(const u32 *values, unsigned int n, u32 value)
{
	unsigned int i;

	for (i = 0; i < n; i++)
		if (values[i] == value)
			return true;
	return false;
}

static bool comm_among(const struct ltt_filter *f, const struct task_struct *task)
{
	unsigned int i;

	for (i = 0; i < f->n_comm; i++)
		if (glob_match(f->comm[i], task->comm))
			return true;
	return false;
}

#ifdef CONFIG_CGROUPS
static bool cgroup_passes(struct cgroup *cgroup, const struct task_struct *task)
{
	bool pass;

	rcu_read_lock();
	pass = cgroup_is_descendant(task_dfl_cgroup((struct task_struct *)task), cgroup);
	rcu_read_unlock();
	return pass;
}
#endif

/* With preemption off. */
static bool task_passes(const struct ltt_filter *f, const struct task_struct *task)
{
	if (f->followed && test_bit(task->pid, f->followed))
		return true;
	if (f->n_tid && !among(f->tid, f->n_tid, task->pid))
		return false;
	if (f->n_tgid && !among(f->tgid, f->n_tgid, task->tgid))
		return false;
	if (f->n_uid && !among(f->uid, f->n_uid, from_kuid_munged(&init_user_ns, rcu_dereference_sched(task->real_cred)->uid)))
		return false;
	if (f->n_comm && !comm_among(f, task))
		return false;
#ifdef CONFIG_CGROUPS
	if (f->cgroup && !cgroup_passes(f->cgroup, task))
		return false;
#endif
	return true;
}

/* Does the current task, or @other (may be NULL), pass? No filter passes all. From any context that probes run in. */
bool ltt_filter_pass(struct ltt_filter __rcu **at, const struct task_struct *other)
{
	const struct ltt_filter *f;
	bool pass;

	/* synchronize_rcu() waits for this as well, and it costs less than rcu_read_lock() where that is a call. */
	rcu_read_lock_sched();
	f = rcu_dereference_sched(*at);
	pass = !f || ((!f->has_cpus || cpumask_test_cpu(raw_smp_processor_id(), &f->cpus)) &&
		      (task_passes(f, current) || (other && task_passes(f, other))));
	rcu_read_unlock_sched();
	return pass;
}

void ltt_filter_fork(struct ltt_filter __rcu **at, const struct task_struct *parent, const struct task_struct *child)
{
	const struct ltt_filter *f;

	rcu_read_lock_sched();
	f = rcu_dereference_sched(*at);
	if (f && f->followed) {
		/* A thread id comes back: it means the new task from now on. */
		if (task_passes(f, parent))
			set_bit(child->pid, f->followed);
		else
			clear_bit(child->pid, f->followed);
	}
	rcu_read_unlock_sched();
}

void ltt_free_filter(struct ltt_filter *filter)
{
	if (!filter)
		return;
#ifdef CONFIG_CGROUPS
	if (filter->cgroup)
		cgroup_put(filter->cgroup);
#endif
	vfree(filter->followed);
	kvfree(filter);
}

static int add_numbers(struct ltt_session *s, const char *key, char *list, u32 *values, unsigned int *n)
{
	char *word;

	while ((word = strsep(&list, ","))) {
		if (*n == MAX_VALUES)
			return ltt_refuse(s, -E2BIG, "%s= takes at most %u values", key, MAX_VALUES);
		if (kstrtou32(word, 10, &values[(*n)++]))
			return ltt_refuse(s, -EINVAL, "%s=%s: a decimal number was expected", key, word);
	}
	return 0;
}

static int add_names(struct ltt_session *s, char *list, struct ltt_filter *f)
{
	char *word;

	while ((word = strsep(&list, ","))) {
		if (f->n_comm == MAX_VALUES)
			return ltt_refuse(s, -E2BIG, "comm= takes at most %u names", MAX_VALUES);
		if (strlen(word) >= TASK_COMM_LEN)
			return ltt_refuse(s, -EINVAL, "comm=%s: a task's name has at most %d bytes", word,
					  TASK_COMM_LEN - 1);
		strcpy(f->comm[f->n_comm++], word);
	}
	return 0;
}

static int set_cgroup(struct ltt_session *s, const char *path, struct ltt_filter *f)
{
#ifdef CONFIG_CGROUPS
	struct cgroup *cgroup = cgroup_get_from_path(path);

	if (IS_ERR(cgroup))
		return ltt_refuse(s, PTR_ERR(cgroup), "cgroup=%s: no such cgroup (a path below /sys/fs/cgroup)", path);
	if (f->cgroup)
		cgroup_put(f->cgroup);
	f->cgroup = cgroup;
	return 0;
#else
	return ltt_refuse(s, -EOPNOTSUPP, "cgroup=%s: this kernel has no cgroups", path);
#endif
}

static int parse_word(struct ltt_session *s, struct ltt_filter *f, const char *key, char *value)
{
	if (!strcmp(key, "tid"))
		return add_numbers(s, key, value, (u32 *)f->tid, &f->n_tid);
	if (!strcmp(key, "tgid") || !strcmp(key, "pid"))
		return add_numbers(s, key, value, (u32 *)f->tgid, &f->n_tgid);
	if (!strcmp(key, "uid"))
		return add_numbers(s, key, value, f->uid, &f->n_uid);
	if (!strcmp(key, "comm"))
		return add_names(s, value, f);
	if (!strcmp(key, "cgroup"))
		return set_cgroup(s, value, f);
	if (!strcmp(key, "cpu")) {
		f->has_cpus = true;
		if (cpulist_parse(value, &f->cpus))
			return ltt_refuse(s, -EINVAL, "cpu=%s: a list such as 0,2-3 was expected", value);
		return 0;
	}
	if (!strcmp(key, "follow")) {
		if (strcmp(value, "0") && strcmp(value, "1"))
			return ltt_refuse(s, -EINVAL, "follow=%s: 0 or 1 was expected", value);
		f->follow = *value == '1';
		return 0;
	}
	return ltt_refuse(s, -EINVAL, "%s: not one of tid, tgid, pid, comm, uid, cgroup, cpu, follow", key);
}

/* Returns NULL for an empty text, an ERR_PTR (with the reason in the session's error) for one that is refused. */
struct ltt_filter *ltt_parse_filter(struct ltt_session *s, char *text)
{
	struct ltt_filter *f = kvzalloc(sizeof(*f), GFP_KERNEL);
	char *word;
	int n = 0, err = 0;

	if (!f)
		return ERR_PTR(-ENOMEM);
	while (!err && (word = strsep(&text, " \t\n"))) {
		char *value = word;
		const char *key;

		if (!*word)
			continue;
		key = strsep(&value, "=");
		if (!value || !*value)
			err = ltt_refuse(s, -EINVAL, "%s: KEY=VALUE was expected", key);
		else
			err = parse_word(s, f, key, value);
		n++;
	}
	if (!err && f->follow) {
		f->followed = vzalloc(BITS_TO_LONGS(PID_MAX_LIMIT) * sizeof(long));
		if (!f->followed)
			err = -ENOMEM;
	}
	if (!err && n)
		return f;
	ltt_free_filter(f);
	return err ? ERR_PTR(err) : NULL;
}
