// SPDX-License-Identifier: GPL-2.0-only
/* Events of timers: group timer. */
#include <linux/hrtimer.h>
#include <linux/pid.h>
#include <linux/time64.h>
#include <linux/timer.h>

#include <trace/events/timer.h>

#include "probes.h"

static __always_inline void fill_start(struct ltt3_timer_start *p, const struct timer_list *timer)
{
	p->timer = (unsigned long)timer;
	p->function = (unsigned long)timer->function;
	p->expires = timer->expires;
	p->flags = timer->flags;
}

/* What it is called with changed in 6.8; all of it is in the timer, too. */
LTT_PROBE_FUNC(TIMER_START, timer_start, probe_start, NULL,
	       TP_PROTO(struct timer_list *timer, unsigned long bucket_expiry), TP_ARGS(timer, bucket_expiry))
{
	fill_start(p, timer);
}

LTT_PROBE_FUNC(TIMER_START, timer_start, probe_start_flags, NULL,
	       TP_PROTO(struct timer_list *timer, unsigned long expires, unsigned int flags),
	       TP_ARGS(timer, expires, flags))
{
	fill_start(p, timer);
}

LTT_OFFER(timer_start, timer_start, probe_start, probe_start_flags)

LTT_PROBE(TIMER_CANCEL, timer_cancel, NULL, TP_PROTO(struct timer_list *timer), TP_ARGS(timer))
{
	p->timer = (unsigned long)timer;
}

LTT_PROBE(TIMER_EXPIRE_ENTRY, timer_expire_entry, NULL, TP_PROTO(struct timer_list *timer, unsigned long baseclk),
	  TP_ARGS(timer, baseclk))
{
	p->timer = (unsigned long)timer;
	p->function = (unsigned long)timer->function;
	p->now = jiffies;
}

LTT_PROBE(TIMER_EXPIRE_EXIT, timer_expire_exit, NULL, TP_PROTO(struct timer_list *timer), TP_ARGS(timer))
{
	p->timer = (unsigned long)timer;
}

static __always_inline void fill_hrstart(struct ltt3_hrtimer_start *p, const struct hrtimer *hrtimer, u32 mode)
{
	p->hrtimer = (unsigned long)hrtimer;
	p->function = (unsigned long)ACCESS_PRIVATE(hrtimer, function);
	p->expires = ktime_to_ns(hrtimer_get_expires(hrtimer));
	p->softexpires = ktime_to_ns(hrtimer_get_softexpires(hrtimer));
	p->mode = mode;
}

/* The third argument came in 7.1, and was taken into the stable series from 6.1 on. */
LTT_PROBE_FUNC(HRTIMER_START, hrtimer_start, probe_hrstart, NULL,
	       TP_PROTO(struct hrtimer *hrtimer, enum hrtimer_mode mode), TP_ARGS(hrtimer, mode))
{
	fill_hrstart(p, hrtimer, mode);
}

LTT_PROBE_FUNC(HRTIMER_START, hrtimer_start, probe_hrstart_armed, NULL,
	       TP_PROTO(struct hrtimer *hrtimer, enum hrtimer_mode mode, bool was_armed),
	       TP_ARGS(hrtimer, mode, was_armed))
{
	fill_hrstart(p, hrtimer, mode);
}

LTT_OFFER(hrtimer_start, hrtimer_start, probe_hrstart, probe_hrstart_armed)

LTT_PROBE(HRTIMER_CANCEL, hrtimer_cancel, NULL, TP_PROTO(struct hrtimer *hrtimer), TP_ARGS(hrtimer))
{
	p->hrtimer = (unsigned long)hrtimer;
}

static __always_inline void fill_hrexpire(struct ltt3_hrtimer_expire_entry *p, const struct hrtimer *hrtimer, s64 now)
{
	p->hrtimer = (unsigned long)hrtimer;
	p->function = (unsigned long)ACCESS_PRIVATE(hrtimer, function);
	p->now = now;
}

/* The time is given by value since 7.1. */
LTT_PROBE_FUNC(HRTIMER_EXPIRE_ENTRY, hrtimer_expire_entry, probe_hrexpire, NULL,
	       TP_PROTO(struct hrtimer *hrtimer, ktime_t now), TP_ARGS(hrtimer, now))
{
	fill_hrexpire(p, hrtimer, ktime_to_ns(now));
}

LTT_PROBE_FUNC(HRTIMER_EXPIRE_ENTRY, hrtimer_expire_entry, probe_hrexpire_pointer, NULL,
	       TP_PROTO(struct hrtimer *hrtimer, ktime_t *now), TP_ARGS(hrtimer, now))
{
	fill_hrexpire(p, hrtimer, ktime_to_ns(*now));
}

LTT_OFFER(hrtimer_expire_entry, hrtimer_expire_entry, probe_hrexpire, probe_hrexpire_pointer)

LTT_PROBE(HRTIMER_EXPIRE_EXIT, hrtimer_expire_exit, NULL, TP_PROTO(struct hrtimer *hrtimer), TP_ARGS(hrtimer))
{
	p->hrtimer = (unsigned long)hrtimer;
}

LTT_PROBE(ITIMER_STATE, itimer_state, NULL,
	  TP_PROTO(int which, const struct itimerspec64 *const value, unsigned long long expires),
	  TP_ARGS(which, value, expires))
{
	p->tid = current->pid;
	p->which = which;
	p->expires = expires;
	p->value = value->it_value.tv_sec * NSEC_PER_SEC + value->it_value.tv_nsec;
	p->interval = value->it_interval.tv_sec * NSEC_PER_SEC + value->it_interval.tv_nsec;
}

LTT_PROBE(ITIMER_EXPIRE, itimer_expire, NULL, TP_PROTO(int which, struct pid *pid, unsigned long long now),
	  TP_ARGS(which, pid, now))
{
	p->which = which;
	p->pid = pid_nr(pid);
	p->now = now;
}

LTT_PROBE(TICK_STOP, tick_stop, NULL, TP_PROTO(int success, int dependency), TP_ARGS(success, dependency))
{
	p->success = success;
	p->dependency = dependency;
}
