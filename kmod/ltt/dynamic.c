// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events that a session gets at run time: declared from user space, or kprobes.
 *
 * Their ids begin behind the static ones, are described in metadata from then on, and are never used for anything else.
 * An event stays, with its id, until the session goes; disabled, it is not recorded.
 */
#include <linux/ctype.h>
#include <linux/glob.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

#define MAX_DYNAMIC	1024

/* What a metadata reader would take for something else: such a field gets a _ in front, which readers take off again. */
static const char * const reserved[] = {
	"align", "byte_order", "callsite", "char", "clock", "const", "double", "enum", "env", "event", "float",
	"floating_point", "int", "integer", "long", "short", "signed", "stream", "string", "struct", "trace", "typealias",
	"typedef", "unsigned", "variant", "void", "base", "encoding", "id", "major", "map", "minor", "mant_dig", "exp_dig",
	"name", "size", "stream_id", "uuid", "value",
};

/* Letters, digits and _, a letter first. */
bool ltt_is_name(const char *text)
{
	const char *p;

	for (p = text; *p; p++)
		if (!isascii(*p) || !(isalpha(*p) || ((isdigit(*p) || *p == '_') && p > text)))
			return false;
	return p > text;
}

/* As metadata has it: names of kprobes are told from others by how they begin. */
static const char *prefix(const struct ltt_dynamic *d)
{
	return d->kprobe ? "kprobe_" : "";
}

static const char *group(const struct ltt_dynamic *d)
{
	return d->kprobe ? "kprobe" : "user";
}

/**
 * ltt_dynamic_find() - an event by its name
 * @s: the session
 * @name: without group
 * @kprobe: of which kind
 *
 * Needs no lock: events are only ever added while the session is there.
 */
struct ltt_dynamic *ltt_dynamic_find(struct ltt_session *s, const char *name, bool kprobe)
{
	struct ltt_dynamic *d;

	list_for_each_entry_rcu(d, &s->dynamic, link, true)
		if (d->kprobe == kprobe && !strcmp(d->name, name))
			return d;
	return NULL;
}

/* Makes an event that is not in the session yet; its fields are to be filled in before ltt_dynamic_add(). */
struct ltt_dynamic *ltt_dynamic_make(struct ltt_session *s, const char *name, bool kprobe)
{
	struct ltt_dynamic *d;

	if (s->n_dynamic >= MAX_DYNAMIC) {
		ltt_refuse(s, -ENOSPC, "a session has at most %u events of its own", MAX_DYNAMIC);
		return ERR_PTR(-ENOSPC);
	}
	if (strlen(name) >= sizeof(d->name)) {
		ltt_refuse(s, -ENAMETOOLONG, "%.40s…: a name has at most %zu bytes", name, sizeof(d->name) - 1);
		return ERR_PTR(-ENAMETOOLONG);
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return ERR_PTR(-ENOMEM);
	strscpy(d->name, name, sizeof(d->name));
	d->kprobe = kprobe;
	d->session = s;
	d->se.writers = relayfs_writers(s->chan);
	ltt_dynamic_field(d, "tid", LTT_SIGNED, 4);
	return d;
}

/* Puts a field behind the others, where C would; -ENOSPC if there are too many. */
int ltt_dynamic_field(struct ltt_dynamic *d, const char *name, enum ltt_field_kind kind, size_t size)
{
	struct ltt_field *field = &d->fields[d->n_fields];

	if (d->n_fields == LTT_MAX_FIELDS)
		return -ENOSPC;
	strscpy(field->name, name, sizeof(field->name));
	field->kind = kind;
	field->size = size;
	field->offset = kind < LTT_CHARS ? ALIGN(d->size, size) : d->size;
	d->size = field->offset + size;
	d->n_fields++;
	return 0;
}

void ltt_dynamic_add(struct ltt_session *s, struct ltt_dynamic *d)
{
	struct ltt_filter *filter = rcu_dereference_protected(s->filter, lockdep_is_held(&s->lock));

	d->id = LTT3_FIRST_DYNAMIC_ID + s->n_dynamic++;
	rcu_assign_pointer(d->se.filter, filter);
	d->se.filtered = filter;
	list_add_tail_rcu(&d->link, &s->dynamic);
}

void ltt_dynamic_free(struct ltt_session *s)
{
	struct ltt_dynamic *d, *next;

	list_for_each_entry_safe(d, next, &s->dynamic, link)
		kfree(d);
}

/* Enables or disables those that @glob matches; returns how many, or a negative errno. */
int ltt_dynamic_select(struct ltt_session *s, const char *glob, bool on)
{
	bool running = relayfs_channel_state(s->chan) == RELAYFS_RUNNING;
	struct ltt_dynamic *d;
	int found = 0, err;

	list_for_each_entry(d, &s->dynamic, link) {
		if (!ltt_glob_matches(glob, group(d), d->name, "custom"))
			continue;
		found++;
		if (d->kprobe && running) {
			err = on ? ltt_kprobe_register(d) : ltt_kprobe_unregister(d);
			if (err)
				return err;
		}
		WRITE_ONCE(d->se.enabled, on);
	}
	return found;
}

int ltt_dynamic_register(struct ltt_session *s)
{
	struct ltt_dynamic *d;
	int err;

	list_for_each_entry(d, &s->dynamic, link)
		if (d->kprobe && d->se.enabled) {
			err = ltt_kprobe_register(d);
			if (err)
				return err;
		}
	return 0;
}

void ltt_dynamic_unregister(struct ltt_session *s)
{
	struct ltt_dynamic *d;

	list_for_each_entry(d, &s->dynamic, link)
		if (d->kprobe)
			ltt_kprobe_unregister(d);
}

/* --------------------------------------------------------------------------------------------------------- shown --- */

void ltt_dynamic_show_enabled(struct ltt_session *s, struct seq_file *m)
{
	struct ltt_dynamic *d;

	list_for_each_entry(d, &s->dynamic, link)
		if (d->se.enabled)
			seq_printf(m, "%s:%s\n", group(d), d->name);
}

static void show_field(struct seq_file *m, const struct ltt_field *field)
{
	const char *mark = match_string(reserved, ARRAY_SIZE(reserved), field->name) >= 0 ? "_" : "";

	switch (field->kind) {
	case LTT_STRING:
		seq_printf(m, "\t\tstring %s%s;\n", mark, field->name);
		break;
	case LTT_CHARS:
		seq_printf(m, "\t\tutf8_t %s%s[%u];\n", mark, field->name, field->size);
		break;
	default:
		seq_printf(m, "\t\t%sint%u%s_t %s%s;\n", field->kind == LTT_SIGNED ? "" : "u", 8 * field->size,
			   field->kind == LTT_HEX ? "_hex" : "", mark, field->name);
	}
}

/* What metadata has behind the static events. */
void ltt_dynamic_describe(struct ltt_session *s, struct seq_file *m)
{
	struct ltt_dynamic *d;
	unsigned int i;

	list_for_each_entry_rcu(d, &s->dynamic, link, true) {
		seq_printf(m, "event {\n\tname = \"%s%s\";\n\tid = %u;\n\tstream_id = %u;\n\tfields := struct {\n",
			   prefix(d), d->name, d->id, LTT3_STREAM_EVENTS);
		for (i = 0; i < d->n_fields; i++)
			show_field(m, &d->fields[i]);
		seq_puts(m, "\t};\n};\n\n");
	}
}
