/* SPDX-License-Identifier: MIT */
#include "base/array.h"

#include "base/checked.h"

bool nbi_array_grow_(void **v, size_t elem, size_t n, size_t *cap, size_t extra)
{
    size_t need, want, bytes;
    if (!nbi_add_size(n, extra, &need))
        return false;
    if (need <= *cap)
        return true;
    if (!nbi_mul_size(*cap, 2, &want) || want < need)
        want = need;
    if (want < 8)
        want = 8;
    if (!nbi_mul_size(want, elem, &bytes))
        return false;
    void *p = nbi_realloc(NBI_MEM_OTHER, *v, bytes);
    if (!p)
        return false;
    *v = p;
    *cap = want;
    return true;
}
