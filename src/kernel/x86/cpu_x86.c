/* SPDX-License-Identifier: MIT */
/* Instruction sets by CPUID, and by XGETBV whether the system saves their registers. */
#include <cpuid.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "kernel/variants.h"

enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe0, XCR0_AMX = 0x60000 };

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static bool bit(unsigned word, unsigned i)
{
    return (word >> i) & 1u;
}

unsigned nb_cpu_flags(void)
{
    unsigned a, b, c, d, flags = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !bit(c, 27)) /* OSXSAVE */
        return 0;
    const bool fma = bit(c, 12), f16c = bit(c, 29);
    const uint64_t saved = xcr0();
    if ((saved & XCR0_AVX) != XCR0_AVX || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return 0;
    if (bit(b, 5) && fma && f16c)
        flags |= NB_CPU_AVX2;
    const bool avx512 = bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);
    if (flags && avx512 && (saved & XCR0_AVX512) == XCR0_AVX512)
        flags |= NB_CPU_AVX512;
    const bool amx = bit(d, 22) && bit(d, 24) && (saved & XCR0_AMX) == XCR0_AMX;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && bit(a, 5) && (flags & NB_CPU_AVX512))
        flags |= NB_CPU_AVX512BF16;
    if (amx && (flags & NB_CPU_AVX512BF16))
        flags |= NB_CPU_AMX;
    return flags;
}

/* arch_prctl, Linux 5.16. */
bool nbi_tiles_allowed(void)
{
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
}

void nb_cpu_describe(unsigned flags, char buf[128], char brand[64])
{
    static const struct {
        unsigned flag;
        const char *name;
    } names[] = {{NB_CPU_AVX2, "avx2"},
                 {NB_CPU_AVX512, "avx512"},
                 {NB_CPU_AVX512BF16, "avx512bf16"},
                 {NB_CPU_AMX, "amx"}};
    size_t n = 0;
    buf[0] = '\0';
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (flags & names[i].flag)
            n += (size_t)snprintf(buf + n, 128 - n, n ? " %s" : "%s", names[i].name);
    if (n == 0)
        snprintf(buf, 128, "none");

    unsigned words[12] = {0}, unused;
    snprintf(brand, 64, "unknown");
    if (!__get_cpuid(0x80000000u, &words[0], &unused, &unused, &unused) || words[0] < 0x80000004u)
        return;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2],
                    &words[4 * i + 3]);
    char text[sizeof(words) + 1] = {0};
    memcpy(text, words, sizeof(words));
    snprintf(brand, 64, "%s", text + strspn(text, " "));
}
