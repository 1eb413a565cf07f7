/* SPDX-License-Identifier: MIT */
/* One tensor of the folder to its place in the model. */
#include <string.h>
#include "base/fail.h"
#include "format/bnb4bit.h"
#include "model/dense.h"
#include "model/weights.h"

nb_linear *nbi_model_linear(nb_model *m, nbi_part part, int64_t layer)
{
    nb_block *b = part == NBI_PART_HEAD ? NULL : &m->blocks[layer];
    switch (part) {
    case NBI_PART_Q:
        return &b->q;
    case NBI_PART_K:
        return &b->k;
    case NBI_PART_V:
        return &b->v;
    case NBI_PART_O:
        return &b->o;
    case NBI_PART_GATE:
        return &b->gate;
    case NBI_PART_UP:
        return &b->up;
    case NBI_PART_DOWN:
        return &b->down;
    default:
        return &m->head;
    }
}

const float **nbi_model_norm(nb_model *m, nbi_part part, int64_t layer, float ***grad)
{
    nb_block *b = part == NBI_PART_FINAL_NORM ? NULL : &m->blocks[layer];
    switch (part) {
    case NBI_PART_ATTN_NORM:
        *grad = &b->d_attn_norm;
        return &b->attn_norm;
    case NBI_PART_MLP_NORM:
        *grad = &b->d_mlp_norm;
        return &b->mlp_norm;
    case NBI_PART_Q_NORM:
        *grad = &b->d_q_norm;
        return &b->q_norm;
    case NBI_PART_K_NORM:
        *grad = &b->d_k_norm;
        return &b->k_norm;
    default:
        *grad = &m->d_final_norm;
        return &m->final_norm;
    }
}

static void mark_used(nbi_loader *l, const nb_st_tensor *t)
{
    l->used[t - nb_safetensors_at(l->m->files, 0)] = 1;
}

/* "[4096, 1024]" */
static void put_shape(nbi_strbuf *b, int rank, const int64_t *shape)
{
    nbi_strbuf_putc(b, '[');
    for (int i = 0; i < rank; i++)
        nbi_strbuf_printf(b, i ? ", %lld" : "%lld", (long long)shape[i]);
    nbi_strbuf_putc(b, ']');
}

static nb_status wrong_shape(const nb_st_tensor *t, const nbi_tensor_spec *s, nb_error *err)
{
    nbi_strbuf found = {0}, expected = {0};
    put_shape(&found, t->rank, t->shape);
    put_shape(&expected, s->rank, s->shape);
    nb_status st = nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" has shape %s, config.json says %s",
                            t->path, t->name, nbi_strbuf_str(&found), nbi_strbuf_str(&expected));
    nbi_strbuf_free(&found);
    nbi_strbuf_free(&expected);
    return st;
}

nb_status nbi_find_dense(nbi_loader *l, const nbi_tensor_spec *s, const nb_st_tensor **out,
                         nb_error *err)
{
    const nb_st_tensor *t = nb_safetensors_find(l->m->files, s->name);
    if (!t)
        return nbi_fail(
            err, NB_FORMAT, "%s: tensor \"%s\" is missing%s", l->m->dir, s->name,
            s->part == NBI_PART_HEAD ? " (does config.json lack tie_word_embeddings: true?)" : "");
    mark_used(l, t);
    if (!nb_dtype_is_dense_float(t->dtype))
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: tensor \"%s\" has dtype %s; weights must be F32, F16 or BF16", t->path,
                        t->name, nb_dtype_name(t->dtype));
    bool same = t->rank == s->rank;
    for (int i = 0; same && i < s->rank; i++)
        same = t->shape[i] == s->shape[i];
    if (!same)
        return wrong_shape(t, s, err);
    *out = t;
    return NB_OK;
}

static int64_t elements_of(const nb_st_tensor *t)
{
    return t->rank == 2 ? t->shape[0] * t->shape[1] : t->shape[0];
}

/* An f32 copy that lives as long as the model. */
static nb_status copy_f32(nbi_loader *l, const nb_st_tensor *t, float **out, nb_error *err)
{
    int64_t n = elements_of(t);
    *out = nbi_model_own(l->m, NBI_MEM_WEIGHTS, (size_t)n * sizeof(float));
    if (!*out)
        return nbi_fail_nomem(err, "weights", (unsigned long long)n * sizeof(float));
    nb_st_to_f32(t, 0, n, *out);
    nb_safetensors_release(l->m->files, t);
    return NB_OK;
}

/* A trained weight: value and gradient, listed for the optimizer. */
static nb_status make_param(nbi_loader *l, const nbi_tensor_spec *s, const nb_st_tensor *t,
                            nb_param **out, nb_error *err)
{
    nb_model *m = l->m;
    int64_t n = elements_of(t);
    nb_param *p = nbi_arena_alloc(&m->strings, sizeof *p, _Alignof(nb_param));
    char *name = nbi_arena_strndup(&m->strings, s->name, strlen(s->name));
    if (!p || !name || !nbi_array_reserve(&m->params, 1))
        return nbi_fail_nomem(err, "the list of trained weights", sizeof *p);
    *p = (nb_param){.name = name,
                    .rank = s->rank,
                    .shape = {s->shape[0], s->shape[1]},
                    .n = n,
                    .no_decay = s->bias || nbi_part_is_norm(s->part)};
    NBI_TRY(copy_f32(l, t, &p->value, err));
    int64_t bad = nbi_dense_find_nonfinite(NB_DT_F32, p->value, n);
    if (bad >= 0)
        return nbi_fail(err, NB_NUMERIC, "%s: tensor \"%s\" holds NaN or infinity at element %lld",
                        t->path, t->name, (long long)bad);
    p->grad = nbi_model_own(m, NBI_MEM_GRADIENTS, (size_t)n * sizeof(float));
    if (!p->grad)
        return nbi_fail_nomem(err, "gradients", (unsigned long long)n * sizeof(float));
    memset(p->grad, 0, (size_t)n * sizeof(float));
    m->params.v[m->params.n++] = p;
    *out = p;
    return NB_OK;
}

/* A norm or a bias: always f32. */
static nb_status load_vector(nbi_loader *l, const nbi_tensor_spec *s, const float **value,
                             float **grad, nb_error *err)
{
    const nb_st_tensor *t;
    nb_param *p = NULL;
    float *copy = NULL;
    NBI_TRY(nbi_find_dense(l, s, &t, err));
    if (!l->how->trainable) {
        NBI_TRY(copy_f32(l, t, &copy, err));
        *value = copy;
        return NB_OK;
    }
    NBI_TRY(make_param(l, s, t, &p, err));
    *value = p->value;
    *grad = p->grad;
    return NB_OK;
}

/* A frozen dense weight stays in the mapping, unless floats cannot be read at its address. */
static nb_status keep_dense(nbi_loader *l, const nb_st_tensor *t, const void **out, nb_error *err)
{
    *out = t->data;
    if ((uintptr_t)t->data % nb_dtype_size(t->dtype) == 0)
        return NB_OK;
    void *copy = nbi_model_own(l->m, NBI_MEM_WEIGHTS, t->bytes);
    if (!copy)
        return nbi_fail_nomem(err, "a weight", t->bytes);
    memcpy(copy, t->data, t->bytes);
    nb_safetensors_release(l->m->files, t);
    *out = copy;
    return NB_OK;
}

static nb_status load_embedding(nbi_loader *l, const nbi_tensor_spec *s, nb_error *err)
{
    nb_model *m = l->m;
    const nb_st_tensor *t;
    nb_param *p = NULL;
    NBI_TRY(nbi_find_dense(l, s, &t, err));
    m->embed_dtype = t->dtype;
    if (!l->how->trainable) {
        NBI_TRY(keep_dense(l, t, &m->embed, err));
        m->embed_mapped = m->embed == t->data && !m->config.tie_embeddings;
        if (m->embed_mapped)
            nbi_mapfile_small_pages(t->data, t->bytes);
        return NB_OK;
    }
    NBI_TRY(make_param(l, s, t, &p, err));
    m->embed_dtype = NB_DT_F32;
    m->embed = p->value;
    m->d_embed = p->grad;
    return NB_OK;
}

/* A 4-bit weight of the folder must be what config.json announces. */
static nb_status load_quantised(nbi_loader *l, const nbi_tensor_spec *s, nb_linear *lin,
                                nb_error *err)
{
    nb_model *m = l->m;
    const nb_quant_config *q = &m->config.quant;
    size_t first, count;
    if (l->how->trainable)
        return nbi_fail(
            err, NB_UNSUPPORTED,
            "%s: the weights are quantised to 4 bits and cannot be trained in full; train "
            "an adapter or use the 16-bit model",
            m->dir);
    if (!m->config.has_quant)
        return nbi_fail(
            err, NB_FORMAT,
            "%s: tensor \"%s\" is quantised, but config.json has no quantization_config", m->dir,
            s->name);
    NBI_TRY(nb_bnb4bit_read(m->files, s->name, &m->stats, &lin->w, err));
    if (lin->w.n != s->shape[0] || lin->w.k != s->shape[1])
        return nbi_fail(err, NB_FORMAT,
                        "%s: tensor \"%s\" has shape [%lld, %lld], config.json says [%lld, %lld]",
                        m->dir, s->name, (long long)lin->w.n, (long long)lin->w.k,
                        (long long)s->shape[0], (long long)s->shape[1]);
    if (lin->w.kind != q->kind || (lin->w.absmax == NULL) != q->double_quant)
        return nbi_fail(err, NB_FORMAT,
                        "%s: tensor \"%s\" is %s %s double quantisation, config.json says %s %s",
                        m->dir, s->name, nb_qkind_name(lin->w.kind),
                        lin->w.absmax ? "without" : "with", nb_qkind_name(q->kind),
                        q->double_quant ? "with" : "without");
    nb_safetensors_prefix(m->files, s->name, &first, &count);
    size_t stem = strlen(s->name);
    for (size_t i = 0; i < count; i++) {
        const nb_st_tensor *t = nb_safetensors_named(m->files, first + i);
        if (t->name[stem] == '\0' || t->name[stem] == '.')
            mark_used(l, t);
    }
    m->quant.block = lin->w.block;
    if (lin->w.absmax_codes)
        m->quant.nested_block = lin->w.nested_block;
    l->found_quantised++;
    return NB_OK;
}

static nb_status load_dense_linear(nbi_loader *l, const nbi_tensor_spec *s, nb_linear *lin,
                                   nb_error *err)
{
    nb_model *m = l->m;
    const nb_st_tensor *t;
    const void *data = NULL;
    nb_param *p = NULL;
    bool block_weight = s->part != NBI_PART_HEAD;
    NBI_TRY(nbi_find_dense(l, s, &t, err));
    if (m->config.has_quant && block_weight && !nbi_is_skipped(&m->config, s->module))
        return nbi_fail(
            err, NB_FORMAT,
            "%s: tensor \"%s\" is not quantised (no quant_state), but config.json says 4 "
            "bits and llm_int8_skip_modules does not name it",
            t->path, t->name);
    if (l->how->trainable) {
        NBI_TRY(make_param(l, s, t, &p, err));
        lin->w = nb_qtensor_dense(NB_DT_F32, p->value, s->shape[0], s->shape[1]);
        lin->dw = p->grad;
        return NB_OK;
    }
    if (block_weight && m->quant.load_in_4bit && !m->config.has_quant)
        return nbi_quantise_linear(l, t, &lin->w, err);
    NBI_TRY(keep_dense(l, t, &data, err));
    lin->w = nb_qtensor_dense(t->dtype, data, s->shape[0], s->shape[1]);
    return NB_OK;
}

nb_status nbi_load_tensor(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    nbi_loader *l = user;
    NBI_TRY(nbi_model_polled(l->m, err));
    if (s->part == NBI_PART_EMBED)
        return load_embedding(l, s, err);
    if (nbi_part_is_norm(s->part)) {
        float **grad;
        const float **value = nbi_model_norm(l->m, s->part, s->layer, &grad);
        return load_vector(l, s, value, grad, err);
    }
    nb_linear *lin = nbi_model_linear(l->m, s->part, s->layer);
    if (s->bias)
        return load_vector(l, s, &lin->bias, &lin->dbias, err);
    if (nb_bnb4bit_present(l->m->files, s->name))
        return load_quantised(l, s, lin, err);
    return load_dense_linear(l, s, lin, err);
}
