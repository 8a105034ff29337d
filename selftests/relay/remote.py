#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Run a program on the other virtual machine of a pair, see agent.py.

    remote.py ADDRESS PORT PROGRAM [ARGUMENT]...
"""

import json
import os
import socket
import sys
import threading
import time


def connect():
    end = time.monotonic() + 120
    while True:
        try:
            return socket.create_connection((sys.argv[1], int(sys.argv[2])),
                                            timeout=5)
        except OSError:
            if time.monotonic() > end:
                raise
            # The other machine may still boot: nobody tells when.
            time.sleep(0.2)


s = connect()
s.settimeout(None)
s.sendall(json.dumps(sys.argv[3:]).encode() + b"\n")


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


threading.Thread(target=forward, daemon=True).start()
while True:
    data = s.recv(65536)
    if not data:
        break
    os.write(1, data)
os._exit(0)
