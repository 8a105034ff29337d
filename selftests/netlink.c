// SPDX-License-Identifier: GPL-2.0-only
/*
 * The netlink interface: what is refused, with which words, and who may ask.
 */
#include "lib.h"

#include <fcntl.h>
#include <linux/genetlink.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "harness.h"

FIXTURE(nl) {
	struct nic n;
	struct nl nl;
	int hold;
	int tx;
	__u32 id;
	char buf[8192];
};

FIXTURE_SETUP(nl)
{
	struct tapmig_create c = CREATE(.label = "vm/net0",
					.mac = { 2, 0, 0, 0, 0, 9 });

	netns_new();
	nic_open(&self->n, TAP, 12, 1);
	self->hold = hold_new(&self->n, &c);
	self->id = c.id;
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	nl_open(&self->nl);
}

FIXTURE_TEARDOWN(nl)
{
}

static const __u8 hold_cmds[] = {
	TAPMIG_CMD_HOLD_GET, TAPMIG_CMD_HOLD_SET, TAPMIG_CMD_HOLD_FREEZE,
	TAPMIG_CMD_HOLD_THAW, TAPMIG_CMD_HOLD_DISCARD,
};

static const __u8 transfer_cmds[] = {
	TAPMIG_CMD_PACKET_NEW, TAPMIG_CMD_PACKET_COMMIT,
	TAPMIG_CMD_IMPORT_BEGIN, TAPMIG_CMD_IMPORT_SYNC,
	TAPMIG_CMD_IMPORT_END,
};

/* What a command needs beside the id, so that only the id is wrong. */
static void put_rest(struct nl *nl, struct nlmsghdr *nlh, __u8 cmd)
{
	struct nlattr *nest;
	__u8 data[64] = {};

	switch (cmd) {
	case TAPMIG_CMD_HOLD_SET:
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_MAX_PACKETS, 5);
		break;
	case TAPMIG_CMD_PACKET_COMMIT:
		mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, 1);
		break;
	case TAPMIG_CMD_PACKET_NEW:
		nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
		mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, 1);
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, sizeof(data));
		mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, sizeof(data), data);
		mnl_attr_nest_end(nlh, nest);
		break;
	}
}

static int with_id(struct nl *nl, void *buf, __u8 cmd, __u32 id)
{
	struct nlmsghdr *nlh = nl_msg(nl, buf, cmd, NLM_F_ACK);

	/* The id has the same number in both attribute sets. */
	if (id != ~0U)
		mnl_attr_put_u32(nlh, 1, id);
	put_rest(nl, nlh, cmd);
	return nl_talk(nl, nlh, NULL, NULL);
}

TEST_F(nl, get_shows_the_hold)
{
	struct hold_nl h;

	ASSERT_EQ(0, nl_get(&self->nl, self->id, &h));
	EXPECT_EQ(self->id, h.v[TAPMIG_A_HOLD_ID]);
	EXPECT_STREQ("vm/net0", h.label);
	EXPECT_STREQ(self->n.name, h.ifname);
	EXPECT_EQ(self->n.ifindex, h.v[TAPMIG_A_HOLD_IFINDEX]);
	EXPECT_EQ(TAPMIG_STATE_ARMED, h.v[TAPMIG_A_HOLD_STATE]);
	EXPECT_EQ(TAPMIG_ROLE_SOURCE, h.v[TAPMIG_A_HOLD_ROLE]);
	EXPECT_EQ(1, h.v[TAPMIG_A_HOLD_QUEUES]);
	EXPECT_EQ(getpid(), h.v[TAPMIG_A_HOLD_OWNER_PID]);
	EXPECT_EQ(TAPMIG_DEF_MAX_PACKETS, h.v[TAPMIG_A_HOLD_MAX_PACKETS]);
	EXPECT_EQ(TAPMIG_DEF_MAX_BYTES, h.v[TAPMIG_A_HOLD_MAX_BYTES]);
	EXPECT_EQ(TAPMIG_UNPRIV_MAX_FROZEN_MS,
		  h.v[TAPMIG_A_HOLD_MAX_FROZEN_MS]);
	EXPECT_EQ(TAPMIG_DEF_WAIT_IMPORT_MS,
		  h.v[TAPMIG_A_HOLD_WAIT_IMPORT_MS]);
	EXPECT_FALSE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	EXPECT_EQ(9, h.mac[5]);
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_get(&self->nl, self->id, &h));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, h.v[TAPMIG_A_HOLD_STATE]);
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
	EXPECT_GE(TAPMIG_UNPRIV_MAX_FROZEN_MS,
		  h.v[TAPMIG_A_HOLD_DEADLINE_IN_MS]);
}

TEST_F(nl, counters_are_the_same_by_netlink_and_ioctl)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 10 };
	struct tapmig_info i;
	struct hold_nl h;

	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, 0, 15);
	ASSERT_TRUE(busywait(info_of(self->hold).dropped == 5));
	ASSERT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 1));
	i = info_of(self->hold);
	ASSERT_EQ(0, nl_get(&self->nl, self->id, &h));
#define SAME(NAME, member) EXPECT_EQ(i.member, h.v[TAPMIG_A_HOLD_##NAME])
	SAME(STATE, state);
	SAME(FLAGS, flags);
	SAME(HELD_PACKETS, held_packets);
	SAME(HELD_BYTES, held_bytes);
	SAME(PENDING_IMPORTS, pending_imports);
	SAME(HIGHEST_SEQ, highest_seq);
	SAME(COMMITTED_SEQ, committed_seq);
	SAME(CAPTURED, captured);
	SAME(DROPPED, dropped);
	SAME(DROPPED_BYTES, dropped_bytes);
	SAME(FROZEN_NS, frozen_ns);
	SAME(MAX_PACKETS, max_packets);
	EXPECT_EQ(8, i.held_packets);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 14, i.highest_seq);
}

TEST_F(nl, dump_shows_each_hold_once)
{
	struct tapmig_create c = CREATE();
	struct hold_nl h[64];
	__u64 seen = 0;
	int i, k;

	for (i = 0; i < 40; i++) {
		ASSERT_GE(hold_create(&c), 0);
	}
	ASSERT_EQ(41, nl_dump(&self->nl, h, 64));
	for (i = 0; i < 41; i++) {
		seen += h[i].v[TAPMIG_A_HOLD_ID];
		for (k = 0; k < i; k++) {
			ASSERT_NE(h[k].v[TAPMIG_A_HOLD_ID],
				  h[i].v[TAPMIG_A_HOLD_ID]);
		}
	}
	EXPECT_NE(0, seen);
}

TEST_F(nl, an_id_that_is_not_there_is_named)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hold_cmds) + ARRAY_SIZE(transfer_cmds);
	     i++) {
		__u8 cmd = i < ARRAY_SIZE(hold_cmds) ? hold_cmds[i] :
			transfer_cmds[i - ARRAY_SIZE(hold_cmds)];

		EXPECT_EQ(-ENOENT, with_id(&self->nl, self->buf, cmd,
					   self->id + 1000))
			TH_LOG("command %d", cmd);
		EXPECT_NE('\0', self->nl.msg[0])
			TH_LOG("command %d", cmd);
		EXPECT_EQ(1, self->nl.bad)
			TH_LOG("command %d", cmd);
		/* Zero is no id. */
		EXPECT_EQ(-ERANGE, with_id(&self->nl, self->buf, cmd, 0));
		EXPECT_EQ(1, self->nl.bad);
		EXPECT_NE('\0', self->nl.msg[0]);
		/* None at all. */
		EXPECT_EQ(-EINVAL, with_id(&self->nl, self->buf, cmd, ~0U));
		EXPECT_TRUE(self->nl.miss == 1 || self->nl.msg[0])
			TH_LOG("command %d", cmd);
	}
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(nl, export_of_an_id_that_is_not_there_is_refused)
{
	/* An old kernel gives a dump no way to say why. */
	bool words = kernel_has(6, 7);
	struct nlmsghdr *nlh;
	struct pkts p;

	EXPECT_EQ(-ENOENT, nl_export(&self->nl, self->id + 1000, 0, &p));
	EXPECT_TRUE(!words || self->nl.msg[0]);
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_PACKET_GET, NLM_F_DUMP);
	EXPECT_EQ(-EINVAL, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_TRUE(!words || self->nl.miss == 1 || self->nl.msg[0]);
}

TEST_F(nl, attributes_must_be_known_and_well_formed)
{
	struct nlmsghdr *nlh;

	/* One that the family does not have. */
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_HOLD_GET, NLM_F_ACK);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, self->id);
	mnl_attr_put_u32(nlh, 999, 1);
	EXPECT_EQ(-EINVAL, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_EQ(999, self->nl.bad);
	/* One that the command does not take. */
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_HOLD_FREEZE, NLM_F_ACK);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, self->id);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS, 1);
	EXPECT_EQ(-EINVAL, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_EQ(TAPMIG_A_HOLD_FLAGS, self->nl.bad);
	/* Wrong sizes. */
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_HOLD_GET, NLM_F_ACK);
	mnl_attr_put_u16(nlh, TAPMIG_A_HOLD_ID, self->id);
	EXPECT_GT(0, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_EQ(TAPMIG_A_HOLD_ID, self->nl.bad);
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_PACKET_COMMIT,
		     NLM_F_ACK);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, self->id);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_SEQ, 1);
	EXPECT_GT(0, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_EQ(TAPMIG_A_TRANSFER_SEQ, self->nl.bad);
	/* A command that is not there. */
	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_HOLD_NTF, NLM_F_ACK);
	EXPECT_EQ(-EOPNOTSUPP, nl_talk(&self->nl, nlh, NULL, NULL));
	nlh = nl_msg(&self->nl, self->buf, 200, NLM_F_ACK);
	EXPECT_EQ(-EOPNOTSUPP, nl_talk(&self->nl, nlh, NULL, NULL));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
}

TEST_F(nl, set_refuses_what_is_out_of_range)
{
	struct nl *nl = &self->nl;

#define REFUSED(err, attr, val)						\
do {									\
	EXPECT_EQ(err, nl_set(nl, self->id, attr, val));		\
	EXPECT_EQ(attr, nl->bad);					\
	EXPECT_NE('\0', nl->msg[0]);					\
} while (0)
	REFUSED(-ERANGE, TAPMIG_A_HOLD_MAX_PACKETS, 0);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_MAX_PACKETS, TAPMIG_MAX_PACKETS + 1);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_MAX_BYTES, TAPMIG_MAX_BYTES + 1);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_MAX_FROZEN_MS, 0);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_MAX_FROZEN_MS,
		TAPMIG_MAX_FROZEN_MS + 1);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_DEDUP, 3);
	REFUSED(-ERANGE, TAPMIG_A_HOLD_DEADLINE_ACTION, 2);
	/* Not with this command. */
	EXPECT_EQ(-EINVAL, nl_set(nl, self->id, TAPMIG_A_HOLD_STATE, 1));
	EXPECT_EQ(TAPMIG_A_HOLD_STATE, nl->bad);
	/* Flags that cannot be changed, or are none. */
	EXPECT_EQ(-EINVAL, nl_set_flags(nl, self->id,
					TAPMIG_HOLD_FLAGS_PINNED,
					TAPMIG_HOLD_FLAGS_PINNED));
	EXPECT_NE('\0', nl->msg[0]);
	EXPECT_EQ(-EINVAL, nl_set_flags(nl, self->id, 0x80, 0x80));
	EXPECT_NE('\0', nl->msg[0]);
	EXPECT_EQ(TAPMIG_DEF_MAX_PACKETS, info_of(self->hold).max_packets);
	EXPECT_EQ(0, info_of(self->hold).flags);
}

TEST_F(nl, set_changes_the_hold)
{
	struct hold_nl h;
	struct nl *nl = &self->nl;

	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_MAX_PACKETS, 7));
	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_MAX_BYTES, 1 << 22));
	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_MAX_FROZEN_MS, 5000));
	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS, 77));
	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_DEDUP,
			    TAPMIG_DEDUP_OFF));
	EXPECT_EQ(0, nl_set(nl, self->id, TAPMIG_A_HOLD_DEADLINE_ACTION,
			    TAPMIG_DEADLINE_ACTION_DISCARD));
	EXPECT_EQ(0, nl_set_flags(nl, self->id, TAPMIG_HOLD_FLAGS_PEER,
				  TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, nl_get(nl, self->id, &h));
	EXPECT_EQ(7, h.v[TAPMIG_A_HOLD_MAX_PACKETS]);
	EXPECT_EQ(1 << 22, h.v[TAPMIG_A_HOLD_MAX_BYTES]);
	EXPECT_EQ(5000, h.v[TAPMIG_A_HOLD_MAX_FROZEN_MS]);
	EXPECT_EQ(77, h.v[TAPMIG_A_HOLD_WAIT_IMPORT_MS]);
	EXPECT_EQ(TAPMIG_DEDUP_OFF, h.v[TAPMIG_A_HOLD_DEDUP]);
	EXPECT_EQ(TAPMIG_DEADLINE_ACTION_DISCARD,
		  h.v[TAPMIG_A_HOLD_DEADLINE_ACTION]);
	EXPECT_EQ(TAPMIG_HOLD_FLAGS_PEER, h.v[TAPMIG_A_HOLD_FLAGS]);
}

TEST_F(nl, the_wrong_state_is_named)
{
	struct nl *nl = &self->nl;
	struct pkt k = pkt_udp(&self->n, 1, 0, 0, 100);

#define BUSY(expr, word)						\
do {									\
	EXPECT_EQ(-EBUSY, expr);					\
	EXPECT_NE(NULL, strcasestr(nl->msg, word))			\
		TH_LOG("says '%s'", nl->msg);				\
} while (0)
	BUSY(nl_hold_cmd(nl, TAPMIG_CMD_HOLD_THAW, self->id), "armed");
	BUSY(nl_commit(nl, self->id, 1), "armed");
	BUSY(nl_begin(nl, self->id, 0), "armed");
	EXPECT_EQ(-EBUSY, nl_import(nl, self->id, &k, 1, NULL));
	EXPECT_NE('\0', nl->msg[0]);
	EXPECT_EQ(0, nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE, self->id));
	EXPECT_EQ(TAPMIG_STATE_FROZEN, info_of(self->hold).state);
	BUSY(nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE, self->id), "frozen");
	/* Without a session. */
	BUSY(nl_import(nl, self->id, &k, 1, NULL), "session");
	BUSY(nl_sync(nl, self->id, 0), "session");
	BUSY(nl_end(nl, self->id), "session");
	EXPECT_EQ(0, nl_begin(nl, self->id, 0));
	/* A sender that lost its connection takes it up again. */
	EXPECT_EQ(0, nl_begin(nl, self->id, 0));
	EXPECT_TRUE(info_of(self->hold).flags & TAPMIG_HOLD_FLAGS_IMPORTING);
	EXPECT_EQ(0, nl_hold_cmd(nl, TAPMIG_CMD_HOLD_THAW, self->id));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_LIVE));
	BUSY(nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE, self->id), "live");
	EXPECT_EQ(0, nl_end(nl, self->id));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
	EXPECT_FALSE(info_of(self->hold).flags & TAPMIG_HOLD_FLAGS_IMPORTING);
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_DEAD));
	EXPECT_EQ(-ENODEV, nl_hold_cmd(nl, TAPMIG_CMD_HOLD_FREEZE, self->id));
	EXPECT_NE(NULL, strcasestr(nl->msg, "dead"));
}

TEST_F(nl, commit_beyond_the_newest_packet_is_refused)
{
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, 0, 3);
	ASSERT_TRUE(hold_wait_captured(self->hold, 3));
	EXPECT_EQ(-ERANGE, nl_commit(&self->nl, self->id,
				     TAPMIG_SEQ_FIRST + 3));
	EXPECT_EQ(TAPMIG_A_TRANSFER_SEQ, self->nl.bad);
	EXPECT_NE('\0', self->nl.msg[0]);
	EXPECT_EQ(0, nl_commit(&self->nl, self->id, TAPMIG_SEQ_FIRST + 2));
	EXPECT_EQ(0, info_of(self->hold).held_packets);
}

/* --- malformed packets -------------------------------------------------- */

struct bad {
	const char *name;
	int err;
	__u64 seq;
	__u32 len;
	__u32 offset;
	__u32 data;
	int vnet;
	int skip;
	bool flat;
};

static int import_bad(struct nl *nl, char *buf, __u32 id, const struct bad *b)
{
	struct nlmsghdr *nlh = nl_msg(nl, buf, TAPMIG_CMD_PACKET_NEW,
				      NLM_F_ACK);
	struct nlattr *nest;
	__u8 data[2048] = {};

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
	if (b->skip != TAPMIG_A_PACKET_SEQ)
		mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, b->seq);
	if (b->skip != TAPMIG_A_PACKET_LEN)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, b->len);
	if (b->offset)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, b->offset);
	if (b->vnet)
		mnl_attr_put(nlh, TAPMIG_A_PACKET_VNET_HDR, b->vnet, data);
	if (b->skip != TAPMIG_A_PACKET_DATA)
		mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, b->data, data);
	if (b->skip == TAPMIG_A_PACKET_VLAN_TCI)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_VLAN_TCI, 5);
	mnl_attr_nest_end(nlh, nest);
	if (b->flat)
		nest->nla_type &= ~NLA_F_NESTED;
	return nl_talk(nl, nlh, NULL, NULL);
}

TEST_F(nl, malformed_packets_are_refused)
{
	static const struct bad bad[] = {
		{ "seq 0", .seq = 0, .len = 100, .data = 100 },
		{ "seq too large", .seq = TAPMIG_SEQ_MAX + 1ULL, .len = 100,
		  .data = 100 },
		{ "seq far too large", .seq = ~0ULL, .len = 100, .data = 100 },
		{ "no seq", .skip = TAPMIG_A_PACKET_SEQ, .len = 100,
		  .data = 100 },
		{ "no data", .seq = 1, .skip = TAPMIG_A_PACKET_DATA,
		  .len = 100 },
		{ "empty data", .seq = 1, .len = 100, .data = 0 },
		{ "no length of a frame", .seq = 1, .len = 0, .data = 0 },
		{ "more data than the frame has", .seq = 1, .len = 100,
		  .data = 101 },
		{ "a frame too long", .seq = 1, .len = TAPMIG_FRAME_MAX + 1,
		  .data = 100 },
		{ "a frame of 4 GiB", .seq = 1, .len = ~0U, .data = 100 },
		{ "a first chunk with an offset", .seq = 1, .len = 200,
		  .data = 100, .offset = 100 },
		{ "an offset beyond the frame", .seq = 1, .len = 200,
		  .data = 100, .offset = ~0U },
		{ "less than an Ethernet header", .seq = 1, .len = 13,
		  .data = 13 },
		{ "a header too short", .seq = 1, .len = 100, .data = 100,
		  .vnet = 9 },
		{ "a header too long", .seq = 1, .len = 100, .data = 100,
		  .vnet = 12 },
		{ "a tag of four bytes", .seq = 1, .len = 100, .data = 100,
		  .skip = TAPMIG_A_PACKET_VLAN_TCI },
		{ "not nested", .seq = 1, .len = 100, .data = 100,
		  .flat = true },
	};
	const struct bad good = { "good", .seq = 1, .len = 100, .data = 100 };
	size_t i;
	int ret;

	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		ret = import_bad(&self->nl, self->buf, self->id, &bad[i]);
		EXPECT_TRUE(ret == -EINVAL || ret == -ERANGE)
			TH_LOG("%s: %d", bad[i].name, ret);
		EXPECT_TRUE(self->nl.msg[0] || self->nl.miss > 0)
			TH_LOG("%s: no words", bad[i].name);
		EXPECT_TRUE(self->nl.bad == TAPMIG_A_TRANSFER_PACKET ||
			    self->nl.miss > 0)
			TH_LOG("%s: names %d", bad[i].name, self->nl.bad);
	}
	EXPECT_EQ(0, info_of(self->hold).imported);
	EXPECT_EQ(0, info_of(self->hold).pending_imports);
	EXPECT_EQ(0, info_of(self->hold).held_bytes);
	EXPECT_EQ(0, import_bad(&self->nl, self->buf, self->id, &good));
	EXPECT_EQ(1, info_of(self->hold).imported);
}

TEST_F(nl, a_request_is_taken_whole_or_not_at_all)
{
	struct imported res;
	struct pkt k[3] = {
		pkt_udp(&self->n, 1, 0, 0, 100),
		pkt_udp(&self->n, 2, 0, 1, 100),
		pkt_udp(&self->n, 0, 0, 2, 100),
	};

	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	EXPECT_GT(0, nl_import(&self->nl, self->id, k, 3, NULL));
	EXPECT_EQ(0, info_of(self->hold).imported);
	EXPECT_EQ(0, info_of(self->hold).held_bytes);
	k[2].seq = 3;
	EXPECT_EQ(0, nl_import(&self->nl, self->id, k, 3, &res));
	EXPECT_EQ(3, res.accepted);
	EXPECT_EQ(0, res.resent);
	EXPECT_EQ(3, info_of(self->hold).imported);
	EXPECT_EQ(3, info_of(self->hold).pending_imports);
}

/* Who closes the session has promised more. */
TEST_F(nl, a_packet_left_incomplete_is_counted_as_lost)
{
	const struct bad part = { .seq = 1, .len = 200, .data = 100 };
	const struct bad rest = { .seq = 1, .len = 200, .data = 100,
				  .offset = 100 };
	struct tapmig_info i;

	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	ASSERT_EQ(0, import_bad(&self->nl, self->buf, self->id, &part));
	EXPECT_EQ(0, info_of(self->hold).lost);
	EXPECT_EQ(-EINVAL, nl_sync(&self->nl, self->id, 1));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	i = info_of(self->hold);
	EXPECT_EQ(1, i.lost);
	EXPECT_EQ(0, i.imported);
	EXPECT_EQ(0, i.pending_imports);
	EXPECT_EQ(0, i.held_bytes);
	/* Nothing of it is left that another session could complete. */
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	EXPECT_EQ(-EINVAL, import_bad(&self->nl, self->buf, self->id, &rest));
	EXPECT_EQ(0, import_bad(&self->nl, self->buf, self->id, &part));
	EXPECT_EQ(0, import_bad(&self->nl, self->buf, self->id, &rest));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	i = info_of(self->hold);
	EXPECT_EQ(1, i.lost);
	EXPECT_EQ(1, i.imported);
}

/* Nobody else does it. */
TEST_F(nl, a_packet_left_incomplete_is_lost_when_a_deadline_closes_it)
{
	const struct bad part = { .seq = 1, .len = 200, .data = 100 };
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_FROZEN_MS,
				.max_frozen_ms = 1 };

	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
	ASSERT_EQ(0, import_bad(&self->nl, self->buf, self->id, &part));
	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
	EXPECT_EQ(1, info_of(self->hold).lost);
}

/* Nor can anybody complete it then. */
TEST_F(nl, a_packet_left_incomplete_is_lost_with_what_it_was_for)
{
	const struct bad part = { .seq = 1, .len = 200, .data = 100 };

	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	ASSERT_EQ(0, import_bad(&self->nl, self->buf, self->id, &part));
	ASSERT_EQ(0, hold_discard(self->hold));
	EXPECT_EQ(1, info_of(self->hold).lost);
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	ASSERT_EQ(0, import_bad(&self->nl, self->buf, self->id, &part));
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_DEAD));
	EXPECT_EQ(2, info_of(self->hold).lost);
	EXPECT_EQ(0, info_of(self->hold).imported);
}

TEST_F(nl, a_message_that_lies_about_its_length_is_refused)
{
	struct nlmsghdr *nlh;
	struct nlattr *attr;

	nlh = nl_msg(&self->nl, self->buf, TAPMIG_CMD_HOLD_GET, NLM_F_ACK);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, self->id);
	attr = (struct nlattr *)((char *)nlh + nlh->nlmsg_len - 8);
	attr->nla_len = 4000;
	EXPECT_GT(0, nl_talk(&self->nl, nlh, NULL, NULL));
}

/* --- who may ask -------------------------------------------------------- */

static void all_refused(struct nl *nl, char *buf, __u32 id, int err)
{
	struct pkts p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(hold_cmds); i++)
		CHECK(err, with_id(nl, buf, hold_cmds[i], id));
	for (i = 0; i < ARRAY_SIZE(transfer_cmds); i++)
		CHECK(err, with_id(nl, buf, transfer_cmds[i], id));
	CHECK(err, nl_export(nl, id, 0, &p));
}

TEST_F(nl, without_net_admin_everything_is_refused)
{
	struct nl nl;

	ASSERT_EQ(0, hold_freeze(self->hold));
	IN_CHILD;
	become_nobody();
	nl_open(&nl);
	all_refused(&nl, self->buf, self->id, -EPERM);
	CHECK(-EPERM, nl_dump(&nl, NULL, 0));
	CHECK(TAPMIG_STATE_FROZEN, info_of(self->hold).state);
	_exit(0);
}

TEST_F(nl, a_user_namespace_gives_no_right_over_its_parent)
{
	struct nl nl;

	ASSERT_EQ(0, hold_freeze(self->hold));
	IN_CHILD;
	/* All capabilities, but not where the network namespace belongs. */
	CHECK(0, unshare(CLONE_NEWUSER));
	nl_open(&nl);
	all_refused(&nl, self->buf, self->id, -EPERM);
	CHECK(-EPERM, nl_dump(&nl, NULL, 0));
	CHECK(TAPMIG_STATE_FROZEN, info_of(self->hold).state);
	_exit(0);
}

TEST_F(nl, a_user_namespace_rules_its_own_holds_within_limits)
{
	struct tapmig_create c = CREATE(.label = "inner");
	struct hold_nl h[2];
	struct nic n;
	struct nl nl;
	int hold, ctl = ctl_open();

	IN_CHILD;
	CHECK(0, unshare(CLONE_NEWUSER | CLONE_NEWNET));
	nic_open(&n, TAP, 0, 1);
	hold = ioctl(ctl, TAPMIG_CREATE, &c);
	CHECK_OK(hold);
	CHECK(0, hold_add(hold, n.fd[0], 0));
	nl_open(&nl);
	CHECK(1, nl_dump(&nl, h, 2));
	CHECK(c.id, h[0].v[TAPMIG_A_HOLD_ID]);
	CHECK(0, nl_hold_cmd(&nl, TAPMIG_CMD_HOLD_FREEZE, c.id));
	CHECK(0, nl_hold_cmd(&nl, TAPMIG_CMD_HOLD_THAW, c.id));
	CHECK(true, hold_wait_state(hold, TAPMIG_STATE_ARMED));
	/* Anyone can make a namespace, so that it lifts no limit. */
	CHECK(-EPERM, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_PACKETS,
			     TAPMIG_UNPRIV_MAX_PACKETS + 1));
	CHECK(TAPMIG_A_HOLD_MAX_PACKETS, nl.bad);
	CHECK(-EPERM, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_BYTES,
			     TAPMIG_UNPRIV_MAX_BYTES + 1));
	CHECK(-EPERM, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_FROZEN_MS,
			     TAPMIG_UNPRIV_MAX_FROZEN_MS + 1));
	c = CREATE(.max_packets = TAPMIG_UNPRIV_MAX_PACKETS + 1);
	CHECK(-1, ioctl(ctl, TAPMIG_CREATE, &c));
	CHECK(EPERM, errno);
	/* That of the outer namespace does not exist here. */
	all_refused(&nl, self->buf, self->id, -ENOENT);
	_exit(0);
}

/* It could be handed to a privileged program that writes what it is told. */
TEST_F(nl, a_limit_needs_the_privilege_of_who_opened_the_socket_too)
{
	struct tapmig_create c = CREATE(.label = "inner");
	int ctl = ctl_open(), up[2], down[2], hold, fd, pidfd, status;
	struct nl inner, nl;
	pid_t child;

	ASSERT_EQ(0, pipe(up));
	ASSERT_EQ(0, pipe(down));
	child = fork();
	ASSERT_LE(0, child);
	if (!child) {
		close(down[1]);
		CHECK(0, unshare(CLONE_NEWUSER | CLONE_NEWNET));
		hold = ioctl(ctl, TAPMIG_CREATE, &c);
		CHECK_OK(hold);
		nl_open(&inner);
		fd = mnl_socket_get_fd(inner.sk);
		CHECK((int)sizeof(fd), write(up[1], &fd, sizeof(fd)));
		CHECK((int)sizeof(c.id), write(up[1], &c.id, sizeof(c.id)));
		CHECK(0, read(down[0], &fd, 1));
		_exit(0);
	}
	ASSERT_EQ(sizeof(fd), read(up[0], &fd, sizeof(fd)));
	ASSERT_EQ(sizeof(c.id), read(up[0], &c.id, sizeof(c.id)));
	nl_open(&nl);
	pidfd = syscall(SYS_pidfd_open, child, 0);
	ASSERT_LE(0, pidfd);
	fd = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	ASSERT_LE(0, fd);
	nl.sk = mnl_socket_fdopen(fd);
	ASSERT_NE(NULL, nl.sk);
	nl.by_write = true;

	EXPECT_EQ(0, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_PACKETS, 100))
		TH_LOG("%s", nl.msg);
	EXPECT_EQ(-EPERM, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_PACKETS,
				 TAPMIG_UNPRIV_MAX_PACKETS + 1));
	EXPECT_EQ(-EPERM, nl_set(&nl, c.id, TAPMIG_A_HOLD_MAX_BYTES,
				 TAPMIG_UNPRIV_MAX_BYTES + 1));
	EXPECT_EQ(TAPMIG_A_HOLD_MAX_BYTES, nl.bad);
	close(down[1]);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(0, status);
}

TEST_F(nl, a_pinned_hold_needs_net_admin_where_it_is_made)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED);
	int ctl = ctl_open();

	IN_CHILD;
	CHECK(0, unshare(CLONE_NEWUSER));
	CHECK(-1, ioctl(ctl, TAPMIG_CREATE, &c));
	CHECK(EPERM, errno);
	CHECK(0, unshare(CLONE_NEWNET));
	CHECK_OK(ioctl(ctl, TAPMIG_CREATE, &c));
	_exit(0);
}

/* The namespace where it is made can be one that anybody makes for that. */
TEST_F(nl, a_pinned_hold_needs_net_admin_over_its_device)
{
	struct tapmig_create c = CREATE(.flags = TAPMIG_HOLD_FLAGS_PINNED);
	int ctl = ctl_open(), hold;

	close(self->hold);
	IN_CHILD;
	CHECK(0, unshare(CLONE_NEWUSER | CLONE_NEWNET));
	hold = ioctl(ctl, TAPMIG_CREATE, &c);
	CHECK_OK(hold);
	CHECK(-EPERM, hold_add(hold, self->n.fd[0], 0));
	CHECK(0, info_of(hold).queues);
	/* Nothing is refused to who keeps it open for it. */
	c.flags = TAPMIG_HOLD_FLAGS_DETACHED;
	hold = ioctl(ctl, TAPMIG_CREATE, &c);
	CHECK_OK(hold);
	CHECK(0, hold_add(hold, self->n.fd[0], 0));
	_exit(0);
}

TEST_F(nl, another_network_namespace_sees_nothing)
{
	struct tapmig_create c = CREATE(.label = "inner");
	struct hold_nl h[2];
	struct nic n;
	struct nl nl;
	int hold;

	ASSERT_EQ(0, hold_freeze(self->hold));
	IN_CHILD;
	netns_new();
	nl_open(&nl);
	nl_subscribe(&nl);
	CHECK(0, nl_dump(&nl, NULL, 0));
	all_refused(&nl, self->buf, self->id, -ENOENT);
	/* Its events neither: the first to come is of the own hold. */
	CHECK(0, hold_thaw_wait(self->hold));
	CHECK(0, hold_freeze(self->hold));
	nic_open(&n, TAP, 0, 1);
	hold = hold_new(&n, &c);
	CHECK(0, hold_freeze(hold));
	CHECK(1, nl_event(&nl, h, WAIT_MS));
	CHECK(c.id, h->v[TAPMIG_A_HOLD_ID]);
	CHECK(1, nl_dump(&nl, h, 2));
	/* Nor the other way. */
	CHECK(1, nl_dump(&self->nl, h, 2));
	CHECK(self->id, h->v[TAPMIG_A_HOLD_ID]);
	_exit(0);
}

/* --- events ------------------------------------------------------------- */

TEST_F(nl, events_tell_the_whole_life)
{
	struct tapmig_create c = CREATE(.label = "life",
					.role = TAPMIG_ROLE_STANDBY);
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 3 };
	struct hold_nl h;
	struct nic n;
	int hold, i;

	nl_subscribe(&self->nl);
	ASSERT_TRUE(nic_open_named(&n, "tapb", TAP, 0, 1));
	hold = hold_new(&n, &c);
	/* New, and then with a device. */
	do {
		ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_ARMED,
					  &h));
	} while (!h.v[TAPMIG_A_HOLD_QUEUES]);
	EXPECT_TRUE(h.has[TAPMIG_A_HOLD_IFINDEX]);
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_FROZEN, &h));
	EXPECT_STREQ("life", h.label);
	EXPECT_EQ(TAPMIG_ROLE_STANDBY, h.v[TAPMIG_A_HOLD_ROLE]);
	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	do {
		ASSERT_TRUE(nl_wait_state(&self->nl, c.id,
					  TAPMIG_STATE_FROZEN, &h));
	} while (!(h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, hold_set_flags(hold, 0, TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, hold_thaw_wait(hold));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_ARMED, &h));
	close(hold);
	/* Gone: only what names it. */
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_DEAD, &h));
	EXPECT_STREQ("life", h.label);
	EXPECT_EQ(TAPMIG_ROLE_STANDBY, h.v[TAPMIG_A_HOLD_ROLE]);
	for (i = 1; i <= TAPMIG_A_HOLD_MAX; i++) {
		EXPECT_EQ(i == TAPMIG_A_HOLD_ID || i == TAPMIG_A_HOLD_LABEL ||
			  i == TAPMIG_A_HOLD_STATE || i == TAPMIG_A_HOLD_ROLE,
			  h.has[i])
			TH_LOG("attribute %d", i);
	}
	EXPECT_EQ(-ENOENT, nl_get(&self->nl, c.id, NULL));

	/* The first overflow, and packets to export. */
	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_TRUE(nl_wait_state(&self->nl, self->id, TAPMIG_STATE_FROZEN,
				  &h));
	tx_flow(&self->n, self->tx, 0, 0, 1);
	do {
		ASSERT_TRUE(nl_wait_state(&self->nl, self->id,
					  TAPMIG_STATE_FROZEN, &h));
	} while (h.v[TAPMIG_A_HOLD_HELD_PACKETS] != 1);
	tx_flow(&self->n, self->tx, 0, 1, 4);
	do {
		ASSERT_TRUE(nl_wait_state(&self->nl, self->id,
					  TAPMIG_STATE_FROZEN, &h));
	} while (!h.v[TAPMIG_A_HOLD_DROPPED]);
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(nl_wait_state(&self->nl, self->id, TAPMIG_STATE_DEAD,
				  &h));
}

/* A stand-by that trims is quiet, but not about what it loses. */
TEST_F(nl, events_tell_the_first_overflow_of_a_standby)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY,
					/* No packet is so small. */
					.max_bytes = 64);
	struct hold_nl h;
	struct nic n;
	int hold, tx;

	ASSERT_TRUE(nic_open_named(&n, "tapb", TAP, 12, 1));
	tx = tx_open(n.tx_ifindex, TX_BYPASS);
	hold = hold_new(&n, &c);
	ASSERT_EQ(0, hold_freeze(hold));
	nl_subscribe(&self->nl);
	tx_flow(&n, tx, 0, 0, 1);
	ASSERT_EQ(1, nl_event(&self->nl, &h, WAIT_MS));
	EXPECT_EQ(c.id, h.v[TAPMIG_A_HOLD_ID]);
	EXPECT_EQ(1, h.v[TAPMIG_A_HOLD_DROPPED]);
	/* The next event is not of the next ones. */
	tx_flow(&n, tx, 0, 1, 10);
	ASSERT_TRUE(busywait(info_of(hold).dropped == 11));
	ASSERT_EQ(0, hold_discard(hold));
	ASSERT_EQ(1, nl_event(&self->nl, &h, WAIT_MS));
	EXPECT_EQ(TAPMIG_STATE_ARMED, h.v[TAPMIG_A_HOLD_STATE]);
}

TEST_F(nl, events_tell_a_deadline_that_finds_a_thaw_waiting)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY,
					.wait_import_ms = 600000);
	struct hold_nl h;
	struct nic n;
	int hold;

	ASSERT_TRUE(nic_open_named(&n, "tapb", TAP, 12, 1));
	hold = hold_new(&n, &c);
	ASSERT_EQ(0, hold_set_flags(hold, TAPMIG_HOLD_FLAGS_PEER,
				    TAPMIG_HOLD_FLAGS_PEER));
	ASSERT_EQ(0, hold_freeze(hold));
	ASSERT_EQ(0, nl_begin(&self->nl, c.id, 0));
	ASSERT_EQ(0, hold_thaw(hold));
	nl_subscribe(&self->nl);
	ASSERT_EQ(0, hold_renew(hold, 1));
	ASSERT_TRUE(nl_wait_state(&self->nl, c.id, TAPMIG_STATE_THAWING, &h));
	EXPECT_TRUE(h.v[TAPMIG_A_HOLD_FLAGS] & TAPMIG_HOLD_FLAGS_DUE);
}

TEST_F(nl, events_of_new_packets_are_few)
{
	long n = env_count("TAPMIG_EVENT_FRAMES", 20000);
	int events = 0, ret;
	struct hold_nl h;
	int64_t start;

	ASSERT_EQ(0, hold_renew(self->hold, 600000));
	ASSERT_EQ(0, hold_freeze(self->hold));
	nl_subscribe(&self->nl);
	start = now_ms();
	ASSERT_TRUE(tx_held(&self->n, self->tx, self->hold, 0, n, 500));
	/* A thaw may come before a work item tells of the last of them. */
	do {
		ret = nl_event(&self->nl, &h, WAIT_MS);
		ASSERT_EQ(1, ret);
		events++;
	} while (h.v[TAPMIG_A_HOLD_HELD_PACKETS] != n);
	ASSERT_EQ(0, hold_thaw(self->hold));
	do {
		ret = nl_event(&self->nl, &h, WAIT_MS);
		ASSERT_EQ(1, ret);
		events++;
	} while (h.v[TAPMIG_A_HOLD_STATE] != TAPMIG_STATE_ARMED);
	/* One each 10 ms, at most, not one for each; and those of states. */
	EXPECT_LE(3, events);
	EXPECT_GT(10 + (now_ms() - start) / 5, events)
		TH_LOG("%d events for %ld packets", events, n);
}

/* Does a dump say that it may be inconsistent; @hold comes while it goes on. */
static bool dump_interrupted(struct nl *nl, int *hold)
{
	struct tapmig_create c = CREATE();
	bool done = false, intr = false;
	struct nlmsghdr *req, *nlh;
	static char buf[65536];
	int len, messages = 0;
	char small[256];

	req = nl_msg(nl, small, TAPMIG_CMD_HOLD_GET, NLM_F_DUMP);
	if (mnl_socket_sendto(nl->sk, req, req->nlmsg_len) < 0)
		die("cannot ask for a dump");
	for (; !done; messages++) {
		len = mnl_socket_recvfrom(nl->sk, buf, sizeof(buf));
		if (len < 0)
			die("cannot read a dump");
		nlh = (struct nlmsghdr *)buf;
		for (; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			intr |= nlh->nlmsg_flags & NLM_F_DUMP_INTR;
			done |= nlh->nlmsg_type == NLMSG_DONE;
		}
		if (!messages && hold)
			*hold = hold_create(&c);
	}
	/* The next one is made as soon as there is room for it. */
	if (messages < 3)
		die("%d messages", messages);
	return intr;
}

#define MANY_HOLDS	200

TEST_F(nl, a_dump_tells_of_a_hold_that_came_meanwhile)
{
	struct tapmig_create c = CREATE();
	int hold[MANY_HOLDS], i, other = -1;

	for (i = 0; i < MANY_HOLDS; i++) {
		hold[i] = hold_create(&c);
		ASSERT_LE(0, hold[i]);
	}
	EXPECT_FALSE(dump_interrupted(&self->nl, NULL));
	EXPECT_TRUE(dump_interrupted(&self->nl, &other));
	ASSERT_LE(0, other);
	EXPECT_FALSE(dump_interrupted(&self->nl, NULL));
	close(other);
	for (i = 0; i < MANY_HOLDS; i++)
		close(hold[i]);
}

TEST_F(nl, a_subscriber_needs_no_right_and_sees_no_data)
{
	struct hold_nl h;
	struct nl nl;

	IN_CHILD;
	become_nobody();
	nl_open(&nl);
	nl_subscribe(&nl);
	CHECK(0, hold_freeze(self->hold));
	CHECK(1, nl_event(&nl, &h, WAIT_MS));
	CHECK(TAPMIG_CMD_HOLD_NTF, h.cmd);
	CHECK(self->id, h.v[TAPMIG_A_HOLD_ID]);
	_exit(0);
}

TEST_HARNESS_MAIN
