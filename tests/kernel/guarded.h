/* SPDX-License-Identifier: MIT */
/* Runs of a kernel whose every buffer lies at an awkward place: off any alignment, or with a page
 * that cannot be touched right behind or before it. Include after kernel_util.h. */
#ifndef NBT_GUARDED_H
#define NBT_GUARDED_H

#include <math.h>
#include <sys/mman.h>

/* ALIGNED: to 64 bytes. ODD: one element off that. AT_END, AT_BEGIN: of accessible memory. */
typedef enum place { ALIGNED, ODD, AT_END, AT_BEGIN, PLACES } place;
/* NORMAL numbers; SUBNORMAL ones; NORMAL with a NaN and both infinities among them. */
typedef enum content { NORMAL, SUBNORMAL, SPECIAL, CONTENTS } content;

enum { MOST_BUFFERS = 24, GUARD_PAGE = 4096 };

typedef struct output {
    const void *p;
    int64_t n;
    nb_dtype t; /* U8: compared as bits */
} output;

/* One call: buffers are asked for in the same order each time and hold the same numbers. */
typedef struct run {
    nb_kernels *k;
    nb_queue *q;
    place where;
    content what;
    nb_dtype dtype;     /* of activations */
    nb_compute compute; /* of products */
    int variant;        /* which of an operation's forms */
    uint64_t seed;
    struct {
        unsigned char *map;
        size_t size;
    } mem[MOST_BUFFERS];
    int n_mem;
    output out[MOST_BUFFERS];
    int n_out;
} run;

NBT_UNUSED static void *place_bytes(run *r, size_t bytes, size_t element)
{
    const size_t room = (bytes + 128 + GUARD_PAGE - 1) / GUARD_PAGE * GUARD_PAGE;
    const size_t size = room + 2 * GUARD_PAGE;
    unsigned char *map =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED && r->n_mem < MOST_BUFFERS);
    assert_int_equal(mprotect(map, GUARD_PAGE, PROT_NONE), 0);
    assert_int_equal(mprotect(map + GUARD_PAGE + room, GUARD_PAGE, PROT_NONE), 0);
    r->mem[r->n_mem].map = map;
    r->mem[r->n_mem++].size = size;
    unsigned char *begin = map + GUARD_PAGE;
    memset(begin, 0xa5, room);
    return r->where == AT_END     ? begin + room - bytes
           : r->where == AT_BEGIN ? begin
           : r->where == ODD      ? begin + 64 + element
                                  : begin + 64;
}

NBT_UNUSED static void put_value(void *p, nb_dtype t, int64_t i, float v)
{
    if (t == NB_DT_BF16)
        ((uint16_t *)p)[i] = nb_f32_to_bf16(v);
    else if (t == NB_DT_F16)
        ((uint16_t *)p)[i] = nb_f32_to_f16(v);
    else
        ((float *)p)[i] = v;
}

/* n numbers of the run's kind. */
NBT_UNUSED static void *numbers_of(run *r, int64_t n, nb_dtype t, content what)
{
    void *p = place_bytes(r, (size_t)n * nb_dtype_size(t), nb_dtype_size(t));
    nbi_rng rng;
    nbi_rng_init(&rng, ++r->seed, NBI_RNG_INIT, 0);
    for (int64_t i = 0; i < n; i++)
        put_value(p, t, i, (float)(nbi_rng_normal(&rng) * (what == SUBNORMAL ? 1e-39 : 1.0)));
    if (what == SPECIAL && n > 6) {
        put_value(p, t, n / 3, NAN);
        put_value(p, t, n - 1, INFINITY);
        put_value(p, t, n / 2, -INFINITY);
    }
    return p;
}

NBT_UNUSED static void *numbers(run *r, int64_t n, nb_dtype t)
{
    return numbers_of(r, n, t, r->what);
}

/* The same without special ones: weights, statistics. */
NBT_UNUSED static float *plain(run *r, int64_t n)
{
    return numbers_of(r, n, NB_DT_F32, NORMAL);
}

NBT_UNUSED static void *result(run *r, void *p, int64_t n, nb_dtype t)
{
    r->out[r->n_out++] = (output){p, n, t};
    return p;
}

/* Numbers that the call overwrites or adds to. */
NBT_UNUSED static void *fresh(run *r, int64_t n, nb_dtype t)
{
    return result(r, numbers_of(r, n, t, NORMAL), n, t);
}

NBT_UNUSED static uint8_t *fresh_bytes(run *r, int64_t n)
{
    return result(r, place_bytes(r, (size_t)n, 1), n, NB_DT_U8);
}

NBT_UNUSED static int32_t *integers(run *r, int64_t n, int32_t below)
{
    int32_t *p = place_bytes(r, (size_t)n * 4, 4);
    for (int64_t i = 0; i < n; i++)
        p[i] = (int32_t)((i * 7919 + 3) % below);
    return p;
}

NBT_UNUSED static double output_at(const output *o, int64_t i)
{
    return o->t == NB_DT_U8 ? ((const uint8_t *)o->p)[i] : (double)nbt_value(o->p, o->t, i);
}

NBT_UNUSED static void run_free(run *r)
{
    for (int i = 0; i < r->n_mem; i++)
        munmap(r->mem[i].map, r->mem[i].size);
    r->n_mem = r->n_out = 0;
}

/* The bits of both runs, whatever a NaN's are. */
NBT_UNUSED static void same_results(const char *name, const run *a, const run *b)
{
    assert_int_equal(a->n_out, b->n_out);
    for (int o = 0; o < a->n_out; o++)
        for (int64_t i = 0; i < a->out[o].n; i++) {
            const double x = output_at(&a->out[o], i), y = output_at(&b->out[o], i);
            if (!(x == y || (isnan(x) && isnan(y))))
                fail_msg("%s: output %d element %lld depends on where it lies: %.9g, %.9g", name, o,
                         (long long)i, x, y);
        }
}

/* `got` is not finite where `want` is not, and as near to it as sums of `length` terms allow. */
NBT_UNUSED static void near_results(const char *name, const run *got, const run *want,
                                    double length)
{
    const bool narrow = want->dtype == NB_DT_BF16 || want->compute == NB_COMPUTE_BF16;
    const double unit = (narrow ? 0x1p-8 : 0x1p-23) * (8 + length);
    for (int o = 0; o < want->n_out; o++) {
        const output *a = &want->out[o], *b = &got->out[o];
        double top = 0;
        for (int64_t i = 0; i < a->n; i++)
            top = isfinite(output_at(a, i)) ? fmax(top, fabs(output_at(a, i))) : top;
        const double allowed = a->t == NB_DT_U8 ? 0 : unit * top + 1e-37 * length;
        for (int64_t i = 0; i < a->n; i++) {
            const double x = output_at(a, i), y = output_at(b, i);
            if (isfinite(x) != isfinite(y) || fabs(x - y) > allowed)
                fail_msg("%s: output %d element %lld of %lld is %.9g, %.9g expected", name, o,
                         (long long)i, (long long)a->n, y, x);
        }
    }
}

#endif
