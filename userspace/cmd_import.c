// SPDX-License-Identifier: GPL-2.0-only
/*
 * tapmig import SELECTOR [age-ms N] [no-end] [FILE|-]
 * tapmig import check [FILE|-]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <arpa/inet.h>

#include "capture.h"
#include "tool.h"

/* The length of a netlink attribute has 16 bits; a nest is one too. */
#define CHUNK_MAX	32768
/* Well above the headers and the metadata of one chunk. */
#define CHUNK_OVERHEAD	256
/* Messages are filled to this, but a longer frame stays in one. */
#define BATCH_SIZE	131072
#define MESSAGE_MAX	(TAPMIG_FRAME_MAX + \
			 (TAPMIG_FRAME_MAX / CHUNK_MAX + 1) * CHUNK_OVERHEAD)
/* Most packets of a batch. */
#define BATCH_PACKETS	1024

/**
 * struct import - an import under way
 * @hold: where to
 * @fd: the file
 * @name: how to call it
 * @msg: room for messages
 * @nlh: message being filled
 * @starts: offset in it of each packet
 * @count: packets in it
 * @last_of: its number
 * @limit: longest message that the socket takes
 * @packets: packets given to the kernel
 * @bytes: their bytes
 * @read: bytes of the file
 * @last: number of the last of them
 * @accepted: new ones
 * @resent: known ones
 * @late: ones that came after the thaw
 * @progress: for the terminal
 * @in: reader
 */
struct import {
	struct hold hold;
	int fd;
	const char *name;
	char *msg;
	struct nlmsghdr *nlh;
	uint32_t starts[BATCH_PACKETS];
	unsigned int count;
	uint64_t last_of[BATCH_PACKETS];
	size_t limit;
	uint64_t packets;
	uint64_t bytes;
	uint64_t read;
	uint64_t last;
	uint64_t accepted;
	uint64_t resent;
	uint64_t late;
	struct progress progress;
	struct capture in;
};

static int reply_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[TAPMIG_A_TRANSFER_MAX + 1];
	struct import *im = arg;

	nl_parse(nlh, tb, TAPMIG_A_TRANSFER_MAX);
	im->accepted += nl_uint(tb[TAPMIG_A_TRANSFER_ACCEPTED]);
	im->resent += nl_uint(tb[TAPMIG_A_TRANSFER_RESENT]);
	im->late += nl_uint(tb[TAPMIG_A_TRANSFER_LATE]);
	return 0;
}

static void begin_batch(struct import *im, struct nl *nl)
{
	im->nlh = nl_request_in(nl, im->msg, TAPMIG_CMD_PACKET_NEW);
	mnl_attr_put_u32(im->nlh, TAPMIG_A_TRANSFER_HOLD_ID, im->hold.id);
	im->count = 0;
}

/*
 * The kernel takes all of a message or nothing. When the hold is full, what
 * still has room goes in one by one, so that it is known which was the last.
 */
static int send_singly(struct import *im, struct nl *nl)
{
	unsigned int i, count = im->count;
	uint32_t end = im->nlh->nlmsg_len, len;
	struct nlmsghdr *nlh;
	char *one;
	int ret = -ENOBUFS;

	one = malloc(MESSAGE_MAX);
	if (!one)
		return ret;
	for (i = 0; i < count; i++) {
		len = (i + 1 < count ? im->starts[i + 1] : end) -
		      im->starts[i];
		nlh = nl_request_in(nl, one, TAPMIG_CMD_PACKET_NEW);
		mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, im->hold.id);
		memcpy(mnl_nlmsg_get_payload_tail(nlh),
		       im->msg + im->starts[i], len);
		nlh->nlmsg_len += len;
		ret = nl_do_quiet(nl, "import", reply_cb, im, ENOBUFS);
		if (ret)
			break;
		im->packets++;
		im->last = im->last_of[i];
	}
	free(one);
	return ret;
}

static int send_batch(struct import *im, struct nl *nl)
{
	int ret;

	if (!im->count)
		return 0;
	nl->req = im->nlh;
	ret = nl_do_quiet(nl, "import", reply_cb, im, ENOBUFS);
	if (ret == -ENOBUFS) {
		ret = send_singly(im, nl);
	} else if (!ret) {
		im->packets += im->count;
		im->last = im->last_of[im->count - 1];
	}
	im->count = 0;
	return ret;
}

static void put_meta(struct nlmsghdr *nlh, const struct packet *p)
{
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, p->len);
	if (p->has & PACKET_SEGMENT)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUBS, p->subs);
	mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_QUEUE, p->queue);
	if (p->time_ns)
		mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_TIME_NS, p->time_ns);
	if (p->has & PACKET_VNET_HDR)
		mnl_attr_put(nlh, TAPMIG_A_PACKET_VNET_HDR, VNET_HDR_LEN,
			     p->vnet_hdr);
	if (p->has & PACKET_VLAN) {
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_TCI, p->vlan_tci);
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_PROTO,
				 htons(p->vlan_proto));
	}
	if (p->has & PACKET_PROTOCOL)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_PROTOCOL,
				 htons(p->protocol));
	if (p->has & PACKET_HASH)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_HASH, p->hash);
}

static uint32_t put_chunk(struct nlmsghdr *nlh, const struct packet *p,
			  uint32_t at)
{
	uint32_t n = p->len - at < CHUNK_MAX ? p->len - at : CHUNK_MAX;
	struct nlattr *nest;

	nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
	mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, p->seq);
	if (p->has & PACKET_SEGMENT)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUB, p->sub);
	if (!at)
		put_meta(nlh, p);
	else
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, at);
	mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, n, p->data + at);
	mnl_attr_nest_end(nlh, nest);
	return n;
}

/* A message for each chunk, when the socket takes no longer ones. */
static int send_in_chunks(struct import *im, struct nl *nl,
			  const struct packet *p)
{
	uint32_t at = 0;
	int ret;

	while (at < p->len) {
		begin_batch(im, nl);
		at += put_chunk(im->nlh, p, at);
		ret = nl_do_quiet(nl, "import", reply_cb, im, ENOBUFS);
		if (ret)
			return ret;
	}
	im->packets++;
	im->bytes += p->len;
	im->last = p->seq;
	return 0;
}

static int add_packet(struct import *im, struct nl *nl, const struct packet *p)
{
	uint32_t chunks = (p->len + CHUNK_MAX - 1) / CHUNK_MAX, at = 0;
	size_t need = p->len + (size_t)chunks * CHUNK_OVERHEAD;
	int ret;

	if (im->count && (im->count == BATCH_PACKETS ||
			  im->nlh->nlmsg_len + need > BATCH_SIZE)) {
		ret = send_batch(im, nl);
		if (ret)
			return ret;
	}
	if (!im->count) {
		if (need + CHUNK_OVERHEAD > im->limit)
			return send_in_chunks(im, nl, p);
		begin_batch(im, nl);
	}
	im->starts[im->count] = im->nlh->nlmsg_len;
	im->last_of[im->count] = p->seq;
	while (at < p->len)
		at += put_chunk(im->nlh, p, at);
	im->count++;
	im->bytes += p->len;
	return 0;
}

/* The longest frame must fit one message. */
static void raise_limit(struct import *im, struct nl *nl)
{
	int size = MESSAGE_MAX;
	socklen_t len = sizeof(size);

	if (setsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUFFORCE, &size,
		       sizeof(size)))
		setsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUF, &size,
			   sizeof(size));
	if (getsockopt(nl_fd(nl), SOL_SOCKET, SO_SNDBUF, &size, &len))
		size = BATCH_SIZE;
	im->limit = size - 32 < (int)MESSAGE_MAX ? size - 32 : MESSAGE_MAX;
}

/* CAPTURE_PACKET, CAPTURE_END, or CAPTURE_ERROR and a message. */
static enum capture_status next_packet(struct import *im, struct packet *p)
{
	enum capture_status status;
	size_t room;
	ssize_t n;
	void *buf;

	while (!stopped) {
		status = capture_next(&im->in, p);
		if (status == CAPTURE_ERROR)
			err("%s: %s", im->name, im->in.error);
		if (status == CAPTURE_LOCAL)
			continue;	/* Marks of the relay. */
		if (status != CAPTURE_MORE)
			return status;
		buf = capture_space(&im->in, &room);
		if (!buf) {
			err("out of memory");
			return CAPTURE_ERROR;
		}
		n = read(im->fd, buf, room);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err("%s: %s", im->name, strerror(errno));
			return CAPTURE_ERROR;
		}
		im->read += n;
		capture_added(&im->in, n);
	}
	err("interrupted");
	return CAPTURE_ERROR;
}

static int check_link_type(const struct import *im)
{
	bool file_raw = im->in.link_type != LINKTYPE_ETHERNET;
	bool hold_raw = im->hold.link_type == TAPMIG_LINK_TYPE_RAW_IP;

	if (file_raw == hold_raw)
		return 0;
	err("%s has %s frames, hold %u takes %s ones", im->name,
	    link_type_name(im->in.link_type), im->hold.id,
	    hold_raw ? "raw IP" : "Ethernet");
	return -EINVAL;
}

static int transfer(struct import *im, struct nl *nl)
{
	enum capture_status status;
	struct packet p;
	int ret = 0, err2;

	im->count = 0;
	while (!ret) {
		status = next_packet(im, &p);
		if (status == CAPTURE_END)
			break;
		if (status != CAPTURE_PACKET)
			ret = -EINVAL;
		else
			ret = check_link_type(im);
		if (!ret)
			ret = add_packet(im, nl, &p);
		progress_update(&im->progress, im->read, im->packets,
				im->bytes);
	}
	/* What came before the end, or before the bad block. */
	err2 = send_batch(im, nl);
	return ret ? ret : err2;
}

static int simple(struct import *im, struct nl *nl, uint8_t cmd,
		  const char *name, uint16_t type, const uint64_t *v)
{
	struct nlmsghdr *nlh = nl_request(nl, cmd);
	char what[64];

	snprintf(what, sizeof(what), "%s of hold %u", name, im->hold.id);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, im->hold.id);
	if (v)
		mnl_attr_put_u64(nlh, type, *v);
	return nl_do(nl, what, NULL, NULL);
}

static int run(struct import *im, struct nl *nl, const uint64_t *age, bool end)
{
	int ret, err2;

	ret = simple(im, nl, TAPMIG_CMD_IMPORT_BEGIN, "import-begin",
		     TAPMIG_A_TRANSFER_AGE_MS, age);
	if (ret)
		return ret;
	ret = transfer(im, nl);
	progress_end(&im->progress);
	if (ret == -ENOBUFS)
		err("hold %u is full", im->hold.id);
	if (ret)
		err("%s: %llu packets were imported, the last has number %llu",
		    im->name, (unsigned long long)im->packets,
		    (unsigned long long)im->last);
	/* In step it is only if all came. */
	if (!ret)
		ret = simple(im, nl, TAPMIG_CMD_IMPORT_SYNC, "import-sync",
			     TAPMIG_A_TRANSFER_SEQ, &im->last);
	if (end) {
		err2 = simple(im, nl, TAPMIG_CMD_IMPORT_END, "import-end", 0,
			      NULL);
		ret = ret ? ret : err2;
	}
	if (ret)
		return ret;
	out_object(NULL);
	out_u64("id", "id ", COLOR_ID, im->hold.id);
	out_u64("packets", " packets ", COLOR_NONE, im->packets);
	out_u64("accepted", " accepted ", COLOR_NONE, im->accepted);
	out_u64("resent", " resent ", COLOR_NONE, im->resent);
	out_u64("late", " late ", COLOR_NONE, im->late);
	out_line();
	out_object_end();
	return 0;
}

static void print_packet(const struct packet *p)
{
	char hex[2 * VNET_HDR_LEN + 1];
	uint32_t sum = 2166136261u, i;

	if (!opt.json || !opt.stats)
		return;
	/* FNV-1a: enough to tell frames apart. */
	for (i = 0; i < p->len; i++)
		sum = (sum ^ p->data[i]) * 16777619u;
	out_object(NULL);
	out_u64("seq", NULL, COLOR_NONE, p->seq);
	if (p->has & PACKET_SEGMENT) {
		out_u64("sub", NULL, COLOR_NONE, p->sub);
		out_u64("subs", NULL, COLOR_NONE, p->subs);
	}
	out_u64("queue", NULL, COLOR_NONE, p->queue);
	out_u64("time_ns", NULL, COLOR_NONE, p->time_ns);
	out_u64("len", NULL, COLOR_NONE, p->len);
	out_u64("fnv1a", NULL, COLOR_NONE, sum);
	if (p->has & PACKET_VNET_HDR) {
		for (i = 0; i < VNET_HDR_LEN; i++)
			snprintf(hex + 2 * i, 3, "%02x", p->vnet_hdr[i]);
		out_string("vnet_hdr", NULL, COLOR_NONE, hex);
	}
	if (p->has & PACKET_VLAN) {
		out_u64("vlan_tci", NULL, COLOR_NONE, p->vlan_tci);
		out_u64("vlan_proto", NULL, COLOR_NONE, p->vlan_proto);
	}
	if (p->has & PACKET_PROTOCOL)
		out_u64("protocol", NULL, COLOR_NONE, p->protocol);
	if (p->has & PACKET_HASH)
		out_u64("hash", NULL, COLOR_NONE, p->hash);
	if (p->dropped_before)
		out_u64("dropped_before", NULL, COLOR_NONE,
			p->dropped_before);
	out_object_end();
}

/* What an import would take, without a hold. */
static int check(struct import *im)
{
	uint64_t first = 0, dropped = 0;
	enum capture_status status;
	struct packet p;

	out_object(NULL);
	if (opt.json && opt.stats)
		out_array("list");
	while ((status = next_packet(im, &p)) == CAPTURE_PACKET) {
		first = first ? first : p.seq;
		im->last = p.seq;
		im->packets++;
		im->bytes += p.len;
		dropped += p.dropped_before;
		print_packet(&p);
		progress_update(&im->progress, im->read, im->packets,
				im->bytes);
	}
	progress_end(&im->progress);
	if (opt.json && opt.stats)
		out_array_end();
	out_string("format", "format ", COLOR_NONE,
		   im->in.format == CAPTURE_PCAP ? "pcap" : "pcapng");
	out_string("from", " from ", COLOR_NONE,
		   im->in.own ? "tapmig" : "another program");
	out_u64("packets", " packets ", COLOR_NONE, im->packets);
	out_u64("bytes", " bytes ", COLOR_NONE, im->bytes);
	if (im->packets) {
		out_string("link_type", " link-type ", COLOR_NONE,
			   im->in.link_type == LINKTYPE_ETHERNET ? "ethernet" :
			   "raw-ip");
		out_u64("first_seq", " first-seq ", COLOR_NONE, first);
		out_u64("last_seq", " last-seq ", COLOR_NONE, im->last);
	}
	if (dropped)
		out_u64("dropped", " dropped ", COLOR_BAD, dropped);
	out_line();
	out_object_end();
	return status == CAPTURE_END ? 0 : -EINVAL;
}

static int parse(struct args *a, struct import *im, struct selector *sel,
		 bool *check_only, bool *end, uint64_t *age, bool *have_age)
{
	const char *word;
	int ret;

	while (arg_peek(a)) {
		ret = arg_selector(a, sel);
		if (ret < 0)
			return -EINVAL;
		if (ret)
			continue;
		word = arg_next(a);
		ret = 0;
		if (!strcmp(word, "check")) {
			*check_only = true;
		} else if (!strcmp(word, "no-end")) {
			*end = false;
		} else if (!strcmp(word, "age-ms")) {
			*have_age = true;
			ret = arg_u64(a, word, age);
		} else if (arg_peek(a) || (*word == '-' && word[1])) {
			ret = -arg_unknown(word);
		} else if (strcmp(word, "-")) {
			im->name = word;
		}
		if (ret)
			return -EINVAL;
	}
	if (*check_only == (sel->id || sel->dev || sel->label)) {
		err("import: %s", *check_only ? "check needs no hold" :
		    "which hold? (id N, dev IFNAME or label GLOB)");
		return -EINVAL;
	}
	return 0;
}

int cmd_import(struct args *a)
{
	bool check_only = false, end = true, have_age = false;
	struct selector sel = { 0 };
	struct nl nl = { 0 };
	struct import *im;
	uint64_t age = 0;
	struct stat st;
	int ret;

	im = calloc(1, sizeof(*im));
	if (!im) {
		err("out of memory");
		return EXIT_REFUSED;
	}
	capture_init(&im->in);
	im->fd = STDIN_FILENO;
	ret = parse(a, im, &sel, &check_only, &end, &age, &have_age);
	if (ret)
		goto out;
	if (im->name) {
		im->fd = open(im->name, O_RDONLY | O_CLOEXEC);
		if (im->fd < 0) {
			err("%s: %s", im->name, strerror(errno));
			ret = -EINVAL;
			goto out;
		}
	} else {
		im->name = "standard input";
		if (isatty(im->fd)) {
			err("import: packets are not read from a terminal");
			ret = -EINVAL;
			goto out;
		}
	}
	catch_stop();
	progress_start(&im->progress, check_only ? "checked" : "imported",
		       !fstat(im->fd, &st) && S_ISREG(st.st_mode) ?
		       st.st_size : 0);
	if (check_only) {
		ret = check(im);
		goto out;
	}
	im->msg = malloc(MESSAGE_MAX + BATCH_SIZE);
	if (!im->msg) {
		err("out of memory");
		ret = -ENOMEM;
		goto out;
	}
	ret = nl_open(&nl);
	if (ret)
		goto out;
	raise_limit(im, &nl);
	ret = selector_resolve_one(&nl, &sel, &im->hold);
	if (!ret)
		ret = run(im, &nl, have_age ? &age : NULL, end);
out:
	if (im->fd > STDIN_FILENO)
		close(im->fd);
	capture_free(&im->in);
	nl_close(&nl);
	free(im->msg);
	free(im);
	return exit_code(ret);
}
