/* SPDX-License-Identifier: MIT */
#include "train/answers.h"

#include <math.h>
#include "base/fail.h"

nbi_question nbi_question_of(const nb_example *e)
{
    nbi_question q = {.end = e->n};
    while (q.end > 0 && e->labels[q.end - 1] == NB_LABEL_IGNORE)
        q.end--;
    for (q.begin = q.end; q.begin > 0 && e->labels[q.begin - 1] != NB_LABEL_IGNORE;)
        q.begin--;
    return q;
}

void nbi_scored_free(nbi_scored *s)
{
    nb_answer_free(&s->answer);
}

nb_status nbi_wanted_text(const nb_tokenizer *tok, const nb_example *e, char **text, size_t *len,
                          nb_error *err)
{
    const nbi_question q = nbi_question_of(e);
    return nb_tokenizer_decode(tok, e->ids + q.begin, (size_t)(q.end - q.begin), true, text, len,
                               err);
}

nb_status nbi_score_row(nb_asker *asker, const nb_example *e, const char *wanted, size_t wanted_len,
                        const nbi_criteria *by, nbi_scored *out, nb_error *err)
{
    const nbi_question q = nbi_question_of(e);
    nbi_regex_run run = {0};
    size_t begin, end;
    *out = (nbi_scored){0};
    NBI_TRY(nb_asker_ask(asker, e->ids, (size_t)q.begin, &out->answer, err));
    const char *text = out->answer.text;
    const size_t len = out->answer.len;
    out->exact = nbi_exact_match(text, len, wanted, wanted_len);
    nb_status st = nbi_rouge_of(text, len, wanted, wanted_len, &out->rouge, err);
    if (st == NB_OK)
        st = nbi_is_json(text, len, &out->json, err);
    out->markers = nbi_markers_in(by->markers, text);
    if (st == NB_OK && by->pattern)
        st = nbi_regex_find(by->pattern, &run, text, len, 0, &out->matches, &begin, &end, err);
    nbi_regex_run_free(&run);
    if (st != NB_OK)
        nbi_scored_free(out);
    return st;
}

void nbi_scores_add(nb_answer_scores *sum, const nbi_scored *s)
{
    sum->rows++;
    sum->exact += s->exact;
    sum->rouge1 += s->rouge.rouge1;
    sum->rouge2 += s->rouge.rouge2;
    sum->rougel += s->rouge.rougel;
    sum->json += s->json;
    sum->matches += s->matches;
    sum->markers += s->markers;
    sum->stopped += s->answer.stopped;
    sum->seconds += s->answer.seconds;
    sum->tokens += (int64_t)s->answer.n;
}

void nbi_scores_finish(nb_answer_scores *sum, bool has_pattern)
{
    double *means[] = {&sum->exact, &sum->rouge1,  &sum->rouge2,  &sum->rougel,
                       &sum->json,  &sum->matches, &sum->markers, &sum->stopped};
    for (size_t i = 0; i < sizeof(means) / sizeof(*means); i++)
        *means[i] /= sum->rows > 0 ? (double)sum->rows : 1;
    if (!has_pattern)
        sum->matches = NAN;
}
