/* SPDX-License-Identifier: MIT */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/procfile.h"
#include "device/device.h"

enum { MAX_THREADS = 1024 };

/* CPUs granted by quota/period, rounded up; 0: no limit. */
static int quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0)
        return 0;
    long long n = quota / period + (quota % period != 0);
    return n > MAX_THREADS ? MAX_THREADS : (int)n;
}

static int quota_v1(void)
{
    char text[64];
    if (!nbi_read_small("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", text, sizeof(text)))
        return 0;
    long long quota = strtoll(text, NULL, 10);
    if (!nbi_read_small("/sys/fs/cgroup/cpu/cpu.cfs_period_us", text, sizeof(text)))
        return 0;
    return quota_cpus(quota, strtoll(text, NULL, 10));
}

/* "max 100000" or "150000 100000" of control groups version 2; the least one counts. */
static void quota_v2(void *least, const char *folder)
{
    char path[4500], text[128];
    long long quota, period;
    int *n = least;
    snprintf(path, sizeof(path), "%s/cpu.max", folder);
    if (!nbi_read_small(path, text, sizeof(text)) ||
        sscanf(text, "%19lld %19lld", &quota, &period) != 2)
        return;
    int cpus = quota_cpus(quota, period);
    if (cpus > 0 && (*n == 0 || cpus < *n))
        *n = cpus;
}

/* The least quota from this process's group up to the root; 0: none. */
static int cgroup_cpus(void)
{
    int least = quota_v1();
    nbi_cgroup_walk("", NULL, quota_v2, &least);
    return least;
}

int nb_device_cpu_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    int n = 1;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        n = CPU_COUNT(&set);
    int quota = cgroup_cpus();
    return quota > 0 && quota < n ? quota : n;
}

size_t nb_queue_bytes(int threads)
{
    return (size_t)threads * NB_SCRATCH_BYTES + NB_SHARED_BYTES;
}

nb_status nb_queue_open(nb_queue **out, int threads, nb_error *err)
{
    *out = NULL;
    if (threads > MAX_THREADS)
        return nbi_fail(err, NB_CONFIG, "number of threads is %d, at most %d are possible", threads,
                        MAX_THREADS);
    if (threads <= 0)
        threads = nb_device_cpu_count();
    nb_queue *q = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(*q));
    if (!q)
        return nbi_fail_nomem(err, "a compute queue", sizeof(*q));
    q->threads = threads;
    q->scratch_bytes = NB_SCRATCH_BYTES;
    q->shared_bytes = NB_SHARED_BYTES;
    const size_t own = (size_t)threads * NB_SCRATCH_BYTES, all = nb_queue_bytes(threads);
    q->scratch = nbi_alloc(NBI_MEM_SCRATCH, all);
    if (!q->scratch) {
        nbi_free(q);
        return nbi_fail_nomem(err, "scratch memory of the kernels", all);
    }
    q->shared = q->scratch + own;
    *out = q;
    return NB_OK;
}

void nb_queue_close(nb_queue **q)
{
    if (!*q)
        return;
    nbi_free((*q)->scratch);
    nbi_free(*q);
    *q = NULL;
}

nb_status nb_queue_wait(nb_queue *q, nb_error *err)
{
    (void)q;
    (void)err;
    return NB_OK;
}
