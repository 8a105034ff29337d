// SPDX-License-Identifier: GPL-2.0-only
/*
 * Names of hosts, looked up by a process of its own: where no name server
 * answers, the library returns after half a minute or more.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "relay.h"

void resolve_now(const struct address *a, int flags, struct resolved *found)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = flags,
	};
	struct addrinfo *all, *ai;
	struct resolved_address *to;

	memset(found, 0, sizeof(*found));
	found->error = getaddrinfo(a->host, a->port, &hints, &all);
	if (found->error)
		return;
	for (ai = all; ai && found->count < RESOLVED_MAX; ai = ai->ai_next) {
		if (ai->ai_addrlen > sizeof(to->addr))
			continue;
		to = &found->all[found->count++];
		to->len = ai->ai_addrlen;
		memcpy(&to->addr, ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(all);
}

static void child(const struct address *a, int fd)
{
	struct resolved found;
	const char *at = (const char *)&found;
	size_t left = sizeof(found);
	sigset_t none;
	ssize_t n;

	/* Nobody waits for the answer once we are gone. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	resolve_now(a, 0, &found);
	while (left) {
		n = write(fd, at, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		at += n;
		left -= n;
	}
	_exit(0);
}

void resolver_init(struct resolver *s)
{
	s->fd = -1;
	s->have = 0;
}

void resolver_stop(struct resolver *s)
{
	if (s->fd >= 0)
		close(s->fd);
	resolver_init(s);
}

bool resolver_start(struct resolver *s, const struct address *a)
{
	int fds[2];
	pid_t pid;

	resolver_stop(s);
	/* Nobody has to be asked for an address. */
	resolve_now(a, AI_NUMERICHOST, &s->found);
	if (s->found.error != EAI_NONAME)
		return true;
	if (pipe2(fds, O_CLOEXEC))
		goto wait_for_it;
	pid = fork();
	if (!pid) {
		close(fds[0]);
		child(a, fds[1]);
	}
	close(fds[1]);
	if (pid < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK)) {
		close(fds[0]);
		goto wait_for_it;
	}
	s->fd = fds[0];
	return false;

wait_for_it:
	resolve_now(a, 0, &s->found);
	return true;
}

bool resolver_take(struct resolver *s)
{
	ssize_t n;

	do {
		n = read(s->fd, (char *)&s->found + s->have,
			 sizeof(s->found) - s->have);
		if (n > 0)
			s->have += n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0 && errno == EAGAIN && s->have < sizeof(s->found))
		return false;
	if (s->have < sizeof(s->found)) {
		memset(&s->found, 0, sizeof(s->found));
		s->found.error = EAI_FAIL;
	}
	resolver_stop(s);
	return true;
}
