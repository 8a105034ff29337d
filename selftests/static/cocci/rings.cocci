// SPDX-License-Identifier: GPL-2.0-only
//
// Rings, queues and sockets of tun and tap are the business of one file: what
// they look inside changes from kernel to kernel. Only to tell what kind of
// packet a ring entry is, and to free one, is allowed elsewhere.

@initialize:python@
@@
HOME = ("kmod/queue.c",)
ENTRIES = ("tun_is_xdp_frame", "tun_ptr_to_xdp", "tun_xdp_to_ptr",
           "tun_ptr_free")

def elsewhere(p, what):
    if p.file not in HOME:
        print("%s:%s: %s: %s is for kmod/queue.c" %
              (p.file, p.line, p.current_element, what))

@call@
identifier fn =~ "^(__)?(ptr_ring_|tun_|tap_)";
position p;
@@
fn@p(...)

@script:python@
fn << call.fn;
p << call.p;
@@
if fn not in ENTRIES:
    elsewhere(p[0], fn + "()")

@ring@
struct ptr_ring *r;
identifier m;
position p;
@@
r->m@p

@queue@
struct tap_queue *r;
identifier m;
position p;
@@
r->m@p

@socket@
struct socket *r;
identifier m;
position p;
@@
r->m@p

@script:python@
m << ring.m;
p << ring.p;
@@
elsewhere(p[0], "what is in a ring (%s)" % m)

@script:python@
m << queue.m;
p << queue.p;
@@
elsewhere(p[0], "what is in a queue (%s)" % m)

@script:python@
m << socket.m;
p << socket.p;
@@
elsewhere(p[0], "what is in a socket (%s)" % m)
