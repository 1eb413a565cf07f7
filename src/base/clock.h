/* SPDX-License-Identifier: MIT */
#ifndef NBI_CLOCK_H
#define NBI_CLOCK_H

/* Seconds of the monotonic clock. */
double nbi_clock(void);
/* Seconds since this process started (from /proc/self/stat; since first use if unknown). */
double nbi_clock_process(void);

#endif
