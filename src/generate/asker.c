/* SPDX-License-Identifier: MIT */
#include "generate/asker.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"
#include "generate/session.h"

struct nb_asker {
    const nb_tokenizer *tok;
    nb_session *session;
    nb_asker_options o;
    int32_t eos;
    int32_t *ids; /* [max_new_tokens] */
};

nb_status nb_asker_open(nb_asker **out, nb_model *m, const nb_tokenizer *tok,
                        const nb_asker_options *o, nb_error *err)
{
    nb_asker *a = nbi_calloc(NBI_MEM_KV, 1, sizeof(*a));
    *out = NULL;
    if (!a)
        return nbi_fail_nomem(err, "generation", sizeof(*a));
    *a = (nb_asker){.tok = tok, .o = *o, .eos = nb_tokenizer_eos(tok)};
    a->ids = nbi_calloc(NBI_MEM_KV, (size_t)o->max_new_tokens, sizeof(*a->ids));
    nb_status st = a->ids
                       ? nb_session_open(&a->session, m, o->longest_prompt + o->max_new_tokens, err)
                       : nbi_fail_nomem(err, "generation", (size_t)o->max_new_tokens * 4);
    if (st == NB_OK)
        *out = a;
    else
        nb_asker_close(&a);
    return st;
}

void nb_asker_close(nb_asker **out)
{
    nb_asker *a = *out;
    if (!a)
        return;
    nb_session_close(&a->session);
    nbi_free(a->ids);
    nbi_free(a);
    *out = NULL;
}

static nb_status generate(nb_asker *a, nb_answer *answer, nb_error *err)
{
    nb_finish finish;
    nb_session_options so = {.max_new_tokens = a->o.max_new_tokens,
                             .stop_ids = &a->eos,
                             .n_stop = a->eos >= 0,
                             .interrupt = a->o.stop};
    nb_sampler_options_default(&so.sampler);
    NBI_TRY(nb_session_generate(a->session, &so, a->ids, &answer->n, &finish, err));
    if (finish == NB_FINISH_INTERRUPTED)
        return nbi_fail(err, NB_INTERRUPTED, "interrupted while generating");
    answer->stopped = finish == NB_FINISH_STOP;
    return nb_tokenizer_decode(a->tok, a->ids, answer->n, true, &answer->text, &answer->len, err);
}

nb_status nb_asker_ask(nb_asker *a, const int32_t *ids, size_t n, nb_answer *answer, nb_error *err)
{
    const double begin = nbi_clock();
    *answer = (nb_answer){0};
    if ((int64_t)n > a->o.longest_prompt)
        return nbi_fail(err, NB_LIMIT, "a prompt of %zu tokens, room is for %lld", n,
                        (long long)a->o.longest_prompt);
    nb_session_rewind(a->session, 0); /* the model may have changed */
    nb_status st = nb_session_feed(a->session, ids, n, a->o.stop, err);
    if (st == NB_OK)
        st = generate(a, answer, err);
    if (st != NB_OK)
        nb_answer_free(answer);
    answer->seconds = nbi_clock() - begin;
    return st;
}

void nb_answer_free(nb_answer *answer)
{
    nbi_free(answer->text);
    *answer = (nb_answer){0};
}
