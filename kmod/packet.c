// SPDX-License-Identifier: GPL-2.0-only
/* Packets and what is known of them; frames from another host. */

#include <linux/etherdevice.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>
#include <net/dst.h>
#include <net/flow_dissector.h>
#include <net/gso.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/xdp.h>

#include "hold.h"

/* The GSO types that a virtio-net header can express. That segments share an
 * IP id (SKB_GSO_TCP_FIXEDID) is lost, as it is for any guest.
 */
#define TAPMIG_GSO_KNOWN	(SKB_GSO_TCPV4 | SKB_GSO_TCPV6 |	\
				 SKB_GSO_UDP_L4 | SKB_GSO_TCP_ECN |	\
				 SKB_GSO_DODGY | SKB_GSO_TCP_FIXEDID)

/* Room in front of an imported frame, as drivers leave. */
#define TAPMIG_HEADROOM		(NET_SKB_PAD + NET_IP_ALIGN)
/* Linear part of an imported frame that does not fit a page. */
#define TAPMIG_LINEAR		256

/* All headers that the segmentation handlers take for granted fit in here:
 * Ethernet and as many VLAN tags as the kernel looks through.
 */
#define TAPMIG_LINK_HEADERS	64
/* The longest header of TCP, and what most segments have of all of them. */
#define TAPMIG_TRANSPORT_HEADER	60
#define TAPMIG_HEADERS		128
/* More than the shortest TAPMIG_MAX_SEGMENTS with those take. */
#define TAPMIG_MAX_SEGMENTS_BYTES	(8ULL << 20)

/**
 * tapmig_borrow_dev() - a device for functions that cannot do without
 *
 * Packets of a hold have none, since theirs can go away. The flow dissector
 * and the segmentation handlers look at the device for its network namespace
 * and for features of tunnels; neither matters here.
 *
 * Return: a device that never goes away.
 */
static struct net_device *tapmig_borrow_dev(void)
{
	return init_net.loopback_dev;
}

/**
 * tapmig_pkt_of_skb() - what is known of an skb
 * @skb: the skb, of a hold
 *
 * Return: what tapmig_pkt_init() made of it.
 */
struct tapmig_pkt *tapmig_pkt_of_skb(struct sk_buff *skb)
{
	return (struct tapmig_pkt *)skb->cb;
}

/**
 * tapmig_pkt_is_xdp() - is a packet an XDP frame
 * @p: the packet
 *
 * Return: true if so, false for an skb.
 */
bool tapmig_pkt_is_xdp(const struct tapmig_pkt *p)
{
	return tun_is_xdp_frame(p->ptr);
}

/**
 * tapmig_pkt_skb() - the skb of a packet
 * @p: a packet that is no XDP frame
 *
 * Return: the skb.
 */
struct sk_buff *tapmig_pkt_skb(const struct tapmig_pkt *p)
{
	return p->ptr;
}

/**
 * tapmig_pkt_xdp() - the XDP frame of a packet
 * @p: a packet that is an XDP frame
 *
 * Return: the frame.
 */
struct xdp_frame *tapmig_pkt_xdp(const struct tapmig_pkt *p)
{
	return tun_ptr_to_xdp(p->ptr);
}

/*
 * What comes before the header of TCP or UDP, of which each segment has a copy.
 * With IPv6 that can be half of the packet; of what is not known, it is all.
 */
static u32 tapmig_network_headers(const struct sk_buff *skb)
{
	int offset = skb_network_offset(skb);
	__be16 proto = skb->protocol, _proto, frag_off, *inner;
	const struct ipv6hdr *ip6;
	struct ipv6hdr _ip6;
	u8 next;

	/* As the segmentation handlers do it. */
	if (proto == htons(ETH_P_TEB)) {
		inner = skb_header_pointer(skb, 2 * ETH_ALEN, sizeof(_proto),
					   &_proto);
		proto = inner ? *inner : 0;
	}
	while (eth_type_vlan(proto) && offset >= 0 &&
	       offset < TAPMIG_LINK_HEADERS) {
		inner = skb_header_pointer(skb, offset + VLAN_HLEN -
					   sizeof(_proto), sizeof(_proto),
					   &_proto);
		proto = inner ? *inner : 0;
		offset += VLAN_HLEN;
	}
	if (skb->encapsulation || proto == htons(ETH_P_MPLS_UC) ||
	    proto == htons(ETH_P_MPLS_MC))
		offset = skb_inner_network_offset(skb);
	else if (proto != htons(ETH_P_IP) && proto != htons(ETH_P_IPV6))
		return skb->len;

	ip6 = offset < 0 ? NULL : skb_header_pointer(skb, offset, sizeof(_ip6),
						     &_ip6);
	if (!ip6)
		return skb->len;
	if (ip6->version != 6)
		return offset;
	next = ip6->nexthdr;
	/* It fails if there are many; the handlers do not. */
	offset = ipv6_skip_exthdr(skb, offset + sizeof(*ip6), &next, &frag_off);
	return offset < 0 ? skb->len : offset;
}

/*
 * Memory that segments of @size bytes of payload would take, about; 0: nobody
 * makes so many of a packet, or such large ones.
 */
static u64 tapmig_segments_bytes(const struct sk_buff *skb, u32 size)
{
	u32 headers;
	u64 bytes;

	if (size != GSO_BY_FRAGS && skb->len / size >= TAPMIG_MAX_SEGMENTS)
		return 0;
	headers = max_t(u32, TAPMIG_HEADERS,
			tapmig_network_headers(skb) + TAPMIG_TRANSPORT_HEADER);
	/* gso_segs is not set before the stack has checked the headers. */
	bytes = (u64)DIV_ROUND_UP(skb->len, size) *
		SKB_TRUESIZE((u64)size + headers);
	if (size != GSO_BY_FRAGS && bytes > TAPMIG_MAX_SEGMENTS_BYTES)
		return 0;
	return bytes;
}

/**
 * tapmig_segments_truesize() - memory that the segments of a packet would take
 * @skb: the packet
 *
 * Return: bytes, about; the memory of @skb itself if that is more.
 */
u32 tapmig_segments_truesize(const struct sk_buff *skb)
{
	u32 size = skb_shinfo(skb)->gso_size;
	u64 bytes = size ? tapmig_segments_bytes(skb, size) : 0;

	return clamp_t(u64, bytes, skb->truesize, U32_MAX);
}

/**
 * tapmig_pkt_estimate() - set what a captured packet is to be charged with
 * @p: the packet, in no list
 *
 * One that only its segments can stand for, on a host or on the way to another,
 * is charged with their memory from the start. So is one in small segments:
 * they can be a hundred times as large.
 */
void tapmig_pkt_estimate(struct tapmig_pkt *p)
{
	struct sk_buff *skb;
	u32 segments;

	if (tapmig_pkt_is_xdp(p))
		return;
	skb = tapmig_pkt_skb(p);
	if (!skb_is_gso(skb))
		return;
	segments = tapmig_segments_truesize(skb);
	if (skb_shinfo(skb)->gso_type & ~TAPMIG_GSO_KNOWN ||
	    segments / 2 > skb->truesize)
		p->truesize = segments;
}

/**
 * tapmig_pkt_init() - begin to know something of a packet
 * @ring_entry: the packet as it was in a ring
 *
 * Called by the hook: nothing is freed here.
 *
 * Return: the packet, or NULL: no memory.
 */
struct tapmig_pkt *tapmig_pkt_init(void *ring_entry)
{
	struct tapmig_pkt *p;
	struct xdp_frame *xdpf;
	struct sk_buff *skb;
	u16 flags = 0;
	u32 truesize;

	BUILD_BUG_ON(sizeof(*p) > sizeof_field(struct sk_buff, cb));
	BUILD_BUG_ON(sizeof(*xdpf) % __alignof__(*p));

	if (tun_is_xdp_frame(ring_entry)) {
		xdpf = tun_ptr_to_xdp(ring_entry);
		truesize = xdpf->frame_sz;
		/* What follows the descriptor up to the metadata is free. */
		if (xdpf->headroom >= sizeof(*p) + xdpf->metasize) {
			p = (struct tapmig_pkt *)(xdpf + 1);
		} else {
			p = kmalloc_obj(*p, GFP_ATOMIC | __GFP_NOWARN);
			if (!p)
				return NULL;
			flags = TAPMIG_PKT_ALLOCATED;
		}
	} else {
		skb = ring_entry;
		skb->dev = NULL;
		truesize = skb->truesize;
		p = tapmig_pkt_of_skb(skb);
	}

	*p = (struct tapmig_pkt) {
		.ptr = ring_entry,
		.truesize = truesize,
		.flags = flags,
	};
	return p;
}

/**
 * tapmig_pkt_scrub() - cut a packet off from all that can go away
 * @p: the packet
 *
 * For process context.
 */
void tapmig_pkt_scrub(struct tapmig_pkt *p)
{
	struct sk_buff *skb;

	if (tapmig_pkt_is_xdp(p)) {
		tapmig_pkt_xdp(p)->dev_rx = NULL;
		return;
	}
	skb = tapmig_pkt_skb(p);
	skb->dev = NULL;
	skb_orphan(skb);
	skb_dst_drop(skb);
	skb_ext_reset(skb);
	nf_reset_ct(skb);
	/* A failure leaves them; they are accounted for as they were. */
	skb_orphan_frags_rx(skb, GFP_KERNEL);
}

/**
 * tapmig_pkt_release() - let a packet go back into a ring
 * @p: the packet; gone afterwards
 *
 * Return: the ring entry.
 */
void *tapmig_pkt_release(struct tapmig_pkt *p)
{
	void *ptr = p->ptr;

	if (p->flags & TAPMIG_PKT_ALLOCATED)
		kfree(p);
	else
		memset(p, 0, sizeof(*p));
	return ptr;
}

/**
 * tapmig_pkt_free() - free a packet
 * @p: the packet
 *
 * For process context.
 */
void tapmig_pkt_free(struct tapmig_pkt *p)
{
	tun_ptr_free(tapmig_pkt_release(p));
}

/**
 * tapmig_list_free() - free all packets of a list
 * @l: the list; empty afterwards
 *
 * For process context.
 *
 * Return: how many there were.
 */
u64 tapmig_list_free(struct tapmig_list *l)
{
	struct tapmig_pkt *p;
	u64 n = 0;

	while ((p = tapmig_list_pop(l))) {
		tapmig_pkt_free(p);
		n++;
		cond_resched();
	}
	return n;
}

/**
 * tapmig_pkt_len() - length of a frame
 * @p: the packet
 *
 * Return: its length in bytes, without a VLAN tag that is not in the frame.
 */
u32 tapmig_pkt_len(const struct tapmig_pkt *p)
{
	return tapmig_pkt_is_xdp(p) ? xdp_get_frame_len(tapmig_pkt_xdp(p)) :
				      tapmig_pkt_skb(p)->len;
}

/**
 * tapmig_xdp_copy() - copy from an XDP frame
 * @xdpf: the frame
 * @offset: where in it to begin
 * @to: where to copy to
 * @len: how many bytes
 *
 * Return: 0, or -EFAULT: the frame is shorter.
 */
static int tapmig_xdp_copy(struct xdp_frame *xdpf, u32 offset, void *to,
			   u32 len)
{
	struct skb_shared_info *sinfo;
	const skb_frag_t *frag;
	u32 n;
	int i;

	if (offset < xdpf->len) {
		n = min_t(u32, len, xdpf->len - offset);
		memcpy(to, xdpf->data + offset, n);
		to += n;
		len -= n;
		offset += n;
	}
	if (!len)
		return 0;
	if (!xdp_frame_has_frags(xdpf))
		return -EFAULT;

	/* tun takes no such frames as yet. */
	offset -= xdpf->len;
	sinfo = xdp_get_shared_info_from_frame(xdpf);
	for (i = 0; i < sinfo->nr_frags && len; i++) {
		frag = &sinfo->frags[i];
		if (offset >= skb_frag_size(frag)) {
			offset -= skb_frag_size(frag);
			continue;
		}
		n = min_t(u32, len, skb_frag_size(frag) - offset);
		memcpy(to, skb_frag_address(frag) + offset, n);
		to += n;
		len -= n;
		offset = 0;
	}
	return len ? -EFAULT : 0;
}

/**
 * tapmig_pkt_copy() - copy from a frame
 * @p: the packet
 * @offset: where in the frame to begin
 * @to: where to copy to
 * @len: how many bytes
 *
 * Return: 0, or -EFAULT: the frame is shorter.
 */
int tapmig_pkt_copy(const struct tapmig_pkt *p, u32 offset, void *to, u32 len)
{
	if (tapmig_pkt_is_xdp(p))
		return tapmig_xdp_copy(tapmig_pkt_xdp(p), offset, to, len);
	return skb_copy_bits(tapmig_pkt_skb(p), offset, to, len);
}

/**
 * tapmig_meta_get() - what goes along with a frame to another host
 * @p: the packet
 * @m: where to put it
 *
 * Return: 0, or -EOPNOTSUPP: a virtio-net header cannot express it, and the
 * packet has to be segmented.
 */
int tapmig_meta_get(const struct tapmig_pkt *p, struct tapmig_meta *m)
{
	unsigned int gso_type;
	struct sk_buff *skb;

	*m = (struct tapmig_meta) {};
	if (tapmig_pkt_is_xdp(p))
		return 0;

	skb = tapmig_pkt_skb(p);
	m->protocol = skb->protocol;
	if (skb_vlan_tag_present(skb)) {
		m->has_vlan = true;
		m->vlan_tci = skb_vlan_tag_get(skb);
		m->vlan_proto = skb->vlan_proto;
	}
	if (skb->hash) {
		m->has_hash = true;
		m->hash = skb->hash;
	}
	if (skb_is_gso(skb)) {
		/* The function below overlooks a tunnel around a known type. */
		gso_type = skb_shinfo(skb)->gso_type;
		if (gso_type & ~TAPMIG_GSO_KNOWN)
			return -EOPNOTSUPP;
		/* Receivers refuse it. */
		if (gso_type & SKB_GSO_UDP_L4 &&
		    skb->ip_summed != CHECKSUM_PARTIAL)
			return -EOPNOTSUPP;
	}
	if (virtio_net_hdr_from_skb(skb, &m->vnet, true, true, 0))
		return -EOPNOTSUPP;
	m->has_vnet = memchr_inv(&m->vnet, 0, sizeof(m->vnet));
	return 0;
}

/**
 * tapmig_frag_page() - memory for a part of a frame
 * @left: bytes that have no memory yet
 * @frags: fragments that the skb can still have
 * @order: set to the order of the pages
 *
 * Return: the pages, or NULL.
 */
static struct page *tapmig_frag_page(u32 left, int frags, unsigned int *order)
{
	unsigned int least = get_order(DIV_ROUND_UP(left, frags));
	unsigned int most = ilog2(max_t(u32, left >> PAGE_SHIFT, 1));
	gfp_t gfp = __GFP_ACCOUNT | __GFP_NOWARN;
	struct page *page;

	/* Large pages are nice to have; those without which the frame would
	 * not fit the fragments have to be waited for.
	 */
	most = min_t(unsigned int, most, PAGE_ALLOC_COSTLY_ORDER);
	for (*order = max(least, most); *order > least; (*order)--) {
		page = alloc_pages(gfp | GFP_NOWAIT | __GFP_COMP |
				   __GFP_NORETRY, *order);
		if (page)
			return page;
	}
	return alloc_pages(gfp | GFP_KERNEL | (least ? __GFP_COMP : 0),
			   least);
}

/**
 * tapmig_skb_alloc() - memory for a frame from another host, or from a reader
 * @len: its length, at most TAPMIG_FRAME_MAX
 * @vnet: virtio-net header that comes with it; not checked yet
 *
 * Nothing of it is initialized: all of it has to be written.
 *
 * Return: an skb of that length, or NULL.
 */
struct sk_buff *tapmig_skb_alloc(u32 len, const struct virtio_net_hdr *vnet)
{
	u32 linear = __virtio16_to_cpu(true, vnet->hdr_len);
	unsigned int order;
	struct sk_buff *skb;
	struct page *page;
	int nr = 0;
	u32 size;

	/* What the header says of the linear part has to stay true. */
	if (vnet->gso_type == VIRTIO_NET_HDR_GSO_NONE || !linear ||
	    linear > len)
		linear = len;
	if (linear > SKB_MAX_HEAD(TAPMIG_HEADROOM))
		linear = TAPMIG_LINEAR;
	skb = alloc_skb(TAPMIG_HEADROOM + linear,
			GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, TAPMIG_HEADROOM);
	skb_put(skb, linear);

	for (len -= linear; len; len -= size) {
		if (nr == MAX_SKB_FRAGS)
			goto free_skb;
		page = tapmig_frag_page(len, MAX_SKB_FRAGS - nr, &order);
		if (!page)
			goto free_skb;
		size = min_t(u32, len, PAGE_SIZE << order);
		skb_add_rx_frag(skb, nr++, page, 0, size, PAGE_SIZE << order);
	}
	return skb;

free_skb:
	/* No loss: there is no packet in it yet. */
	kfree_skb(skb);
	return NULL;
}

/**
 * tapmig_skb_set_link() - set the link header of an imported frame
 * @skb: the frame
 * @link_type: enum tapmig_link_type
 * @m: what came with it
 * @extack: set when refused
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_skb_set_link(struct sk_buff *skb, u32 link_type,
			       const struct tapmig_meta *m,
			       struct netlink_ext_ack *extack)
{
	bool ethernet = link_type == TAPMIG_LINK_TYPE_ETHERNET;
	__be16 proto;
	u8 version;

	if (!pskb_may_pull(skb, min_t(u32, skb->len, ETH_HLEN))) {
		NL_SET_ERR_MSG(extack, "no memory for the headers of a frame");
		return -ENOMEM;
	}
	skb_reset_mac_header(skb);
	if (ethernet) {
		if (skb->len < ETH_HLEN) {
			NL_SET_ERR_MSG(extack,
				       "frame is shorter than an Ethernet header");
			return -EINVAL;
		}
		skb_set_network_header(skb, ETH_HLEN);
		proto = eth_hdr(skb)->h_proto;
		if (!eth_proto_is_802_3(proto))
			proto = htons(ETH_P_802_2);
		skb->protocol = m->protocol ?: proto;
	} else {
		if (!skb->len) {
			NL_SET_ERR_MSG(extack, "frame is empty");
			return -EINVAL;
		}
		skb_reset_network_header(skb);
		version = *skb->data >> 4;
		proto = m->protocol;
		if (!proto && version == 4)
			proto = htons(ETH_P_IP);
		else if (!proto && version == 6)
			proto = htons(ETH_P_IPV6);
		if (!proto) {
			NL_SET_ERR_MSG(extack,
				       "frame is no IP packet, and its protocol is not given");
			return -EINVAL;
		}
		if ((proto == htons(ETH_P_IP) &&
		     (version != 4 || skb->len < sizeof(struct iphdr))) ||
		    (proto == htons(ETH_P_IPV6) &&
		     (version != 6 || skb->len < sizeof(struct ipv6hdr)))) {
			NL_SET_ERR_MSG(extack,
				       "frame is no IP packet of its protocol, or too short for one");
			return -EINVAL;
		}
		skb->protocol = proto;
	}

	if (m->has_vlan) {
		if (!ethernet) {
			NL_SET_ERR_MSG(extack,
				       "VLAN tag for a frame without an Ethernet header");
			return -EINVAL;
		}
		if (!eth_type_vlan(m->vlan_proto)) {
			NL_SET_ERR_MSG(extack,
				       "VLAN protocol is neither 802.1Q nor 802.1ad");
			return -EINVAL;
		}
		__vlan_hwaccel_put_tag(skb, m->vlan_proto, m->vlan_tci);
	}
	return 0;
}

/**
 * struct tapmig_offload - a virtio-net header in the byte order of this host
 * @csum: checksum has to be completed
 * @valid: checksum is known to be right
 * @csum_start: from where
 * @csum_offset: where to put it, from there on
 * @type: VIRTIO_NET_HDR_GSO_*, without ECN
 * @ecn: TCP segments have ECN
 * @size: bytes of payload in a segment
 * @segs: number of segments
 */
struct tapmig_offload {
	bool csum;
	bool valid;
	u16 csum_start;
	u16 csum_offset;
	u8 type;
	bool ecn;
	u16 size;
	u16 segs;
};

/**
 * tapmig_offload_csum() - check the checksum part of a virtio-net header
 * @skb: the frame
 * @h: the header
 * @o: where to put it
 * @extack: set when refused
 *
 * Return: 0 or -EINVAL.
 */
static int tapmig_offload_csum(const struct sk_buff *skb,
			       const struct virtio_net_hdr *h,
			       struct tapmig_offload *o,
			       struct netlink_ext_ack *extack)
{
	o->csum = h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	o->valid = h->flags & VIRTIO_NET_HDR_F_DATA_VALID;
	o->csum_start = __virtio16_to_cpu(true, h->csum_start);
	o->csum_offset = __virtio16_to_cpu(true, h->csum_offset);

	if (h->flags & ~(VIRTIO_NET_HDR_F_NEEDS_CSUM |
			 VIRTIO_NET_HDR_F_DATA_VALID)) {
		NL_SET_ERR_MSG(extack, "virtio-net header: unknown flags");
		return -EINVAL;
	}
	if (__virtio16_to_cpu(true, h->hdr_len) > skb->len) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: hdr_len is beyond the frame");
		return -EINVAL;
	}
	if (!o->csum)
		return 0;

	if (o->valid) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: checksum both valid and needed");
		return -EINVAL;
	}
	if (o->csum_start < skb_network_offset(skb) + sizeof(struct iphdr)) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: csum_start is within the network header");
		return -EINVAL;
	}
	if (o->csum_start + o->csum_offset + sizeof(__sum16) > skb->len ||
	    o->csum_start + skb_headroom(skb) >= U16_MAX) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: checksum is beyond the frame");
		return -EINVAL;
	}
	return 0;
}

/**
 * tapmig_offload_gso() - check the GSO part of a virtio-net header
 * @skb: the frame
 * @h: the header
 * @o: checksum part in, all out; @type VIRTIO_NET_HDR_GSO_NONE when the
 *	payload fits one segment
 * @thoff: set to the offset of the transport header, if @type is not that
 * @extack: set when refused
 *
 * Return: 0 or -EINVAL.
 */
static int tapmig_offload_gso(const struct sk_buff *skb,
			      const struct virtio_net_hdr *h,
			      struct tapmig_offload *o, u32 *thoff,
			      struct netlink_ext_ack *extack)
{
	struct flow_keys_basic keys;
	struct tcphdr _th, *th;
	bool tcp = false;
	bool v4 = true;
	bool v6 = true;
	u16 check;
	u32 hlen;

	o->type = h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	o->ecn = h->gso_type & VIRTIO_NET_HDR_GSO_ECN;
	o->size = __virtio16_to_cpu(true, h->gso_size);

	switch (o->type) {
	case VIRTIO_NET_HDR_GSO_NONE:
		v4 = false;
		v6 = false;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV4:
		tcp = true;
		v6 = false;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		tcp = true;
		v4 = false;
		break;
	case VIRTIO_NET_HDR_GSO_UDP:
	case VIRTIO_NET_HDR_GSO_UDP_L4:
		break;
	default:
		NL_SET_ERR_MSG(extack, "virtio-net header: unknown GSO type");
		return -EINVAL;
	}
	if (o->ecn && !tcp) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: ECN with a GSO type other than TCP");
		return -EINVAL;
	}
	if (o->type == VIRTIO_NET_HDR_GSO_NONE)
		return 0;

	if (!o->size || o->size == GSO_BY_FRAGS) {
		NL_SET_ERR_MSG(extack, "virtio-net header: bad GSO size");
		return -EINVAL;
	}
	/* The offset of a fragment is counted in units of eight bytes. */
	if (o->type == VIRTIO_NET_HDR_GSO_UDP && o->size % 8) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: GSO size of fragments is no multiple of 8");
		return -EINVAL;
	}
	if (!tapmig_segments_bytes(skb, o->size)) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: GSO size gives too many segments");
		return -EINVAL;
	}

	if (!skb_flow_dissect_flow_keys_basic(&init_net, skb, &keys, NULL, 0,
					      0, 0, 0) ||
	    keys.control.flags & (FLOW_DIS_IS_FRAGMENT |
				  FLOW_DIS_ENCAPSULATION) ||
	    keys.basic.ip_proto != (tcp ? IPPROTO_TCP : IPPROTO_UDP) ||
	    !((v4 && keys.basic.n_proto == htons(ETH_P_IP)) ||
	      (v6 && keys.basic.n_proto == htons(ETH_P_IPV6))) ||
	    (!skb_network_offset(skb) &&
	     skb->protocol != keys.basic.n_proto)) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: GSO type does not match the frame");
		return -EINVAL;
	}
	*thoff = keys.control.thoff;
	hlen = sizeof(struct udphdr);
	if (tcp) {
		th = skb_header_pointer(skb, *thoff, sizeof(_th), &_th);
		hlen = th ? th->doff * 4 : 0;
		if (hlen < sizeof(_th)) {
			NL_SET_ERR_MSG(extack,
				       "TCP header of a GSO frame is malformed");
			return -EINVAL;
		}
	}
	if (*thoff + hlen >= skb->len) {
		NL_SET_ERR_MSG(extack, "GSO frame has no payload");
		return -EINVAL;
	}

	check = tcp ? offsetof(struct tcphdr, check) :
		      offsetof(struct udphdr, check);
	if (o->csum && (o->csum_start != *thoff || o->csum_offset != check)) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: checksum of a GSO frame is elsewhere");
		return -EINVAL;
	}
	if (o->type == VIRTIO_NET_HDR_GSO_UDP_L4 && !o->csum) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: UDP segmentation without a checksum");
		return -EINVAL;
	}

	/* Fragments share one UDP header; it counts as payload. */
	if (o->type == VIRTIO_NET_HDR_GSO_UDP)
		hlen = 0;
	o->segs = DIV_ROUND_UP(skb->len - *thoff - hlen, o->size);
	if (o->segs == 1)
		o->type = VIRTIO_NET_HDR_GSO_NONE;
	return 0;
}

/**
 * tapmig_meta_importable() - would another host take a packet
 * @p: the packet
 * @m: what tapmig_meta_get() says of it
 *
 * A guest can send frames with offloads that nobody checks on their way to
 * another guest.
 *
 * Return: true if so.
 */
bool tapmig_meta_importable(const struct tapmig_pkt *p,
			    const struct tapmig_meta *m)
{
	struct tapmig_offload o = {};
	struct sk_buff *skb;
	u32 thoff;

	if (!m->has_vnet)
		return true;
	skb = tapmig_pkt_skb(p);
	return !tapmig_offload_csum(skb, &m->vnet, &o, NULL) &&
	       !tapmig_offload_gso(skb, &m->vnet, &o, &thoff, NULL);
}

/**
 * tapmig_pkt_make_plain() - leave nothing to offload in a packet
 * @p: the packet, an skb
 *
 * What has to be segmented is said in memory that clones share: a bridge that
 * floods, or a capture on this host, has others of them.
 *
 * Return: 0 or -ENOMEM.
 */
int tapmig_pkt_make_plain(struct tapmig_pkt *p)
{
	struct sk_buff *skb = tapmig_pkt_skb(p);
	int start, end = 0;

	if (skb->ip_summed == CHECKSUM_PARTIAL) {
		start = skb_checksum_start_offset(skb);
		if (start >= 0)
			end = start + skb->csum_offset + sizeof(__sum16);
		if (end > skb->len)
			end = 0;
	}
	if (skb_unclone(skb, GFP_KERNEL) || !pskb_may_pull(skb, end))
		return -ENOMEM;
	skb_gso_reset(skb);
	if (end && skb_checksum_help(skb) == -ENOMEM)
		return -ENOMEM;
	skb->ip_summed = CHECKSUM_NONE;
	return 0;
}

/**
 * tapmig_skb_set_offload() - apply a virtio-net header to an imported frame
 * @skb: the frame, with its link header set
 * @h: the header
 * @segment: set if this kernel cannot express it: to be segmented at once
 * @extack: set when refused
 *
 * The header has to be convertible both ways, since readers of the queue
 * convert it back, and macvtap takes it for a bug if that fails.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_skb_set_offload(struct sk_buff *skb,
				  const struct virtio_net_hdr *h,
				  bool *segment,
				  struct netlink_ext_ack *extack)
{
	struct virtio_net_hdr plain = *h;
	struct tapmig_offload o = {};
	struct skb_shared_info *sinfo;
	struct virtio_net_hdr back;
	u32 thoff = 0;
	u32 needed;
	int err;

	err = tapmig_offload_csum(skb, h, &o, extack);
	if (err)
		return err;
	err = tapmig_offload_gso(skb, h, &o, &thoff, extack);
	if (err)
		return err;

	/* So that a failure below is none of memory. */
	needed = o.csum ? o.csum_start + o.csum_offset + sizeof(__sum16) : 0;
	if (o.type != VIRTIO_NET_HDR_GSO_NONE)
		needed = max_t(u32, needed, thoff +
			       (o.type == VIRTIO_NET_HDR_GSO_TCPV4 ||
				o.type == VIRTIO_NET_HDR_GSO_TCPV6 ?
				sizeof(struct tcphdr) : sizeof(struct udphdr)));
	if (!pskb_may_pull(skb, min(needed, skb->len))) {
		NL_SET_ERR_MSG(extack, "no memory for the headers of a frame");
		return -ENOMEM;
	}

	if (o.type == VIRTIO_NET_HDR_GSO_NONE)
		plain.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	if (o.valid)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (o.type != VIRTIO_NET_HDR_GSO_UDP &&
	    !virtio_net_hdr_to_skb(skb, &plain, true) &&
	    !virtio_net_hdr_from_skb(skb, &back, true, true, 0)) {
		if (skb_is_gso(skb))
			skb_shinfo(skb)->gso_segs = o.segs;
		return 0;
	}

	if (o.type != VIRTIO_NET_HDR_GSO_UDP &&
	    o.type != VIRTIO_NET_HDR_GSO_UDP_L4) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: refused by this kernel");
		return -EINVAL;
	}

	/* This kernel can segment it, but has no words for it. */
	plain.gso_type = VIRTIO_NET_HDR_GSO_NONE;
	if (virtio_net_hdr_to_skb(skb, &plain, true)) {
		NL_SET_ERR_MSG(extack,
			       "virtio-net header: refused by this kernel");
		return -EINVAL;
	}
	skb_set_transport_header(skb, thoff);
	sinfo = skb_shinfo(skb);
	sinfo->gso_size = o.size;
	sinfo->gso_type = SKB_GSO_DODGY |
			  (o.type == VIRTIO_NET_HDR_GSO_UDP ? SKB_GSO_UDP :
							      SKB_GSO_UDP_L4);
	sinfo->gso_segs = o.segs;
	*segment = true;
	return 0;
}

/**
 * tapmig_skb_import() - make an imported frame look like one in a ring
 * @skb: the frame
 * @link_type: enum tapmig_link_type
 * @m: what came with it
 * @segment: set if it has to be segmented
 * @extack: set when refused
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_skb_import(struct sk_buff *skb, u32 link_type,
			     const struct tapmig_meta *m, bool *segment,
			     struct netlink_ext_ack *extack)
{
	__be16 proto;
	int err;

	err = tapmig_skb_set_link(skb, link_type, m, extack);
	if (err)
		return err;

	if (m->has_vnet) {
		/* Offloads are of what the frame says, not its sender. */
		proto = skb->protocol;
		if (link_type == TAPMIG_LINK_TYPE_ETHERNET)
			skb->protocol = eth_hdr(skb)->h_proto;
		if (m->vnet.gso_type != VIRTIO_NET_HDR_GSO_NONE &&
		    skb->protocol != proto) {
			NL_SET_ERR_MSG(extack,
				       "protocol of a GSO frame is not that of its Ethernet header");
			return -EINVAL;
		}
		err = tapmig_skb_set_offload(skb, &m->vnet, segment, extack);
		if (err)
			return err;
		skb->protocol = proto;
	}
	skb_probe_transport_header(skb);
	if (m->has_hash)
		skb_set_hash(skb, m->hash, PKT_HASH_TYPE_L4);
	return 0;
}

/**
 * tapmig_skb_finish() - make packets of an imported frame
 * @skb: the frame, from tapmig_skb_alloc(), all of it written; consumed
 * @link_type: enum tapmig_link_type of the hold
 * @m: what came with it; nothing of it is trusted
 * @out: list to which the packets are added
 * @segmented: set if there are several, as this kernel cannot express its GSO
 *	type, else cleared
 * @extack: set when refused
 *
 * Return: 0; -EINVAL: refused; -ENOMEM.
 */
int tapmig_skb_finish(struct sk_buff *skb, u32 link_type,
		      const struct tapmig_meta *m, struct tapmig_list *out,
		      bool *segmented, struct netlink_ext_ack *extack)
{
	bool segment = false;
	int err;

	*segmented = false;
	skb->dev = tapmig_borrow_dev();
	err = tapmig_skb_import(skb, link_type, m, &segment, extack);
	skb->dev = NULL;
	if (err)
		goto free_skb;

	if (!segment) {
		tapmig_list_add_tail(out, tapmig_pkt_init(skb));
		return 0;
	}

	tapmig_pkt_init(skb);
	err = tapmig_skb_segment(skb, out);
	if (err) {
		NL_SET_ERR_MSG(extack,
			       "GSO frame that this kernel neither knows nor can segment");
		if (err != -ENOMEM)
			err = -EINVAL;
		goto free_skb;
	}
	consume_skb(skb);
	*segmented = true;
	return 0;

free_skb:
	/* No loss: the sender is refused, and has it. */
	kfree_skb(skb);
	return err;
}

/**
 * tapmig_gso_prepare() - see to it that an skb can be segmented
 * @skb: the skb
 *
 * The segmentation handlers write into headers that an skb may share with
 * its clones, and warn of checksums that nobody asked them to complete.
 *
 * Return: 0 or -errno.
 */
static int tapmig_gso_prepare(struct sk_buff *skb)
{
	int nhoff = skb_network_offset(skb);

	if (!tapmig_segments_bytes(skb, skb_shinfo(skb)->gso_size))
		return -E2BIG;
	/* As a link header it would be nonsense to them. */
	if (nhoff < 0 || (nhoff && nhoff < ETH_HLEN) ||
	    nhoff + sizeof(struct iphdr) > skb->len)
		return -EINVAL;
	if (!pskb_may_pull(skb, min_t(u32, skb->len,
				      max_t(u32, TAPMIG_LINK_HEADERS,
					    nhoff + sizeof(struct iphdr)))))
		return -ENOMEM;
	if (skb_cow_head(skb, 0))
		return -ENOMEM;
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	return 0;
}

/**
 * tapmig_skb_segment() - segment a GSO packet in software
 * @skb: the packet, of a hold; no longer to be delivered on success
 * @out: list to which the segments are added, with their checksums complete
 *
 * Return: 0, or -errno: nothing was added.
 */
int tapmig_skb_segment(struct sk_buff *skb, struct tapmig_list *out)
{
	struct tapmig_pkt saved = *tapmig_pkt_of_skb(skb);
	struct sk_buff *segs, *seg, *next;
	struct tapmig_list list = {};
	u8 ip_summed = skb->ip_summed;
	struct tapmig_pkt *p;
	unsigned int n = 0;
	int err;

	if (!skb_is_gso(skb) || saved.subs)
		return -EINVAL;
	err = tapmig_gso_prepare(skb);
	if (err) {
		skb->ip_summed = ip_summed;
		return err;
	}

	skb->dev = tapmig_borrow_dev();
	segs = skb_gso_segment(skb, 0);
	skb->dev = NULL;
	*tapmig_pkt_of_skb(skb) = saved;
	skb->ip_summed = ip_summed;
	if (IS_ERR(segs))
		return PTR_ERR(segs);
	/* Without any feature there is nothing that needs no segmentation. */
	if (!segs)
		return -EINVAL;

	skb_list_walk_safe(segs, seg, next) {
		if (++n > TAPMIG_MAX_SEGMENTS) {
			err = -E2BIG;
			goto free_segs;
		}
		if (seg->ip_summed == CHECKSUM_PARTIAL) {
			err = skb_checksum_help(seg);
			if (err)
				goto free_segs;
		}
		/* A fragment says nothing of the checksum it has a part of. */
		seg->ip_summed = CHECKSUM_NONE;
	}

	skb_list_walk_safe(segs, seg, next) {
		skb_mark_not_on_list(seg);
		p = tapmig_pkt_init(seg);
		p->seq = saved.seq;
		p->time = saved.time;
		p->queue = saved.queue;
		p->sub = list.count;
		p->subs = n;
		p->flags |= saved.flags & TAPMIG_PKT_EXPORTED;
		tapmig_list_add_tail(&list, p);
		tapmig_pkt_scrub(p);
	}
	tapmig_list_splice(out, &list);
	return 0;

free_segs:
	/* No loss: what they were made of is still there. */
	kfree_skb_list(segs);
	return err;
}
