// SPDX-License-Identifier: GPL-2.0-only
/*
 * Records from user space: one write(2) to the file log is one record.
 *
 *	FACILITY.SEVERITY[:TYPE] [@NAME=VALUE ...] TEXT
 *	daemon.err:0x17 @disk="sda 1" @free=0 @ro=true no room
 *
 * A value is true, false, a whole number, or text; text with blanks stands in double quotes, with \" and \\ in it.
 */
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/hash.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/uidgid.h>

#include "internal.h"

#define MAX_ATTRIBUTES 16

/* ---------------------------------------------------------------------------------------------------- rate limit --- */

#define BUCKET_BITS 8

/*
 * Tokens of a user: refilled with the rate, one second's worth at most. There are few buckets, made beforehand; users
 * whose hashes collide share one.
 */
static struct bucket {
	u64 refilled;			/* monotonic ns */
	u64 tokens;			/* in 1/NSEC_PER_SEC */
} buckets[1 << BUCKET_BITS];
static DEFINE_SPINLOCK(buckets_lock);
static unsigned int rate_limit = 1000;	/* records a second and user; 0 for no limit */

static bool take_token(void)
{
	u64 rate = READ_ONCE(rate_limit), full = rate * NSEC_PER_SEC;
	struct bucket *b = &buckets[hash_32(from_kuid_munged(&init_user_ns, current_uid()), BUCKET_BITS)];
	u64 now, passed;
	bool taken;

	if (!rate)
		return true;
	spin_lock(&buckets_lock);
	now = ktime_get_ns();	/* here, lest another writer's refill be later, and this one the whole of a bucket */
	passed = min_t(u64, now - b->refilled, NSEC_PER_SEC);
	b->tokens = min(b->tokens + passed * rate, full);
	b->refilled = now;
	taken = b->tokens >= NSEC_PER_SEC;
	if (taken)
		b->tokens -= NSEC_PER_SEC;
	spin_unlock(&buckets_lock);
	return taken;
}

int evlog_rate_limit_show(struct relayfs_object *obj, struct seq_file *m)
{
	seq_printf(m, "%u\n", READ_ONCE(rate_limit));
	return 0;
}

int evlog_rate_limit_store(struct relayfs_object *obj, char *text, size_t len)
{
	unsigned int rate;
	char *word = strim(text);

	if (kstrtouint(word, 10, &rate))
		return relayfs_log_refuse(evlog, -EINVAL, "rate_limit: %.40s is not a number of records a second", word);
	WRITE_ONCE(rate_limit, rate);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- parsing --- */

static int malformed(const char *what, const char *at)
{
	/* Escaped: anybody may have written it, and root reads it on a terminal. */
	return relayfs_log_refuse(evlog, evlog_refuse(EVLOG_MALFORMED, -EINVAL), "log: %s at \"%*pE\"; "
				  "FACILITY.SEVERITY[:TYPE] [@NAME=VALUE ...] TEXT was expected", what,
				  (int)strnlen(at, 40), at);
}

/* "daemon.err:0x17"; returns what follows. */
static char *parse_head(char *text, struct evlog_record *record, int *err)
{
	char *head = strsep(&text, " \t"), *type = strchr(head, ':'), *dot;
	int facility, severity;

	if (type)
		*type++ = 0;
	dot = strchr(head, '.');
	if (!dot) {
		*err = malformed("no facility and severity", head);
		return NULL;
	}
	facility = evlog_find_name(ltt3_facility_names, LTT3_FACILITIES, head, dot - head);
	severity = evlog_find_name(ltt3_level_names, LTT3_LEVELS, dot + 1, strlen(dot + 1));
	if (facility < 0 || severity < 0) {
		*err = malformed(facility < 0 ? "no such facility" : "no such severity", facility < 0 ? head : dot + 1);
		return NULL;
	}
	if (facility == LTT3_FACILITY_KERN) {
		*err = relayfs_log_refuse(evlog, evlog_refuse(EVLOG_MALFORMED, -EPERM),
					  "log: the facility kern is the kernel's own");
		return NULL;
	}
	if (type && kstrtou32(type, 0, &record->event_type)) {
		*err = malformed("the type is not a 32-bit number", type);
		return NULL;
	}
	record->facility = facility;
	record->severity = severity;
	return text ?: head + strlen(head);
}

/* Text in quotes at @at, unescaped in place; returns what follows, NULL if there is no end. */
static char *unquote(char *at, const char **value)
{
	char *to = ++at;

	*value = to;
	for (; *at != '"'; at++) {
		if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
			at++;
		if (!*at)
			return NULL;
		*to++ = *at;
	}
	*to = 0;
	return at + 1;
}

/* Finds out what a word means. */
static void type_value(struct evlog_attribute *a, const char *word)
{
	s64 number;

	a->text = word;
	a->kind = EVLOG_KIND_TEXT;
	if (!strcmp(word, "true") || !strcmp(word, "false")) {
		a->kind = EVLOG_KIND_BOOL;
		a->value = *word == 't';
	} else if (!kstrtou64(word, 0, &a->value)) {
		a->kind = EVLOG_KIND_UNSIGNED;
	} else if (!kstrtos64(word, 0, &number)) {
		a->kind = EVLOG_KIND_SIGNED;
		a->value = number;
	}
}

/* "@disk=sda @free=0"; returns the text that follows. */
static char *parse_attributes(char *at, struct evlog_attribute *attributes, size_t *n, int *err)
{
	at = skip_spaces(at);
	for (*n = 0; *at == '@'; at = skip_spaces(at)) {
		struct evlog_attribute *a = &attributes[*n];
		char *equals = at + 1, *end;

		while (isalnum(*equals) || *equals == '_')
			equals++;
		if (*equals != '=' || equals == at + 1 || isdigit(at[1]) || equals - at - 1 > EVLOG_MAX_NAME) {
			*err = malformed("no @NAME=VALUE", at);
			return NULL;
		}
		if (*n == MAX_ATTRIBUTES) {
			*err = malformed("more than 16 attributes", at);
			return NULL;
		}
		a->name = at + 1;
		*equals = 0;
		at = equals + 1;
		if (*at == '"') {
			a->kind = EVLOG_KIND_TEXT;
			end = unquote(at, &a->text);
			if (!end || (*end && !isspace(*end))) {
				*err = malformed("a quoted value without an end", at);
				return NULL;
			}
			at = end;
		} else {
			end = at + strcspn(at, " \t\n");
			at = *end ? end + 1 : end;
			*end = 0;
			type_value(a, equals + 1);
		}
		++*n;
	}
	return at;
}

static int parse_and_put(char *text, struct evlog_attribute *attributes, char *json)
{
	struct evlog_record record = { .origin = LTT3_ORIGIN_USER, .attributes = json };
	ssize_t json_len;
	int err = 0;
	size_t n;

	text = parse_head(text, &record, &err);
	if (!text)
		return err;
	if (!evlog_admits(record.facility, record.severity))
		return evlog_refuse(EVLOG_BELOW_THRESHOLD, 0);
	text = parse_attributes(text, attributes, &n, &err);
	if (!text)
		return err;
	json_len = evlog_to_json(json, EVLOG_MAX_ATTRIBUTES, attributes, n);
	record.text = text;
	record.text_len = strlen(text);
	if (json_len == -EMSGSIZE || record.text_len >= EVLOG_MAX_TEXT)
		return relayfs_log_refuse(evlog, evlog_refuse(EVLOG_TOO_LONG, -EMSGSIZE),
					  "log: the text has %zu bytes, %d are allowed, and %d for the attributes",
					  record.text_len, EVLOG_MAX_TEXT - 1, EVLOG_MAX_ATTRIBUTES - 1);
	if (json_len < 0)
		return malformed("a bad name", attributes[0].name);
	record.attributes_len = json_len;
	err = evlog_put(&record);
	if (err)
		relayfs_log_refuse(evlog, err, err == -EAGAIN ? "log: it is not running" : "log: the record is lost");
	return err;
}

/* One write to the file log. Which is refused with EAGAIN may be tried again: the limit, or a log that does not run. */
int evlog_user_write(struct relayfs_object *obj, char *text, size_t len)
{
	struct evlog_attribute *attributes;
	int err = -ENOMEM;
	char *json;

	if (!take_token())
		return relayfs_log_refuse(evlog, evlog_refuse(EVLOG_RATE_LIMITED, -EAGAIN),
					  "log: uid %u is over rate_limit, %u records a second",
					  from_kuid_munged(&init_user_ns, current_uid()), READ_ONCE(rate_limit));
	if (strnlen(text, len) != len)
		return malformed("a NUL", text);
	while (len && text[len - 1] == '\n')
		text[--len] = 0;
	attributes = kcalloc(MAX_ATTRIBUTES, sizeof(*attributes), GFP_KERNEL);
	json = kmalloc(EVLOG_MAX_ATTRIBUTES, GFP_KERNEL);
	if (attributes && json)
		err = parse_and_put(text, attributes, json);
	kfree(json);
	kfree(attributes);
	return err;
}
