// SPDX-License-Identifier: GPL-2.0-only
/* tapmig monitor: all holds first, then what happens to them. */
#include <errno.h>
#include <stdlib.h>

#include "tool.h"

/**
 * struct monitor - what was told so far
 * @ids: holds that were told to exist
 * @count: how many
 * @size: room in @ids
 * @seen: of the dump under way, in the order of @ids
 */
struct monitor {
	struct known {
		uint32_t id;
		bool seen;
	} *known;
	size_t count;
	size_t size;
};

static struct known *find(struct monitor *m, uint32_t id)
{
	size_t i;

	for (i = 0; i < m->count; i++)
		if (m->known[i].id == id)
			return &m->known[i];
	return NULL;
}

static struct known *add(struct monitor *m, uint32_t id)
{
	struct known *all;
	size_t size;

	if (m->count == m->size) {
		size = m->size ? m->size * 2 : 64;
		all = realloc(m->known, size * sizeof(*all));
		if (!all) {
			err("out of memory");
			return NULL;
		}
		m->known = all;
		m->size = size;
	}
	m->known[m->count] = (struct known){ .id = id };
	return &m->known[m->count++];
}

static int dump_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct monitor *m = arg;
	struct known *k;
	struct hold h;

	hold_parse(nlh, &h);
	k = find(m, h.id);
	if (!k)
		k = add(m, h.id);
	if (!k)
		return -ENOMEM;
	hold_print(nlh, "exists");
	k->seen = true;
	return 0;
}

static int event_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct monitor *m = arg;
	struct known *k;
	struct hold h;

	if (nl_cmd(nlh) != TAPMIG_CMD_HOLD_NTF)
		return 0;
	hold_parse(nlh, &h);
	k = find(m, h.id);
	if (h.gone) {
		hold_print(nlh, "gone");
		if (k)
			*k = m->known[--m->count];
		return 0;
	}
	hold_print(nlh, k ? "changed" : "new");
	return k || add(m, h.id) ? 0 : -ENOMEM;
}

static void print_mark(const char *event)
{
	out_object(NULL);
	out_string("event", "", COLOR_NONE, event);
	out_line();
	out_object_end();
	fflush(stdout);
}

static int dump(struct nl *nl, struct monitor *m)
{
	size_t i, kept = 0;
	int ret;

	for (i = 0; i < m->count; i++)
		m->known[i].seen = false;
	/* What comes or goes meanwhile is in events that are read later. */
	ret = nl_dump_holds(nl, "holds", dump_cb, m);
	if (ret)
		return ret;
	/* What vanished while events were lost. */
	for (i = 0; i < m->count; i++) {
		if (m->known[i].seen) {
			m->known[kept++] = m->known[i];
			continue;
		}
		out_object(NULL);
		out_string("event", "", COLOR_NONE, "gone");
		out_u64("id", " ", COLOR_ID, m->known[i].id);
		out_text(":");
		out_line();
		out_object_end();
	}
	m->count = kept;
	print_mark("ready");
	return 0;
}

int cmd_monitor(struct args *a)
{
	struct nl nl, events = { 0 };
	struct monitor m = { 0 };
	const char *word;
	int ret;

	while ((word = arg_next(a))) {
		/* Accepted here too, as it is a habit. */
		if (word[0] == '-' && word[1] == 'j' && !word[2])
			opt.json = true;
		else
			return arg_unknown(word);
	}
	/* One event, one line. */
	opt.pretty = false;
	ret = nl_open(&nl);
	if (ret)
		return exit_code(ret);
	/* Joined first: nothing is missed between the dump and the events. */
	ret = nl_open(&events);
	if (!ret)
		ret = nl_events_join(&events);
	if (!ret)
		ret = dump(&nl, &m);
	while (!ret && !ferror(stdout)) {
		ret = wait_readable(nl_fd(&events));
		if (!ret)
			ret = nl_events_read(&events, event_cb, &m);
		if (ret != -ENOBUFS)
			continue;
		err("monitor: events were lost, the full state follows");
		print_mark("lost");
		ret = dump(&nl, &m);
	}
	free(m.known);
	nl_close(&events);
	nl_close(&nl);
	return exit_code(ret);
}
