// SPDX-License-Identifier: GPL-2.0-only
/* Probes that do nothing, on the tracepoints named by tracepoints=: what attaching costs, before anything is recorded. */
#include <linux/module.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

static char *tracepoints = "";
module_param(tracepoints, charp, 0444);

static struct tracepoint *attached[8];

/* Whatever the arguments are, they are not looked at. */
static void empty_probe(void *data)
{
}

static void attach(struct tracepoint *tp, void *data)
{
	const char *found = strstr(tracepoints, tp->name);
	size_t len = strlen(tp->name);
	int i;

	if (!found || (found > tracepoints && found[-1] != ',') || (found[len] && found[len] != ','))
		return;
	for (i = 0; i < ARRAY_SIZE(attached); i++)
		if (!attached[i]) {
			if (!tracepoint_probe_register(tp, empty_probe, NULL))
				attached[i] = tp;
			return;
		}
}

static int __init empty_init(void)
{
	for_each_kernel_tracepoint(attach, NULL);
	return attached[0] ? 0 : -ENOENT;
}

static void __exit empty_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(attached) && attached[i]; i++)
		tracepoint_probe_unregister(attached[i], empty_probe, NULL);
	tracepoint_synchronize_unregister();
}

module_init(empty_init);
module_exit(empty_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("empty probes");
