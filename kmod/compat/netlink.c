// SPDX-License-Identifier: GPL-2.0-only
/* Messages with arguments for kernels whose extack only points to a text. */

#include <linux/atomic.h>
#include <linux/kernel.h>
#include <linux/netlink.h>
#include <linux/stdarg.h>

#define TEXTS		64	/* power of two */
#define TEXT_LEN	96

/* The acknowledgment that carries the message is sent right after the handler
 * returns; by the time a text is used again, it has long been copied. Were it
 * not, a reader would see the text of another refusal.
 */
static char texts[TEXTS][TEXT_LEN];
static atomic_t next_text;

/**
 * tapmig_compat_extack() - set a message with arguments
 * @extack: where to, or NULL
 * @fmt: as for printf()
 */
void tapmig_compat_extack(struct netlink_ext_ack *extack, const char *fmt,
			  ...)
{
	unsigned int i;
	va_list args;

	if (!extack)
		return;
	i = (unsigned int)atomic_fetch_inc(&next_text) % TEXTS;
	va_start(args, fmt);
	vsnprintf(texts[i], TEXT_LEN, fmt, args);
	va_end(args);
	extack->_msg = texts[i];
}
