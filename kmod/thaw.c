// SPDX-License-Identifier: GPL-2.0-only
/*
 * The hand-over of held packets to the readers.
 *
 * Imported packets come first, in the order of their numbers over all queues
 * of the source; then what this host captured. Each queue gets its share in
 * one step that no packet can get into. rtnl is held all the while, so that
 * queues are neither enabled, disabled nor resized, and the device stays.
 */
#include <linux/rtnetlink.h>
#include <linux/sched/signal.h>

#include "hold.h"
#include "trace.h"

/* When there was no memory for a ring. */
#define TAPMIG_THAW_RETRY	msecs_to_jiffies(10)

/* Has the peer not said yet that all is here. */
static bool tapmig_peer_behind(const struct tapmig_hold *h)
{
	return (h->flags & TAPMIG_HOLD_FLAGS_PEER) &&
	       h->role == TAPMIG_ROLE_STANDBY && !h->in_step;
}

/**
 * tapmig_handover_drops - is a packet not to be delivered after all
 * @ho: the hand-over
 * @p: the packet; may be called under ring locks
 *
 * Return: true if so; it is counted then.
 */
bool tapmig_handover_drops(struct tapmig_handover *ho, struct tapmig_pkt *p)
{
	struct tapmig_hold *h = ho->hold;

	if (p->flags & TAPMIG_PKT_CHECKED)
		return false;
	p->flags |= TAPMIG_PKT_CHECKED;
	if (tapmig_import_own_address(h, p)) {
		h->counts.own_address++;
		return true;
	}
	if (!ho->table || !tapmig_dedup_looks(ho->table, h, p))
		return false;
	if (!(p->flags & TAPMIG_PKT_HASHED))
		tapmig_dedup_hash(p);
	if (!tapmig_dedup_take(ho->table, p))
		return false;
	h->counts.flooded++;
	return true;
}

static bool tapmig_before(const struct tapmig_pkt *a,
			  const struct tapmig_pkt *b)
{
	return a->seq != b->seq ? a->seq < b->seq : a->sub <= b->sub;
}

/* Merge two sorted chains. */
static struct tapmig_pkt *tapmig_merge(struct tapmig_pkt *a,
				       struct tapmig_pkt *b)
{
	struct tapmig_pkt *merged, **pos;

	for (pos = &merged; a && b; pos = &(*pos)->next) {
		if (tapmig_before(a, b)) {
			*pos = a;
			a = a->next;
		} else {
			*pos = b;
			b = b->next;
		}
		cond_resched();
	}
	*pos = a ?: b;
	return merged;
}

/* Sort a list by number: merge its runs, of which there mostly are few. */
static void tapmig_list_sort(struct tapmig_list *l)
{
	struct tapmig_pkt *parts[48] = {}, *p = l->head, *run, *next;
	struct tapmig_list sorted = {};
	int i;

	while (p) {
		run = p;
		while (p->next && tapmig_before(p, p->next)) {
			p = p->next;
			cond_resched();
		}
		next = p->next;
		p->next = NULL;
		for (i = 0; parts[i]; i++) {
			run = tapmig_merge(parts[i], run);
			parts[i] = NULL;
		}
		parts[i] = run;
		p = next;
	}
	for (run = NULL, i = 0; i < ARRAY_SIZE(parts); i++)
		if (parts[i])
			run = tapmig_merge(parts[i], run);
	for (; run; run = next) {
		next = run->next;
		tapmig_list_add_tail(&sorted, run);
		cond_resched();
	}
	*l = sorted;
}

/*
 * Look up table of the imports that a captured frame can be a copy of. It has
 * clones: the imports themselves may be with a reader before the last captured
 * frame has been compared.
 */
static int tapmig_handover_table(struct tapmig_handover *ho)
{
	struct tapmig_hold *h = ho->hold;
	struct tapmig_pkt *p, *copy;
	struct sk_buff *skb;
	bool unicast;
	s64 since;

	if (h->dedup == TAPMIG_DEDUP_OFF || !h->imports.count)
		return 0;
	since = tapmig_dedup_unicast_since(h);
	ho->table = tapmig_dedup_alloc(h->imports.count);
	if (!ho->table)
		return -ENOMEM;
	for (p = h->imports.head; p; p = p->next) {
		unicast = p->time >= since &&
			  tapmig_dedup_unicast(h->dedup, h->link_type, p);
		if (!unicast &&
		    !tapmig_dedup_applies(h->dedup, h->link_type, p))
			continue;
		skb = skb_clone(tapmig_pkt_skb(p), GFP_KERNEL);
		if (!skb)
			return -ENOMEM;
		copy = tapmig_pkt_init(skb);
		copy->time = p->time;
		if (unicast)
			copy->flags |= TAPMIG_PKT_UNICAST;
		tapmig_list_add_tail(&ho->copies, copy);
		tapmig_dedup_hash(copy);
		tapmig_dedup_add(ho->table, copy);
		cond_resched();
	}
	tapmig_dedup_index(ho->table);
	return 0;
}

/*
 * Make imports such as this device would have got them. What an attempt did
 * before memory ran out need not be done again by the next.
 */
static int tapmig_handover_adapt(struct tapmig_hold *h)
{
	struct tapmig_list done = {}, one;
	struct tapmig_pkt *p;
	int err = 0;
	u64 bytes;

	while (!err && (p = tapmig_list_pop(&h->imports))) {
		bytes = p->truesize;
		tapmig_list_init(&one);
		err = tapmig_queue_adapt(h, p, &one);
		if (err == -ENOMEM) {
			tapmig_list_add_tail(&done, p);
			break;
		}
		h->counts.lost += !!err;
		h->counts.segmented += one.count > 1;
		tapmig_hold_uncharge(h, 1, bytes);
		tapmig_hold_charge_all(h, one.count, one.bytes);
		tapmig_list_splice(&done, &one);
		err = 0;
		cond_resched();
	}
	tapmig_list_splice(&done, &h->imports);
	h->imports = done;
	return err;
}

/*
 * Give each import to the queue to which this device would send it, all
 * segments of one to the same.
 */
static void tapmig_handover_imports(struct tapmig_hold *h)
{
	struct tapmig_queue *q = NULL;
	struct tapmig_pkt *p;

	while ((p = tapmig_list_pop(&h->imports))) {
		if (!q || !(p->flags & TAPMIG_PKT_MORE))
			q = tapmig_queue_select(h, tapmig_pkt_skb(p));
		p->flags |= TAPMIG_PKT_CHECKED;
		tapmig_list_add_tail(&q->out, p);
		cond_resched();
	}
}

/*
 * Captured packets go where the device would send them now: queues may have
 * been enabled or disabled, or tun may have forgotten a flow. macvtap selects
 * by the hash that they have.
 */
static void tapmig_handover_captured(struct tapmig_handover *ho)
{
	struct tapmig_hold *h = ho->hold;
	struct tapmig_queue *to;
	struct tapmig_pkt *p;

	h->seek_hint = NULL;
	while ((p = tapmig_list_pop(&h->captured))) {
		cond_resched();
		if (tapmig_handover_drops(ho, p)) {
			tapmig_hold_uncharge(h, 1, p->truesize);
			tapmig_list_add_tail(&ho->drop, p);
			continue;
		}
		to = tapmig_queue_by_index(h, p->queue);
		if (tapmig_pkt_is_xdp(p)) {
			if (to->txq < 0)
				to = tapmig_queue_select(h, NULL);
		} else if (to->txq < 0 || (h->nr_queues > 1 && !to->is_tap)) {
			to = tapmig_queue_select(h, tapmig_pkt_skb(p));
		}
		tapmig_list_add_tail(&to->out, p);
	}
}

/* Is more to come from the peer. */
static bool tapmig_peer_pending(struct tapmig_hold *h)
{
	return h->importing ||
	       (tapmig_peer_behind(h) && !h->import_begun &&
		h->wait_import_ms != U32_MAX);
}

/**
 * tapmig_handover - hand all packets over, and end the freeze
 * @h: the hold, THAWING
 *
 * Return: 0; -ENOMEM: still THAWING, nothing lost, try again.
 */
int tapmig_handover(struct tapmig_hold *h)
{
	struct tapmig_handover ho = { .hold = h };
	s64 start = ktime_get_ns();
	struct tapmig_queue *q;
	u64 imported = h->imports.count;
	int err;

	ASSERT_RTNL();
	lockdep_assert_held(&h->lock);

	tapmig_hold_stop_trimming(h);
	err = tapmig_queues_map(h);
	if (err)
		return err;
	tapmig_hold_settle(h);
	if (!h->imports_sorted) {
		tapmig_list_sort(&h->imports);
		h->imports_sorted = true;
	}
	err = tapmig_handover_adapt(h);
	if (err)
		return err;
	err = tapmig_handover_table(&ho);
	if (err)
		goto free_table;

	tapmig_handover_imports(h);
	tapmig_handover_captured(&ho);
	list_for_each_entry(q, &h->queues, node)
		tapmig_queue_handover(q, &ho);
	tapmig_dedup_learn(h, &ho.copies);

free_table:
	tapmig_dedup_free(ho.table);
	tapmig_list_free(&ho.copies);
	tapmig_list_free(&ho.drop);
	if (err)
		return err;

	h->counts.delivered += ho.delivered;
	h->thaw_irqoff_ns = ho.locked_ns;
	h->thaw_wait_ns = start - h->thaw_asked_at;
	h->thaw_ns = ktime_get_ns() - start;
	trace_tapmig_thaw(h, imported);
	h->thawed_at = ktime_get_ns();
	h->prepared = false;
	h->deadline = 0;
	h->flags &= ~TAPMIG_HOLD_FLAGS_DETACHED;
	if (tapmig_peer_pending(h)) {
		/* The end of LIVE, if the peer never says so. */
		tapmig_hold_start_deadline(h);
		tapmig_hold_set_state(h, TAPMIG_STATE_LIVE);
	} else {
		tapmig_hold_set_state(h, TAPMIG_STATE_ARMED);
	}
	tapmig_hold_queue_settle(h);
	return 0;
}

/**
 * tapmig_thaw_now - hand over, or try again soon; a hold without an owner is
 *	gone after that
 * @h: the hold, THAWING
 */
void tapmig_thaw_now(struct tapmig_hold *h)
{
	bool last = !h->owners && !(h->flags & TAPMIG_HOLD_FLAGS_PINNED);

	/* Nobody is there to read when the VMM is gone as well. */
	if (last && tapmig_hold_is_orphan(h))
		tapmig_hold_end(h);
	else if (tapmig_handover(h))
		tapmig_hold_queue_work(h, &h->thaw_work, TAPMIG_THAW_RETRY);
	else if (last)
		tapmig_hold_end(h);
}

/* How long it still has to wait for the peer; not beyond the deadline. */
static s64 tapmig_thaw_wait_left(const struct tapmig_hold *h)
{
	s64 wait = (s64)h->wait_import_ms * NSEC_PER_MSEC;

	/* Its owner is gone, and memory was short then. */
	if (!h->owners && !(h->flags & TAPMIG_HOLD_FLAGS_PINNED))
		return 0;
	if (!tapmig_peer_behind(h) || h->wait_import_ms == U32_MAX ||
	    (h->flags & TAPMIG_HOLD_FLAGS_DUE))
		return 0;
	return max(wait + h->thaw_asked_at - (s64)ktime_get_ns(), 0LL);
}

/**
 * tapmig_thaw_work - the hand-over is due
 * @work: hold->thaw_work
 */
void tapmig_thaw_work(struct work_struct *work)
{
	struct tapmig_hold *h = container_of(to_delayed_work(work),
					     struct tapmig_hold, thaw_work);

	rtnl_lock();
	mutex_lock(&h->lock);
	if (h->gone)
		;
	else if (h->state != TAPMIG_STATE_THAWING)
		tapmig_after_resize(h);
	else if (tapmig_thaw_wait_left(h))
		/* Ticks that came late let timers expire early. */
		tapmig_thaw_start(h);
	else
		tapmig_thaw_now(h);
	mutex_unlock(&h->lock);
	rtnl_unlock();
	tapmig_hold_put(h);
}

/**
 * tapmig_thaw_start - have the hand-over happen when it is due
 * @h: the hold
 */
void tapmig_thaw_start(struct tapmig_hold *h)
{
	s64 wait = tapmig_thaw_wait_left(h);
	unsigned long delay = 0;

	lockdep_assert_held(&h->lock);

	if (wait)
		delay = nsecs_to_jiffies(wait) + 2;
	tapmig_hold_queue_work(h, &h->thaw_work, delay);
}

/**
 * tapmig_thaw - begin to thaw a hold
 * @h: the hold
 * @extack: where to say why not, or NULL
 *
 * Return: 0; -EBUSY: not FROZEN; -ENODEV: dead.
 */
int tapmig_thaw(struct tapmig_hold *h, struct netlink_ext_ack *extack)
{
	int err = 0;

	mutex_lock(&h->lock);
	if (h->gone || h->state != TAPMIG_STATE_FROZEN) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	h->thaw_asked_at = ktime_get_ns();
	tapmig_thaw_start(h);
	tapmig_hold_set_state(h, TAPMIG_STATE_THAWING);
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/**
 * tapmig_thaw_wait - wait until a hold is no longer THAWING
 * @h: the hold
 *
 * Return: 0; -EINTR: a signal came; -ENODEV: it died.
 */
int tapmig_thaw_wait(struct tapmig_hold *h)
{
	/* Begun again it would be refused: then the thaw is over. */
	if (wait_event_interruptible(h->wq, READ_ONCE(h->state) !=
					    TAPMIG_STATE_THAWING))
		return -EINTR;
	return READ_ONCE(h->state) == TAPMIG_STATE_DEAD ? -ENODEV : 0;
}
