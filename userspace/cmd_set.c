// SPDX-License-Identifier: GPL-2.0-only
/* tapmig set SELECTOR PROPERTY VALUE ... */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

struct set {
	uint32_t flags;
	uint32_t flags_mask;
	uint32_t dedup;
	uint32_t deadline_action;
	uint32_t max_frozen_ms;
	uint32_t wait_import_ms;
	uint32_t max_packets;
	uint64_t max_bytes;
	/* Which of them, by attribute number. */
	uint64_t have;
};

static int parse_flag(struct args *a, const char *word, struct set *s,
		      uint32_t flag)
{
	bool on;

	if (arg_on_off(a, word, &on))
		return -EINVAL;
	s->flags_mask |= flag;
	s->flags &= ~flag;
	s->flags |= on ? flag : 0;
	s->have |= 1ULL << TAPMIG_A_HOLD_FLAGS;
	return 0;
}

static int parse_property(struct args *a, const char *word, struct set *s)
{
	if (!strcmp(word, "max-frozen-ms")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_MAX_FROZEN_MS;
		return arg_u32(a, word, &s->max_frozen_ms);
	}
	if (!strcmp(word, "wait-import-ms")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_WAIT_IMPORT_MS;
		if (arg_peek(a) && !strcmp(arg_peek(a), "none")) {
			arg_next(a);
			s->wait_import_ms = UINT32_MAX;
			return 0;
		}
		return arg_u32(a, word, &s->wait_import_ms);
	}
	if (!strcmp(word, "max-packets")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_MAX_PACKETS;
		return arg_u32(a, word, &s->max_packets);
	}
	if (!strcmp(word, "max-bytes")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_MAX_BYTES;
		return arg_size(a, word, &s->max_bytes);
	}
	if (!strcmp(word, "dedup")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_DEDUP;
		return arg_enum(a, word, dedup_names, DEDUP_COUNT, &s->dedup);
	}
	if (!strcmp(word, "deadline-action")) {
		s->have |= 1ULL << TAPMIG_A_HOLD_DEADLINE_ACTION;
		return arg_enum(a, word, deadline_action_names,
				DEADLINE_ACTION_COUNT, &s->deadline_action);
	}
	if (!strcmp(word, "peer"))
		return parse_flag(a, word, s, TAPMIG_HOLD_FLAGS_PEER);
	if (!strcmp(word, "detached"))
		return parse_flag(a, word, s, TAPMIG_HOLD_FLAGS_DETACHED);
	arg_unknown(word);
	return -EINVAL;
}

static void put(struct nlmsghdr *nlh, const struct set *s)
{
	const struct {
		uint16_t type;
		uint32_t v;
	} u32s[] = {
		{ TAPMIG_A_HOLD_FLAGS, s->flags },
		{ TAPMIG_A_HOLD_DEDUP, s->dedup },
		{ TAPMIG_A_HOLD_DEADLINE_ACTION, s->deadline_action },
		{ TAPMIG_A_HOLD_MAX_FROZEN_MS, s->max_frozen_ms },
		{ TAPMIG_A_HOLD_WAIT_IMPORT_MS, s->wait_import_ms },
		{ TAPMIG_A_HOLD_MAX_PACKETS, s->max_packets },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(u32s); i++)
		if (s->have & 1ULL << u32s[i].type)
			mnl_attr_put_u32(nlh, u32s[i].type, u32s[i].v);
	if (s->flags_mask)
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_FLAGS_MASK,
				 s->flags_mask);
	if (s->have & 1ULL << TAPMIG_A_HOLD_MAX_BYTES)
		mnl_attr_put_u64(nlh, TAPMIG_A_HOLD_MAX_BYTES, s->max_bytes);
}

int cmd_set(struct args *a)
{
	struct selector sel = { 0 };
	struct set s = { 0 };
	struct nlmsghdr *nlh;
	struct hold *holds;
	char what[64];
	struct nl nl;
	int i, n, ret;

	while (arg_peek(a)) {
		ret = arg_selector(a, &sel);
		if (ret < 0)
			return EXIT_REFUSED;
		if (!ret && parse_property(a, arg_next(a), &s))
			return EXIT_REFUSED;
	}
	if (!sel.id && !sel.dev && !sel.label) {
		err("set: which hold? (id N, dev IFNAME or label GLOB)");
		return EXIT_REFUSED;
	}
	if (!s.have) {
		err("set: nothing to change was named");
		return EXIT_REFUSED;
	}
	ret = nl_open(&nl);
	if (ret)
		return exit_code(ret);
	n = selector_resolve(&nl, &sel, &holds);
	if (n < 0) {
		nl_close(&nl);
		return exit_code(n);
	}
	ret = 0;
	for (i = 0; i < n; i++) {
		snprintf(what, sizeof(what), "set hold %u", holds[i].id);
		nlh = nl_request(&nl, TAPMIG_CMD_HOLD_SET);
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, holds[i].id);
		put(nlh, &s);
		ret = hold_worse(ret, nl_do(&nl, what, NULL, NULL));
	}
	free(holds);
	nl_close(&nl);
	return exit_code(ret);
}
