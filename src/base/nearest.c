/* SPDX-License-Identifier: MIT */
#include "base/nearest.h"

#include <stdint.h>
#include <string.h>
#include "nibble/recipe.h"

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

size_t nb_name_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b), row[MAX + 1];
    if (n > MAX || m > MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = min3(diagonal + (a[i - 1] != b[j - 1]), row[j] + 1, row[j - 1] + 1);
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

void nbi_nearest_offer(nbi_nearest *n, const char *known)
{
    const size_t d = nb_name_distance(n->name, known);
    if (d > (strlen(n->name) + 2) / 3 || (n->best && d >= n->distance))
        return;
    n->best = known;
    n->distance = d;
}
