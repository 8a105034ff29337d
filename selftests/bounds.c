// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a user can pin, and what users can do to each other.
 */
#include "lib.h"

#include <fcntl.h>
#include <linux/virtio_net.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "harness.h"

#define ALICE		65533
#define BOB		65532

#define HOLDS_OF_A_USER	1024
#define BYTES_OF_A_USER	(1ULL << 30)

FIXTURE(bounds) {
	struct nl nl;
	int ctl;
};

FIXTURE_SETUP(bounds)
{
	netns_new();
	self->ctl = ctl_open();
	nl_open(&self->nl);
}

FIXTURE_TEARDOWN(bounds)
{
}

/* A hold that this user makes; this process goes on as root. */
static int hold_of(int ctl, uid_t uid, struct tapmig_create c)
{
	int hold;

	if (setresuid(uid, uid, 0))
		die("setresuid");
	hold = ioctl(ctl, TAPMIG_CREATE, &c);
	if (hold < 0)
		hold = -errno;
	if (setresuid(0, 0, 0))
		die("setresuid");
	return hold;
}

/* With a queue of its own, frozen, ready for imports. */
static int frozen_of(struct __test_metadata *_metadata,
		     FIXTURE_DATA(bounds) *self, struct nic *n, uid_t uid,
		     struct tapmig_create c)
{
	int hold;

	/* However slow the machine is. */
	if (!c.max_frozen_ms)
		c.max_frozen_ms = TAPMIG_UNPRIV_MAX_FROZEN_MS;
	hold = hold_of(self->ctl, uid, c);
	EXPECT_LE(0, hold);
	EXPECT_EQ(0, hold_add(hold, n->fd[0], 0));
	EXPECT_EQ(0, hold_freeze(hold));
	EXPECT_EQ(0, nl_begin(&self->nl, info_of(hold).id, 0));
	return hold;
}

static void nic_of(struct __test_metadata *_metadata, struct nic *n, int k)
{
	char name[IFNAMSIZ];

	snprintf(name, sizeof(name), "tap%d", k);
	ASSERT_TRUE(nic_open_named(n, name, TAP, 12, 1));
}

TEST_F(bounds, the_device_is_for_root_and_its_group)
{
	struct stat st;

	ASSERT_EQ(0, stat("/dev/" TAPMIG_DEVICE_NAME, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(0660, st.st_mode & 07777);
	EXPECT_EQ(0, st.st_uid);
	IN_CHILD;
	become_nobody();
	CHECK(-1, open("/dev/" TAPMIG_DEVICE_NAME, O_RDWR));
	CHECK(EACCES, errno);
	_exit(0);
}

/* Two users, the same label: nothing that is done to one is done to both. */
TEST_F(bounds, labels_are_no_keys)
{
	struct tapmig_create c = CREATE();
	struct nic n[2] = {};
	struct pkt k[2];
	struct pkts p;
	int hold[2], i;
	__u32 id[2];

	strcpy(c.label, "the same");
	for (i = 0; i < 2; i++) {
		nic_of(_metadata, &n[i], i);
		hold[i] = frozen_of(_metadata, self, &n[i], i ? ALICE : BOB,
				    c);
		id[i] = info_of(hold[i]).id;
		k[i] = pkt_udp(&n[i], 1, 0, i, 100);
	}
	ASSERT_NE(id[0], id[1]);
	ASSERT_EQ(0, nl_import(&self->nl, id[0], &k[0], 1, NULL));
	EXPECT_EQ(1, info_of(hold[0]).pending_imports);
	EXPECT_EQ(0, info_of(hold[1]).pending_imports);
	ASSERT_EQ(0, nl_export(&self->nl, id[1], 0, &p));
	EXPECT_EQ(0, p.n);
	/* One who has a hold of that label has no access to the other. */
	EXPECT_EQ(-EBUSY, hold_add_flags(hold[1], n[1].fd[0], 0,
					 TAPMIG_ADD_QUEUE_JOIN));
	EXPECT_EQ(id[1], info_of(hold[1]).id);
	ASSERT_EQ(0, hold_discard(hold[1]));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(hold[0]).state);
	EXPECT_EQ(1, info_of(hold[0]).pending_imports);
	close(hold[1]);
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(hold[0]).state);
	EXPECT_EQ(1, info_of(hold[0]).pending_imports);
}

TEST_F(bounds, a_user_at_its_limit_does_not_limit_others)
{
	struct rlimit files = { 2 * HOLDS_OF_A_USER, 2 * HOLDS_OF_A_USER };
	static int hold[HOLDS_OF_A_USER];
	int i, other;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	for (i = 0; i < HOLDS_OF_A_USER; i++) {
		hold[i] = hold_of(self->ctl, ALICE, CREATE());
		ASSERT_LE(0, hold[i])
			TH_LOG("hold %d", i);
	}
	EXPECT_EQ(-EUSERS, hold_of(self->ctl, ALICE, CREATE()));
	other = hold_of(self->ctl, BOB, CREATE());
	EXPECT_LE(0, other);
	close(other);
	/* And what was given back can be had again. */
	close(hold[0]);
	hold[0] = hold_of(self->ctl, ALICE, CREATE());
	EXPECT_LE(0, hold[0]);
	for (i = 0; i < HOLDS_OF_A_USER; i++)
		close(hold[i]);
}

/*
 * In a user namespace that @owner made, where 1 is another user: is a hold
 * refused to that one? The child's exit code; 255: there are no namespaces.
 */
static int create_in_userns(int ctl, uid_t owner, uid_t other)
{
	struct tapmig_create c = CREATE();
	int ready[2], mapped[2], fd, status;
	char path[64], map[64], byte = 0;
	pid_t pid;

	if (pipe(ready) || pipe(mapped))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		if (setresuid(owner, owner, owner))
			_exit(254);
		/* Else its files in /proc are root's. */
		prctl(PR_SET_DUMPABLE, 1);
		if (unshare(CLONE_NEWUSER))
			_exit(255);
		if (write(ready[1], &byte, 1) != 1 ||
		    read(mapped[0], &byte, 1) != 1 || setresuid(1, 1, 1))
			_exit(254);
		fd = ioctl(ctl, TAPMIG_CREATE, &c);
		_exit(fd < 0 ? errno : 0);
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) == 1) {
		snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
		snprintf(map, sizeof(map), "0 %u 1\n1 %u 1\n", owner, other);
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, map, strlen(map)) < 0)
			die("uid_map");
		close(fd);
		if (write(mapped[1], &byte, 1) != 1)
			die("pipe");
	}
	close(ready[0]);
	close(mapped[0]);
	close(mapped[1]);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		die("waitpid");
	return WEXITSTATUS(status);
}

/* A user can have a whole range of others in namespaces of its own. */
TEST_F(bounds, a_user_has_no_more_by_others_in_its_namespaces)
{
	struct rlimit files = { 2 * HOLDS_OF_A_USER, 2 * HOLDS_OF_A_USER };
	static int hold[HOLDS_OF_A_USER];
	int i;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	i = create_in_userns(self->ctl, ALICE, BOB);
	if (i == 255)
		SKIP(return, "users make no namespaces");
	ASSERT_EQ(0, i);
	for (i = 0; i < HOLDS_OF_A_USER; i++) {
		hold[i] = hold_of(self->ctl, ALICE, CREATE());
		ASSERT_LE(0, hold[i])
			TH_LOG("hold %d", i);
	}
	EXPECT_EQ(EUSERS, create_in_userns(self->ctl, ALICE, BOB));
	/* Others have no less. What root hands out is up to root. */
	EXPECT_EQ(0, create_in_userns(self->ctl, BOB, ALICE));
	EXPECT_EQ(0, create_in_userns(self->ctl, 0, BOB));
	EXPECT_EQ(EUSERS, create_in_userns(self->ctl, 0, ALICE));
	for (i = 0; i < HOLDS_OF_A_USER; i++)
		close(hold[i]);
}

#define EXPENSIVE_SEGS	3000

/*
 * Small in memory, large in the account: GSO is charged as if it were segmented
 * already.
 */
static struct pkt expensive(const struct nic *n, __u64 seq)
{
	static __u8 data[65536];
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 10,
		.csum_offset = 16,
	};
	struct pkt k = {
		.seq = seq,
		.data = data,
		.has_vnet = true,
		.protocol = ETH_P_IP,
	};
	size_t l4;

	k.len = frame_l4(n, data, AF_INET, IPPROTO_TCP,
			 EXPENSIVE_SEGS * h.gso_size, true, &l4);
	h.csum_start = l4;
	h.hdr_len = l4 + 20;
	memcpy(k.vnet, &h, sizeof(h));
	return k;
}

/* Import until it is refused; what the hold is charged then. */
static __u64 fill(struct __test_metadata *_metadata,
		  FIXTURE_DATA(bounds) *self, struct nic *n, int hold)
{
	__u32 id = info_of(hold).id;
	struct pkt k;
	__u64 seq;
	int ret;

	for (seq = 1; seq < 100000; seq++) {
		k = expensive(n, seq);
		ret = nl_import(&self->nl, id, &k, 1, NULL);
		if (ret)
			break;
	}
	EXPECT_EQ(-ENOBUFS, ret)
		TH_LOG("%s", self->nl.msg);
	return info_of(hold).held_bytes;
}

/*
 * Send to a hold that has room until it drops what arrives, since its user, or
 * all together, have none. There is less left of that than an expensive packet
 * takes.
 */
static void capture_all(struct __test_metadata *_metadata, struct nic *n,
			int hold)
{
	int tx = tx_open(n->tx_ifindex, TX_BYPASS);
	struct tapmig_info i;
	__u64 sent = 0;

	do {
		ASSERT_EQ(100, tx_flow(n, tx, 0, sent, 100));
		sent += 100;
		ASSERT_TRUE(busywait(({
			i = info_of(hold);
			i.dropped + i.captured == sent;
		})));
	} while (!i.dropped && sent < 2 * EXPENSIVE_SEGS);
	ASSERT_LT(0, i.dropped)
		TH_LOG("%llu were captured", i.captured);
	/* It is not its own limits that it met. */
	EXPECT_GT(i.max_packets, i.held_packets + i.pending_imports);
	EXPECT_GT(i.max_bytes, i.held_bytes + (16 << 20));
	/* There is no more room in a moment. */
	ASSERT_EQ(100, tx_flow(n, tx, 0, sent, 100));
	EXPECT_TRUE(busywait(info_of(hold).dropped == i.dropped + 100));
	EXPECT_EQ(i.captured, info_of(hold).captured);
	close(tx);
}

#define MAX_TAPS	20

TEST_F(bounds, a_user_pins_so_much_and_no_more)
{
	static struct nic n[MAX_TAPS];
	__u64 sum = 0, most = 0, got;
	int hold[MAX_TAPS], i, other, tx;
	struct sysinfo si;
	struct pkt k;

	ASSERT_EQ(0, sysinfo(&si));
	if ((__u64)si.totalram * si.mem_unit < 2 * BYTES_OF_A_USER + (64 << 20))
		SKIP(return, "the limit for all is lower with so little memory");
	for (i = 0; i < MAX_TAPS - 1; i++) {
		nic_of(_metadata, &n[i], i);
		hold[i] = frozen_of(_metadata, self, &n[i], ALICE,
				    CREATE(.max_bytes =
					   TAPMIG_UNPRIV_MAX_BYTES));
		got = fill(_metadata, self, &n[i], hold[i]);
		EXPECT_LE(got, TAPMIG_UNPRIV_MAX_BYTES);
		sum += got;
		if (!i)
			most = got;
	}
	/* The first was stopped by its own limit, the last by the user's. */
	EXPECT_LT(TAPMIG_UNPRIV_MAX_BYTES / 2, most);
	EXPECT_GT(most, got);
	EXPECT_LE(sum, BYTES_OF_A_USER);
	EXPECT_LT(BYTES_OF_A_USER - TAPMIG_UNPRIV_MAX_BYTES, sum);
	/* What arrives then is lost as in a full ring, and counted. */
	capture_all(_metadata, &n[i - 1], hold[i - 1]);
	sum += info_of(hold[i - 1]).held_bytes - got;
	EXPECT_LE(sum, BYTES_OF_A_USER);
	EXPECT_LT(BYTES_OF_A_USER - (64 << 10), sum);
	/* Others do not notice. */
	nic_of(_metadata, &n[i], i);
	other = frozen_of(_metadata, self, &n[i], BOB, CREATE());
	k = expensive(&n[i], 1);
	EXPECT_EQ(0, nl_import(&self->nl, info_of(other).id, &k, 1, NULL));
	tx = tx_open(n[i].tx_ifindex, TX_BYPASS);
	ASSERT_EQ(100, tx_flow(&n[i], tx, 0, 0, 100));
	EXPECT_TRUE(hold_wait_captured(other, 100));
	/* And it gets back what it gives back. */
	ASSERT_EQ(0, hold_discard(hold[0]));
	ASSERT_EQ(0, hold_freeze(hold[0]));
	ASSERT_EQ(0, nl_begin(&self->nl, info_of(hold[0]).id, 0));
	EXPECT_EQ(0, nl_import(&self->nl, info_of(hold[0]).id, &k, 1, NULL));
	for (i = 0; i < MAX_TAPS - 1; i++)
		EXPECT_EQ(0, hold_discard(hold[i]));
}

TEST_F(bounds, all_together_pin_half_of_the_memory)
{
	struct tapmig_create c = CREATE(.max_bytes = TAPMIG_MAX_BYTES);
	struct nic n[2] = {};
	struct sysinfo si;
	__u64 all, got;
	int hold[2], i;
	struct pkt k;

	ASSERT_EQ(0, sysinfo(&si));
	all = (__u64)si.totalram * si.mem_unit / 2;
	if (all > TAPMIG_MAX_BYTES)
		SKIP(return, "one hold cannot take that much");
	for (i = 0; i < 2; i++) {
		nic_of(_metadata, &n[i], i);
		hold[i] = frozen_of(_metadata, self, &n[i], 0, c);
	}
	got = fill(_metadata, self, &n[0], hold[0]);
	EXPECT_LE(got, all + (16 << 20));
	EXPECT_LT(all - (64 << 20), got);
	k = expensive(&n[1], 1);
	EXPECT_EQ(-ENOBUFS, nl_import(&self->nl, info_of(hold[1]).id, &k, 1,
				      NULL));
	/* What comes then is lost as in a full ring, and counted. */
	capture_all(_metadata, &n[1], hold[1]);
	EXPECT_EQ(0, hold_discard(hold[0]));
	EXPECT_EQ(0, nl_import(&self->nl, info_of(hold[1]).id, &k, 1, NULL));
}

/* --- the memory cgroup ---------------------------------------------------- */

#define IMPORT_LEN	(256 * 1024)

static int cgroup_put(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static long long cgroup_bytes(int dir)
{
	int fd = openat(dir, "memory.current", O_RDONLY | O_CLOEXEC);
	char buf[32] = "";

	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) < 0)
		die("cannot read memory.current");
	close(fd);
	return atoll(buf);
}

FIXTURE(cgroup) {
	FIXTURE_DATA(bounds) b;
	char path[32];
	char group[64];
	int root;
	int dir;
	struct nic n;
};

FIXTURE_SETUP(cgroup)
{
	strcpy(self->path, "/tmp/cgroup.XXXXXX");
	netns_new();
	self->b.ctl = ctl_open();
	nl_open(&self->b.nl);
	ASSERT_NE(NULL, mkdtemp(self->path));
	if (mount("none", self->path, "cgroup2", 0, NULL)) {
		rmdir(self->path);
		SKIP(return, "no cgroup2");
	}
	self->root = open(self->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, self->root);
	if (cgroup_put(self->root, "cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller");
	snprintf(self->group, sizeof(self->group), "%s/bounds", self->path);
	ASSERT_EQ(0, mkdir(self->group, 0755));
	self->dir = open(self->group, O_PATH | O_DIRECTORY | O_CLOEXEC);
	ASSERT_LE(0, self->dir);
	nic_of(_metadata, &self->n, 0);
}

FIXTURE_TEARDOWN(cgroup)
{
	EXPECT_EQ(0, rmdir(self->group));
	close(self->dir);
	close(self->root);
	EXPECT_EQ(0, umount(self->path));
	EXPECT_EQ(0, rmdir(self->path));
}

/* Whoever imports pays, as for memory of its own. */
TEST_F(cgroup, imports_are_charged_to_the_cgroup)
{
	long long before, held, after;
	struct pkt k = {};
	int hold, i;
	__u32 id;

	ASSERT_EQ(0, cgroup_put(self->dir, "cgroup.procs", "0"));
	hold = frozen_of(_metadata, &self->b, &self->n, 0, CREATE());
	id = info_of(hold).id;
	k = pkt_udp(&self->n, 1, 0, 0, IMPORT_LEN);
	before = cgroup_bytes(self->dir);
	for (i = 0; i < 64; i++) {
		k.seq = i + 1;
		ASSERT_EQ(0, nl_import(&self->b.nl, id, &k, 1, NULL));
	}
	held = cgroup_bytes(self->dir) - before;
	EXPECT_LE(15 << 20, held);
	ASSERT_EQ(0, hold_discard(hold));
	after = cgroup_bytes(self->dir) - before;
	EXPECT_GT(4 << 20, after);
	TH_LOG("16 MiB: %lld held, %lld after", held, after);
	close(hold);
	/* Back, so that it can go. */
	ASSERT_EQ(0, cgroup_put(self->root, "cgroup.procs", "0"));
}

#define RING_ENTRIES	(1 << 20)

/* So does who has rings enlarged, until they are as they were. */
TEST_F(cgroup, rings_are_charged_to_the_cgroup)
{
	struct tapmig_create c = CREATE(.max_packets = RING_ENTRIES,
					.max_bytes = TAPMIG_MAX_BYTES);
	long long before, held;
	int hold;

	ASSERT_EQ(0, cgroup_put(self->dir, "cgroup.procs", "0"));
	hold = hold_new(&self->n, &c);
	before = cgroup_bytes(self->dir);
	ASSERT_EQ(0, hold_prepare(hold, RING_ENTRIES));
	held = cgroup_bytes(self->dir) - before;
	EXPECT_LE(7 << 20, held);
	close(hold);
	EXPECT_TRUE(busywait(cgroup_bytes(self->dir) - before < 1 << 20));
	TH_LOG("8 MiB: %lld held, %lld after", held,
	       cgroup_bytes(self->dir) - before);
	/* Back, so that it can go. */
	ASSERT_EQ(0, cgroup_put(self->root, "cgroup.procs", "0"));
}

#define IMPORTS		400

/* Import until there is no memory for it, and say how many were accepted. */
static void importer(FIXTURE_DATA(cgroup) *self, __u32 id, int *accepted)
{
	/* This much memory of its own, and no more. */
	struct pkt k = pkt_udp(&self->n, 0, 0, 0, IMPORT_LEN);
	struct nl nl;
	int ret;

	/* Killed, it leaves an answer in its socket. */
	nl_open(&nl);
	if (cgroup_put(self->dir, "cgroup.procs", "0"))
		die("cannot enter the cgroup");
	while (*accepted < IMPORTS) {
		k.seq = *accepted + 1;
		frame_udp(&self->n, k.data, k.len, 0, *accepted);
		ret = nl_import(&nl, id, &k, 1, NULL);
		if (ret)
			_exit(-ret);
		__atomic_add_fetch(accepted, 1, __ATOMIC_RELEASE);
	}
	_exit(0);
}

/*
 * Its memory is that of the group, so the group's limit stops it: it is refused
 * or killed. The hold has what was accepted, and another one may go on.
 */
TEST_F_TIMEOUT(cgroup,
	       an_importer_at_its_limit_is_stopped_and_the_hold_is_whole, 3600)
{
	struct tapmig_create c = CREATE(.max_bytes = 1 << 30,
					.max_frozen_ms = 600000);
	long k, times = env_count("TAPMIG_IMPORTERS", 1);
	int hold, i, status, *accepted, pending;
	struct imported res;
	struct pkt p;
	pid_t pid;
	__u32 id;

	accepted = mmap(NULL, sizeof(*accepted), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, accepted);
	ASSERT_EQ(0, cgroup_put(self->dir, "memory.max", "33554432"));
	cgroup_put(self->dir, "memory.swap.max", "0");
	hold = frozen_of(_metadata, &self->b, &self->n, 0, c);
	id = info_of(hold).id;
	p = pkt_udp(&self->n, 0, 0, 0, IMPORT_LEN);
	printk_hush(true);
	for (k = 0; k < times; k++) {
		struct tally t = {};

		*accepted = 0;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			importer(self, id, accepted);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		if (WIFSIGNALED(status)) {
			EXPECT_EQ(SIGKILL, WTERMSIG(status));
		} else {
			EXPECT_EQ(ENOMEM, WEXITSTATUS(status));
		}
		ASSERT_LT(0, *accepted);
		ASSERT_GT(IMPORTS, *accepted);
		ASSERT_EQ(TAPMIG_STATE_FROZEN, info_of(hold).state);
		/* Of the last it may not have heard. */
		pending = info_of(hold).pending_imports;
		EXPECT_TRUE(pending == *accepted || pending == *accepted + 1)
			TH_LOG("%d accepted, %d pending", *accepted, pending);
		if (!k)
			TH_LOG("%s after %d imports",
			       WIFSIGNALED(status) ? "killed" : "refused",
			       *accepted);
		/* Once more from the beginning, by one with more memory. */
		for (i = 0; i < pending + 20; i++) {
			p.seq = i + 1;
			frame_udp(&self->n, p.data, p.len, 0, i);
			ASSERT_EQ(0, nl_import(&self->b.nl, id, &p, 1, &res));
			ASSERT_EQ(i < pending, res.resent);
		}
		ASSERT_EQ(0, nl_end(&self->b.nl, id));
		ASSERT_EQ(0, hold_thaw_wait(hold));
		ASSERT_TRUE(nic_wait(&self->n, &t, pending + 20));
		EXPECT_TRUE(tally_clean(&t));
		ASSERT_EQ(0, hold_freeze(hold));
		ASSERT_EQ(0, nl_begin(&self->b.nl, id, 0));
	}
	printk_hush(false);
	free(p.data);
	close(hold);
	munmap(accepted, sizeof(*accepted));
}

TEST_HARNESS_MAIN
