// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded, it makes calls of a program fail with EINTR, and lets sockets and
 * pipes take and give fewer bytes than asked for, often a few only. HICCUP in
 * the environment is where its numbers, which are the same each time, begin. At
 * the end it says how often it did so.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static uint32_t number;
static unsigned long interrupted, shortened;

static uint32_t next(void)
{
	number = number * 1664525 + 1013904223;
	return number >> 8;
}

__attribute__((constructor)) static void begin(void)
{
	const char *s = getenv("HICCUP");

	number = s ? strtoul(s, NULL, 0) : 1;
}

__attribute__((destructor)) static void end(void)
{
	fprintf(stderr, "hiccup: %lu interrupted, %lu shortened\n", interrupted,
		shortened);
}

static bool interrupt(void)
{
	if (next() % 3)
		return false;
	interrupted++;
	errno = EINTR;
	return true;
}

static bool has_bytes(int fd)
{
	int domain;
	socklen_t len = sizeof(domain);
	struct stat st;

	if (fstat(fd, &st))
		return false;
	if (S_ISFIFO(st.st_mode))
		return true;
	/* Messages are whole. */
	return S_ISSOCK(st.st_mode) &&
	       !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	       domain != AF_NETLINK;
}

/* At most this many, at least one if there are any. */
static size_t fewer(size_t len)
{
	size_t some = next() % 4 ? 1 + next() % 2000 : 1 + next() % 7;

	if (some >= len)
		return len;
	shortened++;
	return some;
}

ssize_t read(int fd, void *buf, size_t len)
{
	if (has_bytes(fd)) {
		if (interrupt())
			return -1;
		len = fewer(len);
	}
	return syscall(SYS_read, fd, buf, len);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	/* What is said to people is not of interest. */
	if (fd != STDERR_FILENO && has_bytes(fd)) {
		if (interrupt())
			return -1;
		len = fewer(len);
	}
	return syscall(SYS_write, fd, buf, len);
}

ssize_t recv(int fd, void *buf, size_t len, int flags)
{
	if (interrupt())
		return -1;
	return syscall(SYS_recvfrom, fd, buf, has_bytes(fd) ? fewer(len) : len,
		       flags, NULL, NULL);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	if (interrupt())
		return -1;
	return syscall(SYS_recvmsg, fd, msg, flags);
}

ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	if (interrupt())
		return -1;
	return syscall(SYS_sendto, fd, buf, has_bytes(fd) ? fewer(len) : len,
		       flags, NULL, 0);
}

/* What is written from several places: of the first only. */
ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct msghdr one = *msg;
	struct iovec v;

	if (interrupt())
		return -1;
	if (one.msg_iovlen && has_bytes(fd)) {
		v = one.msg_iov[0];
		v.iov_len = fewer(v.iov_len);
		one.msg_iov = &v;
		one.msg_iovlen = 1;
	}
	return syscall(SYS_sendmsg, fd, &one, flags);
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	if (interrupt())
		return -1;
	return syscall(SYS_accept4, fd, addr, len, flags);
}

int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts,
	  const sigset_t *mask)
{
	struct timespec left;

	if (interrupt())
		return -1;
	/* The kernel writes what is left. */
	if (ts)
		left = *ts;
	return syscall(SYS_ppoll, fds, n, ts ? &left : NULL, mask,
		       _NSIG / 8);
}
