/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading captures (pcapng, classic pcap) as a stream, and writing pcapng.
 *
 * The reader does no input of its own: the caller puts bytes into
 * capture_space(), says how many with capture_added(), and takes what is
 * complete with capture_next(). So it works on files, pipes and non-blocking
 * sockets alike. It never holds more than one block, and no block that it
 * would have to hold may be longer than CAPTURE_BLOCK_MAX.
 */
#ifndef TAPMIG_CAPTURE_H
#define TAPMIG_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "packet.h"

#define CAPTURE_BLOCK_MAX	(1U << 20)
#define CAPTURE_INTERFACES_MAX	4096

#define LINKTYPE_ETHERNET	1
#define LINKTYPE_RAW		101
#define LINKTYPE_IPV4		228
#define LINKTYPE_IPV6		229

/* Block types from here on are for local use; ours begin at the same number. */
#define PCAPNG_LOCAL		0x80000000U

enum capture_status {
	CAPTURE_MORE,		/* feed more bytes, or the end of them */
	CAPTURE_PACKET,		/* a packet; valid until the next call */
	CAPTURE_LOCAL,		/* a local-use block of one of our own files */
	CAPTURE_END,		/* all was read, and the last block was whole */
	CAPTURE_ERROR,		/* capture::error: what is wrong, and where */
};

enum capture_format {
	CAPTURE_UNKNOWN,
	CAPTURE_PCAPNG,
	CAPTURE_PCAP,
};

/**
 * struct capture_interface - an interface of a pcapng section
 * @link_type: LINKTYPE_*
 * @snaplen: longest captured length, 0: no limit
 * @tsresol: unit of its time stamps, as in the option if_tsresol
 * @tsoffset: seconds to add to them
 */
struct capture_interface {
	uint16_t link_type;
	uint8_t tsresol;
	uint32_t snaplen;
	int64_t tsoffset;
};

/**
 * struct capture - reader of one capture
 * @format: found by the first four bytes
 * @own: the packets were exported by us and carry their metadata
 * @sections: sections so far; a capture may not mix ours with others
 * @interfaces: interfaces of the section
 * @skipped: blocks that say nothing to us
 * @link_type: of the packet returned last
 * @offset: where in the capture @buf + @start is
 * @packets: packets returned
 * @local_type: type of the local-use block returned last
 * @local_len: its length
 * @local: its body
 * @error: what is wrong
 *
 * All other members are the reader's.
 */
struct capture {
	enum capture_format format;
	bool own;
	uint64_t sections;
	uint32_t interfaces;
	uint64_t skipped;
	uint16_t link_type;
	uint64_t offset;
	uint64_t packets;
	uint32_t local_type;
	uint32_t local_len;
	const uint8_t *local;
	char error[256];

	uint8_t *buf;
	size_t size;
	size_t start;
	size_t end;
	size_t need;
	size_t used;
	bool eof;
	bool failed;

	bool swapped;
	bool nsec;
	uint32_t skip;
	uint32_t skip_len;
	struct capture_interface *interface;
};

void capture_init(struct capture *c);
void capture_free(struct capture *c);

/* Where to put bytes; *len is never 0. NULL: out of memory. */
void *capture_space(struct capture *c, size_t *len);
/* len bytes were put there; 0: there are no more. */
void capture_added(struct capture *c, size_t len);

enum capture_status capture_next(struct capture *c, struct packet *pkt);

const char *link_type_name(unsigned int link_type);
bool link_type_raw_ip(unsigned int link_type);

/* For the readers of the two formats. */
enum capture_status capture_fail(struct capture *c, size_t at,
				 const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
enum capture_status capture_need(struct capture *c, size_t len,
				 const char *what);
enum capture_status pcapng_next(struct capture *c, struct packet *pkt);
enum capture_status pcap_next(struct capture *c, struct packet *pkt);
/* Checks that hold for plain frames of both formats. */
enum capture_status capture_frame(struct capture *c, struct packet *pkt,
				  size_t at, unsigned int link_type,
				  uint32_t caplen, uint32_t len);

static inline uint16_t capture_get16(const struct capture *c, const void *p)
{
	uint16_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap16(v) : v;
}

static inline uint32_t capture_get32(const struct capture *c, const void *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap32(v) : v;
}

static inline uint64_t capture_get64(const struct capture *c, const void *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return c->swapped ? __builtin_bswap64(v) : v;
}

/**
 * struct pcapng_writer - writer of one pcapng section
 * @write: gets whole blocks only; 0, or a negative errno that all later calls
 *	return too
 * @ctx: for @write
 * @buf: blocks not yet given to @write
 * @len: bytes in @buf
 * @error: what @write returned
 *
 * At most PCAPNG_WRITER_SIZE bytes wait in @buf.
 */
struct pcapng_writer {
	int (*write)(void *ctx, const void *data, size_t len);
	void *ctx;
	uint8_t *buf;
	size_t len;
	int error;
};

#define PCAPNG_WRITER_SIZE	(CAPTURE_BLOCK_MAX)

int pcapng_open(struct pcapng_writer *w,
		int (*write)(void *ctx, const void *data, size_t len),
		void *ctx);
int pcapng_section(struct pcapng_writer *w, const char *appl);
int pcapng_interface(struct pcapng_writer *w, uint16_t link_type,
		     const char *name, const char *description);
int pcapng_packet(struct pcapng_writer *w, const struct packet *pkt);
int pcapng_local(struct pcapng_writer *w, uint32_t type, const void *data,
		 size_t len);
int pcapng_flush(struct pcapng_writer *w);
void pcapng_close(struct pcapng_writer *w);

#endif /* TAPMIG_CAPTURE_H */
