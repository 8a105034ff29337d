// SPDX-License-Identifier: GPL-2.0-only
/*
 * tapmig relay --listen|--connect ADDRESS [OPTION]...
 *
 * Carries the packets of holds to the holds of another host, which runs the
 * same program. The protocol is in docs/relay.md, the parts are in relay.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relay.h"

#define LINGER_MS	2000
#define LINGER_MAX_MS	3600000
#define BUFFER		(4UL << 20)
#define BUFFER_MIN	(64UL << 10)
/* Holds that are moved at once need one each. */
#define FILES		65536

int64_t relay_now(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

void relay_tell(const struct relay *r, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (!r->verbose)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err("%s", text);
}

const char *relay_hold_name(const struct relay_hold *rh)
{
	static char name[160];
	const struct hold *h = &rh->h;
	char label[TAPMIG_LABEL_MAX + 1], ifname[IFNAMSIZ];

	copy_printable(label, h->label, sizeof(label) - 1);
	copy_printable(ifname, h->ifname, sizeof(ifname) - 1);
	snprintf(name, sizeof(name), "hold %u (%s%s%s%s%s%s)", h->id,
		 rh->ns->name ? "netns " : "",
		 rh->ns->name ? rh->ns->name : "", rh->ns->name ? ", " : "",
		 *ifname ? ifname : "no device",
		 *label ? ", " : "", label);
	return name;
}

void relay_summary(struct relay *r, struct relay_hold *rh,
		   enum relay_end result)
{
	static const char *const results[RELAY_END_COUNT] = {
		"done", "gone", "cancelled", "discarded",
	};
	const struct relay_counts *n = &rh->counts;
	bool source = rh->h.role == TAPMIG_ROLE_SOURCE;

	rh->begun = false;
	rh->served = true;
	progress_end(&r->progress);
	r->over++;
	if (!room_for_line(STDOUT_FILENO))
		return;
	out_object(NULL);
	if (opt.json)
		out_string("event", NULL, COLOR_NONE, "done");
	out_string("result", "", result == RELAY_END_DONE ? COLOR_GOOD :
		   COLOR_BAD, results[result]);
	out_string("role", " ", COLOR_NONE, role_names[rh->h.role]);
	out_string("label", " label ", COLOR_NONE, rh->h.label);
	out_string("dev", " dev ", COLOR_NAME, rh->h.ifname);
	out_u64("packets", " packets ", COLOR_NONE, n->packets);
	out_u64("bytes", " bytes ", COLOR_NONE, n->bytes);
	out_u64("late", " late ", COLOR_NONE, n->late);
	out_u64("duplicates", " duplicates ", COLOR_NONE, n->duplicates);
	out_u64("resent", " resent ", COLOR_NONE, n->resent);
	out_u64("dropped", " dropped ", n->dropped ? COLOR_BAD : COLOR_NONE,
		n->dropped);
	out_u64("refused", " refused ", n->refused ? COLOR_BAD : COLOR_NONE,
		n->refused);
	if (source)
		out_u64("discarded", " discarded ", COLOR_NONE, n->discarded);
	if (source)
		out_u64("longest_wait_ms", " longest-wait-ms ", COLOR_NONE,
			n->longest_wait_ns / NSEC_PER_MSEC);
	out_line();
	out_object_end();
	fflush(stdout);
}

/* Is a transfer under way, or a pair to be expected to have its first. */
static bool waiting(const struct relay *r)
{
	const struct relay_hold *rh;

	TAILQ_FOREACH(rh, &r->holds, link)
		if (rh->chan && (rh->chan->state >= CHANNEL_MOVING ||
				 !rh->served))
			return true;
	return false;
}

static bool unfinished(const struct relay *r)
{
	const struct relay_hold *rh;

	TAILQ_FOREACH(rh, &r->holds, link)
		if (rh->begun)
			return true;
	return r->unfinished;
}

static void quit(struct relay *r)
{
	struct conn *c;

	if (r->quitting)
		return;
	r->quitting = true;
	resolver_stop(&r->resolver);
	TAILQ_FOREACH(c, &r->conns, link)
		conn_close(c, "%s", "");
	if (r->listen_fd >= 0)
		close(r->listen_fd);
	r->listen_fd = -1;
}

static void reap(struct relay *r)
{
	struct conn *c, *next;
	bool any = false;

	for (c = TAILQ_FIRST(&r->conns); c; c = next) {
		next = TAILQ_NEXT(c, link);
		if (!c->dead)
			continue;
		conn_free(c);
		any = true;
	}
	relay_holds_reap(r);
	r->pair_wanted |= any;
}

/* Work that needs no input. *timeout: until the next, in nanoseconds. */
static void work(struct relay *r, int64_t *timeout)
{
	int64_t now = relay_now(), next = NEVER;
	bool busy = false;
	struct conn *c;

	if (!r->listen && TAILQ_EMPTY(&r->conns) && !r->quitting &&
	    r->resolver.fd < 0) {
		if (now >= r->retry_at)
			relay_connect(r);
		next = r->retry_at;
	}
	if ((r->pair_wanted || now >= r->pair_at) && !r->quitting)
		relay_pair(r);
	TAILQ_FOREACH(c, &r->conns, link) {
		if (!c->dead)
			conn_timer(c, now, &next);
		if (!c->dead)
			source_pump(c);
		busy |= c->dead || source_busy(c) ||
			(c->tls && tls_pending(c->tls));
	}
	if (r->pair_at < next)
		next = r->pair_at;
	now = relay_now();
	*timeout = busy || next <= now ? 0 : next == NEVER ? -1 : next - now;
}

static int wait_and_serve(struct relay *r, int64_t timeout,
			  const sigset_t *mask)
{
	struct pollfd fds[2 * RELAY_CONNS_MAX + 2 * RELAY_FILTERS_MAX + 3];
	struct timespec ts = { .tv_sec = timeout / NSEC_PER_SEC,
			       .tv_nsec = timeout % NSEC_PER_SEC };
	struct conn *c, *conns[RELAY_CONNS_MAX + 1];
	unsigned int n = 0, i = 0, count = 0, answer = 0;
	struct relay_ns *ns;
	bool accepting = r->listen_fd >= 0;
	int ret;

	if (accepting)
		fds[n++] = (struct pollfd){ r->listen_fd, POLLIN, 0 };
	TAILQ_FOREACH(ns, &r->namespaces, link)
		fds[n++] = (struct pollfd){ nl_fd(&ns->events), POLLIN, 0 };
	TAILQ_FOREACH(c, &r->conns, link) {
		conns[count++] = c;
		fds[n++] = (struct pollfd){ c->rfd, conn_read_events(c), 0 };
		fds[n++] = (struct pollfd){ c->wfd, conn_write_events(c), 0 };
	}
	/* Behind all others. */
	if (r->resolver.fd >= 0) {
		answer = n;
		fds[n++] = (struct pollfd){ r->resolver.fd, POLLIN, 0 };
	}
	ret = ppoll(fds, n, timeout < 0 ? NULL : &ts, mask);
	if (ret < 0) {
		if (errno == EINTR)
			return 0;
		err("poll: %s", strerror(errno));
		return -errno;
	}
	n = accepting;
	TAILQ_FOREACH(ns, &r->namespaces, link)
		if (fds[n++].revents) {
			ret = relay_holds_event(r, ns);
			if (ret < 0)
				return ret;
		}
	for (i = 0; i < count; i++, n += 2) {
		c = conns[i];
		/* Of two ends the other may be gone, with nothing to write. */
		if (c->rfd != c->wfd && (fds[n + 1].revents & POLLERR)) {
			relay_tell(r, "%s does not read any more", c->name);
			conn_kill(c);
			continue;
		}
		if (fds[n].revents || (c->tls && tls_pending(c->tls)))
			conn_readable(c);
		/* What was answered just now goes out at once. */
		if (fds[n + 1].revents ||
		    (c->state != CONN_CONNECTING && conn_write_events(c)))
			conn_writable(c);
	}
	if (accepting && fds[0].revents)
		relay_accept(r);
	if (answer && fds[answer].revents)
		relay_resolved(r);
	return 0;
}

static int run(struct relay *r)
{
	sigset_t block, old;
	int64_t timeout;
	bool stdio;
	int ret = 0;

	/* Between ppoll() and ppoll() a signal waits. */
	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	catch_stop();
	stdio = r->addr.kind == ADDRESS_STDIO;
	if (stdio && !r->listen)
		relay_connect(r);
	while (!ret) {
		reap(r);
		if (stopped || (r->once && r->over && !waiting(r)) ||
		    (stdio && TAILQ_EMPTY(&r->conns)))
			quit(r);
		if (r->quitting && TAILQ_EMPTY(&r->conns))
			break;
		work(r, &timeout);
		ret = r->refused ? -EINVAL : wait_and_serve(r, timeout, &old);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return ret;
}

static const struct option options[] = {
	{ "listen", required_argument, NULL, 'l' },
	{ "connect", required_argument, NULL, 'c' },
	{ "label", required_argument, NULL, 'L' },
	{ "dev", required_argument, NULL, 'd' },
	{ "netns", required_argument, NULL, 'n' },
	{ "tls-creds", required_argument, NULL, 'C' },
	{ "tls-psk", required_argument, NULL, 'P' },
	{ "tls-user", required_argument, NULL, 'U' },
	{ "tls-hostname", required_argument, NULL, 'H' },
	{ "insecure", no_argument, NULL, 'I' },
	{ "linger", required_argument, NULL, 'g' },
	{ "buffer", required_argument, NULL, 'b' },
	{ "once", no_argument, NULL, 'o' },
	{ "verbose", no_argument, NULL, 'v' },
	{ 0 },
};

static int add_filter(const char **list, unsigned int *count, const char *name)
{
	if (*count == RELAY_FILTERS_MAX) {
		err("more than %u of --label, --dev or --netns",
		    RELAY_FILTERS_MAX);
		return -EINVAL;
	}
	list[(*count)++] = name;
	return 0;
}

/* A word of an option, taken as the rest of the tool does. */
static struct args word(const char **v)
{
	return (struct args){ .argc = 1, .argv = (char **)v };
}

static int parse(struct args *a, struct relay *r, const char **netns,
		 unsigned int *netns_count)
{
	const char *addr = NULL, *value;
	int c, ret = 0, index = 0;
	struct args w;

	optind = 0;
	while ((c = getopt_long(a->argc + 1, a->argv - 1, "", options,
				&index)) != -1) {
		value = optarg;
		w = word(&value);
		switch (c) {
		case 'l':
		case 'c':
			if (addr) {
				err("relay: only one of --listen and --connect, once");
				return -EINVAL;
			}
			addr = optarg;
			r->listen = c == 'l';
			break;
		case 'L':
			ret = add_filter(r->labels, &r->label_count, optarg);
			break;
		case 'd':
			ret = add_filter(r->devs, &r->dev_count, optarg);
			break;
		case 'n':
			ret = add_filter(netns, netns_count, optarg);
			break;
		case 'C':
			r->tls.creds_dir = optarg;
			break;
		case 'P':
			r->tls.psk_file = optarg;
			break;
		case 'U':
			r->tls.psk_user = optarg;
			break;
		case 'H':
			r->hostname = optarg;
			break;
		case 'I':
			r->insecure = true;
			break;
		case 'g':
			ret = arg_u64(&w, "--linger", &r->linger_ms);
			if (!ret && r->linger_ms > LINGER_MAX_MS) {
				err("--linger: more than %u ms", LINGER_MAX_MS);
				ret = -EINVAL;
			}
			break;
		case 'b':
			ret = arg_size(&w, "--buffer", &r->buffer);
			if (!ret && (r->buffer < BUFFER_MIN ||
				     r->buffer > 1UL << 30)) {
				err("--buffer: from 64K to 1G");
				ret = -EINVAL;
			}
			break;
		case 'o':
			r->once = true;
			break;
		case 'v':
			r->verbose = true;
			break;
		default:
			return -EINVAL;
		}
		if (ret)
			return ret;
	}
	if (optind < a->argc + 1) {
		arg_unknown(a->argv[optind - 1]);
		return -EINVAL;
	}
	if (!addr) {
		err("relay: --listen or --connect is needed, and an address");
		return -EINVAL;
	}
	ret = address_parse(&r->addr, addr, r->listen);
	if (ret)
		return ret;
	if (r->tls.creds_dir && r->tls.psk_file) {
		err("relay: only one of --tls-creds and --tls-psk");
		return -EINVAL;
	}
	if ((r->tls.creds_dir || r->tls.psk_file) &&
	    r->addr.kind != ADDRESS_TCP) {
		err("relay: TLS is for tcp addresses");
		return -EINVAL;
	}
	if ((r->tls.psk_user && !r->tls.psk_file) ||
	    (r->hostname && (!r->tls.creds_dir || r->listen))) {
		err("relay: --tls-user needs --tls-psk, --tls-hostname needs --tls-creds and --connect");
		return -EINVAL;
	}
	if (!r->hostname)
		r->hostname = r->addr.host;
	return 0;
}

/* The usual limit is for programs that use select(). */
static void allow_files(struct relay *r)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &r->files))
		return;
	l = r->files;
	if (l.rlim_cur >= FILES)
		return;
	l.rlim_cur = l.rlim_max < FILES ? l.rlim_max : FILES;
	setrlimit(RLIMIT_NOFILE, &l);
}

static int open_relay(struct relay *r, const char **netns,
		      unsigned int netns_count)
{
	struct relay_ns *ns;
	unsigned int i;
	int ret = 0;

	if (getrandom(r->instance, sizeof(r->instance), 0) !=
	    sizeof(r->instance) ||
	    getrandom(&r->label_key, sizeof(r->label_key), 0) !=
	    sizeof(r->label_key)) {
		err("random numbers: %s", strerror(errno));
		return -errno;
	}
	r->label_key |= 1;
	r->own_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (r->own_ns < 0) {
		err("/proc/self/ns/net: %s", strerror(errno));
		return -errno;
	}
	if (r->tls.creds_dir || r->tls.psk_file) {
		r->tls.server = r->listen;
		r->creds = tls_creds_load(&r->tls);
		if (!r->creds)
			return -EINVAL;
	}
	if (!netns_count)
		ret = relay_ns_add(r, NULL);
	for (i = 0; i < netns_count && !ret; i++)
		ret = relay_ns_add(r, netns[i]);
	/* Events are on by now: nothing is missed. */
	TAILQ_FOREACH(ns, &r->namespaces, link)
		if (!ret)
			ret = relay_holds_read(r, ns);
	if (!ret && r->listen)
		ret = relay_listen(r);
	return ret;
}

int cmd_relay(struct args *a)
{
	const char *netns[RELAY_FILTERS_MAX];
	unsigned int netns_count = 0;
	struct relay r = {
		.pair_at = NEVER,
		.linger_ms = LINGER_MS,
		.buffer = BUFFER,
		.own_ns = -1,
		.listen_fd = -1,
		.stdio = -1,
	};
	struct conn *c;
	bool failed;
	int ret;

	resolver_init(&r.resolver);
	TAILQ_INIT(&r.namespaces);
	TAILQ_INIT(&r.holds);
	TAILQ_INIT(&r.conns);
	/* One event, one line. */
	opt.pretty = false;
	ret = parse(a, &r, netns, &netns_count);
	if (ret)
		return EXIT_REFUSED;
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	if (r.addr.kind == ADDRESS_STDIO) {
		/* That is the connection: all else goes elsewhere. */
		r.stdio = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		if (r.stdio < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
			err("standard output: %s", strerror(errno));
			return EXIT_REFUSED;
		}
	}
	never_wait();
	allow_files(&r);
	progress_start(&r.progress, "relayed", 0);
	ret = open_relay(&r, netns, netns_count);
	if (!ret)
		ret = run(&r);
	progress_end(&r.progress);
	failed = unfinished(&r);
	resolver_stop(&r.resolver);
	while ((c = TAILQ_FIRST(&r.conns)))
		conn_free(c);
	if (r.addr.kind == ADDRESS_UNIX && r.listen && r.listening)
		unlink(r.addr.rest);
	relay_holds_free(&r);
	tls_creds_free(r.creds);
	if (r.own_ns >= 0)
		close(r.own_ns);
	if (!ret && failed && (r.once || r.addr.kind == ADDRESS_STDIO)) {
		err("relay: a transfer was not brought to its end");
		ret = -EINVAL;
	}
	return exit_code(ret);
}
