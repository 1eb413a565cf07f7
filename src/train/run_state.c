/* SPDX-License-Identifier: MIT */
#include "train/run_state.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/recipe_keys.h"

#define FORMAT 1
#define MAX_BYTES ((size_t)16 << 20)

/* ---- writing ---- */

static void put_I64(nbi_json_writer *w, const char *name, int64_t v)
{
    nbi_jw_member_i64(w, name, v);
}

static void put_F64(nbi_json_writer *w, const char *name, double v)
{
    nbi_jw_member_f64(w, name, v);
}

static void put_BOOL(nbi_json_writer *w, const char *name, bool v)
{
    nbi_jw_member_bool(w, name, v);
}

static void write_progress(nbi_json_writer *w, const nbi_progress *at)
{
    nbi_jw_key(w, "progress");
    nbi_jw_object(w);
#define PUT(type, kind, name) put_##kind(w, #name, at->name);
    NBI_PROGRESS_MAP(PUT)
#undef PUT
    nbi_jw_object_end(w);
}

static void write_results(nbi_json_writer *w, const nb_train_result *r)
{
    nbi_jw_key(w, "results");
    nbi_jw_object(w);
    put_F64(w, "first_loss", r->first_loss);
    put_F64(w, "last_loss", r->last_loss);
    put_F64(w, "eval_loss_before", r->eval_loss_before);
    put_F64(w, "eval_loss_after", r->eval_loss_after);
    nbi_jw_object_end(w);
}

static void write_identity(nbi_json_writer *w, const nbi_identity *id)
{
    nbi_jw_key(w, "identity");
    nbi_jw_object(w);
#define PUT(name, text) nbi_jw_member_str(w, #name, id->name);
    NBI_IDENTITY_MAP(PUT)
#undef PUT
    nbi_jw_object_end(w);
}

static void write_machine(nbi_json_writer *w, const nbi_run *run)
{
    nbi_jw_key(w, "optimizer");
    nbi_jw_object(w);
    nbi_jw_member_str(w, "name", run->r->optim);
    nbi_jw_member_i64(w, "step", run->optim->step);
    nbi_jw_object_end(w);
    nbi_jw_member_str(w, "kernels", run->parts.model->exec.k.qmatmul_variant);
    nbi_jw_key(w, "forced");
    nbi_jw_array(w);
    for (size_t i = 0; i < run->forced.n; i++)
        nbi_jw_str(w, run->forced.v[i]);
    nbi_jw_array_end(w);
}

static nb_status write_all(const nbi_run *run, nbi_strbuf *b, nb_error *err)
{
    char *settings;
    nbi_json_writer w;
    NBI_TRY(nb_recipe_json(run->r, &settings, err));
    nbi_json_writer_init(&w, b, 1, true);
    nbi_jw_object(&w);
    nbi_jw_member_i64(&w, "format", FORMAT);
    nbi_jw_member_str(&w, "nibble", nb_version());
    nbi_jw_member_str(&w, "run", run->run_id);
    write_progress(&w, &run->at);
    nbi_jw_member_i64(&w, "total_steps", run->total);
    nbi_jw_member_i64(&w, "warmup_steps", run->warmup);
    nbi_jw_member_i64(&w, "rows", (int64_t)run->data->n);
    nbi_jw_member_i64(&w, "tokens", run->data->total_tokens);
    write_results(&w, &run->result);
    write_identity(&w, &run->identity);
    write_machine(&w, run);
    nbi_jw_key(&w, "settings");
    nbi_jw_raw(&w, settings);
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(b, '\n');
    nbi_free(settings);
    return nbi_strbuf_check(b, err);
}

static nb_status state_path(const char *dir, char **path, nb_error *err)
{
    *path = nbi_path_join(dir, NBI_RUN_STATE);
    return *path ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

nb_status nbi_run_state_write(const nbi_run *run, const char *dir, nb_error *err)
{
    nbi_strbuf b = {0};
    char *path;
    NBI_TRY(state_path(dir, &path, err));
    nb_status st = write_all(run, &b, err);
    if (st == NB_OK)
        st = nbi_write_file(path, b.s, b.n, err);
    nbi_strbuf_free(&b);
    nbi_free(path);
    return st;
}

/* ---- reading ---- */

nb_status nbi_run_state_read(const char *dir, nbi_arena *arena, nbi_json **state, nb_error *err)
{
    char *path;
    int64_t format = 0;
    NBI_TRY(state_path(dir, &path, err));
    nb_status st = nbi_json_parse_file(arena, path, MAX_BYTES, state, err);
    if (st == NB_OK && (*state)->type != NBI_JT_OBJECT)
        st = nbi_fail(err, NB_FORMAT, "%s: is not a JSON object", path);
    if (st == NB_OK)
        st = nbi_json_get_i64(*state, path, "format", 0, INT64_MAX, &format, err);
    if (st == NB_OK && format != FORMAT)
        st = nbi_fail(err, NB_UNSUPPORTED,
                      "%s: format %lld, expected %d: made by another version of nibble", path,
                      (long long)format, FORMAT);
    nbi_free(path);
    return st;
}

static bool get_I64(const nbi_json *v, int64_t *out)
{
    return v->type == NBI_JT_NUMBER && nbi_json_to_i64(v, out);
}

/* Also what is not finite, which the writer puts as texts. */
static bool get_F64(const nbi_json *v, double *out)
{
    if (v->type == NBI_JT_NUMBER)
        return nbi_json_to_f64(v, out);
    if (nbi_json_equals(v, "NaN"))
        *out = NAN;
    else if (nbi_json_equals(v, "Infinity"))
        *out = INFINITY;
    else if (nbi_json_equals(v, "-Infinity"))
        *out = -INFINITY;
    else
        return false;
    return true;
}

static bool get_BOOL(const nbi_json *v, bool *out)
{
    return v->type == NBI_JT_BOOL && nbi_json_to_bool(v, out);
}

static nb_status lacks(const char *name, nb_error *err)
{
    return nbi_fail(err, NB_FORMAT, NBI_RUN_STATE ": \"%s\" is missing or not what it should be",
                    name);
}

nb_status nbi_run_state_progress(const nbi_json *state, nbi_progress *at, nb_error *err)
{
    const nbi_json *p = nbi_json_get(state, "progress"), *v;
#define GET(type, kind, name)                                                                      \
    v = nbi_json_get(p, #name);                                                                    \
    if (!v || !get_##kind(v, &at->name))                                                           \
        return lacks("progress." #name, err);
    NBI_PROGRESS_MAP(GET)
#undef GET
    return NB_OK;
}

static nb_status restore_results(nb_train_result *r, const nbi_json *results, nb_error *err)
{
    const struct {
        const char *name;
        double *to;
    } all[] = {{"first_loss", &r->first_loss},
               {"last_loss", &r->last_loss},
               {"eval_loss_before", &r->eval_loss_before},
               {"eval_loss_after", &r->eval_loss_after}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const nbi_json *v = nbi_json_get(results, all[i].name);
        if (!v || !get_F64(v, all[i].to))
            return lacks(all[i].name, err);
    }
    return NB_OK;
}

static nb_status restore_forced(nbi_run *run, const nbi_json *forced, nb_error *err)
{
    for (const nbi_json *v = forced ? forced->first : NULL; v; v = v->next) {
        char *copy = v->text ? nbi_strdup(NBI_MEM_OTHER, v->text) : NULL;
        if (!copy || !nbi_array_push(&run->forced, copy)) {
            nbi_free(copy);
            return nbi_fail_nomem(err, "a list of settings", 0);
        }
    }
    return NB_OK;
}

nb_status nbi_run_state_restore(nbi_run *run, const nbi_json *state, nb_error *err)
{
    const nbi_json *o = nbi_json_get(state, "optimizer"), *step = nbi_json_get(o, "step");
    NBI_TRY(nbi_run_state_progress(state, &run->at, err));
    NBI_TRY(restore_results(&run->result, nbi_json_get(state, "results"), err));
    if (!step || !get_I64(step, &run->optim->step))
        return lacks("optimizer.step", err);
    return restore_forced(run, nbi_json_get(state, "forced"), err);
}

const char *nbi_run_state_run(const nbi_json *state)
{
    const nbi_json *v = nbi_json_get(state, "run");
    return v && v->text ? v->text : "";
}

/* ---- what differs ---- */

typedef struct differences {
    nbi_strbuf *out;
    size_t n;
} differences;

static void differ(differences *d, const char *key, const char *was, const char *is)
{
    nbi_strbuf_printf(d->out, "%s%s: was %.80s%s, is %.80s%s", d->n ? "; " : "", key, was,
                      strlen(was) > 80 ? "..." : "", is, strlen(is) > 80 ? "..." : "");
    d->n++;
}

/* Hashes are shown by their first digits. */
static void compare_hash(differences *d, const nbi_json *id, const char *name, const char *text,
                         const char *is)
{
    char was_short[24], is_short[24];
    const nbi_json *v = nbi_json_get(id, name);
    const char *was = v && v->text ? v->text : "";
    if (strcmp(was, is) == 0)
        return;
    snprintf(was_short, sizeof was_short, "%s%.12s", *was ? "sha256 " : "none", was);
    snprintf(is_short, sizeof is_short, "%s%.12s", *is ? "sha256 " : "none", is);
    differ(d, text, was_short, is_short);
}

static void compare_count(differences *d, const nbi_json *state, const char *name, const char *text,
                          int64_t is)
{
    int64_t was = -1;
    char a[24], b[24];
    const nbi_json *v = nbi_json_get(state, name);
    if (v && get_I64(v, &was) && was == is)
        return;
    snprintf(a, sizeof a, "%lld", (long long)was);
    snprintf(b, sizeof b, "%lld", (long long)is);
    differ(d, text, a, b);
}

/* Free to change: where and when things are written (the group "run"), how the machine is used, and
 * what is compared by content or by what follows from it. */
static bool is_free(const nbi_key *k)
{
    static const char *const names[] = {
        "model",
        "revision",
        "tokenizer",
        "data",
        "eval_data",
        "sample_order",
        "init_adapter",
        "adapter",
        "threads",
        "memory_limit",
        "time_budget",
        "quantized_cache",
        "bf16",
        "fp16",
        "compute_dtype",
        "torch_dtype",
        "max_steps",
        "num_train_epochs",
        "warmup_ratio",
        "warmup_steps",
        "gradient_checkpointing",
        "per_device_eval_batch_size",
    };
    if (strcmp(k->group, "run") == 0)
        return true;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(k->name, names[i]) == 0)
            return true;
    return false;
}

/* Both as the writer of settings puts them; a key that the checkpoint does not know was not there
 * when it was made, and had no effect. */
static nb_status compare_value(differences *d, const char *key, const nbi_json *was,
                               const nbi_json *is, nb_error *err)
{
    nbi_strbuf a = {0}, b = {0};
    nbi_json_writer w;
    if (!was)
        return NB_OK;
    nbi_json_writer_init(&w, &a, 0, true);
    nbi_jw_tree(&w, was);
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_tree(&w, is);
    nb_status st = nbi_strbuf_check(&a, err);
    if (st == NB_OK)
        st = nbi_strbuf_check(&b, err);
    if (st == NB_OK && strcmp(a.s, b.s) != 0)
        differ(d, key, a.s, b.s);
    nbi_strbuf_free(&a);
    nbi_strbuf_free(&b);
    return st;
}

static nb_status compare_settings(differences *d, const nbi_run *run, const nbi_json *was,
                                  nb_error *err)
{
    char *text;
    nbi_arena arena;
    nbi_json *is = NULL;
    NBI_TRY(nb_recipe_json(run->r, &text, err));
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse(&arena, "settings", text, strlen(text), &is, err);
    for (const nbi_json *v = st == NB_OK ? is->first : NULL; v && st == NB_OK; v = v->next) {
        int i = nbi_key_index(v->key);
        if (i < 0 || !is_free(&nbi_keys[i]))
            st = compare_value(d, v->key, nbi_json_get(was, v->key), v, err);
    }
    nbi_arena_free(&arena);
    nbi_free(text);
    return st;
}

/* The rates of a schedule depend on its length unless it is constant. */
static void compare_length(differences *d, const nbi_run *run, const nbi_json *state)
{
    const nbi_json *settings = nbi_json_get(state, "settings");
    int64_t was = -1;
    const nbi_json *steps = nbi_json_get(settings, "max_steps");
    if (strncmp(run->r->schedule, "constant", 8) != 0)
        compare_count(d, state, "total_steps", "steps in all (max_steps, num_train_epochs)",
                      run->total);
    compare_count(d, state, "warmup_steps", "warmup_steps", run->warmup);
    if (run->batching.accumulation > 1 && steps && get_I64(steps, &was) &&
        (was > 0) != (run->r->max_steps > 0))
        differ(d, "the run's length", was > 0 ? "max_steps" : "num_train_epochs",
               was > 0 ? "num_train_epochs" : "max_steps");
}

nb_status nbi_run_state_compare(const nbi_run *run, const nbi_json *state, nbi_strbuf *out,
                                size_t *n, nb_error *err)
{
    differences d = {out, 0};
    const nbi_json *id = nbi_json_get(state, "identity");
#define COMPARE(name, text) compare_hash(&d, id, #name, text, run->identity.name);
    NBI_IDENTITY_MAP(COMPARE)
#undef COMPARE
    NBI_TRY(compare_settings(&d, run, nbi_json_get(state, "settings"), err));
    compare_length(&d, run, state);
    if (d.n == 0) /* what else the rows depend on */
        compare_count(&d, state, "rows", "rows of data", (int64_t)run->data->n);
    if (d.n == 0)
        compare_count(&d, state, "tokens", "tokens of data", run->data->total_tokens);
    *n = d.n;
    return nbi_strbuf_check(out, err);
}
