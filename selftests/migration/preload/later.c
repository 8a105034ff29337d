// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded, it makes it later for a program than it is: by as many seconds as
 * the file that LATER names has bytes, at any time.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
	const char *path = getenv("LATER");
	struct stat st;
	int ret = syscall(SYS_clock_gettime, clock, t);

	if (!ret && clock == CLOCK_MONOTONIC && path && !stat(path, &st))
		t->tv_sec += st.st_size;
	return ret;
}
