// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stand-in VMM: opens a TAP as QEMU does, reads it for the guest, and
 * asks for a hold of it in the same order as QEMU would.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/tapmig.h>
#include <linux/virtio_net.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "demo.h"

#define VNET_LEN	sizeof(struct virtio_net_hdr_mrg_rxbuf)
#define FRAME_ROOM	65536
/* An emulated machine is slow: more than the default. */
#define MAX_FROZEN_MS	120000
#define WAIT_IMPORT_MS	30000

const __u8 guest_mac[ETH_ALEN] = { 0x02, 0, 0, 0, 0, 0x02 };

/**
 * vmm_open - a VMM and its TAP, in the bridge of its host
 * @v: the VMM
 * @host: network namespace of the host
 */
void vmm_open(struct vmm *v, const char *host)
{
	struct ifreq tap = { .ifr_name = "tap0" };
	struct ifreq up = { .ifr_name = "tap0", .ifr_flags = IFF_UP };
	struct ifreq bridge = { .ifr_name = "br0" };
	int fd, len = VNET_LEN;

	memset(v, 0, sizeof(*v));
	v->host = host;
	v->hold = -1;
	v->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	v->done = eventfd(0, EFD_CLOEXEC);
	check(v->stop >= 0 && v->done >= 0, "eventfd");

	enter(host);
	v->tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	check(v->tap >= 0, "/dev/net/tun");
	tap.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
	check(!ioctl(v->tap, TUNSETIFF, &tap), "TUNSETIFF");
	check(!ioctl(v->tap, TUNSETVNETHDRSZ, &len), "TUNSETVNETHDRSZ");
	check(!ioctl(v->tap, TUNSETOFFLOAD, TUN_F_CSUM), "TUNSETOFFLOAD");

	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	check(fd >= 0, "socket");
	check(!ioctl(fd, SIOCSIFFLAGS, &up), "tap0 up");
	check(!ioctl(fd, SIOCGIFINDEX, &tap), "index of tap0");
	bridge.ifr_ifindex = tap.ifr_ifindex;
	check(!ioctl(fd, SIOCBRADDIF, &bridge), "tap0 into br0");
	close(fd);
}

static void wait_event(int fd, const char *what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int ret;

	do {
		ret = poll(&p, 1, STUCK_MS);
	} while (ret < 0 && errno == EINTR);
	check(ret >= 0, "poll");
	if (!ret)
		die("%s: nothing after %d s", what, STUCK_MS / 1000);
}

/**
 * vmm_wait_readable - wait until the network reaches the TAP
 * @v: the VMM, which does not read yet
 */
void vmm_wait_readable(struct vmm *v)
{
	wait_event(v->tap, "a frame at the TAP");
}

/**
 * vmm_announce - tell the switches where the guest is
 * @v: the VMM to which the guest has come
 */
void vmm_announce(struct vmm *v)
{
	__u8 buf[VNET_LEN + ETH_ZLEN] = { 0 };
	struct ethhdr *eth = (void *)(buf + VNET_LEN);
	/* A reverse ARP request: who am I. */
	static const __u8 rarp[] = {
		0, 1, 8, 0, ETH_ALEN, 4, 0, 3
	};
	__u8 *p = (void *)(eth + 1);

	memset(eth->h_dest, 0xff, ETH_ALEN);
	memcpy(eth->h_source, guest_mac, ETH_ALEN);
	eth->h_proto = htons(ETH_P_RARP);
	memcpy(p, rarp, sizeof(rarp));
	memcpy(p + 8, guest_mac, ETH_ALEN);
	memcpy(p + 18, guest_mac, ETH_ALEN);
	/* -EIO: the device has no carrier yet; the caller tries again. */
	check(write(v->tap, buf, sizeof(buf)) == sizeof(buf) || errno == EIO,
	      "announcement");
}

static void *vmm_thread(void *arg)
{
	struct vmm *v = arg;
	struct pollfd p[] = {
		{ .fd = v->tap, .events = POLLIN },
		{ .fd = v->stop, .events = POLLIN },
	};
	struct tapmig_thaw thaw = {
		.size = sizeof(thaw), .flags = TAPMIG_THAW_WAIT
	};
	__u8 buf[FRAME_ROOM];
	bool told = false, ended;
	__u64 one = 1;
	ssize_t n;
	int ret;

	if (v->thaw)
		check(!ioctl(v->hold, TAPMIG_THAW, &thaw), "TAPMIG_THAW");
	for (;;) {
		/* The end is when nothing is left in the queue. */
		ended = guest_all_ended(v->guest) && !told;
		ret = poll(p, 2, ended ? 0 : -1);
		if (!ret) {
			check(write(v->done, &one, sizeof(one)) > 0,
			      "eventfd");
			told = true;
		}
		if (ret <= 0)
			continue;
		if (p[1].revents)
			return NULL;
		n = read(v->tap, buf, sizeof(buf));
		check(n >= 0 || errno == EAGAIN, "reading the TAP");
		if (n > 0)
			guest_receive(v->guest, buf, n);
	}
}

/**
 * vmm_run_guest - start the guest, or go on with it
 * @v: the VMM
 * @g: the guest
 */
void vmm_run_guest(struct vmm *v, struct guest *g)
{
	v->guest = g;
	check(!pthread_create(&v->thread, NULL, vmm_thread, v), "thread");
}

/**
 * vmm_stop_guest - stop the guest; nobody reads the TAP any more
 * @v: the VMM
 *
 * Return: the guest, to be sent to another VMM.
 */
struct guest *vmm_stop_guest(struct vmm *v)
{
	struct guest *g = v->guest;
	__u64 one = 1;

	check(write(v->stop, &one, sizeof(one)) > 0, "eventfd");
	pthread_join(v->thread, NULL);
	v->guest = NULL;
	return g;
}

/**
 * vmm_wait_done - wait until the guest has got all, and the end of all flows
 * @v: the VMM that runs it
 */
void vmm_wait_done(struct vmm *v)
{
	wait_event(v->done, "the end of all flows");
}

/**
 * vmm_close - the VMM exits, and its TAP is gone
 * @v: the VMM, without a guest
 */
void vmm_close(struct vmm *v)
{
	if (v->hold >= 0)
		close(v->hold);
	close(v->tap);
	close(v->stop);
	close(v->done);
}

/**
 * hold_create - a hold of the TAP
 * @v: the VMM
 * @role: enum tapmig_role
 */
void hold_create(struct vmm *v, __u32 role)
{
	struct tapmig_create c = {
		.size = sizeof(c),
		.abi_version = TAPMIG_ABI_VERSION,
		.role = role,
		.max_frozen_ms = MAX_FROZEN_MS,
		.wait_import_ms = WAIT_IMPORT_MS,
		.label = "demo/net0",
	};
	struct tapmig_add_queue q = { .size = sizeof(q), .fd = v->tap };
	int fd;

	enter(v->host);
	fd = open("/dev/" TAPMIG_DEVICE_NAME, O_RDWR | O_CLOEXEC);
	check(fd >= 0, "/dev/" TAPMIG_DEVICE_NAME);
	memcpy(c.mac, guest_mac, ETH_ALEN);
	v->hold = ioctl(fd, TAPMIG_CREATE, &c);
	check(v->hold >= 0, "TAPMIG_CREATE");
	v->hold_id = c.id;
	close(fd);
	check(!ioctl(v->hold, TAPMIG_ADD_QUEUE, &q), "TAPMIG_ADD_QUEUE");
}

/**
 * hold_prepare - make room in the ring, before the reader stops
 * @v: the VMM
 */
void hold_prepare(struct vmm *v)
{
	struct tapmig_prepare p = { .size = sizeof(p) };

	check(!ioctl(v->hold, TAPMIG_PREPARE, &p), "TAPMIG_PREPARE");
}

/**
 * hold_freeze - hold all that arrives from now on
 * @v: the VMM, which does not read any more
 * @detached: keep it even if the VMM dies
 */
void hold_freeze(struct vmm *v, bool detached)
{
	struct tapmig_freeze f = {
		.size = sizeof(f),
		.flags = detached ? TAPMIG_FREEZE_DETACHED : 0,
	};

	check(!ioctl(v->hold, TAPMIG_FREEZE, &f), "TAPMIG_FREEZE");
}

/**
 * hold_info - the state of the hold and its counters
 * @v: the VMM
 * @info: to be filled
 */
void hold_info(struct vmm *v, struct tapmig_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	check(!ioctl(v->hold, TAPMIG_INFO, info), "TAPMIG_INFO");
}

/**
 * hold_wait_peer - wait until the hold has been paired with that of a peer
 * @v: the VMM
 */
void hold_wait_peer(struct vmm *v)
{
	struct tapmig_info info;

	for (hold_info(v, &info); !(info.flags & TAPMIG_HOLD_FLAGS_PEER);
	     hold_info(v, &info))
		wait_event(v->hold, "a relay");
}

/**
 * hold_wait_state - wait until the hold has got to a state
 * @v: the VMM
 * @state: enum tapmig_state
 */
void hold_wait_state(struct vmm *v, __u32 state)
{
	struct tapmig_info info;

	for (;;) {
		hold_info(v, &info);
		if (info.state == state)
			return;
		if (info.state == TAPMIG_STATE_DEAD)
			die("the hold of %s is dead", v->host);
		wait_event(v->hold, "a change of the hold");
	}
}
