// SPDX-License-Identifier: GPL-2.0-only
/*
 * tapmig export SELECTOR [from SEQ] [to SEQ] [commit] [follow] [force]
 *	[FILE|-]
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/genetlink.h>

#include "capture.h"
#include "tool.h"
#include "transfer.h"

/**
 * struct export - an export under way
 * @hold: what is exported
 * @first: first packet wanted
 * @from: first packet to ask for next
 * @to: last one wanted
 * @commit: free in the hold what is safely in the file
 * @follow: go on until the hold has ended
 * @force: overwrite
 * @ended: the hold has no more packets
 * @file: its name, NULL: standard output
 * @fd: the file
 * @regular: it can be synced
 * @written: bytes in the file
 * @w: builds the blocks
 * @last: highest number of a packet written whole, 0: none
 * @committed: last one committed
 * @packets: packets made into blocks
 * @bytes: their bytes
 * @written_packets: of them in the file
 * @progress: for the terminal
 * @in: puts packets together
 */
struct export {
	struct hold hold;
	uint64_t first;
	uint64_t from;
	uint64_t to;
	bool commit;
	bool follow;
	bool force;
	bool ended;
	const char *file;
	int fd;
	bool regular;
	uint64_t written;
	struct pcapng_writer w;
	uint64_t last;
	uint64_t committed;
	uint64_t packets;
	uint64_t bytes;
	uint64_t written_packets;
	struct progress progress;
	struct packet_reader in;
};

static const char *file_name(const struct export *x)
{
	return x->file ? x->file : "standard output";
}

/* Whole blocks come here: what stands before them is valid by itself. */
static int write_blocks(void *ctx, const void *data, size_t len)
{
	struct export *x = ctx;
	size_t done = 0;
	ssize_t n;
	int ret;

	while (done < len) {
		n = write(x->fd, (const char *)data + done, len - done);
		if (n >= 0) {
			done += n;
			continue;
		}
		/* A second signal kills; the first waits for the block. */
		if (errno == EINTR)
			continue;
		ret = -errno;
		err("%s: %s", file_name(x), strerror(errno));
		/* Standard output may have been there before. */
		if (x->file && x->regular && done &&
		    ftruncate(x->fd, x->written))
			err("%s: ends with a partial packet: %s", x->file,
			    strerror(errno));
		return ret;
	}
	x->written += len;
	x->written_packets = x->packets;
	return 0;
}

/* What the kernel refuses at once; before a file is replaced by nothing. */
static int has_packets(const struct export *x)
{
	if (x->follow || (x->hold.state != TAPMIG_STATE_ARMED &&
			  x->hold.state != TAPMIG_STATE_LIVE))
		return 0;
	return hold_not_frozen(&x->hold, "export of");
}

static int open_file(struct export *x)
{
	int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	struct stat st;

	if (!x->file) {
		x->fd = STDOUT_FILENO;
		if (isatty(x->fd)) {
			err("export: packets are not written to a terminal");
			return -EINVAL;
		}
		goto check;
	}
	if (x->force && !lstat(x->file, &st)) {
		/* A new file: the old one's mode could let others read. */
		if (S_ISREG(st.st_mode)) {
			if (unlink(x->file)) {
				err("%s: %s", x->file, strerror(errno));
				return -EIO;
			}
		} else {
			flags &= ~(O_CREAT | O_EXCL);
		}
	}
	x->fd = open(x->file, flags, 0600);
	if (x->fd < 0) {
		err("%s: %s%s", x->file, strerror(errno),
		    errno == EEXIST ? " (force overwrites it)" : "");
		return -EIO;
	}
check:
	if (!fstat(x->fd, &st))
		x->regular = S_ISREG(st.st_mode);
	return 0;
}

static int finish_packet(struct export *x)
{
	const struct packet *p = &x->in.pkt;
	int ret;

	ret = pcapng_packet(&x->w, p);
	if (ret)
		return ret;
	/* Segments share a number: done with it after the last. */
	if (!(p->has & PACKET_SEGMENT) || p->sub + 1 >= p->subs) {
		if (p->seq > x->last)
			x->last = p->seq;
		else	/* Given back late: commit, but go on from the last. */
			x->committed = 0;
	}
	x->packets++;
	x->bytes += p->len;
	progress_update(&x->progress, x->packets, x->packets, x->bytes);
	return 0;
}

static int packet_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct export *x = arg;
	const struct nlattr *a;
	int ret;

	mnl_attr_for_each(a, nlh, GENL_HDRLEN) {
		if (mnl_attr_get_type(a) != TAPMIG_A_TRANSFER_PACKET)
			continue;
		ret = packet_chunk(&x->in, a);
		if (ret > 0 && x->in.pkt.seq > x->to)
			return NL_STOP;
		/* What was given back late comes with each dump. */
		if (ret > 0)
			ret = x->in.pkt.seq < x->first ? 0 : finish_packet(x);
		if (ret)
			return ret;
	}
	return stopped ? NL_STOP : 0;
}

static int commit(struct export *x, struct nl *nl)
{
	struct nlmsghdr *nlh;
	int ret;

	if (!x->commit || x->last == x->committed)
		return 0;
	if (x->regular && fdatasync(x->fd)) {
		err("%s: %s", file_name(x), strerror(errno));
		return -EIO;
	}
	nlh = nl_request(nl, TAPMIG_CMD_PACKET_COMMIT);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, x->hold.id);
	mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, x->last);
	ret = nl_do_silent(nl, "commit", NULL, NULL);
	if (ret == -ENOENT || ret == -ENODEV) {
		err("hold %u is gone: nothing is left to commit", x->hold.id);
		return 0;
	}
	if (ret == -EBUSY && x->follow) {
		err("hold %u is thawed: its guest gets what was not committed",
		    x->hold.id);
		ret = 0;
	} else if (ret) {
		err("%s", nl->error);
	}
	x->committed = x->last;
	return ret;
}

/* What the hold has now. */
static int pass(struct export *x, struct nl *nl)
{
	struct nlmsghdr *nlh;
	char what[64];
	int ret, err2;

	snprintf(what, sizeof(what), "export of hold %u", x->hold.id);
	nlh = nl_request(nl, TAPMIG_CMD_PACKET_GET);
	mnl_attr_put_u32(nlh, TAPMIG_A_TRANSFER_HOLD_ID, x->hold.id);
	if (x->from)
		mnl_attr_put_u64(nlh, TAPMIG_A_TRANSFER_SEQ, x->from);
	x->in.partial = false;
	nl->silent = x->follow;
	*nl->error = 0;
	ret = nl_dump(nl, what, packet_cb, x);
	nl->silent = false;
	if (ret == NL_STOP) {
		/* The rest of the dump is in the old socket. */
		nl_close(nl);
		ret = nl_open(nl);
		x->ended = true;
	} else if (x->follow && (ret == -ENOENT || ret == -ENODEV)) {
		x->ended = true;
		ret = 0;
	} else if (x->follow && ret == -EBUSY) {
		/* Not frozen: it has nothing now. */
		ret = 0;
	} else if (x->follow && *nl->error) {
		err("%s", nl->error);
	}
	if (x->last)
		x->from = x->last + 1;
	if (x->last >= x->to)
		x->ended = true;
	/* What came before an error is good. */
	err2 = pcapng_flush(&x->w);
	if (!err2 && nl->mnl)
		err2 = commit(x, nl);
	return ret ? ret : err2;
}

static int follow_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct export *x = arg;
	struct hold h;

	hold_parse(nlh, &h);
	if (h.id != x->hold.id)
		return 0;
	x->hold.state = h.state;
	x->hold.highest_seq = h.highest_seq;
	if (!h.gone)
		return 0;
	x->ended = true;
	return NL_STOP;
}

/* The hold as it is now, when an event may have been lost. */
static int look(struct export *x, struct nl *nl)
{
	struct nlmsghdr *nlh = nl_request(nl, TAPMIG_CMD_HOLD_GET);
	int ret;

	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, x->hold.id);
	ret = nl_do_quiet(nl, "export", follow_cb, x, ENOENT);
	if (ret == -ENOENT)
		x->ended = true;
	return ret < 0 && ret != -ENOENT ? ret : 0;
}

/* Until there is something new; events are read, never polled for. */
static int wait_more(struct export *x, struct nl *nl, struct nl *events)
{
	uint64_t seen = x->hold.highest_seq;
	int ret;

	while (!x->ended && !stopped) {
		ret = wait_readable(nl_fd(events));
		if (ret == -EINTR)
			return 0;
		if (ret)
			return ret;
		ret = nl_events_read(events, follow_cb, x);
		if (ret == -ENOBUFS)	/* The next pass sees what there is. */
			return look(x, nl);
		if (ret < 0)
			return ret;
		if (x->hold.highest_seq != seen ||
		    x->hold.state == TAPMIG_STATE_DEAD)
			return 0;
	}
	return 0;
}

static int run(struct export *x, struct nl *nl, struct nl *events)
{
	bool dead;
	int ret;

	for (;;) {
		/* Dead: nothing comes any more, the next pass is the last. */
		dead = x->hold.state == TAPMIG_STATE_DEAD;
		ret = pass(x, nl);
		if (ret || !x->follow || x->ended || dead || stopped)
			return ret;
		ret = wait_more(x, nl, events);
		if (ret || x->ended || stopped)
			return ret;
	}
}

static int parse(struct args *a, struct export *x, struct selector *sel)
{
	const char *word;
	int ret;

	while (arg_peek(a)) {
		ret = arg_selector(a, sel);
		if (ret < 0)
			return -EINVAL;
		if (ret)
			continue;
		word = arg_next(a);
		ret = 0;
		if (!strcmp(word, "from"))
			ret = arg_u64(a, word, &x->first);
		else if (!strcmp(word, "to"))
			ret = arg_u64(a, word, &x->to);
		else if (!strcmp(word, "commit"))
			x->commit = true;
		else if (!strcmp(word, "follow") || !strcmp(word, "--follow"))
			x->follow = true;
		else if (!strcmp(word, "force"))
			x->force = true;
		else if (arg_peek(a) || (*word == '-' && word[1]))
			ret = -arg_unknown(word);
		else if (strcmp(word, "-"))
			x->file = word;
		if (ret)
			return -EINVAL;
	}
	if (!sel->id && !sel->dev && !sel->label) {
		err("export: which hold? (id N, dev IFNAME or label GLOB)");
		return -EINVAL;
	}
	if (x->first > x->to) {
		err("export: from %llu is after to %llu",
		    (unsigned long long)x->first, (unsigned long long)x->to);
		return -EINVAL;
	}
	if (x->commit && x->first) {
		err("export: commit frees all packets up to the last one written, also those that 'from' leaves out");
		return -EINVAL;
	}
	x->from = x->first;
	return 0;
}

int cmd_export(struct args *a)
{
	struct nl nl = { 0 }, events = { 0 };
	struct selector sel = { 0 };
	struct export *x;
	int ret;

	x = calloc(1, sizeof(*x));
	if (!x) {
		err("out of memory");
		return EXIT_REFUSED;
	}
	x->to = UINT64_MAX;
	x->fd = -1;
	ret = parse(a, x, &sel);
	if (ret)
		goto out;
	ret = nl_open(&nl);
	if (!ret && x->follow) {
		/* Before the first look, so that nothing is missed. */
		ret = nl_open(&events);
		if (!ret)
			ret = nl_events_join(&events);
	}
	if (!ret)
		ret = selector_resolve_one(&nl, &sel, &x->hold);
	if (!ret)
		ret = has_packets(x);
	if (!ret) {
		ret = pcapng_open(&x->w, write_blocks, x);
		if (ret)
			err("out of memory");
	}
	if (!ret)
		ret = open_file(x);
	if (ret)
		goto out;
	catch_stop();
	signal(SIGPIPE, SIG_IGN);
	progress_start(&x->progress, "exported",
		       x->follow ? 0 : x->hold.held_packets);
	pcapng_section(&x->w, "tapmig " TAPMIG_VERSION);
	pcapng_interface(&x->w, x->hold.link_type == TAPMIG_LINK_TYPE_RAW_IP ?
			 LINKTYPE_RAW : LINKTYPE_ETHERNET, x->hold.ifname,
			 x->hold.label);
	ret = pcapng_flush(&x->w);
	if (!ret)
		ret = run(x, &nl, &events);
	progress_end(&x->progress);
	if (!ret && x->regular && fsync(x->fd)) {
		ret = -EIO;
		err("%s: %s", file_name(x), strerror(errno));
	}
	if (x->file && close(x->fd) && !ret) {
		ret = -EIO;
		err("%s: %s", x->file, strerror(errno));
	}
	if (x->in.vanished)
		err("%llu packets were committed by somebody else while they were exported, and are left out",
		    (unsigned long long)x->in.vanished);
	if (stopped) {
		err("interrupted: %llu packets were written, the last has number %llu",
		    (unsigned long long)x->written_packets,
		    (unsigned long long)x->last);
		ret = ret ? ret : -EINTR;
	} else if (ret) {
		err("%llu packets were written", (unsigned long long)
		    x->written_packets);
	}
out:
	pcapng_close(&x->w);
	nl_close(&events);
	nl_close(&nl);
	free(x);
	return exit_code(ret);
}
