/* SPDX-License-Identifier: MIT */
/* Messages of the library to whoever embeds it. The library never prints by itself: a sink is
 * handed down where messages can arise. */
#ifndef NBI_LOG_H
#define NBI_LOG_H

#include "nibble/log.h"

/* Formats and passes one line (no final line feed) to the sink; a NULL sink drops it. */
void nbi_log(const nb_log *log, nb_log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
