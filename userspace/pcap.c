// SPDX-License-Identifier: GPL-2.0-only
/* Reader of classic pcap files: plain frames without metadata. */
#include <string.h>

#include <linux/tapmig_netlink.h>

#include "capture.h"

#define FILE_HEADER	24
#define RECORD_HEADER	16

enum capture_status pcap_next(struct capture *c, struct packet *pkt)
{
	uint32_t sec, frac, caplen, len;
	enum capture_status status;
	const uint8_t *p;

	if (!c->sections) {
		status = capture_need(c, FILE_HEADER, "the file header");
		if (status != CAPTURE_PACKET)
			return status;
		p = c->buf + c->start;
		if (capture_get16(c, p + 4) != 2)
			return capture_fail(c, 4, "pcap version %u.%u",
					    capture_get16(c, p + 4),
					    capture_get16(c, p + 6));
		/* The upper half tells of check sequences. */
		c->link_type = capture_get32(c, p + 20) & 0xffff;
		c->sections = true;
		c->start += FILE_HEADER;
		c->offset += FILE_HEADER;
	}
	if (c->eof && c->end == c->start)
		return CAPTURE_END;
	status = capture_need(c, RECORD_HEADER, "a record header");
	if (status != CAPTURE_PACKET)
		return status;

	p = c->buf + c->start;
	sec = capture_get32(c, p);
	frac = capture_get32(c, p + 4);
	caplen = capture_get32(c, p + 8);
	len = capture_get32(c, p + 12);
	if (caplen > TAPMIG_FRAME_MAX)
		return capture_fail(c, 8, "frame of %u bytes, longer than %u",
				    caplen, TAPMIG_FRAME_MAX);
	if (frac >= (c->nsec ? 1000000000 : 1000000))
		return capture_fail(c, 4, "fraction of a second is %u", frac);
	status = capture_need(c, RECORD_HEADER + (size_t)caplen, "a record");
	if (status != CAPTURE_PACKET)
		return status;

	memset(pkt, 0, sizeof(*pkt));
	pkt->data = c->buf + c->start + RECORD_HEADER;
	pkt->time_ns = sec * 1000000000ULL + frac * (c->nsec ? 1ULL : 1000ULL);
	status = capture_frame(c, pkt, 8, c->link_type, caplen, len);
	if (status == CAPTURE_PACKET)
		c->used = RECORD_HEADER + (size_t)caplen;
	return status;
}
