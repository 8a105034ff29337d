// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the module costs those who do not use it: frames per second without
 * it, with it, and with a hold that is not frozen.
 */
#include <sys/epoll.h>

#include "bench.h"

#define FRAMES		24000
#define SPARE		64

enum mode { UNLOADED, LOADED, ARMED, MODES };

/* Frames per second to a ring that takes them all. */
static double burst(enum mode mode, int senders, bool waiter)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int hold = -1, ep = -1;
	struct nic n;
	double ns;

	tap_open(&n, "send0", FRAMES + SPARE);
	if (waiter) {
		/* As a machine monitor's event loop has it. */
		ep = epoll_create1(EPOLL_CLOEXEC);
		if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, n.fd[0], &ev))
			die("epoll");
	}
	if (mode == ARMED)
		hold = hold_new(&n, NULL);
	ns = pktgen_burst(n.name, senders, SMALL, false, FRAMES);
	if (hold >= 0)
		close(hold);
	if (ep >= 0)
		close(ep);
	tap_close(&n);
	return 1e9 / ns;
}

#define KINDS	4

static const struct {
	int senders;
	bool waiter;
	const char *name;
} kinds[KINDS] = {
	{ 1, true, "1" },
	{ 2, true, "2" },
	{ 8, true, "8" },
	{ 1, false, "1-nobody" },
};

void bench_senders(void)
{
	static struct series fps[MODES][KINDS];
	enum mode mode;
	char id[64];
	long i;
	int k;

	for_each_round(i, rounds(25)) {
		for (mode = 0; mode < MODES; mode++) {
			if (mode == UNLOADED)
				unload_module();
			else if (mode == LOADED)
				load_module();
			for (k = 0; k < KINDS; k++)
				series_add(&fps[mode][k],
					   burst(mode, kinds[k].senders,
						 kinds[k].waiter));
		}
	}
	for (k = 0; k < KINDS; k++) {
		snprintf(id, sizeof(id), "senders%s/loaded", kinds[k].name);
		report_ratio(id, "frames/s", &fps[LOADED][k],
			     &fps[UNLOADED][k]);
		snprintf(id, sizeof(id), "senders%s/armed", kinds[k].name);
		report_ratio(id, "frames/s", &fps[ARMED][k],
			     &fps[UNLOADED][k]);
	}
}
