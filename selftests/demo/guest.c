// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest: a network card, and a program that counts what comes from the
 * client. A frame is lost if its number never arrived. Each arrival is one of:
 * delivered (the first of its number), reordered too if below the highest
 * number of its flow, or duplicated (any further one).
 */
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>

#include "demo.h"

#define VNET_LEN	sizeof(struct virtio_net_hdr_mrg_rxbuf)

/**
 * guest_init - a guest before the first frame
 * @g: the guest
 * @rounds: frames to expect of each flow
 */
void guest_init(struct guest *g, __u32 rounds)
{
	int i;

	memset(g, 0, sizeof(*g));
	g->rounds = rounds;
	for (i = 0; i < FLOWS; i++) {
		g->highest[i] = -1;
		g->seen[i] = calloc(rounds, sizeof(*g->seen[i]));
		check(g->seen[i], "guest memory");
	}
}

static __u32 sum16(const __u8 *p, size_t len, __u32 sum)
{
	for (; len > 1; p += 2, len -= 2)
		sum += p[0] << 8 | p[1];
	if (len)
		sum += p[0] << 8;
	return sum;
}

static __u16 fold(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* As the network card said it would, then as the network stack would. */
static bool checksum_ok(__u8 *frame, size_t len,
			const struct virtio_net_hdr *vnet, size_t udp_at)
{
	struct iphdr *ip = (void *)(frame + ETH_HLEN);
	size_t start = vnet->csum_start, at = start + vnet->csum_offset;
	__u16 sum;

	if (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (start >= len || at + sizeof(sum) > len)
			return false;
		sum = htons(~fold(sum16(frame + start, len - start, 0)));
		memcpy(frame + at, &sum, sizeof(sum));
	}
	if (fold(sum16((void *)ip, sizeof(*ip), 0)) != 0xffff)
		return false;
	return fold(sum16((void *)&ip->saddr, 8, IPPROTO_UDP + len - udp_at) +
		    sum16(frame + udp_at, len - udp_at, 0)) == 0xffff;
}

/* The probe in a frame, or NULL if it is none or does not check out. */
static struct probe *find_probe(struct guest *g, __u8 *buf, size_t len)
{
	const size_t udp_at = ETH_HLEN + sizeof(struct iphdr);
	const size_t probe_at = udp_at + sizeof(struct udphdr);
	struct virtio_net_hdr *vnet = (void *)buf;
	__u8 *frame = buf + VNET_LEN;
	struct ethhdr *eth = (void *)frame;
	struct iphdr *ip = (void *)(frame + ETH_HLEN);
	struct udphdr *udp = (void *)(frame + udp_at);
	struct probe *p = (void *)(frame + probe_at);

	if (len < VNET_LEN + probe_at + sizeof(*p))
		return NULL;
	len -= VNET_LEN;
	if (eth->h_proto != htons(ETH_P_IP) || ip->protocol != IPPROTO_UDP ||
	    udp->dest != htons(UDP_PORT) || p->magic != htonl(PROBE_MAGIC))
		return NULL;
	if (vnet->gso_type != VIRTIO_NET_HDR_GSO_NONE || ip->ihl != 5 ||
	    len != probe_at + sizeof(*p) ||
	    !checksum_ok(frame, len, vnet, udp_at) ||
	    ntohl(p->flow) >= FLOWS || ntohl(p->seq) > g->rounds) {
		g->damaged++;
		return NULL;
	}
	return p;
}

/**
 * guest_receive - the network card of the guest gets a frame
 * @g: the guest
 * @buf: the frame, after its virtio-net header
 * @len: length of both
 */
void guest_receive(struct guest *g, __u8 *buf, size_t len)
{
	struct probe *p = find_probe(g, buf, len);
	__u32 flow, seq;
	__u64 now;

	if (!p)
		return;
	flow = ntohl(p->flow);
	seq = ntohl(p->seq);
	if (p->end) {
		g->ended |= 1U << flow;
		return;
	}
	if (seq >= g->rounds) {
		g->damaged++;
		return;
	}
	now = now_ns();
	if (g->last_ns && now - g->last_ns > g->longest_gap_ns)
		g->longest_gap_ns = now - g->last_ns;
	g->last_ns = now;
	if (g->seen[flow][seq]) {
		g->duplicated++;
		return;
	}
	g->seen[flow][seq] = true;
	g->delivered++;
	if (seq < g->highest[flow])
		g->reordered++;
	else
		g->highest[flow] = seq;
}

/**
 * guest_all_ended - has the guest got the end of all flows
 * @g: the guest
 *
 * Return: true if so.
 */
bool guest_all_ended(const struct guest *g)
{
	return g->ended == (1U << FLOWS) - 1;
}
