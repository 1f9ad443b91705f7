// SPDX-License-Identifier: GPL-2.0-only
/* Attributes as a JSON object (RFC 8259): typed, readable by everything, and one string for the format. */
#include <linux/ctype.h>
#include <linux/kernel.h>
#include <linux/string.h>

#include "internal.h"

struct sink {
	char *at;
	char *end;
	bool over;
};

static void put(struct sink *sink, char c)
{
	if (sink->at < sink->end)
		*sink->at++ = c;
	else
		sink->over = true;
}

static __printf(2, 3) void print(struct sink *sink, const char *format, ...)
{
	char number[32], *c;
	va_list args;

	va_start(args, format);
	vsnprintf(number, sizeof(number), format, args);
	va_end(args);
	for (c = number; *c; c++)
		put(sink, *c);
}

/* Bytes of the UTF-8 sequence at @s, 0 if it is none (RFC 3629: no overlong forms, no surrogates). */
static unsigned int utf8_length(const u8 *s)
{
	unsigned int n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
	unsigned int i;

	for (i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Text between quotes; a byte that is not UTF-8 becomes the character of its number, as in Latin-1. */
static void put_text(struct sink *sink, const char *text)
{
	put(sink, '"');
	while (*text) {
		unsigned int n = utf8_length((const u8 *)text);

		if (*text == '"' || *text == '\\') {
			put(sink, '\\');
			put(sink, *text++);
		} else if (n == 0 || iscntrl(*text)) {
			print(sink, "\\u%04x", (u8)*text++);
		} else {
			while (n--)
				put(sink, *text++);
		}
	}
	put(sink, '"');
}

static bool valid_name(const char *name)
{
	size_t n = 0;

	if (!name || isdigit(*name))
		return false;
	for (; name[n]; n++)
		if (n >= EVLOG_MAX_NAME || !(isascii(name[n]) && (isalnum(name[n]) || name[n] == '_')))
			return false;
	return n > 0;
}

/**
 * evlog_to_json() - render attributes
 * @to: where to, ended by NUL
 * @size: room there
 * @attributes: what
 * @n: how many; with none the text is empty
 *
 * Return: its length, -EMSGSIZE if there is no room, -EINVAL for a bad name.
 */
ssize_t evlog_to_json(char *to, size_t size, const struct evlog_attribute *attributes, size_t n)
{
	struct sink sink = { .at = to, .end = to + size - 1 };
	size_t i;

	for (i = 0; i < n; i++) {
		const struct evlog_attribute *a = &attributes[i];

		if (!valid_name(a->name))
			return -EINVAL;
		put(&sink, i ? ',' : '{');
		put_text(&sink, a->name);
		put(&sink, ':');
		switch (a->kind) {
		case EVLOG_KIND_SIGNED:
			print(&sink, "%lld", (s64)a->value);
			break;
		case EVLOG_KIND_UNSIGNED:
			print(&sink, "%llu", a->value);
			break;
		case EVLOG_KIND_BOOL:
			print(&sink, a->value ? "true" : "false");
			break;
		case EVLOG_KIND_TEXT:
			put_text(&sink, a->text ?: "");
			break;
		default:
			return -EINVAL;
		}
	}
	if (n)
		put(&sink, '}');
	*sink.at = 0;
	return sink.over ? -EMSGSIZE : sink.at - to;
}
