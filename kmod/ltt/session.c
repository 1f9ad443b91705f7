// SPDX-License-Identifier: GPL-2.0-only
/* Sessions: directories below ltt/, from mkdir to rmdir, and what start, stop and snapshot do. */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define DEFAULT_SUBBUF_SIZE	(256UL << 10)
#define DEFAULT_N_SUBBUFS	8UL
#define DEFAULT_LATENCY		100

static DEFINE_MUTEX(sessions_lock);
static LIST_HEAD(sessions);

/* Notes why a request is refused, for the file error; write(2) has but a number. */
int ltt_refuse(struct ltt_session *s, int err, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	vsnprintf(s->error, sizeof(s->error), why, args);
	va_end(args);
	return err;
}

/* The same without the session's lock. */
int ltt_refuse_unlocked(struct ltt_session *s, int err, const char *why)
{
	mutex_lock(&s->lock);
	ltt_refuse(s, err, "%s", why);
	mutex_unlock(&s->lock);
	return err;
}

/* Every request begins here: takes the lock, and forgets the last refusal. */
int ltt_begin_request(struct ltt_session *s)
{
	mutex_lock(&s->lock);
	if (s->dead) {
		mutex_unlock(&s->lock);
		return -ENODEV;
	}
	s->error[0] = 0;
	return 0;
}

int ltt_end_request(struct ltt_session *s, int err)
{
	if (err && !s->error[0])
		ltt_refuse(s, err, "refused with error %d", -err);
	mutex_unlock(&s->lock);
	return err;
}

int ltt_as_channel_says(struct ltt_session *s, int err)
{
	return err ? ltt_refuse(s, err, "%s", relayfs_channel_error(s->chan)) : 0;
}

/* ------------------------------------------------------------------------------------------------------ control --- */

void ltt_session_stop(struct ltt_session *s)
{
	if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
		return;
	ltt_unregister_state_probes(s);
	ltt_unregister_events(s);
	relayfs_channel_stop(s->chan);
	WRITE_ONCE(s->switches, false);
	if (s->flags & RELAYFS_FLIGHT)
		ltt_state_dump(&s->state, true);
	else
		ltt_state_stop(&s->state);
}

int ltt_session_start(struct ltt_session *s)
{
	bool flight = s->flags & RELAYFS_FLIGHT;
	int err = ltt_as_channel_says(s, relayfs_channel_start(s->chan));

	if (err)
		return err;
	s->state.live = !flight;
	/* Changes first, then what is, so that nothing falls between; events last, so that their tasks have names. */
	err = ltt_state_prepare(&s->state);
	if (!err)
		err = ltt_register_state_probes(s);
	if (!err)
		err = ltt_state_dump(&s->state, flight);
	if (err)
		ltt_refuse(s, err, "no memory for the list of tasks, of which a session keeps 32 MiB");
	else
		err = ltt_register_events(s);
	if (err)
		ltt_session_stop(s);
	return err;
}

/* @turned: a trigger has begun to take it, by relayfs_channel_turn(). */
int ltt_session_snapshot(struct ltt_session *s, bool discard, bool turned)
{
	int err = 0;

	if (turned)
		relayfs_channel_finish_turn(s->chan);
	else
		err = ltt_as_channel_says(s, relayfs_channel_snapshot(s->chan, discard));
	return err ? err : ltt_state_dump(&s->state, true);
}

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
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&sessions_lock);
	list_del_rcu(&s->link);
	mutex_unlock(&sessions_lock);
	synchronize_rcu();
	ltt_trigger_free(s);
	ltt_dynamic_free(s);
	ltt_state_free(&s->state);
	ltt_free_filter(rcu_dereference_protected(s->filter, true));
	kfree(s->filter_text);
	relayfs_channel_put(s->chan);
	kvfree(s);
}

static void session_refused(struct relayfs_object *obj, const char *why)
{
	ltt_refuse_unlocked(ltt_session_of(obj), 0, why);
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
	INIT_LIST_HEAD(&s->dynamic);
	uuid_gen(&s->uuid);
	s->wall_offset = ktime_to_ns(ktime_mono_to_real(0));
	s->subbuf_size = attr.subbuf_size;
	s->n_subbufs = attr.n_subbufs;
	s->watermark = 1;
	s->latency = DEFAULT_LATENCY;
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
	s->events[LTT_EVENT_CHANGE_MASK].enabled = true;
	ltt_state_init(&s->state, &s->uuid, s->wall_offset);
	if (!relayfs_object_init(&s->obj, THIS_MODULE, session_release)) {
		relayfs_channel_close(s->chan);
		relayfs_channel_put(s->chan);
		kvfree(s);
		return ERR_PTR(-ENODEV);
	}
	s->obj.refused = session_refused;
	mutex_lock(&sessions_lock);
	list_add_tail_rcu(&s->link, &sessions);
	mutex_unlock(&sessions_lock);
	return &s->obj;
}

static int session_fill(struct relayfs_dir *dir, struct relayfs_object *obj)
{
	struct ltt_session *s = ltt_session_of(obj);
	int err = ltt_create_session_files(dir, obj);

	if (!err)
		err = relayfs_create_file(dir, "state_0", 0400, &ltt_state_fops, obj, &s->state);
	if (!err)
		err = relayfs_create_streams(dir, s->chan, "events");
	return err ? err : relayfs_create_rings(dir, s->chan, "ring");
}

static int session_rmdir(struct relayfs_object *obj)
{
	struct ltt_session *s = ltt_session_of(obj);

	mutex_lock(&s->lock);
	s->dead = true;
	ltt_session_stop(s);
	relayfs_channel_close(s->chan);
	mutex_unlock(&s->lock);
	return 0;
}

/* On a panic. No locks: who holds them may have been stopped. */
void ltt_freeze_sessions(void)
{
	struct ltt_session *s;

	list_for_each_entry_rcu(s, &sessions, link, true) {
		if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
			continue;
		relayfs_channel_freeze(s->chan);
		relayfs_channel_seal(s->chan);
		ltt_state_seal(&s->state);
	}
}

/* A session, with a reference to it, or NULL. */
struct ltt_session *ltt_session_named(const char *name)
{
	struct ltt_session *s, *found = NULL;

	mutex_lock(&sessions_lock);
	list_for_each_entry(s, &sessions, link)
		if (!strcmp(s->name, name) && kref_get_unless_zero(&s->obj.ref))
			found = s;
	mutex_unlock(&sessions_lock);
	return found;
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
