// SPDX-License-Identifier: GPL-2.0-only
/*
 * vhost-net as the reader, driven through /dev/vhost-net with a virtqueue in
 * the memory of this process.
 */
#include "lib.h"
#include "vq.h"

#include "harness.h"

/* How many packets vhost-net takes out of a ring at once. */
#define BATCH		64

FIXTURE(vhost) {
	struct nic n;
	struct vq vq;
	struct nl nl;
	int tx;
	int hold;
};

FIXTURE_VARIANT(vhost) {
	enum nic_kind kind;
};

FIXTURE_VARIANT_ADD(vhost, tap) { .kind = TAP };
FIXTURE_VARIANT_ADD(vhost, tun) { .kind = TUN };
FIXTURE_VARIANT_ADD(vhost, macvtap) { .kind = MACVTAP };

FIXTURE_SETUP(vhost)
{
	netns_new();
	nic_pin(variant->kind);
	nic_open(&self->n, variant->kind, 12, 1);
	nl_open(&self->nl);
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	if (!vq_open(&self->vq))
		SKIP(return, "no vhost-net");
	self->hold = hold_new(&self->n, NULL);
}

FIXTURE_TEARDOWN(vhost)
{
}

TEST_F(vhost, an_armed_hold_is_not_noticed)
{
	struct tally t = {};
	int k;

	vq_post(&self->vq, 200);
	vq_backend(&self->vq, self->n.fd[0]);
	for (k = 0; k < 10; k++) {
		tx_flow(&self->n, self->tx, 0, 100 * k, 100);
		ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, 100 * (k + 1),
				    true));
	}
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(vhost, a_frozen_queue_shows_it_nothing)
{
	struct tally t = {};

	vq_post(&self->vq, 50);
	vq_backend(&self->vq, self->n.fd[0]);
	tx_flow(&self->n, self->tx, 0, 0, 20);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, 20, false));
	vq_flush(&self->vq);
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, 20, 300);
	ASSERT_TRUE(hold_wait_captured(self->hold, 300));
	/* Even when it looks. */
	vq_post(&self->vq, 400);
	vq_flush(&self->vq);
	EXPECT_EQ(0, vq_take(&self->vq, &self->n, &t, false));
	EXPECT_EQ(300, info_of(self->hold).held_packets);
	ASSERT_EQ(0, hold_thaw(self->hold));
	tx_flow(&self->n, self->tx, 0, 320, 50);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, 370, false));
	EXPECT_TRUE(tally_clean(&t));
}

/* Let it take a batch of which it can deliver one packet only. */
static void take_batch(struct __test_metadata *_metadata,
		       FIXTURE_DATA(vhost) *self, struct tally *t)
{
	long before = link_statistic(self->n.name, "rx_packets");

	tx_flow(&self->n, self->tx, 0, 0, 100);
	/* All are there before it looks. */
	ASSERT_TRUE(nic_poll(&self->n, WAIT_MS));
	if (self->n.kind == MACVTAP) {
		ASSERT_TRUE(busywait(link_statistic(self->n.name,
						    "rx_packets") >=
				     before + 100));
	}
	vq_post(&self->vq, 1);
	vq_backend(&self->vq, self->n.fd[0]);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, t, 1, false));
	vq_flush(&self->vq);
}

TEST_F(vhost, a_batch_given_back_to_a_frozen_queue_is_exported_first)
{
	struct tally t = {};
	struct pkts p;
	__u32 flow;
	__u64 seq;
	int i;

	take_batch(_metadata, self, &t);
	ASSERT_EQ(0, hold_freeze(self->hold));
	/* Else the test is of nothing. */
	ASSERT_TRUE(hold_wait_captured(self->hold, 100 - BATCH));
	ASSERT_EQ(100 - BATCH, info_of(self->hold).captured);
	tx_flow(&self->n, self->tx, 0, 100, 10);
	ASSERT_TRUE(hold_wait_captured(self->hold, 110 - BATCH));
	/* Nobody is woken by this. */
	vq_backend(&self->vq, -1);
	ASSERT_EQ(0, nl_export(&self->nl, info_of(self->hold).id, 0, &p));
	ASSERT_EQ(109, p.n);
	for (i = 0; i < p.n; i++) {
		ASSERT_TRUE(frame_parse(&self->n, p.v[i].data, p.v[i].len,
					&flow, &seq));
		EXPECT_EQ(i + 1, seq);
		EXPECT_EQ(i >= BATCH - 1, p.v[i].seq >= TAPMIG_SEQ_FIRST);
		if (i) {
			EXPECT_LT(p.v[i - 1].seq, p.v[i].seq);
			EXPECT_LE(p.v[i - 1].time_ns, p.v[i].time_ns);
		}
	}
	EXPECT_EQ(TAPMIG_SEQ_FIRST, p.v[BATCH - 1].seq);
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 110));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(vhost, a_batch_given_back_to_a_frozen_queue_is_thawed_first)
{
	struct tally t = {};
	int k;

	take_batch(_metadata, self, &t);
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_TRUE(hold_wait_captured(self->hold, 100 - BATCH));
	ASSERT_EQ(100 - BATCH, info_of(self->hold).captured);
	/* No more at once than a veth pair takes. */
	for (k = 1; k <= 5; k++) {
		tx_flow(&self->n, self->tx, 0, 400 * k - 300, 400);
		ASSERT_TRUE(hold_wait_captured(self->hold, 100 - BATCH +
					       400 * k));
	}
	vq_backend(&self->vq, -1);
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	tx_flow(&self->n, self->tx, 0, 2100, 10);
	ASSERT_TRUE(nic_wait(&self->n, &t, 2110));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(vhost, a_batch_given_back_before_new_frames_come_keeps_its_place)
{
	struct tally t = {};

	take_batch(_metadata, self, &t);
	ASSERT_EQ(0, hold_freeze(self->hold));
	vq_backend(&self->vq, -1);
	/* It is in the ring now, and this brings the hook to look there. */
	tx_flow(&self->n, self->tx, 0, 100, 50);
	ASSERT_TRUE(hold_wait_captured(self->hold, 149));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 150));
	EXPECT_TRUE(tally_clean(&t));
}

/* The ring is another one then. */
TEST_F(vhost, a_batch_given_back_after_a_change_of_txqueuelen_is_thawed_first)
{
	struct tally t = {};

	take_batch(_metadata, self, &t);
	ASSERT_EQ(0, hold_freeze(self->hold));
	tx_flow(&self->n, self->tx, 0, 100, 50);
	ASSERT_TRUE(hold_wait_captured(self->hold, 150 - BATCH));
	link_txqlen(self->n.name, 600);
	vq_backend(&self->vq, -1);
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, 150));
	EXPECT_TRUE(tally_clean(&t));
}

/*
 * When the ring is resized before we have looked at it, the batch cannot be
 * told any more: a known limit.
 */
static void given_back_in_a_change(struct __test_metadata *_metadata,
				   FIXTURE_DATA(vhost) *self, bool freeze)
{
	int k, i, judged = 0, bad = 0;
	struct slow_resize r;
	__u64 seq;

	ASSERT_TRUE(slow_resize_open(&r, &self->n, self->hold));
	for (k = 0; k < 60 && judged < 4; k++) {
		struct tally t = {};
		bool in_time;

		take_batch(_metadata, self, &t);
		ASSERT_TRUE(slow_resize_begin(&r, k & 1 ? 700 : 600));
		seq = 100;
		/* A ring that is full would have no room for the batch. */
		for (i = 0; i < 300 && slow_resize_pending(&r); i++) {
			seq += tx_flow(&self->n, self->tx, 0, seq, 1);
			poll(NULL, 0, 1);
		}
		vq_backend(&self->vq, -1);
		if (freeze)
			ASSERT_EQ(0, hold_freeze(self->hold));
		tx_all(&self->n, self->tx, 0, seq, 50);
		seq += 50;
		in_time = slow_resize_waits(&r);
		slow_resize_end(&r);
		if (freeze)
			ASSERT_EQ(0, hold_thaw_wait(self->hold));
		ASSERT_TRUE(busywait(({
			nic_drain(&self->n, &t);
			t.got + t.repeats == seq;
		})));
		judged += in_time;
		bad += in_time && !tally_clean(&t);
	}
	TH_LOG("%d of %d out of order, in %d rounds", bad, judged, k);
	EXPECT_LT(0, judged);
	EXPECT_EQ(0, bad);
	slow_resize_close(&r);
}

TEST_F(vhost, a_batch_given_back_during_a_change_of_txqueuelen_comes_first)
{
	if (variant->kind == MACVTAP)
		SKIP(return, "its sender is not told that a ring is full");
	given_back_in_a_change(_metadata, self, false);
}

TEST_F(vhost, a_batch_given_back_during_a_change_and_a_freeze_comes_first)
{
	if (variant->kind == MACVTAP)
		SKIP(return, "its sender is not told that a ring is full");
	given_back_in_a_change(_metadata, self, true);
}

TEST_F(vhost, prepare_saves_the_batch_when_the_ring_is_full)
{
	struct tally t = {};
	__u8 buf[FRAME_LEN];
	__u64 seq = 100;

	if (variant->kind == MACVTAP)
		SKIP(return, "a veth pair does not say what was dropped");
	take_batch(_metadata, self, &t);
	/* Until there is no room for one more. */
	for (;;) {
		frame_udp(&self->n, buf, sizeof(buf), 0, seq);
		if (tx_send(self->tx, buf, sizeof(buf)))
			break;
		seq++;
	}
	ASSERT_LT(variant->kind == TUN ? 500 : 1000, seq);
	/* As QEMU does it. */
	ASSERT_EQ(0, hold_prepare(self->hold, 0));
	vq_backend(&self->vq, -1);
	ASSERT_EQ(0, hold_freeze(self->hold));
	EXPECT_EQ(seq - 1, info_of(self->hold).captured);
	tx_flow(&self->n, self->tx, 0, seq, 100);
	ASSERT_TRUE(hold_wait_captured(self->hold, seq + 99));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	ASSERT_TRUE(nic_wait(&self->n, &t, seq + 100));
	EXPECT_TRUE(tally_clean(&t))
		TH_LOG("gaps %llu", t.gaps);
}

TEST_F(vhost, it_starts_on_a_thawed_backlog)
{
	struct tally t = {};
	int k;

	ASSERT_EQ(0, hold_freeze(self->hold));
	for (k = 1; k <= 10; k++) {
		tx_flow(&self->n, self->tx, 0, 300 * (k - 1), 300);
		ASSERT_TRUE(hold_wait_captured(self->hold, 300 * k));
	}
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	vq_post(&self->vq, 500);
	vq_backend(&self->vq, self->n.fd[0]);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, 3000, true));
	tx_flow(&self->n, self->tx, 0, 3000, 200);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, 3200, true));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_F(vhost, stop_freeze_thaw_start_many_times_loses_nothing)
{
	struct tally t = {};
	__u64 seq = 0;
	int k;

	vq_post(&self->vq, 300);
	for (k = 0; k < 50; k++) {
		vq_backend(&self->vq, self->n.fd[0]);
		tx_flow(&self->n, self->tx, 0, seq, 70);
		seq += 70;
		ASSERT_EQ(0, hold_prepare(self->hold, 2000));
		vq_backend(&self->vq, -1);
		ASSERT_EQ(0, hold_freeze(self->hold));
		tx_flow(&self->n, self->tx, 0, seq, 30);
		seq += 30;
		/* What the guest does not have yet is held. */
		vq_take(&self->vq, &self->n, &t, true);
		ASSERT_TRUE(busywait(info_of(self->hold).held_packets ==
				     seq - t.got));
		ASSERT_EQ(0, hold_thaw_wait(self->hold));
	}
	vq_backend(&self->vq, self->n.fd[0]);
	ASSERT_TRUE(vq_wait(&self->vq, &self->n, &t, seq, true));
	EXPECT_TRUE(tally_clean(&t));
}

TEST_HARNESS_MAIN
