// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a frame costs its sender when it is held, against the ring and against
 * the plug qdisc.
 */
#include <pthread.h>
#include <sched.h>

#include "bench.h"

#define FRAMES		10000
#define READ_FRAMES	4000
/* The ring keeps one unused, or two. */
#define SPARE		64

static double ring_burst(bool qdisc)
{
	struct nic n;
	double ns;

	tap_open(&n, "ring0", FRAMES + SPARE);
	ns = pktgen_burst(n.name, 1, SMALL, qdisc, FRAMES);
	tap_close(&n);
	return ns;
}

static double hold_burst(bool qdisc)
{
	struct nic n;
	double ns;
	int hold;

	tap_open(&n, "hold0", 0);
	hold = hold_raised(&n, TAPMIG_ROLE_SOURCE);
	ns = pktgen_burst(n.name, 1, SMALL, qdisc, FRAMES);
	hold_full(hold, FRAMES, "capture");
	must(hold_discard(hold), "TAPMIG_DISCARD");
	close(hold);
	tap_close(&n);
	return ns;
}

static double plug_burst(void)
{
	struct nic n;
	double ns;

	tap_open(&n, "plug0", 0);
	plug_add(n.name, FRAMES * 4096);
	ns = pktgen_burst(n.name, 1, SMALL, true, FRAMES);
	plug_del(n.name);
	tap_close(&n);
	return ns;
}

/* Senders are the kernel's: no reader, no system calls. */
void bench_capture(void)
{
	struct series ring = {}, hold = {}, ring_q = {}, hold_q = {},
		      plug = {};
	long i;

	for_each_round(i, rounds(25)) {
		series_add(&ring, ring_burst(false));
		series_add(&hold, hold_burst(false));
		series_add(&ring_q, ring_burst(true));
		series_add(&hold_q, hold_burst(true));
		series_add(&plug, plug_burst());
	}
	report_ratio("capture/ring", "ns/frame", &hold, &ring);
	report_ratio("capture/ring-qdisc", "ns/frame", &hold_q, &ring_q);
	report_ratio("capture/plug", "ns/frame", &hold_q, &plug);
}

/**
 * struct passage - frames from a sender to a reader
 * @n: device
 * @r: what arrives
 * @sent_ns: until the last was sent
 * @read_ns: until the last was read
 */
struct passage {
	struct nic n;
	struct reading r;
	double sent_ns;
	double read_ns;
};

static __s64 check_test_frame(const void *frame, size_t size)
{
	struct nic n = { .kind = TAP };
	__u32 flow;
	__u64 seq;

	return frame_parse(&n, frame, size, &flow, &seq) ? (__s64)seq : -1;
}

static void *reader(void *arg)
{
	struct passage *p = arg;

	pin_cpu(1);
	read_frames(&p->n, &p->r, READ_FRAMES);
	return NULL;
}

static void passage(struct passage *p, bool held)
{
	int tx, hold = -1;
	__s64 start, sent;
	pthread_t thread;

	*p = (struct passage) {
		.r = { .size = FRAME_LEN, .check = check_test_frame },
	};
	tap_open(&p->n, "read0", READ_FRAMES + SPARE);
	tx = tx_open(p->n.tx_ifindex, TX_BYPASS);
	if (held)
		hold = hold_raised(&p->n, TAPMIG_ROLE_SOURCE);
	else if (pthread_create(&thread, NULL, reader, p))
		die("pthread_create");

	pin_cpu(0);
	start = now_ns();
	tx_flow(&p->n, tx, 0, 0, READ_FRAMES);
	sent = now_ns();
	if (held) {
		must(hold_thaw_wait(hold), "TAPMIG_THAW");
		read_frames(&p->n, &p->r, READ_FRAMES);
	} else {
		pthread_join(thread, NULL);
	}
	p->sent_ns = (double)(sent - start) / READ_FRAMES;
	p->read_ns = (double)(now_ns() - start) / READ_FRAMES;
	reading_complete(&p->r, READ_FRAMES,
			 held ? "hold and thaw" : "stock ring");
	close(tx);
	if (held)
		close(hold);
	tap_close(&p->n);
}

/* A packet socket sends; a program reads as fast as it can, or later. */
void bench_reader(void)
{
	struct series ring = {}, hold = {}, ring_all = {}, hold_all = {};
	struct passage p;
	long i;

	for_each_round(i, rounds(25)) {
		passage(&p, false);
		series_add(&ring, p.sent_ns);
		series_add(&ring_all, p.read_ns);
		passage(&p, true);
		series_add(&hold, p.sent_ns);
		series_add(&hold_all, p.read_ns);
	}
	report_ratio("capture/reader", "ns/frame", &hold, &ring);
	report_ratio("capture/reader-all", "ns/frame", &hold_all, &ring_all);
}
