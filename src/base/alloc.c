/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"

#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/checked.h"
#include "nibble/tokenizer.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define UNDER_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define UNDER_ASAN 1
#endif
#ifdef UNDER_ASAN
#include <sanitizer/asan_interface.h>
#define HIDE(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define SHOW(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define UNDER_ASAN 0
#define HIDE(p, n) ((void)(p), (void)(n))
#define SHOW(p, n) ((void)(p), (void)(n))
#endif

enum { ALIGN = 64, BIG = 128 << 10 };

/* Stands in the ALIGN bytes before each block. */
typedef struct header {
    size_t size;
    nbi_memtag tag;
} header;
_Static_assert(sizeof(header) <= ALIGN, "the header must fit before the block");

static struct {
    _Atomic size_t now[NBI_MEMTAG_COUNT], peak[NBI_MEMTAG_COUNT];
    _Atomic uint64_t count, fail_at;
    _Atomic bool forever;
} stats;

static const char *const tag_text[] = {
#define TAG_TEXT(name, text) text,
    NBI_MEMTAG_MAP(TAG_TEXT)
#undef TAG_TEXT
};

static bool must_fail(void)
{
    uint64_t k = atomic_fetch_add(&stats.count, 1) + 1;
    uint64_t at = atomic_load(&stats.fail_at);
    return at != 0 && (k == at || (k > at && atomic_load(&stats.forever)));
}

static void count_add(nbi_memtag tag, size_t n)
{
    size_t now = atomic_fetch_add(&stats.now[tag], n) + n;
    size_t peak = atomic_load(&stats.peak[tag]);
    while (now > peak && !atomic_compare_exchange_weak(&stats.peak[tag], &peak, now)) {
    }
}

static void count_sub(nbi_memtag tag, size_t n)
{
    atomic_fetch_sub(&stats.now[tag], n);
}

/* The sanitizer sees overflows and leaks only of blocks that come from malloc. */
static bool is_mapped(size_t n)
{
    return !UNDER_ASAN && n >= BIG;
}

static header *header_of(void *p)
{
    return (header *)(void *)((char *)p - ALIGN);
}

static void *block_new(nbi_memtag tag, size_t n, bool *zeroed)
{
    size_t total;
    void *base = NULL;
    if (must_fail() || !nbi_add_size(n, ALIGN, &total) || total > PTRDIFF_MAX)
        return NULL;
    *zeroed = is_mapped(n);
    if (is_mapped(n)) {
        base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (base == MAP_FAILED)
            return NULL;
    } else if (posix_memalign(&base, ALIGN, total) != 0) {
        return NULL;
    }
    header *h = base;
    h->size = n;
    h->tag = tag;
    HIDE(base, ALIGN);
    count_add(tag, n);
    return (char *)base + ALIGN;
}

void *nbi_alloc(nbi_memtag tag, size_t n)
{
    bool zeroed;
    return block_new(tag, n, &zeroed);
}

void *nbi_calloc(nbi_memtag tag, size_t count, size_t size)
{
    size_t n;
    bool zeroed;
    if (!nbi_mul_size(count, size, &n))
        return NULL;
    void *p = block_new(tag, n, &zeroed);
    if (p && !zeroed)
        memset(p, 0, n);
    return p;
}

void nbi_free(void *p)
{
    if (!p)
        return;
    header *h = header_of(p);
    SHOW(h, ALIGN);
    size_t n = h->size;
    count_sub(h->tag, n);
    if (is_mapped(n))
        munmap(h, n + ALIGN);
    else
        free(h);
}

/* Both sizes are mapped: the system moves the pages instead of copying. */
static void *remap(header *h, size_t n)
{
    size_t total, old = h->size;
    if (must_fail() || !nbi_add_size(n, ALIGN, &total) || total > PTRDIFF_MAX)
        return NULL;
    header *moved = mremap(h, old + ALIGN, total, MREMAP_MAYMOVE);
    if (moved == MAP_FAILED)
        return NULL;
    moved->size = n;
    if (n > old)
        count_add(moved->tag, n - old);
    else
        count_sub(moved->tag, old - n);
    return (char *)moved + ALIGN;
}

void *nbi_realloc(nbi_memtag tag, void *p, size_t n)
{
    if (!p)
        return nbi_alloc(tag, n);
    header *h = header_of(p);
    SHOW(h, ALIGN);
    size_t old = h->size;
    nbi_memtag kept = h->tag;
    if (is_mapped(old) && is_mapped(n))
        return remap(h, n);
    HIDE(h, ALIGN);
    void *q = nbi_alloc(kept, n);
    if (!q)
        return NULL;
    memcpy(q, p, old < n ? old : n);
    nbi_free(p);
    return q;
}

char *nbi_strndup(nbi_memtag tag, const char *s, size_t len)
{
    size_t total;
    char *p = nbi_add_size(len, 1, &total) ? nbi_alloc(tag, total) : NULL;
    if (p) {
        if (len > 0)
            memcpy(p, s, len);
        p[len] = 0;
    }
    return p;
}

char *nbi_strdup(nbi_memtag tag, const char *s)
{
    return nbi_strndup(tag, s, strlen(s));
}

void nb_free(void *p)
{
    nbi_free(p);
}

size_t nbi_mem_footprint(size_t n)
{
    const size_t page = 4096, chunk = 16; /* malloc's own head and rounding */
    size_t unit = is_mapped(n) ? page : chunk, head = is_mapped(n) ? ALIGN : ALIGN + chunk, total;
    if (!nbi_add_size(n, head + unit - 1, &total))
        return SIZE_MAX;
    return total / unit * unit;
}

void nbi_mem_populate(void *p)
{
    header *h = p ? header_of(p) : NULL;
    if (!h || UNDER_ASAN)
        return;
    size_t total = h->size + ALIGN;
    if (!is_mapped(h->size))
        return;
#ifdef MADV_HUGEPAGE
    (void)madvise(h, total, MADV_HUGEPAGE);
#endif
#ifdef MADV_POPULATE_WRITE
    if (madvise(h, total, MADV_POPULATE_WRITE) == 0)
        return;
#endif
    /* older systems: one write a page */
    volatile unsigned char *b = (volatile unsigned char *)h;
    for (size_t i = 0; i < total; i += 4096)
        b[i] = b[i];
}

void nbi_mem_trim(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

const char *nbi_memtag_text(nbi_memtag tag)
{
    return (unsigned)tag < NBI_MEMTAG_COUNT ? tag_text[tag] : "unknown";
}

size_t nbi_mem_current(nbi_memtag tag)
{
    return atomic_load(&stats.now[tag]);
}

size_t nbi_mem_peak(nbi_memtag tag)
{
    return atomic_load(&stats.peak[tag]);
}

void nbi_mem_reset_peaks(void)
{
    for (int i = 0; i < NBI_MEMTAG_COUNT; i++)
        atomic_store(&stats.peak[i], atomic_load(&stats.now[i]));
}

/* Value of a "Name:   123 kB" line; read without any allocation and outside the counted I/O, as it
 * is no file of nibble. */
static size_t proc_status_kib(const char *name)
{
    char buf[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n <= 0)
        return 0;
    buf[n] = 0;
    const char *p = strstr(buf, name);
    if (!p)
        return 0;
    p += strlen(name);
    p += strspn(p, ": \t");
    uint64_t kib;
    if (!nbi_parse_u64(p, strspn(p, "0123456789"), &kib))
        return 0;
    return (size_t)kib * 1024;
}

size_t nbi_mem_rss(void)
{
    return proc_status_kib("\nVmRSS");
}

size_t nbi_mem_rss_peak(void)
{
    return proc_status_kib("\nVmHWM");
}

void nbi_alloc_fail_at(uint64_t k, bool forever)
{
    atomic_store(&stats.fail_at, 0);
    atomic_store(&stats.count, 0);
    atomic_store(&stats.forever, forever);
    atomic_store(&stats.fail_at, k);
}

uint64_t nbi_alloc_count(void)
{
    return atomic_load(&stats.count);
}
