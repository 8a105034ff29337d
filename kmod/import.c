// SPDX-License-Identifier: GPL-2.0-only
/*
 * Packets from the peer. Before the thaw they gather in hold->imports; after
 * it, in LIVE, they are late and go to the tail of the queues.
 */
#include <linux/etherdevice.h>
#include <linux/slab.h>

#include "hold.h"
#include "trace.h"

#define TAPMIG_LATE_RETRY	msecs_to_jiffies(10)

/* Most numbers to remember: what an honest peer never reaches. */
#define TAPMIG_SEEN_MAX(h)	(8ULL * (h)->max_packets + 65536)

/* xa_destroy() alone would free all of it with interrupts off. */
static void tapmig_import_forget(struct tapmig_hold *h)
{
	XA_STATE(xas, &h->seen, 0);
	unsigned int n = 0;
	void *entry;

	xas_lock(&xas);
	xas_for_each(&xas, entry, ULONG_MAX) {
		xas_store(&xas, NULL);
		if (++n % XA_CHECK_SCHED)
			continue;
		xas_pause(&xas);
		xas_unlock(&xas);
		cond_resched();
		xas_lock(&xas);
	}
	xas_unlock(&xas);
	xa_destroy(&h->seen);
	h->seen_count = 0;
}

/**
 * tapmig_import_reset - forget all that was imported
 * @h: the hold, without imported packets
 */
void tapmig_import_reset(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	tapmig_nl_partial_free(h);
	tapmig_import_forget(h);
	h->importing = false;
	h->import_begun = false;
	h->in_step = false;
	h->imports_sorted = true;
	tapmig_dedup_forget(h);
}

/* Nothing more is to come: LIVE ends, unless packets wait for room. */
static void tapmig_live_end(struct tapmig_hold *h)
{
	if (h->state != TAPMIG_STATE_LIVE || h->importing || h->late.count)
		return;
	h->deadline = 0;
	tapmig_hold_set_state(h, TAPMIG_STATE_ARMED);
	tapmig_hold_restore_rings(h);
}

/**
 * tapmig_import_lose_partial - what came of a packet in part stays that
 * @h: the hold
 */
void tapmig_import_lose_partial(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	h->counts.lost += !!h->partial;
	tapmig_nl_partial_free(h);
}

/**
 * tapmig_import_close - end the import session, if there is one
 * @h: the hold
 */
void tapmig_import_close(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	tapmig_import_lose_partial(h);
	h->importing = false;
	h->in_step = true;
	tapmig_live_end(h);
}

/**
 * tapmig_import_own_address - did the guest itself send a packet
 * @h: the hold
 * @p: the packet; may be called under ring locks
 *
 * Return: true if so, as far as its address is known.
 */
bool tapmig_import_own_address(struct tapmig_hold *h, struct tapmig_pkt *p)
{
	u8 mac[2 * ETH_ALEN];

	if (h->link_type != TAPMIG_LINK_TYPE_ETHERNET ||
	    is_zero_ether_addr(h->mac) || tapmig_pkt_len(p) < ETH_HLEN ||
	    tapmig_pkt_copy(p, 0, mac, sizeof(mac)))
		return false;
	return !memcmp(mac + ETH_ALEN, h->mac, ETH_ALEN);
}

/**
 * tapmig_import_begin - open an import session, or take up an open one
 * @h: the hold
 * @has_age: @age_ms is given
 * @age_ms: how long ago the source froze
 * @extack: where to say why not
 *
 * Return: 0; -EBUSY: ARMED; -ENODEV: dead.
 */
int tapmig_import_begin(struct tapmig_hold *h, bool has_age, u64 age_ms,
			struct netlink_ext_ack *extack)
{
	s64 now = ktime_get_ns();
	int err = 0;

	mutex_lock(&h->lock);
	if (h->gone || h->state == TAPMIG_STATE_ARMED ||
	    h->state == TAPMIG_STATE_DEAD) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	/* A sender that lost its connection may take up its session again. */
	tapmig_nl_partial_free(h);
	h->importing = true;
	h->in_step = false;
	if (h->role == TAPMIG_ROLE_STANDBY && !h->import_begun &&
	    h->state != TAPMIG_STATE_LIVE) {
		age_ms = min_t(u64, age_ms, div_u64(now, NSEC_PER_MSEC));
		tapmig_standby_begin(h, has_age ?
				     now - (s64)age_ms * NSEC_PER_MSEC :
				     S64_MIN);
	}
	h->import_begun = true;
	tapmig_hold_event(h);
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/**
 * tapmig_import_sync - the peer says that the destination has all packets
 * @h: the hold
 * @extack: where to say why not
 *
 * Return: 0; -EBUSY: no session is open; -EINVAL: a packet is incomplete;
 * -ENODEV: gone.
 */
int tapmig_import_sync(struct tapmig_hold *h, struct netlink_ext_ack *extack)
{
	int err = 0;

	mutex_lock(&h->lock);
	if (h->gone) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	if (!h->importing) {
		NL_SET_ERR_MSG(extack, "no import session is open");
		err = -EBUSY;
		goto unlock;
	}
	if (h->partial) {
		NL_SET_ERR_MSG(extack, "a packet is incomplete");
		err = -EINVAL;
		goto unlock;
	}
	h->in_step = true;
	if (h->state == TAPMIG_STATE_THAWING)
		tapmig_hold_queue_work(h, &h->thaw_work, 0);
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/**
 * tapmig_import_end - close the import session
 * @h: the hold
 * @extack: where to say why not
 *
 * Return: 0; -EBUSY: no session is open; -ENODEV: gone.
 */
int tapmig_import_end(struct tapmig_hold *h, struct netlink_ext_ack *extack)
{
	int err = 0;

	mutex_lock(&h->lock);
	if (h->gone) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	if (!h->importing) {
		NL_SET_ERR_MSG(extack, "no import session is open");
		err = -EBUSY;
		goto unlock;
	}
	if (h->partial)
		NL_SET_ERR_MSG(extack, "a packet is incomplete; it is dropped");
	tapmig_import_close(h);
	if (h->state == TAPMIG_STATE_THAWING)
		tapmig_hold_queue_work(h, &h->thaw_work, 0);
	tapmig_hold_event(h);
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/*
 * Put late packets at the tails of the queues, such as the device would have
 * got them. What does not fit, or cannot be had for want of memory, stays.
 */
static void tapmig_late_deliver(struct tapmig_hold *h)
{
	u32 limit = tapmig_hold_ring_limit(h);
	struct tapmig_list one = {}, rest = {};
	struct tapmig_queue *q = NULL;
	struct tapmig_pkt *p;
	u64 bytes, n = 0;
	int err;

	/* In order: none may overtake one that had to stay. */
	while (!rest.count && (p = tapmig_list_pop(&h->late))) {
		bytes = p->truesize;
		err = tapmig_queue_adapt(h, p, &one);
		if (err == -ENOMEM) {
			tapmig_list_add_tail(&rest, p);
			break;
		}
		h->counts.lost += !!err;
		h->counts.segmented += one.count > 1;
		tapmig_hold_uncharge(h, 1, bytes);
		if (err)
			continue;
		tapmig_hold_charge_all(h, one.count, one.bytes);
		p = one.head;
		if (!q || !(p->flags & TAPMIG_PKT_MORE))
			q = tapmig_queue_select(h, tapmig_pkt_skb(p));
		n += tapmig_queue_produce(q, &one, limit);
		tapmig_list_splice(&rest, &one);
		cond_resched();
	}
	tapmig_list_splice(&rest, &h->late);
	h->late = rest;
	h->counts.late += n;
	h->counts.delivered += n;
	if (rest.count)
		tapmig_hold_queue_work(h, &h->late_work, TAPMIG_LATE_RETRY);
	tapmig_hold_restore_rings(h);
}

/**
 * tapmig_late_work - late packets try again
 * @work: hold->late_work
 */
void tapmig_late_work(struct work_struct *work)
{
	struct tapmig_hold *h = container_of(to_delayed_work(work),
					     struct tapmig_hold, late_work);

	mutex_lock(&h->lock);
	/* It may be another LIVE, with a session to come. */
	if (!h->gone && h->state == TAPMIG_STATE_LIVE && h->late.count) {
		tapmig_late_deliver(h);
		tapmig_live_end(h);
	}
	mutex_unlock(&h->lock);
	tapmig_hold_put(h);
}

/*
 * Was a packet imported before. Of a segmented one the segments come in
 * order, so that their number says which.
 */
static bool tapmig_import_seen(struct tapmig_hold *h, u64 seq, u16 sub)
{
	void *entry = xa_load(&h->seen, seq);

	return entry && xa_to_value(entry) > sub;
}

static int tapmig_import_mark(struct tapmig_hold *h, u64 seq, u16 sub)
{
	void *old;

	old = xa_load(&h->seen, seq);
	if (sub > (old ? xa_to_value(old) : 0))
		return -EINVAL;
	if (h->seen_count > TAPMIG_SEEN_MAX(h))
		return -ENOBUFS;
	old = xa_store(&h->seen, seq, xa_mk_value(sub + 1), GFP_KERNEL);
	if (xa_is_err(old))
		return xa_err(old);
	h->seen_count += !old;
	return 0;
}

static void tapmig_import_unmark(struct tapmig_hold *h, u64 seq, u16 sub)
{
	if (!tapmig_import_seen(h, seq, sub))
		return;
	/* Makes no new entry, so that it needs no memory. */
	if (sub)
		xa_store(&h->seen, seq, xa_mk_value(sub), GFP_KERNEL);
	else if (xa_erase(&h->seen, seq))
		h->seen_count--;
}

/**
 * tapmig_import_packets - take packets from the peer, all or none
 * @h: the hold
 * @pkts: the packets; emptied on success
 * @res: what became of them
 * @extack: where to say why not
 *
 * Return: 0; -EBUSY: no session is open; -EINVAL: segments out of order;
 * -ENOBUFS: no room for all, or to remember all numbers; -ENODEV: dead;
 * -ENOMEM.
 */
int tapmig_import_packets(struct tapmig_hold *h, struct tapmig_list *pkts,
			  struct tapmig_import_result *res,
			  struct netlink_ext_ack *extack)
{
	struct tapmig_list take = {}, resent = {}, drop = {};
	bool live = h->state == TAPMIG_STATE_LIVE;
	struct tapmig_import_result r = {};
	struct tapmig_pkt *p;
	int err;

	lockdep_assert_held(&h->lock);

	if (h->gone || h->state == TAPMIG_STATE_ARMED ||
	    h->state == TAPMIG_STATE_DEAD)
		return tapmig_hold_refuse(h, extack);
	if (!h->importing) {
		NL_SET_ERR_MSG(extack, "no import session is open");
		return -EBUSY;
	}

	while ((p = pkts->head)) {
		if (!tapmig_import_seen(h, p->seq, p->sub)) {
			err = tapmig_import_mark(h, p->seq, p->sub);
			if (err == -EINVAL)
				NL_SET_ERR_MSG(extack, "the segments of a packet are out of order");
			if (err == -ENOBUFS)
				NL_SET_ERR_MSG(extack, "too many numbers to remember");
			if (err)
				goto unmark;
			tapmig_list_pop(pkts);
			/* It may have to be segmented for its device. */
			p->truesize =
				tapmig_segments_truesize(tapmig_pkt_skb(p));
			tapmig_list_add_tail(&take, p);
		} else {
			tapmig_list_add_tail(&resent, tapmig_list_pop(pkts));
		}
	}
	if (!tapmig_hold_charge(h, take.count, take.bytes)) {
		NL_SET_ERR_MSG(extack, "the hold has no room for these packets");
		err = -ENOBUFS;
		goto unmark;
	}

	r.resent = resent.count;
	r.accepted = take.count;
	h->counts.imported += take.count;
	h->counts.resent += resent.count;
	while ((p = tapmig_list_pop(&take))) {
		trace_tapmig_import(h, p, live);
		if (tapmig_import_own_address(h, p)) {
			h->counts.own_address++;
			tapmig_hold_uncharge(h, 1, p->truesize);
			tapmig_list_add_tail(&drop, p);
			continue;
		}
		if (live && tapmig_dedup_late(h, p)) {
			h->counts.late_skipped++;
			tapmig_hold_uncharge(h, 1, p->truesize);
			tapmig_list_add_tail(&drop, p);
			continue;
		}
		if (live) {
			r.late++;
			tapmig_list_add_tail(&h->late, p);
			continue;
		}
		if (h->imports.head && h->imports.tail->seq > p->seq)
			h->imports_sorted = false;
		tapmig_list_add_tail(&h->imports, p);
	}
	*res = r;
	tapmig_list_free(&resent);
	tapmig_list_free(&drop);
	if (live)
		tapmig_late_deliver(h);
	return 0;

unmark:
	for (p = take.head; p; p = p->next)
		tapmig_import_unmark(h, p->seq, p->sub);
	tapmig_list_splice(pkts, &take);
	tapmig_list_splice(pkts, &resent);
	return err;
}
