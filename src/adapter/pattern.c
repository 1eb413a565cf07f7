/* SPDX-License-Identifier: MIT */
#include "adapter/pattern.h"

#include "base/alloc.h"
#include "base/fail.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* Steps one match may take: module paths are short, so only a hostile pattern needs more. */
#define MATCH_STEPS 1000000u

struct nbi_regex {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
    pcre2_match_data *data;
    char *text;
};

static void *take(PCRE2_SIZE n, void *user)
{
    (void)user;
    return nbi_alloc(NBI_MEM_OTHER, n);
}

static void give(void *p, void *user)
{
    (void)user;
    nbi_free(p);
}

void nbi_regex_close(nbi_regex **r)
{
    if (!r || !*r)
        return;
    pcre2_match_data_free((*r)->data);
    pcre2_code_free((*r)->code);
    pcre2_match_context_free((*r)->limits);
    pcre2_general_context_free((*r)->memory);
    nbi_free((*r)->text);
    nbi_free(*r);
    *r = NULL;
}

static nb_status compile(nbi_regex *r, nb_error *err)
{
    int code;
    PCRE2_SIZE at;
    r->memory = pcre2_general_context_create(take, give, NULL);
    if (!r->memory || !(r->limits = pcre2_match_context_create(r->memory)))
        return nbi_fail_nomem(err, "a regular expression", 0);
    pcre2_compile_context *how = pcre2_compile_context_create(r->memory);
    if (!how)
        return nbi_fail_nomem(err, "a regular expression", 0);
    r->code = pcre2_compile((PCRE2_SPTR)r->text, PCRE2_ZERO_TERMINATED, PCRE2_UTF, &code, &at, how);
    pcre2_compile_context_free(how);
    if (!r->code) {
        unsigned char text[160] = "";
        pcre2_get_error_message(code, text, sizeof(text));
        return nbi_fail(err, NB_CONFIG, "\"%s\" is no regular expression: %s at character %zu",
                        r->text, (const char *)text, (size_t)at);
    }
    r->data = pcre2_match_data_create_from_pattern(r->code, r->memory);
    if (!r->data)
        return nbi_fail_nomem(err, "a regular expression", 0);
    pcre2_set_match_limit(r->limits, MATCH_STEPS);
    return NB_OK;
}

nb_status nbi_regex_open(nbi_regex **out, const char *pattern, nb_error *err)
{
    *out = NULL;
    nbi_regex *r = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(*r));
    if (!r || !(r->text = nbi_strdup(NBI_MEM_OTHER, pattern))) {
        nbi_free(r);
        return nbi_fail_nomem(err, "a regular expression", sizeof(*r));
    }
    nb_status st = compile(r, err);
    if (st != NB_OK)
        nbi_regex_close(&r);
    *out = r;
    return st;
}

nb_status nbi_regex_test(nbi_regex *r, const char *text, bool full, bool *found, size_t group[2],
                         nb_error *err)
{
    uint32_t options = PCRE2_ANCHORED | (full ? PCRE2_ENDANCHORED : 0);
    int n = pcre2_match(r->code, (PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, options, r->data,
                        r->limits);
    *found = n >= 0;
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
        unsigned char why[160] = "";
        pcre2_get_error_message(n, why, sizeof(why));
        return nbi_fail(err, NB_CONFIG, "the regular expression \"%s\" fails on \"%s\": %s",
                        r->text, text, (const char *)why);
    }
    if (group) {
        const PCRE2_SIZE *at = pcre2_get_ovector_pointer(r->data);
        bool has = n > 1 && at[2] != PCRE2_UNSET;
        group[0] = has ? at[2] : 0;
        group[1] = has ? at[3] : 0;
    }
    return NB_OK;
}

nb_status nbi_regex_fullmatch(const char *pattern, const char *text, bool *found, nb_error *err)
{
    nbi_regex *r;
    NBI_TRY(nbi_regex_open(&r, pattern, err));
    nb_status st = nbi_regex_test(r, text, true, found, NULL, err);
    nbi_regex_close(&r);
    return st;
}
