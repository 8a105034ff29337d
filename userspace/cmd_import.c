// SPDX-License-Identifier: GPL-2.0-only
/*
 * tapmig import SELECTOR [age-ms N] [no-end] [FILE|-]
 * tapmig import check [FILE|-]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "capture.h"
#include "tool.h"
#include "transfer.h"

/**
 * struct import - an import under way
 * @hold: where to
 * @fd: the file
 * @name: how to call it
 * @out: gives packets to the kernel
 * @read: bytes of the file
 * @progress: for the terminal
 * @has_age: @age_ms was given
 * @age_ms: how long ago the source froze, when the tool was started
 * @started_ns: when that was
 * @begun: import-begin was done
 * @failed: -errno of one that was refused
 * @in: reader
 */
struct import {
	struct hold hold;
	int fd;
	const char *name;
	struct packet_batch out;
	uint64_t read;
	struct progress progress;
	bool has_age;
	uint64_t age_ms;
	uint64_t started_ns;
	bool begun;
	int failed;
	struct capture in;
};

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

/* Once it is known that there is a capture: a wrong file changes nothing. */
static int begin(struct import *im, struct nl *nl)
{
	uint64_t age;
	int ret;

	if (im->begun)
		return 0;
	age = (clock_ns(CLOCK_MONOTONIC) - im->started_ns) / 1000000;
	if (__builtin_add_overflow(im->age_ms, age, &age))
		age = UINT64_MAX;
	ret = simple(im, nl, TAPMIG_CMD_IMPORT_BEGIN, "import-begin",
		     TAPMIG_A_TRANSFER_AGE_MS, im->has_age ? &age : NULL);
	im->begun = !ret;
	im->failed = ret;
	return ret;
}

static bool takes(const struct import *im, unsigned int link_type)
{
	return im->hold.link_type == TAPMIG_LINK_TYPE_RAW_IP ?
	       link_type_raw_ip(link_type) : link_type == LINKTYPE_ETHERNET;
}

/* How many link types are told of, and how many of these the hold takes. */
static uint32_t link_types(const struct import *im, uint32_t *taken)
{
	uint32_t i;

	*taken = 0;
	if (!im->in.sections)
		return 0;
	if (im->in.format == CAPTURE_PCAP) {
		*taken = takes(im, im->in.link_type);
		return 1;
	}
	for (i = 0; i < im->in.interfaces; i++)
		*taken += takes(im, im->in.interface[i].link_type);
	return i;
}

/* Will there be packets for the hold, as far as is known before the first. */
static bool promising(const struct import *im)
{
	uint32_t taken;

	return link_types(im, &taken) == taken && taken;
}

/* CAPTURE_PACKET, CAPTURE_END, or CAPTURE_ERROR and a message. */
static enum capture_status next_packet(struct import *im, struct nl *nl,
				       struct packet *p)
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
		/* The first packet may be long in coming. */
		if (nl && promising(im) && begin(im, nl))
			return CAPTURE_ERROR;
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

static int check_link_type(const struct import *im, unsigned int link_type)
{
	if (takes(im, link_type))
		return 0;
	err("%s has %s frames, hold %u takes %s ones", im->name,
	    link_type_name(link_type), im->hold.id,
	    im->hold.link_type == TAPMIG_LINK_TYPE_RAW_IP ? "raw IP" :
							    "Ethernet");
	return -EINVAL;
}

/* No packet has come; that there are none must be said of such as it takes. */
static int check_empty(const struct import *im)
{
	uint32_t taken;

	if (im->begun || !link_types(im, &taken) || taken)
		return 0;
	return check_link_type(im, im->in.format == CAPTURE_PCAP ?
				   im->in.link_type :
				   im->in.interface[0].link_type);
}

static int transfer(struct import *im, struct nl *nl)
{
	enum capture_status status;
	struct packet p;
	int ret = 0, err2;

	while (!ret) {
		status = next_packet(im, nl, &p);
		if (status == CAPTURE_ERROR)
			ret = im->failed ? im->failed : -EINVAL;
		else if (status == CAPTURE_PACKET)
			ret = check_link_type(im, im->in.link_type);
		else
			ret = check_empty(im);
		if (!ret)
			ret = begin(im, nl);
		if (status == CAPTURE_END)
			break;
		if (!ret)
			ret = packet_batch_add(&im->out, nl, &p);
		progress_update(&im->progress, im->read, im->out.packets,
				im->out.bytes);
	}
	/* What came before the end, or before the bad block. */
	err2 = packet_batch_flush(&im->out, nl);
	return ret ? ret : err2;
}

/* What the kernel would refuse, before the input has been waited for. */
static int check_state(const struct import *im)
{
	if (im->hold.state != TAPMIG_STATE_ARMED &&
	    im->hold.state != TAPMIG_STATE_DEAD)
		return 0;
	return hold_not_frozen(&im->hold, "import into");
}

static int run(struct import *im, struct nl *nl, bool end)
{
	int ret, err2;

	ret = transfer(im, nl);
	progress_end(&im->progress);
	if (!im->begun)
		return ret;
	if (ret == -ENOBUFS)
		err("hold %u is full", im->hold.id);
	if (ret)
		err("%s: %llu packets were imported, the last has number %llu",
		    im->name, (unsigned long long)im->out.packets,
		    (unsigned long long)im->out.last);
	/* In step it is only if all came. */
	if (!ret)
		ret = simple(im, nl, TAPMIG_CMD_IMPORT_SYNC, "import-sync",
			     TAPMIG_A_TRANSFER_SEQ, &im->out.last);
	if (end) {
		err2 = simple(im, nl, TAPMIG_CMD_IMPORT_END, "import-end", 0,
			      NULL);
		ret = ret ? ret : err2;
	}
	if (ret)
		return ret;
	out_object(NULL);
	out_u64("id", "id ", COLOR_ID, im->hold.id);
	out_u64("packets", " packets ", COLOR_NONE, im->out.packets);
	out_u64("accepted", " accepted ", COLOR_NONE, im->out.accepted);
	out_u64("resent", " resent ", COLOR_NONE, im->out.resent);
	out_u64("late", " late ", COLOR_NONE, im->out.late);
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
	static const char *const format_names[] = {
		[CAPTURE_UNKNOWN] = "unknown",
		[CAPTURE_PCAPNG] = "pcapng",
		[CAPTURE_PCAP] = "pcap",
	};
	uint64_t first = 0, dropped = 0;
	enum capture_status status;
	struct packet p;

	out_object(NULL);
	if (opt.json && opt.stats)
		out_array("list");
	while ((status = next_packet(im, NULL, &p)) == CAPTURE_PACKET) {
		first = first ? first : p.seq;
		im->out.last = p.seq;
		im->out.packets++;
		im->out.bytes += p.len;
		dropped += p.dropped_before;
		print_packet(&p);
		progress_update(&im->progress, im->read, im->out.packets,
				im->out.bytes);
	}
	progress_end(&im->progress);
	if (opt.json && opt.stats)
		out_array_end();
	out_string("format", "format ", COLOR_NONE,
		   format_names[im->in.format]);
	if (im->in.format != CAPTURE_UNKNOWN)
		out_string("from", " from ", COLOR_NONE,
			   im->in.own ? "tapmig" : "another program");
	out_u64("packets", " packets ", COLOR_NONE, im->out.packets);
	out_u64("bytes", " bytes ", COLOR_NONE, im->out.bytes);
	if (im->out.packets) {
		out_string("link_type", " link-type ", COLOR_NONE,
			   im->in.link_type == LINKTYPE_ETHERNET ? "ethernet" :
			   "raw-ip");
		out_u64("first_seq", " first-seq ", COLOR_NONE, first);
		out_u64("last_seq", " last-seq ", COLOR_NONE, im->out.last);
	}
	if (dropped)
		out_u64("dropped", " dropped ", COLOR_BAD, dropped);
	out_line();
	out_object_end();
	return status == CAPTURE_END ? 0 : -EINVAL;
}

static int parse(struct args *a, struct import *im, struct selector *sel,
		 bool *check_only, bool *end)
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
			im->has_age = true;
			ret = arg_u64(a, word, &im->age_ms);
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
	bool check_only = false, end = true;
	struct selector sel = { 0 };
	struct nl nl = { 0 };
	struct import *im;
	struct stat st;
	int ret;

	im = calloc(1, sizeof(*im));
	if (!im) {
		err("out of memory");
		return EXIT_REFUSED;
	}
	capture_init(&im->in);
	im->started_ns = clock_ns(CLOCK_MONOTONIC);
	im->fd = STDIN_FILENO;
	ret = parse(a, im, &sel, &check_only, &end);
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
	ret = nl_open(&nl);
	if (ret)
		goto out;
	packet_batch_socket(&nl);
	ret = selector_resolve_one(&nl, &sel, &im->hold);
	if (!ret)
		ret = check_state(im);
	if (!ret)
		ret = packet_batch_init(&im->out, im->hold.id);
	if (!ret)
		ret = run(im, &nl, end);
out:
	if (im->fd > STDIN_FILENO)
		close(im->fd);
	capture_free(&im->in);
	nl_close(&nl);
	packet_batch_free(&im->out);
	free(im);
	return exit_code(ret);
}
