/* SPDX-License-Identifier: GPL-2.0-only */
/* Memory for objects of a type. */
#ifndef _TAPMIG_COMPAT_LINUX_SLAB_H
#define _TAPMIG_COMPAT_LINUX_SLAB_H

#include_next <linux/slab.h>

#ifndef kmalloc_obj
#define kmalloc_obj(obj, gfp)	kmalloc(sizeof(obj), gfp)
#define kzalloc_obj(obj, gfp)	kzalloc(sizeof(obj), gfp)
#define kzalloc_objs(obj, count, gfp)					\
	kcalloc(count, sizeof(obj), gfp)
#define kvmalloc_objs(obj, count, gfp)					\
	kvmalloc_array(count, sizeof(obj), gfp)
#define kvzalloc_objs(obj, count, gfp)					\
	kvcalloc(count, sizeof(obj), gfp)
#endif

#endif /* _TAPMIG_COMPAT_LINUX_SLAB_H */
