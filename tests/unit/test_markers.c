/* SPDX-License-Identifier: MIT */
/* Markers of layouts in answers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "data/markers.h"

/* Markers as one text, "|" between them. */
static const char *all(const nb_data_config *c)
{
    static char text[400];
    nb_error err = {0};
    nbi_markers m;
    text[0] = '\0';
    NBT_OK(nbi_markers_of(c, &m, &err));
    for (size_t i = 0; i < m.v.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? "|" : "", m.v.v[i]);
    nbi_markers_free(&m);
    return text;
}

static void of_formats(void **state)
{
    (void)state;
    assert_string_equal(all(&(nb_data_config){.format = NB_DATA_INSTRUCTION}),
                        "### Instruction:|### Input:|### Response:");
    assert_string_equal(all(&(nb_data_config){.format = NB_DATA_MESSAGES}), "");
    assert_string_equal(
        all(&(nb_data_config){.format = NB_DATA_TEXT, .response_template = "\nAnswer: "}),
        "Answer:");
    assert_string_equal(
        all(&(nb_data_config){.format = NB_DATA_TEMPLATE,
                              .template_text = "<human>: {q}\n A {{x}} <assistant>: {a}}}"}),
        "<human>:|<assistant>:");
    assert_string_equal(
        all(&(nb_data_config){.format = NB_DATA_TEMPLATE, .template_text = "### A {unclosed"}),
        "### A");
}

static void in_texts(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_markers m;
    NBT_OK(nbi_markers_of(&(nb_data_config){.format = NB_DATA_ALPACA}, &m, &err));
    assert_true(nbi_markers_in(&m, "yes\n\n### Instruction:\nmore"));
    assert_false(nbi_markers_in(&m, "Instruction: read"));
    assert_false(nbi_markers_in(&m, ""));
    nbi_markers_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(of_formats), cmocka_unit_test(in_texts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
