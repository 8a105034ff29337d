// SPDX-License-Identifier: GPL-2.0-only
/*
 * rig send|vmm|count ARGUMENT...
 *
 * The first two read commands from standard input, a line each, and answer
 * with a line each: "ok ..." or "error ...".
 */
#include "rig.h"

void answer(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

int command(char **words, int max)
{
	static char line[4096];
	char *rest = line, *word;
	int n = 0;

	if (!fgets(line, sizeof(line), stdin))
		return 0;
	while (n < max && (word = strsep(&rest, "\n ")))
		if (*word)
			words[n++] = word;
	if (!n)
		words[n++] = "nothing";
	return n;
}

__u64 number(const char *word)
{
	char *end;
	__u64 n = strtoull(word, &end, 0);

	if (end == word || *end)
		die("'%s' is no number", word);
	return n;
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "send"))
		return send_main(argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[1], "vmm"))
		return vmm_main(argc - 2, argv + 2);
	if (argc > 1 && !strcmp(argv[1], "count"))
		return count_main(argc - 2, argv + 2);
	fputs("usage: rig send|vmm|count ARGUMENT...\n", stderr);
	return 2;
}
