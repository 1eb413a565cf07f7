/* SPDX-License-Identifier: MIT */
/* Making safetensors files, valid or broken, for tests. Include after testutil.h. */
#ifndef NBT_ST_TESTUTIL_H
#define NBT_ST_TESTUTIL_H

#include "format/safetensors.h"

/* Without fsync: tests write thousands of files. */
NBT_UNUSED static void nbt_put(const char *path, const void *a, size_t na, const void *b, size_t nb)
{
    FILE *f = fopen(path, "wb");
    if (!f || (na && fwrite(a, 1, na, f) != na) || (nb && fwrite(b, 1, nb, f) != nb) || fclose(f))
        abort();
}

/* Length (or `length` when it is not UINT64_MAX), header text, `data` bytes 0, 1, 2, ... */
NBT_UNUSED static void nbt_put_st(const char *path, const char *header, size_t header_len,
                                  uint64_t length, size_t data)
{
    size_t n = 8 + header_len + data;
    unsigned char *p = malloc(n);
    if (!p)
        abort();
    if (length == UINT64_MAX)
        length = header_len;
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(length >> (8 * i));
    memcpy(p + 8, header, header_len);
    for (size_t i = 0; i < data; i++)
        p[8 + header_len + i] = (unsigned char)i;
    nbt_put(path, p, n, NULL, 0);
    free(p);
}

/* What an accepted file promises: each tensor inside the data, the sizes sum up to it, names unique
 * and found, every byte readable. Returns a sum over all bytes so that they are really read. */
NBT_UNUSED static unsigned nbt_st_invariants(const nb_safetensors *st, size_t section)
{
    size_t n = nb_safetensors_count(st), sum = 0;
    unsigned touched = 0;
    for (size_t i = 0; i < n; i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        assert_non_null(t);
        assert_non_null(t->name);
        assert_ptr_equal(nb_safetensors_find(st, t->name), t);
        assert_true(t->rank >= 0 && t->rank <= NB_ST_MAX_RANK);
        size_t elements = 1;
        for (int d = 0; d < t->rank; d++) {
            assert_true(t->shape[d] >= 0);
            assert_false(__builtin_mul_overflow(elements, (size_t)t->shape[d], &elements));
        }
        assert_int_equal(elements * nb_dtype_size(t->dtype), t->bytes);
        assert_non_null(t->data);
        for (size_t b = 0; b < t->bytes; b++)
            touched += ((const unsigned char *)t->data)[b];
        if (elements)
            (void)nb_st_value(t, (int64_t)elements - 1);
        if (i)
            assert_true((const char *)t->data == (const char *)nb_safetensors_at(st, i - 1)->data +
                                                     nb_safetensors_at(st, i - 1)->bytes);
        if (i)
            assert_true(strcmp(nb_safetensors_named(st, i - 1)->name,
                               nb_safetensors_named(st, i)->name) < 0);
        sum += t->bytes;
    }
    assert_int_equal(sum, section);
    return touched;
}

#endif
