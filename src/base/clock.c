/* SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/checked.h"

static double seconds_of(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) != 0)
        return 0;
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double nbi_clock(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

/* Start of the process in seconds since boot: field 22 of /proc/self/stat. The second field is the
 * program's name in parentheses and may hold anything, so counting starts after the last ')'. */
static bool process_start(double *start)
{
    char buf[2048];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n <= 0)
        return false;
    buf[n] = 0;
    const char *p = strrchr(buf, ')');
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p, ' ');
        p = p ? p + 1 : NULL;
    }
    uint64_t ticks;
    long hz = sysconf(_SC_CLK_TCK);
    if (!p || hz <= 0 || !nbi_parse_u64(p, strspn(p, "0123456789"), &ticks))
        return false;
    *start = (double)ticks / (double)hz;
    return true;
}

double nbi_clock_process(void)
{
    static _Atomic double first;
    double start, age;
    if (process_start(&start)) {
        age = seconds_of(CLOCK_BOOTTIME) - start;
        return age > 0 ? age : 0;
    }
    double now = nbi_clock(), none = 0;
    atomic_compare_exchange_strong(&first, &none, now);
    return now - atomic_load(&first);
}
