// SPDX-License-Identifier: GPL-2.0-only
/*
 * Much: a million small frames, and gigabytes of large ones. All of them are
 * to arrive, and each is to cost what one of a few costs.
 */
#include <sys/sysinfo.h>

#include "bench.h"

#define LARGE		65014
#define LARGE_MTU	65000
#define GIB		(1024ULL * 1024 * 1024)

/**
 * struct costs - of a number of frames, in nanoseconds per frame
 */
struct costs {
	struct series capture;
	struct series thaw;
	struct series locked;
	struct series read;
	struct series export;
	struct series import;
};

/* Such frames as pktgen sends, by other means if it cannot. */
static double small_sent(const struct nic *n, __u64 frames)
{
	__u8 frame[SMALL];
	__s64 start;
	__u64 i;
	int tx;

	if (!pktgen_waits(n->name))
		return pktgen_burst(n->name, 1, SMALL, false, frames);
	frame_eth(n->mac, frame, SMALL, 0, 0);
	tx = tx_open(n->tx_ifindex, TX_BYPASS);
	start = now_ns();
	for (i = 0; i < frames; i++) {
		pktgen_mark(frame, i + 1);
		must(tx_send(tx, frame, SMALL), "send");
	}
	close(tx);
	return (double)(now_ns() - start) / frames;
}

/* Capture, thaw, read. */
static void small_held(struct costs *c, __u64 frames, bool readable)
{
	struct reading r = { .size = SMALL, .check = check_small };
	struct tapmig_info info;
	__s64 start;
	struct nic n;
	int hold;

	tap_open(&n, "hold0", 0);
	hold = hold_raised(&n, TAPMIG_ROLE_SOURCE);
	series_add(&c->capture, small_sent(&n, frames));
	hold_full(hold, frames, "small frames");
	must(hold_thaw_wait(hold), "TAPMIG_THAW");
	info = info_of(hold);
	if (info.delivered != frames || info.held_packets)
		lose("thaw: %llu frames, %llu delivered, %llu held",
		     frames, info.delivered, info.held_packets);
	series_add(&c->thaw, info.thaw_us * 1000.0 / frames);
	series_add(&c->locked, info.thaw_irqoff_ns);
	if (readable) {
		start = now_ns();
		read_frames(&n, &r, frames);
		series_add(&c->read, (double)(now_ns() - start) / frames);
		reading_complete(&r, frames, "small frames");
	}
	close(hold);
	tap_close(&n);
}

/* From one hold to another, and out of that. */
static void small_moved(struct costs *c, __u64 frames, bool readable)
{
	struct reading r = { .size = SMALL, .check = check_small };
	struct messages m = {};
	struct tapmig_info info;
	struct nic from, to;
	__u64 accepted;
	struct nl nl;
	int a, b;

	nl_open(&nl);
	tap_open(&from, "from0", 0);
	a = hold_raised(&from, TAPMIG_ROLE_SOURCE);
	small_sent(&from, frames);
	hold_full(a, frames, "small frames for export");
	series_add(&c->export, export_all(&nl, info_of(a).id, NULL) / frames);
	export_all(&nl, info_of(a).id, &m);

	tap_open(&to, "to0", 0);
	b = hold_raised(&to, TAPMIG_ROLE_STANDBY);
	series_add(&c->import, import_all(&nl, info_of(b).id, &m, &accepted) /
			       frames);
	if (accepted != frames)
		lose("import: %llu frames, %llu accepted", frames, accepted);
	must(hold_commit(a, info_of(a).highest_seq), "TAPMIG_COMMIT");
	must(hold_thaw_wait(b), "TAPMIG_THAW");
	info = info_of(b);
	if (info.delivered != frames || info.held_packets)
		lose("thaw of imports: %llu frames, %llu delivered, %llu held",
		     frames, info.delivered, info.held_packets);
	if (readable) {
		read_frames(&to, &r, frames);
		reading_complete(&r, frames, "imported small frames");
	}
	close(a);
	close(b);
	free(m.buf);
	tap_close(&from);
	tap_close(&to);
	nl_close(&nl);
}

static void report_growth(const char *what, const char *of,
			  const struct series *many, const struct series *few)
{
	struct series m = {}, f = {};
	char id[64];

	if (!many->n)
		return;
	series_add(&m, series_median(many));
	series_add(&f, series_median(few));
	snprintf(id, sizeof(id), "linear-%s/%s", what, of);
	report_ratio(id, "ns/frame", &m, &f);
}

static void report_costs(const char *of, const struct costs *many,
			 const struct costs *few)
{
	report_growth("capture", of, &many->capture, &few->capture);
	report_growth("thaw", of, &many->thaw, &few->thaw);
	report_growth("read", of, &many->read, &few->read);
	report_growth("export", of, &many->export, &few->export);
	report_growth("import", of, &many->import, &few->import);
}

void bench_small(void)
{
	static const struct {
		__u64 frames;
		int rounds;
		const char *name;
	} sizes[] = {
		{ 10000, 7, "10k" },
		{ 100000, 5, "100k" },
		{ 1000000, 3, "1M" },
		{ 2000000, 3, "2M" },
	};
	__u64 readable = env_count("BENCH_READ_MAX", 1000000);
	__u64 most = env_count("BENCH_SMALL_MAX", 2000000);
	static struct costs costs[4];
	char id[64];
	int s, i;

	for (s = 0; s < 4 && sizes[s].frames <= most; s++) {
		for_each_round(i, rounds(sizes[s].rounds)) {
			if (i < 0 && s)
				continue;
			small_held(&costs[s], sizes[s].frames,
				   sizes[s].frames <= readable);
			/* The last is for what does not fit any cache. */
			if (s == 3)
				continue;
			small_moved(&costs[s], sizes[s].frames,
				    sizes[s].frames <= readable);
		}
		snprintf(id, sizeof(id), "linear-locked/%s", sizes[s].name);
		report_value(id, "ns", &costs[s].locked);
	}
	report_costs("100k-10k", &costs[1], &costs[0]);
	report_costs("1M-100k", &costs[2], &costs[1]);
	report_costs("1M-10k", &costs[2], &costs[0]);
	report_costs("2M-1M", &costs[3], &costs[2]);
}

/* A large frame, of which only the number at both ends varies. */
static __u8 pattern[LARGE];

static void large_frame(__u8 *frame, __u64 seq)
{
	memcpy(frame + ETH_HLEN, &seq, sizeof(seq));
	memcpy(frame + LARGE - sizeof(seq), &seq, sizeof(seq));
}

static __s64 check_large(const void *frame, size_t size)
{
	__u64 seq;

	memcpy(&seq, frame + ETH_HLEN, sizeof(seq));
	large_frame(pattern, seq);
	return memcmp(pattern, frame, size) ? -1 : (__s64)seq;
}

static __u64 large_held(struct costs *c, __u64 frames)
{
	struct reading r = { .size = LARGE, .check = check_large };
	static __u8 frame[LARGE];
	struct tapmig_info info;
	__u64 i, bytes;
	__s64 start;
	struct nic n;
	int hold, tx;

	tap_open(&n, "hold0", 0);
	link_mtu(n.name, LARGE_MTU);
	frame_eth(n.mac, pattern, LARGE, 0, 0);
	memcpy(frame, pattern, LARGE);
	tx = tx_open(n.tx_ifindex, TX_BYPASS);
	hold = hold_raised(&n, TAPMIG_ROLE_SOURCE);

	start = now_ns();
	for (i = 0; i < frames; i++) {
		large_frame(frame, i);
		must(tx_send(tx, frame, LARGE), "send");
	}
	series_add(&c->capture, (double)(now_ns() - start) / frames);
	hold_full(hold, frames, "large frames");
	bytes = info_of(hold).held_bytes;
	must(hold_thaw_wait(hold), "TAPMIG_THAW");
	info = info_of(hold);
	if (info.delivered != frames || info.held_packets)
		lose("thaw of large frames: %llu, %llu delivered, %llu held",
		     frames, info.delivered, info.held_packets);
	series_add(&c->thaw, info.thaw_us * 1000.0 / frames);
	start = now_ns();
	read_frames(&n, &r, frames);
	series_add(&c->read, (double)(now_ns() - start) / frames);
	reading_complete(&r, frames, "large frames");
	close(tx);
	close(hold);
	tap_close(&n);
	return bytes;
}

void bench_large(void)
{
	static struct costs few, many;
	__u64 bytes = 0, limit, frames;
	struct sysinfo si;
	int i;

	/* The module takes half of the memory; leave some to others. */
	sysinfo(&si);
	limit = (__u64)si.totalram * si.mem_unit / 2;
	limit = (limit < 4 * GIB ? limit : 4 * GIB) / 100 * 98;
	for_each_round(i, 0)
		bytes = large_held(&few, 100) / 100;
	frames = limit / bytes;
	for (i = 0; i < 3; i++)
		large_held(&few, frames / 16);
	bytes = large_held(&many, frames);
	report_text("large/frames", "%llu of %d bytes", frames, LARGE);
	report_text("large/memory", "%.2f GiB", (double)bytes / GIB);
	report_costs("large", &many, &few);
}
