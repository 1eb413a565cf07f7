/* SPDX-License-Identifier: MIT */
/* Recipes: the harmless part of YAML (mappings, sequences, scalars) as the tree of base/json.h.
 * Anchors, aliases, tags, merge keys, several documents, duplicate keys, depth > 32 and files above
 * 1 MiB are refused with file:line. Quoted scalars become STRING, plain ones SCALAR, `~`/empty/null
 * NULL. */
#ifndef NBI_YAML_H
#define NBI_YAML_H

#include "base/json.h"

nb_status nbi_yaml_parse(nbi_arena *arena, const char *name, const void *buf, size_t len,
                         nbi_json **out, nb_error *err) NB_MUST_CHECK;
nb_status nbi_yaml_parse_file(nbi_arena *arena, const char *path, nbi_json **out,
                              nb_error *err) NB_MUST_CHECK;
/* Parses one value as given on the command line: a YAML flow value ("[a, b]", "{x: 1}") or, when it
 * does not start with '[' or '{', a plain scalar taken literally. */
nb_status nbi_yaml_parse_value(nbi_arena *arena, const char *name, const char *text, nbi_json **out,
                               nb_error *err) NB_MUST_CHECK;

#endif
