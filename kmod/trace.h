/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints, in tracefs under events/tapmig/:
 *
 *	trace_tapmig_prepare(h, entries)	rings are being enlarged
 *	trace_tapmig_freeze(h)			the hold is frozen
 *	trace_tapmig_thaw(h, imported)		handed over; with @imported of
 *						the peer's packets
 *	trace_tapmig_hold(h, p)			a packet was captured
 *	trace_tapmig_drop(h, p, reason)		one was not; a constant string
 *	trace_tapmig_import(h, p, late)		one came from the peer
 *	trace_tapmig_state(h, old, new)		enum tapmig_state
 *
 * Those of packets may be called from the hook, with interrupts off.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tapmig

#if !defined(_TAPMIG_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TAPMIG_TRACE_H

#include <linux/tracepoint.h>

#include "hold.h"

/* Longest reason, with its end. */
#define TAPMIG_REASON	24

TRACE_DEFINE_ENUM(TAPMIG_STATE_ARMED);
TRACE_DEFINE_ENUM(TAPMIG_STATE_FROZEN);
TRACE_DEFINE_ENUM(TAPMIG_STATE_THAWING);
TRACE_DEFINE_ENUM(TAPMIG_STATE_LIVE);
TRACE_DEFINE_ENUM(TAPMIG_STATE_DEAD);

#define tapmig_show_state(state)					\
	__print_symbolic(state,						\
			 { TAPMIG_STATE_ARMED, "armed" },		\
			 { TAPMIG_STATE_FROZEN, "frozen" },		\
			 { TAPMIG_STATE_THAWING, "thawing" },		\
			 { TAPMIG_STATE_LIVE, "live" },			\
			 { TAPMIG_STATE_DEAD, "dead" })

TRACE_EVENT(tapmig_prepare,
	    TP_PROTO(const struct tapmig_hold *h, u32 entries),

	    TP_ARGS(h, entries),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, queues)
			     __field(u32, entries)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->queues = h->nr_queues;
			   __entry->entries = entries;),

	    TP_printk("id=%u queues=%u entries=%u", __entry->id,
		      __entry->queues, __entry->entries)
);

TRACE_EVENT(tapmig_freeze,
	    TP_PROTO(const struct tapmig_hold *h),

	    TP_ARGS(h),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, queues)
			     __field(u64, captured)
			     __array(char, label, TAPMIG_LABEL_MAX + 1)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->queues = h->nr_queues;
			   __entry->captured = h->counts.captured;
			   memcpy(__entry->label, h->label, sizeof(h->label));),

	    TP_printk("id=%u label=%s queues=%u captured=%llu", __entry->id,
		      __entry->label, __entry->queues, __entry->captured)
);

TRACE_EVENT(tapmig_thaw,
	    TP_PROTO(const struct tapmig_hold *h, u64 imported),

	    TP_ARGS(h, imported),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u64, packets)
			     __field(u64, imported)
			     __field(u64, wait_ns)
			     __field(u64, locked_ns)
			     __array(char, label, TAPMIG_LABEL_MAX + 1)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->packets = h->counts.delivered;
			   __entry->imported = imported;
			   __entry->wait_ns = h->thaw_wait_ns;
			   __entry->locked_ns = h->thaw_irqoff_ns;
			   memcpy(__entry->label, h->label, sizeof(h->label));),

	    TP_printk("id=%u label=%s packets=%llu imported=%llu wait_ns=%llu locked_ns=%llu",
		      __entry->id, __entry->label, __entry->packets,
		      __entry->imported, __entry->wait_ns, __entry->locked_ns)
);

TRACE_EVENT(tapmig_hold,
	    TP_PROTO(const struct tapmig_hold *h, const struct tapmig_pkt *p),

	    TP_ARGS(h, p),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, len)
			     __field(u64, seq)
			     __field(u16, queue)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->len = tapmig_pkt_len(p);
			   __entry->seq = p->seq;
			   __entry->queue = p->queue;),

	    TP_printk("id=%u queue=%u seq=%llu len=%u", __entry->id,
		      __entry->queue, __entry->seq, __entry->len)
);

TRACE_EVENT(tapmig_drop,
	    TP_PROTO(const struct tapmig_hold *h, const struct tapmig_pkt *p,
		     const char *reason),

	    TP_ARGS(h, p, reason),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, len)
			     __field(u64, seq)
			     __field(u16, queue)
			     __array(char, reason, TAPMIG_REASON)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->len = tapmig_pkt_len(p);
			   __entry->seq = p->seq;
			   __entry->queue = p->queue;
			   strscpy(__entry->reason, reason, TAPMIG_REASON);),

	    TP_printk("id=%u queue=%u seq=%llu len=%u reason=\"%s\"",
		      __entry->id, __entry->queue, __entry->seq,
		      __entry->len, __entry->reason)
);

TRACE_EVENT(tapmig_import,
	    TP_PROTO(const struct tapmig_hold *h, const struct tapmig_pkt *p,
		     bool late),

	    TP_ARGS(h, p, late),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, len)
			     __field(u64, seq)
			     __field(u16, sub)
			     __field(bool, late)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->len = tapmig_pkt_len(p);
			   __entry->seq = p->seq;
			   __entry->sub = p->sub;
			   __entry->late = late;),

	    TP_printk("id=%u seq=%llu sub=%u len=%u late=%d", __entry->id,
		      __entry->seq, __entry->sub, __entry->len, __entry->late)
);

TRACE_EVENT(tapmig_state,
	    TP_PROTO(const struct tapmig_hold *h, u32 old, u32 new),

	    TP_ARGS(h, old, new),

	    TP_STRUCT__entry(__field(u32, id)
			     __field(u32, old)
			     __field(u32, new)
			     __array(char, label, TAPMIG_LABEL_MAX + 1)),

	    TP_fast_assign(__entry->id = h->id;
			   __entry->old = old;
			   __entry->new = new;
			   memcpy(__entry->label, h->label, sizeof(h->label));),

	    TP_printk("id=%u label=%s old=%s new=%s", __entry->id,
		      __entry->label, tapmig_show_state(__entry->old),
		      tapmig_show_state(__entry->new))
);

#endif /* _TAPMIG_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
