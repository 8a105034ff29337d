// SPDX-License-Identifier: GPL-2.0-only
/* tapmig discard SELECTOR */
#include "tool.h"

int cmd_discard(struct args *a)
{
	return hold_simple_cmd(TAPMIG_CMD_HOLD_DISCARD, "discard", a, false);
}
