// SPDX-License-Identifier: GPL-2.0-only
/* tapmig version */
#include <errno.h>
#include <string.h>

#include "tool.h"

int cmd_version(struct args *a)
{
	char module[64] = "";
	struct nl nl;
	FILE *f;
	int ret;

	if (arg_peek(a))
		return arg_unknown(arg_peek(a));
	f = fopen("/sys/module/tapmig/version", "re");
	if (f) {
		if (!fgets(module, sizeof(module), f))
			*module = 0;
		module[strcspn(module, "\n")] = 0;
		fclose(f);
	}
	ret = nl_open_any(&nl);
	if (ret && ret != -ENOENT)
		return exit_code(ret);

	out_object(NULL);
	out_string("tool", "tapmig ", COLOR_NONE, TAPMIG_VERSION);
	out_u64("tool_family_version", ", netlink family version ", COLOR_NONE,
		TAPMIG_FAMILY_VERSION);
	out_u64("tool_abi_version", ", ioctl version ", COLOR_NONE,
		TAPMIG_ABI_VERSION);
	out_line();
	if (*module)
		out_string("module", "module ", COLOR_NONE, module);
	else if (ret)
		out_text("module not loaded");
	else
		out_text("module of unknown version");
	if (!ret)
		out_u64("module_family_version", ", netlink family version ",
			COLOR_NONE, nl.version);
	out_line();
	out_object_end();

	if (ret)
		return EXIT_OK;
	ret = nl.version == TAPMIG_FAMILY_VERSION ? EXIT_OK : EXIT_REFUSED;
	nl_close(&nl);
	if (ret)
		err("module and tool are of different releases: they refuse each other");
	return ret;
}
