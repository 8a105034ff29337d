#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs programs for the other virtual machine of a pair: one a connection.

    agent.py ADDRESS PORT

A connection begins with a line, the program and its arguments in JSON. Then
it is the program's standard input, output and error; when it is closed, the
program is killed. The program "end" ends the agent.
"""

import json
import os
import socket
import subprocess
import sys
import threading


def serve(connection, over):
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return
        line += byte
    argv = json.loads(line)
    if argv == ["end"]:
        over.set()
        connection.close()
        return
    child = subprocess.Popen(argv, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)

    def forward():
        while True:
            data = os.read(child.stdout.fileno(), 65536)
            if not data:
                break
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    threading.Thread(target=forward, daemon=True).start()
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
    child.wait()
    connection.close()


def main():
    over = threading.Event()
    listener = socket.create_server((sys.argv[1], int(sys.argv[2])))

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, over),
                             daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    print(f"# agent: listens at {sys.argv[1]}", flush=True)
    over.wait()


main()
