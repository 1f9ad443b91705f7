// SPDX-License-Identifier: GPL-2.0-only
/* Which events there are, and which of them a session records. */
#include <linux/glob.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "internal.h"

/* Those that this kernel's headers have no tracepoint for are not defined anywhere, and so NULL. */
#define LTT_EXTERN(NAME, name, group, class, tracepoint) extern void *const ltt_probe_##name __weak;
LTT3_EVENTS(LTT_EXTERN)

#define LTT_EVENT(NAME, name_, group_, class_, tracepoint_)						\
	[LTT_EVENT_##NAME] = {										\
		.name = #name_, .group = #group_, .class = #class_, .tracepoint = tracepoint_,		\
		.id = LTT3_ID_##NAME, .probe = &ltt_probe_##name_,					\
	},
struct ltt_event ltt_events[LTT_N_EVENTS] = { LTT3_EVENTS(LTT_EVENT) };

static void note_tracepoint(struct tracepoint *tp, void *unused)
{
	int i;

	for (i = 0; i < LTT_N_EVENTS; i++)
		if (!strcmp(tp->name, ltt_events[i].tracepoint))
			ltt_events[i].tp = tp;
}

/* Most of them are not exported, but the kernel lists them all. */
void ltt_find_tracepoints(void)
{
	for_each_kernel_tracepoint(note_tracepoint, NULL);
}

static bool available(const struct ltt_event *event)
{
	return !*event->tracepoint || (event->tp && event->probe && *event->probe);
}

static int register_event(struct ltt_session *s, int i)
{
	struct ltt_session_event *se = &s->events[i];
	int err;

	if (se->registered || !ltt_events[i].tp)
		return 0;
	err = tracepoint_probe_register(ltt_events[i].tp, *ltt_events[i].probe, se);
	if (err)
		return ltt_refuse(s, err, "the kernel refuses a probe on %s", ltt_events[i].name);
	se->registered = true;
	return 0;
}

static void unregister_event(struct ltt_session *s, int i)
{
	struct ltt_session_event *se = &s->events[i];

	if (!se->registered)
		return;
	tracepoint_probe_unregister(ltt_events[i].tp, *ltt_events[i].probe, se);
	se->registered = false;
}

/*
 * May packets say that every switch is in them? Those that began before the answer became yes are closed, so that one
 * packet has one answer: it says yes only if the answer was yes when it began and when it ended.
 */
static void settle_switches(struct ltt_session *s)
{
	bool now = s->events[LTT_EVENT_SCHED_SWITCH].registered && !rcu_access_pointer(s->filter);

	if (now == s->switches)
		return;
	if (now)
		relayfs_channel_flush(s->chan);
	WRITE_ONCE(s->switches, now);
	if (now)
		relayfs_channel_flush(s->chan);
}

int ltt_register_events(struct ltt_session *s)
{
	int i, err;

	for (i = 0, err = 0; !err && i < LTT_N_EVENTS; i++)
		if (s->events[i].enabled)
			err = register_event(s, i);
	if (!err)
		err = ltt_dynamic_register(s);
	if (err)
		ltt_unregister_events(s);
	else
		settle_switches(s);
	return err;
}

/* When it returns no probe of the session runs any more. */
void ltt_unregister_events(struct ltt_session *s)
{
	int i;

	ltt_dynamic_unregister(s);
	/* Switches last: then they are complete to the last record. */
	for (i = 0; i < LTT_N_EVENTS; i++)
		if (i != LTT_EVENT_SCHED_SWITCH)
			unregister_event(s, i);
	tracepoint_synchronize_unregister();
	synchronize_rcu();
	unregister_event(s, LTT_EVENT_SCHED_SWITCH);
	tracepoint_synchronize_unregister();
	synchronize_rcu();	/* since 7.0 the former does not imply it */
}

static void set_filter(struct ltt_session_event *se, struct ltt_filter *filter)
{
	rcu_assign_pointer(se->filter, filter);
	WRITE_ONCE(se->filtered, filter);
}

/* After a change of the session's filter; the old one may be freed when this returns. */
void ltt_tell_filter(struct ltt_session *s)
{
	struct ltt_filter *filter = rcu_dereference_protected(s->filter, lockdep_is_held(&s->lock));
	struct ltt_dynamic *d;
	int i;

	if (filter)
		WRITE_ONCE(s->switches, false);
	for (i = 0; i < LTT_N_EVENTS; i++)
		set_filter(&s->events[i], filter);
	list_for_each_entry(d, &s->dynamic, link)
		set_filter(&d->se, filter);
	synchronize_rcu();
	if (relayfs_channel_state(s->chan) == RELAYFS_RUNNING)
		settle_switches(s);
}

int ltt_event_index(const char *name)
{
	int i;

	for (i = 0; i < LTT_N_EVENTS; i++)
		if (!strcmp(name, ltt_events[i].name))
			return i;
	return -1;
}

/* A glob is of names or groups, of both as GROUP:NAME, or of the old LTT's classes as class:NAME. */
bool ltt_glob_matches(const char *glob, const char *group, const char *name, const char *class)
{
	char full[112];

	if (!strncmp(glob, "class:", 6))
		return glob_match(glob + 6, class);
	if (!strchr(glob, ':'))
		return glob_match(glob, name) || glob_match(glob, group);
	snprintf(full, sizeof(full), "%s:%s", group, name);
	return glob_match(glob, full);
}

static int select_glob(struct ltt_session *s, const char *glob, bool on)
{
	bool running = relayfs_channel_state(s->chan) == RELAYFS_RUNNING;
	int i, err, found = 0, missing = -1;

	for (i = 0; i < LTT_N_EVENTS; i++) {
		if (!ltt_glob_matches(glob, ltt_events[i].group, ltt_events[i].name, ltt_events[i].class))
			continue;
		if (!available(&ltt_events[i])) {
			missing = i;
			continue;
		}
		found++;
		if (running && on) {
			err = register_event(s, i);
			if (err)
				return err;
		} else if (running) {
			if (i == LTT_EVENT_SCHED_SWITCH)
				WRITE_ONCE(s->switches, false);
			unregister_event(s, i);
		}
		s->events[i].enabled = on;
	}
	err = ltt_dynamic_select(s, glob, on);
	if (err < 0)
		return err;
	found += err;
	if (!found && on && !strncmp(glob, "kprobe:", 7)) {
		err = ltt_kprobe_make(s, glob + 7);
		return err ?: ltt_dynamic_select(s, glob, true) < 0 ? -EINVAL : 0;
	}
	if (!found && missing >= 0)
		return ltt_refuse(s, -ENODEV, "%s: this kernel has no tracepoint %s that we know the arguments of",
				  glob, ltt_events[missing].tracepoint);
	if (!found)
		return ltt_refuse(s, -EINVAL, "%s: no event has such a name; available_events lists them", glob);
	return 0;
}

/* Words, applied in order: +GLOB, -GLOB, none. A bare word is +GLOB. */
int ltt_select_events(struct ltt_session *s, char *words)
{
	char *word;
	int err = 0;

	while (!err && (word = strsep(&words, " \t\n,"))) {
		if (!*word)
			continue;
		if (!strcmp(word, "none"))
			err = select_glob(s, "*", false);
		else
			err = select_glob(s, word + (*word == '+' || *word == '-'), *word != '-');
	}
	if (relayfs_channel_state(s->chan) == RELAYFS_RUNNING) {
		tracepoint_synchronize_unregister();
		settle_switches(s);
	}
	return err;
}

void ltt_show_events(struct ltt_session *s, struct seq_file *m)
{
	int i;

	for (i = 0; i < LTT_N_EVENTS; i++)
		if (s->events[i].enabled)
			seq_printf(m, "%s:%s\n", ltt_events[i].group, ltt_events[i].name);
	ltt_dynamic_show_enabled(s, m);
}

void ltt_show_available(struct seq_file *m)
{
	int i;

	for (i = 0; i < LTT_N_EVENTS; i++)
		seq_printf(m, "%s:%s %s %s\n", ltt_events[i].group, ltt_events[i].name, ltt_events[i].class,
			   available(&ltt_events[i]) ? "available" : "missing");
}
