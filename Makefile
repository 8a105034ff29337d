# SPDX-License-Identifier: GPL-2.0-only
#
# Everything that is built is in build/, everything that is downloaded in a
# cache outside the tree (TAPMIG_CACHE). 'make help' lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VERSION := $(shell sed -n 's/^PACKAGE_VERSION="\(.*\)"/\1/p' dkms.conf)
BUILD ?= $(CURDIR)/build
override BUILD := $(abspath $(BUILD))
VM := selftests/vm

# The module for the running kernel.
KDIR ?= /lib/modules/$(shell uname -r)/build

prefix ?= /usr/local
sbindir ?= $(prefix)/sbin
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
bashcompdir ?= $(prefix)/share/bash-completion/completions
docdir ?= $(prefix)/share/doc/tapmig
unitdir ?= $(prefix)/lib/systemd/system
udevrulesdir ?= $(prefix)/lib/udev/rules.d
modulesloaddir ?= $(prefix)/lib/modules-load.d
sysusersdir ?= $(prefix)/lib/sysusers.d
INSTALL ?= install

SERIES := 6.1 6.12 7.2 7.3
TEST_SERIES := 6.1 7.3
CHECK_GROUPS ?= static tool core debug dkms vm relay migration

export BUILD

##@ Building

all: module tool ## module for the running kernel (if its headers are there), tool

# Objects of sources that are gone would go into the module still.
module: deps-build
	@if [ -e "$(KDIR)/Makefile" ]; then \
		mkdir -p "$(BUILD)/module/kmod"; \
		find "$(BUILD)/module/kmod" -name '*.[ch]' \
			! -name '*.mod.c' -delete; \
		cp -rp kmod uapi dkms.conf "$(BUILD)/module/"; \
		$(MAKE) -C "$(KDIR)" M="$(BUILD)/module/kmod" modules; \
	else \
		echo "no headers of the running kernel ($(KDIR)):" \
			"the module is not built"; \
	fi

tool: deps-build ## the control tool
	@$(MAKE) -C userspace OUT="$(BUILD)/userspace" VERSION="$(VERSION)"

kmods: $(SERIES:%=kmod-%) ## the module for each of the stock kernels
kmod-6.1 kmod-6.12 kmod-7.2 kmod-7.3: ## the module for one stock kernel
$(SERIES:%=kmod-%) kmod-debug kmod-kcsan: kmod-%: deps-test
	@dir=$$($(VM)/build-module.sh $* W=1); \
	mkdir -p "$(BUILD)/$@"; \
	cp "$$dir"/{tapmig.ko,build.log} "$(BUILD)/$@/"; \
	echo "  KMOD    $(@:kmod-%=%): $(BUILD)/$@/tapmig.ko"

tests: deps-test ## the selftests
	@mkdir -p "$(BUILD)/selftests"
	@$(MAKE) -C selftests OUTPUT="$(BUILD)/selftests" \
		KSELFTEST_SRC="$$($(VM)/kernel.sh source)"

payload: tool tests
	@$(VM)/payload.sh "$(BUILD)" "$(BUILD)/payload"

relay-payload: tool ## what the tests of the relay need in the VM
	@$(MAKE) -C selftests/relay OUT="$(BUILD)/relay"
	@selftests/relay/payload.sh "$(BUILD)" "$(BUILD)/relay/payload"

migration-rig: tool ## the guest that migrates in the tests, and its client
	@$(MAKE) -C selftests/migration OUT="$(BUILD)/migration"

ynl-regen: deps-test ## generated netlink code from uapi/netlink/tapmig.yaml
	@selftests/static/ynl-regen.sh

##@ Installing (DESTDIR, prefix, and the directories set in the Makefile)

# Where the parts of the tool go, for its own Makefile.
tool_dirs = prefix="$(prefix)" sbindir="$(sbindir)" mandir="$(mandir)" \
	bashcompdir="$(bashcompdir)" docdir="$(docdir)" unitdir="$(unitdir)" \
	DESTDIR="$(DESTDIR)"

install: tool ## tool, man page, units, headers, udev rule and the like
	@$(MAKE) -C userspace OUT="$(BUILD)/userspace" VERSION="$(VERSION)" \
		$(tool_dirs) install
	$(INSTALL) -d "$(DESTDIR)$(includedir)/linux"
	$(INSTALL) -m 644 uapi/linux/tapmig.h uapi/linux/tapmig_netlink.h \
		"$(DESTDIR)$(includedir)/linux/"
	$(INSTALL) -D -m 644 kmod/dist/70-tapmig.rules \
		"$(DESTDIR)$(udevrulesdir)/70-tapmig.rules"
	$(INSTALL) -D -m 644 kmod/dist/modules-load.conf \
		"$(DESTDIR)$(modulesloaddir)/tapmig.conf"
	$(INSTALL) -D -m 644 kmod/dist/sysusers.conf \
		"$(DESTDIR)$(sysusersdir)/tapmig.conf"

uninstall: ## remove what install has put there
	@$(MAKE) -C userspace OUT="$(BUILD)/userspace" VERSION="$(VERSION)" \
		$(tool_dirs) uninstall
	rm -f "$(DESTDIR)$(includedir)/linux/tapmig.h" \
		"$(DESTDIR)$(includedir)/linux/tapmig_netlink.h" \
		"$(DESTDIR)$(udevrulesdir)/70-tapmig.rules" \
		"$(DESTDIR)$(modulesloaddir)/tapmig.conf" \
		"$(DESTDIR)$(sysusersdir)/tapmig.conf"

modules_install: module ## the module for the running kernel (see also dkms.conf)
	$(MAKE) -C "$(KDIR)" M="$(BUILD)/module/kmod" modules_install

##@ Trying and testing

# Scripts of their own get what they need in the environment.
define script_env
MODULE_6_1="$(BUILD)/kmod-6.1/tapmig.ko" \
MODULE_7_3="$(BUILD)/kmod-7.3/tapmig.ko" \
PAYLOAD="$(BUILD)/payload"
endef

demo: deps-debug deps-migration kmod-6.1 migration-rig ## a guest migrates: stock, then tapmig
	@$(script_env) selftests/demo/demo.sh </dev/null

check: deps-build deps-test deps-debug deps-migration ## all groups of tests
	@$(VM)/check.sh $(CHECK_GROUPS)

check-tool: ## the control tool where it needs no module: files, arguments
check-core: ## selftests on stock 6.1 and 7.3
check-static: ## builds without a warning, sparse, checkpatch, rules
lint: ## check-static, and the analyzers of clang, gcc and coccinelle
check-dkms: ## dkms add, build, install; the result in the VM
check-vm: ## the VM runner: what must fail does
check-debug: deps-debug ## selftests on a kernel built to find errors
check-migration: deps-debug deps-migration ## a guest in QEMU migrates under traffic
check-relay: ## the relay: migrations, faults, hostile peers, two kernels
check-long: deps-debug deps-migration ## what takes too long for every change
check-core check-debug check-dkms check-long check-migration check-relay check-static check-tool check-vm: deps-build deps-test
	@$(VM)/check.sh $(@:check-%=%)

fuzz: deps-build deps-test deps-fuzz deps-debug ## fuzzers, FUZZ_SECONDS each (600); the module's too
	@$(VM)/check.sh fuzz

lint: deps-build deps-test deps-lint
	@$(VM)/check.sh static lint

bench: tool deps-bench kmod-7.3 ## costs, as ratios; build/bench.json
	@[ ! -f selftests/bench/Makefile ] || \
		$(MAKE) -C selftests/bench OUT="$(BUILD)/bench"
	@$(script_env) selftests/bench/bench.sh </dev/null

soak-programs: tests deps-bench
	@$(MAKE) -C selftests/bench OUT="$(BUILD)/bench"
	@$(MAKE) -C selftests/soak OUT="$(BUILD)/soak" \
		KSELFTEST_SRC="$$($(VM)/kernel.sh source)"

soak: soak-programs kmod-6.1 kmod-7.3 ## much, and for hours: see selftests/soak/soak.sh
	@BUILD="$(BUILD)" selftests/soak/soak.sh </dev/null

bench-migration: deps-debug deps-migration deps-bench kmod-6.1 migration-rig ## migrations, RUNS= of each kind; build/migration.json
	@$(script_env) selftests/migration/bench.sh </dev/null

##@ Housekeeping

deps: ## install missing packages (apt); DEPS=no: other targets do not
	@DEPS= $(VM)/deps.sh build test
deps-build deps-test deps-debug deps-migration deps-bench deps-fuzz deps-lint:
	@$(VM)/deps.sh $(@:deps-%=%)

clean: ## remove build/
	rm -rf "$(BUILD)"

distclean: clean ## ... and the cache of downloads and unpacked kernels
	@cache=$$(. $(VM)/lib.sh; echo "$$CACHE"); \
	echo "rm -rf $$cache"; rm -rf -- "$$cache"

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@/ { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z].*:.*## / { \
			n = split($$1, t, " "); \
			printf "  %-16s %s\n", t[1], $$2; \
			for (i = 2; i <= n; i++) printf "  %s\n", t[i] \
		}' $(firstword $(MAKEFILE_LIST))
	@echo; . $(VM)/lib.sh; echo "The cache is in $$CACHE"

.PHONY: all module tool kmods $(SERIES:%=kmod-%) kmod-debug kmod-kcsan \
	tests payload relay-payload migration-rig ynl-regen install \
	uninstall modules_install demo check check-core check-debug \
	check-dkms check-long check-migration check-relay check-static \
	check-tool check-vm lint bench bench-migration fuzz soak \
	soak-programs deps deps-build deps-test deps-debug deps-migration \
	deps-bench deps-fuzz deps-lint clean distclean help
