// SPDX-License-Identifier: GPL-2.0-only
/* Holds as the kernel describes them, and as the command line names them. */
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

const char *const state_names[] = {
	"armed", "frozen", "thawing", "live", "dead",
};

const char *const role_names[] = { "source", "standby" };
static const char *const link_type_names[] = { "ethernet", "raw-ip" };
const char *const dedup_names[] = { "multicast", "all", "off" };
const char *const deadline_action_names[] = { "thaw", "discard" };
static const char *const flag_names[] = {
	"detached", "pinned", "peer", "due", "orphan", "importing",
};

enum kind { KIND_U32, KIND_U64, KIND_STRING, KIND_ENUM, KIND_FLAGS, KIND_MAC };

/* Where a value stands in text: groups are lines, in this order. */
enum group {
	GROUP_TITLE,
	GROUP_MAIN,
	GROUP_LIMITS,	/* from here on with -s only */
	GROUP_COUNTERS,
	GROUP_TIMES,
	GROUP_COUNT,
	GROUP_NONE,
};

#define NAMES(n) .names = n, .count = sizeof(n) / sizeof(char *)

/*
 * name is that of the specification; JSON has it with underscores. In text
 * what is zero_hidden is shown only when it is not zero.
 */
static const struct hold_attr {
	const char *name;
	enum kind kind;
	enum group group;
	bool zero_hidden;
	const char *const *names;
	unsigned int count;
} attrs[TAPMIG_A_HOLD_MAX + 1] = {
	[TAPMIG_A_HOLD_ID] = { "id", KIND_U32, GROUP_NONE },
	[TAPMIG_A_HOLD_LABEL] = { "label", KIND_STRING, GROUP_TITLE },
	[TAPMIG_A_HOLD_STATE] = { "state", KIND_ENUM, GROUP_TITLE,
				  NAMES(state_names) },
	[TAPMIG_A_HOLD_ROLE] = { "role", KIND_ENUM, GROUP_TITLE,
				 NAMES(role_names) },
	[TAPMIG_A_HOLD_FLAGS] = { "flags", KIND_FLAGS, GROUP_TITLE, true,
				  NAMES(flag_names) },
	[TAPMIG_A_HOLD_FLAGS_MASK] = { "flags-mask", KIND_FLAGS, GROUP_NONE,
				       NAMES(flag_names) },
	[TAPMIG_A_HOLD_LINK_TYPE] = { "link-type", KIND_ENUM, GROUP_MAIN,
				      NAMES(link_type_names) },
	[TAPMIG_A_HOLD_DEDUP] = { "dedup", KIND_ENUM, GROUP_LIMITS,
				  NAMES(dedup_names) },
	[TAPMIG_A_HOLD_DEADLINE_ACTION] = { "deadline-action", KIND_ENUM,
					    GROUP_LIMITS,
					    NAMES(deadline_action_names) },
	[TAPMIG_A_HOLD_IFINDEX] = { "ifindex", KIND_U32, GROUP_NONE },
	[TAPMIG_A_HOLD_IFNAME] = { "ifname", KIND_STRING, GROUP_NONE },
	[TAPMIG_A_HOLD_MAC] = { "mac", KIND_MAC, GROUP_MAIN },
	[TAPMIG_A_HOLD_QUEUES] = { "queues", KIND_U32, GROUP_MAIN },
	[TAPMIG_A_HOLD_OWNER_PID] = { "owner-pid", KIND_U32, GROUP_MAIN,
				      true },
	[TAPMIG_A_HOLD_MAX_FROZEN_MS] = { "max-frozen-ms", KIND_U32,
					  GROUP_LIMITS },
	[TAPMIG_A_HOLD_DEADLINE_IN_MS] = { "deadline-in-ms", KIND_U32,
					   GROUP_MAIN },
	[TAPMIG_A_HOLD_WAIT_IMPORT_MS] = { "wait-import-ms", KIND_U32,
					   GROUP_LIMITS },
	[TAPMIG_A_HOLD_MAX_PACKETS] = { "max-packets", KIND_U32,
					GROUP_LIMITS },
	[TAPMIG_A_HOLD_MAX_BYTES] = { "max-bytes", KIND_U64, GROUP_LIMITS },
	[TAPMIG_A_HOLD_HELD_PACKETS] = { "held-packets", KIND_U64,
					 GROUP_MAIN },
	[TAPMIG_A_HOLD_HELD_BYTES] = { "held-bytes", KIND_U64, GROUP_MAIN },
	[TAPMIG_A_HOLD_PENDING_IMPORTS] = { "pending-imports", KIND_U64,
					    GROUP_MAIN, true },
	[TAPMIG_A_HOLD_HIGHEST_SEQ] = { "highest-seq", KIND_U64, GROUP_MAIN,
					true },
	[TAPMIG_A_HOLD_COMMITTED_SEQ] = { "committed-seq", KIND_U64,
					  GROUP_MAIN, true },
	[TAPMIG_A_HOLD_CAPTURED] = { "captured", KIND_U64, GROUP_COUNTERS },
	/* Losses are shown even without -s. */
	[TAPMIG_A_HOLD_DROPPED] = { "dropped", KIND_U64, GROUP_MAIN, true },
	[TAPMIG_A_HOLD_DROPPED_BYTES] = { "dropped-bytes", KIND_U64,
					  GROUP_COUNTERS },
	[TAPMIG_A_HOLD_TRIMMED] = { "trimmed", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_EXPORTED] = { "exported", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_IMPORTED] = { "imported", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_RESENT] = { "resent", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_FLOODED] = { "flooded", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_LATE] = { "late", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_LATE_SKIPPED] = { "late-skipped", KIND_U64,
					 GROUP_COUNTERS },
	[TAPMIG_A_HOLD_OWN_ADDRESS] = { "own-address", KIND_U64,
					GROUP_COUNTERS },
	[TAPMIG_A_HOLD_SEGMENTED] = { "segmented", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_DELIVERED] = { "delivered", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_LOST] = { "lost", KIND_U64, GROUP_MAIN, true },
	[TAPMIG_A_HOLD_DISCARDED] = { "discarded", KIND_U64, GROUP_COUNTERS },
	[TAPMIG_A_HOLD_FROZEN_NS] = { "frozen-ns", KIND_U64, GROUP_TIMES },
	[TAPMIG_A_HOLD_FROZEN_FOR_MS] = { "frozen-for-ms", KIND_U64,
					  GROUP_TIMES },
	[TAPMIG_A_HOLD_THAW_WAIT_US] = { "thaw-wait-us", KIND_U64,
					 GROUP_TIMES },
	[TAPMIG_A_HOLD_THAW_US] = { "thaw-us", KIND_U64, GROUP_TIMES },
	[TAPMIG_A_HOLD_THAW_IRQOFF_NS] = { "thaw-irqoff-ns", KIND_U64,
					   GROUP_TIMES },
};

const char *hold_attr_name(unsigned int type)
{
	return type < ARRAY_SIZE(attrs) ? attrs[type].name : NULL;
}

static void copy_string(char *to, size_t size, const struct nlattr *a)
{
	size_t len;

	*to = 0;
	if (!a)
		return;
	len = strnlen(mnl_attr_get_payload(a), mnl_attr_get_payload_len(a));
	if (len >= size)
		len = size - 1;
	memcpy(to, mnl_attr_get_payload(a), len);
	to[len] = 0;
}

void hold_parse(const struct nlmsghdr *nlh, struct hold *h)
{
	const struct nlattr *tb[TAPMIG_A_HOLD_MAX + 1];

	nl_parse(nlh, tb, TAPMIG_A_HOLD_MAX);
	memset(h, 0, sizeof(*h));
	h->id = nl_uint(tb[TAPMIG_A_HOLD_ID]);
	h->state = nl_uint(tb[TAPMIG_A_HOLD_STATE]);
	h->role = nl_uint(tb[TAPMIG_A_HOLD_ROLE]);
	h->flags = nl_uint(tb[TAPMIG_A_HOLD_FLAGS]);
	h->link_type = nl_uint(tb[TAPMIG_A_HOLD_LINK_TYPE]);
	h->gone = h->state == TAPMIG_STATE_DEAD &&
		  !tb[TAPMIG_A_HOLD_MAX_PACKETS];
	h->held_packets = nl_uint(tb[TAPMIG_A_HOLD_HELD_PACKETS]);
	h->held_bytes = nl_uint(tb[TAPMIG_A_HOLD_HELD_BYTES]);
	h->highest_seq = nl_uint(tb[TAPMIG_A_HOLD_HIGHEST_SEQ]);
	h->committed_seq = nl_uint(tb[TAPMIG_A_HOLD_COMMITTED_SEQ]);
	h->max_packets = nl_uint(tb[TAPMIG_A_HOLD_MAX_PACKETS]);
	h->max_bytes = nl_uint(tb[TAPMIG_A_HOLD_MAX_BYTES]);
	h->frozen_ns = nl_uint(tb[TAPMIG_A_HOLD_FROZEN_NS]);
	h->frozen_for_ms = nl_uint(tb[TAPMIG_A_HOLD_FROZEN_FOR_MS]);
	h->dropped = nl_uint(tb[TAPMIG_A_HOLD_DROPPED]);
	h->discarded = nl_uint(tb[TAPMIG_A_HOLD_DISCARDED]);
	h->imported = nl_uint(tb[TAPMIG_A_HOLD_IMPORTED]);
	h->resent = nl_uint(tb[TAPMIG_A_HOLD_RESENT]);
	h->flooded = nl_uint(tb[TAPMIG_A_HOLD_FLOODED]);
	h->late = nl_uint(tb[TAPMIG_A_HOLD_LATE]);
	h->late_skipped = nl_uint(tb[TAPMIG_A_HOLD_LATE_SKIPPED]);
	h->own_address = nl_uint(tb[TAPMIG_A_HOLD_OWN_ADDRESS]);
	h->lost = nl_uint(tb[TAPMIG_A_HOLD_LOST]);
	copy_string(h->ifname, sizeof(h->ifname), tb[TAPMIG_A_HOLD_IFNAME]);
	copy_string(h->label, sizeof(h->label), tb[TAPMIG_A_HOLD_LABEL]);
}

static void print_flags(const struct hold_attr *at, const char *key,
			const char *prefix, uint64_t v)
{
	char text[128] = "";
	unsigned int i;

	if (opt.json) {
		out_array(key);
		for (i = 0; i < at->count; i++)
			if (v & 1U << i)
				out_string("", NULL, COLOR_NONE, at->names[i]);
		out_array_end();
		return;
	}
	for (i = 0; i < at->count; i++) {
		if (!(v & 1U << i))
			continue;
		if (*text)
			strcat(text, ",");
		strcat(text, at->names[i]);
	}
	out_string(NULL, prefix, COLOR_NONE, text);
}

static enum color value_color(unsigned int type, uint64_t v)
{
	switch (type) {
	case TAPMIG_A_HOLD_STATE:
		return v == TAPMIG_STATE_DEAD ? COLOR_BAD :
		       v == TAPMIG_STATE_ARMED || v == TAPMIG_STATE_LIVE ?
		       COLOR_GOOD : COLOR_NAME;
	case TAPMIG_A_HOLD_DROPPED:
	case TAPMIG_A_HOLD_LOST:
		return v ? COLOR_BAD : COLOR_NONE;
	default:
		return COLOR_NONE;
	}
}

static void print_attr(unsigned int type, const struct nlattr *a,
		       const char *before)
{
	const struct hold_attr *at = &attrs[type];
	char key[32], prefix[64], text[64];
	enum color color;
	const uint8_t *m;
	uint64_t v = 0;
	char *p;

	snprintf(key, sizeof(key), "%s", at->name);
	for (p = key; *p; p++)
		if (*p == '-')
			*p = '_';
	snprintf(prefix, sizeof(prefix), "%s%s ", before, at->name);
	if (at->kind <= KIND_U64 || at->kind == KIND_ENUM ||
	    at->kind == KIND_FLAGS)
		v = nl_uint(a);
	color = value_color(type, v);
	switch (at->kind) {
	case KIND_U32:
	case KIND_U64:
		if (type == TAPMIG_A_HOLD_WAIT_IMPORT_MS && !opt.json &&
		    v == UINT32_MAX)
			out_string(NULL, prefix, color, "none");
		else
			out_u64(key, prefix, color, v);
		break;
	case KIND_STRING:
		copy_string(text, sizeof(text), a);
		out_string(key, prefix, color, text);
		break;
	case KIND_ENUM:
		if (v < at->count)
			snprintf(text, sizeof(text), "%s", at->names[v]);
		else
			snprintf(text, sizeof(text), "%llu",
				 (unsigned long long)v);
		out_string(key, prefix, color, text);
		break;
	case KIND_FLAGS:
		print_flags(at, key, prefix, v);
		break;
	case KIND_MAC:
		if (mnl_attr_get_payload_len(a) != 6)
			break;
		m = mnl_attr_get_payload(a);
		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x",
			 m[0], m[1], m[2], m[3], m[4], m[5]);
		out_string(key, prefix, color, text);
		break;
	}
}

static void print_text(const struct nlattr **tb, const char *event)
{
	char title[IFNAMSIZ];
	unsigned int g, i, last = opt.stats ? GROUP_COUNT : GROUP_LIMITS;
	bool first;

	if (event) {
		out_text(event);
		out_text(" ");
	}
	out_u64(NULL, "", COLOR_ID, nl_uint(tb[TAPMIG_A_HOLD_ID]));
	out_text(":");
	copy_string(title, sizeof(title), tb[TAPMIG_A_HOLD_IFNAME]);
	if (*title)
		out_string(NULL, " dev ", COLOR_NAME, title);
	for (g = 0; g < last; g++) {
		/* A change is one line, so that it can be read by lines. */
		first = g != GROUP_TITLE && !event;
		for (i = 1; i < ARRAY_SIZE(attrs); i++) {
			if (!attrs[i].name || attrs[i].group != g || !tb[i])
				continue;
			if (attrs[i].zero_hidden && !nl_uint(tb[i]))
				continue;
			if (attrs[i].kind == KIND_STRING &&
			    !*mnl_attr_get_str(tb[i]))
				continue;
			print_attr(i, tb[i], first ? "\n    " : " ");
			first = false;
		}
	}
	out_line();
}

void hold_print(const struct nlmsghdr *nlh, const char *event)
{
	const struct nlattr *tb[TAPMIG_A_HOLD_MAX + 1];
	unsigned int i;

	nl_parse(nlh, tb, TAPMIG_A_HOLD_MAX);
	if (!opt.json) {
		print_text(tb, event);
		return;
	}
	out_object(NULL);
	if (event)
		out_string("event", NULL, COLOR_NONE, event);
	for (i = 1; i < ARRAY_SIZE(attrs); i++)
		if (attrs[i].name && tb[i])
			print_attr(i, tb[i], "");
	out_object_end();
	if (event)
		fflush(stdout);
}

int arg_selector(struct args *a, struct selector *sel)
{
	const char *word = arg_peek(a);

	if (!word)
		return 0;
	if (strcmp(word, "id") && strcmp(word, "dev") &&
	    strcmp(word, "label"))
		return 0;
	arg_next(a);
	if (sel->id || sel->dev || sel->label) {
		err("%s: holds were named already", word);
		return -1;
	}
	if (*word == 'i') {
		if (arg_u32(a, word, &sel->id))
			return -1;
		if (!sel->id) {
			err("id: holds have numbers from 1 on");
			return -1;
		}
	} else if (*word == 'd') {
		sel->dev = arg_value(a, word);
		if (!sel->dev)
			return -1;
		if (!*sel->dev || strlen(sel->dev) >= IFNAMSIZ) {
			err("dev: '%s' cannot be the name of a device",
			    sel->dev);
			return -1;
		}
	} else {
		sel->label = arg_value(a, word);
		if (!sel->label)
			return -1;
	}
	return 1;
}

bool selector_match(const struct selector *sel, const struct hold *h)
{
	if (sel->id)
		return sel->id == h->id;
	if (sel->dev)
		return !strcmp(sel->dev, h->ifname);
	if (sel->label)
		return !fnmatch(sel->label, h->label, 0);
	return true;
}

void selector_describe(const struct selector *sel, char *buf, size_t len)
{
	if (sel->id)
		snprintf(buf, len, "hold %u", sel->id);
	else if (sel->dev)
		snprintf(buf, len, "holds of %s", sel->dev);
	else if (sel->label)
		snprintf(buf, len, "holds labelled '%s'", sel->label);
	else
		snprintf(buf, len, "holds");
}

/*
 * While holds come and go, which any user of /dev/tapmig can bring about, no
 * dump may be consistent. It has those that are there all the time, at least.
 */
#define DUMP_TRIES	5

struct collect {
	const struct selector *sel;
	struct hold *holds;
	int count;
};

static int collect_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct collect *c = arg;
	struct hold h, *all;

	hold_parse(nlh, &h);
	if (!selector_match(c->sel, &h))
		return 0;
	/* Powers of two: grown only when full. */
	if (!(c->count & (c->count - 1))) {
		all = realloc(c->holds, sizeof(h) *
			      (c->count ? c->count * 2 : 1));
		if (!all) {
			err("out of memory");
			return -ENOMEM;
		}
		c->holds = all;
	}
	c->holds[c->count++] = h;
	return 0;
}

int selector_resolve(struct nl *nl, const struct selector *sel,
		     struct hold **holds)
{
	struct collect c = { .sel = sel };
	unsigned int tries = 0;
	struct nlmsghdr *nlh;
	char what[128];
	int ret;

	selector_describe(sel, what, sizeof(what));
	if (sel->id) {
		nlh = nl_request(nl, TAPMIG_CMD_HOLD_GET);
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, sel->id);
		ret = nl_do_quiet(nl, what, collect_cb, &c, ENOENT);
	} else {
		do {
			c.count = 0;
			free(c.holds);
			c.holds = NULL;
			ret = nl_dump_holds(nl, what, collect_cb, &c);
		} while (!ret && nl->interrupted && ++tries < DUMP_TRIES);
	}
	if (!ret && !c.count)
		ret = -ENOENT;
	if (ret == -ENOENT) {
		if (sel->id)
			err("no hold %u", sel->id);
		else if (sel->dev)
			err("no hold of device %s", sel->dev);
		else
			err("no hold with a label like '%s'", sel->label);
	}
	if (ret < 0) {
		free(c.holds);
		return ret;
	}
	*holds = c.holds;
	return c.count;
}

int hold_not_frozen(const struct hold *h, const char *what)
{
	err("%s hold %u: the hold is %s, not frozen", what, h->id,
	    state_names[h->state]);
	return -EBUSY;
}

int selector_resolve_one(struct nl *nl, const struct selector *sel,
			 struct hold *hold)
{
	struct hold *holds;
	char what[128];
	int n, i;

	n = selector_resolve(nl, sel, &holds);
	if (n < 0)
		return n;
	*hold = holds[0];
	if (n > 1) {
		selector_describe(sel, what, sizeof(what));
		fprintf(stderr, "tapmig: there are %d %s: id", n, what);
		for (i = 0; i < n; i++)
			fprintf(stderr, " %u", holds[i].id);
		fputc('\n', stderr);
	}
	free(holds);
	return n > 1 ? -ENOTUNIQ : 0;
}

int hold_worse(int ret, int one)
{
	if (!one || (ret && one == -ENOENT))
		return ret;
	return one;
}

struct done {
	uint32_t id;
	bool done;
};

static int done_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct done *d = arg;
	struct hold h;

	hold_parse(nlh, &h);
	if (d->done || h.id != d->id || h.state == TAPMIG_STATE_FROZEN ||
	    h.state == TAPMIG_STATE_THAWING)
		return 0;
	/* A hold that is gone was thawed before. */
	if (h.state == TAPMIG_STATE_DEAD && !h.gone) {
		err("thaw: hold %u is dead: its queues are gone, it keeps its packets",
		    h.id);
		return -ENODEV;
	}
	d->done = true;
	return NL_STOP;
}

/* Until a hold is thawed; events tells of it since before the request. */
static int wait_thawed(struct nl *nl, struct nl *events, uint32_t id)
{
	struct done d = { .id = id };
	struct nlmsghdr *nlh;
	int ret;

	for (;;) {
		/* Also the answer when an event was lost. */
		nlh = nl_request(nl, TAPMIG_CMD_HOLD_GET);
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, id);
		ret = nl_do_quiet(nl, "thaw", done_cb, &d, ENOENT);
		if (ret == -ENOENT || d.done)
			return 0;
		if (ret)
			return ret;
		do {
			ret = wait_readable(nl_fd(events));
			if (ret == -EINTR)
				err("thaw: interrupted; hold %u goes on thawing",
				    id);
			if (ret)
				return ret;
			ret = nl_events_read(events, done_cb, &d);
			if (ret < 0 && ret != -ENOBUFS)
				return ret;
		} while (ret != -ENOBUFS && !d.done);
		if (d.done)
			return 0;
	}
}

int hold_simple_cmd(uint8_t cmd, const char *name, struct args *a,
		    bool may_wait)
{
	struct selector sel = { 0 };
	struct nl nl, events = { 0 };
	struct nlmsghdr *nlh;
	struct hold *holds;
	bool wait = false;
	char what[160];
	int i, n, one, ret;

	while (arg_peek(a)) {
		ret = arg_selector(a, &sel);
		if (ret < 0)
			return EXIT_REFUSED;
		if (ret)
			continue;
		if (!may_wait || strcmp(arg_peek(a), "wait"))
			return arg_unknown(arg_peek(a));
		arg_next(a);
		wait = true;
	}
	if (!sel.id && !sel.dev && !sel.label) {
		err("%s: which hold? (id N, dev IFNAME or label GLOB)", name);
		return EXIT_REFUSED;
	}
	ret = nl_open(&nl);
	if (ret)
		return exit_code(ret);
	if (wait) {
		catch_stop();
		ret = nl_open(&events);
		if (!ret)
			ret = nl_events_join(&events);
		if (ret)
			goto out;
	}
	n = selector_resolve(&nl, &sel, &holds);
	if (n < 0) {
		ret = n;
		goto out;
	}
	ret = 0;
	/* One that is refused does not keep the others from it. */
	for (i = 0; i < n; i++) {
		snprintf(what, sizeof(what), "%s hold %u", name, holds[i].id);
		nlh = nl_request(&nl, cmd);
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, holds[i].id);
		one = nl_do(&nl, what, NULL, NULL);
		if (one)
			holds[i].id = 0;
		ret = hold_worse(ret, one);
	}
	for (i = 0; wait && i < n; i++) {
		if (!holds[i].id)
			continue;
		one = wait_thawed(&nl, &events, holds[i].id);
		ret = hold_worse(ret, one);
		if (one == -EINTR)
			break;
	}
	free(holds);
out:
	nl_close(&events);
	nl_close(&nl);
	return exit_code(ret);
}
