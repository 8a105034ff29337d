// SPDX-License-Identifier: GPL-2.0-only
/*
 * pcapng: reader for the files of any program, writer for ours. What we put
 * into the format is described in docs/pcapng.md.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/tapmig_netlink.h>

#include "capture.h"

#define BLOCK_INTERFACE		1
#define BLOCK_OLD_PACKET	2
#define BLOCK_SIMPLE_PACKET	3
#define BLOCK_PACKET		6
#define BLOCK_SECTION		0x0a0d0d0a
#define BYTE_ORDER_MAGIC	0x1a2b3c4d

#define OPT_END			0
#define OPT_SHB_USERAPPL	4
#define OPT_IF_NAME		2
#define OPT_IF_DESCRIPTION	3
#define OPT_IF_TSRESOL		9
#define OPT_IF_TSOFFSET		14
#define OPT_EPB_FLAGS		2
#define OPT_EPB_DROPCOUNT	4
#define OPT_EPB_PACKETID	5
#define OPT_EPB_QUEUE		6
#define OPT_TAPMIG		0x8001
#define OPT_TAPMIG_REST		0x8002

#define EPB_INBOUND		1

#define NSEC			1000000000ULL

#define OUR_APPL		"tapmig "

/* Type and total length, and total length once more at the end. */
#define BLOCK_FRAMING		12
#define SECTION_FIXED		16
#define INTERFACE_FIXED		8
#define PACKET_FIXED		20
#define SIMPLE_PACKET_FIXED	4

/*
 * Longest frame that tcpdump and Wireshark take. What a frame has beyond it
 * is in options, so that they can read all others.
 */
#define CAPLEN_MAX		262144
#define REST_MAX		65532

/* The option of a packet that no other program knows. */
#define META_VERSION		1
#define META_LEN		32
#define META_VERSION_AT		0
#define META_HAS_AT		2
#define META_SUB_AT		4
#define META_SUBS_AT		6
#define META_VLAN_TCI_AT	8
#define META_VLAN_PROTO_AT	10
#define META_PROTOCOL_AT	12
#define META_HASH_AT		16
#define META_VNET_HDR_AT	20
#define META_HAS_ALL	(PACKET_VNET_HDR | PACKET_VLAN | PACKET_PROTOCOL | \
			 PACKET_HASH | PACKET_SEGMENT)

static size_t pad4(size_t len)
{
	return (len + 3) & ~(size_t)3;
}

static uint16_t get_le16(const uint8_t *p)
{
	return p[0] | p[1] << 8;
}

static uint32_t get_le32(const uint8_t *p)
{
	return get_le16(p) | (uint32_t)get_le16(p + 2) << 16;
}

/* One option at pos of a block; pos moves on. 0: there is none any more. */
static int next_option(struct capture *c, size_t *pos, size_t end,
		       uint16_t *code, const uint8_t **data, uint16_t *len)
{
	const uint8_t *p = c->buf + c->start + *pos;

	if (end - *pos < 4)
		return 0;
	*code = capture_get16(c, p);
	*len = capture_get16(c, p + 2);
	if (*code == OPT_END)
		return 0;
	if (pad4(*len) > end - *pos - 4) {
		capture_fail(c, *pos,
			     "option %u of %u bytes does not fit its block",
			     *code, *len);
		return -1;
	}
	*data = p + 4;
	*pos += 4 + pad4(*len);
	return 1;
}

static int option_size(struct capture *c, size_t pos, uint16_t code,
		       uint16_t len, uint16_t want)
{
	if (len == want)
		return 0;
	capture_fail(c, pos, "option %u has %u bytes instead of %u", code,
		     len, want);
	return -1;
}

static enum capture_status read_section(struct capture *c, size_t len)
{
	size_t pos = 8 + SECTION_FIXED, end = len - 4, at;
	const uint8_t *p = c->buf + c->start, *data;
	uint16_t code, olen;
	bool own = false;
	int ret;

	if (len < BLOCK_FRAMING + SECTION_FIXED)
		return capture_fail(c, 4, "section header of %zu bytes", len);
	if (capture_get16(c, p + 12) != 1)
		return capture_fail(c, 12, "pcapng version %u.%u",
				    capture_get16(c, p + 12),
				    capture_get16(c, p + 14));
	for (at = pos; (ret = next_option(c, &pos, end, &code, &data, &olen));
	     at = pos) {
		if (ret < 0)
			return CAPTURE_ERROR;
		if (code == OPT_SHB_USERAPPL &&
		    olen >= sizeof(OUR_APPL) - 1 &&
		    !memcmp(data, OUR_APPL, sizeof(OUR_APPL) - 1))
			own = true;
	}
	if (c->sections && own != c->own)
		return capture_fail(c, at,
				    "a section %s tapmig after one that is%s",
				    own ? "of" : "that is not of",
				    own ? " not" : "");
	c->own = own;
	c->sections++;
	c->interfaces = 0;
	return CAPTURE_MORE;
}

static enum capture_status read_interface(struct capture *c, size_t len)
{
	size_t pos = 8 + INTERFACE_FIXED, end = len - 4, at;
	const uint8_t *p = c->buf + c->start, *data;
	struct capture_interface *all, *i;
	uint16_t code, olen;
	int ret;

	if (len < BLOCK_FRAMING + INTERFACE_FIXED)
		return capture_fail(c, 4, "interface description of %zu bytes",
				    len);
	if (c->interfaces == CAPTURE_INTERFACES_MAX)
		return capture_fail(c, 0, "more than %u interfaces",
				    CAPTURE_INTERFACES_MAX);
	/* Powers of two: grown only when full. */
	if (!(c->interfaces & (c->interfaces - 1))) {
		all = realloc(c->interface, sizeof(*all) *
			      (c->interfaces ? c->interfaces * 2 : 1));
		if (!all)
			return capture_fail(c, 0, "out of memory");
		c->interface = all;
	}
	i = &c->interface[c->interfaces];
	memset(i, 0, sizeof(*i));
	i->link_type = capture_get16(c, p + 8);
	i->snaplen = capture_get32(c, p + 12);
	i->tsresol = 6;
	for (at = pos; (ret = next_option(c, &pos, end, &code, &data, &olen));
	     at = pos) {
		if (ret < 0)
			return CAPTURE_ERROR;
		if (code == OPT_IF_TSRESOL) {
			if (option_size(c, at, code, olen, 1))
				return CAPTURE_ERROR;
			i->tsresol = data[0];
		} else if (code == OPT_IF_TSOFFSET) {
			if (option_size(c, at, code, olen, 8))
				return CAPTURE_ERROR;
			i->tsoffset = (int64_t)capture_get64(c, data);
		}
	}
	c->interfaces++;
	return CAPTURE_MORE;
}

/*
 * A time stamp in nanoseconds; negative or too large: false. Whole seconds, and
 * the rest: not each target has integers of 128 bits.
 */
static bool time_ns(const struct capture_interface *i, uint64_t ts,
		    uint64_t *ns)
{
	unsigned int exp = i->tsresol & 0x7f;
	uint64_t sec, rest, unit = NSEC, more = 1;

	if (i->tsresol & 0x80) {
		sec = exp < 64 ? ts >> exp : 0;
		rest = exp < 64 ? ts - (sec << exp) : ts;
		if (exp < 32) {
			rest = rest * NSEC >> exp;
		} else {
			/* It would not fit: the lower half apart. */
			rest = (rest >> 32) * NSEC +
			       ((rest & UINT32_MAX) * NSEC >> 32);
			rest = exp < 96 ? rest >> (exp - 32) : 0;
		}
	} else {
		for (; exp > 9 && ts; exp--)
			ts /= 10;
		for (; exp < 9; exp++) {
			unit /= 10;
			more *= 10;
		}
		sec = ts / unit;
		rest = ts % unit * more;
	}
	if (i->tsoffset < 0 ? sec < -(uint64_t)i->tsoffset :
			      sec > UINT64_MAX - i->tsoffset)
		return false;
	sec += i->tsoffset;
	if (sec > UINT64_MAX / NSEC || sec * NSEC > UINT64_MAX - rest)
		return false;
	*ns = sec * NSEC + rest;
	return true;
}

static enum capture_status read_meta(struct capture *c, struct packet *pkt,
				     size_t at, const uint8_t *p, uint16_t len)
{
	uint16_t has;

	if (!len || p[META_VERSION_AT] != META_VERSION)
		return capture_fail(c, at,
				    "metadata of another version of tapmig");
	if (len != META_LEN)
		return capture_fail(c, at,
				    "metadata of %u bytes instead of %u", len,
				    META_LEN);
	has = get_le16(p + META_HAS_AT);
	if (has & ~META_HAS_ALL)
		return capture_fail(c, at, "unknown metadata (0x%x)", has);
	pkt->has = has;
	if (has & PACKET_SEGMENT) {
		pkt->sub = get_le16(p + META_SUB_AT);
		pkt->subs = get_le16(p + META_SUBS_AT);
		if (pkt->sub >= pkt->subs)
			return capture_fail(c, at, "segment %u of %u",
					    pkt->sub, pkt->subs);
	}
	if (has & PACKET_VLAN) {
		pkt->vlan_tci = get_le16(p + META_VLAN_TCI_AT);
		pkt->vlan_proto = get_le16(p + META_VLAN_PROTO_AT);
	}
	if (has & PACKET_PROTOCOL)
		pkt->protocol = get_le16(p + META_PROTOCOL_AT);
	if (has & PACKET_HASH)
		pkt->hash = get_le32(p + META_HASH_AT);
	if (has & PACKET_VNET_HDR)
		memcpy(pkt->vnet_hdr, p + META_VNET_HDR_AT, VNET_HDR_LEN);
	return CAPTURE_PACKET;
}

/* The options of a packet from pos on; all but their sizes is ours only. */
static enum capture_status read_options(struct capture *c, struct packet *pkt,
					size_t pos, size_t end,
					uint32_t *caplen)
{
	uint8_t *frame_end = c->buf + c->start + 8 + PACKET_FIXED + *caplen;
	bool id = false;
	const uint8_t *data;
	uint16_t code, len;
	uint64_t v;
	size_t at;
	int ret;

	for (at = pos; (ret = next_option(c, &pos, end, &code, &data, &len));
	     at = pos) {
		if (ret < 0)
			return CAPTURE_ERROR;
		if (!c->own)
			continue;
		switch (code) {
		case OPT_EPB_PACKETID:
			if (option_size(c, at, code, len, 8))
				return CAPTURE_ERROR;
			v = capture_get64(c, data);
			if (!v || v > TAPMIG_SEQ_MAX)
				return capture_fail(c, at,
						    "packet number %llu is out of range",
						    (unsigned long long)v);
			pkt->seq = v;
			id = true;
			break;
		case OPT_EPB_QUEUE:
			if (option_size(c, at, code, len, 4))
				return CAPTURE_ERROR;
			if (capture_get32(c, data) > UINT16_MAX)
				return capture_fail(c, at, "queue %u",
						    capture_get32(c, data));
			pkt->queue = capture_get32(c, data);
			break;
		case OPT_EPB_DROPCOUNT:
			if (option_size(c, at, code, len, 8))
				return CAPTURE_ERROR;
			v = capture_get64(c, data);
			pkt->dropped_before = v > UINT32_MAX ? UINT32_MAX : v;
			break;
		case OPT_TAPMIG:
			if (read_meta(c, pkt, at, data, len) == CAPTURE_ERROR)
				return CAPTURE_ERROR;
			break;
		case OPT_TAPMIG_REST:
			/* Only over what was read: the buffer is ours. */
			memmove(frame_end, data, len);
			frame_end += len;
			*caplen += len;
			break;
		}
	}
	if (c->own && !id)
		return capture_fail(c, 0, "packet without a number");
	return CAPTURE_PACKET;
}

/* An enhanced packet block, or the obsolete packet block of the same shape. */
static enum capture_status read_packet(struct capture *c, struct packet *pkt,
				       uint32_t type, size_t len)
{
	const uint8_t *p = c->buf + c->start;
	uint32_t index, caplen, full;
	enum capture_status status;
	uint64_t ts;

	if (len < BLOCK_FRAMING + PACKET_FIXED)
		return capture_fail(c, 4, "packet block of %zu bytes", len);
	if (c->own && type == BLOCK_OLD_PACKET)
		return capture_fail(c, 0, "packet without a number");
	index = type == BLOCK_PACKET ? capture_get32(c, p + 8) :
				       capture_get16(c, p + 8);
	if (index >= c->interfaces)
		return capture_fail(c, 8,
				    "packet of interface %u, only %u are described",
				    index, c->interfaces);
	caplen = capture_get32(c, p + 20);
	full = capture_get32(c, p + 24);
	if (caplen > len - BLOCK_FRAMING - PACKET_FIXED)
		return capture_fail(c, 20,
				    "%u captured bytes do not fit a block of %zu",
				    caplen, len);
	memset(pkt, 0, sizeof(*pkt));
	pkt->data = p + 8 + PACKET_FIXED;
	pkt->interface = index;
	ts = (uint64_t)capture_get32(c, p + 12) << 32 |
	     capture_get32(c, p + 16);
	if (!time_ns(&c->interface[index], ts, &pkt->time_ns))
		return capture_fail(c, 12, "time stamp is out of range");
	/* Within the block: it and its fixed part are multiples of 4. */
	status = read_options(c, pkt, 8 + PACKET_FIXED + pad4(caplen), len - 4,
			      &caplen);
	if (status != CAPTURE_PACKET)
		return status;
	return capture_frame(c, pkt, 20, c->interface[index].link_type, caplen,
			     full);
}

static enum capture_status read_simple(struct capture *c, struct packet *pkt,
				       size_t len)
{
	const uint8_t *p = c->buf + c->start;
	uint32_t full, caplen;

	if (len < BLOCK_FRAMING + SIMPLE_PACKET_FIXED)
		return capture_fail(c, 4, "simple packet block of %zu bytes",
				    len);
	if (!c->interfaces)
		return capture_fail(c, 0, "packet before any interface");
	if (c->own)
		return capture_fail(c, 0, "packet without a number");
	full = capture_get32(c, p + 8);
	caplen = full;
	if (c->interface[0].snaplen && c->interface[0].snaplen < caplen)
		caplen = c->interface[0].snaplen;
	if (caplen > len - BLOCK_FRAMING - SIMPLE_PACKET_FIXED)
		return capture_fail(c, 8,
				    "%u captured bytes do not fit a block of %zu",
				    caplen, len);
	memset(pkt, 0, sizeof(*pkt));
	pkt->data = p + 8 + SIMPLE_PACKET_FIXED;
	return capture_frame(c, pkt, 8, c->interface[0].link_type, caplen,
			     full);
}

/* Blocks that say nothing to us are not kept, only their end is looked at. */
static enum capture_status skip_block(struct capture *c)
{
	enum capture_status status;
	uint32_t n;

	while (c->skip > 4) {
		n = c->skip - 4;
		if (n > c->end - c->start)
			n = c->end - c->start;
		if (!n)
			return capture_need(c, 1, "a block");
		c->start += n;
		c->offset += n;
		c->skip -= n;
	}
	status = capture_need(c, 4, "a block");
	if (status != CAPTURE_PACKET)
		return status;
	n = capture_get32(c, c->buf + c->start);
	if (n != c->skip_len)
		return capture_fail(c, 0,
				    "block of %u bytes ends with the length %u",
				    c->skip_len, n);
	c->start += 4;
	c->offset += 4;
	c->skip = 0;
	return CAPTURE_PACKET;
}

static enum capture_status read_block(struct capture *c, struct packet *pkt)
{
	enum capture_status status;
	uint32_t type, len, tail, magic;
	const uint8_t *p;

	if (c->skip) {
		status = skip_block(c);
		if (status != CAPTURE_PACKET)
			return status;
	}
	if (c->eof && c->end == c->start)
		return CAPTURE_END;
	status = capture_need(c, BLOCK_FRAMING, "a block header");
	if (status != CAPTURE_PACKET)
		return status;

	p = c->buf + c->start;
	memcpy(&type, p, 4);
	if (type == BLOCK_SECTION) {
		memcpy(&magic, p + 8, 4);
		if (magic != BYTE_ORDER_MAGIC &&
		    magic != __builtin_bswap32(BYTE_ORDER_MAGIC))
			return capture_fail(c, 8, "byte order magic 0x%08x",
					    magic);
		c->swapped = magic != BYTE_ORDER_MAGIC;
	}
	type = capture_get32(c, p);
	len = capture_get32(c, p + 4);
	if (len < BLOCK_FRAMING || len % 4)
		return capture_fail(c, 4, "block length %u", len);

	switch (type) {
	case BLOCK_SECTION:
	case BLOCK_INTERFACE:
	case BLOCK_OLD_PACKET:
	case BLOCK_SIMPLE_PACKET:
	case BLOCK_PACKET:
		break;
	default:
		if (type >= PCAPNG_LOCAL && c->own)
			break;
		c->start += 8;
		c->offset += 8;
		c->skipped++;
		c->skip = len - 8;
		c->skip_len = len;
		c->need = 1;
		return CAPTURE_PACKET;
	}
	if (len > CAPTURE_BLOCK_MAX)
		return capture_fail(c, 4, "block of %u bytes, more than %u",
				    len, CAPTURE_BLOCK_MAX);
	status = capture_need(c, len, "a block");
	if (status != CAPTURE_PACKET)
		return status;
	p = c->buf + c->start;
	tail = capture_get32(c, p + len - 4);
	if (tail != len)
		return capture_fail(c, len - 4,
				    "block of %u bytes ends with the length %u",
				    len, tail);

	switch (type) {
	case BLOCK_SECTION:
		status = read_section(c, len);
		break;
	case BLOCK_INTERFACE:
		status = read_interface(c, len);
		break;
	case BLOCK_OLD_PACKET:
	case BLOCK_PACKET:
		status = read_packet(c, pkt, type, len);
		break;
	case BLOCK_SIMPLE_PACKET:
		status = read_simple(c, pkt, len);
		break;
	default:
		c->local_type = type;
		c->local_len = len - BLOCK_FRAMING;
		c->local = p + 8;
		status = CAPTURE_LOCAL;
		break;
	}
	if (status != CAPTURE_ERROR)
		c->used = len;
	return status;
}

enum capture_status pcapng_next(struct capture *c, struct packet *pkt)
{
	enum capture_status status;

	/* A block without a packet is done: on to the next. */
	do {
		c->start += c->used;
		c->offset += c->used;
		c->used = 0;
		status = read_block(c, pkt);
	} while ((status == CAPTURE_MORE && c->used) ||
		 (status == CAPTURE_PACKET && c->skip));
	return status;
}

static void put_le16(uint8_t **p, uint16_t v)
{
	*(*p)++ = v;
	*(*p)++ = v >> 8;
}

static void put_le32(uint8_t **p, uint32_t v)
{
	put_le16(p, v);
	put_le16(p, v >> 16);
}

static void put_le64(uint8_t **p, uint64_t v)
{
	put_le32(p, v);
	put_le32(p, v >> 32);
}

static void put_bytes(uint8_t **p, const void *data, size_t len)
{
	if (len)
		memcpy(*p, data, len);
	memset(*p + len, 0, pad4(len) - len);
	*p += pad4(len);
}

static void put_option(uint8_t **p, uint16_t code, const void *data,
		       uint16_t len)
{
	put_le16(p, code);
	put_le16(p, len);
	put_bytes(p, data, len);
}

/* Room for a block of len bytes at most, type written; NULL: error is set. */
static uint8_t *begin_block(struct pcapng_writer *w, uint32_t type, size_t len)
{
	uint8_t *p;

	if (w->error)
		return NULL;
	if (len > PCAPNG_WRITER_SIZE) {
		w->error = -EMSGSIZE;
		return NULL;
	}
	if (len > PCAPNG_WRITER_SIZE - w->len && pcapng_flush(w))
		return NULL;
	p = w->buf + w->len;
	put_le32(&p, type);
	put_le32(&p, 0);
	return p;
}

static int end_block(struct pcapng_writer *w, uint8_t *p)
{
	uint8_t *start = w->buf + w->len;
	uint32_t len = p - start + 4;

	put_le32(&p, len);
	start += 4;
	put_le32(&start, len);
	w->len += len;
	return 0;
}

int pcapng_open(struct pcapng_writer *w,
		int (*write)(void *ctx, const void *data, size_t len),
		void *ctx)
{
	memset(w, 0, sizeof(*w));
	w->write = write;
	w->ctx = ctx;
	w->buf = malloc(PCAPNG_WRITER_SIZE);
	return w->buf ? 0 : -ENOMEM;
}

void pcapng_close(struct pcapng_writer *w)
{
	free(w->buf);
	memset(w, 0, sizeof(*w));
}

int pcapng_flush(struct pcapng_writer *w)
{
	if (!w->error && w->len)
		w->error = w->write(w->ctx, w->buf, w->len);
	w->len = 0;
	return w->error;
}

int pcapng_section(struct pcapng_writer *w, const char *appl)
{
	uint8_t *p = begin_block(w, BLOCK_SECTION, strlen(appl) + 64);

	if (!p)
		return w->error;
	put_le32(&p, BYTE_ORDER_MAGIC);
	put_le16(&p, 1);
	put_le16(&p, 0);
	put_le64(&p, UINT64_MAX);
	put_option(&p, OPT_SHB_USERAPPL, appl, strlen(appl));
	put_option(&p, OPT_END, NULL, 0);
	return end_block(w, p);
}

int pcapng_interface(struct pcapng_writer *w, uint16_t link_type,
		     const char *name, const char *description)
{
	uint8_t resol = 9, *p;

	p = begin_block(w, BLOCK_INTERFACE,
			strlen(name) + strlen(description) + 64);
	if (!p)
		return w->error;
	put_le16(&p, link_type);
	put_le16(&p, 0);
	put_le32(&p, 0);
	if (*name)
		put_option(&p, OPT_IF_NAME, name, strlen(name));
	if (*description)
		put_option(&p, OPT_IF_DESCRIPTION, description,
			   strlen(description));
	put_option(&p, OPT_IF_TSRESOL, &resol, 1);
	put_option(&p, OPT_END, NULL, 0);
	return end_block(w, p);
}

static void put_meta(uint8_t **p, const struct packet *pkt)
{
	put_le16(p, OPT_TAPMIG);
	put_le16(p, META_LEN);
	put_le16(p, META_VERSION);
	put_le16(p, pkt->has & META_HAS_ALL);
	put_le16(p, pkt->sub);
	put_le16(p, pkt->subs);
	put_le16(p, pkt->vlan_tci);
	put_le16(p, pkt->vlan_proto);
	put_le16(p, pkt->protocol);
	put_le16(p, 0);
	put_le32(p, pkt->hash);
	put_bytes(p, pkt->vnet_hdr, VNET_HDR_LEN);
}

int pcapng_packet(struct pcapng_writer *w, const struct packet *pkt)
{
	uint32_t caplen = pkt->len < CAPLEN_MAX ? pkt->len : CAPLEN_MAX, at, n;
	size_t room = pkt->len + pkt->len / REST_MAX * 8 + 160;
	uint8_t *p = begin_block(w, BLOCK_PACKET, room);

	if (!p)
		return w->error;
	put_le32(&p, pkt->interface);
	put_le32(&p, pkt->time_ns >> 32);
	put_le32(&p, pkt->time_ns);
	put_le32(&p, caplen);
	put_le32(&p, pkt->len);
	put_bytes(&p, pkt->data, caplen);
	/* Towards the guest, whose network card the interface is. */
	put_le16(&p, OPT_EPB_FLAGS);
	put_le16(&p, 4);
	put_le32(&p, EPB_INBOUND);
	if (pkt->dropped_before) {
		put_le16(&p, OPT_EPB_DROPCOUNT);
		put_le16(&p, 8);
		put_le64(&p, pkt->dropped_before);
	}
	put_le16(&p, OPT_EPB_PACKETID);
	put_le16(&p, 8);
	put_le64(&p, pkt->seq);
	put_le16(&p, OPT_EPB_QUEUE);
	put_le16(&p, 4);
	put_le32(&p, pkt->queue);
	if (pkt->has & META_HAS_ALL)
		put_meta(&p, pkt);
	for (at = caplen; at < pkt->len; at += n) {
		n = pkt->len - at < REST_MAX ? pkt->len - at : REST_MAX;
		put_option(&p, OPT_TAPMIG_REST, pkt->data + at, n);
	}
	put_option(&p, OPT_END, NULL, 0);
	return end_block(w, p);
}

int pcapng_local(struct pcapng_writer *w, uint32_t type, const void *data,
		 size_t len)
{
	uint8_t *p;

	if (type < PCAPNG_LOCAL || len % 4)
		return -EINVAL;
	p = begin_block(w, type, len + BLOCK_FRAMING);
	if (!p)
		return w->error;
	put_bytes(&p, data, len);
	return end_block(w, p);
}
