/* SPDX-License-Identifier: MIT */
/* Runs that are stopped and go on: the hardest configuration, and whether two runs ended alike.
 * Include after tiny_world.h. */
#ifndef NBT_RESUME_WORLD_H
#define NBT_RESUME_WORLD_H

#include <stdarg.h>
#include "base/io.h"

/* Shuffled packs, accumulation that does not divide the epoch (3 updates each, the last of one
 * batch), dropout, moments of 8 bits in tensors of 4192 and 6288 elements (no multiple of 256),
 * logging windows and evaluations that fall across each other, a warm-up of 10 steps. */
static const nbt_setting hard[] = {{"lora_r", "131"},
                                   {"lora_alpha", "131"},
                                   {"lora_dropout", "0.1"},
                                   {"lora_target_modules", "[q_proj, down_proj]"},
                                   {"optim", "adamw_8bit"},
                                   {"packing", "true"},
                                   {"max_seq_length", "24"},
                                   {"per_device_train_batch_size", "2"},
                                   {"gradient_accumulation_steps", "2"},
                                   {"lr_scheduler_type", "cosine"},
                                   {"warmup_steps", "10"},
                                   {"learning_rate", "0.003"},
                                   {"logging_steps", "7"},
                                   {"eval_strategy", "steps"},
                                   {"eval_steps", "9"},
                                   {"on_disk_full", "exit"},
                                   {NULL, NULL}};

/* The hard configuration with further pairs of key and value, ended by NULL. */
NBT_UNUSED static nb_recipe *hard_recipe(const world *w, const char *out, va_list more)
{
    nb_error err = {0};
    nb_recipe *r = recipe(w, out, hard);
    NBT_OK(nb_recipe_set(r, "eval_data", w->eval, &err));
    for (const char *key; (key = va_arg(more, const char *));)
        NBT_OK(nb_recipe_set(r, key, va_arg(more, const char *), &err));
    return r;
}

NBT_UNUSED static nb_status hard_train(const world *w, const char *out, const nb_train_hooks *hooks,
                                       nb_train_result *result, nb_error *err, ...)
{
    va_list more;
    va_start(more, err);
    nb_recipe *r = hard_recipe(w, out, more);
    va_end(more);
    nb_status st = nb_train(r, hooks, result, err);
    nb_recipe_free(&r);
    return st;
}

NBT_UNUSED static char *step_dir(const char *out, int step)
{
    char name[40];
    snprintf(name, sizeof name, "checkpoint-%d", step);
    return nbt_join(out, name);
}

NBT_UNUSED static bool has_step(const char *out, int step)
{
    char *dir = step_dir(out, step);
    bool yes = nbi_path_is_dir(dir);
    nbi_free(dir);
    return yes;
}

NBT_UNUSED static void file_hash(const char *dir, const char *name, char hex[65])
{
    nb_error err = {0};
    char *path = nbt_join(dir, name);
    NBT_OK(nbi_sha256_file(path, hex, &err));
    nbi_free(path);
}

/* What must be the same however often a run was stopped: adapter, optimizer and progress after the
 * last step, and every logged number that is not a time. */
typedef struct outcome {
    char adapter[65], optim[65], progress[65], log[65];
} outcome;

NBT_UNUSED static void hash_progress(const char *dir, char hex[65])
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_json *doc;
    nbi_strbuf b = {0};
    nbi_json_writer w;
    char *path = nbt_join(dir, "nibble_state.json");
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(&arena, path, 1u << 24, &doc, &err));
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_tree(&w, nbi_json_get(doc, "progress"));
    NBT_OK(nbi_sha256_hex(b.s, b.n, hex, &err));
    nbi_strbuf_free(&b);
    nbi_arena_free(&arena);
    nbi_free(path);
}

NBT_UNUSED static void hash_log(const char *out, char hex[65])
{
    static const char *const names[] = {"step",   "epoch",     "loss",         "grad_norm",
                                        "tokens", "eval_loss", "learning_rate"};
    static nbt_lines l;
    nb_error err = {0};
    nbi_arena arena;
    nbi_strbuf b = {0};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    for (size_t i = 1; i < l.n; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            const nbi_json *v = nbi_json_get(l.v[i], names[k]);
            nbi_strbuf_printf(&b, "%s%s", v ? v->text : "-", k + 1 < 7 ? " " : "\n");
        }
    NBT_OK(nbi_sha256_hex(b.s, b.n, hex, &err));
    nbi_strbuf_free(&b);
    nbi_arena_free(&arena);
}

NBT_UNUSED static outcome outcome_of(const char *out, int last)
{
    outcome o;
    char *dir = step_dir(out, last);
    adapter_hash(out, o.adapter);
    file_hash(dir, "optimizer.safetensors", o.optim);
    hash_progress(dir, o.progress);
    hash_log(out, o.log);
    nbi_free(dir);
    return o;
}

#define SAME_OUTCOME(a, b)                                                                         \
    do {                                                                                           \
        assert_string_equal((a).adapter, (b).adapter);                                             \
        assert_string_equal((a).optim, (b).optim);                                                 \
        assert_string_equal((a).progress, (b).progress);                                           \
        assert_string_equal((a).log, (b).log);                                                     \
    } while (0)

/* Hidden files in a folder beside the lock. */
NBT_UNUSED static size_t count_left(const char *dir)
{
    nb_error err = {0};
    char **names;
    size_t n, left = 0;
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        left += names[i][0] == '.' && strcmp(names[i], ".lock") != 0;
    nbi_list_dir_free(names, n);
    return left;
}

/* Folder `to` with the files of `from` under the same inodes: checkpoints are never written into.
 */
NBT_UNUSED static void link_folder(const char *from, const char *to)
{
    nb_error err = {0};
    char **names;
    size_t n;
    NBT_OK(nbi_make_dirs(to, &err));
    NBT_OK(nbi_list_dir(from, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        char *a = nbt_join(from, names[i]), *b = nbt_join(to, names[i]);
        assert_int_equal(link(a, b), 0);
        nbi_free(a);
        nbi_free(b);
    }
    nbi_list_dir_free(names, n);
}

/* An output folder that holds one checkpoint of another one. */
NBT_UNUSED static void begin_from(const char *base, int step, const char *out)
{
    nb_error err = {0};
    char *from = step_dir(base, step), *to = step_dir(out, step);
    NBT_OK(nbi_remove_tree(out, &err));
    link_folder(from, to);
    nbi_free(from);
    nbi_free(to);
}

/* Runs that save often wait for the disk; their folders lie in memory where there is some. */
NBT_UNUSED static int setup_in_memory(void **state)
{
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return setup(state);
}

/* NIBBLE_LONG_TESTS asks for the numbers that a release is held to. */
NBT_UNUSED static bool is_long(const char *left_out)
{
    const char *s = getenv("NIBBLE_LONG_TESTS");
    if (s && *s && strcmp(s, "0") != 0)
        return true;
    print_message("%s: only with NIBBLE_LONG_TESTS=1\n", left_out);
    return false;
}

NBT_UNUSED static void collect_line(void *user, nb_log_level level, const char *line)
{
    (void)level;
    nbi_strbuf_printf(user, "%s\n", line);
}

#endif
