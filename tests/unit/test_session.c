/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "generate/session.h"
#include "grad/tiny_model.h"

enum { PROMPT = 300, NEW = 12 };

static nb_session_options greedy(void)
{
    nb_session_options o = {.max_new_tokens = NEW};
    nb_sampler_options_default(&o.sampler);
    return o;
}

/* Greedy continuation by a full pass over all tokens for each new one. */
static void naive(nb_model *m, const int32_t *prompt, int64_t n, int32_t *out)
{
    nb_error err = {0};
    nb_workspace *ws;
    int64_t v = m->config.vocab;
    int32_t ids[PROMPT + NEW], positions[PROMPT + NEW];
    float *logits = malloc((size_t)v * sizeof *logits);
    NBT_OK(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = n + NEW}, &err));
    for (int64_t i = 0; i < n + NEW; i++)
        positions[i] = (int32_t)i;
    memcpy(ids, prompt, (size_t)n * sizeof *ids);
    for (int64_t k = 0; k < NEW; k++) {
        int64_t starts[2] = {0, n + k};
        nb_batch b = {
            .m = n + k, .ids = ids, .positions = positions, .n_segments = 1, .starts = starts};
        nb_model_forward(m, ws, &b, NULL, false);
        nb_model_logits(m, ws, n + k - 1, 1, logits);
        int32_t best = 0;
        for (int32_t i = 1; i < v; i++)
            best = logits[i] > logits[best] ? i : best;
        out[k] = ids[n + k] = best;
    }
    free(logits);
    nb_workspace_close(&ws);
}

static void greedy_equals_full_passes(void **state)
{
    (void)state;
    const int64_t length[] = {PROMPT};
    for (size_t i = 0; i < tiny_n_specs; i++) {
        nb_error err = {0};
        if (tiny_specs[i].rope == NB_ROPE_DYNAMIC)
            continue; /* keys in the cache keep the frequencies they were made with */
        nb_model *m = tiny_open(&tiny_specs[i], 2);
        tiny_batch t = tiny_batch_open(m, length, 1, 9);
        int32_t want[NEW], have[NEW];
        size_t n;
        nb_finish finish;
        nb_session *s;
        nb_session_options o = greedy();
        naive(m, t.ids, PROMPT, want);
        NBT_OK(nb_session_open(&s, m, PROMPT + NEW - 1, &err));
        assert_null(nb_session_logits(s));
        NBT_OK(nb_session_feed(s, t.ids, PROMPT, NULL, &err));
        assert_non_null(nb_session_logits(s));
        NBT_OK(nb_session_generate(s, &o, have, &n, &finish, &err));
        assert_int_equal(n, NEW);
        assert_int_equal(finish, NB_FINISH_LENGTH);
        assert_memory_equal(want, have, sizeof want);
        assert_int_equal(nb_session_length(s), nb_session_capacity(s));

        /* back to a common beginning, then on again */
        assert_int_equal(nb_session_common(s, t.ids, 40), 40);
        assert_int_equal(nb_session_common(s, t.ids + 1, 40), 0);
        nb_session_rewind(s, 40);
        assert_null(nb_session_logits(s));
        NBT_OK(nb_session_feed(s, t.ids + 40, PROMPT - 40, NULL, &err));
        NBT_OK(nb_session_generate(s, &o, have, &n, &finish, &err));
        assert_memory_equal(want, have, sizeof want);
        nb_session_close(&s);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

typedef struct listener {
    int calls, stop_after;
    int32_t last;
} listener;

static bool listen(void *user, int32_t id)
{
    listener *l = user;
    l->calls++;
    l->last = id;
    return l->calls != l->stop_after;
}

static void ends_for_every_reason(void **state)
{
    (void)state;
    nb_error err = {0};
    const int32_t prompt[] = {1, 2, 3};
    nb_model *m = tiny_open(&tiny_specs[0], 1);
    nb_session *s;
    int32_t ids[NEW];
    size_t n;
    nb_finish finish;
    nb_session_options o = greedy();
    listener l = {0};
    volatile sig_atomic_t flag = 0;
    o.on_token = listen;
    o.user = &l;
    o.interrupt = &flag;
    NBT_OK(nb_session_open(&s, m, 64, &err));
#define AGAIN()                                                                                    \
    do {                                                                                           \
        l.calls = 0;                                                                               \
        nb_session_rewind(s, 0);                                                                   \
        NBT_OK(nb_session_feed(s, prompt, 3, NULL, &err));                                         \
        NBT_OK(nb_session_generate(s, &o, ids, &n, &finish, &err));                                \
    } while (0)
    AGAIN();
    assert_int_equal(finish, NB_FINISH_LENGTH);
    assert_int_equal(l.calls, NEW);
    /* a stop token: the third one, unless it came before */
    int32_t stop = ids[2];
    size_t first = ids[0] == stop ? 1 : ids[1] == stop ? 2 : 3;
    o.stop_ids = &stop;
    o.n_stop = 1;
    AGAIN();
    assert_int_equal(finish, NB_FINISH_STOP);
    assert_int_equal(n, first);
    assert_int_equal(l.last, stop);
    o.ignore_eos = true;
    AGAIN();
    assert_int_equal(finish, NB_FINISH_LENGTH);
    o.ignore_eos = false;
    o.n_stop = 0;
    m->config.eos[0] = stop; /* from the model's configuration */
    m->config.n_eos = 1;
    AGAIN();
    assert_int_equal(finish, NB_FINISH_STOP);
    assert_int_equal(n, first);
    m->config.n_eos = 0;
    l.stop_after = 2;
    AGAIN();
    assert_int_equal(finish, NB_FINISH_CALLER);
    assert_int_equal(n, 2);
    flag = 1;
    AGAIN();
    assert_int_equal(finish, NB_FINISH_INTERRUPTED);
    assert_int_equal(n, 0);
    nb_session_rewind(s, 0);
    NBT_FAILS(NB_INTERRUPTED, "prompt", nb_session_feed(s, prompt, 3, &flag, &err));
    nb_session_close(&s);
    tiny_close(m);
}

static void wrong_input_is_refused(void **state)
{
    (void)state;
    nb_error err = {0};
    const int32_t good[] = {1, 2, 3, 4, 5}, bad[] = {1, 31}, negative[] = {-1};
    size_t before = nbt_in_use();
    nb_model *m = tiny_open(&tiny_specs[0], 1);
    nb_session *s;
    int32_t ids[NEW];
    size_t n;
    nb_finish finish;
    nb_session_options o = greedy();
    NBT_FAILS(NB_LIMIT, "", nb_session_open(&s, m, 0, &err));
    assert_null(s);
    NBT_OK(nb_session_open(&s, m, 4, &err));
    NBT_FAILS(NB_DATA, "no token", nb_session_feed(s, good, 0, NULL, &err));
    NBT_FAILS(NB_DATA, "31", nb_session_feed(s, bad, 2, NULL, &err));
    NBT_FAILS(NB_DATA, "-1", nb_session_feed(s, negative, 1, NULL, &err));
    NBT_FAILS(NB_LIMIT, "5", nb_session_feed(s, good, 5, NULL, &err));
    NBT_FAILS(NB_DATA, "no prompt", nb_session_generate(s, &o, ids, &n, &finish, &err));
    NBT_OK(nb_session_feed(s, good, 4, NULL, &err));
    NBT_FAILS(NB_LIMIT, "12", nb_session_generate(s, &o, ids, &n, &finish, &err));
    o.max_new_tokens = 1; /* the last token takes no room */
    o.sampler.top_p = 7.0;
    NBT_FAILS(NB_CONFIG, "top_p", nb_session_generate(s, &o, ids, &n, &finish, &err));
    o.sampler.top_p = 1.0;
    NBT_OK(nb_session_generate(s, &o, ids, &n, &finish, &err));
    assert_int_equal(n, 1);
    nb_session_close(&s);
    for (uint64_t k = 1; k <= 9; k++) {
        nbi_alloc_fail_at(k, false);
        NBT_FAILS(NB_NOMEM, "", nb_session_open(&s, m, 4, &err));
        nbi_alloc_fail_at(0, false);
    }
    tiny_close(m);
    assert_int_equal(nbt_in_use(), before);
}

static void nan_is_reported(void **state)
{
    (void)state;
    nb_error err = {0};
    const int32_t prompt[] = {1, 2, 3};
    nb_model *m = tiny_open(&tiny_specs[0], 1);
    nb_session *s;
    int32_t ids[NEW];
    size_t n;
    nb_finish finish;
    nb_session_options o = greedy();
    ((float *)m->final_norm)[2] = NAN;
    NBT_OK(nb_session_open(&s, m, 32, &err));
    NBT_OK(nb_session_feed(s, prompt, 3, NULL, &err));
    NBT_FAILS(NB_NUMERIC, "NaN", nb_session_generate(s, &o, ids, &n, &finish, &err));
    assert_int_equal(n, 0);
    nb_session_close(&s);
    tiny_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_equals_full_passes),
        cmocka_unit_test(ends_for_every_reason),
        cmocka_unit_test(wrong_input_is_refused),
        cmocka_unit_test(nan_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
