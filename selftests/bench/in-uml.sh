#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The part of the benchmarks that runs in User Mode Linux, as process 1. Its
# root is that of the machine, read-only.
#
# In the environment: BENCH_PROGRAM, BENCH_MODULE, and the benchmarks in
# BENCH_NAMES, separated by commas. Arguments are not all ours here.

export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc none /proc
mount -t sysfs none /sys
mountpoint -q /dev || mount -t devtmpfs none /dev

# A system call takes a while here.
export BENCH_READ_MAX=${BENCH_READ_MAX:-100000}
printf 'text\tkernel\t%s\n' "$(uname -r)"
printf 'text\tprocessors\t%s\n' "$(nproc)"
IFS=,
# shellcheck disable=SC2086 # a list
"$BENCH_PROGRAM" $BENCH_NAMES 2>&1
printf 'exit\t%d\n' $?
busybox poweroff -f
