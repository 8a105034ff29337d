/* SPDX-License-Identifier: GPL-2.0-only */
/* Its declarations were in linux/netdevice.h. */
#ifndef _TAPMIG_COMPAT_NET_GSO_H
#define _TAPMIG_COMPAT_NET_GSO_H

#ifdef TAPMIG_HAVE_NET_GSO_H
#include_next <net/gso.h>
#else
#include <linux/netdevice.h>
#endif

#endif /* _TAPMIG_COMPAT_NET_GSO_H */
