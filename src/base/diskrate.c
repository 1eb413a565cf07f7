/* SPDX-License-Identifier: MIT */
#include "base/diskrate.h"

#include <fcntl.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "base/io.h"

/* Reads past the cache begin and end at multiples of the page. */
#define PAGE ((size_t)4096)
#define PIECE ((size_t)4 << 20)
#define MOST ((size_t)64 << 20)
#define SECONDS 0.25

bool nbi_disk_rate(const char *path, double *bytes_per_second)
{
#ifdef O_DIRECT
    int fd = nbi_io_open(path, O_RDONLY | O_NONBLOCK | O_DIRECT, 0);
    if (fd < 0)
        return false;
    unsigned char *block = nbi_alloc(NBI_MEM_IO, PIECE + PAGE);
    size_t done = 0;
    double begin = nbi_clock(), spent = 0;
    while (block && done < MOST && spent < SECONDS) {
        unsigned char *at = block + (PAGE - (uintptr_t)block % PAGE) % PAGE;
        if (nbi_io_read(fd, at, PIECE) != (long)PIECE)
            break;
        done += PIECE;
        spent = nbi_clock() - begin;
    }
    nbi_free(block);
    nbi_io_close(fd);
    *bytes_per_second = spent > 0 ? (double)done / spent : 0;
    return done > 0 && spent > 0;
#else
    (void)path;
    (void)bytes_per_second;
    return false;
#endif
}
