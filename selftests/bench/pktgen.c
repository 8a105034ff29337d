// SPDX-License-Identifier: GPL-2.0-only
/*
 * The kernel's packet generator. Its threads are one for each processor; a
 * sender is one of the devices that a thread serves in turn. Before Linux 6.7
 * it keeps a reference to the frame that it sends, and waits for the last one
 * to be read: see pktgen_waits().
 */
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>

#include "bench.h"

#define DIR_PKTGEN	"/proc/net/pktgen"
#define PKTGEN_MAGIC	0xbe9be955

static pthread_t starter;

int cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

static void command(const char *file, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void command(const char *file, const char *fmt, ...)
{
	char path[64 + IFNAMSIZ], text[128];
	va_list ap;
	int fd;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), DIR_PKTGEN "/%s", file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("pktgen: '%s' to %s", text, path);
	close(fd);
}

static bool no_senders(void)
{
	DIR *dir = opendir(DIR_PKTGEN);
	bool none = true;
	struct dirent *d;

	if (!dir)
		die("cannot open " DIR_PKTGEN);
	while ((d = readdir(dir)))
		none = none && !strchr(d->d_name, '@');
	closedir(dir);
	return none;
}

/**
 * pktgen_clear - remove the senders
 * @p: the senders
 *
 * On a busy machine the threads do so later. A thread without a sender is not
 * asked to: it might remove the next one.
 */
void pktgen_clear(struct pktgen *p)
{
	char thread[32];
	int i;

	for (i = 0; i < p->senders && i < cpus(); i++) {
		snprintf(thread, sizeof(thread), "kpktgend_%d", i);
		command(thread, "rem_device_all\n");
	}
	if (!busywait(no_senders()))
		die("pktgen does not remove its senders");
}

/**
 * pktgen_setup - make the senders
 * @p: what they are
 */
void pktgen_setup(struct pktgen *p)
{
	char thread[32], dev[IFNAMSIZ + 16];
	int i;

	for (i = 0; i < p->senders; i++) {
		snprintf(thread, sizeof(thread), "kpktgend_%d", i % cpus());
		snprintf(dev, sizeof(dev), "%s@%d", p->ifname, i);
		command(thread, "add_device %s\n", dev);
		command(dev, "xmit_mode %s\n",
			p->qdisc ? "queue_xmit" : "start_xmit");
		command(dev, "count %llu\n", p->count);
		command(dev, "pkt_size %d\n", p->size);
		command(dev, "delay 0\n");
		/* It would wait for the last frame to be read. */
		command(dev, "flag !SHARED\n");
		command(dev, "dst 10.9.0.2\n");
		command(dev, "dst_mac 02:00:00:00:09:02\n");
		command(dev, "udp_src_min %d\n", 1000 + i);
		command(dev, "udp_src_max %d\n", 1000 + i);
	}
}

static void *start_thread(void *arg)
{
	/* Returns when all have sent what they were to send. */
	command("pgctrl", "start\n");
	return NULL;
}

static __u64 field(const char *text, const char *name)
{
	const char *s = strstr(text, name);

	if (!s)
		die("pktgen does not tell '%s'", name);
	return strtoull(s + strlen(name), NULL, 10);
}

/* What pktgen says of a sender. */
static void sender_text(const char *ifname, int i, char *text, size_t room)
{
	char path[64 + IFNAMSIZ];
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), DIR_PKTGEN "/%s@%d", ifname, i);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, text, room - 1);
	if (fd < 0 || len < 0)
		die("cannot read %s", path);
	close(fd);
	text[len] = '\0';
}

/* Figures of all senders; false: not all of them have ended. */
static bool results(struct pktgen *p)
{
	__u64 first = ~0ULL, last = 0, v;
	char text[4096];
	int i;

	p->sent = 0;
	p->errors = 0;
	for (i = 0; i < p->senders; i++) {
		sender_text(p->ifname, i, text, sizeof(text));
		if (!strstr(text, " usec, "))
			return false;
		p->sent += field(text, "pkts-sofar: ");
		p->errors += field(text, "errors: ");
		v = field(text, "started: ");
		first = v < first ? v : first;
		v = field(text, "stopped: ");
		last = v > last ? v : last;
	}
	p->ns = (last - first) * 1000.0;
	return true;
}

/* On a busy machine "start" may return before they have even begun. */
static void wait_results(struct pktgen *p)
{
	if (!busywait(results(p)))
		die("pktgen does not come to an end");
}

/**
 * pktgen_go - have all senders send what they are to send
 * @p: the senders
 */
void pktgen_go(struct pktgen *p)
{
	start_thread(NULL);
	wait_results(p);
}

/**
 * pktgen_begin - have all senders begin
 * @p: the senders
 */
void pktgen_begin(struct pktgen *p)
{
	if (pthread_create(&starter, NULL, start_thread, p))
		die("pthread_create");
}

/**
 * pktgen_stop - have all senders end that began with pktgen_begin()
 * @p: the senders
 */
void pktgen_stop(struct pktgen *p)
{
	command("pgctrl", "stop\n");
	pthread_join(starter, NULL);
	wait_results(p);
}

/**
 * pktgen_waits - would pktgen wait until the last frame is read
 * @ifname: device to send to
 *
 * Return: true on a kernel that does not know what tells it not to.
 */
bool pktgen_waits(const char *ifname)
{
	struct pktgen p = { .ifname = ifname, .senders = 1 };
	static int waits = -1;
	char text[4096];

	if (waits < 0) {
		command("kpktgend_0", "add_device %s@0\n", ifname);
		sender_text(ifname, 0, text, sizeof(text));
		pktgen_clear(&p);
		waits = !strstr(text, "SHARED");
	}
	return waits;
}

/**
 * pktgen_burst - send some frames
 * @ifname: device
 * @senders: how many send
 * @size: of a frame
 * @qdisc: through the qdisc
 * @frames: how many, of all senders together
 *
 * Return: nanoseconds per frame.
 */
double pktgen_burst(const char *ifname, int senders, int size, bool qdisc,
		    __u64 frames)
{
	struct pktgen p = {
		.ifname = ifname,
		.senders = senders,
		.size = size,
		.qdisc = qdisc,
		.count = frames / senders,
	};

	if (pktgen_waits(ifname))
		die("this kernel's pktgen waits for its last frame to be read");
	pktgen_setup(&p);
	pktgen_go(&p);
	pktgen_clear(&p);
	if (p.errors || p.sent != p.count * senders)
		die("pktgen sent %llu of %llu frames to %s, %llu errors",
		    p.sent, p.count * senders, ifname, p.errors);
	return p.ns / p.sent;
}

/**
 * pktgen_frame - look at a frame of pktgen
 * @frame: the frame
 * @len: its length
 * @seq: set to its number
 *
 * Return: false if it is not a frame of pktgen.
 */
bool pktgen_frame(const void *frame, size_t len, __u32 *seq)
{
	__be32 word[2];

	if (len < ETH_HLEN + 28 + 16)
		return false;
	memcpy(word, (const __u8 *)frame + ETH_HLEN + 28, sizeof(word));
	*seq = ntohl(word[1]);
	return ntohl(word[0]) == PKTGEN_MAGIC;
}

/**
 * pktgen_mark - have a frame look like one of pktgen
 * @frame: the frame, of at least 58 bytes
 * @seq: its number
 */
void pktgen_mark(void *frame, __u32 seq)
{
	__be32 word[2] = { htonl(PKTGEN_MAGIC), htonl(seq) };

	memcpy((__u8 *)frame + ETH_HLEN + 28, word, sizeof(word));
}
