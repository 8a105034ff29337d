// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is not to be had: a call works, or fails and leaves all as it
 * was; either way each packet arrives once, in order. Needs a kernel with
 * fault injection.
 *
 * Only what the module itself asks for fails, as told by the stack; for
 * netlink, which does much on behalf of it, also all that the caller asks for.
 */
#include "lib.h"
#include "vq.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <linux/virtio_net.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "harness.h"

#define INJECT		"/sys/kernel/debug/"
#define FRAMES		8
/* Of a tap device, as it is made. */
#define TXQUEUELEN	1000
/* Seconds: such a kernel is slow. */
#define LONG		300

/* Flows: what comes from the network, what is imported. */
#define ARRIVED		0
#define IMPORTED	1
/* What fills the rings: so many flows that each ring has some. */
#define FILLING		2
#define FILLING_END	(FILLING + 32)

static const char * const kinds[] = {
	"failslab", "fail_page_alloc", "fail_usercopy",
};

/* --- fault injection ---------------------------------------------------- */

static int put(const char *kind, const char *name, const char *value)
{
	char path[128];
	int fd, ret;

	snprintf(path, sizeof(path), INJECT "%s/%s", kind, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int faults_open(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (put(kinds[i], "verbose", "0") ||
		    put(kinds[i], "probability", "0") ||
		    put(kinds[i], "interval", "1") ||
		    put(kinds[i], "task-filter", "N") ||
		    put(kinds[i], "stacktrace-depth", "32"))
			return -ENOENT;
	if (put("failslab", "ignore-gfp-wait", "N") ||
	    put("fail_page_alloc", "ignore-gfp-wait", "N") ||
	    put("fail_page_alloc", "min-order", "0"))
		return -ENOENT;
	return 0;
}

/*
 * The files are out of sight once the test has a /sys of its own, and what is
 * written there concerns all processes.
 */
struct everywhere {
	int probability[2];
	int times[2];
	int space;
	int most;
	int from[ARRAY_SIZE(kinds)];
	int to[ARRAY_SIZE(kinds)];
	unsigned long module_from;
	unsigned long module_to;
};

static int knob_open(const char *kind, const char *name)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), INJECT "%s/%s", kind, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		die("fault injection cannot be controlled");
	return fd;
}

static void knob_set(int fd, const char *fmt, unsigned long value)
{
	char text[32];

	snprintf(text, sizeof(text), fmt, value);
	if (write(fd, text, strlen(text)) < 0)
		die("fault injection cannot be controlled");
}

/* Such a file is read once only after each open. */
static long knob_get(int knob)
{
	char path[32], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", knob);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		die("fault injection cannot be read");
	close(fd);
	return atol(text);
}

/* Whose requests fail: those of the module, or of whoever has asked it. */
static void faults_of(const struct everywhere *e, bool module)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		knob_set(e->from[i], "%#lx", module ? e->module_from : 0);
		knob_set(e->to[i], "%#lx", module ? e->module_to : ~0UL);
	}
}

static void everywhere_open(struct everywhere *e)
{
	size_t i;

	for (i = 0; i < 2; i++) {
		e->probability[i] = knob_open(kinds[i], "probability");
		e->times[i] = knob_open(kinds[i], "times");
	}
	/* Of pages: what is free before they begin to fail. */
	e->space = knob_open("fail_page_alloc", "space");
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		e->from[i] = knob_open(kinds[i], "require-start");
		e->to[i] = knob_open(kinds[i], "require-end");
	}
	if (!module_range(&e->module_from, &e->module_to))
		die("where is the module?");
	faults_of(e, true);
}

/*
 * Let @percent of what the module asks for fail, but at most @times of each
 * kind.
 */
static void everywhere(struct everywhere *e, int percent, int times)
{
	int i;

	e->most = times;
	for (i = 0; i < 2; i++) {
		knob_set(e->times[i], "%ld", times);
		knob_set(e->probability[i], "%ld", percent);
	}
}

/* No more of that. How many have failed? */
static long nowhere(struct everywhere *e)
{
	long failed = 0;
	int i;

	for (i = 0; i < 2; i++) {
		knob_set(e->probability[i], "%ld", 0);
		failed += e->most - knob_get(e->times[i]);
	}
	return failed;
}

/* Let the @nth request of this thread fail. */
static int fail_nth = -1;

static void arm(int nth)
{
	char buf[16];

	if (fail_nth < 0)
		fail_nth = open("/proc/thread-self/fail-nth",
				O_RDWR | O_CLOEXEC);
	snprintf(buf, sizeof(buf), "%d", nth);
	if (pwrite(fail_nth, buf, strlen(buf), 0) < 0)
		die("cannot write fail-nth");
}

/* Did it? */
static bool disarm(void)
{
	char buf[16] = "";
	bool hit;

	/* Of all requests, one of these may be the one that fails. */
	if (pread(fail_nth, buf, sizeof(buf) - 1, 0) < 0) {
		if (errno != EFAULT)
			die("cannot read fail-nth");
		return false;
	}
	hit = atoi(buf) == 0;
	if (!hit && pwrite(fail_nth, "0", 1, 0) < 0 && errno != EFAULT)
		die("cannot write fail-nth");
	return hit;
}

/* --- a hold in any state ------------------------------------------------ */

enum level {
	NOTHING,
	CREATED,
	ARMED,
	FROZEN,
	BEGUN,
	FILLED,
	LIVE,
};

FIXTURE(fault) {
	struct everywhere every;
	struct nic n;
	struct nl nl;
	struct nl events;
	int tx;
	int hold;
	__u32 id;
	struct tally t;
	__u64 sent;
	__u64 imported;
	/* Of each of the flows from FILLING on, and of all of them. */
	__u64 filled[MAX_FLOWS];
	__u64 filled_all;
	/* For the call under test. */
	struct pkt v[FRAMES];
};

FIXTURE_VARIANT(fault) {
	enum nic_kind kind;
	int queues;
};

FIXTURE_VARIANT_ADD(fault, tap) { .kind = TAP, .queues = 1 };
FIXTURE_VARIANT_ADD(fault, tap_mq) { .kind = TAP, .queues = 2 };
FIXTURE_VARIANT_ADD(fault, macvtap) { .kind = MACVTAP, .queues = 1 };

FIXTURE_SETUP(fault)
{
	if (access("/proc/thread-self/fail-nth", W_OK) || faults_open())
		SKIP(return, "this kernel has no fault injection");
	everywhere_open(&self->every);
	netns_new();
	nic_open(&self->n, variant->kind, 12, variant->queues);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	nl_open(&self->nl);
	/* So that events are made. */
	nl_open(&self->events);
	nl_subscribe(&self->events);
	self->hold = -1;
}

FIXTURE_TEARDOWN(fault)
{
	everywhere(&self->every, 0, -1);
	faults_of(&self->every, true);
}

static void send_some(FIXTURE_DATA(fault) *self)
{
	tx_flow(&self->n, self->tx, ARRIVED, self->sent, FRAMES);
	self->sent += FRAMES;
}

/* Packets that continue the flow of imports, as a peer would number them. */
static void make_imports(FIXTURE_DATA(fault) *self)
{
	static __u64 seq = TAPMIG_SEQ_FIRST;
	int i;

	for (i = 0; i < FRAMES; i++) {
		free(self->v[i].data);
		self->v[i] = pkt_udp(&self->n, seq++, IMPORTED,
				     self->imported++, FRAME_LEN);
	}
}

static int create(FIXTURE_DATA(fault) *self)
{
	/* Its deadline is late: no test meets it. */
	struct tapmig_create c = CREATE(.dedup = TAPMIG_DEDUP_ALL,
					.max_frozen_ms =
						TAPMIG_UNPRIV_MAX_FROZEN_MS,
					.mac = { 2, 0, 0, 0, 0, 0x77 });

	self->hold = hold_create(&c);
	return self->hold < 0 ? self->hold : 0;
}

static int add(FIXTURE_DATA(fault) *self)
{
	return hold_add(self->hold, self->n.fd[0], 0);
}

static int freeze(FIXTURE_DATA(fault) *self)
{
	return hold_freeze(self->hold);
}

static int prepare(FIXTURE_DATA(fault) *self)
{
	return hold_prepare(self->hold, 5000);
}

static int begin(FIXTURE_DATA(fault) *self)
{
	return nl_begin(&self->nl, self->id, 0);
}

static int import(FIXTURE_DATA(fault) *self)
{
	struct imported res;
	int ret;

	ret = nl_import(&self->nl, self->id, self->v, FRAMES, &res);
	if (!ret && res.accepted != FRAMES)
		return -EBADMSG;
	return ret;
}

/* What was held is not to arrive any more. */
static void forget_captured(FIXTURE_DATA(fault) *self)
{
	self->t.next[ARRIVED] = self->sent;
	self->t.got += FRAMES;
}

static int thaw(FIXTURE_DATA(fault) *self)
{
	return hold_thaw_wait(self->hold);
}

static void reach(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
		  enum level level)
{
	int q;

	if (level >= CREATED) {
		ASSERT_EQ(0, create(self));
		self->id = info_of(self->hold).id;
	}
	for (q = 0; level >= ARMED && q < self->n.queues; q++) {
		ASSERT_EQ(0, hold_add(self->hold, self->n.fd[q], q));
	}
	if (level >= FROZEN) {
		ASSERT_EQ(0, freeze(self));
		send_some(self);
		ASSERT_TRUE(hold_wait_captured(self->hold, FRAMES));
	}
	if (level >= BEGUN) {
		ASSERT_EQ(0, begin(self));
		make_imports(self);
	}
	if (level >= FILLED) {
		ASSERT_EQ(0, import(self));
	}
	if (level >= LIVE) {
		ASSERT_EQ(0, nl_set(&self->nl, self->id,
				    TAPMIG_A_HOLD_DEDUP, TAPMIG_DEDUP_OFF));
		ASSERT_EQ(0, thaw(self));
		ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
		make_imports(self);
	}
}

/* The end of it: all that was sent or imported arrives, once, in order. */
static void finish(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self)
{
	struct tapmig_info i;

	if (self->hold >= 0) {
		i = info_of(self->hold);
		if (i.state == TAPMIG_STATE_FROZEN) {
			ASSERT_EQ(0, thaw(self));
		}
		if (info_of(self->hold).state == TAPMIG_STATE_LIVE) {
			ASSERT_EQ(0, nl_end(&self->nl, self->id));
		}
	}
	send_some(self);
	EXPECT_TRUE(nic_wait(&self->n, &self->t, self->sent + self->imported +
			     self->filled_all))
		TH_LOG("%llu of %llu + %llu + %llu", self->t.got, self->sent,
		       self->imported, self->filled_all);
	EXPECT_EQ(self->sent, self->t.next[ARRIVED]);
	EXPECT_EQ(self->imported, self->t.next[IMPORTED]);
	EXPECT_TRUE(tally_clean(&self->t))
		TH_LOG("gaps %llu repeats %llu strange %llu", self->t.gaps,
		       self->t.repeats, self->t.strange);
	if (self->hold >= 0) {
		EXPECT_TRUE(busywait(info_of(self->hold).state ==
				     TAPMIG_STATE_ARMED));
		i = info_of(self->hold);
		EXPECT_EQ(0, i.held_packets);
		EXPECT_EQ(0, i.held_bytes);
		EXPECT_EQ(0, i.dropped);
		EXPECT_EQ(0, i.lost);
		close(self->hold);
		self->hold = -1;
	}
}

static bool is_clean(int ret)
{
	return ret == -ENOMEM || ret == -EFAULT || ret == -ENOBUFS;
}

/* Send until no ring has room: how many were taken. */
static unsigned int fill_rings(FIXTURE_DATA(fault) *self)
{
	bool full[FILLING_END] = {};
	unsigned int n = 0, left;
	int f;

	do {
		left = 0;
		for (f = FILLING; f < FILLING_END; f++) {
			if (full[f])
				continue;
			full[f] = !tx_flow(&self->n, self->tx, f,
					   self->filled[f], 1);
			self->filled[f] += !full[f];
			n += !full[f];
			left += !full[f];
		}
	} while (left);
	self->filled_all += n;
	return n;
}

/* What a call that has failed has left, but for the time. */
static void same_as_before(struct __test_metadata *_metadata,
			   const struct tapmig_info *before,
			   const struct tapmig_info *after)
{
	const __u32 *a = (const void *)before, *b = (const void *)after;
	size_t i;

	for (i = 0; i < sizeof(*before) / sizeof(*a); i++) {
		if (i == offsetof(struct tapmig_info, frozen_for_ms) / 4 ||
		    i == offsetof(struct tapmig_info, frozen_for_ms) / 4 + 1)
			continue;
		EXPECT_EQ(a[i], b[i])
			TH_LOG("TAPMIG_INFO differs at byte %zu", 4 * i);
	}
}

/*
 * In the state @level, let each request for memory that @call makes fail, one
 * after the other; there are @least of them. A call that failed has changed
 * nothing, and works when it is made again.
 *
 * If not only those of the @module fail, an answer can get lost: nobody knows
 * then what was done, and a dump stays half-way.
 */
static void sweep(struct __test_metadata *_metadata, FIXTURE_DATA(fault) *self,
		  const char *name, enum level level, bool module, int least,
		  int (*call)(FIXTURE_DATA(fault) *))
{
	struct tapmig_info before, after;
	int nth, ret, failed = 0;
	bool hit = true;

	for (nth = 1; hit; nth++) {
		reach(_metadata, self, level);
		if (level >= CREATED)
			before = info_of(self->hold);
		faults_of(&self->every, module);
		arm(nth);
		ret = call(self);
		hit = disarm();
		faults_of(&self->every, true);
		if (ret) {
			failed++;
			EXPECT_TRUE(hit && is_clean(ret))
				TH_LOG("%s, fault %d: %d", name, nth, ret);
			if (!module) {
				nl_close(&self->nl);
				nl_open(&self->nl);
			} else if (level >= CREATED && self->hold >= 0) {
				after = info_of(self->hold);
				same_as_before(_metadata, &before, &after);
			}
			ret = call(self);
			EXPECT_EQ(0, ret)
				TH_LOG("%s, again after fault %d: %d", name,
				       nth, ret);
		}
		finish(_metadata, self);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%s, fault %d", name, nth);
	}
	TH_LOG("%s: %d faults, %d failures", name, nth - 2, failed);
	EXPECT_LE(least, nth - 2)
		TH_LOG("%s", name);
}

#define SWEEP(level, call)						\
	sweep(_metadata, self, #call, level, true, 1, call)
/* What the module does without memory of its own. */
#define SWEEP_NONE(level, call)						\
	sweep(_metadata, self, #call, level, true, 0, call)
#define SWEEP_ALL(level, call)						\
	sweep(_metadata, self, #call, level, false, 1, call)

/* --- every request of a call fails once --------------------------------- */

static int create_and_close(FIXTURE_DATA(fault) *self)
{
	int ret = create(self);

	if (!ret)
		close(self->hold);
	self->hold = -1;
	return ret;
}

TEST_F_TIMEOUT(fault, create_works_or_leaves_nothing, LONG)
{
	SWEEP(NOTHING, create_and_close);
}

TEST_F_TIMEOUT(fault, a_user_creates_or_has_nothing, LONG)
{
	struct tapmig_create c = CREATE();
	int nth, fd, ctl = ctl_open();
	bool hit = true;

	IN_CHILD;
	/* Not the parent's. */
	fail_nth = -1;
	arm(0);
	become_nobody();
	for (nth = 1; hit; nth++) {
		arm(nth);
		fd = ioctl(ctl, TAPMIG_CREATE, &c);
		if (fd < 0)
			fd = -errno;
		hit = disarm();
		if (fd >= 0)
			close(fd);
		else
			CHECK(1, hit && is_clean(fd));
	}
	/* Of the last there was none. */
	CHECK(1, nth > 2);
	_exit(0);
}

TEST_F_TIMEOUT(fault, add_works_or_leaves_the_queue, LONG)
{
	if (self->n.queues > 1)
		SKIP(return, "for one queue");
	SWEEP(CREATED, add);
}

TEST_F_TIMEOUT(fault, prepare_works_or_leaves_the_rings, LONG)
{
	SWEEP(ARMED, prepare);
}

/* The contract: it has all memory that it needs before. */
static int freeze_works(FIXTURE_DATA(fault) *self)
{
	int ret = freeze(self);

	return ret && ret != -EFAULT ? -EBADMSG : ret;
}

TEST_F_TIMEOUT(fault, freeze_works, LONG)
{
	SWEEP(ARMED, freeze_works);
}

static int set(FIXTURE_DATA(fault) *self)
{
	return nl_set(&self->nl, self->id, TAPMIG_A_HOLD_MAX_FROZEN_MS,
		      60000);
}

static int get(FIXTURE_DATA(fault) *self)
{
	struct hold_nl h;

	return nl_get(&self->nl, self->id, &h);
}

static int dump(FIXTURE_DATA(fault) *self)
{
	struct hold_nl h[4];
	int n = nl_dump(&self->nl, h, 4);

	return n < 0 ? n : n == 1 ? 0 : -EBADMSG;
}

TEST_F_TIMEOUT(fault, get_dump_and_set_work_or_fail, LONG)
{
	SWEEP(FROZEN, get);
	SWEEP_NONE(FROZEN, dump);
	SWEEP_NONE(FROZEN, set);
}

static int export(FIXTURE_DATA(fault) *self)
{
	struct pkts p;
	int ret, n;

	ret = nl_export(&self->nl, self->id, 0, &p);
	n = p.n;
	if (!ret && p.broken)
		ret = -EBADMSG;
	pkts_free(&p);
	return ret ?: n == FRAMES ? 0 : -EBADMSG;
}

static int commit_nothing(FIXTURE_DATA(fault) *self)
{
	return nl_commit(&self->nl, self->id, TAPMIG_SEQ_FIRST - 1);
}

TEST_F_TIMEOUT(fault, export_and_commit_work_or_fail, LONG)
{
	SWEEP_NONE(FROZEN, export);
	SWEEP_NONE(FROZEN, commit_nothing);
}

/* One with fragments. */
static int give_back(FIXTURE_DATA(fault) *self)
{
	static struct rx rx = { .len = 9000 };
	int ret;

	frame_udp(&self->n, rx.data, rx.len, IMPORTED, self->imported);
	ret = hold_unread(self->hold, &self->n, &rx);
	self->imported += !ret;
	return ret;
}

TEST_F_TIMEOUT(fault, what_is_given_back_is_taken_or_stays, LONG)
{
	SWEEP(FROZEN, give_back);
}

static int begin_end(FIXTURE_DATA(fault) *self)
{
	return begin(self) ?: nl_sync(&self->nl, self->id, 1) ?:
	       nl_end(&self->nl, self->id);
}

static int sync_it(FIXTURE_DATA(fault) *self)
{
	return nl_sync(&self->nl, self->id, 1);
}

static int end(FIXTURE_DATA(fault) *self)
{
	return nl_end(&self->nl, self->id);
}

TEST_F_TIMEOUT(fault, import_takes_all_of_a_request_or_none, LONG)
{
	SWEEP(FROZEN, begin);
	SWEEP_NONE(FILLED, sync_it);
	SWEEP_NONE(FILLED, end);
	SWEEP(BEGUN, import);
}

TEST_F_TIMEOUT(fault, late_imports_are_taken_or_refused, LONG)
{
	SWEEP(LIVE, import);
}

static int import_chunks(FIXTURE_DATA(fault) *self)
{
	struct imported res;
	int ret;

	ret = nl_import_chunk(&self->nl, self->id, self->v, FRAMES, 30, &res);
	if (!ret && res.accepted != FRAMES)
		return -EBADMSG;
	return ret;
}

TEST_F_TIMEOUT(fault, chunks_are_imported_or_refused, LONG)
{
	SWEEP(BEGUN, import_chunks);
}

static int nl_freeze(FIXTURE_DATA(fault) *self)
{
	return nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_FREEZE, self->id);
}

static int nl_thaw(FIXTURE_DATA(fault) *self)
{
	int ret = nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_THAW, self->id);
	struct tapmig_info i;

	if (!ret && !busywait(!hold_info(self->hold, &i) &&
			      i.state != TAPMIG_STATE_THAWING))
		return -ETIMEDOUT;
	return ret;
}

static int nl_discard(FIXTURE_DATA(fault) *self)
{
	int ret = nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD, self->id);

	if (!ret)
		forget_captured(self);
	return ret;
}

static int commit_all(FIXTURE_DATA(fault) *self)
{
	struct tapmig_info i;
	int ret;

	ret = hold_info(self->hold, &i) ?:
	      nl_commit(&self->nl, self->id, i.highest_seq);
	if (!ret)
		forget_captured(self);
	return ret;
}

/* Maybe it was done the first time. */
static int import_maybe_again(FIXTURE_DATA(fault) *self)
{
	struct imported res;
	int ret;

	ret = nl_import(&self->nl, self->id, self->v, FRAMES, &res);
	if (!ret && res.accepted + res.resent != FRAMES)
		return -EBADMSG;
	return ret;
}

TEST_F_TIMEOUT(fault, netlink_may_fail_anywhere, LONG)
{
	if (self->n.queues > 1)
		SKIP(return, "for one queue");
	SWEEP_ALL(FROZEN, get);
	SWEEP_ALL(FROZEN, dump);
	SWEEP_ALL(FROZEN, set);
	SWEEP_ALL(FROZEN, export);
	SWEEP_ALL(FROZEN, commit_nothing);
	SWEEP_ALL(FROZEN, begin_end);
	SWEEP_ALL(BEGUN, import_maybe_again);
	SWEEP_ALL(LIVE, import_maybe_again);
}

TEST_F_TIMEOUT(fault, requests_by_netlink_work_or_fail, LONG)
{
	SWEEP(ARMED, nl_freeze);
	SWEEP(FILLED, nl_thaw);
	SWEEP(FROZEN, nl_discard);
	SWEEP(FROZEN, commit_all);
}

static int join(FIXTURE_DATA(fault) *self)
{
	struct tapmig_create c = CREATE();
	int hold = hold_create(&c), ret;

	if (hold < 0)
		return hold;
	ret = hold_add_flags(hold, self->n.fd[0], 0, TAPMIG_ADD_QUEUE_JOIN);
	close(hold);
	return ret;
}

TEST_F_TIMEOUT(fault, join_works_or_leaves_both_holds, LONG)
{
	SWEEP(FROZEN, join);
}

/* Its packets are all that stays of the hold. */
static int close_detached(FIXTURE_DATA(fault) *self)
{
	int ret;

	if (self->hold >= 0) {
		ret = hold_set_flags(self->hold, TAPMIG_HOLD_FLAGS_DETACHED,
				     TAPMIG_HOLD_FLAGS_DETACHED);
		if (ret)
			return ret;
		close(self->hold);
		self->hold = -1;
	}
	return export(self) ?: nl_discard(self);
}

TEST_F_TIMEOUT(fault, a_detached_hold_keeps_its_packets, LONG)
{
	SWEEP(FROZEN, close_detached);
}

static int close_it(FIXTURE_DATA(fault) *self)
{
	close(self->hold);
	self->hold = -1;
	return 0;
}

TEST_F_TIMEOUT(fault, thaw_and_close_need_no_memory_of_the_caller, LONG)
{
	SWEEP(FILLED, thaw);
	SWEEP(FILLED, close_it);
}

/* Who listens can look for himself then. */
TEST_F(fault, an_event_without_memory_is_told_as_lost)
{
	int fd = mnl_socket_get_fd(self->events.sk), nth, ret, told = 0;
	__u32 peer = TAPMIG_HOLD_FLAGS_PEER;
	bool hit = true;
	char buf[8192];
	ssize_t n;

	reach(_metadata, self, ARMED);
	for (nth = 1; hit; nth++) {
		while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
		arm(nth);
		ret = hold_set_flags(self->hold, peer, TAPMIG_HOLD_FLAGS_PEER);
		hit = disarm();
		if (ret)
			continue;
		peer ^= TAPMIG_HOLD_FLAGS_PEER;
		n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
		EXPECT_TRUE(n > 0 || errno == ENOBUFS)
			TH_LOG("fault %d: %s", nth, strerror(errno));
		told += n < 0;
	}
	EXPECT_LT(0, told);
	finish(_metadata, self);
}

/* --- a change of txqueuelen that the device refuses --------------------- */

/*
 * It has no memory for its new ring. Nobody says so: a work item gives the
 * readers what was taken out of the ring before, and what came since. But first
 * something else is to have its turn.
 */
static void refuse_change(struct __test_metadata *_metadata,
			  FIXTURE_DATA(fault) *self, struct alone *a)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {};
	int k, nth = 1;
	bool refused;

	ASSERT_LE(0, s);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", self->n.name);
	for (k = 0; k < 50; k++) {
		reach(_metadata, self, ARMED);
		send_some(self);
		ifr.ifr_qlen = 700 + k;
		faults_of(&self->every, false);
		alone_begin(a);
		arm(nth);
		refused = ioctl(s, SIOCSIFTXQLEN, &ifr) && errno == EPERM;
		disarm();
		faults_of(&self->every, true);
		send_some(self);
		/* Else the work item was there already. */
		if (refused && info_of(self->hold).held_bytes)
			break;
		alone_end(a);
		finish(_metadata, self);
		/* It was another request that failed. */
		nth += !refused;
	}
	ASSERT_GT(50, k);
	TH_LOG("request %d, try %d", nth, k);
	close(s);
}

TEST_F(fault, a_refused_change_of_txqueuelen_loses_nothing)
{
	struct alone a;

	refuse_change(_metadata, self, &a);
	alone_end(&a);
	finish(_metadata, self);
}

TEST_F(fault, a_discard_after_a_refused_change_of_txqueuelen_loses_nothing)
{
	struct alone a;

	refuse_change(_metadata, self, &a);
	EXPECT_EQ(0, hold_discard(self->hold));
	EXPECT_EQ(0, info_of(self->hold).discarded);
	alone_end(&a);
	finish(_metadata, self);
}

TEST_F(fault, a_close_after_a_refused_change_of_txqueuelen_loses_nothing)
{
	struct alone a;

	refuse_change(_metadata, self, &a);
	close_it(self);
	alone_end(&a);
	finish(_metadata, self);
}

TEST_F(fault, a_freeze_after_a_refused_change_of_txqueuelen_counts_each_once)
{
	struct alone a;
	int k;

	for (k = 0; k < 20; k++) {
		refuse_change(_metadata, self, &a);
		EXPECT_EQ(0, hold_freeze(self->hold));
		alone_end(&a);
		EXPECT_TRUE(hold_wait_captured(self->hold, 2 * FRAMES));
		EXPECT_EQ(2 * FRAMES, info_of(self->hold).held_packets);
		/* Else the work item was there: those in the hold came back. */
		if (info_of(self->hold).captured != 3 * FRAMES)
			break;
		finish(_metadata, self);
	}
	EXPECT_EQ(2 * FRAMES, info_of(self->hold).captured)
		TH_LOG("try %d", k);
	finish(_metadata, self);
}

/* --- whoever asks for memory, user or work item -------------------------- */

/* Try until it works; -ENOMEM and the like only. */
#define INSIST(call)							\
do {									\
	int __tries = 0, __ret;						\
									\
	while ((__ret = call) && is_clean(__ret) && ++__tries < 1000)	\
		;							\
	ASSERT_EQ(0, __ret)						\
		TH_LOG("%s after %d failures", #call, __tries);		\
} while (0)

TEST_F_TIMEOUT(fault, thaw_waits_for_memory, LONG)
{
	int times;

	for (times = 1; times <= 8; times++) {
		reach(_metadata, self, FILLED);
		everywhere(&self->every, 100, times);
		EXPECT_EQ(0, thaw(self));
		EXPECT_LT(0, nowhere(&self->every));
		finish(_metadata, self);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%d times", times);
	}
}

TEST_F_TIMEOUT(fault, late_imports_wait_for_memory, LONG)
{
	int times;

	for (times = 1; times <= 8; times++) {
		reach(_metadata, self, LIVE);
		everywhere(&self->every, 100, times);
		INSIST(import(self));
		EXPECT_LT(0, nowhere(&self->every));
		finish(_metadata, self);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%d times", times);
	}
}

/* More frames than the ring of a device has room for. */
#define PREPARED	1500

TEST_F_TIMEOUT(fault, a_failed_prepare_leaves_an_earlier_one, LONG)
{
	int times, ret = 0;

	/* When it first fails, there is memory again for what comes next. */
	for (times = 1; !ret && times <= 50; times++) {
		reach(_metadata, self, ARMED);
		ASSERT_EQ(0, hold_prepare(self->hold, 2 * PREPARED));
		everywhere(&self->every, 100, times);
		ret = prepare(self);
		EXPECT_LT(0, nowhere(&self->every));
		tx_flow(&self->n, self->tx, ARRIVED, self->sent, PREPARED);
		self->sent += PREPARED;
		finish(_metadata, self);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%d times", times);
	}
	EXPECT_EQ(-ENOMEM, ret);
}

/*
 * When the last of the rings cannot be enlarged, the others get their size
 * back, which can take until there is memory again.
 */
TEST_F_TIMEOUT(fault, a_failed_prepare_leaves_no_ring_enlarged, LONG)
{
	unsigned int most = self->n.queues * TXQUEUELEN, n = 0;
	struct tapmig_info before, after;
	int tries;

	/* Nobody tells the sender that its ring is full. */
	if (self->n.kind != TAP)
		SKIP(return, "a veth pair does not say what was dropped");
	reach(_metadata, self, ARMED);
	before = info_of(self->hold);
	/* So many pages can be had, those of the rings before the last. */
	knob_set(self->every.space, "%ld", 16 * self->n.queues - 15);
	everywhere(&self->every, 100, 1000);
	EXPECT_EQ(-ENOMEM, prepare(self));
	EXPECT_LT(0, nowhere(&self->every));
	knob_set(self->every.space, "%ld", 0);
	after = info_of(self->hold);
	same_as_before(_metadata, &before, &after);
	for (tries = 0; tries < 10 && n != most; tries++) {
		n = fill_rings(self);
		EXPECT_TRUE(nic_wait(&self->n, &self->t, self->filled_all));
		poll(NULL, 0, 500);
	}
	EXPECT_EQ(most, n);
	TH_LOG("try %d", tries);
	finish(_metadata, self);
}

/*
 * A packet that has to be segmented, between two others. All of it is to come,
 * in order.
 */
#define SEGMENTS	4

static void gso_pkts(const struct nic *n, __u64 seq, struct pkt *v)
{
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 1000,
		.csum_offset = 16,
	};
	struct pkt *k = &v[1];
	size_t l4;

	v[0] = pkt_udp(n, seq, IMPORTED, 0, FRAME_LEN);
	v[2] = pkt_udp(n, seq + 2, IMPORTED, 1, FRAME_LEN);
	*k = (struct pkt) {
		.seq = seq + 1,
		.protocol = ETH_P_IP,
		.data = malloc(SEGMENTS * 1000 + 100),
		.has_vnet = true,
	};
	k->len = frame_l4(n, k->data, AF_INET, IPPROTO_TCP, SEGMENTS * 1000,
			  true, &l4);
	h.csum_start = l4;
	h.hdr_len = l4 + 20;
	memcpy(k->vnet, &h, sizeof(h));
}

static void gso_read(struct __test_metadata *_metadata,
		     FIXTURE_DATA(fault) *self)
{
	static struct rx rx;
	int i, q;

	for (i = 0; i < SEGMENTS + 2; i++) {
		/* All of it is in one queue, if it is of one flow. */
		ASSERT_TRUE(busywait(({
			int got = 0;

			for (q = 0; !got && q < self->n.queues; q++)
				got = nic_read(&self->n, q, &rx);
			got;
		})))
			TH_LOG("frame %d", i);
		if (self->n.queues > 1) {
			EXPECT_TRUE(rx.len == FRAME_LEN || rx.len > 1000);
			continue;
		}
		if (i && i < SEGMENTS + 1) {
			EXPECT_LT(1000, rx.len);
		} else {
			EXPECT_EQ(FRAME_LEN, rx.len);
		}
	}
}

/* Held for a reader without offloads; the next @times no memory is to be had */
static void gso_hold(struct __test_metadata *_metadata,
		     FIXTURE_DATA(fault) *self, struct pkt *v, int times)
{
	struct imported res;

	ASSERT_EQ(0, nic_offload(&self->n, 0));
	reach(_metadata, self, BEGUN);
	self->imported = 0;
	gso_pkts(&self->n, TAPMIG_SEQ_FIRST, v);
	ASSERT_EQ(0, nl_import(&self->nl, self->id, v, 3, &res));
	everywhere(&self->every, 100, times);
}

static void gso_free(struct pkt *v)
{
	int i;

	for (i = 0; i < 3; i++)
		free(v[i].data);
}

TEST_F_TIMEOUT(fault, segmentation_waits_for_memory, LONG)
{
	struct tapmig_info info;
	struct imported res;
	struct pkt v[3];
	int times, i;

	for (times = 1; times <= 10; times++) {
		gso_hold(_metadata, self, v, times);
		EXPECT_EQ(0, thaw(self));
		EXPECT_LT(0, nowhere(&self->every));
		gso_read(_metadata, self);
		EXPECT_TRUE(nic_wait(&self->n, &self->t, self->sent));

		/* Late ones. */
		ASSERT_EQ(0, nl_set(&self->nl, self->id, TAPMIG_A_HOLD_DEDUP,
				    TAPMIG_DEDUP_OFF));
		for (i = 0; i < 3; i++)
			v[i].seq += 10;
		everywhere(&self->every, 100, times);
		INSIST(nl_import(&self->nl, self->id, v, 3, &res));
		gso_read(_metadata, self);
		EXPECT_LT(0, nowhere(&self->every));
		info = info_of(self->hold);
		EXPECT_EQ(0, info.lost);
		EXPECT_EQ(0, info.held_packets);
		EXPECT_EQ(0, info.pending_imports);
		EXPECT_EQ(0, info.held_bytes);
		close(self->hold);
		gso_free(v);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%d times", times);
	}
}

TEST_F_TIMEOUT(fault, a_close_waits_for_memory, LONG)
{
	struct pkt v[3];
	int times;

	for (times = 1; times <= 10; times++) {
		gso_hold(_metadata, self, v, times);
		close(self->hold);
		self->hold = -1;
		gso_read(_metadata, self);
		EXPECT_LT(0, nowhere(&self->every));
		EXPECT_TRUE(nic_wait(&self->n, &self->t, self->sent));
		EXPECT_TRUE(tally_clean(&self->t));
		ASSERT_TRUE(busywait(!nl_dump(&self->nl, NULL, 0)));
		gso_free(v);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%d times", times);
	}
}

/* Its owner cannot thaw it again, and nobody else will. */
TEST_F(fault, a_close_that_waited_for_memory_waits_for_no_peer)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY,
					.dedup = TAPMIG_DEDUP_ALL,
					.max_frozen_ms = 3600000,
					.wait_import_ms = 3600000);

	self->hold = hold_new(&self->n, &c);
	self->id = c.id;
	ASSERT_EQ(0, hold_set_flags(self->hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, freeze(self));
	/* To be compared with what is captured, which takes memory. */
	ASSERT_EQ(0, begin(self));
	make_imports(self);
	ASSERT_EQ(0, import(self));
	send_some(self);
	ASSERT_TRUE(hold_wait_captured(self->hold, FRAMES));
	ASSERT_EQ(0, hold_thaw(self->hold));
	everywhere(&self->every, 100, 3);
	close_it(self);
	ASSERT_LT(0, nowhere(&self->every));
	EXPECT_TRUE(nic_wait(&self->n, &self->t,
			     self->sent + self->imported));
	EXPECT_TRUE(tally_clean(&self->t));
	ASSERT_TRUE(busywait(!nl_dump(&self->nl, NULL, 0)));
}

TEST_F_TIMEOUT(fault, lives_go_on_with_little_memory, LONG)
{
	long k, rounds = env_count("TAPMIG_FAULT_ROUNDS", 20), hits = 0;
	int q;

	for (k = 0; k < rounds; k++) {
		everywhere(&self->every, 3, INT_MAX);
		INSIST(create(self));
		self->id = info_of(self->hold).id;
		for (q = 0; q < self->n.queues; q++)
			INSIST(hold_add(self->hold, self->n.fd[q], q));
		if (k & 1)
			INSIST(prepare(self));
		ASSERT_EQ(0, freeze(self));
		send_some(self);
		ASSERT_TRUE(hold_wait_captured(self->hold, FRAMES));
		INSIST(export(self));
		INSIST(begin(self));
		make_imports(self);
		INSIST(import(self));
		INSIST(nl_sync(&self->nl, self->id, 1));
		if (k & 2)
			INSIST(nl_end(&self->nl, self->id));
		ASSERT_EQ(0, thaw(self));
		if (!(k & 2) && (k & 4)) {
			INSIST(nl_set(&self->nl, self->id,
				      TAPMIG_A_HOLD_DEDUP,
				      TAPMIG_DEDUP_OFF));
			make_imports(self);
			INSIST(import(self));
		}
		hits += nowhere(&self->every);
		finish(_metadata, self);
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("round %ld", k);
	}
	TH_LOG("%ld faults in %ld rounds", hits, rounds);
	EXPECT_LT(0, hits);
}

/* --- the hook ------------------------------------------------------------ */

/*
 * Frames that XDP redirects, with so much metadata that there is no room in
 * them for what the hold has to know.
 */
static int full_headroom_prog(int ifindex)
{
	struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2,
		  .imm = -200 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_xdp_adjust_meta },
		{ .code = BPF_JMP | BPF_JEQ | BPF_K, .dst_reg = BPF_REG_0,
		  .off = 2 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0,
		  .imm = XDP_DROP },
		{ .code = BPF_JMP | BPF_EXIT },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_1,
		  .imm = ifindex },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_load(BPF_PROG_TYPE_XDP, insns, ARRAY_SIZE(insns));
}

/* A device to which a veth pair redirects such frames; false without faults. */
static bool full_headroom_open(struct everywhere *e, struct nic *n, int *tx)
{
	int prog;

	if (access("/proc/thread-self/fail-nth", W_OK) || faults_open())
		return false;
	everywhere_open(e);
	netns_new();
	nic_open(n, TAP, 12, 1);
	if (link_veth("out", "xdp"))
		die("cannot make a veth pair");
	link_up("out");
	link_up("xdp");
	prog = full_headroom_prog(n->ifindex);
	if (prog < 0 || link_xdp("xdp", prog))
		die("cannot redirect frames");
	*tx = tx_open(if_nametoindex("out"), TX_BYPASS);
	return true;
}

TEST(frames_without_room_wait_for_memory)
{
	struct everywhere e;
	struct tally t = {};
	struct nic n = {};
	__u64 sent = 0;
	int tx, hold;
	int times;

	if (!full_headroom_open(&e, &n, &tx))
		SKIP(return, "this kernel has no fault injection");
	hold = hold_new(&n, NULL);
	for (times = 0; times <= 40; times += 8) {
		ASSERT_EQ(0, hold_freeze(hold));
		everywhere(&e, 100, times ?: 1);
		tx_flow(&n, tx, ARRIVED, sent, FRAMES);
		sent += FRAMES;
		EXPECT_TRUE(hold_wait_captured(hold, sent));
		EXPECT_LT(0, nowhere(&e));
		EXPECT_EQ(0, info_of(hold).dropped);
		ASSERT_EQ(0, hold_thaw_wait(hold));
		EXPECT_TRUE(nic_wait(&n, &t, sent));
		EXPECT_TRUE(tally_clean(&t))
			TH_LOG("gaps %llu repeats %llu strange %llu", t.gaps,
			       t.repeats, t.strange);
		EXPECT_EQ(0, info_of(hold).held_bytes);
	}
}

/* So many packets vhost-net takes out of a ring at once. */
#define BATCH	64

/*
 * It gives back a batch, of which memory runs out after some. The others are
 * older than what is held, too, when they can be taken.
 */
TEST(a_batch_given_back_keeps_its_place_without_memory)
{
	int tx, hold, i, nth, hits = 0;
	struct everywhere e;
	struct nic n = {};
	struct vq vq;
	struct pkts p;
	struct nl nl;
	__u32 flow;
	__u64 seq;

	if (!full_headroom_open(&e, &n, &tx))
		SKIP(return, "this kernel has no fault injection");
	if (!vq_open(&vq))
		SKIP(return, "no vhost-net");
	nl_open(&nl);
	for (nth = 4; nth < BATCH; nth += 12) {
		struct tally t = {};

		hold = hold_new(&n, NULL);
		/* So that all are there before it looks. */
		ASSERT_EQ(0, hold_freeze(hold));
		ASSERT_TRUE(tx_held(&n, tx, hold, 0, 100, 100));
		ASSERT_EQ(0, hold_thaw_wait(hold));
		vq_post(&vq, 1);
		vq_backend(&vq, n.fd[0]);
		ASSERT_TRUE(vq_wait(&vq, &n, &t, 1, false));
		vq_flush(&vq);
		ASSERT_EQ(0, hold_freeze(hold));
		ASSERT_EQ(200 - BATCH, info_of(hold).captured);
		/* Work items that would look for it have run. */
		poll(NULL, 0, 100);
		vq_backend(&vq, -1);
		arm(nth);
		ASSERT_EQ(0, hold_commit(hold, 0));
		hits += disarm();
		tx_flow(&n, tx, 0, 100, 10);
		ASSERT_TRUE(hold_wait_captured(hold, 209));
		ASSERT_EQ(0, nl_export(&nl, info_of(hold).id, 0, &p));
		ASSERT_EQ(109, p.n);
		for (i = 0; i < p.n; i++) {
			ASSERT_TRUE(frame_parse(&n, p.v[i].data, p.v[i].len,
						&flow, &seq));
			ASSERT_EQ(i + 1, seq)
				TH_LOG("fault %d", nth);
		}
		EXPECT_EQ(TAPMIG_SEQ_FIRST + 100, p.v[BATCH - 1].seq);
		pkts_free(&p);
		ASSERT_EQ(0, hold_thaw_wait(hold));
		ASSERT_TRUE(nic_wait(&n, &t, 110));
		EXPECT_TRUE(tally_clean(&t));
		close(hold);
	}
	/* Else the test is of nothing. */
	EXPECT_LT(0, hits);
	TH_LOG("%d faults", hits);
}

TEST_HARNESS_MAIN
