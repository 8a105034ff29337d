// SPDX-License-Identifier: GPL-2.0-only
/* tapmig thaw SELECTOR [wait] */
#include "tool.h"

int cmd_thaw(struct args *a)
{
	return hold_simple_cmd(TAPMIG_CMD_HOLD_THAW, "thaw", a, true);
}
