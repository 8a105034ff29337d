// SPDX-License-Identifier: GPL-2.0-only
/* Packets as netlink has them: out of a packet-get, into a packet-new. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <arpa/inet.h>

#include "transfer.h"

/* The length of a netlink attribute has 16 bits; a nest is one too. */
#define CHUNK_MAX	32768
/* Well above the headers and the metadata of one chunk. */
#define CHUNK_OVERHEAD	256
/* Messages are filled to this, but a longer frame stays in one. */
#define BATCH_SIZE	131072
#define MESSAGE_MAX	(TAPMIG_FRAME_MAX + \
			 (TAPMIG_FRAME_MAX / CHUNK_MAX + 1) * CHUNK_OVERHEAD)

static bool start_packet(struct packet_reader *r, const struct nlattr **tb)
{
	struct packet *p = &r->pkt;
	const struct nlattr *a;

	memset(p, 0, sizeof(*p));
	p->data = r->frame;
	p->seq = nl_uint(tb[TAPMIG_A_PACKET_SEQ]);
	p->sub = nl_uint(tb[TAPMIG_A_PACKET_SUB]);
	p->subs = nl_uint(tb[TAPMIG_A_PACKET_SUBS]);
	p->has |= p->subs ? PACKET_SEGMENT : 0;
	p->queue = nl_uint(tb[TAPMIG_A_PACKET_QUEUE]);
	p->time_ns = nl_uint(tb[TAPMIG_A_PACKET_TIME_NS]);
	p->len = nl_uint(tb[TAPMIG_A_PACKET_LEN]);
	p->dropped_before = nl_uint(tb[TAPMIG_A_PACKET_DROPPED_BEFORE]);
	a = tb[TAPMIG_A_PACKET_VNET_HDR];
	if (a && mnl_attr_get_payload_len(a) == VNET_HDR_LEN) {
		memcpy(p->vnet_hdr, mnl_attr_get_payload(a), VNET_HDR_LEN);
		p->has |= PACKET_VNET_HDR;
	}
	if (tb[TAPMIG_A_PACKET_VLAN_TCI] || tb[TAPMIG_A_PACKET_VLAN_PROTO]) {
		p->vlan_tci = nl_uint(tb[TAPMIG_A_PACKET_VLAN_TCI]);
		p->vlan_proto = ntohs(nl_uint(tb[TAPMIG_A_PACKET_VLAN_PROTO]));
		p->has |= PACKET_VLAN;
	}
	if (tb[TAPMIG_A_PACKET_PROTOCOL]) {
		p->protocol = ntohs(nl_uint(tb[TAPMIG_A_PACKET_PROTOCOL]));
		p->has |= PACKET_PROTOCOL;
	}
	if (tb[TAPMIG_A_PACKET_HASH]) {
		p->hash = nl_uint(tb[TAPMIG_A_PACKET_HASH]);
		p->has |= PACKET_HASH;
	}
	return p->seq && p->len && p->len <= sizeof(r->frame);
}

int packet_chunk(struct packet_reader *r, const struct nlattr *nest)
{
	const struct nlattr *tb[TAPMIG_A_PACKET_MAX + 1];
	const struct nlattr *data;
	uint32_t offset, len;
	uint64_t seq;

	nl_parse_nested(nest, tb, TAPMIG_A_PACKET_MAX);
	seq = nl_uint(tb[TAPMIG_A_PACKET_SEQ]);
	offset = nl_uint(tb[TAPMIG_A_PACKET_OFFSET]);
	data = tb[TAPMIG_A_PACKET_DATA];
	len = data ? mnl_attr_get_payload_len(data) : 0;

	/* Somebody else may commit a packet while its chunks come. */
	if (r->partial && (!offset || seq != r->pkt.seq)) {
		r->partial = false;
		r->vanished++;
	}
	if (!offset) {
		if (!start_packet(r, tb)) {
			err("export: packet %llu of %u bytes makes no sense",
			    (unsigned long long)seq, r->pkt.len);
			return -EBADMSG;
		}
		r->partial = true;
		r->have = 0;
	}
	if (!r->partial)
		return 0;
	if (offset != r->have || len > r->pkt.len - r->have ||
	    nl_uint(tb[TAPMIG_A_PACKET_SUB]) != r->pkt.sub) {
		err("export: packet %llu of %u bytes came in chunks that do not fit (%u bytes at %u after %u)",
		    (unsigned long long)seq, r->pkt.len, len, offset, r->have);
		return -EBADMSG;
	}
	if (len)
		memcpy(r->frame + r->have, mnl_attr_get_payload(data), len);
	r->have += len;
	if (r->have < r->pkt.len)
		return 0;
	r->partial = false;
	return 1;
}

int packet_batch_init(struct packet_batch *b, uint32_t hold_id)
{
	memset(b, 0, sizeof(*b));
	b->hold_id = hold_id;
	b->msg = malloc(MESSAGE_MAX + BATCH_SIZE);
	if (b->msg)
		return 0;
	err("out of memory");
	return -ENOMEM;
}

void packet_batch_free(struct packet_batch *b)
{
	free(b->msg);
	b->msg = NULL;
}

void packet_batch_socket(struct nl *nl)
{
	int size = MESSAGE_MAX;
	socklen_t len = sizeof(size);

	if (setsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size,
		       sizeof(size)))
		setsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUF, &size,
			   sizeof(size));
	if (getsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUF, &size, &len))
		size = BATCH_SIZE;
	nl->message_max = size - 32 < (int)MESSAGE_MAX ? size - 32 :
							 MESSAGE_MAX;
}

static int reply_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[TAPMIG_A_TRANSFER_MAX + 1];
	struct packet_batch *b = arg;

	nl_parse(nlh, tb, TAPMIG_A_TRANSFER_MAX);
	b->accepted += nl_uint(tb[TAPMIG_A_TRANSFER_ACCEPTED]);
	b->resent += nl_uint(tb[TAPMIG_A_TRANSFER_RESENT]);
	b->late += nl_uint(tb[TAPMIG_A_TRANSFER_LATE]);
	return 0;
}

static void begin_message(struct packet_batch *b, struct nl *nl)
{
	b->nlh = nl_request_in(nl, b->msg, TAPMIG_CMD_PACKET_NEW);
	mnl_attr_put_u32(b->nlh, TAPMIG_A_TRANSFER_HOLD_ID, b->hold_id);
	b->count = 0;
}

static void given(struct packet_batch *b, uint64_t done, uint32_t len)
{
	b->packets++;
	b->bytes += len;
	if (done)
		b->last = done;
}

/* The kernel has refused a packet: is it for what the packet is? */
static bool refused(struct packet_batch *b, const struct nl *nl, int ret,
		    uint64_t done)
{
	if (!b->skip_refused || (ret != -EINVAL && ret != -ERANGE &&
				 ret != -EOPNOTSUPP && ret != -EMSGSIZE))
		return false;
	b->refused++;
	snprintf(b->why, sizeof(b->why), "%s", nl->error);
	if (done)
		b->last = done;
	return true;
}

static int send_message(struct packet_batch *b, struct nl *nl)
{
	return nl_do_silent(nl, "import", reply_cb, b);
}

/*
 * The kernel takes all of a message or nothing. When it does not, packets go
 * in one by one, so that it is known which it was.
 */
static int send_singly(struct packet_batch *b, struct nl *nl)
{
	unsigned int i, count = b->count;
	uint32_t end = b->nlh->nlmsg_len, len;
	struct nlmsghdr *nlh;
	int ret = 0;
	char *one;

	one = malloc(MESSAGE_MAX);
	if (!one) {
		snprintf(nl->error, sizeof(nl->error), "out of memory");
		return -ENOMEM;
	}
	for (i = 0; i < count; i++) {
		len = (i + 1 < count ? b->starts[i + 1] : end) - b->starts[i];
		nlh = nl_request_in(nl, one, TAPMIG_CMD_PACKET_NEW);
		mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, b->hold_id);
		memcpy(mnl_nlmsg_get_payload_tail(nlh),
		       b->msg + b->starts[i], len);
		nlh->nlmsg_len += len;
		ret = send_message(b, nl);
		if (!ret) {
			given(b, b->done[i], b->lens[i]);
			continue;
		}
		if (!refused(b, nl, ret, b->done[i]))
			break;
		ret = 0;
	}
	free(one);
	return ret;
}

/* Messages of errors that the caller cannot expect. */
static int result(const struct packet_batch *b, const struct nl *nl, int ret)
{
	/* Who goes on without a packet can also wait for memory. */
	if (ret && ret != -ENOBUFS && !(b->skip_refused && ret == -ENOMEM))
		err("%s", nl->error);
	return ret;
}

int packet_batch_flush(struct packet_batch *b, struct nl *nl)
{
	unsigned int i;
	int ret;

	if (!b->count)
		return 0;
	nl->req = b->nlh;
	ret = send_message(b, nl);
	if (!ret)
		for (i = 0; i < b->count; i++)
			given(b, b->done[i], b->lens[i]);
	else if (ret == -ENOBUFS || (b->skip_refused && ret != -ENOENT))
		ret = send_singly(b, nl);
	b->count = 0;
	return result(b, nl, ret);
}

static void put_meta(struct nlmsghdr *nlh, const struct packet *p)
{
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, p->len);
	if (p->has & PACKET_SEGMENT)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUBS, p->subs);
	mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_QUEUE, p->queue);
	if (p->time_ns)
		mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_TIME_NS, p->time_ns);
	if (p->has & PACKET_VNET_HDR)
		mnl_attr_put(nlh, TAPMIG_A_PACKET_VNET_HDR, VNET_HDR_LEN,
			     p->vnet_hdr);
	if (p->has & PACKET_VLAN) {
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_TCI, p->vlan_tci);
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_PROTO,
				 htons(p->vlan_proto));
	}
	if (p->has & PACKET_PROTOCOL)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_PROTOCOL,
				 htons(p->protocol));
	if (p->has & PACKET_HASH)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_HASH, p->hash);
}

static uint32_t put_chunk(struct nlmsghdr *nlh, const struct packet *p,
			  uint32_t at)
{
	uint32_t n = p->len - at < CHUNK_MAX ? p->len - at : CHUNK_MAX;
	struct nlattr *nest;

	nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
	mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, p->seq);
	if (p->has & PACKET_SEGMENT)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUB, p->sub);
	if (!at)
		put_meta(nlh, p);
	else
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, at);
	mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, n, p->data + at);
	mnl_attr_nest_end(nlh, nest);
	return n;
}

/* What of the packet's number is done when this packet is. */
static uint64_t done_with(const struct packet *p)
{
	if ((p->has & PACKET_SEGMENT) && p->sub + 1 < p->subs)
		return 0;
	return p->seq;
}

/* The kernel waits for the rest of a packet, until a session begins. */
static int forget_chunks(struct packet_batch *b, struct nl *nl)
{
	struct nlmsghdr *nlh = nl_request(nl, TAPMIG_CMD_IMPORT_BEGIN);

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, b->hold_id);
	return nl_do_silent(nl, "import-begin", NULL, NULL);
}

/* A message for each chunk, when the socket takes no longer ones. */
static int send_in_chunks(struct packet_batch *b, struct nl *nl,
			  const struct packet *p)
{
	uint32_t at = 0;
	bool first;
	int ret;

	while (at < p->len) {
		begin_message(b, nl);
		first = !at;
		at += put_chunk(b->nlh, p, at);
		ret = send_message(b, nl);
		if (!ret)
			continue;
		if (!refused(b, nl, ret, done_with(p)))
			return result(b, nl, ret);
		return first ? 0 : result(b, nl, forget_chunks(b, nl));
	}
	given(b, done_with(p), p->len);
	return 0;
}

int packet_batch_add(struct packet_batch *b, struct nl *nl,
		     const struct packet *p)
{
	uint32_t chunks = (p->len + CHUNK_MAX - 1) / CHUNK_MAX, at = 0;
	size_t need = p->len + (size_t)chunks * CHUNK_OVERHEAD;
	int ret;

	if (b->count && (b->count == PACKET_BATCH ||
			 b->nlh->nlmsg_len + need > BATCH_SIZE)) {
		ret = packet_batch_flush(b, nl);
		if (ret)
			return ret;
	}
	if (!b->count) {
		if (need + CHUNK_OVERHEAD > nl->message_max)
			return send_in_chunks(b, nl, p);
		begin_message(b, nl);
	}
	b->starts[b->count] = b->nlh->nlmsg_len;
	b->done[b->count] = done_with(p);
	b->lens[b->count] = p->len;
	while (at < p->len)
		at += put_chunk(b->nlh, p, at);
	b->count++;
	return 0;
}
