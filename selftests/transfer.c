// SPDX-License-Identifier: GPL-2.0-only
/*
 * From one host to another: export, commit, import, late packets.
 */
#include "lib.h"

#include <linux/if_tun.h>
#include <netinet/in.h>
#include <sys/wait.h>

#include "harness.h"

#define GSO_UDP_L4	5	/* VIRTIO_NET_HDR_GSO_UDP_L4 */

FIXTURE(pair) {
	struct nic src;
	struct nic dst;
	struct nl nl;
	int src_tx;
	int dst_tx;
	int src_hold;
	int dst_hold;
	__u32 src_id;
	__u32 dst_id;
};

FIXTURE_VARIANT(pair) {
	enum nic_kind kind;
	int hdr;
};

FIXTURE_VARIANT_ADD(pair, tap) { .kind = TAP, .hdr = 12 };
FIXTURE_VARIANT_ADD(pair, tun) { .kind = TUN, .hdr = 10 };
FIXTURE_VARIANT_ADD(pair, macvtap) { .kind = MACVTAP, .hdr = 12 };

static void pair_open(struct nic *n, const char *name, enum nic_kind kind,
		      int hdr)
{
	if (!nic_open_named(n, name, kind, hdr, 1))
		die("cannot make %s", name);
}

FIXTURE_SETUP(pair)
{
	netns_new();
	nic_pin(variant->kind);
	pair_open(&self->src, "src", variant->kind, variant->hdr);
	pair_open(&self->dst, "dst", variant->kind, variant->hdr);
	if (variant->kind != MACVTAP)
		memcpy(self->dst.mac, self->src.mac, ETH_ALEN);
	self->src_tx = tx_open(self->src.tx_ifindex, TX_BYPASS);
	self->dst_tx = tx_open(self->dst.tx_ifindex, TX_BYPASS);
	self->src_hold = hold_new(&self->src, NULL);
	self->dst_hold = hold_new(&self->dst, NULL);
	self->src_id = info_of(self->src_hold).id;
	self->dst_id = info_of(self->dst_hold).id;
	nl_open(&self->nl);
	ASSERT_EQ(0, hold_freeze(self->src_hold));
	ASSERT_EQ(0, hold_freeze(self->dst_hold));
}

FIXTURE_TEARDOWN(pair)
{
}

static bool same_pkt(const struct pkt *a, const struct pkt *b)
{
	return a->seq == b->seq && a->sub == b->sub && a->subs == b->subs &&
	       a->queue == b->queue && a->time_ns == b->time_ns &&
	       a->len == b->len && a->has_vnet == b->has_vnet &&
	       !memcmp(a->vnet, b->vnet, 10) && a->vlan_tci == b->vlan_tci &&
	       a->vlan_proto == b->vlan_proto && a->protocol == b->protocol &&
	       a->dropped_before == b->dropped_before &&
	       !memcmp(a->data, b->data, a->len);
}

#define EXPORT(p, from)							\
	ASSERT_EQ(0, nl_export(&self->nl, self->src_id, from, p))	\
		TH_LOG("%s", self->nl.msg)
#define IMPORT(v, n, res)						\
	ASSERT_EQ(0, nl_import(&self->nl, self->dst_id, v, n, res))	\
		TH_LOG("%s", self->nl.msg)

static void capture_some(struct __test_metadata *_metadata,
			 FIXTURE_DATA(pair) *self, __u64 from, int count)
{
	/* No more at once than a veth pair takes. */
	ASSERT_TRUE(tx_held(&self->src, self->src_tx, self->src_hold, from,
			    count, 250));
}

TEST_F(pair, export_twice_gives_the_same)
{
	struct pkts a, b, c;
	int i;

	capture_some(_metadata, self, 0, 1000);
	EXPORT(&a, 0);
	EXPORT(&b, 0);
	EXPORT(&c, TAPMIG_SEQ_FIRST + 600);
	ASSERT_EQ(1000, a.n);
	ASSERT_EQ(1000, b.n);
	ASSERT_EQ(400, c.n);
	EXPECT_EQ(0, a.broken + b.broken + c.broken);
	for (i = 0; i < 1000; i++) {
		ASSERT_TRUE(same_pkt(&a.v[i], &b.v[i]));
	}
	for (i = 0; i < 400; i++) {
		ASSERT_TRUE(same_pkt(&a.v[600 + i], &c.v[i]));
	}
	EXPECT_EQ(2400, info_of(self->src_hold).exported);
	EXPECT_EQ(1000, info_of(self->src_hold).held_packets);
	/* Beyond the newest: nothing. */
	EXPORT(&c, TAPMIG_SEQ_FIRST + 1000);
	EXPECT_EQ(0, c.n);
	/* And what came in between follows. */
	capture_some(_metadata, self, 1000, 10);
	EXPORT(&c, TAPMIG_SEQ_FIRST + 1000);
	EXPECT_EQ(10, c.n);
}

TEST_F(pair, imports_come_first_then_captures_then_direct_frames)
{
	struct tapmig_info i;
	struct tally t = {};
	struct imported res;
	struct pkts p;

	capture_some(_metadata, self, 0, 3000);
	tx_flow(&self->dst, self->dst_tx, 0, 3000, 200);
	ASSERT_TRUE(hold_wait_captured(self->dst_hold, 200));
	EXPORT(&p, 0);
	ASSERT_EQ(3000, p.n);
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, p.n, &res);
	EXPECT_EQ(3000, res.accepted);
	EXPECT_EQ(0, res.resent);
	EXPECT_EQ(0, res.late);
	i = info_of(self->dst_hold);
	EXPECT_EQ(3000, i.imported);
	EXPECT_EQ(3000, i.pending_imports);
	EXPECT_EQ(200, i.held_packets);
	ASSERT_EQ(0, nl_sync(&self->nl, self->dst_id,
			     TAPMIG_SEQ_FIRST + 2999));
	ASSERT_EQ(0, nl_end(&self->nl, self->dst_id));
	/* Still frozen. */
	EXPECT_EQ(0, nic_drain(&self->dst, &t));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	EXPECT_EQ(TAPMIG_STATE_ARMED, info_of(self->dst_hold).state);
	tx_flow(&self->dst, self->dst_tx, 0, 3200, 100);
	ASSERT_TRUE(nic_wait(&self->dst, &t, 3300));
	EXPECT_EQ(3300, t.next[0]);
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu repeats %llu", t.gaps, t.repeats);
	i = info_of(self->dst_hold);
	EXPECT_EQ(3200, i.delivered);
	EXPECT_EQ(0, i.pending_imports);
	EXPECT_EQ(0, i.held_bytes);
	ASSERT_EQ(0, hold_commit(self->src_hold, TAPMIG_SEQ_FIRST + 2999));
	EXPECT_EQ(0, info_of(self->src_hold).held_packets);
	EXPECT_EQ(0, info_of(self->src_hold).held_bytes);
}

TEST_F(pair, thaw_after_a_partial_commit_returns_the_rest)
{
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 1000);
	EXPORT(&p, 0);
	ASSERT_EQ(0, nl_commit(&self->nl, self->src_id,
			       TAPMIG_SEQ_FIRST + 299));
	EXPECT_EQ(700, info_of(self->src_hold).held_packets);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 299,
		  info_of(self->src_hold).committed_seq);
	EXPORT(&p, 0);
	ASSERT_EQ(700, p.n);
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 300, p.v[0].seq);
	/* What was committed is no loss. */
	EXPECT_EQ(0, p.v[0].dropped_before);
	ASSERT_EQ(0, hold_thaw_wait(self->src_hold));
	t.next[0] = 300;
	ASSERT_TRUE(nic_wait(&self->src, &t, 700));
	EXPECT_EQ(0, nic_drain(&self->src, &t));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(700, info_of(self->src_hold).delivered);
}

struct committer {
	struct nl nl;
	__u32 id;
	__u64 seq;
	int done;
	int ret;
};

static int commit_once(void *data)
{
	struct committer *c = data;

	if (!c->done++)
		c->ret = nl_commit(&c->nl, c->id, c->seq);
	return 0;
}

static void commit_during_export(struct __test_metadata *_metadata,
				 FIXTURE_DATA(pair) *self, __u64 up_to)
{
	struct committer c = { .id = self->src_id, .seq = up_to, .ret = 1 };
	__u64 next = TAPMIG_SEQ_FIRST;
	struct pkts p;
	int i;

	nl_open(&c.nl);
	capture_some(_metadata, self, 0, 3000);
	ASSERT_EQ(0, nl_export_cb(&self->nl, self->src_id, 0, &p,
				  commit_once, &c));
	EXPECT_EQ(0, c.ret);
	EXPECT_LT(1, c.done);
	EXPECT_EQ(0, p.broken);
	/* In order; each that was not committed is there, once. */
	for (i = 0; i < p.n; i++) {
		ASSERT_LE(next, p.v[i].seq);
		ASSERT_TRUE(p.v[i].seq == next || p.v[i].seq <= up_to + 1);
		EXPECT_EQ(0, p.v[i].dropped_before);
		next = p.v[i].seq + 1;
	}
	if (up_to < TAPMIG_SEQ_FIRST + 2999) {
		EXPECT_EQ(TAPMIG_SEQ_FIRST + 3000, next);
	}
	EXPECT_EQ(TAPMIG_SEQ_FIRST + 2999 - up_to,
		  info_of(self->src_hold).held_packets);
}

TEST_F(pair, a_commit_before_the_cursor_does_not_disturb_an_export)
{
	commit_during_export(_metadata, self, TAPMIG_SEQ_FIRST + 5);
}

TEST_F(pair, a_commit_beyond_the_cursor_does_not_disturb_an_export)
{
	commit_during_export(_metadata, self, TAPMIG_SEQ_FIRST + 2500);
}

TEST_F(pair, a_commit_of_everything_ends_an_export)
{
	commit_during_export(_metadata, self, TAPMIG_SEQ_FIRST + 2999);
}

TEST_F(pair, a_commit_within_a_large_frame_leaves_the_others_whole)
{
	struct committer c = { .id = self->src_id, .seq = TAPMIG_SEQ_FIRST,
			       .ret = 1 };
	static __u8 buf[65000];
	int i, whole = 0;
	struct pkts p;

	if (variant->kind == MACVTAP)
		SKIP(return, "a veth pair has a smaller MTU");
	link_mtu(self->src.name, 65000);
	for (i = 0; i < 5; i++) {
		frame_udp(&self->src, buf, sizeof(buf), 0, i);
		ASSERT_EQ(0, tx_send(self->src_tx, buf, sizeof(buf)));
	}
	ASSERT_TRUE(hold_wait_captured(self->src_hold, 5));
	nl_open(&c.nl);
	ASSERT_EQ(0, nl_export_cb(&self->nl, self->src_id, 0, &p,
				  commit_once, &c));
	EXPECT_EQ(0, c.ret);
	for (i = 0; i < p.n; i++) {
		if (p.v[i].seq == TAPMIG_SEQ_FIRST)
			continue;
		EXPECT_EQ(TAPMIG_SEQ_FIRST + 1 + whole, p.v[i].seq);
		frame_udp(&self->src, buf, sizeof(buf), 0, 1 + whole++);
		EXPECT_EQ(sizeof(buf), p.v[i].have);
		EXPECT_EQ(0, memcmp(buf, p.v[i].data, sizeof(buf)));
	}
	EXPECT_EQ(4, whole);
}

static int thaw_once(void *data)
{
	struct committer *c = data;

	if (!c->done++)
		c->ret = hold_thaw_wait(c->id);
	return 0;
}

TEST_F(pair, a_thaw_ends_an_export)
{
	struct committer c = { .id = self->src_hold, .ret = 1 };
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 3000);
	/* The error does not matter, as long as it ends. */
	nl_export_cb(&self->nl, self->src_id, 0, &p, thaw_once, &c);
	EXPECT_EQ(0, c.ret);
	EXPECT_GT(3000, p.n);
	ASSERT_TRUE(nic_wait(&self->src, &t, 3000));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(pair, repeated_imports_are_counted_and_ignored)
{
	struct tapmig_info i;
	struct imported res;
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 500);
	EXPORT(&p, 0);
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 300, &res);
	EXPECT_EQ(300, res.accepted);
	/* All of them again, and some that are new. */
	IMPORT(p.v + 100, 400, &res);
	EXPECT_EQ(200, res.accepted);
	EXPECT_EQ(200, res.resent);
	IMPORT(p.v, 500, &res);
	EXPECT_EQ(0, res.accepted);
	EXPECT_EQ(500, res.resent);
	i = info_of(self->dst_hold);
	EXPECT_EQ(500, i.imported);
	EXPECT_EQ(700, i.resent);
	EXPECT_EQ(500, i.pending_imports);
	ASSERT_EQ(0, nl_end(&self->nl, self->dst_id));
	/* A lost connection: a session more. */
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 500, &res);
	EXPECT_EQ(0, res.accepted);
	EXPECT_EQ(500, res.resent);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	EXPECT_EQ(TAPMIG_STATE_LIVE, info_of(self->dst_hold).state);
	/* And when they have long been delivered. */
	IMPORT(p.v, 500, &res);
	EXPECT_EQ(0, res.accepted);
	EXPECT_EQ(500, res.resent);
	EXPECT_EQ(0, res.late);
	ASSERT_TRUE(nic_wait(&self->dst, &t, 500));
	EXPECT_EQ(0, nic_drain(&self->dst, &t));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(pair, a_repeat_within_one_request_is_ignored)
{
	struct pkt k[4] = {
		pkt_udp(&self->dst, 5, 0, 0, 100),
		pkt_udp(&self->dst, 6, 0, 1, 100),
		pkt_udp(&self->dst, 5, 0, 0, 100),
		pkt_udp(&self->dst, 7, 0, 2, 100),
	};
	struct imported res;
	struct tally t = {};

	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(k, 4, &res);
	EXPECT_EQ(3, res.accepted);
	EXPECT_EQ(1, res.resent);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_TRUE(nic_wait(&self->dst, &t, 3));
	EXPECT_EQ(0, nic_drain(&self->dst, &t));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(pair, imports_out_of_order_are_sorted)
{
	struct tally t = {};
	struct pkt *shuffled;
	struct pkts p;
	int i;

	capture_some(_metadata, self, 0, 1009);
	EXPORT(&p, 0);
	ASSERT_EQ(1009, p.n);
	/* A permutation: 1009 is a prime. */
	shuffled = calloc(p.n, sizeof(*shuffled));
	for (i = 0; i < p.n; i++)
		shuffled[i] = p.v[(i * 17 + 1000) % p.n];
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(shuffled, p.n, NULL);
	tx_flow(&self->dst, self->dst_tx, 0, 1009, 10);
	ASSERT_TRUE(hold_wait_captured(self->dst_hold, 10));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_TRUE(nic_wait(&self->dst, &t, 1019));
	EXPECT_TRUE(tally_clean(&t));
	free(shuffled);
}

TEST_F(pair, a_full_hold_takes_all_of_a_request_or_none)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 100 };
	struct imported res;
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 150);
	EXPORT(&p, 0);
	tx_flow(&self->dst, self->dst_tx, 0, 150, 10);
	ASSERT_TRUE(hold_wait_captured(self->dst_hold, 10));
	ASSERT_EQ(0, hold_set(self->dst_hold, &s));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	/* Captured packets count as well. */
	EXPECT_EQ(-ENOBUFS, nl_import(&self->nl, self->dst_id, p.v, 91, NULL));
	EXPECT_NE('\0', self->nl.msg[0]);
	EXPECT_EQ(0, info_of(self->dst_hold).imported);
	IMPORT(p.v, 90, &res);
	EXPECT_EQ(90, res.accepted);
	EXPECT_EQ(-ENOBUFS, nl_import(&self->nl, self->dst_id, p.v + 90, 60,
				      NULL));
	/* Repeats take no room. */
	IMPORT(p.v, 90, &res);
	EXPECT_EQ(90, res.resent);
	/* Nothing was lost: the sender tries again. */
	s.max_packets = 200;
	ASSERT_EQ(0, hold_set(self->dst_hold, &s));
	IMPORT(p.v + 90, 60, &res);
	EXPECT_EQ(60, res.accepted);
	EXPECT_EQ(0, info_of(self->dst_hold).dropped);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_TRUE(nic_wait(&self->dst, &t, 160));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(pair, discard_drops_imports_too)
{
	struct tapmig_info i;
	struct imported res;
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 50);
	EXPORT(&p, 0);
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 50, NULL);
	ASSERT_EQ(0, hold_discard(self->dst_hold));
	i = info_of(self->dst_hold);
	EXPECT_EQ(TAPMIG_STATE_ARMED, i.state);
	EXPECT_EQ(0, i.pending_imports);
	EXPECT_EQ(0, i.held_bytes);
	EXPECT_EQ(50, i.discarded);
	EXPECT_EQ(0, nic_drain(&self->dst, &t));
	/* A new migration begins: the same numbers are new packets. */
	ASSERT_EQ(0, hold_freeze(self->dst_hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 50, &res);
	EXPECT_EQ(50, res.accepted);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_TRUE(nic_wait(&self->dst, &t, 50));
	EXPECT_TRUE(tally_clean(&t));
}

/* --- late packets ------------------------------------------------------- */

TEST_F(pair, late_imports_go_to_the_tail)
{
	struct imported res;
	struct tapmig_info i;
	struct tally t = {};
	struct pkts p;

	capture_some(_metadata, self, 0, 300);
	EXPORT(&p, 0);
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 200, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->dst_hold).state);
	IMPORT(p.v + 200, 100, &res);
	EXPECT_EQ(100, res.accepted);
	EXPECT_EQ(100, res.late);
	ASSERT_TRUE(nic_wait(&self->dst, &t, 300));
	EXPECT_TRUE(tally_clean(&t));
	i = info_of(self->dst_hold);
	EXPECT_EQ(100, i.late);
	EXPECT_EQ(300, i.delivered);
	EXPECT_EQ(0, i.late_skipped);
	ASSERT_EQ(0, nl_end(&self->nl, self->dst_id));
	EXPECT_TRUE(hold_wait_state(self->dst_hold, TAPMIG_STATE_ARMED));
	EXPECT_EQ(-EBUSY, nl_import(&self->nl, self->dst_id, p.v, 1, NULL));
}

TEST_F(pair, late_imports_survive_a_full_ring)
{
	struct imported res;
	struct tally t = {};
	struct pkts p;
	long dropped;

	link_txqlen(self->dst.name, 100);
	capture_some(_metadata, self, 0, 1000);
	EXPORT(&p, 0);
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->dst_hold).state);
	/* Nobody reads; the ring overflows by direct frames. */
	dropped = link_statistic(self->dst.name, "rx_dropped");
	tx_flow(&self->dst, self->dst_tx, 1, 0, 700);
	/* All of them come before what is imported. */
	if (variant->kind == MACVTAP) {
		ASSERT_TRUE(busywait(link_statistic(self->dst.name,
						    "rx_dropped") >=
				     dropped + 600));
	}
	IMPORT(p.v, 1000, &res);
	EXPECT_EQ(1000, res.late);
	ASSERT_EQ(0, nl_end(&self->nl, self->dst_id));
	ASSERT_TRUE(busywait(({
		nic_drain(&self->dst, &t);
		t.next[0] == 1000;
	})));
	EXPECT_EQ(0, t.repeats);
	EXPECT_EQ(0, t.gaps);
	EXPECT_EQ(1000, info_of(self->dst_hold).late);
	EXPECT_EQ(0, info_of(self->dst_hold).lost);
	EXPECT_TRUE(hold_wait_state(self->dst_hold, TAPMIG_STATE_ARMED));
	EXPECT_EQ(0, info_of(self->dst_hold).held_bytes);
}

TEST_F(pair, late_imports_beyond_the_limit_wait_for_the_reader)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_PACKETS,
				.max_packets = 200 };
	struct tally t = {};
	struct pkts p;
	int at = 0, ret;

	link_txqlen(self->dst.name, 100);
	capture_some(_metadata, self, 0, 1000);
	EXPORT(&p, 0);
	ASSERT_EQ(0, hold_set(self->dst_hold, &s));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	/* A sender that tries again when it is told to. */
	ASSERT_TRUE(busywait(({
		ret = 0;
		while (at < 1000 && !ret) {
			ret = nl_import(&self->nl, self->dst_id, p.v + at, 50,
					NULL);
			if (!ret)
				at += 50;
			else if (ret != -ENOBUFS)
				die("import: %d %s", ret, self->nl.msg);
		}
		nic_drain(&self->dst, &t);
		t.got == 1000;
	})));
	EXPECT_TRUE(tally_clean(&t));
	EXPECT_EQ(1000, info_of(self->dst_hold).late);
}

/*
 * That a late packet finds no room has it tried again after 10 ms. By then this
 * can be another LIVE, which waits for a session to come.
 */
TEST_F(pair, a_late_import_that_is_over_does_not_end_the_next_live)
{
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY,
					.dedup = TAPMIG_DEDUP_OFF,
					.max_packets = 100);
	int k, judged = 0;
	struct tally t = {};
	struct pkts p;
	int64_t began;

	close(self->dst_hold);
	link_txqlen(self->dst.name, 100);
	self->dst_hold = hold_new(&self->dst, &c);
	self->dst_id = info_of(self->dst_hold).id;
	ASSERT_EQ(0, hold_stay_live(self->dst_hold));
	capture_some(_metadata, self, 0, 1);
	EXPORT(&p, 0);
	for (k = 0; k < 60 && judged < 3; k++) {
		ASSERT_EQ(0, hold_freeze(self->dst_hold));
		ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
		ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
		/* No room, neither in the ring nor for a larger one. */
		tx_flow(&self->dst, self->dst_tx, 1, 0, 400);
		began = now_ms();
		IMPORT(p.v, 1, NULL);
		ASSERT_EQ(1, info_of(self->dst_hold).pending_imports);
		ASSERT_EQ(0, hold_discard(self->dst_hold));
		ASSERT_EQ(0, hold_freeze(self->dst_hold));
		ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
		ASSERT_EQ(TAPMIG_STATE_LIVE, info_of(self->dst_hold).state);
		judged += now_ms() - began < 7;
		poll(NULL, 0, 40);
		EXPECT_EQ(TAPMIG_STATE_LIVE, info_of(self->dst_hold).state);
		ASSERT_EQ(0, hold_discard(self->dst_hold));
		nic_drain(&self->dst, &t);
	}
	TH_LOG("%d of %d in time", judged, k);
	EXPECT_LT(0, judged);
}

/* As PREPARE, since what is in a ring is charged to nobody. */
TEST_F(pair, late_imports_enlarge_a_ring_as_far_as_prepare_does)
{
	struct tapmig_set s = { .mask = TAPMIG_SET_MAX_BYTES,
				.max_bytes = 1 << 20 };
	struct tapmig_info i;
	struct tally t = {};
	struct pkts p;

	link_txqlen(self->dst.name, 100);
	capture_some(_metadata, self, 0, 1000);
	EXPORT(&p, 0);
	ASSERT_EQ(0, hold_set(self->dst_hold, &s));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	IMPORT(p.v, 1000, NULL);
	i = info_of(self->dst_hold);
	EXPECT_EQ(1000, i.pending_imports + i.late);
	/* A full frame has about two KiB. */
	EXPECT_LT(400, i.late);
	EXPECT_GT(600, i.late);
	ASSERT_TRUE(nic_wait(&self->dst, &t, 1000));
	EXPECT_TRUE(tally_clean(&t));
}

/* --- large frames ------------------------------------------------------- */

static const __u32 sizes[] = { 65531, 65532, 65535, 60, 32768, 65000 };

TEST_F(pair, large_frames_are_captured_exported_and_imported)
{
	static __u8 buf[65535];
	static struct rx rx;
	struct pkts p;
	size_t i;

	if (variant->kind == MACVTAP)
		SKIP(return, "see the test with segmentation");
	link_mtu(self->src.name,
		 variant->kind == TUN ? 65535 : 65535 - ETH_HLEN);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		frame_udp(&self->src, buf, sizes[i], 0, i);
		ASSERT_EQ(0, tx_send(self->src_tx, buf, sizes[i]));
	}
	ASSERT_TRUE(hold_wait_captured(self->src_hold, ARRAY_SIZE(sizes)));
	EXPORT(&p, 0);
	ASSERT_EQ(ARRAY_SIZE(sizes), p.n);
	EXPECT_EQ(0, p.broken);
	EXPECT_LT(p.n, p.chunks);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		frame_udp(&self->src, buf, sizes[i], 0, i);
		ASSERT_EQ(sizes[i], p.v[i].len);
		ASSERT_EQ(0, memcmp(buf, p.v[i].data, sizes[i]));
	}
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, p.n, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(0, hold_thaw_wait(self->src_hold));
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		frame_udp(&self->src, buf, sizes[i], 0, i);
		ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
		ASSERT_EQ(sizes[i], rx.len);
		EXPECT_EQ(0, memcmp(buf, rx.data, sizes[i]));
		ASSERT_EQ(1, nic_read(&self->src, 0, &rx));
		ASSERT_EQ(sizes[i], rx.len);
		EXPECT_EQ(0, memcmp(buf, rx.data, sizes[i]));
	}
}

TEST_F(pair, large_frames_are_imported_by_chunks_of_any_size)
{
	static const __u32 large[] = { 200000, 65531, 65532, 65535,
				       TAPMIG_FRAME_MAX };
	static const size_t chunk[] = { 60000, 1000, 65400, 4096, 1 };
	struct pkt k = { .protocol = ETH_P_IP };
	static __u8 buf[TAPMIG_FRAME_MAX];
	static struct rx rx;
	size_t i, c;
	__u64 n = 0;

	k.data = buf;
	ASSERT_EQ(0, hold_thaw_wait(self->src_hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	for (c = 0; c < ARRAY_SIZE(chunk); c++) {
		for (i = 0; i < ARRAY_SIZE(large); i++) {
			k.len = large[i];
			if (chunk[c] == 1)
				k.len = 500;
			else if (k.len / chunk[c] > 100)
				continue;
			k.seq = ++n;
			frame_udp(&self->dst, buf, k.len, 0, n);
			ASSERT_EQ(0, nl_import_chunk(&self->nl, self->dst_id,
						     &k, 1, chunk[c], NULL))
				TH_LOG("%u by %zu: %s", k.len, chunk[c],
				       self->nl.msg);
		}
	}
	EXPECT_EQ(n, info_of(self->dst_hold).pending_imports);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	for (n = 1, c = 0; c < ARRAY_SIZE(chunk); c++) {
		for (i = 0; i < ARRAY_SIZE(large); i++) {
			__u32 len = chunk[c] == 1 ? 500 : large[i];

			if (chunk[c] != 1 && len / chunk[c] > 100)
				continue;
			ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
			EXPECT_EQ(len, rx.len);
			EXPECT_TRUE(rx.ours);
			EXPECT_EQ(n++, rx.seq);
		}
	}
}

static int send_chunk(struct nl *nl, __u32 id, const struct pkt *k, __u32 off,
		      __u32 len)
{
	static char buf[128 * 1024];
	struct nlmsghdr *nlh = nl_msg(nl, buf, TAPMIG_CMD_PACKET_NEW,
				      NLM_F_ACK);
	struct nlattr *nest;

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
	mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, k->seq);
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, k->len);
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, off);
	mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, len, k->data + off);
	mnl_attr_nest_end(nlh, nest);
	return nl_talk(nl, nlh, NULL, NULL);
}

TEST_F(pair, a_frame_may_come_in_several_requests)
{
	static struct rx rx;
	struct pkt k = pkt_udp(&self->dst, 1, 0, 0, 150000);
	struct pkt l = pkt_udp(&self->dst, 2, 0, 1, 100);

	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	ASSERT_EQ(0, send_chunk(&self->nl, self->dst_id, &k, 0, 60000));
	EXPECT_EQ(0, info_of(self->dst_hold).pending_imports);
	/* Not the next chunk: refused, what there is remains. */
	EXPECT_GT(0, send_chunk(&self->nl, self->dst_id, &k, 60001, 60000));
	EXPECT_NE('\0', self->nl.msg[0]);
	EXPECT_GT(0, nl_import(&self->nl, self->dst_id, &l, 1, NULL));
	ASSERT_EQ(0, send_chunk(&self->nl, self->dst_id, &k, 60000, 60000));
	ASSERT_EQ(0, send_chunk(&self->nl, self->dst_id, &k, 120000, 30000));
	EXPECT_EQ(1, info_of(self->dst_hold).pending_imports);
	IMPORT(&l, 1, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
	EXPECT_EQ(150000, rx.len);
	EXPECT_TRUE(rx.ours);
	ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
	EXPECT_EQ(1, rx.seq);
}

TEST_F(pair, a_frame_that_never_was_complete_is_not_delivered)
{
	struct pkt k = pkt_udp(&self->dst, 1, 0, 0, 150000);
	struct tally t = {};

	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	ASSERT_EQ(0, send_chunk(&self->nl, self->dst_id, &k, 0, 60000));
	nl_end(&self->nl, self->dst_id);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	EXPECT_EQ(0, nic_drain(&self->dst, &t));
	EXPECT_EQ(0, info_of(self->dst_hold).delivered);
	EXPECT_EQ(0, info_of(self->dst_hold).held_bytes);
}

/* --- segmentation, and headers that nobody should trust ----------------- */

static struct pkt pkt_gso(const struct nic *n, __u64 seq, int family,
			  int proto, size_t payload, int type, int size)
{
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = type,
		.gso_size = size,
	};
	struct pkt k = {
		.seq = seq,
		.protocol = family == AF_INET ? ETH_P_IP : ETH_P_IPV6,
		.data = malloc(payload + 100),
		.has_vnet = true,
	};
	size_t l4;

	k.len = frame_l4(n, k.data, family, proto, payload, true, &l4);
	h.csum_start = l4;
	h.csum_offset = proto == IPPROTO_TCP ? 16 : 6;
	h.hdr_len = l4 + (proto == IPPROTO_TCP ? 20 : 8);
	memcpy(k.vnet, &h, sizeof(h));
	return k;
}

/*
 * Read frames until the payload is complete: all must be plain ones with a
 * correct checksum. Returns how many they were.
 */
static int read_segments(struct __test_metadata *_metadata, struct nic *n,
			 int family, int proto, size_t payload, bool offload)
{
	static struct rx rx;
	struct virtio_net_hdr h;
	size_t at = 0, i;
	int count = 0;

	while (at < payload) {
		size_t ip = n->kind == TUN ? 0 : ETH_HLEN;
		size_t l4 = ip + (family == AF_INET ? 20 : 40);
		size_t data = l4 + (proto == IPPROTO_TCP ? 20 : 8);
		__u8 pseudo[4] = { 0, proto };
		__u32 sum;

		ASSERT_EQ(1, nic_read(n, 0, &rx));
		count++;
		memcpy(&h, rx.hdr, sizeof(h));
		EXPECT_EQ(VIRTIO_NET_HDR_GSO_NONE, h.gso_type);
		ASSERT_LT(data, rx.len);
		pseudo[2] = (rx.len - l4) >> 8;
		pseudo[3] = rx.len - l4;
		if (!(h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
			sum = family == AF_INET ?
				csum_add(0, rx.data + ip + 12, 8) :
				csum_add(0, rx.data + ip + 8, 32);
			sum = csum_add(sum, pseudo, 4);
			sum = csum_add(sum, rx.data + l4, rx.len - l4);
			EXPECT_EQ(0, csum_fold(sum));
		} else {
			EXPECT_TRUE(offload);
		}
		if (family == AF_INET) {
			EXPECT_EQ(0, csum_fold(csum_add(0, rx.data + ip, 20)));
		}
		for (i = 0; i < rx.len - data; i++) {
			ASSERT_EQ((__u8)((at + i) * 7), rx.data[data + i]);
		}
		at += rx.len - data;
	}
	EXPECT_EQ(payload, at);
	return count;
}

static void gso_is_segmented(struct __test_metadata *_metadata,
			     FIXTURE_DATA(pair) *self, int family, int proto,
			     int type, bool offload)
{
	struct pkt k[3] = {
		pkt_udp(&self->dst, 1, 0, 0, 100),
		pkt_gso(&self->dst, 2, family, proto, 5000, type, 1000),
		pkt_udp(&self->dst, 3, 0, 1, 100),
	};
	static struct rx rx;
	struct imported res;

	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(k, 3, &res);
	EXPECT_NE(0, res.accepted);
	/* Again: all of it is known. */
	IMPORT(k, 3, &res);
	EXPECT_EQ(0, res.accepted);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
	EXPECT_EQ(0, rx.seq);
	EXPECT_EQ(5, read_segments(_metadata, &self->dst, family, proto,
				   5000, offload));
	ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
	EXPECT_EQ(1, rx.seq);
	EXPECT_EQ(0, nic_read(&self->dst, 0, &rx));
	EXPECT_NE(0, info_of(self->dst_hold).segmented);
	EXPECT_EQ(0, info_of(self->dst_hold).lost);
	EXPECT_EQ(0, info_of(self->dst_hold).held_bytes);
}

TEST_F(pair, tcp4_gso_is_segmented_for_a_reader_without_offload)
{
	ASSERT_EQ(0, nic_offload(&self->dst, 0));
	gso_is_segmented(_metadata, self, AF_INET, IPPROTO_TCP,
			 VIRTIO_NET_HDR_GSO_TCPV4, false);
}

TEST_F(pair, tcp6_gso_is_segmented_for_a_reader_without_offload)
{
	ASSERT_EQ(0, nic_offload(&self->dst, 0));
	gso_is_segmented(_metadata, self, AF_INET6, IPPROTO_TCP,
			 VIRTIO_NET_HDR_GSO_TCPV6, false);
}

TEST_F(pair, udp4_gso_is_segmented_for_a_reader_without_offload)
{
	ASSERT_EQ(0, nic_offload(&self->dst, 0));
	gso_is_segmented(_metadata, self, AF_INET, IPPROTO_UDP, GSO_UDP_L4,
			 false);
}

TEST_F(pair, udp6_gso_is_segmented_where_the_kernel_cannot_pass_it)
{
	if (kernel_has(6, 2))
		SKIP(return, "this kernel can");
	ASSERT_EQ(0, nic_offload(&self->dst, all_offloads()));
	gso_is_segmented(_metadata, self, AF_INET6, IPPROTO_UDP, GSO_UDP_L4,
			 true);
}

TEST_F(pair, a_partial_checksum_is_completed_for_a_reader_without_offload)
{
	struct pkt k = pkt_gso(&self->dst, 1, AF_INET, IPPROTO_TCP, 500, 0, 0);

	ASSERT_EQ(0, nic_offload(&self->dst, 0));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(&k, 1, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	EXPECT_EQ(1, read_segments(_metadata, &self->dst, AF_INET,
				   IPPROTO_TCP, 500, false));
}

/*
 * UDP fragmentation offload: kernels take it one way and refuse it the other,
 * macvtap even with BUG(). It comes out as fragments.
 */
TEST_F(pair, gso_udp_comes_out_as_fragments)
{
	struct pkt k = pkt_gso(&self->dst, 1, AF_INET, IPPROTO_UDP, 3000,
			       VIRTIO_NET_HDR_GSO_UDP, 1000);
	struct virtio_net_hdr h;
	static struct rx rx;
	size_t at = 0;

	ASSERT_EQ(0, nic_offload(&self->dst, all_offloads()));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(&k, 1, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	while (nic_read(&self->dst, 0, &rx) > 0) {
		memcpy(&h, rx.hdr, sizeof(h));
		EXPECT_EQ(VIRTIO_NET_HDR_GSO_NONE, h.gso_type);
		at += rx.len - 20 - (variant->kind == TUN ? 0 : ETH_HLEN);
	}
	EXPECT_EQ(3008, at);
	EXPECT_EQ(1, info_of(self->dst_hold).segmented);
}

TEST_F(pair, hostile_headers_are_refused_or_harmless)
{
	static const struct {
		const char *name;
		struct virtio_net_hdr h;
		bool refused;
	} bad[] = {
		{ "unknown GSO type", { .gso_type = 0x7f, .gso_size = 100 },
		  true },
		{ "GSO without a size", { .gso_type = 1, .flags = 1,
		  .csum_start = 34, .csum_offset = 16 }, true },
		{ "ECN alone", { .gso_type = 0x80, .gso_size = 100 } },
		{ "csum_start beyond the frame", { .flags = 1,
		  .csum_start = 60000, .csum_offset = 16 }, true },
		{ "csum_offset beyond the frame", { .flags = 1,
		  .csum_start = 34, .csum_offset = 60000 }, true },
		{ "csum at the last byte", { .flags = 1,
		  .csum_start = 1053, .csum_offset = 0 }, true },
		{ "csum_start and offset wrap", { .flags = 1,
		  .csum_start = 0xffff, .csum_offset = 0xffff }, true },
		{ "hdr_len beyond the frame", { .gso_type = 1, .flags = 1,
		  .gso_size = 100, .hdr_len = 60000, .csum_start = 34,
		  .csum_offset = 16 } },
		{ "TCPv6 of an IPv4 packet", { .gso_type = 4, .flags = 1,
		  .gso_size = 100, .csum_start = 34, .csum_offset = 16 } },
		{ "TCPv4 of a UDP packet", { .gso_type = 1, .flags = 1,
		  .gso_size = 100, .csum_start = 34, .csum_offset = 16 } },
		{ "GSO without a checksum", { .gso_type = 1,
		  .gso_size = 100 } },
		{ "UDP GSO with a checksum elsewhere", { .gso_type = 5,
		  .flags = 1, .gso_size = 100, .csum_start = 50,
		  .csum_offset = 2 } },
		{ "fragmentation with a small size", { .gso_type = 3,
		  .flags = 1, .gso_size = 1, .csum_start = 34,
		  .csum_offset = 6 } },
		{ "a size larger than the frame", { .gso_type = 1, .flags = 1,
		  .gso_size = 60000, .csum_start = 34, .csum_offset = 16 } },
		{ "one byte segments", { .gso_type = 5, .flags = 1,
		  .gso_size = 1, .csum_start = 34, .csum_offset = 6 } },
		{ "all bits", { .flags = 0xff, .gso_type = 0xff,
		  .hdr_len = 0xffff, .gso_size = 0xffff,
		  .csum_start = 0xffff, .csum_offset = 0xffff }, true },
		{ "unknown flags", { .flags = 0xf8 } },
	};
	struct pkt k = pkt_udp(&self->dst, 1, 0, 0, 1054);
	static struct rx rx;
	__u64 lost;
	size_t i;
	int ret, n, offload;

	k.has_vnet = true;
	for (offload = 0; offload < 2; offload++) {
		ASSERT_EQ(0, nic_offload(&self->dst,
					 offload ? all_offloads() : 0));
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			lost = info_of(self->dst_hold).lost;
			memcpy(k.vnet, &bad[i].h, sizeof(k.vnet));
			ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
			ret = nl_import(&self->nl, self->dst_id, &k, 1, NULL);
			if (bad[i].refused) {
				EXPECT_EQ(-EINVAL, ret)
					TH_LOG("%s", bad[i].name);
			}
			if (ret) {
				EXPECT_EQ(-EINVAL, ret)
					TH_LOG("%s", bad[i].name);
				EXPECT_NE('\0', self->nl.msg[0])
					TH_LOG("%s", bad[i].name);
			}
			nl_end(&self->nl, self->dst_id);
			ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
			for (n = 0; (ret = nic_read(&self->dst, 0, &rx)); n++) {
				EXPECT_EQ(1, ret)
					TH_LOG("%s: read %d", bad[i].name,
					       ret);
			}
			/* Taken: then it is there, or counted. */
			if (info_of(self->dst_hold).imported) {
				EXPECT_TRUE(n || info_of(self->dst_hold).lost >
					    lost)
					TH_LOG("%s", bad[i].name);
			}
			/* A hold without a memory of the last import. */
			close(self->dst_hold);
			self->dst_hold = hold_new(&self->dst, NULL);
			self->dst_id = info_of(self->dst_hold).id;
			ASSERT_EQ(0, hold_freeze(self->dst_hold));
		}
	}
}

TEST_F(pair, a_captured_gso_packet_beyond_64k_is_moved)
{
	static __u8 buf[200200];
	static struct rx rx;
	struct virtio_net_hdr h = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV6,
		.gso_size = 1400,
		.csum_offset = 16,
	};
	/* A packet socket of an old kernel sends no more than that. */
	bool small = !kernel_has(6, 6);
	struct pkts p;
	size_t l4, len;
	int tx;

	if (variant->kind != MACVTAP)
		SKIP(return, "such a frame comes to macvtap only");
	link_gso_max(self->src.tx_name, 400000);
	ASSERT_EQ(0, nic_offload(&self->src, all_offloads()));
	ASSERT_EQ(0, nic_offload(&self->dst, all_offloads()));
	tx = tx_open(self->src.tx_ifindex, TX_BYPASS | TX_VNET);
	len = frame_l4(&self->src, buf + sizeof(h), AF_INET6, IPPROTO_TCP,
		       small ? 130000 : 200000, true, &l4);
	h.csum_start = l4;
	h.hdr_len = small ? 65535 : l4 + 20;
	memcpy(buf, &h, sizeof(h));
	/* The length does not fit its field. */
	buf[sizeof(h) + l4 - 36] = 0;
	buf[sizeof(h) + l4 - 35] = 0;
	ASSERT_EQ(0, tx_send(tx, buf, len + sizeof(h)));
	ASSERT_TRUE(hold_wait_captured(self->src_hold, 1));
	EXPORT(&p, 0);
	ASSERT_EQ(1, p.n);
	ASSERT_EQ(0, p.broken);
	ASSERT_EQ(len, p.v[0].len);
	EXPECT_EQ(0, memcmp(buf + sizeof(h), p.v[0].data, len));
	EXPECT_EQ(0, memcmp(&h, p.v[0].vnet, sizeof(h)));
	ASSERT_EQ(0, nl_begin(&self->nl, self->dst_id, 0));
	IMPORT(p.v, 1, NULL);
	ASSERT_EQ(0, hold_thaw_wait(self->dst_hold));
	ASSERT_EQ(1, nic_read(&self->dst, 0, &rx));
	EXPECT_EQ(len, rx.len);
	EXPECT_EQ(0, memcmp(buf + sizeof(h), rx.data, len));
	/* Its header length was not a real one there. */
	if (small)
		memcpy(rx.hdr + 2, &h.hdr_len, 2);
	EXPECT_EQ(0, memcmp(&h, rx.hdr, sizeof(h)));
}

TEST_HARNESS_MAIN
