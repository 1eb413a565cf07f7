/* SPDX-License-Identifier: MIT */
/* A generation in progress: a model with the keys and values of the tokens so far. */
#ifndef NB_SESSION_H
#define NB_SESSION_H

#include <signal.h>
#include "generate/sampler.h"
#include "model/model.h"

typedef struct nb_session nb_session;

/* Room for `capacity` tokens, prompt and answer together. Adapters must be attached before (they
 * may be detached later). The model is borrowed. Not for use by two threads at once. */
nb_status nb_session_open(nb_session **out, nb_model *m, int64_t capacity,
                          nb_error *err) NB_MUST_CHECK;
void nb_session_close(nb_session **s);
/* Tokens that its workspace takes in one pass; the cache takes `capacity`. For plans. */
int64_t nb_session_rows(const nb_model_config *c, int64_t capacity);
int64_t nb_session_capacity(const nb_session *s);
/* Tokens so far. */
int64_t nb_session_length(const nb_session *s);
/* Forgets all but the first `length` tokens (at most those there are); logits are gone. Needed from
 * 0 after anything about the model changed. */
void nb_session_rewind(nb_session *s, int64_t length);
/* How many tokens at the start of ids[n] are the same as the session's. */
int64_t nb_session_common(const nb_session *s, const int32_t *ids, size_t n);
/* Appends tokens, a few hundred at a time; the logits are those after the last one. NB_DATA: no
 * token at all or an id outside the vocabulary; NB_LIMIT: more than the capacity; NB_INTERRUPTED:
 * the flag (may be NULL) was set meanwhile. The length tells how far it came. */
nb_status nb_session_feed(nb_session *s, const int32_t *ids, size_t n,
                          const volatile sig_atomic_t *interrupt, nb_error *err) NB_MUST_CHECK;
/* [vocab], valid until the next change; NULL before anything was fed. */
const float *nb_session_logits(const nb_session *s);

typedef struct nb_session_options {
    nb_sampler_options sampler;
    int64_t max_new_tokens;
    const int32_t *stop_ids; /* further stop tokens beside those of the model's configuration */
    size_t n_stop;
    bool ignore_eos;                        /* no token stops */
    const volatile sig_atomic_t *interrupt; /* polled before each token; may be NULL */
    /* Called with each new token; false ends the generation. May be NULL. */
    bool (*on_token)(void *user, int32_t id);
    void *user;
} nb_session_options;

typedef enum nb_finish {
    NB_FINISH_LENGTH,     /* max_new_tokens */
    NB_FINISH_STOP,       /* a stop token, which is the last of the new ids */
    NB_FINISH_CALLER,     /* on_token returned false */
    NB_FINISH_INTERRUPTED /* the flag was set */
} nb_finish;

/* Continues the fed prompt. ids has room for max_new_tokens, *n is their number on return (on
 * failure too). The last new token is not in the session: it takes length + max_new_tokens - 1 <=
 * capacity, else NB_LIMIT. NB_NUMERIC: the logits hold NaN. The repetition penalty counts all
 * tokens of the session. */
nb_status nb_session_generate(nb_session *s, const nb_session_options *o, int32_t *ids, size_t *n,
                              nb_finish *finish, nb_error *err) NB_MUST_CHECK;

#endif
