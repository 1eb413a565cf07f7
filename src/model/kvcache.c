/* SPDX-License-Identifier: MIT */
#include "base/alloc.h"
#include "base/checked.h"
#include "base/fail.h"
#include "model/model.h"

nb_status nb_kvcache_open(nb_kvcache **out, const nb_model *m, int64_t capacity, nb_error *err)
{
    const nb_model_config *f = &m->config;
    int64_t row = f->kv_heads * f->head_dim;
    nb_dtype dtype = NB_ACT_DTYPE(m->exec.compute);
    size_t n;
    *out = NULL;
    if (capacity < 1 || capacity > INT32_MAX)
        return nbi_fail(err, NB_LIMIT, "a context of %lld tokens is outside 1..%d",
                        (long long)capacity, INT32_MAX);
    if (!nbi_mul_size((size_t)capacity, (size_t)row, &n) ||
        !nbi_mul_size(n, (size_t)f->layers, &n) || !nbi_mul_size(n, nb_dtype_size(dtype), &n))
        return nbi_fail(err, NB_LIMIT, "keys and values of %lld tokens exceed the address space",
                        (long long)capacity);
    nb_kvcache *kv = nbi_calloc(NBI_MEM_KV, 1, sizeof *kv);
    if (!kv)
        return nbi_fail_nomem(err, "key/value cache", sizeof *kv);
    *kv = (nb_kvcache){.capacity = capacity, .layers = f->layers, .row = row, .dtype = dtype};
    kv->k = nbi_alloc(NBI_MEM_KV, n);
    kv->v = nbi_alloc(NBI_MEM_KV, n);
    if (!kv->k || !kv->v) {
        nb_kvcache_close(&kv);
        return nbi_fail_nomem(err, "key/value cache", 2 * (unsigned long long)n);
    }
    *out = kv;
    return NB_OK;
}

void nb_kvcache_close(nb_kvcache **kv)
{
    if (!kv || !*kv)
        return;
    nbi_free((*kv)->k);
    nbi_free((*kv)->v);
    nbi_free(*kv);
    *kv = NULL;
}
