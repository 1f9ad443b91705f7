// SPDX-License-Identifier: GPL-2.0-only
/* A writer of the event log: a record from a task, one with attributes, and one from an interrupt. */
#include <linux/completion.h>
#include <linux/irq_work.h>
#include <linux/module.h>

#include "compat.h"
#include "evlog.h"

enum { SAMPLE_LOADED = 1, SAMPLE_DISK = 2, SAMPLE_INTERRUPT = 3 };

static DECLARE_COMPLETION(interrupted);

static void log_from_interrupt(struct irq_work *work)
{
	evlog_write(LTT3_FACILITY_LOCAL0, LTT3_LEVEL_DEBUG, SAMPLE_INTERRUPT, "in an interrupt: %d", !!hardirq_count());
	complete(&interrupted);
}
static struct irq_work interrupt;

static int __init evlog_sample_init(void)
{
	int err = evlog_write(LTT3_FACILITY_KERN, LTT3_LEVEL_NOTICE, SAMPLE_LOADED, "%s loaded", KBUILD_MODNAME);

	if (err)
		return err;
	evlog_write_attributes(LTT3_FACILITY_DAEMON, LTT3_LEVEL_ERR, SAMPLE_DISK,
			       EVLOG_ATTRIBUTES(EVLOG_TEXT("disk", "sd\"a"), EVLOG_UNSIGNED("sector", U64_MAX),
						EVLOG_SIGNED("error", -5), EVLOG_BOOL("retry", true)),
			       "write error");
	interrupt = COMPAT_HARD_IRQ_WORK(log_from_interrupt);
	irq_work_queue(&interrupt);
	wait_for_completion(&interrupted);
	irq_work_sync(&interrupt);
	return 0;
}

static void __exit evlog_sample_exit(void)
{
}

module_init(evlog_sample_init);
module_exit(evlog_sample_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("Writes to the event log");
