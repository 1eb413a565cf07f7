/* SPDX-License-Identifier: MIT */
/* The LoRA hook on one site: values against a double-precision formula, gradients against finite
 * differences of it, with and without dropout, in strided buffers, over several chunks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adapter/lora.h"
#include "base/rng.h"
#include "testutil.h"

#define ROWS 300
#define ROW0 5 /* where the state of these rows lies */
#define IN 24
#define OUT 20
#define LDX 31
#define LDY 27
#define RANK 4

typedef struct bench {
    nb_exec exec;
    nb_model model;
    nb_linear linear;
    nb_site site;
    nb_adapter *a;
    nb_batch batch;
    int32_t example[ROWS], token[ROWS];
    float x[ROWS * LDX], y[ROWS * LDY], dy[ROWS * LDY], dx[ROWS * LDX];
    float mask[ROWS * IN]; /* what dropout makes of ones */
    float state[(ROWS + ROW0) * RANK];
} bench;

static void fill(float *v, size_t n, nbi_rng *rng)
{
    for (size_t i = 0; i < n; i++)
        v[i] = (float)nbi_rng_normal(rng);
}

static bench *open_bench(double dropout, int threads)
{
    nb_error err = {0};
    nbi_rng rng;
    bench *b = calloc(1, sizeof *b);
    nb_lora_config c;
    nb_lora_config_default(&c);
    c.r = RANK;
    c.alpha = 6;
    c.dropout = dropout;
    c.all_linear = true;
    nb_kernels_init(&b->exec.k, nb_cpu_flags());
    NBT_OK(nb_queue_open(&b->exec.q, threads, &err));
    nbi_rng_init(&rng, 8, NBI_RNG_INIT, 0);
    b->site = (nb_site){.name = "layers.0.q_proj", .linear = &b->linear, .rows = OUT, .in = IN};
    b->model.sites = &b->site;
    b->model.n_sites = 1;
    NBT_OK(nb_adapter_new_lora(&b->a, &b->model, &c, 11, true, &err));
    fill(b->a->params.v[1]->value, OUT * RANK, &rng);
    fill(b->x, ROWS * LDX, &rng);
    fill(b->dy, ROWS * LDY, &rng);
    for (int i = 0; i < ROWS; i++) {
        b->example[i] = i / 7;
        b->token[i] = i % 7;
        for (int j = 0; j < IN; j++)
            b->mask[i * IN + j] = 1;
    }
    b->batch.epoch = 3;
    assert_int_equal(b->site.hooks->state_bytes(b->site.hooks, ROWS + ROW0), sizeof b->state);
    b->site.hooks->set_state(b->site.hooks, b->state, ROWS + ROW0);
    if (dropout > 0)
        b->exec.k.dropout(&(nb_dropout_args){.q = b->exec.q,
                                             .rows = ROWS,
                                             .d = IN,
                                             .x = b->mask,
                                             .y = b->mask,
                                             .p = (float)dropout,
                                             .seed = 11,
                                             .site = 0,
                                             .epoch = 3,
                                             .example = b->example,
                                             .token = b->token});
    return b;
}

static void close_bench(bench *b)
{
    nb_adapter_close(&b->a);
    assert_null(b->site.hooks);
    nb_queue_close(&b->exec.q);
    free(b);
}

static nb_site_call call_of(bench *b, bool training)
{
    return (nb_site_call){.exec = &b->exec,
                          .batch = &b->batch,
                          .row0 = ROW0,
                          .m = ROWS,
                          .example = training ? b->example : NULL,
                          .token = training ? b->token : NULL,
                          .x = b->x,
                          .ldx = LDX,
                          .y = b->y,
                          .ldy = LDY,
                          .dy = b->dy,
                          .dx = b->dx,
                          .training = training};
}

/* One output in double. */
static double output(const bench *b, int i, int o, bool training)
{
    const float *wa = b->a->params.v[0]->value, *wb = b->a->params.v[1]->value;
    double y = 0;
    for (int r = 0; r < RANK; r++) {
        double h = 0;
        for (int k = 0; k < IN; k++)
            h += (training ? (double)b->mask[i * IN + k] : 1.0) * (double)b->x[i * LDX + k] *
                 (double)wa[r * IN + k];
        y += h * (double)wb[o * RANK + r];
    }
    return y * 6.0 / RANK;
}

/* sum of dy * y over the rows that x[row] (or all rows: row < 0) has influence on. */
static double objective(const bench *b, int row)
{
    double sum = 0;
    for (int i = row < 0 ? 0 : row; i < (row < 0 ? ROWS : row + 1); i++)
        for (int o = 0; o < OUT; o++)
            sum += (double)b->dy[i * LDY + o] * output(b, i, o, true);
    return sum;
}

/* Central difference; exact for a function that is linear in each single weight. */
static double slope(const bench *b, float *w, int row)
{
    float kept = *w;
    *w = kept + 1;
    double up = objective(b, row);
    double step = (double)*w;
    *w = kept - 1;
    step -= (double)*w;
    double down = objective(b, row);
    *w = kept;
    return (up - down) / step;
}

static void forward(bench *b, bool training)
{
    nb_site_call c = call_of(b, training);
    double worst = 0;
    for (int i = 0; i < ROWS * LDY; i++)
        b->y[i] = 0.5f;
    b->site.hooks->forward(b->site.hooks, &c);
    for (int i = 0; i < ROWS; i++)
        for (int o = 0; o < LDY; o++) {
            double want = 0.5 + (o < OUT ? output(b, i, o, training) : 0);
            worst = fmax(worst, fabs((double)b->y[i * LDY + o] - want) / (1 + fabs(want)));
        }
    nbt_within("output", worst, 1e-5);
}

static void check_gradients(double dropout, int threads)
{
    bench *b = open_bench(dropout, threads);
    nb_param *p[2] = {b->a->params.v[0], b->a->params.v[1]};
    forward(b, false);
    forward(b, true);
    nb_site_call c = call_of(b, true);
    /* gradients are added */
    for (int k = 0; k < 2; k++)
        for (int64_t j = 0; j < p[k]->n; j++)
            p[k]->grad[j] = 2;
    for (int i = 0; i < ROWS * LDX; i++)
        b->dx[i] = 3;
    b->site.hooks->backward(b->site.hooks, &c);
    double worst = 0;
    for (int k = 0; k < 2; k++)
        for (int64_t j = 0; j < p[k]->n; j++)
            worst = fmax(worst, fabs((double)p[k]->grad[j] - 2 - slope(b, p[k]->value + j, -1)));
    /* sums over 300 rows of products of size 1 to 10 */
    nbt_within("weight gradients", worst, 2e-3);
    worst = 0;
    for (int i = 0; i < ROWS; i += 13)
        for (int k = 0; k < LDX; k++) {
            double want = 3 + (k < IN ? slope(b, b->x + i * LDX + k, i) : 0);
            worst = fmax(worst, fabs((double)b->dx[i * LDX + k] - want));
        }
    nbt_within("input gradient", worst, 1e-4);
    close_bench(b);
}

static void plain(void **state)
{
    (void)state;
    check_gradients(0, 1);
    check_gradients(0, 3);
}

static void with_dropout(void **state)
{
    (void)state;
    check_gradients(0.3, 1);
    check_gradients(0.3, 2);
}

/* Nobody asks for the gradient of the input of the first layer. */
static void no_input_gradient(void **state)
{
    (void)state;
    bench *b = open_bench(0.3, 1);
    nb_site_call c = call_of(b, true);
    b->site.hooks->forward(b->site.hooks, &c);
    c.dx = NULL;
    b->site.hooks->backward(b->site.hooks, &c);
    assert_true(fabs((double)b->a->params.v[0]->grad[0] - slope(b, b->a->params.v[0]->value, -1)) <
                1e-3);
    close_bench(b);
}

/* A is uniform within 1 / sqrt(in), a function of seed and name; B is zero. */
static void start(void **state)
{
    (void)state;
    nb_error err = {0};
    bench *b = open_bench(0, 1);
    nb_adapter *again;
    nb_lora_config c;
    const nb_param *a = b->a->params.v[0];
    double bound = 1 / sqrt(IN), sum = 0, largest = 0;
    for (int64_t j = 0; j < a->n; j++) {
        sum += (double)a->value[j];
        largest = fmax(largest, fabs((double)a->value[j]));
    }
    assert_true(largest <= bound && largest > 0.9 * bound);
    assert_true(fabs(sum / (double)a->n) < 0.2 * bound);
    assert_string_equal(a->name, "base_model.model.layers.0.q_proj.lora_A.weight");
    NBT_OK(nb_lora_config_copy(&c, &b->a->config, &err));
    NBT_OK(nb_adapter_new_lora(&again, &b->model, &c, 11, false, &err));
    assert_memory_equal(again->params.v[0]->value, a->value, (size_t)a->n * sizeof(float));
    assert_null(again->params.v[0]->grad);
    for (int64_t j = 0; j < again->params.v[1]->n; j++)
        assert_true(again->params.v[1]->value[j] == 0);
    nb_adapter_close(&again);
    nb_lora_config_free(&c);
    close_bench(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(with_dropout),
        cmocka_unit_test(no_input_gradient),
        cmocka_unit_test(start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
