// SPDX-License-Identifier: GPL-2.0-only
/* Events of interrupts and traps: groups irq and exceptions. */
#include <linux/interrupt.h>
#include <linux/ptrace.h>

#include <trace/events/irq.h>
#if __has_include(<trace/events/exceptions.h>)
#include <trace/events/exceptions.h>
#elif __has_include(<asm/trace/exceptions.h>)
#include <asm/trace/exceptions.h>
#endif

#include "probes.h"

LTT_PROBE(IRQ_HANDLER_ENTRY, irq_handler_entry, NULL, TP_PROTO(int irq, struct irqaction *action),
	  TP_ARGS(irq, action))
{
	p->irq = irq;
}

LTT_PROBE(IRQ_HANDLER_EXIT, irq_handler_exit, NULL, TP_PROTO(int irq, struct irqaction *action, int ret),
	  TP_ARGS(irq, action, ret))
{
	p->irq = irq;
	p->ret = ret;
}

LTT_PROBE(SOFTIRQ_ENTRY, softirq_entry, NULL, TP_PROTO(unsigned int vec), TP_ARGS(vec))
{
	p->vec = vec;
}

LTT_PROBE(SOFTIRQ_EXIT, softirq_exit, NULL, TP_PROTO(unsigned int vec), TP_ARGS(vec))
{
	p->vec = vec;
}

LTT_PROBE(PAGE_FAULT_USER, page_fault_user, NULL,
	  TP_PROTO(unsigned long address, struct pt_regs *regs, unsigned long error_code),
	  TP_ARGS(address, regs, error_code))
{
	p->tid = current->pid;
	p->error_code = error_code;
	p->address = address;
	p->ip = instruction_pointer(regs);
}

LTT_PROBE(PAGE_FAULT_KERNEL, page_fault_kernel, NULL,
	  TP_PROTO(unsigned long address, struct pt_regs *regs, unsigned long error_code),
	  TP_ARGS(address, regs, error_code))
{
	p->tid = current->pid;
	p->error_code = error_code;
	p->address = address;
	p->ip = instruction_pointer(regs);
}
