// SPDX-License-Identifier: GPL-2.0-only
/* The plug qdisc, which keeps frames before they reach the device. */
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include "bench.h"

static int qdisc(const char *ifname, int type, int flags, int action,
		 __u32 bytes)
{
	struct tc_plug_qopt opt = { .action = action, .limit = bytes };
	char buf[1024];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct mnl_socket *sk = mnl_socket_open(NETLINK_ROUTE);
	struct tcmsg *tc;
	int ret;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	tc = mnl_nlmsg_put_extra_header(nlh, sizeof(*tc));
	tc->tcm_family = AF_UNSPEC;
	tc->tcm_ifindex = if_nametoindex(ifname);
	tc->tcm_parent = TC_H_ROOT;
	tc->tcm_handle = TC_H_MAKE(1 << 16, 0);
	mnl_attr_put_strz(nlh, TCA_KIND, "plug");
	if (action >= 0)
		mnl_attr_put(nlh, TCA_OPTIONS, sizeof(opt), &opt);
	if (!sk || mnl_socket_bind(sk, 0, MNL_SOCKET_AUTOPID) ||
	    mnl_socket_sendto(sk, nlh, nlh->nlmsg_len) < 0)
		die("cannot talk rtnetlink");
	ret = mnl_socket_recvfrom(sk, buf, sizeof(buf));
	ret = mnl_cb_run(buf, ret, 0, mnl_socket_get_portid(sk), NULL, NULL);
	ret = ret < 0 ? -errno : 0;
	mnl_socket_close(sk);
	return ret;
}

/**
 * plug_add - give a device a plug qdisc, plugged
 * @ifname: the device
 * @bytes: how much it keeps
 */
void plug_add(const char *ifname, __u32 bytes)
{
	must(qdisc(ifname, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE,
		   TCQ_PLUG_LIMIT, bytes), "tc qdisc add plug");
}

/**
 * plug_del - take the plug qdisc away, with all that it keeps
 * @ifname: the device
 */
void plug_del(const char *ifname)
{
	must(qdisc(ifname, RTM_DELQDISC, 0, -1, 0), "tc qdisc del");
}
