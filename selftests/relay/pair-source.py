#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest moves from one kernel to another. Runs in the source's VM.

    pair-source.py [CASE]...
"""

import os
import sys

import rig
from cases import case, main, row, whole
from rig import Move, expect, run

PEER = "10.9.1.2"
REMOTE = (os.path.join(rig.HERE, "remote.py"),)
STOPPED = 4500
# What a slow machine can deliver, and more than four rings take.
RATE = 2500
FLOWS = ("u:64", "u:200", "u:512", "u:700", "u:1400", "g:2", "g:8", "g:40",
         "b:100", "m:100")


def link_up():
    """The bridges of both machines are joined by VLAN 10 of the link."""
    far = "ip -n hostB "
    for line in (
            "ip link add link eth0 name far netns switch type vlan id 10",
            "ip -n switch link set far master sw0 up"):
        run(*line.split())
    for line in (
            "ip netns add hostB",
            "ip netns exec hostB sysctl -qw"
            " net.ipv6.conf.all.disable_ipv6=1"
            " net.ipv6.conf.default.disable_ipv6=1",
            far + "link set lo up",
            far + "link add br0 type bridge forward_delay 0"
            " mcast_snooping 0",
            far + "link set br0 up",
            "ip link add link eth0 name uplink netns hostB type vlan id 10",
            far + "link set uplink master br0 up"):
        run(*REMOTE, *line.split())


def relays(m):
    address = f"tcp:{PEER}:7707"
    m.rb = m.relay(None, "--listen", address, "--insecure", "--netns",
                   "hostB", wrap=REMOTE)
    m.ra = m.relay(None, "--connect", address, "--insecure", "--netns",
                   "hostA", "--linger", "500")


def kernels():
    return os.uname().release.split("-")[0].split("+")[0] + " to " + \
        run(*REMOTE, "uname", "-r").stdout.split("-")[0].split("+")[0].strip()


@case
def stock_kernels_lose():
    with Move(flows=FLOWS, rate=RATE, queues=(4, 4)) as m:
        m.source_up(hold=False)
        m.standby_up(hold=False)
        m.a.ask("stop")
        m.sender.frames(STOPPED)
        m.redirect()
        m.sender.frames(2 * len(FLOWS))
        m.b.ask("run")
        m.sender.frames(500)
        counts = m.finish()
        row(f"no relay, {kernels()}, 4 queues", counts)
        expect(counts["lost"] > STOPPED / 2, f"lost only {counts['lost']}")


def migrate(m, fault):
    m.source_up(max_bytes=300 << 20)
    m.standby_up(max_bytes=300 << 20)
    relays(m)
    m.paired()
    m.stop()
    m.sender.frames(STOPPED)
    m.start()
    m.in_step()
    m.sender.frames(500)
    a, b = m.relays_done()
    expect(a["result"] == b["result"] == "done", f"{a} {b}")
    counts = m.finish()
    row(f"{fault}, {kernels()}, 4 queues", counts,
        wait_ms=a["longest_wait_ms"])
    whole(counts)
    expect(counts.kinds["g"]["sent"] > STOPPED, "few large packets")


@case
def relay_moves_all_between_kernels():
    with Move(flows=FLOWS, rate=RATE, queues=(4, 4)) as m:
        migrate(m, "none")


@case
def clocks_differ_by_hours():
    run(*REMOTE, "date", "-s", "5 hours")
    with Move(flows=FLOWS, rate=RATE, queues=(4, 4)) as m:
        migrate(m, "clock of the destination ahead by 5 hours")


rig.REMOTE["hostB"] = REMOTE
rig.topology_up(far=True)
link_up()
sys.exit(main(sys.argv[1:]))
