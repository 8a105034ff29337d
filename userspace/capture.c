// SPDX-License-Identifier: GPL-2.0-only
/* The buffer of the capture reader, and what both formats have in common. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/tapmig_netlink.h>

#include "capture.h"

#define BUFFER_MIN	(1U << 16)
#define ETHER_HEADER	14

void capture_init(struct capture *c)
{
	memset(c, 0, sizeof(*c));
	c->need = 4;
}

void capture_free(struct capture *c)
{
	free(c->buf);
	free(c->interface);
	memset(c, 0, sizeof(*c));
}

/* What the last call returned points into the buffer: dropped at the next. */
static void capture_drop(struct capture *c)
{
	c->start += c->used;
	c->offset += c->used;
	c->used = 0;
}

void *capture_space(struct capture *c, size_t *len)
{
	size_t size;
	void *buf;

	capture_drop(c);
	if (c->start) {
		memmove(c->buf, c->buf + c->start, c->end - c->start);
		c->end -= c->start;
		c->start = 0;
	}
	size = c->size ? c->size : BUFFER_MIN;
	while (size < c->need || size == c->end)
		size *= 2;
	if (size != c->size) {
		buf = realloc(c->buf, size);
		if (!buf)
			return NULL;
		c->buf = buf;
		c->size = size;
	}
	*len = c->size - c->end;
	return c->buf + c->end;
}

void capture_added(struct capture *c, size_t len)
{
	if (len)
		c->end += len;
	else
		c->eof = true;
}

enum capture_status capture_fail(struct capture *c, size_t at,
				 const char *fmt, ...)
{
	va_list ap;
	int n;

	n = snprintf(c->error, sizeof(c->error), "offset %llu: ",
		     (unsigned long long)(c->offset + at));
	va_start(ap, fmt);
	vsnprintf(c->error + n, sizeof(c->error) - n, fmt, ap);
	va_end(ap);
	c->failed = true;
	return CAPTURE_ERROR;
}

/* CAPTURE_PACKET: the bytes are there. */
enum capture_status capture_need(struct capture *c, size_t len,
				 const char *what)
{
	size_t have = c->end - c->start;

	if (have >= len)
		return CAPTURE_PACKET;
	if (c->eof)
		return capture_fail(c, have,
				    "the file ends in the middle of %s (%zu of %zu bytes are there)",
				    what, have, len);
	c->need = len;
	return CAPTURE_MORE;
}

const char *link_type_name(unsigned int link_type)
{
	static const struct {
		unsigned int type;
		const char *name;
	} names[] = {
		{ 0, "BSD loopback" },
		{ LINKTYPE_ETHERNET, "Ethernet" },
		{ 6, "token ring" },
		{ 9, "PPP" },
		{ 10, "FDDI" },
		{ 12, "OpenBSD loopback or raw IP" },
		{ LINKTYPE_RAW, "raw IP" },
		{ 105, "IEEE 802.11" },
		{ 108, "OpenBSD loopback" },
		{ 113, "Linux cooked capture" },
		{ 119, "IEEE 802.11 with Prism header" },
		{ 127, "IEEE 802.11 with radiotap header" },
		{ 192, "PPI" },
		{ 195, "IEEE 802.15.4" },
		{ 220, "Linux USB" },
		{ LINKTYPE_IPV4, "raw IPv4" },
		{ LINKTYPE_IPV6, "raw IPv6" },
		{ 239, "NFLOG" },
		{ 253, "netlink" },
		{ 276, "Linux cooked capture 2" },
		{ 0, NULL },
	};
	size_t i;

	for (i = 0; names[i].name; i++)
		if (names[i].type == link_type)
			return names[i].name;
	return "unknown to tapmig";
}

bool link_type_raw_ip(unsigned int link_type)
{
	return link_type == LINKTYPE_RAW || link_type == LINKTYPE_IPV4 ||
	       link_type == LINKTYPE_IPV6;
}

enum capture_status capture_frame(struct capture *c, struct packet *pkt,
				  size_t at, unsigned int link_type,
				  uint32_t caplen, uint32_t len)
{
	uint32_t least = 1;

	if (link_type == LINKTYPE_ETHERNET)
		least = ETHER_HEADER;
	else if (!link_type_raw_ip(link_type))
		return capture_fail(c, at,
				    "link type %u (%s) cannot be imported, only Ethernet and raw IP can",
				    link_type, link_type_name(link_type));
	if (len > TAPMIG_FRAME_MAX)
		return capture_fail(c, at,
				    "frame of %u bytes, longer than %u", len,
				    TAPMIG_FRAME_MAX);
	if (caplen < len)
		return capture_fail(c, at,
				    "only %u of the frame's %u bytes were captured",
				    caplen, len);
	if (caplen > len)
		return capture_fail(c, at,
				    "captured length %u is more than the frame's length %u",
				    caplen, len);
	if (caplen < least)
		return capture_fail(c, at,
				    "frame of %u bytes is too short for %s",
				    caplen, link_type_name(link_type));
	pkt->len = caplen;
	c->link_type = link_type;
	if (c->own)
		return CAPTURE_PACKET;

	pkt->seq = TAPMIG_SEQ_FIRST + c->packets;
	if (pkt->seq > TAPMIG_SEQ_MAX)
		return capture_fail(c, at, "too many packets in one capture");
	if (link_type != LINKTYPE_ETHERNET) {
		/* A TUN device has no other way to know. */
		if (pkt->data[0] >> 4 == 4)
			pkt->protocol = 0x0800;
		else if (pkt->data[0] >> 4 == 6)
			pkt->protocol = 0x86dd;
		else
			return capture_fail(c, at,
					    "raw IP packet of version %u",
					    pkt->data[0] >> 4);
		pkt->has |= PACKET_PROTOCOL;
	}
	return CAPTURE_PACKET;
}

enum capture_status capture_next(struct capture *c, struct packet *pkt)
{
	static const uint8_t pcapng[] = { 0x0a, 0x0d, 0x0d, 0x0a };
	static const uint32_t pcap[] = { 0xa1b2c3d4, 0xa1b23c4d };
	enum capture_status status;
	uint32_t magic;
	size_t i;

	if (c->failed)
		return CAPTURE_ERROR;
	capture_drop(c);
	if (c->format == CAPTURE_UNKNOWN) {
		if (c->eof && c->end == c->start)
			return capture_fail(c, 0, "the file is empty");
		status = capture_need(c, 4, "its magic number");
		if (status != CAPTURE_PACKET)
			return status;
		if (!memcmp(c->buf + c->start, pcapng, 4))
			c->format = CAPTURE_PCAPNG;
		memcpy(&magic, c->buf + c->start, 4);
		for (i = 0; i < 2; i++) {
			if (magic != pcap[i] &&
			    magic != __builtin_bswap32(pcap[i]))
				continue;
			c->format = CAPTURE_PCAP;
			c->swapped = magic != pcap[i];
			c->nsec = i;
		}
		if (c->format == CAPTURE_UNKNOWN)
			return capture_fail(c, 0,
					    "neither pcapng nor pcap (magic number 0x%08x)",
					    magic);
	}
	if (c->format == CAPTURE_PCAPNG)
		status = pcapng_next(c, pkt);
	else
		status = pcap_next(c, pkt);
	if (status == CAPTURE_PACKET)
		c->packets++;
	return status;
}
