// SPDX-License-Identifier: GPL-2.0-only
//
// The hook runs in the sender's context, with the wait queue's lock and
// interrupts off. Neither it nor anything that it calls frees, puts, sleeps,
// or takes a lock that is not for that.

@initialize:python@
@@
import re

HOOK = "tapmig_queue_hook"
NOT_THERE = re.compile(
    r"^(kfree|kvfree|vfree|kfree_\w+|kvfree_\w+|consume_skb|dev_kfree_\w+|"
    r"skb_(orphan|scrub_packet|ext_\w+|dst_drop)|nf_reset_ct|tun_ptr_free|"
    r"xdp_return_\w+|tapmig_\w+_free|tapmig_pkt_scrub|(\w+_)?f?put(_\w+)?|"
    r"mutex_lock\w*|rtnl_lock|down\w*|msleep\w*|schedule|cond_resched|"
    r"might_sleep|synchronize_\w+|cancel_\w+_sync|flush_\w+|wait_event\w*|"
    r"spin_lock(_bh|_irq)?|spin_unlock(_bh|_irq))$")

# Each with the reason.
FINE = {
    # With the reference of a work item that was pending, never the last: a
    # hook is removed before the table of holds gives its reference up.
    "tapmig_hold_put",
    # Leaves it to the softirq.
    "dev_kfree_skb_irq",
}

# After the trylock.
UNLOCKS = {("tapmig_queue_hook", "spin_unlock")}

calls = {}

@call@
identifier g;
position p;
@@
g@p(...)

@script:python@
g << call.g;
p << call.p;
@@
calls.setdefault(p[0].current_element, {}).setdefault(
    g, "%s:%s" % (p[0].file, p[0].line))

@finalize:python@
@@
path = {HOOK: HOOK}
todo = [HOOK]
if HOOK not in calls:
    print("%s() is not there" % HOOK)
while todo:
    f = todo.pop()
    for g, where in sorted(calls.get(f, {}).items()):
        if g in FINE or (f, g) in UNLOCKS:
            continue
        if NOT_THERE.match(g):
            print("%s: %s(), called by the hook: %s" % (where, g, path[f]))
        elif g not in path:
            path[g] = path[f] + " > " + g
            todo.append(g)
