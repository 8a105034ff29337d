// SPDX-License-Identifier: GPL-2.0-only
/*
 * The thaw: nothing is lost, doubled or overtaken while others send, whoever
 * or whatever asked for it.
 */
#include "lib.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/perf_event.h>
#include <linux/ptrace.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#include "harness.h"

/* --- under load --------------------------------------------------------- */

#define SENDERS		2
#define WINDOW		100

struct sender {
	pthread_t thread;
	const struct nic *n;
	int cpu;
	bool stop;
	/* Per flow. */
	__u64 sent;
	__u64 got;
};

#define load(p)		__atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

/*
 * Two flows on a processor of its own. It never has more under way than the
 * ring holds, so that nothing is lost for lack of room: each missing number is
 * a fault.
 */
static void *sender(void *arg)
{
	struct sender *s = arg;
	__u8 buf[FRAME_LEN];
	int tx, f;

	pin_cpu(s->cpu);
	tx = tx_open(s->n->tx_ifindex, TX_BYPASS);
	while (!load(&s->stop)) {
		if (s->sent - load(&s->got) >= WINDOW) {
			sched_yield();
			continue;
		}
		for (f = 0; f < 2; f++) {
			frame_udp(s->n, buf, sizeof(buf), 2 * s->cpu + f,
				  s->sent);
			while (tx_send(tx, buf, sizeof(buf)) == -ENOBUFS)
				sched_yield();
		}
		store(&s->sent, s->sent + 1);
	}
	close(tx);
	return NULL;
}

FIXTURE(load) {
	struct nic n;
	int hold;
	struct sender s[SENDERS];
	struct tally t;
};

FIXTURE_VARIANT(load) {
	enum nic_kind kind;
	int hdr;
	int queues;
	int thaws;
};

FIXTURE_VARIANT_ADD(load, tap) {
	.kind = TAP, .hdr = 12, .queues = 1, .thaws = 1500,
};

FIXTURE_VARIANT_ADD(load, tap_mq) {
	.kind = TAP, .hdr = 12, .queues = 4, .thaws = 700,
};

FIXTURE_VARIANT_ADD(load, tun) {
	.kind = TUN, .hdr = 0, .queues = 1, .thaws = 300,
};

FIXTURE_VARIANT_ADD(load, macvtap) {
	.kind = MACVTAP, .hdr = 12, .queues = 1, .thaws = 300,
};

FIXTURE_SETUP(load)
{
	/* Not before the test is through, however slow. */
	struct tapmig_create c = CREATE(.max_frozen_ms = 600000);

	netns_new();
	nic_open(&self->n, variant->kind, variant->hdr, variant->queues);
	self->hold = hold_new(&self->n, &c);
}

FIXTURE_TEARDOWN(load)
{
}

static void start(struct __test_metadata *_metadata, FIXTURE_DATA(load) *self)
{
	int i;

	for (i = 0; i < SENDERS; i++) {
		self->s[i].n = &self->n;
		self->s[i].cpu = i;
		ASSERT_EQ(0, pthread_create(&self->s[i].thread, NULL, sender,
					    &self->s[i]));
	}
}

static void drain(FIXTURE_DATA(load) *self)
{
	int i;

	nic_drain(&self->n, &self->t);
	for (i = 0; i < SENDERS; i++) {
		__u64 a = self->t.next[2 * i], b = self->t.next[2 * i + 1];

		/* The slower one: the window is for both. */
		store(&self->s[i].got, a < b ? a : b);
	}
}

static void finish(struct __test_metadata *_metadata, FIXTURE_DATA(load) *self)
{
	__u64 sent = 0;
	int i;

	for (i = 0; i < SENDERS; i++) {
		store(&self->s[i].stop, true);
		pthread_join(self->s[i].thread, NULL);
		sent += 2 * self->s[i].sent;
	}
	EXPECT_TRUE(nic_wait(&self->n, &self->t, sent));
	EXPECT_EQ(0, nic_drain(&self->n, &self->t));
	EXPECT_EQ(sent, self->t.got);
	EXPECT_TRUE(tally_clean(&self->t))
		TH_LOG("%llu sent, %llu gaps, %llu repeats, %llu strange",
		       sent, self->t.gaps, self->t.repeats, self->t.strange);
}

static void thaws_under_load(struct __test_metadata *_metadata,
			     FIXTURE_DATA(load) *self, long thaws)
{
	struct tapmig_info i = {};
	__u64 enough;
	long k;

	start(_metadata, self);
	for (k = 0; k < thaws; k++) {
		ASSERT_EQ(0, hold_freeze(self->hold));
		/* Sometimes many are held, sometimes hardly any. */
		enough = i.captured + (k % 4 ? k % 16 : 100);
		while ((i = info_of(self->hold)).captured < enough &&
		       i.state == TAPMIG_STATE_FROZEN)
			sched_yield();
		/* Only the deadline ends it, by a clock that runs wild. */
		ASSERT_EQ(TAPMIG_STATE_FROZEN, i.state)
			TH_LOG("thaw %ld: flags %#x, frozen for %llu ms, %llu of %llu",
			       k, i.flags, i.frozen_for_ms, i.captured,
			       enough);
		if (k & 1) {
			ASSERT_EQ(0, hold_thaw_wait(self->hold));
		} else {
			ASSERT_EQ(0, hold_thaw(self->hold));
			ASSERT_TRUE(hold_wait_state(self->hold,
						    TAPMIG_STATE_ARMED));
		}
		enough = self->t.got + k % 64;
		do
			drain(self);
		while (self->t.got < enough);
		ASSERT_TRUE(tally_clean(&self->t))
			TH_LOG("thaw %ld: %llu gaps, %llu repeats", k,
			       self->t.gaps, self->t.repeats);
	}
	finish(_metadata, self);
	i = info_of(self->hold);
	EXPECT_EQ(0, i.dropped);
	EXPECT_EQ(0, i.lost);
	EXPECT_EQ(i.captured, i.delivered);
}

TEST_F_TIMEOUT(load, thaws_lose_nothing_while_two_processors_send, 1200)
{
	thaws_under_load(_metadata, self,
			 env_count("TAPMIG_THAWS", variant->thaws));
}

/*
 * The hook has seen that its queue is frozen, and is about to try the ring's
 * lock, when the thaw takes place. That are a few instructions; a program at
 * the entry of spin_trylock() makes them last. Negative if there is no way,
 * else it can be read how often this has happened, on the first processor.
 *
 * The kernel writes a breakpoint there for a moment. If another processor takes
 * a lock just then, an emulated one can see it for ever, and the kernel takes
 * the probe for one that has a copy of the code: it jumps to 0. So nobody sends
 * yet, or any more, when it comes and goes.
 */
#ifdef __x86_64__
static int delay_hook(void)
{
	unsigned long from, to;
	struct perf_event_attr attr = {
		.size = sizeof(attr),
		.config1 = (uintptr_t)"_raw_spin_trylock",
		/* Until it has the program. */
		.disabled = 1,
	};
	int type, prog, fd;
	FILE *f;

	f = fopen("/sys/bus/event_source/devices/kprobe/type", "r");
	if (!f)
		return -ENOENT;
	if (fscanf(f, "%d", &type) != 1)
		type = -1;
	fclose(f);
	if (type < 0 || !module_range(&from, &to))
		return -ENOENT;
	attr.type = type;
	fd = syscall(__NR_perf_event_open, &attr, -1, 0, -1,
		     PERF_FLAG_FD_CLOEXEC);
	if (fd < 0)
		return -errno;

	struct bpf_insn insns[] = {
		/* The return address, at the top of the stack. */
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_3,
		  .src_reg = BPF_REG_1, .off = offsetof(struct pt_regs, rsp) },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_REG_10 },
		{ .code = BPF_ALU64 | BPF_ADD | BPF_K, .dst_reg = BPF_REG_1,
		  .imm = -8 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2,
		  .imm = 8 },
		{ .code = BPF_JMP | BPF_CALL,
		  .imm = BPF_FUNC_probe_read_kernel },
		{ .code = BPF_LDX | BPF_MEM | BPF_DW, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_REG_10, .off = -8 },
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_2,
		  .imm = from },
		{ .imm = from >> 32 },
		{ .code = BPF_LD | BPF_IMM | BPF_DW, .dst_reg = BPF_REG_3,
		  .imm = to },
		{ .imm = to >> 32 },
		/* What returns 0 is not counted. */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_JLT | BPF_X, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_REG_2, .off = 6 },
		{ .code = BPF_JMP | BPF_JGE | BPF_X, .dst_reg = BPF_REG_1,
		  .src_reg = BPF_REG_3, .off = 5 },
		/* It is ours. */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_6,
		  .imm = 3000 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_ktime_get_ns },
		{ .code = BPF_ALU64 | BPF_SUB | BPF_K, .dst_reg = BPF_REG_6,
		  .imm = 1 },
		{ .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_6,
		  .off = -3 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	prog = bpf_load(BPF_PROG_TYPE_KPROBE, insns, ARRAY_SIZE(insns));
	if (prog < 0 || ioctl(fd, PERF_EVENT_IOC_SET_BPF, prog) ||
	    ioctl(fd, PERF_EVENT_IOC_ENABLE, 0))
		die("a program that delays does not load");
	return fd;
}
#else
static int delay_hook(void)
{
	return -EOPNOTSUPP;
}
#endif

TEST_F_TIMEOUT(load, a_hook_that_is_late_leaves_a_thawed_ring_alone, 300)
{
	int fd = delay_hook();
	__u64 delayed;

	if (fd < 0)
		SKIP(return, "this kernel has no probes for programs");
	thaws_under_load(_metadata, self, 30);
	ASSERT_EQ(sizeof(delayed), read(fd, &delayed, sizeof(delayed)));
	EXPECT_LT(0, delayed);
	TH_LOG("late %llu times", delayed);
	close(fd);
}

TEST_F_TIMEOUT(load, freeze_close_thaws_while_two_processors_send, 300)
{
	long k, thaws = env_count("TAPMIG_THAWS", variant->thaws) / 10;
	int q;

	start(_metadata, self);
	for (k = 0; k < thaws; k++) {
		ASSERT_EQ(0, hold_freeze(self->hold));
		while (info_of(self->hold).held_packets < k % 32)
			sched_yield();
		close(self->hold);
		drain(self);
		/* The queues are free again. */
		self->hold = hold_create(&CREATE());
		ASSERT_LE(0, self->hold);
		for (q = 0; q < self->n.queues; q++) {
			ASSERT_EQ(0, hold_add(self->hold, self->n.fd[q], q));
		}
		drain(self);
		ASSERT_TRUE(tally_clean(&self->t));
	}
	finish(_metadata, self);
}

TEST_F_TIMEOUT(load, prepare_and_freeze_lose_nothing_while_two_send, 300)
{
	long k, rounds = env_count("TAPMIG_THAWS", variant->thaws) / 10;

	start(_metadata, self);
	for (k = 0; k < rounds; k++) {
		ASSERT_EQ(0, hold_prepare(self->hold, 2000 + k));
		if (k & 1)
			drain(self);
		ASSERT_EQ(0, hold_freeze(self->hold));
		while (info_of(self->hold).held_packets < k % 32)
			sched_yield();
		ASSERT_EQ(0, hold_thaw_wait(self->hold));
		drain(self);
		ASSERT_TRUE(tally_clean(&self->t));
	}
	finish(_metadata, self);
}

/* --- one at a time ------------------------------------------------------ */

FIXTURE(one) {
	struct nic n;
	struct nl nl;
	int tx;
};

FIXTURE_SETUP(one)
{
	netns_new();
	nic_open(&self->n, TAP, 12, 1);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	nl_open(&self->nl);
}

FIXTURE_TEARDOWN(one)
{
}

TEST_F(one, freeze_close_thaws)
{
	int hold = hold_new(&self->n, NULL);
	struct tally t = {};

	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_TRUE(tx_held(&self->n, self->tx, hold, 0, 3000, 250));
	close(hold);
	ASSERT_TRUE(nic_wait(&self->n, &t, 3000));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(0, nl_dump(&self->nl, NULL, 0));
}

struct reader {
	pthread_t thread;
	struct nic *n;
	bool polls;
	pid_t tid;
	int got;
	__u64 seq;
};

static void *blocked_reader(void *arg)
{
	static struct rx rx;
	struct reader *r = arg;

	store(&r->tid, gettid());
	if (r->polls && !nic_poll(r->n, WAIT_MS))
		return NULL;
	r->got = nic_read(r->n, 0, &rx);
	r->seq = rx.seq;
	return NULL;
}

static void reader_wakes(struct __test_metadata *_metadata,
			 FIXTURE_DATA(one) *self, bool polls)
{
	struct reader r = { .n = &self->n, .polls = polls, .got = -1 };
	int hold = hold_new(&self->n, NULL);

	if (!polls)
		fcntl(self->n.fd[0], F_SETFL, 0);
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 5);
	ASSERT_TRUE(hold_wait_captured(hold, 5));
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, blocked_reader, &r));
	ASSERT_TRUE(busywait(load(&r.tid) && thread_sleeps(load(&r.tid))));
	ASSERT_EQ(0, hold_thaw(hold));
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	EXPECT_EQ(1, r.got);
	EXPECT_EQ(0, r.seq);
}

TEST_F(one, thaw_wakes_a_blocked_reader)
{
	reader_wakes(_metadata, self, false);
}

TEST_F(one, thaw_wakes_a_polling_reader)
{
	reader_wakes(_metadata, self, true);
}

TEST_F(one, a_reader_asleep_since_before_the_freeze_wakes_at_thaw)
{
	struct reader r = { .n = &self->n, .polls = true, .got = -1 };
	int hold = hold_new(&self->n, NULL);
	struct tally t = {};

	ASSERT_EQ(0, pthread_create(&r.thread, NULL, blocked_reader, &r));
	ASSERT_TRUE(busywait(load(&r.tid) && thread_sleeps(load(&r.tid))));
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	EXPECT_TRUE(thread_sleeps(r.tid));
	ASSERT_EQ(0, hold_thaw(hold));
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	EXPECT_EQ(1, r.got);
	EXPECT_EQ(0, r.seq);
	t.next[0] = 1;
	ASSERT_TRUE(nic_wait(&self->n, &t, 99));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(one, an_armed_hold_changes_nothing_for_readers)
{
	struct reader r = { .n = &self->n, .got = -1 };
	struct tally t = {};

	fcntl(self->n.fd[0], F_SETFL, 0);
	hold_new(&self->n, NULL);
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, blocked_reader, &r));
	ASSERT_TRUE(busywait(load(&r.tid) && thread_sleeps(load(&r.tid))));
	tx_flow(&self->n, self->tx, 0, 0, 1);
	ASSERT_EQ(0, pthread_join(r.thread, NULL));
	EXPECT_EQ(1, r.got);
	fcntl(self->n.fd[0], F_SETFL, O_NONBLOCK);
	tx_flow(&self->n, self->tx, 0, 0, 300);
	ASSERT_TRUE(nic_wait(&self->n, &t, 300));
	EXPECT_TRUE(tally_clean(&t));
}

/* --- the deadline ------------------------------------------------------- */

/*
 * Let at least that time pass, by a hold with a deadline of its own: it says
 * so itself when it is over.
 */
static void deadline_passes(struct __test_metadata *_metadata, __u32 ms)
{
	static int count;
	struct tapmig_create c = CREATE(.max_frozen_ms = ms,
					.label = "clock");
	char name[IFNAMSIZ];
	struct nic n;
	int hold;

	snprintf(name, sizeof(name), "clock%d", count++);
	ASSERT_TRUE(nic_open_named(&n, name, TAP, 0, 1));
	hold = hold_new(&n, &c);
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_ARMED));
	close(hold);
	nic_close(&n);
}

TEST_F(one, deadline_thaws)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 300);
	int hold = hold_new(&self->n, &c);
	struct tally t = {};
	struct tapmig_info i;

	nl_subscribe(&self->nl);
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_FROZEN, NULL));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_ARMED, NULL));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_ARMED));
	ASSERT_TRUE(nic_wait(&self->n, &t, 100));
	EXPECT_TRUE(tally_clean(&t));
	i = info_of(hold);
	EXPECT_EQ(0, i.discarded);
	EXPECT_LE(300, i.frozen_for_ms);
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_DUE, i.flags);
	/* It can be used again. */
	ASSERT_EQ(0, hold_renew(hold, 600000));
	EXPECT_EQ(0, hold_freeze(hold));
	EXPECT_EQ(0, info_of(hold).flags & TAPMIG_HOLD_FLAGS_DUE);
}

TEST_F(one, deadline_discards_if_asked_to)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 2000);
	struct tally t = {};
	int hold;

	c.deadline_action = TAPMIG_DEADLINE_ACTION_DISCARD;
	hold = hold_new(&self->n, &c);
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(hold_wait_captured(hold, 100));
	ASSERT_EQ(0, hold_renew(hold, 1));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_ARMED));
	EXPECT_EQ(100, info_of(hold).discarded);
	EXPECT_EQ(0, info_of(hold).held_packets);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(one, a_renewed_deadline_starts_anew)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 1500);
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;

	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, hold_renew(hold, 600000));
	/* The first one passes, nothing happens. */
	deadline_passes(_metadata, 1500);
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(hold).state);
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	EXPECT_GE(600000, h.v[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	EXPECT_LE(300000, h.v[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	/* Shortened, by netlink. */
	ASSERT_EQ(0, nl_set(&self->nl, c.id, TAPMIG_A_HOLD_MAX_FROZEN_MS, 1));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_ARMED));
}

TEST_F(one, deadline_of_a_standby_runs_from_import_begin)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 100,
					.role = TAPMIG_ROLE_STANDBY);
	int hold = hold_new(&self->n, &c);
	struct nl events;
	struct hold_nl h;

	/* It is LIVE for as long, which is not. */
	nl_open(&events);
	nl_subscribe(&events);
	ASSERT_EQ(0, hold_freeze(hold));
	deadline_passes(_metadata, 200);
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(hold).state);
	ASSERT_EQ(0, nl_get(&self->nl, c.id, &h));
	EXPECT_FALSE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	ASSERT_EQ(0, nl_begin(&self->nl, c.id, 0));
	ASSERT_TRUE(nl_wait_state(&events, c.id, TAPMIG_STATE_LIVE, NULL));
}

/* --- waiting for the end ------------------------------------------------ */

static struct tapmig_create peer_create(void)
{
	return CREATE(.role = TAPMIG_ROLE_STANDBY, .max_frozen_ms = 600000,
		      .wait_import_ms = 600000);
}

struct waiter {
	pthread_t thread;
	int hold;
	pid_t tid;
	int ret;
	bool done;
};

static void *thaw_waiter(void *arg)
{
	struct waiter *w = arg;

	store(&w->tid, gettid());
	w->ret = hold_thaw_wait(w->hold);
	store(&w->done, true);
	return NULL;
}

static void no_action(int sig)
{
}

TEST_F(one, a_signal_ends_the_wait_and_the_thaw_goes_on)
{
	/* Not even then is it begun again: the thaw may be over. */
	struct sigaction sa = { .sa_handler = no_action,
				.sa_flags = SA_RESTART };
	struct tapmig_create c = peer_create();
	int hold = hold_new(&self->n, &c);
	struct waiter w = { .hold = hold };
	struct tally t = {};

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, hold_freeze(hold));
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(hold_wait_captured(hold, 10));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, thaw_waiter, &w));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_THAWING));
	ASSERT_TRUE(busywait(load(&w.tid) && thread_sleeps(load(&w.tid))));
	EXPECT_FALSE(load(&w.done));
	pthread_kill(w.thread, SIGUSR1);
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
	EXPECT_EQ(-EINTR, w.ret);
	EXPECT_EQ(TAPMIG_STATE_THAWING, info_of(hold).state);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	/* All that is held is newer than the freeze of the source. */
	ASSERT_EQ(0, nl_begin(&self->nl, c.id, 3600000));
	ASSERT_EQ(0, nl_sync(&self->nl, c.id, 0));
	ASSERT_TRUE(hold_wait_state(hold, TAPMIG_STATE_LIVE));
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(one, a_thaw_that_is_under_way_can_be_waited_for)
{
	struct tapmig_create c = peer_create();
	int hold = hold_new(&self->n, &c);
	struct waiter w = { .hold = hold };

	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, hold_thaw(hold));
	ASSERT_EQ(TAPMIG_STATE_THAWING, info_of(hold).state);
	EXPECT_EQ(-EBUSY, hold_thaw(hold));
	EXPECT_EQ(-EBUSY, hold_discard(hold));
	EXPECT_EQ(-EBUSY, hold_freeze(hold));
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, thaw_waiter, &w));
	ASSERT_TRUE(busywait(load(&w.tid) && thread_sleeps(load(&w.tid))));
	ASSERT_EQ(0, nl_begin(&self->nl, c.id, 0));
	ASSERT_EQ(0, nl_sync(&self->nl, c.id, 0));
	ASSERT_EQ(0, pthread_join(w.thread, NULL));
	EXPECT_EQ(0, w.ret);
	EXPECT_EQ(TAPMIG_STATE_LIVE, info_of(hold).state);
	ASSERT_EQ(0, nl_end(&self->nl, c.id));
	EXPECT_TRUE(hold_wait_state(hold, TAPMIG_STATE_ARMED));
}

TEST_F(one, events_tell_of_freeze_and_thaw)
{
	struct tapmig_create c = CREATE(.label = "events");
	int hold = hold_new(&self->n, &c);
	struct hold_nl h;

	nl_subscribe(&self->nl);
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_FROZEN, &h));
	EXPECT_STREQ("events", h.label);
	EXPECT_STREQ(self->n.name, h.ifname);
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_EQ(0, hold_thaw(hold));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_ARMED, &h));
	EXPECT_EQ(10, h.v[TAPMIG_A_HOLD_DELIVERED]);
}

/* --- flows and queues --------------------------------------------------- */

FIXTURE(steer) {
	struct nic src;
	struct nic dst;
	struct nl nl;
	int src_hold;
	int dst_hold;
	int src_tx;
	int dst_tx;
};

/* So many that no queue is without one, whatever the key of the hash is. */
#define STEER_FLOWS	64

FIXTURE_SETUP(steer)
{
	netns_new();
	ASSERT_TRUE(nic_open_named(&self->src, "src", TAP, 12, 4));
	ASSERT_TRUE(nic_open_named(&self->dst, "dst", TAP, 12, 4));
	memcpy(self->dst.mac, self->src.mac, ETH_ALEN);
	self->src_tx = tx_open(self->src.tx_ifindex, TX_BYPASS);
	self->dst_tx = tx_open(self->dst.tx_ifindex, TX_BYPASS);
	self->src_hold = hold_new(&self->src, NULL);
	self->dst_hold = hold_new(&self->dst, NULL);
	nl_open(&self->nl);
}

FIXTURE_TEARDOWN(steer)
{
}

static void send_flows(const struct nic *n, int tx, __u64 from, int count)
{
	int i, f;

	for (i = 0; i < count; i++)
		for (f = 0; f < STEER_FLOWS; f++)
			tx_flow(n, tx, f, from + i, 1);
}

/* Choose the queue by the lowest bits of the source port, backwards. */
static int other_steering(struct nic *n)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_6,
		  .src_reg = BPF_REG_1 },
		{ .code = BPF_LD | BPF_ABS | BPF_H, .imm = 34 },
		{ .code = BPF_ALU64 | BPF_AND | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = 3 },
		{ .code = BPF_ALU64 | BPF_XOR | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = 3 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int prog = bpf_load(BPF_PROG_TYPE_SOCKET_FILTER, insns,
			    ARRAY_SIZE(insns));

	if (prog < 0)
		return -errno;
	return ioctl(n->fd[0], TUNSETSTEERINGEBPF, &prog) ? -errno : 0;
}

TEST_F(steer, imports_follow_the_steering_of_the_destination)
{
	struct tally t = {};
	struct pkts p;
	__u32 id = info_of(self->dst_hold).id;
	static struct rx rx;
	int used = 0, q, moved = 0, k;
	__u64 total = 0;

	ASSERT_EQ(0, other_steering(&self->dst));
	ASSERT_EQ(0, hold_freeze(self->src_hold));
	ASSERT_EQ(0, hold_freeze(self->dst_hold));
	send_flows(&self->src, self->src_tx, 0, 8);
	total += 8 * STEER_FLOWS;
	ASSERT_TRUE(hold_wait_captured(self->src_hold, total));
	/* By now the network brings the rest here. */
	send_flows(&self->dst, self->dst_tx, 8, 5);
	ASSERT_TRUE(hold_wait_captured(self->dst_hold, 5 * STEER_FLOWS));

	ASSERT_EQ(0, nl_export(&self->nl, info_of(self->src_hold).id, 0, &p));
	ASSERT_EQ(total, p.n);
	for (k = 0; k < p.n; k++)
		used |= 1 << p.v[k].queue;
	/* Else it would be no test. */
	ASSERT_EQ(0xf, used);
	ASSERT_EQ(0, nl_begin(&self->nl, id, 0));
	ASSERT_EQ(0, nl_import(&self->nl, id, p.v, p.n, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, id));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	send_flows(&self->dst, self->dst_tx, 13, 3);
	total += 8 * STEER_FLOWS;

	for (q = 0; q < 4; q++) {
		while (nic_read(&self->dst, q, &rx) > 0) {
			ASSERT_TRUE(rx.ours);
			EXPECT_EQ(((1000 + rx.flow) & 3) ^ 3, q);
			tally_add(&t, rx.flow, rx.seq);
			moved++;
		}
	}
	EXPECT_EQ(total, moved);
	EXPECT_EQ(total, t.got);
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu repeats %llu", t.gaps, t.repeats);
}

TEST_F(steer, imports_from_another_number_of_queues_keep_order)
{
	__u32 id = info_of(self->dst_hold).id;
	struct tally t = {};
	struct pkts p;
	int k;

	ASSERT_EQ(0, hold_freeze(self->src_hold));
	ASSERT_EQ(0, hold_freeze(self->dst_hold));
	send_flows(&self->src, self->src_tx, 0, 10);
	ASSERT_TRUE(hold_wait_captured(self->src_hold, 10 * STEER_FLOWS));
	send_flows(&self->dst, self->dst_tx, 10, 3);
	ASSERT_EQ(0, nl_export(&self->nl, info_of(self->src_hold).id, 0, &p));
	ASSERT_EQ(10 * STEER_FLOWS, p.n);
	/* As if they came from a device with more queues, spread anyhow. */
	for (k = 0; k < p.n; k++)
		p.v[k].queue = (k * 7) % 8;
	ASSERT_EQ(0, nl_begin(&self->nl, id, 0));
	ASSERT_EQ(0, nl_import(&self->nl, id, p.v, p.n, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, id));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	send_flows(&self->dst, self->dst_tx, 13, 3);
	ASSERT_TRUE(nic_wait(&self->dst, &t, 16 * STEER_FLOWS));
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu repeats %llu", t.gaps, t.repeats);
	for (k = 0; k < 4; k++) {
		EXPECT_NE(0, t.by_queue[k]);
	}
}

TEST_F(steer, thaw_gives_frames_back_to_their_own_queues)
{
	static struct rx rx;
	struct tally t = {};
	int q, f, at[STEER_FLOWS], k;

	/* Which queue a flow has without us. */
	send_flows(&self->src, self->src_tx, 0, 1);
	for (q = 0; q < 4; q++) {
		while (nic_read(&self->src, q, &rx) > 0) {
			at[rx.flow] = q;
			tally_add(&t, rx.flow, rx.seq);
		}
	}
	ASSERT_EQ(STEER_FLOWS, t.got);
	ASSERT_EQ(0, hold_freeze(self->src_hold));
	send_flows(&self->src, self->src_tx, 1, 12);
	ASSERT_TRUE(hold_wait_captured(self->src_hold, 12 * STEER_FLOWS));
	ASSERT_EQ(0, hold_thaw_wait(self->src_hold));
	for (q = 0; q < 4; q++) {
		while (nic_read(&self->src, q, &rx) > 0) {
			ASSERT_EQ(at[rx.flow], q);
			tally_add(&t, rx.flow, rx.seq);
		}
	}
	EXPECT_EQ(13 * STEER_FLOWS, t.got);
	EXPECT_TRUE(tally_clean(&t));
	for (f = 1, k = 0; f < STEER_FLOWS; f++)
		k |= at[f] != at[0];
	EXPECT_TRUE(k);
}

TEST_HARNESS_MAIN
