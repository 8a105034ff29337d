/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Shared by the tests: network devices with queues, numbered frames, holds,
 * netlink. What is not under test ends the test with a message when it fails;
 * all that can be asserted is returned, errors as negative numbers.
 */
#ifndef TAPMIG_SELFTESTS_LIB_H
#define TAPMIG_SELFTESTS_LIB_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_ether.h>
#include <linux/tapmig.h>
#include <linux/virtio_net.h>
#include <net/if.h>

/*
 * Generous: only a hang is meant to meet it. Less than what the harness gives a
 * test, so that it is known what was waited for.
 */
#define WAIT_MS		200000

#define MAX_NIC_QUEUES	8
#define MAX_FLOWS	64
#define FRAME_LEN	80
#define FRAME_MAX	(512 * 1024)
#define TEST_PROTO	0x88B5

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
int64_t now_ms(void);
#define NSEC_PER_MSEC	1000000ULL
#define NSEC_PER_SEC	1000000000ULL
__u64 realtime_ns(void);
/* Kernel release is at least this? */
bool kernel_has(int major, int minor);

/*
 * Wait until @cond is true. There is no event for some conditions; the test
 * fails when the limit is reached, never passes because of it.
 */
#define busywait(cond)							\
({									\
	int64_t __end = now_ms() + WAIT_MS;				\
	bool __ok;							\
									\
	while (!(__ok = !!(cond)) && now_ms() < __end)			\
		poll(NULL, 0, 1);					\
	__ok;								\
})

struct bpf_insn;
/* Load a program; its fd, or -1 and errno. */
int bpf_load(__u32 type, const struct bpf_insn *insns, __u32 count);

/* --- network namespaces and devices ------------------------------------- */

/* Enter new network and mount namespaces, quiet ones. */
void netns_new(void);
int netns_fd(void);
void netns_enter(int fd);

void link_up(const char *name);
/* Until a sender can use its queues: a carrier is noticed some time later. */
void link_wait_up(const char *name);
void link_down(const char *name);
void link_txqlen(const char *name, int len);
/* A queue before the device that drops only what is beyond @limit packets. */
int link_pfifo(const char *name, __u32 limit);
/* One of the files in its directory "statistics". */
long link_statistic(const char *name, const char *what);
void link_mtu(const char *name, int mtu);
void link_addr(const char *name, const char *ip, int plen);
void link_mac(const char *name, __u8 *mac);
void link_set_mac(const char *name, const __u8 *mac);
int link_del(const char *name);
void link_netns(const char *name, int netns);
void link_gso_max(const char *name, __u32 size);
int link_veth(const char *name, const char *peer);
int link_vlan(const char *name, const char *lower, __u16 id);
int link_bridge(const char *name);
void link_sysfs(const char *name, const char *attr, const char *value);
void link_master(const char *name, const char *master);
int link_xdp(const char *name, int prog);

enum nic_kind { TAP, TUN, MACVTAP, IPVTAP };

struct nic {
	enum nic_kind kind;
	char name[IFNAMSIZ];
	unsigned int ifindex;
	/* Frames sent here arrive at the queues. */
	char tx_name[IFNAMSIZ];
	unsigned int tx_ifindex;
	int hdr;
	int queues;
	int fd[MAX_NIC_QUEUES];
	__u8 mac[ETH_ALEN];
	unsigned int strange;
};

/* False if this kernel has no such device or header. */
bool nic_try_open(struct nic *n, enum nic_kind kind, int hdr, int queues);
void nic_open(struct nic *n, enum nic_kind kind, int hdr, int queues);
/*
 * What a veth pair brings, as to macvtap, is in order if one processor sends:
 * its frames can wait for a softirq that is left to its thread.
 */
void nic_pin(enum nic_kind kind);
/* The same with a name of one's own, before any other setting is made. */
bool nic_open_named(struct nic *n, const char *name, enum nic_kind kind,
		    int hdr, int queues);
/* One more queue of the device, attached. */
int nic_attach(struct nic *n);
void nic_close(struct nic *n);
int nic_offload(struct nic *n, unsigned int offload);
/* Each that this kernel has, for nic_offload(). */
unsigned int all_offloads(void);
void nic_set_queue(int fd, bool attached);
int open_tun(void);
int macvtap_open_node(const char *name);

/* --- frames ------------------------------------------------------------- */

struct frame {
	__u32 len;
	__u8 data[FRAME_MAX];
};

/* A frame of flow @flow, a UDP packet, with number @seq. */
size_t frame_udp(const struct nic *n, void *buf, size_t len, __u32 flow,
		 __u64 seq);
/* The same behind an Ethernet header of the test's own protocol. */
size_t frame_eth(const __u8 *dst, void *buf, size_t len, __u32 flow,
		 __u64 seq);
bool frame_parse(const struct nic *n, const void *buf, size_t len,
		 __u32 *flow, __u64 *seq);

__u16 csum_fold(__u32 sum);
__u32 csum_add(__u32 sum, const void *buf, size_t len);

/*
 * A TCP or UDP packet of IPv4 or IPv6 with an Ethernet header (not for TUN),
 * with a full checksum or, with @partial, only that of the pseudo header.
 * Sets *l4 to the offset of its TCP or UDP header.
 */
size_t frame_l4(const struct nic *n, void *buf, int family, int proto,
		size_t payload, bool partial, size_t *l4);

#define TX_BYPASS	1
#define TX_VNET		2

int tx_open(unsigned int ifindex, int flags);
int tx_send(int fd, const void *buf, size_t len);
/* Send @count frames of @flow from number @seq on: how many were taken. */
unsigned int tx_flow(const struct nic *n, int fd, __u32 flow, __u64 seq,
		     unsigned int count);
/*
 * Send such until each is taken: a device refuses packets for a moment when its
 * txqueuelen changes, though its ring has room.
 */
void tx_all(const struct nic *n, int fd, __u32 flow, __u64 seq,
	    unsigned int count);
/*
 * Send such of flow 0 to a frozen hold: the next @part when it has captured the
 * ones before. So they fit the ring, even if a CPU stops that empties it.
 */
bool tx_held(const struct nic *n, int fd, int hold, __u64 seq,
	     unsigned int count, unsigned int part);

struct rx {
	int queue;
	__u8 hdr[32];
	size_t len;
	bool ours;
	__u32 flow;
	__u64 seq;
	__u8 data[FRAME_MAX];
};

/* Read one frame without waiting: 1, 0 for none, or a negative error. */
int nic_read(struct nic *n, int queue, struct rx *rx);
/* Wait until any of the queues can be read. */
bool nic_poll(struct nic *n, int timeout_ms);

/* What arrived, by flow. */
struct tally {
	__u64 next[MAX_FLOWS];
	__u64 got;
	__u64 gaps;
	__u64 repeats;
	__u64 strange;
	__u64 by_queue[MAX_NIC_QUEUES];
};

void tally_add(struct tally *t, __u32 flow, __u64 seq);
/* Read all that is there; the number of frames. */
unsigned int nic_drain(struct nic *n, struct tally *t);
/* Read until so many arrived in all. */
bool nic_wait(struct nic *n, struct tally *t, __u64 total);
#define tally_clean(t)	(!(t)->gaps && !(t)->repeats && !(t)->strange)

/* --- holds -------------------------------------------------------------- */

#define CREATE(...)							\
	((struct tapmig_create) {					\
		.size = sizeof(struct tapmig_create),			\
		.abi_version = TAPMIG_ABI_VERSION,			\
		.label = "test",					\
		__VA_ARGS__						\
	})

/* The argument of any ioctl, longer ones than there are included. */
union ioctl_arg {
	__u32 size;
	struct tapmig_create create;
	struct tapmig_add_queue add;
	struct tapmig_prepare prepare;
	struct tapmig_freeze freeze;
	struct tapmig_thaw thaw;
	struct tapmig_discard discard;
	struct tapmig_commit commit;
	struct tapmig_info info;
	struct tapmig_set set;
	struct tapmig_unread unread;
	__u32 words[1024];
};

/* Open the control device; skips the test if it is not there. */
int ctl_open(void);
int hold_create(struct tapmig_create *c);
int hold_add(int hold, int fd, int index);
int hold_add_flags(int hold, int fd, int index, __u32 flags);
int hold_prepare(int hold, __u32 entries);
int hold_freeze(int hold);
int hold_freeze_flags(int hold, __u32 flags);
int hold_thaw(int hold);
/* Give back what was read from a queue. */
int hold_unread(int hold, const struct nic *n, const struct rx *rx);
int hold_thaw_wait(int hold);
int hold_discard(int hold);
int hold_commit(int hold, __u64 seq);
int hold_info(int hold, struct tapmig_info *info);
int hold_set(int hold, struct tapmig_set *set);
int hold_set_flags(int hold, __u32 flags, __u32 mask);
int hold_renew(int hold, __u32 ms);
/* A thaw does not wait for the peer, and the hold stays LIVE for it. */
int hold_stay_live(int hold);
struct tapmig_info info_of(int hold);
/* A hold on all queues of a device; none asked for, its deadline is late. */
int hold_new(struct nic *n, struct tapmig_create *c);
bool hold_wait_state(int hold, __u32 state);
bool hold_wait_captured(int hold, __u64 captured);
__u64 hold_balance(const struct tapmig_info *i);

/*
 * A change of txqueuelen that takes its time. All holds are told of it before
 * the device resizes its ring, one by one, and one after @hold is busy.
 */
struct slow_resize {
	const char *name;
	int hold;
	int len;
	__u64 captured;
	bool done;
	struct mnl_socket *events;
	struct nic busy;
	int busy_tx;
	int busy_hold;
	pthread_t committer;
	pthread_t resizer;
};

/* @hold is one of the device @n. */
bool slow_resize_open(struct slow_resize *r, const struct nic *n, int hold);
bool slow_resize_begin(struct slow_resize *r, int len);
/*
 * Has @hold not been told yet? When it has, it captures what is sent, even if
 * it is not frozen: nothing else says so.
 */
bool slow_resize_pending(const struct slow_resize *r);
/* After that: have the rings their old size still? */
bool slow_resize_waits(const struct slow_resize *r);
void slow_resize_end(struct slow_resize *r);
void slow_resize_close(struct slow_resize *r);

/* --- netlink ------------------------------------------------------------ */

struct nl {
	struct mnl_socket *sk;
	/* As who does not know that it is a netlink socket. */
	bool by_write;
	__u16 family;
	__u32 group;
	__u32 seq;
	/* Of the last refusal. */
	char msg[256];
	int off;
	int miss;
	/* Type of the attribute at off. */
	int bad;
};

/* All attributes of a hold, from a reply or an event. */
struct hold_nl {
	__u8 cmd;
	bool has[TAPMIG_A_HOLD_MAX + 1];
	__u64 v[TAPMIG_A_HOLD_MAX + 1];
	char label[TAPMIG_LABEL_MAX + 1];
	char ifname[IFNAMSIZ];
	__u8 mac[ETH_ALEN];
};

struct pkt {
	__u64 seq;
	__u16 sub;
	__u16 subs;
	__u16 queue;
	__u64 time_ns;
	__u32 len;
	__u32 have;
	__u8 *data;
	bool has_vnet;
	__u8 vnet[10];
	bool has_vlan;
	__u16 vlan_tci;
	__u16 vlan_proto;
	__u16 protocol;
	__u32 dropped_before;
};

struct pkts {
	struct pkt *v;
	int n;
	int cap;
	/* Chunks that did not continue the frame before. */
	int broken;
	int chunks;
};

struct imported {
	__u32 accepted;
	__u32 resent;
	__u32 late;
};

void nl_open(struct nl *nl);
void nl_close(struct nl *nl);
#define NL_BUF	(2 * 1024 * 1024)
struct nlmsghdr *nl_msg(struct nl *nl, void *buf, __u8 cmd, __u16 flags);
/* Send a request, hand replies to @cb, return the error of its ack. */
int nl_talk(struct nl *nl, struct nlmsghdr *nlh, mnl_cb_t cb, void *data);
/* Commands that take an id only. */
int nl_hold_cmd(struct nl *nl, __u8 cmd, __u32 id);
int nl_transfer_cmd(struct nl *nl, __u8 cmd, __u32 id, int attr, __u64 v);
int nl_get(struct nl *nl, __u32 id, struct hold_nl *h);
int nl_dump(struct nl *nl, struct hold_nl *h, int max);
int nl_export(struct nl *nl, __u32 id, __u64 seq, struct pkts *p);
/* Called after each message of an export; stops it when not zero. */
int nl_export_cb(struct nl *nl, __u32 id, __u64 seq, struct pkts *p,
		 int (*after)(void *), void *data);
int nl_import(struct nl *nl, __u32 id, const struct pkt *v, int n,
	      struct imported *res);
int nl_import_chunk(struct nl *nl, __u32 id, const struct pkt *v, int n,
		    size_t chunk, struct imported *res);
int nl_commit(struct nl *nl, __u32 id, __u64 seq);
int nl_begin(struct nl *nl, __u32 id, __u64 age_ms);
int nl_sync(struct nl *nl, __u32 id, __u64 seq);
int nl_end(struct nl *nl, __u32 id);
int nl_set(struct nl *nl, __u32 id, int attr, __u64 v);
int nl_set_flags(struct nl *nl, __u32 id, __u32 flags, __u32 mask);
void nl_subscribe(struct nl *nl);
int nl_event(struct nl *nl, struct hold_nl *h, int timeout_ms);
bool nl_wait_state(struct nl *nl, __u32 id, __u32 state, struct hold_nl *h);
void hold_nl_parse(const struct nlmsghdr *nlh, struct hold_nl *h);

void pkts_free(struct pkts *p);
/* A plain packet for import, of @flow, whose number in it is @payload. */
struct pkt pkt_udp(const struct nic *n, __u64 seq, __u32 flow,
		   __u64 payload, size_t len);

/* --- in a child process, where the harness's macros do not work ---------- */

/* The child runs the rest of the test and must end with _exit(0). */
#define IN_CHILD							\
	pid_t __pid = fork();						\
									\
	ASSERT_LE(0, __pid);						\
	if (__pid) {							\
		int __st;						\
									\
		ASSERT_EQ(__pid, waitpid(__pid, &__st, 0));		\
		EXPECT_EQ(0, __st);					\
		return;							\
	}

#define CHECK(want, expr)						\
do {									\
	long __want = (want), __got = (expr);				\
									\
	if (__got != __want) {						\
		fprintf(stderr, "# %s:%d: %s is %ld, not %ld\n",	\
			__FILE__, __LINE__, #expr, __got, __want);	\
		_exit(1);						\
	}								\
} while (0)

#define CHECK_OK(expr)							\
do {									\
	long __got = (expr);						\
									\
	if (__got < 0) {						\
		fprintf(stderr, "# %s:%d: %s is %ld\n", __FILE__,	\
			__LINE__, #expr, __got);			\
		_exit(1);						\
	}								\
} while (0)

/* --- the rest ----------------------------------------------------------- */

/* The same ioctl as a 32-bit program makes it; @arg below 4 GiB. */
int ioctl32(int fd, unsigned int cmd, void *arg);
bool have_ioctl32(void);
void *low_alloc(size_t len);
void pin_cpu(int cpu);
/*
 * From now on the caller is alone: for most of a second, then the scheduler
 * takes a part back, no work item of the kernel gets a processor.
 */
struct alone {
	pthread_t others[CPU_SETSIZE];
	int nr_others;
	cpu_set_t cpus;
	int ready;
	int stop;
};

void alone_begin(struct alone *a);
void alone_end(struct alone *a);
/* True when that thread of this process sleeps in the kernel. */
bool thread_sleeps(pid_t tid);
void become_nobody(void);
/* Where the module is in the kernel's memory. */
bool module_range(unsigned long *from, unsigned long *to);
long env_count(const char *name, long def);
/*
 * Keep the console free of what is no fault, such as the calls that the OOM
 * killer reports. A warning is a panic all the same.
 */
void printk_hush(bool hush);

#endif
