// SPDX-License-Identifier: GPL-2.0-only
/* The client: sends numbered frames, one flow after the other, evenly. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "demo.h"

static int udp_socket(const char *to)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(UDP_PORT),
	};
	int fd, on = 1;

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	check(fd >= 0, "UDP socket");
	check(!setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)),
	      "SO_BROADCAST");
	inet_pton(AF_INET, to, &addr.sin_addr);
	check(!connect(fd, (struct sockaddr *)&addr, sizeof(addr)), to);
	return fd;
}

/**
 * client_open - the client's sockets
 * @c: the client
 * @rounds: how many frames to send of each flow
 * @interval_ns: between two frames
 */
void client_open(struct client *c, __u32 rounds, __u64 interval_ns)
{
	pthread_condattr_t attr;
	int i;

	memset(c, 0, sizeof(*c));
	c->rounds = rounds;
	c->interval_ns = interval_ns;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->progress, &attr);

	enter("client");
	for (i = 0; i < UNICAST_FLOWS; i++)
		c->sockets[i] = udp_socket(GUEST_ADDR);
	c->sockets[i] = udp_socket(BROADCAST_ADDR);
	c->arp = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC,
			htons(ETH_P_RARP));
	check(c->arp >= 0, "packet socket");
}

/**
 * client_saw_announcement - has an announcement crossed the switch
 * @c: the client
 * @timeout_ms: how long to wait for one
 *
 * Return: true if so: then the switch knows where the guest is.
 */
bool client_saw_announcement(struct client *c, int timeout_ms)
{
	struct pollfd p = { .fd = c->arp, .events = POLLIN };

	return poll(&p, 1, timeout_ms) == 1;
}

static void send_probe(struct client *c, __u32 flow, __u32 seq, bool end)
{
	struct probe p = {
		.magic = htonl(PROBE_MAGIC),
		.flow = htonl(flow),
		.seq = htonl(seq),
		.end = htonl(end),
	};

	check(send(c->sockets[flow], &p, sizeof(p), 0) == sizeof(p), "send");
}

static void wait_for(__u64 ns)
{
	struct timespec ts = {
		.tv_sec = ns / 1000000000,
		.tv_nsec = ns % 1000000000,
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
	       EINTR)
		;
}

static void *client_thread(void *arg)
{
	struct client *c = arg;
	__u64 next = now_ns(), now;
	__u32 seq, flow;

	for (seq = 0; seq < c->rounds; seq++) {
		for (flow = 0; flow < FLOWS; flow++) {
			wait_for(next);
			send_probe(c, flow, seq, false);
			pthread_mutex_lock(&c->lock);
			c->sent++;
			if (flow == FLOWS - 1)
				pthread_cond_broadcast(&c->progress);
			pthread_mutex_unlock(&c->lock);
			/* A late frame delays the others: no bursts. */
			now = now_ns();
			next += c->interval_ns;
			if (next < now)
				next = now;
		}
	}
	for (flow = 0; flow < FLOWS; flow++)
		send_probe(c, flow, c->rounds, true);
	return NULL;
}

/**
 * client_start - begin to send
 * @c: the client
 */
void client_start(struct client *c)
{
	check(!pthread_create(&c->thread, NULL, client_thread, c), "thread");
}

/**
 * client_wait_sent - wait for the round in which a frame is sent
 * @c: the client
 * @frames: how many frames must have been sent
 */
void client_wait_sent(struct client *c, __u32 frames)
{
	__u32 all = c->rounds * FLOWS, before;
	struct timespec ts;

	if (frames > all)
		frames = all;
	pthread_mutex_lock(&c->lock);
	while (c->sent < frames) {
		before = c->sent;
		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_sec += STUCK_MS / 1000;
		if (pthread_cond_timedwait(&c->progress, &c->lock, &ts) ==
		    ETIMEDOUT && c->sent == before)
			die("the client is stuck after %u frames", before);
	}
	pthread_mutex_unlock(&c->lock);
}

/**
 * client_sent - how many frames were sent
 * @c: the client
 *
 * Return: how many, the ends of the flows not counted.
 */
__u32 client_sent(struct client *c)
{
	__u32 sent;

	pthread_mutex_lock(&c->lock);
	sent = c->sent;
	pthread_mutex_unlock(&c->lock);
	return sent;
}

/**
 * client_join - wait until all is sent
 * @c: the client
 */
void client_join(struct client *c)
{
	int i;

	client_wait_sent(c, c->rounds * FLOWS);
	pthread_join(c->thread, NULL);
	for (i = 0; i < FLOWS; i++)
		close(c->sockets[i]);
	close(c->arp);
}
