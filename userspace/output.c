// SPDX-License-Identifier: GPL-2.0-only
/*
 * One call prints a value as text or as a JSON member, whatever was asked for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define DEPTH_MAX	8

static struct {
	unsigned int depth;
	bool member[DEPTH_MAX];
	bool colors;
	bool line;
} out;

void out_init(void)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	static char errors[4096];

	out.colors = !opt.json && isatty(STDOUT_FILENO) && !(no && *no) &&
		     term && strcmp(term, "dumb");
	/* Who reads a pipe wants each record when it happens, and whole. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	setvbuf(stderr, errors, _IOLBF, sizeof(errors));
}

static void indent(void)
{
	unsigned int i;

	if (!opt.pretty)
		return;
	putchar('\n');
	for (i = 0; i < out.depth; i++)
		fputs("    ", stdout);
}

/* Bytes of the UTF-8 character at s, 0: it is none. */
static size_t utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint32_t v;
	size_t n, i;

	if (s[0] >= 0xc2 && s[0] < 0xe0)
		n = 2;
	else if (s[0] >= 0xe0 && s[0] < 0xf0)
		n = 3;
	else if (s[0] >= 0xf0 && s[0] < 0xf5)
		n = 4;
	else
		return 0;
	v = s[0] & (0x7f >> n);
	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s[i] & 0x3f);
	}
	if (v < least[n] || v > 0x10ffff || (v >= 0xd800 && v < 0xe000))
		return 0;
	return n;
}

/* U+0080 to U+009f are control characters too. */
static bool is_c1(const unsigned char *s)
{
	return s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0;
}

static void json_string(const char *str)
{
	const unsigned char *s = (const unsigned char *)str;
	size_t n;

	putchar('"');
	while (*s) {
		n = 1;
		if (*s == '"' || *s == '\\') {
			printf("\\%c", *s);
		} else if (*s < 0x20 || *s == 0x7f) {
			printf("\\u%04x", *s);
		} else if (is_c1(s)) {
			printf("\\u%04x", s[1]);
			n = 2;
		} else if (*s < 0x7f) {
			putchar(*s);
		} else {
			n = utf8_len(s);
			if (n)
				fwrite(s, 1, n, stdout);
			else
				fputs("\\ufffd", stdout);
			n = n ? n : 1;
		}
		s += n;
	}
	putchar('"');
}

/* A label can hold anything: it must not reach the terminal as it is. */
static void text_string(const char *str)
{
	const unsigned char *s = (const unsigned char *)str;
	bool quote = !*s || strpbrk(str, " \t\"'\\");
	size_t n;

	if (quote)
		putchar('"');
	for (; *s; s += n) {
		n = 1;
		if (*s == '"' || *s == '\\') {
			printf("\\%c", *s);
		} else if (*s >= 0x20 && *s < 0x7f) {
			putchar(*s);
		} else {
			n = utf8_len(s);
			if (n && !is_c1(s)) {
				fwrite(s, 1, n, stdout);
			} else {
				printf("\\x%02x", *s);
				n = 1;
			}
		}
	}
	if (quote)
		putchar('"');
}

static void json_key(const char *key)
{
	if (out.member[out.depth])
		putchar(',');
	out.member[out.depth] = true;
	if (out.depth)
		indent();
	if (key) {
		json_string(key);
		putchar(':');
		if (opt.pretty)
			putchar(' ');
	}
}

static void json_open(const char *key, char bracket)
{
	if (!opt.json)
		return;
	json_key(key);
	putchar(bracket);
	if (out.depth + 1 < DEPTH_MAX)
		out.depth++;
	out.member[out.depth] = false;
}

static void json_close(char bracket)
{
	bool any;

	if (!opt.json)
		return;
	any = out.member[out.depth];
	if (out.depth)
		out.depth--;
	if (any)
		indent();
	putchar(bracket);
	if (!out.depth) {
		out.member[0] = false;
		putchar('\n');
	}
}

void out_array(const char *key)
{
	json_open(key, '[');
}

void out_array_end(void)
{
	json_close(']');
}

void out_object(const char *key)
{
	json_open(key, '{');
}

void out_object_end(void)
{
	json_close('}');
}

static void text_begin(const char *prefix, enum color color)
{
	static const char *const codes[] = {
		[COLOR_ID] = "\033[1m",
		[COLOR_NAME] = "\033[36m",
		[COLOR_GOOD] = "\033[32m",
		[COLOR_BAD] = "\033[31m",
	};

	fputs(prefix, stdout);
	if (out.colors && color)
		fputs(codes[color], stdout);
	out.line = true;
}

static void text_end(enum color color)
{
	if (out.colors && color)
		fputs("\033[0m", stdout);
}

void out_u64(const char *key, const char *prefix, enum color color,
	     uint64_t v)
{
	if (opt.json) {
		if (!key)
			return;
		json_key(key);
		printf("%llu", (unsigned long long)v);
	} else if (prefix) {
		text_begin(prefix, color);
		printf("%llu", (unsigned long long)v);
		text_end(color);
	}
}

void out_string(const char *key, const char *prefix, enum color color,
		const char *s)
{
	if (opt.json) {
		if (!key)
			return;
		json_key(*key ? key : NULL);
		json_string(s);
	} else if (prefix) {
		text_begin(prefix, color);
		text_string(s);
		text_end(color);
	}
}

void out_text(const char *s)
{
	if (opt.json)
		return;
	fputs(s, stdout);
	out.line = true;
}

void out_line(void)
{
	if (!opt.json && out.line)
		putchar('\n');
	out.line = false;
	fflush(stdout);
}

int out_finish(void)
{
	static bool told;

	if (fflush(stdout) || ferror(stdout)) {
		if (!told)
			err("standard output: %s", strerror(errno));
		told = true;
		return -EIO;
	}
	/* The last moment to tell what was dropped. */
	room_for_line(STDERR_FILENO);
	return 0;
}
