// SPDX-License-Identifier: GPL-2.0-only
/* relayfs.ko: load and unload. */
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/workqueue.h>

#include "internal.h"

struct workqueue_struct *relayfs_wq;

static int __init relayfs_init(void)
{
	int err;

	relayfs_wq = alloc_workqueue("relayfs", WQ_UNBOUND, 0);
	if (!relayfs_wq)
		return -ENOMEM;
	err = relayfs_fs_init();
	if (err)
		destroy_workqueue(relayfs_wq);
	return err;
}

static void __exit relayfs_exit(void)
{
	relayfs_fs_exit();
	destroy_workqueue(relayfs_wq);
	rcu_barrier();	/* inodes are freed by RCU, with our evict_inode long done, but be last */
	synchronize_rcu_tasks();	/* who gave the last page of a pipe back may not have returned from here */
}

module_init(relayfs_init);
module_exit(relayfs_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("relayfs: data channels from the kernel to files");
