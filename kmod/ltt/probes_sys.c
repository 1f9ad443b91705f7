// SPDX-License-Identifier: GPL-2.0-only
/* Events of system calls, and what sessions write themselves: groups sys, syscalls, user and ltt. */
#include <linux/compat.h>
#include <linux/limits.h>
#include <linux/percpu.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unistd.h>
#include <asm/syscall.h>

#include <trace/events/syscalls.h>

#include "probes.h"
#include "syscalls.h"	/* made at build time from this kernel's headers */

#ifdef CONFIG_X86_X32_ABI
#define X32_BIT __X32_SYSCALL_BIT
#else
#define X32_BIT 0
#endif

static u8 syscall_abi(long id)
{
#ifdef CONFIG_X86_64
	return in_ia32_syscall() ? LTT3_ABI_IA32 : id > 0 && (id & X32_BIT) ? LTT3_ABI_X32 : LTT3_ABI_NATIVE;
#else
	return in_compat_syscall() ? LTT3_ABI_IA32 : LTT3_ABI_NATIVE;
#endif
}

static s16 syscall_id(long id, u8 abi)
{
	if (abi == LTT3_ABI_X32)
		id &= ~(long)X32_BIT;
	return id == (s16)id ? id : S16_MIN;
}

/* Is it a call of the native kind with a number that there is? Of the others little is asked but that they be right. */
static __always_inline bool syscall_common(unsigned long id)
{
#ifdef CONFIG_X86_64
	return id < ARRAY_SIZE(syscall_nargs) && !in_ia32_syscall();
#else
	return id < ARRAY_SIZE(syscall_nargs) && !in_compat_syscall();
#endif
}

/* A call that the table does not know gets all six arguments. */
static noinline void record_other_enter(void *data, struct pt_regs *regs, long id)
{
	unsigned long args[6];
	struct relayfs_slot slot;
	struct ltt3_sys_enter *p = ltt_begin(&slot, data, SYS_ENTER, NULL, sizeof(p->args[0]) * ARRAY_SIZE(args));
	int i;

	if (!p)
		return;
	p->tid = current->pid;
	p->abi = syscall_abi(id);
	p->id = syscall_id(id, p->abi);
	p->nargs = ARRAY_SIZE(args);
	syscall_get_arguments(current, regs, args);
	for (i = 0; i < ARRAY_SIZE(args); i++)
		p->args[i] = args[i];
	ltt_end(&slot, data);
}

static __always_inline void copy_arguments(u64 *to, struct pt_regs *regs, size_t n)
{
#ifdef CONFIG_X86_64
	if (!n)
		return;
	to[0] = regs->di;
	if (n == 1)
		return;
	to[1] = regs->si;
	if (n == 2)
		return;
	to[2] = regs->dx;
	if (n == 3)
		return;
	to[3] = regs->r10;
	if (n == 4)
		return;
	to[4] = regs->r8;
	if (n == 5)
		return;
	to[5] = regs->r9;
#else
	unsigned long args[6];
	size_t i;

	syscall_get_arguments(current, regs, args);
	for (i = 0; i < n; i++)
		to[i] = args[i];
#endif
}

static void probe_sys_enter(void *data, struct pt_regs *regs, long id)
{
	struct relayfs_slot slot;
	struct ltt3_sys_enter *p;
	size_t nargs;

	if (unlikely(!syscall_common(id))) {
		record_other_enter(data, regs, id);
		return;
	}
	nargs = syscall_nargs[id];
	p = ltt_begin_call(&slot, data, SYS_ENTER, nargs * sizeof(u64));
	if (!p)
		return;
	p->tid = current->pid;
	p->id = id;
	p->abi = LTT3_ABI_NATIVE;
	p->nargs = nargs;
	copy_arguments(p->args, regs, nargs);
	ltt_end_call(&slot);
}
LTT_OFFER(sys_enter, sys_enter, probe_sys_enter)

static void probe_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	struct relayfs_slot slot;
	struct ltt3_sys_exit *p = ltt_begin_call(&slot, data, SYS_EXIT, 0);
	int id;

	if (!p)
		return;
	id = syscall_get_nr(current, regs);
	p->tid = current->pid;
	if (likely(syscall_common((unsigned int)id))) {
		*(u32 *)&p->id = id;	/* and the two bytes behind it, which are 0 for a native call */
	} else {
		p->abi = syscall_abi(id);
		p->id = syscall_id(id, p->abi);
		p->reserved = 0;
	}
	p->ret = ret;
	ltt_end_call(&slot);
}
LTT_OFFER(sys_exit, sys_exit, probe_sys_exit)

/* ----------------------------------------------------------------- what a call was about, when its result is known --- */

/* Where a path is copied to before its record is begun; a page may be read there, but not waited for. */
static char __percpu *path_buffers;

int ltt_probes_init(void)
{
	path_buffers = __alloc_percpu(PATH_MAX, 8);
	return path_buffers ? 0 : -ENOMEM;
}

void ltt_probes_exit(void)
{
	free_percpu(path_buffers);
}

/* The number of a call that returns and whose arguments are still in the registers; else -1. */
static __always_inline int call_that_returns(struct pt_regs *regs, long ret)
{
	int id = syscall_get_nr(current, regs);

	if (!syscall_common((unsigned int)id))
		return -1;
	/* Another program begins: what it was started with is gone. */
	if (!ret && (id == __NR_execve || id == __NR_execveat))
		return -1;
	return id;
}

static void probe_path(void *data, struct pt_regs *regs, long ret)
{
	int id = call_that_returns(regs, ret);
	struct ltt3_sys_path *p;
	struct relayfs_slot slot;
	unsigned long args[6];
	char *path;
	long len;

	if (id < 0 || !syscall_path[id])
		return;
	syscall_get_arguments(current, regs, args);
	preempt_disable();
	path = this_cpu_ptr(path_buffers);
	pagefault_disable();
	len = strncpy_from_user(path, (const char __user *)args[syscall_path[id] - 1], PATH_MAX);
	pagefault_enable();
	len = clamp_t(long, len, 0, PATH_MAX - 1);
	p = ltt_begin(&slot, data, SYS_PATH, NULL, len + 1);
	if (p) {
		p->tid = current->pid;
		p->id = id;
		p->abi = LTT3_ABI_NATIVE;
		p->reserved = 0;
		p->ret = ret;
		ltt_put_text(p->path, path, len);
		ltt_end(&slot, data);
	}
	preempt_enable();
}
LTT_OFFER(sys_path, sys_exit, probe_path)

#define LTT_CALL(NAME, name, kind)									\
static void probe_##name(void *data, struct pt_regs *regs, long ret)					\
{													\
	int id = call_that_returns(regs, ret);								\
	struct relayfs_slot slot;									\
	struct ltt3_##name *p;										\
	unsigned long args[6];										\
													\
	if (id < 0 || syscall_kind[id] != (kind))							\
		return;											\
	p = ltt_begin(&slot, data, NAME, NULL, 0);							\
	if (!p)												\
		return;											\
	syscall_get_arguments(current, regs, args);							\
	p->tid = current->pid;										\
	p->id = id;											\
	p->abi = LTT3_ABI_NATIVE;									\
	p->reserved = 0;										\
	p->ret = ret;											\
	p->arg0 = syscall_nargs[id] > 0 ? args[0] : 0;							\
	p->arg1 = syscall_nargs[id] > 1 ? args[1] : 0;							\
	p->arg2 = syscall_nargs[id] > 2 ? args[2] : 0;							\
	ltt_end(&slot, data);										\
}													\
LTT_OFFER(name, sys_exit, probe_##name)

LTT_CALL(SYS_SOCKET, sys_socket, SYSCALL_SOCKET)
LTT_CALL(SYS_IPC, sys_ipc, SYSCALL_IPC)

/* ------------------------------------------------------------------------------------ what sessions write of their own --- */

#define LTT_TEXT_EVENT(NAME, name, member)								\
	struct ltt_session_event *se = &s->events[LTT_EVENT_##NAME];					\
	struct relayfs_slot slot;									\
	struct ltt3_##name *p = ltt_begin(&slot, se, NAME, NULL, len + 1);				\
													\
	if (!p)												\
		return false;										\
	p->tid = current->pid;										\
	ltt_put_text(p->member, text, len);								\
	ltt_end(&slot, se);										\
	return true

/* @text is not ended by NUL and has no NUL in it. False if the record was lost. */
bool ltt_write_marker(struct ltt_session *s, const char *text, size_t len)
{
	LTT_TEXT_EVENT(MARKER, marker, text);
}

/* The same, of what was written to the file events of a running session. */
bool ltt_write_change_mask(struct ltt_session *s, const char *text, size_t len)
{
	LTT_TEXT_EVENT(CHANGE_MASK, change_mask, events);
}
