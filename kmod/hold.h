/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private header: the hold, its queues, its packets.
 *
 * Locks, outermost first; no path takes one to the left of what it has:
 *
 *	rtnl -> hold->lock -> socket wait queue lock -> ring consumer lock
 *	     -> ring producer lock -> hold->pkt_lock
 *
 * - rtnl keeps a device's queues, their number and order, the ring sizes that
 *   tun and tap choose, and the device itself as they are. Taken to add a
 *   queue, for the hand-over of a thaw, for what may lead to one (the last
 *   close, the deadline), and by the notifiers that call us.
 * - hold->lock (mutex) serializes everything that a user asks of a hold, and
 *   guards the captured, imported and late lists.
 * - The ring locks are tun's and tap's. The hook on the wait queue runs in the
 *   producer's context, possibly within softirq on top of a reader that has
 *   the consumer lock: it only tries that lock.
 * - hold->pkt_lock (raised with interrupts off) guards the fresh and reap
 *   lists, the sequence numbers and the account of memory.
 *
 * The lock of a hold fd is taken before hold->lock, that of the table of queues
 * within it.
 *
 * Lifetimes: a hold is referenced by the table of holds, by each of its file
 * descriptors, by each pending work item, by each export under way, and by who
 * looked it up. It has a reference to the module. Its queues live as long as it
 * does; a queue that was left has file == NULL. A hook is removed under the
 * wait queue's lock before the file reference is given up, so no hook runs on a
 * queue that was left.
 */
#ifndef _TAPMIG_HOLD_H
#define _TAPMIG_HOLD_H

#include <linux/if_ether.h>
#include <linux/ktime.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include <uapi/linux/tapmig.h>
#include <uapi/linux/virtio_net.h>

struct file;
struct net;
struct netlink_ext_ack;
struct ptr_ring;
struct socket;

/**
 * struct tapmig_pkt - what a hold knows of a packet
 * @next: next packet of the list
 * @ptr: the packet as a ring entry: an skb, or an XDP frame with bit 0 set
 * @seq: its number
 * @time: when it arrived, CLOCK_MONOTONIC in nanoseconds
 * @truesize: memory that it is accounted with, in bytes
 * @hash: tapmig_dedup_hash(), when TAPMIG_PKT_HASHED
 * @queue: index of the queue at which it arrived
 * @sub: index of the segment
 * @subs: number of segments that share @seq, 0 if not segmented
 * @flags: TAPMIG_PKT_*
 *
 * Lives in the control buffer of its skb, in the unused headroom of its XDP
 * frame, or, where that is too small, in memory of its own.
 */
struct tapmig_pkt {
	struct tapmig_pkt *next;
	void *ptr;
	u64 seq;
	s64 time;
	u32 truesize;
	u32 hash;
	u16 queue;
	u16 sub;
	u16 subs;
	u16 flags;
};

#define TAPMIG_PKT_HASHED	BIT(0)	/* @hash is set */
#define TAPMIG_PKT_ALLOCATED	BIT(1)	/* in memory of its own */
#define TAPMIG_PKT_CHECKED	BIT(2)	/* is to be delivered */
#define TAPMIG_PKT_EXPORTED	BIT(3)	/* was handed out */
#define TAPMIG_PKT_MORE		BIT(4)	/* was segmented here, not the first */
#define TAPMIG_PKT_UNICAST	BIT(5)	/* its copy arrived at the same time */
#define TAPMIG_PKT_COPIED	BIT(6)	/* its copy was found */

/**
 * struct tapmig_list - a list of packets
 * @head: first packet
 * @tail: last packet, if @head is set
 * @count: number of packets
 * @bytes: sum of their truesize
 */
struct tapmig_list {
	struct tapmig_pkt *head;
	struct tapmig_pkt *tail;
	u64 count;
	u64 bytes;
};

static inline void tapmig_list_init(struct tapmig_list *l)
{
	*l = (struct tapmig_list) {};
}

static inline void tapmig_list_add_tail(struct tapmig_list *l,
					struct tapmig_pkt *p)
{
	p->next = NULL;
	if (l->head)
		l->tail->next = p;
	else
		l->head = p;
	l->tail = p;
	l->count++;
	l->bytes += p->truesize;
}

static inline struct tapmig_pkt *tapmig_list_pop(struct tapmig_list *l)
{
	struct tapmig_pkt *p = l->head;

	if (p) {
		l->head = p->next;
		l->count--;
		l->bytes -= p->truesize;
		p->next = NULL;
	}
	return p;
}

/* Move all of @from behind @to. */
static inline void tapmig_list_splice(struct tapmig_list *to,
				      struct tapmig_list *from)
{
	if (!from->head)
		return;
	if (to->head)
		to->tail->next = from->head;
	else
		to->head = from->head;
	to->tail = from->tail;
	to->count += from->count;
	to->bytes += from->bytes;
	tapmig_list_init(from);
}

/**
 * struct tapmig_queue - a queue of a hold
 * @hold: its hold
 * @node: in hold->queues
 * @by_file: in the table of all held queues
 * @file: the open TAP; NULL when the queue was left. Guarded by hold->lock.
 * @sock: its socket
 * @ring: its ring
 * @is_tap: macvtap or ipvtap, not tun
 * @dead: was shut down; set by the hook, never cleared
 * @index: index that the owner gave
 * @txq: index in the device as of the last hand-over, or -1: disabled
 * @hook: first waiter of the socket
 * @drain_work: drains the ring after the hook could not
 * @frozen: guarded by the ring's consumer lock
 * @seen_array: array of the ring at the last drain; consumer lock
 * @seen_head: consumer_head of the ring at the last drain; consumer lock
 * @missed: how often the hook did not get the consumer lock
 * @seen_missed: @missed as of the last drain; consumer lock
 * @given_left: packets that vhost-net gave back, and that are still in the
 *	ring as there was no memory; consumer lock
 * @given_low: number of the first of them
 * @grown: array that we gave the ring and that is larger than the device
 *	wants; hold->lock. Only compared with, never followed.
 * @want_entries: entries that the ring had when we first enlarged it
 * @out: what the hand-over is going to put into the ring; hold->lock
 * @front: what vhost-net gave back meanwhile, to go before that; hold->lock
 */
struct tapmig_queue {
	struct tapmig_hold *hold;
	struct list_head node;
	struct hlist_node by_file;
	struct file *file;
	struct socket *sock;
	struct ptr_ring *ring;
	bool is_tap;
	bool dead;
	u16 index;
	int txq;
	wait_queue_entry_t hook;
	struct work_struct drain_work;
	bool frozen;
	void **seen_array;
	int seen_head;
	atomic_t missed;
	u32 seen_missed;
	int given_left;
	u64 given_low;
	void **grown;
	int want_entries;
	struct tapmig_list out;
	struct tapmig_list front;
};

/**
 * struct tapmig_counts - what a hold counts; see the netlink specification
 * @captured: packets that arrived while frozen
 * @dropped: for lack of room
 * @dropped_bytes: bytes of those
 * @trimmed: dropped by a STANDBY hold
 * @exported: handed out
 * @imported: taken
 * @resent: repeats of imports
 * @flooded: captured copies of imports
 * @late: delivered after the thaw
 * @late_skipped: not delivered after the thaw
 * @own_address: sent by the guest itself
 * @segmented: GSO packets segmented
 * @delivered: handed over
 * @lost: imports, for other reasons than room
 * @discarded: by discard, or with the hold
 */
struct tapmig_counts {
	u64 captured;
	u64 dropped;
	u64 dropped_bytes;
	u64 trimmed;
	u64 exported;
	u64 imported;
	u64 resent;
	u64 flooded;
	u64 late;
	u64 late_skipped;
	u64 own_address;
	u64 segmented;
	u64 delivered;
	u64 lost;
	u64 discarded;
};

/**
 * struct tapmig_flow - unicasts that go one way
 * @addrs: destination and source address
 * @vlan: VLAN, 0 if none
 * @seen: there is one here
 * @flooded: both hosts get it
 * @hash: of what the flow dissector finds
 */
struct tapmig_flow {
	u8 addrs[2 * ETH_ALEN];
	u16 vlan;
	bool seen;
	bool flooded;
	u32 hash;
};

/* Places for them, by their hash. */
#define TAPMIG_FLOWS	256

/**
 * struct tapmig_hold - a hold
 * @ref: references
 * @rcu: to free it
 * @id: number; never changes
 * @net: network namespace of the creator, referenced; never changes
 * @user: whose memory this is, NULL when privileged; never changes
 * @label: name; never changes
 * @role: enum tapmig_role; never changes
 * @owner_pid: process that created it, referenced
 * @lock: see the head of this file; guards all below unless it says otherwise
 * @owners: number of hold fds
 * @gone: no longer in the table
 * @state: enum tapmig_state; changes only in tapmig_hold_set_state()
 * @flags: TAPMIG_HOLD_FLAGS_DETACHED, _PINNED, _PEER, _DUE
 * @dedup: enum tapmig_dedup
 * @deadline_action: enum tapmig_deadline_action
 * @link_type: enum tapmig_link_type
 * @max_frozen_ms: longest time in FROZEN
 * @wait_import_ms: longest wait of a thaw, U32_MAX: none
 * @max_packets: most packets; changed under pkt_lock too
 * @max_bytes: most memory; changed under pkt_lock too
 * @mac: address of the guest, zero if unknown
 * @want_ifindex: device that the creator named, or 0
 * @dev: device of the queues, referenced until it goes away
 * @dev_tracker: for @dev
 * @prepared: the rings are enlarged on purpose
 * @prepared_entries: to what
 * @queues: struct tapmig_queue by index
 * @nr_queues: number of them
 * @captured: packets captured, sorted by (seq, sub), scrubbed
 * @seek_hint: the packet before what tapmig_captured_seek() found last, or NULL
 * @gap_base: numbers up to here are accounted for, for dropped-before
 * @committed_seq: of the last commit
 * @imports: packets imported and not handed over
 * @imports_sorted: they are in order
 * @seen: number imported -> how many segments, since the last freeze
 * @seen_count: numbers in @seen
 * @importing: an import session is open
 * @import_begun: there was one since the last freeze
 * @in_step: the peer said so, or closed the session
 * @partial: packet of which only some chunks were imported
 * @late: late packets that did not fit a ring
 * @flows: TAPMIG_FLOWS, learned at the hand-over, or NULL: none are flooded
 * @counts: counters; those that the hook changes under pkt_lock, others lock
 * @frozen_at: when it froze, CLOCK_MONOTONIC, 0 if never; changed under
 *	pkt_lock too
 * @frozen_real_at: the same, CLOCK_REALTIME
 * @thawed_at: when it was thawed
 * @thaw_asked_at: when a thaw was asked for
 * @thaw_wait_ns: from the last request to thaw to its hand-over
 * @thaw_ns: how long the last hand-over took
 * @thaw_irqoff_ns: longest time under ring locks
 * @deadline: when deadline_work does something, CLOCK_MONOTONIC, 0 if not
 * @reap_work: frees what is in @reap, if that is much; takes no lock
 * @settle_work: see tapmig_hold_settle(); also restores rings
 * @thaw_work: hands over
 * @late_work: retries late packets
 * @deadline_work: what is due at the deadline
 * @wq: for poll and THAW_WAIT
 * @event: counts changes; atomic
 * @pkt_lock: see the head of this file; guards all below
 * @fresh: captured packets in the order of arrival, as the hook left them
 * @reap: packets to be freed, mostly from process context
 * @trimming: a STANDBY hold that only keeps the newest
 * @ring_entries: what the rings had at the freeze when nobody had enlarged
 *	them; it keeps as many
 * @trimmed_seq: number of the last one that the hook did not keep
 * @news: packets came that were not yet told of
 * @untold: the first overflow since the last freeze was not yet told of
 * @overflowed: there was an overflow since the last freeze
 * @settle_queued: settle_work is on its way
 * @settled_at: when it last ran, in jiffies
 * @next_seq: number of the next packet
 * @low_seq: lowest number given to packets that were given back
 * @probe: skb that tapmig_queues_map() sent, to see where it comes out
 * @probe_queue: where it came out
 * @held_packets: captured, imported and late packets
 * @held_bytes: their memory
 */
struct tapmig_hold {
	refcount_t ref;
	struct rcu_head rcu;
	u32 id;
	struct net *net;
	struct tapmig_user *user;
	char label[TAPMIG_LABEL_MAX + 1];
	u32 role;
	struct pid *owner_pid;

	struct mutex lock; /* see the head of this file */
	unsigned int owners;
	bool gone;
	u32 state;
	u32 flags;
	u32 dedup;
	u32 deadline_action;
	u32 link_type;
	u32 max_frozen_ms;
	u32 wait_import_ms;
	u32 max_packets;
	u64 max_bytes;
	u8 mac[ETH_ALEN];
	u32 want_ifindex;
	struct net_device *dev;
	netdevice_tracker dev_tracker;
	bool prepared;
	u32 prepared_entries;
	struct list_head queues;
	unsigned int nr_queues;
	struct tapmig_list captured;
	struct tapmig_pkt *seek_hint;
	u64 gap_base;
	u64 committed_seq;
	struct tapmig_list imports;
	bool imports_sorted;
	struct xarray seen;
	u64 seen_count;
	bool importing;
	bool import_begun;
	bool in_step;
	struct tapmig_partial *partial;
	struct tapmig_list late;
	struct tapmig_flow *flows;
	struct tapmig_counts counts;
	s64 frozen_at;
	s64 frozen_real_at;
	s64 thawed_at;
	s64 thaw_asked_at;
	s64 thaw_wait_ns;
	s64 thaw_ns;
	s64 thaw_irqoff_ns;
	s64 deadline;
	struct work_struct reap_work;
	struct delayed_work settle_work;
	struct delayed_work thaw_work;
	struct delayed_work late_work;
	struct delayed_work deadline_work;
	wait_queue_head_t wq;
	atomic_t event;

	spinlock_t pkt_lock; /* see the head of this file */
	struct tapmig_list fresh;
	struct tapmig_list reap;
	bool trimming;
	u64 ring_entries;
	u64 trimmed_seq;
	bool news;
	bool untold;
	bool overflowed;
	bool settle_queued;
	unsigned long settled_at;
	u64 next_seq;
	u64 low_seq;
	struct sk_buff *probe;
	struct tapmig_queue *probe_queue;
	u64 held_packets;
	u64 held_bytes;
};

/* How long to wait before looking again whether a ring was read. */
#define TAPMIG_RESTORE_DELAY	msecs_to_jiffies(20)

/* hold.c: table, life, state, account */
extern struct workqueue_struct *tapmig_wq;

struct tapmig_hold *tapmig_hold_create(struct net *net,
				       const struct tapmig_create *c);
struct tapmig_hold *tapmig_hold_get_by_id(struct net *net, u32 id);
struct tapmig_hold *tapmig_hold_get_next(struct net *net, unsigned long *id);
u32 tapmig_holds_generation(void);
void tapmig_hold_put(struct tapmig_hold *h);
void tapmig_hold_owner_gone(struct tapmig_hold *h);
void tapmig_hold_unregister(struct tapmig_hold *h);
void tapmig_hold_set_state(struct tapmig_hold *h, u32 state);
void tapmig_hold_event(struct tapmig_hold *h);
bool tapmig_hold_is_orphan(struct tapmig_hold *h);
u32 tapmig_hold_ring_limit(const struct tapmig_hold *h);
int tapmig_hold_prepare(struct tapmig_hold *h, u32 entries);
int tapmig_hold_freeze(struct tapmig_hold *h, bool detached,
		       struct netlink_ext_ack *extack);
int tapmig_hold_discard(struct tapmig_hold *h, struct netlink_ext_ack *extack);
int tapmig_hold_commit(struct tapmig_hold *h, u64 seq,
		       struct netlink_ext_ack *extack);
int tapmig_hold_set(struct tapmig_hold *h, const struct tapmig_set *set,
		    const struct sk_buff *request, u32 *bad,
		    struct netlink_ext_ack *extack);
int tapmig_hold_refuse(struct tapmig_hold *h, struct netlink_ext_ack *extack);
void tapmig_hold_info(struct tapmig_hold *h, struct tapmig_info *info);
void tapmig_hold_settle(struct tapmig_hold *h);
void tapmig_hold_stop_trimming(struct tapmig_hold *h);
void tapmig_hold_die(struct tapmig_hold *h);
void tapmig_hold_leave(struct tapmig_hold *h);
void tapmig_hold_end(struct tapmig_hold *h);
void tapmig_standby_begin(struct tapmig_hold *h, s64 before);
void tapmig_hold_start_deadline(struct tapmig_hold *h);
void tapmig_hold_queue_settle(struct tapmig_hold *h);
void tapmig_hold_restore_rings(struct tapmig_hold *h);
void tapmig_hold_queue_work(struct tapmig_hold *h, struct delayed_work *work,
			    unsigned long delay);
bool tapmig_hold_charge(struct tapmig_hold *h, u64 packets, u64 bytes);
void tapmig_hold_charge_all(struct tapmig_hold *h, u64 packets, u64 bytes);
void tapmig_hold_uncharge(struct tapmig_hold *h, u64 packets, u64 bytes);
void tapmig_hold_capture(struct tapmig_hold *h, struct tapmig_pkt *p);
int tapmig_hold_capture_first(struct tapmig_hold *h, struct tapmig_pkt *p,
			      u16 queue);
struct tapmig_pkt *tapmig_captured_seek(struct tapmig_hold *h, u64 seq,
					u16 sub);
void tapmig_captured_replace(struct tapmig_hold *h, struct tapmig_pkt *old,
			     struct tapmig_list *segs);
const char *tapmig_state_name(u32 state);
int tapmig_holds_init(void);
void tapmig_holds_exit(void);
void tapmig_after_resize(struct tapmig_hold *h);

/* thaw.c: hand-over */
int tapmig_thaw(struct tapmig_hold *h, struct netlink_ext_ack *extack);
void tapmig_thaw_start(struct tapmig_hold *h);
int tapmig_thaw_wait(struct tapmig_hold *h);
int tapmig_handover(struct tapmig_hold *h);
void tapmig_thaw_now(struct tapmig_hold *h);
void tapmig_thaw_work(struct work_struct *work);

/**
 * struct tapmig_handover - a hand-over under way
 * @hold: whose
 * @table: imported frames that a captured one can be a copy of, or NULL
 * @copies: clones of the imported packets in @table
 * @drop: packets that turned out not to be delivered
 * @delivered: packets put into rings
 * @locked_ns: longest time under the locks of a ring, in nanoseconds
 */
struct tapmig_handover {
	struct tapmig_hold *hold;
	struct tapmig_dedup_table *table;
	struct tapmig_list copies;
	struct tapmig_list drop;
	u64 delivered;
	s64 locked_ns;
};

bool tapmig_handover_drops(struct tapmig_handover *ho, struct tapmig_pkt *p);

/**
 * struct tapmig_import_result - what became of imported packets
 * @accepted: were new
 * @resent: had been imported before
 * @late: came after the thaw
 */
struct tapmig_import_result {
	u32 accepted;
	u32 resent;
	u32 late;
};

/* unread.c: packets that a reader gives back */
int tapmig_unread(struct tapmig_hold *h, const struct tapmig_unread *a);

/* import.c: packets from the peer */
int tapmig_import_begin(struct tapmig_hold *h, bool has_age, u64 age_ms,
			struct netlink_ext_ack *extack);
int tapmig_import_packets(struct tapmig_hold *h, struct tapmig_list *pkts,
			  struct tapmig_import_result *res,
			  struct netlink_ext_ack *extack);
int tapmig_import_sync(struct tapmig_hold *h, struct netlink_ext_ack *extack);
int tapmig_import_end(struct tapmig_hold *h, struct netlink_ext_ack *extack);
void tapmig_import_close(struct tapmig_hold *h);
void tapmig_import_lose_partial(struct tapmig_hold *h);
void tapmig_import_reset(struct tapmig_hold *h);
bool tapmig_import_own_address(struct tapmig_hold *h, struct tapmig_pkt *p);
void tapmig_late_work(struct work_struct *work);

/* user.c: limits per user and for all */
struct tapmig_user *tapmig_user_get(void);
void tapmig_user_put(struct tapmig_user *u);
bool tapmig_user_charge(struct tapmig_user *u, u64 bytes);
void tapmig_user_uncharge(struct tapmig_user *u, u64 bytes);
void tapmig_users_init(void);
void tapmig_users_exit(void);

/* queue.c: all contact with tun, tap and their rings */
int tapmig_queue_add(struct tapmig_hold *h, struct file *file, u16 index);
struct tapmig_hold *tapmig_queue_find_hold(struct file *file);
void tapmig_queue_leave(struct tapmig_queue *q);
void tapmig_lefts_event(struct net_device *dev);
void tapmig_lefts_stop(void);
bool tapmig_queue_shut_down(struct tapmig_queue *q);
bool tapmig_queue_orphan(struct tapmig_queue *q);
int tapmig_queue_entries(struct tapmig_queue *q);
int tapmig_queue_grow(struct tapmig_queue *q, u32 entries);
bool tapmig_queue_restore(struct tapmig_queue *q);
void tapmig_queue_freeze(struct tapmig_queue *q);
void tapmig_queue_unfreeze(struct tapmig_queue *q);
bool tapmig_queue_drain(struct tapmig_queue *q);
void tapmig_queue_handover(struct tapmig_queue *q, struct tapmig_handover *ho);
void tapmig_queue_before_resize(struct tapmig_queue *q);
void tapmig_queue_wake(struct tapmig_queue *q);
u32 tapmig_queue_produce(struct tapmig_queue *q, struct tapmig_list *l,
			 u32 max_entries);
int tapmig_queues_map(struct tapmig_hold *h);
void tapmig_queue_uncapture(struct tapmig_queue *q, struct tapmig_pkt *p);
struct tapmig_queue *tapmig_queue_by_index(struct tapmig_hold *h, u16 index);
struct tapmig_queue *tapmig_queue_select(struct tapmig_hold *h,
					 struct sk_buff *skb);
int tapmig_queue_adapt(struct tapmig_hold *h, struct tapmig_pkt *p,
		       struct tapmig_list *out);

/* packet.c: packets and what is known of them */
struct tapmig_pkt *tapmig_pkt_of_skb(struct sk_buff *skb);
bool tapmig_pkt_is_xdp(const struct tapmig_pkt *p);
struct sk_buff *tapmig_pkt_skb(const struct tapmig_pkt *p);
struct xdp_frame *tapmig_pkt_xdp(const struct tapmig_pkt *p);
struct tapmig_pkt *tapmig_pkt_init(void *ring_entry);
void tapmig_pkt_scrub(struct tapmig_pkt *p);
void *tapmig_pkt_release(struct tapmig_pkt *p);
void tapmig_pkt_free(struct tapmig_pkt *p);
u64 tapmig_list_free(struct tapmig_list *l);
u32 tapmig_pkt_len(const struct tapmig_pkt *p);
int tapmig_pkt_copy(const struct tapmig_pkt *p, u32 offset, void *to, u32 len);

/**
 * struct tapmig_meta - what goes along with a frame
 * @vnet: virtio-net header, little endian
 * @has_vnet: it is not all zero
 * @has_vlan: there is an accelerated VLAN tag
 * @vlan_tci: of the tag
 * @vlan_proto: of the tag
 * @protocol: Ethernet protocol, 0 if not known
 * @has_hash: there is a flow hash
 * @hash: the flow hash
 */
struct tapmig_meta {
	struct virtio_net_hdr vnet;
	bool has_vnet;
	bool has_vlan;
	u16 vlan_tci;
	__be16 vlan_proto;
	__be16 protocol;
	bool has_hash;
	u32 hash;
};

/* Most segments of one packet, in tapmig_pkt.subs. */
#define TAPMIG_MAX_SEGMENTS	8192

int tapmig_meta_get(const struct tapmig_pkt *p, struct tapmig_meta *m);
bool tapmig_meta_importable(const struct tapmig_pkt *p,
			    const struct tapmig_meta *m);
int tapmig_pkt_make_plain(struct tapmig_pkt *p);
struct sk_buff *tapmig_skb_alloc(u32 len, const struct virtio_net_hdr *vnet);
int tapmig_skb_finish(struct sk_buff *skb, u32 link_type,
		      const struct tapmig_meta *m, struct tapmig_list *out,
		      bool *segmented, struct netlink_ext_ack *extack);
int tapmig_skb_segment(struct sk_buff *skb, struct tapmig_list *out);
u32 tapmig_segments_truesize(const struct sk_buff *skb);
void tapmig_pkt_estimate(struct tapmig_pkt *p);

/* dedup.c: is a captured frame a copy of an imported one */
struct tapmig_dedup_table;
bool tapmig_dedup_applies(u32 dedup, u32 link_type,
			  const struct tapmig_pkt *p);
bool tapmig_dedup_unicast(u32 dedup, u32 link_type,
			  const struct tapmig_pkt *p);
s64 tapmig_dedup_unicast_since(struct tapmig_hold *h);
void tapmig_dedup_hash(struct tapmig_pkt *p);
struct tapmig_dedup_table *tapmig_dedup_alloc(u64 imports);
void tapmig_dedup_add(struct tapmig_dedup_table *t, struct tapmig_pkt *p);
void tapmig_dedup_index(struct tapmig_dedup_table *t);
bool tapmig_dedup_looks(const struct tapmig_dedup_table *t,
			const struct tapmig_hold *h,
			const struct tapmig_pkt *p);
bool tapmig_dedup_take(struct tapmig_dedup_table *t,
		       const struct tapmig_pkt *p);
void tapmig_dedup_free(struct tapmig_dedup_table *t);
void tapmig_dedup_learn(struct tapmig_hold *h,
			const struct tapmig_list *copies);
void tapmig_dedup_forget(struct tapmig_hold *h);
bool tapmig_dedup_late(struct tapmig_hold *h, const struct tapmig_pkt *p);
int tapmig_dedup_init(void);

/* netlink.c */
void tapmig_nl_notify(struct tapmig_hold *h);
void tapmig_nl_partial_free(struct tapmig_hold *h);
int tapmig_nl_init(void);
void tapmig_nl_exit(void);

/* dev.c: the device and the hold fd */
int tapmig_dev_init(void);
void tapmig_dev_exit(void);

#endif /* _TAPMIG_HOLD_H */
