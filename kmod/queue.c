// SPDX-License-Identifier: GPL-2.0-only
/*
 * All contact with tun, tap and their rings.
 *
 * A TAP queue is a ptr_ring that the device fills and that vhost-net or
 * read(2) empties, and a wait queue on which readers wait. tun and tap wake
 * that wait queue after every packet. We are its first waiter: our hook runs
 * in the producer's context, takes what is in the ring, and ends the walk, so
 * that no reader learns of it.
 */
#include <linux/capability.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hashtable.h>
#include <linux/if_arp.h>
#include <linux/if_tap.h>
#include <linux/if_tun.h>
#include <linux/if_vlan.h>
#include <linux/netdevice.h>
#include <linux/ptr_ring.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/gso.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "hold.h"
#include "trace.h"

/* More than this many late arrivals are not sorted out under ring locks... */
#define TAPMIG_LOCKED_PACKETS	64
/* ... unless they come so fast that it was tried this often. */
#define TAPMIG_LOCKED_TRIES	16

/* vhost-net takes, and gives back, so many packets at most. */
#define TAPMIG_VHOST_BATCH	64

/* No more than so many are moved to another array under ring locks. */
#define TAPMIG_MOVED_PACKETS	16384

/* After so many packets that are taken, interrupts get their turn. */
#define TAPMIG_DRAIN_BATCH	256

/* All queues of all holds, to refuse a second hold of a queue. */
static DEFINE_HASHTABLE(tapmig_queues, 10);
static DEFINE_MUTEX(tapmig_queues_lock);

static struct tap_queue *tapmig_tap_queue(const struct tapmig_queue *q)
{
	return container_of(q->sock, struct tap_queue, sock);
}

/* Packets in a ring. The caller has both of its locks. */
static int tapmig_ring_count(const struct ptr_ring *r)
{
	int n;

	if (!r->size || !r->queue[r->consumer_head])
		return 0;
	n = r->producer - r->consumer_head;
	return n > 0 ? n : n + r->size;
}

/*
 * How many of the packets at the head of the ring vhost-net has given back
 * since we last emptied it: ptr_ring_unconsume() is all that moves the head
 * backwards. What it gives back is older than all that we hold.
 */
static int tapmig_ring_given_back(const struct tapmig_queue *q)
{
	const struct ptr_ring *r = q->ring;
	int n, last, seen = q->seen_head;

	lockdep_assert_held(&r->consumer_lock);

	if (!q->seen_array)
		return 0;
	/* Its device has resized it: that begins at the head of an array. */
	if (q->seen_array != r->queue)
		seen = 0;
	n = seen - r->consumer_head;
	if (n < 0)
		n += r->size;
	if (!n || n > max(r->size / 2, TAPMIG_VHOST_BATCH))
		return 0;
	/*
	 * A reader that took packets looks like a long way backwards, and in a
	 * small ring no way is long. But then there are not so many: nobody
	 * has filled the place before the one where we stopped, though what we
	 * took from there may not have been wiped out yet.
	 */
	last = (seen ?: r->size) - 1;
	if (last >= r->consumer_tail && last < r->consumer_head)
		return 0;
	/* Before @missed is read: each of the others was counted by then. */
	if (!smp_load_acquire(&r->queue[last]))
		return 0;
	/*
	 * Unless they all came while the reader had the lock. There is no room
	 * for so many in a ring with a batch that was given back.
	 */
	if ((u32)atomic_read(&q->missed) - q->seen_missed > r->size - n)
		return 0;
	return n;
}

/*
 * Move all that is in the ring of a frozen queue to the hold. Returns false
 * when a packet could not be taken for want of memory; it stays in the ring.
 */
static bool __tapmig_queue_drain(struct tapmig_queue *q)
{
	struct tapmig_hold *h = q->hold;
	struct ptr_ring *r = q->ring;
	s64 now = ktime_get_ns();
	unsigned long flags;
	struct tapmig_pkt *p;
	bool all = true;
	int given, n = 0;
	u32 missed;
	u64 low;
	void *ptr;

	lockdep_assert_held(&r->consumer_lock);

	spin_lock_irqsave(&h->pkt_lock, flags);
	low = q->given_low;
	given = tapmig_ring_given_back(q);
	if (given) {
		given += q->given_left;
		if (given >= h->low_seq)
			given = 0;
		low = h->low_seq - given;
		h->low_seq = low;
	} else {
		given = q->given_left;
	}
	for (;;) {
		/* These have come before we look, and are taken. */
		missed = atomic_read_acquire(&q->missed);
		ptr = __ptr_ring_peek(r);
		if (!ptr)
			break;
		if (unlikely(ptr == h->probe)) {
			__ptr_ring_discard_one(r);
			h->probe_queue = q;
			n++;
			continue;
		}
		p = tapmig_pkt_init(ptr);
		if (unlikely(!p)) {
			all = false;
			break;
		}
		__ptr_ring_discard_one(r);
		p->queue = q->index;
		if (given-- > 0) {
			/* It came before the freeze, nobody knows when. */
			p->time = h->frozen_at;
			p->seq = low++;
		} else {
			p->time = now;
			p->seq = h->next_seq++;
		}
		tapmig_hold_capture(h, p);
		/* At FREEZE the ring can be a large one, and full. */
		if (!(++n % TAPMIG_DRAIN_BATCH)) {
			spin_unlock_irqrestore(&h->pkt_lock, flags);
			spin_lock_irqsave(&h->pkt_lock, flags);
		}
	}
	q->seen_array = r->queue;
	q->seen_head = r->consumer_head;
	q->seen_missed = missed;
	q->given_left = all ? 0 : max(given, 0);
	q->given_low = low;
	spin_unlock_irqrestore(&h->pkt_lock, flags);

	/* 7.3 and later: a sender may wait for room. */
	if (n && !q->is_tap)
		tun_wake_queue(q->file, n);
	/* What could not be taken is tried again from there. */
	if (n || !all)
		tapmig_hold_queue_settle(h);
	return all;
}

/*
 * Runs with the wait queue's lock and interrupts off, on top of whatever the
 * CPU was doing, which may be a reader within the consumer lock.
 */
static int tapmig_queue_hook(wait_queue_entry_t *entry, unsigned int mode,
			     int sync, void *key)
{
	struct tapmig_queue *q = container_of(entry, struct tapmig_queue,
					      hook);
	struct ptr_ring *r = q->ring;
	bool shut, held = false;

	if (key && !(key_to_poll(key) & EPOLLIN))
		return 0;

	/* A reader that waits must learn of the end of its device. */
	shut = tapmig_queue_shut_down(q);
	if (unlikely(shut) && !READ_ONCE(q->dead)) {
		WRITE_ONCE(q->dead, true);
		tapmig_hold_queue_work(q->hold, &q->hold->settle_work, 0);
	}
	if (!READ_ONCE(q->frozen))
		return 0;

	if (spin_trylock(&r->consumer_lock)) {
		/* THAW may have been faster. */
		if (q->frozen) {
			held = __tapmig_queue_drain(q);
			spin_unlock(&r->consumer_lock);
			if (held)
				return !shut;
		} else {
			spin_unlock(&r->consumer_lock);
			return 0;
		}
	} else {
		atomic_fetch_inc_release(&q->missed);
	}
	/* The reference is for the work item, if it was not pending. */
	refcount_inc(&q->hold->ref);
	if (!queue_work(tapmig_wq, &q->drain_work))
		tapmig_hold_put(q->hold);
	return !shut;
}

static void tapmig_queue_drain_work(struct work_struct *work)
{
	struct tapmig_queue *q = container_of(work, struct tapmig_queue,
					      drain_work);
	struct tapmig_hold *h = q->hold;

	mutex_lock(&h->lock);
	tapmig_queue_drain(q);
	mutex_unlock(&h->lock);
	tapmig_hold_put(h);
}

/**
 * tapmig_queue_drain - take what is in the ring of a queue, if it is frozen
 * @q: the queue
 *
 * Return: false if a packet could not be taken, for want of memory.
 */
bool tapmig_queue_drain(struct tapmig_queue *q)
{
	bool all = true;

	lockdep_assert_held(&q->hold->lock);

	if (!q->file)
		return true;
	spin_lock_bh(&q->ring->consumer_lock);
	if (q->frozen)
		all = __tapmig_queue_drain(q);
	spin_unlock_bh(&q->ring->consumer_lock);
	return all;
}

/**
 * tapmig_queue_shut_down - is the device of a queue gone
 * @q: the queue
 *
 * Return: true if so.
 */
bool tapmig_queue_shut_down(struct tapmig_queue *q)
{
	/* macvtap neither shuts its sockets down nor wakes their waiters. */
	if (q->is_tap)
		return !rcu_access_pointer(tapmig_tap_queue(q)->tap);
	return READ_ONCE(q->sock->sk->sk_shutdown) & RCV_SHUTDOWN;
}

/**
 * tapmig_queue_orphan - has nobody but the hold a queue open
 * @q: the queue
 *
 * Return: true if so.
 */
bool tapmig_queue_orphan(struct tapmig_queue *q)
{
	return q->file && file_count(q->file) == 1;
}

/**
 * tapmig_queue_entries - entries that the device wants its ring to have
 * @q: the queue
 *
 * Return: the number of entries.
 */
int tapmig_queue_entries(struct tapmig_queue *q)
{
	if (q->grown && q->grown == READ_ONCE(q->ring->queue))
		return q->want_entries;
	return READ_ONCE(q->ring->size);
}

/* Give @r the array @array of @size entries, of which @n are filled. */
static void **tapmig_ring_swap(struct ptr_ring *r, void **array, int size,
			       int n)
{
	void **old = r->queue;

	lockdep_assert_held(&r->consumer_lock);
	lockdep_assert_held(&r->producer_lock);

	__ptr_ring_set_size(r, size);
	r->producer = n < size ? n : 0;
	r->consumer_head = 0;
	r->consumer_tail = 0;
	r->queue = array;
	return old;
}

static void **tapmig_array_alloc(u64 entries, gfp_t more)
{
	if (WARN_ON_ONCE(entries > INT_MAX / sizeof(void *)))
		return NULL;
	return kvcalloc(entries, sizeof(void *), GFP_KERNEL_ACCOUNT | more);
}

/* Move what is in the ring to an array of another size. */
static void **tapmig_ring_move(struct ptr_ring *r, void **array, int size)
{
	int n = 0;
	void *ptr;

	while ((ptr = __ptr_ring_consume(r)))
		array[n++] = ptr;
	return tapmig_ring_swap(r, array, size, n);
}

/*
 * Entries for a ring of @size in which are @n packets, if its device wants
 * @want: so many, or less than half of @size, with as much room for senders.
 */
static int tapmig_ring_shrunk(int size, int n, int want)
{
	if (n <= want / 2)
		return want;
	if (n <= TAPMIG_MOVED_PACKETS && n < size / 2 - want)
		return n + want;
	return size;
}

/*
 * Give @r its size back if its backlog was read, or come near to that: it may
 * be long until a reader is so far ahead. Returns false if something is left
 * to do; @grown is NULL if the ring no longer has our array.
 */
static bool tapmig_ring_restore(struct ptr_ring *r, void ***grown, int want)
{
	void **array, **old;
	int size = -1;

	spin_lock_bh(&r->consumer_lock);
	spin_lock(&r->producer_lock);
	if (r->queue != *grown)
		*grown = NULL;
	else
		size = tapmig_ring_shrunk(r->size, tapmig_ring_count(r), want);
	if (size == r->size)
		size = -1;
	spin_unlock(&r->producer_lock);
	spin_unlock_bh(&r->consumer_lock);
	if (size < 0)
		return !*grown;

	array = tapmig_array_alloc(size, __GFP_NOWARN);
	if (!array)
		return false;

	spin_lock_bh(&r->consumer_lock);
	spin_lock(&r->producer_lock);
	old = array;
	if (r->queue != *grown) {
		*grown = NULL;
	} else if (tapmig_ring_count(r) <= size - (want + 1) / 2) {
		old = tapmig_ring_move(r, array, size);
		*grown = size > want ? array : NULL;
	}
	spin_unlock(&r->producer_lock);
	spin_unlock_bh(&r->consumer_lock);
	kvfree(old);
	return !*grown;
}

/**
 * tapmig_queue_grow - enlarge the ring of a queue, without loss
 * @q: the queue, not frozen
 * @entries: least entries wanted
 *
 * Return: 0 or -ENOMEM.
 */
int tapmig_queue_grow(struct tapmig_queue *q, u32 entries)
{
	struct ptr_ring *r = q->ring;
	void **array, **old;
	int was;

	lockdep_assert_held(&q->hold->lock);

	if (READ_ONCE(r->size) >= entries)
		return 0;
	array = tapmig_array_alloc(entries, __GFP_NOWARN);
	if (!array)
		return -ENOMEM;

	spin_lock_bh(&r->consumer_lock);
	spin_lock(&r->producer_lock);
	old = array;
	if (r->size < entries) {
		q->want_entries = tapmig_queue_entries(q);
		was = r->size;
		old = tapmig_ring_move(r, array, entries);
		q->grown = array;
		/* A stopped sender goes on: no reader has made that room. */
		if (!q->is_tap)
			tun_wake_queue(q->file, max_t(int, was, entries));
	}
	spin_unlock(&r->producer_lock);
	spin_unlock_bh(&r->consumer_lock);
	kvfree(old);
	return 0;
}

/**
 * tapmig_queue_restore - give the ring the size that the device wants, if
 *	the backlog was read
 * @q: the queue
 *
 * Return: true if there is nothing left to do.
 */
bool tapmig_queue_restore(struct tapmig_queue *q)
{
	lockdep_assert_held(&q->hold->lock);

	if (!q->file || !q->grown)
		return true;
	return tapmig_ring_restore(q->ring, &q->grown, q->want_entries);
}

/*
 * Is a queue an enabled one of a tun device? The private data of that begin
 * with an array of its enabled queues, and a queue with its socket. Pointers
 * are compared only.
 */
static bool tapmig_tun_has(const struct net_device *dev, const struct sock *sk)
{
	void *const *queues = netdev_priv(dev);
	unsigned int i;

	ASSERT_RTNL();

	if (dev->rtnl_link_ops->priv_size < MAX_TAP_QUEUES * sizeof(*queues))
		return false;
	for (i = 0; i < MAX_TAP_QUEUES; i++)
		if (queues[i] == sk)
			return true;
	return false;
}

/**
 * struct tapmig_left - a ring that is still enlarged though its hold is gone
 * @node: in tapmig_lefts
 * @sk: socket of the queue, referenced
 * @ring: its ring
 * @tap: the queue, if it is one of macvtap or ipvtap
 * @dev: else its device, referenced until it goes away
 * @dev_tracker: for @dev
 * @grown: the array that we gave the ring
 * @want: entries that it is to have
 *
 * There is no reference to the file: its device has to be free for its next
 * owner. The socket keeps the ring, but not always its array, see
 * tapmig_left_there().
 */
struct tapmig_left {
	struct list_head node;
	struct sock *sk;
	struct ptr_ring *ring;
	struct tap_queue *tap;
	struct net_device *dev;
	netdevice_tracker dev_tracker;
	void **grown;
	int want;
};

static LIST_HEAD(tapmig_lefts);
static DEFINE_MUTEX(tapmig_lefts_lock);
static unsigned long tapmig_lefts_delay;

static void tapmig_left_drop(struct tapmig_left *l)
{
	lockdep_assert_held(&tapmig_lefts_lock);

	list_del(&l->node);
	sock_put(l->sk);
	netdev_put(l->dev, &l->dev_tracker);
	kfree(l);
}

/*
 * Is there nothing more to come? Of a tun queue its device, its open file and
 * we have a reference. So have packets that its reader has sent, some of them:
 * they keep a queue that was closed, for as long as they are under way.
 */
static bool tapmig_left_gone(const struct tapmig_left *l)
{
	ASSERT_RTNL();

	if (l->tap)
		return !rcu_access_pointer(l->tap->tap);
	return refcount_read(&l->sk->sk_refcnt) < 3;
}

/*
 * May its array be touched? That of a tap queue lives as long as its socket.
 * tun frees that of a file when it is closed, in the rtnl section in which the
 * queue stops to be one of its device.
 */
static bool tapmig_left_there(const struct tapmig_left *l)
{
	ASSERT_RTNL();

	return l->tap || tapmig_tun_has(l->dev, l->sk);
}

static void tapmig_lefts_work_fn(struct work_struct *work);
static DECLARE_DELAYED_WORK(tapmig_lefts_work, tapmig_lefts_work_fn);

static void tapmig_lefts_work_fn(struct work_struct *work)
{
	struct tapmig_left *l, *next;

	rtnl_lock();
	mutex_lock(&tapmig_lefts_lock);
	list_for_each_entry_safe(l, next, &tapmig_lefts, node)
		if (tapmig_left_gone(l) ||
		    (tapmig_left_there(l) &&
		     tapmig_ring_restore(l->ring, &l->grown, l->want)))
			tapmig_left_drop(l);
	/* Nobody may ever read it. */
	tapmig_lefts_delay = min_t(unsigned long, 2 * tapmig_lefts_delay, HZ);
	if (!list_empty(&tapmig_lefts))
		queue_delayed_work(tapmig_wq, &tapmig_lefts_work,
				   tapmig_lefts_delay);
	mutex_unlock(&tapmig_lefts_lock);
	rtnl_unlock();
}

/* A hold lets go a queue whose backlog was not read yet. */
static void tapmig_left_add(struct tapmig_queue *q)
{
	struct tapmig_left *l;

	if (!q->grown || !q->hold->dev || tapmig_queue_shut_down(q))
		return;
	/* Without memory it just stays as it is. */
	l = kzalloc_obj(*l, GFP_KERNEL_ACCOUNT);
	if (!l)
		return;
	l->sk = q->sock->sk;
	l->ring = q->ring;
	if (q->is_tap) {
		l->tap = tapmig_tap_queue(q);
	} else {
		l->dev = q->hold->dev;
		netdev_hold(l->dev, &l->dev_tracker, GFP_KERNEL);
	}
	l->grown = q->grown;
	l->want = q->want_entries;
	sock_hold(l->sk);
	mutex_lock(&tapmig_lefts_lock);
	list_add_tail(&l->node, &tapmig_lefts);
	tapmig_lefts_delay = TAPMIG_RESTORE_DELAY;
	mutex_unlock(&tapmig_lefts_lock);
	mod_delayed_work(tapmig_wq, &tapmig_lefts_work, TAPMIG_RESTORE_DELAY);
}

/* The ring is again one of a hold. */
static void tapmig_left_adopt(struct tapmig_queue *q)
{
	struct tapmig_left *l, *next;

	mutex_lock(&tapmig_lefts_lock);
	list_for_each_entry_safe(l, next, &tapmig_lefts, node) {
		if (l->sk != q->sock->sk)
			continue;
		if (READ_ONCE(q->ring->queue) == l->grown) {
			q->grown = l->grown;
			q->want_entries = l->want;
		}
		tapmig_left_drop(l);
	}
	mutex_unlock(&tapmig_lefts_lock);
}

/**
 * tapmig_lefts_event - something became of the rings of a device
 * @dev: the device
 *
 * Forgets what belongs to a device that goes away, and rings that have another
 * array: a later one could have the address of ours.
 */
void tapmig_lefts_event(struct net_device *dev)
{
	bool gone = dev->reg_state != NETREG_REGISTERED;
	struct tapmig_left *l, *next;

	ASSERT_RTNL();

	mutex_lock(&tapmig_lefts_lock);
	list_for_each_entry_safe(l, next, &tapmig_lefts, node)
		if ((gone && l->dev == dev) ||
		    READ_ONCE(l->ring->queue) != l->grown)
			tapmig_left_drop(l);
	mutex_unlock(&tapmig_lefts_lock);
}

/** tapmig_lefts_stop - the module goes away: rings stay as they are */
void tapmig_lefts_stop(void)
{
	struct tapmig_left *l, *next;

	cancel_delayed_work_sync(&tapmig_lefts_work);
	mutex_lock(&tapmig_lefts_lock);
	list_for_each_entry_safe(l, next, &tapmig_lefts, node)
		tapmig_left_drop(l);
	mutex_unlock(&tapmig_lefts_lock);
}

/**
 * tapmig_queue_uncapture - a packet goes to the queue where it was captured
 * @q: the queue
 * @p: the packet
 *
 * What vhost-net gave back is older than all else.
 */
void tapmig_queue_uncapture(struct tapmig_queue *q, struct tapmig_pkt *p)
{
	lockdep_assert_held(&q->hold->lock);

	tapmig_list_add_tail(p->seq < TAPMIG_SEQ_FIRST ? &q->front : &q->out,
			     p);
}

/* What was taken out of the ring for a resize is captured after all. */
static void tapmig_queue_recapture(struct tapmig_queue *q)
{
	struct tapmig_list fresh, others = {};
	struct tapmig_hold *h = q->hold;
	s64 now = ktime_get_ns();
	struct tapmig_pkt *p;
	int n = 0;

	lockdep_assert_held(&q->ring->consumer_lock);

	/* The hook can have taken more since that was settled. */
	spin_lock_irq(&h->pkt_lock);
	fresh = h->fresh;
	tapmig_list_init(&h->fresh);
	spin_unlock_irq(&h->pkt_lock);
	while ((p = tapmig_list_pop(&fresh))) {
		if (p->queue == q->index)
			tapmig_queue_uncapture(q, p);
		else
			tapmig_list_add_tail(&others, p);
	}
	spin_lock_irq(&h->pkt_lock);
	tapmig_list_splice(&others, &h->fresh);
	h->fresh = others;
	spin_unlock_irq(&h->pkt_lock);

	tapmig_list_splice(&q->front, &q->out);
	q->out = q->front;
	tapmig_list_init(&q->front);
	tapmig_hold_uncharge(h, q->out.count, q->out.bytes);
	spin_lock_irq(&h->pkt_lock);
	while ((p = tapmig_list_pop(&q->out))) {
		p->flags &= ~TAPMIG_PKT_CHECKED;
		/* What the hook took is counted; the rest has no number. */
		if (p->seq) {
			h->counts.captured--;
			/* Nothing is lost that had the old one. */
			h->gap_base = max(h->gap_base, p->seq);
		}
		p->time = now;
		p->seq = h->next_seq++;
		tapmig_hold_capture(h, p);
		/* The ring is ours: what comes between is of other queues. */
		if (!(++n % TAPMIG_DRAIN_BATCH)) {
			spin_unlock_irq(&h->pkt_lock);
			spin_lock_irq(&h->pkt_lock);
		}
	}
	spin_unlock_irq(&h->pkt_lock);
	tapmig_hold_queue_settle(h);
}

/**
 * tapmig_queue_freeze - from now on all packets of a queue go to its hold
 * @q: the queue
 */
void tapmig_queue_freeze(struct tapmig_queue *q)
{
	struct ptr_ring *r = q->ring;

	lockdep_assert_held(&q->hold->lock);

	spin_lock_bh(&r->consumer_lock);
	if (q->frozen) {
		/* Its device is resizing it. */
		__tapmig_queue_drain(q);
		tapmig_queue_recapture(q);
	} else {
		WRITE_ONCE(q->frozen, true);
		/* What is in the ring came in order, given back or not. */
		q->seen_array = NULL;
		q->given_left = 0;
		__tapmig_queue_drain(q);
	}
	spin_unlock_bh(&r->consumer_lock);

	/* What a hook has let pass that did not see it is in the ring now. */
	spin_lock_irq(&sk_sleep(q->sock->sk)->lock);
	spin_unlock_irq(&sk_sleep(q->sock->sk)->lock);
	tapmig_queue_drain(q);
}

/**
 * tapmig_queue_unfreeze - from now on packets go to the readers
 * @q: the queue
 *
 * What is in the ring now goes to the hold, as the last.
 */
void tapmig_queue_unfreeze(struct tapmig_queue *q)
{
	struct ptr_ring *r = q->ring;

	lockdep_assert_held(&q->hold->lock);

	if (!q->file)
		return;
	spin_lock_bh(&r->consumer_lock);
	if (q->frozen) {
		__tapmig_queue_drain(q);
		WRITE_ONCE(q->frozen, false);
	}
	spin_unlock_bh(&r->consumer_lock);
	tapmig_queue_wake(q);
}

/**
 * tapmig_queue_wake - wake all readers of a queue
 * @q: the queue
 */
void tapmig_queue_wake(struct tapmig_queue *q)
{
	__wake_up(sk_sleep(q->sock->sk), TASK_INTERRUPTIBLE, 0,
		  poll_to_key(EPOLLIN | EPOLLRDNORM | EPOLLRDBAND));
}

/**
 * tapmig_queue_before_resize - the device is about to resize its rings
 * @q: the queue
 *
 * What is in the ring would be dropped as far as it does not fit, so it is
 * taken out. tapmig_queue_handover() puts it back.
 */
void tapmig_queue_before_resize(struct tapmig_queue *q)
{
	struct ptr_ring *r = q->ring;
	struct tapmig_pkt *p;
	void *ptr;
	int n = 0;

	lockdep_assert_held(&q->hold->lock);

	if (!q->file)
		return;
	spin_lock_bh(&r->consumer_lock);
	/* A later array could have the address of ours. */
	if (q->grown != r->queue)
		q->grown = NULL;
	if (q->frozen) {
		__tapmig_queue_drain(q);
	} else {
		while ((ptr = __ptr_ring_peek(r))) {
			p = tapmig_pkt_init(ptr);
			if (!p)
				break;
			__ptr_ring_discard_one(r);
			p->queue = q->index;
			/* It was on its way to the reader. */
			p->flags |= TAPMIG_PKT_CHECKED;
			tapmig_list_add_tail(&q->out, p);
			n++;
		}
		/* The device does it only if it can resize the ring. */
		if (n && !q->is_tap)
			tun_wake_queue(q->file, n);
		tapmig_hold_charge_all(q->hold, q->out.count, q->out.bytes);
		q->seen_array = r->queue;
		q->seen_head = r->consumer_head;
		q->seen_missed = atomic_read(&q->missed);
		q->given_left = 0;
		WRITE_ONCE(q->frozen, true);
	}
	spin_unlock_bh(&r->consumer_lock);
}

/**
 * tapmig_queue_by_index - the queue to which its owner gave an index
 * @h: the hold
 * @index: the index
 *
 * Return: the queue, or NULL.
 */
struct tapmig_queue *tapmig_queue_by_index(struct tapmig_hold *h, u16 index)
{
	struct tapmig_queue *q;

	list_for_each_entry(q, &h->queues, node)
		if (q->index == index)
			return q;
	return NULL;
}

/*
 * Give all fresh packets to their queues: those of @q to @l, which may be its
 * own list or another, those of queues that are still frozen to theirs. What
 * vhost-net gave back in this moment is older than all.
 */
static void tapmig_queue_take_fresh(struct tapmig_queue *q,
				    struct tapmig_list *l)
{
	struct tapmig_hold *h = q->hold;
	struct tapmig_queue *to = q;
	struct tapmig_list fresh;
	struct tapmig_pkt *p;
	unsigned long flags;

	spin_lock_irqsave(&h->pkt_lock, flags);
	fresh = h->fresh;
	tapmig_list_init(&h->fresh);
	spin_unlock_irqrestore(&h->pkt_lock, flags);

	while ((p = tapmig_list_pop(&fresh))) {
		if (to->index != p->queue)
			to = tapmig_queue_by_index(h, p->queue);
		if (to == q && p->seq >= TAPMIG_SEQ_FIRST)
			tapmig_list_add_tail(l, p);
		else
			tapmig_queue_uncapture(to, p);
	}
}

/**
 * struct tapmig_array - an array to become a ring's
 * @entries: its entries
 * @size: how many it has
 * @n: how many of them are filled
 * @packets: packets that went in, or turned out not to be delivered
 * @bytes: what they were charged with
 */
struct tapmig_array {
	void **entries;
	int size;
	int n;
	u64 packets;
	u64 bytes;
};

/* Add @p to @a, unless it is not delivered. */
static void tapmig_array_add_one(struct tapmig_array *a, struct tapmig_pkt *p,
				 struct tapmig_handover *ho)
{
	a->packets++;
	a->bytes += p->truesize;
	if (tapmig_handover_drops(ho, p))
		tapmig_list_add_tail(&ho->drop, p);
	else
		a->entries[a->n++] = tapmig_pkt_release(p);
}

/* Add the packets of @l, which are few: there may be ring locks. */
static void tapmig_array_add(struct tapmig_array *a, struct tapmig_list *l,
			     struct tapmig_handover *ho)
{
	struct tapmig_pkt *p;

	while ((p = tapmig_list_pop(l)))
		tapmig_array_add_one(a, p, ho);
}

/* Put the packets of @l, which are few, before all others. */
static void tapmig_array_add_front(struct tapmig_array *a,
				   struct tapmig_list *l,
				   struct tapmig_handover *ho)
{
	int n = a->n, room = l->count;
	void **e = a->entries;

	if (!room)
		return;
	memmove(e + room, e, n * sizeof(*e));
	a->n = 0;
	tapmig_array_add(a, l, ho);
	/* Not all of them are delivered. */
	if (a->n < room) {
		memmove(e + a->n, e + room, n * sizeof(*e));
		memset(e + a->n + n, 0, (room - a->n) * sizeof(*e));
	}
	a->n += n;
}

/**
 * tapmig_queue_handover - put q->out, and then all that came since, into the
 *	ring, and let the readers have it
 * @q: the queue, frozen
 * @ho: the hand-over
 *
 * The array is filled before the locks are taken. Under both ring locks no
 * packet can come in, so that only what came since has to be added before the
 * array becomes the ring's. There is no way back, so that memory is waited
 * for.
 */
void tapmig_queue_handover(struct tapmig_queue *q, struct tapmig_handover *ho)
{
	struct tapmig_hold *h = q->hold;
	struct ptr_ring *r = q->ring;
	struct tapmig_list more = {};
	struct tapmig_array a = {};
	struct tapmig_pkt *p;
	int want, tries = 0;
	bool all, done = false;
	u64 fresh, size;
	void **old;
	s64 locked;

	lockdep_assert_held(&h->lock);

	if (!q->file || !q->frozen)
		return;
	want = tapmig_queue_entries(q);
	while (!done) {
		/* Outside the locks as long as there is much. */
		do {
			tapmig_queue_drain(q);
			tapmig_queue_take_fresh(q, &q->out);
			tries = min(tries + 1, TAPMIG_LOCKED_TRIES);
			size = a.n + q->out.count + q->front.count +
			       2 * TAPMIG_LOCKED_PACKETS * tries;
			if (size > want / 2)
				size += want;
			else
				size = want;
			if (size > a.size || !a.entries) {
				old = a.entries;
				a.entries = tapmig_array_alloc(size,
							       __GFP_NOFAIL);
				memcpy(a.entries, old, a.n * sizeof(void *));
				kvfree(old);
				a.size = size;
			}
			fresh = q->out.count;
			while ((p = tapmig_list_pop(&q->out))) {
				tapmig_array_add_one(&a, p, ho);
				cond_resched();
			}
			tapmig_array_add_front(&a, &q->front, ho);
			cond_resched();
		} while (fresh > TAPMIG_LOCKED_PACKETS &&
			 tries < TAPMIG_LOCKED_TRIES);

		old = a.entries;
		spin_lock_bh(&r->consumer_lock);
		spin_lock(&r->producer_lock);
		locked = ktime_get_ns();
		all = __tapmig_queue_drain(q);
		done = all;
		/* Other queues may add to it; about how many is enough. */
		fresh = data_race(h->fresh.count);
		if (fresh > 2 * TAPMIG_LOCKED_PACKETS &&
		    tries < TAPMIG_LOCKED_TRIES)
			done = false;
		if (a.n + fresh >= a.size)
			done = false;
		if (done) {
			tapmig_queue_take_fresh(q, &more);
			tapmig_array_add(&a, &more, ho);
			tapmig_array_add_front(&a, &q->front, ho);
			old = tapmig_ring_swap(r, a.entries, a.size, a.n);
			WRITE_ONCE(q->frozen, false);
			q->grown = a.size > want ? a.entries : NULL;
			q->want_entries = want;
		}
		locked = ktime_get_ns() - locked;
		spin_unlock(&r->producer_lock);
		spin_unlock_bh(&r->consumer_lock);
		ho->locked_ns = max(ho->locked_ns, locked);
		/* There is no memory, and nobody gives any back here. */
		if (!all)
			fsleep(USEC_PER_MSEC);
	}

	kvfree(old);
	tapmig_hold_uncharge(h, a.packets, a.bytes);
	ho->delivered += a.n;
	tapmig_queue_wake(q);
}

/**
 * tapmig_queue_produce - put late packets at the tail of the ring
 * @q: the queue, not frozen
 * @l: the packets; what does not fit stays
 * @max_entries: how far the ring may be enlarged
 *
 * Return: how many were put there.
 */
u32 tapmig_queue_produce(struct tapmig_queue *q, struct tapmig_list *l,
			 u32 max_entries)
{
	u64 bytes = l->bytes, was = l->count, done, want;
	struct ptr_ring *r = q->ring;
	struct tapmig_pkt *p;
	int next;

	lockdep_assert_held(&q->hold->lock);

	/* Frozen: its device is resizing it. */
	if (!q->file || q->frozen)
		return 0;
	/* Room for senders is left: they would not expect a full ring. */
	spin_lock_bh(&r->consumer_lock);
	spin_lock(&r->producer_lock);
	want = tapmig_ring_count(r) + l->count + TAPMIG_LOCKED_PACKETS;
	spin_unlock(&r->producer_lock);
	spin_unlock_bh(&r->consumer_lock);
	if (want > READ_ONCE(r->size) && want <= max_entries)
		tapmig_queue_grow(q, min_t(u64, max_entries, 2 * want));

	spin_lock_bh(&r->producer_lock);
	while (l->head && r->size && !__ptr_ring_full(r)) {
		/* 7.3 and later: a device stops its senders by the last one. */
		next = r->producer + 1 < r->size ? r->producer + 1 : 0;
		if (r->queue[next])
			break;
		p = tapmig_list_pop(l);
		__ptr_ring_produce(r, tapmig_pkt_release(p));
	}
	spin_unlock_bh(&r->producer_lock);

	done = was - l->count;
	if (done) {
		tapmig_hold_uncharge(q->hold, done, bytes - l->bytes);
		tapmig_queue_wake(q);
	}
	return done;
}

/* The queue where a probe has come out; or -ENOMEM: it may still be in one. */
static struct tapmig_queue *tapmig_probe_found(struct tapmig_hold *h)
{
	struct tapmig_queue *q, *res;
	struct sk_buff *skb = NULL;
	bool all = true;

	list_for_each_entry(q, &h->queues, node)
		all &= tapmig_queue_drain(q);

	spin_lock_irq(&h->pkt_lock);
	res = h->probe_queue;
	if (res || all) {
		skb = h->probe;
		h->probe = NULL;
	}
	spin_unlock_irq(&h->pkt_lock);
	if (!skb)
		return ERR_PTR(-ENOMEM);
	/*
	 * The ring's reference is ours now, if it got there. No loss: nobody
	 * sent it but we.
	 */
	if (res)
		kfree_skb(skb);
	kfree_skb(skb);
	return res;
}

/* Where does what the device sends to queue @txq come out; or -ENOMEM. */
static struct tapmig_queue *tapmig_probe(struct tapmig_hold *h, u16 txq)
{
	struct net_device *dev = h->dev;
	struct tapmig_queue *q;
	struct sk_buff *skb;

	spin_lock_irq(&h->pkt_lock);
	skb = h->probe;
	spin_unlock_irq(&h->pkt_lock);
	/* One that was behind a packet for which there was no memory. */
	if (skb) {
		q = tapmig_probe_found(h);
		if (IS_ERR(q))
			return q;
	}

	skb = alloc_skb(ETH_ZLEN, GFP_KERNEL);
	if (!skb)
		return ERR_PTR(-ENOMEM);
	skb_put_zero(skb, ETH_ZLEN);
	skb_reset_mac_header(skb);
	eth_broadcast_addr(eth_hdr(skb)->h_dest);
	skb->protocol = htons(ETH_P_802_EX1);
	eth_hdr(skb)->h_proto = skb->protocol;
	skb_set_network_header(skb, ETH_HLEN);
	skb->dev = dev;
	skb_set_queue_mapping(skb, txq);

	spin_lock_irq(&h->pkt_lock);
	/* Our own reference: the address must not be another packet's. */
	h->probe = skb_get(skb);
	h->probe_queue = NULL;
	spin_unlock_irq(&h->pkt_lock);

	local_bh_disable();
	dev->netdev_ops->ndo_start_xmit(skb, dev);
	local_bh_enable();
	return tapmig_probe_found(h);
}

/**
 * tapmig_queues_map - find out which queue has which index in the device
 * @h: the hold, all its queues frozen
 *
 * tun does not tell the index of an open file, and reorders its queues when
 * one is disabled. While all queues are frozen nothing that is sent can reach
 * a reader, so a packet is sent to each index to see where it comes out. This
 * is not possible when the device has queues that the hold has not; then the
 * indices that the owner gave are believed. They are too when the device
 * filters the probe. macvtap does tell, and sends such a packet to the network.
 *
 * Return: 0, or -ENOMEM: some are not known.
 */
int tapmig_queues_map(struct tapmig_hold *h)
{
	unsigned int i, nr, probes = 0, seen = 0, last = 0;
	struct tapmig_queue *q;
	bool is_tap = false;

	ASSERT_RTNL();
	lockdep_assert_held(&h->lock);

	if (!h->dev)
		return 0;
	nr = h->dev->real_num_tx_queues;
	list_for_each_entry(q, &h->queues, node) {
		if (q->is_tap)
			q->txq = tapmig_tap_queue(q)->enabled ?
				 tapmig_tap_queue(q)->queue_index : -1;
		else
			q->txq = -1;
		is_tap = q->is_tap;
		last = q->index;
	}
	if (is_tap)
		return 0;
	/*
	 * With one of each there is nothing to find out. Nor should it get to
	 * a queue that the owner has not given us.
	 */
	if (nr <= h->nr_queues && last == h->nr_queues - 1 && last)
		probes = nr;
	for (i = 0; i < probes; i++) {
		q = tapmig_probe(h, i);
		if (IS_ERR(q))
			return PTR_ERR(q);
		if (q) {
			q->txq = i;
			seen++;
		}
	}
	if (!seen) {
		list_for_each_entry(q, &h->queues, node)
			q->txq = q->index < nr ? q->index : -1;
	}
	return 0;
}

static struct tapmig_queue *tapmig_queue_by_txq(struct tapmig_hold *h, int txq)
{
	struct tapmig_queue *q, *enabled = NULL, *any = NULL;

	list_for_each_entry(q, &h->queues, node) {
		if (q->txq == txq)
			return q;
		if (!enabled && q->txq >= 0)
			enabled = q;
		if (!any)
			any = q;
	}
	return enabled ?: any;
}

/* As tap_get_queue() does for a packet without a recorded queue. */
static int tapmig_tap_select(struct tapmig_queue *q, struct sk_buff *skb)
{
	struct tap_dev *tap;
	int nr = 0;
	u32 hash;

	rcu_read_lock();
	tap = rcu_dereference(tapmig_tap_queue(q)->tap);
	if (tap)
		nr = READ_ONCE(tap->numvtaps);
	rcu_read_unlock();
	if (nr < 2)
		return 0;
	/* Not the hash of another host. */
	skb_clear_hash(skb);
	hash = skb_get_hash(skb);
	return hash ? hash % nr : 0;
}

/**
 * tapmig_queue_select - the queue to which the device would send a packet
 * @h: the hold, mapped by tapmig_queues_map()
 * @skb: the packet, or NULL: one without a flow
 *
 * Return: the queue.
 */
struct tapmig_queue *tapmig_queue_select(struct tapmig_hold *h,
					 struct sk_buff *skb)
{
	const struct net_device_ops *ops;
	struct tapmig_queue *q;
	struct tapmig_pkt saved;
	int txq = 0;

	lockdep_assert_held(&h->lock);

	q = list_first_entry(&h->queues, struct tapmig_queue, node);
	if (h->nr_queues == 1 || !h->dev || !skb)
		return tapmig_queue_by_txq(h, 0);

	/* A steering program may write to the control buffer. */
	saved = *tapmig_pkt_of_skb(skb);
	skb->dev = h->dev;
	ops = h->dev->netdev_ops;
	if (q->is_tap) {
		txq = tapmig_tap_select(q, skb);
	} else if (READ_ONCE(h->dev->real_num_tx_queues) > 1 &&
		   ops->ndo_select_queue) {
		local_bh_disable();
		txq = ops->ndo_select_queue(h->dev, skb, NULL);
		local_bh_enable();
	}
	skb->dev = NULL;
	*tapmig_pkt_of_skb(skb) = saved;
	return tapmig_queue_by_txq(h, txq);
}

/* What need not be done to @skb before it goes into the ring of @q. */
static netdev_features_t tapmig_features(struct tapmig_queue *q,
					 struct sk_buff *skb)
{
	netdev_features_t features = NETIF_F_GSO | NETIF_F_SG |
				     NETIF_F_FRAGLIST;
	struct tap_dev *tap;

	if (!q->is_tap)
		return netif_skb_features(skb);
	/* As in tap_handle_frame(), which does not care for VLAN tags. */
	rcu_read_lock();
	tap = rcu_dereference(tapmig_tap_queue(q)->tap);
	if (tap && (tapmig_tap_queue(q)->flags & IFF_VNET_HDR))
		features |= tap->tap_features;
	rcu_read_unlock();
	return features | NETIF_F_HW_VLAN_CTAG_TX | NETIF_F_HW_VLAN_STAG_TX;
}

/* Length of the headers of a GSO packet, up to that of its transport. */
static u32 tapmig_headers(const struct sk_buff *skb)
{
	u32 offset = skb_transport_offset(skb);
	const struct tcphdr *th;
	struct tcphdr _th;

	if (!(skb_shinfo(skb)->gso_type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6)))
		return offset + sizeof(struct udphdr);
	th = skb_header_pointer(skb, offset, sizeof(_th), &_th);
	return offset + (th ? __tcp_hdrlen(th) : sizeof(_th));
}

/*
 * As the stack does it before the device gets a packet, but what fails leaves
 * @skb as it was.
 */
static int tapmig_adapt_skb(struct tapmig_queue *q, struct sk_buff *skb,
			    struct sk_buff **segs)
{
	netdev_features_t features = tapmig_features(q, skb);
	u32 headers;

	if (skb_vlan_tag_present(skb) &&
	    !vlan_hw_offload_capable(features, skb->vlan_proto)) {
		/* Then it does not fail, which would free the skb. */
		if (skb_cow_head(skb, VLAN_HLEN))
			return -ENOMEM;
		__vlan_hwaccel_push_inside(skb);
	}
	if (netif_needs_gso(skb, features)) {
		/*
		 * The handlers do not tell what no memory was from nonsense.
		 * No more than they do: readers see how much is linear.
		 */
		headers = tapmig_headers(skb);
		if (!pskb_may_pull(skb, min(headers, skb->len)))
			return -ENOMEM;
		*segs = __skb_gso_segment(skb, features, !q->is_tap);
		return PTR_ERR_OR_ZERO(*segs);
	}
	if (!(features & NETIF_F_SG) && skb_linearize(skb))
		return -ENOMEM;
	if (skb->ip_summed != CHECKSUM_PARTIAL)
		return 0;
	if (q->is_tap)
		return features & NETIF_F_CSUM_MASK ? 0 :
						      skb_checksum_help(skb);
	skb_set_transport_header(skb, skb_checksum_start_offset(skb));
	return skb_csum_hwoffload_help(skb, features);
}

/**
 * tapmig_queue_adapt - make an imported packet such as the device would have
 *	got it from its own host: segmented and with checksums as far as it
 *	has no offload for them
 * @h: the hold
 * @p: the packet, an skb; consumed, unless -ENOMEM is returned
 * @out: list to which the result is added; all but the first packet have
 *	TAPMIG_PKT_MORE
 *
 * Return: 0; -ENOMEM: it can be tried again; -EINVAL: cannot be done.
 */
int tapmig_queue_adapt(struct tapmig_hold *h, struct tapmig_pkt *p,
		       struct tapmig_list *out)
{
	struct sk_buff *skb = tapmig_pkt_skb(p), *segs = NULL, *next;
	struct tapmig_pkt saved = *p;
	struct tapmig_queue *q;
	u16 more;
	int err;

	lockdep_assert_held(&h->lock);

	more = saved.flags & TAPMIG_PKT_MORE;
	if (h->dev) {
		q = list_first_entry(&h->queues, struct tapmig_queue, node);
		skb->dev = h->dev;
		skb->next = NULL;
		err = tapmig_adapt_skb(q, skb, &segs);
		skb->dev = NULL;
		*p = saved;
		if (err == -ENOMEM)
			return err;
		if (err) {
			/* Counted by the callers. */
			kfree_skb(skb);
			return -EINVAL;
		}
	}
	if (segs)
		consume_skb(skb);
	else
		segs = skb;
	for (skb = segs; skb; skb = next) {
		next = skb->next;
		skb_mark_not_on_list(skb);
		p = tapmig_pkt_init(skb);
		p->seq = saved.seq;
		p->sub = saved.sub;
		p->subs = saved.subs;
		p->time = saved.time;
		p->queue = saved.queue;
		p->flags = more;
		more = TAPMIG_PKT_MORE;
		tapmig_list_add_tail(out, p);
	}
	return 0;
}

/* Name of the device of a tun file, as its fdinfo shows it. */
static int tapmig_tun_ifname(struct file *file, char *name)
{
	char buf[IFNAMSIZ + 16] = {};
	struct seq_file m = {
		.buf = buf,
		.size = sizeof(buf) - 1,
	};
	char *s;

	if (!file->f_op->show_fdinfo)
		return -EOPNOTSUPP;
	file->f_op->show_fdinfo(&m, file);
	s = strchr(buf, '\t');
	if (!s)
		return -EBADFD;
	strscpy(name, strim(s + 1), IFNAMSIZ);
	return *name ? 0 : -EBADFD;
}

static bool tapmig_is_tun(const struct net_device *dev)
{
	return dev && dev->rtnl_link_ops &&
	       !strcmp(dev->rtnl_link_ops->kind, "tun");
}

/*
 * May a queue that is enabled be one of @dev? Its name alone does not say so:
 * the device can have been moved away, and another one have the name. An array
 * of other contents than can be there, see tapmig_tun_has(), is another layout,
 * of a kernel to come: then the name has to do.
 */
static bool tapmig_tun_may_have(const struct net_device *dev,
				const struct sock *sk)
{
	void *const *queues = netdev_priv(dev);
	bool end = false;
	unsigned int i;

	ASSERT_RTNL();

	if (dev->rtnl_link_ops->priv_size < MAX_TAP_QUEUES * sizeof(*queues) ||
	    tapmig_tun_has(dev, sk))
		return true;
	for (i = 0; i < MAX_TAP_QUEUES; i++) {
		if (queues[i] && end)
			return true;
		end = !queues[i];
	}
	return false;
}

static struct net_device *tapmig_tun_by_name(struct tapmig_hold *h,
					     struct net *net, struct sock *sk,
					     const char *name)
{
	struct net_device *dev = __dev_get_by_name(net, name);

	if (!tapmig_is_tun(dev))
		return NULL;
	if (h->want_ifindex && (!net_eq(net, h->net) ||
				dev->ifindex != h->want_ifindex))
		return NULL;
	/* The others may be disabled. */
	return h->dev || tapmig_tun_may_have(dev, sk) ? dev : NULL;
}

/*
 * The device of a tun file is in the namespace where the file was opened. If
 * it was moved to that of the hold's creator, who could name any device
 * there, he has to be in charge of it.
 */
static struct net_device *tapmig_tun_dev(struct tapmig_hold *h,
					 struct sock *sk, const char *name)
{
	struct net *net = sock_net(sk);
	struct net_device *dev;

	ASSERT_RTNL();

	dev = tapmig_tun_by_name(h, net, sk, name);
	if (dev || net_eq(net, h->net) ||
	    !ns_capable(h->net->user_ns, CAP_NET_ADMIN))
		return dev;
	return tapmig_tun_by_name(h, h->net, sk, name);
}

static struct socket *tapmig_file_socket(struct file *file, bool *is_tap,
					 struct ptr_ring **ring)
{
	struct socket *sock;

	sock = tun_get_socket(file);
	*is_tap = IS_ERR(sock);
	if (*is_tap)
		sock = tap_get_socket(file);
	if (IS_ERR(sock))
		return PTR_ERR(sock) == -EINVAL ? ERR_PTR(-ENOTSOCK) : sock;
	*ring = *is_tap ? tap_get_ptr_ring(file) : tun_get_tx_ring(file);
	return IS_ERR(*ring) ? ERR_CAST(*ring) : sock;
}

/* Under tapmig_queues_lock. */
static struct tapmig_queue *tapmig_queue_find(struct file *file)
{
	struct tapmig_queue *q;

	hash_for_each_possible(tapmig_queues, q, by_file, (unsigned long)file)
		if (q->file == file)
			return q;
	return NULL;
}

/**
 * tapmig_queue_find_hold - the hold that has a queue
 * @file: the open queue
 *
 * Return: the hold, referenced, or NULL.
 */
struct tapmig_hold *tapmig_queue_find_hold(struct file *file)
{
	struct tapmig_hold *h = NULL;
	struct tapmig_queue *q;

	mutex_lock(&tapmig_queues_lock);
	q = tapmig_queue_find(file);
	if (q && refcount_inc_not_zero(&q->hold->ref))
		h = q->hold;
	mutex_unlock(&tapmig_queues_lock);
	return h;
}

/* Keep the queues sorted by index; refuse an index that is taken. */
static int tapmig_queue_insert(struct tapmig_hold *h, struct tapmig_queue *q)
{
	struct tapmig_queue *pos;
	int err = 0;

	mutex_lock(&tapmig_queues_lock);
	if (tapmig_queue_find(q->file)) {
		err = -EALREADY;
		goto unlock;
	}
	list_for_each_entry(pos, &h->queues, node) {
		if (pos->index == q->index) {
			err = -EEXIST;
			goto unlock;
		}
		if (pos->index > q->index)
			break;
	}
	hash_add(tapmig_queues, &q->by_file, (unsigned long)q->file);
	list_add_tail(&q->node, &pos->node);
	WRITE_ONCE(h->nr_queues, h->nr_queues + 1);
unlock:
	mutex_unlock(&tapmig_queues_lock);
	return err;
}

static void tapmig_queue_add_hook(struct tapmig_queue *q)
{
	wait_queue_head_t *wq = sk_sleep(q->sock->sk);
	unsigned long flags;

	/*
	 * By hand: what add_wait_queue_priority() sets differs between
	 * kernels. We have to be first, and exclusive, to end the walk.
	 */
	init_waitqueue_func_entry(&q->hook, tapmig_queue_hook);
	q->hook.flags = WQ_FLAG_EXCLUSIVE | WQ_FLAG_PRIORITY;
	spin_lock_irqsave(&wq->lock, flags);
	__add_wait_queue(wq, &q->hook);
	spin_unlock_irqrestore(&wq->lock, flags);
}

/**
 * tapmig_queue_add - make a queue one of a hold
 * @h: the hold
 * @file: the open queue; referenced on success
 * @index: its index in the device
 *
 * Return: 0; -ENOTSOCK: not a TAP queue; -EBADFD: not attached; -ESHUTDOWN;
 * -ENOSPC: no entries, or too many queues; -EALREADY: it is a hold's; -EEXIST:
 * @index is another queue's; -EXDEV: of another device than the hold's;
 * -ENODEV: its device is not found; -EPERM: a PINNED hold, and no
 * CAP_NET_ADMIN over its device; -EBUSY: not ARMED.
 */
int tapmig_queue_add(struct tapmig_hold *h, struct file *file, u16 index)
{
	char name[IFNAMSIZ] = "";
	struct tap_dev *tap = NULL;
	struct net_device *dev;
	struct tapmig_queue *q;
	bool is_tap, shut;
	struct socket *sock;
	struct ptr_ring *r;
	int err;

	sock = tapmig_file_socket(file, &is_tap, &r);
	if (IS_ERR(sock))
		return PTR_ERR(sock);

	shut = READ_ONCE(sock->sk->sk_shutdown) & RCV_SHUTDOWN;
	if (shut)
		return -ESHUTDOWN;
	if (!is_tap) {
		err = tapmig_tun_ifname(file, name);
		if (err)
			return err;
	}

	q = kzalloc_obj(*q, GFP_KERNEL_ACCOUNT);
	if (!q)
		return -ENOMEM;
	q->hold = h;
	q->sock = sock;
	q->ring = r;
	q->is_tap = is_tap;
	q->index = index;
	q->txq = index;
	q->file = file;
	INIT_WORK(&q->drain_work, tapmig_queue_drain_work);

	rtnl_lock();
	mutex_lock(&h->lock);
	err = -EBUSY;
	if (h->gone || h->state != TAPMIG_STATE_ARMED)
		goto unlock;
	err = -ENOSPC;
	if (h->nr_queues == TAPMIG_MAX_QUEUES || !READ_ONCE(r->size))
		goto unlock;
	if (is_tap) {
		tap = rtnl_dereference(tapmig_tap_queue(q)->tap);
		dev = tap ? tap->dev : NULL;
		err = -ESHUTDOWN;
		if (!dev)
			goto unlock;
		err = -EXDEV;
		if (h->want_ifindex && (!net_eq(dev_net(dev), h->net) ||
					dev->ifindex != h->want_ifindex))
			goto unlock;
	} else {
		err = -ESHUTDOWN;
		if (tapmig_queue_shut_down(q))
			goto unlock;
		dev = tapmig_tun_dev(h, sock->sk, name);
		err = h->want_ifindex ? -EXDEV : -ENODEV;
		if (!dev)
			goto unlock;
	}
	err = -EXDEV;
	if (h->dev && h->dev != dev)
		goto unlock;
	/* Such a hold keeps the device, also when its own maker is gone. */
	err = -EPERM;
	if ((h->flags & TAPMIG_HOLD_FLAGS_PINNED) &&
	    !ns_capable(dev_net(dev)->user_ns, CAP_NET_ADMIN))
		goto unlock;

	err = tapmig_queue_insert(h, q);
	if (err)
		goto unlock;
	get_file(file);
	if (!h->dev) {
		h->dev = dev;
		netdev_hold(dev, &h->dev_tracker, GFP_KERNEL);
		h->link_type = dev->type == ARPHRD_ETHER ?
			       TAPMIG_LINK_TYPE_ETHERNET :
			       TAPMIG_LINK_TYPE_RAW_IP;
	}
	tapmig_left_adopt(q);
	if (q->grown)
		tapmig_hold_queue_work(h, &h->settle_work,
				       TAPMIG_RESTORE_DELAY);
	tapmig_queue_add_hook(q);
	/* Who looks for holds by their device can find this one now. */
	tapmig_hold_event(h);
	q = NULL;
unlock:
	mutex_unlock(&h->lock);
	rtnl_unlock();
	kfree(q);
	return err;
}

/**
 * tapmig_queue_leave - let a queue go
 * @q: the queue, not frozen; stays in its hold, with file == NULL
 */
void tapmig_queue_leave(struct tapmig_queue *q)
{
	struct file *file = q->file;

	lockdep_assert_held(&q->hold->lock);

	if (!file)
		return;
	if (!tapmig_queue_restore(q))
		tapmig_left_add(q);
	remove_wait_queue(sk_sleep(q->sock->sk), &q->hook);
	mutex_lock(&tapmig_queues_lock);
	hash_del(&q->by_file);
	q->file = NULL;
	mutex_unlock(&tapmig_queues_lock);
	fput(file);
}
