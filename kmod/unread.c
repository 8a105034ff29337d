// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets that a reader gives back. A VMM that reads its queue can have one
 * that the guest had no buffer for when it stopped. It is not in the ring any
 * more, so that nobody else could bring it to the other host.
 */
#include <linux/skbuff.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/virtio_net.h>

#include "hold.h"

static __virtio16 tapmig_virtio16_from_be(__virtio16 v)
{
	return __cpu_to_virtio16(true, __virtio16_to_cpu(false, v));
}

/* The part of the header that all versions of it have. */
static int tapmig_unread_vnet(const struct tapmig_unread *a,
			      struct tapmig_meta *m)
{
	struct virtio_net_hdr *vnet = &m->vnet;

	if (!a->vnet_hdr_len)
		return 0;
	if (copy_from_user(vnet, u64_to_user_ptr(a->data), sizeof(*vnet)))
		return -EFAULT;
	if (a->flags & TAPMIG_UNREAD_VNET_BE) {
		vnet->hdr_len = tapmig_virtio16_from_be(vnet->hdr_len);
		vnet->gso_size = tapmig_virtio16_from_be(vnet->gso_size);
		vnet->csum_start = tapmig_virtio16_from_be(vnet->csum_start);
		vnet->csum_offset = tapmig_virtio16_from_be(vnet->csum_offset);
	}
	m->has_vnet = memchr_inv(vnet, 0, sizeof(*vnet));
	return 0;
}

/* Copy the frame into an skb; it goes to *@res. */
static int tapmig_unread_skb(const struct tapmig_unread *a,
			     const struct tapmig_meta *m,
			     struct sk_buff **res)
{
	u32 len = a->len - a->vnet_hdr_len;
	struct iov_iter iter;
	struct sk_buff *skb;

	skb = tapmig_skb_alloc(len, &m->vnet);
	if (!skb)
		return -ENOMEM;
	iov_iter_ubuf(&iter, ITER_SOURCE,
		      u64_to_user_ptr(a->data + a->vnet_hdr_len), len);
	if (skb_copy_datagram_from_iter(skb, 0, &iter, len)) {
		/* No loss: the caller has it. */
		kfree_skb(skb);
		return -EFAULT;
	}
	*res = skb;
	return 0;
}

/* Returns -errno if nothing can be given back to @h. */
static int tapmig_unread_refuse(struct tapmig_hold *h, u32 index,
				const struct tapmig_meta *m)
{
	lockdep_assert_held(&h->lock);

	if (h->gone || h->state != TAPMIG_STATE_FROZEN)
		return tapmig_hold_refuse(h, NULL);
	/* Of what comes here only the newest is kept. */
	if (h->role == TAPMIG_ROLE_STANDBY)
		return -EOPNOTSUPP;
	if (index > U16_MAX || !tapmig_queue_by_index(h, index))
		return -ENOENT;
	if (m->protocol && h->link_type == TAPMIG_LINK_TYPE_ETHERNET)
		return -EINVAL;
	return 0;
}

/**
 * tapmig_unread - hold a packet that was read
 * @h: the hold
 * @a: the packet; nothing of it is trusted
 *
 * Return: 0, or -errno as in uapi/linux/tapmig.h: the caller still has it.
 */
int tapmig_unread(struct tapmig_hold *h, const struct tapmig_unread *a)
{
	struct tapmig_meta m = { .protocol = a->protocol };
	struct tapmig_list list = {};
	struct sk_buff *skb;
	bool segmented;
	int err;

	if ((a->vnet_hdr_len && a->vnet_hdr_len < sizeof(m.vnet)) ||
	    a->len <= a->vnet_hdr_len)
		return -EINVAL;
	if (a->len - a->vnet_hdr_len > TAPMIG_FRAME_MAX)
		return -EMSGSIZE;
	err = tapmig_unread_vnet(a, &m);
	if (err)
		return err;
	err = tapmig_unread_skb(a, &m, &skb);
	if (err)
		return err;

	mutex_lock(&h->lock);
	err = tapmig_unread_refuse(h, a->index, &m);
	if (err) {
		/* No loss, as above. */
		kfree_skb(skb);
		goto unlock;
	}
	err = tapmig_skb_finish(skb, h->link_type, &m, &list, &segmented, NULL);
	if (err)
		goto unlock;
	/* This kernel would have segmented it for the reader, too. */
	if (segmented)
		err = -EINVAL;
	else
		err = tapmig_hold_capture_first(h, list.head, a->index);
	if (err) {
		/* No loss, as above. */
		tapmig_list_free(&list);
	}
unlock:
	mutex_unlock(&h->lock);
	return err;
}
