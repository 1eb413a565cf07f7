/* SPDX-License-Identifier: MIT */
#include "train/memory_plan.h"

#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "generate/session.h"
#include "model/quant_cache.h"
#include "model/stream.h"

/* What a process grows by beside everything that is counted: pages of the program that training
 * touches first, heads of small blocks; and each thread's stack. */
#define PROCESS_GROWTH ((uint64_t)6 << 20)
#define THREAD_GROWTH ((uint64_t)128 << 10)
/* Names and records of a module and of a parameter. */
#define SITE_BYTES 512
#define PARAM_BYTES 768
/* Buffers of a file being written or copied. */
#define WRITE_BYTES ((uint64_t)2 << 20)

const char *nbi_plan_phase_text(nbi_plan_phase p)
{
    static const char *const text[NBI_PHASES] = {"reading the data", "loading the weights",
                                                 "training steps", "saving"};
    return text[p];
}

typedef struct planner {
    nbi_memory_plan *p;
    const nbi_plan_spec *s;
    nb_model *model;
    nb_adapter *adapter; /* NULL: full fine-tuning */
    int threads;
} planner;

/* How often an adapter's matrix exists in a mixture of experts; the sketch has it as wide as the
 * experts that see a token. The A of a down projection and the B of the others are that wide. */
static double copies_of(const nb_model_config *c, const char *name)
{
    if (c->experts == 0 || !strstr(name, ".mlp."))
        return 1;
    bool down = strstr(name, ".down_proj."), a = strstr(name, ".lora_A.");
    return (double)c->experts / (double)(down == a ? c->experts_used : 1);
}

static void add_adapter(planner *k)
{
    const nb_param_list *list = &k->adapter->params;
    uint64_t *tag = k->p->tag;
    for (size_t i = 0; i < list->n; i++) {
        const nb_param *v = list->v[i];
        double copies = copies_of(k->s->config, v->name);
        size_t bytes = (size_t)v->n * sizeof(float);
        uint64_t all = (uint64_t)(copies * (double)nbi_mem_footprint(bytes));
        tag[NBI_MEM_ADAPTER] += all;
        tag[NBI_MEM_GRADIENTS] += all;
        tag[NBI_MEM_OTHER] += PARAM_BYTES;
        k->p->trained += (int64_t)llround(copies * (double)v->n);
        k->p->lora_products += 2.0 * (double)v->n;
    }
    k->p->covered = (int64_t)k->adapter->n_sites;
    tag[NBI_MEM_SCRATCH] += nbi_mem_footprint(k->adapter->scratch_bytes);
}

/* Every weight is trained: values and gradients in f32. */
static void add_trained_model(planner *k)
{
    k->p->tag[NBI_MEM_GRADIENTS] += k->p->weights.params;
    k->p->trained = k->p->parameters;
}

static nb_status add_optimizer(planner *k, nb_error *err)
{
    const nb_optim_choice *choice;
    const nb_param_list *list = k->adapter ? &k->adapter->params : &k->model->params;
    double listed = 0;
    NBI_TRY(nb_optim_choose(&choice, k->s->optim, err));
    nb_optim_bytes bytes = nb_optim_memory(choice, k->s->optim_config, list);
    for (size_t i = 0; i < list->n; i++)
        listed += (double)list->v[i]->n;
    /* the list of a mixture has each expert's matrix once */
    double copies = listed > 0 && !choice->paged ? (double)k->p->trained / listed : 1;
    k->p->tag[NBI_MEM_OPTIMIZER] +=
        nbi_mem_footprint((size_t)(copies * (double)bytes.resident)) + nbi_mem_footprint(0);
    k->p->on_disk = (uint64_t)((double)bytes.paged * (double)k->p->trained / fmax(listed, 1));
    return NB_OK;
}

static void add_weights(planner *k)
{
    const nb_sketch_bytes *b = &k->p->weights;
    uint64_t embed = b->embed, *tag = k->p->tag;
    if (b->params == 0 && !k->s->config->tie_embeddings) {
        /* rows are read in groups, and let go of (model/stream.h) */
        uint64_t windows = k->s->embed_windows, most = NBI_EMBED_WINDOWS;
        uint64_t read = (windows > 0 && windows < most ? windows : most) * NBI_PLAN_WINDOW;
        embed = read < embed ? read : embed;
    }
    if (k->p->stream) {
        /* a tied head is the embedding, and is dropped as the head */
        embed = k->s->config->tie_embeddings ? 0 : embed;
        tag[NBI_MEM_WEIGHTS] += nb_model_stream_bytes(k->model) + embed + b->vectors;
        return;
    }
    tag[NBI_MEM_WEIGHTS] += b->linears + embed + b->head + b->vectors + b->params;
    tag[NBI_MEM_SCALES] += b->stats;
}

/* Operations a token: the products of a forward pass, and those that a layer does again. The last
 * product of a recomputed layer is never needed; a selective one keeps what its attention made. */
static void count_products(planner *k)
{
    const nb_block *b = &k->model->blocks[0];
    const nb_linear *qkv[] = {&b->q, &b->k, &b->v}, *gate_up[] = {&b->gate, &b->up};
    double first = 0, mlp = 0, o = 2.0 * (double)b->o.w.n * (double)b->o.w.k;
    for (int i = 0; i < 3; i++)
        first += 2.0 * (double)qkv[i]->w.n * (double)qkv[i]->w.k;
    for (int i = 0; i < 2; i++)
        mlp += 2.0 * (double)gate_up[i]->w.n * (double)gate_up[i]->w.k;
    double down = 2.0 * (double)b->down.w.n * (double)b->down.w.k;
    const nb_model_config *c = &k->model->config;
    double attention = 2.0 * (double)k->s->max_rows * (double)(c->heads * c->head_dim);
    k->p->products = (double)c->layers * (first + o + mlp + down);
    k->p->layer_again[NB_KEEP] = 0;
    k->p->layer_again[NB_SELECTIVE] = first + mlp;
    k->p->layer_again[NB_RECOMPUTE] = first + o + mlp + attention;
}

/* Each expert that sees a token gives a row of its own before they are added; of so many layers. */
static uint64_t expert_rows(const nbi_plan_spec *s, int64_t layers)
{
    const nb_model_config *c = s->config;
    if (c->experts == 0)
        return 0;
    return (uint64_t)(layers * c->experts_used * c->hidden * s->max_rows) *
           nb_dtype_size(NB_ACT_DTYPE(s->compute));
}

/* Ids, targets, positions, examples; the list of segments; orders of the rows; and the buffers of
 * files being written. */
static uint64_t batch_bytes(const nbi_plan_spec *s)
{
    return (uint64_t)s->max_rows * (4 * sizeof(int32_t) + sizeof(int64_t)) +
           (uint64_t)s->data_rows * 3 * sizeof(uint32_t) + WRITE_BYTES;
}

static uint64_t sum_of(const uint64_t *tag)
{
    uint64_t n = 0;
    for (int i = 0; i < NBI_MEMTAG_COUNT; i++)
        n += tag[i];
    return n;
}

/* Samples are generated beside the training's memory: keys, values and a workspace of their own,
 * and a piece of the embedding for each token. */
static nb_status add_session(planner *k, nb_error *err)
{
    const nb_model_config *c = k->s->config;
    const int64_t tokens = k->s->session_tokens;
    const size_t act = nb_dtype_size(NB_ACT_DTYPE(k->s->compute));
    uint64_t *tag = k->p->tag, pieces = (uint64_t)tokens * NBI_PLAN_WINDOW;
    size_t activations, scratch;
    if (tokens == 0)
        return NB_OK;
    const nb_pass_plan pass = {.max_rows = nb_session_rows(c, tokens)};
    if (!nb_workspace_size(k->model, &pass, &activations, &scratch))
        return nbi_fail(err, NB_LIMIT, "sample_prompts: %lld tokens exceed the address space",
                        (long long)tokens);
    tag[NBI_MEM_KV] +=
        2 * nbi_mem_footprint((size_t)(c->layers * tokens * c->kv_heads * c->head_dim) * act) +
        (uint64_t)tokens * 3 * sizeof(int32_t);
    tag[NBI_MEM_ACTIVATIONS] += nbi_mem_footprint(activations);
    tag[NBI_MEM_SCRATCH] +=
        nbi_mem_footprint(scratch) + nbi_mem_footprint((size_t)c->vocab * 2 * sizeof(float));
    if (k->p->weights.params == 0 && !c->tie_embeddings)
        tag[NBI_MEM_WEIGHTS] += pieces < k->p->weights.embed ? pieces : k->p->weights.embed;
    return NB_OK;
}

static nb_status add_workspace(planner *k, nb_error *err)
{
    uint64_t *tag = k->p->tag, before = sum_of(tag), limit = k->s->limit;
    size_t activations, scratch;
    k->p->recompute = nbi_calloc(NBI_MEM_OTHER, (size_t)k->model->config.layers, 1);
    if (!k->p->recompute)
        return nbi_fail_nomem(err, "a plan", (size_t)k->model->config.layers);
    before += expert_rows(k->s, k->s->config->layers); /* at most */
    NBI_TRY(nbi_plan_recompute(k->p, k->model, k->s->max_rows, k->s->checkpointing,
                               limit > before ? limit - before : 0, &activations, &scratch, err));
    int64_t kept = k->p->mode[NB_KEEP], layers = k->s->config->layers;
    tag[NBI_MEM_ACTIVATIONS] +=
        nbi_mem_footprint(activations) + expert_rows(k->s, kept < layers ? kept + 1 : layers);
    tag[NBI_MEM_SCRATCH] += nbi_mem_footprint(scratch);
    return NB_OK;
}

/* A pass reads all layers and the head, a backward pass the layers that train or lie above those.
 */
static void count_reading(planner *k)
{
    nbi_memory_plan *p = k->p;
    const nb_model *m = k->model;
    double layers = (double)(p->weights.linears + p->weights.stats), back = 0;
    for (int i = 0; i <= NB_RECOMPUTE; i++)
        back += (double)p->mode[i];
    p->read_forward = layers + (double)nb_qtensor_data_bytes(&m->head.w);
    p->read_backward = layers * back / (double)m->config.layers;
}

static void add_phases(planner *k)
{
    const nbi_plan_spec *s = k->s;
    nbi_memory_plan *p = k->p;
    uint64_t step = sum_of(p->tag);
    uint64_t load = p->weights.load_peak;
    if (s->cached && p->weights.cache_peak > 0)
        /* weights are quantised one by one and read back from the file; before, each thread takes
         * a piece of the source to name the folder by its content */
        load = p->weights.cache_peak + WRITE_BYTES + (uint64_t)k->threads * NBI_QUANT_CACHE_PIECE;
    p->phase[NBI_PHASE_DATA] = s->process_peak;
    p->phase[NBI_PHASE_LOAD] = p->tag[NBI_MEM_OTHER] + load;
    p->phase[NBI_PHASE_STEP] = step;
    p->phase[NBI_PHASE_SAVE] = step;
    for (int i = 0; i < NBI_PHASES; i++)
        if (p->phase[i] > p->peak) {
            p->peak = p->phase[i];
            p->peak_phase = (nbi_plan_phase)i;
        }
}

static nb_status make(planner *k, nb_error *err)
{
    const nbi_plan_spec *s = k->s;
    nbi_memory_plan *p = k->p;
    bool full = s->method == NB_METHOD_FULL;
    nb_model_load how = {
        .threads = s->threads, .compute = s->compute, .quant = s->quant, .trainable = full};
    const int threads = k->threads = s->threads > 0 ? s->threads : nb_device_cpu_count();
    NBI_TRY(nb_model_sketch(&k->model, s->config, s->dir, &how, &p->weights, err));
    p->parameters = k->model->n_parameters;
    p->n_sites = (int64_t)k->model->n_sites;
    p->act_bytes = (double)nb_dtype_size(NB_ACT_DTYPE(s->compute));
    p->tag[NBI_MEM_OTHER] = s->process + PROCESS_GROWTH + (uint64_t)threads * THREAD_GROWTH +
                            (uint64_t)k->model->n_sites * (sizeof(nb_linear) + SITE_BYTES);
    add_weights(k);
    if (full) {
        add_trained_model(k);
    } else {
        NBI_TRY(nb_adapter_sketch(&k->adapter, k->model, s->lora, !s->from_adapter, err));
        add_adapter(k);
    }
    NBI_TRY(add_optimizer(k, err));
    p->tag[NBI_MEM_SCRATCH] += nbi_mem_footprint(nb_queue_bytes(threads));
    p->tag[NBI_MEM_IO] += batch_bytes(s);
    count_products(k);
    NBI_TRY(add_session(k, err));
    NBI_TRY(add_workspace(k, err));
    if (p->stream)
        count_reading(k);
    add_phases(k);
    return NB_OK;
}

static nb_status make_either(nbi_memory_plan *p, const nbi_plan_spec *s, bool stream, nb_error *err)
{
    *p = (nbi_memory_plan){.stream = stream};
    planner k = {.p = p, .s = s};
    nb_status st = make(&k, err);
    nb_adapter_close(&k.adapter);
    nb_model_close(&k.model);
    if (st != NB_OK)
        nbi_memory_plan_free(p);
    return st;
}

/* Whether the weights lie in a file as the products read them. A mixture is planned only. */
static bool in_file(const nbi_plan_spec *s)
{
    if (s->method == NB_METHOD_FULL || s->config->experts > 0)
        return false;
    return s->config->has_quant || !s->quant.load_in_4bit || s->cached;
}

/* Streaming is the last resort: when nothing that is kept or computed again lets the weights stay.
 */
nb_status nbi_memory_plan_make(nbi_memory_plan *p, const nbi_plan_spec *s, nb_error *err)
{
    nbi_memory_plan other;
    NBI_TRY(make_either(p, s, false, err));
    if (s->limit == 0 || p->peak <= s->limit || !in_file(s))
        return NB_OK;
    if (make_either(&other, s, true, NULL) != NB_OK)
        return NB_OK;
    if (other.peak > s->limit) {
        nbi_memory_plan_free(&other);
        return NB_OK;
    }
    nbi_memory_plan_free(p);
    *p = other;
    return NB_OK;
}

void nbi_memory_plan_free(nbi_memory_plan *p)
{
    nbi_free(p->recompute);
    p->recompute = NULL;
}
