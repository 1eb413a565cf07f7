/* SPDX-License-Identifier: MIT */
/* What people look at, over whole runs: event files and page of a run, of one that was interrupted
 * and goes on, and of one whose disk is full for all but the results. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train_util.h"
#include "event_reader.h"
#include "tiny_world.h"

static volatile sig_atomic_t stop;

static void stop_at_3(void *user, const nb_train_progress *p)
{
    (void)user;
    stop = p->step >= 3;
}

static void page_says(const char *out, const char *what)
{
    char *path = nbt_join(out, "report.html"), *text = nbt_read(path, NULL);
    if (!strstr(text, what))
        fail_msg("not in the page: %s", what);
    assert_non_null(strstr(text, "</html>"));
    nbi_free(text);
    nbi_free(path);
}

/* One number of each tag and step; the steps of a tag ascend. */
static void check_events(const char *out, size_t files, int last_step)
{
    static event_scalars s;
    int64_t before = -1;
    size_t losses = 0;
    s = read_run_events(out);
    assert_int_equal(s.folders, 1);
    assert_int_equal(s.files, files);
    for (size_t i = 0; i < s.n; i++)
        if (!strcmp(s.v[i].tag, "train/loss")) {
            assert_true(s.v[i].step > before);
            before = s.v[i].step;
            losses++;
        }
    assert_int_equal(losses, last_step);
    assert_int_equal(before, last_step);
}

static void goes_on(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "seen");
    nbt_setting s[] = {{"eval_data", w->eval},
                       {"max_steps", "6"},
                       {"eval_steps", "2"},
                       {NULL, NULL},
                       {NULL, NULL}};
    nb_train_hooks hooks = {.progress = stop_at_3, .stop = &stop};
    stop = 0;
    NBT_FAILS(NB_INTERRUPTED, "after step 3", train(w, out, s, &hooks, NULL, &err));
    page_says(out, "<p class=\"soft\">interrupted after step 3");
    page_says(out, "3 of 6");
    check_events(out, 1, 3);
    s[3] = (nbt_setting){"resume_from_checkpoint", "true"};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    page_says(out, "<p class=\"soft\">finished");
    page_says(out, "6 of 6");
    check_events(out, 2, 6);
    nbi_free(out);
}

/* Folders stand where the files should go: said, and the result is the same. */
static void cannot_be_written(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *plain = place(w, "plain"), *blocked = place(w, "blocked");
    char *page = nbt_join(blocked, "report.html"), *runs = nbt_join(blocked, "runs");
    char *inside = nbt_join(page, "x"), a[65], b[65];
    nbt_setting s[] = {{"max_steps", "4"}, {NULL, NULL}};
    NBT_OK(train(w, plain, s, NULL, NULL, &err));
    NBT_OK(nbi_make_dirs(inside, &err));
    nbt_write_text(runs, "a file");
    NBT_OK(train(w, blocked, s, NULL, NULL, &err));
    adapter_hash(plain, a);
    adapter_hash(blocked, b);
    assert_string_equal(a, b);
    nbi_free(plain), nbi_free(blocked), nbi_free(page), nbi_free(runs), nbi_free(inside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(cannot_be_written, setup, teardown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
