// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctl interface: which file, which state, which structure is taken, and
 * with what error the others are refused.
 */
#include "lib.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "harness.h"

/* The fixture's holds have the default; who freezes one means no deadline. */
#define LATE	TAPMIG_UNPRIV_MAX_FROZEN_MS

FIXTURE(hold) {
	struct nic n;
	int ctl;
	int hold;
};

FIXTURE_SETUP(hold)
{
	struct tapmig_create c = CREATE();

	netns_new();
	nic_open(&self->n, TAP, 12, 1);
	self->ctl = ctl_open();
	self->hold = ioctl(self->ctl, TAPMIG_CREATE, &c);
	ASSERT_GE(self->hold, 0);
	ASSERT_EQ(0, hold_add(self->hold, self->n.fd[0], 0));
}

FIXTURE_TEARDOWN(hold)
{
}

/* A hold without a queue. */
FIXTURE(empty) {
	int ctl;
	int hold;
};

FIXTURE_SETUP(empty)
{
	struct tapmig_create c = CREATE();

	netns_new();
	self->ctl = ctl_open();
	self->hold = ioctl(self->ctl, TAPMIG_CREATE, &c);
	ASSERT_GE(self->hold, 0);
}

FIXTURE_TEARDOWN(empty)
{
}

static int err(int ret)
{
	return ret < 0 ? -errno : ret;
}

static int try_create(int ctl, struct tapmig_create c)
{
	return err(ioctl(ctl, TAPMIG_CREATE, &c));
}

TEST_F(empty, create_gives_an_armed_hold_with_defaults)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY);
	struct tapmig_info i;
	int hold;

	hold = ioctl(self->ctl, TAPMIG_CREATE, &c);
	ASSERT_GE(hold, 0);
	ASSERT_EQ(0, hold_info(hold, &i));
	EXPECT_EQ(sizeof(i), i.size);
	EXPECT_NE(0, c.id);
	EXPECT_EQ(c.id, i.id);
	EXPECT_EQ(TAPMIG_STATE_ARMED, i.state);
	EXPECT_EQ(TAPMIG_ROLE_STANDBY, i.role);
	EXPECT_EQ(0, i.flags);
	EXPECT_EQ(0, i.queues);
	EXPECT_EQ(TAPMIG_DEF_MAX_PACKETS, i.max_packets);
	EXPECT_EQ(TAPMIG_DEF_MAX_BYTES, i.max_bytes);
	EXPECT_EQ(TAPMIG_DEF_MAX_FROZEN_MS, i.max_frozen_ms);
	EXPECT_EQ(0, i.highest_seq);
	EXPECT_EQ(0, i.committed_seq);
	EXPECT_EQ(0, i.frozen_ns);
	EXPECT_EQ(0, i.captured);
	EXPECT_NE(info_of(self->hold).id, i.id);
}

TEST_F(empty, create_takes_what_was_asked_for)
{
	struct tapmig_create c = CREATE(.max_packets = 1234,
					.max_bytes = 1 << 20,
					.max_frozen_ms = 4567);
	struct tapmig_info i;

	i = info_of(ioctl(self->ctl, TAPMIG_CREATE, &c));
	EXPECT_EQ(1234, i.max_packets);
	EXPECT_EQ(1 << 20, i.max_bytes);
	EXPECT_EQ(4567, i.max_frozen_ms);
}

TEST_F(empty, create_refuses_another_abi)
{
	EXPECT_EQ(-EPROTO, try_create(self->ctl, CREATE(.abi_version = 0)));
	EXPECT_EQ(-EPROTO, try_create(self->ctl,
				      CREATE(.abi_version =
					     TAPMIG_ABI_VERSION + 1)));
}

TEST_F(empty, create_refuses_what_it_does_not_know)
{
	struct tapmig_create c;
	unsigned int b, i;

	for (b = 0; b < 32; b++) {
		if ((1U << b) & (TAPMIG_HOLD_FLAGS_DETACHED |
				 TAPMIG_HOLD_FLAGS_PINNED))
			continue;
		EXPECT_EQ(-EINVAL, try_create(self->ctl,
					      CREATE(.flags = 1U << b)));
	}
	EXPECT_EQ(-EINVAL, try_create(self->ctl, CREATE(.role = 2)));
	EXPECT_EQ(-EINVAL, try_create(self->ctl, CREATE(.dedup = 3)));
	EXPECT_EQ(-EINVAL, try_create(self->ctl,
				      CREATE(.deadline_action = 2)));
	for (i = 0; i < sizeof(c.reserved); i++) {
		c = CREATE();
		c.reserved[i] = 1;
		EXPECT_EQ(-EINVAL, try_create(self->ctl, c));
	}
	c = CREATE();
	memset(c.label, 'x', sizeof(c.label));
	EXPECT_EQ(-EINVAL, try_create(self->ctl, c));
	c.label[TAPMIG_LABEL_MAX] = '\0';
	EXPECT_LE(0, try_create(self->ctl, c));
}

/* Every structure with its number, for what holds for all of them. */
static const struct op {
	const char *name;
	unsigned int cmd;
	__u32 size;
	/* Offset and length of the reserved member. */
	__u32 reserved;
	__u32 reserved_len;
	/* Offset of the flags, and those that are known. */
	__u32 flags;
	__u32 known;
} ops[] = {
#define OP(NAME, s, ...) { #s, TAPMIG_##NAME, sizeof(struct tapmig_##s), \
			   __VA_ARGS__ }
#define RES(s) offsetof(struct tapmig_##s, reserved), \
	       sizeof(((struct tapmig_##s *)0)->reserved)
#define FLAGS(s, k) offsetof(struct tapmig_##s, flags), k
	OP(ADD_QUEUE, add_queue, RES(add_queue),
	   FLAGS(add_queue, TAPMIG_ADD_QUEUE_JOIN)),
	OP(PREPARE, prepare, RES(prepare), FLAGS(prepare, 0)),
	OP(FREEZE, freeze, RES(freeze), FLAGS(freeze, TAPMIG_FREEZE_DETACHED)),
	OP(UNREAD, unread, RES(unread), FLAGS(unread, TAPMIG_UNREAD_VNET_BE)),
	OP(THAW, thaw, RES(thaw), FLAGS(thaw, TAPMIG_THAW_WAIT)),
	OP(DISCARD, discard, 0, 0, FLAGS(discard, 0)),
	OP(COMMIT, commit, 0, 0, FLAGS(commit, 0)),
	OP(SET, set, RES(set), offsetof(struct tapmig_set, mask), 0xff),
	OP(INFO, info, 0, 0, 0, 0),
};

/* Filled so that only what the test changes is wrong. */
static void fill(const struct op *op, union ioctl_arg *a, int tap)
{
	static const __u8 frame[ETH_ZLEN];

	memset(a, 0, sizeof(*a));
	a->size = op->size;
	if (op->cmd == TAPMIG_ADD_QUEUE) {
		a->add.fd = tap;
		a->add.index = 1;
	} else if (op->cmd == TAPMIG_UNREAD) {
		a->unread.len = sizeof(frame);
		a->unread.data = (unsigned long)frame;
	}
}

TEST_F(hold, a_structure_too_small_is_refused)
{
	struct tapmig_create c = CREATE(.size = sizeof(c) - 1);
	union ioctl_arg a;
	size_t i;

	EXPECT_EQ(-EINVAL, try_create(self->ctl, c));
	c.size = 0;
	EXPECT_EQ(-EINVAL, try_create(self->ctl, c));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		fill(&ops[i], &a, self->n.fd[0]);
		a.size = ops[i].size - 1;
		EXPECT_EQ(-EINVAL, err(ioctl(self->hold, ops[i].cmd, &a)))
			TH_LOG("%s", ops[i].name);
		a.size = 0;
		EXPECT_EQ(-EINVAL, err(ioctl(self->hold, ops[i].cmd, &a)))
			TH_LOG("%s", ops[i].name);
	}
}

TEST_F(hold, a_larger_structure_is_taken_if_the_rest_is_zero)
{
	struct {
		union ioctl_arg a;
		__u64 more[4];
	} big;
	size_t i;
	__u8 *end;

	memset(&big, 0, sizeof(big));
	big.a.create = CREATE(.size = sizeof(struct tapmig_create) + 8);
	end = (__u8 *)&big + sizeof(struct tapmig_create);
	EXPECT_LE(0, err(ioctl(self->ctl, TAPMIG_CREATE, &big)));
	end[7] = 1;
	EXPECT_EQ(-E2BIG, err(ioctl(self->ctl, TAPMIG_CREATE, &big)));

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		memset(&big, 0, sizeof(big));
		fill(&ops[i], &big.a, self->n.fd[0]);
		big.a.size = ops[i].size + 16;
		end = (__u8 *)&big + ops[i].size;
		end[15] = 1;
		if (ops[i].cmd == TAPMIG_INFO)
			continue;
		EXPECT_EQ(-E2BIG, err(ioctl(self->hold, ops[i].cmd, &big)))
			TH_LOG("%s", ops[i].name);
	}

	/* In an order in which each of them is allowed. */
	fill(&ops[1], &big.a, 0);
	big.a.size += 16;
	memset((__u8 *)&big + ops[1].size, 0, 16);
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_PREPARE, &big)));
	memset(&big, 0, sizeof(big));
	big.a.size = sizeof(struct tapmig_freeze) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_FREEZE, &big)));
	big.a.size = sizeof(struct tapmig_commit) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_COMMIT, &big)));
	big.a.size = sizeof(struct tapmig_set) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_SET, &big)));
	big.a.size = sizeof(struct tapmig_thaw) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_THAW, &big)));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
	big.a.size = sizeof(struct tapmig_discard) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_DISCARD, &big)));
	big.a.size = sizeof(struct tapmig_info) + 16;
	EXPECT_EQ(0, err(ioctl(self->hold, TAPMIG_INFO, &big)));
	EXPECT_EQ(sizeof(struct tapmig_info), big.a.size);
}

TEST_F(hold, info_writes_no_more_than_the_caller_has)
{
	struct {
		struct tapmig_info i;
		__u8 guard[32];
	} a;
	size_t k;

	memset(&a, 0xa5, sizeof(a));
	a.i.size = sizeof(a.i);
	ASSERT_EQ(0, err(ioctl(self->hold, TAPMIG_INFO, &a)));
	for (k = 0; k < sizeof(a.guard); k++) {
		ASSERT_EQ(0xa5, a.guard[k]);
	}
}

TEST_F(hold, reserved_members_must_be_zero)
{
	__u32 r;
	union ioctl_arg a;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		for (r = 0; r < ops[i].reserved_len; r++) {
			fill(&ops[i], &a, self->n.fd[0]);
			((__u8 *)&a)[ops[i].reserved + r] = 1;
			EXPECT_EQ(-EINVAL,
				  err(ioctl(self->hold, ops[i].cmd, &a)))
				TH_LOG("%s, byte %u", ops[i].name, r);
		}
	}
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(hold, unknown_flags_are_refused)
{
	union ioctl_arg a;
	size_t i;
	int b;

	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		if (!ops[i].flags)
			continue;
		for (b = 0; b < 32; b++) {
			if (ops[i].known & (1U << b))
				continue;
			fill(&ops[i], &a, self->n.fd[0]);
			*(__u32 *)((__u8 *)&a + ops[i].flags) = 1U << b;
			EXPECT_EQ(-EINVAL,
				  err(ioctl(self->hold, ops[i].cmd, &a)))
				TH_LOG("%s, bit %d", ops[i].name, b);
		}
	}
	for (b = 0; b < 32; b++) {
		if ((1U << b) & (TAPMIG_HOLD_FLAGS_DETACHED |
				 TAPMIG_HOLD_FLAGS_PEER))
			continue;
		EXPECT_EQ(-EINVAL, hold_set_flags(self->hold, 0, 1U << b));
		EXPECT_EQ(-EINVAL, hold_set_flags(self->hold, 1U << b,
						  1U << b));
	}
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(hold, a_bad_pointer_is_refused)
{
	size_t i;

	EXPECT_EQ(-EFAULT, err(ioctl(self->ctl, TAPMIG_CREATE, NULL)));
	EXPECT_EQ(-EFAULT, err(ioctl(self->ctl, TAPMIG_CREATE, -1L)));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		EXPECT_EQ(-EFAULT, err(ioctl(self->hold, ops[i].cmd, NULL)))
			TH_LOG("%s", ops[i].name);
		EXPECT_EQ(-EFAULT, err(ioctl(self->hold, ops[i].cmd, -1L)))
			TH_LOG("%s", ops[i].name);
	}
}

TEST_F(hold, a_structure_that_ends_in_an_unmapped_page_is_refused)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct tapmig_create c = CREATE();
	__u32 *size;
	size_t i;

	ASSERT_NE(MAP_FAILED, page);
	munmap(page + 4096, 4096);
	memcpy(page + 4096 - 8, &c, 8);
	EXPECT_EQ(-EFAULT, err(ioctl(self->ctl, TAPMIG_CREATE,
				     page + 4096 - 8)));
	size = (__u32 *)(page + 4096 - 4);
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		*size = ops[i].size;
		EXPECT_EQ(-EFAULT, err(ioctl(self->hold, ops[i].cmd, size)))
			TH_LOG("%s", ops[i].name);
	}
}

TEST_F(hold, an_unknown_ioctl_is_refused)
{
	struct tapmig_create c = CREATE();
	__u64 arg[64] = { 256 };
	size_t i;

	EXPECT_EQ(-ENOTTY, err(ioctl(self->ctl, _IOW(TAPMIG_IOC_MAGIC, 0x7f,
						     __u64), arg)));
	EXPECT_EQ(-ENOTTY, err(ioctl(self->hold, _IOW(TAPMIG_IOC_MAGIC, 0x7f,
						      __u64), arg)));
	EXPECT_EQ(-ENOTTY, err(ioctl(self->hold, TIOCGWINSZ, arg)));
	/* A hold fd cannot create, the control fd is no hold. */
	EXPECT_EQ(-ENOTTY, err(ioctl(self->hold, TAPMIG_CREATE, &c)));
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		union ioctl_arg a;

		fill(&ops[i], &a, self->n.fd[0]);
		EXPECT_EQ(-ENOTTY, err(ioctl(self->ctl, ops[i].cmd, &a)))
			TH_LOG("%s", ops[i].name);
	}
}

TEST_F(hold, a_hold_cannot_be_read_or_written)
{
	char buf[64];

	EXPECT_EQ(-1, read(self->hold, buf, sizeof(buf)));
	EXPECT_EQ(-1, write(self->hold, buf, sizeof(buf)));
	EXPECT_EQ(-1, read(self->ctl, buf, sizeof(buf)));
}

TEST_F(empty, add_queue_refuses_what_is_not_a_queue)
{
	int pair[2], file, sock;

	EXPECT_EQ(-EBADF, hold_add(self->hold, -1, 0));
	EXPECT_EQ(-EBADF, hold_add(self->hold, 1000, 0));
	ASSERT_EQ(0, pipe(pair));
	EXPECT_EQ(-ENOTSOCK, hold_add(self->hold, pair[0], 0));
	file = open("/proc/self/exe", O_RDONLY);
	EXPECT_EQ(-ENOTSOCK, hold_add(self->hold, file, 0));
	sock = socket(AF_INET, SOCK_DGRAM, 0);
	EXPECT_EQ(-ENOTSOCK, hold_add(self->hold, sock, 0));
	EXPECT_EQ(-ENOTSOCK, hold_add(self->hold, self->hold, 0));
	EXPECT_EQ(-ENOTSOCK, hold_add(self->hold, self->ctl, 0));
	close(sock);
	EXPECT_EQ(-EBADF, hold_add(self->hold, sock, 0));
	/* A path fd stands for the file without opening it. */
	file = open("/dev/net/tun", O_PATH);
	EXPECT_EQ(-EBADF, hold_add(self->hold, file, 0));
	EXPECT_EQ(0, info_of(self->hold).queues);
}

TEST_F(empty, add_queue_refuses_an_unattached_tun)
{
	EXPECT_EQ(-EBADFD, hold_add(self->hold, open_tun(), 0));
	EXPECT_EQ(0, info_of(self->hold).queues);
}

TEST_F(empty, add_queue_refuses_a_closed_tap)
{
	struct nic n;

	nic_open(&n, TAP, 0, 1);
	close(n.fd[0]);
	EXPECT_EQ(-EBADF, hold_add(self->hold, n.fd[0], 0));
}

TEST_F(empty, add_queue_refuses_a_queue_that_is_shut_down)
{
	struct nic n;

	nic_open(&n, TAP, 0, 1);
	ASSERT_EQ(0, link_del(n.name));
	EXPECT_EQ(-ESHUTDOWN, hold_add(self->hold, n.fd[0], 0));
	EXPECT_EQ(0, info_of(self->hold).queues);
}

TEST_F(empty, add_queue_refuses_a_macvtap_whose_device_is_gone)
{
	struct nic n;
	int ret;

	if (!nic_try_open(&n, MACVTAP, 12, 1))
		SKIP(return, "no macvtap");
	ASSERT_EQ(0, link_del(n.name));
	ret = hold_add(self->hold, n.fd[0], 0);
	EXPECT_TRUE(ret == -EBADFD || ret == -ESHUTDOWN)
		TH_LOG("%d", ret);
}

TEST_F(empty, add_queue_refuses_a_ring_without_entries)
{
	struct nic n;

	nic_open(&n, TAP, 0, 1);
	link_txqlen(n.name, 0);
	EXPECT_EQ(-ENOSPC, hold_add(self->hold, n.fd[0], 0));
	EXPECT_EQ(0, info_of(self->hold).queues);
	link_txqlen(n.name, 100);
	EXPECT_EQ(0, hold_add(self->hold, n.fd[0], 0));
	EXPECT_EQ(1, info_of(self->hold).queues);
}

TEST_F(empty, a_queue_belongs_to_one_hold)
{
	struct tapmig_create c = CREATE();
	int other = hold_create(&c);
	struct nic n;

	nic_open(&n, TAP, 0, 2);
	ASSERT_GE(other, 0);
	ASSERT_EQ(0, hold_add(self->hold, n.fd[0], 0));
	EXPECT_EQ(-EEXIST, hold_add(self->hold, n.fd[0], 0));
	EXPECT_EQ(-EEXIST, hold_add(self->hold, n.fd[0], 1));
	EXPECT_EQ(-EEXIST, hold_add(other, n.fd[0], 0));
	/* Its index is taken. */
	EXPECT_EQ(-EEXIST, hold_add(self->hold, n.fd[1], 0));
	EXPECT_EQ(-EEXIST, hold_add_flags(self->hold, n.fd[1], 0,
					  TAPMIG_ADD_QUEUE_JOIN));
	EXPECT_EQ(0, hold_add(self->hold, n.fd[1], 1));
	EXPECT_EQ(2, info_of(self->hold).queues);
	/* The same queue by another descriptor. */
	EXPECT_EQ(-EEXIST, hold_add(other, dup(n.fd[0]), 0));
	close(self->hold);
	EXPECT_EQ(0, hold_add(other, n.fd[0], 0));
}

TEST_F(empty, queues_of_two_devices_do_not_mix)
{
	struct nic a, b;
	struct tapmig_create c = CREATE();
	int hold;

	ASSERT_TRUE(nic_open_named(&a, "tapa", TAP, 0, 1));
	ASSERT_TRUE(nic_open_named(&b, "tapb", TAP, 0, 1));
	ASSERT_EQ(0, hold_add(self->hold, a.fd[0], 0));
	EXPECT_EQ(-EXDEV, hold_add(self->hold, b.fd[0], 1));
	c.ifindex = a.ifindex;
	hold = hold_create(&c);
	ASSERT_GE(hold, 0);
	EXPECT_EQ(-EXDEV, hold_add(hold, b.fd[0], 0));
}

TEST_F(hold, join_gives_access_to_the_hold_of_the_queue)
{
	struct tapmig_create c = CREATE(.label = "joiner");
	struct tapmig_info i;
	int fd = hold_create(&c);
	__u8 buf[FRAME_LEN];
	int tx;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, hold_add_flags(fd, self->n.fd[0], 0,
				    TAPMIG_ADD_QUEUE_JOIN));
	i = info_of(fd);
	EXPECT_EQ(info_of(self->hold).id, i.id);
	EXPECT_EQ(1, i.queues);
	ASSERT_EQ(0, hold_renew(self->hold, LATE));
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	frame_udp(&self->n, buf, sizeof(buf), 0, 0);
	ASSERT_EQ(0, tx_send(tx, buf, sizeof(buf)));
	ASSERT_TRUE(hold_wait_captured(fd, 1));
	/* It lives as long as one of its descriptors. */
	close(self->hold);
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(fd).state);
	EXPECT_EQ(1, info_of(fd).held_packets);
	EXPECT_EQ(0, hold_thaw_wait(fd));
	EXPECT_EQ(1, info_of(fd).delivered);
}

TEST_F(hold, join_is_refused_to_a_hold_that_has_queues)
{
	struct nic b;
	struct tapmig_create c = CREATE();
	int fd = hold_create(&c);

	ASSERT_TRUE(nic_open_named(&b, "tapb", TAP, 0, 1));
	ASSERT_EQ(0, hold_add(fd, b.fd[0], 0));
	EXPECT_GT(0, hold_add_flags(fd, self->n.fd[0], 1,
				    TAPMIG_ADD_QUEUE_JOIN));
	EXPECT_NE(info_of(self->hold).id, info_of(fd).id);
	EXPECT_EQ(1, info_of(self->hold).queues);
}

TEST_F(empty, join_of_a_free_queue_adds_it)
{
	struct nic n;

	nic_open(&n, TAP, 0, 1);
	EXPECT_EQ(0, hold_add_flags(self->hold, n.fd[0], 0,
				    TAPMIG_ADD_QUEUE_JOIN));
	EXPECT_EQ(1, info_of(self->hold).queues);
}

TEST_F(empty, a_hold_without_queues_does_not_freeze)
{
	EXPECT_EQ(-ENODEV, hold_freeze(self->hold));
	EXPECT_EQ(-ENODEV, hold_prepare(self->hold, 0));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(hold, an_armed_hold_refuses_thaw_and_commit)
{
	EXPECT_EQ(-EBUSY, hold_thaw(self->hold));
	EXPECT_EQ(-EBUSY, hold_thaw_wait(self->hold));
	EXPECT_EQ(-EBUSY, hold_commit(self->hold, 0));
	EXPECT_EQ(0, hold_discard(self->hold));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(hold, a_frozen_hold_refuses_freeze_prepare_and_queues)
{
	struct nic b;

	ASSERT_EQ(0, hold_renew(self->hold, LATE));
	ASSERT_EQ(0, hold_freeze(self->hold));
	EXPECT_EQ(-EBUSY, hold_freeze(self->hold));
	EXPECT_EQ(-EBUSY, hold_prepare(self->hold, 0));
	ASSERT_TRUE(nic_open_named(&b, "tapb", TAP, 0, 1));
	EXPECT_EQ(-EBUSY, hold_add(self->hold, b.fd[0], 1));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(self->hold).state);
	EXPECT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
	EXPECT_EQ(0, hold_freeze(self->hold));
	EXPECT_EQ(0, hold_discard(self->hold));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(hold, a_dead_hold_refuses_all_but_export)
{
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_DEAD));
	EXPECT_EQ(-ENODEV, hold_freeze(self->hold));
	EXPECT_EQ(-ENODEV, hold_prepare(self->hold, 0));
	EXPECT_EQ(-ENODEV, hold_thaw(self->hold));
	EXPECT_EQ(-ENODEV, hold_thaw_wait(self->hold));
	EXPECT_EQ(0, hold_commit(self->hold, 0));
	EXPECT_EQ(0, hold_discard(self->hold));
	EXPECT_EQ(TAPMIG_STATE_DEAD, info_of(self->hold).state);
}

TEST_F(hold, commit_beyond_the_newest_packet_is_refused)
{
	int tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	struct tapmig_info i;

	ASSERT_EQ(0, hold_renew(self->hold, LATE));
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, tx, 0, 0, 3);
	ASSERT_TRUE(hold_wait_captured(self->hold, 3));
	EXPECT_EQ(-ERANGE, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 3));
	EXPECT_EQ(-ERANGE, hold_commit(self->hold, ~0ULL));
	EXPECT_EQ(3, info_of(self->hold).held_packets);
	EXPECT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 1));
	i = info_of(self->hold);
	EXPECT_EQ(1, i.held_packets);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 1, i.committed_seq);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 2, i.highest_seq);
	/* Again, and an older one: nothing to do. */
	EXPECT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 1));
	EXPECT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST));
	EXPECT_EQ(1, info_of(self->hold).held_packets);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 1, info_of(self->hold).committed_seq);
}

TEST_F(empty, prepare_is_limited_by_the_hold)
{
	struct tapmig_create c = CREATE(.max_packets = 5000);
	struct nic n;
	int hold;

	nic_open(&n, TAP, 0, 1);
	hold = hold_new(&n, &c);
	EXPECT_EQ(-ERANGE, hold_prepare(hold, 5001));
	EXPECT_EQ(0, hold_prepare(hold, 5000));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(hold).state);
	EXPECT_EQ(0, hold_prepare(hold, 0));
}

TEST_F(hold, set_changes_what_the_mask_names)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_MAX_PACKETS | TAPMIG_SET_MAX_BYTES,
		.max_packets = 77,
		.max_bytes = 1 << 21,
		.max_frozen_ms = 999,
	};
	struct tapmig_info i;

	EXPECT_EQ(0, hold_set(self->hold, &s));
	i = info_of(self->hold);
	EXPECT_EQ(77, i.max_packets);
	EXPECT_EQ(1 << 21, i.max_bytes);
	EXPECT_EQ(TAPMIG_DEF_MAX_FROZEN_MS, i.max_frozen_ms);
	EXPECT_EQ(0, hold_renew(self->hold, 999));
	EXPECT_EQ(999, info_of(self->hold).max_frozen_ms);
	EXPECT_EQ(0, hold_set_flags(self->hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_PEER, info_of(self->hold).flags);
	EXPECT_EQ(0, hold_set_flags(self->hold, TAPMIG_HOLD_FLAGS_DETACHED,
				    TAPMIG_HOLD_FLAGS_DETACHED));
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_PEER | TAPMIG_HOLD_FLAGS_DETACHED,
		  info_of(self->hold).flags);
	EXPECT_EQ(0, hold_set_flags(self->hold, 0,
				    TAPMIG_HOLD_FLAGS_PEER |
				    TAPMIG_HOLD_FLAGS_DETACHED));
	EXPECT_EQ(0, info_of(self->hold).flags);
}

TEST_F(hold, set_refuses_what_is_out_of_range)
{
	struct tapmig_set s;

	s = (struct tapmig_set) { .mask = TAPMIG_SET_DEDUP, .dedup = 3 };
	EXPECT_EQ(-EINVAL, hold_set(self->hold, &s));
	s = (struct tapmig_set) { .mask = TAPMIG_SET_DEADLINE_ACTION,
				  .deadline_action = 2 };
	EXPECT_EQ(-EINVAL, hold_set(self->hold, &s));
	s = (struct tapmig_set) { .mask = TAPMIG_SET_MAX_PACKETS };
	EXPECT_EQ(-ERANGE, hold_set(self->hold, &s));
	s.max_packets = TAPMIG_MAX_PACKETS + 1;
	EXPECT_EQ(-ERANGE, hold_set(self->hold, &s));
	s = (struct tapmig_set) { .mask = TAPMIG_SET_MAX_BYTES,
				  .max_bytes = TAPMIG_MAX_BYTES + 1 };
	EXPECT_EQ(-ERANGE, hold_set(self->hold, &s));
	s = (struct tapmig_set) { .mask = TAPMIG_SET_MAX_FROZEN_MS };
	EXPECT_EQ(-ERANGE, hold_set(self->hold, &s));
	s.max_frozen_ms = TAPMIG_MAX_FROZEN_MS + 1;
	EXPECT_EQ(-ERANGE, hold_set(self->hold, &s));
	EXPECT_EQ(TAPMIG_DEF_MAX_PACKETS, info_of(self->hold).max_packets);
}

TEST_F(hold, a_user_without_capability_is_limited)
{
	int ctl = self->ctl;
	struct tapmig_set s;
	int hold;

	IN_CHILD;
	become_nobody();
	CHECK(-EPERM, try_create(ctl, CREATE(.max_packets =
					     TAPMIG_UNPRIV_MAX_PACKETS + 1)));
	CHECK(-EPERM, try_create(ctl, CREATE(.max_bytes =
					     TAPMIG_UNPRIV_MAX_BYTES + 1)));
	CHECK(-EPERM, try_create(ctl,
				 CREATE(.max_frozen_ms =
					TAPMIG_UNPRIV_MAX_FROZEN_MS + 1)));
	CHECK(-EPERM, try_create(ctl,
				 CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED)));
	hold = try_create(ctl,
			  CREATE(.max_packets = TAPMIG_UNPRIV_MAX_PACKETS,
				 .max_bytes = TAPMIG_UNPRIV_MAX_BYTES,
				 .max_frozen_ms = TAPMIG_UNPRIV_MAX_FROZEN_MS,
				 .flags = TAPMIG_HOLD_FLAGS_DETACHED));
	CHECK_OK(hold);
	s = (struct tapmig_set) {
		.mask = TAPMIG_SET_MAX_PACKETS,
		.max_packets = TAPMIG_UNPRIV_MAX_PACKETS + 1,
	};
	CHECK(-EPERM, hold_set(hold, &s));
	s = (struct tapmig_set) {
		.mask = TAPMIG_SET_MAX_BYTES,
		.max_bytes = TAPMIG_UNPRIV_MAX_BYTES + 1,
	};
	CHECK(-EPERM, hold_set(hold, &s));
	CHECK(-EPERM, hold_renew(hold, TAPMIG_UNPRIV_MAX_FROZEN_MS + 1));
	_exit(0);
}

TEST_F(hold, a_user_without_capability_holds_the_queue_it_has)
{
	int ctl = self->ctl, tap = self->n.fd[0], hold;

	close(self->hold);
	IN_CHILD;
	become_nobody();
	hold = try_create(ctl, CREATE(.max_frozen_ms = LATE));
	CHECK_OK(hold);
	CHECK(0, hold_add(hold, tap, 0));
	CHECK(0, hold_prepare(hold, 0));
	CHECK(0, hold_freeze(hold));
	CHECK(0, hold_thaw_wait(hold));
	_exit(0);
}

TEST_F(hold, a_privileged_limit_is_accepted_with_the_capability)
{
	struct tapmig_create c = CREATE(.max_packets = TAPMIG_MAX_PACKETS,
					.max_bytes = TAPMIG_MAX_BYTES,
					.max_frozen_ms = TAPMIG_MAX_FROZEN_MS);
	int hold = hold_create(&c);

	ASSERT_GE(hold, 0);
	EXPECT_EQ(TAPMIG_MAX_BYTES, info_of(hold).max_bytes);
	EXPECT_EQ(TAPMIG_MAX_PACKETS, info_of(hold).max_packets);
	c = CREATE(.max_packets = TAPMIG_MAX_PACKETS + 1);
	EXPECT_GT(0, hold_create(&c));
	c = CREATE(.max_bytes = TAPMIG_MAX_BYTES + 1);
	EXPECT_GT(0, hold_create(&c));
	c = CREATE(.max_frozen_ms = TAPMIG_MAX_FROZEN_MS + 1);
	EXPECT_GT(0, hold_create(&c));
}

TEST_F(hold, a_user_has_1024_holds_and_no_more)
{
	struct rlimit rl = { 4096, 4096 };
	int ctl = self->ctl, i, fd = -1;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	IN_CHILD;
	become_nobody();
	/* One of a test before may count until a work item ends. */
	for (i = 0; i < 1024; i++)
		CHECK(1, busywait((fd = try_create(ctl, CREATE())) >= 0));
	CHECK(-EUSERS, try_create(ctl, CREATE()));
	close(fd);
	CHECK_OK(try_create(ctl, CREATE()));
	CHECK(-EUSERS, try_create(ctl, CREATE()));
	_exit(0);
}

TEST_F(hold, poll_tells_of_changes_until_info_is_read)
{
	struct pollfd p = { .fd = self->hold, .events = POLLIN };

	ASSERT_EQ(0, hold_renew(self->hold, LATE));
	info_of(self->hold);
	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(1, poll(&p, 1, WAIT_MS));
	EXPECT_EQ(POLLIN, p.revents);
	EXPECT_EQ(1, poll(&p, 1, 0));
	info_of(self->hold);
	EXPECT_EQ(0, poll(&p, 1, 0));
	ASSERT_EQ(0, hold_thaw(self->hold));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
	ASSERT_EQ(0, link_del(self->n.name));
	p.events = 0;
	ASSERT_EQ(1, poll(&p, 1, WAIT_MS));
	EXPECT_EQ(POLLHUP, p.revents);
	EXPECT_EQ(TAPMIG_STATE_DEAD, info_of(self->hold).state);
}

TEST_F(hold, each_descriptor_polls_for_itself)
{
	struct tapmig_create c = CREATE();
	int other = hold_create(&c);
	struct pollfd p = { .fd = other, .events = POLLIN };

	ASSERT_EQ(0, hold_add_flags(other, self->n.fd[0], 0,
				    TAPMIG_ADD_QUEUE_JOIN));
	ASSERT_EQ(0, hold_renew(self->hold, LATE));
	info_of(self->hold);
	info_of(other);
	ASSERT_EQ(0, hold_freeze(self->hold));
	info_of(self->hold);
	EXPECT_EQ(1, poll(&p, 1, WAIT_MS));
	info_of(other);
	EXPECT_EQ(0, poll(&p, 1, 0));
}

/* --- a 32-bit program --------------------------------------------------- */

TEST(a_32_bit_program_has_the_same_interface)
{
	union ioctl_arg *a = low_alloc(sizeof(*a));
	int ctl, hold, tx;
	struct nic n;

	if (!have_ioctl32())
		SKIP(return, "no 32-bit system calls");
	netns_new();
	nic_open(&n, TAP, 12, 1);
	ctl = ctl_open();

	a->create = CREATE(.max_bytes = 0x123456, .max_frozen_ms = LATE,
			   .label = "compat");
	hold = ioctl32(ctl, TAPMIG_CREATE, a);
	ASSERT_GE(hold, 0);
	EXPECT_NE(0, a->create.id);
	EXPECT_EQ(a->create.id, info_of(hold).id);
	EXPECT_EQ(0x123456, info_of(hold).max_bytes);

	memset(a, 0, sizeof(*a));
	a->add.size = sizeof(a->add);
	a->add.fd = n.fd[0];
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_ADD_QUEUE, a));
	EXPECT_EQ(-EEXIST, ioctl32(hold, TAPMIG_ADD_QUEUE, a));

	memset(a, 0, sizeof(*a));
	a->size = sizeof(a->prepare);
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_PREPARE, a));
	a->prepare.reserved = 1;
	EXPECT_EQ(-EINVAL, ioctl32(hold, TAPMIG_PREPARE, a));

	memset(a, 0, sizeof(*a));
	a->size = sizeof(a->freeze);
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_FREEZE, a));
	tx = tx_open(n.tx_ifindex, TX_BYPASS);
	tx_flow(&n, tx, 0, 0, 4);
	ASSERT_TRUE(hold_wait_captured(hold, 4));

	memset(a, 0, sizeof(*a));
	a->commit.size = sizeof(a->commit);
	a->commit.seq = TAPMIG_SEQ_FIRST;
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_COMMIT, a));
	a->commit.seq = 1ULL << 40;
	EXPECT_EQ(-ERANGE, ioctl32(hold, TAPMIG_COMMIT, a));

	memset(a, 0, sizeof(*a));
	a->set.size = sizeof(a->set);
	a->set.mask = TAPMIG_SET_MAX_BYTES;
	a->set.max_bytes = 0x654321;
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_SET, a));

	memset(a, 0, sizeof(*a));
	a->info.size = sizeof(a->info);
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_INFO, a));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, a->info.state);
	EXPECT_EQ(4, a->info.captured);
	EXPECT_EQ(3, a->info.held_packets);
	EXPECT_EQ(0x654321, a->info.max_bytes);

	memset(a, 0, sizeof(*a));
	a->thaw.size = sizeof(a->thaw);
	a->thaw.flags = TAPMIG_THAW_WAIT;
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_THAW, a));
	EXPECT_EQ(3, info_of(hold).delivered);

	memset(a, 0, sizeof(*a));
	a->discard.size = sizeof(a->discard);
	EXPECT_EQ(0, ioctl32(hold, TAPMIG_DISCARD, a));
	EXPECT_EQ(-EFAULT, ioctl32(hold, TAPMIG_DISCARD, NULL));
	EXPECT_EQ(-ENOTTY, ioctl32(hold, TAPMIG_CREATE, a));
	EXPECT_EQ(-ENOTTY, ioctl32(ctl, TAPMIG_DISCARD, a));
}

TEST_HARNESS_MAIN
