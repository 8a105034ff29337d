/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets as netlink has them: out of a packet-get, into a packet-new. */
#ifndef TAPMIG_TRANSFER_H
#define TAPMIG_TRANSFER_H

#include "packet.h"
#include "tool.h"

/**
 * struct packet_reader - puts the chunks of an export together
 * @pkt: the packet; its data is @frame
 * @have: bytes of it so far
 * @partial: there is such a packet
 * @vanished: packets that were committed by somebody else while their chunks
 *	came, and are left out
 * @frame: room for the longest frame
 */
struct packet_reader {
	struct packet pkt;
	uint32_t have;
	bool partial;
	uint64_t vanished;
	uint8_t frame[TAPMIG_FRAME_MAX];
};

/*
 * One attribute "packet". 1: @pkt is whole, until the next call; 0: it is not;
 * -EBADMSG: a message was printed.
 */
int packet_chunk(struct packet_reader *r, const struct nlattr *nest);

/* Most packets of a batch. */
#define PACKET_BATCH	1024

/**
 * struct packet_batch - packets on their way into a hold
 * @hold_id: which hold
 * @skip_refused: a packet that the kernel does not take is counted, and left
 *	out; otherwise it is an error
 * @packets: packets given to the kernel
 * @bytes: their bytes
 * @last: number of the last that was given to the kernel, or left out, with
 *	all of its segments
 * @accepted: new ones
 * @resent: known ones
 * @late: ones that came after the thaw
 * @refused: ones left out
 * @why: what the kernel said to the last of them
 *
 * All other members are private.
 */
struct packet_batch {
	uint32_t hold_id;
	bool skip_refused;
	uint64_t packets;
	uint64_t bytes;
	uint64_t last;
	uint64_t accepted;
	uint64_t resent;
	uint64_t late;
	uint64_t refused;
	char why[NL_ERROR_SIZE];

	char *msg;
	struct nlmsghdr *nlh;
	unsigned int count;
	uint32_t starts[PACKET_BATCH];
	uint64_t done[PACKET_BATCH];
	uint32_t lens[PACKET_BATCH];
};

/* Results begin at 0. -ENOMEM: a message was printed. */
int packet_batch_init(struct packet_batch *b, uint32_t hold_id);
void packet_batch_free(struct packet_batch *b);
/* Let the socket take the longest frame in one message, as far as we may. */
void packet_batch_socket(struct nl *nl);
/*
 * 0, or what the kernel answered: -ENOBUFS, quietly: no room, all after @last
 * has been left out; other errors: a message was printed.
 */
int packet_batch_add(struct packet_batch *b, struct nl *nl,
		     const struct packet *pkt);
int packet_batch_flush(struct packet_batch *b, struct nl *nl);

#endif /* TAPMIG_TRANSFER_H */
