/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of evlog.ko know of one another. */
#ifndef EVLOG_INTERNAL_H
#define EVLOG_INTERNAL_H

#include <linux/atomic.h>
#include <linux/types.h>

#include "evlog.h"
#include "relayfs.h"

/* Why a record was not let in; such records count nowhere else. */
enum evlog_refused { EVLOG_BELOW_THRESHOLD, EVLOG_RATE_LIMITED, EVLOG_TOO_LONG, EVLOG_MALFORMED, EVLOG_NESTED,
		     EVLOG_REASONS };

struct evlog_record {
	enum ltt3_facility facility;
	enum ltt3_level severity;
	u32 event_type;
	u16 origin;
	const char *text;
	size_t text_len;
	const char *attributes;
	size_t attributes_len;
};

/* evlog.c */
extern struct relayfs_log *evlog;
int evlog_put(const struct evlog_record *record);
bool evlog_admits(enum ltt3_facility facility, enum ltt3_level severity);
int evlog_refuse(enum evlog_refused reason, int err);
int evlog_find_name(const char * const *names, size_t n, const char *word, size_t len);

/* json.c */
ssize_t evlog_to_json(char *to, size_t size, const struct evlog_attribute *attributes, size_t n);

/* user.c */
int evlog_user_write(struct relayfs_object *obj, char *text, size_t len);
int evlog_rate_limit_show(struct relayfs_object *obj, struct seq_file *m);
int evlog_rate_limit_store(struct relayfs_object *obj, char *text, size_t len);

#endif
