/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of ltt.ko know of one another. */
#ifndef LTT_INTERNAL_H
#define LTT_INTERNAL_H

#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/jump_label.h>
#include <linux/kprobes.h>
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
struct ltt_trigger;

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

enum ltt_field_kind { LTT_UNSIGNED, LTT_SIGNED, LTT_HEX, LTT_CHARS, LTT_STRING };

/* A field of a record: where it is in the payload. A string ends the payload, and its size is 0. */
struct ltt_field {
	u16 id;				/* of the event, where it is not known otherwise */
	u16 offset;
	u16 size;
	enum ltt_field_kind kind;
	char name[32];
};

#define LTT_MAX_FIELDS 16

/**
 * struct ltt_dynamic - an event that a session got at run time: a declared one, or a kprobe
 * @link: in the session's list, which only grows
 * @session: whose it is
 * @se: what its probe is called with
 * @id: in this session
 * @name: as declared, or the function's
 * @kprobe: it is one
 * @kp: the probe, while se.registered
 * @missed: of its nmissed, how many have been counted as lost
 * @n_fields: how many, tid, the first, included
 * @fields: the payload
 * @size: of the payload, without a string's bytes
 */
struct ltt_dynamic {
	struct list_head link;
	struct ltt_session *session;
	struct ltt_session_event se;
	u16 id;
	char name[64];
	bool kprobe;
	struct kprobe kp;
	unsigned long missed;
	unsigned int n_fields;
	struct ltt_field fields[LTT_MAX_FIELDS];
	size_t size;
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
 * @seq: number of the next packet
 * @last: time of the last record
 * @lost: records for which there was no block
 * @told: of them, how many a packet tells of
 * @uuid: of the session
 * @wall_offset: of the session
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
 * @link: in the list of all sessions
 * @lock: everything that is configured
 * @chan: the channel of events_*
 * @events: what each probe is called with
 * @switches: sched_switch is recorded, unfiltered, on every CPU
 * @state: what state_0 holds
 * @dead: its directory is gone
 * @uuid: in packets and metadata
 * @state_on: the probes that keep state_0 up to date are registered
 * @wall_offset: wall clock minus monotonic when the session was made: the offset in metadata
 * @filter: NULL for none
 * @filter_text: as written
 * @dynamic: events made at run time, in the order of their ids
 * @n_dynamic: how many
 * @trigger: NULL for none
 * @flags: RELAYFS_FLIGHT or 0
 * @subbuf_size: as written, or the default
 * @n_subbufs: as written; the channel's own number changes where @n_subbufs_max is set
 * @n_subbufs_max: as written
 * @watermark: packets
 * @latency: ms
 * @error: why the last request was refused
 * @name: of the directory
 */
struct ltt_session {
	struct relayfs_object obj;
	struct list_head link;
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
	struct list_head dynamic;
	unsigned int n_dynamic;
	struct ltt_trigger __rcu *trigger;
	unsigned int flags;
	size_t subbuf_size;
	size_t n_subbufs;
	size_t n_subbufs_max;
	unsigned int watermark;
	unsigned int latency;
	char error[256];
	char name[64];
};

/* session.c */
extern struct relayfs_client ltt_client;
__printf(3, 4) int ltt_refuse(struct ltt_session *s, int err, const char *why, ...);
int ltt_refuse_unlocked(struct ltt_session *s, int err, const char *why);
int ltt_begin_request(struct ltt_session *s);
int ltt_end_request(struct ltt_session *s, int err);
int ltt_as_channel_says(struct ltt_session *s, int err);
int ltt_session_start(struct ltt_session *s);
void ltt_session_stop(struct ltt_session *s);
int ltt_session_snapshot(struct ltt_session *s, bool discard, bool turned);

static inline struct ltt_session *ltt_session_of(struct relayfs_object *obj)
{
	return container_of(obj, struct ltt_session, obj);
}

struct ltt_session *ltt_session_named(const char *name);
void ltt_freeze_sessions(void);

/* files.c */
int ltt_create_session_files(struct relayfs_dir *dir, struct relayfs_object *obj);
int ltt_session_write(struct ltt_session *s, const char *file, const char *text);

/* dynamic.c */
bool ltt_is_name(const char *text);
struct ltt_dynamic *ltt_dynamic_find(struct ltt_session *s, const char *name, bool kprobe);
struct ltt_dynamic *ltt_dynamic_make(struct ltt_session *s, const char *name, bool kprobe);
int ltt_dynamic_field(struct ltt_dynamic *d, const char *name, enum ltt_field_kind kind, size_t size);
void ltt_dynamic_add(struct ltt_session *s, struct ltt_dynamic *d);
void ltt_dynamic_free(struct ltt_session *s);
int ltt_dynamic_select(struct ltt_session *s, const char *glob, bool on);
int ltt_dynamic_register(struct ltt_session *s);
void ltt_dynamic_unregister(struct ltt_session *s);
void ltt_dynamic_show_enabled(struct ltt_session *s, struct seq_file *m);
void ltt_dynamic_describe(struct ltt_session *s, struct seq_file *m);

/* custom.c */
int ltt_custom_request(struct ltt_session *s, char *text, size_t len);
void ltt_custom_show(struct ltt_session *s, struct seq_file *m);

/* kprobe.c */
int ltt_kprobe_make(struct ltt_session *s, const char *func);
int ltt_kprobe_register(struct ltt_dynamic *d);
int ltt_kprobe_unregister(struct ltt_dynamic *d);
void ltt_kprobe_count_missed(struct ltt_session *s);

/* trigger.c */
DECLARE_STATIC_KEY_FALSE(ltt_triggers);
void ltt_trigger_check(const struct relayfs_writer *w);
int ltt_trigger_request(struct ltt_session *s, char *text);
void ltt_trigger_free(struct ltt_session *s);
void ltt_trigger_show(struct ltt_session *s, struct seq_file *m);

/* events.c */
extern struct ltt_event ltt_events[LTT_N_EVENTS];
int ltt_event_index(const char *name);
bool ltt_glob_matches(const char *glob, const char *group, const char *name, const char *class);
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
int ltt_probes_init(void);
void ltt_probes_exit(void);
bool ltt_write_change_mask(struct ltt_session *s, const char *text, size_t len);
bool ltt_write_marker(struct ltt_session *s, const char *text, size_t len);

/* state.c */
void ltt_state_init(struct ltt_state *state, const uuid_t *uuid, s64 wall_offset);
void ltt_state_free(struct ltt_state *state);
int ltt_state_prepare(struct ltt_state *state);
int ltt_state_dump(struct ltt_state *state, bool afresh);
void ltt_state_stop(struct ltt_state *state);
void ltt_state_seal(struct ltt_state *state);
void ltt_state_task(struct ltt_state *state, struct task_struct *task, u32 cause, const char *comm);
extern const struct file_operations ltt_state_fops;

/* filter.c */
struct ltt_filter *ltt_parse_filter(struct ltt_session *s, char *text);
void ltt_free_filter(struct ltt_filter *filter);
bool ltt_filter_pass(struct ltt_filter __rcu **at, const struct task_struct *other);
void ltt_filter_fork(struct ltt_filter __rcu **at, const struct task_struct *parent, const struct task_struct *child);

#endif
