/* SPDX-License-Identifier: GPL-2.0-only */
/* One held packet, as files, netlink and the tool's commands know it. */
#ifndef TAPMIG_PACKET_H
#define TAPMIG_PACKET_H

#include <stdint.h>

#define VNET_HDR_LEN	10

#define PACKET_VNET_HDR	(1U << 0)
#define PACKET_VLAN	(1U << 1)
#define PACKET_PROTOCOL	(1U << 2)
#define PACKET_HASH	(1U << 3)
#define PACKET_SEGMENT	(1U << 4)

/**
 * struct packet - a frame and its metadata
 * @seq: number in its hold
 * @time_ns: arrival, nanoseconds of CLOCK_REALTIME, 0 if not known
 * @has: PACKET_*: which of the optional members are set
 * @len: length of the frame
 * @interface: which interface of its section
 * @hash: flow hash
 * @dropped_before: packets dropped between the previous one and this
 * @sub: index of the segment
 * @subs: number of segments
 * @queue: queue of arrival
 * @vlan_tci: VLAN tag outside of the frame
 * @vlan_proto: protocol of that tag, host byte order
 * @protocol: Ethernet protocol number, host byte order
 * @vnet_hdr: virtio_net_hdr, little endian
 * @data: the frame; belongs to whoever filled this in
 */
struct packet {
	uint64_t seq;
	uint64_t time_ns;
	uint32_t has;
	uint32_t len;
	uint32_t interface;
	uint32_t hash;
	uint32_t dropped_before;
	uint16_t sub;
	uint16_t subs;
	uint16_t queue;
	uint16_t vlan_tci;
	uint16_t vlan_proto;
	uint16_t protocol;
	uint8_t vnet_hdr[VNET_HDR_LEN];
	const uint8_t *data;
};

#endif /* TAPMIG_PACKET_H */
