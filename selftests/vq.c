// SPDX-License-Identifier: GPL-2.0-only
#include "vq.h"

#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

static void vq_ioctl(struct vq *vq, unsigned long cmd, void *arg)
{
	if (ioctl(vq->vhost, cmd, arg))
		die("vhost ioctl %#lx", cmd);
}

bool vq_open(struct vq *vq)
{
	struct vhost_vring_state num = { .index = 0, .num = VQ_NUM };
	struct vhost_vring_state base = { .index = 0 };
	__u64 features = 1ULL << VIRTIO_F_VERSION_1;
	struct vhost_vring_addr addr = { .index = 0 };
	struct vhost_vring_file file = { .index = 0 };
	__u8 *mem;

	memset(vq, 0, sizeof(*vq));
	/* Without udev nobody makes the node that would load it. */
	if (access("/dev/vhost-net", F_OK) && system("modprobe -q vhost_net"))
		return false;
	vq->vhost = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
	if (vq->vhost < 0)
		return false;
	vq->size = 64 * 1024 + VQ_NUM * VQ_BUF;
	mem = mmap(NULL, vq->size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		die("no memory for a virtqueue");
	vq->desc = (void *)mem;
	vq->avail = (void *)(mem + 16 * 1024);
	vq->used = (void *)(mem + 32 * 1024);
	vq->bufs = mem + 64 * 1024;
	vq_ioctl(vq, VHOST_SET_OWNER, NULL);
	vq_ioctl(vq, VHOST_SET_FEATURES, &features);
	vq->table = calloc(1, sizeof(*vq->table) +
			      sizeof(struct vhost_memory_region));
	vq->table->nregions = 1;
	vq->table->regions[0] = (struct vhost_memory_region) {
		.guest_phys_addr = (uintptr_t)mem,
		.userspace_addr = (uintptr_t)mem,
		.memory_size = vq->size,
	};
	vq_ioctl(vq, VHOST_SET_MEM_TABLE, vq->table);
	vq_ioctl(vq, VHOST_SET_VRING_NUM, &num);
	vq_ioctl(vq, VHOST_SET_VRING_BASE, &base);
	addr.desc_user_addr = (uintptr_t)vq->desc;
	addr.avail_user_addr = (uintptr_t)vq->avail;
	addr.used_user_addr = (uintptr_t)vq->used;
	vq_ioctl(vq, VHOST_SET_VRING_ADDR, &addr);
	vq->kick = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	vq->call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	file.fd = vq->kick;
	vq_ioctl(vq, VHOST_SET_VRING_KICK, &file);
	file.fd = vq->call;
	vq_ioctl(vq, VHOST_SET_VRING_CALL, &file);
	return true;
}

void vq_backend(struct vq *vq, int fd)
{
	struct vhost_vring_file file = { .index = 0, .fd = fd };

	vq_ioctl(vq, VHOST_NET_SET_BACKEND, &file);
}

/* As a side effect of this ioctl. */
void vq_flush(struct vq *vq)
{
	vq_ioctl(vq, VHOST_SET_MEM_TABLE, vq->table);
}

void vq_post(struct vq *vq, int n)
{
	__u64 one = 1;

	while (n--) {
		__u16 i = vq->posted++ % VQ_NUM;

		vq->desc[i] = (struct vring_desc) {
			.addr = (uintptr_t)(vq->bufs + i * VQ_BUF),
			.len = VQ_BUF,
			.flags = VRING_DESC_F_WRITE,
		};
		vq->avail->ring[i] = i;
		__atomic_store_n(&vq->avail->idx, vq->posted,
				 __ATOMIC_RELEASE);
	}
	if (write(vq->kick, &one, sizeof(one)) != sizeof(one))
		die("cannot kick");
}

bool vq_next(struct vq *vq, const __u8 **data, size_t *len)
{
	__u16 idx = __atomic_load_n(&vq->used->idx, __ATOMIC_ACQUIRE);
	struct vring_used_elem *e;

	if (vq->seen == idx)
		return false;
	e = &vq->used->ring[vq->seen++ % VQ_NUM];
	*data = vq->bufs + e->id * VQ_BUF;
	*len = e->len;
	return true;
}

int vq_take(struct vq *vq, struct nic *n, struct tally *t, bool again)
{
	const __u8 *data;
	int count = 0;
	size_t len;
	__u32 flow;
	__u64 seq;

	while (vq_next(vq, &data, &len)) {
		if (frame_parse(n, data + n->hdr, len - n->hdr, &flow, &seq))
			tally_add(t, flow, seq);
		else
			t->strange++;
		count++;
	}
	if (again && count)
		vq_post(vq, count);
	return count;
}

bool vq_wait(struct vq *vq, struct nic *n, struct tally *t, __u64 total,
	     bool again)
{
	struct pollfd p = { .fd = vq->call, .events = POLLIN };
	int64_t end = now_ms() + WAIT_MS;
	__u64 v;

	for (;;) {
		if (read(vq->call, &v, sizeof(v)) < 0 && errno != EAGAIN)
			die("cannot read the call eventfd");
		vq_take(vq, n, t, again);
		if (t->got + t->strange >= total)
			return true;
		if (now_ms() > end || poll(&p, 1, WAIT_MS) <= 0)
			return false;
	}
}
