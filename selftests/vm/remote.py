#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run a program on the other virtual machine of a pair, see agent.py.

    remote.py PROGRAM [ARGUMENT]...

The exit status is that of the program. It is killed, and its end waited for,
at SIGTERM.
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time

ADDRESS = ("10.9.1.2", 9000)


def connect():
    end = time.monotonic() + 600
    while True:
        try:
            return socket.create_connection(ADDRESS, timeout=5)
        except OSError:
            if time.monotonic() > end:
                raise
            # The other machine may still boot: nobody tells when.
            time.sleep(0.2)


def main():
    s = connect()
    s.settimeout(None)
    s.sendall(json.dumps(sys.argv[1:]).encode() + b"\n")

    def terminate(_signal, _frame):
        s.shutdown(socket.SHUT_WR)

    def forward():
        try:
            while True:
                data = os.read(0, 65536)
                if not data:
                    # The other side must not kill the program for that.
                    return
                s.sendall(data)
        except OSError:
            pass

    signal.signal(signal.SIGTERM, terminate)
    threading.Thread(target=forward, daemon=True).start()
    stream = s.makefile("rb")
    status = 255
    try:
        while length := struct.unpack("!I", stream.read(4))[0]:
            os.write(1, stream.read(length))
        status = stream.read(1)[0]
    except (OSError, struct.error, IndexError):
        pass
    os._exit(status)


main()
