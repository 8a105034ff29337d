// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages. What comes is checked here for everything that can be told without
 * knowing more than the connection; docs/relay.md has the table.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "relay.h"

#define BLOCK_TYPE	(PCAPNG_LOCAL | 0x746d00)
/* The longest message: a hello, an offer, or a text with a channel. */
#define BODY_MAX	(RELAY_TEXT_MAX + 64)

struct body {
	struct conn *conn;
	uint8_t data[BODY_MAX];
	size_t len;
};

static void begin(struct body *b, struct conn *c)
{
	memset(b, 0, sizeof(*b));
	b->conn = c;
}

static void put32(struct body *b, uint32_t v)
{
	v = htole32(v);
	memcpy(b->data + b->len, &v, sizeof(v));
	b->len += sizeof(v);
}

static void put64(struct body *b, uint64_t v)
{
	v = htole64(v);
	memcpy(b->data + b->len, &v, sizeof(v));
	b->len += sizeof(v);
}

static void put_bytes(struct body *b, const void *data, size_t len)
{
	memcpy(b->data + b->len, data, len);
	b->len += (len + 3) & ~3UL;
}

static void put_text(struct body *b, const char *text)
{
	put_bytes(b, text, strnlen(text, RELAY_TEXT_MAX));
}

static void finish(struct body *b, enum relay_code code)
{
	struct conn *c = b->conn;

	if (c->dead || c->state != CONN_OPEN)
		return;
	if (pcapng_local(&c->w, BLOCK_TYPE + code, b->data, b->len) ||
	    pcapng_flush(&c->w))
		conn_kill(c);
}

void relay_send_hello(struct conn *c)
{
	struct body b;

	pcapng_section(&c->w, "tapmig " TAPMIG_VERSION);
	begin(&b, c);
	put32(&b, RELAY_VERSION);
	put32(&b, 0);
	put_bytes(&b, c->relay->instance, RELAY_INSTANCE_LEN);
	finish(&b, RELAY_HELLO);
}

void relay_send_ping(struct conn *c)
{
	struct body b;

	begin(&b, c);
	c->pinged = relay_now();
	put64(&b, c->pinged);
	finish(&b, RELAY_PING);
}

void relay_send_pong(struct conn *c, uint64_t time)
{
	struct body b;

	begin(&b, c);
	put64(&b, time);
	put64(&b, relay_now());
	finish(&b, RELAY_PONG);
}

void relay_send_bye(struct conn *c, const char *text)
{
	struct body b;

	begin(&b, c);
	put_text(&b, text);
	finish(&b, RELAY_BYE);
}

void relay_send_offer(struct conn *c, const struct relay_hold *rh)
{
	const struct hold *h = &rh->h;
	uint8_t small[4] = {
		h->role, h->state, h->link_type, strlen(h->label),
	};
	struct body b;

	begin(&b, c);
	put32(&b, rh->handle);
	put32(&b, h->flags);
	put_bytes(&b, small, sizeof(small));
	put32(&b, h->max_packets);
	put64(&b, h->max_bytes);
	put64(&b, h->frozen_ns);
	put_bytes(&b, h->label, strlen(h->label));
	finish(&b, RELAY_OFFER);
}

void relay_send_withdraw(struct conn *c, uint32_t handle)
{
	struct body b;

	begin(&b, c);
	put32(&b, handle);
	finish(&b, RELAY_WITHDRAW);
}

void relay_send_pair(struct channel *ch)
{
	const struct hold *h = &ch->hold->h;
	struct conn *c = ch->conn;
	struct body b;

	pcapng_interface(&c->w, h->link_type == TAPMIG_LINK_TYPE_RAW_IP ?
			 LINKTYPE_RAW : LINKTYPE_ETHERNET, h->ifname, h->label);
	begin(&b, c);
	put32(&b, ch->number);
	put32(&b, ch->hold->handle);
	put32(&b, ch->peer_handle);
	finish(&b, RELAY_PAIR);
}

void relay_send_unpair(struct channel *ch, const char *text)
{
	struct body b;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	put32(&b, ch->ours ? RELAY_SIDE_SENDER : RELAY_SIDE_RECEIVER);
	put_text(&b, text);
	finish(&b, RELAY_UNPAIR);
}

void relay_send_begin(struct channel *ch, uint64_t time)
{
	struct body b;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	put32(&b, 0);
	put64(&b, time);
	finish(&b, RELAY_BEGIN);
}

void relay_send_number(struct channel *ch, enum relay_code code, uint64_t seq)
{
	struct body b;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	put32(&b, 0);
	put64(&b, seq);
	finish(&b, code);
}

void relay_send_simple(struct channel *ch, enum relay_code code)
{
	struct body b;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	finish(&b, code);
}

void relay_send_end(struct channel *ch, uint32_t reason)
{
	struct body b;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	put32(&b, reason);
	finish(&b, RELAY_END);
}

void relay_send_ended(struct channel *ch, const uint64_t counts[8])
{
	struct body b;
	int i;

	begin(&b, ch->conn);
	put32(&b, ch->number);
	put32(&b, 0);
	for (i = 0; i < 8; i++)
		put64(&b, counts[i]);
	finish(&b, RELAY_ENDED);
}

void relay_send_packet(struct channel *ch, struct packet *p)
{
	struct conn *c = ch->conn;

	if (c->dead || c->state != CONN_OPEN)
		return;
	p->interface = ch->number;
	if (pcapng_packet(&c->w, p) || pcapng_flush(&c->w))
		conn_kill(c);
}

/* --- what comes ----------------------------------------------------------- */

/**
 * struct kind - of a message
 * @name: its name
 * @len: length of its body, without a text
 * @text: a text follows
 * @zero_at: offset of a reserved word, 0: there is none
 * @channel: it begins with the number of a channel
 * @ours: which we have opened
 */
static const struct kind {
	const char *name;
	size_t len;
	bool text;
	size_t zero_at;
	bool channel;
	bool ours;
} kinds[RELAY_CODE_COUNT] = {
	[RELAY_HELLO] = { "HELLO", 24, .zero_at = 4 },
	[RELAY_PING] = { "PING", 8 },
	[RELAY_PONG] = { "PONG", 16 },
	[RELAY_BYE] = { "BYE", 0, .text = true },
	[RELAY_OFFER] = { "OFFER", 32, .text = true },
	[RELAY_WITHDRAW] = { "WITHDRAW", 4 },
	[RELAY_PAIR] = { "PAIR", 12 },
	[RELAY_PAIRED] = { "PAIRED", 4, .channel = true, .ours = true },
	[RELAY_UNPAIR] = { "UNPAIR", 8, .text = true },
	[RELAY_BEGIN] = { "BEGIN", 16, .zero_at = 4, .channel = true },
	[RELAY_ACK] = { "ACK", 16, .zero_at = 4, .channel = true,
			.ours = true },
	[RELAY_FULL] = { "FULL", 4, .channel = true, .ours = true },
	[RELAY_MORE] = { "MORE", 4, .channel = true, .ours = true },
	[RELAY_SYNC_REQUEST] = { "SYNC-REQUEST", 4, .channel = true,
				 .ours = true },
	[RELAY_SYNC] = { "SYNC", 16, .zero_at = 4, .channel = true },
	[RELAY_SYNCED] = { "SYNCED", 4, .channel = true, .ours = true },
	[RELAY_END] = { "END", 8, .channel = true },
	[RELAY_ENDED] = { "ENDED", 72, .zero_at = 4, .channel = true,
			  .ours = true },
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void get_offer(struct conn *c, const uint8_t *p, size_t len)
{
	struct offer o = { 0 };
	size_t label = p[11], i;

	o.handle = get32(p);
	o.flags = get32(p + 4);
	o.role = p[8];
	o.state = p[9];
	o.link_type = p[10];
	o.max_packets = get32(p + 12);
	o.max_bytes = get64(p + 16);
	o.frozen_ns = get64(p + 24);
	if (label > TAPMIG_LABEL_MAX) {
		conn_blame(c, "OFFER with a label of %zu bytes, more than %u",
			   label, TAPMIG_LABEL_MAX);
		return;
	}
	if (len != 32 + ((label + 3) & ~3UL)) {
		conn_blame(c, "OFFER of %zu bytes with a label of %zu", len,
			   label);
		return;
	}
	for (i = 32; i < len; i++) {
		if (!p[i] == (i < 32 + label)) {
			conn_blame(c, "OFFER with a label that is not %zu bytes long",
				   label);
			return;
		}
	}
	if (o.role > TAPMIG_ROLE_STANDBY || o.state > TAPMIG_STATE_DEAD ||
	    o.link_type > TAPMIG_LINK_TYPE_RAW_IP || !o.handle) {
		conn_blame(c, "OFFER of hold %u with role %u, state %u, link type %u",
			   o.handle, o.role, o.state, o.link_type);
		return;
	}
	memcpy(o.label, p + 32, label);
	relay_peer_offer(c, &o);
}

static void get_unpair(struct conn *c, const uint8_t *p, size_t len)
{
	char text[RELAY_TEXT_MAX + 1];
	struct channel *ch;
	uint32_t side = get32(p + 4);

	if (side > RELAY_SIDE_RECEIVER) {
		conn_blame(c, "UNPAIR of side %u", side);
		return;
	}
	ch = relay_channel(c, side == RELAY_SIDE_RECEIVER, get32(p));
	if (!ch) {
		conn_blame(c, "UNPAIR of channel %u, which was never opened",
			   get32(p));
		return;
	}
	copy_printable(text, p + 8, len - 8);
	if (ch->state != CHANNEL_CLOSED)
		relay_peer_unpair(ch, text);
}

static void get_of_channel(struct channel *ch, enum relay_code code,
			   const uint8_t *p)
{
	uint64_t counts[8];
	int i;

	switch (code) {
	case RELAY_PAIRED:
		relay_peer_paired(ch);
		break;
	case RELAY_BEGIN:
		standby_begin(ch, get64(p + 8));
		break;
	case RELAY_ACK:
		source_ack(ch, get64(p + 8));
		break;
	case RELAY_FULL:
		source_full(ch);
		break;
	case RELAY_MORE:
		source_more(ch);
		break;
	case RELAY_SYNC_REQUEST:
		source_sync_request(ch);
		break;
	case RELAY_SYNC:
		standby_sync(ch, get64(p + 8));
		break;
	case RELAY_SYNCED:
		source_synced(ch);
		break;
	case RELAY_END:
		standby_end(ch, get32(p + 4));
		break;
	case RELAY_ENDED:
		for (i = 0; i < 8; i++)
			counts[i] = get64(p + 8 + 8 * i);
		source_ended(ch, counts);
		break;
	default:
		break;
	}
}

void relay_message(struct conn *c)
{
	uint32_t code = c->in.local_type - BLOCK_TYPE;
	const uint8_t *p = c->in.local;
	size_t len = c->in.local_len;
	char text[RELAY_TEXT_MAX + 1];
	const struct kind *k;
	struct channel *ch;

	if (!code || code >= RELAY_CODE_COUNT) {
		conn_blame(c, "message of unknown type 0x%x",
			   c->in.local_type);
		return;
	}
	k = &kinds[code];
	if (k->text ? len < k->len || len > k->len + RELAY_TEXT_MAX :
		      len != k->len) {
		conn_blame(c, "%s of %zu bytes", k->name, len);
		return;
	}
	if (k->zero_at && get32(p + k->zero_at)) {
		conn_blame(c, "%s with a reserved word that is not 0",
			   k->name);
		return;
	}
	if (!c->said_hello && code != RELAY_HELLO && code != RELAY_BYE) {
		conn_blame(c, "%s before HELLO", k->name);
		return;
	}
	/* What came before a message is done before it. */
	standby_flush(c);
	if (c->dead || c->state != CONN_OPEN)
		return;
	if (k->channel) {
		ch = relay_channel(c, k->ours, get32(p));
		if (!ch)
			conn_blame(c, "%s of channel %u, which was never opened",
				   k->name, get32(p));
		else if (ch->state != CHANNEL_CLOSED)
			get_of_channel(ch, code, p);
		return;
	}
	switch (code) {
	case RELAY_HELLO:
		if (c->said_hello)
			conn_blame(c, "a second HELLO");
		else if (c->in.interfaces)
			conn_blame(c, "an interface before HELLO");
		else
			relay_peer_hello(c, get32(p), p + 8);
		break;
	case RELAY_PING:
		relay_send_pong(c, get64(p));
		break;
	case RELAY_PONG:
		relay_peer_pong(c, get64(p), get64(p + 8));
		break;
	case RELAY_BYE:
		copy_printable(text, p, len);
		if (*text)
			err("%s ends the connection: %s", c->name, text);
		else
			relay_tell(c->relay, "%s ends the connection",
				   c->name);
		conn_kill(c);
		break;
	case RELAY_OFFER:
		get_offer(c, p, len);
		break;
	case RELAY_WITHDRAW:
		relay_peer_withdraw(c, get32(p));
		break;
	case RELAY_PAIR:
		relay_peer_pair(c, get32(p), get32(p + 4), get32(p + 8));
		break;
	case RELAY_UNPAIR:
		get_unpair(c, p, len);
		break;
	}
}
