// SPDX-License-Identifier: GPL-2.0-only
/* ltt.ko: load and unload. */
#include <linux/module.h>

#include "internal.h"

static int __init ltt_init(void)
{
	ltt_find_tracepoints();
	return relayfs_register_client(&ltt_client);
}

static void __exit ltt_exit(void)
{
	relayfs_unregister_client(&ltt_client);
}

module_init(ltt_init);
module_exit(ltt_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("Linux Trace Toolkit: kernel events as records in relayfs channels");
