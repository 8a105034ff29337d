// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a thaw costs, and for how long it keeps the locks of a ring. The
 * module tells both itself.
 */
#include "bench.h"

#define FRAMES		10000
#define SPARE		64

static void thaw_quiet(long n_rounds)
{
	struct series ring = {}, thaw = {}, locked = {}, frames = {};
	struct tapmig_info info;
	double per_frame;
	struct nic n;
	int hold;
	long i;

	for_each_round(i, n_rounds) {
		tap_open(&n, "ring0", FRAMES + SPARE);
		per_frame = pktgen_burst(n.name, 1, SMALL, false, FRAMES);
		series_add(&ring, per_frame);
		tap_close(&n);

		tap_open(&n, "hold0", 0);
		hold = hold_raised(&n, TAPMIG_ROLE_SOURCE);
		pktgen_burst(n.name, 1, SMALL, false, FRAMES);
		hold_full(hold, FRAMES, "thaw");
		must(hold_thaw_wait(hold), "TAPMIG_THAW");
		info = info_of(hold);
		series_add(&thaw, info.thaw_us * 1000.0 / FRAMES);
		series_add(&locked, info.thaw_irqoff_ns);
		series_add(&frames, info.thaw_irqoff_ns / per_frame);
		close(hold);
		tap_close(&n);
	}
	report_ratio("thaw/ring", "ns/frame", &thaw, &ring);
	report_value("thaw/locked", "ns", &locked);
	report_value("thaw/locked-frames", "frames", &frames);
}

/* The same while senders go on. */
static void thaw_loaded(long n_rounds, int senders)
{
	struct series locked = {}, thaw = {}, held = {};
	struct tapmig_info info;
	char id[64];
	struct nic n;
	int hold;
	long i;

	for_each_round(i, n_rounds) {
		struct pktgen p = {
			.ifname = "hold0",
			.senders = senders,
			.size = SMALL,
		};

		tap_open(&n, p.ifname, 0);
		hold = hold_raised(&n, TAPMIG_ROLE_SOURCE);
		pktgen_setup(&p);
		pktgen_begin(&p);
		if (!busywait(info_of(hold).held_packets >= FRAMES))
			die("pktgen does not send");
		must(hold_thaw_wait(hold), "TAPMIG_THAW");
		info = info_of(hold);
		pktgen_stop(&p);
		pktgen_clear(&p);
		if (info.dropped || info.lost ||
		    info.delivered != info.captured)
			lose("thaw under load: %llu captured, %llu delivered, %llu dropped, %llu lost",
			     info.captured, info.delivered, info.dropped,
			     info.lost);
		series_add(&locked, info.thaw_irqoff_ns);
		series_add(&held, info.delivered);
		series_add(&thaw, info.thaw_us * 1000.0 / info.delivered);
		close(hold);
		tap_close(&n);
	}
	snprintf(id, sizeof(id), "thaw-load%d/locked", senders);
	report_value(id, "ns", &locked);
	snprintf(id, sizeof(id), "thaw-load%d/frame", senders);
	report_value(id, "ns/frame", &thaw);
	snprintf(id, sizeof(id), "thaw-load%d/held", senders);
	report_value(id, "frames", &held);
}

void bench_thaw(void)
{
	thaw_quiet(rounds(25));
	thaw_loaded(rounds(9), 1);
	thaw_loaded(rounds(9), 2);
}
