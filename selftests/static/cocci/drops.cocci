// SPDX-License-Identifier: GPL-2.0-only
//
// No packet goes away without a trace: who frees one counts it, or says in a
// comment before the call where it is counted ("counted"), or why nothing is
// lost ("no loss").

@initialize:python@
@@
import re

SAYS = re.compile(r"\b(counted|no loss)\b", re.I)
frees = []
counting = set()

# The comment that ends right before this line, or what stands on it.
def comment(name, line):
    text = open(name).read().split("\n")
    said = []
    n = line - 2
    while n >= 0 and re.match(r"\s*(/?\*|if \(|kfree_skb)", text[n]):
        said.append(text[n])
        n -= 1
    return " ".join(said)

@free@
identifier fn =~ "^(kfree_skb(_list|_reason)?|dev_kfree_skb(_any|_irq)?|tun_ptr_free|tapmig_pkt_free|tapmig_list_free|xdp_return_frame.*)$";
position p;
@@
fn@p(...)

@script:python@
fn << free.fn;
p << free.p;
@@
frees.append((p[0].file, int(p[0].line), p[0].current_element, fn))

@count@
struct tapmig_hold *h;
identifier c;
expression e;
position p;
@@
(
h->counts.c++@p
|
h->counts.c@p += e
)

@script:python@
p << count.p;
@@
counting.add(p[0].current_element)

@finalize:python@
@@
# Freeing is what these are for.
MEANS = {"tapmig_pkt_free", "tapmig_list_free"}

if not frees or not counting:
    print("nothing is freed, or nothing counted")
for name, line, where, fn in frees:
    if where in counting or where in MEANS or SAYS.search(comment(name, line)):
        continue
    print("%s:%d: %s: %s() of a packet that nobody counts" %
          (name, line, where, fn))
