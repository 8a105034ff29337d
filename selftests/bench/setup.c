// SPDX-License-Identifier: GPL-2.0-only
/* Devices, holds, readers, the module. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>

#include "bench.h"

/* Long enough for anything that is measured. */
#define FROZEN_MS	3600000

int losses;

void must(int ret, const char *what)
{
	if (ret < 0) {
		errno = -ret;
		die("%s", what);
	}
}

/**
 * lose - frames were lost, or worse; the rest is measured all the same
 * @fmt: format, as of printf: what happened
 */
void lose(const char *fmt, ...)
{
	va_list ap;

	losses++;
	fputs("bench: LOSS: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/** rounds - how often to measure, if the environment says nothing else */
long rounds(long def)
{
	return env_count("BENCH_ROUNDS", def);
}

void tap_open(struct nic *n, const char *name, unsigned int entries)
{
	if (!nic_open_named(n, name, TAP, 0, 1))
		die("cannot open a TAP");
	if (entries)
		link_txqlen(name, entries);
}

void tap_close(struct nic *n)
{
	nic_close(n);
}

/**
 * hold_raised - a hold as large as root can make it, frozen
 * @n: its device
 * @role: enum tapmig_role
 *
 * Return: the hold.
 */
int hold_raised(struct nic *n, __u32 role)
{
	struct tapmig_create c = CREATE(.role = role,
					.max_packets = TAPMIG_MAX_PACKETS,
					.max_bytes = TAPMIG_MAX_BYTES,
					.max_frozen_ms = FROZEN_MS);
	int hold = hold_new(n, &c);

	must(hold_freeze(hold), "TAPMIG_FREEZE");
	return hold;
}

/**
 * hold_full - has a hold what was sent
 * @hold: the hold
 * @frames: number of frames
 * @what: what is measured
 */
void hold_full(int hold, __u64 frames, const char *what)
{
	struct tapmig_info i;

	/* A work item may have the last ones yet. */
	busywait(info_of(hold).held_packets >= frames);
	i = info_of(hold);
	if (i.held_packets != frames || i.dropped)
		lose("%s: %llu frames sent, %llu held, %llu dropped, %llu bytes held",
		     what, frames, i.held_packets, i.dropped, i.held_bytes);
}

/* Number of a frame of pktgen. */
__s64 check_small(const void *frame, size_t size)
{
	__u32 seq;

	/* pktgen begins with 1. */
	return pktgen_frame(frame, size, &seq) ? (__s64)seq - 1 : -1;
}

/**
 * read_all - read what is there
 * @n: device
 * @r: the reading
 */
void read_all(struct nic *n, struct reading *r)
{
	static __u8 buf[FRAME_MAX];
	ssize_t len;
	__s64 seq;

	while ((len = read(n->fd[0], buf, sizeof(buf))) > 0) {
		r->got++;
		seq = (size_t)len == r->size ? r->check(buf, len) : -1;
		if (seq < (__s64)r->next) {
			r->wrong++;
			continue;
		}
		r->lost += seq - r->next;
		r->next = seq + 1;
	}
	if (len < 0 && errno != EAGAIN)
		die("read");
}

/**
 * read_frames - read until all are there
 * @n: device
 * @r: the reading
 * @frames: how many are expected in all
 */
void read_frames(struct nic *n, struct reading *r, __u64 frames)
{
	read_all(n, r);
	while (r->got < frames && nic_poll(n, WAIT_MS))
		read_all(n, r);
}

/**
 * reading_complete - was all read, once, in order
 * @r: the reading
 * @frames: how many were sent
 * @what: what is measured
 */
void reading_complete(const struct reading *r, __u64 frames, const char *what)
{
	if (r->got != frames || r->next != frames || r->lost || r->wrong)
		lose("%s: %llu frames sent, %llu read, %llu lost, %llu wrong",
		     what, frames, r->got, r->lost + frames - r->next,
		     r->wrong);
}

/**
 * touch_memory - use most of the memory once
 *
 * The host gives memory to a virtual machine when it is used for the first
 * time. What comes first is not to pay for it.
 */
void touch_memory(void)
{
	static char chunk[1 << 20];
	struct sysinfo si;
	size_t left;
	int fd;

	/* By the kernel: a page fault takes long in User Mode Linux. */
	sysinfo(&si);
	left = (size_t)si.freeram * si.mem_unit / sizeof(chunk) / 10 * 9;
	fd = memfd_create("bench", MFD_CLOEXEC);
	if (fd < 0)
		die("memfd_create");
	while (left--)
		if (write(fd, chunk, sizeof(chunk)) != sizeof(chunk))
			die("no memory");
	close(fd);
}

/** load_module - load our module, unless it is */
void load_module(void)
{
	const char *path = getenv("BENCH_MODULE");
	int fd;

	if (!path)
		die("BENCH_MODULE is not set");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s", path);
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		die("cannot load %s", path);
	close(fd);
	if (!busywait(!access("/dev/" TAPMIG_DEVICE_NAME, F_OK)))
		die("no device " TAPMIG_DEVICE_NAME);
}

/** unload_module - unload it, when the last hold is gone */
void unload_module(void)
{
	if (!busywait(!syscall(SYS_delete_module, "tapmig", O_NONBLOCK) ||
		      errno == ENOENT))
		die("cannot unload the module");
}
