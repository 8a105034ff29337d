// SPDX-License-Identifier: GPL-2.0-only
/* Export and import against a plain copy of the same bytes. */
#include "bench.h"

#define MTU_MAX		65000

/* Copy that many frames of that size, one by one. */
static double copy(__u64 frames, size_t size)
{
	char *from = malloc(frames * size), *to = malloc(frames * size);
	__s64 start;
	__u64 i;

	if (!from || !to)
		die("no memory for %llu frames", frames);
	/* The pages are there before. */
	memset(from, 1, frames * size);
	memset(to, 2, frames * size);
	start = now_ns();
	for (i = 0; i < frames; i++)
		memcpy(to + i * size, from + i * size, size);
	start = now_ns() - start;
	if (memcmp(from, to, frames * size))
		die("memcpy");
	free(from);
	free(to);
	return (double)start / frames;
}

static void transfer(size_t size, __u64 frames, long n_rounds)
{
	struct series export = {}, import = {}, memory = {};
	struct messages m = {};
	struct nic from, to;
	__u64 accepted;
	int a, b, i;
	struct nl nl;
	char id[64];

	nl_open(&nl);
	tap_open(&from, "from0", 0);
	link_mtu(from.name, MTU_MAX);
	a = hold_raised(&from, TAPMIG_ROLE_SOURCE);
	pktgen_burst(from.name, 1, size, false, frames);
	hold_full(a, frames, "transfer");
	export_all(&nl, info_of(a).id, &m);

	tap_open(&to, "to0", 0);
	link_mtu(to.name, MTU_MAX);
	for_each_round(i, n_rounds) {
		series_add(&export, export_all(&nl, info_of(a).id, NULL) /
				    frames);
		b = hold_raised(&to, TAPMIG_ROLE_STANDBY);
		series_add(&import, import_all(&nl, info_of(b).id, &m,
					       &accepted) / frames);
		if (accepted != frames)
			lose("import: %llu frames of %zu bytes, %llu accepted",
			     frames, size, accepted);
		must(hold_discard(b), "TAPMIG_DISCARD");
		close(b);
		series_add(&memory, copy(frames, size));
	}
	close(a);
	free(m.buf);
	tap_close(&from);
	tap_close(&to);
	nl_close(&nl);

	snprintf(id, sizeof(id), "export%zu/memcpy", size);
	report_ratio(id, "ns/frame", &export, &memory);
	snprintf(id, sizeof(id), "import%zu/memcpy", size);
	report_ratio(id, "ns/frame", &import, &memory);
}

void bench_transfer(void)
{
	transfer(SMALL, 20000, rounds(15));
	transfer(1514, 10000, rounds(15));
	transfer(60000, 1000, rounds(15));
}
