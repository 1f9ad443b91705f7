// SPDX-License-Identifier: GPL-2.0-only
/*
 * evlog.ko: the structured event log.
 *
 * A record says who logged it (facility; task, process and user, filled in here), how severe it is, what happened as a
 * number of the writer's, in words, and as named typed values. Writers are other modules, by the calls below, and user
 * space, by the file log (user.c). What is less severe than the threshold of its facility is not let in.
 */
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>
#include <linux/uidgid.h>

#include "internal.h"

static bool start;
module_param(start, bool, 0444);
MODULE_PARM_DESC(start, "start as the module is loaded");

struct relayfs_log *evlog;

static u8 threshold[LTT3_FACILITIES];	/* the least severe level that is let in */
static atomic64_t refused[EVLOG_REASONS];

/* Kernel writers' text: formatted before the record is reserved, as formats may lock, fault or be traced. */
struct buffer {
	char text[EVLOG_MAX_TEXT];
	char attributes[EVLOG_MAX_ATTRIBUTES];
	bool busy;
};

static struct buffer __percpu *buffers;

bool evlog_admits(enum ltt3_facility facility, enum ltt3_level severity)
{
	return severity <= READ_ONCE(threshold[facility]);
}

/* Counts a record that was not let in. */
int evlog_refuse(enum evlog_refused reason, int err)
{
	atomic64_inc(&refused[reason]);
	return err;
}

/**
 * evlog_put() - write a record
 * @record: what is not filled in here; its text and attributes are of their length, without NUL
 *
 * Return: 0, -EAGAIN if the log does not run, -ENOBUFS if the record is lost, which has been counted
 * unless the log was stopped just then.
 */
int evlog_put(const struct evlog_record *record)
{
	size_t size = LTT3_EVLOG_SIZE + record->text_len + record->attributes_len + 2;
	struct relayfs_channel *chan = relayfs_log_channel(evlog);
	struct relayfs_slot slot;
	struct ltt3_evlog *to;
	char *at;

	if (relayfs_channel_state(chan) != RELAYFS_RUNNING)
		return -EAGAIN;
	to = relayfs_reserve(chan, &slot, LTT3_ID_EVLOG, size);
	if (!to)
		return -ENOBUFS;
	to->tid = current->pid;
	to->pid = current->tgid;
	to->uid = from_kuid_munged(&init_user_ns, current_uid());
	to->event_type = record->event_type;
	to->severity = record->severity;
	to->facility = record->facility;
	to->origin = record->origin;
	memcpy(to->process, current->comm, sizeof(to->process));
	at = to->text;
	memcpy(at, record->text, record->text_len);
	at += record->text_len;
	*at++ = 0;
	memcpy(at, record->attributes, record->attributes_len);
	at[record->attributes_len] = 0;
	relayfs_commit(&slot);
	return 0;
}

/* ------------------------------------------------------------------------------------------------ kernel writers --- */

static __printf(5, 0) int format_and_put(struct buffer *buffer, struct evlog_record *record, const struct evlog_attribute *attributes,
			  size_t n, const char *format, va_list args)
{
	ssize_t len;

	record->text = buffer->text;
	record->text_len = vsnprintf(buffer->text, sizeof(buffer->text), format, args);
	if (record->text_len >= sizeof(buffer->text))
		return evlog_refuse(EVLOG_TOO_LONG, -EMSGSIZE);
	len = evlog_to_json(buffer->attributes, sizeof(buffer->attributes), attributes, n);
	if (len < 0)
		return evlog_refuse(len == -EMSGSIZE ? EVLOG_TOO_LONG : EVLOG_MALFORMED, len);
	record->attributes = buffer->attributes;
	record->attributes_len = len;
	return evlog_put(record);
}

static __printf(6, 0) int evlog_vwrite(enum ltt3_facility facility, enum ltt3_level severity, u32 event_type,
			const struct evlog_attribute *attributes, size_t n, const char *format, va_list args)
{
	struct evlog_record record = {
		.facility = facility, .severity = severity, .event_type = event_type, .origin = LTT3_ORIGIN_KERNEL,
		.text = "", .attributes = "",
	};
	struct buffer *buffer;
	unsigned long flags;
	int err;

	if ((unsigned int)facility >= LTT3_FACILITIES || (unsigned int)severity >= LTT3_LEVELS)
		return evlog_refuse(EVLOG_MALFORMED, -EINVAL);
	if (!evlog_admits(facility, severity))
		return evlog_refuse(EVLOG_BELOW_THRESHOLD, 0);
	local_irq_save(flags);
	buffer = this_cpu_ptr(buffers);
	if (buffer->busy) {
		err = evlog_refuse(EVLOG_NESTED, -ENOBUFS);
	} else {
		buffer->busy = true;
		err = format_and_put(buffer, &record, attributes, n, format, args);
		buffer->busy = false;
	}
	local_irq_restore(flags);
	return err;
}

/**
 * evlog_write() - log what happened, in words
 * @facility: LTT3_FACILITY_..., who logs
 * @severity: LTT3_LEVEL_..., how bad it is
 * @event_type: what it is, in the caller's own numbering
 * @format: as for printk()
 *
 * From any context; a record that interrupts another one on the same CPU (in an NMI) is not logged, but counted.
 *
 * Return: 0 if it is logged or below the threshold; -EAGAIN if the log does not run; -ENOBUFS if the record is lost;
 * -EMSGSIZE if the text is longer than EVLOG_MAX_TEXT, and nothing is logged; -EINVAL.
 */
int evlog_write(enum ltt3_facility facility, enum ltt3_level severity, u32 event_type, const char *format, ...)
{
	va_list args;
	int err;

	va_start(args, format);
	err = evlog_vwrite(facility, severity, event_type, NULL, 0, format, args);
	va_end(args);
	return err;
}
EXPORT_SYMBOL_GPL(evlog_write);

/**
 * evlog_write_attributes() - log what happened, in words and in named, typed values
 * @facility: LTT3_FACILITY_..., who logs
 * @severity: LTT3_LEVEL_..., how bad it is
 * @event_type: what it is, in the caller's own numbering
 * @attributes: the values; EVLOG_ATTRIBUTES() makes this argument and the next
 * @n: how many
 * @format: as for printk()
 *
 * Return: as evlog_write(); -EMSGSIZE also if the attributes are longer than EVLOG_MAX_ATTRIBUTES.
 */
int evlog_write_attributes(enum ltt3_facility facility, enum ltt3_level severity, u32 event_type,
			   const struct evlog_attribute *attributes, size_t n, const char *format, ...)
{
	va_list args;
	int err;

	va_start(args, format);
	err = evlog_vwrite(facility, severity, event_type, attributes, n, format, args);
	va_end(args);
	return err;
}
EXPORT_SYMBOL_GPL(evlog_write_attributes);

/* -------------------------------------------------------------------------------------------------------- files --- */

/* The index of a name among @n, -1 if it is none of them. */
int evlog_find_name(const char * const *names, size_t n, const char *word, size_t len)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strlen(names[i]) == len && !memcmp(names[i], word, len))
			return i;
	return -1;
}

static int threshold_show(struct relayfs_object *obj, struct seq_file *m)
{
	int i;

	for (i = 0; i < LTT3_FACILITIES; i++)
		seq_printf(m, "%s=%s\n", ltt3_facility_names[i], ltt3_level_names[threshold[i]]);
	return 0;
}

/* "warning" for all, "daemon=err kern=debug" for some. */
static int threshold_store(struct relayfs_object *obj, char *text, size_t len)
{
	u8 wanted[LTT3_FACILITIES];
	char *word;

	memcpy(wanted, threshold, sizeof(wanted));
	while ((word = strsep(&text, " \t\n"))) {
		const char *equals = strchr(word, '='), *name = equals ? equals + 1 : word;
		int level = evlog_find_name(ltt3_level_names, LTT3_LEVELS, name, strlen(name));
		int facility = equals ? evlog_find_name(ltt3_facility_names, LTT3_FACILITIES, word, equals - word) : 0;

		if (!*word)
			continue;
		if (level < 0 || facility < 0)
			return relayfs_log_refuse(evlog, -EINVAL,
						  "threshold: %.40s is neither SEVERITY nor FACILITY=SEVERITY", word);
		if (equals)
			wanted[facility] = level;
		else
			memset(wanted, level, sizeof(wanted));
	}
	memcpy(threshold, wanted, sizeof(threshold));
	return 0;
}

static int refused_show(struct relayfs_object *obj, struct seq_file *m)
{
	static const char * const names[EVLOG_REASONS] = {
		[EVLOG_BELOW_THRESHOLD] = "below_threshold", [EVLOG_RATE_LIMITED] = "rate_limited",
		[EVLOG_TOO_LONG] = "too_long", [EVLOG_MALFORMED] = "malformed", [EVLOG_NESTED] = "nested",
	};
	int i;

	for (i = 0; i < EVLOG_REASONS; i++)
		seq_printf(m, "%s %lld\n", names[i], atomic64_read(&refused[i]));
	return 0;
}

static const struct relayfs_attribute files[] = {
	{ .name = "log", .mode = 0200, .store = evlog_user_write, .max = 4096 },
	{ .name = "threshold", .mode = 0600, .show = threshold_show, .store = threshold_store },
	{ .name = "rate_limit", .mode = 0600, .show = evlog_rate_limit_show, .store = evlog_rate_limit_store },
	{ .name = "refused", .mode = 0400, .show = refused_show },
};

static int __init evlog_init(void)
{
	const struct relayfs_log_attr attr = {
		.name = "evlog",
		.owner = THIS_MODULE,
		.stream_id = LTT3_STREAM_EVLOG,
		.subbuf_size = 16 << 10,
		.n_subbufs = 4,
		.n_subbufs_max = 64,
		.files = files,
		.n_files = ARRAY_SIZE(files),
	};
	int err;

	memset(threshold, LTT3_LEVEL_DEBUG, sizeof(threshold));
	buffers = alloc_percpu(struct buffer);
	if (!buffers)
		return -ENOMEM;
	evlog = relayfs_log_open(&attr);
	err = PTR_ERR_OR_ZERO(evlog);
	if (err)
		goto free;
	/* First this, as it may fail: who has opened a file by then would be left with it when the module goes. */
	err = start ? relayfs_log_start(evlog) : 0;
	if (!err)
		err = relayfs_log_publish(evlog);
	if (!err)
		return 0;
	relayfs_log_close(evlog);
free:
	free_percpu(buffers);
	return err;
}

static void __exit evlog_exit(void)
{
	relayfs_log_close(evlog);
	free_percpu(buffers);
}

module_init(evlog_init);
module_exit(evlog_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("The structured event log as a relayfs channel");
