// SPDX-License-Identifier: GPL-2.0-only
/*
 * The smallest relay: takes packets out of the hold of one host and puts them
 * into that of the other, over a netlink socket in each host's namespace. The
 * attributes of an export are those of an import, so messages are passed on
 * as they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <linux/tapmig.h>

#include "demo.h"

#define BUFFER_SIZE	131072
/*
 * A flooded frame does not reach both hosts at the same instant. What arrives
 * that shortly after the freeze is with the source, and comes from there.
 */
#define FLOOD_SKEW_MS	10

/**
 * struct end - one side of the relay
 * @vmm: whose hold
 * @nl: netlink socket on its host
 * @family: number of the netlink family
 * @seq: of the last request
 * @out: a request
 * @in: its answer
 */
struct end {
	struct vmm *vmm;
	struct mnl_socket *nl;
	__u16 family;
	__u32 seq;
	char out[BUFFER_SIZE];
	char in[BUFFER_SIZE];
};

/**
 * struct relay - a pair of holds
 * @source: where packets come from
 * @dest: where they go
 * @last: number of the last one that the destination has
 * @moved: how many it has got
 */
struct relay {
	struct end source;
	struct end dest;
	__u64 last;
	__u32 moved;
};

static struct nlmsghdr *request(struct end *e, __u16 type, __u8 cmd,
				__u8 version, __u16 flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(e->out);
	struct genlmsghdr *g;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++e->seq;
	g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	g->cmd = cmd;
	g->version = version;
	return nlh;
}

/* A refusal ends the demo, with what the kernel has to say about it. */
static int refused(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlmsgerr *e = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *a;

	if (!e->error)
		return MNL_CB_STOP;
	mnl_attr_for_each(a, nlh, sizeof(*e))
		if (mnl_attr_get_type(a) == NLMSGERR_ATTR_MSG)
			die("netlink: %s: %s", mnl_attr_get_str(a),
			    strerror(-e->error));
	die("netlink: %s", strerror(-e->error));
}

/* A dump has ended, by an error or not. */
static int dumped(const struct nlmsghdr *nlh, void *arg)
{
	int error = 0;

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(error))
		memcpy(&error, mnl_nlmsg_get_payload(nlh), sizeof(error));
	if (error < 0)
		die("export: %s", strerror(-error));
	return MNL_CB_STOP;
}

static void talk(struct end *e, struct nlmsghdr *nlh, mnl_cb_t cb, void *arg)
{
	mnl_cb_t control[NLMSG_MIN_TYPE] = {
		[NLMSG_ERROR] = refused,
		[NLMSG_DONE] = dumped,
	};
	unsigned int port = mnl_socket_get_portid(e->nl);
	ssize_t n;
	int ret;

	check(mnl_socket_sendto(e->nl, nlh, nlh->nlmsg_len) > 0,
	      "sending to netlink");
	do {
		n = mnl_socket_recvfrom(e->nl, e->in, sizeof(e->in));
		check(n > 0, "receiving from netlink");
		ret = mnl_cb_run2(e->in, n, nlh->nlmsg_seq, port, cb, arg,
				  control, NLMSG_MIN_TYPE);
		check(ret >= 0, "netlink");
	} while (ret > 0);
}

static int family_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	__u16 *family = arg;

	mnl_attr_for_each(a, nlh, GENL_HDRLEN)
		if (mnl_attr_get_type(a) == CTRL_ATTR_FAMILY_ID)
			*family = mnl_attr_get_u16(a);
	return MNL_CB_OK;
}

static void end_open(struct end *e, struct vmm *v)
{
	struct nlmsghdr *nlh;
	int on = 1;

	e->vmm = v;
	enter(v->host);
	e->nl = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	check(e->nl, "netlink socket");
	check(!mnl_socket_bind(e->nl, 0, MNL_SOCKET_AUTOPID), "netlink bind");
	mnl_socket_setsockopt(e->nl, NETLINK_EXT_ACK, &on, sizeof(on));
	mnl_socket_setsockopt(e->nl, NETLINK_CAP_ACK, &on, sizeof(on));

	nlh = request(e, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1, NLM_F_ACK);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, TAPMIG_FAMILY_NAME);
	talk(e, nlh, family_cb, &e->family);
}

static struct nlmsghdr *transfer(struct end *e, __u8 cmd, __u16 flags)
{
	struct nlmsghdr *nlh = request(e, e->family, cmd,
				       TAPMIG_FAMILY_VERSION, flags);

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, e->vmm->hold_id);
	return nlh;
}

static void mark_peer(struct end *e)
{
	struct nlmsghdr *nlh = request(e, e->family, TAPMIG_CMD_HOLD_SET,
				       TAPMIG_FAMILY_VERSION, NLM_F_ACK);

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, e->vmm->hold_id);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS, TAPMIG_HOLD_FLAGS_PEER);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS_MASK,
			 TAPMIG_HOLD_FLAGS_PEER);
	talk(e, nlh, NULL, NULL);
}

/**
 * relay_pair - join two holds
 * @source: VMM that the guest leaves
 * @dest: VMM that it goes to
 *
 * Return: the relay.
 */
struct relay *relay_pair(struct vmm *source, struct vmm *dest)
{
	struct relay *r = calloc(1, sizeof(*r));

	check(r, "relay");
	end_open(&r->source, source);
	end_open(&r->dest, dest);
	mark_peer(&r->source);
	mark_peer(&r->dest);
	return r;
}

/**
 * relay_begin - the source is frozen: its packets will come
 * @r: the relay
 */
void relay_begin(struct relay *r)
{
	struct tapmig_info info;
	struct nlmsghdr *nlh;
	__u64 age;

	hold_info(r->source.vmm, &info);
	age = info.frozen_for_ms;
	age -= age < FLOOD_SKEW_MS ? age : FLOOD_SKEW_MS;
	nlh = transfer(&r->dest, TAPMIG_CMD_IMPORT_BEGIN, NLM_F_ACK);
	mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_AGE_MS, age);
	talk(&r->dest, nlh, NULL, NULL);
}

static int accepted_cb(const struct nlmsghdr *nlh, void *arg)
{
	const struct nlattr *a;
	struct relay *r = arg;

	mnl_attr_for_each(a, nlh, GENL_HDRLEN)
		if (mnl_attr_get_type(a) == TAPMIG_A_TRANSFER_ACCEPTED)
			r->moved += mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

static int packets_cb(const struct nlmsghdr *nlh, void *arg)
{
	size_t len = mnl_nlmsg_get_payload_len(nlh) - GENL_HDRLEN;
	const struct nlattr *a, *b;
	struct relay *r = arg;
	struct nlmsghdr *to;
	__u64 last = r->last;

	mnl_attr_for_each(a, nlh, GENL_HDRLEN)
		if (mnl_attr_get_type(a) == TAPMIG_A_TRANSFER_PACKET)
			mnl_attr_for_each_nested(b, a)
				if (mnl_attr_get_type(b) ==
				    TAPMIG_A_PACKET_SEQ)
					last = mnl_attr_get_u64(b);
	if (!len)
		return MNL_CB_OK;
	to = transfer(&r->dest, TAPMIG_CMD_PACKET_NEW, NLM_F_ACK);
	memcpy(mnl_nlmsg_get_payload_tail(to),
	       mnl_nlmsg_get_payload_offset(nlh, GENL_HDRLEN), len);
	to->nlmsg_len += len;
	talk(&r->dest, to, accepted_cb, r);
	r->last = last;
	return MNL_CB_OK;
}

/**
 * relay_transfer - move what the source has now and the destination has not
 * @r: the relay
 *
 * Return: how many packets.
 */
__u32 relay_transfer(struct relay *r)
{
	struct nlmsghdr *nlh = transfer(&r->source, TAPMIG_CMD_PACKET_GET,
					NLM_F_DUMP);
	__u32 before = r->moved;

	if (r->last)
		mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, r->last + 1);
	talk(&r->source, nlh, packets_cb, r);
	return r->moved - before;
}

/**
 * relay_sync - the destination has all that there was
 * @r: the relay
 */
void relay_sync(struct relay *r)
{
	struct nlmsghdr *nlh = transfer(&r->dest, TAPMIG_CMD_IMPORT_SYNC,
					NLM_F_ACK);

	mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, r->last);
	talk(&r->dest, nlh, NULL, NULL);
}

/**
 * relay_end - nothing more will come
 * @r: the relay
 */
void relay_end(struct relay *r)
{
	talk(&r->dest, transfer(&r->dest, TAPMIG_CMD_IMPORT_END, NLM_F_ACK),
	     NULL, NULL);
}

/**
 * relay_last_seq - how far the destination is
 * @r: the relay
 *
 * Return: number of the last packet that it has, 0 if none.
 */
__u64 relay_last_seq(const struct relay *r)
{
	return r->last;
}

void relay_free(struct relay *r)
{
	mnl_socket_close(r->source.nl);
	mnl_socket_close(r->dest.nl);
	free(r);
}
