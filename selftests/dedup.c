// SPDX-License-Identifier: GPL-2.0-only
/*
 * What reaches both hosts must reach the guest once, and a stand-by that waits
 * for its peer must neither wait for ever nor go ahead too early.
 */
#include "lib.h"

#include <fcntl.h>
#include <linux/elf.h>
#include <netinet/in.h>

#include "harness.h"

static const __u8 broadcast[ETH_ALEN] = { 255, 255, 255, 255, 255, 255 };
static const __u8 multicast[ETH_ALEN] = { 0x01, 0x00, 0x5e, 1, 2, 3 };

FIXTURE(standby) {
	struct nic n;
	struct nl nl;
	int tx;
	int hold;
	__u32 id;
};

FIXTURE_VARIANT(standby) {
	enum nic_kind kind;
};

FIXTURE_VARIANT_ADD(standby, tap) { .kind = TAP };
FIXTURE_VARIANT_ADD(standby, macvtap) { .kind = MACVTAP };

FIXTURE_SETUP(standby)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY,
					.max_frozen_ms = 600000,
					.wait_import_ms = 600000);

	netns_new();
	nic_pin(variant->kind);
	nic_open(&self->n, variant->kind, 12, 1);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	self->hold = hold_new(&self->n, &c);
	self->id = c.id;
	nl_open(&self->nl);
	ASSERT_EQ(0, hold_freeze(self->hold));
}

FIXTURE_TEARDOWN(standby)
{
}

/* Nothing that is held is older than the freeze of the source. */
#define LONG_AGO	3600000

static struct pkt pkt_eth(const __u8 *dst, __u64 seq, __u32 flow,
			  __u64 payload)
{
	struct pkt k = {
		.seq = seq,
		.len = FRAME_LEN,
		.protocol = TEST_PROTO,
		.data = malloc(FRAME_LEN),
	};

	frame_eth(dst, k.data, FRAME_LEN, flow, payload);
	return k;
}

static void send_eth(const __u8 *dst, int tx, __u32 flow, __u64 payload)
{
	__u8 buf[FRAME_LEN];

	frame_eth(dst, buf, sizeof(buf), flow, payload);
	tx_send(tx, buf, sizeof(buf));
}

/* How often each number of a flow arrived. */
static void count_frames(struct nic *n, __u32 flow, int *count, int max)
{
	static struct rx rx;

	while (nic_read(n, 0, &rx) > 0)
		if (rx.ours && rx.flow == flow && rx.seq < (__u64)max)
			count[rx.seq]++;
}

/*
 * Numbers 0-9 reached the source only, 10-19 both hosts, the source so many
 * nanoseconds earlier, 20-29 this one.
 */
static void flood_both(struct __test_metadata *_metadata,
		       FIXTURE_DATA(standby) *self, const __u8 *dst,
		       __u64 earlier)
{
	int had = info_of(self->hold).captured, i;
	struct pkt k[20];
	struct pkts held;

	for (i = 10; i < 30; i++)
		send_eth(dst, self->tx, 0, i);
	ASSERT_TRUE(hold_wait_captured(self->hold, had + 20));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &held));
	ASSERT_EQ(had + 20, held.n);
	for (i = 0; i < 20; i++) {
		k[i] = pkt_eth(dst, 100 + i, 0, i);
		k[i].time_ns = held.v[had + i].time_ns;
		if (i >= 10)
			k[i].time_ns = held.v[had + i - 10].time_ns - earlier;
	}
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 20, NULL));
}

/* Such a flood, thaw, and count. */
static void flood_apart(struct __test_metadata *_metadata,
			FIXTURE_DATA(standby) *self, __u32 dedup,
			const __u8 *dst, __u64 earlier, int in_both)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_DEDUP, .dedup = dedup };
	int others = info_of(self->hold).captured;
	struct tapmig_info info;
	int count[30] = {}, i;

	ASSERT_EQ(0, hold_set(self->hold, &s));
	flood_both(_metadata, self, dst, earlier);
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	count_frames(&self->n, 0, count, 30);
	for (i = 0; i < 30; i++) {
		EXPECT_EQ(i >= 10 && i < 20 ? in_both : 1, count[i])
			TH_LOG("number %d", i);
	}
	info = info_of(self->hold);
	EXPECT_EQ(in_both == 1 ? 10 : 0, info.flooded);
	EXPECT_EQ(in_both == 1 ? 30 : 40, info.delivered - others);
	EXPECT_EQ(0, info.held_bytes);
}

/* Where the times do not matter. */
static void flood(struct __test_metadata *_metadata,
		  FIXTURE_DATA(standby) *self, __u32 dedup, const __u8 *dst,
		  int in_both)
{
	flood_apart(_metadata, self, dedup, dst, NSEC_PER_SEC, in_both);
}

TEST_F(standby, flooded_broadcasts_come_once)
{
	flood(_metadata, self, TAPMIG_DEDUP_MULTICAST, broadcast, 1);
}

TEST_F(standby, flooded_multicasts_come_once)
{
	if (variant->kind == MACVTAP)
		SKIP(return, "macvtap filters groups that nobody joined");
	flood(_metadata, self, TAPMIG_DEDUP_MULTICAST, multicast, 1);
}

/* The same frame again, after the network had found the guest. */
TEST_F(standby, equal_unicasts_at_other_times_both_come)
{
	__u64 start = realtime_ns();

	/* Frames of that time are worth a look. */
	send_eth(self->n.mac, self->tx, 1, 0);
	ASSERT_TRUE(hold_wait_captured(self->hold, 1));
	ASSERT_TRUE(busywait(realtime_ns() > start + 100 * NSEC_PER_MSEC));
	flood_apart(_metadata, self, TAPMIG_DEDUP_MULTICAST, self->n.mac,
		    50 * NSEC_PER_MSEC, 2);
}

TEST_F(standby, flooded_unicasts_come_once)
{
	flood_apart(_metadata, self, TAPMIG_DEDUP_MULTICAST, self->n.mac,
		    15 * NSEC_PER_MSEC, 1);
}

TEST_F(standby, with_dedup_off_flooded_unicasts_come_twice)
{
	flood_apart(_metadata, self, TAPMIG_DEDUP_OFF, self->n.mac, 0, 2);
}

TEST_F(standby, cloned_unicasts_come_once)
{
	flood(_metadata, self, TAPMIG_DEDUP_ALL, self->n.mac, 1);
}

TEST_F(standby, with_dedup_off_nothing_is_compared)
{
	flood(_metadata, self, TAPMIG_DEDUP_OFF, broadcast, 2);
}

TEST_F(standby, identical_frames_sent_twice_arrive_twice)
{
	int count[2] = {}, i;
	struct pkt k[5];

	/* Three times here; twice there: two of ours are copies. */
	for (i = 0; i < 3; i++)
		send_eth(broadcast, self->tx, 0, 0);
	/* Once here, three times there. */
	send_eth(broadcast, self->tx, 0, 1);
	ASSERT_TRUE(hold_wait_captured(self->hold, 4));
	for (i = 0; i < 5; i++)
		k[i] = pkt_eth(broadcast, 100 + i, 0, i >= 2);
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 5, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	count_frames(&self->n, 0, count, 2);
	EXPECT_EQ(3, count[0]);
	EXPECT_EQ(3, count[1]);
	EXPECT_EQ(3, info_of(self->hold).flooded);
}

/* A frame with a checksum that is to be filled in, and the same filled in. */
static struct pkt pkt_csum(const struct nic *n, __u64 seq, bool partial,
			   bool changed)
{
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_offset = 6,
	};
	struct pkt k = { .seq = seq, .protocol = ETH_P_IP };
	size_t l4;

	k.data = malloc(500);
	k.len = frame_l4(n, k.data, AF_INET, IPPROTO_UDP, 200, partial, &l4);
	memcpy(k.data, broadcast, ETH_ALEN);
	h.csum_start = l4;
	if (partial) {
		k.has_vnet = true;
		memcpy(k.vnet, &h, sizeof(h));
	}
	if (changed)
		k.data[k.len - 1] ^= 1;
	return k;
}

static void equality(struct __test_metadata *_metadata,
		     FIXTURE_DATA(standby) *self, bool here, bool there,
		     bool changed, int want)
{
	struct virtio_net_hdr h = {};
	struct pkt k = pkt_csum(&self->n, 50, there, false);
	struct pkt c = pkt_csum(&self->n, 0, here, changed);
	int tx = tx_open(self->n.tx_ifindex, TX_BYPASS | TX_VNET);
	static struct rx rx;
	__u8 buf[600];
	int n = 0;

	/* So that the reader, and the queue before it, take partial ones. */
	ASSERT_EQ(0, nic_offload(&self->n, 1));
	if (here)
		memcpy(&h, c.vnet, sizeof(h));
	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), c.data, c.len);
	ASSERT_EQ(0, tx_send(tx, buf, c.len + sizeof(h)));
	ASSERT_TRUE(hold_wait_captured(self->hold, 1));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, &k, 1, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	while (nic_read(&self->n, 0, &rx) > 0)
		n++;
	EXPECT_EQ(want, n);
	EXPECT_EQ(2 - want, info_of(self->hold).flooded);
}

TEST_F(standby, a_partial_checksum_equals_a_complete_one)
{
	equality(_metadata, self, true, false, false, 1);
}

TEST_F(standby, a_complete_checksum_equals_a_partial_one)
{
	equality(_metadata, self, false, true, false, 1);
}

TEST_F(standby, two_partial_checksums_are_equal)
{
	equality(_metadata, self, true, true, false, 1);
}

TEST_F(standby, one_changed_byte_makes_another_frame)
{
	equality(_metadata, self, true, true, true, 2);
}

TEST_F(standby, late_broadcasts_are_skipped_late_unicasts_not)
{
	struct pkt k[2] = {
		pkt_eth(broadcast, 10, 0, 0),
		pkt_eth(self->n.mac, 11, 0, 1),
	};
	struct imported res;
	int count[2] = {};

	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 2, &res));
	ASSERT_TRUE(nic_poll(&self->n, WAIT_MS));
	count_frames(&self->n, 0, count, 2);
	EXPECT_EQ(0, count[0]);
	EXPECT_EQ(1, count[1]);
	EXPECT_EQ(1, info_of(self->hold).late);
	EXPECT_EQ(1, info_of(self->hold).late_skipped);
}

/* A late frame from another sender, and one from that of the flood. */
static void late_unicasts(struct __test_metadata *_metadata,
			  FIXTURE_DATA(standby) *self, int from_the_same)
{
	struct pkt k[2] = {
		pkt_eth(self->n.mac, 900, 1, 0),
		pkt_eth(self->n.mac, 901, 1, 1),
	};
	int count[2] = {};

	k[0].data[2 * ETH_ALEN - 1] ^= 1;
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 2, NULL));
	count_frames(&self->n, 1, count, 2);
	EXPECT_EQ(1, count[0]);
	EXPECT_EQ(from_the_same, count[1]);
	EXPECT_EQ(1 - from_the_same, info_of(self->hold).late_skipped);
}

TEST_F(standby, late_unicasts_are_skipped_where_they_are_flooded)
{
	flood_both(_metadata, self, self->n.mac, 0);
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
	late_unicasts(_metadata, self, 0);
}

/* One flow of a sender is flooded; another may come another way. */
TEST_F(standby, late_unicasts_of_another_flow_come)
{
	int count[2][30] = {}, i;
	struct pkt k[20];
	struct pkts held;

	tx_flow(&self->n, self->tx, 0, 0, 20);
	ASSERT_TRUE(hold_wait_captured(self->hold, 20));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &held));
	for (i = 0; i < 20; i++) {
		k[i] = pkt_udp(&self->n, 100 + i, 0, i, FRAME_LEN);
		k[i].time_ns = held.v[i].time_ns;
	}
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 20, NULL));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_EQ(20, info_of(self->hold).flooded);
	for (i = 0; i < 10; i++)
		k[i] = pkt_udp(&self->n, 900 + i, i < 5 ? 0 : 1, 20 + i,
			       FRAME_LEN);
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 10, NULL));
	count_frames(&self->n, 0, count[0], 30);
	EXPECT_EQ(5, info_of(self->hold).late_skipped);
	EXPECT_EQ(5, info_of(self->hold).late);
	EXPECT_EQ(25, info_of(self->hold).delivered);
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(1, count[0][i])
			TH_LOG("number %d", i);
	}
}

/*
 * Equal frames are compared in their order: each with the one that came at its
 * time. A list of them takes no more time than others.
 */
TEST_F(standby, equal_flooded_unicasts_pair_by_time)
{
	int count[1] = {}, i;
	struct pkt k[300];
	struct pkts held;
	int64_t then;

	for (i = 0; i < 300; i++) {
		send_eth(self->n.mac, self->tx, 0, 0);
		if (i % 100 != 99)
			continue;
		then = now_ms();
		ASSERT_TRUE(busywait(now_ms() > then + 30));
	}
	ASSERT_TRUE(hold_wait_captured(self->hold, 300));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &held));
	ASSERT_EQ(300, held.n);
	for (i = 0; i < 300; i++) {
		k[i] = pkt_eth(self->n.mac, 100 + i, 0, 0);
		k[i].time_ns = held.v[i].time_ns;
	}
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 300, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	count_frames(&self->n, 0, count, 1);
	EXPECT_EQ(300, count[0]);
	EXPECT_EQ(300, info_of(self->hold).flooded);
}

/* Some of a sender's frames reach the source alone. */
TEST_F(standby, late_unicasts_come_unless_all_are_flooded)
{
	struct pkt k = pkt_eth(self->n.mac, 150, 0, 50);
	struct pkts held;

	flood_both(_metadata, self, self->n.mac, 0);
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &held));
	k.time_ns = held.v[19].time_ns + 1;
	ASSERT_EQ(0, nl_import(&self->nl, self->id, &k, 1, NULL));
	/* So long ago that its copy would be here. */
	ASSERT_TRUE(busywait(realtime_ns() >
			     k.time_ns + 30 * NSEC_PER_MSEC));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	late_unicasts(_metadata, self, 1);
}

TEST_F(standby, what_was_flooded_is_forgotten_at_the_next_freeze)
{
	static struct rx rx;

	flood_both(_metadata, self, self->n.mac, 0);
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	while (nic_read(&self->n, 0, &rx) > 0)
		;
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
	late_unicasts(_metadata, self, 1);
}

TEST_F(standby, late_frames_are_all_skipped_where_all_are_cloned)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_DEDUP,
				.dedup = TAPMIG_DEDUP_ALL };
	struct pkt k[2] = {
		pkt_eth(broadcast, 10, 0, 0),
		pkt_eth(self->n.mac, 11, 0, 1),
	};
	static struct rx rx;

	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 2, NULL));
	EXPECT_EQ(2, info_of(self->hold).late_skipped);
	EXPECT_EQ(0, info_of(self->hold).late);
	EXPECT_EQ(0, nic_read(&self->n, 0, &rx));
}

TEST_F(standby, late_frames_are_all_delivered_with_dedup_off)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_DEDUP,
				.dedup = TAPMIG_DEDUP_OFF };
	struct pkt k[2] = {
		pkt_eth(broadcast, 10, 0, 0),
		pkt_eth(self->n.mac, 11, 0, 1),
	};
	struct tally t = {};

	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 2, NULL));
	ASSERT_TRUE(nic_wait(&self->n, &t, 2));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(2, info_of(self->hold).late);
}

/* --- what a stand-by keeps ---------------------------------------------- */

TEST_F(standby, only_the_newest_are_kept_until_import_begin)
{
	int len = variant->kind == MACVTAP ? 500 : 1000;
	struct tapmig_info info;
	struct tally t = {};
	__u64 first;

	ASSERT_TRUE(tx_held(&self->n, self->tx, self->hold, 0, 3000, 250));
	ASSERT_EQ(TAPMIG_SEQ_FIRST + 2999, info_of(self->hold).highest_seq);
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	info = info_of(self->hold);
	EXPECT_GE(len, info.held_packets);
	EXPECT_LE(len - 2, info.held_packets);
	EXPECT_EQ(3000, info.held_packets + info.trimmed);
	EXPECT_EQ(0, info.dropped);
	/* From now on all are kept. */
	ASSERT_TRUE(tx_held(&self->n, self->tx, self->hold, 3000, 3000, 250));
	ASSERT_EQ(TAPMIG_SEQ_FIRST + 5999, info_of(self->hold).highest_seq);
	EXPECT_EQ(info.held_packets + 3000,
		  info_of(self->hold).held_packets);
	EXPECT_EQ(info.trimmed, info_of(self->hold).trimmed);
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	first = 3000 - info.held_packets;
	t.next[0] = first;
	ASSERT_TRUE(nic_wait(&self->n, &t, 6000 - first));
	EXPECT_EQ(6000, t.next[0]);
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(standby, a_lower_limit_is_for_what_is_kept_too)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 100 };
	struct tapmig_info info;

	ASSERT_EQ(0, hold_set(self->hold, &s));
	tx_flow(&self->n, self->tx, 0, 0, 250);
	ASSERT_TRUE(busywait(info_of(self->hold).highest_seq ==
			     TAPMIG_SEQ_FIRST + 249));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	info = info_of(self->hold);
	EXPECT_EQ(100, info.held_packets);
	EXPECT_EQ(250, info.held_packets + info.trimmed);
	EXPECT_EQ(0, info.dropped);
	ASSERT_EQ(0, hold_discard(self->hold));
}

/* Its device, whose rings said how many are kept, is no more. */
TEST_F(standby, a_dead_hold_keeps_what_it_has)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 10 };
	struct tapmig_info info;
	struct pkts p;

	tx_flow(&self->n, self->tx, 0, 0, 100);
	ASSERT_TRUE(busywait(info_of(self->hold).highest_seq ==
			     TAPMIG_SEQ_FIRST + 99));
	ASSERT_EQ(0, link_del(self->n.name));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_DEAD));
	ASSERT_EQ(0, nl_set(&self->nl, self->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS,
			    0));
	ASSERT_EQ(0, hold_set(self->hold, &s));
	info = info_of(self->hold);
	EXPECT_EQ(100, info.held_packets);
	EXPECT_EQ(0, info.trimmed);
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 1, &p));
	EXPECT_EQ(100, p.n);
	pkts_free(&p);
}

/* It was asked to: no loss, for who looks at the numbers. */
TEST_F(standby, what_a_standby_does_not_keep_is_not_missing)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 4 };
	struct tapmig_info info;
	struct pkts p;
	int i, k;

	ASSERT_EQ(0, hold_discard(self->hold));
	/* Not the ring: a CPU that stops while it empties it fills it. */
	ASSERT_EQ(0, hold_set(self->hold, &s));
	ASSERT_EQ(0, hold_freeze(self->hold));
	for (k = 0; k < 20; k++) {
		tx_flow(&self->n, self->tx, 0, 250 * k, 250);
		ASSERT_TRUE(busywait(info_of(self->hold).highest_seq ==
				     TAPMIG_SEQ_FIRST + 250 * k + 249));
		ASSERT_EQ(0, nl_export(&self->nl, self->id, 1, &p));
		info = info_of(self->hold);
		EXPECT_EQ(info.held_packets, p.n);
		for (i = 0; i < p.n; i++) {
			EXPECT_EQ(0, p.v[i].dropped_before)
				TH_LOG("number %llu", p.v[i].seq);
		}
		pkts_free(&p);
	}
	EXPECT_EQ(0, info.dropped);
	EXPECT_EQ(5000, info.held_packets + info.trimmed);
}

TEST_F(standby, without_a_peer_a_thaw_delivers_what_was_kept)
{
	struct tally t = {};

	tx_flow(&self->n, self->tx, 0, 0, 400);
	ASSERT_TRUE(hold_wait_captured(self->hold, 400));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->hold).state);
	ASSERT_TRUE(nic_wait(&self->n, &t, 400));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(standby, import_begin_drops_just_what_is_older_than_the_freeze)
{
	struct tapmig_info info;
	struct tally t = {};
	int64_t between, age;
	struct pkts p;
	int i;

	tx_flow(&self->n, self->tx, 0, 0, 50);
	ASSERT_TRUE(hold_wait_captured(self->hold, 50));
	/* A moment that is certainly after these and before the others. */
	between = now_ms() + 2;
	ASSERT_TRUE(busywait(now_ms() > between + 2));
	tx_flow(&self->n, self->tx, 0, 50, 30);
	ASSERT_TRUE(hold_wait_captured(self->hold, 80));
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &p));
	ASSERT_EQ(80, p.n);
	age = now_ms() - between;
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, age));
	info = info_of(self->hold);
	for (i = 0; i < p.n; i++) {
		if (p.v[i].time_ns > p.v[49].time_ns)
			break;
	}
	EXPECT_EQ(50, i);
	EXPECT_LE(50, info.trimmed);
	EXPECT_EQ(80, info.trimmed + info.held_packets);
	ASSERT_EQ(0, nl_export(&self->nl, self->id, 0, &p));
	/* What is left are the newest, without a hole. */
	for (i = 0; i < p.n; i++) {
		EXPECT_EQ(TAPMIG_SEQ_FIRST + 80 - p.n + i, p.v[i].seq);
	}
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	t.next[0] = 80 - p.n;
	ASSERT_TRUE(nic_wait(&self->n, &t, p.n));
	EXPECT_TRUE(tally_clean(&t));
	/*
	 * The age was of a moment between; how long after now_ms() the kernel
	 * got it only moves that moment on. With a busy machine that may be
	 * beyond all of them, which says nothing.
	 */
	if (now_ms() - between < age + 2) {
		EXPECT_EQ(50, info.trimmed);
	}
}

TEST_F(standby, import_begin_of_now_drops_all_that_came_before)
{
	struct tally t = {};

	tx_flow(&self->n, self->tx, 0, 0, 50);
	ASSERT_TRUE(hold_wait_captured(self->hold, 50));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
	EXPECT_EQ(50, info_of(self->hold).trimmed);
	EXPECT_EQ(0, info_of(self->hold).held_packets);
	tx_flow(&self->n, self->tx, 0, 50, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 60));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	t.next[0] = 50;
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
}

/* --- the peer ----------------------------------------------------------- */

static void set_peer(struct __test_metadata *_metadata,
		     FIXTURE_DATA(standby) *self)
{
	ASSERT_EQ(0, nl_set_flags(&self->nl, self->id, TAPMIG_HOLD_FLAGS_PEER,
				  TAPMIG_HOLD_FLAGS_PEER));
}

TEST_F(standby, a_thaw_waits_for_its_peer_to_be_in_step)
{
	struct pkt k[2] = {
		pkt_udp(&self->n, 10, 0, 0, 100),
		pkt_udp(&self->n, 11, 0, 1, 100),
	};
	struct tally t = {};

	set_peer(_metadata, self);
	ASSERT_EQ(0, hold_thaw(self->hold));
	ASSERT_EQ(TAPMIG_STATE_THAWING, info_of(self->hold).state);
	tx_flow(&self->n, self->tx, 0, 2, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	/* Begun is not enough. */
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, k, 2, NULL));
	EXPECT_EQ(TAPMIG_STATE_THAWING, info_of(self->hold).state);
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	ASSERT_EQ(0, nl_sync(&self->nl, self->id, 11));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_LIVE));
	ASSERT_TRUE(nic_wait(&self->n, &t, 12));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
}

TEST_F(standby, a_peer_that_was_in_step_before_is_not_waited_for)
{
	set_peer(_metadata, self);
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_sync(&self->nl, self->id, 0));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
}

TEST_F(standby, the_end_of_the_session_ends_the_wait)
{
	set_peer(_metadata, self);
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, hold_thaw(self->hold));
	ASSERT_EQ(TAPMIG_STATE_THAWING, info_of(self->hold).state);
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
}

static int set_wait(int hold, __u32 ms)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_WAIT_IMPORT_MS,
		.wait_import_ms = ms,
	};

	return hold_set(hold, &s);
}

TEST_F(standby, a_peer_that_comes_late_finds_a_live_hold)
{
	struct pkt k = pkt_udp(&self->n, 10, 1, 0, 100);
	struct tally t = {};

	ASSERT_EQ(0, set_wait(self->hold, 50));
	set_peer(_metadata, self);
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_LE(50000, info_of(self->hold).thaw_wait_us);
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->hold).state);
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, &k, 1, NULL));
	ASSERT_TRUE(nic_wait(&self->n, &t, 11));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(1, info_of(self->hold).late);
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
}

TEST_F(standby, a_peer_that_never_comes_leaves_a_hold_that_ends)
{
	struct tally t = {};

	ASSERT_EQ(0, set_wait(self->hold, 20));
	ASSERT_EQ(0, hold_renew(self->hold, 200));
	set_peer(_metadata, self);
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_ARMED));
}

TEST_F(standby, the_deadline_ends_the_wait)
{
	struct tally t = {};
	struct nl events;

	set_peer(_metadata, self);
	/* It is LIVE for as long, which is not. */
	nl_open(&events);
	nl_subscribe(&events);
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	tx_flow(&self->n, self->tx, 0, 0, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 10));
	ASSERT_EQ(0, hold_thaw(self->hold));
	ASSERT_EQ(0, hold_renew(self->hold, 200));
	ASSERT_TRUE(nl_wait_state(&events, self->id, TAPMIG_STATE_LIVE, NULL));
	EXPECT_TRUE(info_of(self->hold).flags & TAPMIG_HOLD_FLAGS_DUE);
	ASSERT_TRUE(nic_wait(&self->n, &t, 10));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(standby, no_wait_means_no_wait)
{
	set_peer(_metadata, self);
	ASSERT_EQ(0, set_wait(self->hold, ~0U));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	EXPECT_NE(TAPMIG_STATE_THAWING, info_of(self->hold).state);
}

TEST_F(standby, a_shorter_wait_is_taken_while_waiting)
{
	set_peer(_metadata, self);
	ASSERT_EQ(0, hold_thaw(self->hold));
	ASSERT_EQ(TAPMIG_STATE_THAWING, info_of(self->hold).state);
	ASSERT_EQ(0, nl_set(&self->nl, self->id, TAPMIG_A_HOLD_WAIT_IMPORT_MS,
			    1));
	ASSERT_TRUE(hold_wait_state(self->hold, TAPMIG_STATE_LIVE));
}

TEST_F(standby, the_guests_own_frames_are_dropped)
{
	/* The source address of all test frames. */
	struct tapmig_set s = { .mask = TAPMIG_SET_MAC,
				.mac = { 2, 0, 0, 0, 1, 1 } };
	struct pkt k = pkt_udp(&self->n, 10, 1, 0, 100);
	struct pkt l = pkt_udp(&self->n, 11, 2, 0, 100);
	struct tally t = {};

	ASSERT_EQ(0, hold_set(self->hold, &s));
	tx_flow(&self->n, self->tx, 0, 0, 7);
	ASSERT_TRUE(hold_wait_captured(self->hold, 7));
	l.data[ETH_ALEN + 5] = 2;
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, LONG_AGO));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, &k, 1, NULL));
	ASSERT_EQ(0, nl_import(&self->nl, self->id, &l, 1, NULL));
	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 1));
	EXPECT_EQ(0, nic_drain(&self->n, &t));
	EXPECT_EQ(1, t.next[2]);
	EXPECT_EQ(8, info_of(self->hold).own_address);
	EXPECT_EQ(1, info_of(self->hold).delivered);
	EXPECT_EQ(0, info_of(self->hold).held_bytes);
}

/* --- the key -------------------------------------------------------------- */

#define KEY_LEN		16

/* Where the module has it; 0: this kernel does not say. */
static unsigned long key_address(void)
{
	char line[256], name[128], module[64];
	FILE *f = fopen("/proc/kallsyms", "r");
	unsigned long at, found = 0;

	while (f && !found && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx %*c %127s [%63[^]]]", &at, name,
			   module) == 3 &&
		    !strcmp(module, "tapmig") &&
		    !strcmp(name, "tapmig_dedup_key"))
			found = at;
	if (f)
		fclose(f);
	return found;
}

/* Of the kernel's memory. */
static bool kernel_read(unsigned long at, void *buf, size_t len)
{
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC), i;
	bool ok = false;
	struct elf64_phdr p;
	struct elf64_hdr e;

	if (fd < 0 || pread(fd, &e, sizeof(e), 0) != sizeof(e))
		goto out;
	for (i = 0; i < e.e_phnum && !ok; i++) {
		if (pread(fd, &p, sizeof(p), e.e_phoff + i * sizeof(p)) !=
		    sizeof(p))
			break;
		if (p.p_type == PT_LOAD && at >= p.p_vaddr &&
		    at + len <= p.p_vaddr + p.p_filesz)
			ok = pread(fd, buf, len, p.p_offset +
				   (at - p.p_vaddr)) == (ssize_t)len;
	}
out:
	if (fd >= 0)
		close(fd);
	return ok;
}

/* So nobody can make frames that all have the same hash. */
TEST(the_key_of_the_hash_is_another_with_each_load)
{
	__u8 key[3][KEY_LEN] = {};
	unsigned long at;
	int i, j, k;

	for (i = 0; i < 3; i++) {
		if (i) {
			/* A hold may be about to end yet. */
			ASSERT_TRUE(busywait(!system("modprobe -r tapmig")));
			ASSERT_EQ(0, system("modprobe tapmig"));
		}
		at = key_address();
		if (!at)
			SKIP(return, "this kernel does not say where it is");
		ASSERT_TRUE(kernel_read(at, key[i], KEY_LEN));
		for (k = 0; k < KEY_LEN && !key[i][k]; k++)
			;
		EXPECT_NE(KEY_LEN, k);
		for (j = 0; j < i; j++)
			EXPECT_NE(0, memcmp(key[j], key[i], KEY_LEN));
	}
}

TEST_HARNESS_MAIN
