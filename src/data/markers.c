/* SPDX-License-Identifier: MIT */
#include "data/markers.h"

#include <string.h>
#include "base/fail.h"

/* Shorter pieces of a template stand in any text. */
enum { MARKER_MIN = 4 };

static bool add(nbi_markers *m, const char *text, size_t len)
{
    while (len > 0 && strchr(" \t\r\n", *text)) {
        text++;
        len--;
    }
    while (len > 0 && strchr(" \t\r\n", text[len - 1]))
        len--;
    if (len < MARKER_MIN)
        return true;
    const char *copy = nbi_arena_strndup(&m->arena, text, len);
    return copy && nbi_array_push(&m->v, copy);
}

/* What stands on a line of a template beside its fields: from a field or the line's begin up to the
 * next field or its end. */
static bool add_template(nbi_markers *m, const char *s)
{
    bool ok = true;
    while (ok && *s) {
        const size_t n = strcspn(s, "{}\n");
        ok = add(m, s, n);
        s += n;
        if (s[0] == '{' && s[1] != '{') {
            const char *close = strchr(s, '}');
            s = close ? close + 1 : s + strlen(s);
        } else {
            s += (s[0] == '{' || s[0] == '}') && s[1] == s[0] ? 2 : *s != 0;
        }
    }
    return ok;
}

nb_status nbi_markers_of(const nb_data_config *config, nbi_markers *out, nb_error *err)
{
    static const char *const headings[] = {"### Instruction:", "### Input:", "### Response:"};
    bool ok = true;
    *out = (nbi_markers){0};
    nbi_arena_init(&out->arena, NBI_MEM_OTHER);
    if (config->format == NB_DATA_ALPACA || config->format == NB_DATA_INSTRUCTION)
        for (size_t i = 0; ok && i < sizeof(headings) / sizeof(*headings); i++)
            ok = add(out, headings[i], strlen(headings[i]));
    if (config->format == NB_DATA_TEMPLATE && config->template_text)
        ok = add_template(out, config->template_text);
    if (config->response_template)
        ok = ok && add(out, config->response_template, strlen(config->response_template));
    return ok ? NB_OK : nbi_fail_nomem(err, "markers", sizeof(headings));
}

void nbi_markers_free(nbi_markers *m)
{
    nbi_array_free(&m->v);
    nbi_arena_free(&m->arena);
}

bool nbi_markers_in(const nbi_markers *m, const char *text)
{
    for (size_t i = 0; i < m->v.n; i++)
        if (strstr(text, m->v.v[i]))
            return true;
    return false;
}
