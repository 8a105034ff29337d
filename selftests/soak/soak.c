// SPDX-License-Identifier: GPL-2.0-only
/*
 * What wears a hold out, over and over: its owner is killed for want of memory,
 * the module is replaced between two freezes, processors and the machine go to
 * sleep. SOAK_PERCENT says how much of it.
 */
#include "../lib.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kselftest_harness.h"

#define FRAMES	2000
#define CGROUP	"/sys/fs/cgroup/tapmig-soak"
#define LIMIT	"67108864"

static long part(long n)
{
	long k = n * env_count("SOAK_PERCENT", 100) / 100;

	return k ? k : 1;
}

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

/* --- memory --------------------------------------------------------------- */

FIXTURE(memory) {
	struct nic n;
	struct nl nl;
};

FIXTURE_VARIANT(memory) {
	bool detached;
};

FIXTURE_VARIANT_ADD(memory, thaws) { .detached = false };

FIXTURE_VARIANT_ADD(memory, detached) { .detached = true };

FIXTURE_SETUP(memory)
{
	netns_new();
	nl_open(&self->nl);
	/* The /sys of this namespace is new. */
	if (mount("none", "/sys/fs/cgroup", "cgroup2", 0, NULL))
		SKIP(return, "no control groups");
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CGROUP, 0755);
	if (!put(CGROUP "/memory.max", LIMIT))
		SKIP(return, "no memory cgroup");
	put(CGROUP "/memory.swap.max", "0");
	printk_hush(true);
}

FIXTURE_TEARDOWN(memory)
{
	printk_hush(false);
	rmdir(CGROUP);
}

/* It has a queue and a hold, freezes, and takes memory until it is killed. */
static void greedy(struct nic *n, bool detached, int ready, int go)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 600000);
	char b;
	int hold;

	if (!put(CGROUP "/cgroup.procs", "0"))
		die("cannot enter the cgroup");
	hold = hold_new(n, &c);
	if (hold_freeze_flags(hold, detached ? TAPMIG_FREEZE_DETACHED : 0))
		die("TAPMIG_FREEZE");
	if (write(ready, &c.id, sizeof(c.id)) != sizeof(c.id) ||
	    read(go, &b, 1) != 1)
		die("the parent is gone");
	for (;;) {
		void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1,
			       0);

		if (p != MAP_FAILED)
			memset(p, 1, 1 << 20);
	}
}

static void killed(struct __test_metadata *_metadata,
		   FIXTURE_DATA(memory) *self, bool detached)
{
	int ready[2], go[2], status, tx, i;
	struct tally t = {};
	struct hold_nl h;
	struct pkts p;
	__u32 id, flow;
	__u64 seq;
	pid_t pid;

	ASSERT_EQ(0, pipe2(ready, O_CLOEXEC));
	ASSERT_EQ(0, pipe2(go, O_CLOEXEC));
	nic_open(&self->n, TAP, 12, 1);
	tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		greedy(&self->n, detached, ready[1], go[0]);
	ASSERT_EQ(sizeof(id), read(ready[0], &id, sizeof(id)));
	tx_flow(&self->n, tx, 0, 0, FRAMES / 2);
	ASSERT_EQ(1, write(go[1], "g", 1));
	/* While it dies. */
	tx_flow(&self->n, tx, 0, FRAMES / 2, 400);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (detached) {
		ASSERT_TRUE(busywait(!nl_get(&self->nl, id, &h) &&
				     h.v[TAPMIG_A_HOLD_STATE] ==
				     TAPMIG_STATE_DEAD));
		ASSERT_EQ(0, nl_export(&self->nl, id, 0, &p));
		for (i = 0; i < p.n; i++) {
			ASSERT_TRUE(frame_parse(&self->n, p.v[i].data,
						p.v[i].len, &flow, &seq));
			tally_add(&t, flow, seq);
		}
		pkts_free(&p);
		ASSERT_EQ(0, nl_hold_cmd(&self->nl, TAPMIG_CMD_HOLD_DISCARD,
					 id));
	}
	/* What it was thawed with, and what came after its death. */
	ASSERT_TRUE(nic_wait(&self->n, &t, FRAMES / 2 + 400));
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("%llu gaps, %llu repeats", t.gaps, t.repeats);
	EXPECT_TRUE(busywait(nl_get(&self->nl, id, &h) == -ENOENT));
	close(tx);
	nic_close(&self->n);
	for (i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

TEST_F_TIMEOUT(memory, an_owner_killed_for_memory_loses_nothing, 3600)
{
	long k;

	for (k = 0; k < part(100); k++) {
		killed(_metadata, self, variant->detached);
		ASSERT_EQ(KSFT_PASS, _metadata->exit_code);
	}
}

/* --- the module ----------------------------------------------------------- */

FIXTURE(module) {
};

FIXTURE_SETUP(module)
{
}

FIXTURE_TEARDOWN(module)
{
}

/* What a hold has left to a work item keeps the module for a moment. */
static bool module_unused(void)
{
	char text[16] = "";
	int fd = open("/sys/module/tapmig/refcnt", O_RDONLY | O_CLOEXEC);
	bool unused;

	unused = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 &&
		 !atoi(text);
	close(fd);
	return unused;
}

TEST_F_TIMEOUT(module, a_thousand_one_after_the_other, 3600)
{
	struct nic n;
	int hold, tx;
	long k;

	netns_new();
	nic_open(&n, TAP, 12, 1);
	tx = tx_open(n.tx_ifindex, TX_BYPASS);
	for (k = 0; k < part(1000); k++) {
		struct tally t = {};

		hold = hold_new(&n, NULL);
		ASSERT_EQ(0, hold_freeze(hold));
		tx_flow(&n, tx, 0, 0, 20);
		/* A thaw that is under way when the hold is closed, or not. */
		if (k & 1)
			ASSERT_EQ(0, hold_thaw(hold));
		close(hold);
		tx_flow(&n, tx, 0, 20, 5);
		ASSERT_TRUE(busywait(module_unused()));
		ASSERT_EQ(0, system("modprobe -r tapmig"));
		tx_flow(&n, tx, 0, 25, 5);
		ASSERT_TRUE(nic_wait(&n, &t, 30));
		EXPECT_TRUE(tally_clean(&t));
		ASSERT_EQ(0, system("modprobe tapmig"));
	}
}

/* --- sleep ---------------------------------------------------------------- */

struct background {
	struct nic n;
	int hold;
	__u64 sent;
	struct tally t;
};

static void cycle(struct __test_metadata *_metadata, struct background *b,
		  int tx, bool (*rest)(long), long k)
{
	tx_flow(&b->n, tx, 0, b->sent, 100);
	ASSERT_EQ(0, hold_freeze(b->hold));
	tx_flow(&b->n, tx, 0, b->sent + 100, 300);
	ASSERT_TRUE(rest(k));
	tx_flow(&b->n, tx, 0, b->sent + 400, 100);
	ASSERT_EQ(0, hold_thaw(b->hold));
	tx_flow(&b->n, tx, 0, b->sent + 500, 50);
	b->sent += 550;
	ASSERT_TRUE(nic_wait(&b->n, &b->t, b->sent));
	ASSERT_TRUE(tally_clean(&b->t));
	ASSERT_TRUE(hold_wait_state(b->hold, TAPMIG_STATE_ARMED));
}

#define CPU1_ONLINE	"/sys/devices/system/cpu/cpu1/online"
#define WAKEUP_COUNT	"/sys/power/wakeup_count"
#define WAKEALARM	"/sys/class/rtc/rtc0/wakealarm"

static bool processor_goes_or_comes(long k)
{
	return put(CPU1_ONLINE, k & 1 ? "1" : "0");
}

/*
 * Until the clock's alarm. On a busy machine that may have come before all is
 * asleep, and nothing else would end the sleep: the kernel then refuses it, as
 * events have been counted since.
 */
static bool machine_sleeps(long k)
{
	char count[32] = "";
	ssize_t len;
	int fd;

	for (;;) {
		put(WAKEALARM, "0");
		fd = open(WAKEUP_COUNT, O_RDONLY | O_CLOEXEC);
		len = read(fd, count, sizeof(count) - 1);
		close(fd);
		if (fd < 0 || len <= 0)
			return false;
		count[len] = '\0';
		/* One more event since it was read. */
		if (!put(WAKEUP_COUNT, count))
			continue;
		if (!put(WAKEALARM, "+2"))
			return false;
		if (put("/sys/power/state", "mem"))
			return true;
		if (errno != EBUSY)
			return false;
	}
}

static void background_open(struct background *b)
{
	struct tapmig_create c = CREATE(.max_frozen_ms = 600000);

	memset(b, 0, sizeof(*b));
	netns_new();
	nic_open(&b->n, TAP, 12, 1);
	b->hold = hold_new(&b->n, &c);
}

FIXTURE(sleep) {
	struct background b;
};

FIXTURE_SETUP(sleep)
{
	background_open(&self->b);
}

FIXTURE_TEARDOWN(sleep)
{
}

TEST_F_TIMEOUT(sleep, processors_go_and_come_while_frozen, 3600)
{
	int tx = tx_open(self->b.n.tx_ifindex, TX_BYPASS);
	long k;

	/* Below the test's own /sys too. */
	if (access(CPU1_ONLINE, W_OK))
		SKIP(return, "no processor can be switched off");
	for (k = 0; k < part(200); k++)
		cycle(_metadata, &self->b, tx, processor_goes_or_comes, k);
	put(CPU1_ONLINE, "1");
}

TEST_F_TIMEOUT(sleep, the_machine_suspends_while_frozen, 3600)
{
	int tx = tx_open(self->b.n.tx_ifindex, TX_BYPASS);
	long k;

	if (access("/sys/power/state", W_OK) ||
	    access(WAKEALARM, W_OK))
		SKIP(return, "this kernel cannot suspend, or not wake");
	/* From s2idle no emulated clock wakes it. */
	if (!put("/sys/power/mem_sleep", "deep"))
		SKIP(return, "this machine cannot suspend to memory");
	for (k = 0; k < part(50); k++)
		cycle(_metadata, &self->b, tx, machine_sleeps, k);
}

TEST_HARNESS_MAIN
