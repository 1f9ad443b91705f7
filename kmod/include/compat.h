/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels that we build for, and nothing else.
 *
 * What can be asked of a type or of a header is asked there; the rest is asked of the kernel's headers by Kbuild, which
 * defines HAVE_... . Kernel versions are compared only where neither can tell.
 */
#ifndef RELAYFS_COMPAT_H
#define RELAYFS_COMPAT_H

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/kernel.h>	/* has panic_notifier_list until 5.13 */
#ifdef HAVE_PANIC_NOTIFIER
#include <linux/panic_notifier.h>
#endif
#include <linux/irq_work.h>
#include <linux/kmsg_dump.h>
#include <linux/relay.h>
#include <linux/timer.h>
#include <linux/version.h>

#define COMPAT_SAME(a, b) __builtin_types_compatible_p(a, b)

/* ------------------------------------------------------------------------------------------------ file systems --- */

/* A child that stays: until 6.18 by a reference of its own, then by a flag (d_make_persistent). */
static inline void compat_instantiate(struct dentry *dentry, struct inode *inode)
{
#ifdef HAVE_D_MAKE_PERSISTENT
	d_make_persistent(dentry, inode);
#else
	d_instantiate(dentry, inode);
	dget(dentry);
#endif
}

/* The same for a dentry of d_alloc_name(), whose reference is used up. */
static inline void compat_add(struct dentry *dentry, struct inode *inode)
{
#ifdef HAVE_D_MAKE_PERSISTENT
	d_make_persistent(dentry, inode);
	dput(dentry);
#else
	d_add(dentry, inode);
#endif
}

#ifdef HAVE_D_MAKE_PERSISTENT
#define compat_kill_super kill_anon_super
#else
#define compat_kill_super kill_litter_super
#endif

static inline void compat_set_dentry_operations(struct super_block *sb, const struct dentry_operations *ops)
{
#ifdef HAVE_SET_DEFAULT_D_OP
	set_default_d_op(sb, ops);
#else
	sb->s_d_op = ops;
#endif
}

static inline void compat_init_times(struct inode *inode)
{
#ifdef HAVE_SIMPLE_INODE_INIT_TS
	simple_inode_init_ts(inode);
#else
	inode->i_atime = inode->i_mtime = inode->i_ctime = current_time(inode);
#endif
}

/*
 * mkdir got a user namespace in 5.12, an idmap in 6.3 and returns a dentry since 6.15: all four are made from
 * @fn(dir, dentry, mode), and COMPAT_MKDIR(fn) is the one that this kernel calls.
 */
struct mnt_idmap;
struct user_namespace;

#define COMPAT_DEFINE_MKDIR(fn)										\
static int __maybe_unused fn##_plain(struct inode *dir, struct dentry *dentry, umode_t mode)		\
{													\
	return fn(dir, dentry, mode);									\
}													\
static int __maybe_unused fn##_userns(struct user_namespace *ns, struct inode *dir, struct dentry *dentry, \
				      umode_t mode)							\
{													\
	return fn(dir, dentry, mode);									\
}													\
static int __maybe_unused fn##_idmap(struct mnt_idmap *idmap, struct inode *dir, struct dentry *dentry, umode_t mode) \
{													\
	return fn(dir, dentry, mode);									\
}													\
static struct dentry * __maybe_unused fn##_dentry(struct mnt_idmap *idmap, struct inode *dir,		\
						   struct dentry *dentry, umode_t mode)			\
{													\
	return ERR_PTR(fn(dir, dentry, mode));								\
}

#define COMPAT_MKDIR_IS(...) COMPAT_SAME(typeof(((struct inode_operations *)0)->mkdir), __VA_ARGS__)
#define COMPAT_MKDIR(fn)										\
	__builtin_choose_expr(COMPAT_MKDIR_IS(int (*)(struct inode *, struct dentry *, umode_t)), fn##_plain, \
	__builtin_choose_expr(COMPAT_MKDIR_IS(int (*)(struct user_namespace *, struct inode *, struct dentry *, umode_t)), \
			      fn##_userns,								\
	__builtin_choose_expr(COMPAT_MKDIR_IS(int (*)(struct mnt_idmap *, struct inode *, struct dentry *, umode_t)), \
			      fn##_idmap, fn##_dentry)))

/* -------------------------------------------------------------------------------------------------- tracepoints --- */

/* Does this kernel call the probes of tracepoint @name with the arguments that @func takes? */
#define COMPAT_TRACE_CALLS(name, func)									\
	COMPAT_SAME(typeof(&check_trace_callback_type_##name), void (*)(typeof(&func)))

/* ----------------------------------------------------------------------------------------------- the kernel's log --- */

/* Where the kernel's log is read: until 5.12 the dumper itself. */
#ifdef HAVE_KMSG_DUMP_ITER
#define compat_kmsg_iter kmsg_dump_iter
#else
#define compat_kmsg_iter kmsg_dumper
#endif

static inline void compat_kmsg_rewind(struct compat_kmsg_iter *iter)
{
#ifndef HAVE_KMSG_DUMP_ITER
	iter->active = true;
#endif
	kmsg_dump_rewind(iter);
}

/* Until 5.19 the tracepoint console tells only what goes to a console, as it goes there. */
#define COMPAT_CONSOLE_IS_SELECTIVE (LINUX_VERSION_CODE < KERNEL_VERSION(5, 19, 0))

/* An irq_work that PREEMPT_RT does not put off to a thread. */
#ifdef IRQ_WORK_INIT_HARD
#define COMPAT_HARD_IRQ_WORK(fn) IRQ_WORK_INIT_HARD(fn)
#else
#define COMPAT_HARD_IRQ_WORK(fn) (struct irq_work){ .flags = ATOMIC_INIT(IRQ_WORK_HARD_IRQ), .func = (fn) }
#endif

static inline void compat_timer_delete_sync(struct timer_list *timer)
{
#ifdef HAVE_TIMER_DELETE_SYNC
	timer_delete_sync(timer);
#else
	del_timer_sync(timer);
#endif
}

/* Before there was this, no tracepoint gave a task's state. */
#ifdef HAVE_TASK_STATE_INDEX
#define compat_state_index(state, exit_state)	__task_state_index(state, exit_state)
#else
#define compat_state_index(state, exit_state)	fls(((state) | (exit_state)) & TASK_REPORT)
#endif

/* What tracepoints of the page cache are about: pages until 5.16, then folios. */
#ifdef HAVE_FOLIO
#define compat_folio			folio
#define compat_folio_pfn(folio)		folio_pfn(folio)
#else
#define compat_folio			page
#define compat_folio_pfn(page)		page_to_pfn(page)
#endif
#define compat_folio_mapping(folio)	((folio)->mapping)
#define compat_folio_index(folio)	((folio)->index)

/* The state of an inode got accessors in 6.19. */
#ifdef HAVE_INODE_STATE_READ_ONCE
#define compat_inode_state(inode)	((u32)inode_state_read_once(inode))
#else
#define compat_inode_state(inode)	((u32)READ_ONCE((inode)->i_state))
#endif

/* A request's disk is its queue's since 5.17; a queue without one serves commands to the driver only. */
#ifdef HAVE_RQ_DISK
#define compat_request_disk(rq)		((rq)->rq_disk)
#else
#define compat_request_disk(rq)		((rq)->q->disk)
#endif
#define compat_request_dev(rq)		(compat_request_disk(rq) ? disk_devt(compat_request_disk(rq)) : 0)

/* ------------------------------------------------------------------------------------------------------- relay --- */

/* subbuf_start lost its prev_padding in 6.17. */
#define COMPAT_DEFINE_SUBBUF_START(fn)									\
static int __maybe_unused fn##_padding(struct rchan_buf *buf, void *subbuf, void *prev, size_t prev_padding) \
{													\
	return fn(buf);											\
}													\
static int __maybe_unused fn##_plain(struct rchan_buf *buf, void *subbuf, void *prev)			\
{													\
	return fn(buf);											\
}

#define COMPAT_SUBBUF_START(fn)										\
	__builtin_choose_expr(COMPAT_SAME(typeof(((struct rchan_callbacks *)0)->subbuf_start),		\
					  int (*)(struct rchan_buf *, void *, void *, size_t)),		\
			      fn##_padding, fn##_plain)

#endif
