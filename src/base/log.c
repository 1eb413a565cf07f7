/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include "base/fail.h"

void nbi_log(const nb_log *log, nb_log_level level, const char *fmt, ...)
{
    char raw[4096], line[4096];
    va_list ap;
    if (!log || !log->write)
        return;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    nbi_fail_clean(line, sizeof(line), raw);
    log->write(log->user, level, line);
}
