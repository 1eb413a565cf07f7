/* SPDX-License-Identifier: MIT */
/* Row by row: answers with their scores, and one JSON line each. */
#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "base/json.h"
#include "base/log.h"
#include "base/safefile.h"
#include "train/answers.h"
#include "train/evaluation.h"
#include "train/train_log.h"

typedef struct examiner {
    nbi_evaluation *e;
    nb_asker *asker;
    nbi_regex *pattern;
    nbi_markers markers;
    nbi_safefile file;
    nbi_strbuf line;
    int64_t asked; /* rows with a question so far */
} examiner;

static int64_t longest_prompt(const nb_dataset *d)
{
    int64_t most = 0;
    for (size_t i = 0; i < d->n; i++) {
        const nbi_question q = nbi_question_of(&d->rows[i]);
        most = q.begin > most ? q.begin : most;
    }
    return most;
}

static nb_status open_answers(examiner *x, nb_error *err)
{
    const nbi_evaluation *e = x->e;
    const nb_eval_options *o = e->o;
    if (!e->parts.tok)
        return nbi_fail(err, NB_CONFIG, "%s has no tokenizer.json: answers cannot be read",
                        e->parts.dir);
    if (o->pattern)
        NBI_TRY(nbi_regex_compile(&x->pattern, o->pattern, strlen(o->pattern), "pattern", err));
    nb_data_config layout = e->layout;
    layout.format = e->data->format;
    NBI_TRY(nbi_markers_of(&layout, &x->markers, err));
    const nb_asker_options a = {.longest_prompt = longest_prompt(e->data),
                                .max_new_tokens = o->max_new_tokens,
                                .stop = e->hooks ? e->hooks->stop : NULL};
    if (a.longest_prompt == 0)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: every token of the rows is trained, so there is no question to "
                        "answer; choose train_on: completion or a format with answers",
                        e->data->path);
    return nb_asker_open(&x->asker, e->parts.model, e->parts.tok, &a, err);
}

/* What one side made of row i; `s` may be NULL. */
static void write_side(const examiner *x, nbi_json_writer *w, int side, size_t i,
                       const nbi_scored *s)
{
    const nbi_row_loss *l = &x->e->rows[side][i];
    const double n = l->tokens > 0 ? (double)l->tokens : NAN;
    nbi_jw_member_f64(w, "loss", l->sum / n);
    nbi_jw_member_f64(w, "token_accuracy", (double)l->hits / n);
    if (!s)
        return;
    nbi_jw_member_strn(w, "answer", s->answer.text, s->answer.len);
    nbi_jw_member_bool(w, "exact", s->exact);
    nbi_jw_member_f64(w, "rouge1", s->rouge.rouge1);
    nbi_jw_member_f64(w, "rouge2", s->rouge.rouge2);
    nbi_jw_member_f64(w, "rougel", s->rouge.rougel);
    nbi_jw_member_bool(w, "json", s->json);
    if (x->pattern)
        nbi_jw_member_bool(w, "matches", s->matches);
    nbi_jw_member_bool(w, "markers", s->markers);
    nbi_jw_member_bool(w, "stopped", s->answer.stopped);
    nbi_jw_member_i64(w, "new_tokens", (int64_t)s->answer.n);
}

/* The question as text, and the wanted answer. */
static nb_status write_question(examiner *x, nbi_json_writer *w, const nb_example *row,
                                const char *wanted, size_t wanted_len, nb_error *err)
{
    char *text;
    size_t len;
    NBI_TRY(nb_tokenizer_decode(x->e->parts.tok, row->ids, (size_t)nbi_question_of(row).begin, true,
                                &text, &len, err));
    nbi_jw_member_strn(w, "question", text, len);
    nbi_jw_member_strn(w, "wanted", wanted, wanted_len);
    nbi_free(text);
    return NB_OK;
}

/* `s`: of all sides, NULL when the row was not asked. */
static nb_status write_row(examiner *x, size_t i, const nbi_scored *s, const char *wanted,
                           size_t wanted_len, nb_error *err)
{
    const nb_example *row = &x->e->data->rows[i];
    nbi_json_writer w;
    nbi_strbuf_clear(&x->line);
    nbi_json_writer_init(&w, &x->line, 0, true);
    nbi_jw_object(&w);
    nbi_jw_member_i64(&w, "row", row->row);
    nbi_jw_member_i64(&w, "line", row->line);
    nbi_jw_member_i64(&w, "tokens", row->n_trained);
    if (s)
        NBI_TRY(write_question(x, &w, row, wanted, wanted_len, err));
    write_side(x, &w, NBI_WITH, i, s);
    if (x->e->sides > 1) {
        nbi_jw_key(&w, "base");
        nbi_jw_object(&w);
        write_side(x, &w, NBI_BASE, i, s ? s + 1 : NULL);
        nbi_jw_object_end(&w);
    }
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(&x->line, '\n');
    NBI_TRY(nbi_strbuf_check(&x->line, err));
    return nbi_safefile_write(&x->file, x->line.s, x->line.n, err);
}

static nb_status ask_row(examiner *x, size_t i, nbi_scored *s, char **wanted, size_t *wanted_len,
                         nb_error *err)
{
    nbi_evaluation *e = x->e;
    const nb_example *row = &e->data->rows[i];
    NBI_TRY(nbi_wanted_text(e->parts.tok, row, wanted, wanted_len, err));
    x->asked++;
    const nbi_criteria by = {x->pattern, &x->markers};
    for (int side = 0; side < e->sides; side++) {
        nbi_assembly_use_adapter(&e->parts, side == NBI_WITH);
        nb_status st = nbi_score_row(x->asker, row, *wanted, *wanted_len, &by, &s[side], err);
        nbi_assembly_use_adapter(&e->parts, true);
        if (st != NB_OK)
            return nbi_fail_prefix(err, st, "%s:%lld", e->data->path, (long long)row->line);
        nbi_scores_add(&e->report[side].answers, &s[side]);
    }
    return NB_OK;
}

static nb_status one_row(examiner *x, size_t i, nb_error *err)
{
    const nb_eval_options *o = x->e->o;
    nbi_scored s[NBI_SIDES] = {0};
    char *wanted = NULL;
    size_t wanted_len = 0;
    const bool ask = o->answers && (o->answer_rows == 0 || x->asked < o->answer_rows) &&
                     nbi_question_of(&x->e->data->rows[i]).begin > 0;
    nb_status st = ask ? ask_row(x, i, s, &wanted, &wanted_len, err) : NB_OK;
    if (st == NB_OK && o->examples)
        st = write_row(x, i, ask ? s : NULL, wanted, wanted_len, err);
    for (int side = 0; side < NBI_SIDES; side++)
        nbi_scored_free(&s[side]);
    nbi_free(wanted);
    return st;
}

static nb_status all_rows(examiner *x, nb_error *err)
{
    const nbi_evaluation *e = x->e;
    const nb_eval_options *o = e->o;
    if (o->answers)
        NBI_TRY(open_answers(x, err));
    if (o->examples)
        NBI_TRY(nbi_safefile_create(&x->file, o->examples, err));
    for (size_t i = 0; i < e->data->n; i++)
        NBI_TRY(one_row(x, i, err));
    if (o->answers && o->answer_rows == 0 && x->asked < (int64_t)e->data->n)
        nbi_log(e->hooks ? e->hooks->log : NULL, NB_LOG_NOTE,
                "%lld of %zu rows have no question before their answer and were not answered",
                (long long)e->data->n - (long long)x->asked, e->data->n);
    return o->examples ? nbi_safefile_commit(&x->file, err) : NB_OK;
}

/* What tutorials advise when a tuned model has lost what its base knew. */
static void advise(const nbi_evaluation *e)
{
    const nb_eval_report *with = &e->report[NBI_WITH], *base = &e->report[NBI_BASE];
    const bool worse = with->loss.loss > base->loss.loss;
    const bool markers = with->answers.markers > base->answers.markers;
    if (e->sides < 2 || !(worse || markers))
        return;
    nbi_log(
        e->hooks ? e->hooks->log : NULL, NB_LOG_NOTE,
        "the adapter has forgotten: %s%s%s. Remedies: a lower learning_rate (2e-5 for full "
        "fine-tuning), fewer epochs (3 to 5), watch the validation loss and stop when it rises, "
        "add general examples to the data",
        worse ? "its loss on these rows is above the base's" : "", worse && markers ? ", and " : "",
        markers ? "more of its answers hold the layout's own markers" : "");
}

nb_status nbi_eval_examples(nbi_evaluation *e, nb_error *err)
{
    examiner x = {.e = e, .file = {.fd = -1}};
    nb_status st = all_rows(&x, err);
    if (st != NB_OK)
        nbi_safefile_abort(&x.file);
    for (int side = 0; side < e->sides; side++)
        nbi_scores_finish(&e->report[side].answers, x.pattern != NULL);
    if (st == NB_OK && e->o->answers)
        advise(e);
    nb_asker_close(&x.asker);
    nbi_regex_free(x.pattern);
    nbi_markers_free(&x.markers);
    nbi_strbuf_free(&x.line);
    return st;
}
