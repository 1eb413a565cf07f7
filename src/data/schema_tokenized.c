/* SPDX-License-Identifier: MIT */
/* tokenized: ids and labels made elsewhere. */
#include "base/fail.h"
#include "data/schema.h"

typedef NBI_ARRAY(int32_t) id_list;

static nb_status read_list(const nbi_row *row, const char *field, int64_t min, int64_t max,
                           id_list *list, nb_error *err)
{
    const nbi_json *v = nbi_json_get(row->v, field);
    if (v->type != NBI_JT_ARRAY)
        return nbi_row_fail(row, field, err, "found %s, expected a list of numbers",
                            nbi_json_type_text(v));
    if (!nbi_array_reserve(list, v->n))
        return nbi_fail_nomem(err, row->path, v->n * sizeof *list->v);
    for (const nbi_json *e = v->first; e; e = e->next) {
        int64_t x;
        bool flag;
        if (max == 1 && nbi_json_to_bool(e, &flag))
            x = flag;
        else if (!nbi_json_to_i64(e, &x))
            return nbi_row_fail(row, field, err, "entry %zu is %.40s, expected a whole number",
                                list->n,
                                e->type == NBI_JT_NUMBER ? e->text : nbi_json_type_text(e));
        if ((x < min || x > max) && !(x == NB_LABEL_IGNORE && min == NB_LABEL_IGNORE))
            return nbi_row_fail(row, field, err, "entry %zu is %lld, expected %s%lld to %lld",
                                list->n, (long long)x, min == NB_LABEL_IGNORE ? "-100 or " : "",
                                (long long)(min < 0 ? 0 : min), (long long)max);
        list->v[list->n++] = (int32_t)x;
    }
    return NB_OK;
}

static bool given(const nbi_row *row, const char *field)
{
    return !nbi_json_is_null(nbi_json_get(row->v, field));
}

/* A list beside the ids; stays empty when the row has none. */
static nb_status read_beside(const nbi_row *row, const char *field, bool label, size_t n,
                             id_list *list, nb_error *err)
{
    if (!given(row, field))
        return NB_OK;
    NBI_TRY(read_list(row, field, label ? NB_LABEL_IGNORE : 0, label ? INT32_MAX : 1, list, err));
    if (list->n != n)
        return nbi_row_fail(row, field, err, "has %zu entries, the ids have %zu", list->n, n);
    for (size_t i = 0; label && i < n; i++)
        if (list->v[i] < 0 && list->v[i] != NB_LABEL_IGNORE)
            return nbi_row_fail(row, field, err, "entry %zu is %d, expected -100 or an id", i,
                                list->v[i]);
    return NB_OK;
}

typedef struct lists {
    id_list ids, labels, attention, assistant, completion;
} lists;

static nb_status read_row(const nbi_row *row, lists *a, nb_error *err)
{
    const char *field = given(row, "input_ids") ? "input_ids" : "ids";
    if (!given(row, field)) {
        const char *text;
        size_t len;
        return nbi_row_text(&nbi_schema_tokenized, row, "input_ids", false, &text, &len, err);
    }
    NBI_TRY(read_list(row, field, 0, INT32_MAX, &a->ids, err));
    NBI_TRY(read_beside(row, "labels", true, a->ids.n, &a->labels, err));
    NBI_TRY(read_beside(row, "attention_mask", false, a->ids.n, &a->attention, err));
    NBI_TRY(read_beside(row, "assistant_masks", false, a->ids.n, &a->assistant, err));
    return read_beside(row, "completion_mask", false, a->ids.n, &a->completion, err);
}

static nb_status combine(const nbi_layout *l, const nbi_row *row, const lists *a,
                         nbi_rendering *out, nb_error *err)
{
    if (!nbi_array_reserve(&out->ids, a->ids.n) || !nbi_array_reserve(&out->labels, a->ids.n))
        return nbi_fail_nomem(err, row->path, a->ids.n * sizeof(int32_t));
    for (size_t i = 0; i < a->ids.n; i++) {
        if (a->attention.n && !a->attention.v[i])
            continue; /* padding */
        int32_t label = a->ids.v[i];
        if (a->labels.n)
            label = a->labels.v[i];
        else if ((a->assistant.n && !a->assistant.v[i]) ||
                 (a->completion.n && !a->completion.v[i] && l->train_on == NB_TRAIN_COMPLETION))
            label = NB_LABEL_IGNORE;
        out->ids.v[out->ids.n++] = a->ids.v[i];
        out->labels.v[out->labels.n++] = label;
    }
    out->has_ids = true;
    return NB_OK;
}

static nb_status render(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err)
{
    lists a = {0};
    nb_status st = read_row(row, &a, err);
    if (st == NB_OK)
        st = combine(l, row, &a, out, err);
    nbi_array_free(&a.ids);
    nbi_array_free(&a.labels);
    nbi_array_free(&a.attention);
    nbi_array_free(&a.assistant);
    nbi_array_free(&a.completion);
    return st;
}

const nbi_schema nbi_schema_tokenized = {
    .format = NB_DATA_TOKENIZED,
    .name = "tokenized",
    .needs = "\"input_ids\" (or \"ids\"), usually with \"labels\"",
    .train_on = NB_TRAIN_COMPLETION,
    .string_answer = true,
    .fields = {{.name = "input_ids", .other = "ids", .list = true}},
    .render = render,
};
