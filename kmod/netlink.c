// SPDX-License-Identifier: GPL-2.0-only
/* The generic netlink family. */

#include <linux/etherdevice.h>
#include <linux/kernel.h>
#include <linux/math64.h>
#include <linux/netlink.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <net/genetlink.h>
#include <net/netlink.h>
#include <net/sock.h>

#include "hold.h"
#include "tapmig-gen.h"
#include "trace.h"

/* Most payload of one attribute: its length, and that of the nest around it,
 * are of 16 bits.
 */
#define TAPMIG_CHUNK_MAX	61440
/* A frame is cut only when that leaves pieces of this size. */
#define TAPMIG_CHUNK_MIN	4096

/* Room for the state of a dump; the last word is for compat/genetlink.c. */
#define TAPMIG_DUMP_CTX							\
	(sizeof_field(struct netlink_callback, ctx) - sizeof(long))

/**
 * struct tapmig_partial - packet of which only some chunks were imported
 * @seq: its number
 * @sub: index of the segment
 * @subs: number of segments
 * @queue: index of the queue at which it arrived
 * @time: when it arrived, CLOCK_MONOTONIC
 * @len: length of the frame
 * @got: how much of it is in @skb
 * @meta: what goes along with it
 * @skb: the frame
 */
struct tapmig_partial {
	u64 seq;
	u16 sub;
	u16 subs;
	u16 queue;
	s64 time;
	u32 len;
	u32 got;
	struct tapmig_meta meta;
	struct sk_buff *skb;
};

/**
 * tapmig_nl_version() - check the version of a request
 * @hdr: its header
 * @extack: set when refused
 *
 * Return: 0 or -EPROTONOSUPPORT.
 */
static int tapmig_nl_version(const struct genlmsghdr *hdr,
			     struct netlink_ext_ack *extack)
{
	if (hdr->version == TAPMIG_FAMILY_VERSION)
		return 0;
	NL_SET_ERR_MSG(extack,
		       "module and tool are of different interface versions");
	return -EPROTONOSUPPORT;
}

static int tapmig_nl_no_hold(const struct nlattr *id,
			     struct netlink_ext_ack *extack)
{
	NL_SET_ERR_MSG_ATTR(extack, id, "no hold with this id");
	return -ENOENT;
}

/**
 * tapmig_nl_hold_get() - look up the hold of a request
 * @net: network namespace of the request
 * @hdr: header of the request
 * @id: attribute with the number of the hold
 * @extack: set when refused
 *
 * Return: the hold, referenced; ERR_PTR(-ENOENT): there is none;
 * ERR_PTR(-EPROTONOSUPPORT).
 */
static struct tapmig_hold *tapmig_nl_hold_get(struct net *net,
					      const struct genlmsghdr *hdr,
					      const struct nlattr *id,
					      struct netlink_ext_ack *extack)
{
	struct tapmig_hold *h;
	int err;

	err = tapmig_nl_version(hdr, extack);
	if (err)
		return ERR_PTR(err);
	h = tapmig_hold_get_by_id(net, nla_get_u32(id));
	if (!h)
		return ERR_PTR(tapmig_nl_no_hold(id, extack));
	return h;
}

/**
 * tapmig_nl_hold_pre() - look up the hold of a hold-* request
 * @ops: operation
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_pre(const struct genl_split_ops *ops, struct sk_buff *skb,
		       struct genl_info *info)
{
	struct tapmig_hold *h;

	if (GENL_REQ_ATTR_CHECK(info, TAPMIG_A_HOLD_ID))
		return -EINVAL;
	h = tapmig_nl_hold_get(genl_info_net(info), info->genlhdr,
			       info->attrs[TAPMIG_A_HOLD_ID], info->extack);
	if (IS_ERR(h))
		return PTR_ERR(h);
	info->user_ptr[0] = h;
	return 0;
}

/**
 * tapmig_nl_transfer_pre() - look up the hold of a packet-*, import-* request
 * @ops: operation
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_transfer_pre(const struct genl_split_ops *ops,
			   struct sk_buff *skb, struct genl_info *info)
{
	struct tapmig_hold *h;

	if (GENL_REQ_ATTR_CHECK(info, TAPMIG_A_TRANSFER_HOLD_ID))
		return -EINVAL;
	h = tapmig_nl_hold_get(genl_info_net(info), info->genlhdr,
			       info->attrs[TAPMIG_A_TRANSFER_HOLD_ID],
			       info->extack);
	if (IS_ERR(h))
		return PTR_ERR(h);
	info->user_ptr[0] = h;
	return 0;
}

/**
 * tapmig_nl_hold_post() - drop the hold of a request
 * @ops: operation
 * @skb: request
 * @info: request, parsed
 */
void tapmig_nl_hold_post(const struct genl_split_ops *ops, struct sk_buff *skb,
			 struct genl_info *info)
{
	tapmig_hold_put(info->user_ptr[0]);
}

/**
 * tapmig_nl_put_u64() - put a number
 * @skb: message
 * @type: attribute of a hold
 * @value: the number
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_put_u64(struct sk_buff *skb, int type, u64 value)
{
	return nla_put_u64_64bit(skb, type, value, TAPMIG_A_HOLD_PAD);
}

/**
 * tapmig_nl_put_dev() - put what is known of the device and owner of a hold
 * @h: the hold
 * @skb: message
 * @pid_ns: pid namespace of the reader, NULL if it has none
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_put_dev(struct tapmig_hold *h, struct sk_buff *skb,
			     struct pid_namespace *pid_ns)
{
	char name[IFNAMSIZ];
	pid_t pid = 0;

	if (nla_put_u32(skb, TAPMIG_A_HOLD_IFINDEX,
			h->dev ? h->dev->ifindex : 0))
		return -EMSGSIZE;
	if (h->dev) {
		/* It may be renamed at this moment. */
		strscpy(name, h->dev->name, sizeof(name));
		if (nla_put_string(skb, TAPMIG_A_HOLD_IFNAME, name))
			return -EMSGSIZE;
	}
	if (!is_zero_ether_addr(h->mac) &&
	    nla_put(skb, TAPMIG_A_HOLD_MAC, ETH_ALEN, h->mac))
		return -EMSGSIZE;
	if (pid_ns)
		pid = pid_nr_ns(h->owner_pid, pid_ns);
	if (pid && nla_put_u32(skb, TAPMIG_A_HOLD_OWNER_PID, pid))
		return -EMSGSIZE;
	return 0;
}

/**
 * tapmig_nl_put_limits() - put the limits of a hold
 * @h: the hold
 * @skb: message
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_put_limits(struct tapmig_hold *h, struct sk_buff *skb)
{
	s64 left;

	if (nla_put_u32(skb, TAPMIG_A_HOLD_MAX_FROZEN_MS, h->max_frozen_ms) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_WAIT_IMPORT_MS,
			h->wait_import_ms) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_MAX_PACKETS, h->max_packets) ||
	    tapmig_nl_put_u64(skb, TAPMIG_A_HOLD_MAX_BYTES, h->max_bytes))
		return -EMSGSIZE;
	if (!h->deadline)
		return 0;
	left = max_t(s64, h->deadline - (s64)ktime_get_ns(), 0);
	return nla_put_u32(skb, TAPMIG_A_HOLD_DEADLINE_IN_MS,
			   div_s64(left, NSEC_PER_MSEC));
}

/**
 * tapmig_nl_put_counts() - put the counters and times of a hold
 * @skb: message
 * @i: what they are
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_put_counts(struct sk_buff *skb,
				const struct tapmig_info *i)
{
	const struct {
		int type;
		u64 value;
	} counts[] = {
		{ TAPMIG_A_HOLD_HELD_PACKETS, i->held_packets },
		{ TAPMIG_A_HOLD_HELD_BYTES, i->held_bytes },
		{ TAPMIG_A_HOLD_PENDING_IMPORTS, i->pending_imports },
		{ TAPMIG_A_HOLD_HIGHEST_SEQ, i->highest_seq },
		{ TAPMIG_A_HOLD_COMMITTED_SEQ, i->committed_seq },
		{ TAPMIG_A_HOLD_CAPTURED, i->captured },
		{ TAPMIG_A_HOLD_DROPPED, i->dropped },
		{ TAPMIG_A_HOLD_DROPPED_BYTES, i->dropped_bytes },
		{ TAPMIG_A_HOLD_TRIMMED, i->trimmed },
		{ TAPMIG_A_HOLD_EXPORTED, i->exported },
		{ TAPMIG_A_HOLD_IMPORTED, i->imported },
		{ TAPMIG_A_HOLD_RESENT, i->resent },
		{ TAPMIG_A_HOLD_FLOODED, i->flooded },
		{ TAPMIG_A_HOLD_LATE, i->late },
		{ TAPMIG_A_HOLD_LATE_SKIPPED, i->late_skipped },
		{ TAPMIG_A_HOLD_OWN_ADDRESS, i->own_address },
		{ TAPMIG_A_HOLD_SEGMENTED, i->segmented },
		{ TAPMIG_A_HOLD_DELIVERED, i->delivered },
		{ TAPMIG_A_HOLD_LOST, i->lost },
		{ TAPMIG_A_HOLD_DISCARDED, i->discarded },
		{ TAPMIG_A_HOLD_FROZEN_NS, i->frozen_ns },
		{ TAPMIG_A_HOLD_FROZEN_FOR_MS, i->frozen_for_ms },
		{ TAPMIG_A_HOLD_THAW_WAIT_US, i->thaw_wait_us },
		{ TAPMIG_A_HOLD_THAW_US, i->thaw_us },
		{ TAPMIG_A_HOLD_THAW_IRQOFF_NS, i->thaw_irqoff_ns },
	};
	unsigned int n;

	for (n = 0; n < ARRAY_SIZE(counts); n++)
		if (tapmig_nl_put_u64(skb, counts[n].type, counts[n].value))
			return -EMSGSIZE;
	return 0;
}

/**
 * tapmig_nl_fill_hold() - put a message about a hold
 * @h: the hold
 * @skb: where to put it
 * @cmd: TAPMIG_CMD_HOLD_GET or TAPMIG_CMD_HOLD_NTF
 * @portid: to whom
 * @seq: number of the request
 * @flags: NLM_F_*
 * @pid_ns: pid namespace of the reader, NULL if it has none
 *
 * A hold that is gone has no more than an id, a label and a role.
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_fill_hold(struct tapmig_hold *h, struct sk_buff *skb,
			       u8 cmd, u32 portid, u32 seq, int flags,
			       struct pid_namespace *pid_ns)
{
	struct tapmig_info i = { .size = sizeof(i) };
	void *hdr;

	lockdep_assert_held(&h->lock);

	hdr = genlmsg_put(skb, portid, seq, &tapmig_nl_family, flags, cmd);
	if (!hdr)
		return -EMSGSIZE;
	if (nla_put_u32(skb, TAPMIG_A_HOLD_ID, h->id) ||
	    nla_put_string(skb, TAPMIG_A_HOLD_LABEL, h->label) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_STATE,
			h->gone ? TAPMIG_STATE_DEAD : h->state) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_ROLE, h->role))
		goto cancel;
	if (h->gone)
		goto end;

	tapmig_hold_info(h, &i);
	if (nla_put_u32(skb, TAPMIG_A_HOLD_FLAGS, i.flags) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_LINK_TYPE, h->link_type) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_DEDUP, h->dedup) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_DEADLINE_ACTION,
			h->deadline_action) ||
	    nla_put_u32(skb, TAPMIG_A_HOLD_QUEUES, h->nr_queues) ||
	    tapmig_nl_put_dev(h, skb, pid_ns) ||
	    tapmig_nl_put_limits(h, skb) ||
	    tapmig_nl_put_counts(skb, &i))
		goto cancel;
end:
	genlmsg_end(skb, hdr);
	return 0;

cancel:
	genlmsg_cancel(skb, hdr);
	return -EMSGSIZE;
}

/**
 * tapmig_nl_notify() - tell those who listen that a hold changed
 * @h: the hold
 *
 * The number of the owner's process is missing: it would be another one for
 * each listener.
 */
void tapmig_nl_notify(struct tapmig_hold *h)
{
	struct sk_buff *skb;

	lockdep_assert_held(&h->lock);

	if (!genl_has_listeners(&tapmig_nl_family, h->net,
				TAPMIG_NLGRP_EVENTS))
		return;
	skb = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!skb)
		goto lost;
	if (tapmig_nl_fill_hold(h, skb, TAPMIG_CMD_HOLD_NTF, 0, 0, 0, NULL)) {
		nlmsg_free(skb);
		goto lost;
	}
	genlmsg_multicast_netns(&tapmig_nl_family, h->net, skb, 0,
				TAPMIG_NLGRP_EVENTS, GFP_KERNEL);
	return;
lost:
	/* As if it had found no room with any of them. */
	genl_set_err(&tapmig_nl_family, h->net, 0, TAPMIG_NLGRP_EVENTS,
		     -ENOBUFS);
}

/**
 * tapmig_nl_hold_get_doit() - get one hold
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_get_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct tapmig_hold *h = info->user_ptr[0];
	struct sk_buff *reply;
	int err;

	reply = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!reply)
		return -ENOMEM;

	mutex_lock(&h->lock);
	if (h->gone)
		/* While we waited for the lock. */
		err = tapmig_nl_no_hold(info->attrs[TAPMIG_A_HOLD_ID],
					info->extack);
	else
		err = tapmig_nl_fill_hold(h, reply, TAPMIG_CMD_HOLD_GET,
					  info->snd_portid, info->snd_seq, 0,
					  task_active_pid_ns(current));
	mutex_unlock(&h->lock);
	if (err) {
		nlmsg_free(reply);
		return err;
	}
	return genlmsg_reply(reply, info);
}

/**
 * struct tapmig_nl_holds - state of a dump of holds
 * @id: of the next one
 */
struct tapmig_nl_holds {
	unsigned long id;
};

/**
 * tapmig_nl_hold_get_dumpit() - dump the holds of a network namespace
 * @skb: where to put them
 * @cb: dump
 *
 * Return: length of what was put, 0 at the end, or -errno.
 */
int tapmig_nl_hold_get_dumpit(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct tapmig_nl_holds *ctx = (struct tapmig_nl_holds *)cb->ctx;
	struct net *net = sock_net(cb->skb->sk);
	struct nlmsghdr *nlh;
	struct tapmig_hold *h;
	int err;

	BUILD_BUG_ON(sizeof(*ctx) > TAPMIG_DUMP_CTX);

	err = tapmig_nl_version(nlmsg_data(cb->nlh), cb->extack);
	if (err)
		return err;

	/* A hold that comes or goes between two messages may be missing. */
	cb->seq = tapmig_holds_generation();
	for (; (h = tapmig_hold_get_next(net, &ctx->id)); ctx->id++) {
		nlh = NULL;
		mutex_lock(&h->lock);
		if (!h->gone) {
			nlh = (struct nlmsghdr *)skb_tail_pointer(skb);
			err = tapmig_nl_fill_hold(h, skb, TAPMIG_CMD_HOLD_GET,
						  NETLINK_CB(cb->skb).portid,
						  cb->nlh->nlmsg_seq,
						  NLM_F_MULTI,
						  task_active_pid_ns(current));
		}
		mutex_unlock(&h->lock);
		tapmig_hold_put(h);
		if (err)
			break;
		if (nlh)
			nl_dump_check_consistent(cb, nlh);
	}
	return skb->len ?: err;
}

/**
 * tapmig_nl_hold_set_doit() - change a hold
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_set_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct tapmig_set set = { .size = sizeof(set) };
	struct tapmig_hold *h = info->user_ptr[0];
	struct nlattr **attrs = info->attrs;
	u32 bad;
	int err;

	/* Of the flags, one half makes no sense without the other. */
	if (attrs[TAPMIG_A_HOLD_FLAGS] || attrs[TAPMIG_A_HOLD_FLAGS_MASK]) {
		if (GENL_REQ_ATTR_CHECK(info, TAPMIG_A_HOLD_FLAGS) ||
		    GENL_REQ_ATTR_CHECK(info, TAPMIG_A_HOLD_FLAGS_MASK))
			return -EINVAL;
		set.mask |= TAPMIG_SET_FLAGS;
		set.flags = nla_get_u32(attrs[TAPMIG_A_HOLD_FLAGS]);
		set.flags_mask = nla_get_u32(attrs[TAPMIG_A_HOLD_FLAGS_MASK]);
		if (set.flags & ~set.flags_mask) {
			NL_SET_ERR_MSG_ATTR(info->extack,
					    attrs[TAPMIG_A_HOLD_FLAGS],
					    "a flag is set that flags-mask does not name");
			return -EINVAL;
		}
	}
	if (attrs[TAPMIG_A_HOLD_DEDUP]) {
		set.mask |= TAPMIG_SET_DEDUP;
		set.dedup = nla_get_u32(attrs[TAPMIG_A_HOLD_DEDUP]);
	}
	if (attrs[TAPMIG_A_HOLD_DEADLINE_ACTION]) {
		set.mask |= TAPMIG_SET_DEADLINE_ACTION;
		set.deadline_action =
			nla_get_u32(attrs[TAPMIG_A_HOLD_DEADLINE_ACTION]);
	}
	if (attrs[TAPMIG_A_HOLD_MAX_FROZEN_MS]) {
		set.mask |= TAPMIG_SET_MAX_FROZEN_MS;
		set.max_frozen_ms =
			nla_get_u32(attrs[TAPMIG_A_HOLD_MAX_FROZEN_MS]);
	}
	if (attrs[TAPMIG_A_HOLD_WAIT_IMPORT_MS]) {
		set.mask |= TAPMIG_SET_WAIT_IMPORT_MS;
		set.wait_import_ms =
			nla_get_u32(attrs[TAPMIG_A_HOLD_WAIT_IMPORT_MS]);
	}
	if (attrs[TAPMIG_A_HOLD_MAX_PACKETS]) {
		set.mask |= TAPMIG_SET_MAX_PACKETS;
		set.max_packets = nla_get_u32(attrs[TAPMIG_A_HOLD_MAX_PACKETS]);
	}
	if (attrs[TAPMIG_A_HOLD_MAX_BYTES]) {
		set.mask |= TAPMIG_SET_MAX_BYTES;
		set.max_bytes = nla_get_u64(attrs[TAPMIG_A_HOLD_MAX_BYTES]);
	}
	if (!set.mask) {
		NL_SET_ERR_MSG(info->extack, "nothing to change");
		return -EINVAL;
	}
	err = tapmig_hold_set(h, &set, skb, &bad, info->extack);
	if (!err)
		return 0;
	if (bad == TAPMIG_SET_FLAGS)
		NL_SET_BAD_ATTR(info->extack, attrs[TAPMIG_A_HOLD_FLAGS_MASK]);
	else if (bad == TAPMIG_SET_WAIT_IMPORT_MS)
		NL_SET_BAD_ATTR(info->extack,
				attrs[TAPMIG_A_HOLD_WAIT_IMPORT_MS]);
	else if (bad == TAPMIG_SET_MAX_PACKETS)
		NL_SET_BAD_ATTR(info->extack, attrs[TAPMIG_A_HOLD_MAX_PACKETS]);
	else if (bad == TAPMIG_SET_MAX_BYTES)
		NL_SET_BAD_ATTR(info->extack, attrs[TAPMIG_A_HOLD_MAX_BYTES]);
	else if (bad == TAPMIG_SET_MAX_FROZEN_MS)
		NL_SET_BAD_ATTR(info->extack,
				attrs[TAPMIG_A_HOLD_MAX_FROZEN_MS]);
	return err;
}

/**
 * tapmig_nl_hold_freeze_doit() - freeze a hold
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_freeze_doit(struct sk_buff *skb, struct genl_info *info)
{
	return tapmig_hold_freeze(info->user_ptr[0], false, info->extack);
}

/**
 * tapmig_nl_hold_thaw_doit() - begin to thaw a hold
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_thaw_doit(struct sk_buff *skb, struct genl_info *info)
{
	return tapmig_thaw(info->user_ptr[0], info->extack);
}

/**
 * tapmig_nl_hold_discard_doit() - free all packets of a hold
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_hold_discard_doit(struct sk_buff *skb, struct genl_info *info)
{
	return tapmig_hold_discard(info->user_ptr[0], info->extack);
}

/**
 * struct tapmig_nl_export - state of a dump of packets
 * @h: the hold, referenced
 * @seq: number of the next packet, or of the one being cut
 * @prev: number of the packet before; what is between was dropped
 * @offset: how much of the packet was put
 * @sub: index of the segment
 * @low: at the end, among those that were given back late
 *
 * When the packet that is being cut is committed meanwhile, its rest is left
 * out: who commits a packet has it.
 */
struct tapmig_nl_export {
	struct tapmig_hold *h;
	u64 seq;
	u64 prev;
	u32 offset;
	u16 sub;
	bool low;
};

/**
 * tapmig_nl_export_allowed() - check the state of a hold for an export
 * @h: the hold
 * @extack: set when refused
 *
 * Return: 0, -EBUSY or -ENODEV.
 */
static int tapmig_nl_export_allowed(struct tapmig_hold *h,
				    struct netlink_ext_ack *extack)
{
	lockdep_assert_held(&h->lock);

	if (!h->gone && (h->state == TAPMIG_STATE_FROZEN ||
			 h->state == TAPMIG_STATE_THAWING ||
			 h->state == TAPMIG_STATE_DEAD))
		return 0;
	return tapmig_hold_refuse(h, extack);
}

/**
 * tapmig_nl_packet_get_start() - begin an export
 * @cb: dump
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_packet_get_start(struct netlink_callback *cb)
{
	struct tapmig_nl_export *ctx = (struct tapmig_nl_export *)cb->ctx;
	struct nlattr **attrs = genl_info_dump(cb)->attrs;
	struct tapmig_hold *h;
	int err;

	BUILD_BUG_ON(sizeof(*ctx) > TAPMIG_DUMP_CTX);

	if (NL_REQ_ATTR_CHECK(cb->extack, NULL, attrs,
			      TAPMIG_A_TRANSFER_HOLD_ID)) {
		/* An old kernel cannot name the attribute. */
		NL_SET_ERR_MSG(cb->extack, "hold-id is missing");
		return -EINVAL;
	}
	h = tapmig_nl_hold_get(sock_net(cb->skb->sk), nlmsg_data(cb->nlh),
			       attrs[TAPMIG_A_TRANSFER_HOLD_ID], cb->extack);
	if (IS_ERR(h))
		return PTR_ERR(h);

	mutex_lock(&h->lock);
	err = tapmig_nl_export_allowed(h, cb->extack);
	mutex_unlock(&h->lock);
	if (err) {
		tapmig_hold_put(h);
		return err;
	}

	ctx->h = h;
	/* Who asks from a number on knows of all before it. */
	if (attrs[TAPMIG_A_TRANSFER_SEQ])
		ctx->seq = nla_get_u64(attrs[TAPMIG_A_TRANSFER_SEQ]);
	if (ctx->seq)
		ctx->prev = ctx->seq - 1;
	return 0;
}

/**
 * tapmig_nl_packet_get_done() - end an export
 * @cb: dump
 *
 * Return: 0.
 */
int tapmig_nl_packet_get_done(struct netlink_callback *cb)
{
	struct tapmig_nl_export *ctx = (struct tapmig_nl_export *)cb->ctx;

	tapmig_hold_put(ctx->h);
	return 0;
}

/**
 * tapmig_nl_put_meta() - put what is known of a packet
 * @skb: message, within the nest of the packet
 * @h: the hold
 * @p: the packet
 * @m: what goes along with it
 * @offset: of the chunk
 * @dropped: how many were dropped before it
 *
 * Each chunk has all of it.
 *
 * Return: 0 or -EMSGSIZE.
 */
static int tapmig_nl_put_meta(struct sk_buff *skb, const struct tapmig_hold *h,
			      const struct tapmig_pkt *p,
			      const struct tapmig_meta *m, u32 offset,
			      u32 dropped)
{
	/* Each export gives the same time. */
	s64 to_real = h->frozen_real_at - h->frozen_at;

	if (nla_put_u64_64bit(skb, TAPMIG_A_PACKET_SEQ, p->seq,
			      TAPMIG_A_PACKET_PAD) ||
	    nla_put_u16(skb, TAPMIG_A_PACKET_QUEUE, p->queue) ||
	    nla_put_u64_64bit(skb, TAPMIG_A_PACKET_TIME_NS, p->time + to_real,
			      TAPMIG_A_PACKET_PAD) ||
	    nla_put_u32(skb, TAPMIG_A_PACKET_LEN, tapmig_pkt_len(p)))
		return -EMSGSIZE;
	if (p->subs && (nla_put_u16(skb, TAPMIG_A_PACKET_SUB, p->sub) ||
			nla_put_u16(skb, TAPMIG_A_PACKET_SUBS, p->subs)))
		return -EMSGSIZE;
	if (m->has_vnet && nla_put(skb, TAPMIG_A_PACKET_VNET_HDR,
				   sizeof(m->vnet), &m->vnet))
		return -EMSGSIZE;
	if (m->has_vlan && (nla_put_u16(skb, TAPMIG_A_PACKET_VLAN_TCI,
					m->vlan_tci) ||
			    nla_put_be16(skb, TAPMIG_A_PACKET_VLAN_PROTO,
					 m->vlan_proto)))
		return -EMSGSIZE;
	if (m->protocol &&
	    nla_put_be16(skb, TAPMIG_A_PACKET_PROTOCOL, m->protocol))
		return -EMSGSIZE;
	if (m->has_hash && nla_put_u32(skb, TAPMIG_A_PACKET_HASH, m->hash))
		return -EMSGSIZE;
	if (offset)
		return nla_put_u32(skb, TAPMIG_A_PACKET_OFFSET, offset);
	if (dropped)
		return nla_put_u32(skb, TAPMIG_A_PACKET_DROPPED_BEFORE,
				   dropped);
	return 0;
}

/**
 * tapmig_nl_put_chunk() - put a packet, or as much of it as fits
 * @ctx: dump, at the packet
 * @skb: message
 * @p: the packet
 * @m: what goes along with it
 * @first: there is nothing else in the message
 *
 * Return: 0: all of it was put; 1: a part, and the message is full;
 * -EMSGSIZE: nothing fits.
 */
static int tapmig_nl_put_chunk(struct tapmig_nl_export *ctx,
			       struct sk_buff *skb, const struct tapmig_pkt *p,
			       const struct tapmig_meta *m, bool first)
{
	u32 left = tapmig_pkt_len(p) - ctx->offset;
	u64 prev = max(ctx->prev, ctx->h->gap_base);
	struct nlattr *nest, *data;
	u64 dropped = 0;
	u32 size;
	int room;

	if (p->seq > prev)
		dropped = min_t(u64, p->seq - prev - 1, U32_MAX);

	nest = nla_nest_start(skb, TAPMIG_A_TRANSFER_PACKET);
	if (!nest)
		return -EMSGSIZE;
	if (tapmig_nl_put_meta(skb, ctx->h, p, m, ctx->offset, dropped))
		goto cancel;
	/* Of the padding behind the data too. */
	room = round_down(skb_tailroom(skb), NLA_ALIGNTO) - NLA_HDRLEN;
	if (room <= 0)
		goto cancel;
	size = min3(left, (u32)room, (u32)TAPMIG_CHUNK_MAX);
	if (size < left && size < TAPMIG_CHUNK_MIN && !first)
		goto cancel;
	data = nla_reserve(skb, TAPMIG_A_PACKET_DATA, size);
	if (!data || tapmig_pkt_copy(p, ctx->offset, nla_data(data), size))
		goto cancel;
	nla_nest_end(skb, nest);

	ctx->offset += size;
	return size < left;

cancel:
	nla_nest_cancel(skb, nest);
	return -EMSGSIZE;
}

/**
 * tapmig_nl_export_low() - first packet that was given back and not exported
 * @h: the hold
 *
 * vhost-net may give packets back after those that came later were exported.
 * Their numbers are below all others, so that nobody would ask for them.
 *
 * Return: the packet, or NULL.
 */
static struct tapmig_pkt *tapmig_nl_export_low(struct tapmig_hold *h)
{
	struct tapmig_pkt *p;

	for (p = h->captured.head; p && p->seq < TAPMIG_SEQ_FIRST; p = p->next)
		if (!(p->flags & TAPMIG_PKT_EXPORTED))
			return p;
	return NULL;
}

/**
 * tapmig_nl_export_next() - packet at the cursor of an export
 * @ctx: dump; the cursor is moved to the packet
 * @m: what goes along with the packet
 * @extack: set on failure
 *
 * A packet whose GSO type cannot be expressed is replaced by its segments, and
 * one with offloads that no host would take loses them.
 *
 * Return: the packet; NULL: no more; ERR_PTR(-ENOMEM).
 */
static struct tapmig_pkt *tapmig_nl_export_next(struct tapmig_nl_export *ctx,
						struct tapmig_meta *m,
						struct netlink_ext_ack *extack)
{
	struct tapmig_hold *h = ctx->h;
	struct tapmig_list segs = {};
	struct tapmig_pkt *p;
	int err;

	for (;;) {
		p = tapmig_captured_seek(h, ctx->seq, ctx->sub);
		if (ctx->low && p && p->seq >= TAPMIG_SEQ_FIRST)
			return NULL;
		if (!p && !ctx->low)
			p = tapmig_nl_export_low(h);
		if (!p)
			return NULL;
		ctx->low |= p->seq < ctx->seq;
		if (p->seq != ctx->seq || p->sub != ctx->sub) {
			ctx->seq = p->seq;
			ctx->sub = p->sub;
			ctx->offset = 0;
		}
		err = tapmig_meta_get(p, m);
		if (!err && tapmig_meta_importable(p, m))
			return p;

		err = tapmig_skb_segment(tapmig_pkt_skb(p), &segs);
		if (!err) {
			tapmig_captured_replace(h, p, &segs);
			/* No loss: its segments are in its place. */
			tapmig_pkt_free(p);
			continue;
		}
		/* Neither could its own host make sense of it. */
		if (err != -ENOMEM && err != -ENOBUFS)
			err = tapmig_pkt_make_plain(p);
		if (err) {
			NL_SET_ERR_MSG(extack,
				       "no memory to segment a GSO packet");
			return ERR_PTR(-ENOMEM);
		}
	}
}

/**
 * tapmig_nl_export() - put packets into a message
 * @ctx: dump
 * @skb: message
 * @extack: set on failure
 *
 * Return: how many packets or parts of them were put, 0 at the end, or -errno.
 */
static int tapmig_nl_export(struct tapmig_nl_export *ctx, struct sk_buff *skb,
			    struct netlink_ext_ack *extack)
{
	struct tapmig_hold *h = ctx->h;
	struct tapmig_meta m;
	struct tapmig_pkt *p;
	int n, err;

	lockdep_assert_held(&h->lock);

	err = tapmig_nl_export_allowed(h, extack);
	if (err)
		return err;
	tapmig_hold_settle(h);

	for (n = 0; (p = tapmig_nl_export_next(ctx, &m, extack)); n++) {
		if (IS_ERR(p))
			return n ?: PTR_ERR(p);
		err = tapmig_nl_put_chunk(ctx, skb, p, &m, !n);
		if (err < 0)
			return n ?: err;
		ctx->prev = p->seq;
		if (err)
			return n + 1;
		h->counts.exported++;
		p->flags |= TAPMIG_PKT_EXPORTED;
		ctx->sub++;
		ctx->offset = 0;
	}
	return n;
}

/**
 * tapmig_nl_packet_get_dumpit() - export packets
 * @skb: where to put them
 * @cb: dump
 *
 * The packets that fit @skb are in one message.
 *
 * Return: length of what was put, 0 at the end, or -errno.
 */
int tapmig_nl_packet_get_dumpit(struct sk_buff *skb,
				struct netlink_callback *cb)
{
	struct tapmig_nl_export *ctx = (struct tapmig_nl_export *)cb->ctx;
	void *hdr;
	int n;

	hdr = genlmsg_put(skb, NETLINK_CB(cb->skb).portid,
			  cb->nlh->nlmsg_seq, &tapmig_nl_family, NLM_F_MULTI,
			  TAPMIG_CMD_PACKET_GET);
	if (!hdr)
		return -EMSGSIZE;

	mutex_lock(&ctx->h->lock);
	n = tapmig_nl_export(ctx, skb, cb->extack);
	mutex_unlock(&ctx->h->lock);
	if (n <= 0) {
		genlmsg_cancel(skb, hdr);
		return n;
	}
	genlmsg_end(skb, hdr);
	return skb->len;
}

/**
 * tapmig_nl_partial_free() - forget a packet that was imported in part
 * @h: the hold
 */
void tapmig_nl_partial_free(struct tapmig_hold *h)
{
	lockdep_assert_held(&h->lock);

	if (!h->partial)
		return;
	/* No loss here: its sender was not told that it came. */
	kfree_skb(h->partial->skb);
	kfree(h->partial);
	h->partial = NULL;
}

/**
 * struct tapmig_nl_import - a packet-new request at work
 * @h: the hold
 * @extack: for refusals
 * @now: CLOCK_MONOTONIC
 * @to_real: what makes CLOCK_REALTIME of that
 * @cur: packet that is not yet complete, if @cur.skb
 * @cur_old: its skb belongs to @h->partial: the request has not changed that
 * @shared: a packet of @list shares data with @h->partial
 * @segmented: GSO packets segmented
 * @list: complete packets
 */
struct tapmig_nl_import {
	struct tapmig_hold *h;
	struct netlink_ext_ack *extack;
	s64 now;
	s64 to_real;
	struct tapmig_partial cur;
	bool cur_old;
	bool shared;
	u64 segmented;
	struct tapmig_list list;
};

/**
 * tapmig_nl_refuse() - refuse a member of a packet
 * @im: request
 * @attr: the attribute
 * @msg: why
 */
#define tapmig_nl_refuse(im, attr, msg) \
	({ NL_SET_ERR_MSG_ATTR((im)->extack, attr, msg); -EINVAL; })

/**
 * tapmig_nl_import_time() - time of arrival of an imported packet
 * @im: request
 * @attr: CLOCK_REALTIME of its host, or NULL
 *
 * Return: CLOCK_MONOTONIC, not in the future.
 */
static s64 tapmig_nl_import_time(const struct tapmig_nl_import *im,
				 const struct nlattr *attr)
{
	u64 real;

	if (!attr)
		return im->now;
	real = min_t(u64, nla_get_u64(attr), S64_MAX);
	return clamp_t(s64, (s64)real - im->to_real, 0, im->now);
}

/**
 * tapmig_nl_import_meta() - what goes along with an imported packet
 * @im: request
 * @nest: attribute of the packet
 * @tb: its members
 * @m: where to put it
 *
 * Return: 0 or -EINVAL.
 */
static int tapmig_nl_import_meta(struct tapmig_nl_import *im,
				 struct nlattr *nest, struct nlattr **tb,
				 struct tapmig_meta *m)
{
	*m = (struct tapmig_meta) {};
	if (tb[TAPMIG_A_PACKET_VNET_HDR]) {
		nla_memcpy(&m->vnet, tb[TAPMIG_A_PACKET_VNET_HDR],
			   sizeof(m->vnet));
		m->has_vnet = memchr_inv(&m->vnet, 0, sizeof(m->vnet));
	}
	if (tb[TAPMIG_A_PACKET_VLAN_TCI] || tb[TAPMIG_A_PACKET_VLAN_PROTO]) {
		if (NL_REQ_ATTR_CHECK(im->extack, nest, tb,
				      TAPMIG_A_PACKET_VLAN_TCI) ||
		    NL_REQ_ATTR_CHECK(im->extack, nest, tb,
				      TAPMIG_A_PACKET_VLAN_PROTO))
			return -EINVAL;
		m->has_vlan = true;
		m->vlan_tci = nla_get_u16(tb[TAPMIG_A_PACKET_VLAN_TCI]);
		m->vlan_proto = nla_get_be16(tb[TAPMIG_A_PACKET_VLAN_PROTO]);
	}
	if (tb[TAPMIG_A_PACKET_PROTOCOL])
		m->protocol = nla_get_be16(tb[TAPMIG_A_PACKET_PROTOCOL]);
	if (tb[TAPMIG_A_PACKET_HASH]) {
		m->has_hash = true;
		m->hash = nla_get_u32(tb[TAPMIG_A_PACKET_HASH]);
	}
	return 0;
}

/**
 * tapmig_nl_import_begin_packet() - the first chunk of a packet
 * @im: request
 * @nest: attribute of the packet
 * @tb: its members
 * @c: packet, with its number
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_nl_import_begin_packet(struct tapmig_nl_import *im,
					 struct nlattr *nest,
					 struct nlattr **tb,
					 struct tapmig_partial *c)
{
	if (NL_REQ_ATTR_CHECK(im->extack, nest, tb, TAPMIG_A_PACKET_LEN))
		return -EINVAL;
	c->len = nla_get_u32(tb[TAPMIG_A_PACKET_LEN]);
	if (!c->len || c->len > TAPMIG_FRAME_MAX)
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_LEN],
					"bad length of a frame");
	if (tb[TAPMIG_A_PACKET_SUBS])
		c->subs = nla_get_u16(tb[TAPMIG_A_PACKET_SUBS]);
	if (c->subs > TAPMIG_MAX_SEGMENTS)
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_SUBS],
					"too many segments");
	if (c->sub && c->sub >= c->subs)
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_SUB],
					"index of a segment is beyond their number");
	if (tb[TAPMIG_A_PACKET_QUEUE])
		c->queue = nla_get_u16(tb[TAPMIG_A_PACKET_QUEUE]);
	c->time = tapmig_nl_import_time(im, tb[TAPMIG_A_PACKET_TIME_NS]);
	if (tapmig_nl_import_meta(im, nest, tb, &c->meta))
		return -EINVAL;

	c->skb = tapmig_skb_alloc(c->len, &c->meta.vnet);
	if (!c->skb) {
		NL_SET_ERR_MSG(im->extack, "no memory for a frame");
		return -ENOMEM;
	}
	im->cur = *c;
	im->cur_old = false;
	return 0;
}

/**
 * tapmig_nl_import_end_packet() - all of a packet is there
 * @im: request; its current packet is no more
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_nl_import_end_packet(struct tapmig_nl_import *im)
{
	struct tapmig_partial *c = &im->cur;
	struct sk_buff *skb = c->skb;
	struct tapmig_list done = {};
	struct tapmig_pkt *p;
	bool segmented;
	int err;

	/* One of an earlier request has to stay should this one fail. */
	if (im->cur_old) {
		skb = skb_clone(skb, GFP_KERNEL);
		if (!skb) {
			NL_SET_ERR_MSG(im->extack, "no memory for a frame");
			return -ENOMEM;
		}
		im->shared = true;
		im->cur_old = false;
	}
	c->skb = NULL;
	err = tapmig_skb_finish(skb, im->h->link_type, &c->meta, &done,
				&segmented, im->extack);
	if (err)
		return err;
	if (segmented && c->subs) {
		NL_SET_ERR_MSG(im->extack,
			       "a segment has to be segmented again");
		/* No loss: the sender is refused, and has it. */
		tapmig_list_free(&done);
		return -EINVAL;
	}
	im->segmented += segmented;

	while ((p = tapmig_list_pop(&done))) {
		p->seq = c->seq;
		p->time = c->time;
		p->queue = c->queue;
		if (!segmented) {
			p->sub = c->sub;
			p->subs = c->subs;
		}
		tapmig_list_add_tail(&im->list, p);
	}
	return 0;
}

/**
 * tapmig_nl_import_chunk() - take a packet, or a chunk of it
 * @im: request
 * @nest: attribute of the packet
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
static int tapmig_nl_import_chunk(struct tapmig_nl_import *im,
				  struct nlattr *nest)
{
	struct nlattr *tb[ARRAY_SIZE(tapmig_packet_nl_policy)];
	struct tapmig_partial *c = &im->cur;
	struct tapmig_partial new = {};
	u32 offset = 0;
	u32 size;
	int err;

	err = nla_parse_nested(tb, ARRAY_SIZE(tapmig_packet_nl_policy) - 1,
			       nest, tapmig_packet_nl_policy, im->extack);
	if (err)
		return err;
	if (NL_REQ_ATTR_CHECK(im->extack, nest, tb, TAPMIG_A_PACKET_SEQ) ||
	    NL_REQ_ATTR_CHECK(im->extack, nest, tb, TAPMIG_A_PACKET_DATA))
		return -EINVAL;
	new.seq = nla_get_u64(tb[TAPMIG_A_PACKET_SEQ]);
	if (tb[TAPMIG_A_PACKET_SUB])
		new.sub = nla_get_u16(tb[TAPMIG_A_PACKET_SUB]);
	if (tb[TAPMIG_A_PACKET_OFFSET])
		offset = nla_get_u32(tb[TAPMIG_A_PACKET_OFFSET]);
	size = nla_len(tb[TAPMIG_A_PACKET_DATA]);

	if (!new.seq || new.seq > TAPMIG_SEQ_MAX)
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_SEQ],
					"sequence number is out of range");
	if (c->skb && (new.seq != c->seq || new.sub != c->sub))
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_SEQ],
					"the packet before is not complete");
	if (offset != (c->skb ? c->got : 0))
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_OFFSET] ?: nest,
					"a chunk of the packet is missing");
	if (!c->skb) {
		err = tapmig_nl_import_begin_packet(im, nest, tb, &new);
		if (err)
			return err;
	} else if (tb[TAPMIG_A_PACKET_LEN] &&
		   nla_get_u32(tb[TAPMIG_A_PACKET_LEN]) != c->len) {
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_LEN],
					"length of the frame has changed");
	}
	if (!size || size > c->len - c->got)
		return tapmig_nl_refuse(im, tb[TAPMIG_A_PACKET_DATA],
					"data is empty or beyond the length of the frame");
	err = skb_store_bits(c->skb, c->got, nla_data(tb[TAPMIG_A_PACKET_DATA]),
			     size);
	if (err)
		return err;
	c->got += size;
	if (c->got < c->len)
		return 0;

	err = tapmig_nl_import_end_packet(im);
	if (err)
		NL_SET_BAD_ATTR(im->extack, nest);
	return err;
}

/**
 * tapmig_nl_import() - take the packets of a request, all or none
 * @im: request
 * @info: request, parsed
 * @res: what became of them
 *
 * Return: 0 or -errno.
 */
static int tapmig_nl_import(struct tapmig_nl_import *im,
			    struct genl_info *info,
			    struct tapmig_import_result *res)
{
	struct tapmig_partial *rest = NULL;
	struct tapmig_hold *h = im->h;
	struct nlattr *attr;
	int rem, err;

	lockdep_assert_held(&h->lock);

	if (h->gone)
		return tapmig_hold_refuse(h, im->extack);
	if (!h->importing) {
		NL_SET_ERR_MSG(im->extack, "no import session is open");
		return -EBUSY;
	}
	if (h->partial) {
		im->cur = *h->partial;
		im->cur_old = true;
	}

	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, rem) {
		if (nla_type(attr) != TAPMIG_A_TRANSFER_PACKET)
			continue;
		err = tapmig_nl_import_chunk(im, attr);
		if (err)
			goto undo;
		/* They may be segments of less; not to be made in vain. */
		if (im->list.count > h->max_packets ||
		    im->list.bytes > h->max_bytes) {
			NL_SET_ERR_MSG_ATTR(im->extack, attr,
					    "the hold has no room for these packets");
			err = -ENOBUFS;
			goto undo;
		}
		cond_resched();
	}
	if (im->cur.skb && !im->cur_old) {
		err = -ENOMEM;
		rest = kmalloc_obj(*rest, GFP_KERNEL_ACCOUNT);
		if (!rest)
			goto undo;
		*rest = im->cur;
	}

	err = tapmig_import_packets(h, &im->list, res, im->extack);
	if (err)
		goto undo;
	h->counts.segmented += im->segmented;
	if (im->cur_old) {
		h->partial->got = im->cur.got;
	} else {
		tapmig_nl_partial_free(h);
		h->partial = rest;
	}
	return 0;

undo:
	kfree(rest);
	if (im->cur.skb && !im->cur_old)
		kfree_skb(im->cur.skb);
	tapmig_list_free(&im->list);
	/* What was found to be GSO is of the data that they shared. */
	if (im->shared)
		skb_gso_reset(h->partial->skb);
	return err;
}

/**
 * tapmig_nl_packet_new_doit() - import packets
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_packet_new_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct tapmig_import_result res = {};
	struct tapmig_nl_import im = {
		.h = info->user_ptr[0],
		.extack = info->extack,
		.now = ktime_get_ns(),
	};
	struct sk_buff *reply;
	void *hdr;
	int err;

	if (GENL_REQ_ATTR_CHECK(info, TAPMIG_A_TRANSFER_PACKET))
		return -EINVAL;
	im.to_real = ktime_mono_to_real(im.now) - im.now;

	/* Nothing may fail once the packets were taken. */
	reply = genlmsg_new(3 * nla_total_size(sizeof(u32)), GFP_KERNEL);
	if (!reply)
		return -ENOMEM;
	err = -EMSGSIZE;
	hdr = genlmsg_put_reply(reply, info, &tapmig_nl_family, 0,
				TAPMIG_CMD_PACKET_NEW);
	if (!hdr)
		goto free_reply;

	mutex_lock(&im.h->lock);
	err = tapmig_nl_import(&im, info, &res);
	mutex_unlock(&im.h->lock);
	if (err)
		goto free_reply;

	if (nla_put_u32(reply, TAPMIG_A_TRANSFER_ACCEPTED, res.accepted) ||
	    nla_put_u32(reply, TAPMIG_A_TRANSFER_RESENT, res.resent) ||
	    nla_put_u32(reply, TAPMIG_A_TRANSFER_LATE, res.late)) {
		err = -EMSGSIZE;
		goto free_reply;
	}
	genlmsg_end(reply, hdr);
	return genlmsg_reply(reply, info);

free_reply:
	nlmsg_free(reply);
	return err;
}

/**
 * tapmig_nl_packet_commit_doit() - free packets that are safe elsewhere
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_packet_commit_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *seq = info->attrs[TAPMIG_A_TRANSFER_SEQ];
	int err;

	if (GENL_REQ_ATTR_CHECK(info, TAPMIG_A_TRANSFER_SEQ))
		return -EINVAL;
	err = tapmig_hold_commit(info->user_ptr[0], nla_get_u64(seq),
				 info->extack);
	if (err == -ERANGE)
		NL_SET_BAD_ATTR(info->extack, seq);
	return err;
}

/**
 * tapmig_nl_import_begin_doit() - open an import session
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_import_begin_doit(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *age = info->attrs[TAPMIG_A_TRANSFER_AGE_MS];

	return tapmig_import_begin(info->user_ptr[0], age,
				   age ? nla_get_u64(age) : 0, info->extack);
}

/**
 * tapmig_nl_import_sync_doit() - the destination has all packets up to now
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_import_sync_doit(struct sk_buff *skb, struct genl_info *info)
{
	return tapmig_import_sync(info->user_ptr[0], info->extack);
}

/**
 * tapmig_nl_import_end_doit() - close an import session
 * @skb: request
 * @info: request, parsed
 *
 * Return: 0 or -errno.
 */
int tapmig_nl_import_end_doit(struct sk_buff *skb, struct genl_info *info)
{
	return tapmig_import_end(info->user_ptr[0], info->extack);
}

/**
 * tapmig_nl_init() - register the family
 *
 * Return: 0 or -errno.
 */
int __init tapmig_nl_init(void)
{
	return genl_register_family(&tapmig_nl_family);
}

/**
 * tapmig_nl_exit() - unregister the family
 */
void tapmig_nl_exit(void)
{
	genl_unregister_family(&tapmig_nl_family);
}
