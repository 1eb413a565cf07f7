/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include "kernel/variants.h"

/* d before c, which may take the place of h. */
void nbi_thin_by_matmul(const nb_thin_args *a, nb_matmul_fn *matmul)
{
    for (int64_t i = 0; i < a->n_terms; i++) {
        const nb_thin_term *t = &a->terms[i];
        nb_matmul_args p = {.q = a->q, .alpha = t->alpha, .compute = a->compute};
        if (t->d) { /* d or its transpose, whichever is row-major */
            const bool turned = t->d_cs != 1;
            assert(t->d_cs == 1 || t->d_rs == 1);
            p.m = turned ? t->r : a->n;
            p.n = turned ? a->n : t->r;
            p.k = a->m;
            p.a = turned ? (const void *)t->h : a->y;
            p.b = turned ? a->y : (const void *)t->h;
            p.a_rs = p.b_rs = 1;
            p.a_cs = turned ? t->ldh : a->ldy;
            p.b_cs = turned ? a->ldy : t->ldh;
            p.a_dtype = turned ? NB_DT_F32 : a->y_dtype;
            p.b_dtype = turned ? a->y_dtype : NB_DT_F32;
            p.c = t->d;
            p.ldc = turned ? t->d_cs : t->d_rs;
            p.accumulate = true;
            matmul(&p);
        }
        if (t->c)
            matmul(&(nb_matmul_args){.q = a->q,
                                     .m = a->m,
                                     .n = t->r,
                                     .k = a->n,
                                     .a = a->y,
                                     .a_rs = a->ldy,
                                     .a_cs = 1,
                                     .b = t->b,
                                     .b_rs = t->b_cs,
                                     .b_cs = t->b_rs,
                                     .c = t->c,
                                     .ldc = t->ldc,
                                     .alpha = t->alpha,
                                     .compute = a->compute,
                                     .a_dtype = a->y_dtype});
    }
}
