// SPDX-License-Identifier: GPL-2.0-only
/* Prints numbered lines as fast as it can while it is loaded: more than the kernel's log holds. For tests of klog. */
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/sched.h>

static unsigned int lines = 1000;
module_param(lines, uint, 0444);
MODULE_PARM_DESC(lines, "how many");

static bool irqs_off;
module_param(irqs_off, bool, 0444);
MODULE_PARM_DESC(irqs_off, "print all of them with interrupts off, when nobody can take them away");

static int __init klog_burst_init(void)
{
	unsigned long flags = 0;
	unsigned int i;

	if (irqs_off)
		local_irq_save(flags);
	for (i = 0; i < lines; i++) {
		pr_info("klog_burst: line %u of %u, neither short nor long\n", i, lines);
		if (!irqs_off)
			cond_resched();
	}
	if (irqs_off)
		local_irq_restore(flags);
	return 0;
}

static void __exit klog_burst_exit(void)
{
}

module_init(klog_burst_init);
module_exit(klog_burst_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("Prints many lines");
