# SPDX-License-Identifier: GPL-2.0-only
"""The other end of the relay protocol, written from its description alone."""

import os
import select
import socket
import struct
import time

STUCK = int(os.environ.get("RELAY_STUCK", "60"))
SHB, IDB, EPB, MESSAGE = 0x0A0D0D0A, 1, 6, 0x80746D00
BYTE_ORDER = 0x1A2B3C4D
# The longest.
FRAME_MAX, BLOCK_MAX = 1 << 19, 1 << 20

NAMES = ("", "HELLO", "PING", "PONG", "BYE", "OFFER", "WITHDRAW", "PAIR",
         "PAIRED", "UNPAIR", "BEGIN", "ACK", "FULL", "MORE", "SYNC_REQUEST",
         "SYNC", "SYNCED", "END", "ENDED")
CODES = {name: code for code, name in enumerate(NAMES) if name}
ARMED, FROZEN, THAWING, LIVE, DEAD = range(5)
SOURCE, STANDBY = range(2)
DETACHED = 1


class Closed(Exception):
    pass


class Silent(Exception):
    pass


def pad(data):
    return data + bytes(-len(data) % 4)


def block(kind, body):
    body = pad(body)
    size = 12 + len(body)
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def option(code, data):
    return struct.pack("<HH", code, len(data)) + pad(data)


def section(application=b"tapmig test peer"):
    return block(SHB, struct.pack("<IHHq", BYTE_ORDER, 1, 0, -1) +
                 option(4, application) + option(0, b""))


def interface(name=b"tap0", label=b"", link=1):
    return block(IDB, struct.pack("<HHI", link, 0, 0) + option(2, name) +
                 option(3, label) + option(9, b"\x09") + option(0, b""))


def packet(channel, number, frame, metadata=None, queue=0, now=None):
    now = now or time.time_ns()
    options = option(2, struct.pack("<I", 1)) + \
        option(5, struct.pack("<Q", number)) + \
        option(6, struct.pack("<I", queue))
    if metadata is not None:
        options += option(0x8001, metadata)
    return block(EPB, struct.pack("<IIIII", channel, now >> 32,
                                  now & 0xFFFFFFFF, len(frame), len(frame)) +
                 pad(frame) + options + option(0, b""))


def message(name, *values, text=None):
    """The body of a message by the types in its description."""
    code = CODES[name] if isinstance(name, str) else name
    layout = {"HELLO": "<II16s", "PING": "<Q", "PONG": "<QQ", "BYE": "<",
              "WITHDRAW": "<I", "PAIR": "<III", "PAIRED": "<I",
              "UNPAIR": "<II", "BEGIN": "<IIQ", "ACK": "<IIQ", "FULL": "<I",
              "MORE": "<I", "SYNC_REQUEST": "<I", "SYNC": "<IIQ",
              "SYNCED": "<I", "END": "<II", "ENDED": "<II8Q"}
    body = struct.pack(layout[name], *values)
    if text is not None:
        body += text.encode()
    return block(MESSAGE + code, body)


def offer(handle, role, state, label, flags=0, link=0, packets=65536,
          size=64 << 20, frozen_ns=0):
    return block(MESSAGE + CODES["OFFER"],
                 struct.pack("<IIBBBBIQQ", handle, flags, role, state, link,
                             len(label), packets, size, frozen_ns) + label)


def options_of(data):
    found = []
    while len(data) >= 4:
        code, size = struct.unpack_from("<HH", data)
        if not code:
            break
        found.append((code, data[4:4 + size]))
        data = data[4 + size + -size % 4:]
    return found


def parse(kind, body):
    """(name, values) of a block."""
    if kind == SHB:
        return "SECTION", (struct.unpack_from("<IHHq", body),
                           dict(options_of(body[16:])))
    if kind == IDB:
        return "INTERFACE", (struct.unpack_from("<H", body)[0],
                             dict(options_of(body[8:])))
    if kind == EPB:
        channel, high, low, size, whole = struct.unpack_from("<IIIII", body)
        found = dict(options_of(body[20 + size + -size % 4:]))
        return "PACKET", (channel, struct.unpack("<Q", found[5])[0],
                          body[20:20 + size], whole, found)
    code = kind - MESSAGE
    if not 0 < code < len(NAMES):
        return "UNKNOWN", (kind, body)
    name = NAMES[code]
    if name in ("BYE", "UNPAIR"):
        at = 8 if name == "UNPAIR" else 0
        return name, struct.unpack_from("<II" if at else "<", body) + \
            (body[at:].rstrip(b"\0").decode(),)
    if name == "OFFER":
        fields = struct.unpack_from("<IIBBBBIQQ", body)
        return name, fields + (body[32:32 + fields[5]],)
    layout = {"HELLO": "<II16s", "PING": "<Q", "PONG": "<QQ",
              "WITHDRAW": "<I", "PAIR": "<III", "PAIRED": "<I",
              "BEGIN": "<IIQ", "ACK": "<IIQ", "FULL": "<I", "MORE": "<I",
              "SYNC_REQUEST": "<I", "SYNC": "<IIQ", "SYNCED": "<I",
              "END": "<II", "ENDED": "<II8Q"}[name]
    if struct.calcsize(layout) != len(body):
        raise AssertionError(f"{name} of {len(body)} bytes")
    return name, struct.unpack(layout, body)


def monotonic():
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Peer:
    """A connection to a relay that listens at a unix socket."""

    def __init__(self, path, instance=None, hello=True, skew=0, ping=True,
                 accepted=None):
        self.instance = instance or os.urandom(16)
        self.skew = skew
        self.data = b""
        # What was taken of it.
        self.at = 0
        self.seen = []
        self.offers = {}
        # Answers to PING come by themselves, if not told otherwise.
        self.ping = ping
        self.socket = accepted
        if not accepted:
            self.socket = socket.socket(socket.AF_UNIX)
            end = time.monotonic() + STUCK
            while True:
                try:
                    self.socket.connect(path)
                    break
                except (FileNotFoundError, ConnectionRefusedError):
                    if time.monotonic() > end:
                        raise
                    # A socket that is not there yet has no event.
                    time.sleep(0.01)
        self.socket.settimeout(STUCK)
        if hello:
            self.send(section(), message("HELLO", 1, 0, self.instance),
                      message("PING", monotonic() + skew))

    def send(self, *blocks):
        try:
            self.socket.sendall(b"".join(blocks))
        except (BrokenPipeError, ConnectionResetError):
            # What it said before it closed can be read still.
            pass

    def close(self):
        self.socket.close()

    def next(self, timeout=STUCK):
        """The next block as (name, values)."""
        end = time.monotonic() + timeout
        while True:
            there = len(self.data) - self.at
            if there >= 8:
                kind, size = struct.unpack_from("<II", self.data, self.at)
                if size < 12 or size % 4:
                    raise AssertionError(f"block of {size} bytes")
                if there >= size:
                    whole = self.data[self.at:self.at + size]
                    if struct.unpack("<I", whole[-4:])[0] != size:
                        raise AssertionError("the two lengths differ")
                    self.at += size
                    name, values = parse(kind, whole[8:-4])
                    self.seen.append(name)
                    self.note(name, values)
                    return name, values
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.socket], [], [], left)[0]:
                raise Silent(f"after {self.seen[-10:]}")
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                data = b""
            if not data:
                raise Closed(f"after {self.seen[-10:]}")
            self.data = self.data[self.at:] + data
            self.at = 0

    def note(self, name, values):
        if name == "PING" and self.ping:
            self.send(message("PONG", values[0], monotonic() + self.skew))
        elif name == "OFFER":
            self.offers[values[0]] = values
        elif name == "WITHDRAW":
            self.offers.pop(values[0], None)

    def until(self, name, timeout=STUCK, where=None):
        """Go on until such a block comes; its values."""
        end = time.monotonic() + timeout
        while True:
            got, values = self.next(max(0, end - time.monotonic()))
            if got == name and (where is None or where(values)):
                return values
            if got == "BYE":
                raise Closed(f"BYE {values[0]}")

    def end(self, timeout=STUCK):
        """Until it closes; the reason that it gave, or ''."""
        reason = ""
        end = time.monotonic() + timeout
        while True:
            try:
                name, values = self.next(max(0, end - time.monotonic()))
            except Closed:
                return reason
            if name == "BYE":
                reason = values[0]
