// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages and ioctls for the module, right ones and wrong ones, in any order.
 * The messages are made from the netlink specification (spec.py). The same
 * seed makes the same ones: TAPMIG_FUZZ_SEED, TAPMIG_FUZZ_MESSAGES.
 *
 * Whether the kernel has complained is for who runs it to find out. Here: each
 * operation was accepted and refused, each refusal by the module says why, no
 * hold is left, and nothing is lost.
 */
#include "lib.h"

#include <linux/genetlink.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "kselftest.h"

struct attr {
	const char *name;
	int type;
	int size;
	int exact;
	/* So many values, or -(so many flags). */
	int count;
	const struct attr *nest;
};

struct op {
	const char *name;
	int cmd;
	bool dump;
	const struct attr *set;
	int types[16];
};

#include "fuzz_spec.h"

#define ERRORS		160
#define NICS		3
#define HOLDS		4
#define MESSAGE_MAX	65536

struct count {
	unsigned long accepted;
	unsigned long silent;
	unsigned long refused[ERRORS];
};

static struct nic nics[NICS];
static int nic_tx[NICS];
static struct slot {
	int fd;
	__u32 id;
	__u64 seq;
} slots[HOLDS];
static struct nl nl;
static int ctl;
static uint64_t state;
static unsigned long no_message, no_reason;
static __u8 message[MESSAGE_MAX] __attribute__((aligned(8)));

static uint32_t rnd(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state >> 24) % below;
}

static bool one_in(uint32_t n)
{
	return !rnd(n);
}

/*
 * Limits and what is beside them. Between a ring that can be had and one that
 * takes minutes to clear there is none.
 */
static __u64 odd_number(void)
{
	static const __u64 odd[] = {
		0, 1, 2, 7, 8, 63, 64, 65, 255, 256, 4095, 65535, 65536,
		TAPMIG_SEQ_FIRST, TAPMIG_FRAME_MAX + 1, 16777216, 0x7fffffff,
		0x80000000, 0xfffffffe, 0xffffffff, 0x100000000,
		0x7fffffffffffffff, 0x8000000000000000, ~0ULL,
	};

	return odd[rnd(ARRAY_SIZE(odd))];
}

static struct slot *any_slot(void)
{
	return &slots[rnd(HOLDS)];
}

static struct nic *any_nic(void)
{
	return &nics[rnd(NICS)];
}

/* --- messages ------------------------------------------------------------- */

/* One in so many attributes of this message is wrong; 0: none. */
static uint32_t wrong;

static bool is_wrong(void)
{
	return wrong && one_in(wrong);
}

static void put(struct nlmsghdr *nlh, int type, const void *data, int len)
{
	struct nlattr *a = mnl_nlmsg_get_payload_tail(nlh);
	__u8 extra[24];
	int put_len = len;

	if (nlh->nlmsg_len + len + 64 > MESSAGE_MAX)
		return;
	if (is_wrong()) {
		switch (rnd(8)) {
		case 0:
			return;
		case 1:
			put(nlh, type, data, len);
			a = mnl_nlmsg_get_payload_tail(nlh);
			break;
		case 2:
			type = rnd(64);
			break;
		case 3:
			type |= one_in(2) ? NLA_F_NESTED : NLA_F_NET_BYTEORDER;
			break;
		case 4:
			put_len = rnd(len + 1);
			break;
		case 5:
			mnl_attr_put(nlh, type, len, data);
			a->nla_len += (int)rnd(9) - 4;
			return;
		case 6:
			mnl_attr_put(nlh, type, len, data);
			a->nla_len = odd_number();
			return;
		default:
			memset(extra, rnd(256), sizeof(extra));
			memcpy(extra, data, len < 24 ? len : 24);
			put(nlh, type, extra, 1 + rnd(24));
			return;
		}
	}
	mnl_attr_put(nlh, type, put_len, data);
}

static __u64 value(const struct attr *a)
{
	if (a->count > 0)
		return rnd(a->count);
	if (a->count < 0)
		return rnd(1 << -a->count);
	return one_in(2) ? rnd(256) : odd_number();
}

static void put_attr(struct nlmsghdr *nlh, const struct op *op,
		     const struct attr *a, const struct slot *s);

/* A packet that could be imported, but for what is done to it. */
static void put_packet(struct nlmsghdr *nlh, const struct op *op,
		       const struct attr *set, struct slot *s, int type)
{
	static struct frame frame;
	struct nlattr *nest = mnl_nlmsg_get_payload_tail(nlh);
	size_t len = one_in(8) ? 14 + rnd(3000) : FRAME_LEN;
	__u64 seq = s->seq;
	__u8 vnet[10] = { 0 };
	__u32 len32, offset;
	int i;

	if (nlh->nlmsg_len + len + 256 > MESSAGE_MAX)
		return;
	frame.len = frame_udp(any_nic(), frame.data, len < FRAME_LEN ?
			      FRAME_LEN : len, rnd(4), seq);
	len32 = frame.len;
	mnl_attr_nest_start(nlh, type);
	put(nlh, TAPMIG_A_PACKET_SEQ, &seq, 8);
	put(nlh, TAPMIG_A_PACKET_LEN, &len32, 4);
	if (one_in(8)) {
		for (i = 0; i < 10; i++)
			vnet[i] = one_in(2) ? rnd(4) : rnd(256);
		put(nlh, TAPMIG_A_PACKET_VNET_HDR, vnet, sizeof(vnet));
	}
	for (i = 0; set[i].name; i++)
		if (set[i].size && is_wrong())
			put_attr(nlh, op, &set[i], s);
	if (one_in(16)) {
		/* In two chunks, of which the second may not come. */
		put(nlh, TAPMIG_A_PACKET_DATA, frame.data, 40);
		mnl_attr_nest_end(nlh, nest);
		if (one_in(2))
			return;
		nest = mnl_attr_nest_start(nlh, type);
		offset = 40;
		put(nlh, TAPMIG_A_PACKET_SEQ, &seq, 8);
		put(nlh, TAPMIG_A_PACKET_OFFSET, &offset, 4);
		put(nlh, TAPMIG_A_PACKET_DATA, frame.data + 40,
		    frame.len - 40);
	} else {
		put(nlh, TAPMIG_A_PACKET_DATA, frame.data, frame.len);
	}
	mnl_attr_nest_end(nlh, nest);
	if (is_wrong())
		nest->nla_len += (int)rnd(64) - 32;
	s->seq += one_in(8) ? rnd(3) : 1;
}

static void put_attr(struct nlmsghdr *nlh, const struct op *op,
		     const struct attr *a, const struct slot *s)
{
	__u64 v = value(a);
	__u8 binary[64];
	int n;

	if (a->nest) {
		for (n = 1 + rnd(4); n > 0; n--)
			put_packet(nlh, op, a->nest, (struct slot *)s,
				   a->type);
		return;
	}
	if (!a->size) {
		memset(binary, rnd(256), sizeof(binary));
		put(nlh, a->type, binary, a->exact ? a->exact : (int)rnd(64));
		return;
	}
	if (!strcmp(a->name, "id") || !strcmp(a->name, "hold-id"))
		v = s->id;
	else if (!strcmp(a->name, "seq") && one_in(2))
		v = TAPMIG_SEQ_FIRST + rnd(64);
	else if (!strcmp(a->name, "wait-import-ms") && one_in(2))
		v = rnd(4);
	else if (!strcmp(a->name, "flags-mask") && one_in(2))
		v = TAPMIG_HOLD_FLAGS_DETACHED | TAPMIG_HOLD_FLAGS_PEER;
	else if (!strcmp(a->name, "flags") && one_in(2))
		v = one_in(2) ? TAPMIG_HOLD_FLAGS_PEER : 0;
	put(nlh, a->type, &v, a->size);
}

static const struct attr *find(const struct op *op, int type)
{
	const struct attr *a;

	for (a = op->set; a->name; a++)
		if (a->type == type)
			return a;
	die("no attribute %d of %s", type, op->name);
}

static void put_attrs(struct nlmsghdr *nlh, const struct op *op,
		      const struct slot *s)
{
	int order[16], n = 0, i, k, swap;

	while (op->types[n]) {
		order[n] = op->types[n];
		n++;
	}
	for (i = n - 1; i > 0; i--) {
		k = rnd(i + 1);
		swap = order[i];
		order[i] = order[k];
		order[k] = swap;
	}
	/* Few of many, as one that is refused refuses all. */
	for (i = 0; i < n; i++)
		if (n < 4 || order[i] == op->types[0] || one_in(3))
			put_attr(nlh, op, find(op, order[i]), s);
	/* Those of the set that have no place in this request. */
	for (i = 0; op->set[i].name; i++)
		if (wrong && one_in(wrong * 8))
			put_attr(nlh, op, &op->set[i], s);
}

static void spoil(struct nlmsghdr *nlh)
{
	struct genlmsghdr *g = mnl_nlmsg_get_payload(nlh);
	unsigned int n;

	switch (rnd(8)) {
	case 0:
		g->version = rnd(256);
		break;
	case 1:
		g->cmd = rnd(20);
		break;
	case 2:
		g->reserved = rnd(65536);
		break;
	case 3:
		nlh->nlmsg_flags = rnd(65536);
		break;
	case 4:
		nlh->nlmsg_len = rnd(nlh->nlmsg_len + 1);
		break;
	case 5:
		n = nlh->nlmsg_len + rnd(40);
		memset(message + nlh->nlmsg_len, rnd(256),
		       n - nlh->nlmsg_len);
		nlh->nlmsg_len = n;
		break;
	default:
		for (n = 1 + rnd(8); n > 0; n--)
			message[16 + rnd(nlh->nlmsg_len - 16)] = rnd(256);
		break;
	}
}

/* Is that all that generic netlink has to say of the request? */
static bool from_the_core(int err)
{
	const struct nlmsghdr *nlh = (void *)message;
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(nlh);
	bool dump = (nlh->nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
	unsigned int i;

	if (nlh->nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN))
		return err == -EINVAL;
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		if (ops[i].cmd == g->cmd && ops[i].dump == dump)
			return false;
	return err == -EOPNOTSUPP;
}

/* @answer is the end of a request: its error, with a reason. */
static int judge(const struct nlmsghdr *answer)
{
	const struct nlmsghdr *nlh = (void *)message;
	const struct genlmsghdr *g = mnl_nlmsg_get_payload(nlh);
	int err = *(int *)mnl_nlmsg_get_payload(answer);

	if (!err || (answer->nlmsg_flags & NLM_F_ACK_TLVS))
		return err;
	no_message++;
	if (!from_the_core(err) && no_reason++ < 20)
		ksft_print_msg("command %u, flags %x, %u bytes: %s, no reason\n",
			       g->cmd, nlh->nlmsg_flags, nlh->nlmsg_len,
			       strerrorname_np(-err));
	return err;
}

/* What the kernel says, until it says no more; 1: nothing, else the error. */
static int answers(__u32 seq, bool leave)
{
	static char buf[256 * 1024];
	const struct nlmsghdr *nlh;
	int len, ret = 1;

	for (;;) {
		len = recv(mnl_socket_get_fd(nl.sk), buf, sizeof(buf),
			   MSG_DONTWAIT);
		if (len < 0 && errno == EAGAIN)
			return ret;
		if (len < 0)
			die("answer");
		for (nlh = (void *)buf; mnl_nlmsg_ok(nlh, len);
		     nlh = mnl_nlmsg_next(nlh, &len)) {
			if (nlh->nlmsg_seq != seq)
				continue;
			if (nlh->nlmsg_type == NLMSG_DONE ||
			    nlh->nlmsg_type == NLMSG_ERROR)
				ret = judge(nlh);
		}
		if (leave)
			return ret;
	}
}

static void nl_reopen(void)
{
	nl_close(&nl);
	nl_open(&nl);
}

/* --- holds ---------------------------------------------------------------- */

/* What a reader may give back: header and frame. */
static __u8 before[256];

/* Fill it; the length of the frame. */
static size_t read_before(const struct nic *n)
{
	size_t len;

	memset(before, 0, sizeof(before));
	len = frame_udp(n, before + n->hdr, 100, rnd(4), rnd(1000));
	while (one_in(3))
		before[rnd(n->hdr + len)] = odd_number();
	return len;
}

static void right_arg(unsigned int cmd, union ioctl_arg *a)
{
	struct nic *n = any_nic();

	memset(a, 0, sizeof(*a));
	a->size = _IOC_SIZE(cmd);
	switch (cmd) {
	case TAPMIG_CREATE:
		a->create.abi_version = TAPMIG_ABI_VERSION;
		a->create.role = rnd(2);
		a->create.dedup = rnd(3);
		a->create.deadline_action = rnd(2);
		a->create.flags = one_in(4) ? 1 << rnd(2) : 0;
		a->create.max_frozen_ms = one_in(2) ? 0 : 1 + rnd(1000);
		a->create.wait_import_ms = 1 + rnd(20);
		a->create.max_packets = one_in(2) ? 0 : 1 + rnd(100);
		snprintf(a->create.label, sizeof(a->create.label), "fuzz%u",
			 rnd(4));
		break;
	case TAPMIG_ADD_QUEUE:
		a->add.index = rnd(n->queues);
		a->add.fd = n->fd[a->add.index];
		a->add.flags = one_in(8) ? TAPMIG_ADD_QUEUE_JOIN : 0;
		break;
	case TAPMIG_PREPARE:
		a->prepare.entries = one_in(2) ? 0 : rnd(2000);
		break;
	case TAPMIG_FREEZE:
		a->freeze.flags = one_in(8) ? TAPMIG_FREEZE_DETACHED : 0;
		break;
	case TAPMIG_UNREAD:
		a->unread.flags = one_in(8) ? TAPMIG_UNREAD_VNET_BE : 0;
		a->unread.index = rnd(n->queues);
		a->unread.vnet_hdr_len = n->hdr;
		a->unread.len = n->hdr + read_before(n);
		a->unread.data = (unsigned long)before;
		break;
	case TAPMIG_THAW:
		a->thaw.flags = one_in(4) ? TAPMIG_THAW_WAIT : 0;
		break;
	case TAPMIG_COMMIT:
		a->commit.seq = TAPMIG_SEQ_FIRST + rnd(32);
		break;
	case TAPMIG_SET:
		a->set.mask = 1 << rnd(8);
		a->set.flags_mask = 1 << rnd(3);
		a->set.flags = one_in(2) ? a->set.flags_mask : 0;
		a->set.dedup = rnd(3);
		a->set.deadline_action = rnd(2);
		a->set.max_frozen_ms = 1 + rnd(2000);
		a->set.wait_import_ms = rnd(20);
		a->set.max_packets = 1 + rnd(1000);
		a->set.max_bytes = 1 + rnd(1 << 22);
		break;
	}
}

static void slot_close(struct slot *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void slot_fill(struct slot *s, int fd)
{
	slot_close(s);
	s->fd = fd;
	s->id = info_of(fd).id;
	s->seq = TAPMIG_SEQ_FIRST;
}

/* A new hold with the queues of a device, as far as they are free. */
static void slot_make(struct slot *s)
{
	struct nic *n = s - slots < NICS ? &nics[s - slots] : any_nic();
	union ioctl_arg a;
	int fd, q;

	right_arg(TAPMIG_CREATE, &a);
	fd = hold_create(&a.create);
	if (fd < 0)
		return;
	slot_fill(s, fd);
	for (q = 0; q < n->queues; q++)
		hold_add(fd, n->fd[q], q);
}

static struct hold_nl left[256];

/* End those holds that are not in a slot, or all; how many there were. */
static int holds_end(bool all)
{
	int n = nl_dump(&nl, left, ARRAY_SIZE(left)), i, k;
	__u32 id;

	for (i = 0; i < n && i < (int)ARRAY_SIZE(left); i++) {
		id = left[i].v[TAPMIG_A_HOLD_ID];
		for (k = 0; !all && k < HOLDS; k++)
			if (slots[k].fd >= 0 && slots[k].id == id)
				break;
		if (!all && k < HOLDS)
			continue;
		nl_set(&nl, id, TAPMIG_A_HOLD_WAIT_IMPORT_MS, ~0U);
		nl_end(&nl, id);
		nl_hold_cmd(&nl, TAPMIG_CMD_HOLD_DISCARD, id);
	}
	return n;
}

/* Have it take packets, of the peer as well; it will not be for long. */
static void slot_open(struct slot *s)
{
	if (s->fd < 0 || hold_freeze(s->fd) == -ENODEV) {
		slot_close(s);
		/* They would keep the queues for long. */
		holds_end(false);
		slot_make(s);
		hold_freeze(s->fd);
	}
	nl_begin(&nl, s->id, rnd(100));
}

/* --- and messages for them ------------------------------------------------ */

static void take_count(struct count *c, int ret)
{
	if (ret > 0)
		c->silent++;
	else if (!ret)
		c->accepted++;
	else
		c->refused[-ret < ERRORS ? -ret : 0]++;
}

static void fuzz_message(struct count *counts)
{
	static struct slot nobody = { .fd = -1 };
	int n = rnd(ARRAY_SIZE(ops)), ret;
	const struct op *op = &ops[n];
	struct slot *s = any_slot();
	bool leave = one_in(32);
	struct nlmsghdr *nlh;
	__u32 seq;

	if (one_in(32)) {
		nobody.id = odd_number();
		s = &nobody;
	}
	if (op->cmd == TAPMIG_CMD_PACKET_NEW && !one_in(4) && s != &nobody)
		slot_open(s);
	wrong = one_in(2) ? 0 : 1 + rnd(12);
	nlh = nl_msg(&nl, message, op->cmd, op->dump ? NLM_F_DUMP : NLM_F_ACK);
	put_attrs(nlh, op, s);
	seq = nlh->nlmsg_seq;
	if (wrong && one_in(4))
		spoil(nlh);
	if (nlh->nlmsg_len > MESSAGE_MAX)
		nlh->nlmsg_len = MESSAGE_MAX;
	ret = send(mnl_socket_get_fd(nl.sk), message,
		   nlh->nlmsg_len < 16 ? 16 : nlh->nlmsg_len, 0);
	if (ret < 0) {
		take_count(&counts[n], -errno);
		return;
	}
	take_count(&counts[n], answers(seq, leave));
	if (leave)
		nl_reopen();
}

/* --- ioctls --------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned int cmd;
} ioctls[] = {
	{ "create", TAPMIG_CREATE },
	{ "add_queue", TAPMIG_ADD_QUEUE },
	{ "prepare", TAPMIG_PREPARE },
	{ "freeze", TAPMIG_FREEZE },
	{ "unread", TAPMIG_UNREAD },
	{ "thaw", TAPMIG_THAW },
	{ "discard", TAPMIG_DISCARD },
	{ "commit", TAPMIG_COMMIT },
	{ "info", TAPMIG_INFO },
	{ "set", TAPMIG_SET },
};

/* At the end of a page, after which there is none. */
static void *at_the_edge(const union ioctl_arg *a, size_t len)
{
	static char *page;

	if (!page) {
		page = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED ||
		    mprotect(page + 4096, 4096, PROT_NONE))
			die("mmap");
	}
	len = len < 4096 ? len : 4096;
	memcpy(page + 4096 - len, a, len);
	return page + 4096 - len;
}

static void wake_up(int sig)
{
}

/* A wait for a thaw goes on for as long as the hold says; not here. */
static void alarm_ms(int ms)
{
	struct itimerval it = { .it_value.tv_usec = ms * 1000,
				.it_interval.tv_usec = ms * 1000 };

	setitimer(ITIMER_REAL, &it, NULL);
}

static int spoil_arg(unsigned int *cmd, union ioctl_arg *a, void **arg, int fd)
{
	switch (rnd(8)) {
	case 0:
		a->size = rnd(2 * _IOC_SIZE(*cmd));
		break;
	case 1:
		a->size = odd_number();
		break;
	case 2:
		a->size += 4 * (1 + rnd(8));
		if (one_in(2))
			a->words[a->size / 4 - 1] = 1;
		break;
	case 3:
		*arg = at_the_edge(a, rnd(_IOC_SIZE(*cmd)));
		break;
	case 4:
		*cmd = _IOC(rnd(4), TAPMIG_IOC_MAGIC, _IOC_NR(*cmd), rnd(512));
		break;
	case 5:
		return one_in(2) ? ctl : nics[0].fd[0];
	default:
		a->words[rnd(_IOC_SIZE(*cmd) / 4)] = odd_number();
		break;
	}
	return fd;
}

static void fuzz_ioctl(struct count *counts)
{
	unsigned int n = rnd(ARRAY_SIZE(ioctls)), cmd = ioctls[n].cmd;
	struct slot *s = any_slot();
	static union ioctl_arg a;
	void *arg = &a;
	int fd, ret;

	if (cmd == TAPMIG_UNREAD && !one_in(4))
		slot_open(s);
	fd = cmd == TAPMIG_CREATE ? ctl : s->fd;
	right_arg(cmd, &a);
	if (one_in(2))
		fd = spoil_arg(&cmd, &a, &arg, fd);
	if (ioctls[n].cmd == TAPMIG_THAW)
		alarm_ms(5);
	ret = ioctl(fd, cmd, arg);
	if (ret < 0)
		ret = -errno;
	if (ioctls[n].cmd == TAPMIG_THAW)
		alarm_ms(0);
	take_count(&counts[n], ret < 0 ? ret : 0);
	if (ret > 0 && one_in(3))
		slot_fill(s, ret);
	else if (ret > 0)
		close(ret);
	else if (!ret && ioctls[n].cmd == TAPMIG_ADD_QUEUE && s->fd >= 0)
		s->id = info_of(s->fd).id;
}

/* --- what else happens ---------------------------------------------------- */

static void traffic(void)
{
	struct nic *n = any_nic();
	static struct tally t;

	if (one_in(2))
		tx_flow(n, nic_tx[n - nics], rnd(4), rnd(1000), 1 + rnd(4));
	else
		nic_drain(n, &t);
}

/* A slot goes on in its life, so that all states are seen. */
static void live(void)
{
	struct slot *s = any_slot();

	if (s->fd < 0 || one_in(32)) {
		slot_make(s);
		return;
	}
	switch (info_of(s->fd).state) {
	case TAPMIG_STATE_ARMED:
		if (hold_freeze(s->fd) == -ENODEV)
			slot_close(s);
		break;
	case TAPMIG_STATE_FROZEN:
		if (one_in(8))
			hold_thaw(s->fd);
		else if (one_in(2))
			nl_begin(&nl, s->id, rnd(100));
		break;
	case TAPMIG_STATE_DEAD:
		slot_close(s);
		break;
	default:
		nl_sync(&nl, s->id, s->seq);
		if (one_in(2))
			nl_end(&nl, s->id);
		break;
	}
}

/* --- and afterwards ------------------------------------------------------- */

/* From one host to the other, and back on the first. */
static bool cycle(void)
{
	struct nic *src = &nics[0], *dst = &nics[1];
	struct tapmig_create c = CREATE(.role = TAPMIG_ROLE_STANDBY);
	struct tally to = { 0 }, from = { 0 };
	struct pkts p = { 0 };
	struct imported res;
	int a, b;
	bool ok;

	nic_drain(src, &from);
	nic_drain(dst, &to);
	memset(&from, 0, sizeof(from));
	memset(&to, 0, sizeof(to));
	a = hold_new(src, NULL);
	b = hold_new(dst, &c);
	ok = !hold_prepare(a, 0) && !hold_freeze(a) && !hold_freeze(b);
	tx_flow(src, nic_tx[0], 1, 0, 200);
	ok = ok && hold_wait_captured(a, 200);
	ok = ok && !nl_export(&nl, info_of(a).id, 0, &p) && p.n == 200;
	ok = ok && !nl_begin(&nl, info_of(b).id, 0);
	ok = ok && !nl_import(&nl, info_of(b).id, p.v, p.n, &res);
	ok = ok && res.accepted == 200;
	ok = ok && !nl_sync(&nl, info_of(b).id, 0);
	ok = ok && !nl_end(&nl, info_of(b).id);
	ok = ok && !hold_thaw_wait(b) && !hold_thaw_wait(a);
	ok = ok && nic_wait(src, &from, 200) && nic_wait(dst, &to, 200);
	ksft_print_msg("%llu back, %llu moved\n",
		       (unsigned long long)from.got,
		       (unsigned long long)to.got);
	ok = ok && tally_clean(&from) && tally_clean(&to);
	pkts_free(&p);
	close(a);
	close(b);
	return ok;
}

/* Each has to be more than one check deep. */
static void report(const char *kind, const char *name, const struct count *c,
		   unsigned long least)
{
	unsigned long refused = 0;
	char text[512] = "";
	int kinds = 0, i;
	size_t n = 0;

	for (i = 0; i < ERRORS; i++) {
		if (!c->refused[i])
			continue;
		refused += c->refused[i];
		kinds++;
		if (n < sizeof(text) - 40)
			n += snprintf(text + n, sizeof(text) - n, ", %s %lu",
				      strerrorname_np(i), c->refused[i]);
	}
	ksft_print_msg("%s %s: accepted %lu, no answer %lu%s\n", kind, name,
		       c->accepted, c->silent, text);
	ksft_test_result(c->accepted > least && kinds > 1,
			 "%s_%s_is_accepted_and_refused\n", kind, name);
}

int main(void)
{
	long count = env_count("TAPMIG_FUZZ_MESSAGES", 20000), i;
	static struct count messages[ARRAY_SIZE(ops)];
	static struct count calls[ARRAY_SIZE(ioctls)];
	static const char *const names[NICS] = { "tap0", "tap1", "tun0" };
	struct sigaction sa = { .sa_handler = wake_up };
	unsigned int k;

	ksft_print_header();
	ksft_set_plan(ARRAY_SIZE(ops) + ARRAY_SIZE(ioctls) + 3);
	netns_new();
	for (i = 0; i < NICS; i++) {
		if (!nic_open_named(&nics[i], names[i], i == 2 ? TUN : TAP,
				    i == 1 ? 12 : 10, i == 1 ? 2 : 1))
			die("cannot make %s", names[i]);
		nic_tx[i] = tx_open(nics[i].tx_ifindex, TX_BYPASS);
	}
	for (i = 0; i < HOLDS; i++)
		slots[i].fd = -1;
	ctl = ctl_open();
	nl_open(&nl);
	sigaction(SIGALRM, &sa, NULL);
	state = env_count("TAPMIG_FUZZ_SEED", 20260801);
	ksft_print_msg("seed %llu, %ld messages and ioctls\n",
		       (unsigned long long)state, count);
	state = state * 0x9e3779b97f4a7c15ULL + 1;
	for (i = 0; i < count; i++) {
		if (one_in(3))
			live();
		if (one_in(8))
			traffic();
		if (one_in(256))
			slot_close(any_slot());
		if (one_in(3))
			fuzz_ioctl(calls);
		else
			fuzz_message(messages);
	}
	for (i = 0; i < HOLDS; i++)
		slot_close(&slots[i]);
	nl_reopen();
	for (k = 0; k < ARRAY_SIZE(ops); k++)
		report("netlink", ops[k].name, &messages[k],
		       ops[k].cmd == TAPMIG_CMD_PACKET_NEW ? count / 400 : 0);
	for (k = 0; k < ARRAY_SIZE(ioctls); k++)
		report("ioctl", ioctls[k].name, &calls[k], 0);
	ksft_print_msg("%lu refusals without a message\n", no_message);
	ksft_test_result(!no_reason, "each_refusal_has_a_reason\n");
	ksft_test_result(busywait(!holds_end(true)), "no_hold_is_left\n");
	ksft_test_result(cycle(), "a_cycle_loses_nothing\n");
	ksft_finished();
}
