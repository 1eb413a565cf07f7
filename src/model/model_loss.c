/* SPDX-License-Identifier: MIT */
/* The output head: logits and the chunked cross-entropy. */
#include <assert.h>
#include <string.h>
#include "model/block.h"
#include "model/stream.h"

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
                              const void *x, nb_dtype act, float *logits, bool training)
{
    return (nb_site_call){.exec = &m->exec,
                          .batch = b,
                          .row0 = row0,
                          .m = rows,
                          .x = x,
                          .ldx = m->config.hidden,
                          .x_dtype = act,
                          .y = logits,
                          .ldy = m->config.vocab,
                          .training = training};
}

/* Gradients of one chunk: logits hold those of the logits, in bf16 where products round them. */
static void head_backward(nb_model *m, nb_workspace *ws, nb_site_call *c, bool below)
{
    const nb_head_buffers *h = &ws->head;
    c->dy = h->logits;
    c->dy_dtype = ws->act;
    c->ldy = ws->act == NB_DT_BF16 ? 2 * m->config.vocab : m->config.vocab;
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

/* Final-norm output of `rows` trained rows: where it is when they follow each other, else copied
 * together. */
static const void *head_input(const nb_model *m, const nb_workspace *ws, int64_t row0, int64_t rows)
{
    const nb_head_buffers *h = &ws->head;
    const int32_t *row = h->row + row0;
    int64_t d = m->config.hidden;
    if (row[rows - 1] - row[0] == rows - 1)
        return nb_elem(ws->final, ws->act, row[0] * d);
    for (int64_t i = 0; i < rows; i++)
        memcpy(nb_elem(h->x, ws->act, i * d), nb_elem(ws->final, ws->act, row[i] * d),
               (size_t)d * nb_dtype_size(ws->act));
    return h->x;
}

static void loss_chunk(nb_model *m, nb_workspace *ws, const nb_batch *b, int64_t row0, int64_t rows,
                       double grad_scale, bool want_grad, bool below)
{
    const nb_head_buffers *h = &ws->head;
    nb_site_call call =
        head_call(m, b, row0, rows, head_input(m, ws, row0, rows), ws->act, h->logits, want_grad);
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
                                                     .hit = h->hit + row0,
                                                     .grad_dtype = ws->act});
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
    int64_t chunks = (n + h->chunk - 1) / h->chunk;
    nbi_layer_begin(m, m->config.layers, want_grad ? m->config.layers - 1 : 0);
    for (int64_t i = 0; i < chunks; i++) {
        int64_t row0 = n * i / chunks, rows = n * (i + 1) / chunks - row0;
        loss_chunk(m, ws, b, row0, rows, grad_scale, want_grad, below);
    }
    nbi_layer_end(m, m->config.layers);

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
        head_call(m, NULL, row0, n, nb_elem(ws->final, ws->act, row0 * m->config.hidden), ws->act,
                  logits, false);
    nbi_layer_begin(m, m->config.layers, 0);
    nb_linear_forward(&m->head, &call, false);
    nbi_layer_end(m, m->config.layers);
}
