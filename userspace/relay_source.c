// SPDX-License-Identifier: GPL-2.0-only
/*
 * Channels that packets leave by. The hold keeps every packet until it is
 * committed, at the very end; so nothing is copied here but what is about to
 * be written.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/genetlink.h>

#include "relay.h"

/*
 * A flooded frame that the source's guest has just seen may reach the standby
 * only now. It is told by its age, so all of this time has to be over when the
 * standby looks for what is too old.
 */
#define FLOOD_SKEW_MS	10
/* Without a late packet for so long, none is expected any more. */
#define QUIET_NS	(500 * NSEC_PER_MSEC)
/* A timer that is so late is of a process that could not run. */
#define HELD_UP_NS	(100 * NSEC_PER_MSEC)
/* Until a hold that could not be asked is asked again. */
#define REFRESH_AGAIN_NS (50 * NSEC_PER_MSEC)
/* Bytes read for one channel before others have their turn. */
#define READ_TURN	(1UL << 20)

/* To write, with the conn_queued() of all others. */
static bool has_room(const struct conn *c)
{
	return !c->dead && c->state == CONN_OPEN &&
	       conn_queued(c) < c->relay->buffer / 2;
}

/* What an export under way has still to say goes with its socket. */
static void stop_reading(struct channel *ch)
{
	ch->reading = false;
	if (!ch->nl)
		return;
	nl_close(ch->nl);
	free(ch->nl);
	ch->nl = NULL;
}

/* The hold is over, whatever became of its packets. */
static void over(struct relay *r, struct relay_hold *rh, enum relay_end result)
{
	rh->moved_ns = rh->sent_frozen_ns;
	/* There may have been more since; of one that is gone it has told. */
	relay_hold_refresh(rh);
	relay_hold_count_dropped(rh);
	relay_summary(r, rh, result);
}

/* The standby has all, for ever: the source's hold has served. */
static enum relay_end release(struct relay *r, struct relay_hold *rh,
			      uint64_t highest)
{
	struct nl *nl = &rh->ns->nl;

	if (relay_hold_refresh(rh))
		return RELAY_END_DONE;
	/* Thawed in the last moment, and perhaps frozen anew: not ours. */
	if ((rh->h.state != TAPMIG_STATE_FROZEN &&
	     rh->h.state != TAPMIG_STATE_DEAD) ||
	    rh->h.frozen_ns != rh->sent_frozen_ns)
		return RELAY_END_CANCELLED;
	if (highest &&
	    relay_hold_transfer(rh, TAPMIG_CMD_PACKET_COMMIT,
				TAPMIG_A_TRANSFER_SEQ, highest))
		err("%s: %s", relay_hold_name(rh), nl->error);
	if (!relay_hold_refresh(rh))
		rh->counts.discarded = rh->h.held_packets;
	rh->moved_ns = rh->sent_frozen_ns;
	if (relay_hold_request(rh, TAPMIG_CMD_HOLD_DISCARD))
		relay_tell(r, "%s: %s", relay_hold_name(rh), nl->error);
	return RELAY_END_DONE;
}

/*
 * END was sent, and ENDED will not come. If END was lost with the connection,
 * it has to be sent once more over the next one.
 */
static void unanswered(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;
	struct conn *c = ch->conn;
	bool lost = (c->dead || c->state != CONN_OPEN) && !c->relay->quitting;

	if (ch->end != RELAY_END_DONE) {
		if (rh->gone || !lost)
			over(c->relay, rh, ch->end);
	} else if (ch->last_ack == ch->last) {
		if (lost)
			rh->there_ns = rh->sent_frozen_ns;
		else
			over(c->relay, rh,
			     release(c->relay, rh, ch->highest));
	}
}

/* What was sent went elsewhere then, and the standby has not said it knows. */
static bool owes_end(const struct relay_hold *rh)
{
	return rh->begun && rh->ended != RELAY_END_DONE;
}

/* Has this standby still what was sent. */
static bool has_sent(const struct relay_hold *rh, const struct offer *o)
{
	return o && o->state != TAPMIG_STATE_ARMED &&
	       o->state != TAPMIG_STATE_DEAD &&
	       o->frozen_ns == rh->peer_frozen_ns;
}

void source_offers_known(struct conn *c)
{
	struct relay *r = c->relay;
	struct relay_hold *rh;
	struct offer *o;
	bool owes;

	TAILQ_FOREACH(rh, &r->holds, link) {
		owes = owes_end(rh);
		if (rh->gone || (!owes && (!rh->there_ns ||
					   rh->there_ns != rh->h.frozen_ns)) ||
		    memcmp(rh->instance, c->instance, RELAY_INSTANCE_LEN))
			continue;
		o = relay_peer_find(c, rh->peer_handle);
		if (owes) {
			if (!has_sent(rh, o) &&
			    !(rh->chan && rh->chan->state == CHANNEL_ENDING))
				over(r, rh, rh->ended);
			continue;
		}
		/* Gone, or ready for another use: it had got END. */
		if (o && o->state != TAPMIG_STATE_ARMED)
			continue;
		if (rh->chan)
			relay_channel_refuse(rh->chan, "%s", "");
		over(r, rh, release(r, rh, rh->acked));
	}
}

void source_close(struct channel *ch)
{
	/* Nobody is left to answer. */
	if (ch->hold && ch->state == CHANNEL_ENDING)
		unanswered(ch);
	stop_reading(ch);
	free(ch->samples);
	ch->samples = NULL;
}

static bool has_packets(const struct relay_hold *rh)
{
	if (rh->gone || (rh->moved_ns && rh->moved_ns == rh->h.frozen_ns))
		return false;
	return rh->h.state == TAPMIG_STATE_FROZEN ||
	       (rh->h.state == TAPMIG_STATE_DEAD && rh->h.frozen_ns);
}

/* Is what was acknowledged still true of this standby. */
static bool known_peer(const struct channel *ch, const struct offer *o)
{
	const struct relay_hold *rh = ch->hold;

	return rh->sent_frozen_ns == rh->h.frozen_ns &&
	       rh->peer_handle == ch->peer_handle &&
	       rh->peer_frozen_ns == o->frozen_ns &&
	       !memcmp(rh->instance, ch->conn->instance, RELAY_INSTANCE_LEN);
}

/* The kernel has no more for us; the standby is told. */
static void end(struct channel *ch, enum relay_end reason)
{
	stop_reading(ch);
	ch->state = CHANNEL_ENDING;
	ch->end = reason;
	ch->dirty = false;
	ch->sync_wanted = false;
	relay_send_end(ch, reason);
}

/* It may work later. */
static void fail(struct channel *ch, const char *why)
{
	relay_pair_later(ch->conn->relay, ch->hold);
	relay_channel_refuse(ch, "%s", why);
}

static void begin(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;
	struct offer *o = relay_peer_find(ch->conn, ch->peer_handle);
	int ret;

	ch->begin_at = NEVER;
	if (owes_end(rh) && !has_packets(rh) && has_sent(rh, o)) {
		relay_send_begin(ch, rh->froze_at);
		end(ch, rh->ended);
		return;
	}
	if (!o || o->state == TAPMIG_STATE_ARMED ||
	    o->state == TAPMIG_STATE_DEAD || !has_packets(rh))
		return;
	if (!ch->samples)
		ch->samples = calloc(RELAY_SAMPLES, sizeof(*ch->samples));
	if (!ch->samples) {
		err("%s: out of memory", relay_hold_name(rh));
		fail(ch, "out of memory");
		return;
	}
	/* The age has to be that of now. A newer freeze is offered first. */
	ret = relay_hold_refresh(rh);
	if (ret && ret != -ENOENT)
		ch->begin_at = relay_now() + REFRESH_AGAIN_NS;
	if (ret || !has_packets(rh) || rh->h.frozen_ns != rh->known.frozen_ns)
		return;
	if (rh->h.frozen_for_ms <= FLOOD_SKEW_MS) {
		ch->begin_at = relay_now() + NSEC_PER_MSEC *
			(FLOOD_SKEW_MS + 1 - (int64_t)rh->h.frozen_for_ms);
		return;
	}
	if (rh->sent_frozen_ns != rh->h.frozen_ns) {
		memset(&rh->counts, 0, sizeof(rh->counts));
		rh->counted = 0;
	}
	if (!known_peer(ch, o)) {
		if (relay_peer_ambiguous(ch))
			return;
		rh->acked = 0;
		rh->odd = false;
		rh->sent_frozen_ns = rh->h.frozen_ns;
		rh->peer_handle = ch->peer_handle;
		rh->peer_frozen_ns = o->frozen_ns;
		memcpy(rh->instance, ch->conn->instance, RELAY_INSTANCE_LEN);
	}
	ch->next = rh->acked ? rh->acked + 1 : 0;
	ch->first_low = rh->acked;
	ch->highest = rh->acked;
	ch->last = rh->acked;
	ch->last_ack = rh->acked;
	ch->sample_count = 0;
	ch->synced = false;
	ch->linger_until = NEVER;
	ch->quiet_until = NEVER;
	ch->sync_wanted = false;
	ch->sync_sent = false;
	ch->end_wanted = false;
	ch->dirty = true;
	rh->begun = true;
	rh->ended = RELAY_END_DONE;
	rh->discarded = rh->h.discarded;
	rh->there_ns = 0;
	rh->froze_at = relay_now() -
		       (int64_t)rh->h.frozen_for_ms * NSEC_PER_MSEC;
	ch->state = CHANNEL_MOVING;
	relay_send_begin(ch, rh->froze_at);
	relay_tell(ch->conn->relay, "%s: packets go to %s, from %llu on",
		   relay_hold_name(rh), ch->conn->name,
		   (unsigned long long)ch->next);
}

void source_paired(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;

	rh->was_paired = true;
	/* Refused by one that goes away: its event comes. */
	relay_hold_set_peer(rh, true);
	begin(ch);
}

void source_peer_changed(struct channel *ch, const struct offer *o)
{
	struct relay_hold *rh = ch->hold;

	if (ch->state == CHANNEL_PAIRED) {
		begin(ch);
		return;
	}
	if ((ch->state != CHANNEL_MOVING && ch->state != CHANNEL_FULL) ||
	    rh->peer_frozen_ns == o->frozen_ns)
		return;
	/* What was acknowledged may be from before, and gone. */
	rh->peer_frozen_ns = o->frozen_ns;
	rh->acked = 0;
}

void source_follow(struct relay_hold *rh)
{
	if (!rh->begun || rh->ended != RELAY_END_DONE)
		return;
	if (rh->gone)
		rh->ended = RELAY_END_GONE;
	else if ((rh->h.state == TAPMIG_STATE_FROZEN ||
		  rh->h.state == TAPMIG_STATE_DEAD) &&
		 rh->h.frozen_ns == rh->sent_frozen_ns)
		rh->discarded = rh->h.discarded;
	else if (rh->h.discarded > rh->discarded)
		rh->ended = RELAY_END_DISCARDED;
	else
		rh->ended = RELAY_END_CANCELLED;
}

void source_changed(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;

	switch (ch->state) {
	case CHANNEL_PAIRED:
		begin(ch);
		break;
	case CHANNEL_MOVING:
	case CHANNEL_FULL:
		if (rh->ended != RELAY_END_DONE)
			end(ch, rh->ended);
		else
			ch->dirty = true;
		break;
	default:
		break;
	}
	if (rh->gone && ch->state < CHANNEL_MOVING)
		relay_channel_refuse(ch, "%s", "");
}

/* When did the packets up to this number arrive, at the earliest. */
static void sample(struct channel *ch, const struct packet *p)
{
	unsigned int i;

	if (!p->time_ns)
		return;
	if (ch->sample_count == RELAY_SAMPLES) {
		i = (ch->sample_first + RELAY_SAMPLES - 1) % RELAY_SAMPLES;
		ch->samples[i].seq = p->seq;
		return;
	}
	i = (ch->sample_first + ch->sample_count++) % RELAY_SAMPLES;
	ch->samples[i].seq = p->seq;
	ch->samples[i].time_ns = p->time_ns;
}

static void measure(struct channel *ch, uint64_t seq)
{
	struct relay_counts *n = &ch->hold->counts;
	uint64_t now = clock_ns(CLOCK_REALTIME);
	int64_t wait;

	while (ch->sample_count && ch->samples[ch->sample_first].seq <= seq) {
		wait = now - ch->samples[ch->sample_first].time_ns;
		if (wait > n->longest_wait_ns)
			n->longest_wait_ns = wait;
		ch->sample_first = (ch->sample_first + 1) % RELAY_SAMPLES;
		ch->sample_count--;
	}
}

static void send_packet(struct channel *ch, struct packet *p)
{
	struct relay_hold *rh = ch->hold;
	struct relay *r = ch->conn->relay;

	relay_send_packet(ch, p);
	if (ch->conn->dead)
		return;
	ch->last = p->seq;
	ch->found = true;
	if (p->seq < TAPMIG_SEQ_FIRST)
		rh->odd = true;
	if (p->seq > ch->highest)
		ch->highest = p->seq;
	sample(ch, p);
	if (ch->synced)
		ch->quiet_until = relay_now() + QUIET_NS;
	/* Each once, however often it has to be sent. */
	if (p->seq > rh->counted || p->seq < TAPMIG_SEQ_FIRST) {
		if (!(p->has & PACKET_SEGMENT) || p->sub + 1 >= p->subs) {
			rh->counts.packets++;
			r->moved_packets++;
			if (p->seq > rh->counted)
				rh->counted = p->seq;
			if (ch->synced)
				rh->counts.late++;
		}
		rh->counts.bytes += p->len;
		r->moved_bytes += p->len;
		progress_update(&r->progress, 0, r->moved_packets,
				r->moved_bytes);
	}
}

/* Returned by packet_cb(), beside errors of the kernel and of the network. */
#define LOW_SENT	(-ECANCELED)

static int packet_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct channel *ch = arg;
	struct packet_reader *in = ch->conn->reader;
	const struct nlattr *a;
	int ret;

	mnl_attr_for_each(a, nlh, GENL_HDRLEN) {
		if (mnl_attr_get_type(a) != TAPMIG_A_TRANSFER_PACKET)
			continue;
		ret = packet_chunk(in, a);
		if (ret < 0)
			return ret;
		if (ret && ch->first_low && in->pkt.seq >= TAPMIG_SEQ_FIRST)
			return LOW_SENT;
		if (ret)
			send_packet(ch, &in->pkt);
	}
	return 0;
}

static int start_reading(struct channel *ch)
{
	struct relay_hold *rh = ch->hold;
	struct nlmsghdr *nlh;
	int ret;

	if (!ch->conn->reader) {
		ch->conn->reader = malloc(sizeof(*ch->conn->reader));
		if (!ch->conn->reader) {
			err("out of memory");
			return -ENOMEM;
		}
	}
	if (!ch->nl) {
		ch->nl = calloc(1, sizeof(*ch->nl));
		if (!ch->nl) {
			err("out of memory");
			return -ENOMEM;
		}
		ret = relay_nl_open(ch->conn->relay, rh->ns, ch->nl);
		if (ret)
			return ret;
		ch->nl->silent = true;
	}
	ch->reading = true;
	ch->dirty = false;
	ch->found = false;
	ch->sync_after = ch->sync_wanted && !ch->first_low;
	ch->end_after = ch->end_wanted && !ch->first_low;
	nlh = nl_request(ch->nl, TAPMIG_CMD_PACKET_GET);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, rh->h.id);
	if (ch->next && !ch->first_low)
		mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, ch->next);
	ret = nl_dump_begin(ch->nl, "packet-get");
	if (ret)
		err("%s: %s", relay_hold_name(rh), ch->nl->error);
	return ret;
}

/* All that there was when the export began has been sent. */
static void read_all(struct channel *ch)
{
	ch->reading = false;
	if (ch->highest)
		ch->next = ch->highest + 1;
	if (ch->sync_after) {
		ch->sync_wanted = false;
		ch->sync_sent = true;
		relay_send_number(ch, RELAY_SYNC, ch->last);
	}
	if (!ch->end_after)
		return;
	/*
	 * What that look has found was late, too: it was not quiet. What has
	 * come since may have been missed: it ends before this is known.
	 */
	if ((ch->found || ch->dirty) && relay_now() < ch->linger_until)
		ch->end_wanted = false;
	else
		end(ch, RELAY_END_DONE);
}

/* One export, up to a turn; a frame that has begun is brought to its end. */
static void read_turn(struct channel *ch)
{
	struct packet_reader *in;
	struct conn *c = ch->conn;
	size_t before;
	char error[NL_ERROR_SIZE];
	int ret;

	if (!ch->reading && start_reading(ch)) {
		fail(ch, "the source cannot export");
		return;
	}
	in = c->reader;
	in->partial = false;
	before = conn_queued(c);
	do {
		ret = nl_dump_step(ch->nl, "packet-get", packet_cb, ch);
	} while (ret == 1 && !c->dead && ch->state == CHANNEL_MOVING &&
		 (in->partial || (has_room(c) &&
				  conn_queued(c) - before < READ_TURN)));
	if (c->dead || ch->state != CHANNEL_MOVING || ret == 1)
		return;
	if (ch->first_low && (!ret || ret == LOW_SENT)) {
		stop_reading(ch);
		ch->first_low = false;
		ch->dirty = true;
		return;
	}
	if (!ret) {
		read_all(ch);
		return;
	}
	memcpy(error, ch->nl->error, sizeof(error));
	stop_reading(ch);
	/* Thawed or gone meanwhile: the event tells what to do. */
	if (ret == -ENOENT || ret == -EBUSY || ret == -ENODEV) {
		relay_tell(c->relay, "%s: %s", relay_hold_name(ch->hold),
			   error);
		return;
	}
	err("%s: %s", relay_hold_name(ch->hold), error);
	fail(ch, error);
}

/* A message about a transfer: all of them come before ENDED. */
static bool in_transfer(struct channel *ch, const char *name)
{
	if (ch->state >= CHANNEL_MOVING)
		return true;
	conn_blame(ch->conn, "%s of channel %u, which has not begun", name,
		   ch->number);
	return false;
}

static bool wants_turn(const struct channel *ch)
{
	return ch->ours && ch->state == CHANNEL_MOVING &&
	       (ch->reading || ch->dirty || ch->sync_wanted);
}

bool source_busy(const struct conn *c)
{
	const struct channel *ch;

	if (!has_room(c))
		return false;
	TAILQ_FOREACH(ch, &c->channels, link)
		if (wants_turn(ch))
			return true;
	return false;
}

void source_pump(struct conn *c)
{
	struct channel *ch, *first = c->turn;

	if (!has_room(c))
		return;
	ch = first;
	do {
		ch = ch ? TAILQ_NEXT(ch, link) : TAILQ_FIRST(&c->channels);
		if (ch && wants_turn(ch)) {
			c->turn = ch;
			read_turn(ch);
			return;
		}
	} while (ch != first);
}

void source_ack(struct channel *ch, uint64_t seq)
{
	struct relay_hold *rh = ch->hold;

	if (!in_transfer(ch, "ACK"))
		return;
	if (!seq || seq > ch->highest ||
	    (seq < TAPMIG_SEQ_FIRST && !rh->odd)) {
		conn_blame(ch->conn, "ACK of packet %llu, which was not sent",
			   (unsigned long long)seq);
		return;
	}
	if (seq > rh->acked)
		rh->acked = seq;
	ch->last_ack = seq;
	measure(ch, seq);
}

void source_full(struct channel *ch)
{
	if (!in_transfer(ch, "FULL"))
		return;
	if (ch->state == CHANNEL_ENDING && ch->end != RELAY_END_DONE)
		return;
	relay_tell(ch->conn->relay, "%s: the standby is full",
		   relay_hold_name(ch->hold));
	stop_reading(ch);
	ch->state = CHANNEL_FULL;
}

void source_more(struct channel *ch)
{
	if (!in_transfer(ch, "MORE") || ch->state == CHANNEL_ENDING)
		return;
	if (ch->state != CHANNEL_FULL) {
		conn_blame(ch->conn, "MORE of channel %u, which was not full",
			   ch->number);
		return;
	}
	ch->state = CHANNEL_PAIRED;
	begin(ch);
}

void source_sync_request(struct channel *ch)
{
	if (in_transfer(ch, "SYNC-REQUEST") && ch->state == CHANNEL_MOVING)
		ch->sync_wanted = true;
}

void source_synced(struct channel *ch)
{
	struct relay *r = ch->conn->relay;
	int64_t now = relay_now();

	if (!in_transfer(ch, "SYNCED") || ch->state != CHANNEL_MOVING)
		return;
	if (!ch->sync_sent) {
		conn_blame(ch->conn, "SYNCED of channel %u without a SYNC",
			   ch->number);
		return;
	}
	relay_tell(r, "%s: in step", relay_hold_name(ch->hold));
	ch->synced = true;
	ch->linger_until = now + r->linger_ms * NSEC_PER_MSEC;
	ch->quiet_until = now + QUIET_NS;
}

void source_timer(struct channel *ch, int64_t now, int64_t *next)
{
	int64_t at;

	if (ch->state == CHANNEL_PAIRED) {
		if (now >= ch->begin_at)
			begin(ch);
		if (ch->state == CHANNEL_PAIRED && ch->begin_at < *next)
			*next = ch->begin_at;
		return;
	}
	if (ch->state != CHANNEL_MOVING || !ch->synced || ch->end_wanted)
		return;
	/*
	 * Who was not running cannot say that it was quiet, nor who still has
	 * to send what had come.
	 */
	if (ch->reading || now >= ch->quiet_until + HELD_UP_NS)
		ch->quiet_until = now + QUIET_NS;
	at = ch->linger_until < ch->quiet_until ? ch->linger_until :
						  ch->quiet_until;
	if (now < at) {
		if (at < *next)
			*next = at;
		return;
	}
	/* One last look. */
	ch->end_wanted = true;
	ch->dirty = true;
}

void source_ended(struct channel *ch, const uint64_t counts[8])
{
	struct relay_hold *rh = ch->hold;
	struct relay_counts *n = &rh->counts;
	enum relay_end result = ch->end;

	if (ch->state != CHANNEL_ENDING) {
		conn_blame(ch->conn, "ENDED of channel %u, which has not been ended",
			   ch->number);
		return;
	}
	if (result == RELAY_END_DONE && ch->last_ack != ch->last) {
		conn_blame(ch->conn, "ENDED of channel %u without an ACK of packet %llu",
			   ch->number, (unsigned long long)ch->last);
		return;
	}
	n->resent += counts[1];
	n->duplicates += counts[2];
	n->refused += counts[7];
	if (result == RELAY_END_DONE)
		result = release(ch->conn->relay, rh, ch->highest);
	over(ch->conn->relay, rh, result);
	ch->state = CHANNEL_PAIRED;
	/* Given back: it may be frozen anew, and be, already. */
	if (result == RELAY_END_CANCELLED && !rh->gone)
		begin(ch);
	else
		relay_channel_refuse(ch, "%s", "");
}
