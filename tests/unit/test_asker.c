/* SPDX-License-Identifier: MIT */
/* Answers of the asker are those of the generator. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "generate/asker.h"
#include "nibble/generate.h"
#include "train/assembly.h"

static const char *const prompts[] = {"Who keeps the bees?", "The baker", "a"};

typedef struct world {
    nb_recipe *r;
    nbi_assembly parts;
    nb_generator *g;
} world;

static int setup(void **state)
{
    nb_error err = {0};
    world *w = calloc(1, sizeof *w);
    char *dir = nbt_join(getenv("NIBBLE_SOURCE_ROOT"), "models/nibble-world");
    NBT_OK(nb_recipe_new(&w->r, &err));
    NBT_OK(nb_recipe_set(w->r, "model", dir, &err));
    NBT_OK(nb_generator_open(&w->g, w->r, NULL, &err));
    NBT_OK(nbi_assembly_open(&w->parts, w->r, false, NULL, &err));
    nbi_free(dir);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    nb_generator_close(&w->g);
    nbi_assembly_close(&w->parts);
    nb_recipe_free(&w->r);
    free(w);
    return 0;
}

static void same_as_generator(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_asker *a;
    nb_asker_options o = {.longest_prompt = 32, .max_new_tokens = 20};
    nb_generate_options go;
    nb_generate_options_default(&go);
    go.max_new_tokens = o.max_new_tokens;
    NBT_OK(nb_asker_open(&a, w->parts.model, w->parts.tok, &o, &err));
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        int32_t *ids;
        size_t n;
        nb_generation want;
        nb_answer have;
        NBT_OK(nb_prompt_text(w->g, prompts[i], &ids, &n, &err));
        NBT_OK(nb_generate_ids(w->g, ids, n, &go, &want, &err));
        NBT_OK(nb_asker_ask(a, ids, n, &have, &err));
        assert_string_equal(have.text, want.text);
        assert_true(have.n == want.n && have.stopped == want.stopped);
        nb_answer_free(&have);
        nb_generation_free(&want);
        nb_free(ids);
    }
    nb_asker_close(&a);
}

static void refusals(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_asker *a;
    nb_answer have;
    volatile sig_atomic_t stop = 1;
    const int32_t ids[3] = {5, 6, 7};
    nb_asker_options o = {.longest_prompt = 2, .max_new_tokens = 4, .stop = &stop};
    NBT_OK(nb_asker_open(&a, w->parts.model, w->parts.tok, &o, &err));
    NBT_FAILS(NB_LIMIT, "3 tokens", nb_asker_ask(a, ids, 3, &have, &err));
    NBT_FAILS(NB_INTERRUPTED, "interrupted", nb_asker_ask(a, ids, 2, &have, &err));
    assert_null(have.text);
    stop = 0;
    NBT_OK(nb_asker_ask(a, ids, 2, &have, &err));
    nb_answer_free(&have);
    nb_asker_close(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_as_generator),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
