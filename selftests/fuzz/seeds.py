#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Inputs for the fuzzers to begin with.

    seeds.py DIR        makes DIR/capture and DIR/relay

Captures are those of the tests of the formats, good ones and bad ones. Those
for the relay are conversations as docs/relay.md has them, with what happens
in its host meanwhile as blocks that relay.c explains.
"""

import os
import shutil
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../../userspace/tests"),
                os.path.join(HERE, "../relay")]
import formats  # noqa: E402
import peer  # noqa: E402

# Longer ones make it slow; a few are enough for what needs them.
LONGEST = 100 << 10
BOOTED, REALTIME = 1000 * 10**9, 1700000000 * 10**9
FIRST = formats.SEQ_FIRST
ETHERNET, RAW = 0, 1
EVENTS = ("HOLD", "FAIL", "CLOCK", "PACKETS", "GONE", "PEER", "OVER", "STUCK",
          "LOST", "QUIT")
# The holds of relay.c, in order, with their handles.
OUT, IN, RAW_IN, LATER_OUT, LATER_IN = range(5)


class Captures(formats.Tests):
    """Every capture that a test has, without the test."""

    def __init__(self, directory):
        super().__init__(directory)
        self.directory = directory

    def reads(self, name, data, want):
        self.keep(name, data)

    def refuses(self, name, data, message, offset=None, packets=None):
        self.keep(name, data)

    def run(self, *args, **kwargs):
        """No program is needed."""
        raise StopIteration

    def keep(self, name, data):
        if len(data) <= LONGEST:
            write(self.directory, name, data)

    def main(self):
        for tests in (self.plain_captures, self.own_captures, self.hostile):
            try:
                tests()
            except StopIteration:
                pass
        short = [p for p in formats.own_packets() if len(p["data"]) < 1000]
        for order, name in (("<", "little"), (">", "big")):
            self.keep(f"own_{name}", formats.Ng(order).own(short))
        ng = formats.Ng()
        rest = dict(short[1], data=formats.frame(1, 60))
        split = ng.epb(rest["data"][:20], options=[
            ng.opt(5, ng.pack("Q", FIRST)), ng.opt(0x8002, rest["data"][20:]),
            ng.meta(rest)], length=60)
        self.keep("own_rest", ng.own_head() + split)
        shutil.rmtree(self.dir)


def write(directory, name, data):
    with open(os.path.join(directory, name), "wb") as f:
        f.write(data)


def event(name, *values):
    return peer.block(0x80FF0000 + EVENTS.index(name), bytes(values))


def clock(ms):
    return event("CLOCK", ms & 255, ms >> 8)


def hello(instance=b"that is the peer"):
    return peer.section() + peer.message("HELLO", 1, 0, instance) + \
        peer.message("PING", BOOTED) + \
        4 * peer.message("PONG", BOOTED, BOOTED + 5 * 10**9)


def offer(handle, role, label, state=peer.FROZEN, link=ETHERNET, **more):
    return peer.offer(handle, role, state, label, link=link,
                      frozen_ns=REALTIME, **more)


def packets(channel, count, first=FIRST):
    meta = struct.pack("<BBHHHHHHHI", 1, 0, 31, 0, 1, 5, 0x8100, 0x800, 0,
                       7).ljust(32, b"\0")
    return b"".join(
        peer.packet(channel, first + i, formats.frame(i),
                    meta if i % 2 else None, now=REALTIME + i)
        for i in range(count))


def incoming():
    """As far as BEGIN: the peer has the source of the hold IN."""
    return hello() + offer(9, peer.SOURCE, b"in") + \
        peer.interface(label=b"in") + peer.message("PAIR", 0, 9, IN + 1) + \
        peer.message("BEGIN", 0, 0, BOOTED)


def outgoing():
    """As far as the packets: the peer has the standby of the hold OUT."""
    return hello() + offer(5, peer.STANDBY, b"out") + \
        peer.message("PAIRED", 0)


def conversations():
    m = peer.message
    done = m("END", 0, 0)
    ended = m("ENDED", 0, 0, 3, 0, 0, 0, 0, 0, 0, 0)
    thawing = event("HOLD", IN, peer.THAWING, 4)
    live = event("HOLD", IN, peer.LIVE, 4)
    acked = m("ACK", 0, 0, FIRST + 2)
    synced = m("SYNC_REQUEST", 0) + m("SYNCED", 0) + clock(600) + acked
    full = event("FAIL", 10, 9, 0)
    return {
        "hello": hello(),
        "offers": hello() + b"".join(
            offer(i, i % 2, b"a%d" % (i // 2)) for i in range(1, 8)) +
        m("WITHDRAW", 3),
        "in": incoming() + packets(0, 5) + thawing + m("SYNC", 0, 0, FIRST)
        + live + packets(0, 2, FIRST + 5) + done,
        "in_cancelled": incoming() + packets(0, 3) + m("END", 0, 2) +
        m("BEGIN", 0, 0, BOOTED) + packets(0, 3) + m("END", 0, 1),
        "in_discarded": incoming() + packets(0, 3) + live + m("END", 0, 2),
        "in_refused": incoming() + event("FAIL", 10, 3, 1) + packets(0, 4) +
        done,
        "in_full": incoming() + full + packets(0, 4) + thawing + live +
        clock(60) + m("BEGIN", 0, 0, BOOTED) + packets(0, 4) + done,
        "in_gone": incoming() + packets(0, 2) + event("GONE", IN) +
        packets(0, 2) + done,
        "in_dead": incoming() + event("HOLD", IN, peer.DEAD) + done,
        "in_unpair": incoming() + m("UNPAIR", 0, 0, text="no more."),
        "in_raw": hello() + offer(9, peer.SOURCE, b"raw", link=RAW) +
        peer.interface(label=b"raw", link=101) + m("PAIR", 0, 9, RAW_IN + 1)
        + m("BEGIN", 0, 0, BOOTED) +
        peer.packet(0, FIRST, formats.ip(1), now=REALTIME) + done,
        "in_other_link": hello() + offer(9, peer.SOURCE, b"raw") +
        peer.interface(label=b"raw") + m("PAIR", 0, 9, RAW_IN + 1) +
        offer(10, peer.SOURCE, b"in") + peer.interface() +
        m("PAIR", 1, 10, 77) + m("BEGIN", 0, 0, BOOTED) + packets(0, 1),
        "in_refrozen": incoming() + event("HOLD", IN, peer.FROZEN, 4, 9),
        "out": outgoing() + acked + synced + ended,
        "out_full": outgoing() + m("ACK", 0, 0, FIRST) + m("FULL", 0) +
        m("MORE", 0) + acked + synced + ended,
        "out_thawed": outgoing() + event("HOLD", OUT, peer.ARMED) + ended +
        event("HOLD", OUT, peer.FROZEN, 0, 1) + acked,
        "out_gone": outgoing() + event("GONE", OUT) + ended,
        "out_unpair": outgoing() + m("UNPAIR", 0, 1, text="") +
        offer(5, peer.STANDBY, b"out", peer.THAWING) + m("PAIRED", 1),
        "out_again": outgoing() + m("ACK", 0, 0, FIRST) + event("OVER") +
        event("PEER", 1) + outgoing() + acked + synced + ended,
        "out_low": event("PACKETS", OUT, 5, 4, 2) + outgoing() +
        m("ACK", 0, 0, FIRST - 2) + m("ACK", 0, 0, FIRST + 2) + synced,
        "out_long": event("PACKETS", OUT, 60, 250, 1) + outgoing() +
        event("STUCK") + synced + event("STUCK"),
        "out_late": outgoing() + acked + m("SYNC_REQUEST", 0) +
        m("SYNCED", 0) + event("PACKETS", OUT, 6, 4, 0) + clock(3000) +
        m("ACK", 0, 0, FIRST + 5) + ended,
        "later": hello() + offer(5, peer.STANDBY, b"later", peer.ARMED) +
        m("PAIRED", 0) + event("HOLD", LATER_OUT, peer.FROZEN, 0, 9) +
        event("PACKETS", LATER_OUT, 2, 4) +
        offer(5, peer.STANDBY, b"later") + clock(20) +
        m("ACK", 0, 0, FIRST + 1),
        "both": incoming() + offer(5, peer.STANDBY, b"out") + m("PAIRED", 0)
        + packets(0, 3) + m("ACK", 0, 0, FIRST + 2) + done + synced + ended,
        "two_peers": incoming() + event("PEER", 1) +
        hello(b"that is another.") + offer(9, peer.SOURCE, b"in") +
        peer.interface() + m("PAIR", 0, 9, IN + 1) + event("PEER", 0) +
        packets(0, 1) + event("PEER", 1) + event("LOST") + event("OVER"),
        "replaced": incoming() + packets(0, 1) + event("PEER", 1) +
        incoming() + packets(0, 2) + done,
        "silent": hello() + clock(2500) + m("PONG", BOOTED, BOOTED) +
        clock(20000),
        "bye": hello() + m("BYE", text="that is it. "),
        "bye_long": hello() + peer.block(peer.MESSAGE + 4, b"x" * 400),
        "unpair_long": incoming() + peer.block(peer.MESSAGE + 9,
                                               bytes(8) + b"x" * 400),
        "offer_long": hello() + offer(9, peer.SOURCE, b"x" * 200),
        "quit": incoming() + packets(0, 3) + event("QUIT"),
        "plain": formats.Ng().shb(b"other") + formats.Ng().idb(),
        "skipped": hello() + peer.block(5, bytes(12)),
    }


def main(directory):
    for name in ("capture", "relay"):
        os.makedirs(os.path.join(directory, name), exist_ok=True)
    Captures(os.path.join(directory, "capture")).main()
    for name, data in conversations().items():
        write(os.path.join(directory, "relay"), name, data)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
