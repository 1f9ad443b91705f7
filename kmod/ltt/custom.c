// SPDX-License-Identifier: GPL-2.0-only
/*
 * The session file custom: events declared from user space, and written from there. One write(2) is one request:
 *
 *	declare NAME FIELD:TYPE ...	a new event; types: s8 … s64, u8 … u64, x8 … x64 (shown in hex), char[N], and string, which
 *					is last
 *	NAME VALUE ...			a record of it, the writer's thread id in front
 *
 * A value with blanks is written in quotes; a string that is last takes the rest of the line.
 */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "record.h"

#define MAX_CHARS	256

/* Cuts the next word off *@text, a quoted one without its quotes; NULL at the end. */
static char *next_word(char **text)
{
	char *word = skip_spaces(*text);
	char *end;

	if (!*word)
		return NULL;
	if (*word == '"') {
		word++;
		end = strchrnul(word, '"');
	} else {
		for (end = word; *end && !isspace(*end); end++)
			;
	}
	*text = *end ? end + 1 : end;
	*end = 0;
	return word;
}

/* ------------------------------------------------------------------------------------------------------ declared --- */

/* char[SIZE] */
static bool parse_chars(const char *type, unsigned int *size)
{
	char digits[8];
	size_t len = strlen(type);

	if (strncmp(type, "char[", 5) || type[len - 1] != ']' || len - 6 >= sizeof(digits))
		return false;
	memcpy(digits, type + 5, len - 6);
	digits[len - 6] = 0;
	return !kstrtouint(digits, 10, size);
}

static int parse_type(struct ltt_session *s, struct ltt_dynamic *d, const char *name, const char *type)
{
	enum ltt_field_kind kind = *type == 's' ? LTT_SIGNED : *type == 'u' ? LTT_UNSIGNED : LTT_HEX;
	unsigned int bits, size;

	if (!strcmp(type, "string"))
		return ltt_dynamic_field(d, name, LTT_STRING, 0);
	if (parse_chars(type, &size) && size && size <= MAX_CHARS)
		return ltt_dynamic_field(d, name, LTT_CHARS, size);
	if (*type && strchr("sux", *type) && !kstrtouint(type + 1, 10, &bits) &&
	    (bits == 8 || bits == 16 || bits == 32 || bits == 64))
		return ltt_dynamic_field(d, name, kind, bits / 8);
	return ltt_refuse(s, -EINVAL, "%.32s:%.32s: no type; s8 to s64, u8 to u64, x8 to x64, char[1] to char[%u], string",
			  name, type, MAX_CHARS);
}

static int parse_field(struct ltt_session *s, struct ltt_dynamic *d, char *word)
{
	const struct ltt_field *last = &d->fields[d->n_fields - 1];
	char *type = word;
	const char *name = strsep(&type, ":");
	unsigned int i;
	int err;

	if (!type || !ltt_is_name(name) || strlen(name) >= sizeof(last->name))
		return ltt_refuse(s, -EINVAL, "%.40s: NAME:TYPE was expected, the name of letters, digits and _, a letter first",
				  name);
	if (last->kind == LTT_STRING)
		return ltt_refuse(s, -EINVAL, "%s: a string is the last field, and %s is one", name, last->name);
	for (i = 0; i < d->n_fields; i++)
		if (!strcmp(d->fields[i].name, name))
			return ltt_refuse(s, -EEXIST, "%s: there is such a field already", name);
	err = parse_type(s, d, name, type);
	return err == -ENOSPC ? ltt_refuse(s, err, "an event has at most %u fields, tid included", LTT_MAX_FIELDS) : err;
}

/* What the other files of a capture have records of: a trace's events are told apart by name, whichever file they are in. */
static const char * const elsewhere[] = { "state_task", "state_irq", "state_module", "state_end", "printk", "evlog" };

static int declare_event(struct ltt_session *s, char *text)
{
	const char *name = next_word(&text);
	struct ltt_dynamic *d;
	char *word;
	int err = 0;

	if (!name || !ltt_is_name(name) || !strcmp(name, "declare") || !strncmp(name, "kprobe_", 7))
		return ltt_refuse(s, -EINVAL, "declare %.40s: a name of letters, digits and _ was expected, not \"declare\" and not beginning with kprobe_",
				  name ?: "");
	if (ltt_event_index(name) >= 0 || match_string(elsewhere, ARRAY_SIZE(elsewhere), name) >= 0 ||
	    ltt_dynamic_find(s, name, false))
		return ltt_refuse(s, -EEXIST, "declare %s: there is such an event already", name);
	d = ltt_dynamic_make(s, name, false);
	if (IS_ERR(d))
		return PTR_ERR(d);
	while (!err && (word = next_word(&text)))
		err = parse_field(s, d, word);
	if (err) {
		kfree(d);
		return err;
	}
	d->se.enabled = true;
	ltt_dynamic_add(s, d);
	return 0;
}

/* ------------------------------------------------------------------------------------------------------- written --- */

static int parse_number(struct ltt_session *s, const struct ltt_field *field, const char *word, void *to)
{
	unsigned int bits = 8 * field->size;
	u64 value;
	int err;

	if (field->kind == LTT_SIGNED) {
		s64 number = 0;

		err = kstrtos64(word, 0, &number);
		if (!err && bits < 64 && (number >> (bits - 1)) != 0 && (number >> (bits - 1)) != -1)
			err = -ERANGE;
		value = number;
	} else {
		err = kstrtou64(word, 0, &value);
		if (!err && bits < 64 && value >> bits)
			err = -ERANGE;
	}
	if (err)
		return ltt_refuse(s, err, "%s: %.40s is not %s integer of %u bits", field->name, word,
				  field->kind == LTT_SIGNED ? "a signed" : "an unsigned", bits);
	memcpy(to, &value, field->size);	/* little endian, as the format is */
	return 0;
}

/* The rest of the line as it is, or what is in quotes. */
static char *rest(char **text)
{
	char *line = skip_spaces(*text);

	if (*line == '"')
		return next_word(text);
	*text += strlen(*text);
	return strim(line);
}

/* The payload of a record, into @to, which has room for any; returns its size or a negative errno. */
static ssize_t parse_values(struct ltt_session *s, const struct ltt_dynamic *d, char *text, char *to)
{
	size_t size = d->size;
	unsigned int i;
	char *word;

	*(s32 *)to = current->pid;
	for (i = 1; i < d->n_fields; i++) {
		const struct ltt_field *field = &d->fields[i];
		int err = 0;

		word = field->kind == LTT_STRING ? rest(&text) : next_word(&text);
		if (!word)
			return ltt_refuse(s, -EINVAL, "%s: %u values were expected, not %u", d->name, d->n_fields - 1,
					  i - 1);
		if (field->kind == LTT_STRING) {
			strcpy(to + field->offset, word);
			size += strlen(word) + 1;
		} else if (field->kind == LTT_CHARS) {
			memset(to + field->offset, 0, field->size);
			memcpy(to + field->offset, word, strnlen(word, field->size));
		} else {
			err = parse_number(s, field, word, to + field->offset);
		}
		if (err)
			return err;
	}
	if (next_word(&text))
		return ltt_refuse(s, -EINVAL, "%s: %u values were expected, not more", d->name, d->n_fields - 1);
	return size;
}

static int log_record(struct ltt_session *s, const char *name, char *text, size_t len)
{
	struct ltt_dynamic *d = ltt_dynamic_find(s, name, false);
	struct relayfs_slot slot;
	ssize_t size;
	char *payload;
	void *p;

	if (!d)
		return ltt_refuse(s, -ENOENT, "%.60s: no such event; declare NAME FIELD:TYPE ... makes one", name);
	if (relayfs_channel_state(s->chan) != RELAYFS_RUNNING)
		return ltt_refuse(s, -EAGAIN, "%s: the session is not running", name);
	payload = kzalloc(d->size + len + 1, GFP_KERNEL);
	if (!payload)
		return -ENOMEM;
	size = parse_values(s, d, text, payload);
	if (size >= 0 && d->se.enabled) {
		p = ltt_begin_id(&slot, &d->se, d->id, NULL, size);
		if (p) {
			memcpy(p, payload, size);
			ltt_end(&slot, &d->se);
		}
	}
	kfree(payload);
	return size < 0 ? size : 0;
}

/* With the session's lock held. */
int ltt_custom_request(struct ltt_session *s, char *text, size_t len)
{
	char *word = next_word(&text);

	if (!word)
		return ltt_refuse(s, -EINVAL, "custom: declare NAME FIELD:TYPE ..., or NAME VALUE ... was expected");
	return strcmp(word, "declare") ? log_record(s, word, text, len) : declare_event(s, text);
}

void ltt_custom_show(struct ltt_session *s, struct seq_file *m)
{
	static const char letters[] = { [LTT_UNSIGNED] = 'u', [LTT_SIGNED] = 's', [LTT_HEX] = 'x' };
	struct ltt_dynamic *d;
	unsigned int i;

	list_for_each_entry(d, &s->dynamic, link) {
		if (d->kprobe)
			continue;
		seq_printf(m, "%u %s", d->id, d->name);
		for (i = 1; i < d->n_fields; i++) {
			const struct ltt_field *field = &d->fields[i];

			seq_printf(m, " %s:", field->name);
			if (field->kind == LTT_STRING)
				seq_puts(m, "string");
			else if (field->kind == LTT_CHARS)
				seq_printf(m, "char[%u]", field->size);
			else
				seq_printf(m, "%c%u", letters[field->kind], 8 * field->size);
		}
		seq_putc(m, '\n');
	}
}
