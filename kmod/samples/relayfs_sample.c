// SPDX-License-Identifier: GPL-2.0-only
/*
 * A complete client of relayfs. Write a number to squares/count, and so many records are read from squares/squares_N, in
 * packets of LTT 3.0 with an event of our own; write 0, and readers get what is left and then end-of-file.
 */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/uuid.h>

#include "relayfs.h"

#define ID_SQUARE 1

struct square {
	u32 number;
	u32 reserved;
	u64 square;
};

static struct relayfs_channel *chan;

static int count_store(struct relayfs_object *obj, char *text, size_t len)
{
	unsigned int count, i;

	if (kstrtouint(text, 10, &count))
		return -EINVAL;
	for (i = 0; i < count; i++) {
		struct relayfs_slot slot;
		struct square *p;

		cond_resched();
		p = relayfs_reserve(chan, &slot, ID_SQUARE, sizeof(*p));
		if (!p)
			continue;	/* lost, and counted */
		p->number = i;
		p->reserved = 0;
		p->square = (u64)i * i;
		relayfs_commit(&slot);
	}
	if (!count)
		relayfs_channel_stop(chan);
	return 0;
}

static int stats_show(struct relayfs_object *obj, struct seq_file *m)
{
	relayfs_channel_show_stats(chan, m);
	return 0;
}

static const struct relayfs_attribute files[] = {
	{ .name = "count", .mode = 0200, .store = count_store },
	{ .name = "stats", .mode = 0400, .show = stats_show },
};

static int populate(struct relayfs_dir *dir)
{
	int err = relayfs_create_attributes(dir, files, ARRAY_SIZE(files), NULL);

	return err ? err : relayfs_create_streams(dir, chan, "squares");
}

static struct relayfs_client client = { .name = "squares", .owner = THIS_MODULE, .populate = populate };

static int __init sample_init(void)
{
	struct relayfs_channel_attr attr = {
		.owner = THIS_MODULE, .flags = RELAYFS_STATIC, .subbuf_size = 65536, .n_subbufs = 4,
	};
	int err;

	uuid_gen(&attr.uuid);
	chan = relayfs_channel_open(&attr);
	if (IS_ERR(chan))
		return PTR_ERR(chan);
	err = relayfs_channel_start(chan);
	if (!err)
		err = relayfs_register_client(&client);
	if (err) {
		relayfs_channel_close(chan);
		relayfs_channel_put(chan);
	}
	return err;
}

static void __exit sample_exit(void)
{
	relayfs_unregister_client(&client);
	relayfs_channel_close(chan);
	relayfs_channel_put(chan);
}

module_init(sample_init);
module_exit(sample_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("a client of relayfs, as an example");
