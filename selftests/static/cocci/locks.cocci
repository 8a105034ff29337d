// SPDX-License-Identifier: GPL-2.0-only
//
// The members of a hold are used with their lock: those behind pkt_lock on a
// path on which it was taken or is asserted; those behind lock in a function
// that takes or asserts it, or all of whose callers do. Which are which, the
// order in kmod/hold.h says.

@initialize:python@
@@
import re

# Changed with both, so that either will do.
BOTH = ("counts", "max_packets", "max_bytes", "frozen_at")
# They have their own way to be safe.
SAFE = ("struct delayed_work", "struct work_struct", "wait_queue_head_t",
        "atomic_t", "spinlock_t", "netdevice_tracker")
guard = {}
level = None
for line in open("kmod/hold.h"):
    if re.match(r"struct tapmig_hold \{", line):
        level = "never"
    elif line.startswith("}"):
        level = None
    m = re.match(r"\t(.*?)\*?(\w+)(\[.*\])?;", line)
    if not level or not m:
        continue
    if m.group(2) in ("lock", "pkt_lock"):
        level = m.group(2)
    elif not m.group(1).startswith(SAFE):
        guard[m.group(2)] = level

calls = {}
uses = {}
locked = set()
holders = set()
alone = set()

def where(p):
    return "%s:%s" % (p.file, p.line)

@once@
struct tapmig_hold *h;
identifier m;
position p;
@@
\(READ_ONCE\|WRITE_ONCE\|data_race\)(<+... h->m@p ...+>, ...)

@locked exists@
struct tapmig_hold *h;
expression g;
identifier m;
position p;
@@
\(spin_lock_irq\|spin_lock_irqsave\|lockdep_assert_held\)(&g->pkt_lock, ...)
... when != spin_unlock_irq(&g->pkt_lock)
    when != spin_unlock_irqrestore(&g->pkt_lock, ...)
    when any
h->m@p

@script:python@
m << locked.m;
p << locked.p;
@@
locked.add((m, where(p[0])))

@use@
struct tapmig_hold *h;
identifier m;
position p != once.p;
@@
h->m@p

@script:python@
m << use.m;
p << use.p;
@@
uses.setdefault(p[0].current_element, []).append((m, where(p[0])))

// Whether a queue is frozen, readers of its ring rely on.
@consumer exists@
struct tapmig_queue *q;
struct ptr_ring *r;
expression e;
position p;
@@
\(spin_lock_bh\|spin_trylock\|lockdep_assert_held\)(&r->consumer_lock)
... when != spin_unlock_bh(&r->consumer_lock)
    when any
\(q->frozen@p = e\|WRITE_ONCE(q->frozen@p, e)\)

@frozen@
struct tapmig_queue *q;
expression e;
position p != consumer.p;
@@
\(q->frozen@p = e\|WRITE_ONCE(q->frozen@p, e)\)

@script:python@
p << frozen.p;
@@
print("%s: %s: frozen without the consumer lock" %
      (where(p[0]), p[0].current_element))

@hold@
struct tapmig_hold *h;
position p;
@@
(
mutex_lock@p(&h->lock)
|
mutex_lock_interruptible@p(&h->lock)
|
lockdep_assert_held@p(&h->lock)
)

@script:python@
p << hold.p;
@@
holders.add(p[0].current_element)

@new@
struct tapmig_hold *h;
position p;
@@
(
mutex_init@p(&h->lock)
|
mutex_destroy@p(&h->lock)
)

@script:python@
p << new.p;
@@
alone.add(p[0].current_element)

@call@
identifier g;
position p;
@@
g@p(...)

@script:python@
g << call.g;
p << call.p;
@@
calls.setdefault(g, set()).add(p[0].current_element)

@finalize:python@
@@
def held(f, seen=()):
    if f in holders or f in alone:
        return True
    callers = calls.get(f, set()) - set(seen)
    return bool(callers) and all(held(c, (*seen, f)) for c in callers)

if "pkt_lock" not in guard.values() or "lock" not in guard.values():
    print("kmod/hold.h: which lock guards what?")
for f, members in sorted(uses.items()):
    for m, at in members:
        lock = guard.get(m, "never")
        if (m, at) in locked and (lock == "pkt_lock" or m in BOTH):
            continue
        if lock == "pkt_lock" and f not in alone:
            print("%s: %s: %s without pkt_lock" % (at, f, m))
        elif lock == "lock" and not held(f):
            print("%s: %s: %s without lock" % (at, f, m))
