// SPDX-License-Identifier: GPL-2.0-only
/* A generic netlink family with split operations on a kernel without them. */

#define TAPMIG_COMPAT_GENETLINK_C

#include <linux/slab.h>
#include <net/genetlink.h>
#include <net/netlink.h>

/* The kernel does not tell pre_doit and post_doit whose operation it is, but
 * a module has one family.
 */
static struct tapmig_compat_genl_family *the_family;

/**
 * find_op() - look up a split operation
 * @cmd: command
 * @cap: GENL_CMD_CAP_DO or GENL_CMD_CAP_DUMP
 *
 * Return: the operation, or NULL if there is none.
 */
static const struct genl_split_ops *find_op(u8 cmd, u8 cap)
{
	const struct genl_split_ops *op;
	unsigned int i;

	for (i = 0; i < the_family->n_split_ops; i++) {
		op = &the_family->split_ops[i];
		if (op->cmd == cmd && op->flags & cap)
			return op;
	}
	return NULL;
}

/**
 * pre_doit() - call the pre_doit of a split operation
 * @ops: the kernel's operation
 * @skb: request
 * @info: request, parsed
 *
 * Return: what it returns.
 */
static int pre_doit(const struct genl_ops *ops, struct sk_buff *skb,
		    struct genl_info *info)
{
	const struct genl_split_ops *op = find_op(ops->cmd, GENL_CMD_CAP_DO);

	return op && op->pre_doit ? op->pre_doit(op, skb, info) : 0;
}

/**
 * post_doit() - call the post_doit of a split operation
 * @ops: the kernel's operation
 * @skb: request
 * @info: request, parsed
 */
static void post_doit(const struct genl_ops *ops, struct sk_buff *skb,
		      struct genl_info *info)
{
	const struct genl_split_ops *op = find_op(ops->cmd, GENL_CMD_CAP_DO);

	if (op && op->post_doit)
		op->post_doit(op, skb, info);
}

/* The kernel has no extack for start: it is called together with the first
 * dumpit, for which there is one. Whether it was is kept in the last word of
 * the state of a dump; the family has the others.
 */

/**
 * started() - was start called, and did it succeed
 * @cb: dump
 *
 * Return: where that is kept.
 */
static long *started(struct netlink_callback *cb)
{
	return (long *)(cb->ctx + sizeof(cb->ctx) - sizeof(long));
}

/**
 * start() - call the start of a split operation
 * @op: the split operation
 * @cb: dump
 *
 * The kernel has one policy for do and dump. A dump that has no attributes
 * must refuse those that do takes.
 *
 * Return: 0 or -errno.
 */
static int start(const struct genl_split_ops *op, struct netlink_callback *cb)
{
	int err = 0;

	if (!op->policy && nlmsg_attrlen(cb->nlh, GENL_HDRLEN)) {
		NL_SET_ERR_MSG_ATTR(cb->extack,
				    nlmsg_attrdata(cb->nlh, GENL_HDRLEN),
				    "Unknown attribute type");
		return -EINVAL;
	}
	if (op->start)
		err = op->start(cb);
	*started(cb) = !err;
	return err;
}

/**
 * dumpit() - call the dumpit of a split operation
 * @skb: where to put messages
 * @cb: dump
 *
 * Return: what it returns.
 */
static int dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	const struct genl_split_ops *op;
	int err;

	op = find_op(genl_dumpit_info(cb)->op.cmd, GENL_CMD_CAP_DUMP);
	if (!*started(cb)) {
		err = start(op, cb);
		if (err)
			return err;
	}
	return op->dumpit(skb, cb);
}

/**
 * done() - call the done of a split operation
 * @cb: dump
 *
 * Return: what it returns.
 */
static int done(struct netlink_callback *cb)
{
	const struct genl_split_ops *op;

	op = find_op(genl_dumpit_info(cb)->op.cmd, GENL_CMD_CAP_DUMP);
	return *started(cb) && op->done ? op->done(cb) : 0;
}

/**
 * fill_op() - make the kernel's operation from a split one
 * @op: the kernel's, perhaps filled from the other split one
 * @split: the split one
 */
static void fill_op(struct genl_ops *op, const struct genl_split_ops *split)
{
	op->cmd = split->cmd;
	op->flags |= split->flags & ~(GENL_CMD_CAP_DO | GENL_CMD_CAP_DUMP);
	if (split->policy) {
		op->policy = split->policy;
		op->maxattr = split->maxattr;
	}
	if (split->flags & GENL_CMD_CAP_DO) {
		op->doit = split->doit;
	} else {
		op->dumpit = dumpit;
		op->done = done;
	}
}

/**
 * tapmig_compat_genl_register() - register a family with split operations
 * @family: the only one of the module
 *
 * Return: 0 or -errno.
 */
int tapmig_compat_genl_register(struct tapmig_compat_genl_family *family)
{
	struct genl_family *real = &family->real;
	struct genl_ops *ops;
	unsigned int i, j;
	int err;

	ops = kzalloc_objs(*ops, family->n_split_ops, GFP_KERNEL);
	if (!ops)
		return -ENOMEM;

	*real = (struct genl_family) {
		.version = family->version,
		.netnsok = family->netnsok,
		.parallel_ops = family->parallel_ops,
		.module = family->module,
		.mcgrps = family->mcgrps,
		.n_mcgrps = family->n_mcgrps,
		.pre_doit = pre_doit,
		.post_doit = post_doit,
		.ops = ops,
	};
	strscpy(real->name, family->name, sizeof(real->name));
	for (i = 0; i < family->n_split_ops; i++) {
		for (j = 0; j < real->n_ops; j++)
			if (ops[j].cmd == family->split_ops[i].cmd)
				break;
		if (j == real->n_ops)
			real->n_ops++;
		fill_op(&ops[j], &family->split_ops[i]);
	}

	the_family = family;
	err = genl_register_family(real);
	if (err)
		kfree(ops);
	return err;
}

/**
 * tapmig_compat_genl_unregister() - unregister a family
 * @family: the family
 *
 * Return: 0 or -errno.
 */
int tapmig_compat_genl_unregister(struct tapmig_compat_genl_family *family)
{
	int err;

	err = genl_unregister_family(&family->real);
	kfree(family->real.ops);
	return err;
}
