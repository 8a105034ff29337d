#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A stand-in for a program that has a TAP, TUN or macvtap device open.

    tool_vmm.py KIND IFNAME [queues=N] [dups=N] [fork] [path=DEVICE]

KIND is tap, tun (raw IP), or macvtap (path needed). Commands on standard
input, one line of answer to each:

    send COUNT [SIZE]   send numbered frames to the device
    read COUNT          read until that many numbered frames came
    pending             how many queues have something to read
    hold                make a hold of its own for the queues; its number
    unread NUMBER       give a frame back to that, as if it had been read
    quit
"""

import array
import fcntl
import os
import select
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 1, 2, 0x1000, 0x100
TAPMIG_CREATE, TAPMIG_ADD_QUEUE = 0xC080B740, 0x4020B741
TAPMIG_UNREAD = 0x4020B749
ETHERTYPE = 0x88B5
TIMEOUT = 200


class Vmm:
    def __init__(self, kind, name, options):
        self.kind = kind
        self.name = name
        self.sent = 0
        self.fds = []
        self.dups = []
        self.alive = None
        queues = int(options.get("queues", 1))
        for _ in range(queues):
            self.fds.append(self.open(options.get("path"), queues > 1))
        for i in range(int(options.get("dups", 0))):
            self.dups.append(os.dup(self.fds[i % queues]))
        if "fork" in options:
            # Another process with the same open files, while this lives.
            alive, self.alive = os.pipe()
            if not os.fork():
                os.close(self.alive)
                os.read(alive, 1)
                os._exit(0)
        self.socket = None
        self.hold = None

    def close(self):
        if self.alive is not None:
            os.close(self.alive)
            os.wait()

    def open(self, path, multi):
        fd = os.open(path or "/dev/net/tun", os.O_RDWR)
        flags = IFF_NO_PI | (IFF_TUN if self.kind == "tun" else IFF_TAP)
        flags |= IFF_MULTI_QUEUE if multi else 0
        request = struct.pack("16sH22x", self.name.encode(), flags)
        if self.kind != "macvtap":
            fcntl.ioctl(fd, TUNSETIFF, request)
            return fd
        request = array.array("B", struct.pack("16sH22x", b"", IFF_TAP |
                                               IFF_NO_PI))
        fcntl.ioctl(fd, TUNSETIFF, request)
        return fd

    def frame(self, number, size):
        if self.kind == "tun":
            body = struct.pack(">I", number).ljust(size - 20, b"\0")
            return struct.pack(">BBHHHBBH4s4s", 0x45, 0, size, 0, 0, 64, 253,
                               0, bytes(4), bytes(4)) + body
        head = bytes.fromhex("020000000001020000000002")
        head += struct.pack(">HI", ETHERTYPE, number)
        return head.ljust(size, b"\0")

    def send(self, count, size=60):
        # Not before the device is up: that is an error which stays.
        if not self.socket:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            self.socket.bind((self.name, ETHERTYPE))
        for _ in range(count):
            self.sent += 1
            self.socket.send(self.frame(self.sent, size))
        return f"sent {self.sent}"

    def number(self, data):
        if self.kind == "tun":
            if len(data) < 24 or data[9] != 253:
                return None
            return struct.unpack(">I", data[20:24])[0]
        if len(data) < 18 or data[12:14] != b"\x88\xb5":
            return None
        return struct.unpack(">I", data[14:18])[0]

    def read(self, count):
        got = []
        poll = select.poll()
        for fd in self.fds:
            poll.register(fd, select.POLLIN)
        while len(got) < count:
            ready = poll.poll(TIMEOUT * 1000)
            if not ready:
                break
            for fd, _ in ready:
                number = self.number(os.read(fd, 1 << 20))
                if number is not None:
                    got.append(number)
        return "got " + " ".join(map(str, got))

    def pending(self):
        poll = select.poll()
        for fd in self.fds:
            poll.register(fd, select.POLLIN)
        return f"pending {len(poll.poll(0))}"

    def make_hold(self):
        # Its deadline is late: no test meets it.
        create = array.array("B", struct.pack("=10IQ12xI64s", 128, 1,
                                              *[0] * 5, 600000, *[0] * 4,
                                              b""))
        dev = os.open("/dev/tapmig", os.O_RDWR)
        self.hold = fcntl.ioctl(dev, TAPMIG_CREATE, create)
        os.close(dev)
        for i, fd in enumerate(self.fds):
            fcntl.ioctl(self.hold, TAPMIG_ADD_QUEUE,
                        struct.pack("=IIiI16x", 32, 0, fd, i))
        return f"hold {struct.unpack_from('=I', create, 60)[0]}"

    def unread(self, number):
        data = array.array("B", self.frame(number, 60))
        fcntl.ioctl(self.hold, TAPMIG_UNREAD,
                    struct.pack("=5IHHQ", 32, 0, 0, 0, len(data), 0, 0,
                                data.buffer_info()[0]))
        return f"unread {number}"


def main():
    options = dict((a.split("=", 1) + [""])[:2] for a in sys.argv[3:])
    vmm = Vmm(sys.argv[1], sys.argv[2], options)
    print("ready", flush=True)
    for line in sys.stdin:
        words = line.split()
        if words[0] == "send":
            answer = vmm.send(*map(int, words[1:]))
        elif words[0] == "read":
            answer = vmm.read(int(words[1]))
        elif words[0] == "pending":
            answer = vmm.pending()
        elif words[0] == "hold":
            answer = vmm.make_hold()
        elif words[0] == "unread":
            answer = vmm.unread(int(words[1]))
        else:
            break
        print(answer, flush=True)
    vmm.close()


main()
