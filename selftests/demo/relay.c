// SPDX-License-Identifier: GPL-2.0-only
/* The two relays, as programs of their own: one for each host. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "demo.h"

#define RELAY_SOCKET	"unix:/run/demo-relay"

static pid_t start(const char *how, const char *host)
{
	pid_t pid = fork();

	check(pid >= 0, "fork");
	if (pid)
		return pid;
	/* No line that is written again and again. */
	setenv("TERM", "dumb", 1);
	execlp("tapmig", "tapmig", "relay", how, RELAY_SOCKET, "--netns", host,
	       "--once", (char *)NULL);
	die("tapmig cannot be run");
}

/**
 * relay_start - run a relay on each host
 * @r: to be filled
 */
void relay_start(struct relay *r)
{
	r->dest = start("--listen", "hostB");
	r->source = start("--connect", "hostA");
}

static void wait_end(pid_t pid, const char *host)
{
	int status;

	check(waitpid(pid, &status, 0) == pid, "waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		die("the relay of %s has failed (0x%x)", host, status);
}

/**
 * relay_wait - until all has been moved, and no late frame comes any more
 * @r: the relays
 */
void relay_wait(struct relay *r)
{
	wait_end(r->source, "hostA");
	wait_end(r->dest, "hostB");
}
