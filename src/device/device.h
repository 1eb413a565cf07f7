/* SPDX-License-Identifier: MIT */
/* Where kernels run. On the host a queue is a number of threads and their scratch memory, and work
 * is done when the call returns; other devices later queue it and report failures where awaited. */
#ifndef NB_DEVICE_H
#define NB_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include "nibble/status.h"

/* Scratch memory of each thread of a host queue; what the kernels' block sizes are checked against.
 */
#define NB_SCRATCH_BYTES ((size_t)4 << 20)
/* Scratch memory that the threads of a queue share: packed operands. */
#define NB_SHARED_BYTES ((size_t)16 << 20)

typedef struct nb_queue {
    int threads;            /* >= 1 */
    size_t scratch_bytes;   /* per thread */
    unsigned char *scratch; /* [threads][scratch_bytes], 64-byte aligned */
    size_t shared_bytes;
    unsigned char *shared; /* [shared_bytes], 64-byte aligned */
} nb_queue;

/* threads <= 0: one per CPU this process may use (affinity and cgroup quota counted). */
nb_status nb_queue_open(nb_queue **out, int threads, nb_error *err) NB_MUST_CHECK;
void nb_queue_close(nb_queue **q);
/* Scratch memory of a queue of so many threads (>= 1), one block. */
size_t nb_queue_bytes(int threads);
/* Waits for all queued work; host: always NB_OK. */
nb_status nb_queue_wait(nb_queue *q, nb_error *err) NB_MUST_CHECK;
/* This thread's scratch. */
static inline void *nb_queue_scratch(const nb_queue *q, int thread)
{
    return q->scratch + (size_t)thread * q->scratch_bytes;
}
/* Threads worth waking for `work` elements of about a nanosecond each: small pieces are done faster
 * by the calling thread alone. Results never depend on it. */
static inline int nb_queue_threads(const nb_queue *q, int64_t work)
{
    return work < 16384 ? 1 : q->threads;
}
int nb_device_cpu_count(void);

#endif
