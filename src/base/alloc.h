/* SPDX-License-Identifier: MIT */
/* The one allocation layer: every byte has a tag, peaks are known per tag, and tests can make the
 * k-th allocation fail. The counters are the only mutable state shared by the whole process
 * (atomic, so two models in one process work). */
#ifndef NBI_ALLOC_H
#define NBI_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(enum name, name shown to the user) */
#define NBI_MEMTAG_MAP(X)                                                                          \
    X(WEIGHTS, "weights")                                                                          \
    X(SCALES, "scales")                                                                            \
    X(ADAPTER, "adapter")                                                                          \
    X(GRADIENTS, "gradients")                                                                      \
    X(OPTIMIZER, "optimizer")                                                                      \
    X(ACTIVATIONS, "activations")                                                                  \
    X(KV, "kv")                                                                                    \
    X(SCRATCH, "scratch")                                                                          \
    X(IO, "io")                                                                                    \
    X(OTHER, "other")

typedef enum nbi_memtag {
#define NBI_MEMTAG_ENUM(name, text) NBI_MEM_##name,
    NBI_MEMTAG_MAP(NBI_MEMTAG_ENUM)
#undef NBI_MEMTAG_ENUM
        NBI_MEMTAG_COUNT
} nbi_memtag;

/* n bytes aligned to 64, contents unspecified; n = 0 gives a valid unique pointer. NULL when there
 * is no memory. Large blocks (>= 128 KiB) come from and go back to the system at once. */
void *nbi_alloc(nbi_memtag tag, size_t n);
/* count * size bytes, zeroed, overflow checked. Pages of a large block are made when touched. */
void *nbi_calloc(nbi_memtag tag, size_t count, size_t size);
/* As realloc: p may be NULL; on failure NULL comes back and p stays valid. Keeps the tag of p. */
void *nbi_realloc(nbi_memtag tag, void *p, size_t n);
/* NULL is fine. */
void nbi_free(void *p);
/* Copy of len bytes with a NUL after them. */
char *nbi_strndup(nbi_memtag tag, const char *s, size_t len);
char *nbi_strdup(nbi_memtag tag, const char *s);

/* Bytes of memory that a block of n bytes takes once all of it was written: head and whole pages.
 */
size_t nbi_mem_footprint(size_t n);
/* Makes every page of a large block present now (in huge pages where the system has them), so that
 * a planned memory is taken before the work begins and not when it is first written. Contents stay.
 * Small blocks and systems that cannot are left alone. */
void nbi_mem_populate(void *p);
/* Gives free memory of small blocks back to the system. */
void nbi_mem_trim(void);

const char *nbi_memtag_text(nbi_memtag tag);
size_t nbi_mem_current(nbi_memtag tag);
size_t nbi_mem_peak(nbi_memtag tag);
/* Sets every peak to the present value. */
void nbi_mem_reset_peaks(void);
/* Resident set of the process in bytes, now and highest so far (/proc/self/status); 0 if unknown.
 */
size_t nbi_mem_rss(void);
size_t nbi_mem_rss_peak(void);

/* Fault backend for tests. The k-th allocation from now on (1-based) fails; with `forever` all
 * later ones too. k = 0 switches it off. */
void nbi_alloc_fail_at(uint64_t k, bool forever);
/* Number of allocations since the last call of nbi_alloc_fail_at. */
uint64_t nbi_alloc_count(void);

#endif
