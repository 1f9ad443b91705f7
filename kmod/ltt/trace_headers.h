/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the tracepoints are declared that events come from; some headers take for granted what is included before them. */
#ifndef LTT_TRACE_HEADERS_H
#define LTT_TRACE_HEADERS_H

#include <linux/backing-dev.h>
#include <linux/binfmts.h>
#include <linux/blkdev.h>
#include <linux/cgroup.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/signal.h>
#include <linux/skbuff.h>
#include <linux/writeback.h>
#include <net/sock.h>
#include <net/tcp.h>

#include <trace/events/block.h>
#include <trace/events/cgroup.h>
#include <trace/events/filemap.h>
#include <trace/events/ipi.h>
#include <trace/events/irq.h>
#include <trace/events/kmem.h>
#include <trace/events/lock.h>
#include <trace/events/module.h>
#include <trace/events/napi.h>
#include <trace/events/net.h>
#include <trace/events/oom.h>
#include <trace/events/power.h>
#include <trace/events/printk.h>
#include <trace/events/sched.h>
#include <trace/events/signal.h>
#include <trace/events/skb.h>
#include <trace/events/sock.h>
#include <trace/events/syscalls.h>
#include <trace/events/task.h>
#include <trace/events/tcp.h>
#include <trace/events/timer.h>
#include <trace/events/vmscan.h>
#include <trace/events/workqueue.h>
#include <trace/events/writeback.h>
#ifdef HAVE_TRACE_IRQ_VECTORS
#include <asm/trace/irq_vectors.h>
#endif
#if defined(HAVE_EXCEPTIONS)
#include <trace/events/exceptions.h>
#elif defined(HAVE_ASM_EXCEPTIONS)
#include <asm/trace/exceptions.h>
#endif

#endif
