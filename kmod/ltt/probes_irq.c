// SPDX-License-Identifier: GPL-2.0-only
/* Events of interrupts and traps: groups irq, irq_vectors, ipi and exceptions. */
#include <linux/interrupt.h>
#include <linux/ptrace.h>

#include <trace/events/ipi.h>
#include <trace/events/irq.h>
#ifdef HAVE_TRACE_IRQ_VECTORS
#include <asm/trace/irq_vectors.h>
#endif
#if defined(HAVE_EXCEPTIONS)
#include <trace/events/exceptions.h>
#elif defined(HAVE_ASM_EXCEPTIONS)
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

LTT_PROBE(SOFTIRQ_RAISE, softirq_raise, NULL, TP_PROTO(unsigned int vec), TP_ARGS(vec))
{
	p->vec = vec;
}

LTT_PROBE(TASKLET_ENTRY, tasklet_entry, NULL, TP_PROTO(struct tasklet_struct *tasklet, void *func),
	  TP_ARGS(tasklet, func))
{
	p->tasklet = (unsigned long)tasklet;
	p->func = (unsigned long)func;
}

LTT_PROBE(TASKLET_EXIT, tasklet_exit, NULL, TP_PROTO(struct tasklet_struct *tasklet, void *func),
	  TP_ARGS(tasklet, func))
{
	p->tasklet = (unsigned long)tasklet;
	p->func = (unsigned long)func;
}

#define LTT_VECTOR(NAME, name)										\
LTT_PROBE(NAME##_ENTRY, name##_entry, NULL, TP_PROTO(int vector), TP_ARGS(vector))			\
{													\
	p->vector = vector;										\
}													\
LTT_PROBE(NAME##_EXIT, name##_exit, NULL, TP_PROTO(int vector), TP_ARGS(vector))			\
{													\
	p->vector = vector;										\
}

LTT_VECTOR(LOCAL_TIMER, local_timer)
LTT_VECTOR(RESCHEDULE, reschedule)
LTT_VECTOR(CALL_FUNCTION, call_function)
LTT_VECTOR(CALL_FUNCTION_SINGLE, call_function_single)
LTT_VECTOR(IRQ_WORK, irq_work)

LTT_PROBE(IPI_SEND_CPU, ipi_send_cpu, NULL, TP_PROTO(unsigned int cpu, unsigned long callsite, void *callback),
	  TP_ARGS(cpu, callsite, callback))
{
	p->target_cpu = cpu;
	p->reserved = 0;
	p->callsite = callsite;
	p->callback = (unsigned long)callback;
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
