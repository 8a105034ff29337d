#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a process with rights over a network namespace may send there.

Events of holds that there are not, the end of the family, and refusals of
whatever was asked for, to all sockets of generic netlink and to the listeners.
Prints how many sockets there are, and how many messages went to one of them.
"""

import socket
import struct

NETLINK_GENERIC, ERROR, CONTROL, DELFAMILY, GETFAMILY = 16, 2, 16, 2, 3
FAMILY_ID, FAMILY_NAME, MCAST_GROUPS, GROUP_ID = 1, 2, 7, 2
HOLD_NTF, ID, LABEL, STATE, ROLE, MAX_PACKETS = 2, 1, 3, 4, 5, 19


def attribute(kind, data):
    return struct.pack("<HH", 4 + len(data), kind) + data + \
        bytes(-len(data) % 4)


def number(kind, n):
    return attribute(kind, struct.pack("<I", n))


def message(kind, command, *attributes):
    data = b"".join(attributes)
    return struct.pack("<IHHIIBBH", 20 + len(data), kind, 1, 1, 0, command, 1,
                       0) + data


def parse(data):
    while len(data) >= 4:
        size, kind = struct.unpack_from("<HH", data)
        yield kind & 0x3FFF, data[4:size]
        data = data[size + -size % 4:]


s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
s.bind((0, 0))
s.sendto(message(CONTROL, GETFAMILY, attribute(FAMILY_NAME, b"tapmig\0")),
         (0, 0))
said = dict(parse(s.recv(65536)[20:]))
family, = struct.unpack("<H", said[FAMILY_ID])
group, = (struct.unpack("<I", dict(parse(g))[GROUP_ID])[0]
          for _, g in parse(said[MCAST_GROUPS]))
events = [message(family, HOLD_NTF, number(ID, 99), number(STATE, state),
                  attribute(LABEL, b"forged\0"), number(ROLE, role),
                  number(MAX_PACKETS, 9))
          for state, role in ((1, 0), (1 << 30, 1 << 30))]
end = message(CONTROL, DELFAMILY, attribute(FAMILY_NAME, b"tapmig\0"),
              attribute(FAMILY_ID, struct.pack("<H", family)))
refusals = [struct.pack("<IHHIIiIHHII", 36, ERROR, 0, seq, 0, -22, 16, family,
                        0, seq, 0) for seq in range(1000)]
taken = 0
with open("/proc/net/netlink", encoding="ascii") as f:
    lines = [line.split() for line in f]
ports = {int(x[2]) for x in lines if x[1] == str(NETLINK_GENERIC)} - \
    {0, s.getsockname()[0]}
for to in ports:
    for data in events + [end] + refusals:
        try:
            s.sendto(data, socket.MSG_DONTWAIT, (to, 0))
            taken += 1
        except (BlockingIOError, ConnectionRefusedError):
            pass
s.sendto(end, (0, 1 << CONTROL - 1))
# As an address has it, there are 32 groups.
if group <= 32:
    for data in events:
        s.sendto(data, (0, 1 << group - 1))
print(len(ports), taken, group)
