/* SPDX-License-Identifier: MIT */
/* Builds a tree of base/json.h from a stream of events; shared by the JSON and the YAML parser.
 * Refuses duplicate keys and too deep nesting. */
#ifndef NBI_JSON_BUILD_H
#define NBI_JSON_BUILD_H

#include "base/json.h"
#include "base/strmap.h"

typedef struct nbi_tree_level {
    nbi_json *node, *last; /* container and its last child */
    nbi_strmap keys;       /* filled only for objects with many members */
} nbi_tree_level;

typedef struct nbi_tree_builder {
    nbi_arena *arena;
    const char *name;
    int depth, max_depth;
    nbi_tree_level level[NBI_JSON_MAX_DEPTH + 1];
    nbi_json *root;
    const char *key; /* copied into the arena, waits for its value */
    size_t key_len;
    /* Place of the event being added, set by the parser: a line, or line = 0 and a byte offset. */
    size_t offset;
    int line;
} nbi_tree_builder;

void nbi_tree_begin(nbi_tree_builder *b, nbi_arena *arena, const char *name, int max_depth);
/* Frees what the builder itself holds, not the tree. */
void nbi_tree_end(nbi_tree_builder *b);
nb_status nbi_tree_key(nbi_tree_builder *b, const char *text, size_t len,
                       nb_error *err) NB_MUST_CHECK;
/* text NULL for null, true and false. */
nb_status nbi_tree_value(nbi_tree_builder *b, nbi_json_type type, const char *text, size_t len,
                         bool boolean, nb_error *err) NB_MUST_CHECK;
nb_status nbi_tree_open(nbi_tree_builder *b, nbi_json_type type, nb_error *err) NB_MUST_CHECK;
void nbi_tree_close(nbi_tree_builder *b);

#endif
