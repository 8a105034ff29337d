/* SPDX-License-Identifier: GPL-2.0-only */
/* What the fuzzers share. */
#ifndef TAPMIG_FUZZ_H
#define TAPMIG_FUZZ_H

#include <sanitizer/asan_interface.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#include "capture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned int seed);
/* The linker puts it in the place of clock_ns(). */
uint64_t __wrap_clock_ns(clockid_t clock);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);

/* What must be true; the fuzzer reports an abort with its input. */
#define MUST(cond) ((cond) ? (void)0 : abort())

/*
 * The reader's buffer is much larger than what is in it: whoever looks beyond
 * the bytes that have come, or beyond the message at hand, is caught so.
 */
static inline void *fuzz_space(struct capture *c, size_t *len)
{
	if (c->buf)
		ASAN_UNPOISON_MEMORY_REGION(c->buf, c->size);
	return capture_space(c, len);
}

static inline enum capture_status fuzz_next(struct capture *c,
					    struct packet *pkt)
{
	enum capture_status status;
	const uint8_t *end;

	if (c->buf) {
		ASAN_UNPOISON_MEMORY_REGION(c->buf, c->size);
		ASAN_POISON_MEMORY_REGION(c->buf + c->end, c->size - c->end);
	}
	status = capture_next(c, pkt);
	if (!c->buf)
		return status;
	end = c->buf + c->end;
	if (status == CAPTURE_PACKET) {
		MUST(pkt->data >= c->buf + c->start && pkt->data <= end);
		MUST(pkt->len <= (size_t)(end - pkt->data));
		end = pkt->data + pkt->len;
	} else if (status == CAPTURE_LOCAL) {
		MUST(c->local >= c->buf + c->start && c->local <= end);
		MUST(c->local_len <= (size_t)(end - c->local));
		end = c->local + c->local_len;
	}
	ASAN_POISON_MEMORY_REGION(end, c->buf + c->size - end);
	return status;
}

#endif /* TAPMIG_FUZZ_H */
