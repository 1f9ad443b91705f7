// SPDX-License-Identifier: GPL-2.0-only
/* What a channel says of itself: its state, and the counters of its streams. */
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/seq_file.h>
#include <linux/string.h>

#include "internal.h"

/**
 * relayfs_channel_state() - what a channel does
 * @chan: the channel
 *
 * Return: RELAYFS_IDLE until the first start, then RELAYFS_RUNNING or RELAYFS_STOPPED, RELAYFS_DEAD once it is closed.
 */
enum relayfs_state relayfs_channel_state(struct relayfs_channel *chan)
{
	return READ_ONCE(chan->state);
}
EXPORT_SYMBOL_GPL(relayfs_channel_state);

/**
 * relayfs_state_name() - a state as the files called control say it
 * @state: of a channel
 *
 * Return: a word.
 */
const char *relayfs_state_name(enum relayfs_state state)
{
	static const char * const names[] = {
		[RELAYFS_IDLE] = "idle", [RELAYFS_RUNNING] = "running", [RELAYFS_STOPPED] = "stopped",
		[RELAYFS_DEAD] = "gone",
	};

	return names[state];
}
EXPORT_SYMBOL_GPL(relayfs_state_name);

/**
 * relayfs_channel_n_subbufs() - the number of sub-buffers now, which changes where n_subbufs_max is set
 * @chan: the channel
 *
 * Return: sub-buffers of each stream.
 */
size_t relayfs_channel_n_subbufs(struct relayfs_channel *chan)
{
	return READ_ONCE(chan->attr.n_subbufs);
}
EXPORT_SYMBOL_GPL(relayfs_channel_n_subbufs);

/**
 * relayfs_channel_error() - why the last request was refused
 * @chan: the channel
 *
 * Return: words, empty if none was.
 */
const char *relayfs_channel_error(struct relayfs_channel *chan)
{
	return chan->error;
}
EXPORT_SYMBOL_GPL(relayfs_channel_error);

struct addition {
	u64 *counter;
	u64 n;
};

static void add(void *info)
{
	const struct addition *addition = info;

	WRITE_ONCE(*addition->counter, *addition->counter + addition->n);
}

/* Adds to a counter of a stream's writer, which may be counting itself meanwhile. Caller holds cpus_read_lock(). */
void relayfs_add(struct relayfs_stream *s, u64 *counter, u64 n)
{
	struct addition addition = { counter, n };

	relayfs_on_writer(s, add, &addition);
}

/**
 * relayfs_channel_count_missed() - count records that the kernel did not even call a probe for
 * @chan: the channel
 * @n: how many; they are lost as nested, on the first stream, as nobody knows where
 */
void relayfs_channel_count_missed(struct relayfs_channel *chan, u64 n)
{
	struct relayfs_stream *s = chan->streams[cpumask_first(cpu_possible_mask)];

	if (!n)
		return;
	cpus_read_lock();
	relayfs_add(s, &s->writer->lost[LTT3_LOST_NESTED], n);
	cpus_read_unlock();
}
EXPORT_SYMBOL_GPL(relayfs_channel_count_missed);

struct sample {
	struct relayfs_writer *writer;
	struct relayfs_stream_stats *stats;
};

static void sample_writer(void *info)
{
	struct sample *sample = info;
	struct relayfs_writer *w = sample->writer;
	struct relayfs_stream_stats *stats = sample->stats;

	memcpy(stats->lost, w->lost, sizeof(stats->lost));
	/* Those two are lost before the writer could count them as asked for. */
	stats->produced = w->produced + stats->lost[LTT3_LOST_NMI] + stats->lost[LTT3_LOST_NESTED];
	stats->overwritten = w->overwritten;
	stats->pending = w->published + relayfs_records(w);
	stats->packets = w->packets;
}

/**
 * relayfs_channel_stats() - the counters of a stream, all of one moment
 * @chan: the channel
 * @cpu: the stream's CPU, 0 for a global channel
 * @stats: filled in
 *
 * Return: false if there is no such stream.
 */
bool relayfs_channel_stats(struct relayfs_channel *chan, int cpu, struct relayfs_stream_stats *stats)
{
	struct relayfs_stream *s = cpu < chan->n_streams ? chan->streams[cpu] : NULL;
	struct sample sample;

	if (!s)
		return false;
	sample.writer = s->writer;
	sample.stats = stats;
	cpus_read_lock();
	mutex_lock(&s->lock);
	relayfs_on_writer(s, sample_writer, &sample);
	stats->read = s->read;
	stats->bytes = s->bytes;
	stats->pending -= s->read + stats->overwritten + stats->lost[LTT3_LOST_RESET];
	mutex_unlock(&s->lock);
	cpus_read_unlock();
	return true;
}
EXPORT_SYMBOL_GPL(relayfs_channel_stats);

/**
 * relayfs_channel_show_stats() - print the counters of all streams as a table
 * @chan: the channel
 * @m: where to
 */
void relayfs_channel_show_stats(struct relayfs_channel *chan, struct seq_file *m)
{
	struct relayfs_stream_stats stats;
	unsigned int cpu;
	u64 lost;
	int i;

	seq_puts(m, "cpu produced read pending overwritten lost");
	for (i = 0; i < LTT3_LOST_REASONS; i++)
		seq_printf(m, " %s", ltt3_lost_names[i]);
	seq_puts(m, " bytes packets\n");
	for (cpu = 0; cpu < chan->n_streams; cpu++) {
		if (!relayfs_channel_stats(chan, cpu, &stats))
			continue;
		for (i = 0, lost = 0; i < LTT3_LOST_REASONS; i++)
			lost += stats.lost[i];
		seq_printf(m, "%u %llu %llu %llu %llu %llu", cpu, stats.produced, stats.read, stats.pending,
			   stats.overwritten, lost);
		for (i = 0; i < LTT3_LOST_REASONS; i++)
			seq_printf(m, " %llu", stats.lost[i]);
		seq_printf(m, " %llu %llu\n", stats.bytes, stats.packets);
	}
}
EXPORT_SYMBOL_GPL(relayfs_channel_show_stats);
