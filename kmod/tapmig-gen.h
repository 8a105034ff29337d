/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	uapi/netlink/tapmig.yaml */
/* YNL-GEN kernel header */
/* To regenerate run: make ynl-regen */

#ifndef _LINUX_TAPMIG_GEN_H
#define _LINUX_TAPMIG_GEN_H

#include <net/netlink.h>
#include <net/genetlink.h>

#include <uapi/linux/tapmig_netlink.h>

/* Common nested types */
extern const struct nla_policy tapmig_packet_nl_policy[TAPMIG_A_PACKET_DROPPED_BEFORE + 1];

int tapmig_nl_hold_pre(const struct genl_split_ops *ops, struct sk_buff *skb,
		       struct genl_info *info);
int tapmig_nl_transfer_pre(const struct genl_split_ops *ops,
			   struct sk_buff *skb, struct genl_info *info);
void
tapmig_nl_hold_post(const struct genl_split_ops *ops, struct sk_buff *skb,
		    struct genl_info *info);
int tapmig_nl_packet_get_start(struct netlink_callback *cb);
int tapmig_nl_packet_get_done(struct netlink_callback *cb);

int tapmig_nl_hold_get_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_hold_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb);
int tapmig_nl_hold_set_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_hold_freeze_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_hold_thaw_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_hold_discard_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_packet_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb);
int tapmig_nl_packet_new_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_packet_commit_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_import_begin_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_import_sync_doit(struct sk_buff *skb, struct genl_info *info);
int tapmig_nl_import_end_doit(struct sk_buff *skb, struct genl_info *info);

enum {
	TAPMIG_NLGRP_EVENTS,
};

extern struct genl_family tapmig_nl_family;

#endif /* _LINUX_TAPMIG_GEN_H */
