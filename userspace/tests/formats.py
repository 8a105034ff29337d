#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""File formats and arguments of the tool, without root and without a module.

    formats.py OUT      OUT has tapmig and tests/rewrite

Captures of all kinds are made here, independently of the tool's own code;
what it reads is compared with what was put in. Output is TAP. The tests with
tcpdump and tshark are skipped where these are missing.
"""

import json
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import tempfile

from tap import Tap

SHB, IDB, PB, SPB, EPB = 0x0A0D0D0A, 1, 2, 3, 6
SEQ_FIRST, SEQ_MAX, FRAME_MAX = 65537, 2147483647, 524288
CAPLEN_MAX = 262144
VNET_HDR, VLAN, PROTOCOL, HASH, SEGMENT = 1, 2, 4, 8, 16


def frame(n, size=60):
    """An Ethernet frame with an EtherType for experiments."""
    rng = random.Random(n)
    head = bytes.fromhex("0200000000020200000000") + bytes([n & 255])
    return head + b"\x88\xb5" + rng.randbytes(size - 14)


def ip(n, version=4, size=40):
    return bytes([version << 4 | 5]) + random.Random(n).randbytes(size - 1)


def fnv1a(data):
    v = 2166136261
    for byte in data:
        v = (v ^ byte) * 16777619 & 0xFFFFFFFF
    return v


class Ng:
    """pcapng blocks of one byte order."""

    def __init__(self, order="<"):
        self.order = order

    def pack(self, fmt, *args):
        return struct.pack(self.order + fmt, *args)

    @staticmethod
    def pad(data):
        return data + bytes(-len(data) % 4)

    def opt(self, code, data):
        return self.pack("HH", code, len(data)) + self.pad(data)

    def opts(self, *options):
        if not options:
            return b""
        return b"".join(options) + self.pack("HH", 0, 0)

    def block(self, kind, body, total=None, tail=None):
        size = len(body) + 12 if total is None else total
        return (self.pack("II", kind, size) + body +
                self.pack("I", size if tail is None else tail))

    def shb(self, appl=None, major=1, magic=0x1A2B3C4D):
        options = [self.opt(4, appl)] if appl else []
        return self.block(SHB, self.pack("IHHq", magic, major, 0, -1) +
                          self.opts(*options))

    def idb(self, link=1, snaplen=0, *options):
        return self.block(IDB, self.pack("HHI", link, 0, snaplen) +
                          self.opts(*options))

    def epb(self, data, ts=0, iface=0, options=(), caplen=None, length=None):
        caplen = len(data) if caplen is None else caplen
        length = len(data) if length is None else length
        return self.block(EPB, self.pack("IIIII", iface, ts >> 32,
                                         ts & 0xFFFFFFFF, caplen, length) +
                          self.pad(data) + self.opts(*options))

    def spb(self, data, length=None):
        return self.block(SPB, self.pack("I", length or len(data)) +
                          self.pad(data))

    def pb(self, data, ts=0, iface=0):
        return self.block(PB, self.pack("HHIIII", iface, 0xFFFF, ts >> 32,
                                        ts & 0xFFFFFFFF, len(data),
                                        len(data)) + self.pad(data))

    def meta(self, p, version=1, length=32, more=0):
        has = more
        has |= VNET_HDR if "vnet_hdr" in p else 0
        has |= VLAN if "vlan_tci" in p else 0
        has |= PROTOCOL if "protocol" in p else 0
        has |= HASH if "hash" in p else 0
        has |= SEGMENT if "subs" in p else 0
        if not has:
            return None
        raw = struct.pack("<BBHHHHHHHI", version, 0, has, p.get("sub", 0),
                          p.get("subs", 0), p.get("vlan_tci", 0),
                          p.get("vlan_proto", 0), p.get("protocol", 0), 0,
                          p.get("hash", 0))
        raw += bytes.fromhex(p.get("vnet_hdr", "")).ljust(12, b"\0")
        return self.opt(0x8001, raw[:length].ljust(length, b"\0"))

    def own_epb(self, p, **kw):
        options = [self.opt(2, self.pack("I", 1))]
        if p.get("dropped_before"):
            options.append(self.opt(4, self.pack("Q", p["dropped_before"])))
        options.append(self.opt(5, self.pack("Q", p["seq"])))
        options.append(self.opt(6, self.pack("I", p["queue"])))
        meta = self.meta(p, **kw)
        if meta:
            options.append(meta)
        data = p["data"]
        for at in range(CAPLEN_MAX, len(data), 65532):
            options.append(self.opt(0x8002, data[at:at + 65532]))
        return self.epb(data[:CAPLEN_MAX], p["time_ns"], options=options,
                        length=len(data))

    def own_head(self, link=1):
        return (self.shb(b"tapmig test") +
                self.idb(link, 0, self.opt(2, b"test0"),
                         self.opt(3, b"label"), self.opt(9, b"\x09")))

    def own(self, packets, link=1):
        return self.own_head(link) + b"".join(
            self.own_epb(p) for p in packets)


def pcap(records, order="<", nsec=False, link=1, version=2):
    out = struct.pack(order + "IHHiIII",
                      0xA1B23C4D if nsec else 0xA1B2C3D4, version, 4, 0, 0,
                      262144, link)
    for data, sec, frac in records:
        out += struct.pack(order + "IIII", sec, frac, len(data),
                           len(data)) + data
    return out


def plain(frames, times, protocol=None):
    out = []
    for i, (data, ns) in enumerate(zip(frames, times)):
        p = {"seq": SEQ_FIRST + i, "queue": 0, "time_ns": ns, "data": data}
        if protocol:
            p["protocol"] = protocol[i]
        out.append(p)
    return out


def own_packets():
    out = []
    for i in range(40):
        p = {"seq": 65500 + 3 * i, "queue": i % 4,
             "time_ns": 1766000000123456789 + i, "data": frame(i, 60 + i)}
        if i % 2:
            p["vnet_hdr"] = random.Random(i).randbytes(10).hex()
        if i % 3 == 1:
            p["vlan_tci"], p["vlan_proto"] = 0x2000 + i, 0x88A8
        if i % 5 == 1:
            p["protocol"] = 0x88B5
        if i % 7 == 1:
            p["hash"] = 0xDEAD0000 + i
        if i % 11 == 1:
            p["sub"], p["subs"] = i % 3, 3
        if i % 13 == 1:
            p["dropped_before"] = 2
        out.append(p)
    for i, size in enumerate((65531, 65532, 65535, 65536, 200000, 262143,
                              CAPLEN_MAX, 262145, 262147, 327675, 327677)):
        out.append({"seq": 70000 + i, "queue": 0, "time_ns": 10**18,
                    "data": frame(i, size)})
    out.append({"seq": SEQ_MAX, "queue": 65535, "time_ns": 2**64 - 1,
                "data": frame(99, FRAME_MAX), "vnet_hdr": "01" * 10,
                "vlan_tci": 0xFFFF, "vlan_proto": 0x8100,
                "protocol": 0xFFFF, "hash": 0xFFFFFFFF, "sub": 65534,
                "subs": 65535, "dropped_before": 0xFFFFFFFF})
    return out


class Tests:
    def __init__(self, out):
        self.tool = os.path.join(out, "tapmig")
        self.rewrite = os.path.join(out, "tests", "rewrite")
        self.dir = tempfile.mkdtemp(prefix="tapmig-formats.")
        self.tap = Tap()
        self.result = self.tap.result

    def path(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def run(self, *args, stdin=subprocess.DEVNULL):
        return subprocess.run(args, stdin=stdin, capture_output=True,
                              check=False)

    def check(self, path):
        return self.run(self.tool, "-j", "-s", "import", "check", path)

    def reads(self, name, data, want):
        run = self.check(self.path(name, data))
        try:
            got = json.loads(run.stdout)
        except ValueError as e:
            self.result(False, name, f"{e}\n{run.stdout}\n{run.stderr}")
            return
        expect = []
        for p in want:
            p = dict(p)
            frame_data = p.pop("data")
            p["len"] = len(frame_data)
            p["fnv1a"] = fnv1a(frame_data)
            expect.append(p)
        note = run.stderr.decode()
        ok = run.returncode == 0 and got["list"] == expect
        if got["list"] != expect:
            for a, b in zip(got["list"], expect):
                if a != b:
                    note += f"\ngot  {a}\nwant {b}"
                    break
            note += f"\n{len(got['list'])} packets of {len(expect)}"
        self.result(ok, name, note)

    def refuses(self, name, data, message, offset=None, packets=None):
        run = self.check(self.path(name, data))
        text = run.stderr.decode()
        ok = run.returncode == 1 and message in text and text.startswith(
            "tapmig: ")
        if offset is not None:
            ok = ok and f"offset {offset}:" in text
        if packets is not None:
            ok = ok and json.loads(run.stdout)["packets"] == packets
        if offset is not None and offset < 4:
            told = json.loads(run.stdout)
            ok = ok and told["format"] == "unknown" and "from" not in told
        self.result(ok, name, f"exit {run.returncode}: {text}")

    # What other programs write.

    def plain_captures(self):
        frames = [frame(i, 60 + i) for i in range(5)]
        for order, word in (("<", "little"), (">", "big")):
            self.reads(f"pcap_{word}_endian_us", pcap(
                [(f, 100 + i, 999999) for i, f in enumerate(frames)], order),
                plain(frames, [(100 + i) * 10**9 + 999999000
                               for i in range(5)]))
            self.reads(f"pcap_{word}_endian_ns", pcap(
                [(f, 4294967295, 999999999) for f in frames], order, True),
                plain(frames, [4294967295999999999] * 5))
            ng = Ng(order)
            self.reads(
                f"pcapng_{word}_endian", ng.shb(b"Dumpcap") + ng.idb() +
                b"".join(ng.epb(f, 10**15 + i) for i, f in
                         enumerate(frames)),
                plain(frames, [10**18 + 1000 * i for i in range(5)]))
        ng = Ng()
        self.reads("pcap_without_packets", pcap([]), [])
        self.reads("pcapng_without_packets", ng.shb() + ng.idb(), [])
        self.reads("pcapng_section_only", ng.shb(), [])
        self.reads("pcap_raw_ip", pcap([(ip(1), 1, 0), (ip(2, 6), 2, 0)],
                                       link=101),
                   plain([ip(1), ip(2, 6)], [10**9, 2 * 10**9],
                         [0x0800, 0x86DD]))
        for link, version, proto in ((228, 4, 0x0800), (229, 6, 0x86DD)):
            self.reads(f"pcapng_link_type_{link}", ng.shb() + ng.idb(link) +
                       ng.epb(ip(1, version)),
                       plain([ip(1, version)], [0], [proto]))
        resolutions = [(6, 0, 5 * 10**6, 5 * 10**9), (9, 0, 7, 7),
                       (0, 0, 3, 3 * 10**9), (12, 0, 12345, 12),
                       (127, 0, 2**64 - 1, 0), (0x8A, 0, 1536, 1500000000),
                       (0xFF, 0, 2**64 - 1, 0), (0x80, 0, 2, 2 * 10**9),
                       (9, 10, 1, 10**10 + 1), (9, -1, 10**9 + 1, 1),
                       (9, 0, 2**64 - 1, 2**64 - 1), (8, 0, 5, 50),
                       (0, 18446744073 - 2**63, 2**63, 18446744073 * 10**9),
                       (0, -2**63, 2**63, 0), (18, 0, 2**64 - 1, 18446744073)]
        resolutions += [(0x80 | n, 0, ts, ts * 10**9 >> n)
                        for n, ts in ((31, 2**64 - 1 >> 30), (32, 2**64 - 1),
                                      (33, 2**64 - 1), (63, 2**64 - 1),
                                      (64, 2**64 - 1), (93, 2**64 - 1))]
        data = ng.shb()
        for resol, offset, _, _ in resolutions:
            data += ng.idb(1, 0, ng.opt(9, bytes([resol])),
                           ng.opt(14, ng.pack("q", offset)))
        want = []
        for i, (_, _, ts, ns) in enumerate(resolutions):
            data += ng.epb(frame(i), ts, iface=i)
            want.append(ns)
        self.reads("pcapng_time_stamp_resolutions", data, plain(
            [frame(i) for i in range(len(resolutions))], want))
        data = ng.shb() + ng.idb(113) + ng.idb(1) + ng.idb(127)
        data += b"".join(ng.epb(f, 0, iface=1) for f in frames)
        self.reads("pcapng_unused_interface_of_another_link_type", data,
                   plain(frames, [0] * 5))
        self.reads("pcapng_simple_packets", ng.shb() + ng.idb(1, 65535) +
                   b"".join(ng.spb(f) for f in frames),
                   plain(frames, [0] * 5))
        self.reads("pcapng_obsolete_packets", ng.shb() + ng.idb() +
                   b"".join(ng.pb(f, 9) for f in frames),
                   plain(frames, [9000] * 5))
        other = (ng.block(4, bytes(8)) + ng.block(5, bytes(12)) +
                 ng.block(0xA, bytes(200000)) + ng.block(0xBAD, bytes(4)) +
                 ng.block(0x80000001, bytes(16)) +
                 ng.block(0x12345678, bytes(3 << 20)))
        self.reads("pcapng_unknown_blocks", ng.shb() + other + ng.idb() +
                   other.join(ng.epb(f) for f in frames) + other,
                   plain(frames, [0] * 5))
        odd = [ng.opt(1, b"a comment"), ng.opt(3, b"\x02abcd"),
               ng.opt(2988, b"\0\0\0\0text"), ng.opt(0x7FFF, b""),
               ng.opt(5, ng.pack("Q", 7)), ng.opt(0x8001, b"not ours")]
        self.reads("pcapng_unknown_options", ng.shb(b"X") +
                   ng.idb(1, 0, *odd[:4]) +
                   b"".join(ng.epb(f, options=odd) for f in frames),
                   plain(frames, [0] * 5))
        no_end = ng.block(EPB, ng.pack("IIIII", 0, 0, 0, 60, 60) +
                          frame(0) + ng.opt(1, b"last"))
        self.reads("pcapng_options_without_an_end", ng.shb() + ng.idb() +
                   no_end, plain([frame(0)], [0]))
        data = b"".join(
            o.shb() + o.idb(1) + o.epb(frame(i)) for i, o in
            enumerate((Ng("<"), Ng(">"), Ng("<"))))
        self.reads("pcapng_sections_of_both_byte_orders", data,
                   plain([frame(i) for i in range(3)], [0] * 3))
        self.reads("pcapng_4096_interfaces", ng.shb() + 4096 * ng.idb() +
                   ng.epb(frame(1), iface=4095), plain([frame(1)], [0]))

    # What the tool writes.

    def own_captures(self):
        packets = own_packets()
        data = Ng().own(packets)
        self.reads("own_all_metadata", data, packets)
        self.reads("own_big_endian", Ng(">").own(packets), packets)
        raw = [{"seq": 65537, "queue": 0, "time_ns": 5, "data": b"\x00",
                "protocol": 0x88B5}]
        self.reads("own_raw_ip_of_another_protocol", Ng().own(raw, 101), raw)
        ng = Ng()
        mark = ng.block(0x80000001, b"mark" * 3)
        self.reads("own_marks_are_skipped", ng.own_head() + mark +
                   ng.own_epb(packets[0]) + mark, packets[:1])
        path = self.path("own", data)
        for piece in ("1", "7", "4096", "1000000"):
            run = self.run(self.rewrite, piece, path)
            self.result(run.stdout == data,
                        f"own_written_bit_for_bit_from_pieces_of_{piece}",
                        run.stderr.decode())
        run = self.run(self.rewrite, "5", self.path(
            "marks", ng.own(packets[:1]) + mark))
        self.result(run.stdout == ng.own(packets[:1]) + mark,
                    "own_marks_bit_for_bit", run.stderr.decode())
        run = self.run(self.rewrite, "3", self.path(
            "raw", Ng().own(raw, 101)))
        self.result(run.stdout == Ng().own(raw, 101),
                    "own_raw_ip_bit_for_bit", run.stderr.decode())

    def hostile(self):
        ng = Ng()
        head = ng.shb() + ng.idb()
        one = head + ng.epb(frame(0))
        at = len(one)
        own = ng.own_head()
        p = own_packets()[1]
        cases = [
            ("empty", b"", "the file is empty", 0),
            ("short_magic", b"\x0a\x0d", "its magic number", 2),
            ("no_capture", b"hello, world", "neither pcapng nor pcap", 0),
            ("byte_order_magic", ng.shb(magic=1), "byte order magic", 8),
            ("version_2", ng.shb(major=2), "pcapng version 2.0", 12),
            ("section_too_short", ng.block(SHB, ng.pack("I", 0x1A2B3C4D)),
             "section header of 16 bytes", 4),
            ("length_0", one + ng.pack("III", 6, 0, 0), "block length 0",
             at + 4),
            ("length_11", one + ng.pack("III", 6, 11, 11),
             "block length 11", at + 4),
            ("length_odd", one + ng.pack("III", 6, 33, 33),
             "block length 33", at + 4),
            ("length_4g", one + ng.pack("III", 6, 0xFFFFFFFC, 0),
             "block of 4294967292 bytes", at + 4),
            ("skip_4g", one + ng.pack("III", 99, 0xFFFFFFFC, 0),
             "in the middle of a block", at + 12),
            ("lengths_differ", one + ng.block(EPB, bytes(20), tail=36),
             "ends with the length 36", at + 28),
            ("skipped_lengths_differ", one + ng.block(9, bytes(20), tail=36),
             "ends with the length 36", at + 28),
            ("interface_too_short", ng.shb() + ng.block(IDB, b""),
             "interface description of 12 bytes", None),
            ("packet_too_short", one + ng.block(EPB, bytes(16)),
             "packet block of 28 bytes", at + 4),
            ("simple_too_short", one + ng.block(SPB, b""),
             "simple packet block of 12 bytes", at + 4),
            ("no_interface", ng.shb() + ng.epb(frame(0)),
             "interface 0, only 0", None),
            ("no_interface_simple", ng.shb() + ng.spb(frame(0)),
             "before any interface", None),
            ("interface_of_last_section",
             one + ng.shb() + ng.epb(frame(0)), "only 0", None),
            ("interface_max", one + ng.epb(frame(0), iface=0xFFFFFFFF),
             "interface 4294967295", at + 8),
            ("4097_interfaces", ng.shb() + 4097 * ng.idb(),
             "more than 4096 interfaces", None),
            ("caplen_beyond_block", one + ng.epb(frame(0), caplen=64),
             "64 captured bytes do not fit", at + 20),
            ("caplen_max", one + ng.epb(frame(0), caplen=0xFFFFFFFF),
             "4294967295 captured bytes", at + 20),
            ("caplen_rounds_to_0", one + ng.epb(frame(0), caplen=0xFFFFFFFD),
             "4294967293 captured bytes", at + 20),
            ("simple_beyond_block", one + ng.spb(frame(0), 400),
             "400 captured bytes", at + 8),
            ("cut_by_snaplen", one + ng.epb(frame(0), length=1500),
             "only 60 of the frame's 1500", at + 20),
            ("cut_by_snaplen_simple", ng.shb() + ng.idb(1, 40) +
             ng.spb(frame(0)[:40], 60), "only 40 of the frame's 60", None),
            ("longer_than_it_was", one + ng.epb(frame(0), length=50),
             "captured length 60 is more", at + 20),
            ("frame_too_long", one + ng.epb(frame(0, FRAME_MAX + 1)),
             "frame of 524289 bytes", at + 20),
            ("frame_of_0", one + ng.epb(b""), "too short for Ethernet",
             at + 20),
            ("frame_of_13", one + ng.epb(bytes(13)),
             "too short for Ethernet", at + 20),
            ("raw_frame_of_0", ng.shb() + ng.idb(101) + ng.epb(b""),
             "too short for raw IP", None),
            ("raw_ip_version_9", ng.shb() + ng.idb(101) + ng.epb(ip(1, 9)),
             "version 9", None),
            ("option_beyond_block", one + ng.block(
                EPB, ng.pack("IIIII", 0, 0, 0, 60, 60) + frame(0) +
                ng.pack("HH", 1, 8)), "option 1 of 8 bytes does not fit", None),
            ("tsresol_of_2_bytes", ng.shb() + ng.idb(
                1, 0, ng.opt(9, b"\6\6")), "option 9 has 2 bytes", None),
            ("tsoffset_of_4_bytes", ng.shb() + ng.idb(
                1, 0, ng.opt(14, b"\6\6\6\6")), "option 14 has 4", None),
            ("time_before_1970", ng.shb() + ng.idb(
                1, 0, ng.opt(14, ng.pack("q", -2**63))) + ng.epb(frame(0)),
             "time stamp is out of range", None),
            ("time_too_late_by_1", ng.shb() + ng.idb(
                1, 0, ng.opt(9, b"\x09"), ng.opt(14, ng.pack("q", 1))) +
             ng.epb(frame(0), 2**64 - 10**9), "time stamp is out of range",
             None),
            ("time_too_late", ng.shb() + ng.idb(1, 0, ng.opt(9, b"\0")) +
             ng.epb(frame(0), 2**64 - 1), "time stamp is out of range",
             None),
            ("linux_cooked", ng.shb() + ng.idb(113) + ng.epb(frame(0)),
             "113 (Linux cooked capture)", None),
            ("radiotap_pcap", pcap([(frame(0), 0, 0)], link=127),
             "127 (IEEE 802.11 with radiotap header)", 32),
            ("link_type_65535", ng.shb() + ng.idb(65535) +
             ng.epb(frame(0)), "65535 (unknown", None),
            ("section_of_another_after_own", own + ng.own_epb(p) + one,
             "a section that is not of tapmig after one that is", None),
            ("own_section_after_another", one + own + ng.own_epb(p),
             "a section of tapmig after one that is not", None),
            ("own_without_number", own + ng.epb(frame(0)),
             "packet without a number", len(own)),
            ("own_simple_packet", own + ng.spb(frame(0)),
             "packet without a number", len(own)),
            ("own_obsolete_packet", own + ng.pb(frame(0)),
             "packet without a number", None),
            ("own_number_0", own + ng.own_epb(dict(p, seq=0)),
             "packet number 0", None),
            ("own_number_too_large", own + ng.own_epb(dict(
                p, seq=SEQ_MAX + 1)), "packet number 2147483648", None),
            ("own_queue_65536", own + ng.own_epb(dict(p, queue=65536)),
             "queue 65536", None),
            ("own_version_2", own + ng.own_epb(p, version=2),
             "another version", None),
            ("own_metadata_short", own + ng.own_epb(p, length=28),
             "metadata of 28 bytes", None),
            ("own_metadata_empty", own + ng.own_epb(p, length=0),
             "another version", None),
            ("own_metadata_long", own + ng.own_epb(p, length=36),
             "metadata of 36 bytes", None),
            ("own_metadata_unknown", own + ng.own_epb(p, more=32),
             "unknown metadata", None),
            ("own_rest_too_short", own + ng.epb(
                frame(0), length=72, options=[
                    ng.opt(5, ng.pack("Q", 1)), ng.opt(0x8002, b"rest")]),
             "only 64 of the frame's 72", None),
            ("own_rest_too_long", own + ng.epb(
                frame(0), length=61, options=[
                    ng.opt(5, ng.pack("Q", 1)), ng.opt(0x8002, b"rest")]),
             "captured length 64 is more", None),
            ("own_segment_3_of_3", own + ng.own_epb(dict(
                p, sub=3, subs=3)), "segment 3 of 3", None),
            ("pcap_version_3", pcap([], version=3), "pcap version 3.4", 4),
            ("pcap_fraction", pcap([(frame(0), 0, 1000000)]),
             "fraction of a second is 1000000", 28),
            ("pcap_fraction_ns", pcap([(frame(0), 0, 10**9)], nsec=True),
             "fraction of a second is 1000000000", 28),
            ("pcap_caplen_max", pcap([]) + struct.pack(
                "<IIII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF),
             "frame of 4294967295", 32),
            ("pcap_cut", pcap([]) + struct.pack("<IIII", 0, 0, 60, 1500) +
             frame(0), "only 60 of the frame's 1500", 32),
            ("pcap_header_cut", pcap([])[:20], "the file header", 20),
            ("pcap_record_cut", pcap([(frame(0), 0, 0)])[:-1],
             "in the middle of a record", 24 + 16 + 59),
        ]
        for name, data, message, offset in cases:
            self.refuses(f"refuses_{name}", data, message, offset)
        self.refuses("packets_before_a_bad_block_count", one +
                     ng.epb(frame(0), caplen=64), "do not fit", at + 20, 1)

    def fuzz(self):
        ng = Ng()
        small = [dict(p, data=p["data"][:60]) for p in own_packets()[:4]]
        rest = [ng.opt(5, ng.pack("Q", 1)), ng.opt(0x8002, b"rest of"),
                ng.opt(0x8002, b"the frame")]
        own = (ng.own(small) + ng.block(0x80000001, bytes(8)) +
               ng.epb(frame(1), length=76, options=rest))
        mixed = b"".join(
            o.shb(b"x") + o.idb(1, 0, o.opt(9, b"\x06"),
                                o.opt(14, o.pack("q", 1))) +
            o.epb(frame(1), options=[o.opt(1, b"text")]) +
            o.spb(frame(2)) + o.pb(frame(3)) + o.block(5, bytes(8))
            for o in (Ng("<"), Ng(">")))
        classic = pcap([(frame(i), i, i) for i in range(4)])
        for name, data in (("own", own), ("pcapng", mixed),
                           ("pcap", classic)):
            run = self.run(self.rewrite, "fuzz",
                           self.path(f"fuzz_{name}", data))
            self.result(run.returncode == 0,
                        f"{name}_cut_and_changed_at_every_byte",
                        f"exit {run.returncode}\n" + run.stderr.decode())
            if run.returncode == 0:
                self.tap.note(run.stdout.decode().strip())
        # The same through the tool, for its messages and exit codes.
        bad = []
        for cut in range(len(own)):
            run = self.check(self.path("cut", own[:cut]))
            text = run.stderr.decode()
            whole = run.returncode == 0 and not text
            named = run.returncode == 1 and "offset " in text
            if not whole and not named:
                bad.append(f"{cut}: exit {run.returncode} {text}")
        self.result(not bad, "tool_names_the_offset_of_every_cut",
                    "\n".join(bad))

    def other_readers(self):
        packets = own_packets()
        small = [p for p in packets if len(p["data"]) < 100]
        files = [("small", Ng().own(small), len(small)),
                 ("raw_ip", Ng().own([dict(p, data=ip(i)) for i, p in
                                      enumerate(small)], 101), len(small)),
                 ("longest", Ng().own(packets), len(packets))]
        for prog in ("tcpdump", "tshark"):
            for name, data, count in files:
                title = f"{prog}_reads_{name}"
                if not shutil.which(prog):
                    self.result(True, title, skip=f"no {prog}")
                    continue
                path = self.path(title, data)
                os.chmod(self.dir, 0o755)
                os.chmod(path, 0o644)
                if prog == "tcpdump":
                    run = self.run(prog, "-n", "-q", "-r", path)
                    noise = [line for line in run.stderr.splitlines()
                             if not line.startswith(b"reading from file")]
                else:
                    run = self.run(prog, "-n", "-r", path, "-T", "fields",
                                   "-e", "frame.number", "-e", "frame.len")
                    noise = [line for line in run.stderr.splitlines()
                             if b"Running as user" not in line]
                lines = len([line for line in run.stdout.splitlines()
                             if line[:1] not in (b"", b"\t", b" ")])
                self.result(run.returncode == 0 and lines == count and
                            not noise, title,
                            f"exit {run.returncode}, {lines} of {count}\n" +
                            run.stderr.decode())

    # The rest of the tool.

    def arguments(self):
        def case(name, args, code, text):
            run = self.run(self.tool, *args)
            got = (run.stdout + run.stderr).decode()
            self.result(run.returncode == code and text in got,
                        f"arguments_{name}",
                        f"exit {run.returncode}: {got}")

        label = "x" * 64
        for name, args, code, text in (
                ("none", [], 1, "Usage"), ("help", ["help"], 0, "Usage"),
                ("dash_h", ["-h"], 0, "Usage"),
                ("version", ["-V"], 0, "tapmig "),
                ("bad_option", ["-x"], 1, "invalid option"),
                ("bad_command", ["frobnicate"], 1,
                 "tapmig: 'frobnicate' is not a command"),
                ("netns", ["-n", "no-such-netns", "show"], 1,
                 "network namespace 'no-such-netns'"),
                ("bad_word", ["show", "up"], 1, "'up'"),
                ("id_text", ["show", "id", "x"], 1, "'x' is not a number"),
                ("id_negative", ["show", "id", "-1"], 1, "'-1'"),
                ("id_0", ["show", "id", "0"], 1, "from 1 on"),
                ("id_large", ["show", "id", "4294967296"], 1, "too large"),
                ("id_huge", ["show", "id", "9" * 30], 1, "not a number"),
                ("id_missing", ["thaw", "id"], 1, "value is missing"),
                ("two_selectors", ["thaw", "id", "1", "dev", "x"], 1,
                 "named already"),
                ("long_dev", ["show", "dev", "x" * 16], 1, "cannot be"),
                ("thaw_nothing", ["thaw"], 1, "which hold?"),
                ("discard_wait", ["discard", "id", "1", "wait"], 1,
                 "'wait'"),
                ("set_nothing", ["set", "id", "1"], 1, "nothing to change"),
                ("set_bad_value", ["set", "id", "1", "dedup", "some"], 1,
                 "'some' is not one of multicast, all, off"),
                ("set_bad_bytes", ["set", "id", "1", "max-bytes", "1X"], 1,
                 "not a size"),
                ("set_huge_bytes", ["set", "id", "1", "max-bytes",
                                    "99999999999999999G"], 1, "not a size"),
                ("set_unknown", ["set", "id", "1", "colour", "red"], 1,
                 "'colour'"),
                ("freeze_nothing", ["freeze"], 1, "freeze: what?"),
                ("freeze_id_label", ["freeze", "id", "1", "label", "x"], 1,
                 "goes with dev only"),
                ("freeze_no_device", ["freeze", "dev", "no-such-dev"], 1,
                 "device no-such-dev: No such device"),
                ("freeze_long_label", ["freeze", "dev", "lo", "label",
                                       label], 1, "longer than 63"),
                ("freeze_bad_mac", ["freeze", "dev", "lo", "mac",
                                    "1:2:3:4:5:6"], 1, "not a MAC"),
                ("freeze_bad_queue", ["freeze", "dev", "lo", "queue",
                                      "256"], 1, "too large"),
                ("freeze_zero_limit", ["freeze", "dev", "lo", "max-bytes",
                                       "0"], 1, "out of range"),
                ("freeze_not_open", ["freeze", "dev", "lo"], 1,
                 "no process has a queue of lo open"),
                ("export_order", ["export", "id", "1", "from", "9", "to",
                                  "8"], 1, "from 9 is after to 8"),
                ("export_commit_from", ["export", "id", "1", "from", "9",
                                        "commit"], 1, "leaves out"),
                ("export_unknown", ["export", "id", "1", "--all"], 1,
                 "'--all'"),
                ("import_no_hold", ["import", "file"], 1, "which hold?"),
                ("import_check_hold", ["import", "check", "id", "1"], 1,
                 "needs no hold"),
                ("import_no_file", ["import", "check", "/no/such/file"], 1,
                 "/no/such/file: No such file"),
                ("import_directory", ["import", "check", "/"], 1,
                 "/: Is a directory")):
            case(name, args, code, text)
        run = subprocess.run([self.tool, "help"], check=False,
                             stdout=open("/dev/full", "wb"),
                             stderr=subprocess.PIPE)
        self.result(run.returncode == 0 or b"standard" in run.stderr,
                    "arguments_full_disk_is_survived", run.stderr)
        run = subprocess.run(
            [self.tool, "import", "check", self.path("p", pcap([]))],
            check=False, stdout=open("/dev/full", "wb"),
            stderr=subprocess.PIPE)
        self.result(run.returncode == 1 and b"No space left" in run.stderr,
                    "a_full_disk_is_an_error", run.stderr)

    def readers(self):
        """The relay does not wait for who does not read what it says."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, bytes(4096))
        except BlockingIOError:
            os.set_blocking(writer, True)
        try:
            # It has much to say: no module, no right, or nothing to do.
            run = subprocess.run(
                [self.tool, "relay", "--listen", "-", "--verbose"],
                stdin=subprocess.DEVNULL, stdout=writer, stderr=writer,
                timeout=60, check=False)
            why = f"exit {run.returncode}"
        except subprocess.TimeoutExpired as e:
            why = str(e)
        self.result(why in ("exit 0", "exit 1"),
                    "relay_does_not_wait_for_a_reader", why)
        os.close(reader)
        os.close(writer)

    def main(self):
        self.plain_captures()
        self.own_captures()
        self.hostile()
        self.fuzz()
        self.other_readers()
        self.arguments()
        self.readers()
        shutil.rmtree(self.dir)
        return self.tap.end()


if __name__ == "__main__":
    if len(sys.argv) != 2 or not stat.S_ISDIR(os.stat(sys.argv[1]).st_mode):
        sys.exit(__doc__)
    sys.exit(Tests(sys.argv[1]).main())
