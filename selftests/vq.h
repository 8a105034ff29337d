/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A reader of a queue: vhost-net, with a virtqueue in the memory of this
 * process.
 */
#ifndef TAPMIG_SELFTESTS_VQ_H
#define TAPMIG_SELFTESTS_VQ_H

#include "lib.h"

#include <linux/virtio_ring.h>

#define VQ_NUM		1024
#define VQ_BUF		2048

struct vq {
	int vhost;
	int kick;
	int call;
	struct vhost_memory *table;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	__u8 *bufs;
	size_t size;
	__u16 posted;
	__u16 seen;
};

/* False where there is no vhost-net. */
bool vq_open(struct vq *vq);
/* Start (@fd is a queue) or stop (-1). */
void vq_backend(struct vq *vq, int fd);
/* Wait until its worker has nothing to do. */
void vq_flush(struct vq *vq);
/* Give it @n more buffers. */
void vq_post(struct vq *vq, int n);
/* The next that has been used, header and frame; false if there is none. */
bool vq_next(struct vq *vq, const __u8 **data, size_t *len);
/* Take what has been used; each buffer is posted again if @again. */
int vq_take(struct vq *vq, struct nic *n, struct tally *t, bool again);
/* Take until so many arrived in all. */
bool vq_wait(struct vq *vq, struct nic *n, struct tally *t, __u64 total,
	     bool again);

#endif
