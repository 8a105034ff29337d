// SPDX-License-Identifier: GPL-2.0-only
/* /dev/tapmig and the hold fds. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/poll.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "hold.h"

/* The sizes of version 1; smaller structures were never valid. */
#define TAPMIG_CREATE_SIZE_1	sizeof(struct tapmig_create)
#define TAPMIG_INFO_SIZE_1	sizeof(struct tapmig_info)
#define TAPMIG_SET_SIZE_1	sizeof(struct tapmig_set)

/**
 * struct tapmig_handle - what a hold fd stands for
 * @lock: guards @hold
 * @hold: the hold, referenced; ADD_QUEUE with JOIN changes it
 * @left: the hold before that, referenced: somebody may poll it
 * @seen: hold->event at the last INFO
 */
struct tapmig_handle {
	struct mutex lock; /* guards the rest */
	struct tapmig_hold *hold;
	struct tapmig_hold *left;
	int seen;
};

static struct tapmig_hold *tapmig_handle_get(struct tapmig_handle *handle)
{
	struct tapmig_hold *h;

	mutex_lock(&handle->lock);
	h = handle->hold;
	refcount_inc(&h->ref);
	mutex_unlock(&handle->lock);
	return h;
}

/* Copy a structure that begins with its size; see uapi/linux/tapmig.h. */
static int tapmig_copy_in(void *to, size_t size, void __user *from)
{
	u32 given;

	if (get_user(given, (u32 __user *)from))
		return -EFAULT;
	if (given < size)
		return -EINVAL;
	if (given > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(to, size, from, given);
}

static int tapmig_create_check(struct tapmig_create *c)
{
	u32 flags = TAPMIG_HOLD_FLAGS_DETACHED | TAPMIG_HOLD_FLAGS_PINNED;

	if (c->abi_version != TAPMIG_ABI_VERSION)
		return -EPROTO;
	if (c->flags & ~flags || c->role > TAPMIG_ROLE_STANDBY ||
	    c->dedup > TAPMIG_DEDUP_OFF ||
	    c->deadline_action > TAPMIG_DEADLINE_ACTION_DISCARD ||
	    c->ifindex > INT_MAX ||
	    memchr_inv(c->reserved, 0, sizeof(c->reserved)) ||
	    strnlen(c->label, sizeof(c->label)) == sizeof(c->label))
		return -EINVAL;
	c->max_frozen_ms = c->max_frozen_ms ?: TAPMIG_DEF_MAX_FROZEN_MS;
	c->wait_import_ms = c->wait_import_ms ?: TAPMIG_DEF_WAIT_IMPORT_MS;
	c->max_packets = c->max_packets ?: TAPMIG_DEF_MAX_PACKETS;
	c->max_bytes = c->max_bytes ?: TAPMIG_DEF_MAX_BYTES;
	return 0;
}

static int tapmig_hold_release(struct inode *inode, struct file *file)
{
	struct tapmig_handle *handle = file->private_data;

	tapmig_hold_owner_gone(handle->hold);
	tapmig_hold_put(handle->hold);
	if (handle->left)
		tapmig_hold_put(handle->left);
	mutex_destroy(&handle->lock);
	kfree(handle);
	return 0;
}

/* Make @handle one of the hold that has the queue @file. */
static int tapmig_join(struct tapmig_handle *handle, struct file *file)
{
	struct tapmig_hold *h, *old;
	int err = 0;

	h = tapmig_queue_find_hold(file);
	if (!h)
		return -ENOENT;

	mutex_lock(&handle->lock);
	old = handle->hold;
	if (old == h || handle->left || READ_ONCE(old->nr_queues)) {
		err = -EBUSY;
		goto unlock;
	}
	mutex_lock(&h->lock);
	if (h->gone)
		err = -ENOENT;
	else
		h->owners++;
	mutex_unlock(&h->lock);
	if (!err) {
		handle->hold = h;
		handle->left = old;
		/* So that poll() tells of the change. */
		WRITE_ONCE(handle->seen, atomic_read(&h->event) - 1);
	}
unlock:
	mutex_unlock(&handle->lock);
	if (err) {
		tapmig_hold_put(h);
		return err;
	}
	tapmig_hold_owner_gone(old);
	return 0;
}

static long tapmig_ioctl_add_queue(struct tapmig_handle *handle,
				   struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_add_queue a;
	struct file *file;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags & ~TAPMIG_ADD_QUEUE_JOIN || a.index > U16_MAX ||
	    memchr_inv(a.reserved, 0, sizeof(a.reserved)))
		return -EINVAL;
	file = fget(a.fd);
	if (!file)
		return -EBADF;
	do {
		err = -ENOENT;
		if (a.flags & TAPMIG_ADD_QUEUE_JOIN)
			err = tapmig_join(handle, file);
		if (err == -ENOENT)
			err = tapmig_queue_add(h, file, a.index);
		/* Another was faster: then there is a hold to join. */
	} while (err == -EALREADY && (a.flags & TAPMIG_ADD_QUEUE_JOIN) &&
		 !signal_pending(current));
	fput(file);
	return err == -EALREADY ? -EEXIST : err;
}

static long tapmig_ioctl_prepare(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_prepare a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags || a.reserved)
		return -EINVAL;
	return tapmig_hold_prepare(h, a.entries);
}

static long tapmig_ioctl_freeze(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_freeze a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags & ~TAPMIG_FREEZE_DETACHED ||
	    memchr_inv(a.reserved, 0, sizeof(a.reserved)))
		return -EINVAL;
	return tapmig_hold_freeze(h, a.flags & TAPMIG_FREEZE_DETACHED, NULL);
}

static long tapmig_ioctl_unread(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_unread a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags & ~TAPMIG_UNREAD_VNET_BE || a.reserved)
		return -EINVAL;
	return tapmig_unread(h, &a);
}

static long tapmig_ioctl_thaw(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_thaw a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags & ~TAPMIG_THAW_WAIT ||
	    memchr_inv(a.reserved, 0, sizeof(a.reserved)))
		return -EINVAL;
	err = tapmig_thaw(h, NULL);
	if (!(a.flags & TAPMIG_THAW_WAIT))
		return err;
	if (err && READ_ONCE(h->state) != TAPMIG_STATE_THAWING)
		return err;
	return tapmig_thaw_wait(h);
}

static long tapmig_ioctl_discard(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_discard a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags)
		return -EINVAL;
	return tapmig_hold_discard(h, NULL);
}

static long tapmig_ioctl_commit(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_commit a;
	int err;

	err = tapmig_copy_in(&a, sizeof(a), arg);
	if (err)
		return err;
	if (a.flags)
		return -EINVAL;
	return tapmig_hold_commit(h, a.seq, NULL);
}

static long tapmig_ioctl_set(struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_set a;
	u32 bad;
	int err;

	err = tapmig_copy_in(&a, TAPMIG_SET_SIZE_1, arg);
	if (err)
		return err;
	if (a.mask & ~(TAPMIG_SET_MAC | (TAPMIG_SET_MAC - 1)) ||
	    memchr_inv(a.reserved, 0, sizeof(a.reserved)) ||
	    ((a.mask & TAPMIG_SET_DEDUP) && a.dedup > TAPMIG_DEDUP_OFF) ||
	    ((a.mask & TAPMIG_SET_DEADLINE_ACTION) &&
	     a.deadline_action > TAPMIG_DEADLINE_ACTION_DISCARD))
		return -EINVAL;
	return tapmig_hold_set(h, &a, NULL, &bad, NULL);
}

static long tapmig_ioctl_info(struct tapmig_handle *handle,
			      struct tapmig_hold *h, void __user *arg)
{
	struct tapmig_info info = {};
	u32 given;

	if (get_user(given, (u32 __user *)arg))
		return -EFAULT;
	if (given < TAPMIG_INFO_SIZE_1)
		return -EINVAL;
	if (given > PAGE_SIZE)
		return -E2BIG;
	info.size = sizeof(info);
	mutex_lock(&h->lock);
	WRITE_ONCE(handle->seen, atomic_read(&h->event));
	tapmig_hold_info(h, &info);
	mutex_unlock(&h->lock);
	return copy_to_user(arg, &info, sizeof(info)) ? -EFAULT : 0;
}

static long tapmig_hold_ioctl(struct file *file, unsigned int cmd,
			      unsigned long arg)
{
	struct tapmig_handle *handle = file->private_data;
	void __user *uarg = (void __user *)arg;
	struct tapmig_hold *h;
	long res;

	h = tapmig_handle_get(handle);
	switch (cmd) {
	case TAPMIG_ADD_QUEUE:
		res = tapmig_ioctl_add_queue(handle, h, uarg);
		break;
	case TAPMIG_PREPARE:
		res = tapmig_ioctl_prepare(h, uarg);
		break;
	case TAPMIG_FREEZE:
		res = tapmig_ioctl_freeze(h, uarg);
		break;
	case TAPMIG_UNREAD:
		res = tapmig_ioctl_unread(h, uarg);
		break;
	case TAPMIG_THAW:
		res = tapmig_ioctl_thaw(h, uarg);
		break;
	case TAPMIG_DISCARD:
		res = tapmig_ioctl_discard(h, uarg);
		break;
	case TAPMIG_COMMIT:
		res = tapmig_ioctl_commit(h, uarg);
		break;
	case TAPMIG_INFO:
		res = tapmig_ioctl_info(handle, h, uarg);
		break;
	case TAPMIG_SET:
		res = tapmig_ioctl_set(h, uarg);
		break;
	default:
		res = -ENOTTY;
	}
	tapmig_hold_put(h);
	return res;
}

static __poll_t tapmig_hold_poll(struct file *file, poll_table *wait)
{
	struct tapmig_handle *handle = file->private_data;
	struct tapmig_hold *h;
	__poll_t mask = 0;

	h = tapmig_handle_get(handle);
	poll_wait(file, &h->wq, wait);
	if (READ_ONCE(handle->seen) != atomic_read(&h->event))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(h->gone) || READ_ONCE(h->state) == TAPMIG_STATE_DEAD)
		mask |= EPOLLHUP;
	tapmig_hold_put(h);
	return mask;
}

static void tapmig_hold_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct tapmig_hold *h = tapmig_handle_get(file->private_data);

	seq_printf(m, "tapmig-id:\t%u\ntapmig-state:\t%s\n", h->id,
		   tapmig_state_name(READ_ONCE(h->state)));
	tapmig_hold_put(h);
}

static const struct file_operations tapmig_hold_fops = {
	.owner = THIS_MODULE,
	.release = tapmig_hold_release,
	.unlocked_ioctl = tapmig_hold_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = tapmig_hold_poll,
	.show_fdinfo = tapmig_hold_show_fdinfo,
	.llseek = noop_llseek,
};

static long tapmig_ioctl_create(void __user *arg)
{
	struct tapmig_handle *handle;
	struct tapmig_create c;
	struct file *file;
	int err, fd;

	err = tapmig_copy_in(&c, TAPMIG_CREATE_SIZE_1, arg);
	if (err)
		return err;
	err = tapmig_create_check(&c);
	if (err)
		return err;

	handle = kzalloc_obj(*handle, GFP_KERNEL_ACCOUNT);
	if (!handle)
		return -ENOMEM;
	mutex_init(&handle->lock);
	handle->hold = tapmig_hold_create(current->nsproxy->net_ns, &c);
	if (IS_ERR(handle->hold)) {
		err = PTR_ERR(handle->hold);
		goto free_handle;
	}
	handle->seen = atomic_read(&handle->hold->event);

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto put_hold;
	}
	file = anon_inode_getfile("[tapmig]", &tapmig_hold_fops, handle,
				  O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto put_fd;
	}
	if (put_user(handle->hold->id,
		     &((struct tapmig_create __user *)arg)->id)) {
		/* The file's release undoes the rest. */
		put_unused_fd(fd);
		fput(file);
		return -EFAULT;
	}
	fd_install(fd, file);
	return fd;

put_fd:
	put_unused_fd(fd);
put_hold:
	tapmig_hold_owner_gone(handle->hold);
	tapmig_hold_put(handle->hold);
free_handle:
	mutex_destroy(&handle->lock);
	kfree(handle);
	return err;
}

static long tapmig_dev_ioctl(struct file *file, unsigned int cmd,
			     unsigned long arg)
{
	if (cmd != TAPMIG_CREATE)
		return -ENOTTY;
	return tapmig_ioctl_create((void __user *)arg);
}

static const struct file_operations tapmig_dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = tapmig_dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

static struct miscdevice tapmig_miscdev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = TAPMIG_DEVICE_NAME,
	.fops = &tapmig_dev_fops,
	.mode = 0660,
};

/**
 * tapmig_dev_init - make the device
 *
 * Return: 0 or -errno.
 */
int __init tapmig_dev_init(void)
{
	return misc_register(&tapmig_miscdev);
}

/** tapmig_dev_exit - the end */
void tapmig_dev_exit(void)
{
	misc_deregister(&tapmig_miscdev);
}
