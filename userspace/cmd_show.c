// SPDX-License-Identifier: GPL-2.0-only
/* tapmig show [SELECTOR] */
#include <errno.h>

#include "tool.h"

struct show {
	const struct selector *sel;
	unsigned int shown;
};

static int show_cb(const struct nlmsghdr *nlh, void *arg)
{
	struct show *s = arg;
	struct hold h;

	hold_parse(nlh, &h);
	if (selector_match(s->sel, &h)) {
		hold_print(nlh, NULL);
		s->shown++;
	}
	return 0;
}

int cmd_show(struct args *a)
{
	struct selector sel = { 0 };
	struct show s = { .sel = &sel };
	struct nlmsghdr *nlh;
	char what[128];
	struct nl nl;
	int ret;

	while (arg_peek(a)) {
		ret = arg_selector(a, &sel);
		if (ret < 0)
			return EXIT_REFUSED;
		if (!ret)
			return arg_unknown(arg_peek(a));
	}
	ret = nl_open(&nl);
	if (ret)
		return exit_code(ret);
	selector_describe(&sel, what, sizeof(what));
	out_array(NULL);
	if (sel.id) {
		nlh = nl_request(&nl, TAPMIG_CMD_HOLD_GET);
		mnl_attr_put_u32(nlh, TAPMIG_A_HOLD_ID, sel.id);
		ret = nl_do_quiet(&nl, what, show_cb, &s, ENOENT);
	} else {
		ret = nl_dump_holds(&nl, what, show_cb, &s);
	}
	out_array_end();
	if (!ret && nl.interrupted)
		err("holds came or went meanwhile: the list may lack some");
	if (!ret && !s.shown && (sel.dev || sel.label))
		ret = -ENOENT;
	if (ret == -ENOENT)
		err("no %s", what);
	nl_close(&nl);
	return exit_code(ret);
}
