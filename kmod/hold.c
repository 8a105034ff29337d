// SPDX-License-Identifier: GPL-2.0-only
/* The hold: its life, its state, what it takes and lets go. */
#include <linux/capability.h>
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/rtnetlink.h>
#include <linux/slab.h>
#include <net/net_namespace.h>

#include "hold.h"
#include "trace.h"

/* How long arrivals gather before anybody is told. */
#define TAPMIG_SETTLE_DELAY	msecs_to_jiffies(10)

/* How many packets may wait for whoever settles the hold to free them. */
#define TAPMIG_REAP_MAX		4096

/* All holds by id. A hold in it has a reference for that. */
static DEFINE_XARRAY_ALLOC1(tapmig_holds);
static u32 tapmig_next_id;
/* Counts what comes into it and goes out of it; never 0, to a dump. */
static atomic_t tapmig_holds_changes = ATOMIC_INIT(1);
struct workqueue_struct *tapmig_wq;

static const char * const tapmig_state_names[] = {
	[TAPMIG_STATE_ARMED] = "armed",
	[TAPMIG_STATE_FROZEN] = "frozen",
	[TAPMIG_STATE_THAWING] = "thawing",
	[TAPMIG_STATE_LIVE] = "live",
	[TAPMIG_STATE_DEAD] = "dead",
};

/* The arcs of the state machine. */
static const u8 tapmig_state_arcs[] = {
	[TAPMIG_STATE_ARMED] = BIT(TAPMIG_STATE_FROZEN) |
			       BIT(TAPMIG_STATE_DEAD),
	[TAPMIG_STATE_FROZEN] = BIT(TAPMIG_STATE_ARMED) |
				BIT(TAPMIG_STATE_THAWING) |
				BIT(TAPMIG_STATE_DEAD),
	[TAPMIG_STATE_THAWING] = BIT(TAPMIG_STATE_ARMED) |
				 BIT(TAPMIG_STATE_LIVE) |
				 BIT(TAPMIG_STATE_DEAD),
	[TAPMIG_STATE_LIVE] = BIT(TAPMIG_STATE_ARMED) |
			      BIT(TAPMIG_STATE_DEAD),
	[TAPMIG_STATE_DEAD] = 0,
};

/**
 * tapmig_state_name - name of a state, for messages
 * @state: enum tapmig_state
 *
 * Return: the name.
 */
const char *tapmig_state_name(u32 state)
{
	return state < ARRAY_SIZE(tapmig_state_names) ?
	       tapmig_state_names[state] : "?";
}

/**
 * tapmig_hold_event - tell everybody that a hold changed
 * @h: the hold
 */
void tapmig_hold_event(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	atomic_inc(&h->event);
	wake_up_all(&h->wq);
	tapmig_nl_notify(h);
}

/**
 * tapmig_hold_set_state - change the state of a hold, and tell it
 * @h: the hold
 * @state: the new state
 */
void tapmig_hold_set_state(struct tapmig_hold *h, u32 state)
{
	lockdep_assert_held(&h->lock);

	if (WARN_ON_ONCE(!(tapmig_state_arcs[h->state] & BIT(state))))
		return;
	trace_tapmig_state(h, h->state, state);
	WRITE_ONCE(h->state, state);
	tapmig_hold_event(h);
}

/**
 * tapmig_hold_queue_work - have a work item of a hold run
 * @h: the hold
 * @work: the work item
 * @delay: not earlier than in so many jiffies
 */
void tapmig_hold_queue_work(struct tapmig_hold *h, struct delayed_work *work,
			    unsigned long delay)
{
	/* One that was pending has its reference already. */
	refcount_inc(&h->ref);
	if (mod_delayed_work(tapmig_wq, work, delay))
		tapmig_hold_put(h);
}

static void tapmig_hold_cancel_work(struct tapmig_hold *h,
				    struct delayed_work *work)
{
	if (cancel_delayed_work(work))
		tapmig_hold_put(h);
}

/**
 * tapmig_hold_queue_settle - packets came: tell it, soon
 * @h: the hold
 *
 * At once when there was nothing for a while, else together with what comes
 * in the next moment.
 */
void tapmig_hold_queue_settle(struct tapmig_hold *h)
{
	unsigned long next = READ_ONCE(h->settled_at) + TAPMIG_SETTLE_DELAY;
	unsigned long now = jiffies, delay = 0;

	if (READ_ONCE(h->settle_queued))
		return;
	WRITE_ONCE(h->settle_queued, true);
	if (time_before(now, next))
		delay = next - now;
	tapmig_hold_queue_work(h, &h->settle_work, delay);
}

static bool __tapmig_hold_charge(struct tapmig_hold *h, u64 packets, u64 bytes)
{
	lockdep_assert_held(&h->pkt_lock);

	if (h->held_packets + packets > h->max_packets ||
	    h->held_bytes + bytes > h->max_bytes ||
	    !tapmig_user_charge(h->user, bytes))
		return false;
	h->held_packets += packets;
	h->held_bytes += bytes;
	return true;
}

static void __tapmig_hold_uncharge(struct tapmig_hold *h, u64 packets,
				   u64 bytes)
{
	lockdep_assert_held(&h->pkt_lock);

	h->held_packets -= packets;
	h->held_bytes -= bytes;
	tapmig_user_uncharge(h->user, bytes);
}

/**
 * tapmig_hold_charge - account for packets
 * @h: the hold
 * @packets: how many
 * @bytes: their memory
 *
 * Return: false if there is no room for all.
 */
bool tapmig_hold_charge(struct tapmig_hold *h, u64 packets, u64 bytes)
{
	bool res;

	spin_lock_irq(&h->pkt_lock);
	res = __tapmig_hold_charge(h, packets, bytes);
	spin_unlock_irq(&h->pkt_lock);
	return res;
}

/**
 * tapmig_hold_charge_all - account for packets that cannot be refused
 * @h: the hold
 * @packets: how many
 * @bytes: their memory
 */
void tapmig_hold_charge_all(struct tapmig_hold *h, u64 packets, u64 bytes)
{
	tapmig_hold_uncharge(h, -packets, -bytes);
}

/**
 * tapmig_hold_uncharge - packets are no longer held
 * @h: the hold
 * @packets: how many
 * @bytes: their memory
 */
void tapmig_hold_uncharge(struct tapmig_hold *h, u64 packets, u64 bytes)
{
	spin_lock_irq(&h->pkt_lock);
	__tapmig_hold_uncharge(h, packets, bytes);
	spin_unlock_irq(&h->pkt_lock);
}

static void tapmig_reap_work(struct work_struct *work)
{
	struct tapmig_hold *h = container_of(work, struct tapmig_hold,
					     reap_work);
	struct tapmig_list reap;

	spin_lock_irq(&h->pkt_lock);
	reap = h->reap;
	tapmig_list_init(&h->reap);
	spin_unlock_irq(&h->pkt_lock);
	/* Counted in tapmig_hold_capture(). */
	tapmig_list_free(&reap);
	tapmig_hold_put(h);
}

/*
 * Let go a packet that is not kept. Runs in the hook, which must not free it;
 * who settles the hold does. That can take its time, and what waits here is
 * charged to nobody: when there are many, the softirq of this CPU frees them,
 * which keeps the sender. XDP frames cannot go that way, so for them it is a
 * work item that does not wait for the lock of the hold.
 */
static void tapmig_hold_reap(struct tapmig_hold *h, struct tapmig_pkt *p)
{
	lockdep_assert_held(&h->pkt_lock);

	if (h->reap.count >= TAPMIG_REAP_MAX) {
		if (!tapmig_pkt_is_xdp(p)) {
			/* Counted in tapmig_hold_capture(). */
			dev_kfree_skb_irq(tapmig_pkt_skb(p));
			return;
		}
		refcount_inc(&h->ref);
		if (!queue_work(tapmig_wq, &h->reap_work))
			tapmig_hold_put(h);
	}
	tapmig_list_add_tail(&h->reap, p);
}

/* How many packets it keeps while it trims. */
static u64 tapmig_hold_keeps(const struct tapmig_hold *h)
{
	lockdep_assert_held(&h->pkt_lock);

	return min_t(u64, h->ring_entries, h->max_packets);
}

/**
 * tapmig_hold_stop_trimming - all that it has or that comes is kept
 * @h: the hold
 */
void tapmig_hold_stop_trimming(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	spin_lock_irq(&h->pkt_lock);
	h->trimming = false;
	spin_unlock_irq(&h->pkt_lock);
}

/* @p has its number and is charged. */
static void tapmig_hold_add_fresh(struct tapmig_hold *h, struct tapmig_pkt *p)
{
	lockdep_assert_held(&h->pkt_lock);

	h->counts.captured++;
	h->news = true;
	trace_tapmig_hold(h, p);
	tapmig_list_add_tail(&h->fresh, p);
}

/**
 * tapmig_hold_capture - take a packet that arrived
 * @h: the hold
 * @p: the packet
 *
 * Runs in the hook: nothing is freed here.
 */
void tapmig_hold_capture(struct tapmig_hold *h, struct tapmig_pkt *p)
{
	struct tapmig_pkt *old;

	lockdep_assert_held(&h->pkt_lock);

	tapmig_pkt_estimate(p);
	if (h->trimming && p->truesize <= h->max_bytes) {
		/*
		 * The newest are kept. The captured list may have as many
		 * again, until it is settled.
		 */
		while (h->fresh.head &&
		       (h->fresh.count >= tapmig_hold_keeps(h) ||
			h->fresh.bytes + p->truesize > h->max_bytes)) {
			old = tapmig_list_pop(&h->fresh);
			__tapmig_hold_uncharge(h, 1, old->truesize);
			h->counts.trimmed++;
			h->trimmed_seq = max(h->trimmed_seq, old->seq);
			tapmig_hold_reap(h, old);
		}
		if (!tapmig_user_charge(h->user, p->truesize))
			goto drop;
		h->held_packets++;
		h->held_bytes += p->truesize;
	} else if (!__tapmig_hold_charge(h, 1, p->truesize)) {
		goto drop;
	}
	tapmig_hold_add_fresh(h, p);
	return;

drop:
	h->untold |= !h->overflowed;
	h->overflowed = true;
	h->counts.dropped++;
	h->counts.dropped_bytes += tapmig_pkt_len(p);
	trace_tapmig_drop(h, p, "no room");
	tapmig_hold_reap(h, p);
}

/**
 * tapmig_hold_capture_first - take a packet that is older than all others
 * @h: the hold
 * @p: the packet
 * @queue: index of its queue
 *
 * Return: 0; -ENOBUFS: there is no room for it; -ERANGE: no number is left.
 */
int tapmig_hold_capture_first(struct tapmig_hold *h, struct tapmig_pkt *p,
			      u16 queue)
{
	int err = 0;

	lockdep_assert_held(&h->lock);

	tapmig_pkt_estimate(p);
	spin_lock_irq(&h->pkt_lock);
	if (h->low_seq <= 1) {
		err = -ERANGE;
		goto unlock;
	}
	if (!__tapmig_hold_charge(h, 1, p->truesize)) {
		err = -ENOBUFS;
		goto unlock;
	}
	p->queue = queue;
	p->seq = --h->low_seq;
	/* It came before the freeze, nobody knows when. */
	p->time = h->frozen_at;
	tapmig_hold_add_fresh(h, p);
unlock:
	spin_unlock_irq(&h->pkt_lock);
	if (!err)
		tapmig_hold_queue_settle(h);
	return err;
}

/* Put @p in its place. Mostly that is the end. */
static void tapmig_captured_insert(struct tapmig_hold *h, struct tapmig_pkt *p)
{
	struct tapmig_pkt **pos = &h->captured.head;

	if (!h->captured.head || h->captured.tail->seq < p->seq) {
		tapmig_list_add_tail(&h->captured, p);
		return;
	}
	/* Given back, by vhost-net or a reader: near the head. */
	while (*pos && (*pos)->seq < p->seq)
		pos = &(*pos)->next;
	p->next = *pos;
	*pos = p;
	h->captured.count++;
	h->captured.bytes += p->truesize;
	h->seek_hint = NULL;
}

/* Free the oldest captured packets, if too many, too large or too old. */
static void tapmig_captured_trim(struct tapmig_hold *h, u64 keep,
				 u64 keep_bytes, s64 before)
{
	struct tapmig_list gone = {};
	struct tapmig_pkt *p;

	lockdep_assert_held(&h->lock);

	while ((p = h->captured.head) &&
	       (h->captured.count > keep || h->captured.bytes > keep_bytes ||
		p->time < before)) {
		h->gap_base = max(h->gap_base, p->seq);
		tapmig_list_add_tail(&gone, tapmig_list_pop(&h->captured));
		cond_resched();
	}
	h->seek_hint = NULL;
	tapmig_hold_uncharge(h, gone.count, gone.bytes);
	spin_lock_irq(&h->pkt_lock);
	h->counts.trimmed += gone.count;
	spin_unlock_irq(&h->pkt_lock);
	tapmig_list_free(&gone);
}

/**
 * tapmig_hold_settle - bring what the hook left into the captured list
 * @h: the hold
 *
 * Does what must not be done in the hook: frees what was dropped, makes the
 * packets independent of what can go away, hashes those that can be copies.
 */
void tapmig_hold_settle(struct tapmig_hold *h)
{
	struct tapmig_list fresh, reap;
	struct tapmig_queue *q;
	struct tapmig_pkt *p;
	u64 keep = U64_MAX;

	lockdep_assert_held(&h->lock);

	list_for_each_entry(q, &h->queues, node)
		tapmig_queue_drain(q);

	spin_lock_irq(&h->pkt_lock);
	fresh = h->fresh;
	reap = h->reap;
	tapmig_list_init(&h->fresh);
	tapmig_list_init(&h->reap);
	if (h->trimming)
		keep = tapmig_hold_keeps(h);
	h->gap_base = max(h->gap_base, h->trimmed_seq);
	spin_unlock_irq(&h->pkt_lock);

	/* Counted in tapmig_hold_capture(). */
	tapmig_list_free(&reap);
	while ((p = tapmig_list_pop(&fresh))) {
		tapmig_pkt_scrub(p);
		if (h->role == TAPMIG_ROLE_STANDBY &&
		    tapmig_dedup_applies(h->dedup, h->link_type, p))
			tapmig_dedup_hash(p);
		tapmig_captured_insert(h, p);
		cond_resched();
	}
	if (keep != U64_MAX)
		tapmig_captured_trim(h, keep, h->max_bytes, S64_MIN);
}

/**
 * tapmig_captured_seek - find a captured packet
 * @h: the hold
 * @seq: its number
 * @sub: and index of the segment
 *
 * Return: the first packet from there on, or NULL.
 */
struct tapmig_pkt *tapmig_captured_seek(struct tapmig_hold *h, u64 seq,
					u16 sub)
{
	struct tapmig_pkt *p = h->seek_hint, *prev = NULL;

	lockdep_assert_held(&h->lock);

	if (!p || p->seq > seq || (p->seq == seq && p->sub >= sub))
		p = h->captured.head;
	while (p && (p->seq < seq || (p->seq == seq && p->sub < sub))) {
		prev = p;
		p = p->next;
		cond_resched();
	}
	if (p)
		h->seek_hint = prev;
	return p;
}

/**
 * tapmig_captured_replace - put its segments in place of a packet
 * @h: the hold
 * @old: the packet; no longer to be used
 * @segs: the segments, with all of its properties
 */
void tapmig_captured_replace(struct tapmig_hold *h, struct tapmig_pkt *old,
			     struct tapmig_list *segs)
{
	struct tapmig_pkt **pos = &h->captured.head;

	lockdep_assert_held(&h->lock);

	tapmig_hold_uncharge(h, 1, old->truesize);
	tapmig_hold_charge_all(h, segs->count, segs->bytes);

	/* Mostly it is what was just looked for. */
	if (h->seek_hint && h->seek_hint->next == old)
		pos = &h->seek_hint->next;
	else
		h->seek_hint = NULL;
	while (*pos != old)
		pos = &(*pos)->next;
	segs->tail->next = old->next;
	*pos = segs->head;
	if (h->captured.tail == old)
		h->captured.tail = segs->tail;
	h->captured.count += segs->count - 1;
	h->captured.bytes += segs->bytes - old->truesize;
	h->counts.segmented++;
	tapmig_list_init(segs);
}

/**
 * tapmig_hold_start_deadline - the time that a hold may be frozen begins
 * @h: the hold
 */
void tapmig_hold_start_deadline(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	h->deadline = ktime_get_ns() + (s64)h->max_frozen_ms * NSEC_PER_MSEC;
	tapmig_hold_queue_work(h, &h->deadline_work,
			       msecs_to_jiffies(h->max_frozen_ms) + 1);
}

static void tapmig_hold_stop_deadline(struct tapmig_hold *h)
{
	h->deadline = 0;
	tapmig_hold_cancel_work(h, &h->deadline_work);
}

/* Precopy may take hours; but not if nobody is there, or may not be later. */
static bool tapmig_standby_waits(const struct tapmig_hold *h)
{
	return h->role == TAPMIG_ROLE_STANDBY && h->owners &&
	       !h->import_begun && !(h->flags & (TAPMIG_HOLD_FLAGS_PINNED |
						 TAPMIG_HOLD_FLAGS_DETACHED));
}

/* Free all packets, and count them. */
static void tapmig_hold_free_packets(struct tapmig_hold *h)
{
	struct tapmig_queue *q;
	u64 n = 0;

	lockdep_assert_held(&h->lock);

	tapmig_hold_settle(h);
	tapmig_import_lose_partial(h);
	h->seek_hint = NULL;
	tapmig_hold_uncharge(h, h->captured.count + h->imports.count +
				h->late.count,
			     h->captured.bytes + h->imports.bytes +
			     h->late.bytes);
	list_for_each_entry(q, &h->queues, node) {
		tapmig_list_splice(&q->out, &q->front);
		tapmig_hold_uncharge(h, q->out.count, q->out.bytes);
		n += tapmig_list_free(&q->out);
	}
	n += tapmig_list_free(&h->captured);
	n += tapmig_list_free(&h->imports);
	n += tapmig_list_free(&h->late);
	h->counts.discarded += n;
}

/**
 * tapmig_hold_leave - let all queues of a hold go
 * @h: the hold
 */
void tapmig_hold_leave(struct tapmig_hold *h)
{
	struct net_device *dev = h->dev;
	struct tapmig_queue *q;

	lockdep_assert_held(&h->lock);

	list_for_each_entry(q, &h->queues, node) {
		tapmig_queue_unfreeze(q);
		tapmig_queue_leave(q);
	}
	h->dev = NULL;
	netdev_put(dev, &h->dev_tracker);
}

/**
 * tapmig_hold_die - the queues of a hold are gone
 * @h: the hold
 */
void tapmig_hold_die(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	if (h->gone || h->state == TAPMIG_STATE_DEAD)
		return;
	tapmig_hold_cancel_work(h, &h->thaw_work);
	tapmig_hold_leave(h);
	tapmig_hold_settle(h);
	/* Nothing newer comes, for which these would have to make room. */
	tapmig_hold_stop_trimming(h);
	tapmig_import_lose_partial(h);
	h->importing = false;
	tapmig_hold_set_state(h, TAPMIG_STATE_DEAD);
	/* Without an owner it would stay for ever. */
	if (!h->owners && !h->deadline)
		tapmig_hold_start_deadline(h);
}

/**
 * tapmig_hold_unregister - end a hold: it is found no more
 * @h: the hold
 */
void tapmig_hold_unregister(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	if (h->gone)
		return;
	tapmig_hold_leave(h);
	tapmig_hold_free_packets(h);
	tapmig_import_reset(h);
	WRITE_ONCE(h->gone, true);
	tapmig_hold_event(h);
	xa_erase(&tapmig_holds, h->id);
	atomic_inc(&tapmig_holds_changes);
	tapmig_hold_stop_deadline(h);
	tapmig_hold_cancel_work(h, &h->thaw_work);
	tapmig_hold_cancel_work(h, &h->late_work);
	tapmig_hold_cancel_work(h, &h->settle_work);
	/* The caller has a reference, so this is not the last. */
	tapmig_hold_put(h);
}

/**
 * tapmig_hold_put - drop a reference
 * @h: the hold
 */
void tapmig_hold_put(struct tapmig_hold *h)
{
	struct tapmig_queue *q, *next;

	if (!refcount_dec_and_test(&h->ref))
		return;
	WARN_ON_ONCE(h->held_packets || h->held_bytes);
	list_for_each_entry_safe(q, next, &h->queues, node)
		kfree(q);
	/* No loss: nobody sent it but we. The ring's reference may be ours. */
	if (h->probe_queue)
		kfree_skb(h->probe);
	kfree_skb(h->probe);
	xa_destroy(&h->seen);
	tapmig_user_put(h->user);
	put_pid(h->owner_pid);
	put_net(h->net);
	mutex_destroy(&h->lock);
	kfree_rcu(h, rcu);
	module_put(THIS_MODULE);
}

/**
 * tapmig_hold_get_by_id - find a hold
 * @net: network namespace in which it has to be
 * @id: its number
 *
 * Return: the hold, referenced, or NULL.
 */
struct tapmig_hold *tapmig_hold_get_by_id(struct net *net, u32 id)
{
	struct tapmig_hold *h;

	rcu_read_lock();
	h = xa_load(&tapmig_holds, id);
	if (h && (!net_eq(h->net, net) || !refcount_inc_not_zero(&h->ref)))
		h = NULL;
	rcu_read_unlock();
	return h;
}

/**
 * tapmig_hold_get_next - walk the holds of a network namespace
 * @net: the namespace, or NULL: all
 * @id: where to begin; set to the id of the hold found
 *
 * Return: the hold, referenced, or NULL.
 */
struct tapmig_hold *tapmig_hold_get_next(struct net *net, unsigned long *id)
{
	struct tapmig_hold *h;

	rcu_read_lock();
	for (h = xa_find(&tapmig_holds, id, ULONG_MAX, XA_PRESENT); h;
	     h = xa_find_after(&tapmig_holds, id, ULONG_MAX, XA_PRESENT))
		if ((!net || net_eq(h->net, net)) &&
		    refcount_inc_not_zero(&h->ref))
			break;
	rcu_read_unlock();
	return h;
}

/**
 * tapmig_holds_generation - which table is it that one walks
 *
 * Return: another number after each hold that came or went; not 0.
 */
u32 tapmig_holds_generation(void)
{
	return atomic_read(&tapmig_holds_changes) ?: 1;
}

/**
 * tapmig_hold_is_orphan - has nobody but the hold its queues open
 * @h: the hold
 *
 * Return: true if so.
 */
bool tapmig_hold_is_orphan(struct tapmig_hold *h)
{
	struct tapmig_queue *q;

	lockdep_assert_held(&h->lock);

	list_for_each_entry(q, &h->queues, node)
		if (!tapmig_queue_orphan(q))
			return false;
	return h->dev && h->nr_queues;
}

/**
 * tapmig_hold_restore_rings - give the rings the size that the device wants,
 *	now or when they have been read
 * @h: the hold
 */
void tapmig_hold_restore_rings(struct tapmig_hold *h)
{
	struct tapmig_queue *q;
	bool done = true;

	lockdep_assert_held(&h->lock);

	if (h->gone || h->prepared || (h->state != TAPMIG_STATE_ARMED &&
				       h->state != TAPMIG_STATE_LIVE))
		return;
	list_for_each_entry(q, &h->queues, node) {
		/* Its device is resizing it; this comes again after that. */
		if (q->frozen)
			return;
	}
	list_for_each_entry(q, &h->queues, node)
		done &= tapmig_queue_restore(q);
	if (!h->owners && h->state == TAPMIG_STATE_ARMED &&
	    (done || tapmig_hold_is_orphan(h))) {
		/* Pinned, thawed, read: its work is done. */
		tapmig_hold_unregister(h);
	} else if (!done) {
		tapmig_hold_queue_work(h, &h->settle_work,
				       TAPMIG_RESTORE_DELAY);
	}
}

static void tapmig_settle_work(struct work_struct *work)
{
	struct tapmig_hold *h = container_of(to_delayed_work(work),
					     struct tapmig_hold, settle_work);
	struct tapmig_queue *q;
	bool dead = false, tell;

	mutex_lock(&h->lock);
	spin_lock_irq(&h->pkt_lock);
	WRITE_ONCE(h->settle_queued, false);
	WRITE_ONCE(h->settled_at, jiffies);
	spin_unlock_irq(&h->pkt_lock);

	tapmig_hold_settle(h);
	spin_lock_irq(&h->pkt_lock);
	tell = h->untold || (h->news && !h->trimming);
	h->untold = false;
	h->news = false;
	spin_unlock_irq(&h->pkt_lock);
	list_for_each_entry(q, &h->queues, node)
		dead |= READ_ONCE(q->dead);
	if (dead && !h->gone)
		tapmig_hold_die(h);
	else if (tell && !h->gone)
		tapmig_hold_event(h);
	tapmig_hold_restore_rings(h);
	mutex_unlock(&h->lock);
	tapmig_hold_put(h);
}

/* Free all packets; a hold without an owner is gone afterwards. */
static void tapmig_hold_empty(struct tapmig_hold *h)
{
	struct tapmig_queue *q;

	ASSERT_RTNL();
	lockdep_assert_held(&h->lock);

	/* A change of txqueuelen that was refused may not be undone yet. */
	tapmig_after_resize(h);
	if (h->gone)
		return;
	tapmig_hold_cancel_work(h, &h->thaw_work);
	list_for_each_entry(q, &h->queues, node)
		tapmig_queue_unfreeze(q);
	tapmig_hold_free_packets(h);
	tapmig_import_reset(h);
	tapmig_hold_stop_trimming(h);
	h->prepared = false;
	h->flags &= ~TAPMIG_HOLD_FLAGS_DETACHED;
	if (h->state != TAPMIG_STATE_DEAD)
		tapmig_hold_stop_deadline(h);
	if (h->state != TAPMIG_STATE_ARMED && h->state != TAPMIG_STATE_DEAD) {
		if (!h->thawed_at)
			h->thawed_at = ktime_get_ns();
		tapmig_hold_set_state(h, TAPMIG_STATE_ARMED);
	} else {
		tapmig_hold_event(h);
	}
	if (!h->owners)
		tapmig_hold_unregister(h);
	tapmig_hold_restore_rings(h);
}

/* Frozen for too long, or left over. */
static void tapmig_deadline_work(struct work_struct *work)
{
	struct tapmig_hold *h = container_of(to_delayed_work(work),
					     struct tapmig_hold,
					     deadline_work);
	s64 left;

	rtnl_lock();
	mutex_lock(&h->lock);
	if (h->gone || !h->deadline)
		goto unlock;
	left = h->deadline - (s64)ktime_get_ns();
	if (left > 0) {
		/* Renewed; or ticks that came late let it expire early. */
		tapmig_hold_queue_work(h, &h->deadline_work,
				       nsecs_to_jiffies(left) + 1);
		goto unlock;
	}
	h->deadline = 0;

	switch (h->state) {
	case TAPMIG_STATE_FROZEN:
	case TAPMIG_STATE_THAWING:
		h->flags |= TAPMIG_HOLD_FLAGS_DUE;
		if (h->deadline_action == TAPMIG_DEADLINE_ACTION_THAW) {
			if (h->state == TAPMIG_STATE_FROZEN) {
				h->thaw_asked_at = ktime_get_ns();
				tapmig_hold_set_state(h, TAPMIG_STATE_THAWING);
			} else {
				tapmig_hold_event(h);
			}
			tapmig_hold_queue_work(h, &h->thaw_work, 0);
		} else {
			tapmig_hold_empty(h);
		}
		break;
	case TAPMIG_STATE_LIVE:
		/* What found no room by now never will. */
		tapmig_hold_uncharge(h, h->late.count, h->late.bytes);
		h->counts.discarded += tapmig_list_free(&h->late);
		tapmig_import_close(h);
		break;
	case TAPMIG_STATE_ARMED:
		h->prepared = false;
		if (h->owners)
			tapmig_hold_restore_rings(h);
		else
			tapmig_hold_unregister(h);
		break;
	case TAPMIG_STATE_DEAD:
		h->flags |= TAPMIG_HOLD_FLAGS_DUE;
		tapmig_hold_event(h);
		if (!h->owners)
			tapmig_hold_unregister(h);
		break;
	default:
		break;
	}
unlock:
	mutex_unlock(&h->lock);
	rtnl_unlock();
	tapmig_hold_put(h);
}

/* Of who opened the socket, too: it may have been given to another. */
static bool tapmig_may_exceed(const struct sk_buff *request)
{
	return request ? netlink_capable(request, CAP_NET_ADMIN) :
			 capable(CAP_NET_ADMIN);
}

static bool tapmig_wait_valid(u32 ms)
{
	return ms <= TAPMIG_MAX_FROZEN_MS || ms == U32_MAX;
}

static int tapmig_limits_check(const struct sk_buff *request, u32 packets,
			       u64 bytes, u32 ms)
{
	if (packets > TAPMIG_MAX_PACKETS || bytes > TAPMIG_MAX_BYTES ||
	    ms > TAPMIG_MAX_FROZEN_MS)
		return -ERANGE;
	if (packets <= TAPMIG_UNPRIV_MAX_PACKETS &&
	    bytes <= TAPMIG_UNPRIV_MAX_BYTES &&
	    ms <= TAPMIG_UNPRIV_MAX_FROZEN_MS)
		return 0;
	return tapmig_may_exceed(request) ? 0 : -EPERM;
}

/**
 * tapmig_hold_create - make a hold
 * @net: network namespace of the creator
 * @c: what it asked for, checked for form
 *
 * Return: the hold with one owner, referenced for it; ERR_PTR(-errno).
 */
struct tapmig_hold *tapmig_hold_create(struct net *net,
				       const struct tapmig_create *c)
{
	struct tapmig_hold *h;
	int err;

	err = tapmig_limits_check(NULL, c->max_packets, c->max_bytes,
				  c->max_frozen_ms);
	if (err)
		return ERR_PTR(err);
	if (!tapmig_wait_valid(c->wait_import_ms))
		return ERR_PTR(-ERANGE);
	if ((c->flags & TAPMIG_HOLD_FLAGS_PINNED) &&
	    !ns_capable(net->user_ns, CAP_NET_ADMIN))
		return ERR_PTR(-EPERM);

	h = kzalloc_obj(*h, GFP_KERNEL_ACCOUNT);
	if (!h)
		return ERR_PTR(-ENOMEM);
	refcount_set(&h->ref, 1);
	if (!capable(CAP_NET_ADMIN)) {
		h->user = tapmig_user_get();
		if (IS_ERR(h->user)) {
			err = PTR_ERR(h->user);
			goto free_hold;
		}
	}
	strscpy(h->label, c->label, sizeof(h->label));
	h->role = c->role;
	h->owners = 1;
	h->state = TAPMIG_STATE_ARMED;
	h->flags = c->flags;
	h->dedup = c->dedup;
	h->deadline_action = c->deadline_action;
	h->max_frozen_ms = c->max_frozen_ms;
	h->wait_import_ms = c->wait_import_ms;
	h->max_packets = c->max_packets;
	h->max_bytes = c->max_bytes;
	ether_addr_copy(h->mac, c->mac);
	h->want_ifindex = c->ifindex;
	h->next_seq = TAPMIG_SEQ_FIRST;
	h->low_seq = TAPMIG_SEQ_FIRST;
	h->imports_sorted = true;
	h->settled_at = jiffies - TAPMIG_SETTLE_DELAY;
	mutex_init(&h->lock);
	spin_lock_init(&h->pkt_lock);
	INIT_LIST_HEAD(&h->queues);
	xa_init_flags(&h->seen, XA_FLAGS_ACCOUNT);
	init_waitqueue_head(&h->wq);
	INIT_WORK(&h->reap_work, tapmig_reap_work);
	INIT_DELAYED_WORK(&h->settle_work, tapmig_settle_work);
	INIT_DELAYED_WORK(&h->thaw_work, tapmig_thaw_work);
	INIT_DELAYED_WORK(&h->late_work, tapmig_late_work);
	INIT_DELAYED_WORK(&h->deadline_work, tapmig_deadline_work);
	h->net = get_net(net);
	h->owner_pid = get_pid(task_tgid(current));
	__module_get(THIS_MODULE);

	mutex_lock(&h->lock);
	refcount_inc(&h->ref);
	/* Not soon again: somebody may still name the one that is gone. */
	err = xa_alloc_cyclic(&tapmig_holds, &h->id, h, xa_limit_31b,
			      &tapmig_next_id, GFP_KERNEL);
	if (err >= 0) {
		atomic_inc(&tapmig_holds_changes);
		tapmig_hold_event(h);
	}
	mutex_unlock(&h->lock);
	if (err < 0) {
		tapmig_hold_put(h);
		tapmig_hold_put(h);
		return ERR_PTR(err);
	}
	return h;

free_hold:
	kfree(h);
	return ERR_PTR(err);
}

/**
 * tapmig_hold_end - the owner is gone, and so is the hold
 * @h: the hold
 */
void tapmig_hold_end(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	/* A change of txqueuelen that was refused may not be undone yet. */
	tapmig_after_resize(h);
	if (h->state == TAPMIG_STATE_LIVE) {
		tapmig_hold_uncharge(h, h->late.count, h->late.bytes);
		h->counts.discarded += tapmig_list_free(&h->late);
		tapmig_import_close(h);
	}
	tapmig_hold_unregister(h);
}

/**
 * tapmig_hold_owner_gone - the last fd of a hold was closed
 * @h: the hold
 */
void tapmig_hold_owner_gone(struct tapmig_hold *h)
{
	rtnl_lock();
	mutex_lock(&h->lock);
	if (h->gone || --h->owners)
		goto unlock;

	switch (h->state) {
	case TAPMIG_STATE_FROZEN:
		if (h->flags & TAPMIG_HOLD_FLAGS_DETACHED) {
			tapmig_hold_die(h);
			break;
		}
		if (h->flags & TAPMIG_HOLD_FLAGS_PINNED)
			break;
		h->thaw_asked_at = ktime_get_ns();
		tapmig_hold_set_state(h, TAPMIG_STATE_THAWING);
		fallthrough;
	case TAPMIG_STATE_THAWING:
		if (h->flags & TAPMIG_HOLD_FLAGS_PINNED)
			break;
		tapmig_thaw_now(h);
		break;
	case TAPMIG_STATE_LIVE:
		if (h->flags & TAPMIG_HOLD_FLAGS_PINNED)
			break;
		tapmig_hold_end(h);
		break;
	case TAPMIG_STATE_DEAD:
		if (!(h->flags & (TAPMIG_HOLD_FLAGS_DETACHED |
				  TAPMIG_HOLD_FLAGS_PINNED)))
			tapmig_hold_unregister(h);
		else if (!h->deadline)
			tapmig_hold_start_deadline(h);
		break;
	default:
		tapmig_hold_end(h);
	}
unlock:
	mutex_unlock(&h->lock);
	rtnl_unlock();
}

/**
 * tapmig_hold_refuse - say that the state of a hold does not allow something
 * @h: the hold
 * @extack: where to say it, or NULL
 *
 * Return: -EBUSY, or -ENODEV if it never will.
 */
int tapmig_hold_refuse(struct tapmig_hold *h, struct netlink_ext_ack *extack)
{
	if (h->gone) {
		NL_SET_ERR_MSG(extack, "the hold is gone");
		return -ENODEV;
	}
	switch (h->state) {
	case TAPMIG_STATE_ARMED:
		NL_SET_ERR_MSG(extack, "the hold is armed, not frozen");
		return -EBUSY;
	case TAPMIG_STATE_FROZEN:
		NL_SET_ERR_MSG(extack, "the hold is frozen");
		return -EBUSY;
	case TAPMIG_STATE_THAWING:
		NL_SET_ERR_MSG(extack, "the hold is thawing");
		return -EBUSY;
	case TAPMIG_STATE_LIVE:
		NL_SET_ERR_MSG(extack, "the hold is live, not frozen");
		return -EBUSY;
	default:
		NL_SET_ERR_MSG(extack, "the hold is dead: its queues are gone");
		return -ENODEV;
	}
}

/**
 * tapmig_hold_ring_limit - how far each ring of a hold may be enlarged
 * @h: the hold, which has queues
 *
 * What is in the rings is not charged. These limits are what bounds it, in
 * packets.
 *
 * Return: the number of entries.
 */
u32 tapmig_hold_ring_limit(const struct tapmig_hold *h)
{
	u64 limit;

	lockdep_assert_held(&h->lock);

	limit = min_t(u64, h->max_packets,
		      div_u64(h->max_bytes, SKB_TRUESIZE(ETH_FRAME_LEN)));
	return div_u64(limit, h->nr_queues);
}

/**
 * tapmig_hold_prepare - enlarge the rings of a hold
 * @h: the hold
 * @entries: least entries of each, 0: what its limits allow
 *
 * Return: 0; -EBUSY: not ARMED; -ENODEV: dead, or no queue; -ERANGE: more
 * than the limits allow; -ENOMEM: an earlier one stays in force.
 */
int tapmig_hold_prepare(struct tapmig_hold *h, u32 entries)
{
	struct tapmig_queue *q;
	u32 limit;
	int err;

	mutex_lock(&h->lock);
	err = -ENODEV;
	if (h->gone || !h->nr_queues)
		goto unlock;
	if (h->state != TAPMIG_STATE_ARMED) {
		err = tapmig_hold_refuse(h, NULL);
		goto unlock;
	}
	limit = tapmig_hold_ring_limit(h);
	err = -ERANGE;
	if (entries > limit)
		goto unlock;
	if (!entries)
		entries = limit;
	err = 0;
	list_for_each_entry(q, &h->queues, node) {
		err = tapmig_queue_grow(q, entries);
		if (err)
			break;
	}
	trace_tapmig_prepare(h, entries);
	if (!err) {
		h->prepared = true;
		h->prepared_entries = entries;
		tapmig_hold_start_deadline(h);
	} else {
		/* Unless an earlier one still wants them enlarged. */
		tapmig_hold_restore_rings(h);
	}
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/* What came during a resize is that of the queues. */
static void tapmig_captured_to_queues(struct tapmig_hold *h)
{
	struct tapmig_pkt *p;

	tapmig_hold_settle(h);
	h->seek_hint = NULL;
	while ((p = tapmig_list_pop(&h->captured))) {
		tapmig_queue_uncapture(tapmig_queue_by_index(h, p->queue), p);
		cond_resched();
	}
}

/* Entries that all rings of a hold have when nobody has enlarged them. */
static u64 tapmig_hold_entries(struct tapmig_hold *h)
{
	struct tapmig_queue *q;
	u64 entries = 0;

	lockdep_assert_held(&h->lock);

	list_for_each_entry(q, &h->queues, node)
		if (q->file)
			entries += tapmig_queue_entries(q);
	return entries;
}

/**
 * tapmig_hold_freeze - from now on all packets are held
 * @h: the hold
 * @detached: it outlives its owner
 * @extack: where to say why not, or NULL
 *
 * Return: 0; -EBUSY: not ARMED; -ENODEV: dead, or no queue.
 */
int tapmig_hold_freeze(struct tapmig_hold *h, bool detached,
		       struct netlink_ext_ack *extack)
{
	struct tapmig_queue *q;
	u64 entries;
	int err;

	mutex_lock(&h->lock);
	if (h->gone || h->state != TAPMIG_STATE_ARMED) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	err = -ENODEV;
	if (!h->nr_queues) {
		NL_SET_ERR_MSG(extack, "the hold has no queue");
		goto unlock;
	}
	list_for_each_entry(q, &h->queues, node) {
		if (READ_ONCE(q->dead) || tapmig_queue_shut_down(q)) {
			tapmig_hold_die(h);
			err = tapmig_hold_refuse(h, extack);
			goto unlock;
		}
	}

	entries = tapmig_hold_entries(h);
	tapmig_captured_to_queues(h);
	tapmig_import_reset(h);
	h->flags &= ~TAPMIG_HOLD_FLAGS_DUE;
	if (detached)
		h->flags |= TAPMIG_HOLD_FLAGS_DETACHED;
	h->thawed_at = 0;
	spin_lock_irq(&h->pkt_lock);
	h->frozen_at = ktime_get_ns();
	h->frozen_real_at = ktime_mono_to_real(h->frozen_at);
	h->gap_base = h->next_seq - 1;
	h->overflowed = false;
	h->trimming = h->role == TAPMIG_ROLE_STANDBY;
	h->ring_entries = entries;
	spin_unlock_irq(&h->pkt_lock);
	list_for_each_entry(q, &h->queues, node)
		tapmig_queue_freeze(q);
	trace_tapmig_freeze(h);
	if (tapmig_standby_waits(h))
		tapmig_hold_stop_deadline(h);
	else
		tapmig_hold_start_deadline(h);
	tapmig_hold_set_state(h, TAPMIG_STATE_FROZEN);
	err = 0;
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/**
 * tapmig_hold_discard - free all packets; readers go on without them
 * @h: the hold; one without an owner is gone afterwards
 * @extack: where to say why not, or NULL
 *
 * Return: 0; -EBUSY: THAWING, and the deadline has not passed.
 */
int tapmig_hold_discard(struct tapmig_hold *h, struct netlink_ext_ack *extack)
{
	int err = 0;

	/*
	 * What comes while the device resizes its rings is in the hold, even
	 * if that is not frozen. Left in the ring it would not always fit.
	 */
	rtnl_lock();
	mutex_lock(&h->lock);
	if (h->gone)
		goto unlock;
	if (h->state == TAPMIG_STATE_THAWING &&
	    !(h->flags & TAPMIG_HOLD_FLAGS_DUE)) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	tapmig_hold_empty(h);
unlock:
	mutex_unlock(&h->lock);
	rtnl_unlock();
	return err;
}

/**
 * tapmig_hold_commit - free captured packets that are safe elsewhere
 * @h: the hold
 * @seq: up to this number
 * @extack: where to say why not, or NULL
 *
 * Return: 0; -EBUSY: neither FROZEN nor DEAD; -ERANGE: beyond the newest.
 */
int tapmig_hold_commit(struct tapmig_hold *h, u64 seq,
		       struct netlink_ext_ack *extack)
{
	struct tapmig_list gone = {}, keep = {};
	struct tapmig_pkt *p;
	u64 next_seq;
	int err = 0;

	mutex_lock(&h->lock);
	if (h->gone || (h->state != TAPMIG_STATE_FROZEN &&
			h->state != TAPMIG_STATE_DEAD)) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	tapmig_hold_settle(h);
	spin_lock_irq(&h->pkt_lock);
	next_seq = h->next_seq;
	spin_unlock_irq(&h->pkt_lock);
	if (seq >= next_seq) {
		NL_SET_ERR_MSG(extack, "no packet has that number yet");
		err = -ERANGE;
		goto unlock;
	}
	/* What vhost-net gave back late has low numbers, but may be unsent. */
	while (h->captured.head && h->captured.head->seq <= seq) {
		p = tapmig_list_pop(&h->captured);
		tapmig_list_add_tail(p->seq >= TAPMIG_SEQ_FIRST ||
				     (p->flags & TAPMIG_PKT_EXPORTED) ?
				     &gone : &keep, p);
		cond_resched();
	}
	tapmig_list_splice(&keep, &h->captured);
	h->captured = keep;
	h->seek_hint = NULL;
	h->gap_base = max(h->gap_base, seq);
	h->committed_seq = max(h->committed_seq, seq);
	tapmig_hold_uncharge(h, gone.count, gone.bytes);
	/* No loss: that they are elsewhere is what a commit says. */
	tapmig_list_free(&gone);
unlock:
	mutex_unlock(&h->lock);
	return err;
}

/**
 * tapmig_hold_set - change properties
 * @h: the hold
 * @set: which, and to what; checked for form
 * @request: the netlink message that asks for it, or NULL: current does
 * @bad: set to the TAPMIG_SET_* of what is refused, on error, or to 0
 * @extack: where to say why not, or NULL
 *
 * Return: 0; -EPERM: needs a privilege; -ERANGE: out of range; -EINVAL;
 * -ENODEV: gone.
 */
int tapmig_hold_set(struct tapmig_hold *h, const struct tapmig_set *set,
		    const struct sk_buff *request, u32 *bad,
		    struct netlink_ext_ack *extack)
{
	u32 settable = TAPMIG_HOLD_FLAGS_DETACHED | TAPMIG_HOLD_FLAGS_PEER;
	u32 packets, ms, old_flags;
	bool trims;
	u64 bytes;
	int err;

	if ((set->mask & TAPMIG_SET_FLAGS) &&
	    (set->flags_mask & ~settable || set->flags & ~set->flags_mask)) {
		*bad = TAPMIG_SET_FLAGS;
		NL_SET_ERR_MSG(extack, "only detached and peer can be set");
		return -EINVAL;
	}

	mutex_lock(&h->lock);
	*bad = 0;
	if (h->gone) {
		err = tapmig_hold_refuse(h, extack);
		goto unlock;
	}
	packets = set->mask & TAPMIG_SET_MAX_PACKETS ? set->max_packets :
						       h->max_packets;
	bytes = set->mask & TAPMIG_SET_MAX_BYTES ? set->max_bytes :
						   h->max_bytes;
	ms = set->mask & TAPMIG_SET_MAX_FROZEN_MS ? set->max_frozen_ms :
						    h->max_frozen_ms;
	if ((set->mask & TAPMIG_SET_WAIT_IMPORT_MS) &&
	    !tapmig_wait_valid(set->wait_import_ms)) {
		*bad = TAPMIG_SET_WAIT_IMPORT_MS;
		NL_SET_ERR_MSG(extack, "that wait is out of range");
		err = -ERANGE;
		goto unlock;
	}
	/* Nobody needs a privilege to leave or lower what is there. */
	*bad = TAPMIG_SET_MAX_PACKETS;
	err = !packets ? -ERANGE : packets <= h->max_packets ? 0 :
	      tapmig_limits_check(request, packets, 0, 0);
	if (err)
		goto refuse;
	*bad = TAPMIG_SET_MAX_BYTES;
	err = !bytes ? -ERANGE : bytes <= h->max_bytes ? 0 :
	      tapmig_limits_check(request, 0, bytes, 0);
	if (err)
		goto refuse;
	*bad = TAPMIG_SET_MAX_FROZEN_MS;
	err = !ms ? -ERANGE : ms <= h->max_frozen_ms ? 0 :
	      tapmig_limits_check(request, 0, 0, ms);
	if (err)
		goto refuse;

	/* If it trims, the hook shall not have many to let go. */
	trims = h->role == TAPMIG_ROLE_STANDBY &&
		h->state == TAPMIG_STATE_FROZEN;
	if (trims)
		tapmig_hold_settle(h);
	spin_lock_irq(&h->pkt_lock);
	h->max_packets = packets;
	h->max_bytes = bytes;
	spin_unlock_irq(&h->pkt_lock);
	if (trims)
		tapmig_hold_settle(h);
	if (set->mask & TAPMIG_SET_MAX_FROZEN_MS) {
		h->max_frozen_ms = ms;
		if (h->deadline)
			tapmig_hold_start_deadline(h);
	}
	if (set->mask & TAPMIG_SET_DEDUP)
		h->dedup = set->dedup;
	if (set->mask & TAPMIG_SET_DEADLINE_ACTION)
		h->deadline_action = set->deadline_action;
	if (set->mask & TAPMIG_SET_WAIT_IMPORT_MS) {
		h->wait_import_ms = set->wait_import_ms;
		if (h->state == TAPMIG_STATE_THAWING)
			tapmig_thaw_start(h);
	}
	if (set->mask & TAPMIG_SET_MAC)
		ether_addr_copy(h->mac, set->mac);
	old_flags = h->flags;
	if (set->mask & TAPMIG_SET_FLAGS)
		h->flags = (h->flags & ~set->flags_mask) | set->flags;
	/* Who outlives his owner has to end some time. */
	if (h->state == TAPMIG_STATE_FROZEN && !h->deadline &&
	    (h->flags & TAPMIG_HOLD_FLAGS_DETACHED))
		tapmig_hold_start_deadline(h);
	else if ((h->state == TAPMIG_STATE_FROZEN ||
		  h->state == TAPMIG_STATE_THAWING) && tapmig_standby_waits(h))
		tapmig_hold_stop_deadline(h);
	if (h->flags != old_flags)
		tapmig_hold_event(h);
	goto unlock;

refuse:
	if (err == -EPERM)
		NL_SET_ERR_MSG(extack, "that limit needs CAP_NET_ADMIN in the initial user namespace");
	else
		NL_SET_ERR_MSG(extack, "that limit is out of range");
unlock:
	mutex_unlock(&h->lock);
	return err;
}

static u64 tapmig_ms_since(s64 from, s64 to)
{
	return from ? div_s64((to ?: (s64)ktime_get_ns()) - from,
			      NSEC_PER_MSEC) : 0;
}

/**
 * tapmig_hold_info - all that can be seen of a hold
 * @h: the hold
 * @info: where to put it; all but the size is set
 */
void tapmig_hold_info(struct tapmig_hold *h, struct tapmig_info *info)
{
	u32 size = info->size;

	lockdep_assert_held(&h->lock);

	/* A stand-by has more than it keeps until it is settled. */
	if (h->role == TAPMIG_ROLE_STANDBY)
		tapmig_hold_settle(h);
	*info = (struct tapmig_info) {
		.size = size,
		.id = h->id,
		.state = h->state,
		.role = h->role,
		.flags = h->flags,
		.queues = h->nr_queues,
		.max_packets = h->max_packets,
		.max_frozen_ms = h->max_frozen_ms,
		.max_bytes = h->max_bytes,
		.pending_imports = h->imports.count + h->late.count,
		.committed_seq = h->committed_seq,
		.exported = h->counts.exported,
		.imported = h->counts.imported,
		.resent = h->counts.resent,
		.flooded = h->counts.flooded,
		.late = h->counts.late,
		.late_skipped = h->counts.late_skipped,
		.own_address = h->counts.own_address,
		.segmented = h->counts.segmented,
		.delivered = h->counts.delivered,
		.lost = h->counts.lost,
		.discarded = h->counts.discarded,
		.frozen_ns = h->frozen_real_at,
		.frozen_for_ms = tapmig_ms_since(h->frozen_at, h->thawed_at),
		.thaw_wait_us = div_s64(h->thaw_wait_ns, NSEC_PER_USEC),
		.thaw_us = div_s64(h->thaw_ns, NSEC_PER_USEC),
		.thaw_irqoff_ns = h->thaw_irqoff_ns,
	};
	if (h->importing)
		info->flags |= TAPMIG_HOLD_FLAGS_IMPORTING;
	if (tapmig_hold_is_orphan(h))
		info->flags |= TAPMIG_HOLD_FLAGS_ORPHAN;

	spin_lock_irq(&h->pkt_lock);
	info->held_packets = h->captured.count + h->fresh.count;
	info->held_bytes = h->held_bytes;
	info->highest_seq = h->next_seq > TAPMIG_SEQ_FIRST ?
			    h->next_seq - 1 : 0;
	info->captured = h->counts.captured;
	info->dropped = h->counts.dropped;
	info->dropped_bytes = h->counts.dropped_bytes;
	info->trimmed = h->counts.trimmed;
	spin_unlock_irq(&h->pkt_lock);
}

/**
 * tapmig_standby_begin - a stand-by keeps all from now on
 * @h: the hold
 * @before: what came before, CLOCK_MONOTONIC, is dropped
 */
void tapmig_standby_begin(struct tapmig_hold *h, s64 before)
{
	lockdep_assert_held(&h->lock);

	tapmig_hold_settle(h);
	tapmig_hold_stop_trimming(h);
	tapmig_hold_settle(h);
	tapmig_captured_trim(h, U64_MAX, U64_MAX, before);
	if (!h->deadline)
		tapmig_hold_start_deadline(h);
}

/* The device @dev goes away: so do the holds of its queues. */
static void tapmig_device_gone(struct tapmig_hold *h, struct net_device *dev)
{
	bool dead = h->dev == dev && dev->reg_state != NETREG_REGISTERED;
	struct tapmig_queue *q;

	list_for_each_entry(q, &h->queues, node)
		dead |= q->file && tapmig_queue_shut_down(q);
	if (dead)
		tapmig_hold_die(h);
}

/**
 * tapmig_after_resize - the device has resized the rings of a hold, or has
 *	refused to; give them back what was in them
 * @h: the hold
 */
void tapmig_after_resize(struct tapmig_hold *h)
{
	struct tapmig_handover ho = { .hold = h };
	struct tapmig_queue *q;

	ASSERT_RTNL();
	lockdep_assert_held(&h->lock);

	if (h->state != TAPMIG_STATE_ARMED && h->state != TAPMIG_STATE_LIVE)
		return;
	tapmig_captured_to_queues(h);
	list_for_each_entry(q, &h->queues, node) {
		tapmig_queue_handover(q, &ho);
		if (h->prepared)
			tapmig_queue_grow(q, h->prepared_entries);
	}
	/* Counted in tapmig_handover_drops(). */
	tapmig_list_free(&ho.drop);
	tapmig_hold_restore_rings(h);
}

static void tapmig_before_resize(struct tapmig_hold *h)
{
	struct tapmig_queue *q;

	list_for_each_entry(q, &h->queues, node)
		tapmig_queue_before_resize(q);
	/* If the device refuses, nobody tells us afterwards. */
	if (h->state == TAPMIG_STATE_ARMED || h->state == TAPMIG_STATE_LIVE)
		tapmig_hold_queue_work(h, &h->thaw_work, 0);
}

static int tapmig_device_event(unsigned long event, struct net_device *dev,
			       bool before)
{
	struct tapmig_hold *h;
	unsigned long id = 0;

	if (event != NETDEV_UNREGISTER && event != NETDEV_CHANGE_TX_QUEUE_LEN)
		return NOTIFY_DONE;

	for (; (h = tapmig_hold_get_next(NULL, &id)); id++) {
		mutex_lock(&h->lock);
		if (event == NETDEV_UNREGISTER) {
			if (!before)
				tapmig_device_gone(h, dev);
		} else if (h->dev == dev) {
			if (before)
				tapmig_before_resize(h);
			else
				tapmig_after_resize(h);
		}
		mutex_unlock(&h->lock);
		tapmig_hold_put(h);
	}
	/* Holds that have just ended can have left rings. */
	if (!before)
		tapmig_lefts_event(dev);
	return NOTIFY_DONE;
}

static int tapmig_event_before(struct notifier_block *nb, unsigned long event,
			       void *ptr)
{
	return tapmig_device_event(event, netdev_notifier_info_to_dev(ptr),
				   true);
}

static int tapmig_event_after(struct notifier_block *nb, unsigned long event,
			      void *ptr)
{
	return tapmig_device_event(event, netdev_notifier_info_to_dev(ptr),
				   false);
}

/* tun and macvtap resize their rings in between. */
static struct notifier_block tapmig_notifier_before = {
	.notifier_call = tapmig_event_before,
	.priority = INT_MAX,
};

static struct notifier_block tapmig_notifier_after = {
	.notifier_call = tapmig_event_after,
	.priority = INT_MIN,
};

/**
 * tapmig_holds_init - get ready
 *
 * Return: 0 or -errno.
 */
int __init tapmig_holds_init(void)
{
	int err;

	tapmig_users_init();
	tapmig_wq = alloc_workqueue("tapmig", WQ_UNBOUND, 0);
	if (!tapmig_wq)
		return -ENOMEM;
	err = register_netdevice_notifier(&tapmig_notifier_before);
	if (err)
		goto destroy_wq;
	err = register_netdevice_notifier(&tapmig_notifier_after);
	if (err)
		goto unregister_before;
	return 0;

unregister_before:
	unregister_netdevice_notifier(&tapmig_notifier_before);
destroy_wq:
	destroy_workqueue(tapmig_wq);
	return err;
}

/** tapmig_holds_exit - the end; there are no holds any more */
void tapmig_holds_exit(void)
{
	tapmig_lefts_stop();
	unregister_netdevice_notifier(&tapmig_notifier_after);
	unregister_netdevice_notifier(&tapmig_notifier_before);
	/* The last work item may have dropped the last reference. */
	destroy_workqueue(tapmig_wq);
	rcu_barrier();
}
