// SPDX-License-Identifier: GPL-2.0-only
/*
 * Logs: clients with one channel, in a directory that is there from their module's init to its exit.
 *
 * The files are those of a tracer's session, as far as they mean something here, so that one tool reads both.
 */
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

/**
 * struct relayfs_log - a client with one channel
 * @obj: referenced by its files; does not hold the client's module, see RELAYFS_STATIC
 * @client: its directory
 * @attr: as asked for
 * @lock: requests
 * @chan: its channel
 * @uuid: in its packets and its metadata
 * @wall_offset: wall clock minus monotonic when it was made: the offset in metadata
 * @published: it has its directory
 * @dead: its module is going
 * @error: why the last request was refused
 */
struct relayfs_log {
	struct relayfs_object obj;
	struct relayfs_client client;
	struct relayfs_log_attr attr;
	struct mutex lock;
	struct relayfs_channel *chan;
	uuid_t uuid;
	s64 wall_offset;
	bool published;
	bool dead;
	char error[RELAYFS_ERROR_LEN];
};

static struct relayfs_log *log_of(struct relayfs_object *obj)
{
	return container_of(obj, struct relayfs_log, obj);
}

static __printf(3, 4) int refuse(struct relayfs_log *log, int err, const char *why, ...)
{
	va_list args;

	va_start(args, why);
	vsnprintf(log->error, sizeof(log->error), why, args);
	va_end(args);
	return err;
}

/**
 * relayfs_log_refuse() - note why a write to one of the client's own files is refused, for the file error
 * @log: the log
 * @err: what to return
 * @why: in words
 *
 * Return: @err.
 */
int relayfs_log_refuse(struct relayfs_log *log, int err, const char *why, ...)
{
	va_list args;

	mutex_lock(&log->lock);
	va_start(args, why);
	vsnprintf(log->error, sizeof(log->error), why, args);
	va_end(args);
	mutex_unlock(&log->lock);
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_log_refuse);

static void refused(struct relayfs_object *obj, const char *why)
{
	relayfs_log_refuse(log_of(obj), 0, "%s", why);
}

static int end_request(struct relayfs_log *log, int err)
{
	if (err && !log->error[0])
		refuse(log, err, "%s", log->chan->error[0] ? log->chan->error : "refused");
	mutex_unlock(&log->lock);
	return err;
}

static void begin_request(struct relayfs_log *log)
{
	mutex_lock(&log->lock);
	log->error[0] = 0;
}

/* ------------------------------------------------------------------------------------------------------ control --- */

static int start(struct relayfs_log *log)
{
	const struct relayfs_log_ops *ops = log->attr.ops;
	int err = log->dead ? -ENODEV : relayfs_channel_start(log->chan);

	if (!err && ops && ops->start) {
		err = ops->start();
		if (err)
			relayfs_channel_stop(log->chan);
	}
	return err;
}

static void stop(struct relayfs_log *log)
{
	const struct relayfs_log_ops *ops = log->attr.ops;

	if (relayfs_channel_state(log->chan) != RELAYFS_RUNNING)
		return;
	if (ops && ops->stop)
		ops->stop();
	relayfs_channel_stop(log->chan);
}

/**
 * relayfs_log_start() - what writing start to control does
 * @log: the log
 *
 * Return: as relayfs_channel_start(), or what the client's start said.
 */
int relayfs_log_start(struct relayfs_log *log)
{
	begin_request(log);
	return end_request(log, start(log));
}
EXPORT_SYMBOL_GPL(relayfs_log_start);

static int control_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct relayfs_log *log = log_of(obj);
	char *word = strim(text);
	int err = 0;

	begin_request(log);
	if (!strcmp(word, "start"))
		err = start(log);
	else if (!strcmp(word, "stop"))
		stop(log);
	else if (!strcmp(word, "flush"))
		relayfs_channel_flush(log->chan);
	else if (!strcmp(word, "reset"))
		err = relayfs_channel_reset(log->chan);
	else
		err = refuse(log, -EINVAL, "control: %.40s is not one of start, stop, flush, reset", word);
	return end_request(log, err);
}

static int control_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%s\n", relayfs_state_name(relayfs_channel_state(log_of(obj)->chan)));
	return 0;
}

/* -------------------------------------------------------------------------------------------------------- sizes --- */

static int parse_size(struct relayfs_log *log, const char *what, char *text, size_t *size)
{
	unsigned long value;
	char *word = strim(text);

	if (kstrtoul(word, 10, &value))
		return refuse(log, -EINVAL, "%s: %.40s is not a decimal number", what, word);
	*size = value;
	return 0;
}

static int subbuf_size_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct relayfs_log *log = log_of(obj);
	struct relayfs_channel *chan = log->chan;
	size_t size;
	int err;

	begin_request(log);
	err = parse_size(log, "subbuf_size", text, &size);
	if (!err)
		err = relayfs_channel_configure(chan, 0, size, chan->attr.n_subbufs);
	return end_request(log, err);
}

static int subbuf_size_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", log_of(obj)->chan->attr.subbuf_size);
	return 0;
}

static int n_subbufs_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct relayfs_log *log = log_of(obj);
	struct relayfs_channel *chan = log->chan;
	size_t n;
	int err;

	begin_request(log);
	err = parse_size(log, "n_subbufs", text, &n);
	if (!err && relayfs_channel_state(chan) == RELAYFS_IDLE)
		err = relayfs_channel_configure(chan, 0, chan->attr.subbuf_size, n);
	else if (!err)
		err = relayfs_channel_resize(chan, n);
	return end_request(log, err);
}

static int n_subbufs_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", relayfs_channel_n_subbufs(log_of(obj)->chan));
	return 0;
}

static int n_subbufs_max_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct relayfs_log *log = log_of(obj);
	size_t n;
	int err;

	begin_request(log);
	err = parse_size(log, "n_subbufs_max", text, &n);
	if (!err)
		err = relayfs_channel_set_max(log->chan, n);
	return end_request(log, err);
}

static int n_subbufs_max_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%zu\n", log_of(obj)->chan->attr.n_subbufs_max);
	return 0;
}

/* ------------------------------------------------------------------------------------------------- what happens --- */

static int stats_show(struct relayfs_object *obj, struct seq_file *m)
{
	relayfs_channel_show_stats(log_of(obj)->chan, m);
	return 0;
}

static int error_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct relayfs_log *log = log_of(obj);

	mutex_lock(&log->lock);
	if (log->error[0])
		seq_printf(m, "%s\n", log->error);
	mutex_unlock(&log->lock);
	return 0;
}

static void forget_counts(void *writer)
{
	struct relayfs_writer *w = writer;

	w->produced = 0;
	w->before = 0;
	w->published = 0;
	w->packets = 0;
	w->seq = 0;
	w->overwritten = 0;
	w->reported = 0;
	memset(w->lost, 0, sizeof(w->lost));
}

/* Caller holds the channel's lock. */
static bool is_read_out(struct relayfs_channel *chan)
{
	unsigned int i;

	for (i = 0; i < chan->n_streams; i++) {
		struct relayfs_stream *s = chan->streams[i];
		struct rchan_buf *buf = s ? relayfs_ring_buf(s->live, s->cpu) : NULL;

		if (s && (s->drain || (buf && relayfs_ring_oldest(s->live, buf) != buf->subbufs_produced)))
			return false;
	}
	return true;
}

/* What is written from now on belongs to another trace, whose counters begin at 0. */
static int renew_channel(struct relayfs_log *log, const uuid_t *uuid)
{
	struct relayfs_channel *chan = log->chan;
	unsigned int i;
	int err = 0;

	mutex_lock(&chan->lock);
	cpus_read_lock();
	if (chan->state == RELAYFS_RUNNING) {
		err = refuse(log, -EBUSY, "uuid: it is running: stop it first");
		goto unlock;
	}
	if (!is_read_out(chan)) {
		err = refuse(log, -EBUSY, "uuid: what was logged has not been read: read it, or reset");
		goto unlock;
	}
	for (i = 0; i < chan->n_streams; i++) {
		struct relayfs_stream *s = chan->streams[i];

		if (!s)
			continue;
		mutex_lock(&s->lock);
		relayfs_on_writer(s, forget_counts, s->writer);
		s->read = 0;
		s->bytes = 0;
		s->told = 0;
		s->final_due = false;
		mutex_unlock(&s->lock);
	}
	chan->attr.uuid = *uuid;
	memcpy(chan->template.uuid, uuid, sizeof(chan->template.uuid));
	if (chan->ring)
		relayfs_rename_maps(chan->ring, uuid);
unlock:
	cpus_read_unlock();
	mutex_unlock(&chan->lock);
	return err;
}

static int uuid_store(struct relayfs_object *obj, char *text, size_t len)
{
	struct relayfs_log *log = log_of(obj);
	const struct relayfs_log_ops *ops = log->attr.ops;
	char *word = strim(text);
	uuid_t uuid;
	int err;

	begin_request(log);
	if (uuid_parse(word, &uuid)) {
		err = refuse(log, -EINVAL, "uuid: %.40s is not 8-4-4-4-12 hexadecimal digits", word);
	} else {
		err = renew_channel(log, &uuid);
		if (!err) {
			log->uuid = uuid;
			if (ops && ops->renew)
				ops->renew();
		}
	}
	return end_request(log, err);
}

static int uuid_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%pUb\n", &log_of(obj)->uuid);
	return 0;
}

static int metadata_show(struct relayfs_object *obj, struct seq_file *m)
{
	struct relayfs_log *log = log_of(obj);

	relayfs_show_metadata(m, log->attr.name, &log->uuid, log->wall_offset);
	return 0;
}

static const struct relayfs_attribute attributes[] = {
	{ .name = "control", .mode = 0600, .show = control_show, .store = control_store },
	{ .name = "subbuf_size", .mode = 0600, .show = subbuf_size_show, .store = subbuf_size_store },
	{ .name = "n_subbufs", .mode = 0600, .show = n_subbufs_show, .store = n_subbufs_store },
	{ .name = "n_subbufs_max", .mode = 0600, .show = n_subbufs_max_show, .store = n_subbufs_max_store },
	{ .name = "stats", .mode = 0400, .show = stats_show },
	{ .name = "error", .mode = 0400, .show = error_show },
	{ .name = "uuid", .mode = 0600, .show = uuid_show, .store = uuid_store },
	{ .name = "metadata", .mode = 0400, .show = metadata_show },
};

/* -------------------------------------------------------------------------------------------------- life of a log --- */

static int populate(struct relayfs_dir *dir)
{
	struct relayfs_log *log = container_of(dir->client, struct relayfs_log, client);
	int err = relayfs_create_attributes(dir, attributes, ARRAY_SIZE(attributes), &log->obj);

	if (!err)
		err = relayfs_create_attributes(dir, log->attr.files, log->attr.n_files, &log->obj);
	return err ? err : relayfs_create_streams(dir, log->chan, log->attr.name);
}

static void release(struct relayfs_object *obj)
{
	struct relayfs_log *log = log_of(obj);

	relayfs_channel_put(log->chan);
	kfree(log);
}

/**
 * relayfs_log_open() - make a log
 * @attr: what it is like; what it points at stays until relayfs_log_close()
 *
 * Return: the log, or -EINVAL (the sizes), -ENOMEM as ERR_PTR.
 */
struct relayfs_log *relayfs_log_open(const struct relayfs_log_attr *attr)
{
	struct relayfs_channel_attr chan = {
		.owner = attr->owner,
		.flags = attr->flags | RELAYFS_STATIC,
		.stream_id = attr->stream_id,
		.subbuf_size = attr->subbuf_size,
		.n_subbufs = attr->n_subbufs,
		.n_subbufs_max = attr->n_subbufs_max,
		.ops = attr->channel_ops,
	};
	struct relayfs_log *log = kzalloc(sizeof(*log), GFP_KERNEL);
	int err;

	if (!log)
		return ERR_PTR(-ENOMEM);
	log->attr = *attr;
	mutex_init(&log->lock);
	uuid_gen(&log->uuid);
	log->wall_offset = ktime_to_ns(ktime_mono_to_real(0));
	chan.uuid = log->uuid;
	log->chan = relayfs_channel_open(&chan);
	if (IS_ERR(log->chan)) {
		err = PTR_ERR(log->chan);
		kfree(log);
		return ERR_PTR(err);
	}
	relayfs_object_init(&log->obj, NULL, release);
	log->obj.refused = refused;
	log->client.name = attr->name;
	log->client.owner = attr->owner;
	log->client.populate = populate;
	return log;
}
EXPORT_SYMBOL_GPL(relayfs_log_open);

/**
 * relayfs_log_publish() - make the log's directory; from then on its files may be used
 * @log: the log
 *
 * Return: 0, -EEXIST if another client has its name, -ENOMEM.
 */
int relayfs_log_publish(struct relayfs_log *log)
{
	int err = relayfs_register_client(&log->client);

	log->published = !err;
	return err;
}
EXPORT_SYMBOL_GPL(relayfs_log_publish);

/**
 * relayfs_log_close() - end a log and remove its directory
 * @log: the log; for its module's exit, when none of its files can be open
 */
void relayfs_log_close(struct relayfs_log *log)
{
	mutex_lock(&log->lock);
	log->dead = true;
	stop(log);
	mutex_unlock(&log->lock);
	if (log->published)
		relayfs_unregister_client(&log->client);
	relayfs_channel_close(log->chan);
	relayfs_object_put(&log->obj);
}
EXPORT_SYMBOL_GPL(relayfs_log_close);

/**
 * relayfs_log_channel() - where its records go
 * @log: the log
 *
 * Return: the channel, which goes with the log.
 */
struct relayfs_channel *relayfs_log_channel(struct relayfs_log *log)
{
	return log->chan;
}
EXPORT_SYMBOL_GPL(relayfs_log_channel);
