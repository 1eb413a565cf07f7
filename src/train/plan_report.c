/* SPDX-License-Identifier: MIT */
/* Plans as tables for people and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/json.h"
#include "base/quantity.h"
#include "train/plan.h"
#include "train/train_log.h"

#define MIB 0x1p-20
#define GIB 0x1p-30

static const char *method_text(nb_method m)
{
    static const char *const text[] = {"qlora", "lora", "full"};
    return text[m];
}

/* The tags in the words of the table. */
static const char *tag_name(int t)
{
    return t == NBI_MEM_SCALES  ? "statistics"
           : t == NBI_MEM_OTHER ? "process"
                                : nbi_memtag_text((nbi_memtag)t);
}

static const char *dtype_text(nb_dtype t)
{
    return t == NB_DT_BF16 ? "bf16" : t == NB_DT_F16 ? "f16" : "f32";
}

static void bits_text(const nbi_plan *p, char out[64])
{
    const nb_quant_config *q = p->config.has_quant ? &p->config.quant : &p->spec.quant;
    if (q->load_in_4bit)
        snprintf(out, 64, "%s%s", nb_qkind_name(q->kind),
                 q->double_quant ? " with double quantisation" : "");
    else
        snprintf(out, 64, "%s",
                 p->spec.method == NB_METHOD_FULL ? "f32" : dtype_text(p->config.dtype));
}

/* ---- what each line counts ---- */

static void explain_weights(const nbi_plan *p, char out[160])
{
    const nb_sketch_bytes *b = &p->memory.weights;
    char bits[64];
    if (b->params > 0) {
        snprintf(out, 160, "all of them in f32, 4 bytes a parameter");
        return;
    }
    bits_text(p, bits);
    if (p->memory.stream) {
        snprintf(out, 160, "streamed: one layer or the head at a time, %.1f MiB in the file, in %s",
                 (double)(b->linears + b->stats + b->head) * MIB, bits);
        return;
    }
    double rest = (double)p->memory.tag[NBI_MEM_WEIGHTS] - (double)b->linears;
    snprintf(out, 160, "blocks in %s %.1f, embedding%s, head and norms %.1f", bits,
             (double)b->linears * MIB,
             p->config.tie_embeddings ? "" : " (what is read of it at a time)", rest * MIB);
}

static void explain_activations(const nbi_plan *p, char out[160])
{
    const int64_t *m = p->memory.mode;
    if (m[NB_SELECTIVE] + m[NB_RECOMPUTE] == 0)
        snprintf(out, 160, "%lld tokens, everything kept", (long long)p->spec.max_rows);
    else
        snprintf(out, 160, "%lld tokens; layers kept %lld, selective %lld, recomputed %lld",
                 (long long)p->spec.max_rows, (long long)m[NB_KEEP], (long long)m[NB_SELECTIVE],
                 (long long)m[NB_RECOMPUTE]);
}

static void explain(const nbi_plan *p, int tag, char out[160])
{
    const nbi_memory_plan *m = &p->memory;
    char n[32];
    out[0] = 0;
    switch (tag) {
    case NBI_MEM_WEIGHTS:
        explain_weights(p, out);
        break;
    case NBI_MEM_SCALES:
        snprintf(out, 160, "scales of the 4-bit blocks");
        break;
    case NBI_MEM_ADAPTER:
        snprintf(out, 160, "%s values in f32", nbi_format_grouped(m->trained, n));
        break;
    case NBI_MEM_GRADIENTS:
        snprintf(out, 160, "f32, of what is trained");
        break;
    case NBI_MEM_OPTIMIZER:
        if (m->on_disk > 0)
            snprintf(out, 160, "%s, at most resident; %s in a file", p->spec.optim,
                     nbi_format_bytes((double)m->on_disk, n));
        else
            snprintf(out, 160, "%s, %.2g bytes a trained value", p->spec.optim,
                     (double)m->tag[tag] / (double)(m->trained > 0 ? m->trained : 1));
        break;
    case NBI_MEM_ACTIVATIONS:
        explain_activations(p, out);
        break;
    case NBI_MEM_SCRATCH:
        snprintf(out, 160, "one layer's and the head's working memory, %d threads",
                 p->spec.threads > 0 ? p->spec.threads : nb_device_cpu_count());
        break;
    case NBI_MEM_IO:
        snprintf(out, 160, "the batch, lists of rows, files being written");
        break;
    case NBI_MEM_OTHER:
        snprintf(out, 160, "program, libraries, threads%s", p->data ? ", tokenizer and rows" : "");
        break;
    default:
        break;
    }
}

/* ---- the table ---- */

static void put_head(const nbi_plan *p, nbi_strbuf *o)
{
    const nbi_memory_plan *m = &p->memory;
    const nb_recipe *r = p->r;
    char bits[64], a[32], b[32];
    bits_text(p, bits);
    nbi_strbuf_printf(o, "model       %s, %s parameters, %lld layers%s\n", p->config.model_type,
                      nbi_format_grouped(m->parameters, a), (long long)p->config.layers,
                      p->can_train ? "" : " (planned only: this version cannot train it)");
    nbi_strbuf_printf(
        o, "method      %s, base in %s, %s of the parameters trained (%.4f %%)\n",
        method_text(p->spec.method), bits, nbi_format_grouped(m->trained, b),
        100.0 * (double)m->trained /
            (double)(m->parameters + (p->spec.method == NB_METHOD_FULL ? 0 : m->trained)));
    nbi_strbuf_printf(o, "compute     %s, %d threads\n",
                      r->compute == NB_COMPUTE_BF16 ? "bf16" : "f32",
                      r->threads > 0 ? r->threads : nb_device_cpu_count());
    nbi_strbuf_printf(o, "rows        ");
    if (p->data)
        nbi_strbuf_printf(o, "%s of up to %lld tokens", nbi_format_grouped((int64_t)p->data->n, a),
                          (long long)p->length);
    else
        nbi_strbuf_printf(o, "no data given: rows of %lld tokens assumed (max_seq_length)",
                          (long long)p->length);
    nbi_strbuf_printf(o, "; a micro-batch has up to %s tokens\n\n",
                      nbi_format_grouped(p->spec.max_rows, b));
}

static void put_memory(const nbi_plan *p, nbi_strbuf *o)
{
    const nbi_memory_plan *m = &p->memory;
    char text[160], size[32];
    nbi_strbuf_puts(o, "memory             MiB\n");
    for (int t = 0; t < NBI_MEMTAG_COUNT; t++) {
        if (m->tag[t] == 0)
            continue;
        explain(p, t, text);
        nbi_strbuf_printf(o, "  %-11s %9.1f   %s\n", tag_name(t), (double)m->tag[t] * MIB, text);
    }
    nbi_strbuf_printf(o, "  %-11s %9.1f   while %s\n\n", "peak", (double)m->peak * MIB,
                      m->peak_phase == NBI_PHASE_STEP ? "training"
                                                      : nbi_plan_phase_text(m->peak_phase));
    nbi_strbuf_puts(o, "phases");
    for (int i = 0; i < NBI_PHASES; i++)
        nbi_strbuf_printf(o, "%s%s %.1f", i ? ", " : "      ",
                          nbi_plan_phase_text((nbi_plan_phase)i), (double)m->phase[i] * MIB);
    nbi_strbuf_printf(o, " (evaluations: as training steps)\nlimit       %s, %s: the run %s\n",
                      nbi_format_bytes((double)p->limit, size), p->limit_text,
                      nbi_plan_fits(p) ? "fits" : "does not fit");
}

static void put_proposals(nbi_strbuf *o, const char *title, const nbi_proposal *v, size_t n)
{
    char size[32], time[32];
    nbi_strbuf_printf(o, "%s\n", title);
    for (size_t i = 0; i < n; i++) {
        nbi_strbuf_printf(o, "  %s", v[i].text);
        const char *between = "  (";
        if (v[i].peak > 0) {
            nbi_strbuf_printf(o, "%s%s", between, nbi_format_bytes((double)v[i].peak, size));
            between = ", ";
        }
        if (v[i].run > 0)
            nbi_strbuf_printf(o, "%s%s", between, nbi_format_duration(v[i].run, time));
        nbi_strbuf_puts(o, v[i].stream ? ", weights streamed" : "");
        nbi_strbuf_puts(o, ")\n");
    }
}

static void put_time(const nbi_plan *p, nbi_strbuf *o)
{
    const nbi_time_plan *t = &p->time;
    char step[32], run[32], eval[32];
    nbi_strbuf_printf(o, "work        %.3g TFLOP a step", t->useful * 1e-12);
    if (t->again > 0)
        nbi_strbuf_printf(o, " and %.3g computed again", t->again * 1e-12);
    nbi_strbuf_printf(o,
                      "; measured here: products %.1f GFLOP/s (%s), attention %.1f, "
                      "memory %.1f GB/s\n",
                      p->rates.products * 1e-9, p->rates.kernel, p->rates.attention * 1e-9,
                      p->rates.memory * 1e-9);
    nbi_strbuf_printf(o, "time        about %s a step", nbi_format_duration(t->step, step));
    double rows = p->work.run.rows / (p->work.steps > 0 ? p->work.steps : 1);
    if (!p->data)
        nbi_strbuf_printf(o, " of %.0f row%s (%.3g tokens a second)", rows, rows == 1 ? "" : "s",
                          p->work.run.tokens / t->run);
    if (p->whole_run)
        nbi_strbuf_printf(o, ", %s for %.0f step%s", nbi_format_duration(t->run, run),
                          p->work.steps, p->work.steps == 1 ? "" : "s");
    if (p->work.evaluations > 0)
        nbi_strbuf_printf(o, " and %.0f evaluation%s of %s", p->work.evaluations,
                          p->work.evaluations == 1 ? "" : "s",
                          nbi_format_duration(t->evaluation, eval));
    nbi_strbuf_putc(o, '\n');
}

/* What streaming costs, and what that rests on. */
static void put_streaming(const nbi_plan *p, nbi_strbuf *o)
{
    const nbi_time_plan *t = &p->time;
    char step[32], read[32], bytes[32], rate[32];
    double steps = p->work.steps > 0 ? p->work.steps : 1;
    double n = p->work.micro_batches * (p->memory.read_forward + p->memory.read_backward) / steps;
    nbi_strbuf_printf(
        o,
        "streaming   a step reads %s: %s at %s a second (the disk, %s), beside the products; with "
        "all weights in memory it would take %s, so streaming makes it ",
        nbi_format_bytes(n, bytes), nbi_format_duration(t->reading, read),
        nbi_format_bytes(p->rates.disk, rate), p->rates.disk_measured ? "measured" : "assumed",
        nbi_format_duration(t->in_memory, step));
    nbi_format_duration(t->step - t->in_memory, step);
    if (t->step > t->in_memory)
        nbi_strbuf_printf(o, "%s slower, at worst %s\n", step, read);
    else
        nbi_strbuf_printf(o, "hardly slower, at worst %s\n", read);
}

static void put_advice(const nbi_plan *p, nbi_strbuf *o)
{
    nbi_proposal v[NBI_MAX_PROPOSALS];
    char title[128], time[32];
    if (!nbi_plan_fits(p)) {
        size_t n = nbi_plan_fit_memory(p, v);
        put_proposals(o,
                      n ? "\nwhat would fit, each alone:"
                        : "\nno setting makes it fit: use a smaller model",
                      v, n);
    }
    if (p->budget > 0 && !p->whole_run) {
        double steps = floor(p->budget / p->time.step);
        nbi_strbuf_printf(o,
                          "time_budget %s: enough for about %.0f step%s (%.0f rows); max_steps or "
                          "data would say how long the run is\n",
                          nbi_format_duration(p->budget, time), steps, steps == 1 ? "" : "s",
                          steps * p->work.run.rows);
    } else if (p->budget > 0 && p->time.run > p->budget) {
        size_t n = nbi_plan_fit_time(p, v);
        snprintf(title, sizeof(title), "\nwhat would fit time_budget %s, each alone:",
                 nbi_format_duration(p->budget, time));
        if (n == 0)
            snprintf(
                title, sizeof(title),
                "\nno setting makes it fit time_budget %s: not even one step, nor a model of a "
                "million parameters",
                time);
        put_proposals(o, title, v, n);
    } else if (p->budget > 0) {
        nbi_strbuf_printf(o, "time_budget %s: the run fits\n",
                          nbi_format_duration(p->budget, time));
    }
}

/* ---- JSON ---- */

static void write_proposals(nbi_json_writer *w, const char *key, const nbi_proposal *v, size_t n)
{
    nbi_jw_key(w, key);
    nbi_jw_array(w);
    for (size_t i = 0; i < n; i++) {
        nbi_jw_object(w);
        nbi_jw_member_str(w, "settings", v[i].text);
        if (v[i].peak > 0)
            nbi_jw_member_i64(w, "peak_bytes", (int64_t)v[i].peak);
        if (v[i].run > 0)
            nbi_jw_member_f64(w, "seconds", v[i].run);
        nbi_jw_object_end(w);
    }
    nbi_jw_array_end(w);
}

static void write_memory(nbi_json_writer *w, const nbi_plan *p)
{
    const nbi_memory_plan *m = &p->memory;
    static const char *const phases[NBI_PHASES] = {"data", "load", "step", "save"};
    nbi_jw_key(w, "bytes");
    nbi_jw_object(w);
    for (int t = 0; t < NBI_MEMTAG_COUNT; t++)
        nbi_jw_member_i64(w, tag_name(t), (int64_t)m->tag[t]);
    nbi_jw_object_end(w);
    nbi_jw_key(w, "phases");
    nbi_jw_object(w);
    for (int i = 0; i < NBI_PHASES; i++)
        nbi_jw_member_i64(w, phases[i], (int64_t)m->phase[i]);
    nbi_jw_object_end(w);
    nbi_jw_member_i64(w, "optimizer_bytes_on_disk", (int64_t)m->on_disk);
    nbi_jw_member_i64(w, "peak_bytes", (int64_t)m->peak);
    nbi_jw_member_str(w, "peak_phase", phases[m->peak_phase]);
    nbi_jw_member_i64(w, "limit_bytes", p->limit > INT64_MAX ? INT64_MAX : (int64_t)p->limit);
    nbi_jw_member_str(w, "limit", p->limit_text);
    nbi_jw_member_bool(w, "fits", nbi_plan_fits(p));
    nbi_jw_member_bool(w, "weights_streamed", m->stream);
    nbi_jw_member_i64(w, "layers_kept", m->mode[NB_KEEP]);
    nbi_jw_member_i64(w, "layers_selective", m->mode[NB_SELECTIVE]);
    nbi_jw_member_i64(w, "layers_recomputed", m->mode[NB_RECOMPUTE]);
}

static void write_time(nbi_json_writer *w, const nbi_plan *p)
{
    const nbi_time_plan *t = &p->time;
    nbi_jw_member_f64(w, "step_flops", t->useful);
    nbi_jw_member_f64(w, "step_flops_again", t->again);
    nbi_jw_member_f64(w, "product_flops_per_second", p->rates.products);
    nbi_jw_member_f64(w, "attention_flops_per_second", p->rates.attention);
    nbi_jw_member_f64(w, "memory_bytes_per_second", p->rates.memory);
    nbi_jw_member_f64(w, "step_seconds", t->step);
    if (p->memory.stream) {
        nbi_jw_member_f64(w, "step_seconds_in_memory", t->in_memory);
        nbi_jw_member_f64(w, "step_seconds_reading", t->reading);
        nbi_jw_member_f64(w, "disk_bytes_per_second", p->rates.disk);
        nbi_jw_member_bool(w, "disk_measured", p->rates.disk_measured);
    }
    nbi_jw_member_f64(w, "evaluation_seconds", t->evaluation);
    nbi_jw_member_f64(w, "evaluations", p->work.evaluations);
    if (p->whole_run) {
        nbi_jw_member_f64(w, "steps", p->work.steps);
        nbi_jw_member_f64(w, "run_seconds", t->run);
    }
}

static void write_json(const nbi_plan *p, nbi_strbuf *o)
{
    nbi_json_writer w;
    nbi_proposal v[NBI_MAX_PROPOSALS];
    nbi_json_writer_init(&w, o, 0, true);
    nbi_jw_object(&w);
    nbi_jw_member_str(&w, "model_type", p->config.model_type);
    nbi_jw_member_str(&w, "method", method_text(p->spec.method));
    nbi_jw_member_i64(&w, "parameters", p->memory.parameters);
    nbi_jw_member_i64(&w, "trainable_parameters", p->memory.trained);
    nbi_jw_member_i64(&w, "batch_tokens", p->spec.max_rows);
    nbi_jw_member_i64(&w, "longest_row", p->length);
    nbi_jw_member_bool(&w, "length_assumed", p->assumed);
    write_memory(&w, p);
    write_time(&w, p);
    if (!nbi_plan_fits(p))
        write_proposals(&w, "would_fit", v, nbi_plan_fit_memory(p, v));
    if (p->budget > 0 && !p->whole_run)
        nbi_jw_member_f64(&w, "time_budget_steps", floor(p->budget / p->time.step));
    if (p->budget > 0) {
        nbi_jw_member_f64(&w, "time_budget_seconds", p->budget);
        write_proposals(&w, "would_fit_time", v, nbi_plan_fit_time(p, v));
    }
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(o, '\n');
}

/* ---- the tables of tutorials ---- */

#define COLUMNS 3

static nb_status plan_columns(const nbi_plan *p, nbi_memory_plan m[COLUMNS], nb_error *err)
{
    static const nb_method methods[COLUMNS] = {NB_METHOD_FULL, NB_METHOD_LORA, NB_METHOD_QLORA};
    for (int i = 0; i < COLUMNS; i++) {
        nbi_change c = nbi_no_change;
        nbi_time_plan t;
        c.method = (int)methods[i];
        c.free = true; /* the columns are compared, not fitted */
        NBI_TRY(nbi_plan_changed(p, &c, &m[i], &t, err));
    }
    return NB_OK;
}

static void put_row(nbi_strbuf *o, const char *name, const nbi_memory_plan *m, uint32_t tags)
{
    nbi_strbuf_printf(o, "  %-26s", name);
    for (int i = 0; i < COLUMNS; i++) {
        uint64_t n = 0;
        for (int t = 0; t < NBI_MEMTAG_COUNT; t++)
            n += tags >> t & 1 ? m[i].tag[t] : 0;
        if (n > 0)
            nbi_strbuf_printf(o, " %9.2f", (double)n * GIB);
        else
            nbi_strbuf_printf(o, " %9s", "-");
    }
    nbi_strbuf_putc(o, '\n');
}

/* Weights, gradients and the optimizer's state: what tutorials count before activations. */
static double bytes_a_parameter(const nbi_memory_plan *m)
{
    static const nbi_memtag tags[] = {NBI_MEM_WEIGHTS, NBI_MEM_SCALES, NBI_MEM_ADAPTER,
                                      NBI_MEM_GRADIENTS, NBI_MEM_OPTIMIZER};
    double n = 0;
    for (size_t i = 0; i < sizeof(tags) / sizeof(*tags); i++)
        n += (double)m->tag[tags[i]];
    return n / (double)(m->parameters > 0 ? m->parameters : 1);
}

static void put_columns(const nbi_plan *p, const nbi_memory_plan *m, nbi_strbuf *o)
{
    char n[32];
    static const struct {
        const char *name;
        uint32_t tags;
    } rows[] = {
        {"weights", 1u << NBI_MEM_WEIGHTS | 1u << NBI_MEM_SCALES},
        {"adapters (f32)", 1u << NBI_MEM_ADAPTER},
        {"gradients (f32)", 1u << NBI_MEM_GRADIENTS},
        {"optimizer", 1u << NBI_MEM_OPTIMIZER},
        {"activations", 1u << NBI_MEM_ACTIVATIONS},
        {"scratch, batch, process",
         1u << NBI_MEM_SCRATCH | 1u << NBI_MEM_IO | 1u << NBI_MEM_OTHER | 1u << NBI_MEM_KV},
    };
    nbi_strbuf_printf(o, "%s, %s parameters; %lld tokens a micro-batch; optim %s; GiB resident\n\n",
                      p->config.model_type, nbi_format_grouped(m[0].parameters, n),
                      (long long)p->spec.max_rows, p->spec.optim);
    nbi_strbuf_printf(o, "  %-26s %9s %9s %9s\n", "", "full", "LoRA", "QLoRA");
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        put_row(o, rows[i].name, m, rows[i].tags);
    nbi_strbuf_printf(o, "  %-26s", "peak");
    for (int i = 0; i < COLUMNS; i++)
        nbi_strbuf_printf(o, " %9.2f", (double)m[i].peak * GIB);
    nbi_strbuf_printf(o, "\n  %-26s", "bytes a parameter");
    for (int i = 0; i < COLUMNS; i++)
        nbi_strbuf_printf(o, " %9.2f", bytes_a_parameter(&m[i]));
    nbi_strbuf_printf(o, "\n  %-26s", "trained parameters, M");
    for (int i = 0; i < COLUMNS; i++)
        nbi_strbuf_printf(o, " %9.1f", (double)m[i].trained * 1e-6);
    nbi_strbuf_printf(o, "\n  %-26s", "layers computed again");
    for (int i = 0; i < COLUMNS; i++)
        nbi_strbuf_printf(o, " %9lld",
                          (long long)(m[i].mode[NB_SELECTIVE] + m[i].mode[NB_RECOMPUTE]));
    nbi_strbuf_printf(
        o,
        "\n\nfull: weights, gradients and the optimizer's state of every parameter in "
        "f32.\nLoRA: weights as stored (%s), read from the mapped file; r %lld.\n"
        "QLoRA: linear weights of the blocks in NF4 with double quantisation, "
        "embedding and head as stored; r %lld.\n"
        "Activations: what the backward pass reads, of all layers; where memory is short, nibble "
        "computes layers again. Bytes a parameter: all but activations and the last line above "
        "the peak.\n",
        dtype_text(p->config.dtype), (long long)p->spec.lora->r, (long long)p->spec.lora->r);
}

static nb_status compare(const nbi_plan *p, nbi_strbuf *o, nb_error *err)
{
    nbi_memory_plan m[COLUMNS] = {{{0}}};
    nb_status st = plan_columns(p, m, err);
    if (st == NB_OK)
        put_columns(p, m, o);
    for (int i = 0; i < COLUMNS; i++)
        nbi_memory_plan_free(&m[i]);
    return st;
}

nb_status nbi_plan_report(const nbi_plan *p, nb_plan_form form, nbi_strbuf *out, nb_error *err)
{
    if (form == NB_PLAN_COMPARE)
        return compare(p, out, err);
    if (form == NB_PLAN_JSON) {
        write_json(p, out);
        return nbi_strbuf_check(out, err);
    }
    put_head(p, out);
    put_memory(p, out);
    put_time(p, out);
    if (p->memory.stream)
        put_streaming(p, out);
    put_advice(p, out);
    return nbi_strbuf_check(out, err);
}
