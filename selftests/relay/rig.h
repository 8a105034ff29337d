/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Traffic with numbers: a sender, a stand-in for a virtual machine that notes
 * what its guest gets, and the count of what became of it all.
 */
#ifndef TAPMIG_RELAY_RIG_H
#define TAPMIG_RELAY_RIG_H

#include "../lib.h"

#define CHUNK_MAGIC	0x7a9d3e02
/* Of the payload of a segment of a large packet. */
#define SEGMENT		1400
#define CHUNK_END	(1U << 31)

/**
 * struct chunk - a payload consists of these; segmentation does not cut them
 * @magic: CHUNK_MAGIC
 * @flow: number of the flow
 * @seq: number of the chunk in its flow; that of the last with CHUNK_END
 * @len: bytes of the chunk, this header included
 * @sum: of @flow, @seq and @len: a chunk that was made of two is found
 *
 * All in network byte order. The rest of a chunk is filled by fill().
 */
struct chunk {
	__u32 magic;
	__u32 flow;
	__u32 seq;
	__u32 len;
	__u32 sum;
};

#define chunk_sum(flow, seq, len)	((flow) * 31 + (seq) * 7 + (len))

/**
 * struct record - a chunk that the guest has got
 * @flow: number of the flow
 * @seq: number of the chunk in it
 */
struct record {
	__u32 flow;
	__u32 seq;
};

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

#define LOG_RECORDS	(1U << 21)

/**
 * struct log - what the guest has got, in a file that outlives its process
 * @records: how many
 * @damaged: frames that do not check out
 * @record: in the order of arrival
 * @stopped: the guest was stopped, once
 */
struct log {
	__u32 records;
	__u32 damaged;
	struct record record[LOG_RECORDS];
	__u32 stopped;
};

static const __u8 guest_mac[ETH_ALEN] = { 0x02, 0, 0, 0, 0, 0x02 };
static const __u8 client_mac[ETH_ALEN] = { 0x02, 0, 0, 0, 0, 0x01 };

#define fill(seq, at)	((__u8)((seq) * 5 + (at)))

void answer(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Words of the next command, 0 at the end of standard input. */
int command(char **words, int max);
__u64 number(const char *word);

int send_main(int argc, char **argv);
int vmm_main(int argc, char **argv);
int count_main(int argc, char **argv);

#endif
