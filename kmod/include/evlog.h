/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * evlog: the structured event log, for other kernel modules.
 *
 *	evlog_write(LTT3_FACILITY_DAEMON, LTT3_LEVEL_ERR, MY_DISK_FULL, "no room on %s", name);
 *	evlog_write_attributes(LTT3_FACILITY_DAEMON, LTT3_LEVEL_ERR, MY_DISK_FULL,
 *			       EVLOG_ATTRIBUTES(EVLOG_TEXT("disk", name), EVLOG_UNSIGNED("free", bytes)), "no room");
 *
 * Who logs and when the log fills in itself. See docs/evlog.md.
 */
#ifndef EVLOG_H
#define EVLOG_H

#include <linux/types.h>

#include "ltt3_gen.h"

#define EVLOG_MAX_TEXT		1024	/* bytes, with the NUL */
#define EVLOG_MAX_ATTRIBUTES	2048	/* bytes as a JSON object, with the NUL */
#define EVLOG_MAX_NAME		32

enum evlog_kind { EVLOG_KIND_SIGNED, EVLOG_KIND_UNSIGNED, EVLOG_KIND_BOOL, EVLOG_KIND_TEXT };

/**
 * struct evlog_attribute - a named value of a record; made by EVLOG_SIGNED() and its like
 * @name: letters, digits and underscores, at most EVLOG_MAX_NAME
 * @kind: which of the values it has
 * @value: the number; a bool as 0 or 1
 * @text: the text
 */
struct evlog_attribute {
	const char *name;
	enum evlog_kind kind;
	u64 value;
	const char *text;
};

#define EVLOG_SIGNED(n, v)	{ .name = (n), .kind = EVLOG_KIND_SIGNED, .value = (u64)(s64)(v) }
#define EVLOG_UNSIGNED(n, v)	{ .name = (n), .kind = EVLOG_KIND_UNSIGNED, .value = (v) }
#define EVLOG_BOOL(n, v)	{ .name = (n), .kind = EVLOG_KIND_BOOL, .value = !!(v) }
#define EVLOG_TEXT(n, v)	{ .name = (n), .kind = EVLOG_KIND_TEXT, .text = (v) }

/* Two arguments at once: an array of attributes, and how many they are. */
#define EVLOG_ATTRIBUTES(...)									\
	(const struct evlog_attribute[]){ __VA_ARGS__ },					\
	sizeof((const struct evlog_attribute[]){ __VA_ARGS__ }) / sizeof(struct evlog_attribute)

__printf(4, 5) int evlog_write(enum ltt3_facility facility, enum ltt3_level severity, u32 event_type,
			       const char *format, ...);
__printf(6, 7) int evlog_write_attributes(enum ltt3_facility facility, enum ltt3_level severity, u32 event_type,
					  const struct evlog_attribute *attributes, size_t n, const char *format, ...);

#endif
