/* SPDX-License-Identifier: MIT */
/* Fine-tunes a model with QLoRA and asks it a question, through the public interface alone:
 *     train_and_generate MODEL_DIR ROWS.jsonl OUT_DIR QUESTION [STEPS] */
#include <nibble/nibble.h>
#include <stdio.h>

static int fail(const nb_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return nb_status_exit_code(err->code);
}

int main(int argc, char **argv)
{
    nb_error err = {NB_OK, ""};
    nb_recipe *recipe = NULL;
    nb_generator *g = NULL;
    int32_t *ids = NULL;
    size_t n = 0;
    if (argc < 5)
        return 2;
    const char *settings[][2] = {{"model", argv[1]},
                                 {"data", argv[2]},
                                 {"output_dir", argv[3]},
                                 {"method", "qlora"},
                                 {"max_steps", argc > 5 ? argv[5] : "20"},
                                 {"learning_rate", "1e-3"}};
    nb_status st = nb_recipe_new(&recipe, &err);
    for (size_t i = 0; st == NB_OK && i < sizeof settings / sizeof *settings; i++)
        st = nb_recipe_set(recipe, settings[i][0], settings[i][1], &err);
    nb_train_result result;
    if (st != NB_OK || nb_train(recipe, &(nb_train_hooks){0}, &result, &err) != NB_OK)
        return fail(&err);
    printf("loss %.4f -> %.4f\n", result.first_loss, result.last_loss);
    nb_recipe_free(&recipe);

    nb_generate_options options;
    nb_generation answer = {0};
    nb_generate_options_default(&options);
    options.max_new_tokens = 40;
    if (nb_recipe_new(&recipe, &err) != NB_OK ||
        nb_recipe_set(recipe, "adapter", argv[3], &err) != NB_OK ||
        nb_generator_open(&g, recipe, NULL, &err) != NB_OK ||
        nb_prompt_question(g, argv[4], &ids, &n, NULL, &err) != NB_OK ||
        nb_generate_ids(g, ids, n, &options, &answer, &err) != NB_OK)
        return fail(&err);
    printf("%s\n", answer.text);
    nb_generation_free(&answer);
    nb_free(ids);
    nb_generator_close(&g);
    nb_recipe_free(&recipe);
    return 0;
}
