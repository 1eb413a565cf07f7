/* SPDX-License-Identifier: MIT */
/* Running recipes in tests and reading train_log.jsonl. Include after testutil.h. */
#ifndef NBT_TRAIN_UTIL_H
#define NBT_TRAIN_UTIL_H

#include "base/json.h"
#include "nibble/train.h"

typedef struct nbt_setting {
    const char *key, *value;
} nbt_setting;

/* A recipe of pairs; a NULL key ends the list. */
NBT_UNUSED static nb_recipe *nbt_recipe(const nbt_setting *s)
{
    nb_error err = {0};
    nb_recipe *r;
    NBT_OK(nb_recipe_new(&r, &err));
    for (; s->key; s++)
        if (s->value)
            NBT_OK(nb_recipe_set(r, s->key, s->value, &err));
    return r;
}

/* Lines of a JSONL file in `arena`. */
typedef struct nbt_lines {
    nbi_json *v[4096];
    size_t n;
} nbt_lines;

NBT_UNUSED static void nbt_read_lines(nbt_lines *l, nbi_arena *arena, const char *dir,
                                      const char *name)
{
    nb_error err = {0};
    char *path = nbt_join(dir, name), *text = nbt_read(path, NULL);
    l->n = 0;
    for (char *s = text; *s;) {
        size_t n = strcspn(s, "\n");
        assert_true(l->n < sizeof l->v / sizeof *l->v);
        NBT_OK(nbi_json_parse(arena, name, s, n, &l->v[l->n++], &err));
        assert_true(s[n] == '\n');
        s += n + 1;
    }
    nbi_free(text);
    nbi_free(path);
}

NBT_UNUSED static double nbt_number(const nbi_json *obj, const char *key)
{
    double v = NAN;
    const nbi_json *e = nbi_json_get(obj, key);
    return e && nbi_json_to_f64(e, &v) ? v : NAN;
}

#endif
