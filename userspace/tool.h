/* SPDX-License-Identifier: GPL-2.0-only */
/* What the commands of the tool share. */
#ifndef TAPMIG_TOOL_H
#define TAPMIG_TOOL_H

#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/tapmig.h>

#define EXIT_OK		0
#define EXIT_REFUSED	1
#define EXIT_NO_HOLD	2

/**
 * struct options - what stands before the command
 * @json: write JSON
 * @pretty: indent it
 * @stats: show all counters
 */
struct options {
	bool json;
	bool pretty;
	bool stats;
};

extern struct options opt;

/* util.c */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

void err(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/*
 * From now on nothing that is printed waits for its reader: a line for which
 * there is no room on this descriptor is to be dropped. It is counted, and told
 * on standard error when there is room again.
 */
void never_wait(void);
bool room_for_line(int fd);
/* The same without the count, for what nobody misses. */
bool would_wait(int fd);

struct args {
	int argc;
	char **argv;
};

/* The next word, or NULL; arg_peek() leaves it there. */
const char *arg_next(struct args *a);
const char *arg_peek(const struct args *a);
/* The word after a keyword; NULL: missing, and said so. */
const char *arg_value(struct args *a, const char *keyword);
int arg_u32(struct args *a, const char *keyword, uint32_t *v);
int arg_u64(struct args *a, const char *keyword, uint64_t *v);
/* As above, with an optional K, M or G. */
int arg_size(struct args *a, const char *keyword, uint64_t *v);
int arg_mac(struct args *a, const char *keyword, uint8_t *mac);
int arg_enum(struct args *a, const char *keyword, const char *const *names,
	     unsigned int count, uint32_t *v);
int arg_on_off(struct args *a, const char *keyword, bool *v);
int arg_unknown(const char *arg);
int parse_u64(const char *s, uint64_t *v);
uint64_t clock_ns(clockid_t clock);
/*
 * Up to len bytes and a zero: nothing that could move a terminal's cursor. For
 * messages; out_string() shows such bytes as what they are.
 */
void copy_printable(char *to, const void *from, size_t len);
/* A network namespace by its name, path, or a process in it; -1: said so. */
int netns_open(const char *name);

/* SIGINT and SIGTERM set stopped; the second one kills. */
extern volatile sig_atomic_t stopped;
void catch_stop(void);
int wait_readable(int fd);

/* output.c */
enum color { COLOR_NONE, COLOR_ID, COLOR_NAME, COLOR_GOOD, COLOR_BAD };

void out_init(void);
void out_array(const char *key);
void out_array_end(void);
void out_object(const char *key);
void out_object_end(void);
/* key NULL: text only; prefix NULL: JSON only. */
void out_u64(const char *key, const char *prefix, enum color color,
	     uint64_t v);
void out_string(const char *key, const char *prefix, enum color color,
		const char *s);
void out_text(const char *s);
/* End of a record: a new line, and everything before it is written. */
void out_line(void);
/* Whether all that was printed has arrived. */
int out_finish(void);

/* netlink.c */
#define NL_ERROR_SIZE	384

/**
 * struct nl - a socket to the family, with one request at a time
 * @mnl: the socket
 * @seq: sequence number of the request
 * @portid: address of the socket
 * @family: number of the family
 * @version: its version
 * @group: number of the multicast group "events"
 * @req: the request being built, in @reqbuf or a buffer of the caller
 * @message_max: longest request that the socket takes
 * @interrupted: the dump that has ended was not consistent
 * @silent: errors are not printed
 * @error: the last one that was not
 * @reqbuf: room for small requests
 * @buf: room for answers
 */
struct nl {
	struct mnl_socket *mnl;
	uint32_t seq;
	uint32_t portid;
	uint16_t family;
	uint32_t version;
	uint32_t group;
	struct nlmsghdr *req;
	size_t message_max;
	bool interrupted;
	bool silent;
	char error[NL_ERROR_SIZE];
	char reqbuf[4096] __attribute__((aligned(8)));
	char *buf;
};

/* Larger than any message of the family. */
#define NL_BUFFER_SIZE	(256 * 1024)
/* Returned by a callback that has seen enough: the dump is given up. */
#define NL_STOP		1

typedef int (*nl_cb)(const struct nlmsghdr *nlh, void *arg);

/* 0, or a negative errno and a message was printed. */
int nl_open(struct nl *nl);
/* The same, but a family of another version is no error, and quiet. */
int nl_open_any(struct nl *nl);
void nl_close(struct nl *nl);
struct nlmsghdr *nl_request(struct nl *nl, uint8_t cmd);
/* A request in the caller's buffer. */
struct nlmsghdr *nl_request_in(struct nl *nl, void *buf, uint8_t cmd);
/*
 * Send the request and take the answers. 0; NL_STOP if the callback said so;
 * a negative errno, and a message was printed that begins with what.
 */
int nl_do(struct nl *nl, const char *what, nl_cb cb, void *arg);
int nl_dump(struct nl *nl, const char *what, nl_cb cb, void *arg);
/* All holds of the namespace; no request is to be made before. */
int nl_dump_holds(struct nl *nl, const char *what, nl_cb cb, void *arg);
/* As nl_do(), but the errno quiet is left to the caller to report. */
int nl_do_quiet(struct nl *nl, const char *what, nl_cb cb, void *arg,
		int quiet);
/* As nl_do(), but messages go to nl->error. */
int nl_do_silent(struct nl *nl, const char *what, nl_cb cb, void *arg);
/*
 * A dump in steps, so that it can wait: begin, then one message at a time. The
 * kernel keeps the place. nl_dump_step(): 1 until the dump has ended.
 */
int nl_dump_begin(struct nl *nl, const char *what);
int nl_dump_step(struct nl *nl, const char *what, nl_cb cb, void *arg);
/* Another socket to the family that nl is one to, in this namespace. */
int nl_open_like(struct nl *nl, const struct nl *like);
/*
 * From then on the socket is for events only: of holds, and of the end of the
 * module, after which there are none.
 */
int nl_events_join(struct nl *nl);
/*
 * Those that have come; waits for none. -ENOBUFS: events were lost, and what
 * was queued was left out: look at the holds now, later events come. Prints
 * other errors. What the callback has returned, if not 0; the rest of what had
 * come with that is left out.
 */
int nl_events_read(struct nl *nl, nl_cb cb, void *arg);
int nl_fd(const struct nl *nl);
uint8_t nl_cmd(const struct nlmsghdr *nlh);

/* Attributes of one level into a table of max + 1; others are left out. */
int nl_parse(const struct nlmsghdr *nlh, const struct nlattr **tb,
	     unsigned int max);
int nl_parse_nested(const struct nlattr *nest, const struct nlattr **tb,
		    unsigned int max);
/* Integers of any size that netlink has; 0 if absent or odd. */
uint64_t nl_uint(const struct nlattr *attr);
int exit_code(int ret);

/* hold.c */
/**
 * struct selector - which holds a command is for
 * @id: by number, if not 0
 * @dev: by device
 * @label: by pattern
 */
struct selector {
	uint32_t id;
	const char *dev;
	const char *label;
};

/**
 * struct hold - what commands need to know of a hold
 * @id: its number
 * @state: enum tapmig_state
 * @role: enum tapmig_role
 * @flags: TAPMIG_HOLD_FLAGS_*
 * @link_type: enum tapmig_link_type
 * @gone: this came with the last event of the hold
 * @held_packets: held now
 * @held_bytes: their memory
 * @highest_seq: newest packet
 * @committed_seq: newest committed one
 * @max_packets: limit
 * @max_bytes: limit
 * @frozen_ns: when it froze, CLOCK_REALTIME, 0: never
 * @frozen_for_ms: how long ago, or how long
 * @dropped: dropped for want of room
 * @discarded: freed by discard
 * @imported: imported, without repeats
 * @resent: repeats
 * @flooded: copies of imported ones
 * @late: came after the thaw, delivered
 * @late_skipped: came after the thaw, not delivered
 * @own_address: sent by the guest itself
 * @lost: lost for other reasons
 * @ifname: device, or empty
 * @label: label, or empty
 */
struct hold {
	uint32_t id;
	uint32_t state;
	uint32_t role;
	uint32_t flags;
	uint32_t link_type;
	bool gone;
	uint64_t held_packets;
	uint64_t held_bytes;
	uint64_t highest_seq;
	uint64_t committed_seq;
	uint32_t max_packets;
	uint64_t max_bytes;
	uint64_t frozen_ns;
	uint64_t frozen_for_ms;
	uint64_t dropped;
	uint64_t discarded;
	uint64_t imported;
	uint64_t resent;
	uint64_t flooded;
	uint64_t late;
	uint64_t late_skipped;
	uint64_t own_address;
	uint64_t lost;
	char ifname[IFNAMSIZ];
	char label[TAPMIG_LABEL_MAX + 1];
};

extern const char *const state_names[];
extern const char *const role_names[];
extern const char *const dedup_names[];
extern const char *const deadline_action_names[];
#define STATE_COUNT		5
#define ROLE_COUNT		2
#define DEDUP_COUNT		3
#define DEADLINE_ACTION_COUNT	2

void hold_parse(const struct nlmsghdr *nlh, struct hold *h);
/* All attributes of a hold; event NULL: not from monitor. */
void hold_print(const struct nlmsghdr *nlh, const char *event);
const char *hold_attr_name(unsigned int type);

/* 1: the next words were a selector, 0: they were not, -1: it was wrong. */
int arg_selector(struct args *a, struct selector *sel);
bool selector_match(const struct selector *sel, const struct hold *h);
void selector_describe(const struct selector *sel, char *buf, size_t len);
/*
 * The holds that a selector means, at least one, to be freed. Their number,
 * or a negative errno; messages are printed.
 */
int selector_resolve(struct nl *nl, const struct selector *sel,
		     struct hold **holds);
/* The one hold that it means. */
int selector_resolve_one(struct nl *nl, const struct selector *sel,
			 struct hold *hold);
/* Say that its state is why @what of it is refused: -EBUSY. */
int hold_not_frozen(const struct hold *h, const char *what);
/* Of two results, as of two holds: gone meanwhile is less bad than refused. */
int hold_worse(int ret, int one);
/* A request with nothing but an id, for each of the holds. */
int hold_simple_cmd(uint8_t cmd, const char *name, struct args *a,
		    bool may_wait);

/* progress.c */
/**
 * struct progress - a line on the terminal about a long run
 * @shown: there is a terminal, and something was printed
 * @what: the verb
 * @total: packets or bytes at the end, 0: not known
 * @last_ms: time of the last print
 */
struct progress {
	bool shown;
	bool on;
	const char *what;
	uint64_t total;
	uint64_t last_ms;
};

void progress_start(struct progress *p, const char *what, uint64_t total);
void progress_update(struct progress *p, uint64_t done, uint64_t packets,
		     uint64_t bytes);
void progress_end(struct progress *p);

/* cmd_*.c: the rest of the command line in, exit code out */
int cmd_show(struct args *a);
int cmd_set(struct args *a);
int cmd_freeze(struct args *a);
int cmd_thaw(struct args *a);
int cmd_discard(struct args *a);
int cmd_export(struct args *a);
int cmd_import(struct args *a);
int cmd_monitor(struct args *a);
int cmd_relay(struct args *a);
int cmd_version(struct args *a);

#endif /* TAPMIG_TOOL_H */
