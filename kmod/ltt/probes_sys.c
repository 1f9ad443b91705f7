// SPDX-License-Identifier: GPL-2.0-only
/* Events of system calls, and markers, which a system call writes: groups sys and user. */
#include <linux/compat.h>
#include <linux/string.h>
#include <asm/syscall.h>

#include <trace/events/syscalls.h>

#include "probes.h"
#include "syscall_nargs.h"	/* made at build time from this kernel's headers */

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
	p = ltt_begin(&slot, data, SYS_ENTER, NULL, nargs * sizeof(u64));
	if (!p)
		return;
	p->tid = current->pid;
	p->id = id;
	p->abi = LTT3_ABI_NATIVE;
	p->nargs = nargs;
	copy_arguments(p->args, regs, nargs);
	ltt_end(&slot, data);
}
LTT_OFFER(sys_enter, sys_enter, probe_sys_enter)

static void probe_sys_exit(void *data, struct pt_regs *regs, long ret)
{
	struct relayfs_slot slot;
	struct ltt3_sys_exit *p = ltt_begin(&slot, data, SYS_EXIT, NULL, 0);
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
	ltt_end(&slot, data);
}
LTT_OFFER(sys_exit, sys_exit, probe_sys_exit)

/* ------------------------------------------------------------------------------------------------------ markers --- */

/* @text is not ended by NUL and has no NUL in it. False if the record was lost. */
bool ltt_write_marker(struct ltt_session *s, const char *text, size_t len)
{
	struct ltt_session_event *se = &s->events[LTT_EVENT_MARKER];
	struct relayfs_slot slot;
	struct ltt3_marker *p = ltt_begin(&slot, se, MARKER, NULL, len + 1);

	if (!p)
		return false;
	p->tid = current->pid;
	memcpy(p->text, text, len);
	p->text[len] = 0;
	ltt_end(&slot, se);
	return true;
}
