// SPDX-License-Identifier: GPL-2.0-only
/* Packets by netlink, as a program does that only passes them on. */
#include <linux/genetlink.h>

#include "bench.h"

#define MESSAGE_MAX	(256 * 1024)

static void messages_room(struct messages *m, size_t more)
{
	if (m->len + more <= m->room)
		return;
	m->room = 2 * m->room + more;
	m->buf = realloc(m->buf, m->room);
	if (!m->buf)
		die("no memory for an export");
}

/* The message that imports what @nlh exports. */
static void messages_add(struct messages *m, struct nl *nl,
			 const struct nlmsghdr *nlh)
{
	const struct nlattr *attr, *member;
	struct nlattr *nest;
	struct nlmsghdr *to;

	messages_room(m, MESSAGE_MAX);
	to = nl_msg(nl, m->buf + m->len, TAPMIG_CMD_PACKET_NEW, NLM_F_ACK);
	mnl_attr_put_u32(to, TAPMIG_A_TRANSFER_HOLD_ID, 0);
	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) != TAPMIG_A_TRANSFER_PACKET)
			continue;
		nest = mnl_attr_nest_start(to, TAPMIG_A_TRANSFER_PACKET);
		mnl_attr_for_each_nested(member, attr) {
			if (mnl_attr_get_type(member) == TAPMIG_A_PACKET_PAD)
				continue;
			mnl_attr_put(to, mnl_attr_get_type(member),
				     mnl_attr_get_payload_len(member),
				     mnl_attr_get_payload(member));
		}
		mnl_attr_nest_end(to, nest);
	}
	m->len += MNL_ALIGN(to->nlmsg_len);
}

/**
 * export_all - export a hold
 * @nl: netlink
 * @id: the hold
 * @m: where to put what imports it, or NULL: measure
 *
 * Return: how long it took, in nanoseconds.
 */
double export_all(struct nl *nl, __u32 id, struct messages *m)
{
	static char buf[MESSAGE_MAX];
	__s64 start = now_ns();
	struct nlmsghdr *nlh;
	char req[256];
	int len, err;

	nlh = nl_msg(nl, req, TAPMIG_CMD_PACKET_GET, NLM_F_DUMP);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	if (mnl_socket_sendto(nl->sk, nlh, nlh->nlmsg_len) < 0)
		die("cannot ask for an export");
	for (;;) {
		len = mnl_socket_recvfrom(nl->sk, buf, sizeof(buf));
		if (len < 0)
			die("export");
		nlh = (struct nlmsghdr *)buf;
		for (; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_type == NLMSG_ERROR ||
			    nlh->nlmsg_type == NLMSG_DONE) {
				memcpy(&err, mnl_nlmsg_get_payload(nlh),
				       sizeof(err));
				must(err, "export");
				return now_ns() - start;
			}
			if (m)
				messages_add(m, nl, nlh);
		}
	}
}

static int accepted_cb(const struct nlmsghdr *nlh, void *data)
{
	const struct nlattr *attr;
	__u64 *accepted = data;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == TAPMIG_A_TRANSFER_ACCEPTED)
			*accepted += mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

/**
 * import_all - import what was exported
 * @nl: netlink
 * @id: the hold
 * @m: the messages
 * @accepted: set to the number of packets that were taken
 *
 * Return: how long it took, in nanoseconds.
 */
double import_all(struct nl *nl, __u32 id, const struct messages *m,
		  __u64 *accepted)
{
	__s64 start = now_ns();
	struct nlmsghdr *nlh;
	struct nlattr *attr;
	size_t at;

	*accepted = 0;
	must(nl_begin(nl, id, 0), "import-begin");
	for (at = 0; at < m->len; at += MNL_ALIGN(nlh->nlmsg_len)) {
		nlh = (struct nlmsghdr *)(m->buf + at);
		nlh->nlmsg_seq = ++nl->seq;
		/* The first attribute. */
		attr = mnl_nlmsg_get_payload_offset(nlh,
						    sizeof(struct genlmsghdr));
		memcpy(mnl_attr_get_payload(attr), &id, sizeof(id));
		must(nl_talk(nl, nlh, accepted_cb, accepted), "import");
	}
	must(nl_end(nl, id), "import-end");
	return now_ns() - start;
}
