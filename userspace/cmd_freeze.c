// SPDX-License-Identifier: GPL-2.0-only
/*
 * tapmig freeze id N
 * tapmig freeze dev IFNAME ...
 *
 * The second form is for a program that knows nothing of holds: its queues
 * are found in /proc, taken from it, and given to a hold without an owner.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <linux/if_tun.h>
#include <linux/kcmp.h>

#include "tool.h"

#define TUN_MAJOR	10
#define TUN_MINOR	200

/**
 * struct queue - an open queue of the device
 * @pid: process that has it
 * @number: its fd there
 * @fd: ours, -1 while not taken
 * @tun: not of a macvtap or ipvtap device
 * @leave: another process's fd for the same queue, or not of this device
 */
struct queue {
	pid_t pid;
	int number;
	int fd;
	bool tun;
	bool leave;
};

struct freeze {
	const char *dev;
	unsigned int ifindex;
	pid_t pid;
	bool wanted[TAPMIG_MAX_QUEUES];
	bool some;
	struct queue *queues;
	size_t count;
	size_t denied;
	/* Why open files could not be compared; 0 if they could. */
	int unknown;
	struct tapmig_create create;
};

/* "iff:" of a tun queue's fdinfo, if it is attached to anything. */
static bool fdinfo_names(pid_t pid, int number, const char *dev)
{
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, number);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		found = !strncmp(line, "iff:\t", 5) && !strcmp(line + 5, dev);
	}
	fclose(f);
	return found;
}

static int add_queue(struct freeze *f, pid_t pid, int number, bool tun)
{
	struct queue *all;

	/* Powers of two: grown only when full. */
	if (!(f->count & (f->count - 1))) {
		all = realloc(f->queues, sizeof(*all) *
			      (f->count ? f->count * 2 : 1));
		if (!all) {
			err("out of memory");
			return -ENOMEM;
		}
		f->queues = all;
	}
	f->queues[f->count++] = (struct queue){
		.pid = pid, .number = number, .fd = -1, .tun = tun,
	};
	return 0;
}

static int scan_process(struct freeze *f, pid_t pid)
{
	char path[64], link[256], tap[32], *base;
	struct dirent *e;
	struct statx st;
	int ret = 0;
	ssize_t n;
	DIR *d;

	snprintf(tap, sizeof(tap), "tap%u", f->ifindex);
	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d) {
		if (errno == EACCES || errno == EPERM)
			f->denied++;
		return 0;
	}
	while (!ret && (e = readdir(d))) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		/* Of others' files only what is known: a server may be down. */
		if (statx(dirfd(d), e->d_name, AT_STATX_DONT_SYNC, STATX_TYPE,
			  &st) || !S_ISCHR(st.stx_mode))
			continue;
		if (st.stx_rdev_major == TUN_MAJOR &&
		    st.stx_rdev_minor == TUN_MINOR) {
			if (fdinfo_names(pid, atoi(e->d_name), f->dev))
				ret = add_queue(f, pid, atoi(e->d_name), true);
			continue;
		}
		/* Its own mount namespace may show it at another place. */
		n = readlinkat(dirfd(d), e->d_name, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = 0;
		base = strrchr(link, '/');
		if (base && !strcmp(base + 1, tap))
			ret = add_queue(f, pid, atoi(e->d_name), false);
	}
	closedir(d);
	return ret;
}

static int compare(const void *a, const void *b)
{
	const struct queue *x = a, *y = b;

	return x->pid != y->pid ? (x->pid < y->pid ? -1 : 1) :
	       (x->number > y->number) - (x->number < y->number);
}

static int scan(struct freeze *f)
{
	struct dirent *e;
	int ret = 0;
	pid_t pid;
	DIR *d;

	if (f->pid) {
		ret = scan_process(f, f->pid);
	} else {
		d = opendir("/proc");
		if (!d) {
			err("/proc: %s", strerror(errno));
			return -EIO;
		}
		while (!ret && (e = readdir(d))) {
			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			pid = atoi(e->d_name);
			if (pid != getpid())
				ret = scan_process(f, pid);
		}
		closedir(d);
	}
	if (f->count)
		qsort(f->queues, f->count, sizeof(*f->queues), compare);
	return ret;
}

/* A device of this name may exist in other network namespaces too. */
static bool is_ours(const struct freeze *f, const struct queue *q)
{
	struct stat ours, theirs;
	struct ifreq ifr = { 0 };
	bool same;
	int fd;

	if (ioctl(q->fd, TUNGETIFF, &ifr) ||
	    strncmp(ifr.ifr_name, f->dev, IFNAMSIZ))
		return false;
	if (!q->tun)
		return true;	/* ADD_QUEUE compares the device itself. */
	fd = ioctl(q->fd, TUNGETDEVNETNS);
	if (fd < 0)
		return true;
	same = !fstat(fd, &theirs) && !stat("/proc/self/ns/net", &ours) &&
	       ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
	close(fd);
	return same;
}

/*
 * Without kcmp(2) they are taken for two; if they are not, ADD_QUEUE refuses
 * the second. Most queues are open once.
 */
static bool same_file(struct freeze *f, int a, int b)
{
	pid_t pid = getpid();
	int ret;

	ret = syscall(SYS_kcmp, pid, pid, KCMP_FILE, a, b);
	if (ret < 0)
		f->unknown = errno;
	return !ret;
}

static void say_if_unknown(const struct freeze *f)
{
	if (f->unknown)
		err("kcmp: %s: two fds of one open queue are taken for two queues",
		    strerror(f->unknown));
}

static int take(struct freeze *f, struct queue *q)
{
	size_t i;
	int pidfd;

	pidfd = syscall(SYS_pidfd_open, q->pid, 0);
	if (pidfd < 0) {
		/* It has ended since. */
		q->leave = errno == ESRCH;
		if (q->leave)
			return 0;
		err("process %d: %s", q->pid, strerror(errno));
		return -EPERM;
	}
	q->fd = syscall(SYS_pidfd_getfd, pidfd, q->number, 0);
	close(pidfd);
	if (q->fd < 0) {
		q->leave = errno == ESRCH || errno == EBADF;
		if (q->leave)
			return 0;
		err("taking fd %d of process %d: %s", q->number, q->pid,
		    strerror(errno));
		return -EPERM;
	}
	if (!is_ours(f, q)) {
		q->leave = true;
		return 0;
	}
	for (i = 0; &f->queues[i] < q; i++)
		if (!f->queues[i].leave &&
		    same_file(f, f->queues[i].fd, q->fd))
			q->leave = true;
	return 0;
}

static int take_all(struct freeze *f)
{
	const struct queue *first = NULL;
	size_t i;
	int ret;

	for (i = 0; i < f->count; i++) {
		struct queue *q = &f->queues[i];

		ret = take(f, q);
		if (ret)
			return ret;
		if (q->leave)
			continue;
		if (first && first->pid != q->pid) {
			err("processes %d and %d both have queues of %s: name one (pid PID)",
			    first->pid, q->pid, f->dev);
			say_if_unknown(f);
			return -ENOTUNIQ;
		}
		first = q;
	}
	if (first)
		return 0;
	if (f->pid)
		err("process %d has no queue of %s open", f->pid, f->dev);
	else
		err("no process has a queue of %s open", f->dev);
	if (f->denied)
		err("%zu processes could not be looked at for lack of permission",
		    f->denied);
	return -ESRCH;
}

static int device_error(const char *what)
{
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
		err("%s: the tapmig module is not loaded (modprobe tapmig)",
		    what);
	else
		err("%s: %s", what, strerror(errno));
	return -EIO;
}

static int create(struct freeze *f)
{
	int dev, fd;

	dev = open("/dev/" TAPMIG_DEVICE_NAME, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return device_error("/dev/" TAPMIG_DEVICE_NAME);
	f->create.size = sizeof(f->create);
	f->create.abi_version = TAPMIG_ABI_VERSION;
	f->create.flags = TAPMIG_HOLD_FLAGS_PINNED;
	f->create.ifindex = f->ifindex;
	fd = ioctl(dev, TAPMIG_CREATE, &f->create);
	if (fd < 0) {
		if (errno == EPROTO)
			err("the tapmig module has another ABI version than this tool (%s, %u): install both from one release",
			    TAPMIG_VERSION, TAPMIG_ABI_VERSION);
		else if (errno == EPERM)
			err("freeze: not permitted: this needs CAP_NET_ADMIN, limits above the usual ones need it in the initial user namespace");
		else
			err("making a hold: %s", strerror(errno));
		fd = -EIO;
	}
	close(dev);
	return fd;
}

static int add_all(struct freeze *f, int hold, pid_t *pid)
{
	struct tapmig_add_queue add = { .size = sizeof(add) };
	unsigned int index = 0, added = 0;
	size_t i;

	for (i = 0; i < f->count; i++) {
		const struct queue *q = &f->queues[i];

		if (q->leave)
			continue;
		if (index == TAPMIG_MAX_QUEUES) {
			err("%s has more than %d queues", f->dev,
			    TAPMIG_MAX_QUEUES);
			return -E2BIG;
		}
		if (f->some && !f->wanted[index]) {
			index++;
			continue;
		}
		add.fd = q->fd;
		add.index = index;
		if (ioctl(hold, TAPMIG_ADD_QUEUE, &add)) {
			/* Device numbers repeat in network namespaces. */
			if (errno == EXDEV && !q->tun)
				continue;
			if (errno == EEXIST)
				err("queue %u of %s (fd %d of process %d) belongs to a hold already; see tapmig show dev %s",
				    index, f->dev, q->number, q->pid, f->dev);
			else
				err("queue %u of %s (fd %d of process %d): %s",
				    index, f->dev, q->number, q->pid,
				    strerror(errno));
			say_if_unknown(f);
			return -EBUSY;
		}
		*pid = q->pid;
		f->wanted[index] = false;
		index++;
		added++;
	}
	for (i = 0; f->some && i < TAPMIG_MAX_QUEUES; i++) {
		if (!f->wanted[i])
			continue;
		err("there is no queue %zu: %s has %u open", i, f->dev, index);
		return -ENOENT;
	}
	if (!added) {
		err("no process has a queue of %s open", f->dev);
		return -ESRCH;
	}
	return added;
}

static int freeze_dev(struct freeze *f)
{
	struct tapmig_prepare prepare = { .size = sizeof(prepare) };
	struct tapmig_freeze freeze = { .size = sizeof(freeze) };
	struct tapmig_thaw thaw = { .size = sizeof(thaw),
				    .flags = TAPMIG_THAW_WAIT };
	sigset_t all, old;
	int hold, added, ret;
	pid_t pid = 0;

	ret = scan(f);
	if (!ret)
		ret = take_all(f);
	if (ret)
		return ret;
	hold = create(f);
	if (hold < 0)
		return hold;
	/* Until FREEZE the end of this process undoes everything. */
	added = add_all(f, hold, &pid);
	if (added < 0) {
		ret = added;
		goto out;
	}
	if (ioctl(hold, TAPMIG_PREPARE, &prepare)) {
		ret = -errno;
		err("enlarging the queues of %s: %s", f->dev,
		    strerror(errno));
		goto out;
	}
	/* Who gets a frozen hold is told its number. */
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	if (ioctl(hold, TAPMIG_FREEZE, &freeze)) {
		ret = -errno;
		err("freezing %s: %s", f->dev, strerror(errno));
	} else {
		out_object(NULL);
		out_u64("id", "id ", COLOR_ID, f->create.id);
		out_string("ifname", " dev ", COLOR_NAME, f->dev);
		out_u64("queues", " queues ", COLOR_NONE, added);
		out_u64("pid", " pid ", COLOR_NONE, pid);
		out_line();
		out_object_end();
		/* Who was not told of it could not end it. */
		if (out_finish()) {
			ioctl(hold, TAPMIG_THAW, &thaw);
			ret = -EIO;
		}
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
out:
	close(hold);
	return ret;
}

static int freeze_id(uint32_t id)
{
	struct nlmsghdr *nlh;
	char what[32];
	struct nl nl;
	int ret;

	ret = nl_open(&nl);
	if (ret)
		return ret;
	snprintf(what, sizeof(what), "freeze hold %u", id);
	nlh = nl_request(&nl, TAPMIG_CMD_HOLD_FREEZE);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
	ret = nl_do(&nl, what, NULL, NULL);
	if (!ret) {
		out_object(NULL);
		out_u64("id", "id ", COLOR_ID, id);
		out_line();
		out_object_end();
	}
	nl_close(&nl);
	return ret;
}

static int parse_option(struct args *a, const char *word, struct freeze *f)
{
	struct tapmig_create *c = &f->create;
	const char *s;
	uint32_t v;
	uint64_t n;

	if (!strcmp(word, "queue")) {
		if (arg_u32(a, word, &v))
			return -EINVAL;
		if (v >= TAPMIG_MAX_QUEUES) {
			err("queue: %u is too large", v);
			return -EINVAL;
		}
		f->wanted[v] = true;
		f->some = true;
		return 0;
	}
	if (!strcmp(word, "pid")) {
		if (arg_u32(a, word, &v))
			return -EINVAL;
		if (!v || v > INT32_MAX) {
			err("pid: %u is out of range", v);
			return -EINVAL;
		}
		f->pid = v;
		return 0;
	}
	if (!strcmp(word, "role"))
		return arg_enum(a, word, role_names, ROLE_COUNT, &c->role);
	if (!strcmp(word, "mac"))
		return arg_mac(a, word, c->mac);
	if (!strcmp(word, "label")) {
		s = arg_value(a, word);
		if (!s)
			return -EINVAL;
		if (strlen(s) > TAPMIG_LABEL_MAX) {
			err("label: '%s' is longer than %d bytes", s,
			    TAPMIG_LABEL_MAX);
			return -EINVAL;
		}
		strcpy(c->label, s);
		return 0;
	}
	if (!strcmp(word, "max-frozen-ms") || !strcmp(word, "max-packets")) {
		if (arg_u32(a, word, &v))
			return -EINVAL;
		n = v;
	} else if (!strcmp(word, "max-bytes")) {
		if (arg_size(a, word, &n))
			return -EINVAL;
	} else {
		arg_unknown(word);
		return -EINVAL;
	}
	if (!n) {
		/* For the kernel it stands for the default. */
		err("%s: 0 is out of range", word);
		return -EINVAL;
	}
	if (word[4] == 'f')
		c->max_frozen_ms = n;
	else if (word[4] == 'p')
		c->max_packets = n;
	else
		c->max_bytes = n;
	return 0;
}

int cmd_freeze(struct args *a)
{
	struct selector sel = { 0 };
	struct freeze f = { 0 };
	const char *first = NULL;
	size_t i;
	int ret;

	while (arg_peek(a)) {
		if (!strcmp(arg_peek(a), "label")) {
			ret = 0;
		} else {
			ret = arg_selector(a, &sel);
			if (ret < 0)
				return EXIT_REFUSED;
		}
		if (ret)
			continue;
		first = first ? first : arg_peek(a);
		if (parse_option(a, arg_next(a), &f))
			return EXIT_REFUSED;
	}
	if (!sel.id && !sel.dev) {
		err("freeze: what? (id N or dev IFNAME)");
		return EXIT_REFUSED;
	}
	if (sel.id) {
		if (first) {
			err("%s: goes with dev only; a hold that exists has its own",
			    first);
			return EXIT_REFUSED;
		}
		return exit_code(freeze_id(sel.id));
	}
	f.dev = sel.dev;
	f.ifindex = if_nametoindex(f.dev);
	if (!f.ifindex) {
		err("device %s: %s", f.dev, strerror(errno));
		return EXIT_REFUSED;
	}
	ret = freeze_dev(&f);
	for (i = 0; i < f.count; i++)
		if (f.queues[i].fd >= 0)
			close(f.queues[i].fd);
	free(f.queues);
	/* A missing device or process is no missing hold. */
	return ret ? EXIT_REFUSED : EXIT_OK;
}
