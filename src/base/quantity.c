/* SPDX-License-Identifier: MIT */
#include "base/quantity.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/checked.h"

typedef struct unit {
    const char *name;
    double size;
} unit;

/* A number, blanks, and the unit that follows; moves *s behind them. */
static bool parse_one(const char **s, const unit *units, double *value)
{
    double v;
    size_t n = strspn(*s, "0123456789.");
    if (n == 0 || !nbi_parse_f64(*s, n, &v))
        return false;
    *s += n;
    *s += strspn(*s, " ");
    size_t letters = strcspn(*s, "0123456789. ");
    for (; units->name; units++)
        if (strlen(units->name) == letters && strncasecmp(*s, units->name, letters) == 0)
            break;
    *s += letters;
    *s += strspn(*s, " ");
    *value = v * units->size;
    return units->name != NULL;
}

bool nbi_parse_bytes(const char *s, uint64_t whole, uint64_t *bytes)
{
    unit units[] = {{"", 1},       {"B", 1},        {"%", (double)whole / 100},
                    {"K", 0x1p10}, {"KiB", 0x1p10}, {"KB", 1e3},
                    {"M", 0x1p20}, {"MiB", 0x1p20}, {"MB", 1e6},
                    {"G", 0x1p30}, {"GiB", 0x1p30}, {"GB", 1e9},
                    {"T", 0x1p40}, {"TiB", 0x1p40}, {"TB", 1e12},
                    {NULL, 0}};
    double v;
    if (!parse_one(&s, units, &v) || *s || !(v >= 1 && v <= 0x1p62))
        return false;
    *bytes = (uint64_t)v;
    return true;
}

bool nbi_parse_duration(const char *s, double *seconds)
{
    static const unit units[] = {{"", 1},      {"s", 1},        {"sec", 1},      {"m", 60},
                                 {"min", 60},  {"h", 3600},     {"hours", 3600}, {"hour", 3600},
                                 {"d", 86400}, {"days", 86400}, {"day", 86400},  {NULL, 0}};
    double sum = 0, v;
    do {
        if (!parse_one(&s, units, &v))
            return false;
        sum += v;
    } while (*s);
    *seconds = sum;
    return sum > 0 && sum < 1e12;
}

char *nbi_format_bytes(double bytes, char buf[32])
{
    if (bytes < 10 * 0x1p30)
        snprintf(buf, 32, "%.1f MiB", bytes * 0x1p-20);
    else
        snprintf(buf, 32, "%.2f GiB", bytes * 0x1p-30);
    return buf;
}

char *nbi_format_duration(double s, char buf[32])
{
    if (s < 10)
        snprintf(buf, 32, "%.2g s", s);
    else if (s < 120)
        snprintf(buf, 32, "%.0f s", s);
    else if (s < 7200)
        snprintf(buf, 32, "%.0f min", s / 60);
    else if (s < 172800)
        snprintf(buf, 32, "%.1f h", s / 3600);
    else
        snprintf(buf, 32, "%.1f days", s / 86400);
    return buf;
}

char *nbi_format_grouped(int64_t n, char buf[32])
{
    char digits[32];
    int len = snprintf(digits, sizeof(digits), "%lld", (long long)n), out = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf[out++] = ',';
        buf[out++] = digits[i];
    }
    buf[out] = 0;
    return buf;
}
