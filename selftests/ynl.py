#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""
The kernel tree's own netlink client, which knows nothing of tapmig but the
YAML specification, lists, freezes, exports, imports, thaws and listens.

Needs: root, the module, $YNL_CLI (tools/net/ynl/pyynl/cli.py of a kernel tree,
from 6.12 on), $YNL_SPEC (uapi/netlink/tapmig.yaml), iproute2.
"""
import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import traceback

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454ca
IFF_TAP, IFF_NO_PI = 2, 0x1000
ETHERTYPE = 0x88b5
SO_RCVBUFFORCE = 33
SEQ_FIRST = 65537
FRAMES = 300
# Generous: only a hang is meant to meet it.
TIMEOUT = 200
# Late, so that no test meets a deadline.
MAX_FROZEN_MS = 600000


def ioctl_number(direction, nr, size):
    return direction << 30 | size << 16 | 0xb7 << 8 | nr


class Nic:
    """A TAP that is up, and frames for it."""

    def __init__(self, name):
        self.name = name
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF,
                    struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w") as f:
            f.write("1")
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
        self.tx = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.tx.bind((name, ETHERTYPE))

    @staticmethod
    def frame(number, size=100):
        head = b"\x02\0\0\0\0\1" + b"\x02\0\0\0\0\2"
        head += struct.pack(">HQ", ETHERTYPE, number)
        return head + bytes(size - len(head))

    def send(self, numbers):
        for number in numbers:
            self.tx.send(self.frame(number))

    def read(self, count):
        """Numbers of so many frames, which have to come."""
        numbers = []
        while len(numbers) < count:
            if not select.select([self.fd], [], [], TIMEOUT)[0]:
                raise AssertionError(f"{len(numbers)} of {count} frames came")
            numbers.append(struct.unpack(">Q", os.read(self.fd, 2000)[14:22])[0])
        return numbers


class Hold:
    """A hold of a TAP, made by the ioctls, as the specification has none."""

    def __init__(self, nic, role=0):
        create = bytearray(struct.pack("10IQ6s6sI64s", 128, 1, 0, role, 2, 0,
                                       0, MAX_FROZEN_MS, 0, 0, 0, b"", b"", 0,
                                       b"ynl"))
        dev = os.open("/dev/tapmig", os.O_RDWR)
        self.fd = fcntl.ioctl(dev, ioctl_number(3, 0x40, len(create)), create)
        os.close(dev)
        self.id = struct.unpack_from("I", create, 60)[0]
        add = struct.pack("IIiI16x", 32, 0, nic.fd, 0)
        fcntl.ioctl(self.fd, ioctl_number(1, 0x41, len(add)), add)


def wait_state(ynl, hold, state):
    """Wait until a notification, or the hold itself, says so."""
    for ntf in ynl.poll_ntf(duration=TIMEOUT):
        assert ntf["name"] == "hold-ntf", ntf
        if ntf["msg"]["id"] == hold.id and ntf["msg"]["state"] == state:
            return
    raise AssertionError(f"no notification of {state}")


def export(ynl, hold, seq=0):
    packets = []
    for message in ynl.dump("packet-get", {"hold-id": hold.id, "seq": seq}):
        packets += message.get("packet", [])
    return packets


class Tests:
    def __init__(self, ynl_class, spec):
        self.ynl = ynl_class(spec)
        self.ntf = ynl_class(spec)
        # Nobody reads it while packets come.
        self.ntf.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
        self.ntf.ntf_subscribe("events")
        self.src = Nic("ynl0")
        self.dst = Nic("ynl1")
        self.a = Hold(self.src)
        self.b = Hold(self.dst, role=1)
        self.packets = []

    def holds_are_listed(self):
        holds = {h["id"]: h for h in self.ynl.dump("hold-get", {})}
        assert set(holds) == {self.a.id, self.b.id}, holds
        assert holds[self.a.id]["state"] == "armed", holds
        assert holds[self.b.id]["role"] == "standby", holds
        assert holds[self.a.id]["ifname"] == "ynl0", holds
        one = self.ynl.do("hold-get", {"id": self.a.id})
        assert one["label"] == "ynl", one

    def freeze_is_notified(self):
        for hold in (self.a, self.b):
            self.ynl.do("hold-freeze", {"id": hold.id})
            wait_state(self.ntf, hold, "frozen")

    def export_has_every_frame(self):
        self.src.send(range(FRAMES))
        self.packets = export(self.ynl, self.a)
        assert len(self.packets) == FRAMES, len(self.packets)
        for number, packet in enumerate(self.packets):
            assert packet["seq"] == SEQ_FIRST + number, packet
            assert packet["len"] == 100 and not packet.get("offset"), packet
            assert packet["data"] == Nic.frame(number), packet
        rest = export(self.ynl, self.a, SEQ_FIRST + FRAMES - 1)
        assert rest == self.packets[-1:], rest

    def import_takes_them_and_counts_repeats(self):
        self.ynl.do("import-begin", {"hold-id": self.b.id, "age-ms": 60000})
        for i in range(0, FRAMES, 50):
            res = self.ynl.do("packet-new",
                              {"hold-id": self.b.id,
                               "packet": self.packets[i:i + 50]})
            assert res["accepted"] == 50 and res["resent"] == 0, res
        res = self.ynl.do("packet-new", {"hold-id": self.b.id,
                                         "packet": self.packets[:10]})
        assert res["accepted"] == 0 and res["resent"] == 10, res

    def thaw_delivers_them_in_order(self):
        self.dst.send(range(FRAMES, FRAMES + 5))
        self.ynl.do("import-sync", {"hold-id": self.b.id})
        self.ynl.do("hold-thaw", {"id": self.b.id})
        wait_state(self.ntf, self.b, "live")
        numbers = self.dst.read(FRAMES + 5)
        assert numbers == list(range(FRAMES + 5)), numbers
        self.ynl.do("import-end", {"hold-id": self.b.id})
        wait_state(self.ntf, self.b, "armed")

    def commit_frees_what_it_names(self):
        self.ynl.do("packet-commit", {"hold-id": self.a.id,
                                      "seq": SEQ_FIRST + 99})
        left = export(self.ynl, self.a)
        assert left == self.packets[100:], len(left)
        self.ynl.do("hold-set", {"id": self.a.id,
                                 "max-frozen-ms": MAX_FROZEN_MS - 1})
        hold = self.ynl.do("hold-get", {"id": self.a.id})
        assert hold["max-frozen-ms"] == MAX_FROZEN_MS - 1, hold
        assert hold["committed-seq"] == SEQ_FIRST + 99, hold

    def a_refusal_names_its_reason(self):
        for vals, text in (({"id": self.a.id}, "frozen"),
                           ({"id": 0x7fffffff}, "no hold")):
            try:
                self.ynl.do("hold-freeze", vals)
            except Exception as e:
                assert text in str(e), e
            else:
                raise AssertionError("not refused")

    def discard_ends_the_freeze(self):
        self.ynl.do("hold-discard", {"id": self.a.id})
        wait_state(self.ntf, self.a, "armed")
        self.src.send([7])
        assert self.src.read(1) == [7]


def main():
    cli, spec = os.environ.get("YNL_CLI"), os.environ.get("YNL_SPEC")
    print("TAP version 13")
    names = [n for n in vars(Tests) if not n.startswith("_")]
    print(f"1..{len(names)}", flush=True)
    if not cli or not spec:
        sys.exit("YNL_CLI and YNL_SPEC are not set")
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        sys.exit("no network namespace of our own")
    sys.path.insert(0, os.path.dirname(cli))
    from lib import YnlFamily
    tests = Tests(YnlFamily, spec)
    failed = 0
    for i, name in enumerate(names, 1):
        try:
            getattr(tests, name)()
            print(f"ok {i} {name}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {i} {name}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
