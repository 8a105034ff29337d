// SPDX-License-Identifier: GPL-2.0-only
/* Messages, words of the command line, signals. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

static bool waits_never;
static unsigned long dropped;

void never_wait(void)
{
	waits_never = true;
}

bool would_wait(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };

	return waits_never && !poll(&pfd, 1, 0);
}

bool room_for_line(int fd)
{
	if (would_wait(fd)) {
		dropped++;
		return false;
	}
	if (fd != STDERR_FILENO || !dropped)
		return true;
	fprintf(stderr, "tapmig: %lu lines were dropped, as nobody read them\n",
		dropped);
	dropped = 0;
	return room_for_line(fd);
}

void err(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	if (!room_for_line(STDERR_FILENO))
		return;
	fputs("tapmig: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

const char *arg_peek(const struct args *a)
{
	return a->argc ? a->argv[0] : NULL;
}

const char *arg_next(struct args *a)
{
	if (!a->argc)
		return NULL;
	a->argc--;
	return *a->argv++;
}

const char *arg_value(struct args *a, const char *keyword)
{
	const char *s = arg_next(a);

	if (!s)
		err("%s: a value is missing", keyword);
	return s;
}

int parse_u64(const char *s, uint64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)*s))
		return -EINVAL;
	errno = 0;
	*v = strtoull(s, &end, 10);
	if (errno)
		return -ERANGE;
	return *end ? -EINVAL : 0;
}

int arg_u64(struct args *a, const char *keyword, uint64_t *v)
{
	const char *s = arg_value(a, keyword);

	if (!s)
		return -EINVAL;
	if (parse_u64(s, v)) {
		err("%s: '%s' is not a number", keyword, s);
		return -EINVAL;
	}
	return 0;
}

int arg_u32(struct args *a, const char *keyword, uint32_t *v)
{
	uint64_t big;

	if (arg_u64(a, keyword, &big))
		return -EINVAL;
	if (big > UINT32_MAX) {
		err("%s: %llu is too large", keyword,
		    (unsigned long long)big);
		return -EINVAL;
	}
	*v = big;
	return 0;
}

int arg_size(struct args *a, const char *keyword, uint64_t *v)
{
	static const char units[] = "KMG";
	const char *s = arg_value(a, keyword), *unit;
	unsigned int shift = 0;
	char digits[32];
	size_t n;

	if (!s)
		return -EINVAL;
	n = strspn(s, "0123456789");
	if (!n || n >= sizeof(digits))
		goto bad;
	memcpy(digits, s, n);
	digits[n] = 0;
	if (s[n]) {
		unit = strchr(units, toupper((unsigned char)s[n]));
		if (!unit || s[n + 1])
			goto bad;
		shift = 10 * (unit - units + 1);
	}
	if (parse_u64(digits, v) || *v > UINT64_MAX >> shift)
		goto bad;
	*v <<= shift;
	return 0;
bad:
	err("%s: '%s' is not a size (bytes, or with K, M or G)", keyword, s);
	return -EINVAL;
}

int arg_mac(struct args *a, const char *keyword, uint8_t *mac)
{
	const char *s = arg_value(a, keyword);
	char end;

	if (!s)
		return -EINVAL;
	if (strlen(s) != 17 ||
	    sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%c", &mac[0],
		   &mac[1], &mac[2], &mac[3], &mac[4], &mac[5], &end) != 6) {
		err("%s: '%s' is not a MAC address", keyword, s);
		return -EINVAL;
	}
	return 0;
}

int arg_enum(struct args *a, const char *keyword, const char *const *names,
	     unsigned int count, uint32_t *v)
{
	const char *s = arg_value(a, keyword);
	unsigned int i;

	if (!s)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		if (strcmp(s, names[i]))
			continue;
		*v = i;
		return 0;
	}
	fprintf(stderr, "tapmig: %s: '%s' is not one of", keyword, s);
	for (i = 0; i < count; i++)
		fprintf(stderr, "%s %s", i ? "," : "", names[i]);
	fputc('\n', stderr);
	return -EINVAL;
}

int arg_on_off(struct args *a, const char *keyword, bool *v)
{
	static const char *const names[] = { "off", "on" };
	uint32_t n;

	if (arg_enum(a, keyword, names, 2, &n))
		return -EINVAL;
	*v = n;
	return 0;
}

int arg_unknown(const char *arg)
{
	err("'%s' is not understood here", arg);
	return EXIT_REFUSED;
}

uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

void copy_printable(char *to, const void *from, size_t len)
{
	const unsigned char *p = from;
	size_t i;

	for (i = 0; i < len && p[i]; i++)
		to[i] = p[i] < 0x20 || p[i] >= 0x7f ? '?' : p[i];
	to[i] = 0;
}

int netns_open(const char *name)
{
	char path[256];
	uint64_t pid;
	int fd;

	if (!parse_u64(name, &pid))
		snprintf(path, sizeof(path), "/proc/%llu/ns/net",
			 (unsigned long long)pid);
	else
		snprintf(path, sizeof(path), "%s%s",
			 *name == '/' ? "" : "/run/netns/", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		err("network namespace '%s': %s", name, strerror(errno));
	return fd;
}

volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
	stopped = sig;
}

void catch_stop(void)
{
	struct sigaction sa = { .sa_handler = on_stop,
				.sa_flags = SA_RESETHAND };

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

/* Until fd can be read or a signal stops us, without a gap in between. */
int wait_readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	sigset_t block, old;
	int ret = 0;

	sigemptyset(&block);
	sigaddset(&block, SIGINT);
	sigaddset(&block, SIGTERM);
	sigprocmask(SIG_BLOCK, &block, &old);
	while (!stopped) {
		ret = ppoll(&pfd, 1, NULL, &old);
		if (ret >= 0 || errno != EINTR)
			break;
	}
	if (ret < 0)
		ret = -errno;
	sigprocmask(SIG_SETMASK, &old, NULL);
	return stopped ? -EINTR : ret < 0 ? ret : 0;
}
