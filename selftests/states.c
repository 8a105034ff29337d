// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state machine of a hold, against a model of what is documented.
 *
 * The table below says for each operation what it answers in each state, and
 * model_apply() what it does. All combinations of state, role, flags, owner and
 * import session that the model can reach are found from the model, and each is
 * brought about in the kernel by the shortest way. There, each operation is
 * tried by itself, and each two at once from two threads: then what they answer
 * and what comes out of it must be that of one after the other, in some order.
 * What a hold does by itself (to hand over, to be gone) may come in between.
 *
 * Frames are numbered and counted, so what is lost or comes twice is found in
 * any state.
 */
#include "lib.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/ioctl.h>

#include "harness.h"

#ifndef fallthrough
#define fallthrough	__attribute__((__fallthrough__))
#endif

#define LONG_MS		3600000
#define IMPORT_SEQ	70000
/* Frees the oldest two of the packets that were captured first. */
#define COMMIT_SEQ	(TAPMIG_SEQ_FIRST + 1)

enum op {
	ADD_OWN, ADD_OTHER, JOIN, PREPARE, FREEZE, FREEZE_DETACHED, THAW,
	THAW_WAIT, DISCARD, COMMIT, COMMIT_BEYOND, INFO, SET_PEER, CLEAR_PEER,
	SET_DETACHED, CLEAR_DETACHED, RENEW, LIMIT, NL_GET, NL_FREEZE, NL_THAW,
	NL_DISCARD, NL_COMMIT, NL_SET_PEER, WAIT_0, WAIT_NONE, WAIT_LONG,
	EXPORT, IMPORT, BEGIN, SYNC, END, UNREAD, SEND, RESIZE, CLOSE, DELETE,
	EXPIRE, EXPIRE_DISCARD, OPS,
};

#define NEEDS_FD	1	/* an ioctl on the hold fd */
#define NEEDS_ID	2	/* a netlink request */
#define DEADLINE	4	/* only one of these at a time */

/*
 * What an operation answers. -EBUSY of IMPORT, SYNC and END is for want of an
 * open session, which is only there if it is said so below.
 */
static const struct {
	const char *name;
	int flags;
	int answer[5];
} ops[OPS] = {
#define ROW(op, flags, armed, frozen, thawing, live, dead)		\
	[op] = { #op, flags, { armed, frozen, thawing, live, dead } }
	ROW(ADD_OWN, NEEDS_FD,
	    -EEXIST, -EBUSY, -EBUSY, -EBUSY, -ESHUTDOWN),
	ROW(ADD_OTHER, 0,
	    -EEXIST, -EEXIST, -EEXIST, -EEXIST, -ESHUTDOWN),
	ROW(JOIN, 0, 0, 0, 0, 0, -ESHUTDOWN),
	ROW(PREPARE, NEEDS_FD, 0, -EBUSY, -EBUSY, -EBUSY, -ENODEV),
	ROW(FREEZE, NEEDS_FD, 0, -EBUSY, -EBUSY, -EBUSY, -ENODEV),
	ROW(FREEZE_DETACHED, NEEDS_FD, 0, -EBUSY, -EBUSY, -EBUSY, -ENODEV),
	ROW(THAW, NEEDS_FD, -EBUSY, 0, -EBUSY, -EBUSY, -ENODEV),
	ROW(THAW_WAIT, NEEDS_FD, -EBUSY, 0, 0, -EBUSY, -ENODEV),
	ROW(DISCARD, NEEDS_FD, 0, 0, -EBUSY, 0, 0),
	ROW(COMMIT, NEEDS_FD, -EBUSY, 0, -EBUSY, -EBUSY, 0),
	ROW(COMMIT_BEYOND, NEEDS_FD,
	    -EBUSY, -ERANGE, -EBUSY, -EBUSY, -ERANGE),
	ROW(INFO, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(SET_PEER, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(CLEAR_PEER, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(SET_DETACHED, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(CLEAR_DETACHED, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(RENEW, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(LIMIT, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(NL_GET, NEEDS_ID, 0, 0, 0, 0, 0),
	ROW(NL_FREEZE, NEEDS_ID, 0, -EBUSY, -EBUSY, -EBUSY, -ENODEV),
	ROW(NL_THAW, NEEDS_ID, -EBUSY, 0, -EBUSY, -EBUSY, -ENODEV),
	ROW(NL_DISCARD, NEEDS_ID, 0, 0, -EBUSY, 0, 0),
	ROW(NL_COMMIT, NEEDS_ID, -EBUSY, 0, -EBUSY, -EBUSY, 0),
	ROW(NL_SET_PEER, NEEDS_ID, 0, 0, 0, 0, 0),
	ROW(WAIT_0, NEEDS_ID, 0, 0, 0, 0, 0),
	ROW(WAIT_NONE, NEEDS_ID, 0, 0, 0, 0, 0),
	ROW(WAIT_LONG, NEEDS_ID, 0, 0, 0, 0, 0),
	ROW(EXPORT, NEEDS_ID, -EBUSY, 0, 0, -EBUSY, 0),
	ROW(IMPORT, NEEDS_ID, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY),
	ROW(BEGIN, NEEDS_ID, -EBUSY, 0, 0, 0, -ENODEV),
	ROW(SYNC, NEEDS_ID, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY),
	ROW(END, NEEDS_ID, -EBUSY, -EBUSY, -EBUSY, -EBUSY, -EBUSY),
	/* Of a source; a stand-by refuses it when frozen, too. */
	ROW(UNREAD, NEEDS_FD, -EBUSY, 0, -EBUSY, -EBUSY, -ENODEV),
	/* Of the device, not of the hold. */
	ROW(SEND, 0, 0, 0, 0, 0, 0),
	ROW(RESIZE, 0, 0, 0, 0, 0, 0),
	ROW(CLOSE, NEEDS_FD, 0, 0, 0, 0, 0),
	ROW(DELETE, 0, 0, 0, 0, 0, 0),
	/* From now on the deadline passes at once, if it is running. */
	ROW(EXPIRE, NEEDS_ID | DEADLINE, 0, 0, 0, 0, 0),
	ROW(EXPIRE_DISCARD, NEEDS_ID | DEADLINE, 0, 0, 0, 0, 0),
#undef ROW
};

/* --- the model ----------------------------------------------------------- */

#define DETACHED	TAPMIG_HOLD_FLAGS_DETACHED
#define PINNED		TAPMIG_HOLD_FLAGS_PINNED
#define PEER		TAPMIG_HOLD_FLAGS_PEER
#define DUE		TAPMIG_HOLD_FLAGS_DUE
#define IMPORTING	TAPMIG_HOLD_FLAGS_IMPORTING

enum waits { LONG, ZERO, NONE };

/* When the deadline passes, and what is done then. */
enum deadline { LATER, SOON, SOON_DISCARD };

/* All of it is set to zero before, as it is compared as a whole. */
struct model {
	__u32 state;
	__u32 role;
	__u32 flags;
	__u32 wait;
	/* Not in the table of holds; its queues were left; no such device. */
	bool gone;
	bool left;
	bool no_dev;
	/* The session of an import. */
	bool importing;
	bool begun;
	bool in_step;
	/* A packet was imported, and its number is remembered. */
	bool seen;
	bool deadline;
	__u32 passes;
	/* The hand-over will happen by itself. */
	bool due;
	/* The fd was closed, and the hold has learned of it. */
	bool closed;
	bool released;
	int owners;
	/* The second fd: joined; has the queue for itself. */
	bool joined;
	bool taken;
	/* Packets: in the ring, captured (of these, given back), imported. */
	__u32 ring;
	__u32 held;
	__u32 back;
	__u32 imports;
	__u64 next_seq;
	/* Counters. */
	__u32 captured;
	__u32 delivered;
	__u32 discarded;
	__u32 imported;
	__u32 resent;
	__u32 late;
};

/*
 * What sends to a macvtap is another device. That does not go away with it, and
 * neither do the packets in its ring.
 */
static bool on_macvtap;

static bool m_behind(const struct model *m)
{
	return (m->flags & PEER) && m->role == TAPMIG_ROLE_STANDBY &&
	       !m->in_step;
}

static void m_thaw_start(struct model *m)
{
	m->due = !m_behind(m) || m->wait != LONG || (m->flags & DUE);
}

static void m_leave(struct model *m)
{
	m->left = true;
	m->due = false;
}

static void m_discard_packets(struct model *m)
{
	m->discarded += m->held + m->imports;
	m->held = 0;
	m->back = 0;
	m->imports = 0;
	m->seen = false;
	m->importing = false;
	m->begun = false;
	m->in_step = false;
}

static void m_gone(struct model *m)
{
	m_leave(m);
	m_discard_packets(m);
	m->gone = true;
	m->deadline = false;
}

static void m_die(struct model *m)
{
	if (m->gone || m->state == TAPMIG_STATE_DEAD)
		return;
	m_leave(m);
	m->importing = false;
	m->state = TAPMIG_STATE_DEAD;
	if (!m->owners)
		m->deadline = true;
}

static void m_handover(struct model *m)
{
	m->ring += m->held + m->imports;
	m->delivered += m->held + m->imports;
	m->held = 0;
	m->back = 0;
	m->imports = 0;
	m->due = false;
	m->flags &= ~DETACHED;
	if (m->importing ||
	    (m_behind(m) && !m->begun && m->wait != NONE)) {
		m->state = TAPMIG_STATE_LIVE;
		m->deadline = true;
	} else {
		m->state = TAPMIG_STATE_ARMED;
		m->deadline = false;
	}
}

static void m_live_end(struct model *m)
{
	m->importing = false;
	m->in_step = true;
	if (m->state != TAPMIG_STATE_LIVE)
		return;
	m->state = TAPMIG_STATE_ARMED;
	m->deadline = false;
}

static bool m_standby_waits(const struct model *m)
{
	return m->role == TAPMIG_ROLE_STANDBY && !m->begun &&
	       !(m->flags & (DETACHED | PINNED));
}

static void m_freeze(struct model *m, bool detached)
{
	/* What nobody has read yet is held as well. */
	m->held = m->ring;
	m->captured += m->ring;
	m->next_seq += m->ring;
	m->ring = 0;
	m->seen = false;
	m->importing = false;
	m->begun = false;
	m->in_step = false;
	m->flags &= ~DUE;
	if (detached)
		m->flags |= DETACHED;
	m->deadline = !m_standby_waits(m);
	m->state = TAPMIG_STATE_FROZEN;
}

static void m_discard(struct model *m)
{
	m_discard_packets(m);
	m->due = false;
	m->flags &= ~DETACHED;
	if (m->state != TAPMIG_STATE_DEAD) {
		m->state = TAPMIG_STATE_ARMED;
		/* Nor are the rings to stay enlarged. */
		m->deadline = false;
	}
	if (!m->owners)
		m_gone(m);
}

static void m_commit(struct model *m)
{
	__u64 first = m->next_seq - (m->held - m->back);

	/* What was given back and not exported stays. */
	if (first <= COMMIT_SEQ)
		m->held = m->back + m->next_seq - COMMIT_SEQ - 1;
}

/* One fd less. */
static void m_release(struct model *m)
{
	m->released = true;
	if (m->gone || --m->owners)
		return;
	switch (m->state) {
	case TAPMIG_STATE_FROZEN:
		if (m->flags & DETACHED) {
			m_die(m);
			break;
		}
		/* Else as one that is thawing. */
		fallthrough;
	case TAPMIG_STATE_THAWING:
		if (m->flags & PINNED)
			break;
		m_handover(m);
		m_gone(m);
		break;
	case TAPMIG_STATE_LIVE:
		if (!(m->flags & PINNED))
			m_gone(m);
		break;
	case TAPMIG_STATE_DEAD:
		m->deadline = true;
		if (!(m->flags & (DETACHED | PINNED)))
			m_gone(m);
		break;
	default:
		m_gone(m);
	}
}

/* The deadline passes; false if it does not. */
static bool m_expire(struct model *m)
{
	if (m->gone || !m->deadline || m->passes == LATER)
		return false;
	m->deadline = false;
	switch (m->state) {
	case TAPMIG_STATE_FROZEN:
	case TAPMIG_STATE_THAWING:
		m->flags |= DUE;
		if (m->passes == SOON_DISCARD) {
			m_discard(m);
			break;
		}
		m->state = TAPMIG_STATE_THAWING;
		m_thaw_start(m);
		break;
	case TAPMIG_STATE_LIVE:
		m_live_end(m);
		break;
	case TAPMIG_STATE_DEAD:
		m->flags |= DUE;
		if (!m->owners)
			m_gone(m);
		break;
	}
	return true;
}

/* What a hold does by itself. */
static bool m_internal(struct model *m)
{
	if (m->gone)
		return false;
	if (m->state == TAPMIG_STATE_THAWING && m->due) {
		/* Unless there is something to wait for meanwhile. */
		m_thaw_start(m);
		if (m->due)
			m_handover(m);
		return true;
	}
	if (m->state == TAPMIG_STATE_ARMED && !m->owners) {
		m_gone(m);
		return true;
	}
	return false;
}

static int m_import(struct model *m)
{
	if (!m->importing)
		return -EBUSY;
	if (m->seen) {
		m->resent++;
		return 0;
	}
	m->seen = true;
	m->imported++;
	if (m->state == TAPMIG_STATE_LIVE) {
		m->late++;
		m->delivered++;
		m->ring++;
	} else {
		m->imports++;
	}
	return 0;
}

static void m_add_other(struct model *m, enum op op)
{
	if (m->gone || m->left) {
		m->taken = true;
	} else {
		m->joined = true;
		m->owners++;
	}
}

/* Do @op to the model; what it is to answer. */
static int model_apply(struct model *m, enum op op)
{
	int answer = ops[op].answer[m->state];

	if ((ops[op].flags & NEEDS_FD) && m->closed)
		return -EBADF;
	if ((ops[op].flags & NEEDS_ID) && m->gone)
		return op == EXPIRE || op == EXPIRE_DISCARD ? 0 : -ENOENT;
	if (m->no_dev && op == SEND)
		return on_macvtap ? 0 : -ENXIO;
	if (m->no_dev && (op == RESIZE || op == DELETE))
		return -ENODEV;
	if (op == ADD_OTHER || op == JOIN) {
		/* It is the other's already. */
		if ((m->joined || m->taken) && !m->no_dev)
			return op == JOIN ? -EBUSY : m->taken ? -EEXIST :
			       ops[ADD_OWN].answer[m->state];
		/* Who asks for a queue that is free gets it. */
		if (m->gone || m->left)
			answer = m->no_dev ? -ESHUTDOWN : 0;
		if (!answer)
			m_add_other(m, op);
		return answer;
	}
	if ((op == COMMIT || op == NL_COMMIT) && !answer &&
	    m->next_seq <= COMMIT_SEQ)
		return -ERANGE;
	if (op == IMPORT)
		return m_import(m);
	if (op == UNREAD && !answer && m->role == TAPMIG_ROLE_STANDBY)
		return -EOPNOTSUPP;
	if ((op == SYNC || op == END) && m->importing)
		answer = 0;
	/* Who has waited for too long need not wait for what it waits for. */
	if ((op == DISCARD || op == NL_DISCARD) && (m->flags & DUE))
		answer = 0;
	if (answer)
		return answer;

	switch (op) {
	case PREPARE:
		m->deadline = true;
		break;
	case FREEZE:
	case NL_FREEZE:
	case FREEZE_DETACHED:
		m_freeze(m, op == FREEZE_DETACHED);
		break;
	case THAW:
	case NL_THAW:
		m->state = TAPMIG_STATE_THAWING;
		m_thaw_start(m);
		break;
	case DISCARD:
	case NL_DISCARD:
		m_discard(m);
		break;
	case COMMIT:
	case NL_COMMIT:
		m_commit(m);
		break;
	case SET_PEER:
	case NL_SET_PEER:
		m->flags |= PEER;
		break;
	case CLEAR_PEER:
		m->flags &= ~PEER;
		break;
	case SET_DETACHED:
		m->flags |= DETACHED;
		/* That always has a deadline. */
		if (m->state == TAPMIG_STATE_FROZEN)
			m->deadline = true;
		break;
	case CLEAR_DETACHED:
		m->flags &= ~DETACHED;
		/* It may wait for hours again. */
		if ((m->state == TAPMIG_STATE_FROZEN ||
		     m->state == TAPMIG_STATE_THAWING) && m_standby_waits(m))
			m->deadline = false;
		break;
	case WAIT_0:
	case WAIT_NONE:
	case WAIT_LONG:
		m->wait = op == WAIT_0 ? ZERO : op == WAIT_NONE ? NONE : LONG;
		if (m->state == TAPMIG_STATE_THAWING)
			m_thaw_start(m);
		break;
	case BEGIN:
		if (m->role == TAPMIG_ROLE_STANDBY && !m->begun &&
		    m->state != TAPMIG_STATE_LIVE)
			m->deadline = true;
		m->importing = true;
		m->begun = true;
		m->in_step = false;
		break;
	case SYNC:
	case END:
		m->in_step = true;
		if (op == END)
			m_live_end(m);
		if (m->state == TAPMIG_STATE_THAWING)
			m->due = true;
		break;
	case UNREAD:
		m->back++;
		m->held++;
		m->captured++;
		break;
	case SEND:
		if (!m->gone && !m->left &&
		    (m->state == TAPMIG_STATE_FROZEN ||
		     m->state == TAPMIG_STATE_THAWING)) {
			m->held++;
			m->captured++;
			m->next_seq++;
		} else {
			m->ring++;
		}
		break;
	case CLOSE:
		m->closed = true;
		break;
	case DELETE:
		m->no_dev = true;
		if (!on_macvtap)
			m->ring = 0;
		m_die(m);
		break;
	case EXPIRE:
	case EXPIRE_DISCARD:
		m->passes = op == EXPIRE ? SOON : SOON_DISCARD;
		break;
	case RENEW:
		m->passes = LATER;
		break;
	default:
		break;
	}
	return 0;
}

/*
 * Two operations at once, one of which may be none (OPS): all that can come of
 * it. A thaw that waits has two steps; a close has a second one, which waits
 * for calls that are under way.
 */
struct outcome {
	struct model m;
	int answer[2];
};

#define MAX_OUTCOMES	64

struct outcomes {
	struct outcome v[MAX_OUTCOMES];
	int n;
};

struct run {
	struct outcome o;
	int step[2];
	/* Nobody ends what would wait. */
	bool alone;
};

enum { READY, WAITING, DONE };

static void explore(struct run r, const enum op *op, struct outcomes *out)
{
	bool settled = true;
	int t;

	for (t = 0; t < 2; t++) {
		struct run next = r;

		if (r.step[t] == DONE)
			continue;
		if (op[t] == THAW_WAIT && r.step[t] == READY &&
		    !r.o.m.closed &&
		    (r.o.m.state == TAPMIG_STATE_FROZEN ||
		     r.o.m.state == TAPMIG_STATE_THAWING)) {
			if (r.o.m.state == TAPMIG_STATE_FROZEN)
				model_apply(&next.o.m, THAW);
			next.step[t] = WAITING;
		} else if (r.step[t] == WAITING) {
			if (r.o.m.state == TAPMIG_STATE_THAWING) {
				/* unblock() need not wait for the other. */
				if (r.o.m.wait == ZERO || r.alone)
					continue;
				model_apply(&next.o.m, WAIT_0);
				explore(next, op, out);
				continue;
			}
			next.o.answer[t] = r.o.m.state == TAPMIG_STATE_DEAD ?
					   -ENODEV : 0;
			next.step[t] = DONE;
		} else {
			next.o.answer[t] = model_apply(&next.o.m, op[t]);
			next.step[t] = DONE;
		}
		settled = false;
		explore(next, op, out);
	}
	if (r.o.m.closed && !r.o.m.released && r.step[0] != WAITING &&
	    r.step[1] != WAITING) {
		struct run next = r;

		m_release(&next.o.m);
		settled = false;
		explore(next, op, out);
	} else {
		struct run next = r;

		if (m_internal(&next.o.m)) {
			settled = false;
			explore(next, op, out);
		}
	}
	if (r.o.m.passes != LATER) {
		struct run next = r;

		if (m_expire(&next.o.m)) {
			settled = false;
			explore(next, op, out);
		}
	}
	if (!settled)
		return;
	if (r.step[0] != DONE || r.step[1] != DONE) {
		/* It would wait for ever; unblock() ends that. */
		model_apply(&r.o.m, WAIT_0);
		explore(r, op, out);
		return;
	}
	/* The rig sees to that. */
	r.o.m.passes = LATER;
	for (t = 0; t < out->n; t++)
		if (!memcmp(&out->v[t], &r.o, sizeof(r.o)))
			return;
	if (out->n == MAX_OUTCOMES)
		die("too many outcomes");
	out->v[out->n++] = r.o;
}

/* What comes while the ring is another counts as captured, see design.md. */
static void met_a_resize(const struct model *m, struct outcomes *out)
{
	int i, n = out->n;

	if (m->gone || m->left || (m->state != TAPMIG_STATE_ARMED &&
				   m->state != TAPMIG_STATE_LIVE))
		return;
	for (i = 0; i < n && out->n < MAX_OUTCOMES; i++) {
		memcpy(&out->v[out->n], &out->v[i], sizeof(out->v[i]));
		out->v[out->n++].m.captured++;
	}
}

static void outcomes_of(const struct model *m, enum op a, enum op b,
			struct outcomes *out)
{
	const enum op op[2] = { a, b };
	struct run r;

	memset(&r, 0, sizeof(r));
	memcpy(&r.o.m, m, sizeof(*m));
	if (a == OPS)
		r.step[0] = DONE;
	if (b == OPS)
		r.step[1] = DONE;
	r.alone = a == OPS || b == OPS;
	out->n = 0;
	explore(r, op, out);
	if (a == SEND && b == RESIZE)
		met_a_resize(m, out);
}

/* --- what can be reached ------------------------------------------------- */

/* What tells combinations apart; not how many packets there are. */
static __u32 model_key(const struct model *m)
{
	__u32 wait = m->wait;
	__u32 session = m->importing | m->begun << 1 | m->in_step << 2;

	/* These matter only here. */
	if (!(m->flags & PEER) || m->role != TAPMIG_ROLE_STANDBY ||
	    m->state == TAPMIG_STATE_LIVE || m->state == TAPMIG_STATE_DEAD)
		wait = 0;
	if (m->state == TAPMIG_STATE_ARMED || m->state == TAPMIG_STATE_DEAD)
		session = 0;
	return m->state | m->role << 3 | (m->flags & 15) << 4 | wait << 8 |
	       session << 10 | !m->owners << 13 | m->gone << 14 |
	       m->no_dev << 15 | m->joined << 16 | m->taken << 17;
}

#define MAX_NODES	2048

static struct node {
	struct model m;
	__u32 key;
	int parent;
	enum op op;
	int depth;
} nodes[MAX_NODES];
static int nr_nodes;

static void node_add(const struct model *m, int parent, enum op op)
{
	__u32 key = model_key(m);
	int i;

	for (i = 0; i < nr_nodes; i++)
		if (nodes[i].key == key)
			return;
	if (nr_nodes == MAX_NODES)
		die("too many combinations");
	memcpy(&nodes[nr_nodes].m, m, sizeof(*m));
	nodes[nr_nodes].key = key;
	nodes[nr_nodes].parent = parent;
	nodes[nr_nodes].op = op;
	nodes[nr_nodes].depth = parent < 0 ? 0 : nodes[parent].depth + 1;
	nr_nodes++;
}

static bool op_possible(const struct model *m, enum op op)
{
	return !(ops[op].flags & NEEDS_FD) || m->owners;
}

static void find_nodes(void)
{
	static struct outcomes out;
	__u32 role, flags;
	enum op op;
	int i;

	for (role = 0; role <= TAPMIG_ROLE_STANDBY; role++) {
		for (flags = 0; flags <= (DETACHED | PINNED); flags++) {
			struct model m;

			memset(&m, 0, sizeof(m));
			m.role = role;
			m.flags = flags;
			m.owners = 1;
			m.next_seq = TAPMIG_SEQ_FIRST;
			node_add(&m, -1, OPS);
		}
	}
	for (i = 0; i < nr_nodes; i++) {
		if (nodes[i].m.gone || nodes[i].m.taken || nodes[i].m.joined)
			continue;
		for (op = 0; op < OPS; op++) {
			if (op == THAW_WAIT || op == SEND || op == IMPORT ||
			    op == UNREAD ||
			    op == JOIN || op == ADD_OTHER ||
			    !op_possible(&nodes[i].m, op))
				continue;
			outcomes_of(&nodes[i].m, op, OPS, &out);
			/* By itself an operation has one outcome. */
			if (out.n == 1)
				node_add(&out.v[0].m, i, op);
		}
	}
}

/* --- the kernel ---------------------------------------------------------- */

#define MAX_IDS		(1 << 22)

struct rig {
	enum nic_kind kind;
	struct nic n;
	bool have_nic;
	int tx;
	struct nl nl[3];
	int hold;
	int other;
	__u32 id;
	struct model m;
	/* Of the next frame; which have arrived. */
	__u32 next;
	__u8 *got;
	bool twice;
	int qlen;
	int failed;
	bool sure;
	unsigned int seed;
};

/* What can be seen of a hold. */
struct seen {
	bool gone;
	__u64 state, flags, deadline, held, pending, captured, delivered;
	__u64 discarded, imported, resent, late;
	__u32 ring;
};

static __u32 ring_read(struct rig *r)
{
	static struct rx rx;
	__u32 n = 0;

	if (!r->have_nic)
		return 0;
	while (nic_read(&r->n, 0, &rx) > 0) {
		if (!rx.ours)
			continue;
		n++;
		if (rx.seq >= MAX_IDS || r->got[rx.seq]++)
			r->twice = true;
	}
	return n;
}

static void rig_close(struct rig *r)
{
	struct hold_nl h;
	int64_t end = now_ms() + WAIT_MS;

	if (r->hold >= 0 && !r->m.closed)
		close(r->hold);
	r->hold = -1;
	if (r->other >= 0 && (r->m.joined || r->m.taken || r->failed)) {
		close(r->other);
		r->other = -1;
	}
	while (r->id && nl_get(&r->nl[2], r->id, &h) != -ENOENT) {
		nl_set(&r->nl[2], r->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS, 0);
		nl_hold_cmd(&r->nl[2], TAPMIG_CMD_HOLD_DISCARD, r->id);
		if (now_ms() > end)
			die("a hold does not end");
	}
	r->id = 0;
	ring_read(r);
	if (r->have_nic && r->m.no_dev) {
		nic_close(&r->n);
		close(r->tx);
		if (on_macvtap)
			link_del(r->n.tx_name);
		r->have_nic = false;
	}
}

static void rig_open(struct rig *r, const struct model *m)
{
	struct tapmig_create c = CREATE(.role = m->role, .flags = m->flags,
					.wait_import_ms = LONG_MS);
	struct tapmig_create o = CREATE(.label = "other");

	rig_close(r);
	if (!r->have_nic) {
		nic_open(&r->n, r->kind, 0, 1);
		r->tx = tx_open(r->n.tx_ifindex, TX_BYPASS);
		r->have_nic = true;
	}
	r->hold = hold_new(&r->n, &c);
	r->id = c.id;
	if (r->other < 0)
		r->other = hold_create(&o);
	memcpy(&r->m, m, sizeof(*m));
}

static int add_queue(struct rig *r, int hold, __u32 flags)
{
	int ret = hold_add_flags(hold, r->n.fd[0], 0, flags);

	/* One after the other while the device goes away. */
	return ret == -EBADFD || ret == -ENODEV ? -ESHUTDOWN : ret;
}

static int set_txqlen(struct rig *r)
{
	struct ifreq ifr = {};
	int s, ret;

	r->qlen = r->qlen == 500 ? 600 : 500;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", r->n.name);
	ifr.ifr_qlen = r->qlen;
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ret = ioctl(s, SIOCSIFTXQLEN, &ifr) ? -errno : 0;
	close(s);
	return ret;
}

static int delete_nic(struct rig *r)
{
	int ret = if_nametoindex(r->n.name) ? link_del(r->n.name) : -ENODEV;

	/* Another was faster, so that there was no index to ask with. */
	return ret == -EINVAL ? -ENODEV : ret;
}

static int send_one(struct rig *r)
{
	__u32 seq = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED);
	__u8 buf[FRAME_LEN];
	int ret;

	frame_udp(&r->n, buf, sizeof(buf), 0, seq);
	/*
	 * It refuses packets for a moment when its txqueuelen changes, or when
	 * it goes down; its ring has room for all of a test.
	 */
	busywait((ret = tx_send(r->tx, buf, sizeof(buf))) != -ENOBUFS);
	/* The device is down before it is away. */
	return ret == -ENETDOWN || ret == -ENODEV ? -ENXIO : ret;
}

static int import_one(struct rig *r, struct nl *nl)
{
	__u32 seq = __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED);
	struct pkt p = pkt_udp(&r->n, IMPORT_SEQ, 1, seq, FRAME_LEN);
	struct imported res;
	int ret;

	ret = nl_import(nl, r->id, &p, 1, &res);
	free(p.data);
	return ret;
}

static int unread_one(struct rig *r)
{
	static __thread struct rx rx;

	rx.len = FRAME_LEN;
	frame_udp(&r->n, rx.data, rx.len, 0,
		  __atomic_fetch_add(&r->next, 1, __ATOMIC_RELAXED));
	return hold_unread(r->hold, &r->n, &rx);
}

static int export_all(struct rig *r, struct nl *nl)
{
	struct pkts p;
	int ret;

	ret = nl_export(nl, r->id, 0, &p);
	pkts_free(&p);
	return ret;
}

static int set_wait(struct rig *r, struct nl *nl, __u32 ms)
{
	return nl_set(nl, r->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS, ms);
}

static int set_deadline(struct rig *r, struct nl *nl, __u32 ms, __u32 action)
{
	nl_set(nl, r->id, TAPMIG_A_HOLD_DEADLINE_ACTION, action);
	nl_set(nl, r->id, TAPMIG_A_HOLD_MAX_FROZEN_MS, ms);
	return 0;
}

/* After @a and @b. */
static void deadline_again(struct rig *r, enum op a, enum op b)
{
	if (a == EXPIRE || a == EXPIRE_DISCARD || b == EXPIRE ||
	    b == EXPIRE_DISCARD)
		set_deadline(r, &r->nl[2], LONG_MS,
			     TAPMIG_DEADLINE_ACTION_THAW);
}

/* Do @op as thread @t; what it answers. */
static int rig_do(struct rig *r, int t, enum op op)
{
	struct tapmig_set limit = {
		.mask = TAPMIG_SET_MAX_PACKETS,
		.max_packets = 1000 + t,
	};
	struct nl *nl = &r->nl[t];
	struct tapmig_info info;
	struct hold_nl h;

	switch (op) {
	case ADD_OWN:
		return add_queue(r, r->hold, 0);
	case ADD_OTHER:
		return add_queue(r, r->other, 0);
	case JOIN:
		return add_queue(r, r->other, TAPMIG_ADD_QUEUE_JOIN);
	case PREPARE:
		return hold_prepare(r->hold, 900);
	case FREEZE:
		return hold_freeze(r->hold);
	case FREEZE_DETACHED:
		return hold_freeze_flags(r->hold, TAPMIG_FREEZE_DETACHED);
	case THAW:
		return hold_thaw(r->hold);
	case THAW_WAIT:
		return hold_thaw_wait(r->hold);
	case DISCARD:
		return hold_discard(r->hold);
	case COMMIT:
		return hold_commit(r->hold, COMMIT_SEQ);
	case COMMIT_BEYOND:
		return hold_commit(r->hold, TAPMIG_SEQ_FIRST + 1000);
	case INFO:
		return hold_info(r->hold, &info);
	case SET_PEER:
		return hold_set_flags(r->hold, PEER, PEER);
	case CLEAR_PEER:
		return hold_set_flags(r->hold, 0, PEER);
	case SET_DETACHED:
		return hold_set_flags(r->hold, DETACHED, DETACHED);
	case CLEAR_DETACHED:
		return hold_set_flags(r->hold, 0, DETACHED);
	case RENEW:
		return hold_renew(r->hold, LONG_MS);
	case LIMIT:
		return hold_set(r->hold, &limit);
	case NL_GET:
		return nl_get(nl, r->id, &h);
	case NL_FREEZE:
		return nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE, r->id);
	case NL_THAW:
		return nl_hold_cmd(nl, TAPMIG_CMD_HOLD_THAW, r->id);
	case NL_DISCARD:
		return nl_hold_cmd(nl, TAPMIG_CMD_HOLD_DISCARD, r->id);
	case NL_COMMIT:
		return nl_commit(nl, r->id, COMMIT_SEQ);
	case NL_SET_PEER:
		return nl_set_flags(nl, r->id, PEER, PEER);
	case WAIT_0:
		return set_wait(r, nl, 0);
	case WAIT_NONE:
		return set_wait(r, nl, ~0U);
	case WAIT_LONG:
		return set_wait(r, nl, LONG_MS);
	case EXPORT:
		return export_all(r, nl);
	case IMPORT:
		return import_one(r, nl);
	case BEGIN:
		return nl_begin(nl, r->id, LONG_MS);
	case SYNC:
		return nl_sync(nl, r->id, IMPORT_SEQ);
	case END:
		return nl_end(nl, r->id);
	case UNREAD:
		return unread_one(r);
	case SEND:
		return send_one(r);
	case RESIZE:
		return set_txqlen(r);
	case CLOSE:
		return close(r->hold) ? -errno : 0;
	case DELETE:
		return delete_nic(r);
	case EXPIRE:
		return set_deadline(r, nl, 1, TAPMIG_DEADLINE_ACTION_THAW);
	case EXPIRE_DISCARD:
		return set_deadline(r, nl, 1,
				    TAPMIG_DEADLINE_ACTION_DISCARD);
	default:
		die("what operation is that?");
	}
}

static void look(struct rig *r, struct seen *s)
{
	__u32 ring = s->ring;
	struct hold_nl h;

	memset(s, 0, sizeof(*s));
	s->gone = nl_get(&r->nl[2], r->id, &h) == -ENOENT;
	s->state = s->gone ? TAPMIG_STATE_ARMED : h.v[TAPMIG_A_HOLD_STATE];
	/* Who reads when it is frozen can be faster than the hold. */
	s->ring = ring;
	if (s->state != TAPMIG_STATE_FROZEN &&
	    s->state != TAPMIG_STATE_THAWING)
		s->ring += ring_read(r);
	if (s->gone)
		return;
	s->flags = h.v[TAPMIG_A_HOLD_FLAGS] & ~TAPMIG_HOLD_FLAGS_ORPHAN;
	s->deadline = h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS];
	s->held = h.v[TAPMIG_A_HOLD_HELD_PACKETS];
	s->pending = h.v[TAPMIG_A_HOLD_PENDING_IMPORTS];
	s->captured = h.v[TAPMIG_A_HOLD_CAPTURED];
	s->delivered = h.v[TAPMIG_A_HOLD_DELIVERED];
	s->discarded = h.v[TAPMIG_A_HOLD_DISCARDED];
	s->imported = h.v[TAPMIG_A_HOLD_IMPORTED];
	s->resent = h.v[TAPMIG_A_HOLD_RESENT];
	s->late = h.v[TAPMIG_A_HOLD_LATE];
}

static void expected(const struct model *m, struct seen *s)
{
	memset(s, 0, sizeof(*s));
	s->ring = m->ring;
	s->gone = m->gone;
	if (s->gone)
		return;
	s->state = m->state;
	s->flags = m->flags | (m->importing ? IMPORTING : 0);
	s->deadline = m->deadline;
	s->held = m->held;
	s->pending = m->imports;
	s->captured = m->captured;
	s->delivered = m->delivered;
	s->discarded = m->discarded;
	s->imported = m->imported;
	s->resent = m->resent;
	s->late = m->late;
}

static void show(const char *what, const struct seen *s, const int *answer)
{
	fprintf(stderr,
		"# %s: %s state %llu flags %llu deadline %llu held %llu imports %llu ring %u; captured %llu delivered %llu discarded %llu imported %llu resent %llu late %llu; answers %d %d\n",
		what, s->gone ? "gone" : "there", s->state, s->flags,
		s->deadline, s->held, s->pending, s->ring, s->captured,
		s->delivered, s->discarded, s->imported, s->resent, s->late,
		answer[0], answer[1]);
}

static void show_way(const struct node *node)
{
	if (node->parent >= 0) {
		show_way(&nodes[node->parent]);
		fprintf(stderr, " %s", ops[node->op].name);
	} else {
		fprintf(stderr, "# role %u, flags %u:", node->m.role,
			node->m.flags);
	}
}

/* Always false. */
static bool failed(const struct node *node)
{
	show_way(node);
	fprintf(stderr, "\n");
	return false;
}

/*
 * A request that has found its hold before that was gone may say that it is no
 * more, or have nothing left to do.
 */
static bool answer_is(enum op op, enum op beside, int want, int got)
{
	if (got == want)
		return true;
	/* Who joins has left his hold to one who adds a queue to that. */
	if (op == ADD_OTHER && beside == JOIN && want == -EEXIST)
		return got == -EBUSY;
	/* That the hold is dead is found before that the device is gone. */
	if (on_macvtap && op == ADD_OWN && want == -ESHUTDOWN)
		return got == -EBUSY;
	if (want != -ENOENT)
		return false;
	switch (op) {
	case NL_GET:
	case NL_DISCARD:
		return !got;
	default:
		return got == -ENODEV;
	}
}

static bool answers_are(const struct outcome *o, enum op a, enum op b,
			const int *answer)
{
	return answer_is(a, b, o->answer[0], answer[0]) &&
	       answer_is(b, a, o->answer[1], answer[1]);
}

/*
 * Wait until one of the outcomes is what there is, and make it the model. A
 * ring that is read is empty after that.
 */
static bool rig_match(struct rig *r, const struct outcomes *out, enum op a,
		      enum op b, const int *answer)
{
	int64_t end = now_ms() + (r->failed ? 500 : WAIT_MS);
	struct seen is = {}, want;
	int i, can = 0;

	for (i = 0; i < out->n; i++)
		can += answers_are(&out->v[i], a, b, answer);
	/* Else what is seen may be on its way to another of them. */
	r->sure = can == 1;
	do {
		look(r, &is);
		for (i = 0; i < out->n; i++) {
			if (!answers_are(&out->v[i], a, b, answer))
				continue;
			expected(&out->v[i].m, &want);
			if (memcmp(&want, &is, sizeof(is)) || r->twice)
				continue;
			memcpy(&r->m, &out->v[i].m, sizeof(r->m));
			r->m.ring = 0;
			return true;
		}
		poll(NULL, 0, 1);
	} while (now_ms() < end);
	r->failed++;
	if (r->twice)
		fprintf(stderr, "# a frame came twice\n");
	show("is", &is, answer);
	for (i = 0; i < out->n; i++) {
		expected(&out->v[i].m, &want);
		show("can be", &want, out->v[i].answer);
	}
	return false;
}

/* One operation alone, to the kernel and to the model. */
static bool rig_one(struct rig *r, enum op op)
{
	static struct outcomes out;
	int answer[2] = {};

	outcomes_of(&r->m, op, OPS, &out);
	if (op == CLOSE && !r->m.owners)
		return true;
	answer[0] = rig_do(r, 0, op);
	if (rig_match(r, &out, op, OPS, answer)) {
		deadline_again(r, op, OPS);
		return true;
	}
	fprintf(stderr, "# after %s\n", ops[op].name);
	return false;
}

/* Bring a combination about, with packets wherever there can be some. */
static bool rig_go(struct rig *r, const struct node *node)
{
	enum op way[32];
	int i, depth = node->depth;
	const struct node *p = node;

	for (i = depth; i > 0; i--) {
		way[i - 1] = p->op;
		p = &nodes[p->parent];
	}
	rig_open(r, &p->m);
	for (i = 0; i < depth; i++) {
		/* What is held when it dies cannot be sent afterwards. */
		if (r->m.state == TAPMIG_STATE_FROZEN && !r->m.held &&
		    !rig_one(r, SEND))
			return false;
		if (!rig_one(r, way[i]))
			return false;
	}
	if (!r->m.no_dev)
		for (i = 0; i < 3; i++)
			if (!rig_one(r, SEND))
				return false;
	return !r->m.importing || rig_one(r, IMPORT);
}

/* Can the rig be used for the next operation in the same combination? */
static bool rig_same(const struct rig *r, const struct node *node,
		     const struct model *before)
{
	return model_key(&r->m) == node->key && r->m.held >= before->held &&
	       r->m.imports >= before->imports && r->m.seen == before->seen &&
	       r->m.deadline == before->deadline &&
	       r->m.closed == before->closed;
}

FIXTURE(states) {
	struct rig *r;
};

FIXTURE_VARIANT(states) {
	enum nic_kind kind;
	/* So many times fewer operations, and pairs. */
	int fewer;
};

FIXTURE_VARIANT_ADD(states, tap) { .kind = TAP, .fewer = 1 };

FIXTURE_VARIANT_ADD(states, macvtap) { .kind = MACVTAP, .fewer = 24 };

FIXTURE_SETUP(states)
{
	int i;

	netns_new();
	self->r = calloc(1, sizeof(*self->r));
	ASSERT_NE(NULL, self->r);
	self->r->kind = variant->kind;
	on_macvtap = variant->kind == MACVTAP;
	self->r->hold = -1;
	self->r->other = -1;
	self->r->got = calloc(1, MAX_IDS);
	ASSERT_NE(NULL, self->r->got);
	for (i = 0; i < 3; i++)
		nl_open(&self->r->nl[i]);
	find_nodes();
}

FIXTURE_TEARDOWN(states)
{
}

/* Does nothing end it but another operation? */
static bool would_wait(const struct model *m)
{
	struct model then;

	memcpy(&then, m, sizeof(then));
	if (then.state == TAPMIG_STATE_FROZEN)
		model_apply(&then, THAW);
	return then.state == TAPMIG_STATE_THAWING && !then.due;
}

/* Which of the operations or pairs are tried, if not all. */
static long any_of(long step)
{
	long seed = env_count("TAPMIG_STATES_SEED", now_ms() + 1);

	fprintf(stderr, "# TAPMIG_STATES_SEED=%ld\n", seed);
	return seed % step;
}

TEST_F_TIMEOUT(states, every_operation_in_every_state, 3600)
{
	/* Only one of so many operations, in each combination others. */
	long step = env_count("TAPMIG_STATES_STEP", 3) * variant->fewer;
	long turn = any_of(step), done = 0;
	struct rig *r = self->r;
	struct model before;
	bool ready, ok;
	enum op op;
	int i;

	for (i = 0; i < nr_nodes; i++) {
		if (nodes[i].m.gone || nodes[i].m.taken || nodes[i].m.joined)
			continue;
		ready = false;
		for (op = 0; op < OPS; op++) {
			if (!op_possible(&nodes[i].m, op) || turn++ % step)
				continue;
			/* See below. */
			if (op == THAW_WAIT && would_wait(&nodes[i].m))
				continue;
			ok = ready || rig_go(r, &nodes[i]);
			memcpy(&before, &r->m, sizeof(before));
			ok = ok && rig_one(r, op);
			ASSERT_TRUE(ok || failed(&nodes[i]))
				TH_LOG(": %s", ops[op].name);
			ready = rig_same(r, &nodes[i], &before);
			done++;
		}
	}
	rig_close(r);
	EXPECT_LT(0, done);
	TH_LOG("%ld operations in %d combinations", done, nr_nodes);
}

/* --- two at once --------------------------------------------------------- */

static struct racer {
	struct rig *r;
	int t;
	pid_t tid;
	enum op op;
	int answer;
	/* Not at once, but after so many us. */
	useconds_t late;
	sem_t go;
	bool begun;
	bool done;
} racers[2];
static sem_t one_done;
static int ready;

static void *racer(void *arg)
{
	struct racer *me = arg;
	int turn;

	me->tid = gettid();
	for (turn = 1; ; turn++) {
		sem_wait(&me->go);
		/* On the mark. */
		__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&ready, __ATOMIC_SEQ_CST) < 2 * turn)
			sched_yield();
		if (me->late)
			usleep(me->late);
		__atomic_store_n(&me->begun, true, __ATOMIC_SEQ_CST);
		me->answer = rig_do(me->r, me->t, me->op);
		__atomic_store_n(&me->done, true, __ATOMIC_SEQ_CST);
		sem_post(&one_done);
	}
	return NULL;
}

static void racers_start(struct rig *r)
{
	pthread_t thread;
	int t;

	sem_init(&one_done, 0, 0);
	for (t = 0; t < 2; t++) {
		racers[t].r = r;
		racers[t].t = t;
		sem_init(&racers[t].go, 0, 0);
		if (pthread_create(&thread, NULL, racer, &racers[t]))
			die("cannot start a thread");
	}
}

/*
 * Who has not ended sleeps until the thaw has, which it never will by itself:
 * end it.
 */
static void unblock(struct rig *r)
{
	struct hold_nl h;
	int t;

	for (t = 0; t < 2; t++)
		if (!__atomic_load_n(&racers[t].done, __ATOMIC_SEQ_CST) &&
		    (racers[t].op != THAW_WAIT ||
		     !__atomic_load_n(&racers[t].begun, __ATOMIC_SEQ_CST) ||
		     !thread_sleeps(racers[t].tid)))
			return;
	if (!nl_get(&r->nl[2], r->id, &h) &&
	    h.v[TAPMIG_A_HOLD_STATE] == TAPMIG_STATE_THAWING)
		set_wait(r, &r->nl[2], 0);
}

/* Have both do theirs. */
static void race(struct rig *r, enum op a, enum op b, int *answer)
{
	int64_t end = now_ms() + WAIT_MS;
	int t, left = 2;

	for (t = 0; t < 2; t++) {
		racers[t].op = t ? b : a;
		racers[t].begun = false;
		racers[t].done = false;
		racers[t].late = 0;
	}
	/* A deadline of 1 ms passes some ticks later. */
	if (ops[b].flags & DEADLINE)
		racers[0].late = rand_r(&r->seed) % 10000;
	for (t = 0; t < 2; t++)
		sem_post(&racers[t].go);
	while (left) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 2000000;
		if (ts.tv_nsec >= 1000000000) {
			ts.tv_nsec -= 1000000000;
			ts.tv_sec++;
		}
		if (!sem_timedwait(&one_done, &ts)) {
			left--;
			continue;
		}
		if (now_ms() > end)
			die("%s and %s do not end", ops[a].name, ops[b].name);
		if (a == THAW_WAIT || b == THAW_WAIT)
			unblock(r);
	}
	for (t = 0; t < 2; t++)
		answer[t] = racers[t].answer;
}

/*
 * The combinations in which pairs are tried: those that differ in what matters
 * to others. A deadline that has passed does not, nor does it if two flags say
 * that a hold outlives its owner.
 */
static bool for_pairs(const struct node *node)
{
	const struct model *m = &node->m;

	return !m->gone && !m->taken && !m->joined && !(m->flags & DUE) &&
	       m->wait == LONG &&
	       (m->flags & (PINNED | DETACHED)) != (PINNED | DETACHED) &&
	       (m->role == TAPMIG_ROLE_STANDBY || !(m->flags & PEER));
}

TEST_F_TIMEOUT(states, every_two_operations_at_once, 3600)
{
	/* Only one of so many pairs, in each combination others. */
	long step = env_count("TAPMIG_PAIRS_STEP", 31) * variant->fewer;
	long done = 0, turn = any_of(step), combinations = 0;
	static struct outcomes out;
	struct rig *r = self->r;
	struct model before;
	int answer[2] = {};
	bool again, ok;
	enum op a, b;
	int i;

	r->seed = turn;
	racers_start(r);
	for (i = 0; i < nr_nodes; i++) {
		if (!for_pairs(&nodes[i]))
			continue;
		combinations++;
		again = false;
		for (a = 0; a < OPS; a++) {
			for (b = a; b < OPS; b++) {
				if ((ops[a].flags & ops[b].flags & DEADLINE) ||
				    !op_possible(&nodes[i].m, a) ||
				    !op_possible(&nodes[i].m, b) ||
				    turn++ % step)
					continue;
				ok = again || rig_go(r, &nodes[i]);
				memcpy(&before, &r->m, sizeof(before));
				if (ok) {
					outcomes_of(&r->m, a, b, &out);
					race(r, a, b, answer);
					ok = rig_match(r, &out, a, b,
						       answer);
					deadline_again(r, a, b);
				}
				EXPECT_TRUE(ok || failed(&nodes[i]))
					TH_LOG(": %s and %s", ops[a].name,
					       ops[b].name);
				ASSERT_GT(30, r->failed);
				again = ok && r->sure &&
					rig_same(r, &nodes[i], &before);
				done++;
			}
		}
	}
	rig_close(r);
	EXPECT_LT(0, done);
	TH_LOG("%ld pairs in %ld combinations", done, combinations);
}

TEST_HARNESS_MAIN
