# SPDX-License-Identifier: GPL-2.0-only
#
# A program of the sources of a directory, with what the selftests have for
# devices, holds and netlink. Its Makefile says PROGRAM, the name, and SHARED, if
# it needs more of theirs, and includes this. OUT is where everything built goes.

TOP := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
SRC := $(abspath $(dir $(firstword $(MAKEFILE_LIST))))
DIR := $(notdir $(SRC))
OUT ?= $(TOP)/build/$(DIR)
SHARED ?= lib

CC ?= cc
CFLAGS ?= -O2 -g
PKG_CONFIG ?= pkg-config
WARN := -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wshadow \
	-Wdeclaration-after-statement -Wno-unused-parameter -Wno-sign-compare
MNL_CFLAGS := $(shell $(PKG_CONFIG) --cflags libmnl 2>/dev/null)
MNL_LIBS := $(shell $(PKG_CONFIG) --libs libmnl 2>/dev/null || echo -lmnl)
cc_flags = -std=gnu11 $(WARN) $(USERCFLAGS) -D_GNU_SOURCE -pthread \
	-I$(TOP)/uapi $(MNL_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP
shared := $(SHARED:%=$(OUT)/%.o)
objs := $(patsubst $(SRC)/%.c,$(OUT)/%.o,$(sort $(wildcard $(SRC)/*.c))) \
	$(shared)
makefiles := $(SRC)/Makefile $(TOP)/selftests/program.mk

all: $(OUT)/$(PROGRAM)

$(OUT)/$(PROGRAM): $(objs)
	@echo "  LD      $(DIR)/$(PROGRAM)"
	@$(CC) $(CFLAGS) $(LDFLAGS) -pthread -o $@ $^ $(MNL_LIBS)

$(shared): $(OUT)/%.o: $(TOP)/selftests/%.c $(makefiles)
	@mkdir -p $(dir $@)
	@echo "  CC      $(DIR)/$*.o"
	@$(CC) $(cc_flags) -Wno-unused -c -o $@ $<

$(OUT)/%.o: $(SRC)/%.c $(makefiles)
	@mkdir -p $(dir $@)
	@echo "  CC      $(DIR)/$*.o"
	@$(CC) $(cc_flags) -c -o $@ $<

clean:
	rm -f $(OUT)/$(PROGRAM) $(OUT)/*.o $(OUT)/*.d

-include $(wildcard $(OUT)/*.d)

.PHONY: all clean
