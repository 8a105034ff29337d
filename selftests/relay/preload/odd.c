// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded, it makes netlink what it seldom is, as words in ODD say:
 * "restless", holds come or go during each dump; "late=PATH", no event comes
 * while there is this file; "narrow", nobody gets more room for messages.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/netlink.h>

static bool odd(const char *word)
{
	const char *s = getenv("ODD");

	return s && strstr(s, word);
}

static bool late(int fd)
{
	const char *s = getenv("ODD");

	s = s ? strstr(s, "late=") : NULL;
	return s && (fcntl(fd, F_GETFL) & O_NONBLOCK) &&
	       !access(s + strlen("late="), F_OK);
}

static bool is_netlink(int fd)
{
	int domain;
	socklen_t len = sizeof(domain);

	return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) &&
	       domain == AF_NETLINK;
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	if (level == SOL_SOCKET && odd("narrow") &&
	    (name == SO_SNDBUFFORCE || name == SO_SNDBUF)) {
		errno = EPERM;
		return -1;
	}
	return syscall(SYS_setsockopt, fd, level, name, value, len);
}

ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct nlmsghdr *nlh;
	ssize_t n;
	int len;

	if (is_netlink(fd) && late(fd)) {
		errno = EAGAIN;
		return -1;
	}
	n = syscall(SYS_recvmsg, fd, msg, flags);
	if (n <= 0 || !is_netlink(fd) || !odd("restless"))
		return n;
	nlh = msg->msg_iov[0].iov_base;
	for (len = n; NLMSG_OK(nlh, len); nlh = NLMSG_NEXT(nlh, len))
		if (nlh->nlmsg_flags & NLM_F_MULTI)
			nlh->nlmsg_flags |= NLM_F_DUMP_INTR;
	return n;
}
