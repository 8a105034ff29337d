// SPDX-License-Identifier: GPL-2.0-only
/*
 * All at once: threads send, freeze, thaw, discard, export, commit, import,
 * change limits, let deadlines pass, close holds and make new ones, while the
 * device is resized, loses and gets queues, moves between network namespaces,
 * changes its reader, or goes away, by itself, with its network namespace, with
 * the last who has it open, or with what is below it; the operations go on
 * meanwhile, and for a while afterwards. Every frame has a number. In the end
 *
 *	sent = read + committed + exported from dead holds + counted as dropped,
 *	       trimmed, discarded, skipped or lost
 *
 * and none was read twice. Imported frames count as sent when the hold has
 * taken them.
 *
 * Two things drop frames that no hold can count, as they do without a hold:
 *
 * - tun empties the ring of a queue that is disabled, without counting. Mostly
 *   this is done to frozen holds only, so the ring has at most what is sent in
 *   this moment: a frame may be missing if its send overlaps that, no other.
 * - The ring of a device that goes away goes with it. If the hold is frozen
 *   then, nothing may be missing; else no more than was, or came since, where
 *   the hold did not have it. So it is where queues are disabled whatever the
 *   hold does, and with macvtap, which tells nobody of what does not fit.
 *
 * TAPMIG_RACE_SEED repeats a choice of operations (not of moments),
 * TAPMIG_RACE_TIMES multiplies the work.
 */
#include "vq.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"

#define SENDERS		2
#define WORKERS		2
#define FLOW_IMPORTS	SENDERS
#define FLOWS		(SENDERS + 1)
#define MAX_SENT	(1 << 21)
#define PER_STEP	6
#define PER_CHANGE	5
#define IN_RING		300
/* Operations after the end of the device; more than there can be before. */
#define AFTER_END	50
#define UNTIL_END	100000
#define NAME		"tap0"

/* What a race has beyond the operations on holds. */
#define MOVES		1
#define DETACHES	2
#define VHOST		4
#define DELETES		8
/* Queues are disabled at any time. */
#define ANY_TIME	16
#define ON_MACVTAP	32
/* Some drops are counted by nobody, see above. */
#define LOSES		(ANY_TIME | ON_MACVTAP)

/* How a device goes away; a macvtap does not with those who have it open. */
enum end {
	DELETED,
	WITH_NETNS,
	WITH_FDS,
	ENDS,
	WITH_LOWER = WITH_FDS,
};

/* What has to succeed now and then. */
enum work {
	FREEZE,
	THAW,
	IMPORT,
	COMMIT,
	DISCARD,
	EXPORT,
	REPLACE,
	RESIZE,
	MOVE,
	DETACH,
	SWAP,
	/* Operations while the device goes away. */
	BESIDE_END,
	WORKS,
};

static const char * const works[WORKS] = {
	"freezes", "thaws", "imports", "commits", "discards", "exports",
	"other holds", "resizes", "moves", "detaches", "other readers",
	"beside an end",
};

struct flow {
	/* Numbers used; each may have been sent, and may be anywhere. */
	__u32 next;
	__u8 *sent;
	__u8 *got;
	__u8 *gone;
	/* Its send overlapped the end of a queue, or see perhaps_gone(). */
	__u8 *excused;
};

struct race {
	int what;
	int queues;
	struct nic n;
	struct flow f[FLOWS];
	/* Operations on holds; all that waits, waits for the next. */
	__u32 steps;
	__u32 steps_end;
	/* Changes of the device; operations do not run ahead of them. */
	__u32 changes;
	pthread_mutex_t step;
	pthread_cond_t stepped;
	__u32 stop_senders;
	__u32 stop;
	/* The device is about to go; is gone. */
	__u32 ending;
	__u32 deleted;
	__u32 sent;
	__u32 found;
	/* Even, but while a queue is being disabled. */
	__u32 epoch;
	/* Where the device is. */
	int ns[2];
	int at;
	__u32 moved;
	__u32 detached;
	/* The device, the hold fd, what discards, in that order. */
	pthread_mutex_t dev;
	pthread_rwlock_t life;
	pthread_mutex_t discards;
	int hold;
	__u32 id;
	/* Of holds that are gone. */
	__u64 counted;
	__u64 holds;
	__u64 import_seq;
	/* See loose_begin(). */
	__s64 loose;
	__u32 sent_then;
	__u64 delivered_then;
	pthread_t reader;
	/* In all races. */
	__u32 turn;
	__u32 worked[WORKS];
	__u32 twice;
	__u32 strange;
	__u32 broken;
	struct vq vq;
	__u64 seed;
};

#define load(x)		__atomic_load_n(&(x), __ATOMIC_SEQ_CST)
#define add(x, n)	__atomic_fetch_add(&(x), n, __ATOMIC_SEQ_CST)

static __u32 rnd(__u64 *s, __u32 below)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return (*s >> 16) % below;
}

static void arrived(struct race *r, __u32 flow, __u64 seq)
{
	if (flow >= FLOWS || seq >= load(r->f[flow].next)) {
		add(r->strange, 1);
		return;
	}
	if (add(r->f[flow].got[seq], 1))
		add(r->twice, 1);
	add(r->found, 1);
}

/* What vhost-net has read. */
static void vhost_take(struct race *r)
{
	const __u8 *data;
	size_t len;
	__u32 flow;
	__u64 seq;
	int n;

	for (n = 0; vq_next(&r->vq, &data, &len); n++)
		if (frame_parse(&r->n, data + r->n.hdr, len - r->n.hdr, &flow,
				&seq))
			arrived(r, flow, seq);
	if (n)
		vq_post(&r->vq, n);
}

/* What was exported from a hold that no longer has it. */
static void gone(struct race *r, const struct pkts *p)
{
	__u32 flow;
	__u64 seq;
	int i;

	for (i = 0; i < p->n; i++) {
		if (!frame_parse(&r->n, p->v[i].data, p->v[i].len, &flow,
				 &seq))
			continue;
		if (flow >= FLOWS || seq >= load(r->f[flow].next))
			add(r->strange, 1);
		else
			r->f[flow].gone[seq] = 1;
		add(r->found, 1);
	}
	if (p->broken)
		add(r->broken, 1);
}

static void step(struct race *r)
{
	pthread_mutex_lock(&r->step);
	add(r->steps, 1);
	pthread_cond_broadcast(&r->stepped);
	pthread_mutex_unlock(&r->step);
}

static void change(struct race *r)
{
	pthread_mutex_lock(&r->step);
	add(r->changes, 1);
	pthread_cond_broadcast(&r->stepped);
	pthread_mutex_unlock(&r->step);
}

static void change_wait(struct race *r)
{
	pthread_mutex_lock(&r->step);
	while (load(r->steps) > PER_CHANGE * (load(r->changes) + 4) &&
	       load(r->steps) < load(r->steps_end) && !load(r->ending))
		pthread_cond_wait(&r->stepped, &r->step);
	pthread_mutex_unlock(&r->step);
}

/* Wait for the next operation after @have, if there are more to come. */
static void step_wait(struct race *r, __u32 have)
{
	pthread_mutex_lock(&r->step);
	while (load(r->steps) <= have && !load(r->stop_senders) &&
	       load(r->steps) < load(r->steps_end) && !load(r->deleted))
		pthread_cond_wait(&r->stepped, &r->step);
	pthread_mutex_unlock(&r->step);
}

/* --- senders -------------------------------------------------------------- */

static int tx_reopen(struct race *r, int tx, __u32 *moved)
{
	if (tx >= 0)
		close(tx);
	pthread_mutex_lock(&r->dev);
	tx = -1;
	*moved = r->moved;
	if (!r->deleted) {
		netns_enter(r->ns[r->at]);
		tx = tx_open(if_nametoindex(r->n.tx_name), TX_BYPASS);
	}
	pthread_mutex_unlock(&r->dev);
	return tx;
}

struct sender {
	struct race *r;
	pthread_t thread;
	__u32 flow;
	__u64 seed;
};

static void *sender(void *arg)
{
	struct sender *me = arg;
	struct race *r = me->r;
	struct flow *f = &r->f[me->flow];
	__u8 buf[FRAME_LEN];
	__u32 moved, epoch, seq, steps;
	int tx, ret;

	tx = tx_reopen(r, -1, &moved);
	while (!load(r->stop_senders) && tx >= 0) {
		steps = load(r->steps);
		if (load(f->next) > PER_STEP * load(r->steps_end))
			break;
		/* What leads to a macvtap can be there still. */
		if ((r->what & ON_MACVTAP) && load(r->deleted))
			break;
		/*
		 * Not faster than the others work. What vhost-net gives back
		 * has to fit the ring; what was dropped does not come back.
		 */
		if (load(f->next) > PER_STEP * steps ||
		    ((r->what & VHOST) &&
		     (__s64)load(r->sent) - load(r->found) -
		     (__s64)load(r->counted) > IN_RING)) {
			if (load(r->deleted) || steps >= load(r->steps_end))
				break;
			step_wait(r, steps);
			continue;
		}
		if (load(r->moved) != moved)
			tx = tx_reopen(r, tx, &moved);
		seq = add(f->next, 1);
		if (seq + 1 >= MAX_SENT)
			die("too many frames");
		frame_udp(&r->n, buf, sizeof(buf), me->flow, seq);
		epoch = load(r->epoch);
		ret = tx_send(tx, buf, sizeof(buf));
		if ((epoch & 1) || load(r->epoch) != epoch)
			f->excused[seq] = 1;
		f->sent[seq] = !ret;
		if (!ret) {
			add(r->sent, 1);
			continue;
		}
		if (f->got[seq])
			add(r->strange, 1);
		/* Full, or on its way elsewhere. */
		sched_yield();
		if (load(r->deleted))
			break;
	}
	if (tx >= 0)
		close(tx);
	return NULL;
}

static void *reader(void *arg)
{
	static struct rx rx;
	struct race *r = arg;
	int q;

	while (!load(r->stop)) {
		nic_poll(&r->n, 10);
		for (q = 0; q < r->queues; q++)
			while (nic_read(&r->n, q, &rx) > 0)
				if (rx.ours)
					arrived(r, rx.flow, rx.seq);
	}
	return NULL;
}

/* --- operations on holds -------------------------------------------------- */

static void worked(struct race *r, enum work what, int ret)
{
	if (!ret)
		add(r->worked[what], 1);
}

static void import_some(struct race *r, struct nl *nl, __u64 *seed)
{
	struct flow *f = &r->f[FLOW_IMPORTS];
	__u32 n = 1 + rnd(seed, 5), i, first = add(f->next, n);
	__u64 seq = add(r->import_seq, n);
	struct imported res;
	struct pkt p[5];

	/* Sometimes some that came before, perhaps. */
	if (seq > 10 && !rnd(seed, 4))
		seq -= 5;
	if (first + n >= MAX_SENT)
		die("too many imports");
	for (i = 0; i < n; i++)
		p[i] = pkt_udp(&r->n, seq + i, FLOW_IMPORTS, first + i,
			       FRAME_LEN);
	for (i = 0; i < n; i++) {
		/* One by one: each is taken, or known. */
		if (!nl_import(nl, r->id, &p[i], 1, &res) && res.accepted) {
			f->sent[first + i] = 1;
			add(r->sent, 1);
			worked(r, IMPORT, 0);
		}
		free(p[i].data);
	}
}

static void export_some(struct race *r, struct nl *nl)
{
	struct pkts p;

	worked(r, EXPORT, nl_export(nl, load(r->id), 0, &p));
	if (p.broken)
		add(r->broken, 1);
	pkts_free(&p);
}

/* What was exported may have been trimmed, and counted, since. */
static void perhaps_gone(struct race *r, const struct pkts *p)
{
	__u32 flow;
	__u64 seq;
	int i;

	for (i = 0; i < p->n; i++)
		if (frame_parse(&r->n, p->v[i].data, p->v[i].len, &flow,
				&seq) && flow < FLOWS &&
		    seq < load(r->f[flow].next))
			r->f[flow].excused[seq] = 1;
}

/* Everything that was exported up to a number is freed, and known. */
static void commit_some(struct race *r, struct nl *nl, int hold)
{
	struct tapmig_info before, after;
	__u64 newest = 0;
	struct pkts p;
	int begun, err, i;

	/* Only then there is anything, perhaps soon. */
	worked(r, FREEZE, hold_freeze(hold));
	for (i = 0; i < 5 && !info_of(hold).held_packets; i++)
		poll(NULL, 0, 1);
	before = info_of(hold);
	/* From here to its thaw a standby trims nothing. */
	begun = !nl_begin(nl, r->id, 1000000);
	err = nl_export(nl, r->id, 0, &p);
	worked(r, EXPORT, err);
	for (i = 0; i < p.n; i++)
		newest = p.v[i].seq > newest ? p.v[i].seq : newest;
	if (!err && newest && !hold_commit(hold, newest)) {
		worked(r, COMMIT, 0);
		after = info_of(hold);
		/* Has it thawed and frozen again meanwhile? */
		if ((begun && before.state == TAPMIG_STATE_FROZEN &&
		     before.frozen_ns == after.frozen_ns) ||
		    before.state == TAPMIG_STATE_DEAD)
			gone(r, &p);
		else
			perhaps_gone(r, &p);
	}
	pkts_free(&p);
}

static void counts_add(__u64 *sum, const struct tapmig_info *i)
{
	*sum += i->dropped + i->trimmed + i->discarded + i->lost +
		i->late_skipped + i->flooded + i->own_address;
}

static void set_limits(int hold, __u32 packets, __u32 ms, __u32 action,
		       __u32 wait)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_MAX_PACKETS | TAPMIG_SET_MAX_FROZEN_MS |
			TAPMIG_SET_DEADLINE_ACTION |
			TAPMIG_SET_WAIT_IMPORT_MS,
		.max_packets = packets,
		.max_frozen_ms = ms,
		.deadline_action = action,
		.wait_import_ms = wait,
	};

	hold_set(hold, &s);
}

/*
 * With nobody else at it: have the hold be ARMED or FROZEN (or DEAD), and drop
 * nothing from now on.
 */
static __u32 hold_calm(struct race *r, struct nl *nl)
{
	struct tapmig_info i;

	set_limits(r->hold, TAPMIG_MAX_PACKETS, 600000,
		   TAPMIG_DEADLINE_ACTION_THAW, 0);
	for (;;) {
		i = info_of(r->hold);
		if (i.state == TAPMIG_STATE_THAWING)
			hold_thaw_wait(r->hold);
		else if (i.state == TAPMIG_STATE_LIVE)
			hold_discard(r->hold);
		else
			break;
	}
	/* A standby keeps all from here on. */
	if (i.state == TAPMIG_STATE_FROZEN)
		nl_begin(nl, r->id, 1000000);
	return i.state;
}

static void dev_move(struct race *r)
{
	netns_enter(r->ns[r->at]);
	link_netns(NAME, r->ns[!r->at]);
	r->at = !r->at;
	netns_enter(r->ns[r->at]);
	link_up(NAME);
	add(r->moved, 1);
}

static void hold_make(struct race *r, __u64 *seed)
{
	struct tapmig_create c = CREATE(.role = rnd(seed, 2),
					.dedup = rnd(seed, 3));

	/* No copies here; but late frames are skipped. */
	if (r->what & VHOST)
		c.dedup = TAPMIG_DEDUP_OFF;
	if (r->detached)
		nic_set_queue(r->n.fd[r->queues - 1], true);
	r->detached = false;
	/* A device that is elsewhere is not found. */
	if (r->at)
		dev_move(r);
	netns_enter(r->ns[0]);
	r->hold = hold_new(&r->n, &c);
	r->id = c.id;
	r->holds++;
}

/* All that a dead hold has is exported; then it is ended. */
static void hold_bury(struct race *r, struct nl *nl, bool owned)
{
	struct tapmig_info before = {}, after = {};
	struct hold_nl h;
	struct pkts p;

	if (nl_get(nl, r->id, &h) || nl_export(nl, r->id, 0, &p))
		die("a dead hold cannot be exported");
	gone(r, &p);
	if ((__u64)p.n != h.v[TAPMIG_A_HOLD_HELD_PACKETS])
		add(r->broken, 1);
	if (owned)
		before = info_of(r->hold);
	if (nl_hold_cmd(nl, TAPMIG_CMD_HOLD_DISCARD, r->id))
		die("a dead hold cannot be discarded");
	if (owned) {
		after = info_of(r->hold);
		if (after.discarded - before.discarded !=
		    p.n + h.v[TAPMIG_A_HOLD_PENDING_IMPORTS])
			add(r->broken, 1);
		counts_add(&r->counted, &before);
	}
	r->counted += h.v[TAPMIG_A_HOLD_PENDING_IMPORTS];
	pkts_free(&p);
}

/* End the hold in one of the ways there are, and make another. */
static void hold_replace(struct race *r, struct nl *nl, __u64 *seed)
{
	struct tapmig_info i;

	/* It has nothing to do, and need not wait for that. */
	if (load(r->ending))
		return;
	pthread_mutex_lock(&r->dev);
	pthread_rwlock_wrlock(&r->life);
	pthread_mutex_lock(&r->discards);
	if (load(r->ending))
		goto unlock;
	if (hold_calm(r, nl) == TAPMIG_STATE_FROZEN && rnd(seed, 2)) {
		hold_set_flags(r->hold, TAPMIG_HOLD_FLAGS_DETACHED,
			       TAPMIG_HOLD_FLAGS_DETACHED);
		i = info_of(r->hold);
		counts_add(&r->counted, &i);
		close(r->hold);
		hold_bury(r, nl, false);
	} else {
		hold_set_flags(r->hold, 0, TAPMIG_HOLD_FLAGS_DETACHED);
		i = info_of(r->hold);
		/* Nothing comes back out of a ring that was thawed. */
		if (i.state == TAPMIG_STATE_ARMED && i.held_packets)
			add(r->broken, 1);
		counts_add(&r->counted, &i);
		close(r->hold);
	}
	hold_make(r, seed);
	worked(r, REPLACE, 0);
unlock:
	pthread_mutex_unlock(&r->discards);
	pthread_rwlock_unlock(&r->life);
	pthread_mutex_unlock(&r->dev);
}

/* One operation by somebody. */
static void work(struct race *r, struct nl *nl, __u64 *seed)
{
	static const __u32 packets[] = { 20, 200, 1000, 65536 };
	bool calm = r->what & VHOST;
	__u32 flags = rnd(seed, 4) * 2 + 2;
	struct tapmig_info info;
	struct hold_nl h;
	int fd;

	/* What may come at any time, even to a hold that is being closed. */
	switch (rnd(seed, 30)) {
	case 0:
		nl_begin(nl, load(r->id), rnd(seed, 50));
		return;
	case 1:
		nl_sync(nl, load(r->id), 1);
		return;
	case 2:
		nl_end(nl, load(r->id));
		return;
	case 3:
		nl_get(nl, load(r->id), &h);
		return;
	case 4:
		export_some(r, nl);
		return;
	case 5:
		if (!rnd(seed, 3))
			hold_replace(r, nl, seed);
		return;
	}

	pthread_rwlock_rdlock(&r->life);
	if (r->hold < 0) {
		pthread_rwlock_unlock(&r->life);
		return;
	}
	/* Each call with an fd of its own; only the last close counts. */
	fd = dup(r->hold);
	switch (rnd(seed, 20)) {
	case 0 ... 3:
		worked(r, FREEZE, hold_freeze_flags(fd, rnd(seed, 2)));
		break;
	case 4:
		worked(r, FREEZE, nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE,
					      r->id));
		break;
	case 5 ... 6:
		worked(r, THAW, hold_thaw(fd));
		break;
	case 7:
		worked(r, THAW, nl_hold_cmd(nl, TAPMIG_CMD_HOLD_THAW, r->id));
		break;
	case 8:
		/* Not for ever. */
		nl_set(nl, r->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS, 5);
		worked(r, THAW, hold_thaw_wait(fd));
		break;
	case 9:
		hold_prepare(fd, rnd(seed, 2) ? 0 : 700 + rnd(seed, 1000));
		break;
	case 10:
		hold_info(fd, &info);
		break;
	case 11:
		hold_set_flags(fd, rnd(seed, 8) & flags, flags &
			       (TAPMIG_HOLD_FLAGS_DETACHED |
				TAPMIG_HOLD_FLAGS_PEER));
		break;
	case 12 ... 14:
		import_some(r, nl, seed);
		break;
	case 15 ... 16:
		pthread_mutex_lock(&r->discards);
		set_limits(fd, calm ? 65536 : packets[rnd(seed, 4)],
			   rnd(seed, 2) ? 30000 : 1 + rnd(seed, 20),
			   calm ? 0 : rnd(seed, 2), rnd(seed, 20));
		pthread_mutex_unlock(&r->discards);
		break;
	case 17:
		pthread_mutex_lock(&r->discards);
		if (!calm)
			worked(r, DISCARD, hold_discard(fd));
		pthread_mutex_unlock(&r->discards);
		break;
	default:
		pthread_mutex_lock(&r->discards);
		nl_set(nl, r->id, TAPMIG_A_HOLD_DEADLINE_ACTION,
		       TAPMIG_DEADLINE_ACTION_THAW);
		if (!calm)
			commit_some(r, nl, fd);
		else
			export_some(r, nl);
		pthread_mutex_unlock(&r->discards);
	}
	close(fd);
	pthread_rwlock_unlock(&r->life);
}

struct worker {
	struct race *r;
	pthread_t thread;
	bool first;
	__u64 seed;
};

static void *worker(void *arg)
{
	struct worker *me = arg;
	struct race *r = me->r;
	struct nl nl;

	nl_open(&nl);
	/* Too rare to be sure of it else. */
	if (me->first)
		hold_replace(r, &nl, &me->seed);
	while (load(r->steps) < load(r->steps_end)) {
		change_wait(r);
		work(r, &nl, &me->seed);
		step(r);
		if (load(r->ending) && !load(r->deleted))
			worked(r, BESIDE_END, 0);
	}
	nl_close(&nl);
	return NULL;
}

/* --- what there should be ------------------------------------------------- */

static __u64 counted_now(struct race *r)
{
	struct tapmig_info info = info_of(r->hold);
	__u64 sum = r->counted;

	counts_add(&sum, &info);
	return sum;
}

/* Sent, and nowhere; *@excused: how many of these may be. */
static __u64 waiting(struct race *r, __u64 *excused)
{
	__u64 n = 0;
	int f;
	__u32 i;

	*excused = 0;
	for (f = 0; f < FLOWS; f++) {
		for (i = 0; i < load(r->f[f].next); i++) {
			if (!load(r->f[f].sent[i]) || load(r->f[f].got[i]) ||
			    load(r->f[f].gone[i]))
				continue;
			n++;
			*excused += r->f[f].excused[i];
		}
	}
	return n;
}

/*
 * What may be lost, at most: what is where the hold does not have it, here, all
 * that was lost before included, and what is sent or leaves the hold until the
 * end. It may be too much when some of it is found or counted meanwhile.
 */
static void loose_begin(struct race *r)
{
	struct tapmig_info i;
	__u64 excused;

	r->sent_then = load(r->sent);
	r->loose = -counted_now(r);
	r->loose += waiting(r, &excused);
	i = info_of(r->hold);
	r->loose -= i.held_packets + i.pending_imports;
	r->delivered_then = i.delivered;
}

static void loose_end(struct race *r)
{
	r->loose += info_of(r->hold).delivered - r->delivered_then;
	r->loose += load(r->sent) - r->sent_then;
}

/* --- operations on the device --------------------------------------------- */

/* Disable a queue, mostly of a frozen hold, or enable it again. */
static void dev_detach(struct race *r, struct nl *nl)
{
	if (r->detached) {
		nic_set_queue(r->n.fd[r->queues - 1], true);
		r->detached = false;
		return;
	}
	worked(r, DETACH, 0);
	if (r->what & ANY_TIME) {
		add(r->epoch, 1);
		loose_begin(r);
		nic_set_queue(r->n.fd[r->queues - 1], false);
		loose_end(r);
		add(r->epoch, 1);
		r->detached = true;
		return;
	}
	pthread_rwlock_wrlock(&r->life);
	pthread_mutex_lock(&r->discards);
	while (hold_calm(r, nl) == TAPMIG_STATE_ARMED)
		hold_freeze(r->hold);
	add(r->epoch, 1);
	/* What the hook has left is taken out of the ring. */
	hold_commit(r->hold, 0);
	nic_set_queue(r->n.fd[r->queues - 1], false);
	add(r->epoch, 1);
	r->detached = true;
	pthread_mutex_unlock(&r->discards);
	pthread_rwlock_unlock(&r->life);
}

struct changer {
	struct race *r;
	pthread_t thread;
	__u64 seed;
};

/* What is done to the device in this race; how many there are. */
static __u32 changes_of(const struct race *r, enum work *v)
{
	__u32 n = 0;

	v[n++] = RESIZE;
	if (r->what & MOVES)
		v[n++] = MOVE;
	if (r->what & DETACHES)
		v[n++] = DETACH;
	if (r->what & VHOST)
		v[n++] = SWAP;
	return n;
}

static void *changer(void *arg)
{
	struct changer *me = arg;
	struct race *r = me->r;
	enum work can[WORKS];
	__u32 nr = changes_of(r, can), last = 0, what;
	bool on = false;
	struct nl nl;

	nl_open(&nl);
	while (load(r->steps) < load(r->steps_end) && !load(r->ending)) {
		/* One change for a few operations. */
		step_wait(r, last + PER_CHANGE - 1);
		last += PER_CHANGE;
		pthread_mutex_lock(&r->dev);
		if (load(r->ending)) {
			pthread_mutex_unlock(&r->dev);
			break;
		}
		netns_enter(r->ns[r->at]);
		/* Each at first, then by chance, or none. */
		what = r->turn < nr ? r->turn : rnd(&me->seed, 3);
		r->turn++;
		switch (what < nr ? can[what] : WORKS) {
		case RESIZE:
			link_txqlen(NAME, (r->what & VHOST ? 600 : 20) +
					  rnd(&me->seed, 900));
			worked(r, RESIZE, 0);
			break;
		case MOVE:
			dev_move(r);
			worked(r, MOVE, 0);
			break;
		case DETACH:
			dev_detach(r, &nl);
			break;
		case SWAP:
			vq_backend(&r->vq, on ? -1 : r->n.fd[0]);
			on = !on;
			worked(r, SWAP, 0);
			break;
		default:
			break;
		}
		pthread_mutex_unlock(&r->dev);
		change(r);
		if (r->what & VHOST)
			vhost_take(r);
	}
	pthread_mutex_lock(&r->dev);
	if (on)
		vq_backend(&r->vq, -1);
	if (r->what & VHOST)
		vhost_take(r);
	if (r->detached && !load(r->ending))
		dev_detach(r, &nl);
	pthread_mutex_unlock(&r->dev);
	nl_close(&nl);
	return NULL;
}

/*
 * Only the hold has the queues still. They, and so the device, go with it; what
 * it has is kept if that is asked for, else goes through the rings.
 */
static void fds_close(struct race *r, struct nl *nl, bool keep)
{
	struct tapmig_info i;
	struct hold_nl h;

	/* It would read what another has opened meanwhile. */
	add(r->stop, 1);
	pthread_join(r->reader, NULL);
	nic_close(&r->n);
	if (!keep) {
		pthread_rwlock_wrlock(&r->life);
		pthread_mutex_lock(&r->discards);
	}
	hold_set_flags(r->hold, keep ? TAPMIG_HOLD_FLAGS_DETACHED : 0,
		       TAPMIG_HOLD_FLAGS_DETACHED);
	i = info_of(r->hold);
	counts_add(&r->counted, &i);
	if (keep && !(r->what & LOSES))
		r->loose = 0;
	if (!keep)
		r->loose += i.held_packets + i.pending_imports +
			    i.delivered - r->delivered_then;
	close(r->hold);
	r->hold = -1;
	if (!busywait(!if_nametoindex(NAME)))
		die("a device that nobody has lives on");
	if (keep)
		hold_bury(r, nl, false);
	else if (!busywait(nl_get(nl, r->id, &h)))
		die("a hold that nobody has lives on");
	if (!keep) {
		pthread_mutex_unlock(&r->discards);
		pthread_rwlock_unlock(&r->life);
	}
}

static void dev_end(struct race *r, struct nl *nl, bool frozen, enum end how)
{
	int fd;

	pthread_mutex_lock(&r->dev);
	if (frozen) {
		pthread_rwlock_wrlock(&r->life);
		pthread_mutex_lock(&r->discards);
		while (hold_calm(r, nl) == TAPMIG_STATE_ARMED)
			hold_freeze(r->hold);
	}
	loose_begin(r);
	/* The operations go on. */
	add(r->ending, 1);
	change(r);
	netns_enter(r->ns[r->at]);
	switch (how) {
	case WITH_NETNS:
		if (unshare(CLONE_NEWNET))
			die("cannot make a network namespace");
		fd = netns_fd();
		netns_enter(r->ns[r->at]);
		link_netns(NAME, fd);
		/* Nobody has it any more. */
		close(fd);
		break;
	case WITH_FDS:
		if (r->what & ON_MACVTAP)
			link_del(NAME "-low");
		else
			fds_close(r, nl, frozen);
		break;
	default:
		link_del(NAME);
	}
	netns_enter(r->ns[0]);
	if (r->hold >= 0 &&
	    !busywait(info_of(r->hold).state == TAPMIG_STATE_DEAD))
		die("a hold without a device lives on");
	add(r->deleted, 1);
	__atomic_store_n(&r->steps_end, load(r->steps) + AFTER_END,
			 __ATOMIC_SEQ_CST);
	change(r);
	if (frozen) {
		pthread_mutex_unlock(&r->discards);
		pthread_rwlock_unlock(&r->life);
	}
	pthread_mutex_unlock(&r->dev);
}

/* --- a race --------------------------------------------------------------- */

static void forget(struct race *r)
{
	int f;

	for (f = 0; f < FLOWS; f++) {
		free(r->f[f].sent);
		free(r->f[f].got);
		free(r->f[f].gone);
		free(r->f[f].excused);
	}
}

/* All that has to come has. */
static bool quiet(struct race *r)
{
	__u64 excused, n = waiting(r, &excused);

	return n <= counted_now(r) + excused;
}

/* @delete: 0; 1: at some time; 2: when frozen. */
static void run_race(struct __test_metadata *_metadata, struct race *r,
		     __u32 steps, int delete, enum end how)
{
	__u64 seed = r->seed, missing, excused, counted, sent = 0;
	struct worker w[WORKERS] = {};
	struct sender s[SENDERS] = {};
	struct changer c = { .r = r };
	struct nl nl;
	__u32 i, end;
	int f;

	for (f = 0; f < FLOWS; f++) {
		memset(&r->f[f], 0, sizeof(r->f[f]));
		r->f[f].sent = calloc(1, MAX_SENT);
		r->f[f].got = calloc(1, MAX_SENT);
		r->f[f].gone = calloc(1, MAX_SENT);
		r->f[f].excused = calloc(1, MAX_SENT);
		ASSERT_NE(NULL, r->f[f].excused);
	}
	r->steps = 0;
	r->steps_end = delete ? UNTIL_END : steps;
	r->changes = 0;
	r->stop = 0;
	r->stop_senders = 0;
	r->ending = 0;
	r->deleted = 0;
	r->at = 0;
	r->detached = 0;
	r->sent = 0;
	r->found = 0;
	r->counted = 0;
	r->import_seq = 1;
	nl_open(&nl);
	ASSERT_TRUE(nic_open_named(&r->n, NAME,
				   r->what & ON_MACVTAP ? MACVTAP : TAP, 12,
				   r->queues));
	hold_make(r, &seed);
	ASSERT_EQ(0, pthread_create(&r->reader, NULL, reader, r));
	for (i = 0; i < SENDERS; i++) {
		s[i] = (struct sender) { .r = r, .flow = i };
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, sender,
					    &s[i]));
	}
	for (i = 0; i < WORKERS; i++) {
		w[i] = (struct worker) {
			.r = r, .first = !i, .seed = seed + 77 * i + 1,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL, worker,
					    &w[i]));
	}
	c.seed = seed + 1000;
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, changer, &c));

	if (delete) {
		end = steps / 4 + rnd(&seed, steps / 2);
		while (load(r->steps) < end)
			step_wait(r, end - 1);
		/* The first worker can be late; then it finds the end. */
		ASSERT_TRUE(busywait(load(r->worked[REPLACE])));
		dev_end(r, &nl, delete == 2, how);
	}
	for (i = 0; i < WORKERS; i++)
		pthread_join(w[i].thread, NULL);
	pthread_join(c.thread, NULL);

	if (delete && r->hold >= 0) {
		if (delete == 1)
			r->loose += info_of(r->hold).delivered -
				    r->delivered_then;
		hold_bury(r, &nl, true);
	} else if (!delete) {
		if (hold_calm(r, &nl) == TAPMIG_STATE_FROZEN)
			ASSERT_EQ(0, hold_thaw(r->hold));
		hold_calm(r, &nl);
	}
	/* They have no more than a few to go. */
	if (delete)
		add(r->stop_senders, 1);
	step(r);
	for (i = 0; i < SENDERS; i++)
		pthread_join(s[i].thread, NULL);
	if (!delete)
		busywait(quiet(r));
	if (!r->stop) {
		add(r->stop, 1);
		pthread_join(r->reader, NULL);
	}
	counted = delete ? r->counted : counted_now(r);
	missing = waiting(r, &excused);
	for (f = 0; f < FLOWS; f++)
		for (i = 0; i < r->f[f].next; i++)
			sent += r->f[f].sent[i];
	/* Such a hold is no more frozen when the device goes. */
	if (delete == 1 || (delete && how == WITH_FDS) || (r->what & LOSES)) {
		r->loose += r->sent - r->sent_then;
		EXPECT_LE(0, r->loose);
		excused += r->loose;
	}
	EXPECT_TRUE(missing >= counted && missing <= counted + excused)
		TH_LOG("%llu sent, %llu not to be found, %llu counted, %llu may be missing",
		       sent, missing, counted, excused);
	EXPECT_EQ(0, r->twice);
	EXPECT_EQ(0, r->strange);
	EXPECT_EQ(0, r->broken);
	TH_LOG("seed %llu: %llu frames, %llu of them counted, %llu excused, %llu holds, %u moves",
	       r->seed, sent, counted, excused, r->holds, r->moved);
	if (r->hold >= 0)
		close(r->hold);
	nic_close(&r->n);
	if ((r->what & ON_MACVTAP) && if_nametoindex(r->n.tx_name))
		link_del(r->n.tx_name);
	nl_close(&nl);
	forget(r);
}

FIXTURE(race) {
	struct race *r;
	long times;
};

FIXTURE_VARIANT(race) {
	int what;
	int queues;
	int steps;
	int rounds;
};

FIXTURE_VARIANT_ADD(race, holds) { .queues = 1, .steps = 3000 };

FIXTURE_VARIANT_ADD(race, namespaces) {
	.what = MOVES, .queues = 1, .steps = 700,
};

FIXTURE_VARIANT_ADD(race, queues) {
	.what = DETACHES, .queues = 2, .steps = 700,
};

FIXTURE_VARIANT_ADD(race, vhost) {
	.what = VHOST, .queues = 1, .steps = 2000,
};

FIXTURE_VARIANT_ADD(race, end) {
	.what = DELETES, .queues = 2, .steps = 100, .rounds = 12,
};

FIXTURE_VARIANT_ADD(race, end_of_macvtap) {
	.what = DELETES | ON_MACVTAP, .queues = 2, .steps = 100, .rounds = 12,
};

/* Held to less, see above: it is for what else there is to be found. */
FIXTURE_VARIANT_ADD(race, anything_at_any_time) {
	.what = MOVES | DETACHES | DELETES | ANY_TIME, .queues = 2,
	.steps = 100, .rounds = 12,
};

FIXTURE_SETUP(race)
{
	struct race *r = calloc(1, sizeof(*r));

	ASSERT_NE(NULL, r);
	self->r = r;
	self->times = env_count("TAPMIG_RACE_TIMES", 100);
	r->what = variant->what;
	r->queues = variant->queues;
	/* Odd, so that it never becomes zero. */
	r->seed = env_count("TAPMIG_RACE_SEED", now_ms() * 2 + 1);
	pthread_mutex_init(&r->dev, NULL);
	pthread_rwlock_init(&r->life, NULL);
	pthread_mutex_init(&r->discards, NULL);
	pthread_mutex_init(&r->step, NULL);
	pthread_cond_init(&r->stepped, NULL);
	netns_new();
	r->ns[1] = netns_fd();
	netns_new();
	r->ns[0] = netns_fd();
	if ((r->what & VHOST) && !vq_open(&r->vq))
		SKIP(return, "no vhost-net");
	if (r->what & VHOST)
		vq_post(&r->vq, 400);
}

FIXTURE_TEARDOWN(race)
{
}

/* Has this to succeed in a race of so many operations? */
static bool must_work(int race, long steps, enum work what)
{
	switch (what) {
	case THAW:
	case IMPORT:
	case EXPORT:
		return steps >= 500;
	case COMMIT:
	case DISCARD:
		return steps >= 500 && !(race & VHOST);
	case MOVE:
		return (race & MOVES) && (steps >= 500 || !(race & DELETES));
	case DETACH:
		return (race & DETACHES) && (steps >= 500 || !(race & DELETES));
	case SWAP:
		return race & VHOST;
	case BESIDE_END:
		return steps >= 500 && (race & DELETES);
	default:
		return true;
	}
}

TEST_F_TIMEOUT(race, every_frame_is_accounted_for, 3600)
{
	long steps = variant->steps * self->times / 100, i;
	long rounds = variant->rounds * self->times / 100, all, least;
	long any = self->r->seed / 2 % (2 * ENDS);
	const __u32 *n = self->r->worked;
	enum work what;

	TH_LOG("seed %llu", self->r->seed);
	/* Each way once, at least; where less is known, any of them. */
	least = variant->what & LOSES ? 1 : 2 * ENDS;
	if (rounds < least)
		rounds = least;
	all = variant->what & DELETES ? rounds * variant->steps / 2 : steps;
	if (!(variant->what & DELETES))
		run_race(_metadata, self->r, steps, 0, 0);
	else
		for (i = 0; i < rounds; i++) {
			run_race(_metadata, self->r, variant->steps,
				 1 + ((i + any) & 1), (i + any) % ENDS);
			ASSERT_TRUE(_metadata->exit_code == KSFT_PASS);
			self->r->seed += 2;
		}
	/* Else it was a race of refusals; a short one may be without some. */
	for (what = 0; what < WORKS; what++) {
		if (must_work(variant->what, all, what)) {
			EXPECT_LT(0, n[what])
				TH_LOG("no %s", works[what]);
		}
		if (n[what])
			TH_LOG("%u %s", n[what], works[what]);
	}
}

TEST_HARNESS_MAIN
