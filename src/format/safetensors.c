/* SPDX-License-Identifier: MIT */
#include "format/safetensors_priv.h"

#include <string.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/strbuf.h"
#include "tensor/half.h"

nb_status nbi_st_new(nb_safetensors **out, size_t n_files, nb_error *err)
{
    nb_safetensors *st = nbi_calloc(NBI_MEM_IO, 1, sizeof *st);
    if (!st)
        return nbi_fail_nomem(err, "the list of tensors", sizeof *st);
    nbi_arena_init(&st->arena, NBI_MEM_IO);
    st->files = nbi_calloc(NBI_MEM_IO, n_files ? n_files : 1, sizeof *st->files);
    if (!st->files) {
        nbi_free(st);
        return nbi_fail_nomem(err, "the list of shards", n_files * sizeof *st->files);
    }
    *out = st;
    return NB_OK;
}

void nb_safetensors_close(nb_safetensors **stp)
{
    nb_safetensors *st = stp ? *stp : NULL;
    if (!st)
        return;
    for (size_t i = 0; i < st->n_files; i++)
        nbi_mapfile_close(&st->files[i]);
    nbi_free(st->files);
    nbi_free(st->tensors);
    nbi_free(st->by_name);
    nbi_free(st->meta);
    nbi_arena_free(&st->arena);
    nbi_free(st);
    *stp = NULL;
}

/* Files that people hand over by mistake get a line that says what they are. */
static nb_status refuse_other_formats(const nbi_mapfile *m, nb_error *err)
{
    const unsigned char *d = m->data;
    bool ours = m->size > 8 && d[8] == '{' && d[7] == 0;
    bool zip = !ours && m->size >= 4 && memcmp(d, "PK\003\004", 4) == 0;
    bool pickle = !ours && m->size >= 2 && d[0] == 0x80 && d[1] >= 2 && d[1] <= 5;
    if (zip || pickle || nbi_ends_with(m->path, ".bin") || nbi_ends_with(m->path, ".pt") ||
        nbi_ends_with(m->path, ".pth"))
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: pickle files can run code and are never read; convert it with "
                        "safetensors.torch.save_file in Python",
                        m->path);
    if (m->size >= 4 && memcmp(d, "GGUF", 4) == 0)
        return nbi_fail(err, NB_UNSUPPORTED, "%s: is a GGUF file, expected safetensors", m->path);
    static const char lfs[] = "version https://git-lfs";
    if (m->size >= sizeof lfs - 1 && memcmp(d, lfs, sizeof lfs - 1) == 0)
        return nbi_fail(
            err, NB_FORMAT,
            "%s: is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'", m->path);
    return NB_OK;
}

/* Length of the JSON header from the first 8 bytes, checked against the limits and the file. */
static nb_status header_length(const nbi_mapfile *m, size_t *header, nb_error *err)
{
    NBI_TRY(refuse_other_formats(m, err));
    if (m->size < 8)
        return nbi_fail(err, NB_FORMAT, "%s: %zu bytes are too short for a safetensors file",
                        m->path, m->size);
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | m->data[i];
    if (n > NB_ST_MAX_HEADER)
        return nbi_fail(err, NB_FORMAT,
                        "%s: byte 0: header length %llu is above the limit of %u bytes", m->path,
                        (unsigned long long)n, NB_ST_MAX_HEADER);
    if (n > m->size - 8)
        return nbi_fail(
            err, NB_FORMAT,
            "%s: byte 0: header length %llu, but only %zu bytes follow (truncated file?)", m->path,
            (unsigned long long)n, m->size - 8);
    if (n == 0 || m->data[8] != '{')
        return nbi_fail(err, NB_FORMAT, "%s: byte 8: the header does not start with '{'", m->path);
    *header = (size_t)n;
    return NB_OK;
}

static int by_offset(const nb_st_tensor *a, const nb_st_tensor *b)
{
    const unsigned char *x = a->data, *y = b->data;
    if (x != y)
        return x < y ? -1 : 1;
    return a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
}

static int by_name(const nb_st_tensor *a, const nb_st_tensor *b)
{
    return strcmp(a->name, b->name);
}

void nbi_st_sort(size_t *v, size_t *tmp, size_t n, const nb_st_tensor *t, nbi_st_cmp *cmp)
{
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t lo = 0; lo < n; lo += 2 * width) {
            size_t mid = lo + width < n ? lo + width : n,
                   hi = lo + 2 * width < n ? lo + 2 * width : n;
            size_t i = lo, j = mid;
            for (size_t o = lo; o < hi; o++) {
                bool right = i >= mid || (j < hi && cmp(&t[v[j]], &t[v[i]]) < 0);
                tmp[o] = right ? v[j++] : v[i++];
            }
        }
        memcpy(v, tmp, n * sizeof *v);
    }
}

/* Puts tensors [first, n) into the order of their offsets. */
static nb_status sort_file(nb_safetensors *st, size_t first, nb_error *err)
{
    size_t n = st->n - first, i = 1;
    nb_st_tensor *t = st->tensors + first;
    while (i < n && by_offset(&t[i - 1], &t[i]) <= 0)
        i++;
    if (i >= n)
        return NB_OK;
    size_t *v = nbi_calloc(NBI_MEM_IO, n, 2 * sizeof *v);
    nb_st_tensor *sorted = nbi_calloc(NBI_MEM_IO, n, sizeof *sorted);
    if (!v || !sorted) {
        nbi_free(v);
        nbi_free(sorted);
        return nbi_fail_nomem(err, "sorting tensors", n * sizeof *sorted);
    }
    for (i = 0; i < n; i++)
        v[i] = i;
    nbi_st_sort(v, v + n, n, t, by_offset);
    for (i = 0; i < n; i++)
        sorted[i] = t[v[i]];
    memcpy(t, sorted, n * sizeof *t);
    nbi_free(v);
    nbi_free(sorted);
    return NB_OK;
}

/* The tensors cover the data section exactly: no hole, no overlap, nothing behind the last. A hole
 * could hide a second document in the file. */
static nb_status check_cover(const nb_safetensors *st, size_t first, const nbi_mapfile *m,
                             size_t header, nb_error *err)
{
    size_t section = m->size - 8 - header, end = 0;
    for (size_t i = first; i < st->n; i++) {
        const nb_st_tensor *t = &st->tensors[i];
        size_t begin = (size_t)((const unsigned char *)t->data - m->data) - 8 - header;
        if (begin != end)
            return nbi_fail(err, NB_FORMAT,
                            "%s: tensor \"%s\" begins at byte %zu of the data, expected %zu (%s)",
                            m->path, t->name, begin, end, begin > end ? "hole" : "overlap");
        end = begin + t->bytes; /* within the section: checked by the header parser */
    }
    if (end != section)
        return nbi_fail(err, NB_FORMAT,
                        "%s: tensors end at byte %zu of the data, but it has %zu bytes", m->path,
                        end, section);
    return NB_OK;
}

nb_status nbi_st_add_file(nb_safetensors *st, const char *path, nb_error *err)
{
    size_t f = st->n_files, first = st->n, header = 0;
    NBI_TRY(nbi_mapfile_open(&st->files[f], path, err));
    st->n_files++;
    const nbi_mapfile *m = &st->files[f];
    NBI_TRY(header_length(m, &header, err));
    NBI_TRY(nbi_st_header(st, f, header, err));
    NBI_TRY(sort_file(st, first, err));
    NBI_TRY(check_cover(st, first, m, header, err));
    return nbi_mapfile_check(m, err);
}

nb_status nbi_st_finish(nb_safetensors *st, nb_error *err)
{
    size_t *v = nbi_calloc(NBI_MEM_IO, st->n ? st->n : 1, sizeof *v);
    size_t *tmp = nbi_calloc(NBI_MEM_IO, st->n ? st->n : 1, sizeof *tmp);
    st->by_name = v;
    if (!v || !tmp) {
        nbi_free(tmp);
        return nbi_fail_nomem(err, "the list of tensors", st->n * sizeof *v);
    }
    for (size_t i = 0; i < st->n; i++)
        v[i] = i;
    nbi_st_sort(v, tmp, st->n, st->tensors, by_name);
    nbi_free(tmp);
    for (size_t i = 1; i < st->n; i++) {
        const nb_st_tensor *a = &st->tensors[v[i - 1]], *b = &st->tensors[v[i]];
        if (strcmp(a->name, b->name) == 0)
            return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" occurs twice%s%s", b->path, b->name,
                            a->path == b->path ? "" : ", also in ",
                            a->path == b->path ? "" : a->path);
    }
    return NB_OK;
}

nb_status nb_safetensors_open(nb_safetensors **out, const char *path, nb_error *err)
{
    nb_safetensors *st = NULL;
    *out = NULL;
    NBI_TRY(nbi_st_new(&st, 1, err));
    nb_status s = nbi_st_add_file(st, path, err);
    if (s == NB_OK)
        s = nbi_st_finish(st, err);
    if (s != NB_OK)
        nb_safetensors_close(&st);
    *out = st;
    return s;
}

const nbi_mapfile *nb_safetensors_files(const nb_safetensors *st, size_t *n)
{
    *n = st->n_files;
    return st->files;
}

size_t nb_safetensors_count(const nb_safetensors *st)
{
    return st->n;
}

const nb_st_tensor *nb_safetensors_at(const nb_safetensors *st, size_t i)
{
    return i < st->n ? &st->tensors[i] : NULL;
}

const nb_st_tensor *nb_safetensors_named(const nb_safetensors *st, size_t i)
{
    return i < st->n ? &st->tensors[st->by_name[i]] : NULL;
}

/* First place in name order whose name, cut to `len` bytes, is >= the key (> with `after`). */
static size_t lower_bound(const nb_safetensors *st, const char *key, size_t len, bool after)
{
    size_t lo = 0, hi = st->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = strncmp(st->tensors[st->by_name[mid]].name, key, len);
        if (c < 0 || (after && c == 0))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const nb_st_tensor *nb_safetensors_find(const nb_safetensors *st, const char *name)
{
    const nb_st_tensor *t =
        nb_safetensors_named(st, lower_bound(st, name, strlen(name) + 1, false));
    return t && strcmp(t->name, name) == 0 ? t : NULL;
}

void nb_safetensors_prefix(const nb_safetensors *st, const char *prefix, size_t *first,
                           size_t *count)
{
    size_t len = strlen(prefix);
    *first = lower_bound(st, prefix, len, false);
    *count = lower_bound(st, prefix, len, true) - *first;
}

const char *nb_safetensors_metadata(const nb_safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->n_meta; i++)
        if (strcmp(st->meta[i].key, key) == 0)
            return st->meta[i].value;
    return NULL;
}

nb_status nb_safetensors_check(const nb_safetensors *st, nb_error *err)
{
    for (size_t i = 0; i < st->n_files; i++)
        NBI_TRY(nbi_mapfile_check(&st->files[i], err));
    return NB_OK;
}

void nb_safetensors_release(const nb_safetensors *st, const nb_st_tensor *t)
{
    (void)st;
    nbi_mapfile_release(t->data, t->bytes);
}

void nb_safetensors_release_all(const nb_safetensors *st)
{
    for (size_t i = 0; i < st->n_files; i++)
        nbi_mapfile_release(st->files[i].data, st->files[i].size);
}

static uint64_t load_bits(const nb_st_tensor *t, int64_t i, size_t size)
{
    union {
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } v = {0};
    const unsigned char *p = (const unsigned char *)t->data + (size_t)i * size;
    memcpy(&v, p, size); /* the place may be unaligned */
    switch (size) {
    case 1:
        return v.u8;
    case 2:
        return v.u16;
    case 4:
        return v.u32;
    default:
        return v.u64;
    }
}

/* e4m3fn has no infinities, its only NaN is all ones; e5m2 is the upper half of an f16. */
static double f8_value(nb_dtype dtype, uint64_t b)
{
    if (dtype == NB_DT_F8_E5M2)
        return (double)nb_f16_to_f32((uint16_t)(b << 8));
    unsigned e = (unsigned)(b >> 3) & 15u, m = (unsigned)b & 7u;
    double v = e ? (8.0 + m) : (double)m;
    for (unsigned i = 10; i > (e ? e : 1); i--)
        v *= 0.5;
    for (unsigned i = 10; i < e; i++)
        v *= 2.0;
    if (e == 15 && m == 7)
        v = (double)nb_f32_from_bits(0x7fc00000u);
    return b & 0x80u ? -v : v;
}

double nb_st_value(const nb_st_tensor *t, int64_t i)
{
    uint64_t b = load_bits(t, i, nb_dtype_size(t->dtype));
    double d;
    switch (t->dtype) {
    case NB_DT_F32:
        return (double)nb_f32_from_bits((uint32_t)b);
    case NB_DT_F16:
        return (double)nb_f16_to_f32((uint16_t)b);
    case NB_DT_BF16:
        return (double)nb_bf16_to_f32((uint16_t)b);
    case NB_DT_F64:
        memcpy(&d, &b, sizeof d);
        return d;
    case NB_DT_I8:
        return (double)(int8_t)b;
    case NB_DT_I16:
        return (double)(int16_t)b;
    case NB_DT_I32:
        return (double)(int32_t)b;
    case NB_DT_I64:
        return (double)(int64_t)b;
    case NB_DT_F8_E4M3:
    case NB_DT_F8_E5M2:
        return f8_value(t->dtype, b);
    default: /* unsigned and BOOL */
        return (double)b;
    }
}

void nb_st_to_f32(const nb_st_tensor *t, int64_t i0, int64_t n, float *out)
{
    size_t size = nb_dtype_size(t->dtype), count = (size_t)n;
    const unsigned char *p = (const unsigned char *)t->data + (size_t)i0 * size;
    uint16_t h;
    switch (t->dtype) {
    case NB_DT_F32:
        if (count)
            memcpy(out, p, count * 4);
        return;
    case NB_DT_BF16:
        for (size_t i = 0; i < count; i++) {
            memcpy(&h, p + 2 * i, 2);
            out[i] = nb_bf16_to_f32(h);
        }
        return;
    case NB_DT_F16:
        for (size_t i = 0; i < count; i++) {
            memcpy(&h, p + 2 * i, 2);
            out[i] = nb_f16_to_f32(h);
        }
        return;
    default:
        for (size_t i = 0; i < count; i++)
            out[i] = (float)nb_st_value(t, i0 + (int64_t)i);
    }
}
