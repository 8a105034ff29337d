// SPDX-License-Identifier: GPL-2.0-only
/* Who the peer is, what it has on offer, and which holds belong together. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

/*
 * The clocks drift apart: after the first of these a measure that is not much
 * worse takes the place of the best one, after the second any.
 */
#define CLOCK_NS	(60 * NSEC_PER_SEC)
#define CLOCK_OLD_NS	(600 * NSEC_PER_SEC)
/* After a failure of ours. */
#define RETRY_NS	NSEC_PER_SEC

static void offer_all(struct conn *c)
{
	struct relay_hold *rh;

	TAILQ_FOREACH(rh, &c->relay->holds, link)
		if (rh->offered)
			relay_send_offer(c, rh);
}

/* Tell all peers of a hold. */
static void offer_hold(struct relay *r, const struct relay_hold *rh)
{
	struct conn *c;

	if (!rh->offered)
		return;
	TAILQ_FOREACH(c, &r->conns, link) {
		if (c->dead || !c->said_hello)
			continue;
		if (rh->gone)
			relay_send_withdraw(c, rh->handle);
		else
			relay_send_offer(c, rh);
	}
}

/* What has no name cannot be called by it; and a peer takes so many only. */
static void offer_more(struct relay *r)
{
	struct relay_hold *rh;

	TAILQ_FOREACH(rh, &r->holds, link) {
		if (rh->gone || rh->offered || !*rh->h.label)
			continue;
		if (r->offered == RELAY_OFFERS_MAX) {
			if (!r->offers_told)
				err("more than %u holds with a label: the newest are not moved, as long as there are so many",
				    RELAY_OFFERS_MAX);
			r->offers_told = true;
			return;
		}
		rh->offered = true;
		r->offered++;
		offer_hold(r, rh);
	}
}

/* As if it were new: whom it was refused tries again. */
static void offer_anew(struct relay *r, const struct relay_hold *rh,
		       const struct conn *except)
{
	struct conn *c;

	TAILQ_FOREACH(c, &r->conns, link) {
		if (c == except || c->dead || !c->said_hello)
			continue;
		relay_send_withdraw(c, rh->handle);
		relay_send_offer(c, rh);
	}
}

void relay_peer_hello(struct conn *c, uint32_t version,
		      const uint8_t *instance)
{
	struct relay *r = c->relay;
	struct conn *other;

	if (version != RELAY_VERSION) {
		conn_blame(c, "it speaks version %u of the relay protocol, this is version %u",
			   version, RELAY_VERSION);
		return;
	}
	if (!memcmp(instance, r->instance, RELAY_INSTANCE_LEN)) {
		conn_blame(c, "a relay cannot be its own peer");
		return;
	}
	/* Who connects again knows that the old connection is broken. */
	TAILQ_FOREACH(other, &r->conns, link) {
		if (other == c || other->dead || !other->said_hello ||
		    memcmp(other->instance, instance, RELAY_INSTANCE_LEN))
			continue;
		standby_flush(other);
		conn_close(other, "replaced by another connection");
	}
	memcpy(c->instance, instance, RELAY_INSTANCE_LEN);
	c->said_hello = true;
	*r->said = 0;
	relay_tell(r, "connected: %s", c->name);
	offer_all(c);
}

void relay_peer_pong(struct conn *c, uint64_t echo, uint64_t time)
{
	int64_t now = relay_now(), rtt, age;
	struct channel *ch;

	if (!c->pinged || echo != (uint64_t)c->pinged) {
		conn_blame(c, "PONG without its PING");
		return;
	}
	rtt = now - c->pinged;
	rtt = rtt ? rtt : 1;
	c->pinged = 0;
	age = now - c->best_at;
	if (!c->best_rtt || rtt <= c->best_rtt || age > CLOCK_OLD_NS ||
	    (age > CLOCK_NS && rtt <= 2 * c->best_rtt)) {
		c->best_rtt = rtt;
		c->best_at = now;
		c->clock_offset = (int64_t)(time - (uint64_t)(now - rtt / 2));
	}
	if (c->pongs < RELAY_PONGS && ++c->pongs < RELAY_PONGS) {
		relay_send_ping(c);
		return;
	}
	TAILQ_FOREACH(ch, &c->channels, link)
		if (ch->waiting && ch->state == CHANNEL_OPENED)
			standby_paired(ch);
	/* They were sent before the answer to any PING. */
	source_offers_known(c);
}

struct offer *relay_peer_find(struct conn *c, uint32_t handle)
{
	struct offer *o;

	TAILQ_FOREACH(o, &c->offers, link)
		if (o->handle == handle)
			return o;
	return NULL;
}

/*
 * The best of the peers' holds with this label and role, and where it is;
 * *twice: there are two as good.
 */
static struct offer *offer_best(struct relay *r, uint32_t role,
				const char *label, struct conn **at,
				bool *twice)
{
	struct offer *o, *best = NULL;
	int rank, best_rank = -1;

	*twice = false;
	LIST_FOREACH(o, &relay_labels(r, label)->offers, alike) {
		if (o->conn->dead || o->conn->state != CONN_OPEN ||
		    o->role != role || strcmp(o->label, label))
			continue;
		rank = relay_rank(o->state, o->flags);
		/* A dead standby takes nothing. */
		if (rank < best_rank ||
		    (!rank && role == TAPMIG_ROLE_STANDBY))
			continue;
		*twice = rank == best_rank;
		best_rank = rank;
		best = o;
		*at = o->conn;
	}
	return best;
}

/* A source is gone, or counts less: another one may have been refused. */
static void source_fell(struct conn *c, const struct offer *o)
{
	struct relay_hold *rh;

	if (o->role != TAPMIG_ROLE_SOURCE)
		return;
	LIST_FOREACH(rh, &relay_labels(c->relay, o->label)->holds, alike)
		if (rh->offered && !rh->chan &&
		    rh->h.role == TAPMIG_ROLE_STANDBY &&
		    !strcmp(rh->h.label, o->label))
			offer_anew(c->relay, rh, c);
}

void relay_peer_gone(struct conn *c)
{
	struct offer *o;

	while ((o = TAILQ_FIRST(&c->offers))) {
		TAILQ_REMOVE(&c->offers, o, link);
		LIST_REMOVE(o, alike);
		source_fell(c, o);
		free(o);
	}
}

static struct channel *channel_to(struct conn *c, uint32_t handle)
{
	struct channel *ch;

	TAILQ_FOREACH(ch, &c->channels, link)
		if (ch->ours && ch->state != CHANNEL_CLOSED &&
		    ch->peer_handle == handle)
			return ch;
	return NULL;
}

void relay_peer_offer(struct conn *c, const struct offer *new)
{
	struct offer *o = relay_peer_find(c, new->handle);
	struct channel *ch;
	int rank;

	if (o) {
		/*
		 * What pairing itself changes is no reason to try again, nor
		 * that it takes nothing.
		 */
		if (new->state != TAPMIG_STATE_ARMED &&
		    (o->state != new->state || o->frozen_ns != new->frozen_ns ||
		     ((o->flags ^ new->flags) & TAPMIG_HOLD_FLAGS_DETACHED)))
			o->refused = false;
		if (strcmp(o->label, new->label)) {
			conn_blame(c, "OFFER of hold %u with another label",
				   new->handle);
			return;
		}
		rank = relay_rank(o->state, o->flags);
		o->flags = new->flags;
		o->role = new->role;
		o->state = new->state;
		o->max_packets = new->max_packets;
		o->max_bytes = new->max_bytes;
		o->frozen_ns = new->frozen_ns;
		if (relay_rank(o->state, o->flags) < rank)
			source_fell(c, o);
		ch = channel_to(c, o->handle);
		if (ch)
			source_peer_changed(ch, o);
	} else {
		if (c->offer_count == RELAY_OFFERS_MAX) {
			conn_blame(c, "more than %u holds on offer",
				   RELAY_OFFERS_MAX);
			return;
		}
		o = malloc(sizeof(*o));
		if (!o) {
			conn_blame(c, "out of memory");
			return;
		}
		*o = *new;
		o->conn = c;
		TAILQ_INSERT_TAIL(&c->offers, o, link);
		LIST_INSERT_HEAD(&relay_labels(c->relay, o->label)->offers, o,
				 alike);
		c->offer_count++;
	}
	c->relay->pair_wanted = true;
}

void relay_peer_withdraw(struct conn *c, uint32_t handle)
{
	struct offer *o = relay_peer_find(c, handle), *other;

	if (!o) {
		conn_blame(c, "WITHDRAW of hold %u, which was not on offer",
			   handle);
		return;
	}
	TAILQ_REMOVE(&c->offers, o, link);
	LIST_REMOVE(o, alike);
	c->offer_count--;
	/* One may have been refused as there were two. */
	TAILQ_FOREACH(other, &c->offers, link)
		if (!strcmp(other->label, o->label))
			other->refused = false;
	source_fell(c, o);
	free(o);
	/* Its channel is ended by UNPAIR. */
	c->relay->pair_wanted = true;
}

struct channel *relay_channel(struct conn *c, bool ours, uint32_t number)
{
	if (number >= (ours ? c->opened : c->peer_opened))
		return NULL;
	return c->by_number[ours][number];
}

void relay_channel_close(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;

	if (ch->state == CHANNEL_CLOSED)
		return;
	if (ch->ours)
		source_close(ch);
	if (ch->conn->batch_chan == ch)
		ch->conn->batch_chan = NULL;
	ch->state = CHANNEL_CLOSED;
	ch->hold = NULL;
	if (!rh || rh->chan != ch)
		return;
	rh->chan = NULL;
	/* Another peer may have been refused as it was paired. */
	if (!ch->ours && !rh->gone)
		offer_anew(ch->conn->relay, rh, ch->conn);
}

void relay_channel_refuse(struct channel *ch, const char *fmt, ...)
{
	char text[RELAY_TEXT_MAX];
	va_list ap;

	if (ch->state == CHANNEL_CLOSED)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	relay_send_unpair(ch, text);
	relay_channel_close(ch);
}

/* The next channel of one side. hold NULL: nothing is to be heard of it. */
static struct channel *channel_new(struct conn *c, bool ours,
				   struct relay_hold *rh, uint32_t peer)
{
	uint32_t *count = ours ? &c->opened : &c->peer_opened;
	struct channel *ch = calloc(1, sizeof(*ch)), **all;

	/* Powers of two: grown only when full. */
	if (ch && !(*count & (*count - 1))) {
		all = realloc(c->by_number[ours], sizeof(ch) *
			      (*count ? *count * 2 : 1));
		if (!all) {
			free(ch);
			ch = NULL;
		} else {
			c->by_number[ours] = all;
		}
	}
	if (!ch) {
		conn_blame(c, "out of memory");
		return NULL;
	}
	ch->conn = c;
	ch->ours = ours;
	ch->number = *count;
	ch->hold = rh;
	ch->peer_handle = peer;
	ch->begin_at = NEVER;
	ch->linger_until = NEVER;
	ch->quiet_until = NEVER;
	ch->more_at = NEVER;
	ch->state = rh ? CHANNEL_OPENED : CHANNEL_CLOSED;
	if (rh)
		rh->chan = ch;
	c->by_number[ours][(*count)++] = ch;
	TAILQ_INSERT_TAIL(&c->channels, ch, link);
	return ch;
}

static void channel_never(struct conn *c, const char *why)
{
	struct channel *ch = channel_new(c, false, NULL, 0);

	if (ch)
		relay_send_unpair(ch, why);
}

/*
 * Whose source is not the best one. What a dead one has sent goes with the next
 * BEGIN; what one that lives has sent may be delivered any time.
 */
static bool gives_way(const struct channel *ch)
{
	struct offer *o = relay_peer_find(ch->conn, ch->peer_handle);

	if (!ch->begun)
		return true;
	return ch->hold->h.state == TAPMIG_STATE_FROZEN &&
	       (!o || o->state == TAPMIG_STATE_DEAD);
}

void relay_peer_pair(struct conn *c, uint32_t number, uint32_t source,
		     uint32_t standby)
{
	struct relay_hold *rh = relay_hold_find(c->relay, standby), *best;
	struct offer *o = relay_peer_find(c, source), *best_offer;
	char text[RELAY_TEXT_MAX];
	struct channel *ch;
	struct conn *at;
	bool twice;

	if (number != c->peer_opened || c->in.interfaces != number + 1) {
		conn_blame(c, "PAIR of channel %u, with %u opened and %u described",
			   number, c->peer_opened, c->in.interfaces);
		return;
	}
	if (!o || o->role != TAPMIG_ROLE_SOURCE) {
		conn_blame(c, "PAIR of hold %u, which is no source on offer",
			   source);
		return;
	}
	/* May have gone, or have changed, while PAIR was under way. */
	if (!rh) {
		channel_never(c, "the standby is gone");
		return;
	}
	if (rh->h.role != TAPMIG_ROLE_STANDBY || !*o->label ||
	    strcmp(rh->h.label, o->label)) {
		conn_blame(c, "PAIR of source %u and hold %u, which is no standby with its label",
			   source, standby);
		return;
	}
	if (rh->h.link_type != o->link_type) {
		err("%s: %s: the source has frames of another kind (Ethernet, raw IP)",
		    c->name, relay_hold_name(rh));
		channel_never(c,
			      "the standby has frames of another kind");
		return;
	}
	best = relay_hold_best(c->relay, TAPMIG_ROLE_STANDBY, rh->h.label,
			       &twice);
	if (best != rh || twice) {
		snprintf(text, sizeof(text),
			 "there are several standby holds with this label");
		err("%s: %s: %s: none is paired", c->name,
		    relay_hold_name(rh), text);
		channel_never(c, text);
		return;
	}
	best_offer = offer_best(c->relay, TAPMIG_ROLE_SOURCE, o->label, &at,
				&twice);
	if (best_offer != o || twice) {
		snprintf(text, sizeof(text), "%s", twice ?
			 "there are several sources with this label" :
			 "another source with this label goes before it");
		err("%s: %s: %s", c->name, relay_hold_name(rh), text);
		channel_never(c, text);
		return;
	}
	ch = rh->chan;
	if (ch && (ch->conn != c || ch->peer_handle != source) &&
	    gives_way(ch))
		relay_channel_refuse(ch, "another source with this label goes before it");
	if (rh->chan) {
		channel_never(c, "the standby is paired already");
		return;
	}
	ch = channel_new(c, false, rh, source);
	if (!ch)
		return;
	if (relay_hold_set_peer(rh, true)) {
		relay_channel_refuse(ch, "%s", rh->ns->nl.error);
		return;
	}
	ch->waiting = c->pongs < RELAY_PONGS;
	if (!ch->waiting)
		standby_paired(ch);
}

void relay_peer_paired(struct channel *ch)
{
	if (ch->state != CHANNEL_OPENED) {
		conn_blame(ch->conn, "a second PAIRED of channel %u",
			   ch->number);
		return;
	}
	ch->state = CHANNEL_PAIRED;
	relay_tell(ch->conn->relay, "%s: paired with %s",
		   relay_hold_name(ch->hold), ch->conn->name);
	source_paired(ch);
}

void relay_peer_unpair(struct channel *ch, const char *text)
{
	struct relay *r = ch->conn->relay;
	struct relay_hold *rh = ch->hold;
	struct offer *o;

	if (*text)
		err("%s: %s: not paired any more: %s", ch->conn->name,
		    relay_hold_name(rh), text);
	else
		relay_tell(r, "%s: not paired any more", relay_hold_name(rh));
	if (ch->ours) {
		/* Not again, before something has changed there. */
		o = relay_peer_find(ch->conn, ch->peer_handle);
		if (o)
			o->refused = true;
	} else if (!ch->begun) {
		/* Nothing will come: nothing to wait for. */
		relay_hold_set_peer(rh, false);
	}
	relay_channel_close(ch);
	r->pair_wanted = true;
}

void relay_hold_appeared(struct relay *r, struct relay_hold *rh)
{
	rh->known = rh->h;
	relay_tell(r, "%s: %s, %s", relay_hold_name(rh),
		   role_names[rh->h.role], state_names[rh->h.state]);
	offer_more(r);
	r->pair_wanted = true;
}

static bool changed(const struct relay_hold *rh)
{
	const struct hold *a = &rh->known, *b = &rh->h;

	return rh->gone || a->state != b->state || a->flags != b->flags ||
	       a->frozen_ns != b->frozen_ns;
}

void relay_hold_changed(struct relay *r, struct relay_hold *rh)
{
	struct channel *ch = rh->chan;
	struct hold old;

	/* An event can be older than what a request has told already. */
	if (ch && !rh->gone && changed(rh))
		relay_hold_refresh(rh);
	if (rh->h.role == TAPMIG_ROLE_SOURCE)
		source_follow(rh);
	if (!changed(rh)) {
		/* More packets, perhaps. */
		if (ch && ch->ours)
			source_changed(ch);
		return;
	}
	old = rh->known;
	rh->known = rh->h;
	if (rh->gone || old.state != rh->h.state)
		relay_tell(r, "%s: %s", relay_hold_name(rh),
			   rh->gone ? "gone" : state_names[rh->h.state]);
	*rh->told = 0;
	/* What it is now is a reason to pair anew: UNPAIR goes before it. */
	if (ch && !ch->ours)
		standby_changed(ch, &old);
	offer_hold(r, rh);
	if (rh->gone && rh->offered) {
		rh->offered = false;
		r->offered--;
		offer_more(r);
	}
	if (ch && ch->ours)
		source_changed(ch);
	r->pair_wanted = true;
}

/* Say it once, until something changes. */
static void tell_once(struct relay_hold *rh, const char *why)
{
	if (!strcmp(rh->told, why))
		return;
	snprintf(rh->told, sizeof(rh->told), "%s", why);
	err("%s: not paired: %s", relay_hold_name(rh), why);
}

bool relay_peer_ambiguous(struct channel *ch)
{
	struct offer *o = relay_peer_find(ch->conn, ch->peer_handle), *theirs;
	struct relay_hold *rh = ch->hold, *ours;
	struct relay *r = ch->conn->relay;
	uint32_t role = rh->h.role;
	char text[RELAY_TEXT_MAX];
	bool twice, many = false;
	struct conn *at;

	ours = relay_hold_best(r, role, rh->h.label, &twice);
	if (twice && relay_rank(rh->h.state, rh->h.flags) ==
		     relay_rank(ours->h.state, ours->h.flags))
		many = true;
	if (!many) {
		role = ch->ours ? TAPMIG_ROLE_STANDBY : TAPMIG_ROLE_SOURCE;
		theirs = offer_best(r, role, rh->h.label, &at, &twice);
		many = twice && o && theirs &&
		       relay_rank(o->state, o->flags) ==
		       relay_rank(theirs->state, theirs->flags);
	}
	if (!many)
		return false;
	snprintf(text, sizeof(text), "there are several %s holds with this label",
		 role_names[role]);
	err("%s: %s", relay_hold_name(rh), text);
	relay_channel_refuse(ch, "%s", text);
	r->pair_wanted = true;
	return true;
}

/* Are most numbers of channels used up, rather than in use. */
static bool used_up(const struct conn *c)
{
	unsigned int closed = c->opened;
	const struct channel *ch;

	if (c->opened == CAPTURE_INTERFACES_MAX)
		return true;
	TAILQ_FOREACH(ch, &c->channels, link)
		closed -= ch->ours && ch->state != CHANNEL_CLOSED;
	return closed >= CAPTURE_INTERFACES_MAX / 4 * 3;
}

static bool moving(const struct conn *c)
{
	const struct channel *ch;

	TAILQ_FOREACH(ch, &c->channels, link)
		if (ch->state >= CHANNEL_MOVING && ch->state != CHANNEL_CLOSED)
			return true;
	return false;
}

static void open_channel(struct relay_hold *rh, struct conn *c,
			 const struct offer *o)
{
	struct channel *ch;

	if (used_up(c)) {
		if (!moving(c)) {
			conn_close(c, "%u channels were opened, a new connection is needed",
				   c->opened);
			return;
		}
		if (c->opened == CAPTURE_INTERFACES_MAX) {
			relay_pair_later(c->relay, rh);
			return;
		}
	}
	if (rh->h.link_type != o->link_type) {
		tell_once(rh, "the standby has frames of another kind (Ethernet, raw IP)");
		return;
	}
	ch = channel_new(c, true, rh, o->handle);
	if (!ch)
		return;
	if (o->max_packets < rh->h.max_packets ||
	    o->max_bytes < rh->h.max_bytes)
		relay_tell(c->relay, "%s: the standby may hold less (%u packets, %llu bytes)",
			   relay_hold_name(rh), o->max_packets,
			   (unsigned long long)o->max_bytes);
	relay_send_pair(ch);
}

static void pair_source(struct relay *r, struct relay_hold *rh)
{
	struct conn *c = NULL;
	struct relay_hold *best;
	struct offer *o;
	bool twice;

	best = relay_hold_best(r, TAPMIG_ROLE_SOURCE, rh->h.label, &twice);
	if (twice && relay_rank(rh->h.state, rh->h.flags) ==
		     relay_rank(best->h.state, best->h.flags)) {
		tell_once(rh, "there are several sources with this label");
		return;
	}
	if (best != rh)
		return;
	o = offer_best(r, TAPMIG_ROLE_STANDBY, rh->h.label, &c, &twice);
	if (twice) {
		tell_once(rh, "there are several standby holds with its label");
		return;
	}
	if (o && !o->refused)
		open_channel(rh, c, o);
}

void relay_pair_later(struct relay *r, struct relay_hold *rh)
{
	rh->not_before = relay_now() + RETRY_NS;
	if (rh->not_before < r->pair_at)
		r->pair_at = rh->not_before;
}

void relay_pair(struct relay *r)
{
	int64_t now = relay_now();
	struct relay_hold *rh;

	r->pair_wanted = false;
	r->pair_at = NEVER;
	TAILQ_FOREACH(rh, &r->holds, link) {
		if (rh->chan || !rh->offered ||
		    rh->h.role != TAPMIG_ROLE_SOURCE)
			continue;
		/* It is over, until it freezes again. */
		if (rh->moved_ns && rh->moved_ns == rh->h.frozen_ns &&
		    rh->h.state != TAPMIG_STATE_ARMED)
			continue;
		if (now >= rh->not_before)
			pair_source(r, rh);
		else if (rh->not_before < r->pair_at)
			r->pair_at = rh->not_before;
	}
}
