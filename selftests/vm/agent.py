#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs programs for the other virtual machine of a pair: one a connection.

A connection begins with a line, the program and its arguments in JSON. What
follows is the program's standard input. What comes back is its output and
error, in pieces with their length (4 bytes) before them; one of length 0, then
its exit status, are the end. When the other side closes the connection, the
program is killed. The program "end" ends the agent.
"""

import json
import os
import socket
import struct
import subprocess
import threading

ADDRESS = ("10.9.1.2", 9000)


def serve(connection, over):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return
        line += byte
    argv = json.loads(line)
    if argv == ["end"]:
        connection.sendall(struct.pack("!IB", 0, 0))
        connection.close()
        over.set()
        return
    child = subprocess.Popen(argv, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)

    def forward():
        try:
            while True:
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    break
                connection.sendall(struct.pack("!I", len(data)) + data)
            connection.sendall(struct.pack("!IB", 0, child.wait() & 0xff))
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    forwarder = threading.Thread(target=forward, daemon=True)
    forwarder.start()
    try:
        while True:
            data = connection.recv(65536)
            if not data:
                break
            child.stdin.write(data)
            child.stdin.flush()
    except OSError:
        pass
    child.kill()
    forwarder.join()
    connection.close()


def main():
    over = threading.Event()
    listener = socket.create_server(ADDRESS)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, over),
                             daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    over.wait()


main()
