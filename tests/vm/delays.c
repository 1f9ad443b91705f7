// SPDX-License-Identifier: GPL-2.0-only
/*
 * What only the kernel can do at a known time: soft interrupts that are kept back, locks that are held. All of it is
 * done while the module is loaded; /sys/module/delays/parameters/said then has a line for each, as workloads.c prints:
 *
 *	name tid begin end key=value ...
 *
 * with times by the clock of the records, and the sums of what each took, as the one who waited measured it.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#define TIMES 20

static char said[1024];
module_param_string(said, said, sizeof(said), 0444);

static DEFINE_MUTEX(mutex);
static DECLARE_RWSEM(rwsem);
static DEFINE_RWLOCK(rwlock);
static DECLARE_COMPLETION(held);
static DECLARE_COMPLETION(over);
static u64 scheduled, late;
static unsigned int ran;

static void say(const char *name, u64 begin, const char *what, u64 sum, const void *address)
{
	size_t used = strlen(said);

	scnprintf(said + used, sizeof(said) - used, "%s%s %d %llu %llu times=%d %s=%llu address=%llu",
		  used ? "\n" : "", name, current->pid, begin, ktime_get_mono_fast_ns(), TIMES, what, sum,
		  (u64)(unsigned long)address);
}

static void tasklet_runs(struct tasklet_struct *unused)
{
	late += ktime_get_mono_fast_ns() - scheduled;
	ran++;
}

static DECLARE_TASKLET(delayed, tasklet_runs);

/* A soft interrupt does not run before they are allowed again: a millisecond after it was raised. */
static void softirqs(void)
{
	u64 begin = ktime_get_mono_fast_ns();

	for (int i = 0; i < TIMES; i++) {
		local_bh_disable();
		scheduled = ktime_get_mono_fast_ns();
		tasklet_schedule(&delayed);
		mdelay(1);
		local_bh_enable();
		msleep(2);
	}
	tasklet_kill(&delayed);
	say("softirqs", begin, "late", ran == TIMES ? late : 0, NULL);
}

enum { MUTEX, RWSEM, RWLOCK };

static void lock(long kind)
{
	if (kind == MUTEX)
		mutex_lock(&mutex);
	else if (kind == RWSEM)
		down_write(&rwsem);
	else
		write_lock(&rwlock);
}

static void unlock(long kind)
{
	if (kind == MUTEX)
		mutex_unlock(&mutex);
	else if (kind == RWSEM)
		up_write(&rwsem);
	else
		write_unlock(&rwlock);
}

static int holder(void *kind)
{
	for (int i = 0; i < TIMES; i++) {
		lock((long)kind);
		complete(&held);
		if ((long)kind == RWLOCK)
			mdelay(5);
		else
			msleep(5);
		unlock((long)kind);
		wait_for_completion(&over);
	}
	return 0;
}

/* Each time the lock is asked for, a thread, on the last CPU, has it and keeps it for 5 ms. */
static int waits(const char *name, long kind, const void *address)
{
	struct task_struct *other = kthread_create(holder, (void *)kind, "t-%s", name);
	u64 begin = ktime_get_mono_fast_ns(), waited = 0;

	if (IS_ERR(other))
		return PTR_ERR(other);
	kthread_bind(other, num_online_cpus() - 1);
	wake_up_process(other);
	for (int i = 0; i < TIMES; i++) {
		wait_for_completion(&held);
		u64 asked = ktime_get_mono_fast_ns();

		lock(kind);
		waited += ktime_get_mono_fast_ns() - asked;
		unlock(kind);
		complete(&over);
	}
	say(name, begin, "waited", waited, address);
	return 0;
}

static int __init delays_init(void)
{
	int error;

	/* Beside the one who holds a lock, who asks for it would not run before it is free. */
	set_cpus_allowed_ptr(current, cpumask_of(0));
	softirqs();
	error = waits("mutexes", MUTEX, &mutex);
	if (!error)
		error = waits("rwsems", RWSEM, &rwsem);
	/* On one CPU nobody ever spins. (The first to wait for a plain spinlock has no tracepoint, nor do two suffice.) */
	if (!error && num_online_cpus() > 1)
		error = waits("rwlocks", RWLOCK, &rwlock);
	return error;
}

static void __exit delays_exit(void)
{
}

module_init(delays_init);
module_exit(delays_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Delays of known length, for the tests of the analyses");
