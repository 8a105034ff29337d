// SPDX-License-Identifier: GPL-2.0-only
/*
 * rig count SENT LOG...
 *
 * What became of the chunks that were sent (a file of "rig send"), by the logs
 * of the virtual machines in which the guest was, one after the other. Prints
 * for each flow: NUMBER KIND SENT DELIVERED LOST DUPLICATED REORDERED, and a
 * last line with the number of damaged frames.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "rig.h"

struct count {
	char kind;
	__u32 sent;
	__u8 *seen;
	__s64 highest;
	__u32 delivered;
	__u32 duplicated;
	__u32 reordered;
};

static struct count counts[MAX_FLOWS];

static void count_record(const struct record *r, __u32 *damaged)
{
	struct count *c = &counts[r->flow % MAX_FLOWS];

	if (r->flow >= MAX_FLOWS || r->seq >= c->sent) {
		(*damaged)++;
		return;
	}
	if (c->seen[r->seq]) {
		c->duplicated++;
		return;
	}
	c->seen[r->seq] = 1;
	c->delivered++;
	if (r->seq < c->highest)
		c->reordered++;
	else
		c->highest = r->seq;
}

static void count_log(const char *path, __u32 *damaged)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct log *log;
	__u32 i;

	log = mmap(NULL, sizeof(*log), PROT_READ, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED)
		die("cannot read %s", path);
	for (i = 0; i < log->records; i++)
		count_record(&log->record[i], damaged);
	*damaged += log->damaged;
	munmap(log, sizeof(*log));
	close(fd);
}

int count_main(int argc, char **argv)
{
	unsigned int flow, number_sent, i;
	__u32 damaged = 0;
	char kind;
	FILE *in;

	if (argc < 2)
		die("usage: rig count SENT LOG...");
	in = fopen(argv[0], "r");
	if (!in)
		die("cannot read %s", argv[0]);
	while (fscanf(in, "%u %c %u\n", &flow, &kind, &number_sent) == 3) {
		struct count *c = &counts[flow % MAX_FLOWS];

		c->kind = kind;
		c->sent = number_sent;
		c->highest = -1;
		c->seen = calloc(number_sent + 1, 1);
		if (!c->seen)
			die("no memory");
	}
	fclose(in);
	for (i = 1; i < (unsigned int)argc; i++)
		count_log(argv[i], &damaged);
	for (i = 0; i < MAX_FLOWS; i++) {
		struct count *c = &counts[i];

		if (c->kind)
			printf("%u %c %u %u %u %u %u\n", i, c->kind, c->sent,
			       c->delivered, c->sent - c->delivered,
			       c->duplicated, c->reordered);
	}
	printf("damaged %u\n", damaged);
	return 0;
}
