// SPDX-License-Identifier: GPL-2.0-only
/*
 * The session file trigger: "EVENT [FIELD OP VALUE ...] stop|snapshot", tokens apart by blanks.
 *
 * The first record of the event for which all conditions hold stops the session or takes a snapshot, once; writing the
 * trigger again arms it again, "none" takes it away. Conditions are looked at as the record is complete, so what the
 * trigger asks about is what the trace has. To stop, or to turn to another ring, is two stores a CPU, made at once; what can
 * sleep follows in a worker.
 * Sessions without a trigger pay nothing: where records end there is a jump that is patched in.
 */
#include <linux/glob.h>
#include <linux/jump_label.h>
#include <linux/kernel.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "internal.h"

#define MAX_CONDITIONS	4

DEFINE_STATIC_KEY_FALSE(ltt_triggers);

enum op { OP_EQ, OP_NE, OP_LE, OP_GE, OP_LT, OP_GT, OP_AND };

static const char * const ops[] = {
	[OP_EQ] = "==", [OP_NE] = "!=", [OP_LE] = "<=", [OP_GE] = ">=", [OP_LT] = "<", [OP_GT] = ">", [OP_AND] = "&",
};

struct condition {
	struct ltt_field field;
	enum op op;
	s64 value;
	char text[64];
};

struct ltt_trigger {
	struct ltt_session *session;
	u16 id;
	bool snapshot;
	bool turned;
	unsigned int n_conditions;
	struct condition conditions[MAX_CONDITIONS];
	atomic_t fired;
	u64 when;
	int result;
	bool done;
	struct irq_work irq;
	struct work_struct work;
	char text[];
};

static const struct ltt_field static_fields[] = {
#define LTT_FIELD(event, field_name, field_kind, field_offset, field_size)				\
	{ .id = LTT3_ID_##event, .name = #field_name, .kind = LTT_##field_kind, .offset = field_offset,	\
	  .size = field_size },
	LTT3_FIELDS(LTT_FIELD)
#undef LTT_FIELD
};

/* ------------------------------------------------------------------------------------------------- in the record --- */

/* In two halves, as 64-bit values of either sign do not fit into one type. */
static bool compare(enum op op, bool less, bool equal, bool common)
{
	switch (op) {
	case OP_EQ:
		return equal;
	case OP_NE:
		return !equal;
	case OP_LE:
		return less || equal;
	case OP_GE:
		return !less;
	case OP_LT:
		return less;
	case OP_GT:
		return !less && !equal;
	case OP_AND:
		return common;
	}
	return false;
}

static bool number_holds(const struct condition *c, const void *at)
{
	u64 value = 0;

	memcpy(&value, at, c->field.size);
	if (c->field.kind == LTT_SIGNED) {
		s64 number = (s64)(value << (64 - 8 * c->field.size)) >> (64 - 8 * c->field.size);

		return compare(c->op, number < c->value, number == c->value, number & c->value);
	}
	return compare(c->op, value < (u64)c->value, value == (u64)c->value, value & (u64)c->value);
}

static bool text_holds(const struct condition *c, const char *at, size_t size)
{
	char text[sizeof(c->text)];
	size_t n = strnlen(at, min(size, sizeof(text) - 1));

	memcpy(text, at, n);
	text[n] = 0;
	return glob_match(c->text, text) == (c->op == OP_EQ);
}

static bool holds(const struct condition *c, const struct ltt3_record_header *record)
{
	const char *payload = (const char *)(record + 1);
	size_t size = record->length - sizeof(*record);

	if (c->field.offset + (c->field.kind == LTT_STRING ? 1 : c->field.size) > size)
		return false;
	if (c->field.kind < LTT_CHARS)
		return number_holds(c, payload + c->field.offset);
	return text_holds(c, payload + c->field.offset,
			  c->field.kind == LTT_CHARS ? c->field.size : size - c->field.offset);
}

/* The writer's last record is complete, and about to be committed; irqs are off. */
void ltt_trigger_check(const struct relayfs_writer *w)
{
	const struct ltt3_record_header *record = w->record;
	struct ltt_session *s = relayfs_writer_priv(w);
	struct ltt_trigger *t;
	unsigned int i;

	rcu_read_lock();
	t = rcu_dereference(s->trigger);
	if (t && t->id != record->id)
		t = NULL;
	for (i = 0; t && i < t->n_conditions; i++)
		if (!holds(&t->conditions[i], record))
			t = NULL;
	if (t && !atomic_xchg(&t->fired, 1)) {
		t->when = ktime_get_mono_fast_ns();
		if (t->snapshot)
			t->turned = relayfs_channel_turn(s->chan);
		else
			relayfs_channel_freeze(s->chan);
		irq_work_queue(&t->irq);
	}
	rcu_read_unlock();
}

static void queue(struct irq_work *irq)
{
	queue_work(system_highpri_wq, &container_of(irq, struct ltt_trigger, irq)->work);
}

static void act(struct work_struct *work)
{
	struct ltt_trigger *t = container_of(work, struct ltt_trigger, work);
	struct ltt_session *s = t->session;

	mutex_lock(&s->lock);
	if (!s->dead) {
		if (t->snapshot)
			t->result = ltt_session_snapshot(s, false, t->turned);
		else
			ltt_session_stop(s);
	}
	t->done = true;
	mutex_unlock(&s->lock);
}

/* -------------------------------------------------------------------------------------------------------- parsed --- */

static const struct ltt_field *find_field(u16 id, const struct ltt_dynamic *d, const char *name)
{
	unsigned int i;

	for (i = 0; d && i < d->n_fields; i++)
		if (!strcmp(d->fields[i].name, name))
			return &d->fields[i];
	for (i = 0; !d && i < ARRAY_SIZE(static_fields); i++)
		if (static_fields[i].id == id && !strcmp(static_fields[i].name, name))
			return &static_fields[i];
	return NULL;
}

static int parse_condition(struct ltt_session *s, struct ltt_trigger *t, const struct ltt_field *field, const char *op,
			   const char *value)
{
	struct condition *c = &t->conditions[t->n_conditions];
	int found = match_string(ops, ARRAY_SIZE(ops), op);

	if (t->n_conditions == MAX_CONDITIONS)
		return ltt_refuse(s, -E2BIG, "a trigger has at most %u conditions", MAX_CONDITIONS);
	if (found < 0)
		return ltt_refuse(s, -EINVAL, "%.20s: no operator; ==, !=, <=, >=, <, >, &", op);
	c->field = *field;
	c->op = found;
	if (field->kind >= LTT_CHARS) {
		if (c->op != OP_EQ && c->op != OP_NE)
			return ltt_refuse(s, -EINVAL, "%s is text: == or !=, and a name or pattern", field->name);
		if (strscpy(c->text, value, sizeof(c->text)) < 0)
			return ltt_refuse(s, -EINVAL, "%s: a text has at most %zu bytes", field->name,
					  sizeof(c->text) - 1);
	} else if (field->kind == LTT_SIGNED ? kstrtos64(value, 0, &c->value) :
		   kstrtou64(value, 0, (u64 *)&c->value)) {
		return ltt_refuse(s, -EINVAL, "%s %s %.40s: a%s integer was expected", field->name, op, value,
				  field->kind == LTT_SIGNED ? " signed" : "n unsigned");
	}
	t->n_conditions++;
	return 0;
}

static char *next_word(char **text)
{
	char *word;

	do
		word = strsep(text, " \t\n");
	while (word && !*word);
	return word;
}

static int parse(struct ltt_session *s, struct ltt_trigger *t, char *text)
{
	const char *name = next_word(&text), *word;
	struct ltt_dynamic *d = ltt_dynamic_find(s, name, false);
	int index = ltt_event_index(name), err = 0;

	if (!strncmp(name, "kprobe:", 7))
		d = ltt_dynamic_find(s, name + 7, true);
	if (index < 0 && !d)
		return ltt_refuse(s, -EINVAL, "%.60s: no event has such a name; available_events and custom list them", name);
	t->id = d ? d->id : ltt_events[index].id;
	while (!err && (word = next_word(&text))) {
		const struct ltt_field *field = find_field(t->id, d, word);
		const char *op, *value;

		if (!strcmp(word, "stop") || !strcmp(word, "snapshot")) {
			t->snapshot = word[1] == 'n';
			if (next_word(&text))
				return ltt_refuse(s, -EINVAL, "nothing was expected behind %s", word);
			if (t->snapshot && !(s->flags & RELAYFS_FLIGHT))
				return ltt_refuse(s, -EINVAL, "a snapshot is of a session in flight mode");
			return 0;
		}
		op = next_word(&text);
		value = next_word(&text);
		if (!value)
			return ltt_refuse(s, -EINVAL, "%.40s: FIELD OP VALUE, stop or snapshot was expected", word);
		if (!field)
			return ltt_refuse(s, -EINVAL, "%.40s: %s has no such field of a fixed place", word, name);
		err = parse_condition(s, t, field, op, value);
	}
	return err ?: ltt_refuse(s, -EINVAL, "stop or snapshot was expected at the end");
}

/* ----------------------------------------------------------------------------------------------------- in and out --- */

static void free_trigger(struct ltt_trigger *t)
{
	if (!t)
		return;
	static_branch_dec(&ltt_triggers);
	synchronize_rcu();
	irq_work_sync(&t->irq);
	cancel_work_sync(&t->work);
	kfree(t);
}

/* Without the session's lock: a trigger that is just acting needs it. */
int ltt_trigger_request(struct ltt_session *s, char *text)
{
	size_t len = strlen(strim(text));
	struct ltt_trigger *t = kzalloc(sizeof(*t) + len + 1, GFP_KERNEL);
	struct ltt_trigger *old = NULL;
	int err;

	if (!t)
		return -ENOMEM;
	text = strim(text);
	strcpy(t->text, text);
	t->session = s;
	init_irq_work(&t->irq, queue);
	INIT_WORK(&t->work, act);
	err = ltt_begin_request(s);
	if (err) {
		kfree(t);
		return err;
	}
	if (!*text || !strcmp(text, "none")) {
		kfree(t);
		t = NULL;
	} else {
		err = parse(s, t, text);
	}
	if (!err) {
		old = rcu_dereference_protected(s->trigger, lockdep_is_held(&s->lock));
		if (t)
			static_branch_inc(&ltt_triggers);
		rcu_assign_pointer(s->trigger, t);
		t = NULL;
	}
	err = ltt_end_request(s, err);
	kfree(t);
	free_trigger(old);
	return err;
}

/* The session goes; nobody else has it any more. */
void ltt_trigger_free(struct ltt_session *s)
{
	free_trigger(rcu_replace_pointer(s->trigger, NULL, true));
}

void ltt_trigger_show(struct ltt_session *s, struct seq_file *m)
{
	const struct ltt_trigger *t = rcu_dereference_protected(s->trigger, lockdep_is_held(&s->lock));

	if (!t)
		return;
	seq_puts(m, t->text);
	if (!atomic_read(&t->fired))
		seq_puts(m, "\narmed\n");
	else if (!t->done)
		seq_printf(m, "\nfired at %llu\n", t->when);
	else if (t->result)
		seq_printf(m, "\nfired at %llu, refused with error %d\n", t->when, -t->result);
	else
		seq_printf(m, "\nfired at %llu, done\n", t->when);
}
