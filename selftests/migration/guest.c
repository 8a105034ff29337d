// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's only program. Counts every number of every flow, echoes what
 * asks for it, takes streams and tells their sums. The kernel answers pings.
 * A number is lost if it never arrived. Each arrival is one of: received (the
 * first of its number), reordered too if below the highest number of its flow,
 * or duplicated (any further one).
 */
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>

#include "rig.h"

#define STREAMS		8
#define PAGE_SIZE	4096
/* Counters of a card. */
#define CARD_STATS	256
/* Probes that are taken before others get their turn. */
#define PROBES		64

struct flow {
	struct counts counts;
	int64_t highest;
	uint8_t seen[MAX_SEQ / 8];
};

/**
 * struct net - what is counted of one network
 * @run: the run that is counted
 * @dropped: what the guest had dropped before
 * @queued: the most bytes of memory that probes waited in
 * @damaged: frames that were none of ours, before this run
 * @counted: frames of all flows
 * @stale: frames of other runs
 * @flows: its flows
 */
struct net {
	uint32_t run;
	uint32_t dropped;
	uint32_t queued;
	uint32_t damaged;
	uint32_t counted;
	uint32_t stale;
	struct flow flows[FLOWS];
};

/**
 * struct digests - of all streams, alone in its page
 * @bytes: received so far
 * @sum: fnv() of them
 */
struct digests {
	uint64_t bytes[STREAMS];
	uint64_t sum[STREAMS];
} __attribute__((aligned(PAGE_SIZE)));

static const char * const addresses[NETS] = { "192.0.2.2", "198.51.100.2" };
static const char * const clients[NETS] = { "192.0.2.1", "198.51.100.1" };
static struct net nets[NETS];
/* Connections of streams, or -1. */
static int streams[STREAMS];
static struct digests digests[DIGESTS];
static int probe_fd, control_fd, echo_fd;
static uint32_t damaged;

/* There is nobody to return to: the kernel panics, which ends QEMU. */
static void check(bool ok, const char *what)
{
	if (ok)
		return;
	printf("guest: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void set_address(struct sockaddr *sa, const char *text)
{
	struct sockaddr_in *in = (void *)sa;

	in->sin_family = AF_INET;
	inet_pton(AF_INET, text, &in->sin_addr);
}

/* As many queues as the card has. */
static void set_channels(int fd, struct ifreq *ifr)
{
	struct ethtool_channels ch = { .cmd = ETHTOOL_GCHANNELS };

	ifr->ifr_data = (void *)&ch;
	check(!ioctl(fd, SIOCETHTOOL, ifr), "ETHTOOL_GCHANNELS");
	if (ch.combined_count != ch.max_combined) {
		ch.cmd = ETHTOOL_SCHANNELS;
		ch.combined_count = ch.max_combined;
		check(!ioctl(fd, SIOCETHTOOL, ifr), "ETHTOOL_SCHANNELS");
	}
	printf("guest: %s: %u queues\n", ifr->ifr_name, ch.combined_count);
}

/* No answer is to wait until it is known who has an address. */
static void know_client(int fd, int n)
{
	const uint8_t mac[] = { 2, 0, 0, 0, n + 1, 1 };
	struct arpreq req = { .arp_flags = ATF_COM | ATF_PERM };

	set_address(&req.arp_pa, clients[n]);
	req.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(req.arp_ha.sa_data, mac, sizeof(mac));
	snprintf(req.arp_dev, sizeof(req.arp_dev), "eth%d", n);
	check(!ioctl(fd, SIOCSARP, &req), "SIOCSARP");
}

static void bring_up(int fd, int n)
{
	struct ifreq ifr = { .ifr_name = "" };

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "eth%d", n);
	set_channels(fd, &ifr);
	set_address(&ifr.ifr_addr, addresses[n]);
	check(!ioctl(fd, SIOCSIFADDR, &ifr), "SIOCSIFADDR");
	ifr.ifr_flags = IFF_UP | IFF_RUNNING;
	check(!ioctl(fd, SIOCSIFFLAGS, &ifr), "SIOCSIFFLAGS");
	know_client(fd, n);
}

static int open_socket(int type, int port)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int fd, on = 1, size = RECEIVE_BUFFER;

	fd = socket(AF_INET, type, 0);
	check(fd >= 0, "socket");
	check(!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)),
	      "SO_REUSEADDR");
	if (type == SOCK_DGRAM)
		check(!setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
				  sizeof(size)), "SO_RCVBUFFORCE");
	check(!bind(fd, (struct sockaddr *)&addr, sizeof(addr)), "bind");
	return fd;
}

static void join_groups(int fd)
{
	struct ip_mreq m;
	int n;

	inet_pton(AF_INET, GROUP_ADDR, &m.imr_multiaddr);
	for (n = 0; n < NETS; n++) {
		inet_pton(AF_INET, addresses[n], &m.imr_interface);
		check(!setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m,
				  sizeof(m)), "IP_ADD_MEMBERSHIP");
	}
}

static void count(struct net *n, struct flow *f, uint32_t seq)
{
	uint8_t *byte = &f->seen[seq / 8], bit = 1 << (seq % 8);

	n->counted++;
	if (*byte & bit) {
		f->counts.duplicated++;
		return;
	}
	*byte |= bit;
	f->counts.received++;
	if (seq > f->highest) {
		f->highest = seq;
		return;
	}
	if (seq > f->counts.latest)
		f->counts.latest = seq;
	f->counts.reordered++;
}

/*
 * Echoes come from another port than the probes went to. Otherwise the TAP
 * would steer a flow to the queue that its last echo came from, at once, while
 * there are frames of it in another queue: these would be overtaken, on every
 * kernel, migration or not.
 */
static void echo(struct sockaddr_in *to, const struct probe *p)
{
	to->sin_port = htons(ntohl(p->echo_port));
	sendto(echo_fd, p, sizeof(*p), 0, (struct sockaddr *)to, sizeof(*to));
}

static void take_probes(void)
{
	uint32_t queued = socket_meminfo(probe_fd, SK_MEMINFO_RMEM_ALLOC);
	struct sockaddr_in from;
	struct probe p;
	socklen_t len;
	struct net *n;
	ssize_t got;
	int i;

	for (i = 0; i < NETS; i++)
		if (queued > nets[i].queued)
			nets[i].queued = queued;
	for (i = 0; i < PROBES; i++) {
		len = sizeof(from);
		got = recvfrom(probe_fd, &p, sizeof(p), MSG_DONTWAIT,
			       (struct sockaddr *)&from, &len);
		if (got < 0)
			return;
		if (got != sizeof(p) || p.magic != htonl(PROBE_MAGIC) ||
		    ntohl(p.net) >= NETS || ntohl(p.flow) >= FLOWS ||
		    ntohl(p.seq) >= MAX_SEQ) {
			damaged++;
			continue;
		}
		n = &nets[ntohl(p.net)];
		if (ntohl(p.run) != n->run) {
			n->stale++;
			continue;
		}
		if (ntohl(p.flags) & PROBE_END)
			n->flows[ntohl(p.flow)].counts.ended = 1;
		else
			count(n, &n->flows[ntohl(p.flow)], ntohl(p.seq));
		if (ntohl(p.flags) & PROBE_ECHO)
			echo(&from, &p);
	}
}

/*
 * What the driver of a card has dropped, by its own counters of each queue: it
 * had no memory, or did not understand the frame.
 */
static uint32_t card_dropped(int n)
{
	static union {
		struct ethtool_gstrings head;
		uint8_t space[sizeof(struct ethtool_gstrings) +
			      CARD_STATS * ETH_GSTRING_LEN];
	} names;
	static union {
		struct ethtool_stats head;
		uint8_t space[sizeof(struct ethtool_stats) +
			      CARD_STATS * sizeof(uint64_t)];
	} stats;
	struct ethtool_drvinfo info = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq ifr = { .ifr_name = "" };
	uint32_t i, sum = 0;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "eth%d", n);
	ifr.ifr_data = (void *)&info;
	check(!ioctl(control_fd, SIOCETHTOOL, &ifr), "ETHTOOL_GDRVINFO");
	check(info.n_stats <= CARD_STATS, "too many counters");
	names.head.cmd = ETHTOOL_GSTRINGS;
	names.head.string_set = ETH_SS_STATS;
	names.head.len = info.n_stats;
	ifr.ifr_data = (void *)&names;
	check(!ioctl(control_fd, SIOCETHTOOL, &ifr), "ETHTOOL_GSTRINGS");
	stats.head.cmd = ETHTOOL_GSTATS;
	stats.head.n_stats = info.n_stats;
	ifr.ifr_data = (void *)&stats;
	check(!ioctl(control_fd, SIOCETHTOOL, &ifr), "ETHTOOL_GSTATS");
	for (i = 0; i < stats.head.n_stats; i++) {
		const char *name = (char *)names.head.data +
			i * ETH_GSTRING_LEN;

		if (!strncmp(name, "rx", 2) && strstr(name, "_drops"))
			sum += stats.head.data[i];
	}
	return sum;
}

/* All that the guest itself has dropped since it has booted. */
static uint32_t dropped(void)
{
	uint32_t sum;
	int n;

	sum = socket_meminfo(probe_fd, SK_MEMINFO_DROPS) +
		socket_meminfo(control_fd, SK_MEMINFO_DROPS) +
		socket_meminfo(echo_fd, SK_MEMINFO_DROPS);
	for (n = 0; n < NETS; n++)
		sum += card_dropped(n);
	return sum;
}

static void begin(struct net *n, uint32_t run)
{
	int i;

	if (n->run == run)
		return;
	memset(n, 0, sizeof(*n));
	n->run = run;
	n->dropped = dropped();
	n->damaged = damaged;
	for (i = 0; i < FLOWS; i++)
		n->flows[i].highest = -1;
}

static uint32_t lowest_missing(const struct flow *f)
{
	uint32_t seq = 0;

	while (seq < MAX_SEQ && f->seen[seq / 8] & 1 << seq % 8)
		seq++;
	return seq;
}

static void answer(void)
{
	struct sockaddr_in from;
	struct report r;
	socklen_t len = sizeof(from);
	struct counts *c;
	struct net *n;
	int i;

	if (recvfrom(control_fd, &r.head, sizeof(r.head), MSG_DONTWAIT,
		     (struct sockaddr *)&from, &len) != sizeof(r.head) ||
	    r.head.magic != htonl(CONTROL_MAGIC) || ntohl(r.head.net) >= NETS)
		return;
	n = &nets[ntohl(r.head.net)];
	if (ntohl(r.head.what) == CONTROL_BEGIN)
		begin(n, ntohl(r.head.run));
	r.head.run = htonl(n->run);
	r.dropped = htonl(dropped() - n->dropped);
	r.queued = htonl(n->queued);
	r.damaged = htonl(damaged - n->damaged);
	r.counted = htonl(n->counted);
	r.stale = htonl(n->stale);
	for (i = 0; i < FLOWS; i++) {
		c = &n->flows[i].counts;
		r.flows[i].received = htonl(c->received);
		r.flows[i].duplicated = htonl(c->duplicated);
		r.flows[i].reordered = htonl(c->reordered);
		r.flows[i].ended = htonl(c->ended);
		r.flows[i].latest = htonl(c->latest);
		r.flows[i].missing = htonl(lowest_missing(&n->flows[i]));
	}
	sendto(control_fd, &r, sizeof(r), 0, (struct sockaddr *)&from, len);
}

static void take_connection(int listener)
{
	int i, d, fd = accept(listener, NULL, NULL);

	if (fd < 0)
		return;
	for (i = 0; i < STREAMS; i++) {
		if (streams[i] >= 0)
			continue;
		streams[i] = fd;
		for (d = 0; d < DIGESTS; d++) {
			digests[d].bytes[i] = 0;
			digests[d].sum[i] = FNV_START;
		}
		return;
	}
	close(fd);
}

static void take_stream(int i)
{
	struct digest said[DIGESTS];
	static uint8_t buf[16384];
	ssize_t got;
	int d;

	got = recv(streams[i], buf, sizeof(buf), MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (d = 0; d < DIGESTS; d++) {
		if (got > 0) {
			digests[d].bytes[i] += got;
			digests[d].sum[i] = fnv(digests[d].sum[i], buf, got);
		}
		said[d].bytes = htobe64(digests[d].bytes[i]);
		said[d].sum = htobe64(digests[d].sum[i]);
	}
	if (got > 0)
		return;
	if (!got)
		send(streams[i], said, sizeof(said), MSG_NOSIGNAL);
	close(streams[i]);
	streams[i] = -1;
}

int main(void)
{
	struct pollfd p[3 + STREAMS];
	int i, n;

	setvbuf(stdout, NULL, _IOLBF, 0);
	n = socket(AF_INET, SOCK_DGRAM, 0);
	check(n >= 0, "socket");
	for (i = 0; i < NETS; i++)
		bring_up(n, i);
	close(n);
	probe_fd = open_socket(SOCK_DGRAM, PROBE_PORT);
	join_groups(probe_fd);
	control_fd = open_socket(SOCK_DGRAM, CONTROL_PORT);
	p[0].fd = probe_fd;
	p[1].fd = control_fd;
	echo_fd = open_socket(SOCK_DGRAM, ECHO_PORT);
	p[2].fd = open_socket(SOCK_STREAM, STREAM_PORT);
	check(!listen(p[2].fd, STREAMS), "listen");
	for (i = 0; i < STREAMS; i++)
		streams[i] = -1;
	puts("guest: ready");

	for (;;) {
		for (i = 0; i < 3 + STREAMS; i++) {
			p[i].events = POLLIN;
			if (i >= 3)
				p[i].fd = streams[i - 3];
		}
		if (poll(p, 3 + STREAMS, -1) < 0)
			continue;
		if (p[0].revents)
			take_probes();
		if (p[1].revents)
			answer();
		for (i = 0; i < STREAMS; i++)
			if (p[3 + i].fd >= 0 && p[3 + i].revents)
				take_stream(i);
		if (p[2].revents)
			take_connection(p[2].fd);
	}
}
