/* SPDX-License-Identifier: MIT */
#include "train/row_layout.h"

#include <string.h>
#include "base/fail.h"
#include "train/recipe_keys.h"

static const char *const layout_keys[] = {
    "template",           "template_vars", "text_column", "response_template", "train_on",
    "add_special_tokens", "append_eos",    "mask_eos",    "max_seq_length",    "truncation_side"};
#define N_KEYS (sizeof(layout_keys) / sizeof(*layout_keys))

nb_status nbi_row_layout_json(const nb_recipe *r, nb_data_format found, char **json, nb_error *err)
{
    nbi_strbuf out = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &out, 0, true);
    nbi_jw_object(&w);
    nbi_jw_member_str(&w, "format", nb_data_format_name(found));
    for (size_t i = 0; i < N_KEYS; i++) {
        int k = nbi_key_index(layout_keys[i]);
        if (k < 0)
            continue;
        nbi_jw_key(&w, layout_keys[i]);
        nbi_key_write(r, &nbi_keys[k], &w);
    }
    nbi_jw_object_end(&w);
    nb_status st = nbi_strbuf_check(&out, err);
    *json = st == NB_OK ? nbi_strdup(NBI_MEM_OTHER, nbi_strbuf_str(&out)) : NULL;
    if (st == NB_OK && !*json)
        st = nbi_fail_nomem(err, "the row layout", out.n);
    nbi_strbuf_free(&out);
    return st;
}

static bool is_layout_key(const char *key)
{
    for (size_t i = 0; i < N_KEYS; i++)
        if (strcmp(layout_keys[i], key) == 0)
            return true;
    return strcmp(key, "format") == 0;
}

static nb_status store(nb_recipe *r, const nbi_json *layout, nb_error *err)
{
    for (const nbi_json *m = layout->first; m; m = m->next) {
        int i = nbi_key_index(m->key);
        if (i < 0 || !is_layout_key(m->key) || r->given[i])
            continue;
        nb_status st = nbi_json_is_null(m) ? nbi_key_reset(r, &nbi_keys[i], err)
                                           : nbi_key_store(r, &nbi_keys[i], m, "nibble.json", err);
        NBI_TRY(st);
    }
    return NB_OK;
}

nb_status nbi_row_layout_adopt(nb_recipe *r, const char *json, nb_error *err)
{
    static const char *const own[] = {"format", "template", "train_on", "text_column",
                                      "response_template"};
    nbi_arena arena;
    nbi_json *layout;
    for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
        if (nb_recipe_given(r, own[i]))
            return NB_OK;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse(&arena, "nibble.json", json, strlen(json), &layout, err);
    if (st == NB_OK)
        st = store(r, layout, err);
    nbi_arena_free(&arena);
    return st;
}
