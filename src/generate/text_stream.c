/* SPDX-License-Identifier: MIT */
#include "generate/text_stream.h"

#include <ctype.h>
#include <string.h>
#include "base/array.h"
#include "base/fail.h"

struct nb_text_stream {
    const nb_tokenizer *tok;
    bool skip_special;
    NBI_ARRAY(int32_t) ids;
    char *text;  /* decoded from all ids */
    size_t sent; /* bytes handed out */
};

nb_status nb_text_stream_open(nb_text_stream **out, const nb_tokenizer *tok, bool skip_special,
                              nb_error *err)
{
    nb_text_stream *s = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *s);
    *out = s;
    if (!s)
        return nbi_fail_nomem(err, "text stream", sizeof *s);
    s->tok = tok;
    s->skip_special = skip_special;
    return NB_OK;
}

void nb_text_stream_close(nb_text_stream **s)
{
    if (!s || !*s)
        return;
    nbi_array_free(&(*s)->ids);
    nb_free((*s)->text);
    nbi_free(*s);
    *s = NULL;
}

/* "<0x0A>": one byte of a character, or of a run that only as a whole turns out to be well-formed.
 */
static bool is_byte_token(const char *t)
{
    return t && strlen(t) == 6 && memcmp(t, "<0x", 3) == 0 && isxdigit((unsigned char)t[3]) &&
           isxdigit((unsigned char)t[4]) && t[5] == '>';
}

/* Length without the U+FFFD at the end, which stand for characters that may still be completed. */
static size_t certain(const char *text, size_t len)
{
    while (len >= 3 && memcmp(text + len - 3, "\xef\xbf\xbd", 3) == 0)
        len -= 3;
    return len;
}

static nb_status decode(nb_text_stream *s, size_t *len, nb_error *err)
{
    nb_free(s->text);
    s->text = NULL;
    return nb_tokenizer_decode(s->tok, s->ids.v, s->ids.n, s->skip_special, &s->text, len, err);
}

static void hand_out(nb_text_stream *s, size_t end, const char **text, size_t *len)
{
    *text = s->text + (end > s->sent ? s->sent : end);
    *len = end > s->sent ? end - s->sent : 0;
    if (end > s->sent)
        s->sent = end;
}

nb_status nb_text_stream_push(nb_text_stream *s, int32_t id, const char **text, size_t *len,
                              nb_error *err)
{
    size_t n;
    *text = "";
    *len = 0;
    if (!nbi_array_push(&s->ids, id))
        return nbi_fail_nomem(err, "text stream", s->ids.n * sizeof id);
    if (is_byte_token(nb_tokenizer_token(s->tok, id)))
        return NB_OK;
    NBI_TRY(decode(s, &n, err));
    hand_out(s, certain(s->text, n), text, len);
    return NB_OK;
}

nb_status nb_text_stream_finish(nb_text_stream *s, const char **text, size_t *len, nb_error *err)
{
    size_t n;
    *text = "";
    *len = 0;
    if (s->ids.n == 0)
        return NB_OK;
    NBI_TRY(decode(s, &n, err));
    hand_out(s, n, text, len);
    return NB_OK;
}
