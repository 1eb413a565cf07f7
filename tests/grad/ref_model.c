/* SPDX-License-Identifier: MIT */
#include "grad/ref_model.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double *doubles(int64_t n)
{
    double *p = calloc((size_t)n + 1, sizeof *p);
    assert(p);
    return p;
}

/* ---- weights ---- */

static double *add(ref_model *r, int layer, const char *name, const float *w, const float *grad,
                   int64_t n)
{
    if (!w)
        return NULL;
    ref_tensor *t = &r->tensors[r->n++];
    snprintf(t->name, sizeof t->name, "%d.%s", layer, name);
    t->v = doubles(n);
    t->n = n;
    t->grad = grad;
    for (int64_t i = 0; i < n; i++)
        t->v[i] = (double)w[i];
    return t->v;
}

static double *add_linear(ref_model *r, const nb_model *m, int layer, const char *name,
                          const nb_linear *l, double **bias)
{
    float *w = calloc((size_t)(l->w.n * l->w.k), sizeof *w);
    char bias_name[32];
    assert(w);
    m->exec.k.decode(&(nb_decode_args){
        .q = m->exec.q, .w = &l->w, .rows = l->w.n, .cols = l->w.k, .out = w, .ldo = l->w.k});
    double *v = add(r, layer, name, w, l->dw, l->w.n * l->w.k);
    free(w);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    if (bias)
        *bias = add(r, layer, bias_name, l->bias, l->dbias, l->w.n);
    return v;
}

ref_model *ref_open(const nb_model *m)
{
    const nb_model_config *c = &m->config;
    ref_model *r = calloc(1, sizeof *r);
    assert(r);
    r->c = c;
    r->blocks = calloc((size_t)c->layers, sizeof *r->blocks);
    r->tensors = calloc((size_t)(18 * c->layers + 3), sizeof *r->tensors);
    assert(r->blocks && r->tensors);
    for (int i = 0; i < c->layers; i++) {
        const nb_block *b = &m->blocks[i];
        ref_block *o = &r->blocks[i];
        o->attn_norm = add(r, i, "attn_norm", b->attn_norm, b->d_attn_norm, c->hidden);
        o->mlp_norm = add(r, i, "mlp_norm", b->mlp_norm, b->d_mlp_norm, c->hidden);
        o->q_norm = add(r, i, "q_norm", b->q_norm, b->d_q_norm, c->head_dim);
        o->k_norm = add(r, i, "k_norm", b->k_norm, b->d_k_norm, c->head_dim);
        o->q = add_linear(r, m, i, "q", &b->q, &o->qb);
        o->k = add_linear(r, m, i, "k", &b->k, &o->kb);
        o->v = add_linear(r, m, i, "v", &b->v, &o->vb);
        o->o = add_linear(r, m, i, "o", &b->o, &o->ob);
        o->gate = add_linear(r, m, i, "gate", &b->gate, &o->gateb);
        o->up = add_linear(r, m, i, "up", &b->up, &o->upb);
        o->down = add_linear(r, m, i, "down", &b->down, &o->downb);
    }
    assert(m->embed_dtype == NB_DT_F32);
    r->embed = add(r, -1, "embed", m->embed, m->d_embed, c->vocab * c->hidden);
    r->final_norm = add(r, -1, "final_norm", m->final_norm, m->d_final_norm, c->hidden);
    r->head = c->tie_embeddings ? r->embed : add_linear(r, m, -1, "head", &m->head, NULL);
    return r;
}

void ref_close(ref_model *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->tensors[i].v);
    free(r->tensors);
    free(r->blocks);
    free(r);
}

double *ref_weight(ref_model *r, int layer, const char *linear)
{
    char name[64];
    snprintf(name, sizeof name, "%d.%s", layer, linear);
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->tensors[i].name, name) == 0)
            return r->tensors[i].v;
    return r->head;
}

/* ---- formulas ---- */

static void linear(const double *w, const double *bias, const double *x, int64_t in, double *y,
                   int64_t out)
{
    for (int64_t i = 0; i < out; i++) {
        double sum = bias ? bias[i] : 0.0;
        for (int64_t j = 0; j < in; j++)
            sum += w[i * in + j] * x[j];
        y[i] = sum;
    }
}

static void rmsnorm(const double *w, const double *x, int64_t d, double eps, double *y)
{
    double sum = 0.0;
    for (int64_t i = 0; i < d; i++)
        sum += x[i] * x[i];
    double r = 1.0 / sqrt(sum / (double)d + eps);
    for (int64_t i = 0; i < d; i++)
        y[i] = x[i] * r * w[i];
}

static void rotate(const nb_model_config *c, double *head, int64_t position, int64_t length)
{
    int64_t half = c->head_dim / 2;
    double theta = c->rope.theta, d = (double)c->head_dim, most = (double)c->max_positions;
    if (c->rope.type == NB_ROPE_DYNAMIC && (double)length > most)
        theta *=
            pow(c->rope.factor * (double)length / most - (c->rope.factor - 1.0), d / (d - 2.0));
    for (int64_t j = 0; j < half; j++) {
        double f = pow(theta, -2.0 * (double)j / d);
        if (c->rope.type == NB_ROPE_LINEAR)
            f /= c->rope.factor;
        double angle = (double)position * f, cs = cos(angle), sn = sin(angle);
        double a = head[j], b = head[j + half];
        head[j] = a * cs - b * sn;
        head[j + half] = b * cs + a * sn;
    }
}

static double activation(nb_act act, double x)
{
    if (act == NB_ACT_SILU)
        return x / (1.0 + exp(-x));
    if (act == NB_ACT_GELU_ERF)
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
}

/* Heads of one row: projection, norm, rotation. */
static void make_heads(const ref_model *r, const double *w, const double *bias, const double *norm,
                       const double *x, int64_t heads, int64_t position, int64_t length, double *y)
{
    const nb_model_config *c = r->c;
    int64_t p = c->head_dim;
    linear(w, bias, x, c->hidden, y, heads * p);
    for (int64_t h = 0; h < heads; h++) {
        if (norm)
            rmsnorm(norm, y + h * p, p, c->norm_eps, y + h * p);
        rotate(c, y + h * p, position, length);
    }
}

/* Attention of the query at position t over keys and values [T, G, P]. */
static void attend(const nb_model_config *c, int64_t layer, const double *q, const double *keys,
                   const double *values, int64_t t, double *out)
{
    int64_t p = c->head_dim, row = c->kv_heads * p;
    int64_t window = c->sliding && c->sliding[layer] ? c->sliding_window : 0;
    double *s = doubles(t + 1);
    for (int64_t h = 0; h < c->heads; h++) {
        int64_t g = h / (c->heads / c->kv_heads);
        double sum = 0.0;
        for (int64_t j = 0; j <= t; j++) {
            double dot = 0.0;
            for (int64_t i = 0; i < p; i++)
                dot += q[h * p + i] * keys[j * row + g * p + i];
            s[j] = window && j <= t - window ? 0.0 : exp(dot / sqrt((double)p));
            sum += s[j];
        }
        for (int64_t i = 0; i < p; i++) {
            out[h * p + i] = 0.0;
            for (int64_t j = 0; j <= t; j++)
                out[h * p + i] += s[j] / sum * values[j * row + g * p + i];
        }
    }
    free(s);
}

/* One block over one segment; x [T, D] in place. */
static void block(const ref_model *r, int64_t layer, double *x, int64_t T)
{
    const nb_model_config *c = r->c;
    const ref_block *b = &r->blocks[layer];
    int64_t d = c->hidden, qd = c->heads * c->head_dim, kd = c->kv_heads * c->head_dim;
    double *n = doubles(d), *q = doubles(T * qd), *k = doubles(T * kd), *v = doubles(T * kd);
    double *att = doubles(qd), *g = doubles(c->ffn), *u = doubles(c->ffn), *y = doubles(d);
    for (int64_t t = 0; t < T; t++) {
        rmsnorm(b->attn_norm, x + t * d, d, c->norm_eps, n);
        make_heads(r, b->q, b->qb, b->q_norm, n, c->heads, t, T, q + t * qd);
        make_heads(r, b->k, b->kb, b->k_norm, n, c->kv_heads, t, T, k + t * kd);
        linear(b->v, b->vb, n, d, v + t * kd, kd);
    }
    for (int64_t t = 0; t < T; t++) {
        attend(c, layer, q + t * qd, k, v, t, att);
        linear(b->o, b->ob, att, qd, y, d);
        for (int64_t i = 0; i < d; i++)
            x[t * d + i] += y[i];
        rmsnorm(b->mlp_norm, x + t * d, d, c->norm_eps, n);
        linear(b->gate, b->gateb, n, d, g, c->ffn);
        linear(b->up, b->upb, n, d, u, c->ffn);
        for (int64_t i = 0; i < c->ffn; i++)
            g[i] = activation(c->act, g[i]) * u[i];
        linear(b->down, b->downb, g, c->ffn, y, d);
        for (int64_t i = 0; i < d; i++)
            x[t * d + i] += y[i];
    }
    free(n), free(q), free(k), free(v), free(att), free(g), free(u), free(y);
}

static double row_nll(const double *logits, int64_t v, int32_t target)
{
    double max = logits[0], sum = 0.0;
    for (int64_t i = 1; i < v; i++)
        max = logits[i] > max ? logits[i] : max;
    for (int64_t i = 0; i < v; i++)
        sum += exp(logits[i] - max);
    return max + log(sum) - logits[target];
}

static void keep(double *to, const double *from, int64_t row0, int64_t rows, int64_t width)
{
    if (to)
        memcpy(to + row0 * width, from, (size_t)(rows * width) * sizeof *to);
}

double ref_loss(const ref_model *r, const nb_batch *b, double *hidden, double *final,
                double *logits)
{
    const nb_model_config *c = r->c;
    int64_t d = c->hidden;
    double loss = 0.0, *n = doubles(d), *z = doubles(c->vocab);
    for (int64_t s = 0; s < b->n_segments; s++) {
        int64_t row0 = b->starts[s], T = b->starts[s + 1] - row0;
        double *x = doubles(T * d);
        for (int64_t t = 0; t < T; t++)
            memcpy(x + t * d, r->embed + b->ids[row0 + t] * d, (size_t)d * sizeof *x);
        keep(hidden, x, row0, T, d);
        for (int64_t i = 0; i < c->layers; i++) {
            block(r, i, x, T);
            keep(hidden ? hidden + (i + 1) * b->m * d : NULL, x, row0, T, d);
        }
        for (int64_t t = 0; t < T; t++) {
            rmsnorm(r->final_norm, x + t * d, d, c->norm_eps, n);
            keep(final, n, row0 + t, 1, d);
            linear(r->head, NULL, n, d, z, c->vocab);
            keep(logits, z, row0 + t, 1, c->vocab);
            if (b->targets && b->targets[row0 + t] != NB_IGNORE_INDEX)
                loss += row_nll(z, c->vocab, b->targets[row0 + t]);
        }
        free(x);
    }
    free(n), free(z);
    return loss;
}
