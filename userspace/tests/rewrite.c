// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader and the writer of captures without the tool around them.
 *
 *   rewrite PIECE FILE	read FILE in pieces of that many bytes, write it to
 *			standard output as an export of test0, label
 *   rewrite fuzz FILE	read FILE cut at every offset, and with every byte
 *			changed in several ways: the reader must come to an end
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../capture.h"

static int to_stdout(void *ctx, const void *data, size_t len)
{
	return fwrite(data, 1, len, stdout) == len ? 0 : -EIO;
}

/* Feed len bytes; what comes out goes to w, if there is one. */
static enum capture_status feed(const uint8_t *data, size_t len, size_t piece,
				struct pcapng_writer *w, char *error,
				size_t *packets)
{
	enum capture_status status;
	volatile uint8_t touch = 0;
	struct capture c;
	struct packet p;
	size_t at = 0, n;
	bool begun = false;
	uint32_t i;
	void *buf;

	capture_init(&c);
	do {
		status = capture_next(&c, &p);
		if (status == CAPTURE_MORE) {
			buf = capture_space(&c, &n);
			if (!buf)
				abort();
			n = n < piece ? n : piece;
			n = n < len - at ? n : len - at;
			memcpy(buf, data + at, n);
			at += n;
			capture_added(&c, n);
		} else if (status == CAPTURE_PACKET) {
			for (i = 0; i < p.len; i++)
				touch = p.data[i];
			if (w && !begun) {
				pcapng_section(w, "tapmig test");
				pcapng_interface(w, c.link_type, "test0",
						 "label");
				begun = true;
			}
			if (w)
				pcapng_packet(w, &p);
		} else if (status == CAPTURE_LOCAL) {
			for (i = 0; i < c.local_len; i++)
				touch = c.local[i];
			if (w)
				pcapng_local(w, c.local_type, c.local,
					     c.local_len);
		}
	} while (status != CAPTURE_END && status != CAPTURE_ERROR);
	(void)touch;
	if (error)
		strcpy(error, c.error);
	if (packets)
		*packets = c.packets;
	capture_free(&c);
	return status;
}

static void fuzz(uint8_t *data, size_t len)
{
	static const uint8_t change[] = { 0x01, 0x80, 0xff, 0x7f };
	unsigned long runs = 0, good = 0;
	uint8_t *copy, old;
	char error[256];
	size_t at, i;

	for (at = 0; at <= len; at++) {
		/* A copy of that size, so that a tool sees reads beyond it. */
		copy = malloc(at ? at : 1);
		if (!copy)
			abort();
		memcpy(copy, data, at);
		if (feed(copy, at, 4096, NULL, error, NULL) == CAPTURE_END)
			good++;
		else if (strncmp(error, "offset ", 7))
			abort();
		free(copy);
		runs++;
	}
	for (at = 0; at < len; at++) {
		old = data[at];
		for (i = 0; i < sizeof(change); i++) {
			data[at] = old ^ change[i];
			good += feed(data, len, 4096, NULL, NULL, NULL) ==
				CAPTURE_END;
			runs++;
		}
		data[at] = old;
	}
	printf("%lu runs, %lu accepted\n", runs, good);
}

int main(int argc, char **argv)
{
	struct pcapng_writer w;
	size_t len = 0, size = 1 << 20, n, piece;
	char error[256];
	uint8_t *data;
	FILE *f;

	if (argc != 3)
		return 2;
	f = fopen(argv[2], "rb");
	if (!f)
		return 2;
	data = malloc(size);
	if (!data)
		return 2;
	while ((n = fread(data + len, 1, size - len, f)) > 0) {
		len += n;
		if (len < size)
			continue;
		size *= 2;
		data = realloc(data, size);
		if (!data)
			return 2;
	}
	fclose(f);
	if (!strcmp(argv[1], "fuzz")) {
		fuzz(data, len);
		free(data);
		return 0;
	}
	piece = strtoul(argv[1], NULL, 10);
	if (!piece || pcapng_open(&w, to_stdout, NULL))
		return 2;
	if (feed(data, len, piece, &w, error, NULL) != CAPTURE_END) {
		fprintf(stderr, "%s\n", error);
		return 1;
	}
	n = pcapng_flush(&w) || fflush(stdout);
	pcapng_close(&w);
	free(data);
	return n ? 1 : 0;
}
