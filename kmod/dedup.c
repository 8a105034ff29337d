// SPDX-License-Identifier: GPL-2.0-only
/* Is a captured frame a copy of an imported one.
 *
 * The network floods what goes to a group, and what goes to an address of
 * which it does not know where it is: both hosts get it. A frame to a group is
 * a copy whenever it equals another. A unicast is, unless all are compared,
 * only if both hosts got it at the same time: a switch that has just learned
 * where the guest is sends the next of two equal frames to the other host.
 *
 * Two copies of a frame can differ in what was offloaded: a VLAN tag may be in
 * the frame or beside it, a checksum complete or partial. They are compared in
 * a canonical form, with the tag in the frame and the checksum complete.
 */

#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>
#include <linux/in.h>
#include <linux/ipv6.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/siphash.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <net/checksum.h>
#include <net/ipv6.h>

#include "hold.h"

/* Frames are read in pieces; two of them are on the stack in a comparison. */
#define TAPMIG_PIECE	128

/*
 * Copies of a unicast do not arrive further apart. For what hosts and networks
 * delay, and for the difference of two clocks as well as a peer knows it.
 */
#define TAPMIG_FLOOD_SKEW_NS	(20 * NSEC_PER_MSEC)

static siphash_key_t tapmig_dedup_key __ro_after_init;

/**
 * struct tapmig_canon - canonical form of a frame
 * @p: the packet
 * @len: its length in this form
 * @tag: VLAN tag that goes behind the addresses
 * @has_tag: there is one
 * @has_check: @check replaces two bytes of the frame
 * @check_at: where, in the frame as it is
 * @check: completed checksum
 */
struct tapmig_canon {
	const struct tapmig_pkt *p;
	u32 len;
	__be16 tag[2];
	bool has_tag;
	bool has_check;
	u32 check_at;
	__sum16 check;
};

/**
 * tapmig_canon_init() - begin to read a frame in canonical form
 * @c: the form
 * @p: the packet
 */
static void tapmig_canon_init(struct tapmig_canon *c,
			      const struct tapmig_pkt *p)
{
	struct sk_buff *skb;
	int start;

	*c = (struct tapmig_canon) {
		.p = p,
		.len = tapmig_pkt_len(p),
	};
	if (tapmig_pkt_is_xdp(p))
		return;

	skb = tapmig_pkt_skb(p);
	if (skb_vlan_tag_present(skb) && c->len >= 2 * ETH_ALEN) {
		c->tag[0] = skb->vlan_proto;
		c->tag[1] = htons(skb_vlan_tag_get(skb));
		c->has_tag = true;
		c->len += VLAN_HLEN;
	}
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return;
	start = skb_checksum_start_offset(skb);
	if (start < 0 || start + skb->csum_offset + sizeof(__sum16) > skb->len)
		return;
	c->has_check = true;
	c->check_at = start + skb->csum_offset;
	/* As skb_checksum_help() does it. */
	c->check = csum_fold(skb_checksum(skb, start, skb->len - start, 0)) ?:
		   CSUM_MANGLED_0;
}

/**
 * tapmig_canon_patch() - overwrite a part of a piece
 * @piece: bytes of something from @offset on
 * @offset: where the piece begins
 * @len: its length
 * @at: where to overwrite
 * @with: by what
 * @n: length of @with
 */
static void tapmig_canon_patch(u8 *piece, u32 offset, u32 len, u32 at,
			       const void *with, u32 n)
{
	u32 from = max(offset, at);
	u32 to = min(offset + len, at + n);

	if (from < to)
		memcpy(piece + (from - offset), with + (from - at), to - from);
}

/**
 * tapmig_canon_frame() - read a part of the frame, with its checksum
 * @c: the canonical form
 * @offset: where in the frame as it is
 * @to: where to copy to
 * @len: how many bytes
 */
static void tapmig_canon_frame(const struct tapmig_canon *c, u32 offset,
			       u8 *to, u32 len)
{
	if (tapmig_pkt_copy(c->p, offset, to, len))
		memset(to, 0, len);
	if (c->has_check)
		tapmig_canon_patch(to, offset, len, c->check_at, &c->check,
				   sizeof(c->check));
}

/**
 * tapmig_canon_read() - read a part of the canonical form
 * @c: the form
 * @offset: where to begin
 * @to: where to copy to, TAPMIG_PIECE bytes
 *
 * Return: how many bytes there were.
 */
static u32 tapmig_canon_read(const struct tapmig_canon *c, u32 offset, u8 *to)
{
	u32 len = min_t(u32, c->len - offset, TAPMIG_PIECE);
	u32 tag_at = 2 * ETH_ALEN;
	u32 head = 0;

	if (!c->has_tag) {
		tapmig_canon_frame(c, offset, to, len);
		return len;
	}
	/* Pieces begin at multiples of their size: the tag is in the first. */
	if (offset) {
		tapmig_canon_frame(c, offset - VLAN_HLEN, to, len);
		return len;
	}
	head = tag_at + VLAN_HLEN;
	tapmig_canon_frame(c, 0, to, tag_at);
	memcpy(to + tag_at, c->tag, VLAN_HLEN);
	tapmig_canon_frame(c, tag_at, to + head, len - head);
	return len;
}

/**
 * tapmig_canon_hash() - hash of a frame in canonical form
 * @c: the form
 *
 * Return: the hash.
 */
static u32 tapmig_canon_hash(const struct tapmig_canon *c)
{
	u8 piece[TAPMIG_PIECE] __aligned(SIPHASH_ALIGNMENT);
	u32 offset, n;
	u64 sum = 0;

	for (offset = 0; offset < c->len; offset += n) {
		n = tapmig_canon_read(c, offset, piece);
		sum = siphash_2u64(sum, siphash(piece, n, &tapmig_dedup_key),
				   &tapmig_dedup_key);
	}
	return sum;
}

/**
 * tapmig_canon_equal() - are two frames the same in canonical form
 * @a: a frame
 * @b: another
 *
 * Return: true if so.
 */
static bool tapmig_canon_equal(const struct tapmig_canon *a,
			       const struct tapmig_canon *b)
{
	u8 piece_a[TAPMIG_PIECE], piece_b[TAPMIG_PIECE];
	u32 offset, n;

	if (a->len != b->len)
		return false;
	for (offset = 0; offset < a->len; offset += n) {
		n = tapmig_canon_read(a, offset, piece_a);
		tapmig_canon_read(b, offset, piece_b);
		if (memcmp(piece_a, piece_b, n))
			return false;
	}
	return true;
}

/**
 * tapmig_dedup_group() - is a frame to a group address
 * @link_type: enum tapmig_link_type
 * @p: the packet
 *
 * Return: true if so.
 */
static bool tapmig_dedup_group(u32 link_type, const struct tapmig_pkt *p)
{
	u8 addr[ETH_ALEN];
	struct ipv6hdr v6;
	struct iphdr v4;
	u8 version;

	if (link_type == TAPMIG_LINK_TYPE_ETHERNET)
		return !tapmig_pkt_copy(p, 0, addr, sizeof(addr)) &&
		       is_multicast_ether_addr(addr);

	if (tapmig_pkt_copy(p, 0, &version, sizeof(version)))
		return false;
	if (version >> 4 == 4)
		return !tapmig_pkt_copy(p, 0, &v4, sizeof(v4)) &&
		       (ipv4_is_multicast(v4.daddr) ||
			ipv4_is_lbcast(v4.daddr));
	if (version >> 4 == 6)
		return !tapmig_pkt_copy(p, 0, &v6, sizeof(v6)) &&
		       ipv6_addr_is_multicast(&v6.daddr);
	return false;
}

/**
 * tapmig_dedup_applies() - can a packet be a copy of another
 * @dedup: enum tapmig_dedup
 * @link_type: enum tapmig_link_type
 * @p: the packet
 *
 * Return: true if so.
 */
bool tapmig_dedup_applies(u32 dedup, u32 link_type, const struct tapmig_pkt *p)
{
	switch (dedup) {
	case TAPMIG_DEDUP_MULTICAST:
		return tapmig_dedup_group(link_type, p);
	case TAPMIG_DEDUP_ALL:
		return true;
	default:
		return false;
	}
}

/**
 * tapmig_dedup_unicast() - can a packet be a copy of another that arrived at
 *	the same time, though it is not to a group
 * @dedup: enum tapmig_dedup
 * @link_type: enum tapmig_link_type
 * @p: the packet
 *
 * Return: true if so.
 */
bool tapmig_dedup_unicast(u32 dedup, u32 link_type, const struct tapmig_pkt *p)
{
	/* Only switches flood, and they go by the address. */
	return dedup == TAPMIG_DEDUP_MULTICAST &&
	       link_type == TAPMIG_LINK_TYPE_ETHERNET &&
	       tapmig_pkt_len(p) >= ETH_HLEN &&
	       !tapmig_dedup_group(link_type, p);
}

/**
 * tapmig_dedup_unicast_since() - since when an imported unicast can have a
 *	copy among the captured packets
 * @h: the hold
 *
 * Before the network learns where the guest is there are none to look at,
 * unless it floods.
 *
 * Return: the time, CLOCK_MONOTONIC in nanoseconds.
 */
s64 tapmig_dedup_unicast_since(struct tapmig_hold *h)
{
	const struct tapmig_pkt *p;

	lockdep_assert_held(&h->lock);

	for (p = h->captured.head; p; p = p->next) {
		if (tapmig_dedup_unicast(h->dedup, h->link_type, p))
			return p->time - TAPMIG_FLOOD_SKEW_NS;
		cond_resched();
	}
	return ktime_get_ns() - TAPMIG_FLOOD_SKEW_NS;
}

/**
 * tapmig_dedup_hash() - set the hash of a packet
 * @p: the packet
 */
void tapmig_dedup_hash(struct tapmig_pkt *p)
{
	struct tapmig_canon c;

	tapmig_canon_init(&c, p);
	p->hash = tapmig_canon_hash(&c);
	p->flags |= TAPMIG_PKT_HASHED;
}

#define TAPMIG_DEDUP_END	U32_MAX

/**
 * struct tapmig_dedup_node - an imported packet of which a copy is looked for
 * @p: the packet
 * @hash: its hash
 * @next: index of the next node of the bucket, or TAPMIG_DEDUP_END
 */
struct tapmig_dedup_node {
	struct tapmig_pkt *p;
	u32 hash;
	u32 next;
};

/**
 * struct tapmig_dedup_table - imported packets by hash
 * @size: number of nodes that there is memory for
 * @used: number of nodes in use, those taken out included
 * @mask: number of buckets minus one
 * @unicast_until: later packets are copies of no unicast in it
 * @buckets: index of the first node, or TAPMIG_DEDUP_END
 * @nodes: the nodes
 */
struct tapmig_dedup_table {
	u32 size;
	u32 used;
	u32 mask;
	s64 unicast_until;
	u32 *buckets;
	struct tapmig_dedup_node *nodes;
};

/**
 * tapmig_dedup_free() - free a table
 * @t: the table, or NULL
 */
void tapmig_dedup_free(struct tapmig_dedup_table *t)
{
	if (!t)
		return;
	kvfree(t->nodes);
	kvfree(t->buckets);
	kfree(t);
}

/**
 * tapmig_dedup_alloc() - make a table
 * @imports: how many packets it has to have room for
 *
 * Return: the table, or NULL: no memory.
 */
struct tapmig_dedup_table *tapmig_dedup_alloc(u64 imports)
{
	struct tapmig_dedup_table *t;
	u32 buckets;

	if (imports >= TAPMIG_DEDUP_END / 2)
		return NULL;
	t = kzalloc_obj(*t, GFP_KERNEL);
	if (!t)
		return NULL;
	t->size = max_t(u32, imports, 1);
	buckets = roundup_pow_of_two(t->size);
	t->mask = buckets - 1;
	t->unicast_until = S64_MIN;
	t->nodes = kvmalloc_objs(*t->nodes, t->size, GFP_KERNEL);
	t->buckets = kvmalloc_objs(*t->buckets, buckets, GFP_KERNEL);
	if (!t->nodes || !t->buckets)
		goto free_table;
	/* TAPMIG_DEDUP_END in all of them */
	memset(t->buckets, 0xff, buckets * sizeof(*t->buckets));
	return t;

free_table:
	tapmig_dedup_free(t);
	return NULL;
}

/**
 * tapmig_dedup_add() - add an imported packet
 * @t: a table with room for it
 * @p: the packet; to stay until the table is freed
 */
void tapmig_dedup_add(struct tapmig_dedup_table *t, struct tapmig_pkt *p)
{
	struct tapmig_dedup_node *node;
	struct tapmig_canon c;

	/* Then its copies would be delivered: not nice, but no loss. */
	if (t->used == t->size)
		return;
	if (p->flags & TAPMIG_PKT_UNICAST)
		t->unicast_until = max(t->unicast_until,
				       p->time + TAPMIG_FLOOD_SKEW_NS);
	node = &t->nodes[t->used++];
	node->p = p;
	if (p->flags & TAPMIG_PKT_HASHED) {
		node->hash = p->hash;
	} else {
		tapmig_canon_init(&c, p);
		node->hash = tapmig_canon_hash(&c);
	}
}

/**
 * tapmig_dedup_index() - all imports are in the table: make it ready for use
 * @t: the table
 *
 * Equal packets are found in the order in which they were added.
 */
void tapmig_dedup_index(struct tapmig_dedup_table *t)
{
	u32 i = t->used, *bucket;

	while (i--) {
		bucket = &t->buckets[t->nodes[i].hash & t->mask];
		t->nodes[i].next = *bucket;
		*bucket = i;
		cond_resched();
	}
}

/**
 * tapmig_dedup_looks() - can a captured packet be a copy of one in a table
 * @t: the table
 * @h: the hold of the packet
 * @p: the packet
 *
 * Return: true if so.
 */
bool tapmig_dedup_looks(const struct tapmig_dedup_table *t,
			const struct tapmig_hold *h, const struct tapmig_pkt *p)
{
	if (tapmig_dedup_applies(h->dedup, h->link_type, p))
		return true;
	return p->time <= t->unicast_until &&
	       tapmig_dedup_unicast(h->dedup, h->link_type, p);
}

/**
 * tapmig_dedup_take() - look for an equal imported packet, and take it out
 * @t: the table
 * @p: a captured packet
 *
 * Each imported packet cancels one captured copy only: identical frames sent
 * twice on purpose arrive twice.
 *
 * Return: true if there was one: @p is a copy.
 */
bool tapmig_dedup_take(struct tapmig_dedup_table *t, const struct tapmig_pkt *p)
{
	struct tapmig_canon c, other;
	struct tapmig_dedup_node *node;
	u32 hash = p->hash;
	u32 *pos;

	tapmig_canon_init(&c, p);
	if (!(p->flags & TAPMIG_PKT_HASHED))
		hash = tapmig_canon_hash(&c);

	pos = &t->buckets[hash & t->mask];
	while (*pos != TAPMIG_DEDUP_END) {
		node = &t->nodes[*pos];
		if (node->hash != hash) {
			pos = &node->next;
			continue;
		}
		if (node->p->flags & TAPMIG_PKT_UNICAST) {
			/* Those that follow are later still. */
			if (node->p->time - p->time > TAPMIG_FLOOD_SKEW_NS)
				return false;
			/* Too early for all that is still to be looked at. */
			if (p->time - node->p->time > TAPMIG_FLOOD_SKEW_NS) {
				*pos = node->next;
				continue;
			}
		}
		tapmig_canon_init(&other, node->p);
		if (tapmig_canon_equal(&c, &other)) {
			node->p->flags |= TAPMIG_PKT_COPIED;
			*pos = node->next;
			return true;
		}
		pos = &node->next;
	}
	return false;
}

/**
 * tapmig_dedup_flow() - of which flow a unicast is
 * @h: the hold, which has a device
 * @p: the packet, imported: an skb
 * @flow: where to put it
 *
 * Addresses alone would not do: packets of one router can come by several
 * switches, of which each knows something else.
 */
static void tapmig_dedup_flow(struct tapmig_hold *h,
			      const struct tapmig_pkt *p,
			      struct tapmig_flow *flow)
{
	struct sk_buff *skb = tapmig_pkt_skb(p);
	u8 piece[TAPMIG_PIECE];
	struct tapmig_canon c;
	__be16 tag[2];

	*flow = (struct tapmig_flow) {};
	tapmig_canon_init(&c, p);
	if (tapmig_canon_read(&c, 0, piece) < sizeof(flow->addrs) + VLAN_HLEN)
		return;
	memcpy(flow->addrs, piece, sizeof(flow->addrs));
	memcpy(tag, piece + sizeof(flow->addrs), sizeof(tag));
	if (eth_type_vlan(tag[0]))
		flow->vlan = ntohs(tag[1]) & VLAN_VID_MASK;
	/* The dissector asks for the namespace. */
	skb->dev = h->dev;
	flow->hash = skb_get_hash_perturb(skb, &tapmig_dedup_key);
	skb->dev = NULL;
}

static bool tapmig_dedup_same_flow(const struct tapmig_flow *a,
				   const struct tapmig_flow *b)
{
	return a->hash == b->hash && a->vlan == b->vlan &&
	       !memcmp(a->addrs, b->addrs, sizeof(a->addrs));
}

/**
 * tapmig_dedup_learn() - note which flows the network floods
 * @h: the hold
 * @copies: those imports that were in the table, in their order
 *
 * Once it floods a flow, it does so until it learns where the guest is now:
 * from then on this host alone gets it. So what still reaches the source is a
 * copy. One without a copy after one with shows that it is not as simple as
 * that. Of the latest the copy may be yet to come. What is not noted, for want
 * of memory or as the place is taken, comes twice if it is late.
 */
void tapmig_dedup_learn(struct tapmig_hold *h, const struct tapmig_list *copies)
{
	s64 until = ktime_get_ns() - TAPMIG_FLOOD_SKEW_NS;
	struct tapmig_flow flow, *known;
	const struct tapmig_pkt *p;

	lockdep_assert_held(&h->lock);

	tapmig_dedup_forget(h);
	if (!h->dev)
		return;
	for (p = copies->head; p; p = p->next) {
		cond_resched();
		if (!(p->flags & TAPMIG_PKT_UNICAST))
			continue;
		if (!h->flows && (p->flags & TAPMIG_PKT_COPIED))
			h->flows = kvzalloc_objs(*h->flows, TAPMIG_FLOWS,
						 GFP_KERNEL);
		if (!h->flows)
			continue;
		tapmig_dedup_flow(h, p, &flow);
		known = &h->flows[flow.hash % TAPMIG_FLOWS];
		if (!known->seen) {
			if (!(p->flags & TAPMIG_PKT_COPIED))
				continue;
			*known = flow;
			known->seen = true;
			known->flooded = true;
		} else if (!(p->flags & TAPMIG_PKT_COPIED) && p->time < until &&
			   tapmig_dedup_same_flow(known, &flow)) {
			known->flooded = false;
		}
	}
}

/**
 * tapmig_dedup_forget() - what was learned is of no use any more
 * @h: the hold
 */
void tapmig_dedup_forget(struct tapmig_hold *h)
{
	kvfree(h->flows);
	h->flows = NULL;
}

/**
 * tapmig_dedup_late() - has this host a copy of its own of a late packet
 * @h: the hold
 * @p: the packet
 *
 * Return: true if so, as far as can be known.
 */
bool tapmig_dedup_late(struct tapmig_hold *h, const struct tapmig_pkt *p)
{
	struct tapmig_flow flow, *known;

	lockdep_assert_held(&h->lock);

	if (tapmig_dedup_applies(h->dedup, h->link_type, p))
		return true;
	if (!h->flows || !h->dev ||
	    !tapmig_dedup_unicast(h->dedup, h->link_type, p))
		return false;
	tapmig_dedup_flow(h, p, &flow);
	known = &h->flows[flow.hash % TAPMIG_FLOWS];
	return known->flooded && tapmig_dedup_same_flow(known, &flow);
}

/**
 * tapmig_dedup_init() - choose the key of the hash
 *
 * Return: 0.
 */
int __init tapmig_dedup_init(void)
{
	get_random_bytes(&tapmig_dedup_key, sizeof(tapmig_dedup_key));
	return 0;
}
