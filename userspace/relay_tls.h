/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * TLS for the relay: a session over a non-blocking socket. Both sides prove
 * who they are, by certificates of one authority or by a shared key, before a
 * byte goes through.
 */
#ifndef TAPMIG_RELAY_TLS_H
#define TAPMIG_RELAY_TLS_H

#include <stdbool.h>
#include <sys/types.h>

struct tls_creds;
struct tls;

/**
 * struct tls_options - what proves who we are, and who the peer is
 * @creds_dir: directory of certificates and keys, or NULL
 * @psk_file: file of pre-shared keys, or NULL
 * @psk_user: a client: whose key, NULL: the only one, or "tapmig"; a server:
 *	the only one that may connect, NULL: all of the file
 * @server: we listen
 */
struct tls_options {
	const char *creds_dir;
	const char *psk_file;
	const char *psk_user;
	bool server;
};

/* NULL: a message was printed. */
struct tls_creds *tls_creds_load(const struct tls_options *o);
void tls_creds_free(struct tls_creds *creds);

/*
 * hostname: whom the certificate of the server must name; a client's only, who
 * trusts no certificate without it. The socket does not block, and stays the
 * caller's. The credentials must outlive the session. NULL: out of memory.
 */
struct tls *tls_start(struct tls_creds *creds, int fd, const char *hostname);
void tls_free(struct tls *t);

/*
 * All three: -EAGAIN when the socket has to become readable, or writable if
 * tls_wants_write(). Other negative errnos end the session; tls_error() says
 * why. tls_read(): 0 is the end of the stream, said by the peer in the way of
 * TLS; a stream that was cut off is an error. tls_write() may take less than
 * len; after -EAGAIN the next one must begin with the same bytes and have no
 * fewer. That a client's handshake is over does not mean that the server lets
 * it in: the first tls_read() that is not -EAGAIN shows that.
 */
int tls_handshake(struct tls *t);
ssize_t tls_read(struct tls *t, void *buf, size_t len);
ssize_t tls_write(struct tls *t, const void *buf, size_t len);
/*
 * Tell the peer that no more will come, after the last tls_write(). 0, also if
 * it cannot be told; -EAGAIN as above. Who does not care goes without it.
 */
int tls_bye(struct tls *t);

/* What the last -EAGAIN of any of them was for. */
bool tls_wants_write(const struct tls *t);
/* Bytes that tls_read() would return without looking at the socket. */
size_t tls_pending(const struct tls *t);
const char *tls_error(const struct tls *t);
/* Who the peer is, for messages: its certificate's name, or its user name. */
const char *tls_peer(const struct tls *t);

#endif /* TAPMIG_RELAY_TLS_H */
