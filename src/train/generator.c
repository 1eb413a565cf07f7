/* SPDX-License-Identifier: MIT */
/* Generation by recipe (include/nibble/generate.h): opens what the keys name, makes prompts in the
 * layout of the training, streams the answer. */
#include "nibble/generate.h"

#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "data/prompt.h"
#include "generate/session.h"
#include "generate/text_stream.h"
#include "text/chat.h"
#include "train/assembly.h"

struct nb_generator {
    const nb_recipe *recipe;
    nbi_assembly a;
    nb_session *session;
};

nb_status nb_generator_open(nb_generator **out, nb_recipe *r, const nb_log *log, nb_error *err)
{
    *out = NULL;
    NBI_TRY(nb_recipe_finish(r, NULL, err));
    if (r->adapter)
        NBI_TRY(nbi_recipe_adopt(r, r->adapter, true, log, err));
    nb_generator *g = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *g);
    if (!g)
        return nbi_fail_nomem(err, "generation", sizeof *g);
    g->recipe = r;
    nb_status st = nbi_assembly_open(&g->a, r, false, log, err);
    if (st == NB_OK && r->adapter)
        st = nbi_assembly_adapt(&g->a, r->adapter, log, err);
    if (st != NB_OK)
        nb_generator_close(&g);
    *out = g;
    return st;
}

void nb_generator_close(nb_generator **g)
{
    if (!*g)
        return;
    nb_session_close(&(*g)->session);
    nbi_assembly_close(&(*g)->a);
    nbi_free(*g);
    *g = NULL;
}

const nb_tokenizer *nb_generator_tokenizer(const nb_generator *g)
{
    return g->a.tok;
}

bool nb_generator_has_adapter(const nb_generator *g)
{
    return g->a.adapter != NULL;
}

void nb_generator_use_adapter(nb_generator *g, bool on)
{
    if (!g->a.adapter || on == !g->a.off)
        return;
    nbi_assembly_use_adapter(&g->a, on);
    if (g->session)
        nb_session_rewind(g->session, 0);
}

void nb_generate_options_default(nb_generate_options *o)
{
    *o = (nb_generate_options){
        .max_new_tokens = 256, .top_p = 1.0, .repetition_penalty = 1.0, .seed = 42};
}

void nb_generation_free(nb_generation *r)
{
    nbi_free(r->ids);
    nbi_free(r->text);
    *r = (nb_generation){0};
}

/* ---- prompts ---- */

static const char *const adapter_layout = "the adapter's training data";
static const char *const model_layout = "the model's chat template";

static nb_status need_tokenizer(const nb_generator *g, nb_error *err)
{
    if (g->a.tok)
        return NB_OK;
    return nbi_fail(err, NB_CONFIG, "%s has no tokenizer.json: give the prompt as token ids",
                    g->a.dir);
}

nb_status nb_prompt_text(const nb_generator *g, const char *text, int32_t **ids, size_t *n,
                         nb_error *err)
{
    NBI_TRY(need_tokenizer(g, err));
    return nb_prompt_of_text(g->a.tok, text, strlen(text), -1, ids, n, err);
}

nb_status nb_prompt_question(const nb_generator *g, const char *question, int32_t **ids, size_t *n,
                             const char **layout, nb_error *err)
{
    nb_data_config c = g->recipe->data_config;
    const char *name = adapter_layout;
    NBI_TRY(need_tokenizer(g, err));
    if (c.format == NB_DATA_AUTO) {
        if (!nbi_chat_supported(g->a.tok))
            return nbi_fail(err, NB_UNSUPPORTED,
                            "neither the adapter nor the model says how questions are laid out; "
                            "give the whole text (prompt) or a format");
        c.format = NB_DATA_MESSAGES;
        name = model_layout;
    }
    if (layout)
        *layout = name;
    return nb_prompt_of_question(&c, g->a.tok, question, ids, n, err);
}

nb_status nb_prompt_row(const nb_generator *g, const char *path, int64_t line, const char *json,
                        size_t len, int32_t **ids, size_t *n, nb_error *err)
{
    NBI_TRY(need_tokenizer(g, err));
    if (g->recipe->data_config.format == NB_DATA_AUTO)
        return nbi_fail(err, NB_CONFIG, "format: not known; name the layout of the rows (format)");
    return nb_prompt_of_row(&g->recipe->data_config, g->a.tok, path, line, json, len, ids, n, err);
}

/* Rows of one question and one answer: the layout has no place for a conversation. */
static bool is_single(nb_data_format f)
{
    return f == NB_DATA_ALPACA || f == NB_DATA_INSTRUCTION || f == NB_DATA_PROMPT_COMPLETION ||
           f == NB_DATA_TEMPLATE;
}

nb_status nb_prompt_chat(const nb_generator *g, const nb_chat_message *messages, size_t n_messages,
                         int32_t **ids, size_t *n, const char **layout, nb_error *err)
{
    nbi_rendered out = {0};
    NBI_TRY(need_tokenizer(g, err));
    if (n_messages == 0)
        return nbi_fail(err, NB_DATA, "the conversation holds no message");
    if (is_single(g->recipe->data_config.format))
        return nb_prompt_question(g, messages[n_messages - 1].content, ids, n, layout, err);
    if (layout)
        *layout = model_layout;
    nbi_message *list = nbi_calloc(NBI_MEM_IO, n_messages, sizeof *list);
    if (!list)
        return nbi_fail_nomem(err, "a conversation", n_messages * sizeof *list);
    for (size_t i = 0; i < n_messages; i++)
        list[i] = (nbi_message){messages[i].role, messages[i].content, strlen(messages[i].content)};
    nb_status st = nbi_chat_render(g->a.tok, list, n_messages, true, &out, err);
    if (st == NB_OK)
        st = nb_prompt_of_text(g->a.tok, nbi_strbuf_str(&out.text), out.text.n,
                               g->recipe->data_config.add_special_tokens > 0, ids, n, err);
    nbi_rendered_free(&out);
    nbi_free(list);
    return st;
}

/* ---- answers ---- */

/* State of one generation while tokens arrive. */
typedef struct answer {
    const nb_generate_options *o;
    nb_text_stream *stream;
    nbi_strbuf text;
    size_t sent;    /* bytes of `text` that were handed out */
    bool stop_seen; /* `text` ends where stop_text began */
    nb_status st;
    nb_error *err;
} answer;

/* How much of the end of the text may be the beginning of the stop text. */
static size_t held_back(const nbi_strbuf *text, const char *stop)
{
    size_t n = strlen(stop);
    for (size_t k = n - 1 < text->n ? n - 1 : text->n; k > 0; k--)
        if (memcmp(text->s + text->n - k, stop, k) == 0)
            return k;
    return 0;
}

/* Takes new text and hands out what is certain; `last`: nothing more comes. False ends it. */
static bool emit(answer *a, const char *text, size_t len, bool last)
{
    const char *stop = a->o->stop_text && *a->o->stop_text ? a->o->stop_text : NULL;
    if (a->stop_seen)
        return false;
    nbi_strbuf_add(&a->text, text, len);
    size_t hold = 0;
    if (stop && !a->text.failed) {
        const char *at = strstr(nbi_strbuf_str(&a->text) + a->sent, stop);
        a->stop_seen = at != NULL;
        if (at)
            a->text.s[a->text.n = (size_t)(at - a->text.s)] = '\0';
        else
            hold = last ? 0 : held_back(&a->text, stop);
    }
    size_t from = a->sent, n = a->text.failed ? 0 : a->text.n - hold - from;
    a->sent += n;
    bool go_on = n == 0 || !a->o->on_text || a->o->on_text(a->o->user, a->text.s + from, n);
    return go_on && !a->stop_seen;
}

static bool on_token(void *user, int32_t id)
{
    answer *a = user;
    const char *text;
    size_t len;
    if (!a->stream)
        return true;
    a->st = nb_text_stream_push(a->stream, id, &text, &len, a->err);
    return a->st == NB_OK && emit(a, text, len, false);
}

/* With the adapter attached, since a session reserves the memory of its hooks; it may be off again
 * while the session runs. */
static nb_status open_session(nb_generator *g, int64_t capacity, nb_error *err)
{
    bool on = !g->a.off;
    nbi_assembly_use_adapter(&g->a, true);
    nb_status st = nb_session_open(&g->session, g->a.model, capacity, err);
    nbi_assembly_use_adapter(&g->a, on);
    return st;
}

/* A session with room for all of it, keeping what it already holds of this prompt. */
static nb_status prepare_session(nb_generator *g, const int32_t *ids, size_t n,
                                 const nb_generate_options *o, nb_error *err)
{
    int64_t need = (int64_t)n + o->max_new_tokens;
    if (g->session && nb_session_capacity(g->session) < need) {
        nb_session_close(&g->session);
        need *= 2; /* a conversation goes on growing */
    }
    if (!g->session)
        NBI_TRY(open_session(g, need, err));
    int64_t common = nb_session_common(g->session, ids, n);
    if (common == (int64_t)n && n > 0)
        common--; /* the last token is fed again: its logits are gone */
    nb_session_rewind(g->session, common);
    return nb_session_feed(g->session, ids + common, n - (size_t)common, o->stop, err);
}

static nb_status finish_text(answer *a, nb_generation *result)
{
    const char *text;
    size_t len;
    if (!a->stream)
        return NB_OK;
    NBI_TRY(nb_text_stream_finish(a->stream, &text, &len, a->err));
    (void)emit(a, text, len, true);
    NBI_TRY(nbi_strbuf_check(&a->text, a->err));
    result->text = nbi_strdup(NBI_MEM_IO, nbi_strbuf_str(&a->text));
    return result->text ? NB_OK : nbi_fail_nomem(a->err, "the answer", a->text.n);
}

static nb_status run(nb_generator *g, const nb_generate_options *o, answer *a,
                     nb_generation *result, nb_error *err)
{
    nb_finish finish = NB_FINISH_LENGTH;
    int32_t eos = g->a.tok ? nb_tokenizer_eos(g->a.tok) : -1;
    nb_session_options so = {.sampler = {.temperature = o->temperature,
                                         .top_k = o->top_k,
                                         .top_p = o->top_p,
                                         .min_p = o->min_p,
                                         .repetition_penalty = o->repetition_penalty,
                                         .seed = o->seed},
                             .max_new_tokens = o->max_new_tokens,
                             .stop_ids = &eos,
                             .n_stop = eos >= 0,
                             .ignore_eos = o->ignore_eos,
                             .interrupt = o->stop,
                             .on_token = on_token,
                             .user = a};
    NBI_TRY(nb_session_generate(g->session, &so, result->ids, &result->n, &finish, err));
    NBI_TRY(a->st);
    NBI_TRY(finish_text(a, result));
    result->stopped = finish == NB_FINISH_STOP || a->stop_seen;
    if (finish == NB_FINISH_INTERRUPTED)
        return nbi_fail(err, NB_INTERRUPTED, "interrupted after %zu tokens", result->n);
    return NB_OK;
}

nb_status nb_generate_ids(nb_generator *g, const int32_t *ids, size_t n,
                          const nb_generate_options *o, nb_generation *result, nb_error *err)
{
    answer a = {.o = o, .err = err};
    double t0 = nbi_clock();
    *result = (nb_generation){.prompt_tokens = (int64_t)n};
    if (o->max_new_tokens < 1)
        return nbi_fail(err, NB_CONFIG, "max_new_tokens: %lld, expected at least 1",
                        (long long)o->max_new_tokens);
    result->ids = nbi_calloc(NBI_MEM_IO, (size_t)o->max_new_tokens, sizeof *result->ids);
    if (!result->ids)
        return nbi_fail_nomem(err, "the answer", (size_t)o->max_new_tokens * sizeof *result->ids);
    nb_status st = g->a.tok ? nb_text_stream_open(&a.stream, g->a.tok, true, err) : NB_OK;
    if (st == NB_OK)
        st = prepare_session(g, ids, n, o, err);
    double t1 = nbi_clock();
    result->prompt_seconds = t1 - t0;
    if (st == NB_OK)
        st = run(g, o, &a, result, err);
    result->seconds = nbi_clock() - t1;
    nb_text_stream_close(&a.stream);
    nbi_strbuf_free(&a.text);
    if (st != NB_OK && st != NB_INTERRUPTED)
        nb_generation_free(result);
    return st;
}
