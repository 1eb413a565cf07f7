/* SPDX-License-Identifier: MIT */
/* Every code point against the reference tables: normal forms, case, marks, classes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/utf8.h"
#include "text/normal_form.h"
#include "text/unicode.h"

#define LAST 0x10FFFFu

/* Line of the table for each code point (text after the first TAB), NULL: none. */
typedef struct table {
    char *text;
    const char **line;
} table;

static table read_table(const char *name)
{
    table t;
    char *dir = nbt_join(nbt_oracle(), "text/unicode"), *path = nbt_join(dir, name);
    t.text = nbt_read(path, NULL);
    t.line = nbi_calloc(NBI_MEM_OTHER, LAST + 1, sizeof *t.line);
    for (char *s = t.text; *s;) {
        char *end = strchr(s, '\n'), *tab;
        if (end)
            *end = '\0';
        unsigned long cp = strtoul(s, &tab, 16);
        if (*tab == '\t' && cp <= LAST)
            t.line[cp] = tab + 1;
        if (!end)
            break;
        s = end + 1;
    }
    nbi_free(dir);
    nbi_free(path);
    return t;
}

static void free_table(table *t)
{
    nbi_free(t->text);
    nbi_free(t->line);
}

static bool equals_line(const uint32_t *got, int n, const char *line, uint32_t cp)
{
    if (!line)
        return n == 1 && got[0] == cp;
    for (int i = 0; i < n; i++) {
        char *end;
        if (strtoul(line, &end, 16) != got[i] || end == line)
            return false;
        line = *end == ' ' ? end + 1 : end;
    }
    return *line == '\0';
}

static int form_of(uint32_t cp, bool compat, bool compose, uint32_t *out)
{
    nb_error err;
    char s[4];
    nbi_aligned in = {0}, to = {0};
    int n = 0;
    nbi_aligned_add(&in, s, nbi_utf8_encode(cp, s), (nbi_align){0, 0});
    nbi_view v = nbi_aligned_view(&in, 0);
    NBT_OK(nbi_normal_form(&v, &to, compat, compose, &err));
    for (size_t i = 0; i < to.n; i += nbi_utf8_len(to.s[i]))
        out[n++] = nbi_utf8_get(to.s + i);
    nbi_aligned_free(&in);
    nbi_aligned_free(&to);
    return n;
}

static void check_form(const char *name, bool compat, bool compose)
{
    table t = read_table(name);
    int bad = 0;
    for (uint32_t cp = 0; cp <= LAST; cp++) {
        uint32_t got[40];
        if (cp == 0xD800)
            cp = 0xE000;
        if (cp >= 0xAC00 && cp <= 0xD7A3)
            continue; /* by rule, not in the tables */
        int n = form_of(cp, compat, compose, got);
        if (!equals_line(got, n, t.line[cp], cp) && bad++ < 5)
            printf("    U+%04X differs\n", (unsigned)cp);
    }
    printf("  %s: %d code points differ\n", name, bad);
    free_table(&t);
    assert_int_equal(bad, 0);
}

static void test_forms(void **state)
{
    (void)state;
    check_form("NFC.tsv", false, true);
    check_form("NFD.tsv", false, false);
    check_form("NFKC.tsv", true, true);
    check_form("NFKD.tsv", true, false);
}

static void test_case_and_marks(void **state)
{
    (void)state;
    table lower = read_table("Lowercase.tsv"), marks = read_table("StripAccents.tsv"),
          ccc = read_table("ccc.tsv"), nfd = read_table("NFD.tsv");
    int bad = 0;
    for (uint32_t cp = 0; cp <= LAST; cp++) {
        uint32_t got[2];
        int n = nbi_uni_lower(cp, got);
        bool mark = marks.line[cp] && !marks.line[cp][0];
        /* what decomposes never shows its own class */
        int got_ccc = nfd.line[cp] ? 0 : nbi_uni_combining_class(cp);
        int want = ccc.line[cp] ? atoi(ccc.line[cp]) : 0;
        if ((!equals_line(got, n, lower.line[cp], cp) || nbi_uni_is_mark9(cp) != mark ||
             got_ccc != want) &&
            bad++ < 5)
            printf("    U+%04X differs\n", (unsigned)cp);
    }
    printf("  Lowercase, StripAccents, ccc: %d code points differ\n", bad);
    free_table(&lower);
    free_table(&marks);
    free_table(&ccc);
    free_table(&nfd);
    assert_int_equal(bad, 0);
}

static void test_composition(void **state)
{
    (void)state;
    char *dir = nbt_join(nbt_oracle(), "text/unicode"), *path = nbt_join(dir, "compose.tsv");
    char *text = nbt_read(path, NULL);
    int lines = 0, bad = 0;
    for (char *s = text; *s;) {
        char *end;
        uint32_t a = (uint32_t)strtoul(s, &end, 16), b = (uint32_t)strtoul(end, &end, 16);
        uint32_t c = (uint32_t)strtoul(end, &end, 16);
        lines++;
        bad += nbi_uni_compose(a, b) != c;
        s = end + strspn(end, "\r\n");
    }
    printf("  compose: %d of %d pairs differ\n", bad, lines);
    assert_int_equal(bad, 0);
    nbi_free(text);
    nbi_free(path);
    nbi_free(dir);
}

/* Sets of the table by the name of their line. */
static bool in_class(const char *name, uint32_t cp)
{
    static const struct {
        const char *name;
        uint32_t set;
    } sets[] = {
        {"\\p{L}", NBI_SET_L},    {"\\p{Lu}", 1u << NBI_CAT_LU}, {"\\p{Ll}", 1u << NBI_CAT_LL},
        {"\\p{M}", NBI_SET_M},    {"\\p{N}", NBI_SET_N},         {"\\p{Nd}", 1u << NBI_CAT_ND},
        {"\\p{P}", NBI_SET_P},    {"\\p{S}", NBI_SET_S},         {"\\p{Z}", 1u << NBI_CAT_Z},
        {"\\p{C}", NBI_SET_C},    {"\\s", NBI_SET_SPACE},        {"\\w", NBI_SET_WORD},
        {"\\d", 1u << NBI_CAT_ND}};
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
        if (strcmp(sets[i].name, name) == 0)
            return nbi_uni_is(cp, sets[i].set);
    if (strcmp(name, "pre_tokenizer:Punctuation") == 0)
        return nbi_uni_is_punct(cp);
    if (strcmp(name, "pre_tokenizer:Digits") == 0)
        return nbi_uni_is_digit(cp);
    return nbi_uni_is_space(cp);
}

static bool known_class(const char *name)
{
    return strcmp(name, "\\p{Han}") != 0 && strcmp(name, "\\p{Lt}") != 0 &&
           strcmp(name, "\\p{Lm}") != 0 && strcmp(name, "\\p{Lo}") != 0 && name[0] != '(';
}

static int class_differs(const char *name, char *ranges)
{
    unsigned char *want = nbi_calloc(NBI_MEM_OTHER, LAST + 1, 1);
    int bad = 0;
    for (char *s = ranges; *s;) {
        unsigned long a = strtoul(s, &s, 16), b = *s == '-' ? strtoul(s + 1, &s, 16) : a;
        for (; a <= b && a <= LAST; a++)
            want[a] = 1;
        s += strspn(s, " \r");
    }
    for (uint32_t cp = 0; cp <= LAST; cp++)
        bad += (cp < 0xD800 || cp > 0xDFFF) && in_class(name, cp) != want[cp];
    nbi_free(want);
    return bad;
}

static void test_class_table(void **state)
{
    (void)state;
    char *dir = nbt_join(nbt_oracle(), "text/unicode"), *path = nbt_join(dir, "classes.tsv");
    char *text = nbt_read(path, NULL);
    int bad = 0;
    for (char *s = text; *s;) {
        char *end = strchr(s, '\n'), *tab = strchr(s, '\t');
        if (end)
            *end = '\0';
        if (tab && (!end || tab < end)) {
            *tab = '\0';
            int n = known_class(s) ? class_differs(s, tab + 1) : 0;
            if (known_class(s))
                printf("  %s: %d code points differ\n", s, n);
            bad += n;
        }
        if (!end)
            break;
        s = end + 1;
    }
    assert_int_equal(bad, 0);
    nbi_free(text);
    nbi_free(path);
    nbi_free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms), cmocka_unit_test(test_case_and_marks),
        cmocka_unit_test(test_composition), cmocka_unit_test(test_class_table)};
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
