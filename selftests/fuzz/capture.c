// SPDX-License-Identifier: GPL-2.0-only
/*
 * The readers of pcapng and pcap. What they find must not depend on the pieces
 * in which a capture comes, and what is written of it must read the same.
 */
#include <string.h>

#include <linux/tapmig_netlink.h>

#include "fuzz.h"

struct sum {
	uint64_t hash;
	uint64_t packets;
	uint64_t own;
};

static void mix(struct sum *s, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len--)
		s->hash = (s->hash ^ *p++) * 0x100000001b3ULL;
}

static void mix_packet(struct sum *s, const struct capture *c,
		       const struct packet *pkt)
{
	uint64_t v[] = {
		c->link_type, pkt->seq, pkt->time_ns, pkt->has, pkt->len,
		pkt->hash, pkt->dropped_before, pkt->sub, pkt->subs,
		pkt->queue, pkt->vlan_tci, pkt->vlan_proto, pkt->protocol,
	};

	s->packets++;
	mix(s, v, sizeof(v));
	mix(s, pkt->vnet_hdr, VNET_HDR_LEN);
	mix(s, pkt->data, pkt->len);
}

static int append(void *ctx, const void *data, size_t len)
{
	struct capture *c = ctx;
	const uint8_t *from = data;
	size_t room;
	void *to;

	while (len) {
		to = fuzz_space(c, &room);
		MUST(to);
		room = room < len ? room : len;
		memcpy(to, from, room);
		capture_added(c, room);
		from += room;
		len -= room;
	}
	return 0;
}

/* Write it, read it, and it is the same. */
static void write_and_read(const struct capture *c, const struct packet *pkt)
{
	struct sum before = { 0 }, after = { 0 };
	/* Its memory is large: taken once. */
	static struct pcapng_writer w;
	struct packet own = *pkt, got;
	struct capture again;

	own.interface = 0;
	capture_init(&again);
	MUST(w.buf || !pcapng_open(&w, append, NULL));
	w.ctx = &again;
	MUST(!pcapng_section(&w, "tapmig fuzz"));
	MUST(!pcapng_interface(&w, c->link_type, "tap0", "label"));
	MUST(!pcapng_packet(&w, &own) && !pcapng_flush(&w));
	capture_added(&again, 0);
	MUST(fuzz_next(&again, &got) == CAPTURE_PACKET);
	mix_packet(&before, c, &own);
	mix_packet(&after, &again, &got);
	MUST(before.hash == after.hash);
	MUST(fuzz_next(&again, &got) == CAPTURE_END);
	capture_free(&again);
}

static struct sum read_all(const uint8_t *data, size_t size, size_t step)
{
	enum capture_status status;
	struct sum s = { 0 };
	struct packet pkt;
	struct capture c;
	size_t room;
	void *to;

	capture_init(&c);
	for (;;) {
		status = fuzz_next(&c, &pkt);
		if (status == CAPTURE_END || status == CAPTURE_ERROR)
			break;
		if (status == CAPTURE_PACKET) {
			MUST(pkt.len && pkt.len <= TAPMIG_FRAME_MAX);
			MUST(pkt.seq && pkt.seq <= TAPMIG_SEQ_MAX);
			MUST(c.interfaces <= CAPTURE_INTERFACES_MAX);
			mix_packet(&s, &c, &pkt);
			if (step >= size)
				write_and_read(&c, &pkt);
			continue;
		}
		if (status == CAPTURE_LOCAL) {
			MUST(c.own);
			mix(&s, &c.local_type, sizeof(c.local_type));
			mix(&s, c.local, c.local_len);
			continue;
		}
		/* It asks for more only as long as there can be more. */
		MUST(!c.eof);
		to = fuzz_space(&c, &room);
		MUST(to && room);
		room = room < size ? room : size;
		room = room < step ? room : step;
		if (room)
			memcpy(to, data, room);
		capture_added(&c, room);
		data += room;
		size -= room;
	}
	MUST(status != CAPTURE_ERROR || *c.error);
	mix(&s, &status, sizeof(status));
	mix(&s, c.error, strlen(c.error));
	mix(&s, &c.skipped, sizeof(c.skipped));
	s.own = c.own;
	capture_free(&c);
	return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sum whole = read_all(data, size, size + 1);
	struct sum pieces = read_all(data, size, 1 + size % 97);

	MUST(whole.hash == pieces.hash && whole.packets == pieces.packets);
	return 0;
}
