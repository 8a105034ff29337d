// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"

/**
 * say - a line of progress, with the time since the first one
 * @fmt: as for printf
 */
void say(const char *fmt, ...)
{
	static __u64 start;
	__u64 now = now_ns();
	va_list ap;

	if (!start)
		start = now;
	printf("  %5.2f s  ", (now - start) / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

void die(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fputs("demo: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

/**
 * check - end the program if a call has failed
 * @ok: it has not
 * @what: what was tried; errno says why it failed
 */
void check(bool ok, const char *what)
{
	if (!ok)
		die("%s: %s", what, strerror(errno));
}

__u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/**
 * enter - what this thread opens from now on belongs to a network namespace
 * @netns: its name
 */
void enter(const char *netns)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", netns);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd >= 0, path);
	check(!setns(fd, CLONE_NEWNET), "setns");
	close(fd);
}
