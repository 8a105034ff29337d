// SPDX-License-Identifier: GPL-2.0-only
/*
 * Run a fuzzing target without libFuzzer: each file as it is, and changed.
 *
 *   TARGET [-n CHANGES] FILE…
 *
 * CHANGES of each file, 0 if not given, are the same ones each time.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"

#define INPUT_MAX	(1U << 21)

#pragma weak LLVMFuzzerInitialize
#pragma weak LLVMFuzzerCustomMutator

static uint64_t state;

static uint32_t rnd(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 16) % below;
}

/* A number is most interesting where it is close to a limit. */
static void odd_number(uint8_t *at, size_t left)
{
	static const uint64_t odd[] = {
		0, 1, 3, 4, 8, 11, 12, 16, 0xff, 0x100, 0xffff, 0x10000,
		0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff,
		0x7fffffffffffffff, 0xffffffffffffffff,
	};
	size_t len = 1 << rnd(4);
	uint64_t v = odd[rnd(sizeof(odd) / sizeof(*odd))] + rnd(3) - 1;

	memcpy(at, &v, len < left ? len : left);
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	size_t at, from, len;

	if (!size)
		return 0;
	at = rnd(size);
	switch (rnd(6)) {
	case 0:
		data[at] ^= 1 << rnd(8);
		return size;
	case 1:
		/* Where the fields of most formats begin. */
		at &= ~(size_t)3;
		data[at] += rnd(2) ? 1 + rnd(8) : -(1 + rnd(8));
		return size;
	case 2:
		at &= ~(size_t)rnd(4);
		odd_number(data + at, size - at);
		return size;
	case 3:
		return at + 1;
	case 4:
		from = rnd(size);
		len = rnd(64);
		len = len < size - at ? len : size - at;
		len = len < size - from ? len : size - from;
		memmove(data + at, data + from, len);
		return size;
	default:
		len = (1 + rnd(16)) * 4;
		if (rnd(2)) {
			len = len < size - at ? len : size - at;
			memmove(data + at, data + at + len, size - at - len);
			return size - len;
		}
		if (len > max - size)
			return size;
		memmove(data + at + len, data + at, size - at);
		return size + len;
	}
}

/* In memory of just that size, so that it is known who leaves it. */
static void run(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	LLVMFuzzerTestOneInput(copy, size);
	free(copy);
}

static int run_file(const char *name, unsigned long changes)
{
	uint8_t *file = malloc(INPUT_MAX), *data = malloc(INPUT_MAX);
	size_t size, len;
	unsigned long i;
	FILE *f = fopen(name, "rb");
	int n;

	if (!f || !file || !data) {
		perror(name);
		return 1;
	}
	len = fread(file, 1, INPUT_MAX, f);
	fclose(f);
	dprintf(STDERR_FILENO, "# %s\n", name);
	run(file, len);
	for (i = 0; i < changes; i++) {
		memcpy(data, file, len);
		size = len;
		state = i * 0x9e3779b97f4a7c15ULL + len + 1;
		for (n = 1 + rnd(4); n > 0; n--)
			size = LLVMFuzzerCustomMutator ?
			       LLVMFuzzerCustomMutator(data, size, INPUT_MAX,
						       rnd(1U << 31)) :
			       LLVMFuzzerMutate(data, size, INPUT_MAX);
		run(data, size);
	}
	free(file);
	free(data);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned long changes = 0;
	int i = 1, ret = 0;

	if (argc > 2 && !strcmp(argv[1], "-n")) {
		changes = strtoul(argv[2], NULL, 0);
		i = 3;
	}
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	for (; i < argc; i++)
		ret |= run_file(argv[i], changes);
	return ret;
}
