/* SPDX-License-Identifier: MIT */
/* Group fixture of tests that need rows and a tokenizer: the byte-level one of tests/golden/cli,
 * and a temporary folder. */
#ifndef NBT_BYTE_TOKENIZER_H
#define NBT_BYTE_TOKENIZER_H

#include "nibble/tokenizer.h"
#include "testutil.h"

static nb_tokenizer *g_tok;
static char *g_dir;

static int setup(void **state)
{
    (void)state;
    nb_error err = {0};
    char *dir = nbt_golden("cli");
    NBT_OK(nb_tokenizer_open(&g_tok, dir, NULL, &err));
    nbi_free(dir);
    g_dir = nbt_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nb_tokenizer_close(&g_tok);
    nbt_tmpdir_remove(g_dir);
    return 0;
}

#endif
