/* SPDX-License-Identifier: MIT */
#include "train/history.h"

#include <math.h>
#include <string.h>
#include "base/fail.h"

void nbi_history_init(nbi_history *h)
{
    *h = (nbi_history){0};
    nbi_arena_init(&h->arena, NBI_MEM_OTHER);
}

void nbi_history_free(nbi_history *h)
{
    nbi_array_free(&h->names);
    nbi_array_free(&h->entries);
    nbi_array_free(&h->numbers);
    nbi_arena_free(&h->arena);
}

nb_status nbi_history_begin(nbi_history *h, nbi_entry_kind kind, int64_t step, double epoch,
                            nb_error *err)
{
    const nbi_entry e = {.kind = kind, .step = step, .epoch = epoch, .first = h->numbers.n};
    if (!nbi_array_push(&h->entries, e))
        return nbi_fail_nomem(err, "the history of the run", sizeof(e));
    return NB_OK;
}

/* Runs have a few dozen names at most. */
static const char *known_name(nbi_history *h, const char *name)
{
    for (size_t i = 0; i < h->names.n; i++)
        if (strcmp(h->names.v[i], name) == 0)
            return h->names.v[i];
    const char *copy = nbi_arena_strndup(&h->arena, name, strlen(name));
    return copy && nbi_array_push(&h->names, copy) ? copy : NULL;
}

nb_status nbi_history_add(nbi_history *h, const char *name, double value, bool count, nb_error *err)
{
    const nbi_entry_number v = {.name = known_name(h, name), .value = value, .count = count};
    if (!v.name || !nbi_array_push(&h->numbers, v))
        return nbi_fail_nomem(err, "the history of the run", sizeof(v));
    h->entries.v[h->entries.n - 1].n++;
    return NB_OK;
}

const nbi_entry *nbi_history_last(const nbi_history *h)
{
    return h->entries.n ? &h->entries.v[h->entries.n - 1] : NULL;
}

double nbi_history_value(const nbi_history *h, const nbi_entry *e, const char *name)
{
    for (size_t i = e->first; i < e->first + e->n; i++)
        if (strcmp(h->numbers.v[i].name, name) == 0)
            return h->numbers.v[i].value;
    return NAN;
}

void nbi_history_write(nbi_json_writer *w, const nbi_entry_number *v)
{
    nbi_jw_key(w, v->name);
    if (v->count)
        nbi_jw_i64(w, (int64_t)v->value);
    else
        nbi_jw_f64(w, v->value);
}
