/* SPDX-License-Identifier: MIT */
/* What follows from the keys given: derived settings, combinations that make no sense, and advice
 * on values outside the usual range (a line each, never a refusal). */
#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "base/log.h"
#include "train/assembly.h"
#include "train/recipe_keys.h"

static nb_status clash(const nb_recipe *r, nb_error *err, const char *text)
{
    return nbi_fail(err, NB_CONFIG, "%s%s%s", r->path ? r->path : "", r->path ? ": " : "", text);
}

static bool lora_given(const nb_recipe *r)
{
    for (size_t i = 0; i < nbi_keys_n; i++)
        if (r->given[i] && !strcmp(nbi_keys[i].group, "adapter") &&
            strcmp(nbi_keys[i].name, "adapter") != 0 &&
            strcmp(nbi_keys[i].name, "init_adapter") != 0)
            return true;
    return false;
}

static nb_status derive_method(nb_recipe *r, nb_error *err)
{
    bool asked = nb_recipe_given(r, "load_in_4bit"), four = asked && r->quant.load_in_4bit;
    if (!nb_recipe_given(r, "method"))
        r->method = four ? NB_METHOD_QLORA : NB_METHOD_LORA;
    if (r->method == NB_METHOD_FULL && four)
        return clash(r, err,
                     "method: full cannot train 4-bit weights; leave out load_in_4bit, or use "
                     "method: qlora");
    if (r->method == NB_METHOD_QLORA && asked && !four)
        return clash(r, err,
                     "method: qlora holds the base in 4 bits, but load_in_4bit is false; use "
                     "method: lora");
    if (r->method == NB_METHOD_LORA && four)
        r->method = NB_METHOD_QLORA;
    if (!asked)
        r->quant.load_in_4bit = r->method == NB_METHOD_QLORA;
    if (r->quant.block & (r->quant.block - 1))
        return clash(r, err, "bnb_4bit_blocksize: must be a power of two from 32 to 4096");
    if (r->method == NB_METHOD_FULL && r->init_adapter)
        return clash(r, err,
                     "init_adapter: method: full trains the model itself; use method: lora");
    if (r->method == NB_METHOD_FULL && lora_given(r))
        return nbi_recipe_note(r, NB_LOG_WARN, err, "method: full: the lora_ keys have no effect");
    if (r->method == NB_METHOD_FULL && nb_recipe_given(r, "loraplus_lr_ratio"))
        return nbi_recipe_note(r, NB_LOG_WARN, err,
                               "method: full: loraplus_lr_ratio has no effect");
    if (r->init_adapter && lora_given(r))
        return nbi_recipe_note(
            r, NB_LOG_WARN, err,
            "init_adapter: the LoRA settings come from its adapter_config.json; the "
            "lora_ keys of the recipe have no effect");
    return NB_OK;
}

/* compute_dtype wins over bf16 and fp16, these over torch_dtype. */
static nb_status derive_compute(nb_recipe *r, nb_error *err)
{
    nb_compute_choice c = NB_COMPUTE_ASK_AUTO;
    const char *by = NULL;
    if (r->bf16 && r->fp16)
        return clash(r, err, "bf16 and fp16 are both true; give one");
    if (nb_recipe_given(r, "compute_dtype") && r->compute_dtype != NB_COMPUTE_ASK_AUTO) {
        c = r->compute_dtype;
        by = r->states[nbi_key_index("compute_dtype")].spelling;
    } else if (r->bf16 || r->fp16) {
        c = r->bf16 ? NB_COMPUTE_ASK_BF16 : NB_COMPUTE_ASK_F16;
        by = r->bf16 ? "bf16" : "fp16";
    } else if (r->torch_dtype != NB_COMPUTE_ASK_AUTO) {
        c = r->torch_dtype;
        by = r->states[nbi_key_index("torch_dtype")].spelling;
    }
    /* only compute_dtype itself insists on bf16; the rest means whichever the machine does well */
    const bool insists = c == NB_COMPUTE_ASK_BF16 && r->compute_dtype == NB_COMPUTE_ASK_BF16;
    bool bf16 = insists;
    if (!insists && (c == NB_COMPUTE_ASK_BF16 || c == NB_COMPUTE_ASK_F16)) {
        unsigned flags;
        NBI_TRY(nbi_cpumask_parse(r->cpumask, &flags, err));
        bf16 = nb_cpu_bf16_fast(flags);
    }
    r->compute = bf16 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32;
    if (c == NB_COMPUTE_ASK_F16)
        NBI_TRY(
            nbi_recipe_note(r, NB_LOG_NOTE, err,
                            "%s asks for 16-bit floats: computed in %s; sums, adapters and moments "
                            "are f32, so no loss scaling is needed",
                            by, bf16 ? "bf16" : "f32, which this machine does faster"));
    if (c == NB_COMPUTE_ASK_BF16 && bf16)
        NBI_TRY(nbi_recipe_note(r, NB_LOG_NOTE, err,
                                "%s: products in bf16; sums, adapters and moments are f32", by));
    else if (c == NB_COMPUTE_ASK_BF16)
        NBI_TRY(nbi_recipe_note(r, NB_LOG_NOTE, err,
                                "%s: this machine has no fast bf16, computed in f32 "
                                "(compute_dtype: bf16 insists)",
                                by));
    if (r->bf16 && c == NB_COMPUTE_ASK_F32)
        return nbi_recipe_note(r, NB_LOG_NOTE, err, "bf16: %s wins, computed in f32", by);
    return NB_OK;
}

static nb_status derive_lora(nb_recipe *r, nb_error *err)
{
    if (!nb_recipe_given(r, "lora_target_modules"))
        r->lora.all_linear = true;
    if (r->lora.targets_regex && r->lora.layers.n)
        return clash(r, err, "layers_to_transform needs lora_target_modules as a list of names");
    return NB_OK;
}

static nb_status check_schedule(nb_recipe *r, nb_error *err)
{
    nb_schedule s;
    if (r->warmup_steps > 1 && r->warmup_steps != floor(r->warmup_steps))
        return clash(r, err,
                     "warmup_steps: expected a whole number, or a part of all steps below 1");
    NBI_TRY(nb_schedule_init(&s, r->schedule, r->schedule_kwargs, r->learning_rate, 0, 1, err));
    if (nb_schedule_wants_metric(&s) && r->warmup_steps > 0)
        return nbi_recipe_note(r, NB_LOG_NOTE, err, "warmup_steps: no effect: %s has no warm-up",
                               r->schedule);
    return NB_OK;
}

static nb_status check_optim(nb_recipe *r, nb_error *err)
{
    const nb_optim_choice *choice;
    nb_optim_config c = r->optim_config;
    NBI_TRY(nb_optim_choose(&choice, r->optim, err));
    NBI_TRY(nb_optim_settle(&c, choice, err));
    if (c.o.relative_step)
        return nbi_recipe_note(r, NB_LOG_NOTE, err,
                               "learning_rate and lr_scheduler_type: no effect: adafactor with "
                               "relative_step makes its own rate");
    return NB_OK;
}

static nb_status derive_rates(nb_recipe *r, nb_error *err)
{
    if (!nb_recipe_given(r, "learning_rate"))
        r->learning_rate = r->method == NB_METHOD_FULL ? 2e-5 : 2e-4;
    if (!nb_recipe_given(r, "gradient_accumulation_steps"))
        r->accumulation = nb_recipe_given(r, "per_device_train_batch_size") ? 1 : 4;
    /* "warmup_steps: 0" alone means no warm-up, not the default ratio */
    if (!nb_recipe_given(r, "warmup_ratio"))
        r->warmup_ratio = nb_recipe_given(r, "warmup_steps") ? 0.0 : 0.03;
    if (r->max_steps == 0)
        return clash(r, err, "max_steps: 0 trains nothing; leave it out to go by num_train_epochs");
    if (r->max_steps < 0 && r->epochs <= 0)
        return clash(r, err, "num_train_epochs: 0 trains nothing; give max_steps or epochs");
    NBI_TRY(check_schedule(r, err));
    return check_optim(r, err);
}

static nb_status check_data(nb_recipe *r, nb_error *err)
{
    const nb_data_config *c = &r->data_config;
    bool template = c->format == NB_DATA_TEMPLATE || c->format == NB_DATA_AUTO;
    if (c->format == NB_DATA_TEMPLATE && !c->template_text)
        return clash(r, err,
                     "format: template needs the key template, for example \"[INST] {question} "
                     "[/INST] {answer}\"");
    if (c->template_text && !template)
        return nbi_fail(err, NB_CONFIG,
                        "template: has no effect with format: %s; use format: template",
                        nb_data_format_name(c->format));
    if (c->n_template_vars && !c->template_text)
        return clash(r, err, "template_vars: given without template");
    if (c->response_template && !template && c->format != NB_DATA_TEXT)
        return nbi_fail(
            err, NB_CONFIG,
            "response_template: has no effect with format: %s, which knows where the answer "
            "begins",
            nb_data_format_name(c->format));
    if ((r->eval_data != NULL) + (r->eval_rows > 0) + (r->eval_fraction > 0) > 1)
        return clash(r, err, "eval_data, eval_rows and eval_fraction: give one of them");
    if (c->template_text && strstr(c->template_text, "\\n") && !strchr(c->template_text, '\n'))
        return nbi_recipe_note(
            r, NB_LOG_WARN, err,
            "template: holds a backslash and an n instead of a line feed; in YAML "
            "write it in double quotes, in a shell as $'...'");
    if (r->packing)
        NBI_TRY(
            nbi_recipe_note(r, NB_LOG_NOTE, err, "packing: rows are never padded and never mixed"));
    if (r->group_by_length && (r->packing || r->sample_order))
        return clash(r, err,
                     r->packing
                         ? "group_by_length: a pack holds rows of any length; leave out packing or "
                           "group_by_length"
                         : "group_by_length: the order is that of sample_order; give one of them");
    if (r->packing && r->max_tokens_per_batch > 0 &&
        nb_recipe_given(r, "per_device_train_batch_size"))
        return nbi_recipe_note(r, NB_LOG_NOTE, err,
                               "per_device_train_batch_size: no effect: with packing, "
                               "max_tokens_per_batch says what a batch holds");
    return NB_OK;
}

static int64_t whole_steps(double every, int64_t total)
{
    if (every >= 1)
        return (int64_t)every;
    return total > 0 && every > 0 ? (int64_t)ceil(every * (double)total) : 0;
}

/* The best step must be one that was saved: every save follows an evaluation. */
static nb_status check_best(const nb_recipe *r, nb_error *err)
{
    if (!r->load_best || r->save_strategy == NB_STRATEGY_BEST)
        return NB_OK;
    if (r->save_strategy != r->eval_strategy)
        return clash(r, err,
                     "load_best_model_at_end: save_strategy and eval_strategy must be the same; "
                     "give save_strategy the value of eval_strategy, or best");
    if (r->save_strategy == NB_STRATEGY_STEPS && r->save_steps > 0 && r->eval_steps > 0 &&
        r->save_steps % r->eval_steps != 0)
        return nbi_fail(err, NB_CONFIG,
                        "load_best_model_at_end: save_steps (%lld) must be a multiple of "
                        "eval_steps (%lld); change one of them, or use save_strategy: best",
                        (long long)r->save_steps, (long long)r->eval_steps);
    return NB_OK;
}

nb_status nb_recipe_resolve_steps(nb_recipe *r, int64_t total, nb_error *err)
{
    r->logging_steps = whole_steps(r->logging_every, total);
    r->eval_steps = whole_steps(r->eval_every, total);
    r->save_steps = whole_steps(r->save_every, total);
    return check_best(r, err);
}

/* Everything that goes by evaluations needs some. */
static nb_status check_watching(nb_recipe *r, nb_error *err)
{
    const char *key = r->load_best                           ? "load_best_model_at_end"
                      : r->patience > 0                      ? "early_stopping_patience"
                      : r->save_strategy == NB_STRATEGY_BEST ? "save_strategy: best"
                                                             : NULL;
    if (key && r->eval_strategy == NB_STRATEGY_NO)
        return nbi_fail(err, NB_CONFIG,
                        "%s goes by evaluations during the run; give eval_data, eval_rows or "
                        "eval_fraction, and an eval_strategy other than no",
                        key);
    if (r->patience > 0 && !r->load_best)
        return nbi_recipe_note(r, NB_LOG_NOTE, err,
                               "early_stopping_patience without load_best_model_at_end: the "
                               "result is that of the last step");
    return NB_OK;
}

static nb_status derive_run(nb_recipe *r, nb_error *err)
{
    bool rows = r->eval_data || r->eval_rows > 0 || r->eval_fraction > 0;
    if (!nb_recipe_given(r, "eval_strategy"))
        r->eval_strategy = !rows                              ? NB_STRATEGY_NO
                           : nb_recipe_given(r, "eval_steps") ? NB_STRATEGY_STEPS
                                                              : NB_STRATEGY_EPOCH;
    if (!nb_recipe_given(r, "eval_steps"))
        r->eval_every = r->logging_every;
    if (r->load_best && !nb_recipe_given(r, "save_strategy")) {
        r->save_strategy = r->eval_strategy;
        if (!nb_recipe_given(r, "save_steps"))
            r->save_every = r->eval_every;
    }
    if (r->eval_strategy != NB_STRATEGY_NO && !rows)
        return clash(r, err,
                     "eval_strategy: there are no rows to evaluate; give eval_data, eval_rows or "
                     "eval_fraction");
    if (!strcmp(r->schedule, "reduce_lr_on_plateau") && r->eval_strategy == NB_STRATEGY_NO)
        return clash(r, err,
                     "lr_scheduler_type: reduce_lr_on_plateau follows the evaluation loss; give "
                     "rows to evaluate and an eval_strategy");
    NBI_TRY(check_watching(r, err));
    return nb_recipe_resolve_steps(r, 0, err);
}

nb_status nbi_recipe_check(nb_recipe *r, nb_error *err)
{
    NBI_TRY(derive_method(r, err));
    NBI_TRY(derive_compute(r, err));
    NBI_TRY(derive_lora(r, err));
    NBI_TRY(derive_rates(r, err));
    NBI_TRY(check_data(r, err));
    return derive_run(r, err);
}

static void advise_lora(const nb_recipe *r, const nb_log *log)
{
    const nb_lora_config *l = &r->lora;
    double rate = l->r > 0 ? l->alpha / (double)l->r : 0;
    bool q = false, v = false;
    for (size_t i = 0; i < l->targets.n; i++) {
        q = q || strstr(l->targets.v[i], "q_proj");
        v = v || strstr(l->targets.v[i], "v_proj");
    }
    if (r->learning_rate > 3e-4 || r->learning_rate < 1e-5)
        nbi_log(log, NB_LOG_WARN, "learning_rate %g: LoRA and QLoRA usually take 1e-5 to 3e-4",
                r->learning_rate);
    if (l->r > 64)
        nbi_log(log, NB_LOG_WARN, "lora_r %lld: 16 to 32 is usual, more than 64 seldom helps",
                (long long)l->r);
    if (l->r < 4)
        nbi_log(log, NB_LOG_WARN, "lora_r %lld: less than 4 is too little for hard tasks",
                (long long)l->r);
    if (rate < 1 || rate > 4)
        nbi_log(log, NB_LOG_WARN, "lora_alpha %g: twice the rank (%lld) is usual", l->alpha,
                (long long)(2 * l->r));
    if (l->dropout > 0.1)
        nbi_log(log, NB_LOG_WARN, "lora_dropout %g: 0.05 is usual", l->dropout);
    if (q && !v)
        nbi_log(log, NB_LOG_NOTE,
                "lora_target_modules: usually at least q_proj and v_proj, best all-linear");
}

void nb_recipe_advise(const nb_recipe *r, const nb_log *log)
{
    double effective = (double)r->batch * (double)r->accumulation;
    if (r->method == NB_METHOD_FULL) {
        if (r->learning_rate > 5e-5)
            nbi_log(log, NB_LOG_WARN,
                    "learning_rate %g: full fine-tuning usually takes 2e-5 to 5e-5; from "
                    "1e-4 on models forget and become unstable",
                    r->learning_rate);
        if (r->learning_rate <= 1e-6)
            nbi_log(log, NB_LOG_WARN, "learning_rate %g: 1e-6 and less learns too slowly",
                    r->learning_rate);
    } else if (!r->init_adapter) {
        advise_lora(r, log);
    }
    bool by_rows = !(r->packing && r->max_tokens_per_batch > 0);
    if (by_rows && (effective < 16 || effective > 32))
        nbi_log(log, NB_LOG_NOTE,
                "%g rows an update (per_device_train_batch_size x "
                "gradient_accumulation_steps): 16 to 32 is usual",
                effective);
}

void nb_recipe_advise_rows(const nb_recipe *r, int64_t rows, const nb_log *log)
{
    if (rows < 500)
        nbi_log(log, NB_LOG_WARN,
                "%lld training rows: below 500, examples in the prompt often do as well as tuning",
                (long long)rows);
    if (r->max_steps > 0)
        return;
    double most = rows > 50000 ? 2 : rows < 1000 ? 10 : 5;
    if (r->epochs > most)
        nbi_log(
            log, NB_LOG_WARN,
            "num_train_epochs %g: for %lld rows at most %g are usual; watch the evaluation loss",
            r->epochs, (long long)rows, most);
}
