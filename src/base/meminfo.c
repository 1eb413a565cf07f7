/* SPDX-License-Identifier: MIT */
#include "base/meminfo.h"

#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "base/procfile.h"

/* Version 1 writes a number of about 2^63 where there is no limit. */
#define NO_LIMIT ((uint64_t)1 << 60)

typedef struct reader {
    nbi_meminfo *m;
    const char *limit, *usage, *stat; /* file names */
    const char *cached[2];            /* lines of `stat` */
} reader;

/* The number after `name` at the start of a line; 0 when there is none. */
static uint64_t number_after(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = text; s; s = strchr(s, '\n')) {
        s += *s == '\n';
        if (strncmp(s, name, n) != 0)
            continue;
        uint64_t v;
        s += n + strspn(s + n, ": \t");
        return nbi_parse_u64(s, strspn(s, "0123456789"), &v) ? v : 0;
    }
    return 0;
}

static bool read_text(const char *folder, const char *name, char *text, size_t size)
{
    char path[4600];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return nbi_read_small(path, text, size);
}

/* "max" or digits */
static bool read_bytes(const char *folder, const char *name, uint64_t *v)
{
    char text[64];
    return read_text(folder, name, text, sizeof(text)) &&
           nbi_parse_u64(text, strspn(text, "0123456789"), v);
}

/* One group's limit, and what is left of it when its file cache is given back. */
static void read_group(void *user, const char *folder)
{
    const reader *r = user;
    uint64_t limit, used = 0, cached = 0;
    char text[8192];
    if (!read_bytes(folder, r->limit, &limit) || limit == 0 || limit >= NO_LIMIT)
        return;
    if (!read_bytes(folder, r->usage, &used))
        used = 0;
    if (read_text(folder, r->stat, text, sizeof(text)))
        cached = number_after(text, r->cached[0]) + number_after(text, r->cached[1]);
    used = used > cached ? used - cached : 0;
    uint64_t left = limit > used ? limit - used : 0;
    if (limit < r->m->total) {
        r->m->total = limit;
        r->m->group = true;
    }
    if (left < r->m->available)
        r->m->available = left;
}

bool nbi_meminfo_read(nbi_meminfo *m, const char *root)
{
    char text[8192], proc[4200];
    *m = (nbi_meminfo){0};
    snprintf(proc, sizeof(proc), "%s/proc", root);
    if (!read_text(proc, "meminfo", text, sizeof(text)))
        return false;
    m->total = number_after(text, "MemTotal") * 1024;
    m->available = number_after(text, "MemAvailable") * 1024;
    if (m->available == 0) /* before Linux 3.14 */
        m->available = (number_after(text, "MemFree") + number_after(text, "Cached")) * 1024;
    if (m->total == 0)
        return false;
    reader v2 = {
        m, "memory.max", "memory.current", "memory.stat", {"inactive_file ", "active_file "}};
    reader v1 = {m,
                 "memory.limit_in_bytes",
                 "memory.usage_in_bytes",
                 "memory.stat",
                 {"total_inactive_file ", "total_active_file "}};
    nbi_cgroup_walk(root, NULL, read_group, &v2);
    nbi_cgroup_walk(root, "memory", read_group, &v1);
    return true;
}
