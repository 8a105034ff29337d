// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded, it lets one request of a program for memory fail, and says so: the
 * one whose number is in SCARCE in the environment. Those of libraries do not
 * count.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *old, size_t size);

static unsigned long left;
static unsigned long from, to;

/* The program is the first that is mapped. */
static void find_program(void)
{
	char line[512], path[256], first[256] = "";
	unsigned long begin, end;
	FILE *f = fopen("/proc/self/maps", "re");

	while (f && fgets(line, sizeof(line), f) &&
	       sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &begin, &end,
		      path) == 3 && (!*first || !strcmp(path, first))) {
		if (!*first)
			from = begin;
		to = end;
		strcpy(first, path);
	}
	if (f)
		fclose(f);
}

__attribute__((constructor)) static void begin(void)
{
	const char *s = getenv("SCARCE");

	left = s ? strtoul(s, NULL, 0) : 0;
	find_program();
}

static bool fails(const void *caller)
{
	static const char text[] = "scarce: it has failed\n";

	if ((unsigned long)caller < from || (unsigned long)caller >= to)
		return false;
	if (!left || --left)
		return false;
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL :
						    __libc_calloc(n, size);
}

void *realloc(void *old, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL :
						    __libc_realloc(old, size);
}
