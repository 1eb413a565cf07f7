/* SPDX-License-Identifier: MIT */
/* From the keys of a recipe to an open model with its adapter and tokenizer. */
#ifndef NBI_ASSEMBLY_H
#define NBI_ASSEMBLY_H

#include "nibble/train.h"
#include "train/recipe.h"

/* A frozen model that several assemblies use one after the other; the first one loads it. */
struct nb_base {
    nb_model *model; /* NULL: none yet */
    char *dir;
    nb_model_load how; /* quantized_cache is not kept */
};

typedef struct nbi_assembly {
    nb_base *base; /* borrowed; NULL: the model is its own */
    nb_model *model;
    nb_adapter *adapter; /* NULL: none */
    nb_tokenizer *tok;   /* NULL: the folder has no tokenizer.json */
    char *dir;           /* of the model */
    bool stream;         /* set before nbi_assembly_load: weights stay in their file */
    const volatile sig_atomic_t *stop; /* set before all: polled meanwhile; NULL: none */
    nb_hook **aside; /* [sites] hooks of the adapter while it is off; else NULLs */
    bool off;        /* the adapter is */
} nbi_assembly;

/* Takes over what an adapter folder says about its base, each unless the recipe says otherwise: the
 * base itself, and how it was held in memory (a difference is said); with `layout` also the row
 * layout of its training. Call after nb_recipe_finish. */
nb_status nbi_recipe_adopt(nb_recipe *r, const char *adapter_dir, bool layout, const nb_log *log,
                           nb_error *err) NB_MUST_CHECK;

/* Opens model and tokenizer (not the adapter). NB_CONFIG when there is no `model`. */
nb_status nbi_assembly_open(nbi_assembly *a, const nb_recipe *r, bool trainable, const nb_log *log,
                            nb_error *err) NB_MUST_CHECK;
/* The same in two parts, so that data can be read before a large model is: the folder and its
 * tokenizer first, the model later. */
nb_status nbi_assembly_begin(nbi_assembly *a, const nb_recipe *r, const nb_log *log,
                             nb_error *err) NB_MUST_CHECK;
nb_status nbi_assembly_load(nbi_assembly *a, const nb_recipe *r, bool trainable, const nb_log *log,
                            nb_error *err) NB_MUST_CHECK;
/* A model of `base` stays there. */
void nbi_assembly_close(nbi_assembly *a);
/* Loads the adapter in `dir`, not to be trained, so that it can be switched off and on. */
nb_status nbi_assembly_adapt(nbi_assembly *a, const char *dir, const nb_log *log,
                             nb_error *err) NB_MUST_CHECK;
/* The model with its adapter or as it was without; what was computed before does not know. Sessions
 * and workspaces are opened while it is on, since they reserve the memory of its hooks. No effect
 * without an adapter. */
void nbi_assembly_use_adapter(nbi_assembly *a, bool on);

/* Subset of this CPU's flags that `cpumask` allows: names of levels ("avx2", "avx512", ...), "ref"
 * for none; NULL: all. A name allows the levels below it too. */
nb_status nbi_cpumask_parse(const char *mask, unsigned *flags, nb_error *err) NB_MUST_CHECK;

#endif
