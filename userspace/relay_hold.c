// SPDX-License-Identifier: GPL-2.0-only
/* The holds of this host: which we serve, what happens to them, requests. */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay.h"

/* Run in the namespace of a relay_ns, between these two. */
static int enter(struct relay_ns *ns)
{
	if (ns->fd < 0 || !setns(ns->fd, CLONE_NEWNET))
		return 0;
	err("network namespace '%s': %s", ns->name, strerror(errno));
	return -errno;
}

static void leave(struct relay *r, struct relay_ns *ns)
{
	if (ns->fd < 0 || !setns(r->own_ns, CLONE_NEWNET))
		return;
	/* Sockets would be made in the wrong place from here on. */
	err("back to the network namespace: %s", strerror(errno));
	exit(EXIT_REFUSED);
}

int relay_nl_open(struct relay *r, struct relay_ns *ns, struct nl *nl)
{
	int ret = enter(ns);

	if (ret)
		return ret;
	ret = nl_open_like(nl, &ns->nl);
	leave(r, ns);
	return ret;
}

/* By another name, too: all of its holds would be there twice. */
static bool given_already(struct relay *r, const struct relay_ns *ns)
{
	struct relay_ns *other;
	struct stat a, b;

	TAILQ_FOREACH(other, &r->namespaces, link) {
		if (other == ns || fstat(ns->fd, &a) || fstat(other->fd, &b) ||
		    a.st_dev != b.st_dev || a.st_ino != b.st_ino)
			continue;
		err("netns: '%s' was given already, as '%s'", ns->name,
		    other->name);
		return true;
	}
	return false;
}

int relay_ns_add(struct relay *r, const char *name)
{
	struct relay_ns *ns;
	int ret;

	ns = calloc(1, sizeof(*ns));
	if (!ns) {
		err("out of memory");
		return -ENOMEM;
	}
	ns->name = name;
	ns->fd = -1;
	TAILQ_INSERT_TAIL(&r->namespaces, ns, link);
	if (name) {
		ns->fd = netns_open(name);
		if (ns->fd < 0 || given_already(r, ns))
			return -EINVAL;
	}
	ret = enter(ns);
	if (ret)
		return ret;
	ret = nl_open(&ns->nl);
	if (!ret)
		ret = nl_open_like(&ns->events, &ns->nl);
	if (!ret)
		ret = nl_events_join(&ns->events);
	leave(r, ns);
	if (ret)
		return ret;
	packet_batch_socket(&ns->nl);
	ns->nl.silent = true;
	return 0;
}

void relay_holds_free(struct relay *r)
{
	struct relay_hold *rh;
	struct relay_ns *ns;

	while ((rh = TAILQ_FIRST(&r->holds))) {
		TAILQ_REMOVE(&r->holds, rh, link);
		free(rh);
	}
	while ((ns = TAILQ_FIRST(&r->namespaces))) {
		TAILQ_REMOVE(&r->namespaces, ns, link);
		nl_close(&ns->events);
		nl_close(&ns->nl);
		if (ns->fd >= 0)
			close(ns->fd);
		free(ns);
	}
}

static bool served(const struct relay *r, const struct hold *h)
{
	unsigned int i;

	for (i = 0; i < r->label_count; i++)
		if (!fnmatch(r->labels[i], h->label, 0))
			break;
	if (r->label_count && i == r->label_count)
		return false;
	for (i = 0; i < r->dev_count; i++)
		if (!strcmp(r->devs[i], h->ifname))
			break;
	return !r->dev_count || i < r->dev_count;
}

static struct relay_hold *find(struct relay *r, const struct relay_ns *ns,
			       uint32_t id)
{
	struct relay_hold *rh;

	TAILQ_FOREACH(rh, &r->holds, link)
		if (rh->ns == ns && rh->h.id == id && !rh->gone)
			return rh;
	return NULL;
}

struct relay_hold *relay_hold_find(struct relay *r, uint32_t handle)
{
	struct relay_hold *rh;

	TAILQ_FOREACH(rh, &r->holds, link)
		if (rh->handle == handle && !rh->gone)
			return rh;
	return NULL;
}

void relay_holds_reap(struct relay *r)
{
	struct relay_hold *rh, *next;

	for (rh = TAILQ_FIRST(&r->holds); rh; rh = next) {
		next = TAILQ_NEXT(rh, link);
		if (!rh->gone || rh->chan)
			continue;
		r->unfinished |= rh->begun;
		/* It will not be moved any more. */
		r->over += rh->was_paired && !rh->served;
		TAILQ_REMOVE(&r->holds, rh, link);
		LIST_REMOVE(rh, alike);
		free(rh);
	}
}

static void hold_gone(struct relay *r, struct relay_hold *rh)
{
	rh->gone = true;
	rh->h.state = TAPMIG_STATE_DEAD;
	relay_hold_changed(r, rh);
}

void relay_hold_count_dropped(struct relay_hold *rh)
{
	if (rh->h.frozen_ns == rh->sent_frozen_ns)
		rh->counts.dropped = rh->h.dropped - rh->dropped_before;
}

/* What the kernel says of a hold; a dead one has no device any more. */
static void update(struct relay_hold *rh, const struct hold *h)
{
	char ifname[IFNAMSIZ];

	memcpy(ifname, rh->h.ifname, sizeof(ifname));
	if (h->frozen_ns != rh->h.frozen_ns) {
		/* Its summary may be yet to come. */
		relay_hold_count_dropped(rh);
		rh->dropped_before = rh->h.dropped;
	}
	rh->h = *h;
	if (!*rh->h.ifname)
		memcpy(rh->h.ifname, ifname, sizeof(ifname));
}

static int take(struct relay *r, struct relay_ns *ns, const struct hold *h)
{
	struct relay_hold *rh = find(r, ns, h->id);

	/* The number of a hold that is gone can be given to another. */
	if (rh && (h->gone || rh->h.role != h->role ||
		   strcmp(rh->h.label, h->label))) {
		hold_gone(r, rh);
		rh = NULL;
	}
	if (h->gone)
		return 0;
	if (!rh) {
		if (!served(r, h))
			return 0;
		rh = calloc(1, sizeof(*rh));
		if (!rh) {
			err("out of memory");
			return -ENOMEM;
		}
		rh->ns = ns;
		rh->handle = ++r->last_handle;
		update(rh, h);
		rh->seen = true;
		TAILQ_INSERT_TAIL(&r->holds, rh, link);
		LIST_INSERT_HEAD(&relay_labels(r, h->label)->holds, rh, alike);
		relay_hold_appeared(r, rh);
		return 0;
	}
	rh->seen = true;
	update(rh, h);
	relay_hold_changed(r, rh);
	return 0;
}

struct taker {
	struct relay *r;
	struct relay_ns *ns;
};

static int take_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct taker *t = arg;
	struct hold h;

	if (nl_cmd(nlh) != TAPMIG_CMD_HOLD_NTF &&
	    nl_cmd(nlh) != TAPMIG_CMD_HOLD_GET)
		return 0;
	hold_parse(nlh, &h);
	return take(t->r, t->ns, &h);
}

struct list {
	struct hold *holds;
	size_t count;
	size_t size;
};

static int list_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct list *l = arg;
	struct hold *all;

	if (l->count == l->size) {
		l->size = l->size ? l->size * 2 : 16;
		all = realloc(l->holds, l->size * sizeof(*all));
		if (!all)
			return -ENOMEM;
		l->holds = all;
	}
	hold_parse(nlh, &l->holds[l->count++]);
	return 0;
}

int relay_holds_read(struct relay *r, struct relay_ns *ns)
{
	struct relay_hold *rh;
	struct list l = { 0 };
	size_t i;
	int ret;

	/*
	 * First all of it: what is taken makes requests of its own. What comes
	 * or goes meanwhile is in events that are read later.
	 */
	ret = nl_dump_holds(&ns->nl, "holds", list_cb, &l);
	if (ret) {
		err("%s", ret == -ENOMEM ? "out of memory" : ns->nl.error);
		free(l.holds);
		return ret;
	}
	TAILQ_FOREACH(rh, &r->holds, link)
		rh->seen = rh->ns != ns || rh->gone;
	for (i = 0; i < l.count && !ret; i++)
		ret = take(r, ns, &l.holds[i]);
	free(l.holds);
	TAILQ_FOREACH(rh, &r->holds, link)
		if (!rh->seen)
			hold_gone(r, rh);
	return ret;
}

int relay_holds_event(struct relay *r, struct relay_ns *ns)
{
	struct taker t = { .r = r, .ns = ns };
	int ret;

	ret = nl_events_read(&ns->events, take_cb, &t);
	if (ret == -ENOBUFS) {
		relay_tell(r, "events were lost, all holds are looked at");
		return relay_holds_read(r, ns);
	}
	return ret;
}

static int refresh_cb(const struct nlmsghdr *nlh, void *arg)
{
	hold_parse(nlh, arg);
	return 0;
}

/* Begin a request; its first attribute says which hold. NULL: it is gone. */
static struct nlmsghdr *request(struct relay_hold *rh, uint8_t cmd,
				uint16_t id_type)
{
	struct nl *nl = &rh->ns->nl;
	struct nlmsghdr *nlh;

	if (rh->gone) {
		snprintf(nl->error, sizeof(nl->error), "the hold is gone");
		return NULL;
	}
	nlh = nl_request(nl, cmd);
	mnl_attr_put_u32(nlh, id_type, rh->h.id);
	return nlh;
}

int relay_hold_refresh(struct relay_hold *rh)
{
	struct nl *nl = &rh->ns->nl;
	struct hold h = { 0 };
	int ret;

	if (!request(rh, TAPMIG_CMD_HOLD_GET, TAPMIG_A_HOLD_ID))
		return -ENOENT;
	ret = nl_do(nl, "hold-get", refresh_cb, &h);
	if (ret)
		return ret;
	update(rh, &h);
	return 0;
}

int relay_hold_request(struct relay_hold *rh, uint8_t cmd)
{
	if (!request(rh, cmd, TAPMIG_A_HOLD_ID))
		return -ENOENT;
	return nl_do(&rh->ns->nl, cmd == TAPMIG_CMD_HOLD_DISCARD ? "discard" :
		     "freeze", NULL, NULL);
}

int relay_hold_set_peer(struct relay_hold *rh, bool on)
{
	struct nlmsghdr *nlh = request(rh, TAPMIG_CMD_HOLD_SET,
				       TAPMIG_A_HOLD_ID);

	if (!nlh)
		return -ENOENT;
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS,
			 on ? TAPMIG_HOLD_FLAGS_PEER : 0);
	mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS_MASK,
			 TAPMIG_HOLD_FLAGS_PEER);
	return nl_do(&rh->ns->nl, "flag peer", NULL, NULL);
}

int relay_hold_transfer(struct relay_hold *rh, uint8_t cmd, uint16_t type,
			uint64_t v)
{
	static const char *const names[] = {
		[TAPMIG_CMD_PACKET_COMMIT] = "commit",
		[TAPMIG_CMD_IMPORT_BEGIN] = "import-begin",
		[TAPMIG_CMD_IMPORT_SYNC] = "import-sync",
		[TAPMIG_CMD_IMPORT_END] = "import-end",
	};
	struct nlmsghdr *nlh = request(rh, cmd, TAPMIG_A_TRANSFER_HOLD_ID);

	if (!nlh)
		return -ENOENT;
	if (type)
		mnl_attr_put_u64(nlh, type, v);
	return nl_do(&rh->ns->nl, names[cmd], NULL, NULL);
}

struct relay_labels *relay_labels(struct relay *r, const char *label)
{
	uint64_t hash = 0;

	while (*label)
		hash = hash * r->label_key + (unsigned char)*label++;
	hash *= r->label_key;
	return &r->by_label[hash >> (64 - RELAY_LABELS_BITS)];
}

int relay_rank(uint32_t state, uint32_t flags)
{
	if (state == TAPMIG_STATE_DEAD)
		return 0;
	return flags & TAPMIG_HOLD_FLAGS_DETACHED ? 1 : 2;
}

struct relay_hold *relay_hold_best(struct relay *r, uint32_t role,
				   const char *label, bool *twice)
{
	struct relay_hold *rh, *best = NULL;
	int rank, best_rank = -1;

	*twice = false;
	LIST_FOREACH(rh, &relay_labels(r, label)->holds, alike) {
		if (rh->gone || rh->h.role != role ||
		    strcmp(rh->h.label, label))
			continue;
		rank = relay_rank(rh->h.state, rh->h.flags);
		if (rank < best_rank)
			continue;
		*twice = rank == best_rank;
		best_rank = rank;
		best = rh;
	}
	return best;
}
