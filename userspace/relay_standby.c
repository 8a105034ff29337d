// SPDX-License-Identifier: GPL-2.0-only
/* Channels that packets come by: into the kernel, and acknowledged. */
#include <errno.h>
#include <string.h>

#include "relay.h"

/*
 * A flooded frame does not reach both hosts at the same instant. What comes
 * that shortly after the freeze is with the source, and comes from there. The
 * source waits for so long.
 */
#define FLOOD_SKEW_NS	(10 * NSEC_PER_MSEC)
/* A hold that is full is tried again after so long, and ever less often. */
#define MORE_NS		(50 * NSEC_PER_MSEC)
#define MORE_MAX_NS	NSEC_PER_SEC

static bool is_started(const struct relay_hold *rh)
{
	return rh->h.state == TAPMIG_STATE_THAWING ||
	       rh->h.state == TAPMIG_STATE_LIVE;
}

static bool is_raw(const struct relay_hold *rh)
{
	return rh->h.link_type == TAPMIG_LINK_TYPE_RAW_IP;
}

void standby_paired(struct channel *ch)
{
	ch->waiting = false;
	ch->state = CHANNEL_PAIRED;
	ch->hold->was_paired = true;
	relay_tell(ch->conn->relay, "%s: paired with %s",
		   relay_hold_name(ch->hold), ch->conn->name);
	relay_send_simple(ch, RELAY_PAIRED);
}

/* The guest starts, or has started: the source says when we have all. */
static void ask_sync(struct channel *ch)
{
	if (!ch->begun || ch->sync_asked || ch->state != CHANNEL_MOVING ||
	    !is_started(ch->hold))
		return;
	ch->sync_asked = true;
	relay_send_simple(ch, RELAY_SYNC_REQUEST);
}

/* Once: then it is for the source to begin. */
static void ask_more(struct channel *ch)
{
	ch->more_at = NEVER;
	if (ch->more_asked)
		return;
	ch->more_asked = true;
	relay_send_simple(ch, RELAY_MORE);
}

static void try_later(struct channel *ch)
{
	ch->more_ns = ch->more_ns ? 2 * ch->more_ns : MORE_NS;
	if (ch->more_ns > MORE_MAX_NS)
		ch->more_ns = MORE_MAX_NS;
	ch->more_at = relay_now() + ch->more_ns;
}

/* A thaw would wait in vain: after it there is room. */
static void do_not_wait(struct channel *ch)
{
	ch->more_at = NEVER;
	relay_hold_transfer(ch->hold, TAPMIG_CMD_IMPORT_SYNC,
			    TAPMIG_A_TRANSFER_SEQ, ch->acked);
}

void standby_changed(struct channel *ch, const struct hold *old)
{
	struct relay_hold *rh = ch->hold;

	if (rh->gone || rh->h.state == TAPMIG_STATE_DEAD) {
		relay_channel_refuse(ch, "the standby hold is %s",
				     rh->gone ? "gone" : "dead");
		return;
	}
	if (ch->begun && rh->h.state == TAPMIG_STATE_ARMED) {
		relay_channel_refuse(ch, "the standby hold takes no packets any more");
		return;
	}
	if (ch->begun && rh->h.frozen_ns != rh->before.frozen_ns) {
		relay_channel_refuse(ch, "the standby hold was thawed and frozen anew");
		return;
	}
	if (ch->state == CHANNEL_FULL &&
	    rh->h.state == TAPMIG_STATE_THAWING)
		do_not_wait(ch);
	if (ch->state == CHANNEL_FULL && old->state != TAPMIG_STATE_LIVE &&
	    rh->h.state == TAPMIG_STATE_LIVE)
		ask_more(ch);
	ask_sync(ch);
}

/* When the source froze, by our clock. */
static int64_t freeze_time(const struct conn *c, uint64_t time)
{
	int64_t then = (int64_t)(time - (uint64_t)c->clock_offset);

	/* A time to come, or before our clock began, makes no sense. */
	return then < 0 ? 0 : then;
}

static uint64_t age_ms(int64_t then)
{
	int64_t now = relay_now();

	if (now - then < FLOOD_SKEW_NS)
		return 0;
	return (now - then - FLOOD_SKEW_NS) / NSEC_PER_MSEC;
}

/*
 * What to add to the times of packets. They, and that of the freeze on offer,
 * are of the source's CLOCK_REALTIME, which may be set to anything.
 */
static uint64_t time_shift(const struct offer *o, int64_t then)
{
	uint64_t real = then + clock_ns(CLOCK_REALTIME) - relay_now();

	return o && o->frozen_ns ? real - o->frozen_ns : 0;
}

/* The source's guest goes on: what came from it must not reach ours. */
static void cancel(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;

	relay_hold_refresh(rh);
	if (rh->h.state == TAPMIG_STATE_FROZEN) {
		if (relay_hold_request(rh, TAPMIG_CMD_HOLD_DISCARD) ||
		    relay_hold_request(rh, TAPMIG_CMD_HOLD_FREEZE))
			relay_tell(ch->conn->relay, "%s: %s",
				   relay_hold_name(rh), rh->ns->nl.error);
		/* Nobody owns it: a discard is its end. */
		if (rh->h.flags & TAPMIG_HOLD_FLAGS_PINNED)
			err("%s: has ended, as the migration was cancelled: freeze it anew for another one",
			    relay_hold_name(rh));
	} else if (is_started(rh)) {
		err("%s: the source's guest goes on, while this one has started",
		    relay_hold_name(rh));
		relay_hold_transfer(rh, TAPMIG_CMD_IMPORT_END, 0, 0);
	}
}

/*
 * Each hold begins with the same numbers: the kernel would take packets of the
 * next one for those that it has.
 */
static bool has_others(const struct relay_hold *rh, const struct offer *o)
{
	return o && rh->from_frozen_ns &&
	       rh->from_frozen_ns != o->frozen_ns &&
	       rh->h.frozen_ns == rh->before.frozen_ns;
}

void standby_begin(struct channel *ch, uint64_t time)
{
	struct offer *o = relay_peer_find(ch->conn, ch->peer_handle);
	int64_t then = freeze_time(ch->conn, time);
	struct relay_hold *rh = ch->hold;

	if (ch->state == CHANNEL_OPENED) {
		conn_blame(ch->conn, "BEGIN of channel %u, which is not paired",
			   ch->number);
		return;
	}
	if (!(rh->begun && o && o->frozen_ns == rh->from_frozen_ns) &&
	    relay_peer_ambiguous(ch))
		return;
	/* What went into another freeze is gone: it has to come again. */
	if (relay_hold_refresh(rh) ||
	    rh->h.frozen_ns != rh->known.frozen_ns) {
		relay_channel_refuse(ch, "the standby was frozen anew");
		return;
	}
	if (has_others(rh, o)) {
		if (rh->h.state != TAPMIG_STATE_FROZEN) {
			relay_channel_refuse(ch, "the standby has packets of another freeze");
			return;
		}
		relay_tell(ch->conn->relay,
			   "%s: packets of another freeze are dropped",
			   relay_hold_name(rh));
		cancel(ch);
	}
	if (relay_hold_transfer(rh, TAPMIG_CMD_IMPORT_BEGIN,
				TAPMIG_A_TRANSFER_AGE_MS, age_ms(then))) {
		err("%s: %s", relay_hold_name(rh), rh->ns->nl.error);
		relay_channel_refuse(ch, "%s", rh->ns->nl.error);
		return;
	}
	if (relay_hold_refresh(rh)) {
		relay_channel_refuse(ch, "%s", rh->ns->nl.error);
		return;
	}
	/* Or it goes on after the loss of a connection. */
	if (!rh->begun || rh->before.frozen_ns != rh->h.frozen_ns) {
		rh->before = rh->h;
		memset(&rh->counts, 0, sizeof(rh->counts));
	}
	rh->begun = true;
	rh->from_frozen_ns = o ? o->frozen_ns : 0;
	ch->time_shift = time_shift(o, then);
	ch->begun = true;
	ch->sync_asked = false;
	ch->in_step = false;
	ch->acked = 0;
	ch->more_at = NEVER;
	ch->more_asked = false;
	ch->state = CHANNEL_MOVING;
	ask_sync(ch);
}

static void account(struct conn *c, struct channel *ch)
{
	struct relay_counts *n = &ch->hold->counts;
	struct packet_batch *b = &c->batch;
	struct relay *r = c->relay;

	n->packets += b->accepted;
	n->bytes += b->bytes;
	n->late += b->late;
	n->resent += b->resent;
	r->moved_packets += b->accepted;
	r->moved_bytes += b->bytes;
	progress_update(&r->progress, 0, r->moved_packets, r->moved_bytes);
	if (b->refused && !n->refused)
		err("%s: a packet is left out: %s",
		    relay_hold_name(ch->hold), b->why);
	n->refused += b->refused;
	b->packets = 0;
	b->bytes = 0;
	b->accepted = 0;
	b->late = 0;
	b->resent = 0;
	b->refused = 0;
}

/* What the kernel says of packets: 0, no room, or something for good. */
static void result(struct conn *c, struct channel *ch, int ret)
{
	struct relay_hold *rh = ch->hold;

	account(c, ch);
	if (c->batch.last && c->batch.last != ch->acked) {
		ch->acked = c->batch.last;
		ch->more_ns = 0;
		relay_send_number(ch, RELAY_ACK, ch->acked);
	}
	if (!ret)
		return;
	if (ret != -ENOBUFS && ret != -ENOMEM) {
		relay_channel_refuse(ch, "%s", rh->ns->nl.error);
		return;
	}
	if (!ch->full_told)
		err("%s: is full; the rest of the packets waits at the source: %s",
		    relay_hold_name(rh), rh->ns->nl.error);
	ch->full_told = true;
	ch->state = CHANNEL_FULL;
	relay_send_simple(ch, RELAY_FULL);
	if (rh->h.state == TAPMIG_STATE_THAWING)
		do_not_wait(ch);
	else
		try_later(ch);
}

void standby_flush(struct conn *c)
{
	struct channel *ch = c->batch_chan;

	c->batch_chan = NULL;
	if (!ch || ch->state != CHANNEL_MOVING || ch->hold->gone)
		return;
	result(c, ch, packet_batch_flush(&c->batch, &ch->hold->ns->nl));
}

/* The batch is this channel's from now on. */
static int take_batch(struct conn *c, struct channel *ch)
{
	if (c->batch_chan == ch)
		return 0;
	standby_flush(c);
	if (!c->batch.msg && packet_batch_init(&c->batch, 0))
		return -ENOMEM;
	c->batch.skip_refused = true;
	c->batch.hold_id = ch->hold->h.id;
	c->batch.last = 0;
	c->batch.count = 0;
	c->batch_chan = ch;
	return 0;
}

void standby_packet(struct conn *c, const struct packet *p)
{
	struct channel *ch = relay_channel(c, false, p->interface);
	bool raw = c->in.link_type != LINKTYPE_ETHERNET;
	struct packet ours = *p;
	int ret;

	if (!ch) {
		conn_blame(c, "packet of interface %u, of which no PAIR has come",
			   p->interface);
		return;
	}
	switch (ch->state) {
	case CHANNEL_MOVING:
		break;
	case CHANNEL_FULL:
	case CHANNEL_CLOSED:
		return;
	default:
		conn_blame(c, "packet of channel %u, which has not begun",
			   ch->number);
		return;
	}
	if (raw != is_raw(ch->hold)) {
		conn_blame(c, "packet of link type %u of channel %u",
			   c->in.link_type, ch->number);
		return;
	}
	if (ch->hold->gone)
		return;
	if (take_batch(c, ch)) {
		conn_blame(c, "out of memory");
		return;
	}
	ours.time_ns += ch->time_shift;
	ret = packet_batch_add(&c->batch, &ch->hold->ns->nl, &ours);
	if (ret) {
		c->batch_chan = NULL;
		result(c, ch, ret);
	}
}

void standby_sync(struct channel *ch, uint64_t seq)
{
	struct relay_hold *rh = ch->hold;

	/* What it says was in packets that had no room. */
	if (ch->state == CHANNEL_FULL)
		return;
	if (ch->state != CHANNEL_MOVING || !ch->sync_asked) {
		conn_blame(ch->conn, "SYNC of channel %u, which was not asked for",
			   ch->number);
		return;
	}
	if (relay_hold_transfer(rh, TAPMIG_CMD_IMPORT_SYNC,
				TAPMIG_A_TRANSFER_SEQ, seq)) {
		relay_channel_refuse(ch, "%s", rh->ns->nl.error);
		return;
	}
	ch->in_step = true;
	relay_send_simple(ch, RELAY_SYNCED);
}

void standby_end(struct channel *ch, uint32_t reason)
{
	struct relay *r = ch->conn->relay;
	struct relay_hold *rh = ch->hold;
	uint64_t counts[8];

	if (reason >= RELAY_END_COUNT) {
		conn_blame(ch->conn, "END of channel %u for reason %u",
			   ch->number, reason);
		return;
	}
	/* It will find out that we were full, and come back to it. */
	if (ch->state == CHANNEL_FULL && reason == RELAY_END_DONE)
		return;
	if (ch->state != CHANNEL_MOVING && ch->state != CHANNEL_FULL) {
		conn_blame(ch->conn, "END of channel %u, which has not begun",
			   ch->number);
		return;
	}
	ch->begun = false;
	ch->state = CHANNEL_PAIRED;
	if (reason == RELAY_END_CANCELLED) {
		cancel(ch);
	} else {
		relay_hold_transfer(rh, TAPMIG_CMD_IMPORT_SYNC,
				    TAPMIG_A_TRANSFER_SEQ, ch->acked);
		if (relay_hold_transfer(rh, TAPMIG_CMD_IMPORT_END, 0, 0))
			relay_tell(r, "%s: %s", relay_hold_name(rh),
				   rh->ns->nl.error);
	}
	relay_hold_refresh(rh);
	rh->counts.duplicates = rh->h.flooded - rh->before.flooded;
	rh->counts.dropped = rh->h.dropped - rh->before.dropped;
	counts[0] = rh->h.imported - rh->before.imported;
	counts[1] = rh->h.resent - rh->before.resent;
	counts[2] = rh->h.flooded - rh->before.flooded;
	counts[3] = rh->h.late - rh->before.late;
	counts[4] = rh->h.late_skipped - rh->before.late_skipped;
	counts[5] = rh->h.own_address - rh->before.own_address;
	counts[6] = rh->h.lost - rh->before.lost;
	counts[7] = rh->counts.refused;
	relay_send_ended(ch, counts);
	relay_summary(r, rh, reason);
}

void standby_timer(struct channel *ch, int64_t now, int64_t *next)
{
	if (ch->state != CHANNEL_FULL)
		return;
	if (now >= ch->more_at)
		ask_more(ch);
	else if (ch->more_at < *next)
		*next = ch->more_at;
}
