// SPDX-License-Identifier: GPL-2.0-only
/* tapmig: control of the holds of TAP queues. */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

struct options opt;

static const struct command {
	const char *name;
	int (*run)(struct args *a);
} commands[] = {
	{ "show", cmd_show },
	{ "set", cmd_set },
	{ "freeze", cmd_freeze },
	{ "thaw", cmd_thaw },
	{ "discard", cmd_discard },
	{ "export", cmd_export },
	{ "import", cmd_import },
	{ "relay", cmd_relay },
	{ "monitor", cmd_monitor },
	{ "version", cmd_version },
};

static void usage(FILE *f)
{
	fputs("Usage: tapmig [-j] [-p] [-s] [-n NETNS] COMMAND ...\n"
	      "  show [SELECTOR]\n"
	      "  set SELECTOR [max-frozen-ms N] [wait-import-ms N|none]\n"
	      "      [max-packets N] [max-bytes SIZE] [dedup multicast|all|off]\n"
	      "      [deadline-action thaw|discard] [peer on|off] [detached on|off]\n"
	      "  freeze id N\n"
	      "  freeze dev IFNAME [queue N]... [pid PID] [label L]\n"
	      "      [role source|standby] [mac ADDR] [max-frozen-ms N]\n"
	      "      [max-packets N] [max-bytes SIZE]\n"
	      "  thaw SELECTOR [wait]\n"
	      "  discard SELECTOR\n"
	      "  export SELECTOR [from SEQ] [to SEQ] [commit] [follow] [force] [FILE|-]\n"
	      "  import SELECTOR [age-ms N] [no-end] [FILE|-]\n"
	      "  import check [FILE|-]\n"
	      "  relay --listen|--connect ADDRESS [--label GLOB]... [--dev IFNAME]...\n"
	      "      [--netns NETNS]... [--tls-creds DIR] [--tls-psk FILE]\n"
	      "      [--tls-user NAME] [--tls-hostname NAME] [--insecure]\n"
	      "      [--linger MS] [--buffer SIZE] [--once] [--verbose]\n"
	      "  monitor\n"
	      "  version\n"
	      "SELECTOR is id N, dev IFNAME or label GLOB. See tapmig(8).\n",
	      f);
}

static int enter_netns(const char *name)
{
	int fd, ret;

	fd = netns_open(name);
	if (fd < 0)
		return -1;
	ret = setns(fd, CLONE_NEWNET);
	if (ret)
		err("network namespace '%s': %s", name, strerror(errno));
	close(fd);
	return ret;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "pretty", no_argument, NULL, 'p' },
		{ "statistics", no_argument, NULL, 's' },
		{ "netns", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ 0 },
	};
	const char *netns = NULL, *name;
	struct args a;
	int c, ret;
	size_t i;

	while ((c = getopt_long(argc, argv, "+jpsn:hV", longs, NULL)) != -1) {
		switch (c) {
		case 'j':
			opt.json = true;
			break;
		case 'p':
			opt.pretty = true;
			break;
		case 's':
			opt.stats = true;
			break;
		case 'n':
			netns = optarg;
			break;
		case 'h':
			usage(stdout);
			return EXIT_OK;
		case 'V':
			puts("tapmig " TAPMIG_VERSION);
			return EXIT_OK;
		default:
			return EXIT_REFUSED;
		}
	}
	a.argc = argc - optind;
	a.argv = argv + optind;
	name = arg_next(&a);
	if (!name) {
		usage(stderr);
		return EXIT_REFUSED;
	}
	if (!strcmp(name, "help")) {
		usage(stdout);
		return EXIT_OK;
	}
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name))
			continue;
		if (netns && enter_netns(netns))
			return EXIT_REFUSED;
		out_init();
		ret = commands[i].run(&a);
		if (out_finish() && !ret)
			ret = EXIT_REFUSED;
		return ret;
	}
	err("'%s' is not a command; see tapmig help", name);
	return EXIT_REFUSED;
}
