/* SPDX-License-Identifier: MIT */
/* JSON: an iterative pull reader for large files, a document tree for small ones, and a writer.
 *
 * Rules: RFC 8259; UTF-8 (ill-formed input refused with its byte offset); depth <= 64; duplicate
 * keys in one object refused; lone surrogate escapes become U+FFFD; numbers are kept as their raw
 * text until a typed accessor asks; NUL (escaped) is allowed in values, refused in keys. */
#ifndef NBI_JSON_H
#define NBI_JSON_H

#include "base/arena.h"
#include "base/strbuf.h"

#define NBI_JSON_MAX_DEPTH 64

typedef enum nbi_json_event {
    NBI_JSON_OBJECT_BEGIN,
    NBI_JSON_OBJECT_END,
    NBI_JSON_ARRAY_BEGIN,
    NBI_JSON_ARRAY_END,
    NBI_JSON_KEY,    /* text, len */
    NBI_JSON_STRING, /* text, len */
    NBI_JSON_NUMBER, /* text, len: as written */
    NBI_JSON_TRUE,
    NBI_JSON_FALSE,
    NBI_JSON_NULL,
    NBI_JSON_END /* after the document; only white space followed */
} nbi_json_event;

/* Pull reader over a buffer that stays valid and unchanged meanwhile. Public fields are read-only.
 */
typedef struct nbi_json_reader {
    const char *name; /* file name for messages, borrowed */
    const char *buf;
    size_t len, pos;
    size_t offset; /* byte offset of the last event's first character */
    const char
        *text; /* unescaped text of KEY/STRING/NUMBER; valid until the next call (points
                * into buf when nothing had to be unescaped); NUL-terminated only when copied */
    size_t text_len;
    int depth;
    unsigned char stack[NBI_JSON_MAX_DEPTH + 1];
    unsigned char state;
    nbi_strbuf scratch;
} nbi_json_reader;

/* Skips a UTF-8 byte order mark. Never fails. */
void nbi_json_reader_init(nbi_json_reader *r, const char *name, const void *buf, size_t len);
void nbi_json_reader_free(nbi_json_reader *r);
/* Next event; NB_FORMAT with file name and byte offset for bad JSON, NB_NOMEM. (Duplicate keys are
 * not detected here, but by the tree and by callers that need it.) */
nb_status nbi_json_next(nbi_json_reader *r, nbi_json_event *ev, nb_error *err) NB_MUST_CHECK;
/* Whether the text of the last event is `text`. */
bool nbi_json_text_is(const nbi_json_reader *r, const char *text);
/* After a KEY or at the start of a value: skips one whole value. */
nb_status nbi_json_skip(nbi_json_reader *r, nb_error *err) NB_MUST_CHECK;

/* ---- tree ---- */

typedef enum nbi_json_type {
    NBI_JT_NULL,
    NBI_JT_BOOL,
    NBI_JT_NUMBER,
    NBI_JT_STRING,
    NBI_JT_ARRAY,
    NBI_JT_OBJECT,
    NBI_JT_SCALAR /* plain (unquoted) YAML scalar: typed by whoever reads it */
} nbi_json_type;

typedef struct nbi_json nbi_json;
struct nbi_json {
    nbi_json_type type;
    bool boolean;
    const char *text; /* STRING, NUMBER (raw), SCALAR: NUL-terminated; else NULL */
    size_t text_len;
    const char *key; /* of a member of an object, NUL-terminated; else NULL */
    size_t key_len;
    size_t offset;   /* byte offset in the file (JSON) */
    int line;        /* 1-based line (YAML; 0 for JSON) */
    size_t n;        /* elements or members */
    nbi_json *first; /* first child; siblings in file order by next */
    nbi_json *next;
};

/* Parses a whole document into `arena` (text is copied). `name` is used in messages. */
nb_status nbi_json_parse(nbi_arena *arena, const char *name, const void *buf, size_t len,
                         nbi_json **out, nb_error *err) NB_MUST_CHECK;
/* Reads a file (at most max_bytes) and parses it. */
nb_status nbi_json_parse_file(nbi_arena *arena, const char *path, size_t max_bytes, nbi_json **out,
                              nb_error *err) NB_MUST_CHECK;

/* Member of an object, NULL if there is none (also when obj is NULL or no object). */
nbi_json *nbi_json_get(const nbi_json *obj, const char *key);
/* i-th child or NULL; O(i). */
nbi_json *nbi_json_at(const nbi_json *v, size_t i);
bool nbi_json_is_null(const nbi_json *v);                  /* true also for NULL */
bool nbi_json_equals(const nbi_json *v, const char *text); /* STRING or SCALAR with this text */

/* Typed accessors; SCALAR (from YAML) is converted by the type asked for. false when the type or
 * range is wrong. to_i64 takes integers and floats with an integral value ("1e3", "512.0"). */
bool nbi_json_to_bool(const nbi_json *v, bool *r);
bool nbi_json_to_i64(const nbi_json *v, int64_t *r);
bool nbi_json_to_f64(const nbi_json *v, double *r);
bool nbi_json_to_str(const nbi_json *v, const char **s, size_t *len);

/* Member readers for configuration objects: *r is left as it is when the key is absent or null; a
 * wrong type is NB_FORMAT, with `where` (file name), key, what was found and what is expected. */
nb_status nbi_json_get_i64(const nbi_json *obj, const char *where, const char *key, int64_t min,
                           int64_t max, int64_t *r, nb_error *err) NB_MUST_CHECK;
nb_status nbi_json_get_f64(const nbi_json *obj, const char *where, const char *key, double *r,
                           nb_error *err) NB_MUST_CHECK;
nb_status nbi_json_get_bool(const nbi_json *obj, const char *where, const char *key, bool *r,
                            nb_error *err) NB_MUST_CHECK;
nb_status nbi_json_get_str(const nbi_json *obj, const char *where, const char *key, const char **r,
                           nb_error *err) NB_MUST_CHECK;

/* ---- writer ---- */

/* Writes into a strbuf; commas and indentation by itself. indent 0 = one line with ", " and ": "
 * after Python's json.dumps; > 0 = that many blanks a level. ASCII-escaped when `ascii`. Floats are
 * the shortest text that reads back to the same double ("0.1", "1e-05", "2.0", as Python's repr);
 * NaN and infinities are the strings "NaN", "Infinity", "-Infinity". */
typedef struct nbi_json_writer {
    nbi_strbuf *out;
    int indent;
    bool ascii;
    int depth;
    bool first[NBI_JSON_MAX_DEPTH + 1];
    bool after_key;
} nbi_json_writer;

void nbi_json_writer_init(nbi_json_writer *w, nbi_strbuf *out, int indent, bool ascii);
void nbi_jw_object(nbi_json_writer *w);
void nbi_jw_object_end(nbi_json_writer *w);
void nbi_jw_array(nbi_json_writer *w);
void nbi_jw_array_end(nbi_json_writer *w);
void nbi_jw_key(nbi_json_writer *w, const char *key);
void nbi_jw_str(nbi_json_writer *w, const char *s);
void nbi_jw_strn(nbi_json_writer *w, const char *s, size_t len);
void nbi_jw_i64(nbi_json_writer *w, int64_t v);
void nbi_jw_f64(nbi_json_writer *w, double v);
/* A value held as f32: shortest text that reads back to the same float. */
void nbi_jw_f32(nbi_json_writer *w, float v);
void nbi_jw_bool(nbi_json_writer *w, bool v);
void nbi_jw_null(nbi_json_writer *w);
void nbi_jw_raw(nbi_json_writer *w, const char *json_text);
/* Copies a tree (numbers as written). */
void nbi_jw_tree(nbi_json_writer *w, const nbi_json *v);
/* A key with its value; text NULL: null. */
void nbi_jw_member_str(nbi_json_writer *w, const char *key, const char *text);
void nbi_jw_member_strn(nbi_json_writer *w, const char *key, const char *text, size_t len);
void nbi_jw_member_i64(nbi_json_writer *w, const char *key, int64_t v);
void nbi_jw_member_f64(nbi_json_writer *w, const char *key, double v);
void nbi_jw_member_bool(nbi_json_writer *w, const char *key, bool v);
/* Shortest round-trip text as above, into buf[32]; returns buf. */
char *nbi_format_f64(char buf[32], double v);
char *nbi_format_f32(char buf[32], float v);

#endif
