/* SPDX-License-Identifier: MIT */
#include "train/samples.h"

#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "data/prompt.h"
#include "train/trainer.h"

#define SAMPLES_FILE "samples.jsonl"
#define FILE_MAX ((size_t)64 << 20)

/* ---- the prompts ---- */

static nb_data_config layout(const nbi_run *run)
{
    nb_data_config c = run->r->data_config;
    c.format = run->data->format;
    return c;
}

/* In the list before it is encoded, so that it is freed in any case. NULL: no memory. */
static nbi_sample *add(nbi_run *run, const char *text, size_t len, nb_error *err)
{
    nbi_sample s = {.prompt = nbi_strndup(NBI_MEM_OTHER, text, len)};
    if (s.prompt && nbi_array_push(&run->samples.v, s))
        return &run->samples.v.v[run->samples.v.n - 1];
    nbi_free(s.prompt);
    nbi_fail_nomem(err, "sample_prompts", len);
    return NULL;
}

/* Rows of finished tokens have no layout that a question could take. */
static nb_status add_question(nbi_run *run, const char *text, size_t len, nb_error *err)
{
    const nb_data_config c = layout(run);
    nbi_sample *s = add(run, text, len, err);
    if (!s)
        return NB_NOMEM;
    nb_status st = c.format == NB_DATA_TOKENIZED
                       ? nb_prompt_of_text(run->parts.tok, text, len, c.add_special_tokens, &s->ids,
                                           &s->n, err)
                       : nb_prompt_of_question(&c, run->parts.tok, s->prompt, &s->ids, &s->n, err);
    return st == NB_OK ? st : nbi_fail_prefix(err, st, "sample_prompts");
}

/* A line of a .jsonl file is a row of data, one of any other file a question. */
static nb_status add_line(nbi_run *run, const char *path, int64_t number, const char *line,
                          size_t len, nb_error *err)
{
    const nb_data_config c = layout(run);
    if (len == 0)
        return NB_OK;
    if (!nbi_ends_with(path, ".jsonl"))
        return add_question(run, line, len, err);
    nbi_sample *s = add(run, line, len, err);
    if (!s)
        return NB_NOMEM;
    return nb_prompt_of_row(&c, run->parts.tok, path, number, line, len, &s->ids, &s->n, err);
}

static nb_status read_file(nbi_run *run, const char *path, nb_error *err)
{
    char *text;
    size_t n;
    int64_t number = 0;
    NBI_TRY(nbi_read_file(path, FILE_MAX, &text, &n, err));
    nb_status st = NB_OK;
    for (const char *s = text; st == NB_OK && *s;) {
        size_t len = strcspn(s, "\n");
        st = add_line(run, path, ++number, s, len - (len > 0 && s[len - 1] == '\r'), err);
        s += len + (s[len] == '\n');
    }
    nbi_free(text);
    return st;
}

nb_status nbi_samples_read(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    if (r->sample_prompts.n == 0)
        return NB_OK;
    if (!run->parts.tok)
        return nbi_fail(err, NB_CONFIG,
                        "sample_prompts: %s has no tokenizer.json; name a tokenizer, or leave the "
                        "key out",
                        run->parts.dir);
    if (r->sample_prompts.file)
        return read_file(run, r->sample_prompts.v[0], err);
    for (size_t i = 0; i < r->sample_prompts.n; i++)
        NBI_TRY(add_question(run, r->sample_prompts.v[i], strlen(r->sample_prompts.v[i]), err));
    return NB_OK;
}

static int64_t longest(const nbi_samples *s)
{
    size_t most = 0;
    for (size_t i = 0; i < s->v.n; i++)
        most = s->v.v[i].n > most ? s->v.v[i].n : most;
    return (int64_t)most;
}

int64_t nbi_samples_tokens(const nbi_run *run)
{
    return run->samples.v.n ? longest(&run->samples) + run->r->sample_max_new_tokens : 0;
}

/* ---- the file ---- */

/* Lines of steps up to the one that the run goes on from. */
static void take_over(nbi_run *run, const char *text)
{
    for (const char *s = text; *s;) {
        size_t len = strcspn(s, "\n");
        long long step;
        if (s[len] == '\n' && sscanf(s, "{\"step\": %lld,", &step) == 1 && step <= run->at.step)
            nbi_strbuf_add(&run->samples.lines, s, len + 1);
        s += len + (s[len] == '\n');
    }
}

static char *file_path(const nbi_run *run)
{
    return nbi_path_join(run->r->output_dir, SAMPLES_FILE);
}

/* A file that is not there or cannot be read gives no lines; that is no failure. */
static void read_lines(nbi_run *run)
{
    char *path = file_path(run), *text;
    size_t n;
    if (path && nbi_path_exists(path) && nbi_read_file(path, FILE_MAX, &text, &n, NULL) == NB_OK) {
        take_over(run, text);
        nbi_free(text);
    }
    nbi_free(path);
}

static void write_lines(nbi_run *run)
{
    nbi_samples *s = &run->samples;
    nb_error why = {NB_OK, "out of memory"};
    char *path = file_path(run);
    bool good =
        path && !s->lines.failed && nbi_write_file(path, s->lines.s, s->lines.n, &why) == NB_OK;
    if (!good && !s->said)
        nbi_log(run->log, NB_LOG_WARN, SAMPLES_FILE " is not written: %s; the training goes on",
                why.message);
    s->said = s->said || !good;
    nbi_free(path);
}

nb_status nbi_samples_open(nbi_run *run, nb_error *err)
{
    const nb_asker_options o = {.longest_prompt = longest(&run->samples),
                                .max_new_tokens = run->r->sample_max_new_tokens,
                                .stop = run->hooks->stop};
    if (run->samples.v.n == 0)
        return NB_OK;
    if (run->at.step > 0)
        read_lines(run);
    return nb_asker_open(&run->samples.asker, run->parts.model, run->parts.tok, &o, err);
}

/* ---- answering ---- */

static void add_answer(nbi_run *run, const nbi_sample *s, const nb_answer *a)
{
    nbi_json_writer w;
    nbi_json_writer_init(&w, &run->samples.lines, 0, true);
    nbi_jw_object(&w);
    nbi_jw_member_i64(&w, "step", run->at.step);
    nbi_jw_member_f64(&w, "epoch", run->at.epoch_done);
    nbi_jw_member_str(&w, "prompt", s->prompt);
    nbi_jw_member_strn(&w, "text", a->text, a->len);
    nbi_jw_member_i64(&w, "tokens", (int64_t)a->n);
    nbi_jw_member_bool(&w, "stopped", a->stopped);
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(&run->samples.lines, '\n');
}

static void say(const nbi_run *run, const nbi_sample *s, const nb_answer *a)
{
    char prompt[60], text[120];
    nbi_fail_clean(prompt, sizeof(prompt), s->prompt);
    nbi_fail_clean(text, sizeof(text), a->text);
    nbi_log(run->log, NB_LOG_INFO, "sample at step %lld: \"%s\" -> \"%s\"", (long long)run->at.step,
            prompt, text);
}

static nb_status ask_all(nbi_run *run, nb_error *err)
{
    for (size_t i = 0; i < run->samples.v.n; i++) {
        const nbi_sample *s = &run->samples.v.v[i];
        nb_answer a;
        NBI_TRY(nb_asker_ask(run->samples.asker, s->ids, s->n, &a, err));
        add_answer(run, s, &a);
        say(run, s, &a);
        nb_answer_free(&a);
    }
    return NB_OK;
}

nb_status nbi_run_sample(nbi_run *run, nb_error *err)
{
    nbi_samples *s = &run->samples;
    const double begin = nbi_clock();
    const size_t before = s->lines.n;
    if (s->v.n == 0 || (run->at.last_sample == run->at.step && !run->best_loaded))
        return NB_OK;
    nb_status st = ask_all(run, err);
    if (st == NB_OK) {
        run->at.last_sample = run->at.step;
        write_lines(run);
    } else if (s->lines.s) {
        s->lines.n = before; /* asked again as a whole */
        s->lines.s[before] = 0;
    }
    run->aside += nbi_clock() - begin;
    return st == NB_OK ? st : nbi_fail_prefix(err, st, "sample_prompts");
}

void nbi_samples_free(nbi_samples *s)
{
    nb_asker_close(&s->asker);
    for (size_t i = 0; i < s->v.n; i++) {
        nbi_free(s->v.v[i].prompt);
        nbi_free(s->v.v[i].ids);
    }
    nbi_array_free(&s->v);
    nbi_strbuf_free(&s->lines);
}
