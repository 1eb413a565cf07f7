/* SPDX-License-Identifier: MIT */
/* Forward pass and every gradient of the decoder against the double reference. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "grad/fd.h"
#include "grad/tiny_model.h"

static const int64_t lengths[] = {7, 1, 5};

static double deviation(const float *a, const double *b, int64_t n)
{
    double worst = 0.0;
    for (int64_t i = 0; i < n; i++)
        worst = fd_worse(worst, fabs((double)a[i] - b[i]));
    return worst;
}

/* Activations are of the order of ten; each layer adds sums of a few hundred rounded terms. */
#define FORWARD_TOLERANCE (0x1p-24 * 10.0 * 60.0)

static void check_forward(const tiny_spec *s, nb_model *m, nb_workspace *ws, const ref_model *r,
                          const nb_batch *b)
{
    int64_t d = m->config.hidden, v = m->config.vocab, layers = m->config.layers;
    double *hidden = calloc((size_t)((layers + 1) * b->m * d), sizeof *hidden);
    double *final = calloc((size_t)(b->m * d), sizeof *final);
    double *logits = calloc((size_t)(b->m * v), sizeof *logits);
    float *z = calloc((size_t)(b->m * v), sizeof *z), *nll = calloc((size_t)b->m, sizeof *nll);
    double loss = ref_loss(r, b, hidden, final, logits), worst_hidden = 0.0;

    nb_model_forward(m, ws, b, NULL, true);
    for (int64_t i = 0; i <= layers; i++)
        worst_hidden = fd_worse(
            worst_hidden, deviation(nb_workspace_hidden(ws, i), hidden + i * b->m * d, b->m * d));
    double worst_final = deviation(nb_workspace_final(ws, NULL), final, b->m * d);
    nb_model_logits(m, ws, 0, b->m, z);
    double worst_logits = deviation(z, logits, b->m * v);
    nb_loss l = nb_model_loss(m, ws, b, 1.0, false, nll);
    double sum = 0.0;
    int64_t hits = 0;
    for (int64_t i = 0; i < b->m; i++) {
        int64_t best = 0;
        sum += (double)nll[i];
        for (int64_t j = 1; j < v; j++)
            best = z[i * v + j] > z[i * v + best] ? j : best;
        hits += b->targets[i] == best;
    }
    printf("%s: hidden %.1e, final %.1e, logits %.1e, loss %.1e\n", s->name, worst_hidden,
           worst_final, worst_logits, fabs(l.sum - loss));
    assert_true(worst_hidden < FORWARD_TOLERANCE && worst_final < FORWARD_TOLERANCE &&
                worst_logits < FORWARD_TOLERANCE);
    assert_true(fabs(l.sum - loss) < FORWARD_TOLERANCE * (double)l.tokens);
    assert_true(sum == l.sum);
    assert_int_equal(l.tokens, b->n_targets);
    assert_int_equal(l.hits, hits);
    free(hidden), free(final), free(logits), free(z), free(nll);
}

static void check_gradients(const tiny_spec *s, nb_model *m, nb_workspace *ws, ref_model *r,
                            const nb_batch *b)
{
    double worst = 0.0;
    tiny_zero_grads(m);
    nb_model_forward(m, ws, b, NULL, true);
    nb_model_loss(m, ws, b, 1.0, true, NULL);
    nb_model_backward(m, ws, b);
    for (size_t i = 0; i < r->n; i++) {
        ref_tensor *t = &r->tensors[i];
        if (!t->grad)
            continue;
        fd_result res = fd_tensor(r, b, t->v, t->n, t->grad, 12);
        worst = fd_worse(worst, res.worst);
        if (!(res.worst <= FD_TOLERANCE))
            printf("  %s: %s deviates by %.2e of its largest gradient\n", s->name, t->name,
                   res.worst);
    }
    printf("%s: gradients within %.1e\n", s->name, worst);
    assert_true(worst <= FD_TOLERANCE);
}

/* Gradients are added and scaled by grad_scale: two passes with half the scale give the same. */
static void check_accumulation(nb_model *m, nb_workspace *ws, const ref_model *r, const nb_batch *b)
{
    const ref_tensor *t = &r->tensors[0];
    if (!t->grad)
        return;
    float *once = calloc((size_t)t->n, sizeof *once);
    double largest = 0.0;
    memcpy(once, t->grad, (size_t)t->n * sizeof *once);
    tiny_zero_grads(m);
    for (int pass = 0; pass < 2; pass++) {
        nb_model_forward(m, ws, b, NULL, true);
        nb_model_loss(m, ws, b, 0.5, true, NULL);
        nb_model_backward(m, ws, b);
    }
    for (int64_t i = 0; i < t->n; i++)
        largest = fmax(largest, fabs((double)once[i]));
    for (int64_t i = 0; i < t->n; i++)
        assert_true(fabs((double)(once[i] - t->grad[i])) <= 0x1p-20 * largest);
    free(once);
}

static void every_layer_against_finite_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < tiny_n_specs; i++) {
        const tiny_spec *s = &tiny_specs[i];
        nb_model *m = tiny_open(s, 2);
        tiny_batch t = tiny_batch_open(m, lengths, 3, 11);
        ref_model *r = ref_open(m);
        nb_workspace *ws;
        assert_int_equal(
            nb_workspace_open(
                &ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true, .hidden = true}, NULL),
            NB_OK);
        check_forward(s, m, ws, r, &t.b);
        check_gradients(s, m, ws, r, &t.b);
        check_accumulation(m, ws, r, &t.b);
        nb_workspace_close(&ws);
        ref_close(r);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

/* A tensor that trains alone gets the same bits as when everything trains: the backward pass stops
 * early, but never too early. */
static void each_tensor_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < tiny_n_specs; i++) {
        if (tiny_specs[i].frozen)
            continue;
        nb_model *m = tiny_open(&tiny_specs[i], 2);
        tiny_batch t = tiny_batch_open(m, lengths, 3, 12);
        tiny_slot slots[200];
        float *kept[200], *all[200];
        size_t n = tiny_slots(m, slots, 200);
        nb_workspace *ws;
        assert_int_equal(
            nb_workspace_open(
                &ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true, .hidden = true}, NULL),
            NB_OK);
        for (size_t k = 0; k <= n; k++) { /* first round: all */
            size_t one = k - 1;
            tiny_zero_grads(m);
            for (size_t j = 0; k > 0 && j < n; j++)
                *slots[j].grad = j == one ? kept[j] : NULL;
            if (m->config.tie_embeddings)
                m->head.dw = m->d_embed;
            nb_model_forward(m, ws, &t.b, NULL, true);
            nb_model_loss(m, ws, &t.b, 1.0, true, NULL);
            nb_model_backward(m, ws, &t.b);
            for (size_t j = 0; k == 0 && j < n; j++) {
                size_t bytes = (size_t)slots[j].n * sizeof(float);
                kept[j] = *slots[j].grad;
                all[j] = malloc(bytes);
                memcpy(all[j], kept[j], bytes);
            }
            if (k > 0)
                assert_memory_equal(kept[one], all[one], (size_t)slots[one].n * sizeof(float));
            for (size_t j = 0; j < n; j++)
                *slots[j].grad = kept[j];
        }
        for (size_t j = 0; j < n; j++)
            free(all[j]);
        nb_workspace_close(&ws);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layer_against_finite_differences),
        cmocka_unit_test(each_tensor_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
