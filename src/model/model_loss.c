/* SPDX-License-Identifier: MIT */
/* The output head: logits and the chunked cross-entropy. */
#include <assert.h>
#include <string.h>
#include "model/block.h"

/* Lists the rows with a target; returns their number. */
static int64_t compact_targets(nb_head_buffers *h, const nb_batch *b)
{
    int64_t n = 0;
    for (int64_t i = 0; i < b->m; i++) {
        if (b->targets[i] == NB_IGNORE_INDEX)
            continue;
        h->row[n] = (int32_t)i;
        h->target[n] = b->targets[i];
        h->example[n] = b->example ? b->example[i] : 0;
        h->token[n] = b->positions[i];
        n++;
    }
    return n;
}

/* The call of the head on `rows` rows of x; row0 is where hooks keep their state. */
static nb_site_call head_call(const nb_model *m, const nb_batch *b, int64_t row0, int64_t rows,
                              const float *x, float *logits, bool training)
{
    return (nb_site_call){.exec = &m->exec,
                          .batch = b,
                          .row0 = row0,
                          .m = rows,
                          .x = x,
                          .ldx = m->config.hidden,
                          .y = logits,
                          .ldy = m->config.vocab,
                          .training = training};
}

/* Gradients of one chunk: logits hold those of the logits. */
static void head_backward(nb_model *m, nb_workspace *ws, nb_site_call *c, bool below)
{
    const nb_head_buffers *h = &ws->head;
    c->dy = h->logits;
    c->dx = below ? h->dx : NULL;
    nb_linear_backward(&m->head, c, false);
    if (below) /* each row comes once: this puts the rows where they belong */
        m->exec.k.embed_bwd(&(nb_embed_bwd_args){.q = m->exec.q,
                                                 .rows = c->m,
                                                 .d = m->config.hidden,
                                                 .ids = h->row + c->row0,
                                                 .dy = h->dx,
                                                 .dtable = ws->dres});
}

static void loss_chunk(nb_model *m, nb_workspace *ws, const nb_batch *b, int64_t row0, int64_t rows,
                       double grad_scale, bool want_grad, bool below)
{
    const nb_head_buffers *h = &ws->head;
    m->exec.k.embed(&(nb_embed_args){.q = m->exec.q,
                                     .rows = rows,
                                     .d = m->config.hidden,
                                     .dtype = NB_DT_F32,
                                     .table = ws->final,
                                     .ids = h->row + row0,
                                     .y = h->x});
    nb_site_call call = head_call(m, b, row0, rows, h->x, h->logits, want_grad);
    if (want_grad) {
        call.example = b->example ? h->example + row0 : NULL;
        call.token = h->token + row0;
    }
    nb_linear_forward(&m->head, &call, false);
    m->exec.k.cross_entropy(&(nb_cross_entropy_args){.q = m->exec.q,
                                                     .rows = rows,
                                                     .v = m->config.vocab,
                                                     .logits = h->logits,
                                                     .target = h->target + row0,
                                                     .grad_scale = (float)grad_scale,
                                                     .want_grad = want_grad,
                                                     .nll = h->nll + row0,
                                                     .hit = h->hit + row0});
    if (want_grad)
        head_backward(m, ws, &call, below);
}

nb_loss nb_model_loss(nb_model *m, nb_workspace *ws, const nb_batch *b, double grad_scale,
                      bool want_grad, float *nll)
{
    assert(b->targets && ws->rows == b->m && (!want_grad || ws->training));
    nb_head_buffers *h = &ws->head;
    bool below = want_grad && nbi_model_trains_below_head(m);
    nbi_workspace_bind(ws, m);
    if (below)
        memset(ws->dres, 0, (size_t)(b->m * m->config.hidden) * sizeof *ws->dres);
    int64_t n = compact_targets(h, b);
    for (int64_t row0 = 0; row0 < n; row0 += h->chunk) {
        int64_t rows = n - row0 < h->chunk ? n - row0 : h->chunk;
        loss_chunk(m, ws, b, row0, rows, grad_scale, want_grad, below);
    }

    nb_loss loss = {.tokens = n};
    if (nll)
        memset(nll, 0, (size_t)b->m * sizeof *nll);
    for (int64_t i = 0; i < n; i++) {
        loss.sum += (double)h->nll[i];
        loss.hits += h->hit[i];
        if (nll)
            nll[h->row[i]] = h->nll[i];
    }
    return loss;
}

void nb_model_logits(nb_model *m, nb_workspace *ws, int64_t row0, int64_t n, float *logits)
{
    assert(row0 >= 0 && n >= 0 && row0 + n <= ws->rows);
    nbi_workspace_bind(ws, m);
    nb_site_call call =
        head_call(m, NULL, row0, n, ws->final + row0 * m->config.hidden, logits, false);
    nb_linear_forward(&m->head, &call, false);
}
