// SPDX-License-Identifier: GPL-2.0-only
/* Events of block devices: group block. */
#include <linux/blk-mq.h>
#include <linux/blkdev.h>
#include <linux/buffer_head.h>

#include <trace/events/block.h>

#include "probes.h"

static u8 op_of(u32 op)
{
	switch (op) {
	case (__force u32)REQ_OP_READ:
		return LTT3_BLOCK_READ;
	case (__force u32)REQ_OP_WRITE:
		return LTT3_BLOCK_WRITE;
	case (__force u32)REQ_OP_FLUSH:
		return LTT3_BLOCK_FLUSH;
	case (__force u32)REQ_OP_DISCARD:
		return LTT3_BLOCK_DISCARD;
	case (__force u32)REQ_OP_SECURE_ERASE:
		return LTT3_BLOCK_SECURE_ERASE;
	case (__force u32)REQ_OP_WRITE_ZEROES:
		return LTT3_BLOCK_WRITE_ZEROES;
	case (__force u32)REQ_OP_DRV_IN:
		return LTT3_BLOCK_DRIVER_IN;
	case (__force u32)REQ_OP_DRV_OUT:
		return LTT3_BLOCK_DRIVER_OUT;
	default:
		return LTT3_BLOCK_OTHER;
	}
}

static u8 flags_of(unsigned int opf)
{
	return (opf & (__force u32)REQ_PREFLUSH ? LTT3_BLOCK_FLAG_PREFLUSH : 0) |
	       (opf & (__force u32)REQ_FUA ? LTT3_BLOCK_FLAG_FUA : 0) |
	       (opf & (__force u32)REQ_RAHEAD ? LTT3_BLOCK_FLAG_AHEAD : 0) |
	       (opf & (__force u32)REQ_SYNC ? LTT3_BLOCK_FLAG_SYNC : 0) |
	       (opf & (__force u32)REQ_META ? LTT3_BLOCK_FLAG_META : 0);
}

#define FILL_BIO(p, bio)										\
do {													\
	(p)->dev = bio_dev(bio);									\
	(p)->nr_sector = bio_sectors(bio);								\
	(p)->sector = (bio)->bi_iter.bi_sector;								\
	(p)->op = op_of((__force u32)bio_op(bio));							\
	(p)->flags = flags_of((__force u32)(bio)->bi_opf);						\
} while (0)

#define FILL_BIO_TID(p, bio)										\
do {													\
	FILL_BIO(p, bio);										\
	(p)->reserved = 0;										\
	(p)->tid = current->pid;									\
} while (0)

/* Until 5.10 with the queue, and some with the request, that the bio is for. */
#define LTT_BIO(NAME, name, ...)									\
LTT_PROBE_FUNC(NAME, name, probe_##name, NULL, TP_PROTO(struct bio *bio), TP_ARGS(bio))		\
{													\
	FILL_BIO_TID(p, bio);										\
}													\
LTT_PROBE_FUNC(NAME, name, probe_##name##_queue, NULL, TP_PROTO(struct request_queue *q, struct bio *bio), \
	       TP_ARGS(q, bio))										\
{													\
	FILL_BIO_TID(p, bio);										\
}													\
LTT_PROBE_FUNC(NAME, name, probe_##name##_request, NULL,						\
	       TP_PROTO(struct request_queue *q, struct request *rq, struct bio *bio), TP_ARGS(q, rq, bio)) \
{													\
	FILL_BIO_TID(p, bio);										\
}													\
LTT_OFFER(name, name, probe_##name, probe_##name##_queue, probe_##name##_request)

LTT_BIO(BLOCK_BIO_QUEUE, block_bio_queue)
LTT_BIO(BLOCK_BIO_BACKMERGE, block_bio_backmerge)
LTT_BIO(BLOCK_BIO_FRONTMERGE, block_bio_frontmerge)

LTT_PROBE_FUNC(BLOCK_GETRQ, block_getrq, probe_getrq, NULL, TP_PROTO(struct bio *bio), TP_ARGS(bio))
{
	FILL_BIO_TID(p, bio);
}

/* The bio may be missing there. */
static void __maybe_unused probe_getrq_queue(void *data, struct request_queue *q, struct bio *bio, int rw)
{
	if (bio)
		probe_getrq(data, bio);
}
LTT_OFFER(block_getrq, block_getrq, probe_getrq, probe_getrq_queue)

LTT_PROBE_FUNC(BLOCK_SPLIT, block_split, probe_split, NULL, TP_PROTO(struct bio *bio, unsigned int new_sector),
	       TP_ARGS(bio, new_sector))
{
	FILL_BIO_TID(p, bio);
	p->new_sector = new_sector;
}

static void __maybe_unused probe_split_queue(void *data, struct request_queue *q, struct bio *bio,
					     unsigned int new_sector)
{
	probe_split(data, bio, new_sector);
}
LTT_OFFER(block_split, block_split, probe_split, probe_split_queue)

LTT_PROBE_FUNC(BLOCK_BIO_REMAP, block_bio_remap, probe_remap, NULL,
	       TP_PROTO(struct bio *bio, dev_t dev, sector_t from), TP_ARGS(bio, dev, from))
{
	FILL_BIO_TID(p, bio);
	p->old_dev = dev;
	p->reserved2 = 0;
	p->old_sector = from;
}

static void __maybe_unused probe_remap_queue(void *data, struct request_queue *q, struct bio *bio, dev_t dev,
					     sector_t from)
{
	probe_remap(data, bio, dev, from);
}
LTT_OFFER(block_bio_remap, block_bio_remap, probe_remap, probe_remap_queue)

LTT_PROBE_FUNC(BLOCK_BIO_COMPLETE, block_bio_complete, record_bio_complete, NULL,
	       TP_PROTO(struct bio *bio, int error), TP_ARGS(bio, error))
{
	FILL_BIO(p, bio);
	p->reserved = 0;
	p->error = error;
}

static void probe_bio_complete(void *data, struct request_queue *q, struct bio *bio)
{
	record_bio_complete(data, bio, blk_status_to_errno(bio->bi_status));
}
LTT_OFFER(block_bio_complete, block_bio_complete, probe_bio_complete)

/* ---------------------------------------------------------------------------------------------------- requests --- */

/* A command to the driver has no sectors; neither has one that has been sent on without any. */
static __always_inline bool has_sectors(struct request *rq)
{
	return !blk_rq_is_passthrough(rq) && blk_rq_pos(rq) != (sector_t)-1;
}

#define FILL_REQUEST(p, rq, sectors)									\
do {													\
	(p)->dev = compat_request_dev(rq);								\
	(p)->nr_sector = sectors;									\
	(p)->sector = has_sectors(rq) ? blk_rq_pos(rq) : 0;						\
	(p)->op = op_of((__force u32)req_op(rq));							\
	(p)->flags = flags_of((__force u32)(rq)->cmd_flags);						\
} while (0)

/* Until 5.10, in all but its late point releases, with the queue that is the request's own. */
#define LTT_REQUEST(NAME, name)										\
LTT_PROBE_FUNC(NAME, name, probe_##name, NULL, TP_PROTO(struct request *rq), TP_ARGS(rq))		\
{													\
	FILL_REQUEST(p, rq, blk_rq_is_passthrough(rq) ? 0 : blk_rq_sectors(rq));			\
}													\
static void __maybe_unused probe_##name##_queue(void *data, struct request_queue *q, struct request *rq) \
{													\
	probe_##name(data, rq);										\
}													\
LTT_OFFER(name, name, probe_##name, probe_##name##_queue)

LTT_REQUEST(BLOCK_RQ_INSERT, block_rq_insert)
LTT_REQUEST(BLOCK_RQ_ISSUE, block_rq_issue)
LTT_REQUEST(BLOCK_RQ_MERGE, block_rq_merge)
LTT_REQUEST(BLOCK_RQ_REQUEUE, block_rq_requeue)

LTT_PROBE_FUNC(BLOCK_RQ_COMPLETE, block_rq_complete, probe_rq_complete_errno, NULL,
	       TP_PROTO(struct request *rq, int error, unsigned int nr_bytes), TP_ARGS(rq, error, nr_bytes))
{
	FILL_REQUEST(p, rq, nr_bytes >> SECTOR_SHIFT);
	p->reserved = 0;
	p->error = error;
}

/* The error is one of the block layer's own since 5.16. */
static void __maybe_unused probe_rq_complete(void *data, struct request *rq, blk_status_t error, unsigned int nr_bytes)
{
	probe_rq_complete_errno(data, rq, blk_status_to_errno(error), nr_bytes);
}
LTT_OFFER(block_rq_complete, block_rq_complete, probe_rq_complete, probe_rq_complete_errno)

LTT_PROBE(BLOCK_PLUG, block_plug, NULL, TP_PROTO(struct request_queue *q), TP_ARGS(q))
{
	p->tid = current->pid;
}

LTT_PROBE(BLOCK_UNPLUG, block_unplug, NULL, TP_PROTO(struct request_queue *q, unsigned int depth, bool explicit),
	  TP_ARGS(q, depth, explicit))
{
	p->tid = current->pid;
	p->nr_rq = depth;
	p->explicit = explicit;
}

LTT_PROBE(BLOCK_TOUCH_BUFFER, block_touch_buffer, NULL, TP_PROTO(struct buffer_head *bh), TP_ARGS(bh))
{
	p->dev = bh->b_bdev->bd_dev;
	p->size = bh->b_size;
	p->sector = bh->b_blocknr;
}

LTT_PROBE(BLOCK_DIRTY_BUFFER, block_dirty_buffer, NULL, TP_PROTO(struct buffer_head *bh), TP_ARGS(bh))
{
	p->dev = bh->b_bdev->bd_dev;
	p->size = bh->b_size;
	p->sector = bh->b_blocknr;
}
