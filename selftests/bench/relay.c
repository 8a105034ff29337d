// SPDX-License-Identifier: GPL-2.0-only
/*
 * The relay over the loopback device, against plain TCP of the same bytes; how
 * long a single packet takes, and how long the last ones before a thaw do.
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "bench.h"

#define PORT		7474
#define FRAMES		8000
#define LABEL		"bench/net0"
/* Wait as busywait() does, but without a pause. */
#define spin(cond)							\
do {									\
	__s64 __end = now_ns() + 1000000LL * WAIT_MS;			\
									\
	while (!(cond))							\
		if (now_ns() > __end)					\
			die("waited in vain for " #cond);		\
} while (0)

#define KEY_FILE	"/run/bench-relay.psk"
#define KEY		"bench:4f2d1b7c9a5e3068d7f1c2b4a6958e07"

static int stream(bool nodelay)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	if (nodelay)
		setsockopt(fd, IPPROTO_TCP, 1, &(int){ 1 }, sizeof(int));
	return fd;
}

/* A connection over loopback: one end here, one in a child. */
static pid_t tcp_pair(int *fd, void (*child)(int fd))
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	socklen_t len = sizeof(sin);
	int l = stream(false), c;
	pid_t pid;

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(l, (void *)&sin, sizeof(sin)) || listen(l, 1) ||
	    getsockname(l, (void *)&sin, &len))
		die("listen");
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		c = accept(l, NULL, NULL);
		if (c < 0)
			_exit(1);
		setsockopt(c, IPPROTO_TCP, 1, &(int){ 1 }, sizeof(int));
		child(c);
		_exit(0);
	}
	*fd = stream(true);
	if (connect(*fd, (void *)&sin, sizeof(sin)))
		die("connect");
	close(l);
	return pid;
}

static void drain(int fd)
{
	static char buf[65536];
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		;
	if (write(fd, "", 1) != 1)
		_exit(1);
}

static void echo(int fd)
{
	char c;

	while (read(fd, &c, 1) == 1)
		if (write(fd, &c, 1) != 1)
			_exit(1);
}

/* Time to send that many bytes, and to hear that all have come. */
static double plain_tcp(size_t bytes)
{
	static char buf[65536];
	pid_t pid;
	__s64 start;
	size_t n;
	int fd;

	pid = tcp_pair(&fd, drain);
	start = now_ns();
	for (; bytes; bytes -= n) {
		n = bytes < sizeof(buf) ? bytes : sizeof(buf);
		if (write(fd, buf, n) != (ssize_t)n)
			die("write");
	}
	shutdown(fd, SHUT_WR);
	if (read(fd, buf, 1) != 1)
		die("read");
	start = now_ns() - start;
	close(fd);
	waitpid(pid, NULL, 0);
	return start;
}

/* Shortest way of a byte there and back. */
static double round_trip(void)
{
	double best = 1e18;
	__s64 start;
	pid_t pid;
	int fd, i;
	char c = 0;

	pid = tcp_pair(&fd, echo);
	for (i = 0; i < 200; i++) {
		start = now_ns();
		if (write(fd, &c, 1) != 1 || read(fd, &c, 1) != 1)
			die("echo");
		start = now_ns() - start;
		if (start < best)
			best = start;
	}
	close(fd);
	waitpid(pid, NULL, 0);
	return best;
}

static pid_t relay(const char *how, const char *dev, bool tls)
{
	char addr[64];
	pid_t pid;

	snprintf(addr, sizeof(addr), "tcp:127.0.0.1:%d", PORT);
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	/* Standard output is for figures. */
	if (dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(1);
	if (tls)
		execlp("tapmig", "tapmig", "relay", how, addr, "--dev", dev,
		       "--once", "--tls-psk", KEY_FILE, "--tls-user", "bench",
		       NULL);
	else
		execlp("tapmig", "tapmig", "relay", how, addr, "--dev", dev,
		       "--once", NULL);
	_exit(1);
}

/**
 * struct pair - two holds and the relays between them
 * @from: device of the source
 * @to: device of the standby
 * @source: hold, armed
 * @standby: hold, frozen
 * @relays: processes
 */
struct pair {
	struct nic from;
	struct nic to;
	int source;
	int standby;
	pid_t relays[2];
};

static void pair_up(struct pair *p, bool tls)
{
	struct tapmig_create a = CREATE(.role = TAPMIG_ROLE_SOURCE,
					.max_packets = TAPMIG_MAX_PACKETS,
					.max_bytes = TAPMIG_MAX_BYTES,
					.max_frozen_ms = 3600000);
	struct tapmig_create b;

	strcpy(a.label, LABEL);
	b = a;
	b.role = TAPMIG_ROLE_STANDBY;
	b.wait_import_ms = 60000;
	p->source = hold_new(&p->from, &a);
	p->standby = hold_new(&p->to, &b);
	must(hold_freeze(p->standby), "TAPMIG_FREEZE");
	p->relays[0] = relay("--listen", p->to.name, tls);
	p->relays[1] = relay("--connect", p->from.name, tls);
	spin(info_of(p->source).flags & TAPMIG_HOLD_FLAGS_PEER);
}

/* After the thaw. */
static void pair_down(struct pair *p)
{
	static char buf[65536];
	int i, status;

	for (i = 0; i < 2; i++)
		if (waitpid(p->relays[i], &status, 0) < 0 || status)
			lose("a relay has failed: 0x%x", status);
	close(p->source);
	close(p->standby);
	while (read(p->to.fd[0], buf, sizeof(buf)) > 0)
		;
}

/* What is in the ring is moved; the time from the freeze on. */
static double move(struct pair *p, size_t size, bool tls)
{
	__s64 start;

	pair_up(p, tls);
	pktgen_burst(p->from.name, 1, size, false, FRAMES);
	start = now_ns();
	must(hold_freeze(p->source), "TAPMIG_FREEZE");
	spin(info_of(p->standby).imported >= FRAMES);
	start = now_ns() - start;
	if (info_of(p->standby).imported != FRAMES)
		lose("relay: %llu of %d frames",
		     info_of(p->standby).imported, FRAMES);
	must(hold_thaw_wait(p->standby), "TAPMIG_THAW");
	pair_down(p);
	return start;
}

static void throughput(struct pair *p, size_t size, bool tls, long n_rounds)
{
	struct series moved = {}, plain = {};
	char id[64];
	int i;

	for_each_round(i, n_rounds) {
		series_add(&moved, move(p, size, tls) / FRAMES);
		series_add(&plain, plain_tcp(FRAMES * size) / FRAMES);
	}
	snprintf(id, sizeof(id), "relay%s%zu/tcp", tls ? "-tls" : "", size);
	report_ratio(id, "ns/frame", &moved, &plain);
}

/* pktgen takes long to start. */
static void send_one(const struct nic *n)
{
	struct sockaddr_ll sll = {
		.sll_family = AF_PACKET,
		.sll_ifindex = if_nametoindex(n->name),
	};
	static const __u8 frame[SMALL] = { 2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8,
					   0x88, 0xb6 };
	static int fd = -1;

	if (fd < 0)
		fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, frame, sizeof(frame), 0, (void *)&sll,
			     sizeof(sll)) != sizeof(frame))
		die("sending a frame");
}

/* One frame on an idle machine; then the last one just before a thaw. */
static void latency(struct pair *p, long n_rounds)
{
	struct series one = {}, step = {}, way = {};
	__s64 start;
	double rtt;
	__u64 had;
	int i;

	for_each_round(i, n_rounds) {
		rtt = round_trip();
		pair_up(p, false);
		must(hold_freeze(p->source), "TAPMIG_FREEZE");
		spin(info_of(p->standby).flags &
			 TAPMIG_HOLD_FLAGS_IMPORTING);
		had = info_of(p->standby).imported;
		start = now_ns();
		send_one(&p->from);
		spin(info_of(p->standby).imported > had);
		series_add(&one, now_ns() - start);
		send_one(&p->from);
		start = now_ns();
		must(hold_thaw_wait(p->standby), "TAPMIG_THAW");
		series_add(&step, now_ns() - start);
		series_add(&way, rtt);
		pair_down(p);
	}
	report_value("relay/one-frame", "ns", &one);
	report_ratio("relay/in-step", "ns", &step, &way);
}

void bench_relay(void)
{
	FILE *f = fopen(KEY_FILE, "w");
	struct pair p = {};

	if (!f || fprintf(f, KEY "\n") < 0 || fchmod(fileno(f), 0600) ||
	    fclose(f))
		die(KEY_FILE);
	link_up("lo");
	tap_open(&p.from, "from0", FRAMES + 1000);
	tap_open(&p.to, "to0", 0);
	throughput(&p, SMALL, false, rounds(7));
	throughput(&p, 1514, false, rounds(7));
	throughput(&p, 1514, true, rounds(7));
	latency(&p, rounds(7));
	tap_close(&p.from);
	tap_close(&p.to);
	unlink(KEY_FILE);
}
