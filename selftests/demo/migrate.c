// SPDX-License-Identifier: GPL-2.0-only
/*
 * migrate stock|tapmig RESULT
 *
 * One live migration of a guest from hostA to hostB, as seen by the network:
 * the guest stops on host A while frames for it keep coming, and goes on
 * later on host B. With "tapmig" a hold on each host keeps what comes
 * meanwhile; with "stock" the same happens without. Writes what the guest
 * counted to the file RESULT, one NAME VALUE a line.
 */
#include <stdio.h>
#include <string.h>

#include <linux/tapmig.h>

#include "demo.h"

/* When things happen, in frames that the client has sent. */
#define DEST_STARTS	900
#define GUEST_STOPS	1800
#define GUEST_ARRIVES	4050
#define ALL_FRAMES	6300
#define INTERVAL_NS	1000000

static void print_results(const char *path, const struct client *c,
			  const struct guest *g)
{
	FILE *f = fopen(path, "w");

	check(f, path);
	fprintf(f, "sent %u\n", c->sent);
	fprintf(f, "delivered %u\n", g->delivered);
	fprintf(f, "lost %u\n", c->sent - g->delivered);
	fprintf(f, "duplicated %u\n", g->duplicated);
	fprintf(f, "reordered %u\n", g->reordered);
	fprintf(f, "longest_gap_ms %llu\n",
		(unsigned long long)g->longest_gap_ns / 1000000);
	check(!fclose(f), path);
}

static void arm(struct vmm *a, struct vmm *b, struct relay *r)
{
	hold_create(a, TAPMIG_ROLE_SOURCE);
	hold_create(b, TAPMIG_ROLE_STANDBY);
	hold_freeze(b, false);
	relay_start(r);
	hold_wait_peer(a);
	hold_wait_peer(b);
	say("         armed: hold %u on host A and hold %u on host B are paired",
	    a->hold_id, b->hold_id);
}

/* The destination has thawed; late frames may come. */
static void in_step(struct vmm *b)
{
	struct tapmig_info info;

	hold_wait_state(b, TAPMIG_STATE_LIVE);
	hold_info(b, &info);
	say("host B:  in step; %llu frames came by the relay, %llu were handed over",
	    (unsigned long long)info.imported,
	    (unsigned long long)info.delivered);
	say("         (%llu of its own were copies, %llu were too old)",
	    (unsigned long long)info.flooded,
	    (unsigned long long)info.trimmed);
}

static void migrate(bool tapmig, const char *result)
{
	struct relay r;
	struct client c;
	struct guest mem, *g = &mem;
	struct vmm a, b;
	__u32 n;

	client_open(&c, ALL_FRAMES / FLOWS, INTERVAL_NS);
	guest_init(&mem, c.rounds);
	vmm_open(&a, "hostA");
	do {
		vmm_announce(&a);
	} while (!client_saw_announcement(&c, 50));
	vmm_run_guest(&a, g);
	say("host A:  the guest runs; the client sends %d flows and broadcast",
	    UNICAST_FLOWS);
	client_start(&c);

	client_wait_sent(&c, DEST_STARTS);
	vmm_open(&b, "hostB");
	vmm_wait_readable(&b);
	say("host B:  waits for the guest; flooded frames arrive at its TAP");
	if (tapmig)
		arm(&a, &b, &r);

	client_wait_sent(&c, GUEST_STOPS);
	if (tapmig)
		hold_prepare(&a);
	g = vmm_stop_guest(&a);
	if (tapmig)
		hold_freeze(&a, true);
	say("host A:  the guest stops%s; the client goes on",
	    tapmig ? ", its queue is frozen" : "");

	client_wait_sent(&c, GUEST_ARRIVES);
	vmm_announce(&b);
	/* The guest is not there at once; the network has changed its mind. */
	n = client_sent(&c);
	client_wait_sent(&c, n + 2 * FLOWS);
	b.thaw = tapmig;
	vmm_run_guest(&b, g);
	say("host B:  announces the guest, %u frames after the stop",
	    n - GUEST_STOPS);
	if (tapmig) {
		in_step(&b);
		relay_wait(&r);
		say("host A:  no late frames any more, all is committed");
	}
	vmm_close(&a);
	if (!tapmig)
		say("host A:  its VMM exits, and what its TAP kept is gone");

	client_join(&c);
	vmm_wait_done(&b);
	vmm_stop_guest(&b);
	vmm_close(&b);
	say("all sent; the guest counted %u of %u", g->delivered, c.sent);
	if (g->damaged)
		say("%u frames came damaged", g->damaged);
	print_results(result, &c, g);
}

int main(int argc, char **argv)
{
	if (argc != 3 || (strcmp(argv[1], "stock") &&
			  strcmp(argv[1], "tapmig"))) {
		fputs("usage: migrate stock|tapmig RESULT\n", stderr);
		return 2;
	}
	migrate(!strcmp(argv[1], "tapmig"), argv[2]);
	return 0;
}
