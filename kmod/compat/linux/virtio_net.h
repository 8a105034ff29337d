/* SPDX-License-Identifier: GPL-2.0-only */
/* GSO types that a header from another kernel can have. */
#ifndef _TAPMIG_COMPAT_LINUX_VIRTIO_NET_H
#define _TAPMIG_COMPAT_LINUX_VIRTIO_NET_H

#include_next <linux/virtio_net.h>

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4	5
#endif

#endif /* _TAPMIG_COMPAT_LINUX_VIRTIO_NET_H */
