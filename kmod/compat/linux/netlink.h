/* SPDX-License-Identifier: GPL-2.0-only */
/* Messages with arguments: extack had no room for their text. */
#ifndef _TAPMIG_COMPAT_LINUX_NETLINK_H
#define _TAPMIG_COMPAT_LINUX_NETLINK_H

#include_next <linux/netlink.h>

#ifndef TAPMIG_HAVE_EXTACK_FMT
__printf(2, 3)
void tapmig_compat_extack(struct netlink_ext_ack *extack, const char *fmt,
			  ...);

#define NL_SET_ERR_MSG_FMT(extack, fmt, args...)			\
	tapmig_compat_extack((extack), fmt, ##args)

#define NL_SET_ERR_MSG_ATTR_FMT(extack, attr, fmt, args...)		\
do {									\
	struct netlink_ext_ack *__extack = (extack);			\
									\
	tapmig_compat_extack(__extack, fmt, ##args);			\
	NL_SET_BAD_ATTR(__extack, (attr));				\
} while (0)
#endif

#endif /* _TAPMIG_COMPAT_LINUX_NETLINK_H */
