// SPDX-License-Identifier: GPL-2.0-only
/*
 * The relay, with a peer that is not to be trusted, and a small model of the
 * kernel's side. The input is a stream of pcapng blocks. They are what the peer
 * sends, but those of the types EVENT_*: things that happen here meanwhile.
 * The clock stands still until it is moved.
 */
#include <string.h>
#include <sys/socket.h>

#include <linux/genetlink.h>

#include "fuzz.h"
#include "relay.h"

/* Of a block: type, length, length. */
#define BLOCK_HEADER	12

/* Connections are not of sockets, but of the streams below. */
#define capture_next	fuzz_next
#define capture_space	fuzz_space
#define read(fd, buf, len)	stream_read(fd, buf, len)
#define write(fd, buf, len)	stream_write(fd, buf, len)
#define close(fd)		stream_close(fd)
#define shutdown(fd, how)	stream_shutdown(fd, how)
#define setsockopt(fd, level, name, value, len)	\
	stream_setsockopt(fd, level, name, value, len)

static ssize_t stream_read(int fd, void *buf, size_t len);
static ssize_t stream_write(int fd, const void *buf, size_t len);
static int stream_close(int fd);
static int stream_shutdown(int fd, int how);
static int stream_setsockopt(int fd, int level, int name, const void *value,
			     socklen_t len);

/* With what is private to them: the main loop, and who opens connections. */
#include "relay_conn.c"
#include "cmd_relay.c"

#undef capture_next
#undef capture_space
#undef read
#undef write
#undef close
#undef shutdown
#undef setsockopt

struct options opt;

/* --- the clock ------------------------------------------------------------ */

#define BOOTED_NS	(1000 * NSEC_PER_SEC)
#define REALTIME_NS	(1700000000 * NSEC_PER_SEC)

static uint64_t clock_now;

uint64_t __wrap_clock_ns(clockid_t clock)
{
	return clock_now + (clock == CLOCK_REALTIME ? REALTIME_NS : BOOTED_NS);
}

/* --- the kernel's side ---------------------------------------------------- */

#define FAMILY		32
#define GROUP		7
#define PACKETS_MAX	64

static struct khold {
	uint32_t role;
	const char *label;
	uint32_t link_type;
	uint32_t state;
	uint32_t flags;
	uint64_t frozen_ns;
	uint64_t imported;
	uint64_t discarded;
	uint32_t packets;
	uint32_t first;
	uint32_t size;
	bool segments;
	bool gone;
	bool event;
} kholds[5], kholds_begin[] = {
	{ .role = TAPMIG_ROLE_SOURCE, .label = "out",
	  .state = TAPMIG_STATE_FROZEN, .packets = 3,
	  .first = TAPMIG_SEQ_FIRST, .size = 60 },
	{ .role = TAPMIG_ROLE_STANDBY, .label = "in",
	  .state = TAPMIG_STATE_FROZEN },
	{ .role = TAPMIG_ROLE_STANDBY, .label = "raw",
	  .link_type = TAPMIG_LINK_TYPE_RAW_IP, .state = TAPMIG_STATE_FROZEN },
	{ .role = TAPMIG_ROLE_SOURCE, .label = "later" },
	{ .role = TAPMIG_ROLE_STANDBY, .label = "later" },
};

static struct {
	uint8_t cmd;
	uint8_t count;
	int error;
} failure;

static bool events_lost;

struct mnl_socket {
	int fd;
	bool dump;
	struct nlmsghdr request;
	uint8_t cmd;
	uint32_t id;
	uint64_t seq;
	uint32_t count;
};

static struct nlmsghdr *answer(void *buf, const struct mnl_socket *s,
			       uint8_t cmd)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct genlmsghdr *g;

	nlh->nlmsg_type = FAMILY;
	nlh->nlmsg_seq = s->request.nlmsg_seq;
	g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));
	g->cmd = cmd;
	return nlh;
}

static struct nlmsghdr *status(void *buf, const struct mnl_socket *s,
			       int error)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct nlmsgerr *e;

	nlh->nlmsg_type = s->dump ? NLMSG_DONE : NLMSG_ERROR;
	nlh->nlmsg_seq = s->request.nlmsg_seq;
	nlh->nlmsg_flags = NLM_F_CAPPED;
	e = mnl_nlmsg_put_extra_header(nlh, sizeof(*e));
	e->error = error;
	e->msg = s->request;
	return nlh;
}

static struct nlmsghdr *put_hold(void *buf, const struct mnl_socket *s,
				 uint8_t cmd, const struct khold *k)
{
	struct nlmsghdr *nlh = answer(buf, s, cmd);

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, k - kholds + 1);
	mnl_attr_put_strz(nlh, TAPMIG_A_HOLD_LABEL, k->label);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ROLE, k->role);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_STATE,
			 k->gone ? TAPMIG_STATE_DEAD : k->state);
	if (k->gone)
		return nlh;
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS, k->flags);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_LINK_TYPE, k->link_type);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_MAX_PACKETS, 65536);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_MAX_BYTES, 64 << 20);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_FROZEN_NS, k->frozen_ns);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_FROZEN_FOR_MS, 20);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_HELD_PACKETS, k->packets);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_IMPORTED, k->imported);
	mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_DISCARDED, k->discarded);
	return nlh;
}

static void put_packets(struct nlmsghdr *nlh, struct khold *k, uint64_t seq)
{
	static const uint8_t frame[32768];
	struct nlattr *nest;
	uint32_t i, at, n;

	for (i = 0; i < k->packets; i++) {
		if (k->first + i < seq)
			continue;
		for (at = 0; at < k->size; at += n) {
			n = k->size - at < sizeof(frame) ? k->size - at :
			    sizeof(frame);
			nest = mnl_attr_nest_start(nlh,
						   TAPMIG_A_TRANSFER_PACKET);
			mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_SEQ,
					 k->first + i / (1 + k->segments));
			if (k->segments) {
				mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUB,
						 i % 2);
				mnl_attr_put_u16(nlh, TAPMIG_A_PACKET_SUBS, 2);
			}
			mnl_attr_put_u64(nlh, TAPMIG_A_PACKET_TIME_NS,
					 REALTIME_NS);
			mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_LEN, k->size);
			mnl_attr_put_u32(nlh, TAPMIG_A_PACKET_OFFSET, at);
			mnl_attr_put(nlh, TAPMIG_A_PACKET_DATA, n, frame);
			mnl_attr_nest_end(nlh, nest);
		}
		/* The buffer is for one message of the real kernel. */
		if (nlh->nlmsg_len > NL_BUFFER_SIZE / 4)
			return;
	}
}

/* What a request changes; an error, or 0. */
static int apply(struct mnl_socket *s, struct khold *k)
{
	switch (s->cmd) {
	case TAPMIG_CMD_HOLD_FREEZE:
		if (k->state != TAPMIG_STATE_ARMED)
			return -EBUSY;
		k->state = TAPMIG_STATE_FROZEN;
		k->frozen_ns++;
		break;
	case TAPMIG_CMD_HOLD_DISCARD:
		k->discarded += k->packets;
		k->packets = 0;
		if (k->state != TAPMIG_STATE_DEAD)
			k->state = TAPMIG_STATE_ARMED;
		break;
	case TAPMIG_CMD_PACKET_NEW:
	case TAPMIG_CMD_IMPORT_BEGIN:
	case TAPMIG_CMD_IMPORT_SYNC:
		if (k->state == TAPMIG_STATE_ARMED ||
		    k->state == TAPMIG_STATE_DEAD)
			return -EBUSY;
		k->imported += s->count;
		return 0;
	case TAPMIG_CMD_IMPORT_END:
		if (k->state == TAPMIG_STATE_LIVE)
			k->state = TAPMIG_STATE_ARMED;
		break;
	case TAPMIG_CMD_PACKET_COMMIT:
		MUST(s->seq);
		return 0;
	case TAPMIG_CMD_PACKET_GET:
		return k->state == TAPMIG_STATE_ARMED ? -EBUSY : 0;
	default:
		return 0;
	}
	k->event = true;
	return 0;
}

/* No file has such a number. */
#define NETLINK_FD	100000

static struct mnl_socket *sockets[16];

struct mnl_socket *mnl_socket_open2(int bus, int flags)
{
	struct mnl_socket *s = calloc(1, sizeof(struct mnl_socket));
	unsigned int i = 0;

	MUST(s);
	while (sockets[i])
		MUST(++i < ARRAY_SIZE(sockets));
	s->fd = NETLINK_FD + i;
	sockets[i] = s;
	return s;
}

int mnl_socket_bind(struct mnl_socket *s, unsigned int groups, pid_t pid)
{
	return 0;
}

unsigned int mnl_socket_get_portid(const struct mnl_socket *s)
{
	return 1;
}

int mnl_socket_setsockopt(const struct mnl_socket *s, int type, void *buf,
			  socklen_t len)
{
	return 0;
}

int mnl_socket_get_fd(const struct mnl_socket *s)
{
	return s->fd;
}

int mnl_socket_close(struct mnl_socket *s)
{
	sockets[s->fd - NETLINK_FD] = NULL;
	free(s);
	return 0;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *from, const void *msg,
			  size_t len)
{
	struct mnl_socket *s = (struct mnl_socket *)from;
	const struct nlmsghdr *nlh = msg;
	const struct nlattr *a;

	MUST(nlh->nlmsg_len == len);
	s->request = *nlh;
	s->dump = nlh->nlmsg_flags & NLM_F_DUMP;
	s->cmd = nl_cmd(nlh);
	s->id = 0;
	s->seq = 0;
	s->count = 0;
	mnl_attr_for_each(a, nlh, GENL_HDRLEN) {
		switch (mnl_attr_get_type(a)) {
		case TAPMIG_A_TRANSFER_HOLD_ID:
			s->id = mnl_attr_get_u32(a);
			break;
		case TAPMIG_A_TRANSFER_SEQ:
			if (s->cmd >= TAPMIG_CMD_PACKET_GET)
				s->seq = mnl_attr_get_u64(a);
			break;
		case TAPMIG_A_TRANSFER_PACKET:
			s->count++;
			break;
		}
	}
	return len;
}

/* The one event that waits for longest; else there is none. */
static ssize_t take_event(struct mnl_socket *s, void *buf)
{
	unsigned int i;

	if (events_lost) {
		events_lost = false;
		errno = ENOBUFS;
		return -1;
	}
	for (i = 0; i < ARRAY_SIZE(kholds); i++) {
		if (!kholds[i].event)
			continue;
		kholds[i].event = false;
		return put_hold(buf, s, TAPMIG_CMD_HOLD_NTF,
				&kholds[i])->nlmsg_len;
	}
	errno = EAGAIN;
	return -1;
}

static ssize_t receive(struct mnl_socket *s, void *buf, size_t size)
{
	struct nlmsghdr *nlh = NULL, *end;
	struct khold *k;
	unsigned int i;
	size_t len = 0;
	int error;

	if (!s->request.nlmsg_len)
		return take_event(s, buf);
	if (s->request.nlmsg_type == GENL_ID_CTRL) {
		nlh = answer(buf, s, CTRL_CMD_NEWFAMILY);
		mnl_attr_put_u16(nlh, CTRL_ATTR_FAMILY_ID, FAMILY);
		mnl_attr_put_u32(nlh, CTRL_ATTR_VERSION,
				 TAPMIG_FAMILY_VERSION);
		len = MNL_ALIGN(nlh->nlmsg_len);
		return len + status(buf + len, s, 0)->nlmsg_len;
	}
	if (s->cmd == TAPMIG_CMD_HOLD_GET && s->dump) {
		for (i = 0; i < ARRAY_SIZE(kholds); i++)
			if (!kholds[i].gone)
				len += MNL_ALIGN(put_hold(buf + len, s, s->cmd,
							  &kholds[i])
						 ->nlmsg_len);
		return len + status(buf + len, s, 0)->nlmsg_len;
	}
	MUST(s->id && s->id <= ARRAY_SIZE(kholds));
	k = &kholds[s->id - 1];
	error = k->gone ? -ENOENT : 0;
	if (!error && failure.count && failure.cmd == s->cmd) {
		failure.count--;
		error = failure.error;
	}
	if (!error)
		error = apply(s, k);
	if (!error && s->cmd == TAPMIG_CMD_HOLD_GET) {
		nlh = put_hold(buf, s, s->cmd, k);
	} else if (!error && s->cmd == TAPMIG_CMD_PACKET_NEW) {
		nlh = answer(buf, s, s->cmd);
		mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_ACCEPTED, s->count);
	} else if (!error && s->cmd == TAPMIG_CMD_PACKET_GET) {
		nlh = answer(buf, s, s->cmd);
		put_packets(nlh, k, s->seq);
	}
	len = nlh ? MNL_ALIGN(nlh->nlmsg_len) : 0;
	end = status(buf + len, s, error);
	len += end->nlmsg_len;
	MUST(len <= size);
	return len;
}

ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
	msg->msg_flags = 0;
	return receive(sockets[fd - NETLINK_FD], msg->msg_iov->iov_base,
		       msg->msg_iov->iov_len);
}

int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	MUST(sockets[fd - NETLINK_FD]);
	return 0;
}

/* --- the peers ------------------------------------------------------------ */

#define STREAM_FD	1000
#define STREAMS		2

static struct stream {
	const uint8_t *data;
	size_t len;
	bool open;
	bool over;
	bool stuck;
	struct capture out;
} streams[STREAMS];

static ssize_t stream_read(int fd, void *buf, size_t len)
{
	struct stream *st = &streams[fd - STREAM_FD];

	if (!st->len) {
		errno = EAGAIN;
		return st->over ? 0 : -1;
	}
	len = len < st->len ? len : st->len;
	memcpy(buf, st->data, len);
	st->data += len;
	st->len -= len;
	return len;
}

/* Whatever comes in, what goes out is to be read by a relay. */
static void check_output(struct stream *st, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	enum capture_status ret;
	struct packet pkt;
	size_t room;
	void *to;

	while (len) {
		to = fuzz_space(&st->out, &room);
		MUST(to);
		room = room < len ? room : len;
		memcpy(to, from, room);
		capture_added(&st->out, room);
		from += room;
		len -= room;
		while ((ret = fuzz_next(&st->out, &pkt)) != CAPTURE_MORE)
			MUST(ret == CAPTURE_PACKET || ret == CAPTURE_LOCAL);
		MUST(st->out.own && !st->out.skipped);
	}
}

static ssize_t stream_write(int fd, const void *buf, size_t len)
{
	struct stream *st = &streams[fd - STREAM_FD];

	if (st->stuck) {
		errno = EAGAIN;
		return -1;
	}
	check_output(st, buf, len);
	return len;
}

static int stream_close(int fd)
{
	struct stream *st = &streams[fd - STREAM_FD];

	MUST(st->open);
	st->open = false;
	st->len = 0;
	capture_free(&st->out);
	return 0;
}

static int stream_shutdown(int fd, int how)
{
	return 0;
}

static int stream_setsockopt(int fd, int level, int name, const void *value,
			     socklen_t len)
{
	return 0;
}

static void stream_open(struct relay *r, int i)
{
	struct stream *st = &streams[i];

	memset(st, 0, sizeof(*st));
	st->open = true;
	capture_init(&st->out);
	conn_from_socket(r, STREAM_FD + i, "peer");
}

/* --- what happens --------------------------------------------------------- */

#define EVENT		0x80ff0000U
enum {
	EVENT_HOLD,	/* hold, state, flags, refrozen */
	EVENT_FAIL,	/* command, count, error */
	EVENT_CLOCK,	/* milliseconds, 2 bytes */
	EVENT_PACKETS,	/* hold, count, size / 16, segments, from low numbers */
	EVENT_GONE,	/* hold */
	EVENT_PEER,	/* which one sends from now on */
	EVENT_OVER,	/* its connection ends */
	EVENT_STUCK,	/* it reads nothing, or does again */
	EVENT_LOST,	/* events of the kernel were lost */
	EVENT_QUIT,	/* SIGTERM */
	EVENT_COUNT,
};

#define ROUNDS_MAX	64

/* All that can be done without something new. */
static void serve(struct relay *r)
{
	struct relay_ns *ns = TAILQ_FIRST(&r->namespaces);
	struct conn *c;
	int64_t timeout;
	unsigned int i;
	bool more;
	int round;

	for (round = 0; round < ROUNDS_MAX; round++) {
		reap(r);
		work(r, &timeout);
		more = !timeout || events_lost;
		for (i = 0; i < ARRAY_SIZE(kholds); i++)
			more |= kholds[i].event;
		relay_holds_event(r, ns);
		TAILQ_FOREACH(c, &r->conns, link) {
			struct stream *st = &streams[c->rfd - STREAM_FD];

			if (st->len || st->over) {
				conn_readable(c);
				more |= st->len;
			}
			if (conn_write_events(c))
				conn_writable(c);
			more |= c->dead;
		}
		if (!more)
			return;
	}
}

static void happen(struct relay *r, uint32_t type, const uint8_t *p,
		   unsigned int *peer)
{
	static const int errors[] = {
		-ENOBUFS, -EINVAL, -ENOENT, -EBUSY, -ENOMEM, -EPERM, -ERANGE,
		-EOPNOTSUPP,
	};
	struct khold *k = &kholds[p[0] % ARRAY_SIZE(kholds)];
	struct stream *st = &streams[*peer];

	switch (type - EVENT) {
	case EVENT_HOLD:
		k->state = p[1] % (TAPMIG_STATE_DEAD + 1);
		k->flags = p[2] & (TAPMIG_HOLD_FLAGS_DETACHED |
				   TAPMIG_HOLD_FLAGS_PEER);
		k->frozen_ns += p[3];
		k->event = true;
		break;
	case EVENT_FAIL:
		failure.cmd = p[0] % (TAPMIG_CMD_MAX + 1);
		failure.count = p[1];
		failure.error = errors[p[2] % ARRAY_SIZE(errors)];
		break;
	case EVENT_CLOCK:
		clock_now += (p[0] | p[1] << 8) * NSEC_PER_MSEC;
		break;
	case EVENT_PACKETS:
		k->packets = p[1] % PACKETS_MAX;
		k->size = 14 + 16 * p[2] * (p[2] > 200 ? 20 : 1);
		k->segments = p[3] & 1;
		k->first = p[3] & 2 ? TAPMIG_SEQ_FIRST - 2 : TAPMIG_SEQ_FIRST;
		k->event = true;
		break;
	case EVENT_GONE:
		k->gone = true;
		k->event = true;
		break;
	case EVENT_PEER:
		*peer = p[0] % STREAMS;
		if (!streams[*peer].open)
			stream_open(r, *peer);
		break;
	case EVENT_OVER:
		st->over = true;
		break;
	case EVENT_STUCK:
		st->stuck = !st->stuck;
		break;
	case EVENT_LOST:
		events_lost = true;
		break;
	case EVENT_QUIT:
		quit(r);
		break;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	/* Each input has the relay say much. */
	stderr = fopen("/dev/null", "w");
	stdout = fopen("/dev/null", "w");
	MUST(stderr && stdout);
	return 0;
}

/* The next block, or what is left. */
static size_t next_block(const uint8_t *data, size_t size, uint32_t *type)
{
	uint32_t len;

	*type = 0;
	if (size < BLOCK_HEADER)
		return size;
	memcpy(type, data, sizeof(*type));
	memcpy(&len, data + 4, sizeof(len));
	return len < BLOCK_HEADER || len > size ? size : len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct relay r = {
		.listen = true,
		.addr = { .text = "fuzz", .kind = ADDRESS_UNIX },
		.pair_at = NEVER,
		.linger_ms = LINGER_MS,
		.buffer = BUFFER_MIN,
		.verbose = true,
		.instance = "this is the test",
		.label_key = 0x9e3779b97f4a7c15,
		.own_ns = -1,
		.listen_fd = -1,
		.stdio = -1,
	};
	uint8_t args[8];
	unsigned int peer = 0, i;
	struct conn *c;
	uint32_t type;
	size_t len;

	clock_now = 0;
	memcpy(kholds, kholds_begin, sizeof(kholds));
	for (i = 0; i < ARRAY_SIZE(kholds); i++)
		if (kholds[i].state == TAPMIG_STATE_FROZEN)
			kholds[i].frozen_ns = REALTIME_NS + i;
	memset(&failure, 0, sizeof(failure));
	events_lost = false;
	TAILQ_INIT(&r.namespaces);
	TAILQ_INIT(&r.holds);
	TAILQ_INIT(&r.conns);
	MUST(!relay_ns_add(&r, NULL));
	MUST(!relay_holds_read(&r, TAILQ_FIRST(&r.namespaces)));
	stream_open(&r, 0);
	serve(&r);
	for (; size; data += len, size -= len) {
		len = next_block(data, size, &type);
		if (type >= EVENT && type < EVENT + EVENT_COUNT) {
			memset(args, 0, sizeof(args));
			memcpy(args, data + 8, len - 8 < sizeof(args) ?
			       len - 8 : sizeof(args));
			happen(&r, type, args, &peer);
		} else if (streams[peer].open) {
			streams[peer].data = data;
			streams[peer].len = len;
		}
		serve(&r);
		/* Of one that could not be read, as it has closed. */
		streams[peer].len = 0;
	}
	while ((c = TAILQ_FIRST(&r.conns)))
		conn_free(c);
	relay_holds_free(&r);
	for (i = 0; i < STREAMS; i++)
		MUST(!streams[i].open);
	return 0;
}

/* --- changes of the input ------------------------------------------------- */

static void set_len(uint8_t *block, uint32_t len)
{
	memcpy(block + 4, &len, sizeof(len));
	memcpy(block + len - 4, &len, sizeof(len));
}

/* Whole blocks go elsewhere, come twice, are left out, or change inside. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned int seed)
{
	size_t at = 0, len = 0, to = 0, count = 0, body, pick;
	uint32_t type;
	uint8_t *copy;

	if (seed % 8 == 0)
		return LLVMFuzzerMutate(data, size, max);
	for (at = 0; at < size; at += next_block(data + at, size - at, &type))
		count++;
	if (!count)
		return LLVMFuzzerMutate(data, size, max);
	seed /= 8;
	pick = seed / 8 % count;
	for (at = 0; pick--; at += next_block(data + at, size - at, &type))
		to = at;
	len = next_block(data + at, size - at, &type);
	switch (seed % 8) {
	case 0:
		memmove(data + at, data + at + len, size - at - len);
		return size - len;
	case 1:
	case 2:
		/* Once more, here, before the one before, or at the end. */
		if (len > max - size)
			return size;
		if (seed % 8 == 2)
			to = seed & 8192 ? size : at;
		copy = malloc(len);
		MUST(copy);
		memcpy(copy, data + at, len);
		memmove(data + to + len, data + to, size - to);
		memcpy(data + to, copy, len);
		free(copy);
		return size + len;
	case 3:
		/* A message of another code, or another event. */
		if (len < BLOCK_HEADER || type < PCAPNG_LOCAL)
			break;
		data[at] = seed / 64 % (type >= EVENT ? EVENT_COUNT :
					RELAY_CODE_COUNT);
		return size;
	default:
		if (len < BLOCK_HEADER || at + len > size)
			break;
		/* Its body, of any length, in a block that is right. */
		body = len - BLOCK_HEADER;
		copy = malloc(body + 64);
		MUST(copy);
		memcpy(copy, data + at + 8, body);
		body = body ? LLVMFuzzerMutate(copy, body, body + 64) : 4;
		body &= ~(size_t)3;
		if (size - len + BLOCK_HEADER + body <= max) {
			memmove(data + at + BLOCK_HEADER + body,
				data + at + len, size - at - len);
			size = size - len + BLOCK_HEADER + body;
			memcpy(data + at + 8, copy, body);
			set_len(data + at, BLOCK_HEADER + body);
		}
		free(copy);
		return size;
	}
	return LLVMFuzzerMutate(data, size, max);
}
