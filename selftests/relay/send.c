// SPDX-License-Identifier: GPL-2.0-only
/*
 * rig send IFNAME RATE FLOW...
 *
 * Sends numbered frames to the guest, one flow after the other, RATE a second
 * in all. FLOW is KIND:SIZE with SIZE bytes of payload: u, unicast; b,
 * broadcast; m, multicast (all three UDP); or g:N, a TCP packet that the
 * network card is to cut into N segments. Commands:
 *
 *	announced		has an announcement of the guest been seen
 *	go			begin, or go on
 *	pause			stop for a while
 *	rate N			another rate; 0: as fast as it goes
 *	wait N			until N more frames were sent
 *	only N			N more frames, then pause
 *	sent			how many frames were sent
 *	follow LOG		none as long as the guest of that log is far
 *				behind, until it is stopped
 *	mute, unmute		leave out the flows that reach all hosts; how
 *				many frames of those were sent
 *	end FILE		send the ends of all flows, write how many
 *				chunks of each were sent: NUMBER KIND CHUNKS
 *				a line
 */
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <linux/if_packet.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "rig.h"

#define VNET_LEN	sizeof(struct virtio_net_hdr)
/* A queue has room for twice as many frames. */
#define BEHIND		500

/**
 * struct flow - frames that must stay in order
 * @kind: u, b, m or g
 * @size: bytes of payload, or segments
 * @next: number of the next chunk
 * @stream: bytes sent, for the sequence number of TCP
 */
struct flow {
	char kind;
	unsigned int size;
	__u32 next;
	__u32 stream;
};

static struct flow flows[MAX_FLOWS];
static unsigned int nflows;
static int tx;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool going, ending, muted;
static __u64 interval_ns, sent, last;
static __u32 chunks;
static const struct log *followed;

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static size_t put_chunk(__u8 *p, struct flow *f, size_t len, bool end)
{
	__u32 flow = f - flows, seq = f->next | (end ? CHUNK_END : 0);
	struct chunk c = {
		.magic = htonl(CHUNK_MAGIC),
		.flow = htonl(flow),
		.seq = htonl(seq),
		.len = htonl(len),
		.sum = htonl(chunk_sum(flow, seq, (__u32)len)),
	};
	size_t i;

	if (!end) {
		f->next++;
		chunks++;
	}
	memcpy(p, &c, sizeof(c));
	for (i = sizeof(c); i < len; i++)
		p[i] = fill(seq, i);
	return len;
}

static void put_headers(__u8 *buf, struct flow *f, size_t payload)
{
	struct virtio_net_hdr *vnet = (void *)buf;
	struct ethhdr *eth = (void *)(buf + VNET_LEN);
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	bool is_tcp = f->kind == 'g';
	size_t l4 = is_tcp ? sizeof(*tcp) : sizeof(*udp);
	__u8 pseudo[4] = { 0, is_tcp ? IPPROTO_TCP : IPPROTO_UDP,
			   (l4 + payload) >> 8, l4 + payload };
	__u16 check;

	memset(buf, 0, VNET_LEN + ETH_HLEN + sizeof(*ip) + l4);
	memcpy(eth->h_dest, guest_mac, ETH_ALEN);
	memcpy(eth->h_source, client_mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_IP);
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->id = htons(f->next);
	ip->protocol = pseudo[1];
	ip->tot_len = htons(sizeof(*ip) + l4 + payload);
	ip->saddr = htonl(0xc0000201);
	ip->daddr = htonl(0xc0000202);
	if (f->kind == 'b') {
		memset(eth->h_dest, 0xff, ETH_ALEN);
		ip->daddr = htonl(0xc00002ff);
	}
	if (f->kind == 'm') {
		memcpy(eth->h_dest, "\x01\x00\x5e\x01\x02\x03", ETH_ALEN);
		ip->daddr = htonl(0xef010203);
	}
	ip->check = htons(csum_fold(csum_add(0, ip, sizeof(*ip))));

	vnet->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	vnet->csum_start = ETH_HLEN + sizeof(*ip);
	vnet->hdr_len = vnet->csum_start + l4;
	check = ~csum_fold(csum_add(csum_add(0, &ip->saddr, 8), pseudo,
				    sizeof(pseudo)));
	if (is_tcp) {
		tcp->source = htons(20000 + (f - flows));
		tcp->dest = htons(80);
		tcp->seq = htonl(f->stream);
		tcp->ack_seq = htonl(1);
		tcp->doff = 5;
		tcp->ack = 1;
		tcp->window = htons(500);
		tcp->check = htons(check);
		vnet->csum_offset = offsetof(struct tcphdr, check);
		if (payload > SEGMENT) {
			vnet->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
			vnet->gso_size = SEGMENT;
		}
		f->stream += payload;
	} else {
		udp->source = htons(20000 + (f - flows));
		udp->dest = htons(7007);
		udp->len = htons(sizeof(*udp) + payload);
		udp->check = htons(check);
		vnet->csum_offset = offsetof(struct udphdr, check);
	}
}

static void send_frame(struct flow *f, bool end)
{
	static __u8 buf[FRAME_MAX];
	size_t head = VNET_LEN + ETH_HLEN + sizeof(struct iphdr);
	size_t len = 0, i;
	int ret;

	head += f->kind == 'g' ? sizeof(struct tcphdr) :
				 sizeof(struct udphdr);
	if (f->kind == 'g')
		for (i = 0; i < (end ? 1 : f->size); i++)
			len += put_chunk(buf + head + len, f, SEGMENT, end);
	else
		len = put_chunk(buf + head, f, f->size, end);
	put_headers(buf, f, len);
	do {
		ret = tx_send(tx, buf, head + len);
	} while (ret == -ENOBUFS && !poll(NULL, 0, 1));
	errno = -ret;
	if (ret)
		die("sending %zu bytes", head + len);
}

/* What nobody reads for a while would be lost, and no fault of a hold. */
static bool far_behind(void)
{
	__s32 unread;

	if (!followed || __atomic_load_n(&followed->stopped, __ATOMIC_ACQUIRE))
		return false;
	unread = chunks - __atomic_load_n(&followed->records, __ATOMIC_ACQUIRE);
	return unread > BEHIND;
}

static void *sender(void *unused)
{
	unsigned int next_flow = 0;
	__u64 next = 0, now;
	struct timespec ts;

	/* A frame queued on one processor can be overtaken on another. */
	pin_cpu(1);
	pthread_mutex_lock(&lock);
	for (;;) {
		while (!going && !ending) {
			next = 0;
			pthread_cond_wait(&changed, &lock);
		}
		if (ending)
			break;
		/* A late frame delays the others: no bursts. */
		now = now_ns();
		if (next < now)
			next = now;
		next += interval_ns;
		pthread_mutex_unlock(&lock);
		if (interval_ns) {
			ts.tv_sec = next / 1000000000;
			ts.tv_nsec = next % 1000000000;
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts,
					NULL);
		}
		pthread_mutex_lock(&lock);
		if (!going || ending || far_behind())
			continue;
		while (muted && strchr("bm", flows[next_flow].kind))
			next_flow = (next_flow + 1) % nflows;
		send_frame(&flows[next_flow], false);
		next_flow = (next_flow + 1) % nflows;
		if (++sent == last)
			going = false;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static int packet_socket(const char *name, __u16 proto)
{
	struct sockaddr_ll ll = {
		.sll_family = AF_PACKET,
		.sll_ifindex = if_nametoindex(name),
		.sll_protocol = htons(proto),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		die("cannot listen on %s", name);
	return fd;
}

static void add_flow(const char *spec)
{
	struct flow *f = &flows[nflows++];

	if (nflows > MAX_FLOWS || !strchr("ubmg", spec[0]) || spec[1] != ':')
		die("flow '%s'", spec);
	f->kind = spec[0];
	f->size = number(spec + 2);
	if (f->kind == 'g' ? !f->size || f->size > 45 :
			     f->size < sizeof(struct chunk) || f->size > 1460)
		die("flow '%s': the size", spec);
}

static void end_all(const char *path)
{
	FILE *out = fopen(path, "w");
	unsigned int i;

	if (!out)
		die("cannot write %s", path);
	for (i = 0; i < nflows; i++) {
		send_frame(&flows[i], true);
		fprintf(out, "%u %c %u\n", i, flows[i].kind, flows[i].next);
	}
	if (fclose(out))
		die("cannot write %s", path);
}

static __u64 flooded(void)
{
	unsigned int i;
	__u64 n = 0;

	for (i = 0; i < nflows; i++)
		if (strchr("bm", flows[i].kind))
			n += flows[i].next;
	return n;
}

/* As all commands, with the lock. */
static void follow(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	followed = mmap(NULL, sizeof(*followed), PROT_READ, MAP_SHARED, fd, 0);
	if (followed == MAP_FAILED)
		die("cannot read %s", path);
	close(fd);
}

static void set_rate(__u64 rate)
{
	interval_ns = rate ? 1000000000 / rate : 0;
}

int send_main(int argc, char **argv)
{
	char *words[4], junk[256];
	pthread_t thread;
	__u64 target;
	int n, rarp, i;

	if (argc < 3)
		die("usage: rig send IFNAME RATE FLOW...");
	rarp = packet_socket(argv[0], ETH_P_RARP);
	tx = tx_open(if_nametoindex(argv[0]), TX_VNET);
	set_rate(number(argv[1]));
	for (i = 2; i < argc; i++)
		add_flow(argv[i]);
	if (pthread_create(&thread, NULL, sender, NULL))
		die("no thread");
	answer("ok");
	while ((n = command(words, 4))) {
		pthread_mutex_lock(&lock);
		if (!strcmp(words[0], "announced")) {
			struct pollfd p = { .fd = rarp, .events = POLLIN };

			i = poll(&p, 1, 50);
			while (i && recv(rarp, junk, sizeof(junk),
					 MSG_DONTWAIT) > 0)
				;
			answer("ok %d", i);
		} else if (!strcmp(words[0], "go")) {
			going = true;
			answer("ok");
		} else if (!strcmp(words[0], "pause")) {
			going = false;
			answer("ok %llu", (unsigned long long)sent);
		} else if (!strcmp(words[0], "rate") && n == 2) {
			set_rate(number(words[1]));
			answer("ok");
		} else if (!strcmp(words[0], "wait") && n == 2) {
			target = sent + number(words[1]);
			going = true;
			pthread_cond_broadcast(&changed);
			while (sent < target)
				pthread_cond_wait(&changed, &lock);
			answer("ok %llu", (unsigned long long)sent);
		} else if (!strcmp(words[0], "only") && n == 2) {
			last = sent + number(words[1]);
			going = true;
			pthread_cond_broadcast(&changed);
			while (going)
				pthread_cond_wait(&changed, &lock);
			answer("ok %llu", (unsigned long long)sent);
		} else if (!strcmp(words[0], "mute") ||
			   !strcmp(words[0], "unmute")) {
			muted = words[0][0] == 'm';
			answer("ok %llu", (unsigned long long)flooded());
		} else if (!strcmp(words[0], "follow") && n == 2) {
			follow(words[1]);
			answer("ok");
		} else if (!strcmp(words[0], "sent")) {
			answer("ok %llu", (unsigned long long)sent);
		} else if (!strcmp(words[0], "end") && n == 2) {
			ending = true;
			pthread_cond_broadcast(&changed);
			pthread_mutex_unlock(&lock);
			pthread_join(thread, NULL);
			end_all(words[1]);
			answer("ok %llu", (unsigned long long)sent);
			exit(0);
		} else {
			answer("error unknown command '%s'", words[0]);
		}
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}
