// SPDX-License-Identifier: GPL-2.0-only
/*
 * Benchmarks. Run in a machine of their own: they load and unload the module.
 *
 *	bench NAME...
 *
 * BENCH_MODULE is the path of the module. BENCH_ROUNDS changes how often is
 * measured, BENCH_READ_MAX how many frames are read back at most.
 */
#include "bench.h"

static const struct {
	const char *name;
	void (*run)(void);
} benches[] = {
	{ "capture", bench_capture },
	{ "reader", bench_reader },
	{ "thaw", bench_thaw },
	{ "transfer", bench_transfer },
	{ "relay", bench_relay },
	{ "senders", bench_senders },
	{ "small", bench_small },
	{ "large", bench_large },
	{ NULL, NULL },
};

int main(int argc, char **argv)
{
	__s64 start;
	size_t b;
	int i;

	if (argc < 2) {
		fputs("usage: bench NAME...\n", stderr);
		return 2;
	}
	netns_new();
	touch_memory();
	for (i = 1; i < argc; i++) {
		for (b = 0; benches[b].name; b++)
			if (!strcmp(benches[b].name, argv[i]))
				break;
		if (!benches[b].name) {
			fprintf(stderr, "bench: no benchmark '%s'\n", argv[i]);
			return 2;
		}
		load_module();
		start = now_ns();
		benches[b].run();
		report_text("time", "%s %lld s", argv[i],
			    (now_ns() - start) / 1000000000);
	}
	if (losses)
		fprintf(stderr, "bench: frames were lost, see above\n");
	return losses ? 1 : 0;
}
