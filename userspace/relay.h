/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The relay: holds of this host, connections to other relays, and channels,
 * each of which joins one of the holds to one of a peer. docs/relay.md has the
 * protocol. One thread does everything; nothing but the network makes it wait.
 *
 *   cmd_relay.c     command line, main loop
 *   relay_hold.c    holds of this host, their events and requests
 *   relay_conn.c    addresses, connections, bytes
 *   relay_resolve.c names of hosts
 *   relay_proto.c   messages: checked and taken apart, built
 *   relay_peer.c    hello, offers, pairing
 *   relay_source.c  channels that packets leave by
 *   relay_standby.c channels that packets come by
 *   relay_tls.c     TLS
 */
#ifndef TAPMIG_RELAY_H
#define TAPMIG_RELAY_H

#include <netdb.h>
#include <poll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "capture.h"
#include "relay_tls.h"
#include "tool.h"
#include "transfer.h"

#define NSEC_PER_MSEC		1000000LL
#define NSEC_PER_SEC		1000000000LL
#define NEVER			INT64_MAX

#define RELAY_VERSION		1
#define RELAY_INSTANCE_LEN	16
#define RELAY_TEXT_MAX		256
#define RELAY_OFFERS_MAX	4096
#define RELAY_CONNS_MAX		64
/* One measure of the clock may have been held up by much else. */
#define RELAY_PONGS		4

enum relay_code {
	RELAY_HELLO = 1,
	RELAY_PING,
	RELAY_PONG,
	RELAY_BYE,
	RELAY_OFFER,
	RELAY_WITHDRAW,
	RELAY_PAIR,
	RELAY_PAIRED,
	RELAY_UNPAIR,
	RELAY_BEGIN,
	RELAY_ACK,
	RELAY_FULL,
	RELAY_MORE,
	RELAY_SYNC_REQUEST,
	RELAY_SYNC,
	RELAY_SYNCED,
	RELAY_END,
	RELAY_ENDED,
	RELAY_CODE_COUNT,
};

enum relay_end {
	RELAY_END_DONE,
	RELAY_END_GONE,
	RELAY_END_CANCELLED,
	RELAY_END_DISCARDED,
	RELAY_END_COUNT,
};

/* Who has opened the channel of an UNPAIR. */
#define RELAY_SIDE_SENDER	0
#define RELAY_SIDE_RECEIVER	1

struct conn;
struct channel;

TAILQ_HEAD(relay_ns_list, relay_ns);
TAILQ_HEAD(relay_hold_list, relay_hold);
TAILQ_HEAD(conn_list, conn);
TAILQ_HEAD(offer_list, offer);
TAILQ_HEAD(channel_list, channel);
LIST_HEAD(label_holds, relay_hold);
LIST_HEAD(label_offers, offer);

/* A list for each that a peer may have on offer. */
#define RELAY_LABELS_BITS	12

/**
 * struct relay_ns - a network namespace with holds
 * @name: as given, NULL: the one we were started in
 * @fd: the namespace, -1: the one we were started in
 * @nl: requests
 * @events: what happens there
 */
struct relay_ns {
	TAILQ_ENTRY(relay_ns) link;
	const char *name;
	int fd;
	struct nl nl;
	struct nl events;
};

/**
 * struct relay_counts - what the summary of a hold has
 * @packets: moved
 * @bytes: their bytes
 * @late: of them after the thaw of the standby
 * @duplicates: copies that the standby dropped
 * @resent: came twice and were ignored
 * @dropped: had no room in the source
 * @refused: not taken by the kernel
 * @discarded: came to the source after its last export
 * @longest_wait_ns: from arrival to acknowledgment
 */
struct relay_counts {
	uint64_t packets;
	uint64_t bytes;
	uint64_t late;
	uint64_t duplicates;
	uint64_t resent;
	uint64_t dropped;
	uint64_t refused;
	uint64_t discarded;
	int64_t longest_wait_ns;
};

/**
 * struct relay_labels - what has a label whose hash is this
 * @holds: holds of this host
 * @offers: those of all peers
 */
struct relay_labels {
	struct label_holds holds;
	struct label_offers offers;
};

/**
 * struct relay_hold - a hold of this host that we serve
 * @alike: among those whose labels have the same hash
 * @ns: where
 * @h: what the kernel last said of it
 * @known: what we have acted upon
 * @handle: its name in the protocol
 * @chan: its channel, or NULL
 * @gone: it is no more; kept until @chan is done with it
 * @offered: peers know of it
 * @seen: in the dump under way
 * @was_paired: it has had a peer
 * @begun: a transfer has begun and is not over
 * @served: one is over
 * @told: what it was refused for, so that it is said once
 * @not_before: when it may be paired again, after a failure of ours
 * @before: of a standby: the hold at BEGIN
 * @from_frozen_ns: freeze of the source that its imports are from
 * @instance: of a source: the relay that it was sent to last
 * @peer_handle: the standby there
 * @peer_frozen_ns: its freeze
 * @sent_frozen_ns: freeze of the source that this is about
 * @froze_at: when that was, as in its BEGIN
 * @ended: how it has ended; RELAY_END_DONE: it has not
 * @discarded: packets discarded before it ended
 * @acked: number up to which that standby has all
 * @odd: packets with numbers below the first ordinary one were sent
 * @dropped_before: by the freezes before this one
 * @there_ns: freeze of the source that the standby has all of, as far as we
 *	know; END was sent, but no ENDED has come
 * @moved_ns: freeze of the source that is over: moved, or given back
 * @counted: highest number that is in @counts
 * @counts: for the summary
 */
struct relay_hold {
	TAILQ_ENTRY(relay_hold) link;
	LIST_ENTRY(relay_hold) alike;
	struct relay_ns *ns;
	struct hold h;
	struct hold known;
	uint32_t handle;
	struct channel *chan;
	bool gone;
	bool offered;
	bool seen;
	bool was_paired;
	bool begun;
	bool served;
	char told[128];
	int64_t not_before;
	struct hold before;
	uint64_t from_frozen_ns;

	uint8_t instance[RELAY_INSTANCE_LEN];
	uint32_t peer_handle;
	uint64_t peer_frozen_ns;
	uint64_t sent_frozen_ns;
	int64_t froze_at;
	uint32_t ended;
	uint64_t discarded;
	uint64_t acked;
	bool odd;
	uint64_t dropped_before;
	uint64_t there_ns;
	uint64_t moved_ns;
	uint64_t counted;
	struct relay_counts counts;
};

/**
 * struct offer - a hold of the peer
 * @alike: among those whose labels have the same hash
 * @conn: whose
 * @handle: its name
 * @refused: the peer did not want to pair it; until it changes, other than to
 *	ARMED
 */
struct offer {
	TAILQ_ENTRY(offer) link;
	LIST_ENTRY(offer) alike;
	struct conn *conn;
	uint32_t handle;
	uint32_t flags;
	uint32_t role;
	uint32_t state;
	uint32_t link_type;
	uint32_t max_packets;
	uint64_t max_bytes;
	uint64_t frozen_ns;
	bool refused;
	char label[TAPMIG_LABEL_MAX + 1];
};

enum channel_state {
	CHANNEL_OPENED,		/* PAIR was sent or has come */
	CHANNEL_PAIRED,
	CHANNEL_MOVING,		/* from BEGIN to END or FULL */
	CHANNEL_FULL,
	CHANNEL_ENDING,		/* END was sent */
	CHANNEL_CLOSED,		/* what still comes is ignored */
};

/**
 * struct sample - an arrival that waits for its acknowledgment
 * @seq: number of the packet
 * @time_ns: when it had arrived at the source, CLOCK_REALTIME
 */
struct sample {
	uint64_t seq;
	uint64_t time_ns;
};

/* More of them share an entry. */
#define RELAY_SAMPLES	256

/**
 * struct channel - the way of packets from one hold to another
 * @conn: connection
 * @ours: we have opened it: our hold is the source
 * @number: its number
 * @state: how far it is
 * @hold: our hold; NULL: closed
 * @peer_handle: hold of the peer
 *
 * Source:
 * @nl: socket for exports, or NULL
 * @reading: one is under way
 * @dirty: there may be more packets than the export has seen
 * @sync_wanted: the peer waits for a SYNC
 * @sync_after: send it when this export is done
 * @sync_sent: since BEGIN
 * @end_wanted: it was quiet, or linger is over: to be ended after a last look
 * @end_after: send END when this export is done
 * @found: this export has had packets
 * @first_low: what was given back late is sent before @next: what an export
 *	had of it that was cut is not seen by the next one
 * @next: first packet to ask for
 * @last: last packet sent, 0: none
 * @highest: highest packet sent
 * @last_ack: last packet acknowledged, in sending order
 * @synced: the standby is in step
 * @begin_at: when BEGIN may be sent
 * @linger_until: when late packets are not waited for any more
 * @quiet_until: the same, if none comes
 * @end: reason in the END that was sent
 * @samples: numbers sent and when they had arrived
 * @sample_first: the oldest
 * @sample_count: how many
 *
 * Standby:
 * @waiting: PAIRED waits for the clock
 * @begun: import-begin was done
 * @time_shift: what makes times of the source's those of this host, in
 *	nanoseconds, modulo 2^64
 * @sync_asked: SYNC-REQUEST was sent
 * @in_step: SYNCED was sent
 * @acked: last number acknowledged
 * @full_told: it was full, and people know
 * @more_at: when to try again
 * @more_ns: how long that was, since the last ACK
 * @more_asked: MORE was sent, BEGIN has not come
 */
struct channel {
	TAILQ_ENTRY(channel) link;
	struct conn *conn;
	bool ours;
	uint32_t number;
	enum channel_state state;
	struct relay_hold *hold;
	uint32_t peer_handle;

	struct nl *nl;
	bool reading;
	bool dirty;
	bool sync_wanted;
	bool sync_after;
	bool sync_sent;
	bool end_wanted;
	bool end_after;
	bool found;
	bool first_low;
	uint64_t next;
	uint64_t last;
	uint64_t highest;
	uint64_t last_ack;
	bool synced;
	int64_t begin_at;
	int64_t linger_until;
	int64_t quiet_until;
	uint32_t end;
	struct sample *samples;
	unsigned int sample_first;
	unsigned int sample_count;

	bool waiting;
	bool begun;
	uint64_t time_shift;
	bool sync_asked;
	bool in_step;
	uint64_t acked;
	bool full_told;
	int64_t more_at;
	int64_t more_ns;
	bool more_asked;
};

enum conn_state {
	CONN_CONNECTING,
	CONN_HANDSHAKE,
	CONN_OPEN,		/* bytes flow */
	CONN_CLOSING,		/* when all is written */
};

/**
 * struct conn - a connection
 * @relay: whose
 * @state: how far it is
 * @dead: to be freed by the main loop
 * @rfd: read from here
 * @wfd: write to here; mostly the same
 * @tls: or NULL
 * @shut: nothing will be written any more, the peer has to end it
 * @name: the peer's address, for messages
 * @in: reader
 * @w: makes blocks
 * @out: bytes to write, from @out_start on
 * @said_hello: HELLO has come
 * @instance: the peer's
 * @since: when it was made
 * @deadline: of connecting and HELLO, and of closing
 * @heard: when something came last
 * @pinged: when the last PING was sent, 0: it was answered
 * @pongs: PONGs so far, as many as are needed at most
 * @best_rtt: shortest way there and back, 0: not known yet
 * @best_at: when that was
 * @clock_offset: the peer's clock less ours
 * @offers: holds of the peer
 * @channels: both ways
 * @by_number: those opened by the peer, and by us, by their numbers
 * @opened: channels opened by us
 * @peer_opened: channels opened by the peer
 * @turn: whose export goes on
 * @batch: packets on their way into a hold
 * @batch_chan: its channel
 */
struct conn {
	TAILQ_ENTRY(conn) link;
	struct relay *relay;
	enum conn_state state;
	bool dead;
	int rfd;
	int wfd;
	struct tls *tls;
	bool shut;
	char name[128];
	struct capture in;
	struct pcapng_writer w;
	uint8_t *out;
	size_t out_start;
	size_t out_end;
	size_t out_size;
	bool said_hello;
	uint8_t instance[RELAY_INSTANCE_LEN];
	int64_t since;
	int64_t deadline;
	int64_t heard;
	int64_t pinged;
	unsigned int pongs;
	int64_t best_rtt;
	int64_t best_at;
	int64_t clock_offset;
	struct offer_list offers;
	unsigned int offer_count;
	struct channel_list channels;
	struct channel **by_number[2];
	uint32_t opened;
	uint32_t peer_opened;
	struct channel *turn;
	struct packet_reader *reader;
	struct packet_batch batch;
	struct channel *batch_chan;
};

enum address_kind { ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_STDIO, ADDRESS_EXEC };

/**
 * struct address - where to listen, or what to connect to
 * @text: as given
 * @kind: what it is
 * @host: of ADDRESS_TCP
 * @port: of ADDRESS_TCP
 * @rest: path, or command
 */
struct address {
	const char *text;
	enum address_kind kind;
	char host[256];
	char port[32];
	const char *rest;
};

/* Of one host; others are not tried. */
#define RESOLVED_MAX	16

/**
 * struct resolved - the addresses of a host
 * @error: of getaddrinfo()
 * @count: how many there are
 * @all: the addresses, with the port
 */
struct resolved {
	int error;
	unsigned int count;
	struct resolved_address {
		socklen_t len;
		struct sockaddr_storage addr;
	} all[RESOLVED_MAX];
};

/**
 * struct resolver - who looks them up
 * @fd: from there the answer comes, -1: nobody was asked
 * @have: bytes of it that have come
 * @found: the answer
 */
struct resolver {
	int fd;
	size_t have;
	struct resolved found;
};

#define RELAY_FILTERS_MAX	64

/**
 * struct relay - all of it
 * @listen: wait for connections, rather than make one
 * @addr: where
 * @insecure: plain TCP is allowed
 * @tls: options of TLS
 * @creds: what they have given
 * @hostname: whom the peer's certificate must name
 * @linger_ms: how long late packets are waited for
 * @buffer: most bytes of packets that wait to be written, per connection
 * @once: end when a hold is over
 * @verbose: tell what happens
 * @labels: patterns of which one must match, if there is any
 * @devs: names, the same
 * @files: limit of open files for who is started from here
 * @instance: our own
 * @label_key: makes the hash of labels, so that nobody can choose it
 * @by_label: all holds by it
 * @own_ns: the namespace of our sockets
 * @listen_fd: or -1
 * @listening: the address is ours
 * @stdio: a duplicate of standard output, for ADDRESS_STDIO
 * @resolver: looks up whom to connect to
 * @said: why connecting has failed, so that it is said once
 * @retry_at: when to connect again
 * @retry_ms: how long to wait the next time
 * @attempts: to connect
 * @conn_count: connections
 * @last_handle: given to a hold
 * @offered: holds that peers know of
 * @offers_told: people know that there are others
 * @pair_wanted: something has changed that pairs depend on
 * @pair_at: when to look for pairs once more
 * @refused: the address may not be connected to
 * @quitting: connections are being closed
 * @over: holds that are over
 * @unfinished: a hold is gone that was not moved to its end
 * @progress: for the terminal
 * @moved_packets: for it
 * @moved_bytes: for it
 * @namespaces: where holds are looked for
 * @holds: all that are served
 * @conns: connections
 */
struct relay {
	bool listen;
	struct address addr;
	bool insecure;
	struct tls_options tls;
	struct tls_creds *creds;
	const char *hostname;
	uint64_t linger_ms;
	uint64_t buffer;
	bool once;
	bool verbose;
	const char *labels[RELAY_FILTERS_MAX];
	unsigned int label_count;
	const char *devs[RELAY_FILTERS_MAX];
	unsigned int dev_count;

	struct rlimit files;
	uint8_t instance[RELAY_INSTANCE_LEN];
	uint64_t label_key;
	struct relay_labels by_label[1 << RELAY_LABELS_BITS];
	int own_ns;
	int listen_fd;
	bool listening;
	int stdio;
	struct resolver resolver;
	char said[256];
	int64_t retry_at;
	unsigned int retry_ms;
	unsigned int attempts;
	unsigned int conn_count;
	uint32_t last_handle;
	unsigned int offered;
	bool offers_told;
	bool pair_wanted;
	int64_t pair_at;
	bool refused;
	bool quitting;
	uint64_t over;
	bool unfinished;
	struct progress progress;
	uint64_t moved_packets;
	uint64_t moved_bytes;
	struct relay_ns_list namespaces;
	struct relay_hold_list holds;
	struct conn_list conns;
};

/* cmd_relay.c */
int64_t relay_now(void);
/* Told with --verbose only. */
void relay_tell(const struct relay *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* "hold 3 (dev tap0, label x)" in a static buffer. */
const char *relay_hold_name(const struct relay_hold *rh);
/* A transfer is over. */
void relay_summary(struct relay *r, struct relay_hold *rh,
		   enum relay_end result);

/* relay_hold.c */
int relay_ns_add(struct relay *r, const char *name);
void relay_holds_free(struct relay *r);
/* All holds; again, when events were lost. */
int relay_holds_read(struct relay *r, struct relay_ns *ns);
/* Events that are there. */
int relay_holds_event(struct relay *r, struct relay_ns *ns);
struct relay_hold *relay_hold_find(struct relay *r, uint32_t handle);
/* What the kernel says now, into rh->h. */
int relay_hold_refresh(struct relay_hold *rh);
/* What its freeze has dropped by then, if that is the one that was sent. */
void relay_hold_count_dropped(struct relay_hold *rh);
/* Free those that are gone, when nobody has a pointer to them. */
void relay_holds_reap(struct relay *r);
/*
 * Requests about one hold. 0, or a negative errno, and rh->ns->nl.error says
 * why.
 */
int relay_hold_request(struct relay_hold *rh, uint8_t cmd);
int relay_hold_set_peer(struct relay_hold *rh, bool on);
int relay_hold_transfer(struct relay_hold *rh, uint8_t cmd, uint16_t type,
			uint64_t v);
int relay_nl_open(struct relay *r, struct relay_ns *ns, struct nl *nl);
/* What has this label, and others. */
struct relay_labels *relay_labels(struct relay *r, const char *label);
/* Which of several holds with one label counts: the higher, the better. */
int relay_rank(uint32_t state, uint32_t flags);
/* The best of ours with this label and role; *twice: there are two as good. */
struct relay_hold *relay_hold_best(struct relay *r, uint32_t role,
				   const char *label, bool *twice);

/* relay_conn.c */
int address_parse(struct address *a, const char *text, bool listen);
int relay_listen(struct relay *r);
void relay_accept(struct relay *r);
void relay_connect(struct relay *r);
/* The resolver has something. */
void relay_resolved(struct relay *r);
/* What poll() says about a connection. */
void conn_readable(struct conn *c);
void conn_writable(struct conn *c);
short conn_read_events(const struct conn *c);
short conn_write_events(const struct conn *c);
size_t conn_queued(const struct conn *c);
/* Time is up for something; *next becomes the time of the next call. */
void conn_timer(struct conn *c, int64_t now, int64_t *next);
/* Tell the peer why (BYE), write what there is, and close. */
void conn_close(struct conn *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The same, and it is the peer's fault. */
void conn_blame(struct conn *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Nothing is written any more; the main loop frees it, and its channels. */
void conn_kill(struct conn *c);
void conn_free(struct conn *c);

/* relay_resolve.c */
/* With AI_* flags; waits for a name server. */
void resolve_now(const struct address *a, int flags, struct resolved *found);
void resolver_init(struct resolver *s);
void resolver_stop(struct resolver *s);
/* False: poll its fd, and take what comes. True: s->found is the answer. */
bool resolver_start(struct resolver *s, const struct address *a);
bool resolver_take(struct resolver *s);

/* relay_proto.c */
void relay_send_hello(struct conn *c);
void relay_send_ping(struct conn *c);
void relay_send_pong(struct conn *c, uint64_t time);
void relay_send_bye(struct conn *c, const char *text);
void relay_send_offer(struct conn *c, const struct relay_hold *rh);
void relay_send_withdraw(struct conn *c, uint32_t handle);
void relay_send_pair(struct channel *ch);
void relay_send_unpair(struct channel *ch, const char *text);
void relay_send_begin(struct channel *ch, uint64_t time);
void relay_send_number(struct channel *ch, enum relay_code code, uint64_t seq);
/* Messages of nothing but the channel. */
void relay_send_simple(struct channel *ch, enum relay_code code);
void relay_send_end(struct channel *ch, uint32_t reason);
void relay_send_ended(struct channel *ch, const uint64_t counts[8]);
void relay_send_packet(struct channel *ch, struct packet *p);
/* The local-use block that the reader has. */
void relay_message(struct conn *c);

/* relay_peer.c */
void relay_peer_hello(struct conn *c, uint32_t version,
		      const uint8_t *instance);
void relay_peer_pong(struct conn *c, uint64_t echo, uint64_t time);
void relay_peer_offer(struct conn *c, const struct offer *o);
void relay_peer_withdraw(struct conn *c, uint32_t handle);
/* With all that it had on offer. */
void relay_peer_gone(struct conn *c);
void relay_peer_pair(struct conn *c, uint32_t channel, uint32_t source,
		     uint32_t standby);
void relay_peer_paired(struct channel *ch);
void relay_peer_unpair(struct channel *ch, const char *text);
struct offer *relay_peer_find(struct conn *c, uint32_t handle);
struct channel *relay_channel(struct conn *c, bool ours, uint32_t number);
/* Say UNPAIR, and why, and forget it. */
void relay_channel_refuse(struct channel *ch, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Forget it without a word. */
void relay_channel_close(struct channel *ch);
/*
 * Before the first packet: are there two with this label by now, here or there?
 * Then it is refused.
 */
bool relay_peer_ambiguous(struct channel *ch);
/* A hold of ours has appeared, may have changed, or is gone (rh->gone). */
void relay_hold_appeared(struct relay *r, struct relay_hold *rh);
void relay_hold_changed(struct relay *r, struct relay_hold *rh);
/* Try a source again after a moment, even if nothing changes until then. */
void relay_pair_later(struct relay *r, struct relay_hold *rh);
/* Join what can be joined; from the main loop, when r->pair_wanted. */
void relay_pair(struct relay *r);

/* relay_source.c */
void source_paired(struct channel *ch);
void source_changed(struct channel *ch);
/* The standby on offer has changed. */
void source_peer_changed(struct channel *ch, const struct offer *o);
/* Is the freeze over whose packets are sent, and how; on each change. */
void source_follow(struct relay_hold *rh);
/* All that a peer has is on offer by now. */
void source_offers_known(struct conn *c);
void source_close(struct channel *ch);
void source_ack(struct channel *ch, uint64_t seq);
void source_full(struct channel *ch);
void source_more(struct channel *ch);
void source_sync_request(struct channel *ch);
void source_synced(struct channel *ch);
void source_ended(struct channel *ch, const uint64_t counts[8]);
/* Read exports while there is room in what waits to be written. */
void source_pump(struct conn *c);
bool source_busy(const struct conn *c);
void source_timer(struct channel *ch, int64_t now, int64_t *next);

/* relay_standby.c */
void standby_paired(struct channel *ch);
void standby_changed(struct channel *ch, const struct hold *old);
void standby_begin(struct channel *ch, uint64_t time);
void standby_packet(struct conn *c, const struct packet *p);
/* Give what has come to the kernel, and acknowledge it. */
void standby_flush(struct conn *c);
void standby_sync(struct channel *ch, uint64_t seq);
void standby_end(struct channel *ch, uint32_t reason);
void standby_timer(struct channel *ch, int64_t now, int64_t *next);

#endif /* TAPMIG_RELAY_H */
