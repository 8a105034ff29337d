/* SPDX-License-Identifier: GPL-2.0-only */
/* Before there was back-pressure, nobody had to be told of consumption. */
#ifndef _TAPMIG_COMPAT_LINUX_IF_TUN_H
#define _TAPMIG_COMPAT_LINUX_IF_TUN_H

#include_next <linux/if_tun.h>

#ifndef TAPMIG_HAVE_TUN_WAKE_QUEUE
static inline void tun_wake_queue(struct file *file, int consumed)
{
}
#endif

#endif /* _TAPMIG_COMPAT_LINUX_IF_TUN_H */
