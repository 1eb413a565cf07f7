/* SPDX-License-Identifier: MIT */
#include "train/watch.h"

#include "base/log.h"
#include "train/tensorboard.h"
#include "train/trainer.h"

struct nbi_watch {
    const nbi_run *run;
    size_t shown; /* entries of the history */
    nbi_tensorboard *events;
};

static void show_settings(const nbi_watch *w)
{
    char *settings = NULL;
    nb_error err;
    if (nb_recipe_json(w->run->r, &settings, &err) == NB_OK)
        nbi_tensorboard_text(w->events, "args/text_summary", 0, settings);
    nbi_free(settings);
}

nbi_watch *nbi_watch_open(const nbi_run *run)
{
    nbi_watch *w = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(*w));
    if (!w) {
        nbi_log(run->log, NB_LOG_WARN, "no memory for event files and pages of this run");
        return NULL;
    }
    w->run = run;
    /* what a resumed run brings along stands in its earlier files */
    w->shown = run->at.step > 0 ? run->history.entries.n : 0;
    if (run->r->tensorboard)
        w->events = nbi_tensorboard_open(run->r->output_dir, run->at.step, run->log);
    if (w->events)
        show_settings(w);
    return w;
}

void nbi_watch_entries(nbi_watch *w)
{
    if (!w)
        return;
    const nbi_history *h = &w->run->history;
    for (; w->shown < h->entries.n; w->shown++)
        nbi_tensorboard_entry(w->events, h, &h->entries.v[w->shown]);
}

void nbi_watch_close(nbi_watch **w)
{
    if (!w || !*w)
        return;
    nbi_tensorboard_close(&(*w)->events);
    nbi_free(*w);
    *w = NULL;
}
