// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both ends of a TLS session of the relay in one process, and between them a
 * line that passes on what it gets in pieces, spoils it, or breaks.
 *
 *   tls KEY=VALUE...
 *
 *   server-creds, client-creds	directories of certificates
 *   server-psk, client-psk	files of keys
 *   server-user, client-user	names of users
 *   hostname	whom the client expects
 *   bytes	that each side sends
 *   chunk	most bytes that the line takes at once
 *   sndbuf	of the sockets of both sides
 *   cut	the line breaks after so many bytes from the client
 *   flip	this byte from the client is changed, the first is 1
 *   plain	server or client: this one does not speak TLS
 *   mute	server or client: this one closes its socket where it should say
 *		that no more will come
 *   careless	server or client: this one believes everything, and presents a
 *		certificate that tls_creds_load() would refuse
 *
 * A line for each side, separated by tabs: name, peer, bytes sent, received,
 * how it ended, what tls_error() says. There is no clock: when nobody has
 * anything to do and somebody is not done, the session is stuck.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/gnutls.h>

#include "../relay_tls.h"
#include "../tool.h"

#define PIECE_MAX	50000
/* Turns without a byte moved, though some socket says that it is ready. */
#define SPINS_MAX	1000

struct side {
	const char *name;
	struct tls_creds *creds;
	struct tls *tls;
	int fd;
	bool plain;
	gnutls_session_t careless;
	gnutls_certificate_credentials_t cred;
	char error[256];
	bool up;
	bool said_bye;
	bool retry;
	uint64_t sent;
	uint64_t received;
	uint64_t wrong;
	const char *end;
};

struct line {
	int from;
	int to;
	size_t len;
	bool eof;
	bool closed;
	uint64_t total;
	char buf[65536];
};

static uint64_t bytes, chunk = 65536, sndbuf, cut, flip;
static struct tls_options options[2];
static const char *hostname, *plain, *careless, *mute;

static uint8_t pattern(uint64_t i)
{
	return (i * 2654435761U) >> 16;
}

static bool ready(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, 0) == 1;
}

static void end(struct side *s, const char *how)
{
	s->end = how;
	close(s->fd);
}

/* A section header, then whatever comes. */
static bool step_plain(struct side *s)
{
	static const char hello[28] = "\x0a\x0d\x0d\x0a\x1c\0\0\0M<+\x1a\1";
	char buf[4096];
	ssize_t n;

	if (!s->sent) {
		n = send(s->fd, hello, sizeof(hello), MSG_NOSIGNAL);
		if (n < 0) {
			end(s, "error");
			return true;
		}
		s->sent = n;
	}
	n = recv(s->fd, buf, sizeof(buf), 0);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		end(s, n ? "error" : "eof");
	else
		s->received += n;
	return true;
}

static void start_careless(struct side *s, const char *dir, bool server)
{
	char cert[4096], key[4096];

	snprintf(cert, sizeof(cert), "%s/%s-cert.pem", dir, s->name);
	snprintf(key, sizeof(key), "%s/%s-key.pem", dir, s->name);
	if (gnutls_init(&s->careless, GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
			GNUTLS_FORCE_CLIENT_CERT |
			(server ? GNUTLS_SERVER : GNUTLS_CLIENT)) ||
	    gnutls_set_default_priority(s->careless) ||
	    gnutls_certificate_allocate_credentials(&s->cred)) {
		fprintf(stderr, "tls: no session\n");
		exit(2);
	}
	if (!access(cert, F_OK) &&
	    gnutls_certificate_set_x509_key_file(s->cred, cert, key,
						 GNUTLS_X509_FMT_PEM) < 0) {
		fprintf(stderr, "tls: %s: no certificate\n", cert);
		exit(2);
	}
	gnutls_credentials_set(s->careless, GNUTLS_CRD_CERTIFICATE, s->cred);
	gnutls_transport_set_int(s->careless, s->fd);
}

/* Sends as soon as it can, and takes what it gets. */
static bool step_careless(struct side *s)
{
	char buf[4096] = "";
	ssize_t n;

	if (!s->up) {
		n = gnutls_handshake(s->careless);
		s->up = !n;
	} else if (s->sent < bytes) {
		n = gnutls_record_send(s->careless, buf, sizeof(buf));
		if (n > 0)
			s->sent = bytes;
	} else {
		n = gnutls_record_recv(s->careless, buf, sizeof(buf));
		if (n > 0)
			s->received += n;
		if (!n)
			end(s, "eof");
	}
	if (n == GNUTLS_E_AGAIN)
		return ready(s->fd, gnutls_record_get_direction(s->careless) ?
			     POLLOUT : POLLIN);
	if (n < 0) {
		snprintf(s->error, sizeof(s->error), "%s",
			 n == GNUTLS_E_FATAL_ALERT_RECEIVED ?
			 gnutls_alert_get_name(gnutls_alert_get(s->careless)) :
			 gnutls_strerror(n));
		end(s, "error");
	}
	return true;
}

/* True: come again; the session may have ended. */
static bool again(struct side *s, bool for_write)
{
	if (s->up && tls_wants_write(s->tls) != for_write) {
		end(s, "waits for the wrong thing");
		return true;
	}
	return ready(s->fd, tls_wants_write(s->tls) ? POLLOUT : POLLIN);
}

static bool step_write(struct side *s)
{
	static uint8_t buf[PIECE_MAX];
	/* A write that is repeated may have more than before. */
	size_t len = s->retry ? PIECE_MAX : PIECE_MAX - 12345, i;
	ssize_t n;

	if (len > bytes - s->sent)
		len = bytes - s->sent;
	for (i = 0; i < len; i++)
		buf[i] = pattern(s->sent + i);
	n = tls_write(s->tls, buf, len);
	memset(buf, 0, sizeof(buf));
	s->retry = n == -EAGAIN;
	if (n == -EAGAIN)
		return again(s, true);
	if (n < 0) {
		end(s, "error");
		return true;
	}
	s->sent += n;
	return true;
}

static bool step_read(struct side *s)
{
	uint8_t buf[7000];
	ssize_t n, i;

	n = tls_read(s->tls, buf, sizeof(buf));
	if (n == -EAGAIN) {
		if (!tls_pending(s->tls))
			return again(s, false);
		end(s, "has data and does not give it");
		return true;
	}
	if (n < 0) {
		end(s, "error");
		return true;
	}
	for (i = 0; i < n; i++)
		s->wrong += buf[i] != pattern(s->received + i);
	s->received += n;
	if (n)
		return true;
	if (s->said_bye)
		end(s, s->wrong ? "wrong data" : "eof");
	return false;
}

/* Whether anything happened. */
static bool step(struct side *s)
{
	bool progress = false;
	int ret;

	if (s->end)
		return false;
	if (s->plain)
		return step_plain(s);
	if (s->careless)
		return step_careless(s);
	if (!s->up) {
		ret = tls_handshake(s->tls);
		if (ret == -EAGAIN)
			return again(s, false);
		if (ret)
			end(s, "refused");
		s->up = !ret;
		return true;
	}
	if (s->sent < bytes) {
		progress = step_write(s);
	} else if (mute && !strcmp(mute, s->name)) {
		if (s->received == bytes)
			end(s, "mute");
	} else if (!s->said_bye) {
		if (!tls_bye(s->tls)) {
			s->said_bye = true;
			progress = true;
		} else {
			progress = again(s, true);
		}
	}
	if (!s->end)
		progress |= step_read(s);
	return progress;
}

static bool pump(struct line *l, bool spoil)
{
	bool progress = false;
	ssize_t n;

	if (!l->len && !l->eof) {
		n = recv(l->from, l->buf, chunk, 0);
		if (!n || (n < 0 && errno != EAGAIN)) {
			l->eof = true;
			progress = true;
		} else if (n > 0) {
			if (spoil && flip > l->total && flip <= l->total + n)
				l->buf[flip - l->total - 1] ^= 1;
			if (spoil && cut && cut <= l->total + n) {
				n = cut - l->total;
				l->eof = true;
			}
			l->len = n;
			l->total += n;
			progress = true;
		}
	}
	if (l->len) {
		n = send(l->to, l->buf, l->len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			n = l->len;
		if (n > 0) {
			memmove(l->buf, l->buf + n, l->len - n);
			l->len -= n;
			progress = true;
		}
	}
	if (l->eof && !l->len && !l->closed) {
		shutdown(l->to, SHUT_WR);
		l->closed = true;
		progress = true;
	}
	return progress;
}

static void socket_pair(int *pair)
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       pair)) {
		perror("socketpair");
		exit(2);
	}
	if (sndbuf)
		setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &(int){ sndbuf },
			   sizeof(int));
}

static void option(const char *arg)
{
	static const struct {
		const char *key;
		const char **text;
		uint64_t *number;
	} keys[] = {
		{ "server-creds", &options[0].creds_dir, NULL },
		{ "client-creds", &options[1].creds_dir, NULL },
		{ "server-psk", &options[0].psk_file, NULL },
		{ "client-psk", &options[1].psk_file, NULL },
		{ "server-user", &options[0].psk_user, NULL },
		{ "client-user", &options[1].psk_user, NULL },
		{ "hostname", &hostname, NULL },
		{ "plain", &plain, NULL },
		{ "careless", &careless, NULL },
		{ "mute", &mute, NULL },
		{ "bytes", NULL, &bytes },
		{ "chunk", NULL, &chunk },
		{ "sndbuf", NULL, &sndbuf },
		{ "cut", NULL, &cut },
		{ "flip", NULL, &flip },
	};
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(keys); i++) {
		n = strlen(keys[i].key);
		if (strncmp(arg, keys[i].key, n) || arg[n] != '=')
			continue;
		if (keys[i].text)
			*keys[i].text = arg + n + 1;
		else
			*keys[i].number = strtoull(arg + n + 1, NULL, 10);
		return;
	}
	fprintf(stderr, "tls: '%s'?\n", arg);
	exit(2);
}

int main(int argc, char **argv)
{
	struct side sides[2] = { { .name = "server" }, { .name = "client" } };
	static struct line lines[2];
	unsigned int spins = 0;
	int pairs[2][2], i;
	uint64_t moved;
	bool progress;

	for (i = 1; i < argc; i++)
		option(argv[i]);
	options[0].server = true;
	for (i = 0; i < 2; i++) {
		socket_pair(pairs[i]);
		sides[i].fd = pairs[i][0];
		sides[i].plain = plain && !strcmp(plain, sides[i].name);
		if (sides[i].plain)
			continue;
		if (careless && !strcmp(careless, sides[i].name)) {
			start_careless(&sides[i], options[i].creds_dir, !i);
			continue;
		}
		sides[i].creds = tls_creds_load(&options[i]);
		if (!sides[i].creds)
			return 1;
		sides[i].tls = tls_start(sides[i].creds, sides[i].fd,
					 i ? hostname : NULL);
		if (!sides[i].tls)
			return 2;
	}
	/* From the client to the server, and back. */
	lines[0].from = pairs[1][1];
	lines[0].to = pairs[0][1];
	lines[1].from = pairs[0][1];
	lines[1].to = pairs[1][1];
	while (!sides[0].end || !sides[1].end) {
		moved = lines[0].total + lines[1].total;
		progress = step(&sides[0]);
		progress |= step(&sides[1]);
		progress |= pump(&lines[0], true);
		progress |= pump(&lines[1], false);
		if (cut && lines[0].closed && !lines[1].closed) {
			/* Both ways. */
			lines[1].eof = true;
			lines[1].len = 0;
		}
		if (!progress)
			break;
		spins = moved == lines[0].total + lines[1].total ? spins + 1 :
								   0;
		if (spins > SPINS_MAX)
			break;
	}
	for (i = 0; i < 2; i++) {
		printf("%s\t%s\t%llu\t%llu\t%s\t%s\n", sides[i].name,
		       sides[i].tls ? tls_peer(sides[i].tls) : "",
		       (unsigned long long)sides[i].sent,
		       (unsigned long long)sides[i].received,
		       sides[i].end ? sides[i].end :
		       spins > SPINS_MAX ? "spins" : "stuck",
		       sides[i].tls ? tls_error(sides[i].tls) :
		       sides[i].error);
		if (sides[i].careless) {
			gnutls_deinit(sides[i].careless);
			gnutls_certificate_free_credentials(sides[i].cred);
		}
		tls_free(sides[i].tls);
		tls_creds_free(sides[i].creds);
	}
	return 0;
}
