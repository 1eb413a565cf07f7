/* SPDX-License-Identifier: MIT */
#include "base/json_build.h"

#include <string.h>
#include "base/fail.h"

/* Up to this many members keys are compared one by one. */
enum { FEW_MEMBERS = 8 };

void nbi_tree_begin(nbi_tree_builder *b, nbi_arena *arena, const char *name, int max_depth)
{
    memset(b, 0, sizeof(*b));
    b->arena = arena;
    b->name = name;
    b->max_depth = max_depth;
}

void nbi_tree_end(nbi_tree_builder *b)
{
    for (int i = 0; i <= NBI_JSON_MAX_DEPTH; i++)
        nbi_strmap_free(&b->level[i].keys);
}

static nb_status bad(nbi_tree_builder *b, const char *what, const char *key, nb_error *err)
{
    if (b->line > 0)
        return nbi_fail(err, NB_FORMAT, "%s:%d: %s%s", b->name, b->line, what, key);
    return nbi_fail(err, NB_FORMAT, "%s: byte %zu: %s%s", b->name, b->offset, what, key);
}

/* Whether the key is in the open object already; after that it is known. */
static nb_status note_key(nbi_tree_builder *b, bool *known, nb_error *err)
{
    nbi_tree_level *l = &b->level[b->depth];
    *known = false;
    if (l->node->n < FEW_MEMBERS) {
        for (const nbi_json *m = l->node->first; m; m = m->next)
            if (m->key_len == b->key_len && memcmp(m->key, b->key, b->key_len) == 0)
                *known = true;
        return NB_OK;
    }
    if (l->keys.n == 0)
        for (const nbi_json *m = l->node->first; m; m = m->next)
            if (!nbi_strmap_put(&l->keys, m->key, m->key_len, 0, NULL))
                return nbi_fail_nomem(err, b->name, sizeof(nbi_strmap_slot));
    if (!nbi_strmap_put(&l->keys, b->key, b->key_len, 0, known))
        return nbi_fail_nomem(err, b->name, sizeof(nbi_strmap_slot));
    return NB_OK;
}

nb_status nbi_tree_key(nbi_tree_builder *b, const char *text, size_t len, nb_error *err)
{
    bool known;
    b->key = nbi_arena_strndup(b->arena, text, len);
    b->key_len = len;
    if (!b->key)
        return nbi_fail_nomem(err, b->name, len);
    NBI_TRY(note_key(b, &known, err));
    return known ? bad(b, "duplicate key ", b->key, err) : NB_OK;
}

/* NULL: no memory. */
static nbi_json *add_node(nbi_tree_builder *b, nbi_json_type type)
{
    nbi_json *v = nbi_arena_alloc(b->arena, sizeof(*v), _Alignof(nbi_json));
    if (!v)
        return NULL;
    memset(v, 0, sizeof(*v));
    v->type = type;
    v->offset = b->offset;
    v->line = b->line;
    v->key = b->key;
    v->key_len = b->key_len;
    b->key = NULL;
    b->key_len = 0;
    if (b->depth == 0) {
        b->root = v;
    } else {
        nbi_tree_level *l = &b->level[b->depth];
        *(l->last ? &l->last->next : &l->node->first) = v;
        l->last = v;
        l->node->n++;
    }
    return v;
}

nb_status nbi_tree_value(nbi_tree_builder *b, nbi_json_type type, const char *text, size_t len,
                         bool boolean, nb_error *err)
{
    char *copy = NULL;
    if (text) {
        copy = nbi_arena_strndup(b->arena, text, len);
        if (!copy)
            return nbi_fail_nomem(err, b->name, len);
    }
    nbi_json *v = add_node(b, type);
    if (!v)
        return nbi_fail_nomem(err, b->name, sizeof(*v));
    v->text = copy;
    v->text_len = copy ? len : 0;
    v->boolean = boolean;
    return NB_OK;
}

nb_status nbi_tree_open(nbi_tree_builder *b, nbi_json_type type, nb_error *err)
{
    if (b->depth == b->max_depth)
        return bad(b, "nested too deeply", "", err);
    nbi_json *v = add_node(b, type);
    if (!v)
        return nbi_fail_nomem(err, b->name, sizeof(*v));
    nbi_tree_level *l = &b->level[++b->depth];
    l->node = v;
    l->last = NULL;
    return NB_OK;
}

void nbi_tree_close(nbi_tree_builder *b)
{
    nbi_strmap_free(&b->level[b->depth].keys);
    b->depth--;
}
