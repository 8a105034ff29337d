/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause) */
/* Do not edit directly, auto-generated from: */
/*	uapi/netlink/tapmig.yaml */
/* YNL-GEN uapi header */
/* To regenerate run: make ynl-regen */

#ifndef _UAPI_LINUX_TAPMIG_NETLINK_H
#define _UAPI_LINUX_TAPMIG_NETLINK_H

#define TAPMIG_FAMILY_NAME	"tapmig"
#define TAPMIG_FAMILY_VERSION	1

#define TAPMIG_LABEL_MAX	63
#define TAPMIG_FRAME_MAX	524288
#define TAPMIG_SEQ_FIRST	65537
#define TAPMIG_SEQ_MAX		2147483647

/**
 * enum tapmig_state - Where a hold is in its life.
 * @TAPMIG_STATE_ARMED: Has its queues, or waits for them; readers go on as
 *   usual. So it is again after a thaw.
 * @TAPMIG_STATE_FROZEN: Readers see empty queues, arriving packets are held.
 * @TAPMIG_STATE_THAWING: Thaw was asked for and is not complete.
 * @TAPMIG_STATE_LIVE: Thawed; late packets from the peer still go to the
 *   queues.
 * @TAPMIG_STATE_DEAD: The queues are gone; held packets can still be exported.
 */
enum tapmig_state {
	TAPMIG_STATE_ARMED,
	TAPMIG_STATE_FROZEN,
	TAPMIG_STATE_THAWING,
	TAPMIG_STATE_LIVE,
	TAPMIG_STATE_DEAD,
};

/**
 * enum tapmig_role - Which end of a migration a hold is.
 * @TAPMIG_ROLE_SOURCE: The guest leaves this host.
 * @TAPMIG_ROLE_STANDBY: The guest is expected on this host.
 */
enum tapmig_role {
	TAPMIG_ROLE_SOURCE,
	TAPMIG_ROLE_STANDBY,
};

/**
 * enum tapmig_dedup - Which captured packets can be copies of imported ones.
 * @TAPMIG_DEDUP_MULTICAST: Those to group addresses, and others that arrived
 *   at both hosts at the same time; the network floods them.
 * @TAPMIG_DEDUP_ALL: Any; the network clones all traffic to both hosts.
 * @TAPMIG_DEDUP_OFF: None.
 */
enum tapmig_dedup {
	TAPMIG_DEDUP_MULTICAST,
	TAPMIG_DEDUP_ALL,
	TAPMIG_DEDUP_OFF,
};

/**
 * enum tapmig_deadline_action - What happens to a hold that is still frozen at
 *   its deadline.
 * @TAPMIG_DEADLINE_ACTION_THAW: The packets are handed to the readers.
 * @TAPMIG_DEADLINE_ACTION_DISCARD: The packets are freed and the readers go on
 *   without them.
 */
enum tapmig_deadline_action {
	TAPMIG_DEADLINE_ACTION_THAW,
	TAPMIG_DEADLINE_ACTION_DISCARD,
};

/**
 * enum tapmig_link_type - What the frames of a hold begin with.
 * @TAPMIG_LINK_TYPE_ETHERNET: An Ethernet header.
 * @TAPMIG_LINK_TYPE_RAW_IP: An IP header; a TUN device without Ethernet
 *   headers.
 */
enum tapmig_link_type {
	TAPMIG_LINK_TYPE_ETHERNET,
	TAPMIG_LINK_TYPE_RAW_IP,
};

/**
 * enum tapmig_hold_flags - Properties of a hold.
 * @TAPMIG_HOLD_FLAGS_DETACHED: Outlives its owner: at the last close of the
 *   hold fd the packets stay, for export, and the queues are left. A thaw
 *   clears it.
 * @TAPMIG_HOLD_FLAGS_PINNED: Needs no owner: stays frozen with its queues open
 *   until it is thawed, discarded, or its deadline passes.
 * @TAPMIG_HOLD_FLAGS_PEER: Is paired with a hold of another host. The thaw of
 *   a standby hold waits for that to be in step.
 * @TAPMIG_HOLD_FLAGS_DUE: The deadline passed before anybody acted.
 * @TAPMIG_HOLD_FLAGS_ORPHAN: Nobody but the hold has its queues open.
 * @TAPMIG_HOLD_FLAGS_IMPORTING: An import session is open.
 */
enum tapmig_hold_flags {
	TAPMIG_HOLD_FLAGS_DETACHED = 1,
	TAPMIG_HOLD_FLAGS_PINNED = 2,
	TAPMIG_HOLD_FLAGS_PEER = 4,
	TAPMIG_HOLD_FLAGS_DUE = 8,
	TAPMIG_HOLD_FLAGS_ORPHAN = 16,
	TAPMIG_HOLD_FLAGS_IMPORTING = 32,
};

enum {
	TAPMIG_A_HOLD_ID = 1,
	TAPMIG_A_HOLD_PAD,
	TAPMIG_A_HOLD_LABEL,
	TAPMIG_A_HOLD_STATE,
	TAPMIG_A_HOLD_ROLE,
	TAPMIG_A_HOLD_FLAGS,
	TAPMIG_A_HOLD_FLAGS_MASK,
	TAPMIG_A_HOLD_LINK_TYPE,
	TAPMIG_A_HOLD_DEDUP,
	TAPMIG_A_HOLD_DEADLINE_ACTION,
	TAPMIG_A_HOLD_IFINDEX,
	TAPMIG_A_HOLD_IFNAME,
	TAPMIG_A_HOLD_MAC,
	TAPMIG_A_HOLD_QUEUES,
	TAPMIG_A_HOLD_OWNER_PID,
	TAPMIG_A_HOLD_MAX_FROZEN_MS,
	TAPMIG_A_HOLD_DEADLINE_IN_MS,
	TAPMIG_A_HOLD_WAIT_IMPORT_MS,
	TAPMIG_A_HOLD_MAX_PACKETS,
	TAPMIG_A_HOLD_MAX_BYTES,
	TAPMIG_A_HOLD_HELD_PACKETS,
	TAPMIG_A_HOLD_HELD_BYTES,
	TAPMIG_A_HOLD_PENDING_IMPORTS,
	TAPMIG_A_HOLD_HIGHEST_SEQ,
	TAPMIG_A_HOLD_COMMITTED_SEQ,
	TAPMIG_A_HOLD_CAPTURED,
	TAPMIG_A_HOLD_DROPPED,
	TAPMIG_A_HOLD_DROPPED_BYTES,
	TAPMIG_A_HOLD_TRIMMED,
	TAPMIG_A_HOLD_EXPORTED,
	TAPMIG_A_HOLD_IMPORTED,
	TAPMIG_A_HOLD_RESENT,
	TAPMIG_A_HOLD_FLOODED,
	TAPMIG_A_HOLD_LATE,
	TAPMIG_A_HOLD_LATE_SKIPPED,
	TAPMIG_A_HOLD_OWN_ADDRESS,
	TAPMIG_A_HOLD_SEGMENTED,
	TAPMIG_A_HOLD_DELIVERED,
	TAPMIG_A_HOLD_LOST,
	TAPMIG_A_HOLD_DISCARDED,
	TAPMIG_A_HOLD_FROZEN_NS,
	TAPMIG_A_HOLD_FROZEN_FOR_MS,
	TAPMIG_A_HOLD_THAW_WAIT_US,
	TAPMIG_A_HOLD_THAW_US,
	TAPMIG_A_HOLD_THAW_IRQOFF_NS,

	__TAPMIG_A_HOLD_MAX,
	TAPMIG_A_HOLD_MAX = (__TAPMIG_A_HOLD_MAX - 1)
};

enum {
	TAPMIG_A_PACKET_PAD = 1,
	TAPMIG_A_PACKET_SEQ,
	TAPMIG_A_PACKET_SUB,
	TAPMIG_A_PACKET_SUBS,
	TAPMIG_A_PACKET_QUEUE,
	TAPMIG_A_PACKET_TIME_NS,
	TAPMIG_A_PACKET_LEN,
	TAPMIG_A_PACKET_OFFSET,
	TAPMIG_A_PACKET_DATA,
	TAPMIG_A_PACKET_VNET_HDR,
	TAPMIG_A_PACKET_VLAN_TCI,
	TAPMIG_A_PACKET_VLAN_PROTO,
	TAPMIG_A_PACKET_PROTOCOL,
	TAPMIG_A_PACKET_HASH,
	TAPMIG_A_PACKET_DROPPED_BEFORE,

	__TAPMIG_A_PACKET_MAX,
	TAPMIG_A_PACKET_MAX = (__TAPMIG_A_PACKET_MAX - 1)
};

enum {
	TAPMIG_A_TRANSFER_HOLD_ID = 1,
	TAPMIG_A_TRANSFER_PAD,
	TAPMIG_A_TRANSFER_AGE_MS,
	TAPMIG_A_TRANSFER_SEQ,
	TAPMIG_A_TRANSFER_PACKET,
	TAPMIG_A_TRANSFER_ACCEPTED,
	TAPMIG_A_TRANSFER_RESENT,
	TAPMIG_A_TRANSFER_LATE,

	__TAPMIG_A_TRANSFER_MAX,
	TAPMIG_A_TRANSFER_MAX = (__TAPMIG_A_TRANSFER_MAX - 1)
};

enum {
	TAPMIG_CMD_HOLD_GET = 1,
	TAPMIG_CMD_HOLD_NTF,
	TAPMIG_CMD_HOLD_SET,
	TAPMIG_CMD_HOLD_FREEZE,
	TAPMIG_CMD_HOLD_THAW,
	TAPMIG_CMD_HOLD_DISCARD,
	TAPMIG_CMD_PACKET_GET,
	TAPMIG_CMD_PACKET_NEW,
	TAPMIG_CMD_PACKET_COMMIT,
	TAPMIG_CMD_IMPORT_BEGIN,
	TAPMIG_CMD_IMPORT_SYNC,
	TAPMIG_CMD_IMPORT_END,

	__TAPMIG_CMD_MAX,
	TAPMIG_CMD_MAX = (__TAPMIG_CMD_MAX - 1)
};

#define TAPMIG_MCGRP_EVENTS	"events"

#endif /* _UAPI_LINUX_TAPMIG_NETLINK_H */
