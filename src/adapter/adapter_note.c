/* SPDX-License-Identifier: MIT */
/* nibble.json beside an adapter: what PEFT's files do not hold. */
#include <string.h>
#include "adapter/adapter_priv.h"
#include "base/fail.h"
#include "base/safefile.h"

static const char *compute_name(nb_compute c)
{
    return c == NB_COMPUTE_BF16 ? "bf16" : "f32";
}

void nb_adapter_note_free(nb_adapter_note *n)
{
    nbi_free(n->base_dir);
    nbi_free(n->layout_json);
    *n = (nb_adapter_note){0};
}

static nb_status read_quant(const char *path, const nbi_json *base, nb_quant_config *q,
                            nb_error *err)
{
    const char *type = "nf4";
    *q = (nb_quant_config){.kind = NB_QK_NF4, .block = 64, .nested_block = 256};
    NBI_TRY(nbi_json_get_bool(base, path, "load_in_4bit", &q->load_in_4bit, err));
    NBI_TRY(nbi_json_get_str(base, path, "bnb_4bit_quant_type", &type, err));
    NBI_TRY(nbi_json_get_bool(base, path, "bnb_4bit_use_double_quant", &q->double_quant, err));
    NBI_TRY(nbi_json_get_i64(base, path, "blocksize", 32, 4096, &q->block, err));
    NBI_TRY(nbi_json_get_i64(base, path, "nested_blocksize", 32, 4096, &q->nested_block, err));
    if (strcmp(type, "fp4") == 0)
        q->kind = NB_QK_FP4;
    else if (strcmp(type, "nf4") != 0)
        return nbi_fail(err, NB_FORMAT, "%s: bnb_4bit_quant_type is \"%s\", expected nf4 or fp4",
                        path, type);
    if ((q->block & (q->block - 1)) || (q->nested_block & (q->nested_block - 1)))
        return nbi_fail(err, NB_FORMAT, "%s: block sizes %lld and %lld are no powers of two", path,
                        (long long)q->block, (long long)q->nested_block);
    return NB_OK;
}

static nb_status read_note(const char *path, const nbi_json *doc, nb_adapter_note *n, nb_error *err)
{
    const char *dir = NULL, *compute = "f32";
    const nbi_json *base = nbi_json_get(doc, "base"), *layout = nbi_json_get(doc, "layout");
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: expected a JSON object", path);
    NBI_TRY(read_quant(path, base, &n->quant, err));
    NBI_TRY(nbi_json_get_str(base, path, "dir", &dir, err));
    NBI_TRY(nbi_json_get_str(doc, path, "compute_dtype", &compute, err));
    if (strcmp(compute, "bf16") == 0)
        n->compute = NB_COMPUTE_BF16;
    else if (strcmp(compute, "f32") != 0)
        return nbi_fail(err, NB_FORMAT, "%s: compute_dtype is \"%s\", expected f32 or bf16", path,
                        compute);
    if (dir && !(n->base_dir = nbi_strdup(NBI_MEM_OTHER, dir)))
        return nbi_fail_nomem(err, "adapter settings", 0);
    if (nbi_json_is_null(layout))
        return NB_OK;
    if (layout->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: layout: expected an object", path);
    nbi_strbuf text = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &text, 0, true);
    nbi_jw_tree(&w, layout);
    nb_status st = nbi_strbuf_check(&text, err);
    if (st == NB_OK && !(n->layout_json = nbi_strdup(NBI_MEM_OTHER, nbi_strbuf_str(&text))))
        st = nbi_fail_nomem(err, "adapter settings", text.n);
    nbi_strbuf_free(&text);
    return st;
}

nb_status nbi_adapter_note_read(const char *path, nb_adapter_note *n, nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc;
    *n = (nb_adapter_note){0};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse_file(&arena, path, NBI_ADAPTER_CONFIG_MAX, &doc, err);
    if (st == NB_OK)
        st = read_note(path, doc, n, err);
    nbi_arena_free(&arena);
    if (st != NB_OK)
        nb_adapter_note_free(n);
    return st;
}

static void write_base(nbi_json_writer *w, const nb_adapter_note *n)
{
    const nb_quant_config *q = &n->quant;
    nbi_jw_key(w, "base");
    nbi_jw_object(w);
    nbi_jw_key(w, "dir");
    if (n->base_dir)
        nbi_jw_str(w, n->base_dir);
    else
        nbi_jw_null(w);
    nbi_jw_key(w, "load_in_4bit");
    nbi_jw_bool(w, q->load_in_4bit);
    if (q->load_in_4bit) {
        nbi_jw_key(w, "bnb_4bit_quant_type");
        nbi_jw_str(w, nb_qkind_name(q->kind));
        nbi_jw_key(w, "bnb_4bit_use_double_quant");
        nbi_jw_bool(w, q->double_quant);
        nbi_jw_key(w, "blocksize");
        nbi_jw_i64(w, q->block);
        if (q->double_quant) {
            nbi_jw_key(w, "nested_blocksize");
            nbi_jw_i64(w, q->nested_block);
        }
    }
    nbi_jw_object_end(w);
}

/* The layout is an object on its own: parsed and written again, so that the file stays one
 * document. */
static nb_status write_layout(nbi_json_writer *w, const char *json, nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc;
    nbi_jw_key(w, "layout");
    if (!json) {
        nbi_jw_null(w);
        return NB_OK;
    }
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse(&arena, "layout", json, strlen(json), &doc, err);
    if (st == NB_OK)
        nbi_jw_tree(w, doc);
    nbi_arena_free(&arena);
    return st;
}

nb_status nbi_adapter_note_write(const nb_adapter_note *n, const char *path, nb_error *err)
{
    nbi_strbuf text = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &text, 2, true);
    nbi_jw_object(&w);
    write_base(&w, n);
    nbi_jw_key(&w, "compute_dtype");
    nbi_jw_str(&w, compute_name(n->compute));
    nb_status st = write_layout(&w, n->layout_json, err);
    nbi_jw_key(&w, "nibble_version");
    nbi_jw_str(&w, nb_version());
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(&text, '\n');
    if (st == NB_OK)
        st = nbi_strbuf_check(&text, err);
    if (st == NB_OK)
        st = nbi_write_file(path, text.s, text.n, err);
    nbi_strbuf_free(&text);
    return st;
}
