/* SPDX-License-Identifier: MIT */
/* Hooks at every site: what they add to the output, their gradients, their memory; and that the
 * backward pass stops where nothing below trains without changing what is above. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "grad/fd.h"
#include "grad/tiny_model.h"

/* y += (x . a) b: the smallest adapter, equal to adding b a^T to the weight. */
typedef struct rank1 {
    nb_hook hook;
    nb_site *site;
    float *a, *b, *da, *db;
    float *state; /* [rows] x . a */
    int64_t rows;
    int forwards, backwards;
} rank1;

static size_t rank1_bytes(const nb_hook *h, int64_t rows)
{
    (void)h;
    return (size_t)rows * sizeof(float);
}

static void rank1_set(nb_hook *h, void *mem, int64_t rows)
{
    rank1 *self = h->user;
    assert_true((uintptr_t)mem % 64 == 0);
    self->state = mem;
    self->rows = rows;
}

static void rank1_forward(nb_hook *h, const nb_site_call *c)
{
    rank1 *self = h->user;
    self->forwards++;
    assert_true(c->row0 + c->m <= self->rows);
    assert_true(!c->training || c->token != NULL);
    for (int64_t i = 0; i < c->m; i++) {
        float dot = 0.0f;
        for (int64_t j = 0; j < self->site->in; j++)
            dot += ((const float *)c->x)[i * c->ldx + j] * self->a[j];
        self->state[c->row0 + i] = dot;
        for (int64_t j = 0; j < self->site->rows; j++)
            ((float *)c->y)[i * c->ldy + j] += dot * self->b[j];
    }
}

static void rank1_backward(nb_hook *h, const nb_site_call *c)
{
    rank1 *self = h->user;
    self->backwards++;
    for (int64_t i = 0; i < c->m; i++) {
        float dot = 0.0f;
        for (int64_t j = 0; j < self->site->rows; j++) {
            dot += ((const float *)c->dy)[i * c->ldy + j] * self->b[j];
            self->db[j] += ((const float *)c->dy)[i * c->ldy + j] * self->state[c->row0 + i];
        }
        for (int64_t j = 0; j < self->site->in; j++) {
            self->da[j] += dot * ((const float *)c->x)[i * c->ldx + j];
            if (c->dx)
                ((float *)c->dx)[i * c->ldx + j] += dot * self->a[j];
        }
    }
}

static rank1 *attach(nb_site *site, uint64_t seed)
{
    rank1 *k = calloc(1, sizeof *k);
    nbi_rng r;
    nbi_rng_init(&r, seed, NBI_RNG_INIT, 1);
    k->site = site;
    k->a = calloc((size_t)site->in, sizeof *k->a);
    k->da = calloc((size_t)site->in, sizeof *k->da);
    k->b = calloc((size_t)site->rows, sizeof *k->b);
    k->db = calloc((size_t)site->rows, sizeof *k->db);
    for (int64_t i = 0; i < site->in; i++)
        k->a[i] = (float)(0.3 * nbi_rng_normal(&r));
    for (int64_t i = 0; i < site->rows; i++)
        k->b[i] = (float)(0.3 * nbi_rng_normal(&r));
    k->hook = (nb_hook){.forward = rank1_forward,
                        .backward = rank1_backward,
                        .state_bytes = rank1_bytes,
                        .set_state = rank1_set,
                        .user = k,
                        .next = site->hooks};
    site->hooks = &k->hook;
    return k;
}

static void detach(rank1 *k)
{
    k->site->hooks = k->hook.next;
    free(k->a), free(k->b), free(k->da), free(k->db), free(k);
}

static void run(nb_model *m, nb_workspace *ws, const nb_batch *b)
{
    nb_model_forward(m, ws, b, NULL, true);
    nb_model_loss(m, ws, b, 1.0, true, NULL);
    nb_model_backward(m, ws, b);
}

/* d loss / d a and d b from the reference with W + b a^T, by differences along each element. */
static double worst_of(rank1 *k, ref_model *r, const nb_batch *b, const float *values,
                       const float *grads, int64_t n, bool is_a)
{
    int64_t in = k->site->in, out = k->site->rows;
    double *w = ref_weight(r, k->site->layer, k->site->name), worst = 0.0, scale = 1e-6;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs((double)grads[i]));
    for (int64_t i = 0; i < n; i += 3) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            double step = side ? -2.0 * FD_STEP : FD_STEP; /* values + h, then values - h */
            if (is_a)
                for (int64_t j = 0; j < out; j++)
                    w[j * in + i] += step * (double)k->b[j];
            else
                for (int64_t j = 0; j < in; j++)
                    w[i * in + j] += step * (double)k->a[j];
            loss[side] = ref_loss(r, b, NULL, NULL, NULL);
        }
        if (is_a)
            for (int64_t j = 0; j < out; j++)
                w[j * in + i] += FD_STEP * (double)k->b[j];
        else
            for (int64_t j = 0; j < in; j++)
                w[i * in + j] += FD_STEP * (double)k->a[j];
        double numeric = (loss[0] - loss[1]) / (2.0 * FD_STEP);
        worst = fd_worse(worst, fabs(numeric - (double)grads[i]) / scale);
    }
    (void)values;
    return worst;
}

static void hooks_at_every_site(void **state)
{
    (void)state;
    const int64_t lengths[] = {6, 4};
    for (size_t s = 0; s < tiny_n_specs; s++) {
        if (tiny_specs[s].tied)
            continue; /* a hook on a tied head is no change of the shared weight */
        nb_model *m = tiny_open(&tiny_specs[s], 2);
        tiny_batch t = tiny_batch_open(m, lengths, 2, 5);
        ref_model *r = ref_open(m);
        size_t n = m->n_sites;
        rank1 **hooks = calloc(n, sizeof(rank1 *));
        for (size_t i = 0; i < n; i++) {
            hooks[i] = attach(&m->sites[i], 40 + i);
            double *w = ref_weight(r, m->sites[i].layer, m->sites[i].name);
            for (int64_t o = 0; o < m->sites[i].rows; o++)
                for (int64_t j = 0; j < m->sites[i].in; j++)
                    w[o * m->sites[i].in + j] += (double)hooks[i]->b[o] * (double)hooks[i]->a[j];
        }
        nb_workspace *ws, *other;
        assert_int_equal(
            nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true}, NULL),
            NB_OK);
        run(m, ws, &t.b);
        /* a second workspace in between must not disturb the first */
        for (size_t i = 0; i < n; i++) {
            memset(hooks[i]->da, 0, (size_t)hooks[i]->site->in * sizeof(float));
            memset(hooks[i]->db, 0, (size_t)hooks[i]->site->rows * sizeof(float));
        }
        nb_model_forward(m, ws, &t.b, NULL, true);
        assert_int_equal(nb_workspace_open(&other, m, &(nb_pass_plan){.max_rows = t.b.m}, NULL),
                         NB_OK);
        nb_model_forward(m, other, &t.b, NULL, false);
        nb_workspace_close(&other);
        nb_model_loss(m, ws, &t.b, 1.0, true, NULL);
        nb_model_backward(m, ws, &t.b);
        double worst = 0.0;
        for (size_t i = 0; i < n; i++) {
            rank1 *k = hooks[i];
            double a = worst_of(k, r, &t.b, k->a, k->da, k->site->in, true);
            double b = worst_of(k, r, &t.b, k->b, k->db, k->site->rows, false);
            worst = fd_worse(fd_worse(worst, a), b);
            assert_true(k->backwards == 2);
        }
        printf("%s: hooks on %zu sites, gradients within %.1e\n", tiny_specs[s].name, n, worst);
        assert_true(worst <= FD_TOLERANCE);
        nb_workspace_close(&ws);
        for (size_t i = 0; i < n; i++)
            detach(hooks[i]);
        free(hooks);
        ref_close(r);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

/* One hook alone gets the same gradient bits as among hooks everywhere, wherever it sits. */
static void early_stop_changes_nothing(void **state)
{
    (void)state;
    const int64_t lengths[] = {6, 4};
    const tiny_spec *spec = &tiny_specs[tiny_n_specs - 1];
    assert_true(spec->frozen);
    nb_model *m = tiny_open(spec, 2);
    tiny_batch t = tiny_batch_open(m, lengths, 2, 5);
    for (size_t i = 0; i < m->n_sites; i++) {
        float *expected = NULL;
        for (int everywhere = 1; everywhere >= 0; everywhere--) {
            rank1 *low = everywhere ? attach(&m->sites[0], 3) : NULL;
            rank1 *k = attach(&m->sites[i], 4);
            nb_workspace *ws;
            if (low) /* present in the pass but without effect */
                memset(low->b, 0, (size_t)low->site->rows * sizeof(float));
            assert_int_equal(nb_workspace_open(&ws, m,
                                               &(nb_pass_plan){.max_rows = t.b.m, .training = true},
                                               NULL),
                             NB_OK);
            run(m, ws, &t.b);
            size_t bytes = (size_t)k->site->in * sizeof(float);
            if (everywhere) {
                expected = malloc(bytes);
                memcpy(expected, k->da, bytes);
            } else {
                assert_memory_equal(expected, k->da, bytes);
                assert_int_equal(k->backwards, 1);
            }
            nb_workspace_close(&ws);
            detach(k);
            if (low)
                detach(low);
        }
        free(expected);
    }
    tiny_batch_close(&t);
    tiny_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hooks_at_every_site),
        cmocka_unit_test(early_stop_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
