/* SPDX-License-Identifier: MIT */
#include "model/layout.h"

#include <stdio.h>
#include <string.h>
#include "base/fail.h"

bool nbi_part_is_norm(nbi_part p)
{
    return p == NBI_PART_ATTN_NORM || p == NBI_PART_MLP_NORM || p == NBI_PART_Q_NORM ||
           p == NBI_PART_K_NORM || p == NBI_PART_FINAL_NORM;
}

static const char *pattern(const nb_family *f, nbi_part part)
{
    switch (part) {
    case NBI_PART_EMBED:
        return f->embed;
    case NBI_PART_ATTN_NORM:
        return f->attn_norm;
    case NBI_PART_Q:
        return f->q_proj;
    case NBI_PART_K:
        return f->k_proj;
    case NBI_PART_V:
        return f->v_proj;
    case NBI_PART_O:
        return f->o_proj;
    case NBI_PART_Q_NORM:
        return f->q_norm;
    case NBI_PART_K_NORM:
        return f->k_norm;
    case NBI_PART_MLP_NORM:
        return f->mlp_norm;
    case NBI_PART_GATE:
        return f->gate_proj;
    case NBI_PART_UP:
        return f->up_proj;
    case NBI_PART_DOWN:
        return f->down_proj;
    case NBI_PART_FINAL_NORM:
        return f->final_norm;
    case NBI_PART_HEAD:
        return f->head;
    }
    return NULL;
}

void nbi_layout_module(const nb_model_config *c, nbi_part part, int64_t layer,
                       char out[NBI_MAX_MODULE])
{
    static const char mark[] = "%lld";
    const char *s = pattern(c->family, part), *at = s ? strstr(s, mark) : NULL;
    if (at)
        snprintf(out, NBI_MAX_MODULE, "%.*s%lld%s", (int)(at - s), s, (long long)layer,
                 at + sizeof mark - 1);
    else
        snprintf(out, NBI_MAX_MODULE, "%s", s ? s : "");
}

static bool has_bias(const nb_model_config *c, nbi_part part)
{
    switch (part) {
    case NBI_PART_Q:
        return c->q_bias;
    case NBI_PART_K:
        return c->k_bias;
    case NBI_PART_V:
        return c->v_bias;
    case NBI_PART_O:
        return c->o_bias;
    case NBI_PART_GATE:
    case NBI_PART_UP:
    case NBI_PART_DOWN:
        return c->mlp_bias;
    default:
        return false;
    }
}

/* Rows and columns of the weight; a norm is one row. */
static void part_shape(const nb_model_config *c, nbi_part part, int64_t shape[2])
{
    int64_t d = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    int64_t rows = 1, cols = d;
    switch (part) {
    case NBI_PART_EMBED:
    case NBI_PART_HEAD:
        rows = c->vocab;
        break;
    case NBI_PART_Q:
        rows = q;
        break;
    case NBI_PART_K:
    case NBI_PART_V:
        rows = kv;
        break;
    case NBI_PART_O:
        rows = d;
        cols = q;
        break;
    case NBI_PART_GATE:
    case NBI_PART_UP:
        rows = c->ffn;
        break;
    case NBI_PART_DOWN:
        rows = d;
        cols = c->ffn;
        break;
    case NBI_PART_Q_NORM:
    case NBI_PART_K_NORM:
        cols = c->head_dim;
        break;
    default:
        break;
    }
    shape[0] = rows;
    shape[1] = cols;
}

static nb_status visit_part(const nb_model_config *c, nbi_part part, int64_t layer,
                            nbi_tensor_visit *visit, void *user, nb_error *err)
{
    nbi_tensor_spec s = {.part = part, .layer = layer, .rank = 2};
    bool norm = nbi_part_is_norm(part);
    nbi_layout_module(c, part, layer, s.module);
    snprintf(s.name, sizeof s.name, "%s.weight", s.module);
    part_shape(c, part, s.shape);
    if (norm) {
        s.rank = 1;
        s.shape[0] = s.shape[1];
        s.shape[1] = 0;
    }
    NBI_TRY(visit(user, &s, err));
    if (!has_bias(c, part))
        return NB_OK;
    s.bias = true;
    s.rank = 1;
    s.shape[1] = 0;
    snprintf(s.name, sizeof s.name, "%s.bias", s.module);
    return visit(user, &s, err);
}

nb_status nbi_layout_walk(const nb_model_config *c, nbi_tensor_visit *visit, void *user,
                          nb_error *err)
{
    NBI_TRY(visit_part(c, NBI_PART_EMBED, -1, visit, user, err));
    for (int64_t i = 0; i < c->layers; i++)
        for (int p = NBI_PART_ATTN_NORM; p <= NBI_PART_DOWN; p++) {
            if ((p == NBI_PART_Q_NORM || p == NBI_PART_K_NORM) && !c->qk_norm)
                continue;
            NBI_TRY(visit_part(c, (nbi_part)p, i, visit, user, err));
        }
    NBI_TRY(visit_part(c, NBI_PART_FINAL_NORM, -1, visit, user, err));
    if (!c->tie_embeddings)
        NBI_TRY(visit_part(c, NBI_PART_HEAD, -1, visit, user, err));
    return NB_OK;
}

int64_t nbi_part_copies(const nb_model_config *c, nbi_part part)
{
    bool mlp = part == NBI_PART_GATE || part == NBI_PART_UP || part == NBI_PART_DOWN;
    return mlp && c->experts > 0 ? c->experts : 1;
}

typedef struct counter {
    const nb_model_config *c;
    int64_t n;
} counter;

static nb_status count(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    counter *v = user;
    (void)err;
    v->n +=
        nbi_part_copies(v->c, s->part) * (s->rank == 2 ? s->shape[0] * s->shape[1] : s->shape[0]);
    return NB_OK;
}

int64_t nb_config_parameters(const nb_model_config *c)
{
    counter v = {c, c->layers * c->experts * c->hidden}; /* what chooses the experts */
    nb_status s = nbi_layout_walk(c, count, &v, NULL);
    return s == NB_OK ? v.n : 0;
}
