// SPDX-License-Identifier: GPL-2.0-only
/* Sessions: directories below ltt/, and the files by which they are configured and read. */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define DEFAULT_SUBBUF_SIZE	(256UL << 10)
#define DEFAULT_N_SUBBUFS	8UL
#define MAX_MARKER		4096UL

static struct ltt_session *session_of(struct relayfs_object *obj)
{
	return container_of(obj, struct ltt_session, obj);
}

/* Notes why a request is refused, for the file error; write(2) has but a number. */
int ltt_refuse(struct ltt_session *s, int err, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	vsnprintf(s->error, sizeof(s->error), why, args);
	va_end(args);
	return err;
}

/* Every request begins here: takes the lock, and forgets the last refusal. */
static int begin_request(struct ltt_session *s)
{
	mutex_lock(&s->lock);
	if (s->dead) {
		mutex_unlock(&s->lock);
		return -ENODEV;
	}
	s->error[0] = 0;
	return 0;
}

static int end_request(struct ltt_session *s, int err)
{
	if (err && !s->error[0])
		ltt_refuse(s, err, "refused with error %d", -err);
	mutex_unlock(&s->lock);
	return err;
}

static int as_channel_says(struct ltt_session *s, int err)
{
	return err ? ltt_refuse(s, err, "%s", relayfs_channel_error(s->chan)) : 0;
}

/* ------------------------------------------------------------------------------------------------------ control --- */

static void stop(struct ltt_session *s)
{
	if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
		return;
	WRITE_ONCE(s->switches, false);
	ltt_unregister_state_probes(s);
	ltt_unregister_events(s);
	relayfs_channel_stop(s->chan);
	if (s->flags & RELAYFS_FLIGHT)
		ltt_state_dump(&s->state, true);
}

static int start(struct ltt_session *s)
{
	bool flight = s->flags & RELAYFS_FLIGHT;
	int err = as_channel_says(s, relayfs_channel_start(s->chan));

	if (err)
		return err;
	s->state.live = !flight;
	/* Changes first, then what is, so that nothing falls between; events last, so that their tasks have names. */
	err = ltt_register_state_probes(s);
	if (!err)
		err = ltt_state_dump(&s->state, flight);
	if (err)
		ltt_refuse(s, err, "no memory for the list of tasks");
	else
		err = ltt_register_events(s);
	if (err)
		stop(s);
	return err;
}

static int snapshot(struct ltt_session *s, bool discard)
{
	int err = as_channel_says(s, relayfs_channel_snapshot(s->chan, discard));

	return err ? err : ltt_state_dump(&s->state, true);
}

static int control_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	char *word = strim(text);
	int err = begin_request(s);

	if (err)
		return err;
	if (!strcmp(word, "start"))
		err = start(s);
	else if (!strcmp(word, "stop"))
		stop(s);
	else if (!strcmp(word, "flush"))
		relayfs_channel_flush(s->chan);
	else if (!strcmp(word, "reset"))
		err = as_channel_says(s, relayfs_channel_reset(s->chan));
	else if (!strcmp(word, "snapshot") || !strcmp(word, "snapshot!"))
		err = snapshot(s, word[8] == '!');
	else
		err = ltt_refuse(s, -EINVAL, "control: %.40s is not one of start, stop, snapshot, snapshot!, flush, reset",
				 word);
	return end_request(s, err);
}

static int control_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%s\n", relayfs_state_name(relayfs_channel_state(session_of(obj)->chan)));
	return 0;
}

/* ------------------------------------------------------------------------------------------------ configuration --- */

static int events_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	int err = begin_request(s);

	return err ? err : end_request(s, ltt_select_events(s, text));
}

static int events_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = session_of(obj);

	mutex_lock(&s->lock);
	ltt_show_events(s, m);
	mutex_unlock(&s->lock);
	return 0;
}

static int configure(struct ltt_session *s, unsigned int flags, size_t subbuf_size, size_t n_subbufs, size_t n_subbufs_max)
{
	int err = relayfs_channel_configure(s->chan, flags, subbuf_size, n_subbufs, n_subbufs_max);

	if (err)
		return as_channel_says(s, err);
	s->flags = flags;
	s->subbuf_size = subbuf_size;
	s->n_subbufs = n_subbufs;
	s->n_subbufs_max = n_subbufs_max;
	return 0;
}

static int mode_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	char *word = strim(text);
	int err = begin_request(s);

	if (err)
		return err;
	if (!strcmp(word, "stream"))
		err = configure(s, 0, s->subbuf_size, s->n_subbufs, s->n_subbufs_max);
	else if (!strcmp(word, "flight"))
		err = configure(s, RELAYFS_FLIGHT, s->subbuf_size, s->n_subbufs, s->n_subbufs_max);
	else
		err = ltt_refuse(s, -EINVAL, "mode: %.40s is neither stream nor flight", word);
	return end_request(s, err);
}

static int mode_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_puts(m, session_of(obj)->flags & RELAYFS_FLIGHT ? "flight\n" : "stream\n");
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
	struct ltt_session *s = session_of(obj);
	size_t size;
	int err = begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "subbuf_size", text, &size);
	return end_request(s, err ? err : configure(s, s->flags, size, s->n_subbufs, s->n_subbufs_max));
}

static int subbuf_size_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", session_of(obj)->subbuf_size);
	return 0;
}

static int n_subbufs_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	size_t n;
	int err = begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "n_subbufs", text, &n);
	if (!err && relayfs_channel_state(s->chan) == RELAYFS_IDLE)
		err = configure(s, s->flags, s->subbuf_size, n, s->n_subbufs_max);
	else if (!err)
		err = as_channel_says(s, relayfs_channel_resize(s->chan, n));
	if (!err)
		s->n_subbufs = n;
	return end_request(s, err);
}

static int n_subbufs_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", relayfs_channel_n_subbufs(session_of(obj)->chan));
	return 0;
}

static int n_subbufs_max_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	size_t n;
	int err = begin_request(s);

	if (err)
		return err;
	err = parse_size(s, "n_subbufs_max", text, &n);
	if (!err)
		err = configure(s, s->flags, s->subbuf_size, relayfs_channel_n_subbufs(s->chan), n);
	return end_request(s, err);
}

static int n_subbufs_max_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", session_of(obj)->n_subbufs_max);
	return 0;
}

static int filter_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);
	struct ltt_filter *old, *filter;
	char *kept = kstrdup(strim(text), GFP_KERNEL);
	int err;

	if (!kept)
		return -ENOMEM;
	err = begin_request(s);
	if (err) {
		kfree(kept);
		return err;
	}
	filter = ltt_parse_filter(s, text);
	if (IS_ERR(filter)) {
		kfree(kept);
		return end_request(s, PTR_ERR(filter));
	}
	old = rcu_dereference_protected(s->filter, lockdep_is_held(&s->lock));
	rcu_assign_pointer(s->filter, filter);
	ltt_tell_filter(s);
	ltt_free_filter(old);
	kfree(s->filter_text);
	s->filter_text = kept;
	return end_request(s, 0);
}

static int filter_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = session_of(obj);

	mutex_lock(&s->lock);
	if (s->filter_text && *s->filter_text)
		seq_printf(m, "%s\n", s->filter_text);
	mutex_unlock(&s->lock);
	return 0;
}

/* ------------------------------------------------------------------------------------------------- what happens --- */

static int stats_show(struct relayfs_object *obj, struct seq_file *m)
{
	relayfs_channel_show_stats(session_of(obj)->chan, m);
	return 0;
}

static int error_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = session_of(obj);

	mutex_lock(&s->lock);
	if (s->error[0])
		seq_printf(m, "%s\n", s->error);
	mutex_unlock(&s->lock);
	return 0;
}

/* No lock: markers are written while others configure, and need nothing but the channel. */
static int marker_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct ltt_session *s = session_of(obj);

	if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
		return -EAGAIN;
	if (!READ_ONCE(s->events[LTT_EVENT_MARKER].enabled))
		return 0;
	if (len && text[len - 1] == '\n')
		len--;
	ltt_write_marker(s, text, strnlen(text, len));
	return 0;
}

static int metadata_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct ltt_session *s = session_of(obj);

	relayfs_show_metadata(m, s->name, &s->uuid, s->wall_offset);
	return 0;
}

static const struct relayfs_attribute attributes[] = {
	{ .name = "control", .mode = 0600, .show = control_show, .store = control_store },
	{ .name = "events", .mode = 0600, .show = events_show, .store = events_store },
	{ .name = "mode", .mode = 0600, .show = mode_show, .store = mode_store },
	{ .name = "subbuf_size", .mode = 0600, .show = subbuf_size_show, .store = subbuf_size_store },
	{ .name = "n_subbufs", .mode = 0600, .show = n_subbufs_show, .store = n_subbufs_store },
	{ .name = "n_subbufs_max", .mode = 0600, .show = n_subbufs_max_show, .store = n_subbufs_max_store },
	{ .name = "filter", .mode = 0600, .show = filter_show, .store = filter_store },
	{ .name = "stats", .mode = 0400, .show = stats_show },
	{ .name = "error", .mode = 0400, .show = error_show },
	{ .name = "marker", .mode = 0200, .store = marker_store, .max = MAX_MARKER },
	{ .name = "metadata", .mode = 0400, .show = metadata_show },
};

/* ------------------------------------------------------------------------------------------------- life of a session */

static void packet_begin(void *priv, struct ltt3_packet_header *h)
{
	struct ltt_session *s = priv;

	h->flags = READ_ONCE(s->switches) ? LTT3_PACKET_SWITCHES_COMPLETE : 0;
}

static void packet_end(void *priv, struct ltt3_packet_header *h)
{
	struct ltt_session *s = priv;

	if (!READ_ONCE(s->switches))
		h->flags &= ~LTT3_PACKET_SWITCHES_COMPLETE;
}

static const struct relayfs_channel_ops channel_ops = {
	.packet_begin = packet_begin,
	.packet_end = packet_end,
};

static void session_release(struct relayfs_object *obj)
{
	struct ltt_session *s = session_of(obj);

	ltt_state_free(&s->state);
	ltt_free_filter(rcu_dereference_protected(s->filter, true));
	kfree(s->filter_text);
	relayfs_channel_put(s->chan);
	kvfree(s);
}

static struct relayfs_object *session_mkdir(const char *name)
{
	struct relayfs_channel_attr attr = {
		.owner = THIS_MODULE,
		.stream_id = LTT3_STREAM_EVENTS,
		.subbuf_size = DEFAULT_SUBBUF_SIZE,
		.n_subbufs = DEFAULT_N_SUBBUFS,
		.ops = &channel_ops,
	};
	struct ltt_session *s;
	int i;

	if (strlen(name) >= sizeof(s->name))
		return ERR_PTR(-ENAMETOOLONG);
	s = kvzalloc(sizeof(*s), GFP_KERNEL);
	if (!s)
		return ERR_PTR(-ENOMEM);
	strcpy(s->name, name);
	mutex_init(&s->lock);
	uuid_gen(&s->uuid);
	s->wall_offset = ktime_to_ns(ktime_mono_to_real(0));
	s->subbuf_size = attr.subbuf_size;
	s->n_subbufs = attr.n_subbufs;
	attr.uuid = s->uuid;
	attr.priv = s;
	s->chan = relayfs_channel_open(&attr);
	if (IS_ERR(s->chan)) {
		void *err = s->chan;

		kvfree(s);
		return err;
	}
	for (i = 0; i < LTT_N_EVENTS; i++)
		s->events[i].writers = relayfs_writers(s->chan);
	s->events[LTT_EVENT_MARKER].enabled = true;
	ltt_state_init(&s->state, &s->uuid, s->wall_offset);
	if (!relayfs_object_init(&s->obj, THIS_MODULE, session_release)) {
		relayfs_channel_close(s->chan);
		relayfs_channel_put(s->chan);
		kvfree(s);
		return ERR_PTR(-ENODEV);
	}
	return &s->obj;
}

static int session_fill(struct relayfs_dir *dir, struct relayfs_object *obj)
{
	struct ltt_session *s = session_of(obj);
	int err = relayfs_create_attributes(dir, attributes, ARRAY_SIZE(attributes), obj);

	if (!err)
		err = relayfs_create_file(dir, "state_0", 0400, &ltt_state_fops, obj, &s->state);
	return err ? err : relayfs_create_streams(dir, s->chan, "events");
}

static int session_rmdir(struct relayfs_object *obj)
{
	struct ltt_session *s = session_of(obj);

	mutex_lock(&s->lock);
	s->dead = true;
	stop(s);
	relayfs_channel_close(s->chan);
	mutex_unlock(&s->lock);
	return 0;
}

/* --------------------------------------------------------------------------------------------------------- ltt/ --- */

static int available_show(struct relayfs_object *obj, struct seq_file *m)
{
	ltt_show_available(m);
	return 0;
}

static const struct relayfs_attribute client_attributes[] = {
	{ .name = "available_events", .mode = 0400, .show = available_show },
};

static int client_populate(struct relayfs_dir *dir)
{
	return relayfs_create_attributes(dir, client_attributes, ARRAY_SIZE(client_attributes), NULL);
}

struct relayfs_client ltt_client = {
	.name = "ltt",
	.owner = THIS_MODULE,
	.populate = client_populate,
	.mkdir = session_mkdir,
	.fill = session_fill,
	.rmdir = session_rmdir,
};
