// SPDX-License-Identifier: GPL-2.0-only
/* The module. */
#include <linux/module.h>

#include "hold.h"

static int __init tapmig_init(void)
{
	int err;

	err = tapmig_dedup_init();
	if (err)
		return err;
	err = tapmig_holds_init();
	if (err)
		return err;
	err = tapmig_nl_init();
	if (err)
		goto exit_holds;
	err = tapmig_dev_init();
	if (err)
		goto exit_nl;
	return 0;

exit_nl:
	tapmig_nl_exit();
exit_holds:
	tapmig_holds_exit();
	return err;
}

static void __exit tapmig_exit(void)
{
	tapmig_dev_exit();
	tapmig_nl_exit();
	tapmig_holds_exit();
	tapmig_users_exit();
}

module_init(tapmig_init);
module_exit(tapmig_exit);
MODULE_DESCRIPTION("Hold the packets of a TAP queue across a migration");
MODULE_AUTHOR("Seed da845db7 maintainers <maintainers@users.noreply.b-seed-da845db7.example>");
MODULE_VERSION(TAPMIG_VERSION);
MODULE_LICENSE("GPL");
