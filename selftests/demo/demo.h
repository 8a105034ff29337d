/* SPDX-License-Identifier: GPL-2.0-only */
/* What the parts of the demo's stand-in VMM know of each other. */
#ifndef DEMO_H
#define DEMO_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <linux/if_ether.h>
#include <linux/types.h>

/* Flows to the guest's own address, and one more to the broadcast address. */
#define UNICAST_FLOWS	8
#define FLOWS		(UNICAST_FLOWS + 1)
#define UDP_PORT	7007
#define CLIENT_ADDR	"192.0.2.1"
#define GUEST_ADDR	"192.0.2.2"
#define BROADCAST_ADDR	"192.0.2.255"

/* After that long without what is waited for, something is broken. */
#define STUCK_MS	60000

#define PROBE_MAGIC	0x7a9d3e01

/**
 * struct probe - what the client sends, in network byte order
 * @magic: PROBE_MAGIC
 * @flow: number of the flow
 * @seq: number in its flow, from 0
 * @end: the flow is over; such a frame is not counted
 * @pad: makes it a frame of some size
 */
struct probe {
	__u32 magic;
	__u32 flow;
	__u32 seq;
	__u32 end;
	__u8 pad[184];
};

/* util.c */
void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
void check(bool ok, const char *what);
__u64 now_ns(void);
void enter(const char *netns);

/* client.c: sends */
extern const __u8 guest_mac[ETH_ALEN];

/**
 * struct client - sends numbered frames to the guest
 * @rounds: how many to send of each flow
 * @interval_ns: between two frames
 * @sockets: one for each flow
 * @arp: sees the announcements that reach the client
 * @thread: the sender
 * @lock: guards @sent
 * @progress: @sent has changed
 * @sent: frames sent so far
 */
struct client {
	__u32 rounds;
	__u64 interval_ns;
	int sockets[FLOWS];
	int arp;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t progress;
	__u32 sent;
};

void client_open(struct client *c, __u32 rounds, __u64 interval_ns);
bool client_saw_announcement(struct client *c, int timeout_ms);
void client_start(struct client *c);
void client_wait_sent(struct client *c, __u32 frames);
__u32 client_sent(struct client *c);
void client_join(struct client *c);

/* guest.c: counts */

/**
 * struct guest - the memory of the virtual machine
 * @rounds: frames to expect of each flow
 * @seen: for each number of each flow, has it arrived
 * @highest: highest number of each flow so far, -1 before the first
 * @ended: flows of which the end has arrived
 * @delivered: frames that arrived, without repeats
 * @duplicated: frames that arrived once more
 * @reordered: first arrivals with a number below the flow's highest
 * @damaged: frames that do not check out; not counted as delivered
 * @last_ns: when the last frame arrived, 0 before the first
 * @longest_gap_ns: between two arrivals
 */
struct guest {
	__u32 rounds;
	bool *seen[FLOWS];
	__s64 highest[FLOWS];
	__u32 ended;
	__u32 delivered;
	__u32 duplicated;
	__u32 reordered;
	__u32 damaged;
	__u64 last_ns;
	__u64 longest_gap_ns;
};

void guest_init(struct guest *g, __u32 rounds);
void guest_receive(struct guest *g, __u8 *buf, size_t len);
bool guest_all_ended(const struct guest *g);

/* vmm.c: has the TAP, and runs the guest */

/**
 * struct vmm - what QEMU would be
 * @host: network namespace it is in
 * @tap: the TAP queue
 * @hold: hold fd, or -1
 * @hold_id: the hold's number
 * @thaw: thaw the hold before the guest runs
 * @guest: the guest while it is here
 * @thread: runs the guest: reads the TAP
 * @stop: eventfd to stop it
 * @done: eventfd: the guest has got all that came, and the end of all flows
 */
struct vmm {
	const char *host;
	int tap;
	int hold;
	__u32 hold_id;
	bool thaw;
	struct guest *guest;
	pthread_t thread;
	int stop;
	int done;
};

void vmm_open(struct vmm *v, const char *host);
void vmm_wait_readable(struct vmm *v);
void vmm_announce(struct vmm *v);
void vmm_run_guest(struct vmm *v, struct guest *g);
struct guest *vmm_stop_guest(struct vmm *v);
void vmm_wait_done(struct vmm *v);
void vmm_close(struct vmm *v);

/* The hold of its TAP. */
struct tapmig_info;

void hold_create(struct vmm *v, __u32 role);
void hold_prepare(struct vmm *v);
void hold_freeze(struct vmm *v, bool detached);
void hold_info(struct vmm *v, struct tapmig_info *info);
void hold_wait_peer(struct vmm *v);
void hold_wait_state(struct vmm *v, __u32 state);

/* relay.c: moves packets from one hold to the other */

/**
 * struct relay - the relay of each host
 * @source: process where the guest leaves
 * @dest: process where it goes
 */
struct relay {
	pid_t source;
	pid_t dest;
};

void relay_start(struct relay *r);
void relay_wait(struct relay *r);

#endif /* DEMO_H */
