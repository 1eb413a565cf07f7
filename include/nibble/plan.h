/* SPDX-License-Identifier: MIT */
/* What a training run will take, before anything is loaded. */
#ifndef NIBBLE_PLAN_H
#define NIBBLE_PLAN_H

#include "nibble/train.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef enum nb_plan_form {
    NB_PLAN_TABLE,
    NB_PLAN_JSON,   /* one object on one line, ASCII */
    NB_PLAN_COMPARE /* full fine-tuning, LoRA and QLoRA side by side, as tutorials print it */
} nb_plan_form;

/* Plans the recipe: bytes by kind and phase, the peak, operations, times, and what would fit when
 * it exceeds `memory_limit`, the machine or `time_budget`. `model` may also be a config.json alone,
 * or a folder that has nothing else; without `data` rows of max_seq_length tokens are assumed. Only
 * the rows are read, no weights. *text is freed with nb_free; hooks may be NULL. *fits (may be
 * NULL): nb_train would not refuse. */
nb_status nb_plan_recipe(nb_recipe *r, nb_plan_form form, const nb_train_hooks *hooks, char **text,
                         bool *fits, nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
