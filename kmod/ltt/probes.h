/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of probes share: from a tracepoint's arguments to a record, in place.
 *
 * A probe allocates, sleeps, faults and prints nothing. From 6.13 on some tracepoints call their probes preemptible; irqs
 * are off from ltt_begin() to ltt_end(), and nothing per-CPU is touched outside of that.
 *
 * Which tracepoints there are, and what they call their probes with, differs between kernels. tracepoints.h, made at build
 * time, defines HAVE_TRACE_name for those that this kernel's headers declare; whether a probe fits is asked of their types.
 * An event that no probe of ours fits is missing on this kernel, and says so in available_events.
 */
#ifndef LTT_PROBES_H
#define LTT_PROBES_H

#include <linux/kconfig.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "compat.h"
#include "record.h"
#include "tracepoints.h"

/* Text as a record's last member; @len without the NUL behind it, for which there is room. */
static __always_inline void ltt_put_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = 0;
}

/* Is there a tracepoint of that name? A literal 0 or 1, so that it can become part of a macro's name. */
#define LTT_HAS_TRACE(tp) __is_defined(HAVE_TRACE_##tp)

/*
 * LTT_OFFER(name, tp, func ...): the probe of event @name is the one of up to four functions that fits how this kernel
 * calls the probes of @tp. Makes ltt_probe_name, which points to NULL if none fits and is not there if there is no such
 * tracepoint.
 */
#define LTT_OFFER(name, tp, ...)								\
	__LTT_OFFER(LTT_HAS_TRACE(tp), name, tp, __VA_ARGS__, ltt_no_probe, ltt_no_probe, ltt_no_probe, ltt_no_probe)
#define __LTT_OFFER(has, ...)	___LTT_OFFER(has, __VA_ARGS__)
#define ___LTT_OFFER(has, ...)	LTT_OFFER_##has(__VA_ARGS__)
#define LTT_OFFER_0(...)
#define LTT_OFFER_1(name, tp, a, b, c, d, ...)								\
	extern void *const ltt_probe_##name;								\
	void *const ltt_probe_##name =									\
		__builtin_choose_expr(COMPAT_TRACE_CALLS(tp, a), (void *)a,				\
		__builtin_choose_expr(COMPAT_TRACE_CALLS(tp, b), (void *)b,				\
		__builtin_choose_expr(COMPAT_TRACE_CALLS(tp, c), (void *)c,				\
		__builtin_choose_expr(COMPAT_TRACE_CALLS(tp, d), (void *)d, NULL))));

/* Of no type that a tracepoint calls; only declared. */
void ltt_no_probe(void);

/*
 * LTT_PROBE_FUNC(NAME, name, func, other, TP_PROTO(...), TP_ARGS(...)) { fill in p }
 *
 * Defines @func, a probe that writes a record of event @name, which has a fixed size. What follows is the body of a
 * function of p, the record's payload, and of the tracepoint's arguments.
 */
#define LTT_PROBE_FUNC(NAME, name, func, other, proto, args)						\
static __always_inline void func##_fill(struct ltt3_##name *p, proto);					\
static void __maybe_unused func(void *data, proto)							\
{													\
	struct relayfs_slot slot;									\
	struct ltt3_##name *p = ltt_begin(&slot, data, NAME, other, 0);				\
													\
	if (!p)												\
		return;											\
	func##_fill(p, args);										\
	ltt_end(&slot, data);										\
}													\
static __always_inline void func##_fill(struct ltt3_##name *p, proto)

/* The same for the event of the tracepoint @name whose arguments all kernels agree on, and offers it. */
#define LTT_PROBE(NAME, name, other, proto, args)							\
static void probe_##name(void *data, proto);								\
LTT_OFFER(name, name, probe_##name)									\
LTT_PROBE_FUNC(NAME, name, probe_##name, other, PARAMS(proto), PARAMS(args))

#endif
