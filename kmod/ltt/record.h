/* SPDX-License-Identifier: GPL-2.0-only */
/* How a record of a session's event begins and ends: in place, behind the session's filter, before its trigger. */
#ifndef LTT_RECORD_H
#define LTT_RECORD_H

#include <linux/lockdep.h>

#include "internal.h"

/* A macro, so that @size is computed behind the clock's call and not kept across it. @off and @on are of irqs. */
#define __ltt_reserve(slot, se, id, size, off, on)							\
({													\
	struct relayfs_slot *slot__ = (slot);								\
	void *payload__;										\
	u64 now__;											\
													\
	off;												\
	now__ = ktime_get_mono_fast_ns();								\
	payload__ = __relayfs_reserve(this_cpu_ptr((se)->writers), slot__, now__, id,			\
				      LTT3_RECORD_HEADER_SIZE + (size));				\
	if (unlikely(!payload__))									\
		on;											\
	payload__;											\
})
#define ltt_reserve(slot, se, id, size)									\
	__ltt_reserve(slot, se, id, size, local_irq_save(slot__->flags), local_irq_restore(slot__->flags))

/*
 * Begins a record of event @NAME with @more bytes behind the fixed part; @other is a task besides the current one. NULL if
 * there is none to be written; else ltt_end() ends it, with the same @data, and between them nothing may be called that
 * can fault, sleep or be traced.
 */
#define ltt_begin(slot, data, NAME, other, more)							\
({													\
	struct ltt_session_event *se__ = (data);							\
	void *p__ = NULL;										\
													\
	if (likely(!se__->filtered) || ltt_filter_pass(&se__->filter, other))				\
		p__ = ltt_reserve(slot, se__, LTT3_ID_##NAME, LTT3_##NAME##_SIZE + (more));		\
	p__;												\
})

/* The same for an event that was made at run time, with all of its payload's @size. */
#define ltt_begin_id(slot, se, id, other, size)								\
	(!(se)->filtered || ltt_filter_pass(&(se)->filter, other) ? ltt_reserve(slot, se, id, size) : NULL)

static __always_inline void ltt_end(struct relayfs_slot *slot, void *data)
{
	if (static_branch_unlikely(&ltt_triggers))
		ltt_trigger_check(slot->writer);	/* which finds the session: what it needs is not kept here for it */
	relayfs_commit(slot);
}

/* What only a system call's probes may use, as irqs are on where these are called: not to ask spares six instructions. */
#define ltt_begin_call(slot, data, NAME, more)								\
({													\
	struct ltt_session_event *se__ = (data);							\
	void *p__ = NULL;										\
													\
	lockdep_assert_irqs_enabled();									\
	if (likely(!se__->filtered) || ltt_filter_pass(&se__->filter, NULL))				\
		p__ = __ltt_reserve(slot, se__, LTT3_ID_##NAME, LTT3_##NAME##_SIZE + (more),		\
				    local_irq_disable(), local_irq_enable());				\
	p__;												\
})

static __always_inline void ltt_end_call(struct relayfs_slot *slot)
{
	if (static_branch_unlikely(&ltt_triggers))
		ltt_trigger_check(slot->writer);
	__relayfs_commit(slot);
	local_irq_enable();
}

#endif
