/* SPDX-License-Identifier: MIT */
/* Which instruction sets the kernel tests of this machine run: a test for each, skipped by name
 * where the CPU or the system does not have it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

static int operations_of(const nb_kernels *k, const char *level)
{
    int n = 0;
#define COUNT(member, type) n += strcmp(k->member##_variant, level) == 0;
    NB_KERNEL_MAP(COUNT)
#undef COUNT
    return n;
}

int main(int argc, char **argv)
{
    unsigned flags[NBT_MAX_LEVELS];
    const char *level = argc > 1 ? argv[1] : "ref";
    for (int i = 0; i < nbt_levels(flags); i++) {
        nb_kernels k;
        nb_kernels_init(&k, flags[i]);
        const int n = operations_of(&k, level);
        if (n > 0) {
            printf("%s: %d operations, run by the kernel tests\n", level, n);
            return 0;
        }
    }
    printf("skipped: %s is not to be had here; its kernels were compiled and not run\n", level);
    return NBT_SKIP;
}
