// SPDX-License-Identifier: GPL-2.0-only
/* metadata: the CTF 1.8 description of what a client writes, so that a captured directory is a trace as it is. */
#include <linux/export.h>
#include <linux/math64.h>
#include <linux/time64.h>
#include <linux/utsname.h>

#include "relayfs.h"

/* A text value of the environment, escaped. */
static void show_text(struct seq_file *m, const char *key, const char *value)
{
	seq_printf(m, "\t%s = \"", key);
	seq_escape(m, value, "\"\\\n\t");
	seq_puts(m, "\";\n");
}

/**
 * relayfs_show_metadata() - print the metadata of a trace with the static events of LTT 3.0
 * @m: where to
 * @session: the trace's name
 * @uuid: as in its packets
 * @wall_offset: wall clock minus monotonic clock in ns
 */
void relayfs_show_metadata(struct seq_file *m, const char *session, const uuid_t *uuid, s64 wall_offset)
{
	u32 ns;
	u64 seconds = div_u64_rem(wall_offset, NSEC_PER_SEC, &ns);

	seq_puts(m, LTT3_TSDL_HEAD);
	seq_printf(m, "%pUb", uuid);
	seq_puts(m, LTT3_TSDL_TRACE);
	seq_puts(m, "env {\n");
	show_text(m, "domain", "kernel");
	show_text(m, "tracer_name", "ltt-relay");
	show_text(m, "session", session);
	show_text(m, "hostname", init_uts_ns.name.nodename);
	show_text(m, "sysname", init_uts_ns.name.sysname);
	show_text(m, "release", init_uts_ns.name.release);
	show_text(m, "version", init_uts_ns.name.version);
	show_text(m, "arch", init_uts_ns.name.machine);
	seq_puts(m, "};\n\n" LTT3_TSDL_CLOCK);
	seq_printf(m, "%llu", seconds);
	seq_puts(m, LTT3_TSDL_OFFSET);
	seq_printf(m, "%u", ns);
	seq_puts(m, LTT3_TSDL_BODY);
}
EXPORT_SYMBOL_GPL(relayfs_show_metadata);
