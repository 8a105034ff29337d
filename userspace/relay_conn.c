// SPDX-License-Identifier: GPL-2.0-only
/* Addresses, connections and their bytes; what they mean is not known here. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include "relay.h"

/* For a connection to be made, TLS to agree, and HELLO to come. */
#define HELLO_NS	(10 * NSEC_PER_SEC)
/* Silence after which the peer is asked, and given up. */
#define PING_NS		(2 * NSEC_PER_SEC)
#define SILENCE_NS	(10 * NSEC_PER_SEC)
/* Who does not read while messages pile up is given up too. */
#define OUT_SLACK	(2UL << 20)
/* More is given back when all was written. */
#define OUT_KEEP	(1UL << 20)
#define RETRY_MIN_MS	100
#define RETRY_MAX_MS	2000
/* Bytes taken from one connection before others have their turn. */
#define READ_TURN	(1UL << 20)

int address_parse(struct address *a, const char *text, bool listen)
{
	const char *rest, *colon;
	size_t len;

	memset(a, 0, sizeof(*a));
	a->text = text;
	if (!strcmp(text, "-")) {
		a->kind = ADDRESS_STDIO;
		return 0;
	}
	if (!strncmp(text, "unix:", 5)) {
		a->kind = ADDRESS_UNIX;
		a->rest = text + 5;
		len = strlen(a->rest);
		if (len && len < sizeof(((struct sockaddr_un *)0)->sun_path))
			return 0;
		err("address '%s': the path has %zu bytes, it must have 1 to %zu",
		    text, len, sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
		return -EINVAL;
	}
	if (!strncmp(text, "exec:", 5)) {
		a->kind = ADDRESS_EXEC;
		a->rest = text + 5;
		if (!listen && *a->rest)
			return 0;
		err("address '%s': %s", text, listen ?
		    "a command can be connected to only" : "no command");
		return -EINVAL;
	}
	if (strncmp(text, "tcp:", 4)) {
		err("address '%s' is none of tcp:HOST:PORT, unix:PATH, exec:COMMAND, -",
		    text);
		return -EINVAL;
	}
	a->kind = ADDRESS_TCP;
	rest = text + 4;
	if (*rest == '[') {
		colon = strchr(++rest, ']');
		if (!colon || colon[1] != ':')
			goto bad;
		len = colon++ - rest;
	} else {
		colon = strrchr(rest, ':');
		if (!colon)
			goto bad;
		len = colon - rest;
		if (memchr(rest, ':', len)) {
			err("address '%s': an IPv6 address is written in brackets",
			    text);
			return -EINVAL;
		}
	}
	if (!len || len >= sizeof(a->host) || !colon[1] ||
	    strlen(colon + 1) >= sizeof(a->port))
		goto bad;
	memcpy(a->host, rest, len);
	strcpy(a->port, colon + 1);
	/* getaddrinfo() takes them modulo 65536. */
	if (strspn(a->port, "0123456789") == strlen(a->port) &&
	    (!strtoul(a->port, NULL, 10) ||
	     strtoul(a->port, NULL, 10) > 65535)) {
		err("address '%s': there is no port %s", text, a->port);
		return -EINVAL;
	}
	return 0;
bad:
	err("address '%s' is not tcp:HOST:PORT", text);
	return -EINVAL;
}

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in6 *in6 = (const void *)sa;
	const struct sockaddr_in *in = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	if (sa->sa_family != AF_INET6)
		return false;
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return in6->sin6_addr.s6_addr[12] == 127;
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static bool allowed(const struct relay *r, const struct sockaddr *sa)
{
	if (r->creds || r->insecure || is_loopback(sa))
		return true;
	err("'%s' is not a loopback address: it needs --tls-creds or --tls-psk (or --insecure, and packets that others may read)",
	    r->addr.text);
	return false;
}

static void peer_name(char *buf, size_t len, const struct sockaddr *sa,
		      socklen_t sa_len)
{
	char host[64], port[16];

	if (sa->sa_family == AF_UNIX ||
	    getnameinfo(sa, sa_len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		snprintf(buf, len, "peer");
	else
		snprintf(buf, len, strchr(host, ':') ? "[%s]:%s" : "%s:%s",
			 host, port);
}

/* --- bytes ---------------------------------------------------------------- */

size_t conn_queued(const struct conn *c)
{
	return c->out_end - c->out_start;
}

/* Blocks come here whole. */
static int queue_out(void *ctx, const void *data, size_t len)
{
	struct conn *c = ctx;
	size_t size;
	uint8_t *buf;

	if (c->dead)
		return 0;
	if (c->out_size - c->out_end < len && c->out_start) {
		memmove(c->out, c->out + c->out_start, conn_queued(c));
		c->out_end -= c->out_start;
		c->out_start = 0;
	}
	if (c->out_size - c->out_end < len) {
		if (conn_queued(c) + len > c->relay->buffer + OUT_SLACK) {
			err("%s: does not read what is sent to it", c->name);
			conn_kill(c);
			return 0;
		}
		size = c->out_size ? c->out_size : 65536;
		while (size - c->out_end < len)
			size *= 2;
		buf = realloc(c->out, size);
		if (!buf) {
			err("%s: out of memory", c->name);
			conn_kill(c);
			return 0;
		}
		c->out = buf;
		c->out_size = size;
	}
	memcpy(c->out + c->out_end, data, len);
	c->out_end += len;
	return 0;
}

static struct conn *conn_new(struct relay *r, int rfd, int wfd,
			     const char *name)
{
	struct conn *c = calloc(1, sizeof(*c));

	if (!c || pcapng_open(&c->w, queue_out, c)) {
		err("out of memory");
		free(c);
		return NULL;
	}
	c->relay = r;
	c->rfd = rfd;
	c->wfd = wfd;
	snprintf(c->name, sizeof(c->name), "%s", name);
	capture_init(&c->in);
	TAILQ_INIT(&c->offers);
	TAILQ_INIT(&c->channels);
	c->since = relay_now();
	c->heard = c->since;
	c->deadline = c->since + HELLO_NS;
	TAILQ_INSERT_TAIL(&r->conns, c, link);
	r->conn_count++;
	return c;
}

void conn_kill(struct conn *c)
{
	c->dead = true;
}

static void close_channels(struct conn *c)
{
	struct channel *ch;

	TAILQ_FOREACH(ch, &c->channels, link)
		relay_channel_close(ch);
}

void conn_free(struct conn *c)
{
	struct channel *ch;

	close_channels(c);
	/* A peer that is there, and then is not, is not tried too often. */
	if (relay_now() - c->since > SILENCE_NS)
		c->relay->retry_ms = 0;
	TAILQ_REMOVE(&c->relay->conns, c, link);
	c->relay->conn_count--;
	while ((ch = TAILQ_FIRST(&c->channels))) {
		TAILQ_REMOVE(&c->channels, ch, link);
		free(ch);
	}
	relay_peer_gone(c);
	tls_free(c->tls);
	close(c->rfd);
	if (c->wfd != c->rfd)
		close(c->wfd);
	capture_free(&c->in);
	pcapng_close(&c->w);
	packet_batch_free(&c->batch);
	free(c->reader);
	free(c->by_number[0]);
	free(c->by_number[1]);
	free(c->out);
	free(c);
}

/* Bytes flow from now on: what is first in them is queued. */
static void conn_open(struct conn *c)
{
	int one = 1;

	c->state = CONN_OPEN;
	c->heard = relay_now();
	setsockopt(c->wfd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	relay_send_hello(c);
	relay_send_ping(c);
}

/* Who connects again and again says once why it fails. */
static void complain(struct relay *r, const char *name, const char *why)
{
	if (!r->listen && !strcmp(r->said, why))
		return;
	snprintf(r->said, sizeof(r->said), "%s", why);
	err("%s: %s", name, why);
}

static void handshake(struct conn *c)
{
	int ret = tls_handshake(c->tls);

	if (ret == -EAGAIN)
		return;
	if (ret) {
		complain(c->relay, c->name, tls_error(c->tls));
		conn_kill(c);
		return;
	}
	relay_tell(c->relay, "%s is %s", c->name, tls_peer(c->tls));
	conn_open(c);
}

/* There is a socket: TLS comes first, if there is any. */
static void conn_start(struct conn *c)
{
	struct relay *r = c->relay;

	if (!r->creds) {
		conn_open(c);
		return;
	}
	c->tls = tls_start(r->creds, c->rfd, r->listen ? NULL : r->hostname);
	if (!c->tls) {
		err("out of memory");
		conn_kill(c);
		return;
	}
	c->state = CONN_HANDSHAKE;
	handshake(c);
}

static void vclose(struct conn *c, const char *fmt, va_list ap)
{
	char text[RELAY_TEXT_MAX];

	vsnprintf(text, sizeof(text), fmt, ap);
	if (c->dead || c->state == CONN_CLOSING)
		return;
	if (c->state != CONN_OPEN) {
		conn_kill(c);
		return;
	}
	relay_send_bye(c, text);
	c->state = CONN_CLOSING;
	c->deadline = relay_now() + PING_NS;
}

void conn_close(struct conn *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vclose(c, fmt, ap);
	va_end(ap);
	close_channels(c);
}

void conn_blame(struct conn *c, const char *fmt, ...)
{
	char text[RELAY_TEXT_MAX];
	va_list ap;

	if (c->dead || c->state == CONN_CLOSING)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err("%s: %s; the connection is closed", c->name, text);
	conn_close(c, "%s", text);
}

/* The socket has an error; of one that is closed anyway nobody wants it. */
static void lost(struct conn *c, int error)
{
	const char *why = c->tls ? tls_error(c->tls) : strerror(-error);

	if (c->state == CONN_CLOSING)
		;
	else if (c->said_hello)
		err("%s: connection lost: %s", c->name, why);
	else
		complain(c->relay, c->name, why);
	conn_kill(c);
}

void conn_writable(struct conn *c)
{
	ssize_t n;
	int error = 0;
	socklen_t len = sizeof(error);

	if (c->dead)
		return;
	if (c->state == CONN_CONNECTING) {
		getsockopt(c->wfd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error) {
			complain(c->relay, c->name, strerror(error));
			conn_kill(c);
			return;
		}
		conn_start(c);
		return;
	}
	if (c->state == CONN_HANDSHAKE) {
		handshake(c);
		return;
	}
	while (conn_queued(c)) {
		n = c->tls ?
		    tls_write(c->tls, c->out + c->out_start, conn_queued(c)) :
		    write(c->wfd, c->out + c->out_start, conn_queued(c));
		if (n < 0 && !c->tls)
			n = -errno;
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			lost(c, n);
			return;
		}
		c->out_start += n;
	}
	c->out_start = 0;
	c->out_end = 0;
	if (c->out_size > OUT_KEEP) {
		free(c->out);
		c->out = NULL;
		c->out_size = 0;
	}
	if (c->state != CONN_CLOSING || c->shut)
		return;
	/* Closed with something unread, it could lose our last words. */
	c->shut = true;
	if (c->tls)
		tls_bye(c->tls);
	if (shutdown(c->wfd, SHUT_WR))
		conn_kill(c);
}

/* Everything whole that the reader has. */
static void take_blocks(struct conn *c)
{
	enum capture_status status;
	struct packet p;

	while (!c->dead && c->state == CONN_OPEN) {
		status = capture_next(&c->in, &p);
		if (c->in.format == CAPTURE_PCAP ||
		    (c->in.sections && !c->in.own)) {
			conn_blame(c, "this is a plain capture, not the stream of a relay");
			return;
		}
		if (c->in.sections > 1) {
			conn_blame(c, "a second section in the stream");
			return;
		}
		if (c->in.skipped) {
			conn_blame(c, "a block of a type that has no place in the stream");
			return;
		}
		switch (status) {
		case CAPTURE_MORE:
			return;
		case CAPTURE_END:
			return;
		case CAPTURE_ERROR:
			conn_blame(c, "%s", c->in.error);
			return;
		case CAPTURE_PACKET:
			standby_packet(c, &p);
			break;
		case CAPTURE_LOCAL:
			relay_message(c);
			break;
		}
	}
}

static void at_end(struct conn *c)
{
	if (c->in.end != c->in.start)
		err("%s: connection lost: it ended in the middle of a block",
		    c->name);
	else if (c->relay->listen || c->said_hello)
		relay_tell(c->relay, "%s has closed the connection%s", c->name,
			   c->said_hello ? "" : " before HELLO");
	else
		complain(c->relay, c->name,
			 "has closed the connection before HELLO");
	conn_kill(c);
}

void conn_readable(struct conn *c)
{
	size_t room, total = 0;
	ssize_t n;
	void *buf;

	if (c->dead)
		return;
	if (c->state == CONN_HANDSHAKE) {
		handshake(c);
		return;
	}
	if (c->state == CONN_CONNECTING)
		return;
	while (!c->dead && total < READ_TURN) {
		if (c->state == CONN_CLOSING) {
			/* Not of interest any more, but must not block. */
			char rest[4096];

			n = c->tls ? tls_read(c->tls, rest, sizeof(rest)) :
				     read(c->rfd, rest, sizeof(rest));
		} else {
			buf = capture_space(&c->in, &room);
			if (!buf) {
				conn_blame(c, "out of memory");
				break;
			}
			n = c->tls ? tls_read(c->tls, buf, room) :
				     read(c->rfd, buf, room);
		}
		if (n < 0 && !c->tls)
			n = -errno;
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			break;
		if (n < 0) {
			standby_flush(c);
			lost(c, n);
			return;
		}
		c->heard = relay_now();
		if (c->state == CONN_CLOSING) {
			if (!n)
				conn_kill(c);
			total += n;
			continue;
		}
		if (!n) {
			standby_flush(c);
			at_end(c);
			return;
		}
		total += n;
		capture_added(&c->in, n);
		take_blocks(c);
	}
	standby_flush(c);
}

short conn_read_events(const struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		return 0;
	if (c->state == CONN_HANDSHAKE)
		return tls_wants_write(c->tls) ? 0 : POLLIN;
	return POLLIN;
}

short conn_write_events(const struct conn *c)
{
	if (c->state == CONN_CONNECTING)
		return POLLOUT;
	if (c->state == CONN_HANDSHAKE)
		return tls_wants_write(c->tls) ? POLLOUT : 0;
	return conn_queued(c) || (c->state == CONN_CLOSING && !c->shut) ?
	       POLLOUT : 0;
}

void conn_timer(struct conn *c, int64_t now, int64_t *next)
{
	struct channel *ch;
	int64_t at;

	if (c->state != CONN_OPEN || !c->said_hello) {
		if (now < c->deadline) {
			if (c->deadline < *next)
				*next = c->deadline;
			return;
		}
		if (c->state == CONN_OPEN) {
			/* It has a moment to hear why. */
			conn_blame(c, "it did not say HELLO in time");
			if (c->deadline < *next)
				*next = c->deadline;
			return;
		}
		if (c->state != CONN_CLOSING)
			err("%s: no answer in time", c->name);
		conn_kill(c);
		return;
	}
	at = c->heard + SILENCE_NS;
	if (now >= at) {
		err("%s: connection lost: nothing was heard for %lld seconds",
		    c->name, SILENCE_NS / NSEC_PER_SEC);
		conn_kill(c);
		return;
	}
	if (at < *next)
		*next = at;
	if (!c->pinged) {
		at = c->heard + PING_NS;
		if (now >= at)
			relay_send_ping(c);
		else if (at < *next)
			*next = at;
	}
	TAILQ_FOREACH(ch, &c->channels, link) {
		if (ch->state == CHANNEL_CLOSED)
			continue;
		if (ch->ours)
			source_timer(ch, now, next);
		else
			standby_timer(ch, now, next);
	}
}

/* There is a connected socket; it is ours from now on. */
static void conn_from_socket(struct relay *r, int fd, const char *name)
{
	struct conn *c = conn_new(r, fd, fd, name);

	if (c)
		conn_start(c);
	else
		close(fd);
}

/* --- where they come from ------------------------------------------------- */

/* Is it a socket of one that was killed, rather than one in use. */
static bool is_left_over(const struct sockaddr_un *un)
{
	struct stat st;
	bool refused;
	int fd;

	if (lstat(un->sun_path, &st) || !S_ISSOCK(st.st_mode))
		goto in_use;
	/* One that is in use may be too busy to accept. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)un, sizeof(*un)) &&
		  errno == ECONNREFUSED;
	close(fd);
	if (refused)
		return true;
in_use:
	errno = EADDRINUSE;
	return false;
}

static int listen_unix(struct relay *r)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	mode_t mask;
	int fd, ret;

	strcpy(un.sun_path, r->addr.rest);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		goto fail;
	/* Tenants' data goes through it. */
	mask = umask(0177);
	ret = bind(fd, (struct sockaddr *)&un, sizeof(un));
	if (ret && errno == EADDRINUSE && is_left_over(&un)) {
		unlink(un.sun_path);
		ret = bind(fd, (struct sockaddr *)&un, sizeof(un));
	}
	umask(mask);
	if (ret || listen(fd, RELAY_CONNS_MAX))
		goto fail;
	r->listen_fd = fd;
	return 0;
fail:
	err("%s: %s", r->addr.text, strerror(errno));
	if (fd >= 0)
		close(fd);
	return -EINVAL;
}

static int listen_tcp(struct relay *r)
{
	const struct resolved_address *at;
	const struct sockaddr *sa;
	struct resolved found;
	int fd = -1, one = 1;
	unsigned int i;

	/* Once, before there is anything else to do. */
	resolve_now(&r->addr, AI_PASSIVE, &found);
	if (found.error) {
		err("%s: %s", r->addr.text, gai_strerror(found.error));
		return -EINVAL;
	}
	for (i = 0; i < found.count; i++) {
		at = &found.all[i];
		sa = (const void *)&at->addr;
		if (!allowed(r, sa))
			return -EINVAL;
		fd = socket(sa->sa_family,
			    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (!bind(fd, sa, at->len) &&
		    !listen(fd, RELAY_CONNS_MAX))
			break;
		one = errno;
		close(fd);
		errno = one;
		one = 1;
		fd = -1;
	}
	if (fd < 0)
		err("%s: %s", r->addr.text, strerror(errno));
	r->listen_fd = fd;
	return fd < 0 ? -EINVAL : 0;
}

static void set_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0)
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static void start_stdio(struct relay *r)
{
	struct conn *c;
	int in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);

	if (in < 0) {
		err("standard input: %s", strerror(errno));
		return;
	}
	set_nonblocking(in);
	set_nonblocking(r->stdio);
	c = conn_new(r, in, r->stdio, "peer");
	if (c)
		conn_start(c);
}

int relay_listen(struct relay *r)
{
	int ret = 0;

	switch (r->addr.kind) {
	case ADDRESS_TCP:
		ret = listen_tcp(r);
		break;
	case ADDRESS_UNIX:
		ret = listen_unix(r);
		break;
	default:
		start_stdio(r);
		break;
	}
	r->listening = !ret;
	if (!ret)
		relay_tell(r, "listening on %s", r->addr.text);
	return ret;
}

/* Who has not even said HELLO must not keep others out. */
static void make_room(struct relay *r)
{
	struct conn *c;

	TAILQ_FOREACH(c, &r->conns, link) {
		if (c->said_hello)
			continue;
		err("%s: closed before HELLO, for another connection", c->name);
		conn_free(c);
		return;
	}
}

void relay_accept(struct relay *r)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);
	struct ucred cred;
	char name[128];
	int fd;

	fd = accept4(r->listen_fd, (struct sockaddr *)&ss, &len,
		     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	peer_name(name, sizeof(name), (struct sockaddr *)&ss, len);
	if (r->conn_count >= RELAY_CONNS_MAX)
		make_room(r);
	if (r->conn_count >= RELAY_CONNS_MAX) {
		err("%s: refused: there are %u connections already", name,
		    r->conn_count);
		close(fd);
		return;
	}
	if (ss.ss_family == AF_UNIX) {
		len = sizeof(cred);
		if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) ||
		    (cred.uid && cred.uid != geteuid())) {
			err("%s: refused: it is not root, nor who runs this",
			    r->addr.text);
			close(fd);
			return;
		}
		snprintf(name, sizeof(name), "process %d", cred.pid);
	}
	relay_tell(r, "%s connects", name);
	conn_from_socket(r, fd, name);
}

/* Each attempt begins with another one of several addresses. */
static void connect_tcp(struct relay *r)
{
	const struct resolved *found = &r->resolver.found;
	const struct resolved_address *to;
	const struct sockaddr *sa;
	char name[128];
	unsigned int i;
	int fd, error;

	if (found->error) {
		complain(r, r->addr.text, gai_strerror(found->error));
		return;
	}
	for (i = 0; i < found->count; i++) {
		if (!allowed(r, (const void *)&found->all[i].addr)) {
			r->refused = true;
			return;
		}
	}
	for (i = 0; i < found->count; i++) {
		to = &found->all[(r->attempts + i) % found->count];
		sa = (const void *)&to->addr;
		peer_name(name, sizeof(name), sa, to->len);
		fd = socket(sa->sa_family,
			    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd >= 0 && (!connect(fd, sa, to->len) ||
				errno == EINPROGRESS)) {
			if (!conn_new(r, fd, fd, name))
				close(fd);
			break;
		}
		error = errno;
		if (fd >= 0)
			close(fd);
		if (i + 1 < found->count)
			relay_tell(r, "%s: %s", name, strerror(error));
		else
			complain(r, name, strerror(error));
	}
	r->attempts++;
}

void relay_resolved(struct relay *r)
{
	if (resolver_take(&r->resolver))
		connect_tcp(r);
}

static void connect_unix(struct relay *r)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd;

	strcpy(un.sun_path, r->addr.rest);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un))) {
		complain(r, r->addr.text, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	conn_from_socket(r, fd, r->addr.text);
}

static void connect_exec(struct relay *r)
{
	sigset_t none;
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds)) {
		err("%s: %s", r->addr.text, strerror(errno));
		return;
	}
	pid = fork();
	if (!pid) {
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		signal(SIGPIPE, SIG_DFL);
		signal(SIGCHLD, SIG_DFL);
		if (r->files.rlim_cur)
			setrlimit(RLIMIT_NOFILE, &r->files);
		if (dup2(fds[1], STDIN_FILENO) < 0 ||
		    dup2(fds[1], STDOUT_FILENO) < 0)
			_exit(127);
		execl("/bin/sh", "sh", "-c", r->addr.rest, (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	if (pid < 0) {
		err("%s: %s", r->addr.text, strerror(errno));
		close(fds[0]);
		return;
	}
	set_nonblocking(fds[0]);
	conn_from_socket(r, fds[0], r->addr.text);
}

void relay_connect(struct relay *r)
{
	r->retry_ms = r->retry_ms ? r->retry_ms * 2 : RETRY_MIN_MS;
	if (r->retry_ms > RETRY_MAX_MS)
		r->retry_ms = RETRY_MAX_MS;
	r->retry_at = relay_now() + r->retry_ms * NSEC_PER_MSEC;
	switch (r->addr.kind) {
	case ADDRESS_TCP:
		if (resolver_start(&r->resolver, &r->addr))
			connect_tcp(r);
		break;
	case ADDRESS_UNIX:
		connect_unix(r);
		break;
	case ADDRESS_STDIO:
		start_stdio(r);
		break;
	case ADDRESS_EXEC:
		connect_exec(r);
		break;
	}
}
