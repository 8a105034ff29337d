/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Split operations of a generic netlink family, for kernels that know only
 * one entry for both do and dump of a command. A family of ours is a
 * structure of its own; at registration the kernel's is made from it.
 */
#ifndef _TAPMIG_COMPAT_NET_GENETLINK_H
#define _TAPMIG_COMPAT_NET_GENETLINK_H

#include_next <net/genetlink.h>

#ifndef TAPMIG_HAVE_GENL_SPLIT_OPS

/**
 * struct genl_split_ops - do or dump of a command
 * @pre_doit: called before @doit
 * @doit: handles a request
 * @post_doit: called after @doit
 * @start: called before the first @dumpit
 * @dumpit: fills a message
 * @done: called after the last @dumpit
 * @policy: what a request may contain
 * @maxattr: highest attribute of @policy
 * @cmd: command
 * @internal_flags: not used
 * @flags: GENL_*, exactly one of GENL_CMD_CAP_DO and GENL_CMD_CAP_DUMP
 * @validate: not used
 */
struct genl_split_ops {
	union {
		struct {
			int (*pre_doit)(const struct genl_split_ops *ops,
					struct sk_buff *skb,
					struct genl_info *info);
			int (*doit)(struct sk_buff *skb,
				    struct genl_info *info);
			void (*post_doit)(const struct genl_split_ops *ops,
					  struct sk_buff *skb,
					  struct genl_info *info);
		};
		struct {
			int (*start)(struct netlink_callback *cb);
			int (*dumpit)(struct sk_buff *skb,
				      struct netlink_callback *cb);
			int (*done)(struct netlink_callback *cb);
		};
	};
	const struct nla_policy *policy;
	unsigned int maxattr;
	u8 cmd;
	u8 internal_flags;
	u8 flags;
	u8 validate;
};

/**
 * struct tapmig_compat_genl_family - a family with split operations
 * @real: what the kernel knows of it
 * @name: see struct genl_family
 * @version: see struct genl_family
 * @netnsok: see struct genl_family
 * @parallel_ops: see struct genl_family
 * @module: see struct genl_family
 * @split_ops: the operations
 * @n_split_ops: number of them
 * @mcgrps: see struct genl_family
 * @n_mcgrps: see struct genl_family
 */
struct tapmig_compat_genl_family {
	struct genl_family real;
	char name[GENL_NAMSIZ];
	unsigned int version;
	bool netnsok;
	bool parallel_ops;
	struct module *module;
	const struct genl_split_ops *split_ops;
	u8 n_split_ops;
	const struct genl_multicast_group *mcgrps;
	u8 n_mcgrps;
};

int tapmig_compat_genl_register(struct tapmig_compat_genl_family *family);
int tapmig_compat_genl_unregister(struct tapmig_compat_genl_family *family);

/* What the kernel tells of a dump has the attributes under the same name. */
#define genl_info_dump(cb) genl_dumpit_info(cb)

#ifndef TAPMIG_COMPAT_GENETLINK_C
#define genl_family tapmig_compat_genl_family
#define genl_register_family(family) tapmig_compat_genl_register(family)
#define genl_unregister_family(family) tapmig_compat_genl_unregister(family)
#define genlmsg_put(skb, portid, seq, family, flags, cmd)		\
	genlmsg_put(skb, portid, seq, &(family)->real, flags, cmd)
#define genlmsg_put_reply(skb, info, family, flags, cmd)		\
	genlmsg_put_reply(skb, info, &(family)->real, flags, cmd)
#define genlmsg_multicast_netns(family, net, skb, portid, group, flags)	\
	genlmsg_multicast_netns(&(family)->real, net, skb, portid, group, \
				flags)
#define genl_has_listeners(family, net, group)				\
	genl_has_listeners(&(family)->real, net, group)
#define genl_set_err(family, net, portid, group, code)			\
	genl_set_err(&(family)->real, net, portid, group, code)
#endif /* TAPMIG_COMPAT_GENETLINK_C */

#endif /* TAPMIG_HAVE_GENL_SPLIT_OPS */
#endif /* _TAPMIG_COMPAT_NET_GENETLINK_H */
