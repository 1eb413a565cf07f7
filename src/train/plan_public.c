/* SPDX-License-Identifier: MIT */
/* nb_plan_recipe: the plan of a recipe without a run. */
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "train/trainer.h"

/* `model` names a config.json: its folder takes its place. */
static nb_status split_config(nb_recipe *r, char **config, nb_error *err)
{
    *config = nbi_strdup(NBI_MEM_OTHER, r->model);
    const char *slash = strrchr(r->model, '/');
    size_t n = slash ? (size_t)(slash - r->model) : 0;
    if (n == 0)
        r->model = slash ? "/" : ".";
    else
        r->model = nbi_arena_strndup(&r->arena, r->model, n);
    return *config && r->model ? NB_OK : nbi_fail_nomem(err, "a path", n);
}

static bool is_file(const char *path)
{
    return path && nbi_path_exists(path) && !nbi_path_is_dir(path);
}

static nb_status read_config(nbi_run *run, char **path, nb_error *err)
{
    nbi_plan *p = &run->plan;
    bool alone = is_file(run->r->model);
    if (alone)
        NBI_TRY(split_config(run->r, path, err));
    NBI_TRY(nbi_assembly_begin(&run->parts, run->r, run->log, err));
    if (!alone)
        *path = nbi_path_join(run->parts.dir, "config.json");
    if (!*path)
        return nbi_fail_nomem(err, "a path", 0);
    if (!nbi_path_exists(*path))
        return nbi_fail(err, NB_NOTFOUND, "%s: no config.json in it, so it is not a model folder",
                        run->parts.dir);
    NBI_TRY(nb_config_read_planned(&p->config, *path, &p->can_train, err));
    p->has_config = true;
    return NB_OK;
}

static nb_status make_plan(nbi_run *run, nb_plan_form form, nbi_strbuf *out, nb_error *err)
{
    nb_recipe *r = run->r;
    nbi_plan *p = &run->plan;
    char *path = NULL;
    NBI_TRY(nb_recipe_finish(r, run->log, err));
    if (r->init_adapter)
        NBI_TRY(nbi_recipe_adopt(r, r->init_adapter, false, run->log, err));
    p->r = r;
    NBI_TRY(nbi_plan_limits(p, err));
    nb_status st = read_config(run, &path, err);
    nbi_free(path);
    NBI_TRY(st);
    if (r->data)
        NBI_TRY(nbi_run_open_rows(run, err));
    NBI_TRY(nbi_plan_make(p, run->parts.dir, run->total, err));
    NBI_TRY(nbi_plan_measure(p, err));
    return nbi_plan_report(p, form, out, err);
}

nb_status nb_plan_recipe(nb_recipe *r, nb_plan_form form, const nb_train_hooks *hooks, char **text,
                         bool *fits, nb_error *err)
{
    static const nb_train_hooks none = {0};
    nbi_run run = {
        .r = r, .hooks = hooks ? hooks : &none, .log = hooks ? hooks->log : NULL, .lock = -1};
    nbi_strbuf out = {0};
    *text = NULL;
    nb_status st = make_plan(&run, form, &out, err);
    if (fits)
        *fits = st == NB_OK && nbi_plan_fits(&run.plan);
    if (st != NB_OK)
        nbi_strbuf_free(&out);
    *text = out.s;
    nbi_run_close(&run);
    return st;
}
