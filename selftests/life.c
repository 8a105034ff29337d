// SPDX-License-Identifier: GPL-2.0-only
/*
 * Lives and deaths: of owners, devices, namespaces, queues and the module.
 */
#include "lib.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "harness.h"

FIXTURE(life) {
	struct nic n;
	struct nl nl;
	int tx;
};

FIXTURE_VARIANT(life) {
	enum nic_kind kind;
};

FIXTURE_VARIANT_ADD(life, tap) { .kind = TAP };
FIXTURE_VARIANT_ADD(life, tun) { .kind = TUN };
FIXTURE_VARIANT_ADD(life, macvtap) { .kind = MACVTAP };

FIXTURE_SETUP(life)
{
	netns_new();
	nic_pin(variant->kind);
	nic_open(&self->n, variant->kind, 12, 1);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	nl_open(&self->nl);
	nl_subscribe(&self->nl);
}

FIXTURE_TEARDOWN(life)
{
}

/* A process that owns a hold, and nothing else of it exists here. */
struct owner {
	pid_t pid;
	int in;
	int out;
};

/*
 * Start a process that holds the queue, freezes it with @flags and then waits.
 * With @vmm it alone has the queue.
 */
static struct owner owner_start(struct nic *n, struct tapmig_create *c,
				__u32 flags, bool vmm)
{
	int to[2], from[2];
	struct owner o;
	char go;

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe");
	o.pid = fork();
	if (o.pid < 0)
		die("fork");
	if (!o.pid) {
		int hold = hold_new(n, c);

		CHECK(0, hold_freeze_flags(hold, flags));
		CHECK(sizeof(c->id), write(from[1], &c->id, sizeof(c->id)));
		CHECK(1, read(to[0], &go, 1));
		_exit(0);
	}
	close(to[0]);
	close(from[1]);
	if (vmm)
		nic_close(n);
	if (read(from[0], &c->id, sizeof(c->id)) != sizeof(c->id))
		die("the owner ended");
	o.in = to[1];
	o.out = from[0];
	return o;
}

static void owner_kill(struct owner *o)
{
	int st;

	kill(o->pid, SIGKILL);
	waitpid(o->pid, &st, 0);
	close(o->in);
	close(o->out);
}

TEST_F(life, owner_killed_thaws)
{
	struct tapmig_create c = CREATE();
	struct owner o = owner_start(&self->n, &c, 0, false);
	struct tally t = {};

	tx_flow(&self->n, self->tx, 0, 0, 400);
	ASSERT_TRUE(busywait(({
		struct hold_nl h;

		nl_get(&self->nl, c.id, &h);
		h.v[TAPMIG_A_HOLD_CAPTURED] == 400;
	})));
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	owner_kill(&o);
	ASSERT_TRUE(nic_wait(&self->n, &t, 400));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_DEAD, NULL));
	EXPECT_EQ(0, nl_dump(&self->nl, NULL, 0));
	/* The queue is free, and normal. */
	tx_flow(&self->n, self->tx, 0, 400, 100);
	ASSERT_TRUE(nic_wait(&self->n, &t, 500));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(0, hold_add(hold_create(&c), self->n.fd[0], 0));
}

TEST_F(life, a_detached_hold_is_exported_after_owner_and_vmm_died)
{
	struct tapmig_create c = CREATE(.label = "left");
	struct owner o;
	struct hold_nl h;
	struct pkts p;
	__u32 flow;
	__u64 seq;
	int i;

	o = owner_start(&self->n, &c, TAPMIG_FREEZE_DETACHED, true);
	tx_flow(&self->n, self->tx, 0, 0, 400);
	ASSERT_TRUE(busywait(!nl_get(&self->nl, c.id, &h) &&
			     h.v[TAPMIG_A_HOLD_CAPTURED] == 400));
	owner_kill(&o);
	/* The device is free for its next user, or gone. */
	if (variant->kind == MACVTAP) {
		ASSERT_EQ(0, link_del(self->n.name));
	}
	ASSERT_TRUE(busywait(!if_nametoindex(self->n.name)));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_DETACHED,
		  h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_DETACHED);
	EXPECT_STREQ("left", h.label);
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	ASSERT_EQ(0, nl_export(&self->nl, c.id, 0, &p));
	ASSERT_EQ(400, p.n);
	for (i = 0; i < 400; i++) {
		ASSERT_TRUE(frame_parse(&self->n, p.v[i].data, p.v[i].len,
					&flow, &seq));
		ASSERT_EQ(i, seq);
	}
	ASSERT_EQ(0, nl_commit(&self->nl, c.id, TAPMIG_SEQ_FIRST + 199));
	ASSERT_EQ(0, nl_export(&self->nl, c.id, 0, &p));
	ASSERT_EQ(200, p.n);
	/* Released. */
	ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD, c.id));
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
}

TEST_F(life, a_detached_hold_ends_at_its_deadline)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 60000);
	struct nl events;
	struct owner o;

	o = owner_start(&self->n, &c, TAPMIG_FREEZE_DETACHED, true);
	owner_kill(&o);
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_DEAD, NULL));
	/* A request would take the events that come before its answer. */
	nl_open(&events);
	nl_subscribe(&events);
	ASSERT_EQ(0, nl_set(&self->nl, c.id, TAPMIG_A_HOLD_MAX_FROZEN_MS, 1));
	ASSERT_TRUE(nl_wait_state(&events, c.id, TAPMIG_STATE_DEAD, NULL));
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
	EXPECT_EQ(0, nl_dump(&self->nl, NULL, 0));
}

/* Precopy may take hours, whatever its owner thought of meanwhile. */
TEST_F(life, a_standby_that_is_detached_no_more_has_no_deadline)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY);
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;

	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_DETACHED,
				    TAPMIG_HOLD_FLAGS_DETACHED));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	ASSERT_EQ(0, hold_set_flags(hold, 0, TAPMIG_HOLD_FLAGS_DETACHED));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_FALSE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	/* That of an import stays. */
	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_DETACHED,
				    TAPMIG_HOLD_FLAGS_DETACHED));
	ASSERT_EQ(0, nl_begin(&self->nl, c.id, 0));
	ASSERT_EQ(0, hold_set_flags(hold, 0, TAPMIG_HOLD_FLAGS_DETACHED));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
}

/* Migrating back at once: the same queue, the same name. */
TEST_F(life, a_queue_is_used_again_at_once_by_a_new_owner)
{
	struct tapmig_create c = CREATE(.label = "old"), d = CREATE();
	struct hold_nl h;
	struct tally t = {};
	struct pkts p;
	int hold, k;

	for (k = 0; k < 5; k++) {
		c.id = 0;
		d.id = 0;
		hold = hold_new(&self->n, &c);
		ASSERT_EQ(0, hold_freeze_flags(hold, TAPMIG_FREEZE_DETACHED));
		tx_flow(&self->n, self->tx, 0, 0, 100);
		ASSERT_TRUE(hold_wait_captured(hold, 100));
		close(hold);
		hold = hold_new(&self->n, &d);
		ASSERT_EQ(0, hold_freeze(hold));
		memset(&t, 0, sizeof(t));
		tx_flow(&self->n, self->tx, 0, 0, 50);
		ASSERT_TRUE(hold_wait_captured(hold, 50));
		/* Both have their own. */
		ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
		EXPECT_EQ(100, h.v[TAPMIG_A_HOLD_HELD_PACKETS]);
		ASSERT_EQ(0, nl_export(&self->nl, c.id, 0, &p));
		EXPECT_EQ(100, p.n);
		pkts_free(&p);
		ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD,
					 c.id));
		ASSERT_EQ(0, hold_thaw_wait(hold));
		ASSERT_TRUE(nic_wait(&self->n, &t, 50));
		EXPECT_EQ(0, nic_drain(&self->n, &t));
		EXPECT_TRUE(tally_clean(&t));
		close(hold);
	}
}

TEST_F(life, a_detached_hold_that_is_closed_takes_what_is_in_its_queues)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;
	struct tally t = {};

	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_DETACHED,
				    TAPMIG_HOLD_FLAGS_DETACHED));
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	close(hold);
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_EQ(100, h.v[TAPMIG_A_HOLD_HELD_PACKETS]);
	/* The queue is left, its frames are its reader's. */
	tx_flow(&self->n, self->tx, 1, 0, 10);
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_EQ(10, t.next[1]);
	ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD, c.id));
}

TEST_F(life, a_thaw_takes_detached_back)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);

	ASSERT_EQ(0, hold_freeze_flags(hold, TAPMIG_FREEZE_DETACHED));
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_DETACHED, info_of(hold).flags);
	ASSERT_EQ(0, hold_thaw_wait(hold));
	EXPECT_EQ(0, info_of(hold).flags);
	close(hold);
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
}

TEST_F(life, a_pinned_hold_stays_and_keeps_the_device)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED);
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;
	struct tally t = {};

	ASSERT_EQ(0, hold_freeze(hold));
	close(hold);
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(busywait(!nl_get(&self->nl, c.id, &h) &&
			     h.v[TAPMIG_A_HOLD_HELD_PACKETS] == 100));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, h.v[TAPMIG_A_HOLD_STATE]);
	EXPECT_TRUE(h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_PINNED);
	EXPECT_FALSE(h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_ORPHAN);
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_THAW, c.id));
	ASSERT_TRUE(nic_wait(&self->n, &t, 100));
	EXPECT_TRUE(tally_clean(&t));
	/* Thawed, and without an owner: gone. */
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
}

TEST_F(life, a_pinned_hold_without_its_vmm_is_an_orphan_and_can_be_ended)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED);
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;

	ASSERT_EQ(0, hold_freeze(hold));
	close(hold);
	nic_close(&self->n);
	EXPECT_NE(0, if_nametoindex(self->n.name));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_TRUE(h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_ORPHAN);
	ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD, c.id));
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
	if (variant->kind != MACVTAP) {
		ASSERT_TRUE(busywait(!if_nametoindex(self->n.name)));
	}
}

struct asker {
	struct nl nl;
	__u32 id;
	int found;
	int bad;
	int err;
};

static void *ask(void *arg)
{
	struct asker *l = arg;
	struct hold_nl h;

	while (!(l->err = nl_get(&l->nl, l->id, &h))) {
		l->bad += !h.has[TAPMIG_A_HOLD_MAX_PACKETS];
		__atomic_add_fetch(&l->found, 1, __ATOMIC_SEQ_CST);
	}
	return NULL;
}

/* Its packets are freed meanwhile: whoever asks has to wait, and finds none. */
TEST_F(life, a_hold_that_goes_while_it_is_asked_for_is_not_found)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED);
	int hold = hold_new(&self->n, &c);
	struct asker l = { .id = c.id };
	pthread_t asker;

	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 10000);
	ASSERT_TRUE(hold_wait_captured(hold, 10000));
	close(hold);
	nl_open(&l.nl);
	ASSERT_EQ(0, pthread_create(&asker, NULL, ask, &l));
	EXPECT_TRUE(busywait(__atomic_load_n(&l.found, __ATOMIC_SEQ_CST)));
	EXPECT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD, c.id));
	ASSERT_EQ(0, pthread_join(asker, NULL));
	EXPECT_EQ(-ENOENT, l.err);
	EXPECT_EQ(0, l.bad);
	nl_close(&l.nl);
}

TEST_F(life, a_pinned_hold_ends_at_its_deadline)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED,
					.max_frozen_ms = 60000);
	int hold = hold_new(&self->n, &c);
	struct tally t = {};

	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(hold_wait_captured(hold, 10));
	close(hold);
	ASSERT_EQ(0, nl_set(&self->nl, c.id, TAPMIG_A_HOLD_MAX_FROZEN_MS, 1));
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
}

TEST_F(life, without_a_hold_fd_the_tap_can_be_closed_and_opened)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);

	ASSERT_EQ(0, hold_freeze(hold));
	nic_close(&self->n);
	close(hold);
	if (variant->kind != MACVTAP) {
		ASSERT_TRUE(busywait(!if_nametoindex(self->n.name)));
		nic_open(&self->n, variant->kind, 12, 1);
	} else {
		self->n.fd[0] = nic_attach(&self->n);
	}
	c.id = 0;
	hold = hold_new(&self->n, &c);
	EXPECT_EQ(0, hold_freeze(hold));
}

/* --- the device goes away ----------------------------------------------- */

struct reader {
	pthread_t thread;
	int fd;
	pid_t tid;
	ssize_t got;
};

static void *blocked_reader(void *arg)
{
	struct reader *r = arg;
	char buf[2048];

	__atomic_store_n(&r->tid, gettid(), __ATOMIC_RELEASE);
	r->got = read(r->fd, buf, sizeof(buf));
	return NULL;
}

static void reader_start(struct reader *r, int fd)
{
	fcntl(fd, F_SETFL, 0);
	r->fd = fd;
	r->tid = 0;
	if (pthread_create(&r->thread, NULL, blocked_reader, r))
		die("no thread");
	if (!busywait(__atomic_load_n(&r->tid, __ATOMIC_ACQUIRE) &&
		      thread_sleeps(r->tid)))
		die("the reader does not block");
}

TEST_F(life, a_device_deleted_with_a_blocked_reader_does_not_hang)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);
	struct reader r = { .got = 1 };
	struct tapmig_info i;
	struct pkts p;

	if (variant->kind == MACVTAP)
		SKIP(return, "macvtap wakes nobody, with and without a hold");
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	reader_start(&r, self->n.fd[0]);
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	EXPECT_EQ(-1, r.got);
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_DEAD, NULL));
	/* Still exportable. */
	i = info_of(hold);
	EXPECT_EQ(100, i.held_packets);
	ASSERT_EQ(0, nl_export(&self->nl, c.id, 0, &p));
	EXPECT_EQ(100, p.n);
	EXPECT_EQ(0, hold_commit(hold, TAPMIG_SEQ_FIRST + 49));
	EXPECT_EQ(50, info_of(hold).held_packets);
	/* Never thawed into anything again. */
	EXPECT_EQ(-ENODEV, hold_thaw(hold));
}

TEST_F(life, a_device_deleted_makes_the_hold_dead_and_exportable)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;
	struct pkts p;

	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_EQ(0, h.v[TAPMIG_A_HOLD_IFINDEX]);
	ASSERT_EQ(0, nl_export(&self->nl, c.id, 0, &p));
	EXPECT_EQ(100, p.n);
	close(hold);
	ASSERT_TRUE(busywait(nl_get(&self->nl, c.id, NULL) == -ENOENT));
}

TEST_F(life, an_armed_holds_device_can_be_deleted)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c);
	struct reader r = { .got = 1 };

	if (variant->kind != MACVTAP)
		reader_start(&r, self->n.fd[0]);
	ASSERT_EQ(0, link_del(self->n.name));
	if (variant->kind != MACVTAP)
		pthread_join(r.thread, NULL);
	EXPECT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
}

TEST_F(life, a_file_attached_to_another_device_stays_dead_for_the_hold)
{
	struct tapmig_create c = CREATE();
	int hold = hold_new(&self->n, &c), old = self->n.fd[0];
	struct tally t = {};

	if (variant->kind == MACVTAP)
		SKIP(return, "a macvtap file has one device only");
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
	/* The same file, another device. */
	nic_open_named(&self->n, "other", variant->kind, 12, 1);
	close(self->n.fd[0]);
	self->n.fd[0] = old;
	ASSERT_TRUE(busywait(!if_nametoindex("other")));
	EXPECT_EQ(-ENODEV, hold_thaw(hold));
	EXPECT_EQ(-ENODEV, hold_freeze(hold));
	EXPECT_EQ(TAPMIG_STATE_DEAD, info_of(hold).state);
	EXPECT_EQ(100, info_of(hold).held_packets);
	close(hold);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
}

/*
 * A tun file keeps the namespace alive in which it was opened, so that the
 * device is moved to another one, which nothing keeps.
 */
static void namespace_dies(struct __test_metadata *_metadata,
			   FIXTURE_DATA(life) *self, bool close_hold)
{
	struct tapmig_create c = CREATE();
	struct reader r = { .got = 1 };
	int home = netns_fd(), other, hold, q;

	netns_new();
	other = netns_fd();
	netns_enter(home);
	close(self->tx);
	link_netns(self->n.name, other);
	netns_enter(other);
	link_up(self->n.name);
	hold = hold_create(&c);
	ASSERT_LE(0, hold);
	self->tx = tx_open(if_nametoindex(self->n.tx_name), TX_BYPASS);
	for (q = 0; q < self->n.queues; q++) {
		ASSERT_EQ(0, hold_add(hold, self->n.fd[q], q));
	}
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 1);
	ASSERT_TRUE(hold_wait_captured(hold, 1));
	close(self->tx);
	netns_enter(home);
	reader_start(&r, self->n.fd[0]);
	EXPECT_EQ(1, info_of(hold).held_packets);
	/* If the hold keeps the namespace, its deadline ends that. */
	ASSERT_EQ(0, hold_renew(hold, 1000));
	/* The last that keeps it. */
	close(other);
	if (close_hold)
		close(hold);
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	/* By a thaw, or as the device was gone. */
	EXPECT_TRUE(r.got == -1 || r.got == FRAME_LEN + self->n.hdr);
	if (!close_hold && r.got == -1) {
		ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
		EXPECT_EQ(1, info_of(hold).held_packets);
	}
}

TEST_F(life, a_namespace_deleted_with_a_blocked_reader_does_not_hang)
{
	if (variant->kind == MACVTAP)
		SKIP(return, "macvtap wakes nobody, with and without a hold");
	namespace_dies(_metadata, self, false);
}

TEST_F(life, a_hold_whose_namespace_is_left_ends_and_hangs_nobody)
{
	if (variant->kind == MACVTAP)
		SKIP(return, "macvtap wakes nobody, with and without a hold");
	namespace_dies(_metadata, self, true);
}

/* --- the queue changes while it is frozen ------------------------------- */

FIXTURE(queues) {
	struct nic n;
	int tx;
	int hold;
};

FIXTURE_SETUP(queues)
{
	netns_new();
	nic_open(&self->n, TAP, 12, 4);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	self->hold = hold_new(&self->n, NULL);
}

FIXTURE_TEARDOWN(queues)
{
}

#define FLOWS	16

static void send_flows(struct nic *n, int tx, __u64 from, int count)
{
	int i, f;

	for (i = 0; i < count; i++)
		for (f = 0; f < FLOWS; f++)
			tx_all(n, tx, f, from + i, 1);
}

/*
 * When the number of queues has changed, a flow may have changed its queue
 * also without us: each frame must arrive once, and in order within a queue.
 */
struct seen {
	__u8 count[FLOWS][4096];
	__u64 last[MAX_NIC_QUEUES][FLOWS];
	int frames;
	int disorder;
};

static void look(struct nic *n, struct seen *s)
{
	static struct rx rx;
	int q;

	for (q = 0; q < n->queues; q++) {
		while (n->fd[q] >= 0 && nic_read(n, q, &rx) > 0) {
			if (!rx.ours || rx.flow >= FLOWS || rx.seq >= 4096)
				continue;
			s->frames++;
			s->count[rx.flow][rx.seq]++;
			if (rx.seq + 1 <= s->last[q][rx.flow])
				s->disorder++;
			s->last[q][rx.flow] = rx.seq + 1;
		}
	}
}

static void each_once(struct __test_metadata *_metadata, struct seen *s,
		      int count)
{
	int f, i, bad = 0;

	for (f = 0; f < FLOWS; f++)
		for (i = 0; i < count; i++)
			bad += s->count[f][i] != 1;
	EXPECT_EQ(0, bad);
	EXPECT_EQ(count * FLOWS, s->frames);
	EXPECT_EQ(0, s->disorder);
}

/* Frames of each flow; fewer where they take long. */
static int per_flow(void)
{
	return env_count("TAPMIG_FLOW_FRAMES", 500);
}

TEST_F(queues, a_queue_detached_while_frozen_leaves_its_frames_to_others)
{
	int part = per_flow() / 25;
	static struct seen s;

	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, 2 * part);
	ASSERT_TRUE(hold_wait_captured(self->hold, 2 * part * FLOWS));
	nic_set_queue(self->n.fd[2], false);
	send_flows(&self->n, self->tx, 2 * part, part);
	ASSERT_TRUE(hold_wait_captured(self->hold, 3 * part * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	look(&self->n, &s);
	each_once(_metadata, &s, 3 * part);
	EXPECT_EQ(0, info_of(self->hold).lost);
	EXPECT_NE(TAPMIG_STATE_DEAD, info_of(self->hold).state);
}

TEST_F(queues, a_queue_attached_again_while_frozen_loses_nothing)
{
	int part = per_flow() / 25;
	static struct seen s;

	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, 2 * part);
	ASSERT_TRUE(hold_wait_captured(self->hold, 2 * part * FLOWS));
	nic_set_queue(self->n.fd[0], false);
	nic_set_queue(self->n.fd[3], false);
	send_flows(&self->n, self->tx, 2 * part, part);
	nic_set_queue(self->n.fd[3], true);
	send_flows(&self->n, self->tx, 3 * part, part);
	nic_set_queue(self->n.fd[0], true);
	send_flows(&self->n, self->tx, 4 * part, part);
	ASSERT_TRUE(hold_wait_captured(self->hold, 5 * part * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	look(&self->n, &s);
	each_once(_metadata, &s, 5 * part);
}

TEST_F(queues, txqueuelen_changed_while_frozen_loses_nothing)
{
	int k, part = per_flow() / 25;
	struct tally t = {};

	ASSERT_EQ(0, hold_freeze(self->hold));
	for (k = 0; k < 10; k++) {
		link_txqlen(self->n.name, k & 1 ? 1000 : 50);
		send_flows(&self->n, self->tx, part * k, part);
	}
	ASSERT_TRUE(hold_wait_captured(self->hold, 10 * part * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 10 * part * FLOWS));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(queues, txqueuelen_changed_during_the_backlog_loses_nothing)
{
	struct tally t = {};
	static struct rx rx;
	int k, n = per_flow();

	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, n);
	ASSERT_TRUE(hold_wait_captured(self->hold, n * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	for (k = 0; k < 20; k++) {
		link_txqlen(self->n.name, k & 1 ? 1000 : 100 + k);
		if (nic_read(&self->n, k & 3, &rx) > 0)
			tally_add(&t, rx.flow, rx.seq);
	}
	ASSERT_TRUE(nic_wait(&self->n, &t, n * FLOWS))
		TH_LOG("got %llu, gaps %llu, lost %llu", t.got, t.gaps,
		       info_of(self->hold).lost);
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu repeats %llu, lost %llu", t.gaps, t.repeats,
		       info_of(self->hold).lost);
	EXPECT_EQ(0, info_of(self->hold).lost);
}

/* Detaching a queue purges its ring: that much is lost also without us. */
TEST_F(queues, a_queue_detached_during_the_backlog_harms_no_other)
{
	static struct seen s;
	int f, i, q, dead = 0, n = per_flow();
	static struct rx rx;
	int at[FLOWS];

	send_flows(&self->n, self->tx, 0, 1);
	for (q = 0; q < 4; q++) {
		while (nic_read(&self->n, q, &rx) > 0)
			at[rx.flow] = q;
	}
	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, n);
	ASSERT_TRUE(hold_wait_captured(self->hold, n * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	nic_set_queue(self->n.fd[1], false);
	nic_set_queue(self->n.fd[1], true);
	look(&self->n, &s);
	EXPECT_EQ(0, s.disorder);
	for (f = 0; f < FLOWS; f++) {
		for (i = 0; i < n; i++) {
			if (at[f] == 1)
				dead++;
			else
				ASSERT_EQ(1, s.count[f][i]);
		}
	}
	EXPECT_EQ(n * FLOWS - dead, s.frames);
	/* And it works on. */
	memset(&s, 0, sizeof(s));
	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, 20);
	ASSERT_TRUE(hold_wait_captured(self->hold, (n + 20) * FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	look(&self->n, &s);
	each_once(_metadata, &s, 20);
}

TEST_F(queues, a_queue_closed_by_its_vmm_is_still_held)
{
	static struct seen s;

	ASSERT_EQ(0, hold_freeze(self->hold));
	send_flows(&self->n, self->tx, 0, 20);
	close(self->n.fd[3]);
	self->n.fd[3] = -1;
	send_flows(&self->n, self->tx, 20, 20);
	ASSERT_TRUE(hold_wait_captured(self->hold, 40 * FLOWS));
	ASSERT_EQ(40 * FLOWS, info_of(self->hold).held_packets);
	look(&self->n, &s);
	EXPECT_EQ(0, s.frames);
}

TEST_F(life, a_discard_during_a_change_of_txqueuelen_loses_nothing)
{
	struct slow_resize r;
	__u64 sent = 0;
	struct tally t = {};
	int hold, seq = 0, k, judged = 0;

	if (variant->kind == MACVTAP)
		SKIP(return, "its sender is not told that a ring is full");
	hold = hold_new(&self->n, NULL);
	ASSERT_TRUE(slow_resize_open(&r, &self->n, hold));
	for (k = 0; k < 60 && judged < 3; k++) {
		link_txqlen(self->n.name, 1000);
		ASSERT_TRUE(slow_resize_begin(&r, 20));
		while (slow_resize_pending(&r)) {
			nic_drain(&self->n, &t);
			sent += tx_flow(&self->n, self->tx, 0, seq++, 1);
		}
		judged += slow_resize_waits(&r);
		ASSERT_EQ(0, hold_discard(hold));
		sent += tx_flow(&self->n, self->tx, 0, seq, 100);
		seq += 100;
		slow_resize_end(&r);
		nic_drain(&self->n, &t);
	}
	TH_LOG("%d of %d in time", judged, k);
	EXPECT_LT(0, judged);
	EXPECT_EQ(0, info_of(hold).dropped + t.repeats);
	EXPECT_EQ(sent, t.got + info_of(hold).discarded);
	slow_resize_close(&r);
}

/* A stand-by keeps only the newest; but not when it is frozen no more. */
TEST_F(life, a_change_of_txqueuelen_after_a_discard_trims_nothing)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY);
	struct slow_resize r;
	struct tally t = {};
	int hold, k, judged = 0;
	__u64 sent = 0;

	if (variant->kind == MACVTAP)
		SKIP(return, "its sender is not told that a ring is full");
	link_txqlen(self->n.name, 20);
	hold = hold_new(&self->n, &c);
	ASSERT_TRUE(slow_resize_open(&r, &self->n, hold));
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, hold_discard(hold));
	for (k = 0; k < 60 && judged < 3; k++) {
		link_txqlen(self->n.name, 1000);
		ASSERT_TRUE(slow_resize_begin(&r, 900));
		while (slow_resize_pending(&r)) {
			nic_drain(&self->n, &t);
			sent += tx_flow(&self->n, self->tx, 0, sent, 1);
		}
		tx_all(&self->n, self->tx, 0, sent, 200);
		sent += 200;
		judged += slow_resize_waits(&r);
		slow_resize_end(&r);
		ASSERT_TRUE(nic_wait(&self->n, &t, sent));
	}
	TH_LOG("%d of %d in time", judged, k);
	EXPECT_LT(0, judged);
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(0, info_of(hold).trimmed);
	slow_resize_close(&r);
}

struct flood {
	struct nic *n;
	int tx;
	int seq;
	int stop;
};

static void *flood(void *arg)
{
	struct flood *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_SEQ_CST))
		send_flows(f->n, f->tx, f->seq++, 1);
	return NULL;
}

/*
 * Many are in the rings when the change begins, so that there is time between
 * the first and the last queue that is frozen.
 */
TEST_F(queues, a_freeze_during_a_change_of_txqueuelen_keeps_the_order)
{
	struct flood f = { .n = &self->n, .tx = self->tx };
	int k, n = per_flow() / 2;
	struct tapmig_info i;
	struct slow_resize r;
	struct tally t = {};
	pthread_t flooder;
	struct rx *rx;
	struct pkts p;
	struct nl nl;
	__u64 missing, went = 0;
	int q, judged = 0;
	bool in_time;

	rx = malloc(sizeof(*rx));
	ASSERT_NE(NULL, rx);
	nl_open(&nl);
	ASSERT_TRUE(slow_resize_open(&r, &self->n, self->hold));
	for (k = 0; k < 60 && judged < 2; k++) {
		ASSERT_EQ(0, hold_prepare(self->hold, 0));
		send_flows(&self->n, self->tx, f.seq, n);
		f.seq += n;
		ASSERT_TRUE(slow_resize_begin(&r, k & 1 ? 1000 : 900));
		f.stop = 0;
		ASSERT_EQ(0, pthread_create(&flooder, NULL, flood, &f));
		while (slow_resize_pending(&r))
			sched_yield();
		ASSERT_EQ(0, hold_freeze(self->hold));
		in_time = slow_resize_waits(&r);
		judged += in_time;
		f.stop = 1;
		ASSERT_EQ(0, pthread_join(flooder, NULL));
		slow_resize_end(&r);
		i = info_of(self->hold);
		/* Else what came was captured, and had gone to the readers. */
		went += in_time ? 0 : hold_balance(&i) - went;
		EXPECT_EQ(went, hold_balance(&i));
		ASSERT_EQ(0, nl_export(&nl, i.id, 0, &p));
		for (missing = 0, q = 0; q < p.n; q++)
			missing += p.v[q].dropped_before;
		EXPECT_EQ(i.dropped, missing);
		pkts_free(&p);
		ASSERT_EQ(0, hold_thaw_wait(self->hold));
		for (q = 0; q < self->n.queues; q++)
			while (nic_read(&self->n, q, rx) > 0)
				if (rx->ours)
					tally_add(&t, rx->flow, rx->seq);
		ASSERT_EQ((__u64)f.seq * FLOWS, t.got);
		EXPECT_TRUE(tally_clean(&t));
	}
	TH_LOG("%d of %d in time", judged, k);
	EXPECT_LT(0, judged);
	slow_resize_close(&r);
	free(rx);
}

/* --- many, and the module ----------------------------------------------- */

TEST(five_hundred_and_twelve_holds_at_once)
{
	struct rlimit rl = { 8192, 8192 };
	static struct nic n[2];
	static int fd[512], hold[512];
	static __u8 count[2][5000], buf[FRAME_LEN];
	static struct rx rx;
	__u64 captured = 0, delivered = 0;
	int i, d, tx, bad = 0;
	struct tapmig_create c;
	struct nl nl;

	netns_new();
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	nl_open(&nl);
	/* Two devices of 256 queues, each queue with a hold of its own. */
	ASSERT_TRUE(nic_open_named(&n[0], "tapa", TAP, 0, 2));
	ASSERT_TRUE(nic_open_named(&n[1], "tapb", TAP, 0, 2));
	for (i = 0; i < 512; i++) {
		fd[i] = i < 4 ? n[i & 1].fd[i >> 1] : nic_attach(&n[i & 1]);
		c = CREATE(.max_frozen_ms = TAPMIG_UNPRIV_MAX_FROZEN_MS);
		hold[i] = hold_create(&c);
		ASSERT_LE(0, hold[i]);
		ASSERT_EQ(0, hold_add(hold[i], fd[i], 0));
	}
	EXPECT_EQ(512, nl_dump(&nl, NULL, 0));
	for (i = 0; i < 512; i++) {
		ASSERT_EQ(0, hold_freeze(hold[i]));
	}
	for (d = 0; d < 2; d++) {
		tx = tx_open(n[d].tx_ifindex, TX_BYPASS);
		for (i = 0; i < 5000; i++) {
			frame_udp(&n[d], buf, sizeof(buf), 0, i);
			/* The source port: a flow each. */
			buf[34] = i >> 8;
			buf[35] = i;
			ASSERT_EQ(0, tx_send(tx, buf, sizeof(buf)));
		}
	}
	ASSERT_TRUE(busywait(({
		captured = 0;
		for (i = 0; i < 512; i++)
			captured += info_of(hold[i]).captured;
		captured == 10000;
	})));
	for (i = 0; i < 512; i++) {
		if (i & 2) {
			ASSERT_EQ(0, hold_thaw_wait(hold[i]));
			delivered += info_of(hold[i]).delivered;
		} else {
			close(hold[i]);
		}
	}
	EXPECT_TRUE(busywait(nl_dump(&nl, NULL, 0) == 256));
	EXPECT_LT(2000, delivered);
	for (i = 0; i < 512; i++) {
		d = i & 1;
		n[d].fd[0] = fd[i];
		while (nic_read(&n[d], 0, &rx) > 0) {
			if (rx.ours && rx.seq < 5000)
				count[d][rx.seq]++;
		}
	}
	for (i = 0; i < 5000; i++)
		bad += (count[0][i] != 1) + (count[1][i] != 1);
	EXPECT_EQ(0, bad);
}

static int try_rmmod(void)
{
	return syscall(__NR_delete_module, "tapmig", O_NONBLOCK) ? -errno : 0;
}

TEST(rmmod_is_refused_while_holds_exist)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 60000);
	struct nic n;
	struct nl nl;
	int hold;

	netns_new();
	nic_open(&n, TAP, 0, 1);
	hold = hold_new(&n, &c);
	EXPECT_GT(0, try_rmmod());
	ASSERT_EQ(0, hold_freeze_flags(hold, TAPMIG_FREEZE_DETACHED));
	EXPECT_GT(0, try_rmmod());
	/* No file refers to it any more. */
	close(hold);
	EXPECT_GT(0, try_rmmod());
	nl_open(&nl);
	ASSERT_EQ(0, nl_get(&nl, c.id, NULL));
	ASSERT_EQ(0, nl_hold_cmd(&nl, TAPMIG_CMD_HOLD_DISCARD, c.id));
	ASSERT_TRUE(busywait(nl_get(&nl, c.id, NULL) == -ENOENT));
}

/* --- rings whose hold is gone -------------------------------------------- */

#define ENTRIES		100

/* Close a hold that has made the ring larger, by a backlog that is unread. */
static void leave_backlog(struct __test_metadata *_metadata, struct nic *n,
			  int tx, int frames)
{
	int hold = hold_new(n, NULL);

	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_TRUE(tx_held(n, tx, hold, 0, frames, ENTRIES / 2));
	close(hold);
}

/* Nobody reads: about as many remain as the ring has entries. */
static bool ring_has(struct nic *n, int tx, unsigned int entries)
{
	struct tally t = {};
	unsigned int left;

	tx_flow(n, tx, 1, 0, 2 * entries);
	left = nic_drain(n, &t);
	return left >= entries - 2 && left <= entries;
}

static bool ring_has_entries(struct nic *n, int tx)
{
	return ring_has(n, tx, ENTRIES);
}

TEST_F(life, the_ring_of_a_hold_that_has_gone_gets_its_size_back)
{
	struct tally t = {};

	link_txqlen(self->n.name, ENTRIES);
	leave_backlog(_metadata, &self->n, self->tx, 300);
	ASSERT_TRUE(nic_wait(&self->n, &t, 300));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_TRUE(busywait(ring_has_entries(&self->n, self->tx)));
}

TEST_F(life, a_ring_that_is_larger_than_it_should_be_is_taken_over)
{
	struct tally t = {};
	int hold;

	link_txqlen(self->n.name, ENTRIES);
	leave_backlog(_metadata, &self->n, self->tx, 300);
	hold = hold_new(&self->n, NULL);
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 300, 200);
	ASSERT_TRUE(hold_wait_captured(hold, 500));
	ASSERT_EQ(0, hold_thaw_wait(hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 500));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_TRUE(busywait(ring_has_entries(&self->n, self->tx)));
}

TEST_F(life, a_ring_that_was_taken_over_gets_its_size_back)
{
	struct tally t = {};

	link_txqlen(self->n.name, ENTRIES);
	leave_backlog(_metadata, &self->n, self->tx, 300);
	hold_new(&self->n, NULL);
	ASSERT_TRUE(nic_wait(&self->n, &t, 300));
	ASSERT_TRUE(busywait(ring_has_entries(&self->n, self->tx)));
}

/* The second change can get the memory that ours had before the first. */
TEST_F(life, two_changes_of_txqueuelen_while_frozen_both_count)
{
	int hold, k;

	pin_cpu(0);
	link_txqlen(self->n.name, 15 * ENTRIES);
	hold = hold_new(&self->n, NULL);
	for (k = 0; k < 10; k++) {
		link_txqlen(self->n.name, 15 * ENTRIES);
		ASSERT_EQ(0, hold_prepare(hold, 20 * ENTRIES));
		ASSERT_EQ(0, hold_freeze(hold));
		link_txqlen(self->n.name, 12 * ENTRIES);
		link_txqlen(self->n.name, 11 * ENTRIES);
		ASSERT_EQ(0, hold_thaw_wait(hold));
		ASSERT_TRUE(busywait(ring_has(&self->n, self->tx,
					      11 * ENTRIES)));
	}
}

/* A device: when its ring has its size, those of all others were looked at. */
static int watch_open(struct nic *n)
{
	if (!nic_open_named(n, "watch", TAP, 12, 1))
		die("cannot make a device");
	link_txqlen(n->name, ENTRIES);
	return tx_open(n->tx_ifindex, TX_BYPASS);
}

static void watch_wait(struct __test_metadata *_metadata, struct nic *n, int tx)
{
	struct tally t = {};

	ASSERT_TRUE(nic_wait(n, &t, 300));
	ASSERT_TRUE(busywait(ring_has_entries(n, tx)));
}

/* All of it goes away while the ring is watched: nobody may look there. */
TEST_F_TIMEOUT(life, nothing_is_touched_of_a_queue_that_was_closed, 300)
{
	struct nic n = {};
	int tx, k;

	tx = watch_open(&n);
	for (k = 0; k < 3; k++) {
		link_txqlen(self->n.name, ENTRIES);
		leave_backlog(_metadata, &self->n, self->tx, 300);
		leave_backlog(_metadata, &n, tx, 300);
		if (k == 1)
			link_down(self->n.name);
		if (k == 2)
			link_del(self->n.name);
		nic_close(&self->n);
		watch_wait(_metadata, &n, tx);
		if (k == 2)
			break;
		close(self->tx);
		/* Of a device with a queue, it went with that. */
		if (variant->kind == MACVTAP)
			link_del(self->n.name);
		nic_open_named(&self->n, k ? "again2" : "again1",
			       variant->kind, 12, 1);
		self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	}
}

/*
 * Frames that its reader has sent keep the socket of a queue, if they wait
 * where senders are not to be held up.
 */
TEST(nothing_is_touched_of_a_closed_queue_whose_frames_are_under_way)
{
	__u8 dst[ETH_ALEN] = { 2, 0, 0, 0, 0, 0x77 };
	struct nic n = {}, watch = {};
	__u8 buf[12 + FRAME_LEN] = {};
	int tx, wtx, k;

	netns_new();
	nic_open(&n, TAP, 12, 1);
	ASSERT_EQ(0, link_bridge("br"));
	ASSERT_EQ(0, link_veth("away", "far"));
	link_master(n.name, "br");
	link_master("away", "br");
	link_up("br");
	link_up("far");
	link_up("away");
	link_wait_up("away");
	ASSERT_EQ(0, system("tc qdisc add dev away root netem delay 200s"));
	for (k = 0; k < 4; k++) {
		frame_eth(dst, buf + 12, FRAME_LEN, 0, k);
		ASSERT_EQ((ssize_t)sizeof(buf),
			  write(n.fd[0], buf, sizeof(buf)));
	}
	tx = tx_open(n.tx_ifindex, TX_BYPASS);
	wtx = watch_open(&watch);
	link_txqlen(n.name, ENTRIES);
	leave_backlog(_metadata, &n, tx, 300);
	leave_backlog(_metadata, &watch, wtx, 300);
	nic_close(&n);
	watch_wait(_metadata, &watch, wtx);
}

/* --- devices that have got the name of another one ------------------------ */

FIXTURE(namesake) {
	/* One that has moved to another namespace, and one with its name. */
	struct nic n, same;
	int home, other;
};

FIXTURE_SETUP(namesake)
{
	netns_new();
	self->home = netns_fd();
	nic_open(&self->n, TAP, 12, 1);
	link_txqlen(self->n.name, ENTRIES);
	netns_new();
	self->other = netns_fd();
	netns_enter(self->home);
	link_netns(self->n.name, self->other);
	ASSERT_TRUE(nic_open_named(&self->same, self->n.name, TAP, 12, 1));
}

FIXTURE_TEARDOWN(namesake)
{
}

TEST_F(namesake, its_queue_is_not_taken_for_the_others)
{
	struct tapmig_create c = CREATE();
	int hold;

	hold = hold_create(&c);
	ASSERT_LE(0, hold);
	EXPECT_EQ(-ENODEV, hold_add(hold, self->n.fd[0], 0));
	EXPECT_EQ(0, hold_add(hold, self->same.fd[0], 0));
	c = CREATE(.ifindex = self->same.ifindex);
	hold = hold_create(&c);
	ASSERT_LE(0, hold);
	EXPECT_EQ(-EXDEV, hold_add(hold, self->n.fd[0], 0));
	/* Where it is, it is found, in spite of the one where it was. */
	netns_enter(self->other);
	c = CREATE();
	hold = hold_create(&c);
	ASSERT_LE(0, hold);
	EXPECT_EQ(0, hold_add(hold, self->n.fd[0], 0));
	ASSERT_EQ(0, link_del(self->n.name));
	EXPECT_TRUE(hold_wait_state(hold, TAPMIG_STATE_DEAD));
}

TEST_F_TIMEOUT(namesake, nothing_is_touched_of_its_queue_that_was_closed, 300)
{
	struct nic n = {};
	int hold, tx;

	tx = watch_open(&n);
	hold = hold_new(&self->same, NULL);
	/* Not the first one: it might be a queue that is disabled. */
	ASSERT_EQ(0, hold_add(hold, self->n.fd[0], 1));
	ASSERT_EQ(0, hold_prepare(hold, 1000));
	netns_enter(self->other);
	link_up(self->n.name);
	tx_flow(&self->n, tx_open(if_nametoindex(self->n.name), TX_BYPASS),
		0, 0, 300);
	netns_enter(self->home);
	close(hold);
	nic_close(&self->n);
	leave_backlog(_metadata, &n, tx, 300);
	watch_wait(_metadata, &n, tx);
}

/* --- what a hand-over finds out about queues ------------------------------ */

/* It tries where things come out, with frames of its own. */
#define PROBE_TYPE	0x88b5

static bool is_probe(const __u8 *frame)
{
	const __u8 type[2] = { PROBE_TYPE >> 8, PROBE_TYPE & 0xff };

	return !memcmp(frame + 2 * ETH_ALEN, type, sizeof(type));
}

TEST(a_hand_over_sends_nothing_to_the_network_of_a_macvtap)
{
	struct sockaddr_ll sll = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(PROBE_TYPE),
	};
	struct nic n;
	int hold, s;
	__u8 f[64];

	netns_new();
	nic_open(&n, MACVTAP, 12, 2);
	s = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
	sll.sll_ifindex = n.tx_ifindex;
	ASSERT_EQ(0, bind(s, (void *)&sll, sizeof(sll)));
	hold = hold_new(&n, NULL);
	ASSERT_EQ(0, hold_freeze(hold));
	nic_set_queue(n.fd[0], false);
	nic_set_queue(n.fd[1], false);
	ASSERT_EQ(0, hold_thaw_wait(hold));
	EXPECT_EQ(-1, recv(s, f, sizeof(f), 0));
	EXPECT_EQ(EAGAIN, errno);
}

TEST(a_hand_over_sends_nothing_to_a_queue_that_is_not_held)
{
	struct tapmig_create c = CREATE();
	__u8 f[2048];
	struct nic n;
	int hold, q;

	netns_new();
	nic_open(&n, TAP, 0, 4);
	nic_set_queue(n.fd[3], false);
	nic_set_queue(n.fd[2], false);
	hold = hold_create(&c);
	ASSERT_LE(0, hold);
	for (q = 1; q < 4; q++)
		ASSERT_EQ(0, hold_add(hold, n.fd[q], q));
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, hold_thaw_wait(hold));
	while (read(n.fd[0], f, sizeof(f)) > 0)
		EXPECT_FALSE(is_probe(f));
}

TEST_HARNESS_MAIN
