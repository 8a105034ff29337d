// SPDX-License-Identifier: GPL-2.0-only
#include "lib.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <time.h>
#include <linux/bpf.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/veth.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define FRAME_MAGIC	0x74617067

struct payload {
	__be32 magic;
	__be32 flow;
	__be64 seq;
} __attribute__((packed));

void die(const char *fmt, ...)
{
	va_list ap;

	fputs("# ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (errno %d: %s)\n", errno, strerror(errno));
	_exit(1);
}

int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

__u64 realtime_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

int bpf_load(__u32 type, const struct bpf_insn *insns, __u32 count)
{
	union bpf_attr attr = {
		.prog_type = type,
		.insns = (uintptr_t)insns,
		.insn_cnt = count,
		.license = (uintptr_t)"GPL",
	};

	return syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

bool kernel_has(int major, int minor)
{
	int a = 0, b = 0;
	struct utsname u;

	uname(&u);
	if (sscanf(u.release, "%d.%d", &a, &b) != 2)
		die("cannot read the release '%s'", u.release);
	return a > major || (a == major && b >= minor);
}

/* --- network namespaces and devices ------------------------------------- */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	/* A kernel without IPv6 has nothing to switch off. */
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("cannot write %s", path);
	close(fd);
}

void netns_new(void)
{
	if (unshare(CLONE_NEWNET | CLONE_NEWNS))
		die("cannot make a network namespace");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		die("cannot make mounts private");
	/* /sys/class/net is that of the namespace it was mounted from. */
	if (mount("sysfs", "/sys", "sysfs", 0, NULL))
		die("cannot mount sysfs");
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	link_up("lo");
}

int netns_fd(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("cannot open the network namespace");
	return fd;
}

void netns_enter(int fd)
{
	if (setns(fd, CLONE_NEWNET))
		die("cannot enter the network namespace");
}

static int if_ioctl(unsigned long cmd, struct ifreq *ifr, const char *name)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	if (s < 0)
		die("cannot open a socket");
	if (name)
		snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", name);
	ret = ioctl(s, cmd, ifr) ? -errno : 0;
	close(s);
	return ret;
}

static void must_ioctl(unsigned long cmd, struct ifreq *ifr, const char *name)
{
	int ret = if_ioctl(cmd, ifr, name);

	errno = -ret;
	if (ret)
		die("ioctl %#lx on %s", cmd, name);
}

static void link_flags(const char *name, short set, short clear)
{
	struct ifreq ifr = {};

	must_ioctl(SIOCGIFFLAGS, &ifr, name);
	ifr.ifr_flags = (ifr.ifr_flags & ~clear) | set;
	must_ioctl(SIOCSIFFLAGS, &ifr, name);
}

void link_up(const char *name)
{
	link_flags(name, IFF_UP, 0);
}

static bool link_is_up(const char *name)
{
	char path[128], state[8] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/operstate", name);
	f = fopen(path, "re");
	if (!f || !fgets(state, sizeof(state), f))
		die("cannot read %s", path);
	fclose(f);
	return !strcmp(state, "up\n");
}

void link_wait_up(const char *name)
{
	if (!busywait(link_is_up(name)))
		die("%s does not come up", name);
	/* It is told before the queues are there; both are done with rtnl. */
	link_up(name);
}

void link_down(const char *name)
{
	link_flags(name, 0, IFF_UP);
}

void link_txqlen(const char *name, int len)
{
	struct ifreq ifr = { .ifr_qlen = len };

	must_ioctl(SIOCSIFTXQLEN, &ifr, name);
}

void link_mtu(const char *name, int mtu)
{
	struct ifreq ifr = { .ifr_mtu = mtu };

	must_ioctl(SIOCSIFMTU, &ifr, name);
}

void link_mac(const char *name, __u8 *mac)
{
	struct ifreq ifr = {};

	must_ioctl(SIOCGIFHWADDR, &ifr, name);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, ETH_ALEN);
}

void link_set_mac(const char *name, const __u8 *mac)
{
	struct ifreq ifr = { .ifr_hwaddr.sa_family = 1 };

	memcpy(ifr.ifr_hwaddr.sa_data, mac, ETH_ALEN);
	must_ioctl(SIOCSIFHWADDR, &ifr, name);
}

void link_addr(const char *name, const char *ip, int plen)
{
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct ifreq ifr = {};

	inet_pton(AF_INET, ip, &sin.sin_addr);
	memcpy(&ifr.ifr_addr, &sin, sizeof(sin));
	must_ioctl(SIOCSIFADDR, &ifr, name);
	sin.sin_addr.s_addr = htonl(~0U << (32 - plen));
	memset(&ifr, 0, sizeof(ifr));
	memcpy(&ifr.ifr_netmask, &sin, sizeof(sin));
	must_ioctl(SIOCSIFNETMASK, &ifr, name);
}

int link_bridge(const char *name)
{
	int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	ret = ioctl(s, SIOCBRADDBR, name) ? -errno : 0;
	close(s);
	return ret;
}

void link_sysfs(const char *name, const char *attr, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", name, attr);
	write_file(path, value);
}

void link_master(const char *name, const char *master)
{
	struct ifreq ifr = { .ifr_ifindex = if_nametoindex(name) };

	must_ioctl(SIOCBRADDIF, &ifr, master);
}

/* One rtnetlink request with its ack. */
static int rtnl_talk(struct nlmsghdr *nlh)
{
	char buf[8192];
	struct mnl_socket *sk = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int ret;

	if (!sk || mnl_socket_bind(sk, 0, MNL_SOCKET_AUTOPID))
		die("cannot open rtnetlink");
	nlh->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = 1;
	if (mnl_socket_sendto(sk, nlh, nlh->nlmsg_len) < 0)
		die("cannot send to rtnetlink");
	ret = mnl_socket_recvfrom(sk, buf, sizeof(buf));
	if (ret < 0)
		die("no answer from rtnetlink");
	ret = mnl_cb_run(buf, ret, 1, mnl_socket_get_portid(sk), NULL, NULL);
	ret = ret < 0 ? -errno : 0;
	mnl_socket_close(sk);
	return ret;
}

static struct nlmsghdr *link_msg(void *buf, int type, int flags, int ifindex)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct ifinfomsg *ifi;

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = flags;
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	return nlh;
}

int link_pfifo(const char *name, __u32 limit)
{
	struct tc_fifo_qopt opt = { .limit = limit };
	struct nlmsghdr *nlh;
	struct tcmsg *tcm;
	char buf[512];

	nlh = mnl_nlmsg_put_header(buf);
	nlh->nlmsg_type = RTM_NEWQDISC;
	nlh->nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE;
	tcm = mnl_nlmsg_put_extra_header(nlh, sizeof(*tcm));
	tcm->tcm_ifindex = if_nametoindex(name);
	tcm->tcm_parent = TC_H_ROOT;
	mnl_attr_put_strz(nlh, TCA_KIND, "pfifo");
	mnl_attr_put(nlh, TCA_OPTIONS, sizeof(opt), &opt);
	return rtnl_talk(nlh);
}

long link_statistic(const char *name, const char *what)
{
	char path[128], text[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", name,
		 what);
	f = fopen(path, "re");
	if (!f || !fgets(text, sizeof(text), f))
		die("cannot read %s", path);
	fclose(f);
	return atol(text);
}

int link_del(const char *name)
{
	char buf[512];

	return rtnl_talk(link_msg(buf, RTM_DELLINK, 0, if_nametoindex(name)));
}

void link_netns(const char *name, int netns)
{
	char buf[512];
	struct nlmsghdr *nlh;
	int ret;

	nlh = link_msg(buf, RTM_NEWLINK, 0, if_nametoindex(name));
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, netns);
	ret = rtnl_talk(nlh);
	errno = -ret;
	if (ret)
		die("cannot move %s", name);
}

void link_gso_max(const char *name, __u32 size)
{
	char buf[512];
	struct nlmsghdr *nlh;
	int ret;

	nlh = link_msg(buf, RTM_NEWLINK, 0, if_nametoindex(name));
	mnl_attr_put_u32(nlh, IFLA_GSO_MAX_SIZE, size);
	ret = rtnl_talk(nlh);
	errno = -ret;
	if (ret)
		die("cannot set gso_max_size of %s", name);
}

int link_xdp(const char *name, int prog)
{
	char buf[512];
	struct nlmsghdr *nlh;
	struct nlattr *nest;

	nlh = link_msg(buf, RTM_NEWLINK, 0, if_nametoindex(name));
	nest = mnl_attr_nest_start(nlh, IFLA_XDP);
	mnl_attr_put_u32(nlh, IFLA_XDP_FD, prog);
	mnl_attr_put_u32(nlh, IFLA_XDP_FLAGS, XDP_FLAGS_DRV_MODE);
	mnl_attr_nest_end(nlh, nest);
	return rtnl_talk(nlh);
}

static int link_add(const char *kind, const char *name, const char *lower,
		    void (*fill)(struct nlmsghdr *, const void *),
		    const void *arg, int queues)
{
	char buf[1024];
	struct nlmsghdr *nlh;
	struct nlattr *info, *data;

	nlh = link_msg(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	if (lower)
		mnl_attr_put_u32(nlh, IFLA_LINK, if_nametoindex(lower));
	if (queues) {
		mnl_attr_put_u32(nlh, IFLA_NUM_TX_QUEUES, queues);
		mnl_attr_put_u32(nlh, IFLA_NUM_RX_QUEUES, queues);
	}
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, kind);
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	fill(nlh, arg);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return rtnl_talk(nlh);
}

static void fill_veth(struct nlmsghdr *nlh, const void *peer)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh, VETH_INFO_PEER);

	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, peer);
	mnl_attr_nest_end(nlh, nest);
}

static void fill_vlan(struct nlmsghdr *nlh, const void *id)
{
	mnl_attr_put_u16(nlh, IFLA_VLAN_ID, *(const __u16 *)id);
}

static void fill_macvtap(struct nlmsghdr *nlh, const void *unused)
{
	mnl_attr_put_u32(nlh, IFLA_MACVLAN_MODE, MACVLAN_MODE_BRIDGE);
}

static void fill_ipvtap(struct nlmsghdr *nlh, const void *unused)
{
	mnl_attr_put_u16(nlh, IFLA_IPVLAN_MODE, IPVLAN_MODE_L2);
}

int link_veth(const char *name, const char *peer)
{
	return link_add("veth", name, NULL, fill_veth, peer, 0);
}

int link_vlan(const char *name, const char *lower, __u16 id)
{
	return link_add("vlan", name, lower, fill_vlan, &id, 0);
}

int open_tun(void)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		die("cannot open /dev/net/tun");
	return fd;
}

int macvtap_open_node(const char *name)
{
	static unsigned int count;
	char path[128], text[32];
	int fd, major, minor;
	ssize_t len;

	/*
	 * /dev/tapN is of no use: interface numbers repeat in network
	 * namespaces.
	 */
	snprintf(path, sizeof(path), "/sys/class/net/%s/tap%u/dev", name,
		 if_nametoindex(name));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, text, sizeof(text) - 1);
	if (fd < 0 || len < 0)
		die("cannot read %s", path);
	close(fd);
	text[len] = '\0';
	if (sscanf(text, "%d:%d", &major, &minor) != 2)
		die("%s holds '%s'", path, text);
	snprintf(path, sizeof(path), "/dev/.tapmig-test-%d-%u", getpid(),
		 count++);
	if (mknod(path, S_IFCHR | 0600, makedev(major, minor)))
		die("cannot make %s", path);
	fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("cannot open %s", path);
	unlink(path);
	return fd;
}

static int set_iff(struct nic *n, int fd)
{
	struct ifreq ifr = { .ifr_flags = IFF_NO_PI };
	int hdr = n->hdr;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", n->name);
	ifr.ifr_flags |= n->kind == TUN ? IFF_TUN : IFF_TAP;
	if (n->hdr)
		ifr.ifr_flags |= IFF_VNET_HDR;
	/* macvtap takes more queues in any case. */
	if (n->queues > 1 || n->kind == MACVTAP || n->kind == IPVTAP)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	if (ioctl(fd, TUNSETIFF, &ifr))
		return -errno;
	if (hdr && ioctl(fd, TUNSETVNETHDRSZ, &hdr))
		return -errno;
	return 0;
}

int nic_attach(struct nic *n)
{
	int fd, ret;

	if (n->kind == MACVTAP || n->kind == IPVTAP)
		fd = macvtap_open_node(n->name);
	else
		fd = open_tun();
	ret = set_iff(n, fd);
	errno = -ret;
	if (ret)
		die("cannot attach a queue to %s", n->name);
	return fd;
}

static bool tap_over_veth(struct nic *n)
{
	const char *kind = n->kind == MACVTAP ? "macvtap" : "ipvtap";
	char lower[IFNAMSIZ];
	int ret;

	snprintf(lower, sizeof(lower), "%.10s-low", n->name);
	snprintf(n->tx_name, sizeof(n->tx_name), "%.10s-peer", n->name);
	ret = link_veth(n->tx_name, lower);
	errno = -ret;
	if (ret)
		die("cannot make a veth pair");
	ret = link_add(kind, n->name, lower,
		       n->kind == MACVTAP ? fill_macvtap : fill_ipvtap,
		       NULL, n->queues);
	if (ret == -EOPNOTSUPP)
		return false;
	errno = -ret;
	if (ret)
		die("cannot make a %s", kind);
	link_up(n->tx_name);
	link_up(lower);
	if (n->kind == IPVTAP)
		link_addr(n->name, "10.0.0.2", 24);
	return true;
}

bool nic_open_named(struct nic *n, const char *name, enum nic_kind kind,
		    int hdr, int queues)
{
	int q;

	memset(n, 0, sizeof(*n));
	n->kind = kind;
	n->hdr = hdr;
	n->queues = queues;
	snprintf(n->name, sizeof(n->name), "%s", name);
	if (kind == MACVTAP || kind == IPVTAP) {
		if (!tap_over_veth(n))
			return false;
	} else {
		snprintf(n->tx_name, sizeof(n->tx_name), "%s", name);
	}
	for (q = 0; q < queues; q++)
		n->fd[q] = nic_attach(n);
	link_up(name);
	n->ifindex = if_nametoindex(name);
	n->tx_ifindex = if_nametoindex(n->tx_name);
	if (kind != TUN)
		link_mac(name, n->mac);
	if (hdr > 12) {
		/* With TUN_F_USO[46], TUN_F_UDP_TUNNEL_GSO[_CSUM]. */
		unsigned int want = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 |
				    TUN_F_TSO_ECN |
				    0x20 | 0x40 | 0x80 | 0x100;

		/* This header is for segmented UDP tunnels. */
		if (nic_offload(n, want))
			return false;
	}
	return true;
}

bool nic_try_open(struct nic *n, enum nic_kind kind, int hdr, int queues)
{
	return nic_open_named(n, kind == TUN ? "tun0" : "tap0", kind, hdr,
			      queues);
}

void nic_pin(enum nic_kind kind)
{
	if (kind == MACVTAP || kind == IPVTAP)
		pin_cpu(sched_getcpu());
}

void nic_open(struct nic *n, enum nic_kind kind, int hdr, int queues)
{
	if (!nic_try_open(n, kind, hdr, queues))
		die("no such device in this kernel");
}

void nic_close(struct nic *n)
{
	int q;

	for (q = 0; q < n->queues; q++) {
		if (n->fd[q] >= 0)
			close(n->fd[q]);
		n->fd[q] = -1;
	}
}

int nic_offload(struct nic *n, unsigned int offload)
{
	int q;

	for (q = 0; q < n->queues; q++)
		if (ioctl(n->fd[q], TUNSETOFFLOAD, offload))
			return -errno;
	return 0;
}

unsigned int all_offloads(void)
{
	unsigned int v = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

	/* TUN_F_USO4, TUN_F_USO6 */
	if (kernel_has(6, 2))
		v |= 0x20 | 0x40;
	return v;
}

void nic_set_queue(int fd, bool attached)
{
	struct ifreq ifr = {};

	ifr.ifr_flags = attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE;
	if (ioctl(fd, TUNSETQUEUE, &ifr))
		die("cannot %s a queue", attached ? "attach" : "detach");
}

/* --- frames ------------------------------------------------------------- */

__u32 csum_add(__u32 sum, const void *buf, size_t len)
{
	const __u8 *p = buf;
	size_t i;

	for (i = 0; i + 1 < len; i += 2)
		sum += p[i] << 8 | p[i + 1];
	if (len & 1)
		sum += p[len - 1] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

__u16 csum_fold(__u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

static const __u8 src_mac[ETH_ALEN] = { 2, 0, 0, 0, 1, 1 };

static size_t put_eth(const struct nic *n, __u8 *p, __u16 proto)
{
	if (n->kind == TUN)
		return 0;
	memcpy(p, n->mac, ETH_ALEN);
	memcpy(p + ETH_ALEN, src_mac, ETH_ALEN);
	p[12] = proto >> 8;
	p[13] = proto;
	return ETH_HLEN;
}

static size_t put_ipv4(__u8 *p, int proto, size_t len)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.ttl = 64,
		.protocol = proto,
		.tot_len = htons(20 + len),
		.frag_off = htons(0x4000),
		.saddr = htonl(0x0a000001),
		.daddr = htonl(0x0a000002),
	};

	ip.check = htons(csum_fold(csum_add(0, &ip, sizeof(ip))));
	memcpy(p, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t put_ipv6(__u8 *p, int proto, size_t len)
{
	struct ipv6hdr ip = {
		.version = 6,
		.hop_limit = 64,
		.nexthdr = proto,
		.payload_len = htons(len),
	};

	ip.saddr.s6_addr[0] = 0xfd;
	ip.saddr.s6_addr[15] = 1;
	ip.daddr.s6_addr[0] = 0xfd;
	ip.daddr.s6_addr[15] = 2;
	memcpy(p, &ip, sizeof(ip));
	return sizeof(ip);
}

static size_t put_ip(__u8 *p, int family, int proto, size_t len)
{
	return family == AF_INET ? put_ipv4(p, proto, len) :
				   put_ipv6(p, proto, len);
}

static void put_payload(__u8 *p, size_t len, __u32 flow, __u64 seq)
{
	struct payload pl = {
		.magic = htonl(FRAME_MAGIC),
		.flow = htonl(flow),
		.seq = htobe64(seq),
	};
	size_t i;

	memcpy(p, &pl, sizeof(pl));
	for (i = sizeof(pl); i < len; i++)
		p[i] = seq + i;
}

size_t frame_udp(const struct nic *n, void *buf, size_t len, __u32 flow,
		 __u64 seq)
{
	__u8 *p = buf;
	size_t off = put_eth(n, p, ETH_P_IP);
	struct udphdr udp = {
		.source = htons(1000 + flow),
		.dest = htons(7777),
		.len = htons(len - off - 20),
	};

	off += put_ip(p + off, AF_INET, IPPROTO_UDP, len - off - 20);
	memcpy(p + off, &udp, sizeof(udp));
	off += sizeof(udp);
	put_payload(p + off, len - off, flow, seq);
	return len;
}

size_t frame_eth(const __u8 *dst, void *buf, size_t len, __u32 flow, __u64 seq)
{
	__u8 *p = buf;

	memcpy(p, dst, ETH_ALEN);
	memcpy(p + ETH_ALEN, src_mac, ETH_ALEN);
	p[12] = TEST_PROTO >> 8;
	p[13] = TEST_PROTO & 0xff;
	put_payload(p + ETH_HLEN, len - ETH_HLEN, flow, seq);
	return len;
}

bool frame_parse(const struct nic *n, const void *buf, size_t len,
		 __u32 *flow, __u64 *seq)
{
	const __u8 *p = buf;
	size_t off = 28, i;
	struct payload pl;

	if (n->kind != TUN) {
		off += ETH_HLEN;
		if (len >= ETH_HLEN && p[12] == TEST_PROTO >> 8 &&
		    p[13] == (TEST_PROTO & 0xff))
			off = ETH_HLEN;
	}
	if (len < off + sizeof(pl))
		return false;
	memcpy(&pl, p + off, sizeof(pl));
	*flow = ntohl(pl.flow);
	*seq = be64toh(pl.seq);
	if (pl.magic != htonl(FRAME_MAGIC) || *flow >= MAX_FLOWS)
		return false;
	for (i = sizeof(pl); i < len - off; i++)
		if (p[off + i] != (__u8)(*seq + i))
			return false;
	return true;
}

size_t frame_l4(const struct nic *n, void *buf, int family, int proto,
		size_t payload, bool partial, size_t *l4)
{
	size_t hlen = proto == IPPROTO_TCP ? sizeof(struct tcphdr) :
					     sizeof(struct udphdr);
	size_t len = hlen + payload, off, ip, i;
	__u8 *p = buf, pseudo[4] = { 0, proto, len >> 8, len };
	__u32 sum;
	__u16 check;

	ip = put_eth(n, p, family == AF_INET ? ETH_P_IP : ETH_P_IPV6);
	off = ip + put_ip(p + ip, family, proto, len);
	memset(p + off, 0, hlen);
	if (proto == IPPROTO_TCP) {
		struct tcphdr tcp = {
			.source = htons(1234),
			.dest = htons(4321),
			.seq = htonl(1000),
			.ack_seq = htonl(2000),
			.doff = 5,
			.ack = 1,
			.window = htons(500),
		};

		memcpy(p + off, &tcp, sizeof(tcp));
	} else {
		struct udphdr udp = {
			.source = htons(1234),
			.dest = htons(4321),
			.len = htons(len),
		};

		memcpy(p + off, &udp, sizeof(udp));
	}
	for (i = 0; i < payload; i++)
		p[off + hlen + i] = i * 7;
	sum = family == AF_INET ? csum_add(0, p + ip + 12, 8) :
				  csum_add(0, p + ip + 8, 32);
	sum = csum_add(sum, pseudo, sizeof(pseudo));
	if (partial)
		check = ~csum_fold(sum);
	else
		check = csum_fold(csum_add(sum, p + off, len));
	if (!partial && !check && proto == IPPROTO_UDP)
		check = 0xffff;
	i = off + (proto == IPPROTO_TCP ? offsetof(struct tcphdr, check) :
					  offsetof(struct udphdr, check));
	p[i] = check >> 8;
	p[i + 1] = check;
	if (l4)
		*l4 = off;
	return off + len;
}

int tx_open(unsigned int ifindex, int flags)
{
	struct sockaddr_ll ll = {
		.sll_family = AF_PACKET,
		.sll_ifindex = ifindex,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), one = 1;
	int snd = 8 << 20;

	if (fd < 0 || bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		die("cannot open a packet socket");
	if ((flags & TX_BYPASS) &&
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)))
		die("cannot bypass the qdisc");
	if ((flags & TX_VNET) &&
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)))
		die("cannot send with virtio headers");
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &snd, sizeof(snd)))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd));
	return fd;
}

int tx_send(int fd, const void *buf, size_t len)
{
	ssize_t ret;

	do {
		ret = send(fd, buf, len, 0);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return -errno;
	return (size_t)ret == len ? 0 : -EIO;
}

unsigned int tx_flow(const struct nic *n, int fd, __u32 flow, __u64 seq,
		     unsigned int count)
{
	unsigned int taken = 0;
	__u8 buf[FRAME_LEN];

	while (count--) {
		frame_udp(n, buf, sizeof(buf), flow, seq++);
		/* A full ring is not an error of the sender. */
		taken += !tx_send(fd, buf, sizeof(buf));
	}
	return taken;
}

void tx_all(const struct nic *n, int fd, __u32 flow, __u64 seq,
	    unsigned int count)
{
	for (; count; count--, seq++)
		if (!busywait(tx_flow(n, fd, flow, seq, 1)))
			die("a frame is not taken");
}

bool tx_held(const struct nic *n, int fd, int hold, __u64 seq,
	     unsigned int count, unsigned int part)
{
	__u64 captured = info_of(hold).captured;
	unsigned int now;

	for (; count; count -= now, seq += now) {
		now = count < part ? count : part;
		tx_flow(n, fd, 0, seq, now);
		captured += now;
		if (!hold_wait_captured(hold, captured))
			return false;
	}
	return true;
}

int nic_read(struct nic *n, int queue, struct rx *rx)
{
	static __u8 buf[FRAME_MAX + 32];
	ssize_t len;

	len = read(n->fd[queue], buf, sizeof(buf));
	if (len < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (len < n->hdr)
		return -EIO;
	rx->queue = queue;
	memset(rx->hdr, 0, sizeof(rx->hdr));
	memcpy(rx->hdr, buf, n->hdr);
	rx->len = len - n->hdr;
	memcpy(rx->data, buf + n->hdr, rx->len);
	rx->ours = frame_parse(n, rx->data, rx->len, &rx->flow, &rx->seq);
	return 1;
}

bool nic_poll(struct nic *n, int timeout_ms)
{
	struct pollfd p[MAX_NIC_QUEUES];
	int q;

	for (q = 0; q < n->queues; q++)
		p[q] = (struct pollfd) { .fd = n->fd[q], .events = POLLIN };
	return poll(p, n->queues, timeout_ms) > 0;
}

void tally_add(struct tally *t, __u32 flow, __u64 seq)
{
	if (seq < t->next[flow]) {
		t->repeats++;
		return;
	}
	t->gaps += seq - t->next[flow];
	t->next[flow] = seq + 1;
	t->got++;
}

static void show_strange(const struct nic *n, const struct rx *rx)
{
	size_t i;

	fprintf(stderr, "# %s, queue %d: strange frame of %zu bytes:", n->name,
		rx->queue, rx->len);
	for (i = 0; i < rx->len && i < 64; i++)
		fprintf(stderr, " %02x", rx->data[i]);
	fputs("\n", stderr);
}

unsigned int nic_drain(struct nic *n, struct tally *t)
{
	static struct rx rx;
	unsigned int count = 0;
	int q, ret;

	for (q = 0; q < n->queues; q++) {
		while ((ret = nic_read(n, q, &rx)) > 0) {
			count++;
			if (rx.ours)
				tally_add(t, rx.flow, rx.seq);
			else if (!t->strange++)
				show_strange(n, &rx);
			t->by_queue[q]++;
		}
		if (ret < 0)
			t->strange++;
	}
	return count;
}

bool nic_wait(struct nic *n, struct tally *t, __u64 total)
{
	int64_t end = now_ms() + WAIT_MS;

	nic_drain(n, t);
	while (t->got < total && now_ms() < end) {
		nic_poll(n, 1000);
		nic_drain(n, t);
	}
	if (t->got >= total)
		return true;
	fprintf(stderr, "# %llu of %llu frames in order, %llu gaps, %llu repeats, %llu strange\n",
		t->got, total, t->gaps, t->repeats, t->strange);
	return false;
}

/* --- holds -------------------------------------------------------------- */

int ctl_open(void)
{
	int fd = open("/dev/" TAPMIG_DEVICE_NAME, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("cannot open /dev/" TAPMIG_DEVICE_NAME
		    ", is the module loaded?");
	return fd;
}

int hold_create(struct tapmig_create *c)
{
	int ctl = ctl_open(), fd;

	fd = ioctl(ctl, TAPMIG_CREATE, c);
	if (fd < 0)
		fd = -errno;
	close(ctl);
	return fd;
}

int hold_add_flags(int hold, int fd, int index, __u32 flags)
{
	struct tapmig_add_queue a = {
		.size = sizeof(a),
		.flags = flags,
		.fd = fd,
		.index = index,
	};

	return ioctl(hold, TAPMIG_ADD_QUEUE, &a) ? -errno : 0;
}

int hold_add(int hold, int fd, int index)
{
	return hold_add_flags(hold, fd, index, 0);
}

int hold_prepare(int hold, __u32 entries)
{
	struct tapmig_prepare a = { .size = sizeof(a), .entries = entries };

	return ioctl(hold, TAPMIG_PREPARE, &a) ? -errno : 0;
}

int hold_freeze_flags(int hold, __u32 flags)
{
	struct tapmig_freeze a = { .size = sizeof(a), .flags = flags };

	return ioctl(hold, TAPMIG_FREEZE, &a) ? -errno : 0;
}

int hold_freeze(int hold)
{
	return hold_freeze_flags(hold, 0);
}

int hold_thaw(int hold)
{
	struct tapmig_thaw a = { .size = sizeof(a) };

	return ioctl(hold, TAPMIG_THAW, &a) ? -errno : 0;
}

int hold_unread(int hold, const struct nic *n, const struct rx *rx)
{
	struct tapmig_unread a = {
		.size = sizeof(a),
		.index = rx->queue,
		.vnet_hdr_len = n->hdr,
		.len = n->hdr + rx->len,
	};
	__u8 *buf = malloc(a.len);
	int ret;

	if (!buf)
		die("no memory");
	memcpy(buf, rx->hdr, n->hdr);
	memcpy(buf + n->hdr, rx->data, rx->len);
	a.data = (unsigned long)buf;
	ret = ioctl(hold, TAPMIG_UNREAD, &a) ? -errno : 0;
	free(buf);
	return ret;
}

int hold_thaw_wait(int hold)
{
	struct tapmig_thaw a = {
		.size = sizeof(a),
		.flags = TAPMIG_THAW_WAIT,
	};

	return ioctl(hold, TAPMIG_THAW, &a) ? -errno : 0;
}

int hold_discard(int hold)
{
	struct tapmig_discard a = { .size = sizeof(a) };

	return ioctl(hold, TAPMIG_DISCARD, &a) ? -errno : 0;
}

int hold_commit(int hold, __u64 seq)
{
	struct tapmig_commit a = { .size = sizeof(a), .seq = seq };

	return ioctl(hold, TAPMIG_COMMIT, &a) ? -errno : 0;
}

int hold_info(int hold, struct tapmig_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = sizeof(*info);
	return ioctl(hold, TAPMIG_INFO, info) ? -errno : 0;
}

int hold_set(int hold, struct tapmig_set *set)
{
	set->size = sizeof(*set);
	return ioctl(hold, TAPMIG_SET, set) ? -errno : 0;
}

int hold_set_flags(int hold, __u32 flags, __u32 mask)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_FLAGS,
		.flags = flags,
		.flags_mask = mask,
	};

	return hold_set(hold, &s);
}

int hold_renew(int hold, __u32 ms)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_MAX_FROZEN_MS,
		.max_frozen_ms = ms,
	};

	return hold_set(hold, &s);
}

int hold_stay_live(int hold)
{
	struct tapmig_set s = {
		.mask = TAPMIG_SET_WAIT_IMPORT_MS | TAPMIG_SET_FLAGS,
		.flags = TAPMIG_HOLD_FLAGS_PEER,
		.flags_mask = TAPMIG_HOLD_FLAGS_PEER,
	};

	return hold_set(hold, &s);
}

struct tapmig_info info_of(int hold)
{
	struct tapmig_info info;
	int ret = hold_info(hold, &info);

	errno = -ret;
	if (ret)
		die("TAPMIG_INFO");
	return info;
}

int hold_new(struct nic *n, struct tapmig_create *c)
{
	struct tapmig_create def = CREATE();
	int hold, q, ret;

	if (!c)
		c = &def;
	/* Only who wants a deadline meets it, however busy the machine is. */
	if (!c->max_frozen_ms)
		c->max_frozen_ms = TAPMIG_UNPRIV_MAX_FROZEN_MS;
	hold = hold_create(c);
	errno = -hold;
	if (hold < 0)
		die("TAPMIG_CREATE");
	for (q = 0; q < n->queues; q++) {
		ret = hold_add(hold, n->fd[q], q);
		errno = -ret;
		if (ret)
			die("TAPMIG_ADD_QUEUE");
	}
	return hold;
}

bool hold_wait_state(int hold, __u32 state)
{
	struct pollfd p = { .fd = hold, .events = POLLIN };
	int64_t end = now_ms() + WAIT_MS;

	while (info_of(hold).state != state) {
		if (now_ms() >= end)
			return false;
		if (poll(&p, 1, WAIT_MS) <= 0)
			return false;
	}
	return true;
}

bool hold_wait_captured(int hold, __u64 captured)
{
	return busywait(info_of(hold).captured >= captured);
}

/*
 * Every packet that the hold took in is either still there or in one of the
 * counters: the difference is zero.
 */
__u64 hold_balance(const struct tapmig_info *i)
{
	return i->captured - i->held_packets - i->delivered - i->discarded -
	       i->trimmed - i->flooded - i->own_address - i->lost;
}

static void *commit_all(void *arg)
{
	struct slow_resize *r = arg;

	if (hold_commit(r->busy_hold, info_of(r->busy_hold).highest_seq))
		die("cannot commit");
	return NULL;
}

static void *resize(void *arg)
{
	struct slow_resize *r = arg;

	link_txqlen(r->name, r->len);
	__atomic_store_n(&r->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

bool slow_resize_open(struct slow_resize *r, const struct nic *n, int hold)
{
	memset(r, 0, sizeof(*r));
	r->name = n->name;
	r->hold = hold;
	if (!nic_open_named(&r->busy, "busy", TAP, 12, 1))
		return false;
	r->busy_tx = tx_open(r->busy.tx_ifindex, TX_BYPASS);
	r->busy_hold = hold_new(&r->busy, NULL);
	r->events = mnl_socket_open2(NETLINK_ROUTE,
				     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (!r->events ||
	    mnl_socket_bind(r->events, RTMGRP_LINK, MNL_SOCKET_AUTOPID))
		die("cannot open rtnetlink");
	return !hold_freeze(r->busy_hold);
}

/*
 * Was nothing told of any device? rtnetlink is there before tun and macvtap,
 * and so hears of a change before they resize their rings.
 */
static bool slow_resize_drain(const struct slow_resize *r)
{
	bool nothing = true;
	char buf[8192];

	while (mnl_socket_recvfrom(r->events, buf, sizeof(buf)) >= 0 ||
	       errno != EAGAIN)
		nothing = false;
	return nothing;
}

bool slow_resize_begin(struct slow_resize *r, int len)
{
	long frames = env_count("TAPMIG_SLOW_FRAMES", 40000);

	/* They are freed in the meantime. */
	if (!tx_held(&r->busy, r->busy_tx, r->busy_hold, 0, frames, 500))
		return false;
	r->len = len;
	r->done = false;
	slow_resize_drain(r);
	r->captured = info_of(r->hold).captured;
	return !pthread_create(&r->committer, NULL, commit_all, r) &&
	       !pthread_create(&r->resizer, NULL, resize, r);
}

bool slow_resize_pending(const struct slow_resize *r)
{
	return info_of(r->hold).captured == r->captured &&
	       !__atomic_load_n(&r->done, __ATOMIC_SEQ_CST);
}

bool slow_resize_waits(const struct slow_resize *r)
{
	return slow_resize_drain(r);
}

void slow_resize_end(struct slow_resize *r)
{
	if (pthread_join(r->committer, NULL) || pthread_join(r->resizer, NULL))
		die("cannot join");
}

void slow_resize_close(struct slow_resize *r)
{
	mnl_socket_close(r->events);
	close(r->busy_hold);
	close(r->busy_tx);
	nic_close(&r->busy);
}

/* --- netlink ------------------------------------------------------------ */

static int ctrl_cb(const struct nlmsghdr *nlh, void *data)
{
	struct nl *nl = data;
	struct nlattr *attr, *grp, *a;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID)
			nl->family = mnl_attr_get_u16(attr);
		if (mnl_attr_get_type(attr) != CTRL_ATTR_MCAST_GROUPS)
			continue;
		mnl_attr_for_each_nested(grp, attr) {
			mnl_attr_for_each_nested(a, grp) {
				if (mnl_attr_get_type(a) ==
				    CTRL_ATTR_MCAST_GRP_ID)
					nl->group = mnl_attr_get_u32(a);
			}
		}
	}
	return MNL_CB_OK;
}

void nl_open(struct nl *nl)
{
	int one = 1, size = 8 << 20, ret;
	struct genlmsghdr *g;
	struct nlmsghdr *nlh;
	char buf[512];

	memset(nl, 0, sizeof(*nl));
	nl->sk = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!nl->sk || mnl_socket_bind(nl->sk, 0, MNL_SOCKET_AUTOPID))
		die("cannot open generic netlink");
	mnl_socket_setsockopt(nl->sk, NETLINK_EXT_ACK, &one, sizeof(one));
	mnl_socket_setsockopt(nl->sk, NETLINK_GET_STRICT_CHK, &one,
			      sizeof(one));
	ret = mnl_socket_get_fd(nl->sk);
	if (setsockopt(ret, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)))
		setsockopt(ret, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	if (setsockopt(ret, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)))
		setsockopt(ret, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	nl->seq = 1;
	nl->family = GENL_ID_CTRL;
	nlh = nl_msg(nl, buf, CTRL_CMD_GETFAMILY, NLM_F_ACK);
	g = mnl_nlmsg_get_payload(nlh);
	g->version = 1;
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, TAPMIG_FAMILY_NAME);
	ret = nl_talk(nl, nlh, ctrl_cb, nl);
	errno = -ret;
	if (ret || !nl->group)
		die("no netlink family tapmig, is the module loaded?");
}

void nl_close(struct nl *nl)
{
	mnl_socket_close(nl->sk);
}

struct nlmsghdr *nl_msg(struct nl *nl, void *buf, __u8 cmd, __u16 flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g;

	nlh->nlmsg_type = nl->family;
	nlh->nlmsg_flags = NLM_F_REQUEST | flags;
	nlh->nlmsg_seq = ++nl->seq;
	g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	g->cmd = cmd;
	g->version = TAPMIG_FAMILY_VERSION;
	return nlh;
}

/* The type of the attribute of a request that begins or lies at @off. */
static int attr_at(const struct nlmsghdr *req, int off)
{
	const struct nlattr *attr;
	int type = 0;

	mnl_attr_for_each(attr, req, sizeof(struct genlmsghdr)) {
		int at = (const char *)attr - (const char *)req;

		if (off >= at && off < at + mnl_attr_get_len(attr))
			type = mnl_attr_get_type(attr);
	}
	return type;
}

static void read_ack(struct nl *nl, const struct nlmsghdr *nlh,
		     const struct nlmsghdr *req, size_t hlen)
{
	const struct nlattr *attr;

	nl->msg[0] = '\0';
	nl->off = -1;
	nl->miss = -1;
	nl->bad = -1;
	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	mnl_attr_for_each(attr, nlh, hlen) {
		switch (mnl_attr_get_type(attr)) {
		case NLMSGERR_ATTR_MSG:
			snprintf(nl->msg, sizeof(nl->msg), "%s",
				 mnl_attr_get_str(attr));
			break;
		case NLMSGERR_ATTR_OFFS:
			nl->off = mnl_attr_get_u32(attr);
			nl->bad = attr_at(req, nl->off);
			break;
		case 5: /* NLMSGERR_ATTR_MISS_TYPE */
			nl->miss = mnl_attr_get_u32(attr);
			break;
		}
	}
}

int nl_talk(struct nl *nl, struct nlmsghdr *req, mnl_cb_t cb, void *data)
{
	static __thread char buf[256 * 1024];
	unsigned int portid = mnl_socket_get_portid(nl->sk);
	const struct nlmsgerr *err;
	struct nlmsghdr *nlh;
	int len, ret = 0;
	size_t hlen;

	if ((nl->by_write ? write(mnl_socket_get_fd(nl->sk), req,
				  req->nlmsg_len) :
	     mnl_socket_sendto(nl->sk, req, req->nlmsg_len)) < 0)
		return -errno;
	for (;;) {
		len = mnl_socket_recvfrom(nl->sk, buf, sizeof(buf));
		if (len < 0)
			return -errno;
		nlh = (struct nlmsghdr *)buf;
		for (; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_pid != portid ||
			    nlh->nlmsg_seq != req->nlmsg_seq)
				continue;
			if (nlh->nlmsg_type == NLMSG_DONE) {
				read_ack(nl, nlh, req, sizeof(int));
				memcpy(&ret, mnl_nlmsg_get_payload(nlh),
				       sizeof(ret));
				return ret;
			}
			if (nlh->nlmsg_type == NLMSG_ERROR) {
				err = mnl_nlmsg_get_payload(nlh);
				hlen = sizeof(*err);
				if (err->error &&
				    !(nlh->nlmsg_flags & NLM_F_CAPPED))
					hlen += err->msg.nlmsg_len -
						sizeof(err->msg);
				read_ack(nl, nlh, req, MNL_ALIGN(hlen));
				return err->error;
			}
			if (cb && cb(nlh, data) < 0)
				return -EIO;
		}
	}
}

static int transfer_u64(__u8 cmd)
{
	return cmd == TAPMIG_CMD_IMPORT_BEGIN ? TAPMIG_A_TRANSFER_AGE_MS :
						TAPMIG_A_TRANSFER_SEQ;
}

int nl_hold_cmd(struct nl *nl, __u8 cmd, __u32 id)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, cmd, NLM_F_ACK);

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
	return nl_talk(nl, nlh, NULL, NULL);
}

int nl_transfer_cmd(struct nl *nl, __u8 cmd, __u32 id, int attr, __u64 v)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, cmd, NLM_F_ACK);

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	if (attr)
		mnl_attr_put_u64(nlh, attr, v);
	return nl_talk(nl, nlh, NULL, NULL);
}

int nl_commit(struct nl *nl, __u32 id, __u64 seq)
{
	return nl_transfer_cmd(nl, TAPMIG_CMD_PACKET_COMMIT, id,
			       transfer_u64(TAPMIG_CMD_PACKET_COMMIT), seq);
}

int nl_begin(struct nl *nl, __u32 id, __u64 age_ms)
{
	return nl_transfer_cmd(nl, TAPMIG_CMD_IMPORT_BEGIN, id,
			       transfer_u64(TAPMIG_CMD_IMPORT_BEGIN), age_ms);
}

int nl_sync(struct nl *nl, __u32 id, __u64 seq)
{
	return nl_transfer_cmd(nl, TAPMIG_CMD_IMPORT_SYNC, id,
			       transfer_u64(TAPMIG_CMD_IMPORT_SYNC), seq);
}

int nl_end(struct nl *nl, __u32 id)
{
	return nl_transfer_cmd(nl, TAPMIG_CMD_IMPORT_END, id, 0, 0);
}

int nl_set(struct nl *nl, __u32 id, int attr, __u64 v)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, TAPMIG_CMD_HOLD_SET, NLM_F_ACK);

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
	if (attr == TAPMIG_A_HOLD_MAX_BYTES)
		mnl_attr_put_u64(nlh, attr, v);
	else
		mnl_attr_put_u32(nlh, attr, v);
	return nl_talk(nl, nlh, NULL, NULL);
}

int nl_set_flags(struct nl *nl, __u32 id, __u32 flags, __u32 mask)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, TAPMIG_CMD_HOLD_SET, NLM_F_ACK);

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS, flags);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS_MASK, mask);
	return nl_talk(nl, nlh, NULL, NULL);
}

void hold_nl_parse(const struct nlmsghdr *nlh, struct hold_nl *h)
{
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	memset(h, 0, sizeof(*h));
	h->cmd = g->cmd;
	mnl_attr_for_each(attr, nlh, sizeof(*g)) {
		int type = mnl_attr_get_type(attr);

		if (type > TAPMIG_A_HOLD_MAX)
			continue;
		h->has[type] = true;
		switch (type) {
		case TAPMIG_A_HOLD_LABEL:
			snprintf(h->label, sizeof(h->label), "%s",
				 mnl_attr_get_str(attr));
			break;
		case TAPMIG_A_HOLD_IFNAME:
			snprintf(h->ifname, sizeof(h->ifname), "%s",
				 mnl_attr_get_str(attr));
			break;
		case TAPMIG_A_HOLD_MAC:
			memcpy(h->mac, mnl_attr_get_payload(attr), ETH_ALEN);
			break;
		default:
			if (mnl_attr_get_payload_len(attr) == 8)
				h->v[type] = mnl_attr_get_u64(attr);
			else if (mnl_attr_get_payload_len(attr) == 4)
				h->v[type] = mnl_attr_get_u32(attr);
		}
	}
}

static int get_cb(const struct nlmsghdr *nlh, void *data)
{
	hold_nl_parse(nlh, data);
	return MNL_CB_OK;
}

int nl_get(struct nl *nl, __u32 id, struct hold_nl *h)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, TAPMIG_CMD_HOLD_GET, NLM_F_ACK);
	struct hold_nl none;

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
	return nl_talk(nl, nlh, get_cb, h ? h : &none);
}

struct dump {
	struct hold_nl *h;
	int n;
	int max;
};

static int dump_cb(const struct nlmsghdr *nlh, void *data)
{
	struct dump *d = data;

	if (d->n < d->max)
		hold_nl_parse(nlh, &d->h[d->n]);
	d->n++;
	return MNL_CB_OK;
}

int nl_dump(struct nl *nl, struct hold_nl *h, int max)
{
	char buf[256];
	struct dump d = { .h = h, .max = max };
	int ret;

	ret = nl_talk(nl, nl_msg(nl, buf, TAPMIG_CMD_HOLD_GET, NLM_F_DUMP),
		      dump_cb, &d);
	return ret ? ret : d.n;
}

static void export_packet(struct pkts *p, const struct nlattr *nest)
{
	const struct nlattr *attr, *data = NULL;
	struct pkt c = {}, *v;
	__u32 offset = 0;

	mnl_attr_for_each_nested(attr, nest) {
		switch (mnl_attr_get_type(attr)) {
		case TAPMIG_A_PACKET_SEQ:
			c.seq = mnl_attr_get_u64(attr);
			break;
		case TAPMIG_A_PACKET_SUB:
			c.sub = mnl_attr_get_u16(attr);
			break;
		case TAPMIG_A_PACKET_SUBS:
			c.subs = mnl_attr_get_u16(attr);
			break;
		case TAPMIG_A_PACKET_QUEUE:
			c.queue = mnl_attr_get_u16(attr);
			break;
		case TAPMIG_A_PACKET_TIME_NS:
			c.time_ns = mnl_attr_get_u64(attr);
			break;
		case TAPMIG_A_PACKET_LEN:
			c.len = mnl_attr_get_u32(attr);
			break;
		case TAPMIG_A_PACKET_OFFSET:
			offset = mnl_attr_get_u32(attr);
			break;
		case TAPMIG_A_PACKET_DATA:
			data = attr;
			break;
		case TAPMIG_A_PACKET_VNET_HDR:
			c.has_vnet = true;
			memcpy(c.vnet, mnl_attr_get_payload(attr), 10);
			break;
		case TAPMIG_A_PACKET_VLAN_TCI:
			c.has_vlan = true;
			c.vlan_tci = mnl_attr_get_u16(attr);
			break;
		case TAPMIG_A_PACKET_VLAN_PROTO:
			c.vlan_proto = ntohs(mnl_attr_get_u16(attr));
			break;
		case TAPMIG_A_PACKET_PROTOCOL:
			c.protocol = ntohs(mnl_attr_get_u16(attr));
			break;
		case TAPMIG_A_PACKET_DROPPED_BEFORE:
			c.dropped_before = mnl_attr_get_u32(attr);
			break;
		}
	}
	p->chunks++;
	v = p->n ? &p->v[p->n - 1] : NULL;
	if (!offset) {
		if (v && v->have != v->len)
			p->broken++;
		if (p->n == p->cap) {
			p->cap = p->cap ? p->cap * 2 : 64;
			p->v = realloc(p->v, p->cap * sizeof(*p->v));
			if (!p->v)
				die("no memory");
		}
		v = &p->v[p->n++];
		*v = c;
		v->data = malloc(c.len + 1);
		if (!v->data)
			die("no memory");
	}
	if (!v || v->seq != c.seq || v->sub != c.sub || v->have != offset ||
	    !data || v->have + mnl_attr_get_payload_len(data) > v->len) {
		p->broken++;
		return;
	}
	memcpy(v->data + offset, mnl_attr_get_payload(data),
	       mnl_attr_get_payload_len(data));
	v->have += mnl_attr_get_payload_len(data);
}

struct export {
	struct pkts *p;
	int (*after)(void *data);
	void *data;
	int messages;
};

static int export_cb(const struct nlmsghdr *nlh, void *data)
{
	struct export *e = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == TAPMIG_A_TRANSFER_PACKET)
			export_packet(e->p, attr);
	return e->after && e->after(e->data) ? MNL_CB_ERROR : MNL_CB_OK;
}

int nl_export_cb(struct nl *nl, __u32 id, __u64 seq, struct pkts *p,
		 int (*after)(void *), void *data)
{
	struct export e = { .p = p, .after = after, .data = data };
	char buf[256];
	struct nlmsghdr *nlh;
	int ret;

	memset(p, 0, sizeof(*p));
	nlh = nl_msg(nl, buf, TAPMIG_CMD_PACKET_GET, NLM_F_DUMP);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	if (seq)
		mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, seq);
	ret = nl_talk(nl, nlh, export_cb, &e);
	if (p->n && p->v[p->n - 1].have != p->v[p->n - 1].len)
		p->broken++;
	return ret;
}

int nl_export(struct nl *nl, __u32 id, __u64 seq, struct pkts *p)
{
	return nl_export_cb(nl, id, seq, p, NULL, NULL);
}

static int import_cb(const struct nlmsghdr *nlh, void *data)
{
	struct imported *res = data;
	const struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct genlmsghdr)) {
		switch (mnl_attr_get_type(attr)) {
		case TAPMIG_A_TRANSFER_ACCEPTED:
			res->accepted += mnl_attr_get_u32(attr);
			break;
		case TAPMIG_A_TRANSFER_RESENT:
			res->resent += mnl_attr_get_u32(attr);
			break;
		case TAPMIG_A_TRANSFER_LATE:
			res->late += mnl_attr_get_u32(attr);
			break;
		}
	}
	return MNL_CB_OK;
}

static void put_pkt(struct nlmsghdr *nlh, const struct pkt *k, __u32 off,
		    __u32 len)
{
	struct nlattr *nest = mnl_attr_nest_start(nlh,
						  TAPMIG_A_TRANSFER_PACKET);

	mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, k->seq);
	if (k->subs) {
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUB, k->sub);
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUBS, k->subs);
	}
	mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_QUEUE, k->queue);
	if (k->time_ns)
		mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_TIME_NS, k->time_ns);
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, k->len);
	if (off)
		mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, off);
	if (k->has_vnet)
		mnl_attr_put(nlh, TAPMIG_A_PACKET_VNET_HDR, 10, k->vnet);
	if (k->has_vlan) {
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_TCI, k->vlan_tci);
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_VLAN_PROTO,
				 htons(k->vlan_proto));
	}
	if (k->protocol)
		mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_PROTOCOL,
				 htons(k->protocol));
	mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, len, k->data + off);
	mnl_attr_nest_end(nlh, nest);
}

int nl_import_chunk(struct nl *nl, __u32 id, const struct pkt *v, int n,
		    size_t chunk, struct imported *res)
{
	static __thread char buf[NL_BUF];
	struct imported none;
	struct nlmsghdr *nlh;
	__u32 off, len;
	int i;

	if (!res)
		res = &none;
	memset(res, 0, sizeof(*res));
	nlh = nl_msg(nl, buf, TAPMIG_CMD_PACKET_NEW, NLM_F_ACK);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	for (i = 0; i < n; i++) {
		off = 0;
		do {
			len = v[i].len - off;
			if (len > chunk)
				len = chunk;
			if (nlh->nlmsg_len + len + 256 > NL_BUF)
				die("import does not fit a message");
			put_pkt(nlh, &v[i], off, len);
			off += len;
		} while (off < v[i].len);
	}
	return nl_talk(nl, nlh, import_cb, res);
}

int nl_import(struct nl *nl, __u32 id, const struct pkt *v, int n,
	      struct imported *res)
{
	struct imported one, sum = {};
	int i, ret = 0;

	/* Several messages, as a sender of much would do it. */
	for (i = 0; i < n && !ret; i += 200) {
		ret = nl_import_chunk(nl, id, v + i,
				      n - i < 200 ? n - i : 200, 30000, &one);
		sum.accepted += one.accepted;
		sum.resent += one.resent;
		sum.late += one.late;
	}
	if (res)
		*res = sum;
	return ret;
}

void nl_subscribe(struct nl *nl)
{
	if (mnl_socket_setsockopt(nl->sk, NETLINK_ADD_MEMBERSHIP, &nl->group,
				  sizeof(nl->group)))
		die("cannot subscribe to events");
}

int nl_event(struct nl *nl, struct hold_nl *h, int timeout_ms)
{
	struct pollfd p = {
		.fd = mnl_socket_get_fd(nl->sk),
		.events = POLLIN,
	};
	char buf[16384];
	int len;

	if (poll(&p, 1, timeout_ms) <= 0)
		return 0;
	len = mnl_socket_recvfrom(nl->sk, buf, sizeof(buf));
	if (len < 0)
		return -errno;
	hold_nl_parse((struct nlmsghdr *)buf, h);
	return 1;
}

bool nl_wait_state(struct nl *nl, __u32 id, __u32 state, struct hold_nl *h)
{
	struct hold_nl tmp;

	if (!h)
		h = &tmp;
	while (nl_event(nl, h, WAIT_MS) > 0)
		if (h->cmd == TAPMIG_CMD_HOLD_NTF &&
		    h->v[TAPMIG_A_HOLD_ID] == id &&
		    h->v[TAPMIG_A_HOLD_STATE] == state)
			return true;
	return false;
}

void pkts_free(struct pkts *p)
{
	int i;

	for (i = 0; i < p->n; i++)
		free(p->v[i].data);
	free(p->v);
	memset(p, 0, sizeof(*p));
}

struct pkt pkt_udp(const struct nic *n, __u64 seq, __u32 flow, __u64 payload,
		   size_t len)
{
	struct pkt k = {
		.seq = seq,
		.len = len,
		.have = len,
		.protocol = ETH_P_IP,
		.data = malloc(len),
	};

	if (!k.data)
		die("no memory");
	frame_udp(n, k.data, len, flow, payload);
	return k;
}

/* --- the rest ----------------------------------------------------------- */

#ifdef __x86_64__
int ioctl32(int fd, unsigned int cmd, void *arg)
{
	long ret;

	/* The 32-bit entry point, from a 64-bit program: ioctl is call 54. */
	asm volatile("int $0x80"
		     : "=a" (ret)
		     : "a" (54), "b" (fd), "c" (cmd), "d" (arg)
		     : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

bool have_ioctl32(void)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		long ret;

		/* getpid */
		asm volatile("int $0x80" : "=a" (ret) : "a" (20)
			     : "memory", "r8", "r9", "r10", "r11");
		_exit(ret != getpid());
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}
#else
int ioctl32(int fd, unsigned int cmd, void *arg)
{
	return -ENOSYS;
}

bool have_ioctl32(void)
{
	return false;
}
#endif

void *low_alloc(size_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	void *p;

#ifdef MAP_32BIT
	flags |= MAP_32BIT;
#endif
	p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		die("no memory below 4 GiB");
	return p;
}

void pin_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* With fewer processors it runs where it can. */
	sched_setaffinity(0, sizeof(set), &set);
}

static void real_time(bool on)
{
	struct sched_param p = { .sched_priority = on };

	if (sched_setscheduler(0, on ? SCHED_FIFO : SCHED_OTHER, &p))
		die("cannot change the scheduling policy");
}

static void *never_sleep(void *arg)
{
	struct alone *a = arg;

	real_time(true);
	__atomic_add_fetch(&a->ready, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&a->stop, __ATOMIC_SEQ_CST))
		;
	return NULL;
}

void alone_begin(struct alone *a)
{
	int cpu, own = -1;
	pthread_attr_t attr;
	cpu_set_t one;

	memset(a, 0, sizeof(*a));
	if (sched_getaffinity(0, sizeof(a->cpus), &a->cpus))
		die("which processors are there?");
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &a->cpus))
			continue;
		if (own < 0) {
			own = cpu;
			pin_cpu(own);
			continue;
		}
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		pthread_attr_init(&attr);
		pthread_attr_setaffinity_np(&attr, sizeof(one), &one);
		if (pthread_create(&a->others[a->nr_others++], &attr,
				   never_sleep, a))
			die("cannot start a thread");
		pthread_attr_destroy(&attr);
	}
	while (__atomic_load_n(&a->ready, __ATOMIC_SEQ_CST) < a->nr_others)
		sched_yield();
	real_time(true);
}

void alone_end(struct alone *a)
{
	__atomic_store_n(&a->stop, 1, __ATOMIC_SEQ_CST);
	real_time(false);
	sched_setaffinity(0, sizeof(a->cpus), &a->cpus);
	while (a->nr_others)
		if (pthread_join(a->others[--a->nr_others], NULL))
			die("cannot join");
}

bool thread_sleeps(pid_t tid)
{
	char path[64], text[512], *p;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	p = strrchr(text, ')');
	return p && p[1] == ' ' && p[2] == 'S';
}

void become_nobody(void)
{
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
	    setresuid(65534, 65534, 65534))
		die("cannot become nobody");
}

bool module_range(unsigned long *from, unsigned long *to)
{
	FILE *f = fopen("/proc/modules", "r");
	char name[64], line[512];
	unsigned long size;
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%63s %lu %*s %*s %*s %lx", name, &size,
			       from) == 3 && !strcmp(name, "tapmig");
	if (f)
		fclose(f);
	*to = *from + size;
	return found && *from;
}

long env_count(const char *name, long def)
{
	const char *s = getenv(name);
	char *end;
	long v;

	if (!s)
		return def;
	v = strtol(s, &end, 10);
	if (*end || end == s || v < 1)
		die("%s='%s' is not a number", name, s);
	return v;
}

void printk_hush(bool hush)
{
	static char level[16];
	int fd = open("/proc/sys/kernel/printk", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("cannot open /proc/sys/kernel/printk");
	/* The first of its numbers. */
	if (hush && (pread(fd, level, 1, 0) != 1 ||
		     pwrite(fd, "1", 1, 0) != 1))
		die("cannot lower the console's level");
	if (!hush && *level && pwrite(fd, level, 1, 0) != 1)
		die("cannot raise the console's level");
	close(fd);
}
