// SPDX-License-Identifier: GPL-2.0-only
/* A line about a long run, on a terminal only. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define INTERVAL_MS	200

static uint64_t now_ms(void)
{
	return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

void progress_start(struct progress *p, const char *what, uint64_t total)
{
	const char *term = getenv("TERM");

	p->on = isatty(STDERR_FILENO) && term && strcmp(term, "dumb");
	p->shown = false;
	p->what = what;
	p->total = total;
	p->last_ms = p->on ? now_ms() : 0;
}

void progress_update(struct progress *p, uint64_t done, uint64_t packets,
		     uint64_t bytes)
{
	uint64_t now;

	if (!p->on)
		return;
	now = now_ms();
	if (now - p->last_ms < INTERVAL_MS)
		return;
	p->last_ms = now;
	if (would_wait(STDERR_FILENO))
		return;
	p->shown = true;
	fprintf(stderr, "\r%s %llu packets, %llu KiB", p->what,
		(unsigned long long)packets,
		(unsigned long long)(bytes >> 10));
	if (p->total)
		fprintf(stderr, ", %u%%",
			(unsigned int)(done >= p->total ? 100 :
				       100.0 * done / p->total));
	fputs("\033[K", stderr);
	fflush(stderr);
}

void progress_end(struct progress *p)
{
	if (p->shown && !would_wait(STDERR_FILENO)) {
		fputs("\r\033[K", stderr);
		fflush(stderr);
	}
	p->shown = false;
}
