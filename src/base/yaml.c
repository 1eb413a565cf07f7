/* SPDX-License-Identifier: MIT */
#include "base/yaml.h"

#include <limits.h>
#include <string.h>
#include <yaml.h>
#include "base/fail.h"
#include "base/json_build.h"
#include "base/mapfile.h"

enum { MAX_DEPTH = 32, MAX_BYTES = 1 << 20 };

typedef struct parse_state {
    nbi_tree_builder b;
    bool in_mapping[MAX_DEPTH + 1]; /* by depth of the builder */
    bool want_key[MAX_DEPTH + 1];
    int documents, lines;
} parse_state;

static nb_status refuse(const parse_state *p, const char *what, nb_error *err)
{
    return nbi_fail(err, NB_FORMAT, "%s:%d: %s", p->b.name, p->b.line, what);
}

static bool is_plain_null(const char *s, size_t len)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strlen(words[i]) == len && memcmp(words[i], s, len) == 0)
            return true;
    return false;
}

/* A key was read in a mapping: a value follows, and the other way round. */
static bool take_turn(parse_state *p)
{
    int d = p->b.depth;
    if (!p->in_mapping[d])
        return false;
    bool key = p->want_key[d];
    p->want_key[d] = !key;
    return key;
}

static nb_status add_key(parse_state *p, const char *s, size_t len, bool plain, nb_error *err)
{
    if (plain && len == 2 && memcmp(s, "<<", 2) == 0)
        return refuse(p, "merge keys (<<) are not accepted; write the keys out", err);
    if (len > 0 && memchr(s, 0, len))
        return refuse(p, "a key must not hold a NUL character", err);
    if (plain && len == 0)
        return refuse(p, "a key is missing before ':'", err);
    return nbi_tree_key(&p->b, s, len, err);
}

static nb_status add_scalar(parse_state *p, const yaml_event_t *ev, nb_error *err)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t len = ev->data.scalar.length;
    bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (ev->data.scalar.anchor)
        return refuse(p, "anchors (&) are not accepted; write the value out", err);
    if (ev->data.scalar.tag)
        return refuse(p, "tags (!) are not accepted", err);
    if (take_turn(p))
        return add_key(p, s, len, plain, err);
    if (plain && is_plain_null(s, len))
        return nbi_tree_value(&p->b, NBI_JT_NULL, NULL, 0, false, err);
    return nbi_tree_value(&p->b, plain ? NBI_JT_SCALAR : NBI_JT_STRING, s, len, false, err);
}

static nb_status open_container(parse_state *p, bool mapping, const void *anchor, const void *tag,
                                nb_error *err)
{
    if (anchor)
        return refuse(p, "anchors (&) are not accepted; write the value out", err);
    if (tag)
        return refuse(p, "tags (!) are not accepted", err);
    if (take_turn(p))
        return refuse(p, "a key must be a plain word, not a list or a mapping", err);
    NBI_TRY(nbi_tree_open(&p->b, mapping ? NBI_JT_OBJECT : NBI_JT_ARRAY, err));
    p->in_mapping[p->b.depth] = mapping;
    p->want_key[p->b.depth] = mapping;
    return NB_OK;
}

static nb_status add_event(parse_state *p, const yaml_event_t *ev, nb_error *err)
{
    switch (ev->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (ev->data.document_start.tag_directives.start !=
            ev->data.document_start.tag_directives.end)
            return refuse(p, "tags (%TAG) are not accepted", err);
        return p->documents++ > 0 ? refuse(p, "only one document is accepted", err) : NB_OK;
    case YAML_ALIAS_EVENT:
        return refuse(p, "aliases (*) are not accepted; write the value out", err);
    case YAML_SCALAR_EVENT:
        return add_scalar(p, ev, err);
    case YAML_SEQUENCE_START_EVENT:
        return open_container(p, false, ev->data.sequence_start.anchor, ev->data.sequence_start.tag,
                              err);
    case YAML_MAPPING_START_EVENT:
        return open_container(p, true, ev->data.mapping_start.anchor, ev->data.mapping_start.tag,
                              err);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        nbi_tree_close(&p->b);
        return NB_OK;
    default:
        return NB_OK;
    }
}

static int line_of(yaml_mark_t m)
{
    return m.line < INT_MAX ? (int)m.line + 1 : INT_MAX;
}

/* libyaml places what is missing at the end of the text behind its last line. */
static int problem_line(const parse_state *p, yaml_mark_t m)
{
    int line = line_of(m);
    return line < p->lines ? line : p->lines;
}

static int count_lines(const char *s, size_t len)
{
    int n = 1;
    for (size_t i = 0; i + 1 < len; i++)
        n += s[i] == '\n';
    return n;
}

static nb_status syntax_error(const parse_state *p, const yaml_parser_t *y, nb_error *err)
{
    const char *why = y->problem ? y->problem : "invalid YAML";
    switch (y->error) {
    case YAML_MEMORY_ERROR:
        return nbi_fail_nomem(err, p->b.name, MAX_BYTES);
    case YAML_READER_ERROR:
        return nbi_fail(err, NB_FORMAT, "%s: byte %zu: %s", p->b.name, y->problem_offset, why);
    default:
        if (y->context)
            return nbi_fail(err, NB_FORMAT, "%s:%d: %s %s", p->b.name,
                            problem_line(p, y->problem_mark), why, y->context);
        return nbi_fail(err, NB_FORMAT, "%s:%d: %s", p->b.name, problem_line(p, y->problem_mark),
                        why);
    }
}

static nb_status parse_events(parse_state *p, yaml_parser_t *y, nb_error *err)
{
    for (;;) {
        yaml_event_t ev;
        if (!yaml_parser_parse(y, &ev))
            return syntax_error(p, y, err);
        yaml_event_type_t type = ev.type;
        p->b.line = line_of(ev.start_mark);
        nb_status st = add_event(p, &ev, err);
        yaml_event_delete(&ev);
        if (st != NB_OK || type == YAML_STREAM_END_EVENT)
            return st;
    }
}

nb_status nbi_yaml_parse(nbi_arena *arena, const char *name, const void *buf, size_t len,
                         nbi_json **out, nb_error *err)
{
    parse_state p = {0};
    yaml_parser_t y;
    if (len > MAX_BYTES)
        return nbi_fail(err, NB_LIMIT, "%s: %zu bytes, more than the limit of %d", name, len,
                        MAX_BYTES);
    if (!yaml_parser_initialize(&y))
        return nbi_fail_nomem(err, name, sizeof(y));
    p.lines = count_lines(buf, len);
    yaml_parser_set_encoding(&y, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&y, len > 0 ? buf : (const void *)"", len);
    nbi_tree_begin(&p.b, arena, name, MAX_DEPTH);
    nb_status st = parse_events(&p, &y, err);
    if (st == NB_OK && !p.b.root) {
        p.b.line = 1;
        st = nbi_tree_value(&p.b, NBI_JT_NULL, NULL, 0, false, err);
    }
    if (st == NB_OK)
        *out = p.b.root;
    nbi_tree_end(&p.b);
    yaml_parser_delete(&y);
    return st;
}

nb_status nbi_yaml_parse_file(nbi_arena *arena, const char *path, nbi_json **out, nb_error *err)
{
    char *text;
    size_t len;
    NBI_TRY(nbi_read_file(path, MAX_BYTES, &text, &len, err));
    nb_status st = nbi_yaml_parse(arena, path, text, len, out, err);
    nbi_free(text);
    return st;
}

nb_status nbi_yaml_parse_value(nbi_arena *arena, const char *name, const char *text, nbi_json **out,
                               nb_error *err)
{
    size_t len = strlen(text);
    if (text[0] == '[' || text[0] == '{')
        return nbi_yaml_parse(arena, name, text, len, out, err);
    nbi_tree_builder b;
    nbi_tree_begin(&b, arena, name, MAX_DEPTH);
    b.line = 1;
    /* an empty argument is an empty text, not "nothing" */
    bool null = len > 0 && is_plain_null(text, len);
    nb_status st =
        nbi_tree_value(&b, null ? NBI_JT_NULL : NBI_JT_SCALAR, null ? NULL : text, len, false, err);
    if (st == NB_OK)
        *out = b.root;
    nbi_tree_end(&b);
    return st;
}
