/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The harness of the kernel's selftests, with more time for a test: on a busy
 * machine an emulated kernel that looks for errors takes more than 30 seconds
 * for what otherwise takes one. Only a hang is meant to meet the limit.
 */
#ifndef TAPMIG_SELFTESTS_HARNESS_H
#define TAPMIG_SELFTESTS_HARNESS_H

#include "kselftest_harness.h"

#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	300

#endif
