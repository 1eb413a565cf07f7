/* SPDX-License-Identifier: MIT */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>
#include "base/alloc.h"
#include "base/fail.h"

/* Far above what the published patterns need, low enough to end within seconds. */
enum { MATCH_LIMIT = 20 * 1000 * 1000, DEPTH_LIMIT = 1000 * 1000, HEAP_LIMIT_KIB = 256 * 1024 };
enum { MAX_PATTERN = 64 * 1024 };

struct nbi_regex {
    pcre2_general_context *general;
    pcre2_match_context *match; /* limits; only read while matching */
    pcre2_code *code;
    char *text; /* the pattern as written, for messages */
};

static void *pcre_alloc(PCRE2_SIZE n, void *unused)
{
    (void)unused;
    return nbi_alloc(NBI_MEM_OTHER, n);
}

static void pcre_free(void *p, void *unused)
{
    (void)unused;
    nbi_free(p);
}

void nbi_regex_free(nbi_regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    pcre2_match_context_free(re->match);
    pcre2_general_context_free(re->general);
    nbi_free(re->text);
    nbi_free(re);
}

static nb_status compile(nbi_regex *re, const nbi_strbuf *expanded, const char *where,
                         nb_error *err)
{
    pcre2_compile_context *cc = pcre2_compile_context_create(re->general);
    if (!cc)
        return nbi_fail_nomem(err, where, 0);
    pcre2_set_newline(cc, PCRE2_NEWLINE_LF);
    int code = 0;
    PCRE2_SIZE offset = 0;
    re->code =
        pcre2_compile((PCRE2_SPTR)nbi_strbuf_str(expanded), expanded->n,
                      PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset, cc);
    pcre2_compile_context_free(cc);
    if (!re->code) {
        if (code == PCRE2_ERROR_NOMEMORY || code == 121) /* 121: no memory while compiling */
            return nbi_fail_nomem(err, where, 0);
        PCRE2_UCHAR why[120] = "";
        pcre2_get_error_message(code, why, sizeof why);
        return nbi_fail(err, NB_FORMAT, "%s: bad regular expression \"%.300s\": %s", where,
                        re->text, (const char *)why);
    }
    /* without JIT (a build or a hardened system that lacks it) the interpreter does the work */
    (void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
    return NB_OK;
}

nb_status nbi_regex_compile(nbi_regex **out, const char *pattern, size_t len, const char *where,
                            nb_error *err)
{
    *out = NULL;
    if (len > MAX_PATTERN)
        return nbi_fail(err, NB_LIMIT, "%s: a regular expression of %zu bytes; at most %d", where,
                        len, MAX_PATTERN);
    nbi_strbuf expanded = {0};
    nbi_regex *re = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *re);
    nb_status st = NB_OK;
    if (re) {
        re->text = nbi_strndup(NBI_MEM_OTHER, pattern, len);
        re->general = pcre2_general_context_create(pcre_alloc, pcre_free, NULL);
        re->match = re->general ? pcre2_match_context_create(re->general) : NULL;
    }
    if (!re || !re->text || !re->match) {
        st = nbi_fail_nomem(err, "a regular expression", len);
        goto done;
    }
    pcre2_set_match_limit(re->match, MATCH_LIMIT);
    pcre2_set_depth_limit(re->match, DEPTH_LIMIT);
    pcre2_set_heap_limit(re->match, HEAP_LIMIT_KIB);
    NBI_TRY_GOTO(nbi_regex_expand(&expanded, pattern, len, where, err), done);
    NBI_TRY_GOTO(compile(re, &expanded, where, err), done);
    *out = re;
    re = NULL;
done:
    nbi_strbuf_free(&expanded);
    nbi_regex_free(re);
    return st;
}

void nbi_regex_run_free(nbi_regex_run *run)
{
    pcre2_match_data_free(run->match_data);
    run->match_data = NULL;
}

nb_status nbi_regex_find(const nbi_regex *re, nbi_regex_run *run, const char *s, size_t n,
                         size_t from, bool *found, size_t *begin, size_t *end, nb_error *err)
{
    if (!run->match_data) {
        run->match_data = pcre2_match_data_create(1, re->general);
        if (!run->match_data)
            return nbi_fail_nomem(err, "matching a regular expression", 0);
    }
    pcre2_match_data *md = run->match_data;
    PCRE2_SPTR subject = (PCRE2_SPTR)(s ? s : "");
    int rc = pcre2_match(re->code, subject, n, from, PCRE2_NO_UTF_CHECK, md, re->match);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(re->code, subject, n, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, md,
                         re->match);
    *found = rc >= 0;
    if (rc >= 0) {
        const PCRE2_SIZE *o = pcre2_get_ovector_pointer(md);
        *begin = o[0];
        *end = o[1];
        /* \K in a look-ahead can put the begin behind the end */
        if (*begin < from || *end < *begin || *end > n)
            return nbi_fail(err, NB_UNSUPPORTED,
                            "regular expression \"%.300s\" moves the begin of its match", re->text);
        return NB_OK;
    }
    if (rc == PCRE2_ERROR_NOMATCH)
        return NB_OK;
    if (rc == PCRE2_ERROR_NOMEMORY)
        return nbi_fail_nomem(err, "matching a regular expression", n);
    return nbi_fail(err, NB_LIMIT,
                    "regular expression \"%.300s\" needs too many steps on this text (at byte %zu)",
                    re->text, from);
}
