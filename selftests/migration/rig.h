/* SPDX-License-Identifier: GPL-2.0-only */
/* What the client and the guest know of each other. */
#ifndef RIG_H
#define RIG_H

#include <stddef.h>
#include <stdint.h>

#include <linux/sock_diag.h>
#include <sys/socket.h>

/* Network cards of the guest, each with a network of its own. */
#define NETS		2

/* Flows to the guest's own address, one to all, one to a group. */
#define UNICAST_FLOWS	32
#define BROADCAST_FLOW	UNICAST_FLOWS
#define MULTICAST_FLOW	(UNICAST_FLOWS + 1)
#define FLOWS		(UNICAST_FLOWS + 2)
#define MAX_SEQ		32768
/* Of sockets for frames: nobody may be so slow that it overflows. */
#define RECEIVE_BUFFER	(16 << 20)

#define PROBE_PORT	7007
#define CONTROL_PORT	7008
#define STREAM_PORT	7009
#define ECHO_PORT	7010
#define GROUP_ADDR	"233.252.0.1"

#define PROBE_MAGIC	0x7a9d3e02
#define CONTROL_MAGIC	0x7a9d3e03

#define PROBE_ECHO	1	/* send it back */
#define PROBE_END	2	/* the flow is over; not counted */

/**
 * struct probe - a numbered frame, in network byte order
 * @magic: PROBE_MAGIC
 * @run: the run that it belongs to
 * @net: network
 * @flow: number of the flow
 * @seq: number in its flow, from 0
 * @flags: PROBE_*
 * @echo_port: where an echo goes
 * @total: frames of all flows that were sent before
 * @pad: makes it a frame of some size. The guest's driver copies frames of up
 *	to 128 bytes, headers included, and keeps the buffers of larger ones: of
 *	these few can wait in a small guest.
 */
struct probe {
	uint32_t magic;
	uint32_t run;
	uint32_t net;
	uint32_t flow;
	uint32_t seq;
	uint32_t flags;
	uint32_t echo_port;
	uint32_t total;
	uint8_t pad[46];
};

enum { CONTROL_BEGIN = 1, CONTROL_REPORT };

/**
 * struct control - a request to the guest, and the head of its answer
 * @magic: CONTROL_MAGIC
 * @what: CONTROL_BEGIN: forget all and count this run from now on;
 *	CONTROL_REPORT: tell the counts
 * @run: number of the run; in the answer that which is counted
 * @net: network
 */
struct control {
	uint32_t magic;
	uint32_t what;
	uint32_t run;
	uint32_t net;
};

/**
 * struct counts - what the guest counted of one flow, in network byte order
 * @received: numbers that arrived
 * @duplicated: arrivals of a number that had arrived
 * @reordered: first arrivals with a number below the highest so far
 * @ended: the end of the flow has arrived
 * @latest: the highest of the numbers that are counted in @reordered
 * @missing: the lowest number that has not arrived
 */
struct counts {
	uint32_t received;
	uint32_t duplicated;
	uint32_t reordered;
	uint32_t ended;
	uint32_t latest;
	uint32_t missing;
};

/**
 * struct report - the answer, in network byte order
 * @head: as of the request
 * @dropped: what the guest's own sockets and cards have dropped in this run, of
 *	all networks: nothing can be said of loss if there is any
 * @queued: the most bytes of memory that probes waited in
 * @damaged: frames that came to the probes' port and are none
 * @counted: frames of all flows, by a count of its own: if it is more than
 *	those of the flows, the guest has forgotten what it had counted, as a
 *	part of its memory was not moved
 * @stale: frames of another run: of old ones nothing is on its way any more,
 *	but memory of the guest that was not moved may have what it had before
 * @flows: what was counted
 */
struct report {
	struct control head;
	uint32_t dropped;
	uint32_t queued;
	uint32_t damaged;
	uint32_t counted;
	uint32_t stale;
	struct counts flows[FLOWS];
};

/*
 * The guest keeps the digest of a stream twice, in pages of their own, and says
 * both: they differ if one of these pages was not moved.
 */
#define DIGESTS		2

/**
 * struct digest - what the guest says at the end of a stream
 * @bytes: how many there were, in network byte order
 * @sum: fnv() of them, in network byte order
 */
struct digest {
	uint64_t bytes;
	uint64_t sum;
};

#define FNV_START	0xcbf29ce484222325ULL

/* FNV-1a: tells damaged, missing and exchanged bytes. */
static inline uint64_t fnv(uint64_t sum, const uint8_t *p, size_t len)
{
	for (; len; p++, len--)
		sum = (sum ^ *p) * 0x100000001b3ULL;
	return sum;
}

/* What SO_MEMINFO says of a socket; 0 where there is none. */
static inline uint32_t socket_meminfo(int fd, int what)
{
	uint32_t info[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(info);

	getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len);
	return info[what];
}

#endif /* RIG_H */
