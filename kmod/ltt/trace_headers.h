/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the tracepoints are declared that events come from. */
#ifndef LTT_TRACE_HEADERS_H
#define LTT_TRACE_HEADERS_H

#include <linux/binfmts.h>
#include <linux/interrupt.h>

#include <trace/events/irq.h>
#include <trace/events/sched.h>
#include <trace/events/syscalls.h>
#include <trace/events/task.h>
#if __has_include(<trace/events/exceptions.h>)
#include <trace/events/exceptions.h>
#elif __has_include(<asm/trace/exceptions.h>)
#include <asm/trace/exceptions.h>
#endif

#endif
