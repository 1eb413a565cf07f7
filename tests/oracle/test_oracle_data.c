/* SPDX-License-Identifier: MIT */
/* Rows to ids and labels against the reference stack: every folder of text/data, and the token
 * files of the recorded runs made from chat and text rows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include "testutil.h"
#include "base/json.h"
#include "data/dataset.h"
#include "text/chat.h"

static int g_bad;

/* One way of loading that several expected lines share. */
typedef struct setup {
    const char *tokenizer, *loss, *truncation, *template;
    int64_t max_length;
} setup;

typedef struct figures {
    int rows, equal, dropped, text_equal, texts;
} figures;

static const char *text_of(const nbi_json *obj, const char *key)
{
    const nbi_json *v = nbi_json_get(obj, key);
    return v && v->type == NBI_JT_STRING ? v->text : NULL;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && !strcmp(a, b));
}

static setup setup_of(const nbi_json *line)
{
    setup s = {text_of(line, "tokenizer"), text_of(line, "loss"), text_of(line, "truncation"),
               text_of(line, "template"), 0};
    const nbi_json *max = nbi_json_get(line, "max_length");
    if (!nbi_json_is_null(max))
        assert_true(nbi_json_to_i64(max, &s.max_length));
    return s;
}

static bool same_setup(const setup *a, const setup *b)
{
    return same(a->tokenizer, b->tokenizer) && same(a->loss, b->loss) &&
           same(a->truncation, b->truncation) && same(a->template, b->template) &&
           a->max_length == b->max_length;
}

/* JSON lines as one array of trees. */
static nbi_json **read_lines(nbi_arena *arena, const char *path, size_t *n)
{
    nb_error err = {0};
    size_t len;
    char *text = nbt_read(path, &len);
    nbi_json **v = NULL;
    *n = 0;
    for (char *at = text; at < text + len;) {
        char *end = memchr(at, '\n', (size_t)(text + len - at));
        end = end ? end : text + len;
        if (end > at) {
            v = realloc(v, (*n + 1) * sizeof *v);
            NBT_OK(nbi_json_parse(arena, path, at, (size_t)(end - at), &v[(*n)++], &err));
        }
        at = end + 1;
    }
    nbi_free(text);
    return v;
}

static bool ids_equal(const nbi_json *list, const int32_t *v, int64_t n)
{
    int64_t i = 0, x;
    if (!list || (int64_t)list->n != n)
        return false;
    for (const nbi_json *e = list->first; e; e = e->next, i++)
        if (!nbi_json_to_i64(e, &x) || x != v[i])
            return false;
    return true;
}

static const nb_example *find_row(const nb_dataset *d, int64_t row)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->rows[i].row == row)
            return &d->rows[i];
    for (size_t i = 0; i < d->n_dropped; i++)
        if (d->dropped[i].row == row)
            return &d->dropped[i];
    return NULL;
}

static void compare(const nbi_json *line, const nb_example *e, figures *f, const char *ids,
                    const char *labels)
{
    bool drop =
        nbi_json_get(line, "dropped") || nbi_json_get(line, "error") || nbi_json_get(line, "note");
    f->rows++;
    if (drop) {
        f->dropped++;
        f->equal += e && e->dropped;
        return;
    }
    bool ok = e && !e->dropped && ids_equal(nbi_json_get(line, ids), e->ids, e->n) &&
              (!labels || ids_equal(nbi_json_get(line, labels), e->labels, e->n));
    f->equal += ok;
    const char *text = text_of(line, "text");
    if (text && e && e->text) {
        f->texts++;
        f->text_equal += !strcmp(text, e->text);
    }
    if (!ok && e) {
        printf("    row %lld differs:", (long long)e->row);
        for (int64_t i = 0; i < e->n && i < 40; i++)
            printf(" %d/%d", e->ids[i], e->labels[i]);
        printf("\n");
    }
}

static nb_train_on train_on(const char *loss)
{
    return same(loss, "all")          ? NB_TRAIN_ALL
           : same(loss, "assistant")  ? NB_TRAIN_ASSISTANT
           : same(loss, "completion") ? NB_TRAIN_COMPLETION
                                      : NB_TRAIN_DEFAULT;
}

static nb_tokenizer *open_tokenizer(const char *name)
{
    nb_error err = {0};
    nb_tokenizer *tok = NULL;
    nbi_strbuf path = {0};
    nbi_strbuf_printf(&path, "%s/text/tokenizers/%s", nbt_oracle(), name);
    NBT_OK(nb_tokenizer_open(&tok, path.s, NULL, &err));
    nbi_strbuf_free(&path);
    return tok;
}

static void result(const char *name, const char *what, const figures *f)
{
    bool bad = f->equal != f->rows || f->text_equal != f->texts || f->rows == 0;
    printf("%-26s %s: %d of %d rows equal (%d dropped), %d of %d texts equal%s\n", name, what,
           f->equal, f->rows, f->dropped, f->text_equal, f->texts, bad ? "  DIFFERENT" : "");
    g_bad += bad;
}

/* All expected lines of one setup. */
static void run_setup(const char *name, const char *input, const setup *s, nbi_json **lines,
                      size_t n, nb_data_format format)
{
    nb_error err = {0};
    nb_tokenizer *tok = open_tokenizer(s->tokenizer ? s->tokenizer : "mistral");
    nb_dataset *d = NULL;
    nb_data_config c = {.format = format,
                        .train_on = train_on(s->loss),
                        .max_seq_length = s->max_length,
                        .truncate_left = same(s->truncation, "keep_end"),
                        .add_special_tokens = s->template ? -1 : 1,
                        .keep_text = true};
    figures f = {0};
    char what[100];
    NBT_OK(nb_dataset_load(&d, input, &c, tok, nb_tokenizer_vocab_size(tok), NULL, &err));
    for (size_t i = 0; i < n; i++) {
        setup t = setup_of(lines[i]);
        int64_t row;
        if (!same_setup(&t, s) || !nbi_json_to_i64(nbi_json_get(lines[i], "row"), &row))
            continue;
        compare(lines[i], find_row(d, row), &f, "input_ids", "labels");
    }
    snprintf(what, sizeof what, "%s %s %lld %s", s->tokenizer, s->loss, (long long)s->max_length,
             s->truncation ? s->truncation : "");
    result(name, what, &f);
    nb_dataset_close(&d);
    nb_tokenizer_close(&tok);
}

static bool template_known(const setup *s)
{
    if (!s->template)
        return true;
    nb_tokenizer *tok = open_tokenizer(s->tokenizer);
    bool known = nbi_chat_supported(tok);
    nb_tokenizer_close(&tok);
    return known;
}

static void run_folder(const char *name, const char *input, const char *expected,
                       nb_data_format format)
{
    nbi_arena arena;
    size_t n;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json **lines = read_lines(&arena, expected, &n);
    for (size_t i = 0; i < n; i++) {
        setup s = setup_of(lines[i]), before;
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++) {
            before = setup_of(lines[j]);
            seen = same_setup(&before, &s);
        }
        if (seen)
            continue;
        if (template_known(&s))
            run_setup(name, input, &s, lines, n, format);
        else
            printf("%-26s %s %s: not covered: chat template %s\n", name, s.tokenizer, s.loss,
                   s.template);
    }
    free(lines);
    nbi_arena_free(&arena);
}

static char *find_input(const char *dir)
{
    static const char *const names[] = {"input.jsonl", "input.csv", "input.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *path = nbt_join(dir, names[i]);
        if (nbi_path_exists(path))
            return path;
        nbi_free(path);
    }
    return NULL;
}

/* Folders by the start of their name; the longest match counts. */
static const struct {
    const char *prefix;
    int format; /* -1: not covered */
} kinds[] = {
    {"alpaca", NB_DATA_ALPACA},
    {"alpaca_chat", -1},
    {"messages", NB_DATA_MESSAGES},
    {"messages_tools", -1},
    {"text", NB_DATA_TEXT},
    {"prompt_completion", NB_DATA_PROMPT_COMPLETION},
    {"pretokenized", NB_DATA_TOKENIZED},
};

static int kind_of(const char *name)
{
    int format = -1;
    size_t best = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = strlen(kinds[i].prefix);
        if (len > best && !strncmp(name, kinds[i].prefix, len)) {
            best = len;
            format = kinds[i].format;
        }
    }
    return format;
}

static void test_folders(void **state)
{
    (void)state;
    nb_error err = {0};
    char *root = nbt_join(nbt_oracle(), "text/data"), **names;
    size_t n;
    NBT_OK(nbi_list_dir(root, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        char *dir = nbt_join(root, names[i]), *expected = nbt_join(dir, "expected.jsonl");
        char *input = nbi_path_is_dir(dir) ? find_input(dir) : NULL;
        int kind = kind_of(names[i]);
        if (input && kind >= 0) {
            if (!nbi_path_exists(expected)) { /* the same rows as those of the plain folder */
                nbi_free(expected);
                expected = nbt_join(root, "alpaca/expected.jsonl");
            }
            run_folder(names[i], input, expected, (nb_data_format)kind);
        } else if (input && strcmp(names[i], "tutorial_yt") != 0) {
            printf("%-26s not covered: this format is not read\n", names[i]);
        }
        nbi_free(input);
        nbi_free(expected);
        nbi_free(dir);
    }
    nbi_list_dir_free(names, n);
    nbi_free(root);
    assert_int_equal(g_bad, 0);
}

#define YT_TEMPLATE                                                                                \
    "[INST] {instructions} \nPlease respond to the following comment.\n\n{Comment} \n[/INST]"      \
    "{Response}"

/* The rows of a CSV through a template; `tutorial`: with the labels that a collator with pad = eos
 * makes. */
static void yt_case(const char *dir, nbi_json **lines, size_t n, int64_t max, bool tutorial,
                    const nb_template_var *var, const nb_tokenizer *tok)
{
    nb_error err = {0};
    char *input = nbt_join(dir, "input.csv"), what[80];
    nb_dataset *d = NULL;
    nb_data_config c = {.format = NB_DATA_TEMPLATE,
                        .template_text = YT_TEMPLATE,
                        .template_vars = var,
                        .n_template_vars = 1,
                        .max_seq_length = max,
                        .truncate_left = true,
                        .add_special_tokens = -1,
                        .mask_eos = tutorial,
                        .train_on = tutorial ? NB_TRAIN_ALL : NB_TRAIN_DEFAULT,
                        .keep_text = true};
    figures f = {0};
    NBT_OK(nb_dataset_load(&d, input, &c, tok, 0, NULL, &err));
    for (size_t i = 0; i < n; i++) {
        int64_t row, m;
        assert_true(nbi_json_to_i64(nbi_json_get(lines[i], "row"), &row));
        assert_true(nbi_json_to_i64(nbi_json_get(lines[i], "max_length"), &m));
        if (m != max)
            continue;
        const nb_example *e = find_row(d, row);
        compare(lines[i], e, &f, "input_ids", tutorial ? "labels_tutorial" : NULL);
        if (!tutorial && e && !e->dropped) /* one eos, and it is trained */
            f.equal -= e->labels[e->n - 1] != nb_tokenizer_eos(tok);
    }
    snprintf(what, sizeof what, "max %lld%s", (long long)max,
             tutorial ? ", tutorial's labels" : "");
    result("tutorial_yt", what, &f);
    nb_dataset_close(&d);
    nbi_free(input);
}

static void test_tutorial(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_arena arena;
    size_t n;
    char *dir = nbt_join(nbt_oracle(), "text/data/tutorial_yt");
    char *expected = nbt_join(dir, "expected.jsonl"), *vars = nbt_join(dir, "instructions.json");
    nbi_json *doc;
    if (!nbi_path_exists(expected))
        skip();
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json **lines = read_lines(&arena, expected, &n);
    NBT_OK(nbi_json_parse_file(&arena, vars, 1 << 20, &doc, &err));
    nb_template_var var = {"instructions", text_of(doc, "instructions")};
    nb_tokenizer *tok = open_tokenizer("mistral");
    for (size_t i = 0; i < n; i++) {
        int64_t max, other;
        bool seen = false;
        assert_true(nbi_json_to_i64(nbi_json_get(lines[i], "max_length"), &max));
        for (size_t j = 0; j < i && !seen; j++)
            seen = nbi_json_to_i64(nbi_json_get(lines[j], "max_length"), &other) && other == max;
        for (int tutorial = 0; tutorial < 2 && !seen; tutorial++)
            yt_case(dir, lines, n, max, tutorial, &var, tok);
    }
    nb_tokenizer_close(&tok);
    free(lines);
    nbi_arena_free(&arena);
    nbi_free(vars);
    nbi_free(expected);
    nbi_free(dir);
    assert_int_equal(g_bad, 0);
}

/* A row's own layout, taken apart: instruction, comment, reply. */
static bool take_apart(const char *text, char **instruction, char **comment, char **reply)
{
    static const char head[] = "<s>[INST] ", mid[] = "comment.\n \n", inst[] = " \n[/INST]\n",
                      tail[] = " -ShawGPT</s>";
    size_t n = strlen(text), t = strlen(tail);
    const char *m = strstr(text, mid), *i = m ? strstr(m, inst) : NULL;
    if (strncmp(text, head, strlen(head)) || !i || n < t || strcmp(text + n - t, tail))
        return false;
    const char *c = m + strlen(mid), *r = i + strlen(inst);
    *instruction =
        strndup(text + strlen(head), (size_t)(m + strlen("comment.\n") - text) - strlen(head));
    *comment = strndup(c, (size_t)(i - c));
    *reply = strndup(r, (size_t)(text + n - t - r));
    return true;
}

static void add_quoted(nbi_strbuf *b, const char *s)
{
    nbi_strbuf_putc(b, '"');
    for (; *s; s++) {
        if (*s == '"')
            nbi_strbuf_putc(b, '"');
        nbi_strbuf_putc(b, *s);
    }
    nbi_strbuf_putc(b, '"');
}

/* The same ids from finished texts and from a CSV with the row template; one BOS, or two on demand.
 */
static void test_finished_texts(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_arena arena;
    size_t n, n_expected;
    char *dir = nbt_join(nbt_oracle(), "text/data/tutorial_yt"), *tmp = nbt_tmpdir();
    char *rows = nbt_join(dir, "text_rows.jsonl"),
         *expected = nbt_join(dir, "text_rows_expected.jsonl");
    char *csv = nbt_join(tmp, "rows.csv"), *instruction = NULL, *comment = NULL, *reply = NULL;
    if (!nbi_path_exists(expected))
        skip();
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json **lines = read_lines(&arena, rows, &n);
    nbi_json **want = read_lines(&arena, expected, &n_expected);
    nbi_strbuf b = {0};
    nbi_strbuf_puts(&b, "\xef\xbb\xbf"
                        "Comment,Response\r\n");
    for (size_t i = 0; i < n; i++) {
        free(instruction);
        assert_true(take_apart(text_of(lines[i], "text"), &instruction, &comment, &reply));
        add_quoted(&b, comment);
        nbi_strbuf_putc(&b, ',');
        add_quoted(&b, reply);
        nbi_strbuf_puts(&b, "\r\n");
        free(comment);
        free(reply);
    }
    nbt_write(csv, b.s, b.n);
    nb_tokenizer *tok = open_tokenizer("mistral");
    nb_template_var var = {"I", instruction};
    for (int twice = 0; twice < 2; twice++) {
        nb_dataset *from_text = NULL, *from_csv = NULL;
        nb_data_config c = {.format = NB_DATA_TEXT, .add_special_tokens = twice ? 1 : -1};
        nb_data_config t = {.format = NB_DATA_TEMPLATE,
                            .template_text =
                                "<s>[INST] {I} \n{Comment} \n[/INST]\n{Response} -ShawGPT</s>",
                            .template_vars = &var,
                            .n_template_vars = 1,
                            .add_special_tokens = c.add_special_tokens};
        figures f = {0};
        NBT_OK(nb_dataset_load(&from_text, rows, &c, tok, 0, NULL, &err));
        NBT_OK(nb_dataset_load(&from_csv, csv, &t, tok, 0, NULL, &err));
        for (size_t i = 0; i < n_expected; i++) {
            const char *key = twice ? "ids_with_special" : "ids_no_special";
            compare(want[i], find_row(from_text, (int64_t)i), &f, key, NULL);
            compare(want[i], find_row(from_csv, (int64_t)i), &f, key, NULL);
        }
        result("tutorial_yt text_rows", twice ? "two BOS" : "one BOS", &f);
        nb_dataset_close(&from_text);
        nb_dataset_close(&from_csv);
    }
    nb_tokenizer_close(&tok);
    nbi_strbuf_free(&b);
    free(instruction);
    free(lines);
    free(want);
    nbi_arena_free(&arena);
    nbt_tmpdir_remove(tmp);
    nbi_free(csv);
    nbi_free(rows);
    nbi_free(expected);
    nbi_free(dir);
    assert_int_equal(g_bad, 0);
}

/* The token files of a recorded run, from the rows it was made of. */
static void run_tokens(const char *run, const char *part, const char *rows, const nb_data_config *c)
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_strbuf path = {0}, input = {0}, dir = {0};
    size_t n;
    nbi_strbuf_printf(&path, "%s/stories260k/runs/%s/%s.tokens.jsonl", nbt_oracle(), run, part);
    nbi_strbuf_printf(&input, "%s/../data/%s-%s.jsonl", nbt_oracle(), rows, part);
    nbi_strbuf_printf(&dir, "%s/stories260k/model", nbt_oracle());
    if (!nbi_path_exists(path.s) || !nbi_path_exists(input.s)) {
        printf("%-26s %s: not covered: no rows beside the reference data\n", run, part);
        goto done;
    }
    nb_tokenizer *tok = NULL;
    nb_dataset *d = NULL;
    figures f = {0};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json **lines = read_lines(&arena, path.s, &n);
    NBT_OK(nb_tokenizer_open(&tok, dir.s, NULL, &err));
    NBT_OK(nb_dataset_load(&d, input.s, c, tok, 0, NULL, &err));
    for (size_t i = 0; i < n; i++) {
        int64_t row;
        assert_true(nbi_json_to_i64(nbi_json_get(lines[i], "row"), &row));
        compare(lines[i], find_row(d, row), &f, "ids", "labels");
    }
    f.rows += d->n != n; /* no more and no fewer rows */
    result(run, part, &f);
    nb_dataset_close(&d);
    nb_tokenizer_close(&tok);
    free(lines);
    nbi_arena_free(&arena);
done:
    nbi_strbuf_free(&path);
    nbi_strbuf_free(&input);
    nbi_strbuf_free(&dir);
}

static void test_runs(void **state)
{
    (void)state;
    nb_data_config chat = {
        .format = NB_DATA_MESSAGES, .max_seq_length = 1024, .add_special_tokens = -1};
    nb_data_config text = {.format = NB_DATA_TEXT,
                           .max_seq_length = 768,
                           .response_template = "[/INST]\n",
                           .train_on = NB_TRAIN_COMPLETION,
                           .add_special_tokens = -1};
    const char *const parts[] = {"train", "valid"};
    for (int i = 0; i < 2; i++) {
        run_tokens("chat_qlora", parts[i], "yt-openai-chat", &chat);
        run_tokens("text_qlora", parts[i], "yt-mlx", &text);
    }
    assert_int_equal(g_bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_tutorial),
        cmocka_unit_test(test_finished_texts),
        cmocka_unit_test(test_runs),
    };
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
