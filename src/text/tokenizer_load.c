/* SPDX-License-Identifier: MIT */
/* tokenizer.json: one pass over the file. The vocabulary and the merges, nearly all of it, go
 * straight into their tables; the other sections become small trees. */
#include "text/tokenizer_impl.h"

#include <stdio.h>
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"

#define MAX_FILE ((size_t)256 << 20)

enum {
    SEC_ADDED,
    SEC_NORMALIZER,
    SEC_PRETOKENIZER,
    SEC_POSTPROCESSOR,
    SEC_DECODER,
    SEC_TRUNCATION,
    SEC_PADDING,
    SECTIONS
};

static const char *const section_names[SECTIONS] = {"added_tokens",   "normalizer", "pre_tokenizer",
                                                    "post_processor", "decoder",    "truncation",
                                                    "padding"};

typedef struct loader {
    nb_tokenizer *t;
    nbi_load load;
    nbi_arena trees;
    nbi_json *sections[SECTIONS];
    size_t bases[SECTIONS]; /* where they begin in the file */
    nbi_model_spec spec;
    bool has_model;
} loader;

static nb_status read_section(loader *d, nbi_json_reader *r, int k)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(r, &ev, d->load.err));
    size_t begin = r->offset;
    while (r->depth > 1)
        NBI_TRY(nbi_json_next(r, &ev, d->load.err));
    if (d->sections[k])
        return nbi_fail(d->load.err, NB_FORMAT, "%s: byte %zu: \"%s\" is there twice",
                        d->load.where, begin, section_names[k]);
    char name[600];
    snprintf(name, sizeof name, "%.500s: %s, from byte %zu", d->load.where, section_names[k],
             begin);
    d->bases[k] = begin;
    return nbi_json_parse(&d->trees, name, r->buf + begin, r->pos - begin, &d->sections[k],
                          d->load.err);
}

static nb_status read_member(loader *d, nbi_json_reader *r)
{
    for (int k = 0; k < SECTIONS; k++) {
        if (nbi_json_text_is(r, section_names[k]))
            return read_section(d, r, k);
    }
    if (!nbi_json_text_is(r, "model"))
        return nbi_json_skip(r, d->load.err);
    if (d->has_model)
        return nbi_fail(d->load.err, NB_FORMAT, "%s: byte %zu: \"model\" is there twice",
                        d->load.where, r->offset);
    d->has_model = true;
    return nbi_model_read(r, &d->load, &d->spec);
}

static nb_status read_file(loader *d, nbi_json_reader *r)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(r, &ev, d->load.err));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return nbi_fail(d->load.err, NB_FORMAT, "%s: byte %zu: expected an object", d->load.where,
                        r->offset);
    for (;;) {
        NBI_TRY(nbi_json_next(r, &ev, d->load.err));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        NBI_TRY(read_member(d, r));
    }
    NBI_TRY(nbi_json_next(r, &ev, d->load.err)); /* nothing may follow */
    if (!d->has_model)
        return nbi_fail(d->load.err, NB_FORMAT, "%s: there is no \"model\"", d->load.where);
    return NB_OK;
}

/* A section's tree; messages about it count bytes from its place in the file. */
static const nbi_json *section(loader *d, int k)
{
    d->load.base = d->bases[k];
    return d->sections[k];
}

static nb_status build_stage(loader *d, nbi_components *list, const nbi_stage *stage, int k)
{
    return nbi_components_load(list, stage, section(d, k), &d->load);
}

static nb_status build(loader *d)
{
    nb_tokenizer *t = d->t;
    nbi_load *l = &d->load;
    NBI_TRY(nbi_model_build(l, &d->spec, &t->model_kind, &t->model));
    NBI_TRY(build_stage(d, &t->normalizer, &nbi_stage_normalizer, SEC_NORMALIZER));
    NBI_TRY(nbi_added_load(&t->added, section(d, SEC_ADDED), l, &t->normalizer));
    NBI_TRY(build_stage(d, &t->pretokenizer, &nbi_stage_pretokenizer, SEC_PRETOKENIZER));
    NBI_TRY(build_stage(d, &t->postprocessor, &nbi_stage_postprocessor, SEC_POSTPROCESSOR));
    NBI_TRY(build_stage(d, &t->decoder, &nbi_stage_decoder, SEC_DECODER));
    t->needs_alignment = l->needs_alignment;
    for (int k = SEC_TRUNCATION; k <= SEC_PADDING; k++) {
        if (!nbi_json_is_null(d->sections[k]))
            nbi_log(l->log, NB_LOG_NOTE, "%s: \"%s\" is left aside; lengths come from the recipe",
                    l->where, section_names[k]);
    }
    return NB_OK;
}

/* The post-processor may only insert tokens that exist. */
static nb_status check_inserted(const nb_tokenizer *t, const char *where, nb_error *err)
{
    nbi_run run = {.original = "", .vocab = &t->vocab, .err = err};
    nb_status st = NB_OK;
    for (size_t i = 0; i < t->postprocessor.n && st == NB_OK; i++)
        st = t->postprocessor.v[i].kind->run.process(t->postprocessor.v[i].param, &run, true);
    for (size_t i = 0; i < run.tokens.n && st == NB_OK; i++) {
        if (!nb_tokenizer_token(t, run.tokens.v[i].id))
            st = nbi_fail(err, NB_FORMAT,
                          "%s: post_processor inserts token id %d, which does not exist", where,
                          (int)run.tokens.v[i].id);
    }
    nbi_run_free(&run);
    return st;
}

nb_status nbi_tokenizer_load(nb_tokenizer *t, const char *dir, const nb_log *log, nb_error *err)
{
    nbi_mapfile file = {0};
    nbi_json_reader reader = {0};
    char *path = nbi_path_join(dir, "tokenizer.json");
    if (!path)
        return nbi_fail_nomem(err, dir, 0);
    loader d = {.t = t,
                .load = {.where = path,
                         .arena = &t->arena,
                         .regexes = &t->regexes,
                         .vocab = &t->vocab,
                         .log = log,
                         .err = err},
                .spec = {.vocab = &t->vocab}};
    nbi_arena_init(&d.trees, NBI_MEM_IO);
    nb_status st;
    NBI_TRY_GOTO(nbi_mapfile_open(&file, path, err), done);
    if (file.size > MAX_FILE) {
        st = nbi_fail(err, NB_LIMIT, "%s: %zu bytes; at most %zu", path, file.size, MAX_FILE);
        goto done;
    }
    nbi_json_reader_init(&reader, path, file.data, file.size);
    NBI_TRY_GOTO(read_file(&d, &reader), done);
    NBI_TRY_GOTO(nbi_mapfile_check(&file, err), done);
    NBI_TRY_GOTO(build(&d), done);
    st = check_inserted(t, path, err);
done:
    nbi_json_reader_free(&reader);
    nbi_mapfile_close(&file);
    nbi_arena_free(&d.trees);
    nbi_array_free(&d.spec.merges);
    nbi_free(path);
    return st;
}
