/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the benchmarks share. All of them compare two things within one run,
 * in turns, and report the median of the ratios.
 */
#ifndef TAPMIG_BENCH_H
#define TAPMIG_BENCH_H

#include "../lib.h"

#define MAX_ROUNDS	101
#define SMALL		60

/* --- report.c ------------------------------------------------------------ */

/**
 * struct series - one figure of each round
 * @n: rounds
 * @v: figures
 */
struct series {
	int n;
	double v[MAX_ROUNDS];
};

extern bool warming_up;

/* The first round is not counted: caches and translated code are cold. */
#define for_each_round(i, rounds)					\
	for ((i) = -1; warming_up = (i) < 0, (i) < (rounds); (i)++)

void series_add(struct series *s, double v);
double series_median(const struct series *s);
void report_ratio(const char *id, const char *unit, const struct series *what,
		  const struct series *to);
void report_value(const char *id, const char *unit, const struct series *s);
void report_text(const char *id, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
__s64 now_ns(void);

/* --- pktgen.c ------------------------------------------------------------ */

/**
 * struct pktgen - senders within the kernel
 * @ifname: device to send to
 * @senders: number of them, spread over the processors
 * @size: of a frame, without what the device adds
 * @qdisc: send through the qdisc, not at the device itself
 * @count: frames of each sender; 0: until pktgen_stop()
 * @sent: out: frames sent by all
 * @errors: out: frames dropped by the device
 * @ns: out: from the first frame to the last
 */
struct pktgen {
	const char *ifname;
	int senders;
	int size;
	bool qdisc;
	__u64 count;
	__u64 sent;
	__u64 errors;
	double ns;
};

int cpus(void);
void pktgen_setup(struct pktgen *p);
void pktgen_go(struct pktgen *p);
void pktgen_begin(struct pktgen *p);
void pktgen_stop(struct pktgen *p);
void pktgen_clear(struct pktgen *p);
bool pktgen_waits(const char *ifname);
double pktgen_burst(const char *ifname, int senders, int size, bool qdisc,
		    __u64 frames);
bool pktgen_frame(const void *frame, size_t len, __u32 *seq);
void pktgen_mark(void *frame, __u32 seq);

/* --- plug.c -------------------------------------------------------------- */

void plug_add(const char *ifname, __u32 bytes);
void plug_del(const char *ifname);

/* --- setup.c ------------------------------------------------------------- */

void must(int ret, const char *what);
void tap_open(struct nic *n, const char *name, unsigned int entries);
void tap_close(struct nic *n);
int hold_raised(struct nic *n, __u32 role);
void hold_full(int hold, __u64 frames, const char *what);
void touch_memory(void);
void load_module(void);
void unload_module(void);
long rounds(long def);

extern int losses;
void lose(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * struct reading - frames that a reader takes out of a queue
 * @size: what each has to be
 * @check: number of the frame, or -1: damaged
 * @next: number of the next frame
 * @got: how many came
 * @lost: how many numbers were skipped
 * @wrong: how many came twice, too late, or damaged
 */
struct reading {
	size_t size;
	__s64 (*check)(const void *frame, size_t size);
	__u64 next;
	__u64 got;
	__u64 lost;
	__u64 wrong;
};

__s64 check_small(const void *frame, size_t size);
void read_all(struct nic *n, struct reading *r);
void read_frames(struct nic *n, struct reading *r, __u64 frames);
void reading_complete(const struct reading *r, __u64 frames, const char *what);

/* --- messages.c ---------------------------------------------------------- */

/**
 * struct messages - an export as messages that import it
 * @buf: one after the other
 * @len: bytes of all
 * @room: bytes that @buf has room for
 */
struct messages {
	char *buf;
	size_t len;
	size_t room;
};

double export_all(struct nl *nl, __u32 id, struct messages *m);
double import_all(struct nl *nl, __u32 id, const struct messages *m,
		  __u64 *accepted);

/* --- the benchmarks ------------------------------------------------------ */

void bench_capture(void);
void bench_reader(void);
void bench_thaw(void);
void bench_transfer(void);
void bench_relay(void);
void bench_senders(void);
void bench_small(void);
void bench_large(void);

#endif
