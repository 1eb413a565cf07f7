/* SPDX-License-Identifier: MIT */
/* A 16-bit folder written as a bitsandbytes folder, one tensor at a time. */
#include "model/quantise.h"

#include <string.h>
#include "base/fail.h"
#include "base/safefile.h"
#include "format/bnb4bit.h"
#include "model/weights.h"
#include "tensor/codebook.h"

/* Room for the JSON text of a quant_state, blanks behind it: its length must be known before the
 * weight is quantised, and what follows stays aligned. */
#define STATE_BYTES 256

typedef enum part_kind {
    PART_COPY, /* a tensor as it is */
    PART_NESTED_ABSMAX,
    PART_NESTED_MAP,
    PART_MAP,
    PART_ABSMAX,
    PART_SCALES,
    PART_STATE,
    PART_CODES
} part_kind;

typedef struct part {
    part_kind kind;
    const nb_st_tensor *source;
} part;

typedef struct writer {
    nbi_loader loader;
    nb_model *m;
    nbi_arena names;
    NBI_ARRAY(nb_st_entry) entries;
    NBI_ARRAY(part) parts;
    nbi_quant_sizes most; /* over all weights */
    nbi_quant_buffers to;
    float book[256];
    /* the weight that the buffers hold */
    const nb_st_tensor *current;
    nb_qtensor w;
    char state[STATE_BYTES];
} writer;

static nb_status add(writer *k, const char *name, const char *suffix, nb_dtype dtype, int rank,
                     const int64_t *shape, part p, nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s%s", name, suffix);
    nb_st_entry e = {.dtype = dtype, .rank = rank};
    memcpy(e.shape, shape, (size_t)rank * sizeof *shape);
    e.name = b.failed ? NULL : nbi_arena_strndup(&k->names, b.s, b.n);
    nbi_strbuf_free(&b);
    if (!e.name || !nbi_array_push(&k->entries, e) || !nbi_array_push(&k->parts, p))
        return nbi_fail_nomem(err, "the list of tensors", sizeof e);
    return NB_OK;
}

/* The tensors of a weight: floats first, so that they are aligned in the file. */
static nb_status add_weight(writer *k, const char *name, const nb_st_tensor *t, nb_error *err)
{
    const nb_quant_config *q = &k->m->quant;
    const nbi_quant_sizes n = nbi_quant_sizes_of(q, t);
    char state[64] = ".quant_state.bitsandbytes__";
    strcat(state, nb_qkind_name(q->kind));
    const bool dq = q->double_quant;
    const struct {
        bool want;
        const char *suffix;
        part_kind kind;
        nb_dtype dtype;
        int64_t n;
    } list[] = {
        {dq, ".nested_absmax", PART_NESTED_ABSMAX, NB_DT_F32, n.groups},
        {dq, ".nested_quant_map", PART_NESTED_MAP, NB_DT_F32, 256},
        {true, ".quant_map", PART_MAP, NB_DT_F32, 16},
        {!dq, ".absmax", PART_ABSMAX, NB_DT_F32, n.blocks},
        {true, state, PART_STATE, NB_DT_U8, STATE_BYTES},
        {dq, ".absmax", PART_SCALES, NB_DT_U8, n.blocks},
    };
    k->most.codes = n.codes > k->most.codes ? n.codes : k->most.codes;
    k->most.blocks = n.blocks > k->most.blocks ? n.blocks : k->most.blocks;
    k->most.groups = n.groups > k->most.groups ? n.groups : k->most.groups;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].want)
            NBI_TRY(add(k, name, list[i].suffix, list[i].dtype, 1, &list[i].n,
                        (part){list[i].kind, t}, err));
    return add(k, name, "", NB_DT_U8, 2, (const int64_t[2]){(int64_t)n.codes, 1},
               (part){PART_CODES, t}, err);
}

static nb_status visit(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    writer *k = user;
    const nb_st_tensor *t;
    const bool outside = s->part == NBI_PART_EMBED || s->part == NBI_PART_HEAD;
    NBI_TRY(nbi_find_dense(&k->loader, s, &t, err));
    if (outside || s->bias || nbi_part_is_norm(s->part))
        return add(k, s->name, "", t->dtype, t->rank, t->shape, (part){PART_COPY, t}, err);
    return add_weight(k, s->name, t, err);
}

static nb_status allocate(writer *k, nb_error *err)
{
    const bool dq = k->m->quant.double_quant;
    const nbi_quant_sizes *n = &k->most;
    nb_dynamic_map_signed(k->book);
    k->to = (nbi_quant_buffers){
        .codes = nbi_alloc(NBI_MEM_SCRATCH, n->codes),
        .absmax = nbi_alloc(NBI_MEM_SCRATCH, (size_t)n->blocks * sizeof(float)),
        .scales = dq ? nbi_alloc(NBI_MEM_SCRATCH, (size_t)n->blocks) : NULL,
        .nested = dq ? nbi_alloc(NBI_MEM_SCRATCH, (size_t)n->groups * sizeof(float)) : NULL,
        .nested_book = k->book};
    return k->to.codes && k->to.absmax && (!dq || (k->to.scales && k->to.nested))
               ? NB_OK
               : nbi_fail_nomem(err, "quantising a weight", n->codes);
}

static nb_status make(writer *k, const nb_st_tensor *t, nb_error *err)
{
    nbi_strbuf b = {0};
    NBI_TRY(nbi_quantise_tensor(&k->m->exec, &k->m->quant, t, &k->to, &k->w, err));
    nb_bnb4bit_state_json(&k->w, &b);
    nb_status s = nbi_strbuf_check(&b, err);
    if (s == NB_OK && b.n > STATE_BYTES)
        s = nbi_fail(err, NB_INTERNAL, "quant_state of \"%s\" has %zu bytes", t->name, b.n);
    if (s == NB_OK) {
        memset(k->state, ' ', STATE_BYTES);
        memcpy(k->state, b.s, b.n);
        k->current = t;
    }
    nbi_strbuf_free(&b);
    return s;
}

static nb_status fill(void *user, size_t e, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    writer *k = user;
    const part *p = &k->parts.v[e];
    const size_t size = nb_dtype_size(k->entries.v[e].dtype), bytes = (size_t)n * size;
    NBI_TRY(nbi_model_polled(k->m, err));
    if (p->kind != PART_COPY && k->current != p->source)
        NBI_TRY(make(k, p->source, err));
    const void *const from[] = {p->source->data, k->to.nested, k->book,  k->w.book,
                                k->to.absmax,    k->to.scales, k->state, k->to.codes};
    const unsigned char *at = (const unsigned char *)from[p->kind] + (size_t)i0 * size;
    memcpy(buf, at, bytes);
    if (p->kind == PART_COPY)
        nbi_mapfile_release(at, bytes);
    return NB_OK;
}

static nb_status write_all(writer *k, const char *path, nb_error *err)
{
    nb_model *m = k->m;
    k->loader.used = nbi_calloc(NBI_MEM_IO, nb_safetensors_count(m->files) + 1, 1);
    if (!k->loader.used)
        return nbi_fail_nomem(err, "the list of tensors", nb_safetensors_count(m->files));
    NBI_TRY(nbi_layout_walk(&m->config, visit, k, err));
    NBI_TRY(nbi_check_unknown(&k->loader, err));
    NBI_TRY(allocate(k, err));
    NBI_TRY(nb_safetensors_write(path, k->entries.v, k->entries.n, fill, k, err));
    return nb_safetensors_check(m->files, err);
}

static nb_status quantise_write(nb_model *m, const char *path, nb_error *err)
{
    writer *k = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *k);
    if (!k)
        return nbi_fail_nomem(err, "writing a model", sizeof *k);
    k->m = m;
    k->loader.m = m;
    nbi_arena_init(&k->names, NBI_MEM_IO);
    nb_status s = write_all(k, path, err);
    nbi_free(k->loader.used);
    nbi_free(k->to.codes);
    nbi_free(k->to.absmax);
    nbi_free(k->to.scales);
    nbi_free(k->to.nested);
    nbi_array_free(&k->entries);
    nbi_array_free(&k->parts);
    nbi_arena_free(&k->names);
    nbi_free(k);
    return s;
}

nb_status nbi_quantise_folder(nb_model *m, const char *into, nb_error *err)
{
    char *config = nbi_path_join(into, "config.json");
    char *weights = nbi_path_join(into, "model.safetensors");
    nb_status s = config && weights ? NB_OK : nbi_fail_nomem(err, "a path", strlen(into));
    if (s == NB_OK)
        s = quantise_write(m, weights, err);
    if (s == NB_OK)
        s = nb_config_write_quantised(&m->config, &m->quant, config, err);
    if (s == NB_OK)
        s = nbi_model_copy_settings(m->dir, into, err);
    nbi_free(config);
    nbi_free(weights);
    return s;
}

nb_status nb_model_quantise(const char *dir, const char *into, const nb_model_load *how,
                            const nb_log *log, nb_error *err)
{
    nb_model *m = NULL;
    nb_model_load plain = *how;
    plain.quantized_cache = NULL;
    plain.trainable = false;
    plain.quant.load_in_4bit = true;
    (void)log; /* what is said of opening a model is about using it */
    NBI_TRY(nbi_model_begin(&m, dir, &plain, NULL, err));
    nb_status s =
        m->config.has_quant
            ? nbi_fail(err, NB_CONFIG, "%s: is quantised already and can be used as it is", m->dir)
            : nbi_quantise_folder(m, into, err);
    nb_model_close(&m);
    return s;
}
