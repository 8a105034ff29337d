/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * tapmig: hold the packets of a TAP queue across a migration.
 *
 * open("/dev/tapmig") gives a control fd; TAPMIG_CREATE on it returns a hold
 * fd, on which all other ioctls work. A hold fd can be polled: POLLIN when
 * the hold changed since this fd's last TAPMIG_INFO, POLLHUP when the hold is
 * dead. The last close of a hold's fds ends the hold, unless it is DETACHED
 * or PINNED.
 *
 * Every structure begins with its size in bytes, set by the caller. A larger
 * structure than the kernel knows is taken if all that the kernel does not
 * know is zero, else refused with E2BIG; a smaller one than version 1 is
 * refused with EINVAL. TAPMIG_INFO takes nothing, so there the rest may be
 * anything, and stays as it is. Reserved members must be zero, unknown flags
 * are refused with EINVAL.
 *
 * Errors common to all: EFAULT, EINVAL (as above, and as said below), E2BIG
 * (as above, and for a structure larger than a page), EPROTO (TAPMIG_CREATE
 * only: another ABI version), ENOTTY (not one of these).
 */
#ifndef _UAPI_LINUX_TAPMIG_H
#define _UAPI_LINUX_TAPMIG_H

#include <linux/ioctl.h>
#include <linux/tapmig_netlink.h>
#include <linux/types.h>

#define TAPMIG_DEVICE_NAME	"tapmig"
#define TAPMIG_ABI_VERSION	1

/* Limits without CAP_NET_ADMIN in the initial user namespace. */
#define TAPMIG_UNPRIV_MAX_PACKETS	65536
#define TAPMIG_UNPRIV_MAX_BYTES		(64ULL << 20)
#define TAPMIG_UNPRIV_MAX_FROZEN_MS	600000
/* Limits with it. */
#define TAPMIG_MAX_PACKETS		8388608
#define TAPMIG_MAX_BYTES		(4ULL << 30)
#define TAPMIG_MAX_FROZEN_MS		86400000

/* Defaults that a zero member stands for. */
#define TAPMIG_DEF_MAX_PACKETS		65536
#define TAPMIG_DEF_MAX_BYTES		(64ULL << 20)
#define TAPMIG_DEF_MAX_FROZEN_MS	30000
#define TAPMIG_DEF_WAIT_IMPORT_MS	100

/* Most queues of one hold. */
#define TAPMIG_MAX_QUEUES		256

/**
 * struct tapmig_create - argument of TAPMIG_CREATE
 * @size: size of this structure in bytes
 * @abi_version: TAPMIG_ABI_VERSION
 * @flags: TAPMIG_HOLD_FLAGS_DETACHED, TAPMIG_HOLD_FLAGS_PINNED (needs
 *	CAP_NET_ADMIN in the owner of the network namespace)
 * @role: enum tapmig_role
 * @dedup: enum tapmig_dedup
 * @deadline_action: enum tapmig_deadline_action
 * @ifindex: network device of the queues, or 0: found by the queues
 * @max_frozen_ms: longest time in FROZEN in milliseconds, 0: the default
 * @wait_import_ms: longest wait of a thaw for the peer in milliseconds, up to
 *	TAPMIG_MAX_FROZEN_MS; 0: the default, ~0: do not wait, and do not stay
 *	LIVE for a peer that has not begun
 * @max_packets: most packets held, captured and imported, 0: the default
 * @max_bytes: most memory of held packets in bytes, 0: the default
 * @mac: MAC address of the guest: what comes from it is dropped; or zero: not
 *	known
 * @reserved: zero
 * @id: set by the kernel: number of the hold for netlink
 * @label: name of the hold, terminated by a zero
 *
 * Return: the hold fd. EPERM: a limit or flag needs a privilege; ERANGE: a
 * limit or wait is more than anybody may have; EMFILE, ENFILE, ENOMEM; EUSERS:
 * this user has too many holds; EINVAL: @role, @dedup, @deadline_action or
 * @ifindex is none, or @label has no end.
 */
struct tapmig_create {
	__u32 size;
	__u32 abi_version;
	__u32 flags;
	__u32 role;
	__u32 dedup;
	__u32 deadline_action;
	__u32 ifindex;
	__u32 max_frozen_ms;
	__u32 wait_import_ms;
	__u32 max_packets;
	__aligned_u64 max_bytes;
	__u8 mac[6];
	__u8 reserved[6];
	__u32 id;
	char label[TAPMIG_LABEL_MAX + 1];
};

#define TAPMIG_ADD_QUEUE_JOIN		(1U << 0)

/**
 * struct tapmig_add_queue - argument of TAPMIG_ADD_QUEUE
 * @size: size of this structure in bytes
 * @flags: TAPMIG_ADD_QUEUE_JOIN: when the queue belongs to a hold, make this
 *	fd, whose own hold must have no queue, a further fd of that hold. To
 *	be done before the fd is given to epoll, which would go on waiting for
 *	the hold that was left
 * @fd: an open queue of a tun, macvtap or ipvtap device
 * @index: index of the queue in its device
 * @reserved: zero
 *
 * EBADF: no open file; ENOTSOCK: not such a queue; EBADFD: not attached to a
 * device; ESHUTDOWN: shut down; ENODEV: its device is not found in the network
 * namespace of the queue, nor in that of the hold; ENOSPC: its ring has no
 * entries, or the hold has too many queues; EEXIST: belongs to a hold, or
 * @index is taken; EXDEV: belongs to another device than the hold; EBUSY: the
 * hold is not ARMED, or, with JOIN, has queues, is the queue's own, or has
 * joined before; EPERM: PINNED, no CAP_NET_ADMIN over its device; EINVAL:
 * @index is more than 65535; ENOMEM.
 */
struct tapmig_add_queue {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 index;
	__u32 reserved[4];
};

/**
 * struct tapmig_prepare - argument of TAPMIG_PREPARE
 * @size: size of this structure in bytes
 * @flags: zero
 * @entries: least entries of each ring, 0: what the limits of the hold allow
 * @reserved: zero
 *
 * The limits allow max_packets, or as many full Ethernet frames as fit
 * max_bytes, whichever is less, divided by the number of queues. A ring that
 * is larger stays as it is. Packets in the rings are not accounted for. If no
 * TAPMIG_FREEZE comes within max_frozen_ms, the rings get their size back.
 *
 * EBUSY: not ARMED; ENODEV: dead, or no queue; ENOMEM; ERANGE: @entries is
 * more than the limits of the hold allow.
 */
struct tapmig_prepare {
	__u32 size;
	__u32 flags;
	__u32 entries;
	__u32 reserved;
};

#define TAPMIG_FREEZE_DETACHED		(1U << 0)

/**
 * struct tapmig_freeze - argument of TAPMIG_FREEZE
 * @size: size of this structure in bytes
 * @flags: TAPMIG_FREEZE_DETACHED: set TAPMIG_HOLD_FLAGS_DETACHED, which the
 *	next thaw clears
 * @reserved: zero
 *
 * EBUSY: not ARMED; ENODEV: dead, or no queue.
 */
struct tapmig_freeze {
	__u32 size;
	__u32 flags;
	__u32 reserved[2];
};

#define TAPMIG_UNREAD_VNET_BE		(1U << 0)

/**
 * struct tapmig_unread - argument of TAPMIG_UNREAD
 * @size: size of this structure in bytes
 * @flags: TAPMIG_UNREAD_VNET_BE: the virtio-net header is big endian, else it
 *	is little endian
 * @index: index of the queue that the packet was read from
 * @vnet_hdr_len: bytes of virtio-net header before the frame, as set by
 *	TUNSETVNETHDRSZ, or 0; what comes after struct virtio_net_hdr is ignored
 * @len: bytes at @data, header included; the frame has at most
 *	TAPMIG_FRAME_MAX
 * @protocol: for a tun device, whose frames have no Ethernet header:
 *	ETH_P_* in network byte order, or 0: told by the IP version. Else 0
 * @reserved: zero
 * @data: address of what read() has returned, without struct tun_pi
 *
 * Who has read a packet that the guest did not get gives it back to the frozen
 * hold: it is held as the oldest of all. The one that was read last is to be
 * given back first. When this fails, the caller still has the packet.
 *
 * EBUSY: not FROZEN; ENODEV: dead; EOPNOTSUPP: the hold is STANDBY; ENOENT: no
 * queue has @index; EINVAL: @len is not more than @vnet_hdr_len, or the header
 * is none that read() returns for this frame, or that of a GSO packet in a UDP
 * tunnel; EMSGSIZE: longer than TAPMIG_FRAME_MAX; ENOBUFS: no room in the hold,
 * or within the limits of its user or of all holds; ERANGE: too many were given
 * back; ENOMEM.
 */
struct tapmig_unread {
	__u32 size;
	__u32 flags;
	__u32 index;
	__u32 vnet_hdr_len;
	__u32 len;
	__be16 protocol;
	__u16 reserved;
	__aligned_u64 data;
};

#define TAPMIG_THAW_WAIT		(1U << 0)

/**
 * struct tapmig_thaw - argument of TAPMIG_THAW
 * @size: size of this structure in bytes
 * @flags: TAPMIG_THAW_WAIT: return when it is done
 * @reserved: zero
 *
 * A thaw goes on by itself: it waits for the peer, at most wait_import_ms, if
 * the hold is STANDBY and has TAPMIG_HOLD_FLAGS_PEER.
 *
 * EBUSY: not FROZEN (with TAPMIG_THAW_WAIT, THAWING is waited for); ENODEV:
 * dead; EINTR: a signal ended the wait, the thaw goes on.
 */
struct tapmig_thaw {
	__u32 size;
	__u32 flags;
	__u32 reserved[2];
};

/**
 * struct tapmig_discard - argument of TAPMIG_DISCARD
 * @size: size of this structure in bytes
 * @flags: zero
 *
 * Frees all packets, captured and imported; the hold is ARMED then, or stays
 * DEAD. An import session is closed, TAPMIG_HOLD_FLAGS_DETACHED cleared.
 *
 * EBUSY: THAWING, and the deadline has not passed.
 */
struct tapmig_discard {
	__u32 size;
	__u32 flags;
};

/**
 * struct tapmig_commit - argument of TAPMIG_COMMIT
 * @size: size of this structure in bytes
 * @flags: zero
 * @seq: captured packets up to this number are freed
 *
 * Packets that were given back, by vhost-net or TAPMIG_UNREAD, have numbers
 * below TAPMIG_SEQ_FIRST; they are freed only if they were exported.
 *
 * EBUSY: neither FROZEN nor DEAD; ERANGE: beyond the newest packet.
 */
struct tapmig_commit {
	__u32 size;
	__u32 flags;
	__aligned_u64 seq;
};

#define TAPMIG_SET_FLAGS		(1U << 0)
#define TAPMIG_SET_DEDUP		(1U << 1)
#define TAPMIG_SET_DEADLINE_ACTION	(1U << 2)
#define TAPMIG_SET_MAX_FROZEN_MS	(1U << 3)
#define TAPMIG_SET_WAIT_IMPORT_MS	(1U << 4)
#define TAPMIG_SET_MAX_PACKETS		(1U << 5)
#define TAPMIG_SET_MAX_BYTES		(1U << 6)
#define TAPMIG_SET_MAC			(1U << 7)

/**
 * struct tapmig_set - argument of TAPMIG_SET
 * @size: size of this structure in bytes
 * @mask: TAPMIG_SET_*: which members to take
 * @flags: new value of the flags that @flags_mask names
 * @flags_mask: TAPMIG_HOLD_FLAGS_DETACHED, TAPMIG_HOLD_FLAGS_PEER
 * @dedup: enum tapmig_dedup
 * @deadline_action: enum tapmig_deadline_action
 * @max_frozen_ms: in milliseconds; a deadline that is running starts anew
 * @wait_import_ms: in milliseconds, up to TAPMIG_MAX_FROZEN_MS, 0 included;
 *	~0: do not wait; a wait under way is adapted
 * @max_packets: most packets held
 * @mac: MAC address of the guest
 * @reserved: zero
 * @max_bytes: most memory of held packets in bytes
 *
 * What a hold has already can be kept or lowered without a privilege. All
 * members are taken, or none.
 *
 * EPERM: a limit needs a privilege; ERANGE: a limit or wait is out of range;
 * EINVAL: @dedup or @deadline_action is none, @flags_mask has a flag that is
 * not said above, or @flags one that @flags_mask has not.
 */
struct tapmig_set {
	__u32 size;
	__u32 mask;
	__u32 flags;
	__u32 flags_mask;
	__u32 dedup;
	__u32 deadline_action;
	__u32 max_frozen_ms;
	__u32 wait_import_ms;
	__u32 max_packets;
	__u8 mac[6];
	__u8 reserved[6];
	__aligned_u64 max_bytes;
};

/**
 * struct tapmig_info - argument of TAPMIG_INFO, filled by the kernel
 * @size: in: size of this structure in bytes; out: bytes filled
 * @id: number of the hold
 * @state: enum tapmig_state
 * @role: enum tapmig_role
 * @flags: enum tapmig_hold_flags
 * @queues: number of queues
 * @max_packets: most packets held
 * @max_frozen_ms: longest time in FROZEN in milliseconds
 * @max_bytes: most memory of held packets in bytes
 * @held_packets: packets captured and held now, without imported ones
 * @held_bytes: memory that held and imported packets take, in bytes
 * @pending_imports: imported packets not yet handed over, late ones included
 * @highest_seq: number of the newest packet that arrived, 0 if none
 * @committed_seq: number up to which packets were committed, 0 if none
 * @captured: packets captured
 * @dropped: packets dropped because the hold was full
 * @dropped_bytes: bytes of those
 * @trimmed: packets dropped by a STANDBY hold for newer ones, or as too old
 * @exported: packets handed out for export, repeats included
 * @imported: packets imported, without repeats
 * @resent: imports ignored as repeats
 * @flooded: captured packets dropped as copies of imported ones
 * @late: packets delivered that were imported after the thaw
 * @late_skipped: packets imported after the thaw and not delivered
 * @own_address: packets dropped that the guest itself had sent
 * @segmented: GSO packets segmented in software
 * @delivered: packets handed over to the readers
 * @lost: imported packets lost: memory to segment them could not be had, or
 *	the session was closed before all of them had come
 * @discarded: packets freed by discard, or with the hold
 * @frozen_ns: when it froze, nanoseconds of CLOCK_REALTIME, 0 if never
 * @frozen_for_ms: how long it is or was frozen, in milliseconds
 * @thaw_wait_us: time from the request to thaw to its hand-over, in
 *	microseconds
 * @thaw_us: how long the last hand-over took, in microseconds
 * @thaw_irqoff_ns: longest time that the last hand-over had both locks of a
 *	ring, bottom halves off, in nanoseconds
 */
struct tapmig_info {
	__u32 size;
	__u32 id;
	__u32 state;
	__u32 role;
	__u32 flags;
	__u32 queues;
	__u32 max_packets;
	__u32 max_frozen_ms;
	__aligned_u64 max_bytes;
	__aligned_u64 held_packets;
	__aligned_u64 held_bytes;
	__aligned_u64 pending_imports;
	__aligned_u64 highest_seq;
	__aligned_u64 committed_seq;
	__aligned_u64 captured;
	__aligned_u64 dropped;
	__aligned_u64 dropped_bytes;
	__aligned_u64 trimmed;
	__aligned_u64 exported;
	__aligned_u64 imported;
	__aligned_u64 resent;
	__aligned_u64 flooded;
	__aligned_u64 late;
	__aligned_u64 late_skipped;
	__aligned_u64 own_address;
	__aligned_u64 segmented;
	__aligned_u64 delivered;
	__aligned_u64 lost;
	__aligned_u64 discarded;
	__aligned_u64 frozen_ns;
	__aligned_u64 frozen_for_ms;
	__aligned_u64 thaw_wait_us;
	__aligned_u64 thaw_us;
	__aligned_u64 thaw_irqoff_ns;
};

#define TAPMIG_IOC_MAGIC	0xB7

#define TAPMIG_CREATE	_IOWR(TAPMIG_IOC_MAGIC, 0x40, struct tapmig_create)
#define TAPMIG_ADD_QUEUE _IOW(TAPMIG_IOC_MAGIC, 0x41, struct tapmig_add_queue)
#define TAPMIG_PREPARE	_IOW(TAPMIG_IOC_MAGIC, 0x42, struct tapmig_prepare)
#define TAPMIG_FREEZE	_IOW(TAPMIG_IOC_MAGIC, 0x43, struct tapmig_freeze)
#define TAPMIG_THAW	_IOW(TAPMIG_IOC_MAGIC, 0x44, struct tapmig_thaw)
#define TAPMIG_DISCARD	_IOW(TAPMIG_IOC_MAGIC, 0x45, struct tapmig_discard)
#define TAPMIG_COMMIT	_IOW(TAPMIG_IOC_MAGIC, 0x46, struct tapmig_commit)
#define TAPMIG_INFO	_IOWR(TAPMIG_IOC_MAGIC, 0x47, struct tapmig_info)
#define TAPMIG_SET	_IOW(TAPMIG_IOC_MAGIC, 0x48, struct tapmig_set)
#define TAPMIG_UNREAD	_IOW(TAPMIG_IOC_MAGIC, 0x49, struct tapmig_unread)

#endif /* _UAPI_LINUX_TAPMIG_H */
