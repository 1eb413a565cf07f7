/* SPDX-License-Identifier: MIT */
#include "nibble/status.h"

static const struct {
    const char *text;
    int exit_code;
} table[] = {
#define STATUS_ROW(name, exit_code, text) {text, exit_code},
    NB_STATUS_MAP(STATUS_ROW)
#undef STATUS_ROW
};

static int known(nb_status s)
{
    return (unsigned)s < sizeof(table) / sizeof(table[0]);
}

const char *nb_status_text(nb_status s)
{
    return known(s) ? table[s].text : "unknown status";
}

int nb_status_exit_code(nb_status s)
{
    return known(s) ? table[s].exit_code : table[NB_INTERNAL].exit_code;
}

const char *nb_version(void)
{
    return NB_VERSION;
}
