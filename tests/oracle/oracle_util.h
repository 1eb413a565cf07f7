/* SPDX-License-Identifier: MIT */
/* Reading reference data and comparing with it. Include after cmocka.h and testutil.h. */
#ifndef ORACLE_UTIL_H
#define ORACLE_UTIL_H

#include <dirent.h>
#include "base/json.h"
#include "format/safetensors.h"
#include "generate/session.h"

/* Values of a tensor as f32 and integers as int32; NULL when there is none. free() them. */
NBT_UNUSED static float *oracle_f32(const nb_safetensors *st, const char *name, int64_t *n)
{
    const nb_st_tensor *t = st ? nb_safetensors_find(st, name) : NULL;
    *n = 0;
    if (!t)
        return NULL;
    *n = 1;
    for (int i = 0; i < t->rank; i++)
        *n *= t->shape[i];
    float *v = malloc((size_t)*n * sizeof *v + 1);
    nb_st_to_f32(t, 0, *n, v);
    return v;
}

NBT_UNUSED static int32_t *oracle_ids(const nb_safetensors *st, const char *name, int64_t *n)
{
    const nb_st_tensor *t = st ? nb_safetensors_find(st, name) : NULL;
    *n = 0;
    if (!t)
        return NULL;
    *n = 1;
    for (int i = 0; i < t->rank; i++)
        *n *= t->shape[i];
    int32_t *v = malloc((size_t)*n * sizeof *v + 1);
    for (int64_t i = 0; i < *n; i++)
        v[i] = (int32_t)nb_st_value(t, i);
    return v;
}

NBT_UNUSED static int32_t *oracle_json_ids(const nbi_json *array, int64_t *n)
{
    *n = array ? (int64_t)array->n : 0;
    int32_t *v = malloc((size_t)*n * sizeof *v + 1);
    int64_t i = 0, x = 0;
    for (const nbi_json *e = array ? array->first : NULL; e; e = e->next) {
        assert_true(nbi_json_to_i64(e, &x));
        v[i++] = (int32_t)x;
    }
    return v;
}

/* NULL when the file is missing. */
NBT_UNUSED static nb_safetensors *oracle_open(const char *dir, const char *name)
{
    nb_error err = {0};
    nb_safetensors *st = NULL;
    char *path = nbt_join(dir, name);
    if (access(path, F_OK) == 0)
        NBT_OK(nb_safetensors_open(&st, path, &err));
    nbi_free(path);
    return st;
}

NBT_UNUSED static nbi_json *oracle_json(nbi_arena *arena, const char *dir, const char *name)
{
    nb_error err = {0};
    nbi_json *doc = NULL;
    char *path = nbt_join(dir, name);
    if (access(path, F_OK) == 0)
        NBT_OK(nbi_json_parse_file(arena, path, (size_t)1 << 28, &doc, &err));
    nbi_free(path);
    return doc;
}

NBT_UNUSED static double oracle_number(const nbi_json *obj, const char *key, double otherwise)
{
    double v = otherwise;
    const nbi_json *e = nbi_json_get(obj, key);
    return e && nbi_json_to_f64(e, &v) ? v : otherwise;
}

/* Names of the folders in `dir`, sorted. */
NBT_UNUSED static int oracle_folders(const char *dir, char names[][256], int max)
{
    int n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    for (struct dirent *e; n < max && (e = readdir(d));) {
        char *path = nbt_join(dir, e->d_name), *config = nbt_join(path, "config.json");
        if (e->d_name[0] != '.' && access(config, F_OK) == 0)
            snprintf(names[n++], 256, "%s", e->d_name);
        nbi_free(path);
        nbi_free(config);
    }
    closedir(d);
    qsort(names, (size_t)n, 256, (int (*)(const void *, const void *))strcmp);
    return n;
}

/* The larger one, NaN before all. */
NBT_UNUSED static double oracle_worse(double a, double b)
{
    return isnan(b) || b > a ? b : a;
}

/* One figure of a case (negative: there was nothing to compare with): adds " what 1.2e-06" to the
 * line; false when it is too large or NaN. */
typedef struct oracle_line {
    char text[2000];
    bool bad;
} oracle_line;

NBT_UNUSED static void oracle_figure(oracle_line *l, const char *what, double measured,
                                     double allowed)
{
    size_t n = strlen(l->text);
    bool bad = !(measured <= allowed);
    if (measured < 0.0)
        return;
    snprintf(l->text + n, sizeof l->text - n, "  %s %.1e%s", what, measured,
             bad ? " TOO LARGE" : "");
    l->bad = l->bad || bad;
}

NBT_UNUSED static void oracle_count(oracle_line *l, const char *what, int64_t equal, int64_t of)
{
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "  %s %lld/%lld%s", what, (long long)equal,
             (long long)of, equal == of ? "" : " DIFFERENT");
    l->bad = l->bad || equal != of;
}

/* Number of leading new tokens that agree with expected[n] when the prompt is continued greedily.
 */
NBT_UNUSED static int64_t oracle_greedy(nb_model *m, const int32_t *prompt, int64_t n_prompt,
                                        const int32_t *expected, int64_t n)
{
    nb_error err = {0};
    nb_session *s;
    nb_session_options o = {.max_new_tokens = n, .ignore_eos = true};
    nb_finish finish;
    size_t made = 0;
    int64_t equal = 0;
    int32_t *ids = malloc((size_t)n * sizeof *ids + 1);
    nb_sampler_options_default(&o.sampler);
    NBT_OK(nb_session_open(&s, m, n_prompt + n, &err));
    NBT_OK(nb_session_feed(s, prompt, (size_t)n_prompt, NULL, &err));
    NBT_OK(nb_session_generate(s, &o, ids, &made, &finish, &err));
    while (equal < (int64_t)made && equal < n && ids[equal] == expected[equal])
        equal++;
    nb_session_close(&s);
    free(ids);
    return equal;
}

#endif
