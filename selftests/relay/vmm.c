// SPDX-License-Identifier: GPL-2.0-only
/*
 * rig vmm IFNAME BRIDGE QUEUES LOG
 *
 * A stand-in for a virtual machine monitor: opens a TAP, puts it into a
 * bridge, makes holds in the order in which QEMU would, and notes in the file
 * LOG what its guest gets. Commands:
 *
 *	run, stop		the guest: reads the queues
 *	take-batch		vhost-net takes many frames of the first queue
 *				at once, and has room for one
 *	give-back		it gives the rest back
 *	announce		tell the switches where the guest is
 *	hold ROLE LABEL [NAME=VALUE]...
 *				create one; members of struct tapmig_create
 *	many COUNT		so many armed sources, without a queue
 *	prepare, freeze [detached], thaw, discard
 *	close			the last fd of the hold
 *	set NAME=VALUE...	members of struct tapmig_set
 *	info			NAME=VALUE...
 *	wait NAME OP VALUE	until INFO says so: OP is = or >=, VALUE a
 *				number, the name of a state, or of a flag
 *	wait-got N		until the guest has got N chunks
 *	got			how many it has got
 *	wait-ended FLOWS	until it has the ends of that many flows, and
 *				the queues are empty
 *	readable		until there is something to read
 */
#include <fcntl.h>
#include <pthread.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../vq.h"
#include "rig.h"

#define VNET_LEN	sizeof(struct virtio_net_hdr_mrg_rxbuf)
/* Only a fault is meant to meet it: machines are slow. */
#define STUCK_MS	60000

static struct nic nic;
static struct log *seen;
static int hold = -1, stop_fd;
static pthread_t reader_thread;
static bool running;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static __u64 ended;
static bool idle;

/* --- the guest ------------------------------------------------------------ */

static bool checksum_ok(const struct virtio_net_hdr *vnet,
			const struct iphdr *ip, const __u8 *l4, size_t len)
{
	__u8 pseudo[4] = { 0, ip->protocol, len >> 8, len };
	__u32 sum;

	if (csum_fold(csum_add(0, ip, sizeof(*ip))))
		return false;
	sum = csum_add(csum_add(0, &ip->saddr, 8), pseudo, sizeof(pseudo));
	/* To be completed by the guest: has that of the pseudo header. */
	if (vnet->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return vnet->csum_start == l4 - (__u8 *)ip + ETH_HLEN;
	if (vnet->gso_type)
		return false;
	return !csum_fold(csum_add(sum, l4, len));
}

static bool chunk_ok(const struct chunk *c, size_t room)
{
	__u32 flow = ntohl(c->flow), seq = ntohl(c->seq), len = ntohl(c->len);
	const __u8 *p = (const void *)c;
	size_t i;

	if (c->magic != htonl(CHUNK_MAGIC) || flow >= MAX_FLOWS ||
	    len < sizeof(*c) || len > room ||
	    ntohl(c->sum) != chunk_sum(flow, seq, len))
		return false;
	for (i = sizeof(*c); i < len; i++)
		if (p[i] != fill(seq, i))
			return false;
	return true;
}

static void got_chunk(const struct chunk *c)
{
	__u32 flow = ntohl(c->flow), seq = ntohl(c->seq);
	struct record *r = &seen->record[seen->records];

	if (seq & CHUNK_END) {
		ended |= 1ULL << flow;
		return;
	}
	if (seen->records == LOG_RECORDS)
		die("the log is full");
	r->flow = flow;
	r->seq = seq;
	__atomic_store_n(&seen->records, seen->records + 1, __ATOMIC_RELEASE);
}

/* False: one of ours that does not check out. */
static bool got_frame(const __u8 *buf, size_t len)
{
	const struct virtio_net_hdr *vnet = (const void *)buf;
	const struct ethhdr *eth = (const void *)(buf + VNET_LEN);
	const struct iphdr *ip = (const void *)(eth + 1);
	const __u8 *l4 = (const void *)(ip + 1);
	size_t room, hlen, at;

	if (len < VNET_LEN + ETH_HLEN + sizeof(*ip) ||
	    memcmp(eth->h_source, client_mac, ETH_ALEN))
		return true;
	len -= VNET_LEN + ETH_HLEN;
	room = ntohs(ip->tot_len);
	hlen = sizeof(*ip) + (ip->protocol == IPPROTO_TCP ?
			      sizeof(struct tcphdr) : sizeof(struct udphdr));
	/* A short frame can have been filled up on its way. */
	if (eth->h_proto != htons(ETH_P_IP) || room < hlen || room > len ||
	    !checksum_ok(vnet, ip, l4, room - sizeof(*ip)))
		return false;
	for (at = hlen; at < room;) {
		const struct chunk *c = (const void *)ip + at;

		if (room - at < sizeof(*c) || !chunk_ok(c, room - at))
			return false;
		got_chunk(c);
		at += ntohl(c->len);
	}
	return true;
}

/* Some frames of a queue: the others have their turn, too. */
static void read_queue(int fd)
{
	static __u8 buf[FRAME_MAX];
	ssize_t len;
	int n;

	for (n = 0; n < 32; n++) {
		len = read(fd, buf, sizeof(buf));
		if (len < 0 && errno == EAGAIN)
			return;
		if (len < 0)
			die("cannot read the queue");
		pthread_mutex_lock(&lock);
		if (!got_frame(buf, len))
			seen->damaged++;
		pthread_cond_broadcast(&progress);
		pthread_mutex_unlock(&lock);
	}
}

static void *reader(void *unused)
{
	struct pollfd p[MAX_NIC_QUEUES + 1];
	int q, ret;

	for (q = 0; q < nic.queues; q++)
		p[q] = (struct pollfd) { .fd = nic.fd[q], .events = POLLIN };
	p[q] = (struct pollfd) { .fd = stop_fd, .events = POLLIN };
	for (;;) {
		ret = poll(p, nic.queues + 1, idle ? -1 : 0);
		pthread_mutex_lock(&lock);
		idle = !ret;
		pthread_cond_broadcast(&progress);
		pthread_mutex_unlock(&lock);
		if (p[nic.queues].revents)
			return NULL;
		for (q = 0; q < nic.queues; q++)
			if (p[q].revents)
				read_queue(nic.fd[q]);
	}
}

static void run_guest(void)
{
	idle = false;
	if (pthread_create(&reader_thread, NULL, reader, NULL))
		die("no thread");
	running = true;
}

static void stop_guest(void)
{
	__u64 n = 1;

	__atomic_store_n(&seen->stopped, 1, __ATOMIC_RELEASE);
	if (!running)
		return;
	if (write(stop_fd, &n, sizeof(n)) < 0)
		die("eventfd");
	pthread_join(reader_thread, NULL);
	if (read(stop_fd, &n, sizeof(n)) < 0)
		die("eventfd");
	running = false;
}

/* Waits with the lock until @cond; false if nothing happens any more. */
#define wait_progress(cond)						\
({									\
	struct timespec __ts;						\
	bool __ok = true;						\
									\
	pthread_mutex_lock(&lock);					\
	clock_gettime(CLOCK_REALTIME, &__ts);				\
	__ts.tv_sec += STUCK_MS / 1000;					\
	while (!(cond) && __ok)						\
		__ok = !pthread_cond_timedwait(&progress, &lock, &__ts);\
	pthread_mutex_unlock(&lock);					\
	__ok;								\
})

static struct vq vq;

static int take_batch(void)
{
	struct pollfd p = { .events = POLLIN };
	const __u8 *data;
	size_t len;

	if (!vq_open(&vq))
		return -ENODEV;
	p.fd = vq.call;
	vq_post(&vq, 1);
	vq_backend(&vq, nic.fd[0]);
	while (!vq_next(&vq, &data, &len))
		if (poll(&p, 1, STUCK_MS) <= 0)
			return -ETIMEDOUT;
	vq_flush(&vq);
	return 0;
}

static void announce(void)
{
	__u8 buf[VNET_LEN + ETH_ZLEN] = { 0 };
	struct ethhdr *eth = (void *)(buf + VNET_LEN);
	/* A reverse ARP request: who am I. */
	static const __u8 rarp[] = { 0, 1, 8, 0, ETH_ALEN, 4, 0, 3 };
	__u8 *p = (void *)(eth + 1);

	memset(eth->h_dest, 0xff, ETH_ALEN);
	memcpy(eth->h_source, guest_mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_RARP);
	memcpy(p, rarp, sizeof(rarp));
	memcpy(p + 8, guest_mac, ETH_ALEN);
	memcpy(p + 18, guest_mac, ETH_ALEN);
	/* EIO: the device has no carrier yet; the caller tries again. */
	if (write(nic.fd[0], buf, sizeof(buf)) < 0 && errno != EIO)
		die("announcement");
}

/* --- holds ---------------------------------------------------------------- */

static const char * const states[] = {
	"armed", "frozen", "thawing", "live", "dead"
};

static const struct {
	const char *name;
	__u32 flag;
} flags[] = {
	{ "detached", TAPMIG_HOLD_FLAGS_DETACHED },
	{ "pinned", TAPMIG_HOLD_FLAGS_PINNED },
	{ "peer", TAPMIG_HOLD_FLAGS_PEER },
	{ "due", TAPMIG_HOLD_FLAGS_DUE },
	{ "importing", TAPMIG_HOLD_FLAGS_IMPORTING },
};

#define MEMBER(m)	{ #m, offsetof(struct tapmig_info, m),		\
			  sizeof(((struct tapmig_info *)0)->m) }

static const struct {
	const char *name;
	size_t at;
	size_t size;
} members[] = {
	MEMBER(id), MEMBER(state), MEMBER(role), MEMBER(flags),
	MEMBER(held_packets), MEMBER(held_bytes), MEMBER(pending_imports),
	MEMBER(highest_seq), MEMBER(committed_seq), MEMBER(captured),
	MEMBER(dropped), MEMBER(trimmed), MEMBER(exported), MEMBER(imported),
	MEMBER(resent), MEMBER(flooded), MEMBER(late), MEMBER(late_skipped),
	MEMBER(own_address), MEMBER(segmented), MEMBER(delivered),
	MEMBER(lost), MEMBER(discarded), MEMBER(frozen_ns),
	MEMBER(thaw_wait_us),
};

static __u64 member(const struct tapmig_info *info, int i)
{
	__u32 narrow;
	__u64 wide;

	if (members[i].size == sizeof(narrow)) {
		memcpy(&narrow, (const char *)info + members[i].at,
		       sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, (const char *)info + members[i].at, sizeof(wide));
	return wide;
}

static bool info_says(const char *name, bool least, const char *value)
{
	struct tapmig_info info = info_of(hold);
	unsigned int i;
	__u64 v;

	if (!strcmp(name, "state"))
		return !strcmp(states[info.state], value);
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		if (!strcmp(name, flags[i].name))
			return !!(info.flags & flags[i].flag) == number(value);
	for (i = 0; i < ARRAY_SIZE(members); i++) {
		if (strcmp(name, members[i].name))
			continue;
		v = member(&info, i);
		return least ? v >= number(value) : v == number(value);
	}
	die("no member '%s'", name);
}

/* Counters change without an event, hence the short naps. */
static bool wait_info(const char *name, const char *op, const char *value)
{
	struct pollfd p = { .fd = hold, .events = POLLIN };
	int64_t end = now_ms() + STUCK_MS;

	while (!info_says(name, !strcmp(op, ">="), value)) {
		if (now_ms() > end)
			return false;
		p.revents = 0;
		poll(&p, 1, 5);
		if (p.revents & POLLHUP)
			poll(NULL, 0, 5);
	}
	return true;
}

static void show_info(void)
{
	struct tapmig_info info = info_of(hold);
	unsigned int i;

	printf("ok");
	for (i = 0; i < ARRAY_SIZE(members); i++)
		printf(" %s=%llu", members[i].name,
		       (unsigned long long)member(&info, i));
	answer("%s", "");
}

static bool word_is(char *word, const char *name, __u64 *value)
{
	size_t len = strlen(name);

	if (strncmp(word, name, len) || word[len] != '=')
		return false;
	*value = number(word + len + 1);
	return true;
}

static int create_hold(char **words, int n)
{
	struct tapmig_create c = {
		.size = sizeof(c),
		.abi_version = TAPMIG_ABI_VERSION,
		.role = !strcmp(words[1], "standby") ? TAPMIG_ROLE_STANDBY :
						       TAPMIG_ROLE_SOURCE,
		.max_frozen_ms = 600000,
		.wait_import_ms = 60000,
	};
	int i, ret;
	__u64 v;

	memcpy(c.mac, guest_mac, ETH_ALEN);
	strncpy(c.label, words[2], TAPMIG_LABEL_MAX);
	for (i = 3; i < n; i++) {
		if (word_is(words[i], "max_frozen_ms", &v))
			c.max_frozen_ms = v;
		else if (word_is(words[i], "wait_import_ms", &v))
			c.wait_import_ms = v;
		else if (word_is(words[i], "max_packets", &v))
			c.max_packets = v;
		else if (word_is(words[i], "max_bytes", &v))
			c.max_bytes = v;
		else if (word_is(words[i], "dedup", &v))
			c.dedup = v;
		else if (word_is(words[i], "mac", &v))
			memset(c.mac, 0, ETH_ALEN);
		else
			die("hold: '%s'", words[i]);
	}
	hold = hold_create(&c);
	if (hold < 0)
		return hold;
	for (i = 0; i < nic.queues; i++) {
		ret = hold_add(hold, nic.fd[i], i);
		if (ret)
			return ret;
	}
	return c.id;
}

/* The first of them is the one that commands are for. */
static int create_many(int count)
{
	struct rlimit files = { count + 100, count + 100 };
	int i, fd;

	if (setrlimit(RLIMIT_NOFILE, &files))
		return -errno;
	for (i = 0; i < count; i++) {
		struct tapmig_create c = {
			.size = sizeof(c),
			.abi_version = TAPMIG_ABI_VERSION,
			.role = TAPMIG_ROLE_SOURCE,
		};

		snprintf((char *)c.label, sizeof(c.label), "many/%d", i);
		fd = hold_create(&c);
		if (fd < 0)
			return fd;
		if (!i)
			hold = fd;
	}
	return 0;
}

static int change_hold(char **words, int n)
{
	struct tapmig_set s = { .mask = 0 };
	__u64 v;
	int i;

	for (i = 1; i < n; i++) {
		if (word_is(words[i], "max_frozen_ms", &v)) {
			s.mask |= TAPMIG_SET_MAX_FROZEN_MS;
			s.max_frozen_ms = v;
		} else if (word_is(words[i], "wait_import_ms", &v)) {
			s.mask |= TAPMIG_SET_WAIT_IMPORT_MS;
			s.wait_import_ms = v;
		} else if (word_is(words[i], "max_packets", &v)) {
			s.mask |= TAPMIG_SET_MAX_PACKETS;
			s.max_packets = v;
		} else if (word_is(words[i], "max_bytes", &v)) {
			s.mask |= TAPMIG_SET_MAX_BYTES;
			s.max_bytes = v;
		} else {
			die("set: '%s'", words[i]);
		}
	}
	return hold_set(hold, &s);
}

/* --- the monitor ---------------------------------------------------------- */

static int first_byte(const char *path)
{
	FILE *f = fopen(path, "r");
	int c = f ? fgetc(f) : 0;

	if (f)
		fclose(f);
	return c;
}

static void wait_bridge_port(const char *name)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/class/net/%s/brport/state", name);
	/* 3: forwarding. */
	if (!busywait(first_byte(path) == '3'))
		die("%s does not get to forward", name);
}

static void open_log(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_TRUNC, 0600);

	if (fd < 0 || ftruncate(fd, sizeof(*seen)))
		die("cannot write %s", path);
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (seen == MAP_FAILED)
		die("cannot map %s", path);
	close(fd);
}

static void done(int ret)
{
	if (ret < 0)
		answer("error %d %s", -ret, strerror(-ret));
	else
		answer("ok %d", ret);
}

static void obey(char **words, int n)
{
	const char *what = words[0];

	if (!strcmp(what, "run")) {
		run_guest();
		done(0);
	} else if (!strcmp(what, "stop")) {
		stop_guest();
		done(0);
	} else if (!strcmp(what, "take-batch")) {
		done(take_batch());
	} else if (!strcmp(what, "give-back")) {
		vq_backend(&vq, -1);
		done(0);
	} else if (!strcmp(what, "announce")) {
		announce();
		done(0);
	} else if (!strcmp(what, "hold") && n >= 3) {
		done(create_hold(words, n));
	} else if (!strcmp(what, "many") && n == 2) {
		done(create_many(number(words[1])));
	} else if (!strcmp(what, "prepare")) {
		done(hold_prepare(hold, 0));
	} else if (!strcmp(what, "freeze")) {
		done(hold_freeze_flags(hold, n > 1 ? TAPMIG_FREEZE_DETACHED :
						     0));
	} else if (!strcmp(what, "thaw")) {
		done(hold_thaw(hold));
	} else if (!strcmp(what, "discard")) {
		done(hold_discard(hold));
	} else if (!strcmp(what, "close")) {
		done(close(hold) ? -errno : 0);
		hold = -1;
	} else if (!strcmp(what, "set")) {
		done(change_hold(words, n));
	} else if (!strcmp(what, "info")) {
		show_info();
	} else if (!strcmp(what, "wait") && n == 4) {
		done(wait_info(words[1], words[2], words[3]) ? 0 : -ETIMEDOUT);
	} else if (!strcmp(what, "wait-got") && n == 2) {
		done(wait_progress(seen->records >= number(words[1])) ?
		     0 : -ETIMEDOUT);
	} else if (!strcmp(what, "got")) {
		answer("ok %u", seen->records);
	} else if (!strcmp(what, "wait-ended") && n == 2) {
		__u64 all = (1ULL << number(words[1])) - 1;

		done(wait_progress(ended == all && idle) ? 0 : -ETIMEDOUT);
	} else if (!strcmp(what, "readable")) {
		done(nic_poll(&nic, STUCK_MS) ? 0 : -ETIMEDOUT);
	} else {
		answer("error unknown command '%s'", what);
	}
}

int vmm_main(int argc, char **argv)
{
	char *words[16];
	int n;

	if (argc != 4)
		die("usage: rig vmm IFNAME BRIDGE QUEUES LOG");
	n = number(argv[2]);
	stop_fd = eventfd(0, EFD_CLOEXEC);
	if (stop_fd < 0 || n < 1 || n > MAX_NIC_QUEUES)
		die("queues, or eventfd");
	open_log(argv[3]);
	if (!nic_open_named(&nic, argv[0], TAP, VNET_LEN, n) ||
	    nic_offload(&nic, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))
		die("cannot open %s", argv[0]);
	link_master(argv[0], argv[1]);
	wait_bridge_port(argv[0]);
	answer("ok");
	while ((n = command(words, 16)))
		obey(words, n);
	return 0;
}
