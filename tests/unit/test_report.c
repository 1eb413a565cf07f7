/* SPDX-License-Identifier: MIT */
/* Records of runs by their logs, and what is shown of them: curves that keep their peaks, axes,
 * pages that are well formed and escaped, tables, JSON. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "nibble/report.h"
#include "train/report_page.h"
#include "train/report_text.h"

#define EVIL "<script>alert(1)</script>&\\\"'\\u202e\\u0007"

static const char head[] =
    "{\"versions\": {\"nibble\": \"1\"}, \"cpu\": \"Some <b>CPU</b>\", \"threads\": 2, "
    "\"total_steps\": 8, \"trainable_parameters\": 100, \"total_parameters\": 1000, "
    "\"data\": {\"path\": \"" EVIL "\", \"sha256\": \"abcdef0123456789\", \"rows\": 12345, "
    "\"tokens\": 7654321, \"trained_tokens\": 5}, "
    "\"settings\": {\"model\": \"" EVIL "\", \"method\": \"lora\", \"learning_rate\": 0.5, "
    "\"lora_target_modules\": [\"q\", \"" EVIL "\"], \"template\": null}, "
    "\"planned_peak_bytes\": 104857600}\n";
static const char body[] =
    "{\"step\": 0, \"epoch\": 0.0, \"eval_loss\": 5.25, \"eval_perplexity\": 190.5}\n"
    "{\"step\": 2, \"epoch\": 0.5, \"loss\": 4.125, \"grad_norm\": 1.0, \"learning_rate\": 0.25, "
    "\"tokens\": 9, \"tokens_per_second\": 1000.0}\n"
    "{\"step\": 4, \"epoch\": 1.0, \"loss\": \"NaN\", \"grad_norm\": \"Infinity\", "
    "\"learning_rate\": 0.5, \"tokens\": 9, \"tokens_per_second\": 3000.0}\n"
    "{\"step\": 4, \"epoch\": 1.0, \"eval_loss\": 2.75, \"eval_perplexity\": 15.6}\n"
    "{\"step\": 8, \"epoch\": 2.0, \"loss\": 1.375, \"grad_norm\": 0.5, \"learning_rate\": 0.125, "
    "\"tokens\": 9, \"tokens_per_second\": 2000.0}\n"
    "{\"step\": 8, \"epoch\": 2.0, \"eval_loss\": 3.0625, \"eval_perplexity\": 21.4}\n";
static const char end[] =
    "{\"step\": 8, \"epoch\": 2.0, \"train_loss\": 2.5, \"train_runtime\": 12.5, "
    "\"peak_bytes\": 94371840, \"planned_peak_bytes\": 104857600}\n";

/* A record of the parts joined. */
static nb_status parse(nbi_run_record *r, nb_error *err, const char *a, const char *b,
                       const char *c)
{
    nbi_strbuf text = {0};
    nbi_run_record_begin(r);
    r->name = "the run";
    nbi_strbuf_puts(&text, a);
    nbi_strbuf_puts(&text, b);
    nbi_strbuf_puts(&text, c);
    nb_status st = nbi_run_record_parse(r, "x.jsonl", nbi_strbuf_str(&text), text.n, err);
    nbi_strbuf_free(&text);
    return st;
}

static void check_whole(const nbi_run_summary *s)
{
    assert_int_equal(s->steps, 8);
    assert_int_equal(s->total_steps, 8);
    assert_true(s->epoch == 2 && s->loss_first == 4.125 && s->loss_last == 1.375);
    assert_true(s->eval_first == 5.25 && s->eval_best == 2.75 && s->eval_last == 3.0625);
    assert_int_equal(s->eval_best_step, 4);
    assert_true(s->learning_rate == 0.5 && s->tokens_per_second == 2000);
    assert_true(s->planned_bytes == 104857600);
}

static void logs(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_run_record r;
    nbi_run_summary s;
    nbi_points p = {0};
    size_t before = nbt_in_use();
    NBT_OK(parse(&r, &err, head, body, end));
    nbi_run_summarise(&r, &s);
    check_whole(&s);
    assert_true(s.seconds == 12.5 && s.peak_bytes == 94371840);
    assert_string_equal(s.state, "finished");
    NBT_OK(nbi_points_of(&r, "loss", &p, &err));
    assert_int_equal(p.n, 3);
    assert_true(isnan(p.v[1].y) && p.v[1].x == 4);
    NBT_OK(nbi_points_of(&r, "nothing", &p, &err));
    assert_int_equal(p.n, 0);
    nbi_run_record_close(&r);

    /* without the last line, and with a torn one */
    NBT_OK(parse(&r, &err, head, body, "{\"step\": 9, \"epo"));
    nbi_run_summarise(&r, &s);
    check_whole(&s);
    assert_string_equal(s.state, "not finished");
    nbi_run_record_close(&r);
    /* the last line of earlier versions */
    NBT_OK(parse(&r, &err, head, body, "{\"steps\": 8, \"seconds\": 3.5, \"peak_bytes\": 7}\n"));
    nbi_run_summarise(&r, &s);
    assert_true(s.seconds == 3.5 && s.peak_bytes == 7 && s.steps == 8);
    assert_string_equal(s.state, "finished");
    nbi_run_record_close(&r);
    /* a second start that went back to step 2 */
    NBT_OK(parse(&r, &err, head, body, "{\"step\": 3, \"epoch\": 0.7, \"loss\": 9.0}\n"));
    NBT_OK(nbi_points_of(&r, "loss", &p, &err));
    assert_true(p.n == 2 && p.v[1].x == 3 && p.v[1].y == 9);
    nbi_run_record_close(&r);
    /* entries alone, the header alone */
    NBT_OK(parse(&r, &err, "", body, ""));
    assert_null(r.header);
    nbi_run_record_close(&r);
    NBT_OK(parse(&r, &err, head, "", ""));
    nbi_run_record_close(&r);

    NBT_FAILS(NB_FORMAT, "line 2", parse(&r, &err, head, "{\"step\": -1}\n", ""));
    nbi_run_record_close(&r);
    NBT_FAILS(NB_FORMAT, "line 2", parse(&r, &err, head, "nonsense\n", body));
    nbi_run_record_close(&r);
    NBT_FAILS(NB_FORMAT, "no line", parse(&r, &err, "", "", ""));
    nbi_run_record_close(&r);
    nbi_array_free(&p);
    assert_int_equal(nbt_in_use(), before);
}

static void curves(void **state)
{
    (void)state;
    nbi_points p = {0};
    for (int i = 0; i < 12345; i++) {
        const nbi_point v = {i, i == 777 ? 100 : i == 9000 ? -50 : i == 4567 ? NAN : sin(i * 0.1)};
        assert_true(nbi_array_push(&p, v));
    }
    nbi_points_thin(&p, 2000);
    assert_true(p.n <= 2000 && p.n > 1500);
    bool high = false, low = false, odd = false;
    for (size_t i = 0; i < p.n; i++) {
        assert_true(i == 0 || p.v[i].x > p.v[i - 1].x);
        high = high || p.v[i].y == 100;
        low = low || p.v[i].y == -50;
        odd = odd || isnan(p.v[i].y);
    }
    assert_true(high && low && odd);
    nbi_array_free(&p);

    static const double ranges[][2] = {{0, 1}, {0.16, 5.2}, {-3, 17}, {2e-7, 3e-4}, {5, 5},
                                       {0, 0}, {1e9, 3e12}, {0, 130}, {-1e-9, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        const double lo = ranges[i][0], hi = ranges[i][1], slack = 1e-6 * fmax(hi - lo, 1e-12);
        const nbi_axis a = nbi_axis_make(lo, hi, 5);
        assert_true(a.lo <= lo + slack && a.hi >= hi - slack && a.hi > a.lo);
        assert_true(a.n >= 3 && a.n <= 13);
        assert_true(fabs(a.lo + (a.n - 1) * a.step - a.hi) <= 1e-9 * fabs(a.hi) + 1e-15);
    }
}

static void sparklines(void **state)
{
    (void)state;
    nbi_point v[] = {{0, 0}, {10, 7}, {20, 7}, {30, NAN}, {40, 0}};
    nbi_points p = {.v = v, .n = 5};
    nbi_strbuf b = {0};
    nbi_sparkline(&b, &p, 0, 40, 0, 7, 4, false);
    assert_string_equal(b.s, "~#!_"); /* the first part holds 0 and 7 */
    nbi_strbuf_clear(&b);
    nbi_sparkline(&b, &p, 0, 80, 0, 7, 8, true);
    assert_string_equal(b.s, "\xe2\x96\x85\xe2\x96\x88!\xe2\x96\x81    ");
    nbi_strbuf_clear(&b);
    p.n = 2; /* on the line between two points */
    nbi_sparkline(&b, &p, 0, 10, 0, 7, 5, false);
    assert_string_equal(b.s, "_,~=#");
    nbi_strbuf_free(&b);
}

/* ---- pages ---- */

static bool is_void(const char *name)
{
    return !strcmp(name, "meta") || !strcmp(name, "!DOCTYPE");
}

/* Every tag is closed in order; attributes are quoted; text holds no bare bracket. */
static void check_well_formed(const char *s)
{
    char stack[64][16];
    int depth = 0;
    while (*s) {
        if (*s == '>')
            fail_msg("a bare > at %.40s", s);
        if (*s++ != '<')
            continue;
        char name[16] = "";
        const bool closing = *s == '/';
        s += closing;
        for (size_t n = 0; *s && !strchr(" />\n", *s) && n < 15; n++)
            name[n] = *s++, name[n + 1] = 0;
        bool quoted = false;
        for (; *s && (quoted || *s != '>'); s++) {
            quoted = quoted != (*s == '"');
            assert_true(*s != '<');
        }
        assert_true(*s == '>');
        const bool empty = s[-1] == '/' || is_void(name);
        s++;
        if (closing) {
            if (depth == 0 || strcmp(stack[--depth], name) != 0)
                fail_msg("</%s> closes %s", name, stack[depth]);
        } else if (!empty) {
            assert_true(depth < 64);
            strcpy(stack[depth++], name);
        }
        if (!closing && (!strcmp(name, "script") || !strcmp(name, "style")))
            s = strstr(s, !strcmp(name, "script") ? "</script>" : "</style>");
        assert_non_null(s);
    }
    assert_int_equal(depth, 0);
}

static size_t count(const char *s, const char *what)
{
    size_t n = 0;
    for (; (s = strstr(s, what)); s++)
        n++;
    return n;
}

static void check_has(const char *page, const char *const *texts)
{
    for (; *texts; texts++)
        if (!strstr(page, *texts))
            fail_msg("not in the page: %s", *texts);
}

static void one_page(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_run_record r;
    nbi_strbuf page = {0};
    nbi_memory_sample memory[3] = {{.step = 2}, {.step = 4}, {.step = 8}};
    const char *const warnings[] = {"a <i>warning</i>"};
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "samples.jsonl");
    NBT_OK(parse(&r, &err, head, body, end));
    for (int i = 0; i < 3; i++)
        memory[i].bytes[NBI_MEM_ACTIVATIONS] = (size_t)(50 + i) << 20,
        memory[i].bytes[NBI_MEM_IO] = 5;
    nbt_write_text(path, "{\"step\": 0, \"prompt\": \"" EVIL "\", \"text\": \"first\"}\n"
                         "{\"step\": 4, \"prompt\": \"" EVIL "\", \"text\": \"second " EVIL "\"}\n"
                         "{\"step\": 8, \"prompt\": \"" EVIL "\", \"text\": \"third\"}\n"
                         "{\"step\": 8, \"pro");
    nbi_run_record_samples(&r, dir);
    r.name = "a/b & <c>";
    r.memory = memory, r.n_memory = 3;
    r.warnings = warnings, r.n_warnings = 1;
    r.foretold_seconds = 10;
    NBT_OK(nbi_report_page(&r, 1, &page, &err));
    check_well_formed(page.s);
    static const char *const texts[] = {
        "<title>a/b &amp; &lt;c&gt;</title>",
        "name=\"viewport\"",
        "prefers-color-scheme:dark",
        "5.25 \xe2\x86\x92 3.06",
        "4.12 \xe2\x86\x92 1.38",
        "8 of 8",
        "best evaluation loss, at step 4",
        "2,000",
        "90.0 MiB",
        "100.0 MiB",
        "-10.0 %",
        "+25.0 %",
        "Some &lt;b&gt;CPU&lt;/b&gt;",
        "12,345",
        "7,654,321",
        "abcdef012345",
        "a &lt;i&gt;warning&lt;/i&gt;",
        "190.5",
        "15.6",
        "21.4",
        ">first<",
        "second &lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;&#39;\xef\xbf\xbd\xef\xbf\xbd<",
        ">third<",
        "Learning rate",
        "Gradient norm",
        "Speed",
        "Memory by use",
        "activations",
        "1 value is not finite",
        "data-name=\"training\"",
        "data-name=\"evaluation\"",
        NULL};
    check_has(page.s, texts);
    /* one script of ours; nothing is fetched */
    assert_int_equal(count(page.s, "<script"), 1);
    assert_int_equal(count(page.s, "http:"), 0);
    assert_int_equal(count(page.s, "https:"), 0);
    assert_int_equal(count(page.s, "url("), 0);
    assert_int_equal(count(page.s, "\xe2\x80\xae"), 0);
    assert_int_equal(count(page.s, "<figure"), 5);
    nbi_strbuf_free(&page);
    nbi_run_record_close(&r);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void compared(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_run_record r[2];
    nbi_strbuf out = {0};
    NBT_OK(parse(&r[0], &err, head, body, end));
    NBT_OK(parse(&r[1], &err, "{\"settings\": {\"method\": \"full\", \"learning_rate\": 0.5}}\n",
                 body, ""));
    r[1].name = "<other>\x1b[31m";
    NBT_OK(nbi_report_page(r, 2, &out, &err));
    check_well_formed(out.s);
    static const char *const page[] = {
        "&lt;other&gt;",   "lora", "full", "Settings that differ", "Training loss",
        "Evaluation loss", NULL};
    check_has(out.s, page);
    nbi_strbuf_clear(&out);
    NBT_OK(nbi_report_text(r, 2, false, 100, &out, &err));
    static const char *const table[] = {
        "the run", "<other>\\x1b[31m", "1.375", "2.75",         "3.062",
        "method",  "lora  full",       "12",    "not finished", NULL};
    check_has(out.s, table);
    for (const char *s = out.s; *s; s++)
        assert_true(*s == '\n' || (*s >= ' ' && *s < 127));
    assert_null(strstr(out.s, "\nlearning_rate ")); /* equal */
    nbi_strbuf_clear(&out);
    nbi_report_json(r, 2, &out);
    nbi_arena arena;
    nbi_json *doc;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse(&arena, "report", out.s, out.n, &doc, &err));
    const nbi_json *runs = nbi_json_get(doc, "runs");
    double best = 0;
    assert_int_equal(runs->n, 2);
    assert_true(nbi_json_to_f64(nbi_json_get(runs->first, "eval_loss_best"), &best) &&
                best == 2.75);
    assert_true(nbi_json_is_null(nbi_json_get(runs->first->next, "seconds")));
    nbi_arena_free(&arena);
    nbi_strbuf_free(&out);
    nbi_run_record_close(&r[0]);
    nbi_run_record_close(&r[1]);
}

/* The public interface: folders and files, wrong ones, and every allocation failed once. */
static void files(void **state)
{
    (void)state;
    nb_error err = {0};
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "train_log.jsonl"), *text;
    char *html = nbt_join(dir, "page.html");
    const char *runs[13] = {dir, path};
    nbi_strbuf log = {0};
    NBT_FAILS(NB_NOTFOUND, "train_log.jsonl",
              nb_report_runs(runs, 1, NB_REPORT_TABLE, 80, &text, &err));
    nbi_strbuf_puts(&log, head);
    nbi_strbuf_puts(&log, body);
    nbt_write_text(path, log.s);
    NBT_FAILS(NB_USAGE, "1 to 12", nb_report_runs(runs, 0, NB_REPORT_TABLE, 80, &text, &err));
    NBT_FAILS(NB_USAGE, "found 13", nb_report_runs(runs, 13, NB_REPORT_TABLE, 80, &text, &err));
    NBT_OK(nb_report_runs(runs, 1, NB_REPORT_ENDS, 80, &text, &err));
    assert_string_equal(text, "    step    epoch  training loss  evaluation loss\n"
                              "       0     0.00              -           5.2500\n"
                              "       4     1.00              -           2.7500\n"
                              "       8     2.00         1.3750           3.0625\n");
    nbi_free(text);
    for (int form = NB_REPORT_TABLE; form <= NB_REPORT_HTML; form++) {
        NBT_OK(nb_report_runs(runs, 2, (nb_report_form)form, 80, &text, &err));
        assert_non_null(strstr(text, "3.06")); /* the last evaluation */
        nbi_free(text);
    }
    NBT_OK(nb_report_write(runs, 1, html, &err));
    text = nbt_read(html, NULL);
    check_well_formed(text);
    nbi_free(text);
    size_t before = nbt_in_use();
    for (uint64_t k = 1; k < 400; k += 1 + k / 20) {
        for (int form = NB_REPORT_TABLE; form <= NB_REPORT_HTML; form++) {
            nbi_alloc_fail_at(k, false);
            nb_status st = nb_report_runs(runs, 2, (nb_report_form)form, 80, &text, &err);
            nbi_alloc_fail_at(0, false);
            assert_true(st == NB_OK || st == NB_NOMEM);
            nbi_free(text);
        }
    }
    assert_int_equal(nbt_in_use(), before);
    nbi_strbuf_free(&log);
    nbi_free(html);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(logs),       cmocka_unit_test(curves),
                                       cmocka_unit_test(sparklines), cmocka_unit_test(one_page),
                                       cmocka_unit_test(compared),   cmocka_unit_test(files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
