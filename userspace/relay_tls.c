// SPDX-License-Identifier: GPL-2.0-only
/*
 * TLS for the relay, by GnuTLS.
 *
 * Sessions are not resumed and not renegotiated, so whoever is at the other end
 * has proved who it is in this connection. The server's verdict on a client can
 * come after the client's handshake is over (TLS 1.3): the client learns of it
 * when it reads.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "relay_tls.h"
#include "tool.h"

/* Forward secrecy always: what was captured must not be read by a key lost. */
#define PRIORITY_X509	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA"
#define PRIORITY_PSK	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:" \
			"-KX-ALL:+ECDHE-PSK:+DHE-PSK"
#define FILE_SIZE_MAX	(1024 * 1024)
#define PSK_SIZE_MIN	16
#define PSK_USER_MAX	128
#define PSK_USER	"tapmig"
#define CHAIN_MAX	16
/* A record of TLS begins so: a handshake message, an alert. */
#define RECORD_ALERT	0x15
#define RECORD_HANDSHAKE 0x16
/* More than any honest peer has. */
#define WARNINGS_MAX	16

/**
 * struct psk_user - a line of the file of keys
 * @name: of the user, any bytes
 * @key: of the user
 */
struct psk_user {
	gnutls_datum_t name;
	gnutls_datum_t key;
};

/**
 * struct tls_creds - what proves who we are, and whom we believe
 * @server: we listen
 * @priority: versions and algorithms
 * @cert: certificates, or NULL
 * @psk_server: keys of all, or NULL
 * @psk_client: our key, or NULL
 * @users: lines of the file of keys
 * @user_count: their number
 * @only: the one of them that may connect, NULL: all
 * @self: the one of them that we are
 * @ca_path: for messages
 * @crl_path: for messages, NULL if there is none
 * @psk_path: for messages
 */
struct tls_creds {
	bool server;
	gnutls_priority_t priority;
	gnutls_certificate_credentials_t cert;
	gnutls_psk_server_credentials_t psk_server;
	gnutls_psk_client_credentials_t psk_client;
	struct psk_user *users;
	size_t user_count;
	const struct psk_user *only;
	const struct psk_user *self;
	char *ca_path;
	char *crl_path;
	char *psk_path;
};

/**
 * struct tls - a session
 * @creds: the caller's, who frees them after us
 * @session: of the library
 * @fd: the caller's socket
 * @hostname: whom the server's certificate must name, or NULL
 * @heard: what came first looked like TLS
 * @verified: the peer's certificate, or its user, is good
 * @up: the handshake is over
 * @got: there was data from the peer
 * @eof: the peer said that no more will come
 * @wants_write: what the last -EAGAIN was for
 * @write_pending: a record is not sent as a whole
 * @broken: negative errno of what ended the session
 * @alert: what to tell the peer, if not what the library would
 * @error: why, for people
 * @peer: who, for people
 */
struct tls {
	struct tls_creds *creds;
	gnutls_session_t session;
	int fd;
	char *hostname;
	bool heard;
	bool verified;
	bool up;
	bool got;
	bool eof;
	bool wants_write;
	bool write_pending;
	int broken;
	gnutls_alert_description_t alert;
	char error[512];
	char peer[PSK_USER_MAX + 1];
};

/* What others have written, for a terminal or a log. */
static void printable(char *out, size_t size, const void *data, size_t len)
{
	const unsigned char *p = data;
	size_t i;

	if (len >= size)
		len = size - 1;
	for (i = 0; i < len; i++)
		out[i] = p[i] > ' ' && p[i] < 127 ? p[i] :
			 p[i] == ' ' ? ' ' : '?';
	out[len] = 0;
}

static void free_data(gnutls_datum_t *d)
{
	if (d->data)
		explicit_bzero(d->data, d->size);
	free(d->data);
	d->data = NULL;
	d->size = 0;
}

/*
 * A key that every user of the host can read is told about, but not refused:
 * whether they are to be trusted is the administrator's business, and packets
 * must not be lost for it. What everyone can write proves nothing.
 */
static bool mode_is_good(const char *path, const struct stat *st, bool secret)
{
	if (st->st_mode & 0002) {
		err("%s: every user of this host can write it (mode %04o)",
		    path, st->st_mode & 07777);
		return false;
	}
	if (secret && st->st_mode & 0004)
		err("%s: warning: every user of this host can read this key (mode %04o)",
		    path, st->st_mode & 07777);
	return true;
}

/* With a zero behind it, which is not counted. */
static bool load_file(const char *path, bool secret, gnutls_datum_t *d)
{
	bool loaded = false;
	struct stat st;
	ssize_t n = 0;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		err("%s: %s", path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err("%s: not a regular file", path);
		goto out;
	}
	if (st.st_size > FILE_SIZE_MAX) {
		err("%s: larger than %d bytes", path, FILE_SIZE_MAX);
		goto out;
	}
	if (!mode_is_good(path, &st, secret))
		goto out;
	d->size = 0;
	d->data = malloc(st.st_size + 1);
	if (!d->data) {
		err("%s: out of memory", path);
		goto out;
	}
	while (d->size < (size_t)st.st_size) {
		n = read(fd, d->data + d->size, st.st_size - d->size);
		if (n <= 0)
			break;
		d->size += n;
	}
	d->data[d->size] = 0;
	loaded = n >= 0;
	if (!loaded) {
		err("%s: %s", path, strerror(errno));
		free_data(d);
	}
out:
	if (fd >= 0)
		close(fd);
	return loaded;
}

/* The file of one of two names. NULL: neither is there. */
static char *find_file(const char *dir, const char *name, const char *other)
{
	char *path;

	if (asprintf(&path, "%s/%s", dir, name) < 0)
		return NULL;
	/* Whatever is wrong with it is found when it is read. */
	if (!access(path, F_OK) || errno != ENOENT)
		return path;
	free(path);
	if (asprintf(&path, "%s/%s", dir, other) < 0)
		return NULL;
	if (!access(path, F_OK) || errno != ENOENT)
		return path;
	free(path);
	return NULL;
}

static char *need_file(const char *dir, const char *name, const char *other)
{
	char *path = find_file(dir, name, other);
	struct stat st;

	if (path)
		return path;
	if (stat(dir, &st))
		err("%s: %s", dir, strerror(errno));
	else
		err("%s: has neither %s nor %s", dir, name, other);
	return NULL;
}

/* Why a certificate is not good, as the rest of a sentence about it. */
static void explain(const struct tls_creds *c, unsigned int status,
		    const char *hostname, bool of_server, char *buf,
		    size_t size)
{
	if (status & GNUTLS_CERT_REVOKED)
		snprintf(buf, size, "has been revoked (%s)", c->crl_path);
	else if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
		snprintf(buf, size, "was not issued by an authority of %s",
			 c->ca_path);
	else if (status & GNUTLS_CERT_SIGNER_NOT_CA)
		snprintf(buf, size, "was issued by who is not an authority");
	else if (status & GNUTLS_CERT_EXPIRED)
		snprintf(buf, size, "has expired, or one of its issuers has");
	else if (status & GNUTLS_CERT_NOT_ACTIVATED)
		snprintf(buf, size, "is not valid yet");
	else if (status & GNUTLS_CERT_UNEXPECTED_OWNER)
		snprintf(buf, size, "does not name '%s'", hostname);
	else if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
		snprintf(buf, size, "is not meant for a TLS %s",
			 of_server ? "server" : "client");
	else if (status & GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED)
		snprintf(buf, size, "cannot be checked: %s is out of date",
			 c->crl_path);
	else if (status & GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE)
		snprintf(buf, size, "cannot be checked: %s is of the future",
			 c->crl_path);
	else if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
		snprintf(buf, size, "is signed in a way that is not safe");
	else if (status & GNUTLS_CERT_SIGNATURE_FAILURE)
		snprintf(buf, size, "has a wrong signature");
	else
		snprintf(buf, size, "is not good (status %#x)", status);
}

static gnutls_alert_description_t alert_of(unsigned int status)
{
	if (status & GNUTLS_CERT_REVOKED)
		return GNUTLS_A_CERTIFICATE_REVOKED;
	if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
		return GNUTLS_A_UNKNOWN_CA;
	if (status & GNUTLS_CERT_EXPIRED)
		return GNUTLS_A_CERTIFICATE_EXPIRED;
	return GNUTLS_A_BAD_CERTIFICATE;
}

static int x509_error(const char *path, int ret)
{
	err("%s: %s", path, gnutls_strerror(ret));
	return ret == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EINVAL;
}

static void free_certs(gnutls_x509_crt_t *list, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		gnutls_x509_crt_deinit(list[i]);
	gnutls_free(list);
}

/* All of them into the list, which has them then. */
static int load_authorities(struct tls_creds *c, const char *dir,
			    gnutls_x509_trust_list_t trust)
{
	gnutls_x509_crt_t *list = NULL;
	unsigned int count = 0, i;
	gnutls_datum_t pem;
	int ret;

	c->ca_path = need_file(dir, "ca-cert.pem", "cacert.pem");
	if (!c->ca_path)
		return -ENOENT;
	if (!load_file(c->ca_path, false, &pem))
		return -EINVAL;
	ret = gnutls_x509_crt_list_import2(&list, &count, &pem,
					   GNUTLS_X509_FMT_PEM, 0);
	free_data(&pem);
	if (ret < 0)
		return x509_error(c->ca_path, ret);
	for (i = 0; i < count; i++) {
		if (gnutls_x509_crt_get_ca_status(list[i], NULL) > 0)
			continue;
		err("%s: certificate %u is not that of an authority",
		    c->ca_path, i + 1);
		free_certs(list, count);
		return -EINVAL;
	}
	/* Its names are sent to clients, that they know which to present. */
	ret = gnutls_x509_trust_list_add_cas(trust, list, count,
					     GNUTLS_TL_USE_IN_TLS |
					     GNUTLS_TL_NO_DUPLICATES);
	if (ret <= 0) {
		err("%s: no authority that can be used", c->ca_path);
		free_certs(list, count);
		return -EINVAL;
	}
	gnutls_free(list);
	return 0;
}

/*
 * Revocation lists, if there are any. One that is not signed by an authority
 * would be left out, and what it revokes be let in: refuse it.
 */
static int load_revocations(struct tls_creds *c, const char *dir,
			    gnutls_x509_trust_list_t trust)
{
	gnutls_x509_crl_t *list = NULL;
	unsigned int count = 0, i;
	gnutls_datum_t pem;
	time_t due;
	int ret;

	c->crl_path = find_file(dir, "ca-crl.pem", "cacrl.pem");
	if (!c->crl_path)
		return 0;
	if (!load_file(c->crl_path, false, &pem))
		return -EINVAL;
	ret = gnutls_x509_crl_list_import2(&list, &count, &pem,
					   GNUTLS_X509_FMT_PEM, 0);
	free_data(&pem);
	if (ret < 0)
		return x509_error(c->crl_path, ret);
	for (i = 0; i < count; i++) {
		due = gnutls_x509_crl_get_next_update(list[i]);
		if (due != -1 && due < time(NULL))
			err("%s: list %u is out of date", c->crl_path, i + 1);
		else if (gnutls_x509_crl_get_this_update(list[i]) > time(NULL))
			err("%s: list %u is of the future", c->crl_path,
			    i + 1);
		else if (gnutls_x509_trust_list_add_crls(trust, list + i, 1,
							 GNUTLS_TL_VERIFY_CRL,
							 0) == 1)
			continue;
		else
			err("%s: list %u is not signed by an authority of %s",
			    c->crl_path, i + 1, c->ca_path);
		for (; i < count; i++)
			gnutls_x509_crl_deinit(list[i]);
		gnutls_free(list);
		return -EINVAL;
	}
	gnutls_free(list);
	return 0;
}

/* What every peer would refuse is better known at once. */
static int check_own(const struct tls_creds *c, const char *path,
		     const gnutls_datum_t *pem, gnutls_x509_trust_list_t trust)
{
	const char *purpose = c->server ? GNUTLS_KP_TLS_WWW_SERVER :
					  GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st data = {
		.type = GNUTLS_DT_KEY_PURPOSE_OID,
		.data = (unsigned char *)purpose,
	};
	unsigned int count = 0, status = 0;
	gnutls_x509_crt_t *list = NULL;
	char why[256];
	int ret;

	ret = gnutls_x509_crt_list_import2(&list, &count, pem,
					   GNUTLS_X509_FMT_PEM, 0);
	if (ret < 0)
		return x509_error(path, ret);
	ret = gnutls_x509_trust_list_verify_crt2(trust, list, count, &data, 1,
						 0, &status, NULL);
	free_certs(list, count);
	if (ret < 0)
		return x509_error(path, ret);
	if (!status)
		return 0;
	explain(c, status, NULL, c->server, why, sizeof(why));
	err("%s: this certificate %s", path, why);
	return -EINVAL;
}

static int verify_peer(gnutls_session_t session);

static int load_own(struct tls_creds *c, const char *dir,
		    gnutls_x509_trust_list_t trust)
{
	gnutls_datum_t cert = { 0 }, key = { 0 };
	char *cert_path, *key_path = NULL;
	int ret = -EINVAL;

	cert_path = c->server ?
		need_file(dir, "server-cert.pem", "servercert.pem") :
		need_file(dir, "client-cert.pem", "clientcert.pem");
	if (cert_path)
		key_path = c->server ?
			need_file(dir, "server-key.pem", "serverkey.pem") :
			need_file(dir, "client-key.pem", "clientkey.pem");
	if (!key_path || !load_file(cert_path, false, &cert) ||
	    !load_file(key_path, true, &key))
		goto out;
	ret = check_own(c, cert_path, &cert, trust);
	if (ret)
		goto out;
	ret = gnutls_certificate_set_x509_key_mem2(c->cert, &cert, &key,
						   GNUTLS_X509_FMT_PEM, NULL,
						   0);
	if (ret == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
		err("%s: this is not the key of %s", key_path, cert_path);
		ret = -EINVAL;
	} else if (ret == GNUTLS_E_DECRYPTION_FAILED) {
		err("%s: a key with a password cannot be used", key_path);
		ret = -EINVAL;
	} else if (ret < 0) {
		ret = x509_error(key_path, ret);
	} else {
		ret = 0;
	}
out:
	free_data(&cert);
	free_data(&key);
	free(cert_path);
	free(key_path);
	return ret;
}

static int load_x509(struct tls_creds *c, const char *dir)
{
	gnutls_x509_trust_list_t trust;
	int ret;

	ret = gnutls_certificate_allocate_credentials(&c->cert);
	if (!ret)
		ret = gnutls_x509_trust_list_init(&trust, 0);
	if (ret)
		return x509_error(dir, ret);
	ret = load_authorities(c, dir, trust);
	if (!ret)
		ret = load_revocations(c, dir, trust);
	if (!ret)
		ret = load_own(c, dir, trust);
	if (ret) {
		gnutls_x509_trust_list_deinit(trust, 1);
		return ret;
	}
	/* Takes the list over. */
	gnutls_certificate_set_trust_list(c->cert, trust, 0);
	gnutls_certificate_set_verify_function(c->cert, verify_peer);
	return 0;
}

static int unhex(const char *s, size_t len, gnutls_datum_t *d)
{
	unsigned int hi, lo;
	size_t i;

	if (!len || len % 2 || strspn(s, "0123456789abcdefABCDEF") < len)
		return -EINVAL;
	d->data = malloc(len / 2);
	if (!d->data)
		return -ENOMEM;
	for (i = 0; i < len; i++) {
		hi = s[i] & 0x40 ? (s[i] & 7) + 9 : s[i] & 15;
		lo = s[i + 1] & 0x40 ? (s[i + 1] & 7) + 9 : s[i + 1] & 15;
		d->data[i / 2] = hi << 4 | lo;
		i++;
	}
	d->size = len / 2;
	return 0;
}

static const struct psk_user *find_user(const struct tls_creds *c,
					const void *name, size_t len)
{
	size_t i;

	for (i = 0; i < c->user_count; i++)
		if (c->users[i].name.size == len &&
		    !memcmp(c->users[i].name.data, name, len))
			return &c->users[i];
	return NULL;
}

/*
 * user:hexkey, or #hexuser:hexkey, as psktool writes for names that are no
 * text. Any other line with a # is a comment. NULL: good; else what is wrong.
 */
static const char *parse_user(struct tls_creds *c, char *line)
{
	char *colon = strchr(line, ':');
	struct psk_user u = { 0 }, *users;
	const char *why;
	int ret;

	if (!*line)
		return NULL;
	if (*line == '#') {
		if (!colon || unhex(line + 1, colon - line - 1, &u.name))
			return NULL;
	} else if (!colon || colon == line) {
		return "not of the form user:key";
	}
	ret = unhex(colon + 1, strlen(colon + 1), &u.key);
	if (!ret && !u.name.data) {
		u.name.data = (void *)strndup(line, colon - line);
		u.name.size = colon - line;
		ret = u.name.data ? 0 : -ENOMEM;
	}
	why = "out of memory";
	if (ret == -ENOMEM)
		goto bad;
	why = "the key is not hexadecimal";
	if (ret)
		goto bad;
	why = "the key is too short, 32 digits are the least";
	if (u.key.size < PSK_SIZE_MIN)
		goto bad;
	why = "the name of the user is too long";
	if (u.name.size > PSK_USER_MAX)
		goto bad;
	why = "this user had a line before";
	if (find_user(c, u.name.data, u.name.size))
		goto bad;
	why = "out of memory";
	users = realloc(c->users, (c->user_count + 1) * sizeof(*users));
	if (!users)
		goto bad;
	c->users = users;
	c->users[c->user_count++] = u;
	return NULL;
bad:
	free_data(&u.name);
	free_data(&u.key);
	return why;
}

static int load_users(struct tls_creds *c)
{
	unsigned int n = 0;
	gnutls_datum_t d;
	const char *why;
	char *line, *next;
	size_t len;
	int ret = -EINVAL;

	if (!load_file(c->psk_path, true, &d))
		return -EINVAL;
	if (strlen((char *)d.data) != d.size) {
		err("%s: not a text file", c->psk_path);
		goto out;
	}
	for (line = (char *)d.data; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;
		len = strlen(line);
		if (len && line[len - 1] == '\r')
			line[len - 1] = 0;
		n++;
		why = parse_user(c, line);
		if (!why)
			continue;
		err("%s: line %u: %s", c->psk_path, n, why);
		goto out;
	}
	ret = 0;
	if (!c->user_count) {
		err("%s: has no keys", c->psk_path);
		ret = -EINVAL;
	}
out:
	free_data(&d);
	return ret;
}

static const struct psk_user *may_enter(const struct tls_creds *c,
					const gnutls_datum_t *name)
{
	const struct psk_user *u = find_user(c, name->data, name->size);

	return !c->only || u == c->only ? u : NULL;
}

/*
 * Whoever is not in the file gets a key that nobody knows: the handshake fails
 * as with a wrong key, and does not tell which names exist.
 */
static int psk_of_user(gnutls_session_t session, const gnutls_datum_t *name,
		       gnutls_datum_t *key)
{
	struct tls *t = gnutls_session_get_ptr(session);
	const struct tls_creds *c = t->creds;
	const struct psk_user *u = may_enter(c, name);

	printable(t->peer, sizeof(t->peer), name->data, name->size);
	key->size = u ? u->key.size : 32;
	key->data = gnutls_malloc(key->size);
	if (!key->data)
		return -1;
	if (u) {
		memcpy(key->data, u->key.data, key->size);
		t->error[0] = 0;
		return 0;
	}
	snprintf(t->error, sizeof(t->error), "user '%s' %s %s", t->peer,
		 c->only ? "is not let in, or not in" : "is not in",
		 c->psk_path);
	return gnutls_rnd(GNUTLS_RND_KEY, key->data, key->size);
}

static int load_psk_client(struct tls_creds *c, const char *name)
{
	const struct psk_user *u;

	if (name)
		u = find_user(c, name, strlen(name));
	else if (c->user_count == 1)
		u = &c->users[0];
	else
		u = find_user(c, PSK_USER, strlen(PSK_USER));
	if (!u && name) {
		err("%s: has no user '%s'", c->psk_path, name);
		return -ENOENT;
	}
	if (!u) {
		err("%s: has %zu users, none of them '" PSK_USER "': which one are we? (--tls-user)",
		    c->psk_path, c->user_count);
		return -ENOENT;
	}
	c->self = u;
	if (gnutls_psk_allocate_client_credentials(&c->psk_client) ||
	    gnutls_psk_set_client_credentials2(c->psk_client, &u->name,
					       &u->key, GNUTLS_PSK_KEY_RAW)) {
		err("%s: out of memory", c->psk_path);
		return -ENOMEM;
	}
	return 0;
}

static int load_psk(struct tls_creds *c, const struct tls_options *o)
{
	int ret;

	c->psk_path = strdup(o->psk_file);
	if (!c->psk_path) {
		err("%s: out of memory", o->psk_file);
		return -ENOMEM;
	}
	ret = load_users(c);
	if (ret)
		return ret;
	if (!c->server)
		return load_psk_client(c, o->psk_user);
	if (o->psk_user) {
		c->only = find_user(c, o->psk_user, strlen(o->psk_user));
		if (!c->only) {
			err("%s: has no user '%s'", c->psk_path, o->psk_user);
			return -ENOENT;
		}
	}
	if (gnutls_psk_allocate_server_credentials(&c->psk_server)) {
		err("%s: out of memory", c->psk_path);
		return -ENOMEM;
	}
	gnutls_psk_set_server_credentials_function2(c->psk_server,
						    psk_of_user);
	return 0;
}

struct tls_creds *tls_creds_load(const struct tls_options *o)
{
	struct tls_creds *c;
	int ret;

	if (!o->creds_dir == !o->psk_file) {
		err("TLS: either certificates or a file of keys");
		return NULL;
	}
	c = calloc(1, sizeof(*c));
	if (!c) {
		err("TLS: out of memory");
		return NULL;
	}
	c->server = o->server;
	ret = gnutls_priority_init(&c->priority, o->creds_dir ?
				   PRIORITY_X509 : PRIORITY_PSK, NULL);
	if (ret) {
		err("TLS: %s", gnutls_strerror(ret));
		c->priority = NULL;
		goto bad;
	}
	ret = o->creds_dir ? load_x509(c, o->creds_dir) : load_psk(c, o);
	if (!ret)
		return c;
bad:
	tls_creds_free(c);
	return NULL;
}

void tls_creds_free(struct tls_creds *c)
{
	size_t i;

	if (!c)
		return;
	if (c->cert)
		gnutls_certificate_free_credentials(c->cert);
	if (c->psk_server)
		gnutls_psk_free_server_credentials(c->psk_server);
	if (c->psk_client)
		gnutls_psk_free_client_credentials(c->psk_client);
	if (c->priority)
		gnutls_priority_deinit(c->priority);
	for (i = 0; i < c->user_count; i++) {
		free_data(&c->users[i].name);
		free_data(&c->users[i].key);
	}
	free(c->users);
	free(c->ca_path);
	free(c->crl_path);
	free(c->psk_path);
	free(c);
}

/* The name in the peer's certificate. */
static void name_peer(struct tls *t)
{
	const gnutls_datum_t *list;
	gnutls_x509_crt_t crt;
	unsigned int count;
	gnutls_datum_t dn;
	size_t len;
	char cn[256];

	list = gnutls_certificate_get_peers(t->session, &count);
	if (!list || !count || gnutls_x509_crt_init(&crt))
		return;
	if (gnutls_x509_crt_import(crt, &list[0], GNUTLS_X509_FMT_DER))
		goto out;
	len = sizeof(cn);
	if (!gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
					   0, cn, &len)) {
		printable(t->peer, sizeof(t->peer), cn, len);
	} else if (!gnutls_x509_crt_get_dn3(crt, &dn, 0)) {
		printable(t->peer, sizeof(t->peer), dn.data, dn.size);
		gnutls_free(dn.data);
	}
out:
	gnutls_x509_crt_deinit(crt);
}

static int verify_peer(gnutls_session_t session)
{
	struct tls *t = gnutls_session_get_ptr(session);
	const struct tls_creds *c = t->creds;
	const char *purpose = c->server ? GNUTLS_KP_TLS_WWW_CLIENT :
					  GNUTLS_KP_TLS_WWW_SERVER;
	gnutls_typed_vdata_st data[] = {
		{ .type = GNUTLS_DT_KEY_PURPOSE_OID,
		  .data = (unsigned char *)purpose },
		{ .type = GNUTLS_DT_DNS_HOSTNAME,
		  .data = (unsigned char *)t->hostname },
	};
	unsigned int status = 0;
	char why[256];
	int ret;

	name_peer(t);
	if (!c->server && !t->hostname) {
		snprintf(t->error, sizeof(t->error),
			 "no name that the certificate of '%s' could be compared with",
			 t->peer);
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	ret = gnutls_certificate_verify_peers(session, data,
					      c->server ? 1 : 2, &status);
	if (ret < 0) {
		snprintf(t->error, sizeof(t->error),
			 "the certificate of '%s' cannot be checked: %s",
			 t->peer, gnutls_strerror(ret));
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	if (status) {
		explain(c, status, t->hostname, !c->server, why, sizeof(why));
		snprintf(t->error, sizeof(t->error),
			 "the certificate of '%s' %s", t->peer, why);
		t->alert = alert_of(status);
		return GNUTLS_E_CERTIFICATE_ERROR;
	}
	t->verified = true;
	return 0;
}

static bool is_address(const char *s)
{
	unsigned char buf[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, s, buf) == 1 ||
	       inet_pton(AF_INET6, s, buf) == 1;
}

struct tls *tls_start(struct tls_creds *c, int fd, const char *hostname)
{
	unsigned int flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL |
			     GNUTLS_NO_TICKETS;
	struct tls *t = calloc(1, sizeof(*t));
	int ret;

	if (!t)
		return NULL;
	t->creds = c;
	t->fd = fd;
	strcpy(t->peer, "?");
	if (hostname && !c->server) {
		t->hostname = strdup(hostname);
		if (!t->hostname)
			goto bad;
	}
	flags |= c->server ? GNUTLS_SERVER : GNUTLS_CLIENT;
	if (gnutls_init(&t->session, flags)) {
		t->session = NULL;
		goto bad;
	}
	gnutls_session_set_ptr(t->session, t);
	ret = gnutls_priority_set(t->session, c->priority);
	if (!ret && c->cert)
		ret = gnutls_credentials_set(t->session,
					     GNUTLS_CRD_CERTIFICATE, c->cert);
	else if (!ret)
		ret = gnutls_credentials_set(t->session, GNUTLS_CRD_PSK,
					     c->server ?
					     (void *)c->psk_server :
					     (void *)c->psk_client);
	if (!ret && c->cert && t->hostname && !is_address(t->hostname))
		ret = gnutls_server_name_set(t->session, GNUTLS_NAME_DNS,
					     t->hostname,
					     strlen(t->hostname));
	if (ret == GNUTLS_E_MEMORY_ERROR)
		goto bad;
	if (ret) {
		t->broken = -EINVAL;
		snprintf(t->error, sizeof(t->error), "%s",
			 gnutls_strerror(ret));
	}
	if (c->server && c->cert)
		gnutls_certificate_server_set_request(t->session,
						      GNUTLS_CERT_REQUIRE);
	gnutls_transport_set_int(t->session, fd);
	return t;
bad:
	tls_free(t);
	return NULL;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	if (t->session)
		gnutls_deinit(t->session);
	free(t->hostname);
	free(t);
}

static int again(struct tls *t)
{
	t->wants_write = gnutls_record_get_direction(t->session) == 1;
	return -EAGAIN;
}

/* Nothing more can come. */
static bool cut_off(const struct tls *t)
{
	char c;

	return !recv(t->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
}

/* The session is over, because of what the library has returned. */
static int broken(struct tls *t, int ret, int errnum)
{
	char why[256] = "";

	/* Its way to say that a record has no end. */
	if (ret == GNUTLS_E_UNEXPECTED_PACKET_LENGTH && cut_off(t))
		ret = GNUTLS_E_PREMATURE_TERMINATION;
	switch (ret) {
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		t->broken = -ECONNREFUSED;
		snprintf(why, sizeof(why), "the peer has ended it: %s",
			 gnutls_alert_get_name(gnutls_alert_get(t->session)));
		break;
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		t->broken = -ECONNRESET;
		snprintf(why, sizeof(why), "the connection was cut off%s%s",
			 ret != GNUTLS_E_PREMATURE_TERMINATION && errnum ?
			 ": " : "",
			 ret != GNUTLS_E_PREMATURE_TERMINATION && errnum ?
			 strerror(errnum) : "");
		break;
	case GNUTLS_E_MEMORY_ERROR:
		t->broken = -ENOMEM;
		break;
	case GNUTLS_E_REHANDSHAKE:
	case GNUTLS_E_REAUTH_REQUEST:
		t->broken = -EPROTO;
		snprintf(why, sizeof(why),
			 "the peer wants a new handshake, which is not allowed");
		break;
	case GNUTLS_E_NO_CERTIFICATE_FOUND:
	case GNUTLS_E_CERTIFICATE_REQUIRED:
		t->broken = -EACCES;
		snprintf(why, sizeof(why), "the peer has no certificate%s",
			 t->creds->server ?
			 ", or none of one of our authorities" : "");
		break;
	case GNUTLS_E_CERTIFICATE_ERROR:
		t->broken = -EACCES;
		break;
	default:
		t->broken = -EPROTO;
	}
	/* What a callback has said is nearer to the cause. */
	if (t->error[0])
		return t->broken;
	if (!why[0])
		snprintf(why, sizeof(why), "%s", gnutls_strerror(ret));
	if (!t->up && t->creds->psk_server && t->broken == -EPROTO &&
	    strcmp(t->peer, "?"))
		snprintf(t->error, sizeof(t->error),
			 "user '%s' has another key: %s", t->peer, why);
	else if (!t->creds->server && t->up && !t->got &&
		 t->broken == -ECONNRESET)
		snprintf(t->error, sizeof(t->error),
			 "%s, before a byte came: it may have refused who we are",
			 why);
	else
		snprintf(t->error, sizeof(t->error), "%s", why);
	return t->broken;
}

/* The library's words for somebody who does not speak TLS are misleading. */
static int listen_for_tls(struct tls *t)
{
	unsigned char first;
	ssize_t n;

	n = recv(t->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n <= 0)
		return 0;
	if (first != RECORD_HANDSHAKE && first != RECORD_ALERT) {
		snprintf(t->error, sizeof(t->error),
			 "the peer does not speak TLS");
		t->broken = -EPROTO;
		return t->broken;
	}
	t->heard = true;
	return 0;
}

/* Whatever the library thinks, nobody gets in who was not looked at. */
static int check_authenticated(struct tls *t)
{
	gnutls_credentials_type_t type = gnutls_auth_get_type(t->session);
	const struct tls_creds *c = t->creds;
	gnutls_datum_t user;

	if (c->cert && type == GNUTLS_CRD_CERTIFICATE && t->verified)
		return 0;
	if (c->psk_client && type == GNUTLS_CRD_PSK) {
		printable(t->peer, sizeof(t->peer), c->self->name.data,
			  c->self->name.size);
		return 0;
	}
	if (c->psk_server && type == GNUTLS_CRD_PSK &&
	    !gnutls_psk_server_get_username2(t->session, &user) &&
	    may_enter(c, &user)) {
		printable(t->peer, sizeof(t->peer), user.data, user.size);
		return 0;
	}
	snprintf(t->error, sizeof(t->error),
		 "the peer did not prove who it is");
	t->broken = -EACCES;
	return t->broken;
}

int tls_handshake(struct tls *t)
{
	unsigned int warnings = 0;
	int ret, errnum;

	if (t->broken)
		return t->broken;
	if (t->up)
		return 0;
	if (!t->heard && listen_for_tls(t))
		return t->broken;
	do {
		errno = 0;
		ret = gnutls_handshake(t->session);
		errnum = errno;
	} while (ret == GNUTLS_E_INTERRUPTED ||
		 (ret == GNUTLS_E_WARNING_ALERT_RECEIVED &&
		  warnings++ < WARNINGS_MAX));
	if (ret == GNUTLS_E_AGAIN)
		return again(t);
	if (ret < 0) {
		broken(t, ret, errnum);
		if (t->alert)
			gnutls_alert_send(t->session, GNUTLS_AL_FATAL,
					  t->alert);
		else
			gnutls_alert_send_appropriate(t->session, ret);
		return t->broken;
	}
	if (check_authenticated(t))
		return t->broken;
	t->up = true;
	return 0;
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	unsigned int warnings = 0;
	int errnum;
	ssize_t n;

	if (t->broken)
		return t->broken;
	if (!t->up)
		return -ENOTCONN;
	if (t->eof || !len)
		return 0;
	do {
		errno = 0;
		n = gnutls_record_recv(t->session, buf, len);
		errnum = errno;
	} while (n == GNUTLS_E_INTERRUPTED ||
		 (n == GNUTLS_E_WARNING_ALERT_RECEIVED &&
		  warnings++ < WARNINGS_MAX));
	if (n == GNUTLS_E_AGAIN)
		return again(t);
	if (n < 0)
		return broken(t, n, errnum);
	if (n)
		t->got = true;
	else
		t->eof = true;
	return n;
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len)
{
	int errnum;
	ssize_t n;

	if (t->broken)
		return t->broken;
	if (!t->up)
		return -ENOTCONN;
	if (!len)
		return 0;
	do {
		errno = 0;
		/* What is pending has been encrypted: it cannot change. */
		n = t->write_pending ? gnutls_record_send(t->session, NULL, 0) :
				       gnutls_record_send(t->session, buf, len);
		errnum = errno;
		if (n == GNUTLS_E_INTERRUPTED)
			t->write_pending = true;
	} while (n == GNUTLS_E_INTERRUPTED);
	if (n == GNUTLS_E_AGAIN) {
		t->write_pending = true;
		return again(t);
	}
	t->write_pending = false;
	if (n < 0)
		return broken(t, n, errnum);
	if ((size_t)n > len) {
		snprintf(t->error, sizeof(t->error),
			 "a write was not repeated as it was begun");
		t->broken = -EINVAL;
		return t->broken;
	}
	return n;
}

int tls_bye(struct tls *t)
{
	int ret;

	if (t->broken || !t->up)
		return 0;
	do
		ret = gnutls_bye(t->session, GNUTLS_SHUT_WR);
	while (ret == GNUTLS_E_INTERRUPTED);
	return ret == GNUTLS_E_AGAIN ? again(t) : 0;
}

bool tls_wants_write(const struct tls *t)
{
	return t->wants_write;
}

size_t tls_pending(const struct tls *t)
{
	return t->up ? gnutls_record_check_pending(t->session) : 0;
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

const char *tls_peer(const struct tls *t)
{
	return t->peer;
}
