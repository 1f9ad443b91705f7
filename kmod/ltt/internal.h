/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of ltt.ko know of one another. */
#ifndef LTT_INTERNAL_H
#define LTT_INTERNAL_H

#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/tracepoint.h>
#include <linux/types.h>
#include <linux/uuid.h>
#include <linux/workqueue.h>

#include "relayfs.h"

struct ltt_block;
struct ltt_filter;
struct ltt_session;

/* The events in the order of formats/ltt3.py. */
#define LTT_INDEX(NAME, name, group, class, tracepoint) LTT_EVENT_##NAME,
enum ltt_event_index { LTT3_EVENTS(LTT_INDEX) LTT_N_EVENTS };
#undef LTT_INDEX

/**
 * struct ltt_event - a kind of record
 * @name: as the kernel names it
 * @group: the kernel's group
 * @class: the old LTT's class
 * @id: in the format
 * @tracepoint: that it comes from; "" for none, as for marker
 * @probe: what that calls: NULL if this kernel's headers have no such tracepoint, or points to NULL if it has other
 *	arguments than any probe of ours takes
 * @tp: the tracepoint; NULL if this kernel has none
 */
struct ltt_event {
	const char *name;
	const char *group;
	const char *class;
	const char *tracepoint;
	u16 id;
	void *const *probe;
	struct tracepoint *tp;
};

/* What a probe is called with: one for each event of each session, so that no probe looks for sessions. */
struct ltt_session_event {
	struct relayfs_writer __percpu *writers;
	struct ltt_filter __rcu *filter;
	bool filtered;			/* there is one */
	bool enabled;
	bool registered;
};

/**
 * struct ltt_state - what names need: state_0, kept in memory, read as often as one likes
 * @lock: the blocks; taken in probes
 * @reading: readers, and who throws blocks away
 * @closed: complete packets, in order
 * @open: the packet that records go to
 * @spare: empty blocks
 * @n_spare: how many
 * @n_blocks: of all three kinds
 * @lost: records for which there was no block
 * @grow: makes spares
 * @need: asks for it from a probe
 * @live: changes are written, not only what is at the start
 */
struct ltt_state {
	raw_spinlock_t lock;
	struct mutex reading;
	struct list_head closed;
	struct list_head spare;
	struct ltt_block *open;
	unsigned int n_spare;
	unsigned int n_blocks;
	u64 seq;
	u64 last;
	u64 lost;
	u64 told;
	uuid_t uuid;
	s64 wall_offset;
	struct work_struct grow;
	struct irq_work need;
	bool live;
};

/**
 * struct ltt_session - a directory below ltt/
 * @obj: referenced by its files
 * @lock: everything that is configured
 * @chan: the channel of events_*
 * @events: what each probe is called with
 * @switches: sched_switch is recorded, unfiltered, on every CPU
 * @state_on: the probes that keep state_0 up to date are registered
 * @wall_offset: wall clock minus monotonic when the session was made: the offset in metadata
 * @filter: NULL for none
 */
struct ltt_session {
	struct relayfs_object obj;
	struct mutex lock;
	struct relayfs_channel *chan;
	struct ltt_session_event events[LTT_N_EVENTS];
	struct ltt_state state;
	bool switches;
	bool state_on;
	bool dead;
	s64 wall_offset;
	uuid_t uuid;
	struct ltt_filter __rcu *filter;
	char *filter_text;
	unsigned int flags;
	size_t subbuf_size;
	size_t n_subbufs;
	size_t n_subbufs_max;
	unsigned int watermark;
	unsigned int latency;		/* ms */
	char error[256];
	char name[64];
};

/* session.c */
extern struct relayfs_client ltt_client;
__printf(3, 4) int ltt_refuse(struct ltt_session *s, int err, const char *why, ...);
int ltt_begin_request(struct ltt_session *s);
int ltt_end_request(struct ltt_session *s, int err);
int ltt_as_channel_says(struct ltt_session *s, int err);
int ltt_session_start(struct ltt_session *s);
void ltt_session_stop(struct ltt_session *s);
int ltt_session_snapshot(struct ltt_session *s, bool discard);

static inline struct ltt_session *ltt_session_of(struct relayfs_object *obj)
{
	return container_of(obj, struct ltt_session, obj);
}

/* files.c */
int ltt_create_session_files(struct relayfs_dir *dir, struct relayfs_object *obj);

/* events.c */
extern struct ltt_event ltt_events[LTT_N_EVENTS];
void ltt_find_tracepoints(void);
int ltt_select_events(struct ltt_session *s, char *words);
void ltt_show_events(struct ltt_session *s, struct seq_file *m);
void ltt_show_available(struct seq_file *m);
int ltt_register_events(struct ltt_session *s);
void ltt_unregister_events(struct ltt_session *s);
void ltt_tell_filter(struct ltt_session *s);

/* probes_*.c */
int ltt_register_state_probes(struct ltt_session *s);
void ltt_unregister_state_probes(struct ltt_session *s);
bool ltt_write_marker(struct ltt_session *s, const char *text, size_t len);

/* state.c */
void ltt_state_init(struct ltt_state *state, const uuid_t *uuid, s64 wall_offset);
void ltt_state_free(struct ltt_state *state);
int ltt_state_prepare(struct ltt_state *state);
int ltt_state_dump(struct ltt_state *state, bool afresh);
void ltt_state_task(struct ltt_state *state, struct task_struct *task, u32 cause, const char *comm);
extern const struct file_operations ltt_state_fops;

/* filter.c */
struct ltt_filter *ltt_parse_filter(struct ltt_session *s, char *text);
void ltt_free_filter(struct ltt_filter *filter);
bool ltt_filter_pass(struct ltt_filter __rcu **at, const struct task_struct *other);
void ltt_filter_fork(struct ltt_filter __rcu **at, const struct task_struct *parent, const struct task_struct *child);

#endif
