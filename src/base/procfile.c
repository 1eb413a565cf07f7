/* SPDX-License-Identifier: MIT */
#include "base/procfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include "base/io.h"

bool nbi_read_small(const char *path, char *buf, size_t size)
{
    int fd = nbi_io_open(path, O_RDONLY, 0);
    if (fd < 0)
        return false;
    size_t n = 0;
    while (n + 1 < size) {
        long got = nbi_io_read(fd, buf + n, size - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    buf[n] = '\0';
    (void)nbi_io_close(fd);
    return n > 0;
}

/* Is `name` one of a comma-separated list? */
static bool lists(const char *list, size_t len, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = list, *end = list + len; s < end;) {
        size_t k = strcspn(s, ",:");
        if (k == n && memcmp(s, name, n) == 0)
            return true;
        s += k + 1;
    }
    return false;
}

/* The group's path in a line "5:cpu,memory:/a/b" or "0::/a/b"; NULL when it is another line. */
static char *own_group(char *line, const char *controller)
{
    char *list = strchr(line, ':'), *path = list ? strchr(list + 1, ':') : NULL;
    if (!path || path[1] != '/')
        return NULL;
    size_t len = (size_t)(path - list - 1);
    bool mine = controller ? lists(list + 1, len, controller) : len == 0 && line[0] == '0';
    return mine ? path + 1 : NULL;
}

void nbi_cgroup_walk(const char *root, const char *controller, nbi_cgroup_visit *visit, void *user)
{
    char text[4096], path[4400], *group = NULL;
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    if (nbi_read_small(path, text, sizeof(text)))
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line && !group;
             line = strtok_r(NULL, "\n", &save))
            group = own_group(line, controller);
    char none[] = "";
    if (!group || strcmp(group, "/") == 0)
        group = none;
    for (;;) {
        snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s%s%s", root, controller ? "/" : "",
                 controller ? controller : "", group);
        visit(user, path);
        char *slash = strrchr(group, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}
