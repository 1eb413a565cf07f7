/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include "model/block.h"
#include "model/stream.h"

bool nbi_model_trains_below_head(const nb_model *m)
{
    return m->d_embed || m->d_final_norm || nbi_lowest_block(m) < m->config.layers;
}

void nb_model_backward(nb_model *m, nb_workspace *ws, const nb_batch *b)
{
    assert(ws->training && ws->pass.training && ws->rows == b->m);
    if (!nbi_model_trains_below_head(m))
        return;
    nbi_workspace_bind(ws, m);
    ws->pass.batch = b;

    /* nb_model_loss left the gradient of the final norm's output in dres */
    nb_norm norm = nbi_final_norm(m, ws->act);
    nb_norm_backward(&norm, &m->exec, b->m, ws->last, ws->final_rstd, ws->dres, ws->dres, false);
    int64_t lowest = nbi_lowest_block(m);
    for (int64_t i = m->config.layers - 1; i >= lowest; i--) {
        nbi_layer_begin(m, i, i > lowest ? i - 1 : 0); /* the next pass begins at the bottom */
        nbi_block_backward(m, i, &ws->pass, &ws->acts[i], ws->normed, ws->dnormed, ws->dres,
                           i > lowest || m->d_embed);
        nbi_layer_end(m, i);
    }
    if (m->d_embed)
        m->exec.k.embed_bwd(&(nb_embed_bwd_args){.q = m->exec.q,
                                                 .rows = b->m,
                                                 .d = m->config.hidden,
                                                 .ids = b->ids,
                                                 .dy = ws->dres,
                                                 .dtable = m->d_embed});
}
