/* SPDX-License-Identifier: MIT */
/* Which layers attend through a sliding window. */
#include <string.h>
#include "base/fail.h"
#include "model/config_priv.h"

static nb_status new_flags(nb_model_config *c, nb_error *err)
{
    c->sliding = nbi_arena_alloc(&c->arena, (size_t)c->layers, 1);
    if (!c->sliding)
        return nbi_fail_nomem(err, "the layer types", (unsigned long long)c->layers);
    memset(c->sliding, 0, (size_t)c->layers);
    return NB_OK;
}

nb_status nbi_config_uniform_window(nb_model_config *c, int64_t window, nb_error *err)
{
    NBI_TRY(new_flags(c, err));
    c->sliding_window = window;
    memset(c->sliding, window > 0, (size_t)c->layers);
    return NB_OK;
}

static nb_status read_layer_types(nb_model_config *c, const nbi_json *types, const char *where,
                                  nb_error *err)
{
    int64_t i = 0;
    if (types->type != NBI_JT_ARRAY || types->n != (size_t)c->layers)
        return nbi_fail(err, NB_FORMAT,
                        "%s: layer_types must be a list of num_hidden_layers (%lld)", where,
                        (long long)c->layers);
    for (const nbi_json *t = types->first; t; t = t->next, i++) {
        bool slides = nbi_json_equals(t, "sliding_attention");
        if (!slides && !nbi_json_equals(t, "full_attention"))
            return nbi_fail(err, NB_UNSUPPORTED,
                            "%s: byte %zu: layer type \"%.32s\" is not supported; supported are "
                            "full_attention, sliding_attention",
                            where, t->offset, t->text ? t->text : "?");
        if (slides && c->sliding_window == 0)
            return nbi_fail(
                err, NB_FORMAT,
                "%s: layer_types has sliding_attention, but there is no sliding_window or "
                "use_sliding_window is off",
                where);
        c->sliding[i] = slides;
    }
    return NB_OK;
}

nb_status nbi_config_qwen_window(nb_model_config *c, const nbi_json *doc, const char *where,
                                 nb_error *err)
{
    bool use = false;
    int64_t window = 4096, full_layers = 28; /* what the keys mean when they are absent */
    NBI_TRY(new_flags(c, err));
    NBI_TRY(nbi_json_get_bool(doc, where, "use_sliding_window", &use, err));
    NBI_TRY(nbi_json_get_i64(doc, where, "sliding_window", 1, (int64_t)1 << 30, &window, err));
    NBI_TRY(
        nbi_json_get_i64(doc, where, "max_window_layers", 0, (int64_t)1 << 30, &full_layers, err));
    const nbi_json *given = nbi_json_get(doc, "sliding_window");
    if (use && !(given && nbi_json_is_null(given)))
        c->sliding_window = window;
    const nbi_json *types = nbi_json_get(doc, "layer_types");
    if (!nbi_json_is_null(types))
        return read_layer_types(c, types, where, err);
    for (int64_t i = 0; i < c->layers; i++)
        c->sliding[i] = c->sliding_window > 0 && i >= full_layers;
    return NB_OK;
}
