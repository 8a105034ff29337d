// SPDX-License-Identifier: GPL-2.0-only
/* How much memory the holds of one user, and of all, may take. */
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "hold.h"

#define TAPMIG_USER_MAX_HOLDS	1024
#define TAPMIG_USER_MAX_BYTES	SZ_1G

/**
 * struct tapmig_user - a user without privileges, who has holds
 * @node: in the table; tapmig_users_lock
 * @uid: who
 * @holds: number of holds; tapmig_users_lock
 * @bytes: memory of their packets
 */
struct tapmig_user {
	struct hlist_node node;
	kuid_t uid;
	unsigned int holds;
	atomic64_t bytes;
};

static DEFINE_HASHTABLE(tapmig_users, 6);
static DEFINE_SPINLOCK(tapmig_users_lock);

static atomic64_t tapmig_all_bytes;
static s64 tapmig_all_max_bytes __ro_after_init;

/*
 * Who is to answer for what this process does. A user has a range of others in
 * the namespaces that it makes, but these are all its own. To whom root gives a
 * namespace is up to root.
 */
static kuid_t tapmig_user_current(void)
{
	const struct user_namespace *ns;
	kuid_t uid = current_uid();

	for (ns = current_user_ns(); ns != &init_user_ns; ns = ns->parent)
		if (!uid_eq(ns->owner, GLOBAL_ROOT_UID))
			uid = ns->owner;
	return uid;
}

/**
 * tapmig_user_get - count a hold of the user that asks for it
 *
 * Return: the user; ERR_PTR(-EUSERS): has too many holds; ERR_PTR(-ENOMEM).
 */
struct tapmig_user *tapmig_user_get(void)
{
	kuid_t uid = tapmig_user_current();
	struct tapmig_user *u, *new;

	new = kzalloc_obj(*new, GFP_KERNEL_ACCOUNT);
	if (!new)
		return ERR_PTR(-ENOMEM);
	new->uid = uid;

	spin_lock(&tapmig_users_lock);
	hash_for_each_possible(tapmig_users, u, node, __kuid_val(uid))
		if (uid_eq(u->uid, uid))
			goto found;
	u = new;
	new = NULL;
	hash_add(tapmig_users, &u->node, __kuid_val(uid));
found:
	if (u->holds < TAPMIG_USER_MAX_HOLDS)
		u->holds++;
	else
		u = ERR_PTR(-EUSERS);
	spin_unlock(&tapmig_users_lock);
	kfree(new);
	return u;
}

/**
 * tapmig_user_put - a hold of a user is gone
 * @u: the user, or NULL
 */
void tapmig_user_put(struct tapmig_user *u)
{
	if (!u)
		return;
	spin_lock(&tapmig_users_lock);
	if (--u->holds)
		u = NULL;
	else
		hash_del(&u->node);
	spin_unlock(&tapmig_users_lock);
	/* Only holds charge it, and none is left. */
	WARN_ON_ONCE(u && atomic64_read(&u->bytes));
	kfree(u);
}

/**
 * tapmig_user_charge - account for the memory of packets
 * @u: whose, or NULL: privileged
 * @bytes: how much
 *
 * Return: false if that is too much.
 */
bool tapmig_user_charge(struct tapmig_user *u, u64 bytes)
{
	if (atomic64_add_return(bytes, &tapmig_all_bytes) >
	    tapmig_all_max_bytes)
		goto undo_all;
	if (u && atomic64_add_return(bytes, &u->bytes) >
		 TAPMIG_USER_MAX_BYTES)
		goto undo_user;
	return true;

undo_user:
	atomic64_sub(bytes, &u->bytes);
undo_all:
	atomic64_sub(bytes, &tapmig_all_bytes);
	return false;
}

/**
 * tapmig_user_uncharge - packets are no longer held
 * @u: whose, or NULL: privileged
 * @bytes: their memory
 */
void tapmig_user_uncharge(struct tapmig_user *u, u64 bytes)
{
	if (u)
		atomic64_sub(bytes, &u->bytes);
	atomic64_sub(bytes, &tapmig_all_bytes);
}

/** tapmig_users_init - set the limit for all: half of the memory */
void __init tapmig_users_init(void)
{
	tapmig_all_max_bytes = (s64)totalram_pages() << (PAGE_SHIFT - 1);
}

/** tapmig_users_exit - the end; there are no holds any more */
void __exit tapmig_users_exit(void)
{
	WARN_ON(!hash_empty(tapmig_users));
	WARN_ON(atomic64_read(&tapmig_all_bytes));
}
