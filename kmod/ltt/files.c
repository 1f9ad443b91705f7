// SPDX-License-Identifier: GPL-2.0-only
/* The files by which a session is configured, controlled and watched. */
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

#define MAX_MARKER	4096UL
#define MAX_TRIGGER	512UL
#define MAX_LATENCY	60000U

/* ------------------------------------------------------------------------------------------------------ control --- */

static int control_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	char *word = strim(text);
	int err = ltt_begin_request(s);

	if (err)
		return err;
	if (!strcmp(word, "start"))
		err = ltt_session_start(s);
	else if (!strcmp(word, "stop"))
		ltt_session_stop(s);
	else if (!strcmp(word, "flush"))
		relayfs_channel_flush(s->chan);
	else if (!strcmp(word, "reset"))
		err = ltt_as_channel_says(s, relayfs_channel_reset(s->chan));
	else if (!strcmp(word, "snapshot") || !strcmp(word, "snapshot!"))
		err = ltt_session_snapshot(s, word[8] == '!', false);
	else
		err = ltt_refuse(s, -EINVAL, "control: %.40s is not one of start, stop, snapshot, snapshot!, flush, reset",
				 word);
	return ltt_end_request(s, err);
}

static int control_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%s\n", relayfs_state_name(relayfs_channel_state(ltt_session_of(obj)->chan)));
	return 0;
}

/* ------------------------------------------------------------------------------------------------ configuration --- */

static int events_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	char *asked = kstrndup(text, MAX_MARKER, GFP_KERNEL);	/* selecting takes the text apart */
	int err;

	if (!asked)
		return -ENOMEM;
	err = ltt_begin_request(s);
	if (!err) {
		err = ltt_end_request(s, ltt_select_events(s, text));
		if (!err && s->events[LTT_EVENT_CHANGE_MASK].enabled &&
		    relayfs_channel_state(s->chan) == RELAYFS_RUNNING) {
			const char *word = strim(asked);

			ltt_write_change_mask(s, word, strlen(word));
		}
	}
	kfree(asked);
	return err;
}

static int events_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	ltt_show_events(s, m);
	mutex_unlock(&s->lock);
	return 0;
}

static int configure(struct ltt_session *s, unsigned int flags, size_t subbuf_size, size_t n_subbufs)
{
	int err = relayfs_channel_configure(s->chan, flags, subbuf_size, n_subbufs);

	if (err)
		return ltt_as_channel_says(s, err);
	s->flags = flags;
	s->subbuf_size = subbuf_size;
	s->n_subbufs = n_subbufs;
	return 0;
}

static int mode_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	char *word = strim(text);
	int err = ltt_begin_request(s);

	if (err)
		return err;
	if (!strcmp(word, "stream"))
		err = configure(s, 0, s->subbuf_size, s->n_subbufs);
	else if (!strcmp(word, "flight"))
		err = configure(s, RELAYFS_FLIGHT, s->subbuf_size, s->n_subbufs);
	else
		err = ltt_refuse(s, -EINVAL, "mode: %.40s is neither stream nor flight", word);
	return ltt_end_request(s, err);
}

static int mode_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_puts(m, ltt_session_of(obj)->flags & RELAYFS_FLIGHT ? "flight\n" : "stream\n");
	return 0;
}

static int parse_size(struct ltt_session *s, const char *what, char *text, size_t *size)
{
	unsigned long value;
	char *word = strim(text);

	if (kstrtoul(word, 10, &value))
		return ltt_refuse(s, -EINVAL, "%s: %.40s is not a decimal number", what, word);
	*size = value;
	return 0;
}

static int subbuf_size_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	size_t size;
	int err = ltt_begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "subbuf_size", text, &size);
	return ltt_end_request(s, err ? err : configure(s, s->flags, size, s->n_subbufs));
}

static int subbuf_size_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", ltt_session_of(obj)->subbuf_size);
	return 0;
}

static int n_subbufs_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	size_t n;
	int err = ltt_begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "n_subbufs", text, &n);
	if (!err && s->watermark > 1 && n <= s->watermark)
		err = ltt_refuse(s, -EINVAL, "n_subbufs is %zu, and should be above watermark, which is %u", n, s->watermark);
	if (!err && relayfs_channel_state(s->chan) == RELAYFS_IDLE)
		err = configure(s, s->flags, s->subbuf_size, n);
	else if (!err)
		err = ltt_as_channel_says(s, relayfs_channel_resize(s->chan, n));
	if (!err)
		s->n_subbufs = n;
	return ltt_end_request(s, err);
}

static int n_subbufs_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", relayfs_channel_n_subbufs(ltt_session_of(obj)->chan));
	return 0;
}

static int n_subbufs_max_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	size_t n;
	int err = ltt_begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "n_subbufs_max", text, &n);
	if (!err)
		err = ltt_as_channel_says(s, relayfs_channel_set_max(s->chan, n));
	if (!err)
		s->n_subbufs_max = n;
	return ltt_end_request(s, err);
}

static int n_subbufs_max_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", ltt_session_of(obj)->n_subbufs_max);
	return 0;
}

static int filter_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	struct ltt_filter *old, *filter;
	char *kept = kstrdup(strim(text), GFP_KERNEL);
	int err;

	if (!kept)
		return -ENOMEM;
	err = ltt_begin_request(s);
	if (err) {
		kfree(kept);
		return err;
	}
	filter = ltt_parse_filter(s, text);
	if (IS_ERR(filter)) {
		kfree(kept);
		return ltt_end_request(s, PTR_ERR(filter));
	}
	old = rcu_dereference_protected(s->filter, lockdep_is_held(&s->lock));
	rcu_assign_pointer(s->filter, filter);
	ltt_tell_filter(s);
	ltt_free_filter(old);
	kfree(s->filter_text);
	s->filter_text = kept;
	return ltt_end_request(s, 0);
}

static int filter_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	if (s->filter_text && *s->filter_text)
		seq_printf(m, "%s\n", s->filter_text);
	mutex_unlock(&s->lock);
	return 0;
}

/* ------------------------------------------------------------------------------------------------- what happens --- */

static int stats_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	ltt_kprobe_count_missed(s);
	mutex_unlock(&s->lock);
	relayfs_channel_show_stats(s->chan, m);
	return 0;
}

static int error_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	if (s->error[0])
		seq_printf(m, "%s\n", s->error);
	mutex_unlock(&s->lock);
	return 0;
}

/* No lock but for a refusal: markers are written while others configure, and need nothing but the channel. */
static int marker_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);

	if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
		return ltt_refuse_unlocked(s, -EAGAIN, "marker: the session is not running");
	if (!READ_ONCE(s->events[LTT_EVENT_MARKER].enabled))
		return 0;
	if (len && text[len - 1] == '\n')
		len--;
	ltt_write_marker(s, text, strnlen(text, len));
	return 0;
}

static int custom_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	int err = ltt_begin_request(s);

	return err ? err : ltt_end_request(s, ltt_custom_request(s, text, len));
}

static int custom_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	ltt_custom_show(s, m);
	mutex_unlock(&s->lock);
	return 0;
}

static int trigger_store(struct relayfs_object *obj, char *text, size_t len)
{
	return ltt_trigger_request(ltt_session_of(obj), text);
}

static int trigger_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	ltt_trigger_show(s, m);
	mutex_unlock(&s->lock);
	return 0;
}

static int metadata_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = ltt_session_of(obj);

	relayfs_show_metadata(m, s->name, &s->uuid, s->wall_offset);
	ltt_dynamic_describe(s, m);
	return 0;
}

static int watermark_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	size_t packets;
	int err = ltt_begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "watermark", text, &packets);
	if (!err && (!packets || packets >= s->n_subbufs))
		err = ltt_refuse(s, -EINVAL, "watermark is %zu packets, and should be 1 to %zu: below n_subbufs", packets,
				 s->n_subbufs - 1);
	if (!err) {
		s->watermark = packets;
		relayfs_channel_set_wakeup(s->chan, s->watermark, s->latency);
	}
	return ltt_end_request(s, err);
}

static int watermark_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%u\n", ltt_session_of(obj)->watermark);
	return 0;
}

static int latency_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = ltt_session_of(obj);
	size_t ms;
	int err = ltt_begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "latency", text, &ms);
	if (!err && (!ms || ms > MAX_LATENCY))
		err = ltt_refuse(s, -EINVAL, "latency is %zu ms, and should be 1 to %u", ms, MAX_LATENCY);
	if (!err) {
		s->latency = ms;
		relayfs_channel_set_wakeup(s->chan, s->watermark, s->latency);
	}
	return ltt_end_request(s, err);
}

static int latency_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%u\n", ltt_session_of(obj)->latency);
	return 0;
}

static const struct relayfs_attribute attributes[] = {
	{ .name = "control", .mode = 0600, .show = control_show, .store = control_store },
	{ .name = "events", .mode = 0600, .show = events_show, .store = events_store },
	{ .name = "mode", .mode = 0600, .show = mode_show, .store = mode_store },
	{ .name = "subbuf_size", .mode = 0600, .show = subbuf_size_show, .store = subbuf_size_store },
	{ .name = "n_subbufs", .mode = 0600, .show = n_subbufs_show, .store = n_subbufs_store },
	{ .name = "n_subbufs_max", .mode = 0600, .show = n_subbufs_max_show, .store = n_subbufs_max_store },
	{ .name = "watermark", .mode = 0600, .show = watermark_show, .store = watermark_store },
	{ .name = "latency", .mode = 0600, .show = latency_show, .store = latency_store },
	{ .name = "filter", .mode = 0600, .show = filter_show, .store = filter_store },
	{ .name = "stats", .mode = 0400, .show = stats_show },
	{ .name = "error", .mode = 0400, .show = error_show },
	{ .name = "marker", .mode = 0200, .store = marker_store, .max = MAX_MARKER },
	{ .name = "custom", .mode = 0600, .show = custom_show, .store = custom_store, .max = MAX_MARKER },
	{ .name = "trigger", .mode = 0600, .show = trigger_show, .store = trigger_store, .max = MAX_TRIGGER },
	{ .name = "metadata", .mode = 0400, .show = metadata_show },
};

int ltt_create_session_files(struct relayfs_dir *dir, struct relayfs_object *obj)
{
	return relayfs_create_attributes(dir, attributes, ARRAY_SIZE(attributes), obj);
}

/* What write(2) to one of them does; @file is one that can be written. */
int ltt_session_write(struct ltt_session *s, const char *file, const char *text)
{
	char *copy = kstrdup(text, GFP_KERNEL);
	int i, err = -ENOENT;

	if (!copy)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(attributes); i++)
		if (!strcmp(attributes[i].name, file))
			err = attributes[i].store(&s->obj, copy, strlen(copy));
	kfree(copy);
	return err;
}
