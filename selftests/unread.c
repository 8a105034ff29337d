// SPDX-License-Identifier: GPL-2.0-only
/*
 * A reader gives back what it has read. That offloads survive it is seen by
 * capture.c, that sizes and flags are checked by ioctl.c.
 */
#include "lib.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "harness.h"

FIXTURE(unread) {
	struct nic n;
	struct nl nl;
	int hold;
	__u32 id;
	int tx;
};

FIXTURE_VARIANT(unread) {
	enum nic_kind kind;
	int hdr;
	int queues;
};

FIXTURE_VARIANT_ADD(unread, tap) { .kind = TAP, .hdr = 12, .queues = 1 };
FIXTURE_VARIANT_ADD(unread, tap_mq) { .kind = TAP, .hdr = 10, .queues = 2 };
FIXTURE_VARIANT_ADD(unread, tap_plain) { .kind = TAP, .queues = 1 };
FIXTURE_VARIANT_ADD(unread, tun) { .kind = TUN, .hdr = 12, .queues = 1 };
FIXTURE_VARIANT_ADD(unread, macvtap) {
	.kind = MACVTAP,
	.hdr = 12,
	.queues = 1,
};

FIXTURE_SETUP(unread)
{
	netns_new();
	nic_pin(variant->kind);
	nic_open(&self->n, variant->kind, variant->hdr, variant->queues);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	self->hold = hold_new(&self->n, NULL);
	self->id = info_of(self->hold).id;
	nl_open(&self->nl);
}

FIXTURE_TEARDOWN(unread)
{
}

#define READ	3

/* READ frames of flow 0 that a reader has, and no guest has seen. */
static struct rx taken[READ];

static bool read_any(struct nic *n, struct rx *rx)
{
	int q;

	if (!nic_poll(n, WAIT_MS))
		return false;
	for (q = 0; q < n->queues; q++)
		if (nic_read(n, q, rx) == 1)
			return true;
	return false;
}

static void take(struct __test_metadata *_metadata, FIXTURE_DATA(unread) *self)
{
	int i;

	tx_flow(&self->n, self->tx, 0, 0, READ);
	for (i = 0; i < READ; i++) {
		ASSERT_TRUE(read_any(&self->n, &taken[i]));
		ASSERT_TRUE(taken[i].ours);
		ASSERT_EQ(i, taken[i].seq);
	}
}

/* The last one first, each with a new number below all others. */
static void give_back(struct __test_metadata *_metadata,
		      FIXTURE_DATA(unread) *self)
{
	int i;

	for (i = READ; i-- > 0;) {
		ASSERT_EQ(0, hold_unread(self->hold, &self->n, &taken[i]));
	}
}

TEST_F(unread, it_is_the_first_to_be_read_again)
{
	struct tally t = {};
	struct tapmig_info i;

	take(_metadata, self);
	/* One is in the ring when it freezes, others come after that. */
	tx_flow(&self->n, self->tx, 0, READ, 1);
	ASSERT_TRUE(nic_poll(&self->n, WAIT_MS));
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, READ + 1, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 11));
	give_back(_metadata, self);
	i = info_of(self->hold);
	EXPECT_EQ(READ + 11, i.captured);
	EXPECT_EQ(READ + 11, i.held_packets);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 10, i.highest_seq);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	tx_flow(&self->n, self->tx, 0, READ + 11, 5);
	ASSERT_TRUE(nic_wait(&self->n, &t, READ + 16));
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu repeats %llu", t.gaps, t.repeats);
	EXPECT_EQ(READ + 11, info_of(self->hold).delivered);
	EXPECT_EQ(0, info_of(self->hold).held_bytes);
}

TEST_F(unread, it_is_the_first_to_be_exported)
{
	struct pkts p, again;
	__u32 flow;
	__u64 seq;
	int i;

	take(_metadata, self);
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, READ, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	/* Even if somebody has begun to fetch what came later. */
	ASSERT_EQ(0, nl_export(&self->nl, self->id, TAPMIG_SEQ_FIRST, &p));
	ASSERT_EQ(10, p.n);
	give_back(_metadata, self);
	ASSERT_EQ(0, nl_export(&self->nl, self->id, TAPMIG_SEQ_FIRST + 10,
			       &again));
	ASSERT_EQ(READ, again.n);
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &p));
	ASSERT_EQ(READ + 10, p.n);
	for (i = 0; i < p.n; i++) {
		EXPECT_EQ(TAPMIG_SEQ_FIRST - READ + i, p.v[i].seq);
		ASSERT_TRUE(frame_parse(&self->n, p.v[i].data, p.v[i].len,
					&flow, &seq));
		EXPECT_EQ(i, seq);
		if (i) {
			EXPECT_LE(p.v[i - 1].time_ns, p.v[i].time_ns);
		}
		if (i < READ) {
			EXPECT_EQ(taken[i].queue, p.v[i].queue);
			EXPECT_EQ(taken[i].len, p.v[i].len);
			EXPECT_EQ(0, memcmp(taken[i].data, p.v[i].data,
					    p.v[i].len));
		}
	}
	ASSERT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 9));
	EXPECT_EQ(0, info_of(self->hold).held_packets);
}

TEST_F(unread, whoever_exports_is_told)
{
	struct pollfd p = { .fd = self->hold, .events = POLLIN };

	take(_metadata, self);
	ASSERT_EQ(0, hold_freeze(self->hold));
	info_of(self->hold);
	ASSERT_EQ(0, poll(&p, 1, 0));
	give_back(_metadata, self);
	EXPECT_EQ(1, poll(&p, 1, WAIT_MS));
}

TEST_F(unread, what_nobody_has_exported_is_not_committed)
{
	struct tally t = {};
	struct pkts p;

	take(_metadata, self);
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 1, 0, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, TAPMIG_SEQ_FIRST, &p));
	give_back(_metadata, self);
	ASSERT_EQ(0, hold_commit(self->hold, TAPMIG_SEQ_FIRST + 9));
	EXPECT_EQ(READ, info_of(self->hold).held_packets);
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, READ));
	EXPECT_EQ(READ, t.next[0]);
}

TEST_F(unread, only_a_frozen_source_takes_it)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY);
	struct tally t = {};
	int standby;

	take(_metadata, self);
	EXPECT_EQ(-EBUSY, hold_unread(self->hold, &self->n, &taken[0]));
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_EQ(-EBUSY, hold_unread(self->hold, &self->n, &taken[0]));
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	close(self->hold);
	standby = hold_new(&self->n, &c);
	ASSERT_EQ(0, hold_freeze(standby));
	EXPECT_EQ(-EOPNOTSUPP, hold_unread(standby, &self->n, &taken[0]));
	EXPECT_EQ(0, info_of(standby).held_packets);
}

TEST_F(unread, a_full_hold_refuses_it_and_counts_no_loss)
{
	struct tapmig_create c = CREATE(.max_packets = 4);
	struct tapmig_info i;

	take(_metadata, self);
	close(self->hold);
	self->hold = hold_new(&self->n, &c);
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, READ, 3);
	ASSERT_TRUE(hold_wait_captured(self->hold, 3));
	EXPECT_EQ(0, hold_unread(self->hold, &self->n, &taken[2]));
	EXPECT_EQ(-ENOBUFS, hold_unread(self->hold, &self->n, &taken[1]));
	i = info_of(self->hold);
	EXPECT_EQ(4, i.held_packets);
	EXPECT_EQ(4, i.captured);
	EXPECT_EQ(0, i.dropped);
	ASSERT_EQ(0, hold_discard(self->hold));
	i = info_of(self->hold);
	EXPECT_EQ(4, i.discarded);
	EXPECT_EQ(0, i.held_bytes);
}

/* Header and frame as they are in memory. */
static int try(int hold, struct tapmig_unread a)
{
	a.size = sizeof(a);
	return ioctl(hold, TAPMIG_UNREAD, &a) ? -errno : 0;
}

/* The test's @a with a change, as b. */
#define TRY(...) ({							\
	struct tapmig_unread b = a;					\
									\
	__VA_ARGS__;							\
	try(self->hold, b);						\
})

TEST_F(unread, what_read_never_returns_is_refused)
{
	static __u8 buf[TAPMIG_FRAME_MAX + 256];
	__u32 len, hdr = 12, page = sysconf(_SC_PAGESIZE);
	struct virtio_net_hdr *vnet = (void *)buf;
	struct tapmig_unread a = {
		.data = (unsigned long)buf,
		.vnet_hdr_len = hdr,
	};
	__u8 *edge;

	len = frame_udp(&self->n, buf + hdr, 100, 0, 0);
	a.len = hdr + len;
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, try(self->hold, a));
	EXPECT_EQ(-EINVAL, TRY(b.len = 0));
	EXPECT_EQ(-EINVAL, TRY(b.len = hdr));
	EXPECT_EQ(-EINVAL, TRY(b.len = hdr - 1));
	EXPECT_EQ(-EINVAL, TRY(b.vnet_hdr_len = 9));
	EXPECT_EQ(-EINVAL, TRY(b.vnet_hdr_len = a.len));
	EXPECT_EQ(-EINVAL, TRY(b.vnet_hdr_len = ~0U));
	EXPECT_EQ(-EMSGSIZE, TRY(b.len = hdr + TAPMIG_FRAME_MAX + 1));
	EXPECT_EQ(-EMSGSIZE, TRY(b.len = ~0U));
	EXPECT_EQ(-ENOENT, TRY(b.index = self->n.queues));
	EXPECT_EQ(-ENOENT, TRY(b.index = 65536));
	EXPECT_EQ(-ENOENT, TRY(b.index = ~0U));
	EXPECT_EQ(-EFAULT, TRY(b.data = 0));
	EXPECT_EQ(-EFAULT, TRY(b.data = ~0ULL - 20));
	if (self->n.kind != TUN) {
		EXPECT_EQ(-EINVAL, TRY(b.protocol = htons(ETH_P_IP)));
		EXPECT_EQ(-EINVAL, TRY(b.len = hdr + ETH_HLEN - 1));
	} else {
		EXPECT_EQ(-EINVAL, TRY(b.protocol = htons(ETH_P_IPV6)));
		EXPECT_EQ(0, TRY(b.protocol = htons(ETH_P_IP)));
		EXPECT_EQ(-EINVAL, TRY(b.len = hdr + 8));
	}

	/* The frame ends where there is no memory; so does the header. */
	edge = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, edge);
	ASSERT_EQ(0, mprotect(edge + page, page, PROT_NONE));
	memcpy(edge + page - a.len, buf, a.len);
	EXPECT_EQ(0, TRY(b.data = (unsigned long)edge + page - a.len));
	memcpy(edge + page - a.len + 1, buf, a.len - 1);
	EXPECT_EQ(-EFAULT,
		  TRY(b.data = (unsigned long)edge + page - a.len + 1));
	EXPECT_EQ(-EFAULT, TRY(b.data = (unsigned long)edge + page - 5));

	/* What is told of offloads is not believed. */
	vnet->flags = 0x80;
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	vnet->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet->csum_start = 60000;
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	vnet->flags = 0;
	vnet->csum_start = 0;
	vnet->gso_type = VIRTIO_NET_HDR_GSO_TCPV6;
	vnet->gso_size = 100;
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	vnet->gso_type = 0x60;
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	/* It would be segmented for any reader. */
	vnet->gso_type = VIRTIO_NET_HDR_GSO_UDP;
	vnet->gso_size = 16;
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	memset(vnet, 0, sizeof(*vnet));
	EXPECT_EQ(0, try(self->hold, a));
	/* What follows the header of all versions may be anything. */
	buf[10] = 0xff;
	buf[11] = 0xff;
	EXPECT_EQ(0, try(self->hold, a));
	/* Nothing of what was refused is held. */
	EXPECT_EQ(self->n.kind == TUN ? 5 : 4, info_of(self->hold).captured);
}

TEST_F(unread, the_header_has_the_byte_order_that_is_told)
{
	static __u8 buf[4096];
	struct virtio_net_hdr *vnet = (void *)buf;
	struct tapmig_unread a = {
		.vnet_hdr_len = 10,
		.data = (unsigned long)buf,
	};
	struct virtio_net_hdr *le, *be;
	struct pkts p;
	size_t l4;

	a.len = 10 + frame_l4(&self->n, buf + 10, AF_INET, IPPROTO_UDP, 500,
			      true, &l4);
	vnet->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet->csum_start = htole16(l4);
	vnet->csum_offset = htole16(6);
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, try(self->hold, a));
	EXPECT_EQ(-EINVAL, TRY(b.flags = TAPMIG_UNREAD_VNET_BE));
	vnet->csum_start = htobe16(l4);
	vnet->csum_offset = htobe16(6);
	EXPECT_EQ(-EINVAL, try(self->hold, a));
	ASSERT_EQ(0, TRY(b.flags = TAPMIG_UNREAD_VNET_BE));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &p));
	ASSERT_EQ(2, p.n);
	le = (void *)p.v[0].vnet;
	be = (void *)p.v[1].vnet;
	EXPECT_EQ(htole16(l4), le->csum_start);
	EXPECT_EQ(0, memcmp(le, be, sizeof(*le)));
}

/* The largest that a tap can have been asked to pass. */
TEST_F(unread, a_frame_of_64_kib_comes_back)
{
	static struct rx large, back;

	memset(large.data, 0x5a, sizeof(large.data));
	frame_udp(&self->n, large.data, 100, 0, 0);
	large.len = 65535;
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, hold_unread(self->hold, &self->n, &large));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(read_any(&self->n, &back));
	EXPECT_EQ(large.len, back.len);
	EXPECT_EQ(0, memcmp(large.data, back.data, large.len));
}

TEST_HARNESS_MAIN
