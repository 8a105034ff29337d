// SPDX-License-Identifier: GPL-2.0-only
/*
 * Import trusts nothing that comes along with a frame: it is refused with a
 * word of why, or its reader gets it, whole and with a header that makes sense,
 * or it is counted as lost. That the kernel warns of nothing is found by who
 * runs this. And nothing is copied out that nobody has written.
 */
#include "lib.h"
#include "vq.h"

#include <fcntl.h>
#include <glob.h>
#include <linux/elf.h>
#include <linux/genetlink.h>
#include <linux/kernel-page-flags.h>
#include <linux/virtio_net.h>
#include <sys/ioctl.h>

#include "harness.h"

#define GSO_UDP_L4	5	/* VIRTIO_NET_HDR_GSO_UDP_L4 */
/* Seconds: at full size, on a kernel that is slow. */
#define LONG		1200

/* How many accepted packets are delivered together. */
#define BATCH		200
#define MAX_LEN		1500
#define PAYLOAD		150

/* --- frames -------------------------------------------------------------- */

enum shape {
	TCP4,
	TCP6,
	UDP4,
	UDP6,
	OTHER,		/* no protocol that the kernel has offloads for */
	FRAGMENT4,
	OPTIONS4,	/* the longest headers of IPv4 and TCP */
	EXTENSION6,	/* an extension header before TCP */
	TUNNEL4,	/* TCP of IPv4 in IPv4 */
	TAGGED,		/* TCP of IPv4 behind two VLAN tags in the frame */
	SHAPES,
};

static const char * const shape_names[SHAPES] = {
	"tcp4", "tcp6", "udp4", "udp6", "other", "fragment4", "options4",
	"extension6", "tunnel4", "tagged",
};

struct trial {
	struct pkt k;
	struct virtio_net_hdr h;
	__u8 data[MAX_LEN];
	/* The offset of the network header, and of that of TCP or UDP. */
	size_t l3;
	size_t l4;
	const char *what;
};

/* Make room for @n zero bytes. */
static void insert(struct trial *t, size_t at, size_t n)
{
	memmove(t->data + at + n, t->data + at, t->k.len - at);
	memset(t->data + at, 0, n);
	t->k.len += n;
}

static void ipv4_check(__u8 *ip)
{
	__u16 sum;

	memset(ip + 10, 0, 2);
	sum = csum_fold(csum_add(0, ip, 4 * (ip[0] & 15)));
	ip[10] = sum >> 8;
	ip[11] = sum;
}

static void ipv4_len(struct trial *t, size_t ip)
{
	t->data[ip + 2] = (t->k.len - ip) >> 8;
	t->data[ip + 3] = t->k.len - ip;
	ipv4_check(t->data + ip);
}

/* A frame of that shape, with the header that its offloads are asked by. */
static void trial_make(struct trial *t, const struct nic *n, enum shape s)
{
	bool six = s == TCP6 || s == UDP6 || s == EXTENSION6;
	bool udp = s == UDP4 || s == UDP6 || s == FRAGMENT4;
	__u8 *d = t->data;

	memset(t, 0, sizeof(*t));
	t->k.data = d;
	t->k.has_vnet = true;
	t->what = shape_names[s];
	t->l3 = n->kind == TUN ? 0 : ETH_HLEN;
	t->k.len = frame_l4(n, d, six ? AF_INET6 : AF_INET,
			    udp ? IPPROTO_UDP : IPPROTO_TCP, PAYLOAD, true,
			    &t->l4);
	switch (s) {
	case OTHER:
		if (n->kind == TUN)
			t->k.protocol = TEST_PROTO;
		else
			d[12] = TEST_PROTO >> 8, d[13] = TEST_PROTO & 0xff;
		break;
	case FRAGMENT4:
		d[t->l3 + 6] = 0x20;
		ipv4_check(d + t->l3);
		break;
	case OPTIONS4:
		insert(t, t->l4 + 20, 40);
		d[t->l4 + 12] = 0xf0;
		insert(t, t->l4, 40);
		d[t->l3] = 0x4f;
		memset(d + t->l4, 1, 40);
		t->l4 += 40;
		memset(d + t->l4 + 20, 1, 40);
		ipv4_len(t, t->l3);
		break;
	case EXTENSION6:
		insert(t, t->l4, 8);
		d[t->l4] = IPPROTO_TCP;
		d[t->l3 + 6] = 60;
		d[t->l3 + 5] += 8;
		t->l4 += 8;
		break;
	case TUNNEL4:
		insert(t, t->l3 + 20, 20);
		memcpy(d + t->l3 + 20, d + t->l3, 20);
		d[t->l3 + 9] = IPPROTO_IPIP;
		ipv4_len(t, t->l3);
		t->l4 += 20;
		break;
	case TAGGED:
		if (n->kind == TUN)
			break;
		insert(t, 12, 8);
		memcpy(d + 12, "\x88\xa8\0\5\x81\0\0\6", 8);
		t->l3 += 8;
		t->l4 += 8;
		break;
	default:
		break;
	}
	t->h = (struct virtio_net_hdr) {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = udp ? GSO_UDP_L4 :
			    six ? VIRTIO_NET_HDR_GSO_TCPV6 :
				  VIRTIO_NET_HDR_GSO_TCPV4,
		.gso_size = 64,
		.hdr_len = t->l4 + (udp ? 8 : 20),
		.csum_start = t->l4,
		.csum_offset = udp ? 6 : 16,
	};
}

/*
 * Packets are told apart by a part of their source address, that of Ethernet
 * or IP, which segments share. No checksum can be put there. -1: there is none.
 */
static int mark_at(const struct nic *n, const __u8 *data, size_t len)
{
	size_t at = n->kind != TUN ? 8 : data[0] >> 4 == 6 ? 16 : 12;

	return len < at + 4 ? -1 : (int)at;
}

/* --- deliver ------------------------------------------------------------- */

FIXTURE(hostile) {
	struct nic n;
	struct nl nl;
	struct vq vq;
	int hold;
	__u32 id;
	__u32 trials;
	__u32 refused;
	/* Accepted and not yet delivered. */
	int pending;
	int unmarked;
	struct trial *accepted;
	bool vhost;
	bool offload;
	__u32 total_accepted;
	__u32 frames;
};

FIXTURE_VARIANT(hostile) {
	enum nic_kind kind;
	bool vhost;
};

FIXTURE_VARIANT_ADD(hostile, tap_read) { .kind = TAP };
FIXTURE_VARIANT_ADD(hostile, tap_vhost) { .kind = TAP, .vhost = true };
FIXTURE_VARIANT_ADD(hostile, tun_read) { .kind = TUN };
FIXTURE_VARIANT_ADD(hostile, macvtap_read) { .kind = MACVTAP };
FIXTURE_VARIANT_ADD(hostile, macvtap_vhost) { .kind = MACVTAP, .vhost = true };

FIXTURE_SETUP(hostile)
{
	netns_new();
	nic_open(&self->n, variant->kind, 12, 1);
	nl_open(&self->nl);
	self->vhost = variant->vhost;
	if (self->vhost) {
		if (!vq_open(&self->vq))
			SKIP(return, "no vhost-net");
		vq_post(&self->vq, VQ_NUM);
		vq_backend(&self->vq, self->n.fd[0]);
	}
	self->hold = hold_new(&self->n, NULL);
	self->id = info_of(self->hold).id;
	self->accepted = calloc(BATCH, sizeof(*self->accepted));
	ASSERT_NE(NULL, self->accepted);
}

FIXTURE_TEARDOWN(hostile)
{
}

static void begin(struct __test_metadata *_metadata,
		  FIXTURE_DATA(hostile) *self)
{
	ASSERT_EQ(0, hold_freeze(self->hold));
	ASSERT_EQ(0, nl_begin(&self->nl, self->id, 0));
}

/* Where TCP or UDP is in a frame; its protocol, or -1. */
static int find_l4(const struct nic *n, const __u8 *d, size_t len, size_t *l4)
{
	bool tun = n->kind == TUN;
	size_t at = tun ? 0 : ETH_HLEN;
	__u16 type;
	int proto;

	type = tun ? (d[0] >> 4 == 4 ? ETH_P_IP : ETH_P_IPV6) :
		     d[12] << 8 | d[13];
	while ((type == ETH_P_8021Q || type == ETH_P_8021AD) &&
	       len >= at + 4) {
		type = d[at + 2] << 8 | d[at + 3];
		at += 4;
	}
	if (type == ETH_P_IP && len >= at + 20) {
		proto = d[at + 9];
		at += 4 * (d[at] & 15);
	} else if (type == ETH_P_IPV6 && len >= at + 40) {
		proto = d[at + 6];
		at += 40;
		while ((proto == 0 || proto == 43 || proto == 60) &&
		       len >= at + 8) {
			proto = d[at];
			at += 8 + 8 * d[at + 1];
		}
	} else {
		return -1;
	}
	*l4 = at;
	return proto;
}

/* A header as a driver may expect it. */
static void check_header(struct __test_metadata *_metadata,
			 FIXTURE_DATA(hostile) *self, const __u8 *hdr,
			 const __u8 *data, size_t len)
{
	struct virtio_net_hdr h;
	size_t l4 = 0;
	__u8 type;
	int proto;

	memcpy(&h, hdr, sizeof(h));
	EXPECT_EQ(0, h.flags & ~(VIRTIO_NET_HDR_F_NEEDS_CSUM |
				 VIRTIO_NET_HDR_F_DATA_VALID));
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		EXPECT_TRUE(self->offload);
		EXPECT_LE(h.csum_start + h.csum_offset + 2, len);
	}
	type = h.gso_type & ~VIRTIO_NET_HDR_GSO_ECN;
	if (!h.gso_type)
		return;
	EXPECT_TRUE(self->offload);
	EXPECT_TRUE(type == VIRTIO_NET_HDR_GSO_TCPV4 ||
		    type == VIRTIO_NET_HDR_GSO_TCPV6 ||
		    (type == GSO_UDP_L4 && kernel_has(6, 2) &&
		     h.gso_type == type))
		TH_LOG("GSO type %#x", h.gso_type);
	EXPECT_NE(0, h.gso_size);
	EXPECT_LT(h.gso_size, len);
	EXPECT_LE(h.hdr_len, len);
	EXPECT_LT(0, h.hdr_len);
	/* It is what it is said to be. */
	proto = find_l4(&self->n, data, len, &l4);
	EXPECT_EQ(type == GSO_UDP_L4 ? IPPROTO_UDP : IPPROTO_TCP, proto);
	EXPECT_LE(l4 + (proto == IPPROTO_UDP ? 8 : 20), len);
	if (h.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		EXPECT_EQ(l4, h.csum_start);
		EXPECT_EQ(proto == IPPROTO_UDP ? 6 : 16, h.csum_offset);
	} else {
		EXPECT_NE(GSO_UDP_L4, type);
	}
}

/* All but a checksum that was to be completed must be there, bit by bit. */
static void check_bytes(struct __test_metadata *_metadata,
			FIXTURE_DATA(hostile) *self, const struct trial *t,
			const __u8 *hdr, const __u8 *data, size_t len)
{
	size_t tag = t->k.has_vlan ? 4 : 0, i, csum = SIZE_MAX - 2;

	if (t->k.has_vnet) {
		if (t->h.gso_type)
			return;
		if (t->h.flags & ~hdr[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM)
			csum = t->h.csum_start + t->h.csum_offset;
	}
	ASSERT_EQ(t->k.len + tag, len);
	for (i = 0; i < t->k.len; i++) {
		if (i >= csum && i < csum + 2)
			continue;
		ASSERT_EQ(t->data[i], data[i < 12 ? i : i + tag])
			TH_LOG("byte %zu", i);
	}
	if (tag) {
		EXPECT_EQ(t->k.vlan_proto, data[12] << 8 | data[13]);
		EXPECT_EQ(t->k.vlan_tci, data[14] << 8 | data[15]);
	}
}

/* The next frame at the reader; false if there is none any more. */
static bool next_frame(struct __test_metadata *_metadata,
		       FIXTURE_DATA(hostile) *self, bool wait,
		       const __u8 **hdr, const __u8 **data, size_t *len)
{
	static struct rx rx;
	int ret;

	if (!self->vhost) {
		ret = nic_read(&self->n, 0, &rx);
		EXPECT_LE(0, ret)
			TH_LOG("read: %d", ret);
		*hdr = rx.hdr;
		*data = rx.data;
		*len = rx.len;
		return ret == 1;
	}
	if (wait) {
		if (!busywait(vq_next(&self->vq, hdr, len)))
			return false;
	} else {
		vq_flush(&self->vq);
		if (!vq_next(&self->vq, hdr, len))
			return false;
	}
	EXPECT_LE(self->n.hdr, *len);
	*data = *hdr + self->n.hdr;
	*len -= self->n.hdr;
	return true;
}

/*
 * Hand over what was accepted. Each is there, in order, its segments too, or
 * counted.
 */
static void deliver(struct __test_metadata *_metadata,
		    FIXTURE_DATA(hostile) *self)
{
	struct tapmig_info before = info_of(self->hold), after;
	__u64 expected, i, unmarked = 0, missing = 0;
	int at, last = -1, seen = 0;
	const __u8 *hdr, *data;
	size_t len;
	__u32 mark;

	ASSERT_EQ(0, nl_end(&self->nl, self->id));
	ASSERT_EQ(0, hold_thaw_wait(self->hold));
	after = info_of(self->hold);
	expected = after.delivered - before.delivered;
	for (i = 0; i < expected; i++) {
		ASSERT_TRUE(next_frame(_metadata, self, true, &hdr, &data,
				       &len))
			TH_LOG("frame %llu of %llu", i, expected);
		check_header(_metadata, self, hdr, data, len);
		at = mark_at(&self->n, data, len);
		if (at < 0) {
			unmarked++;
			goto next;
		}
		memcpy(&mark, data + at, sizeof(mark));
		ASSERT_GT(self->pending, mark);
		ASSERT_LE(last, (int)mark);
		if (last != (int)mark) {
			seen++;
			last = mark;
			check_bytes(_metadata, self, &self->accepted[mark],
				    hdr, data, len);
		}
		ASSERT_FALSE(_metadata->exit_code == KSFT_FAIL)
			TH_LOG("%s: vnet %d flags %#x type %#x size %u hdr %u csum %u + %u, length %u",
			       self->accepted[mark].what,
			       self->accepted[mark].k.has_vnet,
			       self->accepted[mark].h.flags,
			       self->accepted[mark].h.gso_type,
			       self->accepted[mark].h.gso_size,
			       self->accepted[mark].h.hdr_len,
			       self->accepted[mark].h.csum_start,
			       self->accepted[mark].h.csum_offset,
			       self->accepted[mark].k.len);
next:
		if (self->vhost)
			vq_post(&self->vq, 1);
	}
	EXPECT_FALSE(next_frame(_metadata, self, false, &hdr, &data, &len));
	missing = self->pending - seen - unmarked;
	EXPECT_EQ(after.lost - before.lost, missing);
	EXPECT_EQ(self->unmarked, unmarked);
	EXPECT_EQ(0, after.held_bytes);
	EXPECT_EQ(0, after.pending_imports);
	self->frames += expected;
	self->pending = 0;
	self->unmarked = 0;
}

/* Import it, whatever it is. */
static void try(struct __test_metadata *_metadata, FIXTURE_DATA(hostile) *self,
		struct trial *t)
{
	int at = mark_at(&self->n, t->data, t->k.len), ret;
	struct imported res;
	__u32 mark = self->pending;

	if (at >= 0)
		memcpy(t->data + at, &mark, sizeof(mark));
	t->k.seq = ++self->trials;
	memcpy(t->k.vnet, &t->h, sizeof(t->k.vnet));
	ret = nl_import(&self->nl, self->id, &t->k, 1, &res);
	if (ret) {
		EXPECT_EQ(-EINVAL, ret)
			TH_LOG("%s: %s", t->what, self->nl.msg);
		EXPECT_NE('\0', self->nl.msg[0])
			TH_LOG("%s", t->what);
		self->refused++;
		return;
	}
	ASSERT_LE(1, res.accepted);
	self->accepted[self->pending] = *t;
	self->accepted[self->pending].k.data = NULL;
	if (at < 0)
		self->unmarked++;
	self->total_accepted++;
	if (++self->pending < BATCH)
		return;
	deliver(_metadata, self);
	begin(_metadata, self);
}

/* A slow kernel does each so many-th of what is the same but for a number. */
static int step(void)
{
	static long s;

	if (!s)
		s = env_count("TAPMIG_HOSTILE_STEP", 1);
	return s;
}

/* The same where there are not many. */
static int small_step(void)
{
	return step() < 5 ? step() : 5;
}

static const __u16 odd[] = {
	0, 1, 2, 7, 8, 13, 14, 18, 20, 33, 34, 54, 63, 64, 65, 127, 128, 255,
	256, 1000, 1500, 4095, 4096, 9000, 16384, 32767, 32768, 65280, 65400,
	65500, 65527, 65528, 65533, 65534, 65535,
};

#define TRIAL(shape) trial_make(&t, &self->n, shape)
#define TRY() try(_metadata, self, &t)

static void all_types(struct __test_metadata *_metadata,
		      FIXTURE_DATA(hostile) *self)
{
	static const __u8 types[] = { 0, 1, 3, 4, 5, 0x81, 0x84 };
	static struct trial t;
	int s, i, k;

	/* All bits of the type, and of the flags. */
	for (s = 0; s < SHAPES; s++) {
		for (i = s % step(); i < 256; i += step()) {
			TRIAL(s);
			t.h.gso_type = i;
			TRY();
			TRIAL(s);
			t.h.flags = i;
			TRY();
		}
		/* Each type with each size. */
		for (i = 0; i < ARRAY_SIZE(types); i++) {
			for (k = i % step(); k < ARRAY_SIZE(odd);
			     k += step()) {
				TRIAL(s);
				t.h.gso_type = types[i];
				t.h.gso_size = odd[k];
				TRY();
			}
			/* All that it says of itself fits, but the frame. */
			for (k = 0; k < 4; k++) {
				TRIAL(s);
				t.h.gso_type = types[i];
				if (k & 1)
					t.h.csum_start = t.l3 + 20 +
							 (k & 2) * 10;
				t.h.csum_offset = types[i] == GSO_UDP_L4 ||
						  types[i] == 3 ? 6 : 16;
				TRY();
				t.h.flags = 0;
				TRY();
			}
		}
	}
}

static void all_offsets(struct __test_metadata *_metadata,
			FIXTURE_DATA(hostile) *self)
{
	static struct trial t;
	int s, i, k, gso;

	for (s = 0; s < SHAPES; s++) {
		TRIAL(s);
		/* From each byte of the frame on, and a little beyond. */
		for (i = s % step(); i < t.k.len + 4; i += step()) {
			for (gso = 0; gso < 2; gso++) {
				TRIAL(s);
				if (!gso)
					t.h.gso_type = 0;
				t.h.csum_start = i;
				TRY();
			}
			/* Up to its last byte, or one more. */
			for (k = 1; k < 4; k++) {
				TRIAL(s);
				t.h.gso_type = 0;
				t.h.csum_start = i;
				t.h.csum_offset = t.k.len - i - k;
				TRY();
			}
			TRIAL(s);
			t.h.hdr_len = i;
			TRY();
		}
		for (i = s % step(); i < ARRAY_SIZE(odd); i += step()) {
			for (k = 0; k < ARRAY_SIZE(odd); k += 3) {
				TRIAL(s);
				t.h.gso_type = 0;
				t.h.csum_start = odd[i];
				t.h.csum_offset = odd[k];
				TRY();
			}
			TRIAL(s);
			t.h.hdr_len = odd[i];
			TRY();
		}
	}
}

static void all_lengths(struct __test_metadata *_metadata,
			FIXTURE_DATA(hostile) *self)
{
	static struct trial t;
	int s, i, k;

	/* Cut off in each of its headers, and just behind them. */
	for (s = 0; s < SHAPES; s++) {
		for (i = 1 + s % step(); i < 160; i += step()) {
			for (k = 0; k < 3; k++) {
				TRIAL(s);
				if (i >= t.k.len)
					break;
				t.k.len = i;
				if (k > 0)
					t.h.gso_type = 0;
				if (k > 1)
					t.k.has_vnet = false;
				TRY();
			}
		}
		/* Lengths that the headers claim. */
		for (i = s % small_step(); i < 16; i += small_step()) {
			TRIAL(s);
			t.data[t.l3] = (t.data[t.l3] & 0xf0) | i;
			TRY();
			TRIAL(s);
			t.data[t.l3] = (t.data[t.l3] & 15) | i << 4;
			TRY();
			TRIAL(s);
			t.data[t.l4 + 12] = i << 4;
			TRY();
		}
		for (i = s % step(); i < ARRAY_SIZE(odd); i += step()) {
			TRIAL(s);
			t.data[t.l3 + 2] = odd[i] >> 8;
			t.data[t.l3 + 3] = odd[i];
			TRY();
			TRIAL(s);
			t.data[t.l3 + 4] = odd[i] >> 8;
			t.data[t.l3 + 5] = odd[i];
			TRY();
			TRIAL(s);
			t.data[t.l4 + 4] = odd[i] >> 8;
			t.data[t.l4 + 5] = odd[i];
			TRY();
		}
	}
}

static void all_protocols(struct __test_metadata *_metadata,
			  FIXTURE_DATA(hostile) *self)
{
	static const __u16 protocols[] = {
		0, 1, 4, 0x5ff, 0x600, ETH_P_IP, ETH_P_ARP, ETH_P_IPV6,
		ETH_P_8021Q, ETH_P_8021AD, 0x8847, 0x8864, TEST_PROTO, 0xffff,
	};
	static struct trial t;
	int s, i, k;

	for (s = 0; s < SHAPES; s++) {
		for (i = s % small_step(); i < ARRAY_SIZE(protocols);
		     i += small_step()) {
			for (k = 0; k < 3; k++) {
				TRIAL(s);
				t.k.has_vnet = k < 2;
				if (k)
					t.h.gso_type = 0;
				t.k.protocol = protocols[i];
				TRY();
				TRIAL(s);
				t.k.has_vnet = k < 2;
				if (k)
					t.h.gso_type = 0;
				t.k.has_vlan = true;
				t.k.vlan_proto = protocols[i];
				t.k.vlan_tci = odd[3 * i % ARRAY_SIZE(odd)];
				TRY();
				if (!t.l3)
					continue;
				TRIAL(s);
				t.k.has_vnet = k < 2;
				if (k)
					t.h.gso_type = 0;
				t.data[t.l3 - 2] = protocols[i] >> 8;
				t.data[t.l3 - 1] = protocols[i];
				TRY();
			}
		}
		/* What the network header says is next. */
		for (i = s % step(); i < 256; i += step()) {
			TRIAL(s);
			t.data[t.l3 + (t.data[t.l3] >> 4 == 6 ? 6 : 9)] = i;
			TRY();
		}
	}
}

/* Always the same sequence. */
static __u32 rnd(__u32 below)
{
	static __u64 x = 88172645463325252ULL;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (x >> 11) % below;
}

static __u16 rnd16(void)
{
	return rnd(2) ? odd[rnd(ARRAY_SIZE(odd))] : rnd(65536);
}

/* Several things wrong at once. */
static void mutate(struct trial *t)
{
	__u8 *h = (__u8 *)&t->h;
	int changes = 1 + rnd(4);

	while (changes--) {
		switch (rnd(8)) {
		case 0:
			t->h.csum_start = rnd16();
			break;
		case 1:
			t->h.csum_offset = rnd16();
			break;
		case 2:
			t->h.gso_size = rnd16();
			break;
		case 3:
			t->h.hdr_len = rnd16();
			break;
		case 4:
			h[rnd(2)] ^= 1 << rnd(8);
			break;
		case 5:
			if (t->k.len > 20)
				t->k.len = 20 + rnd(t->k.len - 20);
			break;
		default:
			t->data[rnd(t->k.len < 100 ? t->k.len : 100)] ^=
				1 << rnd(8);
			break;
		}
	}
}

static void mutations(struct __test_metadata *_metadata,
		      FIXTURE_DATA(hostile) *self)
{
	static struct trial t;
	int i;

	for (i = 0; i < 3000 / step(); i++) {
		TRIAL(rnd(SHAPES));
		mutate(&t);
		TRY();
	}
}

typedef void (*trials_fn)(struct __test_metadata *, FIXTURE_DATA(hostile) *);

/* With a reader that takes no offloads, and one that does. */
static void both_ways(struct __test_metadata *_metadata,
		      FIXTURE_DATA(hostile) *self,
	trials_fn trials)
{
	int i;

	for (i = 0; i < 2; i++) {
		self->offload = i;
		ASSERT_EQ(0, nic_offload(&self->n, i ? all_offloads() : 0));
		begin(_metadata, self);
		trials(_metadata, self);
		deliver(_metadata, self);
	}
	/* Else the test is of nothing. */
	EXPECT_LT(0, self->total_accepted);
	EXPECT_LT(0, self->refused);
	TH_LOG("%u trials, %u refused, %u frames", self->trials,
	       self->refused, self->frames);
}

TEST_F_TIMEOUT(hostile, any_type_and_size_of_gso_is_refused_or_harmless, LONG)
{
	both_ways(_metadata, self, all_types);
}

TEST_F_TIMEOUT(hostile, any_offset_is_refused_or_harmless, LONG)
{
	both_ways(_metadata, self, all_offsets);
}

TEST_F_TIMEOUT(hostile, any_length_is_refused_or_harmless, LONG)
{
	both_ways(_metadata, self, all_lengths);
}

TEST_F_TIMEOUT(hostile, any_protocol_and_tag_is_refused_or_harmless, LONG)
{
	both_ways(_metadata, self, all_protocols);
}

TEST_F_TIMEOUT(hostile, mutations_are_refused_or_harmless, LONG)
{
	both_ways(_metadata, self, mutations);
}

/* --- nothing is copied out that nobody has written ----------------------- */

/*
 * With slab_debug=P and page_poison=1 the kernel writes patterns into memory
 * that is not in use, and so does the compiler on the stack, if it is told to.
 * The same is done several times over; a byte of a pattern, each time in the
 * same place, has not been written by anybody. No such byte is in what is sent.
 */
#define LIVES		3
#define MAX_ITEMS	128
#define ITEM_LEN	70000
#define FILLED		0x33
#define PAGE_FILLED	0xaa
/* What comes before the attributes. */
#define MESSAGE_HEAD	(sizeof(struct nlmsghdr) + sizeof(struct genlmsghdr))

struct item {
	const char *what;
	size_t len;
	__u8 *data;
};

struct life {
	int n;
	struct item v[MAX_ITEMS];
};

static bool is_poison(__u8 b)
{
	/* POISON_INUSE, POISON_FREE, POISON_END; of gcc. */
	return b == 0x5a || b == 0x6b || b == 0xa5 || b == PAGE_FILLED ||
	       b == 0xfe;
}

/* Does the kernel fill what kmalloc() gives, and heads of small packets? */
static bool slabs_are_filled(void)
{
	bool all = true;
	glob_t g = {};
	char on;
	size_t i;
	int fd;

	glob("/sys/kernel/slab/kmalloc-*/poison", 0, NULL, &g);
	glob("/sys/kernel/slab/skbuff_small_head/poison", GLOB_APPEND, NULL,
	     &g);
	for (i = 0; i < g.gl_pathc; i++) {
		fd = open(g.gl_pathv[i], O_RDONLY | O_CLOEXEC);
		all &= fd >= 0 && read(fd, &on, 1) == 1 && on == '1';
		close(fd);
	}
	all &= g.gl_pathc > 0;
	globfree(&g);
	return all;
}

/* The page of that number, as far as it is memory. */
static bool page_read(int core, __u64 pfn, __u8 *page)
{
	__u64 at = pfn * 4096;
	struct elf64_hdr e;
	struct elf64_phdr p;
	int i;

	if (pread(core, &e, sizeof(e), 0) != sizeof(e))
		die("cannot read /proc/kcore");
	for (i = 0; i < e.e_phnum; i++) {
		if (pread(core, &p, sizeof(p), e.e_phoff + i * sizeof(p)) !=
		    sizeof(p))
			die("cannot read /proc/kcore");
		if (p.p_type == PT_LOAD && p.p_paddr != ~0ULL &&
		    at >= p.p_paddr && at - p.p_paddr < p.p_memsz)
			return pread(core, page, 4096, p.p_offset + at -
				     p.p_paddr) == 4096;
	}
	return false;
}

/* Does it fill whole pages? Nothing tells, so look at some that are free. */
static bool pages_are_filled(void)
{
	int flags = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int core = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	int looked = 0, filled = 0, i;
	__u8 page[4096];
	__u64 pfn, f;

	if (flags < 0 || core < 0)
		die("cannot see the kernel's memory");
	/* Here and there. */
	for (pfn = 0; looked < 100 &&
	     pread(flags, &f, sizeof(f), pfn * sizeof(f)) == sizeof(f);
	     pfn += 997) {
		if (!(f >> KPF_BUDDY & 1) || !page_read(core, pfn, page))
			continue;
		looked++;
		for (i = 0; i < 4096 && page[i] == PAGE_FILLED; i++)
			;
		filled += i == 4096;
	}
	close(flags);
	close(core);
	/* Some may be in use again. */
	return looked > 20 && filled > looked * 9 / 10;
}

FIXTURE(poison) {
	struct nic n;
	struct nic dst;
	struct nl nl;
	/* Answers here are small: they are of slabs, others of whole pages. */
	struct nl small;
	struct nl large;
	struct nl events;
	int tx;
	/* Has its frames tagged; -1: this device has no tags. */
	int vlan_tx;
	struct life *life;
};

FIXTURE_VARIANT(poison) {
	enum nic_kind kind;
};

FIXTURE_VARIANT_ADD(poison, tap) { .kind = TAP };
FIXTURE_VARIANT_ADD(poison, tun) { .kind = TUN };
FIXTURE_VARIANT_ADD(poison, macvtap) { .kind = MACVTAP };

/*
 * The kernel makes the messages of a dump as large as what this socket has ever
 * had room for; nl_open() has had much.
 */
static void nl_open_small(struct nl *nl)
{
	nl_open(nl);
	mnl_socket_close(nl->sk);
	nl->sk = mnl_socket_open2(NETLINK_GENERIC, SOCK_CLOEXEC);
	if (!nl->sk || mnl_socket_bind(nl->sk, 0, MNL_SOCKET_AUTOPID))
		die("cannot open generic netlink");
}

FIXTURE_SETUP(poison)
{
	if (!slabs_are_filled())
		SKIP(return, "this kernel does not poison memory");
	/* A stock kernel cannot. */
	if (getenv("TAPMIG_PAGES_FILLED")) {
		ASSERT_TRUE(pages_are_filled());
	}
	netns_new();
	nic_open(&self->n, variant->kind, 12, 1);
	ASSERT_TRUE(nic_open_named(&self->dst, "dst", variant->kind, 12, 1));
	self->tx = tx_open(self->n.tx_ifindex, TX_BYPASS);
	self->vlan_tx = -1;
	if (variant->kind != TUN) {
		ASSERT_EQ(0, link_vlan("vlan5", self->n.tx_name, 5));
		if (variant->kind == MACVTAP)
			link_wait_up(self->n.tx_name);
		link_up("vlan5");
		self->vlan_tx = tx_open(if_nametoindex("vlan5"), 0);
	}
	nl_open(&self->nl);
	nl_open_small(&self->small);
	nl_open(&self->events);
	nl_subscribe(&self->events);
}

FIXTURE_TEARDOWN(poison)
{
}

static struct item *item_new(struct life *l, const char *what)
{
	struct item *i = &l->v[l->n];

	if (l->n == MAX_ITEMS)
		die("too much of it");
	l->n++;
	i->what = what;
	i->len = 0;
	i->data = malloc(ITEM_LEN);
	if (!i->data)
		die("no memory");
	memset(i->data, 0x11, ITEM_LEN);
	return i;
}

/*
 * A time of the real clock has bytes that stay the same for days, of any value.
 * It is of the last hour, so that somebody has written it.
 */
static void take_out_time(struct __test_metadata *_metadata, void *at)
{
	struct timespec now;
	__s64 time, age;

	memcpy(&time, at, sizeof(time));
	clock_gettime(CLOCK_REALTIME, &now);
	age = now.tv_sec - time / 1000000000;
	if (time) {
		EXPECT_LE(0, age);
		EXPECT_GT(3600, age);
	}
	memset(at, 0, sizeof(time));
}

/*
 * How long something took may be the same each time. It is less than an hour,
 * so that somebody has written it.
 */
static void take_out_duration(struct __test_metadata *_metadata, void *at,
			      size_t len, __u64 per_second)
{
	__u64 time = 0;

	memcpy(&time, at, len);
	EXPECT_GT(3600 * per_second, time);
	memset(at, 0, len);
}

/*
 * Look at the attributes of a message: padding is zero. What may have any
 * value by itself, always the same, is taken out, as are lengths and types,
 * which this goes by.
 */
static void look_at(struct __test_metadata *_metadata, struct nlattr *from,
		    __u8 *end, int ignore, int time, int nest)
{
	struct nlattr *a, *next;
	__u8 *p;

	for (a = from; mnl_attr_ok(a, end - (__u8 *)a); a = next) {
		next = mnl_attr_next(a);
		for (p = (__u8 *)a + a->nla_len;
		     p < (__u8 *)next && p < end; p++) {
			EXPECT_EQ(0, *p)
				TH_LOG("padding of attribute %u",
				       mnl_attr_get_type(a));
		}
		p = mnl_attr_get_payload(a);
		if (mnl_attr_get_type(a) == ignore) {
			memset(p, 0, mnl_attr_get_payload_len(a));
		} else if (mnl_attr_get_type(a) == time) {
			take_out_time(_metadata, p);
		} else if (mnl_attr_get_type(a) == nest) {
			look_at(_metadata, mnl_attr_get_payload(a),
				(__u8 *)a + a->nla_len, TAPMIG_A_PACKET_HASH,
				TAPMIG_A_PACKET_TIME_NS, -1);
		}
		memset(a, 0, sizeof(*a));
	}
}

/* The same of a message about a hold. */
static void look_at_hold(struct __test_metadata *_metadata,
			 struct nlmsghdr *nlh)
{
	struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct genlmsghdr)) {
		__u64 per_second;

		switch (mnl_attr_get_type(a)) {
		case TAPMIG_A_HOLD_DEADLINE_IN_MS:
		case TAPMIG_A_HOLD_FROZEN_FOR_MS:
			per_second = 1000;
			break;
		case TAPMIG_A_HOLD_THAW_WAIT_US:
		case TAPMIG_A_HOLD_THAW_US:
			per_second = 1000000;
			break;
		case TAPMIG_A_HOLD_THAW_IRQOFF_NS:
			per_second = NSEC_PER_SEC;
			break;
		default:
			continue;
		}
		take_out_duration(_metadata, mnl_attr_get_payload(a),
				  mnl_attr_get_payload_len(a), per_second);
	}
	look_at(_metadata, (void *)nlh + MESSAGE_HEAD,
		(void *)nlh + nlh->nlmsg_len, TAPMIG_A_HOLD_OWNER_PID,
		TAPMIG_A_HOLD_FROZEN_NS, -1);
}

/* Send a request, keep all that is answered. */
static void ask(struct __test_metadata *_metadata, FIXTURE_DATA(poison) *self,
		const char *what, struct nl *nl, struct nlmsghdr *req)
{
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(req);
	bool transfer = g->cmd == TAPMIG_CMD_PACKET_GET ||
			g->cmd == TAPMIG_CMD_PACKET_NEW;
	size_t room = nl == &self->small ? 3776 : 65536;
	static __u8 buf[65536] __attribute__((aligned(4)));
	const struct nlmsgerr *err;
	struct nlmsghdr *nlh;
	struct item *i;
	int len;

	ASSERT_LT(0, mnl_socket_sendto(nl->sk, req, req->nlmsg_len));
	for (;;) {
		len = mnl_socket_recvfrom(nl->sk, buf, room);
		ASSERT_LT(0, len)
			TH_LOG("%s: %s", what, strerror(errno));
		nlh = (struct nlmsghdr *)buf;
		for (; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_type == NLMSG_DONE)
				return;
			if (nlh->nlmsg_type == NLMSG_ERROR) {
				err = mnl_nlmsg_get_payload(nlh);
				ASSERT_EQ(0, err->error);
				return;
			}
			if (transfer)
				look_at(_metadata, (void *)nlh + MESSAGE_HEAD,
					(void *)nlh + nlh->nlmsg_len, -1, -1,
					TAPMIG_A_TRANSFER_PACKET);
			else
				look_at_hold(_metadata, nlh);
			/* Not its header, which has the port. */
			i = item_new(self->life, what);
			i->len = nlh->nlmsg_len - sizeof(*nlh);
			ASSERT_LE(i->len, ITEM_LEN);
			memcpy(i->data, nlh + 1, i->len);
		}
	}
}

static void ask_id(struct __test_metadata *_metadata,
		   FIXTURE_DATA(poison) *self, const char *what, struct nl *nl,
		   __u8 cmd, __u16 flags, int attr, __u32 id)
{
	char buf[256];
	struct nlmsghdr *nlh = nl_msg(nl, buf, cmd, flags);

	if (id)
		mnl_attr_put_u32(nlh, attr, id);
	ask(_metadata, self, what, nl, nlh);
}

/* The answer to an import of one packet. */
static void ask_import(struct __test_metadata *_metadata,
		       FIXTURE_DATA(poison) *self, __u32 id,
		       const struct pkt *k)
{
	char buf[4096];
	struct nlmsghdr *nlh = nl_msg(&self->small, buf, TAPMIG_CMD_PACKET_NEW,
				      NLM_F_ACK);
	struct nlattr *nest;

	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, id);
	nest = mnl_attr_nest_start(nlh, TAPMIG_A_TRANSFER_PACKET);
	mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ, k->seq);
	mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_QUEUE, 0);
	mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, k->len);
	mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, k->len, k->data);
	mnl_attr_nest_end(nlh, nest);
	ask(_metadata, self, "packet-new", &self->small, nlh);
}

static void take_info(struct __test_metadata *_metadata,
		      FIXTURE_DATA(poison) *self, int hold, size_t size)
{
	struct item *i = item_new(self->life, "TAPMIG_INFO");
	struct tapmig_info *info = (struct tapmig_info *)i->data;
	size_t at;

	info->size = size;
	memset(i->data + sizeof(*info), 0, size - sizeof(*info));
	ASSERT_EQ(0, ioctl(hold, TAPMIG_INFO, info));
	ASSERT_EQ(sizeof(*info), info->size);
	i->len = size;
	/* Not a byte beyond. */
	for (at = size; at < size + 64; at++) {
		EXPECT_EQ(0x11, i->data[at]);
	}
	take_out_time(_metadata, &info->frozen_ns);
	/* Not thawed yet: the other times are zero. */
	take_out_duration(_metadata, &info->frozen_for_ms,
			  sizeof(info->frozen_for_ms), 1000);
}

/* Behind its header all of it is what was sent. */
static void check_filled(struct __test_metadata *_metadata, const __u8 *data,
			 size_t len, size_t header)
{
	size_t at;

	for (at = header; at < len; at++) {
		ASSERT_EQ(FILLED, data[at])
			TH_LOG("byte %zu of %zu", at, len);
	}
}

/* What was exported, in that order. */
static void take_frames(struct __test_metadata *_metadata,
			FIXTURE_DATA(poison) *self, struct nic *n,
			const struct pkts *p)
{
	struct item *i;
	size_t tag;
	int k;

	for (k = 0; k < p->n; k++) {
		ASSERT_TRUE(nic_poll(n, WAIT_MS));
		i = item_new(self->life, "frame");
		i->len = read(n->fd[0], i->data, ITEM_LEN);
		tag = p->v[k].has_vlan ? 4 : 0;
		ASSERT_EQ(12 + p->v[k].len + tag, i->len);
		check_filled(_metadata, i->data + 12, i->len - 12,
			     ETH_HLEN + tag);
	}
}

static const __u32 lens[] = { 60, 61, 62, 63, 1401 };
/* One with a linear part only, one that is mostly in pages. */
static const __u32 unread_lens[] = { 61, 60000 };

static void fill_frame(const struct nic *n, __u8 *buf, size_t len)
{
	memset(buf, FILLED, len);
	if (n->kind == TUN) {
		buf[0] = 0x45;
	} else {
		memset(buf, 0xff, ETH_ALEN);
		buf[12] = TEST_PROTO >> 8;
		buf[13] = TEST_PROTO & 0xff;
	}
}

/* How many. */
static int send_filled(struct __test_metadata *_metadata,
		       FIXTURE_DATA(poison) *self, const struct nic *n)
{
	static __u8 buf[2048];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(lens); i++) {
		fill_frame(n, buf, lens[i]);
		EXPECT_EQ(0, tx_send(self->tx, buf, lens[i]));
	}
	if (self->vlan_tx < 0)
		return i;
	fill_frame(n, buf, lens[0]);
	EXPECT_EQ(0, tx_send(self->vlan_tx, buf, lens[0]));
	return i + 1;
}

static void give_back_filled(struct __test_metadata *_metadata,
			     FIXTURE_DATA(poison) *self, int hold)
{
	static struct rx rx;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unread_lens); i++) {
		rx.len = unread_lens[i];
		fill_frame(&self->n, rx.data, rx.len);
		EXPECT_EQ(0, hold_unread(hold, &self->n, &rx));
	}
}

static int create_item(struct __test_metadata *_metadata,
		       FIXTURE_DATA(poison) *self)
{
	struct item *i = item_new(self->life, "TAPMIG_CREATE");
	/* No life meets it. */
	struct tapmig_create c = CREATE(.mac = { 2, 0, 0, 0, 0, 0x77 },
					.max_frozen_ms =
						TAPMIG_UNPRIV_MAX_FROZEN_MS);
	int hold;

	memcpy(i->data, &c, sizeof(c));
	i->len = sizeof(c);
	hold = hold_create((void *)i->data);
	EXPECT_LE(0, hold);
	return hold;
}

/* Of a hold, the first event, the last of each state, and its end. */
enum {
	FIRST,
	OF_STATE,
	END = OF_STATE + TAPMIG_STATE_DEAD + 1,
	EVENTS,
};

/* Those of two holds, until both are gone. */
static void take_events(struct __test_metadata *_metadata,
			FIXTURE_DATA(poison) *self, const __u32 *ids)
{
	static struct {
		int len;
		__u8 data[8192] __attribute__((aligned(4)));
	} v[2][EVENTS], new;
	struct nlmsghdr *nlh = (struct nlmsghdr *)new.data;
	struct pollfd p = {
		.fd = mnl_socket_get_fd(self->events.sk),
		.events = POLLIN,
	};
	int which, kind, gone = 0;
	struct hold_nl h;
	struct item *i;

	memset(v, 0, sizeof(v));
	while (gone < 2) {
		ASSERT_EQ(1, poll(&p, 1, WAIT_MS));
		new.len = mnl_socket_recvfrom(self->events.sk, new.data,
					      sizeof(new.data));
		ASSERT_LT(0, new.len);
		hold_nl_parse(nlh, &h);
		look_at_hold(_metadata, nlh);
		which = h.v[TAPMIG_A_HOLD_ID] == ids[1];
		if (!v[which][FIRST].len)
			kind = FIRST;
		else if (h.has[TAPMIG_A_HOLD_FLAGS])
			kind = OF_STATE + h.v[TAPMIG_A_HOLD_STATE];
		else
			kind = END;
		gone += kind == END;
		ASSERT_GT(EVENTS, kind);
		memcpy(&v[which][kind], &new, sizeof(new));
	}
	for (which = 0; which < 2; which++) {
		for (kind = 0; kind < EVENTS; kind++) {
			if (!v[which][kind].len)
				continue;
			i = item_new(self->life, "hold-ntf");
			i->len = v[which][kind].len - sizeof(*nlh);
			memcpy(i->data, v[which][kind].data + sizeof(*nlh),
			       i->len);
		}
	}
}

static void live(struct __test_metadata *_metadata, FIXTURE_DATA(poison) *self)
{
	struct tapmig_info info;
	struct imported res;
	int hold, to, n;
	struct pkts exp;
	struct pkt *k;
	__u32 ids[2];

	/* So that its answers are as large as in another life. */
	nl_open(&self->large);
	hold = create_item(_metadata, self);
	to = create_item(_metadata, self);
	ASSERT_EQ(0, hold_add(hold, self->n.fd[0], 0));
	ASSERT_EQ(0, hold_add(to, self->dst.fd[0], 0));
	ids[0] = info_of(hold).id;
	ids[1] = info_of(to).id;
	ask_id(_metadata, self, "hold-get", &self->small, TAPMIG_CMD_HOLD_GET,
	       NLM_F_ACK, TAPMIG_A_HOLD_ID, ids[0]);
	ASSERT_EQ(0, hold_prepare(hold, 0));
	ASSERT_EQ(0, hold_freeze(hold));
	n = send_filled(_metadata, self, &self->n);
	ASSERT_TRUE(hold_wait_captured(hold, n));
	give_back_filled(_metadata, self, hold);
	n += ARRAY_SIZE(unread_lens);
	take_info(_metadata, self, hold, sizeof(info));
	take_info(_metadata, self, hold, 4096);
	ask_id(_metadata, self, "hold-get, dump", &self->small,
	       TAPMIG_CMD_HOLD_GET, NLM_F_DUMP, TAPMIG_A_HOLD_ID, 0);
	ask_id(_metadata, self, "packet-get", &self->small,
	       TAPMIG_CMD_PACKET_GET, NLM_F_DUMP, TAPMIG_A_TRANSFER_HOLD_ID,
	       ids[0]);
	ask_id(_metadata, self, "packet-get, large", &self->large,
	       TAPMIG_CMD_PACKET_GET, NLM_F_DUMP, TAPMIG_A_TRANSFER_HOLD_ID,
	       ids[0]);
	/* Not the last message, which is the end of the dump. */
	ASSERT_EQ(0, nl_export(&self->nl, ids[0], 0, &exp));
	ASSERT_EQ(n, exp.n);
	for (n = 0; n < exp.n; n++)
		check_filled(_metadata, exp.v[n].data, exp.v[n].len, ETH_HLEN);
	/* Given back last, so it is first. */
	ASSERT_EQ(60000, exp.v[0].len);
	ASSERT_EQ(self->vlan_tx >= 0, exp.v[exp.n - 1].has_vlan);

	ASSERT_EQ(0, hold_freeze(to));
	ASSERT_EQ(0, nl_begin(&self->nl, ids[1], 0));
	for (n = 0; n < exp.n; n++) {
		k = &exp.v[n];
		/* One that needs no more than these, for its answer. */
		if (!k->has_vlan && k->len == lens[0]) {
			ask_import(_metadata, self, ids[1], k);
			continue;
		}
		/* Of odd length, in chunks that are. */
		ASSERT_EQ(0, nl_import_chunk(&self->nl, ids[1], k, 1,
					     k->len > 2000 ? 9973 : 37, &res));
	}
	take_info(_metadata, self, to, sizeof(info));
	ASSERT_EQ(0, hold_thaw_wait(to));
	ASSERT_EQ(0, hold_thaw_wait(hold));
	take_frames(_metadata, self, &self->n, &exp);
	take_frames(_metadata, self, &self->dst, &exp);
	pkts_free(&exp);
	close(hold);
	close(to);
	take_events(_metadata, self, ids);
	nl_close(&self->large);
}

TEST_F_TIMEOUT(poison, every_byte_copied_out_was_written, LONG)
{
	static struct life lives[LIVES];
	int k, i, compared = 0;
	size_t at;

	for (k = 0; k < LIVES; k++) {
		self->life = &lives[k];
		live(_metadata, self);
		ASSERT_EQ(lives[0].n, lives[k].n);
	}
	for (i = 0; i < lives[0].n; i++) {
		const struct item *a = &lives[0].v[i];
		const struct item *b = &lives[1].v[i];
		const struct item *c = &lives[2].v[i];

		ASSERT_STREQ(a->what, b->what);
		ASSERT_STREQ(a->what, c->what);
		ASSERT_EQ(a->len, b->len);
		ASSERT_EQ(a->len, c->len);
		compared++;
		for (at = 0; at < a->len; at++) {
			EXPECT_FALSE(a->data[at] == b->data[at] &&
				     b->data[at] == c->data[at] &&
				     is_poison(a->data[at]))
				TH_LOG("%s, byte %zu of %zu: %#x", a->what, at,
				       a->len, a->data[at]);
		}
	}
	TH_LOG("%d things of %d lives", compared, LIVES);
}

TEST_HARNESS_MAIN
