// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests to the family and their answers. What the kernel has to say about
 * a refusal is always printed, with the name of the attribute it is about.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/genetlink.h>

#include "tool.h"

/* Newer than the headers of the oldest system this builds on. */
#define ATTR_MISS_TYPE	5
/* Bytes of events that wait to be read, as SO_RCVBUFFORCE takes them. */
#define EVENTS_ROOM	(256 * 1024)
/* Read at once, before other things have their turn. */
#define EVENTS_TURN	64
/* The group "notify" of nlctrl, which has this number of old. */
#define FAMILIES_GROUP	GENL_ID_CTRL

static const char unloaded[] = "the tapmig module was unloaded";

static const char *const transfer_attr_names[] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = "hold-id",
	[TAPMIG_A_TRANSFER_AGE_MS] = "age-ms",
	[TAPMIG_A_TRANSFER_SEQ] = "seq",
	[TAPMIG_A_TRANSFER_PACKET] = "packet",
};

static const char *const packet_attr_names[] = {
	[TAPMIG_A_PACKET_SEQ] = "seq",
	[TAPMIG_A_PACKET_SUB] = "sub",
	[TAPMIG_A_PACKET_SUBS] = "subs",
	[TAPMIG_A_PACKET_QUEUE] = "queue",
	[TAPMIG_A_PACKET_TIME_NS] = "time-ns",
	[TAPMIG_A_PACKET_LEN] = "len",
	[TAPMIG_A_PACKET_OFFSET] = "offset",
	[TAPMIG_A_PACKET_DATA] = "data",
	[TAPMIG_A_PACKET_VNET_HDR] = "vnet-hdr",
	[TAPMIG_A_PACKET_VLAN_TCI] = "vlan-tci",
	[TAPMIG_A_PACKET_VLAN_PROTO] = "vlan-proto",
	[TAPMIG_A_PACKET_PROTOCOL] = "protocol",
	[TAPMIG_A_PACKET_HASH] = "hash",
	[TAPMIG_A_PACKET_DROPPED_BEFORE] = "dropped-before",
};

uint8_t nl_cmd(const struct nlmsghdr *nlh)
{
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(nlh);

	return g->cmd;
}

static const char *attr_name(uint8_t cmd, unsigned int type)
{
	const char *name = NULL;

	if (cmd < TAPMIG_CMD_PACKET_GET)
		name = hold_attr_name(type);
	else if (type < ARRAY_SIZE(transfer_attr_names))
		name = transfer_attr_names[type];
	return name ? name : "?";
}

/* The attribute of a request at an offset, with the nest around it. */
static void attr_at(const struct nlmsghdr *req, uint32_t offset, char *buf,
		    size_t len)
{
	const char *at = (const char *)req + offset, *name;
	const struct nlattr *a, *b;
	uint8_t cmd = nl_cmd(req);
	unsigned int type;

	mnl_attr_for_each(a, req, GENL_HDRLEN) {
		name = attr_name(cmd, mnl_attr_get_type(a));
		/* The offset may be that of the payload. */
		if (at <= (const char *)mnl_attr_get_payload(a)) {
			snprintf(buf, len, " (attribute %s)", name);
			return;
		}
		if (at >= (const char *)a + a->nla_len)
			continue;
		if (cmd < TAPMIG_CMD_PACKET_GET ||
		    mnl_attr_get_type(a) != TAPMIG_A_TRANSFER_PACKET)
			continue;
		mnl_attr_for_each_nested(b, a) {
			if (at >= (const char *)b + b->nla_len)
				continue;
			type = mnl_attr_get_type(b);
			if (type < ARRAY_SIZE(packet_attr_names) &&
			    packet_attr_names[type])
				name = packet_attr_names[type];
			snprintf(buf, len, " (attribute packet.%s)", name);
			return;
		}
	}
	*buf = 0;
}

/* What went wrong: printed, or kept for who wants to say it himself. */
static void complain(struct nl *nl, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void complain(struct nl *nl, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(nl->error, sizeof(nl->error), fmt, ap);
	va_end(ap);
	if (!nl->silent)
		err("%s", nl->error);
}

/* Tells an error or a warning of the kernel. */
static void report(struct nl *nl, const char *what, int error,
		   const struct nlmsghdr *nlh, size_t skip, bool have_tlvs)
{
	char where[64] = "", text[256] = "";
	const struct nlattr *a;
	size_t len, size = mnl_nlmsg_get_payload_len(nlh);
	__u32 type;

	if (have_tlvs && skip <= size) {
		mnl_attr_for_each(a, nlh, skip) {
			len = mnl_attr_get_payload_len(a);
			switch (mnl_attr_get_type(a)) {
			case NLMSGERR_ATTR_MSG:
				snprintf(text, sizeof(text), "%.*s", (int)len,
					 (char *)mnl_attr_get_payload(a));
				break;
			case NLMSGERR_ATTR_OFFS:
				if (len >= 4 &&
				    mnl_attr_get_u32(a) < nl->req->nlmsg_len)
					attr_at(nl->req, mnl_attr_get_u32(a),
						where, sizeof(where));
				break;
			case ATTR_MISS_TYPE:
				if (len < 4)
					break;
				type = mnl_attr_get_u32(a);
				snprintf(where, sizeof(where),
					 " (attribute %s is missing)",
					 attr_name(nl_cmd(nl->req), type));
				break;
			}
		}
	}
	if (error)
		complain(nl, "%s: %s%s%s%s", what, text, where,
			 *text || *where ? ": " : "", strerror(error));
	else if (*text)
		complain(nl, "%s: warning: %s%s", what, text, where);
}

static int nl_send(struct nl *nl, const char *what)
{
	int ret;

	nl->interrupted = false;
	if (mnl_socket_sendto(nl->mnl, nl->req, nl->req->nlmsg_len) >= 0)
		return 0;
	ret = -errno;
	complain(nl, "%s: sending to the kernel: %s", what, strerror(errno));
	return ret;
}

/* An error or the end of a dump: what it says, as a negative errno. */
static int nl_status(struct nl *nl, const char *what,
		     const struct nlmsghdr *nlh, int quiet)
{
	size_t skip = sizeof(int), size = mnl_nlmsg_get_payload_len(nlh);
	const struct nlmsgerr *e;
	int error = 0;

	if (nlh->nlmsg_type == NLMSG_ERROR) {
		if (size < sizeof(*e))
			return -EBADMSG;
		e = mnl_nlmsg_get_payload(nlh);
		error = -e->error;
		skip = sizeof(*e);
		if (error && !(nlh->nlmsg_flags & NLM_F_CAPPED) &&
		    e->msg.nlmsg_len > sizeof(e->msg))
			skip += MNL_ALIGN(e->msg.nlmsg_len) - sizeof(e->msg);
	} else if (size >= sizeof(error)) {
		memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
		error = error < 0 ? -error : 0;
	}
	if (!error || error != quiet)
		report(nl, what, error, nlh, skip,
		       nlh->nlmsg_flags & NLM_F_ACK_TLVS);
	return -error;
}

/*
 * The next message of the kernel; 0: of somebody else, who has privileges over
 * the network namespace only, and is not to be heard.
 */
static ssize_t nl_receive(struct nl *nl)
{
	struct iovec iov = { nl->buf, NL_BUFFER_SIZE };
	struct sockaddr_nl from = { 0 };
	struct msghdr msg = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t n = recvmsg(nl_fd(nl), &msg, 0);

	if (n >= 0 && (msg.msg_flags & MSG_TRUNC)) {
		errno = ENOSPC;
		return -1;
	}
	return n > 0 && from.nl_pid ? 0 : n;
}

/* What the socket has next; *more: the answer has not ended. */
static int nl_take(struct nl *nl, const char *what, nl_cb cb, void *arg,
		   int quiet, bool *more)
{
	const struct nlmsghdr *nlh;
	int len, ret;
	ssize_t n;

	*more = false;
	do {
		n = nl_receive(nl);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		ret = -errno;
		complain(nl, "%s: receiving from the kernel: %s", what,
			 strerror(errno));
		return ret;
	}
	nlh = (const struct nlmsghdr *)nl->buf;
	for (len = n; mnl_nlmsg_ok(nlh, len);
	     nlh = mnl_nlmsg_next(nlh, &len)) {
		if (nlh->nlmsg_seq != nl->seq)
			continue;
		if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
			nl->interrupted = true;
		if (nlh->nlmsg_type == NLMSG_ERROR ||
		    nlh->nlmsg_type == NLMSG_DONE)
			return nl_status(nl, what, nlh, quiet);
		if (nlh->nlmsg_type < NLMSG_MIN_TYPE ||
		    mnl_nlmsg_get_payload_len(nlh) < GENL_HDRLEN)
			continue;
		ret = cb ? cb(nlh, arg) : 0;
		if (ret)
			return ret;
	}
	*more = true;
	return 0;
}

static int nl_run(struct nl *nl, const char *what, nl_cb cb, void *arg,
		  int quiet)
{
	bool more = true;
	int ret;

	ret = nl_send(nl, what);
	while (!ret && more)
		ret = nl_take(nl, what, cb, arg, quiet, &more);
	return ret;
}

int nl_dump_begin(struct nl *nl, const char *what)
{
	nl->req->nlmsg_flags |= NLM_F_DUMP;
	return nl_send(nl, what);
}

int nl_dump_step(struct nl *nl, const char *what, nl_cb cb, void *arg)
{
	bool more;
	int ret;

	ret = nl_take(nl, what, cb, arg, 0, &more);
	return ret ? ret : more;
}

int nl_do_silent(struct nl *nl, const char *what, nl_cb cb, void *arg)
{
	bool silent = nl->silent;
	int ret;

	nl->silent = true;
	ret = nl_do(nl, what, cb, arg);
	nl->silent = silent;
	return ret;
}

struct nlmsghdr *nl_request_in(struct nl *nl, void *buf, uint8_t cmd)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g;

	nlh->nlmsg_type = nl->family;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = ++nl->seq;
	g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	g->cmd = cmd;
	g->version = TAPMIG_FAMILY_VERSION;
	nl->req = nlh;
	return nlh;
}

struct nlmsghdr *nl_request(struct nl *nl, uint8_t cmd)
{
	return nl_request_in(nl, nl->reqbuf, cmd);
}

int nl_do_quiet(struct nl *nl, const char *what, nl_cb cb, void *arg,
		int quiet)
{
	nl->req->nlmsg_flags |= NLM_F_ACK;
	return nl_run(nl, what, cb, arg, quiet);
}

int nl_do(struct nl *nl, const char *what, nl_cb cb, void *arg)
{
	return nl_do_quiet(nl, what, cb, arg, 0);
}

int nl_dump(struct nl *nl, const char *what, nl_cb cb, void *arg)
{
	nl->req->nlmsg_flags |= NLM_F_DUMP;
	return nl_run(nl, what, cb, arg, 0);
}

int nl_dump_holds(struct nl *nl, const char *what, nl_cb cb, void *arg)
{
	int ret;

	nl_request(nl, TAPMIG_CMD_HOLD_GET)->nlmsg_flags |= NLM_F_DUMP;
	ret = nl_run(nl, what, cb, arg, ENOENT);
	/* No hold can be missed: it is the family that there is not. */
	if (ret != -ENOENT)
		return ret;
	complain(nl, "%s: %s", what, unloaded);
	return -EPROTONOSUPPORT;
}

static void family_groups(struct nl *nl, const struct nlattr *groups)
{
	const struct nlattr *tb[CTRL_ATTR_MCAST_GRP_MAX + 1];
	const struct nlattr *a;

	mnl_attr_for_each_nested(a, groups) {
		nl_parse_nested(a, tb, CTRL_ATTR_MCAST_GRP_MAX);
		if (!tb[CTRL_ATTR_MCAST_GRP_NAME] ||
		    !tb[CTRL_ATTR_MCAST_GRP_ID])
			continue;
		if (!strcmp(mnl_attr_get_str(tb[CTRL_ATTR_MCAST_GRP_NAME]),
			    TAPMIG_MCGRP_EVENTS))
			nl->group = nl_uint(tb[CTRL_ATTR_MCAST_GRP_ID]);
	}
}

static int family_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *tb[CTRL_ATTR_MAX + 1];
	struct nl *nl = arg;

	nl_parse(nlh, tb, CTRL_ATTR_MAX);
	nl->family = nl_uint(tb[CTRL_ATTR_FAMILY_ID]);
	nl->version = nl_uint(tb[CTRL_ATTR_VERSION]);
	if (tb[CTRL_ATTR_MCAST_GROUPS])
		family_groups(nl, tb[CTRL_ATTR_MCAST_GROUPS]);
	return 0;
}

static int nl_socket(struct nl *nl)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int one = 1, ret;

	memset(nl, 0, sizeof(*nl));
	nl->message_max = sizeof(nl->reqbuf);
	nl->buf = malloc(NL_BUFFER_SIZE);
	if (!nl->buf) {
		err("out of memory");
		return -ENOMEM;
	}
	nl->mnl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	/* Connected to the kernel, it takes no messages to it of others. */
	if (!nl->mnl || mnl_socket_bind(nl->mnl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    connect(nl_fd(nl), (struct sockaddr *)&kernel, sizeof(kernel))) {
		ret = -errno;
		err("netlink socket: %s", strerror(errno));
		nl_close(nl);
		return ret;
	}
	nl->portid = mnl_socket_get_portid(nl->mnl);
	mnl_socket_setsockopt(nl->mnl, NETLINK_EXT_ACK, &one, sizeof(one));
	/* A refused import need not come back with its packets. */
	mnl_socket_setsockopt(nl->mnl, NETLINK_CAP_ACK, &one, sizeof(one));
	return 0;
}

int nl_open_like(struct nl *nl, const struct nl *like)
{
	int ret = nl_socket(nl);

	if (ret)
		return ret;
	nl->family = like->family;
	nl->version = like->version;
	nl->group = like->group;
	return 0;
}

int nl_open_any(struct nl *nl)
{
	struct nlmsghdr *nlh;
	int ret;

	ret = nl_socket(nl);
	if (ret)
		return ret;
	nl->family = GENL_ID_CTRL;
	nlh = nl_request(nl, CTRL_CMD_GETFAMILY);
	((struct genlmsghdr *)mnl_nlmsg_get_payload(nlh))->version = 1;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, TAPMIG_FAMILY_NAME);
	nl->family = 0;
	ret = nl_do_quiet(nl, "netlink family", family_cb, nl, ENOENT);
	if (ret)
		nl_close(nl);
	return ret;
}

int nl_open(struct nl *nl)
{
	int ret = nl_open_any(nl);

	if (ret == -ENOENT) {
		err("the tapmig module is not loaded (modprobe tapmig)");
		return -EPROTONOSUPPORT;
	}
	if (ret)
		return ret;
	if (nl->version == TAPMIG_FAMILY_VERSION)
		return 0;
	err("the tapmig module has version %u of the netlink family, this tool (%s) version %u: install both from one release",
	    nl->version, TAPMIG_VERSION, TAPMIG_FAMILY_VERSION);
	nl_close(nl);
	return -EPROTO;
}

void nl_close(struct nl *nl)
{
	if (nl->mnl)
		mnl_socket_close(nl->mnl);
	free(nl->buf);
	memset(nl, 0, sizeof(*nl));
}

int nl_fd(const struct nl *nl)
{
	return mnl_socket_get_fd(nl->mnl);
}

int nl_events_join(struct nl *nl)
{
	int room = EVENTS_ROOM, families = FAMILIES_GROUP, ret;

	/* It takes a privilege; without it there is the usual room. */
	setsockopt(nl_fd(nl), SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	fcntl(nl_fd(nl), F_SETFL, O_NONBLOCK);
	/* First who tells that there will be no more of the others. */
	if (!mnl_socket_setsockopt(nl->mnl, NETLINK_ADD_MEMBERSHIP, &families,
				   sizeof(families)) &&
	    !mnl_socket_setsockopt(nl->mnl, NETLINK_ADD_MEMBERSHIP, &nl->group,
				   sizeof(nl->group)))
		return 0;
	ret = -errno;
	err("events of the tapmig module: %s", strerror(errno));
	return ret;
}

/*
 * The kernel says once that the socket was full, and from then on drops what
 * comes, without a word, until all that was queued has been read.
 */
static void drain(struct nl *nl)
{
	ssize_t n;

	do {
		n = nl_receive(nl);
	} while (n >= 0 || errno == ENOBUFS || errno == EINTR);
}

/* With its module the family goes, and with that its group. */
static bool is_unload(const struct nl *nl, const struct nlmsghdr *nlh)
{
	const struct nlattr *tb[CTRL_ATTR_MAX + 1];

	if (nlh->nlmsg_type != GENL_ID_CTRL ||
	    nl_cmd(nlh) != CTRL_CMD_DELFAMILY)
		return false;
	nl_parse(nlh, tb, CTRL_ATTR_MAX);
	return nl_uint(tb[CTRL_ATTR_FAMILY_ID]) == nl->family;
}

static int event(struct nl *nl, size_t n, nl_cb cb, void *arg)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)nl->buf;
	int len, ret;

	for (len = n; mnl_nlmsg_ok(nlh, len);
	     nlh = mnl_nlmsg_next(nlh, &len)) {
		if (mnl_nlmsg_get_payload_len(nlh) < GENL_HDRLEN)
			continue;
		if (is_unload(nl, nlh)) {
			err("%s", unloaded);
			return -EPROTONOSUPPORT;
		}
		if (nlh->nlmsg_type != nl->family)
			continue;
		ret = cb(nlh, arg);
		if (ret)
			return ret;
	}
	return 0;
}

int nl_events_read(struct nl *nl, nl_cb cb, void *arg)
{
	unsigned int i;
	ssize_t n;
	int ret;

	for (i = 0; i < EVENTS_TURN; i++) {
		n = nl_receive(nl);
		if (n < 0)
			break;
		ret = event(nl, n, cb, arg);
		if (ret)
			return ret;
	}
	if (i == EVENTS_TURN || errno == EAGAIN || errno == EINTR)
		return 0;
	ret = -errno;
	if (ret == -ENOBUFS)
		drain(nl);
	else
		err("events of the tapmig module: %s", strerror(errno));
	return ret;
}

int nl_parse(const struct nlmsghdr *nlh, const struct nlattr **tb,
	     unsigned int max)
{
	const struct nlattr *a;

	memset(tb, 0, sizeof(*tb) * (max + 1));
	mnl_attr_for_each(a, nlh, GENL_HDRLEN)
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
	return 0;
}

int nl_parse_nested(const struct nlattr *nest, const struct nlattr **tb,
		    unsigned int max)
{
	const struct nlattr *a;

	memset(tb, 0, sizeof(*tb) * (max + 1));
	mnl_attr_for_each_nested(a, nest)
		if (mnl_attr_get_type(a) <= max)
			tb[mnl_attr_get_type(a)] = a;
	return 0;
}

uint64_t nl_uint(const struct nlattr *attr)
{
	if (!attr)
		return 0;
	switch (mnl_attr_get_payload_len(attr)) {
	case 1:
		return mnl_attr_get_u8(attr);
	case 2:
		return mnl_attr_get_u16(attr);
	case 4:
		return mnl_attr_get_u32(attr);
	case 8:
		return mnl_attr_get_u64(attr);
	}
	return 0;
}

int exit_code(int ret)
{
	if (ret >= 0)
		return EXIT_OK;
	return ret == -ENOENT ? EXIT_NO_HOLD : EXIT_REFUSED;
}
