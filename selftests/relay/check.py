#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The tests of the relay, in KTAP. To be run in a virtual machine.

    check.py [CASE]...
"""

import sys

import rig
from cases import main

import faults  # noqa: F401
import protocol  # noqa: F401
import units  # noqa: F401

rig.topology_up()
status = main(sys.argv[1:])
protocol.end_target()
sys.stdout.flush()
sys.exit(status)
