// SPDX-License-Identifier: GPL-2.0-only
/*
 * Figures, and how they are told: one line each on standard output, of words
 * separated by tabs, the first of which says what it is.
 */
#include <time.h>

#include "bench.h"

bool warming_up;

void series_add(struct series *s, double v)
{
	if (warming_up)
		return;
	if (s->n == MAX_ROUNDS)
		die("too many rounds");
	s->v[s->n++] = v;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Value that a part of @q of the figures does not exceed. */
static double quantile(const struct series *s, double q)
{
	struct series sorted = *s;
	double pos = q * (s->n - 1);
	int i = pos;

	if (!s->n)
		die("a figure was not measured");
	qsort(sorted.v, s->n, sizeof(sorted.v[0]), compare);
	if (i + 1 >= s->n)
		return sorted.v[s->n - 1];
	return sorted.v[i] + (pos - i) * (sorted.v[i + 1] - sorted.v[i]);
}

double series_median(const struct series *s)
{
	return quantile(s, 0.5);
}

/**
 * report_ratio - report how two things compare
 * @id: name of the figure
 * @unit: of the two
 * @what: one figure a round
 * @to: what it is divided by, of the same round
 *
 * On a busy machine the best of all rounds is what was disturbed least: how
 * the two bests compare is told, too.
 */
void report_ratio(const char *id, const char *unit, const struct series *what,
		  const struct series *to)
{
	double best = strcmp(unit, "frames/s") ? 0 : 1;
	struct series r = { .n = what->n };
	int i;

	if (what->n != to->n)
		die("%s: %d and %d rounds", id, what->n, to->n);
	for (i = 0; i < r.n; i++)
		r.v[i] = what->v[i] / to->v[i];
	printf("ratio\t%s\t%.4g\t%.4g\t%.4g\t%.4g\t%d\t%.6g\t%.6g\t%s\n",
	       id, quantile(&r, 0.5), quantile(&r, 0.25), quantile(&r, 0.75),
	       quantile(what, best) / quantile(to, best), r.n,
	       series_median(what), series_median(to), unit);
	fflush(stdout);
}

/**
 * report_value - report a figure that is compared with nothing
 * @id: its name
 * @unit: its unit
 * @s: one figure a round
 */
void report_value(const char *id, const char *unit, const struct series *s)
{
	printf("value\t%s\t%.6g\t%.6g\t%.6g\t%d\t%s\n", id, series_median(s),
	       quantile(s, 0), quantile(s, 1), s->n, unit);
	fflush(stdout);
}

/**
 * report_text - report a condition
 * @id: its name
 * @fmt: format, as of printf
 */
void report_text(const char *id, const char *fmt, ...)
{
	va_list ap;

	printf("text\t%s\t", id);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

__s64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}
