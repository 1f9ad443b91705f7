// SPDX-License-Identifier: GPL-2.0-only
/* ltt.ko: load and unload, tracing from the load on, and what a panic leaves. */
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/notifier.h>
#include <linux/string.h>

#include "compat.h"
#include "internal.h"

#define BOOT_SESSION "boot"

static char *events;
static char *mode;
static char *subbuf_size;
static char *n_subbufs;
static char *filter;
module_param(events, charp, 0444);
module_param(mode, charp, 0444);
module_param(subbuf_size, charp, 0444);
module_param(n_subbufs, charp, 0444);
module_param(filter, charp, 0444);
MODULE_PARM_DESC(events, "make the session " BOOT_SESSION " and start it with these events, as in its file events");
MODULE_PARM_DESC(mode, "of that session, as in its file mode");
MODULE_PARM_DESC(subbuf_size, "of that session, as in its file subbuf_size");
MODULE_PARM_DESC(n_subbufs, "of that session, as in its file n_subbufs");
MODULE_PARM_DESC(filter, "of that session, as in its file filter");

/* Writes the parameters to the session's files; a refusal is not fatal, the module is good for other sessions. */
static void make_boot_session(void)
{
	const struct {
		const char *file;
		const char *text;
	} writes[] = {
		{ "mode", mode }, { "subbuf_size", subbuf_size }, { "n_subbufs", n_subbufs }, { "filter", filter },
		{ "events", events }, { "control", "start" },
	};
	struct ltt_session *s;
	int i, err;

	err = relayfs_make_directory(&ltt_client, BOOT_SESSION);
	s = err ? NULL : ltt_session_named(BOOT_SESSION);
	if (!s) {
		pr_err("ltt: no session " BOOT_SESSION ": error %d\n", -err);
		return;
	}
	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		err = writes[i].text ? ltt_session_write(s, writes[i].file, writes[i].text) : 0;
		if (err) {
			pr_err("ltt: session " BOOT_SESSION ", %s=%s: %s\n", writes[i].file, writes[i].text, s->error);
			break;
		}
	}
	relayfs_object_put(&s->obj);
}

static int on_panic(struct notifier_block *block, unsigned long event, void *data)
{
	ltt_freeze_sessions();
	return NOTIFY_DONE;
}

/* Early: others write records of their own work, or never return. */
static struct notifier_block panic_block = { .notifier_call = on_panic, .priority = INT_MAX };

static int __init ltt_init(void)
{
	int err = ltt_probes_init();

	if (err)
		return err;
	ltt_find_tracepoints();
	err = relayfs_register_client(&ltt_client);
	if (err) {
		ltt_probes_exit();
		return err;
	}
	atomic_notifier_chain_register(&panic_notifier_list, &panic_block);
	if (events)
		make_boot_session();
	return 0;
}

static void __exit ltt_exit(void)
{
	atomic_notifier_chain_unregister(&panic_notifier_list, &panic_block);
	relayfs_unregister_client(&ltt_client);
	ltt_probes_exit();
}

module_init(ltt_init);
module_exit(ltt_exit);
MODULE_LICENSE("GPL");
MODULE_AUTHOR("ltt-relay");
MODULE_DESCRIPTION("Linux Trace Toolkit: kernel events as records in relayfs channels");
