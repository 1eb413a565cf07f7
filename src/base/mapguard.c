/* SPDX-License-Identifier: MIT */
#include "base/mapguard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_MAPPINGS = 4096 };

/* The handler may run at any instant in any thread, so the table is fixed and made of atomics: an
 * entry counts while end > begin, and end is written last and cleared first. */
static struct {
    _Atomic bool taken, hit;
    _Atomic uintptr_t begin, end;
} table[MAX_MAPPINGS];
static _Atomic int used; /* entries from here on were never taken */
static struct sigaction previous;
static _Atomic bool passed_on;
static uintptr_t page_size;
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    int n = info->si_code > 0 ? atomic_load(&used) : 0;
    for (int i = 0; i < n; i++) {
        uintptr_t end = atomic_load(&table[i].end);
        if (at < atomic_load(&table[i].begin) || at >= end)
            continue;
        void *page = (void *)(at & ~(page_size - 1)); /* mappings start on a page */
        /* writable whatever it was: the access that brought us here may be a write */
        if (mmap(page, page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0) == MAP_FAILED)
            break;
        atomic_store(&table[i].hit, true);
        errno = saved;
        return;
    }
    /* not ours: the access is repeated on return and meets whatever was there before; should that
     * lead back to here, the default action ends it */
    if (atomic_exchange(&passed_on, true))
        signal(SIGBUS, SIG_DFL);
    else
        sigaction(SIGBUS, &previous, NULL);
    if (info->si_code <= 0)
        raise(sig);
    errno = saved;
}

/* At every call, as another library may have put its own handler there meanwhile. */
static void install(void)
{
    struct sigaction now, sa = {0};
    pthread_mutex_lock(&install_lock);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != on_sigbus) {
        page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
        previous = now;
        sa.sa_sigaction = on_sigbus;
        sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
        sigemptyset(&sa.sa_mask);
        sigaction(SIGBUS, &sa, NULL);
    }
    pthread_mutex_unlock(&install_lock);
}

bool nbi_mapguard_add(const void *p, size_t n)
{
    install();
    for (int i = 0; i < MAX_MAPPINGS; i++) {
        if (atomic_exchange(&table[i].taken, true))
            continue;
        int high = atomic_load(&used);
        while (high <= i && !atomic_compare_exchange_weak(&used, &high, i + 1)) {
        }
        atomic_store(&table[i].hit, false);
        atomic_store(&table[i].begin, (uintptr_t)p);
        atomic_store(&table[i].end, (uintptr_t)p + n);
        return true;
    }
    return false;
}

static int find(const void *p)
{
    int n = atomic_load(&used);
    for (int i = 0; i < n; i++)
        if (atomic_load(&table[i].end) != 0 && atomic_load(&table[i].begin) == (uintptr_t)p)
            return i;
    return -1;
}

void nbi_mapguard_remove(const void *p)
{
    int i = find(p);
    if (i < 0)
        return;
    atomic_store(&table[i].end, 0);
    atomic_store(&table[i].taken, false);
}

bool nbi_mapguard_hit(const void *p)
{
    int i = find(p);
    return i >= 0 && atomic_load(&table[i].hit);
}
