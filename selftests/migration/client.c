// SPDX-License-Identifier: GPL-2.0-only
/*
 * client NET RATE [probes]
 *
 * The client of one network: sends RATE numbered frames a second, evenly, to
 * the guest, to all and to a group; some of them are echoed. It waits for a
 * guest that does not keep up. Beside it a stream whose sum is compared at the
 * end, and pings. It takes commands from standard input, and answers with one
 * line each. With "probes" there are only frames to the guest itself, and all
 * are echoed.
 *
 *	begin RUN	"begun" when the guest counts this run
 *	wait FRAMES	"waited" and how many were sent, when that is so many
 *			more than now
 *	stop		the counts, as JSON, when all has arrived, or when
 *			nothing more seems to
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#include "rig.h"

#define MS		1000000ULL
#define SECOND		(1000 * MS)
/* More than a frame holds without offloads, but not often: guests are slow. */
#define STREAM_CHUNK	4096
#define STREAM_INTERVAL	(400 * MS)
#define PING_INTERVAL	(500 * MS)
/*
 * The guest is asked again so long after its answer, or when it does not
 * answer: then ever less often, as it is slow and is not to be kept busy.
 */
#define ASK_INTERVAL	(200 * MS)
#define ASK_AGAIN	(2 * SECOND)
/* So are the ends of flows. */
#define END_AGAIN	(2 * SECOND)
/*
 * After so many answers in a row that say the same, nothing more will come. A
 * stream that has lost much waits longer from one attempt to the next.
 */
#define SETTLED		20
#define STREAM_SETTLED	(120 * SECOND)
#define GIVE_UP		(300 * SECOND)
/*
 * Frames that may be on their way, or wait in the guest, as far as echoes tell:
 * it may be slow, and has but so much memory for them. Those that somebody
 * waits for are sent in any case, as the guest may be stopped.
 */
#define AHEAD		500
/* Of each cycle, one frame to all and one to the group. */
#define CYCLE		12

struct addresses {
	const char *client;
	const char *guest;
	const char *broadcast;
};

static const struct addresses addresses[NETS] = {
	{ "192.0.2.1", "192.0.2.2", "192.0.2.255" },
	{ "198.51.100.1", "198.51.100.2", "198.51.100.255" },
};

enum { IDLE, BEGINNING, RUNNING, STOPPING };
enum { CONTROL_FD = FLOWS, ECHO_FD, STREAM_FD, PING_FD, STDIN_FD, FDS };

/**
 * struct client - all of it
 * @net: number of the network
 * @interval: between two frames
 * @probes: all frames are to the guest, and are echoed
 * @echo_port: where echoes come
 * @fds: sockets of the flows, and the others
 * @state: what it does
 * @run: the number of the run
 * @total: frames sent in this run
 * @first: when the first of them was sent
 * @latest: when the last one so far
 * @taken: of these, the guest has taken so many, or later ones
 * @sent: of each flow
 * @next_unicast: flow whose turn it is
 * @wait_until: value of @total that somebody waits for
 * @echoes: frames that asked for an echo
 * @echoed: echoes that came
 * @pings: requests sent
 * @pongs: answers
 * @bytes: of the stream
 * @sum: fnv() of them
 * @chunk: being sent
 * @chunk_left: of it
 * @random: state of the generator
 * @digests: what the guest said of the stream
 * @digests_len: how much of that has come
 * @stream_state: 0 open, 1 we have closed, 2 over
 * @report: the last one of the guest
 * @reported: there is one of this run
 * @dropped: what our own sockets had dropped before this run
 * @unsent: frames that the kernel has refused
 * @ask_at: when the guest is asked next
 * @ask_again: how long after that, if it does not answer
 * @end_at: when the ends of the flows are sent next
 * @end_again: how long after that, if they do not arrive
 * @same: answers that had nothing new
 * @last_echo: when the last one came
 * @longest_gap: between two echoes
 * @progress: when something new came, after the stop
 */
struct client {
	uint32_t net;
	uint64_t interval;
	bool probes;
	uint32_t echo_port;
	struct pollfd fds[FDS];
	int state;
	uint32_t run;
	uint32_t total;
	uint64_t first, latest;
	uint32_t taken;
	uint32_t sent[FLOWS];
	uint32_t next_unicast;
	uint32_t wait_until;
	uint32_t echoes, echoed;
	uint32_t pings, pongs;
	uint64_t bytes, sum;
	uint8_t chunk[STREAM_CHUNK];
	size_t chunk_left;
	uint64_t random;
	struct digest digests[DIGESTS];
	size_t digests_len;
	int stream_state;
	struct report report;
	bool reported;
	uint32_t dropped, unsent;
	uint64_t ask_at, ask_again;
	uint64_t end_at, end_again;
	uint32_t same;
	uint64_t last_echo, longest_gap;
	uint64_t progress;
};

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static struct sockaddr_in address(const char *text, int port)
{
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};

	inet_pton(AF_INET, text, &in.sin_addr);
	return in;
}

static int connected(int type, int proto, const char *from, const char *to,
		     int port)
{
	struct sockaddr_in a = address(from, 0), b = address(to, port);
	struct in_addr via = a.sin_addr;
	int fd, on = 1, size = RECEIVE_BUFFER;

	fd = socket(AF_INET, type | SOCK_CLOEXEC, proto);
	check(fd >= 0, "socket");
	check(!setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)),
	      "SO_BROADCAST");
	if (type != SOCK_STREAM)
		check(!setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
				  sizeof(size)), "SO_RCVBUFFORCE");
	if (type == SOCK_DGRAM)
		check(!setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &via,
				  sizeof(via)), "IP_MULTICAST_IF");
	check(!bind(fd, (struct sockaddr *)&a, sizeof(a)), "bind");
	check(!connect(fd, (struct sockaddr *)&b, sizeof(b)), to);
	return fd;
}

static void open_sockets(struct client *c)
{
	const struct addresses *a = &addresses[c->net];
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int i;

	for (i = 0; i < FDS; i++) {
		c->fds[i].fd = -1;
		c->fds[i].events = POLLIN;
	}
	for (i = 0; i < FLOWS; i++)
		c->fds[i].fd = connected(SOCK_DGRAM, 0, a->client,
					 i == BROADCAST_FLOW ? a->broadcast :
					 i == MULTICAST_FLOW ? GROUP_ADDR :
					 a->guest, PROBE_PORT);
	c->fds[CONTROL_FD].fd = connected(SOCK_DGRAM, 0, a->client, a->guest,
					  CONTROL_PORT);
	c->fds[ECHO_FD].fd = connected(SOCK_DGRAM, 0, a->client, a->guest,
				       ECHO_PORT);
	check(!getsockname(c->fds[ECHO_FD].fd, (struct sockaddr *)&in, &len),
	      "getsockname");
	c->echo_port = ntohs(in.sin_port);
	c->fds[PING_FD].fd = connected(SOCK_RAW, IPPROTO_ICMP, a->client,
				       a->guest, 0);
	c->fds[STDIN_FD].fd = STDIN_FILENO;
}

/* What the sockets have dropped or not sent, since they were opened. */
static uint32_t dropped(const struct client *c)
{
	uint32_t sum = c->unsent;
	int i;

	for (i = 0; i <= ECHO_FD; i++)
		sum += socket_meminfo(c->fds[i].fd, SK_MEMINFO_DROPS);
	return sum;
}

/* Something new has come. */
static void progressed(struct client *c)
{
	c->progress = now_ns();
	c->same = 0;
}

/* An error of an earlier frame, such as a refused one, is told here. */
static void send_to(struct client *c, int i, const void *p, size_t len)
{
	if (send(c->fds[i].fd, p, len, 0) != (ssize_t)len &&
	    send(c->fds[i].fd, p, len, 0) != (ssize_t)len)
		c->unsent++;
}

static void send_probe(struct client *c, uint32_t flow, uint32_t flags)
{
	struct probe p = {
		.magic = htonl(PROBE_MAGIC),
		.run = htonl(c->run),
		.net = htonl(c->net),
		.flow = htonl(flow),
		.seq = htonl(c->sent[flow]),
		.flags = htonl(flags),
		.echo_port = htonl(c->echo_port),
		.total = htonl(c->total),
	};

	send_to(c, flow, &p, sizeof(p));
}

static void send_next(struct client *c)
{
	uint32_t flow, flags = 0;

	switch (c->probes ? 0 : c->total % CYCLE) {
	case CYCLE / 2 - 1:
		flow = BROADCAST_FLOW;
		break;
	case CYCLE - 1:
		flow = MULTICAST_FLOW;
		break;
	default:
		flow = c->next_unicast++ % UNICAST_FLOWS;
		if (c->probes || !(flow % 4)) {
			flags = PROBE_ECHO;
			c->echoes++;
		}
		break;
	}
	if (c->sent[flow] == MAX_SEQ) {
		fputs("client: the run is too long\n", stderr);
		exit(2);
	}
	send_probe(c, flow, flags);
	c->sent[flow]++;
	c->latest = now_ns();
	if (!c->total++)
		c->first = c->latest;
	if (c->wait_until && c->total >= c->wait_until) {
		c->wait_until = 0;
		printf("waited %u\n", c->total);
	}
}

static void send_ends(struct client *c)
{
	int i;

	for (i = 0; i < FLOWS; i++)
		if (!c->reported || !c->report.flows[i].ended)
			send_probe(c, i, PROBE_END);
}

static void ask(struct client *c, uint32_t what)
{
	struct control r = {
		.magic = htonl(CONTROL_MAGIC),
		.what = htonl(what),
		.run = htonl(c->run),
		.net = htonl(c->net),
	};

	send_to(c, CONTROL_FD, &r, sizeof(r));
}

static uint16_t inet_sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (; len > 1; p += 2, len -= 2)
		sum += p[0] << 8 | p[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void send_ping(struct client *c)
{
	struct icmphdr h = {
		.type = ICMP_ECHO,
		.un.echo.id = htons(c->run),
		.un.echo.sequence = htons(c->pings),
	};

	h.checksum = inet_sum(&h, sizeof(h));
	send_to(c, PING_FD, &h, sizeof(h));
	c->pings++;
}

static void push_stream(struct client *c, bool more)
{
	ssize_t n;
	size_t i;

	if (c->fds[STREAM_FD].fd < 0 || c->stream_state)
		return;
	if (!c->chunk_left && more) {
		for (i = 0; i < sizeof(c->chunk); i++) {
			c->random = c->random * 6364136223846793005ULL +
				1442695040888963407ULL;
			c->chunk[i] = c->random >> 56;
		}
		c->sum = fnv(c->sum, c->chunk, sizeof(c->chunk));
		c->bytes += sizeof(c->chunk);
		c->chunk_left = sizeof(c->chunk);
	}
	while (c->chunk_left) {
		n = send(c->fds[STREAM_FD].fd,
			 c->chunk + sizeof(c->chunk) - c->chunk_left,
			 c->chunk_left, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				c->stream_state = 2;
			return;
		}
		c->chunk_left -= n;
	}
	if (!more) {
		shutdown(c->fds[STREAM_FD].fd, SHUT_WR);
		c->stream_state = 1;
	}
}

/* What comes to the other sockets are errors. */
static void take_echo(struct client *c, int i)
{
	uint64_t now = now_ns();
	struct probe p;

	while (recv(c->fds[i].fd, &p, sizeof(p), MSG_DONTWAIT) == sizeof(p)) {
		if (ntohl(p.run) != c->run)
			continue;
		if (c->last_echo && now - c->last_echo > c->longest_gap)
			c->longest_gap = now - c->last_echo;
		c->last_echo = now;
		if (ntohl(p.total) >= c->taken)
			c->taken = ntohl(p.total) + 1;
		c->echoed++;
		progressed(c);
	}
}

static void take_answer(struct client *c)
{
	struct report r;

	while (recv(c->fds[CONTROL_FD].fd, &r, sizeof(r), MSG_DONTWAIT) ==
	       sizeof(r)) {
		if (ntohl(r.head.run) != c->run)
			continue;
		if (c->state == BEGINNING) {
			c->state = RUNNING;
			puts("begun");
		} else if (ntohl(r.head.what) == CONTROL_REPORT) {
			c->same++;
			if (!c->reported || memcmp(&r, &c->report, sizeof(r)))
				progressed(c);
			c->report = r;
			c->reported = true;
			c->ask_at = now_ns() + ASK_INTERVAL;
			c->ask_again = ASK_AGAIN;
		}
	}
}

static void take_pong(struct client *c)
{
	struct {
		struct iphdr ip;
		struct icmphdr icmp;
	} p;

	while (recv(c->fds[PING_FD].fd, &p, sizeof(p), MSG_DONTWAIT) ==
	       sizeof(p))
		if (p.icmp.type == ICMP_ECHOREPLY &&
		    p.icmp.un.echo.id == htons(c->run)) {
			c->pongs++;
			progressed(c);
		}
}

static void take_digest(struct client *c)
{
	ssize_t n = recv(c->fds[STREAM_FD].fd,
			 (uint8_t *)c->digests + c->digests_len,
			 sizeof(c->digests) - c->digests_len, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	progressed(c);
	if (n > 0)
		c->digests_len += n;
	else
		c->stream_state = 2;
	if (c->digests_len == sizeof(c->digests))
		c->stream_state = 2;
}

/* How many digests of the guest's are those of what was sent. */
static int right_digests(const struct client *c)
{
	int i, n = 0;

	if (c->digests_len != sizeof(c->digests))
		return 0;
	for (i = 0; i < DIGESTS; i++)
		n += be64toh(c->digests[i].bytes) == c->bytes &&
			be64toh(c->digests[i].sum) == c->sum;
	return n;
}

static bool all_ended(const struct client *c)
{
	int i;

	for (i = 0; i < FLOWS; i++)
		if (!c->reported || !c->report.flows[i].ended)
			return false;
	return true;
}

static bool all_received(const struct client *c)
{
	int i;

	for (i = 0; i < FLOWS; i++)
		if (ntohl(c->report.flows[i].received) != c->sent[i])
			return false;
	return c->echoed >= c->echoes && c->pongs >= c->pings &&
		c->stream_state == 2;
}

static void print_kind(struct client *c, const char *name, int first, int n)
{
	uint32_t sent = 0, received = 0, dup = 0, reordered = 0;
	int i;

	for (i = first; i < first + n; i++) {
		sent += c->sent[i];
		received += ntohl(c->report.flows[i].received);
		dup += ntohl(c->report.flows[i].duplicated);
		reordered += ntohl(c->report.flows[i].reordered);
	}
	printf("\"%s\": {\"sent\": %u, \"lost\": %u, \"duplicated\": %u, \"reordered\": %u}, ",
	       name, sent, sent - received, dup, reordered);
}

/*
 * Counts of a flow, the highest of its numbers that came late, and the lowest
 * that never came.
 */
static void print_flow(struct client *c, int flow)
{
	const struct counts *r = &c->report.flows[flow];

	printf("[%u, %u, %u, %u, %u, %u]", c->sent[flow],
	       c->sent[flow] - ntohl(r->received), ntohl(r->duplicated),
	       ntohl(r->reordered), ntohl(r->latest), ntohl(r->missing));
}

static void print_result(struct client *c)
{
	int i, right = right_digests(c);

	if (!c->reported)
		memset(&c->report, 0, sizeof(c->report));
	printf("{\"reported\": %s, \"ended\": %s, ",
	       c->reported ? "true" : "false",
	       all_ended(c) ? "true" : "false");
	print_kind(c, "unicast", 0, UNICAST_FLOWS);
	print_kind(c, "broadcast", BROADCAST_FLOW, 1);
	print_kind(c, "multicast", MULTICAST_FLOW, 1);
	printf("\"flows\": [");
	for (i = 0; i < FLOWS; i++) {
		printf("%s", i ? ", " : "");
		print_flow(c, i);
	}
	printf("], \"echo\": {\"sent\": %u, \"lost\": %d}, ", c->echoes,
	       (int)(c->echoes - c->echoed));
	printf("\"ping\": {\"sent\": %u, \"lost\": %d}, ", c->pings,
	       (int)(c->pings - c->pongs));
	printf("\"stream\": {\"bytes\": %llu, \"intact\": %s, \"forgotten\": %s}, ",
	       (unsigned long long)c->bytes,
	       right == DIGESTS ? "true" : "false",
	       right && right != DIGESTS ? "true" : "false");
	printf("\"guest\": {\"dropped\": %u, \"queued\": %u, \"damaged\": %u, ",
	       ntohl(c->report.dropped), ntohl(c->report.queued),
	       ntohl(c->report.damaged));
	printf("\"counted\": %u, \"stale\": %u}, ", ntohl(c->report.counted),
	       ntohl(c->report.stale));
	printf("\"client\": {\"dropped\": %u}, ", dropped(c) - c->dropped);
	printf("\"interval_us\": %llu, ", c->total < 2 ? 0ULL :
	       (unsigned long long)((c->latest - c->first) /
				    (c->total - 1) / 1000));
	printf("\"longest_gap_ms\": %llu}\n",
	       (unsigned long long)(c->longest_gap / MS));
}

static void begin(struct client *c, uint32_t run)
{
	struct client new = {
		.net = c->net,
		.interval = c->interval,
		.probes = c->probes,
		.echo_port = c->echo_port,
		.dropped = dropped(c),
		.unsent = c->unsent,
		.ask_at = now_ns(),
		.ask_again = ASK_AGAIN,
		.state = BEGINNING,
		.run = run,
		.sum = FNV_START,
		.random = run,
	};

	if (c->fds[STREAM_FD].fd >= 0)
		close(c->fds[STREAM_FD].fd);
	memcpy(new.fds, c->fds, sizeof(new.fds));
	*c = new;
	c->fds[STREAM_FD].fd = connected(SOCK_STREAM, 0,
					 addresses[c->net].client,
					 addresses[c->net].guest, STREAM_PORT);
}

static void command(struct client *c)
{
	static char line[64];
	static size_t len;
	char *end;
	ssize_t n;

	n = read(STDIN_FILENO, line + len, sizeof(line) - 1 - len);
	if (n <= 0)
		exit(0);
	len += n;
	line[len] = 0;
	while ((end = strchr(line, '\n'))) {
		*end++ = 0;
		if (!strncmp(line, "begin ", 6)) {
			begin(c, strtoul(line + 6, NULL, 10));
		} else if (!strncmp(line, "wait ", 5)) {
			c->wait_until = c->total + strtoul(line + 5, NULL, 10);
		} else if (!strcmp(line, "stop")) {
			c->state = STOPPING;
			progressed(c);
			c->ask_at = c->progress;
			c->ask_again = ASK_AGAIN;
			c->end_at = c->progress;
			c->end_again = END_AGAIN;
		}
		len -= end - line;
		memmove(line, end, len + 1);
	}
}

/* due(t, interval): is it time; then, when again. */
static bool due(uint64_t *t, uint64_t interval, uint64_t now)
{
	if (*t > now)
		return false;
	*t += interval;
	/* A late one delays the others: no bursts. */
	if (*t < now)
		*t = now;
	return true;
}

/* again(t, interval): the same, ever less often. */
static bool again(uint64_t *t, uint64_t *interval, uint64_t now)
{
	if (*t > now)
		return false;
	*t = now + *interval;
	*interval *= 2;
	return true;
}

/* All has arrived that can. */
static bool settled(const struct client *c, uint64_t now)
{
	uint64_t quiet = now - c->progress;

	if (quiet > GIVE_UP)
		return true;
	if (!c->reported || !all_ended(c))
		return false;
	return all_received(c) ||
		(c->same >= SETTLED &&
		 (c->stream_state == 2 || quiet > STREAM_SETTLED));
}

static void work(struct client *c)
{
	static uint64_t frame, stream, ping;
	uint64_t now = now_ns();

	switch (c->state) {
	case BEGINNING:
		if (again(&c->ask_at, &c->ask_again, now))
			ask(c, CONTROL_BEGIN);
		break;
	case RUNNING:
		if (due(&frame, c->interval, now) &&
		    (c->wait_until || c->total - c->taken < AHEAD))
			send_next(c);
		if (due(&stream, STREAM_INTERVAL, now))
			push_stream(c, true);
		if (due(&ping, PING_INTERVAL, now))
			send_ping(c);
		break;
	case STOPPING:
		push_stream(c, false);
		if (again(&c->ask_at, &c->ask_again, now))
			ask(c, CONTROL_REPORT);
		if (again(&c->end_at, &c->end_again, now))
			send_ends(c);
		if (settled(c, now)) {
			c->state = IDLE;
			print_result(c);
		}
		break;
	}
}

/*
 * What is on its way through veth devices waits at the processor that sent it.
 * What is sent from another one overtakes it.
 */
static void stay_on_one_processor(unsigned int n)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(n % sysconf(_SC_NPROCESSORS_ONLN), &cpus);
	check(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity");
}

int main(int argc, char **argv)
{
	static struct client c;
	int i;

	c.probes = argc == 4 && !strcmp(argv[3], "probes");
	if ((argc != 3 && !c.probes) || strtoul(argv[1], NULL, 10) >= NETS ||
	    !strtoul(argv[2], NULL, 10)) {
		fputs("usage: client NET RATE [probes]\n", stderr);
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	c.net = strtoul(argv[1], NULL, 10);
	c.interval = SECOND / strtoul(argv[2], NULL, 10);
	stay_on_one_processor(c.net);
	open_sockets(&c);
	for (;;) {
		/* A stream that is over is always readable. */
		if (c.stream_state == 2 && c.fds[STREAM_FD].fd >= 0) {
			close(c.fds[STREAM_FD].fd);
			c.fds[STREAM_FD].fd = -1;
		}
		if (poll(c.fds, FDS, c.state == IDLE ? -1 : 2) > 0) {
			for (i = 0; i <= ECHO_FD; i++)
				if (i != CONTROL_FD && c.fds[i].revents)
					take_echo(&c, i);
			if (c.fds[CONTROL_FD].revents)
				take_answer(&c);
			if (c.fds[PING_FD].revents)
				take_pong(&c);
			if (c.fds[STREAM_FD].revents)
				take_digest(&c);
			if (c.fds[STDIN_FD].revents)
				command(&c);
		}
		work(&c);
	}
}
