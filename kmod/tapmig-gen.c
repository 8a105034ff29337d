// SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)
/* Do not edit directly, auto-generated from: */
/*	uapi/netlink/tapmig.yaml */
/* YNL-GEN kernel source */
/* To regenerate run: make ynl-regen */

#include <net/netlink.h>
#include <net/genetlink.h>

#include "tapmig-gen.h"

#include <uapi/linux/tapmig_netlink.h>

/* Common nested types */
const struct nla_policy tapmig_packet_nl_policy[TAPMIG_A_PACKET_DROPPED_BEFORE + 1] = {
	[TAPMIG_A_PACKET_SEQ] = { .type = NLA_U64, },
	[TAPMIG_A_PACKET_SUB] = { .type = NLA_U16, },
	[TAPMIG_A_PACKET_SUBS] = { .type = NLA_U16, },
	[TAPMIG_A_PACKET_QUEUE] = { .type = NLA_U16, },
	[TAPMIG_A_PACKET_TIME_NS] = { .type = NLA_U64, },
	[TAPMIG_A_PACKET_LEN] = { .type = NLA_U32, },
	[TAPMIG_A_PACKET_OFFSET] = { .type = NLA_U32, },
	[TAPMIG_A_PACKET_DATA] = { .type = NLA_BINARY, },
	[TAPMIG_A_PACKET_VNET_HDR] = NLA_POLICY_EXACT_LEN(10),
	[TAPMIG_A_PACKET_VLAN_TCI] = { .type = NLA_U16, },
	[TAPMIG_A_PACKET_VLAN_PROTO] = { .type = NLA_BE16, },
	[TAPMIG_A_PACKET_PROTOCOL] = { .type = NLA_BE16, },
	[TAPMIG_A_PACKET_HASH] = { .type = NLA_U32, },
	[TAPMIG_A_PACKET_DROPPED_BEFORE] = { .type = NLA_U32, },
};

/* TAPMIG_CMD_HOLD_GET - do */
static const struct nla_policy tapmig_hold_get_nl_policy[TAPMIG_A_HOLD_ID + 1] = {
	[TAPMIG_A_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* TAPMIG_CMD_HOLD_SET - do */
static const struct nla_policy tapmig_hold_set_nl_policy[TAPMIG_A_HOLD_MAX_BYTES + 1] = {
	[TAPMIG_A_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_HOLD_FLAGS] = NLA_POLICY_MASK(NLA_U32, 0x3f),
	[TAPMIG_A_HOLD_FLAGS_MASK] = NLA_POLICY_MASK(NLA_U32, 0x3f),
	[TAPMIG_A_HOLD_DEDUP] = NLA_POLICY_MAX(NLA_U32, 2),
	[TAPMIG_A_HOLD_DEADLINE_ACTION] = NLA_POLICY_MAX(NLA_U32, 1),
	[TAPMIG_A_HOLD_MAX_FROZEN_MS] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_HOLD_WAIT_IMPORT_MS] = { .type = NLA_U32, },
	[TAPMIG_A_HOLD_MAX_PACKETS] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_HOLD_MAX_BYTES] = { .type = NLA_U64, },
};

/* TAPMIG_CMD_HOLD_FREEZE - do */
static const struct nla_policy tapmig_hold_freeze_nl_policy[TAPMIG_A_HOLD_ID + 1] = {
	[TAPMIG_A_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* TAPMIG_CMD_HOLD_THAW - do */
static const struct nla_policy tapmig_hold_thaw_nl_policy[TAPMIG_A_HOLD_ID + 1] = {
	[TAPMIG_A_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* TAPMIG_CMD_HOLD_DISCARD - do */
static const struct nla_policy tapmig_hold_discard_nl_policy[TAPMIG_A_HOLD_ID + 1] = {
	[TAPMIG_A_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* TAPMIG_CMD_PACKET_GET - dump */
static const struct nla_policy tapmig_packet_get_nl_policy[TAPMIG_A_TRANSFER_SEQ + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_TRANSFER_SEQ] = { .type = NLA_U64, },
};

/* TAPMIG_CMD_PACKET_NEW - do */
static const struct nla_policy tapmig_packet_new_nl_policy[TAPMIG_A_TRANSFER_PACKET + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_TRANSFER_PACKET] = NLA_POLICY_NESTED(tapmig_packet_nl_policy),
};

/* TAPMIG_CMD_PACKET_COMMIT - do */
static const struct nla_policy tapmig_packet_commit_nl_policy[TAPMIG_A_TRANSFER_SEQ + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_TRANSFER_SEQ] = { .type = NLA_U64, },
};

/* TAPMIG_CMD_IMPORT_BEGIN - do */
static const struct nla_policy tapmig_import_begin_nl_policy[TAPMIG_A_TRANSFER_AGE_MS + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_TRANSFER_AGE_MS] = { .type = NLA_U64, },
};

/* TAPMIG_CMD_IMPORT_SYNC - do */
static const struct nla_policy tapmig_import_sync_nl_policy[TAPMIG_A_TRANSFER_SEQ + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
	[TAPMIG_A_TRANSFER_SEQ] = { .type = NLA_U64, },
};

/* TAPMIG_CMD_IMPORT_END - do */
static const struct nla_policy tapmig_import_end_nl_policy[TAPMIG_A_TRANSFER_HOLD_ID + 1] = {
	[TAPMIG_A_TRANSFER_HOLD_ID] = NLA_POLICY_MIN(NLA_U32, 1),
};

/* Ops table for tapmig */
static const struct genl_split_ops tapmig_nl_ops[] = {
	{
		.cmd		= TAPMIG_CMD_HOLD_GET,
		.pre_doit	= tapmig_nl_hold_pre,
		.doit		= tapmig_nl_hold_get_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_hold_get_nl_policy,
		.maxattr	= TAPMIG_A_HOLD_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd	= TAPMIG_CMD_HOLD_GET,
		.dumpit	= tapmig_nl_hold_get_dumpit,
		.flags	= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= TAPMIG_CMD_HOLD_SET,
		.pre_doit	= tapmig_nl_hold_pre,
		.doit		= tapmig_nl_hold_set_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_hold_set_nl_policy,
		.maxattr	= TAPMIG_A_HOLD_MAX_BYTES,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_HOLD_FREEZE,
		.pre_doit	= tapmig_nl_hold_pre,
		.doit		= tapmig_nl_hold_freeze_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_hold_freeze_nl_policy,
		.maxattr	= TAPMIG_A_HOLD_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_HOLD_THAW,
		.pre_doit	= tapmig_nl_hold_pre,
		.doit		= tapmig_nl_hold_thaw_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_hold_thaw_nl_policy,
		.maxattr	= TAPMIG_A_HOLD_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_HOLD_DISCARD,
		.pre_doit	= tapmig_nl_hold_pre,
		.doit		= tapmig_nl_hold_discard_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_hold_discard_nl_policy,
		.maxattr	= TAPMIG_A_HOLD_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_PACKET_GET,
		.start		= tapmig_nl_packet_get_start,
		.dumpit		= tapmig_nl_packet_get_dumpit,
		.done		= tapmig_nl_packet_get_done,
		.policy		= tapmig_packet_get_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_SEQ,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DUMP,
	},
	{
		.cmd		= TAPMIG_CMD_PACKET_NEW,
		.pre_doit	= tapmig_nl_transfer_pre,
		.doit		= tapmig_nl_packet_new_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_packet_new_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_PACKET,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_PACKET_COMMIT,
		.pre_doit	= tapmig_nl_transfer_pre,
		.doit		= tapmig_nl_packet_commit_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_packet_commit_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_SEQ,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_IMPORT_BEGIN,
		.pre_doit	= tapmig_nl_transfer_pre,
		.doit		= tapmig_nl_import_begin_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_import_begin_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_AGE_MS,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_IMPORT_SYNC,
		.pre_doit	= tapmig_nl_transfer_pre,
		.doit		= tapmig_nl_import_sync_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_import_sync_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_SEQ,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
	{
		.cmd		= TAPMIG_CMD_IMPORT_END,
		.pre_doit	= tapmig_nl_transfer_pre,
		.doit		= tapmig_nl_import_end_doit,
		.post_doit	= tapmig_nl_hold_post,
		.policy		= tapmig_import_end_nl_policy,
		.maxattr	= TAPMIG_A_TRANSFER_HOLD_ID,
		.flags		= GENL_UNS_ADMIN_PERM | GENL_CMD_CAP_DO,
	},
};

static const struct genl_multicast_group tapmig_nl_mcgrps[] = {
	[TAPMIG_NLGRP_EVENTS] = { "events", },
};

struct genl_family tapmig_nl_family __ro_after_init = {
	.name		= TAPMIG_FAMILY_NAME,
	.version	= TAPMIG_FAMILY_VERSION,
	.netnsok	= true,
	.parallel_ops	= true,
	.module		= THIS_MODULE,
	.split_ops	= tapmig_nl_ops,
	.n_split_ops	= ARRAY_SIZE(tapmig_nl_ops),
	.mcgrps		= tapmig_nl_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(tapmig_nl_mcgrps),
};
